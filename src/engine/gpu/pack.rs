//! Constants in the order in which threads of `shaders/layer.wgsl` read them: vectors of four
//! filters.
//!
//! ```text
//! weights  [group][channel][column][row][filter of group]    zeros for absent filters
//! bias     [group][filter of group]
//! norm     [channel] (scale, shift, 0, 0)
//! head     biases of up to four classes, then for every four hidden units a vector of their
//!          weights for each class
//! ```
//!
//! A group is `4 · vectors` filters, which one thread computes.

use std::borrow::Cow;

use crate::engine::packed::ChannelAffine;

/// Vectors of four filters in a group, and the cost per filter relative to the widest: a narrower
/// group reads its input more often.
const GROUP_COSTS: [GroupCost; 3] = [
    GroupCost { vectors: 4, per_filter: 1.0 },
    GroupCost { vectors: 2, per_filter: 1.2 },
    GroupCost { vectors: 1, per_filter: 1.6 },
];

struct GroupCost {
    vectors: usize,
    per_filter: f64,
}

/// A layer's arrays before packing.
pub(super) struct FilterWeights<'a> {
    /// `[filter][channel][row][column]`.
    pub values: Cow<'a, [f32]>,
    /// `[filter]`.
    pub bias: Vec<f32>,
    pub filters: usize,
    pub channels: usize,
    pub kernel: usize,
}

/// Offsets of a layer's constants, in vectors of four.
pub(super) struct LayerOffsets {
    pub weights: usize,
    pub bias: usize,
}

/// The constants of all passes.
#[derive(Default)]
pub(super) struct Constants(pub Vec<[f32; 4]>);

impl Constants {
    /// Appends `values`, filled up with zeros to whole vectors, and returns the offset of the
    /// first.
    fn push(&mut self, values: &[f32]) -> usize {
        let offset = self.0.len();
        for chunk in values.chunks(4) {
            let mut vector = [0.0; 4];
            vector[..chunk.len()].copy_from_slice(chunk);
            self.0.push(vector);
        }
        offset
    }

    /// Appends weights and bias in groups of `4 · vectors` filters.
    pub(super) fn push_layer(&mut self, layer: &FilterWeights<'_>, vectors: usize) -> LayerOffsets {
        let weights = self.0.len();
        let kernel = layer.kernel;
        let group_filters = 4 * vectors;
        let groups = layer.filters.div_ceil(group_filters);
        let mut of_tap = vec![0.0; group_filters];
        for group in 0..groups {
            for channel in 0..layer.channels {
                for column in 0..kernel {
                    for row in 0..kernel {
                        for (i, weight) in of_tap.iter_mut().enumerate() {
                            let filter = group * group_filters + i;
                            let window = filter * layer.channels + channel;
                            let tap = (window * kernel + row) * kernel + column;
                            *weight = layer.values.get(tap).copied().unwrap_or(0.0);
                        }
                        self.push(&of_tap);
                    }
                }
            }
        }
        let mut bias = layer.bias.clone();
        bias.resize(groups * group_filters, 0.0);
        LayerOffsets { weights, bias: self.push(&bias) }
    }

    /// Appends scale and shift of each channel.
    pub(super) fn push_norm(&mut self, norm: &ChannelAffine) -> usize {
        let offset = self.0.len();
        for (&scale, &shift) in norm.scale.iter().zip(&norm.shift) {
            self.0.push([scale, shift, 0.0, 0.0]);
        }
        offset
    }

    /// Appends the last layer, `[class][unit]` with up to four classes, for units in groups of
    /// `4 · vectors`.
    pub(super) fn push_head(&mut self, weights: &[f32], bias: &[f32], vectors: usize) -> usize {
        let offset = self.push(bias);
        let units = weights.len() / bias.len();
        for first in (0..units.next_multiple_of(4 * vectors)).step_by(4) {
            for of_class in weights.chunks_exact(units) {
                let mut vector = [0.0; 4];
                for (i, weight) in vector.iter_mut().enumerate() {
                    *weight = of_class.get(first + i).copied().unwrap_or(0.0);
                }
                self.0.push(vector);
            }
        }
        offset
    }
}

/// Vectors of four filters that one thread should compute.
pub(super) fn vectors_for(filters: usize) -> usize {
    let mut best = 1;
    let mut least = f64::INFINITY;
    for GroupCost { vectors, per_filter } in GROUP_COSTS {
        let cost = filters.next_multiple_of(4 * vectors) as f64 * per_filter;
        if cost < least {
            least = cost;
            best = vectors;
        }
    }
    best
}

/// Multiplies a normalisation that follows the layer into its weights and bias.
pub(super) fn fold_norm(layer: &mut FilterWeights<'_>, norm: &ChannelAffine) {
    let taps = layer.values.len() / layer.filters;
    for (weights, scale) in layer.values.to_mut().chunks_exact_mut(taps).zip(&norm.scale) {
        for weight in weights {
            *weight *= scale;
        }
    }
    for (filter, bias) in layer.bias.iter_mut().enumerate() {
        *bias = *bias * norm.scale[filter] + norm.shift[filter];
    }
}

/// A stride-2 convolution as a stride-1 convolution over the 2×2 phases of its padded input.
///
/// Phase (py, px) of a channel holds the pixels (2y + py, 2x + px), and becomes channel `4 ·
/// channel + 2 · py + px`. Tap (row, column) of the window becomes tap (row / 2, column / 2) of
/// phase (row mod 2, column mod 2).
pub(super) fn phases<'a>(layer: &FilterWeights<'_>) -> FilterWeights<'a> {
    let old_kernel = layer.kernel;
    let kernel = old_kernel.div_ceil(2);
    let channels = layer.channels * 4;
    let mut values = vec![0.0; layer.filters * channels * kernel * kernel];
    for filter in 0..layer.filters {
        for channel in 0..layer.channels {
            for row in 0..old_kernel {
                for column in 0..old_kernel {
                    let old_window = filter * layer.channels + channel;
                    let old_tap = (old_window * old_kernel + row) * old_kernel + column;
                    let phase = channel * 4 + row % 2 * 2 + column % 2;
                    let window = filter * channels + phase;
                    let tap = (window * kernel + row / 2) * kernel + column / 2;
                    values[tap] = layer.values[old_tap];
                }
            }
        }
    }
    FilterWeights {
        values: values.into(),
        bias: layer.bias.clone(),
        filters: layer.filters,
        channels,
        kernel,
    }
}
