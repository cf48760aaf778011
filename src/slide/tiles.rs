//! Rectangles made of tiles, and a cache of decoded tiles.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::decode::BACKGROUND;
use super::level::SlideLevel;
use super::mosaic::Piece;
use crate::error::{Error, Result};
use crate::raster::{Plane, RgbImage};

/// Most pixels of one rectangle.
const MAX_REGION_PX: usize = 256 << 20;
/// Bytes of a decoded pixel.
const PIXEL_BYTES: usize = 3;

/// Position of a tile in a slide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileIndex {
    /// Level of the slide, 0 is the finest.
    pub level: usize,
    /// Column of the level's tile grid.
    pub column: usize,
    /// Row of the level's tile grid.
    pub row: usize,
}

/// A decoded tile and its position.
#[derive(Debug, Clone)]
pub struct PlacedTile {
    /// Where it belongs.
    pub index: TileIndex,
    /// Its pixels, as [`super::decode_tile`] gives them.
    pub pixels: Arc<RgbImage>,
}

/// A rectangle of a level, in its pixels. It may reach beyond the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x: isize,
    /// First row.
    pub y: isize,
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

/// The part of a rectangle that lies in a level.
struct ClippedRect {
    columns: Range<usize>,
    rows: Range<usize>,
}

impl Rect {
    /// Checks the size before memory is taken.
    ///
    /// # Errors
    /// [`Error::Limit`] for no pixels or too many.
    pub fn check(&self) -> Result<()> {
        if self.width.checked_mul(self.height).is_none_or(|n| n == 0 || n > MAX_REGION_PX) {
            return Err(Error::limit(format!(
                "A region of {}×{} pixels is out of range",
                self.width, self.height
            )));
        }
        Ok(())
    }

    fn clipped(&self, level: &SlideLevel) -> ClippedRect {
        ClippedRect {
            columns: clip(self.x, self.width, level.width),
            rows: clip(self.y, self.height, level.height),
        }
    }

    /// The tiles that intersect the rectangle, row by row. `level_index` is the level's number in
    /// the slide.
    #[must_use]
    pub fn tiles(&self, level_index: usize, level: &SlideLevel) -> Vec<TileIndex> {
        let clipped = self.clipped(level);
        if clipped.columns.is_empty() || clipped.rows.is_empty() {
            return Vec::new();
        }
        if let Some(mosaic) = level.mosaic() {
            let mut tiles = BTreeSet::new();
            for piece in mosaic.pieces(&clipped.columns, &clipped.rows) {
                let [column, row] = piece.tile;
                if column < level.tiles_across() && row < level.tiles_down() {
                    tiles.insert((row, column));
                }
            }
            let index = |(row, column)| TileIndex { level: level_index, column, row };
            return tiles.into_iter().map(index).collect();
        }
        let first_column = clipped.columns.start / level.tile_width;
        // The range excludes its end, so the last pixel is at end − 1.
        let last_column = (clipped.columns.end - 1) / level.tile_width;
        let first_row = clipped.rows.start / level.tile_height;
        let last_row = (clipped.rows.end - 1) / level.tile_height;
        let mut tiles = Vec::new();
        for row in first_row..=last_row {
            for column in first_column..=last_column {
                tiles.push(TileIndex { level: level_index, column, row });
            }
        }
        tiles
    }

    /// Copies the rectangle out of tiles. What no tile covers is [`BACKGROUND`].
    #[must_use]
    pub fn assemble(&self, level: &SlideLevel, tiles: &[PlacedTile]) -> RgbImage {
        let mut out = Plane::filled(self.width, self.height, BACKGROUND);
        let clipped = self.clipped(level);
        if let Some(mosaic) = level.mosaic() {
            let by_index: HashMap<[usize; 2], &PlacedTile> =
                tiles.iter().map(|tile| ([tile.index.column, tile.index.row], tile)).collect();
            for piece in mosaic.pieces(&clipped.columns, &clipped.rows) {
                if let Some(tile) = by_index.get(&piece.tile) {
                    self.copy(&clipped, &tile.pixels, &piece, &mut out);
                }
            }
            return out;
        }
        for tile in tiles {
            let TileIndex { column, row, .. } = tile.index;
            let place = [column * level.tile_width, row * level.tile_height];
            let piece = Piece {
                tile: [column, row],
                source: [0, 0],
                place: place.map(usize::cast_signed),
                size: [tile.pixels.width(), tile.pixels.height()],
            };
            self.copy(&clipped, &tile.pixels, &piece, &mut out);
        }
        out
    }

