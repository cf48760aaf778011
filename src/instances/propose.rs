//! Proposes a nucleus around a point: the most stable region of the probabilities that holds it
//! (maximally stable extremal regions: Matas, Chum, Urban & Pajdla 2002).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::outline_of_mask;
use crate::raster::{Plane, Polygon, four_neighbours};

/// Largest region, median areas.
const MAX_AREA: f64 = 4.0;
/// Smallest region, median areas.
const MIN_AREA: f64 = 0.25;
/// Least probability of a region, of 255.
const MIN_PROBABILITY: u8 = 13;
/// Steps of probability over which stability is judged, of 255.
const STABILITY_STEPS: usize = 10;

/// The outline of the region around a pixel. For each threshold up to the pixel's own probability
/// there is one connected region that holds it; of those between a quarter of the median area and
/// four of them, the one is taken whose area changes least with the threshold, of equal ones the
/// one of the highest threshold. None if there is no such region.
#[must_use]
pub fn proposed_outline(
    probabilities: &Plane<u8>,
    row: usize,
    column: usize,
    median_area_px: f64,
) -> Option<Vec<Polygon>> {
    let (width, height) = (probabilities.width(), probabilities.height());
    if row >= height || column >= width {
        return None;
    }
    let max_area = (median_area_px * MAX_AREA).max(1.0) as usize;
    let min_area = ((median_area_px * MIN_AREA) as usize).max(1);
    // The pixels in the order in which a falling threshold reaches them, and by threshold the
    // number of pixels reached.
    let mut reached = Vec::new();
    let mut areas = [0usize; 256];
    let mut seen = vec![false; width * height];
    let start = row * width + column;
    let highest = probabilities.data()[start];
    let mut threshold = highest;
    seen[start] = true;
    // Ties in the order of the pixels, so that the result is the same on every machine.
    let mut front = BinaryHeap::from([(highest, Reverse(start))]);
    while let Some((probability, Reverse(pixel))) = front.pop() {
        // Everything above this pixel's probability is reached.
        while threshold > probability.max(MIN_PROBABILITY - 1) {
            areas[usize::from(threshold)] = reached.len();
            threshold -= 1;
        }
        if probability < MIN_PROBABILITY || reached.len() > max_area {
            break;
        }
        reached.push(pixel);
        for neighbour in four_neighbours(pixel, width, height) {
            if !seen[neighbour] {
                seen[neighbour] = true;
                front.push((probabilities.data()[neighbour], Reverse(neighbour)));
            }
        }
    }
    let highest = usize::from(highest);
    let lowest = usize::from(threshold) + 1;
    let mut best: Option<(f64, usize)> = None;
    for at in (lowest..=highest).rev() {
        let area = areas[at];
        if !(min_area..=max_area).contains(&area) {
            continue;
        }
        let larger = areas[at.saturating_sub(STABILITY_STEPS).max(lowest)];
        let smaller = areas[(at + STABILITY_STEPS).min(highest)];
        let change = (larger - smaller) as f64 / area as f64;
        if best.is_none_or(|(least, _)| change < least) {
            best = Some((change, area));
        }
    }
    let (_, area) = best?;
    let mut mask = Plane::filled(width, height, false);
    for pixel in &reached[..area] {
        mask.data_mut()[*pixel] = true;
    }
    super::regions::fill_holes(&mut mask, max_area);
    Some(outline_of_mask(&mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::doubled_area;

    /// A faint disc of radius 10 around (30, 30) with a soft edge, on a background of 20.
    fn faint() -> Plane<u8> {
        let mut map = Plane::filled(90, 60, 20u8);
        for row in 0..60 {
            for column in 0..90 {
                let distance = (row as f64 - 30.0).hypot(column as f64 - 30.0);
                let edge = ((11.0 - distance) * 30.0).clamp(0.0, 60.0);
                map.set(row, column, 20 + edge as u8 + u8::from(distance < 4.0) * 15);
            }
        }
        map
    }

    fn area(outline: &[Polygon]) -> f64 {
        outline.iter().flatten().map(|ring| doubled_area(ring) / 2.0).sum()
    }

    #[test]
    fn a_missed_nucleus_is_proposed_from_any_of_its_pixels() {
        let map = faint();
        let disc = std::f64::consts::PI * 100.0;
        for (row, column) in [(30, 30), (24, 33), (30, 38)] {
            let outline = proposed_outline(&map, row, column, 300.0).expect("a region");
            assert!((area(&outline) / disc - 1.0).abs() < 0.25, "{} {row}", area(&outline));
        }
    }

    #[test]
    fn background_is_no_nucleus_and_neither_is_what_is_too_large() {
        let map = faint();
        assert!(proposed_outline(&map, 5, 80, 300.0).is_none(), "larger than four medians");
        assert!(proposed_outline(&map, 30, 30, 20.0).is_some_and(|o| area(&o) < 81.0));
        assert!(proposed_outline(&map, 60, 0, 300.0).is_none());
        assert!(proposed_outline(&Plane::filled(9, 9, 5), 4, 4, 9.0).is_none());
    }
}
