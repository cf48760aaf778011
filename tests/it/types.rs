//! Types of nuclei from the classes of outlines to the files of a result.

use std::collections::BTreeSet;
use std::path::Path;

use prunella::dataset::phantom::typed_tile;
use prunella::model::Model;
use prunella::outlines::{trace_labels, write_geojson};
use prunella::raster::encode_rgb_png;

use crate::support::{run_json, text};

/// Writes an image and the outlines of its nuclei with their types.
fn write_tile(folder: &Path, name: &str, seed: u64) {
    let tile = typed_tile(160, 160, seed);
    let image = encode_rgb_png(&tile.image).expect("PNG");
    std::fs::write(folder.join(format!("{name}.png")), image).expect("image");
    let mut outlines = trace_labels(&tile.labels);
    for (object, label) in outlines.objects.iter_mut().zip(tile.labels.labels()) {
        object.class = Some(tile.object_types[&label].clone());
    }
    let mut file = Vec::new();
    write_geojson(&outlines, Some(0.25), &mut file).expect("GeoJSON");
    std::fs::write(folder.join(format!("{name}.geojson")), file).expect("outlines");
}

#[test]
fn types_are_learned_from_classes_and_written_as_classes() {
    let data = tempfile::tempdir().expect("folder");
    let out = tempfile::tempdir().expect("folder");
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        write_tile(data.path(), name, seed);
    }
    let model = out.path().join("types.safetensors");
    let train = ["train", "--data", text(data.path()), "--out", text(&model), "--mpp", "0.25"];
    let recipe = "--widths 4,6,8,24 --border 0.5 --square 8 --patches 25600 --epochs 20 --batch 8 \
                  --learning-rate 0.01 --revive --device cpu";
    let recipe: Vec<&str> = recipe.split_whitespace().collect();
    run_json(&[&train[..], &recipe[..]].concat());
    let classes = Model::load(&model).expect("model").card().classes.clone();
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["background", "dark", "pale", "border"]);

    let image = data.path().join("a.png");
    let results = out.path().join("results");
    let result = run_json(&[
        "segment",
        text(&image),
        "--model",
        text(&model),
        "--mpp",
        "0.25",
        "--out",
        text(&results),
        "--device",
        "cpu",
    ]);
    let result = &result["images"][0];
    let count = |name: &str| result["types"][name].as_u64().expect("a count");
    assert_eq!(count("dark") + count("pale"), result["nuclei"].as_u64().expect("a count"));
    assert!(count("dark") > 3 && count("pale") > 1, "{result}");
    let geojson = std::fs::read_to_string(results.join("a.geojson")).expect("GeoJSON");
    let parsed: serde_json::Value = serde_json::from_str(&geojson).expect("JSON");
    let mut found = BTreeSet::new();
    for feature in parsed["features"].as_array().expect("features") {
        let class = &feature["properties"]["classification"];
        found.insert((class["name"].to_string(), class["color"].to_string()));
    }
    assert_eq!(found.len(), 2, "{found:?}");
    let table = std::fs::read_to_string(results.join("a.csv")).expect("CSV");
    let mut lines = table.lines();
    assert!(lines.next().is_some_and(|head| head.ends_with(",status,class")), "{table}");
    let dark = lines.filter(|line| line.ends_with(",model,dark")).count();
    assert_eq!(dark as u64, count("dark"));

    let scores = run_json(&[
        "evaluate",
        "--model",
        text(&model),
        "--data",
        text(data.path()),
        "--device",
        "cpu",
    ]);
    let types = &scores["types"];
    assert!(types["dark"]["pq"].as_f64().expect("a score") > 0.3, "{types}");
    assert!(scores["multi_class_pq"].as_f64().expect("a score") > 0.3, "{scores}");
}
