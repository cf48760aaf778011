//! A block with everything around it that decides its nuclei.

use crate::engine::{ALIGN_PX, Block};
use crate::model::CENTRE_PX;

/// Around a block, pixels: nuclei that reach over its border, and the neighbours that they are
/// split from, lie in here whole.
pub const MARGIN_PX: usize = 96;

/// Three rectangles, each inside the next, in the model's pixels:
///
/// ```text
/// ┌─ read: what the network needs for the window ─────┐
/// │ ┌─ window: where nuclei are looked for ─────────┐ │   window = block + MARGIN_PX on each side
/// │ │ ┌─ block: owns the nuclei with centroid here ┐ │ │   read   = window + CENTRE_PX, aligned
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHalo {
    /// Owns the nuclei with their centroid in it; in the model's pixels, like the others.
    pub block: Block,
    /// Where nuclei are looked for: the block and a margin, cut at the edges of the slide.
    pub window: Block,
    /// What the network is given: the window and its context, cut at the edges of the slide.
    pub read: Block,
}

impl BlockHalo {
    /// Of a block of a picture of that size.
    #[must_use]
    pub fn new(block: Block, width: usize, height: usize) -> Self {
        let window = expanded(block, MARGIN_PX, width, height);
        let mut read = expanded(window, CENTRE_PX, width, height);
        // The engine's tiles lie at fixed places of the image that it is given. With these at fixed
        // places of the slide, a pixel's probability has the same bits in whatever block it is
        // computed.
        let (bottom, right) = (read.row + read.height, read.column + read.width);
        read.row = read.row / ALIGN_PX * ALIGN_PX;
        read.column = read.column / ALIGN_PX * ALIGN_PX;
        read.height = bottom - read.row;
        read.width = right - read.column;
        Self { block, window, read }
    }
}

/// A block and `margin` pixels around it, as far as the picture goes.
fn expanded(block: Block, margin: usize, width: usize, height: usize) -> Block {
    let row = block.row.saturating_sub(margin);
    let column = block.column.saturating_sub(margin);
    let bottom = (block.row + block.height + margin).min(height);
    let right = (block.column + block.width + margin).min(width);
    Block { row, column, width: right - column, height: bottom - row }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::blocks;

    #[test]
    fn rectangles_lie_inside_each_other_and_inside_the_picture() {
        for block in blocks(900, 1000, 256) {
            let halo = BlockHalo::new(block, 900, 1000);
            let inside = |a: Block, b: Block| {
                a.row >= b.row
                    && a.column >= b.column
                    && a.row + a.height <= b.row + b.height
                    && a.column + a.width <= b.column + b.width
            };
            assert!(inside(halo.block, halo.window) && inside(halo.window, halo.read));
            assert_eq!((halo.read.row % ALIGN_PX, halo.read.column % ALIGN_PX), (0, 0));
            assert!(halo.read.column + halo.read.width <= 900);
        }
    }
}
