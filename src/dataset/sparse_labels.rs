//! Labels of a few pixels: what a person marked in an image. Pixels without a mark are unknown, not
//! background.
//!
//! In GeoJSON:
//!
//! - A polygon is a nucleus; its classification is its type.
//! - A polygon of the class `background` or `other` is no nucleus, such as what was found by
//!   mistake.
//! - A line is a stroke: its class, of the width `width_um` (among QuPath's metadata).
//! - A polygon of a class that begins with `Region` and ends in `*` is a frame that is complete:
//!   what in it is no nucleus is background.
//! - A polygon of another class that ends in `*`, such as `Ignore*`, is unknown, even in a complete
//!   frame.
//!
//! Where marks overlap, strokes count before nuclei, nuclei before background, background before
//! what is ignored, and that before a complete frame. Of strokes and nuclei the later one counts.

use std::collections::BTreeMap;

use super::targets::{ClassMap, class_with_role, mark_borders};
use crate::error::{Error, Result, Warnings, counted, listed};
use crate::model::{ClassRole, PixelClass};
use crate::outlines::{
    DrawnLine, Outline, OutlineKind, Outlines, read_outlines_and_lines, write_regions,
};
use crate::raster::{
    LabelMap, PixelGrid, Plane, Point, Polygon, distance_to_segment, polygons_hold,
};
use crate::slide::SlideBounds;

/// In a class map: nobody said what the pixel is.
pub const UNKNOWN: u8 = 255;
/// In a class map: the pixel is left out, whoever knows what it is.
pub const LEFT_OUT: u8 = 254;

/// Width of a stroke that states none, micrometres.
pub const DEFAULT_STROKE_UM: f64 = 2.0;
/// Widest stroke, micrometres.
const MAX_STROKE_UM: f64 = 1000.0;
/// Most marks in an image.
const MAX_MARKS: usize = 100_000;
/// Most pixels that one step of drawing looks at.
const MAX_DRAWN_PX: f64 = 4e9;
/// Side of the parts of strokes and regions that count as one mark, pixels: about a nucleus.
const PART_PX: usize = 40;
/// Most names in a message.
const MAX_NAMED: usize = 5;

/// A mark; coordinates are pixels of the image's finest level.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelMark {
    /// A painted line.
    Stroke {
        /// Name of a class; `background` is none of nuclei.
        class: String,
        /// Micrometres.
        width_um: f64,
        /// At least one.
        points: Vec<Point>,
    },
    /// A whole nucleus.
    Nucleus {
        /// Its type; none where it is not told.
        class: Option<String>,
        /// Its parts.
        polygons: Vec<Polygon>,
    },
    /// An area in which no nucleus is.
    Background {
        /// Its parts.
        polygons: Vec<Polygon>,
    },
    /// An area in which every nucleus is marked.
    Complete {
        /// Its parts.
        polygons: Vec<Polygon>,
    },
    /// An area of which nothing is known.
    Ignored {
        /// Its parts.
        polygons: Vec<Polygon>,
    },
}

impl LabelMark {
    /// The smallest rectangle around its points.
    #[must_use]
    pub fn bounds(&self) -> SlideBounds {
        match self {
            Self::Stroke { points, .. } => SlideBounds::of_points(points),
            Self::Nucleus { polygons, .. }
            | Self::Background { polygons }
            | Self::Complete { polygons }
            | Self::Ignored { polygons } => SlideBounds::of_polygons(polygons),
        }
    }

    /// Whether a part of it may lie on a grid. Strokes reach beyond their points.
    fn may_meet(&self, grid: &PixelGrid, mpp_um: f64) -> bool {
        let reach = match self {
            Self::Stroke { width_um, .. } => width_um / mpp_um + grid.step,
            _ => 0.0,
        };
        let SlideBounds { left, top, right, bottom } = self.bounds();
        left - reach <= grid.left + grid.width as f64 * grid.step
            && right + reach >= grid.left
            && top - reach <= grid.top + grid.height as f64 * grid.step
            && bottom + reach >= grid.top
    }
}

/// The marks in an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseLabels {
    /// In the order in which they were made.
    pub marks: Vec<LabelMark>,
}

