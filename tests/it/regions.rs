//! Regions against shapely: areas inside the image and inside what is segmented, and files in both
//! directions.

use std::collections::BTreeMap;
use std::process::Command;

use prunella::raster::{Point, Polygon};
use prunella::review::{
    HiddenNuclei, Marks, NamedRegion, RegionCounts, RegionFile, ReviewedNuclei, closed_region,
};
use prunella::slide::SlideBounds;
use prunella::whole_slide::NucleusIndex;

use crate::outlines::python;

const IMAGE: (usize, usize) = (2000, 1500);
const BLOCK: f64 = 512.0;

/// Prints for each feature its area, that inside the image and that inside the blocks; then writes
/// the features again as another program would.
const CHECK: &str = r"
import json, sys, uuid, shapely
from shapely.geometry import shape, box, mapping
source, target = sys.argv[1:3]
features = json.load(open(source))['features']
image = box(0, 0, 2000, 1500)
corners = [(0, 0), (512, 512), (1024, 0)]
blocks = shapely.union_all([box(x, y, x + 512, y + 512) for x, y in corners])
areas = []
for feature in features:
    assert feature['properties']['objectType'] == 'annotation', feature
    uuid.UUID(feature['id'])
    s = shape(feature['geometry'])
    assert s.is_valid, shapely.is_valid_reason(s)
    inside = s.intersection(image)
    areas.append([s.area, inside.area, inside.intersection(blocks).area])
    feature['geometry'] = mapping(s)
json.dump({'type': 'FeatureCollection', 'features': features}, open(target, 'w'))
print(json.dumps(areas))
";

/// A star with `points` points.
fn star(x: f64, y: f64, radius: f64, points: u32) -> Vec<Point> {
    let mut ring = Vec::new();
    for i in 0..2 * points {
        let angle = f64::from(i) * std::f64::consts::PI / f64::from(points);
        let radius = if i % 2 == 0 { radius } else { 0.4 * radius };
        // Two decimals, as files have them.
        let round = |v: f64| (v * 100.0).round() / 100.0;
        ring.push(Point { x: round(x + radius * angle.cos()), y: round(y + radius * angle.sin()) });
    }
    ring
}

fn regions() -> Vec<NamedRegion> {
    let region = |name: &str, polygons: Vec<Polygon>| NamedRegion {
        name: name.to_owned(),
        polygons,
        ..NamedRegion::default()
    };
    // By hand, round and round: it crosses itself.
    let mut stroke = Vec::new();
    for i in 0..150 {
        let angle = f64::from(i) * 0.1;
        let radius = 300.0 + 60.0 * (angle * 0.7).sin();
        stroke.push(Point { x: 1500.0 + radius * angle.cos(), y: 900.0 + radius * angle.sin() });
    }
    vec![
        region("inside", vec![vec![star(600.0, 600.0, 400.0, 7)]]),
        region("beyond the image", vec![vec![star(1900.0, 100.0, 500.0, 9)]]),
        region(
            "a hole and two parts",
            vec![
                vec![star(500.0, 700.0, 450.0, 12), star(500.0, 700.0, 90.0, 5)],
                vec![star(1300.0, 300.0, 200.0, 3)],
            ],
        ),
        region("by hand", closed_region(&stroke).expect("region")),
        NamedRegion {
            class: Some("Tumor".to_owned()),
            colour: Some([200, 0, 0]),
            object_id: Some("3f2504e0-4f89-41d3-9a0c-0305e82c3301".to_owned()),
            ..region("with an id", vec![vec![star(1000.0, 1000.0, 100.0, 4)]])
        },
    ]
}

#[test]
fn areas_and_files_of_regions_are_those_of_shapely() {
    let Some(python) = python("areas_and_files_of_regions_are_those_of_shapely") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let [source, target] =
        ["regions.geojson", "again.geojson"].map(|name| folder.path().join(name));
    let regions = regions();
    std::fs::write(&source, RegionFile::write(&regions, Some(0.25)).expect("GeoJSON"))
        .expect("written");
    let output = Command::new(python)
        .args(["-c", CHECK])
        .args([&source, &target])
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Vec<[f64; 3]> = serde_json::from_slice(&output.stdout).expect("areas");

    let index = NucleusIndex::of_image(IMAGE.0, IMAGE.1, Vec::new());
    let (hidden, marks) = (HiddenNuclei::default(), Marks::new());
    let nuclei =
        ReviewedNuclei { index: &index, hidden: &hidden, marks: &marks, inside: None, types: &[] };
    let numbered: BTreeMap<u32, NamedRegion> = (1..).zip(regions.clone()).collect();
    let mut blocks = Vec::new();
    for (left, top) in [(0.0, 0.0), (512.0, 512.0), (1024.0, 0.0)] {
        blocks.push(SlideBounds { left, top, right: left + BLOCK, bottom: top + BLOCK });
    }
    let image = SlideBounds::of_size(IMAGE.0, IMAGE.1);
    let counts = RegionCounts::of(nuclei, &numbered, &image, &blocks);
    assert_eq!(counts.len(), expected.len());
    for ((region, counts), expected) in regions.iter().zip(&counts).zip(&expected) {
        let ours = [region.area_px(), counts.area_px, counts.segmented_px];
        for (ours, theirs) in ours.iter().zip(expected) {
            // Files have two decimals.
            assert!(
                (ours - theirs).abs() < 1e-4 * theirs + 1.0,
                "{}: {ours} {theirs}",
                region.name
            );
        }
    }
    let again = RegionFile::read(&std::fs::read(&target).expect("file")).expect("regions");
    assert_eq!((again.detections, again.notes.len()), (0, 0), "{:?}", again.notes);
    for (before, after) in regions.iter().zip(&again.regions) {
        assert_eq!((&before.name, &before.class), (&after.name, &after.class));
        assert_eq!(before.colour, after.colour);
        assert!((before.area_px() - after.area_px()).abs() < 1.0 + 1e-4 * before.area_px());
        assert!(before.object_id.is_none() || before.object_id == after.object_id);
        assert!(after.object_id.is_some());
    }
}
