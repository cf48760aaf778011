//! Forward and backward pass of a network with branches and batch normalisation (the DCCN) on the
//! CPU. Batch normalisation couples all patches of a step, so the passes go layer by layer over all
//! groups of 32 patches.
//!
//! Values lie as `[channel][row][column][patch]` in blobs (`blob_offsets`): the layers of a dense
//! block write their channels behind those that they read.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::batch_norm::{BatchNorm, GroupValues};
use super::blob_offsets::{BlobLayout, BlobOffset};
use super::buffer_pool::BufferPool;
use super::filter_response::ReluValues;
use super::gradients::Gradients;
use super::layer_kernels::{
    AveragePool, MaxPool, add_bias_gradient, average_pool, average_pool_gradient, interleave,
    max_pool, max_pool_gradient,
};
use super::loss::GroupLoss;
use crate::engine::{
    Activation, AlignedBuffer, Convolution, PATCH_BATCH, PackedFilters, Parallelism,
};
use crate::model::{Graph, Head, Op, Weights};
use crate::platform::{for_each_part, map_parts};

/// A network of convolutions, normalisations with ReLU, poolings and concatenations, with two
/// or more outputs.
#[derive(Debug, Clone)]
pub(super) struct GraphTrainer {
    steps: Vec<Step>,
    /// Positions of each blob.
    blobs: Vec<usize>,
    input: BlobOffset,
    output: BlobOffset,
    pool: BufferPool,
}

/// One layer: reads at `from`, writes at `to`.
#[derive(Debug, Clone)]
struct Step {
    name: String,
    layer: Layer,
    from: BlobOffset,
    to: BlobOffset,
}

#[derive(Debug, Clone, Copy)]
enum Layer {
    /// A fully connected layer is a convolution whose kernel covers its input; only this last layer
    /// has a bias.
    Conv {
        conv: Convolution,
        bias: bool,
    },
    /// Batch normalisation and the ReLU behind it.
    BatchNorm,
    MaxPool(MaxPool),
    AveragePool(AveragePool),
}

/// Values (or gradients) of every blob: one buffer for each group of 32 patches. A blob not yet
/// needed, or no longer, has none.
type Blobs = Vec<Vec<AlignedBuffer>>;

/// What the backward pass needs of the forward pass.
struct ForwardPass {
    values: Blobs,
    /// By step; none for other layers.
    norms: Vec<Option<BatchNorm>>,
}

/// A group's values, and where the gradient of its inputs goes.
struct GroupGrad<'a> {
    values: GroupValues<'a>,
    grad_input: &'a mut [f32],
}

impl GraphTrainer {
    /// The trainer of a graph; none where a layer is of another kind, or where something else than
    /// concatenations and normalisations share a blob.
    #[must_use]
    pub(super) fn new(graph: &Graph) -> Option<Self> {
        let BlobLayout { offsets, blobs } = BlobLayout::new(graph)?;
        let mut steps = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate().skip(1) {
            let shape = graph.input_shape(node);
            if shape.width != shape.height {
                return None;
            }
            let in_side = shape.height;
            let out_side = node.shape.height;
            let conv = |filters, kernel, stride, padding| Convolution {
                channels: shape.channels,
                filters,
                kernel,
                stride,
                padding,
                side: in_side,
            };
            let mut name = &node.name;
            let mut input = node.inputs[0];
            let layer = match node.op {
                // A normalisation belongs to the step of its ReLU; a concatenation does nothing.
                Op::BatchNorm | Op::Concat => continue,
                Op::Relu => {
                    let norm = &graph.nodes[input];
                    if norm.op != Op::BatchNorm {
                        return None;
                    }
                    name = &norm.name;
                    input = norm.inputs[0];
                    Layer::BatchNorm
                }
                Op::Conv { filters, kernel, stride, padding, bias: false } => {
                    Layer::Conv { conv: conv(filters, kernel, stride, padding), bias: false }
                }
                Op::Linear { units } if i + 1 == graph.nodes.len() => {
                    Layer::Conv { conv: conv(units, in_side, 1, 0), bias: true }
                }
                Op::MaxPool { kernel, stride, padding } => Layer::MaxPool(MaxPool {
                    kernel,
                    stride,
                    padding,
                    row_offset: 0,
                    column_offset: 0,
                    in_side,
                    out_side,
                }),
                Op::AvgPool { kernel } => {
                    Layer::AveragePool(AveragePool { kernel, in_side, out_side })
                }
                _ => return None,
            };
            steps.push(Step { name: name.clone(), layer, from: offsets[input], to: offsets[i] });
        }
        let input = offsets[0];
        let output = *offsets.last()?;
        let backward_possible = steps.iter().all(|step| step.has_backward(&steps, input));
        if output.positions < 2 || !backward_possible || !norms_have_one_reader(graph) {
            return None;
        }
        Some(Self { steps, blobs, input, output, pool: BufferPool::default() })
    }

