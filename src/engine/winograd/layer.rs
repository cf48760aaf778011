//! One convolution by Winograd tiles. Kernels larger than 3×3 are cut into 3×3 pieces whose
//! products are summed before the output transform, so a 6×6 kernel costs four pieces and one
//! transform. Taps may lie `spread` pixels apart: then tiles of different phases are worked on side
//! by side, and every inner loop runs over neighbouring tiles.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd, WithSimd};

use super::super::kernel::madd;
use super::transform::{self, PRODUCTS, TILE, WINDOW};

/// Filters whose products are held before their output transform.
const CHUNK: usize = 16;
/// Filters that the product kernel holds in registers at a time.
const FILTERS: usize = 8;
/// Tiles of a strip, at most: inputs, products and outputs then stay in the second-level cache.
const STRIP_TILES: usize = 64;
/// Most lanes of a vector, twice: strips are padded to this.
const PAD: usize = 32;

/// Planes cut so that neighbouring tiles are neighbours: `[channel][row][place in tile][tile ·
/// spread + phase]`.
#[derive(Debug)]
pub struct StripInput {
    pub values: Vec<f32>,
    pub height: usize,
    /// Values of one place in a row.
    pub places: usize,
}

/// A convolution whose weights are transformed.
#[derive(Debug)]
pub struct Layer {
    /// 3×3 pieces along each side of the kernel.
    pieces: usize,
    pub spread: usize,
    pub channels: usize,
    pub filters: usize,
    bias: Vec<f32>,
    /// `[chunk][product][group of FILTERS][channel and piece][filter of the group]`.
    weights: Vec<f32>,
}

/// What becomes of the outputs of a strip.
pub trait Sink {
    /// Before the first filter; `stride` tiles are given for each, at most.
    fn begin(&mut self, stride: usize);
    /// The outputs of one filter for the tiles from `tile` on, one a lane.
    fn take<S: Simd>(
        &mut self,
        simd: S,
        filter: usize,
        tile: usize,
        outputs: [[S::f32s; TILE]; TILE],
    );
    fn finish(&mut self, strip: Strip);
}

/// A cache line; buffers of lines keep vectors from crossing lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Line([f32; 16]);

fn aligned(len: usize) -> Vec<Line> {
    vec![Line([0.0; 16]); len.div_ceil(16)]
}

/// Rows of tiles that are worked on together: `phases` rows from `row` on, each with `width` tiles.
#[derive(Debug, Clone, Copy)]
pub struct Strip {
    /// First output row.
    pub row: usize,
    pub phases: usize,
    /// Tiles in a row, phases included.
    pub width: usize,
}

impl Layer {
    /// Transforms `[filter][channel][row][column]` weights.
    pub fn new(values: &[f32], bias: &[f32], filters: usize, kernel: usize, spread: usize) -> Self {
        let channels = values.len() / (filters * kernel * kernel);
        let pieces = kernel.div_ceil(3);
        let depth = channels * pieces * pieces;
        let padded = filters.div_ceil(FILTERS) * FILTERS;
        let mut by_filter = vec![[0.0f32; PRODUCTS]; padded * depth];
        for (f, c, piece) in (0..filters * depth)
            .map(|n| (n / depth, n % depth / (pieces * pieces), n % (pieces * pieces)))
        {
            let (top, left) = (piece / pieces * 3, piece % pieces * 3);
            let tap = |r: usize, q: usize| {
                if r < kernel && q < kernel {
                    f64::from(values[((f * channels + c) * kernel + r) * kernel + q])
                } else {
                    0.0
                }
            };
            let part: [[f64; 3]; 3] =
                std::array::from_fn(|r| std::array::from_fn(|q| tap(top + r, left + q)));
            by_filter[f * depth + c * pieces * pieces + piece] = transform::weights(&part);
        }
        let mut weights = Vec::with_capacity(padded * depth * PRODUCTS);
        for chunk in (0..padded).step_by(CHUNK) {
            let groups = (CHUNK.min(padded - chunk)) / FILTERS;
            for (k, g, d) in (0..PRODUCTS * groups * depth)
                .map(|n| (n / (groups * depth), n / depth % groups, n % depth))
            {
                let first = chunk + g * FILTERS;
                weights.extend((first..first + FILTERS).map(|f| by_filter[f * depth + d][k]));
            }
        }
        Self { pieces, spread, channels, filters, bias: bias.to_vec(), weights }
    }

