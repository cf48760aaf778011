//! Tiles of a slide: its own levels shrink by any factor, the viewer's by two, and nuclei are
//! outlines instead of label maps.

use super::pyramid::{APRON, TEXTURE, TILE, TileKey, level_count};
use crate::engine::Block;
use crate::error::{Error, Result};
use crate::instances::eight_bits;
use crate::raster::{Point, RgbImage, fill_polygon};
use crate::slide::{Rect, Slide};
use crate::whole_slide::{Axis, NucleusIndex, resampled};

/// Most pixels of a level that one tile may be made of: a slide without coarse levels has no
/// overview.
const MAX_SOURCE_PX: usize = 36 << 20;
/// Pixels of the finest level for one of the screen, from which on nuclei may be smaller than a
/// pixel.
const FAR: f64 = 8.0;

/// What a slide's tiles are made of.
#[derive(Debug, Clone)]
pub struct SlideTiles {
    slide: Slide,
}

/// A tile's pixels before they are resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileSource {
    /// Of the slide.
    pub level: usize,
    pub rect: Rect,
}

impl SlideTiles {
    #[must_use]
    pub fn new(slide: &Slide) -> Self {
        Self { slide: slide.clone() }
    }

    /// Pixels of the finest level.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.slide.levels[0].width, self.slide.levels[0].height)
    }

    /// The slide's level, and how its columns and rows become the viewer's.
    fn axes(&self, level: u32) -> (usize, Axis, Axis) {
        let (width, height) = self.size();
        let step = 1usize << level;
        let index = self.slide.level_for(step as f64);
        let own = &self.slide.levels[index];
        let axis = |whole: usize, source: usize| {
            let len = whole.div_ceil(step);
            // A level that was rounded up as ours is taken pixel by pixel.
            let step = if len == source { 1.0 } else { step as f64 * source as f64 / whole as f64 };
            Axis { step, len, source }
        };
        (index, axis(width, own.width), axis(height, own.height))
    }

    /// The part of a tile with its apron that lies in the picture, pixels of the viewer's level.
    fn part(&self, key: TileKey) -> Result<Block> {
        part(self.size(), key)
    }

    /// What a tile is made of.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a tile that the slide has not, [`Error::Limit`] when its levels are
    /// too fine for it.
    pub fn source(&self, key: TileKey) -> Result<TileSource> {
        let part = self.part(key)?;
        let (level, across, down) = self.axes(key.level);
        let ((left, right), (top, bottom)) =
            (across.needs(part.column, part.width), down.needs(part.row, part.height));
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
        Ok(TileSource { level, rect })
    }

    /// RGBA of a tile with its apron from the pixels of [`Self::source`].
    ///
    /// # Errors
    /// As [`Self::source`].
    pub fn tile(&self, key: TileKey, pixels: &RgbImage) -> Result<Vec<u8>> {
        let part = self.part(key)?;
        let rect = self.source(key)?.rect;
        let (_, across, down) = self.axes(key.level);
        if (pixels.width(), pixels.height()) != (rect.width, rect.height) {
            return Err(Error::mismatch("The pixels are not those of the tile"));
        }
        let columns = across.weights(part.column, part.width, rect.x.cast_unsigned());
        let rows = down.weights(part.row, part.height, rect.y.cast_unsigned());
        let shrunk = resampled(pixels, &columns, &rows)?;
        let mut out = Vec::with_capacity(TEXTURE * TEXTURE * 4);
        each_texel(key, part, |x, y| {
            let [r, g, b] = shrunk.get(y, x);
            out.extend_from_slice(&[r, g, b, 255]);
        });
        Ok(out)
    }
}

fn part((width, height): (usize, usize), key: TileKey) -> Result<Block> {
    if key.level >= level_count(width, height) {
        return Err(Error::mismatch("The slide has no such tile"));
    }
    let span = |index: u32, whole: usize| {
        let len = whole.div_ceil(1 << key.level);
        let from = index as usize * TILE;
        (from < len).then(|| (from.saturating_sub(APRON), (from + TILE + APRON).min(len)))
    };
    let (columns, rows) = (span(key.column, width), span(key.row, height));
    let Some(((left, right), (top, bottom))) = columns.zip(rows) else {
        return Err(Error::mismatch("The slide has no such tile"));
    };
    Ok(Block { row: top, column: left, width: right - left, height: bottom - top })
}

/// Calls `texel` with the place in the part of each pixel of a tile with apron; beyond the border
/// the last one repeats.
fn each_texel(key: TileKey, part: Block, mut texel: impl FnMut(usize, usize)) {
    let place = |index: u32, i: usize, first: usize, count: usize| {
        (index as usize * TILE + i).saturating_sub(APRON + first).min(count - 1)
    };
    for y in 0..TEXTURE {
        let row = place(key.row, y, part.row, part.height);
        (0..TEXTURE).for_each(|x| texel(place(key.column, x, part.column, part.width), row));
    }
}

/// Four bytes a pixel as [`super::data_tile`] gives them, from nuclei that are outlines: the
/// probability is the nucleus's mean.
///
/// # Errors
/// [`Error::Mismatch`] for a tile that a picture of `size` has not.
pub fn nuclei_tile(size: (usize, usize), index: &NucleusIndex, key: TileKey) -> Result<Vec<u8>> {
    let part = part(size, key)?;
    let step = f64::from(1u32 << key.level);
    let bounds = {
        let Block { row, column, width, height } = part;
        [column, row, column + width, row + height].map(|v| v as f64 * step)
    };
    let mut texels = vec![[0u8; 4]; part.width * part.height];
    let (w, h) = (part.width, part.height);
    let local = |x: f64, y: f64| (x / step - part.column as f64, y / step - part.row as f64);
    for [left, top, right, bottom] in index.known(bounds) {
        let ((l, t), (r, b)) = (local(left, top), local(right, bottom));
        let within = |from: f64, to: f64, len: usize| {
            (from.round().clamp(0.0, len as f64) as usize)
                ..(to.round().clamp(0.0, len as f64) as usize)
        };
        for y in within(t, b, h) {
            within(l, r, w).for_each(|x| texels[y * w + x][3] = 255);
        }
    }
    for (label, nucleus) in index.near(bounds) {
        let [low, high] = (((label - 1) % 65_535 + 1) as u16).to_le_bytes();
        let texel = [eight_bits(nucleus.probability() as f32), low, high, 255];
        // Holes are filled last with what is not there.
        for (i, ring) in nucleus.rings().enumerate() {
            let points: Vec<Point> =
                ring.iter().map(|[x, y]| local(*x, *y)).map(|(x, y)| Point { x, y }).collect();
            let value = if i == 0 { texel } else { [0, 0, 0, 255] };
            fill_polygon(&points, w, h, |y, from, to| texels[y * w + from..y * w + to].fill(value));
        }
        if step < FAR {
            continue;
        }
        // From afar a nucleus is still a point.
        let (x, y) = local(nucleus.centroid.0, nucleus.centroid.1);
        if x >= 0.0 && y >= 0.0 && (x as usize) < w && (y as usize) < h {
            texels[y as usize * w + x as usize] = texel;
        }
    }
    let mut out = Vec::with_capacity(TEXTURE * TEXTURE * 4);
    each_texel(key, part, |x, y| out.extend_from_slice(&texels[y * w + x]));
    Ok(out)
}
