//! How much better a model gets by a few corrections: `cargo xtask bench teach`.
//!
//! A simulated person looks at what a model finds on tiles that it never saw and corrects the k
//! largest errors: a nucleus that was missed or has a wrong shape is drawn, one that is none is
//! rejected, several that were taken as one are drawn apart. The model is taught, and scored on
//! other tiles of the same source and on tiles of its own test set.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a benchmark prints, and stops when it cannot measure"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use prunella::dataset::{
    LabelMark, LabelScale, SparseLabels, Tile, discover, load_tile, tissue_crops,
};
use prunella::engine::{Block, Control, CpuEngine, SegmentOptions};
use prunella::instances::label_nuclei;
use prunella::metrics::{PixelCounts, match_objects, score_objects};
use prunella::model::Model;
use prunella::outlines::trace_labels;
use prunella::raster::{LabelMap, PixelGrid, Polygon, RgbImage, StainMode, StainStatistics};
use prunella::train::{TaughtImage, TeachJob, TeachRecipe, teach};

/// Threshold of pixel scores.
const THRESHOLD: f32 = 0.5;
/// A found object of which less than this share is nucleus is rejected.
const FALSE_SHARE: f64 = 0.2;

/// Tiles of one sort of tissue.
struct Source {
    name: &'static str,
    /// Data set.
    set: &'static str,
    /// Parts of names of its tiles.
    tiles: &'static [&'static str],
}

/// On these the recipe was chosen.
const TUNING: [Source; 4] = [
    Source {
        name: "breast",
        set: "kumar",
        tiles: &["A7-A13E", "A7-A13F", "AR-A1AK", "AR-A1AS", "E2-A1B5", "E2-A14V"],
    },
    Source {
        name: "liver",
        set: "kumar",
        tiles: &["18-5592", "21-5784", "21-5786", "38-6178", "49-4488", "50-5931"],
    },
    Source { name: "tnbc 02", set: "tnbc", tiles: &["02_"] },
    Source { name: "tnbc 03", set: "tnbc", tiles: &["03_"] },
];

/// On these it is scored.
const SCORING: [Source; 9] = [
    Source {
        name: "kidney",
        set: "kumar",
        tiles: &["B0-5698", "B0-5710", "B0-5711", "HE-7128", "HE-7129", "HE-7130"],
    },
    Source {
        name: "prostate",
        set: "kumar",
        tiles: &["G9-6336", "G9-6348", "G9-6356", "G9-6362", "G9-6363", "CH-5767"],
    },
    Source { name: "bladder", set: "kumar", tiles: &["DK-A2I6", "G2-A2EK"] },
    Source { name: "colon", set: "kumar", tiles: &["AY-A8YK", "NH-A8F7"] },
    Source { name: "stomach", set: "kumar", tiles: &["KB-A93J", "RD-A8N9"] },
    Source { name: "tnbc 04", set: "tnbc", tiles: &["04_"] },
    Source { name: "tnbc 05", set: "tnbc", tiles: &["05_"] },
    Source { name: "tnbc 07", set: "tnbc", tiles: &["07_"] },
    Source { name: "tnbc 08", set: "tnbc", tiles: &["08_"] },
];

/// What a model is asked to do.
struct Options {
    data: PathBuf,
    models: Vec<PathBuf>,
    sources: Vec<&'static Source>,
    corrections: Vec<usize>,
    seeds: u64,
    recipe: TeachRecipe,
    /// Every nucleus of the tiles that are corrected, too.
    full: bool,
    forgetting: bool,
    rehearse: bool,
    /// Most tiles that a source is scored on.
    scored: usize,
    border_um: f64,
    /// Shares of the taught weights in a mean with those before, to compare.
    blends: Vec<f32>,
}

fn options() -> Options {
    let mut options = Options {
        data: PathBuf::from("target/data"),
        models: Vec::new(),
        sources: SCORING.iter().collect(),
        corrections: vec![5, 10, 30, 100],
        seeds: 3,
        recipe: TeachRecipe::DEFAULT,
        full: false,
        forgetting: false,
        rehearse: false,
        scored: 3,
        border_um: 0.75,
        blends: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--data" => options.data = value().into(),
            "--model" => options.models.push(value().into()),
            "--tuning" => options.sources = TUNING.iter().collect(),
            "--set" => {
                let set = value();
                options.sources.retain(|source| source.set == set);
            }
            "--source" => {
                let name = value();
                options.sources.retain(|source| source.name == name);
            }
            "--k" => {
                options.corrections = value().split(',').map(|k| k.parse().unwrap()).collect();
            }
            "--seeds" => options.seeds = value().parse().unwrap(),
            "--scored" => options.scored = value().parse().unwrap(),
            "--blend" => {
                options.blends = value().split(',').map(|k| k.parse().unwrap()).collect();
            }
            "--full" => options.full = true,
            "--forgetting" => options.forgetting = true,
            "--rehearse" => options.rehearse = true,
            // Settings of the recipe, as JSON.
            "--recipe" => {
                let mut recipe = serde_json::json!(options.recipe);
                let changes: BTreeMap<String, serde_json::Value> =
                    serde_json::from_str(&value()).unwrap();
                for (name, value) in changes {
                    recipe[name] = value;
                }
                options.recipe = serde_json::from_value(recipe).unwrap();
            }
            _ => {}
        }
    }
    options
}

