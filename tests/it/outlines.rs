//! Outlines that the program writes are valid for GEOS (by shapely) and cover what the label
//! map covers.

use std::path::{Path, PathBuf};
use std::process::Command;

use prunella::dataset::phantom;
use prunella::raster::{encode_labels_png, encode_rgb_png};

use crate::slide_maker::{PLAIN, pyramid, slide};
use crate::support::{root, run, run_json, skip, text};

/// Prints the number of features and the sum of their areas; fails on an invalid one, an open ring,
/// a repeated point, and two that overlap by more than one part in a hundred.
const CHECK: &str = "
import json, sys, shapely
from shapely.geometry import shape
features = json.load(open(sys.argv[1]))['features']
shapes = []
for f in features:
    g = f['geometry']
    polygons = g['coordinates'] if g['type'] == 'MultiPolygon' else [g['coordinates']]
    for ring in (r for p in polygons for r in p):
        assert ring[0] == ring[-1] and len(ring) >= 4, 'open'
        assert all(a != b for a, b in zip(ring, ring[1:])), 'repeated'
    s = shape(g)
    assert s.is_valid, shapely.is_valid_reason(s)
    shapes.append(s)
for i, j in shapely.STRtree(shapes).query(shapes, predicate='intersects').T if shapes else []:
    if i < j:
        common = shapes[i].intersection(shapes[j]).area
        assert common <= 0.01 * min(shapes[i].area, shapes[j].area), 'overlap'
print(len(shapes), sum(s.area for s in shapes))
";

/// A Python with shapely; without one the test is skipped.
pub fn python(test: &str) -> Option<String> {
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let import = Command::new(&python).args(["-c", "import shapely"]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        skip(test, "shapely is not installed; 'cargo xtask setup' installs it");
        return None;
    }
    Some(python)
}

/// Number of features and sum of their areas, all of them valid.
fn checked(python: &str, geojson: &Path) -> (usize, f64) {
    let output = Command::new(python).args(["-c", CHECK]).arg(geojson).output().expect("python");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {message}", geojson.display());
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let (count, area) = line.trim().split_once(' ').expect("two numbers");
    (count.parse().expect("count"), area.parse().expect("area"))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("file");
    path
}

#[test]
fn everything_written_is_valid_for_geos() {
    let Some(python) = python("everything_written_is_valid_for_geos") else { return };
    let dir = tempfile::tempdir().expect("folder");
    let at = |name: &str| dir.path().join(name);
    let model = root().join("models/paper-90.safetensors");
    let model = ["--model", text(&model), "--device", "cpu"];
    let tile = phantom::tile(300, 300, 5);
    let image = write(dir.path(), "tile.png", &encode_rgb_png(&tile.image).expect("png"));
    for mpp in ["0.25", "0.4"] {
        let out = at(mpp);
        let out = ["--mpp", mpp, "--out", text(&out)];
        let result = run_json(&[&["segment", text(&image)], &model[..], &out].concat());
        let (count, area) = checked(&python, &at(mpp).join("tile.geojson"));
        assert_eq!(result["images"][0]["nuclei"], count);
        let share = result["images"][0]["cell_fraction"].as_f64().expect("share");
        assert!((area / (share * 90_000.0) - 1.0).abs() < 0.02, "{mpp}: {area} {share}");
    }
    let labels = encode_labels_png(&tile.labels).expect("png").0;
    let labels = write(dir.path(), "tile_labels.png", &labels);
    run_json(&["convert", text(&labels), text(&at("labels.geojson"))]);
    let (_, area) = checked(&python, &at("labels.geojson"));
    let pixels = tile.labels.data().iter().filter(|&&label| label > 0).count();
    assert!((area - pixels as f64).abs() < 1e-6, "{area} of {pixels}");
    let mut levels = pyramid(300, 300);
    levels[0] = tile.image.clone();
    let slide = write(dir.path(), "slide.tif", &slide(&levels, PLAIN, ""));
    let out = at("slide");
    let options = ["--mpp", "0.37", "--background", "--out", text(&out)];
    let result = run_json(&[&["slide", "segment", text(&slide)], &model[..], &options].concat());
    assert_eq!(result["nuclei"], checked(&python, &at("slide").join("slide.geojson")).0);
}

#[test]
fn crossing_outlines_of_others_become_valid_and_parts_and_holes_stay() {
    let Some(python) = python("crossing_outlines_of_others_become_valid") else { return };
    let dir = tempfile::tempdir().expect("folder");
    let ring = |points: &str| format!(r#"{{"type":"Polygon","coordinates":[[{points}]]}}"#);
    let crossing = [
        ring("[0,0],[20,20],[20,0],[0,20],[0,0]"),
        ring("[40,0],[60,0],[60,20],[50,0],[40,20]"),
        ring("[100,0],[110,0],[110,9],[110,0],[120,0],[120,20],[100,20]"),
        ring("[200.001,0],[200.002,0],[200.002,10],[200.001,10]"),
    ];
    let file = write(dir.path(), "in.geojson", crossing.join("\n").as_bytes());
    let target = dir.path().join("out.geojson");
    let (code, _, notes) = run(&["convert", text(&file), text(&target)]);
    assert_eq!(code, Some(0), "{notes}");
    assert!(notes.contains("made valid"), "{notes}");
    let (_, area) = checked(&python, &target);
    assert!((area - (200.0 + 200.0 + 400.0)).abs() < 0.1, "{area}");
    let (code, _, message) = run(&["convert", text(&file), text(&file)]);
    assert!(code == Some(2) && message.contains("input"), "{message}");
}
