//! A training run as a state machine without files and threads of its own: sample, gather, step,
//! validate. The same start, recipe and tiles give the same weights on the CPU, bit for bit,
//! however often the run was interrupted.
//!
//! ```text
//! TrainRun::begin ─ [resume] ─ step × steps_in_epoch ─ finish_epoch ─ … ─ finish
//! ```

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Sample, augmentation_seed, class_maps};
use super::burn::BurnTrainer;
use super::checkpoint::{Checkpoint, TrainProgress, run_id};
use super::compute::{Compute, TrainBackend};
use super::gradients::{Gradients, update_running_statistics};
use super::init::{InitialModel, RevivedUnits, initial_model};
use super::native_network::NativeNetwork;
use super::optimiser::AdamW;
use super::recipe::Recipe;
use super::sequential_trainer::SequentialTrainer;
use super::teachers::Teachers;
use super::validation::{score_patches, score_squares};
use crate::dataset::{ClassMap, Sampler, Tile};
use crate::error::{Error, Result};
use crate::metrics::PixelCounts;
use crate::model::{HistoryStep, Model, TileHash, TrainingStep, Weights};
use crate::raster::{StainRange, StainStatistics};

/// Scores of one epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochLog {
    /// From 1.
    pub epoch: u64,
    /// Mean over the epoch's patches, each taken before its step.
    pub train_loss: f64,
    /// Mean cross-entropy over the validation pixels, nats.
    pub validation_loss: f64,
    /// Share of validation pixels classified correctly, 0 to 1.
    pub validation_accuracy: f64,
    /// Dice coefficient of the nucleus class over the validation pixels, 0 to 1; none where no
    /// pixel is nucleus, neither in labels nor in predictions.
    pub validation_dice: Option<f64>,
    /// At the beginning of the epoch.
    pub learning_rate: f64,
}

/// What a run trains, on what, and how.
#[derive(Debug, Clone, Copy)]
pub struct TrainJob<'a> {
    /// Architecture and weights to begin with.
    pub start: &'a Model,
    /// Labelled images to sample from.
    pub tiles: &'a [Tile],
    /// Sample size, optimiser and every other number that decides the result.
    pub recipe: &'a Recipe,
    /// Backend that computes the gradients.
    pub compute: &'a Compute,
    /// Their mean probability has [`Recipe::distill`] as share in the targets.
    pub teachers: &'a [Model],
}

/// A run between two steps.
///
/// ```
/// use prunella::dataset::phantom;
/// use prunella::model::{Model, dcnn};
/// use prunella::train::{Compute, Recipe, TrainJob, TrainRun};
///
/// let start = Model::random(dcnn([2, 3, 4], 8, 2), 1)?;
/// let tiles = [phantom::tile(64, 64, 1)];
/// let recipe = Recipe { patches: 40, epochs: 1, batch: 8, ..Recipe::DEFAULT };
/// let compute = Compute::cpu();
/// let job = TrainJob {
///     start: &start,
///     tiles: &tiles,
///     recipe: &recipe,
///     compute: &compute,
///     teachers: &[],
/// };
/// let mut run = TrainRun::begin(job)?;
/// for _ in 0..run.steps_in_epoch() {
///     run.step()?;
/// }
/// let scores = run.finish_epoch()?;
/// let trained = run.finish()?.model;
/// assert_eq!(scores.epoch, 1);
/// assert_ne!(trained.weights(), start.weights());
/// # Ok::<(), prunella::error::Error>(())
/// ```
pub struct TrainRun<'a> {
    job: TrainJob<'a>,
    backend: StepBackend<'a>,
    sampler: Sampler,
    /// The classes of each tile's pixels.
    targets: Vec<ClassMap>,
    weights: Weights,
    /// Moving average of the weights; none where the recipe asks for none.
    average: Option<Weights>,
    optimiser: AdamW,
    progress: TrainProgress,
    revived: Vec<RevivedUnits>,
}

/// Computes the gradients of a step.
enum StepBackend<'a> {
    Native { network: NativeNetwork, teachers: Teachers<'a> },
    Burn(Box<BurnTrainer<'a>>),
}

impl StepBackend<'_> {
    /// The network that can be trained on squares.
    fn sequential(&self) -> Option<&SequentialTrainer> {
        match self {
            Self::Native { network, .. } => network.sequential(),
            Self::Burn(_) => None,
        }
    }
}

