//! Forward and backward pass of a chain of layers (the DCNN) on the CPU, 32 windows at a time.
//!
//! Values lie as `[channel][row][column][window]`, one buffer for each fragment (below). Groups of
//! [`PATCH_BATCH`] windows are independent; their gradients are added in the order of the groups.
//!
//! # Windows larger than a patch
//!
//! A window of 54 + q pixels classifies a square of q × q pixels. A patch of each of these pixels
//! is pooled on a grid of its own, so each max pooling of stride s runs at all s × s offsets, and
//! each offset makes a fragment. After three poolings of stride 2 there are 64 fragments:
//!
//! ```text
//! window ─ conv ─┬ pool at (0, 0) ─ conv ─┬ pool at (0, 0) ─ …
//!                ├ pool at (0, 1)         ├ …
//!                ├ pool at (1, 0)
//!                └ pool at (1, 1)
//! ```
//!
//! (row, column) of a fragment at offset (a, b) is (row · s + a, column · s + b) one level up. The
//! gradients equal the sum of those of the patches one by one. (Max-pooling fragments: Giusti et
//! al. 2013.)

use std::collections::BTreeMap;

use super::batch::Batch;
use super::buffer_pool::BufferPool;
use super::filter_response::ReluValues;
use super::gradients::Gradients;
use super::layer_kernels::{
    MaxPool, add_bias_gradient, add_fully_connected_weight_gradient, interleave, relu_backward,
};
use super::loss::GroupLoss;
use crate::engine::{
    Activation, AlignedBuffer, Convolution, PATCH_BATCH, PackedFilters, Parallelism,
};
use crate::model::{Graph, Head, Op, Weights};
use crate::platform::map_parts;

/// A chain of convolutions, max poolings and fully connected layers with two or more outputs.
#[derive(Debug, Clone)]
pub(super) struct SequentialTrainer {
    layers: Vec<Layer>,
    patch_px: usize,
    classes: usize,
    pool: BufferPool,
}

#[derive(Debug, Clone)]
enum Layer {
    Weighted(WeightedLayer),
    /// Over adjacent squares of this side; `in_side` is that of one patch.
    MaxPool {
        stride: usize,
        in_side: usize,
    },
}

/// A convolution of stride 1 without padding, perhaps with a ReLU. A fully connected layer is one
/// whose kernel covers its input.
#[derive(Debug, Clone)]
struct WeightedLayer {
    name: String,
    /// Its side is that of one patch.
    conv: Convolution,
    activation: Activation,
}

impl WeightedLayer {
    fn is_fully_connected(&self) -> bool {
        self.conv.kernel == self.conv.side
    }

    /// Gradients of the layer's weights and biases, summed over fragments.
    fn add_gradients(
        &self,
        input: &Activations,
        grad_output: &[AlignedBuffer],
        parallelism: Parallelism,
        arrays: &mut BTreeMap<String, Vec<f32>>,
    ) {
        let conv = Convolution { side: input.side, ..self.conv };
        let mut weight = vec![0.0; conv.filters * conv.taps()];
        if self.is_fully_connected() {
            add_fully_connected_weight_gradient(
                conv,
                &input.fragments,
                grad_output,
                parallelism,
                &mut weight,
            );
        } else {
            let parallelism = conv.limit_parallelism(parallelism);
            for (input, grad_output) in input.fragments.iter().zip(grad_output) {
                conv.weight_gradient(input, grad_output, parallelism, &mut weight);
            }
        }
        let mut bias = vec![0.0; conv.filters];
        for grad_output in grad_output {
            add_bias_gradient(grad_output, &mut bias);
        }
        arrays.insert(format!("{}.weight", self.name), weight);
        arrays.insert(format!("{}.bias", self.name), bias);
    }
}

/// Values between two layers for a group of windows.
struct Activations {
    side: usize,
    /// `[channel][side][side][window]` each.
    fragments: Vec<AlignedBuffer>,
}

