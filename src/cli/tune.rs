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
use super::tiles::{NO_TILES, TileArguments, check_labels, load};
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
/// Maximises the mean of AJI and PQ on labelled tiles. Cross-validation over the tiles says what
/// that is worth on others: each fifth of them is scored with parameters chosen on the rest.
/// Better parameters go into the card of the model that --out or --in-place names; without them
/// they are only printed.
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
const THRESHOLDS: [f32; 9] = [0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65];
const SMOOTHINGS: [u32; 6] = [0, 1, 2, 4, 6, 9];
const WEIGHTS_PX: [f32; 7] = [0.0, 4.0, 8.0, 12.0, 20.0, 35.0, 60.0];
const SPLIT_HEIGHTS_PX: [f32; 8] = [0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 9.0];
const AREAS_PX: [u32; 6] = [10, 25, 40, 70, 100, 150];
const HOLES_PX: [u32; 3] = [0, 100, 400];
/// Most rounds over all parameters.
const ROUNDS: usize = 3;
/// A round that gains less is the last one.
const LEAST_GAIN: f64 = 1e-6;
/// Parts of the tiles in cross-validation; of fewer tiles each is a part.
const FOLDS: usize = 5;

/// A parameter that is tuned.
#[derive(Debug, Clone, Copy)]
enum TunedParameter {
    /// Probability weight and split height together, which decide only by their ratio where the
    /// probability leads.
    Heights,
    Threshold,
    Smoothing,
    ProbabilityWeight,
    SplitHeight,
    MinArea,
    MaxHole,
}