impl<'a> TrainRun<'a> {
    /// Draws the sample, initialises weights and prepares the backend.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when recipe and tiles do not fit or the tiles do not have both classes,
    /// [`Error::Unsupported`] when the network or the device cannot do what the recipe asks for.
    pub fn begin(job: TrainJob<'a>) -> Result<Self> {
        let TrainJob { start, tiles, recipe, compute, teachers } = job;
        recipe.validate()?;
        check_classes(tiles, recipe)?;
        let targets = class_maps(tiles, start.card(), recipe.border_um)?;
        let classes = &start.card().classes;
        let backend = match &compute.backend {
            TrainBackend::Native => {
                let network = NativeNetwork::new(start.graph())?;
                let teachers = Teachers::new(teachers, network.sequential(), classes)?;
                StepBackend::Native { network, teachers }
            }
            TrainBackend::Burn(device) => {
                Teachers::new(teachers, None, classes)?;
                let graph = start.graph();
                let Recipe { augmentation, head, batch, .. } = *recipe;
                let trainer = BurnTrainer::new(graph, tiles, augmentation, head, batch, device)?;
                StepBackend::Burn(Box::new(trainer))
            }
        };
        let sampler = draw_sample(tiles, recipe, backend.sequential())?;
        let InitialModel { model, revived } = initial_model(start, recipe, tiles, &sampler)?;
        Ok(Self {
            job,
            backend,
            sampler,
            targets,
            weights: model.weights().clone(),
            average: (recipe.ema > 0.0).then(|| model.weights().clone()),
            optimiser: AdamW::new(start.graph(), recipe.weight_decay),
            progress: TrainProgress {
                run: job.id(),
                epoch: 0,
                step: 0,
                steps: 0,
                loss_sum: 0.0,
                history: Vec::new(),
            },
            revived,
        })
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it belongs to another run.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        if checkpoint.progress.run != self.progress.run {
            return Err(Error::mismatch(
                "The checkpoint belongs to another run (other recipe, data or start); use --fresh \
                 to replace it",
            ));
        }
        // Refuses arrays of other names or shapes.
        let model = self.job.start.with_weights(checkpoint.weights)?;
        self.weights.clone_from(model.weights());
        if let Some(average) = &mut self.average {
            average.clone_from(self.job.start.with_weights(checkpoint.average)?.weights());
        }
        self.optimiser.restore(checkpoint.moments, checkpoint.progress.steps);
        self.progress = checkpoint.progress;
        Ok(())
    }

