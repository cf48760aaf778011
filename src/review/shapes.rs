//! Outlines from strokes of a pointer, made on pixels: what comes out is always a valid outline,
//! whatever the stroke was. Points are in pixels of the finest level.

use crate::error::{Error, Result};
use crate::instances::outline_of_mask;
use crate::outlines::polygons_are_valid;
use crate::raster::{Mask, PixelGrid, Plane, Point, Polygon, four_neighbours};
use crate::slide::SlideBounds;

/// Largest side of an outline that is drawn by hand, pixels.
const MAX_SIDE_PX: f64 = 4096.0;
/// Largest side of the grid on which a region is drawn that crosses itself, cells.
const MAX_REGION_CELLS: f64 = 1500.0;
/// Largest side of a region, pixels of the finest level.
const MAX_REGION_PX: f64 = 1e7;
/// Steps of a pixel on which a region's outline is checked.
const REGION_STEPS: f64 = 100.0;
/// Background around what is traced, pixels.
const MARGIN_PX: f64 = 4.0;
/// Smallest part that a split leaves, pixels.
const MIN_PART_PX: usize = 9;
/// Largest gap that a merge bridges, pixels.
const MAX_GAP_PX: usize = 8;

/// A mask and where it lies.
struct PlacedMask {
    grid: PixelGrid,
    mask: Mask,
}

impl PlacedMask {
    fn empty(bounds: &SlideBounds) -> Result<Self> {
        if !(bounds.width() >= 0.0 && bounds.height() >= 0.0) {
            return Err(Error::invalid("The stroke has no points"));
        }
        let bounds = bounds.expanded(MARGIN_PX);
        if !(bounds.width() <= MAX_SIDE_PX && bounds.height() <= MAX_SIDE_PX) {
            return Err(Error::limit(format!(
                "The outline is larger than {MAX_SIDE_PX} pixels: zoom in and draw it again"
            )));
        }
        let (left, top) = (bounds.left.floor(), bounds.top.floor());
        let width = (bounds.right - left).ceil() as usize;
        let height = (bounds.bottom - top).ceil() as usize;
        let grid = PixelGrid { left, top, step: 1.0, width, height };
        Ok(Self { grid, mask: Plane::filled(width, height, false) })
    }

    /// The pixels inside polygons, which lie in `bounds`.
    fn filled(bounds: &SlideBounds, polygons: &[Polygon]) -> Result<Self> {
        let Self { grid, .. } = Self::empty(bounds)?;
        Ok(Self { grid, mask: grid.mask(polygons) })
    }

    /// Outline of a part of it, placed.
    fn outline(&self, part: &Mask) -> Vec<Polygon> {
        let mut polygons = outline_of_mask(part);
        for point in polygons.iter_mut().flatten().flatten() {
            point.x += self.grid.left;
            point.y += self.grid.top;
        }
        polygons
    }
}

/// The area inside a stroke that is closed by a straight line, its border smoothed. A stroke that
/// crosses itself encloses everything that it goes around; the largest part is kept.
///
/// # Errors
/// [`Error::Invalid`] for a stroke around nothing, [`Error::Limit`] for one that is too large.
pub fn closed_stroke(stroke: &[Point]) -> Result<Vec<Polygon>> {
    let bounds = SlideBounds::of_points(stroke);
    let placed = PlacedMask::filled(&bounds, &[vec![stroke.to_vec()]])?;
    // What the border of the stroke shuts off from the outside lies inside too.
    let outside = outside_of(&placed.mask);
    let mask = outside.map(|is_outside| !is_outside);
    let part = parts(&mask).into_iter().max_by_key(count);
    match part {
        Some(part) if count(&part) >= MIN_PART_PX => Ok(placed.outline(&part)),
        _ => Err(Error::invalid("The stroke encloses nothing: draw around the nucleus")),
    }
}

