//! `prunella study`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::cell_processes::{CellProcesses, ProcessSettings};
use super::output::{Output, stop_flag};
use super::output_files::check_outputs;
use super::tiles::{TileArguments, check_labels, load};
use super::train::show;
use crate::engine::DeviceChoice;
use crate::error::{Error, ErrorContext as _, Result};
use crate::platform::{read_file, write_atomic};
use crate::study::{
    Cell, CellRunner, Design, NetworkCostRow, Study, StudyTiles, measure_cost, paper_cost, report,
    snakefile,
};
use crate::train::Event;

/// Largest design file.
const MAX_DESIGN_BYTES: u64 = 1_000_000;
/// Files of a study, in each of its folders, that are tried before the work.
const RESULT_FILES: [&str; 7] = [
    "report.html",
    "results.csv",
    "results.json",
    "cells/x.json",
    "figures/x.svg",
    "models/x.safetensors",
    "pictures/x.png",
];
/// Runs whose median is the time of a patch.
const COST_RUNS: usize = 7;
/// Header of `cost.csv`.
const COST_HEADER: &str =
    "network,pruning_ratio,bytes,ms_per_patch,paper_bytes,paper_ms_per_patch\n";

/// Measure how far to prune and how many patches are needed.
///
/// A study trains and scores one network for every combination of pruning ratio, sample size and
/// seed of a design; each combination is a cell.
#[derive(Debug, Args)]
pub(super) struct StudyArguments {
    #[command(subcommand)]
    task: StudyTask,
}

#[derive(Debug, Subcommand)]
enum StudyTask {
    Run(RunArguments),
    Report(ReportArguments),
    Plan(PlanArguments),
    Cell(CellArguments),
}

/// Train and score every cell of a design.
///
/// Finished cells are kept: the same command continues a run that was stopped.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella study run smoke --out smoke
  prunella study run paper-table6 --data kumar --out table6 --jobs 2
  prunella study run paper-table7 --data kumar --out table7 --device gpu:0,gpu:1
  prunella study run my-design.toml --data tiles --out mine
  prunella study run paper-cost --out cost

Built-in designs: smoke, paper-table4 to paper-table7, paper-seeds, paper-cost.

