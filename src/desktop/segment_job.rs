//! Segmentation in the background: blocks near the middle of the view first, each shown when it is
//! finished.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Wake;
use super::document::Document;
use super::result_shelf::{ResultSettings, SharedResults, SlideResult};
use super::saved_results::SavedSource;
use super::state_store::ResultFile;
use crate::engine::gpu::Gpu;
use crate::engine::{DeviceChoice, SegmentOptions, Segmenter};
use crate::error::{Error, Result, Warnings};
use crate::model::{InstanceParameters, Model};
use crate::raster::Point;
use crate::slide::SlideBounds;
use crate::whole_slide::{KeptBlock, SlideRun};

/// The prepared model of the last segmentation, for the next one of the same model.
#[derive(Default)]
pub(super) struct SegmenterCache(Mutex<Option<(DeviceChoice, Arc<Segmenter>)>>);

impl SegmenterCache {
    /// The cached segmenter if it is of that model and choice of device, else a new one.
    fn get(
        &self,
        model: &Arc<Model>,
        choice: DeviceChoice,
        warnings: &mut Warnings,
    ) -> Result<Arc<Segmenter>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, segmenter)) = &*cached
            && *of == choice
            && Arc::ptr_eq(segmenter.model(), model)
            && !segmenter.gpu().is_some_and(Gpu::is_lost)
        {
            return Ok(Arc::clone(segmenter));
        }
        let open = Segmenter::open(Arc::clone(model), choice, warnings);
        let segmenter = Arc::new(pollster::block_on(open)?);
        *cached = Some((choice, Arc::clone(&segmenter)));
        Ok(segmenter)
    }
}

/// One segmentation.
#[derive(Clone)]
pub(super) struct SegmentTask {
    pub document: Arc<Document>,
    pub model: Arc<Model>,
    pub settings: ResultSettings,
    pub parameters: InstanceParameters,
    pub choice: DeviceChoice,
    pub segmenters: Arc<SegmenterCache>,
    /// What to segment, in pixels of the finest level.
    pub bounds: SlideBounds,
    /// What was found earlier and is not read yet.
    pub saved: Option<SavedTask>,
}

/// A result on this device that is not read yet.
#[derive(Clone)]
pub(super) struct SavedTask {
    pub document: Arc<Document>,
    pub model: Arc<Model>,
    /// Those in use.
    pub settings: ResultSettings,
    pub view: Point,
    pub file: ResultFile,
}

/// What a job reports while it runs.
#[derive(Debug)]
pub(super) enum JobEvent {
    /// Where it computes, and what was passed over.
    Device(String, Vec<String>),
    /// What was unusual about the slide or image and what was done about it.
    Note(&'static str),
    /// A block is finished.
    Block {
        bounds: SlideBounds,
        done: usize,
        total: usize,
    },
    /// What was found earlier is read; whether it can be shown.
    Restored(bool),
    Ended {
        seconds: f64,
        kind: JobKind,
        result: Result<()>,
    },
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobKind {
    Segmentation,
    /// Another threshold over kept probabilities.
    Threshold,
    /// What was found earlier.
    Restoration,
}

/// A segmentation under way.
pub(super) struct SegmentJob {
    pub kind: JobKind,
    cancel: Arc<AtomicBool>,
    events: Receiver<JobEvent>,
}

impl SegmentJob {
    /// Starts a thread.
    #[must_use]
    pub(super) fn start(task: SegmentTask, results: SharedResults, wake: Wake) -> Self {
        Self::spawn(JobKind::Segmentation, wake, move |stop, events| {
            run(&task, &results, stop, events)
        })
    }

    /// Starts threads that find the nuclei of the result in use from kept probabilities, near a
    /// place first.
    #[must_use]
    pub(super) fn start_again(results: SharedResults, view: Point, wake: Wake) -> Self {
        Self::spawn(JobKind::Threshold, wake, move |stop, events| {
            find_again(&results, view, stop, events)
        })
    }

    /// Starts a thread that reads what was found earlier.
    #[must_use]
    pub(super) fn restore(task: SavedTask, results: SharedResults, wake: Wake) -> Self {
        Self::spawn(JobKind::Restoration, wake, move |stop, events| {
            read_saved(&task, &results, stop, events)
        })
    }

    fn spawn(
        kind: JobKind,
        wake: Wake,
        work: impl FnOnce(&AtomicBool, &EventSender) -> Result<()> + Send + 'static,
    ) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (send, events) = channel();
        let stop = Arc::clone(&cancel);
        std::thread::spawn(move || {
            let begun = Instant::now();
            let sender = EventSender { send, wake };
            let result = work(&stop, &sender);
            let seconds = begun.elapsed().as_secs_f64();
            sender.send(JobEvent::Ended { seconds, kind, result });
        });
        Self { kind, cancel, events }
    }

    /// Asks it to end after the block under way.
    pub(super) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// Events since the last call.
    pub(super) fn events(&self) -> Vec<JobEvent> {
        self.events.try_iter().collect()
    }
}

pub(super) struct EventSender {
    send: Sender<JobEvent>,
    wake: Wake,
}

impl EventSender {
    /// Reports to nobody.
    pub(super) fn silent() -> Self {
        Self { send: channel().0, wake: Arc::new(|| {}) }
    }

