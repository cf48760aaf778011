//! The dense form of a network: the outputs of all overlapping patches in one pass over an image.
//!
//! A patch network with 2×2 max pooling of stride 2 gives one output for each 55×55 patch.
//! Neighbouring patches share most of their intermediate values. The dense form computes each value
//! once: pooling moves by one pixel instead of two, and the taps of every later window lie twice as
//! far apart (dilation; "d-regularly sparse kernels" in Li, Zhao & Wang 2014, arXiv:1412.4526).
//! The result is exact only without padding, because padding puts zeros where an overlapping patch
//! has pixels.
//!
//! ```text
//! patch form   conv 4×4 → pool 2×2, stride 2 → conv 5×5             → pool 2×2, stride 2 → …
//! dense form   conv 4×4 → pool 2×2, stride 1 → conv 5×5, dilation 2 → pool 2×2, dilation 2 → …
//! ```

use super::graph::{Graph, Node, Op};
use crate::error::{Error, Result};

/// A convolution without padding, of stride 1, with bias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseConv {
    /// Prefix of its arrays: `<name>.weight`, `[filter][channel][row][column]`, and `<name>.bias`,
    /// `[filter]`. The matrix of a fully connected layer has the same order of values.
    pub name: String,
    /// Channels of its input.
    pub channels: usize,
    /// Channels of its output.
    pub filters: usize,
    /// Taps along each side of its window.
    pub kernel: usize,
    /// Pixels between neighbouring taps.
    pub dilation: usize,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl DenseConv {
    fn new(graph: &Graph, node: &Node, kernel: usize, dilation: usize) -> Self {
        Self {
            name: node.name.clone(),
            channels: graph.input_shape(node).channels,
            filters: node.shape.channels,
            kernel,
            dilation,
            relu: false,
        }
    }

    /// Name of the array of weights.
    #[must_use]
    pub fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// Name of the array of biases.
    #[must_use]
    pub fn bias_name(&self) -> String {
        format!("{}.bias", self.name)
    }

    /// Pixels of input beyond the outputs along each axis.
    #[must_use]
    pub fn context_px(&self) -> usize {
        (self.kernel - 1) * self.dilation
    }
}

/// One step before the fully connected layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenseStep {
    /// A convolution.
    Conv(DenseConv),
    /// Maximum of 2×2 values that lie `dilation` pixels apart, at every pixel.
    MaxPool {
        /// Channels of input and output.
        channels: usize,
        /// Distance of the two values along each axis, pixels.
        dilation: usize,
    },
}

impl DenseStep {
    /// Pixels of input beyond the outputs along each axis.
    #[must_use]
    pub fn context_px(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.context_px(),
            Self::MaxPool { dilation, .. } => *dilation,
        }
    }
}

/// The dense form of a network with two fully connected layers. Every dense engine and the ONNX
/// exporter read this one plan.
///
/// ```
/// use prunella::model::{Architecture, DensePlan, Graph};
///
/// let plan = DensePlan::new(&Graph::new(&Architecture::paper_dcnn()))?;
/// assert_eq!(plan.context_px(), 54);
/// assert_eq!((plan.hidden.kernel, plan.hidden.dilation), (3, 8));
/// # Ok::<(), prunella::error::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DensePlan {
    /// Convolutions and poolings, in order.
    pub steps: Vec<DenseStep>,
    /// First fully connected layer: a convolution over what pooling leaves of the patch.
    pub hidden: DenseConv,
    /// Last fully connected layer, a 1×1 convolution; its outputs are the logits.
    pub output: DenseConv,
}

