//! ONNX, opset 17 (<https://onnx.ai/onnx/operators/>).
//!
//! ```text
//! patch form   patches  N × 3 × 55 × 55  →  logits         N × classes
//! dense form   image    N × 3 × H × W    →  logits         N × classes × (H − 54) × (W − 54)
//! tile form    image    N × 3 × H × W    →  probabilities  N × classes × H × W
//! ```
//!
//! Inputs are values / 255. The image of dense and tile form includes 27 pixels of context around
//! it; only a network without padding inside its patch has these forms ([`DensePlan`]).
//!
//! Dilated pooling is not written as `MaxPool`: OpenCV's DNN up to 4.13 ignores its `dilations`
//! without a word, so that the outputs are wrong. Two pairs of `Slice` with a `Max` of two inputs
//! each give the same values everywhere (`Max` of four inputs fails in OpenCV 4.11).

use prost::Message as _;

use super::onnx_messages::{
    Attribute, Entry, FLOAT, GraphProto, INT64, ModelProto, NodeProto, OperatorSet, TensorProto,
    ValueInfo,
};
use crate::error::{Error, Result};
use crate::model::{
    BATCH_NORM_EPSILON, CENTRE_PX, DenseConv, DensePlan, DenseStep, Head, Model, Node, Op,
};

const IR_VERSION: i64 = 8;
pub(super) const OPSET: i64 = 17;

/// Which form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnnxForm {
    /// One patch of 55 × 55 pixels to the logits of its centre.
    Patch,
    /// A whole image with its context to the logits of each pixel.
    Dense,
    /// A tile with its context to the probabilities of all classes at each pixel, of the tile's
    /// size, as programs expect that cut images into overlapping tiles. The outer 27 pixels are 0.
    Tile,
}

/// The model as the bytes of an `.onnx` file, its card in `metadata_props` under "prunella".
///
/// # Errors
/// [`Error::Unsupported`] for the dense or tile form of a network that pads inside its patch.
pub fn to_onnx(model: &Model, form: OnnxForm) -> Result<Vec<u8>> {
    let classes = model.card().architecture.classes().to_string();
    let graph = match form {
        OnnxForm::Patch => GraphProto {
            node: patch_nodes(model),
            name: model.card().architecture.family().to_string(),
            initializer: patch_arrays(model),
            input: vec![ValueInfo::float("patches", &["N", "3", "55", "55"])],
            output: vec![ValueInfo::float("logits", &["N", &classes])],
        },
        OnnxForm::Dense => {
            let chain = dense_chain(model, "logits")?;
            chain.into_graph(model, ValueInfo::float("logits", &["N", &classes, "H-54", "W-54"]))
        }
        OnnxForm::Tile => {
            let mut chain = dense_chain(model, "dense_logits")?;
            chain.push_probabilities(model.card().head, "probabilities");
            chain.into_graph(model, ValueInfo::float("probabilities", &["N", &classes, "H", "W"]))
        }
    };
    let card = serde_json::to_string(model.card())
        .map_err(|e| Error::malformed("The card cannot be written").caused_by(e))?;
    let proto = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "prunella".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: format!("RGB / 255 in, {} of {} out", form.output(), class_names(model)),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: vec![Entry { key: "prunella".into(), value: card }],
    };
    Ok(proto.encode_to_vec())
}

impl OnnxForm {
    fn output(self) -> &'static str {
        match self {
            Self::Patch | Self::Dense => "logits",
            Self::Tile => "probabilities",
        }
    }
}

/// In the order of the outputs.
fn class_names(model: &Model) -> String {
    let names: Vec<&str> = model.card().classes.iter().map(|class| class.name.as_str()).collect();
    names.join(", ")
}

