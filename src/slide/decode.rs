//! Compressed tiles to pixels. Libraries decode the streams; this module applies what the TIFF tags
//! add: order of bits and bytes, predictor, separate planes, photometric interpretation and tile
//! size.

use super::codec::decompress;
use super::dicom_frames::join_fragments;
use super::jpeg::{decode_jpeg, decode_jpeg2000};
use super::level::{Compression, Photometric, Predictor, SlideLevel};
use crate::error::{Error, Result};
use crate::raster::{Plane, RgbImage};

/// Colour where a slide has no pixels: white, as the empty glass is.
pub const BACKGROUND: [u8; 3] = [255; 3];

/// Decoded samples of a tile, interleaved, each little-endian. Colours are red, green, blue unless
/// they are indices of a palette.
pub(super) struct TileSamples {
    pub width: usize,
    pub height: usize,
    /// Samples a pixel.
    pub channels: usize,
    /// Bytes a sample; samples of fewer than 8 or 16 bits are widened, not scaled.
    pub sample_bytes: usize,
    pub bytes: Vec<u8>,
}

/// Decodes a tile of grid row `row`: RGB, `tile_width × tile_height`; the last strip of an image
/// may be lower. `parts` holds the bytes of each of [`SlideLevel::tile_ranges`] or, without bytes
/// for objects that there are not, of [`SlideLevel::tile_objects`].
///
/// # Errors
/// [`Error::Malformed`] when the bytes are no such tile.
pub fn decode_tile(level: &SlideLevel, row: usize, parts: &[&[u8]]) -> Result<RgbImage> {
    level.check_slide()?;
    if let Some(zarr) = level.zarr() {
        return zarr.decode(parts);
    }
    let tile = decode_samples(level, row, parts)?;
    let values = &tile.bytes;
    let pixels = match level.photometric {
        Photometric::Palette => {
            let mut pixels = Vec::with_capacity(tile.width * tile.height);
            for pixel in values.chunks_exact(tile.channels) {
                let colour = level.palette.get(usize::from(pixel[0])).copied().unwrap_or_default();
                pixels.push(colour.map(|v| (v >> 8) as u8));
            }
            pixels
        }
        Photometric::WhiteIsZero if tile.channels == 1 => {
            values.iter().map(|v| [255 - v; 3]).collect()
        }
        _ if tile.channels == 1 => values.iter().map(|v| [*v; 3]).collect(),
        _ => values.chunks_exact(tile.channels).map(|p| [p[0], p[1], p[2]]).collect(),
    };
    Plane::from_vec(tile.width, tile.height, pixels)
}

pub(super) fn truncated_tile() -> Error {
    Error::malformed("A tile of the slide is cut short or broken")
}

/// Decodes a tile of grid row `row` to its samples.
///
/// # Errors
/// [`Error::Malformed`] when the bytes are no such tile.
pub(super) fn decode_samples(
    level: &SlideLevel,
    row: usize,
    parts: &[&[u8]],
) -> Result<TileSamples> {
    if let Some(jpeg) = level.restart_jpeg() {
        let stream = jpeg.tile_stream(level.tile_rows(row), parts)?;
        return decode_plane(level, 0, row, level.samples, &stream);
    }
    if parts.len() != level.plane_count() {
        return Err(truncated_tile());
    }
    if let [bytes] = parts {
        return decode_plane(level, 0, row, level.samples, bytes);
    }
    let mut planes = Vec::with_capacity(parts.len());
    for (plane, bytes) in parts.iter().enumerate() {
        planes.push(decode_plane(level, plane, row, 1, bytes)?);
    }
    let mut tile = interleave(&planes)?;
    if level.photometric == Photometric::YCbCr {
        for pixel in tile.bytes.as_chunks_mut::<3>().0 {
            *pixel = to_rgb(level, *pixel);
        }
    }
    Ok(tile)
}

/// One pixel of each plane in turn.
fn interleave(planes: &[TileSamples]) -> Result<TileSamples> {
    let first = planes.first().ok_or_else(truncated_tile)?;
    let size = first.sample_bytes;
    let count = first.width * first.height;
    if planes.iter().any(|p| p.sample_bytes != size || p.bytes.len() != count * size) {
        return Err(truncated_tile());
    }
    let mut bytes = Vec::with_capacity(count * size * planes.len());
    for i in 0..count {
        for plane in planes {
            bytes.extend_from_slice(&plane.bytes[i * size..(i + 1) * size]);
        }
    }
    Ok(TileSamples {
        width: first.width,
        height: first.height,
        channels: planes.len(),
        sample_bytes: size,
        bytes,
    })
}

