//! `prunella export` and `prunella import`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::output_files::check_outputs;
use super::page::{no_page, page_files, page_folder};
use crate::dataset::phantom;
use crate::engine::{Control, SegmentOptions, segment};
use crate::error::{Error, Result};
use crate::export::{
    LinkPrecision, MAX_CHARACTERS, OnnxForm, from_link, quantised, rounded, to_html, to_link,
    to_onnx,
};
use crate::metrics::PixelCounts;
use crate::model::{Architecture, Model, Precision};
use crate::platform::{read_file, write_atomic};

/// Side of the procedural tile on which a quantised model is compared with the original, pixels.
const COMPARED_PX: usize = 256;
/// Grid on which DCCNs are compared: all pixels would take minutes.
const DCCN_STRIDE: usize = 8;

/// Write a model as ONNX, as a link, as an HTML page or as a smaller model file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella export models/open-medium.safetensors --onnx --dense --out nuclei.onnx
  prunella export dccn.safetensors --onnx
  prunella export smallest.safetensors --link
  prunella export smallest.safetensors --html --out nuclei.html
  prunella export tuned.safetensors --round 6 --out small.safetensors")]
#[command(group(
    clap::ArgGroup::new("format").required(true).args(["onnx", "link", "html", "round"])
))]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct ExportArguments {
    /// A model file (.safetensors).
    model: PathBuf,
    /// Write ONNX, opset 17. Input: N×3×55×55, RGB / 255. Output: N×2 logits.
    #[arg(long)]
    onnx: bool,
    /// With --onnx, for DCNNs: the input is a whole image with 27 mirrored pixels around it, the
    /// output a map of logits.
    #[arg(long, requires = "onnx")]
    dense: bool,
    /// Print the fragment '#m=…', which contains the model; appended to the page's address it is a
    /// link.
    #[arg(long)]
    link: bool,
    /// Write the page with the model as one HTML file, which runs from a disk or a mail.
    #[arg(long)]
    html: bool,
    /// Write a model file in half precision whose weights keep this many significant bits, 1 to 11:
    /// the fewer, the smaller it is compressed. Scores on the card are left out; measure them with
    /// 'prunella evaluate --record'.
    #[arg(long, value_name = "BITS", requires = "out")]
    round: Option<u32>,
    /// With --html: folder of the built page [default: 'page' beside the program].
    #[arg(long, requires = "html")]
    page: Option<PathBuf>,
    /// With --link: precision of the weights in the link.
    #[arg(long, value_enum, default_value_t = LinkPrecisionName::Int8, requires = "link")]
    precision: LinkPrecisionName,
    /// File to write [default: the model's name with the format's ending].
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// [`LinkPrecision`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LinkPrecisionName {
    /// 8-bit integers with a scale for each filter.
    Int8,
    /// Half precision: twice as long.
    F16,
}

impl From<LinkPrecisionName> for LinkPrecision {
    fn from(name: LinkPrecisionName) -> Self {
        match name {
            LinkPrecisionName::Int8 => Self::Int8,
            LinkPrecisionName::F16 => Self::F16,
        }
    }
}

/// Save the model in a link as a file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella import 'https://example.org/#m=UAEA…' --out model.safetensors
  prunella import @link.txt --out model.safetensors")]
pub(super) struct ImportArguments {
    /// The link, or @FILE with the link in it.
    link: String,
    /// Model file to write (.safetensors).
    #[arg(long, short)]
    out: PathBuf,
}

#[derive(Serialize)]
struct LinkResult<'a> {
    link: &'a str,
    /// Length of the link.
    characters: usize,
    parameters: usize,
    dice_with_unquantised: Option<f64>,
}

/// `prunella export`.
pub(super) fn export(arguments: &ExportArguments, output: Output) -> Result<CommandOutcome> {
    let model = Model::load(&arguments.model)?;
    if let Some(bits) = arguments.round {
        write_rounded(arguments, &model, bits, output)
    } else if arguments.link {
        print_link(arguments, &model, output)
    } else if arguments.html {
        write_html(arguments, &model, output)
    } else {
        write_onnx(arguments, &model, output)
    }
}

impl ExportArguments {
    fn file(&self, ending: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| self.model.with_extension(ending))
    }
}

fn write_html(
    arguments: &ExportArguments,
    model: &Model,
    output: Output,
) -> Result<CommandOutcome> {
    let file = arguments.file("html");
    check_outputs(std::slice::from_ref(&file), std::slice::from_ref(&arguments.model))?;
    let folder = page_folder(arguments.page.as_deref()).ok_or_else(no_page)?;
    let html = to_html(&page_files(&folder)?, model)?;
    write_atomic(&file, html.as_bytes())?;
    let bytes = html.len();
    output.result(
        &json!({ "file": file, "bytes": bytes }),
        &format!("{} ({bytes} bytes); it needs no other file and no network", file.display()),
    )?;
    Ok(CommandOutcome::Done)
}