/// A tile as a model reads it.
struct ReadTile {
    tile: Tile,
    colours: RgbImage,
}

impl ReadTile {
    fn new(tile: Tile, model: &Model) -> Self {
        let stain = StainStatistics::of([&tile.image]);
        let lut = model.card().stain_matching(StainMode::Auto).lut(stain);
        let colours = lut.map_or_else(|| tile.image.clone(), |lut| lut.apply(&tile.image));
        Self { tile, colours }
    }
}

/// What a model says of a tile.
struct Answer {
    labels: LabelMap,
    pixels: PixelCounts,
}

fn answer(model: &Model, tile: &ReadTile) -> Answer {
    let engine = CpuEngine::new(model).unwrap();
    let maps =
        engine.segment(&tile.colours, SegmentOptions::default(), &Control::default()).unwrap();
    let (labels, _) = label_nuclei(&maps, &model.card().instances).unwrap();
    let truth = tile.tile.labels.foreground();
    let rows = (0..truth.height()).collect();
    let columns = (0..truth.width()).collect();
    let pixels =
        PixelCounts::on_lines(maps.nucleus(), &truth, &[rows, columns], THRESHOLD).unwrap();
    Answer { labels, pixels }
}

/// Mean Dice and AJI over tiles.
fn scores(model: &Model, tiles: &[&ReadTile]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for tile in tiles {
        let answer = answer(model, tile);
        let objects = score_objects(&answer.labels, &tile.tile.labels).unwrap();
        sums[0] += answer.pixels.scores().dice.unwrap_or(0.0);
        sums[1] += objects.aji.unwrap_or(0.0);
    }
    sums.map(|sum| sum / tiles.len() as f64)
}

/// A correction and the number of pixels that were wrong.
struct Correction {
    tile: usize,
    wrong_px: u64,
    marks: Vec<LabelMark>,
}

fn outlines(labels: &LabelMap) -> BTreeMap<u32, Vec<Polygon>> {
    let mut polygons = BTreeMap::new();
    for object in trace_labels(labels).objects {
        let label = object.id.and_then(|id| id.parse().ok()).unwrap();
        polygons.insert(label, object.polygons);
    }
    polygons
}

/// All errors of an answer.
fn corrections(number: usize, answer: &Answer, truth: &LabelMap) -> Vec<Correction> {
    let found = &answer.labels;
    let mut areas: [BTreeMap<u32, u64>; 2] = Default::default();
    let mut overlaps: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for (&t, &p) in truth.data().iter().zip(found.data()) {
        *areas[0].entry(t).or_default() += 1;
        *areas[1].entry(p).or_default() += 1;
        *overlaps.entry((t, p)).or_default() += 1;
    }
    let true_outlines = outlines(truth);
    let found_outlines = outlines(found);
    let nucleus = |t: u32| LabelMark::Nucleus { class: None, polygons: true_outlines[&t].clone() };
    let background = |p: u32| LabelMark::Background { polygons: found_outlines[&p].clone() };
    let matching = match_objects(found, truth).unwrap();
    let mut all = Vec::new();
    let mut drawn = Vec::new();
    let mut replaced = Vec::new();
    for &p in areas[1].keys().filter(|&&p| p > 0) {
        let mut inside = Vec::new();
        for (&(t, _), &pixels) in overlaps.iter().filter(|((t, of), _)| *of == p && *t > 0) {
            if 2 * pixels > areas[0][&t] {
                inside.push((t, pixels));
            }
        }
        if inside.len() >= 2 {
            let largest = inside.iter().map(|(_, pixels)| *pixels).max().unwrap_or(0);
            let mut marks = vec![background(p)];
            for (t, _) in &inside {
                marks.push(nucleus(*t));
                drawn.push(*t);
            }
            replaced.push(p);
            all.push(Correction { tile: number, wrong_px: areas[1][&p] - largest, marks });
        }
    }
    for &p in &matching.extra {
        let on_truth = areas[1][&p] - overlaps.get(&(0, p)).copied().unwrap_or(0);
        if (on_truth as f64) < FALSE_SHARE * areas[1][&p] as f64 {
            let marks = vec![background(p)];
            replaced.push(p);
            all.push(Correction { tile: number, wrong_px: areas[1][&p], marks });
        }
    }
    for &t in matching.missed.iter().filter(|t| !drawn.contains(t)) {
        let mut wrong_px = areas[0][&t];
        let mut marks = vec![];
        // An object of a wrong shape is replaced.
        let of_it = overlaps.range((t, 1)..=(t, u32::MAX));
        if let Some((&(_, p), &pixels)) = of_it.max_by_key(|(_, pixels)| **pixels)
            && matching.extra.contains(&p)
            && !replaced.contains(&p)
        {
            wrong_px = areas[0][&t] + areas[1][&p] - 2 * pixels;
            marks.push(background(p));
        }
        marks.push(nucleus(t));
        all.push(Correction { tile: number, wrong_px, marks });
    }
    all
}

