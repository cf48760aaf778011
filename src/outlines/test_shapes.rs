//! Shapes for tests.

use crate::raster::{Point, Ring};

pub(super) fn ring(points: &[(f64, f64)]) -> Ring {
    points.iter().map(|&(x, y)| Point { x, y }).collect()
}

/// The square whose corner of least coordinates is (`x`, `y`).
pub(super) fn square(x: f64, y: f64, side: f64) -> Ring {
    ring(&[(x, y), (x + side, y), (x + side, y + side), (x, y + side)])
}
