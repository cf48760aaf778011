//! Aperio ImageScope XML, and HALO annotations, which differ in a few names:
//!
//! ```xml
//! <Annotations MicronsPerPixel="0.252"><Annotation Name="nuclei"><Regions>
//!   <Region Id="1" Type="0" NegativeROA="0">
//!     <Vertices><Vertex X="12.5" Y="3.0" Z="0"/>…</Vertices></Region>
//!   <Region Type="Polygon" NegativeROA="0">
//!     <Vertices><V X="12.5" Y="3.0"/>…</Vertices></Region>
//! </Regions></Annotation></Annotations>
//! ```

use super::negative::{NegativeRegion, cut_negative};
use super::read::{LeftOut, MAX_NAMED, Outline, OutlineKind, Outlines, check_counts};
use super::xml::{Element, ElementReader, NumberReader};
use crate::error::{Result, listed};
use crate::raster::{Point, Ring};

/// Name of the attribute of a region that states which object it is a part of.
pub(super) const OBJECT_ATTRIBUTE: &str = "Object";
/// Name of the attribute of a region that holds the id of its object in another file.
pub(super) const ID_ATTRIBUTE: &str = "ObjectId";
/// Corners of an ellipse's polygon. Its area is 0.1 % smaller than the ellipse's.
const ELLIPSE_CORNERS: u32 = 72;

/// A region as the file has it.
#[derive(Default)]
struct Region {
    id: Option<String>,
    text: Option<String>,
    shape: Option<String>,
    /// An open line.
    has_endcaps: bool,
    negative: bool,
    /// Which object it is a part of.
    object: Option<String>,
    object_id: Option<String>,
    vertices: Ring,
}

/// A layer of regions.
#[derive(Default)]
struct Layer {
    name: Option<String>,
    regions: Vec<Region>,
}

#[derive(Default)]
pub(super) struct ImageScopeReader {
    mpp_um: Option<f64>,
    layers: Vec<Layer>,
    in_region: bool,
    regions: usize,
    vertices: usize,
    numbers: NumberReader,
}

