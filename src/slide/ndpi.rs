//! Hamamatsu NDPI: each level is a directory whose only strip is one JPEG, larger than a JPEG can
//! state where the level is. It is read in rectangles of its restart intervals.

use std::ops::Range;

use super::jpeg::JpegHeader;
use super::level::{Compression, SlideLevel};
use super::pictures::{Pyramid, TiffPictures};
use super::pixel_size;
use super::range_cache::{RangeCache, ReadResult};
use super::restart_jpeg::RestartJpeg;
use super::slide_file::SlideFormat;
use super::tiff::{Directory, DirectoryTree, tag};
use crate::error::{Error, counted};

/// Bytes in which the header of a JPEG is searched, the second number where the first does not do.
const HEADER_BYTES: [u64; 2] = [2048, 1 << 17];

/// A directory of a level of the pyramid.
struct LevelDirectory<'a> {
    directory: &'a Directory,
    /// Above the middle plane, nm.
    focal_plane: f64,
    magnification: f64,
}

/// Reads the levels of the focal plane next to the middle one.
///
/// # Errors
/// Missing bytes; no level; one that would have to be decoded as a whole and is too large for that.
pub(super) fn open(bytes: &RangeCache, tree: &DirectoryTree) -> ReadResult<TiffPictures> {
    let mut stored = Vec::new();
    for node in &tree.nodes {
        let directory = &node.directory;
        let lens = directory.real_at(bytes, tag::NDPI_SOURCE_LENS, 0)?;
        if let Some(magnification) = lens.filter(|lens| *lens > 0.0) {
            let focal_plane = directory.real_at(bytes, tag::NDPI_FOCAL_PLANE, 0)?.unwrap_or(0.0);
            stored.push(LevelDirectory { directory, focal_plane, magnification });
        }
    }
    let associated_images = tree.nodes.len() - stored.len();
    let mut planes: Vec<f64> = stored.iter().map(|s| s.focal_plane).collect();
    planes.sort_by(f64::total_cmp);
    planes.dedup();
    let middle = planes.iter().copied().min_by(|a, b| a.abs().total_cmp(&b.abs()));
    stored.retain(|s| Some(s.focal_plane) == middle);
    let mut levels = Vec::new();
    for directory in stored {
        levels.push((read_level(bytes, directory.directory)?, directory));
    }
    levels.sort_by_key(|(level, _)| std::cmp::Reverse(level.width));
    let mut levels = levels.into_iter();
    let Some((finest, LevelDirectory { directory, magnification, .. })) = levels.next() else {
        return Err(Error::malformed("The Hamamatsu NDPI holds no level of a slide").into());
    };
    let mut pyramid = Pyramid::of(bytes, directory, finest, &[])?;
    for (level, _) in levels {
        pyramid.add(level);
    }
    pyramid.note_levels_set_aside();
    pyramid.associated_images = associated_images;
    let mut pictures = TiffPictures::new(SlideFormat::Hamamatsu, pyramid);
    pictures.magnification = Some(magnification);
    pictures.state_pixel_size(pixel_size::from_resolution(bytes, directory)?);
    if planes.len() > 1 {
        pictures.notes.push(format!(
            "The slide was scanned in {} focal planes; the one {} µm from the middle is used, {} \
             not shown",
            planes.len(),
            middle.unwrap_or_default() / 1000.0,
            counted(planes.len() - 1, "other is", "others are")
        ));
    }
    let filter = directory.text(bytes, tag::NDPI_FLUORESCENCE)?;
    if !filter.trim().is_empty() {
        pictures.notes.push(format!(
            "The slide states a filter of fluorescence, {}; prunella segments H&E in bright field",
            filter.trim()
        ));
    }
    Ok(pictures)
}

