//! Negative regions: each is cut out of the regions beneath it, whatever the order of the file.
//!
//! It is cut out of every region that it overlaps, except those that lie inside it (95 % of their
//! area): an island in a hole stays. A negative region with nothing but islands beneath it is cut
//! out of those.

use super::bounds::{BoundsIndex, OutlineBounds};
use super::geometry::is_valid;
use super::read::Outline;
use super::repair::{common_area, without};
use crate::error::{Error, Result, Warnings, counted};
use crate::raster::{Polygon, Ring, doubled_area, polygon_area, rings_hold};

/// From this share of its area inside a negative region on, a region is an island in it.
const ISLAND_SHARE: f64 = 0.95;

/// Most pairs of a negative region and a polygon near to it that are compared.
const MAX_COMPARISONS: usize = 5_000_000;

/// A region to cut out.
pub(super) struct NegativeRegion {
    /// The object that it is a hole of, where the file states it.
    pub of: Option<usize>,
    pub ring: Ring,
}

/// A polygon among all objects.
#[derive(Clone, Copy)]
struct PolygonIndex {
    object: usize,
    polygon: usize,
}

/// Cuts negative regions out of objects. Objects of which nothing is left are removed.
///
/// # Errors
/// [`Error::Limit`] when too many regions overlap.
pub(super) fn cut_negative(
    objects: &mut Vec<Outline>,
    negative: &[NegativeRegion],
    notes: &mut Warnings,
) -> Result<()> {
    if negative.is_empty() {
        return Ok(());
    }
    let mut places = Vec::new();
    let mut bounds = Vec::new();
    for (object, outline) in objects.iter().enumerate() {
        for (polygon, rings) in outline.polygons.iter().enumerate() {
            places.push(PolygonIndex { object, polygon });
            bounds.push(OutlineBounds::of(rings.iter().flatten()));
        }
    }
    let index = BoundsIndex::new(bounds);
    // The negative regions that are cut out of each polygon.
    let mut cuts: Vec<Vec<usize>> = vec![Vec::new(); places.len()];
    let mut idle = 0;
    let mut comparisons_left = MAX_COMPARISONS;
    for (number, region) in negative.iter().enumerate() {
        let mut beneath = Vec::new();
        let mut islands = Vec::new();
        let near = index.meeting(&OutlineBounds::of(region.ring.iter()));
        match comparisons_left.checked_sub(near.len()) {
            Some(left) => comparisons_left = left,
            None => {
                return Err(Error::limit(
                    "The file has too many negative regions that overlap others",
                ));
            }
        }
        for candidate in near {
            let PolygonIndex { object, polygon } = places[candidate];
            if region.of.is_some_and(|of| of != object) {
                continue;
            }
            match relation(&objects[object].polygons[polygon], &region.ring) {
                Relation::Apart => {}
                Relation::Beneath => beneath.push(candidate),
                Relation::Island => islands.push(candidate),
            }
        }
        let cut = if beneath.is_empty() { islands } else { beneath };
        if cut.is_empty() {
            idle += 1;
        }
        for candidate in cut {
            cuts[candidate].push(number);
        }
    }
    for (place, cuts) in places.iter().zip(&cuts) {
        if cuts.is_empty() {
            continue;
        }
        let polygon = std::mem::take(&mut objects[place.object].polygons[place.polygon]);
        let rings: Vec<&Ring> = cuts.iter().map(|&number| &negative[number].ring).collect();
        let mut parts = cut_out(&polygon, &rings);
        // The first part takes the place of the polygon, so that the places of others stay.
        if !parts.is_empty() {
            objects[place.object].polygons[place.polygon] = parts.remove(0);
        }
        objects[place.object].polygons.extend(parts);
    }
    let before = objects.len();
    for object in objects.iter_mut() {
        object.polygons.retain(|polygon| !polygon.is_empty());
    }
    objects.retain(|object| !object.polygons.is_empty());
    if objects.len() < before {
        notes.note(format!(
            "{} wholly under negative regions: left out",
            counted(before - objects.len(), "region lies", "regions lie")
        ));
    }
    if idle > 0 {
        notes.note(format!(
            "{} no region beneath: nothing is cut out",
            counted(idle, "negative region has", "negative regions have")
        ));
    }
    Ok(())
}

enum Relation {
    Apart,
    Beneath,
    Island,
}

