//! Training networks that branch and normalise (the DCCN) on the CPU without a framework: 32
//! patches side by side, layer by layer, because batch normalisation couples all patches of a step.
//!
//! A block's concatenations are places in one blob: a layer writes its channels behind those that
//! it read.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::batch::Batch;
use super::batch_norm::Norm;
use super::blob_offsets::{BlobOffset, places};
use super::buffer_pool::BufferPool;
use super::layer_kernels::{
    Pool, average, average_gradient, interleave, pool, pool_gradient, row_sums,
};
use super::loss::loss_of_logits;
use super::sequential_trainer::Gradients;
use crate::engine::{
    Activation, AlignedBuffer, Convolution, PATCH_BATCH, PackedFilters, Parallelism,
};
use crate::model::{Graph, Head, Op, Weights};

/// A network of convolutions, normalisations with rectifiers, poolings and concatenations.
#[derive(Debug, Clone)]
pub struct GraphTrainer {
    steps: Vec<Step>,
    /// Lines of each blob.
    blobs: Vec<usize>,
    input: BlobOffset,
    output: BlobOffset,
    pool: BufferPool,
}

#[derive(Debug, Clone)]
struct Step {
    name: String,
    layer: Layer,
    from: BlobOffset,
    to: BlobOffset,
}

#[derive(Debug, Clone, Copy)]
enum Layer {
    /// A fully connected layer is one whose kernel covers its input; the last layer alone has a
    /// bias.
    Weighted {
        conv: Convolution,
        bias: bool,
    },
    /// Batch normalisation and the rectifier behind it.
    Norm,
    Largest(Pool),
    /// Over squares of this side; the sides of input and output.
    Average {
        kernel: usize,
        side: usize,
        to: usize,
    },
}

/// Values of each blob, one buffer a group of 32 patches; or how the loss moves with them.
type Blobs = Vec<Vec<AlignedBuffer>>;

/// Adds to (or makes) a group's input gradient, from its inputs, outputs and output gradients.
type Adds<'a> = dyn Fn(&mut [f32], &[&[f32]; 3]) + Sync + 'a;

impl GraphTrainer {
    /// The network of a graph, if every layer is one of these and every concatenation appends to
    /// what its block has.
    #[must_use]
    pub fn of(graph: &Graph) -> Option<Self> {
        let (places, blobs) = places(graph)?;
        let mut steps = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate().skip(1) {
            let from = graph.input_shape(node);
            if from.width != from.height {
                return None;
            }
            let (side, to) = (from.height, node.shape.height);
            let weighted = |filters, kernel, stride, padding, bias| Layer::Weighted {
                conv: Convolution {
                    channels: from.channels,
                    filters,
                    kernel,
                    stride,
                    padding,
                    side,
                },
                bias,
            };
            let input = node.inputs[0];
            let (name, layer, input) = match node.op {
                Op::BatchNorm | Op::Concat => continue,
                Op::Relu => {
                    let norm = Some(&graph.nodes[input]).filter(|n| n.op == Op::BatchNorm)?;
                    (&norm.name, Layer::Norm, norm.inputs[0])
                }
                Op::Conv { filters, kernel, stride, padding, bias: false } => {
                    (&node.name, weighted(filters, kernel, stride, padding, false), input)
                }
                Op::Linear { units } if i + 1 == graph.nodes.len() => {
                    (&node.name, weighted(units, side, 1, 0, true), input)
                }
                Op::MaxPool { kernel, stride, padding } => {
                    let pool = Pool { kernel, stride, padding, row: 0, column: 0, side, to };
                    (&node.name, Layer::Largest(pool), input)
                }
                Op::AvgPool { kernel } => (&node.name, Layer::Average { kernel, side, to }, input),
                _ => return None,
            };
            steps.push(Step { name: name.clone(), layer, from: places[input], to: places[i] });
        }
        let logits = graph.nodes.last()?.shape.count();
        let sound = logits == 2
            && steps.iter().all(|s| can_go_back(s, &steps, places[0]))
            && norms_stand_alone(graph);
        sound.then(|| Self {
            input: places[0],
            output: places[places.len() - 1],
            steps,
            blobs,
            pool: BufferPool::default(),
        })
    }

