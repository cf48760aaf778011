//! The state of the window without the window: it takes [`Command`]s and collects updates for the
//! screen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{Command, SegmentExtent};
use super::document::{Document, fingerprint_of};
use super::file_list::FileList;
use super::reference::Reference;
use super::result_shelf::{
    ResultSettings, ResultShelf, ReviewAt, ReviewSnapshot, SharedResults, ShownNuclei,
};
use super::saved_results::result_bytes;
use super::screenshot::screenshot;
use super::segment_job::{JobKind, SavedTask, SegmentJob, SegmentTask, SegmenterCache};
use super::selection::Selection;
use super::state_store::{ResultFile, StateStore};
use super::teaching::Teaching;
use super::tile_loader::TileLoader;
use super::{Wake, lock};
use crate::engine::DeviceChoice;
use crate::error::{Error, Result, counted};
use crate::model::{InstanceParameters, Model, NucleusType};
use crate::platform::write_atomic;
use crate::prune::{PruningPlan, Scope, apply};
use crate::raster::{Point, encode_rgb_png};
use crate::review::{
    DisplaySettings, DocumentFacts, ModelSetting, PixelSizeSetting, PixelSizeSource, RegionCounts,
    Review, ReviewCommand, ReviewCounts, ReviewState,
};
use crate::slide::SlideBounds;
use crate::viewer::{Layers, ScreenPoint, TileKey, Viewport};

/// Size of the screen before there is a window, pixels.
const DEFAULT_SCREEN: (f64, f64) = (1280.0, 800.0);
/// How often a script checks whether the segmentation has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Least time between two savings of the result of a segmentation under way.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// Nuclei that lengthen it by a second: much to write is written more seldom.
const NUCLEI_PER_SECOND: usize = 20_000;
/// Most messages about errors that are shown at a time.
const MAX_ALERTS: usize = 4;

/// A change that the screen must apply.
#[derive(Debug)]
pub enum ScreenUpdate {
    /// Another image of this width and height, pixels: all tiles are dropped.
    Reset((usize, usize)),
    /// Pixels of a tile: RGBA with apron.
    ImageTile(TileKey, Vec<u8>),
    /// Results of a tile, as [`crate::viewer::nuclei_tile`] gives them.
    ResultTile(TileKey, Vec<u8>),
    /// The results are no longer valid.
    ClearResults,
}

/// Progress of a segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct JobProgress {
    /// Finished blocks.
    pub done: usize,
    /// Blocks to compute.
    pub total: usize,
}

/// Nuclei that count.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NucleusCount {
    /// Nuclei, and what a person decided.
    pub counts: ReviewCounts,
    /// Area that was segmented, pixels of the finest level.
    pub segmented_px: f64,
}

impl NucleusCount {
    /// Share of the segmented area that nuclei cover, 0 to 1.
    #[must_use]
    pub fn area_share(&self) -> f64 {
        if self.segmented_px > 0.0 {
            self.counts.covered_px as f64 / self.segmented_px
        } else {
            0.0
        }
    }
}

/// Revisions of review and results, and the part that the screen shows.
type ViewCountKey = (u64, ShownVersion, [f64; 4]);

/// Version of the results that are shown, and whether they are those of a taught model.
type ShownVersion = (u64, bool);

/// Revisions of review and results, and what was counted in each region then.
type CountedRegions = ((u64, ShownVersion), Vec<RegionCounts>);

