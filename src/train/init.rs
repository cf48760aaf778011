//! A start from which every filter can learn. A filter whose answer is negative on every patch is
//! cut off by its rectifier: no gradient reaches it, and it stays silent for good. Tissue is
//! bright, so all inputs are positive, and of a network trained without care half of the filters
//! may end like that.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::batch::Batch;
use super::recipe::Recipe;
use super::sequential_trainer::SequentialTrainer;
use crate::dataset::{Augmentation, Sampler, Tile};
use crate::engine::PATCH_BATCH;
use crate::error::{Error, Result};
use crate::model::{Graph, HistoryStep, Model, Weights};

/// Patches that a start is judged by.
const SAMPLE: usize = 16 * PATCH_BATCH;
/// A filter that answers at less than this share of places is silent.
const SILENT: f64 = 1e-3;

/// What a layer's filters answer on some patches.
struct UnitActivations {
    /// Mean of each input channel.
    inputs: Vec<f64>,
    /// Share of places where each filter answers, and the mean of its squares.
    active: Vec<f64>,
    squares: Vec<f64>,
}

/// Filters of a layer that were silent and have been drawn anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevivedUnits {
    pub layer: String,
    pub silent: usize,
    pub filters: usize,
}

/// The weights that a run begins with and, where the recipe asks for it, the layers in which
/// filters were redrawn.
///
/// # Errors
/// Those of [`awake`].
pub fn begin(
    model: &Model,
    recipe: &Recipe,
    tiles: &[Tile],
    sampler: &Sampler,
) -> Result<(Model, Vec<RevivedUnits>)> {
    if !recipe.awake {
        return Ok((model.clone(), Vec::new()));
    }
    awake(model, tiles, sampler, recipe.seed)
}

/// A start from which every filter of a DCNN can learn, and what was redrawn for it. Weights that
/// were never trained are first fitted to `tiles`.
///
/// # Errors
/// [`Error::Unsupported`] for a network that is no chain: the DCCN normalises its batches and needs
/// no such care.
fn awake(
    model: &Model,
    tiles: &[Tile],
    sampler: &Sampler,
    seed: u64,
) -> Result<(Model, Vec<RevivedUnits>)> {
    let Some(network) = SequentialTrainer::of(model.graph()) else {
        return Err(Error::unsupported(
            "--awake is for DCNNs; the DCCN normalises its batches and needs no such care",
        ));
    };
    let places: Vec<_> =
        sampler.train.iter().cycle().take(SAMPLE).map(|&place| (place, 0)).collect();
    let sample = Batch::gather(tiles, &places, 1, Augmentation::NONE);
    let trained = model.card().history.iter().any(HistoryStep::is_training);
    if trained {
        woken(model, &network, &sample, seed)
    } else {
        woken(&fitted(model, &network, &sample)?, &network, &sample, seed)
    }
}

/// Takes the mean out of each hidden filter's gradient (Yong et al. 2020, gradient centralization).
/// Inputs behind a rectifier are all positive, so a common push on all taps of a filter is what
/// moves it below zero for good.
pub fn centre_gradients(gradients: &mut BTreeMap<String, Tensor<1>>, graph: &Graph) {
    for node in graph.nodes.iter().filter(|node| graph.is_prunable(node)) {
        let name = format!("{}.weight", node.name);
        let Some(gradient) = gradients.remove(&name) else { continue };
        let ([count], filters) = (gradient.dims(), node.shape.channels);
        let rows = gradient.reshape([filters, count / filters]);
        let centred = rows.clone() - rows.mean_dim(1);
        gradients.insert(name, centred.reshape([count]));
    }
}

/// The names of hidden layers, with what reads them.
fn hidden(network: &SequentialTrainer) -> Vec<(String, String)> {
    let names = network.weighted();
    names.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// Redraws silent filters around what they see. Their outgoing weights become zero, so the model
/// answers as before until it learns (but at the few places where a filter was not quite silent).
fn woken(
    model: &Model,
    network: &SequentialTrainer,
    sample: &Batch,
    seed: u64,
) -> Result<(Model, Vec<RevivedUnits>)> {
    let mut weights = model.weights().clone();
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5EED);
    let mut redrawn = Vec::new();
    for (layer, reader) in hidden(network) {
        let answers = answers(network, &weights, sample, &layer);
        let filters = answers.active.len();
        let silent: Vec<usize> = (0..filters).filter(|&f| answers.active[f] < SILENT).collect();
        if !silent.is_empty() {
            redrawn.push(RevivedUnits { layer: layer.clone(), silent: silent.len(), filters });
        }
        for f in silent {
            redraw(&mut weights, &layer, f, filters, &answers, &mut rng);
            forget(&mut weights, &reader, f, filters);
        }
    }
    Ok((model.with_weights(weights)?, redrawn))
}

