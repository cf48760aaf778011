//! Colours of a foreign stain made like those that the models learned from: mean and deviation of
//! the optical density of tissue, channel by channel (after Reinhard et al. 2001, in optical
//! density instead of their colour space). By itself a stain is moved only to the nearest one
//! inside of what the training tiles span: so a stain that is inside stays as it is, and nothing
//! jumps.

use super::{RgbImage, optical_density_table};

/// A pixel is tissue when its optical densities add up to more than this (natural units).
const TISSUE_OD: f64 = 0.35;
/// Tissue of fewer pixels says nothing about a stain.
const LEAST_PIXELS: u64 = 1000;
/// Tissue varies by more than this; the palest of thirty Kumar tiles varies by 0.12.
const LEAST_DEVIATION: f64 = 0.05;
/// Contrast is raised at most so many times.
const MOST_GAIN: f64 = 3.0;
/// Below this density a pixel is glass, which stays as bright as it is.
const GLASS_OD: f64 = 0.1;

/// Mean and standard deviation of the optical density of tissue in red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StainStatistics {
    pub mean: [f64; 3],
    pub deviation: [f64; 3],
}

/// Means over the seven training tiles of the paper's Table 1, which the shipped models learned
/// from.
const TRAINED: StainStatistics =
    StainStatistics { mean: [0.6343, 1.1585, 0.6725], deviation: [0.3754, 0.5146, 0.2798] };
/// What these seven tiles span: lowest and highest mean and deviation.
const MEANS: [(f64, f64); 3] = [(0.322, 0.967), (0.717, 1.481), (0.460, 0.802)];
const DEVIATIONS: [(f64, f64); 3] = [(0.237, 0.628), (0.372, 0.773), (0.208, 0.424)];

/// Whether colours are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StainMode {
    /// As far as is needed to bring it inside of what the models learned from.
    #[default]
    Auto,
    Keep,
    /// To the mean of the training tiles.
    Always,
}

impl std::str::FromStr for StainMode {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "keep" => Ok(Self::Keep),
            "match" => Ok(Self::Always),
            _ => Err(format!("'{text}' is no way to treat a stain; use auto, keep or match")),
        }
    }
}

impl StainStatistics {
    /// Of the tissue in some images; none when there is hardly any. Sums are of counts, so their
    /// order changes nothing.
    #[must_use]
    pub fn of<'a>(images: impl IntoIterator<Item = &'a RgbImage>) -> Option<Self> {
        let table = optical_density_table();
        let mut counts = [[0u64; 256]; 3];
        for pixel in images.into_iter().flat_map(RgbImage::data) {
            let density: f64 = pixel.iter().map(|v| table[usize::from(*v)]).sum();
            if density > TISSUE_OD {
                pixel
                    .iter()
                    .zip(&mut counts)
                    .for_each(|(v, channel)| channel[usize::from(*v)] += 1);
            }
        }
        let all: u64 = counts[0].iter().sum();
        if all < LEAST_PIXELS {
            return None;
        }
        let moment = |channel: &[u64; 256], of: &dyn Fn(f64) -> f64| {
            channel.iter().zip(table).map(|(n, od)| *n as f64 * of(od)).sum::<f64>() / all as f64
        };
        let mean = [0, 1, 2].map(|c| moment(&counts[c], &|od| od));
        let deviation = [0, 1, 2].map(|c| moment(&counts[c], &|od| (od - mean[c]).powi(2)).sqrt());
        // An even field is dark glass, whose noise would become texture.
        deviation.iter().all(|d| *d > LEAST_DEVIATION).then_some(Self { mean, deviation })
    }

    /// Whether the models have seen nothing like it.
    #[must_use]
    pub fn is_outside_training_range(&self) -> bool {
        let outside = |value: f64, (low, high): (f64, f64)| value < low || value > high;
        (0..3).any(|c| outside(self.mean[c], MEANS[c]) || outside(self.deviation[c], DEVIATIONS[c]))
    }

    /// The nearest stain inside of what the models learned from.
    fn nearest(&self) -> Self {
        Self {
            mean: std::array::from_fn(|c| self.mean[c].clamp(MEANS[c].0, MEANS[c].1)),
            deviation: std::array::from_fn(|c| {
                self.deviation[c].clamp(DEVIATIONS[c].0, DEVIATIONS[c].1)
            }),
        }
    }

    /// The colours that make it like another.
    #[must_use]
    pub fn matched(&self, target: &Self) -> StainLut {
        let table = optical_density_table();
        let channel = |c: usize| {
            std::array::from_fn(|v| {
                let od = table[v];
                let gain =
                    (target.deviation[c] / self.deviation[c].max(LEAST_DEVIATION)).min(MOST_GAIN);
                let moved = (od - self.mean[c]) * gain + target.mean[c];
                let faded = moved * (od / GLASS_OD).min(1.0);
                (256.0 * (-faded).exp() - 1.0).round().clamp(0.0, 255.0) as u8
            })
        };
        StainLut { table: [channel(0), channel(1), channel(2)] }
    }
}

