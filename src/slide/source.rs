//! Where a slide's bytes come from, natively: a file, memory, or an HTTP server.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::folder_source::{folder_source, series_source};
use crate::error::{Error, ErrorContext as _, Result};

/// Bytes by range, from any thread.
pub trait ByteSource: Send + Sync {
    /// Length of the whole, bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lengths of the files whose concatenation this is, bytes; of a single file its own.
    fn file_lengths(&self) -> Vec<u64> {
        vec![self.len()]
    }

    /// The bytes of a range that lies inside the whole.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>>;
}

/// A slide in memory.
impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        self.get(range.start as usize..range.end as usize)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Error::malformed("The requested bytes lie past the end"))
    }
}

impl<S: ByteSource + ?Sized> ByteSource for Arc<S> {
    fn len(&self) -> u64 {
        self.as_ref().len()
    }

    fn file_lengths(&self) -> Vec<u64> {
        self.as_ref().file_lengths()
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        self.as_ref().read(range)
    }
}

/// A file on a disk.
#[derive(Debug)]
pub struct FileSource {
    file: Mutex<File>,
    len: u64,
}

impl FileSource {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_file(path).map_err(|e| Error::io("The slide cannot be opened", e)).at(path)
    }

    fn open_file(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file: Mutex::new(file), len })
    }
}

fn read_error(error: std::io::Error) -> Error {
    Error::io("The slide cannot be read", error)
}

impl ByteSource for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut file =
            self.file.lock().map_err(|_| Error::malformed("Reading the slide failed before"))?;
        file.seek(SeekFrom::Start(range.start)).map_err(read_error)?;
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        file.read_exact(&mut bytes).map_err(read_error)?;
        Ok(bytes)
    }
}

/// The source of a slide by path or http(s) address. Of a folder all DICOM slide images in it, of
/// one of these files also those of its folder that belong to the same series.
///
/// # Errors
/// Those of [`FileSource::open`] and, for addresses, of `HttpSource::open`; [`Error::Invalid`] for
/// a folder without such files; [`Error::Unsupported`] for an address when the crate is built
/// without the feature `net`.
pub fn source(location: &str) -> Result<Box<dyn ByteSource>> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return http_source(location);
    }
    let path = Path::new(location);
    if path.is_dir() {
        return Ok(Box::new(folder_source(path)?));
    }
    if let Some(series) = series_source(path)? {
        return Ok(Box::new(series));
    }
    Ok(Box::new(FileSource::open(path)?))
}

#[cfg(feature = "net")]
fn http_source(url: &str) -> Result<Box<dyn ByteSource>> {
    Ok(Box::new(super::http_source::HttpSource::open(url)?))
}

#[cfg(not(feature = "net"))]
fn http_source(_url: &str) -> Result<Box<dyn ByteSource>> {
    Err(Error::unsupported(
        "This program was built without network access (feature 'net'); download the slide first",
    ))
}