fn redraw(
    weights: &mut Weights,
    layer: &str,
    f: usize,
    filters: usize,
    answers: &UnitActivations,
    rng: &mut ChaCha8Rng,
) {
    let Some(array) = weights.get_mut(&format!("{layer}.weight")) else { return };
    let taps = array.data.len() / filters;
    let norm = |row: &[f32]| row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
    let live: Vec<f64> = (0..filters)
        .filter(|&o| answers.active[o] >= SILENT)
        .map(|o| norm(&array.data[o * taps..][..taps]))
        .collect();
    let wanted = if live.is_empty() { 1.0 } else { live.iter().sum::<f64>() / live.len() as f64 };
    let row = &mut array.data[f * taps..][..taps];
    row.iter_mut().for_each(|w| *w = (rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0);
    let scale = (wanted / norm(row)).sqrt() as f32;
    row.iter_mut().for_each(|w| *w *= scale);
    centre(weights, layer, f, filters, &answers.inputs);
}

/// Sets a filter's bias so that its mean answer, before it is rectified, is zero.
fn centre(weights: &mut Weights, layer: &str, f: usize, filters: usize, inputs: &[f64]) {
    let data = &weights[&format!("{layer}.weight")].data;
    let taps = data.len() / filters;
    let row = &data[f * taps..][..taps];
    let each = taps / inputs.len();
    let mean: f64 = row
        .chunks_exact(each)
        .zip(inputs)
        .map(|(c, m)| c.iter().map(|&w| f64::from(w)).sum::<f64>() * m)
        .sum();
    if let Some(bias) = weights.get_mut(&format!("{layer}.bias")) {
        bias.data[f] = -mean as f32;
    }
}

/// Nothing of filter `f` is read any more.
fn forget(weights: &mut Weights, reader: &str, f: usize, filters: usize) {
    let Some(array) = weights.get_mut(&format!("{reader}.weight")) else { return };
    let rows = array.shape[0];
    let taps = array.data.len() / rows;
    let each = taps / filters;
    array.data.chunks_exact_mut(taps).for_each(|row| row[f * each..][..each].fill(0.0));
}

/// A random start fitted to patches, layer by layer: every filter's mean answer before it is
/// rectified is zero and its deviation one (Mishkin and Matas 2016).
fn fitted(model: &Model, network: &SequentialTrainer, sample: &Batch) -> Result<Model> {
    let mut weights = model.weights().clone();
    for (layer, _) in hidden(network) {
        let before = answers(network, &weights, sample, &layer);
        let filters = before.active.len();
        (0..filters).for_each(|f| centre(&mut weights, &layer, f, filters, &before.inputs));
        let after = answers(network, &weights, sample, &layer);
        for f in 0..filters {
            // A symmetrical answer has half its squares above zero.
            let scale = (1.0 / (2.0 * after.squares[f]).max(1e-12).sqrt()) as f32;
            for suffix in ["weight", "bias"] {
                let Some(array) = weights.get_mut(&format!("{layer}.{suffix}")) else { continue };
                let each = array.data.len() / filters;
                array.data[f * each..][..each].iter_mut().for_each(|w| *w *= scale);
            }
        }
    }
    model.with_weights(weights)
}

fn answers(
    network: &SequentialTrainer,
    weights: &Weights,
    sample: &Batch,
    layer: &str,
) -> UnitActivations {
    let means = |values: &[f32], channels: usize, f: &dyn Fn(f32) -> f64| -> Vec<f64> {
        let each = values.len() / channels;
        values
            .chunks_exact(each)
            .map(|c| c.iter().map(|&v| f(v)).sum::<f64>() / each as f64)
            .collect()
    };
    let mut sums: Option<UnitActivations> = None;
    network.seen(weights, sample, layer, |input, channels, output, filters| {
        let new = UnitActivations {
            inputs: means(input, channels, &|v| f64::from(v)),
            active: means(output, filters, &|v| f64::from(u8::from(v > 0.0))),
            squares: means(output, filters, &|v| f64::from(v).powi(2)),
        };
        match &mut sums {
            None => sums = Some(new),
            Some(sums) => {
                let add =
                    |a: &mut Vec<f64>, b: Vec<f64>| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                add(&mut sums.inputs, new.inputs);
                add(&mut sums.active, new.active);
                add(&mut sums.squares, new.squares);
            }
        }
    });
    let count = (sample.len() / PATCH_BATCH).max(1) as f64;
    let mut sums =
        sums.unwrap_or(UnitActivations { inputs: vec![], active: vec![], squares: vec![] });
    for v in [&mut sums.inputs, &mut sums.active, &mut sums.squares] {
        v.iter_mut().for_each(|v| *v /= count);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Prior, phantom};
    use crate::model::{TrainingStep, dccn, dcnn};

    /// A network that was trained, as far as its card says, with one filter of each layer silenced.
    fn silenced() -> Model {
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
        let places: Vec<_> = sampler.train.iter().take(64).map(|&p| (p, 0)).collect();
        (sampler, Batch::gather(tiles, &places, 1, Augmentation::NONE))
    }

    #[test]
    fn silent_filters_are_redrawn_and_the_model_answers_as_before() {
        let (tiles, model) = ([phantom::tile(90, 80, 3)], silenced());
        let (sampler, batch) = sample(&tiles);
        let network = SequentialTrainer::of(model.graph()).expect("a chain");
        let (start, redrawn) = awake(&model, &tiles, &sampler, 1).expect("start");
        let layers: Vec<&str> = redrawn.iter().map(|r| r.layer.as_str()).collect();
        assert_eq!(layers, ["conv1", "conv2", "conv3", "fc1"], "{redrawn:?}");
        let answers_of = |m: &Model| network.logits(m.weights(), &batch).concat();
        for (a, b) in answers_of(&start).iter().zip(answers_of(&model)) {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} {b}");
        }
        for (layer, _) in hidden(&network) {
            let active = answers(&network, start.weights(), &batch, &layer).active;
            assert!(active.iter().all(|&share| share > SILENT), "{layer}: {active:?}");
        }
        assert_eq!(
            awake(&start, &tiles, &sampler, 1).expect("start").1,
            [],
            "nothing is left to do"
        );
    }

    #[test]
    fn a_random_start_is_fitted_so_that_every_filter_answers_half_the_time() {
        let (tiles, model) =
            ([phantom::tile(90, 80, 3)], Model::random(dcnn([4, 6, 8], 16, 2), 5).expect("model"));
        let (sampler, batch) = sample(&tiles);
        let network = SequentialTrainer::of(model.graph()).expect("a chain");
        let (start, _) = awake(&model, &tiles, &sampler, 1).expect("start");
        for (layer, _) in hidden(&network) {
            let found = answers(&network, start.weights(), &batch, &layer);
            assert!(
                found.active.iter().all(|share| (0.1..0.9).contains(share)),
                "{layer}: {:?}",
                found.active
            );
            assert!(
                found.squares.iter().all(|s| (0.1..2.0).contains(s)),
                "{layer}: {:?}",
                found.squares
            );
        }
    }

    #[test]
    fn centred_gradients_of_hidden_filters_add_up_to_nothing_and_the_last_layer_keeps_its_own() {
        let model = Model::random(dcnn([2, 3, 4], 8, 2), 1).expect("model");
        let device = burn::tensor::Device::flex();
        let of = |name: &str| {
            let count = model.array(name).len();
            let values: Vec<f32> = (0..count).map(|i| (i % 7) as f32).collect();
            (
                name.to_owned(),
                Tensor::<1>::from_data(burn::tensor::TensorData::new(values, [count]), &device),
            )
        };
        let mut gradients = BTreeMap::from(["conv2.weight", "fc2.weight", "conv2.bias"].map(of));
        let before = gradients.clone();
        centre_gradients(&mut gradients, model.graph());
        let values = |map: &BTreeMap<String, Tensor<1>>, name: &str| {
            super::super::network::values(map[name].clone()).expect("values")
        };
        for row in values(&gradients, "conv2.weight").chunks_exact(2 * 25) {
            assert!(row.iter().sum::<f32>().abs() < 1e-4);
        }
        for name in ["fc2.weight", "conv2.bias"] {
            assert_eq!(values(&gradients, name), values(&before, name));
        }
    }

    #[test]
    fn a_network_with_normalisation_is_refused() {
        let tiles = [phantom::tile(90, 80, 3)];
        let model = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 2).expect("model");
        assert!(awake(&model, &tiles, &sample(&tiles).0, 1).is_err());
    }
}
