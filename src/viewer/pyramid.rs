//! Tiles of an image in memory.

use std::sync::Arc;

use super::tile::{TEXTURE_BYTES, TileKey, level_count, no_such_tile, texel_positions};
use crate::error::Result;
use crate::raster::{Plane, RgbImage};

/// The levels of an image in memory.
#[derive(Debug)]
pub struct Pyramid {
    /// Full resolution first.
    levels: Vec<Arc<RgbImage>>,
}

impl Pyramid {
    /// Halves the image until it fits one tile.
    #[must_use]
    pub fn new(image: Arc<RgbImage>) -> Self {
        let count = level_count(image.width(), image.height());
        let mut levels = vec![image];
        for i in 1..count as usize {
            levels.push(Arc::new(halve(&levels[i - 1])));
        }
        Self { levels }
    }

    /// Full resolution.
    #[must_use]
    pub fn image(&self) -> &Arc<RgbImage> {
        &self.levels[0]
    }

    /// A tile with its apron: RGBA, row by row, `TEXTURE_PX × TEXTURE_PX`.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::error::Error::Mismatch) for a tile that the image has not.
    pub fn tile(&self, key: TileKey) -> Result<Vec<u8>> {
        let level = self.levels.get(key.level as usize).ok_or_else(no_such_tile)?;
        let rows = texel_positions(key.row, level.height())?;
        let columns = texel_positions(key.column, level.width())?;
        let mut rgba = Vec::with_capacity(TEXTURE_BYTES);
        for y in rows {
            for x in columns {
                let [r, g, b] = level.get(y, x);
                rgba.extend_from_slice(&[r, g, b, 255]);
            }
        }
        Ok(rgba)
    }
}

/// Half as many pixels in each direction, rounded up; each the rounded mean of 2 × 2. At odd sides
/// the border pixel repeats.
fn halve(image: &RgbImage) -> RgbImage {
    let width = image.width().div_ceil(2);
    let height = image.height().div_ceil(2);
    let mut out = Plane::filled(width, height, [0; 3]);
    for y in 0..height {
        let upper = image.row(2 * y);
        let lower = image.row((2 * y + 1).min(image.height() - 1));
        for (x, pixel) in out.row_mut(y).iter_mut().enumerate() {
            let left = 2 * x;
            let right = (2 * x + 1).min(image.width() - 1);
            let four = [upper[left], upper[right], lower[left], lower[right]];
            for c in 0..3 {
                let sum: u32 = four.iter().map(|p| u32::from(p[c])).sum();
                pixel[c] = ((sum + 2) / 4) as u8;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tile::{APRON_PX, TEXTURE_PX, TILE_PX};
    use super::*;

    /// Red is the column, green the row.
    fn ramp(width: usize, height: usize) -> Arc<RgbImage> {
        let mut image = Plane::filled(width, height, [0; 3]);
        for y in 0..height {
            for x in 0..width {
                image.set(y, x, [x as u8, y as u8, 7]);
            }
        }
        Arc::new(image)
    }

    #[test]
    fn sides_are_rounded_up() {
        let pyramid = Pyramid::new(ramp(600, 3));
        let sizes: Vec<_> = pyramid.levels.iter().map(|l| (l.width(), l.height())).collect();
        assert_eq!(sizes, [(600, 3), (300, 2), (150, 1)]);
    }

    #[test]
    fn neighbouring_tiles_share_their_aprons() {
        let pyramid = Pyramid::new(ramp(600, 300));
        let texel = |tile: &[u8], x: usize, y: usize| {
            let at = (y * TEXTURE_PX + x) * 4;
            [tile[at], tile[at + 1]]
        };
        let left = pyramid.tile(TileKey { level: 0, row: 0, column: 0 }).expect("tile");
        let right = pyramid.tile(TileKey { level: 0, row: 0, column: 1 }).expect("tile");
        for i in 0..2 * APRON_PX {
            assert_eq!(texel(&left, TILE_PX + i, 9), texel(&right, i, 9), "column {i}");
        }
        assert_eq!(texel(&left, 0, 0), [0, 0], "the border repeats");
        assert!(pyramid.tile(TileKey { level: 0, row: 2, column: 0 }).is_err());
        assert!(pyramid.tile(TileKey { level: 9, row: 0, column: 0 }).is_err());
    }
}
