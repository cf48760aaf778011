//! Aperio ImageScope XML: outlines of nuclei, and their rasterisation.
//!
//! ```xml
//! <Annotations MicronsPerPixel="0.252"><Annotation><Regions>
//!   <Region Id="1" NegativeROA="0"><Vertices><Vertex X="12.5" Y="3.0" Z="0"/>…</Vertices></Region>
//! </Regions></Annotation></Annotations>
//! ```

use quick_xml::Reader;
use quick_xml::events::{BytesEnd, BytesStart, Event};

use crate::error::{Error, Result, Warnings};
use crate::raster::{LabelMap, Plane, Point, fill_polygon};

/// Most vertices read from a file.
const MAX_VERTICES: usize = 20_000_000;
/// Most regions read from a file.
const MAX_REGIONS: usize = 2_000_000;
/// Vertices further outside the image than this are reported, pixels.
const OUTSIDE_PX: f64 = 1.0;

/// One outlined region.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedRegion {
    /// As in the file.
    pub id: String,
    /// Whether the region is a hole.
    pub negative: bool,
    /// In pixel-corner coordinates, as the file states them.
    pub vertices: Vec<Point>,
}

/// Reads the regions of all annotations, and the pixel size in micrometres if the file states one.
///
/// # Errors
/// [`Error::Malformed`] for broken XML or numbers, [`Error::Limit`] for absurd counts.
pub fn parse_imagescope(xml: &[u8]) -> Result<(Vec<AnnotatedRegion>, Option<f64>)> {
    let mut reader = Reader::from_reader(xml);
    let mut regions: Vec<AnnotatedRegion> = Vec::new();
    let mut mpp_um = None;
    let mut vertex_count = 0usize;
    // Elements that are open, whether the root was read, and whether a region is open.
    let mut depth = 0usize;
    let mut has_root = false;
    let mut in_region = false;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let event = reader
            .read_event_into(&mut buffer)
            .map_err(|e| Error::malformed("The XML is broken").caused_by(e))?;
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof if depth > 0 => {
                return Err(Error::malformed("The XML ends before its last element is closed"));
            }
            _ => {}
        }
        match event {
            Event::Start(element) | Event::Empty(element) => match element.local_name().as_ref() {
                "Annotations" => {
                    has_root = true;
                    let stated = attribute(&element, "MicronsPerPixel")?;
                    mpp_um = stated.and_then(|v| v.parse().ok()).filter(|v: &f64| *v > 0.0);
                }
                "Region" => {
                    regions.push(AnnotatedRegion {
                        negative: attribute(&element, "NegativeROA")?.is_some_and(|v| v == "1"),
                        id: attribute(&element, "Id")?.unwrap_or_default(),
                        vertices: Vec::new(),
                    });
                    in_region = true;
                }
                "Vertex" if in_region => {
                    vertex_count += 1;
                    let vertex =
                        Point { x: coordinate(&element, "X")?, y: coordinate(&element, "Y")? };
                    if let Some(region) = regions.last_mut() {
                        region.vertices.push(vertex);
                    }
                }
                _ => {}
            },
            Event::End(element) if element.local_name().as_ref() == "Region" => in_region = false,
            Event::Eof => break,
            _ => {}
        }
        if vertex_count > MAX_VERTICES || regions.len() > MAX_REGIONS {
            return Err(Error::limit("The XML outlines more than any image can hold"));
        }
    }
    if !has_root {
        return Err(Error::malformed("The file is not ImageScope XML: it has no <Annotations>"));
    }
    Ok((regions, mpp_um))
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>> {
    let attribute = element.try_get_attribute(name).map_err(|e| {
        Error::malformed(format!("The XML has a broken attribute {name}")).caused_by(e)
    })?;
    Ok(attribute.map(|a| a.value.into_owned()))
}

fn coordinate(element: &BytesStart<'_>, name: &str) -> Result<f64> {
    let text = attribute(element, name)?
        .ok_or_else(|| Error::malformed(format!("A vertex has no {name}")))?;
    let value: f64 = text
        .parse()
        .map_err(|_| Error::malformed(format!("A vertex has {name}='{text}', not a number")))?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Error::malformed(format!("A vertex has {name}='{text}'")))
    }
}

