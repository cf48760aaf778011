//! Aperio ImageScope XML: outlines of nuclei, and their rasterisation.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::error::{Error, Result, Warnings};
use crate::raster::{LabelMap, Plane, Point, fill_polygon};

/// Most vertices and regions read from a file.
const MAX_VERTICES: usize = 20_000_000;
const MAX_REGIONS: usize = 2_000_000;
/// Vertices further outside the image than this are reported, pixels.
const OUTSIDE_PX: f64 = 1.0;

/// One outlined region, vertices in pixel-corner coordinates as the file gives them.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedRegion {
    pub id: String,
    /// Marks a hole.
    pub negative: bool,
    pub vertices: Vec<Point>,
}

/// Reads every region of every annotation.
///
/// # Errors
/// [`Error::Malformed`] for broken XML or numbers, [`Error::Limit`] for absurd counts.
pub fn parse_imagescope(xml: &[u8]) -> Result<(Vec<AnnotatedRegion>, Option<f64>)> {
    let mut reader = Reader::from_reader(xml);
    let (mut regions, mut mpp, mut vertices) = (Vec::<AnnotatedRegion>::new(), None, 0usize);
    let mut open = false;
    let mut depth = 0usize;
    let mut seen_root = false;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let event = reader.read_event_into(&mut buffer);
        let event = event.map_err(|e| Error::malformed(format!("The XML is broken: {e}")))?;
        match &event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof if depth > 0 => {
                return Err(Error::malformed("The XML ends before its last element is closed"));
            }
            _ => {}
        }
        match event {
            Event::Start(e) | Event::Empty(e) => match e.local_name().as_ref() {
                "Annotations" => {
                    seen_root = true;
                    mpp = attribute(&e, "MicronsPerPixel")?
                        .and_then(|v| v.parse().ok())
                        .filter(|v: &f64| *v > 0.0);
                }
                "Region" => {
                    let negative = attribute(&e, "NegativeROA")?.is_some_and(|v| v == "1");
                    regions.push(AnnotatedRegion {
                        id: attribute(&e, "Id")?.unwrap_or_default(),
                        negative,
                        vertices: vec![],
                    });
                    open = true;
                }
                "Vertex" if open => {
                    vertices += 1;
                    if let Some(region) = regions.last_mut() {
                        region
                            .vertices
                            .push(Point { x: coordinate(&e, "X")?, y: coordinate(&e, "Y")? });
                    }
                }
                _ => {}
            },
            Event::End(e) if e.local_name().as_ref() == "Region" => open = false,
            Event::Eof => break,
            _ => {}
        }
        if vertices > MAX_VERTICES || regions.len() > MAX_REGIONS {
            return Err(Error::limit("The XML outlines more than any image can hold"));
        }
    }
    if !seen_root {
        return Err(Error::malformed("The file is not ImageScope XML: it has no <Annotations>"));
    }
    Ok((regions, mpp))
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>> {
    let broken =
        |e: String| Error::malformed(format!("The XML has a broken attribute {name}: {e}"));
    let found = element.try_get_attribute(name).map_err(|e| broken(e.to_string()))?;
    Ok(found.map(|a| a.value.into_owned()))
}

fn coordinate(element: &BytesStart<'_>, name: &str) -> Result<f64> {
    let text = attribute(element, name)?;
    let text = text.ok_or_else(|| Error::malformed(format!("A vertex has no {name}")))?;
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
/// None in practice; the writer's.
pub fn write_imagescope(regions: &[AnnotatedRegion], mpp_um: Option<f64>) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| Error::io("The XML cannot be written", e);
    let mut writer = quick_xml::Writer::new_with_indent(Vec::new(), b' ', 1);
    let mpp = mpp_um.map(|m| m.to_string());
    let attributes = mpp.iter().map(|m| ("MicronsPerPixel", m.as_str()));
    let root = writer.create_element("Annotations").with_attributes(attributes);
    let written = root.write_inner_content(|w| {
        w.create_element("Annotation")
            .with_attributes([("Id", "1"), ("Type", "4")])
            .write_inner_content(|w| {
                w.create_element("Regions").write_inner_content(|w| {
                    for region in regions {
                        let negative = if region.negative { "1" } else { "0" };
                        let names =
                            [("Id", region.id.as_str()), ("Type", "0"), ("NegativeROA", negative)];
                        w.create_element("Region").with_attributes(names).write_inner_content(
                            |w| {
                                w.create_element("Vertices").write_inner_content(|w| {
                                    for vertex in &region.vertices {
                                        let (x, y) = (vertex.x.to_string(), vertex.y.to_string());
                                        let place =
                                            [("X", x.as_str()), ("Y", y.as_str()), ("Z", "0")];
                                        w.create_element("Vertex")
                                            .with_attributes(place)
                                            .write_empty()?;
                                    }
                                    Ok(())
                                })?;
                                Ok(())
                            },
                        )?;
                    }
                    Ok(())
                })?;
                Ok(())
            })?;
        Ok(())
    });
    written.map_err(failed)?;
    Ok(writer.into_inner())
}

