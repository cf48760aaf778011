//! `cargo xtask fuzz [slide|annotations|model|link] [SECONDS]`: libFuzzer over the readers, from
//! the kept corpus on. A find is a file under `fuzz/artifacts`; mended, it moves to the corpus.

use std::process::Command;

use crate::run::{Result, root, run};

const TARGETS: [&str; 4] = ["slide", "annotations", "model", "link"];
const SECONDS: u64 = 600;
/// What libFuzzer steers by; stable compilers take these flags.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Runs one target, or all.
pub fn fuzz(rest: &[String]) -> Result<()> {
    let seconds = rest.iter().find_map(|a| a.parse().ok()).unwrap_or(SECONDS);
    let named: Vec<&str> = TARGETS.into_iter().filter(|t| rest.iter().any(|a| a == t)).collect();
    let wanted = if named.is_empty() { TARGETS.to_vec() } else { named };
    let folder = root().join("fuzz");
    // A target folder of its own, and an explicit target, so that build scripts are built without
    // coverage.
    let host = crate::run::output_of("rustc", &["--print", "host-tuple"])
        .ok_or("rustc does not say its host")?;
    run(Command::new("cargo")
        .args([
            "build",
            "--quiet",
            "--release",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            &host,
        ])
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_TARGET_DIR", root().join("target/fuzz")))?;
    for target in wanted {
        let found = root().join("target/fuzz/corpus").join(target);
        let artifacts = folder.join("artifacts").join(target);
        let kept = folder.join("corpus").join(target);
        for made in [&found, &artifacts, &kept] {
            std::fs::create_dir_all(made).map_err(|e| e.to_string())?;
        }
        println!("{target}, {seconds} s");
        run(Command::new(root().join("target/fuzz").join(&host).join("release").join(target))
            .args([&found, &kept])
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={seconds}"))
            .args([
                "-max_len=65536",
                "-timeout=20",
                "-rss_limit_mb=2048",
                "-print_final_stats=1",
                "-verbosity=1",
            ]))?;
    }
    Ok(())
}
