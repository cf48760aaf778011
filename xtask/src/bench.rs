//! `cargo xtask bench segment|train|slide|web [--json]`: benchmarks against other programs (peers),
//! which are set up first. `cargo xtask bench teach [--page]`: what a
//! few corrections bring, or how long the page takes for them.

use std::process::Command;

use crate::run::{Result, cargo, root, run, works};
use crate::test::TEST_FEATURES;
use crate::{setup, web};

/// Versions of the peers, pinned so that results stay comparable.
const ONNXRUNTIME: &str = "1.31.0";
const TORCH: &str = "2.15.0";
const ONNXRUNTIME_WEB: &str = "1.30.0";

/// Runs the named benchmark; `rest` are its arguments.
///
/// # Errors
/// When the name is unknown, or a peer cannot be set up.
pub fn bench(name: Option<&str>, rest: &[String]) -> Result<()> {
    match name {
        Some("segment") => segment(rest),
        Some("train") => train(rest),
        Some("slide") => {
            slide(rest)?;
            slide_page(rest)
        }
        Some("web") => web(rest),
        Some("teach") => teach(rest),
        _ => Err("Name a benchmark: segment, train, slide, web or teach".into()),
    }
}

fn segment(rest: &[String]) -> Result<()> {
    let onnxruntime = format!("onnxruntime=={ONNXRUNTIME}");
    with_python("segment", &[&onnxruntime, "numpy"], "onnxruntime, numpy", rest)
}

fn train(rest: &[String]) -> Result<()> {
    with_python("train", &[&format!("torch=={TORCH}"), "numpy"], "torch, numpy", rest)
}

fn slide(rest: &[String]) -> Result<()> {
    with_python("slide", &["openslide-python", "openslide-bin"], "openslide", rest)
}

/// Teaching has no peer. With `--page` the page teaches, and the program what the page learned.
fn teach(rest: &[String]) -> Result<()> {
    if rest.iter().any(|argument| argument == "--page") {
        let browser = setup::browser()?;
        web::web()?;
        run(cargo(&["build", "--quiet", "--release", "--package", "prunella"])
            .args(["--features", TEST_FEATURES]))?;
        return run(Command::new("node")
            .arg("benches/teach_page.mjs")
            .env("PRUNELLA_CHROMIUM", browser));
    }
    let mut arguments = vec!["bench", "--quiet", "--package", "prunella"];
    arguments.extend(["--features", TEST_FEATURES, "--bench", "teach", "--"]);
    arguments.extend(rest.iter().map(String::as_str));
    run(&mut cargo(&arguments))
}

/// The page against onnxruntime-web.
fn web(rest: &[String]) -> Result<()> {
    let browser = setup::browser()?;
    let peers = root().join("target/tools/bench-web");
    std::fs::create_dir_all(&peers).map_err(|e| e.to_string())?;
    let peer = format!("onnxruntime-web@{ONNXRUNTIME_WEB}");
    run(Command::new("npm")
        .args(["install", "--silent", "--no-save", "--prefix"])
        .arg(&peers)
        .arg(peer))?;
    web::web()?;
    run(cargo(&["build", "--quiet", "--release", "--package", "prunella"])
        .args(["--features", TEST_FEATURES]))?;
    run(Command::new("node")
        .arg("benches/web.mjs")
        .arg(peers.join("node_modules"))
        .args(rest)
        .env("PRUNELLA_CHROMIUM", browser))
}

/// The page on a slide.
fn slide_page(rest: &[String]) -> Result<()> {
    let browser = setup::browser()?;
    web::web()?;
    run(Command::new("node")
        .arg("benches/slide_page.mjs")
        .args(rest)
        .env("PRUNELLA_CHROMIUM", browser))
}

/// A Cargo benchmark whose peer is a Python script with a virtual environment of its own.
fn with_python(name: &str, packages: &[&str], modules: &str, rest: &[String]) -> Result<()> {
    let environment = root().join("target/tools").join(format!("bench-{name}"));
    let python = environment.join("bin/python");
    if !works(&python.to_string_lossy(), &["-c", &format!("import {modules}")]) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment)).map_err(|_| {
            "Python 3 with venv is missing; on Debian or Ubuntu: apt-get install python3-venv"
                .to_owned()
        })?;
        let pip = environment.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet"]).args(packages))?;
    }
    let mut arguments = vec!["bench", "--quiet", "--package", "prunella"];
    arguments.extend(["--features", TEST_FEATURES, "--bench", name, "--"]);
    arguments.extend(rest.iter().map(String::as_str));
    run(cargo(&arguments).env("PRUNELLA_BENCH_PYTHON", &python))
}
