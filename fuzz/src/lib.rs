//! One function a fuzz target: each takes arbitrary bytes and must neither panic nor take long.
//!
//! The crate is used without features, so that the build with coverage leaves out Burn and windows:
//! minutes instead of half an hour.

use prunella::dataset::{parse_imagescope, rasterise, write_imagescope};
use prunella::model::{FileLimits, Model, Precision};
use prunella::picture::{foreign_format, read_labels, read_picture};
use prunella::raster::DecodeLimits;
use prunella::slide::SlideReader;
use prunella::{export, instances};

/// Most levels that are read.
const MAX_LEVELS: usize = 4;
/// Most pixels of a picture; a stream of a few bytes may be valid and fill as many.
const MAX_PICTURE_PX: u64 = 4 << 20;
/// Longest side of the region that is read of each level, pixels.
const REGION_PX: usize = 256;
/// Larger tiles are valid and slow to decode; errors in them occur in smaller ones too.
const MAX_TILE_AREA: usize = 1 << 20;

/// Reads a file as a picture and as labels, and names it when it is neither.
pub fn picture(data: &[u8]) {
    let limits = DecodeLimits { max_pixels: MAX_PICTURE_PX };
    if let Ok(picture) = read_picture(data, limits) {
        assert!(foreign_format(data, None).is_none(), "what is read is not foreign");
        assert!(picture.image.data().len() as u64 <= MAX_PICTURE_PX);
    }
    drop(read_labels(data, limits));
}

/// Decodes a TIFF as an image; opens it as a slide and reads a region of its levels.
pub fn slide(data: &[u8]) {
    drop(read_picture(data, DecodeLimits { max_pixels: MAX_PICTURE_PX }));
    let Ok(reader) = SlideReader::open(Box::new(data.to_vec())) else { return };
    for (i, level) in reader.slide.levels.iter().enumerate().take(MAX_LEVELS) {
        if level.tile_width * level.tile_height <= MAX_TILE_AREA {
            let width = level.width.min(REGION_PX);
            let height = level.height.min(REGION_PX);
            drop(reader.region(i, 0, 0, width, height));
        }
    }
}

/// Reads annotations as ImageScope XML, which must be unchanged after writing, and as GeoJSON.
pub fn annotations(data: &[u8]) {
    if let Ok((regions, mpp)) = parse_imagescope(data) {
        drop(rasterise(&regions, 64, 64, 0.0));
        let text = write_imagescope(&regions, mpp).expect("what was read can be written");
        let (again, _) = parse_imagescope(&text).expect("what was written can be read");
        assert_eq!(again.len(), regions.len());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        drop(instances::polygons(text));
    }
}

/// Reads a model file, which must be readable after writing.
pub fn model(data: &[u8]) {
    if let Ok(model) = Model::from_bytes(data, FileLimits::default()) {
        let bytes = model.to_bytes(Precision::F32).expect("what was read can be written");
        Model::from_bytes(&bytes, FileLimits::default()).expect("what was written can be read");
    }
}

/// Reads the payload of a link.
pub fn link(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(export::from_link(text));
    }
}
