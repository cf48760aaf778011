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
