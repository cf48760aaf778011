//! A whole picture of a TIFF in memory: its samples as stored.

use half::f16;

use super::decode::{TileSamples, decode_samples, sample_bytes};
use super::level::{Photometric, SampleKind, SlideLevel};
use super::pictures::TiffPictures;
use super::pixel_size::PixelSize;
use super::range_cache::{RangeCache, ReadError, ReadResult};
use super::tiff::{Directory, tag};
use crate::error::{Error, Result};

/// Most bytes of a decoded picture, as a multiple of the most pixels.
const MAX_BYTES_A_PIXEL: u64 = 8;
/// At least this share of the file is copied at once while its directories are read.
const LEAST_FETCHED_SHARE: usize = 16;

/// Samples row by row, those of a pixel side by side, as wide as the file stores them. Samples of
/// fewer than 8 or 16 bits are widened, not scaled; of 16-bit floating point to 32.
#[derive(Debug, Clone, PartialEq)]
pub enum TiffValues {
    /// Unsigned, 1 to 8 bits.
    U8(Vec<u8>),
    /// Unsigned, 9 to 16 bits.
    U16(Vec<u16>),
    /// Unsigned.
    U32(Vec<u32>),
    /// Unsigned.
    U64(Vec<u64>),
    /// Two's complement.
    I8(Vec<i8>),
    /// Two's complement.
    I16(Vec<i16>),
    /// Two's complement.
    I32(Vec<i32>),
    /// Two's complement.
    I64(Vec<i64>),
    /// IEEE 754.
    F32(Vec<f32>),
    /// IEEE 754.
    F64(Vec<f64>),
}

/// Meaning of a sample behind those of the colour, by the TIFF tag 338 (TIFF 6.0, section 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraSample {
    /// 0: unknown.
    Unspecified,
    /// 1: opacity, with which the colours are multiplied.
    AssociatedAlpha,
    /// 2: opacity; the colours are as they are.
    UnassociatedAlpha,
}

/// The picture of a TIFF.
#[derive(Debug, Clone, PartialEq)]
pub struct TiffImage {
    /// Columns, as stored: see [`Self::orientation`].
    pub width: usize,
    /// Rows, as stored.
    pub height: usize,
    /// Samples a pixel.
    pub channels: usize,
    /// `width × height × channels` samples.
    pub values: TiffValues,
    /// Bits a sample in the file: the values are below 2^bits.
    pub bits: u8,
    /// What the first samples of a pixel are. YCbCr is converted to RGB; of
    /// [`Photometric::WhiteIsZero`] and [`Photometric::Palette`] the values are as stored.
    pub photometric: Photometric,
    /// What the samples behind the colour are, as far as the file states it.
    pub extra_samples: Vec<ExtraSample>,
    /// Red, green and blue of each value, 16 bits, with [`Photometric::Palette`].
    pub palette: Option<Vec<[u16; 3]>>,
    /// TIFF tag 274, 1 to 8: where the first row and column lie. 1 is the usual order.
    pub orientation: u8,
    /// Size of a pixel, where the file states a plausible one.
    pub pixel_size_um: Option<PixelSize>,
    /// Sentences about what is not shown or was assumed.
    pub notes: Vec<String>,
}

/// Reads the picture of a TIFF: its first image, or the one that its vendor's format names; of a
/// slide the finest level.
///
/// # Errors
/// [`Error::Malformed`] for a broken file, [`Error::Unsupported`] for a kind that is not decoded,
/// [`Error::Limit`] for more than `max_pixels` pixels.
pub fn read_tiff_image(bytes: &[u8], max_pixels: u64) -> Result<TiffImage> {
    let mut cache = RangeCache::new(bytes.len() as u64);
    let pictures = read_in_memory(bytes, &mut cache, TiffPictures::open)?;
    let TiffPictures { directory, mut levels, pixel_size_um, mut notes, .. } = pictures;
    let level = levels.swap_remove(0);
    let pixels = level.width as u64 * level.height as u64;
    if pixels > max_pixels {
        return Err(Error::limit(format!(
            "The image says it has {}×{} pixels; the limit is {} million. Cut it into parts",
            level.width,
            level.height,
            max_pixels / 1_000_000
        )));
    }
    let size = sample_bytes(level.bits);
    if pixels * (level.samples * size) as u64 > max_pixels.saturating_mul(MAX_BYTES_A_PIXEL) {
        return Err(Error::limit("The TIFF needs more memory than the limit allows"));
    }
    let raw = read_samples(bytes, &mut cache, &level, &mut notes)?;
    let tags = read_in_memory(bytes, &mut cache, |cache| picture_tags(cache, &directory, &level))?;
    let is_ycbcr = level.photometric == Photometric::YCbCr;
    Ok(TiffImage {
        width: level.width,
        height: level.height,
        channels: level.samples,
        values: typed(raw, level.kind, level.bits),
        bits: level.bits,
        photometric: if is_ycbcr { Photometric::Rgb } else { level.photometric },
        extra_samples: tags.extra_samples,
        palette: (level.photometric == Photometric::Palette).then_some(level.palette),
        orientation: tags.orientation,
        pixel_size_um,
        notes,
    })
}

/// Calls a sans-I/O reader until it returns a value.
fn read_in_memory<T>(
    bytes: &[u8],
    cache: &mut RangeCache,
    read: impl Fn(&RangeCache) -> ReadResult<T>,
) -> Result<T> {
    loop {
        match read(cache) {
            Ok(value) => return Ok(value),
            Err(ReadError::Fail(error)) => return Err(error),
            Err(ReadError::NeedBytes(ranges)) => {
                // Directories may lie all over the file, and each round begins anew.
                for range in ranges {
                    let start = (range.start as usize).min(bytes.len());
                    let least = start + bytes.len() / LEAST_FETCHED_SHARE;
                    let end = (range.end as usize).max(least).min(bytes.len());
                    cache.insert(range.start, &bytes[start..end.max(start)]);
                }
            }
        }
    }
}

