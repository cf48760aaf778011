//! Structural pruning as pure functions: scores → plan → surgery. A plan is data; nothing here
//! trains or runs a network.

mod criterion;
mod plan;
mod surgery;

pub use criterion::filter_l1_norms;
pub use plan::{PruningPlan, Scope, keep_count};
pub use surgery::apply;
