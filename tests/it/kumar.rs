//! The Kumar tiles, where they are available: the known defects of the data set are reported, and
//! none stops the check.

use crate::support::{kumar, run_json, text};

/// Twelve of them agree with their label maps.
const TILES_WITH_XML: usize = 13;

#[test]
fn every_known_defect_is_reported_and_annotations_agree_with_label_maps() {
    let Some(folder) =
        kumar("every_known_defect_is_reported_and_annotations_agree_with_label_maps")
    else {
        return;
    };
    let report = run_json(&["data", "check", text(&folder)]);
    let tiles = report["tiles"].as_array().expect("tiles");
    assert_eq!(tiles.len(), 30);
    assert!(tiles.iter().all(|t| t["error"].is_null()));
    assert_eq!(report["paper_split_complete"], true);
    let notes = |code: &str| {
        let tile = tiles
            .iter()
            .find(|t| t["name"].as_str().is_some_and(|n| n.contains(code)))
            .expect("tile");
        tile["notes"].to_string()
    };
    for (code, warning) in [
        ("50-5931", "2 vertices"),
        ("E2-A1B5", "2 vertices"),
        ("AR-A1AK", "covers no pixel"),
        ("NH-A8F7", "no pixel size"),
        ("B0-5710", "outside the image"),
    ] {
        assert!(notes(code).contains(warning), "{code}: {}", notes(code));
    }
    let ious: Vec<f64> = tiles.iter().filter_map(|t| t["xml_iou"].as_f64()).collect();
    assert_eq!(ious.len(), TILES_WITH_XML);
    assert!(ious.iter().filter(|&&iou| iou >= 0.97).count() >= 12, "{ious:?}");
    let mean_cell_fraction = |split: &str| {
        let in_split = tiles.iter().filter(|t| t["split"] == split);
        let fractions: Vec<f64> = in_split.filter_map(|t| t["cell_fraction"].as_f64()).collect();
        fractions.iter().sum::<f64>() / fractions.len() as f64
    };
    // The paper's class priors.
    assert!((mean_cell_fraction("train") - 0.250).abs() < 0.001);
    assert!((mean_cell_fraction("test") - 0.181).abs() < 0.001);
}

#[test]
fn samples_of_the_training_tiles_are_representative() {
    let Some(folder) = kumar("samples_of_the_training_tiles_are_representative") else { return };
    let rows = run_json(&[
        "data",
        "sample",
        "--data",
        text(&folder),
        "--split",
        "train",
        "--sizes",
        "916,9159",
    ]);
    let similar = |i: usize| rows["samples"][i]["representativeness"]["similar"].as_bool();
    assert_eq!((similar(0), similar(1)), (Some(true), Some(true)), "{rows}");
}
