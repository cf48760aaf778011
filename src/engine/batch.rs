//! Any network on 32 patches at a time: the patches stand side by side in the innermost axis, so
//! every loop is a vector loop and each lane adds in the order of the definition.

use super::convolution::Convolution;
use super::kernel::{SLACK, affine};
use super::packed::{PackedFilters, Parallelism, norm_affine};
use super::patchwise::patch_at;
use crate::error::Result;
use crate::model::{Graph, Model, Node, Op, Shape};
use crate::raster::RgbImage;

/// Patches in one batch.
pub const PATCH_BATCH: usize = 32;

/// A network made ready for batches of patches.
#[derive(Debug)]
pub struct BatchEngine {
    graph: Graph,
    steps: Vec<BatchStep>,
    /// For each node, the last node that reads it.
    last_use: Vec<usize>,
}

#[derive(Debug)]
enum BatchStep {
    Weighted(PackedFilters),
    Norm { scale: Vec<f32>, shift: Vec<f32> },
    Plain,
}

impl BatchEngine {
    /// Packs the weights of any model.
    ///
    /// # Errors
    /// None at present; the signature leaves room for networks this engine cannot run.
    pub fn new(model: &Model) -> Result<Self> {
        let graph = model.graph().clone();
        let step = |node: &Node| match node.op {
            Op::Conv { .. } | Op::Linear { .. } => {
                BatchStep::Weighted(PackedFilters::of(model, node))
            }
            Op::BatchNorm => {
                let (scale, shift) = norm_affine(model, node);
                BatchStep::Norm { scale, shift }
            }
            _ => BatchStep::Plain,
        };
        let steps = graph.nodes.iter().map(step).collect();
        let mut last_use = vec![graph.nodes.len(); graph.nodes.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| last_use[input] = i);
        }
        Ok(Self { graph, steps, last_use })
    }

    /// Logits of the pixels at `places` (row, column), at most [`PATCH_BATCH`]; classes innermost.
    #[must_use]
    pub fn run(&self, image: &RgbImage, places: &[(usize, usize)]) -> Vec<f32> {
        let patches: Vec<Vec<f32>> =
            places.iter().map(|&(row, column)| patch_at(image, row, column)).collect();
        self.run_patches(&patches)
    }

    /// Logits of at most [`PATCH_BATCH`] patches (3×55×55); classes innermost.
    #[must_use]
    pub fn run_patches(&self, patches: &[Vec<f32>]) -> Vec<f32> {
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(self.graph.nodes.len());
        for (i, node) in self.graph.nodes.iter().enumerate() {
            let value = match node.op {
                Op::Input => interleave(patches, node.shape),
                Op::Concat => concatenate(&self.graph, node, &values),
                _ => evaluate(
                    &self.steps[i],
                    node,
                    self.graph.input_shape(node),
                    &values[node.inputs[0]],
                ),
            };
            values.push(value);
            for &input in &node.inputs {
                if self.last_use[input] == i {
                    values[input] = Vec::new();
                }
            }
        }
        let Some((logits, node)) = values.last().zip(self.graph.nodes.last()) else {
            return Vec::new();
        };
        let classes = node.shape.channels;
        (0..patches.len())
            .flat_map(|lane| (0..classes).map(move |c| c * PATCH_BATCH + lane))
            .map(|i| logits[i])
            .collect()
    }
}

fn empty(shape: Shape) -> Vec<f32> {
    vec![0.0; shape.count() * PATCH_BATCH + SLACK]
}

fn interleave(patches: &[Vec<f32>], shape: Shape) -> Vec<f32> {
    let mut out = empty(shape);
    for (lane, patch) in patches.iter().take(PATCH_BATCH).enumerate() {
        for (i, &v) in patch.iter().enumerate() {
            out[i * PATCH_BATCH + lane] = v;
        }
    }
    out
}

fn concatenate(graph: &Graph, node: &Node, values: &[Vec<f32>]) -> Vec<f32> {
    let mut out = Vec::with_capacity(node.shape.count() * PATCH_BATCH + SLACK);
    for &i in &node.inputs {
        out.extend_from_slice(&values[i][..graph.nodes[i].shape.count() * PATCH_BATCH]);
    }
    out.resize(out.len() + SLACK, 0.0);
    out
}

