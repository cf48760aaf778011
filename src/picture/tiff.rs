//! TIFF → samples.

use super::samples::{Alpha, Samples, Values};
use crate::error::{Error, Result, Warnings};
use crate::raster::{DecodeLimits, Orientation};
use crate::slide::{ExtraSample, Photometric, TiffImage, TiffValues, read_tiff_image};

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
        // Without a word it is opacity, as in Pillow; with "unspecified" it is not.
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
    // Colour maps have 16 bits a channel (TIFF 6.0, section 5), but some writers store 8; libtiff's
    // tools recognise these in the same way.
    let palette = palette.map(|mut colours| {
        if colours.as_flattened().iter().all(|&value| value <= 255) {
            colours.as_flattened_mut().iter_mut().for_each(|value| *value *= 257);
        }
        colours
    });
    Ok(Samples {
        width,
        height,
        channels,
        colours,
        values: samples_of(values),
        bits,
        white_is_zero: photometric == Photometric::WhiteIsZero,
        alpha,
        palette,
        orientation: Orientation::from_exif(orientation),
        pixel_size_um,
        notes,
    })
}

fn samples_of(values: TiffValues) -> Values {
    match values {
        TiffValues::U8(values) => Values::U8(values),
        TiffValues::U16(values) => Values::U16(values),
        TiffValues::U32(values) => Values::U32(values),
        TiffValues::U64(values) => Values::U64(values),
        TiffValues::I8(values) => Values::I8(values),
        TiffValues::I16(values) => Values::I16(values),
        TiffValues::I32(values) => Values::I32(values),
        TiffValues::I64(values) => Values::I64(values),
        TiffValues::F32(values) => Values::F32(values),
        TiffValues::F64(values) => Values::F64(values),
    }
}
