//! Layers other than convolutions, forward and backward, and the weight gradient of layers with few
//! outputs.
//!
//! Values lie as `[channel][row][column][patch]` with [`PATCH_BATCH`] patches. "Position" means one
//! channel, row and column: [`PATCH_BATCH`] neighbouring values.
//!
//! Each kernel is compiled once for each set of vector instructions (`pulp::with_simd`). A closure
//! given to pulp's dispatch is not inlined there and stays scalar. None is inlined into the pass
//! that calls them: in one large function a browser keeps fewer values in registers, and the wasm
//! takes a quarter longer.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd};

use super::batch::Batch;
use super::buffer_pool::BufferPool;
use crate::engine::{
    AlignedBuffer, ConvForward, Convolution, OutputRun, PATCH_BATCH, PackedFilters, Parallelism,
    SLACK, weighted_sums,
};
use crate::platform::for_each_part;

/// Samples (an output position of a patch each) in one matrix product.
const SAMPLES: usize = 512;

/// Max pooling over squares. Padding never wins.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaxPool {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    /// Shift of all squares, for the fragments of a large window.
    pub row_offset: usize,
    pub column_offset: usize,
    pub in_side: usize,
    pub out_side: usize,
}

impl MaxPool {
    /// The input position under a tap (row · kernel + column of the square) for the output at
    /// (channel, row, column); none in the padding.
    #[inline(always)]
    fn input_position(
        &self,
        channel: usize,
        row: usize,
        column: usize,
        tap: usize,
    ) -> Option<usize> {
        let padded_row = self.row_offset + row * self.stride + tap / self.kernel;
        let padded_column = self.column_offset + column * self.stride + tap % self.kernel;
        let row = padded_row.checked_sub(self.padding).filter(|&row| row < self.in_side)?;
        let column =
            padded_column.checked_sub(self.padding).filter(|&column| column < self.in_side)?;
        Some((channel * self.in_side + row) * self.in_side + column)
    }

    #[inline(always)]
    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    fn in_len(&self) -> usize {
        self.in_side * self.in_side * PATCH_BATCH
    }

    fn out_len(&self) -> usize {
        self.out_side * self.out_side * PATCH_BATCH
    }

    /// The maxima of a buffer, on several threads.
    #[inline(never)]
    pub(super) fn forward(
        &self,
        input: &AlignedBuffer,
        parallelism: Parallelism,
        buffers: &BufferPool,
    ) -> AlignedBuffer {
        let channels = input.len() / self.in_len();
        let mut output = buffers.take(channels * self.out_side * self.out_side);
        let share = parallelism.share(channels, 1);
        let inputs = input.chunks(share * self.in_len());
        let outputs = output.chunks_mut(share * self.out_len());
        for_each_part(inputs.zip(outputs).collect(), |(input, output)| {
            max_pool(*self, input, output);
        });
        output
    }

    /// Adds the gradient of the inputs to `grad_input`, on several threads.
    #[inline(never)]
    pub(super) fn backward(
        &self,
        input: &AlignedBuffer,
        grad_output: &AlignedBuffer,
        parallelism: Parallelism,
        grad_input: &mut AlignedBuffer,
    ) {
        let share = parallelism.share(input.len() / self.in_len(), 1);
        let inputs = input.chunks(share * self.in_len());
        let grad_inputs = grad_input.chunks_mut(share * self.in_len());
        let grad_outputs = grad_output.chunks(share * self.out_len());
        let parts = inputs.zip(grad_outputs).zip(grad_inputs).collect();
        for_each_part(parts, |((input, grad_output), grad_input)| {
            max_pool_gradient(*self, input, grad_output, grad_input);
        });
    }
}

