//! A package of the BioImage Model Zoo (<https://bioimage.io>), model description 0.5
//! (<https://bioimage-io.github.io/spec-bioimage-io>): `rdf.yaml` beside the files that it names,
//! in a ZIP without compression. The network is ONNX in the tile form, whose outer 27 pixels are
//! the halo that users of the description cut off.

use serde_json::{Value, json};

use super::npy::to_npy;
use super::onnx::{OPSET, OnnxForm, to_onnx};
use super::readme::{TAGS, description, spdx_id, summary};
use super::yaml::to_yaml;
use super::zip::{StoredFile, to_zip};
use crate::error::{Error, Result};
use crate::model::{CENTRE_PX, Card, DataSource, Model, PATCH_PX, Precision, sha256_hex};
use crate::raster::RgbImage;

/// Version of the description.
const FORMAT_VERSION: &str = "0.5.4";
/// Version of the description of data sets inside it.
const DATASET_FORMAT_VERSION: &str = "0.3.0";
/// Most characters of a name, less than the description allows.
const MAX_NAME: usize = 100;

/// An example that shows whether a program computes the network right.
#[derive(Debug, Clone)]
pub struct BioImageSample<'a> {
    /// Pixels, 27 of context on each side included.
    pub image: &'a RgbImage,
    /// Probabilities of all classes at the pixels inside the context, `[row][column][class]`.
    pub probabilities: &'a [f32],
    /// Picture for the list of models, PNG of at most 500 KB, twice as wide as high.
    pub cover: &'a [u8],
    /// Where the image comes from.
    pub sources: &'a [DataSource],
}

/// The package of a model, bytes of a ZIP file.
///
/// # Errors
/// [`Error::Unsupported`] for a network that pads inside its patch, [`Error::Mismatch`] if the
/// probabilities are not those of the image's pixels, [`Error::Invalid`] for the name of an author
/// that the zoo refuses.
pub fn to_bioimageio(
    model: &Model,
    name: &str,
    authors: &[String],
    sample: &BioImageSample<'_>,
) -> Result<Vec<u8>> {
    let (width, height) = (sample.image.width(), sample.image.height());
    let classes = model.card().classes.len();
    for author in authors {
        if author.trim().is_empty() || author.contains(|c: char| c == '/' || c.is_control()) {
            return Err(Error::invalid(format!(
                "The model zoo takes no author '{}': a name without slashes and line ends",
                author.escape_debug()
            )));
        }
    }
    let planes = with_halo(sample.probabilities, width, height, classes)?;
    let files = [
        StoredFile { name: "weights.onnx".into(), bytes: to_onnx(model, OnnxForm::Tile)? },
        StoredFile {
            name: "test_input.npy".into(),
            bytes: to_npy("|u1", &[1, 3, height, width], &image_planes(sample.image)),
        },
        StoredFile {
            name: "test_output.npy".into(),
            bytes: to_npy("<f4", &[1, classes, height, width], &float_bytes(&planes)),
        },
        StoredFile { name: "cover.png".into(), bytes: sample.cover.to_vec() },
        StoredFile { name: format!("{name}.safetensors"), bytes: model.to_bytes(Precision::F32)? },
        StoredFile { name: "README.md".into(), bytes: readme(model, name, sample).into_bytes() },
    ];
    let rdf = description_of(model, name, authors, &files);
    let mut package = vec![StoredFile { name: "rdf.yaml".into(), bytes: to_yaml(&rdf).into() }];
    package.extend(files);
    to_zip(&package)
}

fn readme(model: &Model, name: &str, sample: &BioImageSample<'_>) -> String {
    let mut text = description(model, name);
    text += "\n## Test image\n\nThe test image and the cover are cut from:\n\n";
    for DataSource { name, licence, citation } in sample.sources {
        let licence = licence.as_deref().unwrap_or("no licence stated");
        text += &format!("- {name} ({licence}): {}\n", citation.as_deref().unwrap_or(""));
    }
    text
}

fn description_of(model: &Model, name: &str, authors: &[String], files: &[StoredFile; 6]) -> Value {
    let card = model.card();
    let source = |index: usize| {
        let file: &StoredFile = &files[index];
        json!({ "source": file.name, "sha256": sha256_hex(&file.bytes) })
    };
    let mut weights = source(0);
    weights["opset_version"] = json!(OPSET);
    let authors: Vec<Value> = authors.iter().map(|author| json!({ "name": author })).collect();
    let mut rdf = json!({
        "type": "model",
        "format_version": FORMAT_VERSION,
        "name": allowed_name(name),
        "description": summary(model),
        "authors": authors,
        "cite": citations(&card.data_sources),
        "tags": TAGS,
        "documentation": source(5),
        "covers": [files[3].name],
        "attachments": [source(4)],
        "inputs": [input(card, &source(1))],
        "outputs": [output(card, &source(2))],
        "weights": { "onnx": weights },
        "config": { "prunella": {
            "fingerprint": model.fingerprint(),
            // Not the field `parent`, which is for models of the zoo.
            "parent": card.parent,
            "pruning_ratio": card.pruning_ratio,
            // Not the digits that single precision adds.
            "threshold": format!("{}", card.instances.threshold),
        } },
    });
    if let Some(id) = card.licence.as_deref().and_then(spdx_id) {
        rdf["license"] = json!(id);
    }
    if !card.data_sources.is_empty() {
        rdf["training_data"] = training_data(card);
    }
    rdf
}