/// A square window that slides over planes.
#[derive(Clone, Copy)]
struct Window {
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Window {
    fn attributes(self) -> Vec<Attribute> {
        let mut attributes = self.attributes_without_dilation();
        attributes.push(Attribute::ints("dilations", &[self.dilation, self.dilation]));
        attributes
    }

    /// For pooling, where not every reader knows the attribute.
    fn attributes_without_dilation(self) -> Vec<Attribute> {
        vec![
            Attribute::ints("kernel_shape", &[self.kernel, self.kernel]),
            Attribute::ints("strides", &[self.stride, self.stride]),
            Attribute::ints("pads", &[self.padding; 4]),
        ]
    }
}

/// The nodes of the graph, one for one; a fully connected layer flattens its input first.
fn patch_nodes(model: &Model) -> Vec<NodeProto> {
    let graph = model.graph();
    let last = graph.nodes.len() - 1;
    let mut nodes = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<String> =
            node.inputs.iter().map(|&input| value_name(input, "patches", last)).collect();
        let output = value_name(i, "patches", last);
        match node.op {
            Op::Input => {}
            Op::Relu => nodes.push(node_proto(i, "Relu", inputs, output, vec![])),
            Op::Concat => {
                let attributes = vec![Attribute::int("axis", 1)];
                nodes.push(node_proto(i, "Concat", inputs, output, attributes));
            }
            Op::BatchNorm => {
                let arrays = ["weight", "bias", "running_mean", "running_var"];
                let inputs = with_arrays(inputs, node, &arrays);
                let attributes = vec![Attribute::float("epsilon", BATCH_NORM_EPSILON)];
                nodes.push(node_proto(i, "BatchNormalization", inputs, output, attributes));
            }
            Op::Conv { kernel, stride, padding, bias, .. } => {
                let arrays: &[&str] = if bias { &["weight", "bias"] } else { &["weight"] };
                let inputs = with_arrays(inputs, node, arrays);
                let window = Window { kernel, stride, padding, dilation: 1 };
                nodes.push(node_proto(i, "Conv", inputs, output, window.attributes()));
            }
            Op::MaxPool { kernel, stride, padding } => {
                let window = Window { kernel, stride, padding, dilation: 1 };
                let attributes = window.attributes_without_dilation();
                nodes.push(node_proto(i, "MaxPool", inputs, output, attributes));
            }
            Op::AvgPool { kernel } => {
                let attributes = vec![
                    Attribute::ints("kernel_shape", &[kernel, kernel]),
                    Attribute::ints("strides", &[kernel, kernel]),
                ];
                nodes.push(node_proto(i, "AveragePool", inputs, output, attributes));
            }
            Op::Linear { .. } => {
                let flat = format!("flat{i}");
                nodes.push(NodeProto {
                    input: inputs,
                    output: vec![flat.clone()],
                    name: flat.clone(),
                    op_type: "Flatten".into(),
                    attribute: vec![Attribute::int("axis", 1)],
                });
                let inputs = with_arrays(vec![flat], node, &["weight", "bias"]);
                let attributes = vec![Attribute::int("transB", 1)];
                nodes.push(node_proto(i, "Gemm", inputs, output, attributes));
            }
        }
    }
    nodes
}

/// A node that writes value `index`.
fn node_proto(
    index: usize,
    op: &str,
    input: Vec<String>,
    output: String,
    attribute: Vec<Attribute>,
) -> NodeProto {
    NodeProto {
        input,
        output: vec![output],
        name: format!("n{index}"),
        op_type: op.into(),
        attribute,
    }
}

/// Value 0 is the input, value `last` the logits.
fn value_name(index: usize, input: &str, last: usize) -> String {
    if index == 0 {
        input.into()
    } else if index == last {
        "logits".into()
    } else {
        format!("v{index}")
    }
}

fn with_arrays(mut inputs: Vec<String>, node: &Node, suffixes: &[&str]) -> Vec<String> {
    for suffix in suffixes {
        inputs.push(format!("{}.{suffix}", node.name));
    }
    inputs
}

