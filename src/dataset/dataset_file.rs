//! `dataset.toml` in a folder of tiles: what its files do not say about themselves.
//!
//! ```toml
//! name = "tnbc"
//! mpp_um = 0.25
//! licence = "CC BY 4.0"
//! citation = "Naylor et al., IEEE TMI 2018"
//!
//! [splits]
//! train = ["01_", "02_"]
//! test = ["08_"]
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::{Error, ErrorContext as _, Result};
use crate::platform::read_file;

/// Name of the file.
pub const DATASET_FILE: &str = "dataset.toml";

/// Largest file, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Longest name of a data set or split, and longest licence, characters.
const MAX_NAME: usize = 200;
/// Longest citation, characters.
const MAX_CITATION: usize = 4000;
/// Most splits.
const MAX_SPLITS: usize = 100;
/// Pixel sizes that a light microscope can have, micrometres.
pub const PIXEL_SIZES_UM: std::ops::RangeInclusive<f64> = 0.05..=5.0;

/// What a data set says about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DatasetFile {
    /// How results and cards name it.
    pub name: Option<String>,
    /// Pixel size of all its tiles, micrometres; it wins over that of image files.
    pub mpp_um: Option<f64>,
    /// Of images and labels, such as `CC BY 4.0`.
    pub licence: Option<String>,
    /// Whom users of the data set are to cite.
    pub citation: Option<String>,
    /// Name of a split → parts of the names of its tiles.
    pub splits: BTreeMap<String, Vec<String>>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    name: Option<Spanned<String>>,
    mpp_um: Option<Spanned<f64>>,
    #[serde(alias = "license")]
    licence: Option<Spanned<String>>,
    citation: Option<Spanned<String>>,
    #[serde(default)]
    splits: BTreeMap<String, Spanned<Vec<String>>>,
}

impl DatasetFile {
    /// Reads the file of a folder; none where there is none.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; those of [`Self::parse`].
    pub fn of_folder(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(DATASET_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = read_file(&path, MAX_BYTES)?;
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::malformed("The file is not UTF-8 text").caused_by(e))
            .at(&path)?;
        Self::parse(&text).at(&path).map(Some)
    }

    /// Reads its text.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Invalid`] or [`Error::Limit`] naming the line.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let written: WrittenFile = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| line_of(text, span.start));
            let why = e.message().replace("f64", "a number").replace("a sequence", "a list");
            Error::malformed(format!("Line {line} cannot be understood: {why}"))
        })?;
        let mut file = Self {
            name: checked(text, "The name", written.name, MAX_NAME)?,
            mpp_um: None,
            licence: checked(text, "The licence", written.licence, MAX_NAME)?,
            citation: checked(text, "The citation", written.citation, MAX_CITATION)?,
            splits: BTreeMap::new(),
        };
        // Files of results carry the name.
        let is_no_file_name =
            |name: &String| name.starts_with('.') || name.contains(['/', '\\', ':']);
        if file.name.as_ref().is_some_and(is_no_file_name) {
            return Err(Error::invalid(
                "The name of a data set does not begin with a dot and holds no '/', '\\' or ':'",
            ));
        }
        if let Some(size) = written.mpp_um {
            let line = line_of(text, size.span().start);
            let size = size.into_inner();
            if !PIXEL_SIZES_UM.contains(&size) {
                return Err(Error::invalid(format!(
                    "Line {line}: the pixel size must be between {} and {} µm; it is {size}",
                    PIXEL_SIZES_UM.start(),
                    PIXEL_SIZES_UM.end()
                )));
            }
            file.mpp_um = Some(size);
        }
        if written.splits.len() > MAX_SPLITS {
            return Err(Error::limit(format!("There are more than {MAX_SPLITS} splits")));
        }
        for (name, parts) in written.splits {
            let line = line_of(text, parts.span().start);
            let parts = parts.into_inner();
            if parts.is_empty() || parts.iter().any(|part| part.trim().is_empty()) {
                return Err(Error::invalid(format!(
                    "Line {line}: the split '{name}' must list parts of tile names, none of them \
                     empty"
                )));
            }
            if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
                return Err(Error::limit(format!(
                    "Line {line}: the name of a split has at most {MAX_NAME} characters, on one \
                     line"
                )));
            }
            file.splits.insert(name, parts);
        }
        Ok(file)
    }

    /// Whether a tile belongs to a split; none where there is no such split.
    #[must_use]
    pub fn has_in_split(&self, split: &str, tile: &str) -> Option<bool> {
        let parts = self.splits.get(split)?;
        Some(parts.iter().any(|part| tile.contains(part.as_str())))
    }

    /// The splits that a tile belongs to.
    #[must_use]
    pub fn splits_of(&self, tile: &str) -> Vec<String> {
        let mut names = self.splits.keys().cloned().collect::<Vec<_>>();
        names.retain(|split| self.has_in_split(split, tile) == Some(true));
        names
    }
}

