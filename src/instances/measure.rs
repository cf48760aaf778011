//! Outline and measurements of one nucleus after the other.

use serde::{Deserialize, Serialize};

use super::contour::{PixelBounds, trace_rings};
use super::simplify::simplify;
use super::{PROBABILITY_ONE, SmoothedMap};
use crate::raster::{
    LabelMap, Plane, Polygon, RgbImage, Ring, doubled_area, eosin_weights, grouped_rings,
    hematoxylin_weights, optical_density_table,
};

/// Unit of areas and lengths in [`Measurements`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthUnit {
    /// The pixel size is not known.
    Pixel,
    /// µm.
    Micrometre,
}

impl LengthUnit {
    /// Micrometres where the pixel size is known.
    #[must_use]
    pub fn for_pixel_size(mpp_um: Option<f64>) -> Self {
        if mpp_um.is_some() { Self::Micrometre } else { Self::Pixel }
    }
}

/// Number of [`Measurements`].
const COUNT: usize = 9;

/// What is measured of a nucleus, rounded to four decimals, so that the last bits of a platform's
/// logarithm do not show. Serialised as an array in the order of the fields; the last ones may be
/// missing in an array of an earlier version. What is not known of a drawn nucleus is NaN, null in
/// the array.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "[Option<f64>; COUNT]", from = "Vec<Option<f64>>")]
pub struct Measurements {
    /// Area inside the outline without the holes, in square pixels or micrometres.
    pub area: f64,
    /// Length of the outline, of all parts together, in pixels or micrometres.
    pub perimeter: f64,
    /// 4π · area / perimeter², at most 1: that of a circle.
    pub circularity: f64,
    /// Of the ellipse with the same second moments: 0 for a circle, towards 1 for a line.
    pub eccentricity: f64,
    /// Mean smoothed probability, 0 to 1.
    pub mean_probability: f64,
    /// Mean optical density of hematoxylin (decadic logarithm).
    pub mean_hematoxylin: f64,
    /// Standard deviation of that over the pixels, as of a sample.
    pub deviation_hematoxylin: f64,
    /// Mean optical density of eosin (decadic logarithm).
    pub mean_eosin: f64,
    /// Standard deviation of that over the pixels, as of a sample.
    pub deviation_eosin: f64,
}

impl Measurements {
    /// Names in files, in the order of [`Self::values`].
    #[must_use]
    pub fn names(unit: LengthUnit) -> [&'static str; COUNT] {
        let (area, perimeter) = match unit {
            LengthUnit::Micrometre => ("Area um^2", "Perimeter um"),
            LengthUnit::Pixel => ("Area px^2", "Perimeter px"),
        };
        [
            area,
            perimeter,
            "Circularity",
            "Eccentricity",
            "Probability mean",
            "Hematoxylin OD mean",
            "Hematoxylin OD std dev",
            "Eosin OD mean",
            "Eosin OD std dev",
        ]
    }

    /// Nothing is known.
    pub(super) fn unknown() -> Self {
        [f64::NAN; COUNT].into()
    }

    /// All values, in the order of [`Self::names`].
    #[must_use]
    pub fn values(&self) -> [f64; COUNT] {
        [
            self.area,
            self.perimeter,
            self.circularity,
            self.eccentricity,
            self.mean_probability,
            self.mean_hematoxylin,
            self.deviation_hematoxylin,
            self.mean_eosin,
            self.deviation_eosin,
        ]
    }
}

impl From<Measurements> for [Option<f64>; COUNT] {
    fn from(measurements: Measurements) -> Self {
        measurements.values().map(|value| value.is_finite().then_some(value))
    }
}

impl From<Vec<Option<f64>>> for Measurements {
    /// Values that are missing at the end are not known; more are left out.
    fn from(values: Vec<Option<f64>>) -> Self {
        let mut all = [f64::NAN; COUNT];
        for (value, read) in all.iter_mut().zip(values) {
            *value = read.unwrap_or(f64::NAN);
        }
        all.into()
    }
}

