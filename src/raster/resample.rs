//! Resampling to another pixel size: where pixels grow, the area under each is averaged; where they
//! shrink, values are interpolated linearly between pixel centres. Each output pixel depends on its
//! place in the whole picture alone, so blocks meet without seams.

use super::{Plane, RgbImage};
use crate::error::Result;

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

/// Source pixels of one output pixel, from the first on, and their weights, which add up to 1.
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

    /// Weights of a run of output pixels, source positions counted from `origin`.
    #[must_use]
    pub fn weights(&self, from: usize, count: usize, origin: usize) -> Vec<ResampleWeights> {
        let mut run = Vec::with_capacity(count);
        for index in from..from + count {
            let mut weights = self.at(index);
            weights.first -= origin;
            run.push(weights);
        }
        run
    }

    fn at(&self, index: usize) -> ResampleWeights {
        if self.step <= 1.0 { self.interpolated(index) } else { self.averaged(index) }
    }

    /// The two source pixels whose centres lie around the output pixel's centre.
    fn interpolated(&self, index: usize) -> ResampleWeights {
        let last = self.source - 1;
        // Centres of pixel i lie at i + 0.5 in both pictures; the border pixel continues beyond
        // them.
        let centre = ((index as f64 + 0.5) * self.step - 0.5).clamp(0.0, last as f64);
        let first = centre as usize;
        let share = (centre - first as f64) as f32;
        let shares = if share == 0.0 { vec![1.0] } else { vec![1.0 - share, share] };
        ResampleWeights { first, shares }
    }

    /// All source pixels under the output pixel, by the length that each covers.
    fn averaged(&self, index: usize) -> ResampleWeights {
        let from = index as f64 * self.step;
        let to = ((index + 1) as f64 * self.step).min(self.source as f64);
        let first = from as usize;
        // At least one pixel, where rounding makes the interval empty.
        let end = (to.ceil() as usize).clamp(first + 1, self.source);
        let mut shares = Vec::with_capacity(end - first);
        for pixel in first..end {
            let covered = ((pixel + 1) as f64).min(to) - (pixel as f64).max(from);
            shares.push((covered / (to - from)) as f32);
        }
        ResampleWeights { first, shares }
    }
}

/// A whole picture with other sides.
///
/// # Errors
/// None in practice.
pub fn resized(source: &RgbImage, width: usize, height: usize) -> Result<RgbImage> {
    let columns = Axis::new(width, source.width()).weights(0, width, 0);
    let rows = Axis::new(height, source.height()).weights(0, height, 0);
    resampled(source, &columns, &rows)
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
    // Source rows with their columns resampled, `[source row][output column]`.
    let mut narrow: Vec<[f32; 3]> = Vec::with_capacity(columns.len() * source.height());
    for y in 0..source.height() {
        let row = source.row(y);
        for weights in columns {
            let mut sum = [0.0f32; 3];
            for (pixel, share) in row[weights.first..].iter().zip(&weights.shares) {
                for channel in 0..3 {
                    sum[channel] += f32::from(pixel[channel]) * share;
                }
            }
            narrow.push(sum);
        }
    }
    let mut out = Vec::with_capacity(columns.len() * rows.len());
    for weights in rows {
        for x in 0..columns.len() {
            let mut sum = [0.0f32; 3];
            for (y, share) in (weights.first..).zip(&weights.shares) {
                for channel in 0..3 {
                    sum[channel] += narrow[y * columns.len() + x][channel] * share;
                }
            }
            out.push(sum.map(|value| (value + 0.5) as u8));
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

    /// Of `cv2.resize` with `INTER_AREA` and, where pixels shrink, `INTER_LINEAR`.
    #[test]
    fn pixels_are_those_of_opencv() {
        let pixel = |i: usize| [((i % 8 * 37 + i / 8 * 91 + i % 8 * (i / 8) * 13) % 251) as u8; 3];
        let source = Plane::from_vec(8, 6, (0..48).map(pixel).collect()).expect("picture");
        let values = |width: usize, height: usize| {
            let picture = resized(&source, width, height).expect("picture");
            picture.data().iter().map(|p| p[0]).collect::<Vec<u8>>()
        };
        let smaller = [
            46, 108, 133, 159, 116, 174, 136, 148, 160, 122, 82, 140, 166, 140, 145, 148, 106, 97,
            141, 151,
        ];
        assert_eq!(values(5, 4), smaller);
        let first_rows = [
            0, 22, 49, 76, 103, 130, 156, 183, 210, 134, 8, 46, 71, 103, 134, 166, 135, 104, 136,
            167, 147, 99, 106, 137, 162, 171, 209, 142, 76, 114, 123, 148, 179,
        ];
        assert_eq!(values(11, 9)[..33], first_rows);
    }
}
