//! The directories of a TIFF or `BigTIFF`: tags and where their values lie. Everything in them is a
//! stranger's claim.

use std::collections::BTreeMap;

use super::range_cache::{RangeCache, ReadError, ReadResult};
use crate::error::Error;

/// Most directories of a file, sub-directories included.
const MAX_DIRECTORIES: usize = 256;
/// Most tags of a directory.
const MAX_TAGS: u64 = 4096;
/// Longest text or table that is read whole, bytes.
const MAX_VALUE_BYTES: u64 = 4 << 20;

/// Tags that slides use.
pub mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const DESCRIPTION: u16 = 270;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const SAMPLES: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_COUNTS: u16 = 279;
    pub const X_RESOLUTION: u16 = 282;
    pub const PLANAR: u16 = 284;
    pub const RESOLUTION_UNIT: u16 = 296;
    pub const PREDICTOR: u16 = 317;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_COUNTS: u16 = 325;
    pub const SUB_DIRECTORIES: u16 = 330;
    pub const JPEG_TABLES: u16 = 347;
}

/// How numbers are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TiffLayout {
    pub big_endian: bool,
    /// `BigTIFF`: counts and offsets of eight bytes.
    pub big: bool,
}

impl TiffLayout {
    fn number(self, bytes: &[u8]) -> u64 {
        let fold = |sum: u64, b: &u8| sum << 8 | u64::from(*b);
        if self.big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
    }
}

/// One tag: type, number of values, and where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagEntry {
    kind: u16,
    pub count: u64,
    /// Place in the file, also of values that fit into the entry itself.
    at: u64,
}

impl TagEntry {
    /// Bytes of one value; none for types that do not exist.
    fn width(&self) -> Option<u64> {
        match self.kind {
            1 | 2 | 6 | 7 => Some(1),
            3 | 8 => Some(2),
            4 | 9 | 11 | 13 => Some(4),
            5 | 10 | 12 | 16 | 17 | 18 => Some(8),
            _ => None,
        }
    }
}

/// An image file directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    layout: TiffLayout,
    entries: BTreeMap<u16, TagEntry>,
}

impl Directory {
    #[must_use]
    pub fn has(&self, tag: u16) -> bool {
        self.entries.contains_key(&tag)
    }

    /// Number of values of a tag, 0 without it.
    #[must_use]
    pub fn count(&self, tag: u16) -> u64 {
        self.entries.get(&tag).map_or(0, |e| e.count)
    }

    /// Value number `index` of a tag of whole numbers.
    ///
    /// # Errors
    /// Missing bytes, a tag that is no such number, or too few values.
    pub fn number_at(&self, bytes: &RangeCache, tag: u16, index: u64) -> ReadResult<u64> {
        let wrong = || {
            ReadError::Fail(Error::malformed(format!("TIFF tag {tag} has no whole number {index}")))
        };
        let entry = self.entries.get(&tag).filter(|e| index < e.count).ok_or_else(wrong)?;
        let width = entry
            .width()
            .filter(|_| matches!(entry.kind, 1 | 3 | 4 | 13 | 16 | 18))
            .ok_or_else(wrong)?;
        let at =
            index.checked_mul(width).and_then(|i| entry.at.checked_add(i)).ok_or_else(wrong)?;
        Ok(self.layout.number(&bytes.get(at, width)?))
    }

    /// The single number of a tag, or what stands for its absence.
    ///
    /// # Errors
    /// As [`Self::number_at`].
    pub fn number_or(&self, bytes: &RangeCache, tag: u16, absent: u64) -> ReadResult<u64> {
        if self.has(tag) { self.number_at(bytes, tag, 0) } else { Ok(absent) }
    }

    /// All numbers of a tag with few of them.
    ///
    /// # Errors
    /// As [`Self::number_at`], and more than `most` values.
    pub fn numbers(&self, bytes: &RangeCache, tag: u16, most: u64) -> ReadResult<Vec<u64>> {
        let count = self.count(tag);
        if count > most {
            return Err(Error::limit(format!(
                "TIFF tag {tag} has {count} values; {most} are the limit"
            ))
            .into());
        }
        (0..count).map(|i| self.number_at(bytes, tag, i)).collect()
    }

    /// A fraction, as resolutions are given.
    ///
    /// # Errors
    /// Missing bytes.
    pub fn fraction(&self, bytes: &RangeCache, tag: u16) -> ReadResult<Option<f64>> {
        let Some(entry) = self.entries.get(&tag).filter(|e| e.kind == 5 && e.count == 1) else {
            return Ok(None);
        };
        let raw = bytes.get(entry.at, 8)?;
        let (over, under) = (self.layout.number(&raw[..4]), self.layout.number(&raw[4..]));
        Ok((under > 0).then(|| over as f64 / under as f64))
    }

