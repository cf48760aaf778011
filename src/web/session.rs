//! The worker that holds the image, the models and the results. Methods take `&self`, so that tiles
//! can be read while the GPU computes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use wasm_bindgen::prelude::*;

use super::computation::Computation;
use super::reference::{Differences, Reference};
use super::reviewed::ReviewInput;
use super::slide::SlideResult;
use super::slide_source::WebSlide;
use super::{Thrown as _, json};
use crate::engine::{Block, Device, DeviceChoice, Segmenter, gpu, map_layout};
use crate::error::{Error, ErrorContext as _, Result, Warnings};
use crate::instances::probability_to_u8;
use crate::model::{Card, InstanceParameters, Model, NucleusType};
use crate::picture::{Picture, foreign_format, read_picture};
use crate::platform::seconds;
use crate::raster::{
    DecodeLimits, NucleusMaps, Padding, Plane, ProbabilityMaps, RgbImage, StainFilter,
    StainMatching, StainMode, StainStatistics, phantom, stain_note,
};
use crate::review::ReviewedIndex;
use crate::slide::PixelSize;
use crate::viewer::{Pyramid, RESULT_LAYERS};
use crate::whole_slide::{NucleusIndex, PartialMap, Sampling, SavedImage, SavedSettings};

/// Largest image of the page: 36 megapixels take about 0.6 GB with everything that is made of them.
const MAX_PIXELS: u64 = 36_000_000;
/// The built-in sample.
const SAMPLE: (usize, usize, u64) = (512, 384, 20);
/// Pixel size of the sample.
const SAMPLE_MPP_UM: f64 = 0.25;
/// Result slots: two of the image, two of the preview window.
const SLOTS: usize = 4;
/// Slots from here on belong to the preview window.
const FIRST_PREVIEW_SLOT: usize = 2;
/// Models that are kept prepared: two are compared.
const MAX_SEGMENTERS: usize = 2;

/// An image and the colours that the network reads.
#[derive(Debug, Clone)]
pub(super) struct ModelInput {
    /// In its own colours; nuclei are measured on these.
    pub image: Arc<RgbImage>,
    /// The same without its padding.
    filled: Arc<RgbImage>,
    /// As the network reads it; the same image where the stain is kept and there is no padding.
    pub normalised: Arc<RgbImage>,
    /// Where nothing is found.
    pub padding: Option<Padding>,
    /// Of the image, or of that which it is a window of.
    stain: Option<StainStatistics>,
    matching: StainMatching,
}

impl ModelInput {
    /// Of an image that is not a part of another.
    pub(super) fn new(image: Arc<RgbImage>, matching: StainMatching) -> Self {
        let stain = StainStatistics::of([&*image]);
        let padding = Padding::of(&image);
        let filled = match &padding {
            Some(padding) => Arc::new(padding.filled(&image)),
            None => Arc::clone(&image),
        };
        let normalised = matched(&filled, &matching, stain);
        Self { image, filled, normalised, padding, stain, matching }
    }

    /// The same for a model whose colours are matched so.
    fn with_matching(mut self, matching: StainMatching) -> Self {
        if self.matching != matching {
            self.normalised = matched(&self.filled, &matching, self.stain);
            self.matching = matching;
        }
        self
    }

    /// Whether the network reads other colours than the image's own.
    fn is_matched(&self) -> bool {
        self.matching.lut(self.stain).is_some()
    }

    /// A window of it.
    fn crop(&self, window: Block) -> Self {
        let Block { row, column, width, height } = window;
        let crop = |image: &RgbImage| Arc::new(image.crop(row, column, width, height));
        let padding = self.padding.as_ref();
        Self {
            image: crop(&self.image),
            filled: crop(&self.filled),
            normalised: crop(&self.normalised),
            padding: padding.map(|padding| padding.cropped(row, column, width, height)),
            ..*self
        }
    }
}

/// The colours that the network reads.
fn matched(
    image: &Arc<RgbImage>,
    matching: &StainMatching,
    stain: Option<StainStatistics>,
) -> Arc<RgbImage> {
    match matching.lut(stain) {
        Some(lut) => Arc::new(lut.apply(image)),
        None => Arc::clone(image),
    }
}

