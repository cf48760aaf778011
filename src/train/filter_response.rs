//! How filters respond to patches: the criteria of pruning that are measured on data.
//!
//! A filter's output a behind its ReLU is M values a patch. With the gradient g of the patch's loss
//! by them:
//!
//! ```text
//! apoz:   share of values a > 0 over all patches                  (Hu et al. 2016, 1 − APoZ)
//! taylor: mean over patches of | (1/M) Σ a·g |                    (Molchanov et al. 2017)
//! ```
//!
//! Without the filter a is 0, which changes the loss by −Σ a·g to first order. In a dense block
//! several normalisations read a filter; its M values are those behind all of their rectifiers.

use std::collections::BTreeMap;

use super::batch::{Batch, class_maps};
use super::native_network::NativeNetwork;
use crate::dataset::{Prior, Sampler, Tile};
use crate::engine::PATCH_BATCH;
use crate::error::{Error, Result};
use crate::model::{ChannelSource, Graph, Head, Model};
use crate::prune::{Criterion, FilterScores};

/// Patches in a forward and backward pass; batch normalisation takes its statistics from them, as
/// in training.
const BATCH: usize = 64;

/// Output of a ReLU for a group of 32 patches, and the gradient of the batch's mean loss by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReluValues<'a> {
    /// Name of the layer in front of the ReLU: a convolution or fully connected layer (DCNN), a
    /// normalisation (DCCN).
    pub layer: &'a str,
    /// Index in the batch of the group's first patch.
    pub first: usize,
    /// Patches in the group; the last one may be smaller.
    pub patches: usize,
    /// `[channel][row][column][patch]`.
    pub output: &'a [f32],
    /// The same layout.
    pub grad_output: &'a [f32],
}

/// Sums over the values of a filter.
#[derive(Debug, Clone, Default)]
struct FilterSums {
    /// Values above 0.
    active: f64,
    values: f64,
    /// Of each patch of the current batch: Σ a·g.
    products: Vec<f64>,
    /// Sum of |Σ a·g| over the patches of earlier batches.
    taylor: f64,
}

/// Importance of filters and hidden units by a criterion that needs data, on `patches` patches of
/// labelled tiles as they cover them, without augmentation. `progress` gets the number of finished
/// patches.
///
/// ```
/// use prunella::dataset::phantom;
/// use prunella::model::{Model, dcnn};
/// use prunella::prune::{Criterion, LayerRatios, PruningPlan, Scope};
/// use prunella::train::measure_filters;
///
/// let model = Model::random(dcnn([2, 3, 4], 8, 2), 1)?;
/// let tiles = [phantom::tile(64, 64, 1)];
/// let scores = measure_filters(&model, &tiles, Criterion::Taylor, 40, 1, &mut |_| {})?;
/// let ratios = LayerRatios::uniform(0.5, Scope::All)?;
/// let (plan, _) = PruningPlan::new(&model, &scores, &ratios)?;
/// assert_eq!(plan.kept_filters["fc1"].0.len(), 4);
/// # Ok::<(), prunella::error::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a criterion that needs no data or no patches at all, [`Error::Mismatch`]
/// when the tiles have fewer.
pub fn measure_filters(
    model: &Model,
    tiles: &[Tile],
    criterion: Criterion,
    patches: usize,
    seed: u64,
    progress: &mut dyn FnMut(usize),
) -> Result<FilterScores> {
    if !criterion.needs_data() {
        return Err(Error::invalid(format!(
            "The criterion '{}' looks at weights alone",
            criterion.name()
        )));
    }
    if patches == 0 {
        return Err(Error::invalid("Filters are measured on at least one patch"));
    }
    let sample = Sampler::draw(tiles, patches, Prior::Natural, seed)?;
    let mut pixels = sample.train;
    pixels.extend(sample.validation);
    let targets = class_maps(tiles, model.card(), None)?;
    let mut response = FilterResponse::new(model)?;
    let mut done = 0;
    for pixels in pixels.chunks(BATCH) {
        response.add(model, &Batch::gather_plain(tiles, &targets, pixels, 1), model.card().head);
        done += pixels.len();
        progress(done);
    }
    let mut names = Vec::new();
    for tile in tiles {
        names.push(tile.name.clone());
    }
    Ok(FilterScores {
        criterion,
        seed: Some(seed),
        patches: Some(patches),
        tiles: names,
        layers: response.scores(model.graph(), criterion),
    })
}

