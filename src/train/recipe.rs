//! Every setting that decides a training run, besides data and initial weights. Options of the
//! command line, of study designs and of the demo are made from this one type.

use serde::{Deserialize, Serialize};

use crate::dataset::{Augmentation, Prior};
use crate::error::{Error, Result};
use crate::model::Head;

/// The learning rate over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The full rate at each step.
    Constant,
    /// Half a cosine from the full rate to zero.
    Cosine,
    /// Linear warm-up over the first 30 % of the steps, then half a cosine to zero (Smith & Topin
    /// 2018).
    #[default]
    OneCycle,
}

/// Share of a one-cycle run spent in warm-up, and its first rate relative to the full one.
const WARM_UP: f64 = 0.3;
const WARM_UP_FROM: f64 = 0.04;

/// Widest border of nuclei, micrometres.
const MAX_BORDER_UM: f64 = 10.0;

impl Schedule {
    /// Factor on the full rate at `progress` (0 to 1) through the run.
    ///
    /// ```
    /// use prunella::train::Schedule;
    /// assert!((Schedule::Cosine.factor(0.5) - 0.5).abs() < 1e-12);
    /// ```
    #[must_use]
    pub fn factor(self, progress: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Cosine => half_cosine(progress),
            Self::OneCycle if progress < WARM_UP => {
                WARM_UP_FROM + (1.0 - WARM_UP_FROM) * progress / WARM_UP
            }
            Self::OneCycle => half_cosine((progress - WARM_UP) / (1.0 - WARM_UP)),
        }
    }
}

/// From 1 at 0 to 0 at 1.
fn half_cosine(t: f64) -> f64 {
    f64::midpoint(1.0, (std::f64::consts::PI * t.clamp(0.0, 1.0)).cos())
}

/// Measures against dead units of a DCNN: filters and hidden units whose rectified output is zero
/// on every patch, which no gradient reaches. Recipes store them under the key `awake`: as `true`
/// if all are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "DeadUnitKey", into = "DeadUnitKey")]
pub struct DeadUnitOptions {
    /// Re-initialise dead units before training, with outgoing weights of zero.
    pub revive: bool,
    /// Scale a random start to the tiles, layer by layer (LSUV, Mishkin & Matas 2016).
    pub fit_random_start: bool,
    /// Subtract the mean from the gradient of each filter (gradient centralisation, Yong et al.
    /// 2020).
    pub centre_gradients: bool,
}

impl DeadUnitOptions {
    /// None of them.
    pub const OFF: Self = Self { revive: false, fit_random_start: false, centre_gradients: false };
    /// `--revive`.
    pub const ALL: Self = Self { revive: true, fit_random_start: true, centre_gradients: true };

    /// All measures or none.
    #[must_use]
    pub fn all_if(on: bool) -> Self {
        if on { Self::ALL } else { Self::OFF }
    }

    /// Whether no measure is on.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}

/// How files spell [`DeadUnitOptions`].
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum DeadUnitKey {
    All(bool),
    Each { revive: bool, fit_random_start: bool, centre_gradients: bool },
}

impl From<DeadUnitKey> for DeadUnitOptions {
    fn from(key: DeadUnitKey) -> Self {
        match key {
            DeadUnitKey::All(on) => Self::all_if(on),
            DeadUnitKey::Each { revive, fit_random_start, centre_gradients } => {
                Self { revive, fit_random_start, centre_gradients }
            }
        }
    }
}

impl From<DeadUnitOptions> for DeadUnitKey {
    fn from(options: DeadUnitOptions) -> Self {
        if options == DeadUnitOptions::ALL || options.is_off() {
            return Self::All(options == DeadUnitOptions::ALL);
        }
        let DeadUnitOptions { revive, fit_random_start, centre_gradients } = options;
        Self::Each { revive, fit_random_start, centre_gradients }
    }
}

/// A training recipe. The names under which files store some fields are older than the fields'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Pixels to learn from, each with its patch: 70 % of them train, 30 % validate.
    pub patches: usize,
    /// Side of the squares in which these pixels are drawn. 1 draws single pixels. With larger
    /// squares one forward pass learns every pixel of a square, which is many times faster a pixel;
    /// neighbouring pixels carry less information.
    #[serde(rename = "spread", default = "single", skip_serializing_if = "is_single")]
    pub square_px: usize,
    /// Passes over the training pixels.
    pub epochs: u64,
    /// Patches, or squares, in a step.
    pub batch: usize,
    /// Peak rate of Adam; [`Self::schedule`] scales it.
    pub learning_rate: f64,
    /// Scale of the learning rate over the run.
    pub schedule: Schedule,
    /// Decoupled weight decay (AdamW) on weights; 0 is plain Adam.
    pub weight_decay: f64,
    /// How often nucleus and background are drawn.
    pub prior: Prior,
    /// Random changes of each patch, new in each epoch.
    pub augmentation: Augmentation,
    /// Share of the teachers' mean probability in the target of a pixel, 0 to 1; the rest is its
    /// label. 0 without teachers.
    #[serde(rename = "distil", default, skip_serializing_if = "is_zero")]
    pub distill: f32,
    /// Of DCNNs only.
    #[serde(rename = "awake", default, skip_serializing_if = "DeadUnitOptions::is_off")]
    pub dead_units: DeadUnitOptions,
    /// Width of the border class inside nuclei, micrometres. None without such a class, or for the
    /// width that the model's card names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub border_um: Option<f64>,
    /// Decay of the exponential moving average of the weights over steps, 0 to 1; the averaged
    /// weights are scored and saved. 0 averages nothing.
    #[serde(default, skip_serializing_if = "is_off")]
    pub ema: f64,
    /// Activation of the last layer, which decides the loss.
    pub head: Head,
    /// Seed of sample, order, augmentation and initialisation; it decides every bit on the CPU.
    pub seed: u64,
}

