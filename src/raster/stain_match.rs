//! Stain normalisation: mean and standard deviation of the optical density of tissue are matched to
//! those of the training tiles, channel by channel (after Reinhard et al. 2001, in optical density
//! instead of their colour space):
//!
//! ```text
//! od' = (od − mean) · target_deviation / deviation + target_mean
//! ```
//!
//! By default the target is the nearest stain inside the range of the training tiles. A stain
//! inside that range is therefore left as it is, and the colours change continuously at its border.

use serde::{Deserialize, Serialize};

use super::padding::{Padding, TISSUE_OD};
use super::{RgbImage, optical_density_table};
use crate::error::{Error, Result};

const FOREIGN_STAIN: &str = "These colours are unlike the H&E that models are trained on: expect \
                             missed and false nuclei";
const NO_TISSUE: &str = "There is hardly any stained tissue here";

/// A stain is foreign when a mean or deviation lies this many widths of the training range outside
/// that range. Of 160 fields of H&E from five sources the largest is 2.1 (decision 27).
const MAX_AMOUNT: f64 = 3.0;
/// The same for the angle between the mean densities and those of the training tiles, degrees: the
/// largest of H&E is 14.9, that of anything grey 16.2.
const MAX_COLOUR_DEG: f64 = 16.0;
/// The same for the standard deviations: the largest of H&E is 16.6, a DAB stain shows 20 to 29.
const MAX_CONTRAST_DEG: f64 = 18.0;

/// Fewest pixels of tissue that statistics are taken of.
const MIN_PIXELS: u64 = 1000;
/// Smallest standard deviation of tissue; that of the palest of thirty Kumar tiles is 0.12.
const MIN_DEVIATION: f64 = 0.05;
/// Fewest tiles that show a range of stains.
const MIN_STAINS: usize = 5;
/// Largest optical density that a range may state; 8 bits reach 5.5.
const MAX_OD: f64 = 10.0;
/// Largest factor on the contrast.
const MAX_GAIN: f64 = 3.0;
/// Optical density of a channel below which the change fades out, so that background stays white.
const BACKGROUND_OD: f64 = 0.1;

/// Mean and standard deviation of the optical density of tissue in red, green and blue (natural
/// logarithm).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StainStatistics {
    /// Means of the channels.
    pub mean: [f64; 3],
    /// Standard deviations of the channels.
    pub deviation: [f64; 3],
}

/// The stains of a model's training tiles: what it can be trusted to read as it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StainRange {
    /// Mean over the tiles.
    pub mean: StainStatistics,
    /// Smallest values among the tiles.
    pub min: StainStatistics,
    /// Largest values among the tiles.
    pub max: StainStatistics,
}

/// The seven training tiles of the paper's Table 1: the range of models that state none.
const PAPER_TILES: StainRange = StainRange {
    mean: StainStatistics { mean: [0.6343, 1.1585, 0.6725], deviation: [0.3754, 0.5146, 0.2798] },
    min: StainStatistics { mean: [0.322, 0.717, 0.460], deviation: [0.237, 0.372, 0.208] },
    max: StainStatistics { mean: [0.967, 1.481, 0.802], deviation: [0.628, 0.773, 0.424] },
};

/// Whether, and to which target, colours are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StainMode {
    /// To the nearest stain inside the range of the training tiles.
    #[default]
    Auto,
    /// Colours stay as they are.
    Keep,
    /// To the mean of the training tiles.
    Match,
}

impl std::str::FromStr for StainMode {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "keep" => Ok(Self::Keep),
            "match" => Ok(Self::Match),
            _ => Err(format!("'{text}' is no way to treat a stain; use auto, keep or match")),
        }
    }
}

