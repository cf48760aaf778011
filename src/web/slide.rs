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
use super::session::{ModelInput, Session, window_around};
use super::slide_source::WebSlide;
use super::{Thrown as _, json, viewport};
use crate::error::{Error, ErrorContext as _, Result};
use crate::instances::Provenance;
use crate::model::InstanceParameters;

use crate::review::ReviewedIndex;
use crate::slide::SlideBounds;
use crate::viewer::{TileKey, compose, nuclei_tile};
use crate::whole_slide::{
    BackgroundBlocks, NucleusIndex, Sampling, SegmentSettings, SlideJob, SlideRegion, SlideSetup,
};

/// A TIFF of one level is an image while it has no more pixels than this.
const MAX_IMAGE_PX: usize = 36_000_000;
/// Side of a block, pixels: small enough for answers to come soon and for memory to stay low.
pub(super) const BLOCK_PX: usize = 1024;

/// The nuclei of a slide and the job that finds them.
pub(super) struct SlideResult {
    pub nuclei: ReviewedIndex,
    pub job: Rc<SlideJob>,
    pub fingerprint: String,
}

impl SlideResult {
    /// Whether it was found by that model with these settings.
    fn is_of(&self, fingerprint: &str, wanted: &SegmentSettings) -> bool {
        let settings = self.job.settings();
        self.fingerprint == fingerprint
            && settings.mpp_um == wanted.mpp_um
            && settings.parameters == wanted.parameters
            && settings.stain == wanted.stain
    }

    /// GeoJSON and CSV of the nuclei that count.
    ///
    /// # Errors
    /// None in practice.
    pub(super) fn files(&self, review: &ReviewInput) -> Result<NucleiFiles> {
        let mpp_um = self.job.settings().mpp_um;
        let provenance = Provenance { model: self.fingerprint.clone(), mpp_um, image: None };
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

    async fn opened(&self, len: f64, read: &Function) -> Result<Option<serde_json::Value>> {
        let slide = WebSlide::open(len as u64, read).await?;
        let first = &slide.slide.levels[0];
        let pixels = first.width.saturating_mul(first.height);
        if slide.slide.levels.len() == 1 && pixels <= MAX_IMAGE_PX {
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
            stain: self.state.borrow().stain,
            background: BackgroundBlocks::Skip,
            block_px: BLOCK_PX,
        };
        if let Some(answer) = self.state.borrow().slide_result(slot)
            && answer.is_of(&fingerprint, &settings)
        {
            return Ok(stain_notes(&answer.job));
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
        let nuclei = NucleusIndex::new(&job).into();
        let mut state = self.state.borrow_mut();
        let place = state.slide_results.get_mut(slot as usize);
        *place.ok_or_else(|| Error::invalid("No such slot"))? =
            Some(SlideResult { nuclei, job, fingerprint });
        Ok(notes)
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
        Ok(Computation::of_slide_block(self, id, slot, pixels))
    }

    fn finish_block(&self, computed: Computation) -> Result<FinishedBlock> {
        let (slot, pixels, map) = computed.into_slide_block()?;
        let block = pixels.block;
        self.with_answer(slot, |answer| {
            let nuclei = answer.job.nuclei(&pixels, &map)?;
            let index = answer.nuclei.index_mut();
            index.take(block, nuclei);
            let bounds = index.bounds(block);
            let (done, wanted) = index.progress();
            Ok(FinishedBlock {
                bounds: [bounds.left, bounds.top, bounds.right, bounds.bottom],
                count: index.count(),
                share: index.area_share(),
                done,
                wanted,
            })
        })
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
        let input = ModelInput::of_window(sampling.apply(pixels, window)?, state.stain);
        state.set_preview(input);
        Ok(())
    }
}

#[wasm_bindgen]
impl Session {
    /// Opens a slide of `len` bytes that `read(start, end)` gives as promises; its facts as JSON,
    /// or null when the file is an image that fits memory and should be opened as such.
    ///
    /// # Errors
    /// A sentence; what was open stays open.
    #[wasm_bindgen(js_name = openSlide)]
    pub async fn open_slide(
        &self,
        len: f64,
        name: String,
        read: Function,
    ) -> std::result::Result<String, JsValue> {
        json(&self.opened(len, &read).await.at(name).thrown()?)
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

    /// Forgets what was found.
    #[wasm_bindgen(js_name = clearSlideResult)]
    pub fn clear_slide_result(&self, slot: u32) {
        if let Some(place) = self.state.borrow_mut().slide_results.get_mut(slot as usize) {
            *place = None;
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

    /// As `drawnTile`, with the layers as a list: outline, mask, heat.
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
        layers: Vec<f32>,
        chosen: u32,
        read: Function,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let key = TileKey { level, row, column };
        let image = self.tile(key, &read).await.thrown()?;
        let size = self.slide().thrown()?.tiles.size();
        let data = self.with_answer(slot, |a| nuclei_tile(size, a.nuclei.index(), key)).ok();
        let strength = |i: usize| layers.get(i).copied().unwrap_or(0.0);
        let layers = viewport::layers([strength(0), strength(1), strength(2), -1.0], chosen, -1.0);
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
