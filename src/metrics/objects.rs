//! Object scores with the definitions of the HoVer-Net authors' scorer (Graham et al. 2019), one
//! image at a time. Tᵢ are the true objects, Pⱼ the predicted ones.

use std::collections::{BTreeMap, BTreeSet};

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;
use serde::Serialize;

use super::overlap::{ObjectPair, Overlaps};
use super::ratio;
use crate::error::{Error, Result};
use crate::raster::LabelMap;

/// Objects match when their IoU is above this. Each object then has at most one match.
pub(super) const MATCH_IOU: f64 = 0.5;
/// Integer weight of an IoU of 1 in the assignment.
const IOU_UNIT: f64 = (1u64 << 40) as f64;

/// Scores of one image, 0 to 1. `None` where a score is not defined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ObjectScores {
    /// Number of true objects.
    pub true_objects: usize,
    /// Number of predicted objects.
    #[serde(rename = "called_objects")]
    pub predicted_objects: usize,
    /// Dice of the foregrounds ("DICE1").
    pub dice: Option<f64>,
    /// 2 Σ |Tᵢ ∩ Pⱼ| / Σ (|Tᵢ| + |Pⱼ|) over all overlapping pairs ("DICE2").
    pub dice2: Option<f64>,
    /// Aggregated Jaccard index (Kumar et al. 2017): each true object is paired with the predicted
    /// one of largest IoU, which may serve several true ones.
    pub aji: Option<f64>,
    /// AJI with one-to-one pairs of largest total IoU.
    pub aji_plus: Option<f64>,
    /// Detection quality: F1 of the matches with an IoU above 0.5.
    pub dq: Option<f64>,
    /// Segmentation quality: mean IoU of the matches.
    pub sq: Option<f64>,
    /// Panoptic quality, DQ × SQ (Kirillov et al. 2019).
    pub pq: Option<f64>,
    /// DQ under its name in detection.
    pub f1: Option<f64>,
}

/// Scores `predicted` against `truth`. Time is linear in pixels; the assignment for AJI+ is solved
/// for each cluster of overlapping objects alone.
///
/// ```
/// use prunella::metrics::score_objects;
/// use prunella::raster::{Plane, phantom};
///
/// # fn main() -> prunella::error::Result<()> {
/// let (_, truth) = phantom(128, 128, 3);
/// let perfect = score_objects(&truth, &truth)?;
/// assert_eq!((perfect.aji, perfect.pq), (Some(1.0), Some(1.0)));
/// // Every second nucleus is missed.
/// let half = truth.map(|label| if label % 2 == 0 { 0 } else { label });
/// let scores = score_objects(&half, &truth)?;
/// assert!(scores.aji < Some(0.7) && scores.sq == Some(1.0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Mismatch`] when the sizes differ.
pub fn score_objects(predicted: &LabelMap, truth: &LabelMap) -> Result<ObjectScores> {
    let overlaps = Overlaps::of(predicted, truth)?;
    let true_objects = overlaps.true_areas.len();
    let predicted_objects = overlaps.predicted_areas.len();
    let foreground =
        overlaps.true_areas.iter().sum::<u64>() + overlaps.predicted_areas.iter().sum::<u64>();
    let mut intersection = 0;
    let mut pair_areas = 0;
    let mut matches = 0.0;
    let mut iou_of_matches = 0.0;
    for (&pair, &pixels) in &overlaps.intersections {
        intersection += pixels;
        pair_areas += overlaps.area_sum(pair);
        let iou = overlaps.iou(pair);
        if iou > MATCH_IOU {
            matches += 1.0;
            iou_of_matches += iou;
        }
    }
    let dq = ratio(2.0 * matches, (true_objects + predicted_objects) as f64);
    // Without a match the scorer gives SQ the value of DQ: 0, or undefined without objects.
    let sq = if matches > 0.0 { Some(iou_of_matches / matches) } else { dq };
    Ok(ObjectScores {
        true_objects,
        predicted_objects,
        dice: ratio(2.0 * intersection as f64, foreground as f64),
        dice2: ratio(2.0 * intersection as f64, pair_areas as f64),
        aji: aggregated_jaccard(&overlaps, &best_pairs(&overlaps)),
        aji_plus: aggregated_jaccard(&overlaps, &one_to_one_pairs(&overlaps)?),
        dq,
        sq,
        pq: dq.zip(sq).map(|(dq, sq)| dq * sq),
        f1: dq,
    })
}

/// Σ |Tᵢ ∩ Pⱼ| / (Σ |Tᵢ ∪ Pⱼ| + Σ areas of the objects in no pair), sums over the pairs.
fn aggregated_jaccard(overlaps: &Overlaps, pairs: &[ObjectPair]) -> Option<f64> {
    let mut intersection = 0;
    let mut union = 0;
    let mut true_paired = vec![false; overlaps.true_areas.len()];
    let mut predicted_paired = vec![false; overlaps.predicted_areas.len()];
    for pair in pairs {
        intersection += overlaps.intersections.get(pair).copied().unwrap_or(0);
        union += overlaps.union(*pair);
        true_paired[pair.truth] = true;
        predicted_paired[pair.predicted] = true;
    }
    union += area_without_pair(&overlaps.true_areas, &true_paired);
    union += area_without_pair(&overlaps.predicted_areas, &predicted_paired);
    ratio(intersection as f64, union as f64)
}

