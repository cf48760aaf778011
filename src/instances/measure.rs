//! One nucleus after the other: outline, holes and what is measured in it. Numbers are rounded to
//! four decimals, so that the last bits of a platform's logarithm do not show.

use super::contour::{PixelBounds, Ring, doubled_area, rings};
use super::simplify::simplified;
use super::{ONE, Smooth};
use crate::raster::{LabelMap, RgbImage, hematoxylin_weights, optical_density_table};

/// A nucleus with outline and measurements.
#[derive(Debug, Clone, PartialEq)]
pub struct Nucleus {
    /// Its number in the label map.
    pub label: u32,
    /// Outline, then holes; open rings in pixels of the full-resolution image.
    pub rings: Vec<Ring>,
    /// Pixels that carry its label.
    pub area_px: u64,
    pub centroid: (f64, f64),
    pub measurements: Vec<(&'static str, f64)>,
}

/// Nuclei of a label map in the order of their numbers, each made when it is asked for.
#[derive(Debug)]
pub struct Nuclei<'a> {
    image: &'a RgbImage,
    labels: &'a LabelMap,
    smooth: &'a Smooth,
    level: u16,
    mpp_um: Option<f64>,
    bounds: Vec<Option<PixelBounds>>,
    densities: [[f64; 256]; 3],
    next: usize,
}

/// Sums over the pixels of one nucleus, coordinates relative to its bounds.
#[derive(Default)]
struct PixelSums {
    count: u64,
    x: u64,
    y: u64,
    xx: u64,
    yy: u64,
    xy: u64,
    probability: u64,
    hematoxylin: f64,
}

impl<'a> Nuclei<'a> {
    pub(super) fn new(
        image: &'a RgbImage,
        labels: &'a LabelMap,
        smooth: &'a Smooth,
        level: u16,
        mpp_um: Option<f64>,
    ) -> Self {
        let weights = hematoxylin_weights();
        let table = optical_density_table();
        // Reported as pathologists and QuPath count it, in powers of ten.
        let densities = weights.map(|w| table.map(|d| d * w / std::f64::consts::LN_10));
        Self { image, labels, smooth, level, mpp_um, bounds: bounds(labels), densities, next: 0 }
    }

    fn measure(&self, label: u32, bounds: PixelBounds) -> Nucleus {
        let mut outline = rings(self.labels, self.smooth, self.level, label, bounds);
        outline.sort_by(|a, b| doubled_area(b).total_cmp(&doubled_area(a)));
        let outline: Vec<Ring> = outline.iter().map(simplified).collect();
        let sums = self.sums(label, bounds);
        let n = sums.count as f64;
        let centroid = (
            bounds.left as f64 + sums.x as f64 / n + 0.5,
            bounds.top as f64 + sums.y as f64 / n + 0.5,
        );
        let measurements = self.list(&sums, &outline);
        Nucleus { label, rings: outline, area_px: sums.count, centroid, measurements }
    }

    fn sums(&self, label: u32, bounds: PixelBounds) -> PixelSums {
        let mut s = PixelSums::default();
        for row in bounds.top..bounds.bottom {
            let labels = &self.labels.row(row)[bounds.left..bounds.right];
            for (dx, _) in labels.iter().enumerate().filter(|(_, l)| **l == label) {
                let (x, y) = (dx as u64, (row - bounds.top) as u64);
                s.count += 1;
                s.x += x;
                s.y += y;
                s.xx += x * x;
                s.yy += y * y;
                s.xy += x * y;
                s.probability += u64::from(self.smooth.get(row, bounds.left + dx));
                let pixel = self.image.get(row, bounds.left + dx);
                s.hematoxylin +=
                    (0..3).map(|c| self.densities[c][usize::from(pixel[c])]).sum::<f64>();
            }
        }
        s
    }

    fn list(&self, sums: &PixelSums, outline: &[Ring]) -> Vec<(&'static str, f64)> {
        let n = sums.count as f64;
        let area: f64 = outline.iter().map(|r| doubled_area(r) / 2.0).sum();
        let length = outline.first().map_or(0.0, perimeter);
        let circularity = if length > 0.0 {
            (4.0 * std::f64::consts::PI * area / (length * length)).min(1.0)
        } else {
            0.0
        };
        let unit = self.mpp_um.unwrap_or(1.0);
        let values = [
            area * unit * unit,
            length * unit,
            circularity,
            eccentricity(sums),
            sums.probability as f64 / n / f64::from(ONE),
            sums.hematoxylin / n,
        ];
        measurement_names(self.mpp_um.is_some()).into_iter().zip(values.map(rounded)).collect()
    }
}

impl Iterator for Nuclei<'_> {
    type Item = Nucleus;

    fn next(&mut self) -> Option<Nucleus> {
        while self.next < self.bounds.len() {
            let index = self.next;
            self.next += 1;
            if let Some(bounds) = self.bounds[index] {
                return Some(self.measure(u32::try_from(index).ok()?, bounds));
            }
        }
        None
    }
}

