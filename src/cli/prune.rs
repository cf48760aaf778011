//! `prunella prune`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use crate::error::{Error, ErrorContext as _, Result};
use crate::model::{Model, Precision};
use crate::platform::{read_file, write_atomic};
use crate::prune::{PruningPlan, Scope, apply};

/// Remove the weakest filters of every convolution.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella prune model.safetensors --ratio 0.5 --out half.safetensors
  prunella prune model.safetensors --ratio 0.9 --out tiny.safetensors --save-plan plan.json
  prunella prune model.safetensors --ratio 0.9 --scope all --out smallest.safetensors
  prunella prune model.safetensors --plan plan.json --out tiny.safetensors")]
pub struct PruneArguments {
    /// The model to prune.
    model: PathBuf,
    /// Share of filters to remove from each layer, 0 to 1.
    #[arg(long, required_unless_present = "plan", conflicts_with = "plan")]
    ratio: Option<f64>,
    /// What is pruned: the filters of convolutions (the paper's rule), or the units of hidden
    /// layers as well.
    #[arg(long, value_enum, default_value_t = ScopeName::Convolutions, conflicts_with = "plan")]
    scope: ScopeName,
    /// Follow a saved plan instead of choosing filters by L1 norm.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Where the pruned model goes.
    #[arg(long, short)]
    out: PathBuf,
    /// Write the plan (kept filters of each layer) as JSON.
    #[arg(long)]
    save_plan: Option<PathBuf>,
    /// Store half-precision values.
    #[arg(long)]
    f16: bool,
}

/// [`Scope`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeName {
    Convolutions,
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

/// Largest plan file.
const MAX_PLAN_BYTES: u64 = 10_000_000;

/// `prunella prune`.
pub fn prune(arguments: &PruneArguments, output: Output) -> Result<CommandOutcome> {
    let model = Model::load(&arguments.model)?;
    let plan = match (&arguments.plan, arguments.ratio) {
        (Some(path), _) => serde_json::from_slice(&read_file(path, MAX_PLAN_BYTES)?)
            .map_err(|e| Error::malformed(format!("The plan cannot be understood: {e}")))
            .at(path)?,
        (None, ratio) => {
            let (plan, report) =
                PruningPlan::l1(&model, ratio.unwrap_or(0.0), arguments.scope.into())?;
            report.notes.iter().for_each(|n| output.remark(n));
            plan
        }
    };
    let small = apply(&model, &plan)?;
    let precision = if arguments.f16 { Precision::F16 } else { Precision::F32 };
    small.save(&arguments.out, precision)?;
    if let Some(path) = &arguments.save_plan {
        let text = serde_json::to_vec_pretty(&plan).map_err(|e| Error::malformed(e.to_string()))?;
        write_atomic(path, &text)?;
    }
    let (before, after) = (model.graph(), small.graph());
    let bytes = std::fs::metadata(&arguments.out).map_or(0, |m| m.len());
    let value = json!({
        "model": arguments.out, "parameters_before": before.parameters(), "parameters": after.parameters(),
        "macs_before": before.macs(), "macs_per_patch": after.macs(), "bytes": bytes, "fingerprint": small.fingerprint(),
    });
    let text = format!(
        "{}: {} of {} parameters and {} of {} MACs a patch remain ({bytes} bytes)",
        arguments.out.display(),
        after.parameters(),
        before.parameters(),
        after.macs(),
        before.macs()
    );
    output.result(&value, &text)?;
    Ok(CommandOutcome::Done)
}