fn input(card: &Card, test_tensor: &Value) -> Value {
    let size = json!({ "min": PATCH_PX, "step": 1 });
    json!({
        "id": "image",
        "description": "H&E tissue in bright field, RGB",
        "axes": [
            { "type": "batch" },
            { "type": "channel", "channel_names": ["red", "green", "blue"] },
            space_axis("y", card, &size),
            space_axis("x", card, &size),
        ],
        "data": { "type": "uint8", "range": [0, 255] },
        "preprocessing": [
            { "id": "ensure_dtype", "kwargs": { "dtype": "float32" } },
            { "id": "scale_linear", "kwargs": { "gain": 1.0 / 255.0, "offset": 0.0 } },
            // Without it, readers convert back to 8 bits.
            { "id": "ensure_dtype", "kwargs": { "dtype": "float32" } },
        ],
        "test_tensor": test_tensor,
    })
}

fn output(card: &Card, test_tensor: &Value) -> Value {
    let mut axes = vec![
        json!({ "type": "batch" }),
        json!({ "type": "channel", "channel_names": channel_names(card) }),
    ];
    for id in ["y", "x"] {
        let size = json!({ "tensor_id": "image", "axis_id": id });
        let mut axis = space_axis(id, card, &size);
        axis["halo"] = json!(CENTRE_PX);
        axes.push(axis);
    }
    json!({
        "id": "probabilities",
        "description": "Probability of each class",
        "axes": axes,
        "data": { "type": "float32", "range": [0.0, 1.0] },
        "test_tensor": test_tensor,
    })
}

fn space_axis(id: &str, card: &Card, size: &Value) -> Value {
    json!({ "type": "space", "id": id, "size": size, "unit": "micrometer", "scale": card.mpp_um })
}

/// Identifiers of the description: lower case, letters, digits and underscores, not beginning with
/// a digit, each once.
fn channel_names(card: &Card) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for class in &card.classes {
        let mut name = String::new();
        for character in class.name.to_lowercase().chars() {
            name.push(if character.is_ascii_alphanumeric() { character } else { '_' });
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            name.insert_str(0, "class_");
        }
        while names.contains(&name) {
            name.push('_');
        }
        names.push(name);
    }
    names
}

/// A name of the characters that the description allows.
fn allowed_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " _-()+".contains(c);
    let kept = name.chars().map(|c| if allowed(c) { c } else { '-' });
    let kept: String = kept.take(MAX_NAME).collect();
    format!("prunella {kept}")
}

/// The entry of a citation needs a DOI; others stand in the README alone.
fn citations(sources: &[DataSource]) -> Vec<Value> {
    let mut entries = Vec::new();
    for source in sources {
        if let Some(citation) = &source.citation
            && let Some(doi) = doi_in(citation)
        {
            entries.push(json!({ "text": citation, "doi": doi }));
        }
    }
    entries
}

/// The first DOI in a text: `10.`, four digits or more, a slash, and what follows up to a space.
fn doi_in(text: &str) -> Option<&str> {
    for (start, _) in text.match_indices("10.") {
        let end = |c: char| c.is_whitespace() || ",;\"<>".contains(c);
        let word = text[start..].split(end).next().unwrap_or_default();
        let doi = word.trim_end_matches(['.', ')']);
        if let Some(number) = doi.strip_prefix("10.")
            && let Some((registrant, rest)) = number.split_once('/')
            && registrant.len() >= 4
            && registrant.bytes().all(|b| b.is_ascii_digit())
            && !rest.is_empty()
        {
            return Some(doi);
        }
    }
    None
}

