//! Which outlines of a file are no nuclei: regions of interest, parents, tiles, classes that QuPath
//! ignores.
//!
//! A region that encloses at least two others is no nucleus when
//! - it is an annotation and encloses detections, or
//! - it has another class (or lies in another layer) than all that it encloses, and its class has
//!   fewer regions than it encloses, or
//! - it encloses at least three, and its area is more than 20 times their median area.
//!
//! Other regions that enclose several are kept, with a note.

use super::bounds::{BoundsIndex, OutlineBounds};
use super::read::{MAX_NAMED, Outline, OutlineKind};
use crate::error::{Warnings, counted, listed};
use crate::raster::polygons_hold;

/// Fewest enclosed regions.
const LEAST_ENCLOSED: usize = 2;
/// Fewest enclosed regions where the area alone decides.
const LEAST_ENCLOSED_BY_AREA: usize = 3;
/// An area of more than this many times the median of the enclosed ones is no nucleus.
const AREA_RATIO: f64 = 20.0;
/// Most pairs of regions and corners that are compared before the search for enclosing regions
/// stops.
const MAX_COMPARISONS: u64 = 20_000_000_000;
/// Most enclosed regions that are counted; more do not change the decision.
const MAX_ENCLOSED: usize = 10_000;

/// For each object whether it is a nucleus, and why others are not.
pub(super) fn which_are_nuclei(objects: &[Outline]) -> (Vec<bool>, Warnings) {
    let mut notes = Warnings::default();
    let mut is_nucleus = vec![true; objects.len()];
    let mut ignored: Vec<&str> = Vec::new();
    let mut ignored_count = 0;
    let mut tiles = 0;
    let mut cores = 0;
    let mut cells = 0;
    for (object, is_nucleus) in objects.iter().zip(&mut is_nucleus) {
        let class = object.class.as_deref().unwrap_or_default();
        if class.ends_with('*') {
            *is_nucleus = false;
            ignored_count += 1;
            if !ignored.contains(&class) && ignored.len() <= MAX_NAMED {
                ignored.push(class);
            }
            continue;
        }
        match object.kind {
            OutlineKind::Tile => tiles += 1,
            OutlineKind::Core => cores += 1,
            OutlineKind::Cell => cells += 1,
            OutlineKind::Annotation | OutlineKind::Detection => {}
        }
        *is_nucleus = !matches!(object.kind, OutlineKind::Tile | OutlineKind::Core);
    }
    if ignored_count > 0 {
        notes.note(format!(
            "{} a class that ends in '*' ({}), which marks no objects: not taken for nuclei",
            counted(ignored_count, "region has", "regions have"),
            listed(&ignored, MAX_NAMED)
        ));
    }
    if tiles > 0 {
        notes.note(format!("{} not taken for nuclei", counted(tiles, "tile is", "tiles are")));
    }
    if cores > 0 {
        notes.note(format!(
            "{} of a tissue microarray not taken for nuclei",
            counted(cores, "core", "cores")
        ));
    }
    if cells > 0 {
        notes.note(format!(
            "{} no nucleus; the cell's border is taken for it",
            counted(cells, "cell states", "cells state")
        ));
    }
    set_enclosing_aside(objects, &mut is_nucleus, &mut notes);
    (is_nucleus, notes)
}

/// What a region encloses.
struct Enclosed {
    areas: Vec<f64>,
    has_detections: bool,
    has_own_class: bool,
}

fn set_enclosing_aside(objects: &[Outline], is_nucleus: &mut [bool], notes: &mut Warnings) {
    let mut numbers = Vec::new();
    let mut bounds = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        if is_nucleus[number] {
            numbers.push(number);
            bounds.push(OutlineBounds::of(object.polygons.iter().flatten().flatten()));
        }
    }
    let mut class_sizes = std::collections::HashMap::new();
    for &number in &numbers {
        *class_sizes.entry(objects[number].class.as_deref()).or_insert(0usize) += 1;
    }
    let index = BoundsIndex::new(bounds);
    let mut set_aside = Vec::new();
    let mut doubtful = Vec::new();
    let mut comparisons_left = MAX_COMPARISONS;
    for (place, &number) in numbers.iter().enumerate() {
        let object = &objects[number];
        let near = index.meeting(index.get(place));
        let corners: usize = object.polygons.iter().flatten().map(Vec::len).sum();
        let comparisons = near.len() + near.len().min(MAX_ENCLOSED) * corners;
        let Some(left) = comparisons_left.checked_sub(comparisons as u64) else {
            notes.note(
                "Too many regions overlap to look for those that enclose others: the rest is taken \
                 for nuclei",
            );
            break;
        };
        comparisons_left = left;
        let enclosed = enclosed_by(objects, &numbers, &index, place, &near);
        let count = enclosed.areas.len();
        if count < LEAST_ENCLOSED {
            continue;
        }
        let is_parent = object.kind == OutlineKind::Annotation && enclosed.has_detections;
        let is_other_layer =
            !enclosed.has_own_class && class_sizes[&object.class.as_deref()] < count;
        let is_large =
            count >= LEAST_ENCLOSED_BY_AREA && object.area() > AREA_RATIO * median(enclosed.areas);
        let label = format!("{} ({count} inside)", object.label());
        if is_parent || is_other_layer || is_large {
            set_aside.push(label);
            is_nucleus[number] = false;
        } else {
            doubtful.push(label);
        }
    }
    if !set_aside.is_empty() {
        notes.note(format!(
            "{} others: taken for a region of interest, not for a nucleus ({})",
            counted(set_aside.len(), "region encloses", "regions enclose"),
            listed(&set_aside, MAX_NAMED)
        ));
    }
    if !doubtful.is_empty() {
        notes.note(format!(
            "{} several others: taken for a nucleus all the same ({})",
            counted(doubtful.len(), "region encloses", "regions enclose"),
            listed(&doubtful, MAX_NAMED)
        ));
    }
}

