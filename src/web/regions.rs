//! Regions on the page's own thread: from strokes and files, into files.

use wasm_bindgen::prelude::*;

use super::reviewed::stroke;
use super::{Thrown as _, json, thrown};
use crate::error::{Error, ErrorContext as _};
use crate::review::{NamedRegion, RegionFile, closed_region};
use crate::slide::SlideBounds;

/// The outline of a region from corners or a stroke, x and y of each point in pixels of the finest
/// level, which a straight line closes. Gives `Polygons` as JSON.
///
/// # Errors
/// A sentence when it encloses nothing.
#[wasm_bindgen(js_name = regionOfStroke)]
pub fn region_of_stroke(points: &[f64]) -> Result<String, JsValue> {
    json(&closed_region(&stroke(points)).thrown()?)
}

/// The regions of GeoJSON or XML, and what else the file holds: `RegionFile` as JSON.
///
/// # Errors
/// A sentence for other files.
#[wasm_bindgen(js_name = readRegions)]
pub fn read_regions(bytes: &[u8], name: &str) -> Result<String, JsValue> {
    json(&RegionFile::read(bytes).at(name).thrown()?)
}

fn parsed_regions(regions: &str) -> Result<Vec<NamedRegion>, JsValue> {
    serde_json::from_str(regions)
        .map_err(|e| thrown(&Error::malformed("These are no regions").caused_by(e)))
}

/// GeoJSON for QuPath of regions, a JSON list; `mpp` in µm, 0 if it is unknown.
///
/// # Errors
/// A sentence for what is no list of regions.
#[wasm_bindgen(js_name = regionsGeoJson)]
pub fn regions_geojson(regions: &str, mpp: f64) -> Result<Vec<u8>, JsValue> {
    let regions = parsed_regions(regions)?;
    RegionFile::write(&regions, (mpp > 0.0).then_some(mpp)).thrown()
}

/// Areas of regions, a JSON list, inside an image of `width × height` pixels, as a JSON list.
///
/// # Errors
/// A sentence for what is no list of regions.
#[wasm_bindgen(js_name = regionAreas)]
pub fn region_areas(regions: &str, width: f64, height: f64) -> Result<String, JsValue> {
    let regions = parsed_regions(regions)?;
    let image = SlideBounds { left: 0.0, top: 0.0, right: width, bottom: height };
    let areas: Vec<f64> = regions.iter().map(|region| region.area_in(&image)).collect();
    json(&areas)
}
