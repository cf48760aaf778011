//! Initial weights without dead units. A filter or hidden unit whose output is negative on every
//! patch is cut off by its ReLU: no gradient reaches it, and it stays dead. Pixels of tissue are
//! bright, so all inputs are positive, and in networks trained without measures half of the units
//! may end like that.
//!
//! Convolutions and hidden layers are treated alike: a "unit" is one output channel.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::batch::{Batch, gather_windows, plain_samples};
use super::recipe::Recipe;
use super::sequential_trainer::{LayerValues, SequentialTrainer};
use crate::dataset::{Augmentation, SamplePixel, Sampler, Tile};
use crate::engine::PATCH_BATCH;
use crate::error::{Error, Result};
use crate::model::{HistoryStep, Model, Weights};

/// Patches on which activations are measured.
const MEASURED_PATCHES: usize = 16 * PATCH_BATCH;
/// A unit that is active at less than this share of positions is dead.
const MIN_ACTIVE_SHARE: f64 = 1e-3;

/// Activations of a layer over some patches.
struct UnitActivations {
    /// Mean of each input channel.
    input_mean: Vec<f64>,
    /// Share of positions at which each unit is positive.
    active_share: Vec<f64>,
    /// Mean square of each unit's output behind the ReLU.
    mean_square: Vec<f64>,
}

/// Dead units of a layer that have been re-initialised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevivedUnits {
    /// Name of the layer in the graph, such as `conv2`.
    pub layer: String,
    /// Units that were re-initialised, at most [`Self::units`].
    pub dead: usize,
    /// All units of the layer.
    pub units: usize,
}

/// The model that a run begins with, and what was re-initialised for it.
#[derive(Debug)]
pub(super) struct InitialModel {
    pub model: Model,
    pub revived: Vec<RevivedUnits>,
}

/// A hidden layer and the layer that reads it.
struct HiddenLayer {
    name: String,
    reader: String,
}

/// The weights that a run begins with: those of `model` unless the recipe asks for measures against
/// dead units.
///
/// # Errors
/// [`Error::Unsupported`] when it asks for measures in a network that is no chain: the DCCN
/// normalises its batches and needs none.
pub(super) fn initial_model(
    model: &Model,
    recipe: &Recipe,
    tiles: &[Tile],
    sampler: &Sampler,
) -> Result<InitialModel> {
    let mut initial = InitialModel { model: model.clone(), revived: Vec::new() };
    if recipe.dead_units.is_off() {
        return Ok(initial);
    }
    let Some(network) = SequentialTrainer::new(model.graph()) else {
        return Err(Error::unsupported(
            "--revive is for DCNNs; the DCCN normalises its batches and needs no such care",
        ));
    };
    let pixels: Vec<_> = sampler.train.iter().copied().cycle().take(MEASURED_PATCHES).collect();
    let patches = plain_patches(tiles, &pixels);
    let was_trained = model.card().history.iter().any(HistoryStep::is_training);
    if recipe.dead_units.fit_random_start && !was_trained {
        initial.model = scaled_to_patches(&initial.model, &network, &patches)?;
    }
    if recipe.dead_units.revive {
        initial = revive_dead_units(&initial.model, &network, &patches, recipe.seed)?;
    }
    Ok(initial)
}

/// Patches as they are; nothing here needs their classes.
fn plain_patches(tiles: &[Tile], pixels: &[SamplePixel]) -> Batch {
    let windows = gather_windows(tiles, &plain_samples(pixels), 1, Augmentation::NONE);
    Batch::of_patches(windows, vec![0; pixels.len()])
}

fn hidden_layers(network: &SequentialTrainer) -> Vec<HiddenLayer> {
    let mut layers = Vec::new();
    for pair in network.weighted_layers().windows(2) {
        layers.push(HiddenLayer { name: pair[0].clone(), reader: pair[1].clone() });
    }
    layers
}

/// Re-initialises dead units with random weights, centred on what they receive. Their outgoing
/// weights become zero, so the model computes what it did before (but at the few positions where a
/// unit was active) until it learns.
fn revive_dead_units(
    model: &Model,
    network: &SequentialTrainer,
    patches: &Batch,
    seed: u64,
) -> Result<InitialModel> {
    let mut weights = model.weights().clone();
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5EED);
    let mut revived = Vec::new();
    // Layers in order: a unit revived in one layer changes what the next one is measured on.
    for HiddenLayer { name, reader } in hidden_layers(network) {
        let activations = UnitActivations::measure(network, &weights, patches, &name);
        let units = activations.active_share.len();
        let mut dead = Vec::new();
        for unit in 0..units {
            if activations.is_dead(unit) {
                dead.push(unit);
            }
        }
        if !dead.is_empty() {
            revived.push(RevivedUnits { layer: name.clone(), dead: dead.len(), units });
        }
        for unit in dead {
            randomise_unit(&mut weights, &name, unit, &activations, &mut rng);
            centre_unit(&mut weights, &name, unit, &activations);
            zero_outgoing(&mut weights, &reader, unit, units);
        }
    }
    Ok(InitialModel { model: model.with_weights(weights)?, revived })
}

