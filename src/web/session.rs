//! One worker's memory: the image, a window of it for trials, models, and what they answered.
//! Methods take `&self`, so that tiles can be asked for while the GPU computes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use wasm_bindgen::prelude::*;

use super::slide::SlideAnswer;
use super::slide_source::WebSlide;
use super::{Thrown as _, json};
use crate::engine::{
    Block, Control, Device, DeviceChoice, SegmentOptions, WindowEngine, gpu, segment_on_gpu,
};
use crate::error::{Error, Result, Warnings};
use crate::model::{InstanceParameters, Model};
use crate::platform::seconds;
use crate::raster::{
    DecodeLimits, Plane, ProbabilityMap, RgbImage, StainLut, StainMode, StainStatistics,
    decode_image, phantom,
};
use crate::viewer::{Pyramid, RESULT_LAYERS};

/// Largest image of the page: 36 megapixels take about 0.6 GB with everything that is made of them.
const MAX_PIXELS: u64 = 36_000_000;
/// The built-in sample.
const SAMPLE: (usize, usize, u64) = (512, 384, 20);
/// Answers that are kept: two of the image, two of the trial window, one of a slide's block.
const SLOTS: usize = 5;
/// Slots from here on belong to the trial window,
const TRIAL: usize = 2;
/// and this one to the block of a slide that is worked on.
pub const BLOCK: usize = 4;

/// Pixels as they are, and as the model sees them.
#[derive(Debug, Clone)]
pub struct ModelInput {
    pub image: Arc<RgbImage>,
    pub seen: Arc<RgbImage>,
}

/// An answer while it grows and when it is whole.
#[derive(Debug)]
pub struct ResultSlot {
    pub image: Arc<RgbImage>,
    /// The same in the colours that the model sees.
    pub seen: Arc<RgbImage>,
    pub map: ProbabilityMap,
    pub known: Plane<bool>,
    pub fingerprint: String,
    pub parameters: InstanceParameters,
    pub found: Option<super::results::FoundNuclei>,
}

#[derive(Default)]
pub struct State {
    pub pyramid: Option<Pyramid>,
    /// What the model sees instead of the image's own colours.
    colours: Option<StainLut>,
    /// Instead of an image in memory.
    pub slide: Option<Rc<WebSlide>>,
    /// What was found in the slide, for each answer.
    pub slide_answers: [Option<SlideAnswer>; RESULT_LAYERS],
    /// Pixels of the slide's next block.
    pub piece: Option<ModelInput>,
    pub trial: Option<ModelInput>,
    models: BTreeMap<u32, Rc<Model>>,
    last_model: u32,
    device: Option<Rc<Device>>,
    engine: Option<(u32, Rc<WindowEngine>)>,
    pub slots: [Option<ResultSlot>; SLOTS],
}

/// Image, models and answers.
#[wasm_bindgen]
#[derive(Default)]
pub struct Session {
    pub(super) state: Rc<RefCell<State>>,
    cancel: Arc<AtomicBool>,
}

/// Where the GPU's blocks go.
struct Live {
    state: Rc<RefCell<State>>,
    slot: u32,
    notify: js_sys::Function,
}

thread_local! {
    /// The engine's callback may capture nothing that belongs to this thread.
    static LIVE: RefCell<Option<Live>> = const { RefCell::new(None) };
}

impl State {
    pub fn slot(&self, slot: u32) -> Result<&ResultSlot> {
        let missing = || Error::mismatch("There is no result yet");
        self.slots.get(slot as usize).and_then(Option::as_ref).ok_or_else(missing)
    }

    pub fn slot_mut(&mut self, slot: u32) -> Result<&mut ResultSlot> {
        let missing = || Error::mismatch("There is no result yet");
        self.slots.get_mut(slot as usize).and_then(Option::as_mut).ok_or_else(missing)
    }

    /// What was found in the slide, if one is open and anything was.
    pub fn slide_answer(&self, slot: u32) -> Option<&SlideAnswer> {
        self.slide_answers.get(slot as usize).and_then(Option::as_ref)
    }

