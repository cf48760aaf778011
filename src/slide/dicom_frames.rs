//! Where the frames of a DICOM image lie: pixels as they are, or encapsulated in fragments with or
//! without a table (DICOM PS3.5, sections 8.2 and A.4).

use std::ops::Range;
use std::sync::Mutex;

use super::dicom_elements::{ITEM, ITEM_HEADER, SEQUENCE_END};
use super::range_cache::{RangeCache, ReadError, ReadResult};
use crate::error::{Error, Result};

/// Most fragments of one frame.
const MAX_FRAGMENTS: usize = 4096;
/// Up to this many bytes of fragments without a table are read in large pieces; of more only the
/// beginnings of fragments, one by one.
const READ_THROUGH_BYTES: u64 = 32 << 20;
/// One of these pieces.
const PIECE_BYTES: u64 = 256 << 10;
/// Bytes of a fragment that tell whether a frame begins with it.
const SIGNATURE: u64 = 4;

/// The frames of an image that is stored in one file or several.
#[derive(Debug, PartialEq)]
pub(super) struct FrameTable {
    /// In the order of their frames, without gaps.
    pub runs: Vec<FrameRun>,
    /// Which frame a tile is, sorted by tiles; none where the tiles, row by row, are the frames.
    pub placed: Option<Vec<PlacedFrame>>,
    /// Planes of a frame, one behind the other; 1 where samples are interleaved.
    pub planes: u64,
}

/// A tile and its frame, both counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlacedFrame {
    /// Row by row.
    pub tile: u64,
    pub frame: u64,
}

/// The frames in one file.
#[derive(Debug, PartialEq)]
pub(super) struct FrameRun {
    pub count: u64,
    pub storage: FrameStorage,
    /// Where the file ends.
    pub end: u64,
}

#[derive(Debug, PartialEq)]
pub(super) enum FrameStorage {
    /// Pixels of all frames, one frame behind the other.
    Native { start: u64, frame_bytes: u64 },
    /// Fragments with a table of the frames.
    Listed {
        /// The first fragment, from which the table counts.
        first_item: u64,
        offsets: NumberTable,
    },
    /// Fragments without a table.
    Unlisted { first_item: u64, walk: FragmentWalk },
}

/// Numbers in the file, one for each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberTable {
    pub start: u64,
    /// Bytes of a number: 4 or 8.
    pub width: u64,
}

impl NumberTable {
    fn get(&self, bytes: &RangeCache, index: u64) -> ReadResult<u64> {
        let value = bytes.read(self.start + index * self.width, self.width)?;
        let mut number = [0; 8];
        for (to, from) in number.iter_mut().zip(value) {
            *to = from;
        }
        Ok(u64::from_le_bytes(number))
    }
}

/// What is known of fragments without a table. It only repeats what the file says, so two tables
/// are equal whatever is known.
#[derive(Debug, Default)]
pub(super) struct FragmentWalk {
    /// Where each frame begins, as far as it is known.
    frames: Mutex<WalkedFrames>,
}

impl PartialEq for FragmentWalk {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Debug, Default)]
struct WalkedFrames {
    starts: Vec<u64>,
    /// Where the next fragment begins; 0 at first.
    next: u64,
    /// Fragments that were looked at, and times that their bytes were missing.
    fragments: u64,
    /// Whether `next` is the end of the last frame.
    is_complete: bool,
}

fn cut_short(frame: u64) -> Error {
    Error::malformed(format!(
        "Frame {} of the DICOM file is stated to end past the end of the file, which may be cut \
         short",
        frame + 1
    ))
}

fn too_many_fragments() -> Error {
    Error::limit("A frame of the DICOM file has too many fragments")
}

fn no_fragment() -> Error {
    Error::malformed("A frame of the DICOM file does not begin where the file states it")
}

