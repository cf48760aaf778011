//! Fills holes and drops small objects.

use crate::raster::{LabelMap, Mask, four_neighbours};

/// Fills background regions (4-connected) of at most `max_px` pixels that do not touch the border.
pub(super) fn fill_holes(mask: &mut Mask, max_px: usize) {
    if max_px == 0 {
        return;
    }
    let (w, h) = (mask.width(), mask.height());
    let mut visited = vec![false; w * h];
    // Pixels of the current region; those from `next` on still have to be expanded.
    let mut region = Vec::new();
    for start in 0..w * h {
        if visited[start] || mask.data()[start] {
            continue;
        }
        region.clear();
        region.push(start);
        visited[start] = true;
        let mut next = 0;
        let mut touches_border = false;
        while next < region.len() {
            let pixel = region[next];
            next += 1;
            // Background is 4-connected because objects are 8-connected: a diagonal line of object
            // pixels separates the two sides.
            let (row, column) = (pixel / w, pixel % w);
            if row == 0 || column == 0 || row + 1 == h || column + 1 == w {
                touches_border = true;
            }
            for neighbour in four_neighbours(pixel, w, h) {
                if !visited[neighbour] && !mask.data()[neighbour] {
                    visited[neighbour] = true;
                    region.push(neighbour);
                }
            }
        }
        if !touches_border && region.len() <= max_px {
            for &pixel in &region {
                mask.data_mut()[pixel] = true;
            }
        }
    }
}

/// Drops objects of fewer than `min_px` pixels and numbers the rest in the order of their first
/// pixels.
pub(super) fn without_small(mut labels: LabelMap, min_px: usize) -> LabelMap {
    let highest = labels.data().iter().copied().max().unwrap_or(0) as usize;
    let mut areas = vec![0usize; highest + 1];
    for &label in labels.data() {
        areas[label as usize] += 1;
    }
    // New number of each label; 0 for background, dropped objects and those not met yet.
    let mut numbers = vec![0u32; highest + 1];
    let mut count = 0;
    for label in labels.data_mut() {
        let old = *label as usize;
        if old != 0 && areas[old] >= min_px && numbers[old] == 0 {
            count += 1;
            numbers[old] = count;
        }
        *label = numbers[old];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    fn mask(rows: &[&str]) -> Mask {
        Plane::from_vec(
            rows[0].len(),
            rows.len(),
            rows.concat().chars().map(|c| c == '#').collect(),
        )
        .expect("plane")
    }

    #[test]
    fn only_small_holes_that_do_not_touch_the_border_are_filled() {
        let mut m = mask(&["#######", "#.##..#", "#####.#", "##.####", "##.####"]);
        fill_holes(&mut m, 2);
        assert_eq!(m, mask(&["#######", "####..#", "#####.#", "##.####", "##.####"]));
        fill_holes(&mut m, 3);
        assert_eq!(
            m,
            mask(&["#######", "#######", "#######", "##.####", "##.####"]),
            "the last one touches the border"
        );
    }

    #[test]
    fn small_objects_are_dropped_and_the_others_renumbered() {
        let labels = Plane::from_vec(6, 1, vec![7, 0, 3, 3, 9, 9]).expect("plane");
        assert_eq!(without_small(labels, 2).data(), &[0, 0, 1, 1, 2, 2]);
    }
}
