//! The crate's readers, taken by path: a build with coverage that leaves Burn out takes a minute
//! instead of half an hour.

#![allow(dead_code, unused_imports)]

#[path = "../../src/dataset/mod.rs"]
pub mod dataset;
#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/export/mod.rs"]
pub mod export;
#[path = "../../src/instances/mod.rs"]
pub mod instances;
#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/platform/mod.rs"]
pub mod platform;
#[path = "../../src/raster/mod.rs"]
pub mod raster;
#[path = "../../src/slide/mod.rs"]
pub mod slide;

/// Side of the pieces that are read, pixels.
const PIECE_PX: usize = 256;

/// Opens a slide and reads a piece of every level.
pub fn slide(data: &[u8]) {
    let Ok(reader) = slide::SlideReader::open(Box::new(data.to_vec())) else { return };
    for level in 0..reader.slide.levels.len().min(4) {
        let own = &reader.slide.levels[level];
        // Large tiles are legal and slow; what is wrong with them shows in small ones.
        if own.tile_width * own.tile_height <= 1 << 20 {
            let size = (own.width.min(PIECE_PX), own.height.min(PIECE_PX));
            drop(reader.region(level, 0, 0, size.0, size.1));
        }
    }
    drop(raster::decode_image(data, raster::DecodeLimits::default()));
}

/// Outlines as XML and as GeoJSON, and XML written again.
pub fn annotations(data: &[u8]) {
    if let Ok((regions, mpp)) = dataset::parse_imagescope(data) {
        drop(dataset::rasterise(&regions, 64, 64, 0.0));
        let text = dataset::write_imagescope(&regions, mpp).expect("what was read can be written");
        let (again, _) = dataset::parse_imagescope(&text).expect("what was written can be read");
        assert_eq!(again.len(), regions.len());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        drop(instances::polygons(text));
    }
}

/// A model file, and again as it is written.
pub fn model(data: &[u8]) {
    if let Ok(model) = model::Model::from_bytes(data, model::FileLimits::default()) {
        let bytes = model.to_bytes(model::Precision::F32).expect("what was read can be written");
        model::Model::from_bytes(&bytes, model::FileLimits::default()).expect("what was written can be read");
    }
}

/// A link's payload.
pub fn link(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(export::from_link(text));
    }
}
