//! A sparse copy of a file: the byte ranges that were fetched so far.
//!
//! Readers of slides are written "sans-I/O": a function over a [`RangeCache`] returns either a
//! value or [`ReadError::NeedBytes`] with the ranges to fetch. The caller fetches them by any
//! means (disk, HTTP, a browser's `Blob`; blocking or asynchronous), inserts them and calls the
//! function again.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::Error;

/// Requested ranges are widened to multiples of this many bytes, so that small reads close to each
/// other cost one request.
pub const PAGE_BYTES: u64 = 16 * 1024;
/// Ranges with a gap of at most this many bytes are fetched by one request.
pub const MERGE_GAP_BYTES: u64 = 32 * 1024;

/// Why a reader returned no value.
#[derive(Debug)]
pub enum ReadError {
    /// These byte ranges must be inserted into the cache before the next call.
    NeedBytes(Vec<Range<u64>>),
    /// The file cannot be read; more bytes do not help.
    Fail(Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

/// Result of a sans-I/O reader.
pub type ReadResult<T> = std::result::Result<T, ReadError>;

/// The fetched parts of a file of known length.
///
/// ```
/// use prunella::slide::{RangeCache, ReadError};
///
/// let mut cache = RangeCache::new(100_000);
/// let Err(ReadError::NeedBytes(ranges)) = cache.read(20_000, 4) else { panic!() };
/// assert_eq!(ranges, [16_384..32_768]);
/// cache.insert(16_384, &[7; 16_384]);
/// assert_eq!(cache.read(20_000, 4).ok(), Some(vec![7; 4]));
/// ```
#[derive(Debug, Clone)]
pub struct RangeCache {
    file_len: u64,
    /// Where the files end whose concatenation this is; the last one at `file_len`.
    file_ends: Vec<u64>,
    /// Start offset → bytes. Segments do not overlap; neighbours may touch.
    segments: BTreeMap<u64, Vec<u8>>,
}

impl RangeCache {
    /// An empty cache for a file of `file_len` bytes.
    #[must_use]
    pub fn new(file_len: u64) -> Self {
        Self::of_files(&[file_len])
    }

    /// An empty cache for several files, of so many bytes each, one behind the other: a slide that
    /// is stored in a folder.
    #[must_use]
    pub fn of_files(lengths: &[u64]) -> Self {
        let mut file_len = 0_u64;
        let mut file_ends = Vec::with_capacity(lengths.len());
        for length in lengths {
            file_len = file_len.saturating_add(*length);
            file_ends.push(file_len);
        }
        Self { file_len, file_ends, segments: BTreeMap::new() }
    }

    /// Where each file lies; one range unless [`Self::of_files`] made it.
    #[must_use]
    pub fn files(&self) -> Vec<Range<u64>> {
        let mut files = Vec::with_capacity(self.file_ends.len());
        let mut start = 0;
        for end in &self.file_ends {
            files.push(start..*end);
            start = *end;
        }
        files
    }

    /// Length of the whole file, bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.file_len
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file_len == 0
    }

    /// Number of bytes in the cache.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.segments.values().map(Vec::len).sum()
    }

    /// Adds fetched bytes that begin at `start`. Bytes that are cached already are kept; bytes past
    /// the end of the file are ignored.
    pub fn insert(&mut self, start: u64, bytes: &[u8]) {
        let end = start.saturating_add(bytes.len() as u64).min(self.file_len);
        let mut position = start;
        while position < end {
            // Skip what the segment before covers.
            if let Some((segment_start, segment)) = self.segments.range(..=position).next_back() {
                let segment_end = segment_start + segment.len() as u64;
                if segment_end > position {
                    position = segment_end;
                    continue;
                }
            }
            // Copy up to the segment behind.
            let mut gap_end = end;
            if let Some((next_start, _)) = self.segments.range(position..).next() {
                gap_end = end.min(*next_start);
            }
            let gap = &bytes[(position - start) as usize..(gap_end - start) as usize];
            self.segments.insert(position, gap.to_vec());
            position = gap_end;
        }
    }

    /// As [`Self::read`], but what is missing is requested as `ahead` bytes from `start` on and not
    /// as whole pages.
    pub(super) fn read_exactly(&self, start: u64, len: u64, ahead: u64) -> ReadResult<Vec<u8>> {
        match self.read(start, len) {
            Err(ReadError::NeedBytes(_)) => {
                let end = start.saturating_add(ahead.max(len)).min(self.file_len);
                let missing = start..end;
                Err(ReadError::NeedBytes(vec![missing]))
            }
            other => other,
        }
    }

