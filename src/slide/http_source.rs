//! A slide on an HTTP server, by range requests (RFC 9110, section 14).

use std::io::Read as _;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::objects::ObjectPart;
use super::source::ByteSource;
use crate::error::{Error, Result};

/// Size of the first request, bytes: the header and often the first directory.
const FIRST_BYTES: u64 = 32 * 1024;
/// Largest file that is taken from a server without range requests, bytes.
const MAX_WHOLE_BYTES: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// For the response's head and for its body.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);
/// Attempts of the first request, which says soon that an address is wrong.
pub(super) const FIRST_ATTEMPTS: usize = 3;
/// Attempts of the others: a connection may be gone for some ten seconds.
pub(super) const ATTEMPTS: usize = 7;
/// Wait after the first failed attempt, ms; it doubles with each further one.
const FIRST_WAIT_MS: u64 = 200;
/// Longest wait that a server may ask for, s.
const MAX_WAIT_S: u64 = 30;

const STATUS_OK: u16 = 200;
const STATUS_PARTIAL_CONTENT: u16 = 206;
const STATUS_FORBIDDEN: u16 = 403;
const STATUS_NOT_FOUND: u16 = 404;
const STATUS_GONE: u16 = 410;
const STATUS_TOO_MANY_REQUESTS: u16 = 429;

/// A file on an HTTP server.
pub struct HttpSource {
    agent: ureq::Agent,
    url: String,
    /// Length of the file; 0 before the first response.
    len: u64,
    /// The first bytes, or the whole file from a server without range requests.
    prefix: Vec<u8>,
    /// Of the file as it was at the first response.
    version: FileVersion,
    requests: AtomicU64,
    received_bytes: AtomicU64,
}

/// What an [`HttpSource`] transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTraffic {
    /// Requests, failed ones included.
    pub requests: u64,
    /// Bytes of all response bodies.
    pub bytes: u64,
}

/// Body of a response.
struct FetchedRange {
    bytes: Vec<u8>,
    /// Length of the whole file.
    file_len: u64,
    version: FileVersion,
}

/// By what a server tells versions of a file apart (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FileVersion {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl FileVersion {
    fn of<B>(response: &ureq::http::Response<B>) -> Self {
        let text = |name| header(response, name).map(str::to_owned);
        Self { etag: text("etag"), last_modified: text("last-modified") }
    }

    /// Whether the file is another one. Servers behind one address may form other tags of the same
    /// file, so a date that both state decides.
    fn differs_from(&self, first: &Self) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| match (a, b) {
            (Some(a), Some(b)) => Some(a != b),
            _ => None,
        };
        let by_date = differ(&self.last_modified, &first.last_modified);
        by_date.or_else(|| differ(&self.etag, &first.etag)).unwrap_or(false)
    }
}

/// Why an attempt gave no bytes.
pub(super) enum Failed {
    /// Another attempt may succeed, after this many seconds if the server said so.
    ForNow {
        error: Error,
        wait_s: Option<u64>,
    },
    ForGood(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::ForGood(error)
    }
}

impl HttpSource {
    /// Requests the first bytes, which also gives the length and whether the server supports
    /// ranges.
    ///
    /// # Errors
    /// [`Error::Io`] when the server cannot be reached, [`Error::Unsupported`] when it sends only
    /// whole files and this one is too long for that.
    pub fn open(url: &str) -> Result<Self> {
        let mut source = Self {
            agent: agent(1),
            url: url.to_owned(),
            len: 0,
            prefix: Vec::new(),
            version: FileVersion::default(),
            requests: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        };
        let first = source.fetch(0..FIRST_BYTES, FIRST_ATTEMPTS)?;
        source.len = first.file_len;
        source.version = first.version;
        source.prefix = first.bytes;
        Ok(source)
    }

    /// What was transferred so far.
    #[must_use]
    pub fn traffic(&self) -> HttpTraffic {
        HttpTraffic {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.received_bytes.load(Ordering::Relaxed),
        }
    }

    /// Requests a range; failures of the connection are retried.
    fn fetch(&self, range: Range<u64>, attempts: usize) -> Result<FetchedRange> {
        with_retries(attempts, || self.fetch_once(range.clone()))
    }

