//! `prunella export`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::output::Output;
use crate::error::{Error, Result};
use crate::export::{OnnxForm, to_onnx};
use crate::model::Model;
use crate::platform::write_atomic;

/// Write a model for other programs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella export models/dcnn-90.safetensors --onnx --dense --out nuclei.onnx
  prunella export dccn.safetensors --onnx")]
pub struct ExportArguments {
    model: PathBuf,
    /// ONNX, opset 17: patches of 3×55×55 (RGB / 255) in, logits out.
    #[arg(long)]
    onnx: bool,
    /// With --onnx: a whole image with 27 mirrored pixels around it in, a map of logits out (DCNN only).
    #[arg(long, requires = "onnx")]
    dense: bool,
    /// Where it goes [default: the model's name with the format's ending].
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// `prunella export`.
pub fn export(arguments: &ExportArguments, output: Output) -> Result<Outcome> {
    if !arguments.onnx {
        return Err(Error::mismatch("Say which format to export: --onnx"));
    }
    let model = Model::load(&arguments.model)?;
    let form = if arguments.dense { OnnxForm::Dense } else { OnnxForm::Patch };
    let bytes = to_onnx(&model, form)?;
    let path = arguments.out.clone().unwrap_or_else(|| arguments.model.with_extension("onnx"));
    write_atomic(&path, &bytes)?;
    let text = format!("{} ({} bytes)", path.display(), bytes.len());
    output.result(&json!({ "file": path, "bytes": bytes.len(), "dense": arguments.dense }), &text)?;
    Ok(Outcome::Done)
}
