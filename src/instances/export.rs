//! Nuclei as QuPath GeoJSON and as CSV, written one after the other, so memory does not grow with
//! their number.

use std::io::Write;

use geojson::{Feature, FeatureWriter, JsonObject, JsonValue};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::measure::{LengthUnit, Measurements, Nucleus, rounded};
use super::neighbours::Neighbours;
use super::shape::OutlineShape;
use crate::error::{Error, Result};
use crate::model::NucleusType;
use crate::outlines::{Outline, geometry, outline_id, region_feature};

/// Colour of the class "Nucleus" in QuPath, of nuclei without a type.
const COLOUR: [u8; 3] = [0, 160, 80];
/// Steps of a coordinate in one pixel: two decimals.
const STEPS_PER_PX: f64 = 100.0;

/// The file in which nuclei were found, written into the collection as its member `image`,
/// if there are any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// File name without folders.
    pub name: String,
    /// Size of the file.
    pub bytes: Option<u64>,
}

/// Origin of the results, written into each feature's metadata.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Provenance {
    /// Fingerprint of the model.
    pub model: String,
    /// Pixel size, if known, micrometres. Decides the unit of measurements: micrometres or pixels.
    pub mpp_um: Option<f64>,
    /// The image, if it is a file.
    pub image: Option<ImageSource>,
    /// Types of nuclei that the model tells apart; empty where there is only one.
    pub types: Vec<NucleusType>,
}

impl Provenance {
    /// The type of a nucleus; none where the model tells none apart.
    fn type_of(&self, nucleus: &Nucleus) -> Option<&NucleusType> {
        NucleusType::of(&self.types, nucleus.class)
    }
}

/// Numbers of nuclei in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenCounts {
    /// All.
    pub nuclei: usize,
    /// Of each type of [`Provenance::types`]. Nuclei that a person drew have none.
    pub of_types: Vec<usize>,
}

/// Who says that an object is a nucleus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NucleusStatus {
    /// A model.
    #[default]
    Model,
    /// A model, and a person who looked at it.
    Accepted,
    /// A person, who drew it.
    Added,
}

impl NucleusStatus {
    /// As files state it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Accepted => "accepted",
            Self::Added => "added",
        }
    }
}

/// A nucleus as files hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenNucleus {
    /// Outline and measurements.
    pub nucleus: Nucleus,
    /// Who says that it is one.
    pub status: NucleusStatus,
}

impl From<Nucleus> for WrittenNucleus {
    /// A nucleus of a model.
    fn from(nucleus: Nucleus) -> Self {
        Self { nucleus, status: NucleusStatus::Model }
    }
}

/// Writes nuclei as a `FeatureCollection` of detections, as QuPath (0.4 and later)
/// reads it, and as a table with one row per nucleus. The row has the id of the feature. Where the
/// model tells types apart, the type is the classification of the feature and the last column of
/// the table. The nuclei are gone through twice: first for their centroids, by which neighbours are
/// found. Returns the numbers of nuclei.
///
/// ```
/// use prunella::instances::{Provenance, label_nuclei, measure_nuclei, write_nuclei};
/// use prunella::model::InstanceParameters;
/// use prunella::raster::phantom;
///
/// # fn main() -> prunella::error::Result<()> {
/// let (image, truth) = phantom(128, 128, 3);
/// // As of a very good network.
/// let probabilities = truth.map(|label| if label > 0 { 0.9 } else { 0.1 });
/// let parameters = InstanceParameters::default();
/// let (labels, smoothed) = label_nuclei(&probabilities.into(), &parameters)?;
/// let nuclei = measure_nuclei(&image, &labels, &smoothed, &[], &parameters, Some(0.25))?;
/// let model = "fingerprint".to_owned();
/// let provenance = Provenance { model, mpp_um: Some(0.25), ..Provenance::default() };
/// let mut geojson = Vec::new();
/// let mut csv = Vec::new();
/// let nuclei: Vec<_> = nuclei.collect();
/// let nuclei = nuclei.iter().cloned();
/// let count = write_nuclei(nuclei, &provenance, &mut geojson, &mut csv)?.nuclei;
/// assert!(count > 5 && geojson.starts_with(b"{"));
/// // A header and one row per nucleus.
/// assert_eq!(csv.iter().filter(|&&byte| byte == b'\n').count(), count + 1);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Io`] when a target cannot be written.
pub fn write_nuclei(
    nuclei: impl Iterator<Item: Into<WrittenNucleus>> + Clone,
    provenance: &Provenance,
    geojson: &mut dyn Write,
    csv: &mut dyn Write,
) -> Result<WrittenCounts> {
    write_nuclei_and_regions(nuclei, &[], provenance, geojson, csv)
}

