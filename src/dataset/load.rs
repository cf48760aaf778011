//! One tile in memory: image, label map, and what was odd about its files.

use super::discover::{LabelSource, TileFiles};
use super::imagescope::{parse_imagescope, rasterise};
use crate::error::{Error, ErrorContext as _, Result, Warnings};
use crate::model::sha256_hex;
use crate::platform::read_file;
use crate::raster::{
    DecodeLimits, LabelMap, RgbImage, decode_image, decode_labels, label_components,
};

/// Largest image, label or XML file.
pub const MAX_FILE_BYTES: u64 = 2_000_000_000;

/// A labelled image.
#[derive(Debug, Clone)]
pub struct Tile {
    pub name: String,
    pub image: RgbImage,
    /// 0 is background.
    pub labels: LabelMap,
    /// Of the image file.
    pub sha256: String,
    /// Micrometres a pixel, where a file says so.
    pub mpp_um: Option<f64>,
}

impl Tile {
    /// SHA-256 of the label map's size and values, hexadecimal.
    #[must_use]
    pub fn labels_sha256(&self) -> String {
        let size = [self.labels.width() as u32, self.labels.height() as u32];
        let bytes: Vec<u8> =
            size.iter().chain(self.labels.data()).flat_map(|v| v.to_le_bytes()).collect();
        sha256_hex(&bytes)
    }
}

/// Reads the files of a tile. Oddities that do not stop go into the report.
///
/// # Errors
/// Any error of the files; [`Error::Mismatch`] when there are no labels or their size is another.
pub fn load_tile(files: &TileFiles) -> Result<(Tile, Warnings)> {
    let bytes = read_file(&files.image, MAX_FILE_BYTES)?;
    let image = decode_image(&bytes, DecodeLimits::default()).at(&files.image)?;
    let sha256 = sha256_hex(&bytes);
    let mut report = Warnings::default();
    let (labels, mpp_um) = match &files.labels {
        None => return Err(Error::mismatch("The image has no labels").at(&files.image)),
        Some(LabelSource::Raster(path)) => {
            let bytes = read_file(path, MAX_FILE_BYTES)?;
            let labels = decode_labels(&bytes, DecodeLimits::default()).at(path)?;
            (split_binary(labels, &mut report, &files.name), None)
        }
        Some(LabelSource::ImageScope(path)) => {
            let bytes = read_file(path, MAX_FILE_BYTES)?;
            let (regions, mpp) = parse_imagescope(&bytes).at(path)?;
            if mpp.is_none() {
                report.note(format!("The annotation of '{}' states no pixel size", files.name));
            }
            let (labels, notes) = rasterise(&regions, image.width(), image.height(), 0.0);
            report.extend(notes);
            (labels, mpp)
        }
    };
    if !labels.same_size(&image) {
        let (w, h) = (labels.width(), labels.height());
        let expected = format!("{}×{}", image.width(), image.height());
        return Err(Error::mismatch(format!(
            "The labels are {w}×{h} pixels, the image is {expected}"
        ))
        .at(&files.image));
    }
    Ok((Tile { name: files.name.clone(), image, labels, sha256, mpp_um }, report))
}

/// A file with one value besides 0 is a mask: its connected parts become objects.
fn split_binary(labels: LabelMap, report: &mut Warnings, name: &str) -> LabelMap {
    let highest = labels.data().iter().copied().max().unwrap_or(0);
    if highest == 0 || labels.data().iter().any(|&l| l != 0 && l != highest) {
        return labels;
    }
    let objects = label_components(&labels.foreground());
    if objects.data().iter().copied().max().unwrap_or(0) > 1 {
        report.note(format!(
            "The labels of '{name}' are a mask; its connected parts are counted as nuclei"
        ));
        return objects;
    }
    labels
}
