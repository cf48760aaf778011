//! Bytes of a file of which only parts are known. Readers are written as if all were there; where
//! some are missing they stop and say which, the caller fetches these by whatever means it has, and
//! asks again. So one reader serves files, servers and browsers, waiting or not.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::Error;

/// Fetched ranges begin and end at multiples of this, so that small reads side by side cost one
/// request.
pub const PAGE: u64 = 16 * 1024;
/// Ranges nearer than this are fetched as one.
pub const NEAR: u64 = 32 * 1024;

/// Why a reader stopped.
#[derive(Debug)]
pub enum ReadError {
    /// These bytes are needed first.
    NeedBytes(Vec<Range<u64>>),
    Fail(Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

/// What a reader gives: a value, or why it cannot go on.
pub type ReadResult<T> = std::result::Result<T, ReadError>;

/// The known parts of a file.
#[derive(Debug, Clone)]
pub struct RangeCache {
    len: u64,
    parts: BTreeMap<u64, Vec<u8>>,
}

impl RangeCache {
    /// A file of `len` bytes of which nothing is known.
    #[must_use]
    pub fn new(len: u64) -> Self {
        Self { len, parts: BTreeMap::new() }
    }

    /// Length of the whole file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that are known.
    #[must_use]
    pub fn held(&self) -> usize {
        self.parts.values().map(Vec::len).sum()
    }

    /// Takes bytes that were fetched; what is known already stays as it is.
    pub fn feed(&mut self, start: u64, bytes: &[u8]) {
        let end = start.saturating_add(bytes.len() as u64).min(self.len);
        let mut at = start;
        while at < end {
            let known = self.parts.range(..=at).next_back().map_or(0, |(s, b)| s + b.len() as u64);
            if known > at {
                at = known;
                continue;
            }
            let next = self.parts.range(at..).next().map_or(end, |(s, _)| (*s).min(end));
            let piece = &bytes[(at - start) as usize..(next - start) as usize];
            self.parts.insert(at, piece.to_vec());
            at = next;
        }
    }

    /// A range, or the pages that are missing for it.
    ///
    /// # Errors
    /// [`ReadError::NeedBytes`]; [`ReadError::Fail`] when it lies outside the file.
    pub fn get(&self, start: u64, len: u64) -> ReadResult<Vec<u8>> {
        let end = start.checked_add(len).filter(|end| *end <= self.len).ok_or_else(|| {
            Error::malformed(format!(
                "The file ends at byte {}; {len} bytes at {start} are asked for",
                self.len
            ))
        })?;
        let mut out = Vec::with_capacity(len as usize);
        let mut at = start;
        while at < end {
            let part = self.parts.range(..=at).next_back();
            let Some((first, bytes)) = part.filter(|(s, b)| *s + b.len() as u64 > at) else {
                return Err(ReadError::NeedBytes(vec![self.pages(at, end)]));
            };
            let from = (at - first) as usize;
            let to = bytes.len().min((end - first) as usize);
            out.extend_from_slice(&bytes[from..to]);
            at = first + to as u64;
        }
        Ok(out)
    }

    /// The range widened to whole pages.
    fn pages(&self, start: u64, end: u64) -> Range<u64> {
        start / PAGE * PAGE..end.next_multiple_of(PAGE).min(self.len)
    }
}

/// Ranges in order, near ones as one; each says which of `ranges` lie in it.
#[must_use]
pub fn merged(ranges: &[Range<u64>]) -> Vec<(Range<u64>, Vec<usize>)> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&i| (ranges[i].start, ranges[i].end));
    let mut out: Vec<(Range<u64>, Vec<usize>)> = Vec::new();
    for i in order {
        let range = ranges[i].clone();
        match out.last_mut() {
            Some((last, members)) if range.start <= last.end.saturating_add(NEAR) => {
                last.end = last.end.max(range.end);
                members.push(i);
            }
            _ => out.push((range, vec![i])),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fed_in_any_order_read_as_one_file() {
        let file: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let mut sparse = RangeCache::new(file.len() as u64);
        for range in [30_000..50_000, 10_000..40_000, 60_000..100_000, 0..15_000, 49_999..60_001] {
            sparse.feed(range.start as u64, &file[range]);
        }
        assert_eq!(sparse.held(), file.len());
        for (start, len) in [(0, 100_000), (29_999, 3), (39_990, 30_000), (99_999, 1), (5, 0)] {
            assert_eq!(
                sparse.get(start as u64, len as u64).expect("known"),
                file[start..start + len]
            );
        }
    }

    #[test]
    fn what_is_missing_is_named_in_whole_pages_and_the_end_is_an_error() {
        let mut sparse = RangeCache::new(100_000);
        assert!(
            matches!(sparse.get(20_000, 10), Err(ReadError::NeedBytes(r)) if r.len() == 1 && r[0] == (PAGE..2 * PAGE))
        );
        sparse.feed(PAGE, &[1; 16_384]);
        assert!(sparse.get(20_000, 10).is_ok());
        assert!(
            matches!(sparse.get(99_990, 10), Err(ReadError::NeedBytes(r)) if r.len() == 1 && r[0] == (6 * PAGE..100_000))
        );
        for (start, len) in [(99_990, 11), (u64::MAX, 2), (100_001, 0)] {
            assert!(matches!(sparse.get(start, len), Err(ReadError::Fail(_))), "{start} {len}");
        }
    }

    #[test]
    fn near_ranges_become_one_and_know_their_members() {
        let found =
            merged(&[500_000..500_010, 0..10, 20..30, 500_011..500_012, 9_000_000..9_000_001]);
        assert_eq!(
            found,
            [(0..30, vec![1, 2]), (500_000..500_012, vec![0, 3]), (9_000_000..9_000_001, vec![4])]
        );
    }
}
