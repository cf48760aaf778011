//! Outlines of objects by marching squares (Lorensen & Cline 1987, in two dimensions) with
//! interpolation: a ring crosses between two pixel centres where the smoothed probability passes
//! the threshold.
//!
//! The corners of a cell are the centres of four pixels. Where two neighbouring corners are inside
//! and outside of the object, the ring crosses the side between them. The ring is followed from
//! cell to cell with the object on its right, in image coordinates (x to the right, y down):
//!
//! ```text
//!   corner 0 ──── Top ──── corner 1         ● ── × ── ○    object in corner 0 only:
//!      │                      │             │   ╱     │    the segment enters through Top
//!    Left        cell       Right           × ╱       │    and leaves through Left
//!      │                      │             │         │
//!   corner 3 ─── Bottom ── corner 2         ○ ─────── ○
//! ```
//!
//! Coordinates are pixels from the upper-left corner of the image; a pixel's centre lies at +0.5.

use super::SmoothedMap;
use crate::raster::{LabelMap, Point, Ring};

/// Crossings keep this distance from pixel centres, so that rings touch neither themselves nor each
/// other.
const MARGIN: f64 = 0.05;

/// A rectangle of pixels; bottom and right are excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PixelBounds {
    pub top: usize,
    pub left: usize,
    pub bottom: usize,
    pub right: usize,
}

/// A pixel, or the cell whose corner 0 is its centre. One outside of the image belongs to no
/// object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    row: isize,
    column: isize,
}

impl Position {
    fn offset(self, down: isize, right: isize) -> Self {
        Self { row: self.row + down, column: self.column + right }
    }
}

/// The four sides of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Top,
    Right,
    Bottom,
    Left,
}

/// The part of a ring inside one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    entry: Side,
    exit: Side,
}

/// Outlines and holes of the object `label`, all of whose pixels lie inside `bounds`: outlines run
/// clockwise on the screen, holes counter-clockwise. `threshold` is in units of the smoothed map.
/// The object is 8-connected: pixels that touch at a corner are in one outline.
#[must_use]
pub(super) fn trace_rings(
    labels: &LabelMap,
    smoothed: &SmoothedMap,
    threshold: u16,
    label: u32,
    bounds: PixelBounds,
) -> Vec<Ring> {
    let tracer = Tracer { labels, smoothed, threshold, label };
    // One row and one column of cells more than pixels: the first cells have the object's first
    // pixels as their lower and right corners.
    let first =
        Position { row: bounds.top.cast_signed() - 1, column: bounds.left.cast_signed() - 1 };
    let rows = bounds.bottom - bounds.top + 1;
    let columns = bounds.right - bounds.left + 1;
    // For each cell a bit for each side through which a traced ring has entered.
    let mut visited = vec![0u8; rows * columns];
    let mut rings = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let start = first.offset(row.cast_signed(), column.cast_signed());
            // Every ring is found at its first cell in reading order. A saddle cell holds two
            // segments, which may belong to two rings, so visits are recorded by side and not by
            // cell.
            for segment in tracer.segments(start).into_iter().flatten() {
                if visited[row * columns + column] & bit(segment.entry) != 0 {
                    continue;
                }
                let mut ring = Vec::new();
                let mut cell = start;
                let mut entry = segment.entry;
                loop {
                    let row = (cell.row - first.row).cast_unsigned();
                    let column = (cell.column - first.column).cast_unsigned();
                    visited[row * columns + column] |= bit(entry);
                    // Never none: the side shared with the cell before is crossed in both cells.
                    let Some(exit) = tracer.exit(cell, entry) else { break };
                    ring.push(tracer.crossing(cell, exit));
                    (cell, entry) = next_cell(cell, exit);
                    if cell == start && entry == segment.entry {
                        break;
                    }
                }
                rings.push(ring);
            }
        }
    }
    rings
}

fn bit(side: Side) -> u8 {
    1 << side as u8
}

/// The cell beyond a side, and the side of it through which it is entered.
fn next_cell(cell: Position, exit: Side) -> (Position, Side) {
    match exit {
        Side::Top => (cell.offset(-1, 0), Side::Bottom),
        Side::Right => (cell.offset(0, 1), Side::Left),
        Side::Bottom => (cell.offset(1, 0), Side::Top),
        Side::Left => (cell.offset(0, -1), Side::Right),
    }
}

struct Tracer<'a> {
    labels: &'a LabelMap,
    smoothed: &'a SmoothedMap,
    threshold: u16,
    label: u32,
}

