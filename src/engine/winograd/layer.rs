//! One convolution of the dense form by Winograd tiles; `transform` has the formula.
//!
//! **Pieces.** A kernel larger than 3×3 is split into 3×3 pieces, padded with zeros. Products of
//! all pieces are summed before the output transform, so a 6×6 kernel costs four input transforms
//! and one output transform. In the sums a piece counts like one more channel: `depth = channels ·
//! pieces²`.
//!
//! **Phases.** With dilation D, an output at (y, x) reads only inputs whose row ≡ y and column ≡ x
//! (mod D). Each pair of residues, a row phase and a column phase, is a convolution of its own
//! without dilation. A tile is 4×4 outputs of one phase, D pixels apart.
//!
//! **Rows of tiles.** Vectors run over neighbouring tiles of a row, column phases innermost. The
//! input is therefore stored with the columns of a row sorted by their place in a tile. For
//! column = (tile column · 4 + place) · D + phase:
//!
//! ```text
//! D = 2     column   0  1 │ 2  3 │ 4  5 │ 6  7 ║ 8  9 │10 11 │12 13 │14 15 ║16 17 │ …
//!           phase    0  1 │ 0  1 │ 0  1 │ 0  1 ║ 0  1 │ 0  1 │ 0  1 │ 0  1 ║ 0  1 │ …
//!           place     0   │  1   │  2   │  3   ║  0   │  1   │  2   │  3   ║  0   │ …
//!           tile     0  1 │ 0  1 │ 0  1 │ 0  1 ║ 2  3 │ 2  3 │ 2  3 │ 2  3 ║ 4  5 │ …
//!
//! stored    place 0: 0 1  8  9 16 17 …   place 1: 2 3 10 11 …   place 2: 4 5 12 13 …   place 3: …
//!           tile:    0 1  2  3  4  5 …            0 1  2  3 …            0 1  2  3 …
//! ```
//!
//! Column s of the windows of all tiles is then one run: place s mod 4, from tile ⌊s / 4⌋ · D on.
//!
//! **Strips.** Rows of tiles of one or more neighbouring row phases are computed together, as many
//! as the second-level cache holds:
//!
//! ```text
//! input        [channel][row][place][tile]
//!     │ Bᵀ d B for each channel, piece and tile
//! transformed  [product][channel and piece][tile]             product_stride, tile_stride
//!     │ ⊙ with G g Gᵀ, summed over depth, for a chunk of filters
//! products     [filter][vector of tiles][product][lane]       filter_stride
//!     │ Aᵀ m A, bias and ReLU
//! sink         4×4 outputs of a vector of tiles
//! ```

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::{Arch, Simd, WithSimd};

use super::super::dense::{PlaneSize, Planes};
use super::super::kernel::{has_32_registers, multiply_add};
use super::transform::{self, PIECE, PRODUCTS, TILE, WINDOW};
use crate::model::{DenseConv, Model};

/// Filters whose products are held before their output transform.
const CHUNK: usize = 16;
/// Filters that the product kernel holds in registers at a time.
const GROUP: usize = 8;
/// Tiles of a strip, at most: its buffers then stay in the second-level cache.
const STRIP_TILES: usize = 64;
/// Twice the values of the widest vector: rows of tiles are padded to multiples of this.
const PADDING: usize = 32;

/// A convolution with its weights transformed.
#[derive(Debug)]
pub(super) struct Layer {
    pub channels: usize,
    pub filters: usize,
    /// Pixels between neighbouring taps, D.
    pub dilation: usize,
    /// 3×3 pieces along each side of the kernel.
    pieces: usize,
    bias: Vec<f32>,
    /// Least value of an output: 0 with ReLU.
    lower_bound: f32,
    chunks: Vec<FilterChunk>,
}

