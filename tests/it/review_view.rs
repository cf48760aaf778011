//! Scripts of the window for what a person does to a result: decisions, drawn nuclei, regions,
//! undo, and what is kept of an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prunella::desktop::{AppState, Command, StateStore, script};
use prunella::engine::DeviceChoice;
use prunella::model::Model;
use prunella::raster::{encode_rgb_png, phantom};
use serde_json::{Value, json};

use crate::support::{root, run, run_json, skip, text};

/// Width and height of image and screen, so that their pixels are the same.
const SIZE: (usize, usize) = (400, 300);

/// A folder with an image.
struct Workplace {
    folder: tempfile::TempDir,
    image: PathBuf,
}

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let image = folder.path().join("tissue.png");
        let png = encode_rgb_png(&phantom(SIZE.0, SIZE.1, 8).0).expect("png");
        std::fs::write(&image, png).expect("image");
        Self { folder, image }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs commands after the image was opened at its size and segmented; states are kept.
    fn run(&self, commands: &[Value]) -> Value {
        let mut lines = format!("{}\n", json!({ "resize": { "width": SIZE.0, "height": SIZE.1 } }));
        for command in commands {
            lines += &format!("{command}\n");
        }
        let file = self.path("script.jsonl");
        std::fs::write(&file, lines).expect("script");
        let state = self.path("state");
        run_json(&[
            "view",
            text(&self.image),
            "--script",
            text(&file),
            "--device",
            "cpu",
            "--state",
            text(&state),
        ])
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("file")
    }
}

fn segmented() -> Vec<Value> {
    vec![json!({ "mpp": 0.25 }), json!({ "segment": "slide" }), json!("wait")]
}

/// A row of an exported table by its columns.
type Row = BTreeMap<String, String>;

fn rows(table: &str) -> Vec<Row> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().expect("header").split(',').collect();
    let row = |line: &str| {
        let values = line.split(',').map(str::to_owned);
        names.iter().map(|name| (*name).to_owned()).zip(values).collect()
    };
    lines.map(row).collect()
}

fn centroid(row: &Row) -> (f64, f64) {
    let number = |name: &str| row[name].parse().expect("number");
    (number("centroid_x_px"), number("centroid_y_px"))
}

/// Large nuclei away from the border and from each other.
fn clear_nuclei(rows: &[Row], count: usize) -> Vec<(f64, f64)> {
    let mut chosen: Vec<(f64, f64)> = Vec::new();
    for row in rows {
        let (x, y) = centroid(row);
        let area: f64 = row["area_px"].parse().expect("area");
        let circularity: f64 = row["Circularity"].parse().expect("circularity");
        let is_inside = x > 30.0 && y > 30.0 && x < 370.0 && y < 270.0;
        let is_apart = chosen.iter().all(|other| (other.0 - x).hypot(other.1 - y) > 30.0);
        if area > 100.0 && circularity > 0.7 && is_inside && is_apart && chosen.len() < count {
            chosen.push((x, y));
        }
    }
    assert_eq!(chosen.len(), count, "enough nuclei");
    chosen
}

fn at((x, y): (f64, f64)) -> Value {
    json!({ "x": x, "y": y })
}

fn circle(x: f64, y: f64, radius: f64) -> Vec<[f64; 2]> {
    let mut points = Vec::new();
    for i in 0..40 {
        let angle = f64::from(i) / 40.0 * std::f64::consts::TAU;
        points.push([x + radius * angle.cos(), y + radius * angle.sin()]);
    }
    points
}

fn export(path: &Path) -> Value {
    json!({ "export": path })
}

