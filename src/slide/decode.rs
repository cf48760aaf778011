//! Packed tiles to pixels. The decoders are libraries; here stands what a TIFF says besides.

use std::borrow::Cow;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::level::{Compression, SlideLevel};
use crate::error::{Error, Result};
use crate::raster::{Plane, RgbImage};

/// Most scans of a progressive JPEG; each costs time and none need be long.
const MAX_SCANS: usize = 64;
/// What a place without pixels looks like: glass.
pub const BACKGROUND: [u8; 3] = [255; 3];
/// "Adobe", version 100, no flags, transform 0: the components are red, green and blue.
const ADOBE_RGB: [u8; 16] =
    [0xFF, 0xEE, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, 0];

/// Pixels of a tile, as large as the level's tiles; the last strip may be lower.
///
/// # Errors
/// [`Error::Malformed`] when the bytes are no such tile.
pub fn decode_tile(level: &SlideLevel, row: usize, bytes: &[u8]) -> Result<RgbImage> {
    let (w, h) = (level.tile_width, level.tile_height);
    let rows = if level.is_tiled() { h } else { h.min(level.height - row * h) };
    let values = w * rows * level.samples;
    let shown =
        if level.inverted { Photometric::Inverted } else { Photometric::Samples(level.samples) };
    match level.compression {
        Compression::Jpeg => jpeg(level, w, rows, bytes),
        Compression::Jpeg2000 { ycc } => jpeg2000(w, rows, ycc, bytes),
        Compression::None => coloured(shown, w, rows, bytes.get(..values).ok_or_else(short)?),
        Compression::Lzw => {
            let mut out = vec![0; values];
            let mut decoder =
                weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
            let mut read = 0;
            let mut done = 0;
            while done < values {
                let step = decoder.decode_bytes(&bytes[read..], &mut out[done..]);
                (read, done) = (read + step.consumed_in, done + step.consumed_out);
                match step.status {
                    Ok(weezl::LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
                    _ if done == values => {}
                    _ => return Err(short()),
                }
            }
            coloured(shown, w, rows, &unpredicted(level, w, out))
        }
        Compression::Deflate => {
            let mut out = vec![0; values];
            let mut decoder = flate2::read::ZlibDecoder::new(bytes);
            std::io::Read::read_exact(&mut decoder, &mut out).map_err(|_| short())?;
            coloured(shown, w, rows, &unpredicted(level, w, out))
        }
    }
}

fn short() -> Error {
    Error::malformed("A tile of the slide is cut short or broken")
}

/// Undoes horizontal differences.
fn unpredicted(level: &SlideLevel, width: usize, mut values: Vec<u8>) -> Vec<u8> {
    if level.predicted {
        let n = level.samples;
        for row in values.chunks_exact_mut(width * n) {
            for i in n..row.len() {
                row[i] = row[i].wrapping_add(row[i - n]);
            }
        }
    }
    values
}

/// What values stand for.
#[derive(Clone, Copy)]
enum Photometric {
    /// Grey, 0 is white.
    Inverted,
    /// So many a pixel: grey, or red, green, blue and what is not shown.
    Samples(usize),
}

/// Grey or colour values as colour.
fn coloured(shown: Photometric, width: usize, height: usize, values: &[u8]) -> Result<RgbImage> {
    let pixels = match shown {
        Photometric::Inverted => values.iter().map(|v| [255 - v; 3]).collect(),
        Photometric::Samples(1) => values.iter().map(|v| [*v; 3]).collect(),
        Photometric::Samples(n) => values.chunks_exact(n).map(|p| [p[0], p[1], p[2]]).collect(),
    };
    Plane::from_vec(width, height, pixels)
}

/// Cuts or pads what a decoder gave to the tile's size: edge tiles may be stored smaller.
fn fitted(width: usize, height: usize, found: RgbImage) -> RgbImage {
    if (found.width(), found.height()) == (width, height) {
        return found;
    }
    let mut out = Plane::filled(width, height, BACKGROUND);
    for y in 0..height.min(found.height()) {
        let n = width.min(found.width());
        out.row_mut(y)[..n].copy_from_slice(&found.row(y)[..n]);
    }
    out
}

fn jpeg(level: &SlideLevel, width: usize, height: usize, bytes: &[u8]) -> Result<RgbImage> {
    let stream = whole_jpeg(level, bytes)?;
    let options = DecoderOptions::default()
        .set_max_width(width.next_multiple_of(64) * 2)
        .set_max_height(height.next_multiple_of(64) * 2)
        .jpeg_set_max_scans(MAX_SCANS)
        .jpeg_set_out_colorspace(if level.samples == 1 {
            ColorSpace::Luma
        } else {
            ColorSpace::RGB
        });
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*stream), options);
    let values = decoder
        .decode()
        .map_err(|e| Error::malformed(format!("A JPEG tile cannot be read: {e:?}")))?;
    let (w, h) = decoder.dimensions().ok_or_else(short)?;
    let samples = if level.samples == 1 { 1 } else { 3 };
    if values.len() != w * h * samples {
        return Err(short());
    }
    Ok(fitted(width, height, coloured(Photometric::Samples(samples), w, h, &values)?))
}

