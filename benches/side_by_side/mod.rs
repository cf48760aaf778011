//! What benchmarks share: a Python process that measures the other side, and medians.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A running script that replies to each line of text with a line of JSON.
pub struct Peer {
    /// Ends with its standard input.
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a script of this folder with the Python that `cargo xtask bench` sets up.
    pub fn start(script: &str, arguments: &[String]) -> Self {
        let python = std::env::var_os("PRUNELLA_BENCH_PYTHON")
            .unwrap_or_else(|| panic!("run 'cargo xtask bench', which sets the peers up"));
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches").join(script);
        let mut command = Command::new(python);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { _child: child, stdin, stdout }
    }

    /// Sends a command and waits for its reply.
    pub fn ask(&mut self, command: &str) -> Value {
        writeln!(self.stdin, "{command}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("the reply to '{command}' is '{line}' ({e})"))
    }

    /// Sends a command that measures; gives its seconds.
    pub fn seconds(&mut self, command: &str) -> f64 {
        self.ask(command)["seconds"].as_f64().unwrap()
    }
}

/// The middle value; of an even number the upper one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
