//! Segments an image and writes its nuclei as GeoJSON for QuPath:
//!
//! `cargo run --release --example segment_image -- MODEL.safetensors IMAGE.png NUCLEI.geojson`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prunella::engine::{Control, DeviceChoice, SegmentOptions, Segmenter};
use prunella::error::{Error, Result, Warnings};
use prunella::instances::{Provenance, label_nuclei, measure_nuclei, type_bytes, write_nuclei};
use prunella::model::{Model, NucleusType};
use prunella::picture::read_picture;
use prunella::platform::{read_file, write_atomic};
use prunella::raster::DecodeLimits;

/// Largest image file.
const MAX_BYTES: u64 = 1_000_000_000;

fn main() -> Result<()> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model, image, geojson] = files.as_slice() else {
        return Err(Error::mismatch("Give a model, an image and the GeoJSON file to write"));
    };
    let count = segment_image(model, image, geojson)?;
    println!("{count} nuclei");
    Ok(())
}

/// Returns the number of nuclei.
pub fn segment_image(model: &Path, image: &Path, geojson: &Path) -> Result<usize> {
    let model = Arc::new(Model::load(model)?);
    let image = read_picture(&read_file(image, MAX_BYTES)?, DecodeLimits::default())?.image;

    // A segmenter is prepared once and used for any number of images. On a GPU that fails, the CPU
    // takes over; the warnings say so.
    let mut warnings = Warnings::default();
    let opened = Segmenter::open(Arc::clone(&model), DeviceChoice::Auto, &mut warnings);
    let segmenter = pollster::block_on(opened)?;
    let options = SegmentOptions::default();
    let control = Control::default();
    let run = segmenter.segment(&image, options, &control, &mut warnings);
    let probabilities = pollster::block_on(run)?.map;
    for warning in &warnings.notes {
        eprintln!("{warning}");
    }

    // From probabilities to a label map, then to outlines with measurements.
    let parameters = model.card().instances;
    let (labels, smooth) = label_nuclei(&probabilities, &parameters)?;
    let types = type_bytes(&probabilities);
    let mpp_um = Some(model.card().mpp_um);
    let all = measure_nuclei(&image, &labels, &smooth, &types, &parameters, mpp_um)?;

    let types = NucleusType::among(&model.card().classes);
    let provenance = Provenance { model: model.fingerprint(), mpp_um, image: None, types };
    let mut text = Vec::new();
    let count = write_nuclei(all, &provenance, &mut text, &mut std::io::sink())?.nuclei;
    write_atomic(geojson, &text)?;
    Ok(count)
}