/// The open image as models of one pixel size read it.
#[derive(Debug, Clone)]
struct ImageInput {
    sampling: Sampling,
    /// At the model's pixel size.
    input: ModelInput,
    /// What a person should know about the stain.
    note: Option<&'static str>,
}

/// A result while it is computed and when it is complete.
#[derive(Debug)]
pub(super) struct ResultSlot {
    /// The open image, in its own pixels.
    pub original: Arc<RgbImage>,
    /// Pixels of it that one of the result's spans.
    pub scale: f64,
    /// What is segmented: the image or a window of it, at the model's pixel size.
    pub image: Arc<RgbImage>,
    pub padding: Option<Padding>,
    /// Pixel size of the open image, µm, if it is known.
    pub mpp_um: Option<f64>,
    pub map: ProbabilityMaps,
    /// Pixels whose probability is computed.
    pub known: Plane<bool>,
    /// Of the model.
    pub fingerprint: String,
    /// Types of nuclei that it tells apart.
    pub types: Vec<NucleusType>,
    pub parameters: InstanceParameters,
    /// Whether colours are matched.
    pub stain: StainMode,
    /// At the threshold that was asked for last; none while probabilities change.
    pub nuclei: Option<super::results::FoundNuclei>,
    /// Nuclei of the finished part while the rest is computed.
    pub partial: Option<GrowingNuclei>,
    /// Nuclei of an earlier result, shown where this one is not computed.
    pub older: Option<ReviewedIndex>,
}

/// Nuclei that appear while an image is computed.
#[derive(Debug)]
pub(super) struct GrowingNuclei {
    pub nuclei: ReviewedIndex,
    /// Around the blocks whose nuclei are not looked for yet.
    waiting: Option<Block>,
    /// They are looked for again from then on, seconds: at most a fifth of the time is spent on it.
    next_at: f64,
}

impl GrowingNuclei {
    fn new(size: (usize, usize), scale: f64) -> Self {
        let nuclei = NucleusIndex::growing(size, scale).into();
        Self { nuclei, waiting: None, next_at: 0.0 }
    }
}

/// The smallest block around two.
fn around(a: Block, b: Block) -> Block {
    let (row, column) = (a.row.min(b.row), a.column.min(b.column));
    Block {
        row,
        column,
        width: (a.column + a.width).max(b.column + b.width) - column,
        height: (a.row + a.height).max(b.row + b.height) - row,
    }
}

impl ResultSlot {
    /// Nuclei as far as they are known.
    pub(super) fn found(&self) -> Option<&ReviewedIndex> {
        match (&self.nuclei, &self.partial) {
            (Some(found), _) => Some(&found.nuclei),
            (None, Some(partial)) => Some(&partial.nuclei),
            (None, None) => None,
        }
    }

    /// Whether all of it is computed.
    pub(super) fn is_complete(&self) -> bool {
        self.known.data().iter().all(|known| *known)
    }

    /// The nuclei that are shown until another result is finished.
    fn into_older(self) -> Option<ReviewedIndex> {
        let is_complete = self.is_complete();
        match (self.nuclei, self.older, self.partial) {
            (Some(found), None, _) => Some(found.nuclei),
            (Some(found), Some(_), _) if is_complete => Some(found.nuclei),
            (_, Some(older), _) => Some(older),
            (None, None, partial) => partial.map(|partial| partial.nuclei),
        }
    }

    /// Looks for the nuclei of a block that was computed, now or with later ones.
    fn add_partial(&mut self, block: Block) {
        let Some(partial) = &mut self.partial else { return };
        let waiting = partial.waiting.map_or(block, |waiting| around(waiting, block));
        partial.waiting = Some(waiting);
        let started_at = seconds();
        if started_at < partial.next_at {
            return;
        }
        partial.waiting = None;
        let map = PartialMap { image: &self.image, map: &self.map, known: &self.known };
        let mpp_um = self.mpp_um.map(|mpp_um| mpp_um * self.scale);
        // Those that are shown meanwhile; the exact ones are found at the end.
        if let Ok(nuclei) = map.nuclei_in(waiting, &self.parameters, mpp_um) {
            partial.nuclei.index_mut().add(&nuclei);
        }
        let now = seconds();
        partial.next_at = now + 4.0 * (now - started_at);
    }
}

