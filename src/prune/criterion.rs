//! The importance of filters.
//!
//! | criterion | importance of a filter |
//! |---|---|
//! | `l1` | sum of \|w\| over its weights (Li et al. 2017; the paper's) |
//! | `l2` | square root of the sum of w² |
//! | `fpgm` | sum of the distances to the layer's other filters (He et al. 2019) |
//! | `apoz` | share of positions at which its ReLU is positive (Hu et al. 2016) |
//! | `taylor` | mean of \|activation · gradient\| (Molchanov et al. 2017) |
//! | `bn` | \|γ\| of its batch normalisation (Liu et al. 2017) |
//! | `random` | a random number, as a control |

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::{Graph, Model, Node, Op};

/// How the importance of filters and hidden units is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Criterion {
    /// L1 norm of the weights without the bias: the paper's.
    #[default]
    L1,
    /// L2 norm of the weights without the bias.
    L2,
    /// Sum of the Euclidean distances to the other filters of the layer: a filter near their
    /// geometric median can be replaced by them.
    Fpgm,
    /// Share of positions at which the ReLU behind the filter is positive, on patches: 1 less the
    /// average percentage of zeros.
    Apoz,
    /// First-order change of the loss on patches without the filter.
    Taylor,
    /// Scale of the batch normalisation behind the filter.
    Bn,
    /// Random, as a control.
    Random,
}

impl Criterion {
    /// All criteria.
    pub const ALL: [Self; 7] =
        [Self::L1, Self::L2, Self::Fpgm, Self::Apoz, Self::Taylor, Self::Bn, Self::Random];

    /// As on the command line, in plans and in cards.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Fpgm => "fpgm",
            Self::Apoz => "apoz",
            Self::Taylor => "taylor",
            Self::Bn => "bn",
            Self::Random => "random",
        }
    }

    /// Whether it is measured on patches of labelled tiles.
    #[must_use]
    pub fn needs_data(self) -> bool {
        matches!(self, Self::Apoz | Self::Taylor)
    }
}

/// The importance of the filters of each layer, and what it was computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterScores {
    /// How it was measured.
    pub criterion: Criterion,
    /// Decides the patches, or the random numbers; none where weights alone decide.
    pub seed: Option<u64>,
    /// Number of patches on which it was measured.
    pub patches: Option<usize>,
    /// Names of the tiles of the patches.
    pub tiles: Vec<String>,
    /// Layer name → importance of each filter; the largest are kept. Layers on which the criterion
    /// says nothing are absent.
    pub layers: BTreeMap<String, Vec<f64>>,
}

impl FilterScores {
    /// Importance by a criterion that needs no data; `seed` is for [`Criterion::Random`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a criterion that needs data; [`Error::Unsupported`] for
    /// [`Criterion::Bn`] in a network without batch normalisation.
    pub fn of_weights(model: &Model, criterion: Criterion, seed: u64) -> Result<Self> {
        let layers = match criterion {
            Criterion::L1 => by_layer(model, filter_l1_norms),
            Criterion::L2 => by_layer(model, filter_l2_norms),
            Criterion::Fpgm => by_layer(model, distances_to_others),
            Criterion::Random => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                by_layer(model, |_, node| {
                    (0..node.shape.channels).map(|_| f64::from(rng.next_u32())).collect()
                })
            }
            Criterion::Bn => norm_scales(model)?,
            Criterion::Apoz | Criterion::Taylor => {
                return Err(Error::invalid(format!(
                    "The criterion '{}' is measured on patches of labelled tiles",
                    criterion.name()
                )));
            }
        };
        let seed = (criterion == Criterion::Random).then_some(seed);
        Ok(Self { criterion, seed, patches: None, tiles: Vec::new(), layers })
    }
}

/// Scores of every layer that may be pruned.
fn by_layer(
    model: &Model,
    mut scores: impl FnMut(&Model, &Node) -> Vec<f64>,
) -> BTreeMap<String, Vec<f64>> {
    let graph: &Graph = model.graph();
    let mut layers = BTreeMap::new();
    for node in graph.nodes.iter().filter(|node| graph.is_prunable(node)) {
        layers.insert(node.name.clone(), scores(model, node));
    }
    layers
}

