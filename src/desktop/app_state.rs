//! The state of a window that is no window: commands go in, changes for the screen come out.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Wake;
use super::command::{Command, SegmentExtent};
use super::document::Document;
use super::picture::picture;
use super::segment_job::{SegmentJob, SegmentTask, SegmenterCache, SharedResults};
use super::tile_loader::TileLoader;
use crate::engine::DeviceChoice;
use crate::error::{Error, Result};
use crate::instances::{Provenance, write_nuclei};
use crate::model::{InstanceParameters, Model};
use crate::platform::{write_atomic, write_streamed};
use crate::prune::{PruningPlan, Scope, apply};
use crate::raster::encode_rgb_png;
use crate::viewer::{Layers, TileKey, Viewport};

/// Size before there is a window, pixels.
const SCREEN: (f64, f64) = (1280.0, 800.0);
/// How often a script looks whether work is done.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the screen must take over.
#[derive(Debug)]
pub enum Change {
    /// Another picture of that size: everything is forgotten.
    Start((usize, usize)),
    Image(TileKey, Vec<u8>),
    Data(TileKey, Vec<u8>),
    /// What was found is no longer shown.
    NoData,
}

/// How far work in the background is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct JobProgress {
    pub done: usize,
    pub of: usize,
}

/// Everything but the window.
pub struct AppState {
    pub view: Viewport,
    pub layers: Layers,
    pub document: Option<Arc<Document>>,
    /// Of the picture, for people.
    pub name: String,
    pub mpp_um: Option<f64>,
    pub model: Arc<Model>,
    /// The model as it was given.
    whole: Arc<Model>,
    pub ratio: f64,
    pub threshold: f32,
    /// Where it computes.
    pub device: String,
    pub said: String,
    pub alert: Option<String>,
    pub progress: Option<JobProgress>,
    found: SharedResults,
    choice: DeviceChoice,
    segmenters: Arc<SegmenterCache>,
    pub(super) job: Option<SegmentJob>,
    pub(super) loader: TileLoader,
    wake: Wake,
    record: Option<File>,
    /// Tiles of what was found that the screen has and that are not outdated.
    pub(super) fresh: BTreeSet<TileKey>,
    pub(super) failed: BTreeSet<TileKey>,
    /// Where blocks were finished, one after the other.
    pub(super) blocks: Vec<[f64; 4]>,
    pub(super) changes: Vec<Change>,
}

