//! The fast CPU engine for the DCNN: the dense form of `dense`, its larger convolutions and its
//! first fully connected layer by Winograd tiles, about a quarter of the multiplications. It rounds
//! in another order than the definition, so it is held to a tolerance on logits (rung 2); tiles lie
//! at fixed places of the image, so block size changes no bit.

#![allow(
    clippy::inline_always,
    reason = "only inlined code is compiled for the vector instructions that pulp found"
)]

mod layer;
mod transform;

use pulp::Simd;

use super::block::Block;
use super::dense::{Planes, convolve, input_planes, pool, window_pixels};
use super::kernel::madd;
use super::packed::PackedFilters;
use crate::error::{Error, Result};
use crate::model::{Model, Node, Op};
use crate::raster::RgbImage;
use layer::{Layer, Sink, Strip};
use transform::TILE;

/// Tiles of the last layer cover this many pixels; blocks begin at multiples of it.
pub const ALIGN_PX: usize = TILE * 8;

#[derive(Debug)]
enum WinogradStage {
    /// Too few taps for tiles to pay.
    Direct {
        packed: PackedFilters,
        kernel: usize,
    },
    Tiles(Layer),
    Pool {
        dilation: usize,
    },
}

/// A DCNN made ready for blocks.
#[derive(Debug)]
pub struct WinogradEngine {
    stages: Vec<WinogradStage>,
    hidden: Layer,
    /// Weights of the last layer, `[unit]`, and its bias, for both classes.
    output: Vec<[f32; 2]>,
    output_bias: [f32; 2],
}

fn layer_of(model: &Model, node: &Node, kernel: usize, spread: usize) -> Layer {
    let array = |suffix: &str| model.array(&format!("{}.{suffix}", node.name));
    Layer::new(array("weight"), array("bias"), node.shape.channels, kernel, spread)
}

impl WinogradEngine {
    /// Transforms the weights of a DCNN with two classes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other network.
    pub fn new(model: &Model) -> Result<Self> {
        let graph = model.graph();
        let mut spread = 1;
        let (mut stages, mut linear): (_, Vec<(&Node, usize)>) = (Vec::new(), Vec::new());
        for node in &graph.nodes {
            match node.op {
                Op::Conv { kernel, stride: 1, padding: 0, .. } if spread == 1 => {
                    stages.push(WinogradStage::Direct {
                        packed: PackedFilters::of(model, node),
                        kernel,
                    });
                }
                Op::Conv { kernel, stride: 1, padding: 0, .. } => {
                    stages.push(WinogradStage::Tiles(layer_of(model, node, kernel, spread)));
                }
                Op::MaxPool { kernel: 2, stride: 2, padding: 0 } => {
                    stages.push(WinogradStage::Pool { dilation: spread });
                    spread *= 2;
                }
                Op::Linear { .. } => linear.push((node, graph.input_shape(node).height)),
                Op::Input | Op::Relu => {}
                _ => {
                    return Err(Error::unsupported(
                        "This network has no exact dense form; only the DCNN has",
                    ));
                }
            }
        }
        let [(hidden, side), (last, 1)] = linear[..] else {
            return Err(Error::unsupported("The dense form needs two fully connected layers"));
        };
        if last.shape.channels != 2 {
            return Err(Error::unsupported("The dense form needs two classes"));
        }
        let weights = model.array(&format!("{}.weight", last.name));
        let bias = model.array(&format!("{}.bias", last.name));
        let units = hidden.shape.channels;
        Ok(Self {
            stages,
            hidden: layer_of(model, hidden, side, spread),
            output: (0..units).map(|u| [weights[u], weights[units + u]]).collect(),
            output_bias: [bias[0], bias[1]],
        })
    }

    /// Logits of every pixel of `block`, row by row, classes innermost. Its origin should be a
    /// multiple of 32 pixels.
    #[must_use]
    pub fn run(&self, image: &RgbImage, block: Block) -> Vec<f32> {
        self.run_window(&window_pixels(image, block, self.window(block)), block)
    }

    /// Height and width of what a block reads; it begins 27 pixels up and left of the block.
    #[must_use]
    pub fn window(&self, block: Block) -> (usize, usize) {
        self.extents(self.whole(block)).1
    }

    /// Whole tiles that cover a block.
    fn whole(&self, block: Block) -> (usize, usize) {
        (self.hidden.covering(block.height), self.hidden.covering(block.width))
    }