    fn fetch_once(&self, range: Range<u64>) -> std::result::Result<FetchedRange, Failed> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let range_header = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.agent.get(&self.url).header("Range", &range_header);
        let mut response = request.call().map_err(|e| self.failed(e))?;
        let status = response.status().as_u16();
        let content_length: Option<u64> =
            header(&response, "content-length").and_then(|v| v.parse().ok());
        let content_range = header(&response, "content-range").and_then(ContentRange::parse);
        let version = FileVersion::of(&response);
        let is_small_file = content_length.is_some_and(|n| n <= MAX_WHOLE_BYTES);
        let max_bytes = match status {
            STATUS_PARTIAL_CONTENT => range.end - range.start,
            STATUS_OK if range.start == 0 && is_small_file => MAX_WHOLE_BYTES,
            STATUS_OK => {
                return Err(Error::unsupported(format!(
                    "{} sends only whole files; put the slide on a server that supports range \
                     requests (206), or download it",
                    self.url
                ))
                .into());
            }
            500..=599 | STATUS_TOO_MANY_REQUESTS => {
                return Err(failed_for_now(&self.url, &response));
            }
            _ => {
                return Err(Error::unsupported(format!(
                    "{} responds with status {status}",
                    self.url
                ))
                .into());
            }
        };
        let mut bytes = Vec::new();
        // One byte more than allowed shows that there is more.
        let mut body = response.body_mut().as_reader().take(max_bytes + 1);
        body.read_to_end(&mut bytes).map_err(|e| self.failed(e))?;
        let received = bytes.len() as u64;
        self.received_bytes.fetch_add(received, Ordering::Relaxed);
        if status == STATUS_OK {
            if received > max_bytes {
                return Err(self.failed("the file is longer than it said"));
            }
            return Ok(FetchedRange { bytes, file_len: received, version });
        }
        let sent = content_range.ok_or_else(|| {
            Error::malformed(format!("{} does not say which bytes it sends", self.url))
        })?;
        let is_other_file =
            self.len != 0 && (sent.file_len != self.len || version.differs_from(&self.version));
        if is_other_file {
            return Err(Error::mismatch(format!(
                "The file at {} has changed since it was opened; open it again",
                self.url
            ))
            .into());
        }
        if sent.start != range.start {
            return Err(Error::malformed(format!(
                "{} sends other bytes than were requested",
                self.url
            ))
            .into());
        }
        if received != range.end.min(sent.file_len) - sent.start {
            return Err(self.failed("the response was cut short"));
        }
        Ok(FetchedRange { bytes, file_len: sent.file_len, version })
    }

    fn failed(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failed {
        failed(&self.url, cause)
    }
}

fn failed(url: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failed {
    let error = Error::io(format!("{url} does not respond"), std::io::Error::other(cause));
    Failed::ForNow { error, wait_s: None }
}

/// Of a server that is too busy or broken, which may say how long to wait.
fn failed_for_now<B>(url: &str, response: &ureq::http::Response<B>) -> Failed {
    let cause = std::io::Error::other(format!("status {}", response.status().as_u16()));
    Failed::ForNow {
        error: Error::io(format!("{url} does not respond"), cause),
        wait_s: header(response, "retry-after").and_then(|v| v.trim().parse().ok()),
    }
}

/// What requests go through; so many connections to a server are kept open.
pub(super) fn agent(connections: usize) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(RESPONSE_TIMEOUT))
        .timeout_recv_body(Some(RESPONSE_TIMEOUT))
        .max_idle_connections_per_host(connections)
        .http_status_as_error(false);
    config.build().new_agent()
}

/// Makes a request again, up to `attempts` times, while its failure may pass.
pub(super) fn with_retries<T>(
    attempts: usize,
    request: impl Fn() -> std::result::Result<T, Failed>,
) -> Result<T> {
    for attempt in 1.. {
        let (error, wait_s) = match request() {
            Ok(value) => return Ok(value),
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::ForNow { error, wait_s }) => (error, wait_s),
        };
        if attempt >= attempts {
            return Err(error);
        }
        let own = Duration::from_millis(FIRST_WAIT_MS << (attempt - 1));
        let asked = Duration::from_secs(wait_s.unwrap_or(0).min(MAX_WAIT_S));
        std::thread::sleep(own.max(asked));
    }
    Err(Error::malformed("No request was made"))
}

