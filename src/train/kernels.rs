//! This crate's own gradients on the CPU, for the networks that they are written for.

use super::batch::Batch;
use super::lane_graph::LaneGraph;
use super::lanes::{Gradients, LaneNetwork};
use crate::model::{Graph, Head, Weights};

/// A network by one of two ways.
#[derive(Debug, Clone)]
pub enum Kernels {
    /// Layer after layer, windows of any size (the DCNN).
    Chain(LaneNetwork),
    /// Branches and batch normalisation (the DCCN).
    Graph(LaneGraph),
}

impl Kernels {
    /// The way for a graph, if there is one.
    #[must_use]
    pub fn of(graph: &Graph) -> Option<Self> {
        LaneNetwork::of(graph).map(Self::Chain).or_else(|| LaneGraph::of(graph).map(Self::Graph))
    }

    /// The chain, which can do more than the other: squares, teachers, waking filters.
    #[must_use]
    pub fn chain(&self) -> Option<&LaneNetwork> {
        if let Self::Chain(chain) = self { Some(chain) } else { None }
    }

    /// Mean loss over a batch, its gradients, and the statistics of its normalisations.
    #[must_use]
    pub fn gradients(&self, weights: &Weights, batch: &Batch, head: Head) -> Gradients {
        // On a thread of the pool: one outside of it would sleep and be woken at every layer, and some have hundreds.
        rayon::scope(|_| match self {
            Self::Chain(chain) => chain.gradients(weights, batch, head),
            Self::Graph(graph) => graph.gradients(weights, batch, head),
        })
    }
}
