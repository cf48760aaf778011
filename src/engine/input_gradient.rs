//! The gradient of the loss with respect to the input of a convolution without padding:
//!
//! ```text
//! ∂L/∂input[c][y][x] = Σ_f Σ_dy Σ_dx  weights[f][c][dy][dx] · ∂L/∂output[f][y − dy][x − dx]
//! ```
//!
//! over the outputs that exist: `0 ≤ y − dy < out_side` and `0 ≤ x − dx < out_side`. The adjoint
//! convolution ([`Convolution::adjoint`]) computes the same from outputs padded by `kernel − 1`
//! zeros; where the kernel is as large as the output, most of its products are with zeros (a 6×6
//! kernel over 6×6 outputs: two thirds). Here each input reads only the outputs that exist.
//!
//! Vectors hold neighbouring patches.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd, WithSimd, bytemuck};

use super::batch::PATCH_BATCH;
use super::convolution::Convolution;
use super::kernel::{has_32_registers, multiply_add};
use super::packed::{FilterGroup, PackedFilters, Parallelism};

/// Filters whose outputs are read for all input positions before the next filters are: as many
/// outputs as the second-level cache holds.
const FILTER_BLOCK: usize = 16;

impl Convolution {
    /// Packs weights, `[filter][channel][row][column]`, with the roles of filters and input
    /// channels exchanged: groups of channels, taps `[filter][row][column]`. For
    /// [`Self::input_gradient`].
    #[must_use]
    pub fn transposed(&self, weights: &[f32]) -> PackedFilters {
        let area = self.kernel * self.kernel;
        let filter_len = self.taps();
        let starts = (0..self.filters).flat_map(|f| (0..area).map(move |k| f * filter_len + k));
        PackedFilters::strided(weights, None, self.channels, area, &starts)
    }

    /// Gradient of the input, `[channel][row][column][patch]`, from the gradient of the output,
    /// `[filter][row][column][patch]`, with weights from [`Self::transposed`]. For stride 1 without
    /// padding only.
    #[inline(never)]
    pub fn input_gradient(
        &self,
        transposed: &PackedFilters,
        output: &[f32],
        parallelism: Parallelism,
        input: &mut [f32],
    ) {
        let channel_len = self.side * self.side * PATCH_BATCH;
        transposed.share(parallelism, channel_len, input, |groups, input| {
            Arch::new().dispatch(ConvInputGrad { conv: *self, groups, output, input });
        });
    }
}

struct ConvInputGrad<'a> {
    conv: Convolution,
    /// Groups of input channels.
    groups: &'a [FilterGroup],
    /// Gradient of the output, `[filter][row][column][patch]`.
    output: &'a [f32],
    /// Gradient of the input, `[channel][row][column][patch]`, from the first group's channels on.
    input: &'a mut [f32],
}

/// An input position and the patches of one step.
#[derive(Clone, Copy)]
struct InputPosition {
    row: usize,
    column: usize,
    /// First of the patches that are computed together.
    patch: usize,
}

/// Taps along one axis by which existing outputs read an input position, both ends included.
struct TapRange {
    first: usize,
    last: usize,
}

impl TapRange {
    /// Output `at − tap` exists for these taps.
    #[inline(always)]
    fn of(at: usize, conv: &Convolution) -> Self {
        Self { first: (at + 1).saturating_sub(conv.out_side()), last: at.min(conv.kernel - 1) }
    }
}

impl WithSimd for ConvInputGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if has_32_registers::<S>() {
            self.all_groups::<S, 2>(simd);
        } else {
            self.all_groups::<S, 1>(simd);
        }
    }
}

impl ConvInputGrad<'_> {
    #[inline(always)]
    fn all_groups<S: Simd, const VECTORS: usize>(mut self, simd: S) {
        let Some(first) = self.groups.first().map(|group| group.first) else { return };
        for group in self.groups {
            let channel = group.first - first;
            match group.width {
                8 => self.one_group::<S, 8, VECTORS>(simd, group, channel),
                4 => self.one_group::<S, 4, VECTORS>(simd, group, channel),
                2 => self.one_group::<S, 2, VECTORS>(simd, group, channel),
                _ => self.one_group::<S, 1, VECTORS>(simd, group, channel),
            }
        }
    }

    /// Gradients of `CHANNELS` channels from `channel` on, for all positions and patches.
    #[inline(always)]
    fn one_group<S: Simd, const CHANNELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        group: &FilterGroup,
        channel: usize,
    ) {
        let side = self.conv.side;
        let channel_len = side * side * PATCH_BATCH;
        let width = S::F32_LANES * VECTORS;
        for first_filter in (0..self.conv.filters).step_by(FILTER_BLOCK) {
            let filters = first_filter..(first_filter + FILTER_BLOCK).min(self.conv.filters);
            for row in 0..side {
                for column in 0..side {
                    for patch in (0..PATCH_BATCH).step_by(width) {
                        let start =
                            channel * channel_len + (row * side + column) * PATCH_BATCH + patch;
                        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; CHANNELS];
                        if first_filter > 0 {
                            for (m, sum) in sums.iter_mut().enumerate() {
                                let earlier = &self.input[start + m * channel_len..][..width];
                                bytemuck::cast_slice_mut(sum).copy_from_slice(earlier);
                            }
                        }
                        let position = InputPosition { row, column, patch };
                        self.add_outputs(simd, &mut sums, group, filters.clone(), position);
                        for (m, sum) in sums.iter().enumerate() {
                            self.input[start + m * channel_len..][..width]
                                .copy_from_slice(bytemuck::cast_slice(sum));
                        }
                    }
                }
            }
        }
    }

    /// Adds `weight · gradient` of every output that reads the input at `position`.
    #[inline(always)]
    fn add_outputs<S: Simd, const CHANNELS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        sums: &mut [[S::f32s; VECTORS]; CHANNELS],
        group: &FilterGroup,
        filters: std::ops::Range<usize>,
        position: InputPosition,
    ) {
        let kernel = self.conv.kernel;
        let out_side = self.conv.out_side();
        let rows = TapRange::of(position.row, &self.conv);
        let columns = TapRange::of(position.column, &self.conv);
        let count = columns.last + 1 - columns.first;
        let width = S::F32_LANES * VECTORS;
        for f in filters {
            for dy in rows.first..=rows.last {
                // Taps run from left to right, the outputs that they belong to from right to left.
                let out_row = f * out_side + position.row - dy;
                let leftmost = out_row * out_side + position.column - columns.last;
                let source = &self.output[leftmost * PATCH_BATCH + position.patch..]
                    [..(count - 1) * PATCH_BATCH + width];
                let first_tap = (f * kernel + dy) * kernel + columns.first;
                let weights = &group.weights[first_tap * CHANNELS..][..count * CHANNELS];
                for (i, tap_weights) in weights.as_chunks::<CHANNELS>().0.iter().enumerate() {
                    let window = &source[(count - 1 - i) * PATCH_BATCH..][..width];
                    multiply_add(simd, tap_weights, window, sums);
                }
            }
        }
    }
}
