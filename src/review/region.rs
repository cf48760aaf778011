//! Named regions: what is counted inside them, and their files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::nuclei::{ReviewCounts, ReviewedNuclei};
use crate::dataset::SparseLabels;
use crate::error::Result;
use crate::outlines::{Outline, OutlineKind, Outlines, read_outlines, write_regions};
use crate::platform::csv_text;
use crate::raster::{Point, Polygon, Ring, polygon_area, polygons_hold};
use crate::slide::SlideBounds;

/// Class of a region in which every nucleus is marked, as QuPath has it for training: what in it is
/// no nucleus is background.
pub const COMPLETE_CLASS: &str = "Region*";

/// A part of the image with a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedRegion {
    /// For people.
    pub name: String,
    /// Its parts, each an outline and then its holes, in pixels of the finest level.
    pub polygons: Vec<Polygon>,
    /// Class in the file that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Red, green, blue; one of the palette where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<[u8; 3]>,
    /// UUID in files; a hash of the outline where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
}

impl NamedRegion {
    /// Whether every nucleus in it is marked.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        SparseLabels::is_complete_class(self.class.as_deref())
    }

    /// Whether a point lies inside.
    #[must_use]
    pub fn holds(&self, x: f64, y: f64) -> bool {
        polygons_hold(&self.polygons, x, y)
    }

    /// Area without holes, square pixels.
    #[must_use]
    pub fn area_px(&self) -> f64 {
        area(&self.polygons)
    }

    /// Area of the part inside a rectangle, square pixels.
    #[must_use]
    pub fn area_in(&self, bounds: &SlideBounds) -> f64 {
        area(&clipped(&self.polygons, bounds))
    }

    /// The smallest rectangle around it.
    #[must_use]
    pub fn bounds(&self) -> SlideBounds {
        SlideBounds::of_polygons(&self.polygons)
    }

    /// Areas inside the image and inside its segmented parts, which do not overlap, square pixels.
    fn areas(&self, image: &SlideBounds, segmented: &[SlideBounds]) -> [f64; 2] {
        let inside = clipped(&self.polygons, image);
        let own = SlideBounds::of_polygons(&inside);
        let mut parts: Vec<SlideBounds> =
            segmented.iter().filter(|part| part.intersects(&own)).copied().collect();
        parts.sort_by(|a, b| a.top.total_cmp(&b.top).then(a.bottom.total_cmp(&b.bottom)));
        let mut segmented_px = 0.0;
        // Parts side by side share the cut along their upper and lower edges.
        for row in parts.chunk_by(|a, b| (a.top, a.bottom) == (b.top, b.bottom)) {
            let Some(first) = row.first() else { continue };
            let strip = SlideBounds { left: own.left, right: own.right, ..*first };
            let in_strip = clipped(&inside, &strip);
            for part in row {
                segmented_px += area(&clipped(&in_strip, part));
            }
        }
        [area(&inside), segmented_px]
    }
}

impl From<&NamedRegion> for Outline {
    /// As files hold it: an annotation.
    fn from(region: &NamedRegion) -> Self {
        Self {
            id: region.object_id.clone(),
            class: region.class.clone(),
            name: Some(region.name.clone()),
            colour: region.colour,
            status: None,
            kind: OutlineKind::Annotation,
            polygons: region.polygons.clone(),
        }
    }
}

/// Area of valid polygons, square pixels.
pub(super) fn area(polygons: &[Polygon]) -> f64 {
    polygons.iter().map(|polygon| polygon_area(polygon)).sum()
}

/// Polygons cut at a rectangle, each ring by Sutherland and Hodgman (1974). A ring that falls apart
/// keeps edges of no area along the rectangle, so areas are right.
pub(super) fn clipped(polygons: &[Polygon], bounds: &SlideBounds) -> Vec<Polygon> {
    let SlideBounds { left, top, right, bottom } = *bounds;
    // How far a point lies inside of each side.
    let sides: [&dyn Fn(&Point) -> f64; 4] =
        [&|p| p.x - left, &|p| right - p.x, &|p| p.y - top, &|p| bottom - p.y];
    let mut cut = Vec::with_capacity(polygons.len());
    for polygon in polygons {
        let mut rings: Polygon = Vec::with_capacity(polygon.len());
        for ring in polygon {
            let mut ring = ring.clone();
            for side in sides {
                ring = clipped_ring(&ring, side);
            }
            rings.push(ring);
        }
        if rings.first().is_some_and(|outline| outline.len() >= 3) {
            cut.push(rings);
        }
    }
    cut
}

