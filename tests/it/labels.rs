//! Teaching a model by a file of marks in QuPath's form.

use prunella::dataset::Tile;
use prunella::dataset::phantom::typed_tile;
use prunella::model::Model;
use prunella::outlines::{trace_labels, write_geojson};
use prunella::raster::encode_rgb_png;

use crate::support::{root, run, run_json, text};

/// The left half of the picture, 320 × 320 pixels, is said to hold no nucleus at all.
const MARKS: &str = r#"{"type":"FeatureCollection","features":[{
  "type":"Feature","id":"4f8e","geometry":{"type":"Polygon",
    "coordinates":[[[0,0],[160,0],[160,320],[0,320],[0,0]]]},
  "properties":{"objectType":"annotation","classification":{"name":"Region*","color":[0,0,180]}}
}]}"#;

#[test]
fn a_model_learns_from_marks_alike_each_time_and_finds_less_where_nothing_is() {
    let dir = tempfile::tempdir().expect("folder");
    let path = |name: &str| dir.path().join(name);
    let marks = path("marks.geojson");
    std::fs::write(&marks, MARKS).expect("marks");
    let image = root().join("assets/tissue/tnbc_07_1.jpg");
    let start = root().join("models/open-small.safetensors");
    let checked = run_json(&["data", "check", text(&marks)]);
    assert_eq!(checked["marks"]["complete frames"].as_u64(), Some(1), "{checked}");

    let pair = ["--labels", text(&marks), "--image", text(&image), "--image-mpp", "0.25"];
    let taught = path("taught.safetensors");
    let again = path("again.safetensors");
    for out in [&taught, &again] {
        run_json(&[&["finetune", text(&start), "--out", text(out)][..], &pair].concat());
    }
    let load = |path| Model::load(path).expect("model");
    assert_eq!(load(&taught).fingerprint(), load(&again).fingerprint());
    assert_ne!(load(&taught).fingerprint(), load(&start).fingerprint());

    let scores = |model| {
        let scored = run_json(&[&["evaluate", "--model", text(model)][..], &pair].concat());
        let score = &scored["images"][0];
        assert_eq!(score["marked_px"].as_u64(), Some(160 * 320), "{scored}");
        (score["pixels"]["accuracy"].as_f64(), score["false_objects"].as_u64())
    };
    let (before, after) = (scores(&start), scores(&taught));
    assert!(after.0 > before.0 && after.1 < before.1, "{before:?} {after:?}");
}

/// The outlines of a phantom's dark and pale nuclei, under these names.
fn typed_marks(tile: &Tile, names: [&str; 2]) -> Vec<u8> {
    let mut outlines = trace_labels(&tile.labels);
    for (object, label) in outlines.objects.iter_mut().zip(tile.labels.labels()) {
        let is_dark = tile.object_types[&label] == "dark";
        object.class = Some(names[usize::from(!is_dark)].to_owned());
    }
    let mut file = Vec::new();
    write_geojson(&outlines, Some(0.25), &mut file).expect("GeoJSON");
    file
}

#[test]
fn two_new_types_are_told_apart_whatever_their_names() {
    let dir = tempfile::tempdir().expect("folder");
    let path = |name: &str| dir.path().join(name);
    let tile = typed_tile(256, 256, 1);
    std::fs::write(path("a.png"), encode_rgb_png(&tile.image).expect("PNG")).expect("image");
    let start = root().join("models/open-small.safetensors");
    let mut shares = Vec::new();
    for (number, names) in [["first", "second"], ["second", "first"]].into_iter().enumerate() {
        let marks = path(&format!("{number}.geojson"));
        std::fs::write(&marks, typed_marks(&tile, names)).expect("marks");
        let taught = path(&format!("{number}.safetensors"));
        let (image, out) = (path("a.png"), path(&format!("out{number}")));
        let of_image = ["--image", text(&image), "--image-mpp", "0.25", "--labels", text(&marks)];
        let learn = ["finetune", text(&start), "--out", text(&taught), "--steps", "150"];
        run_json(&[&learn[..], &of_image].concat());
        let model = ["--model", text(&taught), "--mpp", "0.25", "--out", text(&out)];
        let found = run_json(&[&["segment", text(&image)][..], &model].concat());
        let of = |name: &str| found["images"][0]["types"][name].as_u64().expect("a count");
        shares.push(names.map(of));
    }
    let [[dark, pale], swapped] = shares[..] else { panic!("{shares:?}") };
    assert!(dark > 3 && pale > 1, "{shares:?}");
    assert_eq!(swapped, [dark, pale], "the order of names decides nothing");
}

#[test]
fn options_without_a_meaning_for_marks_are_refused() {
    for option in [["--epochs", "3"], ["--tiles", "a"], ["--teacher", "m.safetensors"]] {
        let pair = ["--labels", "m.geojson", "--image", "a.png", "--out", "o.safetensors"];
        let (code, _, message) =
            run(&[&["finetune", "m.safetensors"][..], &pair, &option].concat());
        assert_eq!(code, Some(2), "{message}");
        assert!(
            message.contains("cannot be used with") && message.contains(option[0]),
            "{message}"
        );
    }
}
