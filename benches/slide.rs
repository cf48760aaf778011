//! Slides: `cargo xtask bench slide [--json]` sets `OpenSlide` up and measures the slides in
//! `PRUNELLA_DATA`. Both sides read the same tiles one after the other; ratios are medians over
//! rounds.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops when it cannot measure"
)]

mod side_by_side;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prunella::slide::{ByteSource as _, HttpSource, SlideReader, source};
use serde_json::Value;
use side_by_side::{Peer, median};

const ROUNDS: usize = 5;
/// Tiles read in a round.
const TILES: usize = 60;
/// Side of the squares that are read where a slide's tiles are strips, pixels.
const SQUARE_PX: usize = 256;
/// Size of a first view, pixels.
const VIEW_WIDTH: usize = 1280;
const VIEW_HEIGHT: usize = 800;
const DICOM: &str = "more/cmu1_small_dicom";
const MOSAIC: &str = "mosaic-jpeg.tif";
const PORT: &str = "18473";

/// Values for `--json` and rows for people.
#[derive(Default)]
struct Results {
    values: BTreeMap<String, f64>,
    rows: Vec<Row>,
}

struct Row {
    measure: String,
    result: String,
    goal: &'static str,
}

impl Results {
    fn row(&mut self, measure: impl Into<String>, result: impl Into<String>, goal: &'static str) {
        self.rows.push(Row { measure: measure.into(), result: result.into(), goal });
    }
}

fn main() {
    let is_json = std::env::args().any(|a| a == "--json");
    let data =
        std::env::var_os("PRUNELLA_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from);
    let folder =
        data.join("slides").canonicalize().unwrap_or_else(|e| panic!("{}: {e}", data.display()));
    let mut results = Results::default();
    let mut peer = Peer::start("slide_peer.py", &[]);
    for (name, format) in [
        ("cmu-1-small-region.svs", "SVS, JPEG"),
        ("tcga-cr-7395-01a-01-ts1.svs", "SVS, JPEG 2000"),
        (MOSAIC, "pyramidal TIFF, JPEG"),
        ("more/tritc.ndpi", "NDPI"),
    ] {
        measure_tiles(&mut results, &mut peer, &folder.join(name), format);
    }
    measure_tiles(&mut results, &mut peer, &largest_file(&folder.join(DICOM)), "DICOM, JPEG");
    measure_segmentation(&mut results, &mut peer, &folder.join(MOSAIC));
    measure_http(&mut results, &folder);
    if is_json {
        println!("{}", serde_json::to_string_pretty(&results.values).unwrap());
        return;
    }
    println!("{} threads, median of {ROUNDS} rounds\n", rayon::current_num_threads());
    println!("| measure | here | goal |\n|---|---|---|");
    for Row { measure, result, goal } in &results.rows {
        println!("| {measure} | {result} | {goal} |");
    }
}

/// The file of a DICOM series that holds the finest level.
fn largest_file(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|file| file.metadata().unwrap().len()).unwrap()
}

/// Time for a tile, or a square of a slide whose tiles are no squares, against that of `OpenSlide`.
fn measure_tiles(results: &mut Results, peer: &mut Peer, file: &Path, format: &str) {
    let reader = SlideReader::open(source(file.to_str().unwrap()).unwrap()).unwrap();
    let level = &reader.slide.levels[0];
    let is_square = level.tile_width == level.tile_height;
    let side = if is_square { level.tile_width } else { SQUARE_PX };
    let command = format!("tiles {} {TILES} {side}", file.display());
    // The first round of the peer reads the file from the disk.
    peer.seconds(&command);
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        ours.push(tile_secs(file, side));
        theirs.push(peer.seconds(&command));
        ratios.push(ours[round] / theirs[round]);
    }
    let ratio = median(ratios);
    let name = file.file_name().unwrap().to_string_lossy();
    let short_name = if format.starts_with("DICOM") {
        "dicom"
    } else {
        name.split(['-', '.']).next().unwrap_or(&name)
    };
    results.values.insert(format!("tile_over_openslide_{short_name}"), ratio);
    let (ours, theirs) = (median(ours) * 1e3, median(theirs) * 1e3);
    results.row(
        format!("a tile of {side} pixels, {format}: ours / openslide"),
        format!("{ratio:.2} ({ours:.2} / {theirs:.2} ms)"),
        "≤ 1.0",
    );
}

