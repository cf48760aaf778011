//! The definition: one patch through the graph, node by node, every loop written out. It is slow on
//! purpose. Each faster engine is tested against it.
//!
//! Tensors are `[channel][row][column]`. The order of additions is part of the definition: a sum
//! starts with the bias and runs over channels, then rows, then columns.

use super::packed::{ChannelAffine, norm_affine};
use crate::model::{CENTRE_PX, Model, Node, Op, PATCH_PX, Shape};
use crate::platform::madd;
use crate::raster::{RgbImage, mirrored_window};

/// The 55×55 patch around a pixel as network input, `[channel][row][column]`: value / 255, pixels
/// outside the image mirrored at its border.
#[must_use]
pub fn patch_at(image: &RgbImage, row: usize, column: usize) -> Vec<f32> {
    let top = row.cast_signed() - CENTRE_PX.cast_signed();
    let left = column.cast_signed() - CENTRE_PX.cast_signed();
    let pixels = mirrored_window(image, top, left, PATCH_PX, PATCH_PX);
    let mut patch = Vec::with_capacity(3 * pixels.len());
    for channel in 0..3 {
        for pixel in &pixels {
            patch.push(f32::from(pixel[channel]) / 255.0);
        }
    }
    patch
}

/// Logits of one patch (`[3][55][55]`), one per class.
#[must_use]
pub fn patch_logits(model: &Model, patch: &[f32]) -> Vec<f32> {
    let graph = model.graph();
    let mut tensors: Vec<Tensor> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let mut output = Tensor::zeros(node.shape);
        match node.op {
            Op::Input => output.values.copy_from_slice(patch),
            Op::Concat => {
                output.values.clear();
                for &index in &node.inputs {
                    output.values.extend_from_slice(&tensors[index].values);
                }
            }
            _ => evaluate(model, node, &tensors[node.inputs[0]], &mut output),
        }
        tensors.push(output);
    }
    tensors.pop().map_or_else(Vec::new, |logits| logits.values)
}

/// Values of one node, `[channel][row][column]`.
struct Tensor {
    shape: Shape,
    values: Vec<f32>,
}

impl Tensor {
    fn zeros(shape: Shape) -> Self {
        Self { shape, values: vec![0.0; shape.count()] }
    }

    fn index(&self, channel: usize, row: usize, column: usize) -> usize {
        (channel * self.shape.height + row) * self.shape.width + column
    }

    fn set(&mut self, channel: usize, row: usize, column: usize, value: f32) {
        let index = self.index(channel, row, column);
        self.values[index] = value;
    }

    /// The value at a position of the padded tensor; none in the padding.
    fn padded(&self, channel: usize, row: usize, column: usize, padding: usize) -> Option<f32> {
        let row = row.checked_sub(padding)?;
        let column = column.checked_sub(padding)?;
        if row >= self.shape.height || column >= self.shape.width {
            return None;
        }
        Some(self.values[self.index(channel, row, column)])
    }
}