/// How a region lies to a negative one.
fn relation(polygon: &Polygon, negative: &Ring) -> Relation {
    if negative.iter().all(|p| rings_hold(polygon, p.x, p.y)) {
        return Relation::Beneath;
    }
    let common = common_area(polygon, &vec![negative.clone()]);
    if common <= 0.0 {
        return Relation::Apart;
    }
    let own = polygon_area(polygon);
    if doubled_area(negative).abs() / 2.0 >= ISLAND_SHARE * own && common >= ISLAND_SHARE * own {
        return Relation::Island;
    }
    Relation::Beneath
}

/// Negative regions become holes as they are where the result is valid.
fn cut_out(polygon: &Polygon, cuts: &[&Ring]) -> Vec<Polygon> {
    let mut with_holes = polygon.clone();
    with_holes.extend(cuts.iter().map(|&ring| ring.clone()));
    if is_valid(std::slice::from_ref(&with_holes)) {
        return vec![with_holes];
    }
    without(polygon, cuts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlines::read::OutlineKind;
    use crate::outlines::test_shapes::square;

    /// Areas of the squares that are left, and notes.
    fn cut(positive: &[Ring], negative: &[Ring]) -> (Vec<f64>, Warnings) {
        let mut objects: Vec<Outline> = positive
            .iter()
            .map(|ring| Outline::of_ring(OutlineKind::Annotation, ring.clone()))
            .collect();
        let negative: Vec<NegativeRegion> =
            negative.iter().map(|ring| NegativeRegion { of: None, ring: ring.clone() }).collect();
        let mut notes = Warnings::default();
        cut_negative(&mut objects, &negative, &mut notes).expect("few regions");
        assert!(objects.iter().all(|object| is_valid(&object.polygons)));
        (objects.iter().map(Outline::area).collect(), notes)
    }

    #[test]
    fn a_hole_belongs_to_what_lies_beneath_it_whatever_the_order() {
        let [a, b] = [square(0., 0., 40.), square(60., 60., 20.)];
        let hole = square(10., 10., 10.);
        let (areas, notes) = cut(&[a, b], &[hole]);
        assert_eq!((areas, notes.notes.len()), (vec![1500.0, 400.0], 0));
    }

    #[test]
    fn islands_stay_and_overlapping_holes_count_once() {
        let plate = square(0., 0., 40.);
        let island = square(12., 12., 4.);
        let (areas, _) = cut(&[plate.clone(), island], &[square(10., 10., 10.)]);
        assert_eq!(areas, [1500.0, 16.0]);
        let (areas, _) =
            cut(std::slice::from_ref(&plate), &[square(10., 10., 10.), square(15., 10., 10.)]);
        assert_eq!(areas, [1600.0 - 150.0]);
        let (areas, _) = cut(std::slice::from_ref(&plate), &[square(30., 30., 20.)]);
        assert_eq!(areas, [1500.0], "across the edge");
        let (areas, _) = cut(std::slice::from_ref(&plate), &[square(-5., 18., 50.)]);
        assert_eq!(areas, [40.0 * 18.0]);
        let (areas, notes) = cut(&[plate], &[square(100., 100., 9.)]);
        assert_eq!((areas, notes.notes.len()), (vec![1600.0], 1));
        let (areas, notes) = cut(&[square(1., 1., 4.)], &[square(0., 0., 9.)]);
        assert_eq!((areas.len(), notes.notes.len()), (0, 1), "nothing but an island");
    }

    #[test]
    fn too_many_overlaps_are_refused() {
        let mut objects = Vec::new();
        for _ in 0..2300 {
            objects.push(Outline::of_ring(OutlineKind::Annotation, square(0., 0., 1.)));
        }
        // They meet at a corner only, so that each comparison is quick.
        let mut negative = Vec::new();
        for _ in 0..2300 {
            negative.push(NegativeRegion { of: Some(usize::MAX), ring: square(1., 1., 1.) });
        }
        let result = cut_negative(&mut objects, &negative, &mut Warnings::default());
        assert!(matches!(result, Err(Error::Limit(_))));
    }

    #[test]
    fn a_region_that_is_cut_in_two_keeps_both_parts() {
        let mut bar = square(18., -5., 4.);
        bar[2].y = 60.0;
        bar[3].y = 60.0;
        let (areas, _) = cut(&[square(0., 0., 40.)], &[bar]);
        assert_eq!(areas, [1600.0 - 160.0]);
    }
}
