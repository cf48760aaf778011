//! Where the values of a network's nodes lie. The inputs of a concatenation are written behind each
//! other into one buffer ("blob") from the start, so that concatenating copies nothing:
//!
//! ```text
//! blob of a dense block: | pool0 | denselayer1.conv2 | denselayer2.conv2 | …
//!                        '-- concat 1 --------------'
//!                        '-- concat 2 ----------------------------------'
//! ```

use crate::engine::PATCH_BATCH;
use crate::model::{Graph, Op};

/// Neighbouring channels of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobOffset {
    pub blob: usize,
    /// First position, and number of positions: one a channel, row and column, each
    /// [`PATCH_BATCH`] values.
    pub first: usize,
    pub positions: usize,
}

impl BlobOffset {
    /// The node's values in those of its blob.
    #[must_use]
    pub(super) fn of<'a>(&self, blob: &'a [f32]) -> &'a [f32] {
        &blob[self.first * PATCH_BATCH..][..self.positions * PATCH_BATCH]
    }

    #[must_use]
    pub(super) fn of_mut<'a>(&self, blob: &'a mut [f32]) -> &'a mut [f32] {
        &mut blob[self.first * PATCH_BATCH..][..self.positions * PATCH_BATCH]
    }
}

/// Memory layout of a graph's values.
#[derive(Debug, Clone)]
pub(super) struct BlobLayout {
    /// By node. A normalisation shares the offset of its ReLU.
    pub offsets: Vec<BlobOffset>,
    /// Positions of each blob.
    pub blobs: Vec<usize>,
}

impl BlobLayout {
    /// The layout of a graph; none where a node would have to lie in two places.
    #[must_use]
    pub(super) fn new(graph: &Graph) -> Option<Self> {
        let mut blobs = Vec::new();
        let mut assigned: Vec<Option<BlobOffset>> = vec![None; graph.nodes.len()];
        // Users come before their inputs here, so a node's offset is settled when it is met.
        for (i, node) in graph.nodes.iter().enumerate().rev() {
            let positions = node.shape.count();
            let own = assigned[i].unwrap_or_else(|| {
                blobs.push(positions);
                BlobOffset { blob: blobs.len() - 1, first: 0, positions }
            });
            assigned[i] = Some(own);
            let mut first = own.first;
            match node.op {
                Op::Concat => {}
                Op::Relu if graph.nodes[node.inputs[0]].op == Op::BatchNorm => {}
                _ => continue,
            }
            for &input in &node.inputs {
                if assigned[input].is_some() {
                    return None;
                }
                let positions = graph.nodes[input].shape.count();
                assigned[input] = Some(BlobOffset { blob: own.blob, first, positions });
                first += positions;
            }
        }
        Some(Self { offsets: assigned.into_iter().collect::<Option<_>>()?, blobs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Graph, dccn};

    #[test]
    fn concatenations_lie_in_one_blob_and_no_two_writers_overlap() {
        let graph = Graph::new(&dccn(4, 6, 3, [5, 5, 5], 2));
        let BlobLayout { offsets, blobs } = BlobLayout::new(&graph).expect("layout");
        for (node, offset) in graph.nodes.iter().zip(&offsets) {
            assert_eq!(offset.positions, node.shape.count());
            assert!(offset.first + offset.positions <= blobs[offset.blob]);
            if node.op == Op::Concat {
                let [a, b] = [node.inputs[0], node.inputs[1]].map(|n| offsets[n]);
                assert_eq!((a.blob, b.blob, a.first), (offset.blob, offset.blob, 0));
                assert_eq!(b.first, a.positions);
            }
        }
        let mut written = Vec::new();
        for (node, offset) in graph.nodes.iter().zip(&offsets) {
            if !matches!(node.op, Op::Concat | Op::BatchNorm) {
                written.push(*offset);
            }
        }
        written.sort_by_key(|offset| (offset.blob, offset.first));
        for pair in written.windows(2) {
            let end = pair[0].first + pair[0].positions;
            assert!(pair[0].blob != pair[1].blob || end == pair[1].first);
        }
    }

    #[test]
    fn a_node_in_two_concatenations_has_no_layout() {
        let mut graph = Graph::new(&dccn(4, 6, 3, [5, 5, 5], 2));
        let concats: Vec<usize> =
            (0..graph.nodes.len()).filter(|&i| graph.nodes[i].op == Op::Concat).take(2).collect();
        let taken = graph.nodes[concats[0]].inputs[1];
        graph.nodes[concats[1]].inputs[1] = taken;
        assert!(BlobLayout::new(&graph).is_none());
    }
}
