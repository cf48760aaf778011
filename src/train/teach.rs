//! Teaching: a trained model learns from the few pixels that a person marked. A run is a state
//! machine without files and threads of its own, as [`TrainRun`](super::TrainRun) is.
//!
//! Every step has squares around marks and squares from anywhere. The target of a marked pixel is
//! its class; that of every other pixel is what the model said before (knowledge distillation,
//! Hinton et al. 2015, from the model to itself), so that it changes where it was corrected and
//! stays elsewhere. Classes with few marked pixels weigh more.

use std::ops::Range;

use serde::Serialize;

use super::batch::{Batch, augmentation_seed};
use super::gradients::Gradients;
use super::optimiser::AdamW;
use super::sequential_trainer::SequentialTrainer;
use super::teach_outcome::{MarkAgreement, TaughtModel, TaughtWeights, TeachOutcome};
use super::teach_recipe::{TaughtLayers, TeachRecipe};
use super::teach_squares::{
    AnswerBefore, GatheredSquare, MarkPart, Source, Square, answer_before, mark_parts,
};
use crate::dataset::{Augmentation, LEFT_OUT, Permutation, SparseTargets, UNKNOWN};
use crate::engine::{Block, PATCH_BATCH};
use crate::error::{Error, Result};
use crate::model::{Model, PATCH_PX, Weights};
use crate::platform::{for_each_part, mix, on_pool};
use crate::raster::{Plane, RgbImage};

/// Share of a class, of all pixels that are marked, below which its weight rises no more.
const LEAST_CLASS_SHARE: f64 = 0.02;
/// Marks, or parts of large ones, from which on some are held back.
const LEAST_PARTS_TO_HOLD_BACK: usize = 10;

/// `balance` and `certainty` of the images for rehearsal: all of what nuclei are is kept there.
const REHEARSAL_BALANCE: f64 = 0.5;
const REHEARSAL_CERTAINTY: f64 = 2.0;
/// Squares of images for rehearsal that decide how much of what was learned is kept.
const REHEARSED_SQUARES: usize = 128;
/// Factor by which that share falls while it changes too much, and how often.
const STEP_BACK: f32 = 0.8;
const MOST_STEPS_BACK: usize = 10;

/// A part of an image with marks, at the model's pixel size and in the colours that the network
/// reads.
#[derive(Debug, Clone)]
pub struct TaughtImage {
    /// Of the whole image, for the model's card.
    pub name: String,
    /// SHA-256 of the image's file, hexadecimal; empty where it is not known.
    pub sha256: String,
    /// RGB.
    pub image: RgbImage,
    /// Of the same size.
    pub targets: SparseTargets,
    /// Pixels whose surroundings the image shows; towards edges of the whole image all of them.
    pub inside: Block,
}

/// What is taught, to which model, and how.
#[derive(Debug, Clone, Copy)]
pub struct TeachJob<'a> {
    /// The model before.
    pub start: &'a Model,
    /// Images with marks.
    pub images: &'a [TaughtImage],
    /// Images without marks, of tissue that the model must not forget.
    pub rehearsal: &'a [RgbImage],
    /// Every number that decides the result.
    pub recipe: &'a TeachRecipe,
    /// What the model says of the images, those with marks first. It is asked where this is none.
    pub before: Option<&'a [AnswerBefore]>,
}

/// One step of teaching.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TeachStep {
    /// Steps done.
    pub done: u64,
    /// Steps of the whole run.
    pub total: u64,
    /// Mean loss of the step's squares before it, nats.
    pub loss: f64,
    /// Mean loss of the marks that are held back, where they were looked at after the step, nats.
    pub held_back_loss: Option<f64>,
}

/// Teaches a model to the end of the recipe. `on_step` sees every step and goes on as long as it
/// returns true.
///
/// # Errors
/// [`Error::Cancelled`] when told to stop; those of [`TeachRun`].
pub fn teach(
    job: TeachJob<'_>,
    on_step: &mut dyn FnMut(&TeachStep) -> bool,
) -> Result<TaughtModel> {
    let mut run = TeachRun::begin(job)?;
    while !run.is_done() {
        if !on_step(&run.step()?) {
            return Err(Error::Cancelled { after: "the model is as it was before".to_owned() });
        }
    }
    run.finish()
}

/// A run between two steps.
pub struct TeachRun<'a> {
    job: TeachJob<'a>,
    network: SequentialTrainer,
    sources: Vec<Source<'a>>,
    /// Number of sources with marks; the others are for rehearsal.
    marked_sources: usize,
    learned: Vec<MarkPart>,
    held_back: Option<HeldBack>,
    /// By class.
    class_weights: Vec<f64>,
    /// Weight of all pixels without marks, relative to those with.
    unmarked_weight: f64,
    /// The same for background and nucleus, in images with marks and those for rehearsal.
    unmarked_balance: [[f64; 2]; 2],
    weights: Weights,
    optimiser: AdamW,
    steps: u64,
    best: Option<BestWeights>,
}

/// What decides when to stop: marks that are not learned, and pixels without marks.
struct HeldBack {
    parts: usize,
    /// A square around the middle of each part.
    marks: Batch,
    /// A square around the middle of each part, then squares from anywhere.
    batch: Batch,
    before: HeldBackLoss,
}

