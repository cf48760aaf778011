//! The desktop window. [`Desk`] is all of it that needs no window: what is open, where the eye is, which model answers, and the
//! work in the background; it takes [`Command`]s, from the panel, the keyboard or a recorded script. `window` shows a desk.

mod command;
mod desk;
mod job;
mod loader;
mod news;
mod panel;
mod picture;
mod screen;
mod subject;
mod window;

pub use command::{Command, Extent, script};
pub use desk::Desk;
pub use picture::picture;
pub use window::show;

/// Called by background threads when there is something to see.
pub type Wake = std::sync::Arc<dyn Fn() + Send + Sync>;