/// What the region at `place` encloses of those at the places `near`.
fn enclosed_by(
    objects: &[Outline],
    numbers: &[usize],
    index: &BoundsIndex,
    place: usize,
    near: &[usize],
) -> Enclosed {
    let object = &objects[numbers[place]];
    let mut enclosed = Enclosed { areas: Vec::new(), has_detections: false, has_own_class: false };
    let own = index.get(place);
    for &other_place in near {
        let other = &objects[numbers[other_place]];
        if other_place == place || !own.holds(index.get(other_place)) {
            continue;
        }
        let corner = other.polygons.first().and_then(|polygon| polygon.first()?.first());
        let is_inside = corner.is_some_and(|p| polygons_hold(&object.polygons, p.x, p.y));
        // Of two outlines of the same object neither encloses the other.
        if !is_inside || other.area() > 0.9 * object.area() {
            continue;
        }
        enclosed.areas.push(other.area());
        enclosed.has_detections |= other.kind != OutlineKind::Annotation;
        enclosed.has_own_class |= other.class == object.class;
        if enclosed.areas.len() >= MAX_ENCLOSED {
            break;
        }
    }
    enclosed
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlines::test_shapes::square;
    use crate::raster::Ring;

    fn object(kind: OutlineKind, class: &str, ring: Ring) -> Outline {
        let class = (!class.is_empty()).then(|| class.to_owned());
        Outline { class, ..Outline::of_ring(kind, ring) }
    }

    fn nuclei(kind: OutlineKind, class: &str, count: u32) -> Vec<Outline> {
        (0..count)
            .map(|i| object(kind, class, square(10.0 + 15.0 * f64::from(i), 10.0, 10.0)))
            .collect()
    }

    /// Whether the first object is a nucleus, and the number of notes.
    fn first_is_nucleus(first: Outline, others: Vec<Outline>) -> (bool, usize) {
        let objects: Vec<Outline> = std::iter::once(first).chain(others).collect();
        let (is_nucleus, notes) = which_are_nuclei(&objects);
        assert!(is_nucleus[1..].iter().all(|&is| is));
        (is_nucleus[0], notes.notes.len())
    }

    #[test]
    fn parents_regions_of_interest_and_large_regions_are_no_nuclei() {
        use OutlineKind::{Annotation, Detection};
        let large = square(0., 0., 250.);
        let small = square(5., 5., 45.);
        for (first, others, expected) in [
            (object(Annotation, "", large.clone()), nuclei(Detection, "", 2), (false, 1)),
            (object(Annotation, "ROI", small.clone()), nuclei(Annotation, "n", 2), (false, 1)),
            (object(Annotation, "n", large.clone()), nuclei(Annotation, "n", 9), (false, 1)),
            // Kept with a note: two inside, of the same kind and class.
            (object(Annotation, "n", small), nuclei(Annotation, "n", 2), (true, 1)),
            // One inside may be a nucleolus.
            (object(Annotation, "n", large.clone()), nuclei(Annotation, "n", 1), (true, 0)),
            (object(Annotation, "n", square(300., 0., 9.)), nuclei(Annotation, "n", 9), (true, 0)),
        ] {
            assert_eq!(first_is_nucleus(first, others), expected);
        }
    }

    #[test]
    fn nuclei_with_nucleoli_in_a_layer_of_their_own_stay() {
        let mut objects = Vec::new();
        for i in 0..10 {
            let x = 100.0 * f64::from(i);
            objects.push(object(OutlineKind::Annotation, "nuclei", square(x, 0., 40.)));
        }
        for i in 0..10 {
            for y in [5.0, 15.0] {
                let x = 100.0 * f64::from(i) + 5.0;
                objects.push(object(OutlineKind::Annotation, "nucleoli", square(x, y, 5.)));
            }
        }
        let (is_nucleus, notes) = which_are_nuclei(&objects);
        assert!(is_nucleus.iter().all(|&is| is));
        assert_eq!(notes.notes.len(), 1);
    }

    #[test]
    fn tiles_cores_and_ignored_classes_are_named() {
        let objects = [
            object(OutlineKind::Tile, "", square(0., 0., 9.)),
            object(OutlineKind::Core, "", square(20., 0., 9.)),
            object(OutlineKind::Annotation, "Ignore*", square(40., 0., 9.)),
            object(OutlineKind::Cell, "", square(60., 0., 9.)),
        ];
        let (is_nucleus, notes) = which_are_nuclei(&objects);
        assert_eq!(is_nucleus, [false, false, false, true]);
        assert_eq!(notes.notes.len(), 4);
    }
}
