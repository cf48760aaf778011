//! Applies a plan to a model. Removing a filter also removes its bias, its batch normalisation and
//! the weights of the following layers that read its channel.

use std::collections::BTreeMap;

use super::plan::PruningPlan;
use crate::error::{Error, Result};
use crate::model::{Array, Card, Graph, HistoryStep, IndexSet, Model, Op, Weights};

/// The pruned model. Values are copied, never changed, so a plan that keeps all filters changes no
/// bit.
///
/// # Errors
/// [`Error::Invalid`] for a ratio outside 0 to 1; [`Error::Mismatch`] when the plan names a layer
/// that the model does not have, or filters that are not in the layer, not in order, or none at
/// all.
pub fn apply(model: &Model, plan: &PruningPlan) -> Result<Model> {
    check(model, plan)?;
    let kept = kept_channels(model.graph(), plan);
    let mut weights = Weights::new();
    let mut widths = Vec::new();
    for (index, node) in model.graph().nodes.iter().enumerate() {
        add_kept_weights(model, index, &kept, &mut weights)?;
        if model.graph().is_prunable(node) {
            widths.push(kept[index].len());
        }
    }
    Model::new(pruned_card(model, plan, &widths)?, weights)
}

fn check(model: &Model, plan: &PruningPlan) -> Result<()> {
    if !(0.0..=1.0).contains(&plan.choice.ratio) {
        return Err(Error::invalid("The plan's ratio must be between 0 and 1"));
    }
    // Width of each layer that may be pruned.
    let mut widths: BTreeMap<&str, usize> = BTreeMap::new();
    for node in model.graph().nodes.iter().filter(|n| model.graph().is_prunable(n)) {
        widths.insert(&node.name, node.shape.channels);
    }
    for (layer, IndexSet(kept)) in &plan.kept_filters {
        let Some(&width) = widths.get(layer.as_str()) else {
            return Err(Error::mismatch(format!(
                "The plan names a layer '{layer}' that this model does not have"
            )));
        };
        let is_ascending = kept.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending || kept.last().is_none_or(|&last| last >= width) {
            return Err(Error::mismatch(format!(
                "The plan's filters of '{layer}' must ascend and lie in 0..{width}, at least one"
            )));
        }
    }
    Ok(())
}

/// For each node the channels of its output that remain, as indices into its unpruned output.
fn kept_channels(graph: &Graph, plan: &PruningPlan) -> Vec<Vec<usize>> {
    let mut kept: Vec<Vec<usize>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        kept.push(match node.op {
            Op::Input => (0..node.shape.channels).collect(),
            Op::Conv { .. } | Op::Linear { .. } => match plan.kept_filters.get(&node.name) {
                Some(filters) => filters.0.clone(),
                None => (0..node.shape.channels).collect(),
            },
            Op::BatchNorm | Op::Relu | Op::MaxPool { .. } | Op::AvgPool { .. } => {
                kept[node.inputs[0]].clone()
            }
            Op::Concat => {
                // The second input's channels follow all of the first's.
                let offset = graph.nodes[node.inputs[0]].shape.channels;
                let mut channels = kept[node.inputs[0]].clone();
                channels.extend(kept[node.inputs[1]].iter().map(|channel| offset + channel));
                channels
            }
        });
    }
    kept
}

/// Copies what remains of the arrays of node `index`.
fn add_kept_weights(
    model: &Model,
    index: usize,
    kept: &[Vec<usize>],
    weights: &mut Weights,
) -> Result<()> {
    let node = &model.graph().nodes[index];
    let Some(&input) = node.inputs.first() else { return Ok(()) };
    let kept_outputs = &kept[index];
    let kept_inputs = &kept[input];
    let input_shape = model.graph().nodes[input].shape;
    for spec in model.graph().arrays_of(node) {
        let old = model.array(&spec.name);
        let mut shape = spec.shape.clone();
        let mut data = Vec::new();
        if shape.len() == 1 {
            // One value for each output channel.
            data.extend(kept_outputs.iter().map(|&output| old[output]));
        } else {
            // outputs × inputs × window: the window is the kernel of a convolution or, for a linear
            // layer, the flattened pixels of one input channel.
            let window = if let [_, _, rows, columns] = shape[..] {
                rows * columns
            } else {
                input_shape.height * input_shape.width
            };
            let row_len = input_shape.channels * window;
            for &output in kept_outputs {
                let row = &old[output * row_len..][..row_len];
                for &channel in kept_inputs {
                    data.extend_from_slice(&row[channel * window..][..window]);
                }
            }
            shape[1] =
                if shape.len() == 4 { kept_inputs.len() } else { kept_inputs.len() * window };
        }
        shape[0] = kept_outputs.len();
        weights.insert(spec.name, Array::new(shape, data)?);
    }
    Ok(())
}

