//! Reads the polygons of any GeoJSON file.

use geojson::{GeoJson, Geometry, GeometryValue};

use crate::error::{Error, Result};
use crate::raster::Point;

/// An outline and its holes, in the file's order.
pub type Polygon = Vec<Vec<Point>>;

/// Every polygon of a GeoJSON text: of features, collections and geometries. Other shapes are
/// skipped.
///
/// # Errors
/// [`Error::Malformed`] when the text is not GeoJSON.
pub fn polygons(text: &str) -> Result<Vec<Polygon>> {
    let parsed: GeoJson = text.parse().map_err(|e: geojson::Error| {
        Error::malformed("The GeoJSON cannot be understood").caused_by(e)
    })?;
    let geometries: Vec<&Geometry> = match &parsed {
        GeoJson::Geometry(geometry) => vec![geometry],
        GeoJson::Feature(feature) => feature.geometry.iter().collect(),
        GeoJson::FeatureCollection(all) => {
            all.features.iter().filter_map(|feature| feature.geometry.as_ref()).collect()
        }
    };
    let mut polygons = Vec::new();
    for geometry in geometries {
        add_polygons(&geometry.value, &mut polygons)?;
    }
    Ok(polygons)
}

fn add_polygons(geometry: &GeometryValue, polygons: &mut Vec<Polygon>) -> Result<()> {
    match geometry {
        GeometryValue::Polygon { coordinates } => polygons.push(polygon(coordinates)?),
        GeometryValue::MultiPolygon { coordinates } => {
            for rings in coordinates {
                polygons.push(polygon(rings)?);
            }
        }
        GeometryValue::GeometryCollection { geometries } => {
            for geometry in geometries {
                add_polygons(&geometry.value, polygons)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn polygon(rings: &[Vec<geojson::Position>]) -> Result<Polygon> {
    let mut polygon = Vec::with_capacity(rings.len());
    for ring in rings {
        let mut points = Vec::with_capacity(ring.len());
        for position in ring {
            let &[x, y, ..] = position.as_slice() else {
                return Err(Error::malformed(
                    "A place in the GeoJSON lacks one of its two numbers",
                ));
            };
            points.push(Point { x, y });
        }
        polygon.push(points);
    }
    Ok(polygon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_are_found_in_features_collections_and_geometries() {
        let ring = "[[0,0],[4,0],[4,4],[0,0]]";
        let polygon = format!(r#"{{"type":"Polygon","coordinates":[{ring}]}}"#);
        let several =
            format!(r#"{{"type":"MultiPolygon","coordinates":[[{ring}],[{ring},{ring}]]}}"#);
        let feature = |g: &str| format!(r#"{{"type":"Feature","properties":null,"geometry":{g}}}"#);
        let all = format!(
            r#"{{"type":"FeatureCollection","features":[{},{},{}]}}"#,
            feature(&polygon),
            feature(&several),
            feature(r#"{"type":"Point","coordinates":[1,2]}"#)
        );
        assert_eq!(polygons(&polygon).expect("one").len(), 1);
        let three = polygons(&all).expect("three");
        assert_eq!(three.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!(three[0][0][1], Point { x: 4.0, y: 0.0 });
        assert!(polygons("nothing").is_err());
        let message = polygons(r#"{"type":"Polygon","coordinates":[[[1],[2],[3]]]}"#)
            .expect_err("half a position")
            .to_string();
        assert!(message.contains("lacks"), "{message}");
    }
}
