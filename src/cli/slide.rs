//! `prunella slide`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::engine::EngineArguments;
use super::output::{Output, stop_flag};
use super::output_files::{
    check_outputs, check_results, check_same_image, image_source, slide_result_name,
};
use super::segment::{counts_of_types, types_in_brackets};
use crate::engine::SegmentOptions;
use crate::error::{Error, ErrorContext as _, Result, counted};
use crate::instances::Provenance;
use crate::model::{Model, NucleusType};
use crate::picture::{first_bytes, foreign_format, is_picture, is_tiff};
use crate::platform::{read_file, write_atomic, write_streamed};
use crate::raster::encode_rgb_png;
use crate::slide::SlideReader;
use crate::whole_slide::{
    BLOCK_PX, BackgroundBlocks, BlockStore, SegmentSettings, SlideRegion, SlideRun, SlideSetup,
    write_finished,
};

/// Smaller blocks would be all context.
const LEAST_BLOCK_PX: usize = 64;
/// Longest GeoJSON of a region.
const MAX_TEXT_BYTES: u64 = 100_000_000;

/// Look at whole slides on disk or by HTTP.
///
/// Aperio SVS, Leica SCN, Philips, Ventana, pyramidal TIFF, OME-TIFF, OME-Zarr.
#[derive(Debug, Args)]
pub(super) struct SlideArguments {
    #[command(subcommand)]
    task: SlideTask,
}

#[derive(Debug, Subcommand)]
enum SlideTask {
    /// Levels, pixel size and tiles of a slide.
    #[command(after_help = "Examples:
  prunella slide info biopsy.svs
  prunella slide info dicom-folder
  prunella slide info https://example.org/biopsy.svs --json
  prunella slide info https://example.org/biopsy.ome.zarr")]
    Info {
        /// File, folder of an OME-Zarr, or http(s) address.
        slide: String,
    },
    Region(RegionArguments),
    Segment(SlideSegmentArguments),
}

/// Find the nuclei of a whole slide: QuPath GeoJSON and CSV in pixels of its finest level.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella slide segment biopsy.svs --model models/open-small.safetensors --out result
  prunella slide segment biopsy.svs --model m.safetensors --region 12000,8000,4000,4000 --out result
  prunella slide segment mosaic.tif --mpp 0.25 --model m.safetensors --out result \\
      --inside annotations.geojson

A killed run goes on where it was when the same command is given again.")]
pub(super) struct SlideSegmentArguments {
    /// File, folder of an OME-Zarr, or http(s) address.
    slide: String,
    #[arg(long, short)]
    model: PathBuf,
    /// Folder for the results.
    #[arg(long, short)]
    out: PathBuf,
    /// Pixel size of the finest level, micrometres [default: what the slide states].
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
    /// Only this rectangle: x,y,width,height in pixels of the finest level.
    #[arg(long, value_name = "X,Y,W,H", conflicts_with = "inside", allow_hyphen_values = true)]
    region: Option<SlideRegion>,
    /// Only inside the polygons of this file: QuPath's annotations as GeoJSON, or XML of
    /// ImageScope, HALO or ASAP.
    #[arg(long, value_name = "FILE")]
    inside: Option<PathBuf>,
    /// Segment blocks without tissue too.
    #[arg(long, alias = "glass")]
    background: bool,
    #[command(flatten)]
    how: EngineArguments,
}

/// Save a rectangle of a slide as PNG.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella slide region biopsy.svs --x 12000 --y 8000 --width 1024 --height 768 --out piece.png
  prunella slide region biopsy.svs --level 2 --width 900 --height 700 --out overview.png")]
struct RegionArguments {
    /// File, folder of an OME-Zarr, or http(s) address.
    slide: String,
    #[arg(long, default_value_t = 0)]
    level: usize,
    /// First column, pixels of the level; may lie outside, where there is glass.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    x: isize,
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    y: isize,
    #[arg(long)]
    width: usize,
    #[arg(long)]
    height: usize,
    #[arg(long, short)]
    out: PathBuf,
}

/// `prunella slide`.
pub(super) fn slide(arguments: &SlideArguments, output: Output) -> Result<CommandOutcome> {
    match &arguments.task {
        SlideTask::Info { slide } => info(slide, output),
        SlideTask::Region(a) => region(a, output),
        SlideTask::Segment(a) => segment_and_print(a, output),
    }
}

/// `prunella slide segment`.
fn segment_and_print(a: &SlideSegmentArguments, output: Output) -> Result<CommandOutcome> {
    let result = segment_slide(a, output)?;
    output.result(&result, &result.describe())?;
    Ok(if result.nuclei == 0 { CommandOutcome::Nothing } else { CommandOutcome::Done })
}

