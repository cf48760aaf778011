//! GeoJSON (RFC 7946) as QuPath and others write it: a collection, a feature, a geometry, an array
//! of features, or one feature after the other (RFC 8142, with or without record separators).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::foreign::foreign_json;
use super::labelme::read_labelme;
use super::read::{DrawnLine, LeftOut, Lines, Outline, OutlineKind, Outlines, check_counts};
use crate::error::{Error, Result, counted};
use crate::raster::{Point, Polygon, Ring};

/// An object of GeoJSON, of any type.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Member {
    #[serde(rename = "type")]
    kind: Value,
    features: Option<Vec<Member>>,
    geometry: Option<Box<Member>>,
    /// Of a QuPath cell; `geometry` is then the cell's border.
    #[serde(rename = "nucleusGeometry")]
    nucleus: Option<Box<Member>>,
    geometries: Option<Vec<Member>>,
    coordinates: Coordinates,
    properties: Option<Properties>,
    id: Value,
}

/// What QuPath states of an object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Properties {
    #[serde(rename = "objectType", alias = "object_type")]
    object_type: Value,
    classification: Value,
    name: Value,
    color: Value,
    /// QuPath keeps what it does not know only here.
    metadata: Value,
    width_um: Value,
}

impl Properties {
    /// Width of a stroke, micrometres; not a number (NaN) where something else is stated.
    fn width_um(&self) -> Option<f64> {
        let stated = [Some(&self.width_um), self.metadata.get("width_um")].into_iter().flatten();
        let value = stated.into_iter().find(|value| !value.is_null())?;
        Some(number(value).unwrap_or(f64::NAN))
    }
}

/// A number, a place, or a list of lists.
#[derive(Default)]
enum Coordinates {
    #[default]
    Missing,
    Number(f64),
    Place(Point),
    List(Vec<Coordinates>),
}

impl<'de> Deserialize<'de> for Coordinates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(CoordinatesVisitor)
    }
}

struct CoordinatesVisitor;

impl<'de> Visitor<'de> for CoordinatesVisitor {
    type Value = Coordinates;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("coordinates")
    }

    fn visit_f64<E>(self, v: f64) -> std::result::Result<Coordinates, E> {
        Ok(Coordinates::Number(v))
    }

    fn visit_i64<E>(self, v: i64) -> std::result::Result<Coordinates, E> {
        Ok(Coordinates::Number(v as f64))
    }

    fn visit_u64<E>(self, v: u64) -> std::result::Result<Coordinates, E> {
        Ok(Coordinates::Number(v as f64))
    }

    fn visit_unit<E>(self) -> std::result::Result<Coordinates, E> {
        Ok(Coordinates::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut seq: A,
    ) -> std::result::Result<Coordinates, A::Error> {
        let first = match seq.next_element()? {
            None => return Ok(Coordinates::List(Vec::new())),
            Some(Coordinates::Number(x)) => {
                let Some(Coordinates::Number(y)) = seq.next_element()? else {
                    return Err(A::Error::custom("a place lacks one of its two numbers"));
                };
                // A third number is a height or a plane.
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Coordinates::Place(Point { x, y }));
            }
            Some(first) => first,
        };
        let mut list = vec![first];
        while let Some(next) = seq.next_element()? {
            list.push(next);
        }
        Ok(Coordinates::List(list))
    }
}

/// Reads the objects of a text that begins with `{` or `[`.
///
/// # Errors
/// [`Error::Malformed`] for what is no GeoJSON, [`Error::Unsupported`] for another program's JSON.
pub(super) fn read_geojson(text: &str, lines: Lines) -> Result<Outlines> {
    let members = match members(text) {
        Ok(members) => members,
        // QuPath writes NaN for measurements that do not exist.
        Err(error) => match without_special_numbers(text).map(|text| members(&text)) {
            Some(Ok(members)) => members,
            _ => return Err(foreign_json(text).unwrap_or_else(|| json_error(text, error))),
        },
    };
    let mut reader =
        GeoJsonReader { keeps_lines: lines == Lines::Keep, ..GeoJsonReader::default() };
    for member in members {
        if member.kind.is_null() && member.features.is_none() && member.geometry.is_none() {
            if let Some(outlines) = read_labelme(text)? {
                return Ok(outlines);
            }
            return Err(foreign_json(text).unwrap_or_else(|| {
                Error::malformed("The JSON is no GeoJSON: it states no \"type\"")
            }));
        }
        if let Err(error) = reader.add(member) {
            return Err(foreign_json(text).unwrap_or(error));
        }
    }
    Ok(reader.finish())
}

fn members(text: &str) -> serde_json::Result<Vec<Member>> {
    if text.starts_with('[') {
        return serde_json::from_str(text);
    }
    // Record separators stand between texts only; inside of JSON they would have to be escaped.
    let replaced = text.contains('\u{1E}').then(|| text.replace('\u{1E}', " "));
    let text = replaced.as_deref().unwrap_or(text);
    serde_json::Deserializer::from_str(text).into_iter().collect()
}

