//! Mirrored borders: the edge pixel is not repeated, and the pattern continues periodically, so a
//! window may be larger than the image.

use super::Plane;

/// Index inside `0..len` of the pixel at `index` of a line that is mirrored at both ends:
///
/// ```text
/// index    … -2 -1  0  1  2 … n-1  n  n+1 …
/// pixel    …  2  1  0  1  2 … n-1 n-2 n-3 …
/// ```
#[must_use]
pub fn mirror_index(index: isize, len: usize) -> usize {
    if len <= 1 {
        return 0;
    }
    let period = 2 * (len - 1);
    // The mirrored line repeats after 2 (n − 1) pixels: once forwards, once back, ends not doubled.
    let folded = index.rem_euclid(period.cast_signed()).cast_unsigned();
    if folded < len { folded } else { period - folded }
}

/// The values of the rectangle whose upper-left pixel is (`row`, `column`), row by row. Outside of
/// the plane its borders are mirrored.
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
    fn the_edge_is_not_repeated_and_short_lines_fold_several_times() {
        let indices: Vec<usize> = (-4..8).map(|i| mirror_index(i, 3)).collect();
        assert_eq!(indices, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(mirror_index(-27, 1), 0);
    }

    #[test]
    fn a_window_beyond_the_plane_holds_mirrored_values() {
        let plane = Plane::from_vec(2, 1, vec![7, 8]).expect("plane");
        assert_eq!(mirrored_window(&plane, -1, -1, 4, 2), [8, 7, 8, 7, 8, 7, 8, 7]);
    }
}
