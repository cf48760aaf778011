//! The whole loop on procedural tissue: train, prune, fine-tune, evaluate, segment, report. Needs
//! no data and no GPU.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::dataset::{Augmentation, Tile, phantom};
use crate::engine::{Control, SegmentOptions, segment};
use crate::error::{Result, Warnings};
use crate::instances::find;
use crate::metrics::PixelCounts;
use crate::model::{Model, Precision, dcnn};
use crate::platform::write_atomic;
use crate::prune::{PruningPlan, Scope, apply};
use crate::raster::{OUTLINE, ProbabilityMap, RgbImage, encode_rgb_png, outline_mask, overlay};
use crate::report::{DemoPage, DemoPicture, DemoRow, history_curves, render_demo};
use crate::train::{Compute, EpochLog, Event, Recipe, TrainData, Trainer};

/// Pruning ratios of the demo, the unpruned one first.
pub const RATIOS: [f64; 3] = [0.0, 0.5, 0.9];
/// Filters and hidden units of the demo's network: a quarter of the paper's work, so that a laptop
/// needs a minute.
const FILTERS: [usize; 3] = [12, 24, 32];
const HIDDEN: usize = 128;
const TRAINING_TILES: u64 = 8;
const TRAINING_PX: usize = 240;
const HELD_OUT_TILES: u64 = 2;
const HELD_OUT_PX: usize = 400;
const TRUE: [u8; 3] = [0, 255, 255];

/// What the demo tells while it goes.
#[derive(Debug)]
pub enum Stage<'a> {
    /// A part begins.
    Begin(&'a str),
    /// Inside training.
    Training(Event),
}

/// The demo's model at one ratio, and what it sees on the first held-out field.
struct Candidate {
    ratio: f64,
    model: Model,
    history: Vec<EpochLog>,
    row: DemoRow,
    map: ProbabilityMap,
}

/// How to run the demo.
pub struct Demo<'a> {
    pub out: &'a Path,
    pub seed: u64,
    pub compute: &'a Compute,
    pub cancel: &'a AtomicBool,
}

/// The network that the demo starts from.
///
/// # Errors
/// None in practice; see [`Model::random`].
pub fn start(seed: u64) -> Result<Model> {
    Model::random(dcnn(FILTERS, HIDDEN, 2), seed)
}

/// Patches at a time.
pub const BATCH: usize = 32;