    /// Copies the bytes `start..start + len`.
    ///
    /// # Errors
    /// [`ReadError::NeedBytes`] with the missing bytes, widened to whole pages;
    /// [`ReadError::Fail`] when the range ends past the end of the file.
    pub fn read(&self, start: u64, len: u64) -> ReadResult<Vec<u8>> {
        let end = start.checked_add(len).filter(|end| *end <= self.file_len).ok_or_else(|| {
            Error::malformed(format!(
                "The file ends at byte {}; it refers to {len} bytes at {start}",
                self.file_len
            ))
        })?;
        let mut out = Vec::with_capacity(len as usize);
        let mut position = start;
        while position < end {
            // The only segment that can hold `position` is the last one that begins at or before
            // it.
            let segment = self.segments.range(..=position).next_back();
            let Some((segment_start, bytes)) =
                segment.filter(|(s, bytes)| *s + bytes.len() as u64 > position)
            else {
                let first_page = position / PAGE_BYTES * PAGE_BYTES;
                let last_page = end.next_multiple_of(PAGE_BYTES).min(self.file_len);
                let pages = first_page..last_page;
                return Err(ReadError::NeedBytes(vec![pages]));
            };
            let from = (position - segment_start) as usize;
            let to = bytes.len().min((end - segment_start) as usize);
            out.extend_from_slice(&bytes[from..to]);
            position = segment_start + to as u64;
        }
        Ok(out)
    }
}

/// One request that covers several ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedRange {
    /// Bytes to fetch.
    pub range: Range<u64>,
    /// Indices of the requested ranges that lie in [`Self::range`].
    pub members: Vec<usize>,
}

impl MergedRange {
    /// Part of the fetched bytes that holds `member`; none when too few bytes were fetched.
    #[must_use]
    pub fn slice<'a>(&self, fetched: &'a [u8], member: &Range<u64>) -> Option<&'a [u8]> {
        let from = (member.start - self.range.start) as usize;
        let to = (member.end - self.range.start) as usize;
        fetched.get(from..to)
    }
}

/// Sorts ranges by offset and merges those with a gap of at most [`MERGE_GAP_BYTES`].
#[must_use]
pub fn merge_ranges(ranges: &[Range<u64>]) -> Vec<MergedRange> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&i| (ranges[i].start, ranges[i].end));
    let mut merged: Vec<MergedRange> = Vec::new();
    // In ascending order of start, a range can only extend the last merged one or begin a new one.
    for i in order {
        let range = ranges[i].clone();
        match merged.last_mut() {
            Some(last) if range.start <= last.range.end.saturating_add(MERGE_GAP_BYTES) => {
                last.range.end = last.range.end.max(range.end);
                last.members.push(i);
            }
            _ => merged.push(MergedRange { range, members: vec![i] }),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_inserted_in_any_order_read_as_one_file() {
        let file: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let mut cache = RangeCache::new(file.len() as u64);
        for range in [30_000..50_000, 10_000..40_000, 60_000..100_000, 0..15_000, 49_999..60_001] {
            cache.insert(range.start as u64, &file[range]);
        }
        assert_eq!(cache.cached_bytes(), file.len());
        for (start, len) in [(0, 100_000), (29_999, 3), (39_990, 30_000), (99_999, 1), (5, 0)] {
            let bytes = cache.read(start as u64, len as u64).expect("cached");
            assert_eq!(bytes, file[start..start + len]);
        }
    }

    #[test]
    fn missing_bytes_are_requested_in_whole_pages_and_the_end_is_an_error() {
        let needs = |result: ReadResult<Vec<u8>>, pages: Range<u64>| match result {
            Err(ReadError::NeedBytes(ranges)) => ranges == [pages],
            _ => false,
        };
        let mut cache = RangeCache::new(100_000);
        assert!(needs(cache.read(20_000, 10), PAGE_BYTES..2 * PAGE_BYTES));
        cache.insert(PAGE_BYTES, &[1; 16_384]);
        assert!(cache.read(20_000, 10).is_ok());
        assert!(needs(cache.read(99_990, 10), 6 * PAGE_BYTES..100_000));
        for (start, len) in [(99_990, 11), (u64::MAX, 2), (100_001, 0)] {
            assert!(matches!(cache.read(start, len), Err(ReadError::Fail(_))), "{start} {len}");
        }
    }

    #[test]
    fn near_ranges_are_merged_and_keep_their_members() {
        let merged = merge_ranges(&[
            500_000..500_010,
            0..10,
            20..30,
            500_011..500_012,
            9_000_000..9_000_001,
        ]);
        let expected = [
            MergedRange { range: 0..30, members: vec![1, 2] },
            MergedRange { range: 500_000..500_012, members: vec![0, 3] },
            MergedRange { range: 9_000_000..9_000_001, members: vec![4] },
        ];
        assert_eq!(merged, expected);
    }
}