/// How marks become classes of pixels.
#[derive(Debug, Clone, Copy)]
pub struct LabelScale<'a> {
    /// The network's.
    pub classes: &'a [PixelClass],
    /// Pixel size of the image's finest level, micrometres.
    pub mpp_um: f64,
    /// Width of the border inside nuclei, micrometres; of no use without a border class.
    pub border_um: f64,
}

/// Marks as pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseTargets {
    /// The class of each pixel, or [`UNKNOWN`].
    pub classes: ClassMap,
    /// Number of the part that each known pixel belongs to, from 1; 0 where it is unknown. A
    /// nucleus is one part; strokes and areas have a part in every square of 40 pixels.
    pub parts: LabelMap,
    /// Number of parts.
    pub count: u32,
    /// The nuclei, numbered 1, 2, … in the order of the marks.
    pub nuclei: LabelMap,
}

/// Which sort of mark a class of a file stands for.
enum ClassMeaning {
    Nucleus,
    Background,
    Complete,
    Ignored,
}

impl ClassMeaning {
    fn of(class: Option<&str>) -> Self {
        let name = class.unwrap_or_default().trim().to_lowercase();
        match name.strip_suffix('*') {
            Some(name) if name.starts_with("region") => Self::Complete,
            Some(_) => Self::Ignored,
            None if is_background(&name) => Self::Background,
            None => Self::Nucleus,
        }
    }
}

fn is_background(name: &str) -> bool {
    matches!(name.to_lowercase().as_str(), "background" | "other")
}

/// Whether two names are of one class.
fn same_class(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}

fn is_border(name: &str) -> bool {
    same_class(name, "border")
}

/// Whether a name says only that it is a nucleus.
fn is_untyped(name: &str) -> bool {
    matches!(name.to_lowercase().as_str(), "" | "nucleus" | "nuclei")
}

impl SparseLabels {
    /// Reads the marks of a GeoJSON file, as QuPath or this program writes it.
    ///
    /// Detections of a network that nobody looked at (their metadata state the status `model`)
    /// count in complete frames only.
    ///
    /// ```
    /// use prunella::dataset::SparseLabels;
    ///
    /// # fn main() -> prunella::error::Result<()> {
    /// let text = r#"{"type": "Feature",
    ///     "properties": {"classification": {"name": "background"}, "metadata": {"width_um": "3"}},
    ///     "geometry": {"type": "LineString", "coordinates": [[10, 10], [60, 40]]}}"#;
    /// let (labels, notes) = SparseLabels::read(text.as_bytes())?;
    /// assert_eq!((labels.marks.len(), notes.notes.len()), (1, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`read_outlines`](crate::outlines::read_outlines); [`Error::Invalid`] for a stroke
    /// without a class or of an absurd width, and for an outline of a border; [`Error::Limit`] for
    /// more marks than are taken.
    pub fn read(bytes: &[u8]) -> Result<(Self, Warnings)> {
        let Outlines { objects, lines, mut notes, .. } = read_outlines_and_lines(bytes)?;
        let mut labels = Self::default();
        let mut nuclei = Vec::new();
        for object in objects {
            let polygons = object.polygons.clone();
            match ClassMeaning::of(object.class.as_deref()) {
                _ if object.status.as_deref() == Some("rejected") => {
                    labels.marks.push(LabelMark::Background { polygons });
                }
                ClassMeaning::Nucleus if object.class.as_deref().is_some_and(is_border) => {
                    return Err(Error::invalid(
                        "An outline has the class 'border', and is no nucleus; mark borders by \
                         lines of that class",
                    ));
                }
                ClassMeaning::Nucleus => nuclei.push(object),
                _ => labels.marks.extend(Self::area(object.class.as_deref(), polygons)),
            }
        }
        labels.add_nuclei(nuclei, &mut notes);
        for DrawnLine { class, width_um, points } in lines {
            labels.marks.push(stroke(class, width_um, points)?);
        }
        labels.check()?;
        Ok((labels, notes))
    }

    /// What an area of a class says of its pixels; none where the class says nothing of them all.
    #[must_use]
    pub fn area(class: Option<&str>, polygons: Vec<Polygon>) -> Option<LabelMark> {
        match ClassMeaning::of(class) {
            ClassMeaning::Complete => Some(LabelMark::Complete { polygons }),
            ClassMeaning::Ignored => Some(LabelMark::Ignored { polygons }),
            ClassMeaning::Background => Some(LabelMark::Background { polygons }),
            ClassMeaning::Nucleus => None,
        }
    }

