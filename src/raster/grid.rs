//! Shapes on a grid of cells that lies anywhere in an image.

use super::{Mask, Plane, Point, Polygon, Ring, fill_rings};

/// Cells over a part of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelGrid {
    /// x of the first cell's corner, pixels of the image.
    pub left: f64,
    /// y of the first cell's corner, pixels of the image.
    pub top: f64,
    /// Side of a cell, pixels of the image.
    pub step: f64,
    /// Cells of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl PixelGrid {
    /// Points of the image in cells of the grid.
    #[must_use]
    pub fn place(&self, points: &[Point]) -> Ring {
        let place = |point: &Point| Point {
            x: (point.x - self.left) / self.step,
            y: (point.y - self.top) / self.step,
        };
        points.iter().map(place).collect()
    }

    /// Calls `span(row, first_column, end_column)` for each run of cells whose centres lie inside a
    /// polygon of the image, as [`fill_rings`].
    pub fn fill(&self, polygon: &[Ring], span: impl FnMut(usize, usize, usize)) {
        let rings: Vec<Ring> = polygon.iter().map(|ring| self.place(ring)).collect();
        fill_rings(&rings, self.width, self.height, span);
    }

    /// Cells whose centres lie inside one of several polygons.
    #[must_use]
    pub fn mask(&self, polygons: &[Polygon]) -> Mask {
        let mut mask = Plane::filled(self.width, self.height, false);
        for polygon in polygons {
            self.fill(polygon, |row, first, end| mask.row_mut(row)[first..end].fill(true));
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_those_of_the_grid_s_place_and_step() {
        let grid = PixelGrid { left: 10.0, top: 20.0, step: 2.0, width: 4, height: 3 };
        let square = |left: f64, top: f64, side: f64| {
            let corners = [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side)];
            corners.map(|(x, y)| Point { x: x + left, y: y + top }).to_vec()
        };
        let mask = grid.mask(&[vec![square(12.0, 20.0, 4.0)], vec![square(16.0, 24.0, 99.0)]]);
        assert_eq!(mask.row(0), [false, true, true, false]);
        assert_eq!(mask.row(1), [false, true, true, false]);
        assert_eq!(mask.row(2), [false, false, false, true]);
    }
}
