//! Results together with what a person decided: objects, outlines, counts, and outlines that a
//! person draws. Images and slides are one path: both are a [`ReviewedIndex`].

use std::collections::BTreeMap;

use js_sys::Function;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use super::reference::COMPARISON;
use super::session::{ResultSlot, Session, State};
use super::{Thrown as _, json};
use crate::engine::Block;
use crate::error::{Error, Result};
use crate::instances::{
    Nucleus, OutlinePixels, measure_outline, probability_to_u8, proposed_outline,
};
use crate::model::NucleusType;
use crate::raster::{Mask, Point, Polygon, RgbImage};
use crate::review::{
    MarkStatus, Marks, NamedRegion, RegionCounts, ReviewCounts, ReviewObject, ReviewedIndex,
    ReviewedNuclei, Strokes, closed_stroke, merged, split,
};
use crate::slide::SlideBounds;
use crate::viewer::{
    OutlineObject, OutlineStatus, RESULT_LAYERS, TileKey, outline_tile, outline_tile_bounds,
};
use crate::whole_slide::{Sampling, SlideNucleus};

/// Regions that have a bit in the masks of [`Session::objects`].
const REGIONS_IN_MASK: usize = 31;
/// Distance from the point up to which a nucleus is proposed, pixels of the model.
const PROPOSAL_PX: usize = 128;
/// Area of a nucleus where none is found to compare with, pixels of the model.
const USUAL_AREA_PX: f64 = 300.0;
/// Pixels around a drawn outline that are read with it.
const MARGIN_PX: f64 = 2.0;

/// Marks and regions: what `ReviewStore.forWorker` gives.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReviewInput {
    pub marks: Marks,
    pub regions: BTreeMap<u32, NamedRegion>,
    #[serde(default)]
    pub strokes: Strokes,
    pub inside_only: bool,
}

impl ReviewInput {
    /// Together with the nuclei of a result.
    pub(super) fn of<'a>(
        &'a self,
        nuclei: &'a ReviewedIndex,
        types: &'a [NucleusType],
    ) -> ReviewedNuclei<'a> {
        nuclei.reviewed(&self.marks, self.inside_only.then_some(&self.regions), types)
    }

    /// The regions alone.
    fn without_marks(&self) -> Self {
        let Self { regions, inside_only, .. } = self;
        Self { regions: regions.clone(), inside_only: *inside_only, ..Self::default() }
    }

    /// Whether every nucleus of the model counts, and nothing else.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty() && !self.inside_only
    }
}

/// JSON of [`Session::summary`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewSummary<'a> {
    #[serde(flatten)]
    counts: ReviewCounts,
    /// Area that is segmented, pixels of the finest level.
    segmented_px: f64,
    /// Blocks that are to be segmented, and those of them that are finished.
    wanted: usize,
    done: usize,
    /// Of the result; none without one.
    threshold: Option<f32>,
    fingerprint: Option<String>,
    /// Nuclei of an earlier result that are shown where this one is not finished.
    older_nuclei: usize,
    /// Types of nuclei that the model tells apart.
    types: &'a [NucleusType],
    regions: Vec<RegionCounts>,
}

/// How far a result is, and how it was made.
#[derive(Debug, Default)]
struct ResultProgress {
    segmented_px: f64,
    wanted: usize,
    done: usize,
    threshold: Option<f32>,
    fingerprint: Option<String>,
}

impl State {
    /// The nuclei of a result; none before it is begun.
    pub(super) fn found(&self, slot: u32) -> Option<&ReviewedIndex> {
        if let (COMPARISON, Some(reference)) = (slot, &self.reference) {
            return Some(&reference.nuclei);
        }
        if let Some(slide_result) = self.slide_result(slot) {
            return Some(&slide_result.nuclei);
        }
        self.slot(slot).ok()?.found()
    }

    /// Types of nuclei that the model of a result tells apart.
    pub(super) fn types(&self, slot: u32) -> &[NucleusType] {
        if slot == COMPARISON && self.reference.is_some() {
            return &[];
        }
        if let Some(slide_result) = self.slide_result(slot) {
            return &slide_result.types;
        }
        self.slot(slot).map_or(&[], |slot| &slot.types)
    }

