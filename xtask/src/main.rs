//! Development tasks: `cargo xtask test` sets up what is missing and checks everything.

mod run;
mod setup;
mod test;

use std::process::ExitCode;

const HELP: &str = "cargo xtask <task>

  test     set up what is missing, then format, lints (native and wasm32), licences, spelling, tests, docs
  setup    only set up what 'test' needs";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        "test" => test::test(),
        "setup" => setup::everything().map(|tools| tools.describe()),
        _ => {
            println!("{HELP}");
            return if task.is_empty() || task == "help" { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
