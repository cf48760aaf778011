//! Outlines of objects: read from the files of other programs, drawn as label maps, traced from
//! label maps, written as GeoJSON and ImageScope XML.
//!
//! An object is one or more polygons, each an outline and the holes in it, in pixel-corner
//! coordinates. Reading keeps the coordinates of the file; [`Outlines::make_valid`] makes polygons
//! valid for programs that check them (GEOS, JTS, QuPath).

mod geometry;
#[cfg(test)]
mod test_shapes;
mod validity;

#[cfg(not(target_arch = "wasm32"))]
mod asap;
#[cfg(not(target_arch = "wasm32"))]
mod bounds;
#[cfg(not(target_arch = "wasm32"))]
mod draw;
#[cfg(not(target_arch = "wasm32"))]
mod foreign;
#[cfg(not(target_arch = "wasm32"))]
mod geojson_reader;
#[cfg(not(target_arch = "wasm32"))]
mod geojson_writer;
#[cfg(not(target_arch = "wasm32"))]
mod imagescope;
#[cfg(not(target_arch = "wasm32"))]
mod imagescope_writer;
#[cfg(not(target_arch = "wasm32"))]
mod labelme;
#[cfg(not(target_arch = "wasm32"))]
mod negative;
#[cfg(not(target_arch = "wasm32"))]
mod read;
#[cfg(not(target_arch = "wasm32"))]
mod repair;
#[cfg(not(target_arch = "wasm32"))]
mod set_aside;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
#[cfg(not(target_arch = "wasm32"))]
mod text;
#[cfg(not(target_arch = "wasm32"))]
mod trace;
#[cfg(not(target_arch = "wasm32"))]
mod xml;

pub use geometry::{geometry, outline_id};
pub use validity::polygons_are_valid;

#[cfg(not(target_arch = "wasm32"))]
pub use draw::{Drawing, draw_outlines};
#[cfg(not(target_arch = "wasm32"))]
pub use geojson_writer::write_geojson;
#[cfg(not(target_arch = "wasm32"))]
pub use imagescope_writer::write_imagescope;
#[cfg(not(target_arch = "wasm32"))]
pub use read::{Outline, OutlineKind, Outlines, read_outlines};
#[cfg(not(target_arch = "wasm32"))]
pub use trace::trace_labels;
