//! The whole loop on small crops of tissue that the program carries: train, prune, fine-tune,
//! evaluate, segment, report. Needs no data and no GPU.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::dataset::{Augmentation, Tile, tissue_crops};
use crate::engine::{Control, SegmentOptions, segment};
use crate::error::{Error, Result, Warnings};
use crate::instances::label_nuclei;
use crate::metrics::PixelCounts;
use crate::model::{Model, Precision, dcnn};
use crate::platform::write_atomic;
use crate::prune::{PruningPlan, Scope, apply};
use crate::raster::{
    OUTLINE_COLOUR, ProbabilityMaps, RgbImage, encode_overlay_png, outline_mask, overlay,
};
use crate::report::{
    DemoCurves, DemoPage, DemoPicture, DemoRow, EpochPoint, history_curves, render_demo,
};
use crate::train::{Compute, DeadUnitOptions, EpochLog, Event, Recipe, TrainData, Trainer};

/// Pruning ratios of the demo, the unpruned one first.
pub(crate) const RATIOS: [f64; 3] = [0.0, 0.5, 0.9];
/// Patches in a training step.
pub(crate) const BATCH: usize = 32;
/// Filters and hidden units of the demo's network. It has a quarter of the multiply-adds of the
/// paper's DCNN, so that a laptop needs a minute.
const FILTERS: [usize; 3] = [12, 24, 32];
const HIDDEN: usize = 128;
/// Patches that are drawn; 70 % of them train.
const PATCHES: usize = 20_000;
/// Times that each held-out field is segmented; the median is reported.
const TIMED_RUNS: usize = 3;
/// A pixel is nucleus above this probability (the paper's choice).
const PIXEL_THRESHOLD: f32 = 0.5;
/// Colour of the true outlines.
const TRUTH_OUTLINE: [u8; 3] = [0, 255, 255];
/// Files in `pictures`: the field, the truth, and one for each of [`RATIOS`].
const PICTURE_NAMES: [&str; 5] = ["field", "truth", "delta-00", "delta-50", "delta-90"];

/// Progress of the demo.
#[derive(Debug)]
pub(crate) enum DemoEvent {
    /// A step begins.
    Started(DemoStep),
    /// Progress of the training in the current step.
    Training(Event),
}

/// A step of the demo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum DemoStep {
    ReadTissue,
    Train,
    PruneAndFineTune { ratio: f64 },
    WriteReport,
}

impl std::fmt::Display for DemoStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ReadTissue => write!(f, "Reading tissue"),
            Self::Train => write!(f, "Training at δ = 0"),
            Self::PruneAndFineTune { ratio } => {
                write!(f, "Pruning and fine-tuning at δ = {ratio}")
            }
            Self::WriteReport => write!(f, "Writing models, pictures and the report"),
        }
    }
}

/// Results of the demo.
#[derive(Debug)]
pub(crate) struct DemoOutcome {
    /// One for each of [`RATIOS`].
    pub rows: Vec<DemoRow>,
    pub warnings: Warnings,
}

/// How to run the demo.
pub(crate) struct Demo<'a> {
    /// Folder of all files that are written.
    pub out: &'a Path,
    pub seed: u64,
    pub compute: &'a Compute,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
}

/// A model at one ratio with its results.
struct Candidate {
    ratio: f64,
    model: Model,
    history: Vec<EpochLog>,
    row: DemoRow,
    /// Probabilities of the first held-out field.
    map: ProbabilityMaps,
}

/// The network before training.
///
/// # Errors
/// None in practice; see [`Model::random`].
pub(crate) fn start(seed: u64) -> Result<Model> {
    Model::random(dcnn(FILTERS, HIDDEN, 2), seed)
}

