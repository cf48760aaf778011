//! The model file: a `.safetensors` whose metadata holds the card. Any safetensors reader opens it.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Array, Card, Model, Weights};
use crate::error::{Error, Result};

/// Metadata key of the card.
const CARD_KEY: &str = "prunella";

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    F32,
    /// Half precision: half the bytes, about three significant digits.
    F16,
}

/// What a stranger's model file may cost.
#[derive(Debug, Clone, Copy)]
pub struct FileLimits {
    pub max_bytes: u64,
}

impl Default for FileLimits {
    /// 256 MB: ten times the paper's larger network.
    fn default() -> Self {
        Self { max_bytes: 256_000_000 }
    }
}

impl Model {
    /// The bytes of a model file. The same model gives the same bytes.
    ///
    /// # Errors
    /// Only when the card cannot be written as JSON (a metric that is not a number).
    pub fn to_bytes(&self, precision: Precision) -> Result<Vec<u8>> {
        let largest =
            if precision == Precision::F16 { f32::from(half::f16::MAX) } else { f32::MAX };
        for (name, array) in self.weights() {
            if array.data.iter().any(|v| v.is_nan() || v.abs() > largest) {
                return Err(Error::malformed(format!(
                    "Array '{name}' holds a value that {precision:?} cannot store"
                )));
            }
        }
        let card = serde_json::to_string(self.card())
            .map_err(|e| Error::malformed(format!("The card cannot be written: {e}")))?;
        let dtype = match precision {
            Precision::F32 => Dtype::F32,
            Precision::F16 => Dtype::F16,
        };
        let raw: Vec<(&String, &Array, Vec<u8>)> =
            self.weights().iter().map(|(n, a)| (n, a, value_bytes(&a.data, precision))).collect();
        let mut views = Vec::with_capacity(raw.len());
        for (name, array, bytes) in &raw {
            let view = TensorView::new(dtype, array.shape.clone(), bytes)
                .map_err(|e| Error::mismatch(format!("Array '{name}' cannot be stored: {e}")))?;
            views.push((name.as_str(), view));
        }
        let metadata = HashMap::from([(CARD_KEY.to_owned(), card)]);
        safetensors::serialize(views, Some(metadata))
            .map_err(|e| Error::malformed(format!("The model cannot be written: {e}")))
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// One sentence for each way a file can be wrong: too large, cut short, no card, wrong arrays,
    /// not finite.
    pub fn from_bytes(bytes: &[u8], limits: FileLimits) -> Result<Self> {
        if bytes.len() as u64 > limits.max_bytes {
            return Err(Error::limit(format!(
                "The model file is larger than {} MB",
                limits.max_bytes / 1_000_000
            )));
        }
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| broken(&e))?;
        let card = header.metadata().as_ref().and_then(|m| m.get(CARD_KEY)).ok_or_else(|| {
            Error::unsupported(
                "The file has no prunella card, so its architecture is unknown; was it saved by prunella?",
            )
        })?;
        let card: Card = serde_json::from_str(card)
            .map_err(|e| Error::malformed(format!("The model's card cannot be understood: {e}")))?;
        card.validate()?;
        Self::new(card, read_arrays(bytes)?)
    }
}

/// How the values of a model file are stored (that of the first array).
///
/// # Errors
/// [`Error::Malformed`] for a broken file.
pub fn stored_precision(bytes: &[u8]) -> Result<Precision> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| broken(&e))?;
    let half = tensors.iter().next().is_some_and(|(_, view)| view.dtype() == Dtype::F16);
    Ok(if half { Precision::F16 } else { Precision::F32 })
}

/// Bytes that the arrays of a model take in a file, without header and card.
#[must_use]
pub fn array_bytes(model: &Model, precision: Precision) -> usize {
    model.graph().stored_values() * if precision == Precision::F32 { 4 } else { 2 }
}

/// Every array of any safetensors file of f32 or f16 values (PyTorch's too).
///
/// # Errors
/// [`Error::Malformed`] for a broken file, a value that is not finite; [`Error::Unsupported`] for
/// other types.
pub fn read_arrays(bytes: &[u8]) -> Result<Weights> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| broken(&e))?;
    let mut weights = Weights::new();
    for (name, view) in tensors.tensors() {
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => view
                .data()
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            other => {
                return Err(Error::unsupported(format!(
                    "Array '{name}' has type {other:?}; F32 and F16 are supported"
                )));
            }
        };
        if let Some(at) = data.iter().position(|v| !v.is_finite()) {
            return Err(Error::malformed(format!(
                "Array '{name}' holds a value that is not finite, at place {at}"
            )));
        }
        weights.insert(name, Array::new(view.shape().to_vec(), data)?);
    }
    Ok(weights)
}

fn value_bytes(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Precision::F16 => {
            values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
        }
    }
}

fn broken(e: &safetensors::SafeTensorError) -> Error {
    Error::malformed(format!("The file is not a whole safetensors file: {e}"))
}

#[cfg(not(target_arch = "wasm32"))]
mod disk {
    use std::path::Path;

    use super::{FileLimits, Model, Precision};
    use crate::error::{ErrorContext as _, Result};
    use crate::platform::{read_file, write_atomic};

