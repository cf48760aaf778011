//! Which true objects meet which predicted ones, and by how many pixels: the sparse table behind
//! every object score.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::raster::LabelMap;

/// Overlaps of two label maps whose objects are numbered from 1.
pub struct Overlaps {
    /// Pixels of true object i + 1.
    pub true_areas: Vec<u64>,
    /// Pixels of predicted object j + 1.
    pub called_areas: Vec<u64>,
    /// (i, j) → common pixels, for pairs that have any.
    pub common: BTreeMap<(usize, usize), u64>,
}

impl Overlaps {
    /// Counts in one pass.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the sizes differ.
    pub fn of(predicted: &LabelMap, truth: &LabelMap) -> Result<Self> {
        if !predicted.same_size(truth) {
            return Err(Error::mismatch("The prediction and the truth have different sizes"));
        }
        let ((truth, trues), (predicted, calls)) = (truth.renumbered(), predicted.renumbered());
        let mut out = Self {
            true_areas: vec![0; trues as usize],
            called_areas: vec![0; calls as usize],
            common: BTreeMap::new(),
        };
        for (&t, &c) in truth.data().iter().zip(predicted.data()) {
            let (t, c) = ((t as usize).checked_sub(1), (c as usize).checked_sub(1));
            t.into_iter().for_each(|t| out.true_areas[t] += 1);
            c.into_iter().for_each(|c| out.called_areas[c] += 1);
            if let (Some(t), Some(c)) = (t, c) {
                *out.common.entry((t, c)).or_default() += 1;
            }
        }
        Ok(out)
    }

    /// Pixels in either of a pair.
    pub fn union(&self, pair: (usize, usize)) -> u64 {
        self.true_areas[pair.0] + self.called_areas[pair.1]
            - self.common.get(&pair).copied().unwrap_or(0)
    }

    /// Intersection over union of a pair.
    pub fn iou(&self, pair: (usize, usize)) -> f64 {
        self.common.get(&pair).map_or(0.0, |&n| n as f64 / self.union(pair) as f64)
    }
}
