//! Rules about whole regions: holes that are filled, objects too small to keep.

use crate::raster::{LabelMap, Mask};

/// Fills background regions (4-connected) of at most `max_px` pixels that do not touch the border.
pub fn fill_holes(mask: &mut Mask, max_px: usize) {
    if max_px == 0 {
        return;
    }
    let (w, h) = (mask.width(), mask.height());
    let mut seen = vec![false; w * h];
    let mut region = Vec::new();
    for start in 0..w * h {
        if seen[start] || mask.data()[start] {
            continue;
        }
        region.clear();
        region.push(start);
        seen[start] = true;
        let (mut next, mut open) = (0, false);
        while next < region.len() {
            let at = region[next];
            next += 1;
            let (row, column) = (at / w, at % w);
            open |= row == 0 || column == 0 || row + 1 == h || column + 1 == w;
            let mut visit = |near: usize| {
                if !seen[near] && !mask.data()[near] {
                    seen[near] = true;
                    region.push(near);
                }
            };
            if row > 0 {
                visit(at - w);
            }
            if row + 1 < h {
                visit(at + w);
            }
            if column > 0 {
                visit(at - 1);
            }
            if column + 1 < w {
                visit(at + 1);
            }
        }
        if !open && region.len() <= max_px {
            region.iter().for_each(|&i| mask.data_mut()[i] = true);
        }
    }
}

/// Drops objects of fewer than `min_px` pixels and numbers the rest in the order of their first
/// pixels.
pub fn without_small(mut labels: LabelMap, min_px: usize) -> LabelMap {
    let most = labels.data().iter().copied().max().unwrap_or(0) as usize;
    let mut areas = vec![0usize; most + 1];
    labels.data().iter().for_each(|&l| areas[l as usize] += 1);
    let mut numbers = vec![0u32; most + 1];
    let mut next = 0;
    for label in labels.data_mut() {
        let old = *label as usize;
        if old != 0 && areas[old] >= min_px && numbers[old] == 0 {
            next += 1;
            numbers[old] = next;
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
    fn only_small_closed_holes_are_filled() {
        let mut m = mask(&["#######", "#.##..#", "#####.#", "##.####", "##.####"]);
        fill_holes(&mut m, 2);
        assert_eq!(m, mask(&["#######", "####..#", "#####.#", "##.####", "##.####"]));
        fill_holes(&mut m, 3);
        assert_eq!(
            m,
            mask(&["#######", "#######", "#######", "##.####", "##.####"]),
            "the last one is open below"
        );
    }

    #[test]
    fn small_objects_go_and_numbers_close_up() {
        let labels = Plane::from_vec(6, 1, vec![7, 0, 3, 3, 9, 9]).expect("plane");
        assert_eq!(without_small(labels, 2).data(), &[0, 0, 1, 1, 2, 2]);
    }
}
