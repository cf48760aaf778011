//! Any network on a batch of 32 patches. The patch is the innermost axis, so every inner loop runs
//! over neighbouring values, and each patch adds in the order of the definition (`patchwise`).
//!
//! Values of a node are `[channel][row][column][patch]`.

use super::convolution::Convolution;
use super::kernel::{Activation, SLACK, affine};
use super::packed::{ChannelAffine, PackedFilters, Parallelism, norm_affine};
use super::patchwise::patch_at;
use crate::error::Result;
use crate::model::{Graph, Model, Node, Op, Shape};
use crate::raster::RgbImage;

/// Patches in one batch.
pub const PATCH_BATCH: usize = 32;

/// A network with its weights packed for batches of patches.
#[derive(Debug)]
pub struct BatchEngine {
    graph: Graph,
    /// Constants of each node.
    constants: Vec<NodeConstants>,
    /// For each node, the index of the last node that reads it.
    last_use: Vec<usize>,
}

#[derive(Debug)]
enum NodeConstants {
    Weights(PackedFilters),
    Norm { scale: Vec<f32>, shift: Vec<f32> },
    None,
}

/// A square window that slides over the pixels of each channel.
#[derive(Clone, Copy)]
struct PoolWindow {
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl BatchEngine {
    /// Packs the weights of any model.
    ///
    /// # Errors
    /// None at present; the signature leaves room for networks that this engine cannot run.
    pub fn new(model: &Model) -> Result<Self> {
        let graph = model.graph().clone();
        let mut constants = Vec::with_capacity(graph.nodes.len());
        // A node that none reads keeps this index, which is never reached: the output stays.
        let mut last_use = vec![graph.nodes.len(); graph.nodes.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            constants.push(match node.op {
                Op::Conv { .. } | Op::Linear { .. } => NodeConstants::Weights(PackedFilters::of(
                    model,
                    &node.name,
                    node.shape.channels,
                )),
                Op::BatchNorm => {
                    let ChannelAffine { scale, shift } = norm_affine(model, node);
                    NodeConstants::Norm { scale, shift }
                }
                _ => NodeConstants::None,
            });
            for &input in &node.inputs {
                last_use[input] = i;
            }
        }
        Ok(Self { graph, constants, last_use })
    }

    /// Logits of some pixels (row, column) of an image, at most [`PATCH_BATCH`]: `[pixel][class]`.
    #[must_use]
    pub fn run(&self, image: &RgbImage, pixels: &[(usize, usize)]) -> Vec<f32> {
        let patches: Vec<Vec<f32>> =
            pixels.iter().map(|&(row, column)| patch_at(image, row, column)).collect();
        self.run_patches(&patches)
    }

    /// Logits of at most [`PATCH_BATCH`] patches, each `[3][55][55]`: `[patch][class]`.
    #[must_use]
    pub fn run_patches(&self, patches: &[Vec<f32>]) -> Vec<f32> {
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(self.graph.nodes.len());
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let value = match node.op {
                Op::Input => interleave(patches, node.shape),
                Op::Concat => concatenate(&self.graph, node, &values),
                _ => self.evaluate(i, &values[node.inputs[0]]),
            };
            values.push(value);
            for &input in &node.inputs {
                // Memory is bounded by the values that are still read, not by the depth of the
                // network.
                if self.last_use[input] == i {
                    values[input] = Vec::new();
                }
            }
        }
        let Some(node) = self.graph.nodes.last() else { return Vec::new() };
        // The last node has one pixel: `[class][patch]`. Absent patches of the batch are left out.
        let Some(by_class) = values.last() else { return Vec::new() };
        let classes = node.shape.channels;
        let mut logits = Vec::with_capacity(patches.len() * classes);
        for patch in 0..patches.len() {
            for class in 0..classes {
                logits.push(by_class[class * PATCH_BATCH + patch]);
            }
        }
        logits
    }

    /// Values of a node with one input.
    fn evaluate(&self, index: usize, x: &[f32]) -> Vec<f32> {
        let node = &self.graph.nodes[index];
        let from = self.graph.input_shape(node);
        let to = node.shape;
        match (node.op, &self.constants[index]) {
            (Op::Conv { kernel, stride, padding, .. }, NodeConstants::Weights(packed)) => {
                let conv = Convolution {
                    channels: from.channels,
                    filters: to.channels,
                    kernel,
                    stride,
                    padding,
                    side: from.height,
                };
                convolve(&conv, packed, x)
            }
            // A fully connected layer is a convolution whose window is the whole input.
            (Op::Linear { .. }, NodeConstants::Weights(packed)) => {
                let conv = Convolution {
                    channels: from.channels,
                    filters: to.channels,
                    kernel: from.height,
                    stride: 1,
                    padding: 0,
                    side: from.height,
                };
                convolve(&conv, packed, x)
            }
            (Op::BatchNorm, NodeConstants::Norm { scale, shift }) => {
                let mut out = x.to_vec();
                affine(&mut out, from.height * from.width * PATCH_BATCH, scale, shift);
                out
            }
            (Op::Relu, _) => x.iter().map(|&v| if v > 0.0 { v } else { 0.0 }).collect(),
            (Op::MaxPool { kernel, stride, padding }, _) => {
                max_pool(x, from, to, PoolWindow { kernel, stride, padding })
            }
            (Op::AvgPool { kernel }, _) => {
                average_pool(x, from, to, PoolWindow { kernel, stride: kernel, padding: 0 })
            }
            _ => x.to_vec(),
        }
    }
}

