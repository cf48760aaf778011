//! `prunella export` and `prunella import`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::export_packages::{write_bioimageio, write_card, write_qupath};
use super::output::{Output, stop_flag};
use super::output_files::check_outputs;
use super::page::{no_page, page_files, page_folder};
use crate::dataset::phantom;
use crate::engine::{Control, SegmentOptions, segment};
use crate::error::{Error, ErrorContext as _, Result};
use crate::export::{
    LinkPrecision, MAX_CHARACTERS, OnnxForm, from_link, from_onnx, quantised, rounded, to_html,
    to_link, to_onnx,
};
use crate::metrics::PixelCounts;
use crate::model::{Architecture, FileLimits, Head, Model, Precision, has_card, read_arrays};
use crate::platform::{read_file, write_atomic};

/// Side of the procedural tile on which a quantised model is compared with the original, pixels.
const COMPARED_PX: usize = 256;
/// Grid on which DCCNs are compared: all pixels would take minutes.
const DCCN_STRIDE: usize = 8;

/// Write a model for other programs, as a link, a page or a smaller file.
///
/// Other programs are those that read ONNX, QuPath, Fiji and napari (BioImage Model Zoo), and
/// Hugging Face.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella export models/open-medium.safetensors --onnx --dense --out nuclei.onnx
  prunella export dccn.safetensors --onnx
  prunella export models/open-medium.safetensors --qupath qupath-nuclei
  prunella export models/open-medium.safetensors --bioimageio --out nuclei.zip
  prunella export models/open-medium.safetensors --card --out my-repository/README.md
  prunella export smallest.safetensors --link
  prunella export smallest.safetensors --html --out nuclei.html
  prunella export tuned.safetensors --round 6 --out small.safetensors")]
#[command(group(
    clap::ArgGroup::new("format").required(true).args(FORMATS)
))]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct ExportArguments {
    /// A model file (.safetensors).
    model: PathBuf,
    /// Write ONNX, opset 17. Input: N×3×55×55, RGB / 255. Output: logits, N × classes.
    #[arg(long)]
    onnx: bool,
    /// With --onnx, for DCNNs: the input is a whole image with 27 mirrored pixels around it, the
    /// output a map of logits.
    #[arg(long, requires = "onnx", conflicts_with_all = formats_but("onnx"))]
    dense: bool,
    /// Write a folder for QuPath, for DCNNs: the network, a pixel classifier, and two scripts, one
    /// that uses the classifier and one that runs 'prunella segment'.
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    qupath: Option<PathBuf>,
    /// Write a package for the BioImage Model Zoo, for DCNNs (.zip).
    #[arg(long)]
    bioimageio: bool,
    /// With --bioimageio: who made the model; several times for several people.
    #[arg(
        long,
        value_name = "NAME",
        requires = "bioimageio",
        conflicts_with_all = formats_but("bioimageio"),
        default_value = "prunella"
    )]
    author: Vec<String>,
    /// Write README.md for Hugging Face, with scores and limits; without --out it is printed.
    #[arg(long)]
    card: bool,
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
    #[arg(long, requires = "html", conflicts_with_all = formats_but("html"))]
    page: Option<PathBuf>,
    /// With --link: precision of the weights in the link.
    #[arg(
        long,
        value_enum,
        default_value_t = LinkPrecisionName::Int8,
        requires = "link",
        conflicts_with_all = formats_but("link")
    )]
    precision: LinkPrecisionName,
    /// File to write [default: the model's name with the format's ending]; a link is printed.
    #[arg(long, short, conflicts_with = "link")]
    out: Option<PathBuf>,
}

/// The formats of `export`, of which one is chosen.
const FORMATS: [&str; 7] = ["onnx", "qupath", "bioimageio", "card", "link", "html", "round"];

/// The formats that an option of one format has no meaning for. 'requires' alone does not refuse
/// them: it is waived where the required format conflicts with the chosen one.
fn formats_but(format: &str) -> Vec<&'static str> {
    FORMATS.into_iter().filter(|other| *other != format).collect()
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

/// Save the model in a link, in ONNX or of PyTorch as a file.
///
/// Of ONNX those files are read that 'prunella export' wrote; of PyTorch the state dict of a DCNN
/// or a DCCN of any widths.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella import 'https://example.org/#m=UAEA…' --out model.safetensors
  prunella import @link.txt --out model.safetensors
  prunella import nuclei.onnx --out model.safetensors
  prunella import torch.safetensors --mpp 0.25 --licence 'CC BY 4.0' --out model.safetensors

