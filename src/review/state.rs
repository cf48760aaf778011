//! The one value that holds everything a person sets about an image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::check_state;
use super::mark::Marks;
use super::region::NamedRegion;
use super::stroke::Strokes;
use crate::error::{Error, Result};

/// Version of the saved state; another one is not read.
const FORMAT: u32 = 1;
/// Largest saved state, bytes.
const MAX_SAVED_BYTES: usize = 256 << 20;

/// Which image or slide.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentFacts {
    /// Hash of the file's content, hexadecimal.
    pub hash: String,
    /// File name without folders.
    pub name: String,
    /// Of the finest level, pixels.
    pub width: u32,
    /// Of the finest level, pixels.
    pub height: u32,
    /// Whether it is read in parts.
    pub is_slide: bool,
}

/// Who stated the pixel size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PixelSizeSource {
    /// Nobody.
    #[default]
    Unknown,
    /// The file.
    File,
    /// The person who looks at it.
    Person,
}

/// The pixel size and where it comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PixelSizeSetting {
    /// Micrometres; none if it is unknown.
    pub um: Option<f64>,
    /// Who stated it.
    pub source: PixelSizeSource,
}

/// The model that was chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelSetting {
    /// Name of the model that ships from which filters are removed; none for the paper's unpruned
    /// network, whose versions at some ratios ship too, and for a loaded model.
    pub shipped: Option<String>,
    /// Share of filters removed, per cent.
    pub ratio: f64,
    /// Whether units of the hidden layer were removed too.
    pub prune_hidden: bool,
    /// Fingerprint of the model from which filters are removed; none for a model that ships.
    pub loaded: Option<String>,
}

/// How things are drawn; nothing of it changes a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DisplaySettings {
    /// Opacity of outlines, 0 to 1.
    pub outline: f64,
    /// Strength of the filled mask, 0 to 1.
    pub mask: f64,
    /// Strength of the heat map of probabilities, 0 to 1.
    pub heat: f64,
    /// 1 for the image's own.
    pub brightness: f64,
    /// 1 for the image's own.
    pub contrast: f64,
    /// `rgb`, `hematoxylin` or `eosin`.
    pub stain: String,
    /// Name of the palette of outlines.
    pub palette: String,
}

impl Default for DisplaySettings {
    fn default() -> Self {
        Self {
            outline: 1.0,
            mask: 0.0,
            heat: 0.0,
            brightness: 1.0,
            contrast: 1.0,
            stain: "rgb".to_owned(),
            palette: "blue".to_owned(),
        }
    }
}

/// How a result was made, and how far it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResultFacts {
    /// Fingerprint of the model.
    pub fingerprint: String,
    /// Number of parameters of the model.
    pub parameters: u64,
    /// Threshold at which the nuclei were found.
    pub threshold: f32,
    /// Pixel size that was used, µm; 0 if it was unknown.
    pub mpp: f64,
    /// Whether stain colours were matched.
    pub stain_matched: bool,
    /// Number of nuclei of the model.
    pub nuclei: u64,
    /// Finished and wanted blocks.
    pub done: u32,
    /// Blocks that hold tissue.
    pub wanted: u32,
    /// Area that was segmented, pixels of the finest level.
    pub segmented_px: f64,
}

/// Everything that a person sets about an image: what is saved, restored and undone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReviewState {
    /// The open image or slide.
    pub document: Option<DocumentFacts>,
    /// Of the finest level.
    pub pixel_size: PixelSizeSetting,
    /// The model in use.
    pub model: ModelSetting,
    /// Threshold that was set; the model's own otherwise.
    pub threshold: Option<f32>,
    /// Whether only nuclei inside regions count.
    pub inside_only: bool,
    /// Whether the network reads the colours as they are.
    pub keep_stain: bool,
    /// Decisions about nuclei.
    pub marks: Marks,
    /// Regions by number.
    pub regions: BTreeMap<u32, NamedRegion>,
    /// Painted lines by number.
    pub strokes: Strokes,
    /// Centre x, centre y, and screen pixels for one of the image.
    pub view: Option<[f64; 3]>,
    /// How things are drawn.
    pub display: DisplaySettings,
    /// Results: of the model in use and of the one it is compared with.
    pub results: [Option<ResultFacts>; 2],
}

#[derive(Serialize, Deserialize)]
struct SavedState {
    format: u32,
    state: ReviewState,
}

impl ReviewState {
    /// As bytes for storage; [`Self::from_bytes`] gives it back.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let saved = SavedState { format: FORMAT, state: self.clone() };
        serde_json::to_vec(&saved)
            .map_err(|e| Error::malformed("The state cannot be written").caused_by(e))
    }

    /// Reads a saved state.
    ///
    /// # Errors
    /// [`Error::Malformed`] for bytes of another version or of something else, and for a state that
    /// no commands could have made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_SAVED_BYTES {
            return Err(Error::limit("The saved state is too large"));
        }
        let saved: SavedState = serde_json::from_slice(bytes)
            .map_err(|e| Error::malformed("The saved state cannot be read").caused_by(e))?;
        if saved.format != FORMAT {
            return Err(Error::malformed(format!(
                "The saved state has format {}, not {FORMAT}",
                saved.format
            )));
        }
        let state = saved.state;
        check_state(&state)
            .map_err(|e| Error::malformed("The saved state cannot be used").caused_by(e))?;
        Ok(state)
    }
}
