//! The model learns from marks: what is taught, what came out and waits for a decision, and the
//! versions that were kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::app_state::{AppState, file_name};
use super::command::{Command, TeachSettings};
use super::document::Document;
use super::lock;
use super::painting::nothing_marked;
use super::result_shelf::SharedResults;
use super::segment_job::{JobKind, SegmentTask};
use super::teaching_job::{TeachingEvent, TeachingJob, TeachingTask};
use super::versions::{ModelVersion, ModelVersions, VersionFiles};
use crate::error::{Error, Result, counted, listed};
use crate::model::{Architecture, Model, Precision};
use crate::raster::Point;
use crate::review::{ModelSetting, ReviewCommand};
use crate::slide::SlideBounds;
use crate::train::{MarkAgreement, TeachOutcome, TeachRecipe, TeachStep};

/// Side of the middle of the view that is segmented before and after, pixels of the model: a few
/// blocks, so that an answer comes soon.
const COMPARED_PX: f64 = 1024.0;
/// Most new types that a sentence names.
const MAX_NAMED: usize = 5;

/// How far teaching is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TeachProgress {
    /// Steps done.
    pub done: u64,
    /// Steps of the whole run; 0 while the marks are read.
    pub total: u64,
    /// Of the last step, nats.
    pub loss: Option<f64>,
    /// Seconds left, once a step is done.
    pub seconds_left: Option<f64>,
}

/// A taught model that is neither kept nor discarded.
pub struct TaughtResult {
    /// It is not in use.
    pub model: Arc<Model>,
    /// Of the model.
    pub fingerprint: String,
    /// What was taught.
    pub before: ModelSetting,
    /// Marks that lay inside the image.
    pub marks: usize,
    /// How many marks it agrees with, of those that were learned and those kept aside.
    pub outcome: TeachOutcome,
    /// Nuclei in the middle of the view by the model before, and by this one.
    pub nuclei: [usize; 2],
    /// Types of nuclei that the model before did not know.
    pub new_types: Vec<String>,
    /// What was unusual and what was done about it, a sentence each.
    pub notes: Vec<String>,
    /// What it took.
    pub seconds: f64,
    /// The nuclei that it found in the middle of the view.
    pub(super) results: SharedResults,
}

impl TaughtResult {
    /// Whether it is worse where it could not learn by heart.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        let TeachOutcome { held_back, held_back_loss, .. } = &self.outcome;
        let is_lossier = held_back_loss.is_some_and(|[before, after]| after > before);
        held_back.after < held_back.before || is_lossier
    }

    /// What came out, sentences for people.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let TeachOutcome { learned, held_back, .. } = self.outcome;
        let agrees =
            |of: MarkAgreement| format!("{} of {}, {} before", of.after, of.marks, of.before);
        let mut sentences = vec![format!("Agrees with the marks: {}.", agrees(learned))];
        if held_back.marks > 0 {
            sentences.push(format!("Marks kept aside: {}.", agrees(held_back)));
        }
        let [before, after] = self.nuclei;
        sentences.push(format!("Nuclei in the middle of the view: {before} → {after}."));
        if !self.new_types.is_empty() {
            sentences.push(format!("New types: {}.", listed(&self.new_types, MAX_NAMED)));
        }
        sentences.extend(self.notes.iter().cloned());
        if self.is_worse() {
            sentences.push("It is worse on the marks kept aside: better discard it.".to_owned());
        }
        sentences
    }
}

/// Everything about teaching on the open image.
#[derive(Default)]
pub(super) struct Teaching {
    job: Option<TeachingJob>,
    progress: Option<TeachProgress>,
    taught: Option<TaughtResult>,
    /// What is being taught.
    base: ModelSetting,
    /// Whether the nuclei of the taught model are shown.
    is_shown: bool,
    versions: ModelVersions,
}

impl Teaching {
    /// Whether the model learns at the moment.
    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// The versions that were kept.
    pub(super) fn versions(&self) -> &ModelVersions {
        &self.versions
    }

    /// Nuclei of the taught model, if they are to be shown.
    pub(super) fn shown_results(&self) -> Option<&SharedResults> {
        self.taught.as_ref().filter(|_| self.is_shown).map(|taught| &taught.results)
    }
}

impl TeachSettings {
    fn recipe(self) -> Result<TeachRecipe> {
        let usual = TeachRecipe::DEFAULT;
        let recipe = TeachRecipe {
            steps: self.steps.unwrap_or(usual.steps),
            distill: self.keep.unwrap_or(usual.distill),
            held_back: self.hold_back.unwrap_or(usual.held_back),
            seed: self.seed.unwrap_or(usual.seed),
            ..usual
        };
        recipe.validate()?;
        Ok(recipe)
    }
}

impl AppState {
    /// How far teaching is; none while nothing is taught.
    #[must_use]
    pub fn teach_progress(&self) -> Option<TeachProgress> {
        self.teaching.progress
    }

