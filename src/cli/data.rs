//! `prunella data`: checks of labelled tiles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::labels::{check_marks, is_marks_file};
use super::output::Output;
use super::output_files::check_outputs;
use super::segment::types_in_brackets;
use super::tiles::{NO_TILES, TileArguments, load};
use crate::dataset::{
    DATASET_FILE, DataReport, DatasetFile, Prior, Representativeness, Sampler, Split, TileReport,
    check, representativeness,
};
use crate::error::{Error, Result, counted, listed};
use crate::picture::read_picture_file;
use crate::platform::write_atomic;
use crate::raster::{
    DecodeLimits, LabelMap, OUTLINE_COLOUR, RgbImage, encode_overlay_png, encode_preview_jpeg,
    outline_mask, overlay, reduced,
};
use crate::report::{DataPage, DataTile, render_data};

/// Longer side of the pictures of the page, pixels.
const PREVIEW_PX: usize = 400;
/// Most files that are neither image nor label that are named.
const MAX_NAMED: usize = 10;

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

/// List the tiles of a folder, or the marks of a file, and what is wrong with them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella data check kumar
  prunella data check my-tiles --html tiles.html
  prunella data check my-tiles --overlays pictures --json
  prunella data check corrections.geojson")]
struct CheckArguments {
    /// Folder with images (TIFF, PNG, JPEG) and label maps, masks or outlines (XML, GeoJSON), and
    /// perhaps a dataset.toml with name, `mpp_um`, licence, citation and splits; or a GeoJSON file
    /// of marks, as 'finetune --labels' reads it.
    folder: PathBuf,
    /// Write each tile with its outlines into this folder.
    #[arg(long)]
    overlays: Option<PathBuf>,
    /// Write one page with every tile, its outlines and notes, to see whether image and labels
    /// belong together.
    #[arg(long, value_name = "PAGE")]
    html: Option<PathBuf>,
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
    if is_marks_file(&arguments.folder) {
        if arguments.html.is_some() || arguments.overlays.is_some() {
            return Err(Error::invalid(
                "--html and --overlays are for folders of tiles, and this is a file of marks",
            ));
        }
        return check_marks(&arguments.folder, output);
    }
    arguments.check_outputs()?;
    // JPEGs by name of the tile.
    let mut pictures = BTreeMap::new();
    let report = check(&arguments.folder, |tile, _| {
        if arguments.html.is_some() {
            pictures.insert(tile.name.clone(), preview(&tile.image, Some(&tile.labels))?);
        }
        let Some(folder) = &arguments.overlays else { return Ok(()) };
        let picture = overlay(&tile.image, &outline_mask(&tile.labels), OUTLINE_COLOUR);
        let file = folder.join(format!("{}.overlay.png", tile.name));
        write_atomic(&file, &encode_overlay_png(&picture)?)
    })?;
    if let Some(file) = &arguments.html {
        let page = render_data(&page(arguments, &report, &mut pictures));
        write_atomic(file, page.as_bytes())?;
        output.remark(&format!("The page is {}", file.display()));
    }
    output.result(&report, &describe(&report, &arguments.folder))?;
    let any_usable = report.tiles.iter().any(|t| t.error.is_none());
    Ok(if any_usable { CommandOutcome::Done } else { CommandOutcome::Nothing })
}

impl CheckArguments {
    /// Refuses outputs that cannot be written or would replace a picture.
    fn check_outputs(&self) -> Result<()> {
        let mut outputs = Vec::new();
        outputs.extend(self.overlays.as_ref().map(|folder| folder.join("x.overlay.png")));
        if let Some(page) = &self.html {
            let is_page = page
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm"));
            if !is_page {
                return Err(Error::invalid("The name of the page must end in .html").at(page));
            }
            outputs.push(page.clone());
        }
        check_outputs(&outputs, &[])
    }
}

/// A small JPEG of a tile, with the outlines of its labels.
fn preview(image: &RgbImage, labels: Option<&LabelMap>) -> Result<Vec<u8>> {
    let small = reduced(image, PREVIEW_PX);
    let Some(labels) = labels else { return encode_preview_jpeg(&small) };
    let labels = labels.nearest(small.width(), small.height());
    encode_preview_jpeg(&overlay(&small, &outline_mask(&labels), OUTLINE_COLOUR))
}

/// The report as a page. Tiles that cannot be used are shown without outlines.
fn page(
    arguments: &CheckArguments,
    report: &DataReport,
    pictures: &mut BTreeMap<String, Vec<u8>>,
) -> DataPage {
    let mut tiles = Vec::new();
    for tile in &report.tiles {
        let mut jpeg = pictures.remove(&tile.name);
        if jpeg.is_none() {
            let picture = read_picture_file(&tile.image, DecodeLimits::default());
            jpeg = picture.and_then(|picture| preview(&picture.image, None)).ok();
        }
        let mut facts = vec![relative(&tile.image, &arguments.folder)];
        facts.push(pairing(tile, &arguments.folder));
        if tile.error.is_none() {
            facts.push(format!(
                "{}×{} pixels, {}",
                tile.width,
                tile.height,
                tile.mpp_um.map_or("pixel size not stated".to_owned(), |v| format!("{v:.4} µm"))
            ));
            facts.push(format!(
                "{}{} on {:.1} % of the area",
                counted(tile.nuclei, "nucleus", "nuclei"),
                types_in_brackets(Some(&tile.types)),
                tile.cell_fraction * 100.0
            ));
            facts.extend(tile.xml_iou.map(|iou| format!("IoU of outlines and label map {iou:.3}")));
            let splits = split_names(tile);
            facts.extend((!splits.is_empty()).then(|| format!("split {}", splits.join(", "))));
        }
        tiles.push(DataTile {
            name: tile.name.clone(),
            jpeg,
            facts,
            notes: tile.notes.clone(),
            error: tile.error.clone(),
        });
    }
    DataPage {
        folder: arguments.folder.display().to_string(),
        summary: totals(report),
        notes: all_notes(report, &arguments.folder),
        tiles,
    }
}

