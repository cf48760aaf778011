//! Small crops of labelled H&E tissue that the program carries, for its demonstration. The pictures
//! lie in `assets/tissue`, whose README says whose they are.

use std::collections::BTreeMap;

use super::tile::Tile;
use crate::error::{Error, Result};
use crate::model::{DataSource, sha256_hex};
use crate::picture::{read_labels, read_picture};
use crate::raster::{DecodeLimits, RgbImage};

/// Pixel size of all crops, micrometres.
const MPP_UM: f64 = 0.25;
/// Licence of all crops.
const LICENCE: &str = "CC BY 4.0";

/// A crop as it is stored.
struct StoredCrop {
    name: &'static str,
    /// JPEG.
    image: &'static [u8],
    /// Label map, PNG.
    labels: &'static [u8],
}

macro_rules! stored {
    ($name:literal) => {
        StoredCrop {
            name: $name,
            image: include_bytes!(concat!("../../assets/tissue/", $name, ".jpg")),
            labels: include_bytes!(concat!("../../assets/tissue/", $name, ".labels.png")),
        }
    };
}

/// 256×256 pixels each.
const TRAINING: [StoredCrop; 10] = [
    stored!("tnbc_01_2"),
    stored!("tnbc_02_2"),
    stored!("tnbc_05_2"),
    stored!("tnbc_06_1"),
    stored!("tnbc_08_2"),
    stored!("nuinsseg_human_kidney_01"),
    stored!("nuinsseg_human_liver_14"),
    stored!("nuinsseg_human_salivory_15"),
    stored!("nuinsseg_human_tonsile_2"),
    stored!("nuinsseg_mouse_liver_13"),
];

/// 320×320 pixels each, of another patient and another organ than those of training.
const HELD_OUT: [StoredCrop; 2] = [stored!("tnbc_07_1"), stored!("nuinsseg_human_rectum_5")];

/// Crops for training.
///
/// # Errors
/// None in practice.
pub fn training() -> Result<Vec<Tile>> {
    TRAINING.iter().map(tile).collect()
}

/// Pictures of tissue of another pixel size, in micrometres, that a taught model must not forget:
/// those for training.
///
/// # Errors
/// As of [`Tile::at_pixel_size`].
pub fn rehearsal(mpp_um: f64) -> Result<Vec<RgbImage>> {
    training()?.into_iter().map(|tile| Ok(tile.at_pixel_size(mpp_um)?.image)).collect()
}

/// Crops for scores.
///
/// # Errors
/// None in practice.
pub fn held_out() -> Result<Vec<Tile>> {
    HELD_OUT.iter().map(tile).collect()
}

/// Where the crops come from.
#[must_use]
pub fn sources() -> Vec<DataSource> {
    let source = |name: &str, citation: &str| DataSource {
        name: name.to_owned(),
        licence: Some(LICENCE.to_owned()),
        citation: Some(citation.to_owned()),
    };
    vec![
        source("TNBC", "Naylor et al. 2018, IEEE TMI, doi:10.5281/zenodo.1174342"),
        source("NuInsSeg", "Mahbod et al. 2024, Scientific Data, doi:10.5281/zenodo.10518968"),
    ]
}

fn tile(crop: &StoredCrop) -> Result<Tile> {
    let image = read_picture(crop.image, DecodeLimits::default())?.image;
    let labels = read_labels(crop.labels, DecodeLimits::default())?.map;
    if !labels.same_size(&image) {
        return Err(Error::mismatch(format!("Image and labels of {} differ in size", crop.name)));
    }
    Ok(Tile {
        name: crop.name.to_owned(),
        image,
        labels,
        sha256: sha256_hex(crop.image),
        mpp_um: Some(MPP_UM),
        object_types: BTreeMap::new(),
        weight: 1.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crop_is_read_and_holds_nuclei() {
        for (tiles, side) in [(training(), 256), (held_out(), 320)] {
            for tile in tiles.expect("crops") {
                assert_eq!((tile.image.width(), tile.labels.height()), (side, side));
                assert!(tile.labels.labels().len() >= 5, "{}", tile.name);
            }
        }
    }
}
