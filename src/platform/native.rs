//! Files and threads of a desktop machine.

use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use rayon::prelude::*;
use unicode_normalization::UnicodeNormalization as _;

use crate::error::{Error, ErrorContext as _, Result};

/// Reads a whole file, refusing one larger than `limit_bytes`.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Limit`] when it is too large.
pub fn read_file(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    read_limited(path, limit_bytes).at(path)
}

fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(|e| Error::io("The file cannot be opened", e))?;
    // One byte more than allowed: enough to notice a larger file, even one whose size the operating
    // system does not know beforehand.
    let mut bytes = Vec::new();
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("The file cannot be read", e))?;
    if bytes.len() as u64 > limit_bytes {
        return Err(Error::limit(format!(
            "The file is larger than the limit of {} MB",
            limit_bytes / 1_000_000
        )));
    }
    Ok(bytes)
}

/// Writes a file so that a reader sees either the old bytes or all of the new ones: the bytes go to
/// a temporary file in the same folder, which is flushed to disk and then renamed.
///
/// As with any program, a new file gets the permissions that the umask leaves, an existing one
/// keeps its own, a symbolic link stays and its target is written. Another hard link to an existing
/// file keeps the old bytes. What is not a regular file (a device, a pipe) is written directly.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_streamed(path, |file| {
        file.write_all(bytes).map_err(|e| Error::io("The file cannot be written", e))
    })
}

/// [`write_atomic`] for content that is produced piece by piece: `fill` writes it. If `fill` fails,
/// the old file stays.
///
/// # Errors
/// Those of `fill`, and [`Error::Io`] naming the file.
pub fn write_streamed<T>(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    let write_error = |e| Error::io("The file cannot be written", e).at(path);
    let target = link_target(path).map_err(write_error)?;
    let existing = existing_target(&target).at(path)?;
    if existing.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        let file = std::fs::OpenOptions::new().write(true).open(&target).map_err(write_error)?;
        let mut buffer = BufWriter::new(file);
        let value = fill(&mut buffer).at(path)?;
        buffer.flush().map_err(write_error)?;
        return Ok(value);
    }
    let folder = parent_folder(&target);
    std::fs::create_dir_all(folder).map_err(write_error)?;
    let mut file = new_temporary(folder).map_err(write_error)?;
    let mut buffer = BufWriter::new(file.as_file_mut());
    let value = fill(&mut buffer).at(path)?;
    buffer.flush().map_err(write_error)?;
    drop(buffer);
    file.as_file().sync_all().map_err(write_error)?;
    if let Some(metadata) = existing {
        file.as_file().set_permissions(metadata.permissions()).map_err(write_error)?;
    }
    file.persist(&target).map_err(|e| write_error(e.error))?;
    Ok(value)
}

/// Checks that a file can be written, before the work whose result it will hold: its folder exists
/// or can be created, no folder lies in its place, and a file of its name can be created or
/// replaced. Leaves everything as it was.
///
/// # Errors
/// [`Error::Io`] or [`Error::Invalid`] naming the file.
pub fn check_writable(path: &Path) -> Result<()> {
    let write_error = |e| Error::io("The file cannot be written", e).at(path);
    let target = link_target(path).map_err(write_error)?;
    match existing_target(&target).at(path)? {
        Some(metadata) if !metadata.is_file() => return Ok(()),
        // The file is replaced, so that another one must fit into its folder.
        Some(_) => return new_temporary(parent_folder(&target)).map(drop).map_err(write_error),
        None => {}
    }
    let created = create_folders(parent_folder(&target)).at(path)?;
    let new_file = std::fs::OpenOptions::new().write(true).create_new(true).open(&target);
    let result = new_file.and_then(|_| std::fs::remove_file(&target)).map_err(write_error);
    for folder in created.iter().rev() {
        // One that stays is empty and will be used.
        drop(std::fs::remove_dir(folder));
    }
    result
}

/// Creates a folder with all above it; gives the created ones, outermost first.
fn create_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for ancestor in folder.ancestors() {
        if ancestor.as_os_str().is_empty() || ancestor.is_dir() {
            break;
        }
        if ancestor.symlink_metadata().is_ok() {
            let message = format!("{} is not a folder and in the way", ancestor.display());
            return Err(Error::invalid(message));
        }
        missing.push(ancestor.to_path_buf());
    }
    missing.reverse();
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::io("The folder cannot be created", e).at(folder))?;
    Ok(missing)
}

/// What exists at a target, none if nothing does.
///
/// # Errors
/// When a folder is there, or a file that is protected against writing.
fn existing_target(target: &Path) -> Result<Option<std::fs::Metadata>> {
    let Ok(metadata) = std::fs::metadata(target) else { return Ok(None) };
    if metadata.is_dir() {
        return Err(Error::invalid("A folder is in the way of the file"));
    }
    if metadata.is_file() && metadata.permissions().readonly() {
        return Err(Error::invalid(
            "The file is protected against writing and is not replaced; change its permissions or \
             choose another name",
        ));
    }
    Ok(Some(metadata))
}

