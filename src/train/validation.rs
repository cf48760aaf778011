//! Scores of validation patches and squares, unvaried, on all cores.

use rayon::prelude::*;

use super::batch::Batch;
use super::sequential_trainer::SequentialTrainer;
use crate::dataset::{Augmentation, SamplePixel, Tile};
use crate::engine::{BatchEngine, PATCH_BATCH};
use crate::error::Result;
use crate::metrics::PixelCounts;
use crate::model::{Head, Model, Weights};

/// Groups of 32 squares that are answered at a time.
const SQUARE_GROUPS: usize = 8;

/// The patches of `places`, with the exact CPU engine.
///
/// # Errors
/// Those of the engine.
pub fn score_patches(
    model: &Model,
    tiles: &[Tile],
    places: &[SamplePixel],
    head: Head,
) -> Result<PixelCounts> {
    let engine = BatchEngine::new(model)?;
    let counts: Vec<PixelCounts> = places
        .par_chunks(PATCH_BATCH)
        .map(|places| {
            let batch = unvaried(tiles, places, 1);
            let patches: Vec<Vec<f32>> = batch
                .patches
                .chunks(batch.patches.len() / batch.len())
                .map(<[f32]>::to_vec)
                .collect();
            let mut counts = PixelCounts::default();
            for (z, &class) in engine.run_patches(&patches).chunks_exact(2).zip(&batch.classes) {
                counts.add_probability(head.probability([z[0], z[1]]), class == 1, 0.5);
            }
            counts
        })
        .collect();
    Ok(counts.into_iter().fold(PixelCounts::default(), PixelCounts::plus))
}

/// Every pixel of squares of `spread` pixels that begin at `places`.
pub fn score_squares(
    network: &SequentialTrainer,
    weights: &Weights,
    tiles: &[Tile],
    places: &[SamplePixel],
    (spread, head): (usize, Head),
) -> PixelCounts {
    let mut counts = PixelCounts::default();
    for places in places.chunks(PATCH_BATCH * SQUARE_GROUPS) {
        let batch = unvaried(tiles, places, spread);
        for (z, &class) in network.logits(weights, &batch).into_iter().zip(&batch.classes) {
            counts.add_probability(head.probability(z), class == 1, 0.5);
        }
    }
    counts
}

fn unvaried(tiles: &[Tile], places: &[SamplePixel], spread: usize) -> Batch {
    let places: Vec<_> = places.iter().map(|&p| (p, 0)).collect();
    Batch::gather(tiles, &places, spread, Augmentation::NONE)
}
