//! A network as Burn calls: the graph's nodes on flat tensors, one an array, that track gradients.
//! Flat tensors keep everything else free of ranks; each call reshapes to what its node needs.

use std::collections::BTreeMap;

use burn_tensor::activation::{log_softmax, relu, sigmoid};
use burn_tensor::module::{avg_pool2d, batch_norm, batch_norm_train, conv2d, max_pool2d};
use burn_tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn_tensor::{Device, Tensor, TensorData, Transaction};

use super::super::batch_norm::LayerStatistics;
use super::super::gradients::Gradients;
use crate::error::{Error, Result};
use crate::model::{BATCH_NORM_EPSILON, Graph, Head, Node, Op, Weights};

/// Which statistics batch normalisation uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NormMode {
    /// Those of the batch, which are recorded.
    Batch,
    /// The running ones.
    Running,
}

/// A network on a device, for one pass.
pub(super) struct BurnNetwork<'a> {
    graph: &'a Graph,
    arrays: BTreeMap<String, Tensor<1>>,
    device: Device,
    /// Mean and unbiased variance by normalisation, after a pass in training.
    statistics: Vec<(String, Tensor<1>, Tensor<1>)>,
}

impl<'a> BurnNetwork<'a> {
    /// Copies weights to `device`; parameters track gradients when the device does.
    pub(super) fn new(graph: &'a Graph, weights: &Weights, device: &Device) -> Self {
        let mut arrays = BTreeMap::new();
        for spec in graph.arrays() {
            let tensor = flat(weights[&spec.name].data.clone(), device);
            let tracked = spec.role.is_parameter() && device.is_autodiff();
            let tensor = if tracked { tensor.require_grad() } else { tensor };
            arrays.insert(spec.name, tensor);
        }
        Self { graph, arrays, device: device.clone(), statistics: Vec::new() }
    }

    /// Logits `[patches, classes]` of patches `[patches, 3, 55, 55]`, with running statistics.
    #[cfg(feature = "burn-flex")]
    pub(super) fn logits(&mut self, patches: Tensor<4>) -> Tensor<2> {
        self.forward(patches, NormMode::Running)
    }

    /// Mean loss of patches `[patches, 3, 55, 55]`, its gradients, and the statistics of
    /// normalisations.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device does not return its data.
    pub(super) fn gradients(
        mut self,
        patches: Tensor<4>,
        classes: &[usize],
        head: Head,
    ) -> Result<Gradients> {
        let logits = self.forward(patches, NormMode::Batch);
        let shape = logits.dims();
        let mut one_hot = vec![0.0f32; shape[0] * shape[1]];
        for (patch, &class) in classes.iter().enumerate() {
            one_hot[patch * shape[1] + class] = 1.0;
        }
        let targets = flat(one_hot, &self.device).reshape(shape);
        let loss = cross_entropy(logits, targets, head);
        let tracked = loss.backward();

        // One read for everything: each waits for the device.
        let mut read = Transaction::default().register(loss.inner());
        let mut names = Vec::new();
        for (name, tensor) in &self.arrays {
            if let Some(gradient) = tensor.grad(&tracked) {
                names.push(name.clone());
                read = read.register(gradient);
            }
        }
        let mut layers = Vec::new();
        for (layer, mean, variance) in self.statistics {
            layers.push(layer);
            read = read.register(mean).register(variance);
        }
        let data = read.try_execute().map_err(|e| not_returned(&e))?;

        let mut data = data.into_iter();
        let mut next = || match data.next() {
            Some(data) => data.try_to_vec::<f32>().map_err(|e| not_returned(&e)),
            None => Err(Error::gpu("The device returned less data than was read")),
        };
        let loss = next()?.first().copied().unwrap_or(f32::NAN);
        let mut gradients = Gradients { loss: f64::from(loss), ..Gradients::default() };
        for name in names {
            gradients.arrays.insert(name, next()?);
        }
        for layer in layers {
            let mean = next()?;
            let variance = next()?;
            gradients.statistics.push(LayerStatistics { layer, mean, variance });
        }
        Ok(gradients)
    }

