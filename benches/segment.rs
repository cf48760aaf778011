//! Segmentation against other programs in one run: `cargo xtask bench segment [--json]` sets them
//! up and runs this. Each ratio is the median over rounds in which both sides ran one after the
//! other.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops when it cannot measure"
)]

mod side_by_side;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use prunella::dataset::phantom;
use prunella::engine::gpu::{Gpu, GpuEngine, adapters};
use prunella::engine::{Control, SegmentOptions, segment};
use prunella::export::{OnnxForm, to_onnx};
use prunella::instances::{Provenance, label_nuclei, measure_nuclei, write_nuclei};
use prunella::model::{Architecture, InstanceParameters, Model, dcnn};
use prunella::raster::{
    Plane, ProbabilityMaps, RgbImage, encode_rgb_png, side_by_side as in_a_row,
};
use side_by_side::{Peer, median};

/// Rounds of each comparison.
const ROUNDS: usize = 7;
/// Side of the tile of the CPU comparison, pixels.
const CPU_SIDE_PX: usize = 400;
/// Context of a patch, pixels: the receptive field of 55 minus one.
const CONTEXT_PX: usize = 54;
/// Patches in a batch of the patch-wise comparison.
const PATCHES: usize = 256;

/// A network that is measured.
struct Case {
    /// End of the keys in JSON.
    key: &'static str,
    label: &'static str,
    architecture: Architecture,
    /// For the CPU ratio.
    goal: &'static str,
}

fn cases() -> [Case; 4] {
    let case = |key, label, architecture, goal| Case { key, label, architecture, goal };
    [
        case("d00", "δ = 0", Architecture::paper_dcnn(), "≤ 1.0"),
        case("d50", "δ = 0.5", dcnn([13, 25, 40], 1024, 2), ""),
        case("d90", "δ = 0.9", dcnn([3, 5, 8], 1024, 2), "≤ 0.7"),
        case("d90_fc102", "δ = 0.9, 102 hidden units", dcnn([3, 5, 8], 102, 2), "≤ 0.7"),
    ]
}

/// Runs a function and measures it in seconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let value = work();
    (value, started.elapsed().as_secs_f64())
}

fn segment_secs(model: &Model, image: &RgbImage) -> f64 {
    timed(|| segment(model, image, SegmentOptions::default(), &Control::default()).unwrap()).1
}

/// Seconds of both sides in one round.
struct Round {
    ours: f64,
    theirs: f64,
}

fn median_of(rounds: &[Round], value: fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(value).collect())
}

/// Measured values, for JSON and for people.
#[derive(Default)]
struct Results {
    values: BTreeMap<String, f64>,
    /// What, value, goal.
    rows: Vec<[String; 3]>,
}

impl Results {
    fn add(&mut self, key: &str, value: f64, what: &str, shown: &str, goal: &str) {
        self.values.insert(key.to_owned(), value);
        self.rows.push([what.to_owned(), shown.to_owned(), goal.to_owned()]);
    }
}

/// A tile by dense evaluation, here and in onnxruntime.
fn cpu(results: &mut Results, peer: &mut Peer, folder: &Path) {
    let image = phantom::tile(CPU_SIDE_PX, CPU_SIDE_PX, 5).image;
    let padded = CPU_SIDE_PX + CONTEXT_PX;
    let megapixels = (CPU_SIDE_PX * CPU_SIDE_PX) as f64 / 1e6;
    for Case { key, label, architecture, goal } in cases() {
        let model = Model::random(architecture, 1).unwrap();
        let file = folder.join(format!("{key}.onnx"));
        std::fs::write(&file, to_onnx(&model, OnnxForm::Dense).unwrap()).unwrap();
        peer.ask(&format!("load {key} {} {}", file.display(), rayon::current_num_threads()));
        let run_peer = format!("run {key} 1 3 {padded} {padded}");
        // Warm-up.
        segment_secs(&model, &image);
        peer.seconds(&run_peer);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let ours = segment_secs(&model, &image);
            rounds.push(Round { ours, theirs: peer.seconds(&run_peer) });
        }
        let ratio = median_of(&rounds, |r| r.ours / r.theirs);
        let ours = median_of(&rounds, |r| r.ours) / megapixels;
        let theirs = median_of(&rounds, |r| r.theirs) / megapixels;
        results.add(
            &format!("cpu_over_onnxruntime_{key}"),
            ratio,
            &format!("CPU dense, {label}: ours / onnxruntime"),
            &format!("{ratio:.2} ({ours:.2} / {theirs:.2} s/Mpx)"),
            goal,
        );
        results.values.insert(format!("cpu_s_per_mpx_{key}"), ours);
    }
}