/// The part of a ring where `inside` is not negative.
fn clipped_ring(ring: &[Point], inside: &dyn Fn(&Point) -> f64) -> Ring {
    let mut kept = Vec::with_capacity(ring.len());
    let Some(mut before) = ring.last() else { return kept };
    for point in ring {
        let [from, to] = [inside(before), inside(point)];
        if (from < 0.0) != (to < 0.0) {
            let share = from / (from - to);
            kept.push(Point {
                x: before.x + (point.x - before.x) * share,
                y: before.y + (point.y - before.y) * share,
            });
        }
        if to >= 0.0 {
            kept.push(*point);
        }
        before = point;
    }
    kept
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
    /// Of the objects whose centroid lies inside.
    #[serde(flatten)]
    pub counts: ReviewCounts,
}

impl RegionCounts {
    /// Counts each region for itself: what lies in two of them counts in both. `segmented` are the
    /// rectangles that are segmented, which do not overlap.
    #[must_use]
    pub fn of(
        nuclei: ReviewedNuclei<'_>,
        regions: &BTreeMap<u32, NamedRegion>,
        image: &SlideBounds,
        segmented: &[SlideBounds],
    ) -> Vec<Self> {
        let mut all = Vec::with_capacity(regions.len());
        for (id, region) in regions {
            let [area_px, segmented_px] = region.areas(image, segmented);
            let counts = nuclei.counts_where(region.bounds(), |(x, y)| region.holds(x, y));
            let name = region.name.clone();
            all.push(Self { id: *id, name, area_px, segmented_px, counts });
        }
        all
    }

    /// Nuclei per square millimetre of the segmented part; none where nothing is segmented or the
    /// pixel size is unknown.
    #[must_use]
    pub fn density_per_mm2(&self, mpp_um: Option<f64>) -> Option<f64> {
        let area_mm2 = self.segmented_px * (mpp_um? / 1000.0).powi(2);
        (area_mm2 > 0.0).then(|| self.counts.nuclei as f64 / area_mm2)
    }

    /// Share of the segmented part that nuclei cover, 0 to 1; none where nothing is segmented.
    /// Nuclei count as a whole where their centroid lies.
    #[must_use]
    pub fn area_share(&self) -> Option<f64> {
        (self.segmented_px > 0.0).then(|| self.counts.covered_px as f64 / self.segmented_px)
    }

    /// A table of all regions as CSV, a line each. Areas are in mm² where the pixel size is known,
    /// else in pixels; densities refer to the segmented part.
    #[must_use]
    pub fn csv(all: &[Self], mpp_um: Option<f64>) -> String {
        let unit = if mpp_um.is_some() { "mm2" } else { "px" };
        let per_px = mpp_um.map_or(1.0, |mpp_um| (mpp_um / 1000.0).powi(2));
        let mut csv = format!(
            "region,area_{unit},segmented_{unit},nuclei,density_per_mm2,area_share,accepted,added,\
             rejected\n"
        );
        let number =
            |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
        for region in all {
            let ReviewCounts { nuclei, accepted, added, rejected, .. } = region.counts;
            csv += &format!(
                "{},{:.6},{:.6},{nuclei},{},{},{accepted},{added},{rejected}\n",
                csv_text(&region.name),
                region.area_px * per_px,
                region.segmented_px * per_px,
                number(region.density_per_mm2(mpp_um)),
                number(region.area_share()),
            );
        }
        csv
    }
}

/// The regions of a file of outlines, and what else it holds.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionFile {
    /// Annotations, as QuPath names what people draw.
    pub regions: Vec<NamedRegion>,
    /// Number of the objects that a program found: detections, cells, tiles.
    pub detections: usize,
    /// What was unusual and what was done about it.
    pub notes: Vec<String>,
}

