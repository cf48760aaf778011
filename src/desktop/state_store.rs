//! What is kept of each image on this device: files by the image's fingerprint in the user's data
//! folder, one of what a person has set and one of what was found. They are written on a thread of
//! their own, the latest of an image alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::lock;
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

/// Most bytes of all results; the oldest are removed.
const MAX_RESULTS_BYTES: u64 = 2 << 30;
/// Ending of the files of results.
const RESULT_ENDING: &str = "nuclei";

/// Makes the bytes of a result, none if there is none any more.
type MakeBytes = Box<dyn FnOnce() -> Result<Option<Vec<u8>>> + Send>;

/// A file that may be being written.
#[derive(Clone)]
pub(super) struct ResultFile {
    path: PathBuf,
    /// Delivers when everything that was to be written is.
    written: Arc<Mutex<Receiver<()>>>,
}

impl ResultFile {
    /// The file, once it is written.
    pub(super) fn when_written(&self) -> &Path {
        // The sender is gone where nothing is written any more.
        lock(&self.written).recv().unwrap_or_default();
        &self.path
    }
}

/// States by the fingerprint of their image.
#[derive(Default)]
pub struct StateStore {
    folder: Option<PathBuf>,
    /// Saved in this session.
    latest: BTreeMap<String, Vec<u8>>,
    /// Other files of images that were saved in this session, by image and name; none for one that
    /// was removed.
    parts: BTreeMap<(String, String), Option<Vec<u8>>>,
    /// Images whose result was saved in this session.
    results: BTreeSet<String>,
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
        Self {
            folder: Some(folder),
            latest: BTreeMap::new(),
            parts: BTreeMap::new(),
            results: BTreeSet::new(),
            writer: Some(Writer::start()),
        }
    }

    /// Whether states outlive the program.
    pub(super) fn is_on_device(&self) -> bool {
        self.folder.is_some()
    }

    fn file(&self, fingerprint: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{fingerprint}.json")))
    }

    fn result_path(&self, fingerprint: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{fingerprint}.{RESULT_ENDING}")))
    }

    /// Keeps the result of an image; its bytes are made by the thread that writes them.
    pub(super) fn save_result(
        &mut self,
        fingerprint: &str,
        make: impl FnOnce() -> Result<Option<Vec<u8>>> + Send + 'static,
    ) {
        if let (Some(file), Some(writer)) = (self.result_path(fingerprint), &self.writer) {
            writer.send(Errand::Result(file, Box::new(make)));
            self.results.insert(fingerprint.to_owned());
        }
    }

    /// The file of an image's result, none if there is none.
    pub(super) fn result(&self, fingerprint: &str) -> Option<ResultFile> {
        let path = self.result_path(fingerprint)?;
        if !(self.results.contains(fingerprint) || path.exists()) {
            return None;
        }
        let (send, written) = channel();
        if let Some(writer) = &self.writer {
            writer.send(Errand::Report(send));
        }
        Some(ResultFile { path, written: Arc::new(Mutex::new(written)) })
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
            writer.send(Errand::State(file, bytes.clone()));
        }
        self.latest.insert(fingerprint.to_owned(), bytes);
    }

    fn part_path(&self, fingerprint: &str, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{fingerprint}-{name}")))
    }

    /// Keeps another file of an image, `name` among those of the image.
    pub(super) fn save_part(&mut self, fingerprint: &str, name: &str, bytes: Vec<u8>) {
        if let (Some(file), Some(writer)) = (self.part_path(fingerprint, name), &self.writer) {
            writer.send(Errand::State(file, bytes.clone()));
        }
        self.parts.insert((fingerprint.to_owned(), name.to_owned()), Some(bytes));
    }

    /// A file that was kept by [`Self::save_part`], none if there is none.
    ///
    /// # Errors
    /// [`Error::Io`] for one that cannot be read; [`Error::Limit`] for one that is too large.
    pub(super) fn part(
        &self,
        fingerprint: &str,
        name: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>> {
        if let Some(part) = self.parts.get(&(fingerprint.to_owned(), name.to_owned())) {
            return Ok(part.clone());
        }
        match self.part_path(fingerprint, name) {
            Some(file) if file.exists() => read_file(&file, max_bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// Removes a file that was kept by [`Self::save_part`].
    pub(super) fn remove_part(&mut self, fingerprint: &str, name: &str) {
        if let (Some(file), Some(writer)) = (self.part_path(fingerprint, name), &self.writer) {
            writer.send(Errand::Remove(file));
        }
        self.parts.insert((fingerprint.to_owned(), name.to_owned()), None);
    }

    /// The files of an image by [`Self::save_part`] that are in the folder.
    fn part_paths(&self, fingerprint: &str) -> Vec<PathBuf> {
        let Some(folder) = &self.folder else { return Vec::new() };
        let prefix = format!("{fingerprint}-");
        // A folder that cannot be read holds nothing that could be removed.
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths = Vec::new();
        for entry in entries {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                paths.push(entry.path());
            }
        }
        paths
    }

    /// Whether anything is kept of an image.
    pub(super) fn has(&self, fingerprint: &str) -> bool {
        self.latest.contains_key(fingerprint)
            || self.file(fingerprint).is_some_and(|file| file.exists())
    }

    /// Removes what is kept of an image.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn forget(&mut self, fingerprint: &str) -> Result<()> {
        self.latest.remove(fingerprint);
        self.results.remove(fingerprint);
        self.parts.retain(|(image, _), _| image != fingerprint);
        // Nothing that is under way may write it again.
        if let Some(writer) = self.writer.take() {
            writer.finish();
            self.writer = Some(Writer::start());
        }
        let mut files = self.part_paths(fingerprint);
        files.extend(self.file(fingerprint));
        files.extend(self.result_path(fingerprint));
        for file in files {
            remove(&file)?;
        }
        Ok(())
    }

    /// Waits until everything is written that was given so far.
    pub(super) fn wait(&self) {
        if let Some(writer) = &self.writer {
            let (send, written) = channel();
            writer.send(Errand::Report(send));
            // The thread ends only with the store.
            written.recv().unwrap_or_default();
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

/// What the thread does.
enum Errand {
    State(PathBuf, Vec<u8>),
    Remove(PathBuf),
    Result(PathBuf, MakeBytes),
    /// Says when everything before is written.
    Report(Sender<()>),
}

/// A thread that writes files.
struct Writer {
    errands: Sender<Errand>,
    errors: Receiver<Error>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start() -> Self {
        let (errands, received) = channel();
        let (send_error, errors) = channel();
        let thread = std::thread::spawn(move || write_all(&received, &send_error));
        Self { errands, errors, thread }
    }

    fn send(&self, errand: Errand) {
        // The thread ends with the sender alone.
        drop(self.errands.send(errand));
    }

    /// Waits until everything is written.
    fn finish(self) {
        drop(self.errands);
        drop(self.thread.join());
    }
}

/// Writes files until the sender is gone; of several versions of a file the last.
fn write_all(errands: &Receiver<Errand>, errors: &Sender<Error>) {
    while let Ok(first) = errands.recv() {
        // None stands for a file to be removed.
        let mut states = BTreeMap::new();
        let mut results = BTreeMap::new();
        let mut waiting = Vec::new();
        for errand in [first].into_iter().chain(errands.try_iter()) {
            match errand {
                Errand::State(file, bytes) => drop(states.insert(file, Some(bytes))),
                Errand::Remove(file) => drop(states.insert(file, None)),
                Errand::Result(file, make) => drop(results.insert(file, make)),
                Errand::Report(sender) => waiting.push(sender),
            }
        }
        let mut written = Vec::new();
        for (file, bytes) in states {
            written.push(match bytes {
                Some(bytes) => write_atomic(&file, &bytes),
                None => remove(&file),
            });
        }
        for (file, make) in results {
            written.push(make().and_then(|bytes| match bytes {
                Some(bytes) => write_result(&file, &bytes),
                None => Ok(()),
            }));
        }
        for error in written.into_iter().filter_map(Result::err) {
            drop(errors.send(error));
        }
        for sender in waiting {
            sender.send(()).unwrap_or_default();
        }
    }
}

/// Removes a file; one that is not there is no error.
fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("What is kept of the image cannot be removed", e).at(file))
        }
        _ => Ok(()),
    }
}

