//! TIFF directories: tags and where their values lie.
//!
//! TIFF 6.0 (Adobe, 1992), section 2 describes the structure; `BigTIFF` (Aware Systems, 2004;
//! version number 43) widens counts and offsets from 4 to 8 bytes; sub-directories are in TIFF
//! Technical Note 1 (1995). Hamamatsu NDPI is a classic TIFF with offsets of 8 bytes: that of a
//! directory as such, those of its values with their high words behind the directory. Every number
//! of a file is checked before it is used.

use std::collections::{BTreeMap, BTreeSet};

use super::range_cache::{RangeCache, ReadError, ReadResult};
use crate::error::Error;

/// Most directories of a file that are read, sub-directories included. A stack of focal planes may
/// have more; what they hold is not shown anyway.
const MAX_DIRECTORIES: usize = 1000;
/// Most tags of a directory.
const MAX_TAGS: u64 = 4096;
/// Longest text or table that is read, bytes.
const MAX_VALUE_BYTES: u64 = 32 << 20;
/// What follows a directory of an NDPI, its values and the JPEG header of the next level, is
/// fetched with it, bytes.
const NDPI_AHEAD_BYTES: u64 = 4096;
/// Bytes of the longer of the two headers.
const HEADER_BYTES: u64 = 16;

/// Tags that this reader uses, under the names of TIFF 6.0, section 8 (baseline) and sections 14
/// (predictor), 15 (tiles), 18 (extra samples), 19 (sample format) and 21 (YCbCr).
pub(super) mod tag {
    /// Bit 0: a reduced version of another image of the file.
    pub(crate) const NEW_SUBFILE_TYPE: u16 = 254;
    pub(crate) const IMAGE_WIDTH: u16 = 256;
    /// Height of the image, pixels.
    pub(crate) const IMAGE_LENGTH: u16 = 257;
    pub(crate) const BITS_PER_SAMPLE: u16 = 258;
    pub(crate) const COMPRESSION: u16 = 259;
    pub(crate) const PHOTOMETRIC_INTERPRETATION: u16 = 262;
    /// Order of the bits in a byte.
    pub(crate) const FILL_ORDER: u16 = 266;
    pub(crate) const IMAGE_DESCRIPTION: u16 = 270;
    pub(crate) const STRIP_OFFSETS: u16 = 273;
    pub(crate) const ORIENTATION: u16 = 274;
    pub(crate) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(crate) const ROWS_PER_STRIP: u16 = 278;
    pub(crate) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(crate) const X_RESOLUTION: u16 = 282;
    pub(crate) const Y_RESOLUTION: u16 = 283;
    pub(crate) const PLANAR_CONFIGURATION: u16 = 284;
    pub(crate) const RESOLUTION_UNIT: u16 = 296;
    pub(crate) const SOFTWARE: u16 = 305;
    pub(crate) const PREDICTOR: u16 = 317;
    pub(crate) const COLOR_MAP: u16 = 320;
    pub(crate) const TILE_WIDTH: u16 = 322;
    /// Height of a tile, pixels.
    pub(crate) const TILE_LENGTH: u16 = 323;
    pub(crate) const TILE_OFFSETS: u16 = 324;
    pub(crate) const TILE_BYTE_COUNTS: u16 = 325;
    /// Offsets of sub-directories (Technical Note 1).
    pub(crate) const SUB_IFDS: u16 = 330;
    pub(crate) const EXTRA_SAMPLES: u16 = 338;
    pub(crate) const SAMPLE_FORMAT: u16 = 339;
    /// Quantisation and Huffman tables that all JPEG tiles share (Technical Note 2).
    pub(crate) const JPEG_TABLES: u16 = 347;
    pub(crate) const YCBCR_COEFFICIENTS: u16 = 529;
    pub(crate) const YCBCR_SUBSAMPLING: u16 = 530;
    pub(crate) const REFERENCE_BLACK_WHITE: u16 = 532;
    /// XMP by Adobe; Ventana scanners write XML of their own there.
    pub(crate) const XML_PACKET: u16 = 700;
    /// Stacks of `MetaMorph`.
    pub(crate) const METAMORPH_STACK: u16 = 33_628;
    /// Zeiss LSM.
    pub(crate) const ZEISS_LSM: u16 = 34_412;
    /// Digital Negative of Adobe.
    pub(crate) const DNG_VERSION: u16 = 50_706;
    /// Hamamatsu NDPI. Its tags are under the names of `OpenSlide` and tifffile.
    pub(crate) const NDPI_FORMAT: u16 = 65_420;
    /// Magnification; -1 of the macro image, -2 of the map of the scanned area.
    pub(crate) const NDPI_SOURCE_LENS: u16 = 65_421;
    /// Height of the focal plane above the middle one, nm.
    pub(crate) const NDPI_FOCAL_PLANE: u16 = 65_424;
    /// Offsets of the restart intervals in the JPEG.
    pub(crate) const NDPI_MCU_STARTS: u16 = 65_426;
    /// Their bits 32 to 63.
    pub(crate) const NDPI_MCU_STARTS_HIGH: u16 = 65_432;
    /// Filter of a fluorescence channel.
    pub(crate) const NDPI_FLUORESCENCE: u16 = 65_434;
}

