//! Slides in a session: tiles as the view needs them, blocks one after the other, nuclei kept and
//! written. The script drives the [`SlideJob`]: it asks for a block, computes it on the GPU or by
//! its workers, and gives it back.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use js_sys::Function;
use serde::Serialize;
use serde_json::json;
use wasm_bindgen::prelude::*;

use super::computation::Computation;
use super::results::{NucleiFiles, nuclei_files};
use super::reviewed::ReviewInput;
use super::session::{ModelInput, Session, State, window_around};
use super::slide_source::WebSlide;
use super::{Thrown as _, json, viewport};
use crate::engine::map_layout;
use crate::error::{Error, ErrorContext as _, Result};
use crate::instances::Provenance;
use crate::model::{InstanceParameters, NucleusType};
use crate::raster::{Point, StainMode};
use crate::review::ReviewedIndex;
use crate::slide::{SlideBounds, SlideFormat, dicom_series};
use crate::viewer::{TileKey, compose};
use crate::whole_slide::{
    BackgroundBlocks, KeptBlock, KeptBlockTask, KeptProbabilities, LEAST_THRESHOLD, NucleusIndex,
    Sampling, SavedBlock, SavedSettings, SavedSlide, SegmentSettings, SlideJob, SlideNucleus,
    SlideRegion, SlideSetup, nuclei_from_bytes,
};

/// A TIFF of one level is an image while it has no more pixels than this.
const MAX_IMAGE_PX: usize = 36_000_000;
/// Side of a block, pixels: small enough for answers to come soon and for memory to stay low.
pub(super) const BLOCK_PX: usize = 1024;

/// Earlier results of a slot that are shown where the present one is not finished.
const MAX_OLDER: usize = 2;
/// Probabilities of a slide that are saved with its result take at most so much.
const MAX_SAVED_MAP_BYTES: usize = 16 << 20;

/// The nuclei of a slide and the job that finds them.
pub(super) struct SlideResult {
    pub nuclei: ReviewedIndex,
    pub job: Rc<SlideJob>,
    pub fingerprint: String,
    /// Types of nuclei that the model tells apart.
    pub types: Vec<NucleusType>,
    /// Of finished blocks, for another threshold.
    pub kept: KeptProbabilities,
    /// What was looked at last, pixels of the finest level.
    view: Point,
}

impl SlideResult {
    fn new(job: Rc<SlideJob>, fingerprint: String, types: Vec<NucleusType>) -> Self {
        let nuclei = NucleusIndex::new(&job).into();
        let kept = KeptProbabilities::default();
        Self { nuclei, job, fingerprint, types, kept, view: Point { x: 0.0, y: 0.0 } }
    }

    /// Whether it was found by that model with these settings.
    fn is_of(&self, fingerprint: &str, wanted: &SegmentSettings) -> bool {
        let settings = self.job.settings();
        self.fingerprint == fingerprint
            && settings.mpp_um == wanted.mpp_um
            && settings.parameters == wanted.parameters
            && settings.stain == wanted.stain
    }

    /// Whether it was found by that model with settings that differ in the threshold at most.
    fn differs_by_threshold(&self, fingerprint: &str, wanted: &SegmentSettings) -> bool {
        let mut own = wanted.clone();
        own.parameters.threshold = self.job.settings().parameters.threshold;
        self.is_of(fingerprint, &own)
    }

    /// The same settings at another threshold, without nuclei.
    fn at_threshold(&mut self, threshold: f32) -> Self {
        let job = Rc::new(self.job.with_threshold(threshold));
        let mut other = Self::new(job, self.fingerprint.clone(), self.types.clone());
        other.kept = std::mem::take(&mut self.kept);
        other.view = self.view;
        other
    }

    /// Keeps the nuclei of a block, and gives the numbers so far.
    fn take(
        &mut self,
        block: usize,
        nuclei: Vec<SlideNucleus>,
        review: &ReviewInput,
    ) -> FinishedBlock {
        let index = self.nuclei.index_mut();
        index.take(block, nuclei);
        let bounds = index.bounds(block);
        let (done, wanted) = index.progress();
        let (mut count, mut share) = (index.count(), index.area_share());
        if !review.is_empty() {
            let counts = review.of(&self.nuclei, &self.types).counts();
            count = counts.nuclei;
            share = counts.covered_px as f64 / self.nuclei.index().area_px().max(1.0);
        }
        FinishedBlock {
            bounds: [bounds.left, bounds.top, bounds.right, bounds.bottom],
            count,
            share,
            done,
            wanted,
        }
    }

