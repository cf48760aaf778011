//! Everything that decides a training run besides data and start: written into the model's history.

use serde::{Deserialize, Serialize};

use crate::dataset::{Augmentation, Prior};
use crate::error::{Error, Result};
use crate::model::Head;

/// How the learning rate moves over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    Constant,
    /// Half a cosine from the full rate to zero.
    Cosine,
    /// Linear warm-up over the first 30 %, then half a cosine to zero.
    #[default]
    OneCycle,
}

/// Share of a one-cycle run spent warming up, and the rate it starts from relative to the full one.
const WARM_UP: f64 = 0.3;
const WARM_UP_FROM: f64 = 0.04;

impl Schedule {
    /// Factor on the full rate at `progress` (0 to 1) through the run.
    #[must_use]
    pub fn factor(self, progress: f64) -> f64 {
        let cosine = |t: f64| f64::midpoint(1.0, (std::f64::consts::PI * t.clamp(0.0, 1.0)).cos());
        match self {
            Self::Constant => 1.0,
            Self::Cosine => cosine(progress),
            Self::OneCycle if progress < WARM_UP => {
                WARM_UP_FROM + (1.0 - WARM_UP_FROM) * progress / WARM_UP
            }
            Self::OneCycle => cosine((progress - WARM_UP) / (1.0 - WARM_UP)),
        }
    }
}

/// A training recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Pixels to learn from, each with its patch: 70 % of them train, 30 % validate.
    pub patches: usize,
    /// Side of the squares in which these pixels are drawn. 1 draws single pixels; more learns
    /// every pixel of a square from one forward pass, which is many times faster a pixel, from
    /// neighbours that say much the same.
    #[serde(default = "single", skip_serializing_if = "is_single")]
    pub spread: usize,
    pub epochs: u64,
    /// Patches, or squares, in a step.
    pub batch: usize,
    pub learning_rate: f64,
    pub schedule: Schedule,
    /// Decoupled weight decay (AdamW) on weights; 0 is plain Adam.
    pub weight_decay: f64,
    pub prior: Prior,
    pub augmentation: Augmentation,
    /// Share of the teachers' mean probability in what a pixel is taught, 0 to 1; the rest is its
    /// label. 0 without teachers.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub distil: f32,
    /// Silent filters of a DCNN are drawn anew before training, and each filter's gradient loses
    /// its mean, so that none falls silent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awake: bool,
    pub head: Head,
    pub seed: u64,
}

fn single() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_nothing(share: &f32) -> bool {
    *share == 0.0
}

/// Whether pixels are drawn one by one; then files do not mention it.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
#[must_use]
pub fn is_single(spread: &usize) -> bool {
    *spread == 1
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            patches: 9_159,
            spread: 1,
            epochs: 30,
            batch: 64,
            learning_rate: 1e-3,
            schedule: Schedule::OneCycle,
            weight_decay: 0.0,
            prior: Prior::Natural,
            augmentation: Augmentation::NONE,
            distil: 0.0,
            awake: false,
            head: Head::Softmax,
            seed: 1,
        }
    }
}

impl Recipe {
    /// Refuses numbers that cannot train.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the number.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::mismatch(format!("{what} must be positive")));
        match self {
            Self { patches: 0..10, .. } => {
                Err(Error::mismatch("At least 10 patches are needed to train and validate"))
            }
            Self { spread: 0, .. } => refuse("The side of the squares"),
            Self { spread: 65.., .. } => {
                Err(Error::limit("Squares of more than 64 pixels a side are not trained on"))
            }
            Self { spread: 2.., prior: Prior::Balanced, .. } => Err(Error::mismatch(
                "Squares hold both classes as they come; --prior balanced needs --spread 1",
            )),
            Self { distil: d, .. } if !(0.0..=1.0).contains(d) => {
                Err(Error::mismatch("The teacher's share must lie between 0 and 1"))
            }
            Self { epochs: 0, .. } => refuse("The number of epochs"),
            Self { batch: 0, .. } => refuse("The batch size"),
            Self { learning_rate: r, .. } if !r.is_finite() || *r <= 0.0 => {
                refuse("The learning rate")
            }
            Self { weight_decay: d, .. } if !d.is_finite() || *d < 0.0 => {
                refuse("The weight decay")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_start_and_end_where_they_say() {
        assert!((Schedule::Cosine.factor(0.0) - 1.0).abs() < 1e-12);
        assert!(Schedule::Cosine.factor(1.0).abs() < 1e-12);
        assert!((Schedule::OneCycle.factor(0.0) - WARM_UP_FROM).abs() < 1e-12);
        assert!((Schedule::OneCycle.factor(WARM_UP) - 1.0).abs() < 1e-12);
        assert!(Schedule::OneCycle.factor(1.0).abs() < 1e-12);
        assert!((Schedule::Constant.factor(0.7) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn recipes_that_cannot_train_are_refused() {
        let bad = [
            Recipe { patches: 3, ..Recipe::default() },
            Recipe { epochs: 0, ..Recipe::default() },
            Recipe { spread: 0, ..Recipe::default() },
            Recipe { distil: 1.5, ..Recipe::default() },
            Recipe { spread: 72, ..Recipe::default() },
            Recipe { spread: 8, prior: Prior::Balanced, ..Recipe::default() },
            Recipe { batch: 0, ..Recipe::default() },
            Recipe { learning_rate: f64::NAN, ..Recipe::default() },
            Recipe { weight_decay: -1.0, ..Recipe::default() },
        ];
        assert!(Recipe { learning_rate: f64::INFINITY, ..Recipe::default() }.validate().is_err());
        assert!(bad.iter().all(|r| r.validate().is_err()));
        assert!(Recipe::default().validate().is_ok());
    }
}
