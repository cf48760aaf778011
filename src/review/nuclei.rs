//! The nuclei of a model together with the marks.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::mark::{MARK_BIT, Mark, MarkStatus, Marks, ReviewObject};
use super::region::NamedRegion;
use crate::instances::Nucleus;
use crate::model::NucleusType;
use crate::raster::{PixelGrid, Plane, Point, polygons_hold};
use crate::slide::SlideBounds;
use crate::whole_slide::{NucleusIndex, SlideNucleus};

/// Largest side of the grid on which overlaps are counted; larger outlines are counted coarsely.
const MAX_GRID_PX: f64 = 1024.0;

/// Numbers of the nuclei that marks hide. They follow from the nuclei and the marks alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HiddenNuclei(BTreeSet<u32>);

impl HiddenNuclei {
    /// A nucleus of the model is hidden when at least half of it lies inside marks, or when it
    /// holds at least half of a mark that counts.
    #[must_use]
    pub fn of(index: &NucleusIndex, marks: &Marks) -> Self {
        // Nuclei near each mark, so that the cost follows the number of marks.
        let mut near: BTreeMap<u32, (&SlideNucleus, Vec<&Mark>)> = BTreeMap::new();
        for mark in marks.values() {
            for (label, nucleus) in index.near(mark.bounds()) {
                near.entry(label).or_insert((nucleus, Vec::new())).1.push(mark);
            }
        }
        near.retain(|_, (nucleus, marks)| is_hidden(nucleus, marks));
        Self(near.into_keys().collect())
    }

    /// Whether marks hide a nucleus of the model.
    #[must_use]
    pub fn holds(&self, label: u32) -> bool {
        self.0.contains(&label)
    }

    /// How many are hidden.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_hidden(nucleus: &SlideNucleus, marks: &[&Mark]) -> bool {
    let grid = grid_around(&nucleus.bounds());
    let own = grid.mask(&nucleus.polygons);
    let mut in_marks = Plane::filled(own.width(), own.height(), false);
    let own_area = count(own.data());
    for mark in marks {
        let mask = grid.mask(&mark.nucleus.polygons);
        let mut shared = 0;
        for (pixel, is_both) in in_marks.data_mut().iter_mut().enumerate() {
            if own.data()[pixel] && mask.data()[pixel] {
                *is_both = true;
                shared += 1;
            }
        }
        let shared_px = f64::from(shared) * grid.step * grid.step;
        // A mark that lies beside the nucleus hides nothing, whatever its area is said to be.
        let is_held = shared > 0 && 2.0 * shared_px >= mark.nucleus.area_px as f64;
        if mark.status.counts() && is_held {
            return true;
        }
    }
    own_area > 0 && 2 * count(in_marks.data()) >= own_area
}

fn count(pixels: &[bool]) -> usize {
    pixels.iter().filter(|pixel| **pixel).count()
}

/// Cells of a pixel or more around an outline.
fn grid_around(bounds: &SlideBounds) -> PixelGrid {
    let side = bounds.width().max(bounds.height()).max(1.0);
    let step = (side / MAX_GRID_PX).max(1.0);
    let [left, top] = [bounds.left, bounds.top].map(f64::floor);
    let cells = |from: f64, to: f64| (((to - from) / step).ceil().max(1.0)) as usize;
    let (width, height) = (cells(left, bounds.right), cells(top, bounds.bottom));
    PixelGrid { left, top, step, width, height }
}

/// What counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewCounts {
    /// Nuclei of the model that no mark hides, accepted and added ones.
    pub nuclei: usize,
    /// Pixels of the finest level that they cover.
    pub covered_px: u64,
    /// Nuclei of the model that were accepted.
    pub accepted: usize,
    /// Nuclei that were added.
    pub added: usize,
    /// Objects that were rejected; they do not count.
    pub rejected: usize,
}

impl ReviewCounts {
    fn add(&mut self, status: Option<MarkStatus>, area_px: u64) {
        match status {
            Some(MarkStatus::Rejected | MarkStatus::Replaced) => {
                self.rejected += usize::from(status == Some(MarkStatus::Rejected));
                return;
            }
            Some(MarkStatus::Accepted) => self.accepted += 1,
            Some(MarkStatus::Added) => self.added += 1,
            None => {}
        }
        self.nuclei += 1;
        self.covered_px = self.covered_px.saturating_add(area_px);
    }
}

/// The nuclei of a model together with the marks: what is shown, counted and exported.
#[derive(Debug, Clone, Copy)]
pub struct ReviewedNuclei<'a> {
    /// The nuclei of the model.
    pub index: &'a NucleusIndex,
    /// Those of them that the marks hide, [`HiddenNuclei::of`] both.
    pub hidden: &'a HiddenNuclei,
    /// Decisions of a person.
    pub marks: &'a Marks,
    /// Regions outside of which nothing counts; none where everything counts.
    pub inside: Option<&'a BTreeMap<u32, NamedRegion>>,
    /// Types of nuclei that the model tells apart; none where there is only one.
    pub types: &'a [NucleusType],
}

