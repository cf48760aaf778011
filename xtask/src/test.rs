//! `cargo xtask test`: all checks, cheapest first. Each check runs even when an earlier one failed;
//! checks and tests that cannot run are listed with the reason.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::run::{Result, cargo, root, run};
use crate::setup::{Tools, WebCompiler, everything};
use crate::web;

/// Features of tests and benchmarks beyond the default ones. All builds here have the same, so that
/// Burn is compiled once.
pub const TEST_FEATURES: &str = "burn-flex";
/// Ends Clippy's arguments: warnings are errors.
const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

/// Results of checks by outcome.
#[derive(Default)]
struct Summary {
    /// Names with times.
    passed: Vec<String>,
    /// Names with reasons, as for `skipped`.
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Summary {
    /// Runs a check and records its result.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let started = Instant::now();
        match check() {
            Ok(()) => {
                self.passed.push(format!("{name} ({:.0} s)", started.elapsed().as_secs_f64()));
            }
            Err(reason) => {
                println!("FAILED {name}: {reason}");
                self.failed.push(format!("{name}: {reason}"));
            }
        }
    }

    /// Runs a check that needs a tool, or records that the tool is missing.
    fn check_with<T>(
        &mut self,
        name: &str,
        tool: &Result<T>,
        check: impl FnOnce(&T) -> Result<()>,
    ) {
        match tool {
            Ok(tool) => self.check(name, || check(tool)),
            Err(reason) => {
                println!("\n== {name}\nSKIPPED: {reason}");
                self.skipped.push(format!("{name}: {reason}"));
            }
        }
    }
}

/// Runs all checks.
///
/// # Errors
/// The number of failed checks, or what cannot be set up.
pub fn test() -> Result<()> {
    let tools = everything()?;
    let skipped_tests = root().join("target/skipped-tests.txt");
    // A list of an earlier run would be counted again.
    drop(std::fs::remove_file(&skipped_tests));
    let mut summary = Summary::default();
    summary.check("rustfmt", || run(&mut cargo(&["fmt", "--all", "--check"])));
    summary.check_with("typos", &tools.typos, |typos| run(&mut Command::new(typos)));
    // One package at a time: together their features would unify and Burn would be built twice.
    summary.check("clippy: xtask", || clippy(&["--package", "xtask", "--all-targets"]));
    summary.check("clippy: prunella", || {
        clippy(&["--package", "prunella", "--features", TEST_FEATURES, "--all-targets"])
    });
    summary.check("clippy: prunella without default features", || {
        clippy(&["--package", "prunella", "--no-default-features", "--lib", "--bins"])
    });
    // Tests have one feature more than the program that people build.
    summary.check("check: prunella as people build it", || {
        run(&mut cargo(&["check", "--quiet", "--release", "--package", "prunella"]))
    });
    summary.check_with("clippy: prunella for wasm32", &tools.web, clippy_for_web);
    summary.check_with("cargo-deny: licences, bans, sources", &tools.deny, |deny| {
        let checks = ["check", "bans", "licenses", "sources"];
        run(Command::new(deny).args(["--log-level", "error"]).args(checks))
    });
    summary.check_with("page: build and size", &tools.web, |_| web::web().map(drop));
    summary.check("tests", || tests(&tools, &skipped_tests));
    summary.check_with("page: types", &tools.browser, |_| {
        run(Command::new("tests/e2e/node_modules/.bin/tsc").args(["--project", "web"]))
    });
    summary.check_with("page: end-to-end tests in a browser", &tools.browser, |browser| {
        run(Command::new("node")
            .args(["--test", "--test-concurrency=1", "--test-reporter=spec", "tests/e2e/"])
            .env("PRUNELLA_CHROMIUM", browser))
    });
    summary.check("rustdoc", || {
        run(cargo(&["doc", "--release", "--no-deps", "--package", "prunella"])
            .args(["--features", TEST_FEATURES])
            .env("RUSTDOCFLAGS", "-D warnings"))
    });
    let skipped = std::fs::read_to_string(&skipped_tests).unwrap_or_default();
    summary.skipped.extend(skipped.lines().map(str::to_owned));
    print_summary(&summary)
}

fn clippy(arguments: &[&str]) -> Result<()> {
    run(cargo(&["clippy", "--release"])
        .args(arguments)
        .args(DENY_WARNINGS)
        .env("CARGO_TERM_COLOR", "never"))
}

/// Of both wasms: of the page and of its teaching workers.
fn clippy_for_web(compiler: &WebCompiler) -> Result<()> {
    let clippy = ["clippy", "--lib", "--target", web::TARGET, "--target-dir", web::TARGET_DIR];
    for features in [&[][..], &["--features", web::TEACH_FEATURE]] {
        let arguments = [&clippy, features].concat();
        match compiler {
            WebCompiler::Rustup => run(cargo(&arguments).args(DENY_WARNINGS))?,
            WebCompiler::Debian => {
                run(web::debian(&arguments, "").args(web::BUILD_STD).args(DENY_WARNINGS))?;
            }
        }
    }
    Ok(())
}

/// All tests, with the tools that some of them use. Tests that cannot run append to `skipped`.
fn tests(tools: &Tools, skipped: &Path) -> Result<()> {
    run(&mut cargo(&["test", "--release", "--package", "xtask"]))?;
    let mut command = cargo(&["test", "--release", "--package", "prunella", "--no-fail-fast"]);
    command.args(["--features", TEST_FEATURES]);
    command.env("PRUNELLA_SKIPS", skipped);
    if let Ok(python) = &tools.python {
        command.env("PRUNELLA_PYTHON", python);
    }
    match &tools.vulkan {
        Ok(Some(driver)) => {
            command.env("VK_DRIVER_FILES", driver);
        }
        Ok(None) => {}
        Err(reason) => println!("GPU tests will be skipped: {reason}"),
    }
    run(&mut command)
}

fn print_summary(summary: &Summary) -> Result<()> {
    println!("\n== Summary");
    for name in &summary.passed {
        println!("passed   {name}");
    }
    for name in &summary.skipped {
        println!("skipped  {name}");
    }
    for name in &summary.failed {
        println!("FAILED   {name}");
    }
    let passed = summary.passed.len();
    let failed = summary.failed.len();
    println!("{passed} passed, {failed} failed, {} skipped", summary.skipped.len());
    if failed == 0 { Ok(()) } else { Err(format!("{failed} checks failed")) }
}
