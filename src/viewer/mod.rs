//! Looking at an image and what was found in it: where the eye is ([`Viewport`]), pixels in tiles
//! ([`Pyramid`]), and the picture on a GPU ([`Painter`]) or without one ([`compose`]). Knows no
//! window and no page.

mod layers;
mod painter;
mod pyramid;
mod slide_tiles;
mod viewport;

pub use layers::{Layers, compose};
pub use painter::Painter;
pub use pyramid::{APRON, Pyramid, ResultPlanes, TEXTURE, TILE, TileKey, data_tile};
pub use slide_tiles::{SlideTiles, TileSource, nuclei_tile};
pub use viewport::Viewport;

/// Two answers can be compared, one on each side of a divider.
pub const RESULT_LAYERS: usize = 2;
