//! `cargo xtask fuzz [slide|dicom|zarr|picture|annotations|model|link|data] [SECONDS]`: libFuzzer
//! over the readers of files, starting from the corpus under `fuzz/corpus`. An input that fails is
//! written to `fuzz/artifacts`; once the error is fixed, it moves to the corpus.

use std::process::Command;

use crate::run::{Result, output_of, root, run};

const TARGETS: [&str; 8] =
    ["slide", "dicom", "zarr", "picture", "annotations", "model", "link", "data"];
/// Time for each target without a number on the command line.
const DEFAULT_SECONDS: u64 = 600;
/// Instrumentation for libFuzzer, by flags that stable compilers accept.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// Options of libFuzzer: longest input in bytes, longest run in seconds, memory in MB.
const OPTIONS: [&str; 5] =
    ["-max_len=65536", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1"];

/// Runs the targets named on the command line, or all.
pub fn fuzz(arguments: &[String]) -> Result<()> {
    let seconds = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(DEFAULT_SECONDS);
    let mut targets: Vec<&str> = Vec::new();
    for target in TARGETS {
        if arguments.iter().any(|a| a == target) {
            targets.push(target);
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    let host = output_of("rustc", &["--print", "host-tuple"])
        .ok_or("'rustc --print host-tuple' failed")?;
    build(&host)?;
    let programs = root().join("target/fuzz").join(&host).join("release");
    for target in targets {
        // libFuzzer writes new inputs to the first folder and reads all.
        let found = root().join("target/fuzz/corpus").join(target);
        let corpus = root().join("fuzz/corpus").join(target);
        let artifacts = root().join("fuzz/artifacts").join(target);
        for folder in [&found, &corpus, &artifacts] {
            std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        }
        println!("{target}, {seconds} s");
        run(Command::new(programs.join(target))
            .args([&found, &corpus])
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={seconds}"))
            .args(OPTIONS))?;
    }
    Ok(())
}

/// Builds all targets. An explicit `--target` keeps the instrumentation out of build scripts and
/// procedural macros.
fn build(host: &str) -> Result<()> {
    run(Command::new("cargo")
        .args(["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", host])
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_TARGET_DIR", root().join("target/fuzz")))
}
