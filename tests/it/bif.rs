//! Ventana BIF of overlapping tiles and several areas, and Trestle, against `OpenSlide`.

use std::path::Path;
use std::process::Command;

use prunella::raster::{Plane, RgbImage};
use prunella::slide::{SlideReader, source};

use crate::slides_real::python;
use crate::support::{root, text};

/// Decoders of JPEG may differ by this much, of 255,
const TOLERANCE: u8 = 6;
/// but for these shares of the values of the levels where tiles lie between pixels: `OpenSlide`
/// interpolates there, and the made picture is steeper in coarser levels.
const MOST_BETWEEN: [f64; 3] = [0.02, 0.06, 0.25];

#[test]
fn mosaics_are_openslides() {
    let Some(python) = python("mosaics_are_openslides") else { return };
    let dir = tempfile::tempdir().expect("folder");
    let maker = root().join("tests/it/bif.py");
    let output = Command::new(&python).arg(maker).arg(dir.path()).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (name, levels) in [("overlap", 3), ("areas", 3), ("between", 3), ("trestle", 2)] {
        let slide = dir.path().join(format!("{name}.bif"));
        let reader = SlideReader::open(source(text(&slide)).expect("file")).expect("slide");
        assert_eq!((reader.slide.levels.len(), reader.slide.mpp_um), (levels, Some(0.25)));
        for (level, most_between) in MOST_BETWEEN.into_iter().take(levels).enumerate() {
            let expected = kept(&dir.path().join(format!("{name}.{level}.rgb")));
            let (width, height) = (expected.width(), expected.height());
            let size = &reader.slide.levels[level];
            assert_eq!((size.width, size.height), (width, height), "{name}, level {level}");
            let actual = reader.region(level, 0, 0, width, height).expect("region");
            let most = if name == "between" { most_between } else { 0.0 };
            let share = outliers(&actual, &expected);
            assert!(share <= most, "{name}, level {level}: {share}");
            let shifted = reader.region(level, 5, 0, width, height).expect("region");
            assert!(outliers(&shifted, &expected) > most + 0.04, "a shift must show");
            // A part is what it is in the whole.
            let part = reader.region(level, 31, 47, 61, 53).expect("region");
            for y in 0..part.height() {
                assert_eq!(part.row(y), &actual.row(47 + y)[31..31 + 61], "{name}, row {y}");
            }
        }
    }
}

fn kept(path: &Path) -> RgbImage {
    let raw = std::fs::read(path).expect("pixels");
    let (head, pixels) = raw.split_at(8);
    let [width, height] =
        std::array::from_fn(|i| u32::from_le_bytes(head.as_chunks().0[i]) as usize);
    Plane::from_vec(width, height, pixels.as_chunks::<3>().0.to_vec()).expect("level")
}

/// Share of values that differ by more than [`TOLERANCE`].
fn outliers(a: &RgbImage, b: &RgbImage) -> f64 {
    let values = a.data().iter().flatten().zip(b.data().iter().flatten());
    let outliers = values.filter(|(a, b)| a.abs_diff(**b) > TOLERANCE).count();
    outliers as f64 / (a.data().len() * 3) as f64
}
