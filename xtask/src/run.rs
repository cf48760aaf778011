//! Starts programs for the tasks.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Result with an error message that is printed as it is.
pub type Result<T> = std::result::Result<T, String>;

/// Folder of the workspace.
pub fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or(xtask.clone(), PathBuf::from)
}

/// Prints a command and runs it in the workspace, with its output on this program's.
///
/// # Errors
/// When it does not start or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let name = describe(command);
    println!("$ {name}");
    let status = command
        .current_dir(root())
        .status()
        .map_err(|e| format!("'{name}' does not start: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("'{name}' failed ({status})")) }
}

/// Standard output of a command without white space around it; none when it does not start or
/// fails.
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
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text += &argument.to_string_lossy();
    }
    text
}

/// The cargo that runs this task.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}
