//! Weights laid out for the CPU kernels: groups of filters whose weights stand side by side for
//! each tap.
//!
//! ```text
//! array   [filter][tap]              13 filters: 0 … 12
//! packed  group 0: [tap][8 filters]  filters 0 … 7
//!         group 1: [tap][4 filters]  filters 8 … 11
//!         group 2: [tap][1 filter]   filter 12
//! ```

use crate::model::{BATCH_NORM_EPSILON, Model, Node};
use crate::platform::{for_each_part, threads};

/// Widths of filter groups that the kernels are compiled for, widest first.
const GROUP_WIDTHS: [usize; 4] = [8, 4, 2, 1];

/// Weights from which on several threads pack them.
const WORTH_SHARING: usize = 1 << 16;

/// `value · scale + shift` with one pair per channel.
pub(super) struct ChannelAffine {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// Batch normalisation in inference, with running mean μ and variance σ² (Ioffe & Szegedy 2015):
/// `γ (x − μ) / √(σ² + ε) + β`, written as scale `γ / √(σ² + ε)` and shift `β − μ · scale`.
pub(super) fn norm_affine(model: &Model, node: &Node) -> ChannelAffine {
    let gamma = model.array(&format!("{}.weight", node.name));
    let beta = model.array(&format!("{}.bias", node.name));
    let mean = model.array(&format!("{}.running_mean", node.name));
    let variance = model.array(&format!("{}.running_var", node.name));
    let mut affine = ChannelAffine { scale: Vec::new(), shift: Vec::new() };
    for channel in 0..gamma.len() {
        let scale = gamma[channel] / (variance[channel] + BATCH_NORM_EPSILON).sqrt();
        affine.scale.push(scale);
        affine.shift.push(beta[channel] - mean[channel] * scale);
    }
    affine
}

/// Filters `first .. first + width`.
#[derive(Debug, Clone)]
pub struct FilterGroup {
    pub first: usize,
    pub width: usize,
    /// `[tap][filter]`.
    pub weights: Vec<f32>,
    /// `[filter]`.
    pub bias: Vec<f32>,
}

/// The weights of any convolution or fully connected layer, packed in groups of filters.
#[derive(Debug, Clone)]
pub struct PackedFilters {
    /// In the order of their filters; the widths are 8, 4, 2 and 1.
    pub groups: Vec<FilterGroup>,
    /// Sum of the widths of all groups.
    pub filters: usize,
}

impl PackedFilters {
    /// Packs a row-major `[filter][tap]` matrix; a missing bias is zero.
    pub fn new(weights: &[f32], bias: Option<&[f32]>, filters: usize) -> Self {
        let taps = weights.len() / filters;
        Self::strided(weights, bias, filters, taps, &(0..taps))
    }

    /// Packs weights that lie `step` apart from filter to filter; `starts` gives the index of each
    /// tap's weight for filter 0.
    pub fn strided(
        weights: &[f32],
        bias: Option<&[f32]>,
        filters: usize,
        step: usize,
        starts: &(impl Iterator<Item = usize> + Clone + Sync),
    ) -> Self {
        let mut groups = Vec::new();
        let mut first = 0;
        while first < filters {
            let rest = filters - first;
            // Groups of 8 as long as there are 8 filters left, then at most one group each of 4, 2
            // and 1.
            let width = GROUP_WIDTHS.into_iter().find(|&width| width <= rest).unwrap_or(1);
            let bias = match bias {
                Some(bias) => bias[first..first + width].to_vec(),
                None => vec![0.0; width],
            };
            groups.push(FilterGroup { first, width, weights: Vec::new(), bias });
            first += width;
        }
        let pack = |group: &mut FilterGroup| {
            group.weights.reserve_exact(weights.len() / filters * group.width);
            let filters = group.first..group.first + group.width;
            for start in starts.clone() {
                group.weights.extend(filters.clone().map(|f| weights[f * step + start]));
            }
        };
        if weights.len() < WORTH_SHARING {
            groups.iter_mut().for_each(pack);
        } else {
            for_each_part(groups.iter_mut().collect(), pack);
        }
        Self { groups, filters }
    }

    /// Packs the arrays `<name>.weight` and, where there is one, `<name>.bias`.
    pub fn of(model: &Model, name: &str, filters: usize) -> Self {
        let bias = model.weights().get(&format!("{name}.bias"));
        let bias = bias.map(|array| array.data.as_slice());
        Self::new(model.array(&format!("{name}.weight")), bias, filters)
    }

    /// Splits the groups and `out`, `step` values per filter, among threads and calls `work` with
    /// each part.
    pub fn share(
        &self,
        parallelism: Parallelism,
        step: usize,
        out: &mut [f32],
        work: impl Fn(&[FilterGroup], &mut [f32]) + Sync + Send,
    ) {
        let mut rest = out;
        let mut parts = Vec::new();
        for groups in self.groups.chunks(parallelism.share(self.groups.len(), 1)) {
            let filters: usize = groups.iter().map(|group| group.width).sum();
            // The targets of consecutive groups are adjacent, so each thread gets one contiguous
            // slice.
            let (own, others) = rest.split_at_mut(filters * step);
            parts.push((groups, own));
            rest = others;
        }
        for_each_part(parts, |(groups, own)| work(groups, own));
    }
}

/// How many threads may share a layer's work. Each thread computes whole filters or channels, so
/// the number changes no bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism(pub usize);

impl Parallelism {
    /// No sharing: the work of the layer stays on its thread.
    pub const ONE: Self = Self(1);

    /// Threads for each of `parts` pieces of work that run at once.
    #[must_use]
    pub fn of_each(parts: usize) -> Self {
        Self(threads().div_ceil(parts.max(1)))
    }

    /// Items for each thread: a multiple of `unit`, at least one unit.
    pub fn share(self, items: usize, unit: usize) -> usize {
        items.div_ceil(unit).div_ceil(self.0.max(1)).max(1) * unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_splits_any_width_and_keeps_every_weight() {
        let weights: Vec<f32> = (0..13 * 3).map(|i| i as f32).collect();
        let packed = PackedFilters::new(&weights, None, 13);
        let widths: Vec<usize> = packed.groups.iter().map(|group| group.width).collect();
        assert_eq!(widths, [8, 4, 1]);
        assert_eq!(
            packed.groups[0].weights[..9],
            [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 1.0]
        );
        let last = &packed.groups[2];
        assert_eq!((last.first, last.weights.as_slice()), (12, &[36.0, 37.0, 38.0][..]));
    }
}
