//! Training by Burn, on GPUs: everything that names Burn. Weights and samples come in as plain
//! arrays, gradients go out as plain arrays, so Burn keeps no state between steps.
//!
//! Builds without the feature `train-gpu` have `without_burn.rs` in its place, with the same items.

mod adapter;
mod device_tiles;
mod gradient_check;
mod network;
#[cfg(feature = "burn-flex")]
mod reference;

use burn_tensor::{Device, Tensor, TensorData};

use super::batch::{Batch, Sample, gather_windows};
use super::gradients::Gradients;
use crate::dataset::{Augmentation, ClassMap, Tile};
use crate::error::{Error, Result};
use crate::model::{Graph, Head, PATCH_PX, Weights};

pub(super) use adapter::{can_train, open_adapter};
pub use device_tiles::DeviceTiles;
pub use gradient_check::gradients_differ_by;
#[cfg(feature = "burn-flex")]
pub use reference::burn_logits;

use network::BurnNetwork;

/// Whether this build can train on GPUs.
pub(super) const AVAILABLE: bool = true;

/// A device of Burn's.
#[derive(Debug, Clone)]
pub struct BurnDevice {
    /// Without gradient tracking.
    pub device: Device,
    /// Largest tensor the device takes, bytes; none for a CPU.
    pub max_tensor_bytes: Option<u64>,
}

impl BurnDevice {
    /// Patches that fit the device at once, at most `batch`. A batch is split into parts of this
    /// size.
    ///
    /// # Errors
    /// [`Error::Limit`] when not even one patch fits.
    pub fn micro_batch(&self, graph: &Graph, batch: usize) -> Result<usize> {
        let Some(limit) = self.max_tensor_bytes else { return Ok(batch) };
        let largest = graph.nodes.iter().map(|n| n.shape.count()).max().unwrap_or(1) as u64 * 4;
        match (limit / largest) as usize {
            0 => Err(Error::limit(format!(
                "One patch needs {largest} bytes in a buffer; the device takes {limit}"
            ))),
            fits => Ok(batch.min(fits)),
        }
    }
}

/// Computes the gradients of a run's steps on a device.
pub(super) struct BurnTrainer<'a> {
    graph: &'a Graph,
    tiles: &'a [Tile],
    augmentation: Augmentation,
    head: Head,
    device: &'a BurnDevice,
    /// Where patches are gathered on the device.
    device_tiles: Option<DeviceTiles>,
    micro_batch: usize,
}

impl<'a> BurnTrainer<'a> {
    /// Prepares a device for batches of `batch` patches of `tiles`. A GPU gathers patches itself
    /// where the tiles fit.
    ///
    /// # Errors
    /// Those of [`BurnDevice::micro_batch`].
    pub(super) fn new(
        graph: &'a Graph,
        tiles: &'a [Tile],
        augmentation: Augmentation,
        head: Head,
        batch: usize,
        device: &'a BurnDevice,
    ) -> Result<Self> {
        let micro_batch = device.micro_batch(graph, batch)?;
        let device_tiles = device
            .max_tensor_bytes
            .and_then(|limit| DeviceTiles::proven(tiles, augmentation, &device.device, limit));
        Ok(Self { graph, tiles, augmentation, head, device, device_tiles, micro_batch })
    }

    /// Gradients of the mean loss over `samples`, whose classes are in `targets`, in parts that fit
    /// the device. A part weighs as much as it has patches.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device does not return its data.
    pub(super) fn gradients(
        &self,
        weights: &Weights,
        samples: &[Sample],
        targets: &[ClassMap],
    ) -> Result<Gradients> {
        if samples.len() <= self.micro_batch {
            return self.part_gradients(weights, samples, targets);
        }
        let mut total = Gradients::default();
        for part in samples.chunks(self.micro_batch) {
            let mut gradients = self.part_gradients(weights, part, targets)?;
            let share = part.len() as f64 / samples.len() as f64;
            gradients.loss *= share;
            for value in gradients.arrays.values_mut().flatten() {
                *value *= share as f32;
            }
            total.add(&gradients);
        }
        Ok(total)
    }

    fn part_gradients(
        &self,
        weights: &Weights,
        samples: &[Sample],
        targets: &[ClassMap],
    ) -> Result<Gradients> {
        let device = self.device.device.clone().autodiff();
        let patches = if let Some(tiles) = &self.device_tiles {
            tiles.gather(samples).autodiff()
        } else {
            let windows = gather_windows(self.tiles, samples, 1, self.augmentation);
            patch_tensor(windows, samples.len(), &device)
        };
        let mut classes = Vec::with_capacity(samples.len());
        // Every augmentation keeps the centre of a patch.
        for Sample { pixel, .. } in samples {
            let targets = &targets[pixel.tile as usize];
            classes.push(usize::from(targets.get(pixel.row as usize, pixel.column as usize)));
        }
        let network = BurnNetwork::new(self.graph, weights, &device);
        network.gradients(patches, &classes, self.head)
    }
}

/// Mean loss of a batch of patches and its gradients.
///
/// # Errors
/// [`Error::Gpu`] when the device does not return its data.
pub(super) fn burn_gradients(
    graph: &Graph,
    weights: &Weights,
    batch: &Batch,
    head: Head,
    device: &BurnDevice,
) -> Result<Gradients> {
    let device = device.device.clone().autodiff();
    let patches = patch_tensor(batch.windows.clone(), batch.len(), &device);
    BurnNetwork::new(graph, weights, &device).gradients(patches, &batch.classes, head)
}

fn patch_tensor(patches: Vec<f32>, count: usize, device: &Device) -> Tensor<4> {
    let shape = [count, 3, PATCH_PX, PATCH_PX];
    Tensor::from_data(TensorData::new(patches, shape), device)
}
