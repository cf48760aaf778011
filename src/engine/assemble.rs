//! From logits to a probability map: blocks written in place, or a coarse grid interpolated.

use super::block::Block;
use crate::error::Result;
use crate::model::Head;
use crate::raster::{Plane, ProbabilityMap};

/// Writes a block's probabilities into the map and gives them, row by row.
pub fn write_block(out: &mut ProbabilityMap, block: Block, logits: &[f32], head: Head) -> Vec<f32> {
    let values: Vec<f32> = logits.chunks_exact(2).map(|z| head.probability([z[0], z[1]])).collect();
    for (y, row) in values.chunks_exact(block.width).enumerate() {
        out.row_mut(block.row + y)[block.column..][..block.width].copy_from_slice(row);
    }
    values
}

/// Every `stride`-th pixel of an image.
#[derive(Debug)]
pub struct StrideGrid {
    width: usize,
    height: usize,
    stride: usize,
    columns: usize,
    values: Vec<f32>,
}

impl StrideGrid {
    pub fn new(width: usize, height: usize, stride: usize) -> Self {
        let (columns, rows) = (width.div_ceil(stride), height.div_ceil(stride));
        Self { width, height, stride, columns, values: vec![0.0; columns * rows] }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Image row and column of `count` grid points.
    pub fn places(&self, first: usize, count: usize) -> Vec<(usize, usize)> {
        let place = |i: usize| {
            let (row, column) = (i / self.columns, i % self.columns);
            (grid_place(row, self.stride, self.height), grid_place(column, self.stride, self.width))
        };
        (first..first + count).map(place).collect()
    }

    pub fn put(&mut self, first: usize, logits: &[f32], head: Head) {
        for (p, z) in self.values[first..].iter_mut().zip(logits.chunks_exact(2)) {
            *p = head.probability([z[0], z[1]]);
        }
    }

    /// The map at full size, bilinear between grid points.
    pub fn finish(self) -> Result<ProbabilityMap> {
        let rows = self.values.len() / self.columns.max(1);
        let coarse = Plane::from_vec(self.columns, rows, self.values)?;
        Ok(spread(coarse, self.width, self.height, self.stride))
    }
}

/// Image rows or columns, of `side` in all, on which a network answers at a stride; what lies
/// between is interpolated.
pub fn grid_lines(side: usize, stride: usize) -> Vec<usize> {
    (0..side.div_ceil(stride.max(1))).map(|index| grid_place(index, stride.max(1), side)).collect()
}

/// Image row or column of grid line `index`: the middle of its cell, so that a stride of 1 is every
/// pixel.
fn grid_place(index: usize, stride: usize, side: usize) -> usize {
    (index * stride + stride / 2).min(side - 1)
}

fn spread(coarse: ProbabilityMap, width: usize, height: usize, stride: usize) -> ProbabilityMap {
    if stride == 1 {
        return coarse;
    }
    let along = |i: usize, count: usize, side: usize| {
        let low = (i.saturating_sub(stride / 2) / stride).min(count - 1);
        let high = (low + 1).min(count - 1);
        let (a, b) = (grid_place(low, stride, side), grid_place(high, stride, side));
        let share =
            if a == b { 0.0 } else { ((i as f32 - a as f32) / (b - a) as f32).clamp(0.0, 1.0) };
        (low, high, share)
    };
    let mut out = Plane::filled(width, height, 0.0);
    for row in 0..height {
        let (r0, r1, fr) = along(row, coarse.height(), height);
        for column in 0..width {
            let (c0, c1, fc) = along(column, coarse.width(), width);
            let mix = |r: usize| coarse.get(r, c0) * (1.0 - fc) + coarse.get(r, c1) * fc;
            out.set(row, column, mix(r0) * (1.0 - fr) + mix(r1) * fr);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_its_lines_a_grid_keeps_what_was_answered() {
        let (width, height, stride) = (21, 13, 4);
        let mut grid = StrideGrid::new(width, height, stride);
        let logits: Vec<f32> = (0..grid.len()).flat_map(|i| [0.0, (i % 7) as f32 - 3.0]).collect();
        grid.put(0, &logits, Head::Softmax);
        let (answers, map) = (grid.values.clone(), grid.finish().expect("map"));
        let (rows, columns) = (grid_lines(height, stride), grid_lines(width, stride));
        assert_eq!((rows.as_slice(), columns.last()), (&[2, 6, 10, 12][..], Some(&20)));
        let on_lines = rows.iter().flat_map(|&r| columns.iter().map(move |&c| (r, c)));
        assert_eq!(on_lines.map(|(r, c)| map.get(r, c)).collect::<Vec<_>>(), answers);
        assert_eq!(grid_lines(5, 1), [0, 1, 2, 3, 4]);
    }
}
