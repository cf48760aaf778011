//! Batch normalisation and the ReLU behind it, with the statistics of all patches of a step
//! (Ioffe & Szegedy 2015).
//!
//! Values lie as `[channel][row][column][patch]`, one buffer for each group of [`PATCH_BATCH`]
//! patches; the last group may hold fewer. With m values in a channel, mean μ and variance σ²:
//!
//! ```text
//! s  = 1 / √(σ² + ε)                 (inv_std)
//! y  = relu(γ·s·(x − μ) + β)
//! g  = dL/dy where y > 0, else 0
//! dL/dβ = Σ g
//! dL/dγ = s · Σ g·(x − μ)
//! dL/dx = γ·s · ( g − (1/m)·Σ g − (x − μ)·s²·(1/m)·Σ g·(x − μ) )
//! ```

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd};

use crate::engine::PATCH_BATCH;
use crate::model::BATCH_NORM_EPSILON;
use crate::platform::{for_each_part, madd, map_parts};

/// Mean and variance of the channels of a layer over a step, the variance unbiased as PyTorch
/// stores it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LayerStatistics {
    /// Name of the normalisation.
    pub layer: String,
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
}

/// Forward values of one group, and the gradient of its outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupValues<'a> {
    pub input: &'a [f32],
    pub output: &'a [f32],
    pub grad_output: &'a [f32],
}

/// Gradients of scale (γ) and shift (β), by channel.
#[derive(Debug)]
pub(super) struct ScaleShiftGrad {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// A normalisation with the statistics of one step.
#[derive(Debug, Clone)]
pub(super) struct BatchNorm {
    channels: Vec<Channel>,
    /// Patches in all groups.
    patches: usize,
    /// Values of a channel over the step (m above).
    count: f64,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    mean: f32,
    /// Sum of squared distances from the mean.
    squares: f64,
    inv_std: f64,
    gamma: f64,
    /// y = relu(scale · x + shift).
    scale: f32,
    shift: f32,
}

/// Mean of some values, and the sum of their squared distances from it.
#[derive(Debug, Clone, Copy)]
struct ChannelMoments {
    mean: f64,
    squares: f64,
}

/// Σ g and Σ g·(x − μ) of a channel.
#[derive(Debug, Clone, Copy)]
struct GradSums {
    plain: f64,
    by_distance: f64,
}

/// dL/dx = factor · g + slope · (x − μ) + constant.
#[derive(Debug, Clone, Copy)]
struct BatchNormGrad {
    factor: f32,
    slope: f32,
    constant: f32,
}

impl BatchNorm {
    /// The normalisation of `groups`, which hold `patches` patches in all, with the layer's scale γ
    /// and shift β.
    #[must_use]
    pub(super) fn new(groups: &[&[f32]], patches: usize, gamma: &[f32], beta: &[f32]) -> Self {
        let area = groups[0].len() / PATCH_BATCH / gamma.len();
        let indices: Vec<usize> = (0..groups.len()).collect();
        let moments = map_parts(indices, |g| moments(groups[g], area, present(g, patches)));
        let count = (patches * area) as f64;
        let mut channels = Vec::with_capacity(gamma.len());
        for c in 0..gamma.len() {
            let mut total = 0.0;
            for (g, group) in moments.iter().enumerate() {
                total += (present(g, patches) * area) as f64 * group[c].mean;
            }
            let mean = total / count;
            // Chan et al. 1983: the squares of a group plus its size times its distance squared.
            let mut squares = 0.0;
            for (g, group) in moments.iter().enumerate() {
                let values = (present(g, patches) * area) as f64;
                squares += group[c].squares + values * (group[c].mean - mean).powi(2);
            }
            let inv_std = 1.0 / (squares / count + f64::from(BATCH_NORM_EPSILON)).sqrt();
            let scale = f64::from(gamma[c]) * inv_std;
            channels.push(Channel {
                mean: mean as f32,
                squares,
                inv_std,
                gamma: f64::from(gamma[c]),
                scale: scale as f32,
                shift: (f64::from(beta[c]) - mean * scale) as f32,
            });
        }
        Self { channels, patches, count }
    }