    fn saved(&self) -> Result<Vec<u8>> {
        let (width, height) = self.job.size();
        let settings = self.job.settings();
        let mut blocks = Vec::new();
        let keeps_maps = self.kept.byte_count() <= MAX_SAVED_MAP_BYTES;
        for (block, nuclei) in self.nuclei.index().finished() {
            let kept = if keeps_maps { self.kept.get(block).cloned() } else { None };
            blocks.push(SavedBlock { block, nuclei: nuclei.to_vec(), kept });
        }
        let settings = SavedSettings {
            fingerprint: self.fingerprint.clone(),
            mpp_um: settings.mpp_um,
            parameters: settings.parameters,
            stain_matching: settings.stain.mode != StainMode::Keep,
            width,
            height,
        };
        SavedSlide { settings, blocks }.to_bytes()
    }

    fn restore(&mut self, saved: SavedSlide) -> Result<()> {
        let settings = self.job.settings();
        let is_same = saved.settings.fingerprint == self.fingerprint
            && saved.settings.parameters == settings.parameters
            && saved.settings.mpp_um == settings.mpp_um
            && saved.settings.stain_matching == (settings.stain.mode != StainMode::Keep)
            && (saved.settings.width, saved.settings.height) == self.job.size();
        let is_known = saved.blocks.iter().all(|saved| self.job.is_needed(saved.block));
        if !(is_same && is_known) {
            return Err(Error::mismatch("The saved result is of another slide or model"));
        }
        for SavedBlock { block, nuclei, kept } in saved.blocks {
            let index = self.nuclei.index_mut();
            index.take(block, nuclei);
            if let Some(kept) = kept {
                let centre = index.bounds(block).centre();
                self.kept.keep(block, kept, centre, self.view);
            }
        }
        Ok(())
    }

    /// GeoJSON and CSV of the nuclei that count.
    ///
    /// # Errors
    /// None in practice.
    pub(super) fn files(&self, review: &ReviewInput) -> Result<NucleiFiles> {
        let mpp_um = self.job.settings().mpp_um;
        let (model, types) = (self.fingerprint.clone(), self.types.clone());
        let provenance = Provenance { model, mpp_um, image: None, types };
        nuclei_files(&self.nuclei, review, &provenance)
    }
}

/// What [`Session::slide_finish`] gives.
#[derive(Serialize)]
struct FinishedBlock {
    /// Left, top, right and bottom of the block in pixels of the finest level.
    bounds: [f64; 4],
    /// Nuclei so far, and their share of the area segmented so far.
    count: usize,
    share: f64,
    /// Blocks that are finished, and blocks that are to be segmented.
    done: usize,
    wanted: usize,
}

impl State {
    /// Shows a result; the one before is shown where this one is not finished.
    fn show_slide_result(&mut self, slot: u32, result: SlideResult) -> Result<()> {
        let (places, older) = (&mut self.slide_results, &mut self.older_slides);
        let (Some(place), Some(older)) =
            (places.get_mut(slot as usize), older.get_mut(slot as usize))
        else {
            return Err(Error::invalid("No such slot"));
        };
        if let Some(mut before) = place.replace(result)
            && before.nuclei.index().progress().0 > 0
        {
            before.kept = KeptProbabilities::default();
            older.insert(0, before);
            older.truncate(MAX_OLDER);
        }
        Ok(())
    }

    /// The result of a slide as bytes.
    pub(super) fn saved_slide(&self, slot: u32) -> Result<Vec<u8>> {
        let result = self.slide_result(slot);
        result.ok_or_else(|| Error::invalid("There is no result yet"))?.saved()
    }
}

/// What was unusual about a slide's stain.
fn stain_notes(job: &SlideJob) -> Vec<&'static str> {
    job.stain_note().into_iter().collect()
}

impl Session {
    pub(super) fn slide(&self) -> Result<Rc<WebSlide>> {
        self.state.borrow().slide.clone().ok_or_else(|| Error::invalid("There is no slide open"))
    }

