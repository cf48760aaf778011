//! A probability map while it is computed: on the GPU by the session itself, or block by block by
//! workers that have no memory in common with it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use js_sys::Function;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::session::{Session, State, cpu_segmenter, segmenter};
use super::{Thrown as _, json};
use crate::engine::{Block, Control, SegmentOptions};
use crate::error::{Error, Result, Warnings};
use crate::raster::{MapLayout, NucleusMaps, Plane, ProbabilityMaps, RgbImage};
use crate::whole_slide::BlockPixels;

/// One map that is being computed. The script drives it: [`Self::compute`], or [`Self::cpu_blocks`]
/// and for each block [`Self::cut`] and [`Self::put`].
#[wasm_bindgen]
pub struct Computation {
    state: Rc<RefCell<State>>,
    cancel: Arc<AtomicBool>,
    model: u32,
    /// In the colours that the model reads.
    input: Arc<RgbImage>,
    /// Pixels of the image or slide that one of the model's spans.
    scale: f64,
    /// What was unusual about the input and what was done about it.
    notes: Vec<String>,
    target: Target,
}

/// Where probabilities go.
enum Target {
    /// A slot of the session, which shows them while they come.
    Slot(u32),
    /// A block of a slide; it shows its nuclei when it is finished.
    SlideBlock(SlideBlock),
    /// Nobody sees them before the map is complete.
    Map(RefCell<ProbabilityMaps>),
}

/// A block of a slide between its pixels and its nuclei.
struct SlideBlock {
    slot: u32,
    pixels: BlockPixels,
    map: RefCell<ProbabilityMaps>,
}

/// What [`Computation::compute`] gives.
#[derive(Serialize)]
struct ComputeResult {
    /// False when workers must compute the map.
    done: bool,
    notes: Vec<String>,
    /// The device is gone for good.
    lost: bool,
}

/// Where the GPU's blocks go while it computes into a slot.
struct LiveBlocks {
    state: Rc<RefCell<State>>,
    slot: u32,
    notify: Function,
}

thread_local! {
    /// The engine's callback must be `Sync` and so may capture nothing of this thread.
    static LIVE_BLOCKS: RefCell<Option<LiveBlocks>> = const { RefCell::new(None) };
}

impl Computation {
    pub(super) fn of_slot(
        session: &Session,
        model: u32,
        slot: u32,
        input: Arc<RgbImage>,
        scale: f64,
        notes: Vec<String>,
    ) -> Self {
        Self {
            state: Rc::clone(&session.state),
            cancel: Arc::clone(&session.cancel),
            model,
            input,
            scale,
            notes,
            target: Target::Slot(slot),
        }
    }

    pub(super) fn of_slide_block(
        session: &Session,
        model: u32,
        slot: u32,
        layout: MapLayout,
        pixels: BlockPixels,
    ) -> Self {
        let input = Arc::clone(&pixels.normalised);
        let map = RefCell::new(NucleusMaps::filled(layout, input.width(), input.height(), 0.0));
        Self {
            state: Rc::clone(&session.state),
            cancel: Arc::clone(&session.cancel),
            model,
            input,
            scale: 1.0,
            notes: Vec::new(),
            target: Target::SlideBlock(SlideBlock { slot, pixels, map }),
        }
    }

    /// Of a picture that is shown nowhere.
    pub(super) fn of_picture(
        session: &Session,
        model: u32,
        layout: MapLayout,
        input: Arc<RgbImage>,
    ) -> Self {
        let map = NucleusMaps::filled(layout, input.width(), input.height(), 0.0);
        Self {
            state: Rc::clone(&session.state),
            cancel: Arc::clone(&session.cancel),
            model,
            input,
            scale: 1.0,
            notes: Vec::new(),
            target: Target::Map(RefCell::new(map)),
        }
    }

    fn take_block(&self, block: Block, values: &[f32]) -> Result<()> {
        let (corner, size) = ((block.row, block.column), (block.width, block.height));
        match &self.target {
            Target::Slot(slot) => self.state.borrow_mut().take_block(*slot, block, values),
            Target::SlideBlock(target) => target.map.borrow_mut().put(corner, size, values),
            Target::Map(map) => map.borrow_mut().put(corner, size, values),
        }
    }

    /// Whether an earlier computation has finished a block.
    fn is_computed(&self, block: Block) -> bool {
        let Target::Slot(slot) = &self.target else { return false };
        let state = self.state.borrow();
        let Ok(slot) = state.slot(*slot) else { return false };
        let columns = block.column..block.column + block.width;
        let mut rows = block.row..block.row + block.height;
        rows.all(|row| slot.known.row(row)[columns.clone()].iter().all(|known| *known))
    }