/// The weights of each filter or hidden unit, without its bias. Empty for nodes without filters.
fn filters<'a>(model: &'a Model, node: &Node) -> Vec<&'a [f32]> {
    if !matches!(node.op, Op::Conv { .. } | Op::Linear { .. }) {
        return Vec::new();
    }
    let weights = model.array(&format!("{}.weight", node.name));
    weights.chunks_exact(weights.len() / node.shape.channels).collect()
}

/// L1 norm of the weights of each filter or hidden unit, without its bias (Li et al. 2017; the
/// paper's criterion). Empty for nodes without filters.
#[must_use]
pub fn filter_l1_norms(model: &Model, node: &Node) -> Vec<f64> {
    let mut norms = Vec::new();
    for filter in filters(model, node) {
        // Added in f64, so that rounding does not decide between two filters.
        norms.push(filter.iter().map(|w| f64::from(w.abs())).sum());
    }
    norms
}

fn filter_l2_norms(model: &Model, node: &Node) -> Vec<f64> {
    let mut norms = Vec::new();
    for filter in filters(model, node) {
        let squares: f64 = filter.iter().map(|w| f64::from(*w).powi(2)).sum();
        norms.push(squares.sqrt());
    }
    norms
}

/// For each filter the sum of its Euclidean distances to the others of its layer.
fn distances_to_others(model: &Model, node: &Node) -> Vec<f64> {
    let filters = filters(model, node);
    let mut sums = vec![0.0; filters.len()];
    for (i, a) in filters.iter().enumerate() {
        for (j, b) in filters.iter().enumerate().skip(i + 1) {
            let squares: f64 =
                a.iter().zip(*b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            let distance = squares.sqrt();
            sums[i] += distance;
            sums[j] += distance;
        }
    }
    sums
}

/// |γ| of the normalisation behind each filter; of several (in a dense block all later layers
/// normalise a filter's output) their mean.
fn norm_scales(model: &Model) -> Result<BTreeMap<String, Vec<f64>>> {
    let graph = model.graph();
    let sources = graph.channel_sources();
    // By node: the sum of |γ| of each filter; the number of normalisations, the same for all
    // filters of a layer.
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); graph.nodes.len()];
    let mut norms: Vec<usize> = vec![0; graph.nodes.len()];
    for (norm, sources) in graph.nodes.iter().zip(&sources) {
        if norm.op != Op::BatchNorm {
            continue;
        }
        let scales = model.array(&format!("{}.weight", norm.name));
        for (scale, source) in scales.iter().zip(sources) {
            let sums = &mut sums[source.node];
            sums.resize(graph.nodes[source.node].shape.channels, 0.0);
            sums[source.filter] += f64::from(scale.abs());
            if source.filter == 0 {
                norms[source.node] += 1;
            }
        }
    }
    let mut layers = BTreeMap::new();
    for ((node, sums), norms) in graph.nodes.iter().zip(sums).zip(norms) {
        if graph.is_prunable(node) && norms > 0 {
            layers.insert(
                node.name.clone(),
                sums.into_iter().map(|sum| sum / norms as f64).collect(),
            );
        }
    }
    if layers.is_empty() {
        return Err(Error::unsupported(format!(
            "The criterion 'bn' ranks filters by the scales of their batch normalisations, and \
             the {} has none",
            model.card().architecture.family().name().to_uppercase()
        )));
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{dccn, dcnn};

    /// A DCNN whose first layer has these filters: each the same value at all its 48 weights, but
    /// for one weight.
    fn with_first_filters(values: [[f32; 2]; 4]) -> Model {
        let model = Model::random(dcnn([4, 2, 2], 3, 2), 1).expect("model");
        let mut weights = model.weights().clone();
        let array = weights.get_mut("conv1.weight").expect("array");
        for (filter, [all, one]) in array.data.chunks_exact_mut(48).zip(values) {
            filter.fill(all);
            filter[5] = one;
        }
        model.with_weights(weights).expect("model")
    }

    fn scores(model: &Model, criterion: Criterion) -> BTreeMap<String, Vec<f64>> {
        FilterScores::of_weights(model, criterion, 1).expect("scores").layers
    }

    #[test]
    fn norms_and_distances_are_those_by_hand() {
        // One weight of each filter is not zero: the filters lie on a line at -3, 1, 2 and 8.
        let model = with_first_filters([[0.0, -3.0], [0.0, 1.0], [0.0, 2.0], [0.0, 8.0]]);
        assert_eq!(scores(&model, Criterion::L1)["conv1"], [3.0, 1.0, 2.0, 8.0]);
        assert_eq!(scores(&model, Criterion::L2)["conv1"], [3.0, 1.0, 2.0, 8.0]);
        // 4 + 5 + 11; 4 + 1 + 7; 5 + 1 + 6; 11 + 7 + 6.
        assert_eq!(scores(&model, Criterion::Fpgm)["conv1"], [20.0, 12.0, 12.0, 24.0]);
        // Many small weights against one large: L1 and L2 disagree.
        let model = with_first_filters([[0.125, 0.125], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0]]);
        assert_eq!(scores(&model, Criterion::L1)["conv1"], [6.0, 2.0, 0.0, 0.0]);
        let norms = &scores(&model, Criterion::L2)["conv1"];
        assert!((norms[0] - 0.75f64.sqrt()).abs() < 1e-12, "48 · 0.125² = 0.75");
        assert_eq!(norms[1..], [2.0, 0.0, 0.0]);
    }

    #[test]
    fn random_scores_are_those_of_their_seed_in_every_layer() {
        let model = Model::random(dcnn([8, 8, 8], 16, 2), 1).expect("model");
        let with =
            |seed| FilterScores::of_weights(&model, Criterion::Random, seed).expect("scores");
        assert_eq!(with(1), with(1));
        assert_ne!(with(1).layers, with(2).layers);
        assert_ne!(with(1).layers["conv1"], with(1).layers["conv2"]);
        assert_eq!(with(7).seed, Some(7));
        assert_eq!(with(1).layers["fc1"].len(), 16);
    }

    #[test]
    fn scales_of_all_normalisations_behind_a_filter_count() {
        let model = Model::random(dccn(2, 3, 1, [2, 2, 2], 2), 1).expect("model");
        let mut weights = model.weights().clone();
        for (name, array) in &mut weights {
            if name.contains("norm") && name.ends_with(".weight") {
                array.data.fill(1.0);
            }
        }
        // The bottleneck of a layer has one normalisation.
        let name = "features.denseblock1.denselayer1.norm2.weight";
        weights.get_mut(name).expect("scale").data = vec![0.5, -2.0, 0.0];
        // The stem's filters are read by norm0, by norm1 of the six layers of the first block, and
        // by the norm of the transition behind them: eight.
        weights.get_mut("features.norm0.weight").expect("scale").data = vec![-9.0, 1.0];
        let found = scores(&model.with_weights(weights).expect("model"), Criterion::Bn);
        assert_eq!(found["features.denseblock1.denselayer1.conv1"], [0.5, 2.0, 0.0]);
        assert_eq!(found["features.conv0"], [2.0, 1.0]);
        // The last transition is followed by the classifier.
        assert!(!found.contains_key("features.transition3.conv"));
        assert!(found.contains_key("features.transition2.conv"));
    }

    #[test]
    fn what_a_criterion_cannot_rank_is_refused() {
        let model = Model::random(dcnn([2, 2, 2], 3, 2), 1).expect("model");
        for criterion in [Criterion::Bn, Criterion::Apoz, Criterion::Taylor] {
            assert!(FilterScores::of_weights(&model, criterion, 1).is_err(), "{criterion:?}");
        }
    }
}
