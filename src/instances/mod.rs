//! From probabilities to nuclei: threshold, hole filling, separation of touching nuclei, outlines,
//! measurements, QuPath GeoJSON and CSV.
//!
//! Probabilities are first rounded to 8 bits, and all decisions after that are made on integers.
//! Two engines that differ in the last bit of a float therefore give the same objects, natively and
//! in the browser, except where a probability lies on the edge of rounding. Every step takes linear
//! time.

mod contour;
mod distance;
mod drawn;
mod export;
mod measure;
mod neighbours;
#[cfg(not(target_arch = "wasm32"))]
mod nucleus_table;
mod propose;
mod regions;
mod shape;
mod simplify;
mod watershed;

pub use drawn::{OutlinePixels, measure_outline};
pub use export::{
    ImageSource, NucleusStatus, Provenance, WrittenCounts, WrittenNucleus, write_nuclei,
    write_nuclei_and_regions,
};
pub use measure::{LengthUnit, Measurements, Nuclei, Nucleus, classes_by_label};
#[cfg(not(target_arch = "wasm32"))]
pub use nucleus_table::{NucleusTable, TableNucleus};
pub use propose::proposed_outline;

use crate::error::{Error, Result};
use crate::model::InstanceParameters;
use crate::raster::{
    LabelMap, Mask, Plane, Polygon, ProbabilityBytes, ProbabilityMaps, RgbImage, doubled_area,
    fill_rings, grouped_rings,
};
use contour::{PixelBounds, trace_rings};
pub(crate) use simplify::douglas_peucker;
use simplify::simplify;

/// A probability of 1 in a [`SmoothedMap`]: 255 with 8 fractional bits, which hold the smoothing.
pub const PROBABILITY_ONE: u16 = 255 * 256;

/// Passes of the binomial filter over a mask before its outline is traced.
const MASK_SMOOTHING: u32 = 2;

/// Smoothed probabilities in units of 1 / [`PROBABILITY_ONE`].
pub type SmoothedMap = Plane<u16>;

/// The label map of the nuclei, numbered 1, 2, … in the order of their first pixels, and the
/// smoothed probabilities that it was made from.
///
/// # Errors
/// [`Error::Invalid`] for parameters out of range, [`Error::Mismatch`] for a map without pixels.
pub fn label_nuclei(
    map: &ProbabilityMaps,
    parameters: &InstanceParameters,
) -> Result<(LabelMap, SmoothedMap)> {
    label_bytes(&map.map(probability_to_u8), parameters)
}

/// [`label_nuclei`] of probabilities that are rounded to 8 bits already, as [`probability_to_u8`]
/// does.
///
/// # Errors
/// As [`label_nuclei`].
pub fn label_bytes(
    map: &ProbabilityBytes,
    parameters: &InstanceParameters,
) -> Result<(LabelMap, SmoothedMap)> {
    let (mask, smoothed) = nuclei_mask(map.nucleus(), parameters)?;
    let min_area = parameters.min_area_px as usize;
    // Nuclei begin in their interiors and grow through their borders.
    let interior = map.layout().interior.then(|| smooth(map.interior(), parameters.smoothing));
    let seeds = interior.as_ref().unwrap_or(&smoothed);
    let heights = watershed::height_map(&mask, seeds, parameters.probability_weight);
    let labels = watershed::split_touching(&mask, &heights, parameters.split_height_px, min_area);
    Ok((regions::without_small(labels, min_area), smoothed))
}

/// The pixels of nuclei, touching ones not yet separated and small ones not yet dropped. At a
/// higher threshold there are fewer: a hole that is filled there is a nucleus or a filled hole
/// here.
///
/// # Errors
/// As [`label_nuclei`].
pub fn possible_nuclei(map: &Plane<u8>, parameters: &InstanceParameters) -> Result<Mask> {
    Ok(nuclei_mask(map, parameters)?.0)
}