impl Tracer<'_> {
    /// The label of a pixel; none outside of the image.
    fn label_at(&self, pixel: Position) -> Option<u32> {
        let row = usize::try_from(pixel.row).ok()?;
        let column = usize::try_from(pixel.column).ok()?;
        (row < self.labels.height() && column < self.labels.width())
            .then(|| self.labels.get(row, column))
    }

    fn is_inside(&self, pixel: Position) -> bool {
        self.label_at(pixel) == Some(self.label)
    }

    /// The segments of a cell.
    fn segments(&self, cell: Position) -> [Option<Segment>; 2] {
        use Side::{Bottom, Left, Right, Top};
        let corners = [cell, cell.offset(0, 1), cell.offset(1, 1), cell.offset(1, 0)];
        let one = |entry, exit| [Some(Segment { entry, exit }), None];
        // The 16 cases of marching squares, corners clockwise from the upper left. The entry and
        // exit are chosen so that the inside corners lie to the right of the segment.
        match corners.map(|corner| self.is_inside(corner)) {
            [false, false, false, false] | [true, true, true, true] => [None, None],
            [true, false, false, false] => one(Top, Left),
            [false, true, false, false] => one(Right, Top),
            [false, false, true, false] => one(Bottom, Right),
            [false, false, false, true] => one(Left, Bottom),
            [true, true, false, false] => one(Right, Left),
            [false, true, true, false] => one(Bottom, Top),
            [false, false, true, true] => one(Left, Right),
            [true, false, false, true] => one(Top, Bottom),
            [false, true, true, true] => one(Left, Top),
            [true, false, true, true] => one(Top, Right),
            [true, true, false, true] => one(Right, Bottom),
            [true, true, true, false] => one(Bottom, Left),
            // Two diagonal corners are connected through the middle of the cell; the segments cut
            // off the two others.
            [true, false, true, false] => [
                Some(Segment { entry: Top, exit: Right }),
                Some(Segment { entry: Bottom, exit: Left }),
            ],
            [false, true, false, true] => [
                Some(Segment { entry: Right, exit: Bottom }),
                Some(Segment { entry: Left, exit: Top }),
            ],
        }
    }

    /// Where the segment that enters a cell through `entry` leaves it.
    fn exit(&self, cell: Position, entry: Side) -> Option<Side> {
        let mut segments = self.segments(cell).into_iter().flatten();
        segments.find(|segment| segment.entry == entry).map(|segment| segment.exit)
    }

    /// Where the ring crosses a side of a cell.
    fn crossing(&self, cell: Position, side: Side) -> Point {
        let (a, b) = match side {
            Side::Top => (cell, cell.offset(0, 1)),
            Side::Right => (cell.offset(0, 1), cell.offset(1, 1)),
            Side::Bottom => (cell.offset(1, 0), cell.offset(1, 1)),
            Side::Left => (cell, cell.offset(1, 0)),
        };
        // Position of the crossing on the side: 0 at a, 1 at b.
        let t = if self.is_inside(a) {
            self.crossing_fraction(a, b)
        } else {
            1.0 - self.crossing_fraction(b, a)
        };
        Point {
            x: a.column as f64 + 0.5 + t * (b.column - a.column) as f64,
            y: a.row as f64 + 0.5 + t * (b.row - a.row) as f64,
        }
    }

    /// Where between the centres of a pixel inside and one outside the ring crosses: 0 at the inner
    /// one, 1 at the outer one. Half-way towards another nucleus, towards the end of the image, and
    /// where the probability does not pass the threshold (in a filled hole, say).
    fn crossing_fraction(&self, inner: Position, outer: Position) -> f64 {
        if self.label_at(outer) != Some(0) {
            return 0.5;
        }
        // A pixel is inside when its value is above the threshold, both integers.
        let threshold = f64::from(self.threshold) + 0.5;
        let high = self.value(inner);
        let low = self.value(outer);
        if high > threshold && low < threshold {
            ((high - threshold) / (high - low)).clamp(MARGIN, 1.0 - MARGIN)
        } else {
            0.5
        }
    }

    /// The smoothed probability of a pixel of the image.
    fn value(&self, pixel: Position) -> f64 {
        f64::from(self.smoothed.get(pixel.row.cast_unsigned(), pixel.column.cast_unsigned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::{Plane, doubled_area};

    /// The rings of the pixels marked `#`.
    fn trace(rows: &[&str]) -> Vec<Ring> {
        let (width, height) = (rows[0].len(), rows.len());
        let pixels = rows.concat().chars().map(|c| u32::from(c == '#')).collect();
        let labels = Plane::from_vec(width, height, pixels).expect("plane");
        let smoothed = labels.map(|l| if l == 1 { 1000 } else { 0 });
        let bounds = PixelBounds { top: 0, left: 0, bottom: height, right: width };
        trace_rings(&labels, &smoothed, 499, 1, bounds)
    }

    #[test]
    fn one_pixel_is_a_diamond_half_way_to_its_neighbours() {
        let rings = trace(&["...", ".#.", "..."]);
        assert_eq!(rings.len(), 1);
        assert_eq!(rings[0].len(), 4);
        assert!((doubled_area(&rings[0]) - 1.0).abs() < 0.01, "{rings:?}");
    }

    #[test]
    fn an_object_that_fills_the_image_ends_at_its_border() {
        let rings = trace(&["##", "##"]);
        let lowest = |of: fn(&Point) -> f64| rings[0].iter().map(of).fold(9.0, f64::min);
        let highest = |of: fn(&Point) -> f64| rings[0].iter().map(of).fold(-9.0, f64::max);
        let upper_left = Point { x: lowest(|p| p.x), y: lowest(|p| p.y) };
        let lower_right = Point { x: highest(|p| p.x), y: highest(|p| p.y) };
        assert_eq!(upper_left, Point { x: 0.0, y: 0.0 });
        assert_eq!(lower_right, Point { x: 2.0, y: 2.0 });
    }

    #[test]
    fn holes_run_the_other_way_and_diagonal_pixels_are_connected() {
        let rings = trace(&["###", "#.#", "###"]);
        assert_eq!(rings.len(), 2);
        assert_eq!(rings.iter().filter(|r| doubled_area(r) > 0.0).count(), 1);
        assert_eq!(trace(&["#..", ".#.", "..#"]).len(), 1);
        assert_eq!(trace(&["#.#", ".#.", "#.#"]).len(), 1);
    }

    #[test]
    fn the_outline_lies_where_the_probability_passes_the_threshold() {
        let labels = Plane::from_vec(3, 1, vec![0, 1, 0]).expect("plane");
        let smoothed = Plane::from_vec(3, 1, vec![0, 1000, 0]).expect("plane");
        let bounds = PixelBounds { top: 0, left: 1, bottom: 1, right: 2 };
        let rings = trace_rings(&labels, &smoothed, 249, 1, bounds);
        let right = rings[0].iter().map(|p| p.x).fold(0.0, f64::max);
        assert!((right - 2.25).abs() < 0.01, "{right}");
    }
}
