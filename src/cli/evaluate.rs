//! `prunella evaluate`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::CommandOutcome;
use super::engine::{EngineArguments, ImageRunner, ViewArguments};
use super::output::Output;
use super::segment::write_pictures;
use super::tiles::{TileArguments, load};
use crate::dataset::Tile;
use crate::error::{Error, Result};
use crate::instances::find;
use crate::metrics::{ObjectScores, PixelCounts, PixelScores, score_objects};
use crate::model::{FileLimits, Model, stored_precision};
use crate::platform::read_file;
use crate::raster::LabelMap;

/// Score a model on labelled tiles. With --stride, pixel scores are of the pixels that the network
/// answered; object scores are of the interpolated map.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella evaluate --model models/dcnn-00.safetensors --data kumar --split test
  prunella evaluate --model m.safetensors --data my-tiles --out pictures --json")]
pub struct EvaluateArguments {
    #[arg(long, short)]
    model: PathBuf,
    #[command(flatten)]
    tiles: TileArguments,
    #[command(flatten)]
    how: EngineArguments,
    #[command(flatten)]
    views: ViewArguments,
    /// Write probability maps, masks and overlays into this folder.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Write the pooled scores into the model's card under this name.
    #[arg(long, value_name = "NAME")]
    record: Option<String>,
}

#[derive(Debug, Serialize)]
struct TileScores {
    name: String,
    pixels: PixelScores,
    objects: ObjectScores,
    milliseconds: f64,
}

#[derive(Debug, Serialize)]
struct Evaluation {
    model: PathBuf,
    parameters: usize,
    pruning_ratio: f64,
    /// All pixels of all tiles together.
    pooled: PixelScores,
    /// Means over tiles of the object scores, objects found with the card's parameters.
    mean_aji: Option<f64>,
    mean_aji_plus: Option<f64>,
    mean_pq: Option<f64>,
    mean_dice: Option<f64>,
    milliseconds: f64,
    tiles: Vec<TileScores>,
}

/// `prunella evaluate`.
pub fn evaluate(arguments: &EvaluateArguments, output: Output) -> Result<CommandOutcome> {
    let mut model = Model::load(&arguments.model)?;
    let tiles = load(&arguments.tiles, output)?;
    if tiles.is_empty() {
        output.remark("No labelled tiles were found there; 'prunella data check' says what is.");
        output.result(&serde_json::json!({ "tiles": [] }), "")?;
        return Ok(CommandOutcome::Nothing);
    }
    let segmenter = arguments.how.open(Arc::new(model.clone()), output)?;
    let runner =
        ImageRunner { segmenter: &segmenter, how: &arguments.how, views: arguments.views, output };
    let parameters = arguments.how.instances(&model);
    let mut counts = PixelCounts::default();
    let mut scores = Vec::new();
    for tile in &tiles {
        let lines = answered(arguments, &model, tile)?;
        let run = runner.run(&tile.image, &tile.name)?;
        let threshold = arguments.how.pixel_threshold();
        let of_tile =
            PixelCounts::on_lines(&run.map, &tile.labels.foreground(), &lines, threshold)?;
        counts = counts.plus(of_tile);
        let (labels, _) = find(&run.map, &parameters)?;
        scores.push(score(tile, &labels, of_tile, run.milliseconds)?);
        if let Some(folder) = &arguments.out {
            write_pictures(folder, &tile.name, &tile.image, &run.map, &labels)?;
        }
    }
    let result = summarise(arguments, &model, &counts, scores);
    if let Some(name) = &arguments.record {
        let entry = serde_json::json!({ "pixels": result.pooled, "aji": result.mean_aji, "aji_plus": result.mean_aji_plus, "pq": result.mean_pq, "tiles": tiles.len() });
        model.card_mut().metrics.insert(name.clone(), entry);
        let precision =
            stored_precision(&read_file(&arguments.model, FileLimits::default().max_bytes)?)?;
        model.save(&arguments.model, precision)?;
    }
    output.result(&result, &describe(&result))?;
    Ok(CommandOutcome::Done)
}