A design for other tiles names them by parts of their names:
  name = \"mine\"
  networks = [\"dcnn\"]
  ratios = [0.0, 0.5, 0.9]
  patches = [1000, 10000]
  seeds = [1, 2, 3]
  pretrain = { patches = 60000, epochs = 1 }
  train = { epochs = 20, augment = \"strong\", weight_decay = 0.01, revive = true }
  [data.split]
  pretrain = [\"slide-1\", \"slide-2\"]
  train = [\"slide-3\"]
  test = [\"slide-4\", \"slide-5\"]")]
struct RunArguments {
    /// A built-in design or a TOML file.
    design: String,
    /// Folder of the study.
    #[arg(long, short)]
    out: PathBuf,
    /// Folder with labelled tiles. The design's [data.split] decides which of them pre-train, train
    /// and test; without it the paper's Table 1 does.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Number of cells at a time, each in a process with its share of the cores [default: the
    /// number of devices].
    #[arg(long)]
    jobs: Option<usize>,
    /// Where to train: auto, cpu, gpu, or gpu:N as 'prunella devices' lists them. Jobs take turns
    /// on several (comma-separated).
    #[arg(long, default_value = "auto", value_delimiter = ',')]
    device: Vec<DeviceChoice>,
}

/// Write report.html, its figures and the tables from the finished cells.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella study report table6
  prunella study report table6 --times cost/cost.csv")]
struct ReportArguments {
    /// Folder of the study.
    folder: PathBuf,
    /// A cost.csv of 'prunella study run paper-cost': adds a figure of accuracy against
    /// milliseconds. It is copied into the study.
    #[arg(long, value_name = "CSV")]
    times: Option<PathBuf>,
}

/// Write a Snakemake workflow that computes the cells on many machines.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella study plan smoke --out smoke && cd smoke && snakemake --cores all --retries 2
  prunella study plan paper-table6 --data /data/kumar --out table6
  cd table6 && snakemake --executor slurm --jobs 50 --retries 2
With a Slurm without accounting, add --slurm-status-command squeue.")]
struct PlanArguments {
    /// A built-in design or a TOML file.
    design: String,
    /// Folder of the study: the Snakefile, and later its results.
    #[arg(long, short)]
    out: PathBuf,
    /// Folder with labelled tiles, by a path that is valid on all machines.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// Compute one cell or one pre-training of a study, as workflows do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella study cell smoke --pretrain small
  prunella study cell smoke --id small-d90-n600-s1-570a24bb")]
struct CellArguments {
    /// Folder of the study.
    folder: PathBuf,
    /// Id of the cell, as the Snakefile and results.csv have it.
    #[arg(long, required_unless_present = "pretrain", conflicts_with = "pretrain")]
    id: Option<String>,
    /// Compute only the pre-training of this network.
    #[arg(long, value_name = "NETWORK")]
    pretrain: Option<String>,
    /// Folder with labelled tiles.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where to train: auto, cpu, gpu, or gpu:N as 'prunella devices' lists them.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

/// `prunella study`.
pub(super) fn study(arguments: &StudyArguments, output: Output) -> Result<CommandOutcome> {
    match &arguments.task {
        StudyTask::Run(a) => run(a, output),
        StudyTask::Report(a) => {
            let study = Study::open(&a.folder)?;
            check_outputs(&RESULT_FILES.map(|file| a.folder.join(file)), &[])?;
            if let Some(file) = &a.times {
                study.import_times(file)?;
            }
            write_report(&study, output)
        }
        StudyTask::Plan(a) => plan(a, output),
        StudyTask::Cell(a) => compute_cell(a, output),
    }
}

/// A design from a file, or a built-in one by name.
fn load_design(name: &str) -> Result<Design> {
    let path = Path::new(name);
    if !path.is_file() {
        return Design::built_in(name);
    }
    let text = String::from_utf8(read_file(path, MAX_DESIGN_BYTES)?)
        .map_err(|_| Error::malformed("The design is not text").at(path))?;
    Design::parse(&text).at(path)
}

/// Refuses a design of labelled tiles without a folder of them.
fn check_data(design: &Design, data: Option<&Path>) -> Result<()> {
    if design.data.phantom || data.is_some() {
        return Ok(());
    }
    Err(Error::invalid("This design needs labelled tiles; name their folder with --data"))
}

/// The tiles of a design.
fn load_tiles(design: &Design, folder: Option<&Path>, output: Output) -> Result<StudyTiles> {
    check_data(design, folder)?;
    match folder {
        Some(folder) if !design.data.phantom => {
            let loaded = load(&TileArguments::of_folder(folder), output)?;
            loaded.note_pixel_sizes(output);
            let tiles = StudyTiles::by_split(loaded.tiles, design)?;
            check_labels(&tiles.pretrain)?;
            check_labels(&tiles.train)?;
            Ok(tiles)
        }
        _ => Ok(StudyTiles::phantom()),
    }
}

fn run(arguments: &RunArguments, output: Output) -> Result<CommandOutcome> {
    let design = load_design(&arguments.design)?;
    check_outputs(&RESULT_FILES.map(|file| arguments.out.join(file)), &[])?;
    if design.cost {
        return write_cost(&design, &arguments.out, output);
    }
    let jobs = arguments.jobs.unwrap_or(arguments.device.len());
    if jobs == 0 {
        return Err(Error::invalid("At least one job is needed"));
    }
    // Read before the folder is created, so that a design that does not fit the tiles leaves
    // nothing behind.
    let mut tiles = None;
    if !Study::exists_in(&arguments.out) {
        tiles = Some(load_tiles(&design, arguments.data.as_deref(), output)?);
    }
    let study = Study::create_or_open(design, &arguments.out)?;
    let unfinished = study.unfinished()?;
    let all = study.design.cells().len();
    if unfinished.len() < all {
        output.remark(&format!("{} of {all} cells are finished already", all - unfinished.len()));
    }
    if jobs > 1 && unfinished.len() > 1 {
        run_in_processes(arguments, jobs, &study, &unfinished, output)?;
    } else if !unfinished.is_empty() {
        let tiles = match tiles {
            Some(tiles) => tiles,
            None => load_tiles(&study.design, arguments.data.as_deref(), output)?,
        };
        run_here(arguments, &study, &unfinished, &tiles, output)?;
    }
    write_report(&study, output)
}

/// Computes cells one after the other in this process.
fn run_here(
    arguments: &RunArguments,
    study: &Study,
    cells: &[Cell],
    tiles: &StudyTiles,
    output: Output,
) -> Result<()> {
    study.check_tiles(tiles)?;
    let device = arguments.device.first().copied().unwrap_or_default();
    let runner = CellRunner { study, tiles, device, cancel: stop_flag() };
    let mut pace = Pace::new(cells.len());
    for cell in cells {
        let bar = output.bar(1, &cell.id);
        runner.run(cell, &mut |event| {
            // A line for each epoch of each cell would be too many.
            if !matches!(event, Event::Epoch(_)) {
                show(event, &bar, output);
            }
        })?;
        bar.finish_and_clear();
        pace.cell_done(study, cell, output)?;
    }
    Ok(())
}

/// Computes cells in `jobs` processes: training scales badly over threads.
fn run_in_processes(
    arguments: &RunArguments,
    jobs: usize,
    study: &Study,
    cells: &[Cell],
    output: Output,
) -> Result<()> {
    let settings = ProcessSettings {
        study: &study.folder,
        data: arguments.data.as_deref(),
        devices: &arguments.device,
    };
    for &network in &study.design.networks {
        let is_used = cells.iter().any(|cell| cell.network == network);
        if is_used && study.design.pretrain_recipe(network).is_some() {
            output.remark(&format!("Pre-training {}", network.name()));
            settings.pretrain(network)?;
        }
    }
    let mut pace = Pace::new(cells.len());
    CellProcesses::new(settings, jobs).run(cells, &mut |cell| pace.cell_done(study, cell, output))
}

/// Counts finished cells and estimates the time that is left.
struct Pace {
    cells: usize,
    done: usize,
    started: Instant,
}

impl Pace {
    fn new(cells: usize) -> Self {
        Self { cells, done: 0, started: Instant::now() }
    }

    /// Prints a line for a finished cell.
    fn cell_done(&mut self, study: &Study, cell: &Cell, output: Output) -> Result<()> {
        self.done += 1;
        let Some(result) = study.result(cell)? else { return Ok(()) };
        let seconds_per_cell = self.started.elapsed().as_secs_f64() / self.done as f64;
        let seconds_left = seconds_per_cell * (self.cells - self.done) as f64;
        output.remark(&format!(
            "{}/{} {}: accuracy {}, Dice {} ({seconds_left:.0} s left at this pace)",
            self.done,
            self.cells,
            cell.id,
            four_digits(result.scores.accuracy),
            four_digits(result.scores.dice)
        ));
        Ok(())
    }
}

fn four_digits(score: Option<f64>) -> String {
    score.map_or("–".to_owned(), |s| format!("{s:.4}"))
}

#[derive(Serialize)]
struct ReportResult<'a> {
    finished: usize,
    cells: usize,
    report: &'a Path,
    table: &'a Path,
}

/// Writes tables, figures and report.
fn write_report(study: &Study, output: Output) -> Result<CommandOutcome> {
    let table = study.write_table()?;
    let page = study.folder.join("report.html");
    let report = report(study)?;
    write_atomic(&page, report.html.as_bytes())?;
    for figure in &report.figures {
        let file = study.folder.join("figures").join(&figure.file_name);
        write_atomic(&file, figure.svg.as_bytes())?;
    }
    let results = study.results()?;
    let text = serde_json::to_vec_pretty(&results).map_err(|e| Error::malformed(e.to_string()))?;
    write_atomic(&study.folder.join("results.json"), &text)?;
    let finished = results.len();
    let cells = study.design.cells().len();
    let text = format!("{finished} of {cells} cells: {}, {}", page.display(), table.display());
    let result = ReportResult { finished, cells, report: &page, table: &table };
    output.result(&json!(result), &text)?;
    Ok(if finished == 0 { CommandOutcome::Nothing } else { CommandOutcome::Done })
}

fn plan(arguments: &PlanArguments, output: Output) -> Result<CommandOutcome> {
    let design = load_design(&arguments.design)?;
    check_data(&design, arguments.data.as_deref())?;
    let file = arguments.out.join("Snakefile");
    check_outputs(std::slice::from_ref(&file), &[])?;
    let study = Study::create_or_open(design, &arguments.out)?;
    let data = arguments.data.as_deref().map(|folder| {
        let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        absolute.to_string_lossy().into_owned()
    });
    let text = snakefile(&study.design, data.as_deref());
    write_atomic(&file, text.as_bytes())?;
    let cells = study.design.cells().len();
    output.result(
        &json!({ "workflow": file, "cells": cells }),
        &format!("{} ({cells} cells)", file.display()),
    )?;
    Ok(CommandOutcome::Done)
}

fn compute_cell(arguments: &CellArguments, output: Output) -> Result<CommandOutcome> {
    let study = Study::open(&arguments.folder)?;
    let tiles = load_tiles(&study.design, arguments.data.as_deref(), output)?;
    study.check_tiles(&tiles)?;
    let runner =
        CellRunner { study: &study, tiles: &tiles, device: arguments.device, cancel: stop_flag() };
    if let Some(name) = &arguments.pretrain {
        let network = study.design.networks.iter().find(|n| n.name() == name);
        let network =
            network.ok_or_else(|| Error::invalid(format!("The design has no network '{name}'")))?;
        let fingerprint = runner.pretrained(*network, &mut |_| {})?.fingerprint();
        output.result(&json!({ "fingerprint": fingerprint }), &fingerprint)?;
        return Ok(CommandOutcome::Done);
    }
    let id = arguments.id.as_deref().unwrap_or_default();
    let cells = study.design.cells();
    let cell = cells.iter().find(|c| c.id == id);
    let cell = cell.ok_or_else(|| Error::invalid(format!("The design has no cell '{id}'")))?;
    let result = runner.run(cell, &mut |_| {})?;
    output.result(&json!(result), &study.result_file(cell).display().to_string())?;
    Ok(CommandOutcome::Done)
}

/// Measures the networks of a design and writes `cost.csv`.
fn write_cost(design: &Design, folder: &Path, output: Output) -> Result<CommandOutcome> {
    let mut table = COST_HEADER.to_owned();
    for row in measure_cost(design, COST_RUNS)? {
        table += &cost_row(&row);
    }
    let file = folder.join("cost.csv");
    write_atomic(&file, table.as_bytes())?;
    output.result(&json!({ "table": file }), &format!("{table}{}", file.display()))?;
    Ok(CommandOutcome::Done)
}

/// The columns of [`COST_HEADER`]; the paper's are empty for networks that it does not have.
fn cost_row(row: &NetworkCostRow) -> String {
    let paper = row.network.paper_family().and_then(|f| paper_cost(f, row.pruning_ratio));
    let paper =
        paper.map_or(",".to_owned(), |p| format!("{},{}", p.kilobytes * 1024.0, p.ms_per_patch));
    format!(
        "{},{},{},{:.4},{paper}\n",
        row.network.name(),
        row.pruning_ratio,
        row.bytes,
        row.ms_per_patch
    )
}
