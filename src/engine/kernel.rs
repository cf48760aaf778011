//! The one inner loop of the CPU engine: a group of filters times a run of neighbouring outputs,
//! held in registers. The sum runs over the taps in the order given, one fused multiply-add each,
//! so the vector width changes no bit.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd, WithSimd, bytemuck};

use super::packed::FilterGroup;
use crate::platform::FUSED;

/// Values that may be read, and are ignored, past the end of the last run: sources need this much
/// slack.
pub const SLACK: usize = 32;

/// Weighted sums along runs of neighbouring outputs.
pub struct ConvForward<'a> {
    /// Filters that stand side by side; the target begins with the first.
    pub groups: &'a [FilterGroup],
    /// Input values; output `i` of a run reads `source[start + tap + i]` for each tap.
    pub source: &'a [f32],
    pub taps: &'a [usize],
    /// `(start in source, start in target)` of each run.
    pub runs: &'a [(usize, usize)],
    /// Outputs in each run.
    pub run_len: usize,
    /// Distance between two filters in the target.
    pub filter_step: usize,
    pub relu: bool,
}

/// Computes all filters of all runs into `target`.
pub fn weighted_sums(sums: &ConvForward<'_>, target: &mut [f32]) {
    Arch::new().dispatch(Job { sums, target });
}

struct Job<'a, 'b> {
    sums: &'a ConvForward<'b>,
    target: &'a mut [f32],
}

impl WithSimd for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Sixteen accumulators fit beside the operands only where there are 32 registers.
        if S::REGISTER_COUNT >= 32 {
            run_all::<S, 2>(simd, self.sums, self.target);
        } else {
            run_all::<S, 1>(simd, self.sums, self.target);
        }
    }
}

#[inline(always)]
fn run_all<S: Simd, const V: usize>(simd: S, sums: &ConvForward<'_>, target: &mut [f32]) {
    let Some(first) = sums.groups.first().map(|group| group.first) else { return };
    for group in sums.groups {
        let target = &mut target[(group.first - first) * sums.filter_step..];
        match group.width {
            8 => run_group::<S, 8, V>(simd, sums, group, target),
            4 => run_group::<S, 4, V>(simd, sums, group, target),
            2 => run_group::<S, 2, V>(simd, sums, group, target),
            _ => run_group::<S, 1, V>(simd, sums, group, target),
        }
    }
}

#[inline(always)]
fn run_group<S: Simd, const M: usize, const V: usize>(
    simd: S,
    sums: &ConvForward<'_>,
    group: &FilterGroup,
    target: &mut [f32],
) {
    let step = S::F32_LANES * V;
    for &(from, to) in sums.runs {
        let mut x = 0;
        while x < sums.run_len {
            let tile = tile::<S, M, V>(simd, group, &sums.source[from + x..], sums.taps);
            let count = step.min(sums.run_len - x);
            for (m, row) in tile.iter().enumerate() {
                let out = &mut target[m * sums.filter_step + to + x..][..count];
                store(simd, row, out, sums.relu);
            }
            x += step;
        }
    }
}

/// `bias[m] + Σ weights[tap][m] · source[tap + i]` for M filters and V vectors of neighbouring
/// outputs.
#[inline(always)]
fn tile<S: Simd, const M: usize, const V: usize>(
    simd: S,
    group: &FilterGroup,
    source: &[f32],
    taps: &[usize],
) -> [[S::f32s; V]; M] {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    for (sum, &b) in sums.iter_mut().zip(&group.bias) {
        *sum = [simd.splat_f32s(b); V];
    }
    for (weights, &tap) in group.weights.as_chunks::<M>().0.iter().zip(taps) {
        let window = &source[tap..][..V * S::F32_LANES];
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
    sums
}

/// `platform::madd` on vectors.
#[inline(always)]
pub fn madd<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if FUSED { simd.mul_add_f32s(a, b, c) } else { simd.add_f32s(simd.mul_f32s(a, b), c) }
}

#[inline(always)]
fn store<S: Simd, const V: usize>(simd: S, row: &[S::f32s; V], out: &mut [f32], relu: bool) {
    let zero = simd.splat_f32s(0.0);
    for (v, chunk) in row.iter().zip(out.chunks_mut(S::F32_LANES)) {
        let v = if relu { simd.max_f32s(*v, zero) } else { *v };
        let lanes: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&v));
        chunk.copy_from_slice(&lanes[..chunk.len()]);
    }
}

/// `x · scale + shift` in place, one pair for each run of `channel_len` values.
pub fn affine(values: &mut [f32], channel_len: usize, scale: &[f32], shift: &[f32]) {
    Arch::new().dispatch(Affine { values, channel_len, scale, shift });
}

struct Affine<'a> {
    values: &'a mut [f32],
    channel_len: usize,
    scale: &'a [f32],
    shift: &'a [f32],
}

impl WithSimd for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let channels = self.values.chunks_exact_mut(self.channel_len);
        for (channel, (&scale, &shift)) in channels.zip(self.scale.iter().zip(self.shift)) {
            channel.iter_mut().for_each(|v| *v = crate::platform::madd(*v, scale, shift));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::PackedFilters;
    use super::*;

    #[test]
    fn every_group_width_and_ragged_run_adds_in_the_order_of_the_taps() {
        let source: Vec<f32> = (0..400).map(|i| ((i * 37) % 101) as f32 * 0.013 - 0.6).collect();
        let taps = [0, 3, 50, 7];
        for filters in [1, 2, 3, 5, 8, 15] {
            let weights: Vec<f32> =
                (0..filters * 4).map(|i| ((i * 29) % 53) as f32 * 0.031 - 0.8).collect();
            let packed = PackedFilters::new(&weights, None, filters);
            for run_len in [1, 7, 33, 70] {
                let runs = [(5, 0), (100, run_len)];
                let mut target = vec![0.0; filters * 200];
                let sums = ConvForward {
                    groups: &packed.groups,
                    source: &source,
                    taps: &taps,
                    runs: &runs,
                    run_len,
                    filter_step: 200,
                    relu: true,
                };
                weighted_sums(&sums, &mut target);
                for (f, (from, to), i) in (0..filters).flat_map(|f| {
                    runs.into_iter().flat_map(move |r| (0..run_len).map(move |i| (f, r, i)))
                }) {
                    let sum = taps.iter().enumerate().fold(0.0f32, |s, (k, t)| {
                        crate::platform::madd(weights[f * 4 + k], source[from + i + t], s)
                    });
                    assert_eq!(
                        target[f * 200 + to + i].to_bits(),
                        sum.max(0.0).to_bits(),
                        "{filters} {run_len} {f} {i}"
                    );
                }
            }
        }
    }
}
