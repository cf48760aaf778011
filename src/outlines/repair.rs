//! Polygons of other programs made valid, and what one polygon covers of another, by Boolean
//! operations on a grid of hundredths of a pixel.

use i_overlay::core::fill_rule::FillRule;
use i_overlay::core::overlay::{ContourDirection, IntOverlayOptions, Overlay, ShapeType};
use i_overlay::core::overlay_rule::OverlayRule;
use i_overlay::core::solver::Solver;
use i_overlay::i_float::int::point::IntPoint;

use super::validity::MAX_COORDINATE_PX;
use crate::raster::{Polygon, Ring, polygon_area};

/// Steps of the grid in one pixel.
const GRID: f64 = 100.0;

type GridRing = Vec<IntPoint<i64>>;

/// What several polygons cover together, each by the even-odd rule, as valid polygons.
#[must_use]
pub fn united(polygons_of_object: &[Polygon]) -> Vec<Polygon> {
    let mut overlay = new_overlay();
    for polygon in polygons_of_object {
        for valid in repaired(polygon) {
            add(&mut overlay, &valid, ShapeType::Subject);
        }
    }
    polygons(overlay.overlay(OverlayRule::Subject, FillRule::NonZero))
}

/// What the even-odd rule takes for the inside of a polygon's rings, as valid polygons. None for
/// one without area.
pub(super) fn repaired(polygon: &Polygon) -> Vec<Polygon> {
    let mut overlay = new_overlay();
    add(&mut overlay, polygon, ShapeType::Subject);
    polygons(overlay.overlay(OverlayRule::Subject, FillRule::EvenOdd))
}

/// A polygon without what other rings cover.
pub(super) fn without(polygon: &Polygon, cut: &[&Ring]) -> Vec<Polygon> {
    let mut overlay = new_overlay();
    // Valid shapes wind once around what they cover; with those, overlapping rings add up under the
    // non-zero rule.
    for valid in repaired(polygon) {
        add(&mut overlay, &valid, ShapeType::Subject);
    }
    for &ring in cut {
        for valid in repaired(&vec![ring.clone()]) {
            add(&mut overlay, &valid, ShapeType::Clip);
        }
    }
    polygons(overlay.overlay(OverlayRule::Difference, FillRule::NonZero))
}

/// The area that two shapes have in common, by the even-odd rule, square pixels.
pub(super) fn common_area(a: &Polygon, b: &Polygon) -> f64 {
    let mut overlay = new_overlay();
    add(&mut overlay, a, ShapeType::Subject);
    add(&mut overlay, b, ShapeType::Clip);
    let common = polygons(overlay.overlay(OverlayRule::Intersect, FillRule::EvenOdd));
    common.iter().map(|polygon| polygon_area(polygon)).sum()
}

/// What two sets of polygons both cover, as valid polygons.
#[must_use]
pub fn common_part(a: &[Polygon], b: &[Polygon]) -> Vec<Polygon> {
    combined(a, b, OverlayRule::Intersect)
}

/// What polygons cover and others do not, as valid polygons.
#[must_use]
pub fn difference(a: &[Polygon], b: &[Polygon]) -> Vec<Polygon> {
    combined(a, b, OverlayRule::Difference)
}

fn combined(a: &[Polygon], b: &[Polygon], rule: OverlayRule) -> Vec<Polygon> {
    let mut overlay = new_overlay();
    // Valid shapes wind once around what they cover.
    for (polygons, kind) in [(a, ShapeType::Subject), (b, ShapeType::Clip)] {
        for polygon in polygons {
            for valid in repaired(polygon) {
                add(&mut overlay, &valid, kind);
            }
        }
    }
    polygons(overlay.overlay(rule, FillRule::NonZero))
}

fn new_overlay() -> Overlay<i64> {
    let options = IntOverlayOptions {
        // Where a vertex lies on an edge, the edge gets a vertex there: what is written is then
        // valid in binary numbers too.
        preserve_output_collinear: true,
        output_direction: ContourDirection::Clockwise,
        ..IntOverlayOptions::ogc()
    };
    Overlay::new_custom(0, options, Solver::default())
}

fn add(overlay: &mut Overlay<i64>, rings: &[Ring], kind: ShapeType) {
    for ring in rings {
        let in_range =
            ring.iter().all(|p| p.x.abs() <= MAX_COORDINATE_PX && p.y.abs() <= MAX_COORDINATE_PX);
        if !in_range || ring.len() < 3 {
            continue;
        }
        let mut points: GridRing = Vec::with_capacity(ring.len());
        for point in ring {
            points.push(IntPoint::new(
                (point.x * GRID).round() as i64,
                (point.y * GRID).round() as i64,
            ));
        }
        overlay.add_contour(&points, kind);
    }
}

