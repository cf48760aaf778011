//! The one error type. Every message is a sentence for a person: what is wrong first, the file
//! last.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of anything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// The error of another library that led to an [`Error`].
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, by what the reader can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input breaks the rules of its own format. Used by every reader of bytes or text from
    /// outside: images, models, links, annotations, designs. Another file is needed.
    #[error(transparent)]
    Malformed(ErrorDetails),
    /// The input is legal, but this version does not implement it, or the chosen network, device
    /// or output format cannot represent it. A conversion or another choice is needed.
    #[error(transparent)]
    Unsupported(ErrorDetails),
    /// The input is larger than a stated limit on bytes, pixels, counts or memory.
    #[error(transparent)]
    Limit(ErrorDetails),
    /// A setting or a request is wrong by itself: a value outside its range, a name that does not
    /// exist, or a request made before what it needs is there.
    #[error(transparent)]
    Invalid(ErrorDetails),
    /// Two inputs that must agree do not: shapes, sizes, names, a run and its settings.
    #[error(transparent)]
    Mismatch(ErrorDetails),
    /// A compute device is missing, fails or computes wrongly.
    #[error(transparent)]
    Gpu(ErrorDetails),
    /// The operating system or a server refused to read or write.
    #[error(transparent)]
    Io(ErrorDetails),
    /// The user stopped the work.
    #[error("Stopped on request{}", colon_and(after))]
    Cancelled {
        /// What was finished and kept, as the end of a sentence; may be empty.
        after: String,
    },
}

/// Sentence, cause and file of an [`Error`].
///
/// Displayed as `sentence: cause (file)`. The cause is also the error's
/// [`source`](std::error::Error::source).
#[derive(Debug)]
pub struct ErrorDetails {
    message: String,
    cause: Option<Cause>,
    path: Option<PathBuf>,
}

impl ErrorDetails {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None, path: None }
    }
}

impl fmt::Display for ErrorDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " ({})", path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ErrorDetails {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// `: text`, or nothing without text.
fn colon_and(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl Error {
    /// An [`Error::Malformed`] of one sentence.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed(ErrorDetails::new(message))
    }
    /// An [`Error::Unsupported`] of one sentence.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported(ErrorDetails::new(message))
    }
    /// An [`Error::Limit`] of one sentence.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::Limit(ErrorDetails::new(message))
    }
    /// An [`Error::Invalid`] of one sentence.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(ErrorDetails::new(message))
    }
    /// An [`Error::Mismatch`] of one sentence.
    pub fn mismatch(message: impl Into<String>) -> Self {
        Self::Mismatch(ErrorDetails::new(message))
    }
    /// An [`Error::Gpu`] of one sentence.
    pub fn gpu(message: impl Into<String>) -> Self {
        Self::Gpu(ErrorDetails::new(message))
    }
    /// An [`Error::Io`] of a sentence and its cause.
    pub fn io(message: impl Into<String>, cause: std::io::Error) -> Self {
        Self::Io(ErrorDetails::new(message)).caused_by(cause)
    }

    /// The same error with the error that led to it: its text follows the sentence, and it becomes
    /// the [`source`](std::error::Error::source).
    ///
    /// ```
    /// use prunella::error::Error;
    /// use std::error::Error as _;
    ///
    /// let cause = "x".parse::<u32>().expect_err("no number");
    /// let error = Error::malformed("The size cannot be read").caused_by(cause).at("a.txt");
    /// assert_eq!(
    ///     error.to_string(),
    ///     "The size cannot be read: invalid digit found in string (a.txt)"
    /// );
    /// assert!(error.source().is_some_and(|e| e.is::<std::num::ParseIntError>()));
    /// ```
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        if let Some(details) = self.details_mut() {
            details.cause = Some(cause.into());
        }
        self
    }

    /// The same error, naming the file it is about. The innermost name wins; errors of devices and
    /// stops on request name none.
    #[must_use]
    pub fn at(mut self, file: impl AsRef<Path>) -> Self {
        if matches!(self, Self::Gpu(_)) {
            return self;
        }
        if let Some(details) = self.details_mut() {
            details.path.get_or_insert_with(|| file.as_ref().to_path_buf());
        }
        self
    }

    fn details_mut(&mut self) -> Option<&mut ErrorDetails> {
        match self {
            Self::Malformed(details)
            | Self::Unsupported(details)
            | Self::Limit(details)
            | Self::Invalid(details)
            | Self::Mismatch(details)
            | Self::Gpu(details)
            | Self::Io(details) => Some(details),
            Self::Cancelled { .. } => None,
        }
    }
}

/// Adds the file name to the error of a result.
pub trait ErrorContext<T> {
    /// See [`Error::at`].
    fn at(self, file: impl AsRef<Path>) -> Result<T>;
}

impl<T> ErrorContext<T> for Result<T> {
    fn at(self, file: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| e.at(file))
    }
}

/// Problems that do not stop the work. The caller must take and show them.
#[must_use]
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warnings {
    /// One sentence each, in the order of occurrence.
    pub notes: Vec<String>,
}

impl Warnings {
    /// Adds one sentence.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }
    /// Appends the sentences of `other`.
    pub fn extend(&mut self, other: Warnings) {
        self.notes.extend(other.notes);
    }
}

/// A number with a noun in singular or plural, and a verb for each: `counted(2, "file is", "files
/// are")` is `2 files are`.
pub(crate) fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// The first names of a list, at most `most`, with commas between; `…` stands for the others.
pub(crate) fn listed(names: &[impl AsRef<str>], most: usize) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        if index == most {
            text.push('…');
            break;
        }
        text.push_str(name.as_ref());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_message_comes_first_and_the_innermost_path_last() {
        let error = Error::malformed("The header is cut short").at("inner.tif").at("outer");
        assert_eq!(error.to_string(), "The header is cut short (inner.tif)");
        assert!(error.source().is_none());
    }

    #[test]
    fn the_cause_is_displayed_and_kept_as_the_source() {
        let error = Error::io("The file cannot be opened", std::io::ErrorKind::NotFound.into());
        assert_eq!(error.to_string(), "The file cannot be opened: entity not found");
        let source = error.source().and_then(|e| e.downcast_ref::<std::io::Error>());
        assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
    }

    #[test]
    fn counts_agree_with_their_nouns_and_long_lists_end() {
        assert_eq!(counted(1, "file is", "files are"), "1 file is");
        assert_eq!(counted(0, "file is", "files are"), "0 files are");
        let names = ["a", "b", "c"];
        assert_eq!((listed(&names, 3), listed(&names, 2)), ("a, b, c".into(), "a, b, …".into()));
        assert_eq!(listed(&[] as &[&str], 2), "");
    }

    #[test]
    fn device_errors_and_stops_name_no_file() {
        assert_eq!(Error::gpu("The device is lost").at("a.png").to_string(), "The device is lost");
        let stopped = Error::Cancelled { after: "3 epochs are kept".into() }.at("a.png");
        assert_eq!(stopped.to_string(), "Stopped on request: 3 epochs are kept");
    }
}
