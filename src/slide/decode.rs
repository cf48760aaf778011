//! Compressed tiles to RGB pixels. Libraries decode the streams; this module applies what the TIFF
//! tags add: shared JPEG tables, predictor, photometric interpretation and tile size.

use std::borrow::Cow;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::level::{Compression, Photometric, Predictor, SlideLevel};
use crate::error::{Error, Result};
use crate::raster::{Plane, RgbImage};

/// Most scans of a progressive JPEG: each costs time, and hostile files have thousands.
const MAX_SCANS: usize = 64;
/// Colour where a slide has no pixels: white, as the empty glass is.
pub const BACKGROUND: [u8; 3] = [255; 3];
/// JPEG markers (ITU-T T.81, table B.1): start of image, end of image.
const JPEG_SOI: [u8; 2] = [0xFF, 0xD8];
const JPEG_EOI: [u8; 2] = [0xFF, 0xD9];
/// A JPEG APP14 segment "Adobe": length 14, version 100, flags 0, transform 0. It says that the
/// three components are red, green and blue.
const ADOBE_RGB_SEGMENT: [u8; 16] =
    [0xFF, 0xEE, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, 0];
/// The Adobe segment is searched in this many first bytes.
const ADOBE_SEARCH_BYTES: usize = 512;

/// Decodes a tile of grid row `row`: RGB, `tile_width × tile_height`; the last strip of an image
/// may be lower.
///
/// # Errors
/// [`Error::Malformed`] when the bytes are no such tile.
pub fn decode_tile(level: &SlideLevel, row: usize, bytes: &[u8]) -> Result<RgbImage> {
    let width = level.tile_width;
    let height = if level.is_tiled() {
        level.tile_height
    } else {
        level.tile_height.min(level.height - row * level.tile_height)
    };
    let value_count = width * height * level.samples;
    let samples = if level.samples == 1 && level.photometric == Photometric::WhiteIsZero {
        SampleLayout::InvertedGrey
    } else {
        SampleLayout::of_count(level.samples)
    };
    match level.compression {
        Compression::Jpeg => decode_jpeg(level, width, height, bytes),
        Compression::Jpeg2000 { ycc } => decode_jpeg2000(width, height, ycc, bytes),
        Compression::None => {
            let values = bytes.get(..value_count).ok_or_else(truncated_tile)?;
            to_rgb(samples, width, height, values)
        }
        Compression::Lzw => {
            let mut values = decode_lzw(bytes, value_count)?;
            undo_predictor(level, &mut values);
            to_rgb(samples, width, height, &values)
        }
        Compression::Deflate => {
            let mut values = vec![0; value_count];
            let mut decoder = flate2::read::ZlibDecoder::new(bytes);
            std::io::Read::read_exact(&mut decoder, &mut values).map_err(|_| truncated_tile())?;
            undo_predictor(level, &mut values);
            to_rgb(samples, width, height, &values)
        }
    }
}

fn truncated_tile() -> Error {
    Error::malformed("A tile of the slide is cut short or broken")
}

/// LZW as TIFF 6.0, section 13: most significant bit first, code width raised one code early.
fn decode_lzw(bytes: &[u8], value_count: usize) -> Result<Vec<u8>> {
    let mut values = vec![0; value_count];
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
    let mut consumed = 0;
    let mut produced = 0;
    // The decoder stops at internal limits of its own and is called until the tile is complete; a
    // call without progress means that the stream is broken.
    while produced < value_count {
        let step = decoder.decode_bytes(&bytes[consumed..], &mut values[produced..]);
        consumed += step.consumed_in;
        produced += step.consumed_out;
        let is_progressing = matches!(step.status, Ok(weezl::LzwStatus::Ok))
            && step.consumed_in + step.consumed_out > 0;
        if !is_progressing && produced < value_count {
            return Err(truncated_tile());
        }
    }
    Ok(values)
}

/// Adds to each value the same component of its left neighbour (TIFF 6.0, section 14).
fn undo_predictor(level: &SlideLevel, values: &mut [u8]) {
    if level.predictor == Predictor::None {
        return;
    }
    let n = level.samples;
    for row in values.chunks_exact_mut(level.tile_width * n) {
        // In place and from left to right: the left neighbour is already restored.
        for i in n..row.len() {
            row[i] = row[i].wrapping_add(row[i - n]);
        }
    }
}

/// What the interleaved values of a pixel are.
#[derive(Clone, Copy)]
enum SampleLayout {
    /// One value, 0 is white.
    InvertedGrey,
    /// One value, 0 is black.
    Grey,
    /// Red, green, blue and further values that are ignored; values a pixel.
    Colour(usize),
}

impl SampleLayout {
    fn of_count(count: usize) -> Self {
        if count == 1 { Self::Grey } else { Self::Colour(count) }
    }
}

fn to_rgb(samples: SampleLayout, width: usize, height: usize, values: &[u8]) -> Result<RgbImage> {
    let pixels = match samples {
        SampleLayout::InvertedGrey => values.iter().map(|v| [255 - v; 3]).collect(),
        SampleLayout::Grey => values.iter().map(|v| [*v; 3]).collect(),
        SampleLayout::Colour(n) => values.chunks_exact(n).map(|p| [p[0], p[1], p[2]]).collect(),
    };
    Plane::from_vec(width, height, pixels)
}

