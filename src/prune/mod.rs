//! Structural pruning as pure functions: scores of the filters, then a plan, then surgery. A plan
//! is data; nothing here trains or evaluates a network. Scores that are measured on patches come
//! from `train::measure_filters`.
//!
//! ```
//! use prunella::model::{Model, dcnn};
//! use prunella::prune::{PruningPlan, Scope, apply};
//!
//! # fn main() -> prunella::error::Result<()> {
//! let model = Model::random(dcnn([4, 6, 8], 16, 2), 1)?;
//! // Half of the filters of each convolution: those of the smallest L1 norm.
//! let (plan, warnings) = PruningPlan::l1(&model, 0.5, Scope::Convolutions)?;
//! assert!(warnings.notes.is_empty());
//! let pruned = apply(&model, &plan)?;
//! assert_eq!(pruned.card().architecture, dcnn([2, 3, 4], 16, 2));
//! // The filters that remain are those of the unpruned model.
//! let first = plan.kept_filters["conv1"].0[0];
//! assert_eq!(pruned.array("conv1.bias")[0], model.array("conv1.bias")[first]);
//! # Ok(())
//! # }
//! ```

mod criterion;
mod plan;
mod ratios;
mod surgery;

pub use criterion::{Criterion, FilterScores, filter_l1_norms};
pub use plan::{PruningPlan, keep_count};
pub use ratios::{LayerRatios, Scope};
pub use surgery::apply;
