//! Loss and gradients of one batch by either of the trainer's two ways, and given batches through
//! its own parts: how its numbers are compared with other implementations.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};

use super::batch::Batch;
use super::device::Compute;
use super::kernels::Kernels;
use super::loss::cross_entropy;
use super::network::{BurnNetwork, Mode, flat, values};
use super::optimiser::Optimiser;
use crate::error::Result;
use crate::model::{Head, Model};

/// Logits of patches (3×55×55 each), classes innermost, with running statistics.
///
/// # Errors
/// When the device does not return its data.
pub fn logits(model: &Model, patches: &[f32], device: &Device) -> Result<Vec<f32>> {
    let batch =
        Batch::of_patches(patches.to_vec(), vec![0; patches.len() / crate::dataset::PATCH_VALUES]);
    let out = BurnNetwork::new(model, device).forward(batch.input(device), Mode::Evaluate);
    let count: usize = out.dims().iter().product();
    values(out.reshape([count]))
}

/// Losses of Adam steps over `batches` (patches and classes), in order, each taken before its step.
///
/// # Errors
/// When the device does not return its data.
pub fn replay(
    model: &Model,
    batches: &[(Vec<f32>, Vec<usize>)],
    rate: f64,
    compute: &Compute,
) -> Result<Vec<f64>> {
    let kernels = compute.kernels(model);
    let device = compute.tracking(kernels.as_ref());
    let mut network = BurnNetwork::new(model, &device);
    let mut optimiser = Optimiser::new(0.0);
    let mut losses = Vec::with_capacity(batches.len());
    for (patches, classes) in batches {
        let batch = Batch::of_patches(patches.clone(), classes.clone());
        let (loss, mut gradients) = match &kernels {
            Some(kernels) => kernel_gradients(kernels, &mut network, &batch, Head::Softmax)?,
            None => burn_gradients(&mut network, batch.input(&device), classes, Head::Softmax)?,
        };
        losses.push(loss);
        optimiser.step(&mut network, rate, &mut gradients)?;
    }
    Ok(losses)
}

/// Mean loss of patches `[patches, 3, 55, 55]`, and its gradients by array, from Burn.
pub fn burn_gradients(
    network: &mut BurnNetwork,
    patches: Tensor<4>,
    classes: &[usize],
    head: Head,
) -> Result<(f64, BTreeMap<String, Tensor<1>>)> {
    let logits = network.forward(patches, Mode::Train);
    let shape = logits.dims();
    let mut one_hot = vec![0.0f32; shape[0] * shape[1]];
    classes.iter().enumerate().for_each(|(i, &c)| one_hot[i * shape[1] + c] = 1.0);
    let loss = cross_entropy(logits, flat(one_hot, network.device()).reshape(shape), head);
    let gradients = network.gradients(&loss.backward());
    Ok((f64::from(values(loss.inner())?.first().copied().unwrap_or(f32::NAN)), gradients))
}

/// The same from this crate's CPU kernels.
pub fn kernel_gradients(
    kernels: &Kernels,
    network: &mut BurnNetwork,
    batch: &Batch,
    head: Head,
) -> Result<(f64, BTreeMap<String, Tensor<1>>)> {
    let found = kernels.gradients(&network.weights()?, batch, head);
    let device = network.device().clone().inner();
    network.move_statistics(&found.statistics);
    Ok((
        found.loss,
        found.arrays.into_iter().map(|(name, values)| (name, flat(values, &device))).collect(),
    ))
}
