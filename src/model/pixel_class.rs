//! The classes of pixels that a network tells apart: background, nuclei of one or several types,
//! and perhaps the border of nuclei, which keeps touching ones apart.

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// Name of the class of pixels outside nuclei, unless a card says otherwise.
const BACKGROUND: &str = "background";
/// Name of the class of nuclei where there is only one.
const NUCLEUS: &str = "nucleus";
/// Name of the class of border pixels.
const BORDER: &str = "border";
/// Longest name, bytes.
const MAX_NAME_BYTES: usize = 64;

/// What a class of pixels is for the objects made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassRole {
    /// Outside nuclei.
    Background,
    /// Inside a nucleus, near its outline. It belongs to the nucleus and starts none.
    Border,
    /// Inside a nucleus; without a border class up to its outline.
    Nucleus,
}

/// A class of pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ClassEntry", into = "ClassEntry")]
pub struct PixelClass {
    /// Its name, at most 64 bytes; for nuclei the `classification` in GeoJSON where there are
    /// several types.
    pub name: String,
    /// What it is.
    pub role: ClassRole,
    /// Its colour in pictures, red, green, blue; none lets the program choose.
    pub color: Option<[u8; 3]>,
}

/// A class as a card writes it: as its name alone where that says everything, as in cards of two
/// classes since the first version.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum ClassEntry {
    Name(String),
    Full {
        name: String,
        role: ClassRole,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        color: Option<[u8; 3]>,
    },
}

impl From<ClassEntry> for PixelClass {
    fn from(entry: ClassEntry) -> Self {
        match entry {
            ClassEntry::Name(name) => Self::named(name),
            ClassEntry::Full { name, role, color } => Self { name, role, color },
        }
    }
}

impl From<PixelClass> for ClassEntry {
    fn from(class: PixelClass) -> Self {
        if class == PixelClass::named(class.name.clone()) {
            return Self::Name(class.name);
        }
        Self::Full { name: class.name, role: class.role, color: class.color }
    }
}

impl PixelClass {
    /// A class that is what its name says: `background`, `border`, or else nuclei.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        let role = match name.as_str() {
            BACKGROUND => ClassRole::Background,
            BORDER => ClassRole::Border,
            _ => ClassRole::Nucleus,
        };
        Self { name, role, color: None }
    }

    /// Background and nucleus.
    #[must_use]
    pub fn background_and_nucleus() -> Vec<Self> {
        [BACKGROUND, NUCLEUS].map(Self::named).to_vec()
    }

    /// Background, the types of nuclei (`nucleus` where none is named), and a border if wanted.
    /// This is the order of a network's outputs.
    #[must_use]
    pub fn of_nuclei(types: &[String], with_border: bool) -> Vec<Self> {
        let mut classes = vec![Self::named(BACKGROUND)];
        for name in types {
            classes.push(Self { name: name.clone(), role: ClassRole::Nucleus, color: None });
        }
        if types.is_empty() {
            classes.push(Self::named(NUCLEUS));
        }
        if with_border {
            classes.push(Self::named(BORDER));
        }
        classes
    }

    /// Names for a network of which nothing else is known: `class 1` and so on beyond two.
    pub(super) fn unnamed(count: usize) -> Vec<Self> {
        if count == 2 {
            return Self::background_and_nucleus();
        }
        let mut classes = Vec::with_capacity(count);
        for index in 0..count {
            classes.push(match index {
                0 => Self::named(BACKGROUND),
                _ => Self::named(format!("class {index}")),
            });
        }
        classes
    }
}

/// Colours of types whose card names none: those of Okabe and Ito, which differ for every eye.
const TYPE_COLOURS: [[u8; 3]; 7] = [
    [0x56, 0xb4, 0xe9],
    [0xe6, 0x9f, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0xf0, 0xe4, 0x42],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x72, 0xb2],
];

/// A type of nuclei that a model tells apart from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NucleusType {
    /// Name of its class.
    pub name: String,
    /// Red, green, blue.
    pub colour: [u8; 3],
}

impl NucleusType {
    /// The types among a network's classes, in their order; none where there is only one.
    #[must_use]
    pub fn among(classes: &[PixelClass]) -> Vec<Self> {
        let mut types = Vec::new();
        for PixelClass { name, role, color } in classes {
            if *role == ClassRole::Nucleus {
                let own = TYPE_COLOURS[types.len() % TYPE_COLOURS.len()];
                types.push(Self { name: name.clone(), colour: color.unwrap_or(own) });
            }
        }
        if types.len() == 1 {
            types.clear();
        }
        types
    }

