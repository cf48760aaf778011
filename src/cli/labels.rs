//! What a person marked in images: `finetune --labels`, `evaluate --labels`, `data check FILE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::engine::{EngineArguments, ImageRunner, ViewArguments};
use super::output::{Output, stop_flag};
use super::output_files::check_outputs;
use super::segment::is_slide;
use super::train::save_or_rescue;
use crate::dataset::{LabelMark, PIXEL_SIZES_UM, SparseLabels, UNKNOWN, tissue_crops};
use crate::error::{Error, ErrorContext as _, Result, counted, listed};
use crate::instances::label_nuclei;
use crate::metrics::{PixelCounts, PixelScores, match_objects};
use crate::model::{InstanceParameters, Model, sha256_hex};
use crate::picture::read_picture;
use crate::platform::{read_file, seconds};
use crate::raster::{DecodeLimits, StainMatching, StainMode};
use crate::review::{MarkedImage, with_types_of};
use crate::slide::SlideReader;
use crate::train::{
    TaughtModel, TeachJob, TeachOutcome, TeachRecipe, check_border, teach, with_border_class,
};
use crate::whole_slide::{
    BLOCK_PX, BackgroundBlocks, Sampling, SegmentSettings, SlideRegion, SlideSetup,
};

/// Largest file of an image or of marks.
const MAX_FILE_BYTES: u64 = 2_000_000_000;
/// Most types that a message names.
const MAX_NAMED: usize = 5;

/// Marks and the images that they belong to.
#[derive(Debug, Args)]
pub(super) struct LabelArguments {
    /// What a person marked in an image, instead of tiles whose every pixel is labelled: GeoJSON,
    /// as QuPath exports annotations. Outlines are nuclei, of the class background or other none;
    /// lines are strokes; what lies in a Region* is complete; the rest is unknown. Give --image
    /// with each.
    #[arg(long, value_name = "GEOJSON", requires = "image", conflicts_with = "data")]
    pub labels: Vec<PathBuf>,
    /// The image or slide that --labels belong to, in the same order. Of slides only what lies
    /// around marks is read.
    #[arg(long, value_name = "IMAGE", requires = "labels")]
    pub image: Vec<PathBuf>,
    /// Pixel size of the images with --labels, micrometres [default: what each file states].
    #[arg(long, value_name = "UM", requires = "labels")]
    pub image_mpp: Option<f64>,
    /// Take marks of every class for nuclei of one type, instead of telling the classes apart.
    #[arg(long, requires = "labels")]
    pub one_type: bool,
}

/// How a model learns from marks.
#[derive(Debug, Args)]
pub(super) struct TeachArguments {
    /// With --labels: steps of learning.
    #[arg(long, default_value_t = TeachRecipe::DEFAULT.steps, requires = "labels")]
    steps: u64,
    /// With --labels: weight of pixels that nobody marked, where the model stays as it was,
    /// relative to marked ones. More changes less.
    #[arg(
        long,
        default_value_t = TeachRecipe::DEFAULT.distill,
        requires = "labels",
        value_name = "WEIGHT"
    )]
    keep: f64,
    /// With --labels: share of the marks, 0 to 0.5, that are not learned but decide when to stop.
    #[arg(
        long,
        default_value_t = TeachRecipe::DEFAULT.held_back,
        requires = "labels",
        value_name = "SHARE"
    )]
    hold_back: f64,
}

impl LabelArguments {
    /// Whether there are any.
    pub(super) fn are_given(&self) -> bool {
        !self.labels.is_empty()
    }

    /// The files that are read.
    fn files(&self) -> Vec<PathBuf> {
        [self.labels.clone(), self.image.clone()].concat()
    }

    /// Reads all pairs as a model sees them.
    fn read(&self, model: &Model, stain: StainMode, output: Output) -> Result<Vec<MarkedImage>> {
        if self.labels.len() != self.image.len() {
            return Err(Error::invalid(format!(
                "{} --labels and {} --image: give each file of marks its image",
                self.labels.len(),
                self.image.len()
            )));
        }
        if self.image_mpp.is_some_and(|mpp| !PIXEL_SIZES_UM.contains(&mpp)) {
            return Err(Error::invalid(format!(
                "The pixel size (--image-mpp) must be between {} and {} µm",
                PIXEL_SIZES_UM.start(),
                PIXEL_SIZES_UM.end()
            )));
        }
        let model_mpp = model.card().mpp_um;
        let stain = &model.card().stain_matching(stain);
        let mut images = Vec::with_capacity(self.image.len());
        for (labels, image) in self.labels.iter().zip(&self.image) {
            let labels = self.read_labels(labels, output)?;
            let read = if is_slide(image) {
                self.read_slide(image, labels, model_mpp, stain, output)
            } else {
                self.read_image(image, labels, model_mpp, stain, output)
            };
            images.push(read.at(image)?);
        }
        Ok(images)
    }

