//! Segmentation against its peers, side by side in one run: `cargo xtask bench segment [--json]`
//! sets the peers up and runs this. Every ratio is the median over rounds in which both sides ran
//! one after the other.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops when it cannot measure"
)]

mod side_by_side;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use prunella::dataset::phantom;
use prunella::engine::gpu::{Gpu, GpuEngine, adapters};
use prunella::engine::{Control, SegmentOptions, segment};
use prunella::export::{OnnxForm, to_onnx};
use prunella::instances::{Provenance, find, nuclei, write_nuclei};
use prunella::model::{Architecture, InstanceParameters, Model, dcnn};
use prunella::raster::{ProbabilityMap, RgbImage, encode_rgb_png};
use side_by_side::{Peer, median};

/// Rounds of each comparison.
const ROUNDS: usize = 7;
/// Side of the field of the CPU comparison, pixels.
const FIELD_PX: usize = 400;

/// A network of the comparison: name in JSON, name for people, shape.
fn networks() -> [(&'static str, &'static str, Architecture); 4] {
    [
        ("d00", "δ = 0", Architecture::paper_dcnn()),
        ("d50", "δ = 0.5", dcnn([13, 25, 40], 1024, 2)),
        ("d90", "δ = 0.9", dcnn([3, 5, 8], 1024, 2)),
        ("d90_fc102", "δ = 0.9, 102 hidden units", dcnn([3, 5, 8], 102, 2)),
    ]
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let value = work();
    (value, begun.elapsed().as_secs_f64())
}

fn segment_secs(model: &Model, image: &RgbImage) -> f64 {
    timed(|| segment(model, image, SegmentOptions::default(), &Control::default()).unwrap()).1
}

#[derive(Default)]
struct Table {
    values: BTreeMap<String, f64>,
    rows: Vec<[String; 3]>,
}

impl Table {
    fn add(&mut self, key: &str, value: f64, what: &str, shown: &str, goal: &str) {
        self.values.insert(key.to_owned(), value);
        self.rows.push([what.to_owned(), shown.to_owned(), goal.to_owned()]);
    }
}

fn cpu(table: &mut Table, peer: &mut Peer, folder: &std::path::Path) {
    let image = phantom::tile(FIELD_PX, FIELD_PX, 5).image;
    let side = FIELD_PX + 54;
    let mpx = (FIELD_PX * FIELD_PX) as f64 / 1e6;
    let goals = [("d00", "≤ 1.0"), ("d50", ""), ("d90", "≤ 0.7"), ("d90_fc102", "≤ 0.7")];
    for ((key, name, architecture), (_, goal)) in networks().into_iter().zip(goals) {
        let model = Model::random(architecture, 1).unwrap();
        let file = folder.join(format!("{key}.onnx"));
        std::fs::write(&file, to_onnx(&model, OnnxForm::Dense).unwrap()).unwrap();
        peer.ask(&format!("load {key} {} {}", file.display(), rayon::current_num_threads()));
        let question = format!("run {key} 1 3 {side} {side}");
        // The first round warms both up.
        segment_secs(&model, &image);
        peer.seconds(&question);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(segment_secs(&model, &image));
            theirs.push(peer.seconds(&question));
        }
        let ratio = median(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect());
        let (ours, theirs) = (median(ours) / mpx, median(theirs) / mpx);
        let shown = format!("{ratio:.2} ({ours:.2} / {theirs:.2} s/Mpx)");
        table.add(
            &format!("cpu_over_onnxruntime_{key}"),
            ratio,
            &format!("CPU dense, {name}: ours / onnxruntime"),
            &shown,
            goal,
        );
        table.values.insert(format!("cpu_s_per_mpx_{key}"), ours);
    }
}

/// A whole tile, dense, against one patch a pixel.
fn patchwise(table: &mut Table, peer: &mut Peer, folder: &std::path::Path) {
    let model = Model::random(Architecture::paper_dcnn(), 1).unwrap();
    let file = folder.join("patch.onnx");
    std::fs::write(&file, to_onnx(&model, OnnxForm::Patch).unwrap()).unwrap();
    peer.ask(&format!("load patch {} {}", file.display(), rayon::current_num_threads()));
    let image = phantom::tile(1000, 1000, 5).image;
    segment_secs(&model, &image);
    peer.seconds("run patch 256 3 55 55");
    let rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| {
            (segment_secs(&model, &image), peer.seconds("run patch 256 3 55 55") / 256.0 * 1e6)
        })
        .collect();
    let ratio = median(rounds.iter().map(|(ours, theirs)| theirs / ours).collect());
    let (ours, theirs) = (
        median(rounds.iter().map(|r| r.0).collect()),
        median(rounds.iter().map(|r| r.1).collect()),
    );
    let shown = format!("{ratio:.0}× ({ours:.2} against {theirs:.0} s/Mpx)");
    let what = "dense, 1000×1000, against patch-wise onnxruntime (batches of 256), δ = 0";
    table.add("dense_over_patchwise_onnxruntime_d00", ratio, what, &shown, "≥ 100×");
}

