//! Folders of images and labels in many layouts, and commands that do not change their inputs.

use std::path::{Path, PathBuf};

use prunella::raster::{Plane, encode_labels_png, encode_rgb_png};

use crate::slide_maker::{PLAIN, pyramid, slide};
use crate::support::{prunella, root, run, run_json, text, tiles};

/// A trained model in `folder`.
fn model(folder: &Path) -> PathBuf {
    let file = folder.join("model.safetensors");
    std::fs::copy(root().join("models/paper-90-all.safetensors"), &file).expect("model");
    file
}

fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        names.push(entry.expect("entry").file_name().into_string().expect("UTF-8"));
    }
    names.sort();
    names
}

/// The number at `key` of an evaluation on the CPU.
fn evaluated(model: &Path, data: &Path, key: &str) -> Option<f64> {
    let all = ["evaluate", "--model", text(model), "--data", text(data), "--device", "cpu"];
    run_json(&all)[key].as_f64()
}

#[test]
fn results_beside_the_tiles_never_become_labels() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let data = tiles(1, 120);
    let before = evaluated(&model, data.path(), "mean_dice");
    assert!(before.is_some());
    let image = data.path().join("tile0.png");
    let out = text(data.path());
    let segment = ["segment", text(&image), "--model", text(&model), "--device", "cpu"];
    run_json(&[&segment[..], &["--out", out]].concat());
    run_json(&[&segment[..], &["--out", out]].concat());
    assert_eq!(evaluated(&model, data.path(), "mean_dice"), before);
    let report = run_json(&["data", "check", out]);
    assert_eq!(report["tiles"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(report["tiles"][0]["paired_by"], "same folder, ending '_labels'");
    // Under the name of a label too.
    let labels = data.path().join("tile0_labels.png");
    std::fs::copy(data.path().join("tile0.labels.png"), &labels).expect("copied");
    assert_eq!(run(&["data", "check", out]).0, Some(1));
    // Someone's own label map has the name of a result.
    std::fs::remove_file(data.path().join("tile0.csv")).expect("removed");
    std::fs::write(data.path().join("tile0.mask.png"), labels_png(120)).expect("labels");
    let (code, _, err) = run(&[&segment[..], &["--out", out]].concat());
    assert!(code == Some(2) && err.contains("not replaced"), "{err}");
}

fn labels_png(side: usize) -> Vec<u8> {
    encode_labels_png(&Plane::filled(side, side, 1)).expect("png").0
}

#[test]
fn a_model_is_changed_with_in_place_alone() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let original = std::fs::read(&model).expect("model");
    let data = tiles(1, 100);
    let tune =
        ["tune", "--model", text(&model), "--data", text(data.path()), "--device", "cpu", "--json"];
    let (code, _, err) = run(&tune);
    assert!(code == Some(0) && err.contains("No model is written"), "{err}");
    let tuned = dir.path().join("tuned.safetensors");
    assert_eq!(run(&[&tune[..], &["--out", text(&tuned)]].concat()).0, Some(0));
    assert_eq!(run(&[&tune[..], &["--out", text(&model)]].concat()).0, Some(2));
    assert_eq!(std::fs::read(&model).expect("model"), original);
    // Nothing is better than the best.
    let best = std::fs::read(&tuned).expect("tuned");
    let again = [
        "tune",
        "--model",
        text(&tuned),
        "--data",
        text(data.path()),
        "--device",
        "cpu",
        "--in-place",
    ];
    let (code, _, err) = run(&again);
    assert!(code == Some(1) && err.contains("No better parameters"), "{err}");
    assert_eq!(std::fs::read(&tuned).expect("tuned"), best);

    let record =
        ["evaluate", "--model", text(&model), "--data", text(data.path()), "--record", "x"];
    let record = [&record[..], &["--device", "cpu"]].concat();
    let (code, _, err) = run(&record);
    assert!(code == Some(2) && err.contains("--in-place"), "{err}");
    let out = dir.path().join("scored");
    run_json(&[&record[..], &["--out", text(&out)]].concat());
    assert!(out.join("model.safetensors").is_file());
    assert_eq!(std::fs::read(&model).expect("model"), original);
}