    /// [`Self::run`] on pixels that were cut out before, [`Self::window`] of them.
    #[must_use]
    pub fn run_window(&self, pixels: &[[u8; 3]], block: Block) -> Vec<f32> {
        let whole = self.whole(block);
        let (mut wanted, input) = self.extents(whole);
        let mut planes = input_planes(pixels, input);
        for stage in &self.stages {
            let to = wanted.pop().unwrap_or(input);
            planes = match stage {
                WinogradStage::Direct { packed, kernel } => convolve(&planes, packed, *kernel, 1),
                WinogradStage::Pool { dilation } => pool(&planes, *dilation),
                WinogradStage::Tiles(layer) => tiles(layer, &planes, to),
            };
        }
        self.classify(&planes, block, whole)
    }

    /// Height and width that each stage must give, last stage first, and those of the input.
    fn extents(&self, (height, width): (usize, usize)) -> (Vec<(usize, usize)>, (usize, usize)) {
        let grow = |(h, w): (usize, usize), by: usize| (h + by, w + by);
        let mut need = grow((height, width), self.hidden.context());
        let mut wanted = Vec::new();
        for stage in self.stages.iter().rev() {
            if let WinogradStage::Tiles(layer) = stage {
                need = (layer.covering(need.0), layer.covering(need.1));
            }
            wanted.push(need);
            need = grow(
                need,
                match stage {
                    WinogradStage::Direct { kernel, .. } => kernel - 1,
                    WinogradStage::Pool { dilation } => *dilation,
                    WinogradStage::Tiles(layer) => layer.context(),
                },
            );
        }
        (wanted, need)
    }

    fn classify(&self, planes: &Planes, block: Block, whole: (usize, usize)) -> Vec<f32> {
        let cut =
            self.hidden.cut(&planes.data, (planes.height, planes.width, planes.step), whole.1);
        let mut logits = Logits {
            engine: self,
            block,
            sums: Vec::new(),
            lanes: 1,
            out: vec![0.0; block.width * block.height * 2],
        };
        self.hidden.run(&cut, whole, &mut logits);
        logits.out
    }
}

fn tiles(layer: &Layer, planes: &Planes, (height, width): (usize, usize)) -> Planes {
    let cut = layer.cut(&planes.data, (planes.height, planes.width, planes.step), width);
    let mut sink = Collect {
        out: Planes::new(layer.filters, height, width, width),
        kept: Vec::new(),
        stride: 0,
        spread: layer.spread,
    };
    layer.run(&cut, (height, width), &mut sink);
    sink.out
}

/// Writes outputs into planes.
struct Collect {
    out: Planes,
    /// Outputs of all filters of the strip, `[filter][place][tile]`.
    kept: Vec<f32>,
    stride: usize,
    spread: usize,
}

impl Sink for Collect {
    fn begin(&mut self, stride: usize) {
        self.stride = stride;
        self.kept.resize(self.out.channels * TILE * TILE * stride, 0.0);
    }

    #[inline(always)]
    fn take<S: Simd>(
        &mut self,
        _: S,
        filter: usize,
        tile: usize,
        outputs: [[S::f32s; TILE]; TILE],
    ) {
        let of_filter =
            &mut self.kept[filter * TILE * TILE * self.stride..][..TILE * TILE * self.stride];
        for (place, v) in outputs.as_flattened().iter().enumerate() {
            let lanes: &[f32] = bytemuck::cast_slice(std::slice::from_ref(v));
            of_filter[place * self.stride + tile..][..S::F32_LANES].copy_from_slice(lanes);
        }
    }

    fn finish(&mut self, strip: Strip) {
        match self.spread {
            2 => self.place::<2>(strip),
            4 => self.place::<4>(strip),
            8 => self.place::<8>(strip),
            _ => self.place::<1>(strip),
        }
    }
}

