//! The loss that training lowers.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, sigmoid};

use crate::model::Head;

/// Mean softmax cross-entropy over a batch; the sigmoid head passes each logit through a sigmoid first.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>, head: Head) -> Tensor<1> {
    let [patches, _] = logits.dims();
    let scores = match head {
        Head::Softmax => logits,
        Head::Sigmoid => sigmoid(logits),
    };
    (log_softmax(scores, 1) * targets).sum().neg() / patches as f64
}
