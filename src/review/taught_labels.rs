//! What a model can learn from a review: its marks, strokes and complete regions as sparse labels.

use std::collections::BTreeMap;

use super::mark::{MarkStatus, Marks};
use super::region::NamedRegion;
use super::stroke::Strokes;
use crate::dataset::{LabelMark, SparseLabels};
use crate::error::Result;
use crate::model::NucleusType;

/// Everything in a review that says what pixels are.
#[derive(Debug, Clone, Copy)]
pub struct MarkSource<'a> {
    /// Decisions about nuclei.
    pub marks: &'a Marks,
    /// Painted lines.
    pub strokes: &'a Strokes,
    /// Those of a class that ends in `*` count, see [`SparseLabels`].
    pub regions: &'a BTreeMap<u32, NamedRegion>,
    /// Types of nuclei of the model in use, for marks of older states, which have a place alone.
    pub types: &'a [NucleusType],
    /// Pixel size of the finest level, micrometres.
    pub mpp_um: f64,
}

impl MarkSource<'_> {
    /// The labels. Nuclei of the model on which nobody decided are none: another model or threshold
    /// would change them. They are as their file has them ([`SparseLabels::to_geojson`]), in which
    /// outlines that touch themselves are made valid: else the file would teach another model.
    ///
    /// # Errors
    /// None in practice.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use prunella::raster::Point;
    /// use prunella::review::{MarkSource, Stroke};
    ///
    /// let points = vec![Point { x: 5.0, y: 5.0 }, Point { x: 40.0, y: 9.0 }];
    /// let stroke = Stroke { class: "background".to_owned(), width_px: 8.0, points };
    /// let source = MarkSource {
    ///     marks: &BTreeMap::new(),
    ///     strokes: &BTreeMap::from([(1, stroke)]),
    ///     regions: &BTreeMap::new(),
    ///     types: &[],
    ///     mpp_um: 0.25,
    /// };
    /// assert_eq!(source.labels()?.marks.len(), 1);
    /// # Ok::<(), prunella::error::Error>(())
    /// ```
    pub fn labels(&self) -> Result<SparseLabels> {
        let (labels, _) = SparseLabels::read(&self.drawn().to_geojson(Some(self.mpp_um))?)?;
        Ok(labels)
    }

    /// The labels as a person drew them.
    fn drawn(&self) -> SparseLabels {
        let mut marks = Vec::new();
        for region in self.regions.values() {
            marks.extend(SparseLabels::area(region.class.as_deref(), region.polygons.clone()));
        }
        for mark in self.marks.values().filter(|mark| !mark.status.counts()) {
            marks.push(LabelMark::Background { polygons: mark.nucleus.polygons.clone() });
        }
        for mark in self.marks.values() {
            if matches!(mark.status, MarkStatus::Accepted | MarkStatus::Added) {
                let of_place = || NucleusType::of(self.types, mark.nucleus.class);
                let class =
                    mark.type_name.clone().or_else(|| of_place().map(|known| known.name.clone()));
                marks.push(LabelMark::Nucleus { class, polygons: mark.nucleus.polygons.clone() });
            }
        }
        for stroke in self.strokes.values() {
            marks.push(LabelMark::Stroke {
                class: stroke.class.clone(),
                width_um: stroke.width_px * self.mpp_um,
                points: stroke.points.clone(),
            });
        }
        SparseLabels { marks }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mark::Mark;
    use super::super::region::COMPLETE_CLASS;
    use super::super::stroke::Stroke;
    use super::*;
    use crate::dataset::{LabelScale, UNKNOWN};
    use crate::instances::Nucleus;
    use crate::model::PixelClass;
    use crate::raster::{PixelGrid, Point, Polygon};

    fn square(left: f64, top: f64, side: f64) -> Vec<Polygon> {
        let corners = [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side)];
        vec![vec![corners.map(|(x, y)| Point { x: left + x, y: top + y }).to_vec()]]
    }

    fn nucleus(left: f64, top: f64) -> Nucleus {
        Nucleus {
            label: 1,
            polygons: square(left, top, 10.0),
            area_px: 100,
            centroid: (left + 5.0, top + 5.0),
            measurements: None,
            class: None,
        }
    }

    fn mark(status: MarkStatus, left: f64, top: f64) -> Mark {
        Mark { status, nucleus: nucleus(left, top), type_name: None }
    }

    #[test]
    fn decisions_strokes_and_complete_regions_become_the_classes_of_pixels() {
        // As outlines of a model, which may touch themselves in a corner.
        let mut touching = mark(MarkStatus::Added, 10.0, 30.0);
        let corners =
            [(10, 30), (20, 30), (20, 40), (30, 40), (30, 30), (20, 30), (20, 46), (10, 46)];
        let ring = corners.map(|(x, y)| Point { x: f64::from(x), y: f64::from(y) }).to_vec();
        touching.nucleus.polygons = vec![vec![ring]];
        let marks = Marks::from([
            (5, touching),
            (1, mark(MarkStatus::Added, 10.0, 10.0)),
            (2, mark(MarkStatus::Rejected, 30.0, 10.0)),
            (3, mark(MarkStatus::Replaced, 50.0, 10.0)),
            (4, mark(MarkStatus::Accepted, 52.0, 12.0)),
        ]);
        let region = NamedRegion {
            name: "complete".to_owned(),
            polygons: square(0.0, 50.0, 50.0),
            class: Some(COMPLETE_CLASS.to_owned()),
            ..NamedRegion::default()
        };
        let counted =
            NamedRegion { class: None, polygons: square(60.0, 60.0, 30.0), ..region.clone() };
        let regions = BTreeMap::from([(1, region), (2, counted)]);
        let points = vec![Point { x: 80.0, y: 20.0 }];
        let stroke = Stroke { class: "nucleus".to_owned(), width_px: 6.0, points };
        let strokes = Strokes::from([(1, stroke)]);
        let source = MarkSource {
            marks: &marks,
            strokes: &strokes,
            regions: &regions,
            types: &[],
            mpp_um: 0.5,
        };
        let labels = source.labels().expect("labels");
        let classes = PixelClass::background_and_nucleus();
        let scale = LabelScale { classes: &classes, mpp_um: 0.5, border_um: 1.0 };
        let grid = PixelGrid { left: 0.0, top: 0.0, step: 1.0, width: 100, height: 100 };
        let drawn = labels.draw(&grid, &scale).expect("targets").classes;
        for (row, column, class) in [
            (15, 15, 1),
            (15, 35, 0),
            (11, 51, 0),
            (15, 55, 1),
            (90, 45, 0),
            (75, 75, UNKNOWN),
            (20, 80, 1),
            (5, 5, UNKNOWN),
        ] {
            assert_eq!(drawn.get(row, column), class, "row {row} column {column}");
        }
        // The file of the labels says the same.
        let bytes = labels.to_geojson(Some(0.5)).expect("GeoJSON");
        let (read, _) = SparseLabels::read(&bytes).expect("labels");
        assert_eq!(read.draw(&grid, &scale).expect("targets").classes, drawn);
    }
}
