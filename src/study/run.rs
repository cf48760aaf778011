//! One cell of a study: shared pre-training, pruning, training, scores on the test tiles.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::data::StudyTiles;
use super::design::{Cell, Design, NetworkChoice};
use super::store::{CellResult, Study};
use crate::dataset::Tile;
use crate::engine::{BatchEngine, Control, DeviceChoice, PATCH_BATCH, SegmentOptions, segment};
use crate::error::{Error, Result};
use crate::instances::label_nuclei;
use crate::metrics::PixelCounts;
use crate::model::{Model, Precision};
use crate::platform::write_atomic;
use crate::prune::{Criterion, FilterScores, LayerRatios, PruningPlan, Scope, apply};
use crate::raster::{
    OUTLINE_COLOUR, Plane, ProbabilityMaps, encode_overlay_png, outline_mask, overlay,
};
use crate::train::{Event, Recipe, TrainData, Trainer, open};

/// Time between checkpoints of a training.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);
/// Side of a cell's picture, pixels.
const PICTURE_PX: usize = 200;
/// A pixel is nucleus above this probability (the paper's choice).
const PIXEL_THRESHOLD: f32 = 0.5;

/// Computes cells of one study.
pub(crate) struct CellRunner<'a> {
    pub study: &'a Study,
    pub tiles: &'a StudyTiles,
    /// Where to train; scores are computed on the CPU.
    pub device: DeviceChoice,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
}

/// Result of a model on the test tiles.
struct TestOutput {
    counts: PixelCounts,
    /// Probabilities of the first test tile.
    first_map: ProbabilityMaps,
}