    /// Whether every nucleus in an area of the class is marked.
    #[must_use]
    pub fn is_complete_class(class: Option<&str>) -> bool {
        matches!(ClassMeaning::of(class), ClassMeaning::Complete)
    }

    /// Adds what in a file is a nucleus.
    fn add_nuclei(&mut self, objects: Vec<Outline>, notes: &mut Warnings) {
        let mut outlines = Outlines { objects, ..Outlines::default() };
        notes.extend(outlines.keep_nuclei());
        let mut not_looked_at = 0;
        for Outline { class, status, kind, polygons, .. } in outlines.objects {
            let is_models = status.as_deref() == Some("model") && kind != OutlineKind::Annotation;
            if is_models && !self.is_in_complete_frame(&polygons) {
                not_looked_at += 1;
                continue;
            }
            let class = class.map(|name| name.trim().to_owned()).filter(|name| !is_untyped(name));
            self.marks.push(LabelMark::Nucleus { class, polygons });
        }
        if not_looked_at > 0 {
            notes.note(format!(
                "{} found by a network and by nobody accepted: not taken as labels",
                counted(not_looked_at, "nucleus was", "nuclei were")
            ));
        }
    }

    fn is_in_complete_frame(&self, polygons: &[Polygon]) -> bool {
        let corner = polygons.first().and_then(|polygon| polygon.first()?.first());
        let Some(corner) = corner else { return false };
        self.marks.iter().any(|mark| match mark {
            LabelMark::Complete { polygons } => polygons_hold(polygons, corner.x, corner.y),
            _ => false,
        })
    }

    /// The marks as annotations in GeoJSON.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_geojson(&self, mpp_um: Option<f64>) -> Result<Vec<u8>> {
        let mut outlines = Outlines::default();
        for mark in &self.marks {
            let (class, polygons) = match mark {
                LabelMark::Stroke { class, width_um, points } => {
                    let line = DrawnLine {
                        class: Some(class.clone()),
                        width_um: Some(*width_um),
                        points: points.clone(),
                    };
                    outlines.lines.push(line);
                    continue;
                }
                LabelMark::Nucleus { class, polygons } => {
                    (class.clone().unwrap_or_else(|| "Nucleus".to_owned()), polygons)
                }
                LabelMark::Background { polygons } => ("background".to_owned(), polygons),
                LabelMark::Complete { polygons } => ("Region*".to_owned(), polygons),
                LabelMark::Ignored { polygons } => ("Ignore*".to_owned(), polygons),
            };
            outlines.objects.push(Outline {
                id: None,
                class: Some(class),
                name: None,
                colour: None,
                status: None,
                kind: OutlineKind::Annotation,
                polygons: polygons.clone(),
            });
        }
        let mut bytes = Vec::new();
        write_regions(&outlines, mpp_um, &mut bytes)?;
        Ok(bytes)
    }

    /// Refuses what no image can hold.
    fn check(&self) -> Result<()> {
        if self.marks.len() > MAX_MARKS {
            return Err(Error::limit(format!(
                "There are {} marks; at most {MAX_MARKS} are learned from at once",
                self.marks.len()
            )));
        }
        Ok(())
    }

    /// Types of nuclei that the marks name, sorted.
    #[must_use]
    pub fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = Vec::new();
        for mark in &self.marks {
            let class = match mark {
                LabelMark::Nucleus { class: Some(class), .. } => class,
                LabelMark::Stroke { class, .. }
                    if !is_untyped(class) && !is_background(class) && !is_border(class) =>
                {
                    class
                }
                _ => continue,
            };
            if !types.iter().any(|known| same_class(known, class)) {
                types.push(class.clone());
            }
        }
        types.sort();
        types
    }

    /// Leaves out the marks that lie outside a grid; gives their number. A pixel of the finest
    /// level is `mpp_um` micrometres wide.
    pub fn keep_inside(&mut self, grid: &PixelGrid, mpp_um: f64) -> usize {
        let all = self.marks.len();
        self.marks.retain(|mark| mark.may_meet(grid, mpp_um));
        all - self.marks.len()
    }

    /// The same marks without types of nuclei.
    #[must_use]
    pub fn without_types(mut self) -> Self {
        for mark in &mut self.marks {
            match mark {
                LabelMark::Nucleus { class, .. } => *class = None,
                LabelMark::Stroke { class, .. } if !is_background(class) && !is_border(class) => {
                    "nucleus".clone_into(class);
                }
                _ => {}
            }
        }
        self
    }

    /// Draws the marks on a grid of cells that lies anywhere in the image. The grid's step is the
    /// size of the network's pixels in those of the image.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a mark of a class that the network does not tell apart;
    /// [`Error::Limit`] for marks that are too large together.
    pub fn draw(&self, grid: &PixelGrid, scale: &LabelScale<'_>) -> Result<SparseTargets> {
        // Of a slide a grid covers little.
        let near: Vec<&LabelMark> =
            self.marks.iter().filter(|mark| mark.may_meet(grid, scale.mpp_um)).collect();
        let mut drawing = TargetDrawing::new(grid, scale);
        for mark in &near {
            if let LabelMark::Complete { polygons } = *mark {
                drawing.fill(polygons, 0)?;
            }
        }
        for mark in &near {
            if let LabelMark::Ignored { polygons } = *mark {
                drawing.fill(polygons, UNKNOWN)?;
            }
        }
        for mark in &near {
            if let LabelMark::Background { polygons } = *mark {
                drawing.fill(polygons, 0)?;
            }
        }
        for mark in &near {
            if let LabelMark::Nucleus { class, polygons } = *mark {
                drawing.add_nucleus(class.as_deref(), polygons)?;
            }
        }
        drawing.draw_nuclei();
        for mark in &near {
            if let LabelMark::Stroke { class, width_um, points } = *mark {
                drawing.draw_stroke(class, *width_um, points)?;
            }
        }
        Ok(drawing.finish())
    }
}

