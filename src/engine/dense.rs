//! The DCNN on a whole block at once, à trous: pooling moves by one pixel, and everything behind it
//! reads 2, 4, 8 pixels apart. Each output is the same sum, in the same order, as its own patch
//! would give.

use super::block::Block;
use super::kernel::{ConvForward, SLACK, weighted_sums};
use super::packed::PackedFilters;
use crate::error::{Error, Result};
use crate::model::{CENTRE_PX, Model, Op, PATCH_PX};
use crate::raster::{RgbImage, mirrored_window};

/// A stage works on planes whose neighbours belong `dilation` pixels apart.
#[derive(Debug)]
enum DenseStage {
    /// Convolution with ReLU.
    Conv { packed: PackedFilters, kernel: usize, dilation: usize },
    /// Maximum of 2×2.
    Pool { dilation: usize },
}

/// A DCNN made ready for blocks.
#[derive(Debug)]
pub struct DenseEngine {
    stages: Vec<DenseStage>,
    /// First fully connected layer: a convolution over what is left of the patch.
    hidden: DenseStage,
    output: PackedFilters,
}

/// `channels` planes of `height` rows, all rows `Planes::step` apart.
pub struct Planes {
    pub data: Vec<f32>,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub step: usize,
}

impl Planes {
    pub fn new(channels: usize, height: usize, width: usize, step: usize) -> Self {
        Self { data: vec![0.0; channels * height * step + SLACK], channels, height, width, step }
    }
}

impl DenseEngine {
    /// Packs the weights of a DCNN.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network that pads inside its patch and so has no exact dense
    /// form.
    pub fn new(model: &Model) -> Result<Self> {
        let graph = model.graph();
        let mut dilation = 1;
        let (mut stages, mut linear) = (Vec::new(), Vec::new());
        for node in &graph.nodes {
            match node.op {
                Op::Conv { kernel, stride: 1, padding: 0, .. } => {
                    stages.push(DenseStage::Conv {
                        packed: PackedFilters::of(model, node),
                        kernel,
                        dilation,
                    });
                }
                Op::MaxPool { kernel: 2, stride: 2, padding: 0 } => {
                    stages.push(DenseStage::Pool { dilation });
                    dilation *= 2;
                }
                Op::Linear { .. } => {
                    let kernel = graph.input_shape(node).height;
                    linear.push(DenseStage::Conv {
                        packed: PackedFilters::of(model, node),
                        kernel,
                        dilation,
                    });
                }
                Op::Input | Op::Relu => {}
                _ => {
                    return Err(Error::unsupported(
                        "This network has no exact dense form; only the DCNN has",
                    ));
                }
            }
        }
        let (Some(DenseStage::Conv { packed: output, .. }), Some(hidden)) =
            (linear.pop(), linear.pop())
        else {
            return Err(Error::unsupported("The dense form needs two fully connected layers"));
        };
        Ok(Self { stages, hidden, output })
    }

    /// Logits of every pixel of `block`, row by row, classes innermost.
    #[must_use]
    pub fn run(&self, image: &RgbImage, block: Block) -> Vec<f32> {
        let mut planes = read_window(image, block, around(block));
        for stage in &self.stages {
            planes = match stage {
                DenseStage::Conv { packed, kernel, dilation } => {
                    convolve(&planes, packed, *kernel, *dilation)
                }
                DenseStage::Pool { dilation } => pool(&planes, *dilation),
            };
        }
        self.classify(&planes, block)
    }

    /// Both fully connected layers row by row, so that the hidden values of one row are all that is
    /// ever stored.
    fn classify(&self, planes: &Planes, block: Block) -> Vec<f32> {
        let DenseStage::Conv { packed: hidden, kernel, dilation } = &self.hidden else {
            return Vec::new();
        };
        let taps = taps(planes, *kernel, *dilation);
        let (width, classes) = (block.width, self.output.filters);
        let hidden_taps: Vec<usize> = (0..hidden.filters).map(|i| i * width).collect();
        let mut row_values = vec![0.0; hidden.filters * width + SLACK];
        let mut row_logits = vec![0.0; classes * width];
        let mut logits = Vec::with_capacity(width * block.height * classes);
        for y in 0..block.height {
            let runs = [(y * planes.step, 0)];
            let first = ConvForward {
                groups: &hidden.groups,
                source: &planes.data,
                taps: &taps,
                runs: &runs,
                run_len: width,
                filter_step: width,
                relu: true,
            };
            weighted_sums(&first, &mut row_values);
            let second = ConvForward {
                groups: &self.output.groups,
                source: &row_values,
                taps: &hidden_taps,
                runs: &[(0, 0)],
                run_len: width,
                filter_step: width,
                relu: false,
            };
            weighted_sums(&second, &mut row_logits);
            logits.extend(
                (0..width)
                    .flat_map(|x| (0..classes).map(move |c| (c, x)))
                    .map(|(c, x)| row_logits[c * width + x]),
            );
        }
        logits
    }
}

/// The block with its 27 pixels of context, mirrored at the image border, as three planes of value
/// / 255.
pub fn block_values(image: &RgbImage, block: Block) -> Vec<f32> {
    read_window(image, block, around(block)).data
}

