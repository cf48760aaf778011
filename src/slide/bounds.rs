//! Axis-aligned rectangles in the coordinates of the finest level.

use crate::raster::{Point, Polygon};

/// A rectangle of a slide or image, pixels of the finest level; x to the right, y downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlideBounds {
    /// Least x.
    pub left: f64,
    /// Least y.
    pub top: f64,
    /// Largest x.
    pub right: f64,
    /// Largest y.
    pub bottom: f64,
}

impl SlideBounds {
    /// The rectangle of no size at a point.
    #[must_use]
    pub fn at_point(point: Point) -> Self {
        Self { left: point.x, top: point.y, right: point.x, bottom: point.y }
    }

    /// The smallest that holds all points; of no points one whose sides are negative.
    #[must_use]
    pub fn of_points<'a>(points: impl IntoIterator<Item = &'a Point>) -> Self {
        let [mut left, mut top] = [f64::MAX; 2];
        let [mut right, mut bottom] = [f64::MIN; 2];
        for point in points {
            left = left.min(point.x);
            top = top.min(point.y);
            right = right.max(point.x);
            bottom = bottom.max(point.y);
        }
        Self { left, top, right, bottom }
    }

    /// The smallest that holds all rings of polygons; of none one whose sides are negative.
    #[must_use]
    pub fn of_polygons(polygons: &[Polygon]) -> Self {
        Self::of_points(polygons.iter().flatten().flatten())
    }

    /// The whole of an image of `width × height` pixels.
    #[must_use]
    pub fn of_size(width: usize, height: usize) -> Self {
        Self { left: 0.0, top: 0.0, right: width as f64, bottom: height as f64 }
    }

    /// Distance from left to right, pixels.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    /// Distance from top to bottom, pixels.
    #[must_use]
    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// The middle.
    #[must_use]
    pub fn centre(&self) -> Point {
        Point { x: f64::midpoint(self.left, self.right), y: f64::midpoint(self.top, self.bottom) }
    }

    /// Whether the two share an area; touching edges do not count.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.left < other.right
            && self.right > other.left
            && self.top < other.bottom
            && self.bottom > other.top
    }

    /// The same rectangle with `margin` more on each side.
    #[must_use]
    pub fn expanded(&self, margin: f64) -> Self {
        Self {
            left: self.left - margin,
            top: self.top - margin,
            right: self.right + margin,
            bottom: self.bottom + margin,
        }
    }

    /// The part that lies in `other`; without a common area, width or height are negative or 0.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_intersect_by_area_and_grow_on_every_side() {
        let a = SlideBounds::of_size(10, 20);
        let b = SlideBounds { left: 10.0, top: 5.0, right: 12.0, bottom: 8.0 };
        assert!(!a.intersects(&b) && a.expanded(0.5).intersects(&b));
        assert_eq!(a.centre(), Point { x: 5.0, y: 10.0 });
        let edge = SlideBounds { left: 10.0, top: 5.0, right: 10.0, bottom: 8.0 };
        assert_eq!(a.intersection(&b), edge);
    }
}