fn pruned_card(model: &Model, plan: &PruningPlan, widths: &[usize]) -> Result<Card> {
    let mut card = model.card().clone();
    card.architecture = card.architecture.with_layer_widths(widths)?;
    let mut loses_filters = false;
    for (layer, kept) in &plan.kept_filters {
        if is_whole(model, layer, kept) {
            continue;
        }
        loses_filters = true;
        // The card names filters of the unpruned network, the plan those of this model.
        let of_unpruned = match model.card().kept_filters.get(layer) {
            Some(before) => IndexSet(kept.0.iter().map(|&i| before.0[i]).collect()),
            None => kept.clone(),
        };
        card.kept_filters.insert(layer.clone(), of_unpruned);
    }
    if loses_filters {
        let ratio = plan.choice.ratio;
        card.pruning_ratio = 1.0 - (1.0 - model.card().pruning_ratio) * (1.0 - ratio);
        card.parent = Some(model.fingerprint());
        card.metrics.clear();
        card.history.push(HistoryStep::Prune(plan.choice.clone()));
    }
    Ok(card)
}

/// Whether the plan keeps every filter of a layer.
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
    fn removing_a_filter_removes_its_bias_and_the_weights_that_read_it() {
        let model = Model::random(dcnn([2, 2, 2], 3, 2), 1).expect("model");
        let mut plan = PruningPlan::identity();
        plan.kept_filters.insert("conv3".into(), set(&[1]));
        let small = apply(&model, &plan).expect("pruned");
        assert_eq!(small.array("conv3.bias"), &model.array("conv3.bias")[1..]);
        assert_eq!(small.array("conv3.weight"), &model.array("conv3.weight")[72..]);
        let first_row = &model.array("fc1.weight")[9..18];
        assert_eq!(&small.array("fc1.weight")[..9], first_row);
        assert_eq!(small.card().kept_filters["conv3"], set(&[1]));
    }

    #[test]
    fn removing_a_hidden_unit_removes_the_weights_that_read_it_and_nothing_else() {
        let model = Model::random(dcnn([2, 2, 2], 20, 2), 1).expect("model");
        let (plan, _) = PruningPlan::l1(&model, 0.9, Scope::All).expect("plan");
        let small = apply(&model, &plan).expect("pruned");
        assert_eq!(small.card().architecture, dcnn([1, 1, 1], 2, 2));
        let mut only = PruningPlan::identity();
        only.kept_filters.insert("fc1".into(), plan.kept_filters["fc1"].clone());
        let narrow = apply(&model, &only).expect("pruned");
        let [a, b] = plan.kept_filters["fc1"].0[..] else { unreachable!("two units stay") };
        assert_eq!(
            narrow.array("fc2.weight"),
            [a, b, 20 + a, 20 + b].map(|i| model.array("fc2.weight")[i])
        );
        assert_eq!(narrow.array("conv3.weight"), model.array("conv3.weight"));
        only.kept_filters.insert("fc2".into(), set(&[0]));
        assert!(apply(&model, &only).is_err(), "the outputs are never pruned");
    }

    #[test]
    fn pruning_twice_names_filters_of_the_unpruned_network() {
        let model = Model::random(dcnn([4, 2, 2], 3, 2), 1).expect("model");
        let plan = |indices: &[usize]| {
            let mut p = PruningPlan::identity();
            p.kept_filters.insert("conv1".into(), set(indices));
            p
        };
        let once = apply(&model, &plan(&[1, 3])).expect("pruned");
        let twice = apply(&once, &plan(&[1])).expect("pruned");
        assert_eq!(twice.card().kept_filters["conv1"], set(&[3]));
    }

    #[test]
    fn plans_for_another_model_are_refused() {
        let model = Model::random(dcnn([2, 2, 2], 3, 2), 1).expect("model");
        for (layer, indices) in
            [("conv9", vec![0]), ("conv1", vec![2]), ("conv1", vec![]), ("conv1", vec![1, 0])]
        {
            let mut plan = PruningPlan::identity();
            plan.kept_filters.insert(layer.into(), IndexSet(indices));
            assert!(apply(&model, &plan).is_err(), "{layer}");
        }
    }
}
