//! The interface to the page's scripts. Threads of a browser share no memory, so there are three
//! kinds of wasm instance: the page draws the view ([`CanvasViewport`]), one worker holds image,
//! models and results ([`Session`]), and others compute blocks on the CPU ([`BlockWorker`]).
//! With the feature `web-teach` the interface is another: [`TeachWorker`] alone, in a second wasm
//! that is loaded only when someone teaches. Facts cross the interface as JSON; `web/worker-api.d.ts` states their types for the scripts.

#[cfg(not(feature = "web-teach"))]
mod block;
#[cfg(not(feature = "web-teach"))]
mod computation;
#[cfg(not(feature = "web-teach"))]
mod estimate;
#[cfg(not(feature = "web-teach"))]
mod models;
#[cfg(not(feature = "web-teach"))]
mod reference;
#[cfg(not(feature = "web-teach"))]
mod regions;
#[cfg(not(feature = "web-teach"))]
mod results;
#[cfg(not(feature = "web-teach"))]
mod review;
#[cfg(not(feature = "web-teach"))]
mod reviewed;
#[cfg(not(feature = "web-teach"))]
mod session;
#[cfg(not(feature = "web-teach"))]
mod slide;
#[cfg(not(feature = "web-teach"))]
mod slide_source;
#[cfg(not(feature = "web-teach"))]
mod stain_view;
#[cfg(not(feature = "web-teach"))]
mod teach;
#[cfg(feature = "web-teach")]
mod teach_worker;
#[cfg(not(feature = "web-teach"))]
mod viewport;

#[cfg(not(feature = "web-teach"))]
pub use block::{BlockWorker, nuclei_of_kept};
#[cfg(not(feature = "web-teach"))]
pub use computation::Computation;
#[cfg(not(feature = "web-teach"))]
pub use regions::{read_regions, region_areas, region_of_stroke, regions_geojson};
#[cfg(not(feature = "web-teach"))]
pub use review::ReviewStore;
#[cfg(not(feature = "web-teach"))]
pub use session::Session;
#[cfg(feature = "web-teach")]
pub use teach_worker::TeachWorker;
#[cfg(not(feature = "web-teach"))]
pub use viewport::CanvasViewport;

use serde::Serialize;
use wasm_bindgen::prelude::*;

#[cfg(not(feature = "web-teach"))]
use crate::engine::Block;
use crate::error::Error;

/// Sends panics to the browser's console. Runs when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// Version of this build.
#[cfg(not(feature = "web-teach"))]
#[must_use]
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// SHA-256 of some bytes, hexadecimal.
#[cfg(not(feature = "web-teach"))]
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
#[cfg(not(feature = "web-teach"))]
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
