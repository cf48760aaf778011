//! Reading a tile from its files, with warnings about what is unusual in them.

use std::collections::BTreeMap;
use std::path::Path;

use super::dataset_file::DATASET_FILE;
use super::discover::{LabelSource, TileFiles};
use super::label_check::{
    coverage_notes, label_defect, lost_numbers_note, mask_as_objects, place_note,
};
use super::tile::{PIXEL_SIZE_TOLERANCE, Tile};
use crate::error::{Error, ErrorContext as _, Result, Warnings};
use crate::model::sha256_hex;
use crate::outlines::{draw_outlines, read_outlines};
use crate::picture::{read_labels, read_picture};
use crate::platform::read_file;
use crate::raster::{DecodeLimits, LabelMap, RgbImage};

/// Note on an annotation without a pixel size where the image states none either.
pub(super) const NO_PIXEL_SIZE: &str = "The annotation states no pixel size";
/// Largest image, label or outline file.
pub(super) const MAX_FILE_BYTES: u64 = 2_000_000_000;

/// Reads the files of a tile. What is unusual but usable becomes a warning.
///
/// # Errors
/// Those of reading and decoding; [`Error::Mismatch`] when there are no labels, the labels are a
/// copy of the image, or the two differ in size.
pub fn load_tile(files: &TileFiles) -> Result<(Tile, Warnings)> {
    let bytes = read_file(&files.image, MAX_FILE_BYTES)?;
    let picture = read_picture(&bytes, DecodeLimits::default()).at(&files.image)?;
    let image = picture.image;
    let sha256 = sha256_hex(&bytes);
    let mut warnings = files.notes.clone();
    for note in picture.notes.notes {
        warnings.note(format!("Image: {note}"));
    }
    let in_image = picture.pixel_size_um.map(|size| size.mean());
    let mut mpp_um = in_image;
    let labels = match &files.labels {
        None => return Err(Error::mismatch("The image has no labels").at(&files.image)),
        Some(LabelSource::Raster(path)) => {
            let bytes = read_file(path, MAX_FILE_BYTES)?;
            if sha256_hex(&bytes) == sha256 {
                let copy = "The label file is a copy of the image, not its labels";
                return Err(Error::mismatch(copy).at(path));
            }
            let labels = read_labels(&bytes, DecodeLimits::default()).at(path)?;
            for note in labels.notes.notes {
                warnings.note(format!("Labels: {note}"));
            }
            mask_as_objects(labels.map, &mut warnings)
        }
        Some(LabelSource::Outlines(path)) => {
            let bytes = read_file(path, MAX_FILE_BYTES)?;
            let outlines = read_outlines(&bytes).at(path)?;
            let mpp = outlines.mpp_um;
            if is_imagescope(path) && mpp.or(in_image).or(files.mpp_um).is_none() {
                warnings.note(NO_PIXEL_SIZE);
            }
            if let (Some(mpp), Some(own)) = (mpp, in_image)
                && (mpp / own - 1.0).abs() > PIXEL_SIZE_TOLERANCE
            {
                warnings.note(format!(
                    "The annotation states {mpp} µm a pixel and the image {own:.4} µm; the \
                     annotation's is used"
                ));
            }
            mpp_um = mpp.or(in_image);
            let drawing = draw_outlines(&outlines, image.width(), image.height(), 0.0);
            warnings.extend(outlines.notes);
            warnings.extend(drawing.notes);
            drawing.labels
        }
    };
    if let Some(stated) = files.mpp_um {
        if let Some(own) = mpp_um
            && (stated / own - 1.0).abs() > PIXEL_SIZE_TOLERANCE
        {
            warnings.note(format!(
                "{DATASET_FILE} states {stated} µm a pixel and the tile {own:.4} µm; the former is \
                 used"
            ));
        }
        mpp_um = Some(stated);
    }
    if !labels.same_size(&image) {
        return Err(different_sizes(&labels, &image).at(&files.image));
    }
    if let Some(defect) = label_defect(&labels) {
        warnings.note(defect);
    } else if let Some(note) = lost_numbers_note(&labels) {
        warnings.note(note);
    }
    for note in coverage_notes(&labels).into_iter().chain(place_note(&labels, &image)) {
        warnings.note(note);
    }
    let object_types = BTreeMap::new();
    let name = files.name.clone();
    Ok((Tile { name, image, labels, sha256, mpp_um, object_types, weight: 1.0 }, warnings))
}

/// Whether outlines are of a format that has a place for the pixel size.
pub(super) fn is_imagescope(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("xml"))
}

/// The sizes, and what they suggest.
fn different_sizes(labels: &LabelMap, image: &RgbImage) -> Error {
    let (width, height) = (labels.width(), labels.height());
    let mut sentence = format!(
        "The labels are {width}×{height} pixels, the image is {}×{}",
        image.width(),
        image.height()
    );
    if (width, height) == (image.height(), image.width()) {
        sentence += ": one of them is turned by 90°";
    } else if width * image.height() == height * image.width() {
        sentence += ": one of them is scaled; export both at the same resolution";
    } else {
        sentence += "; do they belong together?";
    }
    Error::mismatch(sentence)
}