impl From<[f64; COUNT]> for Measurements {
    fn from(values: [f64; COUNT]) -> Self {
        let [
            area,
            perimeter,
            circularity,
            eccentricity,
            mean_probability,
            mean_hematoxylin,
            deviation_hematoxylin,
            mean_eosin,
            deviation_eosin,
        ] = values;
        Self {
            area,
            perimeter,
            circularity,
            eccentricity,
            mean_probability,
            mean_hematoxylin,
            deviation_hematoxylin,
            mean_eosin,
            deviation_eosin,
        }
    }
}

/// A nucleus with its outline and measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nucleus {
    /// Its number in the label map.
    pub label: u32,
    /// Its parts, in pixels of the image: mostly one.
    pub polygons: Vec<Polygon>,
    /// Number of pixels that carry its label.
    pub area_px: u64,
    /// x and y of the mean of its pixels' centres.
    pub centroid: (f64, f64),
    /// `None` for an outline from elsewhere.
    pub measurements: Option<Measurements>,
    /// Place of its type among those that the model tells apart
    /// ([`NucleusType::among`](crate::model::NucleusType::among)); none where there is only one,
    /// and of an outline that a person drew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<u8>,
}

/// Iterator over the nuclei of a label map in the order of their numbers. Each is measured on
/// demand.
#[derive(Debug, Clone)]
pub struct Nuclei<'a> {
    image: &'a RgbImage,
    labels: &'a LabelMap,
    smoothed: &'a SmoothedMap,
    /// Of the smoothed probability, in its units.
    threshold: u16,
    /// Micrometres, or pixels where the pixel size is not known, that a pixel spans.
    pixel_size: f64,
    /// By label.
    bounds: Vec<Option<PixelBounds>>,
    /// By label; empty where there is only one type.
    classes: Vec<Option<u8>>,
    stains: StainTables,
    next_label: usize,
}

impl Nucleus {
    /// The same with lengths and areas of its outline, in pixels of `pixel_size_um` micrometres, or
    /// in pixels where that is not known. What was measured on pixels stays.
    #[must_use]
    pub fn with_pixel_size(mut self, pixel_size_um: Option<f64>) -> Self {
        let mut measured = self.measurements.unwrap_or_else(Measurements::unknown);
        let lengths = OutlineLengths::of(&self.polygons);
        let pixel_size = pixel_size_um.unwrap_or(1.0);
        measured.area = rounded(lengths.area * pixel_size * pixel_size);
        measured.perimeter = rounded(lengths.perimeter * pixel_size);
        if measured.circularity.is_nan() {
            measured.circularity = rounded(lengths.circularity());
        }
        self.measurements = Some(measured);
        self
    }
}

/// Lengths of an outline, pixels.
struct OutlineLengths {
    area: f64,
    perimeter: f64,
}

impl OutlineLengths {
    fn of(polygons: &[Polygon]) -> Self {
        Self {
            // Holes run the other way, so their areas are negative and are subtracted by the sum.
            area: polygons.iter().flatten().map(|ring| doubled_area(ring) / 2.0).sum(),
            perimeter: polygons.iter().filter_map(|p| p.first()).map(ring_length).sum(),
        }
    }

    fn circularity(&self) -> f64 {
        if self.perimeter > 0.0 {
            let Self { area, perimeter } = self;
            (4.0 * std::f64::consts::PI * area / (perimeter * perimeter)).min(1.0)
        } else {
            0.0
        }
    }
}

/// Sums over the pixels of one nucleus; x and y count from the upper-left corner of its bounds.
#[derive(Debug, Default)]
pub(super) struct PixelSums {
    pub count: u64,
    pub x: u64,
    pub y: u64,
    xx: u64,
    yy: u64,
    xy: u64,
    /// None if probabilities are not known.
    probability: Option<u64>,
    hematoxylin: StainSums,
    eosin: StainSums,
}