/// The region inside corners or a stroke that is closed by a straight line: as it was drawn where
/// that is valid; else what it goes around, on a grid of at most 1500 cells a side.
///
/// # Errors
/// [`Error::Invalid`] for a stroke around nothing, [`Error::Limit`] for one that is too large.
pub fn closed_region(stroke: &[Point]) -> Result<Vec<Polygon>> {
    let bounds = SlideBounds::of_points(stroke);
    let side = bounds.width().max(bounds.height());
    if !(side <= MAX_REGION_PX && stroke.iter().all(|p| p.x.is_finite() && p.y.is_finite())) {
        return Err(Error::invalid("The region has no corners inside the image"));
    }
    let mut ring = stroke.to_vec();
    ring.dedup();
    while ring.len() > 1 && ring.first() == ring.last() {
        ring.pop();
    }
    let drawn = vec![vec![ring]];
    if polygons_are_valid(&drawn, REGION_STEPS) {
        return Ok(drawn);
    }
    let step = (side / MAX_REGION_CELLS).max(1.0);
    let scale = |p: &Point| Point { x: p.x / step, y: p.y / step };
    let mut scaled: Vec<Point> = stroke.iter().map(scale).collect();
    scaled.extend(scaled.first().copied());
    let placed = PlacedMask::empty(&SlideBounds::of_points(&scaled))?;
    // What the line shuts off from the outside, without the cells of the line itself.
    let mut free = placed.mask.map(|_| true);
    for line in placed.grid.place(&scaled).windows(2) {
        draw_line(&mut free, line[0], line[1]);
    }
    let mut inside = outside_of(&free).map(|is_outside| !is_outside);
    inside = eroded(&inside, 1);
    let part = parts(&inside).into_iter().max_by_key(count);
    let Some(part) = part.filter(|part| count(part) >= MIN_PART_PX) else {
        return Err(Error::invalid("The line encloses nothing: draw around an area"));
    };
    let mut polygons = placed.outline(&part);
    for point in polygons.iter_mut().flatten().flatten() {
        point.x *= step;
        point.y *= step;
    }
    Ok(polygons)
}

/// The parts into which a stroke cuts an outline, the largest first. Pixels under the stroke go to
/// the nearest part.
///
/// # Errors
/// [`Error::Invalid`] if the stroke does not cut it into parts.
pub fn split(polygons: &[Polygon], stroke: &[Point]) -> Result<Vec<Vec<Polygon>>> {
    let placed = PlacedMask::filled(&SlideBounds::of_polygons(polygons), polygons)?;
    let whole = placed.mask.clone();
    let mut cut = whole.clone();
    for line in placed.grid.place(stroke).windows(2) {
        draw_line(&mut cut, line[0], line[1]);
    }
    let mut labels = Plane::filled(whole.width(), whole.height(), 0u32);
    let mut kept = 0;
    let mut found = parts(&cut);
    found.retain(|part| count(part) >= MIN_PART_PX);
    found.sort_by_key(|part| std::cmp::Reverse(count(part)));
    for part in &found {
        kept += 1;
        for (label, inside) in labels.data_mut().iter_mut().zip(part.data()) {
            if *inside {
                *label = kept;
            }
        }
    }
    if kept < 2 {
        return Err(Error::invalid("The stroke does not cut the nucleus: draw all the way across"));
    }
    extend_labels(&mut labels, &whole);
    let part = |label: u32| placed.outline(&labels.map(|l| l == label));
    Ok((1..=kept).map(part).collect())
}

/// One outline around several; gaps of up to 8 pixels between them are closed.
///
/// # Errors
/// [`Error::Invalid`] if they lie further apart.
pub fn merged(outlines: &[Vec<Polygon>]) -> Result<Vec<Polygon>> {
    let all: Vec<Polygon> = outlines.iter().flatten().cloned().collect();
    let bounds = SlideBounds::of_polygons(&all).expanded(MAX_GAP_PX as f64);
    let placed = PlacedMask::filled(&bounds, &all)?;
    for gap in 0..=MAX_GAP_PX / 2 {
        // Closing fills gaps of twice the distance.
        let closed = eroded(&dilated(&placed.mask, gap), gap);
        let mask = or(&closed, &placed.mask);
        if parts(&mask).len() == 1 {
            return Ok(placed.outline(&mask));
        }
    }
    Err(Error::invalid("These nuclei do not touch each other"))
}

fn count(mask: &Mask) -> usize {
    mask.data().iter().filter(|inside| **inside).count()
}

fn or(a: &Mask, b: &Mask) -> Mask {
    let mut both = a.clone();
    for (pixel, other) in both.data_mut().iter_mut().zip(b.data()) {
        *pixel |= *other;
    }
    both
}

