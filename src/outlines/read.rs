//! The objects of a file, whatever program wrote it.

use std::collections::BTreeMap;

use super::foreign::foreign_outlines;
use super::geojson_reader::read_geojson;
use super::geometry::is_valid;
use super::repair::united;
use super::set_aside::which_are_nuclei;
use super::text::text_of;
use super::validity::MAX_COORDINATE_PX;
use super::xml::read_xml;
use crate::error::{Error, Result, Warnings, counted, listed};
use crate::raster::{Point, Polygon, Ring, polygon_area};

/// Most vertices read from a file.
pub(super) const MAX_VERTICES: usize = 20_000_000;
/// Most objects read from a file.
pub(super) const MAX_OBJECTS: usize = 2_000_000;

/// Most objects, layers or kinds that a note names.
pub(super) const MAX_NAMED: usize = 5;
/// A repair that changes an area by less is not noted, square pixels.
const SAME_AREA_PX: f64 = 0.01;

/// What an outline stands for, by QuPath's types of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutlineKind {
    /// Drawn by hand, or imported.
    Annotation,
    /// Found by a program.
    Detection,
    /// The border of a cell whose nucleus is not known.
    Cell,
    /// A piece of a grid or a superpixel.
    Tile,
    /// A core of a tissue microarray.
    Core,
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// As in the file.
    pub id: Option<String>,
    /// Its class, layer or group in the file.
    pub class: Option<String>,
    /// Its name or description.
    pub name: Option<String>,
    /// Its colour in the file: red, green, blue.
    pub colour: Option<[u8; 3]>,
    /// What this program's results state of it: `model`, `accepted`, `added` or `rejected`.
    pub status: Option<String>,
    /// What it stands for.
    pub kind: OutlineKind,
    /// Its parts.
    pub polygons: Vec<Polygon>,
}

impl Outline {
    /// An object of one ring.
    pub(super) fn of_ring(kind: OutlineKind, ring: Ring) -> Self {
        let polygons = vec![vec![ring]];
        Self { id: None, class: None, name: None, colour: None, status: None, kind, polygons }
    }

    /// Area of all parts, square pixels.
    pub(super) fn area(&self) -> f64 {
        self.polygons.iter().map(|polygon| polygon_area(polygon)).sum()
    }

    fn rings(&self) -> usize {
        self.polygons.iter().map(Vec::len).sum()
    }

    /// How notes name it.
    pub(super) fn label(&self) -> String {
        let place = |ring: &Ring| {
            ring.first().map_or(String::new(), |p| format!("the region at {:.0}, {:.0}", p.x, p.y))
        };
        let ring = self.polygons.first().and_then(|polygon| polygon.first());
        match (&self.name, &self.class, &self.id) {
            (Some(name), ..) => format!("'{name}'"),
            (None, Some(class), Some(id)) => format!("region {id} of '{class}'"),
            (None, None, Some(id)) => format!("region {id}"),
            (None, Some(class), None) => format!("a region of '{class}'"),
            (None, None, None) => ring.map_or_else(|| "a region".to_owned(), place),
        }
    }
}

/// A line, which encloses nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnLine {
    /// Its class in the file.
    pub class: Option<String>,
    /// Its width, micrometres, where the file states it.
    pub width_um: Option<f64>,
    /// From one end to the other, at least one.
    pub points: Vec<Point>,
}

/// What becomes of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// They are left out, with a note.
    LeaveOut,
    Keep,
}

/// The objects of a file.
#[derive(Debug, Clone, Default)]
pub struct Outlines {
    /// In the order of the file.
    pub objects: Vec<Outline>,
    /// The lines of GeoJSON, in the order of the file; only those who ask for them get them.
    pub lines: Vec<DrawnLine>,
    /// Micrometres per pixel, where the file states it.
    pub mpp_um: Option<f64>,
    /// What was unusual and what was done about it.
    pub notes: Warnings,
}

/// Reads outlines: QuPath and other GeoJSON (a collection, an array, features line by line, gzip),
/// ImageScope XML, HALO annotations, ASAP XML, LabelMe JSON. The content decides the format.
///
/// ```
/// use prunella::outlines::read_outlines;
///
/// # fn main() -> prunella::error::Result<()> {
/// let text = r#"{"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 0]]]}"#;
/// let outlines = read_outlines(text.as_bytes())?;
/// assert_eq!(outlines.objects[0].polygons[0][0].len(), 3);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Malformed`] for a broken file, [`Error::Unsupported`] for one of another format, named
/// where it is known, [`Error::Limit`] for absurd counts.
pub fn read_outlines(bytes: &[u8]) -> Result<Outlines> {
    read(bytes, Lines::LeaveOut)
}

/// The same with the lines of GeoJSON, which others leave out.
///
/// # Errors
/// As [`read_outlines`].
pub fn read_outlines_and_lines(bytes: &[u8]) -> Result<Outlines> {
    read(bytes, Lines::Keep)
}