/// Zeros for a node's values, and the slack that the kernels may read.
fn zeroed(shape: Shape) -> Vec<f32> {
    vec![0.0; shape.count() * PATCH_BATCH + SLACK]
}

/// `[patch][value]` to `[value][patch]`; absent patches are zero.
fn interleave(patches: &[Vec<f32>], shape: Shape) -> Vec<f32> {
    let mut out = zeroed(shape);
    for (i, patch) in patches.iter().take(PATCH_BATCH).enumerate() {
        for (value, row) in patch.iter().zip(out.chunks_exact_mut(PATCH_BATCH)) {
            row[i] = *value;
        }
    }
    out
}

fn concatenate(graph: &Graph, node: &Node, values: &[Vec<f32>]) -> Vec<f32> {
    let mut out = Vec::with_capacity(node.shape.count() * PATCH_BATCH + SLACK);
    for &input in &node.inputs {
        let len = graph.nodes[input].shape.count() * PATCH_BATCH;
        out.extend_from_slice(&values[input][..len]);
    }
    out.resize(out.len() + SLACK, 0.0);
    out
}

fn convolve(conv: &Convolution, packed: &PackedFilters, x: &[f32]) -> Vec<f32> {
    let side = conv.out_side();
    let mut out = zeroed(Shape { channels: conv.filters, height: side, width: side });
    conv.forward(packed, x, Activation::Identity, Parallelism::ONE, &mut out);
    out
}

/// The largest value of each window; padding takes no part.
fn max_pool(x: &[f32], from: Shape, to: Shape, window: PoolWindow) -> Vec<f32> {
    let start = [f32::NEG_INFINITY; PATCH_BATCH];
    fold_windows(
        x,
        from,
        to,
        window,
        start,
        |largest, value| {
            if value > largest { value } else { largest }
        },
    )
}

/// The mean of each window.
fn average_pool(x: &[f32], from: Shape, to: Shape, window: PoolWindow) -> Vec<f32> {
    let share = 1.0 / (window.kernel * window.kernel) as f32;
    let start = [0.0; PATCH_BATCH];
    let mut out = fold_windows(x, from, to, window, start, |sum, value| sum + value);
    for value in &mut out {
        *value *= share;
    }
    out
}

/// For each window and patch, `combine` applied to the values of the window one after the other,
/// row by row; padding takes no part.
fn fold_windows(
    x: &[f32],
    from: Shape,
    to: Shape,
    window: PoolWindow,
    start: [f32; PATCH_BATCH],
    combine: impl Fn(f32, f32) -> f32,
) -> Vec<f32> {
    let PoolWindow { kernel, stride, padding } = window;
    let mut out = zeroed(to);
    let mut targets = out.chunks_exact_mut(PATCH_BATCH);
    for channel in 0..to.channels {
        for row in 0..to.height {
            for column in 0..to.width {
                let mut results = start;
                for dy in 0..kernel {
                    for dx in 0..kernel {
                        // Position in the padded input, then in the input.
                        let in_row = row * stride + dy;
                        let in_column = column * stride + dx;
                        if in_row < padding
                            || in_column < padding
                            || in_row - padding >= from.height
                            || in_column - padding >= from.width
                        {
                            continue;
                        }
                        let pixel = (channel * from.height + in_row - padding) * from.width
                            + in_column
                            - padding;
                        let values = &x[pixel * PATCH_BATCH..][..PATCH_BATCH];
                        for (result, &value) in results.iter_mut().zip(values) {
                            *result = combine(*result, value);
                        }
                    }
                }
                if let Some(target) = targets.next() {
                    target.copy_from_slice(&results);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::super::{patch_at, patch_logits};
    use super::*;
    use crate::model::{Architecture, dccn, dcnn};

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn a_batch_equals_the_definition_bit_for_bit() {
        let image = picture(60, 60);
        for architecture in
            [dcnn([3, 5, 9], 12, 2), dccn(5, 7, 3, [6, 5, 9], 2), Architecture::paper_dcnn()]
        {
            let family = architecture.family();
            let model = Model::random(architecture, 8).expect("model");
            let pixels = [(0, 0), (30, 31), (59, 59)];
            let batch = BatchEngine::new(&model).expect("engine").run(&image, &pixels);
            for ((row, column), logits) in pixels.into_iter().zip(batch.chunks_exact(2)) {
                let single = patch_logits(&model, &patch_at(&image, row, column));
                assert_eq!(bits(logits), bits(&single), "{family} ({row}, {column})");
            }
        }
    }
}