/// The weights of a step, packed once for all groups.
struct PackedWeights {
    /// By layer; none for poolings.
    layers: Vec<Option<LayerFilters>>,
    /// Threads for each group.
    parallelism: Parallelism,
}

struct LayerFilters {
    forward: PackedFilters,
    /// For the input gradient.
    transposed: PackedFilters,
}

/// Input and output of one layer for a group of 32 patches.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerValues<'a> {
    /// `[channel][row][column][patch]`.
    pub input: &'a [f32],
    pub channels: usize,
    /// `[filter][row][column][patch]`.
    pub output: &'a [f32],
    pub filters: usize,
}

impl SequentialTrainer {
    /// The trainer of a graph; none unless it is such a chain (the DCNN is, the DCCN is not).
    #[must_use]
    pub(super) fn new(graph: &Graph) -> Option<Self> {
        let mut layers = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate().skip(1) {
            let input = graph.nodes[i - 1].shape;
            if node.inputs != [i - 1] || input.width != input.height {
                return None;
            }
            let weighted = |filters, kernel| {
                let conv = Convolution {
                    channels: input.channels,
                    filters,
                    kernel,
                    stride: 1,
                    padding: 0,
                    side: input.height,
                };
                Layer::Weighted(WeightedLayer {
                    name: node.name.clone(),
                    conv,
                    activation: Activation::Identity,
                })
            };
            match node.op {
                Op::Conv { filters, kernel, stride: 1, padding: 0, bias: true } => {
                    layers.push(weighted(filters, kernel));
                }
                Op::Linear { units } => layers.push(weighted(units, input.height)),
                Op::MaxPool { kernel, stride, padding: 0 } if kernel == stride => {
                    layers.push(Layer::MaxPool { stride, in_side: input.height });
                }
                Op::Relu => match layers.last_mut() {
                    Some(Layer::Weighted(layer)) => layer.activation = Activation::Relu,
                    _ => return None,
                },
                _ => return None,
            }
        }
        let classes = graph.nodes.last()?.shape.count();
        if classes < 2 {
            return None;
        }
        let patch_px = graph.nodes.first()?.shape.height;
        Some(Self { layers, patch_px, classes, pool: BufferPool::default() })
    }

    /// The side of a square must be a multiple of this: the product of all pooling strides.
    #[must_use]
    pub(super) fn square_step(&self) -> usize {
        self.pooling_strides().iter().product()
    }

    fn pooling_strides(&self) -> Vec<usize> {
        let mut strides = Vec::new();
        for layer in &self.layers {
            if let Layer::MaxPool { stride, .. } = layer {
                strides.push(*stride);
            }
        }
        strides
    }

    /// Whether a layer sees the whole of its input at once.
    #[must_use]
    pub(super) fn is_fully_connected(&self, name: &str) -> bool {
        self.layers.iter().any(|layer| match layer {
            Layer::Weighted(layer) => layer.name == name && layer.is_fully_connected(),
            Layer::MaxPool { .. } => false,
        })
    }