    /// Pixels of input beyond the outputs along each side.
    pub fn context(&self) -> usize {
        (3 * self.pieces - 1) * self.spread
    }

    /// Side of an area that whole tiles cover.
    pub fn covering(&self, side: usize) -> usize {
        side.next_multiple_of(TILE * self.spread)
    }

    /// Tiles beyond the last that its taps reach into.
    fn ahead(&self) -> usize {
        (3 * (self.pieces - 1) + WINDOW - 1) / TILE
    }

    /// Planes of `height × width` for outputs of `out_width`, rows `step` apart.
    pub fn cut(
        &self,
        data: &[f32],
        (height, width, step): (usize, usize, usize),
        out_width: usize,
    ) -> StripInput {
        let places = out_width / TILE + self.ahead() * self.spread;
        let mut values = vec![0.0; self.channels * height * TILE * places + PAD];
        for (row, cut) in
            values.chunks_exact_mut(TILE * places).take(self.channels * height).enumerate()
        {
            let (c, y) = (row / height, row % height);
            let source = &data[(c * height + y) * step..][..width];
            match self.spread {
                2 => scatter::<2>(source, cut, places),
                4 => scatter::<4>(source, cut, places),
                8 => scatter::<8>(source, cut, places),
                _ => scatter::<1>(source, cut, places),
            }
        }
        StripInput { values, height, places }
    }

    /// Convolves, adds the bias, applies ReLU and hands everything to `sink`. Both sides of the
    /// output are whole tiles.
    pub fn run(
        &self,
        cut: &StripInput,
        (out_height, out_width): (usize, usize),
        sink: &mut (impl Sink + Send),
    ) {
        Arch::new().dispatch(Job { layer: self, cut, out_height, out_width, sink });
    }

    fn depth(&self) -> usize {
        self.channels * self.pieces * self.pieces
    }
}

/// Runs of D pixels, the phases of one place of one tile, from a row to its cut form.
fn scatter<const D: usize>(source: &[f32], cut: &mut [f32], places: usize) {
    let (runs, rest) = source.as_chunks::<D>();
    for (i, run) in runs.iter().enumerate() {
        let at = i % TILE * places + i / TILE * D;
        // Input beyond what the tiles reach is not kept.
        if i / TILE * D + D <= places {
            cut[at..at + D].copy_from_slice(run);
        }
    }
    let at = runs.len() % TILE * places + runs.len() / TILE * D;
    if runs.len() / TILE * D + rest.len() <= places {
        cut[at..at + rest.len()].copy_from_slice(rest);
    }
}

struct Job<'a, K> {
    layer: &'a Layer,
    cut: &'a StripInput,
    out_height: usize,
    out_width: usize,
    sink: &'a mut K,
}