/// Crops the decoded image to the tile's size or pads it with background: some writers store the
/// tiles at the border smaller.
fn crop_or_pad(width: usize, height: usize, decoded: RgbImage) -> RgbImage {
    if decoded.width() == width && decoded.height() == height {
        return decoded;
    }
    let mut out = Plane::filled(width, height, BACKGROUND);
    let columns = width.min(decoded.width());
    for y in 0..height.min(decoded.height()) {
        out.row_mut(y)[..columns].copy_from_slice(&decoded.row(y)[..columns]);
    }
    out
}

fn decode_jpeg(level: &SlideLevel, width: usize, height: usize, bytes: &[u8]) -> Result<RgbImage> {
    let stream = complete_jpeg(level, bytes)?;
    let (components, colour_space) =
        if level.samples == 1 { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    let options = DecoderOptions::default()
        // Some writers pad a tile to whole JPEG blocks. The limit bounds the memory that a hostile
        // header can demand.
        .set_max_width(width.next_multiple_of(64) * 2)
        .set_max_height(height.next_multiple_of(64) * 2)
        .jpeg_set_max_scans(MAX_SCANS)
        .jpeg_set_out_colorspace(colour_space);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*stream), options);
    let values = decoder
        .decode()
        .map_err(|e| Error::malformed(format!("A JPEG tile cannot be read: {e:?}")))?;
    let (w, h) = decoder.dimensions().ok_or_else(truncated_tile)?;
    if values.len() != w * h * components {
        return Err(truncated_tile());
    }
    let decoded = to_rgb(SampleLayout::of_count(components), w, h, &values)?;
    Ok(crop_or_pad(width, height, decoded))
}

/// Makes a complete JPEG of a tile's abbreviated stream (TIFF Technical Note 2):
///
/// ```text
/// tile:    SOI                                 frame, scans, EOI
/// result:  SOI  [APP14, if RGB]  [JPEGTables]  frame, scans, EOI
/// ```
///
/// A decoder takes three components for Y, Cb, Cr unless APP14 says otherwise; the TIFF says it in
/// its photometric interpretation.
fn complete_jpeg<'a>(level: &SlideLevel, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    let Some(body) = bytes.strip_prefix(&JPEG_SOI) else { return Err(truncated_tile()) };
    let has_adobe = bytes.windows(5).take(ADOBE_SEARCH_BYTES).any(|w| w == b"Adobe");
    let needs_adobe = level.photometric == Photometric::Rgb && level.samples == 3 && !has_adobe;
    // The tables are a JPEG stream of their own, between SOI and EOI.
    let tables = level
        .jpeg_tables
        .strip_prefix(&JPEG_SOI)
        .map(|tables| tables.strip_suffix(&JPEG_EOI).unwrap_or(tables));
    if tables.is_none() && !needs_adobe {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut stream = JPEG_SOI.to_vec();
    if needs_adobe {
        stream.extend_from_slice(&ADOBE_RGB_SEGMENT);
    }
    stream.extend_from_slice(tables.unwrap_or_default());
    stream.extend_from_slice(body);
    Ok(Cow::Owned(stream))
}

fn decode_jpeg2000(width: usize, height: usize, ycc: bool, bytes: &[u8]) -> Result<RgbImage> {
    let image = hayro_jpeg2000::Image::new(bytes, &hayro_jpeg2000::DecodeSettings::default())
        .map_err(|e| jpeg2000_error(&e))?;
    let w = image.width() as usize;
    let h = image.height() as usize;
    if w > width * 2 || h > height * 2 {
        return Err(Error::malformed(format!(
            "A tile of {width}×{height} pixels holds an image of {w}×{h}"
        )));
    }
    let mut context = hayro_jpeg2000::DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|e| jpeg2000_error(&e))?;
    let components = decoded.components().len();
    let values = decoded.data_u8();
    if values.len() != w * h * components || !matches!(components, 1 | 3 | 4) {
        return Err(truncated_tile());
    }
    let mut rgb = to_rgb(SampleLayout::of_count(components), w, h, &values)?;
    // With subsampled chroma the decoder converts to RGB itself.
    if ycc && components == 3 && !has_subsampled_chroma(bytes) {
        for pixel in rgb.data_mut() {
            *pixel = ycbcr_to_rgb(*pixel);
        }
    }
    Ok(crop_or_pad(width, height, rgb))
}

fn jpeg2000_error(error: &hayro_jpeg2000::DecodeError) -> Error {
    Error::malformed(format!("A JPEG 2000 tile cannot be read: {error}"))
}

/// Whether the second component of a JPEG 2000 codestream has fewer samples than the image.
///
/// Read from the SIZ segment, the first after SOC (ISO/IEC 15444-1, A.5.1): 42 bytes up to the
/// components, then for each component depth, horizontal and vertical separation.
fn has_subsampled_chroma(stream: &[u8]) -> bool {
    const SOC_SIZ: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
    const SECOND_COMPONENT: usize = 42 + 3;
    let separation = stream.get(SECOND_COMPONENT + 1..SECOND_COMPONENT + 3);
    stream.starts_with(&SOC_SIZ) && separation.is_some_and(|s| s != [1, 1])
}

/// Y, Cb, Cr to red, green, blue: ITU-T T.871 (JFIF), section 7.
fn ycbcr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let y = f32::from(y);
    let cb = f32::from(cb) - 128.0;
    let cr = f32::from(cr) - 128.0;
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
        .map(|v| (v + 0.5).clamp(0.0, 255.0) as u8)
}