impl Demo<'_> {
    /// Runs everything and writes models, pictures, `summary.json` and `report.html` into `out`.
    ///
    /// # Errors
    /// Whatever training, segmentation or the disk refuse.
    pub fn run(&self, watch: &mut dyn FnMut(Stage<'_>)) -> Result<(Vec<DemoRow>, Warnings)> {
        watch(Stage::Begin("Drawing procedural tissue"));
        let tiles = |count, px, first| {
            (0..count).map(|i| phantom::tile(px, px, self.seed * 1000 + first + i)).collect()
        };
        let training: Vec<Tile> = tiles(TRAINING_TILES, TRAINING_PX, 0);
        let held_out: Vec<Tile> = tiles(HELD_OUT_TILES, HELD_OUT_PX, 500);
        let mut report = Warnings::default();
        let mut candidates: Vec<Candidate> = Vec::new();
        for ratio in RATIOS {
            let begin = match candidates.first() {
                None => start(self.seed)?,
                Some(unpruned) => {
                    let (plan, notes) =
                        PruningPlan::l1(&unpruned.model, ratio, Scope::Convolutions)?;
                    report.extend(notes);
                    apply(&unpruned.model, &plan)?
                }
            };
            let what = if ratio == 0.0 { "Training" } else { "Pruning and fine-tuning" };
            watch(Stage::Begin(&format!("{what} at δ = {ratio}")));
            let recipe = self.recipe(ratio);
            let trainer = Trainer {
                start: &begin,
                data: TrainData { tiles: &training },
                recipe: &recipe,
                compute: self.compute,
                teachers: &[],
                checkpoint: None,
                checkpoint_every: Duration::MAX,
                cancel: self.cancel,
            };
            let outcome = trainer.run(&mut |event| watch(Stage::Training(event)))?;
            candidates.push(self.measure(ratio, outcome.model, outcome.history, &held_out)?);
        }
        watch(Stage::Begin("Writing models, pictures and the report"));
        self.write(&candidates, &held_out[0])?;
        Ok((candidates.iter().map(|c| c.row).collect(), report))
    }

    fn recipe(&self, ratio: f64) -> Recipe {
        Recipe {
            patches: 6000,
            epochs: if ratio == 0.0 { 6 } else { 5 },
            batch: BATCH,
            learning_rate: if ratio < 0.9 { 2e-3 } else { 4e-3 },
            weight_decay: 1e-2,
            augmentation: Augmentation {
                stain_scale: 0.05,
                stain_shift: 0.01,
                ..Augmentation::DEFAULT
            },
            seed: self.seed,
            ..Recipe::DEFAULT
        }
    }

    fn measure(
        &self,
        ratio: f64,
        mut model: Model,
        history: Vec<EpochLog>,
        held_out: &[Tile],
    ) -> Result<Candidate> {
        let control = Control { cancel: Some(self.cancel), ..Control::default() };
        let mut counts = PixelCounts::default();
        let mut times = Vec::new();
        let mut maps = Vec::new();
        for tile in held_out {
            for _ in 0..3 {
                let begun = Instant::now();
                maps.push(segment(&model, &tile.image, SegmentOptions::default(), &control)?);
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            if let Some(map) = maps.last() {
                counts = counts.plus(PixelCounts::of(map, &tile.labels.foreground(), 0.5)?);
            }
        }
        times.sort_by(f64::total_cmp);
        let scores = counts.scores();
        model
            .card_mut()
            .metrics
            .insert("phantom, held-out fields".into(), serde_json::json!(scores));
        let row = DemoRow {
            pruning_ratio: ratio,
            parameters: model.graph().parameters(),
            bytes: model.to_bytes(Precision::F32)?.len(),
            dice: scores.dice.unwrap_or(0.0),
            accuracy: scores.accuracy.unwrap_or(0.0),
            segment_ms: times[times.len() / 2],
        };
        Ok(Candidate { ratio, model, history, row, map: maps.swap_remove(0) })
    }

    fn write(&self, candidates: &[Candidate], field: &Tile) -> Result<()> {
        let rows: Vec<DemoRow> = candidates.iter().map(|c| c.row).collect();
        let mut pictures = vec![picture("Held-out field", &field.image)?];
        pictures
            .push(picture("Truth", &overlay(&field.image, &outline_mask(&field.labels), TRUE))?);
        for c in candidates {
            let name = format!("dcnn-{:02}.safetensors", (c.ratio * 100.0).round());
            c.model.save(&self.out.join("models").join(name), Precision::F32)?;
            let (objects, _) = find(&c.map, &c.model.card().instances)?;
            let drawn = overlay(&field.image, &outline_mask(&objects), OUTLINE);
            pictures.push(picture(
                &format!("δ = {}: {} parameters", c.ratio, c.row.parameters),
                &drawn,
            )?);
        }
        let names = ["field", "truth", "delta-00", "delta-50", "delta-90"];
        for (picture, name) in pictures.iter().zip(names) {
            write_atomic(&self.out.join("pictures").join(format!("{name}.png")), &picture.png)?;
        }
        let json = serde_json::to_vec_pretty(&rows)
            .map_err(|e| crate::error::Error::malformed(e.to_string()))?;
        write_atomic(&self.out.join("summary.json"), &json)?;
        let curves = candidates
            .iter()
            .map(|c| Ok((format!("δ = {}", c.ratio), history_curves(&points(&c.history))?)))
            .collect::<Result<Vec<_>>>()?;
        let page = DemoPage {
            device: &self.compute.name,
            rows: &rows,
            curves: &curves,
            pictures: &pictures,
        };
        write_atomic(&self.out.join("report.html"), render_demo(&page).as_bytes())
    }
}

/// Epoch, training loss, validation loss, accuracy, Dice.
#[must_use]
pub fn points(history: &[EpochLog]) -> Vec<[f64; 5]> {
    let point = |l: &EpochLog| {
        [l.epoch as f64, l.train_loss, l.validation_loss, l.validation_accuracy, l.validation_dice]
    };
    history.iter().map(point).collect()
}

fn picture(caption: &str, image: &RgbImage) -> Result<DemoPicture> {
    Ok(DemoPicture { caption: caption.to_owned(), png: encode_rgb_png(image)? })
}
