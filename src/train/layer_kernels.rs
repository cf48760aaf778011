//! Layers on lanes that are no convolution, and the weight gradient of layers with few outputs.
//!
//! Each function is compiled once for each set of vector instructions (`pulp::with_simd`). A
//! closure given to pulp's dispatch instead is not inlined there, and what it does stays scalar.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd};
use rayon::prelude::*;

use super::batch::Batch;
use super::buffer_pool::BufferPool;
use crate::engine::{
    AlignedBuffer, ConvForward, Convolution, OutputRun, PATCH_BATCH, PackedFilters, Parallelism,
    SLACK, weighted_sums,
};

/// Samples that one product takes at a time.
const SAMPLES: usize = 512;

/// Maxima over squares that begin at an offset, or before the first value where there is padding.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub row: usize,
    pub column: usize,
    /// Sides of input and output.
    pub side: usize,
    pub to: usize,
}

impl Pool {
    /// Line of tap `t` of the output at (y, x) of channel `c`; none in the padding.
    #[inline(always)]
    fn line(&self, [c, y, x]: [usize; 3], t: usize) -> Option<usize> {
        let inside = |at: usize| at.checked_sub(self.padding).filter(|&at| at < self.side);
        let row = inside(self.row + y * self.stride + t / self.kernel)?;
        let column = inside(self.column + x * self.stride + t % self.kernel)?;
        Some((c * self.side + row) * self.side + column)
    }

    /// Values of the channels that each way takes, in the input and in the output.
    pub fn shares(&self, channels: usize, ways: Parallelism) -> [usize; 2] {
        let each = ways.share(channels, 1) * PATCH_BATCH;
        [each * self.side * self.side, each * self.to * self.to]
    }

    #[inline(always)]
    fn taps(&self) -> u32 {
        (self.kernel * self.kernel) as u32
    }
}

/// Channel, row and column of each line of squares of this side.
#[inline(always)]
fn each(lines: usize, to: usize) -> impl Iterator<Item = [usize; 3]> {
    (0..lines).map(move |i| [i / (to * to), i / to % to, i % to])
}

/// The maxima of one offset.
#[pulp::with_simd(pool = Arch::new())]
#[inline(always)]
pub fn pool_with<'a, S: Simd>(_: S, pool: Pool, input: &'a [f32], out: &'a mut [f32]) {
    let lines = input.as_chunks::<PATCH_BATCH>().0;
    let out = out.as_chunks_mut::<PATCH_BATCH>().0;
    let places = each(out.len(), pool.to);
    for (line, at) in out.iter_mut().zip(places) {
        *line = [f32::NEG_INFINITY; PATCH_BATCH];
        for tap in (0..pool.taps()).filter_map(|t| pool.line(at, t as usize)) {
            line.iter_mut().zip(&lines[tap]).for_each(|(m, &v)| *m = if v <= *m { *m } else { v });
        }
    }
}

/// Adds each output's gradient to the first of its inputs that is largest.
#[pulp::with_simd(pool_gradient = Arch::new())]
#[inline(always)]
pub fn pool_gradient_with<'a, S: Simd>(
    _: S,
    pool: Pool,
    input: &'a [f32],
    output: &'a [f32],
    moved: &'a mut [f32],
) {
    let lines = input.as_chunks::<PATCH_BATCH>().0;
    let moved = moved.as_chunks_mut::<PATCH_BATCH>().0;
    let output = output.as_chunks::<PATCH_BATCH>().0;
    for (line, at) in output.iter().zip(each(output.len(), pool.to)) {
        let (mut best, mut winner) = ([f32::NEG_INFINITY; PATCH_BATCH], [u32::MAX; PATCH_BATCH]);
        let taps = || (0..pool.taps()).filter_map(|t| Some((t, pool.line(at, t as usize)?)));
        for (t, tap) in taps() {
            let tap = &lines[tap];
            for i in 0..PATCH_BATCH {
                let larger = tap[i] > best[i];
                best[i] = if larger { tap[i] } else { best[i] };
                winner[i] = if larger { t } else { winner[i] };
            }
        }
        for (t, tap) in taps() {
            let to = &mut moved[tap];
            for i in 0..PATCH_BATCH {
                to[i] += if winner[i] == t { line[i] } else { 0.0 };
            }
        }
    }
}