fn read(bytes: &[u8], lines: Lines) -> Result<Outlines> {
    if let Some(error) = foreign_outlines(bytes) {
        return Err(error);
    }
    let text = text_of(bytes)?;
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{1E}');
    let mut outlines = match start.chars().next() {
        Some('<') => read_xml(start)?,
        Some('{' | '[') => read_geojson(start, lines)?,
        None => return Err(Error::malformed("The file is empty")),
        Some(_) => {
            return Err(super::foreign::foreign_text(start).unwrap_or_else(|| {
                Error::unsupported(
                    "The file is neither GeoJSON nor XML; outlines are read from QuPath GeoJSON, \
                     ImageScope XML, HALO annotations, ASAP XML and LabelMe JSON",
                )
            }));
        }
    };
    outlines.drop_unusable();
    Ok(outlines)
}

impl Outlines {
    /// Rings lose the point that closes them; rings without area and polygons whose coordinates are
    /// no pixels are left out, with a note.
    fn drop_unusable(&mut self) {
        let mut far = 0;
        let mut degenerate = 0;
        for object in &mut self.objects {
            for polygon in &mut object.polygons {
                for ring in polygon.iter_mut() {
                    while ring.len() > 1 && ring.first() == ring.last() {
                        ring.pop();
                    }
                }
                let in_range = polygon
                    .iter()
                    .flatten()
                    .all(|p| p.x.abs() <= MAX_COORDINATE_PX && p.y.abs() <= MAX_COORDINATE_PX);
                if !in_range {
                    far += 1;
                    polygon.clear();
                } else if polygon.first().is_none_or(|outline| outline.len() < 3) {
                    degenerate += 1;
                    polygon.clear();
                } else {
                    polygon.retain(|ring| ring.len() >= 3);
                }
            }
            object.polygons.retain(|polygon| !polygon.is_empty());
        }
        self.objects.retain(|object| !object.polygons.is_empty());
        let lines = self.lines.len();
        let is_pixel = |p: &Point| p.x.abs() <= MAX_COORDINATE_PX && p.y.abs() <= MAX_COORDINATE_PX;
        self.lines.retain(|line| line.points.iter().all(is_pixel));
        far += lines - self.lines.len();
        self.lines.retain(|line| !line.points.is_empty());
        if far > 0 {
            self.notes.note(format!(
                "{} coordinates that no image reaches: left out; are they in pixels?",
                counted(far, "outline has", "outlines have")
            ));
        }
        if degenerate > 0 {
            self.notes.note(format!(
                "{} fewer than three corners: left out",
                counted(degenerate, "outline has", "outlines have")
            ));
        }
    }

    /// Leaves out what is no nucleus, as [`draw_outlines`](super::draw_outlines) does: tiles,
    /// classes that end in `*`, regions of interest around others. Gives notes about them.
    pub fn keep_nuclei(&mut self) -> Warnings {
        let (is_nucleus, notes) = which_are_nuclei(&self.objects);
        let mut is_nucleus = is_nucleus.into_iter();
        self.objects.retain(|_| is_nucleus.next().unwrap_or(true));
        notes
    }

    /// Replaces polygons whose rings cross, touch or overlap by valid ones that cover the same, by
    /// the even-odd rule, and notes how many objects had such. Objects without area are left out,
    /// with a note.
    pub fn make_valid(&mut self) -> Warnings {
        let mut notes = Warnings::default();
        let mut crossing = 0;
        let mut empty = 0;
        for object in &mut self.objects {
            if is_valid(&object.polygons) {
                continue;
            }
            let before = (object.rings(), object.area());
            object.polygons = united(&object.polygons);
            // A spike, a repeated ring of no area, or one too long to be checked.
            let is_same =
                before.0 == object.rings() && (before.1 - object.area()).abs() <= SAME_AREA_PX;
            if is_same {
                continue;
            }
            if object.polygons.is_empty() {
                empty += 1;
            } else {
                crossing += 1;
            }
        }
        self.objects.retain(|object| !object.polygons.is_empty());
        if crossing > 0 {
            notes.note(format!(
                "{} or overlap: made valid, covering the same by the even-odd rule",
                counted(
                    crossing,
                    "outline was not valid, since its rings cross, touch",
                    "outlines were not valid, since their rings cross, touch"
                )
            ));
        }
        if empty > 0 {
            notes.note(format!(
                "{} no area: left out",
                counted(empty, "outline encloses", "outlines enclose")
            ));
        }
        notes
    }
}

/// Counts of what is left out, by what it is, as one note.
#[derive(Default)]
pub(super) struct LeftOut {
    counts: BTreeMap<String, usize>,
}

impl LeftOut {
    pub(super) fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// `why` follows "since they".
    pub(super) fn note(&self, notes: &mut Warnings, why: &str) {
        if self.counts.is_empty() {
            return;
        }
        let parts: Vec<String> =
            self.counts.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        notes.note(format!("Left out, since they {why}: {}", listed(&parts, MAX_NAMED)));
    }
}

/// Refuses more than any image can hold.
///
/// # Errors
/// [`Error::Limit`].
pub(super) fn check_counts(objects: usize, vertices: usize) -> Result<()> {
    if objects > MAX_OBJECTS || vertices > MAX_VERTICES {
        return Err(Error::limit("The file outlines more than any image can hold"));
    }
    Ok(())
}
