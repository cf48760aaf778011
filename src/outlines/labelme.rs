//! LabelMe JSON (<https://github.com/wkentaro/labelme>): `shapes` with `points` and a `shape_type`.

use serde::Deserialize;

use super::imagescope::{ellipse, rectangle};
use super::read::{LeftOut, Outline, OutlineKind, Outlines, check_counts};
use crate::error::{Error, Result};
use crate::raster::Point;

#[derive(Deserialize)]
struct LabelMe {
    shapes: Vec<Shape>,
    /// Present in LabelMe's files, whatever its value.
    #[serde(rename = "imagePath")]
    _image_path: serde_json::Value,
}

#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    label: Option<String>,
    points: Vec<[f64; 2]>,
    #[serde(default)]
    #[serde(rename = "shape_type")]
    kind: Option<String>,
}

/// Reads the shapes; `None` when the JSON is no LabelMe file.
///
/// # Errors
/// [`Error::Malformed`] when it is one and cannot be read, [`Error::Limit`] for absurd counts.
pub(super) fn read_labelme(text: &str) -> Result<Option<Outlines>> {
    let names = super::geojson_reader::member_names(text);
    let has = |name: &str| names.iter().any(|n| n == name);
    if text.starts_with('[') || !(has("shapes") && has("imagePath")) {
        return Ok(None);
    }
    let file: LabelMe = serde_json::from_str(text)
        .map_err(|e| Error::malformed("The LabelMe JSON cannot be understood").caused_by(e))?;
    let mut outlines = Outlines::default();
    let mut left_out = LeftOut::default();
    let mut vertices = 0;
    for shape in file.shapes {
        let points: Vec<Point> = shape.points.iter().map(|&[x, y]| Point { x, y }).collect();
        vertices += points.len();
        let kind = shape.kind.as_deref().unwrap_or("polygon");
        let ring = match (kind, &points[..]) {
            ("polygon", _) => points,
            ("rectangle", &[a, b]) => rectangle(a, b),
            ("rectangle", _) if points.len() >= 3 => points,
            // The centre and a point of the circle.
            ("circle", &[centre, edge]) => {
                let radius = (edge.x - centre.x).hypot(edge.y - centre.y);
                ellipse(
                    Point { x: centre.x - radius, y: centre.y - radius },
                    Point { x: centre.x + radius, y: centre.y + radius },
                )
            }
            _ => {
                left_out.count(kind);
                continue;
            }
        };
        let mut outline = Outline::of_ring(OutlineKind::Annotation, ring);
        outline.class = shape.label.filter(|label| !label.is_empty());
        outlines.objects.push(outline);
        check_counts(outlines.objects.len(), vertices)?;
    }
    left_out.note(&mut outlines.notes, "are no polygons");
    Ok(Some(outlines))
}