/// Means over squares side by side; what is left over at the end of a row or column takes no part.
#[pulp::with_simd(average = Arch::new())]
#[inline(always)]
pub fn average_with<'a, S: Simd>(
    _: S,
    [kernel, side, to]: [usize; 3],
    input: &'a [f32],
    out: &'a mut [f32],
) {
    let lines = input.as_chunks::<PATCH_BATCH>().0;
    let share = 1.0 / (kernel * kernel) as f32;
    let out = out.as_chunks_mut::<PATCH_BATCH>().0;
    let places = each(out.len(), to);
    for (line, [c, y, x]) in out.iter_mut().zip(places) {
        let mut sums = [0.0f32; PATCH_BATCH];
        for t in 0..kernel * kernel {
            let tap = &lines[(c * side + y * kernel + t / kernel) * side + x * kernel + t % kernel];
            sums.iter_mut().zip(tap).for_each(|(s, v)| *s += v);
        }
        line.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = sum * share);
    }
}

/// Adds each output's gradient, in equal parts, to its inputs.
#[pulp::with_simd(average_gradient = Arch::new())]
#[inline(always)]
pub fn average_gradient_with<'a, S: Simd>(
    _: S,
    [kernel, side, to]: [usize; 3],
    output: &'a [f32],
    moved: &'a mut [f32],
) {
    let share = 1.0 / (kernel * kernel) as f32;
    let moved = moved.as_chunks_mut::<PATCH_BATCH>().0;
    let output = output.as_chunks::<PATCH_BATCH>().0;
    for (line, [c, y, x]) in output.iter().zip(each(output.len(), to)) {
        for t in 0..kernel * kernel {
            let tap =
                &mut moved[(c * side + y * kernel + t / kernel) * side + x * kernel + t % kernel];
            tap.iter_mut().zip(line).for_each(|(sum, g)| *sum += g * share);
        }
    }
}

/// A rectified value that is not positive passes no gradient.
#[pulp::with_simd(mask = Arch::new())]
#[inline(always)]
pub fn mask_with<'a, S: Simd>(_: S, moved: &'a mut [f32], value: &'a [f32]) {
    moved.iter_mut().zip(value).for_each(|(m, &v)| *m = if v > 0.0 { *m } else { 0.0 });
}

/// Adds the sum of each filter's values.
#[pulp::with_simd(row_sums = Arch::new())]
#[inline(always)]
pub fn row_sums_with<'a, S: Simd>(_: S, moved: &'a [f32], sums: &'a mut [f32]) {
    let each = moved.len() / sums.len();
    for (sum, values) in sums.iter_mut().zip(moved.chunks_exact(each)) {
        let mut lanes = [0.0f32; PATCH_BATCH];
        for line in values.as_chunks::<PATCH_BATCH>().0 {
            lanes.iter_mut().zip(line).for_each(|(l, v)| *l += v);
        }
        *sum += lanes.iter().sum::<f32>();
    }
}

/// Values of windows side by side: value `i` of each in line `i`.
#[pulp::with_simd(side_by_side = Arch::new())]
#[inline(always)]
fn side_by_side_with<'a, S: Simd>(_: S, windows: &'a [&'a [f32]], out: &'a mut [f32]) {
    for (i, line) in out.as_chunks_mut::<PATCH_BATCH>().0.iter_mut().enumerate() {
        line.iter_mut().zip(windows).for_each(|(v, window)| *v = window[i]);
    }
}

/// The maxima of one offset, on several threads.
pub fn pooled(
    window: Pool,
    input: &AlignedBuffer,
    ways: Parallelism,
    buffers: &BufferPool,
) -> AlignedBuffer {
    let channels = input.len() / PATCH_BATCH / (window.side * window.side);
    let mut out = buffers.any(channels * window.to * window.to);
    let [from, to] = window.shares(channels, ways);
    out.par_chunks_mut(to)
        .zip(input.par_chunks(from))
        .for_each(|(out, input)| pool(window, input, out));
    out
}

