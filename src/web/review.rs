//! The state of the page: one value, changed by commands, on the page's own thread.

use std::cell::RefCell;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::{Thrown as _, json};
use crate::error::Error;
use crate::review::{
    DisplaySettings, DocumentFacts, MarkStatus, ModelSetting, NamedRegion, PixelSizeSetting,
    ResultFacts, Review, ReviewCommand, ReviewState, Stroke, Strokes,
};

/// The state and its history. Its methods give the state without outlines as JSON: `PageState` of
/// `web/worker-api.d.ts`.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct ReviewStore {
    review: RefCell<Review>,
}

/// Numbers of marks.
#[derive(Debug, Default, Serialize)]
struct MarkNumbers {
    accepted: usize,
    added: usize,
    rejected: usize,
    replaced: usize,
}

/// The state as scripts read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PageState<'a> {
    document: &'a Option<DocumentFacts>,
    pixel_size: PixelSizeSetting,
    model: &'a ModelSetting,
    threshold: Option<f32>,
    inside_only: bool,
    keep_stain: bool,
    marks: MarkNumbers,
    regions: Vec<PageRegion<'a>>,
    strokes: Vec<PageStroke<'a>>,
    view: Option<[f64; 3]>,
    display: &'a DisplaySettings,
    results: &'a [Option<ResultFacts>; 2],
    /// Changes whenever marks, regions or settings do.
    revision: u64,
    /// What would be undone and done again, for people.
    undo: Option<&'a str>,
    redo: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct PageRegion<'a> {
    id: u32,
    #[serde(flatten)]
    region: &'a NamedRegion,
}

#[derive(Debug, Serialize)]
struct PageStroke<'a> {
    id: u32,
    #[serde(flatten)]
    stroke: &'a Stroke,
}

/// What the worker needs of the state.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkerState<'a> {
    marks: &'a crate::review::Marks,
    regions: &'a std::collections::BTreeMap<u32, NamedRegion>,
    strokes: &'a Strokes,
    inside_only: bool,
}

#[wasm_bindgen]
impl ReviewStore {
    /// A state without an image.
    #[must_use]
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state as JSON.
    ///
    /// # Errors
    /// None in practice.
    pub fn state(&self) -> Result<String, JsValue> {
        let review = self.review.borrow();
        let state = review.state();
        let mut marks = MarkNumbers::default();
        for mark in state.marks.values() {
            *match mark.status {
                MarkStatus::Accepted => &mut marks.accepted,
                MarkStatus::Added => &mut marks.added,
                MarkStatus::Rejected => &mut marks.rejected,
                MarkStatus::Replaced => &mut marks.replaced,
            } += 1;
        }
        let regions = state.regions.iter().map(|(id, region)| PageRegion { id: *id, region });
        let strokes = state.strokes.iter().map(|(id, stroke)| PageStroke { id: *id, stroke });
        json(&PageState {
            document: &state.document,
            pixel_size: state.pixel_size,
            model: &state.model,
            threshold: state.threshold,
            inside_only: state.inside_only,
            keep_stain: state.keep_stain,
            marks,
            regions: regions.collect(),
            strokes: strokes.collect(),
            view: state.view,
            display: &state.display,
            results: &state.results,
            revision: review.revision(),
            undo: review.undo_name(),
            redo: review.redo_name(),
        })
    }

    /// Executes a command, a `ReviewCommand` as JSON.
    ///
    /// # Errors
    /// A sentence; the state is as before then.
    pub fn apply(&self, command: &str) -> Result<(), JsValue> {
        let command: ReviewCommand = serde_json::from_str(command)
            .map_err(|e| super::thrown(&Error::malformed("This is no command").caused_by(e)))?;
        self.review.borrow_mut().apply(command).thrown()
    }

    /// Undoes the last step; false if there is none.
    pub fn undo(&self) -> bool {
        self.review.borrow_mut().undo()
    }

    /// Does again what was undone last; false if nothing was.
    pub fn redo(&self) -> bool {
        self.review.borrow_mut().redo()
    }

    /// Marks, strokes and regions as JSON, for `Session.setReview`.
    ///
    /// # Errors
    /// None in practice.
    #[wasm_bindgen(js_name = forWorker)]
    pub fn for_worker(&self) -> Result<String, JsValue> {
        let review = self.review.borrow();
        let ReviewState { marks, regions, strokes, inside_only, .. } = review.state();
        json(&WorkerState { marks, regions, strokes, inside_only: *inside_only })
    }

    /// The state as bytes for storage.
    ///
    /// # Errors
    /// None in practice.
    pub fn save(&self) -> Result<Vec<u8>, JsValue> {
        self.review.borrow().state().to_bytes().thrown()
    }

    /// Takes a saved state in place of the present one; its history begins anew.
    ///
    /// # Errors
    /// A sentence for bytes of another version; the state is as before then.
    pub fn load(&self, bytes: &[u8]) -> Result<(), JsValue> {
        let state = ReviewState::from_bytes(bytes).thrown()?;
        self.review.replace_with(|old| old.restored(state));
        Ok(())
    }
}