    fn read_labels(&self, path: &Path, output: Output) -> Result<SparseLabels> {
        let (labels, notes) = SparseLabels::read(&read_file(path, MAX_FILE_BYTES)?).at(path)?;
        for note in &notes.notes {
            output.remark(&format!("{}: {note}", path.display()));
        }
        if labels.marks.is_empty() {
            return Err(Error::mismatch("The file has no marks").at(path));
        }
        Ok(if self.one_type { labels.without_types() } else { labels })
    }

    fn read_slide(
        &self,
        path: &Path,
        labels: SparseLabels,
        model_mpp: f64,
        stain: &StainMatching,
        output: Output,
    ) -> Result<MarkedImage> {
        let reader = SlideReader::open_at(&path.to_string_lossy())?;
        let mpp_um = self.image_mpp.or(reader.slide.mpp_um).ok_or_else(|| {
            Error::mismatch("The slide does not state its pixel size; --image-mpp does")
        })?;
        let settings = SegmentSettings {
            parameters: InstanceParameters::default(),
            region: SlideRegion::Everything,
            mpp_um: Some(mpp_um),
            stain: *stain,
            background: BackgroundBlocks::Skip,
            block_px: BLOCK_PX,
        };
        // The stain is that of the whole slide, as 'slide segment' measures it.
        let setup = SlideSetup::of_slide(&reader.slide, model_mpp, settings)?;
        let job = setup.complete(&reader, stop_flag())?;
        let mut marked = planned(labels, job.sampling(), mpp_um, path, output)?;
        marked.read_pixels(&reader, &job)?;
        Ok(marked)
    }

