//! A labelled image in memory.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::sha256_hex;
use crate::raster::{DecodeLimits, LabelMap, RgbImage, resized};

/// Relative difference up to which pixel sizes are taken as equal.
pub const PIXEL_SIZE_TOLERANCE: f64 = 0.05;
/// Ratios of pixel sizes beyond this say that one of them is wrong.
const MAX_FACTOR: f64 = 16.0;

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
    /// How often each of its pixels is drawn for training, relative to those of other tiles;
    /// positive.
    pub weight: f64,
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

    /// Whether its weight is exactly this.
    #[allow(clippy::float_cmp, reason = "weights are stated, not computed")]
    #[must_use]
    pub fn has_weight(&self, weight: f64) -> bool {
        self.weight == weight
    }

    /// Whether its stated pixel size is another than `mpp_um`.
    #[must_use]
    pub fn differs_from_pixel_size(&self, mpp_um: f64) -> bool {
        self.mpp_um.is_some_and(|own| (own / mpp_um - 1.0).abs() > PIXEL_SIZE_TOLERANCE)
    }

    /// The tile with pixels of `mpp_um` micrometres: colours are averaged or interpolated, of
    /// labels the nearest is taken. Itself where its pixel size is the same or not known.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for pixel sizes so far apart that one must be wrong; [`Error::Limit`]
    /// when the result has too many pixels.
    pub fn at_pixel_size(self, mpp_um: f64) -> Result<Self> {
        let Some(own) = self.mpp_um.filter(|_| self.differs_from_pixel_size(mpp_um)) else {
            return Ok(self);
        };
        let scale = own / mpp_um;
        if !(1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&scale) {
            return Err(Error::mismatch(format!(
                "Pixels of {own} µm and {mpp_um} µm are too far apart; is the pixel size right?"
            )));
        }
        let side = |pixels: usize| ((pixels as f64 * scale).round() as usize).max(1);
        let width = side(self.image.width());
        let height = side(self.image.height());
        let limit = DecodeLimits::default().max_pixels;
        if width as u64 * height as u64 > limit {
            return Err(Error::limit(format!(
                "With pixels of {mpp_um} µm the tile has {width}×{height} pixels, more than the \
                 {limit} that are taken"
            )));
        }
        let image = resized(&self.image, width, height)?;
        let labels = self.labels.nearest(width, height);
        Ok(Self { image, labels, mpp_um: Some(mpp_um), ..self })
    }
}

#[cfg(test)]
mod tests {
    use crate::dataset::phantom;

    #[test]
    fn another_pixel_size_keeps_the_share_of_nuclei_and_the_labels() {
        let tile = phantom::tile(200, 120, 3);
        let share = |labels: &crate::raster::LabelMap| {
            labels.foreground().data().iter().filter(|&&is| is).count() as f64
                / labels.data().len() as f64
        };
        for (mpp, width, height) in [(0.5, 100, 60), (0.125, 400, 240), (0.31, 161, 97)] {
            let other = tile.clone().at_pixel_size(mpp).expect("tile");
            assert_eq!((other.image.width(), other.image.height()), (width, height), "{mpp}");
            assert!(other.labels.same_size(&other.image));
            assert_eq!(other.mpp_um, Some(mpp));
            assert!((share(&other.labels) - share(&tile.labels)).abs() < 0.02, "{mpp}");
            let known = tile.labels.labels();
            assert!(other.labels.labels().iter().all(|label| known.contains(label)));
        }
    }

    #[test]
    fn nearly_equal_and_unknown_pixel_sizes_leave_a_tile_as_it_is() {
        let tile = phantom::tile(60, 40, 3);
        let same = tile.clone().at_pixel_size(0.26).expect("tile");
        assert_eq!((same.image, same.mpp_um), (tile.image.clone(), Some(0.25)));
        let unknown = crate::dataset::Tile { mpp_um: None, ..tile.clone() };
        assert_eq!(unknown.at_pixel_size(0.5).expect("tile").image, tile.image);
        assert!(tile.at_pixel_size(9.0).is_err(), "36 times as large");
    }
}
