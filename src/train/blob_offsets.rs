//! Where the values of a network's nodes lie: concatenated channels stand in one blob from the
//! start, so that nothing is copied.

use crate::engine::PATCH_BATCH;
use crate::model::{Graph, Op};

/// Channels of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobOffset {
    pub blob: usize,
    /// First line, and lines: one a channel, row and column.
    pub first: usize,
    pub lines: usize,
}

impl BlobOffset {
    /// Its values in a blob's.
    #[must_use]
    pub fn of<'a>(&self, blob: &'a [f32]) -> &'a [f32] {
        &blob[self.first * PATCH_BATCH..][..self.lines * PATCH_BATCH]
    }

    /// The same, to be written.
    #[must_use]
    pub fn of_mut<'a>(&self, blob: &'a mut [f32]) -> &'a mut [f32] {
        &mut blob[self.first * PATCH_BATCH..][..self.lines * PATCH_BATCH]
    }
}

/// The place of every node and the lines of every blob; none where something would have to lie in
/// two places. A normalisation shares the place of its rectifier.
#[must_use]
pub fn places(graph: &Graph) -> Option<(Vec<BlobOffset>, Vec<usize>)> {
    let mut blobs = Vec::new();
    let mut found: Vec<Option<BlobOffset>> = vec![None; graph.nodes.len()];
    // Readers come before what they read: by then everyone who wants a node at a certain place has
    // said so.
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        let lines = node.shape.count();
        let own = *found[i].get_or_insert_with(|| {
            blobs.push(lines);
            BlobOffset { blob: blobs.len() - 1, first: 0, lines }
        });
        let mut put = |input: usize, first: usize| {
            let place = BlobOffset { first, lines: graph.nodes[input].shape.count(), ..own };
            let free = found[input].is_none() && input < i;
            found[input] = Some(place);
            free.then_some(())
        };
        match (node.op, node.inputs.as_slice()) {
            (Op::Concat, &[first, second]) => {
                put(first, own.first)?;
                put(second, own.first + graph.nodes[first].shape.count())?;
            }
            (Op::Relu, &[input]) if graph.nodes[input].op == Op::BatchNorm => {
                put(input, own.first)?
            }
            _ => {}
        }
    }
    Some((found.into_iter().collect::<Option<_>>()?, blobs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Graph, dccn};

    #[test]
    fn a_block_grows_in_one_blob_and_no_two_writers_meet() {
        let graph = Graph::new(&dccn(4, 6, 3, [5, 5, 5], 2));
        let (places, blobs) = places(&graph).expect("places");
        for (i, node) in graph.nodes.iter().enumerate() {
            assert_eq!(places[i].lines, node.shape.count());
            assert!(places[i].first + places[i].lines <= blobs[places[i].blob]);
            if node.op == Op::Concat {
                let [a, b] = [node.inputs[0], node.inputs[1]].map(|n| places[n]);
                assert_eq!((a.blob, b.blob, a.first), (places[i].blob, places[i].blob, 0));
                assert_eq!(b.first, a.lines);
            }
        }
        let writes = |op: Op| !matches!(op, Op::Concat | Op::BatchNorm);
        let mut written: Vec<BlobOffset> = graph
            .nodes
            .iter()
            .zip(&places)
            .filter(|(n, _)| writes(n.op))
            .map(|(_, p)| *p)
            .collect();
        written.sort_by_key(|p| (p.blob, p.first));
        let apart = |pair: &[BlobOffset]| {
            pair[0].blob != pair[1].blob || pair[0].first + pair[0].lines == pair[1].first
        };
        assert!(written.windows(2).all(apart));
    }

    #[test]
    fn a_node_that_two_concatenations_want_has_no_place() {
        let mut graph = Graph::new(&dccn(4, 6, 3, [5, 5, 5], 2));
        let concats: Vec<usize> =
            (0..graph.nodes.len()).filter(|&i| graph.nodes[i].op == Op::Concat).take(2).collect();
        let taken = graph.nodes[concats[0]].inputs[1];
        graph.nodes[concats[1]].inputs[1] = taken;
        assert!(places(&graph).is_none());
    }
}
