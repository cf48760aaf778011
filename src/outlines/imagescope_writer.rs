//! Outlines as ImageScope writes them: a layer for each class, a region for each ring, holes marked
//! as negative and right after what they are cut from.
//!
//! Regions of an object with several rings share an attribute `Object`, by which they are joined
//! when they are read again. An id of another program is kept in an attribute `ObjectId`.

use std::collections::HashMap;

use quick_xml::events::{BytesEnd, BytesStart, Event};

use super::imagescope::{ID_ATTRIBUTE, OBJECT_ATTRIBUTE};
use super::read::{Outline, Outlines};
use crate::error::{Error, Result};
use crate::raster::Ring;

/// ImageScope XML of outlines.
///
/// # Errors
/// [`Error::Io`] of the writer; writing to memory does not fail.
pub fn write_imagescope(outlines: &Outlines, mpp_um: Option<f64>) -> Result<Vec<u8>> {
    let mut xml = XmlWriter { inner: quick_xml::Writer::new_with_indent(Vec::new(), b' ', 1) };
    write_annotations(&mut xml, &outlines.objects, mpp_um)
        .map_err(|e| Error::io("The XML cannot be written", e))?;
    Ok(xml.inner.into_inner())
}

fn write_annotations(
    xml: &mut XmlWriter,
    objects: &[Outline],
    mpp_um: Option<f64>,
) -> std::io::Result<()> {
    match mpp_um {
        Some(mpp_um) => {
            xml.start("Annotations", &[("MicronsPerPixel", &mpp_um.to_string())])?;
        }
        None => xml.start("Annotations", &[])?,
    }
    let mut number = 0;
    for (id, layer) in (1..).zip(layers(objects)) {
        let id = id.to_string();
        match layer.class {
            Some(class) => {
                xml.start("Annotation", &[("Id", &id), ("Name", class), ("Type", "4")])?;
            }
            None => xml.start("Annotation", &[("Id", &id), ("Type", "4")])?,
        }
        xml.start("Regions", &[])?;
        for object in layer.objects {
            number += 1;
            write_object(xml, number, object)?;
        }
        xml.end("Regions")?;
        xml.end("Annotation")?;
    }
    xml.end("Annotations")
}

/// The objects of one class.
struct ClassLayer<'a> {
    class: Option<&'a str>,
    objects: Vec<&'a Outline>,
}

/// Objects by class, in the order of the first object of each; without objects an empty layer.
fn layers(objects: &[Outline]) -> Vec<ClassLayer<'_>> {
    let mut layers: Vec<ClassLayer<'_>> = Vec::new();
    let mut layer_of: HashMap<Option<&str>, usize> = HashMap::new();
    for object in objects {
        let class = object.class.as_deref();
        let layer = *layer_of.entry(class).or_insert(layers.len());
        if layer == layers.len() {
            layers.push(ClassLayer { class, objects: Vec::new() });
        }
        layers[layer].objects.push(object);
    }
    if layers.is_empty() {
        layers.push(ClassLayer { class: None, objects: Vec::new() });
    }
    layers
}

fn write_object(xml: &mut XmlWriter, number: usize, object: &Outline) -> std::io::Result<()> {
    let number = number.to_string();
    let has_several_rings = object.polygons.iter().map(Vec::len).sum::<usize>() > 1;
    let mut attributes = Vec::new();
    if has_several_rings {
        attributes.push((OBJECT_ATTRIBUTE, number.as_str()));
    }
    if let Some(id) = object.id.as_deref().filter(|id| *id != number) {
        attributes.push((ID_ATTRIBUTE, id));
    }
    for polygon in &object.polygons {
        for (index, ring) in polygon.iter().enumerate() {
            let negative = if index > 0 { "1" } else { "0" };
            let mut region =
                vec![("Id", number.as_str()), ("Type", "0"), ("NegativeROA", negative)];
            if let Some(name) = &object.name {
                region.push(("Text", name));
            }
            xml.start("Region", &region)?;
            if !attributes.is_empty() {
                xml.start("Attributes", &[])?;
                for (name, value) in &attributes {
                    xml.empty("Attribute", &[("Name", name), ("Value", value)])?;
                }
                xml.end("Attributes")?;
            }
            write_vertices(xml, ring)?;
            xml.end("Region")?;
        }
    }
    Ok(())
}

fn write_vertices(xml: &mut XmlWriter, ring: &Ring) -> std::io::Result<()> {
    xml.start("Vertices", &[])?;
    for vertex in ring {
        let (x, y) = (vertex.x.to_string(), vertex.y.to_string());
        xml.empty("Vertex", &[("X", &x), ("Y", &y), ("Z", "0")])?;
    }
    xml.end("Vertices")
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
