//! Tiles of a slide. The slide's own levels shrink by any factor and the viewer's by two, so pixels
//! are resampled.

use super::tile::{
    APRON_PX, TEXTURE_BYTES, TILE_PX, TileKey, level_count, no_such_tile, texel_positions,
};
use crate::engine::Block;
use crate::error::{Error, Result};
use crate::raster::{Axis, RgbImage, resampled};
use crate::slide::{Rect, Slide};

/// Most source pixels of one tile: a slide without coarse levels has no overview.
const MAX_SOURCE_PX: usize = 36 << 20;

/// Makes the viewer's tiles of a slide.
#[derive(Debug, Clone)]
pub struct SlideTiles {
    slide: Slide,
}

/// The pixels that a tile is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileSource {
    /// Level of the slide.
    pub level: usize,
    /// Rectangle of that level.
    pub rect: Rect,
}

/// How one of the slide's levels becomes one of the viewer's.
struct LevelMapping {
    /// Level of the slide.
    source_level: usize,
    columns: Axis,
    rows: Axis,
}

impl SlideTiles {
    /// Tiles of this slide.
    #[must_use]
    pub fn new(slide: &Slide) -> Self {
        Self { slide: slide.clone() }
    }

    /// Width and height of the finest level, pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.slide.levels[0].width, self.slide.levels[0].height)
    }

    fn mapping(&self, level: u32) -> LevelMapping {
        let (width, height) = self.size();
        let source_level = self.slide.level_for((1usize << level) as f64);
        let source = &self.slide.levels[source_level];
        LevelMapping {
            source_level,
            columns: halving_axis(width, level, source.width),
            rows: halving_axis(height, level, source.height),
        }
    }

    /// What must be read for a tile.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a tile that the slide has not, [`Error::Limit`] when its levels are
    /// too fine for it.
    pub fn source(&self, key: TileKey) -> Result<TileSource> {
        let block = tile_block(self.size(), key)?;
        let mapping = self.mapping(key.level);
        let (left, right) = mapping.columns.needs(block.column, block.width);
        let (top, bottom) = mapping.rows.needs(block.row, block.height);
        if (right - left).saturating_mul(bottom - top) > MAX_SOURCE_PX {
            return Err(Error::limit(
                "The slide has no level coarse enough for an overview; zoom in",
            ));
        }
        let rect = Rect {
            x: left.cast_signed(),
            y: top.cast_signed(),
            width: right - left,
            height: bottom - top,
        };
        Ok(TileSource { level: mapping.source_level, rect })
    }

    /// A tile with its apron from the pixels of [`Self::source`]: RGBA, row by row,
    /// `TEXTURE_PX × TEXTURE_PX`.
    ///
    /// # Errors
    /// As [`Self::source`].
    pub fn tile(&self, key: TileKey, pixels: &RgbImage) -> Result<Vec<u8>> {
        let block = tile_block(self.size(), key)?;
        let rect = self.source(key)?.rect;
        if (pixels.width(), pixels.height()) != (rect.width, rect.height) {
            return Err(Error::mismatch("The pixels are not those of the tile"));
        }
        let LevelMapping { columns, rows, .. } = self.mapping(key.level);
        let column_weights = columns.weights(block.column, block.width, rect.x.cast_unsigned());
        let row_weights = rows.weights(block.row, block.height, rect.y.cast_unsigned());
        let level_pixels = resampled(pixels, &column_weights, &row_weights)?;
        let mut rgba = Vec::with_capacity(TEXTURE_BYTES);
        for y in texel_positions(key.row, rows.len)? {
            for x in texel_positions(key.column, columns.len)? {
                let [r, g, b] = level_pixels.get(y - block.row, x - block.column);
                rgba.extend_from_slice(&[r, g, b, 255]);
            }
        }
        Ok(rgba)
    }
}

/// Resampling from `source` pixels to a viewer's level of a side with `full` pixels.
fn halving_axis(full: usize, level: u32, source: usize) -> Axis {
    let factor = 1usize << level;
    let len = full.div_ceil(factor);
    // A level of the slide that was rounded as the viewer's is taken pixel by pixel.
    let step = if len == source { 1.0 } else { factor as f64 * source as f64 / full as f64 };
    Axis { step, len, source }
}

/// The part of a tile with its apron that lies in an image of `size`, pixels of the tile's level.
///
/// # Errors
/// [`Error::Mismatch`] for a tile that the image has not.
pub(super) fn tile_block((width, height): (usize, usize), key: TileKey) -> Result<Block> {
    if key.level >= level_count(width, height) {
        return Err(no_such_tile());
    }
    let level_width = width.div_ceil(1 << key.level);
    let level_height = height.div_ceil(1 << key.level);
    let left = key.column as usize * TILE_PX;
    let top = key.row as usize * TILE_PX;
    if left >= level_width || top >= level_height {
        return Err(no_such_tile());
    }
    let column = left.saturating_sub(APRON_PX);
    let row = top.saturating_sub(APRON_PX);
    let right = (left + TILE_PX + APRON_PX).min(level_width);
    let bottom = (top + TILE_PX + APRON_PX).min(level_height);
    Ok(Block { row, column, width: right - column, height: bottom - row })
}