    fn read_image(
        &self,
        path: &Path,
        labels: SparseLabels,
        model_mpp: f64,
        stain: &StainMatching,
        output: Output,
    ) -> Result<MarkedImage> {
        let bytes = read_file(path, MAX_FILE_BYTES)?;
        let picture = read_picture(&bytes, DecodeLimits::default())?;
        let name = name_of(path);
        for note in &picture.notes.notes {
            output.remark(&format!("{name}: {note}"));
        }
        let stated = picture.pixel_size_um.map(|size| size.mean());
        let mpp_um = self.image_mpp.or(stated).unwrap_or_else(|| {
            output.remark(&format!(
                "{name}: the pixel size is not known and taken to be the model's, {model_mpp} µm; \
                 --image-mpp states it"
            ));
            model_mpp
        });
        let size = (picture.image.width(), picture.image.height());
        let sampling = Sampling::of_image(size, mpp_um, model_mpp)?;
        let mut marked = planned(labels, &sampling, mpp_um, path, output)?;
        // The stain is that of the whole image, as 'segment' measures it.
        marked.add_pixels_of(picture.image, &sampling, stain)?;
        marked.sha256 = sha256_hex(&bytes);
        Ok(marked)
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The image with the marks that lie inside it, and a note of the others.
fn planned(
    labels: SparseLabels,
    sampling: &Sampling,
    mpp_um: f64,
    path: &Path,
    output: Output,
) -> Result<MarkedImage> {
    let all = labels.marks.len();
    let mut marked = MarkedImage::plan(labels, sampling, mpp_um)?;
    marked.name = name_of(path);
    if marked.outside > 0 {
        output.remark(&format!(
            "{}: {} of {} lie outside the image and are left out",
            marked.name,
            marked.outside,
            counted(all, "mark", "marks")
        ));
    }
    Ok(marked)
}

/// What `finetune --labels` does.
pub(super) struct TeachRequest<'a> {
    pub model: &'a Path,
    pub out: &'a Path,
    pub labels: &'a LabelArguments,
    pub settings: &'a TeachArguments,
    /// Width of a border class that the model is to get.
    pub border_um: Option<f64>,
    pub seed: u64,
    pub licence: Option<&'a str>,
}

/// `prunella finetune --labels`.
pub(super) fn finetune_on_labels(
    request: &TeachRequest<'_>,
    output: Output,
) -> Result<CommandOutcome> {
    let recipe = TeachRecipe {
        steps: request.settings.steps,
        distill: request.settings.keep,
        held_back: request.settings.hold_back,
        seed: request.seed,
        ..TeachRecipe::DEFAULT
    };
    recipe.validate()?;
    let mut read = request.labels.files();
    read.push(request.model.to_path_buf());
    check_outputs(&[request.out.to_path_buf()], &read)?;
    let mut start = Model::load(request.model)?;
    if let Some(border_um) = request.border_um {
        check_border(border_um)?;
        if !start.card().has_border() {
            start = with_border_class(&start)?;
        }
        start.card_mut().border_um = Some(border_um);
    }
    let marked = request.labels.read(&start, StainMode::Auto, output)?;
    let start = with_types(start, &marked, output)?;
    let mut images = Vec::new();
    for image in &marked {
        images.extend(image.taught(&start)?);
    }
    let rehearsal = tissue_crops::rehearsal(start.card().mpp_um)?;
    let job = TeachJob {
        start: &start,
        images: &images,
        rehearsal: &rehearsal,
        recipe: &recipe,
        before: None,
    };
    let bar = output.bar(recipe.steps, "Teaching");
    let began = seconds();
    let mut taught = teach(job, &mut |step| {
        bar.set_position(step.done);
        bar.set_message(format!("loss {:.4}", step.loss));
        !stop_flag().load(Ordering::Relaxed)
    })?;
    bar.finish_and_clear();
    if let Some(licence) = request.licence {
        taught.model.card_mut().licence = Some(licence.to_owned());
    }
    save_or_rescue(&taught.model, request.out)?;
    report(&taught, request.out, seconds() - began, output)
}

/// The model with the types of nuclei that marks name and it does not know.
fn with_types(model: Model, marked: &[MarkedImage], output: Output) -> Result<Model> {
    const ONE_TYPE: &str = "--one-type takes all marks for nuclei of one type";
    let (extended, added) = with_types_of(model, marked.iter().map(|image| &image.labels))
        .map_err(|error| Error::invalid(format!("{error}. {ONE_TYPE}")))?;
    if !added.is_empty() {
        output.remark(&format!(
            "The model learns {} of nuclei: {}. {ONE_TYPE}",
            counted(added.len(), "new type", "new types"),
            listed(&added, MAX_NAMED)
        ));
    }
    Ok(extended)
}

fn report(
    taught: &TaughtModel,
    out: &Path,
    seconds: f64,
    output: Output,
) -> Result<CommandOutcome> {
    let TaughtModel { model, outcome } = taught;
    let TeachOutcome { best_step, held_back_loss, learned, held_back, .. } = outcome;
    let mut text = format!(
        "{}: learned from {} in {seconds:.1} s",
        out.display(),
        counted(learned.marks, "mark or part of one", "marks and parts of marks")
    );
    text += &format!(
        "; it agreed with {} of them before, and with {} now",
        learned.before, learned.after
    );
    if let Some([before, after]) = held_back_loss {
        text += &format!(
            "; of {} that were held back with {} before and {} now (loss {before:.3}, now \
             {after:.3} after step {best_step})",
            held_back.marks, held_back.before, held_back.after
        );
    }
    let value = json!({
        "model": out, "fingerprint": model.fingerprint(), "seconds": seconds, "learned": learned,
        "held_back": held_back, "held_back_loss": held_back_loss, "step": best_step,
    });
    output.result(&value, &text)?;
    Ok(CommandOutcome::Done)
}

/// Scores of a model on marks.
#[derive(Debug, Serialize)]
struct MarkScores {
    image: String,
    /// Marked pixels.
    marked_px: u64,
    pixels: PixelScores,
    /// Nuclei that are marked.
    nuclei: usize,
    /// Those that are found with an IoU above 0.5.
    found: usize,
    /// Objects that are found where background is marked.
    false_objects: usize,
}

/// `prunella evaluate --labels`.
pub(super) fn evaluate_labels(
    model: &Path,
    arguments: &LabelArguments,
    engine: &EngineArguments,
    views: ViewArguments,
    output: Output,
) -> Result<CommandOutcome> {
    let model = Arc::new(Model::load(model)?);
    let marked = arguments.read(&model, engine.stain, output)?;
    let segmenter = engine.open(Arc::clone(&model), output)?;
    // The windows have the colours already.
    let how = EngineArguments { stain: StainMode::Keep, ..engine.clone() };
    let runner = ImageRunner { segmenter: &segmenter, how: &how, views, output };
    let mut scores = Vec::with_capacity(marked.len());
    let mut all = PixelCounts::default();
    for image in &marked {
        let (score, counts) = score(image, &runner)?;
        all = all.plus(counts);
        scores.push(score);
    }
    let mut text = format!("{:<28} marked px   sens   prec   Dice    acc  found  false\n", "image");
    let score = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.3}"));
    for row in &scores {
        let found = format!("{}/{}", row.found, row.nuclei);
        text += &format!(
            "{:<28} {:>9} {:>6} {:>6} {:>6} {:>6} {found:>6} {:>6}\n",
            row.image,
            row.marked_px,
            score(row.pixels.sensitivity),
            score(row.pixels.precision),
            score(row.pixels.dice),
            score(row.pixels.accuracy),
            row.false_objects
        );
    }
    output.result(&json!({ "all": all.scores(), "images": scores }), &text)?;
    Ok(CommandOutcome::Done)
}

