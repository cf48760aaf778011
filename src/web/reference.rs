//! Compares the nuclei of a session with objects of a file or with those of another model.

use std::collections::BTreeSet;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::session::{Session, State};
use super::{Thrown as _, json, thrown};
use crate::engine::Block;
use crate::error::{Error, ErrorContext as _, Result, Warnings, counted};
use crate::instances::Nucleus;
use crate::metrics::{ObjectScores, match_objects, score_objects};
use crate::outlines::{Outlines, read_outlines, trace_labels};
use crate::picture::{is_picture, read_labels};
use crate::raster::{
    DecodeLimits, LabelMap, Mask, PixelGrid, Plane, Point, Polygon, doubled_area, label_components,
};
use crate::review::{MarkStatus, ReviewedIndex};
use crate::slide::SlideBounds;
use crate::viewer::OutlineStatus;
use crate::whole_slide::NucleusIndex;

/// Largest part in which scores are computed, pixels.
pub(super) const MAX_SCORED_PX: usize = 16_000_000;
/// Largest label map.
const MAX_LABEL_PX: u64 = 36_000_000;
/// Slot of the objects that are compared with.
pub(super) const COMPARISON: u32 = 1;

/// Objects of a file that the nuclei are compared with; shown in place of the second result.
#[derive(Debug)]
pub(super) struct Reference {
    /// Numbered as in [`Self::labels`].
    pub nuclei: ReviewedIndex,
    /// Of a label map: the map itself.
    labels: Option<LabelMap>,
}

/// Ids of objects of both results by whether they match.
#[derive(Debug, Default)]
pub(super) struct Differences {
    matched: [BTreeSet<u32>; 2],
    /// Of slot 0: extra; of slot 1: missed.
    others: [BTreeSet<u32>; 2],
}

impl Differences {
    /// None for an object outside of what was compared.
    pub(super) fn of(&self, slot: u32, id: u32) -> Option<OutlineStatus> {
        let slot = slot as usize;
        if self.matched.get(slot)?.contains(&id) {
            return Some(OutlineStatus::Matched);
        }
        let other = if slot == 0 { OutlineStatus::Extra } else { OutlineStatus::Missed };
        self.others.get(slot)?.contains(&id).then_some(other)
    }
}

/// JSON of [`Session::set_reference`].
#[derive(Serialize)]
struct ReferenceFacts {
    objects: usize,
    notes: Vec<String>,
}

/// JSON of [`Session::scores`].
#[derive(Serialize)]
struct ScoreFacts {
    /// Of the first result against the second one, which is taken for the truth.
    #[serde(flatten)]
    scores: ObjectScores,
    matched: usize,
    missed: usize,
    extra: usize,
    /// Left, top, width and height of what was compared, pixels of the finest level.
    window: [usize; 4],
}

impl Reference {
    fn read(bytes: &[u8], (width, height): (usize, usize)) -> Result<(Self, Warnings)> {
        if is_picture(bytes) {
            return Self::of_label_map(bytes, (width, height));
        }
        let mut outlines = read_outlines(bytes)?;
        let mut notes = std::mem::take(&mut outlines.notes);
        notes.extend(outlines.keep_nuclei());
        let image = SlideBounds::of_size(width, height);
        let before = outlines.objects.len();
        outlines
            .objects
            .retain(|object| SlideBounds::of_polygons(&object.polygons).intersects(&image));
        let outside = before - outlines.objects.len();
        if outside > 0 {
            notes.note(format!(
                "{} outside the image: left out. Are the outlines of this image, in pixels of its \
                 finest level?",
                counted(outside, "object lies", "objects lie")
            ));
        }
        if outlines.objects.is_empty() {
            return Err(Error::mismatch("The file holds no object that lies in the open image"));
        }
        let nuclei = numbered_nuclei(outlines, (width, height));
        Ok((Self { nuclei, labels: None }, notes))
    }

    fn of_label_map(bytes: &[u8], (width, height): (usize, usize)) -> Result<(Self, Warnings)> {
        let labels = read_labels(bytes, DecodeLimits { max_pixels: MAX_LABEL_PX })?;
        let (mut map, mut notes) = (labels.map, labels.notes);
        if (map.width(), map.height()) != (width, height) {
            return Err(Error::mismatch(format!(
                "The label map has {}×{} pixels and the open image {width}×{height}: it is of \
                 another image, or of another size of it",
                map.width(),
                map.height()
            )));
        }
        if map.labels().len() == 1 {
            notes
                .note("The label map has one label, as a mask has: touching nuclei are one object");
            map = label_components(&map.foreground());
        }
        let (map, _) = map.renumbered();
        let nuclei = numbered_nuclei(trace_labels(&map), (width, height));
        Ok((Self { nuclei, labels: Some(map) }, notes))
    }
}

