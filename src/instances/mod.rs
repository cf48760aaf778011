//! From probabilities to nuclei: threshold, holes, split of touching nuclei, outlines,
//! measurements, QuPath GeoJSON and CSV.
//!
//! Probabilities are first rounded to 8 bits, and all decisions after that are made on integers. So
//! two engines that differ in the last bit of a float give the same objects, natively and in the
//! browser, but for the rare pixel that lies on a rounding edge. Every step takes linear time.

mod contour;
mod distance;
mod export;
mod measure;
mod polygons;
mod regions;
mod simplify;
mod watershed;

pub use contour::{Ring, rings};
pub use export::{Provenance, write_nuclei};
pub use measure::{Nuclei, Nucleus, measurement_names};
pub use polygons::{Polygon, polygons};

use crate::error::{Error, Result};
use crate::model::InstanceParameters;
use crate::raster::{LabelMap, Plane, ProbabilityMap};

/// A probability of 1 in [`Smooth`].
pub const ONE: u16 = 255 * 256;

/// Probabilities in units of 1 / [`ONE`], smoothed.
pub type Smooth = Plane<u16>;

/// Label map of the nuclei, numbered 1, 2, … in the order of their first pixels, and the smoothed
/// map they were cut from.
///
/// # Errors
/// [`Error::Mismatch`] for parameters out of range.
pub fn find(map: &ProbabilityMap, parameters: &InstanceParameters) -> Result<(LabelMap, Smooth)> {
    parameters.validate()?;
    if map.data().is_empty() {
        return Err(Error::mismatch("The probability map has no pixels"));
    }
    let smooth = smoothed(&quantised(map), parameters.smoothing);
    let level = threshold_level(parameters.threshold);
    let mut mask = smooth.map(|v| v > level);
    regions::fill_holes(&mut mask, parameters.max_hole_px as usize);
    let heights = watershed::heights(&mask, &smooth, parameters.probability_weight);
    let labels = watershed::split(
        &mask,
        &heights,
        parameters.split_height_px,
        parameters.min_area_px as usize,
    );
    Ok((regions::without_small(labels, parameters.min_area_px as usize), smooth))
}

/// [`find`], then one nucleus after the other with outline and measurements.
///
/// # Errors
/// Those of [`find`], and [`Error::Mismatch`] when image and map differ in size.
pub fn nuclei<'a>(
    image: &'a crate::raster::RgbImage,
    labels: &'a LabelMap,
    smooth: &'a Smooth,
    parameters: &InstanceParameters,
    mpp_um: Option<f64>,
) -> Result<Nuclei<'a>> {
    if !image.same_size(labels) || !image.same_size(smooth) {
        return Err(Error::mismatch("Image, label map and probability map differ in size"));
    }
    Ok(Nuclei::new(image, labels, smooth, threshold_level(parameters.threshold), mpp_um))
}

/// Probabilities rounded to 8 bits.
#[must_use]
pub fn quantised(map: &ProbabilityMap) -> Plane<u8> {
    map.map(eight_bits)
}

