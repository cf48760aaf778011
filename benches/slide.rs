//! Slides: `cargo xtask bench slide [--json]` sets openslide up and runs this over the slides in
//! `PRUNELLA_DATA`. Tiles are read by both sides one after the other; ratios are medians over
//! rounds.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops when it cannot measure"
)]

mod side_by_side;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use prunella::slide::{ByteSource as _, HttpSource, SlideReader, source};
use serde_json::Value;
use side_by_side::{Peer, median};

const ROUNDS: usize = 5;
const TILES: usize = 60;
/// Pixels of a first view.
const VIEW: (usize, usize) = (1280, 800);

/// Seconds a tile: a fresh reader each round, so that nothing is remembered.
fn tile_secs(file: &str) -> f64 {
    let reader = SlideReader::open(source(file).unwrap()).unwrap();
    let level = &reader.slide.levels[0];
    let across = level.width / level.tile_width;
    let begun = Instant::now();
    for i in 0..TILES {
        let (x, y) = (i % across * level.tile_width, i / across * level.tile_height);
        reader
            .region(0, x.cast_signed(), y.cast_signed(), level.tile_width, level.tile_height)
            .unwrap();
    }
    begun.elapsed().as_secs_f64() / TILES as f64
}

fn main() {
    let json = std::env::args().any(|a| a == "--json");
    let data =
        std::env::var_os("PRUNELLA_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from);
    let folder =
        data.join("slides").canonicalize().unwrap_or_else(|e| panic!("{}: {e}", data.display()));
    let file = |name: &str| folder.join(name).display().to_string();
    let mut values: BTreeMap<String, f64> = BTreeMap::new();
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut peer = Peer::start("slide_peer.py", &[]);
    for (name, kind) in [
        ("cmu-1-small-region.svs", "SVS, JPEG"),
        ("tcga-cr-7395-01a-01-ts1.svs", "SVS, JPEG 2000"),
        ("mosaic-jpeg.tif", "pyramidal TIFF, JPEG"),
    ] {
        let question = format!("tiles {} {TILES}", file(name));
        peer.seconds(&question);
        let rounds: Vec<(f64, f64)> =
            (0..ROUNDS).map(|_| (tile_secs(&file(name)), peer.seconds(&question))).collect();
        let ratio = median(rounds.iter().map(|(a, b)| a / b).collect());
        let (ours, theirs) = (
            median(rounds.iter().map(|r| r.0).collect()),
            median(rounds.iter().map(|r| r.1).collect()),
        );
        values.insert(
            format!("tile_over_openslide_{}", name.split(['-', '.']).next().unwrap_or(name)),
            ratio,
        );
        let shown = format!("{ratio:.2} ({:.2} / {:.2} ms)", ours * 1e3, theirs * 1e3);
        rows.push([
            format!("a tile of 240 or 256 pixels, {kind}: ours / openslide"),
            shown,
            "≤ 1.5".into(),
        ]);
    }
    whole(&mut values, &mut rows, &mut peer, &file("mosaic-jpeg.tif"));
    remote(&mut values, &mut rows, &folder);
    if json {
        println!("{}", serde_json::to_string_pretty(&values).unwrap());
        return;
    }
    println!(
        "{} threads, median of {ROUNDS} rounds\n\n| measure | here | goal |\n|---|---|---|",
        rayon::current_num_threads()
    );
    rows.iter().for_each(|[what, found, goal]| println!("| {what} | {found} | {goal} |"));
}

/// The mosaic from open to GeoJSON by the program itself.
fn whole(
    values: &mut BTreeMap<String, f64>,
    rows: &mut Vec<[String; 3]>,
    peer: &mut Peer,
    slide: &str,
) {
    let out = tempfile::tempdir().unwrap();
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/dcnn-90.safetensors");
    let program = env!("CARGO_BIN_EXE_prunella");
    let arguments = ["slide", "segment", slide, "--mpp", "0.25", "--device", "cpu", "--model"];
    let run = Command::new(program)
        .args(arguments)
        .arg(&model)
        .arg("--out")
        .arg(out.path())
        .arg("--json")
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&run.stdout).unwrap();
    let secs = |name: &str| said[name].as_f64().unwrap();
    let share = |name: &str| secs(name) / secs("seconds") * 100.0;
    values.insert("mosaic_s".into(), secs("seconds"));
    rows.push([
        "6000×5000 mosaic, open to GeoJSON, δ = 0.9".into(),
        format!(
            "{:.1} s, {} nuclei (network {:.0} %, objects {:.0} %; decoding beside it {:.1} s of all threads)",
            secs("seconds"),
            said["nuclei"],
            share("network_seconds"),
            share("object_seconds"),
            secs("decode_seconds")
        ),
        String::new(),
    ]);
    let question = format!(
        "rss {program} {} {} --out {}",
        arguments.join(" "),
        model.display(),
        out.path().display()
    );
    let peak = peer.ask(&question)["bytes"].as_f64().unwrap() / 1e9;
    values.insert("mosaic_peak_gb".into(), peak);
    rows.push([
        "its peak memory".into(),
        format!("{peak:.2} GB"),
        "does not grow with the slide".into(),
    ]);
}

/// Requests and bytes over HTTP, from `prunella serve`.
fn remote(
    values: &mut BTreeMap<String, f64>,
    rows: &mut Vec<[String; 3]>,
    folder: &std::path::Path,
) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prunella"));
    let mut server = command
        .arg("serve")
        .arg(folder)
        .args(["--port", "18473", "--no-open"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = "http://127.0.0.1:18473/files/mosaic-jpeg.tif";
    let opened = (0..50).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        HttpSource::open(url).ok()
    });
    let source = std::sync::Arc::new(opened.unwrap_or_else(|| panic!("{url} does not answer")));
    let len = source.len();
    let reader = SlideReader::open(Box::new(source.clone())).unwrap();
    let (requests, bytes) = source.spent();
    let level = reader.slide.level_for(4.0);
    reader.region(level, 0, 0, VIEW.0, VIEW.1).unwrap();
    let (all_requests, all_bytes) = source.spent();
    server.kill().unwrap();
    server.wait().unwrap();
    values.extend([
        ("http_open_requests".to_owned(), requests as f64),
        ("http_open_bytes".to_owned(), bytes as f64),
    ]);
    let kb = |n: u64| format!("{:.0} KB", n as f64 / 1e3);
    rows.push([
        format!("HTTP: to open ({:.1} MB file)", len as f64 / 1e6),
        format!("{requests} requests, {}", kb(bytes)),
        "a handful, ≤ 1 MB".into(),
    ]);
    rows.push([
        format!("HTTP: then a first view of {}×{} at level {level}", VIEW.0, VIEW.1),
        format!("{} requests, {}", all_requests - requests, kb(all_bytes - bytes)),
        String::new(),
    ]);
}