    fn send(&self, event: JobEvent) {
        // A receiver that is gone needs no events.
        drop(self.send.send(event));
        (self.wake)();
    }
}

/// Shows what was found earlier.
fn read_saved(
    task: &SavedTask,
    results: &SharedResults,
    cancel: &AtomicBool,
    events: &EventSender,
) -> Result<()> {
    let source = SavedSource {
        document: &task.document,
        model: &task.model,
        settings: &task.settings,
        view: task.view,
    };
    let read = source.read(task.file.when_written(), cancel);
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled { after: String::new() });
    }
    // A broken file is not read a second time.
    let restored = read.map(|result| {
        let is_shown = result.is_some();
        if let Some(result) = result {
            super::lock(results).take_result(result, &task.settings);
        }
        events.send(JobEvent::Restored(is_shown));
    });
    restored.inspect_err(|_| events.send(JobEvent::Restored(false)))
}

/// Segments the blocks of a task that are not finished.
///
/// # Errors
/// [`Error::Cancelled`] when asked to stop; those of the document, the engine and the device.
pub(super) fn run(
    task: &SegmentTask,
    results: &SharedResults,
    cancel: &AtomicBool,
    events: &EventSender,
) -> Result<()> {
    let lock = || results.lock().unwrap_or_else(PoisonError::into_inner);
    let cancelled = || Error::Cancelled { after: String::new() };
    if let Some(saved) = &task.saved {
        read_saved(saved, results, cancel, events)?;
    }
    let known = lock().current.as_ref().map(|result| Arc::clone(&result.job));
    let job = if let Some(job) = known {
        job
    } else {
        let card = task.model.card();
        let mpp_um = task.settings.mpp_um;
        let job = task.document.prepare(
            card.mpp_um,
            task.parameters,
            mpp_um,
            card.stain_matching(task.settings.stain()),
            cancel,
        )?;
        if let Some(note) = job.stain_note() {
            events.send(JobEvent::Note(note));
        }
        let result = SlideResult::new(task.settings.clone(), job);
        let mut shelf = lock();
        if cancel.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        // Another job may have begun meanwhile; its blocks stay.
        Arc::clone(&shelf.current.get_or_insert(result).job)
    };
    let mut warnings = Warnings::default();
    let segmenter = task.segmenters.get(&task.model, task.choice, &mut warnings)?;
    events.send(JobEvent::Device(segmenter.device().name(), warnings.notes));
    let missing = lock().current.as_ref().ok_or_else(cancelled)?.index().missing(task.bounds);
    let slide = SlideRun {
        job: &job,
        source: &*task.document,
        segmenter: &segmenter,
        options: SegmentOptions::default(),
        cancel,
    };
    let mut done = 0;
    let (_, warnings) = slide.segment(&missing, &mut |window, nuclei| {
        let kept =
            KeptBlock::new(&window.probabilities, &window.image, &job.settings().parameters)?;
        let bounds = {
            let mut shelf = lock();
            // Another model or slide may have come meanwhile.
            if cancel.load(Ordering::Relaxed) {
                return Err(cancelled());
            }
            shelf.keep(window.block, kept, task.bounds.centre());
            shelf.take(window.block, nuclei).ok_or_else(cancelled)?
        };
        done += 1;
        events.send(JobEvent::Block { bounds, done, total: missing.len() });
        Ok(())
    })?;
    if !warnings.notes.is_empty() {
        events.send(JobEvent::Device(segmenter.device().name(), warnings.notes));
    }
    Ok(())
}

/// Finds the nuclei of kept blocks at the threshold of the result in use, on all processors.
fn find_again(
    results: &SharedResults,
    view: Point,
    cancel: &AtomicBool,
    events: &EventSender,
) -> Result<()> {
    let lock = || results.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((job, order)) = lock().kept_job(view) else { return Ok(()) };
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let Some(&block) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return Ok(());
            };
            let Some(kept) = lock().kept_block(block) else { continue };
            let nuclei = kept.nuclei(&job.block_nuclei(block)?)?;
            let bounds = {
                let mut shelf = lock();
                if cancel.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled { after: String::new() });
                }
                shelf.take(block, nuclei)
            };
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(bounds) = bounds {
                events.send(JobEvent::Block { bounds, done, total: order.len() });
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(order.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let failed = || Err(Error::malformed("Finding nuclei failed"));
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| failed()))
    })
}
