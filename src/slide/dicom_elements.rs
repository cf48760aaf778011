//! Data elements of a DICOM file, one after another (DICOM PS3.5, section 7), in little-endian
//! order, with or without stated value representations.

use std::ops::Range;

use super::range_cache::{RangeCache, ReadResult};
use crate::error::{Error, Result};

/// Bytes that are read ahead at first; of a longer header four times as many at each further step.
const FIRST_WINDOW: u64 = 16 << 10;
const MAX_WINDOW: u64 = 32 << 20;
/// Most bytes of a header that are read, and of one element such as the functional groups of all
/// frames.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// Most bytes of a value that is a number, a name or a few of them.
const MAX_VALUE_BYTES: u64 = 16 << 10;
/// Most reads of a header: each costs a round, and one after another long value is hostile.
const MAX_FILLS: usize = 2000;
/// Deepest nesting of sequences.
const MAX_DEPTH: usize = 24;
/// Length of an element that ends with a delimiter.
const UNDEFINED_LENGTH: u32 = u32::MAX;

/// Group of the delimiters, and the delimiters (PS3.5, section 7.5).
const DELIMITER_GROUP: u32 = 0xFFFE;
pub(super) const ITEM: u32 = 0xFFFE_E000;
const ITEM_END: u32 = 0xFFFE_E00D;
pub(super) const SEQUENCE_END: u32 = 0xFFFE_E0DD;
/// Bytes of the tag and the length of an item.
pub(super) const ITEM_HEADER: u64 = 8;

/// Whether elements state their value representation (VR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueRepresentation {
    Explicit,
    Implicit,
}

/// Tag and length of a data element; its value lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    /// Group in the upper 16 bits, element in the lower ones.
    pub tag: u32,
    /// Two letters, or zeros where none is stated.
    vr: [u8; 2],
    /// Offset of the value.
    pub start: u64,
    /// Bytes of the value; none where a delimiter ends it.
    pub length: Option<u64>,
}

/// What is called with the elements of a sequence: the number of the item and the element. An
/// element that is not read is skipped.
pub(super) type Visit<'v> =
    &'v mut dyn FnMut(&mut ElementReader<'_>, usize, &Element) -> ReadResult<()>;

/// Reads elements from a part of a file on.
pub(super) struct ElementReader<'a> {
    bytes: &'a RangeCache,
    /// Bytes from `window_start` on.
    window: Vec<u8>,
    window_start: u64,
    /// Bytes of the next window.
    next_window: u64,
    /// Bytes of all windows so far, and their number.
    read_bytes: u64,
    fills: usize,
    /// Where the next element begins.
    at: u64,
    /// Where the file ends.
    end: u64,
    depth: usize,
    pub vr: ValueRepresentation,
}

pub(super) fn cut_short() -> Error {
    Error::malformed("The DICOM file ends inside its header; it may be cut short")
}

fn broken(what: &str) -> Error {
    Error::malformed(format!("The header of the DICOM file is broken: {what}"))
}

impl<'a> ElementReader<'a> {
    /// From the first byte of a range to its end.
    pub(super) fn new(bytes: &'a RangeCache, range: Range<u64>) -> Self {
        Self {
            bytes,
            window: Vec::new(),
            window_start: range.start,
            next_window: FIRST_WINDOW,
            read_bytes: 0,
            fills: 0,
            at: range.start,
            end: range.end,
            depth: 0,
            vr: ValueRepresentation::Explicit,
        }
    }

    /// Group of the next element.
    pub(super) fn next_group(&mut self) -> ReadResult<u16> {
        Ok(u16::from_le_bytes(self.peek::<2>()?))
    }

