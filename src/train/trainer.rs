//! Drives a run to its end: checkpoints in a file, events, cancellation.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::compute::Compute;
use super::init::RevivedUnits;
use super::recipe::Recipe;
use super::run::{EpochLog, StepLog, TrainJob, TrainRun, TrainedModel};
use crate::dataset::Tile;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::platform::seconds;

/// Dice coefficient of a network that has learnt something.
const LEARNT_DICE: f64 = 0.2;
/// A collapse multiplies the training loss by more than this.
const COLLAPSE_FACTOR: f64 = 1.2;

/// Refuses a run whose network found nuclei and, for two epochs, has found none at a higher loss:
/// its units are dead and do not come back.
///
/// # Errors
/// [`Error::Malformed`].
fn check_collapse(history: &[EpochLog], learning_rate: f64) -> Result<()> {
    let Some((last, earlier)) = history.split_last_chunk::<2>().map(|(e, l)| (l, e)) else {
        return Ok(());
    };
    let Some(best) = earlier
        .iter()
        .filter(|log| log.validation_dice.is_some_and(|dice| dice > LEARNT_DICE))
        .min_by(|a, b| a.train_loss.total_cmp(&b.train_loss))
    else {
        return Ok(());
    };
    let has_collapsed = |log: &EpochLog| {
        log.validation_dice == Some(0.0) && log.train_loss > COLLAPSE_FACTOR * best.train_loss
    };
    if !last.iter().all(has_collapsed) {
        return Ok(());
    }
    Err(Error::malformed(format!(
        "Training has collapsed: after epoch {} the network finds no nuclei any more. Train again \
         with --fresh and a smaller learning rate, such as --learning-rate {}",
        best.epoch,
        learning_rate / 2.0
    )))
}

/// What happened in a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// Dead units have been re-initialised.
    Revived {
        /// One entry for each layer with dead units.
        units: Vec<RevivedUnits>,
    },
    /// The run continues from a checkpoint.
    Resumed {
        /// Complete epochs.
        epoch: u64,
        /// Steps done in the epoch that continues.
        step: u64,
        /// Scores of the complete epochs, oldest first.
        history: Vec<EpochLog>,
    },
    /// A step is done.
    Step {
        /// Steps done in the whole run.
        done: u64,
        /// Steps of the whole run.
        total: u64,
        /// Epoch of the step, from 1.
        epoch: u64,
        /// Mean over the batch before the step, nats.
        loss: f64,
        /// Pixels a second since the process began to train.
        patches_per_s: f64,
    },
    /// An epoch is done.
    Epoch(EpochLog),
    /// A checkpoint could not be written; the run goes on.
    NoCheckpoint {
        /// Why, as a sentence.
        reason: String,
    },
}

/// Labelled tiles to sample from.
#[derive(Debug, Clone, Copy)]
pub struct TrainData<'a> {
    /// At least one image; pixels are sampled over all of them.
    pub tiles: &'a [Tile],
}

/// A trained model and how it got there.
#[derive(Debug, Clone)]
pub struct TrainOutcome {
    /// Its card records data, recipe and scores of the run.
    pub model: Model,
    /// Scores of all epochs, oldest first, with those before a checkpoint.
    pub history: Vec<EpochLog>,
    /// Seconds in this process, without those before a checkpoint.
    pub seconds: f64,
}

/// A run to be started or resumed.
pub struct Trainer<'a> {
    /// Architecture and weights to begin with.
    pub start: &'a Model,
    /// Labelled images.
    pub data: TrainData<'a>,
    /// Sample size, optimiser and every other number that decides the result.
    pub recipe: &'a Recipe,
    /// Backend that computes the gradients.
    pub compute: &'a Compute,
    /// Their mean probability has [`Recipe::distill`] as share in the targets.
    pub teachers: &'a [Model],
    /// File of the run's checkpoint; the caller removes it at the end.
    pub checkpoint: Option<&'a Path>,
    /// Time between checkpoints; zero is after every step.
    pub checkpoint_every: Duration,
    /// Whether a run whose network finds no nuclei any more ends with an error; else such a network
    /// is a result.
    pub ends_collapsed: bool,
    /// Set by another thread to stop after the current step.
    pub cancel: &'a AtomicBool,
}

/// Where a file goes that cannot be written to `path`: a name of its own in the system's folder of
/// temporary files.
#[must_use]
pub fn rescue_path(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    std::env::temp_dir().join(format!("prunella-{}-{name}", std::process::id()))
}