/// Sums of the optical density of a stain over pixels.
#[derive(Debug, Default)]
struct StainSums {
    sum: f64,
    squares: f64,
}

impl StainSums {
    fn add(&mut self, density: f64) {
        self.sum += density;
        self.squares += density * density;
    }

    /// Of a sample; not known of a single pixel.
    fn deviation(&self, count: f64) -> f64 {
        let squares = (self.squares - self.sum * self.sum / count).max(0.0);
        if count > 1.0 { (squares / (count - 1.0)).sqrt() } else { f64::NAN }
    }
}

impl PixelSums {
    /// Adds a pixel by its place.
    pub(super) fn add(&mut self, x: u64, y: u64) {
        self.count += 1;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    /// Adds its smoothed probability.
    pub(super) fn add_probability(&mut self, probability: u16) {
        *self.probability.get_or_insert(0) += u64::from(probability);
    }

    /// Adds its colour.
    pub(super) fn add_colour(&mut self, tables: &StainTables, pixel: [u8; 3]) {
        self.hematoxylin.add(tables.hematoxylin.density(pixel));
        self.eosin.add(tables.eosin.density(pixel));
    }

    /// What they say about an object with that outline.
    pub(super) fn measurements(&self, polygons: &[Polygon], pixel_size: f64) -> Measurements {
        let count = self.count as f64;
        let lengths = OutlineLengths::of(polygons);
        let one = f64::from(PROBABILITY_ONE);
        Measurements {
            area: rounded(lengths.area * pixel_size * pixel_size),
            perimeter: rounded(lengths.perimeter * pixel_size),
            circularity: rounded(lengths.circularity()),
            eccentricity: rounded(eccentricity(self)),
            mean_probability: self
                .probability
                .map_or(f64::NAN, |p| rounded(p as f64 / count / one)),
            mean_hematoxylin: rounded(self.hematoxylin.sum / count),
            deviation_hematoxylin: rounded(self.hematoxylin.deviation(count)),
            mean_eosin: rounded(self.eosin.sum / count),
            deviation_eosin: rounded(self.eosin.deviation(count)),
        }
    }
}

/// Amount of a stain that each value of each channel stands for, as decadic optical density: as
/// pathologists and QuPath report it.
#[derive(Debug, Clone)]
struct StainTable([[f64; 256]; 3]);

impl StainTable {
    /// By the weights of the optical densities of R, G and B in the amount of the stain.
    fn new(weights: [f64; 3]) -> Self {
        let densities = optical_density_table();
        Self(weights.map(|weight| densities.map(|od| od * weight / std::f64::consts::LN_10)))
    }

    fn density(&self, pixel: [u8; 3]) -> f64 {
        let [red, green, blue] = pixel.map(usize::from);
        self.0[0][red] + self.0[1][green] + self.0[2][blue]
    }
}

/// Tables of the stains that are measured.
#[derive(Debug, Clone)]
pub(super) struct StainTables {
    hematoxylin: StainTable,
    eosin: StainTable,
}

impl StainTables {
    pub(super) fn new() -> Self {
        Self {
            hematoxylin: StainTable::new(hematoxylin_weights()),
            eosin: StainTable::new(eosin_weights()),
        }
    }
}

impl<'a> Nuclei<'a> {
    pub(super) fn new(
        image: &'a RgbImage,
        labels: &'a LabelMap,
        smoothed: &'a SmoothedMap,
        types: &[Plane<u8>],
        threshold: u16,
        mpp_um: Option<f64>,
    ) -> Self {
        Self {
            image,
            labels,
            smoothed,
            threshold,
            pixel_size: mpp_um.unwrap_or(1.0),
            bounds: bounds_by_label(labels),
            classes: classes_by_label(labels, types),
            stains: StainTables::new(),
            next_label: 0,
        }
    }

