//! Whether polygons are valid in the sense of OGC Simple Features (ISO 19125-1, 6.1.11), as GEOS,
//! JTS and QuPath check it: rings are simple, holes lie inside, rings meet in single points at most
//! and do not cut the interior apart, and the parts of one object do not overlap.
//!
//! Coordinates are rounded to a grid first, since they are written with a fixed number of decimals;
//! everything after that is exact arithmetic on integers. Rings may meet at a common vertex. A
//! vertex in the middle of another edge is refused, although OGC allows it: in binary numbers it
//! would lie beside the edge.

use std::collections::HashMap;
use std::ops::Range;

use crate::raster::{Point, Polygon};

/// Largest coordinate, pixels, of a polygon that can be valid.
pub(super) const MAX_COORDINATE_PX: f64 = 1e9;
/// Pairs of edges compared before the check gives up, and more of them for each edge.
const MAX_PAIRS: usize = 50_000_000;
const MAX_PAIRS_PER_EDGE: usize = 300;

/// A point in steps of the grid.
type GridPoint = [i64; 2];

/// Whether polygons form a valid object, a polygon or a multipolygon, once their coordinates are
/// rounded to `steps_per_px`. A check that would take too long gives `false`.
#[must_use]
pub fn polygons_are_valid(polygons: &[Polygon], steps_per_px: f64) -> bool {
    let mut grid = Vec::new();
    // The polygon of each ring.
    let mut polygon_of = Vec::new();
    // For each polygon its first ring and the one after its last.
    let mut ranges = Vec::with_capacity(polygons.len());
    for (index, rings) in polygons.iter().enumerate() {
        let first = grid.len();
        for ring in rings {
            match grid_ring(ring, steps_per_px) {
                Some(points) => grid.push(points),
                None => return false,
            }
            polygon_of.push(index);
        }
        if rings.is_empty() {
            return false;
        }
        ranges.push(first..grid.len());
    }
    if grid.is_empty() {
        return false;
    }
    let Some(mut touches) = edges_meet_at_vertices_only(&grid) else { return false };
    // Different parts may touch as often as they like.
    touches.retain(|touch| polygon_of[touch.rings[0]] == polygon_of[touch.rings[1]]);
    let mut is_touching = vec![false; grid.len()];
    for ring in touches.iter().flat_map(|touch| touch.rings) {
        is_touching[ring] = true;
    }
    let holes_are_right =
        |range: &Range<usize>| holes_lie_inside(&grid[range.clone()], &is_touching[range.clone()]);
    interior_is_connected(&touches, grid.len())
        && ranges.iter().all(holes_are_right)
        && parts_lie_apart(&grid, &ranges)
}

/// Whether no part lies in another one. Edges do not cross, so the middles of edges decide.
fn parts_lie_apart(rings: &[Vec<GridPoint>], ranges: &[Range<usize>]) -> bool {
    if ranges.len() == 1 {
        return true;
    }
    let bounds: Vec<GridBounds> =
        ranges.iter().map(|range| GridBounds::of(&rings[range.start])).collect();
    let mut work_left = MAX_PAIRS + rings.iter().map(Vec::len).sum::<usize>() * MAX_PAIRS_PER_EDGE;
    for (part, own) in ranges.iter().enumerate() {
        for (other, other_range) in ranges.iter().enumerate() {
            let Some(left) = work_left.checked_sub(1) else { return false };
            work_left = left;
            if part == other || !bounds[other].hold(&bounds[part]) {
                continue;
            }
            for middle in middles(&rings[own.start]) {
                let mut inside = false;
                for ring in &rings[other_range.clone()] {
                    let Some(left) = work_left.checked_sub(ring.len()) else { return false };
                    work_left = left;
                    inside ^= holds_doubled(ring, middle);
                }
                if inside {
                    return false;
                }
            }
        }
    }
    true
}

