//! A network that gets a class more.

use crate::error::{Error, Result};
use crate::model::{ClassRole, HistoryStep, Model, Op, PixelClass};

/// Share of the border in the probability of nuclei, before anything of borders is learned.
const BORDER_SHARE: f32 = 0.3;

/// `model` with a border class, its last output.
///
/// The border's weights are the mean of those of the nuclei. With logits nₖ and a share a, the new
/// logits nₖ + ln(1 − a) and n + ln(a), one type of nuclei and the softmax head leave the
/// probability of the background as it was: eⁿ·(1 − a) + eⁿ·a = eⁿ.
///
/// # Errors
/// [`Error::Invalid`] where it has such a class; [`Error::Limit`] where it has too many.
pub fn with_border_class(model: &Model) -> Result<Model> {
    let mut card = model.card().clone();
    if card.has_border() {
        return Err(Error::invalid("The model has a border class already"));
    }
    let mut nuclei = Vec::new();
    for (index, class) in card.classes.iter().enumerate() {
        if class.role == ClassRole::Nucleus {
            nuclei.push(index);
        }
    }
    let border = PixelClass::of_nuclei(&[], true).split_off(2);
    card.history
        .extend(border.iter().map(|class| HistoryStep::Extend { class: class.name.clone() }));
    card.classes.extend(border);
    card.architecture = card.architecture.with_classes(card.classes.len());

    let mut weights = model.weights().clone();
    let name = last_layer(model);
    for suffix in ["weight", "bias"] {
        let Some(array) = weights.get_mut(&format!("{name}.{suffix}")) else { continue };
        // `[class]` or `[class][input]`
        let row_len = array.data.len() / array.shape[0];
        let mut mean = vec![0.0; row_len];
        for &nucleus in &nuclei {
            for (mean, value) in mean.iter_mut().zip(&array.data[nucleus * row_len..][..row_len]) {
                *mean += value / nuclei.len() as f32;
            }
        }
        array.shape[0] += 1;
        array.data.extend(mean);
    }
    if let Some(bias) = weights.get_mut(&format!("{name}.bias")) {
        for &nucleus in &nuclei {
            bias.data[nucleus] += (1.0 - BORDER_SHARE).ln();
        }
        if let Some(border) = bias.data.last_mut() {
            *border += BORDER_SHARE.ln();
        }
    }
    Model::new(card, weights)
}

/// `model` with another type of nuclei, behind those it has: a copy of the first one, so that the
/// first mark of the new type already moves it.
///
/// The copy and its original share the probability: with logits n and n the new ones are
/// n + ln(1/2), so with the softmax head the background keeps its own.
///
/// # Errors
/// [`Error::Invalid`] where it has a class of that name; [`Error::Limit`] where it has too many;
/// [`Error::Malformed`] for a name that is too long.
pub fn with_nucleus_type(model: &Model, name: &str) -> Result<Model> {
    let mut card = model.card().clone();
    if card.classes.iter().any(|class| class.name == name) {
        return Err(Error::invalid(format!("The model has a class '{name}' already")));
    }
    let is_nucleus = |class: &PixelClass| class.role == ClassRole::Nucleus;
    let original = card.classes.iter().position(is_nucleus).unwrap_or(1);
    let place = card.classes.iter().rposition(is_nucleus).unwrap_or(original) + 1;
    let class = PixelClass { name: name.to_owned(), role: ClassRole::Nucleus, color: None };
    card.classes.insert(place, class);
    card.history.push(HistoryStep::Extend { class: name.to_owned() });
    card.architecture = card.architecture.with_classes(card.classes.len());

    let mut weights = model.weights().clone();
    let name = last_layer(model);
    for suffix in ["weight", "bias"] {
        let Some(array) = weights.get_mut(&format!("{name}.{suffix}")) else { continue };
        // `[class]` or `[class][input]`
        let row_len = array.data.len() / array.shape[0];
        let row = array.data[original * row_len..][..row_len].to_vec();
        array.shape[0] += 1;
        let at = place * row_len;
        array.data.splice(at..at, row);
    }
    if let Some(bias) = weights.get_mut(&format!("{name}.bias")) {
        for class in [original, place] {
            bias.data[class] += 0.5f32.ln();
        }
    }
    Model::new(card, weights)
}

/// Name of the layer that gives the classes.
fn last_layer(model: &Model) -> String {
    let last = model.graph().nodes.iter().rev().find(|node| matches!(node.op, Op::Linear { .. }));
    last.map(|node| node.name.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::BatchEngine;
    use crate::model::{dccn, dcnn};

    #[test]
    fn a_border_class_takes_its_share_of_the_nuclei_and_none_of_the_background() {
        for architecture in [dcnn([3, 5, 8], 20, 2), dccn(5, 7, 3, [6, 5, 9], 2)] {
            let model = Model::random(architecture, 1).expect("model");
            let extended = with_border_class(&model).expect("model");
            assert_eq!(extended.card().classes, PixelClass::of_nuclei(&[], true));
            let step = HistoryStep::Extend { class: "border".into() };
            assert_eq!(extended.card().history.last(), Some(&step));
            let patch = vec![(0..3 * 55 * 55).map(|i| (i % 97) as f32 / 97.0).collect()];
            let probabilities = |model: &Model| {
                let engine = BatchEngine::new(model).expect("engine");
                let mut logits = engine.run_patches(&patch);
                model.card().head.probabilities(&mut logits);
                logits
            };
            let before = probabilities(&model);
            let after = probabilities(&extended);
            assert!((before[0] - after[0]).abs() < 1e-6);
            assert!((before[1] * 0.7 - after[1]).abs() < 1e-6);
            assert!((before[1] * 0.3 - after[2]).abs() < 1e-6);
            assert!(with_border_class(&extended).is_err());
        }
    }
    #[test]
    fn a_new_type_shares_the_probability_of_the_first_one() {
        let model = with_border_class(&Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model"));
        let model = model.expect("model");
        let extended = with_nucleus_type(&model, "lymphocyte").expect("model");
        let names: Vec<&str> =
            extended.card().classes.iter().map(|class| class.name.as_str()).collect();
        assert_eq!(names, ["background", "nucleus", "lymphocyte", "border"]);
        let patch = vec![(0..3 * 55 * 55).map(|i| (i % 97) as f32 / 97.0).collect()];
        let probabilities = |model: &Model| {
            let mut logits = BatchEngine::new(model).expect("engine").run_patches(&patch);
            model.card().head.probabilities(&mut logits);
            logits
        };
        let before = probabilities(&model);
        let after = probabilities(&extended);
        let expected = [before[0], before[1] / 2.0, before[1] / 2.0, before[2]];
        for (found, expected) in after.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert!(with_nucleus_type(&extended, "lymphocyte").is_err());
        assert!(with_nucleus_type(&extended, &"x".repeat(99)).is_err());
    }
}
