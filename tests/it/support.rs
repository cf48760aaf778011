//! Helpers of the tests: the program, temporary tiles, data that may be absent.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use prunella::dataset::phantom;
use prunella::raster::{encode_labels_png, encode_rgb_png};

/// A folder of real or reference data. Where it is absent, the test is recorded as skipped.
pub fn data_folder(variable: &str, default: &str, test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map_or_else(|| root().join(default), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    skip(test, &format!("{} is not there; set {variable}", folder.display()));
    None
}

/// Records that a test could not run; `cargo xtask test` lists and counts these.
pub fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
    if let Some(list) = std::env::var_os("PRUNELLA_SKIPS") {
        let line = format!("{test}: {why}\n");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
        file.and_then(|mut f| f.write_all(line.as_bytes()))
            .expect("the list of skipped tests can be written");
    }
}

/// Reference numbers from PyTorch.
pub fn reference(test: &str) -> Option<PathBuf> {
    data_folder("PRUNELLA_REFERENCE", "../shared/reference", test)
}

/// The tiles of Kumar et al.
pub fn kumar(test: &str) -> Option<PathBuf> {
    data_folder("PRUNELLA_DATA", "../shared/data", test).map(|d| d.join("kumar"))
}

/// Folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The built program.
pub fn prunella() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prunella"));
    // Mesa's device-select layer complains on standard error where there is no desktop.
    command.env("NODEVICE_SELECT", "1");
    command
}

/// Runs the program; returns exit code, standard output and standard error.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        prunella().args(arguments).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// Runs with `--json` and parses the one object on standard output. To find nothing (exit code 1)
/// is a result too.
pub fn run_json(arguments: &[&str]) -> serde_json::Value {
    let (code, out, err) = run(&[arguments, &["--json"]].concat());
    assert!(matches!(code, Some(0 | 1)), "{arguments:?}: {err}");
    let value: serde_json::Value = serde_json::from_str(&out)
        .unwrap_or_else(|e| panic!("{arguments:?} printed no JSON ({e}): {out}"));
    assert!(value.is_object(), "{arguments:?} printed {out}");
    value
}

/// A folder with `count` labelled phantom tiles.
pub fn tiles(count: u64, side: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary folder");
    for i in 0..count {
        let tile = phantom::tile(side, side, 40 + i);
        let name = |what: &str| dir.path().join(format!("tile{i}{what}.png"));
        std::fs::write(name(""), encode_rgb_png(&tile.image).expect("png")).expect("image");
        std::fs::write(name("_labels"), encode_labels_png(&tile.labels).expect("png").0)
            .expect("labels");
    }
    dir
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8 path")
}