    /// The taught model that waits to be kept or discarded.
    #[must_use]
    pub fn taught(&self) -> Option<&TaughtResult> {
        self.teaching.taught.as_ref()
    }

    /// Whether the nuclei of the taught model are shown.
    #[must_use]
    pub fn shows_taught(&self) -> bool {
        self.teaching.shown_results().is_some()
    }

    /// The versions of the model that were kept of the open image.
    #[must_use]
    pub fn versions(&self) -> &[ModelVersion] {
        self.teaching.versions.all()
    }

    /// The version in use: 0 for the model that was taught first; none where the model in use is
    /// neither.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        self.teaching.versions.number_of(&self.review.state().model)
    }

    /// Executes a command about teaching.
    pub(super) fn execute_teaching(&mut self, command: &Command) -> Result<()> {
        match *command {
            Command::Teach(settings) => self.teach(settings.unwrap_or_default()),
            Command::ShowTaught(is_shown) => self.show_taught(is_shown),
            Command::KeepTaught => self.keep_taught(),
            Command::DiscardTaught => self.discard_taught(),
            Command::Version(number) => self.use_version(number),
            Command::RemoveVersion(number) => self.remove_version(number),
            Command::SaveModel(ref path) => self.save_model(path),
            ref other => self.execute_region(other),
        }
    }

    fn teach(&mut self, settings: TeachSettings) -> Result<()> {
        let recipe = settings.recipe()?;
        let mpp_um = self.label_mpp_um()?;
        if !matches!(self.model.card().architecture, Architecture::Dcnn { .. }) {
            return Err(Error::unsupported(
                "Only DCNNs are taught; the model in use is a DCCN. Choose another model",
            ));
        }
        let labels = self.labels(mpp_um)?;
        if labels.marks.is_empty() {
            return Err(nothing_marked());
        }
        let Some(view) = self.compared_view() else {
            return Err(Error::invalid("Nothing is open yet"));
        };
        self.cancel_teaching();
        // Both would take all processors.
        if self.job.as_ref().is_some_and(|job| job.kind != JobKind::Restoration) {
            self.cancel_job();
        }
        self.teaching.base = self.review.state().model.clone();
        let name = file_name(&self.location);
        let stem = Path::new(name).file_stem().unwrap_or_default();
        let is_image = matches!(self.document.as_deref(), Some(Document::Image { .. }));
        let task = TeachingTask {
            name: stem.to_string_lossy().into_owned(),
            file: is_image.then(|| PathBuf::from(&self.location)),
            labels,
            mpp_um,
            recipe,
            view,
            results: Arc::clone(self.results()),
        };
        self.teaching.progress = Some(TeachProgress::default());
        "The model learns…".clone_into(&mut self.status);
        self.teaching.job = Some(TeachingJob::start(task, self.wake()));
        Ok(())
    }

    /// The middle of the view, to be segmented before and after.
    fn compared_view(&self) -> Option<SegmentTask> {
        let mpp_um = self.label_mpp_um().ok()?;
        let side = COMPARED_PX * self.model.card().mpp_um / mpp_um;
        let view = self.view.bounds().intersection(&self.whole());
        Some(SegmentTask { bounds: middle_of(&view, side), saved: None, ..self.segment_task()? })
    }

    /// Takes what the thread reports; whether there was anything.
    pub(super) fn poll_teaching(&mut self) -> bool {
        let Some(job) = &self.teaching.job else { return false };
        let begun = job.begun;
        let events = job.events();
        let is_new = !events.is_empty();
        for event in events {
            match event {
                TeachingEvent::Step(TeachStep { done, total, loss, .. }) => {
                    let seconds = begun.elapsed().as_secs_f64();
                    let left = seconds / done as f64 * (total - done) as f64;
                    self.teaching.progress = Some(TeachProgress {
                        done,
                        total,
                        loss: Some(loss),
                        seconds_left: Some(left),
                    });
                }
                TeachingEvent::Comparing => {
                    "The model has learned; the view is segmented…".clone_into(&mut self.status);
                }
                TeachingEvent::Ended(result) => self.finish_teaching(result),
            }
        }
        is_new
    }

    fn finish_teaching(&mut self, result: Result<Box<TaughtResult>>) {
        self.teaching.job = None;
        self.teaching.progress = None;
        // A replayed script must wait here too.
        self.record_command(&Command::Wait);
        match result {
            Ok(taught) => {
                self.status = format!(
                    "Taught in {:.1} s from {}; keep it or discard it.",
                    taught.seconds,
                    counted(taught.marks, "mark", "marks")
                );
                // One that was taught before stays until there is another.
                self.hide_taught();
                let before = std::mem::take(&mut self.teaching.base);
                self.teaching.taught = Some(TaughtResult { before, ..*taught });
            }
            Err(Error::Cancelled { .. }) => {}
            Err(error) => {
                "The model is as it was.".clone_into(&mut self.status);
                self.report(&error);
            }
        }
    }

    /// Stops teaching; the model in use was never touched.
    pub(super) fn cancel_teaching(&mut self) {
        if let Some(job) = self.teaching.job.take() {
            job.cancel();
            self.teaching.progress = None;
            "Stopped; the model is as it was.".clone_into(&mut self.status);
        }
    }

    /// Ends everything that belongs to the open image, and reads the versions that are kept of the
    /// one that was opened.
    pub(super) fn begin_teaching(&mut self, image: &str) {
        self.cancel_teaching();
        self.teaching = Teaching::default();
        let mut problems = Vec::new();
        let program = self.program_model();
        let files = VersionFiles { store: &mut self.store, image: image.to_owned() };
        match ModelVersions::read(&files, &program, &mut problems) {
            Ok((versions, models)) => {
                self.teaching.versions = versions;
                for (fingerprint, model) in models {
                    self.add_model(fingerprint, model);
                }
            }
            Err(error) => {
                self.teaching.versions = ModelVersions::unreadable();
                problems.push(error);
            }
        }
        for problem in problems {
            self.report(&problem);
        }
    }

    fn show_taught(&mut self, is_shown: bool) -> Result<()> {
        if is_shown && self.teaching.taught.is_none() {
            return Err(nothing_taught());
        }
        self.teaching.is_shown = is_shown;
        self.redraw_results();
        self.refresh_selection();
        Ok(())
    }

    fn hide_taught(&mut self) {
        if std::mem::take(&mut self.teaching.is_shown) {
            self.redraw_results();
            self.refresh_selection();
        }
    }

    fn keep_taught(&mut self) -> Result<()> {
        let taught = self.teaching.taught.as_ref().ok_or_else(nothing_taught)?;
        let before = taught.before.clone();
        let version = ModelVersion {
            number: 0,
            fingerprint: taught.fingerprint.clone(),
            marks: taught.marks,
            outcome: taught.outcome.clone(),
        };
        let model = Arc::clone(&taught.model);
        let unpruned = self.model_of(&ModelSetting { ratio: 0.0, ..before.clone() })?;
        let image = self.fingerprint().to_owned();
        let mut files = VersionFiles { store: &mut self.store, image };
        let versions = &mut self.teaching.versions;
        let number = versions.add(&before, &unpruned, version, &model, &mut files)?;
        // It is kept: what fails from here on can be done again.
        self.hide_taught();
        if let Some(taught) = self.teaching.taught.take() {
            self.add_model(taught.fingerprint, taught.model);
            // Its nuclei are there when the review asks for the model.
            if let Some(result) = lock(&taught.results).current.take() {
                let settings = self.settings().clone();
                lock(self.results()).take_result(result, &settings);
            }
        }
        self.use_version(number)?;
        self.follow_review();
        self.status = format!("Version {number} of the model is in use.");
        if let Err(error) = self.segment_view() {
            self.report(&error);
        }
        Ok(())
    }

    fn discard_taught(&mut self) -> Result<()> {
        if self.teaching.taught.is_none() {
            return Err(nothing_taught());
        }
        self.hide_taught();
        self.teaching.taught = None;
        "Discarded; the model is as it was.".clone_into(&mut self.status);
        Ok(())
    }

    fn use_version(&mut self, number: u32) -> Result<()> {
        let setting = self.teaching.versions.setting(number)?;
        self.model_of(&setting)?;
        self.change(ReviewCommand::Model(setting))?;
        self.status = match number {
            0 => "The model that was taught first is in use.".to_owned(),
            number => format!("Version {number} of the model is in use."),
        };
        Ok(())
    }

    fn remove_version(&mut self, number: u32) -> Result<()> {
        if number > 0 && self.version() == Some(number) {
            self.use_version(0)?;
        }
        let image = self.fingerprint().to_owned();
        let mut files = VersionFiles { store: &mut self.store, image };
        self.teaching.versions.remove(number, &mut files)?;
        self.status = format!("Version {number} is removed.");
        Ok(())
    }

    fn save_model(&mut self, path: &Path) -> Result<()> {
        self.model.save(path, Precision::F32)?;
        let parameters = self.model.graph().parameters();
        let parameters = counted(parameters, "parameter", "parameters");
        self.status = format!("A model of {parameters} → {}", path.display());
        Ok(())
    }
}

/// The square in the middle of a rectangle, cut at its edges.
fn middle_of(bounds: &SlideBounds, side: f64) -> SlideBounds {
    let Point { x, y } = bounds.centre();
    let half = side / 2.0;
    let square = SlideBounds { left: x - half, top: y - half, right: x + half, bottom: y + half };
    square.intersection(bounds)
}

fn nothing_taught() -> Error {
    Error::invalid("No taught model waits: teach first")
}
