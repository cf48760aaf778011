//! Exported networks in onnxruntime against this crate's own logits, and the files of the command.

use std::path::Path;
use std::process::Command;

use prunella::engine::{BatchEngine, Block, DenseEngine, patch_at};
use prunella::export::{OnnxForm, to_onnx};
use prunella::model::{Architecture, Model, dccn, dcnn};
use prunella::raster::{Plane, RgbImage, mirrored_window};

use crate::compare::close;
use crate::support::{run_json, skip, text};

const RUN: &str = "
import sys, numpy as np, onnxruntime
file, shape, data, out = sys.argv[1:]
shape = [int(n) for n in shape.split(',')]
session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
feed = {session.get_inputs()[0].name: np.fromfile(data, '<f4').reshape(shape)}
session.run(['logits'], feed)[0].astype('<f4').tofile(out)
";

/// A Python with onnxruntime; without one the test is reported as skipped.
fn python(test: &str) -> Option<String> {
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python)
        .args(["-c", "import onnxruntime, numpy"])
        .output()
        .is_ok_and(|o| o.status.success());
    if there {
        return Some(python);
    }
    skip(test, "onnxruntime is not installed; 'cargo xtask setup' installs it");
    None
}

fn in_onnxruntime(python: &str, onnx: &[u8], shape: &str, input: &[f32]) -> Vec<f32> {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str| dir.path().join(name);
    let bytes = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    std::fs::write(path("m.onnx"), onnx).expect("onnx");
    std::fs::write(path("in"), bytes(input)).expect("input");
    let output = Command::new(python)
        .args(["-c", RUN, text(&path("m.onnx")), shape, text(&path("in")), text(&path("out"))])
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = std::fs::read(path("out")).expect("result");
    out.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// An image in which neighbouring pixels differ.
fn picture(width: usize, height: usize) -> RgbImage {
    let mut pixels = Vec::new();
    for i in 0..width * height {
        pixels.push([0, 1, 2].map(|c| ((i * 7919 + c * 104_729) % 251) as u8));
    }
    Plane::from_vec(width, height, pixels).expect("plane")
}

#[test]
fn patch_form_equals_the_engine_pruned_or_not() {
    let Some(python) = python("patch_form_equals_the_engine_pruned_or_not") else { return };
    let networks = [
        Architecture::paper_dcnn(),
        dcnn([3, 5, 8], 102, 3),
        Architecture::paper_dccn(),
        dccn(7, 13, 4, [13, 26, 52], 2),
    ];
    for architecture in networks {
        let model = Model::random(architecture, 9).expect("model");
        let image = picture(60, 60);
        let pixels = [(0, 0), (31, 30), (59, 12)];
        let mut patches = Vec::new();
        for (row, column) in pixels {
            patches.extend(patch_at(&image, row, column));
        }
        let onnx = to_onnx(&model, OnnxForm::Patch).expect("onnx");
        let got = in_onnxruntime(&python, &onnx, "3,3,55,55", &patches);
        let want = BatchEngine::new(&model).expect("engine").run(&image, &pixels);
        close(&got, &want, 1e-4, 1e-4).expect("close");
    }
}

#[test]
fn dense_form_equals_the_engine_at_any_size() {
    let Some(python) = python("dense_form_equals_the_engine_at_any_size") else { return };
    let wide = Block { row: 0, column: 0, width: 11, height: 6 };
    let narrow = Block { row: 0, column: 0, width: 1, height: 9 };
    let cases = [
        (Architecture::paper_dcnn(), wide),
        (dcnn([13, 25, 40], 102, 2), narrow),
        (dcnn([8, 8, 12], 36, 3), wide),
    ];
    for (architecture, block) in cases {
        let classes = architecture.classes();
        let model = Model::random(architecture, 9).expect("model");
        let Block { width, height, .. } = block;
        let image = picture(width, height);
        let window = mirrored_window(&image, -27, -27, width + 54, height + 54);
        let mut input = Vec::new();
        for channel in 0..3 {
            input.extend(window.iter().map(|pixel| f32::from(pixel[channel]) / 255.0));
        }
        let onnx = to_onnx(&model, OnnxForm::Dense).expect("onnx");
        let shape = format!("1,3,{},{}", height + 54, width + 54);
        let planes = in_onnxruntime(&python, &onnx, &shape, &input);
        // [class][pixel] to [pixel][class].
        let mut got = Vec::new();
        for i in 0..width * height {
            got.extend((0..classes).map(|class| planes[class * width * height + i]));
        }
        let want = DenseEngine::new(&model).expect("engine").run(&image, block);
        close(&got, &want, 1e-4, 1e-4).expect("close");
    }
}

#[test]
fn the_command_writes_the_file_beside_the_model_and_refuses_a_dense_dccn() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("m.safetensors");
    Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 1)
        .expect("model")
        .save(&path, prunella::model::Precision::F32)
        .expect("saved");
    let report = run_json(&["export", text(&path), "--onnx"]);
    assert!(Path::new(report["file"].as_str().expect("file")).is_file());
    let (code, _, error) = crate::support::run(&["export", text(&path), "--onnx", "--dense"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("no exact dense form"), "{error}");
}
