//! A nucleus placed in the slide. It has no number: numbers follow the order of blocks.

use serde::{Deserialize, Serialize};

use crate::instances::{Measurements, Nucleus};
use crate::raster::{Point, Polygon};
use crate::slide::SlideBounds;

/// Outline, area and centroid in pixels of the finest level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlideNucleus {
    /// For each part the outline, then its holes; x and y of each corner.
    polygons: Vec<Vec<Vec<[f64; 2]>>>,
    /// Area in pixels of the finest level.
    pub area_px: u64,
    /// x and y.
    pub centroid: (f64, f64),
    measurements: Measurements,
}

impl SlideNucleus {
    /// Places a nucleus that was found in a window whose corner lies at (`left`, `top`), in pixels
    /// that span `scale` of the finest level's.
    #[must_use]
    pub fn new(nucleus: &Nucleus, left: usize, top: usize, scale: f64) -> Self {
        let place = |x: f64, y: f64| [(x + left as f64) * scale, (y + top as f64) * scale];
        let mut polygons = Vec::with_capacity(nucleus.polygons.len());
        for polygon in &nucleus.polygons {
            let mut rings = Vec::with_capacity(polygon.len());
            for ring in polygon {
                rings.push(ring.iter().map(|corner| place(corner.x, corner.y)).collect());
            }
            polygons.push(rings);
        }
        let [x, y] = place(nucleus.centroid.0, nucleus.centroid.1);
        Self {
            polygons,
            area_px: (nucleus.area_px as f64 * scale * scale).round() as u64,
            centroid: (x, y),
            measurements: nucleus.measurements.unwrap_or_default(),
        }
    }

    /// With its number in the whole.
    #[must_use]
    pub fn numbered(self, label: u32) -> Nucleus {
        let mut polygons = Vec::with_capacity(self.polygons.len());
        for polygon in self.polygons {
            let mut rings: Polygon = Vec::with_capacity(polygon.len());
            for ring in polygon {
                rings.push(ring.into_iter().map(|[x, y]| Point { x, y }).collect());
            }
            polygons.push(rings);
        }
        Nucleus {
            label,
            polygons,
            area_px: self.area_px,
            centroid: self.centroid,
            measurements: Some(self.measurements),
        }
    }

    /// Its parts, each an outline and then its holes.
    #[must_use]
    pub fn polygons(&self) -> &[Vec<Vec<[f64; 2]>>] {
        &self.polygons
    }

    /// Mean probability, 0 to 1.
    #[must_use]
    pub fn probability(&self) -> f64 {
        self.measurements.mean_probability
    }

    /// 1 for a circle.
    #[must_use]
    pub fn circularity(&self) -> f64 {
        self.measurements.circularity
    }

    /// Whether a point lies inside, by the even-odd rule: a ray to the right crosses the rings an
    /// odd number of times.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        let mut inside = false;
        for ring in self.polygons.iter().flatten() {
            for (index, [ax, ay]) in ring.iter().enumerate() {
                let [bx, by] = ring[(index + 1) % ring.len()];
                if (*ay <= y) != (by <= y) && x < ax + (y - ay) / (by - ay) * (bx - ax) {
                    inside = !inside;
                }
            }
        }
        inside
    }

    /// Of the outline.
    #[must_use]
    pub fn bounds(&self) -> SlideBounds {
        let [mut left, mut top] = [f64::MAX; 2];
        let [mut right, mut bottom] = [f64::MIN; 2];
        for [x, y] in self.polygons.iter().flatten().flatten() {
            left = left.min(*x);
            top = top.min(*y);
            right = right.max(*x);
            bottom = bottom.max(*y);
        }
        SlideBounds { left, top, right, bottom }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_not_inside() {
        let square = |from: f64, to: f64| vec![[from, from], [to, from], [to, to], [from, to]];
        let kept = SlideNucleus {
            polygons: vec![vec![square(0.0, 9.0), square(3.0, 6.0)]],
            area_px: 72,
            centroid: (4.5, 4.5),
            measurements: Measurements::default(),
        };
        assert_eq!([1.0, 4.5, 8.0, 9.5].map(|v| kept.holds(v, v)), [true, false, true, false]);
        assert_eq!(kept.bounds(), SlideBounds::of_size(9, 9));
    }
}
