//! Polygons as GeoJSON geometries, and their ids.

use geojson::GeometryValue;
use sha2::{Digest as _, Sha256};

use super::validity::polygons_are_valid;
use crate::raster::{Point, Polygon};

/// Decimals of a written coordinate.
const DECIMALS: u32 = 2;
/// Most decimals, where fewer make a ring meet itself or another one.
const MAX_DECIMALS: u32 = 6;

/// Valid as it is, with two decimals or more: its coordinates can be written with enough of them.
pub(super) fn is_valid(polygons: &[Polygon]) -> bool {
    polygons_are_valid(polygons, steps(DECIMALS))
        || polygons_are_valid(polygons, steps(MAX_DECIMALS))
}

/// A UUID from a hash of the rings alone: the same outline has the same id in every run and file.
#[must_use]
pub fn outline_id(polygons: &[Polygon]) -> String {
    let mut hash = Sha256::new();
    for point in polygons.iter().flatten().flatten() {
        for coordinate in [point.x, point.y] {
            hash.update(((coordinate * steps(DECIMALS)).round() as i64).to_le_bytes());
        }
    }
    let digest = hash.finalize();
    let bytes = std::array::from_fn(|i| digest[i]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// One polygon as a `Polygon`, several as a `MultiPolygon`; rings are closed and without repeated
/// points. Coordinates have two decimals, and more where two would make a valid polygon invalid.
#[must_use]
pub fn geometry(polygons: &[Polygon]) -> GeometryValue {
    let decimals = decimals_for(polygons);
    match polygons {
        [polygon] => GeometryValue::new_polygon(written_rings(polygon, decimals)),
        several => {
            let written = several.iter().map(|polygon| written_rings(polygon, decimals));
            GeometryValue::new_multi_polygon(written)
        }
    }
}

/// A line with two decimals. GeoJSON asks for two points at least, so a single one stands twice.
pub(super) fn line_geometry(points: &[Point]) -> GeometryValue {
    let round = |v: f64| (v * steps(DECIMALS)).round() / steps(DECIMALS);
    let mut written: Vec<[f64; 2]> = points.iter().map(|p| [round(p.x), round(p.y)]).collect();
    if let [only] = written[..] {
        written.push(only);
    }
    GeometryValue::new_line_string(written)
}

fn decimals_for(polygons: &[Polygon]) -> u32 {
    for decimals in DECIMALS..=MAX_DECIMALS {
        if polygons_are_valid(polygons, steps(decimals)) {
            return decimals;
        }
    }
    // What is invalid anyway gains nothing by its decimals.
    DECIMALS
}

fn written_rings(polygon: &Polygon, decimals: u32) -> Vec<Vec<[f64; 2]>> {
    let mut rings = Vec::with_capacity(polygon.len());
    for ring in polygon {
        let mut points = Vec::with_capacity(ring.len() + 1);
        for point in ring {
            points
                .push([point.x, point.y].map(|v| (v * steps(decimals)).round() / steps(decimals)));
        }
        points.dedup();
        while points.len() > 1 && points.first() == points.last() {
            points.pop();
        }
        points.extend(points.first().copied());
        rings.push(points);
    }
    rings
}

/// Steps in one pixel.
fn steps(decimals: u32) -> f64 {
    10f64.powi(decimals.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlines::test_shapes::ring;

    #[test]
    fn rings_are_closed_once_and_have_no_repeated_points() {
        let polygon = vec![ring(&[(0., 0.), (4.004, 0.), (4., 0.), (4., 4.), (0.001, 0.)])];
        assert_eq!(written_rings(&polygon, 2), [[[0., 0.], [4., 0.], [4., 4.], [0., 0.]]]);
        assert!(matches!(geometry(std::slice::from_ref(&polygon)), GeometryValue::Polygon { .. }));
        let two = geometry(&[polygon.clone(), polygon]);
        assert!(matches!(two, GeometryValue::MultiPolygon { .. }));
    }

    #[test]
    fn decimals_are_added_where_two_would_close_a_gap() {
        let thin = ring(&[(0., 0.), (10., 0.002), (10., 5.), (9., 0.004), (0., 5.)]);
        assert_eq!(decimals_for(&[vec![thin]]), 3);
    }
}
