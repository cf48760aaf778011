//! The card: what a model file says about itself. It is stored in the file's metadata as one JSON
//! string.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, PATCH_PX};
use super::history::HistoryStep;
use super::pixel_class::{ClassRole, PixelClass, check_classes, read_classes};
use crate::error::{Error, Result};
use crate::raster::{StainMatching, StainMode, StainRange};

/// Version of the card's layout.
pub const CARD_VERSION: u32 = 1;

/// How logits become class probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// Softmax of the logits.
    #[default]
    Softmax,
    /// The paper's DCCN: a sigmoid on each logit, then softmax. Its cross-entropy cannot fall below
    /// log(1 + 1/e) = 0.3133.
    Sigmoid,
}

impl Head {
    /// Probabilities of all classes from their logits, in place. Of two classes the second has
    /// exactly the value of [`Self::probability`].
    pub fn probabilities(self, logits: &mut [f32]) {
        if let [first, second] = logits {
            let probability = self.probability([*first, *second]);
            (*first, *second) = (1.0 - probability, probability);
            return;
        }
        if self == Self::Sigmoid {
            for logit in logits.iter_mut() {
                *logit = logistic(*logit);
            }
        }
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for logit in logits.iter_mut() {
            *logit = (*logit - highest).exp();
            sum += *logit;
        }
        for logit in logits {
            *logit /= sum;
        }
    }

    /// Probability of class 1 of 2 from its two logits, 0 to 1.
    #[must_use]
    pub fn probability(self, logits: [f32; 2]) -> f32 {
        match self {
            Self::Softmax => logistic(logits[1] - logits[0]),
            Self::Sigmoid => logistic(logistic(logits[1]) - logistic(logits[0])),
        }
    }
}

/// 1 / (1 + e⁻ᶻ). The softmax of two logits is the logistic function of their difference.
fn logistic(z: f32) -> f32 {
    1.0 / (1.0 + (-z).exp())
}

/// Ascending indices, written in JSON as ranges ("0-3,5,7-9").
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct IndexSet(pub Vec<usize>);

impl From<IndexSet> for String {
    fn from(set: IndexSet) -> Self {
        // First and last index of each run of consecutive ones.
        let mut runs: Vec<[usize; 2]> = Vec::new();
        for index in set.0 {
            match runs.last_mut() {
                Some([_, last]) if *last + 1 == index => *last = index,
                _ => runs.push([index, index]),
            }
        }
        let mut text = String::new();
        for [first, last] in runs {
            if !text.is_empty() {
                text.push(',');
            }
            text += &first.to_string();
            if last > first {
                text += &format!("-{last}");
            }
        }
        text
    }
}

impl TryFrom<String> for IndexSet {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let mut indices: Vec<usize> = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first = parse_index(first)?;
            let last = parse_index(last)?;
            if last < first || indices.last().is_some_and(|&before| first <= before) {
                return Err(format!("indices do not ascend at '{part}'"));
            }
            indices.extend(first..=last);
        }
        Ok(Self(indices))
    }
}

/// A number below 65 536, so that a short text cannot stand for a huge set.
fn parse_index(text: &str) -> std::result::Result<usize, String> {
    let index = text.parse::<u16>().map_err(|_| format!("bad index '{text}'"))?;
    Ok(usize::from(index))
}

/// A tile that the model was trained on, identified by its bytes; the name is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileHash {
    /// Image file name without its ending.
    pub name: String,
    /// SHA-256 of the image file, hexadecimal.
    pub sha256: String,
    /// SHA-256 of its label map's size and values, hexadecimal; empty in files of older versions.
    #[serde(default)]
    pub labels_sha256: String,
}

/// A data set that a model was trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSource {
    /// As the data set states it.
    pub name: String,
    /// Of images and labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Whom users of the model are to cite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
}

/// How probabilities become nuclei. Tuned on training tiles (`prunella tune`). Lengths are pixels
/// of the model's pixel size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceParameters {
    /// A pixel belongs to a nucleus when its smoothed probability is above this, 0 to 1.
    pub threshold: f32,
    /// Passes of the 3×3 binomial filter over the probabilities.
    pub smoothing: u32,
    /// Touching nuclei are split where the peaks of both rise at least this far above the saddle
    /// between them (h of the h-maxima transform), pixels of height.
    pub split_height_px: f32,
    /// Height that a probability of 1 adds to the distance from the border, pixels.
    pub probability_weight: f32,
    /// Objects of fewer pixels are dropped.
    pub min_area_px: u32,
    /// Holes of at most this many pixels are filled.
    pub max_hole_px: u32,
}

impl Default for InstanceParameters {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            smoothing: 2,
            split_height_px: 1.0,
            probability_weight: 4.0,
            min_area_px: 40,
            max_hole_px: 100,
        }
    }
}

impl InstanceParameters {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the value.
    pub fn validate(&self) -> Result<()> {
        check_range("threshold", self.threshold, 1.0)?;
        check_range("smoothing", self.smoothing as f32, 100.0)?;
        check_range("split height", self.split_height_px, 1000.0)?;
        check_range("probability weight", self.probability_weight, 1000.0)
    }
}

fn check_range(name: &str, value: f32, max: f32) -> Result<()> {
    if (0.0..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("The {name} must be between 0 and {max}; it is {value}")))
}

