//! Output of commands: results on standard output, messages and progress on standard error.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Result, Warnings};

/// Exit code after a second Ctrl-C, as shells have it for an interrupted program.
const INTERRUPTED: i32 = 130;

/// The two streams of a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    /// `json`: results are JSON objects instead of text.
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A sentence on standard error.
    #[allow(clippy::unused_self, reason = "both streams belong to the command's output")]
    pub(super) fn remark(self, sentence: &str) {
        // The work continues when standard error is closed.
        drop(writeln!(std::io::stderr(), "{sentence}"));
    }

    /// Every warning, a sentence each, on standard error.
    pub(super) fn warnings(self, warnings: &Warnings) {
        for sentence in &warnings.notes {
            self.remark(sentence);
        }
    }

    /// The result: `value` as JSON, or `text`.
    ///
    /// # Errors
    /// When the value has no JSON form, or standard output cannot be written.
    pub(super) fn result<T: Serialize>(self, value: &T, text: &str) -> Result<()> {
        let mut line = if self.json {
            serde_json::to_string(value)
                .map_err(|e| Error::malformed("The result cannot be written").caused_by(e))?
        } else {
            text.trim_end().to_owned()
        };
        if !line.is_empty() {
            line.push('\n');
        }
        match std::io::stdout().write_all(line.as_bytes()) {
            // The reader of a pipe may close it early, such as `head`.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|e| Error::io("The result cannot be printed", e)),
        }
    }

    /// A progress bar with the time left, on standard error.
    #[allow(clippy::unused_self, reason = "both streams belong to the command's output")]
    pub(super) fn bar(self, total: u64, prefix: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(4));
        let style =
            ProgressStyle::with_template("{prefix} {bar:28} {percent:>3} % · {msg} · {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        bar.set_prefix(prefix.to_owned());
        bar
    }
}

/// Set by Ctrl-C; a second Ctrl-C ends the process at once.
pub(super) fn stop_flag() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    static HANDLER: OnceLock<()> = OnceLock::new();
    HANDLER.get_or_init(|| {
        let handler = || {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        };
        // Without a handler Ctrl-C ends the process; files are written atomically in both cases.
        drop(ctrlc::set_handler(handler));
    });
    &STOP
}