/// As [`write_nuclei`], with regions before the nuclei, as
/// [`write_regions`](crate::outlines::write_regions) writes them. They have no rows in the table.
///
/// # Errors
/// As [`write_nuclei`].
pub fn write_nuclei_and_regions(
    nuclei: impl Iterator<Item: Into<WrittenNucleus>> + Clone,
    regions: &[Outline],
    provenance: &Provenance,
    geojson: &mut dyn Write,
    csv: &mut dyn Write,
) -> Result<WrittenCounts> {
    let unit = LengthUnit::for_pixel_size(provenance.mpp_um);
    let names = column_names(unit);
    let centroids = nuclei.clone().map(|written| written.into().nucleus.centroid);
    let neighbours = Neighbours::new(centroids.collect(), provenance.mpp_um);
    let columns = names.join(",");
    writeln!(
        csv,
        "label,id,centroid_x_px,centroid_y_px,area_px,{columns},status{}",
        if provenance.types.is_empty() { "" } else { ",class" }
    )
    .map_err(csv_error)?;
    let mut features = FeatureWriter::from_writer(geojson);
    let mut nuclei = nuclei.peekable();
    // The writer knows no member beside an empty list of features.
    let is_empty = regions.is_empty() && nuclei.peek().is_none();
    if let (Some(image), false) = (&provenance.image, is_empty) {
        features.write_foreign_member("image", image).map_err(geojson_error)?;
    }
    for region in regions {
        let feature = region_feature(region, provenance.mpp_um);
        features.write_feature(&feature).map_err(geojson_error)?;
    }
    let mut counts = WrittenCounts { nuclei: 0, of_types: vec![0; provenance.types.len()] };
    for written in nuclei {
        let WrittenNucleus { nucleus, status } = written.into();
        let id = outline_id(&nucleus.polygons);
        let x = two_decimals(nucleus.centroid.0);
        let y = two_decimals(nucleus.centroid.1);
        write!(csv, "{},{id},{x},{y},{}", nucleus.label, nucleus.area_px).map_err(csv_error)?;
        let values = column_values(&nucleus, &neighbours, counts.nuclei, provenance.mpp_um);
        for value in values {
            // What is not known is left empty.
            let text = if value.is_nan() { String::new() } else { value.to_string() };
            write!(csv, ",{text}").map_err(csv_error)?;
        }
        write!(csv, ",{}", status.name()).map_err(csv_error)?;
        if !provenance.types.is_empty() {
            let name = provenance.type_of(&nucleus).map_or(String::new(), |of| csv_text(&of.name));
            write!(csv, ",{name}").map_err(csv_error)?;
        }
        writeln!(csv).map_err(csv_error)?;
        let mut measurements = JsonObject::new();
        for (name, value) in names.iter().zip(values) {
            if !value.is_nan() {
                measurements.insert((*name).to_owned(), json!(value));
            }
        }
        let feature = nucleus_feature(&nucleus, status, id, measurements, provenance);
        features.write_feature(&feature).map_err(geojson_error)?;
        counts.nuclei += 1;
        let place = nucleus.class.and_then(|class| counts.of_types.get_mut(usize::from(class)));
        if let Some(count) = place {
            *count += 1;
        }
    }
    features.finish().map_err(geojson_error)?;
    Ok(counts)
}

/// Measurements that follow from outlines and places when they are written.
const PLACED: usize = 5;
/// All measurements in files.
const COLUMNS: usize = 14;