/// The 4-connected pixels around `start` that have its value.
fn flood(mask: &Mask, start: usize, seen: &mut [bool]) -> Vec<usize> {
    let value = mask.data()[start];
    let mut pixels = vec![start];
    seen[start] = true;
    let mut next = 0;
    while next < pixels.len() {
        for neighbour in four_neighbours(pixels[next], mask.width(), mask.height()) {
            if !seen[neighbour] && mask.data()[neighbour] == value {
                seen[neighbour] = true;
                pixels.push(neighbour);
            }
        }
        next += 1;
    }
    pixels
}

/// The 4-connected parts.
fn parts(mask: &Mask) -> Vec<Mask> {
    let mut seen = vec![false; mask.data().len()];
    let mut all = Vec::new();
    for start in 0..mask.data().len() {
        if !mask.data()[start] || seen[start] {
            continue;
        }
        let mut part = Plane::filled(mask.width(), mask.height(), false);
        for pixel in flood(mask, start, &mut seen) {
            part.data_mut()[pixel] = true;
        }
        all.push(part);
    }
    all
}

/// Background that is connected to the first pixel, which the margin keeps free.
fn outside_of(mask: &Mask) -> Mask {
    let mut outside = Plane::filled(mask.width(), mask.height(), false);
    for pixel in flood(mask, 0, &mut vec![false; mask.data().len()]) {
        outside.data_mut()[pixel] = true;
    }
    outside
}

/// Clears the pixels of a line, 4-connected, so that nothing passes through it diagonally.
fn draw_line(mask: &mut Mask, from: Point, to: Point) {
    let steps = (to.x - from.x).abs().max((to.y - from.y).abs()).ceil().clamp(1.0, 1e5) * 4.0;
    let mut before: Option<(isize, isize)> = None;
    for i in 0..=steps as usize {
        let t = i as f64 / steps;
        let row = (from.y + (to.y - from.y) * t).floor() as isize;
        let column = (from.x + (to.x - from.x) * t).floor() as isize;
        clear(mask, row, column);
        if let Some((last_row, _)) = before.replace((row, column)) {
            clear(mask, last_row, column);
        }
    }
}

fn clear(mask: &mut Mask, row: isize, column: isize) {
    let (Ok(row), Ok(column)) = (usize::try_from(row), usize::try_from(column)) else { return };
    if row < mask.height() && column < mask.width() {
        mask.set(row, column, false);
    }
}

/// Gives the pixels of `whole` without label the label of the nearest part.
fn extend_labels(labels: &mut Plane<u32>, whole: &Mask) {
    let mut front: Vec<usize> =
        (0..labels.data().len()).filter(|pixel| labels.data()[*pixel] > 0).collect();
    while !front.is_empty() {
        let mut next = Vec::new();
        for pixel in front {
            for neighbour in four_neighbours(pixel, whole.width(), whole.height()) {
                if whole.data()[neighbour] && labels.data()[neighbour] == 0 {
                    labels.data_mut()[neighbour] = labels.data()[pixel];
                    next.push(neighbour);
                }
            }
        }
        front = next;
    }
}

/// Dilation by the four neighbours of a pixel, repeated.
fn dilated(mask: &Mask, times: usize) -> Mask {
    let mut dilated = mask.clone();
    for _ in 0..times {
        let before = dilated.clone();
        for pixel in 0..before.data().len() {
            if before.data()[pixel] {
                for neighbour in four_neighbours(pixel, before.width(), before.height()) {
                    dilated.data_mut()[neighbour] = true;
                }
            }
        }
    }
    dilated
}

