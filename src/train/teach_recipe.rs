//! How a model learns from marks: every number that decides the result.

use serde::{Deserialize, Serialize};

use super::recipe::Schedule;
use crate::dataset::Augmentation;
use crate::error::{Error, Result};

/// Which layers learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaughtLayers {
    /// All of them.
    #[default]
    All,
    /// The fully connected ones.
    FullyConnected,
    /// The last one.
    Last,
}

/// Every setting that decides what a model is taught, besides the marks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeachRecipe {
    /// Steps of the optimiser.
    pub steps: u64,
    /// Squares in a step.
    pub squares: usize,
    /// Side of a square, pixels; a multiple of the network's pooling strides together.
    pub square_px: usize,
    /// Share of the squares that lie around marks, 0 to 1.
    pub marked_share: f64,
    /// Highest learning rate of the schedule.
    pub learning_rate: f64,
    /// The learning rate over the steps.
    pub schedule: Schedule,
    /// Weight of the pixels without marks, together, where marked ones together have 1 and both
    /// cover the same area.
    pub distill: f64,
    /// How that weight grows with the area without marks: at 1 in proportion, so that a pixel
    /// weighs the same however few marks there are, at 0 not at all.
    pub area_power: f64,
    /// Weight of the pixels of images for rehearsal, together, relative to those without marks.
    pub rehearse: f64,
    /// How much less the pixels count of which the model was not sure before: their weight is
    /// |2p − 1| to this power, where p is the probability of nucleus.
    pub certainty: f64,
    /// How far the weights of rare classes rise: at 0 every marked pixel has the same, at 1 every
    /// class has the same. Pixels without marks are balanced as much, by whether the model said
    /// nucleus.
    pub balance: f64,
    /// Which layers learn.
    pub layers: TaughtLayers,
    /// How squares are varied.
    pub augmentation: Augmentation,
    /// Largest share of the learned weights in the taught model; the rest are those before, which
    /// forgets less (Wortsman et al. 2022).
    pub blend: f32,
    /// How much what the model says of the images for rehearsal may change, 1 − Dice of the pixels
    /// of nuclei before and after: the share of the learned weights falls until it changes less.
    pub most_change: f64,
    /// Share of the marks that are not learned and decide when to stop, 0 to 0.5.
    pub held_back: f64,
    /// Steps between two looks at the marks that are held back.
    pub check_every: u64,
    /// Decides squares, their order and their variations.
    pub seed: u64,
}

impl TeachRecipe {
    /// Chosen by measurement, see `docs/teach.md`.
    pub const DEFAULT: Self = Self {
        steps: 52,
        squares: 64,
        square_px: 16,
        marked_share: 0.25,
        learning_rate: 4e-3,
        schedule: Schedule::OneCycle,
        distill: 0.4,
        area_power: 1.0,
        rehearse: 2.0,
        certainty: 4.0,
        balance: 0.0,
        layers: TaughtLayers::All,
        augmentation: Augmentation::DEFAULT,
        blend: 1.0,
        most_change: 0.055,
        held_back: 0.0,
        check_every: 10,
        seed: 1,
    };

    /// Refuses numbers that cannot teach.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the number.
    pub fn validate(&self) -> Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let wrong = match self {
            Self { steps: 0, .. } => "The number of steps must be positive",
            Self { squares, .. } if !(2..=4096).contains(squares) => {
                "The number of squares in a step must be between 2 and 4096"
            }
            Self { square_px, .. } if !(1..=64).contains(square_px) => {
                "The side of the squares must be up to 64 pixels"
            }
            Self { learning_rate, .. } if !positive(*learning_rate) => {
                "The learning rate must be positive"
            }
            Self { distill, rehearse, .. }
                if !not_negative(*distill) || !not_negative(*rehearse) =>
            {
                "The weights of unmarked pixels must not be negative"
            }
            Self { certainty, area_power, .. }
                if !not_negative(*certainty) || !not_negative(*area_power) =>
            {
                "The powers must not be negative"
            }
            Self { balance, marked_share, .. } if !share(*balance) || !share(*marked_share) => {
                "The share of squares around marks and the balance of classes must lie between 0 \
                 and 1"
            }
            Self { blend, most_change, .. }
                if !share(f64::from(*blend)) || !share(*most_change) =>
            {
                "The share of the learned weights and the change in images for rehearsal must lie \
                 between 0 and 1"
            }
            Self { held_back, .. } if !(0.0..=0.5).contains(held_back) => {
                "At most half of the marks can be held back"
            }
            Self { check_every: 0, .. } => "The steps between two checks must be positive",
            _ => return Ok(()),
        };
        Err(Error::invalid(wrong))
    }
}

impl Default for TeachRecipe {
    fn default() -> Self {
        Self::DEFAULT
    }
}
