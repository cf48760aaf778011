//! Development tasks: `cargo xtask test` sets up what is missing and checks everything.

mod bench;
mod fuzz;
mod outputs;
mod run;
mod setup;
mod shaders;
mod test;
mod web;

use std::process::ExitCode;

const HELP: &str = "cargo xtask <task>

  test     set up what is missing, then run all checks: format, spelling, lints (native, without
           default features, wasm32), licences, tests, documentation
  setup    set up what 'test' needs
  bench    compare with other programs, which are set up first:
           'bench segment|train|slide|web [--json]'; or what a few corrections bring:
           'bench teach --data FOLDER --model FILE'
  fuzz     run the readers on random input:
           'fuzz [slide|dicom|zarr|picture|annotations|model|link|data] [SECONDS]'
  web      build the page as a static folder: target/page
  outputs  results of a program as a reference: 'outputs make PROGRAM FOLDER',
           'outputs compare FOLDER FOLDER'
  shaders  translate every shader to SPIR-V, Metal and HLSL, and check WebGPU's limits";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let task = arguments.first().cloned().unwrap_or_default();
    let result = match task.as_str() {
        "test" => test::test(),
        "setup" => setup::everything().map(|tools| tools.print()),
        "fuzz" => fuzz::fuzz(arguments.get(1..).unwrap_or_default()),
        "bench" => bench::bench(
            arguments.get(1).map(String::as_str),
            arguments.get(2..).unwrap_or_default(),
        ),
        "outputs" => outputs::outputs(arguments.get(1..).unwrap_or_default()),
        "web" => web::web().map(drop),
        "shaders" => shaders::check_all(),
        _ => {
            println!("{HELP}");
            return if task.is_empty() || task == "help" {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            };
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
