//! A nucleus as it is kept: placed in the slide, without a number, for numbers follow the blocks.

use serde::{Deserialize, Serialize};

use crate::instances::{Measurements, Nucleus};
use crate::raster::Point;

/// Outline, area and centroid in pixels of the finest level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlideNucleus {
    rings: Vec<Vec<[f64; 2]>>,
    pub area_px: u64,
    pub centroid: (f64, f64),
    measurements: Measurements,
}

impl SlideNucleus {
    /// A nucleus of a window moved to the slide.
    #[must_use]
    pub fn new(nucleus: &Nucleus, left: usize, top: usize, scale: f64) -> Self {
        let place = |x: f64, y: f64| ((x + left as f64) * scale, (y + top as f64) * scale);
        let ring =
            |r: &Vec<Point>| r.iter().map(|p| place(p.x, p.y)).map(|(x, y)| [x, y]).collect();
        Self {
            rings: nucleus.rings.iter().map(ring).collect(),
            area_px: (nucleus.area_px as f64 * scale * scale).round() as u64,
            centroid: place(nucleus.centroid.0, nucleus.centroid.1),
            measurements: nucleus.measurements.unwrap_or_default(),
        }
    }

    /// With its number in the whole.
    #[must_use]
    pub fn numbered(self, label: u32) -> Nucleus {
        let ring = |r: Vec<[f64; 2]>| r.into_iter().map(|[x, y]| Point { x, y }).collect();
        Nucleus {
            label,
            rings: self.rings.into_iter().map(ring).collect(),
            area_px: self.area_px,
            centroid: self.centroid,
            measurements: Some(self.measurements),
        }
    }

    /// Outline and holes.
    pub fn rings(&self) -> impl Iterator<Item = &[[f64; 2]]> {
        self.rings.iter().map(Vec::as_slice)
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

    /// Whether a point lies inside, by the even-odd rule.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        let crossed = |ring: &[[f64; 2]]| {
            let edges = ring.iter().zip(ring.iter().cycle().skip(1));
            edges
                .filter(|([ax, ay], [bx, by])| {
                    (*ay <= y) != (*by <= y) && x < ax + (y - ay) / (by - ay) * (bx - ax)
                })
                .count()
        };
        self.rings().map(crossed).sum::<usize>() % 2 == 1
    }

    /// Left, top, right and bottom of the outline.
    #[must_use]
    pub fn bounds(&self) -> [f64; 4] {
        let start = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
        self.rings
            .iter()
            .flatten()
            .fold(start, |[l, t, r, b], [x, y]| [l.min(*x), t.min(*y), r.max(*x), b.max(*y)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_not_inside() {
        let square = |from: f64, to: f64| vec![[from, from], [to, from], [to, to], [from, to]];
        let kept = SlideNucleus {
            rings: vec![square(0.0, 9.0), square(3.0, 6.0)],
            area_px: 72,
            centroid: (4.5, 4.5),
            measurements: Measurements::default(),
        };
        assert_eq!([1.0, 4.5, 8.0, 9.5].map(|v| kept.holds(v, v)), [true, false, true, false]);
        assert_eq!(kept.bounds().map(|v| v as u8), [0, 0, 9, 9]);
    }
}
