//! The training loop: draw, gather, step, validate, checkpoint. The same start, recipe and tiles
//! give the same weights on the CPU, bit for bit, however often the run was killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::batch::{Batch, variation_seed};
use super::checkpoint::{Checkpoint, TrainProgress, run_id};
use super::device::Compute;
use super::device_tiles::DeviceTiles;
use super::gradients::{burn_gradients, kernel_gradients};
use super::init::{RevivedUnits, begin, centre_gradients};
use super::kernels::Kernels;
use super::network::BurnNetwork;
use super::optimiser::Optimiser;
use super::recipe::Recipe;
use super::sequential_trainer::SequentialTrainer;
use super::teachers::Teachers;
use super::validation::{score_patches, score_squares};
use crate::dataset::{SamplePixel, Sampler, Tile};
use crate::error::{Error, Result};
use crate::metrics::PixelCounts;
use crate::model::{HistoryStep, Model, TileHash, TrainingStep, Weights};

/// What one epoch came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochLog {
    /// From 1.
    pub epoch: u64,
    /// Mean over the epoch's patches, while they were learned.
    pub train_loss: f64,
    pub validation_loss: f64,
    pub validation_accuracy: f64,
    pub validation_dice: f64,
    pub learning_rate: f64,
}

/// What a run tells while it goes.
#[derive(Debug, Clone)]
pub enum Event {
    /// Filters that were silent have been drawn anew.
    Awake { redrawn: Vec<RevivedUnits> },
    /// A checkpoint of this run was found.
    Resumed { epoch: u64, step: u64, history: Vec<EpochLog> },
    /// A step is done.
    Step { done: u64, total: u64, epoch: u64, loss: f64, patches_per_s: f64 },
    /// An epoch is done.
    Epoch(EpochLog),
}

/// Labelled tiles to draw from.
#[derive(Debug, Clone, Copy)]
pub struct TrainData<'a> {
    pub tiles: &'a [Tile],
}

/// A trained model and how it got there.
#[derive(Debug, Clone)]
pub struct TrainOutcome {
    pub model: Model,
    pub history: Vec<EpochLog>,
    /// Seconds of this process, without what an earlier one did.
    pub seconds: f64,
}

/// A run to be started or resumed.
pub struct Trainer<'a> {
    pub start: &'a Model,
    pub data: TrainData<'a>,
    pub recipe: &'a Recipe,
    pub compute: &'a Compute,
    /// Teach what they believe on average, with [`Recipe::distil`] as their share.
    pub teachers: &'a [Model],
    /// Where the run is kept while it goes; removed at the end by the caller.
    pub checkpoint: Option<&'a Path>,
    /// Time between checkpoints; zero is after every step.
    pub checkpoint_every: Duration,
    pub cancel: &'a AtomicBool,
}

/// The moving parts of a run.
struct Run<'a> {
    job: &'a Trainer<'a>,
    device: Device,
    sampler: Sampler,
    network: BurnNetwork,
    /// Computes gradients instead of Burn.
    kernels: Option<Kernels>,
    teachers: Teachers<'a>,
    /// Tiles where patches are gathered on the device.
    sent: Option<DeviceTiles>,
    optimiser: Optimiser,
    progress: TrainProgress,
    micro_batch: usize,
    saved: Instant,
    began: Instant,
    patches: u64,
}

