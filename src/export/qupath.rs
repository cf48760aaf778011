//! A model for QuPath (<https://qupath.github.io>): ONNX in the tile form, the pixel classifier
//! that runs it, and scripts.
//!
//! The classifier is JSON in the form that QuPath's Gson reads (versions 0.4 to 0.7). An object of
//! a class with subclasses names its own in a field, and the other fields are those of the Java
//! class:
//!
//! ```text
//! PixelClassifier  "pixel_classifier_type"  qupath.opencv.ml.pixel.PixelClassifiers
//! ImageDataOp      "type": "data.op.default"    qupath.opencv.ops.ImageOps.DefaultImageDataOp
//! ImageOp          "type": "op.ml.opencv-dnn"   qupath.opencv.ops.ImageOps.ML.DnnOp
//! DnnModel         "dnn_model": "OpenCVDnn"     qupath.opencv.dnn.OpenCVDnn, DnnModels
//! metadata         qupath.lib.classifiers.pixel.PixelClassifierMetadata
//! pixel size       qupath.lib.images.servers.PixelCalibration
//! class            qupath.lib.io.GsonTools.PathClassTypeAdapter
//! ```
//!
//! QuPath reads tiles of `inputWidth` less twice `inputPadding` pixels
//! (`PixelClassificationImageServer`), adds the padding of `DnnOp` around them (`ServerTools`
//! repeats the pixels at the edge of an image), multiplies by `scale`, and strips the padding from
//! the result, which must have the size of the input.

use std::path::Path;

use serde_json::{Value, json};

use super::onnx::{OnnxForm, to_onnx};
use crate::error::{Error, Result};
use crate::model::{
    Architecture, CENTRE_PX, Card, ClassRole, InstanceParameters, Model, NucleusType,
};

/// Values of a hidden layer that a tile may have: OpenCV keeps them all, 4 bytes each.
const MAX_HIDDEN_VALUES: usize = 1 << 26;
/// Side of tiles, pixels, if the hidden layer is not too wide.
const TILE_PX: usize = 512;
/// Side of tiles of wider networks.
const SMALL_TILE_PX: usize = 256;

/// Pixels outside nuclei and on their borders become no objects: QuPath leaves out classes whose
/// name ends in an asterisk (`PathClassTools.isIgnoredClass`). The first is QuPath's own.
const BACKGROUND: &str = "Ignore*";
const BORDER: &str = "Border*";
/// Red, green, blue.
const IGNORED_COLOUR: [u8; 3] = [180, 180, 180];
const BORDER_COLOUR: [u8; 3] = [120, 120, 120];
/// Class of nuclei of a model that knows no types, as in the GeoJSON of `segment`.
const NUCLEUS: &str = "Nucleus";
const NUCLEUS_COLOUR: [u8; 3] = [0, 160, 80];

/// What QuPath needs of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuPathFiles {
    /// The network, bytes of an `.onnx` file.
    pub onnx: Vec<u8>,
    /// The pixel classifier, JSON.
    pub classifier: String,
    /// Groovy script that makes detections by the classifier.
    pub classify_script: String,
    /// Groovy script that makes detections by `prunella segment`.
    pub segment_script: String,
}

/// Where the files will be, absolute paths: QuPath's classifier and the scripts name them.
#[derive(Debug, Clone, Copy)]
pub struct QuPathPlaces<'a> {
    /// Of the network, `.onnx`.
    pub onnx: &'a Path,
    /// Of the classifier, `.json`.
    pub classifier: &'a Path,
    /// Of the model for `prunella segment`, `.safetensors`.
    pub model: &'a Path,
}

/// The model for QuPath.
///
/// # Errors
/// [`Error::Unsupported`] for a network that pads inside its patch, [`Error::Invalid`] for a path
/// that is not absolute or no Unicode.
pub fn to_qupath(model: &Model, places: QuPathPlaces<'_>) -> Result<QuPathFiles> {
    let onnx = to_onnx(model, OnnxForm::Tile)?;
    let classifier = pixel_classifier(model, places.onnx)?;
    let card = model.card();
    let InstanceParameters { min_area_px, max_hole_px, .. } = card.instances;
    let square_um = |area_px: u32| f64::from(area_px) * card.mpp_um * card.mpp_um;
    let min_area_um2 = square_um(min_area_px);
    let border_um = card.border_um.filter(|_| card.has_border()).unwrap_or(0.0);
    let classify_script = include_str!("qupath/classify.groovy")
        .replace("@MIN_AREA@", &format!("{:.2}", interior_area(min_area_um2, border_um)))
        .replace("@MIN_HOLE@", &format!("{:.2}", square_um(max_hole_px)))
        .replace("@BORDER@", &format!("{border_um:.2}"))
        .replace("@CLASSIFIER@", &groovy_text(path_text(places.classifier)?));
    let segment_script = include_str!("qupath/segment.groovy")
        .replace("@MODEL@", &groovy_text(path_text(places.model)?));
    Ok(QuPathFiles {
        onnx,
        classifier: format!("{classifier:#}\n"),
        classify_script,
        segment_script,
    })
}