    /// Everything that [`Self::resume`] needs.
    ///
    /// # Errors
    /// [`Error::Malformed`] when weights are no longer finite.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        self.check_weights()?;
        Ok(Checkpoint {
            progress: self.progress.clone(),
            weights: self.weights.clone(),
            moments: self.optimiser.moments().clone(),
            average: self.average.clone().unwrap_or_default(),
        })
    }

    /// Position in the run and scores so far.
    #[must_use]
    pub fn progress(&self) -> &TrainProgress {
        &self.progress
    }

    /// Dead units that were re-initialised for the start, by layer.
    #[must_use]
    pub fn revived(&self) -> &[RevivedUnits] {
        &self.revived
    }

    /// `ceil(training pixels / batch)`; the last batch of an epoch may be smaller.
    #[must_use]
    pub fn steps_in_epoch(&self) -> u64 {
        self.sampler.train.len().div_ceil(self.job.recipe.batch) as u64
    }

    /// Steps of all epochs together.
    #[must_use]
    pub fn total_steps(&self) -> u64 {
        self.steps_in_epoch().saturating_mul(self.job.recipe.epochs)
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the loss is no longer finite; those of the backend.
    pub fn step(&mut self) -> Result<StepLog> {
        let recipe = self.job.recipe;
        let samples = self.next_samples();
        let mut gradients = self.gradients(&samples)?;
        self.check_finite(gradients.loss)?;
        if recipe.dead_units.centre_gradients {
            gradients.centre(self.job.start.graph());
        }
        // The rate is a function of the step alone, so a resumed run continues the schedule.
        let done = self.progress.steps as f64 / self.total_steps() as f64;
        let rate = recipe.learning_rate * recipe.schedule.factor(done);
        update_running_statistics(&mut self.weights, &gradients.statistics);
        self.optimiser.step(&mut self.weights, &gradients.arrays, rate);
        self.progress.step += 1;
        self.progress.steps += 1;
        if let Some(average) = &mut self.average {
            update_average(average, &self.weights, recipe.ema, self.progress.steps);
        }
        // Weighted by samples: the last batch of an epoch may be smaller.
        self.progress.loss_sum += gradients.loss * samples.len() as f64;
        let pixels = samples.len() * recipe.square_px * recipe.square_px;
        Ok(StepLog { loss: gradients.loss, pixels: pixels as u64 })
    }

    fn next_samples(&self) -> Vec<Sample> {
        let recipe = self.job.recipe;
        let epoch = self.progress.epoch;
        let first = self.progress.step as usize * recipe.batch;
        let end = (first + recipe.batch).min(self.sampler.train.len());
        let mut samples = Vec::with_capacity(recipe.batch);
        for i in first..end {
            let pixel = self.sampler.training_pixel(epoch, i);
            samples.push(Sample { pixel, seed: augmentation_seed(recipe.seed, epoch, i) });
        }
        samples
    }

    fn gradients(&self, samples: &[Sample]) -> Result<Gradients> {
        let TrainJob { tiles, recipe, .. } = self.job;
        let targets = &self.targets;
        match &self.backend {
            StepBackend::Native { network, teachers } => {
                let mut batch =
                    Batch::gather(tiles, targets, samples, recipe.square_px, recipe.augmentation);
                teachers.add_soft_targets(&mut batch, recipe.distill);
                Ok(network.gradients(&self.weights, &batch, recipe.head))
            }
            StepBackend::Burn(trainer) => trainer.gradients(&self.weights, samples, targets),
        }
    }

    /// Scores the validation patches and begins the next epoch.
    ///
    /// # Errors
    /// [`Error::Malformed`] when weights or loss are no longer finite; those of the engine.
    pub fn finish_epoch(&mut self) -> Result<EpochLog> {
        let recipe = self.job.recipe;
        let score = self.validate()?.scores();
        let validation_loss = score.cross_entropy.unwrap_or(0.0);
        self.check_finite(validation_loss)?;
        let done = self.progress.epoch as f64 / recipe.epochs as f64;
        let log = EpochLog {
            epoch: self.progress.epoch + 1,
            train_loss: self.progress.loss_sum / self.sampler.train.len() as f64,
            validation_loss,
            validation_accuracy: score.accuracy.unwrap_or(0.0),
            validation_dice: score.dice,
            learning_rate: recipe.learning_rate * recipe.schedule.factor(done),
        };
        self.progress.history.push(log.clone());
        self.progress.epoch += 1;
        self.progress.step = 0;
        self.progress.loss_sum = 0.0;
        Ok(log)
    }

    /// Scores with the exact engine, which needs less time than the trainer's forward pass; squares
    /// are scored by the trainer.
    fn validate(&self) -> Result<PixelCounts> {
        let TrainJob { start, tiles, recipe, .. } = self.job;
        let pixels = &self.sampler.validation;
        let targets = &self.targets;
        let weights = self.average.as_ref().unwrap_or(&self.weights);
        self.check_weights()?;
        if recipe.square_px > 1
            && let Some(network) = self.backend.sequential()
        {
            let side = recipe.square_px;
            return Ok(score_squares(network, weights, tiles, targets, pixels, side, recipe.head));
        }
        let model = start.with_weights(weights.clone())?;
        score_patches(&model, tiles, targets, pixels, recipe.head)
    }

    /// The trained model, with a card that records how it was trained.
    ///
    /// # Errors
    /// None in practice; see [`Model::new`].
    pub fn finish(self) -> Result<TrainedModel> {
        let weights = self.average.unwrap_or(self.weights);
        let model = self.job.with_card(weights, self.progress.history.last())?;
        Ok(TrainedModel { model, history: self.progress.history })
    }

    /// A ReLU can hide from the loss that a weight is no number.
    fn check_weights(&self) -> Result<()> {
        for value in self.weights.values().flat_map(|array| &array.data) {
            self.check_finite(f64::from(*value))?;
        }
        Ok(())
    }

    fn check_finite(&self, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        Err(Error::malformed(format!(
            "The loss is no longer a number at step {}; try a smaller learning rate than {}, with \
             --fresh",
            self.progress.steps + 1,
            self.job.recipe.learning_rate
        )))
    }
}