    /// The bytes of a tag of text or tables; empty without it.
    ///
    /// # Errors
    /// Missing bytes, or more than the limit.
    pub fn raw(&self, bytes: &RangeCache, tag: u16) -> ReadResult<Vec<u8>> {
        let Some(entry) = self.entries.get(&tag) else { return Ok(Vec::new()) };
        if entry.width() != Some(1) || entry.count > MAX_VALUE_BYTES {
            return Err(Error::limit(format!(
                "TIFF tag {tag} is no text or longer than {MAX_VALUE_BYTES} bytes"
            ))
            .into());
        }
        bytes.get(entry.at, entry.count)
    }

    /// Text without its end mark.
    ///
    /// # Errors
    /// As [`Self::raw`].
    pub fn text(&self, bytes: &RangeCache, tag: u16) -> ReadResult<String> {
        let raw = self.raw(bytes, tag)?;
        let end = raw.iter().position(|&b| b == 0).unwrap_or(raw.len());
        Ok(String::from_utf8_lossy(&raw[..end]).into_owned())
    }
}

/// The main directories of a file, each with its sub-directories.
///
/// # Errors
/// Missing bytes; [`Error::Malformed`] for a chain that runs in a circle or leaves the file,
/// [`Error::Limit`] for a longer one than slides have.
pub fn directories(bytes: &RangeCache) -> ReadResult<Vec<(Directory, Vec<Directory>)>> {
    let (layout, first) = header(bytes)?;
    let mut seen = Vec::new();
    let mut all = Vec::new();
    let mut next = first;
    while next != 0 {
        let (directory, after) = directory(bytes, layout, next, &mut seen)?;
        let mut subs = Vec::new();
        for at in directory.numbers(bytes, tag::SUB_DIRECTORIES, MAX_DIRECTORIES as u64)? {
            subs.push(self::directory(bytes, layout, at, &mut seen)?.0);
        }
        all.push((directory, subs));
        next = after;
    }
    if all.is_empty() {
        return Err(Error::malformed("The TIFF holds no image").into());
    }
    Ok(all)
}

/// Byte order, kind, and place of the first directory.
fn header(bytes: &RangeCache) -> ReadResult<(TiffLayout, u64)> {
    let none =
        || Error::unsupported("The file is no TIFF; slides are SVS, pyramidal TIFF or OME-TIFF");
    if bytes.len() < 16 {
        return Err(none().into());
    }
    let raw = bytes.get(0, 16)?;
    let big_endian = match &raw[..2] {
        b"II" => false,
        b"MM" => true,
        _ => return Err(none().into()),
    };
    let layout = |big| TiffLayout { big_endian, big };
    match layout(false).number(&raw[2..4]) {
        42 => Ok((layout(false), layout(false).number(&raw[4..8]))),
        43 if layout(true).number(&raw[4..6]) == 8 => {
            Ok((layout(true), layout(true).number(&raw[8..16])))
        }
        _ => Err(none().into()),
    }
}

fn directory(
    bytes: &RangeCache,
    layout: TiffLayout,
    at: u64,
    seen: &mut Vec<u64>,
) -> ReadResult<(Directory, u64)> {
    if seen.contains(&at) {
        return Err(Error::malformed("The directories of the TIFF run in a circle").into());
    }
    if seen.len() >= MAX_DIRECTORIES {
        return Err(
            Error::limit(format!("The TIFF has more than {MAX_DIRECTORIES} directories")).into()
        );
    }
    seen.push(at);
    let (count_width, entry_width, value_width) = if layout.big { (8, 20, 8) } else { (2, 12, 4) };
    let count = layout.number(&bytes.get(at, count_width)?);
    if count > MAX_TAGS {
        return Err(Error::limit(format!(
            "A directory of the TIFF has {count} tags; {MAX_TAGS} are the limit"
        ))
        .into());
    }
    let first = at + count_width;
    let raw = bytes.get(first, count * entry_width + value_width)?;
    let (table, next) = raw.split_at((count * entry_width) as usize);
    let mut entries = BTreeMap::new();
    for (i, entry) in table.chunks_exact(entry_width as usize).enumerate() {
        let (number, kind) =
            (layout.number(&entry[..2]) as u16, layout.number(&entry[2..4]) as u16);
        let (count, value) = entry[4..].split_at(value_width as usize);
        let count = layout.number(count);
        let mut found = TagEntry { kind, count, at: 0 };
        let inside =
            found.width().and_then(|w| w.checked_mul(count)).is_some_and(|n| n <= value_width);
        let own = first + i as u64 * entry_width + 4 + value_width;
        found.at = if inside { own } else { layout.number(value) };
        entries.entry(number).or_insert(found);
    }
    Ok((Directory { layout, entries }, layout.number(next)))
}