/// A tile by dense evaluation here, against one patch for each pixel in onnxruntime.
fn patchwise(results: &mut Results, peer: &mut Peer, folder: &Path) {
    let model = Model::random(Architecture::paper_dcnn(), 1).unwrap();
    let file = folder.join("patch.onnx");
    std::fs::write(&file, to_onnx(&model, OnnxForm::Patch).unwrap()).unwrap();
    peer.ask(&format!("load patch {} {}", file.display(), rayon::current_num_threads()));
    let run_peer = format!("run patch {PATCHES} 3 55 55");
    // One megapixel, so seconds here are seconds per megapixel.
    let image = phantom::tile(1000, 1000, 5).image;
    segment_secs(&model, &image);
    peer.seconds(&run_peer);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let ours = segment_secs(&model, &image);
        let theirs = peer.seconds(&run_peer) / PATCHES as f64 * 1e6;
        rounds.push(Round { ours, theirs });
    }
    let ratio = median_of(&rounds, |r| r.theirs / r.ours);
    let ours = median_of(&rounds, |r| r.ours);
    let theirs = median_of(&rounds, |r| r.theirs);
    results.add(
        "dense_over_patchwise_onnxruntime_d00",
        ratio,
        "dense, 1000×1000, against patch-wise onnxruntime (batches of 256), δ = 0",
        &format!("{ratio:.0}× ({ours:.2} against {theirs:.0} s/Mpx)"),
        "≥ 100×",
    );
}

/// Each adapter against the CPU. A software adapter takes minutes for what a GPU does in
/// milliseconds, so it gets a small image and the small networks.
fn gpu(results: &mut Results) {
    for (index, adapter) in pollster::block_on(adapters()).iter().enumerate() {
        let facts = &adapter.facts;
        let Ok(gpu) = pollster::block_on(Gpu::open(adapter)) else { continue };
        let gpu = Arc::new(gpu);
        let side = if facts.software { 100 } else { 1000 };
        let count = if facts.software { 5 } else { ROUNDS };
        let image = phantom::tile(side, side, 6).image;
        for Case { key, label, architecture, .. } in cases() {
            if facts.software && !key.starts_with("d90") {
                continue;
            }
            let model = Model::random(architecture, 1).unwrap();
            let engine = GpuEngine::new(Arc::clone(&gpu), &model).unwrap();
            gpu_secs(&engine, &image);
            let mut rounds = Vec::new();
            for _ in 0..count {
                let ours = gpu_secs(&engine, &image);
                rounds.push(Round { ours, theirs: segment_secs(&model, &image) });
            }
            let ratio = median_of(&rounds, |r| r.ours / r.theirs);
            let secs = median_of(&rounds, |r| r.ours) / (side * side) as f64 * 1e6;
            results.add(
                &format!("gpu{index}_over_cpu_{key}"),
                ratio,
                &format!("{} ({}), {label}: WGSL / fast CPU", facts.name, facts.driver),
                &format!("{ratio:.2} ({secs:.2} s/Mpx)"),
                "",
            );
        }
    }
}

fn gpu_secs(engine: &GpuEngine, image: &RgbImage) -> f64 {
    let control = Control::default();
    let map = engine.segment(image, SegmentOptions::default(), &control);
    timed(|| pollster::block_on(map).unwrap()).1
}

/// From probabilities to nuclei, GeoJSON and CSV: their number, and seconds.
fn objects(
    map: &ProbabilityMaps,
    image: &RgbImage,
    parameters: &InstanceParameters,
) -> (usize, f64) {
    timed(|| {
        let (labels, smooth) = label_nuclei(map, parameters).unwrap();
        let all = measure_nuclei(image, &labels, &smooth, &[], parameters, Some(0.25)).unwrap();
        let all: Vec<_> = all.collect();
        let (all, provenance) = (all.iter().cloned(), Provenance::default());
        write_nuclei(all, &provenance, &mut std::io::sink(), &mut std::io::sink()).unwrap().nuclei
    })
}

