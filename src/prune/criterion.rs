//! How much a filter matters.

use crate::model::{Model, Node, Op};

/// L1 norm of the weights of each filter or hidden unit, bias left out (Li et al. 2017; the paper's
/// criterion). Empty for other nodes.
#[must_use]
pub fn filter_l1_norms(model: &Model, node: &Node) -> Vec<f64> {
    if !matches!(node.op, Op::Conv { .. } | Op::Linear { .. }) {
        return Vec::new();
    }
    let weights = model.array(&format!("{}.weight", node.name));
    // f64 so that the order of the additions cannot decide between two filters.
    let norm = |filter: &[f32]| filter.iter().map(|w| f64::from(w.abs())).sum();
    weights.chunks_exact(weights.len() / node.shape.channels).map(norm).collect()
}
