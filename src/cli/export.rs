//! `prunella export` and `prunella import`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::page::{no_page, page_files, page_folder};
use crate::dataset::phantom;
use crate::engine::{Control, SegmentOptions, segment};
use crate::error::{Error, Result};
use crate::export::{
    LinkPrecision, MAX_CHARACTERS, OnnxForm, from_link, quantised, to_html, to_link, to_onnx,
};
use crate::metrics::PixelCounts;
use crate::model::{Family, Model, Precision};
use crate::platform::{read_file, write_atomic};

/// Side of the procedural field on which a quantised model is compared with itself, pixels.
const COMPARED_PX: usize = 256;

/// Write a model for other programs or other people.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella export models/dcnn-90.safetensors --onnx --dense --out nuclei.onnx
  prunella export dccn.safetensors --onnx
  prunella export smallest.safetensors --link
  prunella export smallest.safetensors --html --out nuclei.html")]
#[command(group(clap::ArgGroup::new("format").required(true).args(["onnx", "link", "html"])))]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct ExportArguments {
    model: PathBuf,
    /// ONNX, opset 17: patches of 3×55×55 (RGB / 255) in, logits out.
    #[arg(long)]
    onnx: bool,
    /// With --onnx: a whole image with 27 mirrored pixels around it in, a map of logits out (DCNN
    /// only).
    #[arg(long, requires = "onnx")]
    dense: bool,
    /// The model inside a link's fragment, '#m=…', on standard output.
    #[arg(long)]
    link: bool,
    /// The page and the model in one HTML file that runs from a disk or a mail.
    #[arg(long)]
    html: bool,
    /// With --html: folder of the built page [default: 'page' beside the program].
    #[arg(long, requires = "html")]
    page: Option<PathBuf>,
    /// With --link: how weights travel.
    #[arg(long, value_enum, default_value_t = PrecisionName::Int8, requires = "link")]
    precision: PrecisionName,
    /// Where the file goes [default: the model's name with the format's ending].
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// [`LinkPrecision`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionName {
    Int8,
    F16,
}

/// Give the model in a link back as a file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella import 'https://example.org/#m=UAEA…' --out model.safetensors
  prunella import @link.txt --out model.safetensors")]
pub struct ImportArguments {
    /// The link, or @FILE with the link in it.
    link: String,
    #[arg(long, short)]
    out: PathBuf,
}

/// `prunella export`.
pub fn export(arguments: &ExportArguments, output: Output) -> Result<CommandOutcome> {
    let model = Model::load(&arguments.model)?;
    match arguments {
        a if a.link => link(a, &model, output),
        a if a.html => html(a, &model, output),
        a => onnx(a, &model, output),
    }
}

fn html(arguments: &ExportArguments, model: &Model, output: Output) -> Result<CommandOutcome> {
    let folder = page_folder(arguments.page.as_deref()).ok_or_else(no_page)?;
    let text = to_html(&page_files(&folder)?, model)?;
    let path = arguments.out.clone().unwrap_or_else(|| arguments.model.with_extension("html"));
    write_atomic(&path, text.as_bytes())?;
    let said =
        format!("{} ({} bytes); it needs no other file and no network", path.display(), text.len());
    output.result(&json!({ "file": path, "bytes": text.len() }), &said)?;
    Ok(CommandOutcome::Done)
}

fn onnx(arguments: &ExportArguments, model: &Model, output: Output) -> Result<CommandOutcome> {
    let form = if arguments.dense { OnnxForm::Dense } else { OnnxForm::Patch };
    let bytes = to_onnx(model, form)?;
    let path = arguments.out.clone().unwrap_or_else(|| arguments.model.with_extension("onnx"));
    write_atomic(&path, &bytes)?;
    let text = format!("{} ({} bytes)", path.display(), bytes.len());
    output
        .result(&json!({ "file": path, "bytes": bytes.len(), "dense": arguments.dense }), &text)?;
    Ok(CommandOutcome::Done)
}

fn link(arguments: &ExportArguments, model: &Model, output: Output) -> Result<CommandOutcome> {
    let precision = match arguments.precision {
        PrecisionName::Int8 => LinkPrecision::Int8,
        PrecisionName::F16 => LinkPrecision::F16,
    };
    let text = to_link(model, precision)?;
    let dice = agreement(model, &quantised(model, precision)?)?;
    let known = dice.map_or("no nuclei to compare".to_owned(), |d| {
        format!("Dice {d:.4} with the model itself")
    });
    output.remark(&format!(
        "{} parameters in {} characters; {known} on procedural tissue",
        model.graph().parameters(),
        text.len()
    ));
    let value = json!({
        "link": text, "characters": text.len(), "parameters": model.graph().parameters(), "dice_with_unquantised": dice,
    });
    output.result(&value, &text)?;
    Ok(CommandOutcome::Done)
}

/// Dice of the two models' masks on a procedural field; none where neither finds anything.
fn agreement(model: &Model, other: &Model) -> Result<Option<f64>> {
    let image = phantom::tile(COMPARED_PX, COMPARED_PX, 1).image;
    // The DCCN evaluates patch by patch: a grid says enough.
    let options = SegmentOptions {
        stride: if model.card().architecture.family() == Family::Dccn { 8 } else { 1 },
        block_px: None,
    };
    let control = Control { cancel: Some(stop_flag()), ..Control::default() };
    let one = segment(model, &image, options, &control)?;
    let two = segment(other, &image, options, &control)?;
    Ok(PixelCounts::of(&two, &one.map(|p| p > 0.5), 0.5)?.scores().dice)
}

/// `prunella import`.
pub fn import(arguments: &ImportArguments, output: Output) -> Result<CommandOutcome> {
    let text = match arguments.link.strip_prefix('@') {
        Some(path) => String::from_utf8(read_file(Path::new(path), MAX_CHARACTERS as u64)?)
            .map_err(|_| Error::malformed("The file holds no link: it is not text"))?,
        None => arguments.link.clone(),
    };
    let model = from_link(&text)?;
    model.save(&arguments.out, Precision::F32)?;
    let said = format!("{} ({} parameters)", arguments.out.display(), model.graph().parameters());
    let value = json!({ "model": arguments.out, "parameters": model.graph().parameters(), "fingerprint": model.fingerprint() });
    output.result(&value, &said)?;
    Ok(CommandOutcome::Done)
}
