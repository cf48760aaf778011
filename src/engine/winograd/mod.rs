//! The fast CPU engine for the DCNN: the dense form ([`DensePlan`]) with its larger convolutions
//! and its first fully connected layer by Winograd tiles, which take about a quarter of the
//! multiplications.
//!
//! It rounds in another order than the definition, so a test holds its logits to a tolerance (rung
//! 2 of the ladder in `engine`). Tiles lie at fixed positions of the image, so the size of blocks
//! changes no bit.

mod layer;
mod sinks;
mod transform;

use super::block::Block;
use super::dense::{
    PackedConv, PlaneSize, Planes, convolve, input_planes, max_pool, window_pixels,
};
use crate::error::Result;
use crate::model::{DensePlan, DenseStep, Model};
use crate::raster::RgbImage;
use layer::Layer;
use sinks::{LogitSink, PlaneSink};
use transform::TILE;

/// Blocks begin at multiples of this: the tiles of the last layer, of dilation 8, are as wide.
pub const ALIGN_PX: usize = TILE * 8;

#[derive(Debug)]
enum WinogradStep {
    /// A convolution with so few taps that tiles do not pay.
    Direct {
        conv: PackedConv,
        context_px: usize,
    },
    Tiles(Layer),
    MaxPool {
        dilation: usize,
    },
}

impl WinogradStep {
    /// Pixels of input beyond the outputs along each axis.
    fn context_px(&self) -> usize {
        match self {
            Self::Direct { context_px, .. } => *context_px,
            Self::Tiles(layer) => layer.context_px(),
            Self::MaxPool { dilation } => *dilation,
        }
    }
}

/// A DCNN with its weights packed and transformed.
#[derive(Debug)]
pub struct WinogradEngine {
    steps: Vec<WinogradStep>,
    hidden: Layer,
    /// Weights of the last layer, `[unit][class]`.
    output_weights: Vec<f32>,
    /// `[class]`.
    output_bias: Vec<f32>,
}

/// Sizes of the planes on the way through the network.
struct PlaneSizes {
    input: PlaneSize,
    /// Output of each step.
    outputs: Vec<PlaneSize>,
    /// Logits, in whole tiles.
    logits: PlaneSize,
}

impl WinogradEngine {
    /// Transforms the weights of a DCNN.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::error::Error::Unsupported) for a network without a dense form.
    pub fn new(model: &Model) -> Result<Self> {
        let plan = DensePlan::new(model.graph())?;
        let mut steps = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            steps.push(match step {
                DenseStep::Conv(conv) if conv.dilation == 1 => WinogradStep::Direct {
                    conv: PackedConv::new(model, conv),
                    context_px: conv.context_px(),
                },
                DenseStep::Conv(conv) => WinogradStep::Tiles(Layer::new(model, conv)),
                DenseStep::MaxPool { dilation, .. } => {
                    WinogradStep::MaxPool { dilation: *dilation }
                }
            });
        }
        let units = plan.output.channels;
        let weights = model.array(&plan.output.weight_name());
        let mut output_weights = Vec::with_capacity(weights.len());
        for unit in 0..units {
            output_weights.extend((0..plan.classes()).map(|class| weights[class * units + unit]));
        }
        Ok(Self {
            steps,
            hidden: Layer::new(model, &plan.hidden),
            output_weights,
            output_bias: model.array(&plan.output.bias_name()).to_vec(),
        })
    }

    /// Logits of every pixel of `block`: `[row][column][class]`. Its origin should be a multiple of
    /// [`ALIGN_PX`] in the image.
    #[must_use]
    pub fn run(&self, image: &RgbImage, block: Block) -> Vec<f32> {
        self.run_window(&window_pixels(image, block, self.window(block)), block)
    }

    /// Size of the pixels that a block reads; they begin 27 pixels above and left of the block.
    #[must_use]
    pub fn window(&self, block: Block) -> PlaneSize {
        self.sizes(block).input
    }

    /// [`Self::run`] on pixels that were cut out before: [`Self::window`] of them, row by row.
    #[must_use]
    pub fn run_window(&self, pixels: &[[u8; 3]], block: Block) -> Vec<f32> {
        let sizes = self.sizes(block);
        let mut planes = input_planes(pixels, sizes.input);
        for (step, &size) in self.steps.iter().zip(&sizes.outputs) {
            planes = match step {
                WinogradStep::Direct { conv, .. } => convolve(&planes, conv),
                WinogradStep::MaxPool { dilation } => max_pool(&planes, *dilation),
                WinogradStep::Tiles(layer) => {
                    let mut sink = PlaneSink::new(layer, size);
                    layer.run(&layer.tiled(&planes, size.width), size, &mut sink);
                    sink.planes
                }
            };
        }
        self.classify(&planes, sizes.logits, block)
    }

    /// Both fully connected layers.
    fn classify(&self, planes: &Planes, size: PlaneSize, block: Block) -> Vec<f32> {
        let mut sink = LogitSink::new(self, block);
        self.hidden.run(&self.hidden.tiled(planes, size.width), size, &mut sink);
        sink.logits
    }

    /// From the logits back to the input: each step needs the outputs that the next one reads,
    /// filled up to whole tiles where the step has tiles.
    fn sizes(&self, block: Block) -> PlaneSizes {
        let logits = self.hidden.covering(PlaneSize { height: block.height, width: block.width });
        let mut size = logits.expanded(self.hidden.context_px());
        let mut outputs = Vec::with_capacity(self.steps.len());
        for step in self.steps.iter().rev() {
            if let WinogradStep::Tiles(layer) = step {
                size = layer.covering(size);
            }
            outputs.push(size);
            size = size.expanded(step.context_px());
        }
        outputs.reverse();
        PlaneSizes { input: size, outputs, logits }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::super::{DenseEngine, blocks};
    use super::*;
    use crate::model::{Architecture, dcnn};

    /// Both engines sum the same products in another order; the transforms multiply by up to 8.
    const ABSOLUTE: f32 = 5e-5;
    const RELATIVE: f32 = 5e-5;

    /// Largest difference beyond the relative tolerance.
    fn excess(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs() - RELATIVE * b.abs()).fold(0.0, f32::max)
    }

    #[test]
    fn tiles_equal_the_dense_engine_at_any_width_and_size() {
        for architecture in [
            dcnn([1, 1, 1], 1, 2),
            dcnn([3, 5, 8], 11, 2),
            dcnn([4, 17, 9], 37, 2),
            dcnn([3, 5, 8], 11, 3),
            dcnn([2, 3, 4], 9, 5),
        ] {
            let model = Model::random(architecture, 4).expect("model");
            let fast = WinogradEngine::new(&model).expect("fast");
            let exact = DenseEngine::new(&model).expect("exact");
            for (width, height) in [(1, 1), (9, 5), (40, 33), (70, 3)] {
                let image = picture(width, height);
                for block in blocks(width, height, 64) {
                    let difference = excess(&fast.run(&image, block), &exact.run(&image, block));
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
        let exact = DenseEngine::new(&model).expect("exact").run(&image, block);
        let difference = excess(&fast, &exact);
        assert!(difference <= ABSOLUTE, "{difference}");
    }
}
