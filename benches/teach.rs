//! How much better a model gets by a few corrections: `cargo xtask bench teach`.
//!
//! A simulated person looks at what a model finds in tissue that it never saw and corrects the k
//! largest errors: a nucleus that was missed or has a wrong shape is drawn, one that is none is
//! rejected, several that were taken as one are drawn apart. With `--accept m` the person also
//! accepts the m right nuclei that are nearest to each mark. The model is taught, and scored on
//! other tissue of the same source and on tiles of the data that it comes from.

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
use prunella::raster::{LabelMap, PixelGrid, Point, Polygon, RgbImage, StainMode, StainStatistics};
use prunella::report::{Curve, CurvePoint, study_curves};
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

/// What is learned from and what is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    /// One half of a large tile and its other half: tissue of the same slide.
    Halves,
    /// Half of a source's tiles and the others.
    Tiles,
}

/// On these the recipe was chosen.
const TUNING: [Source; 6] = [
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
    Source { name: "lung", set: "nuinsseg", tiles: &["human_lung"] },
    Source { name: "liver", set: "nuinsseg", tiles: &["human_liver"] },
];

/// On these it is scored.
const SCORING: [Source; 13] = [
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
    Source { name: "bladder", set: "nuinsseg", tiles: &["human_bladder"] },
    Source { name: "pancreas", set: "nuinsseg", tiles: &["human_pancreas"] },
    Source { name: "spleen", set: "nuinsseg", tiles: &["human_spleen"] },
    Source { name: "tongue", set: "nuinsseg", tiles: &["human_tongue"] },
];

/// Tiles that show what a model forgets that comes from their data set.
const OWN: [(&str, &[&str]); 2] =
    [("tnbc", &["07_2", "08_3", "08_4"]), ("kumar", &["21-5784", "NH-A8F7", "RD-A8N9"])];