/// Area of a round nucleus without a border of that width, µm²: QuPath applies its limit before
/// nuclei are grown by their border.
fn interior_area(area_um2: f64, border_um: f64) -> f64 {
    let radius = (area_um2 / std::f64::consts::PI).sqrt() - border_um;
    std::f64::consts::PI * radius.max(0.0).powi(2)
}

fn pixel_classifier(model: &Model, onnx: &Path) -> Result<Value> {
    let card = model.card();
    let side = tile_px(&card.architecture) + 2 * CENTRE_PX;
    let padding = json!({ "x1": CENTRE_PX, "x2": CENTRE_PX, "y1": CENTRE_PX, "y2": CENTRE_PX });
    let network = json!({
        "dnn_model": "OpenCVDnn",
        "name": file_stem(onnx)?,
        "modelType": "DEFAULT",
        "pathModel": file_uri(onnx)?,
        // OpenCV's own backend on the CPU: the numbers of opencv_dnn.DNN_BACKEND_DEFAULT and
        // DNN_TARGET_CPU.
        "backend": 0,
        "target": 0,
        "crop": false,
        "swapRB": false,
        "scale": 1.0 / 255.0,
    });
    Ok(json!({
        "pixel_classifier_type": "OpenCVPixelClassifier",
        "metadata": {
            "inputPadding": CENTRE_PX,
            "inputResolution": calibration(card),
            "inputWidth": side,
            "inputHeight": side,
            "inputNumChannels": 3,
            "outputType": "PROBABILITY",
            "outputPixelType": "FLOAT32",
            "outputChannels": [],
            "classificationLabels": class_labels(card),
        },
        "op": {
            "type": "data.op.default",
            "op": {
                "type": "op.ml.opencv-dnn",
                "model": network,
                "inputWidth": side,
                "inputHeight": side,
                "outputNames": [],
                "padding": padding,
            },
        },
    }))
}

fn tile_px(architecture: &Architecture) -> usize {
    let hidden = architecture.layer_widths().into_iter().max().unwrap_or(0);
    if hidden * TILE_PX * TILE_PX <= MAX_HIDDEN_VALUES { TILE_PX } else { SMALL_TILE_PX }
}

/// The pixel size that QuPath resamples to.
fn calibration(card: &Card) -> Value {
    let size = json!({ "value": card.mpp_um, "unit": "µm" });
    json!({
        "pixelWidth": size,
        "pixelHeight": size,
        "zSpacing": { "value": 1.0, "unit": "z-slice" },
        "timeUnit": "SECONDS",
        "timepoints": [],
    })
}

/// Channel → class.
fn class_labels(card: &Card) -> Value {
    let types = NucleusType::among(&card.classes);
    let mut labels = serde_json::Map::new();
    for (channel, class) in card.classes.iter().enumerate() {
        let found = types.iter().find(|kind| kind.name == class.name);
        let (name, colour) = match (class.role, found) {
            (ClassRole::Background, _) => (BACKGROUND, IGNORED_COLOUR),
            (ClassRole::Border, _) => (BORDER, BORDER_COLOUR),
            (ClassRole::Nucleus, Some(kind)) => (kind.name.as_str(), kind.colour),
            (ClassRole::Nucleus, None) => (NUCLEUS, NUCLEUS_COLOUR),
        };
        labels.insert(channel.to_string(), json!({ "name": name, "color": colour }));
    }
    Value::Object(labels)
}

fn path_text(path: &Path) -> Result<&str> {
    let text = path.to_str().filter(|_| path.is_absolute());
    text.ok_or_else(|| {
        Error::invalid("QuPath's files need an absolute path of Unicode characters").at(path)
    })
}

