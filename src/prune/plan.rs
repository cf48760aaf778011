//! Which filters stay, decided layer by layer and written down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::criterion::filter_l1_norms;
use crate::error::{Error, Result, Warnings};
use crate::model::{IndexSet, Model, Op};

/// Which layers a plan may narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Filters of convolutions: the paper's rule.
    #[default]
    Convolutions,
    /// Units of hidden layers as well.
    All,
}

/// The filters that each convolution keeps. Layers not named keep all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PruningPlan {
    /// Share of filters to remove from each layer, 0 to 1.
    pub ratio: f64,
    pub criterion: String,
    /// Layer name → kept filters, as positions in the model that is pruned.
    pub kept: BTreeMap<String, IndexSet>,
}

/// Filters that stay of `filters` at `ratio`: `floor(ratio · filters)` go, which reproduces the
/// paper's file sizes.
#[must_use]
pub fn keep_count(filters: usize, ratio: f64) -> usize {
    // 0.3 · 50 is 15 but 0.29999… in binary; the small addend keeps the floor of the decimal
    // number.
    let removed = (ratio * filters as f64 + 1e-9).floor().max(0.0) as usize;
    filters - removed.min(filters)
}

impl PruningPlan {
    /// The paper's rule: from each convolution the `floor(ratio · n)` filters of least L1 norm go.
    /// Between equal norms the earlier filter stays. A layer that would be emptied keeps its
    /// strongest filter, and the report says so.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a ratio outside 0 to 1.
    pub fn l1(model: &Model, ratio: f64, scope: Scope) -> Result<(Self, Warnings)> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(Error::mismatch(format!(
                "The pruning ratio is {ratio}; it must be between 0 and 1"
            )));
        }
        let mut report = Warnings::default();
        let mut kept = BTreeMap::new();
        for node in &model.graph().nodes {
            let wanted = scope == Scope::All || matches!(node.op, Op::Conv { .. });
            if !(wanted && model.graph().is_prunable(node)) {
                continue;
            }
            let filters = node.shape.channels;
            let mut keep = keep_count(filters, ratio);
            if keep == 0 {
                keep = 1;
                report.note(format!(
                    "Layer {} would lose all {filters} filters; it keeps the strongest one",
                    node.name
                ));
            }
            let norms = filter_l1_norms(model, node);
            let mut order: Vec<usize> = (0..filters).collect();
            order.sort_by(|&a, &b| norms[b].total_cmp(&norms[a]).then(a.cmp(&b)));
            order.truncate(keep);
            order.sort_unstable();
            kept.insert(node.name.clone(), IndexSet(order));
        }
        Ok((Self { ratio, criterion: "l1".into(), kept }, report))
    }

    /// The plan that removes nothing.
    #[must_use]
    pub fn identity() -> Self {
        Self { ratio: 0.0, criterion: "none".into(), kept: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, dcnn};

    #[test]
    fn the_floor_is_that_of_the_decimal_number() {
        assert_eq!(keep_count(50, 0.3), 35);
        assert_eq!(keep_count(25, 0.2), 20);
        assert_eq!(keep_count(32, 0.9), 4);
        assert_eq!(keep_count(10, 1.0), 0);
    }

    #[test]
    fn a_layer_is_never_emptied_and_the_report_says_so() {
        let model = Model::random(dcnn([2, 3, 4], 8, 2), 1).expect("model");
        let (plan, report) = PruningPlan::l1(&model, 1.0, Scope::Convolutions).expect("plan");
        assert!(plan.kept.values().all(|k| k.0.len() == 1));
        assert_eq!(report.notes.len(), 3);
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
        assert_eq!(plan.kept["conv1"].0, [0, 1]);
    }
}
