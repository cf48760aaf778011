//! Batch normalisation on lanes with the rectifier behind it: statistics are those of all patches
//! of a step.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd};
use rayon::prelude::*;

use crate::engine::PATCH_BATCH;
use crate::model::BATCH_NORM_EPSILON;
use crate::platform::madd;

/// Mean and variance of each channel over a step, the variance as PyTorch stores it (divided by one
/// less).
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
}

/// A normalisation by the statistics of one step.
#[derive(Debug, Clone)]
pub struct Norm {
    channels: Vec<Channel>,
    patches: usize,
    /// Values of a channel over the step.
    count: f64,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    mean: f32,
    /// Sum of squared distances from the mean.
    squares: f64,
    /// One over the deviation.
    inv_std: f64,
    gamma: f64,
    scale: f32,
    shift: f32,
}

/// What sums over a step say of a channel's gradient: `factor · g + slope · (x − mean) + constant`.
#[derive(Debug, Clone, Copy)]
struct BatchNormGrad {
    factor: f32,
    slope: f32,
    constant: f32,
}

impl Norm {
    /// Statistics of `groups` of 32 patches, of which `patches` in all are there, with the layer's
    /// scale and shift.
    #[must_use]
    pub fn of(groups: &[&[f32]], patches: usize, [gamma, beta]: [&[f32]; 2]) -> Self {
        let area = groups[0].len() / PATCH_BATCH / gamma.len();
        let found: Vec<Vec<(f64, f64)>> = groups
            .par_iter()
            .enumerate()
            .map(|(g, x)| moments(x, area, present(g, patches)))
            .collect();
        let count = (patches * area) as f64;
        let channel = |c: usize| {
            let each = || {
                found.iter().enumerate().map(|(g, f)| ((present(g, patches) * area) as f64, f[c]))
            };
            let mean = each().map(|(n, (mean, _))| n * mean).sum::<f64>() / count;
            let squares: f64 =
                each().map(|(n, (own, squares))| squares + n * (own - mean).powi(2)).sum();
            let inv_std = 1.0 / (squares / count + f64::from(BATCH_NORM_EPSILON)).sqrt();
            let scale = f64::from(gamma[c]) * inv_std;
            Channel {
                mean: mean as f32,
                squares,
                inv_std,
                gamma: f64::from(gamma[c]),
                scale: scale as f32,
                shift: (f64::from(beta[c]) - mean * scale) as f32,
            }
        };
        Self { channels: (0..gamma.len()).map(channel).collect(), patches, count }
    }

    /// What running statistics move towards.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let unbiased = |c: &Channel| (c.squares / (self.count - 1.0).max(1.0)) as f32;
        Statistics {
            mean: self.channels.iter().map(|c| c.mean).collect(),
            variance: self.channels.iter().map(unbiased).collect(),
        }
    }

    /// Normalised and rectified values of a group.
    pub fn apply(&self, input: &[f32], out: &mut [f32]) {
        normalise(&self.channels, input, out);
    }

    /// Adds the gradients of the inputs to `inner`, from those of the outputs; gives the gradients
    /// of scale and shift. Each group is its inputs, outputs and output gradients.
    pub fn backward(&self, groups: &[[&[f32]; 3]], inner: &mut [&mut [f32]]) -> [Vec<f32>; 2] {
        let found: Vec<Vec<[f64; 2]>> =
            groups.par_iter().map(|group| sums_by_channel(&self.channels, *group)).collect();
        let sum = |c: usize, i: usize| found.iter().map(|f| f[c][i]).sum::<f64>();
        let sums: Vec<[f64; 2]> =
            (0..self.channels.len()).map(|c| [sum(c, 0), sum(c, 1)]).collect();
        let back: Vec<BatchNormGrad> =
            self.channels.iter().zip(&sums).map(|(c, s)| self.back(c, *s)).collect();
        inner.par_iter_mut().zip(groups).enumerate().for_each(|(g, (inner, group))| {
            add_back(&self.channels, &back, *group, present(g, self.patches), inner);
        });
        let gamma =
            self.channels.iter().zip(&sums).map(|(c, s)| (s[1] * c.inv_std) as f32).collect();
        [gamma, sums.iter().map(|s| s[0] as f32).collect()]
    }

    fn back(&self, channel: &Channel, [plain, by_distance]: [f64; 2]) -> BatchNormGrad {
        let factor = channel.gamma * channel.inv_std;
        BatchNormGrad {
            factor: factor as f32,
            slope: (-factor * channel.inv_std.powi(2) * by_distance / self.count) as f32,
            constant: (-factor * plain / self.count) as f32,
        }
    }
}