impl ElementReader for ImageScopeReader {
    fn start(&mut self, name: &str, element: &Element<'_>) -> Result<()> {
        match name {
            "Annotations" => {
                let stated = element.attribute("MicronsPerPixel")?;
                let mpp = stated.and_then(|text| self.numbers.number(&text));
                self.mpp_um = mpp.filter(|mpp| *mpp > 0.0);
                // Only coordinates are counted.
                self.numbers = NumberReader::default();
            }
            "Annotation" => {
                self.layers.push(Layer { name: element.text("Name")?, regions: Vec::new() });
            }
            "Region" => {
                if self.layers.is_empty() {
                    self.layers.push(Layer::default());
                }
                self.regions += 1;
                self.in_region = true;
                let region = Region {
                    id: element.text("Id")?,
                    text: element.text("Text")?,
                    shape: element.text("Type")?,
                    has_endcaps: is_true(element.text("HasEndcaps")?.as_deref()),
                    negative: is_true(element.text("NegativeROA")?.as_deref()),
                    ..Region::default()
                };
                if let Some(layer) = self.layers.last_mut() {
                    layer.regions.push(region);
                }
            }
            "Vertex" | "V" if self.in_region => {
                self.vertices += 1;
                let vertex = Point {
                    x: self.numbers.coordinate(element, "X")?,
                    y: self.numbers.coordinate(element, "Y")?,
                };
                if let Some(region) = self.region() {
                    region.vertices.push(vertex);
                }
            }
            "Attribute" if self.in_region => {
                let value = element.text("Value")?;
                match element.text("Name")?.as_deref() {
                    Some(OBJECT_ATTRIBUTE) => {
                        if let Some(region) = self.region() {
                            region.object = value;
                        }
                    }
                    Some(ID_ATTRIBUTE) => {
                        if let Some(region) = self.region() {
                            region.object_id = value;
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        check_counts(self.regions, self.vertices)
    }

    fn end(&mut self, name: &str) {
        if name == "Region" {
            self.in_region = false;
        }
    }

    fn finish(self: Box<Self>) -> Result<Outlines> {
        let mut outlines = Outlines { mpp_um: self.mpp_um, ..Outlines::default() };
        let mut left_out = LeftOut::default();
        let mut names = Vec::new();
        for layer in self.layers {
            if layer.regions.is_empty() {
                continue;
            }
            names.push(format!(
                "'{}' ({})",
                layer.name.as_deref().unwrap_or_default(),
                layer.regions.len()
            ));
            add_layer(layer, &mut outlines, &mut left_out)?;
        }
        left_out.note(&mut outlines.notes, "are no outlines");
        if names.len() > 1 {
            outlines.notes.note(format!(
                "The regions are in {} layers: {}",
                names.len(),
                listed(&names, MAX_NAMED)
            ));
        }
        self.numbers.note(&mut outlines);
        Ok(outlines)
    }
}

impl ImageScopeReader {
    fn region(&mut self) -> Option<&mut Region> {
        self.layers.last_mut()?.regions.last_mut()
    }
}

fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true"))
}

/// Parts of one object are joined, and negative regions of the layer are cut out.
fn add_layer(layer: Layer, outlines: &mut Outlines, left_out: &mut LeftOut) -> Result<()> {
    let mut objects: Vec<Outline> = Vec::new();
    let mut negative = Vec::new();
    // Objects by the name that their parts have in common.
    let mut parts: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for region in layer.regions {
        let ring = match shape_of(&region) {
            RegionShape::Closed(ring) => ring,
            RegionShape::Other(what) => {
                left_out.count(what);
                continue;
            }
        };
        let object = region.object.as_ref().and_then(|name| parts.get(name).copied());
        if region.negative {
            negative.push(NegativeRegion { of: object, ring });
            continue;
        }
        if let Some(part_of) = object {
            objects[part_of].polygons.push(vec![ring]);
            continue;
        }
        if let Some(name) = region.object {
            parts.insert(name, objects.len());
        }
        objects.push(Outline {
            id: region.object_id.or(region.id),
            class: layer.name.clone(),
            name: region.text,
            ..Outline::of_ring(OutlineKind::Annotation, ring)
        });
    }
    cut_negative(&mut objects, &negative, &mut outlines.notes)?;
    outlines.objects.extend(objects);
    Ok(())
}

enum RegionShape {
    Closed(Ring),
    /// Named for the note.
    Other(&'static str),
}

/// ImageScope: 0 free hand, 1 rectangle, 2 ellipse, 3 arrow, 4 ruler. HALO writes names. Rectangles
/// and ellipses may be given by two opposite corners.
fn shape_of(region: &Region) -> RegionShape {
    let shape = region.shape.as_deref().unwrap_or("0").to_ascii_lowercase();
    let vertices = &region.vertices;
    match (shape.as_str(), &vertices[..]) {
        ("3" | "arrow", _) => RegionShape::Other("arrow"),
        ("4" | "ruler" | "line", _) => RegionShape::Other("ruler"),
        ("pin" | "flag" | "point" | "text" | "comment", _) => RegionShape::Other("pin"),
        ("2" | "ellipse" | "circle", &[a, b]) => RegionShape::Closed(ellipse(a, b)),
        ("1" | "rectangle", &[a, b]) => RegionShape::Closed(rectangle(a, b)),
        ("5" | "counter", _) if vertices.len() < 3 => RegionShape::Other("pin or counter"),
        _ if region.has_endcaps => RegionShape::Other("open line"),
        (_, []) => RegionShape::Other("region without vertices"),
        (_, [_]) => RegionShape::Other("region of 1 vertex"),
        (_, [_, _]) => RegionShape::Other("region of 2 vertices"),
        _ => RegionShape::Closed(vertices.clone()),
    }
}

/// The rectangle between two opposite corners.
pub(super) fn rectangle(a: Point, b: Point) -> Ring {
    vec![a, Point { x: b.x, y: a.y }, b, Point { x: a.x, y: b.y }]
}

/// The ellipse inside the rectangle between two opposite corners.
pub(super) fn ellipse(a: Point, b: Point) -> Ring {
    let centre = Point { x: f64::midpoint(a.x, b.x), y: f64::midpoint(a.y, b.y) };
    let [half_width, half_height] = [(b.x - a.x).abs() / 2.0, (b.y - a.y).abs() / 2.0];
    let mut ring = Vec::with_capacity(ELLIPSE_CORNERS as usize);
    for corner in 0..ELLIPSE_CORNERS {
        let angle = f64::from(corner) / f64::from(ELLIPSE_CORNERS) * std::f64::consts::TAU;
        ring.push(Point {
            x: centre.x + half_width * angle.cos(),
            y: centre.y + half_height * angle.sin(),
        });
    }
    ring
}
