//! What a backend computes of a batch, and what is done with it before the optimiser's step.

use std::collections::BTreeMap;

use super::batch_norm::LayerStatistics;
use crate::model::{Graph, Weights};

/// Share of a batch's statistics in the running ones (PyTorch's default).
const NORM_MOMENTUM: f32 = 0.1;

/// Mean loss over a batch and its gradients.
#[derive(Debug, Default)]
pub(super) struct Gradients {
    pub loss: f64,
    /// By array name, in the layout of the array.
    pub arrays: BTreeMap<String, Vec<f32>>,
    /// Of batch normalisations, in the order in which they enter the running statistics.
    pub statistics: Vec<LayerStatistics>,
}

impl Gradients {
    /// Adds the loss and gradients of another part of the same batch.
    pub(super) fn add(&mut self, part: &Self) {
        self.loss += part.loss;
        for (name, values) in &part.arrays {
            let Some(sums) = self.arrays.get_mut(name) else {
                self.arrays.insert(name.clone(), values.clone());
                continue;
            };
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
        self.statistics.extend_from_slice(&part.statistics);
    }

    /// Subtracts the mean from the weight gradient of each prunable filter (gradient
    /// centralisation, Yong et al. 2020). Inputs behind a ReLU are positive, so a common change of
    /// all weights of a filter is what makes its output negative everywhere.
    pub(super) fn centre(&mut self, graph: &Graph) {
        for node in graph.nodes.iter().filter(|node| graph.is_prunable(node)) {
            let Some(gradient) = self.arrays.get_mut(&format!("{}.weight", node.name)) else {
                continue;
            };
            let filter_len = gradient.len() / node.shape.channels;
            for filter in gradient.chunks_exact_mut(filter_len) {
                let mean = sum_in_fixed_order(filter) / filter_len as f32;
                for value in filter {
                    *value -= mean;
                }
            }
        }
    }
}

/// Moves the running statistics in `weights` towards those of a batch.
pub(super) fn update_running_statistics(weights: &mut Weights, statistics: &[LayerStatistics]) {
    for LayerStatistics { layer, mean, variance } in statistics {
        for (suffix, new) in [("running_mean", mean), ("running_var", variance)] {
            let Some(running) = weights.get_mut(&format!("{layer}.{suffix}")) else { continue };
            for (running, new) in running.data.iter_mut().zip(new) {
                *running = *running * (1.0 - NORM_MOMENTUM) + new * NORM_MOMENTUM;
            }
        }
    }
}

/// Values in a vector of partial sums, and vectors of them.
const LANES: usize = 16;
const VECTORS: usize = 8;

/// Sum of values as a tree over 8 × 16 partial sums: an order that vectorises and is the same on
/// every machine.
fn sum_in_fixed_order(values: &[f32]) -> f32 {
    let mut partial = [[0.0f32; LANES]; VECTORS];
    let mut blocks = values.chunks_exact(LANES * VECTORS);
    for block in &mut blocks {
        for (sums, vector) in partial.iter_mut().zip(block.as_chunks::<LANES>().0) {
            add_to(sums, vector);
        }
    }
    // Pairs of vectors: 8 to 4 to 2 to 1.
    for step in [1, 2, 4] {
        for first in (0..VECTORS).step_by(2 * step) {
            let second = partial[first + step];
            add_to(&mut partial[first], &second);
        }
    }
    let mut sums = partial[0];
    let rest = blocks.remainder().as_chunks::<LANES>();
    for vector in rest.0 {
        add_to(&mut sums, vector);
    }
    // Halves of the vector: 16 to 8 to 4 to 2 to 1.
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0] + rest.1.iter().sum::<f32>()
}

fn add_to(sums: &mut [f32; LANES], values: &[f32; LANES]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, dcnn};

    #[test]
    fn centred_gradients_of_filters_add_up_to_zero_and_the_last_layer_keeps_its_own() {
        let model = Model::random(dcnn([2, 3, 4], 8, 2), 1).expect("model");
        let mut gradients = Gradients::default();
        for name in ["conv2.weight", "fc2.weight", "conv2.bias"] {
            let values = (0..model.array(name).len()).map(|i| (i % 7) as f32).collect();
            gradients.arrays.insert(name.into(), values);
        }
        let before = gradients.arrays.clone();
        gradients.centre(model.graph());
        for filter in gradients.arrays["conv2.weight"].chunks_exact(2 * 25) {
            assert!(filter.iter().sum::<f32>().abs() < 1e-4);
        }
        assert_ne!(gradients.arrays["conv2.weight"], before["conv2.weight"]);
        for name in ["fc2.weight", "conv2.bias"] {
            assert_eq!(gradients.arrays[name], before[name]);
        }
    }

    #[test]
    fn the_fixed_order_adds_every_value_once() {
        for len in [0usize, 1, 15, 16, 17, 127, 128, 129, 1000] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let sum = (len * len.saturating_sub(1) / 2) as f32;
            assert!((sum_in_fixed_order(&values) - sum).abs() <= 1e-6 * sum, "{len} values");
        }
    }
}
