//! The result in use as bytes for the device, and back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::document::Document;
use super::lock;
use super::result_shelf::{ResultSettings, SharedResults, SlideResult};
use crate::error::{Error, ErrorContext as _, Result};
use crate::model::Model;
use crate::platform::read_file;
use crate::raster::{Point, StainMode};
use crate::whole_slide::{SavedBlock, SavedSettings, SavedSlide};

/// Largest file of a result, bytes.
pub(super) const MAX_RESULT_BYTES: u64 = 512 << 20;

impl ResultSettings {
    /// What is done to the colours.
    pub(super) fn stain(&self) -> StainMode {
        if self.keep_stain { StainMode::Keep } else { StainMode::Auto }
    }
}

/// The result whose nuclei count as bytes; none if there is none any more. Results are locked for
/// a block at a time, so that the screen need not wait.
///
/// # Errors
/// [`Error::Limit`] for too many nuclei.
pub(super) fn result_bytes(results: &SharedResults) -> Result<Option<Vec<u8>>> {
    let of_result = |result: &SlideResult| {
        let (width, height) = result.job.size();
        let settings = SavedSettings {
            fingerprint: result.settings.fingerprint.clone(),
            mpp_um: result.settings.mpp_um,
            parameters: result.job.settings().parameters,
            stain_matching: !result.settings.keep_stain,
            width,
            height,
        };
        (settings, Arc::clone(&result.job), result.finished())
    };
    let Some((settings, job, finished)) = lock(results).counted().map(of_result) else {
        return Ok(None);
    };
    let mut blocks = Vec::with_capacity(finished.len());
    let mut bytes = 0;
    for block in finished {
        let saved = lock(results).result_of(&job).and_then(|result| result.saved_block(block));
        let Some(saved) = saved else { return Ok(None) };
        bytes += least_bytes(&saved);
        if bytes as u64 > MAX_RESULT_BYTES {
            return Err(too_large());
        }
        blocks.push(saved);
    }
    let bytes = SavedSlide { settings, blocks }.to_bytes()?;
    if bytes.len() as u64 > MAX_RESULT_BYTES { Err(too_large()) } else { Ok(Some(bytes)) }
}

fn too_large() -> Error {
    Error::limit("These nuclei are too many to be kept on this device: export them")
}

/// What the points of a block take.
fn least_bytes(block: &SavedBlock) -> usize {
    let rings = block.nuclei.iter().flat_map(|nucleus| nucleus.polygons.iter().flatten());
    rings.map(|ring| ring.len() * size_of::<Point>()).sum()
}

/// What is needed to read a result again.
pub(super) struct SavedSource<'a> {
    pub document: &'a Document,
    pub model: &'a Model,
    /// Those in use.
    pub settings: &'a ResultSettings,
    /// The place that is looked at.
    pub view: Point,
}

impl SavedSource<'_> {
    /// The result in a file; none if it is of another model, or of nothing.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a broken file; those of the document.
    pub(super) fn read(&self, file: &Path, cancel: &AtomicBool) -> Result<Option<SlideResult>> {
        let saved = SavedSlide::from_bytes(&read_file(file, MAX_RESULT_BYTES)?).at(file)?;
        let SavedSettings { fingerprint, mpp_um, parameters, stain_matching, width, height } =
            saved.settings;
        if fingerprint != self.settings.fingerprint || saved.blocks.is_empty() {
            return Ok(None);
        }
        let settings = ResultSettings {
            threshold: parameters.threshold,
            mpp_um,
            keep_stain: !stain_matching,
            ..self.settings.clone()
        };
        let card = self.model.card();
        let (model_mpp_um, stain) = (card.mpp_um, card.stain_matching(settings.stain()));
        let job = self.document.prepare(model_mpp_um, parameters, mpp_um, stain, cancel)?;
        let is_known = saved.blocks.iter().all(|saved| job.is_needed(saved.block));
        if job.size() != (width, height) || !is_known {
            let error = Error::mismatch("What is kept of this image was found in another one");
            return Err(error.at(file));
        }
        let mut result = SlideResult::new(settings, job);
        for block in saved.blocks {
            result.take_saved(block, self.view);
        }
        Ok(Some(result))
    }
}
