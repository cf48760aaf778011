//! Seeded random weights, the same on each platform.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{Array, Graph, Role, Weights};

/// PyTorch's defaults: weights and biases of convolutions and linear layers uniform within
/// ±1/√fan-in; batch normalisation with scale 1 and shift 0.
pub(super) fn random_weights(graph: &Graph, seed: u64) -> Weights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = Weights::new();
    for spec in graph.arrays() {
        let count = spec.shape.iter().product();
        let data = match spec.role {
            Role::Weight | Role::Bias => {
                let bound = 1.0 / (spec.fan_in as f32).sqrt();
                (0..count).map(|_| uniform(&mut rng, bound)).collect()
            }
            Role::NormScale | Role::RunningVariance => vec![1.0; count],
            Role::NormShift | Role::RunningMean => vec![0.0; count],
        };
        weights.insert(spec.name, Array { shape: spec.shape, data });
    }
    weights
}

/// A number between −`bound` and `bound`, from the upper 24 bits of the generator.
fn uniform(rng: &mut ChaCha8Rng, bound: f32) -> f32 {
    let unit = (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32;
    (2.0 * unit - 1.0) * bound
}

#[cfg(test)]
mod tests {
    use crate::model::{Architecture, Model};

    #[test]
    fn the_same_seed_gives_the_same_weights_and_another_gives_others() {
        let make = |seed| Model::random(Architecture::paper_dcnn(), seed).expect("model");
        assert_eq!(make(1).fingerprint(), make(1).fingerprint());
        assert_ne!(make(1).fingerprint(), make(2).fingerprint());
    }

    #[test]
    fn weights_stay_within_one_over_root_fan_in_and_fill_the_range() {
        let model = Model::random(Architecture::paper_dcnn(), 3).expect("model");
        let weights = model.array("conv2.weight");
        let bound = 1.0 / (25.0f32 * 25.0).sqrt();
        let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
        assert!(largest <= bound && largest > 0.99 * bound, "{largest} against {bound}");
    }
}
