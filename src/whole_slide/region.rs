//! The part of a slide that is segmented.

#[cfg(not(target_arch = "wasm32"))]
use std::collections::BTreeSet;

#[cfg(not(target_arch = "wasm32"))]
use crate::error::{Error, Result, Warnings, counted};
#[cfg(not(target_arch = "wasm32"))]
use crate::outlines::{difference, read_outlines, united};
use crate::raster::{Mask, Plane, Point, Polygon, Ring, fill_rings, rings_hold};
use crate::slide::SlideBounds;

/// Most corners of all outlines.
#[cfg(not(target_arch = "wasm32"))]
const MAX_POINTS: usize = 1_000_000;
/// QuPath's class of what is left out.
#[cfg(not(target_arch = "wasm32"))]
const IGNORED_CLASS: &str = "Ignore*";

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
    /// Outlines with holes. A point in any of them belongs, unless it lies in an ignored one.
    Outlines {
        /// What belongs.
        inside: Vec<RegionPart>,
        /// What is cut out.
        ignored: Vec<RegionPart>,
    },
}

/// A polygon and the rectangle around it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionPart {
    rings: Polygon,
    bounds: SlideBounds,
}

impl RegionPart {
    #[cfg(not(target_arch = "wasm32"))]
    fn new(rings: Polygon) -> Self {
        let [mut left, mut top] = [f64::MAX; 2];
        let [mut right, mut bottom] = [f64::MIN; 2];
        for point in rings.iter().flatten() {
            left = left.min(point.x);
            top = top.min(point.y);
            right = right.max(point.x);
            bottom = bottom.max(point.y);
        }
        Self { rings, bounds: SlideBounds { left, top, right, bottom } }
    }

    fn holds(&self, x: f64, y: f64) -> bool {
        let SlideBounds { left, top, right, bottom } = self.bounds;
        (left..=right).contains(&x) && (top..=bottom).contains(&y) && rings_hold(&self.rings, x, y)
    }
}

impl std::str::FromStr for SlideRegion {
    type Err = String;

    /// `x,y,width,height`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let refused = |why: &str| {
            Err(format!("'{text}' is no rectangle: {why}; give x,y,width,height in pixels"))
        };
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let Ok(parts) = <[&str; 4]>::try_from(parts) else {
            return refused("it has not four numbers with commas between them");
        };
        let mut numbers = [0.0; 4];
        for (number, part) in numbers.iter_mut().zip(parts) {
            match part.parse::<f64>() {
                Ok(value) if value.is_finite() => *number = value,
                _ => return refused(&format!("'{part}' is no number")),
            }
        }
        let [x, y, width, height] = numbers;
        if width <= 0.0 || height <= 0.0 {
            return refused("width and height must be above 0");
        }
        Ok(Self::Rectangle { x, y, width, height })
    }
}

