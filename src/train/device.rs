//! Where training runs: adapters, the choice among them, and the proof that the chosen one computes
//! rightly.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, DeviceKind, Tensor};
use serde::Serialize;

use super::batch::Batch;
use super::gradients::{burn_gradients, kernel_gradients};
use super::kernels::Kernels;
use super::network::{BurnNetwork, values};
use crate::dataset::PATCH_VALUES;
use crate::engine::DeviceChoice;
use crate::engine::gpu::{Adapter as EngineAdapter, AdapterFacts};
use crate::error::{Error, Result};
use crate::model::{Family, Head, Model, Op};
use crate::platform::mix;

/// Largest relative difference between a device's gradients and the CPU's.
const GRADIENT_TOLERANCE: f64 = 2e-3;
/// The same where batch normalisation magnifies rounding: in f32 PyTorch leaves its own f64 by
/// 0.009, and two right devices were seen 0.03 apart. A layer whose gradient is a sixth too small
/// is refused (a test); a hundredth is not seen.
const NORMALISED_TOLERANCE: f64 = 0.1;
/// Share of the largest gradient below which an array's own is not compared with itself but with
/// this.
const NEGLIGIBLE: f64 = 1e-3;
/// Length of the sum that catches drivers whose loops stop early (seen at 262 128).
const LARGE_SUM: usize = 1 << 20;
/// Sums side by side, as many as a small layer has filters.
const SUM_ROWS: usize = 4;
/// Share of an adapter's largest binding that one tensor may take.
const BINDING_SHARE: u64 = 2;

/// A graphics adapter.
#[derive(Debug, Clone, Serialize)]
pub struct TrainAdapter {
    /// N of `--device gpu:N`.
    pub index: usize,
    #[serde(flatten)]
    pub facts: AdapterFacts,
    /// Whether Burn can train on it; segmentation runs on any.
    pub trains: bool,
    #[serde(skip)]
    burn: Option<DeviceKind>,
}

/// A device ready to train on.
#[derive(Debug, Clone)]
pub struct Compute {
    /// Without gradient tracking.
    pub device: Device,
    /// For people and cards: "CPU (Burn flex)" or the adapter's name and API.
    pub name: String,
    /// Largest tensor the device takes, bytes; none for the CPU.
    pub max_tensor_bytes: Option<u64>,
    /// Gradients come from this crate's CPU kernels; Burn then only keeps the weights and takes the
    /// optimiser's step.
    pub lanes: bool,
}

impl Compute {
    /// Burn's pure-Rust CPU backend.
    #[must_use]
    pub fn cpu() -> Self {
        Self {
            device: Device::flex(),
            name: "CPU (Burn flex)".into(),
            max_tensor_bytes: None,
            lanes: false,
        }
    }

    /// The CPU by this crate's own kernels where they know the network, else by Burn's. The kernels
    /// work on groups of 32 patches; threads beyond the groups share the filters of convolutions,
    /// and wait in the DCCN's normalisations.
    #[must_use]
    pub fn fastest_cpu(model: &Model) -> Self {
        if Kernels::of(model.graph()).is_none() {
            return Self::cpu();
        }
        Self { name: "CPU (32 windows side by side)".into(), lanes: true, ..Self::cpu() }
    }

    /// This crate's kernels for a model, where they are used.
    #[must_use]
    pub(super) fn kernels(&self, model: &Model) -> Option<Kernels> {
        Kernels::of(model.graph()).filter(|_| self.lanes)
    }

    /// The device for a network to be trained on. Only Burn's own gradients are tracked: what is
    /// tracked and never walked back is kept for ever.
    #[must_use]
    pub(super) fn tracking(&self, kernels: Option<&Kernels>) -> Device {
        if kernels.is_some() { self.device.clone() } else { self.device.clone().autodiff() }
    }

    /// Patches that fit the device at once, at most `batch`. A batch is worked on in parts of this
    /// size.
    ///
    /// # Errors
    /// [`Error::Limit`] when not even one patch fits.
    pub fn micro_batch(&self, model: &Model, batch: usize) -> Result<usize> {
        let Some(limit) = self.max_tensor_bytes else { return Ok(batch) };
        let largest =
            model.graph().nodes.iter().map(|n| n.shape.count()).max().unwrap_or(1) as u64 * 4;
        match (limit / largest) as usize {
            0 => Err(Error::limit(format!(
                "One patch needs {largest} bytes in a buffer; {} takes {limit}",
                self.name
            ))),
            fits => Ok(batch.min(fits)),
        }
    }
}

