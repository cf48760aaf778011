//! The loss that training minimises: softmax cross-entropy of two classes.

use crate::model::Head;

/// Loss of one pixel and its derivatives by the two logits.
#[derive(Debug, Clone, Copy)]
pub(super) struct PixelLoss {
    pub value: f64,
    pub gradient: [f64; 2],
}

/// Cross-entropy of logits `[background, nucleus]` against the target probability of nucleus. The
/// sigmoid head passes each logit through a sigmoid first.
///
/// With scores s and lead d = s₁ − s₀ the softmax gives p = σ(d), so
/// L = t·ln(1 + e⁻ᵈ) + (1 − t)·ln(1 + eᵈ) and ∂L/∂d = σ(d) − t.
pub(super) fn pixel_loss(logits: [f32; 2], target: f32, head: Head) -> PixelLoss {
    let logits = logits.map(f64::from);
    let target = f64::from(target);
    let scores = match head {
        Head::Softmax => logits,
        Head::Sigmoid => logits.map(logistic),
    };
    let lead = scores[1] - scores[0];
    let value = target * softplus(-lead) + (1.0 - target) * softplus(lead);
    let by_lead = logistic(lead) - target;
    let by_score = [-by_lead, by_lead];
    let gradient = match head {
        Head::Softmax => by_score,
        Head::Sigmoid => [0, 1].map(|i| by_score[i] * scores[i] * (1.0 - scores[i])),
    };
    PixelLoss { value, gradient }
}

fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// ln(1 + eᶻ) without overflow.
fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let step = 1e-3f32;
        for head in [Head::Softmax, Head::Sigmoid] {
            for (logits, target) in
                [([0.3, -0.7], 0.0), ([2.0, 5.0], 1.0), ([-4.0, 4.0], 0.3), ([30.0, -30.0], 1.0)]
            {
                let gradient = pixel_loss(logits, target, head).gradient;
                for i in 0..2 {
                    let mut above: [f32; 2] = logits;
                    let mut below: [f32; 2] = logits;
                    above[i] += step;
                    below[i] -= step;
                    let rise = pixel_loss(above, target, head).value
                        - pixel_loss(below, target, head).value;
                    let slope = rise / (f64::from(above[i]) - f64::from(below[i]));
                    assert!(
                        (gradient[i] - slope).abs() < 1e-4,
                        "{head:?} {logits:?} {target}: {} {slope}",
                        gradient[i]
                    );
                }
            }
        }
    }
}
