//! Connected components of a mask.

use super::{LabelMap, Mask, Plane};

/// Numbers the 8-connected components of a mask 1, 2, … in the order of their first pixel, row by
/// row. Flood fill with a stack of pixel indices: linear time, no recursion.
#[must_use]
pub fn label_components(mask: &Mask) -> LabelMap {
    let (w, h) = (mask.width(), mask.height());
    let mut labels: LabelMap = Plane::filled(w, h, 0);
    let mut stack = Vec::new();
    let mut next = 0;
    for start in 0..w * h {
        if !mask.data()[start] || labels.data()[start] != 0 {
            continue;
        }
        next += 1;
        labels.data_mut()[start] = next;
        stack.push(start);
        while let Some(pixel) = stack.pop() {
            let (row, column) = (pixel / w, pixel % w);
            // The 3 × 3 square around the pixel; the pixel itself is labelled already and is passed
            // over.
            for r in row.saturating_sub(1)..(row + 2).min(h) {
                for c in column.saturating_sub(1)..(column + 2).min(w) {
                    let neighbour = r * w + c;
                    if mask.data()[neighbour] && labels.data()[neighbour] == 0 {
                        labels.data_mut()[neighbour] = next;
                        stack.push(neighbour);
                    }
                }
            }
        }
    }
    labels
}

/// Indices of the pixels left, right, above and below of a pixel, fewer at the border.
pub(crate) fn four_neighbours(
    pixel: usize,
    width: usize,
    height: usize,
) -> impl Iterator<Item = usize> {
    let (row, column) = (pixel / width, pixel % width);
    let all = [
        (column > 0).then(|| pixel - 1),
        (column + 1 < width).then(|| pixel + 1),
        (row > 0).then(|| pixel - width),
        (row + 1 < height).then(|| pixel + width),
    ];
    all.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagonal_neighbours_are_connected_and_others_are_not() {
        let rows = ["#..#", ".#..", "...#"];
        let mask = Plane::from_vec(4, 3, rows.concat().chars().map(|c| c == '#').collect())
            .expect("plane");
        assert_eq!(label_components(&mask).data(), &[1, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 3]);
    }
}