    /// Skips an element unless its value was read.
    pub(super) fn leave(&mut self, element: &Element) -> ReadResult<()> {
        if self.at == element.start { self.skip(element) } else { Ok(()) }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    /// The next `N` bytes, which stay the next ones.
    fn peek<const N: usize>(&mut self) -> ReadResult<[u8; N]> {
        if self.end.saturating_sub(self.at) < N as u64 {
            return Err(cut_short().into());
        }
        let window_end = self.window_start + self.window.len() as u64;
        if self.at < self.window_start || self.at + N as u64 > window_end {
            self.fill(N as u64)?;
        }
        let from = (self.at - self.window_start) as usize;
        let bytes = self.window.get(from..from + N).and_then(|b| b.try_into().ok());
        Ok(bytes.ok_or_else(cut_short)?)
    }

    /// Reads a window of at least `least` bytes from here on.
    fn fill(&mut self, least: u64) -> ReadResult<()> {
        let window_end = self.window_start + self.window.len() as u64;
        if self.at > window_end || self.at < self.window_start {
            // Behind a value that was skipped.
            self.next_window = FIRST_WINDOW;
        }
        let length = self.next_window.max(least).min(self.end - self.at);
        self.read_bytes += length;
        self.fills += 1;
        if self.read_bytes > MAX_HEADER_BYTES || self.fills > MAX_FILLS {
            return Err(Error::limit(format!(
                "The header of the DICOM file has more than {} MB or too many long values",
                MAX_HEADER_BYTES >> 20
            ))
            .into());
        }
        self.window = self.bytes.read(self.at, length)?;
        self.window_start = self.at;
        self.next_window = (self.next_window * 4).min(MAX_WINDOW);
        Ok(())
    }

    /// Reads an element at once, with what lies behind it: all its bytes cost one request.
    pub(super) fn read_ahead(&mut self, element: &Element) -> ReadResult<()> {
        let Some(length) = element.length else { return Ok(()) };
        if length > MAX_HEADER_BYTES {
            return Err(Error::limit(format!(
                "The frames of the DICOM file are described by {length} bytes; the limit is {} MB",
                MAX_HEADER_BYTES >> 20
            ))
            .into());
        }
        let window_end = self.window_start + self.window.len() as u64;
        if element.start.saturating_add(length) > window_end {
            self.next_window = length + FIRST_WINDOW;
            self.window.clear();
            self.window_start = self.at;
            self.fill(0)?;
            self.next_window = FIRST_WINDOW;
        }
        Ok(())
    }

    /// Tag and length of the next element; the next byte is then the first of its value.
    pub(super) fn next(&mut self) -> ReadResult<Element> {
        let [g0, g1, e0, e1, b4, b5, b6, b7] = self.peek::<8>()?;
        let group = u32::from(u16::from_le_bytes([g0, g1]));
        let tag = group << 16 | u32::from(u16::from_le_bytes([e0, e1]));
        let has_vr = self.vr == ValueRepresentation::Explicit && group != DELIMITER_GROUP;
        let mut header = 8;
        let mut vr = [0; 2];
        let mut length = u32::from_le_bytes([b4, b5, b6, b7]);
        if has_vr {
            vr = [b4, b5];
            if !vr.iter().all(u8::is_ascii_uppercase) {
                return Err(broken("an element states no value representation").into());
            }
            if has_long_length(vr) {
                let [.., l0, l1, l2, l3] = self.peek::<12>()?;
                length = u32::from_le_bytes([l0, l1, l2, l3]);
                header = 12;
            } else {
                length = u32::from(u16::from_le_bytes([b6, b7]));
            }
        }
        self.at += header;
        // A length of 16 bits cannot be undefined.
        let is_undefined = length == UNDEFINED_LENGTH;
        let length = (!is_undefined).then_some(u64::from(length));
        Ok(Element { tag, vr, start: self.at, length })
    }

    /// Where the value of a stated length ends.
    fn end_of(&self, start: u64, length: u64) -> Result<u64> {
        start.checked_add(length).filter(|end| *end <= self.end).ok_or_else(cut_short)
    }

    /// Goes behind an element.
    pub(super) fn skip(&mut self, element: &Element) -> ReadResult<()> {
        if let Some(length) = element.length {
            self.at = self.end_of(element.start, length)?;
            return Ok(());
        }
        if matches!(&element.vr, b"OB" | b"OW") {
            return self.skip_fragments(element);
        }
        self.items(element, &mut |_, _, _| Ok(()))
    }

    /// Goes behind encapsulated pixels, whose items hold bytes instead of elements.
    fn skip_fragments(&mut self, element: &Element) -> ReadResult<()> {
        self.at = element.start;
        loop {
            let item = self.next()?;
            match (item.tag, item.length) {
                (SEQUENCE_END, _) => return Ok(()),
                (ITEM, Some(length)) => self.at = self.end_of(item.start, length)?,
                _ => return Err(broken("a fragment of pixels is no item").into()),
            }
        }
    }

    /// The bytes of a small value; the reader is then behind it.
    pub(super) fn value(&mut self, element: &Element) -> ReadResult<Vec<u8>> {
        let length = element.length.filter(|length| *length <= MAX_VALUE_BYTES);
        let length = length.ok_or_else(|| broken("a number or name is too long"))?;
        let end = self.end_of(element.start, length)?;
        let window_end = self.window_start + self.window.len() as u64;
        let value = if element.start >= self.window_start && end <= window_end {
            let from = (element.start - self.window_start) as usize;
            self.window.get(from..from + length as usize).map(<[u8]>::to_vec).unwrap_or_default()
        } else {
            self.bytes.read(element.start, length)?
        };
        self.at = end;
        Ok(value)
    }

    /// Calls `visit` with each element of each item of a sequence; the reader is then behind it.
    pub(super) fn items(&mut self, sequence: &Element, visit: Visit<'_>) -> ReadResult<()> {
        if self.depth >= MAX_DEPTH {
            return Err(broken("its sequences are nested too deeply").into());
        }
        self.depth += 1;
        let outer = self.vr;
        if &sequence.vr == b"UN" {
            // PS3.5, section 6.2.2: what was unknown to a writer stays without representations.
            self.vr = ValueRepresentation::Implicit;
        }
        self.at = sequence.start;
        let end = match sequence.length {
            Some(length) => self.end_of(sequence.start, length)?,
            None => self.end,
        };
        let mut index = 0;
        loop {
            if sequence.length.is_some() && self.at >= end {
                break;
            }
            let item = self.next()?;
            match item.tag {
                ITEM => self.elements_of(&item, index, visit)?,
                SEQUENCE_END if sequence.length.is_none() => break,
                _ => return Err(broken("a sequence holds something else than items").into()),
            }
            index += 1;
        }
        if sequence.length.is_some() && self.at != end {
            return Err(broken("an item is longer than its sequence").into());
        }
        self.vr = outer;
        self.depth -= 1;
        Ok(())
    }

    fn elements_of(&mut self, item: &Element, index: usize, visit: Visit<'_>) -> ReadResult<()> {
        let end = match item.length {
            Some(length) => self.end_of(item.start, length)?,
            None => self.end,
        };
        while item.length.is_none() || self.at < end {
            let element = self.next()?;
            if element.tag == ITEM_END && item.length.is_none() {
                return Ok(());
            }
            visit(self, index, &element)?;
            self.leave(&element)?;
        }
        if self.at != end {
            return Err(broken("an element is longer than its item").into());
        }
        Ok(())
    }
}

/// Whether the length has 32 bits behind two reserved bytes (PS3.5, table 7.1-1).
fn has_long_length(vr: [u8; 2]) -> bool {
    matches!(
        &vr,
        b"OB"
            | b"OD"
            | b"OF"
            | b"OL"
            | b"OV"
            | b"OW"
            | b"SQ"
            | b"SV"
            | b"UC"
            | b"UN"
            | b"UR"
            | b"UT"
            | b"UV"
    )
}

/// Text without the padding to an even length.
pub(super) fn text(value: &[u8]) -> String {
    let text: String = value.iter().map(|byte| char::from(*byte)).collect();
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()
}

/// Unsigned numbers of 16 or 32 bits (US, UL).
pub(super) fn unsigned(value: &[u8]) -> Option<u64> {
    match *value {
        [a, b] => Some(u64::from(u16::from_le_bytes([a, b]))),
        [a, b, c, d, ..] => Some(u64::from(u32::from_le_bytes([a, b, c, d]))),
        _ => None,
    }
}

/// Signed numbers of 32 bits (SL).
pub(super) fn signed(value: &[u8]) -> Option<i64> {
    let first = value.first_chunk::<4>()?;
    Some(i64::from(i32::from_le_bytes(*first)))
}

/// A floating-point number of 32 bits (FL).
pub(super) fn float(value: &[u8]) -> Option<f64> {
    let first = value.first_chunk::<4>()?;
    Some(f64::from(f32::from_le_bytes(*first)))
}

/// Decimal numbers as text, with backslashes between them (DS, IS).
pub(super) fn decimals(value: &[u8]) -> Vec<f64> {
    let text = text(value);
    let numbers = text.split('\\').filter_map(|part| part.trim().parse::<f64>().ok());
    numbers.filter(|number| number.is_finite()).collect()
}