/// Everything that a session holds.
#[derive(Default)]
pub(super) struct State {
    /// The open image.
    pub pyramid: Option<Pyramid>,
    /// For tiles of the view; none shows the image as it is.
    pub stain_filter: Option<StainFilter>,
    /// The open image as the last model read it.
    image_input: Option<ImageInput>,
    /// The open slide, instead of an image.
    pub slide: Option<Rc<WebSlide>>,
    /// The nuclei of the slide, for each result layer.
    pub slide_results: [Option<SlideResult>; RESULT_LAYERS],
    /// Marks and regions of a person.
    pub review: ReviewInput,
    /// Earlier ones of each, the latest first.
    pub older_slides: [Vec<SlideResult>; RESULT_LAYERS],
    /// The same without marks, for what is compared with.
    pub comparison_review: ReviewInput,
    /// A teaching that was prepared.
    pub teaching: Option<super::teach::PreparedTeaching>,
    /// Pictures of tissue that taught models must not forget.
    pub tissue: Vec<RgbImage>,
    /// The window in which two models are compared.
    pub preview: Option<ModelInput>,
    /// Whether colours are matched, of images, slides and windows.
    pub stain: StainMode,
    models: BTreeMap<u32, Arc<Model>>,
    last_model: u32,
    /// The device that was opened last.
    device: Option<Device>,
    /// Prepared models, the latest last.
    segmenters: Vec<(u32, Rc<Segmenter>)>,
    pub slots: [Option<ResultSlot>; SLOTS],
    /// Objects of a file that the nuclei are compared with.
    pub reference: Option<Reference>,
    /// Objects of both results by whether they match, while that is shown.
    pub differences: Option<Differences>,
}

/// The worker's interface: image, models and results.
#[wasm_bindgen]
#[derive(Default)]
pub struct Session {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) cancel: Arc<AtomicBool>,
}

impl State {
    /// A result that was begun.
    pub(super) fn slot(&self, slot: u32) -> Result<&ResultSlot> {
        let slot = self.slots.get(slot as usize).and_then(Option::as_ref);
        slot.ok_or_else(|| Error::invalid("There is no result yet"))
    }

    /// The same, to change it.
    pub(super) fn slot_mut(&mut self, slot: u32) -> Result<&mut ResultSlot> {
        let slot = self.slots.get_mut(slot as usize).and_then(Option::as_mut);
        slot.ok_or_else(|| Error::invalid("There is no result yet"))
    }

    /// The nuclei of the open slide, once it is being segmented.
    pub(super) fn slide_result(&self, slot: u32) -> Option<&SlideResult> {
        self.slide_results.get(slot as usize).and_then(Option::as_ref)
    }

    /// The open image as the model of a card reads it. Without a pixel size
    /// (`mpp_um` 0) it is taken to have the model's.
    fn image_input(&mut self, mpp_um: f64, card: &Card) -> Result<ImageInput> {
        let model_mpp_um = card.mpp_um;
        let matching = card.stain_matching(self.stain);
        let image = Arc::clone(self.image()?);
        let size = (image.width(), image.height());
        let image_mpp_um = if mpp_um > 0.0 { mpp_um } else { model_mpp_um };
        let sampling = Sampling::of_image(size, image_mpp_um, model_mpp_um)?;
        if let Some(known) = self.image_input.take_if(|known| known.sampling == sampling) {
            let known = ImageInput { input: known.input.with_matching(matching), ..known };
            self.image_input = Some(known.clone());
            return Ok(known);
        }
        let (width, height) = (sampling.width(), sampling.height());
        if width as u64 * height as u64 > MAX_PIXELS {
            return Err(Error::limit(format!(
                "At the model's pixel size the image has {width}×{height} pixels; the page takes \
                 {} million. Is the pixel size right?",
                MAX_PIXELS / 1_000_000
            )));
        }
        let image = if sampling.is_same() {
            image
        } else {
            let everything = Block { row: 0, column: 0, width, height };
            Arc::new(sampling.apply((*image).clone(), everything)?)
        };
        let input = ModelInput::new(image, matching);
        let note = stain_note(input.stain.as_ref());
        let known = ImageInput { sampling, input, note };
        self.image_input = Some(known.clone());
        Ok(known)
    }