In Python: safetensors.torch.save_file(network.state_dict(), 'torch.safetensors')")]
pub(super) struct ImportArguments {
    /// The link, @FILE with the link in it, or a file (.onnx, .safetensors).
    source: String,
    /// Model file to write (.safetensors).
    #[arg(long, short)]
    out: PathBuf,
    /// Of a state dict: pixel size that the network was trained at, micrometres [default: 0.25].
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
    /// Of a state dict: licence of the weights.
    #[arg(long, value_name = "NAME")]
    licence: Option<String>,
    /// Of a state dict: the network ends with a sigmoid on each logit before the softmax, as the
    /// paper's DCCN.
    #[arg(long)]
    sigmoid: bool,
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
    } else if let Some(folder) = &arguments.qupath {
        write_qupath(&model, &arguments.model, folder, output)
    } else if arguments.bioimageio {
        let file = arguments.file("zip");
        write_bioimageio(&model, &arguments.model, &file, &arguments.author, output)
    } else if arguments.card {
        write_card(&model, &arguments.model, arguments.out.as_ref(), output)
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
    let source = ImportSource::of(&arguments.source);
    let inputs: Vec<PathBuf> = source.file().into_iter().map(Path::to_path_buf).collect();
    check_outputs(std::slice::from_ref(&arguments.out), &inputs)?;
    let model = match source {
        ImportSource::Link(link) => with_its_card(arguments, from_link(link)?)?,
        ImportSource::LinkFile(path) => {
            let link = String::from_utf8(read_file(path, MAX_CHARACTERS as u64)?)
                .map_err(|_| Error::malformed("The file holds no link: it is not text"))?;
            with_its_card(arguments, from_link(&link)?)?
        }
        ImportSource::Onnx(path) => {
            with_its_card(arguments, from_onnx(&read_model(path)?).at(path)?).at(path)?
        }
        ImportSource::Arrays(path) => {
            let bytes = read_model(path)?;
            if has_card(&bytes).at(path)? {
                let model = Model::from_bytes(&bytes, FileLimits::default()).at(path)?;
                with_its_card(arguments, model).at(path)?
            } else {
                let model = state_dict(arguments, &bytes).at(path)?;
                if model.card().classes.len() > 2 {
                    output.remark(UNNAMED_CLASSES);
                }
                model
            }
        }
        ImportSource::Pickle(path) => {
            return Err(Error::unsupported(
                "Files of PyTorch's own form can hold programs and are not read; save the weights \
                 with safetensors.torch.save_file(network.state_dict(), 'torch.safetensors')",
            )
            .at(path));
        }
        ImportSource::Unknown(path) => {
            return Err(Error::unsupported(
                "This is no link, and the file has no ending that is known (.onnx, .safetensors)",
            )
            .at(path));
        }
    };
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

/// Said of a state dict of several classes.
const UNNAMED_CLASSES: &str = "A state dict does not name its classes: the first is taken for \
                               background, all others for types of nuclei";

/// A model that states itself what the options for state dicts state.
fn with_its_card(arguments: &ImportArguments, model: Model) -> Result<Model> {
    if arguments.mpp.is_some() || arguments.licence.is_some() || arguments.sigmoid {
        return Err(Error::invalid(
            "The model has a card, which states pixel size, licence and head; leave --mpp, \
             --licence and --sigmoid out",
        ));
    }
    Ok(model)
}

/// What the argument of `import` is.
#[derive(Debug, PartialEq, Eq)]
enum ImportSource<'a> {
    Link(&'a str),
    LinkFile(&'a Path),
    Onnx(&'a Path),
    /// A model file or a state dict.
    Arrays(&'a Path),
    Pickle(&'a Path),
    /// A file of another kind.
    Unknown(&'a Path),
}

impl<'a> ImportSource<'a> {
    /// By its ending; a link has a '#', which begins the part with the model.
    fn of(text: &'a str) -> Self {
        if let Some(file) = text.strip_prefix('@') {
            return Self::LinkFile(Path::new(file));
        }
        let path = Path::new(text);
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        match ending.to_str() {
            _ if text.contains("#m=") => Self::Link(text),
            Some("onnx") => Self::Onnx(path),
            Some("safetensors") => Self::Arrays(path),
            Some("pt" | "pth" | "ckpt" | "bin") => Self::Pickle(path),
            _ if path.exists() => Self::Unknown(path),
            _ => Self::Link(text),
        }
    }

    fn file(&self) -> Option<&'a Path> {
        match *self {
            Self::Link(_) => None,
            Self::LinkFile(path)
            | Self::Onnx(path)
            | Self::Arrays(path)
            | Self::Pickle(path)
            | Self::Unknown(path) => Some(path),
        }
    }
}

fn read_model(path: &Path) -> Result<Vec<u8>> {
    read_file(path, FileLimits::default().max_bytes)
}

/// A model of the arrays alone.
fn state_dict(arguments: &ImportArguments, bytes: &[u8]) -> Result<Model> {
    let mut model = Model::from_state_dict(read_arrays(bytes)?)?;
    let card = model.card_mut();
    card.mpp_um = arguments.mpp.unwrap_or(card.mpp_um);
    card.licence.clone_from(&arguments.licence);
    if arguments.sigmoid {
        card.head = Head::Sigmoid;
    }
    card.validate()?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_imports_are_told_apart() {
        let file = Path::new;
        let cases = [
            ("https://a.org/x.onnx#m=UAEA", ImportSource::Link("https://a.org/x.onnx#m=UAEA")),
            ("m=UAEA", ImportSource::Link("m=UAEA")),
            ("@l.txt", ImportSource::LinkFile(file("l.txt"))),
            ("a.ONNX", ImportSource::Onnx(file("a.ONNX"))),
            ("a/b.safetensors", ImportSource::Arrays(file("a/b.safetensors"))),
            ("b.pt", ImportSource::Pickle(file("b.pt"))),
        ];
        for (text, source) in cases {
            assert_eq!(ImportSource::of(text), source);
        }
    }
}
