//! Display of an image and of segmentation results over it, independent of windows and pages: the
//! visible part ([`Viewport`]), tiles of images ([`Pyramid`], [`SlideTiles`]) and of results
//! ([`data_tile`], [`nuclei_tile`], [`outline_tile`]), drawing on a GPU ([`Painter`]) and
//! on the CPU ([`compose`]).

mod layers;
mod outline_strokes;
mod outline_style;
mod outline_tiles;
mod painter;
mod pyramid;
mod result_tiles;
mod slide_tiles;
mod tile;
mod viewport;

pub use layers::{Layers, compose};
pub use outline_strokes::{OutlineStroke, dashes, draw_strokes};
pub use outline_style::{
    CASING_OPACITY, CASING_WIDTH, DOT_WIDTH, OUTLINE_PALETTES, OUTLINE_WIDTH, OutlineLook,
    OutlinePalette, SELECTED_WIDTH, THICK_OUTLINE_WIDTH, outline_thinness,
};
pub use outline_tiles::{OutlineObject, OutlineStatus, outline_tile, outline_tile_bounds};
pub use painter::Painter;
pub use pyramid::Pyramid;
pub use result_tiles::{ResultPlanes, ShownObjects, data_tile, nuclei_tile, reviewed_tile};
pub use slide_tiles::{SlideTiles, TileSource};
pub use tile::{APRON_PX, TEXTURE_PX, TILE_PX, TileKey};
pub use viewport::{ScreenPoint, Viewport};

/// Results that can be shown at a time: two are compared, one on each side of a divider.
pub const RESULT_LAYERS: usize = 2;
