//! A network as a list of nodes with shapes. Every engine, the trainer, the pruner and the
//! exporters read this one list.

use serde::Serialize;

use super::architecture::{Architecture, PATCH_PX};

/// What a node computes. All windows are square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// The patch, RGB.
    Input,
    /// Cross-correlation; the sum runs channel, row, column.
    Conv {
        filters: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        bias: bool,
    },
    /// Per channel, with [`BATCH_NORM_EPSILON`].
    BatchNorm,
    Relu,
    /// Padding never wins a maximum.
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    AvgPool {
        kernel: usize,
    },
    /// First input's channels, then the second's.
    Concat,
    /// On the flattened input, in channel, row, column order.
    Linear {
        units: usize,
    },
}

/// Added to the variance before its square root (PyTorch's default).
pub const BATCH_NORM_EPSILON: f32 = 1e-5;

/// Channels × height × width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Shape {
    /// Values in a tensor of this shape.
    #[must_use]
    pub fn count(&self) -> usize {
        self.channels * self.height * self.width
    }
}

/// One step of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Prefix of its arrays (PyTorch's names), or a word for nodes without.
    pub name: String,
    #[serde(flatten)]
    pub op: Op,
    /// Nodes it reads, by index; always earlier ones.
    pub inputs: Vec<usize>,
    /// Output shape for one patch.
    pub shape: Shape,
}

/// What an array is for: decides its initial value, its optimiser treatment and whether it counts
/// as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Weight,
    Bias,
    NormScale,
    NormShift,
    RunningMean,
    RunningVariance,
}

impl Role {
    /// Learned by gradients, as opposed to tracked.
    #[must_use]
    pub fn is_parameter(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }
}

/// Name, shape and purpose of an array that a network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArraySpec {
    pub name: String,
    pub shape: Vec<usize>,
    pub role: Role,
    /// Inputs that one output sums over; scales random initial values.
    pub fan_in: usize,
}

