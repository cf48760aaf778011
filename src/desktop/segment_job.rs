//! Segmentation in the background: blocks near the middle of the view first, each shown when it is
//! finished.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Wake;
use super::document::Document;
use super::result_shelf::{ResultSettings, SharedResults, SlideResult};
use crate::engine::gpu::Gpu;
use crate::engine::{DeviceChoice, SegmentOptions, Segmenter};
use crate::error::{Error, Result, Warnings};
use crate::model::{InstanceParameters, Model};
use crate::slide::SlideBounds;
use crate::whole_slide::SlideRun;

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
    Ended {
        seconds: f64,
        result: Result<()>,
    },
}

/// A segmentation under way.
pub(super) struct SegmentJob {
    cancel: Arc<AtomicBool>,
    events: Receiver<JobEvent>,
}

impl SegmentJob {
    /// Starts a thread.
    #[must_use]
    pub(super) fn start(task: SegmentTask, results: SharedResults, wake: Wake) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (send, events) = channel();
        let stop = Arc::clone(&cancel);
        std::thread::spawn(move || {
            let begun = Instant::now();
            let sender = EventSender { send, wake };
            let result = run(&task, &results, &stop, &sender);
            sender.send(JobEvent::Ended { seconds: begun.elapsed().as_secs_f64(), result });
        });
        Self { cancel, events }
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

struct EventSender {
    send: Sender<JobEvent>,
    wake: Wake,
}

impl EventSender {
    fn send(&self, event: JobEvent) {
        // A receiver that is gone needs no events.
        drop(self.send.send(event));
        (self.wake)();
    }
}

fn run(
    task: &SegmentTask,
    results: &SharedResults,
    cancel: &AtomicBool,
    events: &EventSender,
) -> Result<()> {
    let lock = || results.lock().unwrap_or_else(PoisonError::into_inner);
    let cancelled = || Error::Cancelled { after: String::new() };
    let known = lock().current.as_ref().map(|result| Arc::clone(&result.job));
    let job = if let Some(job) = known {
        job
    } else {
        let model_mpp_um = task.model.card().mpp_um;
        let mpp_um = task.settings.mpp_um;
        let job = task.document.prepare(model_mpp_um, task.parameters, mpp_um, cancel)?;
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
    let (_, warnings) = slide.segment(&missing, &mut |block, nuclei| {
        let bounds = {
            let mut shelf = lock();
            // Another model or slide may have come meanwhile.
            if cancel.load(Ordering::Relaxed) {
                return Err(cancelled());
            }
            shelf.take(block, nuclei).ok_or_else(cancelled)?
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