    /// The open image as the model of a card reads it, whole.
    pub(super) fn normalised_image(
        &mut self,
        mpp_um: f64,
        card: &Card,
    ) -> Result<(Sampling, Arc<RgbImage>)> {
        let ImageInput { sampling, input, .. } = self.image_input(mpp_um, card)?;
        Ok((sampling, input.normalised))
    }

    /// The open image.
    pub(super) fn image(&self) -> Result<&Arc<RgbImage>> {
        self.pyramid
            .as_ref()
            .map(Pyramid::image)
            .ok_or_else(|| Error::invalid("There is no image yet"))
    }

    /// A model by its number.
    pub(super) fn model(&self, id: u32) -> Result<Arc<Model>> {
        self.models.get(&id).cloned().ok_or_else(|| Error::invalid("There is no such model"))
    }

    /// Whether the open GPU is gone for good.
    pub(super) fn device_is_lost(&self) -> bool {
        matches!(&self.device, Some(Device::Gpu(gpu)) if gpu.is_lost())
    }

    /// A model that is prepared already.
    fn prepared(&self, id: u32) -> Option<Rc<Segmenter>> {
        self.segmenters.iter().find(|(of, _)| *of == id).map(|(_, segmenter)| Rc::clone(segmenter))
    }

    fn keep_segmenter(&mut self, id: u32, segmenter: Rc<Segmenter>) {
        self.segmenters.retain(|(of, _)| *of != id);
        self.segmenters.push((id, segmenter));
        if self.segmenters.len() > MAX_SEGMENTERS {
            self.segmenters.remove(0);
        }
    }

    /// Adds a model and gives its number.
    pub(super) fn add_model(&mut self, model: Model) -> u32 {
        self.last_model += 1;
        self.models.insert(self.last_model, Arc::new(model));
        self.last_model
    }

    /// Removes a model.
    pub(super) fn drop_model(&mut self, id: u32) {
        self.models.remove(&id);
        self.segmenters.retain(|(of, _)| *of != id);
    }

    /// Closes the open image or slide and drops its results.
    pub(super) fn close_picture(&mut self) {
        self.slots = Default::default();
        self.slide_results = Default::default();
        self.older_slides = Default::default();
        self.pyramid = None;
        self.slide = None;
        self.preview = None;
        self.image_input = None;
        self.reference = None;
        self.differences = None;
        self.teaching = None;
        self.review = ReviewInput::default();
        self.comparison_review = ReviewInput::default();
    }