    /// Mean loss over a batch, its gradients, and the statistics of its normalisations. The same on
    /// any number of threads.
    #[must_use]
    pub fn gradients(&self, weights: &Weights, batch: &Batch, head: Head) -> Gradients {
        if batch.len() == 0 {
            return Gradients::default();
        }
        let (mut values, norms) = self.forward(weights, batch);
        let (loss, mut moved) = self.loss(&values, batch, head);
        let mut arrays = BTreeMap::new();
        for (step, norm) in self.steps.iter().zip(&norms).rev() {
            self.backward(step, weights, norm.as_ref(), &values, &mut moved, &mut arrays);
            // Who writes to a blob's beginning is the first to write there, and so the last to be
            // asked about it here.
            if step.to.first == 0 {
                self.pool.give(values[step.to.blob].drain(..).chain(moved[step.to.blob].drain(..)));
            }
        }
        self.pool.give(values.into_iter().chain(moved).flatten());
        let named = self
            .steps
            .iter()
            .zip(norms)
            .filter_map(|(s, n)| Some((s.name.clone(), n?.statistics())));
        Gradients { loss, arrays, statistics: named.collect() }
    }

    fn forward(&self, weights: &Weights, batch: &Batch) -> (Blobs, Vec<Option<Norm>>) {
        let groups = batch.len().div_ceil(PATCH_BATCH);
        let mut values: Blobs = self.blobs.iter().map(|_| Vec::new()).collect();
        values[self.input.blob] = (0..groups)
            .into_par_iter()
            .map(|g| interleave(batch, g * PATCH_BATCH, self.pool.any(self.input.lines)))
            .collect();
        let (ways, mut norms) =
            (Parallelism::of_each(groups), Vec::with_capacity(self.steps.len()));
        for step in &self.steps {
            let mut out = std::mem::take(&mut values[step.to.blob]);
            if out.is_empty() {
                out = self.zeroed(groups, self.blobs[step.to.blob]);
            }
            let inputs: Vec<&[f32]> =
                values[step.from.blob].iter().map(|x| step.from.of(x)).collect();
            let array = |suffix: &str| weights[&format!("{}.{suffix}", step.name)].data.as_slice();
            let norm = matches!(step.layer, Layer::Norm)
                .then(|| Norm::of(&inputs, batch.len(), [array("weight"), array("bias")]));
            let packed = match step.layer {
                Layer::Weighted { conv, bias } => Some(PackedFilters::new(
                    array("weight"),
                    bias.then(|| array("bias")),
                    conv.filters,
                )),
                _ => None,
            };
            out.par_iter_mut().zip(inputs).for_each(|(out, input)| {
                let out = step.to.of_mut(out);
                match (step.layer, &packed, &norm) {
                    (Layer::Weighted { conv, .. }, Some(packed), _) => {
                        conv.forward(
                            packed,
                            input,
                            Activation::Identity,
                            conv.limit_parallelism(ways),
                            out,
                        );
                    }
                    (Layer::Norm, _, Some(norm)) => norm.apply(input, out),
                    (Layer::Largest(window), ..) => pool(window, input, out),
                    (Layer::Average { kernel, side, to }, ..) => {
                        average([kernel, side, to], input, out)
                    }
                    _ => {}
                }
            });
            values[step.to.blob] = out;
            norms.push(norm);
        }
        (values, norms)
    }

    fn zeroed(&self, groups: usize, lines: usize) -> Vec<AlignedBuffer> {
        (0..groups).into_par_iter().map(|_| self.pool.zeroed(lines)).collect()
    }

    /// Mean loss, and how it moves with the logits.
    fn loss(&self, values: &Blobs, batch: &Batch, head: Head) -> (f64, Blobs) {
        let mut moved: Blobs = self.blobs.iter().map(|_| Vec::new()).collect();
        let share = 1.0 / batch.len() as f64;
        let mut sum = 0.0;
        for (group, values) in values[self.output.blob].iter().enumerate() {
            let mut gradient = self.pool.zeroed(self.output.lines);
            for lane in 0..PATCH_BATCH {
                let Some(target) = batch.target(group * PATCH_BATCH + lane) else { break };
                let (loss, by_logit) =
                    loss_of_logits([values[lane], values[PATCH_BATCH + lane]], target, head);
                sum += loss * share;
                (0..2).for_each(|class| {
                    gradient[class * PATCH_BATCH + lane] = (by_logit[class] * share) as f32
                });
            }
            moved[self.output.blob].push(gradient);
        }
        (sum, moved)
    }

