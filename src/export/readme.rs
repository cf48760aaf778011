//! What a model says about itself, as Markdown: for Hugging Face (with front matter,
//! <https://huggingface.co/docs/hub/model-cards>) and for BioImage.IO.

use serde_json::{Value, json};

use super::yaml::to_yaml;
use crate::model::{Card, HistoryStep, Model};

/// Names of scores on a card, by their path, and in tables and front matter.
const SCORES: [(&str, &str, &str); 5] = [
    ("/pixels/accuracy", "accuracy", "accuracy"),
    ("/pixels/dice", "Dice", "dice"),
    ("/aji", "AJI", "aji"),
    ("/aji_plus", "AJI+", "aji_plus"),
    ("/pq", "PQ", "pq"),
];

/// `README.md` of a repository of Hugging Face that holds the model as `name.safetensors`.
#[must_use]
pub fn to_readme(model: &Model, name: &str) -> String {
    format!("---\n{}---\n\n{}", to_yaml(&front_matter(model, name)), description(model, name))
}

/// The same without front matter, in sections.
pub(super) fn description(model: &Model, name: &str) -> String {
    let mut text = format!("# {name}\n\n{}\n\n", summary(model));
    text +=
        "Made with prunella, which trains, prunes and runs such networks. **Not for diagnosis.**\n";
    text += &use_section(model.card(), name);
    text += &training_section(model.card());
    text += &validation_section(model.card(), name);
    text += &limits_section(model.card());
    text += &licence_section(model.card());
    text
}

/// One sentence.
pub(super) fn summary(model: &Model) -> String {
    let card = model.card();
    let mut text = format!(
        "Cell nuclei in H&E tissue at {} µm a pixel: a {} of {} parameters",
        card.mpp_um,
        card.architecture.family().name().to_uppercase(),
        model.graph().parameters()
    );
    if card.pruning_ratio > 0.0 {
        text += &format!(", pruned by {:.0} %", 100.0 * card.pruning_ratio);
    }
    text + &format!(", that classifies each pixel as {}.", class_list(card))
}

fn class_list(card: &Card) -> String {
    let names: Vec<&str> = card.classes.iter().map(|class| class.name.as_str()).collect();
    names.join(" or ")
}

fn use_section(card: &Card, name: &str) -> String {
    let mut text = format!(
        "\n## Use\n\n\
         ```sh\nprunella segment field.tif --model {name}.safetensors --out result\n```\n\n\
         The result is GeoJSON for QuPath, CSV and a label map. The input is RGB at {} µm a\n\
         pixel; images of another pixel size are resampled.",
        card.mpp_um
    );
    text += &format!(
        " A pixel belongs to a nucleus where its\nprobability is above {}.\n",
        card.instances.threshold
    );
    text
}

fn training_section(card: &Card) -> String {
    let mut text = "\n## Training data\n\n".to_owned();
    for source in &card.data_sources {
        text += &format!("- {}", source.name);
        if let Some(licence) = &source.licence {
            text += &format!(" ({licence})");
        }
        if let Some(citation) = &source.citation {
            text += &format!(": {citation}");
        }
        text.push('\n');
    }
    if !card.data_sources.is_empty() {
        text.push('\n');
    }
    let tiles = card.data.len();
    text += &match tiles {
        0 => "The card names no tiles.\n".to_owned(),
        1 => "1 tile; the card in the model file has its SHA-256.\n".to_owned(),
        _ => format!("{tiles} tiles; the card in the model file has their names and SHA-256.\n"),
    };
    text += &format!("\nSteps: {}.\n", steps(card));
    if let Some(parent) = &card.parent {
        text += &format!("Made from the model with fingerprint `{parent}`.\n");
    }
    text
}

fn steps(card: &Card) -> String {
    let mut steps = Vec::new();
    for step in &card.history {
        steps.push(match step {
            HistoryStep::Initialise { seed } => format!("random weights (seed {seed})"),
            HistoryStep::Train(training) => format!("training on {} tiles", training.tiles.len()),
            HistoryStep::Prune(pruning) => {
                format!("pruning by {:.0} % ({})", 100.0 * pruning.ratio, pruning.criterion)
            }
            HistoryStep::Extend { class } => format!("another class, {class}"),
            HistoryStep::Tune(_) => "choice of threshold and splitting".to_owned(),
            HistoryStep::Link { precision } => format!("rounding to {precision}"),
            HistoryStep::Round { significant_bits } => {
                format!("rounding to {significant_bits} significant bits")
            }
            HistoryStep::Other { name, .. } => name.clone(),
        });
    }
    if steps.is_empty() { "not stated".to_owned() } else { steps.join(", ") }
}

fn validation_section(card: &Card, name: &str) -> String {
    let mut text = "\n## Validation\n\n".to_owned();
    if card.metrics.is_empty() {
        text += "The card has no scores.\n";
    } else {
        text +=
            "| data | tiles | accuracy | Dice | AJI | AJI+ | PQ |\n|---|---|---|---|---|---|---|\n";
    }
    for (data, scores) in &card.metrics {
        let tiles = scores.pointer("/tiles").and_then(Value::as_u64);
        text += &format!("| {data} | {} |", tiles.map_or("–".to_owned(), |n| n.to_string()));
        for (path, _, _) in SCORES {
            let score = scores.pointer(path).and_then(Value::as_f64);
            text += &score.map_or(" – |".to_owned(), |score| format!(" {score:.3} |"));
        }
        text.push('\n');
    }
    text += &format!(
        "\nAccuracy and Dice are over all pixels, AJI, AJI+ and PQ are means of the tiles. On\n\
         data of your own, images beside label maps:\n\n\
         ```sh\nprunella evaluate --model {name}.safetensors --data FOLDER\n```\n"
    );
    text
}

