//! Polygon fill by scan lines: vertices are pixel-corner coordinates, and a pixel is inside when
//! its centre (column + 0.5, row + 0.5) is, by the even-odd rule.

use serde::{Deserialize, Serialize};

/// A vertex: x is the column, y the row, in pixels, with (0, 0) the upper-left corner of the first
/// pixel. Serialised as `[x, y]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "[f64; 2]", from = "[f64; 2]")]
pub struct Point {
    /// To the right, pixels.
    pub x: f64,
    /// Down, pixels.
    pub y: f64,
}

impl From<Point> for [f64; 2] {
    fn from(point: Point) -> Self {
        [point.x, point.y]
    }
}

impl From<[f64; 2]> for Point {
    fn from([x, y]: [f64; 2]) -> Self {
        Self { x, y }
    }
}

/// From a point to the line between `a` and `b`, which may be one point.
#[must_use]
pub fn distance_to_segment(p: Point, a: Point, b: Point) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let squared = dx * dx + dy * dy;
    let along = if squared > 0.0 {
        (((p.x - a.x) * dx + (p.y - a.y) * dy) / squared).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (p.x - a.x - along * dx).hypot(p.y - a.y - along * dy)
}

/// A closed line; the first point is not repeated at the end.
pub type Ring = Vec<Point>;

/// An outline, then the holes in it.
pub type Polygon = Vec<Ring>;

/// Twice the signed area of a ring (shoelace formula), positive where it runs clockwise on the
/// screen.
#[must_use]
pub fn doubled_area(ring: &[Point]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| a.x * b.y - b.x * a.y).sum()
}

/// Whether a point lies inside rings by the even-odd rule: a ray to the right crosses them an odd
/// number of times.
#[must_use]
pub fn rings_hold(rings: &[Ring], x: f64, y: f64) -> bool {
    let mut inside = false;
    for ring in rings {
        for (index, a) in ring.iter().enumerate() {
            inside ^= ray_crosses(*a, ring[(index + 1) % ring.len()], x, y);
        }
    }
    inside
}

/// Whether a ray from (x, y) to the right crosses the edge from `a` to `b`, which holds its upper
/// end and not its lower one.
pub(super) fn ray_crosses(a: Point, b: Point, x: f64, y: f64) -> bool {
    (a.y <= y) != (b.y <= y) && x < a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x)
}

/// Whether a point lies inside one of several polygons.
#[must_use]
pub fn polygons_hold(polygons: &[Polygon], x: f64, y: f64) -> bool {
    polygons.iter().any(|polygon| rings_hold(polygon, x, y))
}

/// Area inside the outline of a valid polygon without its holes, square pixels. Rings may run
/// either way.
#[must_use]
pub fn polygon_area(polygon: &[Ring]) -> f64 {
    let mut area = 0.0;
    for (index, ring) in polygon.iter().enumerate() {
        let ring_area = doubled_area(ring).abs() / 2.0;
        area += if index == 0 { ring_area } else { -ring_area };
    }
    area
}

/// Outlines, which run clockwise on the screen, in their order, each with its holes, which run the
/// other way. A hole belongs to the smallest outline around it; one with none around it is dropped.
#[must_use]
pub fn grouped_rings(rings: Vec<Ring>) -> Vec<Polygon> {
    let mut polygons: Vec<Polygon> = Vec::new();
    let mut extents = Vec::new();
    let mut holes = Vec::new();
    for ring in rings {
        let area = doubled_area(&ring);
        if area > 0.0 {
            extents.push(RingExtent::new(&ring, area));
            polygons.push(vec![ring]);
        } else {
            holes.push(ring);
        }
    }
    if let [polygon] = &mut polygons[..] {
        polygon.extend(holes);
        return polygons;
    }
    for hole in holes {
        let Some(beside) = right_of_first_edge(&hole) else { continue };
        let mut smallest: Option<usize> = None;
        for (index, extent) in extents.iter().enumerate() {
            let is_smaller = smallest.is_none_or(|other| extent.area < extents[other].area);
            if is_smaller
                && extent.may_hold(beside)
                && rings_hold(&polygons[index][..1], beside.x, beside.y)
            {
                smallest = Some(index);
            }
        }
        if let Some(index) = smallest {
            polygons[index].push(hole);
        }
    }
    polygons
}

/// Area of a ring and the rectangle around it, by which most rings are excluded.
struct RingExtent {
    /// Twice the area.
    area: f64,
    top: f64,
    bottom: f64,
    left: f64,
    right: f64,
}

impl RingExtent {
    fn new(ring: &[Point], area: f64) -> Self {
        let [mut top, mut left] = [f64::MAX; 2];
        let [mut bottom, mut right] = [f64::MIN; 2];
        for point in ring {
            top = top.min(point.y);
            bottom = bottom.max(point.y);
            left = left.min(point.x);
            right = right.max(point.x);
        }
        Self { area, top, bottom, left, right }
    }

    fn may_hold(&self, point: Point) -> bool {
        (self.top..=self.bottom).contains(&point.y) && (self.left..=self.right).contains(&point.x)
    }
}

/// A point next to the middle of a ring's first edge, on the right of it.
fn right_of_first_edge(ring: &[Point]) -> Option<Point> {
    const OFFSET: f64 = 1e-3;
    let [a, b, ..] = ring else { return None };
    Some(Point {
        x: f64::midpoint(a.x, b.x) - OFFSET * (b.y - a.y),
        y: f64::midpoint(a.y, b.y) + OFFSET * (b.x - a.x),
    })
}