/// Writes a result, and removes the oldest ones of too many.
fn write_result(file: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(file, bytes)?;
    let folder = file.parent().unwrap_or(file);
    let unreadable = |e| Error::io("The folder cannot be read", e).at(folder);
    let mut others = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path == *file || path.extension().is_none_or(|ending| ending != RESULT_ENDING) {
            continue;
        }
        // Another window may have removed it meanwhile.
        let Ok(facts) = path.metadata() else { continue };
        others.push((facts.modified().unwrap_or(std::time::UNIX_EPOCH), facts.len(), path));
    }
    remove_oldest(others, MAX_RESULTS_BYTES.saturating_sub(bytes.len() as u64));
    Ok(())
}

/// Removes the oldest files (time, bytes, path) until the others have at most `max_bytes`.
fn remove_oldest(mut files: Vec<(std::time::SystemTime, u64, PathBuf)>, max_bytes: u64) {
    files.sort();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if total <= max_bytes {
            return;
        }
        // One that cannot be removed now is tried again with the next result.
        if std::fs::remove_file(&path).is_ok() {
            total -= bytes;
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
    fn other_files_of_an_image_are_kept_removed_and_forgotten() {
        let folder = tempfile::tempdir().expect("folder");
        let mut store = StateStore::in_folder(folder.path().to_owned());
        store.save_part("whole-1", "a", b"one".to_vec());
        store.save_part("whole-1", "b", b"two".to_vec());
        store.save_part("whole-2", "a", b"other".to_vec());
        store.remove_part("whole-1", "b");
        assert!(store.part("whole-1", "b", 9).expect("read").is_none());
        drop(store);
        let mut store = StateStore::in_folder(folder.path().to_owned());
        assert_eq!(store.part("whole-1", "a", 9).expect("read").as_deref(), Some(&b"one"[..]));
        assert!(store.part("whole-1", "b", 9).expect("read").is_none());
        assert!(store.part("whole-1", "a", 2).is_err(), "too large");
        store.forget("whole-1").expect("removed");
        assert!(store.part("whole-1", "a", 9).expect("read").is_none());
        assert!(store.part("whole-2", "a", 9).expect("read").is_some());
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1);
    }

    #[test]
    fn results_are_read_when_they_are_written_and_the_oldest_make_room() {
        let folder = tempfile::tempdir().expect("folder");
        let mut store = StateStore::in_folder(folder.path().to_owned());
        assert!(store.result("whole-1").is_none());
        store.save_result("whole-1", || Ok(Some(b"old".to_vec())));
        store.save_result("whole-1", || Ok(Some(b"new".to_vec())));
        let file = store.result("whole-1").expect("a result");
        assert_eq!(std::fs::read(file.when_written()).expect("file"), b"new");
        store.forget("whole-1").expect("removed");
        assert!(store.result("whole-1").is_none());
        let mut files = Vec::new();
        for (age, name) in [(9, "a"), (5, "b"), (7, "c")] {
            let path = folder.path().join(name);
            std::fs::write(&path, b"").expect("file");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(100 - age);
            files.push((time, 10, path));
        }
        remove_oldest(files, 15);
        let left = |name: &str| folder.path().join(name).exists();
        assert_eq!(["a", "b", "c"].map(left), [false, true, false]);
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