    /// Does something with the nuclei of a slide.
    fn with_answer<T>(
        &self,
        slot: u32,
        work: impl FnOnce(&mut SlideResult) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.state.borrow_mut();
        let answer = state.slide_results.get_mut(slot as usize).and_then(Option::as_mut);
        work(answer.ok_or_else(|| Error::invalid("Nothing of the slide is segmented yet"))?)
    }

    async fn opened(&self, lengths: &[f64], read: &Function) -> Result<Option<serde_json::Value>> {
        let slide = if lengths.is_empty() {
            WebSlide::open_objects(read).await?
        } else {
            let lengths: Vec<u64> = lengths.iter().map(|length| *length as u64).collect();
            WebSlide::open(&lengths, read).await?
        };
        let first = &slide.slide.levels[0];
        let pixels = first.width.saturating_mul(first.height);
        let is_one_picture = slide.slide.levels.len() == 1 && pixels <= MAX_IMAGE_PX;
        let format = slide.slide.format;
        let is_picture_format = !first.is_mosaic()
            && !matches!(
                format,
                SlideFormat::Dicom | SlideFormat::OmeZarr | SlideFormat::Hamamatsu
            );
        if is_one_picture && is_picture_format {
            return Ok(None);
        }
        let facts = json!({
            "width": first.width, "height": first.height, "levels": slide.slide.levels.len(),
            "mpp": slide.slide.mpp_um, "magnification": slide.slide.magnification,
            "notes": slide.slide.notes,
        });
        let mut state = self.state.borrow_mut();
        state.close_picture();
        state.slide = Some(Rc::new(slide));
        Ok(Some(facts))
    }