    /// Names of the layers with weights, in order.
    #[must_use]
    pub(super) fn weighted_layers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for layer in &self.layers {
            if let Layer::Weighted(layer) = layer {
                names.push(layer.name.clone());
            }
        }
        names
    }

    /// Mean loss over a batch, and its gradients. The same on any number of threads.
    #[must_use]
    pub(super) fn gradients(&self, weights: &Weights, batch: &Batch, head: Head) -> Gradients {
        let packed = self.pack(weights, batch);
        let groups = map_parts(group_starts(batch), |first| {
            self.group_gradients(&packed, batch, first, head, &mut |_| {})
        });
        let mut groups = groups.into_iter();
        // Sums of floats depend on their order; the order of the groups is that of the batch.
        let mut total = groups.next().unwrap_or_default();
        for group in groups {
            total.add(&group);
        }
        total
    }

    /// Calls `visit` with each ReLU of each group, from the last layer to the first.
    pub(super) fn visit_relus(
        &self,
        weights: &Weights,
        batch: &Batch,
        head: Head,
        visit: &mut impl FnMut(ReluValues<'_>),
    ) {
        let packed = self.pack(weights, batch);
        for first in group_starts(batch) {
            self.group_gradients(&packed, batch, first, head, visit);
        }
    }

    /// Outputs for a pixel, at least 2.
    #[must_use]
    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    /// The logits of every classified pixel: `[window][square row][square column][class]`.
    #[must_use]
    pub(super) fn logits(&self, weights: &Weights, batch: &Batch) -> Vec<f32> {
        let packed = self.pack(weights, batch);
        let groups = map_parts(group_starts(batch), |first| {
            let activations = self.forward(&packed, batch, first);
            let logits = self.group_logits(&activations, batch, first);
            self.recycle(activations);
            logits
        });
        groups.concat()
    }

    /// Calls `visit` with the values of a layer for each full group of a batch of patches.
    pub(super) fn visit_layer(
        &self,
        weights: &Weights,
        batch: &Batch,
        name: &str,
        mut visit: impl FnMut(LayerValues<'_>),
    ) {
        let packed = self.pack(weights, batch);
        for (i, layer) in self.layers.iter().enumerate() {
            let Layer::Weighted(layer) = layer else { continue };
            if layer.name != name {
                continue;
            }
            for group in 0..batch.len() / PATCH_BATCH {
                let activations = self.forward(&packed, batch, group * PATCH_BATCH);
                visit(LayerValues {
                    input: &activations[i].fragments[0],
                    channels: layer.conv.channels,
                    output: &activations[i + 1].fragments[0],
                    filters: layer.conv.filters,
                });
                self.recycle(activations);
            }
        }
    }

    fn pack(&self, weights: &Weights, batch: &Batch) -> PackedWeights {
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let Layer::Weighted(WeightedLayer { name, conv, .. }) = layer else {
                layers.push(None);
                continue;
            };
            let weight = &weights[&format!("{name}.weight")].data;
            let bias = &weights[&format!("{name}.bias")].data;
            layers.push(Some(LayerFilters {
                forward: PackedFilters::new(weight, Some(bias), conv.filters),
                transposed: conv.transposed(weight),
            }));
        }
        let groups = batch.len().div_ceil(PATCH_BATCH);
        PackedWeights { layers, parallelism: Parallelism::of_each(groups) }
    }

    /// Values before the first layer and behind each, for the group of windows from `first` on.
    fn forward(&self, packed: &PackedWeights, batch: &Batch, first: usize) -> Vec<Activations> {
        let side = self.patch_px + batch.square_px - 1;
        let input = interleave(batch, first, self.pool.take(3 * side * side));
        let mut activations = vec![Activations { side, fragments: vec![input] }];
        for (layer, filters) in self.layers.iter().zip(&packed.layers) {
            let from = &activations[activations.len() - 1];
            let mut fragments = Vec::new();
            let side = match (layer, filters) {
                (Layer::Weighted(layer), Some(filters)) => {
                    // The same weights on a larger input: `side` is that of this pass, not of a
                    // patch.
                    let conv = Convolution { side: from.side, ..layer.conv };
                    let parallelism = conv.limit_parallelism(packed.parallelism);
                    let positions = conv.filters * conv.out_side() * conv.out_side();
                    for input in &from.fragments {
                        let mut output = self.pool.take(positions);
                        conv.forward(
                            &filters.forward,
                            input,
                            layer.activation,
                            parallelism,
                            &mut output,
                        );
                        fragments.push(output);
                    }
                    conv.out_side()
                }
                (Layer::MaxPool { stride, in_side }, _) => {
                    let poolings = poolings(*stride, *in_side, from.side);
                    for input in &from.fragments {
                        // Order of the fragments: offsets of this pooling within each fragment of
                        // the input; `square_pixel` and `pool_input_gradient` rely on it.
                        for pooling in &poolings {
                            fragments.push(pooling.forward(input, packed.parallelism, &self.pool));
                        }
                    }
                    poolings[0].out_side
                }
                // `pack` gives filters to every layer with weights.
                (Layer::Weighted(_), None) => continue,
            };
            activations.push(Activations { side, fragments });
        }
        activations
    }

    /// Backward pass of one group: from the loss to the first layer, `grad` is the gradient of the
    /// values behind the layer at hand, one buffer a fragment. `visit` sees each ReLU.
    fn group_gradients(
        &self,
        packed: &PackedWeights,
        batch: &Batch,
        first: usize,
        head: Head,
        visit: &mut impl FnMut(ReluValues<'_>),
    ) -> Gradients {
        let activations = self.forward(packed, batch, first);
        let parallelism = packed.parallelism;
        let mut grad = Vec::new();
        let loss = self.loss(&activations, batch, first, head, &mut grad);
        let mut arrays = BTreeMap::new();
        for (i, (layer, filters)) in self.layers.iter().zip(&packed.layers).enumerate().rev() {
            let input = &activations[i];
            let output = &activations[i + 1];
            let grad_input = match (layer, filters) {
                (Layer::Weighted(layer), Some(filters)) => {
                    if layer.activation == Activation::Relu {
                        for (grad, output) in grad.iter_mut().zip(&output.fragments) {
                            relu_backward(grad, output, parallelism);
                            visit(ReluValues {
                                layer: &layer.name,
                                first,
                                patches: PATCH_BATCH.min(batch.len() - first),
                                output,
                                grad_output: grad,
                            });
                        }
                    }
                    layer.add_gradients(input, &grad, parallelism, &mut arrays);
                    // The gradient of the image itself is of no use.
                    if i == 0 {
                        break;
                    }
                    self.conv_input_gradient(layer, filters, input, &grad, parallelism)
                }
                (Layer::MaxPool { stride, in_side }, _) => {
                    let poolings = poolings(*stride, *in_side, input.side);
                    self.pool_input_gradient(&poolings, input, &grad, parallelism)
                }
                (Layer::Weighted(_), None) => continue,
            };
            self.pool.give_back(std::mem::replace(&mut grad, grad_input));
        }
        self.recycle(activations);
        self.pool.give_back(grad);
        Gradients { loss, arrays, statistics: Vec::new() }
    }

    /// Gradient of the input of a layer with weights, by fragment.
    fn conv_input_gradient(
        &self,
        layer: &WeightedLayer,
        filters: &LayerFilters,
        input: &Activations,
        grad_output: &[AlignedBuffer],
        parallelism: Parallelism,
    ) -> Vec<AlignedBuffer> {
        let conv = Convolution { side: input.side, ..layer.conv };
        let parallelism = conv.limit_parallelism(parallelism);
        let mut fragments = Vec::with_capacity(grad_output.len());
        for grad_output in grad_output {
            let mut grad_input = self.pool.take(conv.channels * conv.side * conv.side);
            conv.input_gradient(&filters.transposed, grad_output, parallelism, &mut grad_input);
            fragments.push(grad_input);
        }
        fragments
    }

    /// Gradient of the input of a pooling: for each fragment the sum over the offsets.
    fn pool_input_gradient(
        &self,
        poolings: &[MaxPool],
        input: &Activations,
        grad_output: &[AlignedBuffer],
        parallelism: Parallelism,
    ) -> Vec<AlignedBuffer> {
        let mut fragments = Vec::with_capacity(input.fragments.len());
        // Poolings at different offsets read the same inputs, so their gradients add up in one
        // buffer.
        for (input, grad_outputs) in input.fragments.iter().zip(grad_output.chunks(poolings.len()))
        {
            let mut grad_input = self.pool.take_zeroed(input.len() / PATCH_BATCH);
            for (pooling, grad_output) in poolings.iter().zip(grad_outputs) {
                pooling.backward(input, grad_output, parallelism, &mut grad_input);
            }
            fragments.push(grad_input);
        }
        fragments
    }

    /// Returns the buffers of a pass to the pool.
    fn recycle(&self, activations: Vec<Activations>) {
        for level in activations {
            self.pool.give_back(level.fragments);
        }
    }

    /// The group's share of the mean loss. Its gradient by logit goes into `grad`: for each
    /// fragment `[class][row][column][window]`.
    fn loss(
        &self,
        activations: &[Activations],
        batch: &Batch,
        first: usize,
        head: Head,
        grad: &mut Vec<AlignedBuffer>,
    ) -> f64 {
        let Some(last) = activations.last() else { return 0.0 };
        let square = batch.square_px * batch.square_px;
        let positions = last.side * last.side;
        let mut sum = 0.0;
        for (fragment, logits) in last.fragments.iter().enumerate() {
            let mut gradient = self.pool.take_zeroed(self.classes * positions);
            let classes = self.classes;
            let mut loss = GroupLoss { logits, gradient: &mut gradient, classes, head, share: 0.0 };
            for position in 0..positions {
                let pixel = self.square_pixel(fragment, position, last.side, batch.square_px);
                for window in 0..PATCH_BATCH {
                    let pixel = (first + window) * square + pixel;
                    let Some(target) = batch.target(pixel) else { continue };
                    loss.share = batch.share(pixel);
                    sum += loss.add(position, window, target);
                }
            }
            grad.push(gradient);
        }
        sum
    }

    /// Logits of the windows of a group that the batch holds.
    fn group_logits(&self, activations: &[Activations], batch: &Batch, first: usize) -> Vec<f32> {
        let Some(last) = activations.last() else { return Vec::new() };
        let square = batch.square_px * batch.square_px;
        let windows = PATCH_BATCH.min(batch.len() - first);
        let positions = last.side * last.side;
        let mut out = vec![0.0; windows * square * self.classes];
        for (fragment, logits) in last.fragments.iter().enumerate() {
            for position in 0..positions {
                let pixel = self.square_pixel(fragment, position, last.side, batch.square_px);
                for window in 0..windows {
                    let first = (window * square + pixel) * self.classes;
                    for class in 0..self.classes {
                        out[first + class] =
                            logits[(class * positions + position) * PATCH_BATCH + window];
                    }
                }
            }
        }
        out
    }

    /// Index in its window's square of an output position (row · side + column) of a fragment. The
    /// offset of the last pooling is the lowest digit of the fragment's number.
    fn square_pixel(
        &self,
        fragment: usize,
        position: usize,
        side: usize,
        square_px: usize,
    ) -> usize {
        if square_px == 1 {
            return 0;
        }
        let mut row = position / side;
        let mut column = position % side;
        let mut digits = fragment;
        for stride in self.pooling_strides().into_iter().rev() {
            // Undo the poolings, last one first: (row, column) one level up.
            let offset = digits % (stride * stride);
            digits /= stride * stride;
            row = row * stride + offset / stride;
            column = column * stride + offset % stride;
        }
        row * square_px + column
    }
}

/// First window of each group.
fn group_starts(batch: &Batch) -> Vec<usize> {
    (0..batch.len()).step_by(PATCH_BATCH).collect()
}

/// The poolings of a layer: one for a patch; one for each offset for a larger window. `patch_side`
/// is the side of the layer's input for a patch, `in_side` for the window.
fn poolings(stride: usize, patch_side: usize, in_side: usize) -> Vec<MaxPool> {
    // Patches along an axis whose grids this input still holds.
    let patches = in_side + 1 - patch_side;
    let offsets = if patches == 1 { 1 } else { stride };
    // One patch has `patch_side / stride` outputs along an axis; each further patch on the same
    // grid, `stride` pixels on, adds one.
    let out_side = patch_side / stride + patches.div_ceil(stride) - 1;
    let mut poolings = Vec::with_capacity(offsets * offsets);
    for row_offset in 0..offsets {
        for column_offset in 0..offsets {
            poolings.push(MaxPool {
                kernel: stride,
                stride,
                padding: 0,
                row_offset,
                column_offset,
                in_side,
                out_side,
            });
        }
    }
    poolings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{ClassMap, SamplePixel, Tile, class_targets, phantom};
    use crate::engine::BatchEngine;
    use crate::model::{Model, PixelClass, dccn, dcnn};

    fn model() -> Model {
        let mut model = Model::random(dcnn([3, 5, 9], 20, 3), 4).expect("model");
        model.card_mut().classes = PixelClass::of_nuclei(&[], true);
        model
    }

    fn targets(tiles: &[Tile]) -> Vec<ClassMap> {
        let targets = |tile| class_targets(tile, &model().card().classes, 2.0).expect("classes");
        tiles.iter().map(targets).collect()
    }

    fn pixel(row: u32, column: u32) -> SamplePixel {
        SamplePixel { tile: 0, row, column, cell: false }
    }

    /// Largest relative distance between arrays, or the absolute one between losses.
    fn distance(found: &Gradients, expected: &Gradients) -> f64 {
        let mut largest = (found.loss - expected.loss).abs();
        for (name, expected) in &expected.arrays {
            let found = &found.arrays[name];
            assert_eq!(found.len(), expected.len());
            let mut apart = 0.0;
            let mut norm = 0.0;
            for (x, y) in found.iter().zip(expected) {
                apart += f64::from(x - y).powi(2);
                norm += f64::from(*y).powi(2);
            }
            largest = largest.max((apart / norm).sqrt());
        }
        largest
    }

    #[test]
    fn squares_have_the_gradients_of_their_pixels_one_by_one() {
        let tiles = [phantom::tile(90, 80, 3)];
        let targets = targets(&tiles);
        let model = model();
        let trainer = SequentialTrainer::new(model.graph()).expect("a chain");
        assert_eq!(trainer.square_step(), 8);
        for side in [8, 16] {
            let mut squares = Vec::new();
            let mut pixels = Vec::new();
            for (row, column) in [(0, 0), (40, 32), (80 - side, 90 - side)] {
                squares.push(pixel(row, column));
                for i in 0..side * side {
                    pixels.push(pixel(row + i / side, column + i % side));
                }
            }
            let dense = Batch::gather_plain(&tiles, &targets, &squares, side as usize);
            let single = Batch::gather_plain(&tiles, &targets, &pixels, 1);
            assert_eq!(dense.classes, single.classes);
            let by_squares = trainer.gradients(model.weights(), &dense, Head::Softmax);
            let by_pixels = trainer.gradients(model.weights(), &single, Head::Softmax);
            assert!(distance(&by_squares, &by_pixels) < 2e-5);
            assert_eq!(
                trainer.logits(model.weights(), &dense),
                trainer.logits(model.weights(), &single)
            );
        }
    }

    #[test]
    fn logits_are_the_engines_and_a_ragged_batch_is_no_exception() {
        let tiles = [phantom::tile(70, 70, 3)];
        let model = model();
        let trainer = SequentialTrainer::new(model.graph()).expect("a chain");
        let pixels: Vec<SamplePixel> = (0..37).map(|i| pixel(i, 69 - i)).collect();
        let batch = Batch::gather_plain(&tiles, &targets(&tiles), &pixels, 1);
        let patches: Vec<Vec<f32>> =
            batch.windows.chunks(3 * 55 * 55).map(<[f32]>::to_vec).collect();
        let engine = BatchEngine::new(&model).expect("engine");
        let mut expected = Vec::new();
        for group in patches.chunks(PATCH_BATCH) {
            expected.extend(engine.run_patches(group));
        }
        assert_eq!(trainer.logits(model.weights(), &batch), expected);
    }

    #[test]
    fn networks_that_are_no_chain_have_no_sequential_trainer() {
        let model = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 2).expect("model");
        assert!(SequentialTrainer::new(model.graph()).is_none());
    }
}
