//! A convolution of any stride and padding over a batch of patches: forward pass, gradient of the
//! weights, and the adjoint, which takes output gradients back to the input.
//!
//! ```text
//! input   [channel][row][column][patch]    side × side pixels, PATCH_BATCH patches
//! output  [filter][row][column][patch]     out_side × out_side pixels
//! weights [filter][channel][row][column]   kernel × kernel taps
//!
//! output[f][y][x] = bias[f] + Σ_c Σ_dy Σ_dx weights[f][c][dy][dx] · input[c][row][column]
//!     with row = y · stride + dy − padding and column = x · stride + dx − padding
//! ```
//!
//! Output rows are computed in blocks whose inputs fit the second-level cache, so that all filters
//! read them from there.

use std::ops::Range;

use super::batch::PATCH_BATCH;
use super::buffer::AlignedBuffer;
use super::kernel::{Activation, ConvForward, OutputRun, weighted_sums};
use super::packed::{PackedFilters, Parallelism};
use super::weight_gradient::{self, ConvWeightGrad, add_weight_gradient};
use crate::platform::for_each_part;

/// Input values that one block of output rows may read: half a megabyte.
const CACHED_VALUES: usize = 1 << 17;
/// Multiply-adds from which on several threads share a layer: about 50 µs of one thread.
const WORTH_SHARING: usize = 1 << 21;

/// Shape of a convolution with square windows and zero padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub filters: usize,
    /// Side of the window, pixels.
    pub kernel: usize,
    /// Pixels between neighbouring windows, in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the input.
    pub padding: usize,
    /// Side of the input, pixels.
    pub side: usize,
}

/// Runs of outputs, all of one length.
struct RowRuns {
    runs: Vec<OutputRun>,
    run_len: usize,
}