/// Every array of the graph in its own shape.
fn patch_arrays(model: &Model) -> Vec<TensorProto> {
    let mut tensors = Vec::new();
    for spec in model.graph().arrays() {
        tensors.push(tensor(model, &spec.name, &spec.shape));
    }
    tensors
}

/// The dense form; its last value is named `output`.
fn dense_chain(model: &Model, output: &str) -> Result<Chain> {
    let plan = DensePlan::new(model.graph()).map_err(|_| no_dense_form())?;
    let mut chain = Chain::new("image", dense_arrays(model, &plan));
    for step in &plan.steps {
        match step {
            DenseStep::Conv(conv) => chain.push_conv(conv),
            DenseStep::MaxPool { dilation, .. } => chain.push_max_pool(*dilation),
        }
    }
    chain.push_conv(&plan.hidden);
    chain.push_conv(&plan.output);
    chain.name_last(output);
    Ok(chain)
}

/// Axes of an N × C × H × W tensor.
const ROWS: i64 = 2;
const COLUMNS: i64 = 3;

/// Nodes of which each reads the value before it, with their arrays.
struct Chain {
    nodes: Vec<NodeProto>,
    arrays: Vec<TensorProto>,
    /// Name of the last value.
    value: String,
}

impl Chain {
    fn new(input: &str, arrays: Vec<TensorProto>) -> Self {
        Self { nodes: Vec::new(), arrays, value: input.to_owned() }
    }

    /// Appends an operator that reads the last value and `others`.
    fn push(&mut self, op: &str, others: Vec<String>, attributes: Vec<Attribute>) {
        let mut inputs = vec![self.value.clone()];
        inputs.extend(others);
        self.value = self.push_node(op, inputs, attributes);
    }

    /// Appends a node and returns the name of its output.
    fn push_node(&mut self, op: &str, inputs: Vec<String>, attributes: Vec<Attribute>) -> String {
        let index = self.nodes.len() + 1;
        let output = format!("v{index}");
        self.nodes.push(node_proto(index, op, inputs, output.clone(), attributes));
        output
    }

    fn push_conv(&mut self, conv: &DenseConv) {
        let window = Window { kernel: conv.kernel, stride: 1, padding: 0, dilation: conv.dilation };
        self.push("Conv", vec![conv.weight_name(), conv.bias_name()], window.attributes());
        if conv.relu {
            self.push("Relu", vec![], vec![]);
        }
    }

    /// Maximum of 2 × 2 values that lie `dilation` pixels apart, at every pixel.
    fn push_max_pool(&mut self, dilation: usize) {
        if dilation == 1 {
            let window = Window { kernel: 2, stride: 1, padding: 0, dilation };
            self.push("MaxPool", vec![], window.attributes_without_dilation());
            return;
        }
        let distance = dilation.cast_signed() as i64;
        self.push_max_along(COLUMNS, distance);
        self.push_max_along(ROWS, distance);
    }

    /// Maximum of each value and the one `distance` further along `axis`.
    fn push_max_along(&mut self, axis: i64, distance: i64) {
        let near = self.push_slice(0, -distance, axis);
        let far = self.push_slice(distance, i64::MAX, axis);
        self.value = self.push_node("Max", vec![near, far], vec![]);
    }

    /// The part of the last value from `start` up to `end` along `axis`; a negative end counts
    /// from behind. The last value stays.
    fn push_slice(&mut self, start: i64, end: i64, axis: i64) -> String {
        let mut inputs = vec![self.value.clone()];
        for number in [start, end, axis] {
            inputs.push(self.integer(number));
        }
        self.push_node("Slice", inputs, vec![])
    }

    /// Name of an array that holds `number` alone.
    fn integer(&mut self, number: i64) -> String {
        let name = match number {
            i64::MAX => "end".to_owned(),
            _ => format!("i{number}"),
        };
        if !self.arrays.iter().any(|array| array.name == name) {
            self.arrays.push(integers(&name, &[number]));
        }
        name
    }