    /// The image and what the model sees of it.
    fn seen(&self) -> Result<ModelInput> {
        let image = Arc::clone(self.image()?);
        let seen =
            self.colours.as_ref().map_or_else(|| Arc::clone(&image), |c| Arc::new(c.apply(&image)));
        Ok(ModelInput { image, seen })
    }

    pub fn image(&self) -> Result<&Arc<RgbImage>> {
        self.pyramid
            .as_ref()
            .map(Pyramid::image)
            .ok_or_else(|| Error::mismatch("There is no image yet"))
    }

    pub fn model(&self, id: u32) -> Result<Rc<Model>> {
        self.models.get(&id).cloned().ok_or_else(|| Error::mismatch("There is no such model"))
    }

    /// Keeps a model and gives its number.
    pub fn keep(&mut self, model: Model) -> u32 {
        self.last_model += 1;
        self.models.insert(self.last_model, Rc::new(model));
        self.last_model
    }

    pub fn drop_model(&mut self, id: u32) {
        self.models.remove(&id);
    }

    /// Forgets what was open and what was found in it.
    pub fn forget_picture(&mut self) {
        self.slots = Default::default();
        self.slide_answers = Default::default();
        (self.pyramid, self.slide, self.piece, self.trial) = (None, None, None, None);
        self.colours = None;
    }

    /// Takes a window for trials; what was found in the last one goes.
    pub fn take_trial(&mut self, picture: ModelInput) {
        self.trial = Some(picture);
        self.slots[TRIAL..BLOCK].iter_mut().for_each(|slot| *slot = None);
    }

    fn take_image(&mut self, image: RgbImage) -> String {
        let mut size = json!({ "width": image.width(), "height": image.height() });
        self.forget_picture();
        self.colours = StainLut::for_mode(StainMode::Auto, StainStatistics::of([&image]));
        size["matched"] = self.colours.is_some().into();
        self.pyramid = Some(Pyramid::new(Arc::new(image)));
        size.to_string()
    }

    fn take_block(&mut self, slot: u32, block: Block, values: &[f32]) -> Result<()> {
        let slot = self.slot_mut(slot)?;
        let (right, low) = (block.column + block.width, block.row + block.height);
        if right > slot.map.width()
            || low > slot.map.height()
            || values.len() != block.width * block.height
        {
            return Err(Error::mismatch("The block lies outside the image"));
        }
        for (y, row) in values.chunks_exact(block.width).enumerate() {
            let columns = block.column..right;
            slot.map.row_mut(block.row + y)[columns.clone()].copy_from_slice(row);
            slot.known.row_mut(block.row + y)[columns].fill(true);
        }
        slot.found = None;
        Ok(())
    }
}

#[wasm_bindgen]
impl Session {
    /// An empty session.
    #[must_use]
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a PNG, JPEG or TIFF; gives its size as JSON. Earlier answers are forgotten.
    ///
    /// # Errors
    /// A sentence; the image that was open stays open.
    #[wasm_bindgen(js_name = openImage)]
    pub fn open_image(&self, bytes: &[u8]) -> std::result::Result<String, JsValue> {
        let image = decode_image(bytes, DecodeLimits { max_pixels: MAX_PIXELS }).thrown()?;
        Ok(self.state.borrow_mut().take_image(image))
    }

    /// Opens the built-in sample.
    #[must_use]
    #[wasm_bindgen(js_name = openSample)]
    pub fn open_sample(&self) -> String {
        let (width, height, seed) = SAMPLE;
        self.state.borrow_mut().take_image(phantom(width, height, seed).0)
    }

    /// Cuts a window for trials out of the image, as near to the place asked for as it lies inside;
    /// gives it as JSON.
    ///
    /// # Errors
    /// Without an image.
    #[wasm_bindgen(js_name = setTrial)]
    pub fn set_trial(&self, x: f64, y: f64, side: u32) -> std::result::Result<String, JsValue> {
        let mut state = self.state.borrow_mut();
        let image = Arc::clone(state.image().thrown()?);
        let side = side.max(1) as usize;
        let (width, height) = (side.min(image.width()), side.min(image.height()));
        let start = |middle: f64, len: usize, whole: usize| {
            ((middle - len as f64 / 2.0).max(0.0) as usize).min(whole - len)
        };
        let (column, row) = (start(x, width, image.width()), start(y, height, image.height()));
        let image = Arc::new(image.crop(row, column, width, height));
        let seen = state
            .colours
            .as_ref()
            .map_or_else(|| Arc::clone(&image), |c| Arc::new(c.apply(&image)));
        state.take_trial(ModelInput { image, seen });
        Ok(json!({ "x": column, "y": row, "width": width, "height": height }).to_string())
    }