fn area_without_pair(areas: &[u64], is_paired: &[bool]) -> u64 {
    areas.iter().zip(is_paired).map(|(area, paired)| if *paired { 0 } else { *area }).sum()
}

/// Each true object that overlaps any predicted one, with that of largest IoU (the first of
/// equals).
fn best_pairs(overlaps: &Overlaps) -> Vec<ObjectPair> {
    let mut best: Vec<ObjectPair> = Vec::new();
    // Pairs come sorted by their true object.
    for &pair in overlaps.intersections.keys() {
        match best.last_mut() {
            Some(last) if last.truth == pair.truth => {
                if overlaps.iou(pair) > overlaps.iou(*last) {
                    *last = pair;
                }
            }
            _ => best.push(pair),
        }
    }
    best
}

/// The assignment of largest total IoU, by the Hungarian algorithm on each cluster.
fn one_to_one_pairs(overlaps: &Overlaps) -> Result<Vec<ObjectPair>> {
    let mut pairs = Vec::new();
    for cluster in clusters(overlaps) {
        // The algorithm needs at least as many columns as rows.
        let is_transposed = cluster.truth.len() > cluster.predicted.len();
        let (rows, columns) = if is_transposed {
            (&cluster.predicted, &cluster.truth)
        } else {
            (&cluster.truth, &cluster.predicted)
        };
        let pair = |row: usize, column: usize| {
            if is_transposed {
                ObjectPair { truth: column, predicted: row }
            } else {
                ObjectPair { truth: row, predicted: column }
            }
        };
        let mut weights = Vec::with_capacity(rows.len() * columns.len());
        for &row in rows {
            for &column in columns {
                weights.push((overlaps.iou(pair(row, column)) * IOU_UNIT) as i64);
            }
        }
        let matrix = Matrix::from_vec(rows.len(), columns.len(), weights)
            .map_err(|e| Error::mismatch("The overlaps form no matrix").caused_by(e))?;
        let (_, column_of_row) = kuhn_munkres(&matrix);
        for (&row, column) in rows.iter().zip(column_of_row) {
            let pair = pair(row, columns[column]);
            if overlaps.intersections.contains_key(&pair) {
                pairs.push(pair);
            }
        }
    }
    Ok(pairs)
}

/// Objects connected by overlaps.
#[derive(Default)]
struct Cluster {
    truth: Vec<usize>,
    predicted: Vec<usize>,
}

enum Object {
    Truth(usize),
    Predicted(usize),
}

/// The connected components of the graph whose edges are overlapping pairs.
fn clusters(overlaps: &Overlaps) -> Vec<Cluster> {
    let mut predicted_of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut true_of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for pair in overlaps.intersections.keys() {
        predicted_of.entry(pair.truth).or_default().push(pair.predicted);
        true_of.entry(pair.predicted).or_default().push(pair.truth);
    }
    let mut visited_truth = BTreeSet::new();
    let mut visited_predicted = BTreeSet::new();
    let mut out = Vec::new();
    for &start in predicted_of.keys() {
        if !visited_truth.insert(start) {
            continue;
        }
        let mut cluster = Cluster::default();
        let mut open = vec![Object::Truth(start)];
        while let Some(object) = open.pop() {
            match object {
                Object::Truth(truth) => {
                    cluster.truth.push(truth);
                    for &predicted in &predicted_of[&truth] {
                        if visited_predicted.insert(predicted) {
                            open.push(Object::Predicted(predicted));
                        }
                    }
                }
                Object::Predicted(predicted) => {
                    cluster.predicted.push(predicted);
                    for &truth in &true_of[&predicted] {
                        if visited_truth.insert(truth) {
                            open.push(Object::Truth(truth));
                        }
                    }
                }
            }
        }
        out.push(cluster);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    fn map(values: &[u32]) -> LabelMap {
        Plane::from_vec(values.len(), 1, values.to_vec()).expect("plane")
    }

    #[test]
    fn a_perfect_prediction_scores_one_whatever_its_label_numbers() {
        let s = score_objects(&map(&[0, 7, 7, 3]), &map(&[0, 1, 1, 2])).expect("scores");
        for v in [s.dice, s.dice2, s.aji, s.aji_plus, s.dq, s.sq, s.pq] {
            assert_eq!(v, Some(1.0));
        }
    }

    #[test]
    fn a_merged_object_pairs_with_both_true_ones_in_aji_and_with_one_in_aji_plus() {
        let s = score_objects(&map(&[1, 1, 1, 1, 0]), &map(&[1, 1, 2, 2, 0])).expect("scores");
        assert_eq!(s.aji, Some(4.0 / 8.0));
        assert_eq!(s.aji_plus, Some(2.0 / 6.0));
        assert_eq!((s.dq, s.pq), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn images_without_nuclei_have_no_scores_and_missed_nuclei_score_zero() {
        let none = score_objects(&map(&[0, 0]), &map(&[0, 0])).expect("scores");
        assert_eq!((none.aji, none.pq, none.dice, none.dice2), (None, None, None, None));
        let missed = score_objects(&map(&[0, 0]), &map(&[0, 1])).expect("scores");
        assert_eq!(
            (missed.aji, missed.pq, missed.dice, missed.dice2),
            (Some(0.0), Some(0.0), Some(0.0), None)
        );
    }
}