/// Everything but the window.
pub struct AppState {
    /// What part of the document the screen shows.
    pub view: Viewport,
    /// How results are drawn.
    pub layers: Layers,
    /// The open slide or image.
    pub document: Option<Arc<Document>>,
    /// Name of the slide or image, for display and for results.
    pub name: String,
    /// Path or address of the slide or image.
    pub location: String,
    /// What else was opened with it, and can be chosen.
    pub list: FileList,
    /// What was unusual about the slide or image and what was done about it, a sentence each.
    pub notes: Vec<String>,
    /// The same about its segmentation.
    pub job_notes: Vec<String>,
    /// The model in use: one of `models` without [`Self::pruning_ratio`] of its filters.
    pub model: Arc<Model>,
    /// Where the last segmentation computed.
    pub device_name: String,
    /// What happened last, a sentence for people.
    pub status: String,
    /// What went wrong and was not closed yet, the newest at the end.
    pub alerts: Vec<String>,
    /// Of the running segmentation.
    pub progress: Option<JobProgress>,
    /// Distance that is measured, pixels of the finest level.
    pub ruler: Option<[Point; 2]>,
    /// Everything that a person sets about the image.
    pub(super) review: Review,
    /// Raised with each change of `review` that can be undone.
    pub(super) revision: u64,
    pub(super) selection: Selection,
    pub(super) reference: Option<Reference>,
    pub(super) teaching: Teaching,
    /// Unpruned models: of the program, and those of files by their fingerprint.
    models: BTreeMap<Option<String>, Arc<Model>>,
    view_count: RefCell<Option<(ViewCountKey, usize)>>,
    pub(super) region_counts: RefCell<Option<CountedRegions>>,
    model_setting: ModelSetting,
    /// The model that was loaded from a file last: no kept version takes its place.
    asked_model: Option<String>,
    model_fingerprint: String,
    settings: ResultSettings,
    pub(super) store: StateStore,
    results: SharedResults,
    device_choice: DeviceChoice,
    segmenters: Arc<SegmenterCache>,
    pub(super) job: Option<SegmentJob>,
    pub(super) tile_loader: TileLoader,
    wake: Wake,
    recording: Option<File>,
    /// State that the command under way restored from the device.
    restored: Option<Box<ReviewState>>,
    /// What was restored of the open document, in words.
    restored_facts: Vec<String>,
    /// The result on this device that is not read yet.
    saved_result: Option<ResultFile>,
    /// Whether the result of the open document is kept.
    keeps_result: bool,
    /// Version of the results that were saved last, and when.
    saved_version: (u64, Instant),
    /// Result tiles that the screen has and that are up to date.
    pub(super) current_results: BTreeSet<TileKey>,
    /// Image tiles that cannot be read; they are not requested again.
    pub(super) failed_tiles: BTreeSet<TileKey>,
    /// Finished blocks of the present results, in the order of time.
    pub(super) finished_blocks: Vec<SlideBounds>,
    pub(super) updates: Vec<ScreenUpdate>,
}

impl AppState {
    /// A state with the program's model and without a document. Background threads call `wake`
    /// when [`Self::poll`] has something to take.
    #[must_use]
    pub fn new(model: Model, device_choice: DeviceChoice, store: StateStore, wake: Wake) -> Self {
        let model = Arc::new(model);
        let model_fingerprint = model.fingerprint();
        let review = Review::default();
        let display = &review.state().display;
        Self {
            view: Viewport::new((1, 1), DEFAULT_SCREEN),
            layers: layers_of(display),
            document: None,
            name: String::new(),
            location: String::new(),
            list: FileList::default(),
            notes: Vec::new(),
            job_notes: Vec::new(),
            settings: ResultSettings::of(review.state(), &model, &model_fingerprint),
            models: BTreeMap::from([(None, Arc::clone(&model))]),
            view_count: RefCell::default(),
            region_counts: RefCell::default(),
            model_setting: ModelSetting::default(),
            asked_model: None,
            model_fingerprint,
            model,
            device_name: String::new(),
            status: "Drop a slide here.".to_owned(),
            alerts: Vec::new(),
            progress: None,
            ruler: None,
            review,
            revision: 0,
            selection: Selection::default(),
            reference: None,
            teaching: Teaching::default(),
            store,
            results: shared_results(),
            device_choice,
            segmenters: Arc::default(),
            job: None,
            tile_loader: TileLoader::start(&wake),
            wake,
            recording: None,
            restored: None,
            restored_facts: Vec::new(),
            saved_result: None,
            keeps_result: true,
            saved_version: (0, Instant::now()),
            current_results: BTreeSet::new(),
            failed_tiles: BTreeSet::new(),
            finished_blocks: Vec::new(),
            updates: Vec::new(),
        }
    }

    /// Writes all further commands to a file, as a script.
    pub fn record(&mut self, file: File) {
        self.recording = Some(file);
    }

