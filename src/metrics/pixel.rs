//! Pixel scores of the paper. "Positive" is class "nucleus".

use serde::Serialize;

use super::ratio;
use crate::error::{Error, Result};
use crate::raster::{Mask, ProbabilityMap};

/// Counts over any number of pixels; those of several tiles add up to pooled scores.
///
/// ```
/// use prunella::metrics::PixelCounts;
/// use prunella::raster::{Plane, phantom};
///
/// # fn main() -> prunella::error::Result<()> {
/// let (_, labels) = phantom(64, 64, 1);
/// let truth = labels.foreground();
/// let probabilities = truth.map(|nucleus| if nucleus { 0.9 } else { 0.2 });
/// let scores = PixelCounts::of(&probabilities, &truth, 0.5)?.scores();
/// assert_eq!((scores.dice, scores.accuracy), (Some(1.0), Some(1.0)));
/// // Everything is called nucleus.
/// let all = PixelCounts::of_masks(&Plane::filled(64, 64, true), &truth)?.scores();
/// assert_eq!((all.sensitivity, all.specificity), (Some(1.0), Some(0.0)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PixelCounts {
    /// Nucleus, predicted as nucleus.
    pub true_positive: u64,
    /// Background, predicted as nucleus.
    pub false_positive: u64,
    /// Nucleus, predicted as background.
    pub false_negative: u64,
    /// Background, predicted as background.
    pub true_negative: u64,
    /// Sum over pixels of −ln(probability of the true class).
    pub cross_entropy_sum: f64,
}

/// The paper's scores. `None` where a denominator is zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, serde::Deserialize)]
pub struct PixelScores {
    /// TP / (TP + FN), also called recall. `None` without a pixel of a nucleus.
    pub sensitivity: Option<f64>,
    /// TN / (TN + FP).
    pub specificity: Option<f64>,
    /// TP / (TP + FP). `None` when no pixel is predicted as nucleus.
    pub precision: Option<f64>,
    /// 2 TP / (2 TP + FP + FN). `None` when there is no nucleus and none is predicted.
    pub dice: Option<f64>,
    /// (TP + TN) / all.
    pub accuracy: Option<f64>,
    /// Mean over pixels, in nats.
    pub cross_entropy: Option<f64>,
}

/// Probabilities of the true class are at least this in the logarithm.
const MIN_PROBABILITY: f64 = 1e-12;

impl PixelCounts {
    /// Counts a tile: a pixel is predicted as nucleus when its probability is above `threshold`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the sizes differ.
    pub fn of(probability: &ProbabilityMap, truth: &Mask, threshold: f32) -> Result<Self> {
        if !probability.same_size(truth) {
            return Err(Error::mismatch("The prediction and the truth have different sizes"));
        }
        let mut counts = Self::default();
        for (&p, &nucleus) in probability.data().iter().zip(truth.data()) {
            counts.add_probability(p, nucleus, threshold);
        }
        Ok(counts)
    }

    /// Counts only the pixels at the intersections of these rows and columns: for a map that was
    /// computed on this grid and interpolated between.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the sizes differ or a row or column lies outside.
    pub fn on_lines(
        probability: &ProbabilityMap,
        truth: &Mask,
        [rows, columns]: &[Vec<usize>; 2],
        threshold: f32,
    ) -> Result<Self> {
        if !probability.same_size(truth)
            || rows.iter().any(|&row| row >= truth.height())
            || columns.iter().any(|&column| column >= truth.width())
        {
            return Err(Error::mismatch(
                "The prediction, the truth and the grid have different sizes",
            ));
        }
        let mut counts = Self::default();
        for &row in rows {
            for &column in columns {
                let p = probability.get(row, column);
                counts.add_probability(p, truth.get(row, column), threshold);
            }
        }
        Ok(counts)
    }

    /// Counts two masks; the sum of the cross-entropy stays 0.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the sizes differ.
    pub fn of_masks(predicted: &Mask, truth: &Mask) -> Result<Self> {
        if !predicted.same_size(truth) {
            return Err(Error::mismatch("The prediction and the truth have different sizes"));
        }
        let mut counts = Self::default();
        for (&predicted, &nucleus) in predicted.data().iter().zip(truth.data()) {
            counts.add(predicted, nucleus);
        }
        Ok(counts)
    }

    /// Counts one pixel. A probability of NaN makes the cross-entropy NaN, so it is noticed.
    pub fn add_probability(&mut self, probability: f32, nucleus: bool, threshold: f32) {
        self.add(probability > threshold, nucleus);
        self.add_cross_entropy(if nucleus { probability } else { 1.0 - probability });
    }

