//! The state of the window without the window: it takes [`Command`]s and collects updates for the
//! screen.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Command, SegmentExtent};
use super::document::Document;
use super::file_list::FileList;
use super::screenshot::screenshot;
use super::segment_job::{SegmentJob, SegmentTask, SegmenterCache, SharedResults};
use super::tile_loader::TileLoader;
use super::{Wake, lock};
use crate::engine::DeviceChoice;
use crate::error::{Error, Result};
use crate::instances::{Provenance, write_nuclei};
use crate::model::{InstanceParameters, Model};
use crate::platform::{write_atomic, write_streamed};
use crate::prune::{PruningPlan, Scope, apply};
use crate::raster::{Point, encode_rgb_png};
use crate::slide::SlideBounds;
use crate::viewer::{Layers, ScreenPoint, TileKey, Viewport};

/// Size of the screen before there is a window, pixels.
const DEFAULT_SCREEN: (f64, f64) = (1280.0, 800.0);
/// How often a script checks whether the segmentation has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

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

/// Nuclei found so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NucleusCount {
    /// Number of nuclei.
    pub nuclei: usize,
    /// Share of the segmented area that nuclei cover.
    pub area_share: f64,
}

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
    /// Pixel size of the finest level, µm; none if it is neither in the file nor stated.
    pub mpp_um: Option<f64>,
    /// The model in use: `unpruned_model` without [`Self::pruning_ratio`] of its filters.
    pub model: Arc<Model>,
    unpruned_model: Arc<Model>,
    /// Share of filters removed, 0 to 0.9.
    pub pruning_ratio: f64,
    /// A pixel belongs to a nucleus above this probability.
    pub threshold: f32,
    /// Where the last segmentation computed.
    pub device_name: String,
    /// What happened last, a sentence for people.
    pub status: String,
    /// What went wrong with the last command.
    pub alert: Option<String>,
    /// Of the running segmentation.
    pub progress: Option<JobProgress>,
    results: SharedResults,
    device_choice: DeviceChoice,
    segmenters: Arc<SegmenterCache>,
    pub(super) job: Option<SegmentJob>,
    pub(super) tile_loader: TileLoader,
    wake: Wake,
    recording: Option<File>,
    /// Result tiles that the screen has and that are up to date.
    pub(super) current_results: BTreeSet<TileKey>,
    /// Image tiles that cannot be read; they are not requested again.
    pub(super) failed_tiles: BTreeSet<TileKey>,
    /// Finished blocks of the present results, in the order of time.
    pub(super) finished_blocks: Vec<SlideBounds>,
    pub(super) updates: Vec<ScreenUpdate>,
}

