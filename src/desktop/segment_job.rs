//! Segmentation in the background: blocks near the middle of the view first, each shown when it is
//! finished.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Wake;
use super::document::{Document, ModelView};
use crate::engine::{Control, Device, DeviceChoice, SegmentOptions, segment_on};
use crate::error::{Error, Result, Warnings};
use crate::model::{InstanceParameters, Model};
use crate::whole_slide::{Bounds, NucleusIndex, SegmentSettings, SlideRegion};

/// What was found so far, and how it was looked at; none before the first segmentation.
pub type SharedResults = Arc<Mutex<Option<(NucleusIndex, ModelView)>>>;

/// One segmentation.
#[derive(Clone)]
pub struct SegmentTask {
    pub document: Arc<Document>,
    pub model: Arc<Model>,
    pub parameters: InstanceParameters,
    pub mpp_um: Option<f64>,
    pub choice: DeviceChoice,
    pub bounds: Bounds,
}

/// What a job tells.
#[derive(Debug)]
pub enum JobEvent {
    /// Where it computes, and what was passed over.
    Device(String, Vec<String>),
    Said(&'static str),
    /// A block is finished.
    Block {
        bounds: Bounds,
        done: usize,
        of: usize,
    },
    Ended {
        seconds: f64,
        result: Result<()>,
    },
}

/// A segmentation under way.
pub struct SegmentJob {
    cancel: Arc<AtomicBool>,
    told: Receiver<JobEvent>,
}

impl SegmentJob {
    /// Starts a thread.
    #[must_use]
    pub fn start(task: SegmentTask, found: SharedResults, wake: Wake) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (send, told) = channel();
        let stop = Arc::clone(&cancel);
        std::thread::spawn(move || {
            let begun = Instant::now();
            let tell = EventSender { send, wake };
            let result = run(&task, &found, &stop, &tell);
            tell.tell(JobEvent::Ended { seconds: begun.elapsed().as_secs_f64(), result });
        });
        Self { cancel, told }
    }

    /// Asks it to end after the block under way.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// What it told since the last time.
    pub fn news(&self) -> Vec<JobEvent> {
        self.told.try_iter().collect()
    }
}

struct EventSender {
    send: Sender<JobEvent>,
    wake: Wake,
}

impl EventSender {
    fn tell(&self, told: JobEvent) {
        // Whoever left does not want to know.
        drop(self.send.send(told));
        (self.wake)();
    }
}

fn run(
    task: &SegmentTask,
    found: &SharedResults,
    cancel: &AtomicBool,
    tell: &EventSender,
) -> Result<()> {
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    if lock().is_none() {
        let begun = task.document.begin(task.mpp_um, task.model.card().mpp_um)?;
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled { after: String::new() });
        }
        if begun.1.colours.is_some() {
            tell.tell(JobEvent::Said(
                "The stain is unlike any that the model learned from: its colours are matched.",
            ));
        }
        // Another job may have begun meanwhile; its blocks stay.
        lock().get_or_insert(begun);
    }
    let mut report = Warnings::default();
    let device = pollster::block_on(Device::open(task.choice, &task.model, &mut report))?;
    tell.tell(JobEvent::Device(device.name(), std::mem::take(&mut report.notes)));
    let gone = || Error::Cancelled { after: String::new() };
    let missing = lock().as_ref().ok_or_else(gone)?.0.missing(task.bounds);
    for (done, block) in (1..).zip(&missing) {
        if cancel.load(Ordering::Relaxed) {
            return Err(gone());
        }
        let (cut, model_view) = {
            let state = lock();
            let (index, model_view) = state.as_ref().ok_or_else(gone)?;
            (index.cut(*block)?, model_view.clone())
        };
        let image = task.document.region(&model_view, cut.read)?;
        let wanted = SegmentSettings {
            parameters: task.parameters,
            region: SlideRegion::Everything,
            scale: model_view.scale(),
            mpp_um: task.mpp_um,
            colours: model_view.colours,
        };
        let control = Control { cancel: Some(cancel), ..Control::default() };
        let seen = wanted.seen(&image);
        let answer = segment_on(
            &device,
            &task.model,
            &seen,
            SegmentOptions::default(),
            &control,
            &mut report,
        );
        let (map, _) = pollster::block_on(answer)?;
        let kept = cut.nuclei(&image, &map, &wanted)?;
        let bounds = {
            let mut state = lock();
            // Another model or slide may have come meanwhile.
            let (index, _) =
                state.as_mut().filter(|_| !cancel.load(Ordering::Relaxed)).ok_or_else(gone)?;
            index.take(*block, kept);
            index.bounds(*block)
        };
        tell.tell(JobEvent::Block { bounds, done, of: missing.len() });
    }
    Ok(())
}