/// A square window that slides over a tensor.
#[derive(Clone, Copy)]
struct SlidingWindow {
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// Computes a node with one input.
fn evaluate(model: &Model, node: &Node, input: &Tensor, output: &mut Tensor) {
    match node.op {
        Op::Input | Op::Concat => {}
        Op::Conv { kernel, stride, padding, bias, .. } => {
            let weight = model.array(&format!("{}.weight", node.name));
            let no_bias = vec![0.0; node.shape.channels];
            let bias =
                if bias { model.array(&format!("{}.bias", node.name)) } else { no_bias.as_slice() };
            convolve(weight, bias, SlidingWindow { kernel, stride, padding }, input, output);
        }
        Op::BatchNorm => {
            normalise(&norm_affine(model, node), input, output);
        }
        Op::Relu => {
            for (out, &value) in output.values.iter_mut().zip(&input.values) {
                *out = if value > 0.0 { value } else { 0.0 };
            }
        }
        Op::MaxPool { kernel, stride, padding } => {
            max_pool(SlidingWindow { kernel, stride, padding }, input, output);
        }
        Op::AvgPool { kernel } => average_pool(kernel, input, output),
        Op::Linear { .. } => {
            let weight = model.array(&format!("{}.weight", node.name));
            let bias = model.array(&format!("{}.bias", node.name));
            fully_connected(weight, bias, input, output);
        }
    }
}

/// Cross-correlation with `weight`, `[filter][channel][row][column]`. Padding counts as zeros.
fn convolve(
    weight: &[f32],
    bias: &[f32],
    window: SlidingWindow,
    input: &Tensor,
    output: &mut Tensor,
) {
    let SlidingWindow { kernel, stride, padding } = window;
    let channels = input.shape.channels;
    for (filter, &bias) in bias.iter().enumerate() {
        for row in 0..output.shape.height {
            for column in 0..output.shape.width {
                let mut sum = bias;
                for channel in 0..channels {
                    for dy in 0..kernel {
                        for dx in 0..kernel {
                            let y = row * stride + dy;
                            let x = column * stride + dx;
                            let value = input.padded(channel, y, x, padding).unwrap_or(0.0);
                            let tap = ((filter * channels + channel) * kernel + dy) * kernel + dx;
                            sum = madd(weight[tap], value, sum);
                        }
                    }
                }
                output.set(filter, row, column, sum);
            }
        }
    }
}

/// `value · scale + shift` with one pair per channel.
fn normalise(norm: &ChannelAffine, input: &Tensor, output: &mut Tensor) {
    for channel in 0..input.shape.channels {
        for row in 0..input.shape.height {
            for column in 0..input.shape.width {
                let value = input.values[input.index(channel, row, column)];
                let normalised = madd(value, norm.scale[channel], norm.shift[channel]);
                output.set(channel, row, column, normalised);
            }
        }
    }
}

/// The largest value of each window; padding takes no part.
fn max_pool(window: SlidingWindow, input: &Tensor, output: &mut Tensor) {
    let SlidingWindow { kernel, stride, padding } = window;
    for channel in 0..output.shape.channels {
        for row in 0..output.shape.height {
            for column in 0..output.shape.width {
                let mut largest = f32::NEG_INFINITY;
                for dy in 0..kernel {
                    for dx in 0..kernel {
                        let y = row * stride + dy;
                        let x = column * stride + dx;
                        if let Some(value) = input.padded(channel, y, x, padding)
                            && value > largest
                        {
                            largest = value;
                        }
                    }
                }
                output.set(channel, row, column, largest);
            }
        }
    }
}

/// The mean of each `kernel × kernel` square; the squares do not overlap.
fn average_pool(kernel: usize, input: &Tensor, output: &mut Tensor) {
    let share = 1.0 / (kernel * kernel) as f32;
    for channel in 0..output.shape.channels {
        for row in 0..output.shape.height {
            for column in 0..output.shape.width {
                let mut sum = 0.0;
                for dy in 0..kernel {
                    for dx in 0..kernel {
                        let y = row * kernel + dy;
                        let x = column * kernel + dx;
                        sum += input.values[input.index(channel, y, x)];
                    }
                }
                output.set(channel, row, column, sum * share);
            }
        }
    }
}

/// A matrix `weight`, `[unit][input value]`, times the flattened input.
fn fully_connected(weight: &[f32], bias: &[f32], input: &Tensor, output: &mut Tensor) {
    let inputs = input.values.len();
    for unit in 0..output.shape.channels {
        let mut sum = bias[unit];
        for i in 0..inputs {
            sum = madd(weight[unit * inputs + i], input.values[i], sum);
        }
        output.values[unit] = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dcnn;

    #[test]
    fn a_network_of_ones_counts_its_products() {
        let model = Model::random(dcnn([1, 1, 1], 1, 2), 0).expect("model");
        let mut weights = model.weights().clone();
        for (name, array) in &mut weights {
            array.data.fill(if name.ends_with("bias") { 0.0 } else { 1.0 });
        }
        let model = model.with_weights(weights).expect("model");
        // 3·4·4 = 48, then ·25, ·36, ·9
        assert_eq!(
            patch_logits(&model, &vec![1.0; 3 * 55 * 55]),
            vec![48.0 * 25.0 * 36.0 * 9.0; 2]
        );
    }

    #[test]
    fn the_patch_is_centred_on_its_pixel() {
        let image = super::super::tests::picture(60, 60);
        let patch = patch_at(&image, 30, 29);
        let centre = f32::from(image.get(30, 29)[0]) / 255.0;
        assert_eq!(patch[CENTRE_PX * PATCH_PX + CENTRE_PX].to_bits(), centre.to_bits());
    }
}