    fn measure(&self, label: u32, bounds: PixelBounds) -> Nucleus {
        let mut rings = trace_rings(self.labels, self.smoothed, self.threshold, label, bounds);
        // The areas of holes are negative, so the outline comes first.
        rings.sort_by(|a, b| doubled_area(b).total_cmp(&doubled_area(a)));
        let polygons = simplify(grouped_rings(rings));
        let sums = self.sums(label, bounds);
        let count = sums.count as f64;
        Nucleus {
            label,
            area_px: sums.count,
            centroid: (
                bounds.left as f64 + sums.x as f64 / count + 0.5,
                bounds.top as f64 + sums.y as f64 / count + 0.5,
            ),
            measurements: Some(sums.measurements(&polygons, self.pixel_size)),
            polygons,
            class: self.classes.get(label as usize).copied().flatten(),
        }
    }

    fn sums(&self, label: u32, bounds: PixelBounds) -> PixelSums {
        let mut sums = PixelSums::default();
        for row in bounds.top..bounds.bottom {
            let y = (row - bounds.top) as u64;
            let labels = &self.labels.row(row)[bounds.left..bounds.right];
            for (x, _) in labels.iter().enumerate().filter(|(_, l)| **l == label) {
                let column = bounds.left + x;
                sums.add(x as u64, y);
                sums.add_probability(self.smoothed.get(row, column));
                sums.add_colour(&self.stains, self.image.get(row, column));
            }
        }
        sums
    }
}

impl Iterator for Nuclei<'_> {
    type Item = Nucleus;

    fn next(&mut self) -> Option<Nucleus> {
        while self.next_label < self.bounds.len() {
            let label = self.next_label;
            self.next_label += 1;
            if let Some(bounds) = self.bounds[label] {
                return Some(self.measure(u32::try_from(label).ok()?, bounds));
            }
        }
        None
    }
}

/// Place of the type of each label's object among `types`, whose planes have the size of the label
/// map: that with the largest sum over its pixels, the first of equals. `None` for labels that do
/// not occur, and for 0; empty where there are no planes.
#[must_use]
pub fn classes_by_label(labels: &LabelMap, types: &[Plane<u8>]) -> Vec<Option<u8>> {
    if types.is_empty() {
        return Vec::new();
    }
    let highest = labels.data().iter().copied().max().unwrap_or(0) as usize;
    let mut best: Vec<Option<(u64, u8)>> = vec![None; highest + 1];
    for (plane, class) in types.iter().zip(0u8..) {
        let mut sums: Vec<Option<u64>> = vec![None; highest + 1];
        for (&label, &value) in labels.data().iter().zip(plane.data()) {
            *sums[label as usize].get_or_insert(0) += u64::from(value);
        }
        for (best, sum) in best.iter_mut().zip(sums).skip(1) {
            if let Some(sum) = sum
                && best.is_none_or(|(largest, _)| sum > largest)
            {
                *best = Some((sum, class));
            }
        }
    }
    best.into_iter().map(|best| best.map(|(_, class)| class)).collect()
}

/// Bounds of the object of each label; `None` for labels that do not occur, and for 0.
fn bounds_by_label(labels: &LabelMap) -> Vec<Option<PixelBounds>> {
    let highest = labels.data().iter().copied().max().unwrap_or(0) as usize;
    let mut all: Vec<Option<PixelBounds>> = vec![None; highest + 1];
    for row in 0..labels.height() {
        for (column, &label) in labels.row(row).iter().enumerate() {
            if label == 0 {
                continue;
            }
            let pixel = PixelBounds { top: row, left: column, bottom: row + 1, right: column + 1 };
            let bounds = all[label as usize].get_or_insert(pixel);
            bounds.bottom = row + 1;
            bounds.left = bounds.left.min(column);
            bounds.right = bounds.right.max(column + 1);
        }
    }
    all
}

fn ring_length(ring: &Ring) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| ((a.x - b.x).powi(2) + (a.y - b.y).powi(2)).sqrt()).sum()
}

