//! Procedural tissue as a labelled tile, so that everything runs without data.

use std::collections::BTreeMap;

use super::tile::Tile;
use crate::model::sha256_hex;
use crate::raster::phantom;

/// A labelled tile of `width × height` pixels at 0.25 µm; the same seed gives the same tile.
#[must_use]
pub fn tile(width: usize, height: usize, seed: u64) -> Tile {
    let (image, labels) = phantom(width, height, seed);
    let sha256 = sha256_hex(image.data().as_flattened());
    let name = format!("phantom-{seed}");
    let object_types = BTreeMap::new();
    Tile { name, image, labels, sha256, mpp_um: Some(0.25), object_types, weight: 1.0 }
}