    /// Statistics of this step, which enter the running ones.
    #[must_use]
    pub(super) fn statistics(&self, layer: &str) -> LayerStatistics {
        let degrees_of_freedom = (self.count - 1.0).max(1.0);
        LayerStatistics {
            layer: layer.to_owned(),
            mean: self.channels.iter().map(|c| c.mean).collect(),
            variance: self
                .channels
                .iter()
                .map(|c| (c.squares / degrees_of_freedom) as f32)
                .collect(),
        }
    }

    /// Normalised and rectified values of a group.
    pub(super) fn forward(&self, input: &[f32], output: &mut [f32]) {
        normalise(&self.channels, input, output);
    }

    /// Adds the gradients of each group's inputs to `grad_inputs`; gives those of scale and shift.
    pub(super) fn backward(
        &self,
        groups: &[GroupValues<'_>],
        grad_inputs: &mut [&mut [f32]],
    ) -> ScaleShiftGrad {
        let sums_by_group = map_parts(groups.to_vec(), |group| grad_sums(&self.channels, group));
        let mut out = ScaleShiftGrad { scale: Vec::new(), shift: Vec::new() };
        let mut coefficients = Vec::with_capacity(self.channels.len());
        for (c, channel) in self.channels.iter().enumerate() {
            let plain: f64 = sums_by_group.iter().map(|sums| sums[c].plain).sum();
            let by_distance: f64 = sums_by_group.iter().map(|sums| sums[c].by_distance).sum();
            out.scale.push((by_distance * channel.inv_std) as f32);
            out.shift.push(plain as f32);
            let factor = channel.gamma * channel.inv_std;
            coefficients.push(BatchNormGrad {
                factor: factor as f32,
                // The formula at the top of this file, sorted by g, (x − μ) and 1.
                slope: (-factor * channel.inv_std.powi(2) * by_distance / self.count) as f32,
                constant: (-factor * plain / self.count) as f32,
            });
        }
        let parts = grad_inputs.iter_mut().zip(groups).enumerate().collect();
        for_each_part(parts, |(g, (grad_input, group))| {
            let present = present(g, self.patches);
            add_input_gradient(&self.channels, &coefficients, *group, present, grad_input);
        });
        out
    }
}

/// Patches in a group.
fn present(group: usize, patches: usize) -> usize {
    (patches - group * PATCH_BATCH).min(PATCH_BATCH)
}

/// `[row][column]` of one channel, each the values of all patches.
#[inline(always)]
fn channel_of(values: &[f32], channel: usize, channel_len: usize) -> &[[f32; PATCH_BATCH]] {
    values[channel * channel_len..][..channel_len].as_chunks::<PATCH_BATCH>().0
}

/// Moments of each channel over the first `present` patches.
#[pulp::with_simd(moments = Arch::new())]
#[inline(always)]
fn moments_with<S: Simd>(_: S, values: &[f32], area: usize, present: usize) -> Vec<ChannelMoments> {
    let count = (area * present) as f64;
    let mut out = Vec::with_capacity(values.len() / PATCH_BATCH / area);
    for channel in values.chunks_exact(area * PATCH_BATCH) {
        let positions = channel.as_chunks::<PATCH_BATCH>().0;
        let mut sums = [0.0f32; PATCH_BATCH];
        for position in positions {
            for i in 0..PATCH_BATCH {
                sums[i] += position[i];
            }
        }
        // Two passes: subtracting the mean first avoids the cancellation of E[x²] − μ². Sums run in
        // 32 bits within a patch and in 64 bits over patches.
        let mean = total(&sums[..present]) / count;
        let centre = mean as f32;
        let mut squares = [0.0f32; PATCH_BATCH];
        for position in positions {
            for i in 0..PATCH_BATCH {
                let distance = position[i] - centre;
                squares[i] = madd(distance, distance, squares[i]);
            }
        }
        out.push(ChannelMoments { mean, squares: total(&squares[..present]) });
    }
    out
}

#[inline(always)]
fn total(sums: &[f32]) -> f64 {
    sums.iter().copied().map(f64::from).sum()
}

#[pulp::with_simd(normalise = Arch::new())]
#[inline(always)]
fn normalise_with<'a, S: Simd>(
    _: S,
    channels: &'a [Channel],
    input: &'a [f32],
    output: &'a mut [f32],
) {
    let channel_len = input.len() / channels.len();
    let inputs = input.chunks_exact(channel_len);
    let outputs = output.chunks_exact_mut(channel_len);
    for (channel, (input, output)) in channels.iter().zip(inputs.zip(outputs)) {
        for (y, &x) in output.iter_mut().zip(input) {
            let z = madd(x, channel.scale, channel.shift);
            // NaN passes, so that the loss shows it.
            *y = if z <= 0.0 { 0.0 } else { z };
        }
    }
}

/// [`GradSums`] of each channel of a group. The output gradient of absent patches is zero.
#[pulp::with_simd(grad_sums = Arch::new())]
#[inline(always)]
fn grad_sums_with<'a, S: Simd>(
    _: S,
    channels: &'a [Channel],
    group: GroupValues<'a>,
) -> Vec<GradSums> {
    let channel_len = group.input.len() / channels.len();
    let mut out = Vec::with_capacity(channels.len());
    for (c, channel) in channels.iter().enumerate() {
        let inputs = channel_of(group.input, c, channel_len);
        let outputs = channel_of(group.output, c, channel_len);
        let gradients = channel_of(group.grad_output, c, channel_len);
        let mut plain = [0.0f32; PATCH_BATCH];
        let mut by_distance = [0.0f32; PATCH_BATCH];
        for ((x, y), gradient) in inputs.iter().zip(outputs).zip(gradients) {
            for i in 0..PATCH_BATCH {
                let g = if y[i] > 0.0 { gradient[i] } else { 0.0 };
                plain[i] += g;
                by_distance[i] = madd(g, x[i] - channel.mean, by_distance[i]);
            }
        }
        out.push(GradSums { plain: total(&plain), by_distance: total(&by_distance) });
    }
    out
}