impl Trainer<'_> {
    /// Trains to the end of the recipe.
    ///
    /// # Errors
    /// [`Error::Cancelled`], after a checkpoint, when cancelled; [`Error::Malformed`] with advice
    /// when the loss is no longer finite; those of data, device and disk.
    pub fn run(&self, on_event: &mut dyn FnMut(Event)) -> Result<TrainOutcome> {
        let began = seconds();
        let mut run = TrainRun::begin(TrainJob {
            start: self.start,
            tiles: self.data.tiles,
            recipe: self.recipe,
            compute: self.compute,
            teachers: self.teachers,
        })?;
        if !run.revived().is_empty() {
            on_event(Event::Revived { units: run.revived().to_vec() });
        }
        if let Some(path) = self.checkpoint.filter(|path| path.exists()) {
            run.resume(Checkpoint::load(path)?)?;
            let progress = run.progress();
            on_event(Event::Resumed {
                epoch: progress.epoch,
                step: progress.step,
                history: progress.history.clone(),
            });
        }
        let prepared = seconds();
        let mut saved = prepared;
        let mut can_save = true;
        let mut pixels = 0;
        // A resumed run may begin in the middle of an epoch, or between its last step and its
        // scores.
        while run.progress().epoch < self.recipe.epochs {
            while run.progress().step < run.steps_in_epoch() {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(self.cancelled(&run));
                }
                let StepLog { loss, pixels: in_step } = run.step()?;
                pixels += in_step;
                on_event(Event::Step {
                    done: run.progress().steps,
                    total: run.total_steps(),
                    epoch: run.progress().epoch + 1,
                    loss,
                    patches_per_s: pixels as f64 / (seconds() - prepared),
                });
                if seconds() - saved >= self.checkpoint_every.as_secs_f64() {
                    let checkpoint = run.checkpoint()?;
                    let result = self.save(&checkpoint);
                    // Said once: a full disk is full at the next checkpoint too.
                    if let Err(error) = &result
                        && can_save
                    {
                        on_event(Event::NoCheckpoint { reason: error.to_string() });
                    }
                    can_save = result.is_ok();
                    saved = seconds();
                }
            }
            on_event(Event::Epoch(run.finish_epoch()?));
            if self.ends_collapsed {
                check_collapse(&run.progress().history, self.recipe.learning_rate)?;
            }
        }
        let TrainedModel { model, history } = run.finish()?;
        Ok(TrainOutcome { model, history, seconds: seconds() - began })
    }

    /// Saves a checkpoint, in the system's folder of temporary files where its own cannot be
    /// written; the error of that, or that of the cancellation.
    fn cancelled(&self, run: &TrainRun<'_>) -> Error {
        let Some(path) = self.checkpoint else { return Error::Cancelled { after: String::new() } };
        let checkpoint = match run.checkpoint() {
            Ok(checkpoint) => checkpoint,
            Err(error) => return error,
        };
        let Err(error) = self.save(&checkpoint) else {
            let after = "a checkpoint is kept; the same command goes on from it".to_owned();
            return Error::Cancelled { after };
        };
        let rescue = rescue_path(path);
        match checkpoint.save(&rescue) {
            Ok(()) => Error::Cancelled {
                after: format!(
                    "{error}; the checkpoint is {}. Move it to {} to go on",
                    rescue.display(),
                    path.display()
                ),
            },
            Err(_) => error,
        }
    }

    fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        checkpoint.save(path)?;
        let progress = &checkpoint.progress;
        tracing::debug!(epoch = progress.epoch, step = progress.step, "checkpoint written");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_finds_nothing_any_more_ends_the_run() {
        let log = |epoch: u64, train_loss: f64, dice: f64| EpochLog {
            epoch,
            train_loss,
            validation_loss: train_loss,
            validation_accuracy: 0.8,
            validation_dice: Some(dice),
            learning_rate: 5e-3,
        };
        let collapsed = [log(1, 0.36, 0.76), log(2, 0.55, 0.0), log(3, 0.63, 0.0)];
        let error = check_collapse(&collapsed, 5e-3).expect_err("collapsed").to_string();
        assert!(error.contains("after epoch 1") && error.contains("0.0025"), "{error}");
        check_collapse(&collapsed[..2], 5e-3).expect("one epoch may be bad luck");
        check_collapse(&collapsed[1..], 5e-3).expect("nothing was learnt before");
        let few_nuclei = [log(1, 0.36, 0.76), log(2, 0.35, 0.0), log(3, 0.34, 0.0)];
        check_collapse(&few_nuclei, 5e-3).expect("the loss falls");
    }
}