/// Moves an average towards the weights after `steps` steps, from 1. The first steps count more, so
/// that the average does not remember the start: its decay is at most (1 + steps) / (10 + steps).
fn update_average(average: &mut Weights, weights: &Weights, decay: f64, steps: u64) {
    let warm_up = (1 + steps) as f64 / (10 + steps) as f64;
    let share = (1.0 - decay.min(warm_up)) as f32;
    for (average, weights) in average.values_mut().zip(weights.values()) {
        for (average, weight) in average.data.iter_mut().zip(&weights.data) {
            *average += (weight - *average) * share;
        }
    }
}

/// One step of a run.
#[derive(Debug, Clone, Copy)]
pub struct StepLog {
    /// Mean over the batch, taken before the step.
    pub loss: f64,
    /// Pixels in the batch.
    pub pixels: u64,
}

/// A trained model and the scores of its epochs.
#[derive(Debug, Clone)]
pub struct TrainedModel {
    /// Its card records data, recipe and scores of the run.
    pub model: Model,
    /// Scores of all epochs, oldest first.
    pub history: Vec<EpochLog>,
}

/// Refuses tiles from whose labels nothing can be learned. With teachers alone as targets, labels
/// only give scores.
fn check_classes(tiles: &[Tile], recipe: &Recipe) -> Result<()> {
    if recipe.distill >= 1.0 || tiles.is_empty() {
        return Ok(());
    }
    let has = |is_class: fn(&u32) -> bool| {
        tiles.iter().any(|tile| tile.labels.data().iter().any(is_class))
    };
    if !has(|&label| label > 0) {
        return Err(Error::mismatch(
            "No nucleus is labelled in any of the tiles, so that there is nothing to learn; \
             'prunella data check' shows the labels",
        ));
    }
    if !has(|&label| label == 0) {
        return Err(Error::mismatch(
            "Every pixel of the tiles is labelled as nucleus, so that there is nothing to learn; \
             is the mask inverted?",
        ));
    }
    Ok(())
}

fn draw_sample(
    tiles: &[Tile],
    recipe: &Recipe,
    network: Option<&SequentialTrainer>,
) -> Result<Sampler> {
    if recipe.square_px == 1 {
        return Sampler::draw(tiles, recipe.patches, recipe.prior, recipe.seed);
    }
    let Some(network) = network else {
        return Err(Error::unsupported(
            "Learning whole squares (--square) needs a DCNN and --device cpu",
        ));
    };
    let step = network.square_step();
    if !recipe.square_px.is_multiple_of(step) {
        return Err(Error::invalid(format!(
            "The side of the squares (--square) must be a multiple of {step}"
        )));
    }
    Sampler::draw_squares(tiles, recipe.patches, recipe.square_px, recipe.seed)
}