impl Collect {
    fn place<const D: usize>(&mut self, strip: Strip) {
        let plane = self.out.height * self.out.step;
        for (filter, outputs) in self.kept.chunks_exact(TILE * TILE * self.stride).enumerate() {
            for (phase, r) in (0..strip.phases * TILE).map(|n| (n / TILE, n % TILE)) {
                let row = strip.row + phase + r * D;
                let target =
                    &mut self.out.data[filter * plane + row * self.out.step..][..self.out.width];
                let (runs, _) = target.as_chunks_mut::<D>();
                for s in 0..TILE {
                    let source = &outputs[(r * TILE + s) * self.stride + phase * strip.width..]
                        [..strip.width];
                    let places = runs.iter_mut().skip(s).step_by(TILE);
                    places.zip(source.as_chunks::<D>().0).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// Multiplies hidden units into the logits of their pixels; nothing hidden is stored.
struct Logits<'a> {
    engine: &'a WinogradEngine,
    block: Block,
    /// `[vector of tiles][class][place][lane]` of the strip.
    sums: Vec<f32>,
    lanes: usize,
    out: Vec<f32>,
}

impl Sink for Logits<'_> {
    fn begin(&mut self, stride: usize) {
        self.sums.clear();
        self.sums.resize(2 * TILE * TILE * stride, 0.0);
    }

    #[inline(always)]
    fn take<S: Simd>(
        &mut self,
        simd: S,
        filter: usize,
        tile: usize,
        outputs: [[S::f32s; TILE]; TILE],
    ) {
        const PLACES: usize = TILE * TILE;
        self.lanes = S::F32_LANES;
        let sums: &mut [S::f32s] = bytemuck::cast_slice_mut(
            &mut self.sums[tile * 2 * PLACES..][..S::F32_LANES * 2 * PLACES],
        );
        let (Some((first, rest)), [w0, w1]) =
            (sums.split_first_chunk_mut::<PLACES>(), self.engine.output[filter])
        else {
            return;
        };
        let Some(second) = rest.first_chunk_mut::<PLACES>() else { return };
        let (w0, w1) = (simd.splat_f32s(w0), simd.splat_f32s(w1));
        for (place, &hidden) in outputs.as_flattened().iter().enumerate() {
            first[place] = madd(simd, w0, hidden, first[place]);
            second[place] = madd(simd, w1, hidden, second[place]);
        }
    }

    fn finish(&mut self, strip: Strip) {
        const PLACES: usize = TILE * TILE;
        let spread = self.engine.hidden.spread;
        let [b0, b1] = self.engine.output_bias;
        for (phase, r) in (0..strip.phases * TILE).map(|n| (n / TILE, n % TILE)) {
            let row = strip.row + phase + r * spread;
            if row >= self.block.height {
                continue;
            }
            let out = &mut self.out[row * self.block.width * 2..][..self.block.width * 2];
            for (x, pixel) in out.chunks_exact_mut(2).enumerate() {
                let (run, within) = (x / spread, x % spread);
                let tile = phase * strip.width + run / TILE * spread + within;
                let (vector, lane) = (tile / self.lanes, tile % self.lanes);
                let at = (vector * 2 * PLACES + r * TILE + run % TILE) * self.lanes + lane;
                pixel.copy_from_slice(&[
                    self.sums[at] + b0,
                    self.sums[at + PLACES * self.lanes] + b1,
                ]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::super::{DenseEngine, blocks};
    use super::*;
    use crate::model::{Architecture, dcnn};

    /// Both sum the same products in another order; tiles multiply by up to 8 on the way.
    const ABSOLUTE: f32 = 5e-5;
    const RELATIVE: f32 = 5e-5;

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs() - RELATIVE * b.abs()).fold(0.0, f32::max)
    }

    #[test]
    fn tiles_equal_the_dense_engine_at_any_width_and_size() {
        for architecture in [dcnn([1, 1, 1], 1, 2), dcnn([3, 5, 8], 11, 2), dcnn([4, 17, 9], 37, 2)]
        {
            let model = Model::random(architecture, 4).expect("model");
            let (fast, exact) = (
                WinogradEngine::new(&model).expect("fast"),
                DenseEngine::new(&model).expect("exact"),
            );
            for (w, h) in [(1, 1), (9, 5), (40, 33), (70, 3)] {
                let image = picture(w, h);
                for block in blocks(w, h, 64) {
                    let difference = apart(&fast.run(&image, block), &exact.run(&image, block));
                    assert!(difference <= ABSOLUTE, "{difference} in {block:?}");
                }
            }
        }
    }

    #[test]
    fn the_papers_dcnn_too() {
        let model = Model::random(Architecture::paper_dcnn(), 4).expect("model");
        let block = Block { row: 32, column: 0, width: 64, height: 20 };
        let image = picture(90, 70);
        let fast = WinogradEngine::new(&model).expect("fast").run(&image, block);
        let difference = apart(&fast, &DenseEngine::new(&model).expect("exact").run(&image, block));
        assert!(difference <= ABSOLUTE, "{difference}");
    }
}