/// Names of the measurements in files. Those of shapes are QuPath's.
fn column_names(unit: LengthUnit) -> [&'static str; COLUMNS] {
    let placed: [&str; PLACED] = match unit {
        LengthUnit::Micrometre => [
            "Solidity",
            "Max diameter µm",
            "Min diameter µm",
            "Nearest nucleus µm",
            "Nuclei within 50 µm",
        ],
        LengthUnit::Pixel => [
            "Solidity",
            "Max diameter px",
            "Min diameter px",
            "Nearest nucleus px",
            "Nuclei within 50 µm",
        ],
    };
    let mut names = [""; COLUMNS];
    names[..COLUMNS - PLACED].copy_from_slice(&Measurements::names(unit));
    names[COLUMNS - PLACED..].copy_from_slice(&placed);
    names
}

/// Values of [`column_names`]; NaN where something is not known. `number` is the nucleus's place
/// among the neighbours.
fn column_values(
    nucleus: &Nucleus,
    neighbours: &Neighbours,
    number: usize,
    mpp_um: Option<f64>,
) -> [f64; COLUMNS] {
    let measured = nucleus.measurements.unwrap_or_else(Measurements::unknown);
    let mut values = [f64::NAN; COLUMNS];
    values[..COLUMNS - PLACED].copy_from_slice(&measured.values());
    let length = |px: f64| rounded(px * mpp_um.unwrap_or(1.0));
    let shape = OutlineShape::of(&nucleus.polygons);
    let around = neighbours.of(number);
    let placed: [f64; PLACED] = [
        shape.map_or(f64::NAN, |shape| rounded(shape.solidity)),
        shape.map_or(f64::NAN, |shape| length(shape.max_diameter)),
        shape.map_or(f64::NAN, |shape| length(shape.min_diameter)),
        around.nearest_px.map_or(f64::NAN, length),
        around.nearby.map_or(f64::NAN, |count| count as f64),
    ];
    values[COLUMNS - PLACED..].copy_from_slice(&placed);
    values
}

/// A field of a table (RFC 4180).
fn csv_text(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

fn csv_error(error: std::io::Error) -> Error {
    Error::io("The CSV cannot be written", error)
}

fn geojson_error(error: geojson::Error) -> Error {
    let error = match error {
        geojson::Error::Io(error) => error,
        geojson::Error::MalformedGeoJson(error) => error.into(),
        other => std::io::Error::other(other),
    };
    Error::io("The outlines cannot be written", error)
}

fn nucleus_feature(
    nucleus: &Nucleus,
    status: NucleusStatus,
    id: String,
    measurements: JsonObject,
    provenance: &Provenance,
) -> Feature {
    let mut metadata = JsonObject::new();
    metadata.insert("model".into(), format!("sha256:{}", provenance.model).into());
    if let Some(mpp) = provenance.mpp_um {
        metadata.insert("mpp_um".into(), mpp.to_string().into());
    }
    metadata.insert("status".into(), status.name().into());
    let class = match provenance.type_of(nucleus) {
        Some(NucleusType { name, colour }) => json!({ "name": name, "color": colour }),
        None => json!({ "name": "Nucleus", "color": COLOUR }),
    };
    let properties = [
        ("objectType", json!("detection")),
        ("classification", class),
        ("isLocked", json!(false)),
        ("measurements", JsonValue::Object(measurements)),
        ("metadata", JsonValue::Object(metadata)),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value));
    Feature {
        id: Some(geojson::feature::Id::String(id)),
        geometry: Some(geometry(&nucleus.polygons).into()),
        properties: Some(properties.into_iter().collect()),
        bbox: None,
        foreign_members: None,
    }
}

fn two_decimals(v: f64) -> f64 {
    (v * STEPS_PER_PX).round() / STEPS_PER_PX
}

#[cfg(test)]
mod tests {
    use geojson::GeometryValue;

    use super::*;
    use crate::outlines::OutlineKind;
    use crate::raster::Point;

    fn square(label: u32, at: f64) -> Nucleus {
        let ring =
            |a: f64, b: f64| [(a, a), (b, a), (b, b), (a, b)].map(|(x, y)| Point { x, y }).to_vec();
        let mut hole = ring(at + 1.0, at + 2.0);
        hole.reverse();
        Nucleus {
            label,
            polygons: vec![vec![ring(at, at + 4.0), hole]],
            area_px: 15,
            centroid: (at + 2.0, at + 2.0),
            measurements: Some(Measurements { area: 0.9375, ..Measurements::default() }),
            class: None,
        }
    }

