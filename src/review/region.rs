//! Named regions: what is counted inside them.

use serde::{Deserialize, Serialize};

use crate::raster::{Point, Polygon, doubled_area, rings_hold};
use crate::slide::SlideBounds;

/// A part of the image with a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedRegion {
    /// For people.
    pub name: String,
    /// Its parts, each an outline and then its holes, in pixels of the finest level.
    pub polygons: Vec<Polygon>,
}

impl NamedRegion {
    /// Whether a point lies inside.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        self.polygons.iter().any(|polygon| rings_hold(polygon, x, y))
    }

    /// Area without holes, square pixels.
    #[must_use]
    pub fn area_px(&self) -> f64 {
        let area = |ring: &Vec<Point>| doubled_area(ring).abs() / 2.0;
        let of_polygon = |polygon: &Polygon| {
            let holes: f64 = polygon.iter().skip(1).map(area).sum();
            polygon.first().map_or(0.0, area) - holes
        };
        self.polygons.iter().map(of_polygon).sum()
    }

    /// The smallest rectangle around it.
    #[must_use]
    pub fn bounds(&self) -> SlideBounds {
        SlideBounds::of_points(self.polygons.iter().flatten().flatten())
    }
}

/// What was counted in a region.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionCounts {
    /// Number of the region.
    pub id: u32,
    /// For people.
    pub name: String,
    /// Area of the region inside the image, square pixels.
    pub area_px: f64,
    /// Part of that area which is segmented, square pixels.
    pub segmented_px: f64,
    /// Nuclei whose centroid lies inside.
    pub nuclei: usize,
    /// Pixels that these nuclei cover.
    pub covered_px: u64,
}
