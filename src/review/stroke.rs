//! Strokes: what a person paints to say what the pixels under a line are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{check_points, is_short_name};
use crate::error::{Error, Result};
use crate::raster::{Point, distance_to_segment};
use crate::slide::SlideBounds;

/// Widest stroke, pixels of the finest level.
const MAX_WIDTH_PX: f64 = 10_000.0;

/// A painted line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stroke {
    /// What is painted: `background`, `nucleus`, or the name of a type of nuclei.
    pub class: String,
    /// Width, pixels of the finest level.
    pub width_px: f64,
    /// At least one, in pixels of the finest level.
    pub points: Vec<Point>,
}

/// Strokes by number, in the order in which they were painted.
pub type Strokes = BTreeMap<u32, Stroke>;

impl Stroke {
    /// The smallest rectangle around what is painted.
    #[must_use]
    pub fn bounds(&self) -> SlideBounds {
        SlideBounds::of_points(&self.points).expanded(self.width_px / 2.0)
    }

    /// Whether a point is painted.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        let point = Point { x, y };
        // A single point is a dot.
        let ends = self.points.iter().skip(1).chain(self.points.last());
        let mut lines = self.points.iter().zip(ends);
        lines.any(|(a, b)| distance_to_segment(point, *a, *b) <= self.width_px / 2.0)
    }

    /// Refuses what nobody can have painted.
    ///
    /// # Errors
    /// [`Error::Invalid`] with a sentence.
    pub(super) fn check(&self) -> Result<()> {
        if self.class.trim().is_empty() || !is_short_name(&self.class) {
            return Err(Error::invalid("A stroke needs a class of at most 200 characters"));
        }
        if self.class.trim_end().ends_with('*') {
            return Err(Error::invalid(
                "A stroke's class ends in *; such classes are for areas, as in QuPath",
            ));
        }
        if !(self.width_px > 0.0 && self.width_px <= MAX_WIDTH_PX) {
            return Err(Error::invalid(format!(
                "The width of a stroke must be a number of pixels up to {MAX_WIDTH_PX}"
            )));
        }
        check_points(&self.points)
    }
}
