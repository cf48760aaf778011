//! Burn's CPU backend, which nobody needs to train: the reference for gradients of this crate's
//! kernels in tests, and a peer in benchmarks (feature `burn-flex`).

use burn_tensor::Device;

use super::network::{BurnNetwork, values};
use super::{BurnDevice, patch_tensor};
use crate::error::Result;
use crate::model::Model;
use crate::train::compute::{Compute, TrainBackend};

impl Compute {
    /// Burn's pure-Rust CPU backend: the reference for gradients in tests and benchmarks.
    #[must_use]
    pub fn burn_cpu() -> Self {
        let device = BurnDevice { device: Device::flex(), max_tensor_bytes: None };
        Self { backend: TrainBackend::Burn(device), name: "CPU (Burn flex)".into() }
    }
}

/// Logits of patches (3×55×55 each), `[patch][class]`, by Burn on the CPU with running statistics.
///
/// # Errors
/// When Burn does not return its data.
pub fn burn_logits(model: &Model, patches: &[f32]) -> Result<Vec<f32>> {
    let device = Device::flex();
    let count = patches.len() / crate::dataset::PATCH_VALUES;
    let input = patch_tensor(patches.to_vec(), count, &device);
    let logits = BurnNetwork::new(model.graph(), model.weights(), &device).logits(input);
    let [patches, classes] = logits.dims();
    values(logits.reshape([patches * classes]))
}

#[cfg(test)]
mod tests {
    use super::super::super::gradients::update_running_statistics;
    use super::super::gradient_check::{noise, relative_difference};
    use super::*;
    use crate::error::Error;
    use crate::model::{Architecture, Head, dccn, dcnn};
    use crate::train::gradients_differ_by;

    #[test]
    fn a_batch_too_large_for_the_device_is_split_and_a_hopeless_device_is_refused() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let largest = 3 * 55 * 55 * 4;
        let mut device =
            BurnDevice { device: Device::flex(), max_tensor_bytes: Some(largest * 10) };
        assert_eq!(device.micro_batch(model.graph(), 64).expect("fits"), 10);
        assert_eq!(device.micro_batch(model.graph(), 4).expect("fits"), 4);
        device.max_tensor_bytes = Some(largest - 1);
        assert!(matches!(device.micro_batch(model.graph(), 4), Err(Error::Limit { .. })));
    }

    #[test]
    fn the_native_kernels_have_burns_gradients() {
        let small = || dccn(5, 7, 3, [6, 5, 9], 2);
        // Normalisation over few values magnifies rounding.
        let cases = [
            (dcnn([3, 5, 8], 20, 2), 5, 2e-5),
            (dcnn([3, 5, 8], 20, 3), 37, 2e-5),
            (dccn(5, 7, 3, [6, 5, 9], 4), 37, 5e-4),
            (Architecture::paper_dcnn(), 33, 2e-5),
            (small(), 5, 5e-4),
            (small(), 67, 5e-4),
            (Architecture::paper_dccn(), 16, 0.05),
        ];
        for (architecture, batch, tolerance) in cases {
            let model = Model::random(architecture, 1).expect("model");
            let apart = gradients_differ_by(&model, batch, &Compute::burn_cpu(), &Compute::cpu());
            let apart = apart.expect("gradients");
            assert!(apart < tolerance, "{batch} patches: {apart}");
        }
    }

    #[test]
    fn the_native_kernels_move_running_statistics_as_burn_does() {
        let model = Model::random(dccn(5, 7, 3, [6, 5, 9], 2), 3).expect("model");
        let batch = noise(37, 2);
        let moved = |compute: &Compute| {
            let mut weights = model.weights().clone();
            let found = compute.gradients(model.graph(), &weights, &batch, Head::Sigmoid);
            update_running_statistics(&mut weights, &found.expect("gradients").statistics);
            weights
        };
        let burn = moved(&Compute::burn_cpu());
        let native = moved(&Compute::cpu());
        for (name, array) in burn.iter().filter(|(name, _)| name.contains("running")) {
            let before = model.array(name);
            let moves = array.data.iter().zip(before).any(|(a, b)| (a - b).abs() > 1e-3);
            assert!(moves, "{name} did not move");
            let apart = relative_difference(&native[name].data, &array.data, 0.0);
            assert!(apart < 1e-5, "{name}: {apart}");
        }
    }
}
