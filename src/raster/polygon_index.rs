//! Points in polygons of many corners: edges sorted into strips.

use super::polygon::{Point, Polygon, ray_crosses};

/// Most strips.
const MAX_STRIPS: usize = 1 << 16;
/// An edge is listed in this many strips in the mean, at most.
const STRIPS_PER_EDGE: f64 = 8.0;

/// Tells whether points lie inside polygons that do not overlap, as
/// [`polygons_hold`](super::polygons_hold) does, in a time that hardly grows with their corners.
#[derive(Debug)]
pub struct PolygonIndex {
    edges: Vec<[Point; 2]>,
    /// Upper end of the first strip.
    top: f64,
    strip_height: f64,
    /// Where each strip begins in `listed`, and where the last one ends.
    starts: Vec<usize>,
    /// Edges of each strip.
    listed: Vec<u32>,
}

impl PolygonIndex {
    /// Of valid polygons.
    #[must_use]
    pub fn new(polygons: &[Polygon]) -> Self {
        let mut edges = Vec::new();
        for ring in polygons.iter().flatten() {
            for (index, from) in ring.iter().enumerate() {
                let to = ring[(index + 1) % ring.len()];
                if from.y.total_cmp(&to.y).is_ne() {
                    edges.push([*from, to]);
                }
            }
        }
        let [mut top, mut bottom, mut climbed] = [f64::MAX, f64::MIN, 0.0];
        for [from, to] in &edges {
            top = top.min(from.y.min(to.y));
            bottom = bottom.max(from.y.max(to.y));
            climbed += (from.y - to.y).abs();
        }
        let height = (bottom - top).max(f64::MIN_POSITIVE);
        let strips = (edges.len() as f64 * STRIPS_PER_EDGE * height / climbed) as usize;
        let strips = if edges.is_empty() { 0 } else { strips.clamp(1, MAX_STRIPS) };
        let mut index = Self {
            edges,
            top,
            strip_height: height / strips.max(1) as f64,
            starts: vec![0; strips + 1],
            listed: Vec::new(),
        };
        index.list_edges();
        index
    }

    /// Counting sort of the edges by strip.
    fn list_edges(&mut self) {
        let Some(last) = self.starts.len().checked_sub(2) else { return };
        let strips = |[from, to]: &[Point; 2]| {
            let first = self.strip(from.y.min(to.y)).min(last);
            first..=self.strip(from.y.max(to.y)).min(last)
        };
        let mut starts = vec![0; last + 2];
        for edge in &self.edges {
            strips(edge).for_each(|strip| starts[strip + 1] += 1);
        }
        for strip in 0..=last {
            starts[strip + 1] += starts[strip];
        }
        let mut next = starts.clone();
        let mut listed = vec![0; starts[last + 1]];
        for (edge, number) in self.edges.iter().zip(0u32..) {
            for strip in strips(edge) {
                listed[next[strip]] = number;
                next[strip] += 1;
            }
        }
        (self.starts, self.listed) = (starts, listed);
    }

    /// The strip of a height that is not above the first one.
    fn strip(&self, y: f64) -> usize {
        ((y - self.top) / self.strip_height) as usize
    }

    /// Whether a point lies inside.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        let Some(last) = self.starts.len().checked_sub(2) else { return false };
        if y.is_nan() || y < self.top {
            return false;
        }
        let strip = self.strip(y).min(last);
        let mut inside = false;
        for &edge in &self.listed[self.starts[strip]..self.starts[strip + 1]] {
            let [from, to] = self.edges[edge as usize];
            inside ^= ray_crosses(from, to, x, y);
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::mix;
    use crate::raster::polygons_hold;

    /// A number from 0 to 1.
    fn random(seed: u64) -> f64 {
        mix(seed) as f64 / u64::MAX as f64
    }

    #[test]
    fn points_are_inside_as_by_the_definition() {
        let star = |corners: u32, x: f64, y: f64, radius: f64| -> Vec<Point> {
            let corner = |i: u32| {
                let angle = f64::from(i) * std::f64::consts::TAU / f64::from(corners);
                let reach = radius * (0.4 + 0.6 * random(u64::from(i) + 7));
                Point { x: x + reach * angle.cos(), y: y + reach * angle.sin() }
            };
            (0..corners).map(corner).collect()
        };
        let square = [[10.0, 10.0], [14.0, 10.0], [14.0, 14.0], [10.0, 14.0]];
        let square = square.map(Point::from).to_vec();
        let shapes = [
            vec![vec![square]],
            vec![vec![star(500, 50.0, 50.0, 45.0), star(30, 50.0, 50.0, 10.0)]],
            vec![vec![star(40, 30.0, 30.0, 20.0)], vec![star(9, 80.0, 80.0, 15.0)]],
            Vec::new(),
        ];
        for polygons in shapes {
            let index = PolygonIndex::new(&polygons);
            for i in 0..4000 {
                let [mut x, mut y] = [random(2 * i) * 110.0 - 5.0, random(2 * i + 1) * 110.0 - 5.0];
                if i % 4 == 0 {
                    // On corners and edges too.
                    (x, y) = (x.round(), y.round());
                }
                assert_eq!(index.holds(x, y), polygons_hold(&polygons, x, y), "{x} {y}");
            }
            assert!(!index.holds(f64::NAN, f64::NAN) && !index.holds(50.0, -1e300));
        }
    }
}