/// Sums over batches.
struct FilterResponse {
    network: NativeNetwork,
    /// By node and channel.
    sources: Vec<Vec<ChannelSource>>,
    /// By node and filter.
    sums: Vec<Vec<FilterSums>>,
}

impl FilterResponse {
    fn new(model: &Model) -> Result<Self> {
        let graph = model.graph();
        let network = NativeNetwork::new(graph)?;
        let mut sums = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let filters = if graph.is_prunable(node) { node.shape.channels } else { 0 };
            sums.push(vec![FilterSums::default(); filters]);
        }
        Ok(Self { network, sources: graph.channel_sources(), sums })
    }

    fn add(&mut self, model: &Model, batch: &Batch, head: Head) {
        let Self { network, sources, sums } = self;
        for filter in sums.iter_mut().flatten() {
            filter.products.clear();
            filter.products.resize(batch.len(), 0.0);
        }
        let nodes = &model.graph().nodes;
        network.visit_relus(model.weights(), batch, head, &mut |values| {
            let node = nodes.iter().position(|node| node.name == values.layer);
            // Layers bear the names of their nodes, so there is one.
            let Some(channels) = node.map(|node| &sources[node]) else { return };
            let channel_len = values.output.len() / channels.len();
            let outputs = values.output.chunks_exact(channel_len);
            let gradients = values.grad_output.chunks_exact(channel_len);
            for ((source, output), gradient) in channels.iter().zip(outputs).zip(gradients) {
                if let Some(filter) = sums[source.node].get_mut(source.filter) {
                    filter.add(&values, output, gradient);
                }
            }
        });
        for filter in sums.iter_mut().flatten() {
            // The gradient is that of the mean over the batch.
            let sum: f64 = filter.products.iter().map(|product| product.abs()).sum();
            filter.taylor += sum * batch.len() as f64;
        }
    }

    fn scores(&self, graph: &Graph, criterion: Criterion) -> BTreeMap<String, Vec<f64>> {
        let mut layers = BTreeMap::new();
        for (node, filters) in graph.nodes.iter().zip(&self.sums) {
            // Without a ReLU behind it a layer has no values.
            if filters.is_empty() || filters.iter().any(|filter| filter.values == 0.0) {
                continue;
            }
            let mut scores = Vec::with_capacity(filters.len());
            for filter in filters {
                scores.push(match criterion {
                    // taylor / patches / M, where M = values / patches.
                    Criterion::Taylor => filter.taylor / filter.values,
                    _ => filter.active / filter.values,
                });
            }
            layers.insert(node.name.clone(), scores);
        }
        layers
    }
}

