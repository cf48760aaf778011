//! The program from the outside: results, exit codes, messages.

use std::path::{Path, PathBuf};

use prunella::model::{Architecture, Model, Precision, dcnn};
use prunella::picture::{read_labels, read_picture};
use prunella::raster::{DecodeLimits, Plane, encode_rgb_png};

use crate::support::{run, run_json, skip, text, tiles};

/// A model with random weights, as a file.
fn saved(architecture: Architecture, folder: &Path) -> PathBuf {
    let path = folder.join("model.safetensors");
    Model::random(architecture, 3).expect("model").save(&path, Precision::F32).expect("saved");
    path
}

#[test]
fn info_counts_parameters_as_a_number() {
    let dir = tempfile::tempdir().expect("folder");
    let model = saved(Architecture::paper_dcnn(), dir.path());
    let value = run_json(&["info", text(&model)]);
    assert_eq!(value["parameters"].as_u64(), Some(916_959));
    assert_eq!(value["receptive_field_px"].as_u64(), Some(55));
    let (_, out, _) = run(&["info", text(&model)]);
    assert!(out.contains("916959 parameters") && out.contains("fc1"), "{out}");
}

#[test]
fn prune_writes_a_smaller_model_and_a_plan_that_gives_the_same_again() {
    let dir = tempfile::tempdir().expect("folder");
    let model = saved(Architecture::paper_dcnn(), dir.path());
    let at = |name: &str| dir.path().join(name);
    let (half, plan, again) = (at("half.safetensors"), at("plan.json"), at("again.safetensors"));
    let value = run_json(&[
        "prune",
        text(&model),
        "--ratio",
        "0.5",
        "--out",
        text(&half),
        "--save-plan",
        text(&plan),
    ]);
    assert_eq!(value["parameters"].as_u64(), Some(416_541));
    run_json(&["prune", text(&model), "--plan", text(&plan), "--out", text(&again)]);
    assert_eq!(std::fs::read(&half).expect("half"), std::fs::read(&again).expect("again"));
    let (code, _, err) = run(&["prune", text(&model), "--ratio", "1.5", "--out", text(&half)]);
    assert_eq!(code, Some(2));
    assert!(err.contains("between 0 and 1"), "{err}");
}

#[test]
fn prune_ranks_by_other_criteria_and_the_card_names_them_and_their_tiles() {
    let dir = tempfile::tempdir().expect("folder");
    let model = saved(dcnn([4, 6, 8], 16, 2), dir.path());
    let data = tiles(1, 90);
    let out = dir.path().join("pruned.safetensors");
    let prune = ["prune", text(&model), "--ratio", "0.5", "--out", text(&out), "--criterion"];
    let folder = ["--data", text(data.path()), "--patches", "40"];
    run_json(&[&prune[..], &["taylor"], &folder].concat());
    let card = run_json(&["info", text(&out)])["card"].clone();
    let history = card["history"].as_array().expect("history");
    let step = history.last().expect("a step");
    assert_eq!(step["criterion"], "taylor");
    assert_eq!((step["patches"].as_u64(), step["seed"].as_u64()), (Some(40), Some(1)));
    assert_eq!(step["tiles"].as_array().map(Vec::len), Some(1));
    run_json(&[&prune[..], &["fpgm"]].concat());
    for (rest, reason) in [
        (vec!["apoz"], "--data"),
        (vec!["bn"], "batch normalisation"),
        ([&["l2"][..], &folder].concat(), "weights alone"),
    ] {
        let (code, _, err) = run(&[&prune[..], &rest].concat());
        assert_eq!(code, Some(2));
        assert!(err.contains(reason), "{err}");
    }
    let ratios = ["prune", text(&model), "--out", text(&out), "--ratios"];
    run_json(&[&ratios[..], &["conv=0.5,hidden=0.75,conv1=0"]].concat());
    let card = run_json(&["info", text(&out)])["card"].clone();
    let widths = &card["architecture"];
    assert_eq!(widths["filters"], serde_json::json!([4, 3, 4]));
    assert_eq!(widths["hidden"], 4);
}

#[test]
fn segment_writes_three_pictures_of_the_images_size_whatever_the_block() {
    let dir = tempfile::tempdir().expect("folder");
    let model = saved(dcnn([3, 5, 8], 16, 2), dir.path());
    let data = tiles(1, 90);
    let image = data.path().join("tile0.png");
    let result = |block: &str| {
        let out = dir.path().join(block);
        run_json(&[
            "segment",
            text(&image),
            "--model",
            text(&model),
            "--out",
            text(&out),
            "--block",
            block,
        ]);
        ["probability", "mask", "overlay"]
            .map(|what| std::fs::read(out.join(format!("tile0.{what}.png"))).expect("picture"))
    };
    let pictures = result("128");
    assert_eq!(pictures, result("31"), "blocks leave no seam");
    let overlay = read_picture(&pictures[2], DecodeLimits::default()).expect("overlay").image;
    assert_eq!((overlay.width(), overlay.height()), (90, 90));
}