#[test]
fn a_rejected_nucleus_stays_rejected_when_the_image_is_opened_again() {
    let work = Workplace::new();
    let first = [segmented(), vec![export(&work.path("first.geojson"))]].concat();
    let found = work.run(&first)["nuclei"].as_u64().expect("nuclei");
    let all = rows(&work.read("first.csv"));
    assert!(all.iter().all(|row| row["status"] == "model"));
    let clear = clear_nuclei(&all, 3);
    let rejected = all.iter().find(|row| centroid(row) == clear[0]).expect("row")["id"].clone();
    let edits = vec![
        json!({ "reject": at(clear[0]) }),
        json!({ "accept": at(clear[1]) }),
        json!({ "add": circle(clear[0].0, clear[0].1, 5.0) }),
        json!({ "picture": work.path("reviewed.png") }),
        export(&work.path("second.geojson")),
    ];
    let edited = work.run(&[segmented(), edits].concat());
    let numbers = |value: &Value| {
        ["nuclei", "accepted", "added", "rejected"].map(|name| value[name].as_u64().expect(name))
    };
    assert_eq!(numbers(&edited), [found, 1, 1, 1]);
    let reopened = work.run(&[]);
    let sentence = reopened["status"].as_str().expect("status");
    assert!(sentence.starts_with("Restored from this device: "), "{sentence}");
    assert!(sentence.contains("3 decisions"), "{sentence}");
    let again = [segmented(), vec![export(&work.path("third.geojson"))]].concat();
    assert_eq!(numbers(&work.run(&again)), [found, 1, 1, 1]);
    let table = work.read("third.csv");
    assert_eq!(table, work.read("second.csv"));
    assert!(!table.contains(&rejected), "absent from the table");
    assert!(!work.read("third.geojson").contains(&rejected));
    let statuses = rows(&table).into_iter().map(|row| row["status"].clone());
    let of_person: Vec<String> = statuses.filter(|status| status != "model").collect();
    assert_eq!(of_person, ["accepted", "added"]);
    work.run(&[json!({ "prune": 0.5 }), json!({ "threshold": 0.9 }), json!("forget-state")]);
    assert_eq!(numbers(&work.run(&segmented())), [found, 0, 0, 0]);
}

#[test]
fn nuclei_are_there_again_without_segmenting() {
    let work = Workplace::new();
    let first = [segmented(), vec![export(&work.path("first.geojson"))]].concat();
    let found = work.run(&first)["nuclei"].as_u64().expect("nuclei");
    let again = work.run(&[json!("wait"), export(&work.path("again.geojson"))]);
    assert_eq!(again["nuclei"], found);
    let wanted = format!("{found} nuclei → ");
    assert!(again["status"].as_str().is_some_and(|status| status.starts_with(&wanted)), "{again}");
    assert_eq!(work.read("again.csv"), work.read("first.csv"));
    assert_eq!(work.read("again.geojson"), work.read("first.geojson"));
    let opened = work.run(&[]);
    let wanted = format!("Restored from this device: {found} nuclei, pixel size 0.25 µm.");
    assert_eq!(opened["status"], wanted);
    // Probabilities are kept too: another threshold needs no network.
    let moved = work.run(&[json!("wait"), json!({ "threshold": 0.7 }), json!("wait")]);
    assert_eq!(moved["older_settings"], Value::Null, "{moved}");
    let restored = work.run(&[]);
    assert_eq!((&restored["nuclei"], &restored["threshold"]), (&moved["nuclei"], &json!(0.7f32)));
    // Of another model nothing is taken over.
    let pruned = work.run(&[json!("wait"), json!({ "prune": 0.5 })]);
    assert!(pruned["older_settings"].is_string(), "{pruned}");
    work.run(&[json!("wait"), json!("forget-state")]);
    let files = std::fs::read_dir(work.path("state")).expect("folder").count();
    assert_eq!(files, 0, "nothing is kept");
    assert_eq!(work.run(&[])["nuclei"], 0);
}

