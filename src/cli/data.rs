//! `prunella data check`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CommandOutcome;
use super::output::Output;
use crate::dataset::{DataReport, Prior, Sampler, check, representativeness};
use crate::error::Result;
use crate::platform::write_atomic;
use crate::raster::OUTLINE;
use crate::raster::{encode_rgb_png, outline_mask, overlay};

/// Look at labelled tiles.
#[derive(Debug, Args)]
pub struct DataArguments {
    #[command(subcommand)]
    verb: DataVerb,
}

#[derive(Debug, Subcommand)]
enum DataVerb {
    Check(CheckArguments),
    Sample(SampleArguments),
}

/// Pair images with labels and report what is there and what is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella data check kumar
  prunella data check my-tiles --overlays pictures --json")]
struct CheckArguments {
    /// Folder with images (TIFF, PNG, JPEG) and label maps, masks or ImageScope XML.
    folder: PathBuf,
    /// Write each tile with its outlines into this folder.
    #[arg(long)]
    overlays: Option<PathBuf>,
}

/// Check that samples of growing size look like the whole (mutual information between patches).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella data sample --data kumar --split train --sizes 916,9159,91593")]
struct SampleArguments {
    #[command(flatten)]
    tiles: super::tiles::TileArguments,
    /// Sample sizes; the largest is taken as the whole.
    #[arg(long, value_delimiter = ',', default_value = "916,9159,91593")]
    sizes: Vec<usize>,
    #[arg(long)]
    balanced: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// `prunella data …`.
pub fn data(arguments: &DataArguments, output: Output) -> Result<CommandOutcome> {
    match &arguments.verb {
        DataVerb::Check(a) => check_folder(a, output),
        DataVerb::Sample(a) => sample(a, output),
    }
}

fn check_folder(arguments: &CheckArguments, output: Output) -> Result<CommandOutcome> {
    let report = check(&arguments.folder, |tile, _| {
        let Some(folder) = &arguments.overlays else { return Ok(()) };
        let picture = overlay(&tile.image, &outline_mask(&tile.labels), OUTLINE);
        write_atomic(&folder.join(format!("{}.overlay.png", tile.name)), &encode_rgb_png(&picture)?)
    })?;
    let text = describe(&report);
    output.result(&report, &text)?;
    let found = report.tiles.iter().any(|t| t.error.is_none());
    Ok(if found { CommandOutcome::Done } else { CommandOutcome::Nothing })
}

fn describe(report: &DataReport) -> String {
    let mut text = String::new();
    let mut line = |s: String| text += &(s + "\n");
    line(format!(
        "{:<32} {:<9} {:>11} {:>7} {:>6} {:>8} {:>8}",
        "tile", "split", "pixels", "nuclei", "cells", "µm/px", "XML IoU"
    ));
    let or_dash =
        |v: Option<f64>, digits: usize| v.map_or("–".to_owned(), |v| format!("{v:.digits$}"));
    for t in &report.tiles {
        let split = t.split.map_or("–".to_owned(), |s| format!("{s:?}").to_lowercase());
        let pixels = format!("{}×{}", t.width, t.height);
        line(format!(
            "{:<32} {split:<9} {pixels:>11} {:>7} {:>5.1}% {:>8} {:>8}",
            t.name,
            t.nuclei,
            t.cell_fraction * 100.0,
            or_dash(t.mpp_um, 4),
            or_dash(t.xml_iou, 3)
        ));
        t.notes.iter().for_each(|n| line(format!("    {n}")));
        t.error.iter().for_each(|e| line(format!("    cannot be used: {e}")));
    }
    report.notes.iter().for_each(|n| line(n.clone()));
    let usable = report.tiles.iter().filter(|t| t.error.is_none());
    let (count, nuclei) = usable.fold((0, 0), |(n, k), t| (n + 1, k + t.nuclei));
    line(format!("{count} of {} tiles can be used, with {nuclei} nuclei", report.tiles.len()));
    if report.paper_split_complete {
        line(
            "All tiles of the paper's Table 1 are here: --split pretrain, train and test work"
                .into(),
        );
    }
    text
}

fn sample(arguments: &SampleArguments, output: Output) -> Result<CommandOutcome> {
    let tiles = super::tiles::load(&arguments.tiles, output)?;
    let Some(&largest) = arguments.sizes.iter().max() else { return Ok(CommandOutcome::Nothing) };
    if tiles.is_empty() {
        output.result(&serde_json::json!({ "samples": [] }), "")?;
        return Ok(CommandOutcome::Nothing);
    }
    let prior = if arguments.balanced { Prior::Balanced } else { Prior::Natural };
    let whole = Sampler::draw(&tiles, largest, prior, arguments.seed)?.train;
    let mut rows = Vec::new();
    let mut text = format!(
        "{:>9} {:>7} {:>24} {:>9}\n",
        "patches", "cells", "bits (10, 50, 90 %)", "distance"
    );
    for &size in &arguments.sizes {
        let part = Sampler::draw(&tiles, size, prior, arguments.seed)?.train;
        let r = representativeness(&tiles, &part, &whole, arguments.seed);
        let cells = part.iter().filter(|p| p.cell).count() as f64 / part.len().max(1) as f64;
        let [a, b, c] = r.sample_bits;
        let verdict = if r.similar { "similar" } else { "NOT similar to the whole" };
        text += &(format!(
            "{size:>9} {:>6.1}% {:>24} {:>9.3} {verdict}",
            cells * 100.0,
            format!("{a:.3} {b:.3} {c:.3}"),
            r.distance
        ) + "\n");
        rows.push(
            serde_json::json!({ "patches": size, "cell_fraction": cells, "representativeness": r }),
        );
    }
    output.result(&serde_json::json!({ "samples": rows }), &text)?;
    Ok(CommandOutcome::Done)
}