    /// What the browser offers to compute on, as a JSON list.
    ///
    /// # Errors
    /// None at present.
    pub async fn adapters(&self) -> std::result::Result<String, JsValue> {
        let facts: Vec<_> = gpu::adapters().await.into_iter().map(|a| a.facts).collect();
        json(&facts)
    }

    /// Opens what `choice` (auto, gpu, cpu) asks for, proven on a model; gives JSON with its name
    /// and what was passed over.
    ///
    /// # Errors
    /// A sentence when a GPU was demanded and none computes right.
    #[wasm_bindgen(js_name = openDevice)]
    pub async fn open_device(
        &self,
        choice: String,
        id: u32,
    ) -> std::result::Result<String, JsValue> {
        let model = self.state.borrow().model(id).thrown()?;
        let choice: DeviceChoice =
            choice.parse().map_err(|e: String| super::thrown(&Error::mismatch(e)))?;
        let mut report = Warnings::default();
        let device = Device::open(choice, &model, &mut report).await.thrown()?;
        let software = matches!(&device, Device::Gpu(gpu) if gpu.facts.software);
        let gpu = matches!(device, Device::Gpu(_));
        let told = json!({ "name": device.name(), "gpu": gpu, "software": software, "notes": report.notes });
        self.state.borrow_mut().device = Some(Rc::new(device));
        json(&told)
    }

    /// Starts an answer: 0 and 1 of the image, 2 and 3 of the trial window.
    ///
    /// # Errors
    /// Without image or model.
    pub fn begin(&self, slot: u32, id: u32) -> std::result::Result<(), JsValue> {
        self.cancel.store(false, Ordering::Relaxed);
        let mut state = self.state.borrow_mut();
        let model = state.model(id).thrown()?;
        let missing = || super::thrown(&Error::mismatch("There is no such picture"));
        let picture = match slot as usize {
            0..TRIAL => state.seen().thrown()?,
            BLOCK => state.piece.take().ok_or_else(missing)?,
            _ => state.trial.clone().ok_or_else(missing)?,
        };
        let ModelInput { image, seen } = picture;
        let (w, h) = (image.width(), image.height());
        let place = state
            .slots
            .get_mut(slot as usize)
            .ok_or_else(|| super::thrown(&Error::mismatch("No such slot")))?;
        *place = Some(ResultSlot {
            image,
            seen,
            map: Plane::filled(w, h, 0.0),
            known: Plane::filled(w, h, false),
            fingerprint: model.fingerprint(),
            parameters: model.card().instances,
            found: None,
        });
        Ok(())
    }

    /// Empties an answer that was begun, for another attempt.
    ///
    /// # Errors
    /// When it was not begun.
    pub fn restart(&self, slot: u32) -> std::result::Result<(), JsValue> {
        let mut state = self.state.borrow_mut();
        let slot = state.slot_mut(slot).thrown()?;
        slot.map.data_mut().fill(0.0);
        slot.known.data_mut().fill(false);
        slot.found = None;
        Ok(())
    }

