//! Fewer points on an outline: Ramer-Douglas-Peucker within a tolerance, tightened until the area
//! stays the same.

use super::contour::{Ring, doubled_area};
use crate::raster::Point;

/// Farthest that a dropped point may lie from the new line, pixels.
const TOLERANCE_PX: f64 = 0.3;
/// Largest relative change of area.
const AREA_CHANGE: f64 = 0.01;
/// Times the tolerance is halved before the ring is left as it is.
const ATTEMPTS: u32 = 6;

/// The ring with fewer points; its area changes by at most 1 %.
pub fn simplified(ring: &Ring) -> Ring {
    let area = doubled_area(ring);
    (0..ATTEMPTS)
        .map(|halvings| reduced(ring, TOLERANCE_PX / f64::from(1 << halvings)))
        .find(|r| r.len() >= 3 && (doubled_area(r) - area).abs() <= AREA_CHANGE * area.abs())
        .unwrap_or_else(|| ring.clone())
}

/// Splits the ring at its first point and the point farthest from it, and thins out both halves.
fn reduced(ring: &Ring, tolerance: f64) -> Ring {
    if ring.len() < 5 {
        return ring.clone();
    }
    let apart = |p: &Point| (p.x - ring[0].x).powi(2) + (p.y - ring[0].y).powi(2);
    let far =
        (1..ring.len()).max_by(|&a, &b| apart(&ring[a]).total_cmp(&apart(&ring[b]))).unwrap_or(1);
    let mut keep = vec![false; ring.len() + 1];
    (keep[0], keep[far]) = (true, true);
    let at = |i: usize| ring[i % ring.len()];
    let mut open = vec![(0, far), (far, ring.len())];
    while let Some((from, to)) = open.pop() {
        let (a, b) = (at(from), at(to));
        let worst =
            (from + 1..to).map(|i| (distance(at(i), a, b), i)).max_by(|x, y| x.0.total_cmp(&y.0));
        if let Some((_, i)) = worst.filter(|(d, _)| *d > tolerance) {
            keep[i] = true;
            open.extend([(from, i), (i, to)]);
        }
    }
    ring.iter().zip(&keep).filter(|(_, k)| **k).map(|(p, _)| *p).collect()
}

/// Distance of a point from a line segment.
fn distance(p: Point, a: Point, b: Point) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length = dx * dx + dy * dy;
    let along = if length == 0.0 {
        0.0
    } else {
        (((p.x - a.x) * dx + (p.y - a.y) * dy) / length).clamp(0.0, 1.0)
    };
    ((p.x - a.x - along * dx).powi(2) + (p.y - a.y - along * dy).powi(2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(radius: f64, points: u32) -> Ring {
        let at = |i: u32| f64::from(i) / f64::from(points) * std::f64::consts::TAU;
        (0..points)
            .map(|i| Point { x: 50.0 + radius * at(i).cos(), y: 50.0 + radius * at(i).sin() })
            .collect()
    }

    #[test]
    fn a_circle_loses_most_points_and_no_area() {
        for radius in [2.0, 8.0, 30.0] {
            let ring = circle(radius, 200);
            let small = simplified(&ring);
            assert!(small.len() < 60, "{}", small.len());
            assert!(
                (doubled_area(&small) / doubled_area(&ring) - 1.0).abs() <= AREA_CHANGE,
                "radius {radius}"
            );
        }
    }

    #[test]
    fn straight_sides_keep_only_their_corners() {
        let side = |n: u32| (0..n).map(move |i| f64::from(i) * 4.0 / f64::from(n));
        let mut ring: Ring = side(8).map(|x| Point { x, y: 0.0 }).collect();
        ring.extend(side(8).map(|y| Point { x: 4.0, y }));
        ring.extend(side(8).map(|x| Point { x: 4.0 - x, y: 4.0 }));
        ring.extend(side(8).map(|y| Point { x: 0.0, y: 4.0 - y }));
        assert_eq!(simplified(&ring).len(), 4);
    }
}