/// One value for another, in each channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StainLut {
    table: [[u8; 256]; 3],
}

impl StainLut {
    /// What `matching` asks for, given the stain of what is to be segmented.
    #[must_use]
    pub fn wanted(matching: StainMode, stain: Option<StainStatistics>) -> Option<Self> {
        let stain = stain?;
        match matching {
            StainMode::Keep => None,
            StainMode::Auto if !stain.is_outside_training_range() => None,
            StainMode::Auto => Some(stain.matched(&stain.nearest())),
            StainMode::Always => Some(stain.matched(&TRAINED)),
        }
    }

    /// An image in these colours.
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
    fn matched_tissue_has_the_trained_mean_and_glass_stays_glass() {
        // Pale magenta, with darker nuclei.
        let pixel = |i: usize| {
            let [r, g, b] = if i % 7 < 2 { [150, 75, 150] } else { [230, 120, 190] };
            let grain = (i * 7919 % 25) as u8;
            [r + grain, g + grain, b + grain]
        };
        let pale = Plane::from_vec(200, 100, (0..20_000).map(pixel).collect()).expect("plane");
        let stain = StainStatistics::of([&pale]).expect("tissue");
        assert!(stain.is_outside_training_range());
        let image = StainLut::wanted(StainMode::Always, Some(stain)).expect("colours").apply(&pale);
        let after = StainStatistics::of([&image]).expect("tissue");
        let away = |s: &StainStatistics, c: usize| (s.mean[c] - TRAINED.mean[c]).abs();
        assert!((0..3).all(|c| away(&after, c) < away(&stain, c) / 2.0), "{stain:?} {after:?}");
        // By itself it goes no further than to the border of what the models know.
        let near = StainLut::wanted(StainMode::Auto, Some(stain)).expect("colours").apply(&pale);
        let near = StainStatistics::of([&near]).expect("tissue");
        assert!(away(&near, 0) > away(&after, 0) && away(&near, 0) < away(&stain, 0), "{near:?}");
        assert!(!TRAINED.is_outside_training_range());
        let glass = stain.matched(&TRAINED).apply(&Plane::filled(2, 2, [255, 255, 255]));
        assert_eq!(glass.get(0, 0), [255; 3]);
    }

    #[test]
    fn a_dark_even_field_is_no_tissue() {
        let noise = |i: usize| [0, 1, 2].map(|c| (203 + (i * 7919 + c * 31) % 5) as u8);
        let field = Plane::from_vec(200, 200, (0..40_000).map(noise).collect()).expect("field");
        assert_eq!(StainStatistics::of([&field]), None);
    }

    #[test]
    fn too_little_tissue_and_a_wish_to_keep_leave_colours_alone() {
        assert_eq!(StainStatistics::of([&Plane::filled(50, 50, [250; 3])]), None);
        let stain = StainStatistics { mean: [0.1, 0.4, 0.2], ..TRAINED };
        assert_eq!(StainLut::wanted(StainMode::Keep, Some(stain)), None);
        assert_eq!(StainLut::wanted(StainMode::Auto, Some(TRAINED)), None);
        assert!(StainLut::wanted(StainMode::Always, Some(TRAINED)).is_some());
        assert_eq!(StainLut::wanted(StainMode::Always, None), None);
    }
}
