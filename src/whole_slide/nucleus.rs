//! A nucleus placed in the slide. It has no number: numbers follow the order of blocks.

use serde::{Deserialize, Serialize};

use crate::instances::{Measurements, Nucleus};
use crate::raster::{Point, Polygon, polygons_hold};
use crate::slide::SlideBounds;

/// Outline, area and centroid in pixels of the finest level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlideNucleus {
    /// Its parts, each an outline and then its holes.
    pub polygons: Vec<Polygon>,
    /// Area in pixels of the finest level.
    pub area_px: u64,
    /// x and y.
    pub centroid: (f64, f64),
    /// Lengths and areas in micrometres, or in pixels where the pixel size is not known.
    pub measurements: Measurements,
    /// As of [`Nucleus::class`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<u8>,
}

impl SlideNucleus {
    /// Places a nucleus that was found in a window whose corner lies at (`left`, `top`), in pixels
    /// that span `scale` of the finest level's.
    #[must_use]
    pub fn new(nucleus: &Nucleus, left: usize, top: usize, scale: f64) -> Self {
        let place = |x: f64, y: f64| [(x + left as f64) * scale, (y + top as f64) * scale];
        let mut polygons = Vec::with_capacity(nucleus.polygons.len());
        for polygon in &nucleus.polygons {
            let mut rings: Polygon = Vec::with_capacity(polygon.len());
            for ring in polygon {
                rings.push(ring.iter().map(|&Point { x, y }| place(x, y).into()).collect());
            }
            polygons.push(rings);
        }
        let [x, y] = place(nucleus.centroid.0, nucleus.centroid.1);
        Self {
            polygons,
            area_px: (nucleus.area_px as f64 * scale * scale).round() as u64,
            centroid: (x, y),
            measurements: nucleus.measurements.unwrap_or_default(),
            class: nucleus.class,
        }
    }

    /// With its number in the whole.
    #[must_use]
    pub fn numbered(self, label: u32) -> Nucleus {
        Nucleus {
            label,
            polygons: self.polygons,
            area_px: self.area_px,
            centroid: self.centroid,
            measurements: Some(self.measurements),
            class: self.class,
        }
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

    /// Whether a point lies inside one of its parts, by the even-odd rule.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        polygons_hold(&self.polygons, x, y)
    }

    /// Of the outline.
    #[must_use]
    pub fn bounds(&self) -> SlideBounds {
        SlideBounds::of_polygons(&self.polygons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_not_inside() {
        let square = |from: f64, to: f64| {
            [[from, from], [to, from], [to, to], [from, to]].map(Point::from).to_vec()
        };
        let kept = SlideNucleus {
            polygons: vec![vec![square(0.0, 9.0), square(3.0, 6.0)]],
            area_px: 72,
            centroid: (4.5, 4.5),
            measurements: Measurements::default(),
            class: None,
        };
        assert_eq!([1.0, 4.5, 8.0, 9.5].map(|v| kept.holds(v, v)), [true, false, true, false]);
        assert_eq!(kept.bounds(), SlideBounds::of_size(9, 9));
    }
}