/// Adds each output's gradient to the first of its inputs that is largest, on several threads.
pub fn pooled_back(
    window: Pool,
    [input, output]: [&AlignedBuffer; 2],
    ways: Parallelism,
    moved: &mut AlignedBuffer,
) {
    let [from, to] = window.shares(input.len() / PATCH_BATCH / (window.side * window.side), ways);
    let pieces = moved.par_chunks_mut(from).zip(input.par_chunks(from)).zip(output.par_chunks(to));
    pieces.for_each(|((moved, input), output)| pool_gradient(window, input, output, moved));
}

/// A rectified value that is not positive passes no gradient, on several threads.
pub fn masked(moved: &mut AlignedBuffer, value: &AlignedBuffer, ways: Parallelism) {
    let share = ways.share(moved.len(), PATCH_BATCH);
    moved.par_chunks_mut(share).zip(value.par_chunks(share)).for_each(|(m, v)| mask(m, v));
}

/// Windows `first ..` side by side, in a buffer of their values; absent ones are zero.
pub fn interleave(batch: &Batch, first: usize, mut out: AlignedBuffer) -> AlignedBuffer {
    let count = out.len() / PATCH_BATCH;
    if batch.len() < first + PATCH_BATCH {
        out.fill(0.0);
    }
    let windows: Vec<&[f32]> =
        batch.patches.chunks_exact(count).skip(first).take(PATCH_BATCH).collect();
    side_by_side(&windows, &mut out);
    out
}

/// Weight gradient of a layer with few outputs a fragment: outputs and lanes together are the
/// samples of one product.
pub fn by_samples(
    conv: Convolution,
    inputs: &[AlignedBuffer],
    moved: &[AlignedBuffer],
    ways: Parallelism,
    weights: &mut [f32],
) {
    let each = conv.out_side() * conv.out_side() * PATCH_BATCH;
    let fragments = (SAMPLES / each).max(1);
    for (inputs, moved) in inputs.chunks(fragments).zip(moved.chunks(fragments)) {
        let product = sample_product(conv, inputs, moved, ways);
        weights.iter_mut().zip(product).for_each(|(w, p)| *w += p);
    }
}

fn sample_product(
    conv: Convolution,
    inputs: &[AlignedBuffer],
    moved: &[AlignedBuffer],
    ways: Parallelism,
) -> Vec<f32> {
    let (taps, to) = (conv.taps(), conv.out_side());
    let each = to * to * PATCH_BATCH;
    let samples = inputs.len() * each;
    let mut columns = vec![0.0; conv.filters * samples];
    let mut rows = vec![0.0; samples * taps + SLACK];
    for (i, (input, moved)) in inputs.iter().zip(moved).enumerate() {
        for f in 0..conv.filters {
            columns[f * samples + i * each..][..each].copy_from_slice(&moved[f * each..][..each]);
        }
        for (position, t) in (0..to * to).flat_map(|p| (0..taps).map(move |t| (p, t))) {
            let (c, dy, dx) =
                (t / (conv.kernel * conv.kernel), t / conv.kernel % conv.kernel, t % conv.kernel);
            let line = (c * conv.side + position / to + dy) * conv.side + position % to + dx;
            let first = i * each + position * PATCH_BATCH;
            for (lane, &v) in input[line * PATCH_BATCH..][..PATCH_BATCH].iter().enumerate() {
                rows[(first + lane) * taps + t] = v;
            }
        }
    }
    let packed = PackedFilters::new(&columns, None, conv.filters);
    let offsets: Vec<usize> = (0..samples).map(|s| s * taps).collect();
    let mut out = vec![0.0; conv.filters * taps];
    packed.share(ways, taps, &mut out, |groups, out| {
        let (source, runs, filter_step) = (&rows, &[OutputRun { source: 0, target: 0 }], taps);
        weighted_sums(
            &ConvForward {
                groups,
                source,
                taps: &offsets,
                runs,
                run_len: taps,
                filter_step,
                relu: false,
            },
            out,
        );
    });
    out
}