/// The transformed weights of up to [`CHUNK`] filters.
#[derive(Debug)]
struct FilterChunk {
    /// First filter.
    first: usize,
    filters: usize,
    /// Groups of [`GROUP`] filters; the last is filled up with zeros.
    groups: usize,
    /// `[product][group][channel and piece][filter of the group]`.
    weights: Vec<f32>,
}

/// Planes with the columns of each row sorted by their place in a tile:
/// `[channel][row][place][tile]`.
#[derive(Debug)]
pub(super) struct TiledInput {
    values: Vec<f32>,
    height: usize,
    /// Tiles in a row, and those beyond the last that its windows reach into.
    tiles: usize,
}

/// Rows of tiles that are computed together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    /// First output row of the first phase.
    pub row: usize,
    /// Neighbouring row phases; tile t of phase p has index `p · tiles_per_row + t`.
    pub phases: usize,
    /// Tiles in a row, of all column phases.
    pub tiles_per_row: usize,
}

impl Strip {
    fn tiles(&self) -> usize {
        self.phases * self.tiles_per_row
    }
}

/// Takes the outputs of a layer, strip by strip.
pub(super) trait Sink {
    /// Begins a strip; buffers must have room for `tile_stride` tiles of each filter.
    fn begin_strip(&mut self, tile_stride: usize);
    /// Outputs of one filter, `[row][column]` of a tile, for a vector of tiles from `tile` on.
    fn accept<S: Simd>(
        &mut self,
        simd: S,
        filter: usize,
        tile: usize,
        outputs: [[S::f32s; TILE]; TILE],
    );
    /// Ends a strip: all filters and tiles were given.
    fn finish_strip(&mut self, strip: Strip);
}

impl Layer {
    /// Transforms the weights of a convolution of the plan.
    pub(super) fn new(model: &Model, conv: &DenseConv) -> Self {
        let weights = transform_weights(model.array(&conv.weight_name()), conv);
        let depth = weights.len() / conv.filters;
        let mut chunks = Vec::new();
        for first in (0..conv.filters).step_by(CHUNK) {
            let filters = CHUNK.min(conv.filters - first);
            let groups = filters.div_ceil(GROUP);
            let len = PRODUCTS * groups * GROUP * depth;
            let mut chunk =
                FilterChunk { first, filters, groups, weights: Vec::with_capacity(len) };
            for product in 0..PRODUCTS {
                for group in 0..groups {
                    for term in 0..depth {
                        for filter in group * GROUP..(group + 1) * GROUP {
                            let weight = weights.get((first + filter) * depth + term);
                            chunk.weights.push(weight.map_or(0.0, |weight| weight[product]));
                        }
                    }
                }
            }
            chunks.push(chunk);
        }
        Self {
            channels: conv.channels,
            filters: conv.filters,
            dilation: conv.dilation,
            pieces: conv.kernel.div_ceil(PIECE),
            bias: model.array(&conv.bias_name()).to_vec(),
            lower_bound: if conv.relu { 0.0 } else { f32::NEG_INFINITY },
            chunks,
        }
    }

    /// Pixels of input beyond the outputs along each axis, the zeros of the last pieces included.
    pub(super) fn context_px(&self) -> usize {
        (PIECE * self.pieces - 1) * self.dilation
    }

    /// The smallest area of whole tiles that covers `size`.
    pub(super) fn covering(&self, size: PlaneSize) -> PlaneSize {
        let tile_px = TILE * self.dilation;
        PlaneSize {
            height: size.height.next_multiple_of(tile_px),
            width: size.width.next_multiple_of(tile_px),
        }
    }

    /// Sorts planes into places and tiles, for outputs of `out_width`.
    pub(super) fn tiled(&self, planes: &Planes, out_width: usize) -> TiledInput {
        // Windows of the last tile reach this many tile columns further.
        let ahead = (PIECE * (self.pieces - 1) + WINDOW - 1) / TILE;
        let tiles = out_width / TILE + ahead * self.dilation;
        let height = planes.size.height;
        let row_len = TILE * tiles;
        let mut values = vec![0.0; self.channels * height * row_len + PADDING];
        for (i, row) in values.chunks_exact_mut(row_len).take(self.channels * height).enumerate() {
            let source = &planes.data[i * planes.row_step..][..planes.size.width];
            match self.dilation {
                2 => sort_row::<2>(source, row, tiles),
                4 => sort_row::<4>(source, row, tiles),
                8 => sort_row::<8>(source, row, tiles),
                _ => sort_row::<1>(source, row, tiles),
            }
        }
        TiledInput { values, height, tiles }
    }