fn score(image: &MarkedImage, runner: &ImageRunner<'_>) -> Result<(MarkScores, PixelCounts)> {
    let model = runner.segmenter.model();
    let threshold = runner.how.pixel_threshold();
    let parameters = runner.how.instances(model);
    let mut counts = PixelCounts::default();
    let mut scores = MarkScores {
        image: image.name.clone(),
        marked_px: 0,
        pixels: counts.scores(),
        nuclei: 0,
        found: 0,
        false_objects: 0,
    };
    // A model that tells fewer types apart is scored on nuclei.
    let untyped = image.labels.clone().without_types();
    for window in image.windows() {
        let targets = match window.targets(&image.labels, model) {
            Err(Error::Mismatch { .. }) => window.targets(&untyped, model)?,
            targets => targets?,
        };
        // Notes on the stain of a window say nothing of the image's.
        let map = runner.run_with(window.pixels, &ProgressBar::hidden())?.map;
        let (labels, _) = label_nuclei(&map, &parameters)?;
        let mut on_background: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
        let pixels = targets.classes.data().iter().zip(map.nucleus().data()).zip(labels.data());
        for ((&class, &probability), &label) in pixels {
            let is_known = class != UNKNOWN;
            if is_known {
                counts.add_probability(probability, class > 0, threshold);
                scores.marked_px += 1;
            }
            if label > 0 {
                let [background, whole] = on_background.entry(label).or_default();
                *background += u64::from(is_known && class == 0);
                *whole += 1;
            }
        }
        scores.false_objects +=
            on_background.values().filter(|[background, whole]| 2 * background > *whole).count();
        let matching = match_objects(&labels, &targets.nuclei)?;
        scores.found += matching.matched.len();
        scores.nuclei += matching.matched.len() + matching.missed.len();
    }
    scores.pixels = counts.scores();
    Ok((scores, counts))
}

/// Whether `data check` is asked about a file of marks.
pub(super) fn is_marks_file(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    matches!(ending.as_deref(), Some("geojson" | "json")) && path.is_file()
}

/// `prunella data check FILE`.
pub(super) fn check_marks(path: &Path, output: Output) -> Result<CommandOutcome> {
    let (labels, notes) = SparseLabels::read(&read_file(path, MAX_FILE_BYTES)?).at(path)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for mark in &labels.marks {
        let what = match mark {
            LabelMark::Stroke { class, .. } => format!("strokes of {class}"),
            LabelMark::Nucleus { class: None, .. } => "nuclei".to_owned(),
            LabelMark::Nucleus { class: Some(class), .. } => format!("nuclei of {class}"),
            LabelMark::Background { .. } => "areas of background".to_owned(),
            LabelMark::Complete { .. } => "complete frames".to_owned(),
            LabelMark::Ignored { .. } => "ignored areas".to_owned(),
        };
        *counts.entry(what).or_default() += 1;
    }
    let mut text = format!("{}\n", counted(labels.marks.len(), "mark", "marks"));
    for (what, count) in &counts {
        text += &format!("  {what}: {count}\n");
    }
    for note in &notes.notes {
        text += &format!("{note}\n");
    }
    output.result(&json!({ "file": path, "marks": counts, "notes": notes.notes }), &text)?;
    Ok(if labels.marks.is_empty() { CommandOutcome::Nothing } else { CommandOutcome::Done })
}