/// Decodes one of the byte ranges of a tile, which holds `samples` samples a pixel.
fn decode_plane(
    level: &SlideLevel,
    plane: usize,
    row: usize,
    samples: usize,
    bytes: &[u8],
) -> Result<TileSamples> {
    let width = level.tile_width;
    let height = level.tile_rows(row);
    if bytes.is_empty() {
        return Ok(background(level, width, height, samples));
    }
    let joined;
    let bytes = if level.has_fragments() {
        joined = join_fragments(bytes)?;
        &joined
    } else {
        bytes
    };
    let decoded = match level.compression {
        Compression::Jpeg => decode_jpeg(level, plane, width, height, bytes)?,
        Compression::Jpeg2000 { ycc } => decode_jpeg2000(level, width, height, ycc, bytes)?,
        #[cfg(not(target_arch = "wasm32"))]
        Compression::WebP => decode_webp(width, height, bytes)?,
        _ => return decode_rows(level, width, height, samples, bytes),
    };
    let decoded = with_channels(decoded, samples)?;
    Ok(crop_or_pad(width, height, decoded))
}

/// A part without bytes: white.
fn background(level: &SlideLevel, width: usize, height: usize, samples: usize) -> TileSamples {
    let sample_bytes = sample_bytes(level.bits);
    let bytes = vec![0xFF; width * height * samples * sample_bytes];
    TileSamples { width, height, channels: samples, sample_bytes, bytes }
}

/// Bytes of a decoded sample of `bits` bits.
pub(super) fn sample_bytes(bits: u8) -> usize {
    match bits {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => 8,
    }
}

/// WebP is always colour, with or without alpha.
#[cfg(not(target_arch = "wasm32"))]
fn decode_webp(width: usize, height: usize, bytes: &[u8]) -> Result<TileSamples> {
    let cursor = std::io::Cursor::new(bytes);
    let mut reader = image::ImageReader::with_format(cursor, image::ImageFormat::WebP);
    let mut limits = image::Limits::default();
    limits.max_image_width = u32::try_from(width * 2).ok();
    limits.max_image_height = u32::try_from(height * 2).ok();
    reader.limits(limits);
    let image =
        reader.decode().map_err(|e| Error::malformed("A WebP tile cannot be read").caused_by(e))?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let channels = usize::from(image.color().channel_count());
    Ok(TileSamples { width, height, channels, sample_bytes: 1, bytes: image.into_bytes() })
}

/// Fits the channels of an image format to those that the TIFF states: grey becomes colour, alpha
/// is dropped or opaque.
fn with_channels(tile: TileSamples, samples: usize) -> Result<TileSamples> {
    if tile.channels == samples {
        return Ok(tile);
    }
    let size = tile.sample_bytes;
    let mut bytes = Vec::with_capacity(tile.width * tile.height * samples * size);
    for pixel in tile.bytes.chunks_exact(tile.channels * size) {
        match (tile.channels, samples) {
            (1, 3 | 4) => {
                for _ in 0..3 {
                    bytes.extend_from_slice(pixel);
                }
            }
            (4, 3) => bytes.extend_from_slice(&pixel[..3 * size]),
            (2, 1) => bytes.extend_from_slice(&pixel[..size]),
            (3, 4) => bytes.extend_from_slice(pixel),
            _ => {
                return Err(Error::malformed(format!(
                    "A tile has {} samples a pixel where the TIFF states {samples}",
                    tile.channels
                )));
            }
        }
        if samples == 4 {
            bytes.extend(std::iter::repeat_n(0xFF, size));
        }
    }
    Ok(TileSamples { channels: samples, bytes, ..tile })
}

