//! Benchmarks with their peers: `cargo xtask bench segment|web [--json]`.

use std::process::Command;

use crate::run::{Result, cargo, root, run, works};
use crate::{setup, web};

/// Pinned, so that a table means the same tomorrow.
const ONNXRUNTIME: &str = "1.31.0";
const ONNXRUNTIME_WEB: &str = "1.30.0";

/// Runs the named benchmark.
pub fn bench(name: Option<&str>, rest: &[String]) -> Result<()> {
    match name {
        Some("segment") => segment(rest),
        Some("web") => web(rest),
        _ => Err("Say which benchmark: segment or web".into()),
    }
}

fn web(rest: &[String]) -> Result<()> {
    let browser = setup::browser()?;
    let peers = root().join("target/tools/bench-web");
    std::fs::create_dir_all(&peers).map_err(|e| e.to_string())?;
    let peer = format!("onnxruntime-web@{ONNXRUNTIME_WEB}");
    run(Command::new("npm").args(["install", "--silent", "--no-save", "--prefix"]).arg(&peers).arg(peer))?;
    web::web()?;
    run(&mut cargo(&["build", "--quiet", "--release", "--package", "prunella"]))?;
    run(Command::new("node")
        .arg("benches/web.mjs")
        .arg(peers.join("node_modules"))
        .args(rest)
        .env("PRUNELLA_CHROMIUM", browser))
}

fn segment(rest: &[String]) -> Result<()> {
    let venv = root().join("target/tools/bench");
    let python = venv.join("bin/python");
    let ready = || works(&python.to_string_lossy(), &["-c", "import onnxruntime, numpy"]);
    if !ready() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).map_err(|_| {
            "Python 3 with venv is missing; on Debian or Ubuntu: apt-get install python3-venv".to_owned()
        })?;
        let onnxruntime = format!("onnxruntime=={ONNXRUNTIME}");
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", &onnxruntime, "numpy"]))?;
    }
    let mut arguments = vec!["bench", "--quiet", "--package", "prunella", "--bench", "segment", "--"];
    arguments.extend(rest.iter().map(String::as_str));
    let mut command = cargo(&arguments);
    command.env("PRUNELLA_BENCH_PYTHON", &python);
    run(&mut command)
}
