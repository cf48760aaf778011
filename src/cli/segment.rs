//! `prunella segment`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::CommandOutcome;
use super::engine::{EngineArguments, ImageRunner, ViewArguments};
use super::output::Output;
use super::output_files::{
    check_distinct, check_results, check_same_image, image_source, result_name, slide_result_name,
};
use super::slide_segment::{SlideResult, SlideSegmentArguments, segment_slide};
use crate::engine::{Block, Device};
use crate::error::{Error, ErrorContext as _, Result, counted};
use crate::instances::{
    Nucleus, Provenance, WrittenCounts, draw_nuclei, label_nuclei, measure_nuclei, type_bytes,
    write_nuclei,
};
use crate::model::{Model, NucleusType};
use crate::picture::{first_bytes, is_dicom_slide, is_tiff, read_picture_file};
use crate::platform::{threads, write_atomic, write_streamed};
use crate::raster::{
    DecodeLimits, LabelMap, OUTLINE_COLOUR, ProbabilityMap, RgbImage, encode_mask_png,
    encode_overlay_png, encode_probability_png, encode_result_labels, outline_mask, overlay,
};
use crate::slide::{FileSource, PixelSize, SlideReader, is_slide_folder, is_zarr};
use crate::whole_slide::{Sampling, SlideNucleus};

/// Endings of the results of an image. Labels of more than 65 535 nuclei are a TIFF.
const RESULT_ENDINGS: [&str; 6] =
    ["geojson", "csv", "labels.png", "probability.png", "mask.png", "overlay.png"];
/// Images that a GPU computes at a time: each has buffers of its own there.
const GPU_IMAGES: usize = 2;
/// Files of more bytes are decoded and segmented one at a time.
const LARGE_FILE_BYTES: u64 = 8_000_000;
/// Images of more pixels, at the model's pixel size, are segmented one at a time.
const LARGE_IMAGE_PIXELS: u64 = 4_000_000;

/// Segment images: nuclei as GeoJSON, CSV and label map.
///
/// The GeoJSON opens in QuPath. A probability map, a mask and an overlay are written too.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  prunella segment field.tif --model models/paper-50.safetensors --out result
  prunella segment field.tif --model models/open-small.safetensors --mpp 0.25 --out result
  prunella segment a.png b.jpg --model dccn.safetensors --stride 4 --device gpu --out result")]
pub(super) struct SegmentArguments {
    /// PNG, JPEG, TIFF, JPEG 2000, BMP, GIF or WebP files. Slides are segmented as by 'slide
    /// segment'.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[arg(long, short)]
    model: PathBuf,
    /// Folder for the results.
    #[arg(long, short)]
    out: PathBuf,
    /// Pixel size of the images, micrometres [default: what each file states]. Images are
    /// resampled to the model's; one of unknown pixel size is taken to have that already, and its
    /// lengths are given in pixels.
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
    /// Pixel size; none where it was not known and taken to be the model's.
    mpp_um: Option<f64>,
    nuclei: usize,
    /// Of each type, where the model tells several apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<BTreeMap<String, usize>>,
    cell_fraction: f64,
    device: String,
    /// Whether the network read matched colours instead of the image's own.
    stain_matched: bool,
    /// Network alone; other images may compute beside it.
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

impl ImageResult {
    /// A line of the text output.
    fn describe(&self) -> String {
        format!(
            "{}: {}{}, {:.1} % of the area, in {:.0} + {:.0} ms → {}\n",
            self.image.display(),
            counted(self.nuclei, "nucleus", "nuclei"),
            types_in_brackets(self.types.as_ref()),
            self.cell_fraction * 100.0,
            self.milliseconds,
            self.instances_milliseconds,
            self.geojson.display()
        )
    }
}

/// Numbers of nuclei by the names of their types; none where the model tells none apart.
pub(super) fn counts_of_types(
    types: &[NucleusType],
    counts: &WrittenCounts,
) -> Option<BTreeMap<String, usize>> {
    let named = types.iter().zip(&counts.of_types);
    let named: BTreeMap<_, _> = named.map(|(of, count)| (of.name.clone(), *count)).collect();
    (!named.is_empty()).then_some(named)
}

/// Numbers of nuclei by type as a text behind the number of all.
pub(super) fn types_in_brackets(types: Option<&BTreeMap<String, usize>>) -> String {
    let Some(types) = types.filter(|types| !types.is_empty()) else { return String::new() };
    let parts: Vec<String> = types.iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!(" ({})", parts.join(", "))
}

/// What `segment --json` prints.
#[derive(Debug, Default, Serialize)]
struct SegmentReport {
    /// Number of inputs that could not be segmented.
    failed: usize,
    images: Vec<ImageResult>,
    slides: Vec<SlideResult>,
}

impl SegmentReport {
    /// A line for each input.
    fn describe(&self) -> String {
        let mut text: String = self.images.iter().map(ImageResult::describe).collect();
        for slide in &self.slides {
            text += &format!("{}\n", slide.describe());
        }
        text
    }