fn single() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(share: &f32) -> bool {
    *share == 0.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_off(decay: &f64) -> bool {
    *decay == 0.0
}

/// Whether pixels are drawn one by one; then files do not mention it.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
#[must_use]
pub fn is_single(square_px: &usize) -> bool {
    *square_px == 1
}

impl Recipe {
    /// The paper's sample size and epochs, Adam at 0.001 with a one-cycle schedule. Every other
    /// recipe names what it changes of this one.
    pub const DEFAULT: Self = Self {
        patches: 9_159,
        square_px: 1,
        epochs: 30,
        batch: 64,
        learning_rate: 1e-3,
        schedule: Schedule::OneCycle,
        weight_decay: 0.0,
        prior: Prior::Natural,
        augmentation: Augmentation::NONE,
        distill: 0.0,
        dead_units: DeadUnitOptions::OFF,
        border_um: None,
        ema: 0.0,
        head: Head::Softmax,
        seed: 1,
    };
}

impl Default for Recipe {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Recipe {
    /// Refuses numbers that cannot train.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the number.
    pub fn validate(&self) -> Result<()> {
        if self.patches < 10 {
            return Err(Error::invalid("At least 10 patches are needed to train and validate"));
        }
        if self.square_px > 64 {
            return Err(Error::limit("Squares of more than 64 pixels a side are not trained on"));
        }
        if self.square_px > 1 && self.prior == Prior::Balanced {
            return Err(Error::invalid(
                "Squares hold both classes as they come; --balanced needs --square 1",
            ));
        }
        if !(0.0..=1.0).contains(&self.distill) {
            return Err(Error::invalid("The teacher's share must lie between 0 and 1"));
        }
        if !(0.0..1.0).contains(&self.ema) {
            return Err(Error::invalid(
                "The decay of the average of the weights (--ema) must lie between 0 and 1, such as \
                 0.999",
            ));
        }
        if let Some(um) = self.border_um {
            check_border(um)?;
        }
        let not_positive = match self {
            Self { square_px: 0, .. } => "The side of the squares",
            Self { epochs: 0, .. } => "The number of epochs",
            Self { batch: 0, .. } => "The batch size",
            Self { learning_rate: rate, .. } if !rate.is_finite() || *rate <= 0.0 => {
                "The learning rate"
            }
            Self { weight_decay: decay, .. } if !decay.is_finite() || *decay < 0.0 => {
                "The weight decay"
            }
            _ => return Ok(()),
        };
        Err(Error::mismatch(format!("{not_positive} must be positive")))
    }
}

/// Refuses a width of borders, micrometres, that no nucleus has.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_border(um: f64) -> Result<()> {
    if um > 0.0 && um <= MAX_BORDER_UM {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "The border of nuclei (--border) must be up to {MAX_BORDER_UM} µm wide, such as 0.75; it \
         is {um}"
    )))
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
            Recipe { square_px: 0, ..Recipe::default() },
            Recipe { distill: 1.5, ..Recipe::default() },
            Recipe { square_px: 72, ..Recipe::default() },
            Recipe { square_px: 8, prior: Prior::Balanced, ..Recipe::default() },
            Recipe { batch: 0, ..Recipe::default() },
            Recipe { learning_rate: f64::NAN, ..Recipe::default() },
            Recipe { weight_decay: -1.0, ..Recipe::default() },
            Recipe { ema: 1.0, ..Recipe::default() },
            Recipe { ema: f64::NAN, ..Recipe::default() },
            Recipe { border_um: Some(0.0), ..Recipe::default() },
            Recipe { border_um: Some(f64::NAN), ..Recipe::default() },
            Recipe { border_um: Some(11.0), ..Recipe::default() },
        ];
        assert!(Recipe { learning_rate: f64::INFINITY, ..Recipe::default() }.validate().is_err());
        assert!(bad.iter().all(|r| r.validate().is_err()));
        assert!(Recipe::default().validate().is_ok());
    }

    #[test]
    fn files_keep_the_keys_by_which_runs_and_cards_know_a_recipe() {
        let plain = serde_json::json!(Recipe::DEFAULT);
        let absent =
            ["spread", "distil", "awake", "border_um", "ema", "square_px", "distill", "dead_units"];
        for absent in absent {
            assert!(plain.get(absent).is_none(), "{absent} in {plain}");
        }
        let full = Recipe {
            square_px: 8,
            distill: 0.5,
            dead_units: DeadUnitOptions::ALL,
            border_um: Some(0.75),
            ema: 0.999,
            ..Recipe::DEFAULT
        };
        let value = serde_json::json!(full);
        assert_eq!(value["spread"], 8);
        assert_eq!(value["distil"], 0.5);
        assert_eq!(value["awake"], true);
        assert_eq!(serde_json::from_value::<Recipe>(value).expect("recipe"), full);
        let some = DeadUnitOptions { revive: true, ..DeadUnitOptions::OFF };
        let value = serde_json::json!(some);
        assert_eq!(serde_json::from_value::<DeadUnitOptions>(value).expect("options"), some);
    }
}