fn stroke(class: Option<String>, width_um: Option<f64>, points: Vec<Point>) -> Result<LabelMark> {
    let Some(class) = class.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
    else {
        let at = points.first().map_or(String::new(), |p| format!(" at {:.0}, {:.0}", p.x, p.y));
        return Err(Error::invalid(format!(
            "The line{at} has no class; give each stroke one, such as Nucleus or background"
        )));
    };
    if class.ends_with('*') {
        return Err(Error::invalid(format!(
            "A line has the class '{class}'; classes that end in * are for areas"
        )));
    }
    let width_um = width_um.unwrap_or(DEFAULT_STROKE_UM);
    if !(width_um > 0.0 && width_um <= MAX_STROKE_UM) {
        return Err(Error::invalid(format!(
            "A stroke of '{class}' is {width_um} µm wide; its width (width_um) must be a number up \
             to {MAX_STROKE_UM}"
        )));
    }
    let class = if is_background(&class) { "background".to_owned() } else { class };
    Ok(LabelMark::Stroke { class, width_um, points })
}

/// Marks on their way to pixels.
struct TargetDrawing<'a> {
    grid: &'a PixelGrid,
    scale: &'a LabelScale<'a>,
    classes: ClassMap,
    /// Whose part a pixel is: 0 nobody's, else the key of a part, which is numbered at the end.
    keys: Plane<u64>,
    nuclei: LabelMap,
    /// Class of each nucleus.
    nucleus_classes: Vec<u8>,
    /// Number of marks drawn.
    marks: u64,
    /// Pixels that may still be looked at.
    pixels_left: f64,
}

impl<'a> TargetDrawing<'a> {
    fn new(grid: &'a PixelGrid, scale: &'a LabelScale<'a>) -> Self {
        let (width, height) = (grid.width, grid.height);
        Self {
            grid,
            scale,
            classes: Plane::filled(width, height, UNKNOWN),
            keys: Plane::filled(width, height, 0),
            nuclei: Plane::filled(width, height, 0),
            nucleus_classes: Vec::new(),
            marks: 0,
            pixels_left: MAX_DRAWN_PX,
        }
    }

    /// Counts the work of a mark whose corners and rows are known.
    fn spend(&mut self, pixels: f64) -> Result<()> {
        self.pixels_left -= pixels;
        if self.pixels_left < 0.0 {
            return Err(Error::limit("The marks together are too large to be drawn"));
        }
        Ok(())
    }

