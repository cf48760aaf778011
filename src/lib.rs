//! prunella trains, structurally prunes and fine-tunes small networks that segment nuclei in H&E
//! tissue.
//!
//! Modules lie on floors and import from lower floors only; `ARCHITECTURE.md` has the table and
//! `tests/it/layering.rs` checks it.

#![forbid(unsafe_code)]

#[cfg(not(target_arch = "wasm32"))]
pub mod cli;
pub mod dataset;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod demo;
#[cfg(all(feature = "desktop", not(target_arch = "wasm32")))]
pub mod desktop;
pub mod engine;
pub mod error;
pub mod export;
pub mod instances;
pub mod metrics;
pub mod model;
pub mod platform;
pub mod prune;
pub mod raster;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod report;
pub mod slide;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod study;
pub mod train;
pub mod viewer;
#[cfg(target_arch = "wasm32")]
pub mod web;
pub mod whole_slide;