#[test]
fn slides_are_named_after_their_files_whatever_is_in_the_names() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let out = dir.path().join("out");
    for name in ["case #12.svs", "case #13.svs", "S%201.svs"] {
        let file = dir.path().join(name);
        std::fs::write(&file, slide(&pyramid(150, 110), PLAIN, "")).expect("slide");
        let fixed = ["--mpp", "0.25", "--device", "cpu", "--background"];
        let all = ["slide", "segment", text(&file), "--model", text(&model), "--out", text(&out)];
        let (code, _, err) = run(&[&all[..], &fixed[..]].concat());
        assert!(matches!(code, Some(0 | 1)), "{err}");
    }
    let expected =
        ["S%201.csv", "S%201.geojson", "case #12.csv", "case #12.geojson", "case #13.csv"];
    assert_eq!(names(&out)[..5], expected);
}

#[test]
fn a_page_shows_every_tile_with_its_rule_and_notes() {
    let data = tiles(2, 90);
    let broken = data.path().join("lost.png");
    std::fs::write(&broken, encode_rgb_png(&Plane::filled(30, 20, [200; 3])).expect("png"))
        .expect("image");
    std::fs::write(data.path().join("lost_mask.png"), labels_png(20)).expect("labels");
    let page = data.path().join("out/page.html");
    run_json(&["data", "check", text(data.path()), "--html", text(&page)]);
    let html = std::fs::read_to_string(&page).expect("page");
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 3);
    assert!(html.contains("ending '_labels'") && html.contains("20×20 pixels, the image is 30×20"));
    assert!(!html.contains("http"));
    let (code, _, err) = run(&["data", "check", text(data.path()), "--html", text(&broken)]);
    assert!(code == Some(2) && err.contains(".html"), "{err}");
}

#[test]
fn tiles_without_nuclei_are_in_no_mean_and_nothing_is_learned_from_them() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let data = tiles(1, 100);
    let before = evaluated(&model, data.path(), "mean_aji");
    let blank = tempfile::tempdir().expect("folder");
    for folder in [data.path(), blank.path()] {
        let image = encode_rgb_png(&Plane::filled(60, 60, [240; 3])).expect("png");
        std::fs::write(folder.join("blank.png"), image).expect("image");
        let none = encode_labels_png(&Plane::filled(60, 60, 0)).expect("png").0;
        std::fs::write(folder.join("blank_mask.png"), none).expect("labels");
    }
    assert_eq!(evaluated(&model, data.path(), "mean_aji"), before);
    assert_eq!(evaluated(&model, data.path(), "tiles_without_nuclei"), Some(1.0));
    let out = dir.path().join("new.safetensors");
    let only = ["--data", text(blank.path()), "--device", "cpu", "--out", text(&out)];
    for verb in [
        &["train", "--patches", "60", "--epochs", "1"][..],
        &["train", "--patches", "60", "--epochs", "1", "--balanced"],
        &["tune", "--model", text(&model)],
    ] {
        let (code, _, err) = run(&[verb, &only].concat());
        assert!(code == Some(2) && err.contains("No nucleus is labelled"), "{err}");
        assert!(!out.exists());
    }
}

