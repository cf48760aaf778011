//! Where the outputs of a Winograd layer go: into planes, or through the last fully connected layer
//! into logits.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

use pulp::Simd;

use super::super::block::Block;
use super::super::dense::{PlaneSize, Planes};
use super::super::kernel::madd;
use super::WinogradEngine;
use super::layer::{Layer, Sink, Strip};
use super::transform::TILE;

/// Outputs of a tile.
const PLACES: usize = TILE * TILE;

/// Writes outputs into planes.
pub(super) struct PlaneSink {
    pub planes: Planes,
    dilation: usize,
    /// Outputs of a strip, `[filter][place in tile][tile]`.
    outputs: Vec<f32>,
    tile_stride: usize,
}

impl PlaneSink {
    pub(super) fn new(layer: &Layer, size: PlaneSize) -> Self {
        Self {
            planes: Planes::new(layer.filters, size, size.width),
            dilation: layer.dilation,
            outputs: Vec::new(),
            tile_stride: 0,
        }
    }

    /// Writes the rows of a strip, D pixels (the phases of one place of a tile column) at a time.
    fn write_rows<const D: usize>(&mut self, strip: Strip) {
        let filter_stride = PLACES * self.tile_stride;
        let channel_step = self.planes.channel_step();
        let width = self.planes.size.width;
        for (filter, outputs) in self.outputs.chunks_exact(filter_stride).enumerate() {
            for phase in 0..strip.phases {
                for r in 0..TILE {
                    let row = strip.row + phase + r * D;
                    let start = filter * channel_step + row * self.planes.row_step;
                    let target = &mut self.planes.data[start..][..width];
                    let runs = target.as_chunks_mut::<D>().0;
                    for s in 0..TILE {
                        let start = (r * TILE + s) * self.tile_stride + phase * strip.tiles_per_row;
                        let source = &outputs[start..][..strip.tiles_per_row];
                        let places = runs.iter_mut().skip(s).step_by(TILE);
                        for (run, tiles) in places.zip(source.as_chunks::<D>().0) {
                            *run = *tiles;
                        }
                    }
                }
            }
        }
    }
}

impl Sink for PlaneSink {
    fn begin_strip(&mut self, tile_stride: usize) {
        self.tile_stride = tile_stride;
        self.outputs.resize(self.planes.channels * PLACES * tile_stride, 0.0);
    }

    #[inline(always)]
    fn accept<S: Simd>(
        &mut self,
        _: S,
        filter: usize,
        tile: usize,
        outputs: [[S::f32s; TILE]; TILE],
    ) {
        let filter_stride = PLACES * self.tile_stride;
        let of_filter = &mut self.outputs[filter * filter_stride..][..filter_stride];
        for (place, vector) in outputs.as_flattened().iter().enumerate() {
            let values: &[f32] = bytemuck::cast_slice(std::slice::from_ref(vector));
            of_filter[place * self.tile_stride + tile..][..S::F32_LANES].copy_from_slice(values);
        }
    }

    fn finish_strip(&mut self, strip: Strip) {
        match self.dilation {
            2 => self.write_rows::<2>(strip),
            4 => self.write_rows::<4>(strip),
            8 => self.write_rows::<8>(strip),
            _ => self.write_rows::<1>(strip),
        }
    }
}

/// Multiplies hidden units into the logits of their pixels, so that no hidden value is stored.
pub(super) struct LogitSink<'a> {
    engine: &'a WinogradEngine,
    block: Block,
    /// Sums of a strip, `[vector of tiles][class][place in tile][lane]`.
    sums: Vec<f32>,
    /// Tiles in a vector.
    lanes: usize,
    /// Logits of the block, `[row][column][class]`.
    pub logits: Vec<f32>,
}

impl<'a> LogitSink<'a> {
    pub(super) fn new(engine: &'a WinogradEngine, block: Block) -> Self {
        let logits = vec![0.0; block.width * block.height * engine.output_bias.len()];
        Self { engine, block, sums: Vec::new(), lanes: 1, logits }
    }
}

