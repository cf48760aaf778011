//! Many slides in one process: the table of what was found, what is skipped, continued and left
//! out, and regions, maps and measurements against shapely.

use std::path::{Path, PathBuf};
use std::process::Command;

use prunella::raster::{RgbImage, phantom};

use crate::outlines::python;
use crate::slide_maker::{PLAIN, pyramid, slide};
use crate::support::{root, run, run_json, text};

/// Size of the slides, pixels.
const SIZE: (usize, usize) = (500, 380);

/// Compares tables with what shapely finds in the same GeoJSON and CSV; prints how many numbers
/// were compared. Arguments: results without ending, regions, width, height, µm a pixel.
const CHECK: &str = r"
import csv, json, sys
import numpy as np, shapely
from shapely.geometry import shape, box
base, regions, width, height, mpp = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
slide = box(0, 0, width, height)
rows = list(csv.DictReader(open(base + '.csv')))
compared = 0
def near(a, b, tolerance, what):
    global compared
    compared += 1
    assert abs(float(a) - b) <= tolerance, (what, a, b)
column = lambda rows, name: np.array([float(row[name]) for row in rows])
places = np.stack([column(rows, 'centroid_x_px'), column(rows, 'centroid_y_px')], axis=1)
distances = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag([np.inf] * len(rows))
features = json.load(open(base + '.geojson'))['features']
assert len(features) == len(rows) > 20
for number, (row, feature) in enumerate(zip(rows, features)):
    outline = shape(feature['geometry'])
    hull = outline.convex_hull
    near(row['Solidity'], outline.area / hull.area, 2e-3, 'solidity')
    near(row['Max diameter µm'], 2 * shapely.minimum_bounding_radius(outline) * mpp, 0.01, 'max')
    corners = np.array(hull.exterior.coords)
    edges = np.diff(corners, axis=0)
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    widths = corners @ normals.T
    near(row['Min diameter µm'], (widths.max(0) - widths.min(0)).min() * mpp, 0.01, 'min')
    near(row['Nearest nucleus µm'], distances[number].min() * mpp, 0.01, 'nearest')
    beyond = (distances[number] * mpp <= 50.01).sum()
    within = (distances[number] * mpp <= 49.99).sum()
    assert within <= int(row['Nuclei within 50 µm']) <= beyond, row
    assert feature['properties']['measurements']['Solidity'] == float(row['Solidity'])
drawn = json.load(open(regions))['features']
shapes = [shapely.make_valid(shape(feature['geometry'])) for feature in drawn]
classes = [feature['properties']['classification']['name'] for feature in drawn]
table = list(csv.DictReader(open(base + '.regions.csv')))
for name in sorted(set(classes)):
    shapes.append(shapely.union_all([s for s, c in zip(shapes, classes) if c == name]))
assert len(table) == len(shapes) == len(drawn) + len(set(classes))
for row, region in zip(table, shapes):
    inside = shapely.contains_xy(region, places[:, 0], places[:, 1])
    found = [nucleus for nucleus, is_inside in zip(rows, inside) if is_inside]
    area = region.intersection(slide).area
    assert int(row['nuclei']) == len(found), row
    near(row['area_mm2'], area * (mpp / 1000) ** 2, 1e-6, 'area')
    near(row['density_per_mm2'], len(found) / area / (mpp / 1000) ** 2, 0.01, 'density')
    near(row['area_share'], column(found, 'area_px').sum() / area, 1e-4, 'share')
    for name in ['Area um^2', 'Solidity', 'Eosin OD mean', 'Nearest nucleus µm']:
        values = column(found, name)
        near(row[name + ': Mean'], values.mean(), 1e-4, name)
        near(row[name + ': Std.Dev.'], values.std(ddof=1), 1e-4, name)
for feature, row in zip(json.load(open(base + '.regions.geojson'))['features'], table):
    measured = feature['properties']['measurements']
    assert feature['properties']['name'] == row['region']
    near(row['nuclei'], measured['Nuclei'], 0, 'nuclei')
    near(row['density_per_mm2'], measured['Nuclei per mm^2'], 1e-3, 'density')
print(compared)
";

/// A slide of tissue that differs by the seed.
fn slide_bytes(seed: u64) -> Vec<u8> {
    let mut levels: Vec<RgbImage> = pyramid(SIZE.0, SIZE.1);
    levels[0] = phantom(SIZE.0, SIZE.1, seed).0;
    slide(&levels, PLAIN, "")
}

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    /// Two slides of one name in different folders, and a broken one.
    fn new() -> Self {
        let folder = Self { dir: tempfile::tempdir().expect("folder") };
        folder.write("slides/a.tif", &slide_bytes(12));
        folder.write("slides/case/a.tif", &slide_bytes(13));
        folder.write("slides/case/broken.svs", &slide_bytes(14)[..3000]);
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(path, bytes).expect("file");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).expect(name)
    }

    /// Segments what is named, with more arguments.
    fn segment(&self, what: &[&Path], more: &[&str]) -> (Option<i32>, String, String) {
        let model = root().join("models/paper-90.safetensors");
        let out = self.at("out");
        let mut arguments = vec!["slide", "segment"];
        arguments.extend(what.iter().map(|path| text(path)));
        arguments.extend(["--model", text(&model), "--device", "cpu", "--out", text(&out)]);
        arguments.extend(more);
        run(&arguments)
    }

    /// Fields of the table by row.
    fn table(&self) -> Vec<Vec<String>> {
        let table = self.read("out/slides.csv");
        table.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }
}

