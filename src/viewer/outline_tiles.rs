//! Outlines of a tile as numbers, for drawing at the screen's own resolution. An object belongs to
//! the tile that holds its centroid, so that every object lies in one tile of a level.
//!
//! A ring is a record `[id, look, n, x1, y1, … xn, yn]`; an object too small for the level is a
//! point, `[id, look, 0, x, y]`. Coordinates are in pixels of the finest level. `look` is the
//! status, and 8 times one more than the colour of the type (0xRRGGBB), 0 for none.

use std::collections::BTreeSet;

use super::tile::{TILE_PX, TileKey, level_count, no_such_tile};
use crate::error::Result;
use crate::instances::{Nucleus, douglas_peucker};
use crate::model::NucleusType;
use crate::raster::{Point, Polygon};
use crate::review::{MarkStatus, ReviewObject};
use crate::slide::SlideBounds;

/// Largest distance of a dropped vertex from its outline, pixels of the level.
const TOLERANCE_PX: f64 = 0.35;
/// Objects whose larger side is shorter are points, pixels of the level.
const MIN_SIDE_PX: f64 = 3.0;
/// Side of the squares that show one point of each look at most, pixels of the level: a tile of
/// any number of objects stays small.
const POINT_CELL_PX: f64 = 2.0;

/// Number of statuses.
const STATUSES: u32 = 8;

/// How an outline is drawn; the numbers are those of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutlineStatus {
    /// A nucleus of a model.
    Model = 0,
    /// A nucleus of a model that a person accepted.
    Accepted = 1,
    /// A nucleus that a person added.
    Added = 2,
    /// An object that a person rejected.
    Rejected = 3,
    /// A nucleus of a model, found with older settings.
    Older = 4,
    /// One of two results that are compared: an object of both.
    Matched = 5,
    /// An object of the second result alone.
    Missed = 6,
    /// An object of the first result alone.
    Extra = 7,
}

impl OutlineStatus {
    /// Whether outlines have the colour of the type. Older nuclei may be those of another model;
    /// of two results that are compared the difference is shown.
    #[must_use]
    pub fn shows_type(self) -> bool {
        matches!(self, Self::Model | Self::Accepted | Self::Added)
    }

    /// Of a mark; none if it is not shown.
    #[must_use]
    pub fn of_mark(status: MarkStatus) -> Option<Self> {
        match status {
            MarkStatus::Accepted => Some(Self::Accepted),
            MarkStatus::Added => Some(Self::Added),
            MarkStatus::Rejected => Some(Self::Rejected),
            MarkStatus::Replaced => None,
        }
    }
}

/// An object to be drawn.
#[derive(Debug, Clone)]
pub struct OutlineObject {
    /// As of [`ReviewObject::id`].
    pub id: u32,
    /// How it is drawn.
    pub status: OutlineStatus,
    /// Red, green, blue of its type; none where the model tells none apart.
    pub colour: Option<[u8; 3]>,
    /// Its parts, in pixels of the finest level.
    pub polygons: Vec<Polygon>,
    /// Pixels of the finest level.
    pub centroid: Point,
}

impl OutlineObject {
    /// Of an object of a review; `of_model` is the status of a nucleus without a decision, `types`
    /// are those of the model. None if it is not shown.
    #[must_use]
    pub fn of_review(
        object: ReviewObject,
        of_model: OutlineStatus,
        types: &[NucleusType],
    ) -> Option<Self> {
        let status = match object.status {
            None => of_model,
            Some(status) => OutlineStatus::of_mark(status)?,
        };
        let (x, y) = object.nucleus.centroid;
        let Nucleus { polygons, class, .. } = object.nucleus;
        let colour = NucleusType::of(types, class).map(|of| of.colour);
        Some(Self { id: object.id, status, colour, polygons, centroid: Point { x, y } })
    }

