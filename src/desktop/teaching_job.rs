//! Teaching in the background: what lies around the marks is read, the model learns, and the middle
//! of the view is segmented by the model before and the one that was taught.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::document::Document;
use super::result_shelf::{ResultSettings, ResultShelf, SharedResults};
use super::segment_job::{EventSender, SegmentTask, run};
use super::teaching::TaughtResult;
use super::{Wake, lock};
use crate::dataset::{SparseLabels, tissue_crops};
use crate::error::{Error, Result, counted};
use crate::model::{Model, NucleusType, sha256_hex};
use crate::platform::read_file;
use crate::raster::{RgbImage, StainMatching};
use crate::review::{MarkedImage, ModelSetting, with_types_of};
use crate::slide::SlideBounds;
use crate::train::{TaughtModel, TeachRecipe, TeachRun, TeachStep, TeachTask};
use crate::whole_slide::Sampling;

/// Largest file of an image whose hash goes into the card of the taught model, bytes.
const MAX_IMAGE_BYTES: u64 = 2_000_000_000;

/// What is taught.
pub(super) struct TeachingTask {
    /// Name of the image for the card of the taught model.
    pub name: String,
    /// File of the image; none for a slide.
    pub file: Option<PathBuf>,
    pub labels: SparseLabels,
    /// Pixel size of the finest level in which the labels are, micrometres.
    pub mpp_um: f64,
    pub recipe: TeachRecipe,
    /// The model before, and what is segmented to compare.
    pub view: SegmentTask,
    /// Those in use.
    pub results: SharedResults,
}

/// What a job reports while it runs.
pub(super) enum TeachingEvent {
    Step(TeachStep),
    /// The model has learned; the view is segmented.
    Comparing,
    Ended(Result<Box<TaughtResult>>),
}

/// Teaching under way.
pub(super) struct TeachingJob {
    cancel: Arc<AtomicBool>,
    events: Receiver<TeachingEvent>,
    pub begun: Instant,
}

impl TeachingJob {
    /// Starts a thread.
    pub(super) fn start(task: TeachingTask, wake: Wake) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (send, events) = channel();
        let stop = Arc::clone(&cancel);
        std::thread::spawn(move || {
            let reporter = Reporter { send, wake, stop: &stop };
            let result = task.teach(&reporter);
            reporter.send(TeachingEvent::Ended(result.map(Box::new)));
        });
        Self { cancel, events, begun: Instant::now() }
    }

    /// Asks it to end after the step under way.
    pub(super) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// Events since the last call. A thread that broke down ends with an error.
    pub(super) fn events(&self) -> Vec<TeachingEvent> {
        let mut events = Vec::new();
        loop {
            match self.events.try_recv() {
                Ok(event) => events.push(event),
                Err(TryRecvError::Empty) => return events,
                Err(TryRecvError::Disconnected) => {
                    let has_ended = matches!(events.last(), Some(TeachingEvent::Ended(_)));
                    if !has_ended {
                        let error = Error::malformed("Teaching failed; the model is as it was");
                        events.push(TeachingEvent::Ended(Err(error)));
                    }
                    return events;
                }
            }
        }
    }
}

struct Reporter<'a> {
    send: Sender<TeachingEvent>,
    wake: Wake,
    stop: &'a AtomicBool,
}

impl Reporter<'_> {
    fn send(&self, event: TeachingEvent) {
        // A receiver that is gone needs no events.
        drop(self.send.send(event));
        (self.wake)();
    }

    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Cancelled { after: String::new() });
        }
        Ok(())
    }
}

impl TeachingTask {
    fn teach(self, reporter: &Reporter<'_>) -> Result<TaughtResult> {
        let begun = Instant::now();
        let marked = self.marked(reporter.stop)?;
        reporter.check()?;
        let before = Model::clone(&self.view.model);
        let (start, new_types) = with_types_of(before, [&marked.labels])?;
        let mut notes = Vec::new();
        if marked.outside > 0 {
            let marks = counted(marked.outside, "mark lies", "marks lie");
            notes.push(format!("{marks} outside the image."));
        }
        let task = TeachTask {
            images: marked.taught(&start)?,
            rehearsal: tissue_crops::rehearsal(start.card().mpp_um)?,
            recipe: self.recipe.clone(),
            start,
            before: None,
        };
        let taught = learn(&task, reporter)?;
        reporter.send(TeachingEvent::Comparing);
        let TaughtModel { model, outcome } = taught;
        let (nuclei, settings, results) = self.compare(&model, reporter.stop)?;
        Ok(TaughtResult {
            fingerprint: settings.fingerprint.clone(),
            before: ModelSetting::default(),
            model: Arc::new(model),
            marks: marked.labels.marks.len(),
            outcome,
            nuclei,
            new_types,
            notes,
            seconds: begun.elapsed().as_secs_f64(),
            results,
        })
    }

