//! Exported networks in onnxruntime and OpenCV against this crate's own outputs, and the files of
//! the command.

use std::path::Path;
use std::process::Command;

use prunella::engine::{BatchEngine, Block, DenseEngine, patch_at};
use prunella::export::{OnnxForm, to_onnx};
use prunella::model::{Architecture, Head, Model, dccn, dcnn};
use prunella::raster::{Plane, RgbImage, mirrored_window};

use crate::compare::close;
use crate::support::{run_json, skip, text};

/// Programs that read ONNX, each as a Python script: model, shape of the input, its values, output.
#[derive(Debug, Clone, Copy)]
enum Reader {
    OnnxRuntime,
    /// OpenCV's DNN of the version that QuPath 0.7 ships (`cargo xtask setup` installs it).
    OpenCv,
}

impl Reader {
    const ALL: [Self; 2] = [Self::OnnxRuntime, Self::OpenCv];

    fn module(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::OpenCv => "cv2",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::OnnxRuntime => {
                "
import sys, numpy as np, onnxruntime
file, shape, data, out = sys.argv[1:]
shape = [int(n) for n in shape.split(',')]
session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
feed = {session.get_inputs()[0].name: np.fromfile(data, '<f4').reshape(shape)}
session.run(None, feed)[0].astype('<f4').tofile(out)
"
            }
            Self::OpenCv => {
                "
import sys, numpy as np, cv2
file, shape, data, out = sys.argv[1:]
shape = [int(n) for n in shape.split(',')]
net = cv2.dnn.readNetFromONNX(file)
net.setInput(np.fromfile(data, '<f4').reshape(shape))
net.forward().astype('<f4').tofile(out)
"
            }
        }
    }

    /// A Python with the reader; without one the test is reported as skipped.
    fn python(self, test: &str) -> Option<String> {
        let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
        let there = Command::new(&python)
            .args(["-c", &format!("import {}, numpy", self.module())])
            .output()
            .is_ok_and(|o| o.status.success());
        if there {
            return Some(python);
        }
        let module = self.module();
        skip(test, &format!("{module} is not installed; 'cargo xtask setup' installs it"));
        None
    }

    fn run(self, python: &str, onnx: &[u8], shape: &str, input: &[f32]) -> Vec<f32> {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| dir.path().join(name);
        let bytes = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        std::fs::write(path("m.onnx"), onnx).expect("onnx");
        std::fs::write(path("in"), bytes(input)).expect("input");
        let output = Command::new(python)
            .args(["-c", self.script(), text(&path("m.onnx")), shape, text(&path("in"))])
            .arg(path("out"))
            .output()
            .expect("python starts");
        assert!(output.status.success(), "{self:?} {}", String::from_utf8_lossy(&output.stderr));
        let out = std::fs::read(path("out")).expect("result");
        out.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
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
    for reader in Reader::ALL {
        let Some(python) = reader.python("patch_form_equals_the_engine_pruned_or_not") else {
            continue;
        };
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
            let got = reader.run(&python, &onnx, "3,3,55,55", &patches);
            let want = BatchEngine::new(&model).expect("engine").run(&image, &pixels);
            close(&got, &want, 1e-4, 1e-4).expect("close");
        }
    }
}

/// Networks, and the parts of a picture that they are evaluated on.
fn dense_cases() -> [(Architecture, Block); 4] {
    let wide = Block { row: 0, column: 0, width: 31, height: 16 };
    let narrow = Block { row: 0, column: 0, width: 1, height: 9 };
    [
        (Architecture::paper_dcnn(), wide),
        (dcnn([13, 25, 40], 102, 2), narrow),
        (dcnn([8, 8, 12], 36, 3), wide),
        (dcnn([3, 5, 8], 20, 5), wide),
    ]
}

/// The planes of a picture of this block's size with its context, values / 255, as one tensor.
fn planes_with_context(image: &RgbImage, block: Block) -> (String, Vec<f32>) {
    let Block { width, height, .. } = block;
    let window = mirrored_window(image, -27, -27, width + 54, height + 54);
    let mut input = Vec::new();
    for channel in 0..3 {
        input.extend(window.iter().map(|pixel| f32::from(pixel[channel]) / 255.0));
    }
    (format!("1,3,{},{}", height + 54, width + 54), input)
}

#[test]
fn dense_form_equals_the_engine_at_any_size() {
    for reader in Reader::ALL {
        let Some(python) = reader.python("dense_form_equals_the_engine_at_any_size") else {
            continue;
        };
        for (architecture, block) in dense_cases() {
            let classes = architecture.classes();
            let model = Model::random(architecture, 9).expect("model");
            let Block { width, height, .. } = block;
            let image = picture(width, height);
            let (shape, input) = planes_with_context(&image, block);
            let onnx = to_onnx(&model, OnnxForm::Dense).expect("onnx");
            let planes = reader.run(&python, &onnx, &shape, &input);
            assert_eq!(planes.len(), classes * width * height, "{reader:?}");
            // [class][pixel] to [pixel][class].
            let mut got = Vec::new();
            for i in 0..width * height {
                got.extend((0..classes).map(|class| planes[class * width * height + i]));
            }
            let want = DenseEngine::new(&model).expect("engine").run(&image, block);
            close(&got, &want, 1e-4, 1e-4).expect("close");
        }
    }
}

#[test]
fn tile_form_has_the_engines_probabilities_inside_a_border_of_zeros() {
    for reader in Reader::ALL {
        let test = "tile_form_has_the_engines_probabilities_inside_a_border_of_zeros";
        let Some(python) = reader.python(test) else { continue };
        for ((architecture, block), head) in dense_cases().into_iter().zip([
            Head::Softmax,
            Head::Softmax,
            Head::Softmax,
            Head::Sigmoid,
        ]) {
            let classes = architecture.classes();
            let mut model = Model::random(architecture, 9).expect("model");
            model.card_mut().head = head;
            let Block { width, height, .. } = block;
            let image = picture(width, height);
            let (shape, input) = planes_with_context(&image, block);
            let onnx = to_onnx(&model, OnnxForm::Tile).expect("onnx");
            let got = reader.run(&python, &onnx, &shape, &input);
            let mut logits = DenseEngine::new(&model).expect("engine").run(&image, block);
            let (columns, rows) = (width + 54, height + 54);
            let mut want = vec![0.0; classes * columns * rows];
            for (i, pixel) in logits.chunks_exact_mut(classes).enumerate() {
                head.probabilities(pixel);
                let place = (i / width + 27) * columns + i % width + 27;
                for (class, probability) in pixel.iter().enumerate() {
                    want[class * columns * rows + place] = *probability;
                }
            }
            close(&got, &want, 1e-5, 1e-5).expect("close");
        }
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
