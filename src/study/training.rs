//! A design's `[pretrain]` and `[train]`: how networks are trained before anything is pruned, and
//! in every cell. Defaults are [`Recipe`]'s. Ids of cells depend on the serialised keys, so these
//! keep their old names where fields have new ones; designs may use either.

use serde::{Deserialize, Serialize};

use crate::dataset::{AugmentationPreset, Prior};
use crate::model::{Family, Head};
use crate::train::{DeadUnitOptions, Recipe, Schedule, is_single};

/// Training before pruning, shared by all cells of a network. Values that are left out are those of
/// [`TrainOptions`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PretrainOptions {
    /// 0 starts from random weights.
    pub patches: usize,
    pub epochs: u64,
    #[serde(rename = "spread", alias = "square", skip_serializing_if = "Option::is_none")]
    pub square_px: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

impl PretrainOptions {
    /// The recipe, none without patches; `cells` is the recipe of cells.
    pub(super) fn recipe(&self, cells: &Recipe) -> Option<Recipe> {
        if self.patches == 0 {
            return None;
        }
        Some(Recipe {
            patches: self.patches,
            epochs: self.epochs,
            square_px: self.square_px.unwrap_or(cells.square_px),
            batch: self.batch.unwrap_or(cells.batch),
            learning_rate: self.learning_rate.unwrap_or(cells.learning_rate),
            seed: 1,
            ..cells.clone()
        })
    }
}

/// Training of every cell. Fields have the meaning that they have in [`Recipe`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TrainOptions {
    pub epochs: u64,
    #[serde(rename = "spread", alias = "square", skip_serializing_if = "is_single")]
    pub square_px: usize,
    pub batch: usize,
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub weight_decay: f64,
    pub augment: AugmentationPreset,
    /// Both classes equally often instead of by area.
    pub balanced: bool,
    /// All measures against dead units; DCCNs ignore it.
    #[serde(rename = "awake", alias = "revive", skip_serializing_if = "std::ops::Not::not")]
    pub revive: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        let recipe = Recipe::default();
        Self {
            epochs: recipe.epochs,
            square_px: recipe.square_px,
            batch: recipe.batch,
            learning_rate: recipe.learning_rate,
            schedule: recipe.schedule,
            weight_decay: recipe.weight_decay,
            augment: AugmentationPreset::None,
            balanced: false,
            revive: !recipe.dead_units.is_off(),
        }
    }
}

impl TrainOptions {
    /// The recipe of a cell without its patches and seed.
    pub(super) fn recipe(self, head: Head, family: Family) -> Recipe {
        Recipe {
            epochs: self.epochs,
            square_px: self.square_px,
            batch: self.batch,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            prior: if self.balanced { Prior::Balanced } else { Prior::Natural },
            augmentation: self.augment.into(),
            dead_units: DeadUnitOptions::all_if(self.revive && family == Family::Dcnn),
            head,
            ..Recipe::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_recipe() {
        let recipe = TrainOptions::default().recipe(Head::Softmax, Family::Dcnn);
        assert_eq!(recipe, Recipe::default());
    }

    #[test]
    fn pretraining_is_as_the_cells_but_for_what_it_names() {
        let cells = TrainOptions { revive: true, ..TrainOptions::default() }
            .recipe(Head::Softmax, Family::Dcnn);
        assert_eq!(PretrainOptions::default().recipe(&cells), None);
        let plain = PretrainOptions { patches: 500, epochs: 2, ..PretrainOptions::default() };
        let want = Recipe { patches: 500, epochs: 2, ..cells.clone() };
        assert_eq!(plain.recipe(&cells), Some(want.clone()));
        let squares = PretrainOptions {
            square_px: Some(16),
            batch: Some(8),
            learning_rate: Some(2e-3),
            ..plain
        };
        assert_eq!(
            squares.recipe(&cells),
            Some(Recipe { square_px: 16, batch: 8, learning_rate: 2e-3, ..want })
        );
        assert_eq!(
            serde_json::json!(plain),
            serde_json::json!({ "patches": 500, "epochs": 2 }),
            "ids of cells depend on it"
        );
        let dccn = TrainOptions { revive: true, ..TrainOptions::default() }
            .recipe(Head::Sigmoid, Family::Dccn);
        assert!(dccn.dead_units.is_off());
    }
}
