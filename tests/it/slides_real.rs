//! Real slides against openslide, pixel by pixel, and whole from the command line.

use std::path::PathBuf;
use std::process::Command;

use prunella::raster::{Plane, RgbImage};
use prunella::slide::{SlideReader, source};

use crate::support::{data_folder, root, run, run_json, skip, text};

/// Decoders of lossy tiles may differ by this much,
const LEVELS: u8 = 2;
/// but for rare values where coarser colours are drawn larger: libjpeg and zune-jpeg round that
/// differently.
const RARE: f64 = 1e-3;

const REGION: &str = "
import sys, openslide
file, level, x, y, w, h, out = sys.argv[1:]
s = openslide.OpenSlide(file)
level, x, y, w, h = (int(v) for v in (level, x, y, w, h))
step = s.level_downsamples[level]
assert x * step == int(x * step) or level == 0 or (x, y) == (0, 0)
piece = s.read_region((round(x * step), round(y * step)), level, (w, h))
open(out, 'wb').write(piece.convert('RGB').tobytes())
";

fn slides(test: &str) -> Option<PathBuf> {
    data_folder("PRUNELLA_DATA", "../shared/data", test).map(|d| d.join("slides"))
}

/// A Python with openslide, or none: then the test is skipped, said so and counted.
fn python(test: &str) -> Option<String> {
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python)
        .args(["-c", "import openslide"])
        .output()
        .is_ok_and(|o| o.status.success());
    if !there {
        skip(test, "openslide is not installed; 'cargo xtask setup' installs it");
        return None;
    }
    Some(python)
}

fn by_openslide(python: &str, file: &str, level: usize, [x, y, w, h]: [usize; 4]) -> RgbImage {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("pixels");
    let numbers = [level, x, y, w, h].map(|n| n.to_string());
    let output = Command::new(python)
        .args(["-c", REGION, file])
        .args(numbers)
        .arg(&out)
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(out).expect("pixels");
    Plane::from_vec(w, h, bytes.as_chunks::<3>().0.to_vec()).expect("region")
}

/// Share of values that differ by more than [`LEVELS`], and the largest difference.
fn apart(a: &RgbImage, b: &RgbImage) -> (f64, u8) {
    let values =
        || a.data().iter().flatten().zip(b.data().iter().flatten()).map(|(a, b)| a.abs_diff(*b));
    (
        values().filter(|d| *d > LEVELS).count() as f64 / (a.data().len() * 3) as f64,
        values().max().unwrap_or(0),
    )
}

#[test]
fn pixels_are_openslides() {
    const TEST: &str = "pixels_are_openslides";
    let Some(folder) = slides(TEST) else { return };
    let Some(python) = python(TEST) else { return };
    for (name, level, place) in [
        ("cmu-1-small-region.svs", 0, [700, 900, 700, 500]),
        ("cmu-1-small-region.svs", 0, [1900, 2700, 300, 250]),
        ("tcga-cr-7395-01a-01-ts1.svs", 0, [1000, 1500, 600, 600]),
        ("tcga-cr-7395-01a-01-ts1.svs", 1, [0, 0, 900, 700]),
        ("mosaic-jpeg.tif", 0, [2900, 1900, 800, 600]),
        ("mosaic-jpeg.tif", 2, [0, 0, 1000, 800]),
    ] {
        let file = folder.join(name);
        let right = by_openslide(&python, text(&file), level, place);
        let [x, y, w, h] = place;
        let reader = SlideReader::open(source(text(&file)).expect("file")).expect("slide");
        let found = reader.region(level, x.cast_signed(), y.cast_signed(), w, h).expect("region");
        let (share, worst) = apart(&found, &right);
        assert!(
            share <= RARE && worst <= 6,
            "{name}, level {level}: {share} of values, at most {worst}"
        );
        let other =
            reader.region(level, x.cast_signed() + 3, y.cast_signed(), w, h).expect("region");
        assert!(apart(&other, &right).0 > RARE, "{name}: a shift of three pixels must show");
    }
}

#[test]
fn the_same_pyramid_in_sub_directories_reads_the_same() {
    let Some(folder) = slides("the_same_pyramid_in_sub_directories_reads_the_same") else { return };
    let open = |name: &str| {
        SlideReader::open(source(text(&folder.join(name))).expect("file")).expect("slide")
    };
    let (flat, nested) = (open("mosaic-jpeg.tif"), open("mosaic-subifd.ome.tif"));
    assert_eq!((flat.slide.levels.len(), nested.slide.levels.len()), (6, 6));
    for level in [0, 3, 5] {
        let region = |reader: &SlideReader| reader.region(level, 10, 20, 150, 120).expect("region");
        assert_eq!(region(&flat), region(&nested), "level {level}");
    }
}

#[test]
fn a_region_of_a_slide_is_segmented_and_only_it() {
    let Some(folder) = slides("a_region_of_a_slide_is_segmented_and_only_it") else { return };
    let dir = tempfile::tempdir().expect("folder");
    let model = root().join("models/dcnn-90.safetensors");
    let segment = |more: &[&str]| {
        let slide = folder.join("mosaic-jpeg.tif");
        let all = [
            "slide",
            "segment",
            text(&slide),
            "--model",
            text(&model),
            "--device",
            "cpu",
            "--out",
            text(dir.path()),
        ];
        run_json(&[&all[..], more].concat())
    };
    let found = segment(&["--mpp", "0.25", "--region", "1800,2200,500,400"]);
    let count = found["nuclei"].as_u64().expect("number");
    assert!(count > 20, "{found}");
    assert_eq!(
        found["blocks"].as_u64().expect("blocks")
            - found["skipped_blocks"].as_u64().expect("skipped"),
        2
    );
    let table = std::fs::read_to_string(dir.path().join("mosaic-jpeg.csv")).expect("table");
    let places = table
        .lines()
        .skip(1)
        .map(|l| l.split(',').skip(2).take(2).map(|v| v.parse().expect("number")).collect());
    let places: Vec<Vec<f64>> = places.collect();
    assert_eq!(places.len() as u64, count);
    assert!(
        places.iter().all(|p| (1800.0..2300.0).contains(&p[0]) && (2200.0..2600.0).contains(&p[1]))
    );
    for (more, word) in [(&[][..], "--mpp"), (&["--mpp", "0.25", "--block", "0"], "at least 64")] {
        let slide = folder.join("mosaic-jpeg.tif");
        let all = [
            "slide",
            "segment",
            text(&slide),
            "--model",
            text(&model),
            "--device",
            "cpu",
            "--out",
            text(dir.path()),
        ];
        let (code, _, said) = run(&[&all[..], more].concat());
        assert!(code == Some(2) && said.contains(word), "{said}");
    }
}