impl TrainJob<'_> {
    /// Width of the border class; none where the model has no such class.
    fn border_um(&self) -> Option<f64> {
        let card = self.start.card();
        if !card.has_border() {
            return None;
        }
        self.recipe.border_um.or(card.border_um)
    }

    /// Stains that the result was trained on: those of the tiles, and those of an earlier
    /// training.
    fn stain_range(&self) -> Option<StainRange> {
        let stains: Vec<_> =
            self.tiles.iter().filter_map(|tile| StainStatistics::of([&tile.image])).collect();
        let card = self.start.card();
        // A link and a file of another program do not tell of the training.
        let untrained = |step: &HistoryStep| {
            matches!(
                step,
                HistoryStep::Initialise { .. } | HistoryStep::Prune(_) | HistoryStep::Extend { .. }
            )
        };
        let is_random = matches!(card.history.first(), Some(HistoryStep::Initialise { .. }));
        let was_trained = !(is_random && card.history.iter().all(untrained));
        match StainRange::of(&stains) {
            Some(range) if was_trained => Some(range.with(&card.stain.unwrap_or_default())),
            Some(range) => Some(range),
            None => card.stain,
        }
    }

    /// What a checkpoint of this run is known by.
    fn id(&self) -> String {
        let mut start = self.start.fingerprint();
        for teacher in self.teachers {
            start += &format!(" taught by {}", teacher.fingerprint());
        }
        // With two classes labels are the targets.
        let card = self.start.card();
        let several = card.classes.len() > 2;
        if several {
            let classes = serde_json::json!(card.classes);
            start += &format!(" telling apart {classes}, border {:?}", self.border_um());
        }
        let mut tiles = Vec::with_capacity(self.tiles.len());
        for tile in self.tiles {
            let mut name = format!("{}:{}", tile.sha256, tile.labels_sha256());
            if !tile.has_weight(1.0) {
                name += &format!("*{}", tile.weight);
            }
            tiles.push(name);
            if several {
                tiles.push(format!("{:?} {:?}", tile.mpp_um, tile.object_types));
            }
        }
        run_id(self.recipe, &start, &tiles)
    }

    fn with_card(&self, weights: Weights, last_epoch: Option<&EpochLog>) -> Result<Model> {
        let mut model = self.start.with_weights(weights)?;
        let card = model.card_mut();
        card.head = self.recipe.head;
        card.border_um = self.border_um();
        card.stain = self.stain_range();
        card.parent = Some(self.start.fingerprint());
        card.metrics.clear();
        let pixel_sizes: Vec<f64> = self.tiles.iter().filter_map(|tile| tile.mpp_um).collect();
        if !pixel_sizes.is_empty() {
            card.mpp_um = pixel_sizes.iter().sum::<f64>() / pixel_sizes.len() as f64;
        }
        let mut tile_weights: Vec<f64> = self.tiles.iter().map(|tile| tile.weight).collect();
        if self.tiles.iter().all(|tile| tile.has_weight(1.0)) {
            tile_weights.clear();
        }
        card.history.push(HistoryStep::Train(TrainingStep {
            recipe: serde_json::json!(self.recipe),
            tiles: self.tiles.iter().map(|tile| tile.name.clone()).collect(),
            tile_weights,
            device: self.compute.name.clone(),
            teachers: Some(self.teachers.iter().map(Model::fingerprint).collect()),
            last_epoch: serde_json::json!(last_epoch),
            ..TrainingStep::default()
        }));
        for tile in self.tiles {
            let hash = TileHash {
                name: tile.name.clone(),
                sha256: tile.sha256.clone(),
                labels_sha256: tile.labels_sha256(),
            };
            // Cards of older models do not have the hash of the labels.
            let same_image = |known: &&mut TileHash| {
                known.sha256 == hash.sha256 && known.labels_sha256.is_empty()
            };
            if let Some(known) = card.data.iter_mut().find(same_image) {
                *known = hash;
            } else if !card.data.contains(&hash) {
                card.data.push(hash);
            }
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Augmentation, phantom};
    use crate::engine::{Control, SegmentOptions, segment};
    use crate::instances::{classes_by_label, label_nuclei, type_bytes};
    use crate::metrics::match_objects;
    use crate::model::{PixelClass, dccn, dcnn};
    use crate::train::{DeadUnitOptions, with_border_class};

    /// Weights after an epoch on a pool of so many threads.
    fn trained_on(threads: usize, start: &Model, recipe: &Recipe) -> Weights {
        let tiles = [phantom::tile(96, 96, 1)];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        pool.install(|| {
            let compute = Compute::cpu();
            let job = TrainJob { start, tiles: &tiles, recipe, compute: &compute, teachers: &[] };
            let mut run = TrainRun::begin(job).expect("run");
            for _ in 0..run.steps_in_epoch() {
                run.step().expect("step");
            }
            run.finish_epoch().expect("epoch");
            run.finish().expect("model").model.weights().clone()
        })
    }

    /// In a browser there is one thread.
    #[test]
    fn one_thread_trains_the_same_weights_as_many() {
        let small = Recipe { patches: 150, epochs: 1, batch: 40, ..Recipe::DEFAULT };
        let squares = Recipe { patches: 1500, square_px: 8, batch: 5, ..small.clone() };
        let all_measures = Recipe {
            dead_units: DeadUnitOptions::ALL,
            augmentation: Augmentation::STRONG,
            weight_decay: 0.01,
            ..small.clone()
        };
        let chain = Model::random(dcnn([9, 5, 8], 200, 2), 1).expect("model");
        let branched = Model::random(dccn(5, 7, 3, [6, 5, 9], 2), 1).expect("model");
        let bordered = with_border_class(&chain).expect("model");
        let borders = Recipe { border_um: Some(0.75), ema: 0.9, ..squares.clone() };
        let cases = [
            (&chain, &small),
            (&chain, &squares),
            (&chain, &all_measures),
            (&branched, &small),
            (&bordered, &borders),
        ];
        for (start, recipe) in cases {
            let one = trained_on(1, start, recipe);
            assert_ne!(&one, start.weights());
            for threads in [2, 5] {
                assert!(trained_on(threads, start, recipe) == one, "{threads} threads: {recipe:?}");
            }
        }
    }

    #[test]
    fn borders_and_types_are_learned() {
        let mut tile = phantom::tile(128, 128, 1);
        for label in tile.labels.labels() {
            let name = if label % 2 == 0 { "even" } else { "odd" };
            tile.object_types.insert(label, name.to_owned());
        }
        let tiles = [tile];
        let compute = Compute::cpu();
        let train = |start: &Model, recipe: &Recipe| {
            let job = TrainJob { start, tiles: &tiles, recipe, compute: &compute, teachers: &[] };
            let mut run = TrainRun::begin(job).expect("run");
            for _ in 0..recipe.epochs {
                for _ in 0..run.steps_in_epoch() {
                    run.step().expect("step");
                }
                run.finish_epoch().expect("epoch");
            }
            run.finish().expect("model")
        };
        let start = with_border_class(&Model::random(dcnn([4, 6, 8], 24, 2), 1).expect("model"));
        let start = start.expect("model");
        let recipe = Recipe {
            patches: 6400,
            square_px: 8,
            epochs: 4,
            batch: 8,
            learning_rate: 5e-3,
            border_um: Some(0.5),
            dead_units: DeadUnitOptions::ALL,
            ..Recipe::DEFAULT
        };
        let TrainedModel { model, history } = train(&start, &recipe);
        assert_eq!(model.card().border_um, Some(0.5));
        // Between guessing by frequency and perfect.
        let last = history.last().expect("epoch");
        assert!(last.validation_dice.expect("nuclei") > 0.6, "{last:?}");
        assert!(last.validation_loss < 0.8 * history[0].validation_loss, "{history:?}");

        let types = ["even".to_owned(), "odd".to_owned()];
        let mut start = Model::random(dcnn([4, 6, 8], 24, 4), 1).expect("model");
        start.card_mut().classes = PixelClass::of_nuclei(&types, true);
        let recipe = Recipe { square_px: 1, patches: 100, epochs: 1, ..recipe };
        let single = train(&start, &recipe).history;
        assert!(single[0].validation_loss.is_finite() && single[0].train_loss > 0.2);
        let job = TrainJob {
            start: &start,
            tiles: &tiles,
            recipe: &Recipe { border_um: None, ..recipe },
            compute: &compute,
            teachers: &[],
        };
        assert!(TrainRun::begin(job).is_err(), "nothing says how wide the border is");
    }

    /// Small and dark against large and pale: the type of a found nucleus follows from its pixels.
    #[test]
    fn two_types_of_nuclei_are_told_apart() {
        let tiles = [1, 2, 3].map(|seed| phantom::typed_tile(160, 160, seed));
        let compute = Compute::cpu();
        let recipe = Recipe {
            patches: 25_600,
            square_px: 8,
            epochs: 6,
            batch: 8,
            learning_rate: 5e-3,
            dead_units: DeadUnitOptions::ALL,
            ..Recipe::DEFAULT
        };
        let types = ["dark".to_owned(), "pale".to_owned()];
        let mut start = Model::random(dcnn([4, 6, 8], 24, 3), 1).expect("model");
        start.card_mut().classes = PixelClass::of_nuclei(&types, false);
        let job = TrainJob {
            start: &start,
            tiles: &tiles,
            recipe: &recipe,
            compute: &compute,
            teachers: &[],
        };
        let mut run = TrainRun::begin(job).expect("run");
        for _ in 0..recipe.epochs {
            for _ in 0..run.steps_in_epoch() {
                run.step().expect("step");
            }
            run.finish_epoch().expect("epoch");
        }
        let model = run.finish().expect("model").model;

        let unseen = phantom::typed_tile(240, 240, 9);
        let options = SegmentOptions::default();
        let map = segment(&model, &unseen.image, options, &Control::default()).expect("map");
        let (labels, _) = label_nuclei(&map, &model.card().instances).expect("nuclei");
        let classes = classes_by_label(&labels, &type_bytes(&map));
        let matched = match_objects(&labels, &unseen.labels).expect("matching").matched;
        let mut right = 0;
        for pair in &matched {
            let class = classes[pair.predicted as usize].expect("a type");
            right += usize::from(types[usize::from(class)] == unseen.object_types[&pair.truth]);
        }
        assert!(matched.len() > 10, "{}", matched.len());
        assert!(10 * right > 9 * matched.len(), "{right} of {}", matched.len());
    }

    #[test]
    fn an_average_follows_the_weights_and_forgets_the_start() {
        let model = Model::random(dcnn([2, 3, 4], 8, 2), 1).expect("model");
        let weights = Model::random(dcnn([2, 3, 4], 8, 2), 2).expect("model").weights().clone();
        let mut average = model.weights().clone();
        for steps in 1..=200 {
            update_average(&mut average, &weights, 0.999, steps);
        }
        let before = model.array("conv2.weight");
        let after = &average["conv2.weight"].data;
        for ((after, wanted), before) in after.iter().zip(&weights["conv2.weight"].data).zip(before)
        {
            assert!((after - wanted).abs() < 1e-3 * (before - wanted).abs() + 1e-6);
        }
    }

    #[test]
    fn tiles_of_one_class_are_refused_and_some_without_nuclei_are_not() {
        let nuclei = phantom::tile(64, 64, 1);
        let with_label =
            |label: u32| Tile { labels: nuclei.labels.map(|_| label), ..nuclei.clone() };
        let start = Model::random(dcnn([2, 3, 4], 8, 2), 1).expect("model");
        let compute = Compute::cpu();
        let begin = |tiles: &[Tile], recipe: &Recipe| {
            let job = TrainJob { start: &start, tiles, recipe, compute: &compute, teachers: &[] };
            TrainRun::begin(job).map(drop)
        };
        let plain = Recipe { patches: 40, epochs: 1, batch: 8, ..Recipe::DEFAULT };
        let balanced = Recipe { prior: crate::dataset::Prior::Balanced, ..plain.clone() };
        for recipe in [&plain, &balanced] {
            let message = begin(&[with_label(0)], recipe).expect_err("no nuclei").to_string();
            assert!(message.contains("nothing to learn"), "{message}");
            assert!(begin(&[with_label(1)], recipe).is_err(), "nuclei alone");
            begin(&[with_label(0), nuclei.clone()], recipe).expect("both classes");
        }
    }

    #[test]
    fn a_run_resumed_between_any_two_steps_ends_with_the_same_weights() {
        let tiles = [phantom::tile(96, 96, 1)];
        let start = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let recipe = Recipe {
            patches: 60,
            epochs: 1,
            batch: 16,
            augmentation: Augmentation::DEFAULT,
            ema: 0.99,
            ..Recipe::DEFAULT
        };
        let compute = Compute::cpu();
        let job = TrainJob {
            start: &start,
            tiles: &tiles,
            recipe: &recipe,
            compute: &compute,
            teachers: &[],
        };
        let mut straight = TrainRun::begin(job).expect("run");
        let mut interrupted = TrainRun::begin(job).expect("run");
        for _ in 0..straight.steps_in_epoch() {
            straight.step().expect("step");
            interrupted.step().expect("step");
            let bytes = interrupted.checkpoint().expect("finite").to_bytes().expect("bytes");
            interrupted = TrainRun::begin(job).expect("run");
            interrupted
                .resume(Checkpoint::from_bytes(&bytes).expect("checkpoint"))
                .expect("resumed");
        }
        assert_eq!(
            straight.checkpoint().expect("finite"),
            interrupted.checkpoint().expect("finite")
        );
    }
}
