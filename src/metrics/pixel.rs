//! Pixel metrics of the paper. "Positive" is nucleus.

use serde::Serialize;

use super::ratio;
use crate::error::{Error, Result};
use crate::raster::{Mask, ProbabilityMap};

/// Counts over any number of pixels; add tiles up for pooled scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PixelCounts {
    pub true_positive: u64,
    pub false_positive: u64,
    pub false_negative: u64,
    pub true_negative: u64,
    /// Sum over pixels of −ln(probability of the right class).
    pub cross_entropy_sum: f64,
}

/// The paper's scores. `None` where a denominator is zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, serde::Deserialize)]
pub struct PixelScores {
    /// TP / (TP + FN); the paper's sensitivity and recall. None without a nucleus pixel.
    pub sensitivity: Option<f64>,
    /// TN / (TN + FP).
    pub specificity: Option<f64>,
    /// TP / (TP + FP). None when nothing was called.
    pub precision: Option<f64>,
    /// 2 TP / (2 TP + FP + FN). None when there is no nucleus and none was called.
    pub dice: Option<f64>,
    pub accuracy: Option<f64>,
    /// Mean over pixels, in nats.
    pub cross_entropy: Option<f64>,
}

/// Probabilities are kept this far from 0 and 1 before the logarithm.
const SMALLEST_PROBABILITY: f64 = 1e-12;

impl PixelCounts {
    /// Counts a tile: a pixel is called nucleus when its probability is above `threshold`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the sizes differ.
    pub fn of(probability: &ProbabilityMap, truth: &Mask, threshold: f32) -> Result<Self> {
        if !probability.same_size(truth) {
            return Err(Error::mismatch("The prediction and the truth have different sizes"));
        }
        let mut counts = Self::default();
        for (&p, &cell) in probability.data().iter().zip(truth.data()) {
            counts.add_probability(p, cell, threshold);
        }
        Ok(counts)
    }

    /// Counts the pixels where these rows and columns cross, for a map that is interpolated
    /// elsewhere.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the sizes differ or a line lies outside.
    pub fn on_lines(
        probability: &ProbabilityMap,
        truth: &Mask,
        [rows, columns]: &[Vec<usize>; 2],
        threshold: f32,
    ) -> Result<Self> {
        let outside = |lines: &[usize], side: usize| lines.iter().any(|&line| line >= side);
        if !probability.same_size(truth)
            || outside(rows, truth.height())
            || outside(columns, truth.width())
        {
            return Err(Error::mismatch(
                "The prediction, the truth and the grid have different sizes",
            ));
        }
        let mut counts = Self::default();
        for (&row, &column) in
            rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)))
        {
            counts.add_probability(probability.get(row, column), truth.get(row, column), threshold);
        }
        Ok(counts)
    }

    /// Counts two masks; the cross-entropy stays 0.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the sizes differ.
    pub fn of_masks(predicted: &Mask, truth: &Mask) -> Result<Self> {
        if !predicted.same_size(truth) {
            return Err(Error::mismatch("The prediction and the truth have different sizes"));
        }
        let mut counts = Self::default();
        predicted
            .data()
            .iter()
            .zip(truth.data())
            .for_each(|(&predicted, &cell)| counts.add(predicted, cell));
        Ok(counts)
    }

    /// Counts one pixel. A probability that is no number makes the cross-entropy none either.
    pub fn add_probability(&mut self, probability: f32, cell: bool, threshold: f32) {
        self.add(probability > threshold, cell);
        let right = f64::from(if cell { probability } else { 1.0 - probability });
        self.cross_entropy_sum -=
            if right.is_nan() { f64::NAN } else { right.max(SMALLEST_PROBABILITY).ln() };
    }

    fn add(&mut self, predicted: bool, cell: bool) {
        match (predicted, cell) {
            (true, true) => self.true_positive += 1,
            (true, false) => self.false_positive += 1,
            (false, true) => self.false_negative += 1,
            (false, false) => self.true_negative += 1,
        }
    }

    /// Both together.
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
        let [tp, fp, fne, tn] =
            [self.true_positive, self.false_positive, self.false_negative, self.true_negative]
                .map(|n| n as f64);
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
    fn counts_scores_and_cross_entropy_of_a_tiny_case() {
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
    fn lines_choose_the_pixels_that_count_and_must_lie_inside() {
        let p = Plane::from_vec(3, 2, vec![0.9, 0.0, 0.2, 0.0, 0.0, 0.0]).expect("plane");
        let t = Plane::from_vec(3, 2, vec![true, true, false, true, true, true]).expect("plane");
        let found =
            PixelCounts::on_lines(&p, &t, &[vec![0], vec![0, 2]], 0.5).expect("counts").scores();
        assert_eq!((found.dice, found.accuracy), (Some(1.0), Some(1.0)));
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
