//! This crate's own gradients on the CPU, for the networks that they are written for.

use super::batch::Batch;
use super::graph_trainer::GraphTrainer;
use super::sequential_trainer::{Gradients, SequentialTrainer};
use crate::model::{Graph, Head, Weights};

/// A network by one of two ways.
#[derive(Debug, Clone)]
pub enum Kernels {
    /// Layer after layer, windows of any size (the DCNN).
    Chain(SequentialTrainer),
    /// Branches and batch normalisation (the DCCN).
    Graph(GraphTrainer),
}

impl Kernels {
    /// The way for a graph, if there is one.
    #[must_use]
    pub fn of(graph: &Graph) -> Option<Self> {
        SequentialTrainer::of(graph)
            .map(Self::Chain)
            .or_else(|| GraphTrainer::of(graph).map(Self::Graph))
    }

    /// The chain, which can do more than the other: squares, teachers, waking filters.
    #[must_use]
    pub fn chain(&self) -> Option<&SequentialTrainer> {
        if let Self::Chain(chain) = self { Some(chain) } else { None }
    }

    /// Mean loss over a batch, its gradients, and the statistics of its normalisations.
    #[must_use]
    pub fn gradients(&self, weights: &Weights, batch: &Batch, head: Head) -> Gradients {
        // On a thread of the pool: one outside of it would sleep and be woken at every layer, and
        // some have hundreds.
        rayon::scope(|_| match self {
            Self::Chain(chain) => chain.gradients(weights, batch, head),
            Self::Graph(graph) => graph.gradients(weights, batch, head),
        })
    }
}
