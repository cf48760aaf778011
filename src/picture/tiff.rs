//! TIFF → samples.

use super::samples::{Alpha, Samples};
use crate::error::{Error, Result, Warnings};
use crate::raster::{DecodeLimits, Orientation};
use crate::slide::{ExtraSample, Photometric, TiffImage, read_tiff_image};

/// Samples of a TIFF's first picture.
///
/// # Errors
/// Those of [`read_tiff_image`]; channels without a stated meaning.
pub(super) fn decode_tiff(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    let TiffImage {
        width,
        height,
        channels,
        values,
        bits,
        photometric,
        extra_samples,
        palette,
        orientation,
        pixel_size_um,
        notes,
    } = read_tiff_image(bytes, limits.max_pixels)?;
    let mut notes = Warnings { notes };
    let mut colours = if photometric == Photometric::Rgb { 3 } else { 1 };
    if colours == 1 && channels == 3 {
        notes.note(
            "The TIFF has three channels that it does not state to be red, green and blue; they \
             are taken to be",
        );
        colours = 3;
    }
    let mut alpha = Alpha::None;
    match extra_samples.first() {
        _ if channels == colours => {}
        Some(ExtraSample::AssociatedAlpha) => alpha = Alpha::Associated,
        Some(ExtraSample::UnassociatedAlpha) => alpha = Alpha::Unassociated,
        // Without the tag it is opacity, as in Pillow; with "unspecified" it is not.
        None if channels - colours == 1 => alpha = Alpha::Unassociated,
        Some(ExtraSample::Unspecified) if channels - colours == 1 => {
            notes.note("The TIFF has a further channel without a stated meaning; it is ignored");
        }
        Some(ExtraSample::Unspecified) | None => {
            return Err(Error::unsupported(format!(
                "The TIFF has {channels} channels whose meaning it does not state; save the \
                 picture with red, green and blue, or grey"
            )));
        }
    }
    Ok(Samples {
        width,
        height,
        channels,
        colours,
        values,
        bits,
        white_is_zero: photometric == Photometric::WhiteIsZero,
        alpha,
        palette,
        orientation: Orientation::from_exif(orientation),
        pixel_size_um,
        notes,
    })
}
