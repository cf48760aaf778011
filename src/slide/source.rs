//! Where a slide's bytes come from, natively: a file, memory, or a server that answers range
//! requests.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorContext as _, Result};

/// First bytes asked of a server: enough for the header and often for the first directory.
const FIRST_BYTES: u64 = 32 * 1024;
/// A server without ranges may send this much as a whole.
const MAX_WHOLE_BYTES: u64 = 64 << 20;
/// Longest waits for a connection and for an answer.
const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_mins(1);
/// Tries of one request.
const TRIES: usize = 3;

/// Bytes by range.
pub trait ByteSource: Send + Sync {
    /// Length of the whole.
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a range inside the whole.
    ///
    /// # Errors
    /// When they cannot be had.
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>>;
}

impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let outside = || Error::malformed("The bytes asked for lie past the end");
        self.get(range.start as usize..range.end as usize).map(<[u8]>::to_vec).ok_or_else(outside)
    }
}

impl<S: ByteSource + ?Sized> ByteSource for std::sync::Arc<S> {
    fn len(&self) -> u64 {
        self.as_ref().len()
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
        let open = || -> std::io::Result<Self> {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok(Self { file: Mutex::new(file), len })
        };
        open().map_err(|e| Error::io("The slide cannot be opened", e)).at(path)
    }
}

impl ByteSource for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let failed = |e| Error::io("The slide cannot be read", e);
        let mut file =
            self.file.lock().map_err(|_| Error::malformed("Reading the slide failed before"))?;
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        file.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

/// A file on a server.
pub struct HttpSource {
    agent: ureq::Agent,
    url: String,
    len: u64,
    /// What came with the first answer, or the whole file of a server without ranges.
    first: Vec<u8>,
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl HttpSource {
    /// Asks for the first bytes, which also tells the length and whether the server knows ranges.
    ///
    /// # Errors
    /// [`Error::Io`] when the server cannot be reached, [`Error::Unsupported`] with advice when it
    /// sends only whole files and this one is too long for that.
    pub fn open(url: &str) -> Result<Self> {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(ANSWER))
            .http_status_as_error(false);
        let agent = config.build().new_agent();
        let mut source = Self {
            agent,
            url: url.to_owned(),
            len: 0,
            first: Vec::new(),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        let (bytes, whole) = source.tried(0..FIRST_BYTES)?;
        source.len = whole;
        source.first = bytes;
        Ok(source)
    }

    /// Requests made and bytes received so far.
    #[must_use]
    pub fn spent(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    fn tried(&self, range: Range<u64>) -> Result<(Vec<u8>, u64)> {
        let mut last = None;
        for wait in 0..TRIES {
            match self.asked(range.clone()) {
                Err(e @ Error::Io { .. }) => last = Some(e),
                other => return other,
            }
            std::thread::sleep(Duration::from_millis(200 << wait));
        }
        Err(last.unwrap_or_else(|| Error::malformed("The server was not asked")))
    }

    /// One request: the bytes, and the length of the whole file.
    fn asked(&self, range: Range<u64>) -> Result<(Vec<u8>, u64)> {
        let lost = |e: &dyn std::fmt::Display| {
            Error::io(format!("{} does not answer", self.url), std::io::Error::other(e.to_string()))
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let mut answer =
            self.agent.get(&self.url).header("Range", &header).call().map_err(|e| lost(&e))?;
        let status = answer.status().as_u16();
        let field = |name: &str| {
            answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        let (content_range, length) = (field("content-range"), field("content-length"));
        let limit = match status {
            206 => range.end - range.start,
            200 if range.start == 0
                && length.parse::<u64>().is_ok_and(|n| n <= MAX_WHOLE_BYTES) =>
            {
                MAX_WHOLE_BYTES
            }
            200 => {
                return Err(Error::unsupported(format!(
                    "{} sends only whole files; put the slide on a server that answers range requests (206), or download it",
                    self.url
                )));
            }
            500..=599 | 429 => return Err(lost(&format!("status {status}"))),
            _ => {
                return Err(Error::unsupported(format!(
                    "{} answers with status {status}",
                    self.url
                )));
            }
        };
        let mut bytes = Vec::new();
        let body = answer.body_mut().as_reader().take(limit + 1).read_to_end(&mut bytes);
        body.map_err(|e| lost(&e))?;
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if status == 200 {
            let len = bytes.len() as u64;
            return if len > limit {
                Err(lost(&"the file is longer than it said"))
            } else {
                Ok((bytes, len))
            };
        }
        let (start, whole) = content_place(&content_range).ok_or_else(|| {
            Error::malformed(format!("{} does not say which bytes it sends", self.url))
        })?;
        if start != range.start || (self.len != 0 && whole != self.len) {
            return Err(Error::malformed(format!(
                "{} sends other bytes than were asked for",
                self.url
            )));
        }
        if bytes.len() as u64 != range.end.min(whole) - start {
            return Err(lost(&"the answer was cut short"));
        }
        Ok((bytes, whole))
    }
}

/// First byte and whole length of `bytes 0-99/1234`.
fn content_place(text: &str) -> Option<(u64, u64)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, whole.trim().parse().ok()?))
}

impl ByteSource for HttpSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        if let Some(known) = self.first.get(range.start as usize..range.end as usize) {
            return Ok(known.to_vec());
        }
        self.tried(range).map(|(bytes, _)| bytes)
    }
}

/// A slide's source by path or address.
///
/// # Errors
/// Those of [`FileSource::open`] and [`HttpSource::open`].
pub fn source(place: &str) -> Result<Box<dyn ByteSource>> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok(Box::new(HttpSource::open(place)?));
    }
    Ok(Box::new(FileSource::open(Path::new(place))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_answer_is_read_from_its_header() {
        assert_eq!(content_place("bytes 5-9/100"), Some((5, 100)));
        assert_eq!(content_place("bytes 5-9/*"), None);
        assert_eq!(content_place("items 5-9/100"), None);
    }
}
