//! A JPEG with restart markers, too large to be decoded at once, as a grid of tiles.
//!
//! A restart marker resets the entropy coder (ITU-T T.81, section E.1.4), so the MCUs between two
//! of them can be decoded on their own. In an NDPI the restart intervals divide each row of MCUs
//! into equal parts, and the directory lists where they begin:
//!
//! ```text
//! interval:  0     1     2     3          a tile of 2 × 3 intervals:
//!            4     5     6     7            2   3
//!            8     9    10    11            6   7
//!           12    13    14    15           10  11
//! ```
//!
//! The intervals of a tile in one row of MCUs are one byte range. With the JPEG's header, whose
//! width and height are replaced, and restart markers that count from 0 the ranges of a tile are a
//! JPEG again.

use std::ops::Range;

use super::jpeg::JpegHeader;
use super::range_cache::{RangeCache, ReadError, ReadResult};
use super::tiff::{Directory, tag};
use crate::error::{Error, Result};

/// A tile is at least this wide where the intervals allow it, pixels.
const LEAST_TILE_WIDTH_PX: usize = 512;
/// Intervals of more pixels are not joined to reach it.
const MOST_TILE_WIDTH_PX: usize = 16_384;
/// A tile has about this many pixels,
const TILE_AREA_PX: usize = 1 << 20;
/// but is at least and at most this high.
const TILE_HEIGHT_PX: std::ops::RangeInclusive<usize> = 64..=1024;
/// Longest side that the header of a JPEG can state.
const MOST_JPEG_PX: usize = 65_500;
/// Most bytes that a coded pixel takes: three samples, each with a code of 16 bits and 11 further
/// ones, and a byte behind each of value FF.
const MAX_BYTES_A_PIXEL: u64 = 21;
/// Second bytes of markers (T.81, table B.1).
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;
const EOI: u8 = 0xD9;
const MARKER_BYTES: u64 = 2;
/// Restart markers count modulo 8.
const RESTART_NUMBERS: usize = 8;

/// A JPEG divided into tiles.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RestartJpeg {
    /// Lists where the restart intervals begin.
    directory: Directory,
    /// Bytes of the JPEG in the file.
    file_range: Range<u64>,
    /// The JPEG from its first byte up to the first interval.
    header: Vec<u8>,
    /// Position of height and width in the header.
    size_at: usize,
    mcu_height: usize,
    interval_width: usize,
    /// Restart intervals of a row of MCUs.
    intervals_across: usize,
    /// Rows of MCUs.
    mcu_rows: usize,
    /// Restart intervals of a row of MCUs of a tile; divides [`Self::intervals_across`].
    tile_intervals: usize,
    /// Rows of MCUs of a tile; the last one of a column may have fewer.
    tile_mcu_rows: usize,
}

impl RestartJpeg {
    /// Divides a JPEG of `width × height` pixels, whose header begins with `bytes`. None when it
    /// cannot be read in parts: without restart markers, with intervals that do not divide the rows
    /// of MCUs, or without the list of their offsets.
    pub(super) fn new(
        directory: &Directory,
        file_range: Range<u64>,
        bytes: &[u8],
        header: &JpegHeader,
        [width, height]: [usize; 2],
    ) -> Option<Self> {
        let [mcu_width, mcu_height] = header.mcu_size();
        let interval_width = header.restart_interval * mcu_width;
        if !header.is_sequential() || !(1..=MOST_JPEG_PX).contains(&interval_width) {
            return None;
        }
        // Of a side that is too long for a JPEG an NDPI states 0 or anything; else the JPEG's size
        // counts, also where the directory states another one.
        let is_stated = header.width > 0 && header.height > 0;
        let may_be_stated = width <= MOST_JPEG_PX && height <= MOST_JPEG_PX;
        if is_stated && may_be_stated && [header.width, header.height] != [width, height] {
            return None;
        }
        let mcus_across = width.div_ceil(mcu_width);
        if !mcus_across.is_multiple_of(header.restart_interval) {
            return None;
        }
        let intervals_across = mcus_across / header.restart_interval;
        let mcu_rows = height.div_ceil(mcu_height);
        let intervals = intervals_across as u64 * mcu_rows as u64;
        let high_words = directory.count(tag::NDPI_MCU_STARTS_HIGH);
        if directory.count(tag::NDPI_MCU_STARTS) != intervals
            || !(high_words == 0 || high_words == intervals)
        {
            return None;
        }
        let tile_intervals = tile_intervals(intervals_across, interval_width);
        let tile_height = TILE_AREA_PX / (tile_intervals * interval_width);
        let tile_height = tile_height.clamp(*TILE_HEIGHT_PX.start(), *TILE_HEIGHT_PX.end());
        Some(Self {
            directory: directory.clone(),
            file_range,
            header: bytes.get(..header.scan_at?)?.to_vec(),
            size_at: header.size_at,
            mcu_height,
            interval_width,
            intervals_across,
            mcu_rows,
            tile_intervals,
            tile_mcu_rows: (tile_height / mcu_height).clamp(1, mcu_rows),
        })
    }

