//! Lines of the screen: cut into dashes, and drawn into a picture on the CPU.

use super::viewport::ScreenPoint;
use crate::raster::RgbImage;

/// Most dashes of a line.
const MAX_DASHES: usize = 20_000;

/// A line of the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlineStroke {
    /// One point is a dot.
    pub points: Vec<ScreenPoint>,
    /// Red, green, blue.
    pub colour: [u8; 3],
    /// 0 to 1.
    pub opacity: f32,
    /// Pixels of the screen.
    pub width: f64,
}

/// A ring as lines: closed, or in pieces where it has a dash pattern, whose lengths are in the
/// units of the points.
#[must_use]
pub fn dashes(ring: &[ScreenPoint], pattern: &[f64]) -> Vec<Vec<ScreenPoint>> {
    let mut closed = ring.to_vec();
    closed.extend(ring.first().copied());
    let period: f64 = pattern.iter().sum();
    if pattern.len() < 2 || period.is_nan() || period <= 0.0 {
        return vec![closed];
    }
    let mut pieces = Vec::new();
    let mut piece: Vec<ScreenPoint> = closed.first().copied().into_iter().collect();
    // The part of the pattern that is drawn, and what is left of it.
    let (mut part, mut left) = (0, pattern[0]);
    for ends in closed.windows(2) {
        let (dx, dy) = (ends[1].x - ends[0].x, ends[1].y - ends[0].y);
        let length = dx.hypot(dy);
        let mut at = 0.0;
        while length - at > left && pieces.len() < MAX_DASHES {
            at += left;
            let cut =
                ScreenPoint { x: ends[0].x + dx * at / length, y: ends[0].y + dy * at / length };
            if part % 2 == 0 {
                piece.push(cut);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![cut];
            }
            part = (part + 1) % pattern.len();
            left = pattern[part].max(0.1);
        }
        left -= length - at;
        if part % 2 == 0 {
            piece.push(ends[1]);
        }
    }
    if part % 2 == 0 && piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

/// Draws lines into a picture whose pixels are screen points, anti-aliased, in their order.
pub fn draw_strokes(picture: &mut RgbImage, strokes: &[OutlineStroke]) {
    for stroke in strokes {
        draw_stroke(picture, stroke);
    }
}

fn draw_stroke(picture: &mut RgbImage, stroke: &OutlineStroke) {
    // Beyond this distance nothing is drawn.
    let reach = stroke.width / 2.0 + 0.5;
    let xs = || stroke.points.iter().map(|point| point.x);
    let ys = || stroke.points.iter().map(|point| point.y);
    let columns = span(xs(), reach, picture.width());
    let rows = span(ys(), reach, picture.height());
    let width = columns.len();
    let mut distances = vec![f32::MAX; width * rows.len()];
    let single = [stroke.points.first().copied(), stroke.points.first().copied()];
    let dot: Vec<ScreenPoint> = single.into_iter().flatten().collect();
    let line = if stroke.points.len() == 1 { &dot } else { &stroke.points };
    for ends in line.windows(2) {
        let near_columns = span([ends[0].x, ends[1].x].into_iter(), reach, picture.width());
        let near_rows = span([ends[0].y, ends[1].y].into_iter(), reach, picture.height());
        for y in near_rows {
            for x in near_columns.clone() {
                let centre = ScreenPoint { x: x as f64 + 0.5, y: y as f64 + 0.5 };
                let distance = distance(centre, ends[0], ends[1]) as f32;
                let nearest = &mut distances[(y - rows.start) * width + x - columns.start];
                *nearest = nearest.min(distance);
            }
        }
    }
    for y in rows.clone() {
        for x in columns.clone() {
            let distance = f64::from(distances[(y - rows.start) * width + x - columns.start]);
            let covered = (reach - distance).clamp(0.0, 1.0) as f32;
            if covered > 0.0 {
                let pixel = picture.get(y, x);
                picture.set(y, x, blended(pixel, stroke.colour, covered * stroke.opacity));
            }
        }
    }
}

/// Pixels of a side of `len` within `reach` of positions.
fn span(positions: impl Iterator<Item = f64>, reach: f64, len: usize) -> std::ops::Range<usize> {
    let (mut first, mut last) = (f64::MAX, f64::MIN);
    for position in positions {
        first = first.min(position);
        last = last.max(position);
    }
    let pixel = |position: f64| position.clamp(0.0, len as f64) as usize;
    let first = pixel((first - reach).floor());
    first..pixel((last + reach).ceil()).max(first)
}

/// Of a point from a line between two points.
fn distance(point: ScreenPoint, a: ScreenPoint, b: ScreenPoint) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let squared = dx * dx + dy * dy;
    let along = (point.x - a.x) * dx + (point.y - a.y) * dy;
    let t = if squared > 0.0 { (along / squared).clamp(0.0, 1.0) } else { 0.0 };
    (point.x - a.x - t * dx).hypot(point.y - a.y - t * dy)
}

fn blended(below: [u8; 3], above: [u8; 3], share: f32) -> [u8; 3] {
    std::array::from_fn(|c| {
        let (below, above) = (f32::from(below[c]), f32::from(above[c]));
        (below + (above - below) * share + 0.5) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    fn ring(points: &[(f64, f64)]) -> Vec<ScreenPoint> {
        points.iter().map(|&(x, y)| ScreenPoint { x, y }).collect()
    }

    fn length(piece: &[ScreenPoint]) -> f64 {
        piece.windows(2).map(|ends| (ends[1].x - ends[0].x).hypot(ends[1].y - ends[0].y)).sum()
    }

    #[test]
    fn a_pattern_cuts_a_ring_into_its_lengths() {
        let square = ring(&[(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]);
        let whole = dashes(&square, &[]);
        assert_eq!((whole.len(), length(&whole[0])), (1, 80.0));
        let pieces = dashes(&square, &[6.0, 2.0]);
        assert_eq!(pieces.len(), 10);
        for piece in &pieces {
            assert!((length(piece) - 6.0).abs() < 1e-9, "{piece:?}");
        }
        assert_eq!(pieces[2], ring(&[(16.0, 0.0), (20.0, 0.0), (20.0, 2.0)]));
        assert!(dashes(&[], &[6.0, 2.0]).is_empty());
    }

    #[test]
    fn a_line_has_its_width_and_colour() {
        let mut picture = Plane::filled(40, 40, [250u8; 3]);
        let points = ring(&[(5.0, 20.0), (35.0, 20.0)]);
        let stroke = OutlineStroke { points, colour: [255, 200, 0], opacity: 1.0, width: 3.0 };
        draw_strokes(&mut picture, std::slice::from_ref(&stroke));
        assert_eq!(picture.get(19, 20), [255, 200, 0]);
        assert_eq!(picture.get(20, 20), [255, 200, 0]);
        let half = [253, 225, 125];
        assert_eq!((picture.get(18, 20), picture.get(21, 20)), (half, half));
        assert_eq!(picture.get(17, 20), [250; 3]);
        assert_eq!(picture.get(20, 2), [250; 3]);
        // Dots, lines beyond the picture, and none at all.
        for points in [ring(&[(39.5, 0.5)]), ring(&[(-50.0, -9.0), (900.0, 70.0)]), Vec::new()] {
            draw_strokes(&mut picture, &[OutlineStroke { points, ..stroke.clone() }]);
        }
        assert_eq!(picture.get(0, 39), [255, 200, 0]);
    }
}
