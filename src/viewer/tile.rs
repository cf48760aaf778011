//! The tile grid of the viewer: levels that halve the image, tiles of 256 × 256 pixels with an
//! apron.
//!
//! A texture holds a tile and an apron of its neighbours' pixels, so that bilinear interpolation
//! and outlines are continuous across tile borders:
//!
//! ```text
//! |<------------- TEXTURE_PX = 260 ------------->|
//! | apron 2 |        tile 256          | apron 2 |
//! ```

use crate::error::{Error, Result};

/// Side of a tile, pixels of its level.
pub const TILE_PX: usize = 256;
/// Width of the apron on each side of a tile, pixels. `shaders/viewer.wgsl` has the same number.
pub const APRON_PX: usize = 2;
/// Side of a tile with its apron, pixels.
pub const TEXTURE_PX: usize = TILE_PX + 2 * APRON_PX;
/// Bytes of a tile with its apron, 4 a pixel.
pub(super) const TEXTURE_BYTES: usize = TEXTURE_PX * TEXTURE_PX * 4;

/// Position of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileKey {
    /// 0 is full resolution; each further level halves width and height, rounded up.
    pub level: u32,
    /// Row of the level's tile grid.
    pub row: u32,
    /// Column of the level's tile grid.
    pub column: u32,
}

/// Number of levels until an image fits one tile.
#[must_use]
pub(super) fn level_count(width: usize, height: usize) -> u32 {
    let tiles = width.max(height).max(1).div_ceil(TILE_PX);
    tiles.next_power_of_two().trailing_zeros() + 1
}

/// Along one axis: the position in a level of `len` pixels of each pixel of tile number `tile` with
/// its apron. Outside the level the border pixel repeats.
///
/// # Errors
/// [`Error::Mismatch`] for a tile that the level has not.
pub(super) fn texel_positions(tile: u32, len: usize) -> Result<[usize; TEXTURE_PX]> {
    let start = tile as usize * TILE_PX;
    if start >= len {
        return Err(no_such_tile());
    }
    Ok(std::array::from_fn(|i| (start + i).saturating_sub(APRON_PX).min(len - 1)))
}

/// The error for a key outside the grid.
pub(super) fn no_such_tile() -> Error {
    Error::mismatch("The image has no such tile")
}

/// A label in the 16 bits that tiles have for it: 0 stays background, others wrap around and never
/// become 0. Two labels that differ by a multiple of 65 535 do not touch in practice.
#[must_use]
pub(super) fn short_label(label: u32) -> u16 {
    if label == 0 { 0 } else { ((label - 1) % 65_535 + 1) as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_end_when_the_image_fits_one_tile() {
        let expected = [(1, 1, 1), (256, 256, 1), (257, 1, 2), (512, 512, 2), (6000, 5000, 6)];
        for (width, height, levels) in expected {
            assert_eq!(level_count(width, height), levels, "{width}×{height}");
        }
    }

    #[test]
    fn the_border_repeats_outside_the_level() {
        let positions = texel_positions(1, 300).expect("tile");
        assert_eq!(positions[..4], [254, 255, 256, 257]);
        assert_eq!(positions[TEXTURE_PX - 1], 299);
        assert_eq!(texel_positions(0, 300).expect("tile")[..3], [0, 0, 0]);
        assert!(texel_positions(2, 300).is_err());
    }
}
