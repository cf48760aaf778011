//! Models in other forms: ONNX, a link, the page with a model in one HTML file, and with
//! weights of fewer bits.

mod html;
mod link;
mod onnx;
mod onnx_messages;
mod rounded;

pub use html::{PageFiles, to_html};
pub use link::{LinkPrecision, MAX_CHARACTERS, from_link, quantised, to_link};
pub use onnx::{OnnxForm, to_onnx};
pub use rounded::rounded;