    /// Convolves, adds the bias, applies the activation and gives all outputs to `sink`. Both sides
    /// of `out_size` are whole tiles ([`Self::covering`]).
    pub(super) fn run(
        &self,
        input: &TiledInput,
        out_size: PlaneSize,
        sink: &mut (impl Sink + Send),
    ) {
        Arch::new().dispatch(LayerTask { layer: self, input, out_size, sink });
    }

    /// Terms of each sum of products: channels times pieces.
    fn depth(&self) -> usize {
        self.channels * self.pieces * self.pieces
    }
}

/// `G g Gᵀ` of every piece of every window, `[filter][channel][piece row][piece column]`, from
/// weights `[filter][channel][row][column]`.
fn transform_weights(weights: &[f32], conv: &DenseConv) -> Vec<[f32; PRODUCTS]> {
    let kernel = conv.kernel;
    let pieces = kernel.div_ceil(PIECE);
    let mut transformed = Vec::with_capacity(conv.filters * conv.channels * pieces * pieces);
    for window in weights.chunks_exact(kernel * kernel) {
        for piece_row in 0..pieces {
            for piece_column in 0..pieces {
                let mut piece = [[0.0; PIECE]; PIECE];
                for (r, weights) in piece.iter_mut().enumerate() {
                    for (c, weight) in weights.iter_mut().enumerate() {
                        let row = piece_row * PIECE + r;
                        let column = piece_column * PIECE + c;
                        if row < kernel && column < kernel {
                            *weight = f64::from(window[row * kernel + column]);
                        }
                    }
                }
                transformed.push(transform::weights(&piece));
            }
        }
    }
    transformed
}

/// Sorts a row of pixels into places and tiles, in runs of the D pixels of one place of a tile
/// column. Pixels beyond the last tile are left out.
fn sort_row<const D: usize>(source: &[f32], row: &mut [f32], tiles: usize) {
    let (runs, rest) = source.as_chunks::<D>();
    for (i, run) in runs.iter().enumerate() {
        let place = i % TILE;
        let tile = i / TILE * D;
        if tile + D <= tiles {
            row[place * tiles + tile..][..D].copy_from_slice(run);
        }
    }
    let place = runs.len() % TILE;
    let tile = runs.len() / TILE * D;
    if tile + rest.len() <= tiles {
        row[place * tiles + tile..][..rest.len()].copy_from_slice(rest);
    }
}

/// A cache line; buffers of cache lines keep vectors from crossing two.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CacheLine([f32; 16]);

fn aligned(len: usize) -> Vec<CacheLine> {
    vec![CacheLine([0.0; 16]); len.div_ceil(16)]
}

struct LayerTask<'a, K> {
    layer: &'a Layer,
    input: &'a TiledInput,
    out_size: PlaneSize,
    sink: &'a mut K,
}

