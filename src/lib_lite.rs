//! dev
#![forbid(unsafe_code)]
pub mod dataset;
pub mod engine;
pub mod error;
pub mod model;
pub mod platform;
pub mod prune;
pub mod raster;