#[test]
fn a_broken_result_is_said_and_left() {
    let work = Workplace::new();
    work.run(&segmented());
    let files = std::fs::read_dir(work.path("state")).expect("folder");
    let paths = files.map(|file| file.expect("file").path());
    let result = paths.into_iter().find(|path| path.extension().is_some_and(|e| e == "nuclei"));
    let result = result.expect("a result");
    let bytes = std::fs::read(&result).expect("bytes");
    std::fs::write(&result, &bytes[..bytes.len() / 2]).expect("cut");
    std::fs::write(work.path("script.jsonl"), "\"wait\"").expect("script");
    let (code, _, message) = run(&[
        "view",
        text(&work.image),
        "--script",
        text(&work.path("script.jsonl")),
        "--state",
        text(&work.path("state")),
    ]);
    assert!(code == Some(2) && message.contains(".nuclei"), "{message}");
}

#[test]
fn a_place_that_cannot_be_written_is_said() {
    let work = Workplace::new();
    // A file where the folder should be.
    std::fs::write(work.path("state"), "").expect("file");
    std::fs::write(work.path("script.jsonl"), "{\"mpp\": 0.25}").expect("script");
    let (code, _, message) = run(&[
        "view",
        text(&work.image),
        "--script",
        text(&work.path("script.jsonl")),
        "--state",
        text(&work.path("state")),
    ]);
    assert!(code == Some(2) && message.contains("state"), "{message}");
}

#[test]
fn the_stain_switch_makes_another_result_and_undo_brings_the_first_back() {
    let work = Workplace::new();
    let kept = [segmented(), vec![json!({ "keep-stain": true })]].concat();
    let older = work.run(&kept);
    let note = older["older_settings"].as_str().expect("note");
    assert!(note.contains("matched colours"), "{note}");
    let again = work.run(&[json!("wait"), json!({ "segment": "slide" }), json!("wait")]);
    assert_eq!(again["older_settings"], Value::Null, "{again}");
    let back = work.run(&[
        json!("wait"),
        json!({ "keep-stain": false }),
        json!({ "segment": "slide" }),
        json!("wait"),
        json!("undo"),
    ]);
    assert_eq!(back["older_settings"], Value::Null, "{back}");
    assert_eq!(back["nuclei"], again["nuclei"]);
}

#[test]
fn the_fill_is_of_the_nuclei_that_count() {
    let work = Workplace::new();
    let first = [segmented(), vec![export(&work.path("first.geojson"))]].concat();
    work.run(&first);
    let clear = clear_nuclei(&rows(&work.read("first.csv")), 3);
    let picture = |name: &str| json!({ "picture": work.path(name) });
    let layers = |mask: f64| json!({ "layers": { "outline": 0.0, "mask": mask, "heat": 0.0 } });
    let (x, y) = clear[1];
    let commands = vec![
        layers(0.0),
        picture("plain.png"),
        layers(1.0),
        json!({ "reject": at(clear[0]) }),
        json!({ "reject": at(clear[1]) }),
        json!({ "add": circle(x, y, 5.0) }),
        picture("filled.png"),
    ];
    work.run(&[segmented(), commands].concat());
    let [plain, filled] = ["plain.png", "filled.png"]
        .map(|name| image::open(work.path(name)).expect("picture").to_rgb8());
    let is_filled = |(x, y): (f64, f64)| {
        let (x, y) = (x as u32, y as u32);
        plain.get_pixel(x, y) != filled.get_pixel(x, y)
    };
    assert!(!is_filled(clear[0]), "a rejected nucleus");
    assert!(is_filled(clear[1]), "an added one in its place");
    assert!(is_filled(clear[2]), "one of the model");
}