/// The nodes of a network, inputs before users; the last one gives the logits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Lays out `architecture` for 55×55 patches.
    #[must_use]
    pub fn new(architecture: &Architecture) -> Self {
        let mut b = Builder::new();
        match architecture {
            Architecture::Dcnn { filters, hidden, classes } => {
                for (i, (&filters, kernel)) in filters.iter().zip([4, 5, 6]).enumerate() {
                    b.conv(&format!("conv{}", i + 1), filters, kernel, 1, 0, true);
                    b.relu();
                    b.push("pool", Op::MaxPool { kernel: 2, stride: 2, padding: 0 });
                }
                b.push("fc1", Op::Linear { units: *hidden });
                b.relu();
                b.push("fc2", Op::Linear { units: *classes });
            }
            Architecture::Dccn { stem, blocks, classes } => {
                b.conv("features.conv0", *stem, 7, 2, 3, false);
                b.norm_relu("features.norm0");
                b.push("pool0", Op::MaxPool { kernel: 3, stride: 2, padding: 1 });
                for (n, block) in blocks.iter().enumerate() {
                    for (i, &[bottleneck, growth]) in block.layers.iter().enumerate() {
                        let name = format!("features.denseblock{}.denselayer{}", n + 1, i + 1);
                        b.dense_layer(&name, bottleneck, growth);
                    }
                    let name = format!("features.transition{}", n + 1);
                    b.norm_relu(&format!("{name}.norm"));
                    b.conv(&format!("{name}.conv"), block.transition, 1, 1, 0, false);
                    b.push(&format!("{name}.pool"), Op::AvgPool { kernel: 2 });
                }
                b.push("classifier", Op::Linear { units: *classes });
            }
        }
        Self { nodes: b.nodes }
    }

    /// Shape that the (first) input of `node` has.
    #[must_use]
    pub fn input_shape(&self, node: &Node) -> Shape {
        node.inputs.first().map_or(node.shape, |&i| self.nodes[i].shape)
    }

    /// Arrays that `node` needs, in file order.
    #[must_use]
    pub fn arrays_of(&self, node: &Node) -> Vec<ArraySpec> {
        let input = self.input_shape(node);
        let spec = |suffix: &str, shape: Vec<usize>, role, fan_in| ArraySpec {
            name: format!("{}.{suffix}", node.name),
            shape,
            role,
            fan_in,
        };
        match node.op {
            Op::Conv { filters, kernel, bias, .. } => {
                let fan_in = input.channels * kernel * kernel;
                let weight = spec(
                    "weight",
                    vec![filters, input.channels, kernel, kernel],
                    Role::Weight,
                    fan_in,
                );
                let bias = bias.then(|| spec("bias", vec![filters], Role::Bias, fan_in));
                std::iter::once(weight).chain(bias).collect()
            }
            Op::Linear { units } => {
                let fan_in = input.count();
                vec![
                    spec("weight", vec![units, fan_in], Role::Weight, fan_in),
                    spec("bias", vec![units], Role::Bias, fan_in),
                ]
            }
            Op::BatchNorm => [
                ("weight", Role::NormScale),
                ("bias", Role::NormShift),
                ("running_mean", Role::RunningMean),
                ("running_var", Role::RunningVariance),
            ]
            .map(|(suffix, role)| spec(suffix, vec![input.channels], role, 1))
            .to_vec(),
            _ => Vec::new(),
        }
    }

    /// Every array of the network.
    #[must_use]
    pub fn arrays(&self) -> Vec<ArraySpec> {
        self.nodes.iter().flat_map(|n| self.arrays_of(n)).collect()
    }

    /// Whether pruning may narrow `node`: convolutions and hidden layers, not the layer that gives
    /// the logits.
    #[must_use]
    pub fn is_prunable(&self, node: &Node) -> bool {
        match node.op {
            Op::Conv { .. } => true,
            Op::Linear { .. } => self.nodes.last().is_some_and(|last| last.name != node.name),
            _ => false,
        }
    }

    /// Learned values, as the paper counts them (batch normalisation's running statistics left
    /// out).
    #[must_use]
    pub fn parameters(&self) -> usize {
        let size = |a: &ArraySpec| a.shape.iter().product::<usize>();
        self.arrays().iter().filter(|a| a.role.is_parameter()).map(size).sum()
    }

    /// Values stored in a file: parameters and running statistics.
    #[must_use]
    pub fn stored_values(&self) -> usize {
        self.arrays().iter().map(|a| a.shape.iter().product::<usize>()).sum()
    }

    /// Multiply-accumulates of convolutions and fully connected layers for one patch.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(|n| self.macs_of(n)).sum()
    }

    /// [`Self::macs`] of one node.
    #[must_use]
    pub fn macs_of(&self, node: &Node) -> u64 {
        let input = self.input_shape(node);
        match node.op {
            Op::Conv { kernel, .. } => {
                (node.shape.count() * input.channels * kernel * kernel) as u64
            }
            Op::Linear { units } => (units * input.count()) as u64,
            _ => 0,
        }
    }

    /// Side, in input pixels, of the window that one output value of `index` sees (borders aside).
    #[must_use]
    pub fn receptive_field(&self, index: usize) -> usize {
        let mut fields: Vec<(usize, usize)> = Vec::with_capacity(index + 1); // (field, step between neighbours)
        for node in &self.nodes[..=index] {
            let (field, step) = node.inputs.iter().map(|&i| fields[i]).max().unwrap_or((1, 1));
            fields.push(match node.op {
                Op::Conv { kernel, stride, .. } | Op::MaxPool { kernel, stride, .. } => {
                    (field + (kernel - 1) * step, step * stride)
                }
                Op::AvgPool { kernel } => (field + (kernel - 1) * step, step * kernel),
                Op::Linear { .. } => {
                    let side = self.input_shape(node).height;
                    (field + (side - 1) * step, step)
                }
                _ => (field, step),
            });
        }
        fields[index].0
    }
}

struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    fn new() -> Self {
        let shape = Shape { channels: 3, height: PATCH_PX, width: PATCH_PX };
        Self { nodes: vec![Node { name: "input".into(), op: Op::Input, inputs: vec![], shape }] }
    }

    fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    fn push(&mut self, name: &str, op: Op) {
        self.push_on(name, op, vec![self.last()]);
    }

    fn push_on(&mut self, name: &str, op: Op, inputs: Vec<usize>) {
        let from = self.nodes[inputs[0]].shape;
        let slide = |side: usize, kernel: usize, stride: usize, padding: usize| {
            (side + 2 * padding).saturating_sub(kernel) / stride + 1
        };
        let shape = match op {
            Op::Conv { filters, kernel, stride, padding, .. } => Shape {
                channels: filters,
                height: slide(from.height, kernel, stride, padding),
                width: slide(from.width, kernel, stride, padding),
            },
            Op::MaxPool { kernel, stride, padding } => Shape {
                channels: from.channels,
                height: slide(from.height, kernel, stride, padding),
                width: slide(from.width, kernel, stride, padding),
            },
            Op::AvgPool { kernel } => Shape {
                channels: from.channels,
                height: from.height / kernel,
                width: from.width / kernel,
            },
            Op::Concat => Shape {
                channels: inputs.iter().map(|&i| self.nodes[i].shape.channels).sum(),
                ..from
            },
            Op::Linear { units } => Shape { channels: units, height: 1, width: 1 },
            Op::Input | Op::BatchNorm | Op::Relu => from,
        };
        self.nodes.push(Node { name: name.into(), op, inputs, shape });
    }

    fn conv(
        &mut self,
        name: &str,
        filters: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        bias: bool,
    ) {
        self.push(name, Op::Conv { filters, kernel, stride, padding, bias });
    }

    fn relu(&mut self) {
        self.push("relu", Op::Relu);
    }

    fn norm_relu(&mut self, name: &str) {
        self.push(name, Op::BatchNorm);
        self.relu();
    }

    fn dense_layer(&mut self, name: &str, bottleneck: usize, growth: usize) {
        let before = self.last();
        self.norm_relu(&format!("{name}.norm1"));
        self.conv(&format!("{name}.conv1"), bottleneck, 1, 1, 0, false);
        self.norm_relu(&format!("{name}.norm2"));
        self.conv(&format!("{name}.conv2"), growth, 3, 1, 1, false);
        self.push_on("concat", Op::Concat, vec![before, self.last()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::{dccn, dcnn};

    fn kept(n: usize, tenths: usize) -> usize {
        n - n * tenths / 10
    }

    /// The decoded table of the paper: parameters at δ = 0, 0.1 … 0.9.
    const DCNN: [usize; 10] =
        [916_959, 810_385, 706_142, 606_453, 509_345, 416_541, 326_568, 240_649, 157_811, 78_777];
    const DCCN: [usize; 10] = [
        4_794_754, 3_936_757, 3_132_549, 2_422_197, 1_801_096, 1_214_658, 803_765, 465_525,
        219_541, 64_408,
    ];

    #[test]
    fn all_twenty_parameter_counts_of_the_paper_come_out() {
        for d in 0..10 {
            let k = |n| kept(n, d);
            assert_eq!(
                Graph::new(&dcnn([k(25), k(50), k(80)], 1024, 2)).parameters(),
                DCNN[d],
                "dcnn {d}"
            );
            let net = dccn(k(64), k(128), k(32), [k(128), k(256), k(512)], 2);
            assert_eq!(Graph::new(&net).parameters(), DCCN[d], "dccn {d}");
        }
    }

    #[test]
    fn spatial_sizes_follow_the_paper() {
        let heights = |a: &Architecture| {
            let mut h: Vec<usize> = Graph::new(a).nodes.iter().map(|n| n.shape.height).collect();
            h.dedup();
            h
        };
        assert_eq!(heights(&Architecture::paper_dcnn()), [55, 52, 26, 22, 11, 6, 3, 1]);
        assert_eq!(heights(&Architecture::paper_dccn()), [55, 28, 14, 7, 3, 1]);
    }

    #[test]
    fn the_dcnn_sees_55_pixels_less_what_pooling_drops_and_costs_24_million_macs() {
        let graph = Graph::new(&Architecture::paper_dcnn());
        let sees = graph.receptive_field(graph.nodes.len() - 1);
        assert_eq!(sees, 55);
        // conv1 3.2 M + conv2 15.1 M + conv3 5.2 M + fc1 0.74 M + fc2 2 k
        assert_eq!(graph.macs(), 3_244_800 + 15_125_000 + 5_184_000 + 737_280 + 2_048);
    }
}
