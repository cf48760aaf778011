//! A network as a list of nodes with shapes. Every engine, the trainer, the pruner and the
//! exporters read this one list.

use serde::Serialize;

use super::architecture::{Architecture, PATCH_PX};

/// What a node computes. All kernels and pooling windows are square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// The RGB patch.
    Input,
    /// Cross-correlation with `filters` kernels, zeros as padding. Sums run over channel, row,
    /// column.
    Conv {
        /// Output channels.
        filters: usize,
        /// Side of the kernel.
        kernel: usize,
        /// Distance of neighbouring windows.
        stride: usize,
        /// Zeros added on each side.
        padding: usize,
        /// Whether each filter has a bias.
        bias: bool,
    },
    /// Batch normalisation of each channel by its running statistics, with
    /// [`BATCH_NORM_EPSILON`].
    BatchNorm,
    /// max(x, 0).
    Relu,
    /// Maximum of each window; padding counts as −∞.
    MaxPool {
        /// Side of the window.
        kernel: usize,
        /// Distance of neighbouring windows.
        stride: usize,
        /// Rows and columns added on each side.
        padding: usize,
    },
    /// Mean of each window, without overlap.
    AvgPool {
        /// Side and distance of the windows.
        kernel: usize,
    },
    /// The channels of the first input, then those of the second.
    Concat,
    /// Fully connected, on the input flattened in the order channel, row, column.
    Linear {
        /// Outputs.
        units: usize,
    },
}

/// Added to the variance before its square root (PyTorch's default).
pub const BATCH_NORM_EPSILON: f32 = 1e-5;

/// Shape of a tensor: channels × height × width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Feature maps, or units of a fully connected layer.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Number of values.
    #[must_use]
    pub fn count(&self) -> usize {
        self.channels * self.height * self.width
    }
}

/// One operation of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Prefix of the names of its arrays (PyTorch's names); for nodes without arrays, the kind.
    pub name: String,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
    /// Indices of the nodes it reads, all of them earlier ones.
    pub inputs: Vec<usize>,
    /// Output shape for one patch.
    pub shape: Shape,
}

/// Purpose of an array. It decides the initial value, the optimiser's treatment and whether the
/// array counts as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Kernels of a convolution or the matrix of a fully connected layer.
    Weight,
    /// One value per filter or unit.
    Bias,
    /// γ of batch normalisation.
    NormScale,
    /// β of batch normalisation.
    NormShift,
    /// Mean of each channel over training.
    RunningMean,
    /// Variance of each channel over training.
    RunningVariance,
}

impl Role {
    /// Whether gradients change it; running statistics are averages instead.
    #[must_use]
    pub fn is_parameter(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }
}

/// Name, shape and purpose of an array that a network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArraySpec {
    /// Name of its node and a suffix, as in PyTorch: `conv1.weight`.
    pub name: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// Number of inputs that one output sums over; decides the range of random initial values.
    pub fan_in: usize,
}

impl ArraySpec {
    /// Number of values.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The filter or unit whose values a channel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelSource {
    /// Index of a convolution, a fully connected layer or the input.
    pub node: usize,
    /// Index of the filter or unit in it.
    pub filter: usize,
}

