//! Running programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Result with a sentence for the person at the keyboard.
pub type Result<T> = std::result::Result<T, String>;

/// Folder of the workspace.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Runs a command in the workspace, showing what it prints.
pub fn run(command: &mut Command) -> Result<()> {
    let name = describe(command);
    println!("$ {name}");
    let status = command
        .current_dir(root())
        .status()
        .map_err(|e| format!("'{name}' does not start: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("'{name}' failed ({status})")) }
}

/// What a command prints, or nothing when it does not start or fails.
pub fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .current_dir(root())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a command runs and succeeds.
pub fn works(program: &str, arguments: &[&str]) -> bool {
    output_of(program, arguments).is_some()
}

fn describe(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    parts.map(|p| p.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The cargo that runs this task.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}