/// A ring on the grid without repeated points; `None` when fewer than three remain or a coordinate
/// is out of range.
fn grid_ring(ring: &[Point], steps_per_px: f64) -> Option<Vec<GridPoint>> {
    let mut points: Vec<GridPoint> = Vec::with_capacity(ring.len());
    for point in ring {
        // False for NaN too.
        let in_range = point.x.abs() <= MAX_COORDINATE_PX && point.y.abs() <= MAX_COORDINATE_PX;
        if !in_range {
            return None;
        }
        points.push([
            (point.x * steps_per_px).round() as i64,
            (point.y * steps_per_px).round() as i64,
        ]);
    }
    points.dedup();
    while points.len() > 1 && points.first() == points.last() {
        points.pop();
    }
    (points.len() >= 3).then_some(points)
}

/// An edge of a ring, from its left end to its right one.
struct GridEdge {
    left: GridPoint,
    right: GridPoint,
    ring: usize,
    /// Number of the edge in its ring.
    index: usize,
}

/// Two rings have a vertex in common.
struct Touch {
    at: GridPoint,
    rings: [usize; 2],
}

/// The common vertices of different rings; `None` where edges cross, overlap or touch otherwise.
/// A sweep from left to right compares each edge with those whose columns it shares.
fn edges_meet_at_vertices_only(rings: &[Vec<GridPoint>]) -> Option<Vec<Touch>> {
    let mut edges = Vec::new();
    for (ring, points) in rings.iter().enumerate() {
        for (index, &from) in points.iter().enumerate() {
            let to = points[(index + 1) % points.len()];
            edges.push(GridEdge { left: from.min(to), right: from.max(to), ring, index });
        }
    }
    edges.sort_by_key(|edge| edge.left);
    let mut pairs_left = MAX_PAIRS + edges.len() * MAX_PAIRS_PER_EDGE;
    let mut touches = Vec::new();
    let mut open: Vec<&GridEdge> = Vec::new();
    for edge in &edges {
        open.retain(|other| other.right[0] >= edge.left[0]);
        pairs_left = pairs_left.checked_sub(open.len())?;
        for other in &open {
            match meeting(other, edge) {
                Meeting::None => {}
                Meeting::Vertex(_) if are_neighbours(other, edge, rings[edge.ring].len()) => {}
                Meeting::Vertex(at) if other.ring != edge.ring => {
                    touches.push(Touch { at, rings: [other.ring, edge.ring] });
                }
                Meeting::Vertex(_) | Meeting::Elsewhere => return None,
            }
        }
        open.push(edge);
    }
    Some(touches)
}

fn are_neighbours(a: &GridEdge, b: &GridEdge, ring_len: usize) -> bool {
    let distance = a.index.abs_diff(b.index);
    a.ring == b.ring && (distance == 1 || distance == ring_len - 1)
}

/// What two edges have in common.
enum Meeting {
    None,
    /// One end of each, and nothing else.
    Vertex(GridPoint),
    /// A crossing, a vertex in the middle of the other edge, or a stretch.
    Elsewhere,
}

fn meeting(a: &GridEdge, b: &GridEdge) -> Meeting {
    let rows = |edge: &GridEdge| [edge.left[1].min(edge.right[1]), edge.left[1].max(edge.right[1])];
    let [a_rows, b_rows] = [rows(a), rows(b)];
    if a_rows[1] < b_rows[0] || b_rows[1] < a_rows[0] {
        return Meeting::None;
    }
    // On which side of each edge the ends of the other one lie.
    let b_left = side(a.left, a.right, b.left);
    let b_right = side(a.left, a.right, b.right);
    let a_left = side(b.left, b.right, a.left);
    let a_right = side(b.left, b.right, a.right);
    let mut common = None;
    for end in [a.left, a.right] {
        if end == b.left || end == b.right {
            common = Some(end);
        }
    }
    if let Some(vertex) = common {
        // Edges on one line with a common end: a spike or a repeated edge, unless each goes its
        // own way from there.
        let on_one_line = b_left == 0 && b_right == 0;
        let go_apart = a.right == b.left || b.right == a.left;
        return if on_one_line && !go_apart { Meeting::Elsewhere } else { Meeting::Vertex(vertex) };
    }
    if b_left == 0 && b_right == 0 {
        // On one line: they overlap unless one ends before the other begins.
        let apart = a.right < b.left || b.right < a.left;
        return if apart { Meeting::None } else { Meeting::Elsewhere };
    }
    if b_left * b_right <= 0 && a_left * a_right <= 0 {
        return Meeting::Elsewhere;
    }
    Meeting::None
}

