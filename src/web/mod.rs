//! The interface to the page's scripts. Threads of a browser share no memory, so there are three
//! kinds of wasm instance: the page draws the view ([`CanvasViewport`]), one worker holds image,
//! models and results ([`Session`]), and others compute blocks on the CPU ([`BlockWorker`]).
//! Workers that teach have another wasm, see `web_teach`. Facts cross the interface as JSON;
//! `web/worker-api.d.ts` states their types for the scripts.

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
mod teach;
mod thrown;
mod viewport;

pub use block::{BlockWorker, nuclei_of_kept};
pub use computation::Computation;
pub use regions::{read_regions, region_areas, region_of_stroke, regions_geojson};
pub use review::ReviewStore;
pub use session::Session;
pub use slide::series_of_file;
pub use viewport::CanvasViewport;

use wasm_bindgen::prelude::*;

use self::thrown::{Thrown, json, thrown};

use crate::engine::Block;

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

/// A block from a script's numbers.
fn block(row: u32, column: u32, width: u32, height: u32) -> Block {
    Block {
        row: row as usize,
        column: column as usize,
        width: width as usize,
        height: height as usize,
    }
}
