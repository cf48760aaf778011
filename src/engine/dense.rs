//! The exact dense engine: all pixels of a block at once by the dense form of the network
//! ([`DensePlan`]). Each output is the same sum, in the same order, as its own patch gives, so the
//! result equals the definition (`patchwise`) bit for bit.

use super::block::Block;
use super::kernel::{ConvForward, OutputRun, SLACK, weighted_sums};
use super::packed::PackedFilters;
use crate::error::Result;
use crate::model::{CENTRE_PX, DenseConv, DensePlan, DenseStep, Model, PATCH_PX};
use crate::raster::{RgbImage, mirrored_window};

/// A dense network with its weights packed.
#[derive(Debug)]
pub struct DenseEngine {
    steps: Vec<ExactStep>,
    hidden: PackedConv,
    output: PackedConv,
}

#[derive(Debug)]
enum ExactStep {
    Conv(PackedConv),
    MaxPool { dilation: usize },
}

/// A convolution of the plan with its weights packed.
#[derive(Debug)]
pub(super) struct PackedConv {
    filters: PackedFilters,
    kernel: usize,
    dilation: usize,
    relu: bool,
}

impl PackedConv {
    /// Packs the arrays of a convolution of the plan.
    pub(super) fn new(model: &Model, conv: &DenseConv) -> Self {
        Self {
            filters: PackedFilters::of(model, &conv.name, conv.filters),
            kernel: conv.kernel,
            dilation: conv.dilation,
            relu: conv.relu,
        }
    }
}

/// Height and width in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaneSize {
    pub height: usize,
    pub width: usize,
}

impl PlaneSize {
    /// Both sides longer by `px`.
    pub fn expanded(self, px: usize) -> Self {
        Self { height: self.height + px, width: self.width + px }
    }

    /// Both sides shorter by `px`.
    fn reduced(self, px: usize) -> Self {
        Self { height: self.height - px, width: self.width - px }
    }
}

/// Values as `[channel][row][column]`. Rows may be further apart than they are wide, so that a
/// layer and its input share the distance between rows.
pub(super) struct Planes {
    /// The values, followed by [`SLACK`].
    pub data: Vec<f32>,
    pub channels: usize,
    pub size: PlaneSize,
    /// Distance between the starts of two rows.
    pub row_step: usize,
}

impl Planes {
    /// Zeros.
    pub(super) fn new(channels: usize, size: PlaneSize, row_step: usize) -> Self {
        let data = vec![0.0; channels * size.height * row_step + SLACK];
        Self { data, channels, size, row_step }
    }

    /// Distance between the starts of two channels.
    pub(super) fn channel_step(&self) -> usize {
        self.size.height * self.row_step
    }
}

impl DenseEngine {
    /// Packs the weights of a DCNN.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::error::Error::Unsupported) for a network that pads inside its
    /// patch and so has no exact dense form.
    pub fn new(model: &Model) -> Result<Self> {
        let plan = DensePlan::new(model.graph())?;
        let mut steps = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            steps.push(match step {
                DenseStep::Conv(conv) => ExactStep::Conv(PackedConv::new(model, conv)),
                DenseStep::MaxPool { dilation, .. } => ExactStep::MaxPool { dilation: *dilation },
            });
        }
        Ok(Self {
            steps,
            hidden: PackedConv::new(model, &plan.hidden),
            output: PackedConv::new(model, &plan.output),
        })
    }

    /// Logits of every pixel of `block`: `[row][column][class]`.
    #[must_use]
    pub fn run(&self, image: &RgbImage, block: Block) -> Vec<f32> {
        let mut planes = block_planes(image, block);
        for step in &self.steps {
            planes = match step {
                ExactStep::Conv(conv) => convolve(&planes, conv),
                ExactStep::MaxPool { dilation } => max_pool(&planes, *dilation),
            };
        }
        self.classify(&planes, block)
    }

    /// Both fully connected layers, one row of pixels after the other, so that only the hidden
    /// values of one row are stored.
    fn classify(&self, planes: &Planes, block: Block) -> Vec<f32> {
        let width = block.width;
        let units = self.hidden.filters.filters;
        let classes = self.output.filters.filters;
        let window = taps(planes, &self.hidden);
        let unit_starts: Vec<usize> = (0..units).map(|unit| unit * width).collect();
        // [unit][column] and [class][column] of one row.
        let mut hidden_row = vec![0.0; units * width + SLACK];
        let mut logits_row = vec![0.0; classes * width];
        let mut logits = Vec::with_capacity(width * block.height * classes);
        for y in 0..block.height {
            let hidden = ConvForward {
                groups: &self.hidden.filters.groups,
                source: &planes.data,
                taps: &window,
                runs: &[OutputRun { source: y * planes.row_step, target: 0 }],
                run_len: width,
                filter_step: width,
                relu: self.hidden.relu,
            };
            weighted_sums(&hidden, &mut hidden_row);
            let output = ConvForward {
                groups: &self.output.filters.groups,
                source: &hidden_row,
                taps: &unit_starts,
                runs: &[OutputRun { source: 0, target: 0 }],
                run_len: width,
                filter_step: width,
                relu: self.output.relu,
            };
            weighted_sums(&output, &mut logits_row);
            for x in 0..width {
                for class in 0..classes {
                    logits.push(logits_row[class * width + x]);
                }
            }
        }
        logits
    }
}

/// The block and its 27 pixels of context, mirrored at the image's border:
/// `[channel][row][column]`, value / 255.
pub(super) fn block_values(image: &RgbImage, block: Block) -> Vec<f32> {
    block_planes(image, block).data
}

