//! Outlines or a label map of somebody else, and how well the nuclei agree with them.

use std::path::Path;

use super::app_state::AppState;
use super::document::Document;
use crate::error::{Error, ErrorContext as _, Result};
use crate::instances::draw_nuclei;
use crate::metrics::{ObjectScores, score_objects};
use crate::outlines::{Outline, Outlines, draw_outlines, read_outlines, trace_labels};
use crate::picture::{is_picture, read_labels};
use crate::platform::read_file;
use crate::raster::{DecodeLimits, LabelMap, Plane, fill_rings};
use crate::review::{NamedRegion, ReviewedNuclei};
use crate::slide::SlideBounds;

/// Largest file, bytes.
const MAX_FILE_BYTES: u64 = 500_000_000;
/// Largest area that is scored, pixels of the finest level.
const MAX_SCORED_PX: f64 = 36e6;

/// What the nuclei are compared with.
pub(super) struct Reference {
    /// File name.
    pub name: String,
    pub outlines: Outlines,
    /// In place of the outlines, which were traced around it.
    labels: Option<LabelMap>,
    /// Of the last comparison.
    pub scores: Option<ReferenceScores>,
    /// What was unusual in the file, or why there are no scores.
    pub notes: Vec<String>,
}

/// Scores and where they were taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReferenceScores {
    /// Agreement of the nuclei that count with the reference.
    pub scores: ObjectScores,
    /// Whether a part of the slide was compared: what the screen showed.
    pub is_of_view: bool,
}

impl Reference {
    /// Reads outlines or a label map for an image of `size`.
    ///
    /// # Errors
    /// Those of the readers; a label map of another size.
    pub(super) fn open(path: &Path, size: (usize, usize)) -> Result<Self> {
        let bytes = read_file(path, MAX_FILE_BYTES)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut reference = Self {
            name: name.unwrap_or_default(),
            outlines: Outlines::default(),
            labels: None,
            scores: None,
            notes: Vec::new(),
        };
        if is_picture(&bytes) {
            let labels = read_labels(&bytes, DecodeLimits::default()).at(path)?;
            let map = labels.map;
            if (map.width(), map.height()) != size {
                return Err(Error::mismatch(format!(
                    "The label map has {} × {} pixels, the image {} × {}",
                    map.width(),
                    map.height(),
                    size.0,
                    size.1
                ))
                .at(path));
            }
            reference.notes = labels.notes.notes;
            reference.outlines = trace_labels(&map);
            reference.labels = Some(map);
        } else {
            let mut outlines = read_outlines(&bytes).at(path)?;
            reference.notes = std::mem::take(&mut outlines.notes).notes;
            reference.notes.extend(outlines.make_valid().notes);
            reference.outlines = outlines;
        }
        if reference.outlines.objects.is_empty() {
            return Err(Error::invalid("The file holds no objects").at(path));
        }
        Ok(reference)
    }

    /// The objects in a rectangle of whole pixels, as labels.
    fn labels_in(&self, part: Part) -> LabelMap {
        if let Some(labels) = &self.labels {
            return labels.crop(part.top, part.left, part.width, part.height);
        }
        let bounds = part.bounds();
        let mut placed = Outlines::default();
        for object in &self.outlines.objects {
            let points = object.polygons.iter().flatten().flatten();
            if !SlideBounds::of_points(points).intersects(&bounds) {
                continue;
            }
            placed
                .objects
                .push(Outline { polygons: part.placed(&object.polygons), ..object.clone() });
        }
        draw_outlines(&placed, part.width, part.height, 0.0).labels
    }
}

/// A rectangle of whole pixels of the finest level.
#[derive(Clone, Copy)]
struct Part {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Part {
    fn of(bounds: &SlideBounds) -> Option<Self> {
        let (left, top) = (bounds.left.floor().max(0.0), bounds.top.floor().max(0.0));
        let (width, height) = (bounds.right.ceil() - left, bounds.bottom.ceil() - top);
        let is_some = width >= 1.0 && height >= 1.0;
        is_some.then_some(Self {
            left: left as usize,
            top: top as usize,
            width: width as usize,
            height: height as usize,
        })
    }

