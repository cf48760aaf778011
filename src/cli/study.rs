//! `prunella study`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::tiles::{TileArguments, load};
use super::train::show;
use crate::engine::{Control, DeviceChoice};
use crate::error::{Error, ErrorContext as _, Result};
use crate::platform::{read_file, write_atomic};
use crate::study::{
    Cell, CellRun, Data, Design, NetworkChoice, Study, cost, paper_cost, report, snakefile,
};

/// Largest design file.
const MAX_DESIGN_BYTES: u64 = 1_000_000;
/// How often finished jobs are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Runs whose median Table 8's time is.
const COST_RUNS: usize = 7;

/// Answer the paper's question for a data set: how far to prune, and how many patches?
#[derive(Debug, Args)]
pub struct StudyArguments {
    #[command(subcommand)]
    task: StudyTask,
}

#[derive(Debug, Subcommand)]
enum StudyTask {
    Run(RunArguments),
    /// Write report.html, its figures and the table (CSV, JSON) from what is finished.
    Report {
        /// The study's folder.
        folder: PathBuf,
        /// A cost.csv of 'study run paper-cost', kept with the study: accuracy is then drawn
        /// against milliseconds too.
        #[arg(long, value_name = "CSV")]
        times: Option<PathBuf>,
    },
    Plan(PlanArguments),
    Cell(CellArguments),
}

/// Train and score every cell of a design; a killed run goes on where it was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella study run smoke --out smoke
  prunella study run paper-table6 --data kumar --out table6 --jobs 2
  prunella study run paper-table7 --data kumar --out table7 --device gpu:0,gpu:1
  prunella study run my-design.toml --data tiles --out mine
  prunella study run paper-cost --out cost

Built in: smoke, paper-table4 to paper-table7, paper-seeds, paper-cost.