/// Crops the decoded image to the tile's size or pads it with background: some writers store the
/// tiles at the border smaller.
fn crop_or_pad(width: usize, height: usize, decoded: TileSamples) -> TileSamples {
    if decoded.width == width && decoded.height == height {
        return decoded;
    }
    let pixel_bytes = decoded.channels * decoded.sample_bytes;
    let mut bytes = vec![0xFF; width * height * pixel_bytes];
    let columns = width.min(decoded.width) * pixel_bytes;
    let rows = decoded.bytes.chunks_exact(decoded.width * pixel_bytes);
    for (out, row) in bytes.chunks_exact_mut(width * pixel_bytes).zip(rows) {
        out[..columns].copy_from_slice(&row[..columns]);
    }
    TileSamples { width, height, bytes, ..decoded }
}

/// Decodes compressed rows of samples.
fn decode_rows(
    level: &SlideLevel,
    width: usize,
    height: usize,
    samples: usize,
    bytes: &[u8],
) -> Result<TileSamples> {
    let mut reversed;
    let mut bytes = bytes;
    if level.has_reversed_bits {
        reversed = bytes.to_vec();
        for byte in &mut reversed {
            *byte = byte.reverse_bits();
        }
        bytes = &reversed;
    }
    let row_bytes = (width * samples * usize::from(level.bits)).div_ceil(8);
    let byte_count = row_bytes * height;
    let mut values = decompress(level.compression, bytes, byte_count)?;
    if level.photometric == Photometric::YCbCr && samples == 3 {
        return decode_ycbcr(level, width, height, &values);
    }
    if values.len() < byte_count {
        return Err(truncated_tile());
    }
    let size = sample_bytes(level.bits);
    if level.bits < 16 && level.bits != 8 {
        values = unpack_bits(&values, row_bytes, width * samples, level.bits);
    } else {
        // Predictor 3 orders the bytes of a value by weight, whatever the order of the file is.
        if level.is_big_endian && level.predictor != Predictor::FloatingPoint {
            for value in values.chunks_exact_mut(size) {
                value.reverse();
            }
        }
        for row in values.chunks_exact_mut(row_bytes) {
            match level.predictor {
                Predictor::None => {}
                Predictor::Horizontal => undo_horizontal(row, samples, size),
                Predictor::FloatingPoint => undo_floating_point(row, samples, size),
            }
        }
    }
    Ok(TileSamples { width, height, channels: samples, sample_bytes: size, bytes: values })
}

/// Values of `bits` bits, the most significant bit first, each row at a whole byte: to bytes, or to
/// two little-endian bytes where `bits` is above 8.
fn unpack_bits(packed: &[u8], row_bytes: usize, row_values: usize, bits: u8) -> Vec<u8> {
    let size = sample_bytes(bits);
    let mut values = Vec::with_capacity(packed.len() / row_bytes * row_values * size);
    for row in packed.chunks_exact(row_bytes) {
        let mut pending = 0u32;
        let mut pending_bits = 0;
        let mut next = row.iter();
        for _ in 0..row_values {
            while pending_bits < bits {
                pending = pending << 8 | u32::from(next.next().copied().unwrap_or_default());
                pending_bits += 8;
            }
            pending_bits -= bits;
            let value = pending >> pending_bits;
            pending &= (1 << pending_bits) - 1;
            values.extend_from_slice(&value.to_le_bytes()[..size]);
        }
    }
    values
}

/// Adds to each value the same component of its left neighbour (TIFF 6.0, section 14), modulo the
/// range of its `size` bytes.
fn undo_horizontal(row: &mut [u8], samples: usize, size: usize) {
    let step = samples * size;
    // In place and from left to right: the left neighbour is already restored.
    if size == 1 {
        for i in step..row.len() {
            row[i] = row[i].wrapping_add(row[i - step]);
        }
        return;
    }
    for at in (step..row.len()).step_by(size) {
        let mut carry = 0;
        for i in at..at + size {
            let sum = u16::from(row[i]) + u16::from(row[i - step]) + carry;
            row[i] = sum as u8;
            carry = sum >> 8;
        }
    }
}

/// Predictor 3 (Adobe TIFF Technical Note 3): the row holds the most significant bytes of all its
/// values, then the next ones; each byte minus that of the same component of the left neighbour.
fn undo_floating_point(row: &mut [u8], samples: usize, size: usize) {
    for i in samples..row.len() {
        row[i] = row[i].wrapping_add(row[i - samples]);
    }
    let planes = row.to_vec();
    let values = row.len() / size;
    for (i, value) in row.chunks_exact_mut(size).enumerate() {
        for (byte, out) in value.iter_mut().rev().enumerate() {
            *out = planes[byte * values + i];
        }
    }
}

