//! From a model to a [`Program`]: which pass computes which nodes of the graph, in which slot its
//! values lie, and its constants.

use super::pack::{Constants, FilterWeights, fold_norm, phases, vectors_for};
use super::program::{GpuPass, PoolKind, Program, Variant};
use crate::engine::kernel::Activation;
use crate::engine::packed::norm_affine;
use crate::error::{Error, Result};
use crate::model::{DenseConv, DensePlan, DenseStep, Graph, Model, Node, Op};

/// Slot of the input.
const INPUT: usize = 0;
/// Most outputs of the last layer of the dense form: a thread holds them in one vector.
const MAX_CLASSES: usize = 4;

/// The dense form on a whole block.
///
/// # Errors
/// [`Error::Unsupported`] for a network that has no dense form or more than four classes.
pub(super) fn dense(model: &Model) -> Result<Program> {
    /// Slot of the logits, behind the input and two for the passes in turn.
    const LOGITS: usize = 3;
    let plan = DensePlan::new(model.graph())?;
    let classes = plan.classes();
    if !(2..=MAX_CLASSES).contains(&classes) {
        return Err(Error::unsupported(format!(
            "The GPU engine takes 2 to {MAX_CLASSES} classes; this network has {classes}"
        )));
    }
    let mut constants = Constants::default();
    let mut slot_channels = vec![3, 0, 0, classes];
    let mut passes = Vec::with_capacity(plan.steps.len() + 1);
    let mut source = INPUT;
    for step in &plan.steps {
        let target = other_slot(source);
        let pass = match step {
            DenseStep::Conv(conv) => {
                dense_layer(&mut constants, &dense_weights(model, conv), conv, source, target)
            }
            DenseStep::MaxPool { channels, dilation } => {
                let variant = Variant::Pool { kernel: 2, kind: PoolKind::Max };
                GpuPass {
                    dilation: *dilation,
                    ..GpuPass::new(variant, source, target, *channels, *channels)
                }
            }
        };
        slot_channels[target] = pass.filters.max(slot_channels[target]);
        passes.push(pass);
        source = target;
    }
    passes.push(head(model, &plan, &mut constants, source, LOGITS));
    Ok(Program { passes, constants: constants.0, slot_channels, phased: false, classes })
}

/// Both fully connected layers in one pass; the hidden values stay in registers.
fn head(
    model: &Model,
    plan: &DensePlan,
    constants: &mut Constants,
    source: usize,
    target: usize,
) -> GpuPass {
    let weights = dense_weights(model, &plan.hidden);
    let mut pass = dense_layer(constants, &weights, &plan.hidden, source, target);
    if let Variant::Layer { vectors, head_classes, .. } = &mut pass.variant {
        *head_classes = plan.classes() as u32;
        let output = model.array(&plan.output.weight_name());
        let bias = model.array(&plan.output.bias_name());
        pass.head_offset = constants.push_head(output, bias, *vectors as usize);
    }
    pass
}

fn dense_weights<'a>(model: &'a Model, conv: &DenseConv) -> FilterWeights<'a> {
    FilterWeights {
        values: model.array(&conv.weight_name()).into(),
        bias: model.array(&conv.bias_name()).to_vec(),
        filters: conv.filters,
        channels: conv.channels,
        kernel: conv.kernel,
    }
}

fn dense_layer(
    constants: &mut Constants,
    weights: &FilterWeights<'_>,
    conv: &DenseConv,
    source: usize,
    target: usize,
) -> GpuPass {
    let activation = if conv.relu { Activation::Relu } else { Activation::Identity };
    let pass = layer_pass(constants, weights, source, target, activation);
    GpuPass { dilation: conv.dilation, ..pass }
}

/// A layer's pass without padding and normalisation; appends its constants.
fn layer_pass(
    constants: &mut Constants,
    weights: &FilterWeights<'_>,
    source: usize,
    target: usize,
    activation: Activation,
) -> GpuPass {
    let vectors = vectors_for(weights.filters);
    let offsets = constants.push_layer(weights, vectors);
    let variant = Variant::Layer {
        kernel: weights.kernel as u32,
        vectors: vectors as u32,
        padded: false,
        normed: false,
        relu: activation == Activation::Relu,
        head_classes: 0,
    };
    GpuPass {
        weights_offset: offsets.weights,
        bias_offset: offsets.bias,
        ..GpuPass::new(variant, source, target, weights.channels, weights.filters)
    }
}

/// Slots 1 and 2 take the outputs of passes in turn.
fn other_slot(source: usize) -> usize {
    if source == 1 { 2 } else { 1 }
}