/// All nuclei of a tile in a complete frame.
fn full_labels(tile: &Tile) -> SparseLabels {
    let (width, height) = (tile.image.width() as f64, tile.image.height() as f64);
    let corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
    let frame = corners.map(|(x, y)| prunella::raster::Point { x, y }).to_vec();
    let mut marks = vec![LabelMark::Complete { polygons: vec![vec![frame]] }];
    for polygons in outlines(&tile.labels).into_values() {
        marks.push(LabelMark::Nucleus { class: None, polygons });
    }
    SparseLabels { marks }
}

fn taught_image(
    options: &Options,
    model: &Model,
    tile: &ReadTile,
    labels: &SparseLabels,
) -> TaughtImage {
    let (width, height) = (tile.colours.width(), tile.colours.height());
    let grid = PixelGrid { left: 0.0, top: 0.0, step: 1.0, width, height };
    let card = model.card();
    let scale = LabelScale {
        classes: &card.classes,
        mpp_um: card.mpp_um,
        border_um: card.border_um.unwrap_or(options.border_um),
    };
    TaughtImage {
        name: tile.tile.name.clone(),
        sha256: tile.tile.sha256.clone(),
        image: tile.colours.clone(),
        targets: labels.draw(&grid, &scale).unwrap(),
        inside: Block { row: 0, column: 0, width, height },
    }
}

/// The mean of two models of one network.
fn blended(before: &Model, after: &Model, share: f32) -> Model {
    let mut weights = before.weights().clone();
    for (array, taught) in weights.values_mut().zip(after.weights().values()) {
        for (value, taught) in array.data.iter_mut().zip(&taught.data) {
            *value += (taught - *value) * share;
        }
    }
    before.with_weights(weights).unwrap()
}

fn load(data: &Path, set: &str, parts: &[&str], model: &Model) -> Vec<ReadTile> {
    let folder = discover(&data.join(set)).unwrap();
    let mut tiles = Vec::new();
    for files in &folder.tiles {
        if parts.iter().any(|part| files.name.contains(part)) {
            let (tile, _) = load_tile(files).unwrap();
            tiles.push(ReadTile::new(tile.at_pixel_size(0.25).unwrap(), model));
        }
    }
    tiles
}

/// One taught model.
struct Outcome {
    k: usize,
    gains: [f64; 2],
    forgotten: f64,
    seconds: f64,
    best_step: u64,
}

/// The tiles of a model's own test set that show what it forgets.
fn own_tiles(options: &Options, path: &Path, model: &Model) -> Vec<ReadTile> {
    let is_open = path.to_string_lossy().contains("open");
    if is_open {
        let mut tiles = load(&options.data, "tnbc", &["07_2", "08_3", "08_4"], model);
        tiles.extend(
            tissue_crops::held_out().unwrap().into_iter().map(|tile| ReadTile::new(tile, model)),
        );
        return tiles;
    }
    load(&options.data, "kumar", &["21-5784", "NH-A8F7", "RD-A8N9"], model)
}

fn main() {
    let options = options();
    println!("recipe {}", serde_json::json!(options.recipe));
    for path in &options.models {
        bench(&options, path);
    }
}

