//! Looks through a folder of tiles and says what is there and what is wrong, without stopping at
//! the first defect.

use std::path::Path;

use serde::Serialize;

use super::discover::{TileFiles, discover};
use super::imagescope::{parse_imagescope, rasterise};
use super::load::{MAX_FILE_BYTES, load_tile};
use super::split::{Split, recognised_split};
use super::tile::Tile;
use crate::error::{ErrorContext as _, Result, Warnings};
use crate::platform::read_file;
use crate::raster::LabelMap;

/// Kumar's label maps sit half a pixel up-left of the outlines' pixel-corner coordinates (MATLAB's
/// `poly2mask`), and many outlines then run through pixel centres, which belong to the shape: hence
/// a little less than half.
pub const XML_TO_LABELS_PX: f64 = -0.49;

/// What a folder holds.
#[derive(Debug, Clone, Serialize)]
pub struct DataReport {
    pub tiles: Vec<TileReport>,
    /// Sentences about files that fit nowhere.
    pub notes: Vec<String>,
    /// Whether all tiles of the paper's Table 1 are here.
    pub paper_split_complete: bool,
}

/// What one tile holds.
#[derive(Debug, Clone, Serialize)]
pub struct TileReport {
    pub name: String,
    /// Part of the paper's split.
    pub split: Option<Split>,
    pub width: usize,
    pub height: usize,
    /// Of the image file; empty when it cannot be read.
    pub sha256: String,
    pub nuclei: usize,
    /// Share of pixels that belong to nuclei, 0 to 1.
    pub cell_fraction: f64,
    pub mpp_um: Option<f64>,
    /// Foreground IoU of the XML against the label map, where there are both.
    pub xml_iou: Option<f64>,
    pub notes: Vec<String>,
    /// Set when the tile cannot be used.
    pub error: Option<String>,
}

/// Checks every tile below `folder`; `look` sees each tile that can be used (to draw it, say).
///
/// # Errors
/// Only when the folder itself cannot be read, or `look` fails.
pub fn check(
    folder: &Path,
    mut look: impl FnMut(&Tile, &TileReport) -> Result<()>,
) -> Result<DataReport> {
    let (files, report) = discover(folder)?;
    let mut tiles = Vec::with_capacity(files.len());
    for files in &files {
        let (tile, report) = check_tile(files);
        if let Some(tile) = tile {
            look(&tile, &report)?;
        }
        tiles.push(report);
    }
    let has = |split: Split| {
        split.codes().len()
            == tiles.iter().filter(|t| t.split == Some(split) && t.error.is_none()).count()
    };
    let paper_split_complete = [Split::Pretrain, Split::Train, Split::Test].into_iter().all(has);
    Ok(DataReport { tiles, notes: report.notes, paper_split_complete })
}

fn check_tile(files: &TileFiles) -> (Option<Tile>, TileReport) {
    let mut out = TileReport {
        name: files.name.clone(),
        split: recognised_split(&files.name),
        width: 0,
        height: 0,
        sha256: String::new(),
        nuclei: 0,
        cell_fraction: 0.0,
        mpp_um: None,
        xml_iou: None,
        notes: Vec::new(),
        error: None,
    };
    let (tile, report) = match load_tile(files) {
        Ok(loaded) => loaded,
        Err(e) => {
            out.error = Some(e.to_string());
            return (None, out);
        }
    };
    out.notes = report.notes;
    (out.width, out.height) = (tile.image.width(), tile.image.height());
    out.sha256.clone_from(&tile.sha256);
    let (renumbered, count) = tile.labels.renumbered();
    out.nuclei = count as usize;
    if renumbered.data().iter().zip(tile.labels.data()).any(|(a, b)| a != b) {
        out.notes.push("The label numbers have gaps".into());
    }
    let cells = tile.labels.data().iter().filter(|&&l| l > 0).count();
    out.cell_fraction = cells as f64 / tile.labels.data().len() as f64;
    out.mpp_um = tile.mpp_um;
    compare_annotation(files, &tile, &mut out);
    (Some(tile), out)
}

/// Reads the XML beside a label map and compares the two.
fn compare_annotation(files: &TileFiles, tile: &Tile, out: &mut TileReport) {
    let Some(path) = files.annotation.as_deref() else { return };
    let read = || -> Result<(Vec<super::AnnotatedRegion>, Option<f64>)> {
        parse_imagescope(&read_file(path, MAX_FILE_BYTES)?).at(path)
    };
    let (regions, mpp) = match read() {
        Ok(read) => read,
        Err(e) => return out.notes.push(format!("The annotation cannot be used: {e}")),
    };
    if mpp.is_none() {
        out.notes.push("The annotation states no pixel size".into());
    }
    out.mpp_um = out.mpp_um.or(mpp);
    let (drawn, Warnings { notes }) =
        rasterise(&regions, tile.image.width(), tile.image.height(), XML_TO_LABELS_PX);
    notes
        .into_iter()
        .filter(|n| !out.notes.contains(n))
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|n| out.notes.push(n));
    let unlabelled = regions_without_label(&drawn, &tile.labels);
    if unlabelled > 0 {
        out.notes
            .push(format!("{unlabelled} regions of the annotation have no label in the label map"));
    }
    let iou = foreground_iou(&drawn, &tile.labels);
    out.xml_iou = Some(iou);
    if iou < 0.9 {
        out.notes.push(format!(
            "Annotation and label map disagree (IoU {iou:.2}); do they belong to the same image?"
        ));
    }
}

/// Objects of `drawn` of which not one pixel is labelled.
fn regions_without_label(drawn: &LabelMap, labels: &LabelMap) -> usize {
    let highest = drawn.data().iter().copied().max().unwrap_or(0) as usize;
    let (mut seen, mut met) = (vec![false; highest + 1], vec![false; highest + 1]);
    for (&d, &l) in drawn.data().iter().zip(labels.data()) {
        seen[d as usize] = true;
        met[d as usize] |= l > 0;
    }
    (1..=highest).filter(|&i| seen[i] && !met[i]).count()
}

/// Intersection over union of the two foregrounds; 1 when both are empty.
fn foreground_iou(a: &LabelMap, b: &LabelMap) -> f64 {
    let (mut both, mut any) = (0u64, 0u64);
    for (&a, &b) in a.data().iter().zip(b.data()) {
        both += u64::from(a > 0 && b > 0);
        any += u64::from(a > 0 || b > 0);
    }
    if any == 0 { 1.0 } else { both as f64 / any as f64 }
}