impl Trainer<'_> {
    /// Trains to the end of the recipe.
    ///
    /// # Errors
    /// [`Error::Cancelled`] after a checkpoint when asked to stop; [`Error::Malformed`] with advice
    /// when the loss is no longer a number; whatever data, device and disk refuse.
    pub fn run(&self, on_event: &mut dyn FnMut(Event)) -> Result<TrainOutcome> {
        self.recipe.validate()?;
        let began = Instant::now();
        let mut run = self.prepare(on_event)?;
        while run.progress.epoch < self.recipe.epochs {
            run.epoch(on_event)?;
        }
        let model = self.finish(run.network.weights()?, &run.progress.history)?;
        Ok(TrainOutcome {
            model,
            history: run.progress.history,
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    fn prepare(&self, on_event: &mut dyn FnMut(Event)) -> Result<Run<'_>> {
        let hashes: Vec<String> =
            self.data.tiles.iter().map(|t| format!("{}:{}", t.sha256, t.labels_sha256())).collect();
        let taught: String =
            self.teachers.iter().map(|t| format!(" taught by {}", t.fingerprint())).collect();
        let id = run_id(self.recipe, &(self.start.fingerprint() + &taught), &hashes);
        let recipe = self.recipe;
        let kernels = self.compute.kernels(self.start);
        let chain = kernels.as_ref().and_then(Kernels::chain);
        let sampler = self.draw(chain)?;
        let device = self.compute.tracking(kernels.as_ref());
        let (start, redrawn) = begin(self.start, recipe, self.data.tiles, &sampler)?;
        if !redrawn.is_empty() {
            on_event(Event::Awake { redrawn });
        }
        let mut run = Run {
            job: self,
            network: BurnNetwork::new(&start, &device),
            teachers: Teachers::of(self.teachers, chain.is_some())?,
            sent: if kernels.is_some() { None } else { self.send() },
            kernels,
            optimiser: Optimiser::new(recipe.weight_decay),
            progress: TrainProgress {
                run: id.clone(),
                epoch: 0,
                step: 0,
                steps: 0,
                loss_sum: 0.0,
                history: Vec::new(),
            },
            micro_batch: self.compute.micro_batch(self.start, recipe.batch)?,
            saved: Instant::now(),
            began: Instant::now(),
            patches: 0,
            device,
            sampler,
        };
        if let Some(found) =
            self.checkpoint.filter(|p| p.exists()).map(Checkpoint::load).transpose()?
        {
            if found.progress.run != id {
                return Err(Error::mismatch(
                    "The checkpoint belongs to another run (other recipe, data or start); use --fresh to replace it",
                ));
            }
            run.network = BurnNetwork::new(&self.start.with_weights(found.weights)?, &run.device);
            run.optimiser.restore(&found.moments, found.progress.steps, &run.device);
            run.progress = found.progress;
            let history = run.progress.history.clone();
            on_event(Event::Resumed {
                epoch: run.progress.epoch,
                step: run.progress.step,
                history,
            });
        }
        Ok(run)
    }

    /// GPUs gather patches themselves where the tiles fit.
    fn send(&self) -> Option<DeviceTiles> {
        let limit = self.compute.max_tensor_bytes.filter(|_| self.recipe.spread == 1)?;
        DeviceTiles::proven(self.data.tiles, self.recipe.augmentation, &self.compute.device, limit)
    }

    fn draw(&self, lanes: Option<&SequentialTrainer>) -> Result<Sampler> {
        let recipe = self.recipe;
        if recipe.spread == 1 {
            return Sampler::draw(self.data.tiles, recipe.patches, recipe.prior, recipe.seed);
        }
        let Some(lanes) = lanes else {
            return Err(Error::unsupported(
                "Learning whole squares (--spread) needs a DCNN and --device cpu",
            ));
        };
        let step = lanes.spread_step();
        if !recipe.spread.is_multiple_of(step) {
            return Err(Error::mismatch(format!(
                "The side of the squares (--spread) must be a multiple of {step}"
            )));
        }
        Sampler::draw_squares(self.data.tiles, recipe.patches, recipe.spread, recipe.seed)
    }

    /// The trained weights with a card that says how.
    fn finish(&self, weights: Weights, history: &[EpochLog]) -> Result<Model> {
        let mut model = self.start.with_weights(weights)?;
        let tiles = self.data.tiles.iter().map(|t| t.name.clone()).collect();
        let card = model.card_mut();
        card.head = self.recipe.head;
        card.parent = Some(self.start.fingerprint());
        card.metrics.clear();
        let known: Vec<f64> = self.data.tiles.iter().filter_map(|t| t.mpp_um).collect();
        if !known.is_empty() {
            card.mpp_um = known.iter().sum::<f64>() / known.len() as f64;
        }
        card.history.push(HistoryStep::Train(TrainingStep {
            recipe: serde_json::json!(self.recipe),
            tiles,
            device: self.compute.name.clone(),
            teachers: Some(self.teachers.iter().map(Model::fingerprint).collect()),
            last_epoch: serde_json::json!(history.last()),
            ..TrainingStep::default()
        }));
        for tile in self.data.tiles {
            let known = TileHash {
                name: tile.name.clone(),
                sha256: tile.sha256.clone(),
                labels_sha256: tile.labels_sha256(),
            };
            // Cards of older models do not say which labels they saw.
            let unsure = |t: &&mut TileHash| t.sha256 == known.sha256 && t.labels_sha256.is_empty();
            if let Some(old) = card.data.iter_mut().find(unsure) {
                *old = known;
            } else if !card.data.contains(&known) {
                card.data.push(known);
            }
        }
        Ok(model)
    }
}

impl Run<'_> {
    fn steps_in_epoch(&self) -> u64 {
        self.sampler.train.len().div_ceil(self.job.recipe.batch) as u64
    }

    fn epoch(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let (recipe, steps) = (self.job.recipe, self.steps_in_epoch());
        let total = steps.saturating_mul(recipe.epochs);
        while self.progress.step < steps {
            if self.job.cancel.load(Ordering::Relaxed) {
                self.save()?;
                let kept = self
                    .job
                    .checkpoint
                    .map(|_| "a checkpoint is kept; the same command goes on from it");
                return Err(Error::Cancelled { after: kept.unwrap_or_default().into() });
            }
            let rate = recipe.learning_rate
                * recipe.schedule.factor(self.progress.steps as f64 / total as f64);
            let loss = self.step(rate)?;
            on_event(Event::Step {
                done: self.progress.steps,
                total,
                epoch: self.progress.epoch + 1,
                loss,
                patches_per_s: self.patches as f64 / self.began.elapsed().as_secs_f64(),
            });
            if self.saved.elapsed() >= self.job.checkpoint_every {
                self.save()?;
            }
        }
        self.close_epoch(on_event)
    }

    /// One optimiser step; gives the batch's mean loss.
    fn step(&mut self, rate: f64) -> Result<f64> {
        let recipe = self.job.recipe;
        let first = self.progress.step as usize * recipe.batch;
        let last = (first + recipe.batch).min(self.sampler.train.len());
        let epoch = self.progress.epoch;
        let places: Vec<_> = (first..last)
            .map(|i| (self.sampler.training_place(epoch, i), variation_seed(recipe.seed, epoch, i)))
            .collect();
        let (loss, mut gradients) = match &self.kernels {
            Some(kernels) => {
                let batch = self.taught(&places);
                kernel_gradients(kernels, &mut self.network, &batch, recipe.head)?
            }
            None => self.in_parts(&places)?,
        };
        self.check_finite(loss)?;
        if recipe.awake {
            centre_gradients(&mut gradients, self.job.start.graph());
        }
        self.optimiser.step(&mut self.network, rate, &mut gradients)?;
        self.progress.step += 1;
        self.progress.steps += 1;
        self.progress.loss_sum += loss * places.len() as f64;
        self.patches += (places.len() * recipe.spread * recipe.spread) as u64;
        Ok(loss)
    }

    /// Refuses to go on, or to keep, what is no longer a number.
    fn check_finite(&self, loss: f64) -> Result<()> {
        if loss.is_finite() {
            return Ok(());
        }
        Err(Error::malformed(format!(
            "The loss is no longer a number at step {}; try a smaller learning rate than {}, with --fresh",
            self.progress.steps + 1,
            self.job.recipe.learning_rate
        )))
    }

    /// Windows gathered on the host, with what teachers believe of them.
    fn taught(&self, places: &[(SamplePixel, u64)]) -> Batch {
        let recipe = self.job.recipe;
        let mut batch =
            Batch::gather(self.job.data.tiles, places, recipe.spread, recipe.augmentation);
        self.teachers.teach(&mut batch, recipe.distil);
        batch
    }

    /// In parts that fit the device, each gathered when its turn comes; a part weighs as much as it
    /// has patches.
    fn in_parts(
        &mut self,
        places: &[(SamplePixel, u64)],
    ) -> Result<(f64, BTreeMap<String, Tensor<1>>)> {
        let recipe = self.job.recipe;
        let mut sum = 0.0;
        let mut total: BTreeMap<String, Tensor<1>> = BTreeMap::new();
        for places_of_part in places.chunks(self.micro_batch) {
            let patches = match &self.sent {
                Some(sent) => sent.gather(places_of_part).autodiff(),
                None => Batch::gather(self.job.data.tiles, places_of_part, 1, recipe.augmentation)
                    .input(&self.device),
            };
            let classes: Vec<usize> =
                places_of_part.iter().map(|(place, _)| usize::from(place.cell)).collect();
            let share = places_of_part.len() as f64 / places.len() as f64;
            let (loss, gradients) =
                burn_gradients(&mut self.network, patches, &classes, recipe.head)?;
            if places_of_part.len() == places.len() {
                return Ok((loss, gradients));
            }
            sum += loss * share;
            for (name, gradient) in gradients {
                let gradient = gradient * share;
                let sum = match total.remove(&name) {
                    Some(before) => before + gradient,
                    None => gradient,
                };
                total.insert(name, sum);
            }
        }
        Ok((sum, total))
    }

    fn close_epoch(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let recipe = self.job.recipe;
        let score = self.validate()?.scores();
        let validation_loss = score.cross_entropy.unwrap_or(0.0);
        self.check_finite(validation_loss)?;
        let log = EpochLog {
            epoch: self.progress.epoch + 1,
            train_loss: self.progress.loss_sum / self.sampler.train.len() as f64,
            validation_loss,
            validation_accuracy: score.accuracy.unwrap_or(0.0),
            // Nothing to find and nothing called is as right as can be.
            validation_dice: score.dice.unwrap_or(1.0),
            learning_rate: recipe.learning_rate
                * recipe.schedule.factor(self.progress.epoch as f64 / recipe.epochs as f64),
        };
        self.progress.history.push(log.clone());
        self.progress.epoch += 1;
        self.progress.step = 0;
        self.progress.loss_sum = 0.0;
        on_event(Event::Epoch(log));
        Ok(())
    }

    fn validate(&self) -> Result<PixelCounts> {
        let (recipe, tiles, places) =
            (self.job.recipe, self.job.data.tiles, &self.sampler.validation);
        let weights = self.finite_weights()?;
        if let Some(chain) =
            self.kernels.as_ref().and_then(Kernels::chain).filter(|_| recipe.spread > 1)
        {
            return Ok(score_squares(chain, &weights, tiles, places, (recipe.spread, recipe.head)));
        }
        score_patches(&self.job.start.with_weights(weights)?, tiles, places, recipe.head)
    }

    /// The weights, if all are numbers; rectifiers can hide it from the loss when some are not.
    fn finite_weights(&self) -> Result<Weights> {
        let weights = self.network.weights()?;
        let worst = weights.values().flat_map(|a| &a.data).find(|v| !v.is_finite());
        self.check_finite(worst.copied().map_or(0.0, f64::from))?;
        Ok(weights)
    }

    fn save(&mut self) -> Result<()> {
        let Some(path) = self.job.checkpoint else { return Ok(()) };
        let (weights, moments) = (self.finite_weights()?, self.optimiser.moments()?);
        Checkpoint { progress: self.progress.clone(), weights, moments }.save(path)?;
        tracing::debug!(
            epoch = self.progress.epoch,
            step = self.progress.step,
            "checkpoint written"
        );
        self.saved = Instant::now();
        Ok(())
    }
}
