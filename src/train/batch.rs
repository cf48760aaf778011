//! Windows of a step as network input, gathered on all cores. The augmentation of a patch depends
//! on seed, epoch and position in the epoch alone, so a resumed run trains on the same patches (up
//! to rounding where a GPU gathers them, see `burn::device_tiles`).

use super::loss::PixelTarget;
use crate::dataset::{
    Augmentation, ClassMap, SamplePixel, Tile, Window, augmented_window, class_targets,
    plain_window, window_classes,
};
use crate::error::{Error, Result};
use crate::model::{Card, PATCH_PX};
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
    /// Target probabilities of each classified pixel, `[pixel][class]`, where teachers contribute;
    /// else empty.
    pub soft_targets: Vec<f32>,
    /// Share of each classified pixel in the loss; empty where all have the same.
    pub shares: Vec<f64>,
}

/// Where a window goes.
struct GatheredWindow<'a> {
    sample: Sample,
    values: &'a mut [f32],
}

/// Where the classes of a window go.
struct GatheredClasses<'a> {
    sample: Sample,
    classes: &'a mut [usize],
}

/// Windows `[window][3][side][side]` of `samples`, each augmented by its own seed; side = 54 +
/// `square_px`.
pub(super) fn gather_windows(
    tiles: &[Tile],
    samples: &[Sample],
    square_px: usize,
    augmentation: Augmentation,
) -> Vec<f32> {
    let side = PATCH_PX - 1 + square_px;
    let mut windows = vec![0.0; samples.len() * 3 * side * side];
    let mut parts = Vec::with_capacity(samples.len());
    for (&sample, values) in samples.iter().zip(windows.chunks_exact_mut(3 * side * side)) {
        parts.push(GatheredWindow { sample, values });
    }
    for_each_part(parts, |window| window.fill(tiles, square_px, augmentation));
    windows
}

impl Batch {
    /// Patches of 3×55×55 values and the class of each centre.
    pub(super) fn of_patches(patches: Vec<f32>, classes: Vec<usize>) -> Self {
        Self {
            square_px: 1,
            windows: patches,
            classes,
            soft_targets: Vec::new(),
            shares: Vec::new(),
        }
    }

    /// Gathers the windows of `samples`, each augmented by its own seed, and their classes out of
    /// `targets`, one for each tile.
    pub(super) fn gather(
        tiles: &[Tile],
        targets: &[ClassMap],
        samples: &[Sample],
        square_px: usize,
        augmentation: Augmentation,
    ) -> Self {
        let windows = gather_windows(tiles, samples, square_px, augmentation);
        let mut classes = vec![0; samples.len() * square_px * square_px];
        let mut parts = Vec::with_capacity(samples.len());
        for (&sample, classes) in samples.iter().zip(classes.chunks_exact_mut(square_px.pow(2))) {
            parts.push(GatheredClasses { sample, classes });
        }
        for_each_part(parts, |square| square.fill(targets, square_px, augmentation));
        Self { square_px, windows, classes, soft_targets: Vec::new(), shares: Vec::new() }
    }

    /// The same without augmentation.
    pub(super) fn gather_plain(
        tiles: &[Tile],
        targets: &[ClassMap],
        pixels: &[SamplePixel],
        square_px: usize,
    ) -> Self {
        Self::gather(tiles, targets, &plain_samples(pixels), square_px, Augmentation::NONE)
    }

    /// Number of windows.
    pub(super) fn len(&self) -> usize {
        self.classes.len() / (self.square_px * self.square_px)
    }

    /// Share of a classified pixel in the loss; 0 beyond the batch.
    pub(super) fn share(&self, pixel: usize) -> f64 {
        if self.shares.is_empty() {
            return 1.0 / self.classes.len() as f64;
        }
        self.shares.get(pixel).copied().unwrap_or(0.0)
    }

    /// Target of a classified pixel; none beyond the batch.
    pub(super) fn target(&self, pixel: usize) -> Option<PixelTarget<'_>> {
        let &class = self.classes.get(pixel)?;
        if self.soft_targets.is_empty() {
            return Some(PixelTarget::Class(class));
        }
        let classes = self.soft_targets.len() / self.classes.len();
        let all = self.soft_targets.get(pixel * classes..(pixel + 1) * classes)?;
        Some(PixelTarget::Probabilities(all))
    }
}

impl GatheredWindow<'_> {
    fn fill(self, tiles: &[Tile], square_px: usize, augmentation: Augmentation) {
        let Sample { pixel, seed } = self.sample;
        let image = &tiles[pixel.tile as usize].image;
        let context = Window::context(pixel.row as usize, pixel.column as usize, square_px);
        if augmentation == Augmentation::NONE {
            plain_window(image, context, self.values);
        } else {
            augmented_window(image, context, augmentation, seed, self.values);
        }
    }
}

impl GatheredClasses<'_> {
    fn fill(self, targets: &[ClassMap], square_px: usize, augmentation: Augmentation) {
        let Sample { pixel, seed } = self.sample;
        let targets = &targets[pixel.tile as usize];
        let square = Window::inside(pixel.row as usize, pixel.column as usize, square_px);
        window_classes(targets, square, augmentation, seed, self.classes);
    }
}

/// Samples that are not augmented.
pub(super) fn plain_samples(pixels: &[SamplePixel]) -> Vec<Sample> {
    pixels.iter().map(|&pixel| Sample { pixel, seed: 0 }).collect()
}

/// The class of every pixel of each tile, for a model with this card. `border_um` is the width of
/// the border, micrometres; without one it is that of the card.
///
/// # Errors
/// [`Error::Invalid`] where a width is given for a model without a border class, or none for one
/// with it; those of [`class_targets`].
pub(super) fn class_maps(
    tiles: &[Tile],
    card: &Card,
    border_um: Option<f64>,
) -> Result<Vec<ClassMap>> {
    if border_um.is_some() && !card.has_border() {
        return Err(Error::invalid("The model has no class for the border of nuclei"));
    }
    let border_um = border_um.or(card.border_um);
    if border_um.is_none() && card.has_border() {
        return Err(Error::invalid(
            "The model tells the border of nuclei apart, but nothing says how wide it is; \
             --border does",
        ));
    }
    let mut targets = Vec::with_capacity(tiles.len());
    for tile in tiles {
        let border_px = border_um.unwrap_or(0.0) / tile.mpp_um.unwrap_or(card.mpp_um);
        targets.push(class_targets(tile, &card.classes, border_px)?);
    }
    Ok(targets)
}

/// Seed of the augmentation of sample `index` in `epoch`.
pub(super) fn augmentation_seed(seed: u64, epoch: u64, index: usize) -> u64 {
    mix(mix(seed ^ 0xA5A5) ^ mix(epoch + 1).rotate_left(17) ^ index as u64)
}
