//! Outlines of a label map along the edges of its pixels, from which the label map can be drawn
//! again exactly.
//!
//! The boundary is followed from pixel corner to pixel corner with the object on its right. Where
//! two pixels of an object touch at a corner only, each boundary keeps to its own pixel. A boundary
//! that comes back to a corner is then cut there, so that rings are simple: pixels that are
//! connected by their sides are one polygon, pixels that touch at corners are several, and holes
//! meet outlines in single points at most.

use std::collections::HashMap;

use super::read::{Outline, OutlineKind, Outlines};
use crate::raster::{LabelMap, Point, Ring, grouped_rings};

/// A pixel corner: column and row, with (0, 0) the upper-left corner of the image.
type Corner = [usize; 2];

/// A direction along pixel edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Right,
    Down,
    Left,
    Up,
}

impl Step {
    const ALL: [Self; 4] = [Self::Right, Self::Down, Self::Left, Self::Up];

    fn turned_right(self) -> Self {
        Self::ALL[(self as usize + 1) % 4]
    }

    fn turned_left(self) -> Self {
        Self::ALL[(self as usize + 3) % 4]
    }
}

/// The objects of a label map in the order of their numbers. Labels need not be consecutive.
#[must_use]
pub fn trace_labels(labels: &LabelMap) -> Outlines {
    let tracer = Tracer { labels };
    // A bit for each boundary edge that runs to the right along the upper side of a pixel: every
    // ring has one.
    let mut is_traced = vec![false; labels.width() * labels.height()];
    let mut rings: HashMap<u32, Vec<Ring>> = HashMap::new();
    for row in 0..labels.height() {
        for column in 0..labels.width() {
            let label = labels.get(row, column);
            let has_upper_edge = row == 0 || labels.get(row - 1, column) != label;
            if label == 0 || !has_upper_edge || is_traced[row * labels.width() + column] {
                continue;
            }
            let corners = tracer.follow(label, [column, row], &mut is_traced);
            rings.entry(label).or_default().extend(simple_rings(&corners));
        }
    }
    let mut objects: Vec<(u32, Vec<Ring>)> = rings.into_iter().collect();
    objects.sort_unstable_by_key(|(label, _)| *label);
    let mut outlines = Outlines::default();
    for (label, rings) in objects {
        outlines.objects.push(Outline {
            id: Some(label.to_string()),
            class: None,
            name: None,
            colour: None,
            status: None,
            kind: OutlineKind::Detection,
            polygons: grouped_rings(rings),
        });
    }
    outlines
}

struct Tracer<'a> {
    labels: &'a LabelMap,
}

impl Tracer<'_> {
    fn is_inside(&self, label: u32, row: usize, column: usize) -> bool {
        row < self.labels.height()
            && column < self.labels.width()
            && self.labels.get(row, column) == label
    }

    /// The corners at which a boundary turns, from the left end of a pixel's upper edge on.
    fn follow(&self, label: u32, start: Corner, is_traced: &mut [bool]) -> Vec<Corner> {
        let mut corners = Vec::new();
        let mut at = start;
        let mut step = Step::Right;
        loop {
            if step == Step::Right {
                is_traced[at[1] * self.labels.width() + at[0]] = true;
            }
            match step {
                Step::Right => at[0] += 1,
                Step::Down => at[1] += 1,
                Step::Left => at[0] -= 1,
                Step::Up => at[1] -= 1,
            }
            let next = self.next_step(label, at, step);
            if next != step {
                corners.push(at);
            }
            step = next;
            if at == start && step == Step::Right {
                return corners;
            }
        }
    }

    /// Where the boundary goes on from a corner: around the pixel that lies to its right so far.
    fn next_step(&self, label: u32, [x, y]: Corner, step: Step) -> Step {
        // The four pixels around the corner; those to the left of column 0 and above row 0 wrap
        // around to numbers outside of the image.
        let [left, above] = [x.wrapping_sub(1), y.wrapping_sub(1)];
        let [ahead_right, ahead_left] = match step {
            Step::Right => [(y, x), (above, x)],
            Step::Down => [(y, left), (y, x)],
            Step::Left => [(above, left), (y, left)],
            Step::Up => [(above, x), (above, left)],
        };
        if !self.is_inside(label, ahead_right.0, ahead_right.1) {
            return step.turned_right();
        }
        if self.is_inside(label, ahead_left.0, ahead_left.1) {
            return step.turned_left();
        }
        step
    }
}