    /// Takes the gradient of a step's output to its input and its arrays.
    fn backward(
        &self,
        step: &Step,
        weights: &Weights,
        norm: Option<&Norm>,
        values: &Blobs,
        moved: &mut Blobs,
        arrays: &mut BTreeMap<String, Vec<f32>>,
    ) {
        let mut inner = std::mem::take(&mut moved[step.from.blob]);
        let (inputs, outputs, gradients) =
            (&values[step.from.blob], &values[step.to.blob], &moved[step.to.blob]);
        if inner.is_empty() {
            inner = self.zeroed(inputs.len(), self.blobs[step.from.blob]);
        }
        let groups: Vec<[&[f32]; 3]> = inputs
            .iter()
            .zip(outputs)
            .zip(gradients)
            .map(|((x, y), m)| [step.from.of(x), step.to.of(y), step.to.of(m)])
            .collect();
        let mut inner_parts: Vec<&mut [f32]> =
            inner.iter_mut().map(|b| step.from.of_mut(b)).collect();
        let name = |suffix: &str| format!("{}.{suffix}", step.name);
        let mut each = |add: &Adds| {
            inner_parts.par_iter_mut().zip(&groups).for_each(|(inner, group)| add(inner, group))
        };
        match step.layer {
            Layer::Weighted { conv, bias } => {
                if bias {
                    let mut sums = vec![0.0; conv.filters];
                    groups.iter().for_each(|group| row_sums(group[2], &mut sums));
                    arrays.insert(name("bias"), sums);
                }
                arrays.insert(name("weight"), weight_gradient(conv, &groups));
                if step.from != self.input {
                    let ways = conv.limit_parallelism(Parallelism::of_each(groups.len()));
                    let (back, packed) = conv.adjoint(&weights[&name("weight")].data);
                    each(&|inner, group| {
                        back.forward(&packed, group[2], Activation::Identity, ways, inner)
                    });
                }
            }
            Layer::Norm => {
                if let Some(norm) = norm {
                    let [scale, shift] = norm.backward(&groups, &mut inner_parts);
                    arrays.insert(name("weight"), scale);
                    arrays.insert(name("bias"), shift);
                }
            }
            Layer::Largest(window) => {
                each(&|inner, group| pool_gradient(window, group[0], group[2], inner))
            }
            Layer::Average { kernel, side, to } => {
                each(&|inner, group| average_gradient([kernel, side, to], group[2], inner));
            }
        }
        moved[step.from.blob] = inner;
    }
}

/// Whether a step's gradient can be taken to its input as [`GraphTrainer::backward`] does it.
fn can_go_back(step: &Step, steps: &[Step], input: BlobOffset) -> bool {
    let apart = step.from.blob != step.to.blob;
    let Layer::Weighted { conv, .. } = step.layer else { return apart };
    // Its input gradient replaces what the blob has, so nothing else may read there; and it is a
    // convolution too.
    let alone = steps.iter().filter(|s| s.from.blob == step.from.blob).count() == 1;
    apart && alone && (step.from == input || conv.stride == 1 && conv.padding < conv.kernel)
}

/// Whether every normalisation is read by its rectifier alone, with which it is worked out.
fn norms_stand_alone(graph: &Graph) -> bool {
    let readers = |i: usize| graph.nodes.iter().filter(move |n| n.inputs.contains(&i));
    let alone = |i: usize| readers(i).count() == 1 && readers(i).all(|n| n.op == Op::Relu);
    (0..graph.nodes.len()).filter(|&i| graph.nodes[i].op == Op::BatchNorm).all(alone)
}

/// Sum over groups, in their order.
fn weight_gradient(conv: Convolution, groups: &[[&[f32]; 3]]) -> Vec<f32> {
    let (size, ways) =
        (conv.filters * conv.taps(), conv.limit_parallelism(Parallelism::of_each(groups.len())));
    let own = |group: &[&[f32]; 3]| {
        let mut gradient = vec![0.0; size];
        conv.weight_gradient(group[0], group[2], ways, &mut gradient);
        gradient
    };
    let parts: Vec<Vec<f32>> = groups.par_iter().map(own).collect();
    let mut total = vec![0.0; size];
    parts.iter().for_each(|part| total.iter_mut().zip(part).for_each(|(sum, more)| *sum += more));
    total
}
