//! Polygon fill by scan lines: vertices are pixel-corner coordinates, and a pixel is inside when
//! its centre (column + 0.5, row + 0.5) is, by the even-odd rule.

/// A vertex: x is the column, y the row, in pixels, with (0, 0) the upper-left corner of the first
/// pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// To the right, pixels.
    pub x: f64,
    /// Down, pixels.
    pub y: f64,
}

/// Calls `span(row, first_column, end_column)` for each run of pixels whose centres lie inside,
/// clipped to the image. Fewer than three vertices, or a vertex that is not finite, fill nothing.
pub fn fill_polygon(
    vertices: &[Point],
    width: usize,
    height: usize,
    mut span: impl FnMut(usize, usize, usize),
) {
    if vertices.len() < 3 || vertices.iter().any(|p| !p.x.is_finite() || !p.y.is_finite()) {
        return;
    }
    let top = vertices.iter().map(|p| p.y).fold(f64::INFINITY, f64::min);
    let bottom = vertices.iter().map(|p| p.y).fold(f64::NEG_INFINITY, f64::max);
    let mut crossings = Vec::new();
    for row in first_centre(top, height)..first_centre(bottom, height) {
        // x of every edge that crosses the horizontal line through the row's pixel centres. An edge
        // holds its upper end and not its lower one, so a vertex on the line counts once.
        let y = row as f64 + 0.5;
        crossings.clear();
        for (i, a) in vertices.iter().enumerate() {
            let b = &vertices[(i + 1) % vertices.len()];
            if (a.y <= y) != (b.y <= y) {
                crossings.push(a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x));
            }
        }
        crossings.sort_by(f64::total_cmp);
        // Even-odd rule: inside between the first and second crossing, the third and fourth, and so
        // on. A closed polygon crosses a line an even number of times.
        for pair in crossings.chunks_exact(2) {
            let first = first_centre(pair[0], width);
            let end = first_centre(pair[1], width);
            if first < end {
                span(row, first, end);
            }
        }
    }
}

/// The first pixel whose centre is at or beyond `edge`, clipped to `0..=limit`.
fn first_centre(edge: f64, limit: usize) -> usize {
    let index = (edge - 0.5).ceil();
    if index <= 0.0 { 0 } else { (index as usize).min(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(vertices: &[(f64, f64)], width: usize, height: usize) -> Vec<(usize, usize, usize)> {
        let points: Vec<Point> = vertices.iter().map(|&(x, y)| Point { x, y }).collect();
        let mut spans = Vec::new();
        fill_polygon(&points, width, height, |r, a, b| spans.push((r, a, b)));
        spans
    }

    #[test]
    fn a_square_on_pixel_corners_fills_exactly_its_pixels() {
        assert_eq!(filled(&[(1., 1.), (3., 1.), (3., 3.), (1., 3.)], 9, 9), [(1, 1, 3), (2, 1, 3)]);
    }

    #[test]
    fn a_pixel_counts_when_its_centre_is_inside() {
        assert_eq!(filled(&[(0.6, 0.4), (2.6, 0.4), (2.6, 1.4), (0.6, 1.4)], 9, 9), [(0, 1, 3)]);
    }

    #[test]
    fn polygons_are_clipped_to_the_image_and_degenerate_ones_fill_nothing() {
        assert_eq!(filled(&[(-5., -5.), (1., -5.), (1., 1.), (-5., 1.)], 4, 4), [(0, 0, 1)]);
        assert!(filled(&[(0., 0.), (5., 5.)], 9, 9).is_empty());
        assert!(filled(&[(0., 0.), (f64::NAN, 5.), (5., 0.)], 9, 9).is_empty());
    }

    #[test]
    fn two_polygons_that_share_an_edge_neither_overlap_nor_leave_a_gap() {
        let mut counts = vec![0; 100];
        for shape in [&[(0., 0.), (10., 0.), (0., 10.)], &[(10., 10.), (10., 0.), (0., 10.)]] {
            for (r, a, b) in filled(shape, 10, 10) {
                counts[r * 10 + a..r * 10 + b].iter_mut().for_each(|n| *n += 1);
            }
        }
        assert!(counts.iter().all(|&n| n == 1));
    }
}
