//! `prunella demo`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::train::show;
use crate::demo::{BATCH, Demo, Stage, start};
use crate::engine::DeviceChoice;
use crate::error::Result;
use crate::train::open;

/// Train, prune, fine-tune, evaluate and segment on procedural tissue: everything, in minutes,
/// without data.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella demo
  prunella demo --out try --seed 2 --device cpu")]
pub struct DemoArguments {
    /// Folder for models, pictures, summary.json and report.html.
    #[arg(long, short, default_value = "prunella-demo")]
    out: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// auto (a real GPU, else the CPU), cpu, gpu or gpu:N of 'prunella devices'.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

/// `prunella demo`.
pub fn demo(arguments: &DemoArguments, output: Output) -> Result<CommandOutcome> {
    let begun = Instant::now();
    let (compute, why) = open(arguments.device, &start(arguments.seed)?, BATCH)?;
    output.remark(&why);
    let demo =
        Demo { out: &arguments.out, seed: arguments.seed, compute: &compute, cancel: stop_flag() };
    let mut bar = output.bar(1, "Training");
    let (rows, report) = demo.run(&mut |stage| match stage {
        Stage::Begin(what) => {
            bar.finish_and_clear();
            output.remark(what);
            bar = output.bar(1, "Training");
        }
        Stage::Training(event) => show(&event, &bar, output),
    })?;
    bar.finish_and_clear();
    report.notes.iter().for_each(|n| output.remark(n));
    let mut text = format!(
        "{:>5} {:>11} {:>9} {:>7} {:>9} {:>8}\n",
        "δ", "parameters", "bytes", "Dice", "accuracy", "ms"
    );
    for r in &rows {
        text += &format!(
            "{:>5} {:>11} {:>9} {:>7.3} {:>9.3} {:>8.1}\n",
            r.pruning_ratio, r.parameters, r.bytes, r.dice, r.accuracy, r.segment_ms
        );
    }
    let page = arguments.out.join("report.html");
    text += &format!("Open {} to see it ({:.0} s).", page.display(), begun.elapsed().as_secs_f64());
    output.result(&serde_json::json!({ "rows": rows, "report": page }), &text)?;
    Ok(CommandOutcome::Done)
}