fn limits_section(card: &Card) -> String {
    format!(
        "\n## Limits\n\n\
         - For research; not for diagnosis.\n\
         - H&E in bright field alone. Other stains, and scanners or laboratories unlike those of\n\
         \x20 the training tiles, cost accuracy; check by eye or by `prunella evaluate`.\n\
         - It looks at 55 × 55 pixels ({:.1} µm), and nothing beyond them decides about a pixel.\n\
         - Another pixel size than {} µm must be resampled; prunella and QuPath do so.\n",
        55.0 * card.mpp_um,
        card.mpp_um
    )
}

fn licence_section(card: &Card) -> String {
    let mut text = format!(
        "\n## Licence and citation\n\nLicence of the weights: {}.",
        card.licence.as_deref().unwrap_or("not stated; ask who gave you the model")
    );
    if !card.data_sources.is_empty() {
        text += " Who uses or passes on the weights names\nprunella and the data sets above.";
    }
    text.push('\n');
    text
}

fn front_matter(model: &Model, name: &str) -> Value {
    let card = model.card();
    let mut fields = serde_json::Map::new();
    let licence = card.licence.as_deref();
    if let Some(id) = licence.and_then(spdx_id) {
        fields.insert("license".into(), json!(id.to_ascii_lowercase()));
    } else {
        fields.insert("license".into(), json!("other"));
        fields.insert("license_name".into(), json!(licence.unwrap_or("not stated")));
    }
    fields.insert("library_name".into(), json!("prunella"));
    fields.insert("pipeline_tag".into(), json!("image-segmentation"));
    fields.insert("tags".into(), json!(TAGS));
    let mut results = Vec::new();
    for (data, scores) in &card.metrics {
        let mut metrics = Vec::new();
        for (path, label, kind) in SCORES {
            if let Some(score) = scores.pointer(path).and_then(Value::as_f64) {
                let value = (score * 1e4).round() / 1e4;
                metrics.push(json!({ "type": kind, "name": label, "value": value }));
            }
        }
        if !metrics.is_empty() {
            results.push(json!({
                "task": { "type": "image-segmentation" },
                "dataset": { "type": "custom", "name": data },
                "metrics": metrics,
            }));
        }
    }
    if !results.is_empty() {
        fields.insert("model-index".into(), json!([{ "name": name, "results": results }]));
    }
    Value::Object(fields)
}

/// Words by which collections find the model.
pub(super) const TAGS: [&str; 7] =
    ["nuclei", "segmentation", "histology", "pathology", "h-and-e", "2d", "prunella"];

/// SPDX identifier (<https://spdx.org/licenses/>) of a licence by its name as cards write it: of
/// Creative Commons with a version, and of the frequent ones of software.
pub(super) fn spdx_id(licence: &str) -> Option<String> {
    let id = licence.trim().replace(' ', "-");
    let upper = id.to_ascii_uppercase();
    let known = ["MIT", "Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "CC0-1.0"];
    if let Some(found) = known.into_iter().find(|name| name.eq_ignore_ascii_case(&id)) {
        return Some(found.to_owned());
    }
    if upper == "CC0" {
        return Some("CC0-1.0".to_owned());
    }
    let (conditions, version) = upper.strip_prefix("CC-BY")?.rsplit_once('-')?;
    let is_known = matches!(conditions, "" | "-NC" | "-SA" | "-ND" | "-NC-SA" | "-NC-ND");
    let has_version = ["1.0", "2.0", "2.5", "3.0", "4.0"].contains(&version);
    (is_known && has_version).then_some(upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DataSource, dcnn};

    fn model() -> Model {
        let mut model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let card = model.card_mut();
        card.licence = Some("CC BY-NC-SA 4.0".into());
        card.data_sources.push(DataSource {
            name: "TNBC".into(),
            licence: Some("CC BY 4.0".into()),
            citation: Some("Naylor et al. 2018".into()),
        });
        let scores = json!({ "aji": 0.51239, "pixels": { "dice": 0.8 }, "tiles": 7 });
        card.metrics.insert("Kumar".into(), scores);
        model
    }

    #[test]
    fn the_readme_has_front_matter_scores_and_limits() {
        let text = to_readme(&model(), "small");
        let text = text.strip_prefix("---\n").expect("front matter");
        let (front, body) = text.split_once("---\n").expect("text");
        assert!(front.contains("license: \"cc-by-nc-sa-4.0\"\n"), "{front}");
        assert!(front.contains("          value: 0.5124\n"), "{front}");
        assert!(body.contains("| Kumar | 7 | – | 0.800 | 0.512 | – | – |\n"), "{body}");
        assert!(body.contains("- TNBC (CC BY 4.0): Naylor et al. 2018\n"), "{body}");
        for section in ["Use", "Training data", "Validation", "Limits", "Licence and citation"] {
            assert!(body.contains(&format!("\n## {section}\n")), "{section}");
        }
    }

    #[test]
    fn licences_get_their_identifiers() {
        let cases = [
            ("CC BY 4.0", Some("CC-BY-4.0")),
            ("cc-by-nc-sa 3.0", Some("CC-BY-NC-SA-3.0")),
            ("CC0", Some("CC0-1.0")),
            ("apache-2.0", Some("Apache-2.0")),
            ("CC BY", None),
            ("CC BY-XY 4.0", None),
            ("CC BY 4.0; MIT", None),
            ("by permission of the clinic", None),
        ];
        for (licence, id) in cases {
            assert_eq!(spdx_id(licence).as_deref(), id, "{licence}");
        }
    }
}