    /// Logits to probabilities, and zeros around them for the context that the network took.
    fn push_probabilities(&mut self, head: Head, output: &str) {
        if head == Head::Sigmoid {
            self.push("Sigmoid", vec![], vec![]);
        }
        self.push("Softmax", vec![], vec![Attribute::int("axis", 1)]);
        let border = CENTRE_PX.cast_signed() as i64;
        self.arrays.push(integers("pads", &[0, 0, border, border, 0, 0, border, border]));
        self.push("Pad", vec!["pads".to_owned()], vec![]);
        self.name_last(output);
    }

    /// Gives the last value a name.
    fn name_last(&mut self, name: &str) {
        if let Some(node) = self.nodes.last_mut() {
            node.output = vec![name.to_owned()];
            name.clone_into(&mut self.value);
        }
    }

    fn into_graph(self, model: &Model, output: ValueInfo) -> GraphProto {
        GraphProto {
            node: self.nodes,
            name: model.card().architecture.family().to_string(),
            initializer: self.arrays,
            input: vec![ValueInfo::float("image", &["N", "3", "H", "W"])],
            output: vec![output],
        }
    }
}

/// The arrays of the plan. The matrix of a fully connected layer becomes a window of four
/// dimensions, with the same values in the same order.
fn dense_arrays(model: &Model, plan: &DensePlan) -> Vec<TensorProto> {
    let mut convs = Vec::new();
    for step in &plan.steps {
        if let DenseStep::Conv(conv) = step {
            convs.push(conv);
        }
    }
    convs.push(&plan.hidden);
    convs.push(&plan.output);
    let mut tensors = Vec::new();
    for conv in convs {
        let shape = [conv.filters, conv.channels, conv.kernel, conv.kernel];
        tensors.push(tensor(model, &conv.weight_name(), &shape));
        tensors.push(tensor(model, &conv.bias_name(), &[conv.filters]));
    }
    tensors
}

