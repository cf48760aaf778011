//! Nuclei as QuPath GeoJSON and as CSV, written one after the other: memory does not grow with
//! their number.

use std::io::Write;

use geojson::{Feature, FeatureWriter, GeometryValue, JsonObject, JsonValue};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::contour::Ring;
use super::measure::{Nucleus, measurement_names};
use crate::error::{Error, Result};

/// Colour of the class "Nucleus" in QuPath.
const COLOUR: [u8; 3] = [0, 160, 80];
/// Decimals of a coordinate.
const DECIMALS: f64 = 100.0;

/// Where results come from; written into each feature's metadata.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Provenance {
    /// Fingerprint of the model.
    pub model: String,
    /// Pixel size, if known, micrometres.
    pub mpp_um: Option<f64>,
}

/// Writes nuclei as a `FeatureCollection` of detections, as QuPath (0.4 and later) reads it, and as
/// a table with one row a nucleus and the id of its feature, in one pass; gives their number.
///
/// # Errors
/// [`Error::Io`] when a target cannot be written.
pub fn write_nuclei(
    nuclei: impl Iterator<Item = Nucleus>,
    provenance: &Provenance,
    geojson: &mut dyn Write,
    csv: &mut dyn Write,
) -> Result<usize> {
    let no_features =
        |e: geojson::Error| Error::io("The GeoJSON cannot be written", std::io::Error::other(e));
    let no_table = |e| Error::io("The CSV cannot be written", e);
    let mut features = FeatureWriter::from_writer(geojson);
    let names = measurement_names(provenance.mpp_um.is_some()).join(",");
    writeln!(csv, "label,id,centroid_x_px,centroid_y_px,area_px,{names}").map_err(no_table)?;
    let mut count = 0;
    for nucleus in nuclei {
        let id = identity(&nucleus);
        let (x, y) = (fixed(nucleus.centroid.0), fixed(nucleus.centroid.1));
        let values: Vec<String> = nucleus.measurements.iter().map(|(_, v)| v.to_string()).collect();
        writeln!(csv, "{},{id},{x},{y},{},{}", nucleus.label, nucleus.area_px, values.join(","))
            .map_err(no_table)?;
        features.write_feature(&feature(&nucleus, id, provenance)).map_err(no_features)?;
        count += 1;
    }
    features.finish().map_err(no_features)?;
    Ok(count)
}

