//! `prunella data`: checks of labelled tiles.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use super::tiles::{TileArguments, load};
use crate::dataset::{DataReport, Prior, Representativeness, Sampler, check, representativeness};
use crate::error::Result;
use crate::platform::write_atomic;
use crate::raster::{OUTLINE_COLOUR, encode_overlay_png, outline_mask, overlay};

/// Check labelled tiles and samples of their patches.
#[derive(Debug, Args)]
pub(super) struct DataArguments {
    #[command(subcommand)]
    verb: DataVerb,
}

#[derive(Debug, Subcommand)]
enum DataVerb {
    Check(CheckArguments),
    Sample(SampleArguments),
}

/// List the tiles of a folder and what is wrong with them.
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

/// Compare samples of patches with the largest one.
///
/// Mutual information between patches tells whether a smaller sample represents the whole.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella data sample --data kumar --split train --sizes 916,9159,91593")]
struct SampleArguments {
    #[command(flatten)]
    tiles: TileArguments,
    /// Sample sizes in patches (comma-separated); the largest is taken as the whole.
    #[arg(long, value_delimiter = ',', default_value = "916,9159,91593")]
    sizes: Vec<usize>,
    /// Draw both classes equally often instead of by area.
    #[arg(long)]
    balanced: bool,
    /// Decides which patches are drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// `prunella data`.
pub(super) fn data(arguments: &DataArguments, output: Output) -> Result<CommandOutcome> {
    match &arguments.verb {
        DataVerb::Check(a) => check_folder(a, output),
        DataVerb::Sample(a) => compare_samples(a, output),
    }
}

fn check_folder(arguments: &CheckArguments, output: Output) -> Result<CommandOutcome> {
    let report = check(&arguments.folder, |tile, _| {
        let Some(folder) = &arguments.overlays else { return Ok(()) };
        let picture = overlay(&tile.image, &outline_mask(&tile.labels), OUTLINE_COLOUR);
        write_atomic(
            &folder.join(format!("{}.overlay.png", tile.name)),
            &encode_overlay_png(&picture)?,
        )
    })?;
    output.result(&report, &describe(&report))?;
    let any_usable = report.tiles.iter().any(|t| t.error.is_none());
    Ok(if any_usable { CommandOutcome::Done } else { CommandOutcome::Nothing })
}

fn describe(report: &DataReport) -> String {
    let mut text = format!(
        "{:<32} {:<9} {:>11} {:>7} {:>6} {:>8} {:>8}\n",
        "tile", "split", "pixels", "nuclei", "cells", "µm/px", "XML IoU"
    );
    let mut usable = 0;
    let mut nuclei = 0;
    for tile in &report.tiles {
        let split = tile.split.map_or("–".to_owned(), |s| format!("{s:?}").to_lowercase());
        text += &format!(
            "{:<32} {split:<9} {:>11} {:>7} {:>5.1}% {:>8} {:>8}\n",
            tile.name,
            format!("{}×{}", tile.width, tile.height),
            tile.nuclei,
            tile.cell_fraction * 100.0,
            tile.mpp_um.map_or("–".to_owned(), |v| format!("{v:.4}")),
            tile.xml_iou.map_or("–".to_owned(), |v| format!("{v:.3}"))
        );
        for note in &tile.notes {
            text += &format!("    {note}\n");
        }
        if let Some(error) = &tile.error {
            text += &format!("    cannot be used: {error}\n");
        } else {
            usable += 1;
            nuclei += tile.nuclei;
        }
    }
    for note in &report.notes {
        text += &format!("{note}\n");
    }
    let all = report.tiles.len();
    text += &format!("{usable} of {all} tiles can be used, with {nuclei} nuclei\n");
    if report.paper_split_complete {
        text +=
            "All tiles of the paper's Table 1 are here: --split pretrain, train and test work\n";
    }
    text
}

#[derive(Serialize)]
struct SampleRow {
    patches: usize,
    /// Share of patches whose centre is nucleus.
    cell_fraction: f64,
    representativeness: Representativeness,
}

fn compare_samples(arguments: &SampleArguments, output: Output) -> Result<CommandOutcome> {
    let tiles = load(&arguments.tiles, output)?;
    let Some(&largest) = arguments.sizes.iter().max() else { return Ok(CommandOutcome::Nothing) };
    if tiles.is_empty() {
        output.result(&json!({ "samples": [] }), "")?;
        return Ok(CommandOutcome::Nothing);
    }
    let prior = if arguments.balanced { Prior::Balanced } else { Prior::Natural };
    let whole = Sampler::draw(&tiles, largest, prior, arguments.seed)?.train;
    let mut rows = Vec::new();
    for &patches in &arguments.sizes {
        let sample = Sampler::draw(&tiles, patches, prior, arguments.seed)?.train;
        let cells = sample.iter().filter(|p| p.cell).count();
        rows.push(SampleRow {
            patches,
            cell_fraction: cells as f64 / sample.len().max(1) as f64,
            representativeness: representativeness(&tiles, &sample, &whole, arguments.seed),
        });
    }
    output.result(&json!({ "samples": rows }), &sample_table(&rows))?;
    Ok(CommandOutcome::Done)
}

fn sample_table(rows: &[SampleRow]) -> String {
    let mut text = format!(
        "{:>9} {:>7} {:>24} {:>9}\n",
        "patches", "cells", "bits (10, 50, 90 %)", "distance"
    );
    for row in rows {
        let r = &row.representativeness;
        let [low, median, high] = r.sample_bits;
        let verdict = if r.similar { "similar" } else { "NOT similar to the whole" };
        text += &format!(
            "{:>9} {:>6.1}% {:>24} {:>9.3} {verdict}\n",
            row.patches,
            row.cell_fraction * 100.0,
            format!("{low:.3} {median:.3} {high:.3}"),
            r.distance
        );
    }
    text
}
