//! Graphics adapters for Burn, and the proof that one computes correctly.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn_tensor::{Device, DeviceKind, Tensor};

use super::super::compute::{Compute, TrainBackend};
use super::BurnDevice;
use super::gradient_check::{
    GRADIENT_TOLERANCE, NORMALISED_TOLERANCE, gradients_differ_by, has_batch_norm,
};
use super::network::values;
use crate::engine::gpu::AdapterFacts;
use crate::error::{Error, Result};
use crate::model::Model;

/// Length of the sum that detects drivers whose loops stop early (one stopped at 262 128).
const LARGE_SUM: usize = 1 << 20;
/// Sums side by side, as many as a small layer has filters.
const SUM_ROWS: usize = 4;
/// Share of an adapter's largest binding that one tensor may take: one in this many.
const BINDING_SHARE: u64 = 2;

/// Whether Burn can train on adapter `index` of all.
#[must_use]
pub(crate) fn can_train(all: &[AdapterFacts], index: usize) -> bool {
    device_kind(all, index).is_some()
}

/// Burn's name of adapter `index`: its kind and its number among adapters of that kind. Burn uses
/// one graphics interface, and can name only the first software adapter.
fn device_kind(all: &[AdapterFacts], index: usize) -> Option<DeviceKind> {
    let interface = if cfg!(target_os = "macos") { "Metal" } else { "Vulkan" };
    let facts = all.get(index)?;
    if facts.backend != interface {
        return None;
    }
    let same = |other: &&AdapterFacts| other.backend == interface && other.kind == facts.kind;
    let nth = all[..index].iter().filter(same).count();
    match facts.kind.as_str() {
        "DiscreteGpu" => Some(DeviceKind::DiscreteGpu(nth)),
        "IntegratedGpu" => Some(DeviceKind::IntegratedGpu(nth)),
        "VirtualGpu" => Some(DeviceKind::VirtualGpu(nth)),
        "Cpu" if nth == 0 => Some(DeviceKind::Cpu),
        _ => None,
    }
}

/// Opens adapter `index` of all and proves it on `model` at `batch` patches. The second value
/// describes it for the user.
///
/// # Errors
/// [`Error::Gpu`] when the adapter cannot train, fails, or computes wrongly.
pub(crate) fn open_adapter(
    all: &[AdapterFacts],
    index: usize,
    model: &Model,
    batch: usize,
) -> Result<(Compute, String)> {
    let facts = &all[index];
    let name = format!("{} ({})", facts.name, facts.backend);
    let Some(kind) = device_kind(all, index) else {
        return Err(Error::gpu(format!(
            "{name} can segment but not train; 'prunella devices' says which can"
        )));
    };
    let max_tensor_bytes = Some(facts.max_binding_bytes / BINDING_SHARE);
    let device = BurnDevice { device: Device::wgpu(kind), max_tensor_bytes };
    let part = device.micro_batch(model.graph(), batch)?;
    let compute = Compute { backend: TrainBackend::Burn(device.clone()), name };
    prove(&compute, &device, model, part)?;
    let mut description = format!("Training on {}", compute.name);
    if part < batch {
        description +=
            &format!("; batches of {batch} are split into parts of {part} to fit its buffers");
        if has_batch_norm(model) {
            description += ", and batch normalisation uses the statistics of each part";
        }
    }
    Ok((compute, description))
}

/// Compares a device's large sums with the exact ones, and its gradients for `batch` patches with
/// the native kernels'.
fn prove(compute: &Compute, device: &BurnDevice, model: &Model, batch: usize) -> Result<()> {
    let compare = || -> Result<()> {
        check_sums(&large_sums(&device.device)?, &compute.name)?;
        let difference = gradients_differ_by(model, batch, &Compute::cpu(), compute)?;
        tracing::debug!(
            device = compute.name,
            batch,
            difference,
            "gradients compared with the CPU's"
        );
        let tolerance =
            if has_batch_norm(model) { NORMALISED_TOLERANCE } else { GRADIENT_TOLERANCE };
        if difference.is_nan() || difference > tolerance {
            return Err(Error::gpu(format!(
                "Gradients on {} differ from the CPU's by {difference:.1e} at a batch of {batch}; \
                 it is not used",
                compute.name
            )));
        }
        Ok(())
    };
    catch_unwind(AssertUnwindSafe(compare)).unwrap_or_else(|_| {
        Err(Error::gpu(format!("{} failed while it was tried out", compute.name)))
    })
}

/// Sums of ones in the three ways that training uses: of a whole tensor, along an axis, and as a
/// matrix product.
fn large_sums(device: &Device) -> Result<Vec<f32>> {
    let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, device);
    let mut sums = values(ones([1, LARGE_SUM]).sum())?;
    sums.extend(values(ones([SUM_ROWS, LARGE_SUM]).sum_dim(1).reshape([SUM_ROWS]))?);
    sums.extend(values(ones([1, LARGE_SUM]).matmul(ones([LARGE_SUM, 1])).reshape([1]))?);
    Ok(sums)
}

/// Every sum must be exactly [`LARGE_SUM`], which f32 can hold.
fn check_sums(sums: &[f32], device: &str) -> Result<()> {
    for sum in sums {
        if sum.to_bits() != (LARGE_SUM as f32).to_bits() {
            return Err(Error::gpu(format!(
                "{device} adds {LARGE_SUM} ones up to {sum}; its driver computes wrongly and is \
                 not used"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_stops_early_is_refused() {
        assert!(check_sums(&[LARGE_SUM as f32; 3], "it").is_ok());
        let refused = check_sums(&[LARGE_SUM as f32, 262_128.0], "it").expect_err("short");
        assert!(refused.to_string().contains("262128"), "{refused}");
    }

    #[test]
    #[cfg(feature = "burn-flex")]
    fn the_proof_accepts_burn_on_the_cpu() {
        let model = Model::random(crate::model::dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let burn = Compute::burn_cpu();
        let device = BurnDevice { device: Device::flex(), max_tensor_bytes: None };
        prove(&burn, &device, &model, 4).expect("Burn agrees with the native kernels");
    }

    #[test]
    fn adapters_are_numbered_by_kind_and_other_interfaces_are_left_out() {
        let interface = if cfg!(target_os = "macos") { "Metal" } else { "Vulkan" };
        let facts = |backend: &str, kind: &str| AdapterFacts {
            name: "it".into(),
            backend: backend.into(),
            kind: kind.into(),
            software: kind == "Cpu",
            driver: String::new(),
            max_binding_bytes: 1,
        };
        let all = [
            facts(interface, "DiscreteGpu"),
            facts("Dx12", "DiscreteGpu"),
            facts(interface, "DiscreteGpu"),
            facts(interface, "Cpu"),
            facts(interface, "Cpu"),
        ];
        let kinds: Vec<_> = (0..all.len()).map(|i| device_kind(&all, i)).collect();
        assert_eq!(kinds[0], Some(DeviceKind::DiscreteGpu(0)));
        assert_eq!(kinds[1], None);
        assert_eq!(kinds[2], Some(DeviceKind::DiscreteGpu(1)));
        assert_eq!(kinds[3], Some(DeviceKind::Cpu));
        assert_eq!(kinds[4], None);
    }
}
