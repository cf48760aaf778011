//! XML of outlines, element by element: files have millions of vertices. The root element decides
//! the format.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::asap::AsapReader;
use super::foreign::foreign_xml;
use super::imagescope::ImageScopeReader;
use super::read::Outlines;
use crate::error::{Error, Result, counted};

/// Elements below the root by which foreign XML is recognised.
const MAX_CHILDREN: usize = 20;

/// Takes the elements of a file, one after the other.
pub(super) trait ElementReader {
    /// An element begins.
    fn start(&mut self, name: &str, element: &Element<'_>) -> Result<()>;
    /// An element ends.
    fn end(&mut self, name: &str);
    /// The file ends.
    fn finish(self: Box<Self>) -> Result<Outlines>;
}

/// An element with its attributes.
pub(super) struct Element<'a>(&'a BytesStart<'a>);

impl Element<'_> {
    /// The value of an attribute with its entities resolved.
    pub(super) fn attribute(&self, name: &str) -> Result<Option<String>> {
        let broken = |e: quick_xml::Error| {
            Error::malformed(format!("The XML has a broken attribute {name}")).caused_by(e)
        };
        let attribute = self.0.try_get_attribute(name).map_err(|e| broken(e.into()))?;
        let Some(attribute) = attribute else { return Ok(None) };
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(broken)?;
        Ok(Some(value.into_owned()))
    }

    /// The value of an attribute that is not empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        Ok(self.attribute(name)?.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()))
    }
}

/// Reads numbers, with a comma for the decimal point where a file has it.
#[derive(Default)]
pub(super) struct NumberReader {
    /// How many numbers had a comma.
    pub commas: usize,
}

impl NumberReader {
    /// None for what is no number.
    pub(super) fn number(&mut self, text: &str) -> Option<f64> {
        let text = text.trim();
        let value = match text.parse::<f64>() {
            Ok(value) => value,
            Err(_) if text.matches(',').count() == 1 && !text.contains('.') => {
                let value = text.replace(',', ".").parse().ok()?;
                self.commas += 1;
                value
            }
            Err(_) => return None,
        };
        value.is_finite().then_some(value)
    }

    /// A coordinate of a vertex.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a missing one and for what is no number.
    pub(super) fn coordinate(&mut self, element: &Element<'_>, name: &str) -> Result<f64> {
        let text = element
            .attribute(name)?
            .ok_or_else(|| Error::malformed(format!("A vertex has no {name}")))?;
        self.number(&text)
            .ok_or_else(|| Error::malformed(format!("A vertex has {name}='{text}', not a number")))
    }

    /// Notes commas.
    pub(super) fn note(&self, outlines: &mut Outlines) {
        if self.commas > 0 {
            outlines.notes.note(format!(
                "{} a comma, which is taken for the decimal point",
                counted(self.commas, "coordinate has", "coordinates have")
            ));
        }
    }
}

/// Reads the outlines of an XML text.
///
/// # Errors
/// [`Error::Malformed`] for broken XML or numbers, [`Error::Unsupported`] for XML of another kind,
/// [`Error::Limit`] for absurd counts.
pub(super) fn read_xml(text: &str) -> Result<Outlines> {
    let mut reader = Reader::from_str(text);
    let mut outlines: Option<Box<dyn ElementReader>> = None;
    let mut depth = 0usize;
    loop {
        let event =
            reader.read_event().map_err(|e| Error::malformed("The XML is broken").caused_by(e))?;
        match &event {
            Event::Start(element) | Event::Empty(element) => {
                let name = element.local_name();
                let name: &str = name.as_ref();
                let read = match &mut outlines {
                    Some(read) => read,
                    None => outlines.insert(reader_of_root(text, name)?),
                };
                read.start(name, &Element(element))?;
                if matches!(event, Event::Empty(_)) {
                    read.end(name);
                } else {
                    depth += 1;
                }
            }
            Event::End(element) => {
                depth = depth.saturating_sub(1);
                if let Some(read) = &mut outlines {
                    read.end(element.local_name().as_ref());
                }
            }
            Event::Eof if depth > 0 => {
                return Err(Error::malformed("The XML ends before its last element is closed"));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    outlines.ok_or_else(|| Error::malformed("The XML has no elements"))?.finish()
}

fn reader_of_root(text: &str, root: &str) -> Result<Box<dyn ElementReader>> {
    match root {
        "Annotations" => Ok(Box::new(ImageScopeReader::default())),
        "ASAP_Annotations" => Ok(Box::new(AsapReader::default())),
        _ => Err(foreign_xml(root, &names_below_root(text))),
    }
}

/// Names of the first elements below the root.
fn names_below_root(text: &str) -> Vec<String> {
    let mut reader = Reader::from_str(text);
    let mut names = Vec::new();
    let mut depth = 0usize;
    while names.len() < MAX_CHILDREN {
        match reader.read_event() {
            Ok(Event::Start(element)) => {
                depth += 1;
                if depth == 2 {
                    names.push(element.local_name().as_ref().to_owned());
                }
            }
            Ok(Event::Empty(element)) if depth == 1 => {
                names.push(element.local_name().as_ref().to_owned());
            }
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    names
}
