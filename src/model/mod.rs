//! Networks as data: shape, weights and card in one value. No engine and no trainer is known here.

mod architecture;
mod card;
mod dense_plan;
mod file;
mod graph;
mod init;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

pub use architecture::{Architecture, CENTRE_PX, DenseBlock, PATCH_PX, dccn, dcnn};
pub use card::{CARD_VERSION, Card, Head, IndexSet, InstanceParameters, TileHash};
pub use dense_plan::{DenseConv, DensePlan, DenseStep};
pub use file::{FileLimits, Precision, array_bytes, read_arrays, stored_precision};
pub use graph::{ArraySpec, BATCH_NORM_EPSILON, Graph, Node, Op, Role, Shape};

use crate::error::{Error, Result};

/// A dense f32 array, last axis fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

impl Array {
    /// Wraps `data`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when shape and count differ.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        if shape.iter().product::<usize>() != data.len() {
            return Err(Error::mismatch(format!(
                "{} values do not fill an array of shape {shape:?}",
                data.len()
            )));
        }
        Ok(Self { shape, data })
    }
}

/// Arrays by name (PyTorch's names and layouts).
pub type Weights = BTreeMap<String, Array>;

/// A network with weights and card. Its arrays always match its architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    card: Card,
    graph: Graph,
    weights: Weights,
}

impl Model {
    /// Joins a card and weights.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the first array that is missing, unknown or of the wrong shape.
    pub fn new(card: Card, weights: Weights) -> Result<Self> {
        card.validate()?;
        let graph = Graph::new(&card.architecture);
        check_kept(&card, &graph)?;
        let specs = graph.arrays();
        for spec in &specs {
            let array = weights.get(&spec.name).ok_or_else(|| {
                Error::mismatch(format!("The model lacks the array '{}'", spec.name))
            })?;
            if array.shape != spec.shape {
                return Err(Error::mismatch(format!(
                    "Array '{}' has shape {:?}; the architecture needs {:?}",
                    spec.name, array.shape, spec.shape
                )));
            }
        }
        if weights.len() != specs.len() {
            let known: std::collections::BTreeSet<&str> =
                specs.iter().map(|s| s.name.as_str()).collect();
            let extra =
                weights.keys().find(|k| !known.contains(k.as_str())).cloned().unwrap_or_default();
            return Err(Error::mismatch(format!(
                "The model holds an array '{extra}' that its architecture does not"
            )));
        }
        Ok(Self { card, graph, weights })
    }

    /// A network with seeded random weights (PyTorch's defaults: uniform within 1/√fan-in, norms 1
    /// and 0).
    ///
    /// # Errors
    /// [`Error::Limit`] for an architecture out of range.
    pub fn random(architecture: Architecture, seed: u64) -> Result<Self> {
        architecture.validate()?;
        let weights = init::random_weights(&Graph::new(&architecture), seed);
        let mut card = Card::new(architecture);
        card.history.push(serde_json::json!({ "step": "initialise", "seed": seed }));
        Self::new(card, weights)
    }

    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }
    /// The card, to add to. The architecture must not be changed here.
    pub fn card_mut(&mut self) -> &mut Card {
        &mut self.card
    }
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The values of an array.
    ///
    /// # Panics
    /// Never for names from [`Graph::arrays`] of this model's own graph: [`Model::new`] checked
    /// them.
    #[must_use]
    pub fn array(&self, name: &str) -> &[f32] {
        &self.weights[name].data
    }

    /// The same network and card with other weights.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn with_weights(&self, weights: Weights) -> Result<Self> {
        Self::new(self.card.clone(), weights)
    }

    /// SHA-256 over names, shapes and values, hexadecimal: the same for the same weights in any
    /// file.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, array) in &self.weights {
            hash.update(name.as_bytes());
            hash.update([0]);
            for side in &array.shape {
                hash.update((*side as u64).to_le_bytes());
            }
            for value in &array.data {
                hash.update(value.to_le_bytes());
            }
        }
        hex(&hash.finalize())
    }
}

/// The card's kept filters must belong to layers of this network, as many as there are.
fn check_kept(card: &Card, graph: &Graph) -> Result<()> {
    for (layer, kept) in &card.kept {
        if !graph.nodes.iter().any(|n| n.name == *layer && n.shape.channels == kept.0.len()) {
            return Err(Error::mismatch(format!(
                "The card's kept filters of '{layer}' do not fit the network"
            )));
        }
    }
    Ok(())
}

/// SHA-256 of some bytes, hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
