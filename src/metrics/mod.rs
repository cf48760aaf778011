//! Scores: of pixels as the paper reports them, and of objects as the nucleus literature does. A
//! score that has no meaning for the data (no nuclei, say) is `None`, never NaN.

mod objects;
mod overlap;
mod pixel;

pub use objects::{ObjectScores, score_objects};
pub use pixel::{PixelCounts, PixelScores};

/// `a / b`, or nothing when there is nothing to divide by.
fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}
