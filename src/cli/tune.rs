//! `prunella tune`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rayon::prelude::*;
use serde_json::json;

use super::CommandOutcome;
use super::engine::{EngineArguments, ImageRunner, ViewArguments};
use super::output::{Output, stop_flag};
use super::output_files::check_outputs;
use super::tiles::{NO_TILES, TileArguments, check_labels, load, note_pixel_sizes};
use crate::dataset::Tile;
use crate::engine::Control;
use crate::error::{Error, Result, counted};
use crate::instances::label_nuclei;
use crate::metrics::score_objects;
use crate::model::{
    FileLimits, HistoryStep, InstanceParameters, Model, TuningStep, stored_precision,
};
use crate::platform::read_file;
use crate::raster::ProbabilityMaps;

/// Choose the parameters that turn probabilities into nuclei.
///
/// Maximises the mean of AJI and PQ on labelled tiles. Writes a model with better parameters in its
/// card of the model that --out or --in-place names; without them the parameters are only printed.
#[derive(Debug, Args)]
#[command(after_help = "Never tune on the tiles that will be scored.

Examples:
  prunella tune --model start.safetensors --data kumar --split train --out tuned.safetensors
  prunella tune --model m.safetensors --data my-tiles --in-place
  prunella tune --model m.safetensors --data my-tiles --json")]
pub(super) struct TuneArguments {
    /// A model file (.safetensors).
    #[arg(long, short)]
    model: PathBuf,
    #[command(flatten)]
    tiles: TileArguments,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    views: ViewArguments,
    /// Write the model with better parameters to this file (.safetensors).
    #[arg(long, short, conflicts_with = "in_place")]
    out: Option<PathBuf>,
    /// Write better parameters into the model file itself.
    #[arg(long)]
    in_place: bool,
    /// Print the parameters without writing them, as without --out and --in-place.
    #[arg(long, conflicts_with_all = ["out", "in_place"])]
    dry_run: bool,
}

/// Values that are tried for each parameter.
const THRESHOLDS: [f32; 7] = [0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65];
const SMOOTHINGS: [u32; 6] = [0, 1, 2, 4, 6, 9];
const WEIGHTS_PX: [f32; 6] = [0.0, 4.0, 8.0, 12.0, 20.0, 35.0];
const SPLIT_HEIGHTS_PX: [f32; 7] = [0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 6.0];
const AREAS_PX: [u32; 5] = [10, 25, 40, 70, 100];
const HOLES_PX: [u32; 3] = [0, 100, 400];
/// Most rounds over all parameters.
const ROUNDS: usize = 3;
/// A round that gains less is the last one.
const LEAST_GAIN: f64 = 1e-6;

/// A parameter that is tuned.
#[derive(Debug, Clone, Copy)]
enum TunedParameter {
    Threshold,
    Smoothing,
    ProbabilityWeight,
    SplitHeight,
    MinArea,
    MaxHole,
}

impl TunedParameter {
    /// In the order in which they are tuned.
    const ALL: [Self; 6] = [
        Self::Threshold,
        Self::Smoothing,
        Self::ProbabilityWeight,
        Self::SplitHeight,
        Self::MinArea,
        Self::MaxHole,
    ];

    /// `p` with each value that is tried for this parameter.
    fn candidates(self, p: InstanceParameters) -> Vec<InstanceParameters> {
        match self {
            Self::Threshold => {
                THRESHOLDS.map(|threshold| InstanceParameters { threshold, ..p }).to_vec()
            }
            Self::Smoothing => {
                SMOOTHINGS.map(|smoothing| InstanceParameters { smoothing, ..p }).to_vec()
            }
            Self::ProbabilityWeight => WEIGHTS_PX
                .map(|probability_weight| InstanceParameters { probability_weight, ..p })
                .to_vec(),
            Self::SplitHeight => SPLIT_HEIGHTS_PX
                .map(|split_height_px| InstanceParameters { split_height_px, ..p })
                .to_vec(),
            Self::MinArea => {
                AREAS_PX.map(|min_area_px| InstanceParameters { min_area_px, ..p }).to_vec()
            }
            Self::MaxHole => {
                HOLES_PX.map(|max_hole_px| InstanceParameters { max_hole_px, ..p }).to_vec()
            }
        }
    }
}

/// Parameters with their mean of AJI and PQ.
struct ScoredParameters {
    parameters: InstanceParameters,
    score: f64,
}

