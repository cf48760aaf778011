//! What benchmarks share: a peer in Python that is asked line by line, and medians.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A running script that answers each line with a line of JSON.
pub struct Peer {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a script of this folder with the Python that `cargo xtask bench` set up.
    pub fn start(script: &str, arguments: &[String]) -> Self {
        let python = std::env::var_os("PRUNELLA_BENCH_PYTHON")
            .unwrap_or_else(|| panic!("run 'cargo xtask bench', which sets the peers up"));
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches").join(script);
        let mut command = Command::new(python);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, from) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { _child: child, to, from }
    }

    pub fn ask(&mut self, question: &str) -> Value {
        writeln!(self.to, "{question}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("'{question}' was answered with '{line}' ({e})"))
    }

    pub fn seconds(&mut self, question: &str) -> f64 {
        self.ask(question)["seconds"].as_f64().unwrap()
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