/// Seconds a tile, by a new reader without cached tiles.
fn tile_secs(file: &Path, side: usize) -> f64 {
    let reader = SlideReader::open(source(file.to_str().unwrap()).unwrap()).unwrap();
    let columns = reader.slide.levels[0].width / side;
    let started = Instant::now();
    for i in 0..TILES {
        let x = (i % columns * side).cast_signed();
        let y = (i / columns * side).cast_signed();
        reader.region(0, x, y, side, side).unwrap();
    }
    started.elapsed().as_secs_f64() / TILES as f64
}

/// The mosaic from opening to GeoJSON, by the program itself.
fn measure_segmentation(results: &mut Results, peer: &mut Peer, slide: &Path) {
    let out = tempfile::tempdir().unwrap();
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/paper-90.safetensors");
    let program = env!("CARGO_BIN_EXE_prunella");
    let command = format!(
        "slide segment {} --mpp 0.25 --device cpu --model {} --out {}",
        slide.display(),
        model.display(),
        out.path().display()
    );
    let run = Command::new(program).args(command.split(' ')).arg("--json").output().unwrap();
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    let secs = |name: &str| report[name].as_f64().unwrap();
    let percent = |name: &str| secs(name) / secs("seconds") * 100.0;
    results.values.insert("mosaic_s".into(), secs("seconds"));
    results.row(
        "6000×5000 mosaic, open to GeoJSON, δ = 0.9",
        format!(
            "{:.1} s, {} nuclei (network {:.0} %, objects {:.0} %; decoding beside it {:.1} s of \
             all threads)",
            secs("seconds"),
            report["nuclei"],
            percent("network_seconds"),
            percent("object_seconds"),
            secs("decode_seconds")
        ),
        "",
    );
    let peak_gb = peer.ask(&format!("rss {program} {command}"))["bytes"].as_f64().unwrap() / 1e9;
    results.values.insert("mosaic_peak_gb".into(), peak_gb);
    results.row("its peak memory", format!("{peak_gb:.2} GB"), "does not grow with the slide");
}

/// `prunella serve`, killed when it is dropped.
struct Server(Child);

impl Server {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prunella"));
        command.arg("serve").arg(folder).args(["--port", PORT, "--no-open"]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Opens a URL as soon as its server responds.
fn open_when_ready(url: &str) -> HttpSource {
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(100));
        if let Ok(source) = HttpSource::open(url) {
            return source;
        }
    }
    panic!("{url} does not respond")
}

/// Requests and bytes over HTTP.
fn measure_http(results: &mut Results, folder: &Path) {
    let _server = Server::start(folder);
    let source = Arc::new(open_when_ready(&format!("http://127.0.0.1:{PORT}/files/{MOSAIC}")));
    let file_mb = source.len() as f64 / 1e6;
    let reader = SlideReader::open(Box::new(Arc::clone(&source))).unwrap();
    let opened = source.traffic();
    let level = reader.slide.level_for(4.0);
    reader.region(level, 0, 0, VIEW_WIDTH, VIEW_HEIGHT).unwrap();
    let viewed = source.traffic();
    results.values.insert("http_open_requests".to_owned(), opened.requests as f64);
    results.values.insert("http_open_bytes".to_owned(), opened.bytes as f64);
    let kb = |bytes: u64| format!("{:.0} KB", bytes as f64 / 1e3);
    results.row(
        format!("HTTP: to open ({file_mb:.1} MB file)"),
        format!("{} requests, {}", opened.requests, kb(opened.bytes)),
        "a handful, ≤ 1 MB",
    );
    results.row(
        format!("HTTP: then a first view of {VIEW_WIDTH}×{VIEW_HEIGHT} at level {level}"),
        format!(
            "{} requests, {}",
            viewed.requests - opened.requests,
            kb(viewed.bytes - opened.bytes)
        ),
        "",
    );
}
