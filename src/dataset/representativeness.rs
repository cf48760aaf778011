//! Whether a small sample of patches represents the whole: the distributions of the mutual
//! information between pairs of patches are compared by the Kolmogorov–Smirnov test (the paper's
//! check, section "Varying the number of training examples").

use serde::Serialize;

use super::permutation::Permutation;
use super::sampler::SamplePixel;
use super::tile::Tile;
use crate::model::{CENTRE_PX, PATCH_PX};
use crate::platform::mix;
use crate::raster::mirrored_window;

/// Grey levels of the joint histogram.
const LEVELS: usize = 16;
/// Patch pairs measured in each sample.
const PAIRS: usize = 400;
/// Critical value c(α) of the two-sample Kolmogorov–Smirnov test at α = 0.01. The distributions
/// differ when their distance is above c(α) · √((n + m) / (n · m)).
const CRITICAL_VALUE: f64 = 1.63;

/// A sample compared with the whole it was drawn from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Representativeness {
    /// 10 %, 50 % and 90 % quantiles of the mutual information between patches of the sample, bits.
    pub sample_bits: [f64; 3],
    /// The same quantiles of the whole.
    pub whole_bits: [f64; 3],
    /// Kolmogorov–Smirnov distance of the two distributions, 0 to 1.
    pub distance: f64,
    /// Whether the test finds no difference.
    pub similar: bool,
    /// Pairs measured in the sample.
    pub pairs: usize,
}

/// Compares the patches at the pixels `sample` with those at `whole`. With fewer than two pixels in
/// either, the result is similar, with zeros.
#[must_use]
pub fn representativeness(
    tiles: &[Tile],
    sample: &[SamplePixel],
    whole: &[SamplePixel],
    seed: u64,
) -> Representativeness {
    let of_sample = pair_information(tiles, sample, seed);
    let of_whole = pair_information(tiles, whole, mix(seed));
    let (n, m) = (of_sample.len(), of_whole.len());
    let distance = kolmogorov_smirnov(&of_sample, &of_whole);
    let critical_distance = CRITICAL_VALUE * ((n + m) as f64 / (n * m).max(1) as f64).sqrt();
    Representativeness {
        sample_bits: [0.1, 0.5, 0.9].map(|q| quantile(&of_sample, q)),
        whole_bits: [0.1, 0.5, 0.9].map(|q| quantile(&of_whole, q)),
        distance,
        similar: distance < critical_distance,
        pairs: n,
    }
}

/// Mutual information of [`PAIRS`] random pairs of different patches, sorted.
fn pair_information(tiles: &[Tile], pixels: &[SamplePixel], seed: u64) -> Vec<f64> {
    let count = pixels.len() as u64;
    if count < 2 {
        return Vec::new();
    }
    // Pair (i, j) is number i · count + j, and pairs are taken in a random order.
    let order = Permutation::new(count * count, seed);
    let mut information = Vec::with_capacity(PAIRS);
    for position in 0..count * count {
        let pair = order.get(position);
        let (i, j) = ((pair / count) as usize, (pair % count) as usize);
        if i != j {
            let first = grey_levels(tiles, pixels[i]);
            let second = grey_levels(tiles, pixels[j]);
            information.push(mutual_information(&first, &second));
        }
        if information.len() == PAIRS {
            break;
        }
    }
    information.sort_by(f64::total_cmp);
    information
}

/// The patch around a pixel in [`LEVELS`] grey levels.
fn grey_levels(tiles: &[Tile], centre: SamplePixel) -> Vec<usize> {
    let image = &tiles[centre.tile as usize].image;
    let top = (centre.row as usize).cast_signed() - CENTRE_PX.cast_signed();
    let left = (centre.column as usize).cast_signed() - CENTRE_PX.cast_signed();
    let patch = mirrored_window(image, top, left, PATCH_PX, PATCH_PX);
    let mut levels = Vec::with_capacity(patch.len());
    for rgb in patch {
        levels.push(rgb.into_iter().map(usize::from).sum::<usize>() * LEVELS / (3 * 256));
    }
    levels
}

/// Mutual information Σ p(i, j) · log₂(p(i, j) / (p(i) · p(j))) of two patches of grey levels,
/// bits.
fn mutual_information(a: &[usize], b: &[usize]) -> f64 {
    let mut joint = [[0.0f64; LEVELS]; LEVELS];
    for (&i, &j) in a.iter().zip(b) {
        joint[i][j] += 1.0 / a.len() as f64;
    }
    let mut of_a = [0.0; LEVELS];
    let mut of_b = [0.0; LEVELS];
    for i in 0..LEVELS {
        for j in 0..LEVELS {
            of_a[i] += joint[i][j];
            of_b[j] += joint[i][j];
        }
    }
    let mut bits = 0.0;
    for i in 0..LEVELS {
        for j in 0..LEVELS {
            let p = joint[i][j];
            if p > 0.0 {
                bits += p * (p / (of_a[i] * of_b[j])).log2();
            }
        }
    }
    bits
}

/// The value at rank `q` (0 to 1), the nearest; 0 of no values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(rank).copied().unwrap_or(0.0)
}

/// Largest difference of the two empirical distribution functions; 0 where one is of no values.
fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let mut largest = 0.0f64;
    for &value in a.iter().chain(b) {
        largest = largest.max((fraction_up_to(a, value) - fraction_up_to(b, value)).abs());
    }
    largest
}

/// Fraction of values that are at most `value`.
fn fraction_up_to(sorted: &[f64], value: f64) -> f64 {
    sorted.partition_point(|&other| other <= value) as f64 / sorted.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Prior, Sampler, phantom};

    #[test]
    fn a_patch_has_all_information_about_itself_and_none_about_a_constant() {
        let a: Vec<usize> = (0..4096).map(|i| i % LEVELS).collect();
        assert!((mutual_information(&a, &a) - 4.0).abs() < 1e-9);
        assert!(mutual_information(&a, &vec![3; 4096]).abs() < 1e-9);
    }

    #[test]
    fn a_random_sample_represents_the_whole_and_a_corner_does_not() {
        let tiles = [phantom::tile(400, 300, 1)];
        let whole = Sampler::draw(&tiles, 4000, Prior::Natural, 1).expect("sample").train;
        assert!(representativeness(&tiles, &whole[..300], &whole, 2).similar);
        let corner: Vec<SamplePixel> =
            whole.iter().filter(|p| p.row < 40 && p.column < 60).copied().collect();
        assert!(!representativeness(&tiles, &corner, &whole, 2).similar);
    }
}