/// The path behind symbolic links, also where it does not exist yet; at most 40 links, as Linux
/// follows.
fn link_target(path: &Path) -> std::io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..40 {
        match std::fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_symlink() => {
                // Links of /proc to open pipes have no path; the system follows them itself.
                if std::fs::metadata(&target).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
                    return Ok(target);
                }
                target = parent_folder(&target).join(std::fs::read_link(&target)?);
            }
            _ => return Ok(target),
        }
    }
    Err(std::io::Error::other("too many symbolic links"))
}

fn parent_folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file with the permissions of a file that any program creates.
fn new_temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".prunella-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The system subtracts the umask.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// What distinguishes an existing file from every other one, whatever the path to it: equal for a
/// link and its target, and for hard links.
#[must_use]
pub fn file_identity(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path).ok()?;
        Some(format!("{}:{}", metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    path.canonicalize().ok().map(|path| path.to_string_lossy().into_owned())
}

/// Two names with equal keys are one name on some file systems, which compare letters without case
/// (Windows, macOS) or accents in composed form (macOS).
#[must_use]
pub fn name_key(name: &str) -> String {
    composed(&composed(name).to_lowercase())
}

/// A name with accents in composed form (Unicode NFC); macOS stores some decomposed.
#[must_use]
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}

/// Calls `work(i)` for every `i < count`, on all cores. An error stops the calls that have not
/// begun.
///
/// # Errors
/// The first error that `work` returned.
pub fn for_each_index(
    count: usize,
    work: impl Fn(usize) -> Result<()> + Sync + Send,
) -> Result<()> {
    (0..count).into_par_iter().try_for_each(work)
}

/// Calls `work` with every part, on all cores, in any order.
pub fn for_each_part<T: Send>(parts: Vec<T>, work: impl Fn(T) + Sync + Send) {
    parts.into_par_iter().for_each(work);
}

/// The results of `work` on every part, in the order of the parts, on all cores.
pub fn map_parts<P: Send, T: Send>(parts: Vec<P>, work: impl Fn(P) -> T + Sync + Send) -> Vec<T> {
    parts.into_par_iter().map(work).collect()
}

/// Runs `work` on a thread of the pool. A thread outside of the pool sleeps and wakes up at every
/// parallel loop.
pub fn on_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

/// Seconds since the program first asked.
#[must_use]
pub fn seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Threads that [`for_each_index`] uses.
#[must_use]
pub fn threads() -> usize {
    rayon::current_num_threads()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_the_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("a/b.txt");
        write_atomic(&path, b"one").expect("write");
        write_atomic(&path, b"two").expect("write again");
        assert_eq!(read_file(&path, 10).expect("read"), b"two");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).expect("list").count(), 1);
    }

    #[test]
    fn a_streamed_write_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("b.txt");
        write_atomic(&path, b"old").expect("write");
        let result: Result<()> = write_streamed(&path, |file| {
            file.write_all(b"half").expect("written");
            Err(Error::gpu("The device is lost"))
        });
        assert!(result.is_err());
        assert_eq!(read_file(&path, 10).expect("read"), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_file_over_the_limit_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("big");
        write_atomic(&path, &[0; 100]).expect("write");
        let message = read_file(&path, 99).expect_err("too large").to_string();
        assert!(message.starts_with("The file is larger than the limit"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_keeps_its_permissions_and_a_link_its_place() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("temporary folder");
        let target = dir.path().join("target");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("target", &link).expect("link");
        write_atomic(&link, b"one").expect("write through a link to nothing");
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).expect("mode");
        write_atomic(&link, b"two").expect("write through the link");
        assert_eq!(read_file(&target, 10).expect("read"), b"two");
        assert!(link.symlink_metadata().expect("link").is_symlink());
        let mode = target.metadata().expect("target").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o440)).expect("mode");
        for refused in [write_atomic(&link, b"three"), check_writable(&link)] {
            let message = refused.expect_err("protected").to_string();
            assert!(message.contains("protected"), "{message}");
        }
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).expect("link");
        assert!(write_atomic(&dir.path().join("loop"), b"x").is_err());
        write_atomic(Path::new("/dev/null"), b"x").expect("a device is written, not replaced");
        assert!(!Path::new("/dev/null").metadata().expect("device").is_file());
    }

    #[test]
    fn what_cannot_be_written_is_found_before_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| dir.path().join(name);
        check_writable(&at("new/folders/file")).expect("can be written");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
        std::fs::write(at("file"), b"x").expect("file");
        std::fs::create_dir(at("folder")).expect("folder");
        check_writable(&at("file")).expect("can be replaced");
        for bad in ["file/below", "file/far/below", "folder"] {
            let message = check_writable(&at(bad)).expect_err(bad).to_string();
            assert!(message.contains("in the way"), "{message}");
        }
        assert!(check_writable(&at(&"n".repeat(300))).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 2);
    }

    #[test]
    fn names_that_some_file_systems_do_not_distinguish_have_one_key() {
        assert_eq!(name_key("Mu\u{308}ller A"), name_key("m\u{fc}ller a"));
        assert_ne!(name_key("a"), name_key("b"));
    }
}
