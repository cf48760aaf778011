//! AdamW (Loshchilov & Hutter 2019) on plain arrays; every backend's gradients end here.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Graph, Role, Weights};
use crate::platform::{for_each_part, on_pool};

/// PyTorch's defaults.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Values of an array that one thread updates at a time.
const PART: usize = 1 << 15;

/// Running means of the gradient of one array and of its square, in the array's layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Mean of the gradient.
    pub first: Vec<f32>,
    /// Mean of the squared gradient.
    pub second: Vec<f32>,
}

/// State of a run's optimiser.
#[derive(Debug)]
pub(super) struct AdamW {
    weight_decay: f64,
    /// Arrays that are decayed: weights; biases and normalisations are not.
    decayed: BTreeSet<String>,
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

/// Factors of one step, the same for every value of an array.
#[derive(Debug, Clone, Copy)]
struct StepFactors {
    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    correction_1: f32,
    correction_2: f32,
    /// 1 − rate · decay.
    decay: f32,
    rate: f32,
}

/// Neighbouring values of one array.
struct Part<'a> {
    weights: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
    factors: StepFactors,
}

impl AdamW {
    /// An optimiser for the arrays of a graph, before its first step.
    pub(super) fn new(graph: &Graph, weight_decay: f64) -> Self {
        let mut decayed = BTreeSet::new();
        for spec in graph.arrays() {
            if spec.role == Role::Weight {
                decayed.insert(spec.name);
            }
        }
        Self { weight_decay, decayed, steps: 0, moments: BTreeMap::new() }
    }

    /// One step along `gradients` (by array name) at a learning rate. The same on any number of
    /// threads: every value is updated by itself.
    pub(super) fn step(
        &mut self,
        weights: &mut Weights,
        gradients: &BTreeMap<String, Vec<f32>>,
        rate: f64,
    ) {
        self.steps += 1;
        on_pool(|| {
            for (name, gradient) in gradients {
                self.update(name, weights, gradient, rate);
            }
        });
    }

    fn update(&mut self, name: &str, weights: &mut Weights, gradient: &[f32], rate: f64) {
        let Some(array) = weights.get_mut(name) else { return };
        let moments = self.moments.entry(name.to_owned()).or_insert_with(|| Moments {
            first: vec![0.0; gradient.len()],
            second: vec![0.0; gradient.len()],
        });
        let time = self.steps as i32;
        let decay = if self.decayed.contains(name) { rate * self.weight_decay } else { 0.0 };
        let factors = StepFactors {
            correction_1: 1.0 - BETA_1.powi(time),
            correction_2: 1.0 - BETA_2.powi(time),
            decay: (1.0 - decay) as f32,
            rate: rate as f32,
        };
        let weights = array.data.chunks_mut(PART);
        let first = moments.first.chunks_mut(PART);
        let second = moments.second.chunks_mut(PART);
        let gradient = gradient.chunks(PART);
        let mut parts = Vec::new();
        for (((weights, first), second), gradient) in weights.zip(first).zip(second).zip(gradient) {
            parts.push(Part { weights, first, second, gradient, factors });
        }
        for_each_part(parts, Part::update);
    }

    /// Moments by array name, for a checkpoint.
    pub(super) fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// Continues from the [`Self::moments`] after `steps` steps.
    pub(super) fn restore(&mut self, moments: BTreeMap<String, Moments>, steps: u64) {
        self.moments = moments;
        self.steps = steps;
    }
}

impl Part<'_> {
    /// m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g²,
    /// w ← (1 − rate·decay)·w − rate · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε).
    fn update(self) {
        let StepFactors { correction_1, correction_2, decay, rate } = self.factors;
        let moments = self.first.iter_mut().zip(self.second);
        for ((weight, (first, second)), &gradient) in
            self.weights.iter_mut().zip(moments).zip(self.gradient)
        {
            *first = *first * BETA_1 + gradient * (1.0 - BETA_1);
            *second = *second * BETA_2 + gradient * gradient * (1.0 - BETA_2);
            let direction = (*first / correction_1) / ((*second / correction_2).sqrt() + EPSILON);
            *weight = *weight * decay - direction * rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, dcnn};

    /// The same number by the textbook in f64.
    #[test]
    fn steps_follow_the_formula_and_biases_are_not_decayed() {
        let model = Model::random(dcnn([2, 3, 4], 8, 2), 1).expect("model");
        let mut weights = model.weights().clone();
        let mut optimiser = AdamW::new(model.graph(), 0.1);
        let names = ["conv2.weight", "conv2.bias"];
        let rate = 0.01;
        let mut expected = names.map(|name| f64::from(model.array(name)[1]));
        let mut first = 0.0;
        let mut second = 0.0;
        for step in 1..=5 {
            let value = 0.3 - 0.2 * step as f32;
            let gradients = names.map(|name| (name.into(), vec![value; model.array(name).len()]));
            optimiser.step(&mut weights, &BTreeMap::from(gradients), rate);
            first = 0.9 * first + 0.1 * f64::from(value);
            second = 0.999 * second + 0.001 * f64::from(value).powi(2);
            let corrected = second / (1.0 - 0.999f64.powi(step));
            let direction = first / (1.0 - 0.9f64.powi(step)) / (corrected.sqrt() + 1e-8);
            expected[0] = expected[0] * (1.0 - rate * 0.1) - rate * direction;
            expected[1] -= rate * direction;
        }
        for (name, expected) in names.iter().zip(expected) {
            let found = f64::from(weights[*name].data[1]);
            assert!((found - expected).abs() < 1e-6, "{name}: {found} against {expected}");
        }
        assert_eq!(weights["fc1.weight"], model.weights()["fc1.weight"], "no gradient, no step");
    }
}