    /// Marks have changed: what they hide is found anew.
    pub(super) fn marks_changed(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            if let Some(found) = &mut slot.nuclei {
                found.nuclei.marks_changed();
            }
            if let Some(partial) = &mut slot.partial {
                partial.nuclei.marks_changed();
            }
            if let Some(older) = &mut slot.older {
                older.marks_changed();
            }
        }
        for older in self.older_slides.iter_mut().flatten() {
            older.nuclei.marks_changed();
        }
        for slide_result in self.slide_results.iter_mut().flatten() {
            slide_result.nuclei.marks_changed();
        }
    }

    /// Replaces the preview window and drops the results of the last one.
    pub(super) fn set_preview(&mut self, window: ModelInput) {
        self.preview = Some(window);
        self.slots[FIRST_PREVIEW_SLOT..].iter_mut().for_each(|slot| *slot = None);
    }

    fn take_picture(&mut self, picture: Picture) -> String {
        self.close_picture();
        let facts = json!({
            "width": picture.image.width(),
            "height": picture.image.height(),
            "mpp": picture.pixel_size_um.map(|size| size.mean()),
            "notes": picture.notes.notes,
        });
        self.pyramid = Some(Pyramid::new(Arc::new(picture.image)));
        facts.to_string()
    }

    /// Empties a result that was begun.
    pub(super) fn restart(&mut self, slot: u32) -> Result<()> {
        let slot = self.slot_mut(slot)?;
        slot.map.clear();
        slot.known.data_mut().fill(false);
        slot.nuclei = None;
        if slot.partial.is_some() {
            slot.partial =
                Some(GrowingNuclei::new((slot.map.width(), slot.map.height()), slot.scale));
        }
        Ok(())
    }

    /// Writes the probabilities of a block, plane after plane, each row by row.
    pub(super) fn take_block(&mut self, slot: u32, block: Block, values: &[f32]) -> Result<()> {
        let slot = self.slot_mut(slot)?;
        let Block { row, column, width, height } = block;
        slot.map.put((row, column), (width, height), values)?;
        for y in row..row + height {
            for x in column..column + width {
                if slot.padding.as_ref().is_some_and(|padding| padding.mask().get(y, x)) {
                    slot.map.planes_mut().iter_mut().for_each(|plane| plane.set(y, x, 0.0));
                }
            }
            slot.known.row_mut(y)[column..column + width].fill(true);
        }
        slot.nuclei = None;
        slot.add_partial(block);
        Ok(())
    }

    /// Whether a slot can go on with what is computed already: by that model at that pixel size.
    fn can_resume(&self, slot: u32, fingerprint: &str, mpp_um: Option<f64>) -> bool {
        self.slot(slot).is_ok_and(|slot| {
            slot.fingerprint == fingerprint && slot.mpp_um == mpp_um && slot.stain == self.stain
        })
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

    /// Opens a PNG, JPEG or TIFF; gives its facts as JSON. Earlier results are dropped.
    ///
    /// # Errors
    /// A sentence; the image that was open stays open.
    #[wasm_bindgen(js_name = openImage)]
    pub fn open_image(&self, bytes: &[u8], name: &str) -> std::result::Result<String, JsValue> {
        let picture = match foreign_format(bytes, Some(name)) {
            Some(error) => Err(error),
            None => read_picture(bytes, DecodeLimits { max_pixels: MAX_PIXELS }),
        };
        Ok(self.state.borrow_mut().take_picture(picture.at(name).thrown()?))
    }

    /// Opens an image that the browser decoded: four bytes a pixel, red, green, blue and one that
    /// is ignored; as `openImage`.
    ///
    /// # Errors
    /// A sentence for too many pixels; the image that was open stays open.
    #[wasm_bindgen(js_name = openPixels)]
    pub fn open_pixels(
        &self,
        width: u32,
        height: u32,
        rgba: &[u8],
        name: &str,
    ) -> std::result::Result<String, JsValue> {
        let picture = browser_picture(width as usize, height as usize, rgba).at(name).thrown()?;
        Ok(self.state.borrow_mut().take_picture(picture))
    }

    /// What a file is that is no image for this program, and the way out; none if it may be one.
    #[must_use]
    #[wasm_bindgen(js_name = foreignFormat)]
    pub fn foreign_format(&self, first_bytes: &[u8], name: &str) -> Option<String> {
        foreign_format(first_bytes, Some(name)).map(|error| error.at(name).to_string())
    }

    /// Opens the built-in sample.
    #[must_use]
    #[wasm_bindgen(js_name = openSample)]
    pub fn open_sample(&self) -> String {
        let (width, height, seed) = SAMPLE;
        let picture = Picture {
            image: phantom(width, height, seed).0,
            pixel_size_um: Some(PixelSize { x: SAMPLE_MPP_UM, y: SAMPLE_MPP_UM }),
            notes: Warnings::default(),
        };
        self.state.borrow_mut().take_picture(picture)
    }

    /// Makes a window of the image the preview, its centre as near to (`x`, `y`) as it lies inside.
    /// Its side is in pixels of the model, the pixel size of the image in µm (0 if unknown).
    ///
    /// # Errors
    /// Without an image or that model.
    #[wasm_bindgen(js_name = setPreview)]
    pub fn set_preview(
        &self,
        x: f64,
        y: f64,
        side: u32,
        id: u32,
        mpp: f64,
    ) -> std::result::Result<(), JsValue> {
        let mut state = self.state.borrow_mut();
        let model = state.model(id).thrown()?;
        let ImageInput { sampling, input, .. } = state.image_input(mpp, model.card()).thrown()?;
        let (x, y) = (x / sampling.scale, y / sampling.scale);
        let window = window_around(x, y, side, sampling.width(), sampling.height());
        state.set_preview(input.crop(window));
        Ok(())
    }

    /// What the browser offers to compute on, as a JSON list.
    ///
    /// # Errors
    /// None at present.
    pub async fn adapters(&self) -> std::result::Result<String, JsValue> {
        let facts: Vec<_> = gpu::adapters().await.into_iter().map(|a| a.facts).collect();
        json(&facts)
    }

    /// Opens what `choice` (auto, gpu, cpu) asks for and prepares a model on it; gives JSON with
    /// the device's name and what was passed over.
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
        let mut warnings = Warnings::default();
        let segmenter = Rc::new(Segmenter::open(model, choice, &mut warnings).await.thrown()?);
        let device = segmenter.device().clone();
        let facts = json!({
            "name": device.name(),
            "gpu": matches!(device, Device::Gpu(_)),
            "software": segmenter.gpu().is_some_and(|gpu| gpu.facts.software),
            "notes": warnings.notes,
        });
        let mut state = self.state.borrow_mut();
        // Models prepared on another device are prepared anew.
        state.segmenters.clear();
        state.keep_segmenter(id, segmenter);
        state.device = Some(device);
        json(&facts)
    }

    /// Begins a result: slots 0 and 1 are of the image, 2 and 3 of the preview window. `mpp` is the
    /// image's pixel size in µm, 0 if it is unknown. The nuclei of the result before are shown
    /// until the new ones are there.
    ///
    /// # Errors
    /// Without image or model; when the pixel sizes of the two are too far apart.
    pub fn begin(&self, slot: u32, id: u32, mpp: f64) -> std::result::Result<Computation, JsValue> {
        self.cancel.store(false, Ordering::Relaxed);
        let mut state = self.state.borrow_mut();
        let (model, input) = state.slot_input(slot, id, mpp).thrown()?;
        let SlotInput { normalised, scale, notes, .. } = &input;
        let computation =
            Computation::of_slot(self, id, slot, Arc::clone(normalised), *scale, notes.clone());
        state.begin_slot(slot, &model, input, mpp).thrown()?;
        Ok(computation)
    }

    /// Goes on with a result that was cancelled, if it is of the same model and pixel size;
    /// otherwise as [`Self::begin`]. [`Computation::cpu_blocks`] then gives what is missing.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn resume(
        &self,
        slot: u32,
        id: u32,
        mpp: f64,
    ) -> std::result::Result<Computation, JsValue> {
        let mut state = self.state.borrow_mut();
        let fingerprint = state.model(id).thrown()?.fingerprint();
        if !state.can_resume(slot, &fingerprint, (mpp > 0.0).then_some(mpp)) {
            drop(state);
            return self.begin(slot, id, mpp);
        }
        self.cancel.store(false, Ordering::Relaxed);
        let (_, input) = state.slot_input(slot, id, mpp).thrown()?;
        let SlotInput { normalised, scale, notes, .. } = input;
        Ok(Computation::of_slot(self, id, slot, normalised, scale, notes))
    }

    /// A result as bytes, with its settings, for `loadResult` or `loadSlideResult`.
    ///
    /// # Errors
    /// A sentence without a result.
    #[wasm_bindgen(js_name = saveResult)]
    pub fn save_result(&self, slot: u32) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        if state.slide.is_some() {
            return state.saved_slide(slot).thrown();
        }
        state.slot(slot).and_then(ResultSlot::saved).thrown()
    }

    /// Restores a saved result of the open image, found by that model.
    ///
    /// # Errors
    /// A sentence for bytes of another image, model or version.
    #[wasm_bindgen(js_name = loadImageResult)]
    pub fn load_image_result(
        &self,
        slot: u32,
        bytes: &[u8],
        id: u32,
    ) -> std::result::Result<(), JsValue> {
        self.state.borrow_mut().load_image(slot, bytes, id).thrown()
    }

    /// Whether colours far from those of the training tiles are matched to them, as they are at
    /// first. Later results follow; the preview window must be set again.
    #[wasm_bindgen(js_name = setStainMatching)]
    pub fn set_stain_matching(&self, is_on: bool) {
        let mut state = self.state.borrow_mut();
        state.stain = if is_on { StainMode::Auto } else { StainMode::Keep };
        state.image_input = None;
    }

    /// Whether the network read other colours than those of what is open, by its last result; none
    /// before that.
    #[must_use]
    #[wasm_bindgen(js_name = stainMatched)]
    pub fn stain_matched(&self) -> Option<bool> {
        let state = self.state.borrow();
        let of_image = state.image_input.as_ref().map(|known| known.input.is_matched());
        of_image.or_else(|| state.slide_result(0).map(|found| found.job.stain_lut().is_some()))
    }

    /// Stops what the GPU is doing after the block under way.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// Loses the GPU, as a driver's crash would: to see what then happens.
    #[wasm_bindgen(js_name = loseDevice)]
    pub fn lose_device(&self) {
        if let Some(Device::Gpu(gpu)) = &self.state.borrow().device {
            gpu.destroy();
        }
    }
}