/// Eccentricity √(1 − λ₂ / λ₁) of the ellipse with the same second moments, with the eigenvalues
/// λ₁ ≥ λ₂ of the covariance matrix of the coordinates. A pixel counts as a square: 1/12 is its
/// variance along each axis.
fn eccentricity(sums: &PixelSums) -> f64 {
    let n = sums.count as f64;
    let mean_x = sums.x as f64 / n;
    let mean_y = sums.y as f64 / n;
    let xx = sums.xx as f64 / n - mean_x * mean_x + 1.0 / 12.0;
    let yy = sums.yy as f64 / n - mean_y * mean_y + 1.0 / 12.0;
    let xy = sums.xy as f64 / n - mean_x * mean_y;
    // Eigenvalues of [xx xy; xy yy]: (trace ± √((xx − yy)² + 4 xy²)) / 2.
    let root = ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt();
    let large = f64::midpoint(xx + yy, root);
    let small = (xx + yy - root) / 2.0;
    (1.0 - (small / large).clamp(0.0, 1.0)).sqrt()
}

/// Four decimals.
pub(super) fn rounded(v: f64) -> f64 {
    (v * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::{label_nuclei, measure_nuclei};
    use crate::model::InstanceParameters;

    struct Disc {
        image: RgbImage,
        labels: LabelMap,
        smoothed: SmoothedMap,
        parameters: InstanceParameters,
    }

    impl Disc {
        /// In the middle of 80 × 80 pixels, with a soft edge as of a network.
        fn new(radius: f64) -> Self {
            let parameters = InstanceParameters { smoothing: 0, ..InstanceParameters::default() };
            let mut map = Plane::filled(80, 80, 0.0f32);
            for row in 0..80 {
                for column in 0..80 {
                    let distance = (column as f64 + 0.5 - 40.0).hypot(row as f64 + 0.5 - 40.0);
                    let probability = (0.5 + (radius - distance) / 4.0).clamp(0.0, 1.0);
                    map.set(row, column, probability as f32);
                }
            }
            let (labels, smoothed) = label_nuclei(&map.into(), &parameters).expect("nuclei");
            Self { image: Plane::filled(80, 80, [90, 60, 150]), labels, smoothed, parameters }
        }

        fn measure(&self, mpp_um: Option<f64>) -> Nucleus {
            let nuclei = measure_nuclei(
                &self.image,
                &self.labels,
                &self.smoothed,
                &[],
                &self.parameters,
                mpp_um,
            );
            let mut nuclei = nuclei.expect("nuclei");
            let nucleus = nuclei.next().expect("one nucleus");
            assert!(nuclei.next().is_none());
            nucleus
        }
    }

    #[test]
    fn a_disc_has_the_area_perimeter_and_shape_of_a_disc() {
        let nucleus = Disc::new(20.0).measure(Some(0.5));
        let measured = nucleus.measurements.expect("measured");
        let area = std::f64::consts::PI * 400.0 * 0.25;
        assert!((measured.area / area - 1.0).abs() < 0.02, "{measured:?}");
        let perimeter = std::f64::consts::TAU * 20.0 * 0.5;
        assert!((measured.perimeter / perimeter - 1.0).abs() < 0.03, "{measured:?}");
        assert!(measured.circularity > 0.95, "{measured:?}");
        assert!(measured.eccentricity < 0.1, "{measured:?}");
        assert!((nucleus.centroid.0 - 40.0).abs() < 0.01);
    }

    #[test]
    fn without_a_pixel_size_lengths_are_in_pixels() {
        let measured = Disc::new(10.0).measure(None).measurements.expect("measured");
        assert!((measured.area - 314.0).abs() < 8.0, "{measured:?}");
        assert_eq!(Measurements::names(LengthUnit::for_pixel_size(None))[0], "Area px^2");
        assert_eq!(Measurements::names(LengthUnit::for_pixel_size(Some(0.25)))[0], "Area um^2");
    }

    #[test]
    fn purple_contains_hematoxylin_and_white_none() {
        let mut disc = Disc::new(10.0);
        let mean_hematoxylin =
            |disc: &Disc| disc.measure(None).measurements.expect("measured").mean_hematoxylin;
        assert!(mean_hematoxylin(&disc) > 0.2);
        let measured = disc.measure(None).measurements.expect("measured");
        assert!(measured.deviation_hematoxylin.abs() < 1e-9, "of one colour");
        // Grey of two values, each in half of the pixels: all stains have the same share of it.
        let mut two = Disc::new(10.0);
        for row in 0..80 {
            two.image.row_mut(row)[..40].fill([50, 50, 50]);
            two.image.row_mut(row)[40..].fill([9, 9, 9]);
        }
        let measured = two.measure(None).measurements.expect("measured");
        let [light, dark] = [51.0f64, 10.0].map(|v| -(v / 256.0).log10());
        let ratio = measured.deviation_hematoxylin / measured.mean_hematoxylin;
        let expected = (dark - light) / (dark + light);
        assert!((ratio - expected).abs() < 0.01, "{ratio} {expected}");
        // Grey is less than no eosin.
        let ratio = measured.deviation_eosin / -measured.mean_eosin;
        assert!((ratio - expected).abs() < 0.02, "{measured:?} {expected}");
        disc.image = Plane::filled(80, 80, [255; 3]);
        assert!(mean_hematoxylin(&disc).abs() < 1e-9);
        let Disc { labels, smoothed, parameters, .. } = disc;
        let other_size = Plane::filled(8, 80, [0; 3]);
        assert!(measure_nuclei(&other_size, &labels, &smoothed, &[], &parameters, None).is_err());
    }

    #[test]
    fn the_type_of_a_nucleus_has_the_largest_sum_over_its_pixels() {
        let plane = |values: [u8; 6]| Plane::from_vec(6, 1, values.to_vec()).expect("plane");
        let labels = plane([0, 1, 1, 4, 4, 5]).map(u32::from);
        // Of the fourth both types have the same sum.
        let types = [plane([255, 9, 9, 7, 0, 1]), plane([0, 200, 0, 3, 4, 2])];
        let classes = classes_by_label(&labels, &types);
        assert_eq!(classes, [None, Some(1), None, None, Some(0), Some(1)]);
        assert!(classes_by_label(&labels, &[]).is_empty());

        let Disc { image, labels, smoothed, parameters } = Disc::new(10.0);
        let types = [Plane::filled(80, 80, 1), Plane::filled(80, 80, 2)];
        let nuclei = measure_nuclei(&image, &labels, &smoothed, &types, &parameters, None);
        let classes: Vec<_> = nuclei.expect("nuclei").map(|nucleus| nucleus.class).collect();
        assert_eq!(classes, [Some(1)]);
        let other_size = [Plane::filled(80, 8, 1)];
        assert!(
            measure_nuclei(&image, &labels, &smoothed, &other_size, &parameters, None).is_err()
        );
    }

    #[test]
    fn measurements_are_an_array_in_files() {
        let values = [1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, f64::NAN];
        let measurements = Measurements::from(values);
        assert_eq!((measurements.circularity, measurements.mean_probability), (3.0, 5.0));
        let text = serde_json::to_string(&measurements).expect("JSON");
        assert_eq!(text, "[1.5,2.0,3.0,4.0,5.0,6.0,7.0,8.0,null]");
        let read = |text: &str| serde_json::from_str::<Measurements>(text).expect("array");
        assert_eq!(read(&text).values()[..8], values[..8]);
        let earlier = read("[1.5,2.0,3.0,4.0,5.0,6.0]");
        assert_eq!((earlier.mean_hematoxylin, earlier.mean_eosin.is_nan()), (6.0, true));
    }
}
