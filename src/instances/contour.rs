//! Outlines between pixels: marching squares over one object's label, each crossing placed where
//! the smoothed probability passes the threshold. Coordinates are pixels from the top left corner
//! of the image; a pixel's centre lies at +0.5.

use super::Smooth;
use crate::raster::{LabelMap, Point};

/// Crossings keep this far from pixel centres, so that rings never touch themselves or each other.
const MARGIN: f64 = 0.05;

/// A closed line; the last point is not repeated. Counter-clockwise on the screen for holes,
/// clockwise for outlines.
pub type Ring = Vec<Point>;

/// A rectangle of pixels, ends excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelBounds {
    pub top: usize,
    pub left: usize,
    pub bottom: usize,
    pub right: usize,
}

/// The four sides of a cell whose corners are pixel centres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Top,
    Right,
    Bottom,
    Left,
}

/// Outline and holes of object `label` inside `bounds`. The object is 8-connected: diagonal pixels
/// hold together.
#[must_use]
pub fn rings(
    labels: &LabelMap,
    smooth: &Smooth,
    level: u16,
    label: u32,
    bounds: PixelBounds,
) -> Vec<Ring> {
    let tracer = Tracer { labels, smooth, level, label };
    // Cells from one before the first pixel to the last: corner (0, 0) of cell (r, c) is pixel (r,
    // c).
    let (rows, columns) = (bounds.bottom - bounds.top + 1, bounds.right - bounds.left + 1);
    let (top, left) = (bounds.top.cast_signed() - 1, bounds.left.cast_signed() - 1);
    // Each cell has at most two line segments, entered through different sides.
    let mut seen = vec![0u8; rows * columns];
    let mut out = Vec::new();
    for start in 0..rows * columns {
        let cell = (top + (start / columns).cast_signed(), left + (start % columns).cast_signed());
        for (from, _) in tracer.segments(cell).into_iter().flatten() {
            if seen[start] & 1 << from as u8 == 0 {
                out.push(tracer.follow(cell, from, |(r, c), side| {
                    let at = (r - top).cast_unsigned() * columns + (c - left).cast_unsigned();
                    seen[at] |= 1 << side as u8;
                }));
            }
        }
    }
    out
}

/// Twice the area enclosed, positive for outlines.
#[must_use]
pub fn doubled_area(ring: &[Point]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| a.x * b.y - b.x * a.y).sum()
}

struct Tracer<'a> {
    labels: &'a LabelMap,
    smooth: &'a Smooth,
    level: u16,
    label: u32,
}

