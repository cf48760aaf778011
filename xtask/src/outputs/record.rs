//! The record of a run, `steps.tsv`: what each step ended with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::run::Result;

/// Name of the record in a folder of outputs.
pub const RECORD_FILE: &str = "steps.tsv";

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Exit code of the program; none where a signal ended it.
    Exit(Option<i32>),
    /// The reason.
    Skipped(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(Some(code)) => write!(f, "exit {code}"),
            Self::Exit(None) => write!(f, "killed"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        if let Some(reason) = text.strip_prefix("skipped: ") {
            return Some(Self::Skipped(reason.to_owned()));
        }
        if text == "killed" {
            return Some(Self::Exit(None));
        }
        text.strip_prefix("exit ")?.parse().ok().map(|code| Self::Exit(Some(code)))
    }
}

/// Steps by name.
pub type Record = BTreeMap<String, Status>;

/// Writes the record of a run that ended.
///
/// # Errors
/// When the file cannot be written.
pub fn write_record(folder: &Path, record: &Record) -> Result<()> {
    let lines: String = record.iter().map(|(name, status)| format!("{name}\t{status}\n")).collect();
    let file = folder.join(RECORD_FILE);
    std::fs::write(&file, lines).map_err(|e| format!("{} cannot be written: {e}", file.display()))
}

/// Reads the record of a run.
///
/// # Errors
/// When the file is absent, as in the folder of an interrupted run, or cannot be understood.
pub fn read_record(folder: &Path) -> Result<Record> {
    let file = folder.join(RECORD_FILE);
    let text = std::fs::read_to_string(&file)
        .map_err(|e| format!("{} cannot be read, is the run complete? {e}", file.display()))?;
    let mut record = Record::new();
    for line in text.lines() {
        let parsed =
            line.split_once('\t').and_then(|(name, rest)| Some((name, Status::parse(rest)?)));
        let (name, status) =
            parsed.ok_or_else(|| format!("{}: no step: {line}", file.display()))?;
        record.insert(name.to_owned(), status);
    }
    Ok(record)
}
