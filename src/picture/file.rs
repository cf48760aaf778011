//! Pictures on a disk.

use std::io::Read as _;
use std::path::Path;

use super::{Picture, foreign_format, read_picture};
use crate::error::{Error, ErrorContext as _, Result};
use crate::platform::read_file;
use crate::raster::DecodeLimits;
use crate::slide::is_zarr;

/// Largest file of a picture.
const MAX_FILE_BYTES: u64 = 2_000_000_000;
/// Endings of image files that are read, in small letters.
const IMAGE_ENDINGS: [&str; 12] =
    ["tif", "tiff", "png", "jpg", "jpeg", "jpe", "jfif", "bmp", "gif", "webp", "jp2", "j2k"];
/// Endings of slides that are read, beside those of TIFF.
const SLIDE_ENDINGS: [&str; 7] = ["svs", "ndpi", "scn", "bif", "btf", "qptiff", "dcm"];
/// First bytes by which a file is recognised.
const FIRST_BYTES: u64 = 1024;

/// Reads a picture of tissue from a file.
///
/// # Errors
/// Those of [`read_picture`]; a folder, a file of another program, a file that cannot be read.
pub fn read_picture_file(path: &Path, limits: DecodeLimits) -> Result<Picture> {
    if let Some(error) = foreign_format(&first_bytes(path)?, path.to_str()) {
        return Err(error.at(path));
    }
    read_picture(&read_file(path, MAX_FILE_BYTES)?, limits).at(path)
}

/// Whether a file may be an image, by the ending of its name.
#[must_use]
pub fn has_image_ending(path: &Path) -> bool {
    has_ending(path, &IMAGE_ENDINGS)
}

/// Whether a file may be an image or a slide, by the ending of its name.
#[must_use]
pub fn has_picture_ending(path: &Path) -> bool {
    has_ending(path, &IMAGE_ENDINGS) || has_ending(path, &SLIDE_ENDINGS)
}

/// Whether a file has the ending of a slide, and of no other image.
#[must_use]
pub fn has_slide_ending(path: &Path) -> bool {
    has_ending(path, &SLIDE_ENDINGS)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.is_some_and(|e| endings.contains(&e.as_str()))
}

/// The first bytes of a file, by which [`foreign_format`] recognises it.
///
/// # Errors
/// [`Error::Invalid`] for a folder, [`Error::Io`] for a file that cannot be read.
pub fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    if path.is_dir() {
        return Err(Error::invalid(if path.to_str().is_some_and(is_zarr) {
            "This is the folder of an OME-Zarr, which is a slide, not a picture"
        } else {
            "This is a folder; give the pictures in it, such as folder/*.png"
        })
        .at(path));
    }
    let file = std::fs::File::open(path)
        .map_err(|e| Error::io("The file cannot be opened", e).at(path))?;
    let mut bytes = Vec::new();
    file.take(FIRST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("The file cannot be read", e).at(path))?;
    Ok(bytes)
}