#[test]
fn a_folder_is_segmented_and_a_rerun_goes_on() {
    let folder = Folder::new();
    let slides = folder.at("slides");
    let mpp = ["--mpp", "0.25", "--json"];
    let (code, out, err) = folder.segment(&[&slides], &mpp);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("1 of 3 slides could not be segmented"), "{err}");
    let result: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&result["failed"], &result["already_done"]), (&1.into(), &0.into()));
    let table = folder.table();
    assert_eq!(table[0][..4], ["slide", "nuclei", "tissue_mm2", "nuclei_per_mm2"]);
    let column =
        |at: usize| -> Vec<String> { table[1..].iter().map(|row| row[at].clone()).collect() };
    assert_eq!(column(7), ["a", "case/a", "case/broken"]);
    assert_eq!(column(6), ["done", "done", "failed"]);
    // Each result is that of a run over the slide alone.
    let alone = folder.at("alone");
    let model = root().join("models/paper-90.safetensors");
    let single = run_json(&[
        "slide",
        "segment",
        text(&folder.at("slides/case/a.tif")),
        "--model",
        text(&model),
        "--device",
        "cpu",
        "--mpp",
        "0.25",
        "--out",
        text(&alone),
    ]);
    assert_eq!(single["nuclei"].to_string(), table[2][1]);
    assert_eq!(folder.read("alone/a.csv"), folder.read("out/case/a.csv"));
    assert_ne!(folder.read("out/a.csv"), folder.read("out/case/a.csv"));

    // The broken slide is replaced; the others are not computed again.
    folder.write("slides/case/broken.svs", &slide_bytes(14));
    let before =
        std::fs::metadata(folder.at("out/a.csv")).and_then(|m| m.modified()).expect("time");
    let (code, out, err) = folder.segment(&[&slides], &mpp);
    assert_eq!(code, Some(0), "{err}");
    let result: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&result["failed"], &result["already_done"]), (&0.into(), &2.into()));
    let after = std::fs::metadata(folder.at("out/a.csv")).and_then(|m| m.modified()).expect("time");
    assert_eq!(before, after);
    // What another run left in the place of a result is not taken for it.
    let other = ["--mpp", "0.25", "--threshold", "0.8"];
    folder.segment(&[&folder.at("slides/a.tif")], &other);
    let (_, out, _) = folder.segment(&[&slides], &mpp);
    let result: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(result["already_done"], 2);
    // Other settings are another run.
    let (code, out, _) = folder.segment(&[&slides], &["--mpp", "0.26", "--json"]);
    assert_eq!(code, Some(0));
    let result: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(result["already_done"], 0);
}

#[test]
fn a_list_says_more_of_each_slide_and_names_must_differ() {
    let folder = Folder::new();
    folder.write(
        "lists/list.csv",
        b"slide,mpp,name\n../slides/a.tif,0.25,one\n../slides/case/a.tif,0.5,two\nnone.svs,,\n",
    );
    let (code, _, err) = folder.segment(&[&folder.at("lists/list.csv")], &[]);
    assert_eq!(code, Some(2), "{err}");
    let states: Vec<_> = folder.table()[1..].iter().map(|row| row[6].clone()).collect();
    assert_eq!(states, ["done", "done", "failed"]);
    assert!(folder.at("out/one.geojson").is_file() && folder.at("out/two.csv").is_file());
    let both = [folder.at("slides/a.tif"), folder.at("slides/case/a.tif")];
    let (code, _, err) = folder.segment(&[&both[0], &both[1]], &["--mpp", "0.25"]);
    assert!(code == Some(2) && err.contains("overwrite each other"), "{err}");
    let (_, _, err) = folder.segment(&[&folder.at("slides")], &["--regions", text(&both[0])]);
    assert!(err.contains("do not fit several"), "{err}");
}

#[test]
fn regions_and_measurements_are_those_of_shapely() {
    let Some(python) = python("regions_and_measurements_are_those_of_shapely") else { return };
    let folder = Folder::new();
    let feature = |name: &str, class: &str, rings: &str| {
        format!(
            r#"{{"type":"Feature","geometry":{{"type":"Polygon","coordinates":[{rings}]}},
            "properties":{{"objectType":"annotation","name":"{name}",
            "classification":{{"name":"{class}"}}}}}}"#
        )
    };
    let regions = [
        feature(
            "left",
            "Tumor",
            "[[10,10],[300,40],[250,330],[20,300],[10,10]],\
                 [[100,100],[150,100],[150,160],[100,160],[100,100]]",
        ),
        feature("right", "Tumor", "[[200,50],[480,20],[470,360],[120,120],[200,50]]"),
        feature("beyond", "Stroma", "[[-50,200],[700,200],[700,500],[-50,500],[-50,200]]"),
        feature("crossing", "Stroma", "[[0,0],[500,380],[500,0],[0,380],[0,0]]"),
    ];
    let regions = format!(r#"{{"type":"FeatureCollection","features":[{}]}}"#, regions.join(","));
    folder.write("regions/case/a.geojson", regions.as_bytes());
    let at = [folder.at("slides"), folder.at("regions")];
    let options = ["--mpp", "0.25", "--regions", text(&at[1]), "--grid", "20"];
    let (_, _, err) = folder.segment(&[&at[0]], &options);
    assert!(err.contains("No regions"), "the other slide has none: {err}");
    assert!(!folder.at("out/a.regions.csv").exists());
    for name in ["out/case/a.density.tif", "out/case/a.density.png", "out/a.density.tif"] {
        assert!(folder.at(name).is_file(), "{name}");
    }
    let output = Command::new(python)
        .args([
            "-c",
            CHECK,
            text(&folder.at("out/case/a")),
            text(&folder.at("regions/case/a.geojson")),
        ])
        .args([SIZE.0.to_string(), SIZE.1.to_string(), "0.25".to_owned()])
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let compared: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    assert!(compared > 100, "{compared}");
}