/// How a file writes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TiffLayout {
    pub big_endian: bool,
    /// `BigTIFF`: counts and offsets have 8 bytes.
    pub big_tiff: bool,
    /// Hamamatsu NDPI: offsets have 8 bytes.
    pub ndpi: bool,
}

/// Byte widths of a directory's parts.
struct DirectoryWidths {
    /// Number of entries, in front of them.
    count: u64,
    /// One entry: tag (2), field type (2), number of values, value or its offset.
    entry: u64,
    /// Value or offset of an entry.
    value: u64,
    /// Offset of the next directory, behind the entries.
    next: u64,
    /// High word of an entry's value or offset; all of them follow the offset of the next
    /// directory.
    high: u64,
}

impl TiffLayout {
    /// An unsigned number of up to 8 bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let mut value = 0;
        for i in 0..bytes.len() {
            let next = if self.big_endian { i } else { bytes.len() - 1 - i };
            value = value << 8 | u64::from(bytes[next]);
        }
        value
    }

    fn directory_widths(self) -> DirectoryWidths {
        if self.big_tiff {
            DirectoryWidths { count: 8, entry: 20, value: 8, next: 8, high: 0 }
        } else if self.ndpi {
            DirectoryWidths { count: 2, entry: 12, value: 4, next: 8, high: 4 }
        } else {
            DirectoryWidths { count: 2, entry: 12, value: 4, next: 4, high: 0 }
        }
    }
}

/// Type of a tag's values: TIFF 6.0, section 2, "Types"; 13 is Technical Note 1, 16 to 18 are
/// `BigTIFF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldType {
    Byte,
    Ascii,
    Short,
    Long,
    Rational,
    SByte,
    Undefined,
    SShort,
    SLong,
    SRational,
    Float,
    Double,
    Ifd,
    Long8,
    SLong8,
    Ifd8,
}

impl FieldType {
    fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            1 => Self::Byte,
            2 => Self::Ascii,
            3 => Self::Short,
            4 => Self::Long,
            5 => Self::Rational,
            6 => Self::SByte,
            7 => Self::Undefined,
            8 => Self::SShort,
            9 => Self::SLong,
            10 => Self::SRational,
            11 => Self::Float,
            12 => Self::Double,
            13 => Self::Ifd,
            16 => Self::Long8,
            17 => Self::SLong8,
            18 => Self::Ifd8,
            _ => return None,
        })
    }

    /// Bytes of one value.
    fn size(self) -> u64 {
        match self {
            Self::Byte | Self::Ascii | Self::SByte | Self::Undefined => 1,
            Self::Short | Self::SShort => 2,
            Self::Long | Self::SLong | Self::Float | Self::Ifd => 4,
            Self::Rational
            | Self::SRational
            | Self::Double
            | Self::Long8
            | Self::SLong8
            | Self::Ifd8 => 8,
        }
    }

    /// Whether its values are numbers with a fraction.
    fn is_real(self) -> bool {
        matches!(self, Self::Rational | Self::SRational | Self::Float | Self::Double)
    }

    fn is_unsigned_integer(self) -> bool {
        matches!(self, Self::Byte | Self::Short | Self::Long | Self::Ifd | Self::Long8 | Self::Ifd8)
    }

    fn is_signed_integer(self) -> bool {
        matches!(self, Self::SByte | Self::SShort | Self::SLong | Self::SLong8)
    }
}

/// One tag of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TagEntry {
    /// None for types that this module does not know; such a tag is present but has no value.
    field_type: Option<FieldType>,
    /// Number of values.
    pub count: u64,
    /// Offset of the first value in the file, also of values that lie in the entry itself.
    offset: u64,
    /// Bits 32 to 63 of the single LONG of an NDPI that lies in the entry.
    high: u64,
}

/// An image file directory (IFD).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    layout: TiffLayout,
    entries: BTreeMap<u16, TagEntry>,
}

impl Directory {
    /// Whether the directory has the tag.
    #[must_use]
    pub fn has(&self, tag: u16) -> bool {
        self.entries.contains_key(&tag)
    }

