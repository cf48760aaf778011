//! Decoded tiles: which of them a rectangle needs, how it is put together from them, and which stay
//! in memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::decode::BACKGROUND;
use super::level::SlideLevel;
use crate::error::{Error, Result};
use crate::raster::{Plane, RgbImage};

/// Most pixels of one rectangle.
const MAX_REGION_PX: usize = 256 << 20;

/// Place of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileIndex {
    pub level: usize,
    pub column: usize,
    pub row: usize,
}

/// A rectangle of a level; it may reach beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    pub x: isize,
    pub y: isize,
    pub width: usize,
    pub height: usize,
}

impl Rect {
    /// # Errors
    /// [`Error::Limit`] for more pixels than memory should hold, or none.
    pub fn check(&self) -> Result<()> {
        if self.width.checked_mul(self.height).is_none_or(|n| n == 0 || n > MAX_REGION_PX) {
            return Err(Error::limit(format!(
                "A region of {}×{} pixels is out of range",
                self.width, self.height
            )));
        }
        Ok(())
    }

    /// First and last column and row (exclusive) inside a level.
    fn inside(&self, level: &SlideLevel) -> [usize; 4] {
        let span = |from: isize, len: usize, whole: usize| {
            let end = from.saturating_add_unsigned(len).clamp(0, whole.cast_signed());
            (from.clamp(0, whole.cast_signed()).cast_unsigned(), end.cast_unsigned())
        };
        let ((left, right), (top, bottom)) =
            (span(self.x, self.width, level.width), span(self.y, self.height, level.height));
        [left, right, top, bottom]
    }

    /// The tiles that it touches, row by row.
    #[must_use]
    pub fn tiles(&self, index: usize, level: &SlideLevel) -> Vec<TileIndex> {
        let [left, right, top, bottom] = self.inside(level);
        if left >= right || top >= bottom {
            return Vec::new();
        }
        let (w, h) = (level.tile_width, level.tile_height);
        let row = |row| {
            (left / w..=(right - 1) / w).map(move |column| TileIndex { level: index, column, row })
        };
        (top / h..=(bottom - 1) / h).flat_map(row).collect()
    }

    /// Its pixels, from tiles; where there are none there is glass.
    #[must_use]
    pub fn assemble(&self, level: &SlideLevel, tiles: &[(TileIndex, Arc<RgbImage>)]) -> RgbImage {
        let mut out = Plane::filled(self.width, self.height, BACKGROUND);
        let [left, right, top, bottom] = self.inside(level);
        for (place, tile) in tiles {
            let (tile_left, tile_top) =
                (place.column * level.tile_width, place.row * level.tile_height);
            let (from, to) = (left.max(tile_left), right.min(tile_left + tile.width()));
            if from >= to {
                continue;
            }
            for row in top.max(tile_top)..bottom.min(tile_top + tile.height()) {
                let target = (from.cast_signed() - self.x).cast_unsigned();
                let line = &mut out.row_mut((row.cast_signed() - self.y).cast_unsigned())[target..]
                    [..to - from];
                line.copy_from_slice(&tile.row(row - tile_top)[from - tile_left..to - tile_left]);
            }
        }
        out
    }
}

/// Decoded tiles, the ones used longest ago leaving first.
#[derive(Debug)]
pub struct TileCache {
    tiles: HashMap<TileIndex, (Arc<RgbImage>, u64)>,
    room: usize,
    bytes: usize,
    clock: u64,
}

impl TileCache {
    /// A cache with room for so many bytes of pixels.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { tiles: HashMap::new(), room, bytes: 0, clock: 0 }
    }

    pub fn get(&mut self, place: TileIndex) -> Option<Arc<RgbImage>> {
        self.clock += 1;
        let (tile, used) = self.tiles.get_mut(&place)?;
        *used = self.clock;
        Some(tile.clone())
    }

    pub fn put(&mut self, place: TileIndex, tile: Arc<RgbImage>) {
        self.clock += 1;
        self.bytes += tile.data().len() * 3;
        if let Some((old, _)) = self.tiles.insert(place, (tile, self.clock)) {
            self.bytes -= old.data().len() * 3;
        }
        while self.bytes > self.room && self.tiles.len() > 1 {
            let Some(oldest) =
                self.tiles.iter().min_by_key(|(_, (_, used))| *used).map(|(k, _)| *k)
            else {
                break;
            };
            if let Some((tile, _)) = self.tiles.remove(&oldest) {
                self.bytes -= tile.data().len() * 3;
            }
        }
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_leaves_first_and_room_is_kept() {
        let mut cache = TileCache::new(3 * 3 * 100);
        let place = |column| TileIndex { level: 0, column, row: 0 };
        let tile = || Arc::new(Plane::filled(10, 10, [0; 3]));
        (0..3).for_each(|i| cache.put(place(i), tile()));
        assert!(cache.get(place(0)).is_some());
        cache.put(place(3), tile());
        assert_eq!([0, 1, 2, 3].map(|i| cache.get(place(i)).is_some()), [true, false, true, true]);
        cache.put(place(3), tile());
        assert_eq!(cache.held(), 900);
        cache.put(place(9), Arc::new(Plane::filled(100, 100, [0; 3])));
        assert!(cache.get(place(9)).is_some(), "one tile always stays");
    }
}