/// What a slot is computed from.
struct SlotInput {
    original: Arc<RgbImage>,
    image: Arc<RgbImage>,
    normalised: Arc<RgbImage>,
    padding: Option<Padding>,
    scale: f64,
    notes: Vec<String>,
}

impl State {
    fn slot_input(&mut self, slot: u32, id: u32, mpp: f64) -> Result<(Arc<Model>, SlotInput)> {
        let model = self.model(id)?;
        let mut notes = Vec::new();
        let (input, scale) = if (slot as usize) < FIRST_PREVIEW_SLOT {
            let known = self.image_input(mpp, model.card())?;
            notes.extend(known.note.map(str::to_owned));
            (known.input, if known.sampling.is_same() { 1.0 } else { known.sampling.scale })
        } else {
            let window = self.preview.clone();
            let window = window.ok_or_else(|| Error::invalid("There is no such window"))?;
            (window.with_matching(model.card().stain_matching(self.stain)), 1.0)
        };
        let ModelInput { image, normalised, padding, .. } = input;
        let original = match slot as usize {
            0..FIRST_PREVIEW_SLOT => Arc::clone(self.image()?),
            _ => Arc::clone(&image),
        };
        Ok((model, SlotInput { original, image, normalised, padding, scale, notes }))
    }

    fn begin_slot(&mut self, slot: u32, model: &Model, input: SlotInput, mpp: f64) -> Result<()> {
        let (width, height) = (input.image.width(), input.image.height());
        let place = self.slots.get_mut(slot as usize);
        let place = place.ok_or_else(|| Error::invalid("No such slot"))?;
        let older = place.take().and_then(ResultSlot::into_older);
        let is_shown = (slot as usize) < FIRST_PREVIEW_SLOT;
        let growing = || GrowingNuclei::new((width, height), input.scale);
        *place = Some(ResultSlot {
            original: input.original,
            scale: input.scale,
            image: input.image,
            padding: input.padding,
            mpp_um: (mpp > 0.0).then_some(mpp),
            map: NucleusMaps::filled(map_layout(model), width, height, 0.0),
            known: Plane::filled(width, height, false),
            fingerprint: model.fingerprint(),
            types: NucleusType::among(&model.card().classes),
            parameters: model.card().instances,
            stain: self.stain,
            nuclei: None,
            partial: is_shown.then(growing),
            older: if is_shown { older } else { None },
        });
        Ok(())
    }