/// Segments a slide into the files that the result names.
///
/// # Errors
/// Those of reading, computing and writing.
pub(super) fn segment_slide(a: &SlideSegmentArguments, output: Output) -> Result<SlideResult> {
    let begun = Instant::now();
    let name = slide_result_name(&a.slide);
    let geojson = a.out.join(format!("{name}.geojson"));
    let csv = a.out.join(format!("{name}.csv"));
    let mut inputs = vec![PathBuf::from(&a.slide), a.model.clone()];
    inputs.extend(a.inside.clone());
    check_results(&[geojson.clone(), csv.clone()], &inputs)?;
    let source = image_source(&a.slide);
    check_same_image(&geojson, &source)?;
    let parts = a.out.join(format!("{name}.parts"));
    check_outputs(&[parts.join("run.txt")], &[])?;
    if geojson.exists() {
        output.remark(&format!("{} exists already and is replaced", geojson.display()));
    }
    let reader = open(&a.slide)?;
    let model = Arc::new(Model::load(&a.model)?);
    reader.slide.notes.iter().for_each(|note| output.remark(&format!("{}: {note}", a.slide)));
    let options = a.how.options()?;
    if options.block_px.is_some_and(|px| px < LEAST_BLOCK_PX) {
        return Err(Error::invalid(format!(
            "Blocks of a slide are at least {LEAST_BLOCK_PX} pixels wide"
        )));
    }
    let mpp_um = pixel_size(a, &reader)?;
    let settings = SegmentSettings {
        parameters: a.how.instances(&model),
        region: a.region(&reader, output)?,
        mpp_um: Some(mpp_um),
        stain: model.card().stain_matching(a.how.stain),
        background: if a.background { BackgroundBlocks::Segment } else { BackgroundBlocks::Skip },
        block_px: options.block_px.unwrap_or(BLOCK_PX),
    };
    let setup = SlideSetup::of_slide(&reader.slide, model.card().mpp_um, settings)?;
    let job = setup.complete(&reader, stop_flag())?;
    if let Some(note) = job.stain_note() {
        output.remark(&format!("{}: {note}", a.slide));
    }
    let segmenter = a.how.open(Arc::clone(&model), output)?;
    let run = SlideRun {
        job: &job,
        source: &reader,
        segmenter: &segmenter,
        options: SegmentOptions { block_px: None, ..options },
        cancel: stop_flag(),
    };
    let identity = identity(&run, &reader)?;
    let store = BlockStore::open(&parts, &identity)?;
    let bar = output.bar(1, &name);
    bar.set_message("blocks");
    let summary = run.fill(&store, &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    summary.warnings.notes.iter().for_each(|note| output.remark(note));
    let provenance = Provenance {
        model: model.fingerprint(),
        mpp_um: Some(mpp_um),
        image: Some(source),
        types: NucleusType::among(&model.card().classes),
    };
    let counts = write_streamed(&geojson, |features| {
        write_streamed(&csv, |table| write_finished(&job, &store, &provenance, features, table))
    })?;
    store.remove();
    Ok(SlideResult {
        slide: a.slide.clone(),
        nuclei: counts.nuclei,
        types: counts_of_types(&provenance.types, &counts),
        blocks: summary.blocks,
        skipped_blocks: summary.skipped,
        resumed_blocks: summary.resumed,
        tissue_share: job.tissue().share(),
        device: segmenter.device().name(),
        mpp_um,
        scale: job.scale(),
        stain_matched: job.stain_lut().is_some(),
        seconds: begun.elapsed().as_secs_f64(),
        read_seconds: summary.seconds.read,
        decode_seconds: reader.decode_secs(),
        network_seconds: summary.seconds.network,
        object_seconds: summary.seconds.objects,
        geojson,
        csv,
    })
}

/// What `slide segment --json` prints, keys in alphabetical order. The stages of reading, network
/// and objects overlap.
#[derive(Debug, Serialize)]
pub(super) struct SlideResult {
    blocks: usize,
    csv: PathBuf,
    /// Of all threads together.
    decode_seconds: f64,
    device: String,
    geojson: PathBuf,
    mpp_um: f64,
    network_seconds: f64,
    pub nuclei: usize,
    object_seconds: f64,
    read_seconds: f64,
    resumed_blocks: usize,
    scale: f64,
    seconds: f64,
    skipped_blocks: usize,
    slide: String,
    stain_matched: bool,
    tissue_share: f64,
    /// Numbers of nuclei of each type, where the model tells several apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<BTreeMap<String, usize>>,
}

impl SlideResult {
    /// A line of the text output.
    pub(super) fn describe(&self) -> String {
        format!(
            "{}: {}{} in {} of {}, {:.1} s (network {:.1}, objects {:.1}; reading \
             beside it {:.1}) → {}",
            self.slide,
            counted(self.nuclei, "nucleus", "nuclei"),
            types_in_brackets(self.types.as_ref()),
            self.blocks - self.skipped_blocks,
            counted(self.blocks, "block", "blocks"),
            self.seconds,
            self.network_seconds,
            self.object_seconds,
            self.read_seconds,
            self.geojson.display()
        )
    }
}

impl SlideSegmentArguments {
    /// All of a slide in a file.
    pub(super) fn of_file(
        slide: &Path,
        model: PathBuf,
        out: PathBuf,
        mpp: Option<f64>,
        how: EngineArguments,
    ) -> Self {
        let slide = slide.to_string_lossy().into_owned();
        Self { slide, model, out, mpp, region: None, inside: None, background: false, how }
    }

    fn region(&self, reader: &SlideReader, output: Output) -> Result<SlideRegion> {
        let region = match (&self.region, &self.inside) {
            (Some(rectangle), _) => rectangle.clone(),
            (None, None) => SlideRegion::Everything,
            (None, Some(file)) => {
                let bytes = read_file(file, MAX_TEXT_BYTES)?;
                let (region, notes) = SlideRegion::from_outlines(&bytes).at(file)?;
                output.warnings(&notes);
                region
            }
        };
        if let Some(finest) = reader.slide.levels.first() {
            region.check_within(finest.width, finest.height)?;
        }
        Ok(region)
    }
}

/// Of the finest level, µm.
fn pixel_size(a: &SlideSegmentArguments, reader: &SlideReader) -> Result<f64> {
    let mpp = a.mpp.or(reader.slide.mpp_um).ok_or_else(|| {
        Error::invalid("The slide states no pixel size; give it with --mpp, in micrometres")
            .at(&a.slide)
    })?;
    if mpp.is_finite() && mpp > 0.0 {
        return Ok(mpp);
    }
    Err(Error::invalid("The pixel size must be a positive number of micrometres"))
}

/// All that decides a block's nuclei: finished blocks of another run are not taken.
fn identity(run: &SlideRun<'_>, reader: &SlideReader) -> Result<String> {
    let settings = run.job.settings();
    Ok(format!(
        "prunella {} {} {} {:?} {:?} {} {} {} {} {} {:?}\n",
        env!("CARGO_PKG_VERSION"),
        run.segmenter.model().fingerprint(),
        reader.identity()?,
        settings.parameters,
        settings.region,
        run.job.scale(),
        settings.block_px,
        run.options.stride,
        settings.background == BackgroundBlocks::Segment,
        settings.mpp_um.unwrap_or_default(),
        run.job.stain_lut(),
    ))
}

fn info(place: &str, output: Output) -> Result<CommandOutcome> {
    let reader = open(place)?;
    let slide = &reader.slide;
    let level = |(i, l): (usize, &crate::slide::SlideLevel)| {
        json!({
            "width": l.width, "height": l.height, "downsample": slide.downsample(i),
            "tile_width": l.tile_width, "tile_height": l.tile_height,
            "packing": format!("{:?}", l.compression),
        })
    };
    let sides = slide.pixel_size_um;
    let value = json!({
        "kind": slide.format, "mpp_um": slide.mpp_um,
        "mpp_x_um": sides.map(|size| size.x), "mpp_y_um": sides.map(|size| size.y),
        "magnification": slide.magnification,
        "associated_images": slide.associated_images, "set_aside": slide.associated_images,
        "levels_set_aside": slide.levels_set_aside, "notes": slide.notes,
        "levels": slide.levels.iter().enumerate().map(level).collect::<Vec<_>>(),
    });
    let mpp = match sides {
        Some(size) if size.note().is_some() => format!("{} × {} µm a pixel", size.x, size.y),
        Some(size) => format!("{} µm a pixel", size.mean()),
        None => "pixel size not stated".to_owned(),
    };
    let others = counted(slide.associated_images, "other image", "other images");
    let mut text = format!("{:?}, {mpp}, {others}\n", slide.format);
    for (i, l) in slide.levels.iter().enumerate() {
        text += &format!(
            "level {i}: {} × {} pixels, 1:{:.2}, tiles of {} × {}, {:?}\n",
            l.width,
            l.height,
            slide.downsample(i),
            l.tile_width,
            l.tile_height,
            l.compression
        );
    }
    for note in &slide.notes {
        text += &format!("note: {note}\n");
    }
    output.result(&value, &text)?;
    Ok(CommandOutcome::Done)
}

fn region(a: &RegionArguments, output: Output) -> Result<CommandOutcome> {
    check_outputs(std::slice::from_ref(&a.out), &[PathBuf::from(&a.slide)])?;
    let image = open(&a.slide)?.region(a.level, a.x, a.y, a.width, a.height)?;
    write_atomic(&a.out, &encode_rgb_png(&image)?)?;
    output.result(&json!({ "image": a.out }), &a.out.display().to_string())?;
    Ok(CommandOutcome::Done)
}

/// Opens a slide and names it in errors.
///
/// # Errors
/// Those of the source; whatever the file does wrong.
pub(super) fn open(place: &str) -> Result<SlideReader> {
    let opened = SlideReader::open_at(place);
    opened.map_err(|error| no_slide(Path::new(place)).unwrap_or(error).at(place))
}

/// What a file is that is no slide, where it is recognised.
fn no_slide(path: &Path) -> Option<Error> {
    if path.is_dir() {
        return None;
    }
    let first = first_bytes(path).ok()?;
    let foreign = foreign_format(&first, path.to_str());
    if foreign.is_none() && !is_tiff(&first) && is_picture(&first) {
        return Some(Error::unsupported(
            "The file is a picture, not a slide; 'prunella segment' takes it",
        ));
    }
    foreign
}
