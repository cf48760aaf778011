//! The interface to the page's scripts. Threads of a browser share no memory, so there are three
//! kinds of wasm instance: the page draws the view ([`CanvasViewport`]), one worker holds image,
//! models and results ([`Session`]), and others compute blocks on the CPU ([`BlockWorker`]).
//! Facts cross the interface as JSON; `web/worker-api.d.ts` states their types for the scripts.

mod block;
mod computation;
mod estimate;
mod models;
mod reference;
mod regions;
mod results;
mod review;
mod reviewed;
mod session;
mod slide;
mod slide_source;
mod stain_view;
mod viewport;

pub use block::{BlockWorker, nuclei_of_kept};
pub use computation::Computation;
pub use regions::{read_regions, region_areas, region_of_stroke, regions_geojson};
pub use review::ReviewStore;
pub use session::Session;
pub use viewport::CanvasViewport;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::engine::Block;
use crate::error::Error;

/// Sends panics to the browser's console. Runs when the module is loaded.
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

/// An error as scripts catch it: a sentence, and the name `AbortError` for a cancellation.
fn thrown(error: &Error) -> JsValue {
    let is_cancelled = matches!(error, Error::Cancelled { .. });
    let value = js_sys::Error::new(&error.to_string());
    value.set_name(if is_cancelled { "AbortError" } else { "PrunellaError" });
    value.into()
}

/// Turns the error of a result into one that scripts catch.
trait Thrown<T> {
    fn thrown(self) -> Result<T, JsValue>;
}

impl<T> Thrown<T> for crate::error::Result<T> {
    fn thrown(self) -> Result<T, JsValue> {
        self.map_err(|e| thrown(&e))
    }
}

/// A block from a script's numbers.
fn block(row: u32, column: u32, width: u32, height: u32) -> Block {
    Block {
        row: row as usize,
        column: column as usize,
        width: width as usize,
        height: height as usize,
    }
}

/// JSON text for scripts.
fn json(value: &impl Serialize) -> Result<String, JsValue> {
    serde_json::to_string(value).map_err(|e| js_sys::Error::new(&e.to_string()).into())
}
