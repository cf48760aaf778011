//! Windows of a step as network input, gathered on all cores. The augmentation of a patch depends
//! on seed, epoch and position in the epoch alone, so a resumed run trains on the same patches (up
//! to rounding where a GPU gathers them, see `burn::device_tiles`).

use crate::dataset::{
    Augmentation, SamplePixel, Tile, Window, augmented_window, plain_window, window_classes,
};
use crate::model::PATCH_PX;
use crate::platform::{for_each_part, mix};

/// A sampled pixel and the seed of its augmentation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub pixel: SamplePixel,
    pub seed: u64,
}

/// Input and targets of one step.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Side of the square of classified pixels in each window; 1 for patches.
    pub square_px: usize,
    /// `[window][3][side][side]`, where side = 54 + `square_px`.
    pub windows: Vec<f32>,
    /// Class of each classified pixel: `[window][square_px][square_px]`.
    pub classes: Vec<usize>,
    /// Target probability of nucleus of each classified pixel, where teachers contribute; else
    /// empty.
    pub soft_targets: Vec<f32>,
}

/// Where one sample of a batch is written.
struct GatheredWindow<'a> {
    sample: Sample,
    values: &'a mut [f32],
    classes: &'a mut [usize],
}

impl Batch {
    /// Patches of 3×55×55 values and the class of each centre.
    pub(super) fn of_patches(patches: Vec<f32>, classes: Vec<usize>) -> Self {
        Self { square_px: 1, windows: patches, classes, soft_targets: Vec::new() }
    }

    /// Gathers the windows of `samples`, each augmented by its own seed.
    pub(super) fn gather(
        tiles: &[Tile],
        samples: &[Sample],
        square_px: usize,
        augmentation: Augmentation,
    ) -> Self {
        let side = PATCH_PX - 1 + square_px;
        let mut batch = Self {
            square_px,
            windows: vec![0.0; samples.len() * 3 * side * side],
            classes: vec![0; samples.len() * square_px * square_px],
            soft_targets: Vec::new(),
        };
        let mut parts = Vec::with_capacity(samples.len());
        let values = batch.windows.chunks_exact_mut(3 * side * side);
        let classes = batch.classes.chunks_exact_mut(square_px * square_px);
        for ((&sample, values), classes) in samples.iter().zip(values).zip(classes) {
            parts.push(GatheredWindow { sample, values, classes });
        }
        for_each_part(parts, |window| window.fill(tiles, square_px, augmentation));
        batch
    }

    /// The same without augmentation.
    pub(super) fn gather_plain(tiles: &[Tile], pixels: &[SamplePixel], square_px: usize) -> Self {
        let samples: Vec<Sample> = pixels.iter().map(|&pixel| Sample { pixel, seed: 0 }).collect();
        Self::gather(tiles, &samples, square_px, Augmentation::NONE)
    }

    /// Number of windows.
    pub(super) fn len(&self) -> usize {
        self.classes.len() / (self.square_px * self.square_px)
    }

    /// Target probability of nucleus of a classified pixel; none beyond the batch.
    pub(super) fn target(&self, pixel: usize) -> Option<f32> {
        if self.soft_targets.is_empty() {
            return self.classes.get(pixel).map(|&class| class as f32);
        }
        self.soft_targets.get(pixel).copied()
    }
}

impl GatheredWindow<'_> {
    fn fill(self, tiles: &[Tile], square_px: usize, augmentation: Augmentation) {
        let Sample { pixel, seed } = self.sample;
        let tile = &tiles[pixel.tile as usize];
        let row = pixel.row as usize;
        let column = pixel.column as usize;
        let context = Window::context(row, column, square_px);
        if augmentation == Augmentation::NONE {
            plain_window(&tile.image, context, self.values);
        } else {
            augmented_window(&tile.image, context, augmentation, seed, self.values);
        }
        let square = Window::inside(row, column, square_px);
        window_classes(&tile.labels, square, augmentation, seed, self.classes);
    }
}

/// Seed of the augmentation of sample `index` in `epoch`.
pub(super) fn augmentation_seed(seed: u64, epoch: u64, index: usize) -> u64 {
    mix(mix(seed ^ 0xA5A5) ^ mix(epoch + 1).rotate_left(17) ^ index as u64)
}
