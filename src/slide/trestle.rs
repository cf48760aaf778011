//! Trestle slides: a directory a level, whose tiles overlap by whole pixels that the description
//! states. Read as `OpenSlide` reads them.

use super::level::SlideLevel;
use super::mosaic::{Mosaic, MosaicArea};
use super::pictures::{Pyramid, TiffPictures};
use super::pixel_size::{PixelSize, decimal};
use super::range_cache::{RangeCache, ReadResult};
use super::slide_file::SlideFormat;
use super::tiff::{DirectoryTree, tag};
use crate::error::Result;

/// Whether the scanner's software wrote the file and all its images are tiled.
pub(super) fn is_trestle(
    bytes: &RangeCache,
    tree: &DirectoryTree,
    description: &str,
) -> ReadResult<bool> {
    let software = tree.nodes[0].directory.text(bytes, tag::SOFTWARE)?;
    let is_tiled = tree.nodes.iter().all(|node| node.directory.has(tag::TILE_WIDTH));
    Ok(software.starts_with("MedScan") && !description.is_empty() && is_tiled)
}

/// Reads the levels, which are all images of the file.
pub(super) fn open(
    bytes: &RangeCache,
    tree: &DirectoryTree,
    description: &str,
) -> ReadResult<TiffPictures> {
    let overlaps = overlaps(description);
    let first = &tree.nodes[0].directory;
    let finest = laid(SlideLevel::new(bytes, first)?, overlaps.first())?;
    let mut pyramid = Pyramid::of(bytes, first, finest, &[])?;
    for (i, node) in tree.nodes.iter().enumerate().skip(1) {
        pyramid.add(laid(SlideLevel::new(bytes, &node.directory)?, overlaps.get(i))?);
    }
    pyramid.note_levels_set_aside();
    let mut pictures = TiffPictures::new(SlideFormat::Trestle, pyramid);
    // These tags hold micrometres a pixel here.
    let x = first.real_at(bytes, tag::X_RESOLUTION, 0)?;
    let y = first.real_at(bytes, tag::Y_RESOLUTION, 0)?;
    if let (Some(x), Some(y)) = (x, y) {
        pictures.state_pixel_size(Some(PixelSize { x, y }));
    }
    pictures.magnification = value(description, "Objective Power").and_then(decimal);
    Ok(pictures)
}

/// A value of `key=value;key=value`.
fn value<'a>(description: &'a str, key: &str) -> Option<&'a str> {
    description.split(';').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('='))
}

/// `OverlapsXY= 64 64 32 32 …`: x and y of each level, pixels.
fn overlaps(description: &str) -> Vec<[f64; 2]> {
    let mut numbers = Vec::new();
    for number in value(description, "OverlapsXY").unwrap_or_default().split_whitespace() {
        numbers.push(decimal(number).unwrap_or(0.0));
    }
    numbers.as_chunks().0.to_vec()
}

/// The level with tiles that overlap, if they do.
fn laid(mut level: SlideLevel, overlap: Option<&[f64; 2]>) -> Result<SlideLevel> {
    let Some(overlap) = overlap.filter(|overlap| overlap.iter().any(|px| *px != 0.0)) else {
        return Ok(level);
    };
    let tile = [level.tile_width, level.tile_height];
    let stored = [level.width, level.height];
    let count = [level.tiles_across(), level.tiles_down()];
    let whole = MosaicArea { first: [0; 2], count, corner: [0.0; 2] };
    let advance = [0, 1].map(|axis| tile[axis] as f64 - overlap[axis]);
    level.lay(Mosaic::new(vec![whole], advance, tile, stored)?);
    // The last tiles may be padded.
    let [width, height] = [0, 1].map(|axis| {
        let overlaps = (count[axis] - 1) as f64 * overlap[axis];
        (stored[axis] as f64 - overlaps) as usize
    });
    level.crop(width, height);
    Ok(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read() {
        let description = "Objective Power=20;Background Color=E6E6E6;OverlapsXY= 64 60 32 30 7";
        assert_eq!(overlaps(description), [[64.0, 60.0], [32.0, 30.0]]);
        assert_eq!(value(description, "Objective Power"), Some("20"));
        assert!(overlaps("Background Color=E6E6E6").is_empty());
    }
}