/// `prunella tune`.
pub(super) fn tune(arguments: &TuneArguments, output: Output) -> Result<CommandOutcome> {
    let written_model = arguments.written_model()?;
    let mut model = Model::load(&arguments.model)?;
    let tiles = load(&arguments.tiles, output)?;
    if tiles.is_empty() {
        output.remark(NO_TILES);
        output.result(&json!({ "tiles": [] }), "")?;
        return Ok(CommandOutcome::Nothing);
    }
    if arguments.engine.threshold.is_some() {
        return Err(Error::invalid(
            "The threshold is one of the values that 'tune' chooses; leave --threshold out",
        ));
    }
    check_labels(&tiles)?;
    note_pixel_sizes(&tiles, model.card().mpp_um, output);
    let tiles = with_nuclei(tiles, output)?;
    let segmenter = arguments.engine.open(Arc::new(model.clone()), output)?;
    let runner = ImageRunner {
        segmenter: &segmenter,
        how: &arguments.engine,
        views: arguments.views,
        output,
    };
    let mut maps = Vec::new();
    for tile in &tiles {
        maps.push(runner.run(&tile.image, &tile.name)?.map);
    }
    let parameters = model.card().instances;
    let start = ScoredParameters { parameters, score: score(&tiles, &maps, &parameters)? };
    let score_before = start.score;
    let ScoredParameters { parameters: best, score } = descend(&tiles, &maps, start, output)?;
    model.card_mut().instances = best;
    let step = HistoryStep::Tune(TuningStep {
        tiles: tiles.iter().map(|tile| tile.name.clone()).collect(),
        mean_aji_and_pq: score,
        parameters: best,
    });
    model.card_mut().history.push(step.clone());
    let is_better = score > score_before;
    match &written_model {
        Some(file) if is_better => {
            let read = read_file(&arguments.model, FileLimits::default().max_bytes)?;
            model.save(file, stored_precision(&read)?)?;
            output.remark(&format!("The parameters are written to {}", file.display()));
        }
        Some(file) => output
            .remark(&format!("No better parameters were found; {} is not written", file.display())),
        None if arguments.dry_run => {}
        None => output.remark("No model is written; --out FILE or --in-place does that"),
    }
    let text = format!(
        "mean of AJI and PQ {score_before:.3} → {score:.3} on {}\n\
         threshold {}, smoothing {}, split height {} px, probability weight {} px, \
         smallest nucleus {} px, largest hole {} px\n",
        counted(tiles.len(), "tile", "tiles"),
        best.threshold,
        best.smoothing,
        best.split_height_px,
        best.probability_weight,
        best.min_area_px,
        best.max_hole_px
    );
    output.result(&json!(step), &text)?;
    Ok(if is_better { CommandOutcome::Done } else { CommandOutcome::Nothing })
}

impl TuneArguments {
    /// The file of the tuned model, if one is requested and can be written.
    fn written_model(&self) -> Result<Option<PathBuf>> {
        if let Some(file) = &self.out {
            check_outputs(std::slice::from_ref(file), std::slice::from_ref(&self.model))?;
            return Ok(Some(file.clone()));
        }
        if !self.in_place {
            return Ok(None);
        }
        check_outputs(std::slice::from_ref(&self.model), &[])?;
        Ok(Some(self.model.clone()))
    }
}

/// The tiles in which nuclei are labelled: on the others neither AJI nor PQ is defined.
///
/// # Errors
/// [`Error::Mismatch`] when there are none.
fn with_nuclei(mut tiles: Vec<Tile>, output: Output) -> Result<Vec<Tile>> {
    let all = tiles.len();
    tiles.retain(|tile| tile.labels.data().iter().any(|&label| label > 0));
    if tiles.is_empty() {
        return Err(Error::mismatch(
            "No nucleus is labelled in any of the tiles, so that there is nothing to tune on; \
             'prunella data check' shows the labels",
        ));
    }
    if tiles.len() < all {
        output.remark(&format!(
            "No nucleus is labelled in {} of {all} tiles, which are left out",
            all - tiles.len()
        ));
    }
    Ok(tiles)
}

/// Coordinate descent: each parameter in turn takes its best value, until a round gains nothing.
fn descend(
    tiles: &[Tile],
    maps: &[ProbabilityMaps],
    start: ScoredParameters,
    output: Output,
) -> Result<ScoredParameters> {
    let control = Control { cancel: Some(stop_flag()), ..Control::default() };
    let bar = output.bar(ROUNDS as u64, "tuning");
    let mut best = start;
    for round in 1..=ROUNDS {
        let score_before = best.score;
        for parameter in TunedParameter::ALL {
            for candidate in parameter.candidates(best.parameters) {
                control.check()?;
                bar.set_message(format!("AJI and PQ {:.4}", best.score));
                let score = score(tiles, maps, &candidate)?;
                if score > best.score {
                    best = ScoredParameters { parameters: candidate, score };
                }
            }
        }
        bar.set_position(round as u64);
        if best.score - score_before < LEAST_GAIN {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(best)
}

/// Mean of AJI and PQ over the tiles. AJI is weighted by pixels and PQ counts nuclei, so neither
/// specks nor merged nuclei score well in both.
fn score(tiles: &[Tile], maps: &[ProbabilityMaps], parameters: &InstanceParameters) -> Result<f64> {
    let of_tile = |(tile, map): (&Tile, &ProbabilityMaps)| -> Result<f64> {
        let (labels, _) = label_nuclei(map, parameters)?;
        let scores = score_objects(&labels, &tile.labels)?;
        Ok(f64::midpoint(scores.aji.unwrap_or(0.0), scores.pq.unwrap_or(0.0)))
    };
    let scores: Vec<f64> = tiles.par_iter().zip(maps).map(of_tile).collect::<Result<_>>()?;
    Ok(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
}