#[test]
fn twenty_mixed_steps_undone_give_the_first_export_byte_for_byte() {
    let work = Workplace::new();
    let first = [segmented(), vec![export(&work.path("first.geojson"))]].concat();
    work.run(&first);
    let clear = clear_nuclei(&rows(&work.read("first.csv")), 8);
    let (x, y) = clear[3];
    let cut = [[x, y - 40.0], [x + 0.3, y + 40.0]];
    let stroke = circle(clear[4].0, clear[4].1, 9.0);
    let region = [[10.0, 10.0], [200.0, 20.0], [150.0, 200.0], [20.0, 150.0]];
    let steps = vec![
        json!({ "reject": at(clear[0]) }),
        json!({ "accept": at(clear[1]) }),
        json!({ "accept": at(clear[0]) }),
        json!({ "add": circle(clear[2].0, clear[2].1, 6.0) }),
        json!({ "split": { "object": at(clear[3]), "stroke": cut } }),
        json!({ "merge": [at((x - 4.0, y)), at((x + 4.0, y))] }),
        json!({ "redraw": { "object": at(clear[4]), "stroke": stroke } }),
        json!({ "add-region": { "name": "tumour", "polygon": region } }),
        json!({ "add-region": { "name": "", "polygon": circle(300.0, 200.0, 60.0) } }),
        json!({ "rename-region": { "id": 2, "name": "stroma" } }),
        json!({ "inside-only": true }),
        json!({ "inside-only": false }),
        json!({ "threshold": 0.6 }),
        json!({ "reject": at(clear[5]) }),
        json!({ "mpp": 0.3 }),
        json!({ "prune": 0.3 }),
        json!({ "reject": at(clear[6]) }),
        json!({ "forget": at(clear[6]) }),
        json!({ "remove-region": 1 }),
        json!({ "accept": at(clear[7]) }),
    ];
    assert_eq!(steps.len(), 20);
    let undone = vec![json!("undo"); 20];
    let last = vec![export(&work.path("last.geojson"))];
    let result = work.run(&[segmented(), steps.clone(), undone.clone(), last].concat());
    assert_eq!(result["undo"], Value::Null, "{result}");
    assert_eq!(work.read("last.csv"), work.read("first.csv"));
    assert_eq!(work.read("last.geojson"), work.read("first.geojson"));
    // Done again, everything is back, and the nuclei are said to be of other settings.
    let again = work.run(&[segmented(), steps, undone, vec![json!("redo"); 20]].concat());
    assert_eq!(again["undo"], "accept a nucleus");
    assert_eq!(again["regions"][0]["name"], "stroma");
    let note = again["older_settings"].as_str().expect("note");
    assert!(note.contains("a model of") && note.contains("pixel size"), "{note}");
}

const SHAPELY: &str = r"
import csv, json, sys
from shapely.geometry import Polygon, Point
region = Polygon(json.loads(sys.argv[2]))
rows = csv.DictReader(open(sys.argv[1]))
points = [Point(float(r['centroid_x_px']), float(r['centroid_y_px'])) for r in rows]
print(json.dumps([region.intersection(Polygon([(0, 0), (400, 0), (400, 300), (0, 300)])).area,
                  sum(region.contains(p) for p in points)]))
";

#[test]
fn counts_and_densities_of_regions_are_those_of_shapely() {
    const TEST: &str = "counts_and_densities_of_regions_are_those_of_shapely";
    let work = Workplace::new();
    let polygon = [
        [-50.0, 20.0],
        [250.5, 30.0],
        [120.0, 90.25],
        [390.0, 280.0],
        [200.0, 330.0],
        [60.0, 140.0],
    ];
    let commands = vec![
        json!({ "add-region": { "name": "front", "polygon": polygon } }),
        json!({ "save-regions": work.path("saved.geojson") }),
        json!({ "open-regions": work.path("saved.geojson") }),
        export(&work.path("all.geojson")),
    ];
    let result = work.run(&[segmented(), commands].concat());
    let region = &result["regions"][0];
    let opened = &result["regions"][1];
    assert_eq!((&opened["name"], &opened["nuclei"]), (&json!("front"), &region["nuclei"]));
    let table = work.read("all-regions.csv");
    assert!(table.lines().count() == 3 && table.contains("\nfront,"), "{table}");
    let inside = work.run(&[segmented(), vec![json!({ "inside-only": true })]].concat());
    assert_eq!(inside["nuclei"], region["nuclei"]);
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = std::process::Command::new(python);
    let points = serde_json::to_string(&polygon).expect("points");
    let output = command.args(["-c", SHAPELY, text(&work.path("all.csv")), &points]).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        return skip(TEST, "Python has no shapely; set PRUNELLA_PYTHON");
    };
    let [area, nuclei]: [f64; 2] = serde_json::from_slice(&output.stdout).expect("numbers");
    let close = |value: &Value, wanted: f64| {
        let value = value.as_f64().expect("number");
        assert!((value / wanted - 1.0).abs() < 1e-9, "{value} {wanted}");
    };
    close(&region["area_px"], area);
    close(&region["segmented_px"], area);
    close(&region["nuclei"], nuclei);
    close(&region["density_per_mm2"], nuclei / (area * 0.25f64.powi(2) / 1e6));
}

