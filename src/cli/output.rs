//! What the commands say, and where.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Result};

/// The two streams of a command.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// A sentence for the person watching, on standard error.
    #[allow(clippy::unused_self, reason = "both streams belong to the command's output")]
    pub fn remark(self, sentence: &str) {
        // A closed standard error is no reason to lose the work.
        drop(writeln!(std::io::stderr(), "{sentence}"));
    }

    /// The result: `value` as JSON, or `text`.
    ///
    /// # Errors
    /// When the value is not JSON or standard output is closed.
    pub fn result<T: Serialize>(self, value: &T, text: &str) -> Result<()> {
        let mut line = if self.json {
            serde_json::to_string(value)
                .map_err(|e| Error::malformed(format!("The result cannot be written: {e}")))?
        } else {
            text.trim_end().to_owned()
        };
        if !line.is_empty() {
            line.push('\n');
        }
        match std::io::stdout().write_all(line.as_bytes()) {
            // The reader of a pipe may leave early.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|e| Error::io("The result cannot be printed", e)),
        }
    }

    /// A progress bar with time left, on standard error.
    #[allow(clippy::unused_self, reason = "both streams belong to the command's output")]
    pub fn bar(self, total: u64, what: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(4));
        let style =
            ProgressStyle::with_template("{prefix} {bar:28} {percent:>3} % · {msg} · {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        bar.set_prefix(what.to_owned());
        bar
    }
}

/// Set when the user asked to stop (Ctrl-C). The second request ends the process at once.
pub fn stop_flag() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let handler = || {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        // Without a handler Ctrl-C still ends the process; checkpoints are atomic either way.
        drop(ctrlc::set_handler(handler));
    });
    &STOP
}