/// Adds the gradient of a group's inputs to `grad_input`; that of absent patches is zero.
#[pulp::with_simd(add_input_gradient = Arch::new())]
#[inline(always)]
fn add_input_gradient_with<'a, S: Simd>(
    _: S,
    channels: &'a [Channel],
    coefficients: &'a [BatchNormGrad],
    group: GroupValues<'a>,
    present: usize,
    grad_input: &'a mut [f32],
) {
    let channel_len = group.input.len() / channels.len();
    let grad_inputs = grad_input.chunks_exact_mut(channel_len);
    for (c, (channel, grad_input)) in channels.iter().zip(grad_inputs).enumerate() {
        let BatchNormGrad { factor, slope, constant } = coefficients[c];
        let inputs = channel_of(group.input, c, channel_len);
        let outputs = channel_of(group.output, c, channel_len);
        let gradients = channel_of(group.grad_output, c, channel_len);
        let sums = grad_input.as_chunks_mut::<PATCH_BATCH>().0;
        for (((sum, x), y), gradient) in sums.iter_mut().zip(inputs).zip(outputs).zip(gradients) {
            let mut by_input = [0.0f32; PATCH_BATCH];
            for i in 0..PATCH_BATCH {
                let g = if y[i] > 0.0 { gradient[i] } else { 0.0 };
                by_input[i] = madd(factor, g, madd(slope, x[i] - channel.mean, constant));
            }
            // g is zero there, but slope and constant are not.
            if present < PATCH_BATCH {
                by_input[present..].fill(0.0);
            }
            for i in 0..PATCH_BATCH {
                sum[i] += by_input[i];
            }
        }
    }
}