#[test]
fn a_comparison_with_the_own_outlines_is_perfect_until_nuclei_are_rejected() {
    let work = Workplace::new();
    let own = work.path("own.geojson");
    let compare = vec![export(&own), json!({ "reference": own })];
    let perfect = work.run(&[segmented(), compare.clone()].concat());
    let score = |value: &Value, name: &str| value["scores"][name].as_f64().expect("score");
    for name in ["dice", "aji", "pq", "f1"] {
        assert!(score(&perfect, name) > 0.99, "{perfect}");
    }
    let clear = clear_nuclei(&rows(&work.read("own.csv")), 4);
    let rejects = clear.iter().map(|place| json!({ "reject": at(*place) })).collect();
    let worse = work.run(&[segmented(), compare, rejects].concat());
    assert!(score(&worse, "f1") < score(&perfect, "f1"), "{worse}");
    let commands = [json!({ "reference": work.path("tissue.png") })];
    std::fs::write(work.path("s.jsonl"), commands[0].to_string()).expect("script");
    let (code, _, message) =
        run(&["view", text(&work.image), "--script", text(&work.path("s.jsonl"))]);
    assert!(code == Some(2) && message.contains("tissue.png"), "{message}");
}

#[test]
fn a_recording_replays_to_the_same_state() {
    let work = Workplace::new();
    let model = root().join("models/paper-90.safetensors");
    let new_state = || {
        let model = Model::load(&model).expect("model");
        AppState::new(model, DeviceChoice::Cpu, StateStore::in_memory(), Arc::new(|| {}))
    };
    let recording = work.path("recorded.jsonl");
    let mut live = new_state();
    live.record(std::fs::File::create(&recording).expect("file"));
    let apply = |state: &mut AppState, command: &Value| {
        let command: Command = serde_json::from_value(command.clone()).expect("command");
        state.apply(&command)
    };
    let start = [
        json!({ "open": work.image }),
        json!({ "resize": { "width": SIZE.0, "height": SIZE.1 } }),
        json!({ "mpp": 0.25 }),
        json!({ "segment": "slide" }),
        json!("wait"),
        json!({ "export": work.path("live.geojson") }),
    ];
    for command in start {
        apply(&mut live, &command).expect("applied");
    }
    let clear = clear_nuclei(&rows(&work.read("live.csv")), 3);
    // In the middle of a movement, a click hits what is seen then.
    apply(&mut live, &json!({ "zoom": { "x": 10, "y": 20, "factor": 3 } })).expect("zoomed");
    assert!(live.view.step(0.05), "it moves");
    let shown = live.view.to_screen([clear[0].0, clear[0].1].into());
    let edits = [
        json!({ "reject": { "x": shown.x, "y": shown.y } }),
        json!("fit"),
        json!({ "add": circle(clear[1].0, clear[1].1, 7.0) }),
        json!("next"),
        json!({ "accept": null }),
        json!({ "add-region": { "name": "", "polygon": circle(200.0, 150.0, 80.0) } }),
        json!({ "threshold": 0.7 }),
        json!("undo"),
    ];
    for command in edits {
        apply(&mut live, &command).expect("applied");
    }
    assert_eq!(live.review().state().marks.len(), 3);
    let lines = std::fs::read_to_string(&recording).expect("recorded");
    let commands = script(&lines).expect("script");
    assert!(lines.contains("look-at"), "{lines}");
    let mut replayed = new_state();
    for command in &commands {
        replayed.apply(command).expect("replayed");
        replayed.view.settle();
    }
    // A drawn nucleus has no probability, and a number that is none equals no other.
    let marks = |state: &AppState| format!("{:?}", state.review().state().marks);
    assert_eq!(marks(&replayed), marks(&live));
    assert_eq!(replayed.review().state().regions, live.review().state().regions);
    assert_eq!(replayed.review().state().threshold, None);
    assert_eq!(replayed.counts(), live.counts());
}