impl<'a> ReviewedNuclei<'a> {
    /// Whether a centroid lies where nuclei count.
    #[must_use]
    pub fn is_inside(&self, (x, y): (f64, f64)) -> bool {
        let in_a_region = |regions: &BTreeMap<u32, NamedRegion>| {
            regions.values().any(|region| region.holds(x, y))
        };
        self.inside.is_none_or(in_a_region)
    }

    /// All objects: nuclei of the model in their order, then marks in theirs, the rejected ones
    /// too, the replaced ones not.
    pub fn all(self) -> impl Iterator<Item = ReviewObject> + Clone + use<'a> {
        let Self { index, marks, .. } = self;
        self.of_model(index.all()).chain(self.of_person(marks.iter()))
    }

    /// Objects that reach into a rectangle, as [`Self::all`].
    pub fn near(self, bounds: SlideBounds) -> impl Iterator<Item = ReviewObject> + Clone + use<'a> {
        let Self { index, marks, .. } = self;
        let near_marks = marks.iter().filter(move |(_, mark)| mark.bounds().intersects(&bounds));
        self.of_model(index.near(bounds)).chain(self.of_person(near_marks))
    }

    /// Those of the model's nuclei that are shown.
    fn of_model<I>(self, nuclei: I) -> impl Iterator<Item = ReviewObject> + Clone + use<'a, I>
    where
        I: Iterator<Item = (u32, &'a SlideNucleus)> + Clone,
    {
        nuclei
            .filter(move |(label, nucleus)| {
                !self.hidden.holds(*label) && self.is_inside(nucleus.centroid)
            })
            .map(move |(label, nucleus)| ReviewObject {
                id: label,
                status: None,
                nucleus: nucleus.clone().numbered(label),
                type_name: NucleusType::of(self.types, nucleus.class).map(|of| of.name.clone()),
            })
    }

    /// Those of the marks that are shown.
    fn of_person<I>(self, marks: I) -> impl Iterator<Item = ReviewObject> + Clone + use<'a, I>
    where
        I: Iterator<Item = (&'a u32, &'a Mark)> + Clone,
    {
        marks
            .filter(move |(_, mark)| {
                mark.status != MarkStatus::Replaced && self.is_inside(mark.nucleus.centroid)
            })
            .map(move |(id, mark)| ReviewObject {
                id: id | MARK_BIT,
                status: Some(mark.status),
                nucleus: Nucleus { class: mark.class_among(self.types), ..mark.nucleus.clone() },
                type_name: mark.type_name.clone(),
            })
    }

    /// The object at a point: one that counts before a rejected one, the smaller before the larger.
    #[must_use]
    pub fn at(self, x: f64, y: f64) -> Option<ReviewObject> {
        self.near(SlideBounds::at_point(Point { x, y }))
            .filter(|object| polygons_hold(&object.nucleus.polygons, x, y))
            .min_by_key(|object| {
                (object.status == Some(MarkStatus::Rejected), object.nucleus.area_px)
            })
    }

    /// The nuclei that count, numbered 1, 2, … as they are written, and what a person decided.
    pub fn counted(self) -> impl Iterator<Item = (Option<MarkStatus>, Nucleus)> + Clone + use<'a> {
        let counts = |object: &ReviewObject| object.status.is_none_or(MarkStatus::counts);
        self.all()
            .filter(counts)
            .zip(1u32..)
            .map(|(object, label)| (object.status, Nucleus { label, ..object.nucleus }))
    }

    /// Numbers of all objects.
    #[must_use]
    pub fn counts(self) -> ReviewCounts {
        self.counts_of(self.index.all(), |_| true)
    }

    /// Numbers of the objects whose centroid lies in a rectangle.
    #[must_use]
    pub fn counts_in(self, bounds: SlideBounds) -> ReviewCounts {
        self.counts_where(bounds, |(x, y)| {
            SlideBounds::at_point(Point { x, y }).intersects(&bounds)
        })
    }

    /// Numbers of the objects whose centroid satisfies a condition, which it does only inside a
    /// rectangle.
    pub(super) fn counts_where(
        self,
        bounds: SlideBounds,
        is_wanted: impl Fn((f64, f64)) -> bool,
    ) -> ReviewCounts {
        self.counts_of(self.index.near(bounds), is_wanted)
    }

    /// Numbers of those that count of each of the types of nuclei.
    #[must_use]
    pub fn counts_of_types(self) -> Vec<usize> {
        let mut counts = vec![0; self.types.len()];
        let mut add = |class: Option<u8>| {
            if let Some(count) = class.and_then(|class| counts.get_mut(usize::from(class))) {
                *count += 1;
            }
        };
        for (label, nucleus) in self.index.all() {
            if !self.hidden.holds(label) && self.is_inside(nucleus.centroid) {
                add(nucleus.class);
            }
        }
        for mark in self.marks.values() {
            if mark.status.counts() && self.is_inside(mark.nucleus.centroid) {
                add(mark.class_among(self.types));
            }
        }
        counts
    }

    /// Numbers of some nuclei of the model and of all marks, where their centroids satisfy a
    /// condition. No outline is copied: slides have a million.
    fn counts_of<'n>(
        self,
        nuclei: impl Iterator<Item = (u32, &'n SlideNucleus)>,
        is_wanted: impl Fn((f64, f64)) -> bool,
    ) -> ReviewCounts {
        let mut counts = ReviewCounts::default();
        for (label, nucleus) in nuclei {
            let centroid = nucleus.centroid;
            if is_wanted(centroid) && !self.hidden.holds(label) && self.is_inside(centroid) {
                counts.add(None, nucleus.area_px);
            }
        }
        for mark in self.marks.values() {
            let centroid = mark.nucleus.centroid;
            if is_wanted(centroid) && self.is_inside(centroid) {
                counts.add(Some(mark.status), mark.nucleus.area_px);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(label: u32, left: f64, top: f64, side: f64) -> Nucleus {
        let corners = [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side)];
        let ring = corners.map(|(x, y)| Point { x: x + left, y: y + top }).to_vec();
        Nucleus {
            label,
            polygons: vec![vec![ring]],
            area_px: (side * side) as u64,
            centroid: (left + side / 2.0, top + side / 2.0),
            measurements: None,
            class: None,
        }
    }

    fn marks(all: &[(MarkStatus, Nucleus)]) -> Marks {
        let mark = |(status, nucleus): &(MarkStatus, Nucleus)| Mark {
            status: *status,
            nucleus: nucleus.clone(),
            type_name: None,
        };
        (1u32..).zip(all.iter().map(mark)).collect()
    }

    /// Three nuclei: a large one, a small one, one far away.
    fn index() -> NucleusIndex {
        let nuclei =
            vec![square(1, 0.0, 0.0, 20.0), square(2, 40.0, 0.0, 6.0), square(3, 90.0, 90.0, 8.0)];
        NucleusIndex::of_image(120, 120, nuclei)
    }

    fn reviewed<'a>(
        index: &'a NucleusIndex,
        marks: &'a Marks,
        hidden: &'a HiddenNuclei,
    ) -> ReviewedNuclei<'a> {
        ReviewedNuclei { index, hidden, marks, inside: None, types: &[] }
    }

    #[test]
    fn marks_hide_what_they_cover_by_half() {
        use MarkStatus::{Accepted, Added, Rejected, Replaced};
        let index = index();
        let hidden = |all: &[(MarkStatus, Nucleus)]| {
            let hidden = HiddenNuclei::of(&index, &marks(all));
            (1..=3).filter(|label| hidden.holds(*label)).collect::<Vec<u32>>()
        };
        assert_eq!(hidden(&[(Rejected, square(1, 0.0, 0.0, 20.0))]), [1]);
        assert_eq!(hidden(&[(Replaced, square(1, 1.0, 1.0, 18.0))]), [1]);
        // A quarter of the large nucleus, and all of the mark: a rejected piece does not reject it.
        assert!(hidden(&[(Rejected, square(1, 0.0, 0.0, 10.0))]).is_empty());
        assert_eq!(hidden(&[(Accepted, square(1, 0.0, 0.0, 10.0))]), [1]);
        // Their rectangles overlap, the outlines do not.
        let corners = [(26.0, 14.0), (26.0, 26.0), (14.0, 26.0)];
        let triangle = corners.map(|(x, y)| Point { x, y }).to_vec();
        let beside =
            Nucleus { polygons: vec![vec![triangle]], area_px: 0, ..square(1, 0., 0., 1.) };
        assert!(hidden(&[(Added, beside)]).is_empty());
        // Two halves of a split hide it together.
        let halves = [(Replaced, square(1, 0.0, 0.0, 11.0)), (Replaced, square(1, 9.0, 0.0, 12.0))];
        assert_eq!(hidden(&halves), [1]);
        // One outline around two.
        assert_eq!(hidden(&[(Added, square(1, 0.0, 0.0, 60.0))]), [1, 2]);
    }

    #[test]
    fn rejected_objects_are_shown_and_do_not_count() {
        use MarkStatus::{Accepted, Added, Rejected, Replaced};
        let index = index();
        let marks = marks(&[
            (Rejected, square(1, 0.0, 0.0, 20.0)),
            (Added, square(2, 60.0, 60.0, 10.0)),
            (Accepted, square(3, 40.0, 0.0, 6.0)),
            (Replaced, square(4, 200.0, 0.0, 6.0)),
        ]);
        let hidden = HiddenNuclei::of(&index, &marks);
        let nuclei = reviewed(&index, &marks, &hidden);
        let counts = nuclei.counts();
        assert_eq!(
            counts,
            ReviewCounts {
                nuclei: 3,
                covered_px: 64 + 100 + 36,
                accepted: 1,
                added: 1,
                rejected: 1
            }
        );
        let ids: Vec<u32> = nuclei.all().map(|object| object.id).collect();
        assert_eq!(ids, [3, MARK_BIT | 1, MARK_BIT | 2, MARK_BIT | 3]);
        let labels: Vec<_> = nuclei.counted().map(|(_, nucleus)| nucleus.label).collect();
        assert_eq!(labels, [1, 2, 3]);
        assert_eq!(nuclei.at(65.0, 65.0).expect("object").id, MARK_BIT | 2);
        assert_eq!(nuclei.at(10.0, 10.0).expect("object").status, Some(Rejected));
        assert_eq!(nuclei.at(30.0, 30.0), None);
        let quarter = SlideBounds { left: 50.0, top: 50.0, right: 80.0, bottom: 80.0 };
        assert_eq!(nuclei.counts_in(quarter).nuclei, 1);
    }

    #[test]
    fn types_are_counted_with_the_marks() {
        let typed = |class, nucleus| Nucleus { class, ..nucleus };
        let nuclei = vec![
            typed(Some(0), square(1, 0.0, 0.0, 20.0)),
            typed(Some(1), square(2, 40.0, 0.0, 6.0)),
            typed(Some(1), square(3, 90.0, 90.0, 8.0)),
        ];
        let index = NucleusIndex::of_image(120, 120, nuclei);
        let marks = marks(&[
            (MarkStatus::Rejected, typed(Some(0), square(1, 0.0, 0.0, 20.0))),
            (MarkStatus::Accepted, typed(Some(1), square(2, 40.0, 0.0, 6.0))),
            (MarkStatus::Added, square(3, 60.0, 60.0, 5.0)),
            // Of a model with more types.
            (MarkStatus::Added, typed(Some(9), square(4, 10.0, 60.0, 5.0))),
        ]);
        let hidden = HiddenNuclei::of(&index, &marks);
        let types = types(&["tumour", "lymphocyte"]);
        let of = |types| ReviewedNuclei { types, ..reviewed(&index, &marks, &hidden) };
        assert_eq!(of(&types).counts_of_types(), [0, 2]);
        assert!(of(&[]).counts_of_types().is_empty());
    }

    #[test]
    fn a_mark_keeps_its_type_by_name_whatever_types_the_model_has() {
        let index = NucleusIndex::of_image(120, 120, Vec::new());
        let nucleus = Nucleus { class: Some(1), ..square(1, 0.0, 0.0, 20.0) };
        let type_name = Some("lymphocyte".to_owned());
        let mark = Mark { status: MarkStatus::Accepted, nucleus, type_name };
        let marks = Marks::from([(1, mark)]);
        let hidden = HiddenNuclei::default();
        for (names, class) in [
            (&["tumour", "lymphocyte"][..], Some(1)),
            (&["Lymphocyte", "stroma", "tumour"], Some(0)),
            (&["tumour", "stroma"], None),
            (&[], None),
        ] {
            let types = types(names);
            let nuclei = ReviewedNuclei { types: &types, ..reviewed(&index, &marks, &hidden) };
            let object = nuclei.at(5.0, 5.0).expect("object");
            assert_eq!(object.nucleus.class, class, "{names:?}");
            assert_eq!(object.type_name.as_deref(), Some("lymphocyte"));
            assert_eq!(
                nuclei.counts_of_types().iter().sum::<usize>(),
                usize::from(class.is_some())
            );
        }
    }

    fn types(names: &[&str]) -> Vec<NucleusType> {
        let of = |name: &&str| NucleusType { name: (*name).to_owned(), colour: [0, 0, 0] };
        names.iter().map(of).collect()
    }

    #[test]
    fn only_nuclei_inside_regions_count_where_that_is_asked_for() {
        let index = index();
        let (marks, hidden) = (Marks::new(), HiddenNuclei::default());
        let polygons = square(1, 30.0, 0.0, 30.0).polygons;
        let regions = BTreeMap::from([(
            1,
            NamedRegion { name: "tumour".into(), polygons, ..NamedRegion::default() },
        )]);
        let nuclei = ReviewedNuclei { inside: Some(&regions), ..reviewed(&index, &marks, &hidden) };
        assert_eq!(nuclei.all().map(|object| object.id).collect::<Vec<_>>(), [2]);
    }
}