/// Losses by the shares of a step, nats.
#[derive(Debug, Clone, Copy, Default)]
struct HeldBackLoss {
    /// Mean of the marks.
    marks: f64,
    /// Of pixels without marks, by their weight.
    others: f64,
}

struct BestWeights {
    weights: Weights,
    step: u64,
    loss: HeldBackLoss,
}

impl HeldBackLoss {
    fn total(&self) -> f64 {
        self.marks + self.others
    }
}

impl<'a> TeachRun<'a> {
    /// Asks the model what it says of the images, and chooses the marks that are held back.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network that is no chain of layers; [`Error::Mismatch`] for
    /// images that are too small or have no marks; those of the recipe and the engine.
    pub fn begin(job: TeachJob<'a>) -> Result<Self> {
        let TeachJob { start, images, rehearsal, recipe, before } = job;
        recipe.validate()?;
        let network = SequentialTrainer::new(start.graph()).ok_or_else(|| {
            Error::unsupported("Only DCNNs are taught; this model is another network")
        })?;
        let step = network.square_step();
        if !recipe.square_px.is_multiple_of(step) {
            return Err(Error::invalid(format!(
                "The side of the squares must be a multiple of {step}"
            )));
        }
        let count = images.len() + rehearsal.len();
        if before.is_some_and(|before| before.len() != count) {
            return Err(Error::mismatch("Images and what was said of them differ in number"));
        }
        let answer = |index: usize, image: &RgbImage| match before {
            Some(before) => Ok(before[index].clone()),
            None => answer_before(start, image),
        };
        let mut sources = Vec::with_capacity(count);
        let mut parts = Vec::new();
        for TaughtImage { image, targets, inside, .. } in images {
            parts.extend(mark_parts(sources.len(), targets, *inside));
            let before = answer(sources.len(), image)?;
            sources.push(Source::new(before, image, targets.classes.clone(), *inside)?);
        }
        for image in rehearsal {
            let (width, height) = (image.width(), image.height());
            let inside = Block { row: 0, column: 0, width, height };
            let unknown = Plane::filled(width, height, UNKNOWN);
            let before = answer(sources.len(), image)?;
            sources.push(Source::new(before, image, unknown, inside)?);
        }
        for source in &sources {
            source.check(recipe.square_px)?;
        }
        let mut run = Self {
            job,
            network,
            sources,
            marked_sources: images.len(),
            learned: parts,
            held_back: None,
            class_weights: Vec::new(),
            unmarked_weight: 0.0,
            unmarked_balance: [[1.0; 2]; 2],
            weights: start.weights().clone(),
            optimiser: AdamW::new(start.graph(), 0.0),
            steps: 0,
            best: None,
        };
        if run.learned.is_empty() {
            return Err(Error::mismatch(
                "No mark covers a pixel whose class it tells: there is nothing to learn. Are they \
                 drawn in pixels of the finest level?",
            ));
        }
        run.hold_back();
        run.weigh();
        Ok(run)
    }

