//! An image in tiles of several levels, each half as large as the one before, and the answers that
//! lie over it. Tiles carry an apron of their neighbours' pixels, so that interpolation and
//! outlines show no seam.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::instances::eight_bits;
use crate::raster::{LabelMap, Plane, ProbabilityMap, RgbImage};

/// Side of a tile, pixels of its level.
pub const TILE: usize = 256;
/// Pixels of its neighbours on each side.
pub const APRON: usize = 2;
/// Side of a tile with its apron.
pub const TEXTURE: usize = TILE + 2 * APRON;

/// Place of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileKey {
    /// 0 is full resolution; each next one has half of it.
    pub level: u32,
    pub row: u32,
    pub column: u32,
}

/// Levels until an image fits one tile.
#[must_use]
pub fn level_count(width: usize, height: usize) -> u32 {
    let longest = width.max(height).max(1).div_ceil(TILE);
    longest.next_power_of_two().trailing_zeros() + 1
}

/// The levels of an image in memory.
#[derive(Debug)]
pub struct Pyramid {
    levels: Vec<Arc<RgbImage>>,
}

impl Pyramid {
    /// Halves the image until it fits one tile: each pixel the mean of four.
    #[must_use]
    pub fn new(image: Arc<RgbImage>) -> Self {
        let count = level_count(image.width(), image.height());
        let mut levels = vec![image];
        while levels.len() < count as usize {
            let Some(last) = levels.last() else { break };
            levels.push(Arc::new(halved(last)));
        }
        Self { levels }
    }

    /// Full resolution.
    #[must_use]
    pub fn image(&self) -> &Arc<RgbImage> {
        &self.levels[0]
    }

    /// RGBA of a tile with its apron, `TEXTURE × TEXTURE`; beyond the border the last pixel
    /// repeats.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a tile that the image has not.
    pub fn tile(&self, key: TileKey) -> Result<Vec<u8>> {
        let level = self.levels.get(key.level as usize).ok_or_else(no_tile)?;
        let mut out = Vec::with_capacity(TEXTURE * TEXTURE * 4);
        each_texel(key, (level.width(), level.height()), 0, |x, y| {
            let [r, g, b] = level.get(y, x);
            out.extend_from_slice(&[r, g, b, 255]);
        })?;
        Ok(out)
    }
}

fn no_tile() -> Error {
    Error::mismatch("The image has no such tile")
}

/// Calls `texel` with the full-resolution place of each pixel of a tile with apron, row by row.
/// `shift` is the level of the pixels against those of `size`.
fn each_texel(
    key: TileKey,
    size: (usize, usize),
    shift: u32,
    mut texel: impl FnMut(usize, usize),
) -> Result<()> {
    let (width, height) = (size.0.div_ceil(1 << shift), size.1.div_ceil(1 << shift));
    let (left, top) = (key.column as usize * TILE, key.row as usize * TILE);
    if left >= width || top >= height {
        return Err(no_tile());
    }
    let place = |from: usize, i: usize, count: usize, whole: usize| {
        ((from + i).saturating_sub(APRON).min(count - 1) << shift).min(whole - 1)
    };
    for y in 0..TEXTURE {
        let row = place(top, y, height, size.1);
        (0..TEXTURE).for_each(|x| texel(place(left, x, width, size.0), row));
    }
    Ok(())
}

/// Half as many pixels in each direction, rounded up.
fn halved(image: &RgbImage) -> RgbImage {
    let (width, height) = (image.width().div_ceil(2), image.height().div_ceil(2));
    let mut out = Plane::filled(width, height, [0; 3]);
    for y in 0..height {
        let rows = [image.row(2 * y), image.row((2 * y + 1).min(image.height() - 1))];
        for (x, pixel) in out.row_mut(y).iter_mut().enumerate() {
            let columns = [2 * x, (2 * x + 1).min(image.width() - 1)];
            *pixel = std::array::from_fn(|c| {
                let sum: u32 = rows.iter().flat_map(|r| columns.map(|x| u32::from(r[x][c]))).sum();
                ((sum + 2) / 4) as u8
            });
        }
    }
    out
}

