//! A convolution of any stride and padding on lanes, and what training asks of it. Rows of outputs
//! are walked a few at a time, as many as a second-level cache holds the inputs of, so that all
//! filters find them there.

use super::batch::PATCH_BATCH;
use super::buffer::AlignedBuffer;
use super::kernel::{ConvForward, weighted_sums};
use super::packed::{PackedFilters, Parallelism};
use super::weight_gradient::{ConvWeightGrad, ROWS, add_weight_gradient};
use crate::platform::for_each_part;

/// Values that the inputs of the rows in work may have: half a megabyte.
const CACHED: usize = 1 << 17;
/// Multiply-adds from which on a layer is shared among threads: some 50 µs of one.
const WORTH_SHARING: usize = 1 << 21;

/// Square windows with zeros around; values lie as channel, row, column and [`PATCH_BATCH`]
/// patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    pub channels: usize,
    pub filters: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    /// Of the input, pixels.
    pub side: usize,
}

impl Convolution {
    /// Outputs along an axis.
    #[must_use]
    pub fn out_side(&self) -> usize {
        (self.side + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Weights of one filter.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// As many ways as the work is worth: small layers are done sooner than another thread is
    /// woken.
    #[must_use]
    pub fn limit_parallelism(&self, ways: Parallelism) -> Parallelism {
        let multiply_adds =
            self.filters * self.taps() * self.out_side() * self.out_side() * PATCH_BATCH;
        if multiply_adds < WORTH_SHARING { Parallelism::ONE } else { ways }
    }

    fn padded_side(&self) -> usize {
        self.side + 2 * self.padding
    }

    /// Where each weight of a filter reads, from an output's first input on.
    fn offsets(&self) -> Vec<usize> {
        let (area, wide) = (self.kernel * self.kernel, self.padded_side());
        (0..self.taps())
            .map(|t| (t / area, t / self.kernel % self.kernel, t % self.kernel))
            .map(|(c, dy, dx)| ((c * wide + dy) * wide + dx) * PATCH_BATCH)
            .collect()
    }

    /// `(start in the padded input, start in a filter's outputs)` of the runs of some rows, and
    /// their length.
    fn runs(&self, rows: std::ops::Range<usize>) -> (Vec<(usize, usize)>, usize) {
        let (to, line) = (self.out_side(), self.padded_side() * PATCH_BATCH);
        if self.stride == 1 {
            return (rows.map(|y| (y * line, y * to * PATCH_BATCH)).collect(), to * PATCH_BATCH);
        }
        let step = self.stride * PATCH_BATCH;
        let place = |(y, x): (usize, usize)| {
            (y * self.stride * line + x * step, (y * to + x) * PATCH_BATCH)
        };
        (rows.flat_map(|y| (0..to).map(move |x| (y, x))).map(place).collect(), PATCH_BATCH)
    }

    /// Output rows, a few at a time.
    fn parts(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let to = self.out_side();
        let row = self.channels * self.stride * self.padded_side() * PATCH_BATCH;
        let step = (CACHED / row).clamp(1, to);
        (0..to).step_by(step).map(move |first| first..(first + step).min(to))
    }

    /// The input with its zeros around, where there are any.
    fn padded(&self, input: &[f32]) -> Option<AlignedBuffer> {
        if self.padding == 0 {
            return None;
        }
        let (wide, len) = (self.padded_side(), self.side * PATCH_BATCH);
        let mut out = AlignedBuffer::zeroed(self.channels * wide * wide);
        for (i, row) in input.chunks_exact(len).take(self.channels * self.side).enumerate() {
            let (c, y) = (i / self.side, i % self.side);
            out[((c * wide + y + self.padding) * wide + self.padding) * PATCH_BATCH..][..len]
                .copy_from_slice(row);
        }
        Some(out)
    }

    /// The convolution itself, into `[filter][row][column]` lanes. Each sum runs channel, row,
    /// column.
    pub fn forward(
        &self,
        packed: &PackedFilters,
        input: &[f32],
        relu: bool,
        ways: Parallelism,
        out: &mut [f32],
    ) {
        let padded = self.padded(input);
        let (source, taps, to) =
            (padded.as_deref().unwrap_or(input), &self.offsets(), self.out_side());
        let filter_step = to * to * PATCH_BATCH;
        packed.share(ways, filter_step, out, |groups, out| {
            for rows in self.parts() {
                let (runs, run_len) = self.runs(rows);
                let runs = &runs;
                weighted_sums(
                    &ConvForward { groups, source, taps, runs, run_len, filter_step, relu },
                    out,
                );
            }
        });
    }

    /// Adds the gradient of the weights (`[filter][channel][row][column]`) from input and output
    /// gradient.
    pub fn weight_gradient(
        &self,
        input: &[f32],
        output: &[f32],
        ways: Parallelism,
        weights: &mut [f32],
    ) {
        let padded = self.padded(input);
        let (right, taps, to) =
            (padded.as_deref().unwrap_or(input), &self.offsets(), self.out_side());
        let row_step = to * to * PATCH_BATCH;
        let each = ways.share(self.filters, ROWS);
        let pieces =
            output.chunks(each * row_step).zip(weights.chunks_mut(each * self.taps())).collect();
        for_each_part(pieces, |(left, weights)| {
            for part in self.parts() {
                let (runs, run_len) = self.runs(part);
                let runs: Vec<_> =
                    runs.into_iter().map(|(source, target)| (target, source)).collect();
                let (rows, runs) = (weights.len() / self.taps(), &runs);
                add_weight_gradient(
                    &ConvWeightGrad { left, rows, row_step, right, taps, runs, run_len },
                    weights,
                );
            }
        });
    }

    /// The convolution that takes output gradients back to input gradients, and its weights. Of
    /// stride 1 only; where nothing is padded and kernels are large, [`Self::input_gradient`] does
    /// the same without the zeros.
    #[must_use]
    pub fn adjoint(&self, weights: &[f32]) -> (Self, PackedFilters) {
        let area = self.kernel * self.kernel;
        let at =
            |c: usize, f: usize, k: usize| weights[(f * self.channels + c) * area + area - 1 - k];
        let each =
            |c: usize| (0..self.filters).flat_map(move |f| (0..area).map(move |k| at(c, f, k)));
        let transposed: Vec<f32> = (0..self.channels).flat_map(each).collect();
        let back = Self {
            channels: self.filters,
            filters: self.channels,
            padding: self.kernel - 1 - self.padding,
            side: self.out_side(),
            ..*self
        };
        (back, PackedFilters::new(&transposed, None, self.channels))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::platform::mix;

    pub fn noise(count: usize, seed: u64) -> Vec<f32> {
        (0..count as u64)
            .map(|i| (mix(i ^ mix(seed)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
            .collect()
    }

    /// Answers, input gradients and weight gradients by their definition: every product added one
    /// by one.
    pub fn by_definition(
        conv: Convolution,
        weights: &[f32],
        input: &[f32],
        output: &[f32],
    ) -> [Vec<f64>; 3] {
        let (k, to) = (conv.kernel, conv.out_side());
        let (mut forward, mut back) = (vec![0.0f64; output.len()], vec![0.0f64; input.len()]);
        let mut moved = vec![0.0f64; weights.len()];
        for w in 0..weights.len() {
            let (f, c, dy, dx) = (w / conv.taps(), w / (k * k) % conv.channels, w / k % k, w % k);
            for (y, x, lane) in (0..to * to * PATCH_BATCH)
                .map(|i| (i / PATCH_BATCH / to, i / PATCH_BATCH % to, i % PATCH_BATCH))
            {
                let inside = |at: usize| at.checked_sub(conv.padding).filter(|&at| at < conv.side);
                let (row, column) = (inside(y * conv.stride + dy), inside(x * conv.stride + dx));
                if let (Some(row), Some(column)) = (row, column) {
                    let i = ((c * conv.side + row) * conv.side + column) * PATCH_BATCH + lane;
                    let o = ((f * to + y) * to + x) * PATCH_BATCH + lane;
                    forward[o] += f64::from(weights[w] * input[i]);
                    back[i] += f64::from(weights[w] * output[o]);
                    moved[w] += f64::from(input[i] * output[o]);
                }
            }
        }
        [forward, back, moved]
    }

    pub fn close(found: &[f32], right: &[f64], what: &str) {
        for (i, (a, b)) in found.iter().zip(right).enumerate() {
            assert!(
                (f64::from(*a) - b).abs() < 2e-4 * (1.0 + b.abs()),
                "{what} {i}: {a} against {b}"
            );
        }
    }

    #[test]
    fn answers_and_gradients_equal_the_products_added_one_by_one() {
        for [channels, filters, kernel, stride, padding, side] in [
            [3, 5, 7, 2, 3, 9],
            [9, 13, 3, 1, 1, 6],
            [7, 9, 1, 1, 0, 5],
            [5, 3, 1, 1, 0, 1],
            [40, 2, 3, 1, 1, 35],
            [3, 5, 4, 1, 0, 7],
            [9, 13, 5, 1, 0, 9],
            [2, 4, 6, 1, 0, 6],
            [1, 1, 2, 1, 0, 19],
        ] {
            let conv = Convolution { channels, filters, kernel, stride, padding, side };
            let weights = noise(filters * conv.taps(), 1);
            let input = noise(channels * side * side * PATCH_BATCH, 2);
            let output = noise(filters * conv.out_side().pow(2) * PATCH_BATCH, 3);
            let [forward, back, moved] = by_definition(conv, &weights, &input, &output);
            let mut found = vec![0.0; output.len()];
            let packed = PackedFilters::new(&weights, None, filters);
            conv.forward(&packed, &input, false, Parallelism::ONE, &mut found);
            close(&found, &forward, "forward");
            let mut shared = vec![0.0; output.len()];
            conv.forward(&packed, &input, false, Parallelism(3), &mut shared);
            assert_eq!(shared, found, "forward, shared");
            let mut found = vec![0.0; weights.len()];
            conv.weight_gradient(&input, &output, Parallelism::ONE, &mut found);
            close(&found, &moved, "weights");
            let mut shared = vec![0.0; weights.len()];
            conv.weight_gradient(&input, &output, Parallelism(3), &mut shared);
            assert_eq!(shared, found, "weights, shared");
            if stride == 1 {
                let (adjoint, packed) = conv.adjoint(&weights);
                let mut found = vec![0.0; input.len()];
                adjoint.forward(&packed, &output, false, Parallelism::ONE, &mut found);
                close(&found, &back, "input by the adjoint");
            }
            if stride == 1 && padding == 0 {
                let mut found = vec![0.0; input.len()];
                conv.input_gradient(
                    &conv.transposed(&weights),
                    &output,
                    Parallelism::ONE,
                    &mut found,
                );
                close(&found, &back, "input");
                let mut shared = vec![0.0; input.len()];
                conv.input_gradient(
                    &conv.transposed(&weights),
                    &output,
                    Parallelism(3),
                    &mut shared,
                );
                assert_eq!(shared, found, "input, shared");
            }
        }
    }
}