fn gpu(table: &mut Table) {
    for (i, adapter) in pollster::block_on(adapters()).iter().enumerate() {
        let facts = &adapter.facts;
        let Ok(gpu) = pollster::block_on(Gpu::open(adapter)) else { continue };
        let gpu = Arc::new(gpu);
        let (side, rounds) = if facts.software { (100, 5) } else { (1000, ROUNDS) };
        let image = phantom::tile(side, side, 6).image;
        for (key, name, architecture) in networks() {
            // Software adapters take minutes for what a GPU does in milliseconds.
            if facts.software && !key.starts_with("d90") {
                continue;
            }
            let model = Model::random(architecture, 1).unwrap();
            let engine = GpuEngine::new(Arc::clone(&gpu), &model).unwrap();
            let run = || {
                let control = Control::default();
                let map = engine.segment(&image, SegmentOptions::default(), &control);
                timed(|| pollster::block_on(map).unwrap()).1
            };
            run();
            let pairs: Vec<(f64, f64)> =
                (0..rounds).map(|_| (run(), segment_secs(&model, &image))).collect();
            let ratio = median(pairs.iter().map(|(a, b)| a / b).collect());
            let secs = median(pairs.iter().map(|p| p.0).collect()) / (side * side) as f64 * 1e6;
            let shown = format!("{ratio:.2} ({secs:.2} s/Mpx)");
            let what = format!("{} ({}), {name}: WGSL / fast CPU", facts.name, facts.driver);
            table.add(&format!("gpu{i}_over_cpu_{key}"), ratio, &what, &shown, "");
        }
    }
}

fn instances(table: &mut Table) {
    let model =
        Model::load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/dcnn-90.safetensors"))
            .unwrap();
    let parameters = model.card().instances;
    let image = phantom::tile(1000, 1000, 7).image;
    let mut count = 0;
    let shares = (0..ROUNDS).map(|_| {
        let (map, network) = timed(|| {
            segment(&model, &image, SegmentOptions::default(), &Control::default()).unwrap()
        });
        let (found, objects) = timed(|| {
            let (labels, smooth) = find(&map, &parameters).unwrap();
            let all = nuclei(&image, &labels, &smooth, &parameters, Some(0.25)).unwrap();
            write_nuclei(all, &Provenance::default(), &mut std::io::sink(), &mut std::io::sink())
                .unwrap()
        });
        count = found;
        objects / (objects + network)
    });
    let share = median(shares.collect());
    let what =
        format!("objects + GeoJSON + CSV, share of the whole ({count} nuclei, 1000×1000, δ = 0.9)");
    table.add("instances_share_d90", share, &what, &format!("{:.1} %", share * 100.0), "≤ 15 %");
}

/// Objects alone, where there are very many: a chequered field of discs.
fn many_nuclei(table: &mut Table) {
    const SIDE: usize = 4000;
    const STEP: usize = 12;
    let inside = |i: usize| {
        let (x, y) = ((i % SIDE % STEP) as f32 - 5.5, (i / SIDE % STEP) as f32 - 5.5);
        if x.hypot(y) < 4.5 { 0.9 } else { 0.1 }
    };
    let map = ProbabilityMap::from_vec(SIDE, SIDE, (0..SIDE * SIDE).map(inside).collect()).unwrap();
    let image = RgbImage::filled(SIDE, SIDE, [120, 80, 160]);
    let parameters =
        InstanceParameters { smoothing: 0, min_area_px: 20, ..InstanceParameters::default() };
    let (count, secs) = timed(|| {
        let (labels, smooth) = find(&map, &parameters).unwrap();
        let all = nuclei(&image, &labels, &smooth, &parameters, Some(0.25)).unwrap();
        write_nuclei(all, &Provenance::default(), &mut std::io::sink(), &mut std::io::sink())
            .unwrap()
    });
    table.add(
        "many_nuclei_s",
        secs,
        &format!("objects + GeoJSON + CSV of {count} nuclei, {SIDE}×{SIDE}"),
        &format!("{secs:.1} s"),
        "seconds",
    );
}

fn memory(table: &mut Table, folder: &std::path::Path) {
    // A fresh process: a child's peak counts its parent's memory until it has started.
    let mut peer = Peer::start("peer.py", &[]);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let image = folder.join("large.png");
    let tile = phantom::tile(1000, 1000, 8).image;
    let row = prunella::raster::side_by_side(&[&tile; 6], 0);
    let data: Vec<[u8; 3]> = (0..5).flat_map(|_| row.data().iter().copied()).collect();
    let large = RgbImage::from_vec(6000, 5000, data).unwrap();
    std::fs::write(&image, encode_rgb_png(&large).unwrap()).unwrap();
    drop(large);
    let model = root.join("models/dcnn-90.safetensors");
    let answer = peer.ask(&format!(
        "rss {} segment {} --model {} --out {} --device cpu",
        env!("CARGO_BIN_EXE_prunella"),
        image.display(),
        model.display(),
        folder.join("out").display()
    ));
    let (gb, secs) = (answer["bytes"].as_f64().unwrap() / 1e9, answer["seconds"].as_f64().unwrap());
    let what = "peak memory of 'prunella segment', 6000×5000, δ = 0.9";
    table.add(
        "peak_memory_gb_6000x5000",
        gb,
        what,
        &format!("{gb:.2} GB ({secs:.0} s)"),
        "≤ 1.0 GB",
    );
}

fn main() {
    let json = std::env::args().any(|a| a == "--json");
    let folder = tempfile::tempdir().unwrap();
    let mut peer = Peer::start("peer.py", &[]);
    let mut table = Table::default();
    cpu(&mut table, &mut peer, folder.path());
    patchwise(&mut table, &mut peer, folder.path());
    instances(&mut table);
    many_nuclei(&mut table);
    memory(&mut table, folder.path());
    gpu(&mut table);
    if json {
        println!("{}", serde_json::to_string(&table.values).unwrap());
        return;
    }
    println!("{} threads, median of {ROUNDS} rounds\n", rayon::current_num_threads());
    println!("| measure | here | goal |\n|---|---|---|");
    table.rows.iter().for_each(|[what, shown, goal]| println!("| {what} | {shown} | {goal} |"));
}
