//! `prunella advise`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use crate::error::{Error, Result};
use crate::study::{Advice, CellGroup, Question, Study, advise, groups};

/// Recommend a pruning ratio, or a number of patches to label.
///
/// The advice comes from the results of a study, or from the paper's Table 6.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella advise --patches 9000
  prunella advise --accuracy 0.92 --margin 0.005
  prunella advise --patches 9000 --study my-study")]
#[command(group(clap::ArgGroup::new("question").required(true).args(["patches", "accuracy"])))]
pub(super) struct AdviseArguments {
    /// Number of labelled patches that are available.
    #[arg(long)]
    patches: Option<usize>,
    /// Accuracy that is required, 0 to 1.
    #[arg(long)]
    accuracy: Option<f64>,
    /// Accuracy that pruning may cost.
    #[arg(long, default_value_t = 0.005)]
    margin: f64,
    /// Folder of a study; without it the paper's Table 6 is used.
    #[arg(long)]
    study: Option<PathBuf>,
    /// Network of the study [default: the first of its design].
    #[arg(long)]
    network: Option<String>,
}

/// `prunella advise`.
pub(super) fn advice(arguments: &AdviseArguments, output: Output) -> Result<CommandOutcome> {
    let question = match (arguments.patches, arguments.accuracy) {
        (Some(patches), _) => Question::Patches(patches),
        (None, accuracy) => Question::Accuracy(accuracy.unwrap_or_default()),
    };
    let groups = match &arguments.study {
        Some(folder) => groups_of(folder, arguments.network.as_deref())?,
        None => Vec::new(),
    };
    let Some(advice) = advise(question, arguments.margin, &groups) else {
        output.remark(
            "No known result reaches that; label more patches, accept less, or run a study of \
             your own.",
        );
        output.result(&json!({ "advice": null }), "")?;
        return Ok(CommandOutcome::Nothing);
    };
    output.result(&json!({ "advice": advice }), &describe(&advice, arguments.margin))?;
    Ok(CommandOutcome::Done)
}

/// Finished results of one network of a study, at least one.
fn groups_of(folder: &Path, network: Option<&str>) -> Result<Vec<CellGroup>> {
    let study = Study::open(folder)?;
    let first = study.design.networks.first().map_or("", |n| n.name());
    let network = network.unwrap_or(first);
    let mut groups = groups(&study)?;
    groups.retain(|group| group.network.name() == network);
    if groups.is_empty() {
        return Err(
            Error::mismatch(format!("The study has no finished cell of '{network}'")).at(folder)
        );
    }
    Ok(groups)
}

fn describe(advice: &Advice, margin: f64) -> String {
    format!(
        "Remove {:.0} % of the filters: with {} patches accuracy is {:.3} ± {:.3}, \
         unpruned {:.3}.\n\
         Beyond {} patches the unpruned network gains no more than {margin}.\nFrom {}.",
        advice.pruning_ratio * 100.0,
        advice.patches,
        advice.accuracy,
        advice.error,
        advice.unpruned_accuracy,
        advice.enough_patches,
        advice.source
    )
}