/// The labels of a tile and why they are its own.
fn pairing(tile: &TileReport, folder: &Path) -> String {
    match (&tile.labels, &tile.paired_by) {
        (Some(labels), Some(rule)) => format!("labels {} ({rule})", relative(labels, folder)),
        _ => "no labels".to_owned(),
    }
}

fn relative(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

fn split_name(split: Split) -> String {
    format!("{split:?}").to_lowercase()
}

/// The splits of dataset.toml that a tile belongs to, else its part of the paper's.
fn split_names(tile: &TileReport) -> Vec<String> {
    if !tile.splits.is_empty() {
        return tile.splits.clone();
    }
    tile.split.map(split_name).into_iter().collect()
}

/// What dataset.toml states, on a line.
fn dataset_line(dataset: &DatasetFile, report: &DataReport) -> String {
    let mut facts = Vec::new();
    facts.extend(dataset.name.clone());
    facts.extend(dataset.mpp_um.map(|size| format!("{size} µm a pixel")));
    facts.extend(dataset.licence.as_ref().map(|licence| format!("licence {licence}")));
    facts.extend(dataset.citation.as_ref().map(|text| format!("cite {text}")));
    for split in dataset.splits.keys() {
        let tiles = report.tiles.iter().filter(|tile| tile.splits.contains(split)).count();
        facts.push(format!("--split {split}: {}", counted(tiles, "tile", "tiles")));
    }
    if facts.is_empty() {
        facts.push("states nothing".to_owned());
    }
    format!("{DATASET_FILE}: {}", facts.join("; "))
}

/// The notes that belong to no tile, and the files that are neither image nor label.
fn all_notes(report: &DataReport, folder: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(report.dataset.as_ref().map(|dataset| dataset_line(dataset, report)));
    notes.extend(report.notes.iter().cloned());
    let names: Vec<String> = report.other_files.iter().map(|f| relative(f, folder)).collect();
    if !names.is_empty() {
        notes.push(format!(
            "{} neither image nor label ({})",
            counted(names.len(), "file is", "files are"),
            listed(&names, MAX_NAMED)
        ));
    }
    notes
}

fn totals(report: &DataReport) -> String {
    let mut usable = 0;
    let mut nuclei = 0;
    let mut types = BTreeMap::new();
    for tile in &report.tiles {
        if tile.error.is_none() {
            usable += 1;
            nuclei += tile.nuclei;
            for (name, count) in &tile.types {
                *types.entry(name.clone()).or_default() += count;
            }
        }
    }
    let tiles = counted(report.tiles.len(), "tile", "tiles");
    let nuclei = counted(nuclei, "nucleus", "nuclei");
    let types = types_in_brackets(Some(&types));
    format!("{usable} of {tiles} can be used, with {nuclei}{types}")
}

fn describe(report: &DataReport, folder: &Path) -> String {
    let mut text = format!(
        "{:<32} {:<9} {:>11} {:>7} {:>6} {:>8} {:>8}\n",
        "tile", "split", "pixels", "nuclei", "cells", "µm/px", "XML IoU"
    );
    for tile in &report.tiles {
        let splits = split_names(tile);
        let split = if splits.is_empty() { "–".to_owned() } else { splits.join(",") };
        if let Some(error) = &tile.error {
            text += &format!("{:<32} {split:<9}\n", tile.name);
            if tile.labels.is_some() {
                text += &format!("    {}\n", pairing(tile, folder));
            }
            text += &format!("    cannot be used: {error}\n");
            for note in &tile.notes {
                text += &format!("    {note}\n");
            }
            continue;
        }
        text += &format!(
            "{:<32} {split:<9} {:>11} {:>7} {:>5.1}% {:>8} {:>8}\n",
            tile.name,
            format!("{}×{}", tile.width, tile.height),
            tile.nuclei,
            tile.cell_fraction * 100.0,
            tile.mpp_um.map_or("–".to_owned(), |v| format!("{v:.4}")),
            tile.xml_iou.map_or("–".to_owned(), |v| format!("{v:.3}"))
        );
        text += &format!("    {}\n", pairing(tile, folder));
        for note in &tile.notes {
            text += &format!("    {note}\n");
        }
    }
    for note in all_notes(report, folder) {
        text += &format!("{note}\n");
    }
    text += &totals(report);
    text.push('\n');
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
    let loaded = load(&arguments.tiles, output)?;
    loaded.note_pixel_sizes(output);
    let tiles = loaded.tiles;
    if tiles.is_empty() {
        output.remark(NO_TILES);
    }
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
