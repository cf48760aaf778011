//! `prunella slide`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use super::output_files::check_outputs;
use super::slide_plan::{SlidePlanArguments, plan};
use super::slide_run::segment_slides;
use super::slide_segment::SlideSegmentArguments;
use crate::error::{Error, Result, counted};
use crate::picture::{first_bytes, foreign_format, is_picture, is_tiff};
use crate::platform::write_atomic;
use crate::raster::encode_rgb_png;
use crate::slide::SlideReader;

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
    Plan(SlidePlanArguments),
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
        SlideTask::Segment(a) => segment_slides(a, output),
        SlideTask::Plan(a) => plan(a, output),
    }
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