fn bench(options: &Options, path: &Path) {
    let model = Model::load(path).unwrap();
    let is_open = path.to_string_lossy().contains("open");
    let own = if options.forgetting { own_tiles(options, path, &model) } else { Vec::new() };
    let own: Vec<&ReadTile> = own.iter().collect();
    let own_before = if own.is_empty() { 0.0 } else { scores(&model, &own)[0] };
    let mut rehearsal = Vec::new();
    if options.rehearse {
        rehearsal.extend(tissue_crops::training().unwrap().into_iter().map(|tile| tile.image));
    }
    let mut all: BTreeMap<usize, Vec<Outcome>> = BTreeMap::new();
    for source in &options.sources {
        // A family never saw the other's data.
        if is_open != (source.set == "kumar") {
            continue;
        }
        let tiles = load(&options.data, source.set, source.tiles, &model);
        for seed in 1..=options.seeds {
            let first = (seed as usize - 1) % tiles.len();
            // Tiles of TNBC are a quarter as large.
            let taught_count = if source.set == "tnbc" { tiles.len() / 2 } else { 1 };
            let order: Vec<&ReadTile> =
                (0..tiles.len()).map(|i| &tiles[(first + i) % tiles.len()]).collect();
            let (taught, others) = order.split_at(taught_count);
            let others = &others[..options.scored.min(others.len())];
            let before = scores(&model, others);
            let mut errors = Vec::new();
            for (number, tile) in taught.iter().enumerate() {
                errors.extend(corrections(number, &answer(&model, tile), &tile.tile.labels));
            }
            errors.sort_by_key(|error| std::cmp::Reverse(error.wrong_px));
            let mut counts = options.corrections.clone();
            if options.full {
                counts.push(usize::MAX);
            }
            for k in counts {
                let mut images = Vec::new();
                for (number, tile) in taught.iter().enumerate() {
                    let mut labels = SparseLabels::default();
                    for error in errors.iter().take(k).filter(|error| error.tile == number) {
                        labels.marks.extend(error.marks.iter().cloned());
                    }
                    if k == usize::MAX {
                        labels = full_labels(&tile.tile);
                    }
                    if !labels.marks.is_empty() {
                        images.push(taught_image(options, &model, tile, &labels));
                    }
                }
                let recipe = TeachRecipe { seed, ..options.recipe.clone() };
                let job = TeachJob {
                    start: &model,
                    images: &images,
                    rehearsal: &rehearsal,
                    recipe: &recipe,
                    before: None,
                };
                let began = Instant::now();
                let result = teach(job, &mut |_| true).unwrap();
                let seconds = began.elapsed().as_secs_f64();
                let after = scores(&result.model, others);
                let forgotten =
                    if own.is_empty() { 0.0 } else { own_before - scores(&result.model, &own)[0] };
                let gains = [0, 1].map(|i| after[i] - before[i]);
                println!(
                    "{:<14} {:<9} {seed} k {:>4}: Dice {:.3} {:+.3}  AJI {:.3} {:+.3}  forgotten \
                     {forgotten:+.3}  {seconds:.1} s  step {} of {} marks, {} held back {:?}",
                    path.file_stem().unwrap().to_string_lossy(),
                    source.name,
                    if k == usize::MAX { "all".to_owned() } else { k.to_string() },
                    before[0],
                    gains[0],
                    before[1],
                    gains[1],
                    result.outcome.best_step,
                    result.outcome.learned.marks,
                    result.outcome.held_back.marks,
                    result.outcome.held_back_loss,
                );
                for &share in &options.blends {
                    let mean = blended(&model, &result.model, share);
                    let after = scores(&mean, others);
                    let gains = [0, 1].map(|i| after[i] - before[i]);
                    let mut forgotten = 0.0;
                    if !own.is_empty() {
                        forgotten = own_before - scores(&mean, &own)[0];
                    }
                    println!(
                        "    blend {share}: Dice {:+.3} AJI {:+.3} forgotten {forgotten:+.3}",
                        gains[0], gains[1]
                    );
                }
                all.entry(k).or_default().push(Outcome {
                    k,
                    gains,
                    forgotten,
                    seconds,
                    best_step: result.outcome.best_step,
                });
            }
        }
    }
    print_means(path, &all);
}

/// The means over sources and seeds, by the number of corrections.
fn print_means(path: &Path, all: &BTreeMap<usize, Vec<Outcome>>) {
    for (k, outcomes) in all {
        let mean = |value: &dyn Fn(&Outcome) -> f64| {
            outcomes.iter().map(value).sum::<f64>() / outcomes.len() as f64
        };
        let worst = outcomes.iter().map(|o| o.gains[0]).fold(f64::MAX, f64::min);
        println!(
            "{:<14} mean of {:<3} k {:>4}: Dice {:+.4} (worst {worst:+.3})  AJI {:+.4}  forgotten \
             {:+.4}  {:.1} s  step {:.0}",
            path.file_stem().unwrap().to_string_lossy(),
            outcomes.len(),
            if *k == usize::MAX { "all".to_owned() } else { outcomes[0].k.to_string() },
            mean(&|o| o.gains[0]),
            mean(&|o| o.gains[1]),
            mean(&|o| o.forgotten),
            mean(&|o| o.seconds),
            mean(&|o| o.best_step as f64),
        );
    }
}