/// The text with `null` in place of NaN and infinities, which are no JSON; none where it has none.
fn without_special_numbers(text: &str) -> Option<String> {
    const SPECIAL: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    let mut replaced = String::with_capacity(text.len());
    // The text is cut at its quotation marks: every other piece lies inside of a string.
    let mut is_string = false;
    let mut has_special = false;
    let mut rest = text;
    while !rest.is_empty() {
        let end = if is_string { end_of_string(rest) } else { rest.find('"') };
        let (piece, after) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
        if !is_string && SPECIAL.iter().any(|special| piece.contains(special)) {
            has_special = true;
            let mut piece = piece.to_owned();
            for special in SPECIAL {
                piece = piece.replace(special, "null");
            }
            replaced += &piece;
        } else {
            replaced += piece;
        }
        is_string = !is_string;
        rest = after;
    }
    has_special.then_some(replaced)
}

/// Index of the quotation mark that ends a string, without those behind a backslash.
fn end_of_string(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'"' && !is_escaped {
            return Some(at);
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    None
}

fn json_error(text: &str, error: serde_json::Error) -> Error {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let around: String = line.chars().skip(error.column().saturating_sub(4)).take(12).collect();
    if around.contains("NaN") || around.contains("nan") || around.contains("Inf") {
        return Error::malformed(
            "The GeoJSON has NaN or Infinity for a number, which JSON does not allow",
        )
        .caused_by(error);
    }
    Error::malformed("The GeoJSON cannot be understood").caused_by(error)
}

/// What is known of the objects so far.
#[derive(Default)]
struct GeoJsonReader {
    outlines: Outlines,
    keeps_lines: bool,
    vertices: usize,
    shapes_left_out: LeftOut,
    without_geometry: usize,
    nuclei_of_cells: usize,
}

impl GeoJsonReader {
    fn add(&mut self, member: Member) -> Result<()> {
        match member.kind.as_str() {
            Some("FeatureCollection") => {
                for feature in member.features.into_iter().flatten() {
                    self.add(feature)?;
                }
                Ok(())
            }
            None if member.features.is_some() => {
                self.add(Member { kind: "FeatureCollection".into(), ..member })
            }
            Some("Feature") | None => self.add_feature(member),
            Some(_) => {
                self.add_feature(Member { geometry: Some(Box::new(member)), ..Member::default() })
            }
        }
    }

    fn add_feature(&mut self, feature: Member) -> Result<()> {
        let properties = feature.properties.unwrap_or_default();
        let nucleus = feature.nucleus.filter(|nucleus| nucleus.kind.is_string());
        let has_nucleus = nucleus.is_some();
        let Some(geometry) = nucleus.or(feature.geometry) else {
            self.without_geometry += 1;
            return Ok(());
        };
        if self.keeps_lines {
            self.add_lines(&geometry, &properties)?;
        }
        let mut polygons = Vec::new();
        self.add_polygons(*geometry, &mut polygons)?;
        if polygons.is_empty() {
            return Ok(());
        }
        let kind = match properties.object_type.as_str() {
            Some("detection") => OutlineKind::Detection,
            Some("cell") if has_nucleus => OutlineKind::Detection,
            Some("cell") => OutlineKind::Cell,
            Some("tile") => OutlineKind::Tile,
            Some("tma_core" | "tmaCore") => OutlineKind::Core,
            _ if has_nucleus => OutlineKind::Detection,
            _ => OutlineKind::Annotation,
        };
        self.nuclei_of_cells += usize::from(has_nucleus);
        self.outlines.objects.push(Outline {
            id: text_or_number(&feature.id),
            class: class_name(&properties.classification),
            name: text_or_number(&properties.name),
            colour: colour(&properties.color)
                .or_else(|| colour(properties.classification.get("color")?))
                .or_else(|| colour(properties.classification.get("colorRGB")?)),
            status: properties.metadata.get("status").and_then(text_or_number),
            kind,
            polygons,
        });
        check_counts(self.outlines.objects.len(), self.vertices)
    }

    fn add_polygons(&mut self, geometry: Member, polygons: &mut Vec<Polygon>) -> Result<()> {
        match geometry.kind.as_str() {
            Some("Polygon") => polygons.extend(self.polygon(geometry.coordinates)?),
            Some("MultiPolygon") => {
                let Coordinates::List(parts) = geometry.coordinates else {
                    return Err(no_list());
                };
                for part in parts {
                    polygons.extend(self.polygon(part)?);
                }
            }
            Some("GeometryCollection") => {
                for part in geometry.geometries.into_iter().flatten() {
                    self.add_polygons(part, polygons)?;
                }
            }
            Some("Feature") => {
                if let Some(inner) = geometry.geometry {
                    self.add_polygons(*inner, polygons)?;
                }
            }
            Some("LineString" | "MultiLineString") if self.keeps_lines => {}
            Some(shape @ ("Point" | "MultiPoint" | "LineString" | "MultiLineString")) => {
                self.shapes_left_out.count(shape);
            }
            Some(other) => {
                return Err(Error::unsupported(format!("The GeoJSON has a shape '{other}'")));
            }
            None => self.without_geometry += 1,
        }
        Ok(())
    }

    /// The lines of a feature, each by itself.
    fn add_lines(&mut self, geometry: &Member, properties: &Properties) -> Result<()> {
        let parts = match (geometry.kind.as_str(), &geometry.coordinates) {
            (Some("LineString"), whole) => std::slice::from_ref(whole),
            (Some("MultiLineString"), Coordinates::List(parts)) => parts,
            (Some("GeometryCollection"), _) => {
                for part in geometry.geometries.iter().flatten() {
                    self.add_lines(part, properties)?;
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        for part in parts {
            let Coordinates::List(places) = part else { return Err(no_line()) };
            let mut points = Vec::with_capacity(places.len());
            for place in places {
                let Coordinates::Place(point) = place else { return Err(no_line()) };
                points.push(*point);
            }
            self.vertices += points.len();
            self.outlines.lines.push(DrawnLine {
                class: class_name(&properties.classification),
                width_um: properties.width_um(),
                points,
            });
        }
        check_counts(self.outlines.objects.len() + self.outlines.lines.len(), self.vertices)
    }

    /// None for one without corners.
    fn polygon(&mut self, coordinates: Coordinates) -> Result<Option<Polygon>> {
        let Coordinates::List(lists) = coordinates else { return Err(no_list()) };
        let mut polygon: Polygon = Vec::with_capacity(lists.len());
        for list in lists {
            let Coordinates::List(places) = list else { return Err(no_list()) };
            let mut ring: Ring = Vec::with_capacity(places.len());
            for place in places {
                let Coordinates::Place(point) = place else { return Err(no_list()) };
                ring.push(point);
            }
            self.vertices += ring.len();
            polygon.push(ring);
        }
        if polygon.is_empty() {
            self.without_geometry += 1;
            return Ok(None);
        }
        Ok(Some(polygon))
    }

    fn finish(self) -> Outlines {
        let mut outlines = self.outlines;
        let notes = &mut outlines.notes;
        if self.nuclei_of_cells > 0 {
            notes.note(format!(
                "{} with an outline of the nucleus, which is taken instead of the cell's border",
                counted(self.nuclei_of_cells, "object is a cell", "objects are cells")
            ));
        }
        self.shapes_left_out.note(notes, "enclose no area");
        if self.without_geometry > 0 {
            notes.note(format!(
                "{} no geometry: left out",
                counted(self.without_geometry, "feature has", "features have")
            ));
        }
        outlines
    }
}

fn no_list() -> Error {
    Error::malformed("The coordinates of a polygon are no list of rings of places")
}

fn no_line() -> Error {
    Error::malformed("The coordinates of a line are no list of places")
}

/// A number, which may be written as a text.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}

fn text_or_number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// QuPath writes a list of red, green and blue, earlier also one number of 0xAARRGGBB.
fn colour(value: &Value) -> Option<[u8; 3]> {
    match value {
        Value::Array(channels) => {
            let [red, green, blue] = channels.get(..3)? else { return None };
            let channel = |value: &Value| value.as_u64().and_then(|v| u8::try_from(v).ok());
            Some([channel(red)?, channel(green)?, channel(blue)?])
        }
        Value::Number(packed) => {
            let [blue, green, red, ..] = packed.as_i64()?.to_le_bytes();
            Some([red, green, blue])
        }
        _ => None,
    }
}

/// QuPath writes `{"name": "A: B", …}` or `{"names": ["A", "B"], …}`; others a text.
fn class_name(classification: &Value) -> Option<String> {
    match classification {
        Value::String(name) if !name.is_empty() => Some(name.clone()),
        Value::Object(members) => match (members.get("name"), members.get("names")) {
            (Some(name), _) => text_or_number(name),
            (None, Some(Value::Array(names))) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                (!names.is_empty()).then(|| names.join(": "))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The names of a JSON object's members, or of an array's first object's.
#[allow(clippy::zero_sized_map_values, reason = "the values are skipped")]
pub(super) fn member_names(text: &str) -> Vec<String> {
    let object = if let Some(inside) = text.strip_prefix('[') { inside.trim_start() } else { text };
    let mut objects =
        serde_json::Deserializer::from_str(object).into_iter::<BTreeMap<String, IgnoredAny>>();
    match objects.next() {
        Some(Ok(members)) => members.into_keys().collect(),
        _ => Vec::new(),
    }
}
