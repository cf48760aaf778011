//! `prunella demo`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::output_files::check_outputs;
use super::train::show;
use crate::demo::{BATCH, Demo, DemoEvent, start};
use crate::engine::DeviceChoice;
use crate::error::Result;
use crate::report::DemoRow;
use crate::train::open;

/// Train, prune and segment on crops of real tissue; needs no data.
///
/// Trains a small network, prunes and fine-tunes it at two ratios, and scores all three on held-out
/// tissue. Takes some minutes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella demo
  prunella demo --out try --seed 2 --device cpu")]
pub(super) struct DemoArguments {
    /// Folder for models, pictures, summary.json and report.html.
    #[arg(long, short, default_value = "prunella-demo")]
    out: PathBuf,
    /// Decides the initial weights, the patches and their order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to train: auto (a real GPU, else the CPU), cpu, gpu, or gpu:N as 'prunella devices'
    /// lists them.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

#[derive(Serialize)]
struct DemoResult<'a> {
    rows: &'a [DemoRow],
    report: &'a Path,
}

/// `prunella demo`.
pub(super) fn demo(arguments: &DemoArguments, output: Output) -> Result<CommandOutcome> {
    let started = Instant::now();
    let page = arguments.out.join("report.html");
    let in_folders =
        ["models/x.safetensors", "pictures/x.png"].map(|file| arguments.out.join(file));
    check_outputs(&[&[page.clone()][..], &in_folders].concat(), &[])?;
    let (compute, reason) = open(arguments.device, &start(arguments.seed)?, BATCH)?;
    output.remark(&reason);
    let demo =
        Demo { out: &arguments.out, seed: arguments.seed, compute: &compute, cancel: stop_flag() };
    let mut bar = output.bar(1, "Training");
    let outcome = demo.run(&mut |event| match event {
        DemoEvent::Started(step) => {
            bar.finish_and_clear();
            output.remark(&step.to_string());
            bar = output.bar(1, "Training");
        }
        DemoEvent::Training(event) => show(&event, &bar, output),
    })?;
    bar.finish_and_clear();
    output.warnings(&outcome.warnings);

    let seconds = started.elapsed().as_secs_f64();
    let text =
        table(&outcome.rows) + &format!("Open {} to see it ({seconds:.0} s).", page.display());
    let result = DemoResult { rows: &outcome.rows, report: &page };
    output.result(&serde_json::json!(result), &text)?;
    Ok(CommandOutcome::Done)
}

fn table(rows: &[DemoRow]) -> String {
    let mut text = format!(
        "{:>5} {:>11} {:>9} {:>7} {:>9} {:>8}\n",
        "δ", "parameters", "bytes", "Dice", "accuracy", "ms"
    );
    for r in rows {
        text += &format!(
            "{:>5} {:>11} {:>9} {:>7.3} {:>9.3} {:>8.1}\n",
            r.pruning_ratio, r.parameters, r.bytes, r.dice, r.accuracy, r.segment_ms
        );
    }
    text
}