/// Any network on a batch of patches side by side.
///
/// # Errors
/// [`Error::Unsupported`] for a graph whose nodes do not come in an order that the passes can fuse.
pub(super) fn batch(model: &Model) -> Result<Program> {
    let mut lowering = BatchLowering {
        model,
        graph: model.graph(),
        constants: Constants::default(),
        passes: Vec::new(),
        slot_channels: vec![0; 3],
        values: Vec::new(),
        phased: false,
    };
    for (i, node) in model.graph().nodes.iter().enumerate() {
        let value = lowering.node(i, node)?;
        lowering.values.push(value);
    }
    let classes = model.card().architecture.classes();
    // The logits have a slot of their own, the last.
    let logits = lowering.slot_channels.len();
    lowering.slot_channels.push(classes);
    if let Some(pass) = lowering.passes.last_mut() {
        pass.target = logits;
    }
    Ok(Program {
        passes: lowering.passes,
        constants: lowering.constants.0,
        slot_channels: lowering.slot_channels,
        phased: lowering.phased,
        classes,
    })
}

/// Where the value of a node lies.
#[derive(Debug, Clone, Copy)]
struct NodeValue {
    slot: usize,
    /// A normalisation and ReLU that the reader still has to apply: offset of its constants.
    norm_offset: Option<usize>,
}

/// Slot and first channel that a pass writes.
struct Destination {
    slot: usize,
    first_channel: usize,
}

/// A square window that slides over the pixels of each channel.
struct Window {
    kernel: usize,
    stride: usize,
    padding: usize,
}

struct BatchLowering<'a> {
    model: &'a Model,
    graph: &'a Graph,
    constants: Constants,
    passes: Vec<GpuPass>,
    /// Channels of each slot: input, two for outputs in turn, then one for each chain of
    /// concatenations.
    slot_channels: Vec<usize>,
    /// Values of the nodes lowered so far.
    values: Vec<NodeValue>,
    phased: bool,
}

impl<'a> BatchLowering<'a> {
    fn node(&mut self, index: usize, node: &Node) -> Result<NodeValue> {
        if matches!(node.op, Op::Input) {
            self.slot_channels[INPUT] = node.shape.channels;
            return Ok(NodeValue { slot: INPUT, norm_offset: None });
        }
        let Some(&first) = node.inputs.first() else { return Err(unfused("a node")) };
        let from = self.values[first];
        match node.op {
            Op::Input => Err(unfused("a node")),
            Op::BatchNorm if self.is_folded(index) => Ok(from),
            Op::BatchNorm => {
                let norm = norm_affine(self.model, node);
                Ok(NodeValue { norm_offset: Some(self.constants.push_norm(&norm)), ..from })
            }
            Op::Relu => {
                // The pass of the layer before has applied it, or the reader will.
                let before = &self.graph.nodes[first].op;
                let applied = matches!(before, Op::Conv { .. } | Op::Linear { .. })
                    || self.is_folded(first)
                    || from.norm_offset.is_some();
                if applied { Ok(from) } else { Err(unfused("a ReLU")) }
            }
            Op::Concat => {
                let second = self.values[node.inputs[1]];
                if second.slot == from.slot { Ok(from) } else { Err(unfused("a concatenation")) }
            }
            Op::Conv { kernel, stride, padding, .. } => {
                self.layer(index, &Window { kernel, stride, padding }, from)
            }
            Op::Linear { .. } => {
                let kernel = self.graph.input_shape(node).height;
                self.layer(index, &Window { kernel, stride: 1, padding: 0 }, from)
            }
            Op::MaxPool { kernel, stride, padding } => {
                self.pool(index, &Window { kernel, stride, padding }, PoolKind::Max, from)
            }
            Op::AvgPool { kernel } => {
                let window = Window { kernel, stride: kernel, padding: 0 };
                self.pool(index, &window, PoolKind::Mean, from)
            }
        }
    }

    /// Nodes that read node `index`.
    fn users(&self, index: usize) -> Vec<usize> {
        let mut users = Vec::new();
        for (i, node) in self.graph.nodes.iter().enumerate() {
            if node.inputs.contains(&index) {
                users.push(i);
            }
        }
        users
    }

    /// The concatenation that reads node `index`, if there is one.
    fn concatenation_of(&self, index: usize) -> Option<usize> {
        let users = self.users(index);
        users.into_iter().find(|&user| matches!(self.graph.nodes[user].op, Op::Concat))
    }