fn nuclei_mask(map: &Plane<u8>, parameters: &InstanceParameters) -> Result<(Mask, SmoothedMap)> {
    parameters.validate()?;
    if map.data().is_empty() {
        return Err(Error::mismatch("The probability map has no pixels"));
    }
    let smoothed = smooth(map, parameters.smoothing);
    let threshold = fixed_threshold(parameters.threshold);
    let mut mask = smoothed.map(|probability| probability > threshold);
    regions::fill_holes(&mut mask, parameters.max_hole_px as usize);
    Ok((mask, smoothed))
}

/// The nuclei of a label map with outlines and measurements, one after the other.
///
/// `image` is the tissue at the size of `labels`; `smoothed` and `parameters` are those of
/// [`label_nuclei`], `types` those of [`type_bytes`]. Areas and lengths are in micrometres where
/// `mpp_um`, the pixel size, is given, and in pixels otherwise.
///
/// # Errors
/// [`Error::Mismatch`] when image and maps differ in size.
pub fn measure_nuclei<'a>(
    image: &'a RgbImage,
    labels: &'a LabelMap,
    smoothed: &'a SmoothedMap,
    types: &[Plane<u8>],
    parameters: &InstanceParameters,
    mpp_um: Option<f64>,
) -> Result<Nuclei<'a>> {
    let is_same = |plane: &Plane<u8>| image.same_size(plane);
    if !image.same_size(labels) || !image.same_size(smoothed) || !types.iter().all(is_same) {
        return Err(Error::mismatch("Image, label map and probability map differ in size"));
    }
    let threshold = fixed_threshold(parameters.threshold);
    Ok(Nuclei::new(image, labels, smoothed, types, threshold, mpp_um))
}

/// Probabilities of the types of nuclei in 8 bits, by which nuclei are told apart; none where there
/// is only one type.
#[must_use]
pub fn type_bytes(map: &ProbabilityMaps) -> Vec<Plane<u8>> {
    map.types().iter().map(|plane| plane.map(probability_to_u8)).collect()
}

/// The outline of a mask, smoothed as outlines of nuclei are, in pixels of the mask: its parts,
/// each an outline and then its holes.
#[must_use]
pub fn outline_of_mask(mask: &Mask) -> Vec<Polygon> {
    if mask.data().is_empty() {
        return Vec::new();
    }
    let smoothed = smooth(&mask.map(|inside| if inside { 255 } else { 0 }), MASK_SMOOTHING);
    let labels = mask.map(u32::from);
    let bounds = PixelBounds { top: 0, left: 0, bottom: mask.height(), right: mask.width() };
    let mut rings = trace_rings(&labels, &smoothed, PROBABILITY_ONE / 2, 1, bounds);
    // The areas of holes are negative, so the outline comes first.
    rings.sort_by(|a, b| doubled_area(b).total_cmp(&doubled_area(a)));
    simplify(grouped_rings(rings))
}

/// The label map of nuclei by their outlines: a pixel belongs to the last nucleus that holds its
/// centre. For an image that was segmented at another pixel size than its own.
#[must_use]
pub fn draw_nuclei(nuclei: &[Nucleus], width: usize, height: usize) -> LabelMap {
    let mut labels = Plane::filled(width, height, 0);
    for nucleus in nuclei {
        for polygon in &nucleus.polygons {
            fill_rings(polygon, width, height, |row, first, end| {
                labels.row_mut(row)[first..end].fill(nucleus.label);
            });
        }
    }
    labels
}