    /// Copies what lies in the clipped rectangle of a piece of `tile` to the rectangle's pixels.
    fn copy(&self, clipped: &ClippedRect, tile: &RgbImage, piece: &Piece, out: &mut RgbImage) {
        let [left, top] = piece.place;
        // Of the piece.
        let width = piece.size[0].min(tile.width().saturating_sub(piece.source[0]));
        let height = piece.size[1].min(tile.height().saturating_sub(piece.source[1]));
        let from = clipped.columns.start.cast_signed().max(left);
        let to = clipped.columns.end.cast_signed().min(left.saturating_add_unsigned(width));
        if from >= to {
            return;
        }
        let first = clipped.rows.start.cast_signed().max(top);
        let last = clipped.rows.end.cast_signed().min(top.saturating_add_unsigned(height));
        for y in first..last {
            // Not negative: the clipped part begins at or after the piece and the rectangle, whose
            // corners may be negative.
            let source_x = piece.source[0] + (from - left).cast_unsigned();
            let source_y = piece.source[1] + (y - top).cast_unsigned();
            let out_x = (from - self.x).cast_unsigned();
            let count = (to - from).cast_unsigned();
            let source = &tile.row(source_y)[source_x..source_x + count];
            let out_row = out.row_mut((y - self.y).cast_unsigned());
            out_row[out_x..out_x + count].copy_from_slice(source);
        }
    }
}

/// The part of `start..start + len` that lies in `0..whole`.
fn clip(start: isize, len: usize, whole: usize) -> Range<usize> {
    let whole = whole.cast_signed();
    let end = start.saturating_add_unsigned(len);
    start.clamp(0, whole).cast_unsigned()..end.clamp(0, whole).cast_unsigned()
}

/// Decoded tiles up to a number of bytes; the least recently used ones are dropped first.
#[derive(Debug)]
pub struct TileCache {
    tiles: HashMap<TileIndex, CachedTile>,
    capacity_bytes: usize,
    cached_bytes: usize,
    /// Number of accesses so far.
    clock: u64,
}

#[derive(Debug)]
struct CachedTile {
    pixels: Arc<RgbImage>,
    /// [`TileCache::clock`] at the last access.
    last_used: u64,
}

impl CachedTile {
    fn bytes(&self) -> usize {
        self.pixels.data().len() * PIXEL_BYTES
    }
}

impl TileCache {
    /// An empty cache for `capacity_bytes` bytes of pixels.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        Self { tiles: HashMap::new(), capacity_bytes, cached_bytes: 0, clock: 0 }
    }

    /// A tile, which becomes the most recently used one.
    pub fn get(&mut self, index: TileIndex) -> Option<Arc<RgbImage>> {
        self.clock += 1;
        let tile = self.tiles.get_mut(&index)?;
        tile.last_used = self.clock;
        Some(Arc::clone(&tile.pixels))
    }

    /// Adds or replaces a tile and drops others while there are too many bytes. One tile always
    /// stays, whatever its size.
    pub fn insert(&mut self, index: TileIndex, pixels: Arc<RgbImage>) {
        self.clock += 1;
        let tile = CachedTile { pixels, last_used: self.clock };
        self.cached_bytes += tile.bytes();
        if let Some(replaced) = self.tiles.insert(index, tile) {
            self.cached_bytes -= replaced.bytes();
        }
        while self.cached_bytes > self.capacity_bytes && self.tiles.len() > 1 {
            let oldest = self.tiles.iter().min_by_key(|(_, tile)| tile.last_used);
            let Some(oldest) = oldest.map(|(index, _)| *index) else { break };
            if let Some(dropped) = self.tiles.remove(&oldest) {
                self.cached_bytes -= dropped.bytes();
            }
        }
    }

    /// Bytes of the pixels in the cache.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_tile_is_dropped_first() {
        let mut cache = TileCache::new(3 * 3 * 100);
        let index = |column| TileIndex { level: 0, column, row: 0 };
        let tile = || Arc::new(Plane::filled(10, 10, [0; 3]));
        for column in 0..3 {
            cache.insert(index(column), tile());
        }
        assert!(cache.get(index(0)).is_some());
        cache.insert(index(3), tile());
        let cached = [0, 1, 2, 3].map(|column| cache.get(index(column)).is_some());
        assert_eq!(cached, [true, false, true, true]);
        cache.insert(index(3), tile());
        assert_eq!(cache.cached_bytes(), 900);
        cache.insert(index(9), Arc::new(Plane::filled(100, 100, [0; 3])));
        assert!(cache.get(index(9)).is_some(), "one tile always stays");
    }
}