impl AppState {
    /// An empty desk with a model.
    #[must_use]
    pub fn new(model: Model, choice: DeviceChoice, wake: Wake) -> Self {
        let model = Arc::new(model);
        Self {
            view: Viewport::new((1, 1), SCREEN),
            layers: Layers::default(),
            document: None,
            name: String::new(),
            mpp_um: None,
            whole: Arc::clone(&model),
            ratio: 0.0,
            threshold: model.card().instances.threshold,
            model,
            device: String::new(),
            said: "Drop a slide here.".to_owned(),
            alert: None,
            progress: None,
            found: SharedResults::default(),
            choice,
            segmenters: Arc::default(),
            job: None,
            loader: TileLoader::start(&wake),
            wake,
            record: None,
            fresh: BTreeSet::new(),
            failed: BTreeSet::new(),
            blocks: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Writes every command to a file from now on, as a script.
    pub fn record(&mut self, file: File) {
        self.record = Some(file);
    }

    /// Whether anything runs.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// Number of nuclei, and their share of the area that was looked at.
    #[must_use]
    pub fn counts(&self) -> Option<(usize, f64)> {
        let state = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|(index, _)| (index.count(), index.area_share()))
    }

    pub(super) fn found(&self) -> &SharedResults {
        &self.found
    }

    /// Does what a command says.
    ///
    /// # Errors
    /// A sentence; what was there stays.
    pub fn apply(&mut self, command: &Command) -> Result<()> {
        self.alert = None;
        self.note(command);
        match command {
            Command::Open(place) => self.open(place)?,
            Command::Model(path) => {
                self.whole = Arc::new(Model::load(path)?);
                self.use_model(Arc::clone(&self.whole), 0.0);
                self.threshold = self.model.card().instances.threshold;
            }
            Command::Prune(ratio) => self.prune(*ratio)?,
            Command::Threshold(value) => {
                self.threshold = value.clamp(0.0, 1.0);
                self.forget();
            }
            Command::Mpp(value) => self.state_mpp(*value)?,
            Command::Segment(extent) => self.segment(*extent)?,
            Command::Cancel => self.stop(),
            Command::Export(path) => self.export(path)?,
            Command::Choose { x, y } => self.choose((*x, *y)),
            Command::Layers { outline, mask, heat } => {
                let layers = Layers { outline: *outline, mask: *mask, heat: *heat, ..self.layers };
                self.layers = layers;
            }
            Command::Wait => self.wait(),
            Command::Picture(path) => write_atomic(path, &encode_rgb_png(&picture(self)?)?)?,
            moves => self.look(moves),
        }
        Ok(())
    }

    /// Writes a command into the script that is recorded; a disk that is full ends the recording,
    /// not the work.
    pub(super) fn note(&mut self, command: &Command) {
        let Some(file) = &mut self.record else { return };
        let written = serde_json::to_string(command).map(|line| writeln!(file, "{line}"));
        if !matches!(written, Ok(Ok(()))) {
            self.record = None;
            self.alert = Some("The script cannot be written any more.".to_owned());
        }
    }

    fn look(&mut self, command: &Command) {
        match *command {
            Command::Resize { width, height } => self.view.resize((width, height)),
            Command::Pan { dx, dy } => self.view.pan(dx, dy),
            Command::Glide { across, down } => self.view.glide(across, down),
            Command::Zoom { x, y, factor } => self.view.zoom((x, y), factor),
            Command::Fit => self.view.fit(),
            Command::GoTo { x, y, scale } => self.view.go_to((x, y), scale),
            _ => {}
        }
    }

    fn open(&mut self, place: &str) -> Result<()> {
        let document = Arc::new(Document::open(place)?);
        self.stop();
        let last = place.split(['?', '#']).next().unwrap_or(place).trim_end_matches('/');
        last.rsplit(['/', '\\']).next().unwrap_or(last).clone_into(&mut self.name);
        self.mpp_um = document.mpp_um();
        self.view = Viewport::new(document.size(), self.view.screen());
        self.found = SharedResults::default();
        self.loader.turn_to(Arc::clone(&document), Arc::clone(&self.found));
        self.failed.clear();
        self.fresh.clear();
        self.blocks.clear();
        self.layers.chosen = 0;
        self.changes = vec![Change::Start(document.size())];
        self.document = Some(document);
        self.said = if self.mpp_um.is_none() {
            "The pixel size is not known; state it before segmenting.".to_owned()
        } else {
            "Ready.".to_owned()
        };
        Ok(())
    }

    fn prune(&mut self, ratio: f64) -> Result<()> {
        let model = if ratio == 0.0 {
            Arc::clone(&self.whole)
        } else {
            let (plan, _) = PruningPlan::l1(&self.whole, ratio, Scope::Convolutions)?;
            Arc::new(apply(&self.whole, &plan)?)
        };
        self.use_model(model, ratio);
        Ok(())
    }

    fn use_model(&mut self, model: Arc<Model>, ratio: f64) {
        self.model = model;
        self.ratio = ratio;
        self.forget();
    }

    fn state_mpp(&mut self, value: f64) -> Result<()> {
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::mismatch("The pixel size must be a positive number of micrometres"));
        }
        if self.mpp_um != Some(value) {
            self.mpp_um = Some(value);
            self.forget();
        }
        Ok(())
    }

    /// Ends what runs and forgets what was found: it belongs to another model or setting.
    fn forget(&mut self) {
        self.stop();
        self.found = SharedResults::default();
        if let Some(document) = &self.document {
            self.loader.turn_to(Arc::clone(document), Arc::clone(&self.found));
        }
        self.fresh.clear();
        self.blocks.clear();
        self.layers.chosen = 0;
        self.changes.push(Change::NoData);
    }

    fn stop(&mut self) {
        // What it finished meanwhile is shown.
        self.poll();
        self.fresh.clear();
        if let Some(job) = self.job.take() {
            job.cancel();
            self.progress = None;
            "Stopped; what was finished stays.".clone_into(&mut self.said);
        }
    }

    fn segment(&mut self, extent: SegmentExtent) -> Result<()> {
        let document = Arc::clone(
            self.document.as_ref().ok_or_else(|| Error::mismatch("Nothing is open yet"))?,
        );
        if self.mpp_um.is_none() && matches!(&*document, Document::Slide { .. }) {
            return Err(Error::mismatch(
                "The pixel size is not known; state it first (micrometres)",
            ));
        }
        self.stop();
        let (w, h) = (document.size().0 as f64, document.size().1 as f64);
        let bounds = match extent {
            SegmentExtent::Slide => [0.0, 0.0, w, h],
            SegmentExtent::View => {
                let ((l, t), (r, b)) =
                    (self.view.to_image((0.0, 0.0)), self.view.to_image(self.view.screen()));
                [l.max(0.0), t.max(0.0), r.min(w), b.min(h)]
            }
        };
        let task = SegmentTask {
            document,
            parameters: InstanceParameters {
                threshold: self.threshold,
                ..self.model.card().instances
            },
            model: Arc::clone(&self.model),
            mpp_um: self.mpp_um,
            choice: self.choice,
            segmenters: Arc::clone(&self.segmenters),
            bounds,
        };
        self.progress = Some(JobProgress::default());
        "Segmenting…".clone_into(&mut self.said);
        self.job = Some(SegmentJob::start(task, Arc::clone(&self.found), Arc::clone(&self.wake)));
        Ok(())
    }

    fn export(&mut self, path: &Path) -> Result<()> {
        let state = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, _) =
            state.as_ref().ok_or_else(|| Error::mismatch("Nothing is segmented yet"))?;
        let provenance = Provenance { model: self.model.fingerprint(), mpp_um: self.mpp_um };
        let (geojson, csv) = (path.with_extension("geojson"), path.with_extension("csv"));
        let count = write_streamed(&geojson, |features| {
            write_streamed(&csv, |table| {
                write_nuclei(index.nuclei(self.mpp_um.is_some()), &provenance, features, table)
            })
        })?;
        self.said = format!("{count} nuclei → {}", geojson.display());
        Ok(())
    }

    fn choose(&mut self, at: (f64, f64)) {
        let (x, y) = self.view.to_image(at);
        let state = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((index, _)) = state.as_ref() else { return };
        self.layers.chosen = index.label_at(x, y);
        let told = index.near([x, y, x, y]).find(|(label, _)| *label == self.layers.chosen).map(
            |(label, kept)| {
                let area = self.mpp_um.map_or(format!("{} px", kept.area_px), |m| {
                    format!("{:.1} µm²", kept.area_px as f64 * m * m)
                });
                format!("Nucleus {label}: area {area}, mean probability {:.2}.", kept.probability())
            },
        );
        self.said = told.unwrap_or_default();
    }

    fn wait(&mut self) {
        self.view.settle();
        while self.is_busy() {
            std::thread::sleep(LOOK_EVERY);
            self.poll();
        }
    }
}
