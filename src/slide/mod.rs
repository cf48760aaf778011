//! Whole slides: Aperio SVS, pyramidal TIFF and `BigTIFF`, OME-TIFF, from a disk, a server or a browser. One reader serves all, for
//! it never waits: it says which bytes it needs ([`Stop::Need`]) and is asked again when they are there. Files are hostile until
//! read: every count, place and size is checked before memory is taken.

mod bytes;
mod decode;
mod level;
mod opening;
#[cfg(not(target_arch = "wasm32"))]
mod reader;
#[cfg(not(target_arch = "wasm32"))]
mod source;
mod tiff;
mod tiles;

pub use bytes::{NEAR, PAGE, Read, Sparse, Stop, merged};
pub use decode::{GLASS, decode_tile};
pub use level::{Level, Packing};
pub use opening::{Kind, Slide};
#[cfg(not(target_arch = "wasm32"))]
pub use reader::SlideReader;
#[cfg(not(target_arch = "wasm32"))]
pub use source::{ByteSource, FileSource, HttpSource, source};
pub use tiles::{Rect, TileCache, TilePlace};