fn evaluate(step: &BatchStep, node: &Node, from: Shape, x: &[f32]) -> Vec<f32> {
    match (node.op, step) {
        (Op::Conv { kernel, stride, padding, .. }, BatchStep::Weighted(packed)) => {
            convolve(packed, x, from, node.shape, [kernel, stride, padding])
        }
        (Op::Linear { .. }, BatchStep::Weighted(packed)) => {
            convolve(packed, x, from, node.shape, [from.height, 1, 0])
        }
        (Op::BatchNorm, BatchStep::Norm { scale, shift }) => {
            let mut out = x.to_vec();
            affine(&mut out, from.height * from.width * PATCH_BATCH, scale, shift);
            out
        }
        (Op::Relu, _) => x.iter().map(|&v| if v > 0.0 { v } else { 0.0 }).collect(),
        (Op::MaxPool { kernel, stride, padding }, _) => {
            let largest = |m: f32, v: f32| if v > m { v } else { m };
            slide(x, from, node.shape, [kernel, stride, padding], (f32::NEG_INFINITY, 1.0), largest)
        }
        (Op::AvgPool { kernel }, _) => {
            let share = 1.0 / (kernel * kernel) as f32;
            slide(x, from, node.shape, [kernel, kernel, 0], (0.0, share), |s, v| s + v)
        }
        _ => x.to_vec(),
    }
}

fn convolve(
    packed: &PackedFilters,
    x: &[f32],
    from: Shape,
    to: Shape,
    [kernel, stride, padding]: [usize; 3],
) -> Vec<f32> {
    let mut out = empty(to);
    let conv = Convolution {
        channels: from.channels,
        filters: to.channels,
        kernel,
        stride,
        padding,
        side: from.height,
    };
    conv.forward(packed, x, false, Parallelism::ONE, &mut out);
    out
}

/// Folds each window with `f` from `start`, then multiplies by `factor`; padding takes no part.
fn slide(
    x: &[f32],
    from: Shape,
    to: Shape,
    [kernel, stride, padding]: [usize; 3],
    (start, factor): (f32, f32),
    f: impl Fn(f32, f32) -> f32,
) -> Vec<f32> {
    let mut out = empty(to);
    for (i, target) in out.chunks_exact_mut(PATCH_BATCH).take(to.count()).enumerate() {
        let (c, y, x0) = (i / (to.height * to.width), i / to.width % to.height, i % to.width);
        let mut sums = [start; PATCH_BATCH];
        for (dy, dx) in (0..kernel * kernel).map(|k| (k / kernel, k % kernel)) {
            let (row, column) = (y * stride + dy, x0 * stride + dx);
            if row < padding
                || column < padding
                || row - padding >= from.height
                || column - padding >= from.width
            {
                continue;
            }
            let at =
                ((c * from.height + row - padding) * from.width + column - padding) * PATCH_BATCH;
            sums.iter_mut().zip(&x[at..][..PATCH_BATCH]).for_each(|(s, &v)| *s = f(*s, v));
        }
        target.iter_mut().zip(sums).for_each(|(t, s)| *t = s * factor);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::super::{patch_at, patch_logits};
    use super::*;
    use crate::model::{Architecture, dccn, dcnn};

    #[test]
    fn a_batch_equals_the_definition_bit_for_bit() {
        let image = picture(60, 60);
        for architecture in
            [dcnn([3, 5, 9], 12, 2), dccn(5, 7, 3, [6, 5, 9], 2), Architecture::paper_dcnn()]
        {
            let model = Model::random(architecture, 8).expect("model");
            let places = [(0, 0), (30, 31), (59, 59)];
            let batch = BatchEngine::new(&model).expect("engine").run(&image, &places);
            for (i, (row, column)) in places.into_iter().enumerate() {
                let single = patch_logits(&model, &patch_at(&image, row, column));
                let bits = |v: &[f32]| v.iter().map(|z| z.to_bits()).collect::<Vec<_>>();
                assert_eq!(
                    bits(&batch[i * 2..][..2]),
                    bits(&single),
                    "{} ({row}, {column})",
                    model.card().architecture.family()
                );
            }
        }
    }
}