fn feature(nucleus: &Nucleus, id: String, provenance: &Provenance) -> Feature {
    let measurements: JsonObject =
        nucleus.measurements.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
    let mut metadata = JsonObject::new();
    metadata.insert("model".into(), format!("sha256:{}", provenance.model).into());
    if let Some(mpp) = provenance.mpp_um {
        metadata.insert("mpp_um".into(), mpp.to_string().into());
    }
    let properties = [
        ("objectType", json!("detection")),
        ("classification", json!({ "name": "Nucleus", "color": COLOUR })),
        ("isLocked", json!(false)),
        ("measurements", JsonValue::Object(measurements)),
        ("metadata", JsonValue::Object(metadata)),
    ];
    Feature {
        id: Some(geojson::feature::Id::String(id)),
        geometry: Some(GeometryValue::new_polygon(closed(&nucleus.rings)).into()),
        properties: Some(properties.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        bbox: None,
        foreign_members: None,
    }
}

/// Rings with two decimals, the first point repeated at the end.
fn closed(rings: &[Ring]) -> Vec<Vec<[f64; 2]>> {
    let close = |ring: &Ring| {
        let mut points: Vec<[f64; 2]> = ring.iter().map(|p| [fixed(p.x), fixed(p.y)]).collect();
        points.dedup();
        points.extend(points.first().copied());
        points
    };
    rings.iter().map(close).collect()
}

fn fixed(v: f64) -> f64 {
    (v * DECIMALS).round() / DECIMALS
}

/// A UUID that depends on the outline alone: the same nucleus has the same id in every run and
/// file.
fn identity(nucleus: &Nucleus) -> String {
    let mut hash = Sha256::new();
    for point in nucleus.rings.iter().flatten() {
        hash.update(((point.x * DECIMALS).round() as i64).to_le_bytes());
        hash.update(((point.y * DECIMALS).round() as i64).to_le_bytes());
    }
    let digest = hash.finalize();
    let bytes = std::array::from_fn(|i| digest[i]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Point;

    fn square(label: u32, at: f64) -> Nucleus {
        let ring =
            |a: f64, b: f64| [(a, a), (b, a), (b, b), (a, b)].map(|(x, y)| Point { x, y }).to_vec();
        let mut hole = ring(at + 1.0, at + 2.0);
        hole.reverse();
        Nucleus {
            label,
            rings: vec![ring(at, at + 4.0), hole],
            area_px: 15,
            centroid: (at + 2.0, at + 2.0),
            measurements: vec![("Area um^2", 0.9375), ("Circularity", 0.785)],
        }
    }

    /// GeoJSON and CSV.
    fn texts(nuclei: Vec<Nucleus>) -> [String; 2] {
        let (mut geojson, mut csv) = (Vec::new(), Vec::new());
        let provenance = Provenance { model: "abc".into(), mpp_um: Some(0.25) };
        let count = nuclei.len();
        assert_eq!(
            write_nuclei(nuclei.into_iter(), &provenance, &mut geojson, &mut csv).expect("written"),
            count
        );
        [geojson, csv].map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    fn text(nuclei: Vec<Nucleus>) -> String {
        let [geojson, _] = texts(nuclei);
        geojson
    }

    #[test]
    fn a_strict_reader_finds_every_key_that_qupath_wants() {
        let parsed: geojson::FeatureCollection = text(vec![square(1, 0.0), square(2, 10.0)])
            .parse::<geojson::GeoJson>()
            .expect("GeoJSON")
            .try_into()
            .expect("features");
        assert_eq!(parsed.features.len(), 2);
        let feature = &parsed.features[0];
        let property = |name: &str| feature.property(name).expect(name).clone();
        assert_eq!(property("objectType"), "detection");
        assert_eq!(property("classification"), json!({ "name": "Nucleus", "color": [0, 160, 80] }));
        assert_eq!(property("isLocked"), false);
        assert_eq!(property("measurements")["Area um^2"], 0.9375);
        assert_eq!(property("metadata")["mpp_um"], "0.25");
        let is_uuid = |id: &geojson::feature::Id| matches!(id, geojson::feature::Id::String(s) if uuid::Uuid::parse_str(s).is_ok());
        assert!(feature.id.as_ref().is_some_and(is_uuid), "{:?}", feature.id);
        let rings = feature.geometry.as_ref().map(|g| match &g.value {
            GeometryValue::Polygon { coordinates } => coordinates.clone(),
            _ => Vec::new(),
        });
        let rings = rings.expect("geometry");
        assert_eq!(rings.len(), 2, "outline and hole");
        assert!(rings.iter().all(|r| r.first() == r.last() && r.len() == 5), "rings are closed");
    }

    #[test]
    fn ids_depend_on_the_outline_alone_and_tables_share_them() {
        assert_eq!(identity(&square(1, 0.0)), identity(&square(2, 0.0)));
        assert_ne!(identity(&square(1, 0.0)), identity(&square(1, 1.0)));
        let [_, table] = texts(vec![square(7, 0.0)]);
        assert_eq!(table.lines().count(), 2);
        assert!(
            table.starts_with("label,id,centroid_x_px,centroid_y_px,area_px,Area um^2,"),
            "{table}"
        );
        assert!(table.contains(&format!("\n7,{}", identity(&square(1, 0.0)))), "{table}");
    }

    #[test]
    fn no_nuclei_is_an_empty_collection_and_a_header() {
        let parsed: geojson::GeoJson = text(Vec::new()).parse().expect("GeoJSON");
        assert!(matches!(parsed, geojson::GeoJson::FeatureCollection(c) if c.features.is_empty()));
        assert_eq!(texts(Vec::new())[1].lines().count(), 1);
    }
}