/// What a model said of an image, as far as it is known.
#[derive(Debug)]
pub struct ResultPlanes<'a> {
    pub probabilities: &'a ProbabilityMap,
    /// Which pixels are computed.
    pub known: &'a Plane<bool>,
    /// Nuclei, once they are found.
    pub labels: Option<&'a LabelMap>,
}

/// Four bytes a pixel of a tile with its apron: probability, label (16 bits, low byte first), 255
/// where known.
///
/// # Errors
/// [`Error::Mismatch`] for a tile that the image has not.
pub fn data_tile(answer: &ResultPlanes<'_>, key: TileKey) -> Result<Vec<u8>> {
    let map = answer.probabilities;
    if key.level >= level_count(map.width(), map.height()) {
        return Err(no_tile());
    }
    let mut out = Vec::with_capacity(TEXTURE * TEXTURE * 4);
    each_texel(key, (map.width(), map.height()), key.level, |x, y| {
        let label = answer.labels.map_or(0, |l| l.get(y, x));
        let known = if answer.known.get(y, x) { 255 } else { 0 };
        // Two labels that differ by 65 536 never touch in practice; 0 stays background.
        let short = if label == 0 { 0 } else { ((label - 1) % 65_535 + 1) as u16 };
        let [low, high] = short.to_le_bytes();
        out.extend_from_slice(&[eight_bits(map.get(y, x)), low, high, known]);
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Arc<RgbImage> {
        let pixel = |i: usize| [(i % width) as u8, (i / width) as u8, 7];
        Arc::new(
            Plane::from_vec(width, height, (0..width * height).map(pixel).collect())
                .expect("plane"),
        )
    }

    #[test]
    fn levels_end_when_the_image_fits_one_tile() {
        for (w, h, levels) in
            [(1, 1, 1), (256, 256, 1), (257, 1, 2), (512, 512, 2), (6000, 5000, 6)]
        {
            assert_eq!(level_count(w, h), levels, "{w}×{h}");
        }
        assert_eq!(
            Pyramid::new(ramp(600, 3)).levels.last().map(|l| (l.width(), l.height())),
            Some((150, 1))
        );
    }

    #[test]
    fn neighbouring_tiles_share_their_aprons() {
        let pyramid = Pyramid::new(ramp(600, 300));
        let texel =
            |tile: &[u8], x: usize, y: usize| [0, 1].map(|c| tile[(y * TEXTURE + x) * 4 + c]);
        let left = pyramid.tile(TileKey { level: 0, row: 0, column: 0 }).expect("tile");
        let right = pyramid.tile(TileKey { level: 0, row: 0, column: 1 }).expect("tile");
        for i in 0..2 * APRON {
            assert_eq!(texel(&left, TILE + i, 9), texel(&right, i, 9), "column {i}");
        }
        assert_eq!(texel(&left, 0, 0), [0, 0], "the border repeats");
        assert!(pyramid.tile(TileKey { level: 0, row: 2, column: 0 }).is_err());
        assert!(pyramid.tile(TileKey { level: 9, row: 0, column: 0 }).is_err());
    }

    #[test]
    fn data_tiles_say_what_is_known() {
        let probabilities = Plane::filled(300, 10, 0.5);
        let mut known = Plane::filled(300, 10, false);
        known.set(0, 1, true);
        let mut labels = Plane::filled(300, 10, 0);
        labels.set(0, 1, 65_536 + 2);
        let answer =
            ResultPlanes { probabilities: &probabilities, known: &known, labels: Some(&labels) };
        let tile = data_tile(&answer, TileKey { level: 0, row: 0, column: 0 }).expect("tile");
        let texel = |x: usize, y: usize| &tile[((y + APRON) * TEXTURE + x + APRON) * 4..][..4];
        assert_eq!(texel(0, 0), [128, 0, 0, 0]);
        assert_eq!(texel(1, 0), [128, 3, 0, 255], "labels wrap round and never become background");
        assert!(data_tile(&answer, TileKey { level: 2, row: 0, column: 0 }).is_err());
    }
}