#[test]
fn an_output_in_the_way_is_found_before_the_work() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let data = tiles(1, 64);
    let (data, image) = (text(data.path()), data.path().join("tile0.png"));
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").expect("file");
    let below = file.join("below");
    let (model, image, file, below) = (text(&model), text(&image), text(&file), text(&below));
    let cases: [&[&str]; 8] = [
        &["segment", image, "--model", model, "--device", "cpu", "--out", file],
        &["train", "--data", data, "--out", below],
        &["train", "--data", data, "--out", data],
        &["tune", "--model", model, "--data", data, "--out", below],
        &["evaluate", "--model", model, "--data", data, "--device", "cpu", "--out", file],
        &["prune", model, "--ratio", "0.5", "--out", model],
        &["study", "run", "smoke", "--out", below],
        &["demo", "--out", file],
    ];
    for case in cases {
        let (code, _, err) = run(case);
        let is_sentence = err.contains("in the way") || err.contains("the command reads");
        assert!(code == Some(2) && is_sentence, "{case:?}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn files_get_the_permissions_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    for (umask, mode) in [("077", 0o600), ("002", 0o664)] {
        let out = dir.path().join(format!("{umask}.safetensors"));
        let script = format!("umask {umask}; exec \"$@\"");
        let program = prunella().get_program().to_owned();
        let status = std::process::Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(program)
            .args(["prune", text(&model), "--ratio", "0.5", "--out", text(&out)])
            .output()
            .expect("the shell starts")
            .status;
        assert!(status.success());
        assert_eq!(out.metadata().expect("model").permissions().mode() & 0o777, mode, "{umask}");
    }
}

#[test]
fn data_sets_state_what_they_are_and_are_mixed_resampled_and_scored_apart() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let (fine, coarse) = (tiles(2, 120), tiles(1, 120));
    std::fs::write(
        fine.path().join("dataset.toml"),
        "name = 'fine'\nmpp_um = 0.25\nlicence = 'CC BY 4.0'\ncitation = 'A 2018'\n\
         [splits]\ntest = ['tile1']\n",
    )
    .expect("file");
    std::fs::write(
        coarse.path().join("dataset.toml"),
        "name = 'coarse'\nmpp_um = 0.5\nlicence = 'CC BY-NC-SA 4.0'\n",
    )
    .expect("file");
    let report = run_json(&["data", "check", text(fine.path())]);
    assert_eq!(report["dataset"]["name"], "fine");
    assert_eq!(report["tiles"][1]["splits"][0], "test");
    assert_eq!(report["other_files"].as_array().map(Vec::len), Some(0), "{report}");

    let both = ["--data", text(fine.path()), "--data", text(coarse.path())];
    let evaluate = ["evaluate", "--model", text(&model), "--device", "cpu", "--split", "test"];
    let scores = run_json(&[&evaluate[..], &both].concat());
    // The set without such a split is used whole.
    assert_eq!(scores["sets"][0]["tile_count"], 1);
    assert_eq!(scores["sets"][1]["name"], "coarse");
    assert!(scores["sets"][1]["mean_aji_plus"].is_number(), "{scores}");
    let names: Vec<_> = (0..2).map(|i| scores["tiles"][i]["name"].as_str()).collect();
    assert_eq!(names, [Some("tile1"), Some("tile0")]);
    let unknown = [&evaluate[..5], &["--split", "other"], &both].concat();
    let (code, _, err) = run(&unknown);
    assert!(code == Some(2) && err.contains("test of fine"), "{err}");

    let out = dir.path().join("mixed.safetensors");
    let weighted = format!("{}=3", coarse.path().display());
    let finetune = [
        "finetune",
        text(&model),
        "--data",
        text(fine.path()),
        "--data",
        &weighted,
        "--patches",
        "60",
        "--epochs",
        "1",
        "--augment",
        "wide",
        "--device",
        "cpu",
        "--out",
        text(&out),
    ];
    run_json(&finetune);
    let card = &run_json(&["info", text(&out)])["card"];
    assert_eq!(card["data_sources"][0]["citation"], "A 2018");
    assert_eq!(card["mpp_um"], 0.25, "the coarse tile is resampled");
    let licence = card["licence"].as_str().expect("licence");
    assert!(licence.contains("BY-NC-SA"), "{licence}");
    let history = card["history"].as_array().expect("history");
    assert_eq!(history.last().expect("step")["tile_weights"][2], 3.0);
}
