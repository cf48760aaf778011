//! A slide that is many objects under keys, as a Zarr is, instead of one file: which objects were
//! read so far, and which are missing.
//!
//! An object has a key such as `0/zarr.json`, with `/` between names. Its length is not known
//! before it is read, and that there is no such object is an answer, not an error. Readers are
//! sans-I/O, as those over a [`RangeCache`](super::RangeCache) are.

use std::collections::HashMap;
use std::ops::Range;

use super::range_cache::merge_ranges;
use crate::error::{Error, Result};

/// Which bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ObjectPart {
    /// All; an object of more than this many bytes is broken.
    Whole(u64),
    /// Those of a range.
    Range(Range<u64>),
    /// So many at its end.
    Last(u64),
}

impl ObjectPart {
    /// The part of an object of `len` bytes, as far as it has it.
    #[must_use]
    pub fn of(&self, len: u64) -> Range<u64> {
        match self {
            Self::Whole(_) => 0..len,
            Self::Range(range) => range.start.min(len)..range.end.min(len),
            Self::Last(count) => len.saturating_sub(*count)..len,
        }
    }
}

/// Bytes of an object that are to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRequest {
    /// Key of the object.
    pub key: String,
    /// Which of its bytes.
    pub part: ObjectPart,
}

impl ObjectRequest {
    /// Checks what arrived.
    ///
    /// # Errors
    /// [`Error::Limit`] for an object that is too long, [`Error::Malformed`] for too few bytes.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        let is_complete = match &self.part {
            ObjectPart::Whole(max) if len > *max => return Err(self.too_long()),
            ObjectPart::Whole(_) => len > 0,
            ObjectPart::Range(range) => len == range.end - range.start,
            ObjectPart::Last(count) => len == *count,
        };
        if is_complete {
            return Ok(());
        }
        Err(Error::malformed(format!("The object {} of the slide is cut short", self.key)))
    }

    /// The error for an object of more bytes than it may have.
    pub(crate) fn too_long(&self) -> Error {
        Error::limit(format!("The object {} of the slide is longer than it can be", self.key))
    }
}

/// Why a reader returned no value.
#[derive(Debug)]
pub enum ObjectError {
    /// These must be inserted into the cache before the next call.
    NeedObjects(Vec<ObjectRequest>),
    /// The slide cannot be read; more objects do not help.
    Fail(Error),
}

impl From<Error> for ObjectError {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

/// Result of a sans-I/O reader of objects.
pub type ObjectResult<T> = std::result::Result<T, ObjectError>;

/// What was read of a slide's objects: its metadata and indices, not its pixels.
#[derive(Debug, Clone, Default)]
pub struct ObjectCache {
    /// `None` for objects that there are not.
    objects: HashMap<ObjectRequest, Option<Vec<u8>>>,
}

impl ObjectCache {
    /// Adds what arrived for a request; `None` when there is no such object.
    ///
    /// # Errors
    /// Those of [`ObjectRequest::check`].
    pub fn insert(&mut self, request: ObjectRequest, bytes: Option<Vec<u8>>) -> Result<()> {
        if let Some(bytes) = &bytes {
            request.check(bytes)?;
        }
        self.objects.insert(request, bytes);
        Ok(())
    }

    /// The bytes of each request in turn, `None` for an object that there is not.
    ///
    /// # Errors
    /// [`ObjectError::NeedObjects`] with all that are missing.
    pub fn read(&self, requests: &[ObjectRequest]) -> ObjectResult<Vec<Option<&[u8]>>> {
        let mut found = Vec::with_capacity(requests.len());
        let mut missing = Vec::new();
        for request in requests {
            match self.objects.get(request) {
                Some(bytes) => found.push(bytes.as_deref()),
                None => missing.push(request.clone()),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(ObjectError::NeedObjects(missing)) }
    }

    /// All metadata, one document after the other by key, each after its key.
    ///
    /// Indices of shards are left out: which of them were read depends on what was looked at.
    #[must_use]
    pub fn metadata(&self) -> Vec<u8> {
        let mut documents = Vec::new();
        for (request, bytes) in &self.objects {
            if let (ObjectPart::Whole(_), Some(bytes)) = (&request.part, bytes) {
                documents.push((request.key.as_bytes(), bytes.as_slice()));
            }
        }
        documents.sort_unstable();
        documents.into_iter().flat_map(|(key, bytes)| [key, bytes].concat()).collect()
    }
}

/// The objects of tiles, and how few requests fetch them.
#[derive(Debug)]
pub struct TileRequests {
    /// Of each tile, one, or one for each sample; `None` for objects that there are not.
    tiles: Vec<Vec<Option<ObjectRequest>>>,
    merged: Vec<MergedRequest>,
}

impl TileRequests {
    pub(super) fn new(tiles: Vec<Vec<Option<ObjectRequest>>>) -> Self {
        let requests: Vec<ObjectRequest> = tiles.iter().flatten().flatten().cloned().collect();
        Self { tiles, merged: merge_requests(&requests) }
    }

    /// What to fetch.
    #[must_use]
    pub fn requests(&self) -> Vec<ObjectRequest> {
        self.merged.iter().map(|merged| merged.request.clone()).collect()
    }

