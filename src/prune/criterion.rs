//! The importance of filters.

use crate::model::{Model, Node, Op};

/// L1 norm of the weights of each filter or hidden unit, without its bias (Li et al. 2017; the
/// paper's criterion). Empty for nodes without filters.
#[must_use]
pub fn filter_l1_norms(model: &Model, node: &Node) -> Vec<f64> {
    if !matches!(node.op, Op::Conv { .. } | Op::Linear { .. }) {
        return Vec::new();
    }
    let weights = model.array(&format!("{}.weight", node.name));
    let filters = weights.chunks_exact(weights.len() / node.shape.channels);
    // Added in f64, so that rounding does not decide between two filters.
    filters.map(|filter| filter.iter().map(|w| f64::from(w.abs())).sum()).collect()
}
