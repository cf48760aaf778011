//! `prunella advise`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use crate::error::{Error, Result};
use crate::study::{Advice, CellGroup, Question, Study, advise, groups};

/// Say how far to prune, or how many patches to label.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella advise --patches 9000
  prunella advise --accuracy 0.92 --margin 0.005
  prunella advise --patches 9000 --study my-study")]
#[command(group(clap::ArgGroup::new("question").required(true).args(["patches", "accuracy"])))]
pub struct AdviseArguments {
    /// Labelled patches that there are.
    #[arg(long)]
    patches: Option<usize>,
    /// Accuracy that is needed, 0 to 1.
    #[arg(long)]
    accuracy: Option<f64>,
    /// Accuracy that may be lost to pruning.
    #[arg(long, default_value_t = 0.005)]
    margin: f64,
    /// A study's folder; the paper's Table 6 without one.
    #[arg(long)]
    study: Option<PathBuf>,
    /// Which network of the study.
    #[arg(long)]
    network: Option<String>,
}

/// `prunella advise`.
pub fn advice(arguments: &AdviseArguments, output: Output) -> Result<CommandOutcome> {
    let question = match (arguments.patches, arguments.accuracy) {
        (Some(patches), _) => Question::Patches(patches),
        (None, accuracy) => Question::Accuracy(accuracy.unwrap_or_default()),
    };
    let of_study = |folder: &PathBuf| -> Result<Vec<CellGroup>> {
        let study = Study::open(folder)?;
        let first = study.design.networks.first().map_or("", |n| n.name());
        let wanted = arguments.network.as_deref().unwrap_or(first);
        let found: Vec<CellGroup> =
            groups(&study)?.into_iter().filter(|g| g.network.name() == wanted).collect();
        if found.is_empty() {
            return Err(
                Error::mismatch(format!("The study has no finished cell of '{wanted}'")).at(folder)
            );
        }
        Ok(found)
    };
    let known = arguments.study.as_ref().map(of_study).transpose()?.unwrap_or_default();
    let Some(advice) = advise(question, arguments.margin, &known) else {
        output.remark(
            "Nothing that is known reaches that; label more patches, ask for less, or run a study of your own.",
        );
        output.result(&json!({ "advice": null }), "")?;
        return Ok(CommandOutcome::Nothing);
    };
    let Advice {
        pruning_ratio,
        patches,
        accuracy,
        error,
        unpruned_accuracy,
        enough_patches,
        source,
    } = &advice;
    let text = format!(
        "Remove {:.0} % of the filters: with {patches} patches accuracy is {accuracy:.3} ± {error:.3}, unpruned {unpruned_accuracy:.3}.\n\
         Beyond {enough_patches} patches the unpruned network gains no more than {}.\nFrom {source}.",
        pruning_ratio * 100.0,
        arguments.margin
    );
    output.result(&json!({ "advice": advice }), &text)?;
    Ok(CommandOutcome::Done)
}
