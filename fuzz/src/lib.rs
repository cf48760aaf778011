//! One function a fuzz target: each takes arbitrary bytes and must neither panic nor take long.
//!
//! The crate is used without features, so that the build with coverage leaves out Burn and windows:
//! minutes instead of half an hour.

use prunella::model::{FileLimits, Model, Precision};
use prunella::picture::read_picture;
use prunella::raster::DecodeLimits;
use prunella::outlines::{draw_outlines, read_outlines, write_geojson, write_imagescope};
use prunella::slide::SlideReader;
use prunella::{export, outlines};

/// Most levels that are read.
const MAX_LEVELS: usize = 4;
/// Longest side of the region that is read of each level, pixels.
const REGION_PX: usize = 256;
/// Larger tiles are valid and slow to decode; errors in them occur in smaller ones too.
const MAX_TILE_AREA: usize = 1 << 20;

/// Opens a slide and reads a region of its levels; decodes it as an image.
pub fn slide(data: &[u8]) {
    let Ok(reader) = SlideReader::open(Box::new(data.to_vec())) else { return };
    for (i, level) in reader.slide.levels.iter().enumerate().take(MAX_LEVELS) {
        if level.tile_width * level.tile_height <= MAX_TILE_AREA {
            let width = level.width.min(REGION_PX);
            let height = level.height.min(REGION_PX);
            drop(reader.region(i, 0, 0, width, height));
        }
    }
    drop(read_picture(data, DecodeLimits::default()));
}

/// Reads outlines of any format. Once they are valid they must be as many after writing, and valid,
/// as XML and as GeoJSON.
pub fn annotations(data: &[u8]) {
    let Ok(mut read) = read_outlines(data) else { return };
    drop(draw_outlines(&read, 64, 64, 0.0));
    drop(read.make_valid());
    let xml = write_imagescope(&read, read.mpp_um).expect("what was read can be written");
    let again = read_outlines(&xml).expect("what was written can be read");
    assert_eq!(again.objects.len(), read.objects.len());
    let mut text = Vec::new();
    write_geojson(&read, None, &mut text).expect("what was read can be written");
    let again = read_outlines(&text).expect("what was written can be read");
    assert_eq!(again.objects.len(), read.objects.len());
    for object in &again.objects {
        assert!(outlines::polygons_are_valid(&object.polygons, 1e6));
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
