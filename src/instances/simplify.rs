//! Outlines with fewer points: the algorithm of Ramer (1972) and Douglas & Peucker (1973), with a
//! tolerance that is halved until the area stays the same and the polygon is valid.

use crate::outlines::polygons_are_valid;
use crate::raster::{Point, Polygon, Ring, doubled_area};

/// Largest distance of a dropped point from the new line, pixels.
const TOLERANCE_PX: f64 = 0.3;
/// Largest relative change of area.
const MAX_AREA_CHANGE: f64 = 0.01;
/// Tolerances tried, each half of the one before; then the ring stays as it is.
const ATTEMPTS: u32 = 6;

/// Steps of written coordinates in one pixel.
const STEPS_PER_PX: f64 = 100.0;

/// The polygons of an object with fewer points; the area of each ring changes by at most 1 %. Where
/// rings would cross or touch once they are written, they keep more points, in the end all.
pub(super) fn simplify(polygons: Vec<Polygon>) -> Vec<Polygon> {
    for first_attempt in 0..ATTEMPTS {
        let mut simplified = Vec::with_capacity(polygons.len());
        for polygon in &polygons {
            let rings = polygon.iter().map(|ring| simplify_ring(ring, first_attempt));
            simplified.push(rings.collect());
        }
        if polygons_are_valid(&simplified, STEPS_PER_PX) {
            return simplified;
        }
    }
    polygons
}

/// A ring with fewer points, by the tolerance of an attempt or of one after it.
fn simplify_ring(ring: &Ring, first_attempt: u32) -> Ring {
    let area = doubled_area(ring);
    for attempt in first_attempt..ATTEMPTS {
        let simplified = douglas_peucker(ring, TOLERANCE_PX / f64::from(1 << attempt));
        let change = (doubled_area(&simplified) - area).abs();
        if simplified.len() >= 3 && change <= MAX_AREA_CHANGE * area.abs() {
            return simplified;
        }
    }
    ring.clone()
}

/// The points of a ring that must remain so that every dropped point lies within `tolerance` of the
/// line between its neighbours. The first point and the one farthest from it always remain; they
/// cut the ring into two lines.
pub(crate) fn douglas_peucker(ring: &Ring, tolerance: f64) -> Ring {
    if ring.len() < 5 {
        return ring.clone();
    }
    let mut farthest = 1;
    for i in 1..ring.len() {
        if squared_distance(ring[i], ring[0]) >= squared_distance(ring[farthest], ring[0]) {
            farthest = i;
        }
    }
    // Index `ring.len()` is the first point again.
    let point = |i: usize| ring[i % ring.len()];
    let mut keep = vec![false; ring.len() + 1];
    keep[0] = true;
    keep[farthest] = true;
    // A stack instead of recursion: a ring of n points may need a depth of n.
    let mut lines = vec![[0, farthest], [farthest, ring.len()]];
    while let Some([from, to]) = lines.pop() {
        // Between the ends of the line, the last of the points farthest from it.
        let mut max_distance = f64::NEG_INFINITY;
        let mut split = from;
        for i in from + 1..to {
            let distance = distance_to_segment(point(i), point(from), point(to));
            if distance >= max_distance {
                max_distance = distance;
                split = i;
            }
        }
        if max_distance > tolerance {
            keep[split] = true;
            lines.extend([[from, split], [split, to]]);
        }
    }
    ring.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(point, _)| *point).collect()
}

fn squared_distance(a: Point, b: Point) -> f64 {
    (a.x - b.x).powi(2) + (a.y - b.y).powi(2)
}

/// Distance of a point from the line segment from `a` to `b`.
fn distance_to_segment(p: Point, a: Point, b: Point) -> f64 {
    let dx = b.x - a.x;
    let dy = b.y - a.y;
    let squared_length = dx * dx + dy * dy;
    // Position of the nearest point of the segment: 0 at a, 1 at b.
    let t = if squared_length == 0.0 {
        0.0
    } else {
        (((p.x - a.x) * dx + (p.y - a.y) * dy) / squared_length).clamp(0.0, 1.0)
    };
    ((p.x - a.x - t * dx).powi(2) + (p.y - a.y - t * dy).powi(2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(radius: f64, points: u32) -> Ring {
        let mut ring = Vec::new();
        for i in 0..points {
            let angle = f64::from(i) / f64::from(points) * std::f64::consts::TAU;
            ring.push(Point { x: 50.0 + radius * angle.cos(), y: 50.0 + radius * angle.sin() });
        }
        ring
    }

    #[test]
    fn a_circle_loses_most_points_and_almost_no_area() {
        for radius in [2.0, 8.0, 30.0] {
            let ring = circle(radius, 200);
            let simplified = simplify_ring(&ring, 0);
            assert!(simplified.len() < 60, "{}", simplified.len());
            let change = doubled_area(&simplified) / doubled_area(&ring) - 1.0;
            assert!(change.abs() <= MAX_AREA_CHANGE, "radius {radius}");
        }
    }

    #[test]
    fn straight_sides_keep_only_their_corners() {
        let side = |n: u32| (0..n).map(move |i| f64::from(i) * 4.0 / f64::from(n));
        let mut ring: Ring = side(8).map(|x| Point { x, y: 0.0 }).collect();
        ring.extend(side(8).map(|y| Point { x: 4.0, y }));
        ring.extend(side(8).map(|x| Point { x: 4.0 - x, y: 4.0 }));
        ring.extend(side(8).map(|y| Point { x: 0.0, y: 4.0 - y }));
        assert_eq!(simplify_ring(&ring, 0).len(), 4);
    }

    #[test]
    fn a_ring_that_would_cross_itself_keeps_more_points() {
        // The bottom bulges by 0.28 px, and a thin bay from the top ends in the bulge: without the
        // bulge, the bottom crosses the bay.
        let ring: Ring = [
            (0.0, 0.0),
            (10.0, -0.28),
            (20.0, 0.0),
            (20.0, 20.0),
            (10.25, 20.0),
            (10.0, -0.1),
            (9.75, 20.0),
            (0.0, 20.0),
        ]
        .map(|(x, y)| Point { x, y })
        .to_vec();
        assert!(!polygons_are_valid(&[vec![simplify_ring(&ring, 0)]], STEPS_PER_PX));
        assert!(polygons_are_valid(&simplify(vec![vec![ring]]), STEPS_PER_PX));
    }
}