/// From 1.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|&b| b == b'\n').count()
}

/// A text of at least one and at most `most` characters, without control characters.
fn checked(
    text: &str,
    what: &str,
    value: Option<Spanned<String>>,
    most: usize,
) -> Result<Option<String>> {
    let Some(value) = value else { return Ok(None) };
    let line = line_of(text, value.span().start);
    let trimmed = value.as_ref().trim();
    if trimmed.is_empty() || trimmed.chars().count() > most {
        return Err(Error::limit(format!(
            "Line {line}: {what} must have between 1 and {most} characters"
        )));
    }
    if trimmed.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Error::invalid(format!("Line {line}: {what} holds control characters")));
    }
    Ok(Some(trimmed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_read_and_none_is_needed() {
        let text = "\u{feff}name = \"tnbc\"\nmpp_um = 1\nlicense = ' CC BY 4.0 '\n\
                    citation = '''\nNaylor et al.\n2018'''\n[splits]\ntest = ['08_', '07_']\n";
        let file = DatasetFile::parse(text).expect("file");
        assert_eq!(file.name.as_deref(), Some("tnbc"));
        assert_eq!(file.mpp_um, Some(1.0));
        assert_eq!(file.licence.as_deref(), Some("CC BY 4.0"));
        assert_eq!(file.citation.as_deref(), Some("Naylor et al.\n2018"));
        assert_eq!(file.has_in_split("test", "set/08_3"), Some(true));
        assert_eq!(file.has_in_split("test", "01_3"), Some(false));
        assert_eq!(file.has_in_split("train", "08_3"), None);
        assert_eq!(file.splits_of("07_1"), ["test"]);
        assert_eq!(DatasetFile::parse("").expect("file"), DatasetFile::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let long = format!("name = '{}'", "x".repeat(201));
        let cases = [
            ("name = 'a'\npixel_size = 0.25\n", "Line 2", "pixel_size"),
            ("\npixel_size = 0.25\n", "Line 2", "mpp_um"),
            ("mpp_um = 'fine'\n", "Line 1", "a number"),
            ("name = '../a'", "The name", "'/'"),
            ("name = 'C:a'", "The name", "':'"),
            ("name = 'a'\nmpp_um = 250\n", "Line 2", "0.05"),
            ("mpp_um = nan\n", "Line 1", "NaN"),
            ("mpp_um = 0.25\nname = ''\n", "Line 2", "name"),
            ("name = \"a\\u0007\"", "Line 1", "control"),
            ("[splits]\ntrain = ['a']\ntest = []\n", "Line 3", "'test'"),
            ("[splits]\ntest = ['a', '']\n", "Line 2", "'test'"),
            ("[splits]\ntest = 'a'\n", "Line 2", "list"),
            ("name = 'a'\nname = 'b'\n", "Line 2", "duplicate"),
            ("name = 'a\n", "Line 1", ""),
            (&long, "Line 1", "200"),
        ];
        for (text, line, word) in cases {
            let message = DatasetFile::parse(text).expect_err(text).to_string();
            assert!(message.starts_with(line) && message.contains(word), "{text:?}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_reading_panic(
            text in "(name|mpp_um|splits|\\[|\\]|=|'|\"|[0-9.]|\n| |é){0,40}",
        ) {
            drop(DatasetFile::parse(&text));
        }
    }
}