fn block_planes(image: &RgbImage, block: Block) -> Planes {
    let size = around(block);
    input_planes(&window_pixels(image, block, size), size)
}

/// Pixels of a window that begins 27 pixels above and left of the block, mirrored at the image's
/// border.
pub(super) fn window_pixels(image: &RgbImage, block: Block, size: PlaneSize) -> Vec<[u8; 3]> {
    let top = block.row.cast_signed() - CENTRE_PX.cast_signed();
    let left = block.column.cast_signed() - CENTRE_PX.cast_signed();
    mirrored_window(image, top, left, size.width, size.height)
}

/// Size of a block with the patches of all its pixels.
pub(super) fn around(block: Block) -> PlaneSize {
    PlaneSize { height: block.height, width: block.width }.expanded(PATCH_PX - 1)
}

/// Pixels as planes of red, green and blue, value / 255.
pub(super) fn input_planes(pixels: &[[u8; 3]], size: PlaneSize) -> Planes {
    let levels: [f32; 256] = std::array::from_fn(|value| value as f32 / 255.0);
    let mut data = Vec::with_capacity(3 * pixels.len() + SLACK);
    for channel in 0..3 {
        data.extend(pixels.iter().map(|pixel| levels[usize::from(pixel[channel])]));
    }
    data.resize(data.len() + SLACK, 0.0);
    Planes { data, channels: 3, size, row_step: size.width }
}

/// Where the inputs of an output lie, relative to it: over channels, then rows, then columns.
fn taps(planes: &Planes, conv: &PackedConv) -> Vec<usize> {
    let mut taps = Vec::with_capacity(planes.channels * conv.kernel * conv.kernel);
    for channel in 0..planes.channels {
        for dy in 0..conv.kernel {
            for dx in 0..conv.kernel {
                let pixel = (dy * planes.row_step + dx) * conv.dilation;
                taps.push(channel * planes.channel_step() + pixel);
            }
        }
    }
    taps
}

/// Convolution without padding.
pub(super) fn convolve(planes: &Planes, conv: &PackedConv) -> Planes {
    // Pooling does not reduce the resolution here: its stride becomes the dilation of the layers
    // behind it, so that every pixel has the values of its own patch.
    let size = planes.size.reduced((conv.kernel - 1) * conv.dilation);
    let mut out = Planes::new(conv.filters.filters, size, planes.row_step);
    let filter_step = out.channel_step();
    let taps = taps(planes, conv);
    for y in 0..size.height {
        let sums = ConvForward {
            groups: &conv.filters.groups,
            source: &planes.data,
            taps: &taps,
            runs: &[OutputRun { source: y * planes.row_step, target: y * planes.row_step }],
            run_len: size.width,
            filter_step,
            relu: conv.relu,
        };
        weighted_sums(&sums, &mut out.data);
    }
    out
}

/// Maximum of 2×2 values that lie `dilation` pixels apart, at every pixel.
pub(super) fn max_pool(planes: &Planes, dilation: usize) -> Planes {
    let width = planes.size.width;
    let mut out = Planes::new(planes.channels, planes.size.reduced(dilation), planes.row_step);
    for channel in 0..planes.channels {
        for y in 0..out.size.height {
            // The four values are compared in the order of the definition, row by row.
            let source = channel * planes.channel_step() + y * planes.row_step;
            let upper = &planes.data[source..][..width];
            let lower = &planes.data[source + dilation * planes.row_step..][..width];
            let target = channel * out.channel_step() + y * out.row_step;
            let row = &mut out.data[target..][..width - dilation];
            let upper_pairs = upper.iter().zip(&upper[dilation..]);
            let lower_pairs = lower.iter().zip(&lower[dilation..]);
            for (value, (upper, lower)) in row.iter_mut().zip(upper_pairs.zip(lower_pairs)) {
                let of_three = larger(larger(*upper.0, *upper.1), *lower.0);
                *value = larger(of_three, *lower.1);
            }
        }
    }
    out
}

fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::super::{blocks, patch_at, patch_logits};
    use super::*;
    use crate::error::Error;
    use crate::model::{Architecture, dccn, dcnn};

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    /// Compares every `step`-th pixel of a block with its own patch.
    fn assert_equal_bits(model: &Model, image: &RgbImage, block: Block, step: usize) {
        let dense = DenseEngine::new(model).expect("engine").run(image, block);
        for (i, logits) in dense.chunks_exact(2).enumerate().step_by(step) {
            let row = block.row + i / block.width;
            let column = block.column + i % block.width;
            let patch = patch_logits(model, &patch_at(image, row, column));
            assert_eq!(bits(logits), bits(&patch), "pixel ({row}, {column}) of {block:?}");
        }
    }

    #[test]
    fn dense_equals_patch_wise_bit_for_bit_at_any_width_and_size() {
        for filters in [[1, 1, 1], [3, 5, 8], [4, 6, 9]] {
            let model = Model::random(dcnn(filters, 11, 2), 4).expect("model");
            for (width, height) in [(1, 1), (9, 5), (40, 3)] {
                let image = picture(width, height);
                for block in blocks(width, height, 33) {
                    assert_equal_bits(&model, &image, block, 7);
                }
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
        let model = Model::random(dccn(2, 2, 2, [2, 2, 2], 2), 0).expect("model");
        assert!(matches!(DenseEngine::new(&model), Err(Error::Unsupported { .. })));
    }
}