/// Outlines as nuclei with the numbers 1, 2, …
fn numbered_nuclei(outlines: Outlines, (width, height): (usize, usize)) -> ReviewedIndex {
    let mut nuclei = Vec::with_capacity(outlines.objects.len());
    for (object, label) in outlines.objects.into_iter().zip(1..) {
        nuclei.push(outlined(label, object.polygons));
    }
    NucleusIndex::of_image(width, height, nuclei).into()
}

/// An outline of a file as a nucleus; area and centroid by the shoelace formula.
fn outlined(label: u32, polygons: Vec<Polygon>) -> Nucleus {
    let (mut area, mut x_moment, mut y_moment) = (0.0, 0.0, 0.0);
    for polygon in &polygons {
        for (number, ring) in polygon.iter().enumerate() {
            // Holes count against their outline, whatever way they run.
            let sign = if (number == 0) == (doubled_area(ring) >= 0.0) { 1.0 } else { -1.0 };
            for (i, a) in ring.iter().enumerate() {
                let b = &ring[(i + 1) % ring.len()];
                let cross = sign * (a.x * b.y - b.x * a.y);
                area += cross / 2.0;
                x_moment += (a.x + b.x) * cross / 6.0;
                y_moment += (a.y + b.y) * cross / 6.0;
            }
        }
    }
    let centroid = if area > 0.0 {
        (x_moment / area, y_moment / area)
    } else {
        let Point { x, y } = SlideBounds::of_polygons(&polygons).centre();
        (x, y)
    };
    let area_px = area.max(0.0).round() as u64;
    Nucleus { label, polygons, area_px, centroid, measurements: None, class: None }
}

/// Draws polygons into the window of a label map.
fn draw(labels: &mut LabelMap, window: Block, label: u32, polygons: &[Polygon]) {
    let Block { row, column, width, height } = window;
    let grid = PixelGrid { left: column as f64, top: row as f64, step: 1.0, width, height };
    for polygon in polygons {
        grid.fill(polygon, |row, first, end| labels.row_mut(row)[first..end].fill(label));
    }
}

/// The window as a rectangle.
fn bounds_of(window: Block) -> SlideBounds {
    let (left, top) = (window.column as f64, window.row as f64);
    let (right, bottom) = (left + window.width as f64, top + window.height as f64);
    SlideBounds { left, top, right, bottom }
}

/// Sets to 0 what lies outside of a mask.
fn keep_inside(labels: &mut LabelMap, mask: &Mask) {
    for (label, inside) in labels.data_mut().iter_mut().zip(mask.data()) {
        if !inside {
            *label = 0;
        }
    }
}

impl State {
    /// Objects of a slot that count in a window: a label map of their ids.
    fn labels_in(&self, slot: u32, window: Block) -> Result<LabelMap> {
        let exact = match (&self.reference, slot) {
            (Some(reference), COMPARISON) => reference.labels.as_ref(),
            // Of a slide there is no label map.
            _ if self.slide.is_some() => None,
            _ => self.slot(slot)?.own_labels(self.review_of(slot))?,
        };
        if let Some(map) = exact {
            return Ok(map.crop(window.row, window.column, window.width, window.height));
        }
        if self.found(slot).is_none() {
            return Err(Error::invalid("There is nothing to compare with yet"));
        }
        self.with_reviewed(slot, |nuclei| {
            let mut labels = Plane::filled(window.width, window.height, 0);
            for object in nuclei.near(bounds_of(window)) {
                if object.status.is_none_or(MarkStatus::counts) {
                    draw(&mut labels, window, object.id, &object.nucleus.polygons);
                }
            }
            labels
        })
    }

    /// Which pixels of a window a slot has segmented; none where that is all.
    fn known_in(&self, slot: u32, window: Block) -> Option<Mask> {
        let slide_result = self.slide_result(slot)?;
        let bounds = bounds_of(window);
        let mut mask = Plane::filled(window.width, window.height, false);
        for part in slide_result.nuclei.index().known(bounds) {
            let part = part.intersection(&bounds);
            let row = |y: f64| (y - bounds.top).round() as usize;
            let column = |x: f64| (x - bounds.left).round() as usize;
            for y in row(part.top)..row(part.bottom).min(window.height) {
                let columns = column(part.left)..column(part.right).min(window.width);
                mask.row_mut(y)[columns].fill(true);
            }
        }
        Some(mask)
    }