/// All data sets as one.
fn training_data(card: &Card) -> Value {
    let names: Vec<&str> = card.data_sources.iter().map(|source| source.name.as_str()).collect();
    let mut lines = Vec::new();
    let mut licences: Vec<&str> = Vec::new();
    for DataSource { name, licence, citation } in &card.data_sources {
        let mut facts = vec![name.as_str()];
        facts.extend(citation.as_deref());
        facts.extend(licence.as_deref());
        lines.push(facts.join(", "));
        licences.extend(licence.as_deref().filter(|new| !licences.contains(new)));
    }
    let mut data = json!({
        "type": "dataset",
        "format_version": DATASET_FORMAT_VERSION,
        "name": allowed_name(&format!("training data ({})", names.join(" + "))),
        "description": lines.join("; "),
        "cite": citations(&card.data_sources),
        "tags": ["nuclei", "histology", "h-and-e"],
    });
    if let [licence] = licences[..]
        && let Some(id) = spdx_id(licence)
    {
        data["license"] = json!(id);
    }
    data
}

/// Probabilities `[row][column][class]` of the inner pixels as planes `[class][row][column]` of the
/// whole image, 0 outside.
fn with_halo(values: &[f32], width: usize, height: usize, classes: usize) -> Result<Vec<f32>> {
    let inner_width = width.saturating_sub(2 * CENTRE_PX);
    let inner_height = height.saturating_sub(2 * CENTRE_PX);
    if values.len() != inner_width * inner_height * classes || values.is_empty() {
        return Err(Error::mismatch(format!(
            "{} probabilities given for {inner_width}×{inner_height} pixels of {classes} classes",
            values.len()
        )));
    }
    let mut planes = vec![0.0; classes * width * height];
    for (index, pixel) in values.chunks_exact(classes).enumerate() {
        let row = index / inner_width + CENTRE_PX;
        let column = index % inner_width + CENTRE_PX;
        for (class, probability) in pixel.iter().enumerate() {
            planes[(class * height + row) * width + column] = *probability;
        }
    }
    Ok(planes)
}

fn image_planes(image: &RgbImage) -> Vec<u8> {
    let mut planes = Vec::with_capacity(3 * image.data().len());
    for channel in 0..3 {
        planes.extend(image.data().iter().map(|pixel| pixel[channel]));
    }
    planes
}

fn float_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PixelClass, dcnn};
    use crate::raster::Plane;

    #[test]
    fn dois_are_found_in_citations() {
        let cases = [
            (
                "Naylor et al., IEEE TMI 2018, doi 10.5281/zenodo.1174342",
                Some("10.5281/zenodo.1174342"),
            ),
            ("see https://doi.org/10.1000/a(b), 2020", Some("10.1000/a(b")),
            ("version 10.3, no DOI; 10.55/x", None),
            ("10.", None),
        ];
        for (text, doi) in cases {
            assert_eq!(doi_in(text), doi, "{text}");
        }
    }

    #[test]
    fn channel_names_are_identifiers() {
        let mut card = Card::new(dcnn([1, 1, 1], 1, 4));
        card.classes = ["background", "T cell", "t-cell", "2n"].map(PixelClass::named).to_vec();
        assert_eq!(channel_names(&card), ["background", "t_cell", "t_cell_", "class_2n"]);
    }

    #[test]
    fn probabilities_lie_inside_the_halo() {
        let planes = with_halo(&[0.25, 0.75, 0.5, 0.5], 56, 55, 2).expect("planes");
        assert_eq!((planes[27 * 56 + 27], planes[27 * 56 + 28]), (0.25, 0.5));
        let second_plane = 55 * 56;
        let first = second_plane + 27 * 56 + 27;
        assert_eq!((planes[first], planes[first + 1]), (0.75, 0.5));
        assert_eq!(planes.iter().filter(|value| **value > 0.0).count(), 4, "zero around them");
        assert!(with_halo(&[0.25, 0.75], 56, 55, 2).is_err());
        assert!(with_halo(&[], 10, 10, 2).is_err());
    }

    #[test]
    fn the_package_states_licence_data_and_files() {
        let mut model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let card = model.card_mut();
        card.licence = Some("CC BY 4.0".into());
        card.data_sources.push(DataSource {
            name: "TNBC".into(),
            licence: Some("CC BY 4.0".into()),
            citation: Some("Naylor et al. 2018, doi:10.5281/zenodo.1174342".into()),
        });
        let image = Plane::filled(55, 55, [9, 9, 9]);
        let sample = BioImageSample {
            image: &image,
            probabilities: &[0.5, 0.5],
            cover: &[1],
            sources: &model.card().data_sources,
        };
        let zip = to_bioimageio(&model, "small", &["A. Author".into()], &sample).expect("zip");
        let text = String::from_utf8_lossy(&zip);
        for line in [
            "license: \"CC-BY-4.0\"\n",
            "  - doi: \"10.5281/zenodo.1174342\"\n",
            "  - name: \"A. Author\"\n",
            "      - halo: 27\n",
            "training_data:\n",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert_eq!(
            to_bioimageio(&model, "small", &["A. Author".into()], &sample).expect("zip"),
            zip
        );
    }
}