    /// Prepares the segmentation of a slide; gives what was unusual about it.
    async fn prepare_slide(
        &self,
        slot: u32,
        id: u32,
        mpp_um: f64,
        threshold: f32,
        read: &Function,
    ) -> Result<Vec<&'static str>> {
        let (slide, model) = (self.slide()?, self.state.borrow().model(id)?);
        let (own, fingerprint) = (model.card().instances, model.fingerprint());
        let threshold = if threshold < 0.0 { own.threshold } else { threshold };
        let parameters = InstanceParameters { threshold, ..own };
        let settings = SegmentSettings {
            parameters,
            region: SlideRegion::Everything,
            mpp_um: Some(mpp_um),
            stain: model.card().stain_matching(self.state.borrow().stain),
            background: BackgroundBlocks::Skip,
            block_px: BLOCK_PX,
        };
        if let Some(answer) = self.state.borrow().slide_result(slot)
            && answer.is_of(&fingerprint, &settings)
        {
            return Ok(stain_notes(&answer.job));
        }
        if self.use_earlier(slot, &fingerprint, &settings)? {
            return self.with_answer(slot, |answer| Ok(stain_notes(&answer.job)));
        }
        let mut setup = SlideSetup::of_slide(&slide.slide, model.card().mpp_um, settings)?;
        if let Some(tissue) = slide.tissue.borrow().clone() {
            setup = setup.with_tissue(tissue);
        }
        while let Some(request) = setup.next_request() {
            setup.supply(slide.region(request.level, request.rect, read).await?)?;
        }
        let job = Rc::new(setup.finish()?);
        slide.tissue.replace(Some(Arc::clone(job.tissue())));
        let notes = stain_notes(&job);
        let types = NucleusType::among(&model.card().classes);
        let result = SlideResult::new(job, fingerprint, types);
        self.state.borrow_mut().show_slide_result(slot, result)?;
        Ok(notes)
    }

    /// Goes on with an earlier result of these settings, or with what is kept of one at another
    /// threshold. False if there is none.
    fn use_earlier(
        &self,
        slot: u32,
        fingerprint: &str,
        settings: &SegmentSettings,
    ) -> Result<bool> {
        let mut state = self.state.borrow_mut();
        if let Some(older) = state.older_slides.get_mut(slot as usize)
            && let Some(at) = older.iter().position(|older| older.is_of(fingerprint, settings))
        {
            let mut earlier = older.remove(at);
            if let Some(Some(answer)) = state.slide_results.get_mut(slot as usize)
                && answer.differs_by_threshold(fingerprint, settings)
            {
                earlier.kept = std::mem::take(&mut answer.kept);
            }
            state.show_slide_result(slot, earlier)?;
            return Ok(true);
        }
        let Some(Some(answer)) = state.slide_results.get_mut(slot as usize) else {
            return Ok(false);
        };
        if !answer.differs_by_threshold(fingerprint, settings) {
            return Ok(false);
        }
        let other = answer.at_threshold(settings.parameters.threshold);
        state.show_slide_result(slot, other)?;
        Ok(true)
    }

    /// A finished block at the threshold of its slot, for a worker; none if nothing is kept of it.
    fn kept_task(&self, slot: u32, block: usize) -> Result<Option<KeptBlockTask>> {
        self.with_answer(slot, |answer| {
            let Some(kept) = answer.kept.get(block).cloned() else { return Ok(None) };
            Ok(Some(KeptBlockTask { block: answer.job.block_nuclei(block)?, kept }))
        })
    }

    fn take_kept(
        &self,
        slot: u32,
        block: usize,
        threshold: f32,
        nuclei: &[u8],
    ) -> Result<FinishedBlock> {
        let nuclei = nuclei_from_bytes(nuclei)?;
        let mut state = self.state.borrow_mut();
        let State { slide_results, review, .. } = &mut *state;
        let answer = slide_results.get_mut(slot as usize).and_then(Option::as_mut);
        let answer = answer.ok_or_else(|| Error::invalid("There is no result yet"))?;
        let own = answer.job.settings().parameters.threshold;
        if own.total_cmp(&threshold).is_ne() || !answer.job.is_needed(block) {
            return Err(Error::mismatch("The block was found with other settings"));
        }
        Ok(answer.take(block, nuclei, review))
    }

    async fn load_slide(&self, slot: u32, bytes: &[u8], id: u32, read: &Function) -> Result<()> {
        let saved = SavedSlide::from_bytes(bytes)?;
        let mpp_um = saved.settings.mpp_um;
        let mpp_um = mpp_um.ok_or_else(|| Error::malformed("It states no pixel size"))?;
        let threshold = saved.settings.parameters.threshold;
        if self.state.borrow().model(id)?.fingerprint() != saved.settings.fingerprint {
            return Err(Error::mismatch("The saved result is of another model"));
        }
        self.prepare_slide(slot, id, mpp_um, threshold, read).await?;
        self.with_answer(slot, |answer| answer.restore(saved))
    }

    async fn read_block(
        &self,
        slot: u32,
        block: u32,
        id: u32,
        read: &Function,
    ) -> Result<Computation> {
        let slide = self.slide()?;
        let job = self.with_answer(slot, |answer| Ok(Rc::clone(&answer.job)))?;
        let request = job.request(block as usize)?;
        let pixels = slide.region(request.level, request.rect, read).await?;
        let pixels = job.prepare(block as usize, pixels)?;
        let layout = map_layout(&*self.state.borrow().model(id)?);
        Ok(Computation::of_slide_block(self, id, slot, layout, pixels))
    }

    fn finish_block(&self, computed: Computation) -> Result<FinishedBlock> {
        let (slot, pixels, map) = computed.into_slide_block()?;
        let block = pixels.block;
        let mut state = self.state.borrow_mut();
        let State { slide_results, review, .. } = &mut *state;
        let answer = slide_results.get_mut(slot as usize).and_then(Option::as_mut);
        let answer = answer.ok_or_else(|| Error::invalid("There is no result yet"))?;
        let window = answer.job.window(&pixels, &map)?;
        let nuclei = answer.job.nuclei_in(&window)?;
        let parameters = &answer.job.settings().parameters;
        let kept = KeptBlock::new(&window.probabilities, &window.image, parameters)?;
        let centre = answer.nuclei.index().bounds(block).centre();
        answer.kept.keep(block, kept, centre, answer.view);
        Ok(answer.take(block, nuclei, review))
    }

    async fn tile(&self, key: TileKey, read: &Function) -> Result<Vec<u8>> {
        let slide = self.slide()?;
        let source = slide.tiles.source(key)?;
        let pixels = slide.region(source.level, source.rect, read).await?;
        let mut rgba = slide.tiles.tile(key, &pixels)?;
        if let Some(filter) = &self.state.borrow().stain_filter {
            filter.apply(&mut rgba);
        }
        Ok(rgba)
    }

    async fn read_preview(
        &self,
        x: f64,
        y: f64,
        side: u32,
        id: u32,
        mpp: f64,
        read: &Function,
    ) -> Result<()> {
        let slide = self.slide()?;
        let model_mpp_um = self.state.borrow().model(id)?.card().mpp_um;
        let slide_mpp_um = if mpp > 0.0 { mpp } else { model_mpp_um };
        let sampling = Sampling::new(&slide.slide, slide_mpp_um, model_mpp_um)?;
        let (x, y) = (x / sampling.scale, y / sampling.scale);
        let window = window_around(x, y, side, sampling.width(), sampling.height());
        let request = sampling.request(window);
        let pixels = slide.region(request.level, request.rect, read).await?;
        // The stain of the window alone is enough to compare two models.
        let mut state = self.state.borrow_mut();
        let image = Arc::new(sampling.apply(pixels, window)?);
        let matching = state.model(id)?.card().stain_matching(state.stain);
        state.set_preview(ModelInput::new(image, matching));
        Ok(())
    }
}

