//! Scores of types of nuclei: a nucleus counts where its outline matches and its type is right.

use std::collections::BTreeMap;

use serde::Serialize;

use super::matching::Matching;
use super::ratio;

/// Objects of one type in any number of tiles.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TypeCounts {
    /// True objects.
    pub true_objects: usize,
    /// Predicted objects.
    pub predicted_objects: usize,
    /// True objects that match a predicted one of any type.
    pub matched: usize,
    /// Those of them that match one of the same type.
    pub right: usize,
    /// Sum of the intersections over union of the latter.
    pub iou: f64,
}

/// Scores of one type, 0 to 1, as [`ObjectScores`](super::ObjectScores) defines them. `None` where
/// a score is not defined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TypeScores {
    /// Number of true objects.
    pub true_objects: usize,
    /// Number of predicted objects.
    #[serde(rename = "called_objects")]
    pub predicted_objects: usize,
    /// Detection quality.
    pub dq: Option<f64>,
    /// Segmentation quality.
    pub sq: Option<f64>,
    /// Panoptic quality.
    pub pq: Option<f64>,
}

impl TypeCounts {
    /// Counts of each of `types` types in a tile. `truth` and `predicted` give the type of an
    /// object by its label; an object of none of these types is in no count.
    #[must_use]
    pub fn of_tile(
        types: usize,
        matching: &Matching,
        truth: &BTreeMap<u32, usize>,
        predicted: &BTreeMap<u32, usize>,
    ) -> Vec<Self> {
        let mut counts = vec![Self::default(); types];
        for pair in &matching.matched {
            let of_truth = truth.get(&pair.truth).copied();
            let of_predicted = predicted.get(&pair.predicted).copied();
            if let Some(counts) = of_truth.and_then(|class| counts.get_mut(class)) {
                counts.true_objects += 1;
                counts.matched += usize::from(of_predicted.is_some());
                if of_truth == of_predicted {
                    counts.right += 1;
                    counts.iou += pair.iou;
                }
            }
            if let Some(counts) = of_predicted.and_then(|class| counts.get_mut(class)) {
                counts.predicted_objects += 1;
            }
        }
        for label in &matching.missed {
            if let Some(counts) = truth.get(label).and_then(|class| counts.get_mut(*class)) {
                counts.true_objects += 1;
            }
        }
        for label in &matching.extra {
            if let Some(counts) = predicted.get(label).and_then(|class| counts.get_mut(*class)) {
                counts.predicted_objects += 1;
            }
        }
        counts
    }

    /// Of this and other tiles together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            true_objects: self.true_objects + other.true_objects,
            predicted_objects: self.predicted_objects + other.predicted_objects,
            matched: self.matched + other.matched,
            right: self.right + other.right,
            iou: self.iou + other.iou,
        }
    }

    /// What they come to.
    #[must_use]
    pub fn scores(self) -> TypeScores {
        let Self { true_objects, predicted_objects, right, iou, .. } = self;
        let dq = ratio(2.0 * right as f64, (true_objects + predicted_objects) as f64);
        let sq = if right > 0 { Some(iou / right as f64) } else { dq };
        let pq = dq.zip(sq).map(|(dq, sq)| dq * sq);
        TypeScores { true_objects, predicted_objects, dq, sq, pq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{match_objects, score_objects};
    use crate::raster::{LabelMap, Plane, phantom};

    /// The labels of one type alone: the scores of a type are those of such maps.
    fn only(labels: &LabelMap, types: &BTreeMap<u32, usize>, class: usize) -> LabelMap {
        labels.map(|label| if types.get(&label) == Some(&class) { label } else { 0 })
    }

    #[test]
    fn scores_of_a_type_are_those_of_its_objects_alone() {
        let (_, truth) = phantom(192, 160, 5);
        // Moved by two pixels, and every fifth one missing.
        let mut predicted = Plane::filled(192, 160, 0);
        for row in 0..160 {
            for column in 2..192 {
                let label = truth.get(row, column - 2);
                predicted.set(row, column, if label % 5 == 0 { 0 } else { label + 100 });
            }
        }
        let types = |labels: &LabelMap, class: fn(u32) -> usize| -> BTreeMap<u32, usize> {
            labels.labels().into_iter().map(|label| (label, class(label))).collect()
        };
        let true_types = types(&truth, |label| (label % 2) as usize);
        let predicted_types = types(&predicted, |label| usize::from(label % 4 == 1));
        let matching = match_objects(&predicted, &truth).expect("matching");
        let counts = TypeCounts::of_tile(2, &matching, &true_types, &predicted_types);
        assert_eq!(counts.len(), 2);
        for (class, counts) in counts.iter().enumerate() {
            let wanted = score_objects(
                &only(&predicted, &predicted_types, class),
                &only(&truth, &true_types, class),
            )
            .expect("scores");
            let scores = counts.scores();
            assert_eq!(scores.true_objects, wanted.true_objects);
            assert_eq!(scores.predicted_objects, wanted.predicted_objects);
            assert_eq!(scores.dq, wanted.dq);
            let [pq, wanted] = [scores.pq, wanted.pq].map(|pq| pq.expect("PQ"));
            assert!((pq - wanted).abs() < 1e-12 && pq > 0.0, "{pq} {wanted}");
        }
        let twice = counts[0].plus(counts[0]);
        assert_eq!(twice.scores().dq, counts[0].scores().dq);
        assert_eq!(TypeCounts::default().scores().pq, None);
        assert!(counts[0].right == counts[0].matched && counts[1].right < counts[1].matched);
    }
}
