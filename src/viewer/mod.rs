//! Looking at an image and what was found in it: where the eye is ([`View`]), pixels in tiles ([`Pyramid`]), and the picture on
//! a GPU ([`Painter`]) or without one ([`compose`]). Knows no window and no page.

mod layers;
mod painter;
mod pyramid;
mod slide;
mod view;

pub use layers::{Layers, compose};
pub use painter::Painter;
pub use pyramid::{APRON, Answer, Pyramid, TEXTURE, TILE, TileKey, data_tile};
pub use slide::{SlideTiles, Source, findings_tile};
pub use view::View;

/// Two answers can be compared, one on each side of a divider.
pub const ANSWERS: usize = 2;
