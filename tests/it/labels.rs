//! Teaching a model by a file of marks in QuPath's form.

use prunella::model::Model;

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
