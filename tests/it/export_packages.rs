//! Packages for other programs: QuPath's way through its classifier in OpenCV, `bioimageio test`,
//! the card, and what comes back by `import`.

use std::process::Command;

use prunella::engine::{Block, DenseEngine};
use prunella::model::{Head, Model, PixelClass, Precision, dccn, dcnn};
use prunella::raster::{Plane, RgbImage, encode_rgb_png};

use crate::compare::close;
use crate::support::{root, run, run_json, skip, text};

/// A Python that can import `modules`; without one the test is reported as skipped.
fn python(test: &str, modules: &str) -> Option<String> {
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let import = format!("import {modules}");
    let there =
        Command::new(&python).args(["-c", &import]).output().is_ok_and(|o| o.status.success());
    if there {
        return Some(python);
    }
    skip(test, &format!("Python lacks {modules}; 'cargo xtask setup' installs what can be"));
    None
}

fn picture(width: usize, height: usize) -> RgbImage {
    let mut pixels = Vec::new();
    for i in 0..width * height {
        pixels.push([0, 1, 2].map(|c| ((i * 7919 + c * 104_729) % 251) as u8));
    }
    Plane::from_vec(width, height, pixels).expect("plane")
}

/// A network of three classes in a folder whose name has a space.
fn saved_model(folder: &std::path::Path) -> (Model, std::path::PathBuf) {
    let mut model = Model::random(dcnn([3, 5, 8], 20, 3), 1).expect("model");
    model.card_mut().classes = PixelClass::of_nuclei(&[], true);
    let folder = folder.join("a b");
    std::fs::create_dir(&folder).expect("folder");
    let path = folder.join("m.safetensors");
    model.save(&path, Precision::F32).expect("saved");
    (model, path)
}

#[test]
fn qupaths_way_through_the_classifier_gives_the_engines_probabilities() {
    let test = "qupaths_way_through_the_classifier_gives_the_engines_probabilities";
    let Some(python) = python(test, "cv2, numpy") else { return };
    let dir = tempfile::tempdir().expect("temporary folder");
    let (model, path) = saved_model(dir.path());
    let folder = dir.path().join("for qupath");
    run_json(&["export", text(&path), "--qupath", text(&folder)]);
    for file in
        ["m.onnx", "m.json", "m-classify.groovy", "m-segment.groovy", "m.safetensors", "m.md"]
    {
        assert!(folder.join(file).is_file(), "{file}");
    }
    // After moving the folder its own model is exported again.
    let moved = dir.path().join("moved");
    std::fs::rename(&folder, &moved).expect("moved");
    let folder = moved;
    let own = folder.join("m.safetensors");
    run_json(&["export", text(&own), "--qupath", text(&folder)]);
    // Two tiles of 512 pixels side by side, the right one narrow.
    let image = picture(620, 90);
    let (png, out) = (dir.path().join("i.png"), dir.path().join("out"));
    std::fs::write(&png, encode_rgb_png(&image).expect("PNG")).expect("image");
    let output = Command::new(python)
        .arg(root().join("tests/it/qupath.py"))
        .args([&folder.join("m.json"), &png, &out])
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&out).expect("result");
    // Not the outer 27 pixels, where QuPath repeats the edge and prunella mirrors the image.
    let block = Block { row: 27, column: 27, width: 620 - 54, height: 90 - 54 };
    let mut want = DenseEngine::new(&model).expect("engine").run(&image, block);
    let mut got = Vec::new();
    for row in 27..90 - 27 {
        for value in bytes[(row * 620 + 27) * 12..(row * 620 + 620 - 27) * 12].chunks_exact(4) {
            got.push(f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
        }
    }
    want.chunks_exact_mut(3).for_each(|pixel| model.card().head.probabilities(pixel));
    close(&got, &want, 1e-5, 1e-5).expect("close");
}

