//! TIFF → samples.

use std::io::Cursor;

use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult};

use super::decode::check_size;
use super::samples::{Samples, Values};
use crate::error::{Error, Result};
use crate::raster::DecodeLimits;

/// Samples of a TIFF's first picture.
pub(super) fn decode_tiff(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(tiff_error)?;
    let (width, height) = decoder.dimensions().map_err(tiff_error)?;
    check_size(u64::from(width), u64::from(height), limits)?;
    let mut memory = tiff::decoder::Limits::default();
    memory.decoding_buffer_size =
        usize::try_from(limits.max_pixels.saturating_mul(8)).unwrap_or(usize::MAX);
    memory.intermediate_buffer_size = memory.decoding_buffer_size;
    let mut decoder = decoder.with_limits(memory);
    let channels = match decoder.colortype().map_err(tiff_error)? {
        ColorType::Gray(_) => 1,
        ColorType::GrayA(_) => 2,
        ColorType::RGB(_) => 3,
        ColorType::RGBA(_) => 4,
        other => {
            return Err(Error::unsupported(format!(
                "TIFF pixels of type {other:?} are not supported; convert to RGB"
            )));
        }
    };
    let (count, values) = match decoder.read_image().map_err(tiff_error)? {
        DecodingResult::U8(v) => (v.len(), Values::U8(v)),
        DecodingResult::U16(v) => (v.len(), Values::U16(v)),
        DecodingResult::U32(v) => (v.len(), Values::U32(v)),
        _ => {
            return Err(Error::unsupported(
                "Signed, 64-bit and floating-point TIFF samples are not supported",
            ));
        }
    };
    let (width, height) = (width as usize, height as usize);
    if count != width * height * channels {
        return Err(Error::unsupported(
            "The TIFF packs several pixels into a byte or stores planes apart",
        ));
    }
    Ok(Samples::plain(width, height, channels, values))
}

fn tiff_error(error: tiff::TiffError) -> Error {
    match error {
        tiff::TiffError::UnsupportedError(e) => {
            Error::unsupported("This kind of TIFF is not supported").caused_by(e)
        }
        tiff::TiffError::LimitsExceeded => {
            Error::limit("The TIFF needs more memory than the limit allows")
        }
        e => Error::malformed("The TIFF cannot be decoded").caused_by(e),
    }
}