    /// Whether all tissue in a rectangle is segmented.
    fn is_segmented(&self, slot: u32, bounds: SlideBounds) -> bool {
        if let Some(result) = self.slide_result(slot) {
            return result.nuclei.index().missing(bounds).is_empty();
        }
        self.slot(slot).is_ok_and(ResultSlot::is_complete)
    }

    /// Size of the open image or slide, pixels of the finest level.
    pub(super) fn picture_size(&self) -> Result<(usize, usize)> {
        match &self.slide {
            Some(slide) => Ok(slide.tiles.size()),
            None => self.image().map(|image| (image.width(), image.height())),
        }
    }

    /// What belongs to a result: what is compared with shows its own objects alone.
    pub(super) fn review_of(&self, slot: u32) -> &ReviewInput {
        if slot == COMPARISON { &self.comparison_review } else { &self.review }
    }

    /// Does something with the nuclei of a result together with the marks; without a result there
    /// are the marks alone.
    pub(super) fn with_reviewed<T>(
        &self,
        slot: u32,
        work: impl FnOnce(ReviewedNuclei<'_>) -> T,
    ) -> Result<T> {
        if slot as usize >= RESULT_LAYERS {
            return Err(Error::invalid("There is no such result"));
        }
        let size = self.picture_size()?;
        let types = self.types(slot);
        match self.found(slot) {
            Some(nuclei) => Ok(work(self.review_of(slot).of(nuclei, types))),
            None => Ok(work(self.review_of(slot).of(&ReviewedIndex::nothing(size), types))),
        }
    }

    /// Nuclei of earlier results in a rectangle where the present one is not finished, the numbers
    /// of the latest result first.
    fn older_near(&self, slot: u32, bounds: SlideBounds) -> Vec<ReviewObject> {
        // The objects of a file are complete.
        if slot == COMPARISON && self.reference.is_some() {
            return Vec::new();
        }
        let mut earlier: Vec<&ReviewedIndex> = Vec::new();
        if let Some(older) = self.older_slides.get(slot as usize) {
            earlier.extend(older.iter().map(|older| &older.nuclei));
        }
        if self.slide.is_none()
            && let Ok(slot) = self.slot(slot)
        {
            earlier.extend(&slot.older);
        }
        let mut objects = Vec::new();
        for (i, nuclei) in earlier.iter().enumerate() {
            for object in self.review_of(slot).of(nuclei, &[]).near(bounds) {
                let (x, y) = object.nucleus.centroid;
                let is_later = |later: &&ReviewedIndex| later.index().is_finished_at(x, y);
                if object.status.is_none()
                    && !self.is_known(slot, x, y)
                    && !earlier[..i].iter().any(is_later)
                {
                    objects.push(object);
                }
            }
        }
        objects
    }

    /// Whether a place of the finest level is segmented.
    fn is_known(&self, slot: u32, x: f64, y: f64) -> bool {
        if let Some(slide_result) = self.slide_result(slot) {
            return slide_result.nuclei.index().is_finished_at(x, y);
        }
        let Ok(slot) = self.slot(slot) else { return false };
        let (column, row) = ((x / slot.scale) as usize, (y / slot.scale) as usize);
        let known = &slot.known;
        known.get(row.min(known.height() - 1), column.min(known.width() - 1))
    }

    fn progress(&self, slot: u32) -> ResultProgress {
        if let Some(slide_result) = self.slide_result(slot) {
            let index = slide_result.nuclei.index();
            let (done, wanted) = index.progress();
            return ResultProgress {
                segmented_px: index.area_px(),
                wanted,
                done,
                threshold: Some(slide_result.job.settings().parameters.threshold),
                fingerprint: Some(slide_result.fingerprint.clone()),
            };
        }
        let Ok(slot) = self.slot(slot) else { return ResultProgress::default() };
        let known = slot.known.data().iter().filter(|&&known| known).count();
        ResultProgress {
            segmented_px: known as f64 * slot.scale * slot.scale,
            wanted: 1,
            done: usize::from(slot.is_complete() && slot.nuclei.is_some()),
            threshold: slot.nuclei.as_ref().map(|found| found.parameters.threshold),
            fingerprint: Some(slot.fingerprint.clone()),
        }
    }

    /// The segmented parts of the finest level, which do not overlap.
    fn segmented(&self, slot: u32, image: &SlideBounds) -> Vec<SlideBounds> {
        if let Some(slide_result) = self.slide_result(slot) {
            return slide_result.nuclei.index().known(*image).collect();
        }
        self.slot(slot).map_or(Vec::new(), |slot| true_rectangles(&slot.known, slot.scale))
    }

    fn region_counts(&self, slot: u32) -> Result<Vec<RegionCounts>> {
        let (width, height) = self.picture_size()?;
        let image = SlideBounds::of_size(width, height);
        let segmented = self.segmented(slot, &image);
        self.with_reviewed(slot, |nuclei| {
            RegionCounts::of(nuclei, &self.review.regions, &image, &segmented)
        })
    }

    /// Median area of a result's nuclei, pixels of the finest level.
    fn median_area(&self, slot: u32) -> Option<f64> {
        let index = self.found(slot)?.index();
        let mut areas: Vec<u64> = index.all().map(|(_, nucleus)| nucleus.area_px).collect();
        let middle = areas.len() / 2;
        (!areas.is_empty()).then(|| *areas.select_nth_unstable(middle).1 as f64)
    }
}

/// Rectangles that cover the pixels that are true and do not overlap; a pixel spans `scale`.
fn true_rectangles(mask: &Mask, scale: f64) -> Vec<SlideBounds> {
    let mut done = Vec::new();
    let mut open: Vec<SlideBounds> = Vec::new();
    for row in 0..mask.height() {
        let (top, bottom) = (row as f64 * scale, (row + 1) as f64 * scale);
        let mut column = 0;
        let mut runs = Vec::new();
        for run in mask.row(row).chunk_by(|a, b| a == b) {
            let (left, right) = (column as f64 * scale, (column + run.len()) as f64 * scale);
            column += run.len();
            if run.first() == Some(&true) {
                runs.push(SlideBounds { left, top, right, bottom });
            }
        }
        let is_same = open.len() == runs.len()
            && open.iter().zip(&runs).all(|(a, b)| (a.left, a.right) == (b.left, b.right));
        if is_same {
            open.iter_mut().for_each(|part| part.bottom = bottom);
        } else {
            done.append(&mut open);
            open = runs;
        }
    }
    done.append(&mut open);
    done
}

/// What [`Session::objects`] gives.
fn object_numbers(nuclei: ReviewedNuclei<'_>, regions: &BTreeMap<u32, NamedRegion>) -> Vec<f64> {
    let mut bounded = Vec::new();
    for region in regions.values().take(REGIONS_IN_MASK) {
        bounded.push((region.bounds(), region));
    }
    let mut numbers = Vec::new();
    let mut counted = 0u32;
    for object in nuclei.all() {
        let counts = object.status.is_none_or(MarkStatus::counts);
        counted += u32::from(counts);
        let (x, y) = object.nucleus.centroid;
        let at = SlideBounds::at_point(Point { x, y });
        let mut mask = 0u32;
        for (bit, (bounds, region)) in bounded.iter().enumerate() {
            if bounds.intersects(&at) && region.holds(x, y) {
                mask |= 1 << bit;
            }
        }
        let measured = object.nucleus.measurements.unwrap_or_default();
        numbers.extend([f64::from(object.id), x, y, object.nucleus.area_px as f64]);
        numbers.extend([measured.mean_probability, measured.circularity]);
        let status = object.status.and_then(OutlineStatus::of_mark);
        numbers.push(f64::from(status.unwrap_or(OutlineStatus::Model) as u8));
        numbers.push(if counts { f64::from(counted) } else { 0.0 });
        numbers.push(f64::from(mask));
        numbers.push(object.nucleus.class.map_or(-1.0, f64::from));
    }
    numbers
}

/// Points from x and y of each in turn.
pub(super) fn stroke(points: &[f64]) -> Vec<Point> {
    points.as_chunks::<2>().0.iter().map(|&[x, y]| Point { x, y }).collect()
}

pub(super) fn parsed<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::malformed("This is no object").caused_by(e))
}

