//! An image cut into blocks. Each block owns its pixels alone; what it reads around them is the
//! engine's affair.

/// A rectangle of output pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub row: usize,
    pub column: usize,
    pub width: usize,
    pub height: usize,
}

/// Blocks of at most `side × side` that cover the image once, row by row.
#[must_use]
pub fn blocks(width: usize, height: usize, side: usize) -> Vec<Block> {
    let starts = |n: usize| (0..n).step_by(side);
    starts(height)
        .flat_map(|row| starts(width).map(move |column| (row, column)))
        .map(|(row, column)| Block {
            row,
            column,
            width: side.min(width - column),
            height: side.min(height - row),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_belongs_to_exactly_one_block() {
        for (w, h, side) in [(10, 7, 4), (4, 4, 4), (1, 1, 9), (9, 1, 2)] {
            let mut owners = vec![0; w * h];
            for b in blocks(w, h, side) {
                for r in b.row..b.row + b.height {
                    owners[r * w + b.column..][..b.width].iter_mut().for_each(|n| *n += 1);
                }
            }
            assert!(owners.iter().all(|&n| n == 1), "{w}×{h} by {side}");
        }
    }
}
