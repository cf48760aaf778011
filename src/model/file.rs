//! The model file: a `.safetensors` whose metadata holds the card under the key `prunella`. Any
//! safetensors reader opens it.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Array, Card, Model, Weights};
use crate::error::{Error, Result};

/// Metadata key of the card.
const CARD_KEY: &str = "prunella";

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision: half the bytes, about three significant digits.
    F16,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
        }
    }

    /// Largest magnitude that can be stored.
    fn max(self) -> f32 {
        match self {
            Self::F32 => f32::MAX,
            Self::F16 => f32::from(half::f16::MAX),
        }
    }

    /// Bytes of one value.
    fn value_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// Values as little-endian bytes.
    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => {
                values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
            }
        }
    }
}

/// Limits on a model file from outside.
#[derive(Debug, Clone, Copy)]
pub struct FileLimits {
    /// Largest file, bytes.
    pub max_bytes: u64,
}

impl Default for FileLimits {
    /// 256 MB: thirteen times the paper's larger network.
    fn default() -> Self {
        Self { max_bytes: 256_000_000 }
    }
}

impl Model {
    /// The bytes of a model file. The same model gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when a weight is not finite or too large for `precision`.
    pub fn to_bytes(&self, precision: Precision) -> Result<Vec<u8>> {
        let max = precision.max();
        for (name, array) in self.weights() {
            if array.data.iter().any(|v| v.is_nan() || v.abs() > max) {
                return Err(Error::unsupported(format!(
                    "Array '{name}' holds a value that {precision:?} cannot store"
                )));
            }
        }
        let card = serde_json::to_string(self.card())
            .map_err(|e| Error::unsupported("The card cannot be written").caused_by(e))?;
        let mut encoded: Vec<Vec<u8>> = Vec::with_capacity(self.weights().len());
        for array in self.weights().values() {
            encoded.push(precision.encode(&array.data));
        }
        let mut views = Vec::with_capacity(encoded.len());
        for ((name, array), bytes) in self.weights().iter().zip(&encoded) {
            let view = TensorView::new(precision.dtype(), array.shape.clone(), bytes);
            let view = view.map_err(|e| {
                Error::mismatch(format!("Array '{name}' cannot be stored")).caused_by(e)
            })?;
            views.push((name.as_str(), view));
        }
        let metadata = HashMap::from([(CARD_KEY.to_owned(), card)]);
        safetensors::serialize(views, Some(metadata))
            .map_err(|e| Error::unsupported("The model cannot be written").caused_by(e))
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`Error::Limit`] for a file that is too large, [`Error::Malformed`] for one that is cut
    /// short or holds values that are not finite, [`Error::Unsupported`] for one without a card,
    /// and those of [`Model::new`].
    pub fn from_bytes(bytes: &[u8], limits: FileLimits) -> Result<Self> {
        if bytes.len() as u64 > limits.max_bytes {
            return Err(Error::limit(format!(
                "The model file is larger than {} MB",
                limits.max_bytes / 1_000_000
            )));
        }
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(safetensors_error)?;
        let card = header.metadata().as_ref().and_then(|m| m.get(CARD_KEY)).ok_or_else(|| {
            Error::unsupported(
                "The file has no prunella card, so its architecture is unknown; was it saved by \
                 prunella?",
            )
        })?;
        let card: Card = serde_json::from_str(card)
            .map_err(|e| Error::malformed("The model's card cannot be understood").caused_by(e))?;
        card.validate()?;
        Self::new(card, read_arrays(bytes)?)
    }
}

/// Whether a safetensors file is a model of this program, with a card.
///
/// # Errors
/// [`Error::Malformed`] for a broken file.
pub fn has_card(bytes: &[u8]) -> Result<bool> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(safetensors_error)?;
    Ok(header.metadata().as_ref().is_some_and(|metadata| metadata.contains_key(CARD_KEY)))
}

/// How the values of a model file are stored, by its first array.
///
/// # Errors
/// [`Error::Malformed`] for a broken file.
pub fn stored_precision(bytes: &[u8]) -> Result<Precision> {
    let tensors = SafeTensors::deserialize(bytes).map_err(safetensors_error)?;
    match tensors.iter().next() {
        Some((_, view)) if view.dtype() == Dtype::F16 => Ok(Precision::F16),
        _ => Ok(Precision::F32),
    }
}

/// Bytes that the arrays of a model take in a file, without header and card.
#[must_use]
pub fn array_bytes(model: &Model, precision: Precision) -> usize {
    model.graph().stored_values() * precision.value_bytes()
}

/// Every array of any safetensors file of f32 or f16 values (PyTorch's too, whose counts of
/// batches, `num_batches_tracked`, are left out).
///
/// # Errors
/// [`Error::Malformed`] for a broken file or a value that is not finite; [`Error::Unsupported`] for
/// other types.
pub fn read_arrays(bytes: &[u8]) -> Result<Weights> {
    let tensors = SafeTensors::deserialize(bytes).map_err(safetensors_error)?;
    let mut weights = Weights::new();
    for (name, view) in tensors.tensors() {
        if name.ends_with(".num_batches_tracked") {
            continue;
        }
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

fn safetensors_error(error: safetensors::SafeTensorError) -> Error {
    Error::malformed("The file is not a whole safetensors file").caused_by(error)
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
        /// Those of [`Model::from_bytes`] and of reading, naming the file.
        pub fn load(path: &Path) -> Result<Self> {
            let limits = FileLimits::default();
            Self::from_bytes(&read_file(path, limits.max_bytes)?, limits).at(path)
        }

        /// Writes the model file; other programs see the old file or the whole new one.
        ///
        /// # Errors
        /// Those of [`Model::to_bytes`] and [`write_atomic`].
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
    fn every_truncated_file_is_refused() {
        let bytes = small().to_bytes(Precision::F32).expect("bytes");
        for cut in (0..bytes.len()).step_by(7) {
            assert!(
                Model::from_bytes(&bytes[..cut], FileLimits::default()).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn false_cards_are_refused_before_memory_is_allocated() {
        let model = small();
        let text = serde_json::to_string(model.card()).expect("json");
        let with_card = |card: &str| {
            let bytes = model.to_bytes(Precision::F32).expect("bytes");
            let tensors = SafeTensors::deserialize(&bytes).expect("tensors").tensors();
            let metadata = HashMap::from([(CARD_KEY.to_owned(), card.to_owned())]);
            safetensors::serialize(tensors, Some(metadata)).expect("bytes")
        };
        assert!(
            Model::from_bytes(&with_card(&text), FileLimits::default()).is_ok(),
            "the true card is accepted"
        );
        let false_cards = [
            text.replace("[2,3,4]", "[2,3,999999999]"),
            text.replace("\"version\":1", "\"version\":2"),
            text.replace("\"hidden\":8", "\"hidden\":0"),
            text.replace("\"input_size_px\":55", "\"input_size_px\":54"),
            text.replace("rgb/255", "none"),
            text.replace("\"mpp_um\":0.25", "\"mpp_um\":-1"),
            "{".to_owned(),
        ];
        for card in false_cards {
            assert_ne!(card, text, "the replacement changes something");
            assert!(Model::from_bytes(&with_card(&card), FileLimits::default()).is_err(), "{card}");
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
    fn sizes_of_both_paper_networks_match_the_papers_table() {
        let kib =
            |a| array_bytes(&Model::random(a, 0).expect("model"), Precision::F32) as f64 / 1024.0;
        assert!((kib(Architecture::paper_dcnn()) - 3581.9).abs() < 0.1);
        assert!((kib(Architecture::paper_dccn()) - 18938.3).abs() < 0.1);
    }
}
