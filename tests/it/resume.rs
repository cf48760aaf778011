//! A run that is killed goes on to the same weights, bit for bit.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use prunella::dataset::phantom;
use prunella::model::{Model, dccn, dcnn};
use prunella::train::{Compute, Recipe, TrainData, Trainer};

use crate::support::{prunella, run, run_json, text, tiles};

fn arguments<'a>(data: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let fixed =
        ["--patches", "300", "--epochs", "2", "--batch", "16", "--device", "cpu", "--augment"];
    [&["train", "--data", text(data), "--out", text(out), "--checkpoint-every", "0"], &fixed[..]]
        .concat()
}

/// Starts the run, waits until its checkpoint has changed `times` times, and kills it.
fn kill_after(data: &Path, out: &Path, times: usize) {
    let mut child = prunella()
        .args(arguments(data, out))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let checkpoint =
        out.with_file_name(format!("{}.checkpoint", out.file_name().expect("name").display()));
    let stamp = || std::fs::metadata(&checkpoint).and_then(|m| m.modified()).ok();
    let (mut last, mut seen, begun) = (stamp(), 0, Instant::now());
    while seen < times {
        assert!(begun.elapsed() < Duration::from_mins(2), "no checkpoint appears");
        assert!(child.try_wait().expect("state").is_none(), "the run ended before it was killed");
        std::thread::sleep(Duration::from_millis(5));
        let now = stamp();
        if now != last {
            (last, seen) = (now, seen + 1);
        }
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(!out.exists(), "no result before the end");
}

#[test]
fn a_run_killed_twice_ends_with_the_same_weights_and_log() {
    let data = tiles(2, 96);
    let dir = tempfile::tempdir().expect("folder");
    let (whole, killed) =
        (dir.path().join("whole.safetensors"), dir.path().join("killed.safetensors"));
    let straight = run_json(&arguments(data.path(), &whole));
    kill_after(data.path(), &killed, 3);
    kill_after(data.path(), &killed, 9);
    let (code, out, err) = run(&[&arguments(data.path(), &killed)[..], &["--json"]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("Going on from a checkpoint"), "{err}");
    let resumed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(resumed["fingerprint"], straight["fingerprint"]);
    let read =
        |p: &Path, ending: &str| std::fs::read(format!("{}.{ending}", p.display())).expect("log");
    assert_eq!(read(&whole, "log.jsonl"), read(&killed, "log.jsonl"));
    assert_eq!(read(&whole, "curves.svg"), read(&killed, "curves.svg"));
}

#[test]
fn a_checkpoint_of_another_run_is_not_taken_and_fresh_replaces_it() {
    let data = tiles(2, 96);
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("m.safetensors");
    kill_after(data.path(), &out, 2);
    let mut other = arguments(data.path(), &out);
    other.extend(["--seed", "9"]);
    let (code, _, err) = run(&other);
    assert_eq!(code, Some(2));
    assert!(err.contains("another run") && err.contains("--fresh"), "{err}");
    other.push("--fresh");
    assert_eq!(run(&other).0, Some(0));
}

#[cfg(feature = "train-gpu")]
#[cfg(feature = "burn-flex")]
#[test]
fn a_batch_split_into_parts_trains_like_the_whole() {
    let tiles = [phantom::tile(96, 96, 1)];
    let start = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
    let recipe =
        Recipe { patches: 80, epochs: 1, batch: 16, learning_rate: 1e-4, ..Recipe::default() };
    let loss = |compute: &Compute| {
        let trainer = Trainer {
            start: &start,
            data: TrainData { tiles: &tiles },
            recipe: &recipe,
            compute,
            teachers: &[],
            checkpoint: None,
            checkpoint_every: Duration::MAX,
            ends_collapsed: true,
            cancel: &AtomicBool::new(false),
        };
        trainer.run(&mut |_| {}).expect("trained").history[0].train_loss
    };
    let whole = Compute::burn_cpu();
    let mut parts = whole.clone();
    let prunella::train::TrainBackend::Burn(device) = &mut parts.backend else {
        panic!("a device")
    };
    device.max_tensor_bytes = Some(5 * 3 * 55 * 55 * 4);
    assert_eq!(device.micro_batch(start.graph(), 16).expect("fits"), 5);
    let whole = loss(&whole);
    let parts = loss(&parts);
    assert!((whole - parts).abs() < 1e-5 * whole, "{whole} against {parts}");
}

#[test]
fn a_network_whose_weights_are_no_numbers_is_not_trained_on() {
    let tiles = [phantom::tile(96, 96, 1)];
    for architecture in [dcnn([3, 5, 8], 20, 2), dccn(5, 7, 3, [6, 5, 9], 2)] {
        let sound = Model::random(architecture, 1).expect("model");
        let mut weights = sound.weights().clone();
        weights.values_mut().next().expect("arrays").data[0] = f32::NAN;
        let start = sound.with_weights(weights).expect("the same shapes");
        let recipe = Recipe { patches: 80, epochs: 1, batch: 64, ..Recipe::default() };
        let trainer = Trainer {
            start: &start,
            data: TrainData { tiles: &tiles },
            recipe: &recipe,
            compute: &Compute::cpu(),
            teachers: &[],
            checkpoint: None,
            checkpoint_every: Duration::MAX,
            ends_collapsed: true,
            cancel: &AtomicBool::new(false),
        };
        let said = trainer.run(&mut |_| {}).expect_err("refused").to_string();
        assert!(said.contains("no longer a number"), "{said}");
    }
}

#[test]
fn a_network_gets_a_border_class_and_nuclei_are_found_with_it() {
    let data = tiles(3, 128);
    let dir = tempfile::tempdir().expect("folder");
    let plain = dir.path().join("plain.safetensors");
    let bordered = dir.path().join("bordered.safetensors");
    let recipe = [
        "--square",
        "8",
        "--patches",
        "12000",
        "--epochs",
        "25",
        "--batch",
        "8",
        "--learning-rate",
        "0.01",
        "--revive",
        "--device",
        "cpu",
        "--ema",
        "0.9",
    ];
    let train = ["train", "--widths", "4,6,8,24", "--data", text(data.path())];
    run_json(&[&train[..], &["--out", text(&plain)], &recipe].concat());
    let finetune = ["finetune", text(&plain), "--border", "0.5", "--data", text(data.path())];
    run_json(&[&finetune[..], &["--out", text(&bordered)], &recipe].concat());
    let card = Model::load(&bordered).expect("model").card().clone();
    let names: Vec<&str> = card.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!((names, card.border_um), (vec!["background", "nucleus", "border"], Some(0.5)));

    let tune = ["tune", "--model", text(&bordered), "--data", text(data.path()), "--device", "cpu"];
    let tuned = run_json(&tune);
    let seen = tuned["mean_aji_and_pq"].as_f64().expect("score");
    let unseen = tuned["cross_validated"].as_f64().expect("score");
    assert!(seen > 0.1 && unseen > 0.05 && unseen <= seen + 1e-9, "{tuned}");

    // A model of two classes does not teach what it does not know.
    let other = dir.path().join("t");
    let taught = [&finetune[..], &["--out", text(&other), "--teacher", text(&plain)]];
    let (code, _, err) = run(&[taught.concat(), recipe.to_vec()].concat());
    assert_eq!(code, Some(2));
    assert!(err.contains("tell apart"), "{err}");
}
