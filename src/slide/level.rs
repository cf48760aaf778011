//! One resolution of a slide: a grid of tiles (or of strips, which are treated as tiles as wide as
//! the image), how their pixels are stored and where their bytes lie.

use std::ops::Range;

use super::range_cache::{RangeCache, ReadResult};
use super::tiff::{Directory, tag};
use crate::error::{Error, Result};

/// Longest side of a tile, pixels. Strips may be as wide as the image.
const MAX_TILE_PX: u64 = 65_536;
/// Most pixels of a tile.
const MAX_TILE_AREA: u64 = 64 << 20;
/// Most compressed bytes of a tile.
const MAX_TILE_BYTES: u64 = 256 << 20;
/// Longest side of a level, pixels.
const MAX_SIDE_PX: u64 = 1 << 24;

/// Compression of tiles, by the TIFF tag 259. The `Debug` form is part of `slide info --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// 1: none (TIFF 6.0, section 3).
    None,
    /// 5: LZW (section 13).
    Lzw,
    /// 8, and 32946 of older writers: zlib streams (TIFF Supplement 2, 2002).
    Deflate,
    /// 7: JPEG with shared tables (Technical Note 2).
    Jpeg,
    /// JPEG 2000 codestreams: 33003 and 33005 (Aperio), 34712 (registered).
    Jpeg2000 {
        /// Whether the components are Y, Cb, Cr (33003) instead of red, green, blue.
        ycc: bool,
    },
}

impl Compression {
    fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::None),
            5 => Some(Self::Lzw),
            8 | 32946 => Some(Self::Deflate),
            7 => Some(Self::Jpeg),
            33003 => Some(Self::Jpeg2000 { ycc: true }),
            33005 | 34712 => Some(Self::Jpeg2000 { ycc: false }),
            _ => None,
        }
    }
}

/// Meaning of the samples, by the TIFF tag 262 (TIFF 6.0, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Photometric {
    /// 0: grey, 0 is white.
    WhiteIsZero,
    /// 1: grey, 0 is black.
    BlackIsZero,
    /// 2: red, green, blue.
    Rgb,
    /// 6: luma and two colour differences (section 21).
    YCbCr,
}

impl Photometric {
    fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::WhiteIsZero),
            1 => Some(Self::BlackIsZero),
            2 => Some(Self::Rgb),
            6 => Some(Self::YCbCr),
            _ => None,
        }
    }
}

/// Transform before LZW or Deflate, by the TIFF tag 317 (TIFF 6.0, section 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    /// 1: values as they are.
    None,
    /// 2: each value minus the same component of its left neighbour, modulo 256.
    Horizontal,
}

impl Predictor {
    fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::None),
            2 => Some(Self::Horizontal),
            _ => None,
        }
    }
}

/// A level of the pyramid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlideLevel {
    /// Width of the level, pixels.
    pub width: usize,
    /// Height of the level, pixels.
    pub height: usize,
    /// Width of a tile, pixels; of a strip, the level's.
    pub tile_width: usize,
    /// Height of a tile or strip, pixels.
    pub tile_height: usize,
    /// How tiles are compressed.
    pub compression: Compression,
    /// Values a pixel: 1 is grey, 3 colour, 4 colour and one that is ignored (alpha).
    pub samples: usize,
    /// What the samples mean.
    pub photometric: Photometric,
    /// [`Predictor::None`] for compressions that have no predictor.
    pub predictor: Predictor,
    /// JPEG tables that all tiles share; empty without them.
    pub jpeg_tables: Vec<u8>,
    directory: Directory,
    is_tiled: bool,
}

