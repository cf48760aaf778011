//! From results to advice: how far to prune with a number of patches, and how many patches a
//! required accuracy needs.

use super::design::PatchScale;
use super::paper::{paper_table, standard_errors};
use super::summary::CellGroup;
use crate::model::Family;

/// A known sample size counts as available up to this factor above the number of patches.
const SIZE_TOLERANCE: f64 = 1.05;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Question {
    /// How far to prune with this number of labelled patches?
    Patches(usize),
    /// How many patches, and how far to prune, for this accuracy?
    Accuracy(f64),
}

/// An answer with the numbers behind it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Advice {
    /// Largest pruning ratio that costs no more accuracy than the margin, or that still reaches the
    /// required accuracy.
    pub pruning_ratio: f64,
    /// The sample size behind the answer.
    pub patches: usize,
    /// Of the pruned network.
    pub accuracy: f64,
    /// Uncertainty of the accuracy: standard deviation over seeds, or the paper's standard error.
    pub error: f64,
    /// Of the unpruned network with as many patches.
    pub unpruned_accuracy: f64,
    /// With this many patches the unpruned network is within the margin of its best accuracy.
    pub enough_patches: usize,
    /// Where the numbers come from.
    pub source: String,
}

/// Answers from a study's groups of one network, or from the paper's Table 6 where there are none.
/// `margin` is the accuracy that pruning may cost. None when no known result fits.
#[must_use]
pub(crate) fn advise(question: Question, margin: f64, groups: &[CellGroup]) -> Option<Advice> {
    let known = if groups.is_empty() {
        KnownResults::of_the_paper()
    } else {
        KnownResults::of_study(groups)
    };
    let sizes = known.unpruned_sizes();

    let mut best_unpruned = f64::MIN;
    for &n in &sizes {
        best_unpruned = best_unpruned.max(known.unpruned(n)?.accuracy);
    }
    let enough_patches = *sizes
        .iter()
        .find(|n| known.unpruned(**n).is_some_and(|p| best_unpruned - p.accuracy <= margin))?;

    let (patches, least_accuracy) = match question {
        Question::Patches(available) => {
            // The largest known size that is available, else the smallest.
            let limit = available as f64 * SIZE_TOLERANCE;
            let n = *sizes.iter().rfind(|n| **n as f64 <= limit).or(sizes.first())?;
            (n, known.unpruned(n)?.accuracy - margin)
        }
        Question::Accuracy(required) => {
            // The smallest size whose most pruned acceptable network reaches the accuracy.
            let n = *sizes.iter().find(|n| {
                known.most_pruned_within(**n, margin).is_some_and(|p| p.accuracy >= required)
            })?;
            (n, required)
        }
    };
    let chosen = known.most_pruned(patches, least_accuracy)?;
    Some(Advice {
        pruning_ratio: chosen.ratio,
        patches,
        accuracy: chosen.accuracy,
        error: chosen.error,
        unpruned_accuracy: known.unpruned(patches)?.accuracy,
        enough_patches,
        source: known.source,
    })
}

/// One known configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
struct KnownResult {
    ratio: f64,
    /// Training patches.
    n: usize,
    accuracy: f64,
    /// Standard deviation over seeds, or the paper's standard error.
    error: f64,
}

struct KnownResults {
    points: Vec<KnownResult>,
    source: String,
}

impl KnownResults {
    fn of_the_paper() -> Self {
        let error = standard_errors(Family::Dcnn).accuracy;
        let mut points = Vec::new();
        for row in paper_table(Family::Dcnn, PatchScale::Fixed) {
            points.push(KnownResult {
                ratio: row.pruning_ratio,
                n: row.n_train,
                accuracy: row.scores.accuracy,
                error,
            });
        }
        Self { points, source: "Götz et al. 2022, Table 6 (DCNN)".to_owned() }
    }

    fn of_study(groups: &[CellGroup]) -> Self {
        let mut points = Vec::new();
        for group in groups {
            let Some(accuracy) = group.scores.accuracy else { continue };
            let papers_error = standard_errors(group.network.family()).accuracy;
            points.push(KnownResult {
                ratio: group.pruning_ratio,
                n: group.n_train,
                accuracy: accuracy.mean,
                error: accuracy.std_dev.unwrap_or(papers_error),
            });
        }
        Self { points, source: format!("this study ({} configurations)", groups.len()) }
    }

    fn unpruned(&self, n: usize) -> Option<&KnownResult> {
        self.points.iter().find(|p| p.ratio == 0.0 && p.n == n)
    }

    /// Sample sizes of the unpruned network, ascending.
    fn unpruned_sizes(&self) -> Vec<usize> {
        let unpruned = self.points.iter().filter(|p| p.ratio == 0.0);
        let mut sizes: Vec<usize> = unpruned.map(|p| p.n).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The largest ratio at `n` patches with at least this accuracy.
    fn most_pruned(&self, n: usize, least_accuracy: f64) -> Option<&KnownResult> {
        let accepted = self.points.iter().filter(|p| p.n == n && p.accuracy >= least_accuracy);
        accepted.max_by(|a, b| a.ratio.total_cmp(&b.ratio))
    }

    /// The largest ratio at `n` patches that is within the margin of the unpruned network.
    fn most_pruned_within(&self, n: usize, margin: f64) -> Option<&KnownResult> {
        self.most_pruned(n, self.unpruned(n)?.accuracy - margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_table_answers_both_questions() {
        let advice = advise(Question::Patches(10_000), 0.007, &[]).expect("advice");
        assert_eq!(advice.patches, 9159);
        assert!((advice.unpruned_accuracy - 0.921).abs() < 1e-9);
        assert!(advice.accuracy >= 0.921 - 0.007 && advice.pruning_ratio >= 0.5, "{advice:?}");
        assert_eq!(
            advise(Question::Patches(9_000), 0.007, &[]),
            Some(advice),
            "a little less is the same"
        );
        let advice = advise(Question::Accuracy(0.93), 0.005, &[]).expect("advice");
        assert!(advice.accuracy >= 0.93 && advice.patches >= 91_593, "{advice:?}");
        assert_eq!(advise(Question::Accuracy(0.99), 0.005, &[]), None);
    }

    #[test]
    fn a_wider_margin_never_prunes_less() {
        let mut last = 0.0;
        for margin in [0.0, 0.002, 0.005, 0.01, 0.02, 0.05] {
            let advice = advise(Question::Patches(9159), margin, &[]).expect("advice");
            assert!(advice.pruning_ratio >= last, "{margin}: {advice:?}");
            last = advice.pruning_ratio;
        }
    }
}
