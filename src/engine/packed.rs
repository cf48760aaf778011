//! Weights laid out for the kernels: filters in groups whose values stand side by side, tap by tap.

use crate::model::{BATCH_NORM_EPSILON, Model, Node};
use crate::platform::{for_each_part, threads};

/// Batch normalisation at rest as `x · scale + shift`, one pair a channel.
pub fn norm_affine(model: &Model, node: &Node) -> (Vec<f32>, Vec<f32>) {
    let array = |suffix: &str| model.array(&format!("{}.{suffix}", node.name));
    let (weight, bias) = (array("weight"), array("bias"));
    let (mean, variance) = (array("running_mean"), array("running_var"));
    let scale: Vec<f32> =
        weight.iter().zip(variance).map(|(w, v)| w / (v + BATCH_NORM_EPSILON).sqrt()).collect();
    let shift = bias.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    (scale, shift)
}

/// Widths of filter groups the kernel is compiled for, widest first.
pub const GROUPS: [usize; 4] = [8, 4, 2, 1];

/// Weights from which on they are packed by several threads.
const WORTH_SHARING: usize = 1 << 16;

/// Filters `first .. first + width` with their weights as `[tap][filter]`.
#[derive(Debug, Clone)]
pub struct FilterGroup {
    pub first: usize,
    pub width: usize,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

/// A weighted sum over `taps` inputs for each filter: any convolution or fully connected layer.
#[derive(Debug, Clone)]
pub struct PackedFilters {
    pub groups: Vec<FilterGroup>,
    pub filters: usize,
}

impl PackedFilters {
    /// Packs a row-major `[filter][tap]` matrix; a missing bias is zero.
    pub fn new(weights: &[f32], bias: Option<&[f32]>, filters: usize) -> Self {
        let taps = weights.len() / filters;
        Self::strided(weights, bias, filters, taps, &(0..taps))
    }

    /// Packs weights that lie `step` apart from filter to filter and begin at `starts`, one a tap.
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
            let width = GROUPS.into_iter().find(|&g| g <= filters - first).unwrap_or(1);
            let bias = (first..first + width).map(|f| bias.map_or(0.0, |b| b[f])).collect();
            groups.push(FilterGroup { first, width, weights: Vec::new(), bias });
            first += width;
        }
        let pack = |group: &mut FilterGroup| {
            group.weights.reserve_exact(weights.len() / filters * group.width);
            let rows = group.first..group.first + group.width;
            starts
                .clone()
                .for_each(|t| group.weights.extend(rows.clone().map(|f| weights[f * step + t])));
        };
        if weights.len() < WORTH_SHARING {
            groups.iter_mut().for_each(pack);
        } else {
            for_each_part(groups.iter_mut().collect(), pack);
        }
        Self { groups, filters }
    }

    /// Calls `work` with some groups of filters and the part of `out` that is theirs, `step` values
    /// a filter, until all are done.
    pub fn share(
        &self,
        ways: Parallelism,
        step: usize,
        out: &mut [f32],
        work: impl Fn(&[FilterGroup], &mut [f32]) + Sync + Send,
    ) {
        let mut rest = out;
        let mut pieces = Vec::new();
        for groups in self.groups.chunks(ways.share(self.groups.len(), 1)) {
            let filters: usize = groups.iter().map(|g| g.width).sum();
            let (own, others) = rest.split_at_mut(filters * step);
            pieces.push((groups, own));
            rest = others;
        }
        for_each_part(pieces, |(groups, own)| work(groups, own));
    }

    /// Packs the arrays of a convolution or linear node.
    pub fn of(model: &Model, node: &Node) -> Self {
        let bias_name = format!("{}.bias", node.name);
        let bias = model.weights().get(&bias_name).map(|a| a.data.as_slice());
        Self::new(model.array(&format!("{}.weight", node.name)), bias, node.shape.channels)
    }
}

/// How many threads may share a layer's work. Filters are shared out, never a sum, so it changes no
/// bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism(pub usize);

impl Parallelism {
    pub const ONE: Self = Self(1);

    /// What each of so many parts, worked on at once, leaves of the threads that there are.
    #[must_use]
    pub fn of_each(parts: usize) -> Self {
        Self(threads().div_ceil(parts.max(1)))
    }

    /// Items of each way: a multiple of `unit`, and at least that.
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
        assert_eq!(packed.groups.iter().map(|g| g.width).collect::<Vec<_>>(), [8, 4, 1]);
        let last = &packed.groups[2];
        assert_eq!((last.first, last.weights.as_slice()), (12, &[36.0, 37.0, 38.0][..]));
    }
}
