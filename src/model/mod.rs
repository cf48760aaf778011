//! Networks as data: architecture, weights and card in one value. Engines, the trainer, the pruner
//! and the exporters read it; nothing here computes.

mod architecture;
mod card;
mod dense_plan;
mod file;
mod graph;
mod history;
mod init;
mod pixel_class;
#[cfg(not(target_arch = "wasm32"))]
mod state_dict;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

pub use architecture::{Architecture, CENTRE_PX, DenseBlock, Family, PATCH_PX, dccn, dcnn};
pub use card::{CARD_VERSION, Card, DataSource, Head, IndexSet, InstanceParameters, TileHash};
pub use dense_plan::{DenseConv, DensePlan, DenseStep};
pub use file::{FileLimits, Precision, array_bytes, has_card, read_arrays, stored_precision};
pub use graph::{ArraySpec, BATCH_NORM_EPSILON, ChannelSource, Graph, Node, Op, Role, Shape};
pub use history::{HistoryStep, PruningStep, TrainingStep, TuningStep};
pub use pixel_class::{ClassRole, NucleusType, PixelClass};

use crate::error::{Error, Result};

/// A dense array of f32, row-major: the last axis is contiguous.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// As many values as the product of the lengths.
    pub data: Vec<f32>,
}

impl Array {
    /// Wraps `data` of this shape.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when `data` holds another number of values.
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

/// Arrays by name, with PyTorch's names and layouts: convolutions are filters × channels × rows ×
/// columns, linear layers outputs × inputs.
pub type Weights = BTreeMap<String, Array>;

/// A network with weights and card. Its arrays always match its architecture.
///
/// ```
/// use prunella::model::{Card, Model, Precision, dcnn};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A narrow DCNN: 2, 3 and 4 filters, 8 hidden units, 2 classes.
/// let random = Model::random(dcnn([2, 3, 4], 8, 2), 1)?;
/// // The same weights under a new card.
/// let mut card = Card::new(random.card().architecture.clone());
/// card.licence = Some("CC BY 4.0".into());
/// let model = Model::new(card, random.weights().clone())?;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// model.save(&path, Precision::F32)?;
/// let loaded = Model::load(&path)?;
/// assert_eq!(loaded, model);
/// assert_eq!(loaded.array("conv1.weight").len(), 2 * 3 * 4 * 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    card: Card,
    graph: Graph,
    weights: Weights,
}

impl Model {
    /// A model of a card and weights.
    ///
    /// # Errors
    /// Those of [`Card::validate`]; [`Error::Mismatch`] naming the first array that is missing,
    /// unknown or of the wrong shape.
    pub fn new(card: Card, weights: Weights) -> Result<Self> {
        card.validate()?;
        let graph = Graph::new(&card.architecture);
        check_kept_filters(&card, &graph)?;
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
            // The standard deviation of it would be no number.
            if spec.role == Role::RunningVariance && array.data.iter().any(|v| *v < 0.0) {
                return Err(Error::malformed(format!(
                    "Array '{}' holds a negative variance",
                    spec.name
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

    /// A network with seeded random weights (PyTorch's defaults: uniform within ±1/√fan-in; batch
    /// normalisation with scale 1 and shift 0).
    ///
    /// # Errors
    /// [`Error::Limit`] for an architecture out of range.
    pub fn random(architecture: Architecture, seed: u64) -> Result<Self> {
        architecture.validate()?;
        let weights = init::random_weights(&Graph::new(&architecture), seed);
        let mut card = Card::new(architecture);
        card.history.push(HistoryStep::Initialise { seed });
        Self::new(card, weights)
    }

    /// What the model says about itself.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }
    /// The card, mutable. Its architecture must stay the same.
    pub fn card_mut(&mut self) -> &mut Card {
        &mut self.card
    }
    /// The nodes of the network.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// All arrays.
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
            for length in &array.shape {
                hash.update((*length as u64).to_le_bytes());
            }
            for value in &array.data {
                hash.update(value.to_le_bytes());
            }
        }
        hex(&hash.finalize())
    }
}

/// Each list of kept filters on the card must name a layer of this network and be as long as that
/// layer is wide.
fn check_kept_filters(card: &Card, graph: &Graph) -> Result<()> {
    for (layer, kept) in &card.kept_filters {
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