impl Convolution {
    /// Side of the output, pixels.
    #[must_use]
    pub fn out_side(&self) -> usize {
        (self.side + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Weights of one filter.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// One thread where the layer is so small that waking another would take longer.
    #[must_use]
    pub fn limit_parallelism(&self, parallelism: Parallelism) -> Parallelism {
        let multiply_adds =
            self.filters * self.taps() * self.out_side() * self.out_side() * PATCH_BATCH;
        if multiply_adds < WORTH_SHARING { Parallelism::ONE } else { parallelism }
    }

    fn padded_side(&self) -> usize {
        self.side + 2 * self.padding
    }

    /// Distance between two filters of the output.
    fn filter_step(&self) -> usize {
        self.out_side() * self.out_side() * PATCH_BATCH
    }

    /// For each weight of a filter, where it reads in the padded input, relative to the first input
    /// of an output.
    fn tap_offsets(&self) -> Vec<usize> {
        let side = self.padded_side();
        let mut offsets = Vec::with_capacity(self.taps());
        for channel in 0..self.channels {
            for dy in 0..self.kernel {
                for dx in 0..self.kernel {
                    offsets.push(((channel * side + dy) * side + dx) * PATCH_BATCH);
                }
            }
        }
        offsets
    }

    /// Runs of the outputs of some rows; sources are in the padded input. At stride 1 a whole row
    /// is one run, otherwise each position is one, of its patches.
    fn runs(&self, rows: Range<usize>) -> RowRuns {
        let out_side = self.out_side();
        // At stride 1, neighbouring outputs of a row read neighbouring inputs, patches included.
        let row_len = self.padded_side() * PATCH_BATCH;
        let mut runs = Vec::new();
        if self.stride == 1 {
            for y in rows {
                runs.push(OutputRun { source: y * row_len, target: y * out_side * PATCH_BATCH });
            }
            return RowRuns { runs, run_len: out_side * PATCH_BATCH };
        }
        for y in rows {
            for x in 0..out_side {
                runs.push(OutputRun {
                    source: y * self.stride * row_len + x * self.stride * PATCH_BATCH,
                    target: (y * out_side + x) * PATCH_BATCH,
                });
            }
        }
        RowRuns { runs, run_len: PATCH_BATCH }
    }

    /// Output rows in blocks that read at most [`CACHED_VALUES`] inputs each.
    fn row_blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let out_side = self.out_side();
        // Input values that each further output row adds; the rows that it shares with the one
        // before are not counted again.
        let values_per_row = self.channels * self.stride * self.padded_side() * PATCH_BATCH;
        let rows = (CACHED_VALUES / values_per_row).clamp(1, out_side);
        (0..out_side).step_by(rows).map(move |first| first..(first + rows).min(out_side))
    }

    /// A copy of the input with zeros around it; none where nothing is padded.
    fn padded(&self, input: &[f32]) -> Option<AlignedBuffer> {
        if self.padding == 0 {
            return None;
        }
        let side = self.padded_side();
        let row_len = self.side * PATCH_BATCH;
        let mut padded = AlignedBuffer::zeroed(self.channels * side * side);
        for channel in 0..self.channels {
            for y in 0..self.side {
                let row = &input[(channel * self.side + y) * row_len..][..row_len];
                let target = (channel * side + y + self.padding) * side + self.padding;
                padded[target * PATCH_BATCH..][..row_len].copy_from_slice(row);
            }
        }
        Some(padded)
    }

    /// Computes the output, `[filter][row][column][patch]`, from the input,
    /// `[channel][row][column][patch]`. Each sum starts with the bias and runs over channels, then
    /// rows, then columns.
    pub fn forward(
        &self,
        packed: &PackedFilters,
        input: &[f32],
        activation: Activation,
        parallelism: Parallelism,
        output: &mut [f32],
    ) {
        let padded = self.padded(input);
        let source = padded.as_deref().unwrap_or(input);
        let taps = self.tap_offsets();
        let filter_step = self.filter_step();
        packed.share(parallelism, filter_step, output, |groups, output| {
            for rows in self.row_blocks() {
                let RowRuns { runs, run_len } = self.runs(rows);
                let sums = ConvForward {
                    groups,
                    source,
                    taps: &taps,
                    runs: &runs,
                    run_len,
                    filter_step,
                    relu: activation == Activation::Relu,
                };
                weighted_sums(&sums, output);
            }
        });
    }

    /// Adds the gradient of the weights, `[filter][channel][row][column]`, from the input and the
    /// gradient of the output.
    pub fn weight_gradient(
        &self,
        input: &[f32],
        output: &[f32],
        parallelism: Parallelism,
        weights: &mut [f32],
    ) {
        let padded = self.padded(input);
        let input = padded.as_deref().unwrap_or(input);
        let taps = self.tap_offsets();
        let filter_step = self.filter_step();
        let filters = parallelism.share(self.filters, weight_gradient::FILTERS);
        let outputs = output.chunks(filters * filter_step);
        let parts = outputs.zip(weights.chunks_mut(filters * taps.len())).collect();
        for_each_part(parts, |(output, weights): (&[f32], &mut [f32])| {
            for rows in self.row_blocks() {
                let RowRuns { runs, run_len } = self.runs(rows);
                let gradient = ConvWeightGrad {
                    output,
                    filters: weights.len() / taps.len(),
                    filter_step,
                    input,
                    taps: &taps,
                    runs: &runs,
                    run_len,
                };
                add_weight_gradient(&gradient, weights);
            }
        });
    }

    /// The convolution that takes output gradients back to input gradients, and its packed weights:
    /// filters and channels exchange roles and each window is turned by 180°. For stride 1 only;
    /// without padding and with large kernels [`Self::input_gradient`] computes the same without
    /// multiplying zeros.
    #[must_use]
    pub fn adjoint(&self, weights: &[f32]) -> (Self, PackedFilters) {
        let area = self.kernel * self.kernel;
        let mut transposed = Vec::with_capacity(weights.len());
        for channel in 0..self.channels {
            for filter in 0..self.filters {
                let window = &weights[(filter * self.channels + channel) * area..][..area];
                transposed.extend(window.iter().rev());
            }
        }
        let adjoint = Self {
            channels: self.filters,
            filters: self.channels,
            padding: self.kernel - 1 - self.padding,
            side: self.out_side(),
            ..*self
        };
        (adjoint, PackedFilters::new(&transposed, None, self.channels))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::platform::mix;

    /// Reproducible values in −1 … 1.
    pub(crate) fn noise(count: usize, seed: u64) -> Vec<f32> {
        (0..count as u64)
            .map(|i| (mix(i ^ mix(seed)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
            .collect()
    }

    /// Outputs, input gradients and weight gradients of a convolution without bias.
    pub(crate) struct Definition {
        pub output: Vec<f64>,
        pub input_gradient: Vec<f64>,
        pub weight_gradient: Vec<f64>,
    }

    /// By the definition: every product added one by one, in f64.
    pub(crate) fn by_definition(
        conv: Convolution,
        weights: &[f32],
        input: &[f32],
        output_gradient: &[f32],
    ) -> Definition {
        let Convolution { channels, filters, kernel, stride, padding, side } = conv;
        let out_side = conv.out_side();
        let mut output = vec![0.0; output_gradient.len()];
        let mut input_gradient = vec![0.0; input.len()];
        let mut weight_gradient = vec![0.0; weights.len()];
        for filter in 0..filters {
            for channel in 0..channels {
                for dy in 0..kernel {
                    for dx in 0..kernel {
                        let w = ((filter * channels + channel) * kernel + dy) * kernel + dx;
                        for y in 0..out_side {
                            for x in 0..out_side {
                                // Position in the padded input.
                                let row = y * stride + dy;
                                let column = x * stride + dx;
                                let inside = padding..padding + side;
                                if !inside.contains(&row) || !inside.contains(&column) {
                                    continue;
                                }
                                let pixel =
                                    (channel * side + row - padding) * side + column - padding;
                                for patch in 0..PATCH_BATCH {
                                    let i = pixel * PATCH_BATCH + patch;
                                    let o = ((filter * out_side + y) * out_side + x) * PATCH_BATCH
                                        + patch;
                                    output[o] += f64::from(weights[w] * input[i]);
                                    input_gradient[i] += f64::from(weights[w] * output_gradient[o]);
                                    weight_gradient[w] += f64::from(input[i] * output_gradient[o]);
                                }
                            }
                        }
                    }
                }
            }
        }
        Definition { output, input_gradient, weight_gradient }
    }

    pub(crate) fn close(got: &[f32], want: &[f64], what: &str) {
        assert_eq!(got.len(), want.len(), "{what}");
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!(
                (f64::from(*got) - want).abs() < 2e-4 * (1.0 + want.abs()),
                "{what} {i}: {got} against {want}"
            );
        }
    }

    /// Runs `compute` on zeroed values with one thread and with three; the results must be equal.
    fn on_one_and_three_threads(
        len: usize,
        what: &str,
        compute: impl Fn(Parallelism, &mut [f32]),
    ) -> Vec<f32> {
        let mut alone = vec![0.0; len];
        compute(Parallelism::ONE, &mut alone);
        let mut shared = vec![0.0; len];
        compute(Parallelism(3), &mut shared);
        assert_eq!(shared, alone, "{what}, shared");
        alone
    }

    #[test]
    fn outputs_and_gradients_equal_the_products_added_one_by_one() {
        let shapes = [
            [3, 5, 7, 2, 3, 9],
            [9, 13, 3, 1, 1, 6],
            [7, 9, 1, 1, 0, 5],
            [5, 3, 1, 1, 0, 1],
            [40, 2, 3, 1, 1, 35],
            [3, 5, 4, 1, 0, 7],
            [9, 13, 5, 1, 0, 9],
            [2, 4, 6, 1, 0, 6],
            [1, 1, 2, 1, 0, 19],
        ];
        for [channels, filters, kernel, stride, padding, side] in shapes {
            let conv = Convolution { channels, filters, kernel, stride, padding, side };
            let weights = noise(filters * conv.taps(), 1);
            let input = noise(channels * side * side * PATCH_BATCH, 2);
            let gradient = noise(filters * conv.out_side().pow(2) * PATCH_BATCH, 3);
            let want = by_definition(conv, &weights, &input, &gradient);

            let packed = PackedFilters::new(&weights, None, filters);
            let got = on_one_and_three_threads(gradient.len(), "forward", |threads, out| {
                conv.forward(&packed, &input, Activation::Identity, threads, out);
            });
            close(&got, &want.output, "forward");

            let got = on_one_and_three_threads(weights.len(), "weights", |threads, out| {
                conv.weight_gradient(&input, &gradient, threads, out);
            });
            close(&got, &want.weight_gradient, "weights");

            if stride > 1 {
                continue;
            }
            let (adjoint, packed) = conv.adjoint(&weights);
            let got = on_one_and_three_threads(input.len(), "adjoint", |threads, out| {
                adjoint.forward(&packed, &gradient, Activation::Identity, threads, out);
            });
            close(&got, &want.input_gradient, "input by the adjoint");

            if padding > 0 {
                continue;
            }
            let transposed = conv.transposed(&weights);
            let got = on_one_and_three_threads(input.len(), "input", |threads, out| {
                conv.input_gradient(&transposed, &gradient, threads, out);
            });
            close(&got, &want.input_gradient, "input");
        }
    }
}
