//! `prunella export` for other programs: QuPath, the BioImage Model Zoo, Hugging Face.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::CommandOutcome;
use super::output::{Output, stop_flag};
use super::output_files::check_outputs;
use crate::dataset::tissue_crops;
use crate::engine::{Block, Control, DenseEngine, SegmentOptions, segment};
use crate::error::{Error, Result};
use crate::export::{
    BioImageSample, OnnxForm, QuPathPlaces, to_bioimageio, to_onnx, to_qupath, to_readme,
};
use crate::instances::label_nuclei;
use crate::model::{CENTRE_PX, FileLimits, Model};
use crate::platform::{read_file, write_atomic};
use crate::raster::{
    OUTLINE_COLOUR, RgbImage, encode_rgb_png, outline_mask, overlay, side_by_side,
};

/// Side of the image in a package of the BioImage Model Zoo, pixels.
const SAMPLE_PX: usize = 256;

/// Name of the model: that of its file without the ending.
fn model_name(model: &Path) -> String {
    model.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes network, classifier, model and scripts into `folder`.
pub(super) fn write_qupath(
    model: &Model,
    model_file: &Path,
    folder: &Path,
    output: Output,
) -> Result<CommandOutcome> {
    let folder = std::path::absolute(folder)
        .map_err(|e| Error::io("The folder's path cannot be made absolute", e).at(folder))?;
    let name = model_name(model_file);
    let at = |ending: &str| folder.join(format!("{name}{ending}"));
    let [onnx, classifier, copy] = [".onnx", ".json", ".safetensors"].map(at);
    let [classify, segment, readme] = ["-classify.groovy", "-segment.groovy", ".md"].map(at);
    let mut files = vec![onnx.clone(), classifier.clone(), classify, segment, readme];
    // A model that lies in the folder already stays: after moving the folder, export it again.
    let is_there =
        copy.canonicalize().is_ok_and(|copy| model_file.canonicalize().is_ok_and(|m| m == copy));
    if !is_there {
        files.push(copy.clone());
    }
    check_outputs(&files, &[model_file.to_path_buf()])?;
    let places = QuPathPlaces { onnx: &onnx, classifier: &classifier, model: &copy };
    let written = to_qupath(model, places)?;
    let contents = [
        written.onnx,
        written.classifier.into_bytes(),
        written.classify_script.into_bytes(),
        written.segment_script.into_bytes(),
        to_readme(model, &name).into_bytes(),
        read_file(model_file, FileLimits::default().max_bytes)?,
    ];
    for (file, content) in files.iter().zip(contents) {
        write_atomic(file, &content)?;
    }
    let text = format!(
        "{}: drag '{name}-classify.groovy' or '{name}-segment.groovy' onto QuPath and run it",
        folder.display()
    );
    output.result(&json!({ "folder": folder, "files": files }), &text)?;
    Ok(CommandOutcome::Done)
}

/// Writes a package of the BioImage Model Zoo.
pub(super) fn write_bioimageio(
    model: &Model,
    model_file: &Path,
    file: &Path,
    authors: &[String],
    output: Output,
) -> Result<CommandOutcome> {
    check_outputs(&[file.to_path_buf()], &[model_file.to_path_buf()])?;
    // A network without the form is refused before anything is computed.
    to_onnx(model, OnnxForm::Tile)?;
    let crops = tissue_crops::held_out()?;
    let crop = crops.first().ok_or_else(|| Error::malformed("The program carries no tissue"))?;
    let image = crop.image.crop(0, 0, SAMPLE_PX, SAMPLE_PX);
    let package = to_bioimageio(
        model,
        &model_name(model_file),
        authors,
        &BioImageSample {
            image: &image,
            probabilities: &inner_probabilities(model, &image)?,
            cover: &cover(model, &image)?,
            sources: &tissue_crops::sources(),
        },
    )?;
    write_atomic(file, &package)?;
    let bytes = package.len();
    output.result(
        &json!({ "file": file, "bytes": bytes }),
        &format!("{} ({bytes} bytes); check it with 'bioimageio test'", file.display()),
    )?;
    Ok(CommandOutcome::Done)
}

/// Probabilities of all classes at the pixels that have all their context inside the image,
/// `[row][column][class]`.
fn inner_probabilities(model: &Model, image: &RgbImage) -> Result<Vec<f32>> {
    let block = Block {
        row: CENTRE_PX,
        column: CENTRE_PX,
        width: image.width() - 2 * CENTRE_PX,
        height: image.height() - 2 * CENTRE_PX,
    };
    let mut values = DenseEngine::new(model)?.run(image, block);
    for pixel in values.chunks_exact_mut(model.card().classes.len()) {
        model.card().head.probabilities(pixel);
    }
    Ok(values)
}

/// The image, and beside it with the outlines of the nuclei found, PNG.
fn cover(model: &Model, image: &RgbImage) -> Result<Vec<u8>> {
    let control = Control { cancel: Some(stop_flag()), ..Control::default() };
    let map = segment(model, image, SegmentOptions::default(), &control)?;
    let (labels, _) = label_nuclei(&map, &model.card().instances)?;
    let outlined = overlay(image, &outline_mask(&labels), OUTLINE_COLOUR);
    encode_rgb_png(&side_by_side(&[image, &outlined], 0))
}

/// Writes the README for Hugging Face, or prints it.
pub(super) fn write_card(
    model: &Model,
    model_file: &Path,
    file: Option<&PathBuf>,
    output: Output,
) -> Result<CommandOutcome> {
    let readme = to_readme(model, &model_name(model_file));
    let Some(file) = file else {
        output.result(&json!({ "readme": readme }), readme.trim_end())?;
        return Ok(CommandOutcome::Done);
    };
    check_outputs(std::slice::from_ref(file), &[model_file.to_path_buf()])?;
    write_atomic(file, readme.as_bytes())?;
    let bytes = readme.len();
    output.result(
        &json!({ "file": file, "bytes": bytes }),
        &format!("{} ({bytes} bytes)", file.display()),
    )?;
    Ok(CommandOutcome::Done)
}
