//! One cell: shared pre-training, pruning, training, scores on every pixel of the test tiles.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::data::Data;
use super::design::{Cell, Design, NetworkChoice};
use super::store::{CellResult, Study};
use crate::dataset::Tile;
use crate::engine::{BatchEngine, Control, DeviceChoice, PATCH_BATCH, SegmentOptions, segment};
use crate::error::{Error, Result};
use crate::instances::find;
use crate::metrics::PixelCounts;
use crate::model::{Model, Precision};
use crate::platform::write_atomic;
use crate::prune::{PruningPlan, Scope, apply};
use crate::raster::{OUTLINE, Plane, ProbabilityMap, encode_rgb_png, outline_mask, overlay};
use crate::train::{Event, TrainData, Trainer, open};

/// Between checkpoints of a cell's training.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);
/// Side of the picture of a cell, pixels.
const PICTURE_PX: usize = 200;
/// Told while a cell is worked on.
pub type Watch<'a> = dyn FnMut(&str, &Event) + 'a;

/// Works on cells of one study.
pub struct CellRun<'a> {
    pub study: &'a Study,
    pub data: &'a Data,
    pub device: DeviceChoice,
    pub cancel: &'a AtomicBool,
}

impl CellRun<'_> {
    /// The network that all cells of a kind are pruned from; trained once and kept.
    ///
    /// # Errors
    /// Those of training.
    pub fn pretrained(&self, network: NetworkChoice, watch: &mut Watch<'_>) -> Result<Model> {
        let design = &self.study.design;
        let fresh = Model::random(network.architecture(), 1)?;
        let Some(recipe) = design.pretrain_recipe(network) else { return Ok(fresh) };
        let id = design.pretrain_id(network);
        let file = self.study.folder.join("pretrained").join(format!("{id}.safetensors"));
        if file.is_file() {
            return Model::load(&file);
        }
        let model = self
            .trained(&fresh, &self.data.pretrain, &recipe, &file, &mut |event| watch(&id, event))?;
        model.save(&file, Precision::F32)?;
        Ok(model)
    }

    /// Trains and scores a cell and keeps its result; a finished one is only read.
    ///
    /// # Errors
    /// Those of training and segmentation; [`Error::Cancelled`] when asked to stop, with a
    /// checkpoint to go on from.
    pub fn run(&self, cell: &Cell, watch: &mut Watch<'_>) -> Result<CellResult> {
        if let Some(done) = self.study.result(cell)? {
            return Ok(done);
        }
        let whole = self.pretrained(cell.network, watch)?;
        let (plan, _) = PruningPlan::l1(&whole, cell.pruning_ratio, Scope::Convolutions)?;
        let start = apply(&whole, &plan)?;
        let recipe = self.study.design.recipe(cell);
        let file = self.study.model_file(cell);
        let model = self.trained(&start, &self.data.train, &recipe, &file, &mut |event| {
            watch(&cell.id, event)
        })?;
        let (counts, first) = self.score(&model)?;
        self.picture(cell, &model, &first)?;
        model.save(&file, Precision::F32)?;
        let result = CellResult {
            cell: cell.clone(),
            parameters: model.graph().parameters(),
            bytes: model.to_bytes(Precision::F32)?.len(),
            macs: model.graph().macs(),
            scores: counts.scores(),
            fingerprint: model.fingerprint(),
        };
        self.study.keep(&result)?;
        Ok(result)
    }

    fn trained(
        &self,
        start: &Model,
        tiles: &[Tile],
        recipe: &crate::train::Recipe,
        file: &Path,
        watch: &mut dyn FnMut(&Event),
    ) -> Result<Model> {
        let (compute, _) = open(self.device, start, recipe.batch)?;
        let checkpoint = file.with_extension("checkpoint");
        let trainer = Trainer {
            start,
            data: TrainData { tiles },
            recipe,
            compute: &compute,
            teachers: &[],
            checkpoint: Some(&checkpoint),
            checkpoint_every: CHECKPOINT_EVERY,
            cancel: self.cancel,
        };
        let outcome = trainer.run(&mut |event| watch(&event))?;
        drop(std::fs::remove_file(&checkpoint)); // it has served; one left behind is harmless
        Ok(outcome.model)
    }

    /// Counts over all test tiles, of the pixels that the network answered, and the map of the
    /// first tile.
    fn score(&self, model: &Model) -> Result<(PixelCounts, ProbabilityMap)> {
        let options = SegmentOptions { stride: self.study.design.data.dccn_stride, block_px: None };
        let control = Control { cancel: Some(self.cancel), ..Control::default() };
        let mut counts = PixelCounts::default();
        let mut first = None;
        for tile in &self.data.test {
            let map = segment(model, &tile.image, options, &control)?;
            let lines = options.computed_lines(model, map.width(), map.height());
            counts =
                counts.plus(PixelCounts::on_lines(&map, &tile.labels.foreground(), &lines, 0.5)?);
            first.get_or_insert(map);
        }
        let first = first.ok_or_else(|| Error::mismatch("There are no test tiles"))?;
        Ok((counts, first))
    }

    fn picture(&self, cell: &Cell, model: &Model, map: &ProbabilityMap) -> Result<()> {
        let Some(tile) = self.data.test.first() else { return Ok(()) };
        let (labels, _) = find(map, &model.card().instances)?;
        let drawn = overlay(&tile.image, &outline_mask(&labels), OUTLINE);
        let (w, h) = (PICTURE_PX.min(drawn.width()), PICTURE_PX.min(drawn.height()));
        let piece = drawn.crop((drawn.height() - h) / 2, (drawn.width() - w) / 2, w, h);
        write_atomic(&self.study.picture_file(cell), &encode_rgb_png(&piece)?)
    }
}

/// Bytes of the file and milliseconds a patch on the CPU, patch by patch, for each network and
/// ratio (the paper's Table 8).
///
/// # Errors
/// None in practice.
pub fn cost(design: &Design, runs: usize) -> Result<Vec<(NetworkChoice, f64, usize, f64)>> {
    let mut rows = Vec::new();
    for &network in &design.networks {
        let whole = Model::random(network.architecture(), 1)?;
        for &ratio in &design.ratios {
            let (plan, _) = PruningPlan::l1(&whole, ratio, Scope::Convolutions)?;
            let model = apply(&whole, &plan)?;
            let engine = BatchEngine::new(&model)?;
            let image = Plane::filled(64, 64, [127, 90, 160]);
            let places: Vec<(usize, usize)> = (0..PATCH_BATCH).map(|i| (i, i)).collect();
            let mut times: Vec<f64> = (0..runs.max(1))
                .map(|_| {
                    let begun = Instant::now();
                    drop(engine.run(&image, &places));
                    begun.elapsed().as_secs_f64() * 1000.0 / PATCH_BATCH as f64
                })
                .collect();
            times.sort_by(f64::total_cmp);
            rows.push((
                network,
                ratio,
                model.to_bytes(Precision::F32)?.len(),
                times[times.len() / 2],
            ));
        }
    }
    Ok(rows)
}