    /// Number of values of a tag, 0 without it.
    #[must_use]
    pub fn count(&self, tag: u16) -> u64 {
        self.entries.get(&tag).map_or(0, |e| e.count)
    }

    /// Value `index` of a tag of unsigned integers.
    ///
    /// # Errors
    /// Missing bytes; a tag of another type; fewer values.
    pub fn number_at(&self, bytes: &RangeCache, tag: u16, index: u64) -> ReadResult<u64> {
        let malformed =
            || ReadError::from(Error::malformed(format!("TIFF tag {tag} has no integer {index}")));
        let entry = self.entries.get(&tag).filter(|e| index < e.count).ok_or_else(malformed)?;
        let field_type = entry.field_type.filter(|t| t.is_unsigned_integer());
        let size = field_type.ok_or_else(malformed)?.size();
        // Only the bytes of this value are read: a table of tiles may have megabytes.
        let relative = index.checked_mul(size).ok_or_else(malformed)?;
        let offset = entry.offset.checked_add(relative).ok_or_else(malformed)?;
        Ok(self.layout.number(&bytes.read(offset, size)?) | entry.high << 32)
    }

    /// The single number of a tag, or `default` without the tag.
    ///
    /// # Errors
    /// As [`Self::number_at`].
    pub fn number_or(&self, bytes: &RangeCache, tag: u16, default: u64) -> ReadResult<u64> {
        if self.has(tag) { self.number_at(bytes, tag, 0) } else { Ok(default) }
    }

    /// All numbers of a tag, at most `max_count`.
    ///
    /// # Errors
    /// As [`Self::number_at`]; [`Error::Limit`] for more values.
    pub fn numbers(&self, bytes: &RangeCache, tag: u16, max_count: u64) -> ReadResult<Vec<u64>> {
        let count = self.count(tag);
        if count > max_count {
            return Err(Error::limit(format!(
                "TIFF tag {tag} has {count} values; {max_count} are the limit"
            ))
            .into());
        }
        (0..count).map(|i| self.number_at(bytes, tag, i)).collect()
    }

    /// Value `index` of a tag of numbers of any type: integers, RATIONAL (numerator and denominator
    /// of 4 bytes each), FLOAT, DOUBLE. None without such a value, with a denominator of 0, and for
    /// values that are not finite.
    ///
    /// # Errors
    /// Missing bytes.
    pub fn real_at(&self, bytes: &RangeCache, tag: u16, index: u64) -> ReadResult<Option<f64>> {
        let Some(entry) = self.entries.get(&tag).filter(|e| index < e.count) else {
            return Ok(None);
        };
        let Some(field_type) = entry.field_type else { return Ok(None) };
        if field_type.is_unsigned_integer() {
            return Ok(Some(self.number_at(bytes, tag, index)? as f64));
        }
        if !field_type.is_real() && !field_type.is_signed_integer() {
            return Ok(None);
        }
        let size = field_type.size();
        let relative = index.checked_mul(size).and_then(|n| n.checked_add(entry.offset));
        let Some(offset) = relative else { return Ok(None) };
        let raw = bytes.read(offset, size)?;
        let number = |part: &[u8]| self.layout.number(part);
        // Two's complement and IEEE 754 in the file's byte order.
        let signed = |part: &[u8]| f64::from((number(part) as u32).cast_signed());
        let value = match field_type {
            FieldType::Rational => number(&raw[..4]) as f64 / number(&raw[4..]) as f64,
            FieldType::SRational => signed(&raw[..4]) / signed(&raw[4..]),
            FieldType::Float => f64::from(f32::from_bits(number(&raw) as u32)),
            _ if field_type.is_signed_integer() => {
                let unused_bits = 64 - 8 * size as u32;
                ((number(&raw) << unused_bits).cast_signed() >> unused_bits) as f64
            }
            _ => f64::from_bits(number(&raw)),
        };
        Ok(Some(value).filter(|v| v.is_finite()))
    }

    /// The bytes of a tag of text or tables; empty without it.
    ///
    /// # Errors
    /// Missing bytes; [`Error::Limit`] for more than a few megabytes.
    pub fn raw(&self, bytes: &RangeCache, tag: u16) -> ReadResult<Vec<u8>> {
        let Some(entry) = self.entries.get(&tag) else { return Ok(Vec::new()) };
        let is_bytes = entry.field_type.is_some_and(|t| t.size() == 1);
        if !is_bytes || entry.count > MAX_VALUE_BYTES {
            return Err(Error::limit(format!(
                "TIFF tag {tag} is no text or longer than {MAX_VALUE_BYTES} bytes"
            ))
            .into());
        }
        bytes.read(entry.offset, entry.count)
    }

