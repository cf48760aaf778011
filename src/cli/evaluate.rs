//! `prunella evaluate`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::engine::{EngineArguments, ImageRunner, ViewArguments};
use super::labels::{LabelArguments, evaluate_labels};
use super::output::Output;
use super::output_files::{check_outputs, check_results};
use super::segment::write_pictures;
use super::tiles::{LoadedTiles, NO_TILES, TileArguments, load, note_other_pixel_sizes};
use crate::dataset::Tile;
use crate::engine::Block;
use crate::error::{Error, ErrorContext as _, Result, counted};
use crate::instances::{classes_by_label, draw_nuclei, label_nuclei, measure_nuclei, type_bytes};
use crate::metrics::{
    ObjectScores, PixelCounts, PixelScores, TypeCounts, TypeScores, match_objects, score_objects,
};
use crate::model::{FileLimits, Model, NucleusType, stored_precision};
use crate::platform::read_file;
use crate::raster::{LabelMap, ProbabilityMap};
use crate::whole_slide::{Sampling, SlideNucleus};

/// Options that have no meaning for what a person marked.
const OF_TILES_ONLY: [&str; 4] = ["split", "tiles", "licence", "in_place"];

/// Score a model on labelled tiles, or on what a person marked.
///
/// With --stride, pixel scores are over the pixels that the network evaluated, and object scores
/// are of the interpolated map. Tiles of another pixel size than the model's are resampled for the
/// network and scored at their own size, all pixels of them.
#[derive(Debug, Args)]
#[command(mut_arg("data", |data| data.required(false).required_unless_present("labels")))]
#[command(mut_arg("labels", |labels| labels.conflicts_with_all(OF_TILES_ONLY)))]
#[command(after_help = "Examples:
  prunella evaluate --model models/paper-00.safetensors --data kumar --split test
  prunella evaluate --model m.safetensors --data my-tiles --out pictures --json
  prunella evaluate --model m.safetensors --data kumar --data tnbc --data nuinsseg
  prunella evaluate --model m.safetensors --data my-tiles --record mine --in-place
  prunella evaluate --model m.safetensors --labels corrections.geojson --image biopsy.svs")]
pub(super) struct EvaluateArguments {
    /// A model file (.safetensors).
    #[arg(long, short)]
    model: PathBuf,
    #[command(flatten)]
    tiles: TileArguments,
    #[command(flatten)]
    labels: LabelArguments,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    views: ViewArguments,
    /// Write probability maps, masks and overlays into this folder; with --record also a copy of
    /// the model.
    #[arg(long, short, conflicts_with = "labels")]
    out: Option<PathBuf>,
    /// Write the pooled scores into the model's card under this name, with --out in a copy of the
    /// model there, with --in-place in the model itself.
    #[arg(long, value_name = "NAME", conflicts_with = "labels")]
    record: Option<String>,
    /// With --record: change the model file.
    #[arg(long, requires = "record")]
    in_place: bool,
}

#[derive(Debug, Serialize)]
struct TileScores {
    name: String,
    /// The data set.
    set: String,
    /// A tile without is in no mean.
    labelled_nuclei: usize,
    pixels: PixelScores,
    objects: ObjectScores,
    milliseconds: f64,
}

#[derive(Debug, Serialize)]
struct Evaluation {
    model: PathBuf,
    parameters: usize,
    pruning_ratio: f64,
    /// Over all tiles.
    #[serde(flatten)]
    all: Summary,
    /// Of the network, over all tiles.
    milliseconds: f64,
    sets: Vec<SetScores>,
    tiles: Vec<TileScores>,
}

/// Scores over some tiles.
#[derive(Debug, Serialize)]
struct Summary {
    /// All pixels of all tiles together.
    pooled: PixelScores,
    /// Means over the tiles with labelled nuclei; objects are found with the card's parameters.
    mean_aji: Option<f64>,
    mean_aji_plus: Option<f64>,
    mean_pq: Option<f64>,
    mean_dq: Option<f64>,
    mean_sq: Option<f64>,
    mean_dice: Option<f64>,
    /// Number of tiles in no mean.
    tiles_without_nuclei: usize,
    /// Of all tiles whose nuclei have types, where the model tells types apart.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    typed: Option<TypedScores>,
}