impl StainStatistics {
    /// The statistics of the tissue in some images, where padding does not count; `None` with too
    /// little tissue or contrast. They are computed from histograms, so the order of the pixels has
    /// no influence on a bit.
    #[must_use]
    pub fn of<'a>(images: impl IntoIterator<Item = &'a RgbImage>) -> Option<Self> {
        let table = optical_density_table();
        // `[channel][value]`: pixels of tissue with this value.
        let mut counts = [[0u64; 256]; 3];
        for image in images {
            let padding = Padding::of(image);
            for (at, pixel) in image.data().iter().enumerate() {
                if padding.as_ref().is_some_and(|padding| padding.mask().data()[at]) {
                    continue;
                }
                let values = pixel.map(usize::from);
                let density: f64 = values.iter().map(|&v| table[v]).sum();
                if density > TISSUE_OD {
                    for (channel, value) in counts.iter_mut().zip(values) {
                        channel[value] += 1;
                    }
                }
            }
        }
        let pixels: u64 = counts[0].iter().sum();
        if pixels < MIN_PIXELS {
            return None;
        }
        let mut statistics = Self { mean: [0.0; 3], deviation: [0.0; 3] };
        for (c, channel) in counts.iter().enumerate() {
            let mut sum = 0.0;
            for (&count, od) in channel.iter().zip(table) {
                sum += count as f64 * od;
            }
            let mean = sum / pixels as f64;
            let mut squares = 0.0;
            for (&count, od) in channel.iter().zip(table) {
                squares += count as f64 * (od - mean).powi(2);
            }
            statistics.mean[c] = mean;
            statistics.deviation[c] = (squares / pixels as f64).sqrt();
        }
        // A uniform field is a dark background, whose noise would be amplified to texture.
        let has_contrast = statistics.deviation.iter().all(|&d| d > MIN_DEVIATION);
        has_contrast.then_some(statistics)
    }

    /// Each value with that of another stain.
    fn each(&self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let of = |a: [f64; 3], b: [f64; 3]| std::array::from_fn(|c| f(a[c], b[c]));
        Self { mean: of(self.mean, other.mean), deviation: of(self.deviation, other.deviation) }
    }

    /// The lookup table that gives tissue of this stain the statistics of `target`.
    #[must_use]
    pub fn lut_to(&self, target: &Self) -> StainLut {
        let densities = optical_density_table();
        let mut lut = StainLut { table: [[0; 256]; 3] };
        for c in 0..3 {
            let gain = (target.deviation[c] / self.deviation[c].max(MIN_DEVIATION)).min(MAX_GAIN);
            for (value, &od) in lut.table[c].iter_mut().zip(&densities) {
                let matched = (od - self.mean[c]) * gain + target.mean[c];
                // White has od 0 and stays white; the full change applies from BACKGROUND_OD on.
                let faded = matched * (od / BACKGROUND_OD).min(1.0);
                // Inverse of od = −ln((value + 1) / 256).
                *value = (256.0 * (-faded).exp() - 1.0).round().clamp(0.0, 255.0) as u8;
            }
        }
        lut
    }
}

impl Default for StainRange {
    /// That of the seven training tiles of the paper's Table 1.
    fn default() -> Self {
        PAPER_TILES
    }
}

impl StainRange {
    /// The range of the stains of these tiles, rounded to four decimals; `None` of fewer than
    /// five, which do not show a range.
    #[must_use]
    pub fn of(stains: &[StainStatistics]) -> Option<Self> {
        let (&first, others) = stains.split_first()?;
        if stains.len() < MIN_STAINS {
            return None;
        }
        let mut range = Self { mean: first, min: first, max: first };
        for stain in others {
            range.mean = range.mean.each(*stain, |sum, value| sum + value);
            range.min = range.min.each(*stain, f64::min);
            range.max = range.max.each(*stain, f64::max);
        }
        let count = stains.len() as f64;
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        range.mean = range.mean.each(range.mean, |sum, _| rounded(sum / count));
        range.min = range.min.each(range.min, |value, _| rounded(value));
        range.max = range.max.each(range.max, |value, _| rounded(value));
        Some(range)
    }

    /// The range that holds both; the mean stays.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            mean: self.mean,
            min: self.min.each(other.min, f64::min),
            max: self.max.each(other.max, f64::max),
        }
    }

    /// Whether the stain lies inside.
    #[must_use]
    pub fn contains(&self, stain: &StainStatistics) -> bool {
        *stain == self.nearest(stain)
    }

    /// The nearest stain inside.
    fn nearest(&self, stain: &StainStatistics) -> StainStatistics {
        stain.each(self.min, f64::max).each(self.max, f64::min)
    }

    /// Refuses values that are no optical densities, or a mean outside the range.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn validate(&self) -> Result<()> {
        let Self { mean, min, max } = self;
        let is_usable = |stain: &StainStatistics| {
            stain.mean.iter().chain(&stain.deviation).all(|v| (0.0..=MAX_OD).contains(v))
        };
        if [mean, min, max].into_iter().all(is_usable) && self.contains(mean) {
            return Ok(());
        }
        Err(Error::malformed("The stain range is not three ascending sets of optical densities"))
    }

    /// How far a stain is from those of the tiles.
    fn distance(&self, stain: &StainStatistics) -> StainDistance {
        let nearest = self.nearest(stain);
        let mut amount: f64 = 0.0;
        for c in 0..3 {
            let mean_width = self.max.mean[c] - self.min.mean[c];
            let deviation_width = self.max.deviation[c] - self.min.deviation[c];
            amount = amount
                .max((stain.mean[c] - nearest.mean[c]).abs() / mean_width)
                .max((stain.deviation[c] - nearest.deviation[c]).abs() / deviation_width);
        }
        StainDistance {
            amount,
            colour_deg: angle_deg(stain.mean, self.mean.mean),
            contrast_deg: angle_deg(stain.deviation, self.mean.deviation),
        }
    }
}