/// Y, Cb, Cr in data units (TIFF 6.0, section 21): the Y of a block of `across × down` pixels, row
/// by row, then its Cb and Cr.
fn decode_ycbcr(
    level: &SlideLevel,
    width: usize,
    height: usize,
    values: &[u8],
) -> Result<TileSamples> {
    let coding = &level.ycbcr;
    let mut across = coding.across;
    let mut down = coding.down;
    // Some writers do not subsample and leave out the tag, whose default is 2 × 2.
    if !coding.is_stated && values.len() == width * height * 3 {
        across = 1;
        down = 1;
    }
    let unit_bytes = across * down + 2;
    let units_across = width.div_ceil(across);
    let mut values = values.to_vec();
    let needed = units_across * height.div_ceil(down) * unit_bytes;
    if values.len() < needed {
        return Err(truncated_tile());
    }
    if level.predictor == Predictor::Horizontal {
        if across * down > 1 {
            return Err(Error::unsupported(
                "A TIFF with subsampled colours and a predictor is not supported",
            ));
        }
        for row in values.chunks_exact_mut(width * 3) {
            undo_horizontal(row, 3, 1);
        }
    }
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let unit = (y / down * units_across + x / across) * unit_bytes;
            let luma = values[unit + y % down * across + x % across];
            let [cb, cr] = [values[unit + unit_bytes - 2], values[unit + unit_bytes - 1]];
            rgb.extend_from_slice(&to_rgb(level, [luma, cb, cr]));
        }
    }
    Ok(TileSamples { width, height, channels: 3, sample_bytes: 1, bytes: rgb })
}

/// Y, Cb, Cr to red, green, blue by the coefficients and the range that the file states (TIFF 6.0,
/// sections 20 and 21).
fn to_rgb(level: &SlideLevel, pixel: [u8; 3]) -> [u8; 3] {
    let [red, green, blue] = level.ycbcr.luma;
    let reference = &level.ycbcr.reference;
    let scaled = |component: usize, range: f32| {
        let black = reference[2 * component];
        let span = (reference[2 * component + 1] - black).max(1.0);
        (f32::from(pixel[component]) - black) * range / span
    };
    let y = scaled(0, 255.0);
    let r = y + scaled(2, 127.0) * (2.0 - 2.0 * red);
    let b = y + scaled(1, 127.0) * (2.0 - 2.0 * blue);
    let g = (y - red * r - blue * b) / green;
    [r, g, b].map(|v| (v + 0.5).clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bits_begin_at_whole_bytes_in_each_row() {
        assert_eq!(unpack_bits(&[0b1010_0000, 0b0110_0000], 1, 3, 1), [1, 0, 1, 0, 1, 1]);
        assert_eq!(unpack_bits(&[0x12, 0x30], 2, 3, 4), [1, 2, 3]);
        assert_eq!(unpack_bits(&[0x12, 0x3F, 0xFF], 3, 2, 12), [0x23, 0x01, 0xFF, 0x0F]);
    }

    #[test]
    fn predictors_are_undone() {
        let mut row = [10, 20, 1, 2, 255, 0];
        undo_horizontal(&mut row, 2, 1);
        assert_eq!(row, [10, 20, 11, 22, 10, 22]);
        // 16 bits, little-endian: 255, +1, −1.
        let mut row = [0xFF, 0x00, 0x01, 0x00, 0xFF, 0xFF];
        undo_horizontal(&mut row, 1, 2);
        assert_eq!(row, [0xFF, 0x00, 0x00, 0x01, 0xFF, 0x00]);
        // 1.0 and 2.0 are 3F 80 00 00 and 40 00 00 00: bytes of equal weight side by side, then
        // differences.
        let mut row = [0x3F, 0x01, 0x40, 0x80, 0x00, 0x00, 0x00, 0x00];
        undo_floating_point(&mut row, 1, 4);
        assert_eq!(row, [0, 0, 0x80, 0x3F, 0, 0, 0, 0x40]);
    }
}
