//! The programs in `examples/`, run once on small inputs.

use std::path::Path;

use prunella::model::Model;
use prunella::raster::{encode_rgb_png, phantom};

use crate::support::root;

#[allow(dead_code, reason = "main is not used here")]
#[path = "../../examples/prune_model.rs"]
mod prune_model;
#[allow(dead_code, reason = "main is not used here")]
#[path = "../../examples/segment_image.rs"]
mod segment_image;
#[allow(dead_code, reason = "main is not used here")]
#[path = "../../examples/train_small.rs"]
mod train_small;

#[test]
fn an_image_is_segmented_into_geojson() {
    let folder = tempfile::tempdir().expect("folder");
    let image = folder.path().join("tissue.png");
    let (tissue, _) = phantom(200, 150, 3);
    std::fs::write(&image, encode_rgb_png(&tissue).expect("png")).expect("image");
    let geojson = folder.path().join("nuclei.geojson");
    let model = root().join("models/paper-90.safetensors");
    let count = segment_image::segment_image(&model, &image, &geojson).expect("segmented");
    let text = std::fs::read_to_string(geojson).expect("GeoJSON");
    assert!(count > 5, "{count} nuclei");
    assert_eq!(text.matches("\"Polygon\"").count(), count);
}

#[test]
fn a_pruned_model_classifies_many_pixels_as_before() {
    let folder = tempfile::tempdir().expect("folder");
    let model = root().join("models/paper-00.safetensors");
    let pruned = folder.path().join("pruned.safetensors");
    let agreement = prune_model::prune_model(&model, &pruned).expect("pruned");
    assert!((0.3..=1.0).contains(&agreement), "{agreement}");
    let parameters = |file: &Path| Model::load(file).expect("model").graph().parameters();
    assert!(parameters(&pruned) < parameters(&model) / 2);
}

#[test]
fn a_small_network_learns_procedural_tissue() {
    let folder = tempfile::tempdir().expect("folder");
    let dice = train_small::train_small(&folder.path().join("small.safetensors")).expect("trained");
    assert!(dice > 0.6, "{dice}");
}
