//! The same as `repair`, on pixels, for the page: polygons are drawn by the even-odd rule on a grid
//! of at least a quarter of a pixel and traced again.

use super::bounds::OutlineBounds;
use super::trace::trace_labels;
use crate::raster::{LabelMap, PixelGrid, Plane, Point, Polygon, Ring};

/// Most cells along a side of the grid.
const MAX_CELLS: f64 = 1024.0;
/// Least side of a cell, pixels.
const MIN_STEP_PX: f64 = 0.25;

/// What several polygons cover together, each by the even-odd rule, as valid polygons.
pub(super) fn united(polygons_of_object: &[Polygon]) -> Vec<Polygon> {
    let Some(mut grid) = LabelledGrid::around(polygons_of_object) else { return Vec::new() };
    for polygon in polygons_of_object {
        grid.fill(polygon, 1);
    }
    grid.polygons()
}

/// A polygon without what other rings cover.
pub(super) fn without(polygon: &Polygon, cut: &[&Ring]) -> Vec<Polygon> {
    let Some(mut grid) = LabelledGrid::around(std::slice::from_ref(polygon)) else {
        return Vec::new();
    };
    grid.fill(polygon, 1);
    for &ring in cut {
        grid.fill(std::slice::from_ref(ring), 0);
    }
    grid.polygons()
}

/// The area that two shapes have in common, by the even-odd rule, square pixels.
pub(super) fn common_area(a: &Polygon, b: &Polygon) -> f64 {
    let Some(mut grid) = LabelledGrid::around(std::slice::from_ref(a)) else { return 0.0 };
    grid.fill(a, 1);
    let mut other = LabelledGrid { cells: grid.cells.map(|_| 0), ..grid };
    other.fill(b, 1);
    let pairs = grid.cells.data().iter().zip(other.cells.data());
    let common = pairs.filter(|&(own, other)| *own > 0 && *other > 0);
    common.count() as f64 * grid.grid.step * grid.grid.step
}

/// Cells around polygons, each with a value.
struct LabelledGrid {
    grid: PixelGrid,
    cells: LabelMap,
}

impl LabelledGrid {
    /// None around nothing.
    fn around(polygons: &[Polygon]) -> Option<Self> {
        let corners = polygons.iter().flatten().flatten();
        let bounds = OutlineBounds::of(corners);
        let side = (bounds.right - bounds.left).max(bounds.bottom - bounds.top);
        // False for NaN too.
        let is_finite = side > 0.0 && side < f64::MAX;
        if !is_finite {
            return None;
        }
        let step = (side / MAX_CELLS).max(MIN_STEP_PX);
        let (left, top) = ((bounds.left / step).floor() * step, (bounds.top / step).floor() * step);
        let cells = |from: f64, to: f64| ((to - from) / step).ceil() as usize + 1;
        let (width, height) = (cells(left, bounds.right), cells(top, bounds.bottom));
        let grid = PixelGrid { left, top, step, width, height };
        Some(Self { grid, cells: Plane::filled(width, height, 0) })
    }

    fn fill(&mut self, polygon: &[Ring], value: u32) {
        let cells = &mut self.cells;
        self.grid.fill(polygon, |row, first, end| {
            cells.row_mut(row)[first..end].fill(value);
        });
    }

    fn polygons(&self) -> Vec<Polygon> {
        let PixelGrid { left, top, step, .. } = self.grid;
        let mut polygons = Vec::new();
        for object in trace_labels(&self.cells).objects {
            polygons.extend(object.polygons);
        }
        for point in polygons.iter_mut().flatten().flatten() {
            *point = Point { x: left + point.x * step, y: top + point.y * step };
        }
        polygons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlines::geometry::is_valid;
    use crate::outlines::repair;
    use crate::outlines::test_shapes::{ring, square};
    use crate::raster::polygon_area;

    #[test]
    fn shapes_cover_what_boolean_operations_give() {
        let bow_tie = vec![ring(&[(0., 0.), (20., 20.), (20., 0.), (0., 20.)])];
        let parts = [bow_tie, vec![square(15., 5., 30.)], vec![square(100.5, 3.25, 7.)]];
        let total = |polygons: &[Polygon]| {
            polygons.iter().map(|polygon| polygon_area(polygon)).sum::<f64>()
        };
        let (ours, exact) = (united(&parts), repair::united(&parts));
        assert!(is_valid(&ours));
        assert!(
            (total(&ours) / total(&exact) - 1.0).abs() < 0.02,
            "{} {}",
            total(&ours),
            total(&exact)
        );
        let plate = vec![square(0., 0., 20.)];
        let [a, b] = [square(2., 2., 6.), square(5., 5., 6.)];
        let (ours, exact) = (without(&plate, &[&a, &b]), repair::without(&plate, &[&a, &b]));
        assert!(is_valid(&ours) && (total(&ours) - total(&exact)).abs() < 1e-9);
        let common = common_area(&plate, &vec![square(15., 15., 10.)]);
        assert!((common - 25.0).abs() < 1e-9, "{common}");
        assert!(united(&[vec![ring(&[(0., 0.), (f64::INFINITY, 5.), (9., 9.)])]]).is_empty());
        assert!(united(&[]).is_empty());
    }
}
