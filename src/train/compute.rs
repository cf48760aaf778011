//! What computes gradients, and those of single batches by either backend.

use super::batch::Batch;
use super::burn::{BurnDevice, burn_gradients};
use super::gradients::{Gradients, update_running_statistics};
use super::native_network::NativeNetwork;
use super::optimiser::AdamW;
use crate::error::Result;
use crate::model::{Graph, Head, Model, Weights};

/// The code that computes gradients. Weights, optimiser and checkpoints are plain arrays either
/// way.
#[derive(Debug, Clone)]
pub enum TrainBackend {
    /// This crate's own kernels on the CPU. They work on groups of 32 windows; threads beyond the
    /// groups share the filters of convolutions.
    Native,
    /// Burn on a device.
    Burn(BurnDevice),
}

/// A backend ready to train.
#[derive(Debug, Clone)]
pub struct Compute {
    /// What computes the gradients.
    pub backend: TrainBackend,
    /// For people and cards: what it is, or the adapter's name and API.
    pub name: String,
}

impl Compute {
    /// The CPU by this crate's own kernels.
    #[must_use]
    pub fn cpu() -> Self {
        Self { backend: TrainBackend::Native, name: "CPU (32 windows side by side)".into() }
    }

    /// Mean loss of a batch and its gradients at `weights`.
    ///
    /// # Errors
    /// Unsupported for a graph that the native kernels do not know; GPU when a device fails.
    pub(super) fn gradients(
        &self,
        graph: &Graph,
        weights: &Weights,
        batch: &Batch,
        head: Head,
    ) -> Result<Gradients> {
        match &self.backend {
            TrainBackend::Native => Ok(NativeNetwork::new(graph)?.gradients(weights, batch, head)),
            TrainBackend::Burn(device) => burn_gradients(graph, weights, batch, head, device),
        }
    }
}

/// Losses of Adam steps over `batches` (patches and classes), in order, each taken before its step:
/// how training is compared with other implementations.
///
/// # Errors
/// Those of the backend.
pub fn replay(
    model: &Model,
    batches: &[(Vec<f32>, Vec<usize>)],
    rate: f64,
    compute: &Compute,
) -> Result<Vec<f64>> {
    let mut weights = model.weights().clone();
    let mut optimiser = AdamW::new(model.graph(), 0.0);
    let mut losses = Vec::with_capacity(batches.len());
    for (patches, classes) in batches {
        let batch = Batch::of_patches(patches.clone(), classes.clone());
        let found = compute.gradients(model.graph(), &weights, &batch, Head::Softmax)?;
        losses.push(found.loss);
        update_running_statistics(&mut weights, &found.statistics);
        optimiser.step(&mut weights, &found.arrays, rate);
    }
    Ok(losses)
}
