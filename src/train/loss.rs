//! Cross-entropy, and the scores of a validation pass.

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

/// Loss and counts over any number of patches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// Sum of cross-entropies.
    pub loss: f64,
    pub patches: u64,
    pub correct: u64,
    pub true_cells: u64,
    pub called_cells: u64,
    pub right_cells: u64,
}

impl Score {
    /// Adds a batch's logits.
    pub fn add(&mut self, logits: &[f32], classes: &[usize], head: Head) {
        for (z, &class) in logits.chunks_exact(2).zip(classes) {
            let p = f64::from(head.probability([z[0], z[1]]));
            let right = if class == 1 { p } else { 1.0 - p };
            self.loss -= if right.is_nan() { f64::NAN } else { right.max(1e-12).ln() };
            let called = usize::from(p > 0.5);
            self.patches += 1;
            self.correct += u64::from(called == class);
            self.true_cells += class as u64;
            self.called_cells += called as u64;
            self.right_cells += u64::from(called == 1 && class == 1);
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            loss: self.loss + other.loss,
            patches: self.patches + other.patches,
            correct: self.correct + other.correct,
            true_cells: self.true_cells + other.true_cells,
            called_cells: self.called_cells + other.called_cells,
            right_cells: self.right_cells + other.right_cells,
        }
    }

    /// Mean cross-entropy.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.patches.max(1) as f64
    }
    /// Share of patches whose class is right.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.patches.max(1) as f64
    }
    /// Dice of the cell class; 1 when there is no cell and none was called.
    pub fn dice(&self) -> f64 {
        let both = self.true_cells + self.called_cells;
        if both == 0 { 1.0 } else { 2.0 * self.right_cells as f64 / both as f64 }
    }
}