/// A level whose JPEG is divided into tiles; without the offsets of its restart intervals it is a
/// strip that is decoded as a whole.
fn read_level(bytes: &RangeCache, directory: &Directory) -> ReadResult<SlideLevel> {
    let mut level = SlideLevel::new(bytes, directory)?;
    if level.is_tiled() || level.tiles_down() > 1 || level.compression != Compression::Jpeg {
        return Ok(level);
    }
    let range = strip_range(bytes, directory)?;
    for header_bytes in HEADER_BYTES {
        let start = bytes.read(range.start, header_bytes.min(range.end - range.start))?;
        let Some(header) = JpegHeader::read(&start) else { continue };
        let size = [level.width, level.height];
        if let Some(jpeg) = RestartJpeg::new(directory, range, &start, &header, size) {
            level.divide(jpeg);
        } else if header.width > 0 && header.height > 0 {
            // The directory of a coarse level may state a size that its JPEG has not.
            level.resize_strip(header.width, header.height);
        }
        if let Err(error) = level.check_slide() {
            return Err(error_of_size(&level).caused_by(error).into());
        }
        return Ok(level);
    }
    Err(Error::malformed("A level of the Hamamatsu NDPI holds no JPEG").into())
}

/// Bytes of the only strip, which may be more than those of a tile.
fn strip_range(bytes: &RangeCache, directory: &Directory) -> ReadResult<Range<u64>> {
    let start = directory.number_at(bytes, tag::STRIP_OFFSETS, 0)?;
    let byte_count = directory.number_at(bytes, tag::STRIP_BYTE_COUNTS, 0)?;
    match start.checked_add(byte_count).filter(|end| *end <= bytes.len()) {
        Some(end) => Ok(start..end),
        None => Err(Error::malformed(format!(
            "A level of the Hamamatsu NDPI is stated to lie at byte {start}, past the end of the \
             file, which may be cut short"
        ))
        .into()),
    }
}

fn error_of_size(level: &SlideLevel) -> Error {
    Error::limit(format!(
        "The Hamamatsu NDPI does not list the restart intervals of its level of {}×{} pixels, \
         which cannot be decoded as a whole; export it from NDP.view as TIFF, or convert it: vips \
         tiffsave FILE out.tif --tile --pyramid --bigtiff --compression jpeg",
        level.width, level.height
    ))
}

#[cfg(test)]
mod tests {
    use super::super::reader::SlideReader;
    use super::super::source::ByteSource;
    use super::*;
    use crate::error::Result;
    use crate::raster::RgbImage;

    /// Side of a block, pixels.
    const BLOCK: usize = 8;

    /// A level of blocks, each of one grey value.
    struct Made {
        /// Width and height, blocks.
        size: [usize; 2],
        /// Blocks of a restart interval.
        interval: usize,
        lens: f32,
        /// nm.
        focal_plane: i32,
        lists_intervals: bool,
        /// Whether the JPEG states its width and height, and not 0.
        states_size: bool,
    }

    fn level(size: [usize; 2], interval: usize, lens: f32) -> Made {
        Made { size, interval, lens, focal_plane: 0, lists_intervals: true, states_size: true }
    }

    struct MadeJpeg {
        bytes: Vec<u8>,
        /// Where the restart intervals begin.
        starts: Vec<u32>,
    }

    impl Made {
        fn grey(&self, x: usize, y: usize) -> u8 {
            40 + ((x * 11 + y * 17 + self.focal_plane.unsigned_abs() as usize) % 170) as u8
        }