    /// Status and type in one number.
    fn look(&self) -> u32 {
        let status = self.status as u32;
        match self.colour {
            Some([red, green, blue]) if self.status.shows_type() => {
                status + STATUSES * (u32::from_be_bytes([0, red, green, blue]) + 1)
            }
            _ => status,
        }
    }
}

/// The records of a tile. `size` is the image's width and height; `objects` are all that may lie in
/// the tile, such as those near [`outline_tile_bounds`].
///
/// # Errors
/// [`Error::Mismatch`](crate::error::Error::Mismatch) for a tile that the image has not.
pub fn outline_tile(
    size: (usize, usize),
    objects: impl Iterator<Item = OutlineObject>,
    key: TileKey,
) -> Result<Vec<f64>> {
    let bounds = outline_tile_bounds(size, key)?;
    let step = f64::from(1u32 << key.level);
    let mut records = Vec::new();
    let mut cells = BTreeSet::new();
    for object in objects {
        // A drawn outline may have its centroid outside the image; it lies in a tile at the edge.
        let x = object.centroid.x.clamp(0.0, (size.0 as f64).next_down());
        let y = object.centroid.y.clamp(0.0, (size.1 as f64).next_down());
        if !(x >= bounds.left && x < bounds.right && y >= bounds.top && y < bounds.bottom) {
            continue;
        }
        let look = object.look();
        let head = [f64::from(object.id), f64::from(look)];
        let extent = SlideBounds::of_polygons(&object.polygons);
        if extent.width().max(extent.height()) < MIN_SIDE_PX * step {
            let cell = |position: f64| (position / (POINT_CELL_PX * step)) as u64;
            if cells.insert((look, cell(x), cell(y))) {
                records.extend(head);
                records.extend([0.0, x, y]);
            }
            continue;
        }
        for ring in object.polygons.iter().flatten() {
            let ring = douglas_peucker(ring, TOLERANCE_PX * step);
            if ring.len() < 3 {
                continue;
            }
            records.extend(head);
            records.push(ring.len() as f64);
            for point in &ring {
                records.extend([point.x, point.y]);
            }
        }
    }
    Ok(records)
}