impl<K: Sink> WithSimd for Job<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, cut, out_height, out_width, sink } = self;
        let (depth, spread) = (layer.depth(), layer.spread);
        let width = out_width / TILE;
        // As many rows of tiles as the cache holds, at most all phases.
        let most = (STRIP_TILES / width).clamp(1, spread);
        let stride = (most * width).next_multiple_of(PAD) + PAD;
        let (mut transformed, mut products) =
            (aligned(PRODUCTS * depth * stride), aligned(CHUNK * PRODUCTS * stride));
        let transformed: &mut [f32] = bytemuck::cast_slice_mut(&mut transformed);
        let products: &mut [f32] = bytemuck::cast_slice_mut(&mut products);
        let mut scratch = vec![0.0f32; WINDOW * (TILE * cut.places + PAD)];
        for top in (0..out_height).step_by(TILE * spread) {
            for first in (0..spread).step_by(most) {
                let strip = Strip { row: top + first, phases: most.min(spread - first), width };
                let used = strip.phases * width;
                gather_input(simd, layer, cut, strip, stride, transformed, &mut scratch);
                sink.begin(stride);
                let mut weights = layer.weights.as_slice();
                for chunk in (0..layer.filters.next_multiple_of(FILTERS)).step_by(CHUNK) {
                    let groups =
                        CHUNK.min(layer.filters.next_multiple_of(FILTERS) - chunk) / FILTERS;
                    let (now, later) = weights.split_at(PRODUCTS * groups * depth * FILTERS);
                    weights = later;
                    let sums =
                        Products { weights: now, source: transformed, depth, stride, used, groups };
                    multiply(simd, &sums, products);
                    for f in 0..(groups * FILTERS).min(layer.filters - chunk) {
                        let of_filter = &products[f * PRODUCTS * stride..][..PRODUCTS * stride];
                        finish_filter(
                            simd,
                            of_filter,
                            layer.bias[chunk + f],
                            used,
                            |tile, outputs| {
                                sink.take(simd, chunk + f, tile, outputs);
                            },
                        );
                    }
                }
                sink.finish(strip);
            }
        }
    }
}

#[inline(always)]
fn load<S: Simd>(_: S, values: &[f32], at: usize) -> S::f32s {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[at..][..S::F32_LANES]))
}

#[inline(always)]
fn store<S: Simd>(_: S, values: &mut [f32], at: usize, v: S::f32s) {
    let lanes: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&v));
    values[at..][..S::F32_LANES].copy_from_slice(lanes);
}

/// Transforms the inputs of a strip: `[product][channel, piece][tile]`. Vectors may run past a row
/// of tiles; the next row, or padding, comes after.
#[inline(always)]
fn gather_input<S: Simd>(
    simd: S,
    layer: &Layer,
    cut: &StripInput,
    strip: Strip,
    stride: usize,
    transformed: &mut [f32],
    scratch: &mut [f32],
) {
    let (pieces, spread, places) = (layer.pieces, layer.spread, cut.places);
    let line = TILE * places;
    let scratch_step = line + PAD;
    let depth = layer.depth();
    for (c, piece_row, phase) in (0..layer.channels * pieces * strip.phases)
        .map(|n| (n / (pieces * strip.phases), n / strip.phases % pieces, n % strip.phases))
    {
        let row =
            |r: usize| (c * cut.height + strip.row + phase + (3 * piece_row + r) * spread) * line;
        let rows: [usize; WINDOW] = std::array::from_fn(row);
        for x in (0..line).step_by(S::F32_LANES) {
            let column = rows.map(|at| load(simd, &cut.values, at + x));
            for (k, v) in transform::input(simd, column).into_iter().enumerate() {
                store(simd, scratch, k * scratch_step + x, v);
            }
        }
        for (k1, piece_column) in (0..WINDOW * pieces).map(|n| (n / pieces, n % pieces)) {
            let tap = |s: usize| {
                let place = 3 * piece_column + s;
                k1 * scratch_step + place % TILE * places + place / TILE * spread
            };
            let taps: [usize; WINDOW] = std::array::from_fn(tap);
            let entry = (c * pieces + piece_row) * pieces + piece_column;
            let at =
                |k2: usize| ((k1 * WINDOW + k2) * depth + entry) * stride + phase * strip.width;
            let targets: [usize; WINDOW] = std::array::from_fn(at);
            for x in (0..strip.width).step_by(S::F32_LANES) {
                let values = transform::input(simd, taps.map(|at| load(simd, scratch, at + x)));
                for (at, v) in targets.into_iter().zip(values) {
                    store(simd, transformed, at + x, v);
                }
            }
        }
    }
}

struct Products<'a> {
    weights: &'a [f32],
    source: &'a [f32],
    depth: usize,
    stride: usize,
    used: usize,
    groups: usize,
}