    fn nuclei(&self) -> usize {
        self.images.iter().map(|image| image.nuclei).sum::<usize>()
            + self.slides.iter().map(|slide| slide.nuclei).sum::<usize>()
    }
}

/// `prunella segment`. Slides are segmented as by `slide segment`, one after the other behind the
/// images.
pub(super) fn segment_images(
    arguments: &SegmentArguments,
    output: Output,
) -> Result<CommandOutcome> {
    let (slides, images): (Vec<PathBuf>, Vec<PathBuf>) =
        arguments.images.iter().cloned().partition(|path| is_slide(path));
    check_files(arguments, &slides, &images)?;
    if !slides.is_empty() && arguments.views.several() {
        return Err(Error::unsupported(
            "Slides are segmented in one orientation only; leave out --views",
        ));
    }
    let inputs = arguments.images.len();
    let mut report = SegmentReport::default();
    if !images.is_empty() {
        let arguments = SegmentArguments { images, ..arguments.clone() };
        (report.images, report.failed) = segment_fields(&arguments, inputs, output)?;
    }
    for slide in slides {
        output.remark(&format!(
            "{} is a slide and segmented as one: block by block, without pictures of the result",
            slide.display()
        ));
        let SegmentArguments { model, out, mpp, how, .. } = arguments.clone();
        let own = SlideSegmentArguments::of_file(&slide, model, out, mpp, how);
        match segment_slide(&own, output) {
            Ok(result) => report.slides.push(result),
            Err(error) if inputs == 1 || matches!(error, Error::Cancelled { .. }) => {
                return Err(error);
            }
            Err(error) => {
                output.remark(&format!("{}: left out: {error}", slide.display()));
                report.failed += 1;
            }
        }
    }
    output.result(&report, &report.describe())?;
    if report.failed > 0 {
        return Err(Error::mismatch(format!(
            "{} of {inputs} images could not be segmented; see the messages above",
            report.failed
        )));
    }
    Ok(if report.nuclei() == 0 { CommandOutcome::Nothing } else { CommandOutcome::Done })
}

/// Whether a file or folder is a slide: DICOM, an OME-Zarr, a TIFF with a pyramid, or one of more
/// pixels than an image may have.
pub(super) fn is_slide(path: &Path) -> bool {
    let is_folder = is_slide_folder(path) || path.to_str().is_some_and(is_zarr);
    if is_folder || first_bytes(path).is_ok_and(|first| is_dicom_slide(&first)) {
        return true;
    }
    if !first_bytes(path).is_ok_and(|first| is_tiff(&first)) {
        return false;
    }
    let opened = FileSource::open(path).and_then(|file| SlideReader::open(Box::new(file)));
    opened.is_ok_and(|reader| {
        let finest = &reader.slide.levels[0];
        let pixels = finest.width as u64 * finest.height as u64;
        reader.slide.levels.len() > 1
            || finest.is_mosaic()
            || pixels > DecodeLimits::default().max_pixels
    })
}

/// Segments images, some of `inputs`; gives their results and the number of those that failed. The
/// error of a single input is its own.
fn segment_fields(
    arguments: &SegmentArguments,
    inputs: usize,
    output: Output,
) -> Result<(Vec<ImageResult>, usize)> {
    if arguments.mpp.is_some_and(|m| !(m.is_finite() && m > 0.0)) {
        return Err(Error::invalid("The pixel size must be a positive number of micrometres"));
    }
    let model = Arc::new(Model::load(&arguments.model)?);
    let names: Vec<String> = arguments.images.iter().map(|image| result_name(image)).collect();
    let segmenter = arguments.how.open(Arc::clone(&model), output)?;
    let runner =
        ImageRunner { segmenter: &segmenter, how: &arguments.how, views: arguments.views, output };
    let (results, failed) = if inputs == 1 {
        let (image, name) = (&arguments.images[0], &names[0]);
        let result = segment_one(arguments, image, name, &runner, &Feedback::of_one(output, name))?;
        (vec![result], 0)
    } else {
        segment_many(arguments, &names, &runner)?
    };
    if results.iter().any(|result| result.mpp_um.is_none()) {
        output.remark(&format!(
            "The pixel size was not known and taken to be the model's, {} µm; --mpp states it",
            model.card().mpp_um
        ));
    }
    Ok((results, failed))
}

/// Refuses results that would overwrite each other, cannot be written or would replace what is no
/// result.
fn check_files(arguments: &SegmentArguments, slides: &[PathBuf], images: &[PathBuf]) -> Result<()> {
    let mut paths = Vec::new();
    let mut names = Vec::new();
    let mut results = Vec::new();
    for image in images {
        let name = result_name(image);
        for ending in RESULT_ENDINGS {
            results.push(arguments.out.join(format!("{name}.{ending}")));
        }
        paths.push(image.clone());
        names.push(name);
    }
    for slide in slides {
        let name = slide_result_name(&slide.to_string_lossy());
        for ending in ["geojson", "csv"] {
            results.push(arguments.out.join(format!("{name}.{ending}")));
        }
        paths.push(slide.clone());
        names.push(name);
    }
    check_distinct(&paths, &names)?;
    for (path, name) in paths.iter().zip(&names) {
        let geojson = arguments.out.join(format!("{name}.geojson"));
        check_same_image(&geojson, &image_source(&path.to_string_lossy()))?;
    }
    paths.push(arguments.model.clone());
    check_results(&results, &paths)
}

/// Where progress and notes go while an image is worked on.
struct Feedback {
    output: Output,
    bar: ProgressBar,
    /// Progress inside an image; hidden where images are counted.
    image_bar: ProgressBar,
}

impl Feedback {
    fn of_one(output: Output, name: &str) -> Self {
        let bar = output.bar(1, name);
        Self { output, image_bar: bar.clone(), bar }
    }