/// The nodes of a network, each after the nodes it reads; the output of the last one is the logits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The first node is the input.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Lays out `architecture` for 55×55 patches.
    #[must_use]
    pub fn new(architecture: &Architecture) -> Self {
        let mut builder = Builder::new();
        match architecture {
            Architecture::Dcnn { filters, hidden, classes } => {
                for (number, (&filters, kernel)) in (1..).zip(filters.iter().zip([4, 5, 6])) {
                    let conv = Op::Conv { filters, kernel, stride: 1, padding: 0, bias: true };
                    builder.push(&format!("conv{number}"), conv);
                    builder.push("relu", Op::Relu);
                    builder.push("pool", Op::MaxPool { kernel: 2, stride: 2, padding: 0 });
                }
                builder.push("fc1", Op::Linear { units: *hidden });
                builder.push("relu", Op::Relu);
                builder.push("fc2", Op::Linear { units: *classes });
            }
            Architecture::Dccn { stem, blocks, classes } => {
                let conv =
                    Op::Conv { filters: *stem, kernel: 7, stride: 2, padding: 3, bias: false };
                builder.push("features.conv0", conv);
                builder.norm_relu("features.norm0");
                builder.push("pool0", Op::MaxPool { kernel: 3, stride: 2, padding: 1 });
                for (number, block) in (1..).zip(blocks) {
                    for (layer, &[bottleneck, growth]) in (1..).zip(&block.layers) {
                        let name = format!("features.denseblock{number}.denselayer{layer}");
                        builder.dense_layer(&name, bottleneck, growth);
                    }
                    let name = format!("features.transition{number}");
                    builder.norm_relu(&format!("{name}.norm"));
                    builder.push(&format!("{name}.conv"), conv_1x1(block.transition));
                    builder.push(&format!("{name}.pool"), Op::AvgPool { kernel: 2 });
                }
                builder.push("classifier", Op::Linear { units: *classes });
            }
        }
        Self { nodes: builder.nodes }
    }

    /// Shape of the (first) input of `node`.
    #[must_use]
    pub fn input_shape(&self, node: &Node) -> Shape {
        node.inputs.first().map_or(node.shape, |&i| self.nodes[i].shape)
    }

    /// Arrays that `node` needs, in file order.
    #[must_use]
    pub fn arrays_of(&self, node: &Node) -> Vec<ArraySpec> {
        let input = self.input_shape(node);
        let mut specs = Vec::new();
        let mut add = |suffix: &str, shape: &[usize], role, fan_in| {
            let name = format!("{}.{suffix}", node.name);
            specs.push(ArraySpec { name, shape: shape.to_vec(), role, fan_in });
        };
        match node.op {
            Op::Conv { filters, kernel, bias, .. } => {
                let fan_in = input.channels * kernel * kernel;
                add("weight", &[filters, input.channels, kernel, kernel], Role::Weight, fan_in);
                if bias {
                    add("bias", &[filters], Role::Bias, fan_in);
                }
            }
            Op::Linear { units } => {
                let fan_in = input.count();
                add("weight", &[units, fan_in], Role::Weight, fan_in);
                add("bias", &[units], Role::Bias, fan_in);
            }
            Op::BatchNorm => {
                add("weight", &[input.channels], Role::NormScale, 1);
                add("bias", &[input.channels], Role::NormShift, 1);
                add("running_mean", &[input.channels], Role::RunningMean, 1);
                add("running_var", &[input.channels], Role::RunningVariance, 1);
            }
            Op::Input | Op::Relu | Op::MaxPool { .. } | Op::AvgPool { .. } | Op::Concat => {}
        }
        specs
    }

    /// Every array of the network.
    #[must_use]
    pub fn arrays(&self) -> Vec<ArraySpec> {
        self.nodes.iter().flat_map(|n| self.arrays_of(n)).collect()
    }

    /// Whether pruning may narrow `node`: convolutions and hidden layers, but not the last layer,
    /// whose outputs are the logits.
    #[must_use]
    pub fn is_prunable(&self, node: &Node) -> bool {
        match node.op {
            Op::Conv { .. } => true,
            Op::Linear { .. } => self.nodes.last().is_some_and(|last| last.name != node.name),
            _ => false,
        }
    }

    /// By node and channel of its output, the filter that the channel comes from: normalisations,
    /// rectifiers and poolings keep channels apart, concatenations put them behind each other.
    #[must_use]
    pub fn channel_sources(&self) -> Vec<Vec<ChannelSource>> {
        let mut sources: Vec<Vec<ChannelSource>> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let mut channels = Vec::with_capacity(node.shape.channels);
            match node.op {
                Op::Input | Op::Conv { .. } | Op::Linear { .. } => {
                    for filter in 0..node.shape.channels {
                        channels.push(ChannelSource { node: index, filter });
                    }
                }
                Op::BatchNorm | Op::Relu | Op::MaxPool { .. } | Op::AvgPool { .. } | Op::Concat => {
                    for &input in &node.inputs {
                        channels.extend_from_slice(&sources[input]);
                    }
                }
            }
            sources.push(channels);
        }
        sources
    }

    /// Number of trained values, as the paper counts them: without the running statistics of batch
    /// normalisation.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let arrays = self.arrays();
        arrays.iter().filter(|a| a.role.is_parameter()).map(ArraySpec::count).sum()
    }

    /// Number of values in a file: parameters and running statistics.
    #[must_use]
    pub fn stored_values(&self) -> usize {
        self.arrays().iter().map(ArraySpec::count).sum()
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

    /// Side, in input pixels, of the square that one output value of node `index` depends on
    /// (padding ignored).
    #[must_use]
    pub fn receptive_field(&self, index: usize) -> usize {
        let mut fields: Vec<ReceptiveField> = Vec::with_capacity(index + 1);
        for node in &self.nodes[..=index] {
            let input = node.inputs.iter().map(|&i| fields[i]).max();
            let input = input.unwrap_or(ReceptiveField { side: 1, step: 1 });
            // A window of `kernel` values adds as many steps, less one, to the side.
            let (kernel, stride) = match node.op {
                Op::Conv { kernel, stride, .. } | Op::MaxPool { kernel, stride, .. } => {
                    (kernel, stride)
                }
                Op::AvgPool { kernel } => (kernel, kernel),
                Op::Linear { .. } => (self.input_shape(node).height, 1),
                Op::Input | Op::BatchNorm | Op::Relu | Op::Concat => (1, 1),
            };
            let side = input.side + (kernel - 1) * input.step;
            fields.push(ReceptiveField { side, step: input.step * stride });
        }
        fields[index].side
    }
}