    fn spend_on(&mut self, polygons: &[Polygon]) -> Result<()> {
        let mut work = 0.0;
        for ring in polygons.iter().flatten() {
            for (i, a) in ring.iter().enumerate() {
                let b = ring[(i + 1) % ring.len()];
                let rows = (a.y - b.y).abs() / self.grid.step;
                work += 1.0 + rows.min(self.grid.height as f64);
            }
        }
        self.spend(work)
    }

    fn fill(&mut self, polygons: &[Polygon], class: u8) -> Result<()> {
        self.spend_on(polygons)?;
        self.marks += 1;
        let mark = self.marks;
        let grid = *self.grid;
        for polygon in polygons {
            grid.fill(polygon, |row, first, end| {
                self.classes.row_mut(row)[first..end].fill(class);
                for column in first..end {
                    let key = if class == UNKNOWN { 0 } else { part_key(mark, row, column) };
                    self.keys.set(row, column, key);
                }
            });
        }
        Ok(())
    }

    fn add_nucleus(&mut self, class: Option<&str>, polygons: &[Polygon]) -> Result<()> {
        self.spend_on(polygons)?;
        self.nucleus_classes.push(self.nucleus_class(class)?);
        let number = self.nucleus_classes.len() as u32;
        let grid = *self.grid;
        for polygon in polygons {
            grid.fill(polygon, |row, first, end| {
                self.nuclei.row_mut(row)[first..end].fill(number);
            });
        }
        Ok(())
    }

    fn draw_nuclei(&mut self) {
        let first_mark = self.marks;
        for row in 0..self.nuclei.height() {
            for column in 0..self.nuclei.width() {
                let number = self.nuclei.get(row, column);
                if number > 0 {
                    let class = self.nucleus_classes[number as usize - 1];
                    self.classes.set(row, column, class);
                    self.keys.set(row, column, part_key(first_mark + u64::from(number), 0, 0));
                }
            }
        }
        self.marks += self.nucleus_classes.len() as u64;
        if let Some(border) = class_with_role(self.scale.classes, ClassRole::Border) {
            let border_px = self.scale.border_um / (self.scale.mpp_um * self.grid.step);
            mark_borders(&self.nuclei, border, border_px, &mut self.classes);
        }
    }

    fn draw_stroke(&mut self, class: &str, width_um: f64, points: &[Point]) -> Result<()> {
        let class = self.stroke_class(class)?;
        self.marks += 1;
        let mark = self.marks;
        let points = self.grid.place(points);
        // A stroke thinner than a pixel still marks the pixels it runs through.
        let radius = (width_um / (self.scale.mpp_um * self.grid.step) / 2.0).max(0.5);
        let first = points.first().copied();
        // A single point is a dot.
        let starts = first.iter().chain(&points);
        for (&a, &b) in starts.zip(&points) {
            self.draw_segment(a, b, radius, class, mark)?;
        }
        Ok(())
    }

    /// Marks the pixels whose centres lie at most `radius` pixels from a line.
    fn draw_segment(
        &mut self,
        a: Point,
        b: Point,
        radius: f64,
        class: u8,
        mark: u64,
    ) -> Result<()> {
        let range = |low: f64, high: f64, side: usize| {
            let first = (low - radius - 0.5).ceil().clamp(0.0, side as f64) as usize;
            let end = (high + radius + 0.5).floor().clamp(0.0, side as f64) as usize;
            first..end.max(first)
        };
        let rows = range(a.y.min(b.y), a.y.max(b.y), self.classes.height());
        self.spend(rows.len() as f64)?;
        // A line along a row is looked at as a whole.
        let is_flat = (b.y - a.y).abs() < 1e-9;
        let slope = if is_flat { 0.0 } else { (b.x - a.x) / (b.y - a.y) };
        for row in rows {
            let y = row as f64 + 0.5;
            // x of the part of the line that is near enough to this row.
            let x_at = |y: f64| a.x + (y.clamp(a.y.min(b.y), a.y.max(b.y)) - a.y) * slope;
            let mut ends = [x_at(y - radius), x_at(y + radius)];
            if is_flat {
                ends = [a.x, b.x];
            }
            let columns = range(ends[0].min(ends[1]), ends[0].max(ends[1]), self.classes.width());
            self.spend(columns.len() as f64)?;
            for column in columns {
                let centre = Point { x: column as f64 + 0.5, y };
                if distance_to_segment(centre, a, b) <= radius {
                    self.classes.set(row, column, class);
                    self.keys.set(row, column, part_key(mark, row, column));
                }
            }
        }
        Ok(())
    }

