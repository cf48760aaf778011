//! Object scores with the definitions of the HoVer-Net authors' scorer (Graham et al. 2019), one
//! image at a time.

use std::collections::{BTreeMap, BTreeSet};

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;
use serde::Serialize;

use super::overlap::Overlaps;
use super::ratio;
use crate::error::{Error, Result};
use crate::raster::LabelMap;

/// Objects match when their IoU is above this; at most one partner is then possible.
const MATCH_IOU: f64 = 0.5;
/// Integer weight of an IoU of 1 in the assignment.
const IOU_UNIT: f64 = (1u64 << 40) as f64;

/// Scores of one image. `None` where there is nothing to score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ObjectScores {
    pub true_objects: usize,
    pub called_objects: usize,
    /// Foreground Dice ("DICE1").
    pub dice: Option<f64>,
    /// Dice over all overlapping pairs of objects ("DICE2").
    pub dice2: Option<f64>,
    /// Aggregated Jaccard index (Kumar et al. 2017): a predicted object may serve several true
    /// ones.
    pub aji: Option<f64>,
    /// AJI with one-to-one pairs of greatest total IoU.
    pub aji_plus: Option<f64>,
    /// Detection quality: F1 of matches at IoU > 0.5.
    pub dq: Option<f64>,
    /// Segmentation quality: mean IoU of matches.
    pub sq: Option<f64>,
    /// Panoptic quality, DQ × SQ.
    pub pq: Option<f64>,
    /// The same number as DQ, by its detection name.
    pub f1: Option<f64>,
}

/// Scores `predicted` against `truth`. Linear in pixels; the assignment works on each cluster of
/// touching pairs alone.
///
/// # Errors
/// [`Error::Mismatch`] when the sizes differ.
pub fn score_objects(predicted: &LabelMap, truth: &LabelMap) -> Result<ObjectScores> {
    let o = Overlaps::of(predicted, truth)?;
    let (trues, calls): (u64, u64) = (o.true_areas.iter().sum(), o.called_areas.iter().sum());
    let both: u64 = o.common.values().sum();
    let pair_total: u64 = o.common.keys().map(|&(t, c)| o.true_areas[t] + o.called_areas[c]).sum();
    let matches: Vec<f64> =
        o.common.keys().map(|&p| o.iou(p)).filter(|&iou| iou > MATCH_IOU).collect();
    let (objects, found) =
        ((o.true_areas.len() + o.called_areas.len()) as f64, matches.len() as f64);
    let dq = ratio(2.0 * found, objects);
    let sq = if matches.is_empty() { dq } else { Some(matches.iter().sum::<f64>() / found) };
    Ok(ObjectScores {
        true_objects: o.true_areas.len(),
        called_objects: o.called_areas.len(),
        dice: ratio(2.0 * both as f64, (trues + calls) as f64),
        dice2: ratio(2.0 * both as f64, pair_total as f64),
        aji: aggregated_jaccard(&o, &best_partners(&o)),
        aji_plus: aggregated_jaccard(&o, &one_to_one(&o)?),
        dq,
        sq,
        pq: dq.zip(sq).map(|(d, s)| d * s),
        f1: dq,
    })
}

/// Intersections over unions of the pairs; whatever is in no pair adds its area to the union.
fn aggregated_jaccard(o: &Overlaps, pairs: &[(usize, usize)]) -> Option<f64> {
    let common: u64 = pairs.iter().filter_map(|p| o.common.get(p)).sum();
    let mut union: u64 = pairs.iter().map(|&p| o.union(p)).sum();
    let trues: BTreeSet<usize> = pairs.iter().map(|p| p.0).collect();
    let calls: BTreeSet<usize> = pairs.iter().map(|p| p.1).collect();
    let alone = |areas: &[u64], paired: &BTreeSet<usize>| -> u64 {
        areas.iter().enumerate().filter(|(i, _)| !paired.contains(i)).map(|(_, a)| a).sum()
    };
    union += alone(&o.true_areas, &trues) + alone(&o.called_areas, &calls);
    ratio(common as f64, union as f64)
}

