//! Outlines as GeoJSON for QuPath.

use std::io::Write;

use geojson::{Feature, FeatureWriter, JsonObject};
use serde_json::json;

use super::geometry::{geometry, line_geometry, outline_id};
use super::read::{DrawnLine, Outline, OutlineKind, Outlines};
use crate::error::{Error, Result};

/// Class of objects that have none.
const CLASS: &str = "Nucleus";
/// Its colour in QuPath.
const COLOUR: [u8; 3] = [0, 160, 80];

/// Writes outlines as a `FeatureCollection`, as QuPath (0.4 and later) reads it. Objects without a
/// class are of the class "Nucleus". Returns the number of objects.
///
/// # Errors
/// [`Error::Io`] when the target cannot be written.
pub fn write_geojson(
    outlines: &Outlines,
    mpp_um: Option<f64>,
    target: &mut dyn Write,
) -> Result<usize> {
    write_features(outlines, target, |object| {
        feature(object, Some(object.class.as_deref().unwrap_or(CLASS)), mpp_um)
    })
}

/// The same for regions and lines, whose class is none where they have none.
///
/// # Errors
/// [`Error::Io`] when the target cannot be written.
pub fn write_regions(
    outlines: &Outlines,
    mpp_um: Option<f64>,
    target: &mut dyn Write,
) -> Result<usize> {
    write_features(outlines, target, |object| region_feature(object, mpp_um))
}

/// A region with what was measured in it, as QuPath shows it among the measurements of annotations.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredOutline {
    /// The region.
    pub outline: Outline,
    /// Names and values, in this order.
    pub measurements: Vec<(String, f64)>,
}

/// [`write_regions`] with measurements, and the fingerprint of the model that found what was
/// measured.
///
/// # Errors
/// [`Error::Io`] when the target cannot be written.
#[cfg(not(target_arch = "wasm32"))]
pub fn write_measured_regions(
    regions: &[MeasuredOutline],
    model: &str,
    mpp_um: Option<f64>,
    target: &mut dyn Write,
) -> Result<()> {
    let mut features = FeatureWriter::from_writer(target);
    // In front of the features: by it the program knows its own file.
    features.write_foreign_member("model", &format!("sha256:{model}")).map_err(write_error)?;
    for MeasuredOutline { outline, measurements } in regions {
        let mut feature = region_feature(outline, mpp_um);
        let measured: JsonObject =
            measurements.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        if let Some(properties) = &mut feature.properties {
            properties.insert("measurements".into(), measured.into());
            if let Some(metadata) = properties.get_mut("metadata").and_then(|m| m.as_object_mut()) {
                metadata.insert("model".into(), format!("sha256:{model}").into());
            }
        }
        features.write_feature(&feature).map_err(write_error)?;
    }
    features.finish().map_err(write_error)
}

fn write_error(error: geojson::Error) -> Error {
    Error::io("The GeoJSON cannot be written", std::io::Error::other(error))
}

/// A region as QuPath reads it.
pub(crate) fn region_feature(region: &Outline, mpp_um: Option<f64>) -> Feature {
    feature(region, region.class.as_deref(), mpp_um)
}

fn write_features(
    outlines: &Outlines,
    target: &mut dyn Write,
    feature: impl Fn(&Outline) -> Feature,
) -> Result<usize> {
    let mut features = FeatureWriter::from_writer(target);
    for object in &outlines.objects {
        features.write_feature(&feature(object)).map_err(write_error)?;
    }
    for line in &outlines.lines {
        features.write_feature(&line_feature(line)).map_err(write_error)?;
    }
    features.finish().map_err(write_error)?;
    Ok(outlines.objects.len())
}

fn feature(object: &Outline, class: Option<&str>, mpp_um: Option<f64>) -> Feature {
    let kind = match object.kind {
        OutlineKind::Annotation => "annotation",
        OutlineKind::Detection => "detection",
        OutlineKind::Cell => "cell",
        OutlineKind::Tile => "tile",
        OutlineKind::Core => "tma_core",
    };
    let classification = classification(class);
    let mut metadata = JsonObject::new();
    if let Some(mpp) = mpp_um {
        metadata.insert("mpp_um".into(), mpp.to_string().into());
    }
    if let Some(status) = &object.status {
        metadata.insert("status".into(), status.clone().into());
    }
    let mut properties = JsonObject::new();
    properties.insert("objectType".into(), json!(kind));
    if let Some(classification) = classification {
        properties.insert("classification".into(), classification);
    }
    if let Some(colour) = object.colour {
        properties.insert("color".into(), json!(colour));
    }
    if let Some(name) = &object.name {
        properties.insert("name".into(), json!(name));
    }
    properties.insert("isLocked".into(), json!(false));
    properties.insert("metadata".into(), metadata.into());
    // QuPath reads ids that are UUIDs.
    let id = object.id.clone().filter(|id| uuid::Uuid::parse_str(id).is_ok());
    Feature {
        id: Some(geojson::feature::Id::String(id.unwrap_or_else(|| outline_id(&object.polygons)))),
        geometry: Some(geometry(&object.polygons).into()),
        properties: Some(properties),
        bbox: None,
        foreign_members: None,
    }
}

/// A class as QuPath writes it.
fn classification(class: Option<&str>) -> Option<serde_json::Value> {
    match class? {
        CLASS => Some(json!({ "name": CLASS, "color": COLOUR })),
        class => Some(json!({ "name": class })),
    }
}

/// A line as an annotation; QuPath keeps its width among the metadata, as text.
fn line_feature(line: &DrawnLine) -> Feature {
    let mut metadata = JsonObject::new();
    if let Some(width) = line.width_um {
        metadata.insert("width_um".into(), width.to_string().into());
    }
    let mut properties = JsonObject::new();
    properties.insert("objectType".into(), json!("annotation"));
    if let Some(classification) = classification(line.class.as_deref()) {
        properties.insert("classification".into(), classification);
    }
    properties.insert("isLocked".into(), json!(false));
    properties.insert("metadata".into(), metadata.into());
    Feature {
        id: Some(geojson::feature::Id::String(outline_id(&[vec![line.points.clone()]]))),
        geometry: Some(line_geometry(&line.points).into()),
        properties: Some(properties),
        bbox: None,
        foreign_members: None,
    }
}