#[pulp::with_simd(normalise = Arch::new())]
#[inline(always)]
fn normalise_with<'a, S: Simd>(
    _: S,
    channels: &'a [Channel],
    input: &'a [f32],
    out: &'a mut [f32],
) {
    let each = input.len() / channels.len();
    let pairs = input.chunks_exact(each).zip(out.chunks_exact_mut(each));
    for (channel, (input, out)) in channels.iter().zip(pairs) {
        for (y, &x) in out.iter_mut().zip(input) {
            let z = madd(x, channel.scale, channel.shift);
            // What is no number stays so, for the loss to show it.
            *y = if z <= 0.0 { 0.0 } else { z };
        }
    }
}

/// Sums of each channel's gradients, plain and times the distance from the mean. Absent patches
/// have none.
#[pulp::with_simd(sums_by_channel = Arch::new())]
#[inline(always)]
fn sums_by_channel_with<'a, S: Simd>(
    _: S,
    channels: &'a [Channel],
    [input, output, gradient]: [&'a [f32]; 3],
) -> Vec<[f64; 2]> {
    let each = input.len() / channels.len();
    let mut out = Vec::with_capacity(channels.len());
    for (c, channel) in channels.iter().enumerate() {
        let (mut plain, mut by_distance) = ([0.0f32; PATCH_BATCH], [0.0f32; PATCH_BATCH]);
        let [input, output, gradient] = [input, output, gradient].map(|v| lines_of(v, c, each));
        for ((x, y), g) in input.iter().zip(output).zip(gradient) {
            for i in 0..PATCH_BATCH {
                let g = if y[i] > 0.0 { g[i] } else { 0.0 };
                plain[i] += g;
                by_distance[i] = madd(g, x[i] - channel.mean, by_distance[i]);
            }
        }
        out.push([plain, by_distance].map(|lanes| lanes.iter().copied().map(f64::from).sum()));
    }
    out
}

/// Adds the gradients of a group's inputs to `inner`.
#[pulp::with_simd(add_back = Arch::new())]
#[inline(always)]
fn add_back_with<'a, S: Simd>(
    _: S,
    channels: &'a [Channel],
    back: &'a [BatchNormGrad],
    [input, output, gradient]: [&'a [f32]; 3],
    present: usize,
    inner: &'a mut [f32],
) {
    let each = input.len() / channels.len();
    for (c, (channel, inner)) in channels.iter().zip(inner.chunks_exact_mut(each)).enumerate() {
        let [input, output, gradient] = [input, output, gradient].map(|v| lines_of(v, c, each));
        let lines = inner.as_chunks_mut::<PATCH_BATCH>().0.iter_mut();
        for (((inner, x), y), g) in lines.zip(input).zip(output).zip(gradient) {
            let mut moved = [0.0f32; PATCH_BATCH];
            for i in 0..PATCH_BATCH {
                let g = if y[i] > 0.0 { g[i] } else { 0.0 };
                moved[i] = madd(
                    back[c].factor,
                    g,
                    madd(back[c].slope, x[i] - channel.mean, back[c].constant),
                );
            }
            // An absent patch moves nothing.
            if present < PATCH_BATCH {
                moved[present..].fill(0.0);
            }
            inner.iter_mut().zip(moved).for_each(|(sum, m)| *sum += m);
        }
    }
}

/// Lines of channel `c`.
#[inline(always)]
fn lines_of(values: &[f32], c: usize, each: usize) -> &[[f32; PATCH_BATCH]] {
    values[c * each..][..each].as_chunks::<PATCH_BATCH>().0
}

/// Patches in a group.
fn present(group: usize, patches: usize) -> usize {
    (patches - group * PATCH_BATCH).min(PATCH_BATCH)
}

/// Mean of each channel's values and the sum of squared distances from it, over the lanes that are
/// there.
#[pulp::with_simd(moments = Arch::new())]
#[inline(always)]
fn moments_with<S: Simd>(_: S, values: &[f32], area: usize, present: usize) -> Vec<(f64, f64)> {
    let count = (area * present) as f64;
    let total =
        |sums: &[f32; PATCH_BATCH]| sums[..present].iter().copied().map(f64::from).sum::<f64>();
    let mut out = Vec::with_capacity(values.len() / PATCH_BATCH / area);
    for channel in values.chunks_exact(area * PATCH_BATCH) {
        let lines = channel.as_chunks::<PATCH_BATCH>().0;
        let mut sums = [0.0f32; PATCH_BATCH];
        lines.iter().for_each(|line| sums.iter_mut().zip(line).for_each(|(s, v)| *s += v));
        let mean = total(&sums) / count;
        let middle = mean as f32;
        let mut squares = [0.0f32; PATCH_BATCH];
        for line in lines {
            squares.iter_mut().zip(line).for_each(|(s, v)| *s = madd(v - middle, v - middle, *s));
        }
        out.push((mean, total(&squares)));
    }
    out
}