    fn of_many(output: Output, images: usize) -> Self {
        let bar = output.bar(images as u64, "segment");
        bar.set_message("images");
        Self { output, bar, image_bar: ProgressBar::hidden() }
    }

    fn remark(&self, sentence: &str) {
        self.bar.suspend(|| self.output.remark(sentence));
    }
}

/// Segments several images, as many at a time as there are threads: while the network computes one,
/// others are decoded, measured and written. Large images go one at a time, since each fills the
/// threads itself and takes much memory. Gives the results in order and the number of images that
/// failed.
fn segment_many(
    arguments: &SegmentArguments,
    names: &[String],
    runner: &ImageRunner<'_>,
) -> Result<(Vec<ImageResult>, usize)> {
    let images = &arguments.images;
    let feedback = Feedback::of_many(runner.output, images.len());
    let workers = match runner.segmenter.device() {
        Device::Cpu => threads(),
        Device::Gpu(_) => GPU_IMAGES,
    };
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let cancelled = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(images.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(image) = images.get(index) else { return };
                    match segment_one(arguments, image, &names[index], runner, &feedback) {
                        Ok(result) => {
                            let mut results =
                                results.lock().unwrap_or_else(PoisonError::into_inner);
                            results.insert(index, result);
                        }
                        Err(error @ Error::Cancelled { .. }) => {
                            let mut first =
                                cancelled.lock().unwrap_or_else(PoisonError::into_inner);
                            first.get_or_insert(error);
                            return;
                        }
                        // The others are still worth having.
                        Err(error) => {
                            feedback.remark(&format!("{}: left out: {error}", names[index]));
                        }
                    }
                    feedback.bar.inc(1);
                }
            });
        }
    });
    feedback.bar.finish_and_clear();
    if let Some(error) = cancelled.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = images.len() - results.len();
    Ok((results.into_values().collect(), failed))
}

/// Held while a large image is worked on.
static LARGE_IMAGE: Mutex<()> = Mutex::new(());