impl SlideRegion {
    /// The polygons of a file of outlines, such as QuPath's annotations as GeoJSON. Those of the
    /// class "Ignore*" are cut out of the others.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is none or holds no polygon, [`Error::Limit`] for too many
    /// corners.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_outlines(bytes: &[u8]) -> Result<(Self, Warnings)> {
        let outlines = read_outlines(bytes)?;
        let mut notes = outlines.notes;
        let mut inside = Vec::new();
        let mut ignored = Vec::new();
        let mut resembling = BTreeSet::new();
        let mut points = 0;
        for object in outlines.objects {
            let class = object.class.unwrap_or_default();
            let is_ignored = class.eq_ignore_ascii_case(IGNORED_CLASS);
            let lower = class.to_lowercase();
            if !is_ignored && (lower.starts_with("ignore") || lower.starts_with("exclu")) {
                resembling.insert(class);
            }
            for polygon in object.polygons {
                points += polygon.iter().map(Vec::len).sum::<usize>();
                let part = RegionPart::new(polygon);
                if is_ignored { ignored.push(part) } else { inside.push(part) }
            }
        }
        if inside.is_empty() {
            let found = if ignored.is_empty() {
                "The file holds no polygon, so nothing of the slide lies inside".to_owned()
            } else {
                format!("The file holds polygons of the class {IGNORED_CLASS} only")
            };
            let why: String = notes.notes.iter().map(|note| format!(". {note}")).collect();
            return Err(Error::malformed(format!("{found}{why}")));
        }
        if points > MAX_POINTS {
            return Err(Error::limit(format!(
                "The region has {points} corners; {MAX_POINTS} are the limit"
            )));
        }
        for class in resembling {
            notes.note(format!(
                "Polygons of the class '{class}' belong to the region like all others; those of \
                 the class {IGNORED_CLASS} are cut out"
            ));
        }
        if !ignored.is_empty() {
            notes.note(format!(
                "{} cut out of the region: class {IGNORED_CLASS}",
                counted(ignored.len(), "polygon is", "polygons are")
            ));
        }
        Ok((Self::Outlines { inside, ignored }, notes))
    }

    /// Refuses a region of which nothing lies in a slide of a size.
    ///
    /// # Errors
    /// [`Error::Mismatch`] that names both extents.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn check_within(&self, width: usize, height: usize) -> Result<()> {
        if self.touches(&SlideBounds::of_size(width, height)) {
            return Ok(());
        }
        let mut extent: Option<SlideBounds> = None;
        match self {
            Self::Everything => {}
            Self::Rectangle { x, y, width, height } => {
                extent =
                    Some(SlideBounds { left: *x, top: *y, right: x + width, bottom: y + height });
            }
            Self::Outlines { inside, .. } => {
                for part in inside {
                    let own = part.bounds;
                    let all = extent.get_or_insert(own);
                    all.left = all.left.min(own.left);
                    all.top = all.top.min(own.top);
                    all.right = all.right.max(own.right);
                    all.bottom = all.bottom.max(own.bottom);
                }
            }
        }
        let place = extent.map_or_else(String::new, |e| {
            format!(
                " It reaches from {:.0}, {:.0} to {:.0}, {:.0}",
                e.left, e.top, e.right, e.bottom
            )
        });
        Err(Error::mismatch(format!(
            "The region does not touch the slide, which has {width} × {height} pixels.{place}; is \
             it of another slide, or in micrometres instead of pixels?"
        )))
    }

    /// The part that belongs, as valid polygons; none where everything does.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn polygons(&self) -> Option<Vec<Polygon>> {
        match self {
            Self::Everything => None,
            Self::Rectangle { x, y, width, height } => {
                Some(vec![vec![rectangle(*x, *y, *width, *height)]])
            }
            Self::Outlines { inside, ignored } => {
                let rings = |parts: &[RegionPart]| -> Vec<Polygon> {
                    parts.iter().map(|part| part.rings.clone()).collect()
                };
                Some(difference(&united(&rings(inside)), &rings(ignored)))
            }
        }
    }

    /// The part of a mask that belongs: each of its pixels spans `cell` pixels of the finest level
    /// in x and y, and belongs where its centre does.
    pub(super) fn mask(&self, columns: usize, rows: usize, cell: [f64; 2]) -> Mask {
        let mut mask = Plane::filled(columns, rows, matches!(self, Self::Everything));
        let mut fill = |rings: &[Ring], is_inside: bool| {
            let mut scaled: Polygon = Vec::with_capacity(rings.len());
            for ring in rings {
                let place = |p: &Point| Point { x: p.x / cell[0], y: p.y / cell[1] };
                scaled.push(ring.iter().map(place).collect());
            }
            fill_rings(&scaled, columns, rows, |row, first, end| {
                mask.row_mut(row)[first..end].fill(is_inside);
            });
        };
        match self {
            Self::Everything => {}
            Self::Rectangle { x, y, width, height } => {
                fill(&[rectangle(*x, *y, *width, *height)], true);
            }
            Self::Outlines { inside, ignored } => {
                inside.iter().for_each(|part| fill(&part.rings, true));
                ignored.iter().for_each(|part| fill(&part.rings, false));
            }
        }
        mask
    }

    /// Whether a point belongs.
    #[must_use]
    pub fn holds(&self, px: f64, py: f64) -> bool {
        match self {
            Self::Everything => true,
            Self::Rectangle { x, y, width, height } => {
                px >= *x && py >= *y && px < x + width && py < y + height
            }
            Self::Outlines { inside, ignored } => {
                inside.iter().any(|part| part.holds(px, py))
                    && !ignored.iter().any(|part| part.holds(px, py))
            }
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
            Self::Outlines { inside, .. } => {
                inside.iter().any(|part| part.bounds.intersects(bounds))
            }
        }
    }
}

