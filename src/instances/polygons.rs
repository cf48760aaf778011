//! Polygons of a GeoJSON file, whoever wrote it.

use geojson::{GeoJson, GeometryValue};

use crate::error::{Error, Result};
use crate::raster::Point;

/// An outline and its holes, in the file's order.
pub type Polygon = Vec<Vec<Point>>;

/// Every polygon of a GeoJSON text: features, collections and bare geometries alike; other shapes
/// are passed over.
///
/// # Errors
/// [`Error::Malformed`] when it is no GeoJSON.
pub fn polygons(text: &str) -> Result<Vec<Polygon>> {
    let parsed: GeoJson = text
        .parse()
        .map_err(|e| Error::malformed(format!("The GeoJSON cannot be understood: {e}")))?;
    let mut found = Vec::new();
    match &parsed {
        GeoJson::Geometry(g) => collect(&g.value, &mut found)?,
        GeoJson::Feature(f) => f.geometry.iter().try_for_each(|g| collect(&g.value, &mut found))?,
        GeoJson::FeatureCollection(all) => {
            let mut geometries = all.features.iter().filter_map(|f| f.geometry.as_ref());
            geometries.try_for_each(|g| collect(&g.value, &mut found))?;
        }
    }
    Ok(found)
}

fn collect(geometry: &GeometryValue, found: &mut Vec<Polygon>) -> Result<()> {
    match geometry {
        GeometryValue::Polygon { coordinates } => found.push(polygon(coordinates)?),
        GeometryValue::MultiPolygon { coordinates } => {
            for rings in coordinates {
                found.push(polygon(rings)?);
            }
        }
        GeometryValue::GeometryCollection { geometries } => {
            geometries.iter().try_for_each(|g| collect(&g.value, found))?;
        }
        _ => {}
    }
    Ok(())
}

fn polygon(rings: &[Vec<geojson::Position>]) -> Result<Polygon> {
    let point = |p: &geojson::Position| match p.as_slice() {
        [x, y, ..] => Ok(Point { x: *x, y: *y }),
        _ => Err(Error::malformed("A place in the GeoJSON lacks one of its two numbers")),
    };
    rings.iter().map(|ring| ring.iter().map(point).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_are_found_however_they_are_wrapped() {
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
        let found = polygons(&all).expect("three");
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!(found[0][0][1], Point { x: 4.0, y: 0.0 });
        assert!(polygons("nothing").is_err());
        let said = polygons(r#"{"type":"Polygon","coordinates":[[[1],[2],[3]]]}"#)
            .expect_err("half a place")
            .to_string();
        assert!(said.contains("lacks"), "{said}");
    }
}
