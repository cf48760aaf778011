//! Overlaps of true and predicted objects in pixels: the sparse table behind every object score.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::raster::LabelMap;

/// A true and a predicted object, each counted from 0 in the order of their labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectPair {
    pub truth: usize,
    pub predicted: usize,
}

/// Areas of the objects of two label maps, and of their intersections.
pub(super) struct Overlaps {
    /// Label of each true object.
    pub true_labels: Vec<u32>,
    /// Label of each predicted object.
    pub predicted_labels: Vec<u32>,
    /// Pixels of each true object.
    pub true_areas: Vec<u64>,
    /// Pixels of each predicted object.
    pub predicted_areas: Vec<u64>,
    /// Pixels of each intersection that is not empty.
    pub intersections: BTreeMap<ObjectPair, u64>,
}

impl Overlaps {
    /// Counts in one pass over the pixels.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the sizes differ.
    pub(super) fn of(predicted: &LabelMap, truth: &LabelMap) -> Result<Self> {
        if !predicted.same_size(truth) {
            return Err(Error::mismatch("The prediction and the truth have different sizes"));
        }
        let (true_labels, predicted_labels) = (truth.labels(), predicted.labels());
        let (truth, true_count) = truth.renumbered();
        let (predicted, predicted_count) = predicted.renumbered();
        let mut out = Self {
            true_labels,
            predicted_labels,
            true_areas: vec![0; true_count as usize],
            predicted_areas: vec![0; predicted_count as usize],
            intersections: BTreeMap::new(),
        };
        for (&true_label, &predicted_label) in truth.data().iter().zip(predicted.data()) {
            // Label 0 is background.
            let truth = (true_label as usize).checked_sub(1);
            let predicted = (predicted_label as usize).checked_sub(1);
            if let Some(truth) = truth {
                out.true_areas[truth] += 1;
            }
            if let Some(predicted) = predicted {
                out.predicted_areas[predicted] += 1;
            }
            if let (Some(truth), Some(predicted)) = (truth, predicted) {
                *out.intersections.entry(ObjectPair { truth, predicted }).or_default() += 1;
            }
        }
        Ok(out)
    }

    /// Pixels in either object of a pair.
    pub(super) fn union(&self, pair: ObjectPair) -> u64 {
        self.area_sum(pair) - self.intersections.get(&pair).copied().unwrap_or(0)
    }

    /// Sum of the areas of a pair.
    pub(super) fn area_sum(&self, pair: ObjectPair) -> u64 {
        self.true_areas[pair.truth] + self.predicted_areas[pair.predicted]
    }

    /// Intersection over union of a pair, 0 to 1.
    pub(super) fn iou(&self, pair: ObjectPair) -> f64 {
        let intersection = self.intersections.get(&pair).copied().unwrap_or(0);
        intersection as f64 / self.union(pair) as f64
    }
}
