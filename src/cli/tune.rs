//! `prunella tune`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rayon::prelude::*;
use serde_json::json;

use super::CommandOutcome;
use super::engine::{EngineArguments, ImageRunner, ViewArguments};
use super::output::{Output, stop_flag};
use super::tiles::{TileArguments, load};
use crate::dataset::Tile;
use crate::engine::Control;
use crate::error::{Error, Result};
use crate::instances::find;
use crate::metrics::score_objects;
use crate::model::{FileLimits, InstanceParameters, Model, stored_precision};
use crate::platform::read_file;
use crate::raster::ProbabilityMap;

/// Choose how probabilities become nuclei on labelled tiles, and write it into the model's card.
#[derive(Debug, Args)]
#[command(after_help = "Never tune on the tiles that will be scored.

Examples:
  prunella tune --model models/dcnn-00.safetensors --data kumar --split train
  prunella tune --model m.safetensors --data my-tiles --dry-run --json")]
pub struct TuneArguments {
    #[arg(long, short)]
    model: PathBuf,
    #[command(flatten)]
    tiles: TileArguments,
    #[command(flatten)]
    how: EngineArguments,
    #[command(flatten)]
    views: ViewArguments,
    /// Only say what would be written.
    #[arg(long)]
    dry_run: bool,
}

/// Values tried for each parameter in turn; each turn keeps the best, until a round changes
/// nothing.
const THRESHOLDS: [f32; 7] = [0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65];
const SMOOTHINGS: [u32; 6] = [0, 1, 2, 4, 6, 9];
const SPLITS_PX: [f32; 7] = [0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 6.0];
const WEIGHTS: [f32; 6] = [0.0, 4.0, 8.0, 12.0, 20.0, 35.0];
const AREAS_PX: [u32; 5] = [10, 25, 40, 70, 100];
const HOLES_PX: [u32; 3] = [0, 100, 400];
const ROUNDS: usize = 3;
/// Parameters that are tuned.
const AXES: usize = 6;

/// `prunella tune`: coordinate descent on the mean of AJI and PQ over the tiles.
pub fn tune(arguments: &TuneArguments, output: Output) -> Result<CommandOutcome> {
    let mut model = Model::load(&arguments.model)?;
    let tiles = load(&arguments.tiles, output)?;
    if tiles.is_empty() {
        output.remark("No labelled tiles were found there; 'prunella data check' says what is.");
        output.result(&json!({ "tiles": [] }), "")?;
        return Ok(CommandOutcome::Nothing);
    }
    if arguments.how.threshold.is_some() {
        return Err(Error::mismatch(
            "The threshold is one of the values that 'tune' chooses; leave --threshold out",
        ));
    }
    let segmenter = arguments.how.open(Arc::new(model.clone()), output)?;
    let runner =
        ImageRunner { segmenter: &segmenter, how: &arguments.how, views: arguments.views, output };
    let mut maps = Vec::new();
    for tile in &tiles {
        maps.push(runner.run(&tile.image, &tile.name)?.map);
    }
    let before = quality(&tiles, &maps, &model.card().instances)?;
    let (best, after) = descend(&tiles, &maps, model.card().instances, before, output)?;
    model.card_mut().instances = best;
    let names: Vec<&str> = tiles.iter().map(|t| t.name.as_str()).collect();
    let step =
        json!({ "step": "tune", "tiles": names, "mean_aji_and_pq": after, "parameters": best });
    model.card_mut().history.push(step.clone());
    if !arguments.dry_run {
        let precision =
            stored_precision(&read_file(&arguments.model, FileLimits::default().max_bytes)?)?;
        model.save(&arguments.model, precision)?;
    }
    let text = format!(
        "mean of AJI and PQ {before:.3} → {after:.3} on {} tiles\nthreshold {}, smoothing {}, split height {} px, probability weight {} px, \
         smallest nucleus {} px, largest hole {} px\n",
        tiles.len(),
        best.threshold,
        best.smoothing,
        best.split_height_px,
        best.probability_weight,
        best.min_area_px,
        best.max_hole_px
    );
    output.result(&step, &text)?;
    Ok(CommandOutcome::Done)
}

fn descend(
    tiles: &[Tile],
    maps: &[ProbabilityMap],
    start: InstanceParameters,
    start_score: f64,
    output: Output,
) -> Result<(InstanceParameters, f64)> {
    let (mut best, mut score) = (start, start_score);
    let control = Control { cancel: Some(stop_flag()), ..Control::default() };
    let bar = output.bar(ROUNDS as u64, "tuning");
    for round in 0..ROUNDS {
        let before = score;
        for axis in 0..AXES {
            for candidate in candidates(best)[axis].clone() {
                control.check()?;
                bar.set_message(format!("AJI and PQ {score:.4}"));
                let found = quality(tiles, maps, &candidate)?;
                if found > score {
                    (best, score) = (candidate, found);
                }
            }
        }
        bar.set_position(round as u64 + 1);
        if score - before < 1e-6 {
            break;
        }
    }
    bar.finish_and_clear();
    Ok((best, score))
}

/// For each parameter, `p` with every value of it.
fn candidates(p: InstanceParameters) -> [Vec<InstanceParameters>; AXES] {
    [
        THRESHOLDS.iter().map(|&threshold| InstanceParameters { threshold, ..p }).collect(),
        SMOOTHINGS.iter().map(|&smoothing| InstanceParameters { smoothing, ..p }).collect(),
        WEIGHTS
            .iter()
            .map(|&probability_weight| InstanceParameters { probability_weight, ..p })
            .collect(),
        SPLITS_PX
            .iter()
            .map(|&split_height_px| InstanceParameters { split_height_px, ..p })
            .collect(),
        AREAS_PX.iter().map(|&min_area_px| InstanceParameters { min_area_px, ..p }).collect(),
        HOLES_PX.iter().map(|&max_hole_px| InstanceParameters { max_hole_px, ..p }).collect(),
    ]
}

/// AJI weighs pixels, PQ counts nuclei: neither specks nor merged nuclei are cheap in both.
fn quality(
    tiles: &[Tile],
    maps: &[ProbabilityMap],
    parameters: &InstanceParameters,
) -> Result<f64> {
    let scores: Vec<f64> = tiles
        .par_iter()
        .zip(maps)
        .map(|(tile, map)| {
            let s = score_objects(&find(map, parameters)?.0, &tile.labels)?;
            Ok(f64::midpoint(s.aji.unwrap_or(0.0), s.pq.unwrap_or(0.0)))
        })
        .collect::<Result<_>>()?;
    Ok(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
}
