//! What a model is taught from a review: its marks as a file, and as a task for teaching workers.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use js_sys::Function;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use super::computation::Computation;
use super::reviewed::parsed;
use super::session::{Session, State};
use super::{Thrown as _, json};
use crate::dataset::SparseLabels;
use crate::engine::{Block, map_layout};
use crate::error::{Error, Result};
use crate::model::{Family, InstanceParameters, Model};
use crate::picture::read_picture;
use crate::raster::{DecodeLimits, RgbImage};
use crate::review::{MarkSource, MarkedImage, with_types_of};
use crate::train::{
    AnswerBefore, TaughtWeights, TeachOutcome, TeachRecipe, TeachTask, class_bytes,
};
use crate::whole_slide::{
    BackgroundBlocks, Sampling, SegmentSettings, SlideJob, SlideRegion, SlideSetup,
};

/// Most pixels that are learned from at once; a tab has little memory.
const MAX_TAUGHT_PX: usize = 12_000_000;
/// Pixel size of the tissue that is rehearsed, micrometres.
const TISSUE_MPP_UM: f64 = 0.25;
/// Largest picture of tissue that is rehearsed.
const MAX_TISSUE_PX: u64 = 1_000_000;

/// How a model is taught; what is left out is the recipe's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TeachSettings {
    /// Of the image's file, for the model's card.
    name: String,
    sha256: String,
    steps: Option<u64>,
    held_back: Option<f64>,
    seed: Option<u64>,
}

impl TeachSettings {
    fn recipe(&self) -> TeachRecipe {
        let default = TeachRecipe::DEFAULT;
        TeachRecipe {
            steps: self.steps.unwrap_or(default.steps),
            held_back: self.held_back.unwrap_or(default.held_back),
            seed: self.seed.unwrap_or(default.seed),
            ..default
        }
    }
}

/// A teaching between its marks and its model.
pub(super) struct PreparedTeaching {
    task: TeachTask,
    /// What the model says of the pictures so far.
    before: Vec<AnswerBefore>,
    /// Number of the model that is asked: the one before, with new types.
    asked: u32,
    /// Whether it is there for this teaching alone.
    is_extended: bool,
}

/// JSON of [`Session::prepare_teaching`].
#[derive(Debug, Serialize)]
struct PreparedFacts {
    /// Number of the model that is asked, in the session.
    model: u32,
    /// Pictures of which it is asked.
    pictures: usize,
    /// Types of nuclei that are new.
    types: Vec<String>,
    /// Marks outside of the image.
    outside: usize,
}

fn nothing_prepared() -> Error {
    Error::invalid("No teaching was prepared")
}

impl State {
    fn teaching(&self) -> Result<&PreparedTeaching> {
        self.teaching.as_ref().ok_or_else(nothing_prepared)
    }

    /// What the review says of pixels. `mpp_um` is of the finest level.
    fn labels(&self, slot: u32, mpp_um: f64) -> Result<SparseLabels> {
        let source = MarkSource {
            marks: &self.review.marks,
            strokes: &self.review.strokes,
            regions: &self.review.regions,
            types: self.types(slot),
            mpp_um,
        };
        source.labels()
    }
}

impl Session {
    /// The open image or slide around the marks, as a model reads it.
    async fn marked_image(
        &self,
        slot: u32,
        model: &Model,
        mpp: f64,
        read: Option<&Function>,
    ) -> Result<MarkedImage> {
        let card = model.card();
        let mpp_um = if mpp > 0.0 { mpp } else { card.mpp_um };
        let labels = self.state.borrow().labels(slot, mpp_um)?;
        if labels.marks.is_empty() {
            return Err(Error::invalid(
                "There is nothing to learn from yet: accept, reject, add or paint first",
            ));
        }
        let is_slide = self.state.borrow().slide.is_some();
        if let Some(read) = read
            && is_slide
        {
            let job = self.job_of(slot, model, mpp_um, read).await?;
            let mut marked = MarkedImage::plan(labels, job.sampling(), mpp_um)?;
            check_size(&marked)?;
            let slide = self.slide()?;
            for block in marked.blocks() {
                let request = job.sampling().request(block);
                let pixels = slide.region(request.level, request.rect, read).await?;
                let pixels = job.sampling().apply(pixels, block)?;
                marked.add_pixels(
                    job.stain_lut().map_or_else(|| pixels.clone(), |lut| lut.apply(&pixels)),
                );
            }
            return Ok(marked);
        }
        let (sampling, normalised) = self.state.borrow_mut().normalised_image(mpp, card)?;
        let mut marked = MarkedImage::plan(labels, &sampling, mpp_um)?;
        check_size(&marked)?;
        for Block { row, column, width, height } in marked.blocks() {
            marked.add_pixels(normalised.crop(row, column, width, height));
        }
        Ok(marked)
    }

