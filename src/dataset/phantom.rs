//! Procedural tissue as a labelled tile, so that everything runs without data.

use std::collections::BTreeMap;

use super::tile::Tile;
use crate::model::sha256_hex;
use crate::raster::{LabelMap, RgbImage, TypedPhantom, phantom, typed_phantom};

/// A labelled tile of `width × height` pixels at 0.25 µm; the same seed gives the same tile.
#[must_use]
pub fn tile(width: usize, height: usize, seed: u64) -> Tile {
    let (image, labels) = phantom(width, height, seed);
    with_name(format!("phantom-{seed}"), image, labels)
}

/// The same with nuclei of two types: `dark`, which are small, and `pale`, which are large.
#[must_use]
pub fn typed_tile(width: usize, height: usize, seed: u64) -> Tile {
    let TypedPhantom { image, labels, dark } = typed_phantom(width, height, seed);
    let mut tile = with_name(format!("typed-phantom-{seed}"), image, labels);
    for label in tile.labels.labels() {
        let name = if dark.contains(&label) { "dark" } else { "pale" };
        tile.object_types.insert(label, name.to_owned());
    }
    tile
}

fn with_name(name: String, image: RgbImage, labels: LabelMap) -> Tile {
    let sha256 = sha256_hex(image.data().as_flattened());
    let object_types = BTreeMap::new();
    Tile { name, image, labels, sha256, mpp_um: Some(0.25), object_types, weight: 1.0 }
}