/// How colours are matched before a model reads them: the mode, and the stains of its training
/// tiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StainMatching {
    /// Whether, and to which target.
    pub mode: StainMode,
    /// Of the model's training tiles.
    pub range: StainRange,
}

impl StainMatching {
    /// Colours stay as they are.
    pub const KEEP: Self = Self { mode: StainMode::Keep, range: PAPER_TILES };

    /// The lookup table for the stain of an image or slide; `None` where colours stay as they are.
    #[must_use]
    pub fn lut(&self, stain: Option<StainStatistics>) -> Option<StainLut> {
        let stain = stain?;
        match self.mode {
            StainMode::Keep => None,
            StainMode::Auto if self.range.contains(&stain) => None,
            StainMode::Auto => Some(stain.lut_to(&self.range.nearest(&stain))),
            StainMode::Match => Some(stain.lut_to(&self.range.mean)),
        }
    }
}

/// How far a stain is from that of the training tiles. Pale and strong H&E differ in amount, other
/// dyes and light in colour.
#[derive(Debug, Clone, Copy, PartialEq)]
struct StainDistance {
    /// Largest distance of a mean or deviation from the range of the training tiles, in widths of
    /// that range.
    amount: f64,
    /// Between the mean densities, degrees.
    colour_deg: f64,
    /// Between the standard deviations, degrees.
    contrast_deg: f64,
}

impl StainDistance {
    fn is_foreign(self) -> bool {
        self.amount > MAX_AMOUNT
            || self.colour_deg > MAX_COLOUR_DEG
            || self.contrast_deg > MAX_CONTRAST_DEG
    }
}

/// Angle between two densities of red, green and blue.
fn angle_deg(a: [f64; 3], b: [f64; 3]) -> f64 {
    let dot = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).clamp(-1.0, 1.0).acos().to_degrees()
}

/// What a person should know about a measured stain: that it is far from H&E, or that there is too
/// little tissue to tell. `None` for ordinary H&E, whose colours are matched without a word. The
/// limits are distances from the paper's training tiles, whatever the model was trained on.
#[must_use]
pub fn stain_note(stain: Option<&StainStatistics>) -> Option<&'static str> {
    match stain {
        None => Some(NO_TISSUE),
        Some(stain) => PAPER_TILES.distance(stain).is_foreign().then_some(FOREIGN_STAIN),
    }
}

/// A lookup table for each channel: old 8-bit value → new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StainLut {
    table: [[u8; 256]; 3],
}