    /// Text up to its terminating NUL; empty without it and for a tag that is no text or longer
    /// than a few megabytes. Bytes that are not UTF-8 are taken for Latin-1.
    ///
    /// # Errors
    /// Missing bytes.
    pub fn text(&self, bytes: &RangeCache, tag: u16) -> ReadResult<String> {
        let Some(entry) = self.entries.get(&tag) else { return Ok(String::new()) };
        let is_bytes = entry.field_type.is_some_and(|t| t.size() == 1);
        if !is_bytes || entry.count > MAX_VALUE_BYTES {
            return Ok(String::new());
        }
        let raw = bytes.read(entry.offset, entry.count)?;
        let end = raw.iter().position(|&b| b == 0).unwrap_or(raw.len());
        let text = &raw[..end];
        Ok(match std::str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(_) => text.iter().map(|&b| char::from(b)).collect(),
        })
    }

    /// Whether numbers of several bytes begin with the most significant one.
    #[must_use]
    pub fn is_big_endian(&self) -> bool {
        self.layout.big_endian
    }
}

/// A directory of the file's main chain and its sub-directories (tag `SubIFDs`).
#[derive(Debug)]
pub(super) struct DirectoryNode {
    pub directory: Directory,
    pub sub_directories: Vec<Directory>,
}

/// The directories of a file.
#[derive(Debug)]
pub(super) struct DirectoryTree {
    /// The main chain, at least one.
    pub nodes: Vec<DirectoryNode>,
    /// Whether there are more of them than are read.
    pub is_cut: bool,
}

/// Reads the directories of a file, at most a thousand.
///
/// # Errors
/// Missing bytes; [`Error::Unsupported`] for a file that is no TIFF, [`Error::Malformed`] for a
/// chain that has a cycle or leaves the file.
pub(super) fn directories(bytes: &RangeCache) -> ReadResult<DirectoryTree> {
    let header = header(bytes)?;
    let mut visited = BTreeSet::new();
    let mut nodes = Vec::new();
    let mut next = header.first_directory;
    // `visited` stops at cycles, over the main chain and all sub-directories together.
    while next != 0 && visited.len() < MAX_DIRECTORIES {
        let link = read_directory(bytes, header.layout, next, &mut visited)?;
        let mut sub_directories = Vec::new();
        let offsets = link.directory.numbers(bytes, tag::SUB_IFDS, MAX_DIRECTORIES as u64)?;
        for offset in offsets {
            // Some writers leave room for more sub-directories than they write.
            if offset != 0 && visited.len() < MAX_DIRECTORIES {
                let sub = read_directory(bytes, header.layout, offset, &mut visited)?;
                sub_directories.push(sub.directory);
            }
        }
        nodes.push(DirectoryNode { directory: link.directory, sub_directories });
        next = link.next;
    }
    if nodes.is_empty() {
        return Err(Error::malformed("The TIFF holds no image").into());
    }
    Ok(DirectoryTree { nodes, is_cut: next != 0 })
}

struct Header {
    layout: TiffLayout,
    /// Offset; 0 for a file without directories.
    first_directory: u64,
}

/// Bytes: order "II" or "MM" (2), version 42 or 43 (2), then the offset of the first directory (4);
/// in a `BigTIFF` the width of offsets, 8 (2), zero (2), and the offset (8).
fn header(bytes: &RangeCache) -> ReadResult<Header> {
    if bytes.len() < HEADER_BYTES {
        return Err(not_tiff());
    }
    let raw = bytes.read(0, HEADER_BYTES)?;
    let big_endian = match &raw[..2] {
        b"II" => false,
        b"MM" => true,
        _ => return Err(not_tiff()),
    };
    let classic = TiffLayout { big_endian, big_tiff: false, ndpi: false };
    match classic.number(&raw[2..4]) {
        42 if is_ndpi(bytes, classic, classic.number(&raw[4..12]))? => Ok(Header {
            layout: TiffLayout { ndpi: true, ..classic },
            first_directory: classic.number(&raw[4..12]),
        }),
        42 => Ok(Header { layout: classic, first_directory: classic.number(&raw[4..8]) }),
        43 if classic.number(&raw[4..6]) == 8 => Ok(Header {
            layout: TiffLayout { big_tiff: true, ..classic },
            first_directory: classic.number(&raw[8..16]),
        }),
        _ => Err(not_tiff()),
    }
}

