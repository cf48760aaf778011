//! Picture and label files of many flavours: pixels against those of Pillow and tifffile.

use std::path::Path;
use std::process::Command;

use prunella::picture::{read_labels, read_picture};
use prunella::raster::{DecodeLimits, LabelMap, Plane, RgbImage};

use crate::support::{root, skip};

/// Decoders of lossy pictures may differ by this much, of 255, where they upsample chroma.
const LOSSY_TOLERANCE: u8 = 6;
/// Files of at least so many flavours are compared.
const LEAST_FILES: usize = 60;

/// Makes the files; `None` without a Python that can.
fn made_files(test: &str, folder: &Path) -> Option<()> {
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let import = Command::new(&python).args(["-c", "import numpy, PIL, tifffile"]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        skip(test, "Pillow or tifffile is not installed; 'cargo xtask setup' installs them");
        return None;
    }
    let output = Command::new(python)
        .arg(root().join("tests/it/pictures.py"))
        .arg(folder)
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

/// Width, height and what follows them.
fn split_size(bytes: &[u8]) -> (usize, usize, &[u8]) {
    let (size, rest) = bytes.split_first_chunk::<8>().expect("size");
    let side = |at: usize| {
        u32::from_le_bytes([size[at], size[at + 1], size[at + 2], size[at + 3]]) as usize
    };
    (side(0), side(4), rest)
}

fn expected_picture(bytes: &[u8]) -> RgbImage {
    let (width, height, rest) = split_size(bytes);
    Plane::from_vec(width, height, rest.as_chunks::<3>().0.to_vec()).expect("picture")
}

fn expected_labels(bytes: &[u8]) -> LabelMap {
    let (width, height, rest) = split_size(bytes);
    let values = rest.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    Plane::from_vec(width, height, values).expect("labels")
}

#[test]
fn pictures_and_labels_are_read_as_pillow_reads_them() {
    let dir = tempfile::tempdir().expect("folder");
    let made = made_files("pictures_and_labels_are_read_as_pillow_reads_them", dir.path());
    if made.is_none() {
        return;
    }
    let limits = DecodeLimits::default();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(dir.path()).expect("folder") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("file");
        if let Some(file) = name.strip_suffix(".rgb") {
            let expected = expected_picture(&bytes);
            let read = std::fs::read(dir.path().join(file)).expect("file");
            let image = match read_picture(&read, limits) {
                Ok(picture) => picture.image,
                Err(error) => {
                    wrong.push(format!("{file}: {error}"));
                    continue;
                }
            };
            if !image.same_size(&expected) {
                wrong.push(format!("{file}: {}×{}", image.width(), image.height()));
                continue;
            }
            let is_lossy = ["jpg", "webp"].iter().any(|e| file.ends_with(e)) || file == "jpeg.tif";
            let tolerance = if is_lossy { LOSSY_TOLERANCE } else { 0 };
            let pairs = image.data().as_flattened().iter().zip(expected.data().as_flattened());
            let difference = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
            if difference > tolerance {
                wrong.push(format!("{file}: differs by {difference}"));
            }
            compared += 1;
        } else if let Some(file) = name.strip_suffix(".labels") {
            let read = std::fs::read(dir.path().join(file)).expect("file");
            match read_labels(&read, limits) {
                Ok(labels) if labels.map == expected_labels(&bytes) => {}
                Ok(_) => wrong.push(format!("{file}: other labels")),
                Err(error) => wrong.push(format!("{file}: {error}")),
            }
            compared += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared >= LEAST_FILES, "{compared}");
}
