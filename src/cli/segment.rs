//! `prunella segment`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::output::{Output, stop_flag};
use crate::engine::{Choice, Control, Device, SegmentOptions, segment_on};
use crate::error::{At as _, Error, Report, Result};
use crate::model::Model;
use crate::platform::{read_file, write_atomic};
use crate::raster::{
    DecodeLimits, ProbabilityMap, RgbImage, decode_image, encode_mask_png, encode_probability_png, encode_rgb_png,
    label_components, outline_mask, overlay,
};

/// Largest image file.
const MAX_IMAGE_BYTES: u64 = 2_000_000_000;
/// Colour of outlines in overlays.
pub const OUTLINE: [u8; 3] = [0, 255, 64];

/// Segment images: for each a probability map, a mask and an overlay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella segment field.tif --model models/dcnn-50.safetensors --out result
  prunella segment a.png b.jpg --model dccn.safetensors --stride 4 --out result")]
pub struct SegmentArguments {
    /// PNG, JPEG or TIFF files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[arg(long, short)]
    model: PathBuf,
    /// Folder for the results.
    #[arg(long, short)]
    out: PathBuf,
    #[command(flatten)]
    how: EngineArguments,
}

/// How a model is run over images.
#[derive(Debug, Args)]
pub struct EngineArguments {
    /// A pixel is nucleus when its probability is above this.
    #[arg(long, default_value_t = 0.5)]
    pub threshold: f32,
    /// Evaluate every N-th pixel and interpolate (DCCN only; 1 is exact).
    #[arg(long, default_value_t = 1)]
    pub stride: usize,
    /// Side of the blocks worked on at a time, pixels; bounds memory, changes no result.
    #[arg(long)]
    pub block: Option<usize>,
    /// auto (a real GPU that computes right and is faster, else the CPU), cpu, gpu, or gpu:N as 'prunella devices' lists them.
    #[arg(long, default_value = "auto")]
    pub device: Choice,
}

impl EngineArguments {
    /// Refuses a threshold that is no probability.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn options(&self) -> Result<SegmentOptions> {
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(Error::mismatch("The threshold must be between 0 and 1"));
        }
        Ok(SegmentOptions { stride: self.stride, block_px: self.block })
    }

    /// Opens the device and proves it on `model`; says what was passed over.
    ///
    /// # Errors
    /// When a GPU was demanded and none computes right.
    pub fn open(&self, model: &Model, output: Output) -> Result<Device> {
        let mut report = Report::default();
        let device = pollster::block_on(Device::open(self.device, model, &mut report));
        report.notes.iter().for_each(|n| output.remark(n));
        device
    }
}

#[derive(Debug, Serialize)]
struct ImageResult {
    image: PathBuf,
    width: usize,
    height: usize,
    cell_fraction: f64,
    milliseconds: f64,
    probability: PathBuf,
    mask: PathBuf,
    overlay: PathBuf,
}

/// `prunella segment`.
pub fn segment_images(arguments: &SegmentArguments, output: Output) -> Result<Outcome> {
    let model = Model::load(&arguments.model)?;
    let device = arguments.how.open(&model, output)?;
    let names = result_names(&arguments.images)?;
    let mut results = Vec::new();
    for (path, name) in arguments.images.iter().zip(names) {
        let image = decode_image(&read_file(path, MAX_IMAGE_BYTES)?, DecodeLimits::default()).at(path)?;
        let (map, milliseconds) = timed_segment(&model, &device, &image, &arguments.how, output, &name)?;
        let files = write_pictures(&arguments.out, &name, &image, &map, arguments.how.threshold)?;
        let cells = map.data().iter().filter(|&&p| p > arguments.how.threshold).count();
        results.push(ImageResult {
            image: path.clone(),
            width: image.width(),
            height: image.height(),
            cell_fraction: cells as f64 / map.data().len() as f64,
            milliseconds,
            probability: files[0].clone(),
            mask: files[1].clone(),
            overlay: files[2].clone(),
        });
    }
    let line = |r: &ImageResult| {
        let (share, ms) = (r.cell_fraction * 100.0, r.milliseconds);
        format!("{}: {share:.1} % nuclei in {ms:.0} ms → {}\n", r.image.display(), r.overlay.display())
    };
    output.result(&serde_json::json!({ "images": results }), &results.iter().map(line).collect::<String>())?;
    Ok(Outcome::Done)
}

/// Segments one image behind a progress bar; also says how long it took.
///
/// # Errors
/// Those of [`segment`].
pub fn timed_segment(
    model: &Model,
    device: &Device,
    image: &RgbImage,
    how: &EngineArguments,
    output: Output,
    name: &str,
) -> Result<(ProbabilityMap, f64)> {
    let bar = output.bar(1, name);
    let progress = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message("segmenting");
    };
    let control = Control { cancel: Some(stop_flag()), progress: Some(&progress), ..Control::default() };
    let begun = Instant::now();
    let mut report = Report::default();
    let map = pollster::block_on(segment_on(device, model, image, how.options()?, &control, &mut report))?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    bar.finish_and_clear();
    report.notes.iter().for_each(|n| output.remark(n));
    Ok((map, milliseconds))
}

/// One name a result; two images of the same name would overwrite each other.
fn result_names(images: &[PathBuf]) -> Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    let name = |path: &PathBuf| {
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if seen.insert(stem.clone()) {
            return Ok(stem);
        }
        Err(Error::mismatch(format!("Two images are named '{stem}'; their results would overwrite each other")))
    };
    images.iter().map(name).collect()
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
    threshold: f32,
) -> Result<[PathBuf; 3]> {
    let mask = map.map(|p| p > threshold);
    let drawn = overlay(image, &outline_mask(&label_components(&mask)), OUTLINE);
    let files = ["probability", "mask", "overlay"].map(|what| folder.join(format!("{name}.{what}.png")));
    write_atomic(&files[0], &encode_probability_png(map)?)?;
    write_atomic(&files[1], &encode_mask_png(&mask)?)?;
    write_atomic(&files[2], &encode_rgb_png(&drawn)?)?;
    Ok(files)
}
