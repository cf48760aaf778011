//! What is kept of each image on this device: a file by the image's fingerprint in the user's data
//! folder. Files are written on a thread of their own, the latest state of an image alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::error::{Error, ErrorContext as _, Result};
use crate::platform::{read_file, write_atomic};
use crate::review::ReviewState;

/// Largest file of a state, bytes.
const MAX_STATE_BYTES: u64 = 256 << 20;

/// The user's folder for data of programs, by the conventions of the system; none where the
/// environment does not say.
#[must_use]
pub fn data_folder() -> Option<PathBuf> {
    let variable = |name: &str| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute())
    };
    let base = if cfg!(windows) {
        variable("APPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")))
    };
    base.map(|folder| folder.join("prunella").join("images"))
}

/// States by the fingerprint of their image.
#[derive(Default)]
pub struct StateStore {
    folder: Option<PathBuf>,
    /// Saved in this session.
    latest: BTreeMap<String, Vec<u8>>,
    writer: Option<Writer>,
}

impl StateStore {
    /// Keeps states until the program ends.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Keeps states in a folder, which is created with the first of them.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder: Some(folder), latest: BTreeMap::new(), writer: Some(Writer::start()) }
    }

    /// Whether states outlive the program.
    pub(super) fn is_on_device(&self) -> bool {
        self.folder.is_some()
    }

    fn file(&self, fingerprint: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{fingerprint}.json")))
    }

    /// The state of an image, none if there is none.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a file of another version, [`Error::Io`] for one that cannot be
    /// read.
    pub(super) fn load(&self, fingerprint: &str) -> Result<Option<ReviewState>> {
        if let Some(bytes) = self.latest.get(fingerprint) {
            return ReviewState::from_bytes(bytes).map(Some);
        }
        match self.file(fingerprint) {
            Some(file) if file.exists() => {
                let bytes = read_file(&file, MAX_STATE_BYTES)?;
                ReviewState::from_bytes(&bytes).map(Some).at(&file)
            }
            _ => Ok(None),
        }
    }

    /// Keeps the state of an image.
    pub(super) fn save(&mut self, fingerprint: &str, bytes: Vec<u8>) {
        if let (Some(file), Some(writer)) = (self.file(fingerprint), &self.writer) {
            writer.write(file, bytes.clone());
        }
        self.latest.insert(fingerprint.to_owned(), bytes);
    }

    /// Whether anything is kept of an image.
    pub(super) fn has(&self, fingerprint: &str) -> bool {
        self.latest.contains_key(fingerprint)
            || self.file(fingerprint).is_some_and(|file| file.exists())
    }

    /// Removes what is kept of an image.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(super) fn forget(&mut self, fingerprint: &str) -> Result<()> {
        self.latest.remove(fingerprint);
        let Some(file) = self.file(fingerprint) else { return Ok(()) };
        // Nothing that is under way may write it again.
        if let Some(writer) = self.writer.take() {
            writer.finish();
            self.writer = Some(Writer::start());
        }
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("What is kept of the image cannot be removed", e).at(&file))
            }
            _ => Ok(()),
        }
    }

    /// What went wrong while states were written since the last call.
    pub(super) fn problem(&self) -> Option<Error> {
        self.writer.as_ref().and_then(|writer| writer.errors.try_iter().last())
    }
}

impl Drop for StateStore {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
    }
}

/// A thread that writes files.
struct Writer {
    files: Sender<(PathBuf, Vec<u8>)>,
    errors: Receiver<Error>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start() -> Self {
        let (files, received) = channel();
        let (send_error, errors) = channel();
        let thread = std::thread::spawn(move || write_all(&received, &send_error));
        Self { files, errors, thread }
    }

    fn write(&self, file: PathBuf, bytes: Vec<u8>) {
        // The thread ends with the sender alone.
        drop(self.files.send((file, bytes)));
    }

    /// Waits until everything is written.
    fn finish(self) {
        drop(self.files);
        drop(self.thread.join());
    }
}

/// Writes files until the sender is gone; of several versions of a file the last.
fn write_all(files: &Receiver<(PathBuf, Vec<u8>)>, errors: &Sender<Error>) {
    while let Ok(first) = files.recv() {
        let mut latest = BTreeMap::from([first]);
        latest.extend(files.try_iter());
        for (file, bytes) in latest {
            if let Err(error) = write_atomic(&file, &bytes) {
                drop(errors.send(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_outlive_the_store_until_they_are_forgotten() {
        let folder = tempfile::tempdir().expect("folder");
        let place = folder.path().join("deep/images");
        let mut state = ReviewState::default();
        let mut store = StateStore::in_folder(place.clone());
        assert!(store.load("whole-1").expect("read").is_none());
        for threshold in [0.3, 0.4, 0.7] {
            state.threshold = Some(threshold);
            store.save("whole-1", state.to_bytes().expect("bytes"));
        }
        drop(store);
        let mut store = StateStore::in_folder(place.clone());
        assert_eq!(store.load("whole-1").expect("read"), Some(state));
        assert!(store.load("whole-2").expect("read").is_none());
        store.forget("whole-1").expect("removed");
        store.forget("whole-1").expect("nothing to remove");
        assert!(!store.has("whole-1"));
        std::fs::write(place.join("whole-3.json"), b"{}").expect("file");
        let error = store.load("whole-3").expect_err("not a state").to_string();
        assert!(error.contains("whole-3.json"), "{error}");
        assert!(store.problem().is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_reported() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("file");
        std::fs::write(&file, b"").expect("file");
        let mut store = StateStore::in_folder(file.join("images"));
        store.save("whole-1", b"x".to_vec());
        let mut problem = None;
        for _ in 0..1000 {
            problem = problem.or_else(|| store.problem());
            std::thread::sleep(std::time::Duration::from_millis(2));
            if problem.is_some() {
                break;
            }
        }
        assert!(problem.is_some());
        assert!(store.load("whole-1").is_err() || store.has("whole-1"), "kept for the session");
    }
}