    /// Fills an answer on the GPU that was opened. Calls `notify(row, column, width, height)` after
    /// each block and resolves with JSON: whether it is done (else CPU workers must), seconds,
    /// notes, and whether the device is lost.
    ///
    /// # Errors
    /// A sentence; named `AbortError` when it was cancelled.
    pub async fn compute(
        &self,
        slot: u32,
        id: u32,
        notify: js_sys::Function,
    ) -> std::result::Result<String, JsValue> {
        let (model, image, device) = {
            let state = self.state.borrow();
            let device = state
                .device
                .clone()
                .ok_or_else(|| super::thrown(&Error::mismatch("No device is open")))?;
            (state.model(id).thrown()?, Arc::clone(&state.slot(slot).thrown()?.seen), device)
        };
        let Device::Gpu(gpu) = &*device else {
            return Ok(json!({ "done": false, "notes": [], "lost": false }).to_string());
        };
        LIVE.with(|live| live.replace(Some(Live { state: Rc::clone(&self.state), slot, notify })));
        let show = |block: Block, values: &[f32]| take_live(block, values);
        let control =
            Control { cancel: Some(&self.cancel), block: Some(&show), ..Control::default() };
        let mut report = Warnings::default();
        let begun = seconds();
        let result =
            segment_on_gpu(gpu, &model, &image, SegmentOptions::default(), &control, &mut report)
                .await;
        LIVE.with(|live| live.replace(None));
        let secs = seconds() - begun;
        let map = result.thrown()?;
        if let Some(map) = &map {
            let whole = Block { row: 0, column: 0, width: map.width(), height: map.height() };
            self.state.borrow_mut().take_block(slot, whole, map.data()).thrown()?;
        }
        let told = json!({ "done": map.is_some(), "seconds": secs, "notes": report.notes, "lost": gpu.is_lost() });
        Ok(told.to_string())
    }

    /// Blocks for CPU workers: row, column, width, height of each.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = cpuBlocks)]
    pub fn cpu_blocks(
        &self,
        slot: u32,
        id: u32,
        workers: u32,
    ) -> std::result::Result<Vec<u32>, JsValue> {
        let mut state = self.state.borrow_mut();
        let engine = match &state.engine {
            Some((of, engine)) if *of == id => Rc::clone(engine),
            _ => Rc::new(state.model(id).and_then(|m| WindowEngine::new(&m)).thrown()?),
        };
        let image = &state.slot(slot).thrown()?.image;
        let blocks = engine.blocks(image, workers.max(1) as usize);
        state.engine = Some((id, engine));
        Ok(blocks
            .iter()
            .flat_map(|b| [b.row, b.column, b.width, b.height].map(|v| v as u32))
            .collect())
    }

    /// What a CPU worker needs for a block: red, green and blue of each pixel.
    ///
    /// # Errors
    /// A sentence.
    pub fn cut(
        &self,
        slot: u32,
        row: u32,
        column: u32,
        width: u32,
        height: u32,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        let block = super::block(row, column, width, height);
        let missing = || super::thrown(&Error::mismatch("Blocks were not asked for"));
        let (_, engine) = state.engine.as_ref().ok_or_else(missing)?;
        let pixels = engine.cut(&state.slot(slot).thrown()?.seen, block);
        Ok(pixels.as_flattened().to_vec())
    }

    /// Takes a block from a CPU worker.
    ///
    /// # Errors
    /// When it is not part of the image.
    pub fn put(
        &self,
        slot: u32,
        row: u32,
        column: u32,
        width: u32,
        height: u32,
        values: &[f32],
    ) -> std::result::Result<(), JsValue> {
        let block = super::block(row, column, width, height);
        self.state.borrow_mut().take_block(slot, block, values).thrown()
    }

    /// Stops what the GPU is doing after the block under way.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// Loses the GPU, as a driver's crash would: to see what then happens.
    #[wasm_bindgen(js_name = loseDevice)]
    pub fn lose_device(&self) {
        if let Some(Device::Gpu(gpu)) = self.state.borrow().device.as_deref() {
            gpu.destroy();
        }
    }
}

fn take_live(block: Block, values: &[f32]) {
    LIVE.with(|live| {
        let live = live.borrow();
        let Some(Live { state, slot, notify }) = live.as_ref() else { return };
        // Only the answer's own map is written; nobody else holds the state while the GPU waits.
        if let Ok(mut state) = state.try_borrow_mut() {
            drop(state.take_block(*slot, block, values));
        }
        let numbers =
            [block.row, block.column, block.width, block.height].map(|v| JsValue::from(v as u32));
        drop(notify.apply(&JsValue::NULL, &numbers.iter().collect::<js_sys::Array>()));
    });
}