A design for tiles of your own, by parts of their names:
  name = \"mine\"
  networks = [\"dcnn\"]
  ratios = [0.0, 0.5, 0.9]
  patches = [1000, 10000]
  seeds = [1, 2, 3]
  pretrain = { patches = 60000, epochs = 1 }
  train = { epochs = 20, augment = \"strong\", weight_decay = 0.01, awake = true }
  [data.split]
  pretrain = [\"slide-1\", \"slide-2\"]
  train = [\"slide-3\"]
  test = [\"slide-4\", \"slide-5\"]")]
struct RunArguments {
    /// A built-in design or a TOML file.
    design: String,
    #[arg(long, short)]
    out: PathBuf,
    /// Folder with labelled tiles. The design's [data.split] says which of them train and test,
    /// else the paper's Table 1.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Cells worked on at a time, each in a process with its share of the cores; one a device
    /// unless said otherwise.
    #[arg(long)]
    jobs: Option<usize>,
    /// auto, cpu, gpu or gpu:N; several with commas, and jobs take turns on them.
    #[arg(long, default_value = "auto", value_delimiter = ',')]
    device: Vec<DeviceChoice>,
}

/// Write a Snakemake workflow for many machines.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella study plan smoke --out smoke && cd smoke && snakemake --cores all --retries 2
  prunella study plan paper-table6 --data /data/kumar --out table6
  cd table6 && snakemake --executor slurm --jobs 50 --retries 2
On a Slurm that keeps no accounts, add --slurm-status-command squeue.")]
struct PlanArguments {
    /// A built-in design or a TOML file.
    design: String,
    /// Folder of the study: the Snakefile, and later its results.
    #[arg(long, short)]
    out: PathBuf,
    /// Folder with labelled tiles, as the machines see it.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// Do one cell, or one pre-training, of the study in a folder: what workflows call.
#[derive(Debug, Args)]
struct CellArguments {
    /// The study's folder.
    folder: PathBuf,
    /// Which cell, as the Snakefile and results.csv name it; or --pretrain.
    #[arg(long, required_unless_present = "pretrain", conflicts_with = "pretrain")]
    id: Option<String>,
    /// Only the pre-training of this network.
    #[arg(long)]
    pretrain: Option<String>,
    /// Folder with labelled tiles.
    #[arg(long)]
    data: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

/// `prunella study`.
pub fn study(arguments: &StudyArguments, output: Output) -> Result<CommandOutcome> {
    match &arguments.task {
        StudyTask::Run(a) => run(a, output),
        StudyTask::Report { folder, times } => {
            let study = Study::open(folder)?;
            times.as_deref().map_or(Ok(()), |file| study.take_times(file))?;
            written(&study, output)
        }
        StudyTask::Plan(a) => plan(a, output),
        StudyTask::Cell(a) => cell(a, output),
    }
}

/// A design by name or from a file.
fn design(name: &str) -> Result<Design> {
    let path = Path::new(name);
    if !path.is_file() {
        return Design::built_in(name);
    }
    let text = String::from_utf8(read_file(path, MAX_DESIGN_BYTES)?)
        .map_err(|_| Error::malformed("The design is not text").at(path))?;
    Design::parse(&text).at(path)
}

/// Says what is missing before anything is written.
fn check_data(design: &Design, data: Option<&Path>) -> Result<()> {
    if design.data.phantom || data.is_some() {
        return Ok(());
    }
    Err(Error::mismatch("This design needs labelled tiles; name their folder with --data"))
}

/// The tiles that a design wants.
fn tiles(design: &Design, folder: Option<&Path>, output: Output) -> Result<Data> {
    check_data(design, folder)?;
    match folder {
        Some(folder) if !design.data.phantom => {
            let wanted = TileArguments {
                data: folder.to_path_buf(),
                split: None,
                tiles: Vec::new(),
                licence: None,
            };
            Data::of_tiles(load(&wanted, output)?, design)
        }
        _ => Ok(Data::phantom()),
    }
}

fn run(arguments: &RunArguments, output: Output) -> Result<CommandOutcome> {
    let design = design(&arguments.design)?;
    if design.cost {
        return measured(&design, &arguments.out, output);
    }
    let jobs = arguments.jobs.unwrap_or(arguments.device.len());
    if jobs == 0 {
        return Err(Error::mismatch("At least one job is needed"));
    }
    // Before anything is written: a design that does not fit the tiles should leave no folder
    // behind.
    let data = if Study::is_in(&arguments.out) {
        None
    } else {
        Some(tiles(&design, arguments.data.as_deref(), output)?)
    };
    let study = Study::begin(design, &arguments.out)?;
    let missing = study.missing()?;
    let all = study.design.cells().len();
    if missing.len() < all {
        output.remark(&format!("{} of {all} cells are finished already", all - missing.len()));
    }
    if jobs == 1 || missing.len() < 2 {
        one_after_the_other(arguments, &study, (&missing, data), output)?;
    } else {
        side_by_side(arguments, jobs, &study, &missing, output)?;
    }
    written(&study, output)
}

/// Cells in this process; tiles may have been read already.
fn one_after_the_other(
    arguments: &RunArguments,
    study: &Study,
    (missing, data): (&[Cell], Option<Data>),
    output: Output,
) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let data = data.map_or_else(|| tiles(&study.design, arguments.data.as_deref(), output), Ok)?;
    study.keep_to(&data)?;
    let device = arguments.device.first().copied().unwrap_or_default();
    let runner = CellRun { study, data: &data, device, cancel: stop_flag() };
    let begun = Instant::now();
    for (i, cell) in missing.iter().enumerate() {
        let bar = output.bar(1, &cell.id);
        runner.run(cell, &mut |_, event| {
            if !matches!(event, crate::train::Event::Epoch(_)) {
                show(event, &bar, output);
            }
        })?;
        bar.finish_and_clear();
        told(study, cell, i + 1, missing.len(), begun, output)?;
    }
    Ok(())
}

/// A line for a finished cell.
fn told(
    study: &Study,
    cell: &Cell,
    done: usize,
    all: usize,
    begun: Instant,
    output: Output,
) -> Result<()> {
    let Some(result) = study.result(cell)? else { return Ok(()) };
    let number = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.4}"));
    let left = begun.elapsed().as_secs_f64() / done as f64 * (all - done) as f64;
    output.remark(&format!(
        "{done}/{all} {}: accuracy {}, Dice {} ({left:.0} s left at this pace)",
        cell.id,
        number(result.scores.accuracy),
        number(result.scores.dice)
    ));
    Ok(())
}

/// A cell in a process of its own.
struct CellJob<'a> {
    process: Child,
    cell: &'a Cell,
    /// Place among the jobs that run at a time; it decides the device.
    seat: usize,
}

/// Processes, each with its share of the cores: training scales badly over threads.
fn side_by_side(
    arguments: &RunArguments,
    jobs: usize,
    study: &Study,
    missing: &[Cell],
    output: Output,
) -> Result<()> {
    for network in &study.design.networks {
        if study.design.pretrain_recipe(*network).is_some()
            && missing.iter().any(|c| c.network == *network)
        {
            output.remark(&format!("Pre-training {}", network.name()));
            finish(
                start(arguments, study, 1, 0, &["--pretrain", network.name()])?,
                network.name(),
            )?;
        }
    }
    let begun = Instant::now();
    let mut waiting = missing.iter();
    let mut running: Vec<CellJob<'_>> = Vec::new();
    let mut done = 0;
    loop {
        while let Some(seat) = (0..jobs).find(|seat| running.iter().all(|job| job.seat != *seat)) {
            let Some(cell) = waiting.next() else { break };
            let process = start(arguments, study, jobs, seat, &["--id", &cell.id])?;
            running.push(CellJob { process, cell, seat });
        }
        if running.is_empty() {
            return Ok(());
        }
        let stop = |running: &mut Vec<CellJob<'_>>| {
            running.iter_mut().for_each(|job| drop(job.process.kill()))
        };
        let ended = running
            .iter_mut()
            .position(|job| matches!(job.process.try_wait(), Ok(Some(_)) | Err(_)));
        if let Some(i) = ended {
            let CellJob { process, cell, .. } = running.swap_remove(i);
            finish(process, &cell.id).inspect_err(|_| stop(&mut running))?;
            done += 1;
            told(study, cell, done, missing.len(), begun, output)?;
        } else {
            std::thread::sleep(LOOK_EVERY);
        }
        let asked = Control { cancel: Some(stop_flag()), ..Control::default() }.check();
        if let Err(e) = asked {
            // They keep a checkpoint every few seconds and go on from there.
            stop(&mut running);
            return Err(e);
        }
    }
}

/// Starts `prunella study cell` on the device of a seat, with that many to share the cores.
fn start(
    arguments: &RunArguments,
    study: &Study,
    jobs: usize,
    seat: usize,
    what: &[&str],
) -> Result<Child> {
    let program =
        std::env::current_exe().map_err(|e| Error::io("The program cannot find itself", e))?;
    let device = arguments.device[seat % arguments.device.len()];
    let threads = (crate::platform::threads() / jobs).max(1);
    let mut command = Command::new(&program);
    command
        .args(["study", "cell"])
        .arg(&study.folder)
        .args(what)
        .args(["--device", &device.to_string()]);
    if let Some(data) = &arguments.data {
        command.arg("--data").arg(data);
    }
    command
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().map_err(|e| Error::io("A job cannot be started", e))
}

/// The end of a job, with its last words if it failed.
fn finish(job: Child, name: &str) -> Result<()> {
    let ended = job.wait_with_output().map_err(|e| Error::io("A job cannot be waited for", e))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(Error::mismatch(format!(
        "{name} failed: {}",
        said.lines().last().unwrap_or("it said nothing")
    )))
}

/// Writes table and report.
fn written(study: &Study, output: Output) -> Result<CommandOutcome> {
    let table = study.write_table()?;
    let page = study.folder.join("report.html");
    let report = report(study)?;
    write_atomic(&page, report.html.as_bytes())?;
    for (name, svg) in &report.figures {
        write_atomic(&study.folder.join("figures").join(name), svg.as_bytes())?;
    }
    let results = study.results()?;
    let text = serde_json::to_vec_pretty(&results).map_err(|e| Error::malformed(e.to_string()))?;
    write_atomic(&study.folder.join("results.json"), &text)?;
    let (finished, all) = (results.len(), study.design.cells().len());
    let text = format!("{finished} of {all} cells: {}, {}", page.display(), table.display());
    output.result(
        &json!({ "finished": finished, "cells": all, "report": page, "table": table }),
        &text,
    )?;
    Ok(if finished == 0 { CommandOutcome::Nothing } else { CommandOutcome::Done })
}

fn plan(arguments: &PlanArguments, output: Output) -> Result<CommandOutcome> {
    let design = design(&arguments.design)?;
    check_data(&design, arguments.data.as_deref())?;
    let study = Study::begin(design, &arguments.out)?;
    let data =
        arguments.data.as_deref().map(|d| d.canonicalize().unwrap_or_else(|_| d.to_path_buf()));
    let text = snakefile(&study.design, data.as_deref().map(|d| d.to_string_lossy()).as_deref());
    let file = arguments.out.join("Snakefile");
    write_atomic(&file, text.as_bytes())?;
    let cells = study.design.cells().len();
    output.result(
        &json!({ "workflow": file, "cells": cells }),
        &format!("{} ({cells} cells)", file.display()),
    )?;
    Ok(CommandOutcome::Done)
}

fn cell(arguments: &CellArguments, output: Output) -> Result<CommandOutcome> {
    let study = Study::open(&arguments.folder)?;
    let data = tiles(&study.design, arguments.data.as_deref(), output)?;
    study.keep_to(&data)?;
    let runner =
        CellRun { study: &study, data: &data, device: arguments.device, cancel: stop_flag() };
    if let Some(name) = &arguments.pretrain {
        let network = study.design.networks.iter().find(|n| n.name() == name);
        let network = network
            .ok_or_else(|| Error::mismatch(format!("The design has no network '{name}'")))?;
        let model = runner.pretrained(*network, &mut |_, _| {})?;
        output.result(&json!({ "fingerprint": model.fingerprint() }), &model.fingerprint())?;
        return Ok(CommandOutcome::Done);
    }
    let id = arguments.id.as_deref().unwrap_or_default();
    let cells = study.design.cells();
    let cell = cells.iter().find(|c| c.id == id);
    let cell = cell.ok_or_else(|| Error::mismatch(format!("The design has no cell '{id}'")))?;
    let result = runner.run(cell, &mut |_, _| {})?;
    output.result(&json!(result), &study.result_file(cell).display().to_string())?;
    Ok(CommandOutcome::Done)
}

fn measured(design: &Design, folder: &Path, output: Output) -> Result<CommandOutcome> {
    let rows = cost(design, COST_RUNS)?;
    let mut table =
        "network,pruning_ratio,bytes,ms_per_patch,paper_bytes,paper_ms_per_patch\n".to_owned();
    for (network, ratio, bytes, ms) in &rows {
        let paper = paper_cost(*network == NetworkChoice::Dccn, *ratio)
            .filter(|_| *network != NetworkChoice::Small);
        let paper = paper.map_or(",".to_owned(), |(kb, ms)| format!("{},{ms}", kb * 1024.0));
        table.push_str(&format!("{},{ratio},{bytes},{ms:.4},{paper}\n", network.name()));
    }
    let file = folder.join("cost.csv");
    write_atomic(&file, table.as_bytes())?;
    output.result(&json!({ "table": file }), &format!("{table}{}", file.display()))?;
    Ok(CommandOutcome::Done)
}