/// Erosion: the dilation of the background.
fn eroded(mask: &Mask, times: usize) -> Mask {
    dilated(&mask.map(|inside| !inside), times).map(|outside| !outside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::doubled_area;

    fn points(all: &[(f64, f64)]) -> Vec<Point> {
        all.iter().map(|&(x, y)| Point { x, y }).collect()
    }

    fn rectangle(left: f64, top: f64, right: f64, bottom: f64) -> Vec<Polygon> {
        vec![vec![points(&[(left, top), (right, top), (right, bottom), (left, bottom)])]]
    }

    fn area(polygons: &[Polygon]) -> f64 {
        polygons.iter().flatten().map(|ring| doubled_area(ring) / 2.0).sum()
    }

    #[test]
    fn a_stroke_around_an_area_becomes_its_smooth_outline() {
        let circle: Vec<Point> = (0..60)
            .map(|i| f64::from(i) * std::f64::consts::TAU / 60.0)
            .map(|angle| Point { x: 1000.0 + 20.0 * angle.cos(), y: 500.0 + 20.0 * angle.sin() })
            .collect();
        let outline = closed_stroke(&circle).expect("outline");
        assert!((area(&outline) / (std::f64::consts::PI * 400.0) - 1.0).abs() < 0.03);
        let bounds = SlideBounds::of_polygons(&outline);
        assert!((bounds.left - 980.0).abs() < 1.5 && (bounds.bottom - 520.0).abs() < 1.5);
        assert!(polygons_are_valid(&outline, 100.0));
        // A figure of eight crosses itself: the larger lobe is kept.
        let eight = points(&[(0.0, 0.0), (30.0, 30.0), (30.0, 0.0), (0.0, 30.0)]);
        assert!(polygons_are_valid(&closed_stroke(&eight).expect("outline"), 100.0));
        assert!(closed_stroke(&points(&[(0.0, 0.0), (50.0, 0.0)])).is_err());
        assert!(closed_stroke(&[]).is_err());
        assert!(closed_stroke(&points(&[(0.0, 0.0), (9e9, 9.0), (0.0, 9e9)])).is_err());
        assert!(closed_stroke(&points(&[(f64::NAN, 0.0), (9.0, 9.0), (0.0, 9.0)])).is_err());
    }

    #[test]
    fn a_region_stays_as_it_was_drawn_unless_it_crosses_itself() {
        let corners = points(&[(0.0, 0.0), (9000.5, 0.0), (9000.5, 7000.0), (0.0, 7000.0)]);
        assert_eq!(closed_region(&corners).expect("region"), vec![vec![corners]]);
        // Once around and further: the lap is inside once.
        let lap: Vec<Point> = (0..80)
            .map(|i| f64::from(i) * std::f64::consts::TAU / 60.0)
            .map(|angle| Point { x: 9e4 + 8e3 * angle.cos(), y: 5e4 + 8e3 * angle.sin() })
            .collect();
        let region = closed_region(&lap).expect("region");
        assert!(polygons_are_valid(&region, 100.0));
        assert!((area(&region) / (std::f64::consts::PI * 64e6) - 1.0).abs() < 0.02);
        assert!(closed_region(&points(&[(0.0, 0.0), (50.0, 0.0)])).is_err());
        assert!(closed_region(&points(&[(0.0, 0.0), (9e9, 9.0), (0.0, 9e9)])).is_err());
        assert!(closed_region(&points(&[(f64::NAN, 0.0), (9.0, 9.0), (0.0, 9.0)])).is_err());
        assert!(closed_region(&[]).is_err());
    }

    #[test]
    fn a_stroke_across_cuts_in_two_and_nothing_is_lost() {
        let whole = rectangle(10.0, 10.0, 50.0, 30.0);
        let parts = split(&whole, &points(&[(30.0, 0.0), (33.0, 40.0)])).expect("parts");
        assert_eq!(parts.len(), 2);
        let total: f64 = parts.iter().map(|part| area(part)).sum();
        assert!((total / 800.0 - 1.0).abs() < 0.05, "{total}");
        assert!(area(&parts[0]) >= area(&parts[1]));
        assert!(split(&whole, &points(&[(30.0, 0.0), (30.0, 20.0)])).is_err(), "half way");
        assert!(split(&whole, &points(&[(90.0, 0.0), (90.0, 20.0)])).is_err(), "beside it");
        let zigzag = points(&[(20.0, 0.0), (20.0, 40.0), (40.0, 40.0), (40.0, 0.0)]);
        assert_eq!(split(&whole, &zigzag).expect("parts").len(), 3);
    }

    #[test]
    fn neighbours_merge_across_a_gap_and_strangers_do_not() {
        let left = rectangle(0.0, 0.0, 20.0, 20.0);
        let right = rectangle(23.0, 0.0, 40.0, 20.0);
        let one = merged(&[left.clone(), right.clone()]).expect("merged");
        assert_eq!(one.len(), 1);
        assert!(area(&one) > 740.0 && area(&one) < 810.0, "{}", area(&one));
        let far = rectangle(60.0, 0.0, 80.0, 20.0);
        assert!(merged(&[left, right, far]).is_err());
    }
}
