//! Inspects a folder of tiles and reports its contents and every defect, without stopping at the
//! first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::dataset_file::{DATASET_FILE, DatasetFile};
use super::discover::{TileFiles, TileFolder, discover};
use super::load::{MAX_FILE_BYTES, NO_PIXEL_SIZE, is_imagescope, load_tile};
use super::split::{Split, recognised_split};
use super::tile::Tile;
use crate::error::{ErrorContext as _, Result, Warnings, counted, listed};
use crate::outlines::{draw_outlines, read_outlines};
use crate::platform::read_file;
use crate::raster::LabelMap;

/// Shift of the vertices of Kumar's XML files to their label maps, pixels. The label maps were
/// drawn by MATLAB's `poly2mask`, half a pixel up and left of pixel-corner coordinates. Many
/// outlines then run through pixel centres, which belong to the shape; hence a little less than
/// half.
pub(super) const XML_TO_LABELS_PX: f64 = -0.49;

/// Most names in a note.
const MAX_NAMED: usize = 5;

/// The contents of a folder.
#[derive(Debug, Clone, Serialize)]
pub struct DataReport {
    /// One report per tile, sorted by name.
    pub tiles: Vec<TileReport>,
    /// Warnings about files that belong to no tile.
    pub notes: Vec<String>,
    /// Files that are neither images nor labels.
    pub other_files: Vec<PathBuf>,
    /// Whether all tiles of the paper's Table 1 are there.
    pub paper_split_complete: bool,
    /// What [`DATASET_FILE`] states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetFile>,
}

/// The contents of one tile.
#[derive(Debug, Clone, Serialize)]
pub struct TileReport {
    /// Image file name without its ending; behind the folders of its site where several images
    /// have that name.
    pub name: String,
    /// The image file.
    pub image: PathBuf,
    /// The label file that is used.
    pub labels: Option<PathBuf>,
    /// Why the labels belong to the image.
    pub paired_by: Option<String>,
    /// Part of the paper's split.
    pub split: Option<Split>,
    /// Splits of [`DATASET_FILE`] that the tile belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<String>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// SHA-256 of the image file, hexadecimal; empty when it cannot be read.
    pub sha256: String,
    /// Number of labels.
    pub nuclei: usize,
    /// Number of nuclei of each type, where the labels tell them apart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, usize>,
    /// Fraction of pixels that belong to nuclei, 0 to 1.
    pub cell_fraction: f64,
    /// Pixel size, micrometres, where a file states it.
    pub mpp_um: Option<f64>,
    /// IoU of the foregrounds of outlines and label map, where there are both.
    pub xml_iou: Option<f64>,
    /// Warnings.
    pub notes: Vec<String>,
    /// Why the tile cannot be used, if so.
    pub error: Option<String>,
}

/// Checks every tile below `folder` and calls `each_usable` with each tile that can be used (to
/// draw it, say).
///
/// # Errors
/// When the folder itself cannot be read, and those of `each_usable`.
pub fn check(
    folder: &Path,
    mut each_usable: impl FnMut(&Tile, &TileReport) -> Result<()>,
) -> Result<DataReport> {
    let TileFolder { tiles: all_files, mut notes, other_files, dataset } = discover(folder)?;
    let mut tiles = Vec::with_capacity(all_files.len());
    for files in &all_files {
        let (tile, mut report) = check_tile(files);
        if let Some(dataset) = &dataset {
            report.splits = dataset.splits_of(&files.name);
        }
        if let Some(tile) = tile {
            each_usable(&tile, &report)?;
        }
        tiles.push(report);
    }
    note_copies(&mut tiles);
    if let Some(dataset) = &dataset {
        note_splits(dataset, &tiles, &mut notes);
    }
    let paper_split_complete = Split::ALL.into_iter().all(|split| {
        let usable =
            |code: &&str| tiles.iter().any(|t| t.error.is_none() && split.has(&t.name, code));
        split.codes().iter().all(usable)
    });
    Ok(DataReport { tiles, notes: notes.notes, other_files, paper_split_complete, dataset })
}

/// Notes parts of splits that no tile has, and tiles in several splits.
fn note_splits(dataset: &DatasetFile, tiles: &[TileReport], notes: &mut Warnings) {
    for (split, parts) in &dataset.splits {
        let mut unmatched = parts.clone();
        unmatched.retain(|part| !tiles.iter().any(|tile| tile.name.contains(part.as_str())));
        if !unmatched.is_empty() {
            notes.note(format!(
                "{DATASET_FILE}: the split '{split}' names what no tile's name contains: {}",
                listed(&unmatched, MAX_NAMED)
            ));
        }
    }
    let mut in_several = Vec::new();
    for tile in tiles {
        if tile.splits.len() > 1 {
            in_several.push(format!("{} ({})", tile.name, tile.splits.join(", ")));
        }
    }
    if !in_several.is_empty() {
        notes.note(format!(
            "{DATASET_FILE}: {} in several splits: {}",
            counted(in_several.len(), "tile is", "tiles are"),
            listed(&in_several, MAX_NAMED)
        ));
    }
}