    /// The class of a nucleus of a type.
    fn nucleus_class(&self, name: Option<&str>) -> Result<u8> {
        let classes = self.scale.classes;
        let nuclei: Vec<&PixelClass> =
            classes.iter().filter(|class| class.role == ClassRole::Nucleus).collect();
        if let [only] = nuclei[..]
            && (name.is_none() || is_untyped(&only.name))
        {
            return Ok(class_with_role(classes, ClassRole::Nucleus).unwrap_or(0));
        }
        let wanted = name.unwrap_or("nucleus");
        let place = classes
            .iter()
            .position(|class| same_class(&class.name, wanted) && class.role == ClassRole::Nucleus);
        place.map(|index| index as u8).ok_or_else(|| unknown_class(name, &nuclei))
    }

    fn stroke_class(&self, name: &str) -> Result<u8> {
        if is_background(name) {
            return Ok(0);
        }
        let classes = self.scale.classes;
        if let Some(index) = classes.iter().position(|class| same_class(&class.name, name)) {
            return Ok(index as u8);
        }
        self.nucleus_class(Some(name).filter(|name| !is_untyped(name)))
    }

    fn finish(self) -> SparseTargets {
        let mut numbers = BTreeMap::new();
        for &key in self.keys.data() {
            if key > 0 {
                let next = numbers.len() as u32 + 1;
                numbers.entry(key).or_insert(next);
            }
        }
        let mut known = (0, 0);
        let parts = self.keys.map(|key| {
            if key != known.0 {
                known = (key, numbers.get(&key).copied().unwrap_or(0));
            }
            known.1
        });
        let count = numbers.len() as u32;
        SparseTargets { classes: self.classes, parts, count, nuclei: self.nuclei }
    }
}

/// A number for the part of a mark at a pixel; marks count from 1.
fn part_key(mark: u64, row: usize, column: usize) -> u64 {
    const BITS: u32 = 20;
    let cell = |pixel: usize| (pixel / PART_PX) as u64 & ((1 << BITS) - 1);
    (mark << (2 * BITS)) | (cell(row) << BITS) | cell(column)
}