    async fn on_gpu(&self, notify: Option<Function>) -> Result<ComputeResult> {
        let mut warnings = Warnings::default();
        let segmenter = segmenter(&self.state, self.model, &mut warnings).await?;
        let show = |block: Block, values: &[f32]| take_live_block(block, values);
        let mut control = Control { cancel: Some(&self.cancel), ..Control::default() };
        if let (Target::Slot(slot), Some(notify)) = (&self.target, notify) {
            let live = LiveBlocks { state: Rc::clone(&self.state), slot: *slot, notify };
            LIVE_BLOCKS.with(|blocks| blocks.replace(Some(live)));
            control.block = Some(&show);
        }
        let options = SegmentOptions::default();
        let map = segmenter.segment_on_gpu(&self.input, options, &control, &mut warnings).await;
        if control.block.is_some() {
            LIVE_BLOCKS.with(|blocks| blocks.replace(None));
        }
        let map = map?;
        if let Some(map) = &map {
            let (width, height) = (map.width(), map.height());
            let values: Vec<f32> = map.planes().iter().flat_map(Plane::data).copied().collect();
            self.take_block(Block { row: 0, column: 0, width, height }, &values)?;
        }
        let lost = self.state.borrow().device_is_lost();
        Ok(ComputeResult { done: map.is_some(), notes: warnings.notes, lost })
    }

    /// The slide's slot, the block's pixels and its map, once it is computed.
    pub(super) fn into_slide_block(self) -> Result<(u32, BlockPixels, ProbabilityMaps)> {
        match self.target {
            Target::SlideBlock(block) => Ok((block.slot, block.pixels, block.map.into_inner())),
            _ => Err(Error::mismatch("This is no block of a slide")),
        }
    }

    /// The map of a picture, once it is computed.
    pub(super) fn into_map(self) -> Result<ProbabilityMaps> {
        match self.target {
            Target::Map(map) => Ok(map.into_inner()),
            _ => Err(Error::mismatch("This is not the map of a picture")),
        }
    }
}

#[wasm_bindgen]
impl Computation {
    /// Computes the map on the session's GPU. Calls `notify(row, column, width, height)` after each
    /// block of an image, and resolves with JSON: whether it is done (else workers must), notes,
    /// and whether the device is lost.
    ///
    /// # Errors
    /// A sentence; named `AbortError` when it was cancelled.
    pub async fn compute(&self, notify: Option<Function>) -> std::result::Result<String, JsValue> {
        json(&self.on_gpu(notify).await.thrown()?)
    }

    /// Pixels of the image that one of its blocks' spans.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// What was unusual about the image and what was done about it, a sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// Empties the map for another attempt.
    ///
    /// # Errors
    /// When the result is gone.
    pub fn restart(&self) -> std::result::Result<(), JsValue> {
        match &self.target {
            Target::SlideBlock(target) => target.map.borrow_mut().clear(),
            Target::Map(map) => map.borrow_mut().clear(),
            Target::Slot(slot) => self.state.borrow_mut().restart(*slot).thrown()?,
        }
        Ok(())
    }

    /// Blocks that are not computed yet, for workers: row, column, width, height of each.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = cpuBlocks)]
    pub fn cpu_blocks(&self, workers: u32) -> std::result::Result<Vec<u32>, JsValue> {
        let segmenter = cpu_segmenter(&self.state, self.model).thrown()?;
        let engine = segmenter.cpu().thrown()?;
        let mut numbers = Vec::new();
        for block in engine.blocks(&self.input, workers.max(1) as usize) {
            if self.is_computed(block) {
                continue;
            }
            let sides = [block.row, block.column, block.width, block.height];
            numbers.extend(sides.map(|side| side as u32));
        }
        Ok(numbers)
    }

    /// What a worker needs for a block: red, green and blue of each pixel.
    ///
    /// # Errors
    /// A sentence.
    pub fn cut(
        &self,
        row: u32,
        column: u32,
        width: u32,
        height: u32,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let block = super::block(row, column, width, height);
        let segmenter = cpu_segmenter(&self.state, self.model).thrown()?;
        let pixels = segmenter.cpu().thrown()?.cut(&self.input, block);
        Ok(pixels.as_flattened().to_vec())
    }

    /// Takes a block's probabilities from a worker.
    ///
    /// # Errors
    /// When it is not part of the image.
    pub fn put(
        &self,
        row: u32,
        column: u32,
        width: u32,
        height: u32,
        values: &[f32],
    ) -> std::result::Result<(), JsValue> {
        self.take_block(super::block(row, column, width, height), values).thrown()
    }
}

fn take_live_block(block: Block, values: &[f32]) {
    LIVE_BLOCKS.with(|live| {
        let live = live.borrow();
        let Some(LiveBlocks { state, slot, notify }) = live.as_ref() else { return };
        // Nobody else holds the state while the GPU is awaited.
        if let Ok(mut state) = state.try_borrow_mut() {
            drop(state.take_block(*slot, block, values));
        }
        let numbers = [block.row, block.column, block.width, block.height];
        let numbers = numbers.map(|side| JsValue::from(side as u32));
        drop(notify.apply(&JsValue::NULL, &numbers.iter().collect::<js_sys::Array>()));
    });
}