/// A tile's stream with the tables that all tiles share, and a mark when its colours are red, green
/// and blue.
fn whole_jpeg<'a>(level: &SlideLevel, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return Err(short());
    }
    let marked = bytes.windows(5).take(512).any(|w| w == b"Adobe");
    let mark = level.jpeg_rgb && level.samples == 3 && !marked;
    let tables = level
        .jpeg_tables
        .strip_prefix(&[0xFF, 0xD8])
        .map(|t| t.strip_suffix(&[0xFF, 0xD9]).unwrap_or(t));
    if tables.is_none() && !mark {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut whole = vec![0xFF, 0xD8];
    if mark {
        whole.extend_from_slice(&ADOBE_RGB);
    }
    whole.extend_from_slice(tables.unwrap_or_default());
    whole.extend_from_slice(&bytes[2..]);
    Ok(Cow::Owned(whole))
}

fn jpeg2000(width: usize, height: usize, ycc: bool, bytes: &[u8]) -> Result<RgbImage> {
    let broken = |e: hayro_jpeg2000::DecodeError| {
        Error::malformed(format!("A JPEG 2000 tile cannot be read: {e}"))
    };
    let image = hayro_jpeg2000::Image::new(bytes, &hayro_jpeg2000::DecodeSettings::default())
        .map_err(broken)?;
    let (w, h) = (image.width() as usize, image.height() as usize);
    if w > width * 2 || h > height * 2 {
        return Err(Error::malformed(format!(
            "A tile of {width}×{height} pixels holds a picture of {w}×{h}"
        )));
    }
    let mut context = hayro_jpeg2000::DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(broken)?;
    let components = decoded.components().len();
    let values = decoded.data_u8();
    if values.len() != w * h * components || !matches!(components, 1 | 3 | 4) {
        return Err(short());
    }
    let mut found = coloured(Photometric::Samples(components), w, h, &values)?;
    // The decoder itself turns brightness and differences into colours where the differences are
    // stored more coarsely.
    if ycc && components == 3 && !subsampled(bytes) {
        found.data_mut().iter_mut().for_each(|p| *p = from_ycc(*p));
    }
    Ok(fitted(width, height, found))
}

/// Whether a codestream's second component is coarser than its first, by its first marker segment.
fn subsampled(stream: &[u8]) -> bool {
    const FIRST_COMPONENT: usize = 42;
    stream.starts_with(&[0xFF, 0x4F, 0xFF, 0x51])
        && stream.get(FIRST_COMPONENT + 4..FIRST_COMPONENT + 6).is_some_and(|steps| steps != [1, 1])
}

/// Brightness and two colour differences (JFIF) to red, green and blue.
fn from_ycc([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
        .map(|v| (v + 0.5).clamp(0.0, 255.0) as u8)
}
