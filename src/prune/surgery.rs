//! Cuts a model along a plan: removed filters take their biases, their norms and every weight that
//! read them along.

use std::collections::BTreeMap;

use super::plan::PruningPlan;
use crate::error::{Error, Result};
use crate::model::{Array, Card, Graph, IndexSet, Model, Op, Weights};

/// The model that remains. Values are copied, never changed, so the identity plan changes no bit.
///
/// # Errors
/// [`Error::Mismatch`] when the plan names an unknown layer, a filter that is not there, none at
/// all, or out of order.
pub fn apply(model: &Model, plan: &PruningPlan) -> Result<Model> {
    check(model, plan)?;
    let kept = kept_channels(model.graph(), plan);
    let mut weights = Weights::new();
    for index in 0..kept.len() {
        cut_node(model, index, &kept, &mut weights)?;
    }
    let widths: Vec<usize> = model
        .graph()
        .nodes
        .iter()
        .zip(&kept)
        .filter(|(n, _)| model.graph().is_prunable(n))
        .map(|(_, k)| k.len())
        .collect();
    let card = pruned_card(model, plan, &widths)?;
    Model::new(card, weights)
}

fn check(model: &Model, plan: &PruningPlan) -> Result<()> {
    if !(0.0..=1.0).contains(&plan.ratio) {
        return Err(Error::mismatch("The plan's ratio must be between 0 and 1"));
    }
    let filters: BTreeMap<&str, usize> = model
        .graph()
        .nodes
        .iter()
        .filter(|n| model.graph().is_prunable(n))
        .map(|n| (n.name.as_str(), n.shape.channels))
        .collect();
    for (layer, kept) in &plan.kept {
        let Some(&count) = filters.get(layer.as_str()) else {
            return Err(Error::mismatch(format!(
                "The plan names a layer '{layer}' that this model does not have"
            )));
        };
        let ascending = kept.0.windows(2).all(|w| w[0] < w[1]);
        if kept.0.is_empty() || !ascending || kept.0.last().is_some_and(|&i| i >= count) {
            return Err(Error::mismatch(format!(
                "The plan's filters of '{layer}' must ascend and lie in 0..{count}, at least one"
            )));
        }
    }
    Ok(())
}

/// For each node the channels of its output that survive, as positions in the unpruned output.
fn kept_channels(graph: &Graph, plan: &PruningPlan) -> Vec<Vec<usize>> {
    let mut kept: Vec<Vec<usize>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let all = || (0..node.shape.channels).collect();
        kept.push(match node.op {
            Op::Conv { .. } | Op::Linear { .. } => {
                plan.kept.get(&node.name).map_or_else(all, |k| k.0.clone())
            }
            Op::Concat => {
                let first = node.inputs[0];
                let shift = graph.nodes[first].shape.channels;
                kept[first]
                    .iter()
                    .copied()
                    .chain(kept[node.inputs[1]].iter().map(|c| c + shift))
                    .collect()
            }
            Op::Input => all(),
            Op::BatchNorm | Op::Relu | Op::MaxPool { .. } | Op::AvgPool { .. } => {
                kept[node.inputs[0]].clone()
            }
        });
    }
    kept
}

fn cut_node(model: &Model, index: usize, kept: &[Vec<usize>], weights: &mut Weights) -> Result<()> {
    let node = &model.graph().nodes[index];
    let Some(&input) = node.inputs.first() else { return Ok(()) };
    let (rows, inputs) = (&kept[index], &kept[input]);
    let from = model.graph().nodes[input].shape;
    for spec in model.graph().arrays_of(node) {
        let old = model.array(&spec.name);
        let array = if spec.shape.len() == 1 {
            Array::new(vec![rows.len()], rows.iter().map(|&r| old[r]).collect())?
        } else {
            // Values that belong to one input channel: a kernel window, or the flattened pixels of
            // that channel.
            let window = if spec.shape.len() == 4 {
                spec.shape[2] * spec.shape[3]
            } else {
                from.height * from.width
            };
            let row_len = from.channels * window;
            let mut data = Vec::with_capacity(rows.len() * inputs.len() * window);
            for &r in rows {
                let row = &old[r * row_len..][..row_len];
                inputs.iter().for_each(|&c| data.extend_from_slice(&row[c * window..][..window]));
            }
            let mut shape = spec.shape.clone();
            shape[0] = rows.len();
            shape[1] = if shape.len() == 4 { inputs.len() } else { inputs.len() * window };
            Array::new(shape, data)?
        };
        weights.insert(spec.name, array);
    }
    Ok(())
}

