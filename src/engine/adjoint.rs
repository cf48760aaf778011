//! What training asks of a convolution on lanes besides its answer: how the loss moves with its input and with its
//! weights. Values lie as in `lanes`: channel, row, column, and [`LANES`] windows side by side in the innermost axis.

#![allow(clippy::inline_always, reason = "only inlined code is compiled for the vector instructions that pulp found")]

use pulp::{Arch, Simd, WithSimd, bytemuck};

use super::kernel::{Sums, madd, weighted_sums};
use super::lanes::LANES;
use super::products::{Products, add_products};
use super::program::{Group, Packed};

/// Filters whose outputs are walked together when their gradients go back to the input: as many as a cache holds.
const BLOCK: usize = 16;
/// Output rows that are read again and again before the next ones: as many as a first-level cache holds.
const ROWS: usize = 2;
/// Smallest output that is walked in parts.
const LARGE: usize = 16;

/// A stride-1 convolution without padding over square windows: `side + 1 - kernel` outputs an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    pub channels: usize,
    pub filters: usize,
    pub kernel: usize,
    /// Of the input, pixels.
    pub side: usize,
}

impl Conv {
    /// Outputs along an axis.
    #[must_use]
    pub fn out_side(&self) -> usize {
        self.side + 1 - self.kernel
    }

    /// Weights of one filter.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// Weights turned so that input channels take the place of filters.
    #[must_use]
    pub fn turned(&self, weights: &[f32]) -> Packed {
        let area = self.kernel * self.kernel;
        let filter = self.channels * area;
        let starts = (0..self.filters).flat_map(move |f| (0..area).map(move |k| f * filter + k));
        Packed::strided(weights, None, self.channels, area, &starts)
    }

    /// The convolution itself, into `[filter][row][column]` lanes.
    pub fn forward(&self, packed: &Packed, input: &[f32], relu: bool, out: &mut [f32]) {
        let (side, to) = (self.side, self.out_side());
        let taps = self.offsets();
        let runs: Vec<_> = (0..to).map(|y| (y * side * LANES, y * to * LANES)).collect();
        let sums = Sums {
            packed,
            source: input,
            taps: &taps,
            runs: &runs,
            run_len: to * LANES,
            filter_step: to * to * LANES,
            relu,
        };
        weighted_sums(&sums, out);
    }

    /// Gradient of the input from that of the output, with weights from [`Self::turned`].
    pub fn input_gradient(&self, turned: &Packed, output: &[f32], input: &mut [f32]) {
        Arch::new().dispatch(InputGradient { conv: *self, turned, output, input });
    }

    /// Adds the gradient of the weights (`[filter][channel][row][column]`) from input and output gradient.
    pub fn weight_gradient(&self, input: &[f32], output: &[f32], weights: &mut [f32]) {
        let (side, to) = (self.side, self.out_side());
        let taps = self.offsets();
        let step = if to < LARGE { to } else { ROWS };
        for first in (0..to).step_by(step) {
            let rows = first..(first + step).min(to);
            let runs: Vec<_> = rows.map(|y| (y * to * LANES, y * side * LANES)).collect();
            let (left, right, rows, row_step) = (output, input, self.filters, to * to * LANES);
            let (taps, runs) = (&taps, &runs);
            add_products(&Products { left, rows, row_step, right, taps, runs, run_len: to * LANES }, weights);
        }
    }

    /// Where each weight of a filter reads, from an output's first input on.
    fn offsets(&self) -> Vec<usize> {
        let area = self.kernel * self.kernel;
        (0..self.taps())
            .map(|t| (t / area, t / self.kernel % self.kernel, t % self.kernel))
            .map(|(c, dy, dx)| ((c * self.side + dy) * self.side + dx) * LANES)
            .collect()
    }
}

struct InputGradient<'a> {
    conv: Conv,
    turned: &'a Packed,
    output: &'a [f32],
    input: &'a mut [f32],
}

impl WithSimd for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.run::<S, 2>(simd) } else { self.run::<S, 1>(simd) }
    }
}

