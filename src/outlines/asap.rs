//! ASAP XML (<https://computationalpathologygroup.github.io/ASAP/>), as CAMELYON has it:
//!
//! ```xml
//! <ASAP_Annotations><Annotations>
//!   <Annotation Name="a" Type="Polygon" PartOfGroup="nuclei" Color="#F4FA58">
//!     <Coordinates><Coordinate Order="0" X="10" Y="10"/>…</Coordinates></Annotation>
//! </Annotations><AnnotationGroups>…</AnnotationGroups></ASAP_Annotations>
//! ```

use super::imagescope::rectangle;
use super::negative::{NegativeRegion, cut_negative};
use super::read::{LeftOut, Outline, OutlineKind, Outlines, check_counts};
use super::xml::{Element, ElementReader, NumberReader};
use crate::error::{Result, counted};
use crate::raster::{Point, Ring};

/// CAMELYON16's group of regions that are cut out of those of [`INCLUDED_GROUPS`].
const EXCLUDED_GROUP: &str = "_2";
/// CAMELYON16's groups of tumour.
const INCLUDED_GROUPS: [&str; 2] = ["_0", "_1"];

#[derive(Default)]
struct Annotation {
    name: Option<String>,
    shape: Option<String>,
    group: Option<String>,
    /// With their order.
    vertices: Vec<(f64, Point)>,
}

#[derive(Default)]
pub(super) struct AsapReader {
    annotations: Vec<Annotation>,
    vertices: usize,
    numbers: NumberReader,
}

impl ElementReader for AsapReader {
    fn start(&mut self, name: &str, element: &Element<'_>) -> Result<()> {
        match name {
            "Annotation" => self.annotations.push(Annotation {
                name: element.text("Name")?,
                shape: element.text("Type")?,
                group: element.text("PartOfGroup")?.filter(|group| group != "None"),
                vertices: Vec::new(),
            }),
            "Coordinate" => {
                let order = element.text("Order")?.and_then(|text| text.parse().ok());
                let point = Point {
                    x: self.numbers.coordinate(element, "X")?,
                    y: self.numbers.coordinate(element, "Y")?,
                };
                self.vertices += 1;
                if let Some(annotation) = self.annotations.last_mut() {
                    let order = order.unwrap_or(annotation.vertices.len() as f64);
                    annotation.vertices.push((order, point));
                }
            }
            _ => {}
        }
        check_counts(self.annotations.len(), self.vertices)
    }

    fn end(&mut self, _: &str) {}

    fn finish(self: Box<Self>) -> Result<Outlines> {
        let mut outlines = Outlines::default();
        let mut left_out = LeftOut::default();
        let is_included =
            |a: &Annotation| a.group.as_deref().is_some_and(|g| INCLUDED_GROUPS.contains(&g));
        let excludes = self.annotations.iter().any(is_included);
        let mut splines = 0;
        let mut negative = Vec::new();
        for annotation in self.annotations {
            let shape = annotation.shape.unwrap_or_default();
            let mut vertices = annotation.vertices;
            vertices.sort_by(|a, b| a.0.total_cmp(&b.0));
            let ring: Ring = vertices.into_iter().map(|(_, point)| point).collect();
            let ring = match (shape.to_ascii_lowercase().as_str(), &ring[..]) {
                ("rectangle", &[a, b]) => rectangle(a, b),
                ("dot" | "pointset" | "measurement", _) | (_, [] | [_] | [_, _]) => {
                    left_out.count(if shape.is_empty() {
                        "annotation of few points"
                    } else {
                        &shape
                    });
                    continue;
                }
                ("spline", _) => {
                    splines += 1;
                    ring
                }
                _ => ring,
            };
            if excludes && annotation.group.as_deref() == Some(EXCLUDED_GROUP) {
                negative.push(NegativeRegion { of: None, ring });
                continue;
            }
            outlines.objects.push(Outline {
                class: annotation.group,
                name: annotation.name,
                ..Outline::of_ring(OutlineKind::Annotation, ring)
            });
        }
        left_out.note(&mut outlines.notes, "are no outlines");
        if splines > 0 {
            outlines.notes.note(format!(
                "{}: straight lines between the points are taken",
                counted(splines, "outline is a spline", "outlines are splines")
            ));
        }
        if !negative.is_empty() {
            outlines.notes.note(format!(
                "{} in the group '{EXCLUDED_GROUP}': cut out of the others, as in CAMELYON16",
                counted(negative.len(), "region is", "regions are")
            ));
        }
        cut_negative(&mut outlines.objects, &negative, &mut outlines.notes)?;
        self.numbers.note(&mut outlines);
        Ok(outlines)
    }
}