impl<K: Sink> WithSimd for LayerTask<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, input, out_size, sink } = self;
        let depth = layer.depth();
        let dilation = layer.dilation;
        let tiles_per_row = out_size.width / TILE;
        let phases_per_strip = (STRIP_TILES / tiles_per_row).clamp(1, dilation);
        // Vectors may run past the last tile into the padding.
        let tile_stride = (phases_per_strip * tiles_per_row).next_multiple_of(PADDING) + PADDING;
        let filter_stride = PRODUCTS * tile_stride;

        let mut transformed = aligned(PRODUCTS * depth * tile_stride);
        let transformed: &mut [f32] = bytemuck::cast_slice_mut(&mut transformed);
        let mut products = aligned(CHUNK * filter_stride);
        let products: &mut [f32] = bytemuck::cast_slice_mut(&mut products);
        let mut scratch = vec![0.0f32; WINDOW * (TILE * input.tiles + PADDING)];

        for top in (0..out_size.height).step_by(TILE * dilation) {
            for first_phase in (0..dilation).step_by(phases_per_strip) {
                let phases = phases_per_strip.min(dilation - first_phase);
                let strip = Strip { row: top + first_phase, phases, tiles_per_row };
                transform_input(simd, layer, input, strip, tile_stride, &mut scratch, transformed);
                sink.begin_strip(tile_stride);
                for chunk in &layer.chunks {
                    let sums = ProductSums {
                        chunk,
                        transformed,
                        depth,
                        tile_stride,
                        tiles: strip.tiles(),
                    };
                    if has_32_registers::<S>() {
                        sums.compute::<S, 2>(simd, products);
                    } else {
                        sums.compute::<S, 1>(simd, products);
                    }
                    for f in 0..chunk.filters {
                        let products = &products[f * filter_stride..][..filter_stride];
                        finish_filter(simd, layer, chunk.first + f, products, strip.tiles(), sink);
                    }
                }
                sink.finish_strip(strip);
            }
        }
    }
}

#[inline(always)]
fn load<S: Simd>(_: S, values: &[f32], at: usize) -> S::f32s {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&values[at..][..S::F32_LANES]))
}

#[inline(always)]
fn store<S: Simd>(_: S, values: &mut [f32], at: usize, vector: S::f32s) {
    let vector: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&vector));
    values[at..][..S::F32_LANES].copy_from_slice(vector);
}