/// Labels 1, 2, … in file order; a pixel belongs to the last region that holds its centre
/// (half-pixel rule), and negative regions cut holes. `shift` is added to every vertex first.
/// Regions that fill nothing are reported and get no number.
pub fn rasterise(
    regions: &[AnnotatedRegion],
    width: usize,
    height: usize,
    shift: f64,
) -> (LabelMap, Warnings) {
    let mut labels = Plane::filled(width, height, 0u32);
    let mut report = Warnings::default();
    let mut next = 0;
    let beyond = |v: f64, side: usize| (-v).max(v - side as f64);
    let outside_px = |r: &AnnotatedRegion| {
        r.vertices.iter().map(|p| beyond(p.x, width).max(beyond(p.y, height))).fold(0.0, f64::max)
    };
    let far: Vec<f64> = regions.iter().map(outside_px).filter(|&px| px > OUTSIDE_PX).collect();
    if !far.is_empty() {
        let most = far.iter().copied().fold(0.0, f64::max);
        report.note(format!(
            "{} regions reach up to {most:.1} px outside the image and are clipped",
            far.len()
        ));
    }
    for region in regions {
        let vertices: Vec<Point> =
            region.vertices.iter().map(|p| Point { x: p.x + shift, y: p.y + shift }).collect();
        let value = if region.negative { 0 } else { next + 1 };
        let mut pixels = 0;
        fill_polygon(&vertices, width, height, |row, from, to| {
            labels.row_mut(row)[from..to].fill(value);
            pixels += to - from;
        });
        if pixels == 0 {
            let count = region.vertices.len();
            report.note(format!(
                "Region {} has {count} vertices and covers no pixel; it is left out",
                region.id
            ));
        } else if !region.negative {
            next += 1;
        }
    }
    (labels, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(regions: &str) -> Vec<u8> {
        format!(
            "<Annotations MicronsPerPixel=\"0.252\"><Annotation><Regions>{regions}</Regions></Annotation></Annotations>"
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
        let (labels, report) = rasterise(&regions, 6, 6, 0.0);
        assert_eq!(labels.data().iter().filter(|&&l| l == 1).count(), 9);
        assert!(report.notes.is_empty());
    }

    #[test]
    fn degenerate_regions_are_reported_and_leave_no_gap_in_the_numbers() {
        let text = region(1, 0, &SQUARE[..2])
            + &region(2, 0, &SQUARE)
            + &region(3, 0, &[(-9., -9.), (2., -9.), (2., 2.)]);
        let (regions, _) = parse_imagescope(&xml(&text)).expect("regions");
        let (labels, report) = rasterise(&regions, 6, 6, 0.0);
        assert_eq!(labels.renumbered().1, labels.data().iter().copied().max().unwrap_or(0));
        assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
    }

    #[test]
    fn a_negative_region_cuts_a_hole() {
        let text = region(1, 0, &SQUARE) + &region(2, 1, &[(2., 2.), (3., 2.), (3., 3.), (2., 3.)]);
        let (regions, _) = parse_imagescope(&xml(&text)).expect("regions");
        assert_eq!(rasterise(&regions, 6, 6, 0.0).0.data().iter().filter(|&&l| l > 0).count(), 8);
    }

    #[test]
    fn broken_files_are_sentences() {
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
}