/// Whether the first directory, at the offset that the header states in 8 bytes, has the tag of an
/// NDPI and the layout of one. A classic TIFF has an offset of 4 bytes there.
fn is_ndpi(bytes: &RangeCache, classic: TiffLayout, offset: u64) -> ReadResult<bool> {
    let widths = classic.directory_widths();
    if offset == 0 || offset.checked_add(widths.count).is_none_or(|end| end > bytes.len()) {
        return Ok(false);
    }
    let tag_count = classic.number(&bytes.read(offset, widths.count)?);
    let table_bytes = tag_count * widths.entry;
    if tag_count > MAX_TAGS || offset + widths.count + table_bytes > bytes.len() {
        return Ok(false);
    }
    let table = bytes.read(offset + widths.count, table_bytes)?;
    let mut entries = table.chunks_exact(widths.entry as usize);
    if !entries.any(|entry| classic.number(&entry[..2]) == u64::from(tag::NDPI_FORMAT)) {
        return Ok(false);
    }
    let layout = TiffLayout { ndpi: true, ..classic };
    match read_directory(bytes, layout, offset, &mut BTreeSet::new()) {
        Ok(_) => Ok(true),
        Err(ReadError::Fail(_)) => Ok(false),
        Err(need) => Err(need),
    }
}

fn not_tiff() -> ReadError {
    Error::unsupported(
        "The file is no TIFF; slides are SVS, NDPI, SCN, BIF, pyramidal TIFF or OME-TIFF",
    )
    .into()
}

struct LinkedDirectory {
    directory: Directory,
    /// Offset of the next one; 0 for the last.
    next: u64,
}

/// Reads the directory at `offset`. `visited` holds the offsets of all directories read so far.
fn read_directory(
    bytes: &RangeCache,
    layout: TiffLayout,
    offset: u64,
    visited: &mut BTreeSet<u64>,
) -> ReadResult<LinkedDirectory> {
    if visited.contains(&offset) {
        return Err(Error::malformed("The directories of the TIFF form a circle").into());
    }
    visited.insert(offset);
    if layout.ndpi {
        bytes.read(offset, NDPI_AHEAD_BYTES.min(bytes.len().saturating_sub(offset)))?;
    }
    let widths = layout.directory_widths();
    let tag_count = layout.number(&bytes.read(offset, widths.count)?);
    if tag_count > MAX_TAGS {
        return Err(Error::limit(format!(
            "A directory of the TIFF has {tag_count} tags; {MAX_TAGS} are the limit"
        ))
        .into());
    }
    // The read above ended inside the file, so the sum does not overflow.
    let table_offset = offset + widths.count;
    let table_bytes = tag_count * widths.entry;
    // All entries, the offset of the next directory and the high words, in one read.
    let next_end = table_bytes + widths.next;
    let raw = bytes.read(table_offset, next_end + tag_count * widths.high)?;
    let mut entries = BTreeMap::new();
    for i in 0..tag_count {
        let start = (i * widths.entry) as usize;
        let entry = &raw[start..start + widths.entry as usize];
        // Entry: tag (2 bytes), type (2), count and value or offset (4 each; 8 each in a BigTIFF).
        let value_start = 4 + widths.value as usize;
        let field_type = FieldType::from_code(layout.number(&entry[2..4]));
        let count = layout.number(&entry[4..value_start]);
        let total_bytes = field_type.and_then(|t| t.size().checked_mul(count));
        // Values that fit into the entry lie there instead of an offset; in an NDPI texts do not.
        let is_value = total_bytes.is_some_and(|n| n <= widths.value)
            && !(layout.ndpi && field_type == Some(FieldType::Ascii));
        let high_start = (next_end + i * widths.high) as usize;
        let high = layout.number(&raw[high_start..high_start + widths.high as usize]);
        let tag = layout.number(&entry[..2]) as u16;
        let may_be_long = matches!(field_type, Some(FieldType::Long | FieldType::SLong));
        if is_value && high != 0 && !may_be_long {
            return Err(Error::malformed(format!(
                "The value of TIFF tag {tag} is longer than its type"
            ))
            .into());
        }
        let tag_entry = if is_value {
            let offset = table_offset + (start + value_start) as u64;
            let is_long = field_type == Some(FieldType::Long);
            TagEntry { field_type, count, offset, high: if is_long { high } else { 0 } }
        } else {
            let offset = layout.number(&entry[value_start..]) | high << 32;
            TagEntry { field_type, count, offset, high: 0 }
        };
        // Of repeated tags the first one counts.
        entries.entry(tag).or_insert(tag_entry);
    }
    let next = layout.number(&raw[table_bytes as usize..next_end as usize]);
    Ok(LinkedDirectory { directory: Directory { layout, entries }, next })
}
