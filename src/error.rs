//! The one error type. Every message is a sentence for a person: what is wrong first, the file
//! last.

use std::path::{Path, PathBuf};

/// Result of anything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, by what the reader can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input breaks the rules of its own format.
    #[error("{message}{}", place(path.as_deref()))]
    Malformed { message: String, path: Option<PathBuf> },
    /// The input is legal but outside what is implemented.
    #[error("{message}{}", place(path.as_deref()))]
    Unsupported { message: String, path: Option<PathBuf> },
    /// The input is larger than a stated limit.
    #[error("{message}{}", place(path.as_deref()))]
    Limit { message: String, path: Option<PathBuf> },
    /// Two things that must agree do not (shapes, names, sizes).
    #[error("{message}{}", place(path.as_deref()))]
    Mismatch { message: String, path: Option<PathBuf> },
    /// A compute device is missing, fails or computes wrongly.
    #[error("{message}")]
    Gpu { message: String },
    /// The user stopped the work; what was finished is kept.
    #[error("Stopped on request{}", if after.is_empty() { String::new() } else { format!(": {after}") })]
    Cancelled { after: String },
    /// The operating system refused.
    #[error("{message}: {source}{}", place(path.as_deref()))]
    Io { message: String, source: std::io::Error, path: Option<PathBuf> },
}

fn place(path: Option<&Path>) -> String {
    path.map(|p| format!(" ({})", p.display())).unwrap_or_default()
}

impl Error {
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed { message: message.into(), path: None }
    }
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported { message: message.into(), path: None }
    }
    pub fn limit(message: impl Into<String>) -> Self {
        Self::Limit { message: message.into(), path: None }
    }
    pub fn mismatch(message: impl Into<String>) -> Self {
        Self::Mismatch { message: message.into(), path: None }
    }
    pub fn gpu(message: impl Into<String>) -> Self {
        Self::Gpu { message: message.into() }
    }
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { message: message.into(), source, path: None }
    }

    /// The same error, naming the file it is about (the innermost name wins).
    #[must_use]
    pub fn at(mut self, file: impl AsRef<Path>) -> Self {
        match &mut self {
            Self::Malformed { path, .. }
            | Self::Unsupported { path, .. }
            | Self::Limit { path, .. }
            | Self::Mismatch { path, .. }
            | Self::Io { path, .. } => {
                path.get_or_insert_with(|| file.as_ref().to_path_buf());
            }
            Self::Gpu { .. } | Self::Cancelled { .. } => {}
        }
        self
    }
}

/// Adds the file name to whatever error passes by.
pub trait ErrorContext<T> {
    /// See [`Error::at`].
    fn at(self, file: impl AsRef<Path>) -> Result<T>;
}

impl<T> ErrorContext<T> for Result<T> {
    fn at(self, file: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| e.at(file))
    }
}

/// Problems that do not stop the work. The caller must take it and show it.
#[must_use]
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warnings {
    /// One sentence each, in the order they were met.
    pub notes: Vec<String>,
}

impl Warnings {
    /// Adds one sentence.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }
    /// Takes over what another report holds.
    pub fn extend(&mut self, other: Warnings) {
        self.notes.extend(other.notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_comes_first_and_the_innermost_path_last() {
        let e = Error::malformed("The header is cut short").at("inner.tif").at("outer");
        assert_eq!(e.to_string(), "The header is cut short (inner.tif)");
    }
}