impl StainLut {
    /// The image with each value looked up.
    #[must_use]
    pub fn apply(&self, image: &RgbImage) -> RgbImage {
        image.map(|[r, g, b]| {
            [
                self.table[0][usize::from(r)],
                self.table[1][usize::from(g)],
                self.table[2][usize::from(b)],
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    #[test]
    fn matched_tissue_approaches_the_training_mean_and_background_stays_white() {
        // Pale magenta with darker nuclei.
        let pixel = |i: usize| {
            let [r, g, b] = if i % 7 < 2 { [150, 75, 150] } else { [230, 120, 190] };
            let grain = (i * 7919 % 25) as u8;
            [r + grain, g + grain, b + grain]
        };
        let pale = Plane::from_vec(200, 100, (0..20_000).map(pixel).collect()).expect("plane");
        let stain = StainStatistics::of([&pale]).expect("tissue");
        let range = StainRange::default();
        assert!(!range.contains(&stain));
        let matching = |mode| StainMatching { mode, range };
        let image = matching(StainMode::Match).lut(Some(stain)).expect("colours").apply(&pale);
        let after = StainStatistics::of([&image]).expect("tissue");
        let error = |s: &StainStatistics, c: usize| (s.mean[c] - PAPER_TILES.mean.mean[c]).abs();
        assert!((0..3).all(|c| error(&after, c) < error(&stain, c) / 2.0), "{stain:?} {after:?}");
        // By default the target is the border of the training range.
        let near = matching(StainMode::Auto).lut(Some(stain)).expect("colours").apply(&pale);
        let near = StainStatistics::of([&near]).expect("tissue");
        assert!(error(&near, 0) > error(&after, 0), "{near:?}");
        assert!(error(&near, 0) < error(&stain, 0), "{near:?}");
        assert!(range.contains(&range.mean));
        let white = stain.lut_to(&range.mean).apply(&Plane::filled(2, 2, [255, 255, 255]));
        assert_eq!(white.get(0, 0), [255; 3]);
    }

    #[test]
    fn notes_are_for_other_stains_and_for_no_tissue_but_not_for_pale_or_strong_h_and_e() {
        let note = |image: &RgbImage| stain_note(StainStatistics::of([image]).as_ref());
        let (tissue, _) = crate::raster::phantom(256, 192, 20);
        assert_eq!(note(&tissue), None);
        let faded = |od: f64| -> RgbImage {
            let table = optical_density_table();
            tissue.map(|pixel| {
                pixel.map(|v| (256.0 * (-table[usize::from(v)] * od).exp() - 1.0).round() as u8)
            })
        };
        assert_eq!((note(&faded(0.5)), note(&faded(1.4))), (None, None));
        assert_eq!(note(&Plane::filled(256, 192, [244; 3])), Some(NO_TISSUE));
        let grey = tissue.map(|[_, g, _]| [g; 3]);
        assert_eq!(note(&grey), Some(FOREIGN_STAIN));
        // Light nuclei on black, as in fluorescence.
        let dark = tissue.map(|[_, g, _]| [(255 - g) / 8, (255 - g) / 4, 255 - g]);
        assert_eq!(note(&dark), Some(FOREIGN_STAIN));
        // Brown where there was pink: DAB instead of eosin.
        let brown = tissue.map(|[r, g, b]| [r, g.midpoint(r), b.min(g)]);
        assert_eq!(note(&brown), Some(FOREIGN_STAIN));
    }

    #[test]
    fn a_dark_uniform_field_is_no_tissue() {
        let noise = |i: usize| [0, 1, 2].map(|c| (203 + (i * 7919 + c * 31) % 5) as u8);
        let field = Plane::from_vec(200, 200, (0..40_000).map(noise).collect()).expect("field");
        assert_eq!(StainStatistics::of([&field]), None);
    }

    #[test]
    fn a_frame_of_padding_changes_no_bit_of_the_statistics() {
        let (picture, _) = crate::raster::phantom(200, 150, 4);
        let alone = StainStatistics::of([&picture]).expect("tissue");
        for colour in [[0, 0, 0], [5, 0, 6], [60, 60, 60], [255, 255, 255]] {
            let mut framed = Plane::filled(240, 190, colour);
            for y in 0..150 {
                framed.row_mut(y + 20)[20..220].copy_from_slice(picture.row(y));
            }
            assert_eq!(StainStatistics::of([&framed]), Some(alone), "{colour:?}");
        }
    }

    #[test]
    fn too_little_tissue_and_mode_keep_leave_colours_unchanged() {
        assert_eq!(StainStatistics::of([&Plane::filled(50, 50, [250; 3])]), None);
        let range = StainRange::default();
        let stain = StainStatistics { mean: [0.1, 0.4, 0.2], ..range.mean };
        let lut = |mode, stain| StainMatching { mode, range }.lut(stain);
        assert_eq!(lut(StainMode::Keep, Some(stain)), None);
        assert_eq!(lut(StainMode::Auto, Some(range.mean)), None);
        assert!(lut(StainMode::Match, Some(range.mean)).is_some());
        assert_eq!(lut(StainMode::Match, None), None);
    }

    #[test]
    fn a_model_trained_on_a_stain_reads_it_as_it_is() {
        let stain = |mean: f64| StainStatistics { mean: [mean; 3], deviation: [mean / 2.0; 3] };
        let stains = [0.2, 0.25, 0.3, 0.4, 0.6].map(stain);
        let range = StainRange::of(&stains).expect("range");
        assert_eq!((range.min, range.mean, range.max), (stain(0.2), stain(0.35), stain(0.6)));
        assert_eq!((StainRange::of(&[]), StainRange::of(&stains[..4])), (None, None));
        let wide = range.with(&StainRange::default());
        assert_eq!((wide.min.mean[0], wide.max.mean[0]), (0.2, 0.967));
        let lut = |stain| StainMatching { mode: StainMode::Auto, range }.lut(Some(stain));
        assert_eq!(lut(stain(0.25)), None);
        assert_eq!(lut(stain(0.1)), Some(stain(0.1).lut_to(&stain(0.2))));
        range.validate().expect("range");
        let swapped = StainRange { min: range.max, max: range.min, ..range };
        let endless = StainRange { max: stain(f64::INFINITY), ..range };
        assert!(swapped.validate().is_err() && endless.validate().is_err());
    }
}