fn write_onnx(
    arguments: &ExportArguments,
    model: &Model,
    output: Output,
) -> Result<CommandOutcome> {
    let form = if arguments.dense { OnnxForm::Dense } else { OnnxForm::Patch };
    let file = arguments.file("onnx");
    check_outputs(std::slice::from_ref(&file), std::slice::from_ref(&arguments.model))?;
    let onnx = to_onnx(model, form)?;
    write_atomic(&file, &onnx)?;
    let bytes = onnx.len();
    output.result(
        &json!({ "file": file, "bytes": bytes, "dense": arguments.dense }),
        &format!("{} ({bytes} bytes)", file.display()),
    )?;
    Ok(CommandOutcome::Done)
}

#[derive(Serialize)]
struct RoundResult<'a> {
    file: &'a Path,
    bytes: u64,
    significant_bits: u32,
    fingerprint: String,
}

fn write_rounded(
    arguments: &ExportArguments,
    model: &Model,
    significant_bits: u32,
    output: Output,
) -> Result<CommandOutcome> {
    let file = arguments.file("safetensors");
    check_outputs(std::slice::from_ref(&file), std::slice::from_ref(&arguments.model))?;
    let rounded = rounded(model, significant_bits)?;
    rounded.save(&file, Precision::F16)?;
    let result = RoundResult {
        file: &file,
        bytes: std::fs::metadata(&file).map_or(0, |m| m.len()),
        significant_bits,
        fingerprint: rounded.fingerprint(),
    };
    let text = format!(
        "{} ({} bytes); weights have {significant_bits} significant bits",
        file.display(),
        result.bytes
    );
    output.result(&json!(result), &text)?;
    Ok(CommandOutcome::Done)
}

fn print_link(
    arguments: &ExportArguments,
    model: &Model,
    output: Output,
) -> Result<CommandOutcome> {
    let precision = arguments.precision.into();
    let link = to_link(model, precision)?;
    let dice = agreement(model, &quantised(model, precision)?)?;
    let result = LinkResult {
        link: &link,
        characters: link.len(),
        parameters: model.graph().parameters(),
        dice_with_unquantised: dice,
    };
    output.remark(&format!(
        "{} parameters in {} characters; on procedural tissue: {}",
        result.parameters,
        result.characters,
        dice.map_or("no nuclei to compare".to_owned(), |d| {
            format!("Dice {d:.4} with the original model")
        })
    ));
    output.result(&json!(result), &link)?;
    Ok(CommandOutcome::Done)
}

/// Dice of the two models' masks on a procedural tile; none where neither finds a nucleus.
fn agreement(model: &Model, quantised: &Model) -> Result<Option<f64>> {
    let image = phantom::tile(COMPARED_PX, COMPARED_PX, 1).image;
    let stride = match model.card().architecture {
        Architecture::Dcnn { .. } => 1,
        Architecture::Dccn { .. } => DCCN_STRIDE,
    };
    let options = SegmentOptions { stride, block_px: None };
    let control = Control { cancel: Some(stop_flag()), ..Control::default() };
    let expected = segment(model, &image, options, &control)?.nucleus().map(|p| p > 0.5);
    let found = segment(quantised, &image, options, &control)?;
    Ok(PixelCounts::of(found.nucleus(), &expected, 0.5)?.scores().dice)
}

#[derive(Serialize)]
struct ImportResult<'a> {
    model: &'a Path,
    parameters: usize,
    fingerprint: String,
}

/// `prunella import`.
pub(super) fn import(arguments: &ImportArguments, output: Output) -> Result<CommandOutcome> {
    let source = arguments.link.strip_prefix('@');
    let inputs: Vec<PathBuf> = source.into_iter().map(PathBuf::from).collect();
    check_outputs(std::slice::from_ref(&arguments.out), &inputs)?;
    let link = match source {
        Some(path) => String::from_utf8(read_file(Path::new(path), MAX_CHARACTERS as u64)?)
            .map_err(|_| Error::malformed("The file holds no link: it is not text"))?,
        None => arguments.link.clone(),
    };
    let model = from_link(&link)?;
    model.save(&arguments.out, Precision::F32)?;
    let result = ImportResult {
        model: &arguments.out,
        parameters: model.graph().parameters(),
        fingerprint: model.fingerprint(),
    };
    let text = format!("{} ({} parameters)", arguments.out.display(), result.parameters);
    output.result(&json!(result), &text)?;
    Ok(CommandOutcome::Done)
}
