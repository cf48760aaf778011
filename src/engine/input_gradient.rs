//! How the loss moves with the input of a convolution without padding. Its adjoint would be a
//! convolution of mostly zeros (a 6×6 kernel over 6×6 outputs: two thirds of the products); here
//! every input position asks only the outputs that read it.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd, WithSimd, bytemuck};

use super::batch::PATCH_BATCH;
use super::convolution::Convolution;
use super::kernel::madd;
use super::packed::{FilterGroup, PackedFilters, Parallelism};

/// Filters whose outputs are walked together when their gradients go back to the input: as many as
/// a cache holds.
const BLOCK: usize = 16;

impl Convolution {
    /// Weights turned so that input channels take the place of filters, for
    /// [`Self::input_gradient`].
    #[must_use]
    pub fn transposed(&self, weights: &[f32]) -> PackedFilters {
        let area = self.kernel * self.kernel;
        let filter = self.taps();
        let starts = (0..self.filters).flat_map(move |f| (0..area).map(move |k| f * filter + k));
        PackedFilters::strided(weights, None, self.channels, area, &starts)
    }

    /// Gradient of the input from that of the output, with weights from [`Self::transposed`]. Of
    /// stride 1 without padding only.
    pub fn input_gradient(
        &self,
        transposed: &PackedFilters,
        output: &[f32],
        ways: Parallelism,
        input: &mut [f32],
    ) {
        transposed.share(ways, self.side * self.side * PATCH_BATCH, input, |groups, input| {
            Arch::new().dispatch(ConvInputGrad { conv: *self, groups, output, input });
        });
    }
}

struct ConvInputGrad<'a> {
    conv: Convolution,
    groups: &'a [FilterGroup],
    output: &'a [f32],
    /// From the first group's channels on.
    input: &'a mut [f32],
}

impl WithSimd for ConvInputGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.run::<S, 2>(simd) } else { self.run::<S, 1>(simd) }
    }
}

impl ConvInputGrad<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(mut self, simd: S) {
        let Some(first) = self.groups.first().map(|group| group.first) else { return };
        for group in self.groups {
            let channel = group.first - first;
            match group.width {
                8 => self.group::<S, 8, V>(simd, group, channel),
                4 => self.group::<S, 4, V>(simd, group, channel),
                2 => self.group::<S, 2, V>(simd, group, channel),
                _ => self.group::<S, 1, V>(simd, group, channel),
            }
        }
    }

    #[inline(always)]
    fn group<S: Simd, const M: usize, const V: usize>(
        &mut self,
        simd: S,
        group: &FilterGroup,
        channel: usize,
    ) {
        let (side, wide) = (self.conv.side, S::F32_LANES * V);
        for first in (0..self.conv.filters).step_by(BLOCK) {
            let filters = first..(first + BLOCK).min(self.conv.filters);
            for (y, x) in (0..side * side).map(|i| (i / side, i % side)) {
                for part in (0..PATCH_BATCH).step_by(wide) {
                    let at =
                        |m: usize| (((channel + m) * side + y) * side + x) * PATCH_BATCH + part;
                    let mut sums = [[simd.splat_f32s(0.0); V]; M];
                    if first > 0 {
                        for (m, row) in sums.iter_mut().enumerate() {
                            bytemuck::cast_slice_mut(row)
                                .copy_from_slice(&self.input[at(m)..][..wide]);
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

    /// Every output that reads the input at (y, x) sends its gradient back through the tap it read
    /// by.
    #[inline(always)]
    fn position<S: Simd, const M: usize, const V: usize>(
        &self,
        simd: S,
        sums: &mut [[S::f32s; V]; M],
        group: &FilterGroup,
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
                let first = ((f * to + y - dy) * to + x - right) * PATCH_BATCH + part;
                let source = &self.output[first..][..(count - 1) * PATCH_BATCH + wide];
                let weights =
                    &group.weights[((f * kernel + dy) * kernel + left) * M..][..count * M];
                for (i, taps) in weights.as_chunks::<M>().0.iter().enumerate() {
                    let window = &source[(count - 1 - i) * PATCH_BATCH..][..wide];
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