/// Rows and columns at whose crossings the model answers; they must be the same in every view.
fn answered(arguments: &EvaluateArguments, model: &Model, tile: &Tile) -> Result<[Vec<usize>; 2]> {
    let (width, height) = (tile.image.width(), tile.image.height());
    let lines = arguments.how.options()?.computed_lines(model, width, height);
    if arguments.views.several() && !(mirrored(&lines[0], height) && mirrored(&lines[1], width)) {
        return Err(Error::mismatch(
            "Mirrored views answer other pixels at this stride; give --stride an odd number that divides the images' sides, or leave --views out",
        ));
    }
    Ok(lines)
}

/// Whether a side seen in a mirror has its lines in the same places.
fn mirrored(lines: &[usize], side: usize) -> bool {
    lines.iter().rev().map(|line| side - 1 - line).eq(lines.iter().copied())
}

fn score(
    tile: &Tile,
    labels: &LabelMap,
    counts: PixelCounts,
    milliseconds: f64,
) -> Result<TileScores> {
    let objects = score_objects(labels, &tile.labels)?;
    Ok(TileScores { name: tile.name.clone(), pixels: counts.scores(), objects, milliseconds })
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

fn summarise(
    arguments: &EvaluateArguments,
    model: &Model,
    counts: &PixelCounts,
    tiles: Vec<TileScores>,
) -> Evaluation {
    Evaluation {
        model: arguments.model.clone(),
        parameters: model.graph().parameters(),
        pruning_ratio: model.card().pruning_ratio,
        pooled: counts.scores(),
        mean_aji: mean(tiles.iter().map(|t| t.objects.aji)),
        mean_aji_plus: mean(tiles.iter().map(|t| t.objects.aji_plus)),
        mean_pq: mean(tiles.iter().map(|t| t.objects.pq)),
        mean_dice: mean(tiles.iter().map(|t| t.pixels.dice)),
        milliseconds: tiles.iter().map(|t| t.milliseconds).sum(),
        tiles,
    }
}

fn describe(e: &Evaluation) -> String {
    let number = |v: Option<f64>| v.map_or("    –".to_owned(), |v| format!("{v:.3}"));
    let row = |name: &str, p: &PixelScores, aji: Option<f64>, pq: Option<f64>| {
        let columns = [
            p.sensitivity,
            p.specificity,
            p.precision,
            p.dice,
            p.accuracy,
            p.cross_entropy,
            aji,
            pq,
        ]
        .map(number);
        format!("{name:<32} {}\n", columns.map(|c| format!("{c:>6}")).join(" "))
    };
    let mut text =
        format!("{:<32}   sens   spec   prec   Dice    acc    CE    AJI     PQ\n", "tile");
    e.tiles.iter().for_each(|t| text += &row(&t.name, &t.pixels, t.objects.aji, t.objects.pq));
    text += &row("all pixels (AJI, PQ: mean)", &e.pooled, e.mean_aji, e.mean_pq);
    let (tiles, seconds) = (e.tiles.len(), e.milliseconds / 1000.0);
    text += &(format!("{} parameters, {seconds:.2} s for {tiles} tiles", e.parameters) + "\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SegmentOptions;
    use crate::model::Architecture;

    #[test]
    fn only_odd_strides_that_divide_a_side_answer_the_same_pixels_in_a_mirror() {
        let model = Model::random(Architecture::paper_dccn(), 1).expect("model");
        let meets = |stride: usize, side: usize| {
            let options = SegmentOptions { stride, block_px: None };
            mirrored(&options.computed_lines(&model, side, side)[0], side)
        };
        assert!(meets(1, 1000) && meets(25, 1000) && meets(5, 35));
        assert!(!meets(16, 1000) && !meets(8, 1000) && !meets(3, 1000));
    }
}
