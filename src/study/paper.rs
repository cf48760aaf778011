//! The paper's numbers (Tables 4 to 8), for side-by-side reports and for advice where there is no
//! study of one's own.

/// One configuration of the paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperRow {
    pub pruning_ratio: f64,
    pub n_train: usize,
    pub sensitivity: f64,
    pub specificity: f64,
    pub dice: f64,
    pub accuracy: f64,
    pub cross_entropy: f64,
}

/// Rows of Table 4 (DCNN, scaled), 5 (DCCN, scaled), 6 (DCNN, fixed) or 7 (DCCN, fixed); none for
/// other numbers.
#[must_use]
pub fn paper_table(number: u8) -> Vec<PaperRow> {
    let text = match number {
        4 => include_str!("paper/table4_dcnn_scaled.csv"),
        5 => include_str!("paper/table5_dccn_scaled.csv"),
        6 => include_str!("paper/table6_dcnn_fixed.csv"),
        7 => include_str!("paper/table7_dccn_fixed.csv"),
        _ => "",
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn row(line: &str) -> Option<PaperRow> {
    let fields: Vec<&str> = line.split(',').collect();
    let number = |i: usize| fields.get(i)?.trim().parse::<f64>().ok();
    Some(PaperRow {
        pruning_ratio: number(0)?,
        n_train: number(2)? as usize,
        sensitivity: number(3)?,
        specificity: number(4)?,
        dice: number(5)?,
        accuracy: number(6)?,
        cross_entropy: number(7)?,
    })
}

/// The paper's standard errors of accuracy and cross-entropy, from seven seeds at r = 1.
#[must_use]
pub fn standard_errors(dccn: bool) -> (f64, f64) {
    if dccn { (0.003, 0.001) } else { (0.002, 0.004) }
}

/// Table 8 for a network and ratio: kilobytes of the file, milliseconds a patch on a GTX 1070.
#[must_use]
pub fn paper_cost(dccn: bool, ratio: f64) -> Option<(f64, f64)> {
    let rows = include_str!("paper/table8_cost.csv").lines().skip(1);
    rows.filter_map(|line| {
        line.split(',').map(|f| f.trim().parse().ok()).collect::<Option<Vec<f64>>>()
    })
    .find(|row| row.len() == 5 && (row[0] - ratio).abs() < 1e-9)
    .map(|row| if dccn { (row[2], row[4]) } else { (row[1], row[3]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        assert_eq!([4, 5, 6, 7, 8].map(|n| paper_table(n).len()), [80, 36, 80, 36, 0]);
        let best = paper_table(6)[0];
        assert_eq!((best.n_train, best.dice, best.accuracy), (1_831_868, 0.802, 0.933));
    }

    #[test]
    fn the_costs_are_found_by_network_and_ratio() {
        assert_eq!(paper_cost(false, 0.9), Some((315.0, 1.8)));
        assert_eq!(paper_cost(true, 0.0), Some((19147.0, 47.6)));
        assert_eq!(paper_cost(false, 0.55), None);
    }

    /// Accuracy follows from sensitivity, specificity and the share of nuclei; where it does not, a
    /// table is wrong.
    #[test]
    fn the_rows_of_table_4_at_40_and_50_percent_contradict_themselves() {
        const NUCLEI: f64 = 0.181;
        let gap =
            |r: &PaperRow| r.accuracy - (NUCLEI * r.sensitivity + (1.0 - NUCLEI) * r.specificity);
        let of = |ratio: f64| -> Vec<f64> {
            paper_table(4)
                .iter()
                .filter(|r| (r.pruning_ratio - ratio).abs() < 1e-9)
                .map(gap)
                .collect()
        };
        for ratio in [0.4, 0.5] {
            assert!(of(ratio).iter().all(|g| *g > 0.029), "{ratio}: {:?}", of(ratio));
        }
        for ratio in [0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9] {
            let gaps = of(ratio);
            assert!(gaps.iter().sum::<f64>() / 8.0 < 0.008, "{ratio}: {gaps:?}");
        }
    }
}
