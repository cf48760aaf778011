//! Mirrored borders: the edge pixel is not repeated, and a mirror of a mirror continues the
//! pattern, so any image size works.

use super::Plane;

/// Index inside `0..len` that `index` shows when the line is mirrored at both ends (… 2 1 0 1 2 …
/// len-1 len-2 …).
#[must_use]
pub fn mirror_index(index: isize, len: usize) -> usize {
    if len <= 1 {
        return 0;
    }
    let period = 2 * (len - 1);
    let folded = index.rem_euclid(period.cast_signed()).cast_unsigned();
    if folded < len { folded } else { period - folded }
}

/// The rectangle at (`row`, `column`), which may lie partly or wholly outside, with mirrored
/// borders.
#[must_use]
pub fn mirrored_window<T: Copy>(
    plane: &Plane<T>,
    row: isize,
    column: isize,
    width: usize,
    height: usize,
) -> Vec<T> {
    let columns: Vec<usize> =
        (0..width).map(|x| mirror_index(column + x.cast_signed(), plane.width())).collect();
    let mut out = Vec::with_capacity(width * height);
    for y in 0..height {
        let source = plane.row(mirror_index(row + y.cast_signed(), plane.height()));
        out.extend(columns.iter().map(|&x| source[x]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_not_repeated_and_small_lines_fold_many_times() {
        let seen: Vec<usize> = (-4..8).map(|i| mirror_index(i, 3)).collect();
        assert_eq!(seen, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(mirror_index(-27, 1), 0);
    }

    #[test]
    fn a_window_outside_repeats_the_mirror() {
        let plane = Plane::from_vec(2, 1, vec![7, 8]).expect("plane");
        assert_eq!(mirrored_window(&plane, -1, -1, 4, 2), [8, 7, 8, 7, 8, 7, 8, 7]);
    }
}