    /// The parts of the image or slide around the marks, as `prunella finetune --labels` reads
    /// them.
    fn marked(&self, cancel: &AtomicBool) -> Result<MarkedImage> {
        let SegmentTask { document, model, settings, parameters, .. } = &self.view;
        let card = model.card();
        let stain = card.stain_matching(settings.stain());
        let labels = self.labels.clone();
        let mut marked = match &**document {
            Document::Image { pyramid, .. } => {
                let image = RgbImage::clone(pyramid.image());
                self.read_image(labels, image, card.mpp_um, &stain)?
            }
            Document::Slide { .. } => {
                let mpp_um = Some(self.mpp_um);
                let job = document.prepare(card.mpp_um, *parameters, mpp_um, stain, cancel)?;
                let mut marked = MarkedImage::plan(labels, job.sampling(), self.mpp_um)?;
                marked.read_pixels(&**document, &job)?;
                marked
            }
        };
        marked.name.clone_from(&self.name);
        Ok(marked)
    }

    fn read_image(
        &self,
        labels: SparseLabels,
        image: RgbImage,
        model_mpp_um: f64,
        stain: &StainMatching,
    ) -> Result<MarkedImage> {
        let size = (image.width(), image.height());
        let sampling = Sampling::of_image(size, self.mpp_um, model_mpp_um)?;
        let mut marked = MarkedImage::plan(labels, &sampling, self.mpp_um)?;
        marked.add_pixels_of(image, &sampling, stain)?;
        if let Some(file) = &self.file {
            // The file may be gone by now; the card is then without its hash.
            let bytes = read_file(file, MAX_IMAGE_BYTES).ok();
            marked.sha256 = bytes.map_or_else(String::new, |bytes| sha256_hex(&bytes));
        }
        Ok(marked)
    }

    /// Numbers of nuclei in the middle of the view by the model before and the taught one, and the
    /// taught one's result.
    fn compare(
        &self,
        taught: &Model,
        cancel: &AtomicBool,
    ) -> Result<([usize; 2], ResultSettings, SharedResults)> {
        let bounds = self.view.bounds;
        let known = count_if_known(&self.results, &self.view.settings, &bounds);
        let before = match known {
            Some(known) => known,
            None => count_in(&segmented(&self.view, cancel)?, &bounds),
        };
        let settings = ResultSettings {
            fingerprint: taught.fingerprint(),
            parameters: taught.graph().parameters() as u64,
            types: NucleusType::among(&taught.card().classes),
            ..self.view.settings.clone()
        };
        let view = SegmentTask {
            model: Arc::new(taught.clone()),
            settings: settings.clone(),
            ..self.view.clone()
        };
        let results = segmented(&view, cancel)?;
        Ok(([before, count_in(&results, &bounds)], settings, results))
    }
}

/// Takes all steps.
fn learn(task: &TeachTask, reporter: &Reporter<'_>) -> Result<TaughtModel> {
    let mut run = TeachRun::begin(task.job())?;
    while !run.is_done() {
        reporter.check()?;
        reporter.send(TeachingEvent::Step(run.step()?));
    }
    run.finish()
}

/// A result of its own.
fn segmented(task: &SegmentTask, cancel: &AtomicBool) -> Result<SharedResults> {
    let results: SharedResults = Arc::new(Mutex::new(ResultShelf::new()));
    run(task, &results, cancel, &EventSender::silent())?;
    Ok(results)
}

/// Number of nuclei of the model in a rectangle, where all of it is segmented with some settings.
fn count_if_known(
    results: &SharedResults,
    settings: &ResultSettings,
    bounds: &SlideBounds,
) -> Option<usize> {
    let shelf = lock(results);
    let current = shelf.current.as_ref().filter(|result| result.settings == *settings)?;
    let is_known = current.index().missing(*bounds).is_empty();
    drop(shelf);
    is_known.then(|| count_in(results, bounds))
}

/// Number of nuclei of the model whose centroid lies in a rectangle.
fn count_in(results: &SharedResults, bounds: &SlideBounds) -> usize {
    let shelf = lock(results);
    let Some(result) = &shelf.current else { return 0 };
    let is_inside = |x: f64, y: f64| {
        x >= bounds.left && x < bounds.right && y >= bounds.top && y < bounds.bottom
    };
    let near = result.index().near(*bounds);
    near.filter(|(_, nucleus)| is_inside(nucleus.centroid.0, nucleus.centroid.1)).count()
}