impl RegionFile {
    /// Reads GeoJSON or XML.
    ///
    /// # Errors
    /// As [`read_outlines`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut outlines = read_outlines(bytes)?;
        let mut notes = std::mem::take(&mut outlines.notes);
        notes.extend(outlines.make_valid());
        let mut file = Self::default();
        for object in outlines.objects {
            if !matches!(object.kind, OutlineKind::Annotation | OutlineKind::Core) {
                file.detections += 1;
                continue;
            }
            let number = file.regions.len() + 1;
            let name = object.name.or_else(|| object.class.clone());
            file.regions.push(NamedRegion {
                name: name.unwrap_or_else(|| format!("Region {number}")),
                polygons: object.polygons,
                class: object.class,
                colour: object.colour,
                object_id: object.id,
            });
        }
        file.notes = notes.notes;
        Ok(file)
    }

    /// Writes regions as GeoJSON for QuPath.
    ///
    /// # Errors
    /// None in practice.
    pub fn write<'a>(
        regions: impl IntoIterator<Item = &'a NamedRegion>,
        mpp_um: Option<f64>,
    ) -> Result<Vec<u8>> {
        let mut outlines = Outlines::default();
        for region in regions {
            outlines.objects.push(Outline::from(region));
        }
        let mut bytes = Vec::new();
        write_regions(&outlines, mpp_um, &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::Nucleus;
    use crate::review::{HiddenNuclei, Mark, MarkStatus, Marks};
    use crate::whole_slide::NucleusIndex;

    fn ring(all: &[(f64, f64)]) -> Ring {
        all.iter().map(|&(x, y)| Point { x, y }).collect()
    }

    fn rectangle(left: f64, top: f64, right: f64, bottom: f64) -> Ring {
        ring(&[(left, top), (right, top), (right, bottom), (left, bottom)])
    }

    fn region(name: &str, polygons: Vec<Polygon>) -> NamedRegion {
        NamedRegion { name: name.to_owned(), polygons, ..NamedRegion::default() }
    }

    fn nucleus(label: u32, x: f64, y: f64) -> Nucleus {
        Nucleus {
            label,
            polygons: vec![vec![rectangle(x - 2.0, y - 2.0, x + 2.0, y + 2.0)]],
            area_px: 16,
            centroid: (x, y),
            measurements: None,
            class: None,
        }
    }

    #[test]
    fn areas_are_those_inside_the_image_and_inside_what_is_segmented() {
        let image = SlideBounds::of_size(100, 100);
        let with_hole =
            vec![rectangle(-20.0, 10.0, 60.0, 50.0), rectangle(-10.0, 20.0, 20.0, 40.0)];
        let [inside, segmented] = region("", vec![with_hole])
            .areas(&image, &[SlideBounds { left: 0.0, top: 0.0, right: 50.0, bottom: 30.0 }]);
        assert!((inside - (60.0 * 40.0 - 20.0 * 20.0)).abs() < 1e-9, "{inside}");
        assert!((segmented - (50.0 * 20.0 - 20.0 * 10.0)).abs() < 1e-9, "{segmented}");
        // A comb falls into three teeth when it is cut.
        let comb = ring(&[
            (0.0, 0.0),
            (50.0, 0.0),
            (50.0, 30.0),
            (40.0, 30.0),
            (40.0, 10.0),
            (30.0, 10.0),
            (30.0, 30.0),
            (20.0, 30.0),
            (20.0, 10.0),
            (10.0, 10.0),
            (10.0, 30.0),
            (0.0, 30.0),
        ]);
        let teeth = SlideBounds { left: -5.0, top: 20.0, right: 60.0, bottom: 200.0 };
        assert!((region("", vec![vec![comb]]).area_in(&teeth) - 300.0).abs() < 1e-9);
        let beside = region("", vec![vec![rectangle(200.0, 0.0, 300.0, 10.0)]]);
        assert!(beside.areas(&image, &[image]).iter().all(|area| *area <= 0.0));
    }

    #[test]
    fn parts_of_a_grid_add_up_to_the_whole() {
        let star: Ring = (0..90)
            .map(|i| {
                let angle = f64::from(i) * std::f64::consts::TAU / 90.0;
                let radius = if i % 2 == 0 { 900.0 } else { 350.0 };
                Point { x: 1000.0 + radius * angle.cos(), y: 1000.0 + radius * angle.sin() }
            })
            .collect();
        let mut blocks = Vec::new();
        for row in 0..8 {
            for column in 0..8 {
                let [left, top] = [f64::from(column) * 256.0, f64::from(row) * 256.0];
                blocks.push(SlideBounds { left, top, right: left + 256.0, bottom: top + 256.0 });
            }
        }
        let star = region("", vec![vec![star]]);
        let [inside, segmented] = star.areas(&SlideBounds::of_size(2048, 2048), &blocks);
        assert!((inside - star.area_px()).abs() < 1e-6);
        assert!((segmented - inside).abs() < 1e-6, "{segmented} {inside}");
    }

    #[test]
    fn overlapping_regions_count_each_and_densities_refer_to_what_is_segmented() {
        let nuclei = vec![nucleus(1, 10.0, 10.0), nucleus(2, 40.0, 10.0), nucleus(3, 80.0, 80.0)];
        let index = NucleusIndex::of_image(100, 100, nuclei);
        let added =
            Mark { status: MarkStatus::Added, nucleus: nucleus(9, 20.0, 20.0), type_name: None };
        let rejected =
            Mark { status: MarkStatus::Rejected, nucleus: nucleus(2, 40.0, 10.0), type_name: None };
        let marks = Marks::from([(1, added), (2, rejected)]);
        let hidden = HiddenNuclei::of(&index, &marks);
        let reviewed = ReviewedNuclei {
            index: &index,
            hidden: &hidden,
            marks: &marks,
            inside: None,
            types: &[],
        };
        let regions = BTreeMap::from([
            (1, region("left", vec![vec![rectangle(0.0, 0.0, 50.0, 50.0)]])),
            (4, region("a, \"b\"", vec![vec![rectangle(0.0, 0.0, 100.0, 100.0)]])),
        ]);
        let half = [SlideBounds { left: 0.0, top: 0.0, right: 100.0, bottom: 50.0 }];
        let image = SlideBounds::of_size(100, 100);
        let all = RegionCounts::of(reviewed, &regions, &image, &half);
        let counts = |i: usize| {
            let ReviewCounts { nuclei, accepted, added, rejected, covered_px } = all[i].counts;
            [nuclei, accepted, added, rejected, covered_px as usize]
        };
        assert_eq!(counts(0), [2, 0, 1, 1, 32]);
        assert_eq!(counts(1), [3, 0, 1, 1, 48]);
        assert_eq!((all[1].area_px, all[1].segmented_px), (10_000.0, 5_000.0));
        assert_eq!(all[0].area_share(), Some(32.0 / 2500.0));
        // 2500 pixels of 1 µm are 0.0025 mm².
        assert!((all[0].density_per_mm2(Some(1.0)).expect("density") - 800.0).abs() < 1e-9);
        assert_eq!(all[0].density_per_mm2(None), None);
        let csv = RegionCounts::csv(&all, Some(1.0));
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[1], "left,0.002500,0.002500,2,800.0000,0.0128,0,1,1");
        assert!(lines[2].starts_with("\"a, \"\"b\"\"\",0.010000,0.005000,3,"), "{}", lines[2]);
        assert!(RegionCounts::csv(&all, None).starts_with("region,area_px,segmented_px,"));
    }

    #[test]
    fn regions_of_a_file_come_back_with_name_class_colour_and_id() {
        let id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
        let regions = [
            NamedRegion {
                class: Some("Tumor".into()),
                colour: Some([200, 0, 30]),
                object_id: Some(id.into()),
                ..region("core", vec![vec![rectangle(0.0, 0.0, 9.5, 8.25)]])
            },
            region("two", vec![vec![rectangle(20.0, 0.0, 30.0, 9.0)]]),
        ];
        let bytes = RegionFile::write(&regions, Some(0.25)).expect("GeoJSON");
        let file = RegionFile::read(&bytes).expect("regions");
        assert_eq!(file.regions[0], regions[0]);
        assert_eq!(file.regions[1].polygons, regions[1].polygons);
        assert_eq!((file.detections, file.notes.len()), (0, 0));
        let again = RegionFile::write(&file.regions, Some(0.25)).expect("GeoJSON");
        assert_eq!(again, bytes, "ids and everything else stay");
    }
}
