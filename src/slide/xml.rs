//! XML documents in TIFF tags as trees: they are small, and their readers need all of them.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use crate::error::{Error, Result};

/// Most elements, pieces of text and attributes of a document.
const MAX_ITEMS: usize = 500_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// An element with what it holds. Names are without namespace prefixes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct XmlElement {
    pub name: String,
    attributes: Vec<XmlAttribute>,
    /// Character data of the element itself, without that of its children.
    pub text: String,
    pub children: Vec<XmlElement>,
}

#[derive(Debug, PartialEq)]
struct XmlAttribute {
    name: String,
    value: String,
}

impl XmlElement {
    /// Value of an attribute, by its name without prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.name == name).map(|a| a.value.as_str())
    }

    /// A whole number that an attribute states.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.attribute(name)?.trim().parse().ok()
    }

    /// Children of a name.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a XmlElement> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// First child of a name.
    pub(super) fn child(&self, name: &str) -> Option<&XmlElement> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All elements of a name at any depth, in the order of the document, this one included.
    pub(super) fn descendants<'a>(&'a self, name: &str) -> Vec<&'a XmlElement> {
        let mut found = Vec::new();
        self.collect(name, &mut found);
        found
    }

    fn collect<'a>(&'a self, name: &str, found: &mut Vec<&'a XmlElement>) {
        if self.name == name {
            found.push(self);
        }
        for child in &self.children {
            child.collect(name, found);
        }
    }
}

/// Reads a document. Text in front of the first `<` is ignored.
///
/// # Errors
/// [`Error::Malformed`] for broken XML, [`Error::Limit`] for too many or too deep elements.
pub(super) fn parse_xml(text: &str) -> Result<XmlElement> {
    let start = text.find('<').ok_or_else(|| Error::malformed("There is no XML"))?;
    let mut reader = Reader::from_str(&text[start..]);
    // The elements that are open, outermost first, below one that takes the root.
    let mut open = vec![XmlElement::default()];
    let mut items = 0;
    loop {
        let event =
            reader.read_event().map_err(|e| Error::malformed("The XML is broken").caused_by(e))?;
        match event {
            Event::Start(start) => {
                let element = element(&start)?;
                items += element.attributes.len();
                open.push(element);
            }
            Event::Empty(start) => {
                let element = element(&start)?;
                items += element.attributes.len();
                innermost(&mut open)?.children.push(element);
            }
            Event::End(_) => {
                let element = open.pop().ok_or_else(unbalanced)?;
                innermost(&mut open)?.children.push(element);
            }
            Event::Text(text) => innermost(&mut open)?.text.push_str(&text.xml10_content()),
            Event::CData(text) => innermost(&mut open)?.text.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let character = reference.resolve_char_ref().ok().flatten();
                let text = &mut innermost(&mut open)?.text;
                match (character, quick_xml::escape::resolve_predefined_entity(name)) {
                    (Some(character), _) => text.push(character),
                    (None, Some(replacement)) => text.push_str(replacement),
                    (None, None) => return Err(Error::malformed("The XML has an unknown entity")),
                }
            }
            Event::Eof => break,
            _ => continue,
        }
        items += 1;
        if items > MAX_ITEMS || open.len() > MAX_DEPTH {
            return Err(Error::limit("The XML has too many elements"));
        }
    }
    let mut document = open.pop().filter(|_| open.is_empty()).ok_or_else(unbalanced)?;
    if document.children.is_empty() {
        return Err(Error::malformed("The XML has no element"));
    }
    Ok(document.children.swap_remove(0))
}

fn unbalanced() -> Error {
    Error::malformed("The XML ends before its last element is closed")
}

fn innermost(open: &mut [XmlElement]) -> Result<&mut XmlElement> {
    open.last_mut().ok_or_else(unbalanced)
}

fn element(start: &BytesStart<'_>) -> Result<XmlElement> {
    let broken = || Error::malformed("The XML has a broken attribute");
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| broken().caused_by(e))?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|e| broken().caused_by(e))?;
        attributes.push(XmlAttribute {
            name: attribute.key.local_name().as_ref().to_owned(),
            value: value.into_owned(),
        });
    }
    Ok(XmlElement {
        name: start.local_name().as_ref().to_owned(),
        attributes,
        text: String::new(),
        children: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legal_notation_gives_the_same_tree() {
        for xml in [
            "<?xml version=\"1.0\"?><!-- <a/> --><o:a xmlns:o='u'><o:b\n\tc = '&#181;m'/></o:a>",
            "\u{feff}<a><b c=\"\u{b5}m\"></b></a>",
            "<a><b c=\"&#xB5;m\"/></a>",
        ] {
            let root = parse_xml(xml).expect("legal");
            assert_eq!(root.name, "a", "{xml}");
            assert_eq!(root.child("b").and_then(|b| b.attribute("c")), Some("\u{b5}m"), "{xml}");
        }
        let root = parse_xml("<a>1 &lt; <b/>&#50;<![CDATA[ < 3]]></a>").expect("legal");
        assert_eq!(root.text, "1 < 2 < 3");
    }

    #[test]
    fn too_many_attributes_are_refused() {
        let mut xml = "<a".to_owned();
        for number in 0..=MAX_ITEMS {
            xml += &format!(" n{number}=''");
        }
        xml += "/>";
        assert!(matches!(parse_xml(&xml), Err(Error::Limit(_))));
    }

    #[test]
    fn broken_documents_are_errors() {
        let deep = "<a>".repeat(100);
        for xml in ["", "text", "<a>", "<a></b>", "<a b=c/>", "<a>&x;</a>", &deep, "</a>"] {
            assert!(parse_xml(xml).is_err(), "{xml}");
        }
    }
}
