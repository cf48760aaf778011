//! Files → samples: which decoder reads a file, and what it states beside its samples. Sizes
//! are checked before memory is allocated.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader};

use super::foreign::{foreign_format, is_dicom_slide};
use super::jpeg::check_jpeg;
use super::png::{indices_as_grey, png_facts};
use super::samples::{Alpha, Samples};
use super::tiff::decode_tiff;
use crate::error::{Error, Result};
use crate::raster::{DecodeLimits, Orientation};
use crate::slide::SampleValues;

/// Pixel sizes that a picture of cells can have, micrometres. Densities for print, 72 to 600 dots
/// an inch, are far above.
const PLAUSIBLE_UM: std::ops::RangeInclusive<f64> = 0.05..=5.0;

/// File formats with pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PictureFormat {
    Png,
    Jpeg,
    Tiff,
    Jpeg2000,
    Bmp,
    Gif,
    WebP,
}

impl PictureFormat {
    /// By the first bytes.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Self::Tiff,
            [0x89, b'P', b'N', b'G', ..] => Self::Png,
            [0xFF, 0xD8, ..] => Self::Jpeg,
            [0, 0, 0, 12, b'j', b'P', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => Self::Jpeg2000,
            // The size of the header follows 14 bytes of file header.
            [
                b'B',
                b'M',
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                _,
                12 | 40 | 52 | 56 | 64 | 108 | 124,
                0,
                ..,
            ] => Self::Bmp,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::WebP,
            _ => return None,
        })
    }
}

/// Samples of a picture of tissue.
pub(super) fn picture_samples(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    let mut samples = match format_of(bytes)? {
        PictureFormat::Tiff => decode_tiff(bytes, limits)?,
        PictureFormat::Png => decode_png(bytes, limits)?,
        PictureFormat::Jpeg => decode_jpeg(bytes, limits)?,
        PictureFormat::Jpeg2000 => decode_jpeg_2000(bytes, limits)?,
        PictureFormat::Bmp | PictureFormat::Gif | PictureFormat::WebP => {
            decode_others(bytes, limits)?
        }
    };
    if samples.width == 0 || samples.height == 0 {
        return Err(Error::malformed("The image has no pixels"));
    }
    if let Some(size) = samples.pixel_size_um
        && !(PLAUSIBLE_UM.contains(&size.x) && PLAUSIBLE_UM.contains(&size.y))
    {
        samples.pixel_size_um = None;
        // Between cells and print.
        if size.is_plausible() {
            samples.notes.note(format!(
                "The file states pixels of {:.4} × {:.4} µm, too large or too small for nuclei; \
                 this is not used. State the pixel size with --mpp",
                size.x, size.y
            ));
        }
    }
    Ok(samples)
}

/// Samples of a label map: indices of an indexed picture, not its colours.
pub(super) fn label_samples(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    match format_of(bytes)? {
        PictureFormat::Jpeg => Err(changed_values("JPEG")),
        PictureFormat::WebP => Err(changed_values("WebP")),
        PictureFormat::Jpeg2000 => Err(changed_values("JPEG 2000")),
        PictureFormat::Gif => Err(Error::unsupported(
            "A GIF is an indexed picture of at most 256 colours; save the labels as PNG or TIFF",
        )),
        PictureFormat::Png => {
            let facts = png_facts(bytes);
            if !facts.is_indexed {
                return picture_samples(bytes, limits);
            }
            let mut samples = decode_png(&indices_as_grey(bytes), limits)?;
            // The decoder scales values of 1, 2 and 4 bits to 8.
            let step = match facts.bits {
                1 => 255,
                2 => 85,
                4 => 17,
                _ => 1,
            };
            if let SampleValues::U8(values) = &mut samples.values {
                values.iter_mut().for_each(|value| *value /= step);
            }
            let widened = |colour: &[u8; 3]| colour.map(|value| u16::from(value) * 257);
            samples.palette = Some(facts.palette.iter().map(widened).collect());
            Ok(samples)
        }
        PictureFormat::Tiff | PictureFormat::Bmp => picture_samples(bytes, limits),
    }
}

fn changed_values(format: &str) -> Error {
    Error::unsupported(format!(
        "{format} changes pixel values, so it cannot hold labels; use PNG or TIFF"
    ))
}

fn format_of(bytes: &[u8]) -> Result<PictureFormat> {
    if let Some(format) = PictureFormat::of(bytes) {
        return Ok(format);
    }
    if is_dicom_slide(bytes) {
        return Err(Error::unsupported(
            "The file is a DICOM slide, not a picture; open it as a slide, or cut a part out of \
             it: prunella slide region",
        ));
    }
    Err(foreign_format(bytes, None)
        .unwrap_or_else(|| Error::unsupported("The file is not a PNG, JPEG or TIFF image")))
}

pub(super) fn check_size(width: u64, height: u64, limits: DecodeLimits) -> Result<()> {
    if width.saturating_mul(height) > limits.max_pixels {
        return Err(Error::limit(format!(
            "The image has {width}×{height} pixels; the limit is {} million. Cut it into parts",
            limits.max_pixels / 1_000_000
        )));
    }
    Ok(())
}

fn decode_png(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    // Width and height of the header (PNG specification, 11.2.1). On wasm the decoder refuses what
    // does not fit its memory before it gives the size of the picture.
    if let Some([a, b, c, d, e, f, g, h]) = bytes.get(16..24).and_then(|size| size.first_chunk()) {
        let width = u32::from_be_bytes([*a, *b, *c, *d]);
        let height = u32::from_be_bytes([*e, *f, *g, *h]);
        check_size(u64::from(width), u64::from(height), limits)?;
    }
    let mut samples = decode_with_image(bytes, ImageFormat::Png, limits)?;
    let facts = png_facts(bytes);
    samples.pixel_size_um = facts.pixel_size_um;
    if facts.is_animated {
        samples.notes.note("The PNG is animated; its first picture is used");
    }
    Ok(samples)
}