impl FrameTable {
    /// Bytes of a plane of a tile, of encapsulated pixels with the headers of their fragments;
    /// empty for a tile that the image has not.
    ///
    /// # Errors
    /// Missing bytes; a frame outside the file.
    pub(super) fn range(
        &self,
        bytes: &RangeCache,
        tile: u64,
        plane: u64,
    ) -> ReadResult<Range<u64>> {
        let mut frame = tile;
        if let Some(placed) = &self.placed {
            let Ok(at) = placed.binary_search_by_key(&tile, |p| p.tile) else { return Ok(0..0) };
            frame = placed[at].frame;
        }
        let number = frame;
        for run in &self.runs {
            if frame >= run.count {
                frame -= run.count;
                continue;
            }
            let range = run.range(bytes, frame, number)?;
            let length = (range.end - range.start) / self.planes;
            let start = range.start + plane * length;
            return Ok(start..start + length);
        }
        Err(Error::malformed(format!("The DICOM files hold no frame {}", number + 1)).into())
    }

    /// Whether frames are fragments with headers.
    pub(super) fn is_encapsulated(&self) -> bool {
        self.runs.iter().any(|run| !matches!(run.storage, FrameStorage::Native { .. }))
    }

    /// Whether the fragments of several frames have no table.
    pub(super) fn is_unlisted(&self) -> bool {
        let unlisted =
            |run: &FrameRun| run.count > 1 && matches!(run.storage, FrameStorage::Unlisted { .. });
        self.runs.iter().any(unlisted)
    }
}

impl FrameRun {
    /// Frame `frame` of the file, which is frame `number` of the image.
    fn range(&self, bytes: &RangeCache, frame: u64, number: u64) -> ReadResult<Range<u64>> {
        let range = match &self.storage {
            FrameStorage::Native { start, frame_bytes } => {
                let start = start.saturating_add(frame.saturating_mul(*frame_bytes));
                start..start.saturating_add(*frame_bytes)
            }
            FrameStorage::Listed { first_item, offsets } => {
                // An extended table has lengths too, but some writers count the headers of the
                // fragments in them and others do not.
                let start = first_item.saturating_add(offsets.get(bytes, frame)?);
                let end = if frame + 1 < self.count {
                    first_item.saturating_add(offsets.get(bytes, frame + 1)?)
                } else {
                    self.end_of_last(bytes, start, number)?
                };
                start..end
            }
            FrameStorage::Unlisted { first_item, walk } => {
                self.walked(bytes, *first_item, walk, frame, number)?
            }
        };
        if range.end > self.end {
            return Err(cut_short(number).into());
        }
        if range.start >= range.end {
            return Err(no_fragment().into());
        }
        Ok(range)
    }

    /// Where the fragments from `start` on end.
    fn end_of_last(&self, bytes: &RangeCache, start: u64, number: u64) -> ReadResult<u64> {
        let mut at = start;
        for _ in 0..MAX_FRAGMENTS {
            if at == self.end {
                return Ok(at);
            }
            if at.saturating_add(ITEM_HEADER) > self.end {
                return Err(cut_short(number).into());
            }
            match FragmentHeader::of(&bytes.read(at, ITEM_HEADER)?)? {
                FragmentHeader::Bytes(length) => at += ITEM_HEADER + length,
                FragmentHeader::End => return Ok(at),
            }
        }
        Err(too_many_fragments().into())
    }

