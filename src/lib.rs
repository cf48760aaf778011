//! prunella trains, structurally prunes and fine-tunes small networks that segment nuclei in H&E
//! tissue.
//!
//! # What to use
//!
//! | task | start at |
//! |---|---|
//! | segment an image, on CPU or GPU | [`engine::Segmenter`] |
//! | find and measure nuclei in a probability map | [`instances::label_nuclei`] |
//! | read regions of a slide | `slide::SlideReader`; on wasm32 [`slide::Slide`] |
//! | segment a slide | [`whole_slide::SlideJob`], `whole_slide::SlideRun` |
//! | prune filters | [`prune::PruningPlan`], [`prune::apply`] |
//! | train, distil, fine-tune | [`train::TrainRun`]; with checkpoints in a file `train::Trainer` |
//! | load and save models | [`model::Model::from_bytes`], [`model::Model::to_bytes`] |
//! | export a model | [`export::to_onnx`], [`export::to_link`], [`export::to_html`] |
//! | score against labels | [`metrics`] |
//!
//! Train a small DCNN, prune half of its filters and fine-tune what remains:
//!
//! ```
//! use prunella::dataset::phantom;
//! use prunella::error::Result;
//! use prunella::model::{Model, dcnn};
//! use prunella::prune::{PruningPlan, Scope, apply};
//! use prunella::train::{Compute, Recipe, TrainJob, TrainRun};
//!
//! fn train(start: &Model) -> Result<Model> {
//!     // A synthetic labelled image; `dataset::load_tile` reads real ones.
//!     let tiles = [phantom::tile(64, 64, 1)];
//!     let recipe = Recipe { patches: 40, epochs: 1, batch: 8, ..Recipe::DEFAULT };
//!     let compute = Compute::cpu();
//!     let mut run = TrainRun::begin(TrainJob {
//!         start,
//!         tiles: &tiles,
//!         recipe: &recipe,
//!         compute: &compute,
//!         teachers: &[],
//!     })?;
//!     for _ in 0..run.steps_in_epoch() {
//!         run.step()?;
//!     }
//!     run.finish_epoch()?;
//!     Ok(run.finish()?.model)
//! }
//!
//! let trained = train(&Model::random(dcnn([2, 4, 6], 8, 2), 1)?)?;
//! let (plan, _) = PruningPlan::l1(&trained, 0.5, Scope::Convolutions)?;
//! let tuned = train(&apply(&trained, &plan)?)?;
//! assert_eq!(tuned.card().architecture, dcnn([1, 2, 3], 8, 2));
//! # Ok::<(), prunella::error::Error>(())
//! ```
//!
//! Segment an image with a model and export the model:
//!
//! ```
//! use std::sync::Arc;
//!
//! use prunella::engine::{Control, SegmentOptions, Segmenter};
//! use prunella::export::{OnnxForm, to_onnx};
//! use prunella::model::{Model, dcnn};
//! use prunella::raster::phantom;
//!
//! let model = Arc::new(Model::random(dcnn([2, 4, 6], 8, 2), 1)?);
//! let (image, _) = phantom(64, 48, 7);
//! let segmenter = Segmenter::on_cpu(Arc::clone(&model))?;
//! let map = segmenter.segment_on_cpu(&image, SegmentOptions::default(), &Control::default())?;
//! // Probability of nucleus at row 10, column 20.
//! assert!((0.0..=1.0).contains(&map.nucleus().get(10, 20)));
//! assert!(!to_onnx(&model, OnnxForm::Dense)?.is_empty());
//! # Ok::<(), prunella::error::Error>(())
//! ```
//!
//! `slide::SlideReader` has an example of reading a region of a slide.
//!
//! # Layers
//!
//! Modules lie on floors and import from lower floors only; `ARCHITECTURE.md` has the table and
//! `tests/it/layering.rs` checks it.

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

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
pub mod outlines;
pub mod picture;
pub mod platform;
pub mod prune;
pub mod raster;
#[cfg(not(target_arch = "wasm32"))]
pub mod report;
pub mod review;
pub mod slide;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod study;
pub mod train;
pub mod viewer;
#[cfg(all(target_arch = "wasm32", not(feature = "web-teach")))]
pub mod web;
#[cfg(all(target_arch = "wasm32", feature = "web-teach"))]
pub mod web_teach;
pub mod whole_slide;
