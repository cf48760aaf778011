//! From results to advice: how far to prune with so many patches, and how many patches for so much
//! accuracy.

use super::design::NetworkChoice;
use super::paper::{paper_table, standard_errors};
use super::summary::CellGroup;

/// Known sizes up to this much larger than what there is speak for it.
const NEARLY: f64 = 1.05;

/// One known configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
struct AdvicePoint {
    ratio: f64,
    n: usize,
    accuracy: f64,
    /// Standard deviation over seeds, or the paper's standard error.
    error: f64,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Question {
    /// With so many labelled patches, how far?
    Patches(usize),
    /// For this accuracy, how many patches and how far?
    Accuracy(f64),
}

/// An answer, with the numbers behind it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Advice {
    /// Largest pruning ratio that costs no more than the margin.
    pub pruning_ratio: f64,
    /// The sample size that the answer rests on.
    pub patches: usize,
    pub accuracy: f64,
    /// Uncertainty of the accuracy: deviation over seeds, or the paper's standard error.
    pub error: f64,
    /// Of the unpruned network with as many patches.
    pub unpruned_accuracy: f64,
    /// Beyond this many patches the unpruned network gains no more than the margin.
    pub enough_patches: usize,
    /// Where the numbers come from.
    pub source: String,
}

/// Answers from a study's groups of one network, or from the paper's Table 6 where there are none;
/// none when nothing fits.
#[must_use]
pub fn advise(question: Question, margin: f64, groups: &[CellGroup]) -> Option<Advice> {
    let (points, source) = known(groups);
    let unpruned = |n: usize| points.iter().find(|p| p.ratio == 0.0 && p.n == n);
    let farthest = |n: usize| {
        let whole = unpruned(n)?;
        let kept = points.iter().filter(|p| p.n == n && p.accuracy >= whole.accuracy - margin);
        kept.max_by(|a, b| a.ratio.total_cmp(&b.ratio)).map(|p| (*p, *whole))
    };
    let mut sizes: Vec<usize> = points.iter().filter(|p| p.ratio == 0.0).map(|p| p.n).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let best =
        sizes.iter().filter_map(|n| unpruned(*n)).map(|p| p.accuracy).fold(f64::MIN, f64::max);
    let enough =
        *sizes.iter().find(|n| unpruned(**n).is_some_and(|p| best - p.accuracy <= margin))?;
    let n = match question {
        // The largest known size that is not, or hardly, larger than what there is.
        Question::Patches(have) => {
            *sizes.iter().rfind(|n| **n as f64 <= have as f64 * NEARLY).or(sizes.first())?
        }
        Question::Accuracy(wanted) => {
            *sizes.iter().find(|n| farthest(**n).is_some_and(|(p, _)| p.accuracy >= wanted))?
        }
    };
    let (mut point, whole) = farthest(n)?;
    if let Question::Accuracy(wanted) = question {
        let enough_for = points.iter().filter(|p| p.n == n && p.accuracy >= wanted);
        point = *enough_for.max_by(|a, b| a.ratio.total_cmp(&b.ratio))?;
    }
    Some(Advice {
        pruning_ratio: point.ratio,
        patches: n,
        accuracy: point.accuracy,
        error: point.error,
        unpruned_accuracy: whole.accuracy,
        enough_patches: enough,
        source,
    })
}

fn known(groups: &[CellGroup]) -> (Vec<AdvicePoint>, String) {
    let point = |g: &CellGroup| {
        let accuracy = g.accuracy?;
        let error =
            accuracy.deviation.unwrap_or(standard_errors(g.network == NetworkChoice::Dccn).0);
        Some(AdvicePoint { ratio: g.pruning_ratio, n: g.n_train, accuracy: accuracy.mean, error })
    };
    if groups.is_empty() {
        let error = standard_errors(false).0;
        let rows = paper_table(6).into_iter();
        let points = rows
            .map(|r| AdvicePoint {
                ratio: r.pruning_ratio,
                n: r.n_train,
                accuracy: r.accuracy,
                error,
            })
            .collect();
        return (points, "Götz et al. 2022, Table 6 (DCNN)".to_owned());
    }
    (
        groups.iter().filter_map(point).collect(),
        format!("this study ({} configurations)", groups.len()),
    )
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
        let ratio =
            |margin| advise(Question::Patches(9159), margin, &[]).expect("advice").pruning_ratio;
        let all: Vec<f64> = [0.0, 0.002, 0.005, 0.01, 0.02, 0.05].map(ratio).into();
        assert!(all.windows(2).all(|w| w[0] <= w[1]), "{all:?}");
    }
}
