//! `prunella prune`.

use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, PossibleValue, TypedValueParser as _};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use super::output_files::check_outputs;
use super::tiles::{DataFolder, NO_TILES, TileArguments, check_labels, load};
use crate::error::{Error, ErrorContext as _, Result};
use crate::model::{Model, Precision};
use crate::platform::{read_file, write_atomic};
use crate::prune::{Criterion, FilterScores, LayerRatios, PruningPlan, Scope, apply};
use crate::train::measure_filters;

/// Largest plan file.
const MAX_PLAN_BYTES: u64 = 10_000_000;

/// Remove the weakest filters of every convolution.
///
/// Filters are ranked by the L1 norm of their weights, or by another criterion. The pruned model
/// should be trained further with 'prunella finetune'.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella prune model.safetensors --ratio 0.5 --out half.safetensors
  prunella prune model.safetensors --ratio 0.9 --out tiny.safetensors --save-plan plan.json
  prunella prune model.safetensors --ratio 0.9 --scope all --out smallest.safetensors
  prunella prune model.safetensors --ratios conv=0.5,hidden=0.9 --out narrow.safetensors
  prunella prune model.safetensors --ratios conv=0.8,conv1=0.2 --out wide-start.safetensors
  prunella prune model.safetensors --ratio 0.5 --criterion fpgm --out half.safetensors
  prunella prune model.safetensors --ratio 0.5 --criterion taylor --data kumar --split train \\
      --out half.safetensors
  prunella prune model.safetensors --plan plan.json --out tiny.safetensors")]
pub(super) struct PruneArguments {
    /// The model to prune (.safetensors).
    model: PathBuf,
    /// Share of filters to remove from each layer, 0 to 1.
    #[arg(long, required_unless_present_any = ["plan", "ratios"], conflicts_with = "plan")]
    ratio: Option<f64>,
    /// Which layers lose units.
    #[arg(long, value_enum, default_value_t = ScopeName::Convolutions, conflicts_with = "plan")]
    scope: ScopeName,
    /// Another share for each class of layers (conv, hidden) or layer, whose own share comes first;
    /// layers without one stay as they are.
    #[arg(long, value_name = "LAYER=RATIO,…", conflicts_with_all = ["plan", "ratio", "scope"])]
    ratios: Option<LayerRatios>,
    /// Which filters are weak.
    #[arg(long, value_enum, default_value_t = Criterion::L1, conflicts_with = "plan")]
    criterion: Criterion,
    /// Folder with labelled tiles, for apoz and taylor; may be given several times.
    #[arg(
        long,
        conflicts_with = "plan",
        value_name = "FOLDER",
        value_parser = OsStringValueParser::new().try_map(DataFolder::parse)
    )]
    data: Vec<DataFolder>,
    /// Only the tiles of this split: one of dataset.toml, or of the paper's Table 1.
    #[arg(long, value_name = "NAME", requires = "data")]
    split: Option<String>,
    /// Only tiles whose names contain one of these texts (comma-separated).
    #[arg(long, value_delimiter = ',', requires = "data")]
    tiles: Vec<String>,
    /// Patches on which filters are measured.
    #[arg(long, default_value_t = 2000)]
    patches: usize,
    /// Decides the patches, and what --criterion random removes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Use a saved plan instead of ranking filters.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// File of the pruned model (.safetensors).
    #[arg(long, short)]
    out: PathBuf,
    /// Write the plan (the filters that each layer keeps) as JSON.
    #[arg(long)]
    save_plan: Option<PathBuf>,
    /// Store the weights in half precision.
    #[arg(long)]
    f16: bool,
}

/// [`Scope`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeName {
    /// Filters of convolutions, as in the paper.
    Convolutions,
    /// Filters of convolutions and units of hidden layers.
    All,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Convolutions => Self::Convolutions,
            ScopeName::All => Self::All,
        }
    }
}

impl ValueEnum for Criterion {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Self::L1 => value.help("Small weights: L1 norm (Li et al. 2017), as in the paper"),
            Self::L2 => value.help("Small weights: L2 norm"),
            Self::Fpgm => value.help("Near the geometric median of their layer (He et al. 2019)"),
            Self::Apoz => {
                value.help("Mostly zero behind their ReLU (Hu et al. 2016); needs --data")
            }
            Self::Taylor => value.help(
                "Little first-order change of the loss (Molchanov et al. 2017); needs --data",
            ),
            Self::Bn => value.help(
                "Small scale in batch normalisation (Network Slimming, Liu et al. 2017); DCCN only",
            ),
            Self::Random => value.help("Chosen at random, as a control"),
        })
    }
}

