//! Milliseconds a patch, as `paper-cost` measured them. They differ from run to run, so they are no
//! part of a cell's result: a study is given one measured table, and with the same table its report
//! has the same bytes.

use super::design::NetworkChoice;
use crate::error::{Error, Result};

/// Measured times by network and pruning ratio.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times(Vec<(String, f64, f64)>);

impl Times {
    /// Reads a `cost.csv`.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the line that is none of it.
    pub fn parse(text: &str) -> Result<Self> {
        let row = |(number, line): (usize, &str)| {
            let mut fields = line.split(',');
            let positive = |text: Option<&str>| {
                text?.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0)
            };
            let name = fields.next().unwrap_or_default().to_owned();
            match (positive(fields.next()), positive(fields.nth(1))) {
                (Some(ratio), Some(ms)) => Ok((name, ratio, ms)),
                _ => Err(Error::malformed(format!(
                    "Line {} is no row of a cost.csv; 'prunella study run paper-cost --out DIR' writes one",
                    number + 1
                ))),
            }
        };
        text.lines()
            .enumerate()
            .skip(1)
            .filter(|(_, line)| !line.is_empty())
            .map(row)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Milliseconds a patch, if they were measured.
    #[must_use]
    pub fn of(&self, network: NetworkChoice, ratio: f64) -> Option<f64> {
        let same =
            |row: &&(String, f64, f64)| row.0 == network.name() && (row.1 - ratio).abs() < 1e-9;
        self.0.iter().find(same).map(|row| row.2)
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_by_network_and_ratio_and_other_files_are_refused() {
        let text = "network,pruning_ratio,bytes,ms_per_patch,paper_bytes,paper_ms_per_patch\ndcnn,0.9,1000,0.25,5,6\ndccn,0,7,3.5,,\n";
        let times = Times::parse(text).expect("times");
        assert_eq!(times.of(NetworkChoice::Dcnn, 0.9), Some(0.25));
        assert_eq!(times.of(NetworkChoice::Dccn, 0.0), Some(3.5));
        assert_eq!(times.of(NetworkChoice::Dcnn, 0.5), None);
        assert!(!times.is_empty() && Times::parse("").expect("empty").is_empty());
        for bad in
            ["a\ndcnn,0.9,1000\n\n", "a\ndcnn,x,1,2\n", "a\ndcnn,0.9,1,-2\n", "a\ndcnn,0.9,1,NaN\n"]
        {
            assert!(Times::parse(bad).expect_err(bad).to_string().contains("Line 2"));
        }
    }
}
