//! Training on the CPU without a framework: 32 windows side by side, as the engine runs patches. A
//! window of 55 pixels has one answer, its centre's; a larger one has a square of answers, for
//! pooling is then done at every offset and each offset makes a fragment of its own
//! ([`SequentialTrainer::spread_step`]). The gradients are those of the patches one by one.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::batch::Batch;
use super::batch_norm::Statistics;
use super::buffer_pool::BufferPool;
use super::layer_kernels::{Pool, by_samples, interleave, masked, pooled, pooled_back, row_sums};
use super::loss::loss_of_logits;
use crate::engine::{
    Activation, AlignedBuffer, Convolution, PATCH_BATCH, PackedFilters, Parallelism,
};
use crate::model::{Graph, Head, Op, Weights};

/// A chain of convolutions, poolings and fully connected layers.
#[derive(Debug, Clone)]
pub struct SequentialTrainer {
    layers: Vec<Layer>,
    patch_px: usize,
    pool: BufferPool,
}

#[derive(Debug, Clone)]
enum Layer {
    /// A convolution; a fully connected layer is one whose kernel covers its input.
    Weighted { name: String, conv: Convolution, relu: bool },
    /// Non-overlapping maxima over squares of this side; the side of the input of one patch.
    Pool { stride: usize, side: usize },
}

/// Values of one layer for all fragments of 32 windows.
struct Level {
    side: usize,
    fragments: Vec<AlignedBuffer>,
}

/// What a batch's groups of windows share.
struct Packs {
    /// Weights laid out for both directions, one pair a layer.
    layers: Vec<Option<(PackedFilters, PackedFilters)>>,
    ways: Parallelism,
}

/// Sum of losses, gradients by array name, and by layer what its running statistics move towards.
#[derive(Debug, Default)]
pub struct Gradients {
    pub loss: f64,
    pub arrays: BTreeMap<String, Vec<f32>>,
    pub statistics: BTreeMap<String, Statistics>,
}

impl SequentialTrainer {
    /// The network of a graph, if it is such a chain (the DCNN is, the DCCN is not).
    #[must_use]
    pub fn of(graph: &Graph) -> Option<Self> {
        let mut layers = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate().skip(1) {
            if node.inputs != [i - 1] {
                return None;
            }
            let from = graph.nodes[i - 1].shape;
            if from.width != from.height {
                return None;
            }
            let weighted = |filters, kernel| Layer::Weighted {
                name: node.name.clone(),
                conv: Convolution {
                    channels: from.channels,
                    filters,
                    kernel,
                    stride: 1,
                    padding: 0,
                    side: from.height,
                },
                relu: false,
            };
            match node.op {
                Op::Conv { filters, kernel, stride: 1, padding: 0, bias: true } => {
                    layers.push(weighted(filters, kernel));
                }
                Op::Linear { units } => layers.push(weighted(units, from.height)),
                Op::MaxPool { kernel, stride, padding: 0 } if kernel == stride => {
                    layers.push(Layer::Pool { stride, side: from.height });
                }
                Op::Relu => match layers.last_mut() {
                    Some(Layer::Weighted { relu, .. }) => *relu = true,
                    _ => return None,
                },
                _ => return None,
            }
        }
        let patch_px = graph.nodes.first()?.shape.height;
        Some(Self { layers, patch_px, pool: BufferPool::default() })
    }

    /// Windows answer squares whose side is a multiple of this: the product of all poolings.
    #[must_use]
    pub fn spread_step(&self) -> usize {
        self.strides().product()
    }

    fn strides(&self) -> impl Iterator<Item = usize> {
        self.layers
            .iter()
            .filter_map(|l| if let Layer::Pool { stride, .. } = l { Some(*stride) } else { None })
    }

    /// Mean loss over a batch, and its gradients. The same on any number of threads.
    #[must_use]
    pub fn gradients(&self, weights: &Weights, batch: &Batch, head: Head) -> Gradients {
        let packs = self.pack(weights, batch);
        let parts: Vec<Gradients> = (0..batch.len().div_ceil(PATCH_BATCH))
            .into_par_iter()
            .map(|chunk| self.chunk_gradients(&packs, batch, chunk * PATCH_BATCH, head))
            .collect();
        let mut parts = parts.into_iter();
        let Some(mut total) = parts.next() else { return Gradients::default() };
        for part in parts {
            total.loss += part.loss;
            for (sum, more) in total.arrays.values_mut().zip(part.arrays.values()) {
                sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
            }
        }
        total
    }