/// Everything a model says about itself besides its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of the card's layout, at most [`CARD_VERSION`].
    pub version: u32,
    /// The network.
    pub architecture: Architecture,
    /// How logits become probabilities.
    #[serde(default)]
    pub head: Head,
    /// For each layer that lost filters or units: the indices, in the unpruned network, of those
    /// that remain.
    #[serde(default, rename = "kept", skip_serializing_if = "BTreeMap::is_empty")]
    pub kept_filters: BTreeMap<String, IndexSet>,
    /// Pruning ratio against the unpruned network, 0 to 1.
    #[serde(default)]
    pub pruning_ratio: f64,
    /// Side of the square input patch, pixels.
    pub input_size_px: usize,
    /// Pixel size the model was trained at, micrometres.
    pub mpp_um: f64,
    /// How 8-bit RGB becomes input; always `rgb/255`.
    pub normalisation: String,
    /// The classes, in the order of the logits; the first is the background.
    #[serde(deserialize_with = "read_classes")]
    pub classes: Vec<PixelClass>,
    /// Width of the border class in the labels it was trained on, micrometres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub border_um: Option<f64>,
    /// Stains of the tiles that it was trained on; those of the paper's tiles unless stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stain: Option<StainRange>,
    /// How its probabilities become nuclei.
    #[serde(default)]
    pub instances: InstanceParameters,
    /// What was done to the weights, oldest step first.
    #[serde(default)]
    pub history: Vec<HistoryStep>,
    /// Every tile that the weights were trained on.
    #[serde(default)]
    pub data: Vec<TileHash>,
    /// Data sets of these tiles that state licence or citation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_sources: Vec<DataSource>,
    /// Name of a data set → scores measured on it, as `evaluate` and `demo` write them; shown, not
    /// interpreted.
    #[serde(default)]
    pub metrics: BTreeMap<String, serde_json::Value>,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: Option<String>,
    /// Fingerprint of the model this one was made from.
    #[serde(default)]
    pub parent: Option<String>,
}

impl Card {
    /// A card for new weights: no history, no scores, default parameters.
    #[must_use]
    pub fn new(architecture: Architecture) -> Self {
        let classes = PixelClass::unnamed(architecture.classes());
        Self {
            version: CARD_VERSION,
            architecture,
            head: Head::Softmax,
            kept_filters: BTreeMap::new(),
            pruning_ratio: 0.0,
            input_size_px: PATCH_PX,
            mpp_um: 0.25,
            normalisation: "rgb/255".into(),
            classes,
            border_um: None,
            stain: None,
            instances: InstanceParameters::default(),
            history: Vec::new(),
            data: Vec::new(),
            data_sources: Vec::new(),
            metrics: BTreeMap::new(),
            licence: None,
            parent: None,
        }
    }

    /// How colours are matched before the model reads them.
    #[must_use]
    pub fn stain_matching(&self, mode: StainMode) -> StainMatching {
        StainMatching { mode, range: self.stain.unwrap_or_default() }
    }

    /// Whether it tells the border of nuclei apart.
    #[must_use]
    pub fn has_border(&self) -> bool {
        self.classes.iter().any(|class| class.role == ClassRole::Border)
    }

    /// Refuses a card that this version cannot use.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a newer version, another patch size or another normalisation;
    /// [`Error::Limit`], [`Error::Mismatch`] or [`Error::Malformed`] naming a field that is wrong.
    pub fn validate(&self) -> Result<()> {
        if self.version > CARD_VERSION {
            return Err(Error::unsupported(format!(
                "The model was written by a newer version (card {} against {CARD_VERSION}); update \
                 prunella",
                self.version
            )));
        }
        self.architecture.validate()?;
        if self.input_size_px != PATCH_PX {
            return Err(Error::unsupported(format!(
                "The model reads patches of {} pixels; {PATCH_PX} are supported",
                self.input_size_px
            )));
        }
        if self.normalisation != "rgb/255" {
            return Err(Error::unsupported(format!(
                "Normalisation '{}' is not known",
                self.normalisation
            )));
        }
        if self.classes.len() != self.architecture.classes() {
            return Err(Error::mismatch(
                "The card names another number of classes than the network has outputs",
            ));
        }
        check_classes(&self.classes)?;
        if !(0.0..=1.0).contains(&self.pruning_ratio) {
            return Err(Error::malformed("The card's pruning ratio is not between 0 and 1"));
        }
        if !(self.mpp_um.is_finite() && self.mpp_um > 0.0) {
            return Err(Error::malformed(
                "The card's pixel size is not a positive number of micrometres",
            ));
        }
        if let Some(range) = &self.stain {
            range.validate()?;
        }
        self.instances.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_sets_are_written_as_ranges_and_read_back() {
        let set = IndexSet(vec![0, 1, 2, 3, 5, 7, 8]);
        assert_eq!(String::from(set.clone()), "0-3,5,7-8");
        assert_eq!(IndexSet::try_from("0-3,5,7-8".to_owned()), Ok(set));
        for bad in ["3,2", "5-1", "x", "1,1", "0-99999999999"] {
            assert!(IndexSet::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_index_set_survives_its_text(
            set in proptest::collection::btree_set(0usize..5000, 0..200),
        ) {
            let set = IndexSet(set.into_iter().collect());
            proptest::prop_assert_eq!(IndexSet::try_from(String::from(set.clone())), Ok(set));
        }

        #[test]
        fn no_text_makes_reading_an_index_set_panic(text in "[0-9,-]{0,40}") {
            drop(IndexSet::try_from(text));
        }
    }

    #[test]
    fn the_cross_entropy_of_the_sigmoid_head_has_a_floor() {
        assert!((Head::Softmax.probability([0.0, 0.0]) - 0.5).abs() < 1e-7);
        let highest = f64::from(Head::Sigmoid.probability([-90.0, 90.0]));
        assert!((-highest.ln() - (1.0 + (-1.0f64).exp()).ln()).abs() < 1e-6);
    }
}