/// All adapters, real ones first, numbered as `--device gpu:N` takes them. Burn trains on those of
/// one interface and can name only one software adapter.
#[must_use]
pub fn adapters() -> Vec<TrainAdapter> {
    let trained_on = if cfg!(target_os = "macos") { "Metal" } else { "Vulkan" };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut describe = |(index, EngineAdapter { facts, .. }): (usize, EngineAdapter)| {
        let mut burn = None;
        if facts.backend == trained_on {
            let nth = counts.entry(facts.kind.clone()).or_default();
            burn = match facts.kind.as_str() {
                "DiscreteGpu" => Some(DeviceKind::DiscreteGpu(*nth)),
                "IntegratedGpu" => Some(DeviceKind::IntegratedGpu(*nth)),
                "VirtualGpu" => Some(DeviceKind::VirtualGpu(*nth)),
                "Cpu" if *nth == 0 => Some(DeviceKind::Cpu),
                _ => None,
            };
            *nth += 1;
        }
        TrainAdapter { index, facts, trains: burn.is_some(), burn }
    };
    pollster::block_on(crate::engine::gpu::adapters())
        .into_iter()
        .enumerate()
        .map(&mut describe)
        .collect()
}

/// Opens a device and proves it on `model` at `batch` patches. The second value says why, for the
/// user.
///
/// # Errors
/// [`Error::Gpu`] when the asked-for adapter is missing, fails, or computes wrongly.
pub fn open(choice: DeviceChoice, model: &Model, batch: usize) -> Result<(Compute, String)> {
    if model.card().architecture.classes() != 2 {
        return Err(Error::unsupported(
            "Training needs a model with two classes, background and nucleus",
        ));
    }
    match choice {
        DeviceChoice::Cpu => {
            Ok((Compute::fastest_cpu(model), "Training on the CPU, as asked".into()))
        }
        DeviceChoice::Gpu(index) => {
            let all = adapters();
            let adapter = all.iter().find(|a| a.index == index.unwrap_or(0)).ok_or_else(|| {
                Error::gpu(format!(
                    "There is no GPU {}; 'prunella devices' lists {} adapters",
                    index.unwrap_or(0),
                    all.len()
                ))
            })?;
            let compute = open_adapter(adapter)?;
            verify(&compute, model, batch)?;
            let said = said_of(&compute, model, batch)?;
            Ok((compute, said))
        }
        DeviceChoice::Auto => {
            let Some(adapter) = adapters().into_iter().find(|a| a.trains && !a.facts.software)
            else {
                return Ok((
                    Compute::fastest_cpu(model),
                    "No GPU found; training on the CPU".into(),
                ));
            };
            let compute = open_adapter(&adapter)?;
            match verify(&compute, model, batch) {
                Ok(()) => {
                    let said = said_of(&compute, model, batch)?;
                    Ok((compute, said))
                }
                Err(e) => {
                    Ok((Compute::fastest_cpu(model), format!("{e}; training on the CPU instead")))
                }
            }
        }
    }
}

/// Where training runs, and whether batches are cut to fit.
fn said_of(compute: &Compute, model: &Model, batch: usize) -> Result<String> {
    let part = compute.micro_batch(model, batch)?;
    let mut said = format!("Training on {}", compute.name);
    if part < batch {
        said +=
            &format!("; batches of {batch} are worked on in parts of {part} to fit its buffers");
        if model.card().architecture.family() == Family::Dccn {
            said += ", and batch normalisation then sees the parts";
        }
    }
    Ok(said)
}

fn open_adapter(adapter: &TrainAdapter) -> Result<Compute> {
    let name = format!("{} ({})", adapter.facts.name, adapter.facts.backend);
    let Some(burn) = adapter.burn.clone() else {
        return Err(Error::gpu(format!(
            "{name} can segment but not train; 'prunella devices' says which can"
        )));
    };
    let max_tensor_bytes = Some(adapter.facts.max_binding_bytes / BINDING_SHARE);
    Ok(Compute { device: Device::wgpu(burn), name, max_tensor_bytes, lanes: false })
}

/// Compares gradients at the batch size in use, and a large sum, with the CPU.
fn verify(compute: &Compute, model: &Model, batch: usize) -> Result<()> {
    let batch = compute.micro_batch(model, batch)?;
    let check = || -> Result<()> {
        check_large_sums(compute)?;
        let difference = gradients_differ_by(model, batch, &Compute::cpu(), compute)?;
        tracing::debug!(
            device = compute.name,
            batch,
            difference,
            "gradients compared with the CPU's"
        );
        let tolerance =
            if is_normalised(model) { NORMALISED_TOLERANCE } else { GRADIENT_TOLERANCE };
        if difference.is_nan() || difference > tolerance {
            return Err(Error::gpu(format!(
                "Gradients on {} differ from the CPU's by {difference:.1e} at a batch of {batch}; it is not used",
                compute.name
            )));
        }
        Ok(())
    };
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| {
        Err(Error::gpu(format!("{} failed while it was tried out", compute.name)))
    })
}

