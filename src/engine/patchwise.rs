//! The definition: one patch through the graph, every loop written out. Slow and obvious; all else
//! must equal it.

use super::packed::norm_affine;
use crate::model::{CENTRE_PX, Graph, Model, Node, Op, PATCH_PX, Shape};
use crate::platform::madd;
use crate::raster::{RgbImage, mirrored_window};

/// The 55×55 patch around a pixel as network input: channel, row, column; value / 255; mirrored at
/// the border.
#[must_use]
pub fn patch_at(image: &RgbImage, row: usize, column: usize) -> Vec<f32> {
    let start = |at: usize| at.cast_signed() - CENTRE_PX.cast_signed();
    let pixels = mirrored_window(image, start(row), start(column), PATCH_PX, PATCH_PX);
    (0..3).flat_map(|c| pixels.iter().map(move |p| f32::from(p[c]) / 255.0)).collect()
}

/// Logits of one patch (3×55×55).
#[must_use]
pub fn patch_logits(model: &Model, patch: &[f32]) -> Vec<f32> {
    let graph = model.graph();
    let mut values: Vec<Vec<f32>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let value = match node.op {
            Op::Input => patch.to_vec(),
            Op::Concat => node.inputs.iter().flat_map(|&i| values[i].iter().copied()).collect(),
            _ => evaluate(model, graph, node, &values[node.inputs[0]]),
        };
        values.push(value);
    }
    values.pop().unwrap_or_default()
}

fn evaluate(model: &Model, graph: &Graph, node: &Node, x: &[f32]) -> Vec<f32> {
    let from = graph.input_shape(node);
    match node.op {
        Op::Conv { kernel, stride, padding, bias, .. } => {
            let weight = model.array(&format!("{}.weight", node.name));
            let bias = if bias { model.array(&format!("{}.bias", node.name)) } else { &[] };
            convolve(x, from, weight, bias, node.shape, [kernel, stride, padding])
        }
        Op::BatchNorm => {
            let (scale, shift) = norm_affine(model, node);
            let size = from.height * from.width;
            x.iter().enumerate().map(|(i, &v)| madd(v, scale[i / size], shift[i / size])).collect()
        }
        Op::Relu => x.iter().map(|&v| if v > 0.0 { v } else { 0.0 }).collect(),
        Op::MaxPool { kernel, stride, padding } => {
            let pick = |window: &mut dyn Iterator<Item = Option<f32>>| {
                window.flatten().fold(f32::NEG_INFINITY, |m, v| if v > m { v } else { m })
            };
            slide(x, from, node.shape, [kernel, stride, padding], pick)
        }
        Op::AvgPool { kernel } => {
            let share = 1.0 / (kernel * kernel) as f32;
            let mean = |w: &mut dyn Iterator<Item = Option<f32>>| {
                w.flatten().fold(0.0, |s, v| s + v) * share
            };
            slide(x, from, node.shape, [kernel, kernel, 0], mean)
        }
        Op::Linear { .. } => {
            let weight = model.array(&format!("{}.weight", node.name));
            let bias = model.array(&format!("{}.bias", node.name));
            let row =
                |(w, &b): (&[f32], &f32)| w.iter().zip(x).fold(b, |sum, (&w, &v)| madd(w, v, sum));
            weight.chunks_exact(x.len()).zip(bias).map(row).collect()
        }
        Op::Input | Op::Concat => x.to_vec(),
    }
}

/// Cross-correlation; each sum starts with the bias and runs channel, row, column. Padding counts
/// as zeros.
fn convolve(
    x: &[f32],
    from: Shape,
    weight: &[f32],
    bias: &[f32],
    to: Shape,
    [kernel, stride, padding]: [usize; 3],
) -> Vec<f32> {
    let mut out = Vec::with_capacity(to.count());
    for (f, weight) in weight.chunks_exact(from.channels * kernel * kernel).enumerate() {
        for (row, column) in (0..to.height).flat_map(|r| (0..to.width).map(move |c| (r, c))) {
            let mut sum = bias.get(f).copied().unwrap_or(0.0);
            let mut w = weight.iter();
            for c in 0..from.channels {
                for (dy, dx) in (0..kernel).flat_map(|dy| (0..kernel).map(move |dx| (dy, dx))) {
                    let v = at(x, from, c, row * stride + dy, column * stride + dx, padding)
                        .unwrap_or(0.0);
                    sum = madd(w.next().copied().unwrap_or(0.0), v, sum);
                }
            }
            out.push(sum);
        }
    }
    out
}

/// A window function over each channel.
fn slide(
    x: &[f32],
    from: Shape,
    to: Shape,
    [kernel, stride, padding]: [usize; 3],
    f: impl Fn(&mut dyn Iterator<Item = Option<f32>>) -> f32,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(to.count());
    for c in 0..to.channels {
        for (row, column) in (0..to.height).flat_map(|r| (0..to.width).map(move |c| (r, c))) {
            let mut window = (0..kernel * kernel).map(|k| {
                at(x, from, c, row * stride + k / kernel, column * stride + k % kernel, padding)
            });
            out.push(f(&mut window));
        }
    }
    out
}

/// The value at a padded position, or none in the padding.
fn at(
    x: &[f32],
    from: Shape,
    channel: usize,
    row: usize,
    column: usize,
    padding: usize,
) -> Option<f32> {
    let (row, column) = (row.checked_sub(padding)?, column.checked_sub(padding)?);
    (row < from.height && column < from.width)
        .then(|| x[(channel * from.height + row) * from.width + column])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Array, dcnn};

    #[test]
    fn a_network_of_ones_adds_up_what_it_sees() {
        let model = Model::random(dcnn([1, 1, 1], 1, 2), 0).expect("model");
        let ones =
            |a: &Array, v: f32| Array { shape: a.shape.clone(), data: vec![v; a.data.len()] };
        let fill = |n: &String, a: &Array| {
            (n.clone(), ones(a, if n.ends_with("bias") { 0.0 } else { 1.0 }))
        };
        let model = model
            .with_weights(model.weights().iter().map(|(n, a)| fill(n, a)).collect())
            .expect("model");
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