    /// Two logits of every answered pixel, window by window, row by row.
    #[must_use]
    pub fn logits(&self, weights: &Weights, batch: &Batch) -> Vec<[f32; 2]> {
        let packs = self.pack(weights, batch);
        (0..batch.len().div_ceil(PATCH_BATCH))
            .into_par_iter()
            .flat_map_iter(|chunk| {
                let first = chunk * PATCH_BATCH;
                let levels = self.forward(&packs, batch, first);
                let count = PATCH_BATCH.min(batch.len() - first) * batch.spread * batch.spread;
                let mut out = vec![[0.0; 2]; count];
                self.each_output(&levels, batch.spread, |lane, pixel, at, value| {
                    if let Some(z) = out.get_mut(lane * batch.spread * batch.spread + pixel) {
                        *z = at.map(|i| value[i]);
                    }
                });
                self.keep(levels);
                out
            })
            .collect()
    }

    /// Names of layers with weights, in order.
    pub fn weighted(&self) -> Vec<String> {
        let name = |l: &Layer| {
            if let Layer::Weighted { name, .. } = l { Some(name.clone()) } else { None }
        };
        self.layers.iter().filter_map(name).collect()
    }

    /// Calls `f(input, channels, output, filters)` of a layer with each full group of patches in a
    /// batch.
    pub fn seen(
        &self,
        weights: &Weights,
        batch: &Batch,
        layer: &str,
        mut f: impl FnMut(&[f32], usize, &[f32], usize),
    ) {
        let found = self.layers.iter().enumerate().find_map(|(i, l)| match l {
            Layer::Weighted { name, conv, .. } if name == layer => Some((i, conv)),
            _ => None,
        });
        let Some((i, conv)) = found else { return };
        let packs = self.pack(weights, batch);
        for group in 0..batch.len() / PATCH_BATCH {
            let levels = self.forward(&packs, batch, group * PATCH_BATCH);
            f(&levels[i].fragments[0], conv.channels, &levels[i + 1].fragments[0], conv.filters);
            self.keep(levels);
        }
    }

    fn pack(&self, weights: &Weights, batch: &Batch) -> Packs {
        let pack = |layer: &Layer| {
            let Layer::Weighted { name, conv, .. } = layer else { return None };
            let data = &weights[&format!("{name}.weight")].data;
            let bias = &weights[&format!("{name}.bias")].data;
            Some((PackedFilters::new(data, Some(bias), conv.filters), conv.transposed(data)))
        };
        Packs {
            layers: self.layers.iter().map(pack).collect(),
            ways: Parallelism::of_each(batch.len().div_ceil(PATCH_BATCH)),
        }
    }

    /// Values of every layer, the input first.
    fn forward(&self, packs: &Packs, batch: &Batch, first: usize) -> Vec<Level> {
        let side = self.patch_px + batch.spread - 1;
        let mut levels = vec![Level {
            side,
            fragments: vec![interleave(batch, first, self.pool.any(3 * side * side))],
        }];
        for (layer, pack) in self.layers.iter().zip(&packs.layers) {
            let from = &levels[levels.len() - 1];
            let next = match (layer, pack) {
                (Layer::Weighted { conv, relu, .. }, Some((packed, _))) => {
                    let conv = Convolution { side: from.side, ..*conv };
                    let lines = conv.filters * conv.out_side() * conv.out_side();
                    let run = |input: &AlignedBuffer| {
                        let mut out = self.pool.any(lines);
                        conv.forward(
                            packed,
                            input,
                            if *relu { Activation::Relu } else { Activation::Identity },
                            conv.limit_parallelism(packs.ways),
                            &mut out,
                        );
                        out
                    };
                    Level {
                        side: conv.out_side(),
                        fragments: from.fragments.iter().map(run).collect(),
                    }
                }
                (Layer::Pool { stride, side }, _) => {
                    let pools = pools(*stride, *side, from.side);
                    let spread = |f: &AlignedBuffer| {
                        pools
                            .iter()
                            .map(|p| pooled(*p, f, packs.ways, &self.pool))
                            .collect::<Vec<_>>()
                    };
                    Level {
                        side: pools[0].to,
                        fragments: from.fragments.iter().flat_map(spread).collect(),
                    }
                }
                _ => continue,
            };
            levels.push(next);
        }
        levels
    }