        /// Baseline, one component. A DC coefficient of 8 is a grey value: the quantiser.
        fn jpeg(&self) -> MadeJpeg {
            let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
            bytes.extend([8; 64]);
            let side = |blocks: usize| {
                let pixels = if self.states_size { blocks * BLOCK } else { 0 };
                (pixels as u16).to_be_bytes()
            };
            bytes.extend([0xFF, 0xC0, 0, 11, 8]);
            bytes.extend([side(self.size[1]), side(self.size[0])].as_flattened());
            bytes.extend([1, 1, 0x11, 0]);
            // DC: the nine sizes of a difference have codes of 4 bits. AC: the end of the block has
            // one of 1 bit.
            bytes.extend([0xFF, 0xC4, 0, 28, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend(0..9);
            bytes.extend([0xFF, 0xC4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            bytes.push(0);
            bytes.extend([0xFF, 0xDD, 0, 4]);
            bytes.extend((self.interval as u16).to_be_bytes());
            bytes.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0]);
            let mut starts = Vec::new();
            for y in 0..self.size[1] {
                for left in (0..self.size[0]).step_by(self.interval) {
                    starts.push(bytes.len() as u32);
                    let values = (left..left + self.interval).map(|x| self.grey(x, y));
                    bytes.extend(coded(values));
                    bytes.extend([0xFF, 0xD0 + ((starts.len() - 1) % 8) as u8]);
                }
            }
            *bytes.last_mut().expect("a marker") = 0xD9;
            MadeJpeg { bytes, starts }
        }
    }

    /// Blocks of one value each: the difference of DC coefficients, no AC coefficients; then 1s up
    /// to a whole byte.
    fn coded(values: impl Iterator<Item = u8>) -> Vec<u8> {
        let mut bits = Vec::new();
        let mut push = |value: u32, count: u32| {
            bits.extend((0..count).rev().map(|bit| value >> bit & 1));
        };
        let mut before = 0i32;
        for value in values {
            let dc = i32::from(value) - 128;
            let difference = dc - before;
            before = dc;
            let size = u32::BITS - difference.unsigned_abs().leading_zeros();
            push(size, 4);
            let code = if difference < 0 { difference - 1 } else { difference };
            push(code.cast_unsigned() & ((1 << size) - 1), size);
            push(0, 1);
        }
        let mut bytes = Vec::new();
        for eight in bits.chunks(8) {
            let mut byte = 0;
            for i in 0..8 {
                byte = byte << 1 | eight.get(i).copied().unwrap_or(1) as u8;
            }
            bytes.push(byte);
            if byte == 0xFF {
                bytes.push(0);
            }
        }
        bytes
    }

    /// A file whose bytes behind the header lie from `base` on.
    struct MadeFile {
        header: Vec<u8>,
        base: u64,
        rest: Vec<u8>,
    }

    impl ByteSource for MadeFile {
        fn len(&self) -> u64 {
            self.base + self.rest.len() as u64
        }

        fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
            let byte = |at: u64| match at.checked_sub(self.base) {
                Some(at) => self.rest[at as usize],
                None => self.header.get(at as usize).copied().unwrap_or_default(),
            };
            Ok(range.map(byte).collect())
        }
    }

    fn file(levels: &[Made], base: u64) -> MadeFile {
        let mut header = b"II\x2A\0".to_vec();
        let mut rest = Vec::new();
        let mut link = None;
        for made in levels {
            let MadeJpeg { bytes, starts } = made.jpeg();
            let jpeg_at = base + rest.len() as u64;
            rest.extend(&bytes);
            let starts_at = base + rest.len() as u64;
            rest.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
            let resolution_at = base + rest.len() as u64;
            rest.extend([40_000u32.to_le_bytes(), 1u32.to_le_bytes()].as_flattened());
            let [width, height] = made.size.map(|blocks| (blocks * BLOCK) as u64);
            let mut entries: Vec<(u16, u16, u32, u64)> = vec![
                (tag::IMAGE_WIDTH, 4, 1, width),
                (tag::IMAGE_LENGTH, 4, 1, height),
                (tag::BITS_PER_SAMPLE, 3, 1, 8),
                (tag::COMPRESSION, 3, 1, 7),
                (tag::PHOTOMETRIC_INTERPRETATION, 3, 1, 1),
                (tag::STRIP_OFFSETS, 4, 1, jpeg_at),
                (tag::STRIP_BYTE_COUNTS, 4, 1, bytes.len() as u64),
                (tag::X_RESOLUTION, 5, 1, resolution_at),
                (tag::Y_RESOLUTION, 5, 1, resolution_at),
                (tag::RESOLUTION_UNIT, 3, 1, 3),
                (tag::NDPI_FORMAT, 3, 1, 1),
                (tag::NDPI_SOURCE_LENS, 11, 1, u64::from(made.lens.to_bits())),
                (tag::NDPI_FOCAL_PLANE, 9, 1, u64::from(made.focal_plane.cast_unsigned())),
            ];
            if made.lists_intervals {
                entries.push((tag::NDPI_MCU_STARTS, 4, starts.len() as u32, starts_at));
            }
            let directory_at = (base + rest.len() as u64).to_le_bytes();
            match link {
                None => header.extend(directory_at),
                Some(at) => rest[at..at + 8].copy_from_slice(&directory_at),
            }
            rest.extend((entries.len() as u16).to_le_bytes());
            for (tag, field_type, count, value) in &entries {
                rest.extend(tag.to_le_bytes());
                rest.extend(field_type.to_le_bytes());
                rest.extend(count.to_le_bytes());
                rest.extend((*value as u32).to_le_bytes());
            }
            link = Some(rest.len());
            rest.extend([0; 8]);
            for (_, _, _, value) in &entries {
                rest.extend(((value >> 32) as u32).to_le_bytes());
            }
        }
        MadeFile { header, base, rest }
    }