    /// Counts one pixel by the probabilities of all classes, the first of which is the background:
    /// predicted as nucleus when all others together are above `threshold`. The cross-entropy is
    /// that of its own class.
    pub fn add_class(&mut self, probabilities: &[f32], class: usize, threshold: f32) {
        let nucleus = 1.0 - probabilities.first().copied().unwrap_or(0.0);
        self.add(nucleus > threshold, class > 0);
        self.add_cross_entropy(probabilities.get(class).copied().unwrap_or(0.0));
    }

    fn add_cross_entropy(&mut self, of_truth: f32) {
        let of_truth = f64::from(of_truth);
        // f64::max would turn NaN into the other number.
        self.cross_entropy_sum -=
            if of_truth.is_nan() { f64::NAN } else { of_truth.max(MIN_PROBABILITY).ln() };
    }

    fn add(&mut self, predicted: bool, nucleus: bool) {
        match (predicted, nucleus) {
            (true, true) => self.true_positive += 1,
            (true, false) => self.false_positive += 1,
            (false, true) => self.false_negative += 1,
            (false, false) => self.true_negative += 1,
        }
    }

    /// The sum of the counts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            true_positive: self.true_positive + other.true_positive,
            false_positive: self.false_positive + other.false_positive,
            false_negative: self.false_negative + other.false_negative,
            true_negative: self.true_negative + other.true_negative,
            cross_entropy_sum: self.cross_entropy_sum + other.cross_entropy_sum,
        }
    }

    /// The scores of these counts.
    #[must_use]
    pub fn scores(&self) -> PixelScores {
        let tp = self.true_positive as f64;
        let fp = self.false_positive as f64;
        let fne = self.false_negative as f64;
        let tn = self.true_negative as f64;
        let all = tp + fp + fne + tn;
        PixelScores {
            sensitivity: ratio(tp, tp + fne),
            specificity: ratio(tn, tn + fp),
            precision: ratio(tp, tp + fp),
            dice: ratio(2.0 * tp, 2.0 * tp + fp + fne),
            accuracy: ratio(tp + tn, all),
            cross_entropy: ratio(self.cross_entropy_sum, all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    #[test]
    fn counts_scores_and_cross_entropy_of_four_pixels() {
        let p = Plane::from_vec(4, 1, vec![0.9, 0.8, 0.3, 0.1]).expect("plane");
        let t = Plane::from_vec(4, 1, vec![true, false, true, false]).expect("plane");
        let s = PixelCounts::of(&p, &t, 0.5).expect("counts").scores();
        assert_eq!(
            (s.sensitivity, s.specificity, s.dice, s.accuracy),
            (Some(0.5), Some(0.5), Some(0.5), Some(0.5))
        );
        let expected = -(0.9f64.ln() + 0.2f64.ln() + 0.3f64.ln() + 0.9f64.ln()) / 4.0;
        assert!((s.cross_entropy.expect("defined") - expected).abs() < 1e-6);
    }

    #[test]
    fn only_pixels_of_the_grid_count_and_the_grid_must_lie_inside() {
        let p = Plane::from_vec(3, 2, vec![0.9, 0.0, 0.2, 0.0, 0.0, 0.0]).expect("plane");
        let t = Plane::from_vec(3, 2, vec![true, true, false, true, true, true]).expect("plane");
        let on_grid =
            PixelCounts::on_lines(&p, &t, &[vec![0], vec![0, 2]], 0.5).expect("counts").scores();
        assert_eq!((on_grid.dice, on_grid.accuracy), (Some(1.0), Some(1.0)));
        let all = PixelCounts::on_lines(&p, &t, &[vec![0, 1], vec![0, 1, 2]], 0.5)
            .expect("counts")
            .scores();
        assert_eq!(all.dice, PixelCounts::of(&p, &t, 0.5).expect("counts").scores().dice);
        assert!(PixelCounts::on_lines(&p, &t, &[vec![2], vec![0]], 0.5).is_err());
        assert!(PixelCounts::on_lines(&p, &t, &[vec![0], vec![3]], 0.5).is_err());
    }

    #[test]
    fn undefined_scores_are_none_and_sizes_must_match() {
        let none = Plane::filled(2, 1, false);
        let s = PixelCounts::of_masks(&none, &none).expect("counts").scores();
        assert_eq!((s.sensitivity, s.precision, s.dice, s.accuracy), (None, None, None, Some(1.0)));
        assert!(PixelCounts::of_masks(&none, &Plane::filled(1, 1, false)).is_err());
    }
}