    /// The type of an object by its place; none where there is no such one.
    #[must_use]
    pub fn of(types: &[Self], class: Option<u8>) -> Option<&Self> {
        types.get(usize::from(class?))
    }
}

/// The classes of a card. In cards before roles were written the first class was the background,
/// whatever its name.
pub(super) fn read_classes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<PixelClass>, D::Error> {
    let entries = Vec::<ClassEntry>::deserialize(deserializer)?;
    let has_roles = entries.iter().any(|entry| matches!(entry, ClassEntry::Full { .. }));
    let mut classes: Vec<PixelClass> = entries.into_iter().map(PixelClass::from).collect();
    if let Some(first) = classes.first_mut()
        && !has_roles
    {
        first.role = ClassRole::Background;
    }
    Ok(classes)
}

/// Refuses classes from which no objects can be made.
pub(super) fn check_classes(classes: &[PixelClass]) -> Result<()> {
    let count = |role| classes.iter().filter(|class| class.role == role).count();
    if classes.first().is_none_or(|class| class.role != ClassRole::Background)
        || count(ClassRole::Background) != 1
    {
        return Err(Error::malformed(
            "The card's first class, and no other, must have the role 'background'",
        ));
    }
    if count(ClassRole::Border) > 1 {
        return Err(Error::malformed("The card names more than one border class"));
    }
    if count(ClassRole::Nucleus) == 0 {
        return Err(Error::malformed("The card names no class with the role 'nucleus'"));
    }
    for (index, class) in classes.iter().enumerate() {
        if class.name.is_empty() || class.name.len() > MAX_NAME_BYTES {
            return Err(Error::malformed(format!(
                "The names of the card's classes must have 1 to {MAX_NAME_BYTES} bytes"
            )));
        }
        if classes[..index].iter().any(|other| other.name == class.name) {
            return Err(Error::malformed(format!(
                "The card names the class '{}' twice",
                class.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_written_as_before_and_read_back() {
        let classes = PixelClass::background_and_nucleus();
        let text = serde_json::to_string(&classes).expect("JSON");
        assert_eq!(text, r#"["background","nucleus"]"#);
        assert_eq!(serde_json::from_str::<Vec<PixelClass>>(&text).expect("classes"), classes);
    }

    #[test]
    fn roles_and_colours_survive_the_card() {
        let mut classes = PixelClass::of_nuclei(&["tumour".into(), "border".into()], true);
        classes[3].name = "edge".into();
        classes[1].color = Some([200, 0, 0]);
        let text = serde_json::to_string(&classes).expect("JSON");
        assert_eq!(serde_json::from_str::<Vec<PixelClass>>(&text).expect("classes"), classes);
        check_classes(&classes).expect("classes");
    }

    #[test]
    fn types_are_named_and_have_colours_where_there_are_several() {
        let mut classes = PixelClass::of_nuclei(&["round".into(), "long".into()], true);
        classes[2].color = Some([1, 2, 3]);
        let types = NucleusType::among(&classes);
        assert_eq!((types[0].name.as_str(), types[0].colour), ("round", TYPE_COLOURS[0]));
        assert_eq!((types[1].name.as_str(), types[1].colour), ("long", [1, 2, 3]));
        assert!(NucleusType::among(&PixelClass::of_nuclei(&[], true)).is_empty());
    }

    #[test]
    fn cards_of_names_alone_begin_with_the_background() {
        let read = |text: &str| {
            read_classes(&mut serde_json::Deserializer::from_str(text)).expect("classes")
        };
        let old = read(r#"["other","cell"]"#);
        assert_eq!((old[0].role, old[1].role), (ClassRole::Background, ClassRole::Nucleus));
        check_classes(&old).expect("classes");
        let stated = read(r#"["cell",{"name":"rest","role":"background"}]"#);
        assert!(check_classes(&stated).is_err(), "the background is not the first");
    }

    #[test]
    fn classes_without_background_or_nuclei_are_refused() {
        let named =
            |names: &[&str]| names.iter().map(|n| PixelClass::named(*n)).collect::<Vec<_>>();
        for bad in [
            &[][..],
            &["nucleus", "background"],
            &["background"],
            &["background", "border"],
            &["background", "nucleus", "border", "border"],
            &["background", "a", "a"],
            &["background", "background", "a"],
            &["background", ""],
        ] {
            assert!(check_classes(&named(bad)).is_err(), "{bad:?}");
        }
        check_classes(&named(&["background", "border", "a", "b"])).expect("classes");
    }
}