/// Pixels that a block reads, mirrored at the image's borders: from 27 pixels up and left of it.
pub fn window_pixels(
    image: &RgbImage,
    block: Block,
    (height, width): (usize, usize),
) -> Vec<[u8; 3]> {
    let start = |at: usize| at.cast_signed() - CENTRE_PX.cast_signed();
    mirrored_window(image, start(block.row), start(block.column), width, height)
}

fn read_window(image: &RgbImage, block: Block, size: (usize, usize)) -> Planes {
    input_planes(&window_pixels(image, block, size), size)
}

/// Height and width of a block with all its patches.
pub fn around(block: Block) -> (usize, usize) {
    (block.height + PATCH_PX - 1, block.width + PATCH_PX - 1)
}

/// Pixels as planes of red, green and blue, 0 to 1.
pub fn input_planes(pixels: &[[u8; 3]], (height, width): (usize, usize)) -> Planes {
    let levels: [f32; 256] = std::array::from_fn(|v| v as f32 / 255.0);
    let mut data = Vec::with_capacity(3 * pixels.len() + SLACK);
    (0..3).for_each(|c| data.extend(pixels.iter().map(|p| levels[usize::from(p[c])])));
    data.resize(data.len() + SLACK, 0.0);
    Planes { data, channels: 3, height, width, step: width }
}

/// Where the inputs of an output lie, relative to it: channel, row, column.
fn taps(planes: &Planes, kernel: usize, dilation: usize) -> Vec<usize> {
    let plane = planes.height * planes.step;
    let window = |c: usize| (0..kernel * kernel).map(move |k| (c, k / kernel, k % kernel));
    (0..planes.channels)
        .flat_map(window)
        .map(|(c, dy, dx)| c * plane + (dy * planes.step + dx) * dilation)
        .collect()
}

/// Valid convolution with ReLU, taps `dilation` pixels apart.
pub fn convolve(planes: &Planes, packed: &PackedFilters, kernel: usize, dilation: usize) -> Planes {
    let lost = (kernel - 1) * dilation;
    let mut out =
        Planes::new(packed.filters, planes.height - lost, planes.width - lost, planes.step);
    let taps = taps(planes, kernel, dilation);
    for y in 0..out.height {
        let runs = [(y * planes.step, y * planes.step)];
        let sums = ConvForward {
            groups: &packed.groups,
            source: &planes.data,
            taps: &taps,
            runs: &runs,
            run_len: out.width,
            filter_step: out.height * out.step,
            relu: true,
        };
        weighted_sums(&sums, &mut out.data);
    }
    out
}

/// Maximum of 2×2 pixels `dilation` apart.
pub fn pool(planes: &Planes, dilation: usize) -> Planes {
    let mut out = Planes::new(
        planes.channels,
        planes.height - dilation,
        planes.width - dilation,
        planes.step,
    );
    let (from, to) = (planes.height * planes.step, out.height * out.step);
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    for c in 0..planes.channels {
        for y in 0..out.height {
            let top = &planes.data[c * from + y * planes.step..][..planes.width];
            let below = &planes.data[c * from + (y + dilation) * planes.step..][..planes.width];
            let row = &mut out.data[c * to + y * out.step..][..out.width];
            let pairs = top.iter().zip(&top[dilation..]).zip(below.iter().zip(&below[dilation..]));
            for (value, ((&a, &b), (&c, &d))) in row.iter_mut().zip(pairs) {
                *value = larger(larger(larger(a, b), c), d);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::super::{blocks, patch_at, patch_logits};
    use super::*;
    use crate::model::{Architecture, dcnn};

    fn assert_equal_bits(model: &Model, image: &RgbImage, block: Block, every: usize) {
        let dense = DenseEngine::new(model).expect("engine").run(image, block);
        let places = (0..block.height).flat_map(|y| (0..block.width).map(move |x| (y, x)));
        for (i, (y, x)) in places.enumerate().step_by(every) {
            let patch = patch_logits(model, &patch_at(image, block.row + y, block.column + x));
            let bits = |v: &[f32]| v.iter().map(|z| z.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&dense[i * 2..][..2]), bits(&patch), "pixel ({y}, {x}) of {block:?}");
        }
    }

    #[test]
    fn dense_equals_patch_wise_bit_for_bit_at_any_width_and_size() {
        for filters in [[1, 1, 1], [3, 5, 8], [4, 6, 9]] {
            let model = Model::random(dcnn(filters, 11, 2), 4).expect("model");
            for (w, h) in [(1, 1), (9, 5), (40, 3)] {
                let image = picture(w, h);
                blocks(w, h, 33).into_iter().for_each(|b| assert_equal_bits(&model, &image, b, 7));
            }
        }
    }

    #[test]
    fn the_papers_dcnn_too() {
        let model = Model::random(Architecture::paper_dcnn(), 4).expect("model");
        let block = Block { row: 20, column: 31, width: 35, height: 9 };
        assert_equal_bits(&model, &picture(90, 70), block, 61);
    }

    #[test]
    fn a_network_with_padding_is_refused() {
        let model = Model::random(crate::model::dccn(2, 2, 2, [2, 2, 2], 2), 0).expect("model");
        assert!(matches!(DenseEngine::new(&model), Err(Error::Unsupported { .. })));
    }
}
