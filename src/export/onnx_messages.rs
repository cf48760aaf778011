//! The messages and fields of `onnx.proto` (ONNX 1.16, IR version 8) that a network needs, with
//! their field numbers. Names are those of `onnx.proto` but for the suffix `Proto` of the smaller
//! ones.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(string, tag = "6")]
    pub doc_string: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<Entry>,
}

/// `OperatorSetIdProto`; the empty domain is ONNX's own.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OperatorSet {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// `StringStringEntryProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
}

/// `AttributeProto`; its field `type` is `kind` here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

impl Attribute {
    // Numbers of `AttributeProto.AttributeType`.
    const FLOAT: i32 = 1;
    const INT: i32 = 2;
    const INTS: i32 = 7;

    pub(super) fn float(name: &str, f: f32) -> Self {
        Self { name: name.into(), f: Some(f), kind: Self::FLOAT, ..Self::default() }
    }

    pub(super) fn int(name: &str, i: i64) -> Self {
        Self { name: name.into(), i: Some(i), kind: Self::INT, ..Self::default() }
    }

    pub(super) fn ints(name: &str, values: &[usize]) -> Self {
        let ints = values.iter().map(|&v| v.cast_signed() as i64).collect();
        Self { name: name.into(), ints, kind: Self::INTS, ..Self::default() }
    }
}

/// An array; values are little-endian.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

/// Element type f32 in tensors and value infos (`TensorProto.DataType`).
pub(super) const FLOAT: i32 = 1;

/// Element type i64.
pub(super) const INT64: i32 = 7;

/// `ValueInfoProto`: an input or output of the graph.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub kind: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShape>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorShape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// A fixed size or a named free one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Dimension {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

impl ValueInfo {
    /// An f32 tensor. Sizes are numbers, or names where they are free.
    pub(super) fn float(name: &str, sizes: &[&str]) -> Self {
        let mut shape = TensorShape { dim: Vec::new() };
        for size in sizes {
            shape.dim.push(match size.parse() {
                Ok(number) => Dimension { dim_value: Some(number), dim_param: None },
                Err(_) => Dimension { dim_value: None, dim_param: Some((*size).to_owned()) },
            });
        }
        let tensor_type = TensorType { elem_type: FLOAT, shape: Some(shape) };
        Self { name: name.into(), kind: Some(TypeProto { tensor_type: Some(tensor_type) }) }
    }
}
