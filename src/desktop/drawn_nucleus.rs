//! Nuclei that a person draws, measured on the pixels inside them.

use super::document::Document;
use crate::error::Result;
use crate::instances::{Nucleus, OutlinePixels, measure_outline};
use crate::raster::Polygon;
use crate::slide::{Rect, SlideBounds};
use crate::whole_slide::{PixelRequest, PixelSource as _};

/// Measures an outline in pixels of the finest level, which are read around it. Lengths are in
/// micrometres where the pixel size is known.
///
/// # Errors
/// When the pixels cannot be read.
pub(super) fn drawn_nucleus(
    document: &Document,
    mut polygons: Vec<Polygon>,
    mpp_um: Option<f64>,
) -> Result<Nucleus> {
    let (width, height) = document.size();
    let whole = SlideBounds::of_size(width, height);
    let around = SlideBounds::of_points(polygons.iter().flatten().flatten()).intersection(&whole);
    let [left, top] = [around.left, around.top].map(f64::floor);
    let rect = Rect {
        x: left as isize,
        y: top as isize,
        width: (around.right.ceil() - left).max(1.0) as usize,
        height: (around.bottom.ceil() - top).max(1.0) as usize,
    };
    let image = document.read(PixelRequest { level: 0, rect })?;
    shift(&mut polygons, -left, -top);
    let pixels = OutlinePixels { image: &image, smoothed: None };
    let mut nucleus = measure_outline(polygons, pixels, mpp_um);
    shift(&mut nucleus.polygons, left, top);
    nucleus.centroid.0 += left;
    nucleus.centroid.1 += top;
    Ok(nucleus)
}

fn shift(polygons: &mut [Polygon], x: f64, y: f64) {
    for point in polygons.iter_mut().flatten().flatten() {
        point.x += x;
        point.y += y;
    }
}
