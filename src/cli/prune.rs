//! `prunella prune`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use super::output_files::check_outputs;
use crate::error::{Error, ErrorContext as _, Result};
use crate::model::{Model, Precision};
use crate::platform::{read_file, write_atomic};
use crate::prune::{PruningPlan, Scope, apply};

/// Largest plan file.
const MAX_PLAN_BYTES: u64 = 10_000_000;

/// Remove the weakest filters of every convolution.
///
/// Filters are ranked by the L1 norm of their weights. The pruned model should be trained further
/// with 'prunella finetune'.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella prune model.safetensors --ratio 0.5 --out half.safetensors
  prunella prune model.safetensors --ratio 0.9 --out tiny.safetensors --save-plan plan.json
  prunella prune model.safetensors --ratio 0.9 --scope all --out smallest.safetensors
  prunella prune model.safetensors --plan plan.json --out tiny.safetensors")]
pub(super) struct PruneArguments {
    /// The model to prune (.safetensors).
    model: PathBuf,
    /// Share of filters to remove from each layer, 0 to 1.
    #[arg(long, required_unless_present = "plan", conflicts_with = "plan")]
    ratio: Option<f64>,
    /// Which layers lose units.
    #[arg(long, value_enum, default_value_t = ScopeName::Convolutions, conflicts_with = "plan")]
    scope: ScopeName,
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
        let ratio = arguments.ratio.unwrap_or(0.0);
        let (plan, warnings) = PruningPlan::l1(&model, ratio, arguments.scope.into())?;
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

fn read_plan(file: &Path) -> Result<PruningPlan> {
    serde_json::from_slice(&read_file(file, MAX_PLAN_BYTES)?)
        .map_err(|e| Error::malformed("The plan cannot be understood").caused_by(e))
        .at(file)
}
