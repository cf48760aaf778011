//! Models in other forms: ONNX, a link, the page with a model in one HTML file.

mod html;
mod link;
mod onnx;
mod onnx_messages;

pub use html::{PageFiles, to_html};
pub use link::{LinkPrecision, MAX_CHARACTERS, from_link, quantised, to_link};
pub use onnx::{OnnxForm, to_onnx};
