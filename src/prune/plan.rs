//! Which filters are kept, decided layer by layer and written down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::criterion::{Criterion, FilterScores, filter_l1_norms};
use super::ratios::{LayerRatios, Scope};
use crate::error::{Error, Result, Warnings};
use crate::model::{IndexSet, Model, PruningStep};

/// The filters that each layer keeps. Layers not named keep all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PruningPlan {
    /// Ratio and criterion, as the card's history will state them.
    #[serde(flatten)]
    pub choice: PruningStep,
    /// Layer name → indices of the filters that it keeps, in the model that is pruned.
    #[serde(rename = "kept")]
    pub kept_filters: BTreeMap<String, IndexSet>,
}

/// How many of `filters` are kept at `ratio`: `floor(ratio · filters)` are removed, which
/// reproduces the paper's file sizes.
#[must_use]
pub fn keep_count(filters: usize, ratio: f64) -> usize {
    // 0.29 · 100 is 28.999999999999996 in binary; the small addend gives the floor of the decimal
    // product.
    let removed = (ratio * filters as f64 + 1e-9).floor().max(0.0) as usize;
    filters - removed.min(filters)
}

impl PruningPlan {
    /// The paper's rule: [`Self::new`] by L1 norm with one ratio for all layers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a ratio outside 0 to 1.
    pub fn l1(model: &Model, ratio: f64, scope: Scope) -> Result<(Self, Warnings)> {
        let ratios = LayerRatios::uniform(ratio, scope)?;
        Self::new(model, &FilterScores::of_weights(model, Criterion::L1, 0)?, &ratios)
    }