    fn compare(&self, window: Block, region: &[Polygon]) -> Result<(ScoreFacts, Differences)> {
        let mut both = [0, COMPARISON].map(|slot| self.labels_in(slot, window));
        for slot in [0, COMPARISON] {
            let is_file = slot == COMPARISON && self.reference.is_some();
            let Some(mask) = self.known_in(slot, window).filter(|_| !is_file) else { continue };
            for labels in both.iter_mut().flatten() {
                keep_inside(labels, &mask);
            }
        }
        if !region.is_empty() {
            let mut inside = Plane::filled(window.width, window.height, 0);
            draw(&mut inside, window, 1, region);
            for labels in both.iter_mut().flatten() {
                keep_inside(labels, &inside.foreground());
            }
        }
        let [predicted, truth] = both;
        let (predicted, truth) = (predicted?, truth?);
        let scores = score_objects(&predicted, &truth)?;
        let matching = match_objects(&predicted, &truth)?;
        let mut differences = Differences::default();
        for pair in &matching.matched {
            differences.matched[0].insert(pair.predicted);
            differences.matched[1].insert(pair.truth);
        }
        let facts = ScoreFacts {
            scores,
            matched: matching.matched.len(),
            missed: matching.missed.len(),
            extra: matching.extra.len(),
            window: [window.column, window.row, window.width, window.height],
        };
        differences.others =
            [matching.extra.into_iter().collect(), matching.missed.into_iter().collect()];
        Ok((facts, differences))
    }

    /// The window inside the picture, if it is small enough.
    fn window(&self, bounds: SlideBounds) -> Result<Block> {
        let (width, height) = self.picture_size()?;
        let inside = bounds.intersection(&SlideBounds::of_size(width, height));
        let (column, row) = (inside.left.max(0.0).floor(), inside.top.max(0.0).floor());
        let (columns, rows) = (inside.right.ceil() - column, inside.bottom.ceil() - row);
        if !(columns >= 1.0 && rows >= 1.0) {
            return Err(Error::invalid("Nothing of the image lies in this part"));
        }
        if columns * rows > MAX_SCORED_PX as f64 {
            return Err(Error::limit(format!(
                "Scores are computed in a part of at most {} megapixels, and this one has {:.0}: \
                 zoom in, or choose a smaller region",
                MAX_SCORED_PX / 1_000_000,
                columns * rows / 1e6
            )));
        }
        let [column, row, width, height] = [column, row, columns, rows].map(|side| side as usize);
        Ok(Block { row, column, width, height })
    }
}

#[wasm_bindgen]
impl Session {
    /// Takes the objects of a file, GeoJSON, XML or a label map, to compare the nuclei with them.
    /// They are shown as the second result. Gives their number and notes as JSON.
    ///
    /// # Errors
    /// A sentence for a file that is none, or of another image; what was there stays.
    #[wasm_bindgen(js_name = setReference)]
    pub fn set_reference(&self, bytes: &[u8], name: &str) -> std::result::Result<String, JsValue> {
        let mut state = self.state.borrow_mut();
        let size = state.picture_size().thrown()?;
        let (reference, notes) = Reference::read(bytes, size).at(name).thrown()?;
        let facts =
            ReferenceFacts { objects: reference.nuclei.index().count(), notes: notes.notes };
        state.reference = Some(reference);
        state.differences = None;
        json(&facts)
    }

    /// Forgets the objects of a file.
    #[wasm_bindgen(js_name = clearReference)]
    pub fn clear_reference(&self) {
        let mut state = self.state.borrow_mut();
        state.reference = None;
        state.differences = None;
    }

    /// Scores of the first result against the second one, or against the objects of a file, inside
    /// a rectangle and a region, `Polygons` as JSON or an empty text, pixels of the finest level;
    /// with `shows_differences` objects are drawn by whether they match. Gives JSON.
    ///
    /// # Errors
    /// A sentence for a part that is too large, or without two results.
    pub fn scores(
        &self,
        left: f64,
        top: f64,
        right: f64,
        bottom: f64,
        region: &str,
        shows_differences: bool,
    ) -> std::result::Result<String, JsValue> {
        let region: Vec<Polygon> = if region.is_empty() {
            Vec::new()
        } else {
            serde_json::from_str(region)
                .map_err(|e| thrown(&Error::malformed("This is no region").caused_by(e)))?
        };
        let mut state = self.state.borrow_mut();
        let window = state.window(SlideBounds { left, top, right, bottom }).thrown()?;
        let (facts, differences) = state.compare(window, &region).thrown()?;
        state.differences = shows_differences.then_some(differences);
        json(&facts)
    }

    /// Draws objects as usual again.
    #[wasm_bindgen(js_name = hideDifferences)]
    pub fn hide_differences(&self) {
        self.state.borrow_mut().differences = None;
    }
}
