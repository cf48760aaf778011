//! Real slides: pixels against those of `OpenSlide`, and segmentation from the command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use prunella::raster::{Plane, RgbImage};
use prunella::slide::{SlideReader, source};

use crate::support::{data_folder, root, run, run_json, skip, text};

/// Decoders of lossy tiles may differ by this much, of 255,
pub(super) const TOLERANCE: u8 = 2;
/// except for this share of the values: libjpeg and zune-jpeg round differently where they upsample
/// chroma,
pub(super) const MAX_OUTLIERS: f64 = 1e-3;
/// and these differ by at most this much.
pub(super) const MAX_DIFFERENCE: u8 = 6;

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

/// As [`REGION`], of the level of a width: `OpenSlide` computes levels that the file has not.
const PIECE: &str = "
import sys, openslide
file, width, x, y, w, h, out = sys.argv[1:]
s = openslide.OpenSlide(file)
width, x, y, w, h = (int(v) for v in (width, x, y, w, h))
level = [size[0] for size in s.level_dimensions].index(width)
step = round(s.level_downsamples[level])
piece = s.read_region((x * step, y * step), level, (w, h))
open(out, 'wb').write(piece.convert('RGB').tobytes())
";

pub(super) fn slides(test: &str) -> Option<PathBuf> {
    data_folder("PRUNELLA_DATA", "../shared/data", test).map(|d| d.join("slides"))
}

/// A Python with openslide; without one the test is skipped.
pub(super) fn python(test: &str) -> Option<String> {
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let import = Command::new(&python).args(["-c", "import openslide"]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        skip(test, "openslide is not installed; 'cargo xtask setup' installs it");
        return None;
    }
    Some(python)
}

/// A rectangle of a level (x, y, width, height in its pixels) by `OpenSlide`.
pub(super) fn openslide_region(
    python: &str,
    file: &str,
    level: usize,
    [x, y, w, h]: [usize; 4],
) -> RgbImage {
    python_region(python, REGION, file, [level, x, y, w, h])
}

/// The same by the width of the level.
pub(super) fn openslide_piece(
    python: &str,
    file: &Path,
    width: usize,
    rect: [usize; 4],
) -> RgbImage {
    let [x, y, w, h] = rect;
    python_region(python, PIECE, text(file), [width, x, y, w, h])
}

fn python_region(python: &str, script: &str, file: &str, numbers: [usize; 5]) -> RgbImage {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("pixels");
    let [_, _, _, w, h] = numbers;
    let numbers = numbers.map(|n| n.to_string());
    let output = Command::new(python)
        .args(["-c", script, file])
        .args(numbers)
        .arg(&out)
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(out).expect("pixels");
    Plane::from_vec(w, h, bytes.as_chunks::<3>().0.to_vec()).expect("region")
}

pub(super) struct Difference {
    /// Share of values that differ by more than [`TOLERANCE`].
    pub(super) outliers: f64,
    pub(super) max: u8,
}

pub(super) fn difference(a: &RgbImage, b: &RgbImage) -> Difference {
    let mut outliers = 0;
    let mut max = 0;
    for (a, b) in a.data().iter().flatten().zip(b.data().iter().flatten()) {
        let difference = a.abs_diff(*b);
        outliers += usize::from(difference > TOLERANCE);
        max = max.max(difference);
    }
    Difference { outliers: outliers as f64 / (a.data().len() * 3) as f64, max }
}

/// Compares a piece of a level (x, y, width, height in its pixels); a shift of it must show.
pub fn assert_alike(
    reader: &SlideReader,
    level: usize,
    [x, y, w, h]: [usize; 4],
    expected: &RgbImage,
) {
    let region =
        |x: usize| reader.region(level, x.cast_signed(), y.cast_signed(), w, h).expect("region");
    let Difference { outliers, max } = difference(&region(x), expected);
    assert!(
        outliers <= MAX_OUTLIERS && max <= MAX_DIFFERENCE,
        "level {level} at {x}, {y}: {outliers} of values, at most {max}"
    );
    let outliers = difference(&region(x + 3), expected).outliers;
    assert!(outliers > MAX_OUTLIERS, "level {level}: a shift of three pixels must show");
}

#[test]
fn pixels_are_openslides() {
    const TEST: &str = "pixels_are_openslides";
    let Some(folder) = slides(TEST) else { return };
    let Some(python) = python(TEST) else { return };
    for (name, level, rect) in [
        ("cmu-1-small-region.svs", 0, [700, 900, 700, 500]),
        ("cmu-1-small-region.svs", 0, [1900, 2700, 300, 250]),
        ("tcga-cr-7395-01a-01-ts1.svs", 0, [1000, 1500, 600, 600]),
        ("tcga-cr-7395-01a-01-ts1.svs", 1, [0, 0, 900, 700]),
        ("mosaic-jpeg.tif", 0, [2900, 1900, 800, 600]),
        ("mosaic-jpeg.tif", 2, [0, 0, 1000, 800]),
    ] {
        let file = folder.join(name);
        let expected = openslide_region(&python, text(&file), level, rect);
        let reader = SlideReader::open(source(text(&file)).expect("file")).expect("slide");
        assert_alike(&reader, level, rect, &expected);
    }
}

#[test]
fn the_same_pyramid_in_sub_directories_reads_the_same() {
    let Some(folder) = slides("the_same_pyramid_in_sub_directories_reads_the_same") else { return };
    let open = |name: &str| {
        SlideReader::open(source(text(&folder.join(name))).expect("file")).expect("slide")
    };
    let flat = open("mosaic-jpeg.tif");
    let nested = open("mosaic-subifd.ome.tif");
    assert_eq!(flat.slide.levels.len(), 6);
    assert_eq!(nested.slide.levels.len(), 6);
    for level in [0, 3, 5] {
        let region = |reader: &SlideReader| reader.region(level, 10, 20, 150, 120).expect("region");
        assert_eq!(region(&flat), region(&nested), "level {level}");
    }
}

#[test]
fn a_region_of_a_slide_is_segmented_and_only_it() {
    let Some(folder) = slides("a_region_of_a_slide_is_segmented_and_only_it") else { return };
    let dir = tempfile::tempdir().expect("folder");
    let slide = folder.join("mosaic-jpeg.tif");
    let model = root().join("models/paper-90.safetensors");
    let command = [
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
    let region = ["--mpp", "0.25", "--region", "1800,2200,500,400"];
    let result = run_json(&[&command[..], &region].concat());
    let number = |key: &str| result[key].as_u64().expect("number");
    assert!(number("nuclei") > 20, "{result}");
    assert_eq!(number("blocks") - number("skipped_blocks"), 2);
    let table = std::fs::read_to_string(dir.path().join("mosaic-jpeg.csv")).expect("table");
    let mut nuclei = 0;
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let x: f64 = columns[2].parse().expect("number");
        let y: f64 = columns[3].parse().expect("number");
        assert!((1800.0..2300.0).contains(&x) && (2200.0..2600.0).contains(&y), "{line}");
        nuclei += 1;
    }
    assert_eq!(nuclei, number("nuclei"));
    for (options, word) in [(&[][..], "--mpp"), (&["--mpp", "0.25", "--block", "0"], "at least 64")]
    {
        let (code, _, message) = run(&[&command[..], options].concat());
        assert!(code == Some(2) && message.contains(word), "{message}");
    }
}