    /// Pixels, as are the other sides.
    pub(super) fn tile_width(&self) -> usize {
        self.tile_intervals * self.interval_width
    }

    pub(super) fn tile_height(&self) -> usize {
        self.tile_mcu_rows * self.mcu_height
    }

    /// Of whole MCUs.
    pub(super) fn width(&self) -> usize {
        self.intervals_across * self.interval_width
    }

    /// Of whole MCUs.
    pub(super) fn height(&self) -> usize {
        self.mcu_rows * self.mcu_height
    }

    /// Byte ranges of a tile in the file: one for each row of MCUs, or one for all rows that are as
    /// wide as the image. Each includes the markers in front of its first interval, by which it is
    /// recognised, and behind its last one.
    ///
    /// # Errors
    /// Missing bytes; offsets that are out of order.
    pub(super) fn tile_ranges(
        &self,
        bytes: &RangeCache,
        column: usize,
        row: usize,
    ) -> ReadResult<Vec<Range<u64>>> {
        let first_row = row * self.tile_mcu_rows;
        let rows = self.tile_mcu_rows.min(self.mcu_rows - first_row);
        let first = first_row * self.intervals_across + column * self.tile_intervals;
        let mut ends = Vec::new();
        if self.tile_intervals == self.intervals_across {
            ends.extend([first, first + rows * self.intervals_across]);
        } else {
            for row in 0..rows {
                let left = first + row * self.intervals_across;
                ends.extend([left, left + self.tile_intervals]);
            }
        }
        let offsets = self.offsets(bytes, &ends)?;
        let tile_pixels = (self.tile_width() * rows * self.mcu_height) as u64;
        let mut ranges = Vec::with_capacity(offsets.len() / 2);
        let mut before = self.file_range.start + self.header.len() as u64;
        let mut total = 0;
        for &[start, end] in offsets.as_chunks().0 {
            // A range follows the header and the range before it, whose last marker it may share.
            let is_ordered = before <= start && start < end && end <= self.file_range.end;
            if !is_ordered || end - start > tile_pixels * MAX_BYTES_A_PIXEL {
                return Err(not_listed().into());
            }
            total += end - start;
            before = end;
            ranges.push(start - MARKER_BYTES..end);
        }
        if total > tile_pixels * MAX_BYTES_A_PIXEL {
            return Err(not_listed().into());
        }
        Ok(ranges)
    }

    /// Offsets in the file of the beginnings of intervals; behind the last one the end of the JPEG.
    /// All that are missing are requested together.
    fn offsets(&self, bytes: &RangeCache, intervals: &[usize]) -> ReadResult<Vec<u64>> {
        let mut offsets = Vec::with_capacity(intervals.len());
        let mut missing = Vec::new();
        for &interval in intervals {
            match self.offset(bytes, interval) {
                Ok(offset) => offsets.push(offset),
                Err(ReadError::NeedBytes(ranges)) => missing.extend(ranges),
                Err(fail) => return Err(fail),
            }
        }
        if missing.is_empty() { Ok(offsets) } else { Err(ReadError::NeedBytes(missing)) }
    }