    /// How a slide is read for a model: as in a result, or found anew.
    async fn job_of(
        &self,
        slot: u32,
        model: &Model,
        mpp_um: f64,
        read: &Function,
    ) -> Result<Rc<SlideJob>> {
        let settings = SegmentSettings {
            parameters: InstanceParameters::default(),
            region: SlideRegion::Everything,
            mpp_um: Some(mpp_um),
            stain: model.card().stain_matching(self.state.borrow().stain),
            background: BackgroundBlocks::Skip,
            block_px: super::slide::BLOCK_PX,
        };
        if let Some(result) = self.state.borrow().slide_result(slot)
            && result.fingerprint == model.fingerprint()
            && result.job.settings().mpp_um == settings.mpp_um
            && result.job.settings().stain == settings.stain
        {
            return Ok(Rc::clone(&result.job));
        }
        let slide = self.slide()?;
        let mut setup = SlideSetup::of_slide(&slide.slide, model.card().mpp_um, settings)?;
        if let Some(tissue) = slide.tissue.borrow().clone() {
            setup = setup.with_tissue(tissue);
        }
        while let Some(request) = setup.next_request() {
            setup.supply(slide.region(request.level, request.rect, read).await?)?;
        }
        let job = Rc::new(setup.finish()?);
        slide.tissue.replace(Some(Arc::clone(job.tissue())));
        Ok(job)
    }

    async fn prepare(
        &self,
        slot: u32,
        id: u32,
        mpp: f64,
        settings: &str,
        read: Option<&Function>,
    ) -> Result<PreparedFacts> {
        let settings: TeachSettings = parsed(settings)?;
        let recipe = settings.recipe();
        recipe.validate()?;
        let model = self.state.borrow().model(id)?;
        if model.card().architecture.family() != Family::Dcnn {
            return Err(Error::unsupported(
                "Only networks of the DCNN family are taught; choose one of prunella's models",
            ));
        }
        let mut marked = self.marked_image(slot, &model, mpp, read).await?;
        marked.name = settings.name;
        marked.sha256 = settings.sha256;
        let (start, types) = with_types_of((*model).clone(), [&marked.labels])?;
        let images = marked.taught(&start)?;
        let mut state = self.state.borrow_mut();
        let rehearsal = state.tissue_for(start.card().mpp_um)?;
        let pictures = images.len() + rehearsal.len();
        let is_extended = !types.is_empty();
        if let Some(PreparedTeaching { asked, is_extended: true, .. }) = state.teaching.take() {
            state.drop_model(asked);
        }
        let asked = if is_extended { state.add_model(start.clone()) } else { id };
        let task = TeachTask { start, images, rehearsal, recipe, before: None };
        state.teaching = Some(PreparedTeaching { task, before: Vec::new(), asked, is_extended });
        Ok(PreparedFacts { model: asked, pictures, types, outside: marked.outside })
    }

    fn computation_of(&self, picture: usize) -> Result<Computation> {
        let state = self.state.borrow();
        let PreparedTeaching { task, asked, .. } = state.teaching()?;
        let images = task.images.iter().map(|image| &image.image);
        let image = images.chain(&task.rehearsal).nth(picture);
        let image = image.ok_or_else(|| Error::invalid("There is no such picture"))?;
        let layout = map_layout(&task.start);
        Ok(Computation::of_picture(self, *asked, layout, Arc::new(image.clone())))
    }

    fn take_answer(&self, computed: Computation) -> Result<()> {
        let map = computed.into_map()?;
        let mut state = self.state.borrow_mut();
        let teaching = state.teaching.as_mut().ok_or_else(nothing_prepared)?;
        teaching.before.push(class_bytes(&teaching.task.start, &map));
        Ok(())
    }

    fn task_bytes(&self) -> Result<Vec<u8>> {
        let mut state = self.state.borrow_mut();
        let PreparedTeaching { task, before, .. } =
            state.teaching.as_mut().ok_or_else(nothing_prepared)?;
        task.before = Some(std::mem::take(before));
        task.to_bytes()
    }

    fn taught_model(&self, values: &[f32], outcome: &str) -> Result<Model> {
        let outcome: TeachOutcome = parsed(outcome)?;
        let mut state = self.state.borrow_mut();
        let PreparedTeaching { task, asked, is_extended, .. } =
            state.teaching.take().ok_or_else(nothing_prepared)?;
        if is_extended {
            state.drop_model(asked);
        }
        let mut weights = task.start.weights().clone();
        let mut rest = values;
        for array in weights.values_mut() {
            let own = rest.split_off(..array.data.len());
            let own = own.ok_or_else(|| Error::mismatch("The weights are of another network"))?;
            array.data.copy_from_slice(own);
        }
        if !rest.is_empty() {
            return Err(Error::mismatch("The weights are of another network"));
        }
        let images = task.images.iter().map(|image| (&*image.name, &*image.sha256));
        let taught = TaughtWeights { weights, outcome };
        Ok(taught.into_model(&task.start, images, &task.recipe)?.model)
    }
}

