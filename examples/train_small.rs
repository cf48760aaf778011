//! Trains a small network on procedural tissue, on the CPU, and scores it on another tile:
//!
//! `cargo run --release --example train_small -- MODEL.safetensors`

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use prunella::dataset::{Augmentation, Tile, phantom};
use prunella::engine::{Control, DeviceChoice, SegmentOptions, segment};
use prunella::error::{Error, Result};
use prunella::metrics::PixelCounts;
use prunella::model::{Model, Precision, dcnn};
use prunella::train::{Event, Recipe, TrainData, Trainer, open};

fn main() -> Result<()> {
    let Some(model) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(Error::mismatch("Give the model file to write"));
    };
    println!("Dice {:.3}", train_small(&model)?);
    Ok(())
}

/// Returns the Dice score on the test tile.
pub fn train_small(file: &Path) -> Result<f64> {
    let tiles: Vec<Tile> = (0..4).map(|seed| phantom::tile(200, 200, seed)).collect();
    let recipe = Recipe {
        patches: 2000,
        epochs: 4,
        batch: 32,
        learning_rate: 2e-3,
        augmentation: Augmentation::DEFAULT,
        ..Recipe::default()
    };
    let start = Model::random(dcnn([8, 16, 24], 64, 2), recipe.seed)?;
    let (compute, _) = open(DeviceChoice::Cpu, &start, recipe.batch)?;
    let trainer = Trainer {
        start: &start,
        data: TrainData { tiles: &tiles },
        recipe: &recipe,
        compute: &compute,
        teachers: &[],
        checkpoint: None,
        checkpoint_every: Duration::MAX,
        ends_collapsed: true,
        cancel: &AtomicBool::new(false),
    };
    let trained = trainer.run(&mut |event| {
        if let Event::Epoch(log) = event {
            let dice = log.validation_dice.unwrap_or_default();
            println!("epoch {}: validation Dice {dice:.3}", log.epoch);
        }
    })?;
    trained.model.save(file, Precision::F32)?;

    let test = phantom::tile(200, 200, 100);
    let map = segment(&trained.model, &test.image, SegmentOptions::default(), &Control::default())?;
    let scores = PixelCounts::of(map.nucleus(), &test.labels.foreground(), 0.5)?.scores();
    Ok(scores.dice.unwrap_or_default())
}