    fn load_image(&mut self, slot: u32, bytes: &[u8], id: u32) -> Result<()> {
        let SavedImage { settings, probabilities, known } = SavedImage::from_bytes(bytes)?;
        let mpp = settings.mpp_um.unwrap_or(0.0);
        let (model, input) = self.slot_input(slot, id, mpp)?;
        let is_same = model.fingerprint() == settings.fingerprint
            && probabilities.same_size(&*input.image)
            && probabilities.layout() == map_layout(&model)
            && input.image.same_size(&known)
            && settings.stain_matching == (self.stain != StainMode::Keep);
        if !is_same {
            return Err(Error::mismatch("The saved result is of another image or model"));
        }
        settings.parameters.validate()?;
        self.begin_slot(slot, &model, input, mpp)?;
        let slot = self.slot_mut(slot)?;
        slot.map = probabilities.map(|byte| f32::from(byte) / 255.0);
        slot.known = known;
        slot.partial = None;
        slot.find(settings.parameters)
    }
}

impl ResultSlot {
    fn saved(&self) -> Result<Vec<u8>> {
        let parameters = self.nuclei.as_ref().map_or(self.parameters, |found| found.parameters);
        let settings = SavedSettings {
            fingerprint: self.fingerprint.clone(),
            mpp_um: self.mpp_um,
            parameters,
            stain_matching: self.stain != StainMode::Keep,
            width: self.map.width(),
            height: self.map.height(),
        };
        let probabilities = self.map.map(probability_to_u8);
        SavedImage { settings, probabilities, known: self.known.clone() }.to_bytes()
    }
}