/// `Bᵀ d B` of the windows of a strip: `transformed` is `[product][channel and piece][tile]`.
/// Vectors may run past a row of tiles; the next row, written later, or padding comes after.
#[inline(always)]
fn transform_input<S: Simd>(
    simd: S,
    layer: &Layer,
    input: &TiledInput,
    strip: Strip,
    tile_stride: usize,
    scratch: &mut [f32],
    transformed: &mut [f32],
) {
    let pieces = layer.pieces;
    let product_stride = layer.depth() * tile_stride;
    let row_len = TILE * input.tiles;
    // Row k of `Bᵀ d`, in the order of the input's rows, begins at k · scratch_stride.
    let scratch_stride = row_len + PADDING;
    let zeros = [simd.splat_f32s(0.0); WINDOW];
    for channel in 0..layer.channels {
        for piece_row in 0..pieces {
            for phase in 0..strip.phases {
                // Bᵀ d: six rows, D apart, for all columns.
                let first_row =
                    channel * input.height + strip.row + phase + PIECE * piece_row * layer.dilation;
                for x in (0..row_len).step_by(S::F32_LANES) {
                    let mut column = zeros;
                    for (r, value) in column.iter_mut().enumerate() {
                        let row = first_row + r * layer.dilation;
                        *value = load(simd, &input.values, row * row_len + x);
                    }
                    let column = transform::input(simd, column);
                    for (k, value) in column.into_iter().enumerate() {
                        store(simd, scratch, k * scratch_stride + x, value);
                    }
                }
                // (Bᵀ d) B: six columns of each row; pieces of one row share `Bᵀ d`.
                for k in 0..WINDOW {
                    for piece_column in 0..pieces {
                        let term = (channel * pieces + piece_row) * pieces + piece_column;
                        let mut sources = [0; WINDOW];
                        let mut targets = [0; WINDOW];
                        for s in 0..WINDOW {
                            let column = PIECE * piece_column + s;
                            let place = column % TILE;
                            let tile = column / TILE * layer.dilation;
                            sources[s] = k * scratch_stride + place * input.tiles + tile;
                            targets[s] = (k * WINDOW + s) * product_stride
                                + term * tile_stride
                                + phase * strip.tiles_per_row;
                        }
                        for tile in (0..strip.tiles_per_row).step_by(S::F32_LANES) {
                            let mut row = zeros;
                            for (value, source) in row.iter_mut().zip(sources) {
                                *value = load(simd, scratch, source + tile);
                            }
                            let row = transform::input(simd, row);
                            for (value, target) in row.into_iter().zip(targets) {
                                store(simd, transformed, target + tile, value);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Sums of products over channels and pieces, for the filters of a chunk and all tiles of a strip.
struct ProductSums<'a> {
    chunk: &'a FilterChunk,
    /// `[product][channel and piece][tile]`.
    transformed: &'a [f32],
    depth: usize,
    tile_stride: usize,
    tiles: usize,
}

impl ProductSums<'_> {
    /// Computes `[filter][vector of tiles][product][lane]`, `VECTORS` vectors of tiles at a time.
    #[inline(always)]
    fn compute<S: Simd, const VECTORS: usize>(&self, simd: S, out: &mut [f32]) {
        let product_stride = self.depth * self.tile_stride;
        let group_len = self.depth * GROUP;
        let filter_stride = PRODUCTS * self.tile_stride;
        for product in 0..PRODUCTS {
            let source = &self.transformed[product * product_stride..][..product_stride];
            for group in 0..self.chunk.groups {
                let start = (product * self.chunk.groups + group) * group_len;
                let weights = &self.chunk.weights[start..][..group_len];
                let group_start = group * GROUP * filter_stride + product * S::F32_LANES;
                let mut tile = 0;
                while tile < self.tiles {
                    let out = &mut out[group_start + tile * PRODUCTS..];
                    if VECTORS == 2 && tile + S::F32_LANES < self.tiles {
                        self.some_tiles::<S, 2>(simd, weights, source, tile, out);
                        tile += 2 * S::F32_LANES;
                    } else {
                        self.some_tiles::<S, 1>(simd, weights, source, tile, out);
                        tile += S::F32_LANES;
                    }
                }
            }
        }
    }

    /// One product of a group of filters for `VECTORS` vectors of tiles.
    #[inline(always)]
    fn some_tiles<S: Simd, const VECTORS: usize>(
        &self,
        simd: S,
        weights: &[f32],
        source: &[f32],
        tile: usize,
        out: &mut [f32],
    ) {
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; GROUP];
        let rows = source.chunks_exact(self.tile_stride);
        for (weights, row) in weights.as_chunks::<GROUP>().0.iter().zip(rows) {
            multiply_add(simd, weights, &row[tile..][..VECTORS * S::F32_LANES], &mut sums);
        }
        for (f, vectors) in sums.iter().enumerate() {
            for (v, vector) in vectors.iter().enumerate() {
                let at = (f * self.tile_stride + v * S::F32_LANES) * PRODUCTS;
                store(simd, out, at, *vector);
            }
        }
    }
}

/// Output transform, bias and activation of one filter; `products` is
/// `[vector of tiles][product][lane]`.
#[inline(always)]
fn finish_filter<S: Simd, K: Sink>(
    simd: S,
    layer: &Layer,
    filter: usize,
    products: &[f32],
    tiles: usize,
    sink: &mut K,
) {
    let bias = simd.splat_f32s(layer.bias[filter]);
    let lower_bound = simd.splat_f32s(layer.lower_bound);
    let used = tiles.next_multiple_of(S::F32_LANES) * PRODUCTS;
    let vectors: &[S::f32s] = bytemuck::cast_slice(&products[..used]);
    for (n, sums) in vectors.as_chunks::<PRODUCTS>().0.iter().enumerate() {
        let mut outputs = transform::outputs(simd, sums);
        for row in &mut outputs {
            for value in row {
                *value = simd.max_f32s(simd.add_f32s(*value, bias), lower_bound);
            }
        }
        sink.accept(simd, filter, n * S::F32_LANES, outputs);
    }
}