/// Regions as ImageScope writes them: one annotation, vertices in order, holes marked as negative.
///
/// # Errors
/// [`Error::Io`] of the writer; writing to memory does not fail.
pub fn write_imagescope(regions: &[AnnotatedRegion], mpp_um: Option<f64>) -> Result<Vec<u8>> {
    let mut xml = XmlWriter { inner: quick_xml::Writer::new_with_indent(Vec::new(), b' ', 1) };
    write_annotations(&mut xml, regions, mpp_um)
        .map_err(|e| Error::io("The XML cannot be written", e))?;
    Ok(xml.inner.into_inner())
}

fn write_annotations(
    xml: &mut XmlWriter,
    regions: &[AnnotatedRegion],
    mpp_um: Option<f64>,
) -> std::io::Result<()> {
    match mpp_um {
        Some(mpp_um) => {
            xml.start("Annotations", &[("MicronsPerPixel", &mpp_um.to_string())])?;
        }
        None => xml.start("Annotations", &[])?,
    }
    xml.start("Annotation", &[("Id", "1"), ("Type", "4")])?;
    xml.start("Regions", &[])?;
    for region in regions {
        let negative = if region.negative { "1" } else { "0" };
        xml.start("Region", &[("Id", &region.id), ("Type", "0"), ("NegativeROA", negative)])?;
        xml.start("Vertices", &[])?;
        for vertex in &region.vertices {
            let (x, y) = (vertex.x.to_string(), vertex.y.to_string());
            xml.empty("Vertex", &[("X", &x), ("Y", &y), ("Z", "0")])?;
        }
        xml.end("Vertices")?;
        xml.end("Region")?;
    }
    xml.end("Regions")?;
    xml.end("Annotation")?;
    xml.end("Annotations")
}

/// Writes indented elements.
struct XmlWriter {
    inner: quick_xml::Writer<Vec<u8>>,
}

impl XmlWriter {
    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) -> std::io::Result<()> {
        let element = BytesStart::new(name).with_attributes(attributes.iter().copied());
        self.inner.write_event(Event::Start(element))
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) -> std::io::Result<()> {
        let element = BytesStart::new(name).with_attributes(attributes.iter().copied());
        self.inner.write_event(Event::Empty(element))
    }

    fn end(&mut self, name: &str) -> std::io::Result<()> {
        self.inner.write_event(Event::End(BytesEnd::new(name)))
    }
}

/// Label map of regions, numbered 1, 2, … in file order. A pixel belongs to the last region that
/// contains its centre, and negative regions cut holes. `shift` is added to both coordinates of
/// every vertex. Regions that cover no pixel get no number and a warning.
pub fn rasterise(
    regions: &[AnnotatedRegion],
    width: usize,
    height: usize,
    shift: f64,
) -> (LabelMap, Warnings) {
    let mut warnings = Warnings::default();
    let mut outside_count = 0;
    let mut max_outside_px = 0.0f64;
    for region in regions {
        let outside_px = outside_distance(region, width, height);
        if outside_px > OUTSIDE_PX {
            outside_count += 1;
            max_outside_px = max_outside_px.max(outside_px);
        }
    }
    if outside_count > 0 {
        warnings.note(format!(
            "{outside_count} regions reach up to {max_outside_px:.1} px outside the image and are \
             clipped"
        ));
    }
    let mut labels = Plane::filled(width, height, 0u32);
    let mut count = 0;
    for region in regions {
        let shifted = |p: &Point| Point { x: p.x + shift, y: p.y + shift };
        let vertices: Vec<Point> = region.vertices.iter().map(shifted).collect();
        let label = if region.negative { 0 } else { count + 1 };
        let mut pixels = 0;
        fill_polygon(&vertices, width, height, |row, first, end| {
            labels.row_mut(row)[first..end].fill(label);
            pixels += end - first;
        });
        if pixels == 0 {
            warnings.note(format!(
                "Region {} has {} vertices and covers no pixel; it is left out",
                region.id,
                region.vertices.len()
            ));
        } else if !region.negative {
            count += 1;
        }
    }
    (labels, warnings)
}