/// A probability in 8 bits, rounded: 255 is 1.
#[must_use]
pub fn probability_to_u8(probability: f32) -> u8 {
    (probability.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// A threshold in the units of a [`SmoothedMap`], rounded.
fn fixed_threshold(threshold: f32) -> u16 {
    (threshold * f32::from(PROBABILITY_ONE) + 0.5) as u16
}

/// `passes` times the binomial filter (1 2 1) / 4 in both directions; border pixels are repeated.
fn smooth(map: &Plane<u8>, passes: u32) -> SmoothedMap {
    let (w, h) = (map.width(), map.height());
    let mut values = map.map(|v| u16::from(v) * 256);
    for _ in 0..passes {
        for y in 0..h {
            let row = values.row_mut(y);
            let mut left = row[0];
            for x in 0..w {
                let here = row[x];
                row[x] = binomial(left, here, row[(x + 1).min(w - 1)]);
                left = here;
            }
        }
        let mut above = values.row(0).to_vec();
        for y in 0..h {
            let here = values.row(y).to_vec();
            let below = values.row((y + 1).min(h - 1)).to_vec();
            for (x, value) in values.row_mut(y).iter_mut().enumerate() {
                *value = binomial(above[x], here[x], below[x]);
            }
            above = here;
        }
    }
    values
}

/// (a + 2b + c) / 4, rounded.
fn binomial(a: u16, b: u16, c: u16) -> u16 {
    ((u32::from(a) + 2 * u32::from(b) + u32::from(c) + 2) / 4) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::{MapLayout, NucleusMaps, ProbabilityMap};

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
        label_nuclei(&map.clone().into(), parameters)
            .expect("objects")
            .0
            .data()
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
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

    /// Two discs that overlap too much for their outline to tell them apart, with a border between
    /// them that the network saw.
    #[test]
    fn a_border_separates_what_the_outline_does_not() {
        let parameters = InstanceParameters::default();
        let nucleus = discs(70, 50, &[(25.0, 25.0, 12.0), (36.0, 25.0, 12.0)]);
        assert_eq!(count(&nucleus, &parameters), 1);
        let interior = discs(70, 50, &[(23.0, 25.0, 6.0), (38.0, 25.0, 6.0)]);
        let layout = MapLayout { interior: true, types: 0 };
        let values = [nucleus.data(), interior.data()].concat();
        let maps = NucleusMaps::from_values(layout, 70, 50, &values).expect("maps");
        let (labels, _) = label_nuclei(&maps, &parameters).expect("objects");
        assert_eq!(labels.labels(), [1, 2]);
        assert_eq!((labels.get(25, 14), labels.get(25, 46)), (1, 2), "grown to the outline");
        let mask = label_nuclei(&nucleus.into(), &parameters).expect("objects").0.foreground();
        assert_eq!(labels.foreground(), mask);
    }

    #[test]
    fn small_objects_are_dropped_and_holes_are_filled() {
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
        let (labels, _) = label_nuclei(&map.clone().into(), &parameters).expect("objects");
        assert_eq!(labels.get(19, 19), 1);
        assert_eq!(labels.get(20, 50), 0);
    }

    #[test]
    fn the_last_bit_of_a_probability_changes_nothing() {
        let map = discs(64, 64, &[(20.0, 20.0, 12.0), (41.0, 22.0, 12.0)]);
        let other = map.map(|p| f32::from_bits(p.to_bits() + 1));
        let parameters = InstanceParameters::default();
        assert_eq!(
            label_nuclei(&map.clone().into(), &parameters).expect("a"),
            label_nuclei(&other.into(), &parameters).expect("b")
        );
    }

    #[test]
    fn a_label_map_by_outlines_is_the_label_map() {
        let map = discs(80, 50, &[(25.0, 25.0, 12.0), (46.0, 25.0, 12.0), (8.0, 40.0, 9.0)]);
        let parameters = InstanceParameters::default();
        let (labels, smoothed) = label_nuclei(&map.clone().into(), &parameters).expect("objects");
        let image = Plane::filled(80, 50, [200; 3]);
        let nuclei = measure_nuclei(&image, &labels, &smoothed, &[], &parameters, None);
        let nuclei: Vec<Nucleus> = nuclei.expect("nuclei").collect();
        let drawn = draw_nuclei(&nuclei, 80, 50);
        let wrong = drawn.data().iter().zip(labels.data()).filter(|(a, b)| a != b).count();
        // Outlines keep to the probability and lose corners of at most 0.3 px.
        assert!(wrong < 10, "{wrong}");
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
    fn smoothing_keeps_a_constant_and_spreads_a_point_symmetrically() {
        assert_eq!(smooth(&Plane::filled(7, 5, 9), 3), Plane::filled(7, 5, 9 * 256));
        let mut point = Plane::filled(5, 5, 0u8);
        point.set(2, 2, 16);
        let smoothed = smooth(&point, 1);
        assert_eq!(smoothed.crop(1, 1, 2, 2).data(), [256, 512, 512, 1024]);
    }
}
