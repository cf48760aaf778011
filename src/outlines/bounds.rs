//! Rectangles around outlines, and the search among them.

use crate::raster::Point;

/// A rectangle, pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OutlineBounds {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl OutlineBounds {
    /// Around points; without any it holds and meets nothing.
    pub(super) fn of<'a>(points: impl Iterator<Item = &'a Point>) -> Self {
        let mut bounds = Self { left: f64::MAX, top: f64::MAX, right: f64::MIN, bottom: f64::MIN };
        for point in points {
            bounds.left = bounds.left.min(point.x);
            bounds.top = bounds.top.min(point.y);
            bounds.right = bounds.right.max(point.x);
            bounds.bottom = bounds.bottom.max(point.y);
        }
        bounds
    }

    pub(super) fn holds(&self, other: &Self) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && self.right >= other.right
            && self.bottom >= other.bottom
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.left <= other.right
            && other.left <= self.right
            && self.top <= other.bottom
            && other.top <= self.bottom
    }
}

/// Rectangles of about the same height, sorted by their upper edges.
struct HeightClass {
    max_height: f64,
    /// Upper edge and number of each rectangle.
    by_top: Vec<(f64, usize)>,
}

/// Finds the rectangles that meet another one. Rectangles are kept apart by height, in powers of
/// two, so that a search looks at few rows more than needed.
pub(super) struct BoundsIndex {
    all: Vec<OutlineBounds>,
    classes: Vec<HeightClass>,
}

impl BoundsIndex {
    pub(super) fn new(all: Vec<OutlineBounds>) -> Self {
        let mut by_exponent: std::collections::BTreeMap<i32, Vec<(f64, usize)>> =
            std::collections::BTreeMap::new();
        for (number, bounds) in all.iter().enumerate() {
            let height = (bounds.bottom - bounds.top).max(1.0);
            let exponent = height.log2().ceil() as i32;
            by_exponent.entry(exponent).or_default().push((bounds.top, number));
        }
        let mut classes = Vec::with_capacity(by_exponent.len());
        for (exponent, mut by_top) in by_exponent {
            by_top.sort_by(|a, b| a.0.total_cmp(&b.0));
            classes.push(HeightClass { max_height: 2f64.powi(exponent), by_top });
        }
        Self { all, classes }
    }

    pub(super) fn get(&self, number: usize) -> &OutlineBounds {
        &self.all[number]
    }

    /// Numbers of the rectangles that meet another one, in ascending order.
    pub(super) fn meeting(&self, bounds: &OutlineBounds) -> Vec<usize> {
        let mut found = Vec::new();
        for class in &self.classes {
            let first =
                class.by_top.partition_point(|(top, _)| top + class.max_height < bounds.top);
            for &(top, number) in &class.by_top[first..] {
                if top > bounds.bottom {
                    break;
                }
                if self.all[number].meets(bounds) {
                    found.push(number);
                }
            }
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_what_a_comparison_with_all_finds() {
        let mut all = vec![OutlineBounds { left: 0.0, top: 0.0, right: 1e4, bottom: 1e4 }];
        for i in 0..2_000u32 {
            let [left, top] = [f64::from(i * 7919 % 9973), f64::from(i * 104_729 % 9967)];
            let [width, height] = [f64::from(i % 37), f64::from(i * i % 211)];
            all.push(OutlineBounds { left, top, right: left + width, bottom: top + height });
        }
        let index = BoundsIndex::new(all.clone());
        for bounds in all.iter().step_by(17) {
            let expected: Vec<usize> =
                (0..all.len()).filter(|&number| all[number].meets(bounds)).collect();
            assert_eq!(index.meeting(bounds), expected);
        }
    }
}