/// The part of the image whose objects lie in a tile, pixels of the finest level.
///
/// # Errors
/// [`Error::Mismatch`](crate::error::Error::Mismatch) for a tile that the image has not.
pub fn outline_tile_bounds(size: (usize, usize), key: TileKey) -> Result<SlideBounds> {
    if key.level >= level_count(size.0, size.1) {
        return Err(no_such_tile());
    }
    let side = (TILE_PX << key.level) as f64;
    let (left, top) = (f64::from(key.column) * side, f64::from(key.row) * side);
    if left >= size.0 as f64 || top >= size.1 as f64 {
        return Err(no_such_tile());
    }
    Ok(SlideBounds { left, top, right: left + side, bottom: top + side })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SIZE: (usize, usize) = (1000, 700);

    fn circle(id: u32, x: f64, y: f64, radius: f64) -> OutlineObject {
        let angle = |i: u32| f64::from(i) / 64.0 * std::f64::consts::TAU;
        let ring = (0..64)
            .map(|i| Point { x: x + radius * angle(i).cos(), y: y + radius * angle(i).sin() })
            .collect();
        let centroid = Point { x, y };
        let (status, polygons) = (OutlineStatus::Model, vec![vec![ring]]);
        OutlineObject { id, status, colour: None, polygons, centroid }
    }

    fn keys(level: u32) -> Vec<TileKey> {
        let side = TILE_PX << level;
        let mut keys = Vec::new();
        for row in 0..SIZE.1.div_ceil(side) as u32 {
            for column in 0..SIZE.0.div_ceil(side) as u32 {
                keys.push(TileKey { level, row, column });
            }
        }
        keys
    }

    /// Id, status and number of vertices of each record.
    fn heads(records: &[f64]) -> Vec<(u32, u8, usize)> {
        let mut heads = Vec::new();
        let mut at = 0;
        while at < records.len() {
            let n = records[at + 2] as usize;
            heads.push((records[at] as u32, records[at + 1] as u8, n));
            at += 3 + 2 * n.max(1);
        }
        assert_eq!(at, records.len());
        heads
    }

    #[test]
    fn every_object_lies_in_one_tile_of_a_level() {
        let mut objects = Vec::new();
        for i in 0..100u32 {
            let (x, y) = (f64::from(i % 10) * 110.0 - 10.0, f64::from(i / 10) * 80.0 - 10.0);
            objects.push(circle(i, x, y, 16.0));
        }
        objects.push(circle(1 << 31, 256.0, 512.0, 16.0));
        for level in 0..3 {
            let mut seen = BTreeMap::new();
            for key in keys(level) {
                let tile = outline_tile(SIZE, objects.iter().cloned(), key).expect("tile");
                for (id, status, n) in heads(&tile) {
                    *seen.entry(id).or_insert(0) += 1;
                    assert!(status == 0 && (5..64).contains(&n), "{n} vertices");
                }
            }
            assert_eq!(seen.len(), 101);
            assert!(seen.values().all(|count| *count == 1));
        }
        assert!(outline_tile_bounds(SIZE, TileKey { level: 9, row: 0, column: 0 }).is_err());
        assert!(outline_tile_bounds(SIZE, TileKey { level: 0, row: 3, column: 0 }).is_err());
    }

    #[test]
    fn holes_and_parts_are_records_and_coarse_levels_have_fewer_vertices() {
        let mut object = circle(7, 100.0, 100.0, 40.0);
        let hole = circle(7, 100.0, 100.0, 10.0).polygons.remove(0).remove(0);
        object.polygons[0].push(hole);
        object.polygons.extend(circle(7, 180.0, 100.0, 12.0).polygons);
        object.status = OutlineStatus::Older;
        let tile = |level| {
            let key = TileKey { level, row: 0, column: 0 };
            outline_tile(SIZE, std::iter::once(object.clone()), key).expect("tile")
        };
        assert_eq!(heads(&tile(0)).len(), 3);
        assert!(heads(&tile(0)).iter().all(|(id, status, _)| (*id, *status) == (7, 4)));
        assert!(tile(2).len() < tile(0).len());
        // Every vertex is one of the outline's.
        let records = tile(0);
        let distance = (records[3] - 100.0).hypot(records[4] - 100.0);
        assert!((distance - 40.0).abs() < 1e-9);
    }

    #[test]
    fn the_look_holds_status_and_colour_of_the_type() {
        let look =
            |status, colour| OutlineObject { status, colour, ..circle(1, 9.0, 9.0, 4.0) }.look();
        assert_eq!(look(OutlineStatus::Added, None), 2);
        assert_eq!(look(OutlineStatus::Model, Some([0, 0, 0])), 8);
        assert_eq!(look(OutlineStatus::Accepted, Some([1, 2, 255])), (0x01_02_ff + 1) * 8 + 1);
        assert_eq!(look(OutlineStatus::Rejected, Some([1, 2, 3])), 3);
    }

    #[test]
    fn small_objects_are_points_and_a_crowded_tile_stays_small() {
        let mut objects = Vec::new();
        for i in 0..90_000u32 {
            objects.push(circle(i, f64::from(i % 300) * 3.0, f64::from(i / 300) * 2.0, 1.0));
        }
        let mut rejected = circle(1 << 31, 300.0, 300.0, 1.0);
        rejected.status = OutlineStatus::Rejected;
        objects.push(rejected);
        let key = TileKey { level: 2, row: 0, column: 0 };
        let tile = heads(&outline_tile(SIZE, objects.into_iter(), key).expect("tile"));
        assert!(tile.iter().all(|(_, _, n)| *n == 0));
        assert!(tile.len() <= (256 / 2) * (256 / 2), "{}", tile.len());
        assert!(tile.contains(&(1 << 31, 3, 0)), "a decision is not hidden by others");
    }
}