impl SlideLevel {
    /// Reads the description of a directory's image.
    ///
    /// # Errors
    /// Missing bytes; [`Error::Unsupported`] or [`Error::Limit`] for images that are not 8-bit grey
    /// or colour, or too large.
    pub fn new(bytes: &RangeCache, directory: &Directory) -> ReadResult<Self> {
        let number = |tag, default| directory.number_or(bytes, tag, default);
        let width = number(tag::IMAGE_WIDTH, 0)?;
        let height = number(tag::IMAGE_LENGTH, 0)?;
        if !(1..=MAX_SIDE_PX).contains(&width) || !(1..=MAX_SIDE_PX).contains(&height) {
            return Err(Error::limit(format!(
                "A level of {width}×{height} pixels is out of range"
            ))
            .into());
        }
        let is_tiled = directory.has(tag::TILE_WIDTH);
        let (tile_width, tile_height) = if is_tiled {
            (number(tag::TILE_WIDTH, 0)?, number(tag::TILE_LENGTH, 0)?)
        } else {
            (width, number(tag::ROWS_PER_STRIP, height)?.min(height))
        };
        check_tile_size(tile_width, tile_height, is_tiled)?;
        let samples = number(tag::SAMPLES_PER_PIXEL, 1)?;
        let bits = directory.numbers(bytes, tag::BITS_PER_SAMPLE, 8)?;
        let is_eight_bit = !bits.is_empty() && bits.iter().all(|b| *b == 8);
        if !matches!(samples, 1 | 3 | 4) || !is_eight_bit {
            return Err(Error::unsupported(
                "Only slides of 8 bits a value, grey or colour, are supported",
            )
            .into());
        }
        if samples > 1 && number(tag::PLANAR_CONFIGURATION, 1)? != 1 {
            return Err(
                Error::unsupported("Slides with separate colour planes are not supported").into()
            );
        }
        let code = number(tag::COMPRESSION, 1)?;
        let compression = Compression::from_code(code).ok_or_else(|| {
            Error::unsupported(format!("Slides with TIFF compression {code} are not supported"))
        })?;
        let photometric = Photometric::from_code(number(tag::PHOTOMETRIC_INTERPRETATION, 2)?);
        let predictor = Predictor::from_code(number(tag::PREDICTOR, 1)?);
        let (Some(photometric), Some(predictor)) = (photometric, predictor) else {
            return Err(Error::unsupported(
                "The slide's colours are stored in a way that is not supported",
            )
            .into());
        };
        let has_predictor = matches!(compression, Compression::Lzw | Compression::Deflate);
        let jpeg_tables = if compression == Compression::Jpeg {
            directory.raw(bytes, tag::JPEG_TABLES)?
        } else {
            Vec::new()
        };
        let level = Self {
            width: width as usize,
            height: height as usize,
            tile_width: tile_width as usize,
            tile_height: tile_height as usize,
            compression,
            samples: samples as usize,
            photometric,
            predictor: if has_predictor { predictor } else { Predictor::None },
            jpeg_tables,
            directory: directory.clone(),
            is_tiled,
        };
        // The tile tables are checked once here and read entry by entry later: a large slide has a
        // million tiles.
        let tiles = level.tiles_across() as u64 * level.tiles_down() as u64;
        if level.directory.count(level.offsets_tag()) < tiles
            || level.directory.count(level.byte_counts_tag()) < tiles
        {
            return Err(
                Error::malformed(format!("The slide lists fewer than its {tiles} tiles")).into()
            );
        }
        Ok(level)
    }

    /// Whether it is stored in tiles, as the levels of a pyramid are, and not in strips.
    #[must_use]
    pub fn is_tiled(&self) -> bool {
        self.is_tiled
    }

    fn offsets_tag(&self) -> u16 {
        if self.is_tiled { tag::TILE_OFFSETS } else { tag::STRIP_OFFSETS }
    }

    fn byte_counts_tag(&self) -> u16 {
        if self.is_tiled { tag::TILE_BYTE_COUNTS } else { tag::STRIP_BYTE_COUNTS }
    }

    /// Columns of the tile grid.
    #[must_use]
    pub fn tiles_across(&self) -> usize {
        self.width.div_ceil(self.tile_width)
    }

    /// Rows of the tile grid.
    #[must_use]
    pub fn tiles_down(&self) -> usize {
        self.height.div_ceil(self.tile_height)
    }

    /// Byte range of a tile in the file; none for an empty tile, which stands for background.
    ///
    /// # Errors
    /// Missing bytes; a tile outside the grid or outside the file.
    pub fn tile_range(
        &self,
        bytes: &RangeCache,
        column: usize,
        row: usize,
    ) -> ReadResult<Option<Range<u64>>> {
        if column >= self.tiles_across() || row >= self.tiles_down() {
            return Err(Error::mismatch(format!("The level has no tile {column}, {row}")).into());
        }
        // Tiles are listed row by row (TIFF 6.0, section 15).
        let index = (row * self.tiles_across() + column) as u64;
        let byte_count = self.directory.number_at(bytes, self.byte_counts_tag(), index)?;
        let offset = self.directory.number_at(bytes, self.offsets_tag(), index)?;
        if byte_count == 0 {
            return Ok(None);
        }
        if byte_count > MAX_TILE_BYTES {
            return Err(Error::limit(format!(
                "A tile of {byte_count} bytes is larger than the limit"
            ))
            .into());
        }
        match offset.checked_add(byte_count).filter(|end| *end <= bytes.len()) {
            Some(end) => Ok(Some(offset..end)),
            None => Err(Error::malformed(format!(
                "Tile {column}, {row} should lie at byte {offset}, past the end of the file; it \
                 may be cut short"
            ))
            .into()),
        }
    }
}

fn check_tile_size(width: u64, height: u64, is_tiled: bool) -> Result<()> {
    let area = width.checked_mul(height);
    let is_area_valid = area.is_some_and(|a| (1..=MAX_TILE_AREA).contains(&a));
    if is_area_valid && !(is_tiled && width.max(height) > MAX_TILE_PX) {
        return Ok(());
    }
    let kind = if is_tiled { "tiles" } else { "strips" };
    Err(Error::limit(format!("Slides with {kind} of {width}×{height} pixels are not supported")))
}
