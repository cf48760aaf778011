//! Which objects of two label maps are the same.

use serde::Serialize;

use super::objects::MATCH_IOU;
use super::overlap::Overlaps;
use crate::error::Result;
use crate::raster::LabelMap;

/// A true and a predicted object that match, by their labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MatchedPair {
    /// Label of the true object.
    pub truth: u32,
    /// Label of the predicted one.
    pub predicted: u32,
    /// Their intersection over union, above 0.5.
    pub iou: f64,
}

/// Objects of two label maps by whether they match, each list in the order of the labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Matching {
    /// Objects in both.
    pub matched: Vec<MatchedPair>,
    /// Labels of true objects without a match.
    pub missed: Vec<u32>,
    /// Labels of predicted objects without a match.
    pub extra: Vec<u32>,
}

/// Pairs the objects whose intersection over union is above 0.5, as
/// [`score_objects`](super::score_objects) does for PQ. Each has at most one such partner.
///
/// ```
/// use prunella::metrics::match_objects;
/// use prunella::raster::Plane;
///
/// # fn main() -> prunella::error::Result<()> {
/// let truth = Plane::from_vec(6, 1, vec![4, 4, 4, 0, 7, 7])?;
/// let predicted = Plane::from_vec(6, 1, vec![0, 1, 1, 9, 0, 3])?;
/// let matching = match_objects(&predicted, &truth)?;
/// assert_eq!((matching.matched[0].truth, matching.matched[0].predicted), (4, 1));
/// assert_eq!((matching.missed, matching.extra), (vec![7], vec![3, 9]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Mismatch`](crate::error::Error) when the sizes differ.
pub fn match_objects(predicted: &LabelMap, truth: &LabelMap) -> Result<Matching> {
    let overlaps = Overlaps::of(predicted, truth)?;
    let mut matching = Matching::default();
    let mut true_matched = vec![false; overlaps.true_labels.len()];
    let mut predicted_matched = vec![false; overlaps.predicted_labels.len()];
    for &pair in overlaps.intersections.keys() {
        let iou = overlaps.iou(pair);
        if iou > MATCH_IOU {
            true_matched[pair.truth] = true;
            predicted_matched[pair.predicted] = true;
            matching.matched.push(MatchedPair {
                truth: overlaps.true_labels[pair.truth],
                predicted: overlaps.predicted_labels[pair.predicted],
                iou,
            });
        }
    }
    matching.missed = without_match(&overlaps.true_labels, &true_matched);
    matching.extra = without_match(&overlaps.predicted_labels, &predicted_matched);
    Ok(matching)
}

fn without_match(labels: &[u32], is_matched: &[bool]) -> Vec<u32> {
    labels
        .iter()
        .zip(is_matched)
        .filter(|(_, matched)| !**matched)
        .map(|(label, _)| *label)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::score_objects;
    use crate::raster::{Plane, phantom};

    #[test]
    fn matches_are_those_of_the_scores() {
        let (_, truth) = phantom(192, 160, 5);
        // Moved by two pixels, and every third one missing.
        let mut predicted = Plane::filled(192, 160, 0);
        for row in 0..160 {
            for column in 2..192 {
                let label = truth.get(row, column - 2);
                predicted.set(row, column, if label % 3 == 0 { 0 } else { label + 1000 });
            }
        }
        let scores = score_objects(&predicted, &truth).expect("scores");
        let matching = match_objects(&predicted, &truth).expect("matching");
        let matches = matching.matched.len();
        assert!(matches > 3 && !matching.missed.is_empty());
        assert_eq!(matches + matching.missed.len(), scores.true_objects);
        assert_eq!(matches + matching.extra.len(), scores.predicted_objects);
        let mean = matching.matched.iter().map(|pair| pair.iou).sum::<f64>() / matches as f64;
        assert!((mean - scores.sq.expect("SQ")).abs() < 1e-12);
        assert!(matching.matched.iter().all(|pair| pair.predicted == pair.truth + 1000));
    }

    #[test]
    fn half_is_no_match_and_sizes_must_agree() {
        let plane =
            |values: &[u32]| Plane::from_vec(values.len(), 1, values.to_vec()).expect("plane");
        let matching = match_objects(&plane(&[1, 0]), &plane(&[1, 1])).expect("matching");
        assert_eq!((matching.missed, matching.extra), (vec![1], vec![1]));
        assert!(match_objects(&plane(&[1]), &plane(&[1, 1])).is_err());
        assert_eq!(match_objects(&plane(&[0]), &plane(&[0])).expect("none"), Matching::default());
    }
}