/// Scores of types of nuclei, all tiles together.
#[derive(Debug, Serialize)]
struct TypedScores {
    /// By name.
    types: BTreeMap<String, TypeScores>,
    /// Mean PQ of the types that occur.
    multi_class_pq: Option<f64>,
    /// Share of the matched nuclei whose type is right.
    type_accuracy: Option<f64>,
}

impl TypedScores {
    /// Of tiles whose counts are given for each of `types`.
    fn of(types: &[NucleusType], tiles: &[TileCounts]) -> Option<Self> {
        let mut counts: Option<Vec<TypeCounts>> = None;
        for tile in tiles.iter().filter(|tile| !tile.types.is_empty()) {
            let sums = counts.get_or_insert_with(|| vec![TypeCounts::default(); types.len()]);
            for (sum, of_tile) in sums.iter_mut().zip(&tile.types) {
                *sum = sum.plus(*of_tile);
            }
        }
        let counts = counts?;
        let mut by_name = BTreeMap::new();
        let mut all = TypeCounts::default();
        for (NucleusType { name, .. }, counts) in types.iter().zip(counts) {
            by_name.insert(name.clone(), counts.scores());
            all = all.plus(counts);
        }
        let known: Vec<f64> = by_name.values().filter_map(|scores| scores.pq).collect();
        Some(Self {
            multi_class_pq: mean_of(&known),
            type_accuracy: (all.matched > 0).then(|| all.right as f64 / all.matched as f64),
            types: by_name,
        })
    }
}

/// What is counted in a tile.
struct TileCounts {
    pixels: PixelCounts,
    /// Of each type of the model; empty where the tile or the model has none.
    types: Vec<TypeCounts>,
}

/// Scores of a data set.
#[derive(Debug, Serialize)]
struct SetScores {
    name: String,
    /// Number of its tiles.
    tile_count: usize,
    #[serde(flatten)]
    scores: Summary,
}

impl Summary {
    /// Over the tiles of some scores and counts.
    fn of(tiles: &[TileScores], counts: &[TileCounts], types: &[NucleusType]) -> Self {
        let mut pooled = PixelCounts::default();
        for counts in counts {
            pooled = pooled.plus(counts.pixels);
        }
        Self {
            pooled: pooled.scores(),
            mean_aji: mean(tiles, |t| t.objects.aji),
            mean_aji_plus: mean(tiles, |t| t.objects.aji_plus),
            mean_pq: mean(tiles, |t| t.objects.pq),
            mean_dq: mean(tiles, |t| t.objects.dq),
            mean_sq: mean(tiles, |t| t.objects.sq),
            mean_dice: mean(tiles, |t| t.pixels.dice),
            tiles_without_nuclei: tiles.iter().filter(|t| t.labelled_nuclei == 0).count(),
            typed: TypedScores::of(types, counts),
        }
    }

    fn recorded(&self, tiles: usize) -> RecordedScores {
        RecordedScores {
            pixels: self.pooled,
            aji: self.mean_aji,
            aji_plus: self.mean_aji_plus,
            pq: self.mean_pq,
            multi_class_pq: self.typed.as_ref().and_then(|typed| typed.multi_class_pq),
            tiles,
        }
    }
}

/// What is scored of a tile, at its own size.
struct Prediction {
    /// Of a pixel being nucleus.
    map: ProbabilityMap,
    labels: LabelMap,
    /// Place of the type of each object, by its label; empty where the model tells none apart.
    classes: BTreeMap<u32, usize>,
    /// Rows and columns whose crossings are scored pixel by pixel.
    lines: [Vec<usize>; 2],
    /// Of the network.
    milliseconds: f64,
}

/// Scores in a model's card.
#[derive(Serialize)]
struct RecordedScores {
    pixels: PixelScores,
    aji: Option<f64>,
    aji_plus: Option<f64>,
    pq: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_class_pq: Option<f64>,
    /// Number of tiles, with those that have no nuclei.
    tiles: usize,
}

