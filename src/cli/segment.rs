//! `prunella segment`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::engine::{EngineArguments, timed_segment};
use super::output::Output;
use crate::engine::Device;
use crate::error::{At as _, Error, Result};
use crate::instances::{Provenance, find, nuclei, write_nuclei};
use crate::model::{InstanceParameters, Model};
use crate::platform::{read_file, write_atomic, write_streamed};
use crate::raster::{
    DecodeLimits, LabelMap, OUTLINE, ProbabilityMap, RgbImage, decode_image, encode_label_file, encode_mask_png,
    encode_probability_png, encode_rgb_png, outline_mask, overlay,
};

/// Largest image file.
const MAX_IMAGE_BYTES: u64 = 2_000_000_000;

/// Segment images: nuclei as QuPath GeoJSON, CSV and label map, with probability map, mask and overlay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella segment field.tif --model models/dcnn-50.safetensors --out result
  prunella segment field.tif --model models/dcnn-90.safetensors --mpp 0.25 --out result
  prunella segment a.png b.jpg --model dccn.safetensors --stride 4 --device gpu --out result")]
pub struct SegmentArguments {
    /// PNG, JPEG or TIFF files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[arg(long, short)]
    model: PathBuf,
    /// Folder for the results.
    #[arg(long, short)]
    out: PathBuf,
    /// Pixel size of the images, micrometres; without it lengths are given in pixels.
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
    #[command(flatten)]
    how: EngineArguments,
}

#[derive(Debug, Serialize)]
struct ImageResult {
    image: PathBuf,
    width: usize,
    height: usize,
    nuclei: usize,
    cell_fraction: f64,
    device: String,
    /// Network alone.
    milliseconds: f64,
    /// Objects, measurements and their files.
    instances_milliseconds: f64,
    geojson: PathBuf,
    csv: PathBuf,
    labels: PathBuf,
    probability: PathBuf,
    mask: PathBuf,
    overlay: PathBuf,
}

/// `prunella segment`.
pub fn segment_images(arguments: &SegmentArguments, output: Output) -> Result<Outcome> {
    if arguments.mpp.is_some_and(|m| !(m.is_finite() && m > 0.0)) {
        return Err(Error::mismatch("The pixel size must be a positive number of micrometres"));
    }
    let model = Model::load(&arguments.model)?;
    let names = result_names(&arguments.images)?;
    let device = arguments.how.open(&model, output)?;
    let (mut results, mut failed) = (Vec::new(), 0);
    for (path, name) in arguments.images.iter().zip(names) {
        match segment_one(arguments, path, &name, (&model, &device), output) {
            Ok(result) => results.push(result),
            // The others are still worth having; only a single image's error, or a request to stop, ends the command.
            Err(e) if arguments.images.len() == 1 || matches!(e, Error::Cancelled { .. }) => return Err(e),
            Err(e) => {
                failed += 1;
                output.remark(&format!("left out: {e}"));
            }
        }
    }
    let line = |r: &ImageResult| {
        let (share, ms, more) = (r.cell_fraction * 100.0, r.milliseconds, r.instances_milliseconds);
        let (image, geojson) = (r.image.display(), r.geojson.display());
        format!("{image}: {} nuclei, {share:.1} % of the area, in {ms:.0} + {more:.0} ms → {geojson}\n", r.nuclei)
    };
    let value = serde_json::json!({ "images": results, "failed": failed });
    output.result(&value, &results.iter().map(line).collect::<String>())?;
    if failed == 0 {
        return Ok(Outcome::Done);
    }
    Err(Error::mismatch(format!(
        "{failed} of {} images could not be segmented; the messages above say why",
        arguments.images.len()
    )))
}

fn segment_one(
    arguments: &SegmentArguments,
    path: &Path,
    name: &str,
    (model, device): (&Model, &Device),
    output: Output,
) -> Result<ImageResult> {
    let image = decode_image(&read_file(path, MAX_IMAGE_BYTES)?, DecodeLimits::default()).at(path)?;
    let run = timed_segment(model, device, &image, &arguments.how, output, name)?;
    let parameters = arguments.how.instances(model);
    let provenance = Provenance { model: model.fingerprint(), mpp_um: arguments.mpp };
    let begun = Instant::now();
    let objects = write_objects(&arguments.out, name, &image, &run.map, &parameters, &provenance)?;
    let instances_milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    let [probability, mask, overlay] = write_pictures(&arguments.out, name, &image, &run.map, &objects.labels)?;
    let cells = objects.labels.data().iter().filter(|&&l| l > 0).count();
    Ok(ImageResult {
        image: path.to_path_buf(),
        width: image.width(),
        height: image.height(),
        nuclei: objects.count,
        cell_fraction: cells as f64 / run.map.data().len() as f64,
        device: run.ran_on,
        milliseconds: run.milliseconds,
        instances_milliseconds,
        geojson: objects.geojson,
        csv: objects.csv,
        labels: objects.file,
        probability,
        mask,
        overlay,
    })
}

/// One name a result; two images of the same name would overwrite each other.
fn result_names(images: &[PathBuf]) -> Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    let name = |path: &PathBuf| {
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        // Some file systems know no difference between a and A.
        if seen.insert(stem.to_lowercase()) {
            return Ok(stem);
        }
        Err(Error::mismatch(format!("Two images are named '{stem}'; their results would overwrite each other")))
    };
    images.iter().map(name).collect()
}

struct Objects {
    labels: LabelMap,
    count: usize,
    geojson: PathBuf,
    csv: PathBuf,
    file: PathBuf,
}

/// Finds the nuclei and writes GeoJSON, CSV and label map.
fn write_objects(
    folder: &Path,
    name: &str,
    image: &RgbImage,
    map: &ProbabilityMap,
    parameters: &InstanceParameters,
    provenance: &Provenance,
) -> Result<Objects> {
    let (labels, smooth) = find(map, parameters)?;
    let all = nuclei(image, &labels, &smooth, parameters, provenance.mpp_um)?;
    let [geojson, csv] = ["geojson", "csv"].map(|ending| folder.join(format!("{name}.{ending}")));
    let count = write_streamed(&geojson, |features| {
        write_streamed(&csv, |table| write_nuclei(all, provenance, features, table))
    })?;
    let (bytes, extension) = encode_label_file(&labels)?;
    let file = folder.join(format!("{name}.labels.{extension}"));
    write_atomic(&file, &bytes)?;
    Ok(Objects { labels, count, geojson, csv, file })
}

/// Probability map, mask and overlay as PNG; gives their paths in this order.
///
/// # Errors
/// When they cannot be written.
pub fn write_pictures(
    folder: &Path,
    name: &str,
    image: &RgbImage,
    map: &ProbabilityMap,
    labels: &LabelMap,
) -> Result<[PathBuf; 3]> {
    let drawn = overlay(image, &outline_mask(labels), OUTLINE);
    let files = ["probability", "mask", "overlay"].map(|what| folder.join(format!("{name}.{what}.png")));
    write_atomic(&files[0], &encode_probability_png(map)?)?;
    write_atomic(&files[1], &encode_mask_png(&labels.foreground())?)?;
    write_atomic(&files[2], &encode_rgb_png(&drawn)?)?;
    Ok(files)
}
