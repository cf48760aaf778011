//! ONNX, opset 17. Patch form: `patches` (N×3×55×55, value / 255) to `logits` (N×classes). Dense
//! form, DCNN only: `image` (N×3×H×W, with the 27 mirrored pixels of context around it) to `logits`
//! (N×classes×(H−54)×(W−54)), pooling moved by one pixel and everything behind it spread.

use prost::Message as _;

use super::onnx_messages::{
    Attribute, Entry, FLOAT, GraphProto, ModelProto, NodeProto, OperatorSet, TensorProto, ValueInfo,
};
use crate::error::{Error, Result};
use crate::model::{BATCH_NORM_EPSILON, Model, Node, Op};

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// Which of the two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnnxForm {
    Patch,
    Dense,
}

/// The model as the bytes of an `.onnx` file, its card in `metadata_props` under "prunella".
///
/// # Errors
/// [`Error::Unsupported`] for the dense form of a network that pads inside its patch.
pub fn to_onnx(model: &Model, form: OnnxForm) -> Result<Vec<u8>> {
    let mut writer = Writer { model, form, nodes: Vec::new(), spread: 1 };
    for (i, node) in model.graph().nodes.iter().enumerate() {
        writer.node(i, node)?;
    }
    let classes = model.card().architecture.classes().to_string();
    let (input, output) = match form {
        OnnxForm::Patch => (
            ValueInfo::float("patches", &["N", "3", "55", "55"]),
            ValueInfo::float("logits", &["N", &classes]),
        ),
        OnnxForm::Dense => (
            ValueInfo::float("image", &["N", "3", "H", "W"]),
            ValueInfo::float("logits", &["N", &classes, "H-54", "W-54"]),
        ),
    };
    let card = serde_json::to_string(model.card())
        .map_err(|e| Error::malformed(format!("The card cannot be written: {e}")))?;
    let nodes = std::mem::take(&mut writer.nodes);
    let proto = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "prunella".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: "RGB / 255 in, logits of background and nucleus out".into(),
        graph: Some(GraphProto {
            node: nodes,
            name: model.card().architecture.family().to_string(),
            initializer: writer.initializers(),
            input: vec![input],
            output: vec![output],
        }),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: vec![Entry { key: "prunella".into(), value: card }],
    };
    Ok(proto.encode_to_vec())
}

struct Writer<'a> {
    model: &'a Model,
    form: OnnxForm,
    nodes: Vec<NodeProto>,
    /// Pixels between taps, dense form.
    spread: usize,
}