    fn bounds(self) -> SlideBounds {
        let (left, top) = (self.left as f64, self.top as f64);
        let (right, bottom) = (left + self.width as f64, top + self.height as f64);
        SlideBounds { left, top, right, bottom }
    }

    /// Polygons counted from its corner.
    fn placed(self, polygons: &[crate::raster::Polygon]) -> Vec<crate::raster::Polygon> {
        let mut placed = polygons.to_vec();
        for point in placed.iter_mut().flatten().flatten() {
            point.x -= self.left as f64;
            point.y -= self.top as f64;
        }
        placed
    }

    fn labels_of(self, nuclei: ReviewedNuclei<'_>) -> LabelMap {
        let mut placed = Vec::new();
        let counting = nuclei
            .near(self.bounds())
            .filter(|object| object.status.is_none_or(crate::review::MarkStatus::counts));
        for (object, label) in counting.zip(1u32..) {
            let mut nucleus = object.nucleus;
            nucleus.label = label;
            nucleus.polygons = self.placed(&nucleus.polygons);
            placed.push(nucleus);
        }
        draw_nuclei(&placed, self.width, self.height)
    }

    /// Clears what lies outside of regions.
    fn keep_inside<'a>(
        self,
        labels: &mut LabelMap,
        regions: impl Iterator<Item = &'a NamedRegion>,
    ) {
        let mut inside = Plane::filled(self.width, self.height, false);
        for region in regions {
            for polygon in self.placed(&region.polygons) {
                fill_rings(&polygon, self.width, self.height, |row, first, end| {
                    inside.row_mut(row)[first..end].fill(true);
                });
            }
        }
        for (label, is_inside) in labels.data_mut().iter_mut().zip(inside.data()) {
            if !is_inside {
                *label = 0;
            }
        }
    }
}

impl AppState {
    /// Name of the reference and its scores.
    #[must_use]
    pub fn reference_scores(&self) -> Option<(&str, Option<ReferenceScores>)> {
        self.reference.as_ref().map(|reference| (reference.name.as_str(), reference.scores))
    }

    /// Compares again, after a change of the nuclei: of an image all of it, of a slide what the
    /// screen shows.
    pub(super) fn refresh_scores(&mut self) {
        let Some(mut reference) = self.reference.take() else { return };
        reference.scores = match self.scores(&reference) {
            Ok(scores) => scores,
            Err(error) => {
                self.report(&error);
                None
            }
        };
        self.reference = Some(reference);
    }

    fn scores(&self, reference: &Reference) -> Result<Option<ReferenceScores>> {
        let is_of_view = matches!(self.document.as_deref(), Some(Document::Slide { .. }));
        let whole = self.whole();
        let bounds = if is_of_view { self.view.bounds().intersection(&whole) } else { whole };
        let Some(part) = Part::of(&bounds) else { return Ok(None) };
        if self.counts().is_none() {
            return Ok(None);
        }
        if part.width as f64 * part.height as f64 > MAX_SCORED_PX {
            return Err(Error::limit(format!(
                "Zoom in to compare with the reference: more than {} megapixels are shown",
                MAX_SCORED_PX / 1e6
            )));
        }
        let mut truth = reference.labels_in(part);
        let mut found = self
            .with_shown(|shown| part.labels_of(ReviewedNuclei { inside: None, ..shown.counted() }));
        if self.review.state().inside_only {
            let regions = &self.review.state().regions;
            part.keep_inside(&mut truth, regions.values());
            part.keep_inside(&mut found, regions.values());
        }
        Ok(Some(ReferenceScores { scores: score_objects(&found, &truth)?, is_of_view }))
    }
}