#[test]
fn evaluate_scores_a_folder_and_records_the_scores_in_the_card() {
    let dir = tempfile::tempdir().expect("folder");
    let model = saved(dcnn([3, 5, 8], 16, 2), dir.path());
    let data = tiles(2, 70);
    let value = run_json(&[
        "evaluate",
        "--model",
        text(&model),
        "--data",
        text(data.path()),
        "--record",
        "phantom",
        "--in-place",
    ]);
    assert_eq!(value["tiles"].as_array().map(Vec::len), Some(2));
    assert!(value["pooled"]["accuracy"].as_f64().is_some_and(|a| (0.0..=1.0).contains(&a)));
    let card = Model::load(&model).expect("model").card().clone();
    assert_eq!(card.metrics["phantom"]["tiles"].as_u64(), Some(2));
}

#[test]
fn nothing_found_is_exit_code_one() {
    let dir = tempfile::tempdir().expect("folder");
    let model = saved(dcnn([3, 5, 8], 16, 2), dir.path());
    let empty = tempfile::tempdir().expect("folder");
    let (code, _, err) = run(&["evaluate", "--model", text(&model), "--data", text(empty.path())]);
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(run(&["data", "check", text(empty.path())]).0, Some(1));
}

#[test]
fn errors_are_one_sentence_with_the_file_last_and_exit_code_two() {
    let dir = tempfile::tempdir().expect("folder");
    let model = saved(dcnn([3, 5, 8], 16, 2), dir.path());
    let broken = dir.path().join("broken.png");
    let png = encode_rgb_png(&Plane::filled(20, 20, [9; 3])).expect("png");
    std::fs::write(&broken, &png[..50]).expect("file");
    let cases: [&[&str]; 4] = [
        &["info", text(&broken)],
        &["info", "/no/such/file"],
        &["segment", text(&broken), "--model", text(&model), "--out", text(dir.path())],
        &["train", "--data", "/no/such/folder", "--out", text(&broken)],
    ];
    for case in cases {
        let (code, out, err) = run(case);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{case:?}: {err}");
        let lines: Vec<&str> = err.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(lines.len(), 1, "{case:?}: {err}");
        assert!(lines[0].ends_with(')') && !err.contains("panicked"), "{case:?}: {err}");
    }
}

#[test]
fn the_dccn_trains_with_the_papers_sigmoid_head_and_segments_on_a_grid() {
    let data = tiles(1, 64);
    let out = data.path().join("dccn.safetensors");
    let fixed = [
        "--network",
        "dccn",
        "--head",
        "sigmoid",
        "--patches",
        "20",
        "--epochs",
        "1",
        "--batch",
        "7",
    ];
    let train = ["train", "--data", text(data.path()), "--device", "cpu", "--out", text(&out)];
    let value = run_json(&[&train[..], &fixed[..]].concat());
    assert_eq!(value["parameters"].as_u64(), Some(4_794_754));
    // The floor of this loss is log(1 + 1/e).
    assert!(value["last_epoch"]["validation_loss"].as_f64().is_some_and(|l| l > 0.3132));
    assert_eq!(run_json(&["info", text(&out)])["card"]["head"], "sigmoid");
    let image = data.path().join("tile0.png");
    let folder = data.path().join("out");
    let segment =
        ["segment", text(&image), "--model", text(&out), "--stride", "16", "--out", text(&folder)];
    assert_eq!(run_json(&segment)["images"][0]["width"].as_u64(), Some(64));
}

#[test]
fn a_loss_that_is_no_number_stops_with_advice() {
    let data = tiles(1, 64);
    let out = data.path().join("m.safetensors");
    let fixed = [
        "--patches",
        "60",
        "--epochs",
        "2",
        "--batch",
        "8",
        "--device",
        "cpu",
        "--learning-rate",
        "1e30",
    ];
    let (code, _, err) =
        run(&[&["train", "--data", text(data.path()), "--out", text(&out)], &fixed[..]].concat());
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("no longer a number") && err.contains("smaller learning rate"), "{err}");
}

#[test]
fn a_model_file_opens_in_pythons_safetensors() {
    let Some(python) = std::env::var_os("PRUNELLA_PYTHON") else {
        return skip(
            "a_model_file_opens_in_pythons_safetensors",
            "PRUNELLA_PYTHON names no Python with safetensors",
        );
    };
    let dir = tempfile::tempdir().expect("folder");
    let model = saved(Architecture::paper_dcnn(), dir.path());
    let script = "import sys, json; from safetensors import safe_open; \
                  f = safe_open(sys.argv[1], 'np'); \
                  card = json.loads(f.metadata()['prunella']); \
                  print(card['architecture']['kind'], sum(f.get_tensor(k).size for k in f.keys()))";
    let output = std::process::Command::new(python)
        .args(["-c", script, text(&model)])
        .output()
        .expect("Python starts");
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    insta::assert_snapshot!(printed, @"dcnn 916959");
}