fn segment_one(
    arguments: &SegmentArguments,
    path: &Path,
    name: &str,
    runner: &ImageRunner<'_>,
    feedback: &Feedback,
) -> Result<ImageResult> {
    let is_large_file = std::fs::metadata(path).is_ok_and(|m| m.len() > LARGE_FILE_BYTES);
    let mut alone = if is_large_file { LARGE_IMAGE.lock().ok() } else { None };
    let picture = read_picture_file(path, DecodeLimits::default())?;
    for note in &picture.notes.notes {
        feedback.remark(&format!("{name}: {note}"));
    }
    let (mpp_um, note) = pixel_size(arguments.mpp, picture.pixel_size_um);
    if let Some(note) = note {
        feedback.remark(&format!("{name}: {note}"));
    }
    let image = picture.image;
    let model = runner.segmenter.model();
    let model_mpp = model.card().mpp_um;
    let size = (image.width(), image.height());
    let sampling = Sampling::of_image(size, mpp_um.unwrap_or(model_mpp), model_mpp).at(path)?;
    let pixels = sampling.width() as u64 * sampling.height() as u64;
    let limit = DecodeLimits::default().max_pixels;
    if pixels > limit {
        return Err(Error::limit(format!(
            "At the model's pixel size the image has {}×{} pixels, more than the {limit} that are \
             taken; is --mpp right?",
            sampling.width(),
            sampling.height()
        )))
        .at(path);
    }
    if pixels > LARGE_IMAGE_PIXELS && alone.is_none() {
        alone = LARGE_IMAGE.lock().ok();
    }
    // The image at the model's pixel size.
    let work = if sampling.is_same() {
        image.clone()
    } else {
        let (width, height) = (sampling.width(), sampling.height());
        sampling.apply(image.clone(), Block { row: 0, column: 0, width, height })?
    };
    let run = runner.run_with(&work, &feedback.image_bar)?;
    feedback.image_bar.finish_and_clear();
    for note in &run.warnings.notes {
        feedback.remark(&format!("{name}: {note}"));
    }
    let parameters = arguments.how.instances(model);
    let source = Some(image_source(&path.to_string_lossy()));
    let types = NucleusType::among(&model.card().classes);
    let provenance = Provenance { model: model.fingerprint(), mpp_um, image: source, types };
    let begun = Instant::now();
    let (labels, smooth) = label_nuclei(&run.map, &parameters)?;
    let work_mpp = mpp_um.map(|mpp| mpp * sampling.scale);
    let types = type_bytes(&run.map);
    let all = measure_nuclei(&work, &labels, &smooth, &types, &parameters, work_mpp)?;
    // Outlines are written in pixels of the image as it is.
    let mut placed = Vec::new();
    for nucleus in all {
        if sampling.is_same() {
            placed.push(nucleus);
        } else {
            let label = nucleus.label;
            placed.push(SlideNucleus::new(&nucleus, 0, 0, sampling.scale).numbered(label));
        }
    }
    // The nearest pixel of another size would lie up to half a pixel beside the outlines.
    let labels = if sampling.is_same() { labels } else { draw_nuclei(&placed, size.0, size.1) };
    let objects =
        write_objects(&arguments.out, name, placed.iter().cloned(), &labels, &provenance)?;
    let instances_milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    let map = run.map.nucleus().nearest(size.0, size.1);
    let [probability, mask, overlay] = write_pictures(&arguments.out, name, &image, &map, &labels)?;
    let cells = labels.data().iter().filter(|&&l| l > 0).count();
    drop(alone);
    Ok(ImageResult {
        image: path.to_path_buf(),
        width: image.width(),
        height: image.height(),
        mpp_um,
        nuclei: objects.counts.nuclei,
        types: counts_of_types(&provenance.types, &objects.counts),
        cell_fraction: cells as f64 / labels.data().len() as f64,
        device: run.device,
        stain_matched: run.stain_matched,
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

/// Pixel size of an image, µm: as the command line states it, else as its file does. With it a
/// sentence where the file's is used, or differs by more than 5 %.
fn pixel_size(stated: Option<f64>, in_file: Option<PixelSize>) -> (Option<f64>, Option<String>) {
    let in_file = in_file.map(|size| size.mean());
    let note = match (stated, in_file) {
        (Some(stated), Some(own)) if (stated / own - 1.0).abs() > 0.05 => Some(format!(
            "The file states {own:.4} µm a pixel and --mpp {stated} µm; --mpp is used"
        )),
        (None, Some(own)) => Some(format!("The pixel size is {own:.4} µm, as the file states it")),
        _ => None,
    };
    (stated.or(in_file), note)
}

struct Objects {
    counts: WrittenCounts,
    geojson: PathBuf,
    csv: PathBuf,
    file: PathBuf,
}

/// Writes GeoJSON, CSV and label map.
fn write_objects(
    folder: &Path,
    name: &str,
    all: impl Iterator<Item = Nucleus> + Clone,
    labels: &LabelMap,
    provenance: &Provenance,
) -> Result<Objects> {
    let [geojson, csv] = ["geojson", "csv"].map(|ending| folder.join(format!("{name}.{ending}")));
    let counts = write_streamed(&geojson, |features| {
        write_streamed(&csv, |table| write_nuclei(all, provenance, features, table))
    })?;
    let (bytes, extension) = encode_result_labels(labels)?;
    let file = folder.join(format!("{name}.labels.{extension}"));
    write_atomic(&file, &bytes)?;
    Ok(Objects { counts, geojson, csv, file })
}

/// Probability map, mask and overlay as PNG; gives their paths in this order.
///
/// # Errors
/// When they cannot be written.
pub(super) fn write_pictures(
    folder: &Path,
    name: &str,
    image: &RgbImage,
    map: &ProbabilityMap,
    labels: &LabelMap,
) -> Result<[PathBuf; 3]> {
    let drawn = overlay(image, &outline_mask(labels), OUTLINE_COLOUR);
    let files =
        ["probability", "mask", "overlay"].map(|what| folder.join(format!("{name}.{what}.png")));
    write_atomic(&files[0], &encode_probability_png(map)?)?;
    write_atomic(&files[1], &encode_mask_png(&labels.foreground())?)?;
    write_atomic(&files[2], &encode_overlay_png(&drawn)?)?;
    Ok(files)
}