#[test]
fn the_zoos_own_test_passes() {
    let test = "the_zoos_own_test_passes";
    let Some(python) = python(test, "bioimageio.core, onnxruntime") else { return };
    let dir = tempfile::tempdir().expect("temporary folder");
    let (_, path) = saved_model(dir.path());
    let package = dir.path().join("m.zip");
    run_json(&["export", text(&path), "--bioimageio", "--out", text(&package)]);
    let script = "
import sys
from bioimageio.core import test_description
summary = test_description(sys.argv[1])
sys.exit(0 if summary.status == 'passed' else str(summary.format()))
";
    let output =
        Command::new(python).args(["-c", script, text(&package)]).output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn options_of_another_format_are_refused() {
    let options = [
        (&["--onnx"][..], &["--author", "x"][..]),
        (&["--bioimageio"], &["--dense"]),
        (&["--card"], &["--precision", "f16"]),
        (&["--link"], &["--page", "p"]),
        (&["--link"], &["--out", "l.txt"]),
    ];
    for (format, option) in options {
        let (code, _, error) = run(&[&["export", "m.safetensors"][..], format, option].concat());
        assert!(code == Some(2) && error.contains("cannot be used with"), "{option:?}: {error}");
    }
}

#[test]
fn the_card_is_printed_or_written() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (_, path) = saved_model(dir.path());
    let (code, printed, _) = run(&["export", text(&path), "--card"]);
    assert_eq!(code, Some(0));
    let file = dir.path().join("README.md");
    run_json(&["export", text(&path), "--card", "--out", text(&file)]);
    assert_eq!(std::fs::read_to_string(&file).expect("README").trim_end(), printed.trim_end());
    assert!(printed.starts_with("---\nlibrary_name: \"prunella\"\n"), "{printed}");
}

#[test]
fn onnx_and_state_dicts_come_back_and_pickles_do_not() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (model, path) = saved_model(dir.path());
    let at = |name: &str| dir.path().join(name);
    run_json(&["export", text(&path), "--onnx", "--dense", "--out", text(&at("m.onnx"))]);
    run_json(&["import", text(&at("m.onnx")), "--out", text(&at("back.safetensors"))]);
    assert_eq!(Model::load(&at("back.safetensors")).expect("model"), model);
    // A model of this program keeps its card, which options do not replace.
    run_json(&["import", text(&path), "--out", text(&at("own.safetensors"))]);
    assert_eq!(Model::load(&at("own.safetensors")).expect("model"), model);
    for source in [&path, &at("m.onnx")] {
        let out = at("refused.safetensors");
        let (code, _, error) =
            run(&["import", text(source), "--licence", "MIT", "--out", text(&out)]);
        assert!(code == Some(2) && error.contains("has a card"), "{error}");
    }
    // The same file without its metadata is a state dict.
    let bytes = std::fs::read(&path).expect("file");
    let header_len = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header: serde_json::Value =
        serde_json::from_slice(&bytes[8..8 + header_len]).expect("JSON");
    let mut header = header;
    header.as_object_mut().expect("an object").remove("__metadata__");
    let header = header.to_string();
    let mut plain = (header.len() as u64).to_le_bytes().to_vec();
    plain.extend(header.as_bytes());
    plain.extend(&bytes[8 + header_len..]);
    std::fs::write(at("plain.safetensors"), plain).expect("file");
    let options = ["--mpp", "0.5", "--licence", "MIT", "--sigmoid"];
    let import = ["import", text(&at("plain.safetensors")), "--out"].map(str::to_owned);
    let out = at("plain-own.safetensors");
    let import: Vec<&str> = import.iter().map(String::as_str).collect();
    run_json(&[&import[..], &[text(&out)], &options].concat());
    let own = Model::load(&out).expect("model");
    assert_eq!((own.weights(), own.card().mpp_um), (model.weights(), 0.5));
    assert_eq!((own.card().licence.as_deref(), own.card().head), (Some("MIT"), Head::Sigmoid));
    std::fs::write(at("w.pt"), b"PK").expect("file");
    let (code, _, error) = run(&["import", text(&at("w.pt")), "--out", text(&at("x.safetensors"))]);
    assert_eq!(code, Some(2));
    assert!(error.contains("safetensors.torch.save_file"), "{error}");
}

#[test]
fn networks_without_a_dense_form_are_refused_before_a_file_is_written() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("m.safetensors");
    let model = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 1).expect("model");
    model.save(&path, Precision::F32).expect("saved");
    let folder = dir.path().join("qupath");
    for arguments in [&["--qupath", text(&folder)][..], &["--bioimageio"]] {
        let (code, _, error) = run(&[&["export", text(&path)][..], arguments].concat());
        assert_eq!(code, Some(2));
        assert!(error.contains("pads inside its patch"), "{error}");
    }
    assert!(!folder.exists() && !dir.path().join("m.zip").exists());
}
