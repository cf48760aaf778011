//! Sums of products along runs of neighbouring values, for every pair of a row and a tap: how the
//! loss moves with the weights of a convolution. The mirror of `kernel`, whose sums run over taps.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd, WithSimd};

use super::kernel::madd;

/// Rows whose sums are taken side by side.
pub const ROWS: usize = 4;

/// Adds `Σ left[row · row_step + run.0 + i] · right[tap + run.1 + i]` over all runs to
/// `out[row][tap]`.
pub struct ConvWeightGrad<'a> {
    pub left: &'a [f32],
    pub rows: usize,
    /// Distance between two rows in `left`.
    pub row_step: usize,
    pub right: &'a [f32],
    pub taps: &'a [usize],
    /// `(start in left, start in right)` of each run.
    pub runs: &'a [(usize, usize)],
    /// Values in each run; a multiple of the lanes.
    pub run_len: usize,
}

/// Computes all pairs into `out`, `[row][tap]`. Sums are kept lane by lane until a pair is done.
pub fn add_weight_gradient(products: &ConvWeightGrad<'_>, out: &mut [f32]) {
    Arch::new().dispatch(Job { products, out });
}

struct Job<'a, 'b> {
    products: &'a ConvWeightGrad<'b>,
    out: &'a mut [f32],
}

impl WithSimd for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut row = 0;
        while row < self.products.rows {
            if self.products.rows - row >= ROWS {
                self.row::<S, ROWS>(simd, row);
                row += ROWS;
            } else {
                self.row::<S, 1>(simd, row);
                row += 1;
            }
        }
    }
}

impl Job<'_, '_> {
    #[inline(always)]
    fn row<S: Simd, const M: usize>(&mut self, simd: S, row: usize) {
        // Twenty-four sums fit beside the operands only where there are 32 registers.
        let widest = if S::REGISTER_COUNT >= 32 { 6 } else { 2 };
        let count = self.products.taps.len();
        let mut tap = 0;
        while tap < count {
            tap += match widest.min(count - tap) {
                6 => self.tile::<S, M, 6>(simd, row, tap),
                5 => self.tile::<S, M, 5>(simd, row, tap),
                4 => self.tile::<S, M, 4>(simd, row, tap),
                3 => self.tile::<S, M, 3>(simd, row, tap),
                2 => self.tile::<S, M, 2>(simd, row, tap),
                _ => self.tile::<S, M, 1>(simd, row, tap),
            };
        }
    }

    /// M rows and T taps from `row` and `tap` on; gives T.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const T: usize>(
        &mut self,
        simd: S,
        row: usize,
        tap: usize,
    ) -> usize {
        let ConvWeightGrad { left, row_step, right, taps, runs, run_len, .. } = *self.products;
        let mut sums = [[simd.splat_f32s(0.0); T]; M];
        let count = run_len / S::F32_LANES;
        for &(from, to) in runs {
            let line =
                |m: usize| S::as_simd_f32s(&left[(row + m) * row_step + from..][..run_len]).0;
            let lines: [&[S::f32s]; M] = std::array::from_fn(|m| &line(m)[..count]);
            let window = |t: usize| S::as_simd_f32s(&right[taps[tap + t] + to..][..run_len]).0;
            let windows: [&[S::f32s]; T] = std::array::from_fn(|t| &window(t)[..count]);
            for i in 0..count {
                let values: [S::f32s; T] = std::array::from_fn(|t| windows[t][i]);
                for m in 0..M {
                    let factor = lines[m][i];
                    for t in 0..T {
                        sums[m][t] = madd(simd, factor, values[t], sums[m][t]);
                    }
                }
            }
        }
        for (m, row_sums) in sums.iter().enumerate() {
            for (out, sum) in self.out[(row + m) * taps.len() + tap..][..T].iter_mut().zip(row_sums)
            {
                *out += simd.reduce_sum_f32s(*sum);
            }
        }
        T
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::mix;

    #[test]
    fn any_count_of_rows_and_taps_equals_the_products_added_one_by_one() {
        let noise = |i: usize| (mix(i as u64) >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        let left: Vec<f32> = (0..2000).map(noise).collect();
        let right: Vec<f32> = (2000..4000).map(noise).collect();
        let runs = [(0, 32), (128, 0), (64, 320)];
        for (rows, taps) in [(1, 1), (4, 6), (5, 13), (9, 2)] {
            let taps: Vec<usize> = (0..taps).map(|t| t * 96 % 700).collect();
            let products = ConvWeightGrad {
                left: &left,
                rows,
                row_step: 200,
                right: &right,
                taps: &taps,
                runs: &runs,
                run_len: 64,
            };
            let mut out = vec![0.5; rows * taps.len()];
            add_weight_gradient(&products, &mut out);
            for (i, found) in out.into_iter().enumerate() {
                let (row, tap) = (i / taps.len(), taps[i % taps.len()]);
                let pairs = runs
                    .iter()
                    .flat_map(|&(l, r)| (0..64).map(move |i| (row * 200 + l + i, tap + r + i)));
                let right: f64 =
                    0.5 + pairs.map(|(l, r)| f64::from(left[l]) * f64::from(right[r])).sum::<f64>();
                assert!(
                    (f64::from(found) - right).abs() < 1e-4,
                    "{rows} rows: {found} against {right}"
                );
            }
        }
    }
}