    fn whole_file(levels: &[Made]) -> Vec<u8> {
        let MadeFile { header, rest, .. } = file(levels, 12);
        [header, rest].concat()
    }

    fn whole(reader: &SlideReader, level: usize) -> Result<RgbImage> {
        let size = &reader.slide.levels[level];
        reader.region(level, 0, 0, size.width, size.height)
    }

    fn assert_shows(reader: &SlideReader, level: usize, made: &Made) {
        let image = whole(reader, level).expect("pixels");
        assert_eq!([image.width(), image.height()], made.size.map(|blocks| blocks * BLOCK));
        for y in 0..image.height() {
            for x in 0..image.width() {
                let grey = made.grey(x / BLOCK, y / BLOCK);
                assert_eq!(image.get(y, x), [grey; 3], "{x}, {y}");
            }
        }
    }

    #[test]
    fn levels_read_in_restart_intervals_are_the_whole_picture() {
        let unlisted = Made { lists_intervals: false, ..level([66, 130], 6, 20.0) };
        let unsized_level = Made { states_size: false, ..level([33, 65], 33, 10.0) };
        let pyramid = [level([132, 260], 12, 40.0), unlisted, unsized_level];
        // Longer than a JPEG may be.
        let long = [level([8200, 2], 25, 40.0)];
        for base in [12, 5 << 30] {
            for levels in [&pyramid[..], &long] {
                let reader = SlideReader::open(Box::new(file(levels, base))).expect("a slide");
                assert_eq!(reader.slide.levels.len(), levels.len());
                for (i, made) in levels.iter().enumerate() {
                    assert_shows(&reader, i, made);
                }
            }
        }
        let reader = SlideReader::open(Box::new(file(&pyramid, 12))).expect("a slide");
        let finest = &reader.slide.levels[0];
        // Of 11 intervals of 96 pixels all are one tile; its height makes up for it.
        assert_eq!((finest.tile_width, finest.tile_height), (1056, 992));
        assert_eq!((reader.slide.magnification, reader.slide.mpp_um), (Some(40.0), Some(0.25)));
        assert!(reader.slide.notes.is_empty(), "{:?}", reader.slide.notes);
    }