/// The series of a DICOM whole slide image, by its first 32 KB; undefined for other files.
#[wasm_bindgen(js_name = dicomSeries)]
#[must_use]
pub fn series_of_file(first_bytes: &[u8]) -> Option<String> {
    dicom_series(first_bytes)
}

#[wasm_bindgen]
impl Session {
    /// Opens a slide of one file or several, one behind the other, of `lengths` bytes, that
    /// `read(start, end)` gives as promises; its facts as JSON, or null when the file is an image
    /// that fits memory and should be opened as such. Without lengths it consists of objects, as an
    /// OME-Zarr does, and `read` is `(key, part, start, end)` (see `WebSlide`).
    ///
    /// # Errors
    /// A sentence; what was open stays open.
    #[wasm_bindgen(js_name = openSlide)]
    pub async fn open_slide(
        &self,
        lengths: &[f64],
        name: String,
        read: Function,
    ) -> std::result::Result<String, JsValue> {
        json(&self.opened(lengths, &read).await.at(name).thrown()?)
    }

    /// Prepares an answer of the slide; what the same model found before with the same settings is
    /// kept. A threshold below 0 is the model's own. Gives a JSON list of notes.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = slideBegin)]
    pub async fn slide_begin(
        &self,
        slot: u32,
        id: u32,
        mpp: f64,
        threshold: f32,
        read: Function,
    ) -> std::result::Result<String, JsValue> {
        self.cancel.store(false, Ordering::Relaxed);
        json(&self.prepare_slide(slot, id, mpp, threshold, &read).await.thrown()?)
    }

    /// Blocks that are not finished and touch a rectangle, in pixels of the finest level; those in
    /// its middle first.
    ///
    /// # Errors
    /// Before [`Self::slide_begin`].
    #[wasm_bindgen(js_name = slideMissing)]
    pub fn slide_missing(
        &self,
        slot: u32,
        left: f64,
        top: f64,
        right: f64,
        bottom: f64,
    ) -> std::result::Result<Vec<u32>, JsValue> {
        let all = self.with_answer(slot, |a| {
            Ok(a.nuclei.index().missing(SlideBounds { left, top, right, bottom }))
        });
        Ok(all.thrown()?.into_iter().map(|i| i as u32).collect())
    }