/// The same outlines in pixels that span `scale` of these, from (`left`, `top`) in those.
fn placed(polygons: &[Polygon], left: f64, top: f64, scale: f64) -> Vec<Polygon> {
    let mut placed = polygons.to_vec();
    for point in placed.iter_mut().flatten().flatten() {
        *point = Point { x: point.x / scale - left, y: point.y / scale - top };
    }
    placed
}

/// From pixels of a window whose corner lies at (`left`, `top`), each spanning `scale` of the
/// finest level's, to pixels of that level.
fn place_in_whole(outline: &mut [Polygon], left: usize, top: usize, scale: f64) {
    for point in outline.iter_mut().flatten().flatten() {
        point.x = (point.x + left as f64) * scale;
        point.y = (point.y + top as f64) * scale;
    }
}

/// The pixels around an outline.
struct OutlineWindow {
    image: RgbImage,
    left: usize,
    top: usize,
    /// Pixels of the finest level that one of the window's spans.
    scale: f64,
}

impl Session {
    /// Measures an outline, in pixels of the finest level of `mpp` µm, on the pixels under it.
    async fn measured_outline(
        &self,
        slot: u32,
        polygons: &[Polygon],
        mpp: f64,
        read: Option<&Function>,
    ) -> Result<Nucleus> {
        let mpp_um = (mpp.is_finite() && mpp > 0.0).then_some(mpp);
        if let Some(read) = read
            && self.state.borrow().slide.is_some()
        {
            let window = self.slide_window(slot, polygons, read).await?;
            let OutlineWindow { image, left, top, scale } = window;
            let own = placed(polygons, left as f64, top as f64, scale);
            let pixels = OutlinePixels { image: &image, smoothed: None };
            let nucleus = measure_outline(own, pixels, mpp_um.map(|mpp| mpp * scale));
            return Ok(SlideNucleus::new(&nucleus, left, top, scale).numbered(0));
        }
        let state = self.state.borrow();
        let Ok(slot) = state.slot(slot) else {
            let pixels = OutlinePixels { image: state.image()?, smoothed: None };
            return Ok(measure_outline(polygons.to_vec(), pixels, mpp_um));
        };
        let smoothed = slot.nuclei.as_ref().map(|found| &found.smooth);
        let pixels = OutlinePixels { image: &slot.image, smoothed };
        if !slot.is_resampled() {
            return Ok(measure_outline(polygons.to_vec(), pixels, mpp_um));
        }
        let own = placed(polygons, 0.0, 0.0, slot.scale);
        let nucleus = measure_outline(own, pixels, mpp_um.map(|mpp| mpp * slot.scale));
        Ok(SlideNucleus::new(&nucleus, 0, 0, slot.scale).numbered(0))
    }

