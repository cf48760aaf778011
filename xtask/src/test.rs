//! Everything that must hold, cheapest first. Every check runs even when an earlier one failed;
//! what could not run is said and counted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::run::{Result, cargo, root, run};
use crate::setup::{Tools, Web, everything};
use crate::web;

/// The program and these tasks.
const PACKAGES: [&str; 2] = ["prunella", "xtask"];

#[derive(Default)]
struct Tally {
    passed: Vec<String>,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let begun = Instant::now();
        match check() {
            Ok(()) => self.passed.push(format!("{name} ({:.0} s)", begun.elapsed().as_secs_f64())),
            Err(why) => {
                println!("FAILED {name}: {why}");
                self.failed.push(format!("{name}: {why}"));
            }
        }
    }

    /// A check that needs a tool.
    fn check_with<T>(
        &mut self,
        name: &str,
        tool: &std::result::Result<T, String>,
        check: impl FnOnce(&T) -> Result<()>,
    ) {
        match tool {
            Ok(tool) => self.check(name, || check(tool)),
            Err(why) => {
                println!("\n== {name}\nSKIPPED: {why}");
                self.skipped.push(format!("{name}: {why}"));
            }
        }
    }
}

/// Runs all checks.
pub fn test() -> Result<()> {
    let tools = everything()?;
    let skips = root().join("target/skipped-tests.txt");
    // None from an earlier run.
    drop(std::fs::remove_file(&skips));
    let mut tally = Tally::default();
    tally.check("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
    tally.check_with("spelling", &tools.typos, |typos| run(&mut Command::new(typos)));
    // Package by package: together their features would unify and Burn be built a second time.
    for package in PACKAGES {
        tally.check(&format!("lints of {package}"), || {
            run(cargo(&[
                "clippy",
                "--release",
                "--package",
                package,
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
            .env("CARGO_TERM_COLOR", "never"))
        });
    }
    tally.check_with("lints for wasm32", &tools.web, web_lints);
    tally.check_with("licences, bans and sources", &tools.deny, |deny| {
        run(Command::new(deny).args([
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ]))
    });
    tally.check_with("page: build and weight", &tools.web, |_| web::web().map(drop));
    tally.check("tests", || tests(&tools, &skips));
    tally.check_with("page: types", &tools.browser, |_| {
        run(Command::new("tests/e2e/node_modules/.bin/tsc").args(["--project", "web"]))
    });
    tally.check_with("page: in a browser", &tools.browser, |browser| {
        run(Command::new("node")
            .args(["--test", "--test-concurrency=1", "--test-reporter=spec", "tests/e2e/"])
            .env("PRUNELLA_CHROMIUM", browser))
    });
    tally.check("documentation", || {
        run(cargo(&["doc", "--release", "--no-deps", "--package", "prunella"])
            .env("RUSTDOCFLAGS", "-D warnings"))
    });
    let listed = std::fs::read_to_string(&skips).unwrap_or_default();
    tally.skipped.extend(listed.lines().map(str::to_owned));
    conclude(&tally)
}

fn web_lints(web: &Web) -> Result<()> {
    let lints = ["clippy", "--lib", "--target", web::TARGET, "--target-dir", web::TARGET_DIR];
    match web {
        Web::Rustup => run(cargo(&lints).args(["--", "-D", "warnings"])),
        Web::Debian => run(web::debian(&lints, "").args([
            "-Z",
            "build-std=std,panic_abort",
            "--",
            "-D",
            "warnings",
        ])),
    }
}

fn tests(tools: &Tools, skips: &Path) -> Result<()> {
    run(&mut cargo(&["test", "--release", "--package", "xtask"]))?;
    let mut command = cargo(&["test", "--release", "--package", "prunella", "--no-fail-fast"]);
    command.env("PRUNELLA_SKIPS", skips);
    if let Ok(python) = &tools.python {
        command.env("PRUNELLA_PYTHON", python);
    }
    match &tools.vulkan {
        Ok(Some(driver)) => {
            let driver: &PathBuf = driver;
            command.env("VK_DRIVER_FILES", driver);
        }
        Ok(None) => {}
        Err(why) => println!("GPU tests will be skipped: {why}"),
    }
    run(&mut command)
}

fn conclude(tally: &Tally) -> Result<()> {
    println!("\n== Summary");
    tally.passed.iter().for_each(|p| println!("passed   {p}"));
    tally.skipped.iter().for_each(|s| println!("skipped  {s}"));
    tally.failed.iter().for_each(|f| println!("FAILED   {f}"));
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed.len(),
        tally.failed.len(),
        tally.skipped.len()
    );
    if tally.failed.is_empty() {
        Ok(())
    } else {
        Err(format!("{} checks failed", tally.failed.len()))
    }
}