    /// Mean loss over a batch, its gradients, and the statistics of its normalisations. The same on
    /// any number of threads.
    #[must_use]
    pub(super) fn gradients(&self, weights: &Weights, batch: &Batch, head: Head) -> Gradients {
        self.visit_relus(weights, batch, head, &mut |_| {})
    }

    /// The same; calls `visit` with each ReLU of each group, from the last layer to the first.
    pub(super) fn visit_relus(
        &self,
        weights: &Weights,
        batch: &Batch,
        head: Head,
        visit: &mut impl FnMut(ReluValues<'_>),
    ) -> Gradients {
        if batch.len() == 0 {
            return Gradients::default();
        }
        let ForwardPass { mut values, norms } = self.forward(weights, batch);
        let mut grads: Blobs = vec![Vec::new(); self.blobs.len()];
        let loss = self.loss(&values, batch, head, &mut grads[self.output.blob]);
        let mut arrays = BTreeMap::new();
        // Reverse order of the forward pass: when a step is reached, all its readers have added
        // their gradients to its output.
        for (step, norm) in self.steps.iter().zip(&norms).rev() {
            if norm.is_some() {
                let groups = values[step.to.blob].iter().zip(&grads[step.to.blob]);
                for (group, (output, grad)) in groups.enumerate() {
                    let first = group * PATCH_BATCH;
                    visit(ReluValues {
                        layer: &step.name,
                        first,
                        patches: PATCH_BATCH.min(batch.len() - first),
                        output: step.to.of(output),
                        grad_output: step.to.of(grad),
                    });
                }
            }
            self.backward(step, weights, norm.as_ref(), &values, &mut grads, &mut arrays);
            // The step that writes the beginning of a blob is the first to write there, and so the
            // last to need it here.
            if step.to.first == 0 {
                self.pool.give_back(values[step.to.blob].drain(..));
                self.pool.give_back(grads[step.to.blob].drain(..));
            }
        }
        self.pool.give_back(values.into_iter().flatten());
        self.pool.give_back(grads.into_iter().flatten());
        let mut statistics = Vec::new();
        for (step, norm) in self.steps.iter().zip(&norms) {
            statistics.extend(norm.as_ref().map(|norm| norm.statistics(&step.name)));
        }
        Gradients { loss, arrays, statistics }
    }

    fn forward(&self, weights: &Weights, batch: &Batch) -> ForwardPass {
        let groups = batch.len().div_ceil(PATCH_BATCH);
        let parallelism = Parallelism::of_each(groups);
        let mut values: Blobs = vec![Vec::new(); self.blobs.len()];
        let group_starts = (0..groups).map(|group| group * PATCH_BATCH).collect();
        values[self.input.blob] = map_parts(group_starts, |first| {
            interleave(batch, first, self.pool.take(self.input.positions))
        });
        let mut norms = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            // Taken out for the borrow checker: input and output are different blobs. An existing
            // blob is one that earlier layers of a dense block have written to.
            let mut outputs = std::mem::take(&mut values[step.to.blob]);
            if outputs.is_empty() {
                outputs = self.zeroed(groups, step.to.blob);
            }
            let mut inputs = Vec::with_capacity(groups);
            for blob in &values[step.from.blob] {
                inputs.push(step.from.of(blob));
            }
            norms.push(step.forward(weights, &inputs, batch.len(), parallelism, &mut outputs));
            values[step.to.blob] = outputs;
        }
        ForwardPass { values, norms }
    }

    /// Zeros for a blob, one buffer a group.
    fn zeroed(&self, groups: usize, blob: usize) -> Vec<AlignedBuffer> {
        map_parts(vec![self.blobs[blob]; groups], |positions| self.pool.take_zeroed(positions))
    }