struct PictureTags {
    extra_samples: Vec<ExtraSample>,
    orientation: u8,
}

fn picture_tags(
    bytes: &RangeCache,
    directory: &Directory,
    level: &SlideLevel,
) -> ReadResult<PictureTags> {
    let colours = match level.photometric {
        Photometric::Rgb | Photometric::YCbCr => 3,
        _ => 1,
    };
    let mut extra_samples = Vec::new();
    for i in 0..level.samples.saturating_sub(colours) {
        if i as u64 >= directory.count(tag::EXTRA_SAMPLES) {
            break;
        }
        extra_samples.push(match directory.number_at(bytes, tag::EXTRA_SAMPLES, i as u64)? {
            1 => ExtraSample::AssociatedAlpha,
            2 => ExtraSample::UnassociatedAlpha,
            _ => ExtraSample::Unspecified,
        });
    }
    let orientation = directory.number_or(bytes, tag::ORIENTATION, 1)?;
    let orientation = u8::try_from(orientation).ok().filter(|n| (1..=8).contains(n)).unwrap_or(1);
    Ok(PictureTags { extra_samples, orientation })
}

/// Decodes all tiles and puts them together: little-endian samples of the whole picture.
fn read_samples(
    bytes: &[u8],
    cache: &mut RangeCache,
    level: &SlideLevel,
    notes: &mut Vec<String>,
) -> Result<Vec<u8>> {
    let pixel_bytes = level.samples * sample_bytes(level.bits);
    // What no tile covers is white in colour and 0 elsewhere, as in label maps.
    let empty = if level.samples >= 3 { 0xFF } else { 0 };
    let mut out = vec![empty; level.width * level.height * pixel_bytes];
    let mut empty_tiles = 0;
    for row in 0..level.tiles_down() {
        for column in 0..level.tiles_across() {
            let ranges =
                read_in_memory(bytes, cache, |cache| level.tile_ranges(cache, column, row))?;
            if ranges.is_empty() {
                empty_tiles += 1;
                continue;
            }
            let mut parts = Vec::with_capacity(ranges.len());
            for range in ranges {
                // Ranges end inside the file.
                parts.push(&bytes[range.start as usize..range.end as usize]);
            }
            let tile = decode_samples(level, row, &parts)?;
            place(&tile, column * level.tile_width, row * level.tile_height, level, &mut out);
        }
    }
    if empty_tiles > 0 {
        let colour = if empty == 0 { "0" } else { "white" };
        notes.push(format!(
            "{empty_tiles} tiles of the TIFF have no bytes; their pixels are taken for {colour}"
        ));
    }
    Ok(out)
}

/// Copies the part of a tile that lies in the picture; `left` and `top` are its first pixel there.
fn place(tile: &TileSamples, left: usize, top: usize, level: &SlideLevel, out: &mut [u8]) {
    let pixel_bytes = tile.channels * tile.sample_bytes;
    let columns = tile.width.min(level.width.saturating_sub(left));
    let rows = tile.height.min(level.height.saturating_sub(top));
    for y in 0..rows {
        let source = y * tile.width * pixel_bytes;
        let target = ((top + y) * level.width + left) * pixel_bytes;
        let length = columns * pixel_bytes;
        out[target..target + length].copy_from_slice(&tile.bytes[source..source + length]);
    }
}

/// Little-endian bytes as numbers.
fn typed(bytes: Vec<u8>, kind: SampleKind, bits: u8) -> TiffValues {
    let two = || bytes.as_chunks::<2>().0.iter();
    let four = || bytes.as_chunks::<4>().0.iter();
    let eight = || bytes.as_chunks::<8>().0.iter();
    match (kind, sample_bytes(bits)) {
        (SampleKind::Unsigned, 1) => TiffValues::U8(bytes),
        (SampleKind::Unsigned, 2) => {
            TiffValues::U16(two().map(|b| u16::from_le_bytes(*b)).collect())
        }
        (SampleKind::Unsigned, 4) => {
            TiffValues::U32(four().map(|b| u32::from_le_bytes(*b)).collect())
        }
        (SampleKind::Unsigned, _) => {
            TiffValues::U64(eight().map(|b| u64::from_le_bytes(*b)).collect())
        }
        (SampleKind::Signed, 1) => TiffValues::I8(bytes.iter().map(|b| b.cast_signed()).collect()),
        (SampleKind::Signed, 2) => TiffValues::I16(two().map(|b| i16::from_le_bytes(*b)).collect()),
        (SampleKind::Signed, 4) => {
            TiffValues::I32(four().map(|b| i32::from_le_bytes(*b)).collect())
        }
        (SampleKind::Signed, _) => {
            TiffValues::I64(eight().map(|b| i64::from_le_bytes(*b)).collect())
        }
        (SampleKind::Float, 2) => {
            TiffValues::F32(two().map(|b| f16::from_le_bytes(*b).to_f32()).collect())
        }
        (SampleKind::Float, 4) => TiffValues::F32(four().map(|b| f32::from_le_bytes(*b)).collect()),
        (SampleKind::Float, _) => {
            TiffValues::F64(eight().map(|b| f64::from_le_bytes(*b)).collect())
        }
    }
}
