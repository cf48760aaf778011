//! Outlines of objects: read from the files of other programs, drawn as label maps, traced from
//! label maps, written as GeoJSON and ImageScope XML.
//!
//! An object is one or more polygons, each an outline and the holes in it, in pixel-corner
//! coordinates. Reading keeps the coordinates of the file; [`Outlines::make_valid`] makes polygons
//! valid for programs that check them (GEOS, JTS, QuPath).

mod asap;
mod bounds;
mod draw;
mod foreign;
mod geojson_reader;
mod geojson_writer;
mod geometry;
mod imagescope;
#[cfg(not(target_arch = "wasm32"))]
mod imagescope_writer;
mod labelme;
mod negative;
mod read;
#[cfg(not(target_arch = "wasm32"))]
mod repair;
#[cfg(any(test, target_arch = "wasm32"))]
mod repair_on_grid;
mod set_aside;
#[cfg(test)]
mod test_shapes;
#[cfg(test)]
mod tests;
mod text;
mod trace;
mod validity;
mod xml;

// Boolean operations on polygons are a tenth of the page's program, so it works on pixels.
#[cfg(target_arch = "wasm32")]
use repair_on_grid as repair;

pub use draw::{Drawing, draw_outlines};
pub(crate) use geojson_writer::region_feature;
#[cfg(not(target_arch = "wasm32"))]
pub use geojson_writer::{MeasuredOutline, write_measured_regions};
pub use geojson_writer::{write_geojson, write_regions};
pub use geometry::{geometry, outline_id};
#[cfg(not(target_arch = "wasm32"))]
pub use imagescope_writer::write_imagescope;
pub use read::{DrawnLine, Outline, OutlineKind, Outlines, read_outlines, read_outlines_and_lines};
#[cfg(not(target_arch = "wasm32"))]
pub use repair::{common_part, difference, united};
pub use trace::trace_labels;
pub use validity::polygons_are_valid;