fn rectangle(x: f64, y: f64, width: f64, height: f64) -> Ring {
    let corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
    corners.map(Point::from).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(left: f64, top: f64, right: f64, bottom: f64) -> SlideBounds {
        SlideBounds { left, top, right, bottom }
    }

    fn region(text: &str) -> SlideRegion {
        SlideRegion::from_outlines(text.as_bytes()).expect("region").0
    }

    #[test]
    fn rectangles_hold_what_lies_in_them() {
        let rectangle: SlideRegion = "10, 20,30,40".parse().expect("rectangle");
        assert!(
            rectangle.holds(10.0, 20.0)
                && !rectangle.holds(40.0, 20.0)
                && rectangle.touches(&bounds(39.0, 0.0, 50.0, 21.0))
        );
        assert!("-5,-5,10,1e3".parse::<SlideRegion>().is_ok());
        for bad in [
            "1,2,3",
            "1,2,0,4",
            "1,2,3,-4",
            "a,b,c,d",
            "1,2,3,nan",
            "1,2,3,inf",
            "10,x,20,30,40",
            "1;2;3;4",
            "1,2,3,4,5",
            "1,2,,3,4",
            "1,2,3,4,",
            "",
            ",,,",
            "1 2 3 4",
            "10x20",
        ] {
            assert!(bad.parse::<SlideRegion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn polygons_hold_what_lies_in_them_and_in_no_hole() {
        let polygon = region(
            r#"{"type":"Feature","properties":{},"geometry":{"type":"Polygon","coordinates":
            [[[0,0],[10,0],[10,10],[0,10],[0,0]],[[4,4],[6,4],[6,6],[4,6],[4,4]]]}}"#,
        );
        assert!(polygon.holds(2.0, 2.0) && !polygon.holds(5.0, 5.0) && !polygon.holds(11.0, 5.0));
        assert!(
            polygon.touches(&bounds(9.0, 9.0, 20.0, 20.0))
                && !polygon.touches(&bounds(11.0, 0.0, 20.0, 20.0))
        );
        assert!(polygon.check_within(5, 5).is_ok());
        for bad in ["{}", "no", r#"{"type":"Point","coordinates":[1,2]}"#] {
            assert!(SlideRegion::from_outlines(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn ignored_polygons_are_cut_out_with_a_note() {
        let square = |x: u32, class: &str| {
            format!(
                r#"{{"type":"Feature","properties":{{"classification":{{"name":"{class}"}}}},
                "geometry":{{"type":"Polygon","coordinates":
                [[[{x},0],[10,0],[10,10],[{x},10]]]}}}}"#
            )
        };
        let text = format!("[{},{}]", square(0, "Tumor"), square(5, "Ignore*"));
        let (region, notes) = SlideRegion::from_outlines(text.as_bytes()).expect("region");
        assert!(region.holds(2.0, 5.0) && !region.holds(7.0, 5.0));
        let polygons = region.polygons().expect("polygons");
        assert!((crate::raster::polygon_area(&polygons[0]) - 50.0).abs() < 1e-9);
        assert_eq!(notes.notes.len(), 1);
        assert!(SlideRegion::from_outlines(square(0, "ignore*").as_bytes()).is_err());
        let (_, notes) =
            SlideRegion::from_outlines(square(0, "Exclude").as_bytes()).expect("region");
        assert!(notes.notes[0].contains("'Exclude' belong"), "{notes:?}");
    }

    #[test]
    fn a_region_beside_the_slide_is_refused_with_both_extents() {
        let far: SlideRegion = "5000,6000,10,10".parse().expect("rectangle");
        let message = far.check_within(256, 128).expect_err("beside").to_string();
        assert!(message.contains("256 × 128") && message.contains("5000, 6000"), "{message}");
    }
}
