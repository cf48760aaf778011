//! Segmentation in the background: blocks near the middle of the view first, each shown when it is finished.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Wake;
use super::subject::{Eyepiece, Subject};
use crate::engine::{Choice, Control, Device, SegmentOptions, segment_on};
use crate::error::{Error, Report, Result};
use crate::model::{InstanceParameters, Model};
use crate::whole_slide::{Findings, Region, Wanted};

/// Left, top, right and bottom in pixels of the finest level.
pub type Bounds = [f64; 4];

/// What was found so far, and how it was looked at; none before the first segmentation.
pub type Found = Arc<Mutex<Option<(Findings, Eyepiece)>>>;

/// One segmentation.
#[derive(Clone)]
pub struct Task {
    pub subject: Arc<Subject>,
    pub model: Arc<Model>,
    pub parameters: InstanceParameters,
    pub mpp_um: Option<f64>,
    pub choice: Choice,
    pub bounds: Bounds,
}

/// What a job tells.
#[derive(Debug)]
pub enum Told {
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
pub struct Job {
    cancel: Arc<AtomicBool>,
    told: Receiver<Told>,
}

impl Job {
    /// Starts a thread.
    #[must_use]
    pub fn start(task: Task, found: Found, wake: Wake) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (send, told) = channel();
        let stop = Arc::clone(&cancel);
        std::thread::spawn(move || {
            let begun = Instant::now();
            let tell = Teller { send, wake };
            let result = run(&task, &found, &stop, &tell);
            tell.tell(Told::Ended { seconds: begun.elapsed().as_secs_f64(), result });
        });
        Self { cancel, told }
    }

    /// Asks it to end after the block under way.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// What it told since the last time.
    pub fn news(&self) -> Vec<Told> {
        self.told.try_iter().collect()
    }
}

struct Teller {
    send: Sender<Told>,
    wake: Wake,
}

impl Teller {
    fn tell(&self, told: Told) {
        // Whoever left does not want to know.
        drop(self.send.send(told));
        (self.wake)();
    }
}

fn run(task: &Task, found: &Found, cancel: &AtomicBool, tell: &Teller) -> Result<()> {
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    if lock().is_none() {
        let begun = task.subject.begin(task.mpp_um, task.model.card().mpp_um)?;
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled { after: String::new() });
        }
        if begun.1.colours.is_some() {
            tell.tell(Told::Said("The stain is unlike any that the model learned from: its colours are matched."));
        }
        // Another job may have begun meanwhile; its blocks stay.
        lock().get_or_insert(begun);
    }
    let mut report = Report::default();
    let device = pollster::block_on(Device::open(task.choice, &task.model, &mut report))?;
    tell.tell(Told::Device(device.name(), std::mem::take(&mut report.notes)));
    let gone = || Error::Cancelled { after: String::new() };
    let missing = lock().as_ref().ok_or_else(gone)?.0.missing(task.bounds);
    for (done, index) in (1..).zip(&missing) {
        if cancel.load(Ordering::Relaxed) {
            return Err(gone());
        }
        let (cut, eyepiece) = {
            let state = lock();
            let (findings, eyepiece) = state.as_ref().ok_or_else(gone)?;
            (findings.cut(*index)?, eyepiece.clone())
        };
        let image = task.subject.region(&eyepiece, cut.read)?;
        let wanted = Wanted {
            parameters: task.parameters,
            region: Region::Everything,
            scale: eyepiece.scale(),
            mpp_um: task.mpp_um,
            colours: eyepiece.colours,
        };
        let control = Control { cancel: Some(cancel), ..Control::default() };
        let seen = wanted.seen(&image);
        let answer = segment_on(&device, &task.model, &seen, SegmentOptions::default(), &control, &mut report);
        let (map, _) = pollster::block_on(answer)?;
        let kept = cut.nuclei(&image, &map, &wanted)?;
        let bounds = {
            let mut state = lock();
            // Another model or slide may have come meanwhile.
            let (findings, _) = state.as_mut().filter(|_| !cancel.load(Ordering::Relaxed)).ok_or_else(gone)?;
            findings.take(*index, kept);
            findings.bounds(*index)
        };
        tell.tell(Told::Block { bounds, done, of: missing.len() });
    }
    Ok(())
}
