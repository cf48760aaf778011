//! Studies: stopped and continued, computed by several processes, planned for other machines. The
//! report has the same bytes each time.

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

/// Replaces `[data]` of [`TINY`].
const SPLIT: &str = r#"
[data.split]
pretrain = ["tile0", "tile1"]
train = ["tile1"]
test = ["tile2"]
"#;

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a text file")
}

/// Report and table of a study.
fn results(folder: &Path) -> [String; 2] {
    ["report.html", "results.csv"].map(|name| read(&folder.join(name)))
}

/// Arguments of `prunella study run` on the CPU.
fn run_arguments<'a>(design: &'a Path, out: &'a Path) -> Vec<&'a str> {
    vec!["study", "run", text(design), "--device", "cpu", "--out", text(out)]
}

/// Runs the program, which must succeed.
fn succeed(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout
}

/// Runs the program, which must fail with a message that contains `word`.
fn fail(arguments: &[&str], word: &str) -> String {
    let (code, _, stderr) = run(arguments);
    assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
    assert!(stderr.contains(word), "{arguments:?}: {stderr}");
    stderr
}

/// Starts the program and kills it after a time.
fn kill_after(milliseconds: u64, arguments: &[&str]) {
    let mut child = prunella()
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    std::thread::sleep(Duration::from_millis(milliseconds));
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn killed_and_parallel_studies_give_the_bytes_of_an_uninterrupted_one() {
    let dir = tempfile::tempdir().expect("folder");
    let design = dir.path().join("tiny.toml");
    std::fs::write(&design, TINY).expect("design");
    let [whole, killed, parallel] = ["whole", "killed", "parallel"].map(|n| dir.path().join(n));

    succeed(&run_arguments(&design, &whole));
    let expected = results(&whole);
    assert_eq!(expected[1].lines().count(), 5, "four cells and a header: {}", expected[1]);

    for milliseconds in [300, 900, 1700] {
        kill_after(milliseconds, &run_arguments(&design, &killed));
    }
    succeed(&run_arguments(&design, &killed));
    assert_eq!(results(&killed), expected, "continued");
    succeed(&run_arguments(&design, &killed));
    assert_eq!(results(&killed), expected, "finished already");

    let mut arguments = run_arguments(&design, &parallel);
    arguments.extend(["--jobs", "2"]);
    succeed(&arguments);
    assert_eq!(results(&parallel), expected, "two processes");

    // Times that were given once are kept and drawn.
    let times = dir.path().join("cost.csv");
    std::fs::write(&times, "network,pruning_ratio,bytes,ms\nsmall,0,9,0.2\nsmall,0.9,9,0.1\n")
        .expect("times");
    succeed(&["study", "report", text(&whole), "--times", text(&times)]);
    let with_times = results(&whole);
    assert!(with_times[0].contains("accuracy against milliseconds"));
    assert!(!expected[0].contains("accuracy against milliseconds"));
    succeed(&["study", "report", text(&whole)]);
    assert_eq!(results(&whole), with_times, "the times are kept");
    fail(&["study", "report", text(&whole), "--times", text(&design)], "paper-cost");

    fail(&["study", "run", "smoke", "--out", text(&whole)], "Another design");
    let advice = succeed(&["advise", "--patches", "400", "--study", text(&whole), "--margin", "1"]);
    assert!(advice.contains("Remove 90 %") && advice.contains("this study"), "{advice}");
}

#[test]
fn plans_are_written_and_wrong_arguments_are_explained() {
    let dir = tempfile::tempdir().expect("folder");
    let plan = dir.path().join("plan");
    succeed(&["study", "plan", "smoke", "--out", text(&plan)]);
    let workflow = read(&plan.join("Snakefile"));
    assert!(workflow.contains("rule pretrain") && workflow.contains("small-d90-n600-s1-"));

    let absent = dir.path().join("absent");
    fail(&["study", "run", "no-such-design", "--out", text(&absent)], "paper-table4");
    fail(&["study", "run", "paper-table6", "--out", text(&absent)], "--data");
    assert!(!absent.exists(), "nothing is written when nothing can be done");
    fail(&["study", "plan", "paper-table6", "--data", ".", "--out", text(&plan)], "Another design");
    fail(&["study", "cell", text(&plan), "--id", "no-such-cell"], "no cell");
    fail(&["study", "report", "/nowhere"], "/nowhere");

    let (code, stdout, _) = run(&["study", "report", text(&plan)]);
    assert_eq!(code, Some(1), "no cell is finished: {stdout}");
}

#[test]
fn a_study_of_other_tiles_needs_a_split_and_refuses_changed_tiles() {
    let mine = tiles(3, 96);
    let fewer = tiles(2, 96);
    let changed = tiles(3, 100);
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("study");
    let without_split = dir.path().join("bare.toml");
    std::fs::write(&without_split, TINY.replace("[data]\nphantom = true", "")).expect("design");
    let with_split = dir.path().join("split.toml");
    std::fs::write(&with_split, TINY.replace("[data]\nphantom = true", SPLIT)).expect("design");

    let mut arguments = run_arguments(&without_split, &out);
    arguments.extend(["--data", text(mine.path())]);
    let message = fail(&arguments, "[data.split]");
    assert!(message.contains("tile0, tile1, tile2"), "{message}");
    let mut arguments = run_arguments(&with_split, &out);
    arguments.extend(["--data", text(fewer.path())]);
    fail(&arguments, "'tile2'");
    assert!(!out.exists(), "a design that does not fit leaves nothing behind");

    let mut arguments = run_arguments(&with_split, &out);
    arguments.extend(["--data", text(mine.path())]);
    succeed(&arguments);
    assert_eq!(results(&out)[1].lines().count(), 5, "four cells and a header");
    let manifest = read(&out.join("tiles.jsonl"));
    let roles = manifest.matches("\"tile\":\"tile1\"").count();
    assert_eq!(roles, 2, "it pre-trains and trains: {manifest}");

    let mut cells = std::fs::read_dir(out.join("cells")).expect("cells");
    let cell = cells.next().expect("a cell").expect("its file");
    std::fs::remove_file(cell.path()).expect("removed");
    let mut arguments = run_arguments(&with_split, &out);
    arguments.extend(["--data", text(changed.path())]);
    fail(&arguments, "other tiles");
}