    /// Each layer loses the `floor(ratio · n)` filters of least importance. Of equally important
    /// ones the later filter is removed first. A layer that would lose all filters keeps the most
    /// important one, and a layer without scores is ranked by L1 norm, each with a warning.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when ratios or scores are those of another network.
    pub fn new(
        model: &Model,
        scores: &FilterScores,
        ratios: &LayerRatios,
    ) -> Result<(Self, Warnings)> {
        let graph = model.graph();
        ratios.check_names(graph)?;
        let mut warnings = Warnings::default();
        let mut kept_filters = BTreeMap::new();
        let mut filters_before = 0;
        let mut filters_removed = 0;
        for node in graph.nodes.iter().filter(|node| graph.is_prunable(node)) {
            let filters = node.shape.channels;
            filters_before += filters;
            let Some(ratio) = ratios.of(node) else { continue };
            let mut keep = keep_count(filters, ratio);
            if keep == 0 {
                keep = 1;
                warnings.note(format!(
                    "Layer {} would lose all {filters} filters; it keeps the strongest one",
                    node.name
                ));
            }
            filters_removed += filters - keep;
            let importance = if let Some(importance) = scores.layers.get(&node.name) {
                importance.clone()
            } else {
                warnings.note(format!(
                    "The criterion '{}' says nothing about layer {}, which is ranked by L1 norm",
                    scores.criterion.name(),
                    node.name
                ));
                filter_l1_norms(model, node)
            };
            if importance.len() != filters {
                return Err(Error::mismatch(format!(
                    "Layer {} has {filters} filters, and {} were ranked",
                    node.name,
                    importance.len()
                )));
            }
            let mut indices: Vec<usize> = (0..filters).collect();
            indices.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]).then(a.cmp(&b)));
            indices.truncate(keep);
            indices.sort_unstable();
            kept_filters.insert(node.name.clone(), IndexSet(indices));
        }
        let mut choice = PruningStep {
            criterion: scores.criterion.name().into(),
            seed: scores.seed,
            patches: scores.patches,
            tiles: scores.tiles.clone(),
            ..PruningStep::default()
        };
        if let Some(ratio) = ratios.common() {
            choice.ratio = ratio;
        } else {
            // Three digits: this number is for people, `ratios` has the exact ones.
            let share = filters_removed as f64 / filters_before as f64;
            choice.ratio = (share * 1000.0).round() / 1000.0;
            choice.ratios.clone_from(ratios.by_name());
        }
        Ok((Self { choice, kept_filters }, warnings))
    }

    /// The plan that removes nothing.
    #[must_use]
    pub fn identity() -> Self {
        let choice = PruningStep { criterion: "none".into(), ..PruningStep::default() };
        Self { choice, kept_filters: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, dccn, dcnn};

    #[test]
    fn the_floor_is_that_of_the_decimal_number() {
        assert_eq!(keep_count(50, 0.3), 35);
        assert_eq!(keep_count(100, 0.29), 71);
        assert_eq!(keep_count(25, 0.2), 20);
        assert_eq!(keep_count(32, 0.9), 4);
        assert_eq!(keep_count(10, 1.0), 0);
    }

    #[test]
    fn a_layer_keeps_at_least_one_filter_with_a_warning() {
        let model = Model::random(dcnn([2, 3, 4], 8, 2), 1).expect("model");
        let (plan, warnings) = PruningPlan::l1(&model, 1.0, Scope::Convolutions).expect("plan");
        assert!(plan.kept_filters.values().all(|k| k.0.len() == 1));
        assert_eq!(warnings.notes.len(), 3);
    }

    #[test]
    fn a_ratio_outside_zero_to_one_is_refused() {
        let model = Model::random(Architecture::paper_dcnn(), 1).expect("model");
        for ratio in [-0.1, 1.1, f64::NAN] {
            assert!(PruningPlan::l1(&model, ratio, Scope::All).is_err(), "{ratio}");
        }
    }

    #[test]
    fn equal_norms_keep_the_earlier_filter() {
        let model = Model::random(dcnn([4, 4, 4], 8, 2), 1).expect("model");
        let mut weights = model.weights().clone();
        weights.get_mut("conv1.weight").expect("array").data.fill(1.0);
        let model = model.with_weights(weights).expect("model");
        let (plan, _) = PruningPlan::l1(&model, 0.5, Scope::Convolutions).expect("plan");
        assert_eq!(plan.kept_filters["conv1"].0, [0, 1]);
    }

    #[test]
    fn a_plan_of_earlier_versions_reads_and_is_written_as_it_was() {
        let text = r#"{"ratio":0.5,"criterion":"l1","kept":{"conv1":"0-1,3"}}"#;
        let plan: PruningPlan = serde_json::from_str(text).expect("plan");
        assert_eq!(plan.choice.criterion, "l1");
        assert_eq!(plan.kept_filters["conv1"].0, [0, 1, 3]);
        assert_eq!(serde_json::to_string(&plan).expect("JSON"), text);
    }

    #[test]
    fn classes_of_layers_and_single_layers_have_ratios_of_their_own() {
        let model = Model::random(dcnn([4, 6, 8], 20, 2), 1).expect("model");
        let scores = FilterScores::of_weights(&model, Criterion::L2, 1).expect("scores");
        let ratios = "conv=0.5,hidden=0.9,conv1=0".parse().expect("ratios");
        let (plan, warnings) = PruningPlan::new(&model, &scores, &ratios).expect("plan");
        assert!(warnings.notes.is_empty());
        let kept: Vec<usize> = plan.kept_filters.values().map(|k| k.0.len()).collect();
        assert_eq!(kept, [4, 3, 4, 2], "conv1, conv2, conv3, fc1");
        // 3 + 4 + 18 of 38.
        assert!((plan.choice.ratio - 0.658).abs() < 1e-12);
        assert_eq!(plan.choice.ratios.len(), 3);
        assert_eq!(plan.choice.criterion, "l2");
        let ratios = "conv=0.5".parse().expect("ratios");
        let (plan, _) = PruningPlan::new(&model, &scores, &ratios).expect("plan");
        assert!((plan.choice.ratio - 0.5).abs() == 0.0 && plan.choice.ratios.is_empty());
    }

    #[test]
    fn a_layer_on_which_the_criterion_says_nothing_is_ranked_by_l1_with_a_note() {
        let model = Model::random(dccn(4, 6, 3, [4, 4, 4], 2), 1).expect("model");
        let scores = FilterScores::of_weights(&model, Criterion::Bn, 1).expect("scores");
        let ratios = LayerRatios::uniform(0.5, Scope::Convolutions).expect("ratio");
        let (plan, warnings) = PruningPlan::new(&model, &scores, &ratios).expect("plan");
        assert_eq!(warnings.notes.len(), 1);
        assert!(warnings.notes[0].contains("features.transition3.conv"), "{:?}", warnings.notes);
        let (l1, _) = PruningPlan::l1(&model, 0.5, Scope::Convolutions).expect("plan");
        let last = "features.transition3.conv";
        assert_eq!(plan.kept_filters[last], l1.kept_filters[last]);
    }

    #[test]
    fn scores_of_another_network_are_refused() {
        let model = Model::random(dcnn([4, 6, 8], 20, 2), 1).expect("model");
        let other = Model::random(dcnn([5, 6, 8], 20, 2), 1).expect("model");
        let scores = FilterScores::of_weights(&other, Criterion::L1, 1).expect("scores");
        let ratios = LayerRatios::uniform(0.5, Scope::Convolutions).expect("ratio");
        assert!(PruningPlan::new(&model, &scores, &ratios).is_err());
    }
}