impl AppState {
    /// A state with a model and without a document. Background threads call `wake` when
    /// [`Self::poll`] has something to take.
    #[must_use]
    pub fn new(model: Model, device_choice: DeviceChoice, wake: Wake) -> Self {
        let model = Arc::new(model);
        Self {
            view: Viewport::new((1, 1), DEFAULT_SCREEN),
            layers: Layers::default(),
            document: None,
            name: String::new(),
            location: String::new(),
            list: FileList::default(),
            notes: Vec::new(),
            job_notes: Vec::new(),
            mpp_um: None,
            unpruned_model: Arc::clone(&model),
            pruning_ratio: 0.0,
            threshold: model.card().instances.threshold,
            model,
            device_name: String::new(),
            status: "Drop a slide here.".to_owned(),
            alert: None,
            progress: None,
            results: SharedResults::default(),
            device_choice,
            segmenters: Arc::default(),
            job: None,
            tile_loader: TileLoader::start(&wake),
            wake,
            recording: None,
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

    /// Whether a segmentation runs.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// Nuclei found so far; none before the first segmentation.
    #[must_use]
    pub fn counts(&self) -> Option<NucleusCount> {
        let results = lock(&self.results);
        let (index, _) = results.as_ref()?;
        Some(NucleusCount { nuclei: index.count(), area_share: index.area_share() })
    }

    pub(super) fn results(&self) -> &SharedResults {
        &self.results
    }

    /// Executes a command.
    ///
    /// # Errors
    /// A sentence for people; the state is as before then.
    pub fn apply(&mut self, command: &Command) -> Result<()> {
        self.alert = None;
        self.record_command(command);
        match *command {
            Command::Open(ref location) if Path::new(location).is_dir() => {
                self.open_all(std::slice::from_ref(location))?;
            }
            Command::Open(ref location) => self.open(location)?,
            Command::OpenAll(ref places) => self.open_all(places)?,
            Command::Model(ref path) => {
                self.unpruned_model = Arc::new(Model::load(path)?);
                self.use_model(Arc::clone(&self.unpruned_model), 0.0);
                self.threshold = self.model.card().instances.threshold;
            }
            Command::Prune(ratio) => self.prune(ratio)?,
            Command::Threshold(value) => {
                self.threshold = value.clamp(0.0, 1.0);
                self.discard_results();
            }
            Command::Mpp(mpp_um) => self.set_mpp(mpp_um)?,
            Command::Resize { width, height } => self.view.resize((width, height)),
            Command::Pan { dx, dy } => self.view.pan(dx, dy),
            Command::Glide { across, down } => self.view.glide(across, down),
            Command::Zoom { x, y, factor } => self.view.zoom(ScreenPoint { x, y }, factor),
            Command::Fit => self.view.fit(),
            Command::GoTo { x, y, scale } => self.view.go_to(Point { x, y }, scale),
            Command::Choose { x, y } => self.select_nucleus(ScreenPoint { x, y }),
            Command::Layers { outline, mask, heat } => {
                self.layers = Layers { outline, mask, heat, ..self.layers };
            }
            Command::Segment(extent) => self.segment(extent)?,
            Command::Cancel => self.cancel_job(),
            Command::Export(ref path) => self.export(path)?,
            Command::Wait => self.wait_for_job(),
            Command::Picture(ref path) => {
                write_atomic(path, &encode_rgb_png(&screenshot(self)?)?)?;
            }
        }
        Ok(())
    }

    /// Appends a command to the recorded script. When the file cannot be written, the recording
    /// ends and the command is executed all the same.
    pub(super) fn record_command(&mut self, command: &Command) {
        let Some(file) = &mut self.recording else { return };
        let written = serde_json::to_string(command).map(|line| writeln!(file, "{line}"));
        if !matches!(written, Ok(Ok(()))) {
            self.recording = None;
            self.alert = Some("The script cannot be written any more.".to_owned());
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

    fn open(&mut self, location: &str) -> Result<()> {
        let document = Arc::new(Document::open(location)?);
        self.cancel_job();
        file_name(location).clone_into(&mut self.name);
        location.clone_into(&mut self.location);
        self.notes = document.notes().to_vec();
        self.job_notes.clear();
        self.mpp_um = document.mpp_um();
        self.view = Viewport::new(document.size(), self.view.screen());
        self.results = SharedResults::default();
        self.tile_loader.set_document(Arc::clone(&document), Arc::clone(&self.results));
        self.failed_tiles.clear();
        self.current_results.clear();
        self.finished_blocks.clear();
        self.layers.chosen = 0;
        self.updates = vec![ScreenUpdate::Reset(document.size())];
        self.status = match (self.mpp_um, &*document) {
            (Some(_), _) => "Ready.".to_owned(),
            (None, Document::Slide { .. }) => {
                "The pixel size is not known; state it before segmenting.".to_owned()
            }
            (None, Document::Image { .. }) => format!(
                "The pixel size is not known and taken to be the model's, {} µm.",
                self.model.card().mpp_um
            ),
        };
        self.document = Some(document);
        Ok(())
    }

    fn prune(&mut self, ratio: f64) -> Result<()> {
        let model = if ratio == 0.0 {
            Arc::clone(&self.unpruned_model)
        } else {
            let (plan, _) = PruningPlan::l1(&self.unpruned_model, ratio, Scope::Convolutions)?;
            Arc::new(apply(&self.unpruned_model, &plan)?)
        };
        self.use_model(model, ratio);
        Ok(())
    }

    fn use_model(&mut self, model: Arc<Model>, pruning_ratio: f64) {
        self.model = model;
        self.pruning_ratio = pruning_ratio;
        self.discard_results();
    }

    fn set_mpp(&mut self, mpp_um: f64) -> Result<()> {
        if !(mpp_um.is_finite() && mpp_um > 0.0) {
            return Err(Error::invalid("The pixel size must be a positive number of micrometres"));
        }
        if self.mpp_um != Some(mpp_um) {
            self.mpp_um = Some(mpp_um);
            self.discard_results();
        }
        Ok(())
    }

    /// Stops the segmentation and drops its results: they belong to another model or setting.
    fn discard_results(&mut self) {
        self.cancel_job();
        self.results = SharedResults::default();
        if let Some(document) = &self.document {
            self.tile_loader.set_document(Arc::clone(document), Arc::clone(&self.results));
        }
        self.current_results.clear();
        self.finished_blocks.clear();
        self.layers.chosen = 0;
        self.job_notes.clear();
        self.updates.push(ScreenUpdate::ClearResults);
    }

    fn cancel_job(&mut self) {
        // Blocks that were finished meanwhile are kept.
        self.poll();
        self.current_results.clear();
        if let Some(job) = self.job.take() {
            job.cancel();
            self.progress = None;
            "Stopped; finished blocks are kept.".clone_into(&mut self.status);
        }
    }

    fn segment(&mut self, extent: SegmentExtent) -> Result<()> {
        let Some(document) = self.document.clone() else {
            return Err(Error::invalid("Nothing is open yet"));
        };
        if self.mpp_um.is_none() && matches!(&*document, Document::Slide { .. }) {
            return Err(Error::invalid(
                "The pixel size is not known; state it first (micrometres)",
            ));
        }
        self.cancel_job();
        let (width, height) = document.size();
        let whole = SlideBounds::of_size(width, height);
        let bounds = match extent {
            SegmentExtent::Slide => whole,
            SegmentExtent::View => self.view.bounds().intersection(&whole),
        };
        let parameters =
            InstanceParameters { threshold: self.threshold, ..self.model.card().instances };
        let task = SegmentTask {
            document,
            model: Arc::clone(&self.model),
            parameters,
            mpp_um: self.mpp_um,
            choice: self.device_choice,
            segmenters: Arc::clone(&self.segmenters),
            bounds,
        };
        self.progress = Some(JobProgress::default());
        "Segmenting…".clone_into(&mut self.status);
        let job = SegmentJob::start(task, Arc::clone(&self.results), Arc::clone(&self.wake));
        self.job = Some(job);
        Ok(())
    }

    /// Writes GeoJSON and CSV in one pass over the nuclei.
    fn export(&mut self, path: &Path) -> Result<()> {
        let results = lock(&self.results);
        let (index, _) =
            results.as_ref().ok_or_else(|| Error::invalid("Nothing is segmented yet"))?;
        let provenance =
            Provenance { model: self.model.fingerprint(), mpp_um: self.mpp_um, image: None };
        let geojson = path.with_extension("geojson");
        let csv = path.with_extension("csv");
        let count = write_streamed(&geojson, |features| {
            write_streamed(&csv, |table| write_nuclei(index.nuclei(), &provenance, features, table))
        })?;
        self.status = format!("{count} nuclei → {}", geojson.display());
        Ok(())
    }

    fn select_nucleus(&mut self, point: ScreenPoint) {
        let point = self.view.to_image(point);
        let results = lock(&self.results);
        let Some((index, _)) = results.as_ref() else { return };
        self.layers.chosen = index.label_at(point.x, point.y);
        self.status.clear();
        for (label, nucleus) in index.near(SlideBounds::at_point(point)) {
            if label != self.layers.chosen {
                continue;
            }
            let area = match self.mpp_um {
                Some(mpp) => format!("{:.1} µm²", nucleus.area_px as f64 * mpp * mpp),
                None => format!("{} px", nucleus.area_px),
            };
            let probability = nucleus.probability();
            self.status =
                format!("Nucleus {label}: area {area}, mean probability {probability:.2}.");
        }
    }

    fn wait_for_job(&mut self) {
        self.view.settle();
        while self.is_busy() {
            std::thread::sleep(POLL_INTERVAL);
            self.poll();
        }
    }
}

/// Last part of a path, or of an address without its query: on a disk `#` and `?` are letters.
pub(super) fn file_name(location: &str) -> &str {
    let is_address = location.starts_with("http://") || location.starts_with("https://");
    let ends: &[char] = if is_address { &['?', '#'] } else { &[] };
    let path = location.split(ends).next().unwrap_or(location).trim_end_matches('/');
    path.rsplit(|c| c == '/' || std::path::is_separator(c)).next().unwrap_or(path)
}