impl FilterSums {
    /// Adds one channel, `[row][column][patch]`.
    fn add(&mut self, group: &ReluValues<'_>, output: &[f32], gradient: &[f32]) {
        let products = &mut self.products[group.first..][..group.patches];
        let outputs = output.as_chunks::<PATCH_BATCH>().0;
        let gradients = gradient.as_chunks::<PATCH_BATCH>().0;
        for (outputs, gradients) in outputs.iter().zip(gradients) {
            for (i, product) in products.iter_mut().enumerate() {
                self.active += f64::from(u8::from(outputs[i] > 0.0));
                *product += f64::from(outputs[i]) * f64::from(gradients[i]);
            }
        }
        self.values += (outputs.len() * group.patches) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{SamplePixel, phantom};
    use crate::model::{Card, dccn, dcnn};

    fn batch(tiles: &[Tile], pixels: u32) -> Batch {
        let pixel = |i| SamplePixel { tile: 0, row: 7 * i % 60, column: 11 * i % 60, cell: false };
        let pixels: Vec<SamplePixel> = (0..pixels).map(pixel).collect();
        let card = Card::new(dcnn([1, 1, 1], 1, 2));
        let targets = class_maps(tiles, &card, None).expect("classes");
        Batch::gather_plain(tiles, &targets, &pixels, 1)
    }

    fn response(model: &Model, batches: &[Batch]) -> FilterResponse {
        let mut response = FilterResponse::new(model).expect("a network");
        for batch in batches {
            response.add(model, batch, Head::Softmax);
        }
        response
    }

    /// Σ a·g over the outputs of a filter equals Σ w·∂L/∂w + b·∂L/∂b over its weights, because the
    /// output is linear in them where the ReLU is open.
    #[test]
    fn the_taylor_score_of_a_patch_follows_from_the_gradients_of_the_weights() {
        let model = Model::random(dcnn([3, 4, 5], 6, 2), 3).expect("model");
        let tiles = [phantom::tile(70, 70, 2)];
        let one_by_one: Vec<Batch> =
            (0..3).map(|i| batch(&tiles, i + 1)).map(|batch| last_patch(&batch)).collect();
        let scores = response(&model, &one_by_one).scores(model.graph(), Criterion::Taylor);
        let network = NativeNetwork::new(model.graph()).expect("a network");
        for (name, positions) in [("conv1", 52 * 52), ("conv2", 22 * 22), ("conv3", 36), ("fc1", 1)]
        {
            let weights = model.array(&format!("{name}.weight"));
            let biases = model.array(&format!("{name}.bias"));
            let fan_in = weights.len() / biases.len();
            let mut expected = vec![0.0; biases.len()];
            for batch in &one_by_one {
                let gradients = network.gradients(model.weights(), batch, Head::Softmax).arrays;
                let by_weight = &gradients[&format!("{name}.weight")];
                let by_bias = &gradients[&format!("{name}.bias")];
                for (filter, expected) in expected.iter_mut().enumerate() {
                    let mut sum = f64::from(biases[filter]) * f64::from(by_bias[filter]);
                    for i in filter * fan_in..(filter + 1) * fan_in {
                        sum += f64::from(weights[i]) * f64::from(by_weight[i]);
                    }
                    *expected += sum.abs() / f64::from(positions) / 3.0;
                }
            }
            for (found, expected) in scores[name].iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-4 * expected + 1e-12, "{name}: {scores:?}");
            }
            assert!(expected.iter().any(|&score| score > 0.0), "{name}");
        }
    }

    /// The last patch of a batch alone.
    fn last_patch(batch: &Batch) -> Batch {
        let patch = batch.windows.len() / batch.len();
        let windows = batch.windows[batch.windows.len() - patch..].to_vec();
        Batch::of_patches(windows, batch.classes[batch.len() - 1..].to_vec())
    }

    #[test]
    fn patches_together_have_the_scores_of_patches_one_by_one() {
        let model = Model::random(dcnn([3, 4, 5], 6, 2), 3).expect("model");
        let tiles = [phantom::tile(70, 70, 2)];
        let one_by_one: Vec<Batch> =
            (0..37).map(|i| batch(&tiles, i + 1)).map(|batch| last_patch(&batch)).collect();
        // Two groups of the kernels, the second one ragged.
        let together = [batch(&tiles, 37)];
        for criterion in [Criterion::Apoz, Criterion::Taylor] {
            let single = response(&model, &one_by_one).scores(model.graph(), criterion);
            let joint = response(&model, &together).scores(model.graph(), criterion);
            assert_eq!(single.len(), 4);
            for (name, single) in &single {
                for (a, b) in single.iter().zip(&joint[name]) {
                    assert!((a - b).abs() <= 1e-4 * a.abs() + 1e-12, "{name} {a} {b}");
                }
            }
        }
    }

    #[test]
    fn a_dead_filter_is_never_active_and_one_with_a_large_bias_always() {
        let model = Model::random(dcnn([3, 4, 5], 6, 2), 3).expect("model");
        let mut weights = model.weights().clone();
        weights.get_mut("conv1.bias").expect("bias").data[..2].copy_from_slice(&[-1e3, 1e3]);
        weights.get_mut("fc1.bias").expect("bias").data[5] = -1e9;
        let model = model.with_weights(weights).expect("model");
        let tiles = [phantom::tile(70, 70, 2)];
        let scores = |criterion| {
            measure_filters(&model, &tiles, criterion, 70, 1, &mut |_| {}).expect("scores")
        };
        let apoz = scores(Criterion::Apoz);
        assert_eq!(apoz.layers["conv1"][..2], [0.0, 1.0]);
        assert_eq!(apoz.layers["fc1"][5].to_bits(), 0);
        assert_eq!(scores(Criterion::Taylor).layers["conv1"][0].to_bits(), 0);
        assert_eq!((apoz.seed, apoz.patches), (Some(1), Some(70)));
        assert_eq!(apoz.tiles, [tiles[0].name.clone()]);
    }

    #[test]
    fn in_a_dense_block_all_readers_of_a_filter_count() {
        let model = Model::random(dccn(2, 3, 2, [3, 3, 3], 2), 3).expect("model");
        let tiles = [phantom::tile(70, 70, 2)];
        let response = response(&model, &[batch(&tiles, 8)]);
        let apoz = response.scores(model.graph(), Criterion::Apoz);
        let taylor = response.scores(model.graph(), Criterion::Taylor);
        let prunable = model.graph().nodes.iter().filter(|node| model.graph().is_prunable(node));
        // All but the last transition, behind which there is no ReLU.
        assert_eq!(apoz.len() + 1, prunable.count());
        assert!(!apoz.contains_key("features.transition3.conv"));
        assert!(apoz.values().flatten().all(|share| (0.0..=1.0).contains(share)));
        assert!(taylor.values().flatten().all(|score| score.is_finite() && *score >= 0.0));
        let index =
            |name: &str| model.graph().nodes.iter().position(|node| node.name == name).expect(name);
        // 28² behind norm0, 14² behind each of the six layers' norms and the transition's.
        let stem = &response.sums[index("features.conv0")][0];
        assert_eq!(stem.values as usize, 8 * (28 * 28 + 7 * 14 * 14));
        let bottleneck = &response.sums[index("features.denseblock1.denselayer2.conv1")][0];
        assert_eq!(bottleneck.values as usize, 8 * 14 * 14);
    }

    /// Behind a normalisation a = relu(γ·x + β), so Σ a·g = γ·∂L/∂γ + β·∂L/∂β.
    #[test]
    fn in_a_dense_block_the_taylor_score_follows_from_the_gradients_of_scales_and_shifts() {
        let model = Model::random(dccn(2, 3, 2, [3, 3, 3], 2), 3).expect("model");
        let mut weights = model.weights().clone();
        for (name, array) in &mut weights {
            if name.contains("norm") && name.strip_suffix(".bias").is_some() {
                for (i, shift) in array.data.iter_mut().enumerate() {
                    *shift = 0.1 + 0.2 * i as f32;
                }
            }
        }
        let model = model.with_weights(weights).expect("model");
        let tiles = [phantom::tile(70, 70, 2)];
        let patch = batch(&tiles, 1);
        let scores = response(&model, std::slice::from_ref(&patch));
        let scores = scores.scores(model.graph(), Criterion::Taylor);
        let network = NativeNetwork::new(model.graph()).expect("a network");
        let gradients = network.gradients(model.weights(), &patch, Head::Softmax).arrays;
        let by_norm = |norm: &str, channel: usize| {
            let mut sum = 0.0;
            for suffix in ["weight", "bias"] {
                let name = format!("{norm}.{suffix}");
                let value = f64::from(model.array(&name)[channel]);
                sum += value * f64::from(gradients[&name][channel]);
            }
            sum
        };
        let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-3 * expected + 1e-10;
        let block = "features.denseblock1";
        let bottleneck = &scores[&format!("{block}.denselayer2.conv1")];
        for (filter, &found) in bottleneck.iter().enumerate() {
            let expected = by_norm(&format!("{block}.denselayer2.norm2"), filter).abs() / 196.0;
            assert!(near(found, expected), "{found} {expected}");
        }
        for (filter, &found) in scores["features.conv0"].iter().enumerate() {
            let mut sum = by_norm("features.norm0", filter);
            for layer in 1..=6 {
                sum += by_norm(&format!("{block}.denselayer{layer}.norm1"), filter);
            }
            sum += by_norm("features.transition1.norm", filter);
            let expected = sum.abs() / f64::from(28 * 28 + 7 * 14 * 14);
            assert!(near(found, expected), "{found} {expected}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let model = Model::random(dcnn([3, 4, 5], 6, 2), 3).expect("model");
        let tiles = [phantom::tile(70, 70, 2)];
        for (criterion, patches) in
            [(Criterion::L1, 10), (Criterion::Taylor, 0), (Criterion::Taylor, 1_000_000)]
        {
            let scores = measure_filters(&model, &tiles, criterion, patches, 1, &mut |_| {});
            assert!(scores.is_err(), "{criterion:?} {patches}");
        }
    }
}
