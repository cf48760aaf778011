//! From logits to a probability map: blocks written in place, or a coarse grid upsampled.

use super::block::Block;
use crate::error::Result;
use crate::model::Head;
use crate::raster::{Plane, ProbabilityMap};

/// Writes the probabilities of a block into the map and returns them, row by row. `logits` is
/// `[row][column][class]` with two classes.
pub(super) fn write_block(
    out: &mut ProbabilityMap,
    block: Block,
    logits: &[f32],
    head: Head,
) -> Vec<f32> {
    let mut probabilities = Vec::with_capacity(logits.len() / 2);
    for pixel in logits.chunks_exact(2) {
        probabilities.push(head.probability([pixel[0], pixel[1]]));
    }
    for (y, row) in probabilities.chunks_exact(block.width).enumerate() {
        out.row_mut(block.row + y)[block.column..][..block.width].copy_from_slice(row);
    }
    probabilities
}

/// Probabilities of every `stride`-th pixel of an image, row by row.
#[derive(Debug)]
pub(super) struct StrideGrid {
    width: usize,
    height: usize,
    stride: usize,
    /// Grid points in a row.
    columns: usize,
    values: Vec<f32>,
}

impl StrideGrid {
    /// A grid of zeros for an image of `width × height` pixels.
    pub(super) fn new(width: usize, height: usize, stride: usize) -> Self {
        let columns = width.div_ceil(stride);
        let rows = height.div_ceil(stride);
        Self { width, height, stride, columns, values: vec![0.0; columns * rows] }
    }

    /// Number of grid points.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Image (row, column) of `count` grid points from `first` on.
    pub(super) fn places(&self, first: usize, count: usize) -> Vec<(usize, usize)> {
        let mut pixels = Vec::with_capacity(count);
        for point in first..first + count {
            let row = grid_line(point / self.columns, self.stride, self.height);
            let column = grid_line(point % self.columns, self.stride, self.width);
            pixels.push((row, column));
        }
        pixels
    }

    /// Stores the probabilities of grid points from `first` on; `logits` is `[point][class]` with
    /// two classes.
    pub(super) fn put(&mut self, first: usize, logits: &[f32], head: Head) {
        for (value, point) in self.values[first..].iter_mut().zip(logits.chunks_exact(2)) {
            *value = head.probability([point[0], point[1]]);
        }
    }

    /// The map at full size, bilinear between grid points.
    pub(super) fn finish(self) -> Result<ProbabilityMap> {
        let rows = self.values.len() / self.columns.max(1);
        let coarse = Plane::from_vec(self.columns, rows, self.values)?;
        Ok(upsample(coarse, self.width, self.height, self.stride))
    }
}

/// Image rows (or columns), of `side` in all, that a network evaluates at a stride; those between
/// are interpolated.
pub(super) fn grid_lines(side: usize, stride: usize) -> Vec<usize> {
    let stride = stride.max(1);
    (0..side.div_ceil(stride)).map(|index| grid_line(index, stride, side)).collect()
}

/// Image row or column of grid line `index`: the middle of its cell, so that a stride of 1 gives
/// every pixel.
fn grid_line(index: usize, stride: usize, side: usize) -> usize {
    (index * stride + stride / 2).min(side - 1)
}

/// The two grid lines that an image row or column lies between.
struct Neighbours {
    low: usize,
    high: usize,
    /// Weight of `high`, 0 to 1; `low` has the rest.
    weight: f32,
}

/// Neighbours of image row (or column) `at`, of `side` in all, on a grid of `lines` lines.
fn neighbours(at: usize, side: usize, lines: usize, stride: usize) -> Neighbours {
    // Grid line i lies at i · stride + stride / 2, except the last one, which may be moved inwards.
    let low = (at.saturating_sub(stride / 2) / stride).min(lines - 1);
    let high = (low + 1).min(lines - 1);
    let low_at = grid_line(low, stride, side);
    let high_at = grid_line(high, stride, side);
    let weight = if low_at == high_at {
        0.0
    } else {
        ((at as f32 - low_at as f32) / (high_at - low_at) as f32).clamp(0.0, 1.0)
    };
    Neighbours { low, high, weight }
}

/// Bilinear interpolation to `width × height` pixels; beyond the outer grid lines the value of the
/// nearest.
fn upsample(coarse: ProbabilityMap, width: usize, height: usize, stride: usize) -> ProbabilityMap {
    if stride == 1 {
        return coarse;
    }
    let mut out = Plane::filled(width, height, 0.0);
    for row in 0..height {
        let rows = neighbours(row, height, coarse.height(), stride);
        for column in 0..width {
            let columns = neighbours(column, width, coarse.width(), stride);
            let upper = along_row(&coarse, rows.low, &columns);
            let lower = along_row(&coarse, rows.high, &columns);
            out.set(row, column, upper * (1.0 - rows.weight) + lower * rows.weight);
        }
    }
    out
}

fn along_row(coarse: &ProbabilityMap, row: usize, columns: &Neighbours) -> f32 {
    coarse.get(row, columns.low) * (1.0 - columns.weight)
        + coarse.get(row, columns.high) * columns.weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_grid_points_the_map_holds_their_own_values() {
        let (width, height, stride) = (21, 13, 4);
        let mut grid = StrideGrid::new(width, height, stride);
        let logits: Vec<f32> = (0..grid.len()).flat_map(|i| [0.0, (i % 7) as f32 - 3.0]).collect();
        grid.put(0, &logits, Head::Softmax);
        let values = grid.values.clone();
        let map = grid.finish().expect("map");
        let rows = grid_lines(height, stride);
        let columns = grid_lines(width, stride);
        assert_eq!(rows, [2, 6, 10, 12]);
        assert_eq!(columns, [2, 6, 10, 14, 18, 20]);
        for (r, &row) in rows.iter().enumerate() {
            for (c, &column) in columns.iter().enumerate() {
                let value = map.get(row, column);
                assert_eq!(value.to_bits(), values[r * columns.len() + c].to_bits());
            }
        }
        assert_eq!(grid_lines(5, 1), [0, 1, 2, 3, 4]);
    }
}
