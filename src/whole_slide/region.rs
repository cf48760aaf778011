//! The part of a slide that is segmented.

use crate::error::{Error, Result};
use crate::instances::polygons;
use crate::raster::Point;
use crate::slide::SlideBounds;

/// Most corners of all outlines.
const MAX_POINTS: usize = 1_000_000;

/// A region of interest, in pixels of the finest level.
#[derive(Debug, Clone, PartialEq)]
pub enum SlideRegion {
    /// The whole slide.
    Everything,
    /// Contains its first edges and not its last ones.
    Rectangle {
        /// Left edge, pixels of the finest level.
        x: f64,
        /// Upper edge, pixels of the finest level.
        y: f64,
        /// Pixels of the finest level.
        width: f64,
        /// Pixels of the finest level.
        height: f64,
    },
    /// Outlines with holes; a point in any of them belongs.
    Outlines(Vec<Vec<Vec<Point>>>),
}

impl std::str::FromStr for SlideRegion {
    type Err = String;

    /// `x,y,width,height`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: Vec<f64> = text.split(',').filter_map(|n| n.trim().parse().ok()).collect();
        match numbers[..] {
            [x, y, width, height]
                if numbers.iter().all(|n| n.is_finite()) && width > 0.0 && height > 0.0 =>
            {
                Ok(Self::Rectangle { x, y, width, height })
            }
            _ => Err(format!("'{text}' is no rectangle; give x,y,width,height in pixels")),
        }
    }
}

impl SlideRegion {
    /// Polygons of a GeoJSON file, such as QuPath's annotations.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is none or holds no polygon.
    pub fn from_geojson(text: &str) -> Result<Self> {
        let outlines = polygons(text)?;
        let points: usize = outlines.iter().flatten().map(Vec::len).sum();
        if points == 0 {
            return Err(Error::malformed("The region holds no polygon"));
        }
        if points > MAX_POINTS {
            return Err(Error::limit(format!(
                "The region has {points} corners; {MAX_POINTS} are the limit"
            )));
        }
        Ok(Self::Outlines(outlines))
    }

    /// Whether a point belongs.
    #[must_use]
    pub fn holds(&self, px: f64, py: f64) -> bool {
        match self {
            Self::Everything => true,
            Self::Rectangle { x, y, width, height } => {
                px >= *x && py >= *y && px < x + width && py < y + height
            }
            // A point in a hole lies inside two rings, which is an even number.
            Self::Outlines(all) => all
                .iter()
                .any(|rings| rings.iter().filter(|ring| is_inside(ring, px, py)).count() % 2 == 1),
        }
    }

    /// Whether a rectangle may hold a point of it.
    #[must_use]
    pub fn touches(&self, bounds: &SlideBounds) -> bool {
        match self {
            Self::Everything => true,
            Self::Rectangle { x, y, width, height } => {
                let own = SlideBounds { left: *x, top: *y, right: x + width, bottom: y + height };
                own.intersects(bounds)
            }
            Self::Outlines(all) => {
                for outline in all.iter().filter_map(|rings| rings.first()) {
                    let mut own = SlideBounds {
                        left: f64::MAX,
                        top: f64::MAX,
                        right: f64::MIN,
                        bottom: f64::MIN,
                    };
                    for point in outline {
                        own.left = own.left.min(point.x);
                        own.top = own.top.min(point.y);
                        own.right = own.right.max(point.x);
                        own.bottom = own.bottom.max(point.y);
                    }
                    if own.intersects(bounds) {
                        return true;
                    }
                }
                false
            }
        }
    }
}

/// Even-odd rule: whether a ray to the right crosses the ring an odd number of times.
fn is_inside(ring: &[Point], x: f64, y: f64) -> bool {
    let mut inside = false;
    for (index, a) in ring.iter().enumerate() {
        let b = ring[(index + 1) % ring.len()];
        if (a.y > y) != (b.y > y) && x < (b.x - a.x) * (y - a.y) / (b.y - a.y) + a.x {
            inside = !inside;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(left: f64, top: f64, right: f64, bottom: f64) -> SlideBounds {
        SlideBounds { left, top, right, bottom }
    }

    #[test]
    fn rectangles_and_polygons_with_holes_hold_what_lies_in_them() {
        let rectangle: SlideRegion = "10, 20,30,40".parse().expect("rectangle");
        assert!(
            rectangle.holds(10.0, 20.0)
                && !rectangle.holds(40.0, 20.0)
                && rectangle.touches(&bounds(39.0, 0.0, 50.0, 21.0))
        );
        for bad in ["1,2,3", "1,2,0,4", "a,b,c,d", "1,2,3,nan"] {
            assert!(bad.parse::<SlideRegion>().is_err(), "{bad}");
        }
        let text = r#"{"type":"Feature","properties":{},"geometry":{"type":"Polygon","coordinates":
            [[[0,0],[10,0],[10,10],[0,10],[0,0]],[[4,4],[6,4],[6,6],[4,6],[4,4]]]}}"#;
        let polygon = SlideRegion::from_geojson(text).expect("polygon");
        assert!(polygon.holds(2.0, 2.0) && !polygon.holds(5.0, 5.0) && !polygon.holds(11.0, 5.0));
        assert!(
            polygon.touches(&bounds(9.0, 9.0, 20.0, 20.0))
                && !polygon.touches(&bounds(11.0, 0.0, 20.0, 20.0))
        );
        for bad in ["{}", "no", r#"{"type":"Point","coordinates":[1,2]}"#] {
            assert!(SlideRegion::from_geojson(bad).is_err(), "{bad}");
        }
    }
}
