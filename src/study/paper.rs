//! The paper's numbers (Tables 4 to 7), for side-by-side reports and for advice where there is no study of one's own.

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

/// Rows of Table 4 (DCNN, scaled), 5 (DCCN, scaled), 6 (DCNN, fixed) or 7 (DCCN, fixed); none for other numbers.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        assert_eq!([4, 5, 6, 7, 8].map(|n| paper_table(n).len()), [80, 36, 80, 36, 0]);
        let best = paper_table(6)[0];
        assert_eq!((best.n_train, best.dice, best.accuracy), (1_831_868, 0.802, 0.933));
    }
}
