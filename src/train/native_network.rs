//! Gradients by this crate's own kernels on the CPU.

use super::batch::Batch;
use super::filter_response::ReluValues;
use super::gradients::Gradients;
use super::graph_trainer::GraphTrainer;
use super::sequential_trainer::SequentialTrainer;
use crate::error::{Error, Result};
use crate::model::{Graph, Head, Weights};
use crate::platform::on_pool;

/// A network that the kernels can train.
#[derive(Debug, Clone)]
pub(super) enum NativeNetwork {
    /// Layer after layer, windows of any size (the DCNN).
    Sequential(SequentialTrainer),
    /// Branches and batch normalisation (the DCCN).
    Graph(GraphTrainer),
}

impl NativeNetwork {
    /// The trainer of a graph.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a graph that is neither. Every architecture with two
    /// classes or more is one of them.
    pub(super) fn new(graph: &Graph) -> Result<Self> {
        if let Some(network) = SequentialTrainer::new(graph) {
            return Ok(Self::Sequential(network));
        }
        let network = GraphTrainer::new(graph);
        network.map(Self::Graph).ok_or_else(|| {
            Error::unsupported(
                "The CPU trains DCNNs and DCCNs with at least two classes; this is neither",
            )
        })
    }

    /// The sequential network: it alone has squares, teachers and measures against dead units.
    #[must_use]
    pub(super) fn sequential(&self) -> Option<&SequentialTrainer> {
        match self {
            Self::Sequential(network) => Some(network),
            Self::Graph(_) => None,
        }
    }

    /// Mean loss over a batch, its gradients, and the statistics of its normalisations.
    #[must_use]
    pub(super) fn gradients(&self, weights: &Weights, batch: &Batch, head: Head) -> Gradients {
        on_pool(|| match self {
            Self::Sequential(network) => network.gradients(weights, batch, head),
            Self::Graph(network) => network.gradients(weights, batch, head),
        })
    }

    /// Calls `visit` with the values of each ReLU over a batch and the gradient of its mean loss by
    /// them, 32 windows at a time.
    pub(super) fn visit_relus(
        &self,
        weights: &Weights,
        batch: &Batch,
        head: Head,
        visit: &mut (impl FnMut(ReluValues<'_>) + Send),
    ) {
        on_pool(|| match self {
            Self::Sequential(network) => network.visit_relus(weights, batch, head, visit),
            Self::Graph(network) => drop(network.visit_relus(weights, batch, head, visit)),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Architecture, DenseBlock, dcnn};

    fn dense_blocks() -> impl Strategy<Value = Vec<DenseBlock>> {
        let layers = proptest::collection::vec([1usize..5, 1usize..4], 1..4);
        let block = (layers, 1usize..6);
        proptest::collection::vec(block, 1..4).prop_map(|blocks| {
            blocks
                .into_iter()
                .map(|(layers, transition)| DenseBlock { layers, transition })
                .collect()
        })
    }

    proptest! {
        /// So that the CPU needs no other backend.
        #[test]
        fn every_architecture_has_native_gradients(
            filters: [u8; 3],
            hidden in 1usize..30,
            stem in 1usize..6,
            blocks in dense_blocks(),
            classes in 2usize..6,
        ) {
            let chain = dcnn(filters.map(|f| usize::from(f % 8) + 1), hidden, classes);
            let branched = Architecture::Dccn { stem, blocks, classes };
            prop_assert!(NativeNetwork::new(&Graph::new(&chain)).is_ok());
            prop_assert!(NativeNetwork::new(&Graph::new(&branched)).is_ok());
        }
    }

    #[test]
    fn a_network_with_one_class_is_refused() {
        assert!(NativeNetwork::new(&Graph::new(&dcnn([3, 5, 8], 20, 1))).is_err());
    }
}