impl DensePlan {
    /// Plans the dense form of `graph`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network that pads inside its patch, or whose nodes are not
    /// convolutions and 2×2 max pooling followed by two fully connected layers.
    pub fn new(graph: &Graph) -> Result<Self> {
        let mut steps = Vec::new();
        let mut linear_layers = 0;
        let mut dilation = 1;
        for node in &graph.nodes {
            match node.op {
                Op::Input => {}
                Op::Conv { kernel, stride: 1, padding: 0, .. } if linear_layers == 0 => {
                    steps.push(DenseStep::Conv(DenseConv::new(graph, node, kernel, dilation)));
                }
                Op::Linear { .. } => {
                    let kernel = graph.input_shape(node).height;
                    steps.push(DenseStep::Conv(DenseConv::new(graph, node, kernel, dilation)));
                    linear_layers += 1;
                }
                Op::MaxPool { kernel: 2, stride: 2, padding: 0 } => {
                    steps.push(DenseStep::MaxPool { channels: node.shape.channels, dilation });
                    dilation *= 2;
                }
                Op::Relu => match steps.last_mut() {
                    Some(DenseStep::Conv(conv)) => conv.relu = true,
                    _ => return Err(no_dense_form()),
                },
                _ => return Err(no_dense_form()),
            }
        }
        let output = steps.pop();
        let hidden = steps.pop();
        match (hidden, output) {
            (Some(DenseStep::Conv(hidden)), Some(DenseStep::Conv(output)))
                if linear_layers == 2 =>
            {
                Ok(Self { steps, hidden, output })
            }
            _ => Err(Error::unsupported("The dense form needs two fully connected layers")),
        }
    }

    /// Pixels of input beyond the outputs along each axis: the patch's side less one.
    #[must_use]
    pub fn context_px(&self) -> usize {
        let mut context_px = self.hidden.context_px() + self.output.context_px();
        for step in &self.steps {
            context_px += step.context_px();
        }
        context_px
    }

    /// Logits of each pixel.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.output.filters
    }
}

fn no_dense_form() -> Error {
    Error::unsupported("This network has no exact dense form; only the DCNN has")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, PATCH_PX, dccn, dcnn};

    fn plan(architecture: &Architecture) -> Result<DensePlan> {
        DensePlan::new(&Graph::new(architecture))
    }

    #[test]
    fn each_pooling_doubles_the_dilation_of_what_follows() {
        let plan = plan(&dcnn([3, 5, 8], 20, 2)).expect("plan");
        let conv = |name: &str, channels, filters, kernel, dilation, relu| DenseConv {
            name: name.to_owned(),
            channels,
            filters,
            kernel,
            dilation,
            relu,
        };
        let steps = [
            DenseStep::Conv(conv("conv1", 3, 3, 4, 1, true)),
            DenseStep::MaxPool { channels: 3, dilation: 1 },
            DenseStep::Conv(conv("conv2", 3, 5, 5, 2, true)),
            DenseStep::MaxPool { channels: 5, dilation: 2 },
            DenseStep::Conv(conv("conv3", 5, 8, 6, 4, true)),
            DenseStep::MaxPool { channels: 8, dilation: 4 },
        ];
        assert_eq!(plan.steps, steps);
        assert_eq!(plan.hidden, conv("fc1", 8, 20, 3, 8, true));
        assert_eq!(plan.output, conv("fc2", 20, 2, 1, 8, false));
        assert_eq!(plan.classes(), 2);
        assert_eq!(plan.context_px(), PATCH_PX - 1);
    }

    #[test]
    fn a_network_with_padding_is_refused() {
        let refused = plan(&dccn(2, 2, 2, [2, 2, 2], 2)).expect_err("padding");
        assert!(matches!(refused, Error::Unsupported { .. }));
        assert!(refused.to_string().contains("no exact dense form"), "{refused}");
    }

    #[test]
    fn other_orders_of_nodes_are_refused() {
        let graph = Graph::new(&dcnn([3, 5, 8], 20, 2));
        let mut without_output = graph.clone();
        without_output.nodes.pop();
        assert!(DensePlan::new(&without_output).is_err(), "one fully connected layer");
        let mut relu_after_pool = graph;
        relu_after_pool.nodes.swap(2, 3);
        assert!(DensePlan::new(&relu_after_pool).is_err(), "a ReLU behind pooling");
    }
}