/// Adds up ones in the three ways that training does: a whole tensor, along an axis, and as a
/// matrix product.
fn check_large_sums(compute: &Compute) -> Result<()> {
    let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, &compute.device);
    let sums = [
        values(ones([1, LARGE_SUM]).sum())?,
        values(ones([SUM_ROWS, LARGE_SUM]).sum_dim(1).reshape([SUM_ROWS]))?,
        values(ones([1, LARGE_SUM]).matmul(ones([LARGE_SUM, 1])).reshape([1]))?,
    ];
    judge_sums(&sums.concat(), &compute.name)
}

/// Every sum must be exactly [`LARGE_SUM`], which f32 can hold.
fn judge_sums(sums: &[f32], device: &str) -> Result<()> {
    match sums.iter().find(|sum| sum.to_bits() != (LARGE_SUM as f32).to_bits()) {
        None => Ok(()),
        Some(sum) => Err(Error::gpu(format!(
            "{device} adds {LARGE_SUM} ones up to {sum}; its driver computes wrongly and is not used"
        ))),
    }
}

/// Largest relative difference, over arrays, between the gradients of two devices on the same
/// noise.
///
/// # Errors
/// When a device does not return its data.
pub fn gradients_differ_by(
    model: &Model,
    batch: usize,
    reference: &Compute,
    other: &Compute,
) -> Result<f64> {
    let noise = |i: usize| (mix(i as u64) >> 40) as f32 / (1u32 << 24) as f32;
    let classes = model.card().architecture.classes();
    let batch = Batch::of_patches(
        (0..batch * PATCH_VALUES).map(noise).collect(),
        (0..batch).map(|i| i % classes).collect(),
    );
    let (loss, right) = gradients(model, &batch, reference)?;
    let (found_loss, found) = gradients(model, &batch, other)?;
    // What a normalisation undoes has next to no gradient: of such arrays only rounding is left to
    // compare.
    let largest = right.values().map(|r| norm(r.iter().copied())).fold(0.0, f64::max);
    let least = if is_normalised(model) { largest * NEGLIGIBLE } else { 0.0 };
    let of_loss = (found_loss - loss).abs() / loss.abs().max(f64::MIN_POSITIVE);
    Ok(furthest(&found, &right, least).max(if of_loss.is_finite() {
        of_loss
    } else {
        f64::INFINITY
    }))
}

/// Largest relative difference over the arrays of `right`; infinite where one is absent or has
/// another length.
fn furthest(
    found: &BTreeMap<String, Vec<f32>>,
    right: &BTreeMap<String, Vec<f32>>,
    least: f64,
) -> f64 {
    let apart = |(name, right): (&String, &Vec<f32>)| match found.get(name) {
        Some(found) if found.len() == right.len() => relative_difference(found, right, least),
        _ => f64::INFINITY,
    };
    right.iter().map(apart).fold(0.0, f64::max)
}

fn is_normalised(model: &Model) -> bool {
    model.graph().nodes.iter().any(|n| n.op == Op::BatchNorm)
}

