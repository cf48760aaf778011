//! An image split into blocks. Blocks do not overlap; the context that an engine reads around each
//! is added by the engine.

use serde::{Deserialize, Serialize};

/// A rectangle of output pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// First row in the image.
    pub row: usize,
    /// First column in the image.
    pub column: usize,
    /// Columns, pixels.
    pub width: usize,
    /// Rows, pixels.
    pub height: usize,
}

impl Block {
    /// Whether a place, x and y in pixels, lies in it; its right and lower edges do not.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        x >= self.column as f64
            && x < (self.column + self.width) as f64
            && y >= self.row as f64
            && y < (self.row + self.height) as f64
    }
}

/// Blocks of at most `side × side` pixels that cover the image once, row by row.
#[must_use]
pub fn blocks(width: usize, height: usize, side: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    for row in (0..height).step_by(side) {
        for column in (0..width).step_by(side) {
            blocks.push(Block {
                row,
                column,
                width: side.min(width - column),
                height: side.min(height - row),
            });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_belongs_to_exactly_one_block() {
        for (width, height, side) in [(10, 7, 4), (4, 4, 4), (1, 1, 9), (9, 1, 2)] {
            let mut owners = vec![0; width * height];
            for block in blocks(width, height, side) {
                for row in block.row..block.row + block.height {
                    for owner in &mut owners[row * width + block.column..][..block.width] {
                        *owner += 1;
                    }
                }
            }
            assert!(owners.iter().all(|&n| n == 1), "{width}×{height} by {side}");
        }
    }
}
