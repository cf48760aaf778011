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

use super::padding::{Padding, TISSUE_OD};
use super::{RgbImage, optical_density_table};

const FOREIGN_STAIN: &str = "These colours are unlike the H&E that the model was trained on: expect missed and false nuclei";
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
/// Largest factor on the contrast.
const MAX_GAIN: f64 = 3.0;
/// Optical density of a channel below which the change fades out, so that background stays white.
const BACKGROUND_OD: f64 = 0.1;

/// Mean and standard deviation of the optical density of tissue in red, green and blue (natural
/// logarithm).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StainStatistics {
    /// Means of the channels.
    pub mean: [f64; 3],
    /// Standard deviations of the channels.
    pub deviation: [f64; 3],
}

/// Mean over the seven training tiles of the paper's Table 1, which the shipped models were trained
/// on.
const TRAINING_MEAN: StainStatistics =
    StainStatistics { mean: [0.6343, 1.1585, 0.6725], deviation: [0.3754, 0.5146, 0.2798] };
/// Smallest values among these seven tiles.
const TRAINING_MIN: StainStatistics =
    StainStatistics { mean: [0.322, 0.717, 0.460], deviation: [0.237, 0.372, 0.208] };
/// Largest values among these seven tiles.
const TRAINING_MAX: StainStatistics =
    StainStatistics { mean: [0.967, 1.481, 0.802], deviation: [0.628, 0.773, 0.424] };

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

    /// Whether any value lies outside the range of the training tiles.
    #[must_use]
    pub fn is_outside_training_range(&self) -> bool {
        *self != self.clamped_to_training_range()
    }

    /// How far it is from the stain of the training tiles.
    fn distance(&self) -> StainDistance {
        let nearest = self.clamped_to_training_range();
        let mut amount: f64 = 0.0;
        for c in 0..3 {
            let mean_width = TRAINING_MAX.mean[c] - TRAINING_MIN.mean[c];
            let deviation_width = TRAINING_MAX.deviation[c] - TRAINING_MIN.deviation[c];
            amount = amount
                .max((self.mean[c] - nearest.mean[c]).abs() / mean_width)
                .max((self.deviation[c] - nearest.deviation[c]).abs() / deviation_width);
        }
        StainDistance {
            amount,
            colour_deg: angle_deg(self.mean, TRAINING_MEAN.mean),
            contrast_deg: angle_deg(self.deviation, TRAINING_MEAN.deviation),
        }
    }

    /// The nearest stain inside the range of the training tiles.
    fn clamped_to_training_range(&self) -> Self {
        let mut clamped = *self;
        for c in 0..3 {
            clamped.mean[c] = self.mean[c].clamp(TRAINING_MIN.mean[c], TRAINING_MAX.mean[c]);
            clamped.deviation[c] =
                self.deviation[c].clamp(TRAINING_MIN.deviation[c], TRAINING_MAX.deviation[c]);
        }
        clamped
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
/// little tissue to tell. `None` for ordinary H&E, whose colours are matched without a word.
#[must_use]
pub fn stain_note(stain: Option<&StainStatistics>) -> Option<&'static str> {
    match stain {
        None => Some(NO_TISSUE),
        Some(stain) => stain.distance().is_foreign().then_some(FOREIGN_STAIN),
    }
}

/// A lookup table for each channel: old 8-bit value → new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StainLut {
    table: [[u8; 256]; 3],
}

impl StainLut {
    /// The table for a mode and the stain of the image or slide; `None` where colours stay as they
    /// are.
    #[must_use]
    pub fn for_mode(mode: StainMode, stain: Option<StainStatistics>) -> Option<Self> {
        let stain = stain?;
        match mode {
            StainMode::Keep => None,
            StainMode::Auto if !stain.is_outside_training_range() => None,
            StainMode::Auto => Some(stain.lut_to(&stain.clamped_to_training_range())),
            StainMode::Match => Some(stain.lut_to(&TRAINING_MEAN)),
        }
    }

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
        assert!(stain.is_outside_training_range());
        let image =
            StainLut::for_mode(StainMode::Match, Some(stain)).expect("colours").apply(&pale);
        let after = StainStatistics::of([&image]).expect("tissue");
        let error = |s: &StainStatistics, c: usize| (s.mean[c] - TRAINING_MEAN.mean[c]).abs();
        assert!((0..3).all(|c| error(&after, c) < error(&stain, c) / 2.0), "{stain:?} {after:?}");
        // By default the target is the border of the training range.
        let near = StainLut::for_mode(StainMode::Auto, Some(stain)).expect("colours").apply(&pale);
        let near = StainStatistics::of([&near]).expect("tissue");
        assert!(error(&near, 0) > error(&after, 0), "{near:?}");
        assert!(error(&near, 0) < error(&stain, 0), "{near:?}");
        assert!(!TRAINING_MEAN.is_outside_training_range());
        let white = stain.lut_to(&TRAINING_MEAN).apply(&Plane::filled(2, 2, [255, 255, 255]));
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
        let stain = StainStatistics { mean: [0.1, 0.4, 0.2], ..TRAINING_MEAN };
        assert_eq!(StainLut::for_mode(StainMode::Keep, Some(stain)), None);
        assert_eq!(StainLut::for_mode(StainMode::Auto, Some(TRAINING_MEAN)), None);
        assert!(StainLut::for_mode(StainMode::Match, Some(TRAINING_MEAN)).is_some());
        assert_eq!(StainLut::for_mode(StainMode::Match, None), None);
    }
}