fn unknown_class(name: Option<&str>, nuclei: &[&PixelClass]) -> Error {
    let names: Vec<&str> = nuclei.iter().map(|class| class.name.as_str()).collect();
    let has = match name {
        Some(name) => format!("A mark is of the class '{name}'"),
        None => "A mark is of no type of nuclei".to_owned(),
    };
    Error::mismatch(format!("{has}; the model tells apart: {}", listed(&names, MAX_NAMED)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn feature(geometry: &str, properties: &str) -> String {
        format!(r#"{{"type":"Feature","properties":{properties},"geometry":{geometry}}}"#)
    }

    fn square(left: u32, top: u32, side: u32) -> String {
        let (right, bottom) = (left + side, top + side);
        format!(
            r#"{{"type":"Polygon","coordinates":
            [[[{left},{top}],[{right},{top}],[{right},{bottom}],[{left},{bottom}],[{left},{top}]]]}}"#
        )
    }

    fn class(name: &str) -> String {
        format!(r#"{{"objectType":"annotation","classification":{{"name":"{name}"}}}}"#)
    }

    fn line(points: &str) -> String {
        format!(r#"{{"type":"LineString","coordinates":{points}}}"#)
    }

    fn read(features: &[String]) -> Result<(SparseLabels, Warnings)> {
        SparseLabels::read(format!("[{}]", features.join(",")).as_bytes())
    }

    fn grid(width: usize, height: usize) -> PixelGrid {
        PixelGrid { left: 0.0, top: 0.0, step: 1.0, width, height }
    }

    /// At 1 µm a pixel.
    fn draw(labels: &SparseLabels, classes: &[PixelClass], grid: &PixelGrid) -> SparseTargets {
        let scale = LabelScale { classes, mpp_um: 1.0, border_um: 1.0 };
        labels.draw(grid, &scale).expect("targets")
    }

    #[test]
    fn every_form_of_qupaths_file_is_the_mark_it_stands_for() {
        let found = |status: &str, left: u32| {
            let properties = format!(
                r#"{{"objectType":"detection","classification":{{"name":"Nucleus"}},
                "metadata":{{"status":"{status}"}}}}"#
            );
            feature(&square(left, 200, 8), &properties)
        };
        let (labels, notes) = read(&[
            feature(&square(0, 0, 8), &class("Nucleus")),
            feature(&square(20, 0, 8), &class("Tumor")),
            feature(&square(40, 0, 8), &class("Other")),
            feature(&square(60, 0, 8), &class("background")),
            feature(&square(0, 100, 90), &class("Region*")),
            feature(&square(80, 0, 8), &class("Ignore*")),
            feature(&line("[[1,90],[5,90]]"), &class("Tumor")),
            feature(
                &line("[[1,95],[5,95]]"),
                r#"{"classification":{"name":"Background"},"metadata":{"width_um":"3.5"}}"#,
            ),
            found("model", 0),
            found("added", 20),
            found("accepted", 40),
            found("rejected", 60),
            feature(
                &square(10, 110, 8),
                r#"{"objectType":"detection","metadata":{"status":"model"}}"#,
            ),
        ])
        .expect("labels");
        let mut counts = [0; 5];
        for mark in &labels.marks {
            counts[match mark {
                LabelMark::Stroke { .. } => 0,
                LabelMark::Nucleus { .. } => 1,
                LabelMark::Background { .. } => 2,
                LabelMark::Complete { .. } => 3,
                LabelMark::Ignored { .. } => 4,
            }] += 1;
        }
        assert_eq!(counts, [2, 5, 3, 1, 1]);
        assert_eq!(labels.types(), ["Tumor"]);
        assert!(notes.notes.iter().any(|note| note.contains("by nobody accepted")), "{notes:?}");
        let widths: Vec<f64> = labels
            .marks
            .iter()
            .filter_map(|mark| match mark {
                LabelMark::Stroke { width_um, .. } => Some(*width_um),
                _ => None,
            })
            .collect();
        assert_eq!(widths, [DEFAULT_STROKE_UM, 3.5]);

        let bytes = labels.to_geojson(Some(0.25)).expect("GeoJSON");
        let (again, _) = SparseLabels::read(&bytes).expect("labels");
        assert_eq!(again.marks.len(), labels.marks.len());
        for mark in &labels.marks {
            assert!(again.marks.contains(mark), "{mark:?}");
        }
        assert!(labels.without_types().types().is_empty());
    }

    #[test]
    fn what_nobody_marked_is_unknown_and_the_more_certain_mark_counts() {
        let (labels, _) = read(&[
            feature(&square(0, 0, 20), &class("Region*")),
            feature(&square(2, 2, 6), &class("Nucleus")),
            feature(&square(4, 0, 12), &class("Ignore*")),
            feature(&square(10, 10, 4), &class("background")),
            feature(&line("[[12,12],[12,12]]"), &class("Nucleus")),
        ])
        .expect("labels");
        let classes = PixelClass::background_and_nucleus();
        let targets = draw(&labels, &classes, &grid(24, 20));
        let at = |column: usize, row: usize| targets.classes.get(row, column);
        assert_eq!(at(1, 1), 0, "in the frame");
        assert_eq!(at(22, 1), UNKNOWN, "outside");
        assert_eq!(at(9, 9), UNKNOWN, "ignored");
        assert_eq!(at(5, 5), 1, "a nucleus counts before what is ignored");
        assert_eq!(at(10, 10), 0, "background counts before what is ignored");
        assert_eq!(at(12, 12), 1, "a stroke counts before background");
        for (part, class) in targets.parts.data().iter().zip(targets.classes.data()) {
            assert_eq!(*part > 0, *class != UNKNOWN);
        }
        let parts: BTreeSet<u32> = targets.parts.data().iter().copied().collect();
        assert_eq!(parts.len(), targets.count as usize + 1);
        assert_eq!(targets.count, 4, "frame, nucleus, background, stroke");

        // The same marks in a window of the image with pixels twice as large.
        let window = PixelGrid { left: 4.0, top: 2.0, step: 2.0, width: 8, height: 8 };
        let small = draw(&labels, &classes, &window);
        for row in 0..8 {
            for column in 0..8 {
                let [x, y] = [4 + 2 * column, 2 + 2 * row];
                let around = [[x, y], [x + 1, y], [x, y + 1], [x + 1, y + 1]];
                let found = small.classes.get(row, column);
                assert!(around.iter().any(|[x, y]| at(*x, *y) == found), "{row} {column}");
            }
        }
    }

    #[test]
    fn strokes_cover_what_is_near_to_their_line() {
        let points = [(3.2, 4.1), (17.9, 6.0), (9.5, 18.3)].map(|(x, y)| Point { x, y });
        for width_um in [0.4, 2.0, 5.3] {
            let class = "nucleus".to_owned();
            let mark = LabelMark::Stroke { class, width_um, points: points.to_vec() };
            let labels = SparseLabels { marks: vec![mark] };
            let targets = draw(&labels, &PixelClass::background_and_nucleus(), &grid(24, 24));
            for row in 0..24 {
                for column in 0..24 {
                    let centre = Point { x: column as f64 + 0.5, y: row as f64 + 0.5 };
                    // Many points of the line, by the definition of a distance.
                    let mut nearest = f64::MAX;
                    for ends in points.windows(2) {
                        for step in 0..=2000 {
                            let t = f64::from(step) / 2000.0;
                            let x = ends[0].x + (ends[1].x - ends[0].x) * t;
                            let y = ends[0].y + (ends[1].y - ends[0].y) * t;
                            nearest = nearest.min((x - centre.x).hypot(y - centre.y));
                        }
                    }
                    let radius = (width_um / 2.0f64).max(0.5);
                    if (nearest - radius).abs() > 0.01 {
                        let is_marked = targets.classes.get(row, column) == 1;
                        assert_eq!(is_marked, nearest < radius, "{width_um} {row} {column}");
                    }
                }
            }
        }
    }

    #[test]
    fn borders_lie_inside_outlines_and_types_have_their_class() {
        let (labels, _) = read(&[
            feature(&square(0, 0, 8), &class("Nucleus")),
            feature(&square(8, 0, 8), &class("Tumor")),
        ])
        .expect("labels");
        let types = ["nucleus".to_owned(), "Tumor".to_owned()];
        let typed = PixelClass::of_nuclei(&types, true);
        let targets = draw(&labels, &typed, &grid(20, 8));
        let row: Vec<u8> = targets.classes.row(4).to_vec();
        let expected = [&[1, 1, 1, 1, 1, 1, 1, 3, 3][..], &[2; 6], &[3], &[UNKNOWN; 4]].concat();
        assert_eq!(row, expected);
        // A model of one type takes both.
        let targets = draw(&labels, &PixelClass::background_and_nucleus(), &grid(20, 8));
        assert_eq!(targets.classes.row(0)[..16], [1; 16]);
        let others = ["round".to_owned(), "long".to_owned()];
        let others = PixelClass::of_nuclei(&others, false);
        let scale = LabelScale { classes: &others, mpp_um: 1.0, border_um: 1.0 };
        let message = labels.draw(&grid(20, 8), &scale).expect_err("unknown").to_string();
        assert!(message.contains("round, long"), "{message}");
    }

    #[test]
    fn strokes_without_class_and_absurd_ones_are_refused() {
        for (features, word) in [
            (feature(&line("[[1,2],[3,4]]"), "{}"), "no class"),
            (
                feature(
                    &line("[[1,2],[3,4]]"),
                    r#"{"classification":"Nucleus","width_um":100000}"#,
                ),
                "µm wide",
            ),
            (feature(&line("[[1],[3,4]]"), &class("Nucleus")), "understood"),
            (feature(&line("[1,2]"), &class("Nucleus")), "no list of places"),
        ] {
            let message = read(&[features]).expect_err(word).to_string();
            assert!(message.contains(word), "{message}");
        }
        // Far away, or as large as nothing: no mark, no panic.
        let far = line("[[1e300,2],[-1e300,4]]");
        let (labels, notes) = read(&[feature(&far, &class("Nucleus"))]).expect("labels");
        assert!(labels.marks.is_empty() && notes.notes.len() == 1);
    }
}
