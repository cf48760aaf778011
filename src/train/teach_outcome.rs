//! What came of teaching: weights, how far they agree with the marks, and the model's card.

use serde::{Deserialize, Serialize};

use super::teach_recipe::TeachRecipe;
use crate::error::Result;
use crate::model::{HistoryStep, Model, TileHash, TrainingStep, Weights};

/// How many marks a model agrees with: it says their class of at least half of their pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkAgreement {
    /// Marks, or parts of large ones.
    pub marks: usize,
    /// Those that the model before agreed with.
    pub before: usize,
    /// Those that the taught model agrees with.
    pub after: usize,
}

/// What was learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeachOutcome {
    /// Steps after which the weights were taken.
    pub best_step: u64,
    /// Share of the learned weights in the taught ones, 0 to 1; the rest are those before.
    pub share: f32,
    /// Mean loss of the marks that are held back, before and after, nats; none where none are.
    pub held_back_loss: Option<[f64; 2]>,
    /// Of nuclei, strokes and parts of areas that were learned.
    pub learned: MarkAgreement,
    /// Of those that were held back.
    pub held_back: MarkAgreement,
}

/// Weights that were taught.
#[derive(Debug, Clone)]
pub struct TaughtWeights {
    /// Of the same network as before.
    pub weights: Weights,
    /// How they came about.
    pub outcome: TeachOutcome,
}

/// A taught model.
#[derive(Debug, Clone)]
pub struct TaughtModel {
    /// Its card records marks and recipe.
    pub model: Model,
    /// How it came about.
    pub outcome: TeachOutcome,
}

impl TaughtWeights {
    /// The model that has these weights after `start`; name and SHA-256 of the images with marks go
    /// on its card.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::error::Error::Mismatch) for weights of another network.
    pub fn into_model<'a>(
        self,
        start: &Model,
        images: impl IntoIterator<Item = (&'a str, &'a str)>,
        recipe: &TeachRecipe,
    ) -> Result<TaughtModel> {
        let Self { weights, outcome } = self;
        let TeachOutcome { best_step, share, held_back_loss, .. } = outcome;
        let mut model = start.with_weights(weights)?;
        let card = model.card_mut();
        card.parent = Some(start.fingerprint());
        card.metrics.clear();
        let mut names: Vec<String> = Vec::new();
        for (name, sha256) in images {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
            let is_known = card.data.iter().any(|known| known.sha256 == *sha256);
            if !sha256.is_empty() && !is_known {
                card.data.push(TileHash {
                    name: name.to_owned(),
                    sha256: sha256.to_owned(),
                    labels_sha256: String::new(),
                });
            }
        }
        card.history.push(HistoryStep::Train(TrainingStep {
            recipe: serde_json::json!({ "teach": recipe }),
            tiles: names,
            device: "CPU (32 windows side by side)".to_owned(),
            teachers: Some(vec![start.fingerprint()]),
            last_epoch: serde_json::json!({
                "step": best_step, "share": share, "held_back_loss": held_back_loss,
            }),
            ..TrainingStep::default()
        }));
        Ok(TaughtModel { model, outcome })
    }
}