/// `prunella evaluate`.
pub(super) fn evaluate(arguments: &EvaluateArguments, output: Output) -> Result<CommandOutcome> {
    if arguments.labels.are_given() {
        let EvaluateArguments { model, labels, engine, views, .. } = arguments;
        return evaluate_labels(model, labels, engine, *views, output);
    }
    let recorded_model = arguments.recorded_model()?;
    let mut model = Model::load(&arguments.model)?;
    let LoadedTiles { tiles, sets } = load(&arguments.tiles, output)?;
    if tiles.is_empty() {
        output.remark(NO_TILES);
        output.result(&json!({ "tiles": [] }), "")?;
        return Ok(CommandOutcome::Nothing);
    }
    arguments.check_pictures(&tiles)?;
    let segmenter = arguments.engine.open(Arc::new(model.clone()), output)?;
    let runner = ImageRunner {
        segmenter: &segmenter,
        how: &arguments.engine,
        views: arguments.views,
        output,
    };
    let threshold = arguments.engine.pixel_threshold();
    let types = NucleusType::among(&model.card().classes);
    let mut all_counts = Vec::new();
    let mut scores = Vec::new();
    let mut set_scores = Vec::new();
    for set in sets {
        let first = scores.len();
        let what_is_done = "they are resampled for the network and scored at their own size";
        note_other_pixel_sizes(&set, &tiles, model.card().mpp_um, what_is_done, output);
        for tile in &tiles[set.tiles] {
            let prediction = predict(arguments, &runner, tile).at(&tile.name)?;
            let truth = tile.labels.foreground();
            let counts =
                PixelCounts::on_lines(&prediction.map, &truth, &prediction.lines, threshold)?;
            let objects = score_objects(&prediction.labels, &tile.labels)?;
            let types = type_counts(&types, &prediction, tile)?;
            all_counts.push(TileCounts { pixels: counts, types });
            scores.push(TileScores {
                name: tile.name.clone(),
                set: set.name.clone(),
                labelled_nuclei: objects.true_objects,
                pixels: counts.scores(),
                objects,
                milliseconds: prediction.milliseconds,
            });
            if let Some(folder) = &arguments.out {
                let Prediction { map, labels, .. } = &prediction;
                write_pictures(folder, &tile.name, &tile.image, map, labels)?;
            }
        }
        let own = &scores[first..];
        if !own.is_empty() {
            set_scores.push(SetScores {
                name: set.name,
                tile_count: own.len(),
                scores: Summary::of(own, &all_counts[first..], &types),
            });
        }
    }
    let evaluation = Evaluation {
        model: arguments.model.clone(),
        parameters: model.graph().parameters(),
        pruning_ratio: model.card().pruning_ratio,
        all: Summary::of(&scores, &all_counts, &types),
        milliseconds: scores.iter().map(|t| t.milliseconds).sum(),
        sets: set_scores,
        tiles: scores,
    };
    remark_empty_tiles(&evaluation, output);
    if let (Some(name), Some(file)) = (&arguments.record, &recorded_model) {
        let metrics = &mut model.card_mut().metrics;
        metrics.insert(name.clone(), json!(evaluation.all.recorded(tiles.len())));
        if evaluation.sets.len() > 1 {
            for set in &evaluation.sets {
                let recorded = set.scores.recorded(set.tile_count);
                metrics.insert(format!("{name} ({})", set.name), json!(recorded));
            }
        }
        let read = read_file(&arguments.model, FileLimits::default().max_bytes)?;
        model.save(file, stored_precision(&read)?)?;
        output.remark(&format!("The scores are recorded in {}", file.display()));
    }
    output.result(&evaluation, &describe(&evaluation))?;
    Ok(CommandOutcome::Done)
}

impl EvaluateArguments {
    /// The file of the model with recorded scores, if any is requested and can be written.
    fn recorded_model(&self) -> Result<Option<PathBuf>> {
        if self.record.is_none() {
            return Ok(None);
        }
        if self.in_place {
            check_outputs(std::slice::from_ref(&self.model), &[])?;
            return Ok(Some(self.model.clone()));
        }
        let name = self.model.file_name().unwrap_or_default();
        let Some(file) = self.out.as_ref().map(|folder| folder.join(name)) else {
            return Err(Error::invalid(
                "--record writes scores into a model: give --out FOLDER for a copy with them, or \
                 --in-place to change the model itself",
            ));
        };
        check_outputs(std::slice::from_ref(&file), std::slice::from_ref(&self.model))?;
        Ok(Some(file))
    }

    /// Refuses pictures that cannot be written or would replace what is no result.
    fn check_pictures(&self, tiles: &[Tile]) -> Result<()> {
        let Some(folder) = &self.out else { return Ok(()) };
        let mut pictures = Vec::new();
        for tile in tiles {
            for what in ["probability", "mask", "overlay"] {
                pictures.push(folder.join(format!("{}.{what}.png", tile.name)));
            }
        }
        check_results(&pictures, std::slice::from_ref(&self.model))
    }
}