/// Square of input pixels that a value depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ReceptiveField {
    /// Input pixels.
    side: usize,
    /// Input pixels between the squares of neighbouring values.
    step: usize,
}

/// A 1×1 convolution without bias.
fn conv_1x1(filters: usize) -> Op {
    Op::Conv { filters, kernel: 1, stride: 1, padding: 0, bias: false }
}

/// Appends nodes and works out their shapes.
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

    /// A node that reads the last one.
    fn push(&mut self, name: &str, op: Op) {
        self.push_reading(name, op, vec![self.last()]);
    }

    fn push_reading(&mut self, name: &str, op: Op, inputs: Vec<usize>) {
        let input = self.nodes[inputs[0]].shape;
        let shape = match op {
            Op::Conv { filters, kernel, stride, padding, .. } => Shape {
                channels: filters,
                height: window_count(input.height, kernel, stride, padding),
                width: window_count(input.width, kernel, stride, padding),
            },
            Op::MaxPool { kernel, stride, padding } => Shape {
                channels: input.channels,
                height: window_count(input.height, kernel, stride, padding),
                width: window_count(input.width, kernel, stride, padding),
            },
            Op::AvgPool { kernel } => Shape {
                channels: input.channels,
                height: input.height / kernel,
                width: input.width / kernel,
            },
            Op::Concat => Shape {
                channels: inputs.iter().map(|&i| self.nodes[i].shape.channels).sum(),
                ..input
            },
            Op::Linear { units } => Shape { channels: units, height: 1, width: 1 },
            Op::Input | Op::BatchNorm | Op::Relu => input,
        };
        self.nodes.push(Node { name: name.into(), op, inputs, shape });
    }

    fn norm_relu(&mut self, name: &str) {
        self.push(name, Op::BatchNorm);
        self.push("relu", Op::Relu);
    }

    /// A layer of a dense block: a 1×1 bottleneck and a 3×3 convolution, whose output is appended
    /// to the input of the layer.
    fn dense_layer(&mut self, name: &str, bottleneck: usize, growth: usize) {
        let input = self.last();
        self.norm_relu(&format!("{name}.norm1"));
        self.push(&format!("{name}.conv1"), conv_1x1(bottleneck));
        self.norm_relu(&format!("{name}.norm2"));
        let conv = Op::Conv { filters: growth, kernel: 3, stride: 1, padding: 1, bias: false };
        self.push(&format!("{name}.conv2"), conv);
        self.push_reading("concat", Op::Concat, vec![input, self.last()]);
    }
}

/// Positions of a window along one axis: ⌊(length + 2·padding − kernel) / stride⌋ + 1.
fn window_count(length: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    (length + 2 * padding).saturating_sub(kernel) / stride + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::architecture::{dccn, dcnn};

    /// Filters that remain of `filters` at a pruning ratio of `tenths` / 10.
    fn kept(filters: usize, tenths: usize) -> usize {
        filters - filters * tenths / 10
    }

    /// The paper's table: parameters at pruning ratios of 0, 0.1 … 0.9.
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
        let heights = |architecture: &Architecture| {
            let nodes = Graph::new(architecture).nodes;
            let mut heights: Vec<usize> = nodes.iter().map(|node| node.shape.height).collect();
            heights.dedup();
            heights
        };
        assert_eq!(heights(&Architecture::paper_dcnn()), [55, 52, 26, 22, 11, 6, 3, 1]);
        assert_eq!(heights(&Architecture::paper_dccn()), [55, 28, 14, 7, 3, 1]);
    }

    #[test]
    fn channels_come_from_the_filters_in_front_of_them() {
        let graph = Graph::new(&dccn(2, 3, 1, [2, 2, 2], 2));
        let sources = graph.channel_sources();
        let index = |name: &str| graph.nodes.iter().position(|n| n.name == name).expect(name);
        let names = |node: usize| {
            let name = |source: &ChannelSource| {
                format!("{} {}", graph.nodes[source.node].name, source.filter)
            };
            sources[node].iter().map(name).collect::<Vec<_>>()
        };
        // Behind the stem and one layer of the first dense block.
        let norm = index("features.denseblock1.denselayer2.norm1");
        assert_eq!(
            names(norm),
            ["features.conv0 0", "features.conv0 1", "features.denseblock1.denselayer1.conv2 0"]
        );
        for (node, channels) in graph.nodes.iter().zip(&sources) {
            assert_eq!(channels.len(), node.shape.channels, "{}", node.name);
        }
    }

    #[test]
    fn the_dcnn_has_a_receptive_field_of_55_pixels_and_24_million_macs() {
        let graph = Graph::new(&Architecture::paper_dcnn());
        assert_eq!(graph.receptive_field(graph.nodes.len() - 1), 55);
        // conv1 3.2 M + conv2 15.1 M + conv3 5.2 M + fc1 0.74 M + fc2 2 k
        assert_eq!(graph.macs(), 3_244_800 + 15_125_000 + 5_184_000 + 737_280 + 2_048);
    }
}
