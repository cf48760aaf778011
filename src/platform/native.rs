//! Files and threads of a desktop machine.

use std::io::{BufWriter, Read as _, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use rayon::prelude::*;

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
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write_error = |e| Error::io("The file cannot be written", e).at(path);
    std::fs::create_dir_all(folder).map_err(write_error)?;
    let mut file =
        tempfile::Builder::new().prefix(".prunella-").tempfile_in(folder).map_err(write_error)?;
    let mut buffer = BufWriter::new(file.as_file_mut());
    let value = fill(&mut buffer).at(path)?;
    buffer.flush().map_err(write_error)?;
    drop(buffer);
    file.as_file().sync_all().map_err(write_error)?;
    set_default_permissions(file.as_file()).map_err(write_error)?;
    file.persist(path).map_err(|e| write_error(e.error))?;
    Ok(value)
}

/// Temporary files are created readable by their owner alone; results get the usual 0644.
#[cfg(unix)]
fn set_default_permissions(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_default_permissions(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
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
}
