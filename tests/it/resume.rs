//! A run that is killed goes on to the same weights, bit for bit.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{prunella, run, run_json, text, tiles};

fn arguments<'a>(data: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let fixed = ["--patches", "300", "--epochs", "2", "--batch", "16", "--device", "cpu", "--augment"];
    [&["train", "--data", text(data), "--out", text(out), "--checkpoint-every", "0"], &fixed[..]].concat()
}

/// Starts the run, waits until its checkpoint has changed `times` times, and kills it.
fn kill_after(data: &Path, out: &Path, times: usize) {
    let mut child = prunella()
        .args(arguments(data, out))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let checkpoint = out.with_file_name(format!("{}.checkpoint", out.file_name().expect("name").display()));
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
    let (whole, killed) = (dir.path().join("whole.safetensors"), dir.path().join("killed.safetensors"));
    let straight = run_json(&arguments(data.path(), &whole));
    kill_after(data.path(), &killed, 3);
    kill_after(data.path(), &killed, 9);
    let (code, out, err) = run(&[&arguments(data.path(), &killed)[..], &["--json"]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("Going on from a checkpoint"), "{err}");
    let resumed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(resumed["fingerprint"], straight["fingerprint"]);
    let read = |p: &Path, ending: &str| std::fs::read(format!("{}.{ending}", p.display())).expect("log");
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
