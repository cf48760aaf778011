//! Training on Burn: the only floor that knows it. Models come in and go out as plain data.

mod batch;
mod batch_norm;
mod blob_offsets;
mod buffer_pool;
mod checkpoint;
mod device;
mod device_tiles;
mod gradients;
mod graph_trainer;
mod init;
mod kernels;
mod layer_kernels;
mod loss;
mod network;
mod optimiser;
mod recipe;
mod sequential_trainer;
mod teachers;
mod trainer;
mod validation;

pub use checkpoint::Checkpoint;
pub use device::{Compute, TrainAdapter, adapters, gradients_differ_by, open};
pub use device_tiles::DeviceTiles;
pub use gradients::{logits, replay};
pub use init::RevivedUnits;
pub use network::{BurnNetwork, Mode};
pub use recipe::{Recipe, Schedule, is_single};
pub use trainer::{EpochLog, Event, TrainData, TrainOutcome, Trainer};