    fn chunk_gradients(&self, packs: &Packs, batch: &Batch, first: usize, head: Head) -> Gradients {
        let (levels, ways) = (self.forward(packs, batch, first), packs.ways);
        let (loss, mut moved) = self.loss(&levels, batch, first, head);
        let mut arrays = BTreeMap::new();
        for (i, (layer, pack)) in self.layers.iter().zip(&packs.layers).enumerate().rev() {
            let (from, to) = (&levels[i], &levels[i + 1]);
            match (layer, pack) {
                (Layer::Weighted { name, conv, relu }, Some((_, transposed))) => {
                    if *relu {
                        moved
                            .iter_mut()
                            .zip(&to.fragments)
                            .for_each(|(m, value)| masked(m, value, ways));
                    }
                    let whole = conv.kernel == conv.side;
                    let conv = Convolution { side: from.side, ..*conv };
                    let mut weight = vec![0.0; conv.filters * conv.taps()];
                    let mut bias = vec![0.0; conv.filters];
                    if whole {
                        by_samples(conv, &from.fragments, &moved, ways, &mut weight);
                    } else {
                        let pairs = from.fragments.iter().zip(&moved);
                        pairs.for_each(|(x, m)| {
                            conv.weight_gradient(x, m, conv.limit_parallelism(ways), &mut weight)
                        });
                    }
                    moved.iter().for_each(|m| row_sums(m, &mut bias));
                    arrays.insert(format!("{name}.weight"), weight);
                    arrays.insert(format!("{name}.bias"), bias);
                    if i > 0 {
                        let back = moved
                            .iter()
                            .map(|m| {
                                self.input_gradient(
                                    conv,
                                    transposed,
                                    m,
                                    conv.limit_parallelism(ways),
                                )
                            })
                            .collect();
                        self.pool.give(std::mem::replace(&mut moved, back));
                    }
                }
                (Layer::Pool { stride, side }, _) => {
                    let pools = pools(*stride, *side, from.side);
                    let back = |(x, m): (&AlignedBuffer, &[AlignedBuffer])| {
                        let mut moved = self.pool.zeroed(x.len() / PATCH_BATCH);
                        pools
                            .iter()
                            .zip(m)
                            .for_each(|(p, m)| pooled_back(*p, [x, m], ways, &mut moved));
                        moved
                    };
                    let back =
                        from.fragments.iter().zip(moved.chunks(pools.len())).map(back).collect();
                    self.pool.give(std::mem::replace(&mut moved, back));
                }
                _ => {}
            }
        }
        self.keep(levels);
        self.pool.give(moved);
        Gradients { loss, arrays, ..Gradients::default() }
    }

    /// The values of a step, for the next.
    fn keep(&self, levels: Vec<Level>) {
        self.pool.give(levels.into_iter().flat_map(|level| level.fragments));
    }

    fn input_gradient(
        &self,
        conv: Convolution,
        transposed: &PackedFilters,
        output: &AlignedBuffer,
        ways: Parallelism,
    ) -> AlignedBuffer {
        let mut input = self.pool.any(conv.channels * conv.side * conv.side);
        conv.input_gradient(transposed, output, ways, &mut input);
        input
    }

    /// Share of the mean loss that these windows make, and its gradient by logit.
    fn loss(
        &self,
        levels: &[Level],
        batch: &Batch,
        first: usize,
        head: Head,
    ) -> (f64, Vec<AlignedBuffer>) {
        let Some(last) = levels.last() else { return (0.0, Vec::new()) };
        let mut moved: Vec<AlignedBuffer> =
            last.fragments.iter().map(|f| self.pool.zeroed(f.len() / PATCH_BATCH)).collect();
        let share = 1.0 / batch.classes.len() as f64;
        let area = batch.spread * batch.spread;
        let mut sum = 0.0;
        let mut gradients: Vec<([usize; 2], [f32; 2])> = Vec::new();
        self.each_output(levels, batch.spread, |lane, pixel, at, value| {
            let gradient = batch.target((first + lane) * area + pixel).map(|target| {
                let (loss, gradient) = loss_of_logits(at.map(|i| value[i]), target, head);
                sum += loss * share;
                gradient.map(|g| (g * share) as f32)
            });
            gradients.push((at, gradient.unwrap_or([0.0; 2])));
        });
        let each = gradients.len() / moved.len().max(1);
        for (i, (at, gradient)) in gradients.into_iter().enumerate() {
            at.into_iter().zip(gradient).for_each(|(at, g)| moved[i / each][at] = g);
        }
        (sum, moved)
    }

    /// Calls `f(lane, pixel of the window's square, where its two logits lie, values)`, fragment by
    /// fragment.
    fn each_output(
        &self,
        levels: &[Level],
        spread: usize,
        mut f: impl FnMut(usize, usize, [usize; 2], &[f32]),
    ) {
        let Some(last) = levels.last() else { return };
        let area = last.side * last.side;
        for (index, values) in last.fragments.iter().enumerate() {
            for (position, lane) in
                (0..area * PATCH_BATCH).map(|i| (i / PATCH_BATCH, i % PATCH_BATCH))
            {
                let (row, column) = self.place(index, position, last.side, spread);
                let at = [0, 1].map(|class| (class * area + position) * PATCH_BATCH + lane);
                f(lane, row * spread + column, at, values);
            }
        }
    }

