//! What the figures share: an SVG canvas, the range of an axis, and the error type of plotters.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::{Error, Result};

/// Result of drawing; plotters has an error type for each backend.
pub(super) type DrawResult = std::result::Result<(), Box<dyn std::error::Error>>;

/// A drawing area in pixels of the SVG.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG of `width` × `height` pixels with a white background, filled by `draw`. The same calls
/// give the same bytes.
///
/// # Errors
/// [`Error::Malformed`] when plotters cannot draw the values.
pub(super) fn draw_svg(
    width: u32,
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> DrawResult,
) -> Result<String> {
    let mut svg = String::new();
    draw_into(&mut svg, width, height, draw)
        .map_err(|e| Error::malformed(format!("The figure cannot be drawn: {e}")))?;
    Ok(svg)
}

fn draw_into(
    svg: &mut String,
    width: u32,
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> DrawResult,
) -> DrawResult {
    let root = SVGBackend::with_string(svg, (width, height)).into_drawing_area();
    root.fill(&WHITE)?;
    draw(&root)?;
    root.present()?;
    Ok(())
}

/// Smallest and largest value of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AxisRange {
    pub low: f64,
    pub high: f64,
}

impl AxisRange {
    /// The range of no values: `low` is above `high`.
    pub(super) const EMPTY: Self = Self { low: f64::MAX, high: f64::MIN };

    pub(super) fn is_empty(self) -> bool {
        self.low > self.high
    }

    /// Widens the range so that it contains `value`; NaN changes nothing.
    pub(super) fn include(&mut self, value: f64) {
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }
}

/// The distinct values in ascending order: rows or columns of a grid.
pub(super) fn sorted_distinct(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}
