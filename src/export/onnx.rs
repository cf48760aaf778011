//! ONNX, opset 17 (<https://onnx.ai/onnx/operators/>).
//!
//! ```text
//! patch form   patches  N × 3 × 55 × 55    →  logits  N × classes
//! dense form   image    N × 3 × H × W      →  logits  N × classes × (H − 54) × (W − 54)
//! ```
//!
//! Inputs are values / 255. The image of the dense form includes the 27 mirrored pixels of context
//! around it; only a network without padding inside its patch has this form ([`DensePlan`]).

use prost::Message as _;

use super::onnx_messages::{
    Attribute, Entry, FLOAT, GraphProto, ModelProto, NodeProto, OperatorSet, TensorProto, ValueInfo,
};
use crate::error::{Error, Result};
use crate::model::{BATCH_NORM_EPSILON, DenseConv, DensePlan, DenseStep, Model, Node, Op};

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// Which of the two forms is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnnxForm {
    /// One patch of 55 × 55 pixels to the logits of its centre.
    Patch,
    /// A whole image with its context to the logits of each pixel.
    Dense,
}

/// The model as the bytes of an `.onnx` file, its card in `metadata_props` under "prunella".
///
/// # Errors
/// [`Error::Unsupported`] for the dense form of a network that pads inside its patch.
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
            let plan = DensePlan::new(model.graph()).map_err(|_| no_dense_form())?;
            GraphProto {
                node: dense_nodes(&plan),
                name: model.card().architecture.family().to_string(),
                initializer: dense_arrays(model, &plan),
                input: vec![ValueInfo::float("image", &["N", "3", "H", "W"])],
                output: vec![ValueInfo::float("logits", &["N", &classes, "H-54", "W-54"])],
            }
        }
    };
    let card = serde_json::to_string(model.card())
        .map_err(|e| Error::malformed("The card cannot be written").caused_by(e))?;
    let proto = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "prunella".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: "RGB / 255 in, logits of background and nucleus out".into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: vec![Entry { key: "prunella".into(), value: card }],
    };
    Ok(proto.encode_to_vec())
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
        vec![
            Attribute::ints("kernel_shape", &[self.kernel, self.kernel]),
            Attribute::ints("strides", &[self.stride, self.stride]),
            Attribute::ints("pads", &[self.padding; 4]),
            Attribute::ints("dilations", &[self.dilation, self.dilation]),
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
                nodes.push(node_proto(i, "MaxPool", inputs, output, window.attributes()));
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

/// The plan as a chain: each node reads the value before it.
fn dense_nodes(plan: &DensePlan) -> Vec<NodeProto> {
    let mut ops = Vec::new();
    for step in &plan.steps {
        match step {
            DenseStep::Conv(conv) => push_conv(&mut ops, conv),
            DenseStep::MaxPool { dilation, .. } => {
                let window = Window { kernel: 2, stride: 1, padding: 0, dilation: *dilation };
                ops.push(ChainOp {
                    op: "MaxPool",
                    arrays: vec![],
                    attributes: window.attributes(),
                });
            }
        }
    }
    push_conv(&mut ops, &plan.hidden);
    push_conv(&mut ops, &plan.output);
    let last = ops.len();
    let mut nodes = Vec::new();
    for (before, op) in ops.into_iter().enumerate() {
        let mut inputs = vec![value_name(before, "image", last)];
        inputs.extend(op.arrays);
        let output = value_name(before + 1, "image", last);
        nodes.push(node_proto(before + 1, op.op, inputs, output, op.attributes));
    }
    nodes
}

/// An operator of the dense form; its first input is the value before it.
struct ChainOp {
    op: &'static str,
    /// Names of its arrays.
    arrays: Vec<String>,
    attributes: Vec<Attribute>,
}

fn push_conv(ops: &mut Vec<ChainOp>, conv: &DenseConv) {
    let window = Window { kernel: conv.kernel, stride: 1, padding: 0, dilation: conv.dilation };
    ops.push(ChainOp {
        op: "Conv",
        arrays: vec![conv.weight_name(), conv.bias_name()],
        attributes: window.attributes(),
    });
    if conv.relu {
        ops.push(ChainOp { op: "Relu", arrays: vec![], attributes: vec![] });
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

fn no_dense_form() -> Error {
    Error::unsupported(
        "This network pads inside its patch and has no exact dense form; export it without --dense",
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
            assert!(known.contains(&"logits".to_owned()));
        }
    }

    #[test]
    fn the_dense_form_dilates_what_lies_behind_each_pool() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let graph = decoded(&to_onnx(&model, OnnxForm::Dense).expect("onnx"));
        let mut ops = Vec::new();
        let mut dilations = Vec::new();
        for node in &graph.node {
            ops.push(node.op_type.as_str());
            for attribute in &node.attribute {
                if attribute.name == "dilations" {
                    dilations.push(attribute.ints[0]);
                }
            }
        }
        let block = ["Conv", "Relu", "MaxPool"];
        assert_eq!(ops, [&block[..], &block, &block, &["Conv", "Relu", "Conv"]].concat());
        assert_eq!(dilations, [1, 1, 2, 2, 4, 4, 8, 8]);
    }

    #[test]
    fn a_network_with_padding_has_no_dense_form() {
        let padded = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 1).expect("model");
        let error = to_onnx(&padded, OnnxForm::Dense).expect_err("padding").to_string();
        assert!(error.contains("pads inside its patch"), "{error}");
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
            graph_digest(&dccn, OnnxForm::Patch),
        ];
        let want = [
            "d0d9e76add2c07f4ba9d166368487e1c3819e6623181a470747489fad9f59554",
            "c54c8d645e8e2344783641d902d8b8bb0e04dedf271f2fbf28d913d965c58504",
            "90938f14c580646378cf952290b27e807e32a012c330064d9ec6ecd619fd98ce",
        ];
        assert_eq!(digests, want);
    }
}
