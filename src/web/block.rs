//! A CPU worker: one model, one block at a time.

use wasm_bindgen::prelude::*;

use super::Thrown as _;
use crate::engine::CpuEngine;
use crate::error::Error;
use crate::model::{FileLimits, Model};
use crate::whole_slide::{KeptBlockTask, nuclei_to_bytes};

/// The nuclei of a kept block as bytes, from those of `Session.slideTask`.
///
/// # Errors
/// A sentence.
#[wasm_bindgen(js_name = nucleiOfKept)]
pub fn nuclei_of_kept(task: &[u8]) -> Result<Vec<u8>, JsValue> {
    let find = || KeptBlockTask::from_bytes(task)?.nuclei();
    Ok(nuclei_to_bytes(&find().thrown()?))
}

/// Computes blocks whose pixels were cut out by the session.
#[wasm_bindgen]
#[derive(Debug)]
pub struct BlockWorker {
    engine: CpuEngine,
}

#[wasm_bindgen]
impl BlockWorker {
    /// Reads a model file and packs its weights.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(constructor)]
    pub fn new(model: &[u8]) -> Result<Self, JsValue> {
        let engine = || CpuEngine::new(&Model::from_bytes(model, FileLimits::default())?);
        Ok(Self { engine: engine().thrown()? })
    }

    /// Probabilities of a block, row by row, from its cut (red, green, blue a pixel).
    ///
    /// # Errors
    /// A sentence when the pixels are not those of the block.
    pub fn run(
        &self,
        pixels: &[u8],
        row: u32,
        column: u32,
        width: u32,
        height: u32,
    ) -> Result<Vec<f32>, JsValue> {
        let block = super::block(row, column, width, height);
        let (pixels, rest) = pixels.as_chunks::<3>();
        if !rest.is_empty() {
            return Err(super::thrown(&Error::mismatch("The pixels are not red, green and blue")));
        }
        self.engine.run(pixels.to_vec(), block).thrown()
    }
}