/// For each true object that is met at all, the predicted one of greatest IoU (the first of
/// equals).
fn best_partners(o: &Overlaps) -> Vec<(usize, usize)> {
    let mut best: BTreeMap<usize, (usize, f64)> = BTreeMap::new();
    for &(t, c) in o.common.keys() {
        let iou = o.iou((t, c));
        let entry = best.entry(t).or_insert((c, iou));
        if iou > entry.1 {
            *entry = (c, iou);
        }
    }
    best.into_iter().map(|(t, (c, _))| (t, c)).collect()
}

/// The assignment of greatest total IoU, cluster by cluster.
fn one_to_one(o: &Overlaps) -> Result<Vec<(usize, usize)>> {
    let mut pairs = Vec::new();
    for (trues, calls) in clusters(o) {
        let (rows, columns, turned) = if trues.len() <= calls.len() {
            (&trues, &calls, false)
        } else {
            (&calls, &trues, true)
        };
        let pair =
            |r: usize, c: usize| if turned { (columns[c], rows[r]) } else { (rows[r], columns[c]) };
        let weights = (0..rows.len())
            .flat_map(|r| (0..columns.len()).map(move |c| (r, c)))
            .map(|(r, c)| (o.iou(pair(r, c)) * IOU_UNIT) as i64)
            .collect();
        let matrix = Matrix::from_vec(rows.len(), columns.len(), weights)
            .map_err(|e| Error::mismatch(format!("The overlaps form no matrix: {e}")))?;
        let (_, assigned) = kuhn_munkres(&matrix);
        pairs.extend(
            assigned
                .into_iter()
                .enumerate()
                .map(|(r, c)| pair(r, c))
                .filter(|p| o.common.contains_key(p)),
        );
    }
    Ok(pairs)
}

/// True and predicted objects that hang together by overlaps.
fn clusters(o: &Overlaps) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut partners: [BTreeMap<usize, Vec<usize>>; 2] = [BTreeMap::new(), BTreeMap::new()];
    for &(t, c) in o.common.keys() {
        partners[0].entry(t).or_default().push(c);
        partners[1].entry(c).or_default().push(t);
    }
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    let mut out = Vec::new();
    for &start in partners[0].keys() {
        if !seen[0].insert(start) {
            continue;
        }
        let (mut members, mut open) = ([Vec::new(), Vec::new()], vec![(0, start)]);
        while let Some((side, object)) = open.pop() {
            members[side].push(object);
            for &other in &partners[side][&object] {
                if seen[1 - side].insert(other) {
                    open.push((1 - side, other));
                }
            }
        }
        let [trues, calls] = members;
        out.push((trues, calls));
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
    fn a_perfect_prediction_scores_one_everywhere_whatever_its_numbers() {
        let s = score_objects(&map(&[0, 7, 7, 3]), &map(&[0, 1, 1, 2])).expect("scores");
        for v in [s.dice, s.dice2, s.aji, s.aji_plus, s.dq, s.sq, s.pq] {
            assert_eq!(v, Some(1.0));
        }
    }

    #[test]
    fn a_merged_pair_serves_both_in_aji_and_one_in_aji_plus() {
        let s = score_objects(&map(&[1, 1, 1, 1, 0]), &map(&[1, 1, 2, 2, 0])).expect("scores");
        assert_eq!(s.aji, Some(4.0 / 8.0));
        assert_eq!(s.aji_plus, Some(2.0 / 6.0));
        assert_eq!((s.dq, s.pq), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn images_without_nuclei_have_no_scores_and_missed_ones_score_zero() {
        let none = score_objects(&map(&[0, 0]), &map(&[0, 0])).expect("scores");
        assert_eq!((none.aji, none.pq, none.dice, none.dice2), (None, None, None, None));
        let missed = score_objects(&map(&[0, 0]), &map(&[0, 1])).expect("scores");
        assert_eq!(
            (missed.aji, missed.pq, missed.dice, missed.dice2),
            (Some(0.0), Some(0.0), Some(0.0), None)
        );
    }
}
