//! Given batches through the trainer's own parts: how Burn's numbers are compared with other implementations.

use burn::tensor::Device;

use super::batch::Batch;
use super::loss::cross_entropy;
use super::network::{Mode, Network, values};
use super::optimiser::Optimiser;
use crate::error::Result;
use crate::model::{Head, Model};

/// Logits of patches (3×55×55 each), classes innermost, with running statistics.
///
/// # Errors
/// When the device does not return its data.
pub fn logits(model: &Model, patches: &[f32], device: &Device) -> Result<Vec<f32>> {
    let batch = Batch { patches: patches.to_vec(), classes: vec![0; patches.len() / crate::dataset::PATCH_VALUES] };
    let out = Network::new(model, device).forward(batch.input(device), Mode::Evaluate);
    let count: usize = out.dims().iter().product();
    values(out.reshape([count]))
}

/// Losses of Adam steps over `batches` (patches and classes), in order, each taken before its step.
///
/// # Errors
/// When the device does not return its data.
pub fn replay(model: &Model, batches: &[(Vec<f32>, Vec<usize>)], rate: f64, device: &Device) -> Result<Vec<f64>> {
    let device = device.clone().autodiff();
    let mut network = Network::new(model, &device);
    let mut optimiser = Optimiser::new(0.0);
    let mut losses = Vec::with_capacity(batches.len());
    for (patches, classes) in batches {
        let batch = Batch { patches: patches.clone(), classes: classes.clone() };
        let out = network.forward(batch.input(&device), Mode::Train);
        let targets = batch.targets(model.card().architecture.classes(), &device);
        let loss = cross_entropy(out, targets, Head::Softmax);
        let mut gradients = network.gradients(&loss.backward());
        losses.push(f64::from(values(loss.inner())?.first().copied().unwrap_or(f32::NAN)));
        optimiser.step(&mut network, rate, &mut gradients)?;
    }
    Ok(losses)
}
