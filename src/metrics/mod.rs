//! Scores of pixels, as the paper reports them, and of objects, as the literature on nuclei does. A
//! score that is not defined for the data (of nuclei where there are none, say) is `None`, never
//! NaN.

mod matching;
mod objects;
mod overlap;
mod pixel;
mod types;

pub use matching::{MatchedPair, Matching, match_objects};
pub use objects::{ObjectScores, score_objects};
pub use pixel::{PixelCounts, PixelScores};
pub use types::{TypeCounts, TypeScores};

/// `a / b`, or `None` where `b` is 0.
fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}
