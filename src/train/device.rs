//! Where training runs: the adapters of this machine and the choice among them and the CPU.

use serde::Serialize;

use super::burn;
use super::compute::Compute;
use crate::engine::DeviceChoice;
use crate::engine::gpu::AdapterFacts;
use crate::error::{Error, Result};
use crate::model::Model;

/// A graphics adapter.
#[derive(Debug, Clone, Serialize)]
pub struct TrainAdapter {
    /// N of `--device gpu:N`.
    pub index: usize,
    /// What the platform reports about it.
    #[serde(flatten)]
    pub facts: AdapterFacts,
    /// Whether this build can train on it; segmentation runs on any.
    pub trains: bool,
}

/// All adapters, hardware before software, numbered as `--device gpu:N` takes them.
#[must_use]
pub fn adapters() -> Vec<TrainAdapter> {
    let all = adapter_facts();
    let mut adapters = Vec::with_capacity(all.len());
    for (index, facts) in all.iter().enumerate() {
        let trains = burn::can_train(&all, index);
        adapters.push(TrainAdapter { index, facts: facts.clone(), trains });
    }
    adapters
}

fn adapter_facts() -> Vec<AdapterFacts> {
    let adapters = pollster::block_on(crate::engine::gpu::adapters());
    adapters.into_iter().map(|adapter| adapter.facts).collect()
}

/// Opens a device and proves it on `model` at `batch` patches. The second value tells the user what
/// was chosen, and why.
///
/// # Errors
/// [`Error::Gpu`] when the chosen adapter is missing, fails, or computes wrongly, and in builds
/// without GPU training.
pub fn open(choice: DeviceChoice, model: &Model, batch: usize) -> Result<(Compute, String)> {
    match choice {
        DeviceChoice::Cpu => Ok((Compute::cpu(), "Training on the CPU, as asked".into())),
        DeviceChoice::Gpu(index) => open_gpu(index.unwrap_or(0), model, batch),
        DeviceChoice::Auto => Ok(open_fastest(model, batch)),
    }
}

fn open_gpu(index: usize, model: &Model, batch: usize) -> Result<(Compute, String)> {
    if !burn::AVAILABLE {
        return Err(Error::gpu("This program was built without GPU training; use --device cpu"));
    }
    let all = adapter_facts();
    if index >= all.len() {
        return Err(Error::gpu(format!(
            "There is no GPU {index}; 'prunella devices' lists {} adapters",
            all.len()
        )));
    }
    burn::open_adapter(&all, index, model, batch)
}

/// The first hardware adapter if it passes its proof, else the CPU.
fn open_fastest(model: &Model, batch: usize) -> (Compute, String) {
    if !burn::AVAILABLE {
        let reason = "This program was built without GPU training; training on the CPU";
        return (Compute::cpu(), reason.into());
    }
    let all = adapter_facts();
    let usable = |index: &usize| burn::can_train(&all, *index) && !all[*index].software;
    let Some(index) = (0..all.len()).find(usable) else {
        return (Compute::cpu(), "No GPU found; training on the CPU".into());
    };
    burn::open_adapter(&all, index, model, batch)
        .unwrap_or_else(|e| (Compute::cpu(), format!("{e}; training on the CPU instead")))
}
