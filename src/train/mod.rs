//! Training: from labelled tiles and a recipe to weights. On the CPU by this crate's own kernels,
//! with plain arrays from step to step; on GPUs by Burn (feature `train-gpu`), which hands
//! gradients over as plain arrays to the same optimiser.
//!
//! Everything but files, devices and Burn also compiles to wasm32, where one thread works.

mod batch;
mod batch_norm;
mod blob_offsets;
mod buffer_pool;
#[cfg(all(feature = "train-gpu", not(target_arch = "wasm32")))]
mod burn;
#[cfg(not(all(feature = "train-gpu", not(target_arch = "wasm32"))))]
#[path = "without_burn.rs"]
mod burn;
mod checkpoint;
mod compute;
#[cfg(not(target_arch = "wasm32"))]
mod device;
mod extend;
mod filter_response;
mod gradients;
mod graph_trainer;
mod init;
mod layer_kernels;
mod loss;
mod native_network;
mod optimiser;
mod recipe;
mod run;
mod sequential_trainer;
mod teach;
mod teach_outcome;
mod teach_recipe;
mod teach_squares;
mod teach_task;
mod teach_windows;
mod teachers;
#[cfg(not(target_arch = "wasm32"))]
mod trainer;
mod validation;

pub use self::burn::BurnDevice;
#[cfg(all(feature = "burn-flex", not(target_arch = "wasm32")))]
pub use self::burn::burn_logits;
#[cfg(all(feature = "train-gpu", not(target_arch = "wasm32")))]
pub use self::burn::{DeviceTiles, gradients_differ_by};
pub use checkpoint::{Checkpoint, TrainProgress};
pub use compute::{Compute, TrainBackend, replay};
#[cfg(not(target_arch = "wasm32"))]
pub use device::{TrainAdapter, adapters, open};
pub use extend::{with_border_class, with_nucleus_types};
pub use filter_response::measure_filters;
pub use init::RevivedUnits;
pub use optimiser::Moments;
pub use recipe::{DeadUnitOptions, Recipe, Schedule, check_border, is_single};
pub use run::{EpochLog, StepLog, TrainJob, TrainRun, TrainedModel};
pub use teach::{TaughtImage, TeachJob, TeachRun, TeachStep, teach};
pub use teach_outcome::{MarkAgreement, TaughtModel, TaughtWeights, TeachOutcome};
pub use teach_recipe::{TaughtLayers, TeachRecipe};
pub use teach_squares::{AnswerBefore, class_bytes};
pub use teach_task::TeachTask;
pub use teach_windows::{TeachWindow, teach_windows};
#[cfg(not(target_arch = "wasm32"))]
pub use trainer::{Event, TrainData, TrainOutcome, Trainer, rescue_path};