#[derive(Serialize)]
struct PruneResult<'a> {
    model: &'a Path,
    parameters_before: usize,
    parameters: usize,
    /// Multiply-adds per patch.
    macs_before: u64,
    macs_per_patch: u64,
    /// Of the file.
    bytes: u64,
    fingerprint: String,
}

/// `prunella prune`.
pub(super) fn prune(arguments: &PruneArguments, output: Output) -> Result<CommandOutcome> {
    let mut outputs = vec![arguments.out.clone()];
    outputs.extend(arguments.save_plan.clone());
    let mut inputs = vec![arguments.model.clone()];
    inputs.extend(arguments.plan.clone());
    check_outputs(&outputs, &inputs)?;
    let model = Model::load(&arguments.model)?;
    let plan = if let Some(file) = &arguments.plan {
        read_plan(file)?
    } else {
        let ratios = match &arguments.ratios {
            Some(ratios) => ratios.clone(),
            None => LayerRatios::uniform(arguments.ratio.unwrap_or(0.0), arguments.scope.into())?,
        };
        let Some(scores) = scores(&model, arguments, output)? else {
            output.remark(NO_TILES);
            output.result(&json!({ "tiles": [] }), "")?;
            return Ok(CommandOutcome::Nothing);
        };
        let (plan, warnings) = PruningPlan::new(&model, &scores, &ratios)?;
        output.warnings(&warnings);
        plan
    };
    let pruned = apply(&model, &plan)?;
    let precision = if arguments.f16 { Precision::F16 } else { Precision::F32 };
    pruned.save(&arguments.out, precision)?;
    if let Some(file) = &arguments.save_plan {
        let text = serde_json::to_vec_pretty(&plan).map_err(|e| Error::malformed(e.to_string()))?;
        write_atomic(file, &text)?;
    }
    let result = PruneResult {
        model: &arguments.out,
        parameters_before: model.graph().parameters(),
        parameters: pruned.graph().parameters(),
        macs_before: model.graph().macs(),
        macs_per_patch: pruned.graph().macs(),
        bytes: std::fs::metadata(&arguments.out).map_or(0, |m| m.len()),
        fingerprint: pruned.fingerprint(),
    };
    let text = format!(
        "{}: {} of {} parameters and {} of {} MACs a patch remain ({} bytes)",
        result.model.display(),
        result.parameters,
        result.parameters_before,
        result.macs_per_patch,
        result.macs_before,
        result.bytes
    );
    output.result(&json!(result), &text)?;
    Ok(CommandOutcome::Done)
}

/// The importance of the filters; none where a folder has no labelled tile.
fn scores(
    model: &Model,
    arguments: &PruneArguments,
    output: Output,
) -> Result<Option<FilterScores>> {
    let criterion = arguments.criterion;
    if arguments.data.is_empty() {
        if criterion.needs_data() {
            return Err(Error::invalid(format!(
                "The criterion '{}' is measured on labelled tiles; name their folder with --data",
                criterion.name()
            )));
        }
        return FilterScores::of_weights(model, criterion, arguments.seed).map(Some);
    }
    if !criterion.needs_data() {
        return Err(Error::invalid(format!(
            "The criterion '{}' looks at weights alone; --data is for apoz and taylor",
            criterion.name()
        )));
    }
    let selection = TileArguments {
        data: arguments.data.clone(),
        split: arguments.split.clone(),
        tiles: arguments.tiles.clone(),
        licence: None,
    };
    let mut loaded = load(&selection, output)?;
    if loaded.tiles.is_empty() {
        return Ok(None);
    }
    loaded.resample(model.card().mpp_um, output);
    check_labels(&loaded.tiles)?;
    let bar = output.bar(arguments.patches as u64, "Measuring");
    let scores = measure_filters(
        model,
        &loaded.tiles,
        criterion,
        arguments.patches,
        arguments.seed,
        &mut |patches| bar.set_position(patches as u64),
    )?;
    bar.finish_and_clear();
    Ok(Some(scores))
}

fn read_plan(file: &Path) -> Result<PruningPlan> {
    serde_json::from_slice(&read_file(file, MAX_PLAN_BYTES)?)
        .map_err(|e| Error::malformed("The plan cannot be understood").caused_by(e))
        .at(file)
}
