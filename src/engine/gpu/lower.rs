//! From a model to a [`Program`]: which pass computes which nodes of the graph, where its values
//! lie, and the weights in the order in which a thread reads them.

use super::pack::{Constants, FilterWeights, fold, phases, vectors_for};
use super::program::{PassStage, Program, Variant};
use crate::engine::packed::norm_affine;
use crate::error::{Error, Result};
use crate::model::{Graph, Model, Node, Op};

fn bias_of(model: &Model, node: &Node) -> Vec<f32> {
    model
        .weights()
        .get(&format!("{}.bias", node.name))
        .map_or_else(|| vec![0.0; node.shape.channels], |a| a.data.clone())
}

fn weights_of<'a>(model: &'a Model, node: &Node, kernel: usize) -> FilterWeights<'a> {
    FilterWeights {
        values: model.array(&format!("{}.weight", node.name)).into(),
        bias: bias_of(model, node),
        filters: node.shape.channels,
        channels: model.graph().input_shape(node).channels,
        kernel,
    }
}

/// Fields that every stage of a layer shares.
fn layer_stage(
    c: &mut Constants,
    w: &FilterWeights<'_>,
    source: usize,
    target: usize,
    relu: bool,
) -> PassStage {
    let vectors = vectors_for(w.filters);
    let (weights_at, bias_at) = c.push_weights(w, vectors);
    let variant = Variant::Layer {
        kernel: w.kernel as u32,
        vectors: vectors as u32,
        padded: false,
        normed: false,
        relu,
        head: false,
    };
    PassStage {
        variant,
        source,
        target,
        first_channel: 0,
        channels: w.channels,
        filters: w.filters,
        spread: 1,
        stride: 1,
        padding: 0,
        weights_at,
        bias_at,
        norm_at: 0,
        head_at: 0,
    }
}

fn pool_stage(
    kernel: usize,
    mean: bool,
    channels: usize,
    source: usize,
    target: usize,
) -> PassStage {
    PassStage {
        variant: Variant::Pool { kernel: kernel as u32, mean },
        source,
        target,
        first_channel: 0,
        channels,
        filters: channels,
        spread: 1,
        stride: 1,
        padding: 0,
        weights_at: 0,
        bias_at: 0,
        norm_at: 0,
        head_at: 0,
    }
}

/// The DCNN on a whole block: pooling moves by one pixel, everything behind it reads `spread`
/// pixels apart.
///
/// # Errors
/// [`Error::Unsupported`] for a network that has no dense form or not two classes.
pub fn dense(model: &Model) -> Result<Program> {
    let graph = model.graph();
    let mut constants = Constants::default();
    let (mut stages, mut linear): (Vec<PassStage>, Vec<&Node>) = (Vec::new(), Vec::new());
    let (mut spread, mut slot, mut channels) = (1, 0, 3);
    let mut widest = [0, 0];
    for node in &graph.nodes {
        let target = if slot == 1 { 2 } else { 1 };
        let mut stage = match node.op {
            Op::Conv { kernel, stride: 1, padding: 0, .. } => {
                layer_stage(&mut constants, &weights_of(model, node, kernel), slot, target, true)
            }
            Op::MaxPool { kernel: 2, stride: 2, padding: 0 } => {
                pool_stage(2, false, channels, slot, target)
            }
            Op::Linear { .. } => {
                linear.push(node);
                continue;
            }
            Op::Input | Op::Relu => continue,
            _ => {
                return Err(Error::unsupported(
                    "This network has no exact dense form; only the DCNN has",
                ));
            }
        };
        stage.spread = spread;
        if matches!(stage.variant, Variant::Pool { .. }) {
            spread *= 2;
        }
        channels = stage.filters;
        widest[target - 1] = channels.max(widest[target - 1]);
        slot = target;
        stages.push(stage);
    }
    let [hidden, output] = linear[..] else {
        return Err(Error::unsupported("The dense form needs two fully connected layers"));
    };
    if output.shape.channels != 2 {
        return Err(Error::unsupported("The GPU engine needs two classes"));
    }
    stages.push(head(model, &mut constants, hidden, output, (slot, spread)));
    Ok(Program {
        stages,
        constants: constants.0,
        slot_channels: vec![3, widest[0], widest[1], 2],
        phased: false,
        classes: 2,
    })
}