/// Segments a tile at the model's pixel size and brings the result to the tile's own, as `segment`
/// does.
fn predict(
    arguments: &EvaluateArguments,
    runner: &ImageRunner<'_>,
    tile: &Tile,
) -> Result<Prediction> {
    let model = runner.segmenter.model();
    let parameters = arguments.engine.instances(model);
    let model_mpp = model.card().mpp_um;
    let (width, height) = (tile.image.width(), tile.image.height());
    let own_mpp = tile.mpp_um.unwrap_or(model_mpp);
    let sampling = Sampling::of_image((width, height), own_mpp, model_mpp)?;
    if sampling.is_same() {
        let lines = computed_lines(arguments, model, tile)?;
        let run = runner.run(&tile.image, &tile.name)?;
        let (labels, _) = label_nuclei(&run.map, &parameters)?;
        let mut classes = BTreeMap::new();
        for (label, class) in (0u32..).zip(classes_by_label(&labels, &type_bytes(&run.map))) {
            classes.extend(class.map(|class| (label, usize::from(class))));
        }
        let map = run.map.nucleus().clone();
        return Ok(Prediction { map, labels, classes, lines, milliseconds: run.milliseconds });
    }
    let whole = Block { row: 0, column: 0, width: sampling.width(), height: sampling.height() };
    let work = sampling.apply(tile.image.clone(), whole)?;
    let run = runner.run(&work, &tile.name)?;
    let (labels, smooth) = label_nuclei(&run.map, &parameters)?;
    let mut placed = Vec::new();
    let mut classes = BTreeMap::new();
    let types = type_bytes(&run.map);
    for nucleus in measure_nuclei(&work, &labels, &smooth, &types, &parameters, None)? {
        let label = nucleus.label;
        classes.extend(nucleus.class.map(|class| (label, usize::from(class))));
        placed.push(SlideNucleus::new(&nucleus, 0, 0, sampling.scale).numbered(label));
    }
    Ok(Prediction {
        map: run.map.nucleus().nearest(width, height),
        labels: draw_nuclei(&placed, width, height),
        classes,
        lines: [(0..height).collect(), (0..width).collect()],
        milliseconds: run.milliseconds,
    })
}

/// Counts of each type of the model; none where the tile's nuclei have no types.
fn type_counts(
    types: &[NucleusType],
    prediction: &Prediction,
    tile: &Tile,
) -> Result<Vec<TypeCounts>> {
    if types.is_empty() || tile.object_types.is_empty() {
        return Ok(Vec::new());
    }
    let mut truth = BTreeMap::new();
    for (label, name) in &tile.object_types {
        let place = types.iter().position(|of| of.name == *name);
        truth.extend(place.map(|place| (*label, place)));
    }
    let matching = match_objects(&prediction.labels, &tile.labels)?;
    Ok(TypeCounts::of_tile(types.len(), &matching, &truth, &prediction.classes))
}

/// Notes that tiles without nuclei are in no mean, and what was found in them.
fn remark_empty_tiles(evaluation: &Evaluation, output: Output) {
    let mut empty = Vec::new();
    for tile in &evaluation.tiles {
        if tile.labelled_nuclei == 0 {
            empty.push(format!("{} ({} found)", tile.name, tile.objects.predicted_objects));
        }
    }
    if !empty.is_empty() {
        output.remark(&format!(
            "No nucleus is labelled in {} of {} tiles, which are left out of the means of AJI, PQ \
             and Dice: {}",
            empty.len(),
            evaluation.tiles.len(),
            empty.join(", ")
        ));
    }
}

/// Rows and columns whose crossings the model computes; they must be the same in every view.
fn computed_lines(
    arguments: &EvaluateArguments,
    model: &Model,
    tile: &Tile,
) -> Result<[Vec<usize>; 2]> {
    let width = tile.image.width();
    let height = tile.image.height();
    let lines = arguments.engine.options()?.computed_lines(model, width, height);
    let symmetric = is_symmetric(&lines[0], height) && is_symmetric(&lines[1], width);
    if arguments.views.several() && !symmetric {
        return Err(Error::mismatch(
            "Mirrored views evaluate other pixels at this stride; give --stride an odd number \
             that divides the images' sides, or leave --views out",
        ));
    }
    Ok(lines)
}

