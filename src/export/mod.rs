//! Models for other programs and other people.

mod link;
mod onnx;
mod onnx_messages;

pub use link::{LinkPrecision, MAX_CHARACTERS, from_link, quantised, to_link};
pub use onnx::{OnnxForm, to_onnx};