/// What models are asked to do.
struct Options {
    data: PathBuf,
    models: Vec<PathBuf>,
    sources: Vec<&'static Source>,
    split: Split,
    corrections: Vec<usize>,
    /// Right nuclei that are accepted beside each mark.
    accepted: usize,
    seeds: u64,
    recipe: TeachRecipe,
    /// Every nucleus of the tissue that is corrected, too.
    full: bool,
    forgetting: bool,
    rehearse: bool,
    /// Most tiles that a source is scored on.
    scored: usize,
    border_um: f64,
    /// Where the curves of all models go.
    curve: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Options {
        data: PathBuf::from("target/data"),
        models: Vec::new(),
        sources: SCORING.iter().collect(),
        split: Split::Halves,
        corrections: vec![5, 10, 30, 100],
        accepted: 0,
        seeds: 3,
        recipe: TeachRecipe::DEFAULT,
        full: false,
        forgetting: false,
        rehearse: false,
        scored: 3,
        border_um: 0.75,
        curve: None,
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
            "--other-tiles" => options.split = Split::Tiles,
            "--k" => {
                options.corrections = value().split(',').map(|k| k.parse().unwrap()).collect();
            }
            "--accept" => options.accepted = value().parse().unwrap(),
            "--seeds" => options.seeds = value().parse().unwrap(),
            "--scored" => options.scored = value().parse().unwrap(),
            "--full" => options.full = true,
            "--forgetting" => options.forgetting = true,
            "--rehearse" => options.rehearse = true,
            "--curve" => options.curve = Some(value().into()),
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

    fn crop(&self, row: usize, column: usize, width: usize, height: usize) -> Self {
        let mut tile = self.tile.clone();
        tile.image = tile.image.crop(row, column, width, height);
        tile.labels = tile.labels.crop(row, column, width, height);
        Self { tile, colours: self.colours.crop(row, column, width, height) }
    }

    /// The half to learn from and the half to be scored on: left and right, lower and upper, or
    /// the other way round.
    fn halves(&self, seed: u64) -> [Self; 2] {
        let (width, height) = (self.colours.width(), self.colours.height());
        let mut halves = if seed % 2 == 1 {
            [self.crop(0, width / 2, width - width / 2, height), self.crop(0, 0, width / 2, height)]
        } else {
            [
                self.crop(0, 0, width, height / 2),
                self.crop(height / 2, 0, width, height - height / 2),
            ]
        };
        if seed % 4 >= 2 {
            halves.reverse();
        }
        halves
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
fn scores(model: &Model, tiles: &[ReadTile]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for tile in tiles {
        let answer = answer(model, tile);
        let objects = score_objects(&answer.labels, &tile.tile.labels).unwrap();
        sums[0] += answer.pixels.scores().dice.unwrap_or(0.0);
        sums[1] += objects.aji.unwrap_or(0.0);
    }
    sums.map(|sum| sum / tiles.len().max(1) as f64)
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

/// Outlines of found nuclei that are right.
fn right_nuclei(answer: &Answer, truth: &LabelMap) -> Vec<LabelMark> {
    let extra = match_objects(&answer.labels, truth).unwrap().extra;
    let mut right = Vec::new();
    for (label, polygons) in outlines(&answer.labels) {
        if !extra.contains(&label) {
            right.push(LabelMark::Nucleus { class: None, polygons });
        }
    }
    right
}

fn middle(mark: &LabelMark) -> Point {
    mark.bounds().centre()
}

/// Accepts the right nuclei that are nearest to each mark.
fn accept_near(marks: &mut Vec<LabelMark>, count: usize, mut right: Vec<LabelMark>) {
    for index in 0..marks.len() {
        let at = middle(&marks[index]);
        let distance = |mark: &LabelMark| {
            let Point { x, y } = middle(mark);
            (x - at.x).hypot(y - at.y)
        };
        right.sort_by(|a, b| distance(b).total_cmp(&distance(a)));
        marks.extend(right.split_off(right.len().saturating_sub(count)));
    }
}

/// All nuclei of a tile in a complete frame.
fn full_labels(tile: &Tile) -> SparseLabels {
    let (width, height) = (tile.image.width() as f64, tile.image.height() as f64);
    let corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
    let frame = corners.map(|(x, y)| Point { x, y }).to_vec();
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

/// Whether a model was trained on tiles of a data set.
fn knows(model: &Model, data: &Path, set: &str) -> bool {
    let Ok(folder) = discover(&data.join(set)) else { return false };
    folder.tiles.iter().any(|tile| model.card().data.iter().any(|known| known.name == tile.name))
}

/// Tiles of the data that a model comes from, which show what it forgets.
fn own_tiles(options: &Options, model: &Model) -> Vec<ReadTile> {
    let mut tiles = Vec::new();
    for (set, names) in OWN {
        if knows(model, &options.data, set) {
            tiles.extend(load(&options.data, set, names, model));
        }
    }
    if knows(model, &options.data, "nuinsseg") {
        let crops = tissue_crops::held_out().unwrap();
        tiles.extend(crops.into_iter().map(|tile| ReadTile::new(tile, model)));
    }
    tiles
}

/// A source for one seed: tissue that is corrected, and tissue that is scored.
struct Trial {
    taught: Vec<ReadTile>,
    others: Vec<ReadTile>,
}

impl Trial {
    fn new(options: &Options, source: &Source, seed: u64, model: &Model) -> Self {
        let mut tiles = load(&options.data, source.set, source.tiles, model);
        let first = (seed as usize - 1) % tiles.len();
        // Only tiles of Kumar's data are large enough to be halved.
        if options.split == Split::Halves && source.set == "kumar" {
            let [taught, other] = tiles[first].halves(seed);
            return Self { taught: vec![taught], others: vec![other] };
        }
        tiles.rotate_left(first);
        let mut others = tiles.split_off(tiles.len() / 2);
        others.truncate(options.scored);
        Self { taught: tiles, others }
    }

    /// All errors, the largest first, and by tile what is right.
    fn errors(&self, model: &Model) -> (Vec<Correction>, Vec<Vec<LabelMark>>) {
        let mut errors = Vec::new();
        let mut right = Vec::new();
        for (number, tile) in self.taught.iter().enumerate() {
            let answer = answer(model, tile);
            errors.extend(corrections(number, &answer, &tile.tile.labels));
            right.push(right_nuclei(&answer, &tile.tile.labels));
        }
        errors.sort_by_key(|error| std::cmp::Reverse(error.wrong_px));
        (errors, right)
    }
}

/// One taught model.
struct Outcome {
    k: usize,
    before: [f64; 2],
    gains: [f64; 2],
    forgotten: f64,
    seconds: f64,
    marks: usize,
}

/// Every nucleus instead of some corrections.
const ALL: usize = usize::MAX;

fn named(k: usize) -> String {
    if k == ALL { "all".to_owned() } else { k.to_string() }
}

fn main() {
    let options = options();
    println!("recipe {}", serde_json::json!(options.recipe));
    let mut curves = Vec::new();
    for path in &options.models {
        let outcomes = bench(&options, path);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        print_means(&name, &outcomes);
        curves.push(curve(name, &outcomes));
        // After every model: large ones take long.
        if let Some(path) = &options.curve {
            let svg = study_curves("corrections + 1", "Dice on other tissue", &curves).unwrap();
            std::fs::write(path, svg).unwrap();
        }
    }
}

fn bench(options: &Options, path: &Path) -> Vec<Outcome> {
    let model = Model::load(path).unwrap();
    let own = if options.forgetting { own_tiles(options, &model) } else { Vec::new() };
    let own_before = scores(&model, &own)[0];
    let mut rehearsal = Vec::new();
    if options.rehearse {
        rehearsal.extend(tissue_crops::training().unwrap().into_iter().map(|tile| tile.image));
    }
    let mut all = Vec::new();
    for source in &options.sources {
        if knows(&model, &options.data, source.set) {
            continue;
        }
        for seed in 1..=options.seeds {
            let trial = Trial::new(options, source, seed, &model);
            let before = scores(&model, &trial.others);
            let (errors, right) = trial.errors(&model);
            let mut counts = options.corrections.clone();
            if options.full {
                counts.push(ALL);
            }
            for k in counts {
                let mut images = Vec::new();
                for (number, tile) in trial.taught.iter().enumerate() {
                    let mut labels = SparseLabels::default();
                    for error in errors.iter().take(k).filter(|error| error.tile == number) {
                        labels.marks.extend(error.marks.iter().cloned());
                    }
                    accept_near(&mut labels.marks, options.accepted, right[number].clone());
                    if k == ALL {
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
                let after = scores(&result.model, &trial.others);
                let outcome = Outcome {
                    k,
                    before,
                    gains: [0, 1].map(|i| after[i] - before[i]),
                    forgotten: own_before - scores(&result.model, &own)[0],
                    seconds,
                    marks: result.outcome.learned.marks,
                };
                println!(
                    "{:<14} {:<9} {seed} k {:>4}: Dice {:.3} {:+.3}  AJI {:.3} {:+.3}  forgotten \
                     {:+.3}  {seconds:.1} s  {} marks",
                    path.file_stem().unwrap().to_string_lossy(),
                    source.name,
                    named(k),
                    before[0],
                    outcome.gains[0],
                    before[1],
                    outcome.gains[1],
                    outcome.forgotten,
                    outcome.marks,
                );
                all.push(outcome);
            }
        }
    }
    all
}

/// Outcomes by the number of corrections.
fn by_count(all: &[Outcome]) -> BTreeMap<usize, Vec<&Outcome>> {
    let mut counts: BTreeMap<usize, Vec<&Outcome>> = BTreeMap::new();
    for outcome in all {
        counts.entry(outcome.k).or_default().push(outcome);
    }
    counts
}

fn mean(outcomes: &[&Outcome], value: impl Fn(&Outcome) -> f64) -> f64 {
    outcomes.iter().map(|outcome| value(outcome)).sum::<f64>() / outcomes.len() as f64
}

/// The means over sources and seeds, as rows of a table.
fn print_means(name: &str, all: &[Outcome]) {
    for (k, outcomes) in by_count(all) {
        let worst = outcomes.iter().map(|outcome| outcome.gains[0]).fold(f64::MAX, f64::min);
        println!(
            "| `{name}` | {} | {:.3} {:+.3} | {:.3} {:+.3} | {worst:+.3} | {:.3} | {:.0} | mean \
             of {}",
            named(k),
            mean(&outcomes, |o| o.before[0]),
            mean(&outcomes, |o| o.gains[0]),
            mean(&outcomes, |o| o.before[1]),
            mean(&outcomes, |o| o.gains[1]),
            mean(&outcomes, |o| o.forgotten),
            mean(&outcomes, |o| o.seconds),
            outcomes.len(),
        );
    }
}

/// Dice against the number of corrections, beginning with none at 1 of the logarithmic axis.
fn curve(name: String, all: &[Outcome]) -> Curve {
    let mut points = Vec::new();
    for (k, outcomes) in by_count(all) {
        let before = mean(&outcomes, |o| o.before[0]);
        points.push(CurvePoint { x: 1.0, y: before, std_dev: 0.0 });
        if k != ALL {
            let y = before + mean(&outcomes, |o| o.gains[0]);
            points.push(CurvePoint { x: k as f64 + 1.0, y, std_dev: 0.0 });
        }
    }
    Curve { name, points }
}
