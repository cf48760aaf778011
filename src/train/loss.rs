//! The loss that training lowers.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, sigmoid};

use crate::model::Head;

/// Mean softmax cross-entropy over a batch; the sigmoid head passes each logit through a sigmoid
/// first.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>, head: Head) -> Tensor<1> {
    let [patches, _] = logits.dims();
    let scores = match head {
        Head::Softmax => logits,
        Head::Sigmoid => sigmoid(logits),
    };
    (log_softmax(scores, 1) * targets).sum().neg() / patches as f64
}

/// The loss of one pixel that should answer "nucleus" with probability `target`, and its gradient
/// by logit.
pub fn loss_of_logits(logits: [f32; 2], target: f32, head: Head) -> (f64, [f64; 2]) {
    let (logits, target) = (logits.map(f64::from), f64::from(target));
    let logistic = |z: f64| 1.0 / (1.0 + (-z).exp());
    let scores = match head {
        Head::Softmax => logits,
        Head::Sigmoid => logits.map(logistic),
    };
    let lead = scores[1] - scores[0];
    // log(1 + e^-lead) and log(1 + e^lead), of which the smaller argument is safe.
    let softplus = |z: f64| z.max(0.0) + (-z.abs()).exp().ln_1p();
    let loss = target * softplus(-lead) + (1.0 - target) * softplus(lead);
    let slope = logistic(lead) - target;
    let by_score = [-slope, slope];
    match head {
        Head::Softmax => (loss, by_score),
        Head::Sigmoid => (loss, [0, 1].map(|i| by_score[i] * scores[i] * (1.0 - scores[i]))),
    }
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
                let (_, gradient) = loss_of_logits(logits, target, head);
                for i in 0..2 {
                    let at = |by: f32| {
                        let mut moved: [f32; 2] = logits;
                        moved[i] += by;
                        (loss_of_logits(moved, target, head).0, f64::from(moved[i]))
                    };
                    let ((up, x1), (down, x0)) = (at(step), at(-step));
                    let slope = (up - down) / (x1 - x0);
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
