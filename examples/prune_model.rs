//! Removes half of the filters of each convolution and compares the outputs of both models:
//!
//! `cargo run --release --example prune_model -- MODEL.safetensors PRUNED.safetensors`

use std::path::{Path, PathBuf};

use prunella::engine::{Control, SegmentOptions, segment};
use prunella::error::{Error, Result};
use prunella::metrics::PixelCounts;
use prunella::model::{Model, Precision};
use prunella::prune::{PruningPlan, Scope, apply};
use prunella::raster::phantom;

fn main() -> Result<()> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model, pruned] = files.as_slice() else {
        return Err(Error::mismatch("Give a model and the file of the pruned model to write"));
    };
    let agreement = prune_model(model, pruned)?;
    println!("{:.1} % of the pixels are classified alike", agreement * 100.0);
    Ok(())
}

/// Returns the share of pixels that both models classify alike, 0 to 1.
pub fn prune_model(model: &Path, pruned: &Path) -> Result<f64> {
    let original = Model::load(model)?;

    // A plan lists the filters that stay, here those with the largest L1 norms. Applying it changes
    // no remaining weight.
    let (plan, warnings) = PruningPlan::l1(&original, 0.5, Scope::Convolutions)?;
    for warning in &warnings.notes {
        eprintln!("{warning}");
    }
    let smaller = apply(&original, &plan)?;
    smaller.save(pruned, Precision::F32)?;
    println!(
        "{} of {} parameters remain",
        smaller.graph().parameters(),
        original.graph().parameters()
    );

    // Both on the same procedural tissue, at the paper's threshold.
    let (image, _) = phantom(256, 256, 1);
    let options = SegmentOptions::default();
    let expected =
        segment(&original, &image, options, &Control::default())?.nucleus().map(|p| p > 0.5);
    let found = segment(&smaller, &image, options, &Control::default())?;
    let scores = PixelCounts::of(found.nucleus(), &expected, 0.5)?.scores();
    Ok(scores.accuracy.unwrap_or_default())
}