#[test]
fn states_of_a_list_are_kept_apart_and_old_results_stay_visible() {
    let work = Workplace::new();
    let other = work.path("other.png");
    let png = encode_rgb_png(&phantom(SIZE.0, SIZE.1, 9).0).expect("png");
    std::fs::write(&other, png).expect("image");
    let list = json!({ "open-all": [work.image, other] });
    let commands = [
        vec![list, json!({ "add": circle(100.0, 100.0, 9.0) }), json!("next-file")],
        vec![json!({ "add": circle(50.0, 60.0, 9.0) }), json!({ "add": circle(90.0, 60.0, 9.0) })],
        vec![json!("previous-file")],
    ];
    let first = work.run(&commands.concat());
    assert_eq!((&first["slide"], &first["added"]), (&json!("tissue.png"), &json!(1)));
    let second = work.run(&[json!({ "open": other })]);
    assert_eq!((&second["slide"], &second["added"]), (&json!("other.png"), &json!(2)));
    // Another model takes nothing from the screen.
    let moved =
        [segmented(), vec![json!({ "prune": 0.5 }), json!({ "picture": work.path("older.png") })]];
    let older = work.run(&moved.concat());
    assert!(older["nuclei"].as_u64().is_some_and(|nuclei| nuclei > 10), "{older}");
    assert!(older["older_settings"].as_str().is_some_and(|note| note.contains("a model of")));
    let is_outline = |[r, g, b]: [u8; 3]| g > r.saturating_add(40) && b > 170;
    let picture = image::open(work.path("older.png")).expect("picture").to_rgb8();
    assert!(picture.pixels().filter(|pixel| is_outline(pixel.0)).count() > 500);
}

#[test]
fn the_window_and_finetune_teach_the_same_weights() {
    let work = Workplace::new();
    let [marks, by_window, by_file] =
        ["marks.geojson", "window.safetensors", "file.safetensors"].map(|name| work.path(name));
    let result = work.run(&[
        json!({ "mpp": 0.25 }),
        json!({ "stroke": { "class": "nucleus", "width_um": 3, "points": [[60, 60], [90, 70]] } }),
        json!({ "stroke": { "class": "background", "width_um": 3, "points": [[200, 60]] } }),
        json!({ "save-marks": marks }),
        json!({ "teach": { "steps": 3, "seed": 7 } }),
        json!("wait"),
        json!("keep-taught"),
        json!("wait"),
        json!({ "save-model": by_window }),
    ]);
    assert_eq!((&result["version"], &result["strokes"]), (&json!(1), &json!(2)));
    let start = root().join("models/open-small.safetensors");
    run_json(&[
        "finetune",
        text(&start),
        "--labels",
        text(&marks),
        "--image",
        text(&work.image),
        "--image-mpp",
        "0.25",
        "--steps",
        "3",
        "--seed",
        "7",
        "--out",
        text(&by_file),
    ]);
    let weights = |path: &Path| Model::load(path).expect("model").weights().clone();
    assert_eq!(weights(&by_window), weights(&by_file));
    assert_ne!(weights(&by_window), weights(&start));
    // Opened again, the version is in use.
    assert_eq!(work.run(&[])["version"], 1);
}
