//! A model as Burn tensors: the graph's nodes become Burn calls, its arrays flat tensors that track
//! gradients.
//!
//! Flat storage keeps optimiser and checkpoint free of ranks; each call reshapes to what its node
//! needs.

use std::collections::BTreeMap;

use burn::tensor::activation::relu;
use burn::tensor::module::{avg_pool2d, batch_norm, batch_norm_train, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

use super::batch_norm::Statistics;
use crate::error::{Error, Result};
use crate::model::{Array, ArraySpec, BATCH_NORM_EPSILON, Graph, Model, Node, Op, Role, Weights};

/// Share of a batch's statistics in the running ones (PyTorch's default).
const NORM_MOMENTUM: f64 = 0.1;

/// Which statistics batch normalisation uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those of the batch; running statistics move.
    Train,
    /// The running ones.
    Evaluate,
}

/// A network on a device.
pub struct BurnNetwork {
    graph: Graph,
    specs: BTreeMap<String, ArraySpec>,
    arrays: BTreeMap<String, Tensor<1>>,
    device: Device,
}

impl BurnNetwork {
    /// Copies a model to `device`; parameters track gradients when the device does.
    #[must_use]
    pub fn new(model: &Model, device: &Device) -> Self {
        let specs: BTreeMap<String, ArraySpec> =
            model.graph().arrays().into_iter().map(|s| (s.name.clone(), s)).collect();
        let arrays = specs
            .values()
            .map(|spec| (spec.name.clone(), stored(model.array(&spec.name), spec, device)))
            .collect();
        Self { graph: model.graph().clone(), specs, arrays, device: device.clone() }
    }

    /// Where it lives.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The arrays as plain data.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device cannot give its data back.
    pub fn weights(&self) -> Result<Weights> {
        let mut weights = Weights::new();
        for (name, tensor) in &self.arrays {
            weights.insert(
                name.clone(),
                Array::new(self.specs[name].shape.clone(), values(tensor.clone())?)?,
            );
        }
        Ok(weights)
    }

    /// Replaces every learned array by what `update` makes of it.
    ///
    /// # Errors
    /// The first error of `update`.
    pub fn update(
        &mut self,
        mut update: impl FnMut(&str, Role, Tensor<1>) -> Result<Tensor<1>>,
    ) -> Result<()> {
        for (name, tensor) in &mut self.arrays {
            let role = self.specs[name].role;
            if role.is_parameter() {
                *tensor = update(name, role, tensor.clone())?;
            }
        }
        Ok(())
    }

    /// Moves running statistics towards those of a step, by layer.
    pub fn move_statistics(&mut self, found: &BTreeMap<String, Statistics>) {
        for (layer, statistics) in found {
            let [mean, variance] =
                [&statistics.mean, &statistics.variance].map(|v| flat(v.clone(), &self.device));
            approach(&mut self.arrays, layer, mean, variance);
        }
    }

    /// Gradients of the learned arrays, on the device, without tracking.
    pub fn gradients(&self, found: &Gradients) -> BTreeMap<String, Tensor<1>> {
        self.arrays.iter().filter_map(|(name, t)| Some((name.clone(), t.grad(found)?))).collect()
    }

    /// Logits `[patches, classes]` of patches `[patches, 3, 55, 55]`.
    pub fn forward(&mut self, patches: Tensor<4>, mode: Mode) -> Tensor<2> {
        let Self { graph, specs, arrays, .. } = self;
        let mut values: Vec<Option<Tensor<4>>> = vec![None; graph.nodes.len()];
        values[0] = Some(patches);
        for (i, node) in graph.nodes.iter().enumerate().skip(1) {
            let input = |n: usize| {
                values[node.inputs[n]]
                    .clone()
                    .expect("inputs come before their users: Graph keeps that order")
            };
            let value = match node.op {
                Op::Concat => Tensor::cat(vec![input(0), input(1)], 1),
                Op::BatchNorm => normalise(node, input(0), arrays, mode),
                _ => apply(node, input(0), specs, arrays),
            };
            values[i] = Some(value);
        }
        let logits = values.pop().flatten().expect("a graph has nodes");
        let [patches, classes, _, _] = logits.dims();
        logits.reshape([patches, classes])
    }
}

/// A flat tensor of values.
pub fn flat(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// A flat tensor of an array's values.
fn stored(data: &[f32], spec: &ArraySpec, device: &Device) -> Tensor<1> {
    let tensor = flat(data.to_vec(), device);
    if spec.role.is_parameter() && device.is_autodiff() { tensor.require_grad() } else { tensor }
}

/// A tensor's values on the host.
///
/// # Errors
/// [`Error::Gpu`] when the device cannot give them back.
pub fn values(tensor: Tensor<1>) -> Result<Vec<f32>> {
    tensor
        .into_data()
        .try_to_vec::<f32>()
        .map_err(|e| Error::gpu(format!("The device did not return its data: {e:?}")))
}

fn apply(
    node: &Node,
    x: Tensor<4>,
    specs: &BTreeMap<String, ArraySpec>,
    arrays: &BTreeMap<String, Tensor<1>>,
) -> Tensor<4> {
    let weight_name = format!("{}.weight", node.name);
    let bias = arrays.get(&format!("{}.bias", node.name)).cloned();
    match node.op {
        Op::Conv { stride, padding, .. } => {
            let shape = &specs[&weight_name].shape;
            let weight =
                arrays[&weight_name].clone().reshape([shape[0], shape[1], shape[2], shape[3]]);
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
            let [n, c, h, w] = x.dims();
            let weight = arrays[&weight_name].clone().reshape([units, c * h * w]);
            let y = x.reshape([n, c * h * w]).matmul(weight.transpose());
            let y = bias.map_or(y.clone(), |b| y + b.reshape([1, units]));
            y.reshape([n, units, 1, 1])
        }
        Op::Input | Op::Concat | Op::BatchNorm => x,
    }
}

fn normalise(
    node: &Node,
    x: Tensor<4>,
    arrays: &mut BTreeMap<String, Tensor<1>>,
    mode: Mode,
) -> Tensor<4> {
    let name = |suffix: &str| format!("{}.{suffix}", node.name);
    let get = |arrays: &BTreeMap<String, Tensor<1>>, suffix: &str| arrays[&name(suffix)].clone();
    let (gamma, beta) = (get(arrays, "weight"), get(arrays, "bias"));
    let (mean, variance) = (get(arrays, "running_mean"), get(arrays, "running_var"));
    let epsilon = f64::from(BATCH_NORM_EPSILON);
    if mode == Mode::Evaluate {
        return batch_norm(x, gamma, beta, mean, variance, epsilon);
    }
    let [n, _, h, w] = x.dims();
    let seen = (n * h * w) as f64;
    let out = batch_norm_train(x, gamma, beta, epsilon);
    // The stored variance is the unbiased one, as in PyTorch.
    let unbiased = out.variance.detach() * (seen / (seen - 1.0).max(1.0));
    approach(arrays, &node.name, out.mean.detach(), unbiased);
    out.output
}

/// Moves a layer's running statistics towards `mean` and `variance`.
fn approach(
    arrays: &mut BTreeMap<String, Tensor<1>>,
    layer: &str,
    mean: Tensor<1>,
    variance: Tensor<1>,
) {
    for (suffix, new) in [("running_mean", mean), ("running_var", variance)] {
        if let Some(old) = arrays.get_mut(&format!("{layer}.{suffix}")) {
            *old = old.clone() * (1.0 - NORM_MOMENTUM) + new * NORM_MOMENTUM;
        }
    }
}