    /// Reads the pixels of a block for a model; compute it, then give it to
    /// [`Self::slide_finish`].
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = slideBlock)]
    pub async fn slide_block(
        &self,
        slot: u32,
        block: u32,
        id: u32,
        read: Function,
    ) -> std::result::Result<Computation, JsValue> {
        self.read_block(slot, block, id, &read).await.thrown()
    }

    /// Keeps the nuclei of a computed block; gives its place, the numbers so far and the progress
    /// as JSON.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = slideFinish)]
    pub fn slide_finish(&self, computed: Computation) -> std::result::Result<String, JsValue> {
        json(&self.finish_block(computed).thrown()?)
    }

    /// Blocks that are missing and whose probabilities are kept, the nearest to the middle of a
    /// rectangle first: they need no network at the slot's threshold.
    ///
    /// # Errors
    /// Before [`Self::slide_begin`].
    #[wasm_bindgen(js_name = slideKept)]
    pub fn slide_kept(&self, slot: u32, x: f64, y: f64) -> std::result::Result<Vec<u32>, JsValue> {
        let numbers = self.with_answer(slot, |answer| {
            answer.view = Point { x, y };
            if answer.job.settings().parameters.threshold < LEAST_THRESHOLD {
                return Ok(Vec::new());
            }
            let mut numbers = answer.kept.nearest(answer.view);
            numbers.retain(|block| !answer.nuclei.index().is_finished(*block));
            Ok(numbers)
        });
        Ok(numbers.thrown()?.into_iter().map(|block| block as u32).collect())
    }

    /// A kept block for `nucleiOfKept` in a worker; empty if it is not kept any more.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = slideTask)]
    pub fn slide_task(&self, slot: u32, block: u32) -> std::result::Result<Vec<u8>, JsValue> {
        match self.kept_task(slot, block as usize).thrown()? {
            Some(task) => task.to_bytes().thrown(),
            None => Ok(Vec::new()),
        }
    }

    /// Takes what `nucleiOfKept` gave for a block at a threshold; as [`Self::slide_finish`].
    ///
    /// # Errors
    /// A sentence when the slot has another threshold by now.
    #[wasm_bindgen(js_name = slideTake)]
    pub fn slide_take(
        &self,
        slot: u32,
        block: u32,
        threshold: f32,
        nuclei: &[u8],
    ) -> std::result::Result<String, JsValue> {
        json(&self.take_kept(slot, block as usize, threshold, nuclei).thrown()?)
    }

    /// Restores a saved result of the open slide, found by that model. The bytes are those of
    /// `saveResult`.
    ///
    /// # Errors
    /// A sentence for bytes of another slide, model or version.
    #[wasm_bindgen(js_name = loadSlideResult)]
    pub async fn load_slide_result(
        &self,
        slot: u32,
        bytes: Vec<u8>,
        id: u32,
        read: Function,
    ) -> std::result::Result<(), JsValue> {
        self.load_slide(slot, &bytes, id, &read).await.thrown()
    }

    /// Forgets what was found.
    #[wasm_bindgen(js_name = clearSlideResult)]
    pub fn clear_slide_result(&self, slot: u32) {
        let mut state = self.state.borrow_mut();
        if let Some(place) = state.slide_results.get_mut(slot as usize) {
            *place = None;
        }
        if let Some(older) = state.older_slides.get_mut(slot as usize) {
            older.clear();
        }
    }

    /// As `imageTile`.
    ///
    /// # Errors
    /// When there is no such tile or it cannot be read.
    #[wasm_bindgen(js_name = slideTile)]
    pub async fn slide_tile(
        &self,
        level: u32,
        row: u32,
        column: u32,
        read: Function,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        self.tile(TileKey { level, row, column }, &read).await.thrown()
    }

    /// As `drawnTile`, without a preview.
    ///
    /// # Errors
    /// As [`Self::slide_tile`].
    #[wasm_bindgen(js_name = slideDrawn)]
    #[allow(clippy::too_many_arguments, reason = "numbers across the border to the script")]
    pub async fn slide_drawn(
        &self,
        slot: u32,
        level: u32,
        row: u32,
        column: u32,
        mask: f32,
        heat: f32,
        read: Function,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let key = TileKey { level, row, column };
        let image = self.tile(key, &read).await.thrown()?;
        let data = self.data_tile(slot, level, row, column).ok();
        let layers = viewport::layers(mask, heat, -1.0);
        compose(&image, data.as_deref(), slot as usize, &layers).thrown()
    }

    /// As `setPreview`, for the pixel size of a model.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = setSlidePreview)]
    pub async fn set_slide_preview(
        &self,
        x: f64,
        y: f64,
        side: u32,
        id: u32,
        mpp: f64,
        read: Function,
    ) -> std::result::Result<(), JsValue> {
        self.read_preview(x, y, side, id, mpp, &read).await.thrown()
    }
}