impl Writer<'_> {
    fn value(&self, index: usize) -> String {
        match (index, self.form) {
            (0, OnnxForm::Patch) => "patches".into(),
            (0, OnnxForm::Dense) => "image".into(),
            (i, _) if i + 1 == self.model.graph().nodes.len() => "logits".into(),
            (i, _) => format!("v{i}"),
        }
    }

    fn push(&mut self, index: usize, op: &str, inputs: Vec<String>, attribute: Vec<Attribute>) {
        let output = vec![self.value(index)];
        self.nodes.push(NodeProto {
            input: inputs,
            output,
            name: format!("n{index}"),
            op_type: op.into(),
            attribute,
        });
    }

    fn node(&mut self, index: usize, node: &Node) -> Result<()> {
        let mut inputs: Vec<String> = node.inputs.iter().map(|&i| self.value(i)).collect();
        let array = |suffix: &str| format!("{}.{suffix}", node.name);
        let dense = self.form == OnnxForm::Dense;
        match node.op {
            Op::Input => {}
            Op::Relu => self.push(index, "Relu", inputs, vec![]),
            Op::Concat => self.push(index, "Concat", inputs, vec![Attribute::int("axis", 1)]),
            Op::BatchNorm => {
                inputs.extend(["weight", "bias", "running_mean", "running_var"].map(array));
                self.push(
                    index,
                    "BatchNormalization",
                    inputs,
                    vec![Attribute::float("epsilon", BATCH_NORM_EPSILON)],
                );
            }
            Op::Conv { padding, .. } | Op::MaxPool { padding, .. } if dense && padding > 0 => {
                return Err(no_dense_form());
            }
            Op::Conv { kernel, stride, padding, bias, .. } => {
                inputs.push(array("weight"));
                inputs.extend(bias.then(|| array("bias")));
                self.push(index, "Conv", inputs, window(kernel, stride, padding, self.spread));
            }
            Op::MaxPool { kernel, stride, padding } => {
                let moves = if dense { 1 } else { stride };
                self.push(index, "MaxPool", inputs, window(kernel, moves, padding, self.spread));
                if dense {
                    self.spread *= stride;
                }
            }
            Op::AvgPool { .. } if dense => return Err(no_dense_form()),
            Op::AvgPool { kernel } => {
                let attributes = vec![
                    Attribute::ints("kernel_shape", &[kernel, kernel]),
                    Attribute::ints("strides", &[kernel, kernel]),
                ];
                self.push(index, "AveragePool", inputs, attributes);
            }
            Op::Linear { .. } => self.linear(index, node, inputs),
        }
        Ok(())
    }

    fn linear(&mut self, index: usize, node: &Node, mut inputs: Vec<String>) {
        let parameters = ["weight", "bias"].map(|s| format!("{}.{s}", node.name));
        if self.form == OnnxForm::Dense {
            let side = self.model.graph().input_shape(node).height;
            inputs.extend(parameters);
            self.push(index, "Conv", inputs, window(side, 1, 0, self.spread));
            return;
        }
        let flat = format!("flat{index}");
        self.nodes.push(NodeProto {
            input: inputs,
            output: vec![flat.clone()],
            name: flat.clone(),
            op_type: "Flatten".into(),
            attribute: vec![Attribute::int("axis", 1)],
        });
        self.push(
            index,
            "Gemm",
            [vec![flat], parameters.to_vec()].concat(),
            vec![Attribute::int("transB", 1)],
        );
    }

    /// Every array; a fully connected layer of the dense form is a convolution, its matrix
    /// four-dimensional.
    fn initializers(&self) -> Vec<TensorProto> {
        let graph = self.model.graph();
        let mut out = Vec::new();
        for node in &graph.nodes {
            for spec in graph.arrays_of(node) {
                let mut dims: Vec<i64> =
                    spec.shape.iter().map(|&d| d.cast_signed() as i64).collect();
                if let (Op::Linear { .. }, OnnxForm::Dense, 2) = (node.op, self.form, dims.len()) {
                    let from = graph.input_shape(node);
                    dims = [spec.shape[0], from.channels, from.height, from.width]
                        .map(|d| d.cast_signed() as i64)
                        .to_vec();
                }
                let raw_data =
                    self.model.array(&spec.name).iter().flat_map(|v| v.to_le_bytes()).collect();
                out.push(TensorProto { dims, data_type: FLOAT, name: spec.name, raw_data });
            }
        }
        out
    }
}

fn window(kernel: usize, stride: usize, padding: usize, spread: usize) -> Vec<Attribute> {
    vec![
        Attribute::ints("kernel_shape", &[kernel, kernel]),
        Attribute::ints("strides", &[stride, stride]),
        Attribute::ints("pads", &[padding; 4]),
        Attribute::ints("dilations", &[spread, spread]),
    ]
}

fn no_dense_form() -> Error {
    Error::unsupported(
        "This network pads inside its patch and has no exact dense form; export it without --dense",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{dccn, dcnn};

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
    fn the_dense_form_spreads_what_lies_behind_each_pool() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let graph = decoded(&to_onnx(&model, OnnxForm::Dense).expect("onnx"));
        let spreads: Vec<i64> = graph
            .node
            .iter()
            .filter_map(|n| n.attribute.iter().find(|a| a.name == "dilations").map(|a| a.ints[0]))
            .collect();
        assert_eq!(spreads, [1, 1, 2, 2, 4, 4, 8, 8]);
        let padded = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 1).expect("model");
        assert!(to_onnx(&padded, OnnxForm::Dense).is_err());
    }
}