fn head(
    model: &Model,
    constants: &mut Constants,
    hidden: &Node,
    output: &Node,
    (slot, spread): (usize, usize),
) -> PassStage {
    let kernel = model.graph().input_shape(hidden).height;
    let weights = weights_of(model, hidden, kernel);
    let mut stage = layer_stage(constants, &weights, slot, 3, true);
    if let Variant::Layer { vectors, head, .. } = &mut stage.variant {
        *head = true;
        let width = 4 * *vectors as usize;
        let padded = weights.filters.div_ceil(width) * width;
        let last = model.array(&format!("{}.weight", output.name));
        stage.head_at = constants.push_head(last, &bias_of(model, output), weights.filters, padded);
    }
    stage.spread = spread;
    stage
}

/// Where a node's value lies.
#[derive(Debug, Clone, Copy)]
struct BufferSlot {
    slot: usize,
    /// Normalisation and ReLU still to be applied by the reader: place of its constants.
    norm_at: Option<usize>,
}

/// Any network on patches that lie side by side.
///
/// # Errors
/// [`Error::Unsupported`] for a graph whose nodes do not come in the orders that the passes fuse.
pub fn batch(model: &Model) -> Result<Program> {
    let mut lowering = Lowering {
        model,
        graph: model.graph(),
        constants: Constants::default(),
        stages: Vec::new(),
        slots: vec![0; 3],
        places: Vec::new(),
        phased: false,
    };
    for (i, node) in model.graph().nodes.iter().enumerate() {
        let place = lowering.node(i, node)?;
        lowering.places.push(place);
    }
    let classes = model.card().architecture.classes();
    // The logits leave from a slot of their own.
    lowering.slots.push(classes);
    let last = lowering.slots.len() - 1;
    if let Some(stage) = lowering.stages.last_mut() {
        stage.target = last;
    }
    Ok(Program {
        stages: lowering.stages,
        constants: lowering.constants.0,
        slot_channels: lowering.slots,
        phased: lowering.phased,
        classes,
    })
}

struct Lowering<'a> {
    model: &'a Model,
    graph: &'a Graph,
    constants: Constants,
    stages: Vec<PassStage>,
    /// Channels of each slot: input, two that come and go, then one for each chain of
    /// concatenations.
    slots: Vec<usize>,
    places: Vec<BufferSlot>,
    phased: bool,
}