impl Tracer<'_> {
    fn label_at(&self, row: isize, column: isize) -> Option<u32> {
        let (row, column) = (usize::try_from(row).ok()?, usize::try_from(column).ok()?);
        (row < self.labels.height() && column < self.labels.width())
            .then(|| self.labels.get(row, column))
    }

    fn inside(&self, row: isize, column: isize) -> bool {
        self.label_at(row, column) == Some(self.label)
    }

    /// Line segments of a cell as (side entered, side left), the object on the right hand.
    fn segments(&self, (r, c): (isize, isize)) -> [Option<(Side, Side)>; 2] {
        use Side::{Bottom, Left, Right, Top};
        let corners =
            [(r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c)].map(|(r, c)| self.inside(r, c));
        match corners {
            [false, false, false, false] | [true, true, true, true] => [None, None],
            [true, false, false, false] => [Some((Top, Left)), None],
            [false, true, false, false] => [Some((Right, Top)), None],
            [false, false, true, false] => [Some((Bottom, Right)), None],
            [false, false, false, true] => [Some((Left, Bottom)), None],
            [true, true, false, false] => [Some((Right, Left)), None],
            [false, true, true, false] => [Some((Bottom, Top)), None],
            [false, false, true, true] => [Some((Left, Right)), None],
            [true, false, false, true] => [Some((Top, Bottom)), None],
            [false, true, true, true] => [Some((Left, Top)), None],
            [true, false, true, true] => [Some((Top, Right)), None],
            [true, true, false, true] => [Some((Right, Bottom)), None],
            [true, true, true, false] => [Some((Bottom, Left)), None],
            // Diagonals: the object goes through the middle, background is cut off at two corners.
            [true, false, true, false] => [Some((Top, Right)), Some((Bottom, Left))],
            [false, true, false, true] => [Some((Right, Bottom)), Some((Left, Top))],
        }
    }

    fn follow(
        &self,
        start: (isize, isize),
        entered: Side,
        mut visit: impl FnMut((isize, isize), Side),
    ) -> Ring {
        let mut ring = Vec::new();
        let (mut cell, mut from) = (start, entered);
        loop {
            visit(cell, from);
            let leaving = self.segments(cell).into_iter().flatten().find(|(s, _)| *s == from);
            let Some((_, to)) = leaving else { return ring };
            ring.push(self.crossing(cell, to));
            (cell, from) = match to {
                Side::Top => ((cell.0 - 1, cell.1), Side::Bottom),
                Side::Right => ((cell.0, cell.1 + 1), Side::Left),
                Side::Bottom => ((cell.0 + 1, cell.1), Side::Top),
                Side::Left => ((cell.0, cell.1 - 1), Side::Right),
            };
            if (cell, from) == (start, entered) {
                return ring;
            }
        }
    }

    /// Where the outline crosses a side of a cell.
    fn crossing(&self, (r, c): (isize, isize), side: Side) -> Point {
        let (a, b) = match side {
            Side::Top => ((r, c), (r, c + 1)),
            Side::Right => ((r, c + 1), (r + 1, c + 1)),
            Side::Bottom => ((r + 1, c), (r + 1, c + 1)),
            Side::Left => ((r, c), (r + 1, c)),
        };
        let share = if self.inside(a.0, a.1) { self.share(a, b) } else { 1.0 - self.share(b, a) };
        let between = |from: isize, to: isize| from as f64 + 0.5 + share * (to - from) as f64;
        Point { x: between(a.1, b.1), y: between(a.0, b.0) }
    }

    /// How far from a pixel of the object towards one outside it the outline lies, 0 to 1.
    fn share(&self, within: (isize, isize), outside: (isize, isize)) -> f64 {
        match self.label_at(outside.0, outside.1) {
            // Background: where the probability passes the threshold, if it does.
            Some(0) => {
                let value = |(r, c): (isize, isize)| {
                    f64::from(self.smooth.get(r.cast_unsigned(), c.cast_unsigned()))
                };
                let (level, high, low) =
                    (f64::from(self.level) + 0.5, value(within), value(outside));
                if high > level && low < level {
                    ((high - level) / (high - low)).clamp(MARGIN, 1.0 - MARGIN)
                } else {
                    0.5
                }
            }
            // Another nucleus, or the end of the image.
            _ => 0.5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    fn traced(rows: &[&str]) -> Vec<Ring> {
        let labels = Plane::from_vec(
            rows[0].len(),
            rows.len(),
            rows.concat().chars().map(|c| u32::from(c == '#')).collect(),
        )
        .expect("plane");
        let smooth = labels.map(|l| if l == 1 { 1000 } else { 0 });
        let bounds = PixelBounds { top: 0, left: 0, bottom: rows.len(), right: rows[0].len() };
        rings(&labels, &smooth, 499, 1, bounds)
    }

    #[test]
    fn one_pixel_is_a_diamond_half_way_to_its_neighbours() {
        let found = traced(&["...", ".#.", "..."]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].len(), 4);
        assert!((doubled_area(&found[0]) - 1.0).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn an_object_that_fills_the_image_ends_at_its_border() {
        let found = traced(&["##", "##"]);
        let (xs, ys): (Vec<f64>, Vec<f64>) = found[0].iter().map(|p| (p.x, p.y)).unzip();
        let span = |v: &[f64]| {
            (v.iter().copied().fold(9.0, f64::min), v.iter().copied().fold(-9.0, f64::max))
        };
        assert_eq!((span(&xs), span(&ys)), ((0.0, 2.0), (0.0, 2.0)));
    }

    #[test]
    fn holes_turn_the_other_way_and_diagonals_hold_together() {
        let ring = traced(&["###", "#.#", "###"]);
        assert_eq!(ring.len(), 2);
        assert_eq!(ring.iter().filter(|r| doubled_area(r) > 0.0).count(), 1);
        assert_eq!(traced(&["#..", ".#.", "..#"]).len(), 1);
        assert_eq!(traced(&["#.#", ".#.", "#.#"]).len(), 1);
    }

    #[test]
    fn the_outline_lies_where_the_probability_passes_the_threshold() {
        let labels = Plane::from_vec(3, 1, vec![0, 1, 0]).expect("plane");
        let smooth = Plane::from_vec(3, 1, vec![0, 1000, 0]).expect("plane");
        let bounds = PixelBounds { top: 0, left: 1, bottom: 1, right: 2 };
        let found = rings(&labels, &smooth, 249, 1, bounds);
        let right = found[0].iter().map(|p| p.x).fold(0.0, f64::max);
        assert!((right - 2.25).abs() < 0.01, "{right}");
    }
}