/// Bounds by label; none for labels that do not occur, and for 0.
fn bounds(labels: &LabelMap) -> Vec<Option<PixelBounds>> {
    let most = labels.data().iter().copied().max().unwrap_or(0) as usize;
    let mut all: Vec<Option<PixelBounds>> = vec![None; most + 1];
    for row in 0..labels.height() {
        for (column, &label) in labels.row(row).iter().enumerate().filter(|(_, l)| **l != 0) {
            let fresh = PixelBounds { top: row, left: column, bottom: row + 1, right: column + 1 };
            let b = all[label as usize].get_or_insert(fresh);
            b.bottom = row + 1;
            b.left = b.left.min(column);
            b.right = b.right.max(column + 1);
        }
    }
    all
}

fn perimeter(ring: &Ring) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| ((a.x - b.x).powi(2) + (a.y - b.y).powi(2)).sqrt()).sum()
}

/// Of the ellipse with the same second moments (a pixel counts as a square), 0 for a circle,
/// towards 1 for a line.
fn eccentricity(s: &PixelSums) -> f64 {
    let n = s.count as f64;
    let moment = |sum: u64, a: u64, b: u64| sum as f64 / n - a as f64 / n * (b as f64 / n);
    let (xx, yy, xy) = (
        moment(s.xx, s.x, s.x) + 1.0 / 12.0,
        moment(s.yy, s.y, s.y) + 1.0 / 12.0,
        moment(s.xy, s.x, s.y),
    );
    let root = ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt();
    let (large, small) = (f64::midpoint(xx + yy, root), (xx + yy - root) / 2.0);
    (1.0 - (small / large).clamp(0.0, 1.0)).sqrt()
}

/// Names of a nucleus's measurements, in order.
#[must_use]
pub fn measurement_names(pixel_size_known: bool) -> [&'static str; 6] {
    let [area, length] = if pixel_size_known {
        ["Area um^2", "Perimeter um"]
    } else {
        ["Area px^2", "Perimeter px"]
    };
    [area, length, "Circularity", "Eccentricity", "Probability mean", "Hematoxylin OD mean"]
}

/// Four decimals.
fn rounded(v: f64) -> f64 {
    (v * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::{find, nuclei};
    use crate::model::InstanceParameters;
    use crate::raster::Plane;

    fn disc(radius: f64) -> (RgbImage, LabelMap, Smooth, InstanceParameters) {
        let parameters = InstanceParameters { smoothing: 0, ..InstanceParameters::default() };
        // A soft edge, as a network gives.
        let value = |i: usize| {
            let r = ((i % 80) as f64 + 0.5 - 40.0).hypot((i / 80) as f64 + 0.5 - 40.0);
            (0.5 + (radius - r) / 4.0).clamp(0.0, 1.0) as f32
        };
        let map = Plane::from_vec(80, 80, (0..6400).map(value).collect()).expect("plane");
        let (labels, smooth) = find(&map, &parameters).expect("objects");
        (Plane::filled(80, 80, [90, 60, 150]), labels, smooth, parameters)
    }

    fn value(nucleus: &Nucleus, name: &str) -> f64 {
        nucleus.measurements.iter().find(|(n, _)| *n == name).expect(name).1
    }

    #[test]
    fn a_disc_has_the_area_perimeter_and_shape_of_a_disc() {
        let (image, labels, smooth, parameters) = disc(20.0);
        let all: Vec<Nucleus> =
            nuclei(&image, &labels, &smooth, &parameters, Some(0.5)).expect("nuclei").collect();
        assert_eq!(all.len(), 1);
        let area = std::f64::consts::PI * 400.0 * 0.25;
        assert!((value(&all[0], "Area um^2") / area - 1.0).abs() < 0.02, "{all:?}");
        let length = std::f64::consts::TAU * 20.0 * 0.5;
        assert!((value(&all[0], "Perimeter um") / length - 1.0).abs() < 0.03, "{all:?}");
        assert!(value(&all[0], "Circularity") > 0.95);
        assert!(value(&all[0], "Eccentricity") < 0.1);
        assert!((all[0].centroid.0 - 40.0).abs() < 0.01);
    }

    #[test]
    fn without_a_pixel_size_lengths_are_in_pixels() {
        let (image, labels, smooth, parameters) = disc(10.0);
        let first = nuclei(&image, &labels, &smooth, &parameters, None)
            .expect("nuclei")
            .next()
            .expect("one");
        assert!((value(&first, "Area px^2") - 314.0).abs() < 8.0);
    }

    #[test]
    fn purple_holds_hematoxylin_and_white_none() {
        let (image, labels, smooth, parameters) = disc(10.0);
        let od = |image: &RgbImage| {
            let first = nuclei(image, &labels, &smooth, &parameters, None)
                .expect("nuclei")
                .next()
                .expect("one");
            value(&first, "Hematoxylin OD mean")
        };
        assert!(od(&image) > 0.2 && od(&Plane::filled(80, 80, [255; 3])).abs() < 1e-9);
        assert!(
            nuclei(&Plane::filled(8, 80, [0; 3]), &labels, &smooth, &parameters, None).is_err()
        );
    }
}