impl LogitSink<'_> {
    /// Adds one hidden unit of a vector of tiles to the sums of `CLASSES` classes.
    #[inline(always)]
    fn add_unit<S: Simd, const CLASSES: usize>(
        &mut self,
        simd: S,
        unit: usize,
        tile: usize,
        outputs: &[S::f32s],
    ) {
        let sums = &mut self.sums[tile * CLASSES * PLACES..][..S::F32_LANES * CLASSES * PLACES];
        let sums: &mut [S::f32s] = bytemuck::cast_slice_mut(sums);
        let weights = &self.engine.output_weights[unit * CLASSES..];
        // Arrays of a known length let the compiler drop the bounds checks of the loop.
        let (Some(sums), Some(outputs), Some(weights)) = (
            sums.as_chunks_mut::<PLACES>().0.first_chunk_mut::<CLASSES>(),
            outputs.first_chunk::<PLACES>(),
            weights.first_chunk::<CLASSES>(),
        ) else {
            return;
        };
        let weights = weights.map(|weight| simd.splat_f32s(weight));
        for place in 0..PLACES {
            for class in 0..CLASSES {
                let sum = &mut sums[class][place];
                *sum = madd(simd, weights[class], outputs[place], *sum);
            }
        }
    }

    /// The same for any number of classes.
    #[inline(always)]
    fn add_unit_to_any<S: Simd>(&mut self, simd: S, unit: usize, tile: usize, outputs: &[S::f32s]) {
        let classes = self.engine.output_bias.len();
        let sums = &mut self.sums[tile * classes * PLACES..][..S::F32_LANES * classes * PLACES];
        let sums: &mut [S::f32s] = bytemuck::cast_slice_mut(sums);
        let weights = &self.engine.output_weights[unit * classes..];
        for (sums, &weight) in sums.as_chunks_mut::<PLACES>().0.iter_mut().zip(weights) {
            let weight = simd.splat_f32s(weight);
            for (sum, &hidden) in sums.iter_mut().zip(outputs) {
                *sum = madd(simd, weight, hidden, *sum);
            }
        }
    }
}

impl Sink for LogitSink<'_> {
    fn begin_strip(&mut self, tile_stride: usize) {
        self.sums.clear();
        self.sums.resize(self.engine.output_bias.len() * PLACES * tile_stride, 0.0);
    }

    #[inline(always)]
    fn accept<S: Simd>(
        &mut self,
        simd: S,
        filter: usize,
        tile: usize,
        outputs: [[S::f32s; TILE]; TILE],
    ) {
        self.lanes = S::F32_LANES;
        // A known number of classes lets the compiler unroll the loop over them.
        match self.engine.output_bias.len() {
            2 => self.add_unit::<S, 2>(simd, filter, tile, outputs.as_flattened()),
            3 => self.add_unit::<S, 3>(simd, filter, tile, outputs.as_flattened()),
            _ => self.add_unit_to_any(simd, filter, tile, outputs.as_flattened()),
        }
    }

    fn finish_strip(&mut self, strip: Strip) {
        let dilation = self.engine.hidden.dilation;
        let bias = &self.engine.output_bias;
        let classes = bias.len();
        for phase in 0..strip.phases {
            for r in 0..TILE {
                let row = strip.row + phase + r * dilation;
                if row >= self.block.height {
                    continue;
                }
                let start = row * self.block.width * classes;
                let row_logits = &mut self.logits[start..][..self.block.width * classes];
                for (x, pixel) in row_logits.chunks_exact_mut(classes).enumerate() {
                    let run = x / dilation;
                    let column_phase = x % dilation;
                    let tile = phase * strip.tiles_per_row + run / TILE * dilation + column_phase;
                    let place = r * TILE + run % TILE;
                    let vector = tile / self.lanes;
                    let lane = tile % self.lanes;
                    let at = (vector * classes * PLACES + place) * self.lanes + lane;
                    for (class, logit) in pixel.iter_mut().enumerate() {
                        *logit = self.sums[at + class * PLACES * self.lanes] + bias[class];
                    }
                }
            }
        }
    }
}
