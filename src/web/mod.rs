//! The page's face: what its script may ask of this crate. Threads of a browser share no memory, so
//! there are three kinds of instance: the page itself looks ([`Eye`]), one worker holds image,
//! models and answers ([`Session`]), and others compute blocks on the CPU ([`BlockWorker`]).
//! Numbers go across as such, lists as JSON.

mod block;
mod computation;
mod eye;
mod models;
mod results;
mod session;
mod slide;
mod slide_source;

pub use block::BlockWorker;
pub use computation::Computation;
pub use eye::Eye;
pub use session::Session;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::engine::Block;
use crate::error::Error;

/// Makes a panic readable. Called when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// Version of this build.
#[must_use]
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// SHA-256 of some bytes, hexadecimal.
#[must_use]
#[wasm_bindgen(js_name = sha256)]
pub fn sha256(bytes: &[u8]) -> String {
    crate::model::sha256_hex(bytes)
}

/// An error as the script catches it: a sentence, and a name that tells a request to stop from a
/// failure.
fn thrown(error: &Error) -> JsValue {
    let value = js_sys::Error::new(&error.to_string());
    value.set_name(if matches!(error, Error::Cancelled { .. }) {
        "AbortError"
    } else {
        "PrunellaError"
    });
    value.into()
}

/// A result with its error as the script catches it.
trait Thrown<T> {
    fn thrown(self) -> Result<T, JsValue>;
}

impl<T> Thrown<T> for crate::error::Result<T> {
    fn thrown(self) -> Result<T, JsValue> {
        self.map_err(|e| thrown(&e))
    }
}

/// A block from the script's numbers.
fn block(row: u32, column: u32, width: u32, height: u32) -> Block {
    let [row, column, width, height] = [row, column, width, height].map(|v| v as usize);
    Block { row, column, width, height }
}

fn json(value: &impl Serialize) -> Result<String, JsValue> {
    serde_json::to_string(value).map_err(|e| js_sys::Error::new(&e.to_string()).into())
}