/// Uniform random weights, scaled to the mean square norm of the layer's live units.
fn randomise_unit(
    weights: &mut Weights,
    layer: &str,
    unit: usize,
    activations: &UnitActivations,
    rng: &mut ChaCha8Rng,
) {
    let Some(array) = weights.get_mut(&format!("{layer}.weight")) else { return };
    let units = activations.active_share.len();
    let fan_in = array.data.len() / units;
    let mut live = 0;
    let mut sum = 0.0;
    for (other, weights) in array.data.chunks_exact(fan_in).enumerate() {
        if !activations.is_dead(other) {
            live += 1;
            sum += square_norm(weights);
        }
    }
    let target = if live == 0 { 1.0 } else { sum / f64::from(live) };
    let weights = &mut array.data[unit * fan_in..][..fan_in];
    for weight in weights.iter_mut() {
        // 24 random bits: uniform in [−1, 1) and exact in f32.
        *weight = (rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
    }
    let scale = (target / square_norm(weights)).sqrt() as f32;
    for weight in weights {
        *weight *= scale;
    }
}

fn square_norm(weights: &[f32]) -> f64 {
    weights.iter().map(|w| f64::from(*w).powi(2)).sum()
}

/// Sets a unit's bias so that its mean output in front of the ReLU is zero.
fn centre_unit(weights: &mut Weights, layer: &str, unit: usize, activations: &UnitActivations) {
    let array = &weights[&format!("{layer}.weight")].data;
    let fan_in = array.len() / activations.active_share.len();
    let channel_weights = fan_in / activations.input_mean.len();
    let unit_weights = &array[unit * fan_in..][..fan_in];
    let mut mean = 0.0;
    for (channel, input_mean) in
        unit_weights.chunks_exact(channel_weights).zip(&activations.input_mean)
    {
        let sum: f64 = channel.iter().copied().map(f64::from).sum();
        mean += sum * input_mean;
    }
    if let Some(bias) = weights.get_mut(&format!("{layer}.bias")) {
        bias.data[unit] = -mean as f32;
    }
}

/// Sets the weights by which the next layer reads a unit to zero.
fn zero_outgoing(weights: &mut Weights, reader: &str, unit: usize, units: usize) {
    let Some(array) = weights.get_mut(&format!("{reader}.weight")) else { return };
    let fan_in = array.data.len() / array.shape[0];
    // `[reading unit][unit][row][column]`: a convolution has kernel² weights a unit, a fully
    // connected layer the area of its input.
    let weights_per_unit = fan_in / units;
    for reading in array.data.chunks_exact_mut(fan_in) {
        reading[unit * weights_per_unit..][..weights_per_unit].fill(0.0);
    }
}

/// A random start scaled to patches, layer by layer: the output of every unit in front of its ReLU
/// has mean 0 and standard deviation 1 (LSUV, Mishkin & Matas 2016).
fn scaled_to_patches(model: &Model, network: &SequentialTrainer, patches: &Batch) -> Result<Model> {
    let mut weights = model.weights().clone();
    for HiddenLayer { name, .. } in hidden_layers(network) {
        let before = UnitActivations::measure(network, &weights, patches, &name);
        let units = before.active_share.len();
        for unit in 0..units {
            centre_unit(&mut weights, &name, unit, &before);
        }
        // Measured again, for the scale is that of the centred output.
        let centred = UnitActivations::measure(network, &weights, patches, &name);
        for unit in 0..units {
            // Half the variance of a symmetric distribution around 0 lies above 0.
            let variance = 2.0 * centred.mean_square[unit];
            let scale = (1.0 / variance.max(1e-12).sqrt()) as f32;
            for suffix in ["weight", "bias"] {
                let Some(array) = weights.get_mut(&format!("{name}.{suffix}")) else { continue };
                let len = array.data.len() / units;
                for value in &mut array.data[unit * len..][..len] {
                    *value *= scale;
                }
            }
        }
    }
    model.with_weights(weights)
}

impl UnitActivations {
    /// Activations of a layer over the full groups of a batch.
    fn measure(
        network: &SequentialTrainer,
        weights: &Weights,
        patches: &Batch,
        layer: &str,
    ) -> Self {
        let mut sums = Self { input_mean: vec![], active_share: vec![], mean_square: vec![] };
        network.visit_layer(weights, patches, layer, |values| {
            let LayerValues { input, channels, output, filters } = values;
            add_channel_means(&mut sums.input_mean, input, channels, f64::from);
            add_channel_means(&mut sums.active_share, output, filters, |v| {
                if v > 0.0 { 1.0 } else { 0.0 }
            });
            add_channel_means(&mut sums.mean_square, output, filters, |v| f64::from(v).powi(2));
        });
        let groups = (patches.len() / PATCH_BATCH).max(1) as f64;
        for mean in [&mut sums.input_mean, &mut sums.active_share, &mut sums.mean_square] {
            for value in mean {
                *value /= groups;
            }
        }
        sums
    }

    fn is_dead(&self, unit: usize) -> bool {
        self.active_share[unit] < MIN_ACTIVE_SHARE
    }
}

/// Adds the mean of `f` over each channel.
fn add_channel_means(sums: &mut Vec<f64>, values: &[f32], channels: usize, f: impl Fn(f32) -> f64) {
    sums.resize(channels, 0.0);
    let channel_len = values.len() / channels;
    for (sum, channel) in sums.iter_mut().zip(values.chunks_exact(channel_len)) {
        let total: f64 = channel.iter().map(|&v| f(v)).sum();
        *sum += total / channel_len as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Prior, phantom};
    use crate::model::{TrainingStep, dccn, dcnn};
    use crate::train::DeadUnitOptions;

    /// A network that was trained, as far as its card says, with one dead unit in each layer.
    fn with_dead_units() -> Model {
        let mut model = Model::random(dcnn([3, 5, 9], 20, 2), 4).expect("model");
        model.card_mut().history.push(HistoryStep::Train(TrainingStep::default()));
        let mut weights = model.weights().clone();
        for name in ["conv1", "conv2", "conv3", "fc1"] {
            weights.get_mut(&format!("{name}.bias")).expect("bias").data[1] = -1e3;
        }
        model.with_weights(weights).expect("model")
    }

    fn sample(tiles: &[Tile]) -> (Sampler, Batch) {
        let sampler = Sampler::draw(tiles, 300, Prior::Natural, 1).expect("sample");
        let patches = plain_patches(tiles, &sampler.train[..64]);
        (sampler, patches)
    }

    fn revived(model: &Model, tiles: &[Tile], sampler: &Sampler) -> Result<InitialModel> {
        let recipe = Recipe { dead_units: DeadUnitOptions::ALL, ..Recipe::DEFAULT };
        initial_model(model, &recipe, tiles, sampler)
    }

    #[test]
    fn dead_units_are_revived_and_the_model_computes_what_it_did() {
        let tiles = [phantom::tile(90, 80, 3)];
        let model = with_dead_units();
        let (sampler, patches) = sample(&tiles);
        let network = SequentialTrainer::new(model.graph()).expect("a chain");
        let start = revived(&model, &tiles, &sampler).expect("start");
        let layers: Vec<&str> = start.revived.iter().map(|r| r.layer.as_str()).collect();
        assert_eq!(layers, ["conv1", "conv2", "conv3", "fc1"], "{:?}", start.revived);
        let logits = |model: &Model| network.logits(model.weights(), &patches);
        for (a, b) in logits(&start.model).iter().zip(logits(&model)) {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} {b}");
        }
        for HiddenLayer { name, .. } in hidden_layers(&network) {
            let weights = start.model.weights();
            let found = UnitActivations::measure(&network, weights, &patches, &name);
            let units = found.active_share.len();
            assert!(
                !(0..units).any(|unit| found.is_dead(unit)),
                "{name}: {:?}",
                found.active_share
            );
        }
        let again = revived(&start.model, &tiles, &sampler).expect("start");
        assert_eq!(again.revived, [], "nothing is left to do");
    }

    #[test]
    fn a_random_start_is_scaled_so_that_every_unit_is_active_about_half_the_time() {
        let tiles = [phantom::tile(90, 80, 3)];
        let model = Model::random(dcnn([4, 6, 8], 16, 2), 5).expect("model");
        let (sampler, patches) = sample(&tiles);
        let network = SequentialTrainer::new(model.graph()).expect("a chain");
        let start = revived(&model, &tiles, &sampler).expect("start").model;
        for HiddenLayer { name, .. } in hidden_layers(&network) {
            let found = UnitActivations::measure(&network, start.weights(), &patches, &name);
            let shares = &found.active_share;
            assert!(shares.iter().all(|s| (0.1..0.9).contains(s)), "{name}: {shares:?}");
            let squares = &found.mean_square;
            assert!(squares.iter().all(|s| (0.1..2.0).contains(s)), "{name}: {squares:?}");
        }
    }

    #[test]
    fn a_network_with_normalisation_is_refused() {
        let tiles = [phantom::tile(90, 80, 3)];
        let model = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 2).expect("model");
        assert!(revived(&model, &tiles, &sample(&tiles).0).is_err());
    }
}