impl Demo<'_> {
    /// Runs all steps and writes `models/`, `pictures/`, `summary.json` and `report.html` into
    /// `out`.
    ///
    /// # Errors
    /// Those of training, segmentation and the disk; [`Error::Cancelled`] when asked to stop.
    pub(crate) fn run(&self, on_event: &mut dyn FnMut(DemoEvent)) -> Result<DemoOutcome> {
        on_event(DemoEvent::Started(DemoStep::ReadTissue));
        let training = tissue_crops::training()?;
        let held_out = tissue_crops::held_out()?;

        let mut warnings = Warnings::default();
        let mut candidates: Vec<Candidate> = Vec::new();
        for ratio in RATIOS {
            let start = match candidates.first() {
                None => {
                    on_event(DemoEvent::Started(DemoStep::Train));
                    start(self.seed)?
                }
                Some(unpruned) => {
                    on_event(DemoEvent::Started(DemoStep::PruneAndFineTune { ratio }));
                    let (plan, more) =
                        PruningPlan::l1(&unpruned.model, ratio, Scope::Convolutions)?;
                    warnings.extend(more);
                    apply(&unpruned.model, &plan)?
                }
            };
            let trainer = Trainer {
                start: &start,
                data: TrainData { tiles: &training },
                recipe: &self.recipe(ratio),
                compute: self.compute,
                teachers: &[],
                checkpoint: None,
                checkpoint_every: Duration::MAX,
                ends_collapsed: true,
                cancel: self.cancel,
            };
            let outcome = trainer.run(&mut |event| on_event(DemoEvent::Training(event)))?;
            candidates.push(self.evaluate(ratio, outcome.model, outcome.history, &held_out)?);
        }

        on_event(DemoEvent::Started(DemoStep::WriteReport));
        let rows: Vec<DemoRow> = candidates.iter().map(|c| c.row).collect();
        self.write(&candidates, &rows, &held_out[0])?;
        Ok(DemoOutcome { rows, warnings })
    }

    /// Pruned networks start from trained weights and need fewer epochs; the smallest one needs a
    /// higher rate.
    fn recipe(&self, ratio: f64) -> Recipe {
        Recipe {
            patches: PATCHES,
            epochs: if ratio == 0.0 { 6 } else { 5 },
            batch: BATCH,
            learning_rate: if ratio < 0.9 { 2e-3 } else { 4e-3 },
            weight_decay: 1e-2,
            augmentation: Augmentation::STRONG,
            dead_units: DeadUnitOptions::ALL,
            seed: self.seed,
            ..Recipe::DEFAULT
        }
    }

    /// Segments the held-out fields, on the CPU.
    fn evaluate(
        &self,
        ratio: f64,
        mut model: Model,
        history: Vec<EpochLog>,
        held_out: &[Tile],
    ) -> Result<Candidate> {
        let control = Control { cancel: Some(self.cancel), ..Control::default() };
        let mut counts = PixelCounts::default();
        let mut times_ms = Vec::new();
        let mut maps = Vec::new();
        for tile in held_out {
            for _ in 0..TIMED_RUNS {
                let started = Instant::now();
                maps.push(segment(&model, &tile.image, SegmentOptions::default(), &control)?);
                times_ms.push(started.elapsed().as_secs_f64() * 1000.0);
            }
            if let Some(map) = maps.last() {
                let truth = tile.labels.foreground();
                counts = counts.plus(PixelCounts::of(map.nucleus(), &truth, PIXEL_THRESHOLD)?);
            }
        }
        times_ms.sort_by(f64::total_cmp);
        let scores = counts.scores();
        model
            .card_mut()
            .metrics
            .insert("held-out crops of TNBC and NuInsSeg".into(), serde_json::json!(scores));
        model.card_mut().data_sources = tissue_crops::sources();
        model.card_mut().licence = Some("CC BY 4.0".into());
        let row = DemoRow {
            pruning_ratio: ratio,
            parameters: model.graph().parameters(),
            bytes: model.to_bytes(Precision::F32)?.len(),
            dice: scores.dice.unwrap_or(0.0),
            accuracy: scores.accuracy.unwrap_or(0.0),
            segment_ms: times_ms[times_ms.len() / 2],
        };
        Ok(Candidate { ratio, model, history, row, map: maps.swap_remove(0) })
    }

    fn write(&self, candidates: &[Candidate], rows: &[DemoRow], field: &Tile) -> Result<()> {
        let truth = overlay(&field.image, &outline_mask(&field.labels), TRUTH_OUTLINE);
        let mut pictures =
            vec![picture("Held-out field", &field.image)?, picture("Truth", &truth)?];
        let mut curves = Vec::new();
        for candidate in candidates {
            let percent = (candidate.ratio * 100.0).round();
            let file = self.out.join("models").join(format!("dcnn-{percent:02}.safetensors"));
            candidate.model.save(&file, Precision::F32)?;

            let (labels, _) = label_nuclei(&candidate.map, &candidate.model.card().instances)?;
            let drawn = overlay(&field.image, &outline_mask(&labels), OUTLINE_COLOUR);
            let parameters = candidate.row.parameters;
            let caption = format!("δ = {}: {parameters} parameters", candidate.ratio);
            pictures.push(picture(&caption, &drawn)?);

            curves.push(DemoCurves {
                title: format!("δ = {}", candidate.ratio),
                svg: history_curves(&points(&candidate.history))?,
            });
        }
        for (picture, name) in pictures.iter().zip(PICTURE_NAMES) {
            write_atomic(&self.out.join("pictures").join(format!("{name}.png")), &picture.png)?;
        }
        let summary =
            serde_json::to_vec_pretty(rows).map_err(|e| Error::malformed(e.to_string()))?;
        write_atomic(&self.out.join("summary.json"), &summary)?;
        let page =
            DemoPage { device: &self.compute.name, rows, curves: &curves, pictures: &pictures };
        write_atomic(&self.out.join("report.html"), render_demo(&page).as_bytes())
    }
}

/// The points of [`history_curves`].
#[must_use]
pub(crate) fn points(history: &[EpochLog]) -> Vec<EpochPoint> {
    let mut points = Vec::new();
    for log in history {
        points.push(EpochPoint {
            epoch: log.epoch as f64,
            train_loss: log.train_loss,
            validation_loss: log.validation_loss,
            validation_accuracy: log.validation_accuracy,
            validation_dice: log.validation_dice.unwrap_or(f64::NAN),
        });
    }
    points
}

fn picture(caption: &str, image: &RgbImage) -> Result<DemoPicture> {
    Ok(DemoPicture { caption: caption.to_owned(), png: encode_overlay_png(image)? })
}
