//! Patches gathered into batches on all cores. A patch's variation depends on seed, epoch and place
//! in the epoch alone, so a resumed run sees the same patches (up to rounding where a GPU gathers
//! them: `device_tiles`).

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::dataset::{
    Augmentation, SamplePixel, Tile, Window, augmented_window, plain_window, window_classes,
};
use crate::model::PATCH_PX;
use crate::platform::mix;

/// Input and targets of one step, on the host.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Side of the square of answers in each window; 1 for patches.
    pub spread: usize,
    /// `[windows, 3, side, side]`; the side is 54 + spread.
    pub patches: Vec<f32>,
    /// Class of each answered pixel, window by window.
    pub classes: Vec<usize>,
    /// Probability of nucleus that each pixel is taught instead, where a teacher had a say; else
    /// empty.
    pub soft: Vec<f32>,
}

impl Batch {
    /// Patches of 3×55×55 and the class of each centre.
    pub fn of_patches(patches: Vec<f32>, classes: Vec<usize>) -> Self {
        Self { spread: 1, patches, classes, soft: Vec::new() }
    }

    /// Gathers the windows of `places`, each varied by its own seed.
    pub fn gather(
        tiles: &[Tile],
        places: &[(SamplePixel, u64)],
        spread: usize,
        augmentation: Augmentation,
    ) -> Self {
        let values = 3 * (PATCH_PX - 1 + spread).pow(2);
        let mut patches = vec![0.0; places.len() * values];
        let mut classes = vec![0; places.len() * spread * spread];
        let squares = classes.par_chunks_mut(spread * spread);
        patches.par_chunks_mut(values).zip(squares).zip(places).for_each(
            |((out, classes), (place, seed))| {
                let tile = &tiles[place.tile as usize];
                let (row, column) = (place.row as usize, place.column as usize);
                let window = Window::context(row, column, spread);
                if augmentation == Augmentation::NONE {
                    plain_window(&tile.image, window, out);
                } else {
                    augmented_window(&tile.image, window, augmentation, *seed, out);
                }
                window_classes(
                    &tile.labels,
                    Window::inside(row, column, spread),
                    augmentation,
                    *seed,
                    classes,
                );
            },
        );
        Self { spread, patches, classes, soft: Vec::new() }
    }

    /// Windows in the batch.
    pub fn len(&self) -> usize {
        self.classes.len() / (self.spread * self.spread)
    }

    /// What a pixel is taught: probability of nucleus.
    pub fn target(&self, pixel: usize) -> Option<f32> {
        self.soft.get(pixel).copied().or_else(|| self.classes.get(pixel).map(|&c| c as f32))
    }

    /// Patches on a device.
    pub fn input(&self, device: &Device) -> Tensor<4> {
        let shape = [self.len(), 3, PATCH_PX, PATCH_PX];
        Tensor::from_data(TensorData::new(self.patches.clone(), shape), device)
    }
}

/// Seed of a patch's variation.
pub fn variation_seed(seed: u64, epoch: u64, index: usize) -> u64 {
    mix(mix(seed ^ 0xA5A5) ^ mix(epoch + 1).rotate_left(17) ^ index as u64)
}