fn pruned_card(model: &Model, plan: &PruningPlan, widths: &[usize]) -> Result<Card> {
    let mut card = model.card().clone();
    card.architecture = card.architecture.with_layer_widths(widths)?;
    if plan.kept.iter().all(|(layer, kept)| is_whole(model, layer, kept)) {
        return Ok(card);
    }
    for (layer, kept) in &plan.kept {
        if is_whole(model, layer, kept) {
            continue;
        }
        let of_parent = match model.card().kept.get(layer) {
            Some(before) => IndexSet(kept.0.iter().map(|&i| before.0[i]).collect()),
            None => kept.clone(),
        };
        card.kept.insert(layer.clone(), of_parent);
    }
    card.pruning_ratio = 1.0 - (1.0 - model.card().pruning_ratio) * (1.0 - plan.ratio);
    card.parent = Some(model.fingerprint());
    card.metrics.clear();
    card.history.push(
        serde_json::json!({ "step": "prune", "criterion": plan.criterion, "ratio": plan.ratio }),
    );
    Ok(card)
}

fn is_whole(model: &Model, layer: &str, kept: &IndexSet) -> bool {
    model.graph().nodes.iter().any(|n| n.name == layer && n.shape.channels == kept.0.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, dcnn};
    use crate::prune::Scope;

    fn set(indices: &[usize]) -> IndexSet {
        IndexSet(indices.to_vec())
    }

    #[test]
    fn the_identity_plan_changes_no_bit() {
        for architecture in [Architecture::paper_dcnn(), Architecture::paper_dccn()] {
            let model = Model::random(architecture, 5).expect("model");
            assert_eq!(apply(&model, &PruningPlan::identity()).expect("pruned"), model);
            let (zero, _) = PruningPlan::l1(&model, 0.0, Scope::All).expect("plan");
            assert_eq!(apply(&model, &zero).expect("pruned"), model);
        }
    }

    #[test]
    fn a_removed_filter_takes_bias_and_readers_along() {
        let model = Model::random(dcnn([2, 2, 2], 3, 2), 1).expect("model");
        let mut plan = PruningPlan::identity();
        plan.kept.insert("conv3".into(), set(&[1]));
        let small = apply(&model, &plan).expect("pruned");
        assert_eq!(small.array("conv3.bias"), &model.array("conv3.bias")[1..]);
        assert_eq!(small.array("conv3.weight"), &model.array("conv3.weight")[72..]);
        let first_row = &model.array("fc1.weight")[9..18];
        assert_eq!(&small.array("fc1.weight")[..9], first_row);
        assert_eq!(small.card().kept["conv3"], set(&[1]));
    }

    #[test]
    fn a_removed_hidden_unit_takes_its_reader_along_and_changes_nothing_else() {
        let model = Model::random(dcnn([2, 2, 2], 20, 2), 1).expect("model");
        let (plan, _) = PruningPlan::l1(&model, 0.9, Scope::All).expect("plan");
        let small = apply(&model, &plan).expect("pruned");
        assert_eq!(small.card().architecture, dcnn([1, 1, 1], 2, 2));
        let mut only = PruningPlan::identity();
        only.kept.insert("fc1".into(), plan.kept["fc1"].clone());
        let narrow = apply(&model, &only).expect("pruned");
        let [a, b] = plan.kept["fc1"].0[..] else { unreachable!("two units stay") };
        assert_eq!(
            narrow.array("fc2.weight"),
            [a, b, 20 + a, 20 + b].map(|i| model.array("fc2.weight")[i])
        );
        assert_eq!(narrow.array("conv3.weight"), model.array("conv3.weight"));
        only.kept.insert("fc2".into(), set(&[0]));
        assert!(apply(&model, &only).is_err(), "the logits stay");
    }

    #[test]
    fn pruning_twice_names_filters_of_the_first_parent() {
        let model = Model::random(dcnn([4, 2, 2], 3, 2), 1).expect("model");
        let plan = |indices: &[usize]| {
            let mut p = PruningPlan::identity();
            p.kept.insert("conv1".into(), set(indices));
            p
        };
        let once = apply(&model, &plan(&[1, 3])).expect("pruned");
        let twice = apply(&once, &plan(&[1])).expect("pruned");
        assert_eq!(twice.card().kept["conv1"], set(&[3]));
    }

    #[test]
    fn plans_for_another_model_are_refused() {
        let model = Model::random(dcnn([2, 2, 2], 3, 2), 1).expect("model");
        for (layer, indices) in
            [("conv9", vec![0]), ("conv1", vec![2]), ("conv1", vec![]), ("conv1", vec![1, 0])]
        {
            let mut plan = PruningPlan::identity();
            plan.kept.insert(layer.into(), IndexSet(indices));
            assert!(apply(&model, &plan).is_err(), "{layer}");
        }
    }
}
