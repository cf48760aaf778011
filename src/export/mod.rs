//! Models in other forms: ONNX, a link, the page with a model in one HTML file, with weights of
//! fewer bits; packages for QuPath and the BioImage Model Zoo, and a model's README.

#[cfg(not(target_arch = "wasm32"))]
mod bioimageio;
mod html;
mod link;
#[cfg(not(target_arch = "wasm32"))]
mod npy;
mod onnx;
mod onnx_messages;
#[cfg(not(target_arch = "wasm32"))]
mod onnx_reader;
#[cfg(not(target_arch = "wasm32"))]
mod qupath;
#[cfg(not(target_arch = "wasm32"))]
mod readme;
mod rounded;
#[cfg(not(target_arch = "wasm32"))]
mod yaml;
#[cfg(not(target_arch = "wasm32"))]
mod zip;

#[cfg(not(target_arch = "wasm32"))]
pub use bioimageio::{BioImageSample, to_bioimageio};
pub use html::{PageFiles, to_html};
pub use link::{LinkPrecision, MAX_CHARACTERS, from_link, quantised, to_link};
pub use onnx::{OnnxForm, to_onnx};
#[cfg(not(target_arch = "wasm32"))]
pub use onnx_reader::from_onnx;
#[cfg(not(target_arch = "wasm32"))]
pub use qupath::{QuPathFiles, QuPathPlaces, to_qupath};
#[cfg(not(target_arch = "wasm32"))]
pub use readme::to_readme;
pub use rounded::rounded;