/// An image that the browser decoded.
fn browser_picture(width: usize, height: usize, rgba: &[u8]) -> Result<Picture> {
    if width as u64 * height as u64 > MAX_PIXELS {
        return Err(Error::limit(format!(
            "The image has {width}×{height} pixels; the page takes {} million. Cut it into tiles",
            MAX_PIXELS / 1_000_000
        )));
    }
    let pixels = rgba.as_chunks().0.iter().map(|&[red, green, blue, _]| [red, green, blue]);
    let mut picture = Picture::of_image(Plane::from_vec(width, height, pixels.collect())?);
    picture
        .notes
        .note("The browser decoded this image; of a file with several pictures it shows the first");
    Ok(picture)
}

/// The model prepared on the session's device, now if it was not before. A device that cannot run
/// it is passed over for the CPU; `warnings` says why.
pub(super) async fn segmenter(
    state: &Rc<RefCell<State>>,
    id: u32,
    warnings: &mut Warnings,
) -> Result<Rc<Segmenter>> {
    let (model, device) = {
        let state = state.borrow();
        if let Some(segmenter) = state.prepared(id) {
            return Ok(segmenter);
        }
        (state.model(id)?, state.device.clone().unwrap_or(Device::Cpu))
    };
    let segmenter = match Segmenter::new(Arc::clone(&model), device).await {
        // Not kept: the device may do for the next image, or another is opened.
        Err(error @ (Error::Gpu { .. } | Error::Limit { .. } | Error::Unsupported { .. })) => {
            warnings.note(error.to_string());
            return Ok(Rc::new(Segmenter::on_cpu(model)?));
        }
        other => other?,
    };
    let segmenter = Rc::new(segmenter);
    state.borrow_mut().keep_segmenter(id, Rc::clone(&segmenter));
    Ok(segmenter)
}

/// The same without waiting: on the CPU, unless the model is prepared already.
///
/// # Errors
/// When there is no such model.
pub(super) fn cpu_segmenter(state: &Rc<RefCell<State>>, id: u32) -> Result<Rc<Segmenter>> {
    let mut state = state.borrow_mut();
    if let Some(segmenter) = state.prepared(id) {
        return Ok(segmenter);
    }
    let segmenter = Rc::new(Segmenter::on_cpu(state.model(id)?)?);
    state.keep_segmenter(id, Rc::clone(&segmenter));
    Ok(segmenter)
}

/// A square window of `side` pixels around a point of a picture, moved to lie inside; as large as
/// the picture where that is smaller.
pub(super) fn window_around(x: f64, y: f64, side: u32, width: usize, height: usize) -> Block {
    let side = side.max(1) as usize;
    let start = |centre: f64, len: usize, whole: usize| {
        ((centre - len as f64 / 2.0).max(0.0) as usize).min(whole - len)
    };
    let (columns, rows) = (side.min(width), side.min(height));
    Block {
        row: start(y, rows, height),
        column: start(x, columns, width),
        width: columns,
        height: rows,
    }
}
