//! The desktop window. [`AppState`] holds everything that needs no window: the document, the view,
//! the model, results and background work. It takes [`Command`]s from the panel, keyboard and
//! pointer, or from a recorded script. [`show`] opens a window over it.

mod app_state;
mod command;
mod document;
mod drawn_nucleus;
mod events;
mod export;
mod file_list;
mod outline_mesh;
mod outlines;
mod overlay;
mod painting;
mod panel;
mod reference;
mod regions;
mod result_shelf;
mod saved_results;
mod screenshot;
mod segment_job;
mod selection;
mod state_store;
mod teaching;
mod teaching_job;
#[cfg(test)]
mod teaching_tests;
mod tile_loader;
mod versions;
mod window;
mod window_input;
mod window_surface;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use app_state::{AppState, JobProgress, NucleusCount, ScreenUpdate};
pub use command::{Command, SegmentExtent, TeachSettings, script};
pub use file_list::FileList;
pub use reference::ReferenceScores;
pub use screenshot::screenshot;
pub use state_store::{StateStore, data_folder};
pub use teaching::{TaughtResult, TeachProgress};
pub use versions::ModelVersion;
pub use window::show;

/// Called by background threads when [`AppState::poll`] has something to take.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Locks a mutex. After a panic of another thread its value is used as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
