//! How far the gradients of two backends are apart: the proof of a training device.

use super::super::batch::Batch;
use super::super::compute::Compute;
use super::super::gradients::Gradients;
use crate::dataset::PATCH_VALUES;
use crate::error::Result;
use crate::model::{Head, Model, Op};
use crate::platform::mix;

/// Largest accepted difference between a device's gradients and the CPU's.
pub(super) const GRADIENT_TOLERANCE: f64 = 2e-3;
/// The same where batch normalisation magnifies rounding: in f32 PyTorch differs from its own f64
/// by 0.009, and two correct devices were 0.03 apart. A layer whose gradient is a sixth too small
/// is refused (a test); a hundredth is not detected.
pub(super) const NORMALISED_TOLERANCE: f64 = 0.1;
/// The difference of an array is relative to its norm, or to this share of the largest norm if that
/// is more: what a normalisation cancels has a gradient of rounding errors alone.
const NEGLIGIBLE: f64 = 1e-3;

/// Largest relative difference, over loss and arrays, between the gradients of two backends for a
/// batch of noise; infinite when a value is no number.
///
/// # Errors
/// Those of the backends.
pub fn gradients_differ_by(
    model: &Model,
    batch: usize,
    reference: &Compute,
    other: &Compute,
) -> Result<f64> {
    let batch = noise(batch, model.card().classes.len());
    let expected = reference.gradients(model.graph(), model.weights(), &batch, Head::Softmax)?;
    let found = other.gradients(model.graph(), model.weights(), &batch, Head::Softmax)?;
    let floor = if has_batch_norm(model) { NEGLIGIBLE } else { 0.0 };
    Ok(distance(&found, &expected, floor))
}

/// Patches of uniform noise between 0 and 1, of every class in turn, the same on every machine.
pub(super) fn noise(patches: usize, classes: usize) -> Batch {
    let mut values = Vec::with_capacity(patches * PATCH_VALUES);
    for i in 0..patches * PATCH_VALUES {
        values.push((mix(i as u64) >> 40) as f32 / (1u32 << 24) as f32);
    }
    Batch::of_patches(values, (0..patches).map(|i| i % classes).collect())
}

/// Whether [`NORMALISED_TOLERANCE`] applies.
pub(super) fn has_batch_norm(model: &Model) -> bool {
    model.graph().nodes.iter().any(|node| node.op == Op::BatchNorm)
}

/// Largest relative difference; infinite where an array is absent or has another length. `floor`:
/// share of the largest norm to which differences are relative at least.
fn distance(found: &Gradients, expected: &Gradients, floor: f64) -> f64 {
    let mut largest_norm = 0.0f64;
    for values in expected.arrays.values() {
        largest_norm = largest_norm.max(norm(values));
    }
    let of_loss = (found.loss - expected.loss).abs() / expected.loss.abs().max(f64::MIN_POSITIVE);
    let mut distance = if of_loss.is_finite() { of_loss } else { f64::INFINITY };
    for (name, expected) in &expected.arrays {
        let apart = match found.arrays.get(name) {
            Some(found) => relative_difference(found, expected, floor * largest_norm),
            None => f64::INFINITY,
        };
        distance = distance.max(apart);
    }
    distance
}

/// Norm of the difference over the norm of `expected`, or over `least` if that is more; infinite
/// when a value is no number or the lengths differ.
pub(super) fn relative_difference(found: &[f32], expected: &[f32], least: f64) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let difference: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
    let relative = norm(&difference) / norm(expected).max(least).max(f64::MIN_POSITIVE);
    if relative.is_finite() { relative } else { f64::INFINITY }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn values_that_are_a_little_wrong_or_no_numbers_are_detected() {
        assert!(relative_difference(&[f32::NAN, 1.0], &[1.0, 1.0], 0.0) > GRADIENT_TOLERANCE);
        assert!(relative_difference(&[1.1], &[1.0], 0.0) > GRADIENT_TOLERANCE);
        assert!(relative_difference(&[1.0], &[1.0], 0.0) <= GRADIENT_TOLERANCE);
        // Rounding of a gradient that is nothing beside the others is no fault; as large as theirs
        // it is one.
        assert!(relative_difference(&[2e-6], &[1e-6], 1e-3) <= GRADIENT_TOLERANCE);
        assert!(relative_difference(&[2e-3], &[1e-6], 1e-3) > GRADIENT_TOLERANCE);
    }

    fn of(arrays: BTreeMap<String, Vec<f32>>) -> Gradients {
        Gradients { loss: 0.5, arrays, statistics: Vec::new() }
    }

    #[test]
    fn an_absent_array_and_one_of_another_length_are_detected() {
        let arrays =
            BTreeMap::from([("a".to_owned(), vec![1.0, -2.0]), ("b".to_owned(), vec![0.5])]);
        let expected = of(arrays.clone());
        assert!(distance(&of(arrays.clone()), &expected, 0.0) == 0.0);
        let mut wrong = arrays;
        wrong.insert("a".into(), vec![0.85, -1.7]);
        assert!(distance(&of(wrong.clone()), &expected, 0.0) > NORMALISED_TOLERANCE);
        wrong.insert("a".into(), vec![1.0]);
        assert!(distance(&of(wrong.clone()), &expected, 0.0).is_infinite());
        wrong.remove("a");
        assert!(distance(&of(wrong), &expected, 0.0).is_infinite());
        let no_number = Gradients { loss: f64::NAN, ..of(expected.arrays.clone()) };
        assert!(distance(&no_number, &expected, 0.0).is_infinite());
    }
}