fn file_stem(path: &Path) -> Result<String> {
    path_text(path)?;
    Ok(path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
}

/// The path as a `file:` URI (RFC 8089), which `java.nio.file.Paths` reads.
fn file_uri(path: &Path) -> Result<String> {
    let mut text = path_text(path)?.to_owned();
    if cfg!(windows) {
        text = text.replace('\\', "/");
    }
    let mut uri = "file://".to_owned();
    if !text.starts_with('/') {
        // A drive of Windows.
        uri.push('/');
    }
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                uri.push(char::from(byte));
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    Ok(uri)
}

/// A literal text of Groovy without interpolation.
fn groovy_text(text: &str) -> String {
    let mut literal = text.replace('\\', "\\\\").replace('\'', "\\'");
    literal = literal.replace('\n', "\\n").replace('\r', "\\r");
    format!("'{literal}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PixelClass, dccn, dcnn};

    const PLACES: [&str; 3] = ["/a b/n.onnx", "/a b/n.json", "/a b/it's.safetensors"];

    fn files(model: &Model) -> QuPathFiles {
        let [onnx, classifier, model_file] = PLACES.map(Path::new);
        let places = QuPathPlaces { onnx, classifier, model: model_file };
        to_qupath(model, places).expect("files")
    }

    #[test]
    fn the_classifier_has_the_form_that_qupath_reads() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let classifier: Value = serde_json::from_str(&files(&model).classifier).expect("JSON");
        // Fields of the Java classes named at the top of this file.
        let want = json!({
            "pixel_classifier_type": "OpenCVPixelClassifier",
            "metadata": {
                "inputPadding": 27,
                "inputResolution": {
                    "pixelWidth": { "value": 0.25, "unit": "µm" },
                    "pixelHeight": { "value": 0.25, "unit": "µm" },
                    "zSpacing": { "value": 1.0, "unit": "z-slice" },
                    "timeUnit": "SECONDS",
                    "timepoints": []
                },
                "inputWidth": 566,
                "inputHeight": 566,
                "inputNumChannels": 3,
                "outputType": "PROBABILITY",
                "outputPixelType": "FLOAT32",
                "outputChannels": [],
                "classificationLabels": {
                    "0": { "name": "Ignore*", "color": [180, 180, 180] },
                    "1": { "name": "Nucleus", "color": [0, 160, 80] }
                }
            },
            "op": {
                "type": "data.op.default",
                "op": {
                    "type": "op.ml.opencv-dnn",
                    "model": {
                        "dnn_model": "OpenCVDnn",
                        "name": "n",
                        "modelType": "DEFAULT",
                        "pathModel": "file:///a%20b/n.onnx",
                        "backend": 0,
                        "target": 0,
                        "crop": false,
                        "swapRB": false,
                        "scale": 1.0 / 255.0
                    },
                    "inputWidth": 566,
                    "inputHeight": 566,
                    "outputNames": [],
                    "padding": { "x1": 27, "x2": 27, "y1": 27, "y2": 27 }
                }
            }
        });
        assert_eq!(classifier, want);
    }

    #[test]
    fn types_and_a_border_become_classes_of_qupath() {
        let mut model = Model::random(dcnn([3, 5, 8], 20, 4), 1).expect("model");
        let card = model.card_mut();
        card.classes = PixelClass::of_nuclei(&["round".into(), "long".into()], true);
        card.border_um = Some(0.75);
        let labels = class_labels(model.card());
        let names = ["0", "1", "2", "3"].map(|channel| labels[channel]["name"].clone());
        assert_eq!(names, ["Ignore*", "round", "long", "Border*"]);
        let script = files(&model).classify_script;
        assert!(script.contains("double borderUm = 0.75\n"));
        // The radius of 2.5 µm² is 0.892 µm.
        assert!(script.contains("double minAreaUm2 = 0.06\n"), "{script}");
    }

    #[test]
    fn scripts_name_the_files_and_keep_no_placeholder() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let files = files(&model);
        assert!(files.classify_script.contains("def classifier = '/a b/n.json'\n"));
        assert!(files.classify_script.contains("double minAreaUm2 = 2.50\n"));
        assert!(files.classify_script.contains("double minHoleUm2 = 6.25\n"));
        assert!(files.classify_script.contains("double borderUm = 0.00\n"));
        assert!(files.segment_script.contains("def model = '/a b/it\\'s.safetensors'\n"));
    }

    #[test]
    fn wide_networks_get_smaller_tiles() {
        assert_eq!(tile_px(&dcnn([3, 5, 8], 256, 2)), 512);
        assert_eq!(tile_px(&Architecture::paper_dcnn()), 256);
    }

    #[test]
    fn relative_paths_and_networks_without_a_dense_form_are_refused() {
        assert!(file_uri(Path::new("n.onnx")).is_err());
        let padded = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 1).expect("model");
        let [onnx, classifier, model] = PLACES.map(Path::new);
        assert!(to_qupath(&padded, QuPathPlaces { onnx, classifier, model }).is_err());
    }
}
