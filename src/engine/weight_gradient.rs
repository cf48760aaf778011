//! The gradient of the loss with respect to the weights of a convolution:
//!
//! ```text
//! ∂L/∂weights[f][t] = Σ_output ∂L/∂output[f][output] · input[start of output + taps[t]]
//! ```
//!
//! over all output positions and patches. `kernel` sums over taps for each output; here the sum
//! runs over outputs for each pair of a filter and a tap.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd, WithSimd};

use super::kernel::{OutputRun, has_32_registers, madd};

/// Filters whose sums are taken together.
pub(super) const FILTERS: usize = 4;

/// Adds `Σ output[f · filter_step + run.target + i] · input[run.source + taps[t] + i]`, over all
/// runs and `i < run_len`, to the gradient of each weight.
pub(super) struct ConvWeightGrad<'a> {
    /// Gradient of the output, `[filter][row][column][patch]`.
    pub output: &'a [f32],
    pub filters: usize,
    /// Distance between two filters in `output`.
    pub filter_step: usize,
    /// Padded input, `[channel][row][column][patch]`.
    pub input: &'a [f32],
    /// Where each weight of a filter reads, relative to the run's start in the input.
    pub taps: &'a [usize],
    pub runs: &'a [OutputRun],
    /// Values in each run; a multiple of the vector width.
    pub run_len: usize,
}

/// Adds to `weights`, `[filter][tap]`. Each element of a vector has a sum of its own until a pair
/// of filter and tap is done.
#[inline(never)]
pub(super) fn add_weight_gradient(gradient: &ConvWeightGrad<'_>, weights: &mut [f32]) {
    Arch::new().dispatch(WeightGradTask { gradient, weights });
}

struct WeightGradTask<'a, 'b> {
    gradient: &'a ConvWeightGrad<'b>,
    weights: &'a mut [f32],
}

impl WithSimd for WeightGradTask<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut filter = 0;
        while filter < self.gradient.filters {
            if self.gradient.filters - filter >= FILTERS {
                self.all_taps::<S, FILTERS>(simd, filter);
                filter += FILTERS;
            } else {
                self.all_taps::<S, 1>(simd, filter);
                filter += 1;
            }
        }
    }
}

impl WeightGradTask<'_, '_> {
    /// All weights of `M` filters from `filter` on.
    #[inline(always)]
    fn all_taps<S: Simd, const M: usize>(&mut self, simd: S, filter: usize) {
        // Twenty-four sums fit beside the operands only where there are 32 registers.
        let widest = if has_32_registers::<S>() { 6 } else { 2 };
        let count = self.gradient.taps.len();
        let mut tap = 0;
        while tap < count {
            let taps = widest.min(count - tap);
            match taps {
                6 => self.tile::<S, M, 6>(simd, filter, tap),
                5 => self.tile::<S, M, 5>(simd, filter, tap),
                4 => self.tile::<S, M, 4>(simd, filter, tap),
                3 => self.tile::<S, M, 3>(simd, filter, tap),
                2 => self.tile::<S, M, 2>(simd, filter, tap),
                _ => self.tile::<S, M, 1>(simd, filter, tap),
            }
            tap += taps;
        }
    }

    /// The weights of `M` filters and `T` taps, from `filter` and `tap` on.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const T: usize>(
        &mut self,
        simd: S,
        filter: usize,
        tap: usize,
    ) {
        let ConvWeightGrad { output, filter_step, input, taps, runs, run_len, .. } = *self.gradient;
        let mut sums = [[simd.splat_f32s(0.0); T]; M];
        let count = run_len / S::F32_LANES;
        for run in runs {
            // Slices of one length let the compiler drop the bounds checks of the inner loop.
            let outputs: [&[S::f32s]; M] = std::array::from_fn(|m| {
                let start = (filter + m) * filter_step + run.target;
                &S::as_simd_f32s(&output[start..][..run_len]).0[..count]
            });
            let inputs: [&[S::f32s]; T] = std::array::from_fn(|t| {
                let start = taps[tap + t] + run.source;
                &S::as_simd_f32s(&input[start..][..run_len]).0[..count]
            });
            for i in 0..count {
                // M + T loads for M × T multiply-adds.
                let values: [S::f32s; T] = std::array::from_fn(|t| inputs[t][i]);
                for m in 0..M {
                    let factor = outputs[m][i];
                    for t in 0..T {
                        sums[m][t] = madd(simd, factor, values[t], sums[m][t]);
                    }
                }
            }
        }
        for (m, filter_sums) in sums.iter().enumerate() {
            let weights = &mut self.weights[(filter + m) * taps.len() + tap..][..T];
            for (weight, sum) in weights.iter_mut().zip(filter_sums) {
                *weight += simd.reduce_sum_f32s(*sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::convolution::tests::noise;

    #[test]
    fn any_count_of_filters_and_taps_equals_the_products_added_one_by_one() {
        const FILTER_STEP: usize = 200;
        const RUN_LEN: usize = 64;
        let output = noise(2000, 1);
        let input = noise(2000, 2);
        let runs = [
            OutputRun { source: 32, target: 0 },
            OutputRun { source: 0, target: 128 },
            OutputRun { source: 320, target: 64 },
        ];
        for (filters, tap_count) in [(1, 1), (4, 6), (5, 13), (9, 2)] {
            let taps: Vec<usize> = (0..tap_count).map(|t| t * 96 % 700).collect();
            let gradient = ConvWeightGrad {
                output: &output,
                filters,
                filter_step: FILTER_STEP,
                input: &input,
                taps: &taps,
                runs: &runs,
                run_len: RUN_LEN,
            };
            let mut weights = vec![0.5; filters * tap_count];
            add_weight_gradient(&gradient, &mut weights);
            for filter in 0..filters {
                for (t, tap) in taps.iter().enumerate() {
                    let mut sum = 0.5;
                    for run in runs {
                        for i in 0..RUN_LEN {
                            sum += f64::from(output[filter * FILTER_STEP + run.target + i])
                                * f64::from(input[tap + run.source + i]);
                        }
                    }
                    let got = f64::from(weights[filter * tap_count + t]);
                    assert!((got - sum).abs() < 1e-4, "{filters} filters: {got} against {sum}");
                }
            }
        }
    }
}
