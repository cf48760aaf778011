//! Picture and label files of many flavours: pixels against those of Pillow and tifffile.

use std::path::{Path, PathBuf};
use std::process::Command;

use prunella::model::{Model, Precision, dcnn};
use prunella::picture::{read_labels, read_picture};
use prunella::raster::{DecodeLimits, LabelMap, Plane, RgbImage, encode_rgb_png, phantom};

use crate::slide_maker::{PLAIN, Style, slide};
use crate::support::{root, run, run_json, skip, text};

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

/// A small model with random weights, as a file.
fn model(folder: &Path) -> PathBuf {
    let path = folder.join("model.safetensors");
    let model = Model::random(dcnn([2, 3, 4], 8, 2), 3).expect("model");
    model.save(&path, Precision::F32).expect("saved");
    path
}

#[test]
fn a_slide_given_to_segment_is_segmented_as_one() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let (finest, _) = phantom(256, 192, 5);
    let (coarse, _) = phantom(128, 96, 5);
    let file = dir.path().join("slide.tif");
    let bytes = slide(&[finest, coarse], Style { tile: Some(64), ..PLAIN }, "");
    std::fs::write(&file, bytes).expect("slide");
    let result = |command: &[&str]| {
        let out = dir.path().join(command.join("-"));
        let options = [text(&file), "--model", text(&model), "--mpp", "0.25", "--device", "cpu"];
        let found = ["--threshold", "0", "--out", text(&out)];
        let (code, _, err) = run(&[command, &options, &found].concat());
        assert_eq!(code, Some(0), "everything is a nucleus: {err}");
        std::fs::read(out.join("slide.geojson")).expect("geojson")
    };
    assert_eq!(result(&["segment"]), result(&["slide", "segment"]));

    // Beside a broken image and a broken slide the others are segmented, in one report.
    let at = |name: &str| dir.path().join(name);
    let (field, broken, cut) = (at("field.png"), at("broken.png"), at("cut.tif"));
    std::fs::write(&field, encode_rgb_png(&phantom(80, 60, 5).0).expect("png")).expect("field");
    std::fs::write(&broken, b"\x89PNG\r\n\x1a\n and no more").expect("file");
    let mut bytes = std::fs::read(&file).expect("slide");
    bytes.truncate(bytes.len() - 20_000);
    std::fs::write(&cut, bytes).expect("file");
    let (code, out, err) = run(&[
        "segment",
        text(&broken),
        text(&cut),
        text(&file),
        text(&field),
        "--model",
        text(&model),
        "--mpp",
        "0.25",
        "--device",
        "cpu",
        "--json",
        "--out",
        text(&at("all")),
    ]);
    let report: serde_json::Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((code, report["failed"].as_u64()), (Some(2), Some(2)), "{err}");
    assert_eq!(report["images"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(report["slides"].as_array().map(Vec::len), Some(1), "{report}");
}

#[test]
fn the_pixel_size_of_a_file_is_used_and_said() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let (picture, _) = phantom(160, 120, 5);
    let mut jpeg = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95);
    // Half a micrometre.
    encoder.set_pixel_density(image::codecs::jpeg::PixelDensity {
        density: (20_000, 20_000),
        unit: image::codecs::jpeg::PixelDensityUnit::Centimeters,
    });
    let samples = picture.data().as_flattened();
    encoder.encode(samples, 160, 120, image::ExtendedColorType::Rgb8).expect("jpeg");
    let file = dir.path().join("field.jpg");
    std::fs::write(&file, jpeg).expect("field");
    let segment = |more: &[&'static str]| {
        let options = ["segment", text(&file), "--model", text(&model), "--device", "cpu"];
        // Everything is a nucleus, so that something is found.
        let found = ["--threshold", "0", "--out", text(dir.path())];
        [&options[..], &found, more].concat()
    };
    let own = segment(&[]);
    assert_eq!(run_json(&own)["images"][0]["mpp_um"].as_f64(), Some(0.5));
    let (_, _, err) = run(&own);
    assert!(err.contains("0.5000 µm, as the file states") && !err.contains("not known"), "{err}");
    let (_, _, err) = run(&segment(&["--mpp", "0.25"]));
    assert!(err.contains("The file states 0.5000 µm"), "{err}");
}

#[test]
fn folders_and_files_of_other_programs_are_named() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let file = dir.path().join("scan.dcm");
    let mut dicom = vec![0; 128];
    dicom.extend(b"DICM\x02\0\0\0");
    std::fs::write(&file, dicom).expect("file");
    let folder = dir.path().join("tables");
    std::fs::create_dir(&folder).expect("folder");
    std::fs::write(folder.join("ages.csv"), "age\n50\n").expect("file");
    for (input, word) in [(file.as_path(), "DICOM"), (folder.as_path(), "folder")] {
        for command in [&["segment"][..], &["slide", "segment"]] {
            let options = [text(input), "--model", text(&model), "--device", "cpu"];
            let options = [&options[..], &["--out", text(dir.path())]].concat();
            let (code, _, err) = run(&[command, &options].concat());
            assert_eq!(code, Some(2), "{err}");
            assert!(err.contains(word), "{err}");
        }
    }
}