/// Share of a segmentation that is spent on objects.
fn instances(results: &mut Results) {
    let model = Model::load(&root().join("models/paper-90.safetensors")).unwrap();
    let image = phantom::tile(1000, 1000, 7).image;
    let mut count = 0;
    let mut shares = Vec::new();
    for _ in 0..ROUNDS {
        let (map, network_secs) = timed(|| {
            segment(&model, &image, SegmentOptions::default(), &Control::default()).unwrap()
        });
        let (found, object_secs) = objects(&map, &image, &model.card().instances);
        count = found;
        shares.push(object_secs / (object_secs + network_secs));
    }
    let share = median(shares);
    results.add(
        "instances_share_d90",
        share,
        &format!(
            "objects + GeoJSON + CSV, share of the whole ({count} nuclei, 1000×1000, δ = 0.9)"
        ),
        &format!("{:.1} %", share * 100.0),
        "≤ 15 %",
    );
}

/// Objects alone, where there are very many: discs on a square grid.
fn many_nuclei(results: &mut Results) {
    const SIDE: usize = 4000;
    const STEP: usize = 12;
    let mut map = Plane::filled(SIDE, SIDE, 0.1);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let dx = (x % STEP) as f32 - 5.5;
            let dy = (y % STEP) as f32 - 5.5;
            if dx.hypot(dy) < 4.5 {
                map.row_mut(y)[x] = 0.9;
            }
        }
    }
    let image = RgbImage::filled(SIDE, SIDE, [120, 80, 160]);
    let parameters =
        InstanceParameters { smoothing: 0, min_area_px: 20, ..InstanceParameters::default() };
    let (count, secs) = objects(&map.into(), &image, &parameters);
    results.add(
        "many_nuclei_s",
        secs,
        &format!("objects + GeoJSON + CSV of {count} nuclei, {SIDE}×{SIDE}"),
        &format!("{secs:.1} s"),
        "seconds",
    );
}

/// Peak memory of the program on a large image.
fn memory(results: &mut Results, folder: &Path) {
    // A fresh process, because a child's peak includes its parent's memory at the fork.
    let mut peer = Peer::start("peer.py", &[]);
    let image = folder.join("large.png");
    let tile = phantom::tile(1000, 1000, 8).image;
    let row = in_a_row(&[&tile; 6], 0);
    let mut pixels = Vec::new();
    for _ in 0..5 {
        pixels.extend_from_slice(row.data());
    }
    let large = RgbImage::from_vec(6000, 5000, pixels).unwrap();
    std::fs::write(&image, encode_rgb_png(&large).unwrap()).unwrap();
    drop(large);
    let answer = peer.ask(&format!(
        "rss {} segment {} --model {} --out {} --device cpu",
        env!("CARGO_BIN_EXE_prunella"),
        image.display(),
        root().join("models/paper-90.safetensors").display(),
        folder.join("out").display()
    ));
    let gigabytes = answer["bytes"].as_f64().unwrap() / 1e9;
    let secs = answer["seconds"].as_f64().unwrap();
    results.add(
        "peak_memory_gb_6000x5000",
        gigabytes,
        "peak memory of 'prunella segment', 6000×5000, δ = 0.9",
        &format!("{gigabytes:.2} GB ({secs:.0} s)"),
        "≤ 1.0 GB",
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn main() {
    let json = std::env::args().any(|a| a == "--json");
    let folder = tempfile::tempdir().unwrap();
    let mut peer = Peer::start("peer.py", &[]);
    let mut results = Results::default();
    cpu(&mut results, &mut peer, folder.path());
    patchwise(&mut results, &mut peer, folder.path());
    instances(&mut results);
    many_nuclei(&mut results);
    memory(&mut results, folder.path());
    gpu(&mut results);
    if json {
        println!("{}", serde_json::to_string(&results.values).unwrap());
        return;
    }
    println!("{} threads, median of {ROUNDS} rounds\n", rayon::current_num_threads());
    println!("| measure | here | goal |\n|---|---|---|");
    for [what, shown, goal] in &results.rows {
        println!("| {what} | {shown} | {goal} |");
    }
}
