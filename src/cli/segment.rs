//! `prunella segment`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::CommandOutcome;
use super::engine::{EngineArguments, ViewArguments, timed_segment};
use super::output::Output;
use crate::engine::{Block, Device};
use crate::error::{Error, ErrorContext as _, Result};
use crate::instances::{Nucleus, Provenance, find, nuclei, write_nuclei};
use crate::model::Model;
use crate::platform::{read_file, write_atomic, write_streamed};
use crate::raster::{
    DecodeLimits, LabelMap, OUTLINE, Plane, ProbabilityMap, RgbImage, StainMode, decode_image,
    encode_label_file, encode_mask_png, encode_probability_png, encode_rgb_png, outline_mask,
    overlay,
};
use crate::whole_slide::{Sampling, SlideNucleus};

/// Largest image file.
const MAX_IMAGE_BYTES: u64 = 2_000_000_000;

/// Segment images: nuclei as QuPath GeoJSON, CSV and label map, with probability map, mask and
/// overlay.
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
    /// Pixel size of the images, micrometres. The model sees them at its own; without this they are
    /// taken to have that already, and lengths are given in pixels.
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
    #[command(flatten)]
    how: EngineArguments,
    #[command(flatten)]
    views: ViewArguments,
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
pub fn segment_images(arguments: &SegmentArguments, output: Output) -> Result<CommandOutcome> {
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
            // The others are still worth having; only a single image's error, or a request to stop,
            // ends the command.
            Err(e) if arguments.images.len() == 1 || matches!(e, Error::Cancelled { .. }) => {
                return Err(e);
            }
            Err(e) => {
                failed += 1;
                output.remark(&format!("left out: {e}"));
            }
        }
    }
    if arguments.mpp.is_none() && !results.is_empty() {
        output.remark(&format!(
            "The pixel size was not known and taken to be the model's, {} µm; --mpp states it",
            model.card().mpp_um
        ));
    }
    let line = |r: &ImageResult| {
        let (share, ms, more) = (r.cell_fraction * 100.0, r.milliseconds, r.instances_milliseconds);
        let (image, geojson) = (r.image.display(), r.geojson.display());
        format!(
            "{image}: {} nuclei, {share:.1} % of the area, in {ms:.0} + {more:.0} ms → {geojson}\n",
            r.nuclei
        )
    };
    let value = serde_json::json!({ "images": results, "failed": failed });
    output.result(&value, &results.iter().map(line).collect::<String>())?;
    if failed == 0 {
        return Ok(CommandOutcome::Done);
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
    let image =
        decode_image(&read_file(path, MAX_IMAGE_BYTES)?, DecodeLimits::default()).at(path)?;
    let model_mpp = model.card().mpp_um;
    let size = (image.width(), image.height());
    let sampling =
        Sampling::of_image(size, arguments.mpp.unwrap_or(model_mpp), model_mpp).at(path)?;
    let limit = DecodeLimits::default().max_pixels;
    if sampling.width() as u64 * sampling.height() as u64 > limit {
        return Err(Error::limit(format!(
            "At the model's pixel size the image has {}×{} pixels, more than the {limit} that are taken; is --mpp right?",
            sampling.width(),
            sampling.height()
        )))
        .at(path);
    }
    let whole = Block { row: 0, column: 0, width: sampling.width(), height: sampling.height() };
    let work =
        if sampling.is_same() { image.clone() } else { sampling.apply(image.clone(), whole)? };
    let run = timed_segment(model, device, &work, (&arguments.how, arguments.views), output, name)?;
    if run.stain_matched && arguments.how.stain == StainMode::Auto {
        output.remark(&format!(
            "{name}: the stain is unlike any that the model learned from; its colours are matched"
        ));
    }
    let parameters = arguments.how.instances(model);
    let provenance = Provenance { model: model.fingerprint(), mpp_um: arguments.mpp };
    let begun = Instant::now();
    let (labels, smooth) = find(&run.map, &parameters)?;
    let all =
        nuclei(&work, &labels, &smooth, &parameters, arguments.mpp.map(|m| m * sampling.scale))?;
    // Outlines lie in the image as it is.
    let moved = |n: Nucleus| SlideNucleus::new(&n, 0, 0, sampling.scale).numbered(n.label);
    let placed = all.map(|n| if sampling.is_same() { n } else { moved(n) });
    let labels = enlarged(&labels, size);
    let objects = write_objects(&arguments.out, name, placed, &labels, &provenance)?;
    let instances_milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    let map = enlarged(&run.map, size);
    let [probability, mask, overlay] = write_pictures(&arguments.out, name, &image, &map, &labels)?;
    let cells = labels.data().iter().filter(|&&l| l > 0).count();
    Ok(ImageResult {
        image: path.to_path_buf(),
        width: image.width(),
        height: image.height(),
        nuclei: objects.count,
        cell_fraction: cells as f64 / labels.data().len() as f64,
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
        Err(Error::mismatch(format!(
            "Two images are named '{stem}'; their results would overwrite each other"
        )))
    };
    images.iter().map(name).collect()
}

/// A plane as large as the image again, each pixel the nearest one.
fn enlarged<T: Copy>(plane: &Plane<T>, (width, height): (usize, usize)) -> Plane<T> {
    if (plane.width(), plane.height()) == (width, height) {
        return plane.clone();
    }
    let place = |at: usize, len: usize, own: usize| ((at * 2 + 1) * own / (len * 2)).min(own - 1);
    let first = plane.get(0, 0);
    let mut out = Plane::filled(width, height, first);
    for y in 0..height {
        let row = plane.row(place(y, height, plane.height()));
        out.row_mut(y)
            .iter_mut()
            .enumerate()
            .for_each(|(x, v)| *v = row[place(x, width, plane.width())]);
    }
    out
}

struct Objects {
    count: usize,
    geojson: PathBuf,
    csv: PathBuf,
    file: PathBuf,
}

/// Writes GeoJSON, CSV and label map.
fn write_objects(
    folder: &Path,
    name: &str,
    all: impl Iterator<Item = Nucleus>,
    labels: &LabelMap,
    provenance: &Provenance,
) -> Result<Objects> {
    let [geojson, csv] = ["geojson", "csv"].map(|ending| folder.join(format!("{name}.{ending}")));
    let count = write_streamed(&geojson, |features| {
        write_streamed(&csv, |table| write_nuclei(all, provenance, features, table))
    })?;
    let (bytes, extension) = encode_label_file(labels)?;
    let file = folder.join(format!("{name}.labels.{extension}"));
    write_atomic(&file, &bytes)?;
    Ok(Objects { count, geojson, csv, file })
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
    let files =
        ["probability", "mask", "overlay"].map(|what| folder.join(format!("{name}.{what}.png")));
    write_atomic(&files[0], &encode_probability_png(map)?)?;
    write_atomic(&files[1], &encode_mask_png(&labels.foreground())?)?;
    write_atomic(&files[2], &encode_rgb_png(&drawn)?)?;
    Ok(files)
}