    /// Row and column of an output in its window's square: the offsets of the poolings are its
    /// lowest digits.
    fn place(
        &self,
        fragment: usize,
        position: usize,
        side: usize,
        spread: usize,
    ) -> (usize, usize) {
        let (mut row, mut column) = (position / side, position % side);
        if spread == 1 {
            return (row, column);
        }
        let mut rest = fragment;
        for stride in self.strides().collect::<Vec<_>>().into_iter().rev() {
            let offset = rest % (stride * stride);
            rest /= stride * stride;
            row = row * stride + offset / stride;
            column = column * stride + offset % stride;
        }
        (row, column)
    }
}

/// Poolings of a layer: one for a patch, one an offset for a window with several answers.
fn pools(stride: usize, patch_side: usize, side: usize) -> Vec<Pool> {
    let spread = side + 1 - patch_side;
    let offsets = if spread == 1 { 1 } else { stride };
    let to = patch_side / stride + spread.div_ceil(stride) - 1;
    let pool = |o: usize| Pool {
        kernel: stride,
        stride,
        padding: 0,
        row: o / offsets,
        column: o % offsets,
        side,
        to,
    };
    (0..offsets * offsets).map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Augmentation, SamplePixel, phantom};
    use crate::engine::BatchEngine;
    use crate::model::{Model, dccn, dcnn};

    fn model() -> Model {
        Model::random(dcnn([3, 5, 9], 20, 2), 4).expect("model")
    }

    fn differ(a: &Gradients, b: &Gradients) -> f64 {
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let apart = |(name, right): (&String, &Vec<f32>)| {
            let found = &a.arrays[name];
            assert_eq!(found.len(), right.len());
            norm(&mut found.iter().zip(right).map(|(x, y)| f64::from(x - y)))
                / norm(&mut right.iter().map(|&y| f64::from(y)))
        };
        b.arrays.iter().map(apart).fold((a.loss - b.loss).abs(), f64::max)
    }

    #[test]
    fn squares_have_the_gradients_of_their_pixels_one_by_one() {
        let (tiles, model) = ([phantom::tile(90, 80, 3)], model());
        let lanes = SequentialTrainer::of(model.graph()).expect("a chain");
        assert_eq!(lanes.spread_step(), 8);
        for spread in [8usize, 16] {
            let corners = [(0, 0), (40, 32), (80 - spread as u32, 90 - spread as u32)];
            let place = |row, column| (SamplePixel { tile: 0, row, column, cell: false }, 0);
            let squares: Vec<_> = corners.iter().map(|&(r, c)| place(r, c)).collect();
            let pixels: Vec<_> = corners
                .iter()
                .flat_map(|&(r, c)| (0..spread.pow(2) as u32).map(move |i| (r, c, i)))
                .map(|(r, c, i)| place(r + i / spread as u32, c + i % spread as u32))
                .collect();
            let dense = Batch::gather(&tiles, &squares, spread, Augmentation::NONE);
            let single = Batch::gather(&tiles, &pixels, 1, Augmentation::NONE);
            assert_eq!(dense.classes, single.classes);
            let gradients = |batch: &Batch| lanes.gradients(model.weights(), batch, Head::Softmax);
            assert!(differ(&gradients(&dense), &gradients(&single)) < 2e-5);
            assert_eq!(
                lanes.logits(model.weights(), &dense),
                lanes.logits(model.weights(), &single)
            );
        }
    }

    #[test]
    fn logits_are_the_engines_and_a_ragged_batch_is_no_exception() {
        let (tiles, model) = ([phantom::tile(70, 70, 3)], model());
        let lanes = SequentialTrainer::of(model.graph()).expect("a chain");
        let places: Vec<_> = (0..37)
            .map(|i| (SamplePixel { tile: 0, row: i, column: 69 - i, cell: false }, 0))
            .collect();
        let batch = Batch::gather(&tiles, &places, 1, Augmentation::NONE);
        let patches: Vec<Vec<f32>> =
            batch.patches.chunks(3 * 55 * 55).map(<[f32]>::to_vec).collect();
        let engine = BatchEngine::new(&model).expect("engine");
        let right: Vec<f32> =
            patches.chunks(PATCH_BATCH).flat_map(|p| engine.run_patches(p)).collect();
        assert_eq!(lanes.logits(model.weights(), &batch).as_flattened(), right);
    }

    #[test]
    fn networks_that_are_no_chain_are_left_to_the_framework() {
        let model = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 2).expect("model");
        assert!(SequentialTrainer::of(model.graph()).is_none());
    }
}