/// Cuts a closed line at the corners that it passes more than once.
fn simple_rings(corners: &[Corner]) -> Vec<Ring> {
    let mut rings = Vec::new();
    let mut open: Vec<Corner> = Vec::new();
    let mut place_of: HashMap<Corner, usize> = HashMap::new();
    for &corner in corners {
        if let Some(&first) = place_of.get(&corner) {
            let ring = open.split_off(first);
            for passed in &ring {
                place_of.remove(passed);
            }
            rings.push(ring);
        }
        place_of.insert(corner, open.len());
        open.push(corner);
    }
    rings.push(open);
    let point = |&[x, y]: &Corner| Point { x: x as f64, y: y as f64 };
    rings.iter().map(|ring| ring.iter().map(point).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlines::{draw_outlines, polygons_are_valid};
    use crate::raster::Plane;

    fn labels(rows: &[&str]) -> LabelMap {
        let pixels = rows.concat().chars().map(|c| c.to_digit(36).unwrap_or(0)).collect();
        Plane::from_vec(rows[0].len(), rows.len(), pixels).expect("labels")
    }

    /// Numbers of polygons and of rings of each object. What is drawn again is the same.
    fn shape(rows: &[&str]) -> Vec<(usize, usize)> {
        let map = labels(rows);
        let outlines = trace_labels(&map);
        for object in &outlines.objects {
            assert!(polygons_are_valid(&object.polygons, 100.0), "{rows:?}: {object:?}");
        }
        let drawing = draw_outlines(&outlines, map.width(), map.height(), 0.0);
        assert_eq!(drawing.labels, map.renumbered().0, "{rows:?}");
        let shape =
            |object: &Outline| (object.polygons.len(), object.polygons.iter().map(Vec::len).sum());
        outlines.objects.iter().map(shape).collect()
    }

    #[test]
    fn squares_have_four_corners_and_reach_the_border() {
        let outlines = trace_labels(&labels(&["11", "11"]));
        let corners: Vec<[f64; 2]> =
            outlines.objects[0].polygons[0][0].iter().map(|p| [p.x, p.y]).collect();
        assert_eq!(corners, [[2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [0.0, 0.0]]);
    }

    #[test]
    fn holes_parts_and_pixels_that_touch_at_corners() {
        assert_eq!(shape(&[".....", ".333.", ".3.3.", ".333."]), [(1, 2)]);
        assert_eq!(shape(&["1..1", "1..1"]), [(2, 2)]);
        assert_eq!(shape(&["1...", ".1..", "..1."]), [(3, 3)], "a diagonal");
        assert_eq!(shape(&["111", "1.1", "11."]), [(1, 2)], "the hole touches the outline");
        assert_eq!(shape(&["1111", "1.11", "11.1", "1111"]), [(1, 3)], "holes touch");
        assert_eq!(shape(&["11111", "1...1", "1.1.1", "1...1", "11111"]), [(2, 3)], "an island");
        assert_eq!(shape(&["1.1", ".1.", "1.1"]), [(5, 5)]);
        assert_eq!(shape(&["..1..", ".1.1.", "1...1", ".1.1.", "..1.."]), [(8, 8)]);
        assert_eq!(shape(&["121", "212", "1.1"]), [(5, 5), (3, 3)]);
        assert_eq!(shape(&["...", "..."]), []);
    }
}