    fn forward(&mut self, patches: Tensor<4>, mode: NormMode) -> Tensor<2> {
        let mut values: Vec<Tensor<4>> = vec![patches];
        for node in self.graph.nodes.iter().skip(1) {
            let first = values[node.inputs[0]].clone();
            values.push(match node.op {
                Op::Concat => Tensor::cat(vec![first, values[node.inputs[1]].clone()], 1),
                Op::BatchNorm => self.batch_norm(node, first, mode),
                _ => self.apply(node, first),
            });
        }
        let logits = values.swap_remove(values.len() - 1);
        let [patches, classes, _, _] = logits.dims();
        logits.reshape([patches, classes])
    }

    fn array(&self, node: &Node, suffix: &str) -> Tensor<1> {
        self.arrays[&format!("{}.{suffix}", node.name)].clone()
    }

    fn apply(&self, node: &Node, x: Tensor<4>) -> Tensor<4> {
        match node.op {
            Op::Conv { filters, kernel, stride, padding, bias } => {
                let channels = self.graph.input_shape(node).channels;
                let weight =
                    self.array(node, "weight").reshape([filters, channels, kernel, kernel]);
                let bias = bias.then(|| self.array(node, "bias"));
                conv2d(x, weight, bias, ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1))
            }
            Op::Relu => relu(x),
            Op::MaxPool { kernel, stride, padding } => {
                let options = MaxPoolOptions::new([kernel; 2])
                    .with_stride([stride; 2])
                    .with_padding([padding; 2]);
                max_pool2d(x, options)
            }
            Op::AvgPool { kernel } => {
                avg_pool2d(x, AvgPoolOptions::new([kernel; 2]).with_stride([kernel; 2]))
            }
            Op::Linear { units } => {
                let [patches, channels, height, width] = x.dims();
                let inputs = channels * height * width;
                let weight = self.array(node, "weight").reshape([units, inputs]);
                let product = x.reshape([patches, inputs]).matmul(weight.transpose());
                let sum = product + self.array(node, "bias").reshape([1, units]);
                sum.reshape([patches, units, 1, 1])
            }
            Op::Input | Op::Concat | Op::BatchNorm => x,
        }
    }

    fn batch_norm(&mut self, node: &Node, x: Tensor<4>, mode: NormMode) -> Tensor<4> {
        let gamma = self.array(node, "weight");
        let beta = self.array(node, "bias");
        let epsilon = f64::from(BATCH_NORM_EPSILON);
        if mode == NormMode::Running {
            let mean = self.array(node, "running_mean");
            let variance = self.array(node, "running_var");
            return batch_norm(x, gamma, beta, mean, variance, epsilon);
        }
        let [patches, _, height, width] = x.dims();
        let count = (patches * height * width) as f64;
        let out = batch_norm_train(x, gamma, beta, epsilon);
        // The stored variance is the unbiased one, as in PyTorch.
        let unbiased = untracked(out.variance) * (count / (count - 1.0).max(1.0));
        self.statistics.push((node.name.clone(), untracked(out.mean), unbiased));
        out.output
    }
}

/// Mean softmax cross-entropy over a batch; the sigmoid head passes each logit through a sigmoid
/// first.
fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>, head: Head) -> Tensor<1> {
    let [patches, _] = logits.dims();
    let scores = match head {
        Head::Softmax => logits,
        Head::Sigmoid => sigmoid(logits),
    };
    (log_softmax(scores, 1) * targets).sum().neg() / patches as f64
}

/// A tensor without its graph, for reading.
fn untracked(tensor: Tensor<1>) -> Tensor<1> {
    if tensor.device().is_autodiff() { tensor.inner() } else { tensor }
}

/// A flat tensor of values.
pub(super) fn flat(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// A tensor's values on the host.
///
/// # Errors
/// [`Error::Gpu`] when the device cannot return them.
pub(super) fn values(tensor: Tensor<1>) -> Result<Vec<f32>> {
    tensor.into_data().try_to_vec::<f32>().map_err(|e| not_returned(&e))
}

fn not_returned(reason: &dyn std::fmt::Debug) -> Error {
    Error::gpu(format!("The device did not return its data: {reason:?}"))
}