/// Whether mirroring a side of that length leaves its grid lines in place.
fn is_symmetric(lines: &[usize], side: usize) -> bool {
    let mirrored = lines.iter().rev().map(|line| side - 1 - line);
    mirrored.eq(lines.iter().copied())
}

/// Mean over the tiles that have nuclei and the score.
fn mean(tiles: &[TileScores], score: fn(&TileScores) -> Option<f64>) -> Option<f64> {
    let with_nuclei = tiles.iter().filter(|tile| tile.labelled_nuclei > 0);
    let known: Vec<f64> = with_nuclei.filter_map(score).collect();
    mean_of(&known)
}

fn mean_of(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn describe(e: &Evaluation) -> String {
    let mut text =
        format!("{:<32}   sens   spec   prec   Dice    acc    CE    AJI     PQ\n", "tile");
    for tile in &e.tiles {
        text += &table_row(&tile.name, &tile.pixels, tile.objects.aji, tile.objects.pq);
    }
    text += &table_row("all pixels (AJI, PQ: mean)", &e.all.pooled, e.all.mean_aji, e.all.mean_pq);
    if e.sets.len() > 1 {
        text += &set_table(e);
    }
    if let Some(typed) = &e.all.typed {
        text += &type_table(typed);
    }
    text += &format!(
        "{} parameters, {:.2} s for {}\n",
        e.parameters,
        e.milliseconds / 1000.0,
        counted(e.tiles.len(), "tile", "tiles")
    );
    text
}

/// A row for each data set: pixel scores of all pixels together, means of object scores.
fn set_table(e: &Evaluation) -> String {
    let mut text = format!(
        "\n{:<26} tiles   sens   prec   Dice    acc    AJI   AJI+     PQ     DQ     SQ\n",
        "data set"
    );
    for set in &e.sets {
        let Summary { pooled, mean_aji, mean_aji_plus, mean_pq, mean_dq, mean_sq, .. } =
            &set.scores;
        text += &format!("{:<26} {:>5}", set.name, set.tile_count);
        for score in [
            &pooled.sensitivity,
            &pooled.precision,
            &pooled.dice,
            &pooled.accuracy,
            mean_aji,
            mean_aji_plus,
            mean_pq,
            mean_dq,
            mean_sq,
        ] {
            text += &score_text(*score);
        }
        text.push('\n');
    }
    text
}

/// A row for each type of nuclei, and their mean.
fn type_table(typed: &TypedScores) -> String {
    let TypedScores { types, multi_class_pq, type_accuracy } = typed;
    let mut text = format!("\n{:<26}  true  found     PQ     DQ     SQ\n", "type of nuclei");
    for (name, scores) in types {
        let TypeScores { true_objects, predicted_objects, dq, sq, pq } = scores;
        text += &format!("{name:<26} {true_objects:>5}  {predicted_objects:>5}");
        for score in [pq, dq, sq] {
            text += &score_text(*score);
        }
        text.push('\n');
    }
    let accuracy = score_text(*type_accuracy);
    text += &format!("{:<39}{}\n", "mean", score_text(*multi_class_pq));
    text += &format!("type of matched nuclei right:{accuracy}\n\n");
    text
}

/// Seven columns; a dash where there is no score.
fn score_text(score: Option<f64>) -> String {
    let number = score.map_or("–".to_owned(), |v| format!("{v:.3}"));
    format!(" {number:>6}")
}

fn table_row(name: &str, pixels: &PixelScores, aji: Option<f64>, pq: Option<f64>) -> String {
    let scores = [
        pixels.sensitivity,
        pixels.specificity,
        pixels.precision,
        pixels.dice,
        pixels.accuracy,
        pixels.cross_entropy,
        aji,
        pq,
    ];
    let mut row = format!("{name:<32}");
    for score in scores {
        row += &score_text(score);
    }
    row + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SegmentOptions;
    use crate::model::Architecture;

    #[test]
    fn only_odd_strides_that_divide_a_side_answer_the_same_pixels_in_a_mirror() {
        let model = Model::random(Architecture::paper_dccn(), 1).expect("model");
        let symmetric = |stride: usize, side: usize| {
            let options = SegmentOptions { stride, block_px: None };
            is_symmetric(&options.computed_lines(&model, side, side)[0], side)
        };
        assert!(symmetric(1, 1000) && symmetric(25, 1000) && symmetric(5, 35));
        assert!(!symmetric(16, 1000) && !symmetric(8, 1000) && !symmetric(3, 1000));
    }
}