    /// Whether node `index` is a normalisation that the pass of the convolution before it computes:
    /// nothing else may read that convolution.
    fn is_folded(&self, index: usize) -> bool {
        let node = &self.graph.nodes[index];
        let Some(&before) = node.inputs.first() else { return false };
        matches!(node.op, Op::BatchNorm)
            && matches!(self.graph.nodes[before].op, Op::Conv { .. })
            && self.users(before) == [index]
    }

    /// The pass of a convolution or fully connected layer, with the normalisation and ReLU behind
    /// it where nothing else reads the values between.
    fn layer(&mut self, index: usize, window: &Window, from: NodeValue) -> Result<NodeValue> {
        let node = &self.graph.nodes[index];
        let filters = node.shape.channels;
        let mut weights = self.weights(node, window.kernel);
        let mut padding = window.padding;
        if window.stride == 2 && from.slot == INPUT {
            weights = phases(&weights);
            self.phased = true;
            self.slot_channels[INPUT] = weights.channels;
            padding = 0;
        } else if window.stride != 1 {
            return Err(unfused("a convolution with a stride"));
        }
        // Last node that this pass computes.
        let mut end = index;
        if let [user] = self.users(end)[..]
            && self.is_folded(user)
        {
            fold_norm(&mut weights, &norm_affine(self.model, &self.graph.nodes[user]));
            end = user;
        }
        let mut activation = Activation::Identity;
        if let [user] = self.users(end)[..]
            && matches!(self.graph.nodes[user].op, Op::Relu)
        {
            activation = Activation::Relu;
            end = user;
        }
        let to = self.destination(end, from.slot, filters);
        let mut pass = layer_pass(&mut self.constants, &weights, from.slot, to.slot, activation);
        if let Variant::Layer { padded, normed, .. } = &mut pass.variant {
            *padded = padding > 0;
            *normed = from.norm_offset.is_some();
        }
        pass.padding = padding;
        pass.first_channel = to.first_channel;
        pass.norm_offset = from.norm_offset.unwrap_or(0);
        self.passes.push(pass);
        Ok(NodeValue { slot: to.slot, norm_offset: None })
    }

    /// Arrays of a convolution or fully connected layer; a missing bias is zero.
    fn weights(&self, node: &Node, kernel: usize) -> FilterWeights<'a> {
        let filters = node.shape.channels;
        let bias = self.model.weights().get(&format!("{}.bias", node.name));
        FilterWeights {
            values: self.model.array(&format!("{}.weight", node.name)).into(),
            bias: bias.map_or_else(|| vec![0.0; filters], |array| array.data.clone()),
            filters,
            channels: self.graph.input_shape(node).channels,
            kernel,
        }
    }

    fn pool(
        &mut self,
        index: usize,
        window: &Window,
        kind: PoolKind,
        from: NodeValue,
    ) -> Result<NodeValue> {
        if from.norm_offset.is_some() {
            return Err(unfused("pooling behind a normalisation"));
        }
        let channels = self.graph.nodes[index].shape.channels;
        let to = self.destination(index, from.slot, channels);
        let variant = Variant::Pool { kernel: window.kernel as u32, kind };
        self.passes.push(GpuPass {
            stride: window.stride,
            padding: window.padding,
            first_channel: to.first_channel,
            ..GpuPass::new(variant, from.slot, to.slot, channels, channels)
        });
        Ok(NodeValue { slot: to.slot, norm_offset: None })
    }

    /// Where node `index` is written: in the slot of its chain of concatenations, behind the
    /// channels that are there already, or in slot 1 or 2.
    fn destination(&mut self, index: usize, source: usize, channels: usize) -> Destination {
        let Some(concat) = self.concatenation_of(index) else {
            let slot = other_slot(source);
            self.slot_channels[slot] = channels.max(self.slot_channels[slot]);
            return Destination { slot, first_channel: 0 };
        };
        let first = self.graph.nodes[concat].inputs[0];
        if first != index {
            return Destination {
                slot: self.values[first].slot,
                first_channel: self.graph.nodes[first].shape.channels,
            };
        }
        // The first value of a chain: a slot as wide as the chain's end.
        let mut end = concat;
        while let Some(next) = self.concatenation_of(end) {
            end = next;
        }
        self.slot_channels.push(self.graph.nodes[end].shape.channels);
        Destination { slot: self.slot_channels.len() - 1, first_channel: 0 }
    }
}

fn unfused(what: &str) -> Error {
    Error::unsupported(format!(
        "The GPU engine has no pass for {what} in this place; the CPU engine runs any network"
    ))
}
