//! The inner loop of the CPU engine: a group of filters times a run of neighbouring outputs, held
//! in registers.
//!
//! ```text
//! target[f · filter_step + run.target + i]
//!     = bias[f] + Σₜ weights[t][f] · source[run.source + taps[t] + i]      for i < run_len
//! ```
//!
//! Each sum starts with the bias and adds the taps in the order given, one fused multiply-add each.
//! Vectors hold neighbouring outputs and never split a sum, so their width changes no bit.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd, WithSimd, bytemuck};

use super::packed::FilterGroup;
use crate::platform::FUSED;

/// Values that may be read, and are ignored, past the end of the last run: a source ends with this
/// many values of padding.
pub const SLACK: usize = 32;

/// What is applied to the sums of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The sum itself.
    Identity,
    /// `max(0, sum)`.
    Relu,
}

/// Neighbouring outputs whose inputs are neighbours too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputRun {
    /// Index in the source that a tap at 0 reads for the first output.
    pub source: usize,
    /// Index of the first output in the target, for the first filter.
    pub target: usize,
}

/// Weighted sums along runs of neighbouring outputs; the formula is at the top of this file.
pub struct ConvForward<'a> {
    /// Neighbouring groups of filters; the target begins with the first filter of the first group.
    pub groups: &'a [FilterGroup],
    /// Input values, followed by [`SLACK`].
    pub source: &'a [f32],
    /// Where each weight of a filter reads, relative to the run's start in the source.
    pub taps: &'a [usize],
    /// All of the same length, [`Self::run_len`]; their targets do not overlap.
    pub runs: &'a [OutputRun],
    /// Outputs in each run.
    pub run_len: usize,
    /// Distance between two filters in the target.
    pub filter_step: usize,
    /// Whether a ReLU follows the sums.
    pub relu: bool,
}

/// Computes all filters of all runs into `target`.
pub fn weighted_sums(sums: &ConvForward<'_>, target: &mut [f32]) {
    Arch::new().dispatch(ForwardTask { sums, target });
}

struct ForwardTask<'a, 'b> {
    sums: &'a ConvForward<'b>,
    target: &'a mut [f32],
}

impl WithSimd for ForwardTask<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Sixteen accumulators fit beside the operands only where there are 32 registers.
        if has_32_registers::<S>() {
            all_groups::<S, 2>(simd, self.sums, self.target);
        } else {
            all_groups::<S, 1>(simd, self.sums, self.target);
        }
    }
}

/// Whether 32 vectors fit into registers. Those of wasm are as many as one likes, but browsers map
/// them to the processor's: sixteen on x86-64.
#[inline(always)]
pub(super) fn has_32_registers<S: Simd>() -> bool {
    S::REGISTER_COUNT >= 32 && cfg!(not(target_arch = "wasm32"))
}

/// `VECTORS` vectors of outputs are computed at a time.
#[inline(always)]
fn all_groups<S: Simd, const VECTORS: usize>(simd: S, sums: &ConvForward<'_>, target: &mut [f32]) {
    let Some(first) = sums.groups.first().map(|group| group.first) else { return };
    for group in sums.groups {
        let target = &mut target[(group.first - first) * sums.filter_step..];
        match group.width {
            8 => one_group::<S, 8, VECTORS>(simd, sums, group, target),
            4 => one_group::<S, 4, VECTORS>(simd, sums, group, target),
            2 => one_group::<S, 2, VECTORS>(simd, sums, group, target),
            _ => one_group::<S, 1, VECTORS>(simd, sums, group, target),
        }
    }
}

#[inline(always)]
fn one_group<S: Simd, const FILTERS: usize, const VECTORS: usize>(
    simd: S,
    sums: &ConvForward<'_>,
    group: &FilterGroup,
    target: &mut [f32],
) {
    let step = S::F32_LANES * VECTORS;
    for run in sums.runs {
        let mut x = 0;
        while x < sums.run_len {
            // The last tile of a run may read up to `step − 1` values past it (hence SLACK); what
            // it computes of them is not stored.
            let source = &sums.source[run.source + x..];
            let tile = tile::<S, FILTERS, VECTORS>(simd, group, source, sums.taps);
            let count = step.min(sums.run_len - x);
            for (filter, row) in tile.iter().enumerate() {
                let start = filter * sums.filter_step + run.target + x;
                store(simd, row, &mut target[start..][..count], sums.relu);
            }
            x += step;
        }
    }
}