    /// Mean loss; its gradient by logit goes into `grads`, `[class][patch]` for each group.
    fn loss(
        &self,
        values: &Blobs,
        batch: &Batch,
        head: Head,
        grads: &mut Vec<AlignedBuffer>,
    ) -> f64 {
        let mut sum = 0.0;
        for (group, logits) in values[self.output.blob].iter().enumerate() {
            let mut gradient = self.pool.take_zeroed(self.output.positions);
            let classes = self.output.positions;
            let mut loss = GroupLoss { logits, gradient: &mut gradient, classes, head, share: 0.0 };
            for patch in 0..PATCH_BATCH {
                let pixel = group * PATCH_BATCH + patch;
                let Some(target) = batch.target(pixel) else { break };
                loss.share = batch.share(pixel);
                sum += loss.add(0, patch, target);
            }
            grads.push(gradient);
        }
        sum
    }

    /// Takes the gradient of a step's output to its input (in `grads`) and to its arrays.
    fn backward(
        &self,
        step: &Step,
        weights: &Weights,
        norm: Option<&BatchNorm>,
        values: &Blobs,
        grads: &mut Blobs,
        arrays: &mut BTreeMap<String, Vec<f32>>,
    ) {
        let inputs = &values[step.from.blob];
        let outputs = &values[step.to.blob];
        // Zero before the first reader adds to it.
        let mut grad_inputs = std::mem::take(&mut grads[step.from.blob]);
        if grad_inputs.is_empty() {
            grad_inputs = self.zeroed(inputs.len(), step.from.blob);
        }
        let mut groups = Vec::with_capacity(inputs.len());
        for ((input, output), grad) in inputs.iter().zip(outputs).zip(&grads[step.to.blob]) {
            groups.push(GroupValues {
                input: step.from.of(input),
                output: step.to.of(output),
                grad_output: step.to.of(grad),
            });
        }
        let mut grad_slices = Vec::with_capacity(inputs.len());
        for grad_input in &mut grad_inputs {
            grad_slices.push(step.from.of_mut(grad_input));
        }
        let is_first = step.from == self.input;
        step.backward(weights, norm, &groups, &mut grad_slices, is_first, arrays);
        grads[step.from.blob] = grad_inputs;
    }
}