/// Refuses marks that are too far apart together.
fn check_size(marked: &MarkedImage) -> Result<()> {
    let pixels: usize = marked.blocks().map(|block| block.width * block.height).sum();
    if pixels <= MAX_TAUGHT_PX {
        return Ok(());
    }
    Err(Error::limit(format!(
        "The marks cover {} megapixels with what lies around them; the page learns from {} at \
         once. Save the marks and use 'prunella finetune', or mark less",
        pixels / 1_000_000,
        MAX_TAUGHT_PX / 1_000_000
    )))
}

#[wasm_bindgen]
impl Session {
    /// Adds a picture of tissue, 0.25 µm a pixel, on which taught models must stay as they are.
    ///
    /// # Errors
    /// A sentence for a file that is no picture.
    #[wasm_bindgen(js_name = addTissue)]
    pub fn add_tissue(&self, bytes: &[u8]) -> std::result::Result<(), JsValue> {
        let limits = DecodeLimits { max_pixels: MAX_TISSUE_PX };
        let picture = read_picture(bytes, limits).thrown()?;
        self.state.borrow_mut().tissue.push(picture.image);
        Ok(())
    }

    /// Whether [`Self::add_tissue`] was called.
    #[must_use]
    #[wasm_bindgen(js_name = hasTissue)]
    pub fn has_tissue(&self) -> bool {
        !self.state.borrow().tissue.is_empty()
    }

    /// Prepares teaching a model what the review says of the open image. Gives `PreparedTeaching`
    /// of `web/worker-api.d.ts` as JSON. Then each picture is computed (`teachComputation`,
    /// `takeAnswer`), and `teachTask` has everything. `mpp` is the pixel size of the finest level
    /// in µm, 0 if it is unknown; `settings` is JSON of `TeachSettings`.
    ///
    /// # Errors
    /// A sentence where there is nothing to learn, or too much.
    #[wasm_bindgen(js_name = prepareTeaching)]
    pub async fn prepare_teaching(
        &self,
        slot: u32,
        model: u32,
        mpp: f64,
        settings: String,
        read: Option<Function>,
    ) -> std::result::Result<String, JsValue> {
        json(&self.prepare(slot, model, mpp, &settings, read.as_ref()).await.thrown()?)
    }

    /// What the model says of a picture of what was prepared, to be computed.
    ///
    /// # Errors
    /// A sentence where there is no such picture.
    #[wasm_bindgen(js_name = teachComputation)]
    pub fn teach_computation(&self, picture: usize) -> std::result::Result<Computation, JsValue> {
        self.cancel.store(false, Ordering::Relaxed);
        self.computation_of(picture).thrown()
    }

    /// Takes it; the pictures come in their order.
    ///
    /// # Errors
    /// A sentence for another computation.
    #[wasm_bindgen(js_name = takeAnswer)]
    pub fn take_answer_of(&self, computed: Computation) -> std::result::Result<(), JsValue> {
        self.take_answer(computed).thrown()
    }

    /// Everything that workers need to teach: bytes of a `TeachTask`.
    ///
    /// # Errors
    /// A sentence where nothing was prepared.
    #[wasm_bindgen(js_name = teachTask)]
    pub fn teach_task(&self) -> std::result::Result<Vec<u8>, JsValue> {
        self.task_bytes().thrown()
    }

    /// Adds the model with the weights that a teaching worker gave. Gives its facts as JSON.
    ///
    /// # Errors
    /// A sentence for weights of another network.
    #[wasm_bindgen(js_name = addTaught)]
    pub fn add_taught(
        &self,
        weights: &[f32],
        outcome: &str,
    ) -> std::result::Result<String, JsValue> {
        self.add(self.taught_model(weights, outcome).thrown()?)
    }

    /// The marks as GeoJSON, as `finetune --labels` and QuPath read them. `mpp` as of `teachTask`,
    /// for a model.
    ///
    /// # Errors
    /// A sentence where there is none.
    #[wasm_bindgen(js_name = marksFile)]
    pub fn marks_file(
        &self,
        slot: u32,
        model: u32,
        mpp: f64,
    ) -> std::result::Result<Vec<u8>, JsValue> {
        let state = self.state.borrow();
        let mpp_um = if mpp > 0.0 { mpp } else { state.model(model).thrown()?.card().mpp_um };
        let labels = state.labels(slot, mpp_um).thrown()?;
        if labels.marks.is_empty() {
            return Err(super::thrown(&Error::invalid("There is no mark yet")));
        }
        labels.to_geojson((mpp > 0.0).then_some(mpp)).thrown()
    }
}

impl State {
    /// The pictures of tissue at a model's pixel size.
    fn tissue_for(&self, mpp_um: f64) -> Result<Vec<RgbImage>> {
        let mut pictures = Vec::with_capacity(self.tissue.len());
        for picture in &self.tissue {
            let size = (picture.width(), picture.height());
            let sampling = Sampling::of_image(size, TISSUE_MPP_UM, mpp_um)?;
            let (width, height) = (sampling.width(), sampling.height());
            let everything = Block { row: 0, column: 0, width, height };
            pictures.push(sampling.apply(picture.clone(), everything)?);
        }
        Ok(pictures)
    }
}