    /// The parts of each tile for [`super::decode_tile`] from what [`Self::requests`] brought;
    /// parts that there are not have no bytes.
    ///
    /// # Errors
    /// Those of [`ObjectRequest::check`].
    pub fn parts(&self, fetched: &[Option<Vec<u8>>]) -> Result<Vec<Vec<Vec<u8>>>> {
        let requests: Vec<&ObjectRequest> = self.tiles.iter().flatten().flatten().collect();
        let mut bytes = vec![Vec::new(); requests.len()];
        for (merged, fetched) in self.merged.iter().zip(fetched) {
            let Some(fetched) = fetched else { continue };
            for &member in &merged.members {
                bytes[member] = merged.slice(fetched, requests[member])?.to_vec();
            }
        }
        let mut bytes = bytes.into_iter();
        let mut tiles = Vec::with_capacity(self.tiles.len());
        for requests in &self.tiles {
            let mut parts = Vec::with_capacity(requests.len());
            for request in requests {
                let part = request.as_ref().and_then(|_| bytes.next());
                parts.push(part.unwrap_or_default());
            }
            tiles.push(parts);
        }
        Ok(tiles)
    }
}

/// One request that covers several.
#[derive(Debug, PartialEq, Eq)]
struct MergedRequest {
    request: ObjectRequest,
    /// Indices of the requests that it covers.
    members: Vec<usize>,
}

impl MergedRequest {
    /// Part of the fetched bytes that is `member`.
    fn slice<'a>(&self, fetched: &'a [u8], member: &ObjectRequest) -> Result<&'a [u8]> {
        self.request.check(fetched)?;
        let (ObjectPart::Range(all), ObjectPart::Range(own)) = (&self.request.part, &member.part)
        else {
            return Ok(fetched);
        };
        // A merged range holds those of its members, and its length was checked.
        let from = (own.start - all.start) as usize;
        let to = (own.end - all.start) as usize;
        Ok(&fetched[from..to])
    }
}

/// Merges ranges of an object that lie close together, as those of a byte space are.
fn merge_requests(requests: &[ObjectRequest]) -> Vec<MergedRequest> {
    let mut merged = Vec::new();
    // Key → indices and ranges of its requests. Keys in the order in which they come first.
    let mut keys = Vec::new();
    let mut ranges: HashMap<&str, (Vec<usize>, Vec<Range<u64>>)> = HashMap::new();
    for (i, request) in requests.iter().enumerate() {
        if let ObjectPart::Range(range) = &request.part {
            let (indices, of_key) = ranges.entry(&request.key).or_insert_with(|| {
                keys.push(&request.key);
                Default::default()
            });
            indices.push(i);
            of_key.push(range.clone());
        } else {
            merged.push(MergedRequest { request: request.clone(), members: vec![i] });
        }
    }
    for key in keys {
        let (indices, of_key) = &ranges[key.as_str()];
        for range in merge_ranges(of_key) {
            let part = ObjectPart::Range(range.range);
            merged.push(MergedRequest {
                request: ObjectRequest { key: key.clone(), part },
                members: range.members.iter().map(|member| indices[*member]).collect(),
            });
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, part: ObjectPart) -> ObjectRequest {
        ObjectRequest { key: key.into(), part }
    }

    #[test]
    fn a_cache_knows_what_is_missing_and_what_there_is_not() {
        let mut cache = ObjectCache::default();
        let all = [request("a", ObjectPart::Whole(3)), request("b", ObjectPart::Last(2))];
        assert!(matches!(cache.read(&all), Err(ObjectError::NeedObjects(m)) if m == all));
        cache.insert(all[0].clone(), Some(vec![1, 2])).expect("short enough");
        assert!(matches!(cache.read(&all), Err(ObjectError::NeedObjects(m)) if m == all[1..]));
        cache.insert(all[1].clone(), None).expect("absent");
        assert_eq!(cache.read(&all).expect("known"), [Some(&[1, 2][..]), None]);
        for (broken, bytes) in [(&all[0], 4), (&all[0], 0), (&all[1], 1)] {
            assert!(cache.insert(broken.clone(), Some(vec![0; bytes])).is_err(), "{bytes}");
        }
    }

    #[test]
    fn ranges_of_one_object_are_fetched_together() {
        let requests = [
            request("a", ObjectPart::Range(10..20)),
            request("b", ObjectPart::Range(0..5)),
            request("c", ObjectPart::Whole(9)),
            request("a", ObjectPart::Range(4..8)),
        ];
        let merged = merge_requests(&requests);
        let of = |i: usize| (merged[i].request.key.as_str(), merged[i].members.as_slice());
        assert_eq!([of(0), of(1), of(2)], [("c", &[2][..]), ("a", &[3, 0]), ("b", &[1])]);
        let fetched: Vec<u8> = (4..20).collect();
        assert_eq!(merged[1].slice(&fetched, &requests[3]).expect("inside"), [4, 5, 6, 7]);
        assert!(merged[1].slice(&fetched[1..], &requests[3]).is_err(), "cut short");
    }
}