/// Norm of the difference over the norm of `right`, or over `least` if that is more; infinite when
/// a value is no number.
fn relative_difference(found: &[f32], right: &[f32], least: f64) -> f64 {
    let apart = norm(found.iter().zip(right).map(|(a, b)| a - b));
    let relative = apart / norm(right.iter().copied()).max(least).max(f64::MIN_POSITIVE);
    if relative.is_finite() { relative } else { f64::INFINITY }
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn gradients(
    model: &Model,
    batch: &Batch,
    compute: &Compute,
) -> Result<(f64, BTreeMap<String, Vec<f32>>)> {
    let kernels = compute.kernels(model);
    let device = compute.tracking(kernels.as_ref());
    let mut network = BurnNetwork::new(model, &device);
    let (loss, found) = match kernels {
        Some(kernels) => kernel_gradients(&kernels, &mut network, batch, Head::Softmax)?,
        None => burn_gradients(&mut network, batch.input(&device), &batch.classes, Head::Softmax)?,
    };
    let arrays =
        found.into_iter().map(|(name, g)| Ok((name, values(g)?))).collect::<Result<_>>()?;
    Ok((loss, arrays))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, dccn, dcnn};

    #[test]
    fn a_batch_too_large_for_the_device_is_cut_and_a_hopeless_device_is_refused() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let largest = 3 * 55 * 55 * 4;
        let mut compute = Compute { max_tensor_bytes: Some(largest * 10), ..Compute::cpu() };
        assert_eq!(compute.micro_batch(&model, 64).expect("fits"), 10);
        assert_eq!(compute.micro_batch(&model, 4).expect("fits"), 4);
        compute.max_tensor_bytes = Some(largest - 1);
        assert!(matches!(compute.micro_batch(&model, 4), Err(Error::Limit { .. })));
    }

    #[test]
    fn a_sum_that_stops_early_and_a_gradient_that_is_no_number_are_refused() {
        assert!(judge_sums(&[LARGE_SUM as f32; 3], "it").is_ok());
        let said = judge_sums(&[LARGE_SUM as f32, 262_128.0], "it").expect_err("short").to_string();
        assert!(said.contains("262128"), "{said}");
        assert!(relative_difference(&[f32::NAN, 1.0], &[1.0, 1.0], 0.0) > GRADIENT_TOLERANCE);
        assert!(relative_difference(&[1.1], &[1.0], 0.0) > GRADIENT_TOLERANCE);
        assert!(relative_difference(&[1.0], &[1.0], 0.0) <= GRADIENT_TOLERANCE);
        // Rounding of a gradient that is nothing beside the others is no fault; as large as theirs
        // it is one.
        assert!(relative_difference(&[2e-6], &[1e-6], 1e-3) <= GRADIENT_TOLERANCE);
        assert!(relative_difference(&[2e-3], &[1e-6], 1e-3) > GRADIENT_TOLERANCE);
    }

    #[test]
    fn the_gradient_check_passes_the_cpu_against_itself() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let cpu = Compute::cpu();
        verify(&cpu, &model, 4).expect("the CPU agrees with itself");
    }

    #[test]
    fn the_kernels_have_the_frameworks_gradients() {
        let dccn = || dccn(5, 7, 3, [6, 5, 9], 2);
        // Normalisation over few values magnifies rounding.
        let cases = [
            (dcnn([3, 5, 8], 20, 2), 5, 2e-5),
            (Architecture::paper_dcnn(), 33, 2e-5),
            (dccn(), 5, 5e-4),
            (dccn(), 67, 5e-4),
            (Architecture::paper_dccn(), 16, 0.05),
        ];
        for (architecture, batch, tolerance) in cases {
            let model = Model::random(architecture, 1).expect("model");
            let (burn, ours) = (Compute::cpu(), Compute::fastest_cpu(&model));
            assert!(ours.lanes && !burn.lanes);
            let apart = gradients_differ_by(&model, batch, &burn, &ours).expect("gradients");
            assert!(apart < tolerance, "{batch} patches: {apart}");
        }
    }

    #[test]
    fn an_absent_array_and_one_that_is_a_little_wrong_are_seen() {
        let right =
            BTreeMap::from([("a".to_owned(), vec![1.0, -2.0]), ("b".to_owned(), vec![0.5])]);
        assert!(furthest(&right, &right, 0.0) == 0.0);
        let mut wrong = right.clone();
        wrong.insert("a".into(), vec![0.85, -1.7]);
        assert!(furthest(&wrong, &right, 0.0) > NORMALISED_TOLERANCE);
        wrong.insert("a".into(), vec![1.0]);
        assert!(furthest(&wrong, &right, 0.0).is_infinite());
        wrong.remove("a");
        assert!(furthest(&wrong, &right, 0.0).is_infinite());
    }

    #[test]
    fn the_kernels_move_running_statistics_as_the_framework_does() {
        let model = Model::random(dccn(5, 7, 3, [6, 5, 9], 2), 3).expect("model");
        let noise = |i: usize| (mix(i as u64) >> 40) as f32 / (1u32 << 24) as f32;
        let batch = Batch::of_patches(
            (0..37 * PATCH_VALUES).map(noise).collect(),
            (0..37).map(|i| i % 2).collect(),
        );
        let mut networks = [Device::flex().autodiff(), Device::flex()]
            .map(|device| BurnNetwork::new(&model, &device));
        let input = batch.input(networks[0].device());
        burn_gradients(&mut networks[0], input, &batch.classes, Head::Sigmoid).expect("Burn");
        let kernels = Kernels::of(model.graph()).expect("kernels");
        kernel_gradients(&kernels, &mut networks[1], &batch, Head::Sigmoid).expect("kernels");
        let [burn, ours] = networks.map(|n| n.weights().expect("weights"));
        let running = burn.iter().filter(|(name, _)| name.contains("running"));
        for (name, array) in running {
            let before = model.array(name);
            assert!(
                array.data.iter().zip(before).any(|(a, b)| (a - b).abs() > 1e-3),
                "{name} stood still"
            );
            let apart = relative_difference(&ours[name].data, &array.data, 0.0);
            assert!(apart < 1e-5, "{name}: {apart}");
        }
    }
}
