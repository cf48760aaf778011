//! Benchmarks with their peers: `cargo xtask bench segment [--json]`.

use std::process::Command;

use crate::run::{Result, cargo, root, run, works};

/// Pinned, so that a table means the same tomorrow.
const ONNXRUNTIME: &str = "1.31.0";

/// Runs the named benchmark.
pub fn bench(name: Option<&str>, rest: &[String]) -> Result<()> {
    match name {
        Some("segment") => segment(rest),
        _ => Err("Say which benchmark: segment".into()),
    }
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