/// A probability as decisions see it.
#[must_use]
pub fn eight_bits(probability: f32) -> u8 {
    (probability.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// A pixel belongs to a nucleus when its smoothed probability is above this.
fn threshold_level(threshold: f32) -> u16 {
    (threshold * f32::from(ONE) + 0.5) as u16
}

/// `passes` times the binomial filter 1 2 1 in both directions; the border pixel is repeated.
fn smoothed(map: &Plane<u8>, passes: u32) -> Smooth {
    let (w, h) = (map.width(), map.height());
    let mut values = map.map(|v| u16::from(v) * 256);
    let blend =
        |a: u16, b: u16, c: u16| ((u32::from(a) + 2 * u32::from(b) + u32::from(c) + 2) / 4) as u16;
    for _ in 0..passes {
        for y in 0..h {
            let row = values.row_mut(y);
            let mut before = row[0];
            for x in 0..w {
                let here = row[x];
                row[x] = blend(before, here, row[(x + 1).min(w - 1)]);
                before = here;
            }
        }
        let mut above = values.row(0).to_vec();
        for y in 0..h {
            let here = values.row(y).to_vec();
            let below = values.row((y + 1).min(h - 1)).to_vec();
            for (x, v) in values.row_mut(y).iter_mut().enumerate() {
                *v = blend(above[x], here[x], below[x]);
            }
            above = here;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Discs of probability 1 on 0.
    fn discs(width: usize, height: usize, centres: &[(f64, f64, f64)]) -> ProbabilityMap {
        let inside = |i: usize| {
            let (x, y) = ((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
            centres.iter().any(|&(cx, cy, r)| (x - cx).hypot(y - cy) < r)
        };
        Plane::from_vec(
            width,
            height,
            (0..width * height).map(|i| if inside(i) { 0.98 } else { 0.02 }).collect(),
        )
        .expect("plane")
    }

    fn count(map: &ProbabilityMap, parameters: &InstanceParameters) -> u32 {
        find(map, parameters).expect("objects").0.data().iter().copied().max().unwrap_or(0)
    }

    #[test]
    fn touching_nuclei_are_split_and_one_long_nucleus_is_not() {
        let parameters = InstanceParameters::default();
        assert_eq!(
            count(&discs(80, 50, &[(25.0, 25.0, 12.0), (46.0, 25.0, 12.0)]), &parameters),
            2
        );
        let long: Vec<_> = (0..30).map(|i| (20.0 + f64::from(i), 25.0, 10.0)).collect();
        assert_eq!(count(&discs(80, 50, &long), &parameters), 1);
    }

    #[test]
    fn specks_go_and_holes_are_filled() {
        let parameters = InstanceParameters {
            min_area_px: 20,
            max_hole_px: 30,
            smoothing: 0,
            ..InstanceParameters::default()
        };
        let mut map = discs(60, 40, &[(20.0, 20.0, 12.0), (50.0, 20.0, 2.0)]);
        for (row, column) in [(19, 19), (19, 20), (20, 19)] {
            map.set(row, column, 0.0);
        }
        let (labels, _) = find(&map, &parameters).expect("objects");
        assert_eq!(labels.get(19, 19), 1);
        assert_eq!(labels.get(20, 50), 0);
    }

    #[test]
    fn the_last_bit_of_a_probability_changes_nothing() {
        let map = discs(64, 64, &[(20.0, 20.0, 12.0), (41.0, 22.0, 12.0)]);
        let other = map.map(|p| f32::from_bits(p.to_bits() + 1));
        let parameters = InstanceParameters::default();
        assert_eq!(find(&map, &parameters).expect("a"), find(&other, &parameters).expect("b"));
    }

    #[test]
    fn images_of_one_pixel_row_or_column_work() {
        for (w, h) in [(1, 1), (30, 1), (1, 30)] {
            let parameters = InstanceParameters {
                min_area_px: 1,
                smoothing: 2,
                ..InstanceParameters::default()
            };
            assert_eq!(count(&Plane::filled(w, h, 0.9), &parameters), 1, "{w}×{h}");
            assert_eq!(count(&Plane::filled(w, h, 0.1), &parameters), 0, "{w}×{h}");
        }
    }

    #[test]
    fn smoothing_keeps_a_constant_and_spreads_a_point_evenly() {
        assert_eq!(smoothed(&Plane::filled(7, 5, 9), 3), Plane::filled(7, 5, 9 * 256));
        let mut point = Plane::filled(5, 5, 0u8);
        point.set(2, 2, 16);
        let spread = smoothed(&point, 1);
        assert_eq!(
            [spread.get(2, 2), spread.get(2, 1), spread.get(1, 2), spread.get(1, 1)],
            [1024, 512, 512, 256]
        );
    }
}