impl Lowering<'_> {
    fn node(&mut self, index: usize, node: &Node) -> Result<BufferSlot> {
        let input = node.inputs.first().map(|&i| self.places[i]);
        let plain = |slot| BufferSlot { slot, norm_at: None };
        match (node.op, input) {
            (Op::Input, _) => {
                self.slots[0] = node.shape.channels;
                Ok(plain(0))
            }
            (Op::BatchNorm, Some(from)) => {
                if self.folded(index) {
                    return Ok(from);
                }
                let (scale, shift) = norm_affine(self.model, node);
                Ok(BufferSlot { norm_at: Some(self.constants.push_norm(&scale, &shift)), ..from })
            }
            (Op::Relu, Some(from)) => {
                let before = node.inputs[0];
                let done =
                    matches!(self.graph.nodes[before].op, Op::Conv { .. } | Op::Linear { .. })
                        || self.folded(before);
                if done || from.norm_at.is_some() { Ok(from) } else { Err(unfused("a ReLU")) }
            }
            (Op::Concat, Some(from)) => {
                let second = self.places[node.inputs[1]];
                if second.slot == from.slot { Ok(from) } else { Err(unfused("a concatenation")) }
            }
            (Op::Conv { kernel, stride, padding, .. }, Some(from)) => {
                self.layer(index, node, kernel, stride, padding, from)
            }
            (Op::Linear { .. }, Some(from)) => {
                let side = self.graph.input_shape(node).height;
                self.layer(index, node, side, 1, 0, from)
            }
            (Op::MaxPool { kernel, stride, padding }, Some(from)) => {
                self.pool(index, node, (kernel, stride, padding), false, from)
            }
            (Op::AvgPool { kernel }, Some(from)) => {
                self.pool(index, node, (kernel, kernel, 0), true, from)
            }
            _ => Err(unfused("a node")),
        }
    }

    fn users(&self, index: usize) -> Vec<usize> {
        (0..self.graph.nodes.len())
            .filter(|&u| self.graph.nodes[u].inputs.contains(&index))
            .collect()
    }

    /// Whether a normalisation is computed by the convolution before it: both feed nothing else.
    fn folded(&self, norm: usize) -> bool {
        let node = &self.graph.nodes[norm];
        let Some(&before) = node.inputs.first() else { return false };
        matches!(node.op, Op::BatchNorm)
            && matches!(self.graph.nodes[before].op, Op::Conv { .. })
            && self.users(before) == [norm]
    }

    fn layer(
        &mut self,
        index: usize,
        node: &Node,
        kernel: usize,
        stride: usize,
        padding: usize,
        from: BufferSlot,
    ) -> Result<BufferSlot> {
        let mut weights = weights_of(self.model, node, kernel);
        let (mut stride, mut padding) = (stride, padding);
        if stride == 2 && from.slot == 0 {
            weights = phases(&weights);
            self.phased = true;
            self.slots[0] = weights.channels;
            (stride, padding) = (1, 0);
        }
        if stride != 1 {
            return Err(unfused("a convolution with a stride"));
        }
        let mut end = index;
        if let [user] = self.users(index)[..] {
            let next = &self.graph.nodes[user];
            if self.folded(user) {
                fold(&mut weights, &norm_affine(self.model, next));
                end = user;
            }
        }
        let relu = matches!(self.users(end)[..], [u] if matches!(self.graph.nodes[u].op, Op::Relu));
        if relu {
            end = self.users(end)[0];
        }
        let (target, first_channel) = self.destination(end, from.slot, node.shape.channels);
        let mut stage = layer_stage(&mut self.constants, &weights, from.slot, target, relu);
        if let Variant::Layer { padded, normed, .. } = &mut stage.variant {
            *padded = padding > 0;
            *normed = from.norm_at.is_some();
        }
        stage.padding = padding;
        stage.first_channel = first_channel;
        stage.norm_at = from.norm_at.unwrap_or(0);
        self.stages.push(stage);
        Ok(BufferSlot { slot: target, norm_at: None })
    }

    fn pool(
        &mut self,
        index: usize,
        node: &Node,
        window: (usize, usize, usize),
        mean: bool,
        from: BufferSlot,
    ) -> Result<BufferSlot> {
        if from.norm_at.is_some() {
            return Err(unfused("pooling behind a normalisation"));
        }
        let (target, first_channel) = self.destination(index, from.slot, node.shape.channels);
        let mut stage = pool_stage(window.0, mean, node.shape.channels, from.slot, target);
        (stage.stride, stage.padding, stage.first_channel) = (window.1, window.2, first_channel);
        self.stages.push(stage);
        Ok(BufferSlot { slot: target, norm_at: None })
    }

    /// Slot and first channel for the value of `index`: the slot of its chain of concatenations, or
    /// a passing one.
    fn destination(&mut self, index: usize, source: usize, channels: usize) -> (usize, usize) {
        let concat =
            self.users(index).into_iter().find(|&u| matches!(self.graph.nodes[u].op, Op::Concat));
        let Some(concat) = concat else {
            let slot = if source == 1 { 2 } else { 1 };
            self.slots[slot] = channels.max(self.slots[slot]);
            return (slot, 0);
        };
        let inputs = &self.graph.nodes[concat].inputs;
        if inputs[0] != index {
            return (self.places[inputs[0]].slot, self.graph.nodes[inputs[0]].shape.channels);
        }
        let mut end = concat;
        while let Some(next) =
            self.users(end).into_iter().find(|&u| matches!(self.graph.nodes[u].op, Op::Concat))
        {
            end = next;
        }
        self.slots.push(self.graph.nodes[end].shape.channels);
        (self.slots.len() - 1, 0)
    }
}

fn unfused(what: &str) -> Error {
    Error::unsupported(format!(
        "The GPU engine has no pass for {what} in this place; the CPU engine runs any network"
    ))
}