impl InputGradient<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(mut self, simd: S) {
        for group in &self.turned.groups {
            match group.width {
                8 => self.group::<S, 8, V>(simd, group),
                4 => self.group::<S, 4, V>(simd, group),
                2 => self.group::<S, 2, V>(simd, group),
                _ => self.group::<S, 1, V>(simd, group),
            }
        }
    }

    #[inline(always)]
    fn group<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, group: &Group) {
        let (side, wide) = (self.conv.side, S::F32_LANES * V);
        for first in (0..self.conv.filters).step_by(BLOCK) {
            let filters = first..(first + BLOCK).min(self.conv.filters);
            for (y, x) in (0..side * side).map(|i| (i / side, i % side)) {
                for part in (0..LANES).step_by(wide) {
                    let at = |m: usize| (((group.first + m) * side + y) * side + x) * LANES + part;
                    let mut sums = [[simd.splat_f32s(0.0); V]; M];
                    if first > 0 {
                        for (m, row) in sums.iter_mut().enumerate() {
                            bytemuck::cast_slice_mut(row).copy_from_slice(&self.input[at(m)..][..wide]);
                        }
                    }
                    self.position::<S, M, V>(simd, &mut sums, group, filters.clone(), [y, x, part]);
                    for (m, row) in sums.iter().enumerate() {
                        self.input[at(m)..][..wide].copy_from_slice(bytemuck::cast_slice(row));
                    }
                }
            }
        }
    }

    /// Every output that reads the input at (y, x) sends its gradient back through the tap it read by.
    #[inline(always)]
    fn position<S: Simd, const M: usize, const V: usize>(
        &self,
        simd: S,
        sums: &mut [[S::f32s; V]; M],
        group: &Group,
        filters: std::ops::Range<usize>,
        [y, x, part]: [usize; 3],
    ) {
        let kernel = self.conv.kernel;
        let to = self.conv.out_side();
        let reach = |at: usize| ((at + 1).saturating_sub(to), at.min(kernel - 1));
        let ((top, bottom), (left, right)) = (reach(y), reach(x));
        let wide = S::F32_LANES * V;
        let count = right + 1 - left;
        for f in filters {
            for dy in top..=bottom {
                let first = ((f * to + y - dy) * to + x - right) * LANES + part;
                let source = &self.output[first..][..(count - 1) * LANES + wide];
                let weights = &group.weights[((f * kernel + dy) * kernel + left) * M..][..count * M];
                for (i, taps) in weights.as_chunks::<M>().0.iter().enumerate() {
                    let window = &source[(count - 1 - i) * LANES..][..wide];
                    accumulate::<S, M, V>(simd, sums, taps, window);
                }
            }
        }
    }
}

#[inline(always)]
fn accumulate<S: Simd, const M: usize, const V: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; M],
    weights: &[f32; M],
    window: &[f32],
) {
    let mut values = [simd.splat_f32s(0.0); V];
    for (v, chunk) in values.iter_mut().zip(window.chunks_exact(S::F32_LANES)) {
        *v = bytemuck::pod_read_unaligned(bytemuck::cast_slice(chunk));
    }
    for m in 0..M {
        let w = simd.splat_f32s(weights[m]);
        for v in 0..V {
            sums[m][v] = madd(simd, w, values[v], sums[m][v]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::mix;

    fn noise(count: usize, seed: u64) -> Vec<f32> {
        (0..count as u64).map(|i| (mix(i ^ mix(seed)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0).collect()
    }

    /// Calls `f(weight, input, output)` with the indices of every product in the convolution.
    fn each_product(conv: Conv, mut f: impl FnMut(usize, usize, usize)) {
        let (k, to) = (conv.kernel, conv.out_side());
        for (o, c, dy, dx) in (0..conv.filters * conv.channels * k * k)
            .map(|i| (i / (conv.channels * k * k), i / (k * k) % conv.channels, i / k % k, i % k))
        {
            for (y, x, lane) in (0..to * to * LANES).map(|i| (i / LANES / to, i / LANES % to, i % LANES)) {
                let input = ((c * conv.side + y + dy) * conv.side + x + dx) * LANES + lane;
                f(((o * conv.channels + c) * k + dy) * k + dx, input, ((o * to + y) * to + x) * LANES + lane);
            }
        }
    }

    fn close(found: &[f32], right: &[f64], what: &str) {
        for (i, (a, b)) in found.iter().zip(right).enumerate() {
            assert!((f64::from(*a) - b).abs() < 2e-4 * (1.0 + b.abs()), "{what} {i}: {a} against {b}");
        }
    }

    #[test]
    fn gradients_equal_the_products_added_one_by_one() {
        for (channels, filters, kernel, side) in
            [(3, 5, 4, 7), (9, 13, 5, 9), (2, 4, 6, 6), (5, 3, 1, 2), (1, 1, 2, 19)]
        {
            let conv = Conv { channels, filters, kernel, side };
            let weights = noise(filters * conv.taps(), 1);
            let input = noise(channels * side * side * LANES, 2);
            let output = noise(filters * conv.out_side() * conv.out_side() * LANES, 3);
            let (mut forward, mut back) = (vec![0.0f64; output.len()], vec![0.0f64; input.len()]);
            let mut moved = vec![0.0f64; weights.len()];
            each_product(conv, |w, i, o| {
                forward[o] += f64::from(weights[w] * input[i]);
                back[i] += f64::from(weights[w] * output[o]);
                moved[w] += f64::from(input[i] * output[o]);
            });
            let mut found = vec![0.0; output.len()];
            conv.forward(&Packed::new(&weights, None, filters), &input, false, &mut found);
            close(&found, &forward, "forward");
            let mut found = vec![0.0; input.len()];
            conv.input_gradient(&conv.turned(&weights), &output, &mut found);
            close(&found, &back, "input");
            let mut found = vec![0.0; weights.len()];
            conv.weight_gradient(&input, &output, &mut found);
            close(&found, &moved, "weights");
        }
    }
}
