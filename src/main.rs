//! The `prunella` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    prunella::cli::main()
}