/// Calls `span(row, first_column, end_column)` for each run of pixels whose centres lie inside,
/// clipped to the image. Fewer than three vertices, or a vertex that is not finite, fill nothing.
pub fn fill_polygon(
    vertices: &[Point],
    width: usize,
    height: usize,
    span: impl FnMut(usize, usize, usize),
) {
    fill_rings(&[vertices], width, height, span);
}

/// An edge that crosses at least one line through the centres of a row's pixels.
struct Edge {
    /// First and last crossed row; the last is excluded.
    rows: std::ops::Range<usize>,
    from: Point,
    to: Point,
}

/// [`fill_polygon`] for several rings at once: a pixel is inside when a line from its centre
/// crosses all rings together an odd number of times, so a ring inside another one is a hole. A
/// ring that is not usable counts as none.
pub fn fill_rings(
    rings: &[impl AsRef<[Point]>],
    width: usize,
    height: usize,
    mut span: impl FnMut(usize, usize, usize),
) {
    let mut edges = Vec::new();
    for ring in rings.iter().map(AsRef::as_ref) {
        if ring.len() < 3 || ring.iter().any(|p| !p.x.is_finite() || !p.y.is_finite()) {
            continue;
        }
        for (i, &from) in ring.iter().enumerate() {
            let to = ring[(i + 1) % ring.len()];
            // An edge holds its upper end and not its lower one, so a vertex on the line counts
            // once.
            let first = first_centre(from.y.min(to.y), height);
            let end = first_centre(from.y.max(to.y), height);
            if first < end {
                edges.push(Edge { rows: first..end, from, to });
            }
        }
    }
    edges.sort_by_key(|edge| edge.rows.start);
    let Some(first_row) = edges.first().map(|edge| edge.rows.start) else { return };
    let end_row = edges.iter().map(|edge| edge.rows.end).max().unwrap_or(first_row);
    let mut waiting = edges.into_iter().peekable();
    // The edges that cross the current row.
    let mut open: Vec<Edge> = Vec::new();
    let mut crossings = Vec::new();
    for row in first_row..end_row {
        open.retain(|edge| edge.rows.end > row);
        while let Some(edge) = waiting.next_if(|edge| edge.rows.start <= row) {
            open.push(edge);
        }
        // x of every edge that crosses the horizontal line through the row's pixel centres.
        let y = row as f64 + 0.5;
        crossings.clear();
        for Edge { from: a, to: b, .. } in &open {
            crossings.push(a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x));
        }
        crossings.sort_by(f64::total_cmp);
        // Even-odd rule: inside between the first and second crossing, the third and fourth, and so
        // on. A closed polygon crosses a line an even number of times.
        for pair in crossings.chunks_exact(2) {
            let first = first_centre(pair[0], width);
            let end = first_centre(pair[1], width);
            if first < end {
                span(row, first, end);
            }
        }
    }
}

/// The first pixel whose centre is at or beyond `edge`, clipped to `0..=limit`.
fn first_centre(edge: f64, limit: usize) -> usize {
    let index = (edge - 0.5).ceil();
    if index <= 0.0 { 0 } else { (index as usize).min(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(vertices: &[(f64, f64)], width: usize, height: usize) -> Vec<(usize, usize, usize)> {
        let points: Vec<Point> = vertices.iter().map(|&(x, y)| Point { x, y }).collect();
        let mut spans = Vec::new();
        fill_polygon(&points, width, height, |r, a, b| spans.push((r, a, b)));
        spans
    }

    #[test]
    fn a_square_on_pixel_corners_fills_exactly_its_pixels() {
        assert_eq!(filled(&[(1., 1.), (3., 1.), (3., 3.), (1., 3.)], 9, 9), [(1, 1, 3), (2, 1, 3)]);
    }

    #[test]
    fn a_pixel_counts_when_its_centre_is_inside() {
        assert_eq!(filled(&[(0.6, 0.4), (2.6, 0.4), (2.6, 1.4), (0.6, 1.4)], 9, 9), [(0, 1, 3)]);
    }

    #[test]
    fn polygons_are_clipped_to_the_image_and_degenerate_ones_fill_nothing() {
        assert_eq!(filled(&[(-5., -5.), (1., -5.), (1., 1.), (-5., 1.)], 4, 4), [(0, 0, 1)]);
        assert!(filled(&[(0., 0.), (5., 5.)], 9, 9).is_empty());
        assert!(filled(&[(0., 0.), (f64::NAN, 5.), (5., 0.)], 9, 9).is_empty());
    }

    #[test]
    fn a_ring_inside_another_is_a_hole() {
        let square = |from: f64, to: f64| {
            [(from, from), (to, from), (to, to), (from, to)].map(|(x, y)| Point { x, y }).to_vec()
        };
        let mut count = 0;
        let rings = [square(0.0, 6.0), square(2.0, 4.0)];
        fill_rings(&rings, 9, 9, |_, first, end| count += end - first);
        assert_eq!(count, 36 - 4);
        assert_eq!(
            [1.0, 3.0, 5.0, 7.0].map(|v| rings_hold(&rings, v, v)),
            [true, false, true, false]
        );
        assert!((doubled_area(&rings[1]) - 8.0).abs() < 1e-12);
    }

    #[test]
    fn two_polygons_that_share_an_edge_neither_overlap_nor_leave_a_gap() {
        let mut counts = vec![0; 100];
        for shape in [&[(0., 0.), (10., 0.), (0., 10.)], &[(10., 10.), (10., 0.), (0., 10.)]] {
            for (r, a, b) in filled(shape, 10, 10) {
                counts[r * 10 + a..r * 10 + b].iter_mut().for_each(|n| *n += 1);
            }
        }
        assert!(counts.iter().all(|&n| n == 1));
    }
}