    /// Walks from fragment to fragment as far as a frame needs it. A frame begins with each
    /// fragment that begins as a picture does; others continue the frame before.
    fn walked(
        &self,
        bytes: &RangeCache,
        first_item: u64,
        walk: &FragmentWalk,
        frame: u64,
        number: u64,
    ) -> ReadResult<Range<u64>> {
        let mut known = walk
            .frames
            .lock()
            .map_err(|_| Error::malformed("Reading the DICOM file failed before"))?;
        known.next = known.next.max(first_item);
        let index = frame as usize;
        while known.starts.len() <= index + 1 && !known.is_complete {
            let at = known.next;
            known.fragments += 1;
            if known.fragments > (self.count + 1).saturating_mul(MAX_FRAGMENTS as u64) {
                return Err(too_many_fragments().into());
            }
            if at == self.end {
                known.is_complete = true;
                continue;
            }
            let start = read_piece(bytes, at, self.end, first_item)
                .map_err(|e| e.unwrap_or_else(|| cut_short(number).into()))?;
            match FragmentHeader::of(&start)? {
                FragmentHeader::End => known.is_complete = true,
                FragmentHeader::Bytes(length) => {
                    let next = at + ITEM_HEADER + length;
                    if next > self.end {
                        return Err(cut_short(number).into());
                    }
                    let content = start.get(ITEM_HEADER as usize..).unwrap_or_default();
                    let own = content.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                    let content = &content[..own];
                    if known.starts.is_empty() || self.count > 1 && begins_frame(content) {
                        known.starts.push(at);
                    }
                    known.next = next;
                }
            }
        }
        let Some(start) = known.starts.get(index) else {
            return Err(Error::malformed(format!(
                "The DICOM file holds {} frames where it states {}; it may be cut short",
                known.starts.len(),
                self.count
            ))
            .into());
        };
        let end = known.starts.get(index + 1).copied().unwrap_or(known.next);
        Ok(*start..end)
    }
}

/// The header of the fragment at `at` and the first bytes of its content, where the file has them;
/// no error inside the error means that the file ends there.
fn read_piece(
    bytes: &RangeCache,
    at: u64,
    end: u64,
    first_item: u64,
) -> std::result::Result<Vec<u8>, Option<ReadError>> {
    let rest = end.saturating_sub(at);
    if rest < ITEM_HEADER {
        return Err(None);
    }
    let least = rest.min(ITEM_HEADER + SIGNATURE);
    let is_small = end - first_item <= READ_THROUGH_BYTES;
    let piece = if is_small { rest.min(PIECE_BYTES) } else { least };
    bytes.read_exactly(at, least, piece).map_err(Some)
}

/// Whether a fragment begins as a frame does: a JPEG, a JPEG 2000 codestream or file, or the header
/// of run lengths (PS3.5, section G.5).
fn begins_frame(content: &[u8]) -> bool {
    let is_picture = content.starts_with(&[0xFF, 0xD8])
        || content.starts_with(&[0xFF, 0x4F, 0xFF])
        || content.starts_with(&[0, 0, 0, 12]);
    // The header of RLE: the number of segments, 1 to 15.
    let is_rle = matches!(content, [1..=15, 0, 0, 0]);
    is_picture || is_rle
}

pub(super) enum FragmentHeader {
    /// So many bytes follow.
    Bytes(u64),
    /// The last fragment lies before.
    End,
}

impl FragmentHeader {
    pub(super) fn of(header: &[u8]) -> Result<Self> {
        let Some((&[g0, g1, e0, e1, l0, l1, l2, l3], _)) = header.split_first_chunk::<8>() else {
            return Err(no_fragment());
        };
        let group = u32::from(u16::from_le_bytes([g0, g1]));
        let tag = group << 16 | u32::from(u16::from_le_bytes([e0, e1]));
        match (tag, u32::from_le_bytes([l0, l1, l2, l3])) {
            (SEQUENCE_END, _) => Ok(Self::End),
            (ITEM, length) if length != u32::MAX => Ok(Self::Bytes(u64::from(length))),
            _ => Err(no_fragment()),
        }
    }
}

/// The content of all fragments of a frame.
///
/// # Errors
/// [`Error::Malformed`] where no fragments lie there, or only a part of one.
pub(super) fn join_fragments(fragments: &[u8]) -> Result<Vec<u8>> {
    let mut joined = Vec::with_capacity(fragments.len());
    let mut rest = fragments;
    while !rest.is_empty() {
        let FragmentHeader::Bytes(length) = FragmentHeader::of(rest)? else { break };
        let content = rest.get(ITEM_HEADER as usize..).unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (own, others) = content.split_at_checked(length).ok_or_else(no_fragment)?;
        joined.extend_from_slice(own);
        rest = others;
    }
    if joined.is_empty() {
        return Err(no_fragment());
    }
    Ok(joined)
}
