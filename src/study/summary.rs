//! Results in groups: all seeds of one network, ratio and sample size, beside the paper's row.

use std::cmp::Reverse;

use super::design::{NetworkChoice, PatchScale};
use super::paper::{PaperRow, paper_table, standard_errors};
use super::store::{CellResult, Study};
use crate::error::Result;
use crate::metrics::PixelScores;
use crate::report::{PaperDifference, ScoreColumns, SeedStatistics};

/// All seeds of one configuration.
#[derive(Debug, Clone)]
pub(crate) struct CellGroup {
    pub network: NetworkChoice,
    pub pruning_ratio: f64,
    pub r: Option<f64>,
    pub n_train: usize,
    pub parameters: usize,
    /// Bytes of the model file.
    pub bytes: usize,
    /// Multiply-adds per patch.
    pub macs: u64,
    /// Number of finished seeds.
    pub seeds: usize,
    /// None where no seed has the score.
    pub scores: ScoreColumns<Option<SeedStatistics>>,
    /// The paper's row of the same network, ratio, size and scale.
    pub paper: Option<PaperRow>,
    /// Result of the first seed.
    pub first: CellResult,
}

impl CellGroup {
    /// Groups the results of one configuration; none without results.
    fn new(results: &[CellResult], scale: PatchScale) -> Option<Self> {
        let first = results.first()?.clone();
        let statistics = |score: fn(&PixelScores) -> Option<f64>| {
            let values: Vec<f64> = results.iter().filter_map(|r| score(&r.scores)).collect();
            SeedStatistics::of(&values)
        };
        Some(Self {
            network: first.cell.network,
            pruning_ratio: first.cell.pruning_ratio,
            r: first.cell.r,
            n_train: first.cell.n_train,
            parameters: first.parameters,
            bytes: first.bytes,
            macs: first.macs,
            seeds: results.len(),
            scores: ScoreColumns {
                sensitivity: statistics(|s| s.sensitivity),
                specificity: statistics(|s| s.specificity),
                dice: statistics(|s| s.dice),
                accuracy: statistics(|s| s.accuracy),
                cross_entropy: statistics(|s| s.cross_entropy),
            },
            paper: paper_row(&first, scale),
            first,
        })
    }

    /// Differences from the paper's row, where there is one.
    #[must_use]
    pub(crate) fn difference_from_paper(&self) -> Option<PaperDifference> {
        let paper = self.paper?.scores;
        let errors = standard_errors(self.network.family());
        let accuracy = self.scores.accuracy?.mean;
        let cross_entropy = self.scores.cross_entropy?.mean;
        Some(PaperDifference {
            accuracy: (accuracy - paper.accuracy) / errors.accuracy,
            cross_entropy: (cross_entropy - paper.cross_entropy) / errors.cross_entropy,
        })
    }
}

/// Finished cells in groups, by network, then ratio, then size with the largest first.
///
/// # Errors
/// When a result cannot be read.
pub(crate) fn groups(study: &Study) -> Result<Vec<CellGroup>> {
    let mut configurations: Vec<Vec<CellResult>> = Vec::new();
    for result in study.results()? {
        match configurations.iter_mut().find(|seeds| is_same_configuration(&seeds[0], &result)) {
            Some(seeds) => seeds.push(result),
            None => configurations.push(vec![result]),
        }
    }
    let mut groups = Vec::new();
    for results in configurations {
        groups.extend(CellGroup::new(&results, study.design.scale));
    }
    // The bits of numbers that are not negative are ordered as the numbers.
    groups.sort_by_key(|g| (g.network.name(), g.pruning_ratio.to_bits(), Reverse(g.n_train)));
    Ok(groups)
}

/// Whether two results differ in the seed alone.
fn is_same_configuration(a: &CellResult, b: &CellResult) -> bool {
    a.cell.network == b.cell.network
        && a.cell.pruning_ratio.to_bits() == b.cell.pruning_ratio.to_bits()
        && a.cell.n_train == b.cell.n_train
}

/// The paper's row of a result's network, ratio and size.
fn paper_row(result: &CellResult, scale: PatchScale) -> Option<PaperRow> {
    let cell = &result.cell;
    for row in paper_table(cell.network.paper_family()?, scale) {
        // The paper rounds some sizes up and others down.
        let same_size = row.n_train.abs_diff(cell.n_train) <= 1;
        if same_size && (row.pruning_ratio - cell.pruning_ratio).abs() < 1e-9 {
            return Some(row);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::design::Cell;
    use super::*;

    fn result(network: NetworkChoice, n_train: usize) -> CellResult {
        let id = String::new();
        let scores = PixelScores {
            sensitivity: None,
            specificity: None,
            precision: None,
            dice: None,
            accuracy: Some(0.5),
            cross_entropy: None,
        };
        CellResult {
            cell: Cell { id, network, pruning_ratio: 0.9, r: None, n_train, seed: 1 },
            parameters: 1,
            bytes: 1,
            macs: 1,
            scores,
            fingerprint: String::new(),
        }
    }

    #[test]
    fn the_papers_rows_are_found_by_network_scale_ratio_and_size() {
        let row = paper_row(&result(NetworkChoice::Dcnn, 9159), PatchScale::Fixed).expect("row");
        assert_eq!((row.scores.dice, row.scores.accuracy), (0.639, 0.888));
        assert!(paper_row(&result(NetworkChoice::Dcnn, 9100), PatchScale::Fixed).is_none());
        assert!(paper_row(&result(NetworkChoice::Small, 9159), PatchScale::Fixed).is_none());
    }

    #[test]
    fn a_group_has_statistics_of_the_scores_that_are_known() {
        let results = [result(NetworkChoice::Dcnn, 9159), result(NetworkChoice::Dcnn, 9159)];
        let group = CellGroup::new(&results, PatchScale::Fixed).expect("group");
        assert_eq!((group.seeds, group.scores.dice), (2, None));
        let expected = SeedStatistics { mean: 0.5, std_dev: Some(0.0) };
        assert_eq!(group.scores.accuracy, Some(expected));
        assert_eq!(group.difference_from_paper(), None, "no cross-entropy");
    }
}
