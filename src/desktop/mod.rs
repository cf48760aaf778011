//! The desktop window. [`AppState`] is all of it that needs no window: what is open, where the eye
//! is, which model answers, and the work in the background; it takes [`Command`]s, from the panel,
//! the keyboard or a recorded script. `window` shows a desk.

mod app_state;
mod command;
mod document;
mod events;
mod panel;
mod picture;
mod segment_job;
mod tile_loader;
mod window;
mod window_surface;

pub use app_state::AppState;
pub use command::{Command, SegmentExtent, script};
pub use picture::picture;
pub use window::show;

/// Called by background threads when there is something to see.
pub type Wake = std::sync::Arc<dyn Fn() + Send + Sync>;