    fn offset(&self, bytes: &RangeCache, interval: usize) -> ReadResult<u64> {
        if interval == 0 {
            return Ok(self.file_range.start + self.header.len() as u64);
        }
        if interval == self.intervals_across * self.mcu_rows {
            return Ok(self.file_range.end);
        }
        let interval = interval as u64;
        let mut offset = self.directory.number_at(bytes, tag::NDPI_MCU_STARTS, interval)?;
        if self.directory.has(tag::NDPI_MCU_STARTS_HIGH) {
            let high = self.directory.number_at(bytes, tag::NDPI_MCU_STARTS_HIGH, interval)?;
            offset |= high.checked_shl(u32::BITS).unwrap_or_default();
        }
        self.file_range.start.checked_add(offset).ok_or_else(|| not_listed().into())
    }

    /// The JPEG of a tile of `height` pixels, a multiple of that of an MCU, from the bytes of its
    /// ranges.
    ///
    /// # Errors
    /// [`Error::Malformed`] when they do not hold as many intervals as the tile.
    pub(super) fn tile_stream(&self, height: usize, parts: &[&[u8]]) -> Result<Vec<u8>> {
        let mut stream = self.header.clone();
        let size = [height, self.tile_width()].map(|side| (side as u16).to_be_bytes());
        let stated = stream.get_mut(self.size_at..self.size_at + 4).ok_or_else(not_listed)?;
        stated.copy_from_slice(size.as_flattened());
        let mut markers = 0_usize;
        for part in parts {
            let (before, part) =
                part.split_at_checked(MARKER_BYTES as usize).ok_or_else(not_listed)?;
            // In front of the first interval is the header.
            if !matches!(before, [0xFF, RST0..=RST7]) && !self.header.ends_with(before) {
                return Err(not_listed());
            }
            let start = stream.len();
            stream.extend_from_slice(part);
            markers += renumber(&mut stream[start..], markers);
        }
        // The marker behind the last interval is not a restart: the JPEG ends there.
        if let [.., 0xFF, last @ RST0..=RST7] = &mut stream[..] {
            *last = EOI;
            markers = markers.checked_sub(1).ok_or_else(not_listed)?;
        } else if !stream.ends_with(&[0xFF, EOI]) {
            stream.extend([0xFF, EOI]);
        }
        let intervals = self.tile_intervals * (height / self.mcu_height);
        if markers + 1 != intervals {
            return Err(not_listed());
        }
        Ok(stream)
    }
}

fn not_listed() -> Error {
    Error::malformed(
        "The restart intervals of the Hamamatsu NDPI are not where its directory lists them; the \
         file may be cut short",
    )
}

/// Fewest intervals side by side that are a tile of sufficient width: a divisor of `across`.
fn tile_intervals(across: usize, interval_width: usize) -> usize {
    for intervals in 1..=across {
        let width = intervals * interval_width;
        if width > MOST_TILE_WIDTH_PX {
            break;
        }
        if across.is_multiple_of(intervals) && (width >= LEAST_TILE_WIDTH_PX || intervals == across)
        {
            return intervals;
        }
    }
    1
}

/// Numbers the restart markers of entropy-coded bytes from `first` on; gives how many there are. A
/// byte FF of the data itself is followed by 0.
fn renumber(bytes: &mut [u8], first: usize) -> usize {
    let mut count = 0;
    let mut at = 0;
    while let Some(next) = bytes.get(at..).and_then(|rest| rest.iter().position(|b| *b == 0xFF)) {
        at += next + 1;
        if let Some(second @ RST0..=RST7) = bytes.get_mut(at) {
            *second = RST0 + ((first + count) % RESTART_NUMBERS) as u8;
            count += 1;
        }
    }
    count
}
