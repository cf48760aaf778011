//! Image files as people have them: the pixels as viewers show them, the pixel size that the file
//! states, and a note on whatever was unusual. Label maps too.

mod foreign;

pub use foreign::foreign_format;

use crate::error::{Result, Warnings};
use crate::raster::{DecodeLimits, LabelMap, RgbImage, decode_image, decode_labels};
use crate::slide::PixelSize;

/// A picture of tissue.
#[derive(Debug, Clone)]
pub struct Picture {
    /// As viewers show it: oriented, 8 bits a channel.
    pub image: RgbImage,
    /// Where the file states a plausible one.
    pub pixel_size_um: Option<PixelSize>,
    /// What was unusual and what was done about it.
    pub notes: Warnings,
}

/// A label map or mask from a file.
#[derive(Debug, Clone)]
pub struct Labels {
    /// 0 is background.
    pub map: LabelMap,
    /// What was unusual and what was done about it.
    pub notes: Warnings,
}

/// Reads a picture of tissue.
///
/// # Errors
/// [`Error::Malformed`](crate::error::Error) for a broken file, `Unsupported` for another format or
/// pixel type, `Limit` for too many pixels.
pub fn read_picture(bytes: &[u8], limits: DecodeLimits) -> Result<Picture> {
    if let Some(error) = foreign_format(bytes, None) {
        return Err(error);
    }
    let image = decode_image(bytes, limits)?;
    Ok(Picture { image, pixel_size_um: None, notes: Warnings::default() })
}

/// Reads a label map or a mask.
///
/// # Errors
/// As [`read_picture`]; also when the file is a picture and no label map.
pub fn read_labels(bytes: &[u8], limits: DecodeLimits) -> Result<Labels> {
    if let Some(error) = foreign_format(bytes, None) {
        return Err(error);
    }
    Ok(Labels { map: decode_labels(bytes, limits)?, notes: Warnings::default() })
}