    /// Steps done.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether all steps are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps >= self.job.recipe.steps
    }

    /// Sets a share of the marks aside, seeded, where there are enough.
    fn hold_back(&mut self) {
        let recipe = self.job.recipe;
        let parts = self.learned.len();
        let count = (parts as f64 * recipe.held_back).floor() as usize;
        if parts < LEAST_PARTS_TO_HOLD_BACK || count == 0 {
            return;
        }
        let order = Permutation::new(parts as u64, mix(recipe.seed ^ 0x48_45_4C_44));
        let mut kept = Vec::with_capacity(parts);
        let mut aside = Vec::with_capacity(count);
        for (index, part) in std::mem::take(&mut self.learned).into_iter().enumerate() {
            let is_aside = order.get(index as u64) < count as u64;
            if is_aside { aside.push(part) } else { kept.push(part) }
        }
        self.learned = kept;
        let mut batch = self.squares_of_parts(&aside);
        let marks = batch.clone();
        // What is held back must not be learned from squares around other marks either.
        for MarkPart { source, pixels } in &aside {
            let targets = self.sources[*source].targets.data_mut();
            for &pixel in pixels {
                targets[pixel as usize] = LEFT_OUT;
            }
        }
        self.weigh();
        self.add_squares_without_marks(&mut batch);
        let before = self.loss_of(&batch);
        self.best = Some(BestWeights { weights: self.weights.clone(), step: 0, loss: before });
        self.held_back = Some(HeldBack { parts: count, marks, batch, before });
    }

    /// A square around the middle pixel of each part, as it is. Every part has the same share.
    fn squares_of_parts(&self, parts: &[MarkPart]) -> Batch {
        let square_px = self.job.recipe.square_px;
        let mut squares = Vec::with_capacity(parts.len());
        for part in parts {
            let width = self.sources[part.source].targets.width();
            let middle = part.pixels[part.pixels.len() / 2] as usize;
            let (row, column) = (middle / width, middle % width);
            squares.push(self.square_around(part.source, row, column, 0));
        }
        let mut batch = self.gather(&squares, Augmentation::NONE);
        let area = square_px * square_px;
        let mut shares = vec![0.0; batch.classes.len()];
        for (index, (square, part)) in squares.iter().zip(parts).enumerate() {
            let width = self.sources[part.source].targets.width();
            let mut own = Vec::new();
            for pixel in 0..area {
                let row = square.row + pixel / square_px;
                let column = square.column + pixel % square_px;
                // Pixels of a part are in the order of the rows.
                if part.pixels.binary_search(&((row * width + column) as u32)).is_ok() {
                    own.push(index * area + pixel);
                }
            }
            for &pixel in &own {
                shares[pixel] = 1.0 / (own.len() * parts.len()) as f64;
            }
        }
        batch.shares = shares;
        batch
    }

    /// How many parts of marks weights agree with; `batch` has a square for each.
    fn agreeing(&self, weights: &Weights, batch: &Batch) -> usize {
        let classes = self.network.classes();
        let area = batch.square_px * batch.square_px;
        let logits = on_pool(|| self.network.logits(weights, batch));
        let mut agreeing = 0;
        for first in (0..batch.classes.len()).step_by(area) {
            let [mut right, mut all] = [0, 0];
            for pixel in (first..first + area).filter(|pixel| batch.share(*pixel) > 0.0) {
                let own = &logits[pixel * classes..(pixel + 1) * classes];
                let best = (0..classes).max_by(|a, b| own[*a].total_cmp(&own[*b]));
                right += usize::from(best == Some(batch.classes[pixel]));
                all += 1;
            }
            agreeing += usize::from(all > 0 && 2 * right >= all);
        }
        agreeing
    }

    /// Weights of pixels with marks and without.
    fn weigh(&mut self) {
        let recipe = self.job.recipe;
        self.class_weights = self.balanced_weights();
        self.unmarked_weight = recipe.distill * self.unmarked_ratio().powf(recipe.area_power);
        let (marked, rehearsal) = self.sources.split_at(self.marked_sources);
        self.unmarked_balance = [
            nucleus_balance(marked, recipe.balance),
            nucleus_balance(rehearsal, REHEARSAL_BALANCE),
        ];
    }

    /// Adds as many squares from anywhere as a step has, with their shares in it.
    fn add_squares_without_marks(&self, batch: &mut Batch) {
        let recipe = self.job.recipe;
        let mut squares = Vec::with_capacity(recipe.squares);
        for index in 0..recipe.squares {
            let seed = augmentation_seed(recipe.seed ^ 0x53_54_4F_50, 0, index);
            squares.push(self.square_anywhere(index, seed));
        }
        let mut others = self.gather(&squares, Augmentation::NONE);
        others.shares = self.shares_of(&squares, &others, 0..squares.len());
        for (share, class) in others.shares.iter_mut().zip(&others.classes) {
            if *class < self.network.classes() {
                *share = 0.0;
            }
        }
        batch.windows.extend(others.windows);
        batch.classes.extend(others.classes);
        batch.soft_targets.extend(others.soft_targets);
        batch.shares.extend(others.shares);
    }

    /// Pixels without marks to one with.
    fn unmarked_ratio(&self) -> f64 {
        let marked: usize = self.learned.iter().map(|part| part.pixels.len()).sum();
        let all: usize = self.sources[..self.marked_sources]
            .iter()
            .map(|source| source.inside.width * source.inside.height)
            .sum();
        all.saturating_sub(marked).max(1) as f64 / marked.max(1) as f64
    }

    /// Weights of the classes of marked pixels: the rarer, the larger.
    fn balanced_weights(&self) -> Vec<f64> {
        let mut counts = vec![0.0f64; self.network.classes()];
        let mut total = 0.0;
        for MarkPart { source, pixels } in &self.learned {
            let targets = self.sources[*source].targets.data();
            for &pixel in pixels {
                if let Some(count) = counts.get_mut(usize::from(targets[pixel as usize])) {
                    *count += 1.0;
                    total += 1.0;
                }
            }
        }
        let balance = self.job.recipe.balance;
        counts.iter().map(|count| (count / total).max(LEAST_CLASS_SHARE).powf(-balance)).collect()
    }

    /// One optimiser step.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the loss is no longer finite.
    pub fn step(&mut self) -> Result<TeachStep> {
        let gradients = self.gradients_of(0..self.groups());
        self.take_gradients(gradients)
    }

    /// Groups of squares in a step. Their gradients can be computed apart.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.job.recipe.squares.div_ceil(PATCH_BATCH)
    }

    /// What a group contributes to the next step: loss, then the gradients of all arrays. Runs of
    /// the same job that take the same steps give the same.
    #[must_use]
    pub fn group_gradients(&self, group: usize) -> Vec<f32> {
        let Gradients { loss, arrays, .. } = self.gradients_of(group..group + 1);
        let mut values = vec![loss as f32];
        values.extend(arrays.values().flatten());
        values
    }

    /// One optimiser step from what all groups contribute, in their order.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for gradients of another network or number of groups;
    /// [`Error::Malformed`] when the loss is no longer finite.
    pub fn step_by_groups(&mut self, groups: &[&[f32]]) -> Result<TeachStep> {
        let mismatch = || Error::mismatch("The gradients are of another run");
        if groups.len() != self.groups() {
            return Err(mismatch());
        }
        let mut total = Gradients::default();
        for values in groups {
            let (loss, mut rest) = values.split_first().ok_or_else(mismatch)?;
            let mut part = Gradients { loss: f64::from(*loss), ..Gradients::default() };
            for (name, array) in &self.weights {
                let own = rest.split_off(..array.data.len()).ok_or_else(mismatch)?;
                part.arrays.insert(name.clone(), own.to_vec());
            }
            if !rest.is_empty() {
                return Err(mismatch());
            }
            total.add(&part);
        }
        self.take_gradients(total)
    }

    /// Gradients of some groups of the next step.
    fn gradients_of(&self, groups: Range<usize>) -> Gradients {
        let batch = self.next_batch(groups);
        let head = self.job.start.card().head;
        on_pool(|| self.network.gradients(&self.weights, &batch, head))
    }

    fn take_gradients(&mut self, gradients: Gradients) -> Result<TeachStep> {
        let recipe = self.job.recipe;
        let Gradients { loss, mut arrays, .. } = gradients;
        self.check_finite(loss)?;
        arrays.retain(|name, _| self.learns(name));
        let done = self.steps as f64 / recipe.steps as f64;
        let rate = recipe.learning_rate * recipe.schedule.factor(done);
        self.optimiser.step(&mut self.weights, &arrays, rate);
        self.steps += 1;
        let held_back_loss = self.look_at_held_back()?;
        Ok(TeachStep { done: self.steps, total: recipe.steps, loss, held_back_loss })
    }

    fn learns(&self, array: &str) -> bool {
        let layers = self.network.weighted_layers();
        let layer = array.rsplit_once('.').map_or(array, |(layer, _)| layer);
        match self.job.recipe.layers {
            TaughtLayers::All => true,
            TaughtLayers::FullyConnected => self.network.is_fully_connected(layer),
            TaughtLayers::Last => layers.last().is_some_and(|last| last == layer),
        }
    }

    fn look_at_held_back(&mut self) -> Result<Option<f64>> {
        let recipe = self.job.recipe;
        let Some(held_back) = &self.held_back else { return Ok(None) };
        if !self.steps.is_multiple_of(recipe.check_every) && !self.is_done() {
            return Ok(None);
        }
        let loss = self.loss_of(&held_back.batch);
        self.check_finite(loss.total())?;
        if self.best.as_ref().is_none_or(|best| loss.total() < best.loss.total()) {
            self.best = Some(BestWeights { weights: self.weights.clone(), step: self.steps, loss });
        }
        Ok(Some(loss.marks))
    }

    /// Loss of a batch by its shares.
    fn loss_of(&self, batch: &Batch) -> HeldBackLoss {
        let head = self.job.start.card().head;
        let mut logits = on_pool(|| self.network.logits(&self.weights, batch));
        let classes = self.network.classes();
        let mut loss = HeldBackLoss::default();
        let targets = batch.soft_targets.chunks_exact(classes);
        for (pixel, (logits, targets)) in logits.chunks_exact_mut(classes).zip(targets).enumerate()
        {
            let share = batch.share(pixel);
            if share == 0.0 {
                continue;
            }
            head.probabilities(logits);
            let mut own = 0.0;
            for (&probability, &target) in logits.iter().zip(targets) {
                own -= f64::from(target) * f64::from(probability.max(f32::MIN_POSITIVE)).ln();
            }
            let is_marked = batch.classes[pixel] < classes;
            let sum = if is_marked { &mut loss.marks } else { &mut loss.others };
            *sum += share * own;
        }
        loss
    }

    /// Some groups of the next step. Each is weighed on its own; the loss of a step is their mean.
    fn next_batch(&self, groups: Range<usize>) -> Batch {
        let share = 1.0 / self.groups() as f64;
        let mut squares = Vec::new();
        let mut ends = Vec::new();
        for group in groups {
            squares.extend(self.next_squares(group));
            ends.push(squares.len());
        }
        let mut batch = self.gather(&squares, self.job.recipe.augmentation);
        let mut shares = Vec::with_capacity(batch.classes.len());
        let mut first = 0;
        for end in ends {
            let own = self.shares_of(&squares, &batch, first..end);
            shares.extend(own.into_iter().map(|own| own * share));
            first = end;
        }
        batch.shares = shares;
        batch
    }

    /// Squares of a group: around marks, then from anywhere. Every mark comes once before any comes
    /// again.
    fn next_squares(&self, group: usize) -> Vec<Square> {
        let recipe = self.job.recipe;
        let first = group * PATCH_BATCH;
        let len = PATCH_BATCH.min(recipe.squares - first);
        let marked_of = |squares: usize| (squares as f64 * recipe.marked_share).round() as usize;
        let marked = marked_of(len);
        let full = recipe.squares / PATCH_BATCH;
        let in_step = full * marked_of(PATCH_BATCH) + marked_of(recipe.squares % PATCH_BATCH);
        let before = self.steps * in_step as u64 + (group * marked_of(PATCH_BATCH)) as u64;
        let parts = self.learned.len() as u64;
        let mut squares = Vec::with_capacity(len);
        for index in 0..len {
            let seed = augmentation_seed(recipe.seed, self.steps, first + index);
            if index < marked {
                let number = before + index as u64;
                let order = Permutation::new(parts, mix(recipe.seed) ^ mix(number / parts + 1));
                let part = &self.learned[order.get(number % parts) as usize];
                squares.push(self.square_on(part, seed));
            } else {
                squares.push(self.square_anywhere(index - marked, seed));
            }
        }
        squares
    }

    /// A square that holds a pixel of a mark somewhere.
    fn square_on(&self, part: &MarkPart, seed: u64) -> Square {
        let side = self.job.recipe.square_px as u64;
        let width = self.sources[part.source].targets.width();
        let random = mix(seed ^ 0x4D_41_52_4B);
        let pixel = part.pixels[(random % part.pixels.len() as u64) as usize] as usize;
        let place = mix(random);
        let half = self.job.recipe.square_px / 2;
        let row = pixel / width + half;
        let column = pixel % width + half;
        let row = row.saturating_sub((place % side) as usize);
        let column = column.saturating_sub((place / side % side) as usize);
        self.square_around(part.source, row, column, seed)
    }

    /// The square with a pixel in its middle, or as near as the image allows.
    fn square_around(&self, source: usize, row: usize, column: usize, seed: u64) -> Square {
        let side = self.job.recipe.square_px;
        let Block { row: top, column: left, width, height } = self.sources[source].inside;
        let row = row.saturating_sub(side / 2).clamp(top, top + height - side);
        let column = column.saturating_sub(side / 2).clamp(left, left + width - side);
        Square { source, row, column, seed }
    }

    /// A square of any image: images with marks and those for rehearsal in turn.
    fn square_anywhere(&self, index: usize, seed: u64) -> Square {
        let all = self.sources.len();
        let is_rehearsal = index % 2 == 1 && self.marked_sources < all;
        let range = if is_rehearsal { self.marked_sources..all } else { 0..self.marked_sources };
        self.square_in(range, seed)
    }

    /// A square of one of some images, each by its area.
    fn square_in(&self, range: Range<usize>, seed: u64) -> Square {
        let area = |source: &Source<'_>| (source.inside.width * source.inside.height) as u64;
        let total: u64 = self.sources[range.clone()].iter().map(area).sum();
        let random = mix(seed ^ 0x41_4E_59);
        let mut at = random % total.max(1);
        let mut source = range.start;
        while at >= area(&self.sources[source]) && source + 1 < range.end {
            at -= area(&self.sources[source]);
            source += 1;
        }
        let Block { row, column, width, .. } = self.sources[source].inside;
        let row = row + at as usize / width;
        let column = column + at as usize % width;
        self.square_around(source, row, column, seed)
    }

    /// Windows and targets of squares. The class of a pixel without a label is beyond those of the
    /// network.
    fn gather(&self, squares: &[Square], augmentation: Augmentation) -> Batch {
        let square_px = self.job.recipe.square_px;
        let classes = self.network.classes();
        let area = square_px * square_px;
        let window_len = 3 * (PATCH_PX - 1 + square_px).pow(2);
        let mut windows = vec![0.0; squares.len() * window_len];
        let mut labels = vec![0; squares.len() * area];
        let mut soft_targets = vec![0.0; squares.len() * area * classes];
        let mut parts = Vec::with_capacity(squares.len());
        for (((square, window), labels), soft_targets) in squares
            .iter()
            .zip(windows.chunks_exact_mut(window_len))
            .zip(labels.chunks_exact_mut(area))
            .zip(soft_targets.chunks_exact_mut(area * classes))
        {
            let source = &self.sources[square.source];
            parts.push(GatheredSquare { source, square, window, labels, soft_targets });
        }
        on_pool(|| for_each_part(parts, |part| part.fill(square_px, augmentation)));
        Batch { square_px, windows, classes: labels, soft_targets, shares: Vec::new() }
    }

    /// The share of every pixel of some squares of a batch in their loss.
    fn shares_of(&self, squares: &[Square], batch: &Batch, range: Range<usize>) -> Vec<f64> {
        let unknown = usize::from(UNKNOWN);
        let area = batch.square_px * batch.square_px;
        let pixels = range.start * area..range.end * area;
        let is_rehearsal = |pixel: usize| squares[pixel / area].source >= self.marked_sources;
        let mut marked = 0.0;
        let mut unmarked = 0usize;
        let mut rehearsed = 0usize;
        for pixel in pixels.clone() {
            let class = batch.classes[pixel];
            match self.class_weights.get(class) {
                Some(weight) => marked += weight,
                None if class != unknown => {}
                None if is_rehearsal(pixel) => rehearsed += 1,
                None => unmarked += 1,
            }
        }
        let per_unmarked = self.unmarked_weight / unmarked.max(1) as f64;
        let per_rehearsed =
            self.unmarked_weight * self.job.recipe.rehearse / rehearsed.max(1) as f64;
        let classes = self.network.classes();
        let recipe = self.job.recipe;
        let mut shares = Vec::with_capacity(pixels.len());
        for pixel in pixels {
            let class = batch.classes[pixel];
            let background = f64::from(batch.soft_targets[pixel * classes]);
            let certainty =
                if is_rehearsal(pixel) { REHEARSAL_CERTAINTY } else { recipe.certainty };
            let sure = (2.0 * background - 1.0).abs().powf(certainty);
            let [of_background, of_nucleus] =
                self.unmarked_balance[usize::from(is_rehearsal(pixel))];
            let own = sure * (background * of_background + (1.0 - background) * of_nucleus);
            shares.push(match self.class_weights.get(class) {
                Some(weight) => weight / marked,
                None if class != unknown => 0.0,
                None if is_rehearsal(pixel) => per_rehearsed * own,
                None => per_unmarked * own,
            });
        }
        shares
    }

    /// The taught model.
    ///
    /// # Errors
    /// Those of [`Self::finish_weights`].
    pub fn finish(self) -> Result<TaughtModel> {
        let TeachJob { start, images, recipe, .. } = self.job;
        let sources = images.iter().map(|image| (&*image.name, &*image.sha256));
        self.finish_weights()?.into_model(start, sources, recipe)
    }

    /// The taught weights: of all that were looked at those with the least loss on the marks that
    /// are held back, else the last.
    ///
    /// # Errors
    /// [`Error::Malformed`] where weights are no longer finite.
    pub fn finish_weights(self) -> Result<TaughtWeights> {
        let TeachJob { start, recipe, .. } = self.job;
        let mut best_step = self.steps;
        let mut weights = self.weights.clone();
        let mut held_back_loss = None;
        if let (Some(best), Some(held_back)) = (&self.best, &self.held_back) {
            best_step = best.step;
            weights = best.weights.clone();
            held_back_loss = Some([held_back.before.marks, best.loss.marks]);
        }
        let share = self.kept_share(&weights);
        blend(start.weights(), share, &mut weights);
        if weights.values().flat_map(|array| &array.data).any(|value| !value.is_finite()) {
            return Err(not_finite(recipe));
        }
        let agreement = |marks: usize, batch: &Batch| MarkAgreement {
            marks,
            before: self.agreeing(start.weights(), batch),
            after: self.agreeing(&weights, batch),
        };
        let learned = agreement(self.learned.len(), &self.squares_of_parts(&self.learned));
        let held_back = match &self.held_back {
            Some(HeldBack { parts, marks, .. }) => agreement(*parts, marks),
            None => MarkAgreement::default(),
        };
        let outcome = TeachOutcome { best_step, share, held_back_loss, learned, held_back };
        Ok(TaughtWeights { weights, outcome })
    }

    /// The largest share of the learned weights at which the model says nearly the same of the
    /// images for rehearsal; at least a tenth of the recipe's.
    fn kept_share(&self, learned: &Weights) -> f32 {
        let TeachJob { start, recipe, .. } = self.job;
        if self.marked_sources == self.sources.len() || recipe.most_change >= 1.0 {
            return recipe.blend;
        }
        let mut squares = Vec::with_capacity(REHEARSED_SQUARES);
        for index in 0..REHEARSED_SQUARES {
            let seed = augmentation_seed(recipe.seed ^ 0x4B_45_45_50, 0, index);
            squares.push(self.square_in(self.marked_sources..self.sources.len(), seed));
        }
        let batch = self.gather(&squares, Augmentation::NONE);
        let mut share = recipe.blend;
        for _ in 0..MOST_STEPS_BACK {
            let mut weights = learned.clone();
            blend(start.weights(), share, &mut weights);
            let change = self.change(&weights, &batch);
            if change <= recipe.most_change {
                break;
            }
            share *= STEP_BACK;
        }
        share
    }

    /// How far other weights say something else of a batch: 1 − Dice of the pixels of nuclei.
    fn change(&self, weights: &Weights, batch: &Batch) -> f64 {
        let head = self.job.start.card().head;
        let classes = self.network.classes();
        let mut logits = on_pool(|| self.network.logits(weights, batch));
        let (mut both, mut sum) = (0.0, 0.0);
        let targets = batch.soft_targets.chunks_exact(classes);
        for (logits, targets) in logits.chunks_exact_mut(classes).zip(targets) {
            head.probabilities(logits);
            let [before, after] = [targets[0], logits[0]].map(|background| background < 0.5);
            both += f64::from(u8::from(before && after));
            sum += f64::from(u8::from(before) + u8::from(after));
        }
        if sum > 0.0 { 1.0 - 2.0 * both / sum } else { 0.0 }
    }

    fn check_finite(&self, loss: f64) -> Result<()> {
        if loss.is_finite() { Ok(()) } else { Err(not_finite(self.job.recipe)) }
    }
}

