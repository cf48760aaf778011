//! Models for other programs and other people.

mod onnx;
mod onnx_messages;

pub use onnx::{OnnxForm, to_onnx};