/// 1, 0 or −1 where `p` lies on one side of the line from `a` to `b`, on it, or on the other side.
fn side(a: GridPoint, b: GridPoint, p: GridPoint) -> i32 {
    let wide = |value: i64| i128::from(value);
    let cross = wide(b[0] - a[0]) * wide(p[1] - a[1]) - wide(b[1] - a[1]) * wide(p[0] - a[0]);
    cross.signum() as i32
}

/// Rings that touch must not close a chain: rings and the points where they meet form a graph
/// without a cycle.
fn interior_is_connected(touches: &[Touch], rings: usize) -> bool {
    // Nodes are rings, then points. Each touch names a pair of edges, so a vertex of two rings
    // occurs up to four times.
    let mut point_nodes: HashMap<GridPoint, usize> = HashMap::new();
    let mut links: Vec<[usize; 2]> = Vec::new();
    for touch in touches {
        let next = rings + point_nodes.len();
        let node = *point_nodes.entry(touch.at).or_insert(next);
        links.extend(touch.rings.map(|ring| [ring, node]));
    }
    links.sort_unstable();
    links.dedup();
    // Union by path halving.
    let mut parents: Vec<usize> = (0..rings + point_nodes.len()).collect();
    for [a, b] in links {
        let [a, b] = [root(&mut parents, a), root(&mut parents, b)];
        if a == b {
            return false;
        }
        parents[a] = b;
    }
    true
}

fn root(parents: &mut [usize], mut node: usize) -> usize {
    while parents[node] != node {
        parents[node] = parents[parents[node]];
        node = parents[node];
    }
    node
}

/// Whether each hole lies inside the outline and outside the other holes. Edges do not cross, so
/// the middle of one of a hole's edges decides, or those of all where it touches another ring.
fn holes_lie_inside(rings: &[Vec<GridPoint>], is_touching: &[bool]) -> bool {
    let Some((outline, holes)) = rings.split_first() else { return false };
    let bounds: Vec<GridBounds> = rings.iter().map(|ring| GridBounds::of(ring)).collect();
    let mut work_left = MAX_PAIRS + rings.iter().map(Vec::len).sum::<usize>() * MAX_PAIRS_PER_EDGE;
    for (index, hole) in holes.iter().enumerate() {
        if !bounds[0].hold(&bounds[index + 1]) {
            return false;
        }
        let checked = if is_touching[index + 1] { hole.len() } else { 1 };
        for middle in middles(hole).take(checked) {
            let Some(left) = work_left.checked_sub(outline.len()) else { return false };
            work_left = left;
            if !holds_doubled(outline, middle) {
                return false;
            }
        }
        for (other_index, other) in holes.iter().enumerate() {
            let Some(left) = work_left.checked_sub(1) else { return false };
            work_left = left;
            if other_index == index || !bounds[other_index + 1].hold(&bounds[index + 1]) {
                continue;
            }
            for middle in middles(hole).take(checked) {
                let Some(left) = work_left.checked_sub(other.len()) else { return false };
                work_left = left;
                if holds_doubled(other, middle) {
                    return false;
                }
            }
        }
    }
    true
}

/// Smallest and largest coordinates of a ring.
struct GridBounds {
    least: GridPoint,
    greatest: GridPoint,
}

