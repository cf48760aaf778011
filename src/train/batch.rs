//! Patches gathered into batches on all cores. A patch's variation depends on seed, epoch and place in the epoch alone, so
//! a resumed run sees the same patches.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::dataset::{Augmentation, PATCH_VALUES, Place, Tile, augmented_patch, plain_patch};
use crate::model::PATCH_PX;
use crate::platform::mix;

/// Input and targets of one step, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[patches, 3, 55, 55]`
    pub patches: Vec<f32>,
    /// Class of each centre pixel.
    pub classes: Vec<usize>,
}

impl Batch {
    /// Gathers `places`, each varied by its own seed.
    pub fn gather(tiles: &[Tile], places: &[(Place, u64)], augmentation: Augmentation) -> Self {
        let mut patches = vec![0.0; places.len() * PATCH_VALUES];
        patches.par_chunks_mut(PATCH_VALUES).zip(places).for_each(|(out, (place, seed))| {
            let image = &tiles[place.tile as usize].image;
            let (row, column) = (place.row as usize, place.column as usize);
            if augmentation == Augmentation::NONE {
                plain_patch(image, row, column, out);
            } else {
                augmented_patch(image, row, column, augmentation, *seed, out);
            }
        });
        Self { patches, classes: places.iter().map(|(p, _)| usize::from(p.cell)).collect() }
    }

    /// Patches in the batch.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// The input on a device.
    pub fn input(&self, device: &Device) -> Tensor<4> {
        let shape = [self.len(), 3, PATCH_PX, PATCH_PX];
        Tensor::from_data(TensorData::new(self.patches.clone(), shape), device)
    }

    /// Targets as rows of 0 and 1, `[patches, classes]`.
    pub fn targets(&self, classes: usize, device: &Device) -> Tensor<2> {
        let mut one_hot = vec![0.0f32; self.len() * classes];
        self.classes.iter().enumerate().for_each(|(i, &c)| one_hot[i * classes + c] = 1.0);
        Tensor::from_data(TensorData::new(one_hot, [self.len(), classes]), device)
    }

    /// A part of the batch.
    pub fn slice(&self, from: usize, to: usize) -> Self {
        Self {
            patches: self.patches[from * PATCH_VALUES..to * PATCH_VALUES].to_vec(),
            classes: self.classes[from..to].to_vec(),
        }
    }
}

/// Seed of a patch's variation.
pub fn variation_seed(seed: u64, epoch: u64, index: usize) -> u64 {
    mix(mix(seed ^ 0xA5A5) ^ mix(epoch + 1).rotate_left(17) ^ index as u64)
}