/// Part of the object at an address, at most `max_bytes` bytes; `None` when there is no such
/// object. `may_be_refused`: whether status 403 means the same, as stores answer that do not list
/// what they hold.
pub(super) fn object_part(
    agent: &ureq::Agent,
    url: &str,
    part: &ObjectPart,
    may_be_refused: bool,
) -> std::result::Result<Option<Vec<u8>>, Failed> {
    let request = agent.get(url);
    let (request, max_bytes) = match part {
        ObjectPart::Whole(max_bytes) => (request, *max_bytes),
        ObjectPart::Range(range) => {
            let header = format!("bytes={}-{}", range.start, range.end - 1);
            (request.header("Range", header), range.end - range.start)
        }
        ObjectPart::Last(count) => (request.header("Range", format!("bytes=-{count}")), *count),
    };
    let mut response = request.call().map_err(|e| failed(url, e))?;
    let status = response.status().as_u16();
    match status {
        STATUS_OK | STATUS_PARTIAL_CONTENT => {}
        STATUS_NOT_FOUND | STATUS_GONE => return Ok(None),
        STATUS_FORBIDDEN if may_be_refused => return Ok(None),
        500..=599 | STATUS_TOO_MANY_REQUESTS => {
            return Err(failed_for_now(url, &response));
        }
        _ => return Err(Error::unsupported(format!("{url} responds with status {status}")).into()),
    }
    // Servers without range requests send all of it.
    let is_cut = status == STATUS_OK && !matches!(part, ObjectPart::Whole(_));
    let max_bytes = if is_cut { MAX_WHOLE_BYTES } else { max_bytes };
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is more.
    let mut body = response.body_mut().as_reader().take(max_bytes + 1);
    body.read_to_end(&mut bytes).map_err(|e| failed(url, e))?;
    let len = bytes.len() as u64;
    if len > max_bytes {
        return Err(Error::limit(format!("{url} sends more bytes than the object can have")).into());
    }
    let own = if is_cut { part.of(len) } else { 0..len };
    Ok(Some(bytes[own.start as usize..own.end as usize].to_vec()))
}

fn header<'a, B>(response: &'a ureq::http::Response<B>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The parts of `Content-Range: bytes 0-99/1234` that are needed.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    /// First byte of the body in the file.
    start: u64,
    file_len: u64,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, file_len) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (start, _) = range.split_once('-')?;
        Some(Self { start: start.trim().parse().ok()?, file_len: file_len.trim().parse().ok()? })
    }
}

impl ByteSource for HttpSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        if let Some(bytes) = self.prefix.get(range.start as usize..range.end as usize) {
            return Ok(bytes.to_vec());
        }
        Ok(self.fetch(range, ATTEMPTS)?.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_date_or_without_dates_another_tag_is_another_file() {
        let version = |etag: Option<&str>, date: Option<&str>| FileVersion {
            etag: etag.map(str::to_owned),
            last_modified: date.map(str::to_owned),
        };
        let first = version(Some("\"a\""), Some("Mon"));
        assert!(!first.differs_from(&first));
        assert!(version(Some("\"a\""), Some("Tue")).differs_from(&first));
        // Two servers of one file.
        assert!(!version(Some("\"b\""), Some("Mon")).differs_from(&first));
        assert!(version(Some("\"b\""), None).differs_from(&first));
        assert!(!version(None, None).differs_from(&first));
    }

    #[test]
    fn start_and_length_are_read_from_content_range() {
        let expected = ContentRange { start: 5, file_len: 100 };
        assert_eq!(ContentRange::parse("bytes 5-9/100"), Some(expected));
        assert_eq!(ContentRange::parse("bytes 5-9/*"), None);
        assert_eq!(ContentRange::parse("items 5-9/100"), None);
    }
}