/// `bias[f] + Σₜ weights[t][f] · source[taps[t] + i]` for the filters of a group and `VECTORS`
/// vectors of neighbouring outputs.
#[inline(always)]
fn tile<S: Simd, const FILTERS: usize, const VECTORS: usize>(
    simd: S,
    group: &FilterGroup,
    source: &[f32],
    taps: &[usize],
) -> [[S::f32s; VECTORS]; FILTERS] {
    // FILTERS × VECTORS accumulators stay in registers over all taps. For each tap there are
    // VECTORS loads of inputs and FILTERS broadcasts of weights for FILTERS × VECTORS
    // multiply-adds.
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; FILTERS];
    for (sum, &bias) in sums.iter_mut().zip(&group.bias) {
        *sum = [simd.splat_f32s(bias); VECTORS];
    }
    for (weights, &tap) in group.weights.as_chunks::<FILTERS>().0.iter().zip(taps) {
        multiply_add(simd, weights, &source[tap..][..VECTORS * S::F32_LANES], &mut sums);
    }
    sums
}

/// `sums[f] += weights[f] · window` for vectors of neighbouring values.
#[inline(always)]
pub(super) fn multiply_add<S: Simd, const FILTERS: usize, const VECTORS: usize>(
    simd: S,
    weights: &[f32; FILTERS],
    window: &[f32],
    sums: &mut [[S::f32s; VECTORS]; FILTERS],
) {
    let mut values = [simd.splat_f32s(0.0); VECTORS];
    for (value, chunk) in values.iter_mut().zip(window.chunks_exact(S::F32_LANES)) {
        *value = bytemuck::pod_read_unaligned(bytemuck::cast_slice(chunk));
    }
    for f in 0..FILTERS {
        let weight = simd.splat_f32s(weights[f]);
        for v in 0..VECTORS {
            sums[f][v] = madd(simd, weight, values[v], sums[f][v]);
        }
    }
}

/// `platform::madd` on vectors.
#[inline(always)]
pub(super) fn madd<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if FUSED { simd.mul_add_f32s(a, b, c) } else { simd.add_f32s(simd.mul_f32s(a, b), c) }
}

#[inline(always)]
fn store<S: Simd, const VECTORS: usize>(
    simd: S,
    row: &[S::f32s; VECTORS],
    out: &mut [f32],
    relu: bool,
) {
    let zero = simd.splat_f32s(0.0);
    for (vector, chunk) in row.iter().zip(out.chunks_mut(S::F32_LANES)) {
        let vector = if relu { simd.max_f32s(*vector, zero) } else { *vector };
        let values: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&vector));
        chunk.copy_from_slice(&values[..chunk.len()]);
    }
}

/// `value · scale[channel] + shift[channel]` in place; `values` is `[channel][channel_len]`.
pub(super) fn affine(values: &mut [f32], channel_len: usize, scale: &[f32], shift: &[f32]) {
    Arch::new().dispatch(AffineTask { values, channel_len, scale, shift });
}

struct AffineTask<'a> {
    values: &'a mut [f32],
    channel_len: usize,
    scale: &'a [f32],
    shift: &'a [f32],
}

impl WithSimd for AffineTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let channels = self.values.chunks_exact_mut(self.channel_len);
        for (channel, (&scale, &shift)) in channels.zip(self.scale.iter().zip(self.shift)) {
            for value in channel {
                *value = crate::platform::madd(*value, scale, shift);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::PackedFilters;
    use super::*;

    #[test]
    fn every_group_width_and_ragged_run_adds_in_the_order_of_the_taps() {
        const FILTER_STEP: usize = 200;
        let mut source = Vec::new();
        for i in 0..400 {
            source.push(((i * 37) % 101) as f32 * 0.013 - 0.6);
        }
        let taps = [0, 3, 50, 7];
        for filters in [1, 2, 3, 5, 8, 15] {
            let mut weights = Vec::new();
            for i in 0..filters * taps.len() {
                weights.push(((i * 29) % 53) as f32 * 0.031 - 0.8);
            }
            let packed = PackedFilters::new(&weights, None, filters);
            for run_len in [1, 7, 33, 70] {
                let runs = [
                    OutputRun { source: 5, target: 0 },
                    OutputRun { source: 100, target: run_len },
                ];
                let mut target = vec![0.0; filters * FILTER_STEP];
                let sums = ConvForward {
                    groups: &packed.groups,
                    source: &source,
                    taps: &taps,
                    runs: &runs,
                    run_len,
                    filter_step: FILTER_STEP,
                    relu: true,
                };
                weighted_sums(&sums, &mut target);
                for f in 0..filters {
                    for run in runs {
                        for i in 0..run_len {
                            let mut sum = 0.0f32;
                            for (t, tap) in taps.iter().enumerate() {
                                let value = source[run.source + i + tap];
                                sum =
                                    crate::platform::madd(weights[f * taps.len() + t], value, sum);
                            }
                            assert_eq!(
                                target[f * FILTER_STEP + run.target + i].to_bits(),
                                sum.max(0.0).to_bits(),
                                "{filters} {run_len} {f} {i}"
                            );
                        }
                    }
                }
            }
        }
    }
}
