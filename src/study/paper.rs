//! The paper's numbers (Götz et al. 2022, Tables 4 to 8), for comparison in reports, and for advice
//! without a study of one's own.

use super::design::PatchScale;
use crate::model::Family;
use crate::report::ScoreColumns;

/// One configuration of Tables 4 to 7.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PaperRow {
    pub pruning_ratio: f64,
    /// Training patches.
    pub n_train: usize,
    pub scores: ScoreColumns<f64>,
}

/// All rows of Table 4 (DCNN, scaled), 5 (DCCN, scaled), 6 (DCNN, fixed) or 7 (DCCN, fixed).
#[must_use]
pub(super) fn paper_table(family: Family, scale: PatchScale) -> Vec<PaperRow> {
    let csv = match (family, scale) {
        (Family::Dcnn, PatchScale::Scaled) => include_str!("paper/table4_dcnn_scaled.csv"),
        (Family::Dccn, PatchScale::Scaled) => include_str!("paper/table5_dccn_scaled.csv"),
        (Family::Dcnn, PatchScale::Fixed) => include_str!("paper/table6_dcnn_fixed.csv"),
        (Family::Dccn, PatchScale::Fixed) => include_str!("paper/table7_dccn_fixed.csv"),
    };
    csv.lines().skip(1).filter_map(paper_row).collect()
}

/// Columns: pruning ratio, r, n, and the scores in the order of [`ScoreColumns`].
fn paper_row(line: &str) -> Option<PaperRow> {
    let fields: Vec<&str> = line.split(',').collect();
    let number = |column: usize| fields.get(column)?.trim().parse::<f64>().ok();
    Some(PaperRow {
        pruning_ratio: number(0)?,
        n_train: number(2)? as usize,
        scores: ScoreColumns {
            sensitivity: number(3)?,
            specificity: number(4)?,
            dice: number(5)?,
            accuracy: number(6)?,
            cross_entropy: number(7)?,
        },
    })
}

/// Standard errors of the paper's scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StandardErrors {
    pub accuracy: f64,
    pub cross_entropy: f64,
}

/// The paper's standard errors, from seven seeds at r = 1.
#[must_use]
pub(super) fn standard_errors(family: Family) -> StandardErrors {
    match family {
        Family::Dcnn => StandardErrors { accuracy: 0.002, cross_entropy: 0.004 },
        Family::Dccn => StandardErrors { accuracy: 0.003, cross_entropy: 0.001 },
    }
}

/// A network's cost in Table 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PaperCost {
    /// Size of the model file, units of 1024 bytes.
    pub kilobytes: f64,
    /// Inference on a GTX 1070.
    pub ms_per_patch: f64,
}

/// The row of Table 8 for a network and ratio.
#[must_use]
pub(crate) fn paper_cost(family: Family, pruning_ratio: f64) -> Option<PaperCost> {
    for line in include_str!("paper/table8_cost.csv").lines().skip(1) {
        let fields: Vec<f64> = line.split(',').filter_map(|f| f.trim().parse().ok()).collect();
        let &[ratio, dcnn_kilobytes, dccn_kilobytes, dcnn_ms, dccn_ms] = fields.as_slice() else {
            continue;
        };
        if (ratio - pruning_ratio).abs() < 1e-9 {
            return Some(match family {
                Family::Dcnn => PaperCost { kilobytes: dcnn_kilobytes, ms_per_patch: dcnn_ms },
                Family::Dccn => PaperCost { kilobytes: dccn_kilobytes, ms_per_patch: dccn_ms },
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        let rows = |family, scale| paper_table(family, scale).len();
        assert_eq!(rows(Family::Dcnn, PatchScale::Scaled), 80);
        assert_eq!(rows(Family::Dccn, PatchScale::Scaled), 36);
        assert_eq!(rows(Family::Dcnn, PatchScale::Fixed), 80);
        assert_eq!(rows(Family::Dccn, PatchScale::Fixed), 36);
        let best = paper_table(Family::Dcnn, PatchScale::Fixed)[0];
        assert_eq!(best.n_train, 1_831_868);
        assert_eq!((best.scores.dice, best.scores.accuracy), (0.802, 0.933));
    }

    #[test]
    fn the_costs_are_found_by_network_and_ratio() {
        let cost = |kilobytes, ms_per_patch| Some(PaperCost { kilobytes, ms_per_patch });
        assert_eq!(paper_cost(Family::Dcnn, 0.9), cost(315.0, 1.8));
        assert_eq!(paper_cost(Family::Dccn, 0.0), cost(19147.0, 47.6));
        assert_eq!(paper_cost(Family::Dcnn, 0.55), None);
    }

    /// Accuracy follows from sensitivity, specificity and the share of nuclei; where it does not, a
    /// table is wrong.
    #[test]
    fn the_rows_of_table_4_at_40_and_50_percent_contradict_themselves() {
        const NUCLEI: f64 = 0.181;
        let gaps_at = |ratio: f64| -> Vec<f64> {
            let mut gaps = Vec::new();
            for row in paper_table(Family::Dcnn, PatchScale::Scaled) {
                if (row.pruning_ratio - ratio).abs() < 1e-9 {
                    let ScoreColumns { sensitivity, specificity, accuracy, .. } = row.scores;
                    gaps.push(accuracy - (NUCLEI * sensitivity + (1.0 - NUCLEI) * specificity));
                }
            }
            gaps
        };
        for ratio in [0.4, 0.5] {
            let gaps = gaps_at(ratio);
            assert!(gaps.iter().all(|g| *g > 0.029), "{ratio}: {gaps:?}");
        }
        for ratio in [0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9] {
            let gaps = gaps_at(ratio);
            assert!(gaps.iter().sum::<f64>() / 8.0 < 0.008, "{ratio}: {gaps:?}");
        }
    }
}
