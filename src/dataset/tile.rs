//! A labelled image in memory.

use std::collections::BTreeMap;

use crate::model::sha256_hex;
use crate::raster::{LabelMap, RgbImage};

/// A labelled image.
#[derive(Debug, Clone)]
pub struct Tile {
    /// Name of the image file without its extension.
    pub name: String,
    /// RGB, 8 bits a channel.
    pub image: RgbImage,
    /// 0 is background.
    pub labels: LabelMap,
    /// Of the image file, hexadecimal.
    pub sha256: String,
    /// Micrometres a pixel, where a file says so.
    pub mpp_um: Option<f64>,
    /// Types of the objects by their labels; empty where they are not told apart.
    pub object_types: BTreeMap<u32, String>,
}

impl Tile {
    /// SHA-256 of the label map's size and values, hexadecimal.
    #[must_use]
    pub fn labels_sha256(&self) -> String {
        let size = [self.labels.width() as u32, self.labels.height() as u32];
        let mut bytes = Vec::with_capacity((self.labels.data().len() + size.len()) * 4);
        for value in size.iter().chain(self.labels.data()) {
            bytes.extend(value.to_le_bytes());
        }
        sha256_hex(&bytes)
    }
}
