//! A model as a link: exported, imported, and refused when it is broken.

use prunella::model::{Model, Precision, dcnn, stored_precision};

use crate::support::{root, run, run_json, text};

#[test]
fn the_smallest_shipped_model_is_exported_as_a_link_and_imported_again() {
    let dir = tempfile::tempdir().expect("folder");
    let path = |name: &str| dir.path().join(name);
    let shipped = root().join("models/paper-90-all.safetensors");
    let exported = run_json(&["export", text(&shipped), "--link"]);
    let link = exported["link"].as_str().expect("link");
    assert!(link.starts_with("#m=") && link.len() <= 16 * 1024, "{} characters", link.len());
    assert!(exported["dice_with_unquantised"].as_f64().is_some_and(|d| d >= 0.99), "{exported}");
    let imported = run_json(&["import", link, "--out", text(&path("a.safetensors"))]);
    assert_eq!(imported["parameters"], exported["parameters"]);
    // The imported model gives the same link, and a link may also be read from a file.
    let again = run_json(&["export", text(&path("a.safetensors")), "--link"]);
    assert_eq!(again["link"], exported["link"]);
    std::fs::write(path("link.txt"), format!("https://example.org/{link}\n")).expect("written");
    let file = format!("@{}", text(&path("link.txt")));
    let from_file = run_json(&["import", &file, "--out", text(&path("b.safetensors"))]);
    assert_eq!(from_file["fingerprint"], imported["fingerprint"]);
}

#[test]
fn a_broken_link_gives_one_sentence_and_no_file() {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("never.safetensors");
    for link in ["#m=UAEA", "https://example.org/", "#m=%%%", ""] {
        let (code, _, stderr) = run(&["import", link, "--out", text(&out)]);
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{link}: {stderr}");
        assert!(!out.exists(), "{link}");
    }
}

#[test]
fn pruning_with_scope_all_narrows_the_hidden_layer_too() {
    let dir = tempfile::tempdir().expect("folder");
    let (from, to) = (dir.path().join("a.safetensors"), dir.path().join("b.safetensors"));
    Model::random(dcnn([4, 6, 8], 40, 2), 1)
        .expect("model")
        .save(&from, Precision::F32)
        .expect("saved");
    run_json(&["prune", text(&from), "--ratio", "0.5", "--scope", "all", "--out", text(&to)]);
    assert_eq!(Model::load(&to).expect("pruned").card().architecture, dcnn([2, 3, 4], 20, 2));
}

#[test]
fn a_model_of_few_bits_is_written_in_half_precision_and_its_source_stays() {
    let dir = tempfile::tempdir().expect("folder");
    let source = dir.path().join("whole.safetensors");
    let out = dir.path().join("small.safetensors");
    Model::random(dcnn([2, 3, 4], 8, 2), 5)
        .expect("model")
        .save(&source, Precision::F32)
        .expect("saved");
    let arguments = ["export", text(&source), "--round", "6", "--out", text(&out)];
    let result = run_json(&arguments);
    let bytes = std::fs::read(&out).expect("file");
    assert_eq!(result["bytes"], bytes.len());
    assert_eq!(stored_precision(&bytes).expect("precision"), Precision::F16);
    let small = Model::load(&out).expect("model");
    assert_eq!(result["fingerprint"], small.fingerprint());
    for (arguments, sentence) in [
        (["export", text(&source), "--round", "12", "--out", text(&out)], "1 to 11"),
        (["export", text(&source), "--round", "6", "--out", text(&source)], "input"),
    ] {
        let (code, _, stderr) = run(&arguments);
        assert!(code == Some(2) && stderr.contains(sentence), "{code:?} {stderr}");
    }
}