fn tensor(model: &Model, name: &str, shape: &[usize]) -> TensorProto {
    TensorProto {
        dims: shape.iter().map(|&side| side.cast_signed() as i64).collect(),
        data_type: FLOAT,
        name: name.to_owned(),
        raw_data: model.array(name).iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// An array of whole numbers.
fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len().cast_signed() as i64],
        data_type: INT64,
        name: name.to_owned(),
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

fn no_dense_form() -> Error {
    Error::unsupported(
        "This network pads inside its patch and has no exact dense form; export it as patches, by \
         --onnx alone",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{dccn, dcnn, sha256_hex};

    fn decoded(bytes: &[u8]) -> GraphProto {
        ModelProto::decode(bytes).expect("protobuf").graph.expect("graph")
    }

    #[test]
    fn every_value_is_made_before_it_is_read() {
        let models = [
            (Model::random(dcnn([3, 5, 8], 20, 2), 1), OnnxForm::Patch),
            (Model::random(dcnn([3, 5, 8], 20, 2), 1), OnnxForm::Dense),
            (Model::random(dcnn([3, 5, 8], 20, 4), 1), OnnxForm::Tile),
            (Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 1), OnnxForm::Patch),
        ];
        for (model, form) in models {
            let graph = decoded(&to_onnx(&model.expect("model"), form).expect("onnx"));
            let mut known: Vec<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
            known.extend(graph.input.iter().map(|v| v.name.clone()));
            for node in &graph.node {
                assert!(node.input.iter().all(|i| known.contains(i)), "{form:?} {}", node.name);
                known.extend(node.output.clone());
            }
            assert!(known.contains(&graph.output[0].name), "{form:?}");
        }
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|node| node.op_type.as_str()).collect()
    }

    #[test]
    fn the_dense_form_dilates_what_lies_behind_each_pool() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let graph = decoded(&to_onnx(&model, OnnxForm::Dense).expect("onnx"));
        let conv = ["Conv", "Relu"];
        let pool = ["Slice", "Slice", "Max", "Slice", "Slice", "Max"];
        let last = ["Conv", "Relu", "Conv"];
        let want = [&conv[..], &["MaxPool"], &conv, &pool, &conv, &pool, &last].concat();
        assert_eq!(operators(&graph), want);
        let mut dilations = Vec::new();
        for node in &graph.node {
            for attribute in &node.attribute {
                if attribute.name == "dilations" {
                    dilations.push(attribute.ints[0]);
                }
            }
        }
        assert_eq!(dilations, [1, 2, 4, 8, 8]);
    }

    #[test]
    fn no_form_needs_what_opencv_ignores_or_refuses() {
        let models = [
            (Model::random(dcnn([3, 5, 8], 20, 3), 1), OnnxForm::Patch),
            (Model::random(dcnn([3, 5, 8], 20, 3), 1), OnnxForm::Dense),
            (Model::random(dcnn([3, 5, 8], 20, 3), 1), OnnxForm::Tile),
            (Model::random(dccn(4, 6, 3, [5, 5, 5], 3), 1), OnnxForm::Patch),
        ];
        for (model, form) in models {
            let graph = decoded(&to_onnx(&model.expect("model"), form).expect("onnx"));
            for node in &graph.node {
                let dilated = node.attribute.iter().any(|a| a.name == "dilations");
                assert!(node.op_type != "MaxPool" || !dilated, "{form:?}: {}", node.name);
                assert!(node.op_type != "Max" || node.input.len() == 2, "{form:?}: {}", node.name);
            }
        }
    }

    #[test]
    fn the_tile_form_ends_with_the_models_head() {
        let mut model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let graph = decoded(&to_onnx(&model, OnnxForm::Tile).expect("onnx"));
        assert_eq!(operators(&graph)[21..], ["Conv", "Softmax", "Pad"]);
        model.card_mut().head = Head::Sigmoid;
        let graph = decoded(&to_onnx(&model, OnnxForm::Tile).expect("onnx"));
        assert_eq!(operators(&graph)[21..], ["Conv", "Sigmoid", "Softmax", "Pad"]);
        let softmax = graph.node.iter().find(|n| n.op_type == "Softmax").expect("softmax");
        assert_eq!((softmax.attribute[0].name.as_str(), softmax.attribute[0].i), ("axis", Some(1)));
    }

    #[test]
    fn a_network_with_padding_has_no_dense_form() {
        let padded = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 1).expect("model");
        for form in [OnnxForm::Dense, OnnxForm::Tile] {
            let error = to_onnx(&padded, form).expect_err("padding").to_string();
            assert!(error.contains("pads inside its patch"), "{error}");
        }
    }

    /// SHA-256 of a file's graph; the rest of the file holds the version and the card.
    fn graph_digest(model: &Model, form: OnnxForm) -> String {
        sha256_hex(&decoded(&to_onnx(model, form).expect("onnx")).encode_to_vec())
    }

    #[test]
    fn graphs_keep_their_bytes() {
        let dcnn = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let dccn = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 1).expect("model");
        let digests = [
            graph_digest(&dcnn, OnnxForm::Patch),
            graph_digest(&dcnn, OnnxForm::Dense),
            graph_digest(&dcnn, OnnxForm::Tile),
            graph_digest(&dccn, OnnxForm::Patch),
        ];
        let want = [
            "87365b670d4aea5a55477355912aeaa32c441cd6b99a5a435769bda0aac31db3",
            "ec726f5c4328ab5ce44f15d55b5a3e0a02aad9461b1b1777f124e1e7ca4f6ef5",
            "c74614c298f8702fd03818acb035788bc6ba20874c10d6622e763c49e1228059",
            "9715c924648f481ade33d25dcf9c2dce96b4168a9b6cd62a6bb1ae4e138b0059",
        ];
        assert_eq!(digests, want);
    }
}