    /// Reads the pixels around an outline at the size of the result's model.
    async fn slide_window(
        &self,
        slot: u32,
        polygons: &[Polygon],
        read: &Function,
    ) -> Result<OutlineWindow> {
        let slide = self.slide()?;
        let sampling = match self.state.borrow().slide_result(slot) {
            Some(result) => result.job.sampling().clone(),
            None => Sampling::new(&slide.slide, 1.0, 1.0)?,
        };
        let bounds = SlideBounds::of_polygons(polygons);
        let cell = |place: f64, whole: usize| {
            (place / sampling.scale).floor().clamp(0.0, whole.saturating_sub(1) as f64) as usize
        };
        let bounds = bounds.expanded(MARGIN_PX * sampling.scale);
        let (width, height) = (sampling.width(), sampling.height());
        let (left, top) = (cell(bounds.left, width), cell(bounds.top, height));
        let (right, bottom) = (cell(bounds.right, width), cell(bounds.bottom, height));
        let window =
            Block { row: top, column: left, width: right - left + 1, height: bottom - top + 1 };
        let request = sampling.request(window);
        let pixels = slide.region(request.level, request.rect, read).await?;
        let scale = sampling.scale;
        Ok(OutlineWindow { image: sampling.apply(pixels, window)?, left, top, scale })
    }