/// Sums over channels and pieces: `[filter][vector of tiles][product][lane]`.
#[inline(always)]
fn multiply<S: Simd>(simd: S, sums: &Products<'_>, out: &mut [f32]) {
    if S::REGISTER_COUNT >= 32 {
        multiply_by::<S, 2>(simd, sums, out);
    } else {
        multiply_by::<S, 1>(simd, sums, out);
    }
}

#[inline(always)]
fn multiply_by<S: Simd, const V: usize>(simd: S, sums: &Products<'_>, out: &mut [f32]) {
    let lanes = S::F32_LANES;
    let mut weights = sums.weights;
    for k in 0..PRODUCTS {
        let source = &sums.source[k * sums.depth * sums.stride..][..sums.depth * sums.stride];
        for group in 0..sums.groups {
            let (now, later) = weights.split_at(sums.depth * FILTERS);
            weights = later;
            let mut x = 0;
            while x < sums.used {
                let at = group * FILTERS * PRODUCTS * sums.stride + x * PRODUCTS + k * lanes;
                if V == 2 && x + lanes < sums.used {
                    let tile = product_tile::<S, 2>(simd, now, source, sums.stride, x);
                    put(simd, &tile, sums.stride, &mut out[at..]);
                    x += 2 * lanes;
                } else {
                    let tile = product_tile::<S, 1>(simd, now, source, sums.stride, x);
                    put(simd, &tile, sums.stride, &mut out[at..]);
                    x += lanes;
                }
            }
        }
    }
}

#[inline(always)]
fn put<S: Simd, const V: usize>(
    simd: S,
    tile: &[[S::f32s; V]; FILTERS],
    stride: usize,
    out: &mut [f32],
) {
    for (f, row) in tile.iter().enumerate() {
        for (v, value) in row.iter().enumerate() {
            store(simd, out, f * PRODUCTS * stride + v * PRODUCTS * S::F32_LANES, *value);
        }
    }
}

#[inline(always)]
fn product_tile<S: Simd, const V: usize>(
    simd: S,
    weights: &[f32],
    source: &[f32],
    stride: usize,
    x: usize,
) -> [[S::f32s; V]; FILTERS] {
    let mut sums = [[simd.splat_f32s(0.0); V]; FILTERS];
    for (w, line) in weights.as_chunks::<FILTERS>().0.iter().zip(source.chunks_exact(stride)) {
        let window = &line[x..][..V * S::F32_LANES];
        let mut values = [simd.splat_f32s(0.0); V];
        for (v, chunk) in values.iter_mut().zip(window.chunks_exact(S::F32_LANES)) {
            *v = bytemuck::pod_read_unaligned(bytemuck::cast_slice(chunk));
        }
        for f in 0..FILTERS {
            let weight = simd.splat_f32s(w[f]);
            for v in 0..V {
                sums[f][v] = madd(simd, weight, values[v], sums[f][v]);
            }
        }
    }
    sums
}

/// Output transform, bias and ReLU of one filter, given on vector by vector.
#[inline(always)]
fn finish_filter<S: Simd>(
    simd: S,
    products: &[f32],
    bias: f32,
    used: usize,
    mut give: impl FnMut(usize, [[S::f32s; TILE]; TILE]),
) {
    let (bias, zero) = (simd.splat_f32s(bias), simd.splat_f32s(0.0));
    let vectors: &[S::f32s] =
        bytemuck::cast_slice(&products[..used.next_multiple_of(S::F32_LANES) * PRODUCTS]);
    for (n, m) in vectors.as_chunks::<PRODUCTS>().0.iter().enumerate() {
        let activated = |v| simd.max_f32s(simd.add_f32s(v, bias), zero);
        let outputs = transform::outputs(simd, m);
        let outputs: [[S::f32s; TILE]; TILE] =
            std::array::from_fn(|r| std::array::from_fn(|c| activated(outputs[r][c])));
        give(n * S::F32_LANES, outputs);
    }
}