/// Largest distance of a vertex beyond the image along one axis, pixels; 0 inside.
fn outside_distance(region: &AnnotatedRegion, width: usize, height: usize) -> f64 {
    let mut largest = 0.0f64;
    for vertex in &region.vertices {
        largest = largest.max(-vertex.x).max(vertex.x - width as f64);
        largest = largest.max(-vertex.y).max(vertex.y - height as f64);
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(regions: &str) -> Vec<u8> {
        format!(
            "<Annotations \
             MicronsPerPixel=\"0.252\"><Annotation><Regions>{regions}</Regions></Annotation></Annotations>"
        )
        .into_bytes()
    }

    fn region(id: u32, negative: u8, points: &[(f64, f64)]) -> String {
        let v: String =
            points.iter().map(|(x, y)| format!("<Vertex X=\"{x}\" Y=\"{y}\" Z=\"0\"/>")).collect();
        format!("<Region Id=\"{id}\" NegativeROA=\"{negative}\"><Vertices>{v}</Vertices></Region>")
    }

    const SQUARE: [(f64, f64); 4] = [(1., 1.), (4., 1.), (4., 4.), (1., 4.)];

    #[test]
    fn regions_and_pixel_size_are_read_and_drawn() {
        let (regions, mpp) = parse_imagescope(&xml(&region(1, 0, &SQUARE))).expect("regions");
        assert_eq!((regions.len(), mpp), (1, Some(0.252)));
        let (labels, warnings) = rasterise(&regions, 6, 6, 0.0);
        assert_eq!(labels.data().iter().filter(|&&l| l == 1).count(), 9);
        assert!(warnings.notes.is_empty());
    }

    #[test]
    fn degenerate_regions_are_warnings_and_leave_no_gap_in_the_numbers() {
        let text = region(1, 0, &SQUARE[..2])
            + &region(2, 0, &SQUARE)
            + &region(3, 0, &[(-9., -9.), (2., -9.), (2., 2.)]);
        let (regions, _) = parse_imagescope(&xml(&text)).expect("regions");
        let (labels, warnings) = rasterise(&regions, 6, 6, 0.0);
        assert_eq!(labels.renumbered().1, labels.data().iter().copied().max().unwrap_or(0));
        assert_eq!(warnings.notes.len(), 2, "{:?}", warnings.notes);
    }

    #[test]
    fn a_negative_region_cuts_a_hole() {
        let text = region(1, 0, &SQUARE) + &region(2, 1, &[(2., 2.), (3., 2.), (3., 3.), (2., 3.)]);
        let (regions, _) = parse_imagescope(&xml(&text)).expect("regions");
        assert_eq!(rasterise(&regions, 6, 6, 0.0).0.data().iter().filter(|&&l| l > 0).count(), 8);
    }

    #[test]
    fn broken_files_are_errors() {
        let whole = xml(&region(1, 0, &SQUARE));
        let cut = whole.len() - b"</Vertices></Region></Regions></Annotation></Annotations>".len();
        assert!(
            parse_imagescope(&whole[..cut]).expect_err("cut short").to_string().contains("closed")
        );
        for bad in [
            &b"<Annotations><Annotation>"[..0],
            b"<svg/>",
            b"<Annotations><Region",
            &xml("<Region><Vertex X=\"a\" Y=\"1\"/></Region>"),
        ] {
            assert!(parse_imagescope(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn regions_are_written_as_imagescope_does_and_read_back() {
        let square = SQUARE.map(|(x, y)| Point { x, y }).to_vec();
        let regions = [
            AnnotatedRegion { id: "1".into(), negative: false, vertices: square },
            AnnotatedRegion { id: "2 & 3".into(), negative: true, vertices: Vec::new() },
        ];
        let text = write_imagescope(&regions, Some(0.25)).expect("XML");
        let expected = r#"<Annotations MicronsPerPixel="0.25">
 <Annotation Id="1" Type="4">
  <Regions>
   <Region Id="1" Type="0" NegativeROA="0">
    <Vertices>
     <Vertex X="1" Y="1" Z="0"/>
     <Vertex X="4" Y="1" Z="0"/>
     <Vertex X="4" Y="4" Z="0"/>
     <Vertex X="1" Y="4" Z="0"/>
    </Vertices>
   </Region>
   <Region Id="2 &amp; 3" Type="0" NegativeROA="1">
    <Vertices>
    </Vertices>
   </Region>
  </Regions>
 </Annotation>
</Annotations>"#;
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }
}
