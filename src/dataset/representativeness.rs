//! Whether a small sample of patches looks like the whole: the distributions of the mutual
//! information between its patches are compared (the paper's check, section "Varying the number of
//! training examples").

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
/// Critical value of the Kolmogorov–Smirnov test at α = 0.01, to be scaled by the sample sizes.
const CRITICAL: f64 = 1.63;

/// The comparison of a sample with the whole it was drawn from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Representativeness {
    /// 10 %, 50 % and 90 % quantiles of the mutual information between patches of the sample, bits.
    pub sample_bits: [f64; 3],
    /// The same of the whole.
    pub whole_bits: [f64; 3],
    /// Kolmogorov–Smirnov distance of the two distributions, 0 to 1.
    pub distance: f64,
    pub similar: bool,
    pub pairs: usize,
}

/// Compares `sample` with `whole`; both need two places at least, else all is zero and similar.
#[must_use]
pub fn representativeness(
    tiles: &[Tile],
    sample: &[SamplePixel],
    whole: &[SamplePixel],
    seed: u64,
) -> Representativeness {
    let a = pair_information(tiles, sample, seed);
    let b = pair_information(tiles, whole, mix(seed));
    let distance = kolmogorov_smirnov(&a, &b);
    Representativeness {
        sample_bits: [0.1, 0.5, 0.9].map(|q| quantile(&a, q)),
        whole_bits: [0.1, 0.5, 0.9].map(|q| quantile(&b, q)),
        distance,
        similar: distance
            < CRITICAL * ((a.len() + b.len()) as f64 / (a.len() * b.len()).max(1) as f64).sqrt(),
        pairs: a.len(),
    }
}

/// Sorted mutual information of random pairs.
fn pair_information(tiles: &[Tile], places: &[SamplePixel], seed: u64) -> Vec<f64> {
    let count = places.len() as u64;
    if count < 2 {
        return Vec::new();
    }
    let order = Permutation::new(count * count, seed);
    let mut out: Vec<f64> = (0..count * count)
        .map(|i| order.get(i))
        .map(|pair| ((pair / count) as usize, (pair % count) as usize))
        .filter(|(i, j)| i != j)
        .take(PAIRS)
        .map(|(i, j)| {
            mutual_information(&grey_levels(tiles, places[i]), &grey_levels(tiles, places[j]))
        })
        .collect();
    out.sort_by(f64::total_cmp);
    out
}

fn grey_levels(tiles: &[Tile], place: SamplePixel) -> Vec<usize> {
    let start = |at: u32| (at as usize).cast_signed() - CENTRE_PX.cast_signed();
    let image = &tiles[place.tile as usize].image;
    let pixels = mirrored_window(image, start(place.row), start(place.column), PATCH_PX, PATCH_PX);
    pixels
        .iter()
        .map(|p| p.iter().map(|&v| usize::from(v)).sum::<usize>() * LEVELS / (3 * 256))
        .collect()
}

/// Mutual information of two pictures of grey levels, bits.
fn mutual_information(a: &[usize], b: &[usize]) -> f64 {
    let mut joint = [[0.0f64; LEVELS]; LEVELS];
    a.iter().zip(b).for_each(|(&i, &j)| joint[i][j] += 1.0 / a.len() as f64);
    let rows: [f64; LEVELS] = std::array::from_fn(|i| joint[i].iter().sum());
    let columns: [f64; LEVELS] = std::array::from_fn(|j| joint.iter().map(|row| row[j]).sum());
    let term = |i: usize, j: usize| {
        let p = joint[i][j];
        if p > 0.0 { p * (p / (rows[i] * columns[j])).log2() } else { 0.0 }
    };
    (0..LEVELS).flat_map(|i| (0..LEVELS).map(move |j| (i, j))).map(|(i, j)| term(i, j)).sum()
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = (q * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// Largest gap between two empirical distribution functions.
fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let share =
        |sorted: &[f64], v: f64| sorted.partition_point(|&x| x <= v) as f64 / sorted.len() as f64;
    a.iter().chain(b).map(|&v| (share(a, v) - share(b, v)).abs()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Prior, Sampler, phantom};

    #[test]
    fn a_picture_tells_all_about_itself_and_nothing_about_a_constant() {
        let a: Vec<usize> = (0..4096).map(|i| i % LEVELS).collect();
        assert!((mutual_information(&a, &a) - 4.0).abs() < 1e-9);
        assert!(mutual_information(&a, &vec![3; 4096]).abs() < 1e-9);
    }

    #[test]
    fn a_random_sample_is_similar_and_a_corner_is_not() {
        let tiles = [phantom::tile(400, 300, 1)];
        let whole = Sampler::draw(&tiles, 4000, Prior::Natural, 1).expect("sample").train;
        assert!(representativeness(&tiles, &whole[..300], &whole, 2).similar);
        let corner: Vec<SamplePixel> =
            whole.iter().filter(|p| p.row < 40 && p.column < 60).copied().collect();
        assert!(!representativeness(&tiles, &corner, &whole, 2).similar);
    }
}