impl TunedParameter {
    /// In the order in which they are tuned in the first round; pairs are tried there alone.
    const ALL: [Self; 7] = [
        Self::Heights,
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
            Self::Heights => {
                let mut pairs = Vec::with_capacity(WEIGHTS_PX.len() * SPLIT_HEIGHTS_PX.len());
                for weight in Self::ProbabilityWeight.candidates(p) {
                    pairs.extend(Self::SplitHeight.candidates(weight));
                }
                pairs
            }
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

/// Parameters with their mean of AJI and PQ on each tile.
struct ScoredParameters {
    parameters: InstanceParameters,
    scores: Vec<f64>,
}

/// A search over parameters, which scores none of them twice.
struct Search<'a> {
    tiles: &'a [Tile],
    maps: &'a [ProbabilityMaps],
    scored: Vec<ScoredParameters>,
    output: Output,
}

/// `prunella tune`.
pub(super) fn tune(arguments: &TuneArguments, output: Output) -> Result<CommandOutcome> {
    let written_model = arguments.written_model()?;
    let mut model = Model::load(&arguments.model)?;
    let mut loaded = load(&arguments.tiles, output)?;
    loaded.resample(model.card().mpp_um, output);
    let tiles = loaded.tiles;
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
    let start = model.card().instances;
    let mut search = Search { tiles: &tiles, maps: &maps, scored: Vec::new(), output };
    let all: Vec<usize> = (0..tiles.len()).collect();
    let score_before = search.mean(&start, &all)?;
    let best = search.descend(start, &all, "tuning")?;
    let score = search.mean(&best, &all)?;
    let cross_validated = search.cross_validate(start)?;
    model.card_mut().instances = best;
    let step = HistoryStep::Tune(TuningStep {
        tiles: tiles.iter().map(|tile| tile.name.clone()).collect(),
        mean_aji_and_pq: score,
        cross_validated,
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
    let elsewhere = cross_validated.map_or(String::new(), |score| {
        format!(", {score:.3} on tiles that the parameters were not chosen on (cross-validation)")
    });
    let text = format!(
        "mean of AJI and PQ {score_before:.3} → {score:.3} on {}{elsewhere}\n\
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

impl Search<'_> {
    /// Coordinate descent on some tiles: each parameter in turn takes its best value, until a round
    /// gains nothing.
    fn descend(
        &mut self,
        start: InstanceParameters,
        chosen: &[usize],
        what: &str,
    ) -> Result<InstanceParameters> {
        let control = Control { cancel: Some(stop_flag()), ..Control::default() };
        let bar = self.output.bar(ROUNDS as u64, what);
        let mut best = start;
        let mut best_score = self.mean(&best, chosen)?;
        for round in 1..=ROUNDS {
            let score_before = best_score;
            for &parameter in &TunedParameter::ALL[usize::from(round > 1)..] {
                for candidate in parameter.candidates(best) {
                    control.check()?;
                    bar.set_message(format!("AJI and PQ {best_score:.4}"));
                    let score = self.mean(&candidate, chosen)?;
                    if score > best_score {
                        best = candidate;
                        best_score = score;
                    }
                }
            }
            bar.set_position(round as u64);
            if best_score - score_before < LEAST_GAIN {
                break;
            }
        }
        bar.finish_and_clear();
        Ok(best)
    }

    /// Mean score over all tiles, each with parameters chosen on tiles of other folds; none of a
    /// single tile. Neighbours in the list, often of one patient, are in different folds.
    fn cross_validate(&mut self, start: InstanceParameters) -> Result<Option<f64>> {
        let tiles = self.tiles.len();
        let folds = FOLDS.min(tiles);
        if folds < 2 {
            return Ok(None);
        }
        let mut sum = 0.0;
        for fold in 0..folds {
            let (held_out, others): (Vec<usize>, Vec<usize>) =
                (0..tiles).partition(|tile| tile % folds == fold);
            let what = format!("cross-validation, part {} of {folds}", fold + 1);
            let best = self.descend(start, &others, &what)?;
            sum += self.mean(&best, &held_out)? * held_out.len() as f64;
        }
        Ok(Some(sum / tiles as f64))
    }

    /// Mean of AJI and PQ over some tiles. AJI is weighted by pixels and PQ counts nuclei, so
    /// neither specks nor merged nuclei score well in both.
    fn mean(&mut self, parameters: &InstanceParameters, chosen: &[usize]) -> Result<f64> {
        let known = self.scored.iter().position(|known| known.parameters == *parameters);
        let known = if let Some(known) = known {
            known
        } else {
            let scores = self.score(parameters)?;
            self.scored.push(ScoredParameters { parameters: *parameters, scores });
            self.scored.len() - 1
        };
        let scores = &self.scored[known].scores;
        let sum: f64 = chosen.iter().map(|&tile| scores[tile]).sum();
        Ok(sum / chosen.len().max(1) as f64)
    }

    fn score(&self, parameters: &InstanceParameters) -> Result<Vec<f64>> {
        let of_tile = |(tile, map): (&Tile, &ProbabilityMaps)| -> Result<f64> {
            let (labels, _) = label_nuclei(map, parameters)?;
            let scores = score_objects(&labels, &tile.labels)?;
            Ok(f64::midpoint(scores.aji.unwrap_or(0.0), scores.pq.unwrap_or(0.0)))
        };
        self.tiles.par_iter().zip(self.maps).map(of_tile).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::phantom;

    /// Maps of some tiles as a network would give them that is unsure by this much.
    fn maps(tiles: &[Tile], unsure: f32) -> Vec<ProbabilityMaps> {
        let mut maps = Vec::new();
        for tile in tiles {
            let map = tile.labels.map(|label| if label > 0 { 0.9 - unsure } else { unsure });
            maps.push(ProbabilityMaps::from(map));
        }
        maps
    }

    #[test]
    fn parameters_that_fit_all_tiles_are_worth_as_much_on_others() {
        let tiles: Vec<Tile> = (0..3).map(|seed| phantom::tile(96, 96, seed)).collect();
        // Nuclei have probability 0.48: below the usual threshold.
        let maps = maps(&tiles, 0.42);
        let output = Output::new(true);
        let mut search = Search { tiles: &tiles, maps: &maps, scored: Vec::new(), output };
        let start = InstanceParameters::default();
        let all = [0, 1, 2];
        let before = search.mean(&start, &all).expect("score");
        let best = search.descend(start, &all, "").expect("parameters");
        let after = search.mean(&best, &all).expect("score");
        assert!(before < 0.1 && after > 0.7, "{before} {after}");
        assert!(best.threshold < 0.48);
        let elsewhere = search.cross_validate(start).expect("score").expect("folds");
        assert!(elsewhere > 0.6 && elsewhere <= after + 1e-9, "{elsewhere} {after}");
        let found = search.scored.len();
        search.cross_validate(start).expect("score");
        assert_eq!(search.scored.len(), found, "nothing is scored twice");

        let one = Search { tiles: &tiles[..1], maps: &maps[..1], scored: Vec::new(), output };
        assert_eq!({ one }.cross_validate(start).expect("score"), None);
    }
}
