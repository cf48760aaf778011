//! Training on Burn: the only floor that knows it. Models come in and go out as plain data.

mod batch;
mod checkpoint;
mod device;
mod device_tiles;
mod gradients;
mod kernels;
mod lane_graph;
mod lane_layers;
mod lane_norm;
mod lane_places;
mod lanes;
mod loss;
mod network;
mod optimiser;
mod recipe;
mod spares;
mod start;
mod teachers;
mod trainer;
mod validation;

pub use checkpoint::Checkpoint;
pub use device::{Adapter, Compute, adapters, gradients_differ_by, open};
pub use device_tiles::DeviceTiles;
pub use gradients::{logits, replay};
pub use network::{Mode, Network};
pub use recipe::{Recipe, Schedule, is_single};
pub use start::Redrawn;
pub use trainer::{EpochLog, Event, TrainData, TrainOutcome, Trainer};
