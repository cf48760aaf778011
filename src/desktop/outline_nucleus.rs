//! Measurements of an outline that was drawn.

use crate::instances::{Measurements, Nucleus};
use crate::raster::{Point, Polygon, doubled_area};

/// A nucleus from its outline in pixels of the finest level; holes run the other way round. Lengths
/// are in micrometres where the pixel size is known.
pub(super) fn nucleus_of_outline(polygons: Vec<Polygon>, mpp_um: Option<f64>) -> Nucleus {
    let area: f64 = polygons.iter().flatten().map(|ring| doubled_area(ring) / 2.0).sum();
    let centroid = centroid(&polygons, area);
    Nucleus {
        label: 0,
        area_px: area.round().max(0.0) as u64,
        centroid,
        measurements: Some(lengths(&polygons, Measurements::default(), mpp_um)),
        polygons,
    }
}

/// Measurements with areas and lengths of an outline at a pixel size.
pub(super) fn lengths(
    polygons: &[Polygon],
    other: Measurements,
    mpp_um: Option<f64>,
) -> Measurements {
    let scale = mpp_um.unwrap_or(1.0);
    let area: f64 = polygons.iter().flatten().map(|ring| doubled_area(ring) / 2.0).sum();
    let outlines = polygons.iter().filter_map(|polygon| polygon.first());
    let perimeter: f64 = outlines.map(|ring| ring_length(ring)).sum();
    let circularity = if perimeter > 0.0 {
        (4.0 * std::f64::consts::PI * area / (perimeter * perimeter)).min(1.0)
    } else {
        0.0
    };
    Measurements {
        area: rounded(area * scale * scale),
        perimeter: rounded(perimeter * scale),
        circularity: rounded(circularity),
        ..other
    }
}

/// Of the areas, holes taken off.
fn centroid(polygons: &[Polygon], area: f64) -> (f64, f64) {
    let (mut x, mut y) = (0.0, 0.0);
    for ring in polygons.iter().flatten() {
        for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            let cross = a.x * b.y - b.x * a.y;
            x += (a.x + b.x) * cross;
            y += (a.y + b.y) * cross;
        }
    }
    let sixfold = 6.0 * area;
    if sixfold == 0.0 { (0.0, 0.0) } else { (x / sixfold, y / sixfold) }
}

fn ring_length(ring: &[Point]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| (a.x - b.x).hypot(a.y - b.y)).sum()
}

/// Four decimals.
fn rounded(v: f64) -> f64 {
    (v * 1e4).round() / 1e4
}
