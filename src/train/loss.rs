//! The loss that training minimises: softmax cross-entropy.

use crate::engine::PATCH_BATCH;
use crate::model::Head;

/// What the network should say of a pixel.
#[derive(Debug, Clone, Copy)]
pub(super) enum PixelTarget<'a> {
    /// The index of its class.
    Class(usize),
    /// The probability of each class.
    Probabilities(&'a [f32]),
}

impl PixelTarget<'_> {
    /// Target probability of a class.
    fn of(self, class: usize) -> f32 {
        match self {
            Self::Class(own) => f32::from(u8::from(own == class)),
            Self::Probabilities(all) => all[class],
        }
    }
}

/// Logits of a group of 32 windows, `[class][position][window]`, and their gradient.
pub(super) struct GroupLoss<'a> {
    pub logits: &'a [f32],
    /// In the layout of the logits.
    pub gradient: &'a mut [f32],
    pub classes: usize,
    pub head: Head,
    /// Weight of a pixel in the mean.
    pub share: f64,
}

impl GroupLoss<'_> {
    /// The share of a pixel in the mean loss; its gradient is written.
    pub(super) fn add(&mut self, position: usize, window: usize, target: PixelTarget<'_>) -> f64 {
        let first = position * PATCH_BATCH + window;
        let class_len = self.logits.len() / self.classes;
        if self.classes == 2 {
            let logits = [self.logits[first], self.logits[class_len + first]];
            let loss = pixel_loss(logits, target.of(1), self.head);
            self.gradient[first] = (loss.gradient[0] * self.share) as f32;
            self.gradient[class_len + first] = (loss.gradient[1] * self.share) as f32;
            return loss.value * self.share;
        }
        let mut logits = Vec::with_capacity(self.classes);
        for class in 0..self.classes {
            logits.push(f64::from(self.logits[class * class_len + first]));
        }
        let value = class_loss(&mut logits, target, self.head);
        for (class, by_logit) in logits.into_iter().enumerate() {
            self.gradient[class * class_len + first] = (by_logit * self.share) as f32;
        }
        value * self.share
    }
}

/// Loss of one pixel and its derivatives by the two logits.
#[derive(Debug, Clone, Copy)]
struct PixelLoss {
    value: f64,
    gradient: [f64; 2],
}

/// Cross-entropy of logits `[background, nucleus]` against the target probability of nucleus. The
/// sigmoid head passes each logit through a sigmoid first.
///
/// With scores s and lead d = s₁ − s₀ the softmax gives p = σ(d), so
/// L = t·ln(1 + e⁻ᵈ) + (1 − t)·ln(1 + eᵈ) and ∂L/∂d = σ(d) − t.
fn pixel_loss(logits: [f32; 2], target: f32, head: Head) -> PixelLoss {
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

/// Cross-entropy of any number of classes. The logits become the derivatives by them.
///
/// With scores s (the sigmoid head passes each logit through a sigmoid first) and targets t that
/// add up to T, L = −Σₖ tₖ·ln pₖ where ln pₖ = sₖ − ln Σⱼ eˢʲ, and ∂L/∂sₖ = T·pₖ − tₖ.
fn class_loss(logits: &mut [f64], target: PixelTarget<'_>, head: Head) -> f64 {
    if head == Head::Sigmoid {
        for logit in logits.iter_mut() {
            *logit = logistic(*logit);
        }
    }
    let scores = logits;
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
    let log_sum = highest + sum.ln();
    let mut value = 0.0;
    let mut total = 0.0;
    for (class, score) in scores.iter().enumerate() {
        let target = f64::from(target.of(class));
        value += target * (log_sum - score);
        total += target;
    }
    for (class, score) in scores.iter_mut().enumerate() {
        let by_score = total * (*score - log_sum).exp() - f64::from(target.of(class));
        *score = match head {
            Head::Softmax => by_score,
            Head::Sigmoid => by_score * *score * (1.0 - *score),
        };
    }
    value
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

    /// Loss and gradient of one pixel by the code of both trainers.
    fn loss_of(logits: &[f32], target: PixelTarget<'_>, head: Head) -> (f64, Vec<f32>) {
        let classes = logits.len();
        let mut group = vec![0.0; classes * PATCH_BATCH];
        for (class, &logit) in logits.iter().enumerate() {
            group[class * PATCH_BATCH + 3] = logit;
        }
        let mut gradient = vec![0.0; group.len()];
        let mut loss =
            GroupLoss { logits: &group, gradient: &mut gradient, classes, head, share: 1.0 };
        let value = loss.add(0, 3, target);
        (value, (0..classes).map(|class| gradient[class * PATCH_BATCH + 3]).collect())
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let step = 1e-3f32;
        let cases: [(&[f32], PixelTarget<'_>); 10] = [
            (&[0.3, -0.7], PixelTarget::Class(0)),
            (&[2.0, 5.0], PixelTarget::Class(1)),
            (&[-4.0, 4.0], PixelTarget::Probabilities(&[0.7, 0.3])),
            (&[30.0, -30.0], PixelTarget::Class(1)),
            (&[0.3, -0.7, 1.1], PixelTarget::Class(2)),
            (&[30.0, -30.0, 2.0], PixelTarget::Class(1)),
            (&[-4.0, 4.0, 0.0], PixelTarget::Probabilities(&[0.2, 0.3, 0.5])),
            (&[1.0, 2.0, 3.0, -1.0, 0.0], PixelTarget::Class(0)),
            (&[0.1, 0.2, 0.3, 0.4, 0.5], PixelTarget::Probabilities(&[0.1, 0.2, 0.0, 0.3, 0.4])),
            (&[-9.0, 9.0, 3.0, 1.0, 0.5], PixelTarget::Class(4)),
        ];
        for head in [Head::Softmax, Head::Sigmoid] {
            for (logits, target) in cases {
                let (_, gradient) = loss_of(logits, target, head);
                for i in 0..logits.len() {
                    let mut above = logits.to_vec();
                    let mut below = logits.to_vec();
                    above[i] += step;
                    below[i] -= step;
                    let rise = loss_of(&above, target, head).0 - loss_of(&below, target, head).0;
                    let slope = rise / (f64::from(above[i]) - f64::from(below[i]));
                    let found = f64::from(gradient[i]);
                    assert!(
                        (found - slope).abs() < 1e-4,
                        "{head:?} {logits:?} {target:?}: {found} {slope}"
                    );
                }
            }
        }
    }

    #[test]
    fn two_classes_have_one_loss_by_either_formula() {
        for head in [Head::Softmax, Head::Sigmoid] {
            for target in [PixelTarget::Class(1), PixelTarget::Probabilities(&[0.25, 0.75])] {
                let special = pixel_loss([0.7, -1.3], target.of(1), head);
                let mut gradient = [f64::from(0.7f32), f64::from(-1.3f32)];
                let value = class_loss(&mut gradient, target, head);
                assert!((special.value - value).abs() < 1e-12);
                for (special, general) in special.gradient.iter().zip(gradient) {
                    assert!((special - general).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn the_probabilities_of_a_head_are_those_of_its_loss() {
        for head in [Head::Softmax, Head::Sigmoid] {
            for logits in [&[0.4f32, -1.0][..], &[0.4, -1.0, 2.0]] {
                let mut probabilities = logits.to_vec();
                head.probabilities(&mut probabilities);
                for (class, probability) in probabilities.into_iter().enumerate() {
                    let (value, _) = loss_of(logits, PixelTarget::Class(class), head);
                    assert!((value + f64::from(probability).ln()).abs() < 1e-6);
                }
            }
        }
    }
}
