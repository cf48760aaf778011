//! Scores of validation patches and squares, without augmentation, on all cores.

use super::batch::Batch;
use super::sequential_trainer::SequentialTrainer;
use crate::dataset::{ClassMap, SamplePixel, Tile};
use crate::engine::{BatchEngine, PATCH_BATCH};
use crate::error::Result;
use crate::metrics::PixelCounts;
use crate::model::{Head, Model, Weights};
use crate::platform::map_parts;

/// Groups of 32 squares in a forward pass.
const SQUARE_GROUPS: usize = 8;
/// Probability from which on a pixel is predicted as nucleus.
const THRESHOLD: f32 = 0.5;

/// Scores the patches around `pixels` with the exact CPU engine.
///
/// # Errors
/// Those of the engine.
pub(super) fn score_patches(
    model: &Model,
    tiles: &[Tile],
    targets: &[ClassMap],
    pixels: &[SamplePixel],
    head: Head,
) -> Result<PixelCounts> {
    let engine = BatchEngine::new(model)?;
    let groups = pixels.chunks(PATCH_BATCH).collect();
    let by_group = map_parts(groups, |group: &[SamplePixel]| {
        let batch = Batch::gather_plain(tiles, targets, group, 1);
        let mut patches = Vec::with_capacity(batch.len());
        for patch in batch.windows.chunks(batch.windows.len() / batch.len()) {
            patches.push(patch.to_vec());
        }
        let mut counts = PixelCounts::default();
        let mut logits = engine.run_patches(&patches);
        add_pixels(&mut counts, &mut logits, &batch.classes, head);
        counts
    });
    Ok(by_group.into_iter().fold(PixelCounts::default(), PixelCounts::plus))
}

/// Scores every pixel of the squares of `square_px` pixels whose first pixels are `pixels`.
pub(super) fn score_squares(
    network: &SequentialTrainer,
    weights: &Weights,
    tiles: &[Tile],
    targets: &[ClassMap],
    pixels: &[SamplePixel],
    square_px: usize,
    head: Head,
) -> PixelCounts {
    let mut counts = PixelCounts::default();
    for pixels in pixels.chunks(PATCH_BATCH * SQUARE_GROUPS) {
        let batch = Batch::gather_plain(tiles, targets, pixels, square_px);
        let mut logits = network.logits(weights, &batch);
        add_pixels(&mut counts, &mut logits, &batch.classes, head);
    }
    counts
}

/// Counts pixels by their logits `[pixel][class]`, which become probabilities.
fn add_pixels(counts: &mut PixelCounts, logits: &mut [f32], classes: &[usize], head: Head) {
    let outputs = logits.len() / classes.len().max(1);
    for (logits, &class) in logits.chunks_exact_mut(outputs.max(1)).zip(classes) {
        if let [background, nucleus] = *logits {
            let probability = head.probability([background, nucleus]);
            counts.add_probability(probability, class == 1, THRESHOLD);
        } else {
            head.probabilities(logits);
            counts.add_class(logits, class, THRESHOLD);
        }
    }
}