/// Weights of background and nucleus where nobody marked: the rarer, the larger; of mean 1 over all
/// pixels.
fn nucleus_balance(sources: &[Source<'_>], balance: f64) -> [f64; 2] {
    let area = |source: &Source<'_>| (source.image.width() * source.image.height()) as f64;
    let total: f64 = sources.iter().map(area).sum();
    if total == 0.0 {
        return [1.0; 2];
    }
    let nucleus: f64 = sources.iter().map(|source| area(source) * source.nucleus_share).sum();
    let share = (nucleus / total).clamp(LEAST_CLASS_SHARE, 1.0 - LEAST_CLASS_SHARE);
    let shares = [1.0 - share, share];
    let weights = shares.map(|share| share.powf(-balance));
    let mean = weights[0] * shares[0] + weights[1] * shares[1];
    weights.map(|weight| weight / mean)
}

/// Moves learned weights back towards those before; `share` of the way remains.
fn blend(before: &Weights, share: f32, learned: &mut Weights) {
    for (learned, before) in learned.values_mut().zip(before.values()) {
        for (value, before) in learned.data.iter_mut().zip(&before.data) {
            *value = before + (*value - before) * share;
        }
    }
}

fn not_finite(recipe: &TeachRecipe) -> Error {
    Error::malformed(format!(
        "The loss is no longer a number; the model stays as it was. Try a smaller learning rate \
         than {}, or a smaller weight of what nobody marked than {} (--keep)",
        recipe.learning_rate, recipe.distill
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{LabelMark, LabelScale, SparseLabels, phantom};
    use crate::engine::{Control, SegmentOptions, segment};
    use crate::model::{PixelClass, dccn, dcnn};
    use crate::raster::{PixelGrid, Point, Polygon};

    fn small() -> Model {
        Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model")
    }

    fn recipe() -> TeachRecipe {
        TeachRecipe {
            steps: 6,
            squares: 12,
            square_px: 8,
            check_every: 2,
            held_back: 0.2,
            learning_rate: 2e-3,
            blend: 1.0,
            ..TeachRecipe::DEFAULT
        }
    }

    fn rectangle(x: f64, y: f64, side: f64) -> Vec<Polygon> {
        let corners = [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side)];
        vec![vec![corners.map(|(dx, dy)| Point { x: x + dx, y: y + dy }).to_vec()]]
    }

    /// The upper left quarter is nucleus, the lower right one is none.
    fn quarters() -> SparseLabels {
        let nucleus = LabelMark::Nucleus { class: None, polygons: rectangle(0.0, 0.0, 48.0) };
        let background = LabelMark::Background { polygons: rectangle(48.0, 48.0, 48.0) };
        SparseLabels { marks: vec![nucleus, background] }
    }

    fn image(labels: &SparseLabels, classes: &[PixelClass]) -> TaughtImage {
        let image = phantom::tile(96, 96, 1).image;
        let grid = PixelGrid { left: 0.0, top: 0.0, step: 1.0, width: 96, height: 96 };
        let scale = LabelScale { classes, mpp_um: 0.25, border_um: 0.75 };
        TaughtImage {
            name: "phantom".into(),
            sha256: "00".into(),
            image,
            targets: labels.draw(&grid, &scale).expect("targets"),
            inside: Block { row: 0, column: 0, width: 96, height: 96 },
        }
    }

    fn taught(start: &Model, images: &[TaughtImage], recipe: &TeachRecipe) -> Result<TaughtModel> {
        teach(TeachJob { start, images, rehearsal: &[], recipe, before: None }, &mut |_| true)
    }

    fn nucleus(model: &Model, image: &TaughtImage) -> Plane<f32> {
        let maps = segment(model, &image.image, SegmentOptions::default(), &Control::default());
        maps.expect("maps").into_nucleus()
    }

    #[test]
    fn marks_are_learned_and_what_nobody_marked_stays() {
        let start = small();
        let images = [image(&quarters(), &start.card().classes)];
        let before = nucleus(&start, &images[0]);
        let change = |distill: f64| {
            let recipe =
                TeachRecipe { steps: 30, distill, area_power: 0.0, certainty: 0.0, ..recipe() };
            let after = taught(&start, &images, &recipe).expect("taught");
            assert_eq!(after.outcome.best_step, 30, "too few marks to hold some back");
            let after = nucleus(&after.model, &images[0]);
            let mut loss = [0.0f64; 2];
            let mut elsewhere = 0.0f64;
            for ((&class, &before), &after) in
                images[0].targets.classes.data().iter().zip(before.data()).zip(after.data())
            {
                if class == UNKNOWN {
                    elsewhere += f64::from((after - before).abs());
                } else {
                    let wrong = |p: f32| f64::from((p - f32::from(class)).abs());
                    loss[0] += wrong(before);
                    loss[1] += wrong(after);
                }
            }
            assert!(distill > 0.0 || loss[1] < loss[0], "{loss:?}");
            elsewhere
        };
        let free = change(0.0);
        let kept = change(10.0);
        assert!(kept < 0.7 * free, "{kept} of {free}");
    }

    #[test]
    fn the_same_marks_and_seed_teach_the_same_on_any_number_of_threads() {
        let start = small();
        let images = [image(&quarters(), &start.card().classes)];
        let on = |threads: usize, recipe: &TeachRecipe| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            let result = pool.install(|| taught(&start, &images, recipe));
            result.expect("taught").model.weights().clone()
        };
        let recipe = TeachRecipe { squares: 40, steps: 3, ..recipe() };
        let one = on(1, &recipe);
        assert_ne!(&one, start.weights());
        assert!(on(3, &recipe) == one);
        assert!(on(1, &TeachRecipe { seed: 2, ..recipe }) != one);
    }

    #[test]
    fn layers_that_do_not_learn_keep_their_weights() {
        let start = small();
        let images = [image(&quarters(), &start.card().classes)];
        for (layers, fixed) in [
            (TaughtLayers::FullyConnected, &["conv1", "conv2", "conv3"][..]),
            (TaughtLayers::Last, &["conv1", "conv2", "conv3", "fc1"]),
        ] {
            let after = taught(&start, &images, &TeachRecipe { layers, ..recipe() });
            let after = after.expect("taught").model;
            for layer in ["conv1", "conv2", "conv3", "fc1", "fc2"] {
                let name = format!("{layer}.weight");
                let is_same = after.array(&name) == start.array(&name);
                assert_eq!(is_same, fixed.contains(&layer), "{layer}");
            }
        }
    }

    #[test]
    fn some_of_many_marks_are_held_back_and_decide_which_weights_stay() {
        let start = small();
        let mut labels = SparseLabels::default();
        for i in 0..20 {
            let polygons = rectangle(f64::from(i % 5) * 19.0, f64::from(i / 5) * 24.0, 14.0);
            labels.marks.push(LabelMark::Nucleus { class: None, polygons });
        }
        let images = [image(&labels, &start.card().classes)];
        let after = taught(&start, &images, &recipe()).expect("taught");
        assert_eq!((after.outcome.learned.marks, after.outcome.held_back.marks), (16, 4));
        let [before, best] = after.outcome.held_back_loss.expect("losses");
        assert!(best <= before);
        assert!(after.outcome.best_step.is_multiple_of(2));
        let card = after.model.card();
        assert_eq!(card.parent, Some(start.fingerprint()));
        assert!(card.data.iter().any(|data| data.name == "phantom"));
        let none = TeachRecipe { held_back: 0.0, ..recipe() };
        assert_eq!(taught(&start, &images, &none).expect("taught").outcome.held_back_loss, None);
    }

    #[test]
    fn three_classes_are_taught_and_rehearsed() {
        let start = crate::train::with_border_class(&small()).expect("model");
        let images = [image(&quarters(), &start.card().classes)];
        assert!(images[0].targets.classes.data().contains(&2), "no border");
        let rehearsal = [phantom::tile(64, 64, 3).image];
        let recipe = recipe();
        let job = TeachJob {
            start: &start,
            images: &images,
            rehearsal: &rehearsal,
            recipe: &recipe,
            before: None,
        };
        let mut losses = Vec::new();
        let after = teach(job, &mut |step| {
            losses.push(step.loss);
            true
        });
        assert_ne!(after.expect("taught").model.weights(), start.weights());
        assert_eq!(losses.len(), 6);
        assert!(losses.iter().all(|loss| loss.is_finite() && *loss > 0.0));
    }

    #[test]
    fn less_is_kept_of_what_would_change_the_tissue_for_rehearsal() {
        let start = small();
        let images = [image(&quarters(), &start.card().classes)];
        let rehearsal = [phantom::tile(64, 64, 3).image];
        let taught = |most_change: f64| {
            let recipe = TeachRecipe { learning_rate: 0.02, most_change, steps: 12, ..recipe() };
            let job = TeachJob {
                start: &start,
                images: &images,
                rehearsal: &rehearsal,
                recipe: &recipe,
                before: None,
            };
            teach(job, &mut |_| true).expect("taught")
        };
        let free = taught(1.0);
        assert!(free.outcome.share > 0.999, "{}", free.outcome.share);
        let held = taught(0.02);
        assert!(held.outcome.share < 1.0, "{}", held.outcome.share);
        // Of the same learned weights.
        for (name, array) in free.model.weights() {
            let before = &start.weights()[name].data;
            let own = &held.model.weights()[name].data;
            for ((own, before), learned) in own.iter().zip(before).zip(&array.data) {
                assert!(
                    (own - before - held.outcome.share * (learned - before)).abs() < 1e-5,
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_taught_is_refused_and_a_stop_is_heard() {
        let start = small();
        let images = [image(&quarters(), &start.card().classes)];
        let other = Model::random(dccn(5, 7, 3, [6, 5, 9], 2), 1).expect("model");
        assert!(matches!(taught(&other, &images, &recipe()), Err(Error::Unsupported(_))));
        let far = LabelMark::Background { polygons: rectangle(500.0, 500.0, 9.0) };
        let far = [image(&SparseLabels { marks: vec![far] }, &start.card().classes)];
        let message = taught(&start, &far, &recipe()).expect_err("no mark").to_string();
        assert!(message.contains("nothing to learn"), "{message}");
        let mut small = images[0].clone();
        small.inside = Block { row: 90, column: 90, width: 6, height: 6 };
        assert!(taught(&start, &[small], &recipe()).is_err());
        for bad in [
            TeachRecipe { steps: 0, ..recipe() },
            TeachRecipe { square_px: 12, ..recipe() },
            TeachRecipe { learning_rate: f64::NAN, ..recipe() },
            TeachRecipe { distill: f64::INFINITY, ..recipe() },
            TeachRecipe { held_back: 0.9, ..recipe() },
            TeachRecipe { squares: 1, ..recipe() },
            TeachRecipe { most_change: 2.0, ..recipe() },
        ] {
            assert!(taught(&start, &images, &bad).is_err(), "{bad:?}");
        }
        let wild = TeachRecipe { learning_rate: 1e30, steps: 20, ..recipe() };
        assert!(taught(&start, &images, &wild).is_err(), "no number any more");
        let recipe = recipe();
        let job = TeachJob {
            start: &start,
            images: &images,
            rehearsal: &[],
            recipe: &recipe,
            before: None,
        };
        let stopped = teach(job, &mut |step| step.done < 2);
        assert!(matches!(stopped, Err(Error::Cancelled { .. })));
    }
}
