//! Which parts of an image teaching reads: rectangles around the marks, never the whole of a slide.

use crate::dataset::SparseLabels;
use crate::engine::Block;
use crate::error::{Error, Result};
use crate::model::CENTRE_PX;

/// Tissue around marks that is read too, pixels of the model: the context of a patch, and pixels
/// that nobody marked, where the model must stay as it is.
const MARGIN_PX: usize = 96;
/// Least side of a window, pixels of the model, where the image is as large.
const LEAST_SIDE_PX: usize = 256;
/// Most pixels of all windows together.
const MAX_PX: usize = 64_000_000;

/// A rectangle to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeachWindow {
    /// In the whole image, pixels of the model.
    pub block: Block,
    /// Pixels of the window, counted from its corner, whose surroundings it shows.
    pub inside: Block,
}

/// Windows that do not overlap and hold all marks that lie inside an image of `width` × `height`
/// pixels of the model. A pixel of the model spans `scale` pixels of the finest level, in which
/// marks are.
///
/// # Errors
/// [`Error::Mismatch`] where no mark lies inside the image; [`Error::Limit`] where they are too far
/// apart or too large.
pub fn teach_windows(
    labels: &SparseLabels,
    scale: f64,
    width: usize,
    height: usize,
) -> Result<Vec<TeachWindow>> {
    let mut windows: Vec<Extent> = Vec::new();
    for mark in &labels.marks {
        let bounds = mark.bounds();
        let rows = side_of(bounds.top / scale, bounds.bottom / scale, height);
        let columns = side_of(bounds.left / scale, bounds.right / scale, width);
        let (Some([top, bottom]), Some([left, right])) = (rows, columns) else { continue };
        add(&mut windows, Extent { top, bottom, left, right });
    }
    if windows.is_empty() {
        return Err(Error::mismatch(format!(
            "No mark of {} lies inside the image; do they belong together?",
            labels.marks.len()
        )));
    }
    let pixels: usize = windows.iter().map(Extent::pixels).sum();
    if pixels > MAX_PX {
        return Err(Error::limit(format!(
            "The marks cover {} megapixels with what lies around them; at most {} are learned from \
             at once",
            pixels / 1_000_000,
            MAX_PX / 1_000_000
        )));
    }
    windows.sort_by_key(|window| (window.top, window.left));
    Ok(windows.iter().map(|window| window.placed(width, height)).collect())
}

/// A rectangle; lower and right edges are not part of it.
#[derive(Debug, Clone, Copy)]
struct Extent {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
}

impl Extent {
    fn pixels(&self) -> usize {
        (self.bottom - self.top).saturating_mul(self.right - self.left)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.top < other.bottom
            && other.top < self.bottom
            && self.left < other.right
            && other.left < self.right
    }

    fn around(&self, other: &Self) -> Self {
        Self {
            top: self.top.min(other.top),
            bottom: self.bottom.max(other.bottom),
            left: self.left.min(other.left),
            right: self.right.max(other.right),
        }
    }

    fn placed(&self, width: usize, height: usize) -> TeachWindow {
        let block = Block {
            row: self.top,
            column: self.left,
            width: self.right - self.left,
            height: self.bottom - self.top,
        };
        // Towards the edge of the image the network sees it mirrored, elsewhere what is not read.
        let cut = |is_edge: bool| if is_edge { 0 } else { CENTRE_PX };
        let row = cut(self.top == 0);
        let column = cut(self.left == 0);
        let inside = Block {
            row,
            column,
            width: block.width.saturating_sub(column + cut(self.right == width)),
            height: block.height.saturating_sub(row + cut(self.bottom == height)),
        };
        TeachWindow { block, inside }
    }
}

/// Adds a window; those that it meets become one with it.
fn add(windows: &mut Vec<Extent>, mut window: Extent) {
    while let Some(index) = windows.iter().position(|other| other.overlaps(&window)) {
        window = window.around(&windows.swap_remove(index));
    }
    windows.push(window);
}

/// The side of a window from the ends of a mark, clipped to the image; none for a mark outside.
fn side_of(first: f64, last: f64, len: usize) -> Option<[usize; 2]> {
    if !(last >= 0.0 && first <= len as f64) {
        return None;
    }
    let first = first.max(0.0) as usize;
    let last = (last.ceil() as usize).min(len);
    let missing = LEAST_SIDE_PX.saturating_sub(last.saturating_sub(first) + 2 * MARGIN_PX);
    let margin = MARGIN_PX + missing.div_ceil(2);
    let end = (last + margin).max(LEAST_SIDE_PX).min(len);
    let start = first.saturating_sub(margin).min(end.saturating_sub(LEAST_SIDE_PX));
    Some([start, end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::LabelMark;
    use crate::raster::Point;

    fn marks(corners: &[[f64; 2]]) -> SparseLabels {
        let mut labels = SparseLabels::default();
        for [x, y] in corners {
            let points = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)];
            let ring = points.map(|(dx, dy)| Point { x: x + dx, y: y + dy }).to_vec();
            labels.marks.push(LabelMark::Background { polygons: vec![vec![ring]] });
        }
        labels
    }

    #[test]
    fn windows_hold_marks_with_their_surroundings_and_do_not_overlap() {
        let places = [[5000.0, 7000.0], [5100.0, 7050.0], [20.0, 30.0], [90_000.0, 100.0]];
        for (scale, count) in [(1.0, 2), (2.0, 3)] {
            let (width, height) = (50_000, 40_000);
            let windows = teach_windows(&marks(&places), scale, width, height).expect("windows");
            assert_eq!(windows.len(), count, "what lies outside has none");
            for [x, y] in places.iter().filter(|[x, _]| x / scale < width as f64) {
                let (column, row) = ((x / scale) as usize, (y / scale) as usize);
                let holds = |window: &&TeachWindow| {
                    let TeachWindow { block, inside } = window;
                    row >= block.row + inside.row
                        && row < block.row + inside.row + inside.height
                        && column >= block.column + inside.column
                        && column < block.column + inside.column + inside.width
                };
                assert_eq!(windows.iter().filter(holds).count(), 1, "{x} {y}");
            }
            for window in &windows {
                let TeachWindow { block, inside } = window;
                assert!(block.width >= LEAST_SIDE_PX && block.width < 1000);
                assert_eq!(inside.row, if block.row == 0 { 0 } else { CENTRE_PX });
            }
        }
    }

    #[test]
    fn small_images_are_read_whole_and_marks_outside_are_refused() {
        let windows = teach_windows(&marks(&[[10.0, 10.0]]), 1.0, 200, 100).expect("windows");
        let whole = Block { row: 0, column: 0, width: 200, height: 100 };
        assert_eq!(windows, [TeachWindow { block: whole, inside: whole }]);
        let error = teach_windows(&marks(&[[900.0, 10.0]]), 1.0, 200, 100).expect_err("outside");
        assert!(error.to_string().contains("belong together"), "{error}");
    }
}
