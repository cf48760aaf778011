//! One resolution of a slide: a grid of tiles (or strips, which are wide tiles), how they are
//! packed and where they lie.

use super::range_cache::{RangeCache, ReadResult};
use super::tiff::{Directory, tag};
use crate::error::Error;

/// Largest sides of a tile, pixels. Strips may be as wide as the image.
const MAX_TILE_PX: u64 = 65_536;
/// Most pixels of a tile.
const MAX_TILE_AREA: u64 = 64 << 20;
/// Longest packed tile, bytes.
const MAX_TILE_BYTES: u64 = 256 << 20;
/// Largest side of a level, pixels.
const MAX_SIDE_PX: u64 = 1 << 24;

/// How tiles are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Lzw,
    Deflate,
    Jpeg,
    /// JPEG 2000; Aperio's 33003 holds brightness and two colour differences.
    Jpeg2000 {
        ycc: bool,
    },
}

impl Compression {
    fn of(number: u64) -> Option<Self> {
        match number {
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

/// A level of the pyramid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a TIFF tag of two values")]
pub struct SlideLevel {
    /// Pixels.
    pub width: usize,
    pub height: usize,
    pub tile_width: usize,
    pub tile_height: usize,
    pub compression: Compression,
    /// Values a pixel: 1 is grey, 3 colour, 4 colour with something else behind.
    pub samples: usize,
    /// JPEG tiles hold red, green and blue instead of brightness and colour differences.
    pub jpeg_rgb: bool,
    /// Rows hold differences of neighbours.
    pub predicted: bool,
    /// 0 is white.
    pub inverted: bool,
    pub jpeg_tables: Vec<u8>,
    directory: Directory,
    tiled: bool,
}

impl SlideLevel {
    /// What a directory says of its image.
    ///
    /// # Errors
    /// Missing bytes; [`Error::Unsupported`] or [`Error::Limit`] for an image that is no tissue or
    /// too large.
    pub fn new(bytes: &RangeCache, directory: &Directory) -> ReadResult<Self> {
        let number = |tag, absent| directory.number_or(bytes, tag, absent);
        let (width, height) = (number(tag::WIDTH, 0)?, number(tag::HEIGHT, 0)?);
        if !(1..=MAX_SIDE_PX).contains(&width) || !(1..=MAX_SIDE_PX).contains(&height) {
            return Err(Error::limit(format!(
                "A level of {width}×{height} pixels is out of range"
            ))
            .into());
        }
        let tiled = directory.has(tag::TILE_WIDTH);
        let (tile_width, tile_height) = if tiled {
            (number(tag::TILE_WIDTH, 0)?, number(tag::TILE_HEIGHT, 0)?)
        } else {
            (width, number(tag::ROWS_PER_STRIP, height)?.min(height))
        };
        let area = tile_width.checked_mul(tile_height).filter(|a| (1..=MAX_TILE_AREA).contains(a));
        if area.is_none() || (tiled && tile_width.max(tile_height) > MAX_TILE_PX) {
            let kind = if tiled { "tiles" } else { "strips" };
            return Err(Error::limit(format!(
                "Slides with {kind} of {tile_width}×{tile_height} pixels are not read"
            ))
            .into());
        }
        let samples = number(tag::SAMPLES, 1)?;
        let bits = directory.numbers(bytes, tag::BITS, 8)?;
        if !matches!(samples, 1 | 3 | 4) || bits.iter().any(|b| *b != 8) || bits.is_empty() {
            return Err(Error::unsupported(
                "Only slides of 8 bits a value, grey or colour, are read",
            )
            .into());
        }
        if samples > 1 && number(tag::PLANAR, 1)? != 1 {
            return Err(
                Error::unsupported("Slides with separate colour planes are not read").into()
            );
        }
        let packed = number(tag::COMPRESSION, 1)?;
        let compression = Compression::of(packed).ok_or_else(|| {
            Error::unsupported(format!("Slides packed by method {packed} are not read"))
        })?;
        let photometric = number(tag::PHOTOMETRIC, 2)?;
        let predictor = number(tag::PREDICTOR, 1)?;
        if !matches!(photometric, 0 | 1 | 2 | 6) || !matches!(predictor, 1 | 2) {
            return Err(Error::unsupported(
                "The slide's colours are stored in a way that is not read",
            )
            .into());
        }
        let level = Self {
            width: width as usize,
            height: height as usize,
            tile_width: tile_width as usize,
            tile_height: tile_height as usize,
            compression,
            samples: samples as usize,
            jpeg_rgb: photometric == 2,
            predicted: predictor == 2
                && matches!(compression, Compression::Lzw | Compression::Deflate),
            inverted: photometric == 0 && samples == 1,
            jpeg_tables: if compression == Compression::Jpeg {
                directory.raw(bytes, tag::JPEG_TABLES)?
            } else {
                Vec::new()
            },
            directory: directory.clone(),
            tiled,
        };
        let (across, down) = level.grid();
        let tiles = across as u64 * down as u64;
        if level.directory.count(level.offsets()) < tiles
            || level.directory.count(level.counts()) < tiles
        {
            return Err(
                Error::malformed(format!("The slide lists fewer than its {tiles} tiles")).into()
            );
        }
        Ok(level)
    }

    /// Whether it is cut into tiles, as the levels of a pyramid are.
    #[must_use]
    pub fn is_tiled(&self) -> bool {
        self.tiled
    }

    fn offsets(&self) -> u16 {
        if self.tiled { tag::TILE_OFFSETS } else { tag::STRIP_OFFSETS }
    }

    fn counts(&self) -> u16 {
        if self.tiled { tag::TILE_COUNTS } else { tag::STRIP_COUNTS }
    }

    /// Tiles across and down.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        (self.width.div_ceil(self.tile_width), self.height.div_ceil(self.tile_height))
    }

    /// Where a tile's bytes lie; none for a tile that was left out.
    ///
    /// # Errors
    /// Missing bytes; a tile that lies outside the file.
    pub fn tile_range(
        &self,
        bytes: &RangeCache,
        column: usize,
        row: usize,
    ) -> ReadResult<Option<std::ops::Range<u64>>> {
        let (across, down) = self.grid();
        if column >= across || row >= down {
            return Err(Error::mismatch(format!("The level has no tile {column}, {row}")).into());
        }
        let index = (row * across + column) as u64;
        let count = self.directory.number_at(bytes, self.counts(), index)?;
        let offset = self.directory.number_at(bytes, self.offsets(), index)?;
        if count == 0 {
            return Ok(None);
        }
        if count > MAX_TILE_BYTES {
            return Err(
                Error::limit(format!("A tile of {count} bytes is larger than the limit")).into()
            );
        }
        match offset.checked_add(count).filter(|end| *end <= bytes.len()) {
            Some(end) => Ok(Some(offset..end)),
            None => Err(Error::malformed(format!(
                "Tile {column}, {row} should lie at byte {offset}, past the end of the file; it may be cut short"
            ))
            .into()),
        }
    }
}