    /// The region of the probabilities around a place, in pixels of the finest level.
    fn proposed(&self, slot: u32, x: f64, y: f64) -> Option<Vec<Polygon>> {
        let state = self.state.borrow();
        let median_area = state.median_area(slot);
        if let Some(result) = state.slide_result(slot) {
            let block = result.nuclei.index().block_at(x, y)?;
            let find = result.job.block_nuclei(block).ok()?;
            let map = result.kept.get(block)?.probabilities(&find).ok()?;
            let area = median_area.map_or(USUAL_AREA_PX, |area| area / (find.scale * find.scale));
            let column = (x / find.scale).max(0.0) as usize;
            let row = (y / find.scale).max(0.0) as usize;
            let (top, left) = (find.window.row, find.window.column);
            let (row, column) = (row.checked_sub(top)?, column.checked_sub(left)?);
            let mut outline = proposed_outline(map.nucleus(), row, column, area)?;
            place_in_whole(&mut outline, left, top, find.scale);
            return Some(outline);
        }
        let slot = state.slot(slot).ok()?;
        let (x, y) = (x / slot.scale, y / slot.scale);
        let (width, height) = (slot.map.width(), slot.map.height());
        if !(x >= 0.0 && y >= 0.0 && x < width as f64 && y < height as f64) {
            return None;
        }
        let (row, column) = (y as usize, x as usize);
        let (top, left) = (row.saturating_sub(PROPOSAL_PX), column.saturating_sub(PROPOSAL_PX));
        let window = slot.map.nucleus().crop(
            top,
            left,
            (column + PROPOSAL_PX).min(width) - left,
            (row + PROPOSAL_PX).min(height) - top,
        );
        let area = median_area.map_or(USUAL_AREA_PX, |area| area / (slot.scale * slot.scale));
        let map = window.map(probability_to_u8);
        let mut outline = proposed_outline(&map, row - top, column - left, area)?;
        place_in_whole(&mut outline, left, top, slot.scale);
        Some(outline)
    }

    async fn measured_outlines(
        &self,
        slot: u32,
        outlines: &[Vec<Polygon>],
        mpp: f64,
        read: Option<&Function>,
    ) -> Result<Vec<Nucleus>> {
        let mut nuclei = Vec::with_capacity(outlines.len());
        for polygons in outlines {
            nuclei.push(self.measured_outline(slot, polygons, mpp, read).await?);
        }
        Ok(nuclei)
    }

    async fn merged_nucleus(
        &self,
        slot: u32,
        objects: &str,
        mpp: f64,
        read: Option<&Function>,
    ) -> Result<Nucleus> {
        let objects: Vec<ReviewObject> = parsed(objects)?;
        let outlines: Vec<Vec<Polygon>> =
            objects.into_iter().map(|object| object.nucleus.polygons).collect();
        self.measured_outline(slot, &merged(&outlines)?, mpp, read).await
    }
}

#[wasm_bindgen]
impl Session {
    /// Takes marks and regions, JSON of `ReviewStore.forWorker`.
    ///
    /// # Errors
    /// A sentence for other text; the earlier ones stay then.
    #[wasm_bindgen(js_name = setReview)]
    pub fn set_review(&self, review: &str) -> std::result::Result<(), JsValue> {
        let review: ReviewInput = parsed(review).thrown()?;
        let mut state = self.state.borrow_mut();
        state.comparison_review = review.without_marks();
        state.review = review;
        state.marks_changed();
        Ok(())
    }

    /// All objects, ten numbers each: id, centroid x and y, area in pixels of the finest level,
    /// mean probability, circularity, status (0 model, 1 accepted, 2 added, 3 rejected), number in
    /// files (0 if it does not count), and a mask of the first 31 regions, in the order of their
    /// numbers, that hold its centroid, and the place of its type (-1 for none). Unknown values are
    /// NaN.
    ///
    /// # Errors
    /// A sentence without an image.
    pub fn objects(&self, slot: u32) -> std::result::Result<Vec<f64>, JsValue> {
        let state = self.state.borrow();
        let regions = &state.review.regions;
        state.with_reviewed(slot, |nuclei| object_numbers(nuclei, regions)).thrown()
    }

    /// The object at a place of the finest level as JSON, null for none.
    ///
    /// # Errors
    /// A sentence without an image.
    #[wasm_bindgen(js_name = objectAt)]
    pub fn object_at(&self, slot: u32, x: f64, y: f64) -> std::result::Result<String, JsValue> {
        json(&self.state.borrow().with_reviewed(slot, |nuclei| nuclei.at(x, y)).thrown()?)
    }

    /// The object with an id as JSON, null for none.
    ///
    /// # Errors
    /// A sentence without an image.
    #[wasm_bindgen(js_name = objectOf)]
    pub fn object_of(&self, slot: u32, id: u32) -> std::result::Result<String, JsValue> {
        let find = |nuclei: ReviewedNuclei<'_>| nuclei.all().find(|object| object.id == id);
        json(&self.state.borrow().with_reviewed(slot, find).thrown()?)
    }