    /// Whether a segmentation or teaching runs.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.job.is_some() || self.teaching.is_busy()
    }

    /// Everything that a person has set about the image.
    #[must_use]
    pub fn review(&self) -> &Review {
        &self.review
    }

    /// Pixel size of the finest level, µm; none if it is neither in the file nor stated.
    #[must_use]
    pub fn mpp_um(&self) -> Option<f64> {
        self.review.state().pixel_size.um
    }

    /// A pixel belongs to a nucleus above this probability.
    #[must_use]
    pub fn threshold(&self) -> f32 {
        self.settings.threshold
    }

    /// Share of filters removed, 0 to 0.9.
    #[must_use]
    pub fn pruning_ratio(&self) -> f64 {
        self.model_setting.ratio / 100.0
    }

    /// Nuclei that count, of the model and of a person; none before the first segmentation and
    /// decision.
    #[must_use]
    pub fn counts(&self) -> Option<NucleusCount> {
        if !self.has_results() {
            return None;
        }
        let mut shelf = lock(&self.results);
        let counts = shelf.counts(self.review_at());
        let segmented_px = shelf.counted().map_or(0.0, |result| result.index().area_px());
        Some(NucleusCount { counts, segmented_px })
    }

    /// Types of nuclei that are told apart, and how many count of each.
    #[must_use]
    pub fn counts_of_types(&self) -> Vec<(NucleusType, usize)> {
        lock(&self.results).counts_of_types(self.review_at())
    }

    /// Nuclei that count and whose centroid lies in the view.
    #[must_use]
    pub fn nuclei_in_view(&self) -> usize {
        let bounds = self.view.bounds();
        let key = (
            self.revision,
            self.shown_version(),
            [bounds.left, bounds.top, bounds.right, bounds.bottom],
        );
        let mut cached = self.view_count.borrow_mut();
        match *cached {
            Some((of, count)) if of == key => count,
            _ => {
                let count = self.with_shown(|shown| shown.counted().counts_in(bounds).nuclei);
                *cached = Some((key, count));
                count
            }
        }
    }

    /// What was done to the colours of the nuclei that count, a sentence.
    #[must_use]
    pub fn stain_fact(&self) -> Option<&'static str> {
        let shelf = lock(&self.results);
        let result = shelf.counted()?;
        Some(if result.job.stain_lut().is_some() {
            "The colours of this image were matched."
        } else if result.settings.keep_stain {
            "The colours of this image were used as they are."
        } else {
            "The colours of this image needed no matching."
        })
    }

    /// Where the nuclei that count were made with other settings than those in use: a sentence.
    #[must_use]
    pub fn older_note(&self) -> Option<String> {
        let shelf = lock(&self.results);
        let result = shelf.counted()?;
        (result.settings != self.settings).then(|| {
            format!(
                "These nuclei were found with other settings ({}); segment again.",
                difference(&result.settings, &self.settings)
            )
        })
    }

    /// The results that count.
    pub(super) fn results(&self) -> &SharedResults {
        &self.results
    }

    /// The results that the screen shows: those that count, or those of a taught model that is
    /// looked at.
    pub(super) fn shown_results(&self) -> &SharedResults {
        self.teaching.shown_results().unwrap_or(&self.results)
    }

    pub(super) fn shown_version(&self) -> ShownVersion {
        (lock(self.shown_results()).version(), self.shows_taught())
    }

    pub(super) fn settings(&self) -> &ResultSettings {
        &self.settings
    }

    pub(super) fn wake(&self) -> Wake {
        Arc::clone(&self.wake)
    }

    /// The model of the program.
    pub(super) fn program_model(&self) -> Arc<Model> {
        Arc::clone(self.models.get(&None).unwrap_or(&self.model))
    }

    /// Adds a model that settings can name.
    pub(super) fn add_model(&mut self, fingerprint: String, model: Arc<Model>) {
        self.models.insert(Some(fingerprint), model);
    }

    /// Marks and regions as they are combined with nuclei.
    pub(super) fn review_at(&self) -> ReviewAt<'_> {
        let ReviewState { marks, regions, inside_only, .. } = self.review.state();
        ReviewAt { marks, inside: inside_only.then_some(regions), revision: self.revision }
    }

    fn snapshot(&self) -> ReviewSnapshot {
        let ReviewState { marks, regions, inside_only, .. } = self.review.state();
        ReviewSnapshot {
            marks: marks.clone(),
            inside: inside_only.then(|| regions.clone()),
            revision: self.revision,
        }
    }

    /// Whether there is a nucleus, a block or a decision.
    pub(super) fn has_results(&self) -> bool {
        !(lock(self.shown_results()).is_empty() && self.review.state().marks.is_empty())
    }

    /// Calls a function with the nuclei and marks that are shown.
    pub(super) fn with_shown<T>(&self, take: impl FnOnce(ShownNuclei<'_>) -> T) -> T {
        take(lock(self.shown_results()).shown(self.review_at()))
    }

    /// The whole document, pixels of the finest level.
    pub(super) fn whole(&self) -> SlideBounds {
        let (width, height) = self.document.as_ref().map_or((0, 0), |document| document.size());
        SlideBounds::of_size(width, height)
    }

    /// Executes a command.
    ///
    /// # Errors
    /// A sentence for people; the state is as before then.
    pub fn apply(&mut self, command: &Command) -> Result<()> {
        if uses_points_of_the_screen(command) {
            if self.view.halt() {
                let [x, y, scale] = self.view.state();
                self.record_command(&Command::LookAt { x, y, scale });
            }
            // Replayed, the nucleus must have been found.
            if self.is_busy() && !matches!(command, Command::Segment(_)) {
                self.record_command(&Command::Wait);
            }
        }
        let before = self.revision;
        let executed = self.execute(command);
        if executed.is_ok() {
            // What failed did nothing, and would end a script.
            self.record_command(command);
            if let Some(state) = self.restored.take() {
                self.record_command(&Command::State(state));
            }
        }
        if self.revision != before {
            self.follow_review();
            self.save_state();
        }
        executed
    }

    fn execute(&mut self, command: &Command) -> Result<()> {
        match *command {
            Command::Open(ref location) if Path::new(location).is_dir() => {
                self.open_all(std::slice::from_ref(location))?;
            }
            Command::Open(ref location) => self.open(location)?,
            Command::OpenAll(ref places) => self.open_all(places)?,
            Command::NextFile => self.open_neighbour(1)?,
            Command::PreviousFile => self.open_neighbour(-1)?,
            Command::Model(ref path) => self.load_model(path)?,
            Command::Prune(ratio) => {
                let per_cent = (ratio * 1e6).round() / 1e4;
                let setting = ModelSetting { ratio: per_cent, ..self.model_setting.clone() };
                self.model_of(&setting)?;
                self.change(ReviewCommand::Model(setting))?;
            }
            Command::Threshold(value) => {
                let value = value.map(|value| value.clamp(0.0, 1.0));
                self.change(ReviewCommand::Threshold(value))?;
            }
            Command::KeepStain(keep) => self.change(ReviewCommand::KeepStain(keep))?,
            Command::Mpp(um) => {
                let setting = PixelSizeSetting { um: Some(um), source: PixelSizeSource::Person };
                self.change(ReviewCommand::PixelSize(setting))?;
            }
            Command::Resize { width, height } => self.view.resize((width, height)),
            Command::Pan { dx, dy } => self.view.pan(dx, dy),
            Command::Glide { across, down } => self.view.glide(across, down),
            Command::Zoom { x, y, factor } => self.view.zoom(ScreenPoint { x, y }, factor),
            Command::Fit => self.view.fit(),
            Command::GoTo { x, y, scale } => self.view.go_to(Point { x, y }, scale),
            Command::LookAt { x, y, scale } => self.view.set_state([x, y, scale]),
            Command::Layers { outline, mask, heat } => {
                let [outline, mask, heat] = [outline, mask, heat].map(f64::from);
                let display = self.review.state().display.clone();
                self.set_display(DisplaySettings { outline, mask, heat, ..display })?;
            }
            Command::Palette(ref name) => {
                let display = self.review.state().display.clone();
                self.set_display(DisplaySettings { palette: name.clone(), ..display })?;
            }
            Command::Segment(extent) => self.segment(extent)?,
            Command::Cancel => {
                self.cancel_job();
                self.cancel_teaching();
            }
            Command::Export(ref path) => self.export(path)?,
            Command::Wait => self.wait_for_job(),
            Command::Picture(ref path) => {
                write_atomic(path, &encode_rgb_png(&screenshot(self)?)?)?;
            }
            Command::State(ref state) => self.restore((**state).clone()),
            Command::ForgetState => self.forget_state()?,
            Command::CloseMessages => self.alerts.clear(),
            Command::Ruler(ends) => self.measure(ends),
            ref edit => self.execute_edit(edit)?,
        }
        Ok(())
    }

    /// Changes the review by a command that can be undone.
    pub(super) fn change(&mut self, command: ReviewCommand) -> Result<()> {
        self.review.apply(command)?;
        self.revision += 1;
        Ok(())
    }

    fn set_display(&mut self, display: DisplaySettings) -> Result<()> {
        self.layers = layers_of(&display);
        self.review.apply(ReviewCommand::Display(display))
    }

    /// Adds a message that stays until it is closed.
    pub fn report(&mut self, error: &Error) {
        let message = error.to_string();
        self.alerts.retain(|other| *other != message);
        self.alerts.push(message);
        if self.alerts.len() > MAX_ALERTS {
            self.alerts.remove(0);
        }
    }

    /// Appends a command to the recorded script. When the file cannot be written, the recording
    /// ends and the command is executed all the same.
    pub(super) fn record_command(&mut self, command: &Command) {
        let Some(file) = &mut self.recording else { return };
        let written = serde_json::to_string(command).map(|line| writeln!(file, "{line}"));
        if !matches!(written, Ok(Ok(()))) {
            self.recording = None;
            self.alerts.push("The script cannot be written any more.".to_owned());
        }
    }

    /// Lists files and opens the first. When that cannot be opened, the list can still be used.
    fn open_all(&mut self, places: &[String]) -> Result<()> {
        self.list = FileList::of(places)?;
        match self.list.files.first().cloned() {
            Some(first) => self.open(&first),
            None => Ok(()),
        }
    }

    /// Opens the file of the list that lies `step` behind the open one.
    fn open_neighbour(&mut self, step: isize) -> Result<()> {
        let files = &self.list.files;
        let place = files.iter().position(|file| *file == self.location);
        let wanted = place.and_then(|place| place.checked_add_signed(step));
        match wanted.and_then(|wanted| files.get(wanted)).cloned() {
            Some(file) => self.open(&file),
            None if files.len() < 2 => Err(Error::invalid("There is no list of files")),
            None if step > 0 => Err(Error::invalid("This is the last file of the list")),
            None => Err(Error::invalid("This is the first file of the list")),
        }
    }

    fn open(&mut self, location: &str) -> Result<()> {
        let document = Arc::new(Document::open(location)?);
        self.cancel_job();
        self.save_state();
        self.save_result();
        file_name(location).clone_into(&mut self.name);
        location.clone_into(&mut self.location);
        self.notes = document.notes().to_vec();
        self.job_notes.clear();
        self.view = Viewport::new(document.size(), self.view.screen());
        self.results = shared_results();
        self.saved_result = None;
        self.keeps_result = true;
        self.saved_version = (0, Instant::now());
        self.restored_facts.clear();
        self.failed_tiles.clear();
        self.current_results.clear();
        self.finished_blocks.clear();
        self.selection = Selection::default();
        self.reference = None;
        self.ruler = None;
        self.updates = vec![ScreenUpdate::Reset(document.size())];
        // Without a fingerprint nothing is kept of it.
        let fingerprint = fingerprint_of(location).unwrap_or_default();
        self.begin_teaching(&fingerprint);
        self.document = Some(document);
        self.begin_review(&fingerprint)?;
        self.status = match (self.mpp_um(), self.document.as_deref()) {
            (None, Some(Document::Slide { .. })) => {
                "The pixel size is not known; state it before segmenting.".to_owned()
            }
            (None, Some(Document::Image { .. })) => format!(
                "The pixel size is not known and taken to be the model's, {} µm.",
                self.model.card().mpp_um
            ),
            _ => "Ready.".to_owned(),
        };
        match self.store.load(&fingerprint) {
            Ok(Some(state)) if !fingerprint.is_empty() => {
                self.restored = Some(Box::new(state.clone()));
                self.restore(state);
            }
            Ok(_) => {}
            Err(error) => {
                self.report(&error);
                self.status = "What is kept of this image cannot be read; it starts anew.".into();
            }
        }
        if !fingerprint.is_empty() {
            self.saved_result = self.store.result(&fingerprint);
            self.read_saved_result();
        }
        Ok(())
    }

    /// Starts the review of the open document anew.
    fn begin_review(&mut self, fingerprint: &str) -> Result<()> {
        let Some(document) = self.document.as_deref() else { return Ok(()) };
        let um = document.mpp_um();
        let source = if um.is_some() { PixelSizeSource::File } else { PixelSizeSource::Unknown };
        let (width, height) = document.size();
        let facts = DocumentFacts {
            hash: fingerprint.to_owned(),
            name: self.name.clone(),
            width: u32::try_from(width).unwrap_or(u32::MAX),
            height: u32::try_from(height).unwrap_or(u32::MAX),
            is_slide: matches!(document, Document::Slide { .. }),
        };
        let pixel_size = PixelSizeSetting { um, source };
        self.review.apply(ReviewCommand::Open { document: facts, pixel_size })?;
        self.revision += 1;
        self.follow_review();
        Ok(())
    }

    /// Takes over a saved state of the open document. Its history begins anew.
    fn restore(&mut self, mut state: ReviewState) {
        let now = self.review.state();
        state.document.clone_from(&now.document);
        if state.pixel_size.source != PixelSizeSource::Person {
            state.pixel_size = now.pixel_size;
        }
        let mut facts = Vec::new();
        if !self.can_restore(&state.model) {
            state.model = self.model_setting.clone();
        } else if state.model != self.model_setting {
            match self.teaching.versions().number_of(&state.model) {
                Some(number) if number > 0 => facts.push(format!("version {number} of the model")),
                _ => facts.push(format!("{} % of the filters removed", state.model.ratio)),
            }
        }
        if !state.marks.is_empty() {
            facts.push(counted(state.marks.len(), "decision", "decisions"));
        }
        if !state.strokes.is_empty() {
            facts.push(counted(state.strokes.len(), "stroke", "strokes"));
        }
        if !state.regions.is_empty() {
            facts.push(counted(state.regions.len(), "region", "regions"));
        }
        if state.keep_stain {
            facts.push("colours as they are".to_owned());
        }
        if let Some(threshold) = state.threshold {
            facts.push(format!("threshold {threshold:.2}"));
        }
        if state.pixel_size.source == PixelSizeSource::Person
            && let Some(um) = state.pixel_size.um
        {
            facts.push(format!("pixel size {um} µm"));
        }
        if let Some(view) = state.view {
            self.view.set_state(view);
        }
        let found = state.results[0].as_ref().map_or(0, |facts| facts.nuclei);
        self.restored_facts = facts;
        self.state_what_is_restored(found > 0);
        state.results = [None, None];
        self.layers = layers_of(&state.display);
        self.review = Review::new(state);
        self.revision += 1;
        self.follow_review();
    }

    /// Whether a kept state can bring its model: one of the same file as the one in use, or of the
    /// program, or a version that was taught on the image, unless a file was asked for.
    fn can_restore(&self, setting: &ModelSetting) -> bool {
        let is_same = self.model_setting.loaded == setting.loaded;
        let is_asked = self.asked_model.is_some() && self.model_setting.loaded == self.asked_model;
        let is_programs = setting.loaded.is_none() && self.asked_model.is_none();
        let is_version = self.teaching.versions().hold(setting) && !is_asked;
        (is_same || is_programs || is_version) && self.model_of(setting).is_ok()
    }

    fn state_what_is_restored(&mut self, lacks_nuclei: bool) {
        let place = if self.store.is_on_device() { "this device" } else { "this session" };
        let again = if lacks_nuclei { " Segment again for the nuclei of the model." } else { "" };
        let facts = match self.restored_facts.join(", ") {
            facts if facts.is_empty() => "settings".to_owned(),
            facts => facts,
        };
        self.status = format!("Restored from {place}: {facts}.{again}");
    }

    /// Starts to read the result that is kept, if it was not read yet.
    fn read_saved_result(&mut self) {
        if self.job.is_some() {
            return;
        }
        let Some(task) = self.saved_task() else { return };
        let job = SegmentJob::restore(task, Arc::clone(&self.results), Arc::clone(&self.wake));
        self.job = Some(job);
    }

    fn saved_task(&self) -> Option<SavedTask> {
        Some(SavedTask {
            document: Arc::clone(self.document.as_ref()?),
            model: Arc::clone(&self.model),
            settings: self.settings.clone(),
            view: self.view.bounds().centre(),
            file: self.saved_result.clone()?,
        })
    }

    /// The result that was kept is read.
    pub(super) fn take_restored(&mut self, is_shown: bool) {
        self.saved_result = None;
        if !is_shown {
            return;
        }
        let shelf = lock(&self.results);
        self.saved_version = (shelf.version(), Instant::now());
        let found = shelf.counted().map_or(0, |result| result.index().count());
        let note = shelf.counted().and_then(|result| result.job.stain_note());
        drop(shelf);
        self.job_notes = note.map(str::to_owned).into_iter().collect();
        self.restored_facts.insert(0, counted(found, "nucleus", "nuclei"));
        self.state_what_is_restored(false);
        self.redraw_results();
    }

    /// Whether every block of the result in use is finished.
    pub(super) fn is_complete(&self) -> bool {
        let shelf = lock(&self.results);
        let progress = shelf.current.as_ref().map(|result| result.index().progress());
        progress.is_some_and(|(done, wanted)| done == wanted)
    }

    /// Keeps the result on this device, unless it is kept already.
    pub(super) fn save_result(&mut self) {
        let version = lock(&self.results).version();
        let is_new = version != self.saved_version.0 && !lock(&self.results).is_empty();
        // One that is not read yet would be lost.
        if !(is_new && self.keeps_result && self.saved_result.is_none()) {
            return;
        }
        let fingerprint = self.fingerprint().to_owned();
        if fingerprint.is_empty() {
            return;
        }
        self.saved_version = (version, Instant::now());
        let results = Arc::clone(&self.results);
        self.store.save_result(&fingerprint, move || result_bytes(&results));
    }

    /// Keeps the result of a segmentation under way, from time to time.
    pub(super) fn save_blocks(&mut self) {
        let count = lock(&self.results).counted().map_or(0, |result| result.index().count());
        let longer = Duration::from_secs((count / NUCLEI_PER_SECOND) as u64);
        if self.saved_version.1.elapsed() > SAVE_INTERVAL + longer {
            self.note_result();
            self.save_state();
            self.save_result();
        }
    }

    fn forget_state(&mut self) -> Result<()> {
        let fingerprint = self.fingerprint().to_owned();
        self.store.forget(&fingerprint)?;
        self.keeps_result = false;
        self.saved_result = None;
        let versions = self.teaching.versions();
        let loaded = match versions.number_of(&self.model_setting) {
            Some(number) if number > 0 => versions.setting(0)?.loaded,
            _ => self.model_setting.loaded.clone(),
        };
        self.begin_teaching(&fingerprint);
        // Another image would keep these.
        self.review.apply(ReviewCommand::Threshold(None))?;
        self.review.apply(ReviewCommand::KeepStain(false))?;
        let setting = ModelSetting { loaded, ..ModelSetting::default() };
        self.review.apply(ReviewCommand::Model(setting))?;
        self.begin_review(&fingerprint)?;
        "Nothing is kept of this image any more.".clone_into(&mut self.status);
        Ok(())
    }

    /// Of the open document; empty if there is none.
    pub(super) fn fingerprint(&self) -> &str {
        self.review.state().document.as_ref().map_or("", |document| &document.hash)
    }

    /// Whether anything is kept of the open document.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.store.has(self.fingerprint())
    }

    /// Keeps the state of the open document, if a person has set anything.
    pub(super) fn save_state(&mut self) {
        let fingerprint = self.fingerprint().to_owned();
        let state = self.review.state();
        let is_set = !state.marks.is_empty()
            || !state.regions.is_empty()
            || !state.strokes.is_empty()
            || !self.teaching.versions().is_empty()
            || state.threshold.is_some()
            || state.keep_stain
            || (self.keeps_result && state.results[0].is_some())
            || state.pixel_size.source == PixelSizeSource::Person;
        if fingerprint.is_empty() || !(is_set || self.store.has(&fingerprint)) {
            return;
        }
        let kept = self
            .review
            .apply(ReviewCommand::View(Some(self.view.state())))
            .and_then(|()| self.review.state().to_bytes());
        match kept {
            Ok(bytes) => self.store.save(&fingerprint, bytes),
            Err(error) => self.report(&error),
        }
    }

    /// Keeps the state of the open document and waits until it is written; what went wrong becomes
    /// an alert.
    pub fn finish_saving(&mut self) {
        self.save_state();
        self.store.wait();
        self.check_store();
    }

    /// Reports what went wrong while the state was kept.
    pub(super) fn check_store(&mut self) {
        if let Some(error) = self.store.problem() {
            self.report(&error);
        }
    }

    fn load_model(&mut self, path: &Path) -> Result<()> {
        let model = Arc::new(Model::load(path)?);
        let loaded = Some(model.fingerprint());
        self.models.insert(loaded.clone(), model);
        self.asked_model.clone_from(&loaded);
        self.change(ReviewCommand::Model(ModelSetting { loaded, ..ModelSetting::default() }))?;
        if self.review.state().threshold.is_some() {
            // A threshold belongs to its model.
            self.change(ReviewCommand::Threshold(None))?;
        }
        Ok(())
    }

    /// The model that a setting asks for.
    pub(super) fn model_of(&self, setting: &ModelSetting) -> Result<Arc<Model>> {
        let unpruned = self.models.get(&setting.loaded);
        let unpruned = unpruned.ok_or_else(|| Error::invalid("The model is not loaded"))?;
        if setting.ratio == 0.0 {
            return Ok(Arc::clone(unpruned));
        }
        let (plan, _) = PruningPlan::l1(unpruned, setting.ratio / 100.0, Scope::Convolutions)?;
        Ok(Arc::new(apply(unpruned, &plan)?))
    }

    /// Makes model and result those that the review asks for.
    pub(super) fn follow_review(&mut self) {
        let wanted = self.review.state().model.clone();
        if wanted != self.model_setting {
            match self.model_of(&wanted) {
                Ok(model) => {
                    self.model_fingerprint = model.fingerprint();
                    self.model = model;
                    self.model_setting = wanted;
                }
                Err(error) => self.report(&error),
            }
        }
        let settings =
            ResultSettings::of(self.review.state(), &self.model, &self.model_fingerprint);
        if settings != self.settings {
            self.cancel_job();
            self.settings = settings;
        }
        let mut shelf = lock(&self.results);
        shelf.use_settings(&self.settings);
        let note = shelf.counted().and_then(|result| result.job.stain_note());
        drop(shelf);
        self.job_notes = note.map(str::to_owned).into_iter().collect();
        self.redraw_results();
        self.redo_from_kept();
        // It was interrupted if the settings changed.
        self.read_saved_result();
        self.refresh_selection();
        self.refresh_scores();
    }

    /// Finds the nuclei of another threshold where probabilities are kept.
    pub(super) fn redo_from_kept(&mut self) {
        if lock(&self.results).begin_again(&self.settings) {
            let results = Arc::clone(&self.results);
            let view = self.view.bounds().centre();
            self.progress = Some(JobProgress::default());
            self.job = Some(SegmentJob::start_again(results, view, Arc::clone(&self.wake)));
        }
    }

    /// Has the tiles of results drawn again; what the screen has stays until then.
    pub(super) fn redraw_results(&mut self) {
        if let Some(document) = &self.document {
            let results = Arc::clone(self.shown_results());
            self.tile_loader.set_document(Arc::clone(document), results, self.snapshot());
        }
        self.current_results.clear();
        self.finished_blocks.clear();
        if !self.has_results() {
            self.updates.push(ScreenUpdate::ClearResults);
        }
    }

    pub(super) fn cancel_job(&mut self) {
        // Blocks that were finished meanwhile are kept.
        self.poll();
        self.current_results.clear();
        if let Some(job) = self.job.take() {
            job.cancel();
            self.progress = None;
            if job.kind != JobKind::Restoration {
                "Stopped; finished blocks are kept.".clone_into(&mut self.status);
            }
            self.note_result();
        }
    }

    /// Notes in the review how far the result is.
    pub(super) fn note_result(&mut self) {
        let facts =
            lock(&self.results).current.as_ref().map(super::result_shelf::SlideResult::facts);
        let noted = self.review.apply(ReviewCommand::Result { slot: 0, facts });
        if let Err(error) = noted {
            self.report(&error);
        }
    }

    fn segment(&mut self, extent: SegmentExtent) -> Result<()> {
        let Some(document) = &self.document else {
            return Err(Error::invalid("Nothing is open yet"));
        };
        if self.mpp_um().is_none() && matches!(&**document, Document::Slide { .. }) {
            return Err(Error::invalid(
                "The pixel size is not known; state it first (micrometres)",
            ));
        }
        self.cancel_job();
        let whole = self.whole();
        let bounds = match extent {
            SegmentExtent::Slide => whole,
            SegmentExtent::View => self.view.bounds().intersection(&whole),
        };
        let Some(task) = self.segment_task() else { return Ok(()) };
        let task = SegmentTask { bounds, ..task };
        self.keeps_result = true;
        self.progress = Some(JobProgress::default());
        "Segmenting…".clone_into(&mut self.status);
        let job = SegmentJob::start(task, Arc::clone(&self.results), Arc::clone(&self.wake));
        self.job = Some(job);
        Ok(())
    }

    /// Segments what the screen shows.
    pub(super) fn segment_view(&mut self) -> Result<()> {
        self.segment(SegmentExtent::View)
    }

    /// The whole document with the model and settings in use.
    pub(super) fn segment_task(&self) -> Option<SegmentTask> {
        Some(SegmentTask {
            document: Arc::clone(self.document.as_ref()?),
            model: Arc::clone(&self.model),
            settings: self.settings.clone(),
            parameters: InstanceParameters {
                threshold: self.settings.threshold,
                ..self.model.card().instances
            },
            choice: self.device_choice,
            segmenters: Arc::clone(&self.segmenters),
            bounds: self.whole(),
            saved: self.saved_task(),
        })
    }

    fn measure(&mut self, ends: Option<[[f64; 2]; 2]>) {
        self.ruler = ends.map(|ends| ends.map(Point::from));
        let Some([from, to]) = self.ruler else { return };
        let px = (to.x - from.x).hypot(to.y - from.y);
        self.status = match self.mpp_um() {
            Some(mpp) => format!("Distance: {:.1} µm.", px * mpp),
            None => format!("Distance: {px:.1} pixels."),
        };
    }

    fn wait_for_job(&mut self) {
        self.view.settle();
        while self.is_busy() {
            std::thread::sleep(POLL_INTERVAL);
            self.poll();
        }
    }
}