fn decode_jpeg(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    // The decoder fills missing data with grey, so a file that is cut short is recognised here.
    let pixel_size_um = check_jpeg(bytes)?;
    let mut samples = decode_with_image(bytes, ImageFormat::Jpeg, limits)?;
    samples.pixel_size_um = pixel_size_um;
    Ok(samples)
}

#[cfg(not(target_arch = "wasm32"))]
fn decode_others(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    match PictureFormat::of(bytes) {
        Some(PictureFormat::Bmp) => decode_with_image(bytes, ImageFormat::Bmp, limits),
        Some(PictureFormat::Gif) => {
            let mut samples = decode_with_image(bytes, ImageFormat::Gif, limits)?;
            if gif_frames(bytes) > 1 {
                samples.notes.note("The GIF is animated; its first picture is used");
            }
            Ok(samples)
        }
        _ => {
            let mut samples = decode_with_image(bytes, ImageFormat::WebP, limits)?;
            // Flags of the extended header (RFC 9649, section 2.7).
            if bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|f| f & 2 != 0) {
                samples.notes.note("The WebP is animated; its first picture is used");
            }
            Ok(samples)
        }
    }
}

/// Pictures in a GIF, at most 2.
#[cfg(not(target_arch = "wasm32"))]
fn gif_frames(bytes: &[u8]) -> usize {
    use image::AnimationDecoder as _;
    let decoder = image::codecs::gif::GifDecoder::new(Cursor::new(bytes));
    decoder.map_or(0, |decoder| decoder.into_frames().take(2).flatten().count())
}

/// On wasm the browser decodes these formats.
#[cfg(target_arch = "wasm32")]
fn decode_others(_bytes: &[u8], _limits: DecodeLimits) -> Result<Samples> {
    Err(Error::malformed(
        "The browser cannot decode this BMP, GIF or WebP picture; if it is complete, save it as \
         PNG or TIFF",
    ))
}

fn decode_with_image(bytes: &[u8], format: ImageFormat, limits: DecodeLimits) -> Result<Samples> {
    let (width, height) = ImageReader::with_format(Cursor::new(bytes), format)
        .into_dimensions()
        .map_err(image_error)?;
    check_size(u64::from(width), u64::from(height), limits)?;
    // The size in the header is checked above; this bounds the decoder's own buffers: 8 bytes are
    // the largest pixel (RGBA of 16 bits).
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut memory = image::Limits::default();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(8).saturating_add(1 << 20));
    reader.limits(memory);
    let mut decoder = reader.into_decoder().map_err(image_error)?;
    // A broken EXIF block costs the orientation, not the picture.
    let orientation = decoder.orientation().map_or(1, image::metadata::Orientation::to_exif);
    let (channels, values) = match DynamicImage::from_decoder(decoder).map_err(image_error)? {
        DynamicImage::ImageLuma8(i) => (1, SampleValues::U8(i.into_raw())),
        DynamicImage::ImageLumaA8(i) => (2, SampleValues::U8(i.into_raw())),
        DynamicImage::ImageRgb8(i) => (3, SampleValues::U8(i.into_raw())),
        DynamicImage::ImageRgba8(i) => (4, SampleValues::U8(i.into_raw())),
        DynamicImage::ImageLuma16(i) => (1, SampleValues::U16(i.into_raw())),
        DynamicImage::ImageLumaA16(i) => (2, SampleValues::U16(i.into_raw())),
        DynamicImage::ImageRgb16(i) => (3, SampleValues::U16(i.into_raw())),
        DynamicImage::ImageRgba16(i) => (4, SampleValues::U16(i.into_raw())),
        other => {
            return Err(Error::unsupported(format!(
                "Pixels of type {:?} are not supported",
                other.color()
            )));
        }
    };
    let mut samples = Samples::plain(width as usize, height as usize, channels, values);
    samples.orientation = Orientation::from_exif(orientation);
    Ok(samples)
}

fn image_error(error: image::ImageError) -> Error {
    Error::malformed("The image cannot be decoded").caused_by(error)
}

fn decode_jpeg_2000(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    use hayro_jpeg2000::{ColorSpace, DecodeSettings, DecoderContext, Image};
    let broken = |e: hayro_jpeg2000::DecodeError| {
        Error::malformed(format!("The JPEG 2000 picture cannot be decoded: {e}"))
    };
    let image = Image::new(bytes, &DecodeSettings::default()).map_err(broken)?;
    check_size(u64::from(image.width()), u64::from(image.height()), limits)?;
    let has_alpha = image.has_alpha();
    let colours = match image.color_space() {
        ColorSpace::Gray => 1,
        ColorSpace::RGB => 3,
        ColorSpace::Icc { num_channels: channels @ (1 | 3), .. } => usize::from(*channels),
        _ => {
            return Err(Error::unsupported(
                "The JPEG 2000 picture is neither grey nor RGB; save it as PNG or TIFF",
            ));
        }
    };
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(broken)?;
    let channels = colours + usize::from(has_alpha);
    let values = decoded.data_u8();
    if values.len() != width * height * channels {
        return Err(Error::unsupported("The JPEG 2000 picture has channels of different sizes"));
    }
    let mut samples = Samples::plain(width, height, channels, SampleValues::U8(values));
    samples.alpha = if has_alpha { Alpha::Unassociated } else { Alpha::None };
    Ok(samples)
}