impl CellRunner<'_> {
    /// The unpruned network that all cells of a network start from; trained once and kept as a
    /// file.
    ///
    /// # Errors
    /// Those of training.
    pub(crate) fn pretrained(
        &self,
        network: NetworkChoice,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<Model> {
        let design = &self.study.design;
        let random = Model::random(network.architecture(), 1)?;
        let Some(recipe) = design.pretrain_recipe(network) else { return Ok(random) };
        let file = self.study.pretrained_file(network);
        if file.is_file() {
            return Model::load(&file);
        }
        let model = self.train(&random, &self.tiles.pretrain, &recipe, &file, on_event)?;
        model.save(&file, Precision::F32)?;
        Ok(model)
    }

    /// Trains and scores a cell and writes its result; the result of a finished cell is only read.
    ///
    /// # Errors
    /// Those of training and segmentation; [`Error::Cancelled`] when asked to stop. A training that
    /// was stopped continues from its checkpoint.
    pub(crate) fn run(&self, cell: &Cell, on_event: &mut dyn FnMut(&Event)) -> Result<CellResult> {
        if let Some(finished) = self.study.result(cell)? {
            return Ok(finished);
        }
        let unpruned = self.pretrained(cell.network, on_event)?;
        let design = &self.study.design;
        let start = pruned(&unpruned, cell.pruning_ratio, design.criterion, cell.seed)?;

        let recipe = self.study.design.recipe(cell);
        let file = self.study.model_file(cell);
        let model = self.train(&start, &self.tiles.train, &recipe, &file, on_event)?;

        let test = self.test(&model)?;
        self.save_picture(cell, &model, &test.first_map)?;
        model.save(&file, Precision::F32)?;
        let result = CellResult {
            cell: cell.clone(),
            parameters: model.graph().parameters(),
            bytes: model.to_bytes(Precision::F32)?.len(),
            macs: model.graph().macs(),
            scores: test.counts.scores(),
            fingerprint: model.fingerprint(),
        };
        self.study.save_result(&result)?;
        Ok(result)
    }

    /// Trains `start`, with a checkpoint beside the model file.
    fn train(
        &self,
        start: &Model,
        tiles: &[Tile],
        recipe: &Recipe,
        model_file: &Path,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<Model> {
        let (compute, _) = open(self.device, start, recipe.batch)?;
        let checkpoint = model_file.with_extension("checkpoint");
        let trainer = Trainer {
            start,
            data: TrainData { tiles },
            recipe,
            compute: &compute,
            teachers: &[],
            checkpoint: Some(&checkpoint),
            checkpoint_every: CHECKPOINT_EVERY,
            ends_collapsed: false,
            cancel: self.cancel,
        };
        let outcome = trainer.run(&mut |event| on_event(&event))?;
        // Not needed any more; a file that cannot be removed does no harm.
        drop(std::fs::remove_file(&checkpoint));
        Ok(outcome.model)
    }

    /// Segments the test tiles. Counts are over the pixels that the network computed, without
    /// interpolated ones.
    fn test(&self, model: &Model) -> Result<TestOutput> {
        let options = SegmentOptions { stride: self.study.design.data.dccn_stride, block_px: None };
        let control = Control { cancel: Some(self.cancel), ..Control::default() };
        let mut counts = PixelCounts::default();
        let mut first_map = None;
        for tile in &self.tiles.test {
            let map = segment(model, &tile.image, options, &control)?;
            let lines = options.computed_lines(model, map.width(), map.height());
            let truth = tile.labels.foreground();
            counts =
                counts.plus(PixelCounts::on_lines(map.nucleus(), &truth, &lines, PIXEL_THRESHOLD)?);
            first_map.get_or_insert(map);
        }
        let first_map = first_map.ok_or_else(|| Error::mismatch("There are no test tiles"))?;
        Ok(TestOutput { counts, first_map })
    }

    /// Outlines of the nuclei at the centre of the first test tile.
    fn save_picture(&self, cell: &Cell, model: &Model, map: &ProbabilityMaps) -> Result<()> {
        let Some(tile) = self.tiles.test.first() else { return Ok(()) };
        let (labels, _) = label_nuclei(map, &model.card().instances)?;
        let drawn = overlay(&tile.image, &outline_mask(&labels), OUTLINE_COLOUR);
        let width = PICTURE_PX.min(drawn.width());
        let height = PICTURE_PX.min(drawn.height());
        let top = (drawn.height() - height) / 2;
        let left = (drawn.width() - width) / 2;
        let piece = drawn.crop(top, left, width, height);
        write_atomic(&self.study.picture_file(cell), &encode_overlay_png(&piece)?)
    }
}

/// The model without this share of each convolution's filters.
fn pruned(model: &Model, ratio: f64, criterion: Criterion, seed: u64) -> Result<Model> {
    let scores = FilterScores::of_weights(model, criterion, seed)?;
    let ratios = LayerRatios::uniform(ratio, Scope::Convolutions)?;
    let (plan, _) = PruningPlan::new(model, &scores, &ratios)?;
    apply(model, &plan)
}

/// Cost of a network at a pruning ratio (the paper's Table 8).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NetworkCostRow {
    pub network: NetworkChoice,
    pub pruning_ratio: f64,
    /// Of the model file, single precision.
    pub bytes: usize,
    /// Median over the runs, on the CPU.
    pub ms_per_patch: f64,
}

/// Measures each network and ratio of a design `runs` times, patch by patch. Weights do not matter,
/// so they are random.
///
/// # Errors
/// Those of pruning, which do not occur in practice.
pub(crate) fn measure_cost(design: &Design, runs: usize) -> Result<Vec<NetworkCostRow>> {
    let mut rows = Vec::new();
    for &network in &design.networks {
        let unpruned = Model::random(network.architecture(), 1)?;
        for &pruning_ratio in &design.ratios {
            let model = pruned(&unpruned, pruning_ratio, Criterion::L1, 1)?;
            rows.push(NetworkCostRow {
                network,
                pruning_ratio,
                bytes: model.to_bytes(Precision::F32)?.len(),
                ms_per_patch: median_ms_per_patch(&model, runs)?,
            });
        }
    }
    Ok(rows)
}

fn median_ms_per_patch(model: &Model, runs: usize) -> Result<f64> {
    let engine = BatchEngine::new(model)?;
    let image = Plane::filled(64, 64, [127, 90, 160]);
    let centres: Vec<(usize, usize)> = (0..PATCH_BATCH).map(|i| (i, i)).collect();
    let mut times = Vec::new();
    for _ in 0..runs.max(1) {
        let started = Instant::now();
        std::hint::black_box(engine.run(&image, &centres));
        times.push(started.elapsed().as_secs_f64() * 1000.0 / PATCH_BATCH as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