    impl Model {
        /// [`Model::from_bytes`] on a file.
        ///
        /// # Errors
        /// As there, naming the file.
        pub fn load(path: &Path) -> Result<Self> {
            let limits = FileLimits::default();
            Self::from_bytes(&read_file(path, limits.max_bytes)?, limits).at(path)
        }

        /// Writes the model file; a reader never sees half of it.
        ///
        /// # Errors
        /// As [`Model::to_bytes`] and [`write_atomic`].
        pub fn save(&self, path: &Path, precision: Precision) -> Result<()> {
            write_atomic(path, &self.to_bytes(precision)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, dcnn};

    fn small() -> Model {
        Model::random(dcnn([2, 3, 4], 8, 2), 1).expect("model")
    }

    #[test]
    fn a_model_survives_its_file_bit_for_bit() {
        let model = small();
        let bytes = model.to_bytes(Precision::F32).expect("bytes");
        assert_eq!(Model::from_bytes(&bytes, FileLimits::default()).expect("model"), model);
        assert_eq!(bytes, model.to_bytes(Precision::F32).expect("bytes"), "the same bytes again");
    }

    #[test]
    fn half_precision_halves_the_arrays_and_keeps_three_digits() {
        let model = small();
        let bytes = model.to_bytes(Precision::F16).expect("bytes");
        let back = Model::from_bytes(&bytes, FileLimits::default()).expect("model");
        for (a, b) in model.array("fc1.weight").iter().zip(back.array("fc1.weight")) {
            assert!((a - b).abs() <= 1e-3 * a.abs().max(1e-2), "{a} {b}");
        }
    }

    #[test]
    fn every_truncation_is_refused_with_a_sentence() {
        let bytes = small().to_bytes(Precision::F32).expect("bytes");
        for cut in (0..bytes.len()).step_by(7) {
            assert!(
                Model::from_bytes(&bytes[..cut], FileLimits::default()).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn hostile_cards_are_refused_before_memory_is_taken() {
        let model = small();
        let text = serde_json::to_string(model.card()).expect("json");
        let arrays: Vec<(String, Vec<usize>, Vec<u8>)> = model
            .weights()
            .iter()
            .map(|(n, a)| (n.clone(), a.shape.clone(), value_bytes(&a.data, Precision::F32)))
            .collect();
        let with_card = |card: &str| {
            let view =
                |(n, s, b): &'_ (String, Vec<usize>, Vec<u8>)| (n.clone(), s.clone(), b.clone());
            let owned: Vec<_> = arrays.iter().map(view).collect();
            let views: Vec<_> = owned
                .iter()
                .map(|(n, s, b)| (n, TensorView::new(Dtype::F32, s.clone(), b).expect("view")))
                .collect();
            let metadata = HashMap::from([(CARD_KEY.to_owned(), card.to_owned())]);
            safetensors::serialize(views, Some(metadata)).expect("bytes")
        };
        assert!(
            Model::from_bytes(&with_card(&text), FileLimits::default()).is_ok(),
            "the honest card is accepted"
        );
        let lies = [
            text.replace("[2,3,4]", "[2,3,999999999]"),
            text.replace("\"version\":1", "\"version\":2"),
            text.replace("\"hidden\":8", "\"hidden\":0"),
            text.replace("\"input_size_px\":55", "\"input_size_px\":54"),
            text.replace("rgb/255", "none"),
            text.replace("\"mpp_um\":0.25", "\"mpp_um\":-1"),
            "{".to_owned(),
        ];
        for lie in lies {
            assert_ne!(lie, text, "the lie changes something");
            assert!(Model::from_bytes(&with_card(&lie), FileLimits::default()).is_err(), "{lie}");
        }
    }

    #[test]
    fn wrong_arrays_and_values_that_are_not_finite_are_refused() {
        let model = small();
        let mut weights = model.weights().clone();
        weights.insert("extra".into(), Array::new(vec![1], vec![0.0]).expect("array"));
        assert!(model.with_weights(weights).expect_err("extra").to_string().contains("'extra'"));
        let mut weights = model.weights().clone();
        weights.remove("fc2.bias");
        assert!(
            model.with_weights(weights).expect_err("missing").to_string().contains("'fc2.bias'")
        );
        let mut weights = model.weights().clone();
        weights.get_mut("fc2.bias").expect("bias").data[0] = f32::NAN;
        assert!(
            model.with_weights(weights).expect("model").to_bytes(Precision::F32).is_err(),
            "not written"
        );
        let mut bytes = model.to_bytes(Precision::F32).expect("bytes");
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Model::from_bytes(&bytes, FileLimits::default()).is_err(), "not read");
        let mut weights = model.weights().clone();
        weights.get_mut("fc2.bias").expect("bias").data[0] = 1e6;
        let large = model.with_weights(weights).expect("model");
        assert!(large.to_bytes(Precision::F16).is_err() && large.to_bytes(Precision::F32).is_ok());
    }

    #[test]
    fn sizes_of_both_paper_networks_match_the_decoded_table() {
        let kib =
            |a| array_bytes(&Model::random(a, 0).expect("model"), Precision::F32) as f64 / 1024.0;
        assert!((kib(Architecture::paper_dcnn()) - 3581.9).abs() < 0.1);
        assert!((kib(Architecture::paper_dccn()) - 18938.3).abs() < 0.1);
    }
}
