//! A model whose weights have few significant bits, so that its file compresses well: half
//! precision stores 16 bits a weight either way, but a weight of five significant bits ends in
//! zeros.

use half::f16;

use crate::error::{Error, Result};
use crate::model::{HistoryStep, Model};

/// Significant bits that half precision holds.
const F16_BITS: u32 = 11;
/// Significant bits of an `f32`.
const F32_BITS: u32 = 24;

/// The model with each value rounded to this many significant bits (1 to 11) and to half precision,
/// without the scores on its card, which were measured with other weights.
///
/// # Errors
/// [`Error::Mismatch`] for another number of bits, [`Error::Unsupported`] for a value too large for
/// half precision.
pub fn rounded(model: &Model, significant_bits: u32) -> Result<Model> {
    if !(1..=F16_BITS).contains(&significant_bits) {
        return Err(Error::mismatch(format!(
            "Weights are rounded to 1 to {F16_BITS} significant bits, not to {significant_bits}"
        )));
    }
    let mut weights = model.weights().clone();
    for (name, array) in &mut weights {
        for value in &mut array.data {
            *value = f16::from_f32(round_to(*value, significant_bits)).to_f32();
            if !value.is_finite() {
                return Err(Error::unsupported(format!(
                    "Array '{name}' holds a value that half precision cannot store"
                )));
            }
        }
    }
    let mut rounded = model.with_weights(weights)?;
    let parent = model.fingerprint();
    // Rounding again, or what half precision holds already, changes nothing.
    if rounded.fingerprint() != parent {
        let card = rounded.card_mut();
        card.parent = Some(parent);
        card.metrics.clear();
        card.history.push(HistoryStep::Round { significant_bits });
    }
    Ok(rounded)
}

/// The nearest value of this many significant bits (1 to 23); of two as near, the one whose last
/// bit is 0.
fn round_to(value: f32, significant_bits: u32) -> f32 {
    let dropped = F32_BITS - significant_bits;
    let bits = value.to_bits();
    let last_kept = (bits >> dropped) & 1;
    // A carry out of the mantissa raises the exponent, which is the right result.
    let carried = bits + (1 << (dropped - 1)) - 1 + last_kept;
    f32::from_bits(carried & !((1 << dropped) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FileLimits, Precision, dcnn};

    #[test]
    fn values_become_the_nearest_of_few_bits() {
        for (value, bits, expected) in [
            (1.0, 1, 1.0),
            (1.49f32, 1, 1.0f32),
            (1.5, 1, 2.0),
            (-1.51, 1, -2.0),
            (0.171_875, 3, 0.1875),
            // Halfway between 1.25 and 1.5: the even one.
            (1.375, 3, 1.5),
            (1.125, 3, 1.0),
            (0.0, 6, 0.0),
            (1023.0, 6, 1024.0),
        ] {
            assert_eq!(
                round_to(value, bits).to_bits(),
                expected.to_bits(),
                "{value} to {bits} bits"
            );
        }
    }

    #[test]
    fn a_rounded_model_is_near_says_so_and_is_stored_exactly() {
        let mut model = Model::random(dcnn([2, 3, 4], 8, 2), 3).expect("model");
        model.card_mut().metrics.insert("tiles".into(), serde_json::json!({ "dice": 0.8 }));
        let near = rounded(&model, 6).expect("rounded");
        for (name, array) in near.weights() {
            for (&new, &old) in array.data.iter().zip(model.array(name)) {
                // Below 2⁻¹⁴ half precision itself has fewer bits.
                assert!((new - old).abs() <= old.abs() / 64.0 + 6e-8, "{name}: {old} → {new}");
            }
        }
        let card = near.card();
        assert!(card.metrics.is_empty());
        assert_eq!(card.parent, Some(model.fingerprint()));
        assert_eq!(card.history.last(), Some(&HistoryStep::Round { significant_bits: 6 }));
        let bytes = near.to_bytes(Precision::F16).expect("bytes");
        let read = Model::from_bytes(&bytes, FileLimits::default()).expect("model");
        assert_eq!(read.fingerprint(), near.fingerprint());
        let again = rounded(&near, 6).expect("rounded");
        assert_eq!(again.to_bytes(Precision::F16).expect("bytes"), bytes);
    }

    #[test]
    fn other_numbers_of_bits_and_values_that_are_too_large_are_refused() {
        let model = Model::random(dcnn([2, 3, 4], 8, 2), 3).expect("model");
        assert!(rounded(&model, 0).is_err() && rounded(&model, 12).is_err());
        let mut weights = model.weights().clone();
        let array = weights.values_mut().next().expect("array");
        array.data[0] = 70_000.0;
        assert!(rounded(&model.with_weights(weights).expect("model"), 8).is_err());
    }
}
