//! Another pixel size: areas are averaged where pixels grow, lines are drawn between pixels where
//! they shrink. Each output pixel depends on its place in the whole picture alone, so blocks meet
//! without seams.

use crate::error::Result;
use crate::raster::{Plane, RgbImage};

/// One direction of a resampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// Source pixels that an output pixel spans.
    pub step: f64,
    /// Output pixels.
    pub len: usize,
    /// Source pixels.
    pub source: usize,
}

/// Source pixels of one output pixel, from the first on, and their shares.
#[derive(Debug, Clone, PartialEq)]
pub struct ResampleWeights {
    first: usize,
    shares: Vec<f32>,
}

impl Axis {
    /// `source` pixels as `len`.
    #[must_use]
    pub fn new(len: usize, source: usize) -> Self {
        Self { step: source as f64 / len as f64, len, source }
    }

    /// Whether output is source.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.len == self.source
    }

    /// First and last source pixel (exclusive) of a run of output pixels.
    #[must_use]
    pub fn needs(&self, from: usize, count: usize) -> (usize, usize) {
        if self.is_same() {
            return (from, from + count);
        }
        let first = self.at(from).first;
        let last = self.at(from + count - 1);
        (first, last.first + last.shares.len())
    }

    /// Weights of a run, source positions counted from `origin`.
    #[must_use]
    pub fn weights(&self, from: usize, count: usize, origin: usize) -> Vec<ResampleWeights> {
        let own = |i| {
            let w = self.at(i);
            ResampleWeights { first: w.first - origin, ..w }
        };
        (from..from + count).map(own).collect()
    }

    fn at(&self, index: usize) -> ResampleWeights {
        let last = self.source - 1;
        if self.step <= 1.0 {
            let centre = ((index as f64 + 0.5) * self.step - 0.5).clamp(0.0, last as f64);
            let first = centre as usize;
            let share = (centre - first as f64) as f32;
            let shares = if share == 0.0 { vec![1.0] } else { vec![1.0 - share, share] };
            return ResampleWeights { first, shares };
        }
        let (from, to) =
            (index as f64 * self.step, ((index + 1) as f64 * self.step).min(self.source as f64));
        let (first, end) =
            (from as usize, (to.ceil() as usize).clamp(from as usize + 1, self.source));
        let covered = |i: usize| ((i + 1) as f64).min(to) - (i as f64).max(from);
        let shares = (first..end).map(|i| (covered(i) / (to - from)) as f32).collect();
        ResampleWeights { first, shares }
    }
}

/// Applies the weights of columns, then of rows.
///
/// # Errors
/// None in practice.
pub fn resampled(
    source: &RgbImage,
    columns: &[ResampleWeights],
    rows: &[ResampleWeights],
) -> Result<RgbImage> {
    let mix = |pixels: &mut dyn Iterator<Item = ([f32; 3], f32)>| {
        pixels.fold([0.0f32; 3], |sum, (p, share)| std::array::from_fn(|c| sum[c] + p[c] * share))
    };
    let mut narrow: Vec<[f32; 3]> = Vec::with_capacity(columns.len() * source.height());
    for y in 0..source.height() {
        let row = source.row(y);
        for w in columns {
            let pixels = &row[w.first..][..w.shares.len()];
            narrow.push(mix(&mut pixels
                .iter()
                .map(|p| p.map(f32::from))
                .zip(w.shares.iter().copied())));
        }
    }
    let mut out = Vec::with_capacity(columns.len() * rows.len());
    for w in rows {
        for x in 0..columns.len() {
            let column = (w.first..w.first + w.shares.len()).map(|y| narrow[y * columns.len() + x]);
            out.push(mix(&mut column.zip(w.shares.iter().copied())).map(|v| (v + 0.5) as u8));
        }
    }
    Plane::from_vec(columns.len(), rows.len(), out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_one_and_stay_inside() {
        for (len, source) in [(100, 50), (100, 99), (37, 100), (1, 5), (5, 1), (64, 64)] {
            let axis = Axis::new(len, source);
            for i in 0..axis.len {
                let w = axis.at(i);
                assert!((w.shares.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{len} {source} {i}");
                assert!(w.first + w.shares.len() <= axis.source);
            }
        }
    }

    #[test]
    fn any_cut_gives_the_pixels_of_the_whole() {
        let source =
            Plane::from_vec(50, 1, (0..50).map(|i| [(i * 37 % 251) as u8, i as u8, 9]).collect())
                .expect("row");
        for len in [23, 50, 88] {
            let axis = Axis::new(len, 50);
            let row = Axis::new(1, 1);
            let cut = |from: usize, count: usize| {
                let (first, last) = axis.needs(from, count);
                let piece = source.crop(0, first, last - first, 1);
                resampled(&piece, &axis.weights(from, count, first), &row.weights(0, 1, 0))
                    .expect("row")
                    .data()
                    .to_vec()
            };
            let whole = cut(0, len);
            for (from, count) in [(0, 5), (7, 9), (len - 3, 3)] {
                assert_eq!(cut(from, count), whole[from..from + count], "{len} {from}");
            }
        }
    }

    #[test]
    fn averages_keep_the_mean_and_lines_keep_the_ends() {
        let source =
            Plane::from_vec(8, 1, [0, 80, 160, 240, 10, 20, 30, 40].map(|v| [v; 3]).to_vec())
                .expect("row");
        let row = Axis::new(1, 1).weights(0, 1, 0);
        let half = Axis::new(4, 8);
        let small = resampled(&source, &half.weights(0, 4, 0), &row).expect("small");
        assert_eq!(small.data().iter().map(|p| p[0]).collect::<Vec<_>>(), [40, 200, 15, 35]);
        let double = Axis::new(16, 8);
        let large = resampled(&source, &double.weights(0, 16, 0), &row).expect("large");
        assert_eq!([large.get(0, 0)[0], large.get(0, 1)[0], large.get(0, 15)[0]], [0, 20, 40]);
    }
}