impl GridBounds {
    fn of(ring: &[GridPoint]) -> Self {
        let mut bounds = Self { least: [i64::MAX; 2], greatest: [i64::MIN; 2] };
        for point in ring {
            for (axis, &value) in point.iter().enumerate() {
                bounds.least[axis] = bounds.least[axis].min(value);
                bounds.greatest[axis] = bounds.greatest[axis].max(value);
            }
        }
        bounds
    }

    fn hold(&self, other: &Self) -> bool {
        (0..2).all(|axis| {
            self.least[axis] <= other.least[axis] && other.greatest[axis] <= self.greatest[axis]
        })
    }
}

/// Twice the middles of a ring's edges, which lie on the doubled grid.
fn middles(ring: &[GridPoint]) -> impl Iterator<Item = GridPoint> {
    ring.iter().enumerate().map(|(index, a)| {
        let b = ring[(index + 1) % ring.len()];
        [a[0] + b[0], a[1] + b[1]]
    })
}

/// Whether a ring holds a point of the doubled grid, by the even-odd rule.
fn holds_doubled(ring: &[GridPoint], point: GridPoint) -> bool {
    let mut inside = false;
    for (index, a) in ring.iter().enumerate() {
        let b = ring[(index + 1) % ring.len()];
        let [a, b] = [*a, b].map(|[x, y]| [2 * x, 2 * y]);
        if (a[1] <= point[1]) != (b[1] <= point[1]) {
            // The point lies to the left of an edge that runs down when the edge turns clockwise
            // around it.
            let turn = side(a, b, point);
            if (b[1] > a[1]) == (turn > 0) && turn != 0 {
                inside = !inside;
            }
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlines::test_shapes::{ring, square};
    use crate::raster::Ring;

    fn is_valid(rings: &[Ring]) -> bool {
        polygons_are_valid(&[rings.to_vec()], 100.0)
    }

    #[test]
    fn simple_rings_are_valid_in_both_directions() {
        let mut other_way = square(0.0, 0.0, 9.0);
        other_way.reverse();
        assert!(is_valid(&[square(0.0, 0.0, 9.0)]) && is_valid(&[other_way]));
        let closed = ring(&[(0., 0.), (4., 0.), (4., 4.), (4., 4.), (0., 0.)]);
        assert!(is_valid(&[closed]), "repeated points do not count");
        let points_on_a_side = ring(&[(0., 0.), (2., 0.), (4., 0.), (4., 4.)]);
        assert!(is_valid(&[points_on_a_side]));
    }

    #[test]
    fn crossings_spikes_and_self_touches_are_invalid() {
        for (what, points) in [
            ("bow tie", &[(0., 0.), (4., 4.), (4., 0.), (0., 4.)][..]),
            ("spike", &[(0., 0.), (4., 0.), (9., 0.), (4., 0.), (4., 4.)]),
            ("spike at an end", &[(0., 0.), (4., 0.), (2., 0.), (2., 4.)]),
            (
                "touches itself at a vertex",
                &[(0., 0.), (4., 4.), (8., 0.), (8., 8.), (4., 4.), (0., 8.)],
            ),
            ("vertex on an edge", &[(0., 0.), (8., 0.), (8., 8.), (4., 0.), (0., 8.)]),
            ("there and back", &[(0., 0.), (4., 0.), (8., 0.), (4., 0.)]),
            ("two points", &[(0., 0.), (4., 0.), (0., 0.)]),
            ("no number", &[(0., 0.), (f64::NAN, 0.), (0., 4.)]),
            ("too far", &[(0., 0.), (1e300, 0.), (0., 4.)]),
            ("collapses on the grid", &[(0., 0.), (0.001, 0.), (0., 0.001)]),
        ] {
            assert!(!is_valid(&[ring(points)]), "{what}");
        }
        assert!(!is_valid(&[]));
    }

    #[test]
    fn holes_lie_inside_and_apart_and_may_touch_once() {
        let outer = || square(0.0, 0.0, 20.0);
        assert!(is_valid(&[outer(), square(2.0, 2.0, 4.0), square(8.0, 8.0, 4.0)]));
        assert!(is_valid(&[outer(), square(2.0, 2.0, 4.0), square(6.0, 6.0, 4.0)]), "at a vertex");
        for (what, holes) in [
            ("outside", vec![square(30.0, 0.0, 4.0)]),
            ("across the outline", vec![square(18.0, 2.0, 4.0)]),
            ("in another hole", vec![square(2.0, 2.0, 9.0), square(4.0, 4.0, 2.0)]),
            ("the outline itself", vec![outer()]),
            ("twice the same", vec![square(2.0, 2.0, 4.0), square(2.0, 2.0, 4.0)]),
            ("a common edge", vec![square(2.0, 2.0, 4.0), square(6.0, 2.0, 4.0)]),
        ] {
            let rings: Vec<Ring> = std::iter::once(outer()).chain(holes).collect();
            assert!(!is_valid(&rings), "{what}");
        }
        // Two common vertices cut the interior apart.
        let notch = ring(&[(0., 0.), (10., 0.), (20., 0.), (20., 20.), (10., 20.), (0., 20.)]);
        let across = ring(&[(10., 0.), (12., 10.), (10., 20.), (8., 10.)]);
        assert!(!is_valid(&[notch.clone(), across]));
        let once = ring(&[(10., 0.), (12., 10.), (10., 19.), (8., 10.)]);
        assert!(is_valid(&[notch.clone(), once]));
        let outside = ring(&[(10., 0.), (12., -9.), (8., -9.)]);
        assert!(!is_valid(&[notch, outside]));
    }

    #[test]
    fn parts_may_touch_at_vertices_and_lie_in_holes_of_others() {
        let are_valid = |polygons: &[Polygon]| polygons_are_valid(polygons, 100.0);
        let plate = || vec![square(0.0, 0.0, 20.0)];
        let with_hole = || vec![square(0.0, 0.0, 20.0), square(5.0, 5.0, 10.0)];
        assert!(are_valid(&[plate(), vec![square(20.0, 20.0, 4.0)]]), "at a vertex");
        assert!(are_valid(&[with_hole(), vec![square(6.0, 6.0, 4.0)]]), "an island");
        assert!(
            !are_valid(&[with_hole(), vec![ring(&[(5., 5.), (15., 5.), (10., 9.)])]]),
            "an edge"
        );
        assert!(are_valid(&[with_hole(), vec![ring(&[(5., 5.), (15., 15.), (9., 12.)])]]));
        for (what, part) in [
            ("inside", square(2.0, 2.0, 4.0)),
            ("the same", square(0.0, 0.0, 20.0)),
            ("a common edge", square(20.0, 0.0, 20.0)),
            ("across", square(10.0, 10.0, 20.0)),
        ] {
            assert!(!are_valid(&[plate(), vec![part]]), "{what}");
        }
        let inside_at_a_vertex = ring(&[(0., 0.), (9., 2.), (2., 9.)]);
        assert!(!are_valid(&[plate(), vec![inside_at_a_vertex]]));
    }

    #[test]
    fn what_is_apart_on_a_fine_grid_may_meet_on_a_coarse_one() {
        let thin = ring(&[(0., 0.), (10., 0.002), (10., 5.), (9., 0.004), (0., 5.)]);
        assert!(polygons_are_valid(&[vec![thin.clone()]], 1e4));
        assert!(!is_valid(&[thin]));
    }

    #[test]
    fn a_comb_of_many_long_teeth_is_given_up_in_time() {
        let mut comb = Vec::new();
        for tooth in 0..100_000 {
            let y = f64::from(tooth);
            comb.extend(ring(&[(0.0, y), (1000.0, y + 0.5)]));
        }
        comb.push(Point { x: -1.0, y: 1e5 });
        comb.push(Point { x: -1.0, y: 0.0 });
        let begun = std::time::Instant::now();
        assert!(!is_valid(&[comb]));
        assert!(begun.elapsed().as_secs() < 20);
    }
}