/// The maxima of some channels.
#[pulp::with_simd(max_pool = Arch::new())]
#[inline(always)]
pub(super) fn max_pool_with<'a, S: Simd>(
    _: S,
    pool: MaxPool,
    input: &'a [f32],
    output: &'a mut [f32],
) {
    let input = input.as_chunks::<PATCH_BATCH>().0;
    let mut outputs = output.as_chunks_mut::<PATCH_BATCH>().0.iter_mut();
    for channel in 0.. {
        for row in 0..pool.out_side {
            for column in 0..pool.out_side {
                // The outputs decide how many channels there are: the slice may hold a part of
                // them.
                let Some(maxima) = outputs.next() else { return };
                *maxima = [f32::NEG_INFINITY; PATCH_BATCH];
                for tap in 0..pool.taps() {
                    let Some(at) = pool.input_position(channel, row, column, tap) else { continue };
                    let values = &input[at];
                    for i in 0..PATCH_BATCH {
                        // NaN wins, so that the loss shows it.
                        maxima[i] = if values[i] <= maxima[i] { maxima[i] } else { values[i] };
                    }
                }
            }
        }
    }
}

/// Adds the gradient of each output to the first of its inputs that is the maximum.
#[pulp::with_simd(max_pool_gradient = Arch::new())]
#[inline(always)]
pub(super) fn max_pool_gradient_with<'a, S: Simd>(
    _: S,
    pool: MaxPool,
    input: &'a [f32],
    grad_output: &'a [f32],
    grad_input: &'a mut [f32],
) {
    let input = input.as_chunks::<PATCH_BATCH>().0;
    let grad_input = grad_input.as_chunks_mut::<PATCH_BATCH>().0;
    let mut gradients = grad_output.as_chunks::<PATCH_BATCH>().0.iter();
    for channel in 0.. {
        for row in 0..pool.out_side {
            for column in 0..pool.out_side {
                let Some(gradient) = gradients.next() else { return };
                // As wide as the values, for the vectoriser.
                let mut winner = [u32::MAX; PATCH_BATCH];
                let at = |tap| pool.input_position(channel, row, column, tap);
                let four = (pool.taps() == 4).then(|| [at(0), at(1), at(2), at(3)]);
                // Of four inputs, the usual pooling, with fewer choices.
                if let Some([Some(a), Some(b), Some(c), Some(d)]) = four {
                    let [a, b, c, d] = [&input[a], &input[b], &input[c], &input[d]];
                    for i in 0..PATCH_BATCH {
                        let upper = if b[i] > a[i] { b[i] } else { a[i] };
                        let lower = if d[i] > c[i] { d[i] } else { c[i] };
                        let of_upper = u32::from(b[i] > a[i]);
                        let of_lower = if d[i] > c[i] { 3 } else { 2 };
                        winner[i] = if lower > upper { of_lower } else { of_upper };
                    }
                } else {
                    let mut best = [f32::NEG_INFINITY; PATCH_BATCH];
                    for tap in 0..pool.taps() {
                        let Some(at) = at(tap) else { continue };
                        let values = &input[at];
                        for i in 0..PATCH_BATCH {
                            let larger = values[i] > best[i];
                            best[i] = if larger { values[i] } else { best[i] };
                            winner[i] = if larger { tap as u32 } else { winner[i] };
                        }
                    }
                }
                for tap in 0..pool.taps() {
                    let Some(at) = pool.input_position(channel, row, column, tap) else { continue };
                    let sums = &mut grad_input[at];
                    for i in 0..PATCH_BATCH {
                        sums[i] += if winner[i] == tap as u32 { gradient[i] } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Mean pooling over adjacent squares. Rows and columns beyond the last whole square are left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct AveragePool {
    pub kernel: usize,
    pub in_side: usize,
    pub out_side: usize,
}

impl AveragePool {
    #[inline(always)]
    fn input_position(&self, channel: usize, row: usize, column: usize, tap: usize) -> usize {
        let row = row * self.kernel + tap / self.kernel;
        let column = column * self.kernel + tap % self.kernel;
        (channel * self.in_side + row) * self.in_side + column
    }

    #[inline(always)]
    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }
}

/// The means of some channels.
#[pulp::with_simd(average_pool = Arch::new())]
#[inline(always)]
pub(super) fn average_pool_with<'a, S: Simd>(
    _: S,
    pool: AveragePool,
    input: &'a [f32],
    output: &'a mut [f32],
) {
    let input = input.as_chunks::<PATCH_BATCH>().0;
    let share = 1.0 / pool.taps() as f32;
    let mut outputs = output.as_chunks_mut::<PATCH_BATCH>().0.iter_mut();
    for channel in 0.. {
        for row in 0..pool.out_side {
            for column in 0..pool.out_side {
                let Some(means) = outputs.next() else { return };
                let mut sums = [0.0f32; PATCH_BATCH];
                for tap in 0..pool.taps() {
                    let values = &input[pool.input_position(channel, row, column, tap)];
                    for i in 0..PATCH_BATCH {
                        sums[i] += values[i];
                    }
                }
                for i in 0..PATCH_BATCH {
                    means[i] = sums[i] * share;
                }
            }
        }
    }
}

/// Adds the gradient of each output, in equal parts, to its inputs.
#[pulp::with_simd(average_pool_gradient = Arch::new())]
#[inline(always)]
pub(super) fn average_pool_gradient_with<'a, S: Simd>(
    _: S,
    pool: AveragePool,
    grad_output: &'a [f32],
    grad_input: &'a mut [f32],
) {
    let grad_input = grad_input.as_chunks_mut::<PATCH_BATCH>().0;
    let share = 1.0 / pool.taps() as f32;
    let mut gradients = grad_output.as_chunks::<PATCH_BATCH>().0.iter();
    for channel in 0.. {
        for row in 0..pool.out_side {
            for column in 0..pool.out_side {
                let Some(gradient) = gradients.next() else { return };
                for tap in 0..pool.taps() {
                    let sums = &mut grad_input[pool.input_position(channel, row, column, tap)];
                    for i in 0..PATCH_BATCH {
                        sums[i] += gradient[i] * share;
                    }
                }
            }
        }
    }
}

/// Turns the gradient of a ReLU's output into that of its input, on several threads.
#[inline(never)]
pub(super) fn relu_backward(
    gradient: &mut AlignedBuffer,
    output: &AlignedBuffer,
    parallelism: Parallelism,
) {
    let share = parallelism.share(gradient.len(), PATCH_BATCH);
    let parts = gradient.chunks_mut(share).zip(output.chunks(share)).collect();
    for_each_part(parts, |(gradient, output)| relu_gradient(gradient, output));
}

#[pulp::with_simd(relu_gradient = Arch::new())]
#[inline(always)]
fn relu_gradient_with<'a, S: Simd>(_: S, gradient: &'a mut [f32], output: &'a [f32]) {
    for (gradient, &output) in gradient.iter_mut().zip(output) {
        *gradient = if output > 0.0 { *gradient } else { 0.0 };
    }
}

/// Adds the sum of each filter's output gradient to its bias gradient.
#[pulp::with_simd(add_bias_gradient = Arch::new())]
#[inline(always)]
pub(super) fn add_bias_gradient_with<'a, S: Simd>(
    _: S,
    grad_output: &'a [f32],
    bias: &'a mut [f32],
) {
    let filter_len = grad_output.len() / bias.len();
    for (sum, filter) in bias.iter_mut().zip(grad_output.chunks_exact(filter_len)) {
        let mut sums = [0.0f32; PATCH_BATCH];
        for position in filter.as_chunks::<PATCH_BATCH>().0 {
            for i in 0..PATCH_BATCH {
                sums[i] += position[i];
            }
        }
        *sum += sums.iter().sum::<f32>();
    }
}

/// Copies the windows `first ..` of a batch into a buffer, `[window][3][row][column]` to
/// `[3][row][column][window]`; absent windows are zero.
#[inline(never)]
pub(super) fn interleave(batch: &Batch, first: usize, mut out: AlignedBuffer) -> AlignedBuffer {
    let window_len = out.len() / PATCH_BATCH;
    if batch.len() < first + PATCH_BATCH {
        out.fill(0.0);
    }
    let mut windows = Vec::with_capacity(PATCH_BATCH);
    for window in batch.windows.chunks_exact(window_len).skip(first).take(PATCH_BATCH) {
        windows.push(window);
    }
    interleave_windows(&windows, &mut out);
    out
}

#[pulp::with_simd(interleave_windows = Arch::new())]
#[inline(always)]
fn interleave_windows_with<'a, S: Simd>(_: S, windows: &'a [&'a [f32]], out: &'a mut [f32]) {
    for (i, position) in out.as_chunks_mut::<PATCH_BATCH>().0.iter_mut().enumerate() {
        for (value, window) in position.iter_mut().zip(windows) {
            *value = window[i];
        }
    }
}

/// Adds the weight gradient of a fully connected layer, `[filter][tap]`, over the fragments of a
/// group. Each fragment has few output positions, so positions and patches together are the samples
/// of a matrix product, some fragments at a time.
#[inline(never)]
pub(super) fn add_fully_connected_weight_gradient(
    conv: Convolution,
    inputs: &[AlignedBuffer],
    grad_outputs: &[AlignedBuffer],
    parallelism: Parallelism,
    weights: &mut [f32],
) {
    let fragment_samples = conv.out_side() * conv.out_side() * PATCH_BATCH;
    let fragments = (SAMPLES / fragment_samples).max(1);
    for (inputs, grad_outputs) in inputs.chunks(fragments).zip(grad_outputs.chunks(fragments)) {
        let product = sample_product(conv, inputs, grad_outputs, parallelism);
        for (weight, value) in weights.iter_mut().zip(product) {
            *weight += value;
        }
    }
}

/// The product G · X, `[filter][tap]`, of the output gradient `G[filter][sample]` and the inputs
/// under the kernel `X[sample][tap]` (im2col):
///
/// ```text
/// sample = (fragment, output row, output column, patch)
/// tap    = (channel, kernel row, kernel column)
/// X[sample][tap] = input[channel][output row + kernel row][output column + kernel column][patch]
/// ```
///
/// The engine's weighted sums compute it: the gradients of a filter are the weights, rows of X the
/// inputs, taps the neighbouring outputs.
fn sample_product(
    conv: Convolution,
    inputs: &[AlignedBuffer],
    grad_outputs: &[AlignedBuffer],
    parallelism: Parallelism,
) -> Vec<f32> {
    let taps = conv.taps();
    let out_side = conv.out_side();
    let fragment_samples = out_side * out_side * PATCH_BATCH;
    let samples = inputs.len() * fragment_samples;

    // G, row by row: `[filter][fragment][position][patch]`.
    let mut gradients = vec![0.0; conv.filters * samples];
    for (fragment, grad_output) in grad_outputs.iter().enumerate() {
        for filter in 0..conv.filters {
            let first = filter * samples + fragment * fragment_samples;
            gradients[first..][..fragment_samples]
                .copy_from_slice(&grad_output[filter * fragment_samples..][..fragment_samples]);
        }
    }

    // X, row by row: the 32 patches of one output position are 32 consecutive samples.
    let mut columns = vec![0.0; samples * taps + SLACK];
    for (fragment, input) in inputs.iter().enumerate() {
        for row in 0..out_side {
            for column in 0..out_side {
                let first_sample =
                    fragment * fragment_samples + (row * out_side + column) * PATCH_BATCH;
                for tap in 0..taps {
                    let channel = tap / (conv.kernel * conv.kernel);
                    let in_row = row + tap / conv.kernel % conv.kernel;
                    let in_column = column + tap % conv.kernel;
                    let position = (channel * conv.side + in_row) * conv.side + in_column;
                    let patches = &input[position * PATCH_BATCH..][..PATCH_BATCH];
                    for (patch, &value) in patches.iter().enumerate() {
                        columns[(first_sample + patch) * taps + tap] = value;
                    }
                }
            }
        }
    }

    let packed = PackedFilters::new(&gradients, None, conv.filters);
    let sample_starts: Vec<usize> = (0..samples).map(|sample| sample * taps).collect();
    let mut product = vec![0.0; conv.filters * taps];
    packed.share(parallelism, taps, &mut product, |groups, product| {
        let sums = ConvForward {
            groups,
            source: &columns,
            taps: &sample_starts,
            runs: &[OutputRun { source: 0, target: 0 }],
            run_len: taps,
            filter_step: taps,
            relu: false,
        };
        weighted_sums(&sums, product);
    });
    product
}
