//! Whole slides: Aperio SVS, pyramidal TIFF and `BigTIFF`, OME-TIFF, from a disk, a server or a
//! browser. One reader serves all, for it never waits: it says which bytes it needs
//! ([`ReadError::NeedBytes`]) and is asked again when they are there. Files are hostile until read:
//! every count, place and size is checked before memory is taken.

mod decode;
mod level;
mod opening;
mod range_cache;
#[cfg(not(target_arch = "wasm32"))]
mod reader;
#[cfg(not(target_arch = "wasm32"))]
mod source;
mod tiff;
mod tiles;

pub use decode::{BACKGROUND, decode_tile};
pub use level::{Compression, SlideLevel};
pub use opening::{Slide, SlideFormat};
pub use range_cache::{NEAR, PAGE, RangeCache, ReadError, ReadResult, merged};
#[cfg(not(target_arch = "wasm32"))]
pub use reader::SlideReader;
#[cfg(not(target_arch = "wasm32"))]
pub use source::{ByteSource, FileSource, HttpSource, source};
pub use tiles::{Rect, TileCache, TileIndex};