fn polygons(shapes: Vec<Vec<GridRing>>) -> Vec<Polygon> {
    let mut polygons = Vec::with_capacity(shapes.len());
    for shape in shapes {
        let mut polygon: Polygon = Vec::with_capacity(shape.len());
        for ring in shape {
            let point = |p: &IntPoint<i64>| crate::raster::Point {
                x: p.x as f64 / GRID,
                y: p.y as f64 / GRID,
            };
            polygon.push(ring.iter().map(point).collect());
        }
        if !polygon.is_empty() {
            polygons.push(polygon);
        }
    }
    polygons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlines::geometry::is_valid;
    use crate::outlines::test_shapes::{ring, square};

    #[test]
    fn sets_of_polygons_are_united_cut_and_intersected() {
        let with_hole = vec![square(0.0, 0.0, 10.0), square(2.0, 2.0, 2.0)];
        let a = [with_hole, vec![square(5.0, 5.0, 7.0)]];
        let b = [vec![square(3.0, 3.0, 3.0)]];
        // 100 − 4 and 49, of which 25 are common.
        assert!((total(&united(&a)) - 120.0).abs() < 1e-9);
        // 9, of which 1 lies in the hole.
        assert!((total(&common_part(&a, &b)) - 8.0).abs() < 1e-9);
        assert!((total(&difference(&a, &b)) - 112.0).abs() < 1e-9);
        assert!(common_part(&a, &[]).is_empty());
    }

    fn total(polygons: &[Polygon]) -> f64 {
        for polygon in polygons {
            assert!(is_valid(std::slice::from_ref(polygon)), "{polygon:?}");
        }
        polygons.iter().map(|polygon| polygon_area(polygon)).sum()
    }

    #[test]
    fn a_bow_tie_becomes_two_triangles() {
        let bow_tie = vec![ring(&[(0., 0.), (20., 20.), (20., 0.), (0., 20.)])];
        assert!(!is_valid(std::slice::from_ref(&bow_tie)));
        let parts = repaired(&bow_tie);
        assert_eq!((parts.len(), total(&parts)), (2, 200.0));
    }

    #[test]
    fn repairs_follow_the_even_odd_rule_and_drop_what_has_no_area() {
        let twice = vec![square(0., 0., 10.), square(2., 2., 4.), square(4., 4., 8.)];
        // 100 − 16 + 64, without what lies in two of them.
        let parts = repaired(&twice);
        let expected = 100.0 + 16.0 + 64.0 - 2.0 * (16.0 + 36.0 + 4.0) + 4.0 * 4.0;
        assert!((total(&parts) - expected).abs() < 1e-9, "{}", total(&parts));
        assert!(repaired(&vec![ring(&[(0., 0.), (5., 5.)])]).is_empty());
        assert!(repaired(&vec![ring(&[(0., 0.), (5., 5.), (9., 9.)])]).is_empty());
        assert!(repaired(&vec![ring(&[(0., 0.), (f64::INFINITY, 5.), (9., 9.)])]).is_empty());
        let touching = vec![ring(&[(0., 0.), (4., 4.), (8., 0.), (8., 8.), (4., 4.), (0., 8.)])];
        assert!((total(&repaired(&touching)) - 32.0).abs() < 1e-9);
    }

    #[test]
    fn parts_that_overlap_or_share_an_edge_are_united() {
        let parts =
            [vec![square(0., 0., 10.)], vec![square(10., 0., 10.)], vec![square(5., 5., 10.)]];
        assert!(!is_valid(&parts));
        let one = united(&parts);
        assert_eq!((one.len(), total(&one)), (1, 250.0));
        assert!(is_valid(&one));
    }

    #[test]
    fn what_overlapping_rings_cover_is_cut_out_once() {
        let plate = vec![square(0., 0., 20.)];
        let [a, b] = [square(2., 2., 6.), square(5., 5., 6.)];
        assert!((total(&without(&plate, &[&a, &b])) - (400.0 - (36.0 + 36.0 - 9.0))).abs() < 1e-9);
        assert!(without(&plate, &[&square(-1., -1., 30.)]).is_empty());
        assert!((common_area(&plate, &vec![square(15., 15., 10.)]) - 25.0).abs() < 1e-9);
        assert!(common_area(&plate, &vec![square(20., 0., 10.)]).abs() < 1e-9);
    }
}
