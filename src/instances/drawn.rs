//! Measures outlines that were drawn, not found, on the pixels inside them.

use super::SmoothedMap;
use super::measure::{Nucleus, PixelSums, StainTables};
use crate::raster::{Point, Polygon, RgbImage, doubled_area, fill_rings};

/// What is known of each pixel under an outline.
#[derive(Debug, Clone, Copy)]
pub struct OutlinePixels<'a> {
    /// The tissue.
    pub image: &'a RgbImage,
    /// Smoothed probabilities, of the same size, where they are known.
    pub smoothed: Option<&'a SmoothedMap>,
}

/// A nucleus with that outline, in pixels of the image, measured as [`measure_nuclei`] does: a
/// pixel belongs to it if its centre lies inside. Areas and lengths are in micrometres where
/// `mpp_um`, the pixel size, is given, and in pixels otherwise. Its label is 0.
///
/// [`measure_nuclei`]: super::measure_nuclei
#[must_use]
pub fn measure_outline(
    polygons: Vec<Polygon>,
    pixels: OutlinePixels<'_>,
    mpp_um: Option<f64>,
) -> Nucleus {
    let OutlinePixels { image, smoothed } = pixels;
    let smoothed = smoothed.filter(|map| map.same_size(image));
    let table = StainTables::new();
    let mut sums = PixelSums::default();
    for polygon in &polygons {
        fill_rings(polygon, image.width(), image.height(), |row, first, end| {
            for column in first..end {
                sums.add(column as u64, row as u64);
                sums.add_colour(&table, image.get(row, column));
                if let Some(map) = smoothed {
                    sums.add_probability(map.get(row, column));
                }
            }
        });
    }
    if sums.count == 0 {
        return unmeasured(polygons, mpp_um);
    }
    let count = sums.count as f64;
    Nucleus {
        label: 0,
        area_px: sums.count,
        centroid: (sums.x as f64 / count + 0.5, sums.y as f64 / count + 0.5),
        measurements: Some(sums.measurements(&polygons, mpp_um.unwrap_or(1.0))),
        polygons,
        class: None,
    }
}

/// An outline around no pixel of the image.
fn unmeasured(polygons: Vec<Polygon>, mpp_um: Option<f64>) -> Nucleus {
    let points: Vec<&Point> = polygons.iter().flatten().flatten().collect();
    let count = points.len().max(1) as f64;
    let x = points.iter().map(|point| point.x).sum::<f64>() / count;
    let y = points.iter().map(|point| point.y).sum::<f64>() / count;
    let area: f64 = polygons.iter().flatten().map(|ring| doubled_area(ring) / 2.0).sum();
    let area_px = area.round().max(0.0) as u64;
    let centroid = (x, y);
    let nucleus =
        Nucleus { label: 0, area_px, centroid, measurements: None, polygons, class: None };
    nucleus.with_pixel_size(mpp_um)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::{label_nuclei, measure_nuclei};
    use crate::model::InstanceParameters;
    use crate::raster::Plane;

    #[test]
    fn the_outline_of_a_found_nucleus_has_its_measurements() {
        let (mut image, mut map) = (Plane::filled(60, 50, [220; 3]), Plane::filled(60, 50, 0.1f32));
        for row in 12..34 {
            for column in 20..41 {
                image.set(row, column, [90, 60 + row as u8, 150]);
                map.set(row, column, 0.7 + row as f32 / 200.0);
            }
        }
        let parameters = InstanceParameters { smoothing: 0, ..InstanceParameters::default() };
        let (labels, smoothed) = label_nuclei(&map.into(), &parameters).expect("nuclei");
        let mut found = measure_nuclei(&image, &labels, &smoothed, &[], &parameters, Some(0.5));
        let found = found.as_mut().expect("nuclei").next().expect("nucleus");
        let pixels = OutlinePixels { image: &image, smoothed: Some(&smoothed) };
        let drawn = measure_outline(found.polygons.clone(), pixels, Some(0.5));
        assert_eq!(drawn, Nucleus { label: 0, ..found.clone() });
        assert_eq!(found.clone().with_pixel_size(Some(0.5)), found);
        let unknown = OutlinePixels { image: &image, smoothed: None };
        let drawn = measure_outline(found.polygons.clone(), unknown, Some(0.5));
        let text = serde_json::to_string(&drawn.measurements).expect("JSON");
        assert!(text.contains(",null,"), "{text}");
        let measured = drawn.measurements.expect("measured");
        assert!(measured.mean_probability.is_nan() && measured.mean_hematoxylin > 0.1);
    }

    #[test]
    fn an_outline_beside_the_image_is_measured_without_pixels() {
        let image = Plane::filled(10, 10, [0; 3]);
        let ring = [[20.0, 0.0], [24.0, 0.0], [24.0, 4.0], [20.0, 4.0]].map(Point::from).to_vec();
        let pixels = OutlinePixels { image: &image, smoothed: None };
        let drawn = measure_outline(vec![vec![ring]], pixels, None);
        assert_eq!((drawn.area_px, drawn.centroid), (16, (22.0, 2.0)));
        let measured = drawn.measurements.expect("lengths");
        assert_eq!((measured.area, measured.perimeter), (16.0, 16.0));
        assert!(measured.mean_hematoxylin.is_nan());
    }
}