/// Notes tiles whose image file another tile has too: in several parts of a split they would be
/// learned from and tested on.
fn note_copies(tiles: &mut [TileReport]) {
    let mut first_of: BTreeMap<String, String> = BTreeMap::new();
    for tile in tiles {
        if tile.sha256.is_empty() {
            continue;
        }
        match first_of.get(&tile.sha256) {
            Some(first) => {
                tile.notes.push(format!("The image is the same file as that of '{first}'"));
            }
            None => drop(first_of.insert(tile.sha256.clone(), tile.name.clone())),
        }
    }
}

fn check_tile(files: &TileFiles) -> (Option<Tile>, TileReport) {
    let mut report = TileReport {
        name: files.name.clone(),
        image: files.image.clone(),
        labels: files.labels.as_ref().map(|labels| labels.path().to_path_buf()),
        paired_by: files.paired_by.clone(),
        split: recognised_split(&files.name),
        splits: Vec::new(),
        width: 0,
        height: 0,
        sha256: String::new(),
        nuclei: 0,
        types: BTreeMap::new(),
        cell_fraction: 0.0,
        mpp_um: None,
        xml_iou: None,
        notes: Vec::new(),
        error: None,
    };
    let (tile, warnings) = match load_tile(files) {
        Ok(loaded) => loaded,
        Err(error) => {
            report.error = Some(error.to_string());
            report.notes.clone_from(&files.notes.notes);
            return (None, report);
        }
    };
    report.notes = warnings.notes;
    report.width = tile.image.width();
    report.height = tile.image.height();
    report.sha256.clone_from(&tile.sha256);
    let (renumbered, count) = tile.labels.renumbered();
    report.nuclei = count as usize;
    for name in tile.object_types.values() {
        *report.types.entry(name.clone()).or_default() += 1;
    }
    if renumbered != tile.labels {
        report.notes.push("The label numbers have gaps".into());
    }
    if count == 0 {
        report.notes.push("No nucleus is labelled in this tile".into());
    }
    let labelled = tile.labels.data().iter().filter(|&&label| label > 0).count();
    report.cell_fraction = labelled as f64 / tile.labels.data().len() as f64;
    report.mpp_um = tile.mpp_um;
    if let Some(path) = &files.annotation {
        compare_annotation(path, &tile, &mut report);
    }
    (Some(tile), report)
}

/// Reads the outlines of a tile and compares them with the label map.
fn compare_annotation(path: &Path, tile: &Tile, report: &mut TileReport) {
    let xml = read_file(path, MAX_FILE_BYTES);
    let outlines = match xml.and_then(|xml| read_outlines(&xml).at(path)) {
        Ok(outlines) => outlines,
        Err(error) => {
            report.notes.push(format!("The annotation cannot be used: {error}"));
            return;
        }
    };
    report.mpp_um = report.mpp_um.or(outlines.mpp_um);
    let mut notes = Vec::new();
    if is_imagescope(path) && report.mpp_um.is_none() {
        notes.push(NO_PIXEL_SIZE.to_owned());
    }
    let shift = if is_imagescope(path) { XML_TO_LABELS_PX } else { 0.0 };
    let drawing = draw_outlines(&outlines, tile.image.width(), tile.image.height(), shift);
    notes.extend(outlines.notes.notes);
    notes.extend(drawing.notes.notes);
    // Where the file is also the source of the labels, loading has noted the same already.
    notes.retain(|note| !report.notes.contains(note));
    report.notes.extend(notes);
    let unlabelled = regions_without_label(&drawing.labels, &tile.labels);
    if unlabelled > 0 {
        report.notes.push(format!(
            "{} no label in the label map",
            counted(unlabelled, "region of the annotation has", "regions of the annotation have")
        ));
    }
    let iou = foreground_iou(&drawing.labels, &tile.labels);
    report.xml_iou = Some(iou);
    if iou < 0.9 {
        report.notes.push(format!(
            "Annotation and label map disagree (IoU {iou:.2}); do they belong to the same image?"
        ));
    }
}

/// Number of objects of `drawn` that have no pixel in common with a label.
fn regions_without_label(drawn: &LabelMap, labels: &LabelMap) -> usize {
    let highest = drawn.data().iter().copied().max().unwrap_or(0) as usize;
    let mut is_visible = vec![false; highest + 1];
    let mut is_labelled = vec![false; highest + 1];
    for (&region, &label) in drawn.data().iter().zip(labels.data()) {
        is_visible[region as usize] = true;
        is_labelled[region as usize] |= label > 0;
    }
    (1..=highest).filter(|&region| is_visible[region] && !is_labelled[region]).count()
}

/// Intersection over union of the two foregrounds; 1 when both are empty.
fn foreground_iou(a: &LabelMap, b: &LabelMap) -> f64 {
    let mut intersection = 0u64;
    let mut union = 0u64;
    for (&a, &b) in a.data().iter().zip(b.data()) {
        intersection += u64::from(a > 0 && b > 0);
        union += u64::from(a > 0 || b > 0);
    }
    if union == 0 { 1.0 } else { intersection as f64 / union as f64 }
}