    /// GeoJSON and CSV.
    fn texts(nuclei: Vec<Nucleus>) -> [String; 2] {
        let (mut geojson, mut csv) = (Vec::new(), Vec::new());
        let image = Some(ImageSource { name: "a.svs".into(), bytes: Some(7) });
        let model = "abc".into();
        let provenance = Provenance { model, mpp_um: Some(0.25), image, types: Vec::new() };
        let count = nuclei.len();
        let written = write_nuclei(nuclei.into_iter(), &provenance, &mut geojson, &mut csv);
        assert_eq!(written.expect("written"), WrittenCounts { nuclei: count, of_types: vec![] });
        [geojson, csv].map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    fn text(nuclei: Vec<Nucleus>) -> String {
        let [geojson, _] = texts(nuclei);
        geojson
    }

    #[test]
    fn a_strict_reader_finds_every_key_that_qupath_needs() {
        let parsed: geojson::FeatureCollection = text(vec![square(1, 0.0), square(2, 10.0)])
            .parse::<geojson::GeoJson>()
            .expect("GeoJSON")
            .try_into()
            .expect("features");
        assert_eq!(parsed.features.len(), 2);
        let members = parsed.foreign_members.clone().expect("members");
        assert_eq!(members["image"], json!({ "name": "a.svs", "bytes": 7 }));
        let feature = &parsed.features[0];
        let property = |name: &str| feature.property(name).expect(name).clone();
        assert_eq!(property("objectType"), "detection");
        assert_eq!(property("classification"), json!({ "name": "Nucleus", "color": [0, 160, 80] }));
        assert_eq!(property("isLocked"), false);
        assert_eq!(property("measurements")["Area um^2"], 0.9375);
        assert_eq!(property("measurements")["Eccentricity"], 0.0);
        assert_eq!(property("measurements")["Solidity"], 0.9375);
        assert_eq!(property("measurements")["Min diameter µm"], 1.0);
        assert_eq!(property("measurements")["Nearest nucleus µm"], 3.5355);
        assert_eq!(property("measurements")["Nuclei within 50 µm"], 1.0);
        assert_eq!(property("metadata")["mpp_um"], "0.25");
        let is_uuid = |id: &geojson::feature::Id| match id {
            geojson::feature::Id::String(text) => uuid::Uuid::parse_str(text).is_ok(),
            geojson::feature::Id::Number(_) => false,
        };
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
        assert_eq!(outline_id(&square(1, 0.0).polygons), outline_id(&square(2, 0.0).polygons));
        assert_ne!(outline_id(&square(1, 0.0).polygons), outline_id(&square(1, 1.0).polygons));
        let [_, table] = texts(vec![square(7, 0.0)]);
        assert_eq!(table.lines().count(), 2);
        assert!(
            table.starts_with("label,id,centroid_x_px,centroid_y_px,area_px,Area um^2,"),
            "{table}"
        );
        assert!(
            table.contains(&format!("\n7,{}", outline_id(&square(1, 0.0).polygons))),
            "{table}"
        );
    }

    #[test]
    fn files_state_who_says_that_it_is_a_nucleus_and_hold_regions() {
        let added = WrittenNucleus { nucleus: square(2, 10.0), status: NucleusStatus::Added };
        let mut drawn = square(3, 20.0);
        let unknown = f64::NAN;
        drawn.measurements = Some([1.0, 2.0, 0.5, 0.5, unknown, 0.25, 0.1, 0.2, unknown].into());
        let drawn = WrittenNucleus { nucleus: drawn, status: NucleusStatus::Accepted };
        let all = vec![square(1, 0.0).into(), added, drawn];
        let id = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
        let regions = [Outline {
            id: Some(id.into()),
            class: Some("Tumour".into()),
            name: Some("Tumour \"a\"".into()),
            colour: Some([1, 2, 3]),
            status: None,
            kind: OutlineKind::Annotation,
            polygons: square(1, 0.0).polygons,
        }];
        let (mut geojson, mut csv) = (Vec::new(), Vec::new());
        let provenance = Provenance::default();
        let count = write_nuclei_and_regions(
            all.into_iter(),
            &regions,
            &provenance,
            &mut geojson,
            &mut csv,
        );
        assert_eq!(count.expect("written").nuclei, 3);
        let table = String::from_utf8(csv).expect("UTF-8");
        let endings: Vec<_> =
            table.lines().filter_map(|line| line.rsplit_once(',')).map(|(_, end)| end).collect();
        assert_eq!(endings, ["status", "model", "added", "accepted"]);
        // The square of 4 has a hole of 1; the next ones lie 10 px aside and down.
        assert!(
            table.contains(",0.5,0.5,,0.25,0.1,0.2,,0.9375,5.6569,4,14.1421,,accepted"),
            "{table}"
        );
        let parsed: serde_json::Value = serde_json::from_slice(&geojson).expect("JSON");
        let features = parsed["features"].as_array().expect("features");
        assert_eq!(features.len(), 4);
        assert_eq!(features[0]["properties"]["objectType"], "annotation");
        assert_eq!(features[0]["properties"]["name"], "Tumour \"a\"");
        assert_eq!(features[0]["properties"]["classification"]["name"], "Tumour");
        assert_eq!(features[0]["properties"]["color"], serde_json::json!([1, 2, 3]));
        assert_eq!(features[0]["id"], id);
        assert_eq!(features[2]["properties"]["metadata"]["status"], "added");
        assert!(features[3]["properties"]["measurements"].get("Probability mean").is_none());
    }

    #[test]
    fn types_are_classes_of_features_and_a_column() {
        let named = |name: &str, colour| NucleusType { name: name.into(), colour };
        let types = vec![named("round", [1, 2, 3]), named("long, \"thin\"", [4, 5, 6])];
        let of_type = |at: f64, class| Nucleus { class, ..square(1, at) };
        let nuclei = [of_type(0.0, Some(1)), of_type(9.0, Some(0)), of_type(20.0, None)];
        let nuclei = nuclei.into_iter().chain([of_type(30.0, Some(1)), of_type(40.0, Some(7))]);
        let provenance = Provenance { types, ..Provenance::default() };
        let (mut geojson, mut csv) = (Vec::new(), Vec::new());
        let counts = write_nuclei(nuclei, &provenance, &mut geojson, &mut csv).expect("written");
        assert_eq!(counts, WrittenCounts { nuclei: 5, of_types: vec![1, 2] });
        let table = String::from_utf8(csv).expect("UTF-8");
        let ends = [",class", ",model,\"long, \"\"thin\"\"\"", ",model,round", ",model,"];
        for (line, end) in table.lines().zip(ends) {
            assert!(line.ends_with(end), "{line}");
        }
        let parsed: serde_json::Value = serde_json::from_slice(&geojson).expect("JSON");
        let class = |i: usize| parsed["features"][i]["properties"]["classification"].clone();
        assert_eq!(class(0), json!({ "name": "long, \"thin\"", "color": [4, 5, 6] }));
        assert_eq!(class(1), json!({ "name": "round", "color": [1, 2, 3] }));
        // Of no type, or of one that another model tells apart.
        assert_eq!(
            (class(2)["name"].clone(), class(4)["name"].clone()),
            (json!("Nucleus"), json!("Nucleus"))
        );
    }

    #[test]
    fn a_nucleus_of_two_parts_is_one_feature_and_one_row() {
        let mut nucleus = square(1, 0.0);
        nucleus.polygons.extend(square(1, 10.0).polygons);
        let [features, table] = texts(vec![nucleus]);
        assert_eq!(table.lines().count(), 2);
        assert_eq!(features.matches("MultiPolygon").count(), 1, "{features}");
    }

    #[test]
    fn no_nuclei_is_an_empty_collection_and_a_header() {
        let parsed: geojson::GeoJson = text(Vec::new()).parse().expect("GeoJSON");
        assert!(matches!(parsed, geojson::GeoJson::FeatureCollection(c) if c.features.is_empty()));
        assert_eq!(texts(Vec::new())[1].lines().count(), 1);
    }
}