impl Drop for AppState {
    fn drop(&mut self) {
        self.save_state();
        self.save_result();
    }
}

fn shared_results() -> SharedResults {
    Arc::new(std::sync::Mutex::new(ResultShelf::new()))
}

/// What an older result was made with, where that differs.
fn difference(older: &ResultSettings, now: &ResultSettings) -> String {
    let mut facts = Vec::new();
    if older.fingerprint != now.fingerprint {
        facts.push(format!("a model of {} parameters", older.parameters));
    }
    if older.threshold.to_bits() != now.threshold.to_bits() {
        facts.push(format!("threshold {:.2}", older.threshold));
    }
    if older.keep_stain != now.keep_stain {
        facts.push(if older.keep_stain { "colours as they are" } else { "matched colours" }.into());
    }
    if older.mpp_um != now.mpp_um {
        let um = older.mpp_um.map_or("unknown".to_owned(), |um| format!("{um} µm"));
        facts.push(format!("pixel size {um}"));
    }
    facts.join(", ")
}

/// Strengths of the layers of a display.
fn layers_of(display: &DisplaySettings) -> Layers {
    Layers {
        outline: display.outline as f32,
        mask: display.mask as f32,
        heat: display.heat as f32,
        ..Layers::default()
    }
}

/// Whether a command depends on where the picture is at the moment.
fn uses_points_of_the_screen(command: &Command) -> bool {
    match command {
        Command::Choose { .. }
        | Command::ChooseMore { .. }
        | Command::Accept(_)
        | Command::Reject(_)
        | Command::Forget(_)
        | Command::Redraw { .. }
        | Command::Split { .. }
        | Command::Merge(_)
        | Command::Next
        | Command::Previous
        | Command::Teach(_)
        | Command::KeepTaught
        | Command::Segment(_) => true,
        Command::Reference(path) => path.is_some(),
        _ => false,
    }
}

/// Last part of a path, or of an address without its query: on a disk `#` and `?` are letters.
pub(super) fn file_name(location: &str) -> &str {
    let is_address = location.starts_with("http://") || location.starts_with("https://");
    let ends: &[char] = if is_address { &['?', '#'] } else { &[] };
    let path = location.split(ends).next().unwrap_or(location).trim_end_matches('/');
    path.rsplit(|c| c == '/' || std::path::is_separator(c)).next().unwrap_or(path)
}