impl Step {
    fn array<'a>(&self, weights: &'a Weights, suffix: &str) -> &'a [f32] {
        &weights[&format!("{}.{suffix}", self.name)].data
    }

    /// Writes the step's output for every group; gives the normalisation, if it is one.
    fn forward(
        &self,
        weights: &Weights,
        inputs: &[&[f32]],
        patches: usize,
        parallelism: Parallelism,
        outputs: &mut [AlignedBuffer],
    ) -> Option<BatchNorm> {
        let mut norm = None;
        let mut groups = Vec::with_capacity(inputs.len());
        for (input, output) in inputs.iter().zip(outputs) {
            groups.push((*input, self.to.of_mut(output)));
        }
        match self.layer {
            Layer::Conv { conv, bias } => {
                let bias = bias.then(|| self.array(weights, "bias"));
                let filters = PackedFilters::new(self.array(weights, "weight"), bias, conv.filters);
                let parallelism = conv.limit_parallelism(parallelism);
                for_each_part(groups, |(input, output)| {
                    conv.forward(&filters, input, Activation::Identity, parallelism, output);
                });
            }
            Layer::BatchNorm => {
                let gamma = self.array(weights, "weight");
                let beta = self.array(weights, "bias");
                let new = BatchNorm::new(inputs, patches, gamma, beta);
                for_each_part(groups, |(input, output)| new.forward(input, output));
                norm = Some(new);
            }
            Layer::MaxPool(pool) => {
                for_each_part(groups, |(input, output)| max_pool(pool, input, output));
            }
            Layer::AveragePool(pool) => {
                for_each_part(groups, |(input, output)| average_pool(pool, input, output));
            }
        }
        norm
    }

    /// Adds the gradient of the inputs to `grad_inputs` (a convolution replaces it, and of the
    /// network's input none is computed) and puts those of the arrays into `arrays`.
    fn backward(
        &self,
        weights: &Weights,
        norm: Option<&BatchNorm>,
        groups: &[GroupValues<'_>],
        grad_inputs: &mut [&mut [f32]],
        is_first: bool,
        arrays: &mut BTreeMap<String, Vec<f32>>,
    ) {
        let weight = format!("{}.weight", self.name);
        let bias = format!("{}.bias", self.name);
        match self.layer {
            Layer::BatchNorm => {
                if let Some(norm) = norm {
                    let gradient = norm.backward(groups, grad_inputs);
                    arrays.insert(weight, gradient.scale);
                    arrays.insert(bias, gradient.shift);
                }
            }
            Layer::Conv { conv, bias: has_bias } => {
                if has_bias {
                    let mut sums = vec![0.0; conv.filters];
                    for group in groups {
                        add_bias_gradient(group.grad_output, &mut sums);
                    }
                    arrays.insert(bias, sums);
                }
                arrays.insert(weight, weight_gradient(conv, groups));
                if is_first {
                    return;
                }
                let parallelism = conv.limit_parallelism(Parallelism::of_each(groups.len()));
                // The input gradient is the convolution of the output gradient with the flipped
                // kernels, filters and channels exchanged.
                let (adjoint, filters) = conv.adjoint(self.array(weights, "weight"));
                for_each_part(with_gradients(groups, grad_inputs), |group| {
                    let grad_output = group.values.grad_output;
                    adjoint.forward(
                        &filters,
                        grad_output,
                        Activation::Identity,
                        parallelism,
                        group.grad_input,
                    );
                });
            }
            Layer::MaxPool(pool) => {
                for_each_part(with_gradients(groups, grad_inputs), |group| {
                    let GroupValues { input, grad_output, .. } = group.values;
                    max_pool_gradient(pool, input, grad_output, group.grad_input);
                });
            }
            Layer::AveragePool(pool) => {
                for_each_part(with_gradients(groups, grad_inputs), |group| {
                    average_pool_gradient(pool, group.values.grad_output, group.grad_input);
                });
            }
        }
    }

    /// Whether [`Self::backward`] can compute the step.
    fn has_backward(&self, steps: &[Self], input: BlobOffset) -> bool {
        if self.from.blob == self.to.blob {
            return false;
        }
        let Layer::Conv { conv, .. } = self.layer else { return true };
        // The input gradient of a convolution replaces what its blob holds, so nothing else may
        // read there; and it is computed as a convolution, which needs stride 1.
        let readers = steps.iter().filter(|other| other.from.blob == self.from.blob).count();
        let has_adjoint = conv.stride == 1 && conv.padding < conv.kernel;
        readers == 1 && (self.from == input || has_adjoint)
    }
}

fn with_gradients<'a>(
    groups: &[GroupValues<'a>],
    grad_inputs: &'a mut [&mut [f32]],
) -> Vec<GroupGrad<'a>> {
    let mut pairs = Vec::with_capacity(groups.len());
    for (values, grad_input) in groups.iter().zip(grad_inputs) {
        pairs.push(GroupGrad { values: *values, grad_input });
    }
    pairs
}

/// Whether every normalisation is read by its ReLU alone, with which it is computed.
fn norms_have_one_reader(graph: &Graph) -> bool {
    for (i, norm) in graph.nodes.iter().enumerate() {
        if norm.op != Op::BatchNorm {
            continue;
        }
        let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&i));
        let by_relu = readers.next().is_some_and(|reader| reader.op == Op::Relu);
        if !by_relu || readers.next().is_some() {
            return false;
        }
    }
    true
}

/// Weight gradient of a convolution, `[filter][channel][row][column]`, summed over groups in their
/// order.
fn weight_gradient(conv: Convolution, groups: &[GroupValues<'_>]) -> Vec<f32> {
    let len = conv.filters * conv.taps();
    let parallelism = conv.limit_parallelism(Parallelism::of_each(groups.len()));
    let by_group = map_parts(groups.to_vec(), |group| {
        let mut gradient = vec![0.0; len];
        conv.weight_gradient(group.input, group.grad_output, parallelism, &mut gradient);
        gradient
    });
    let mut total = vec![0.0; len];
    for gradient in by_group {
        for (sum, value) in total.iter_mut().zip(gradient) {
            *sum += value;
        }
    }
    total
}