    /// Outlines of the objects whose centroid lies in a tile: for each ring id, look
    /// (status, 4 for older settings, and 8 times one more than the colour of the type), number of
    /// points, and their x and y in pixels of the finest level; for an object too small for the
    /// level id, look, 0, x, y.
    ///
    /// # Errors
    /// A sentence if there is no such tile.
    #[wasm_bindgen(js_name = outlineTile)]
    pub fn outline_tile(
        &self,
        slot: u32,
        level: u32,
        row: u32,
        column: u32,
    ) -> std::result::Result<Vec<f64>, JsValue> {
        let state = self.state.borrow();
        let key = TileKey { level, row, column };
        let size = state.picture_size().thrown()?;
        // An object at the border of the tile may have its centroid in it and its outline not.
        let bounds = outline_tile_bounds(size, key).thrown()?;
        let types = state.types(slot);
        let objects = |nuclei: ReviewedNuclei<'_>| {
            let mut objects = Vec::new();
            for object in nuclei.near(bounds) {
                let status = match state.differences.as_ref() {
                    Some(differences) => differences.of(slot, object.id),
                    None => None,
                };
                let shown = OutlineObject::of_review(object, OutlineStatus::Model, types);
                objects.extend(shown.map(|shown| OutlineObject {
                    status: status.unwrap_or(shown.status),
                    ..shown
                }));
            }
            objects
        };
        let mut objects = state.with_reviewed(slot, objects).thrown()?;
        for object in state.older_near(slot, bounds) {
            objects.extend(OutlineObject::of_review(object, OutlineStatus::Older, &[]));
        }
        outline_tile(size, objects.into_iter(), key).thrown()
    }

    /// The nucleus that a person may mean by a place, from the probabilities there: JSON of a
    /// nucleus, null for none.
    ///
    /// # Errors
    /// A sentence if pixels cannot be read.
    pub async fn propose(
        &self,
        slot: u32,
        x: f64,
        y: f64,
        mpp: f64,
        read: Option<Function>,
    ) -> std::result::Result<String, JsValue> {
        let Some(outline) = self.proposed(slot, x, y) else { return Ok("null".to_owned()) };
        json(&self.measured_outline(slot, &outline, mpp, read.as_ref()).await.thrown()?)
    }

    /// The nucleus inside a stroke, x and y of each point in pixels of the finest level, as JSON.
    /// `mpp` is the size of these pixels in µm, 0 if it is unknown; `read` gives bytes of a slide.
    ///
    /// # Errors
    /// A sentence for a stroke around nothing.
    #[wasm_bindgen(js_name = drawNucleus)]
    pub async fn draw_nucleus(
        &self,
        slot: u32,
        points: Vec<f64>,
        mpp: f64,
        read: Option<Function>,
    ) -> std::result::Result<String, JsValue> {
        let outline = closed_stroke(&stroke(&points)).thrown()?;
        json(&self.measured_outline(slot, &outline, mpp, read.as_ref()).await.thrown()?)
    }

    /// The parts into which a stroke cuts an object: a JSON list of nuclei.
    ///
    /// # Errors
    /// A sentence if the stroke does not cut it.
    #[wasm_bindgen(js_name = splitNucleus)]
    pub async fn split_nucleus(
        &self,
        slot: u32,
        object: String,
        points: Vec<f64>,
        mpp: f64,
        read: Option<Function>,
    ) -> std::result::Result<String, JsValue> {
        let object: ReviewObject = parsed(&object).thrown()?;
        let outlines = split(&object.nucleus.polygons, &stroke(&points)).thrown()?;
        json(&self.measured_outlines(slot, &outlines, mpp, read.as_ref()).await.thrown()?)
    }

    /// One nucleus in the place of a JSON list of objects, as JSON.
    ///
    /// # Errors
    /// A sentence if they lie apart.
    #[wasm_bindgen(js_name = mergeNuclei)]
    pub async fn merge_nuclei(
        &self,
        slot: u32,
        objects: String,
        mpp: f64,
        read: Option<Function>,
    ) -> std::result::Result<String, JsValue> {
        json(&self.merged_nucleus(slot, &objects, mpp, read.as_ref()).await.thrown()?)
    }

    /// Counts, progress, settings and regions of a result as JSON.
    ///
    /// # Errors
    /// A sentence without an image.
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is of one lifetime, the argument of with_reviewed of any"
    )]
    pub fn summary(&self, slot: u32) -> std::result::Result<String, JsValue> {
        let state = self.state.borrow();
        let progress = state.progress(slot);
        let (width, height) = state.picture_size().thrown()?;
        let everything = SlideBounds::of_size(width, height);
        json(&ReviewSummary {
            counts: state.with_reviewed(slot, |nuclei| nuclei.counts()).thrown()?,
            segmented_px: progress.segmented_px,
            wanted: progress.wanted,
            done: progress.done,
            threshold: progress.threshold,
            fingerprint: progress.fingerprint,
            older_nuclei: state.older_near(slot, everything).len(),
            types: state.types(slot),
            regions: state.region_counts(slot).thrown()?,
        })
    }

    /// The table of regions as CSV; `mpp` in µm, 0 if it is unknown.
    ///
    /// # Errors
    /// A sentence without an image.
    #[wasm_bindgen(js_name = regionTable)]
    pub fn region_table(&self, slot: u32, mpp: f64) -> std::result::Result<Vec<u8>, JsValue> {
        let counts = self.state.borrow().region_counts(slot).thrown()?;
        Ok(RegionCounts::csv(&counts, (mpp > 0.0).then_some(mpp)).into_bytes())
    }

    /// Number of nuclei of the model alone, without what a person decided, whose centroid lies in a
    /// rectangle of the finest level.
    ///
    /// # Errors
    /// A sentence without a result.
    #[wasm_bindgen(js_name = ownNucleiIn)]
    pub fn own_nuclei_in(
        &self,
        slot: u32,
        left: f64,
        top: f64,
        right: f64,
        bottom: f64,
    ) -> std::result::Result<usize, JsValue> {
        let bounds = SlideBounds { left, top, right, bottom };
        let state = self.state.borrow();
        let found = state.found(slot).ok_or_else(|| Error::invalid("There is no result yet"));
        let index = found.thrown()?.index();
        let is_inside = |nucleus: &SlideNucleus| {
            let (x, y) = nucleus.centroid;
            SlideBounds::at_point(Point { x, y }).intersects(&bounds)
        };
        Ok(index.near(bounds).filter(|(_, nucleus)| is_inside(nucleus)).count())
    }

    /// Nuclei of the model on which nobody decided, whose centroid lies in a rectangle of the
    /// finest level, as a JSON list of objects.
    ///
    /// # Errors
    /// A sentence where a part of the rectangle is not segmented.
    #[wasm_bindgen(js_name = undecidedIn)]
    pub fn undecided_in(
        &self,
        slot: u32,
        left: f64,
        top: f64,
        right: f64,
        bottom: f64,
    ) -> std::result::Result<String, JsValue> {
        let bounds = SlideBounds { left, top, right, bottom };
        let state = self.state.borrow();
        if !state.is_segmented(slot, bounds) {
            let error = Error::invalid("A part of the view is not segmented yet");
            return Err(super::thrown(&error));
        }
        let is_inside = |object: &ReviewObject| {
            let (x, y) = object.nucleus.centroid;
            SlideBounds::at_point(Point { x, y }).intersects(&bounds)
        };
        let find = |nuclei: ReviewedNuclei<'_>| -> Vec<ReviewObject> {
            let near = nuclei.near(bounds).filter(|object| object.status.is_none());
            near.filter(is_inside).collect()
        };
        json(&state.with_reviewed(slot, find).thrown()?)
    }

    /// Whether all tissue in a rectangle of the finest level is segmented.
    #[must_use]
    #[wasm_bindgen(js_name = isSegmented)]
    pub fn is_segmented(&self, slot: u32, left: f64, top: f64, right: f64, bottom: f64) -> bool {
        self.state.borrow().is_segmented(slot, SlideBounds { left, top, right, bottom })
    }

    /// Numbers of the objects whose centroid lies in a rectangle of the finest level, as JSON.
    ///
    /// # Errors
    /// A sentence without an image.
    #[wasm_bindgen(js_name = countsIn)]
    pub fn counts_in(
        &self,
        slot: u32,
        left: f64,
        top: f64,
        right: f64,
        bottom: f64,
    ) -> std::result::Result<String, JsValue> {
        let bounds = SlideBounds { left, top, right, bottom };
        let state = self.state.borrow();
        json(&state.with_reviewed(slot, |nuclei| nuclei.counts_in(bounds)).thrown()?)
    }
}
