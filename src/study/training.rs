//! How a design's networks are trained: before anything is pruned, and in every cell.

use serde::{Deserialize, Serialize};

use crate::dataset::{Augmentation, Prior};
use crate::model::Head;
use crate::train::{DeadUnitOptions, Recipe, Schedule, is_single};

/// Training before anything is pruned, shared by all cells of a network. What it does not say is as
/// in [`Training`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Pretrain {
    /// 0 starts from random weights.
    pub patches: usize,
    pub epochs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

impl Pretrain {
    /// The recipe, none without patches; `cells` is how cells are trained.
    pub(super) fn recipe(&self, cells: &Recipe) -> Option<Recipe> {
        let &Self { patches, epochs, spread, batch, learning_rate } = self;
        (patches > 0).then(|| Recipe {
            patches,
            epochs,
            square_px: spread.unwrap_or(cells.square_px),
            batch: batch.unwrap_or(cells.batch),
            learning_rate: learning_rate.unwrap_or(cells.learning_rate),
            seed: 1,
            ..cells.clone()
        })
    }
}

/// How patches are varied: [`Augmentation`]'s constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Augment {
    None,
    Default,
    Strong,
    Stains,
}

/// Training of every cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Training {
    pub epochs: u64,
    /// As in [`Recipe`].
    #[serde(skip_serializing_if = "is_single")]
    pub spread: usize,
    pub batch: usize,
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub weight_decay: f64,
    pub augment: Augment,
    pub balanced: bool,
    /// As in [`Recipe`]; of DCNNs only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub awake: bool,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: 30,
            spread: 1,
            batch: 64,
            learning_rate: 1e-3,
            schedule: Schedule::OneCycle,
            weight_decay: 0.0,
            augment: Augment::None,
            balanced: false,
            awake: false,
        }
    }
}

impl Training {
    /// The recipe of a cell but for its patches and seed. `is_chain`: whether the network's filters
    /// can be kept awake.
    pub(super) fn recipe(self, head: Head, is_chain: bool) -> Recipe {
        let Self {
            epochs,
            spread,
            batch,
            learning_rate,
            schedule,
            weight_decay,
            augment,
            balanced,
            awake,
        } = self;
        Recipe {
            patches: 0,
            square_px: spread,
            distill: 0.0,
            dead_units: DeadUnitOptions::all_if(awake && is_chain),
            epochs,
            batch,
            learning_rate,
            schedule,
            weight_decay,
            prior: if balanced { Prior::Balanced } else { Prior::Natural },
            augmentation: match augment {
                Augment::None => Augmentation::NONE,
                Augment::Default => Augmentation::DEFAULT,
                Augment::Strong => Augmentation::STRONG,
                Augment::Stains => Augmentation::STAINS,
            },
            head,
            seed: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretraining_is_as_the_cells_but_for_what_it_names() {
        let cells = Training { awake: true, ..Training::default() }.recipe(Head::Softmax, true);
        assert_eq!(Pretrain::default().recipe(&cells), None);
        let plain = Pretrain { patches: 500, epochs: 2, ..Pretrain::default() };
        let want = Recipe { patches: 500, epochs: 2, ..cells.clone() };
        assert_eq!(plain.recipe(&cells), Some(want.clone()));
        let squares =
            Pretrain { spread: Some(16), batch: Some(8), learning_rate: Some(2e-3), ..plain };
        assert_eq!(
            squares.recipe(&cells),
            Some(Recipe { square_px: 16, batch: 8, learning_rate: 2e-3, ..want })
        );
        assert_eq!(
            serde_json::json!(plain),
            serde_json::json!({ "patches": 500, "epochs": 2 }),
            "ids of cells depend on it"
        );
        assert!(
            Training { awake: true, ..Training::default() }
                .recipe(Head::Sigmoid, false)
                .dead_units
                .is_off()
        );
    }
}
