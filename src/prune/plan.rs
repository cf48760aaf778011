//! Which filters are kept, decided layer by layer and written down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::criterion::filter_l1_norms;
use crate::error::{Error, Result, Warnings};
use crate::model::{IndexSet, Model, Op};

/// Which layers a plan may narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Convolutions: the paper's rule.
    #[default]
    Convolutions,
    /// Convolutions and hidden layers.
    All,
}

/// The filters that each layer keeps. Layers not named keep all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PruningPlan {
    /// Fraction of filters to remove from each layer, 0 to 1.
    pub ratio: f64,
    /// How filters were chosen: `l1` or `none`.
    pub criterion: String,
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
    /// The paper's rule: each convolution loses the `floor(ratio · n)` filters of smallest L1 norm.
    /// Of equal norms the later filter is removed first. A layer that would lose all filters keeps
    /// the one of largest norm, with a warning.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a ratio outside 0 to 1.
    pub fn l1(model: &Model, ratio: f64, scope: Scope) -> Result<(Self, Warnings)> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(Error::invalid(format!(
                "The pruning ratio is {ratio}; it must be between 0 and 1"
            )));
        }
        let mut warnings = Warnings::default();
        let mut kept_filters = BTreeMap::new();
        for node in &model.graph().nodes {
            let in_scope = scope == Scope::All || matches!(node.op, Op::Conv { .. });
            if !in_scope || !model.graph().is_prunable(node) {
                continue;
            }
            let filters = node.shape.channels;
            let mut keep = keep_count(filters, ratio);
            if keep == 0 {
                keep = 1;
                warnings.note(format!(
                    "Layer {} would lose all {filters} filters; it keeps the strongest one",
                    node.name
                ));
            }
            let norms = filter_l1_norms(model, node);
            let mut indices: Vec<usize> = (0..filters).collect();
            indices.sort_by(|&a, &b| norms[b].total_cmp(&norms[a]).then(a.cmp(&b)));
            indices.truncate(keep);
            indices.sort_unstable();
            kept_filters.insert(node.name.clone(), IndexSet(indices));
        }
        Ok((Self { ratio, criterion: "l1".into(), kept_filters }, warnings))
    }

    /// The plan that removes nothing.
    #[must_use]
    pub fn identity() -> Self {
        Self { ratio: 0.0, criterion: "none".into(), kept_filters: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, dcnn};

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
}
