//! A network that gets a class more.

use crate::error::{Error, Result};
use crate::model::{ClassRole, HistoryStep, Model, Op, PixelClass};

/// Share of the border in the probability of nuclei, before anything of borders is learned.
const BORDER_SHARE: f32 = 0.3;

/// `model` with a border class, its last output, which begins as the mean of the nuclei.
///
/// # Errors
/// [`Error::Invalid`] where it has such a class; [`Error::Limit`] where it has too many.
pub fn with_border_class(model: &Model) -> Result<Model> {
    let classes = &model.card().classes;
    if model.card().has_border() {
        return Err(Error::invalid("The model has a border class already"));
    }
    let of_role = PixelClass::of_nuclei(&[], true).pop();
    let border = of_role.ok_or_else(|| Error::invalid("There is no border class"))?;
    with_class(model, border, classes.len(), &nuclei(classes), BORDER_SHARE)
}

/// `model` with other types of nuclei, behind those it has: copies of the first one, so that the
/// first mark of a new type already moves it. All of them begin with the same probability.
///
/// # Errors
/// [`Error::Invalid`] where it has a class of such a name; [`Error::Limit`] where it has too many;
/// [`Error::Malformed`] for a name that is too long.
pub fn with_nucleus_types(model: &Model, names: &[String]) -> Result<Model> {
    let mut model = model.clone();
    for (index, name) in names.iter().enumerate() {
        let classes = &model.card().classes;
        if classes.iter().any(|class| class.name.eq_ignore_ascii_case(name)) {
            return Err(Error::invalid(format!("The model has a class '{name}' already")));
        }
        let nuclei = nuclei(classes);
        let place = nuclei.last().map_or(classes.len(), |last| last + 1);
        let class = PixelClass { name: name.clone(), role: ClassRole::Nucleus, color: None };
        // Of n types to come the first takes 1 / (n + 1), the next 1 / n of what is left, and so
        // on: the same share of the whole.
        let share = 1.0 / (names.len() - index + 1) as f32;
        model = with_class(&model, class, place, &nuclei[..nuclei.len().min(1)], share)?;
    }
    Ok(model)
}

/// Indices of the types of nuclei.
fn nuclei(classes: &[PixelClass]) -> Vec<usize> {
    (0..classes.len()).filter(|&index| classes[index].role == ClassRole::Nucleus).collect()
}

/// `model` with the class `class` as output `place`, which begins as the mean of the outputs
/// `parents` before it and takes `share` of their probability.
///
/// With the parents' logits nₖ the new ones are nₖ + ln(1 − share) and their mean + ln(share). Of
/// one parent, with the softmax head, the sum of both is what it was:
/// eⁿ·(1 − share) + eⁿ·share = eⁿ. All other classes then keep their probability.
fn with_class(
    model: &Model,
    class: PixelClass,
    place: usize,
    parents: &[usize],
    share: f32,
) -> Result<Model> {
    let mut card = model.card().clone();
    card.history.push(HistoryStep::Extend { class: class.name.clone() });
    card.classes.insert(place, class);
    card.architecture = card.architecture.with_classes(card.classes.len());

    let mut weights = model.weights().clone();
    let name = last_layer(model);
    for suffix in ["weight", "bias"] {
        let Some(array) = weights.get_mut(&format!("{name}.{suffix}")) else { continue };
        // `[class]` or `[class][input]`
        let row_len = array.data.len() / array.shape[0];
        let mut mean = vec![0.0; row_len];
        for &parent in parents {
            for (mean, value) in mean.iter_mut().zip(&array.data[parent * row_len..][..row_len]) {
                *mean += value / parents.len() as f32;
            }
        }
        array.shape[0] += 1;
        let at = place * row_len;
        array.data.splice(at..at, mean);
    }
    if let Some(bias) = weights.get_mut(&format!("{name}.bias")) {
        for &parent in parents {
            bias.data[parent] += (1.0 - share).ln();
        }
        bias.data[place] += share.ln();
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
    fn new_types_share_the_probability_of_the_first_one_equally() {
        let model = with_border_class(&Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model"));
        let model = model.expect("model");
        let names = ["lymphocyte", "mitosis", "apoptosis"].map(str::to_owned);
        let extended = with_nucleus_types(&model, &names).expect("model");
        let found: Vec<&str> =
            extended.card().classes.iter().map(|class| class.name.as_str()).collect();
        let all = ["background", "nucleus", "lymphocyte", "mitosis", "apoptosis", "border"];
        assert_eq!(found, all);
        let patch = vec![(0..3 * 55 * 55).map(|i| (i % 97) as f32 / 97.0).collect()];
        let probabilities = |model: &Model| {
            let mut logits = BatchEngine::new(model).expect("engine").run_patches(&patch);
            model.card().head.probabilities(&mut logits);
            logits
        };
        let before = probabilities(&model);
        let after = probabilities(&extended);
        let quarter = before[1] / 4.0;
        let expected = [before[0], quarter, quarter, quarter, quarter, before[2]];
        for (found, expected) in after.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{after:?}");
        }
        assert!(with_nucleus_types(&extended, &["Lymphocyte".into()]).is_err());
        assert!(with_nucleus_types(&extended, &["x".repeat(99)]).is_err());
    }
}