    #[test]
    fn the_plane_next_to_the_middle_one_is_shown_and_macro_and_map_are_none_of_the_levels() {
        let plane = |focal_plane, lens, blocks| Made {
            focal_plane,
            ..level([blocks, blocks], blocks, lens)
        };
        let levels = [
            plane(-4000, 20.0, 16),
            plane(1500, 20.0, 16),
            plane(1500, 10.0, 8),
            plane(-4000, 10.0, 8),
            level([9, 3], 9, -1.0),
            level([5, 2], 5, -2.0),
        ];
        let reader = SlideReader::open(Box::new(whole_file(&levels))).expect("a slide");
        assert_eq!((reader.slide.levels.len(), reader.slide.associated_images), (2, 2));
        assert_shows(&reader, 0, &levels[1]);
        assert_shows(&reader, 1, &levels[2]);
        let notes = &reader.slide.notes;
        assert!(notes[0].contains("2 focal planes; the one 1.5 µm"), "{notes:?}");
    }

    #[test]
    fn a_large_level_without_a_list_of_intervals_is_refused_with_advice() {
        let mut made = level([2, 2], 1, 40.0);
        made.states_size = false;
        made.lists_intervals = false;
        made.size = [2, 2];
        let mut bytes = whole_file(&[made]);
        // Width and height in the directory: type LONG, one value.
        for (tag, side) in [(tag::IMAGE_WIDTH, 100_000u32), (tag::IMAGE_LENGTH, 90_000)] {
            let entry = [&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0]].concat();
            let at = bytes.windows(8).position(|w| w == entry).expect("the tag") + 8;
            bytes[at..at + 4].copy_from_slice(&side.to_le_bytes());
        }
        let error = SlideReader::open(Box::new(bytes)).err().expect("refused").to_string();
        assert!(error.contains("100000×90000") && error.contains("convert"), "{error}");
    }

    #[test]
    fn intervals_that_are_not_where_they_are_listed_are_an_error() {
        // Four tiles of an interval in each of two rows of blocks.
        let made = level([256, 2], 64, 40.0);
        let MadeJpeg { starts, .. } = made.jpeg();
        let bytes = whole_file(&[made]);
        let list: Vec<u8> = starts.iter().flat_map(|start| start.to_le_bytes()).collect();
        let at = bytes.windows(list.len()).position(|w| w == list).expect("the list");
        for start in [starts[5] + 1, starts[6], starts[4], starts[4] - 2, 0, u32::MAX] {
            let mut other = bytes.clone();
            other[at + 4 * 5..][..4].copy_from_slice(&start.to_le_bytes());
            let reader = SlideReader::open(Box::new(other)).expect("a slide");
            for tile in [0, 1] {
                let error = reader.region(0, tile * 512, 0, 512, 16).expect_err("refused");
                assert!(error.to_string().contains("restart intervals"), "{start}: {error}");
            }
            assert!(reader.region(0, 1024, 0, 1024, 16).is_ok(), "the others are right");
        }
    }

    #[test]
    fn broken_files_are_errors_and_never_panics() {
        let bytes = whole_file(&[level([128, 2], 64, 40.0)]);
        for len in 0..bytes.len() {
            if let Ok(reader) = SlideReader::open(Box::new(bytes[..len].to_vec())) {
                drop(whole(&reader, 0));
            }
        }
        for at in 0..bytes.len() {
            for value in [0, 0x7F, 0xD0, 0xFF] {
                let mut other = bytes.clone();
                other[at] = value;
                let Ok(reader) = SlideReader::open(Box::new(other)) else { continue };
                let finest = &reader.slide.levels[0];
                if finest.tile_width * finest.tile_height < 1 << 20 {
                    drop(reader.region(0, 0, 0, 1024, 16));
                }
            }
        }
    }

    #[test]
    fn a_tiff_of_short_offsets_with_the_tag_is_read_too() {
        // Without the high words, as tools write that copy unknown tags.
        let made = level([16, 4], 16, 40.0);
        let MadeFile { header, rest, .. } = file(std::slice::from_ref(&made), 12);
        let mut bytes = [header, rest].concat();
        let entries = 14;
        bytes.truncate(bytes.len() - 4 * entries - 4);
        let reader = SlideReader::open(Box::new(bytes)).expect("a slide");
        assert_shows(&reader, 0, &made);
    }
}
