//! Benchmarks with their peers: `cargo xtask bench segment|train|slide|web [--json]`.

use std::process::Command;

use crate::run::{Result, cargo, root, run, works};
use crate::{setup, web};

/// Pinned, so that a table means the same tomorrow.
const ONNXRUNTIME: &str = "1.31.0";
const TORCH: &str = "2.15.0";
const ONNXRUNTIME_WEB: &str = "1.30.0";

/// Runs the named benchmark.
pub fn bench(name: Option<&str>, rest: &[String]) -> Result<()> {
    match name {
        Some("segment") => native(
            "segment",
            &[&format!("onnxruntime=={ONNXRUNTIME}"), "numpy"],
            "onnxruntime, numpy",
            rest,
        ),
        Some("train") => {
            native("train", &[&format!("torch=={TORCH}"), "numpy"], "torch, numpy", rest)
        }
        Some("slide") => {
            native("slide", &["openslide-python", "openslide-bin"], "openslide", rest)?;
            slide_page(rest)
        }
        Some("web") => web(rest),
        _ => Err("Say which benchmark: segment, train, slide or web".into()),
    }
}

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
    run(&mut cargo(&["build", "--quiet", "--release", "--package", "prunella"]))?;
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

/// A benchmark of Cargo's with a peer in Python, which gets an environment of its own.
fn native(name: &str, packages: &[&str], modules: &str, rest: &[String]) -> Result<()> {
    let venv = root().join("target/tools").join(format!("bench-{name}"));
    let python = venv.join("bin/python");
    let ready = || works(&python.to_string_lossy(), &["-c", &format!("import {modules}")]);
    if !ready() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).map_err(|_| {
            "Python 3 with venv is missing; on Debian or Ubuntu: apt-get install python3-venv"
                .to_owned()
        })?;
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet"]).args(packages))?;
    }
    let mut arguments = vec!["bench", "--quiet", "--package", "prunella", "--bench", name, "--"];
    arguments.extend(rest.iter().map(String::as_str));
    run(cargo(&arguments).env("PRUNELLA_BENCH_PYTHON", &python))
}
