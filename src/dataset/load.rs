//! Reading a tile from its files, with warnings about what is unusual in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::dataset_file::DATASET_FILE;
use super::discover::{LabelSource, TileFiles};
use super::label_check::{
    coverage_notes, label_defect, lost_numbers_note, mask_as_objects, place_note,
};
use super::tile::{PIXEL_SIZE_TOLERANCE, Tile};
use crate::error::{Error, ErrorContext as _, Result, Warnings, counted};
use crate::model::sha256_hex;
use crate::outlines::{Drawing, draw_outlines, read_outlines};
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
    let mut types = BTreeMap::new();
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
            types = object_types(&drawing, &mut warnings);
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
    let name = files.name.clone();
    Ok((Tile { name, image, labels, sha256, mpp_um, object_types: types, weight: 1.0 }, warnings))
}

/// Types of nuclei by label: the classes of a file in which each nucleus has one. Those named
/// `Nucleus`, as programs name what they do not tell apart, have none.
fn object_types(drawing: &Drawing, warnings: &mut Warnings) -> BTreeMap<u32, String> {
    let mut types = BTreeMap::new();
    let mut without = 0;
    for label in drawing.labels.labels() {
        let class = drawing.classes.get(label as usize - 1).and_then(Option::as_deref);
        match class.map(str::trim) {
            None | Some("") => without += 1,
            Some(name) if matches!(name.to_lowercase().as_str(), "nucleus" | "nuclei") => {
                without += 1;
            }
            Some(name) => drop(types.insert(label, name.to_owned())),
        }
    }
    let names: BTreeSet<&String> = types.values().collect();
    if without > 0 {
        if names.len() > 1 {
            warnings.note(format!(
                "{} no class, so types of nuclei are not told apart in this tile",
                counted(without, "nucleus has", "nuclei have")
            ));
        }
        types.clear();
    }
    types
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Types and notes of squares beside each other with these classifications.
    fn types_of(classes: &[&str]) -> (Vec<String>, usize) {
        let mut features = Vec::new();
        for (i, class) in classes.iter().enumerate() {
            let (left, right) = (9 * i, 9 * i + 8);
            features.push(format!(
                r#"{{"type":"Feature","properties":{{"objectType":"detection",
                "classification":{{"name":"{class}"}}}},"geometry":{{"type":"Polygon",
                "coordinates":[[[{left},0],[{right},0],[{right},8],[{left},8],[{left},0]]]}}}}"#
            ));
        }
        let text = format!("[{}]", features.join(","));
        let outlines = read_outlines(text.as_bytes()).expect("outlines");
        let mut warnings = Warnings::default();
        let drawing = draw_outlines(&outlines, 60, 10, 0.0);
        let types = object_types(&drawing, &mut warnings);
        (types.into_values().collect(), warnings.notes.len())
    }

    #[test]
    fn classes_of_all_nuclei_are_their_types() {
        assert_eq!(types_of(&["b", "a", "b"]), (["b", "a", "b"].map(str::to_owned).to_vec(), 0));
        assert_eq!(types_of(&["a", "a"]).0.len(), 2, "other tiles may have other types");
        assert_eq!(types_of(&["Nucleus", "nuclei"]), (Vec::new(), 0));
        assert_eq!(types_of(&["Nucleus", "a"]), (Vec::new(), 0), "nothing is told apart");
        assert_eq!(types_of(&["Nucleus", "a", "b"]), (Vec::new(), 1));
    }
}
