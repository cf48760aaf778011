//! Milliseconds per patch, as `prunella study run paper-cost` measures them. They differ from run
//! to run, so they are not part of a cell's result: a study takes one measured table, and the same
//! table gives a report with the same bytes.

use super::design::NetworkChoice;
use crate::error::{Error, Result};

/// Columns of a `cost.csv` that are read: network, pruning ratio, bytes (skipped), milliseconds.
const NETWORK: usize = 0;
const PRUNING_RATIO: usize = 1;
const MILLISECONDS: usize = 3;

/// Measured times by network and pruning ratio.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PatchTimes {
    rows: Vec<TimeRow>,
}

#[derive(Debug, Clone, PartialEq)]
struct TimeRow {
    network: String,
    pruning_ratio: f64,
    ms_per_patch: f64,
}

impl PatchTimes {
    /// Reads a `cost.csv`.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the number of the first line that is not a row of the table.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut rows = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let is_header = number == 1;
            if is_header || line.is_empty() {
                continue;
            }
            rows.push(TimeRow::parse(line).ok_or_else(|| {
                Error::malformed(format!(
                    "Line {number} is not a row of a cost.csv; \
                     'prunella study run paper-cost --out DIR' writes one"
                ))
            })?);
        }
        Ok(Self { rows })
    }

    /// Milliseconds per patch, if they were measured.
    #[must_use]
    pub(crate) fn ms_per_patch(&self, network: NetworkChoice, pruning_ratio: f64) -> Option<f64> {
        for row in &self.rows {
            if row.network == network.name() && (row.pruning_ratio - pruning_ratio).abs() < 1e-9 {
                return Some(row.ms_per_patch);
            }
        }
        None
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl TimeRow {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        Some(Self {
            network: (*fields.get(NETWORK)?).to_owned(),
            pruning_ratio: non_negative(fields.get(PRUNING_RATIO)?)?,
            ms_per_patch: non_negative(fields.get(MILLISECONDS)?)?,
        })
    }
}

fn non_negative(field: &str) -> Option<f64> {
    field.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_by_network_and_ratio_and_other_files_are_refused() {
        let text = "network,pruning_ratio,bytes,ms_per_patch,paper_bytes,paper_ms_per_patch\n\
                    dcnn,0.9,1000,0.25,5,6\ndccn,0,7,3.5,,\n";
        let times = PatchTimes::parse(text).expect("times");
        assert_eq!(times.ms_per_patch(NetworkChoice::Dcnn, 0.9), Some(0.25));
        assert_eq!(times.ms_per_patch(NetworkChoice::Dccn, 0.0), Some(3.5));
        assert_eq!(times.ms_per_patch(NetworkChoice::Dcnn, 0.5), None);
        assert!(!times.is_empty() && PatchTimes::parse("").expect("empty").is_empty());
        for bad in
            ["a\ndcnn,0.9,1000\n\n", "a\ndcnn,x,1,2\n", "a\ndcnn,0.9,1,-2\n", "a\ndcnn,0.9,1,NaN\n"]
        {
            assert!(PatchTimes::parse(bad).expect_err(bad).to_string().contains("Line 2"));
        }
    }
}