/// Verbs of this build; those with subcommands are listed by these.
const VERBS: &[&str] = &[
    "demo",
    "train",
    "finetune",
    "prune",
    "segment",
    "evaluate",
    "tune",
    "export",
    "import",
    #[cfg(feature = "net")]
    "serve",
    "slide info",
    "slide region",
    "slide segment",
    "slide plan",
    #[cfg(feature = "desktop")]
    "view",
    "convert",
    "study run",
    "study report",
    "study plan",
    "study cell",
    "advise",
    "info",
    "data check",
    "data sample",
    "devices",
];

#[test]
fn the_help_of_every_verb_has_an_example() {
    let (_, overview, _) = run(&["--help"]);
    for verb in VERBS {
        let words: Vec<&str> = verb.split(' ').collect();
        assert!(overview.contains(&format!("\n  {} ", words[0])), "{verb}: {overview}");
        let (code, help, _) = run(&[&words[..], &["--help"]].concat());
        assert_eq!(code, Some(0));
        let has_example = help.contains("Examples:") && help.contains(&format!("prunella {verb}"));
        assert!(has_example, "{verb}: {help}");
    }
}

#[test]
fn devices_always_has_the_cpu() {
    let value = run_json(&["devices"]);
    assert!(value["cpu_threads"].as_u64().is_some_and(|n| n > 0));
    assert!(value["adapters"].is_array());
}

#[test]
fn the_demo_learns_prunes_and_reports() {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("demo");
    let rows = run_json(&["demo", "--out", text(&out), "--device", "cpu"]);
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("summary.json")).expect("summary"))
            .expect("JSON");
    assert_eq!(rows["rows"], file);
    let dice: Vec<f64> =
        file.as_array().expect("rows").iter().filter_map(|r| r["dice"].as_f64()).collect();
    assert_eq!(dice.len(), 3);
    assert!(dice[0] >= 0.7 && dice[1] >= 0.7 && dice[2] >= 0.55, "{dice:?}");
    for file in ["report.html", "models/dcnn-90.safetensors", "pictures/delta-90.png"] {
        assert!(out.join(file).is_file(), "{file}");
    }
}

#[test]
fn an_image_of_another_pixel_size_is_resampled_and_its_results_are_in_its_own_pixels() {
    let dir = tempfile::tempdir().expect("folder");
    let image = prunella::raster::phantom(300, 220, 20).0;
    let twice = Plane::from_vec(
        600,
        440,
        (0..600 * 440).map(|i| image.get(i / 600 / 2, i % 600 / 2)).collect(),
    );
    let model = crate::support::root().join("models/paper-90.safetensors");
    let nuclei = |name: &str, image: &prunella::raster::RgbImage, mpp: &str| {
        let (file, out) = (dir.path().join(format!("{name}.png")), dir.path().join("out"));
        std::fs::write(&file, encode_rgb_png(image).expect("png")).expect("image");
        let all = [
            "segment",
            text(&file),
            "--model",
            text(&model),
            "--device",
            "cpu",
            "--out",
            text(&out),
            "--mpp",
            mpp,
        ];
        let found = run_json(&all)["images"][0].clone();
        let table = std::fs::read_to_string(out.join(format!("{name}.csv"))).expect("table");
        let labels = read_labels(
            &std::fs::read(out.join(format!("{name}.labels.png"))).expect("labels"),
            DecodeLimits::default(),
        );
        // Between the id and the status are numbers.
        let row = |line: &str| {
            let (numbers, _) = line.rsplit_once(',').expect("columns");
            numbers.split(',').skip(2).map(|v| v.parse().expect("number")).collect()
        };
        let rows: Vec<Vec<f64>> = table.lines().skip(1).map(row).collect();
        (found["nuclei"].as_u64().expect("count"), rows, labels.expect("label map").map)
    };
    let (count, rows, _) = nuclei("own", &image, "0.25");
    let (again, large, labels) = nuclei("twice", &twice.expect("image"), "0.125");
    assert!(count > 10 && again == count, "{count} {again}");
    assert_eq!((labels.width(), labels.height()), (600, 440));
    for (a, b) in rows.iter().zip(&large) {
        assert!(
            (a[0] * 2.0 - b[0]).abs() < 0.1 && (a[1] * 2.0 - b[1]).abs() < 0.1,
            "centroids {a:?} {b:?}"
        );
        assert!((a[3] - b[3]).abs() < 0.01, "areas in micrometres {a:?} {b:?}");
    }
}
