//! The history of a model: what was done to its weights, step by step.
//!
//! In the card each step is a JSON object with sorted keys, whose `step` says what it is:
//!
//! ```json
//! {"seed":1,"step":"initialise"}
//! {"criterion":"l1","ratio":0.5,"step":"prune"}
//! ```
//!
//! An entry that this version would write differently, because another version or a person wrote
//! it, is kept verbatim as [`HistoryStep::Other`].

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::card::InstanceParameters;

/// One step in the making of a model's weights.
// `remote = "Self"` derives the form with a tag as functions of this type; the traits below add the
// sorted keys and the entries kept verbatim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "step", rename_all = "lowercase")]
pub enum HistoryStep {
    /// Random weights of this seed.
    Initialise {
        /// Of the random generator.
        seed: u64,
    },
    /// Training. Fine-tuning is training after another step; distillation is training with
    /// teachers.
    Train(TrainingStep),
    /// Structural pruning.
    Prune(PruningStep),
    /// The last layer got another output, for a class that it did not tell apart before.
    Extend {
        /// Name of the class.
        class: String,
    },
    /// Choice of the parameters that turn probabilities into nuclei.
    Tune(TuningStep),
    /// Weights rounded for a link.
    Link {
        /// `int8` or `f16`.
        precision: String,
    },
    /// Weights rounded to half precision and so many significant bits.
    Round {
        /// 1 to 11.
        significant_bits: u32,
    },
    /// An entry of another version.
    #[serde(skip)]
    Other {
        /// The value of its `step`; empty without one.
        name: String,
        /// The whole entry.
        entry: Value,
    },
}

/// Which share of the filters was removed, and how the filters were chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PruningStep {
    /// Fraction of filters removed from each layer, 0 to 1. Where layers differ: from all layers
    /// that may be pruned together.
    pub ratio: f64,
    /// How filters were chosen: the name of a `prune::Criterion`, or `none`.
    pub criterion: String,
    /// Layer, `conv` or `hidden` → its ratio, where layers differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ratios: BTreeMap<String, f64>,
    /// Decides the patches, or the choice at random; none where weights alone decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Number of patches on which activations were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<usize>,
    /// Names of the tiles of the patches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiles: Vec<String>,
}

/// A training run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingStep {
    /// The recipe as the trainer serialises it; not interpreted here.
    pub recipe: Value,
    /// Names of the tiles trained on.
    pub tiles: Vec<String>,
    /// How often pixels of each tile were drawn, relative to those of others; empty where all were
    /// drawn alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tile_weights: Vec<f64>,
    /// Device that computed.
    pub device: String,
    /// Fingerprints of the models whose outputs were soft targets. `None` in files of versions
    /// without distillation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teachers: Option<Vec<String>>,
    /// Losses and scores of the last epoch as the trainer serialises them; not interpreted here.
    pub last_epoch: Value,
    /// Fields of other versions, kept as they are.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Value>,
}

/// A search for the parameters that turn probabilities into nuclei.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuningStep {
    /// Names of the tiles that the score was measured on.
    pub tiles: Vec<String>,
    /// Mean of AJI and PQ over the tiles, with `parameters`.
    pub mean_aji_and_pq: f64,
    /// The same on tiles that the parameters were not chosen on, by cross-validation over tiles;
    /// none of a single tile, and in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_validated: Option<f64>,
    /// The best parameters.
    pub parameters: InstanceParameters,
}

impl HistoryStep {
    /// Whether gradients changed the weights in this step.
    #[must_use]
    pub fn is_training(&self) -> bool {
        match self {
            Self::Train(_) => true,
            Self::Other { name, .. } => name == "train",
            _ => false,
        }
    }

    fn other(entry: Value) -> Self {
        let name = entry.get("step").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self::Other { name, entry }
    }
}

impl Serialize for HistoryStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Other { entry, .. } = self {
            return entry.serialize(serializer);
        }
        // Through a JSON value, whose keys are sorted.
        let entry = Self::serialize(self, serde_json::value::Serializer);
        entry.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HistoryStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entry = Value::deserialize(deserializer)?;
        let Ok(step) = Self::deserialize(&entry) else { return Ok(Self::other(entry)) };
        match serde_json::to_value(&step) {
            Ok(written) if written == entry => Ok(step),
            _ => Ok(Self::other(entry)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> HistoryStep {
        serde_json::from_str(text).expect("any JSON is a step")
    }

    fn written(step: &HistoryStep) -> String {
        serde_json::to_string(step).expect("JSON")
    }

    #[test]
    fn entries_of_every_kind_are_typed_and_written_back_byte_for_byte() {
        let texts = [
            r#"{"seed":1,"step":"initialise"}"#,
            r#"{"criterion":"l1","ratio":0.9,"step":"prune"}"#,
            r#"{"class":"border","step":"extend"}"#,
            r#"{"criterion":"apoz","patches":2000,"ratio":0.5,"seed":1,"step":"prune","tiles":["a"]}"#,
            r#"{"criterion":"l2","ratio":0.8,"ratios":{"conv":0.5,"hidden":0.9},"step":"prune"}"#,
            r#"{"precision":"int8","step":"link"}"#,
            r#"{"significant_bits":6,"step":"round"}"#,
            // A number that an f32 would not hold, and a field of another version.
            r#"{"device":"CPU","last_epoch":null,"recipe":{"stain_shift":0.029999999329447743},"step":"train","teacher":null,"tiles":["a","b"]}"#,
            r#"{"device":"CPU","last_epoch":{"epoch":3},"recipe":{},"step":"train","teachers":["0b95"],"tiles":[]}"#,
            r#"{"cross_validated":0.48,"mean_aji_and_pq":0.5,"parameters":{"max_hole_px":100,"min_area_px":40,"probability_weight":20.0,"smoothing":0,"split_height_px":3.0,"threshold":0.5},"step":"tune","tiles":["a","b"]}"#,
            r#"{"mean_aji_and_pq":0.5053638587949675,"parameters":{"max_hole_px":100,"min_area_px":40,"probability_weight":20.0,"smoothing":0,"split_height_px":3.0,"threshold":0.44999998807907104},"step":"tune","tiles":["a"]}"#,
        ];
        for text in texts {
            let step = read(text);
            assert!(!matches!(step, HistoryStep::Other { .. }), "{text}");
            assert_eq!(written(&step), text);
        }
        assert_eq!(read(texts[0]), HistoryStep::Initialise { seed: 1 });
        let HistoryStep::Train(training) = read(texts[8]) else { unreachable!("a training") };
        assert_eq!(training.teachers, Some(vec!["0b95".to_owned()]));
    }

    #[test]
    fn entries_of_other_versions_are_kept_verbatim() {
        for text in [
            r#"{"step":"sharpen","strength":2}"#,
            r#"{"seed":-1,"step":"initialise"}"#,
            r#"{"seed":1,"source":"x","step":"initialise"}"#,
            r#"{"criterion":"l1","ratio":1,"step":"prune"}"#,
            r#"{"step":"train"}"#,
            "[1,null]",
            r#""a sentence""#,
        ] {
            let step = read(text);
            assert!(matches!(step, HistoryStep::Other { .. }), "{text}");
            assert_eq!(written(&step), text);
        }
        assert!(read(r#"{"step":"train"}"#).is_training());
        assert!(!read(r#"{"step":"sharpen"}"#).is_training());
    }
}
