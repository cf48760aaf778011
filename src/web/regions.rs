//! Regions on the page's own thread: from strokes and files, into files.

use serde_json::json;
use wasm_bindgen::prelude::*;

use super::{Thrown as _, json, thrown};
use crate::error::{Error, ErrorContext as _};
use crate::raster::Point;
use crate::review::{NamedRegion, RegionFile, closed_region};

/// The outline of a region from corners or a stroke, x and y of each point in pixels of the finest
/// level, which a straight line closes. Gives `Polygons` as JSON.
///
/// # Errors
/// A sentence when it encloses nothing.
#[wasm_bindgen(js_name = regionOfStroke)]
pub fn region_of_stroke(points: &[f64]) -> Result<String, JsValue> {
    let (pairs, _) = points.as_chunks::<2>();
    let stroke: Vec<Point> = pairs.iter().map(|&[x, y]| Point { x, y }).collect();
    json(&closed_region(&stroke).thrown()?)
}

/// The regions of GeoJSON or XML, and what else the file holds: `RegionFile` as JSON.
///
/// # Errors
/// A sentence for other files.
#[wasm_bindgen(js_name = readRegions)]
pub fn read_regions(bytes: &[u8], name: &str) -> Result<String, JsValue> {
    json(&RegionFile::read(bytes).at(name).thrown()?)
}

/// GeoJSON for QuPath of regions, a JSON list; `mpp` in µm, 0 if it is unknown.
///
/// # Errors
/// A sentence for what is no list of regions.
#[wasm_bindgen(js_name = regionsGeoJson)]
pub fn regions_geojson(regions: &str, mpp: f64) -> Result<Vec<u8>, JsValue> {
    let regions: Vec<NamedRegion> = serde_json::from_str(regions)
        .map_err(|e| thrown(&Error::malformed("These are no regions").caused_by(e)))?;
    RegionFile::write(&regions, (mpp > 0.0).then_some(mpp)).thrown()
}

/// Areas of regions, a JSON list, inside an image of `width × height` pixels, as a JSON list.
///
/// # Errors
/// A sentence for what is no list of regions.
#[wasm_bindgen(js_name = regionAreas)]
pub fn region_areas(regions: &str, width: f64, height: f64) -> Result<String, JsValue> {
    let regions: Vec<NamedRegion> = serde_json::from_str(regions)
        .map_err(|e| thrown(&Error::malformed("These are no regions").caused_by(e)))?;
    let image = crate::slide::SlideBounds { left: 0.0, top: 0.0, right: width, bottom: height };
    json(&json!(regions.iter().map(|region| region.area_in(&image)).collect::<Vec<_>>()))
}
