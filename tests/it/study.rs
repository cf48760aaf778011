//! Studies: killed and resumed, done side by side, planned for other machines; the report is the
//! same bytes each time.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{prunella, run, text, tiles};

/// Seconds on two cores: the small network, few patches.
const TINY: &str = r#"
name = "tiny"
networks = ["small"]
ratios = [0.0, 0.9]
patches = [200, 400]

[pretrain]
patches = 300
epochs = 1

[train]
epochs = 2
batch = 32
learning_rate = 2e-3
awake = true

[data]
phantom = true
"#;

const SPLIT: &str = r#"
[data.split]
pretrain = ["tile0", "tile1"]
train = ["tile1"]
test = ["tile2"]
"#;

fn report(folder: &Path) -> (String, String) {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    (read("report.html"), read("results.csv"))
}

#[test]
fn a_study_killed_three_times_and_one_done_side_by_side_give_the_same_bytes() {
    let dir = tempfile::tempdir().expect("folder");
    let design = dir.path().join("tiny.toml");
    std::fs::write(&design, TINY).expect("design");
    let folder = |name: &str| dir.path().join(name);
    let arguments = |out: &Path| {
        ["study", "run", text(&design), "--device", "cpu", "--out", text(out)]
            .map(str::to_owned)
            .to_vec()
    };
    let (code, _, stderr) =
        run(&arguments(&folder("whole")).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(0), "{stderr}");
    for milliseconds in [300, 900, 1700] {
        let mut child = prunella()
            .args(arguments(&folder("killed")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    for (name, more) in [("killed", &[][..]), ("killed", &[]), ("beside", &["--jobs", "2"])] {
        let mut all = arguments(&folder(name));
        all.extend(more.iter().map(|m| (*m).to_owned()));
        let (code, _, stderr) = run(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(report(&folder(name)), report(&folder("whole")), "{name}");
    }
    let (_, table) = report(&folder("whole"));
    assert_eq!(table.lines().count(), 5, "{table}");
    // Times that were measured once are kept and drawn.
    let times = dir.path().join("cost.csv");
    std::fs::write(&times, "network,pruning_ratio,bytes,ms\nsmall,0,9,0.2\nsmall,0.9,9,0.1\n")
        .expect("times");
    let whole = folder("whole");
    let (code, _, stderr) = run(&["study", "report", text(&whole), "--times", text(&times)]);
    assert_eq!(code, Some(0), "{stderr}");
    let drawn = report(&whole);
    assert!(
        drawn.0.contains("accuracy against milliseconds") && drawn.0 != report(&folder("killed")).0
    );
    run(&["study", "report", text(&whole)]);
    assert_eq!(report(&whole), drawn, "the same bytes without being told again");
    let (code, _, stderr) = run(&["study", "report", text(&whole), "--times", text(&design)]);
    assert!(code == Some(2) && stderr.contains("paper-cost"), "{stderr}");
    // Another design does not mix with this one.
    let (code, _, stderr) = run(&["study", "run", "smoke", "--out", text(&folder("whole"))]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("Another design"), "{stderr}");
    let (code, stdout, _) =
        run(&["advise", "--patches", "400", "--study", text(&folder("whole")), "--margin", "1"]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("Remove 90 %") && stdout.contains("this study"), "{stdout}");
}

#[test]
fn plans_cells_and_designs_explain_themselves() {
    let dir = tempfile::tempdir().expect("folder");
    let (out, none) = (dir.path().join("plan"), dir.path().join("none"));
    let (code, _, stderr) = run(&["study", "plan", "smoke", "--out", text(&out)]);
    assert_eq!(code, Some(0), "{stderr}");
    let workflow = std::fs::read_to_string(out.join("Snakefile")).expect("workflow");
    assert!(workflow.contains("rule pretrain") && workflow.contains("small-d90-n600-s1-"));
    for (arguments, word) in [
        (vec!["study", "run", "no-such-design", "--out", text(&none)], "paper-table4"),
        (vec!["study", "run", "paper-table6", "--out", text(&none)], "--data"),
        (
            vec!["study", "plan", "paper-table6", "--data", ".", "--out", text(&out)],
            "Another design",
        ),
        (vec!["study", "cell", text(&out), "--id", "no-such-cell"], "no cell"),
        (vec!["study", "report", "/nowhere"], "/nowhere"),
    ] {
        let (code, _, stderr) = run(&arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(stderr.contains(word), "{stderr}");
    }
    assert!(!none.exists(), "nothing is written when nothing can be done");
    let (code, stdout, _) = run(&["study", "report", text(&out)]);
    assert_eq!(code, Some(1), "{stdout}");
}

#[test]
fn a_study_of_ones_own_tiles_needs_a_split_and_keeps_to_what_it_began_with() {
    let folders = [tiles(3, 96), tiles(2, 96), tiles(3, 100)];
    let [mine, fewer, others] = folders.each_ref().map(|folder| text(folder.path()));
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("study");
    let design = |name: &str, end: &str| {
        let design = dir.path().join(name);
        std::fs::write(&design, TINY.replace("[data]\nphantom = true", end)).expect("design");
        design
    };
    let (bare, split) = (design("bare.toml", ""), design("split.toml", SPLIT));
    let study = |design: &Path, data: &str| {
        let (code, _, stderr) = run(&[
            "study",
            "run",
            text(design),
            "--data",
            data,
            "--device",
            "cpu",
            "--out",
            text(&out),
        ]);
        (code, stderr)
    };
    let (code, stderr) = study(&bare, mine);
    assert!(
        code == Some(2)
            && stderr.contains("[data.split]")
            && stderr.contains("tile0, tile1, tile2"),
        "{stderr}"
    );
    let (code, stderr) = study(&split, fewer);
    assert!(code == Some(2) && stderr.contains("'tile2'"), "{stderr}");
    assert!(!out.exists(), "a design that does not fit leaves nothing behind");

    let (code, stderr) = study(&split, mine);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(report(&out).1.lines().count(), 5, "four cells and a heading");
    let list = std::fs::read_to_string(out.join("tiles.jsonl")).expect("the list of tiles");
    assert_eq!(list.matches("\"tile\":\"tile1\"").count(), 2, "it pre-trains and trains: {list}");
    let cell = std::fs::read_dir(out.join("cells"))
        .expect("cells")
        .next()
        .expect("a cell")
        .expect("its file");
    std::fs::remove_file(cell.path()).expect("removed");
    let (code, stderr) = study(&split, others);
    assert!(code == Some(2) && stderr.contains("other tiles"), "{stderr}");
}
