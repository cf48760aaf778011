//! `cargo xtask web`: the page as a static folder. The library compiled to wasm, its bindings, the
//! page's own modules, models and a service worker that knows them all by their contents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasm_bindgen_cli_support::Bindgen;

use crate::run::{Result, cargo, root, run};
use crate::setup::{self, Web};

/// wasm32 without an operating system.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Where builds for the web go.
pub const TARGET_DIR: &str = "target/web";
/// Every browser since 2023 has vectors of 128 bits.
const FEATURES: &str = "-C target-feature=+simd128";
/// The page's folder.
const PAGE: &str = "target/page";
/// Models that the page offers, default first.
const MODELS: [&str; 4] = ["dcnn-50", "dcnn-00", "dcnn-90", "dcnn-90-all"];

/// Compressed bytes that the page may cost.
const MAX_WASM_BYTES: usize = 700_000;
const MAX_FIRST_VISIT_BYTES: usize = 1_500_000;

/// What was built, and what a first visit transfers of it.
pub struct Page {
    pub folder: PathBuf,
    /// Name and compressed bytes of what a first visit needs.
    pub first_visit: Vec<(String, usize)>,
}

/// Builds the page, says what it weighs and refuses too much.
pub fn web() -> Result<Page> {
    let page = build()?;
    println!("{}", describe(&page));
    check_weight(&page.first_visit)?;
    println!(
        "{} can be published on any static host; 'prunella serve' shows it here",
        page.folder.display()
    );
    Ok(page)
}

fn build() -> Result<Page> {
    let wasm = compile()?;
    let folder = root().join(PAGE);
    // Files of an earlier build would be published too.
    drop(std::fs::remove_dir_all(&folder));
    make(&folder.join("web"))?;
    make(&folder.join("models"))?;
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(&wasm)
        .web(true)
        .map_err(|e| e.to_string())?
        .typescript(true)
        .remove_producers_section(true);
    // Names of functions are for debuggers and a sixth of the file.
    bindgen.remove_name_section(true);
    bindgen
        .generate(folder.join("web"))
        .map_err(|e| format!("The bindings cannot be made: {e:#}"))?;
    for name in MODELS {
        let file = format!("{name}.safetensors");
        copy(&root().join("models").join(&file), &folder.join("models").join(&file))?;
    }
    copy(&root().join("index.html"), &folder.join("index.html"))?;
    for name in files_of(&root().join("web"))? {
        // These two speak for the whole folder.
        let target = if matches!(name.as_str(), "sw.js" | "manifest.webmanifest") {
            folder.clone()
        } else {
            folder.join("web")
        };
        copy(&root().join("web").join(&name), &target.join(&name))?;
    }
    let first_visit = first_visit(&folder)?;
    version(&folder)?;
    Ok(Page { folder, first_visit })
}

fn compile() -> Result<PathBuf> {
    let arguments = [
        "rustc",
        "--lib",
        "--crate-type",
        "cdylib",
        "--profile",
        "web",
        "--target",
        TARGET,
        "--target-dir",
        TARGET_DIR,
    ];
    match setup::web()? {
        Web::Rustup => run(cargo(&arguments).env("RUSTFLAGS", FEATURES))?,
        Web::Debian => run(debian(&arguments, FEATURES).args(["-Z", "build-std=std,panic_abort"]))?,
    }
    Ok(root().join(TARGET_DIR).join(TARGET).join("web/prunella.wasm"))
}

/// Debian's compiler, which must build its own standard library.
pub fn debian(arguments: &[&str], flags: &str) -> Command {
    let mut command = Command::new("/usr/bin/cargo");
    command
        .args(arguments)
        .env("PATH", format!("/usr/bin:{}", std::env::var("PATH").unwrap_or_default()))
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", format!("-C linker=wasm-ld-19 {flags}"))
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    command
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{} cannot be made: {e}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to)
        .map(drop)
        .map_err(|e| format!("{} cannot be copied: {e}", from.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
}

/// Names of the files of one folder, in order.
fn files_of(folder: &Path) -> Result<Vec<String>> {
    let list = std::fs::read_dir(folder)
        .map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
    let mut names: Vec<String> = list
        .flatten()
        .filter(|e| e.path().is_file())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| Path::new(n).extension().is_none_or(|e| e != "json"))
        .collect();
    names.sort();
    Ok(names)
}

/// Paths of all files under a folder, with `/`, in order.
fn all_files(folder: &Path) -> Result<Vec<String>> {
    let mut found = files_of(folder)?;
    for sub in ["web", "models"] {
        found.extend(files_of(&folder.join(sub))?.into_iter().map(|n| format!("{sub}/{n}")));
    }
    // Type descriptions are for editors.
    found.retain(|n| Path::new(n).extension().is_none_or(|e| e != "ts"));
    Ok(found)
}

/// Writes into the service worker what it must keep: every file but the models of later choice,
/// under a name that changes with any of them.
fn version(folder: &Path) -> Result<()> {
    let place = folder.join("sw.js");
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let (mut files, mut later_files) = (Vec::new(), Vec::new());
    for name in all_files(folder)? {
        for byte in name.bytes().chain(read(&folder.join(&name))?) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let later = MODELS[1..].iter().any(|m| name == format!("models/{m}.safetensors"));
        let list = if later { &mut later_files } else { &mut files };
        if name != "sw.js" {
            list.push(format!("\"./{name}\""));
        }
    }
    let text = String::from_utf8(read(&place)?).map_err(|e| e.to_string())?;
    let text = text
        .replace("\"dev\"", &format!("\"{hash:016x}\""))
        .replace("const FILES = [];", &format!("const FILES = [{}];", files.join(", ")))
        .replace("const LATER = [];", &format!("const LATER = [{}];", later_files.join(", ")));
    std::fs::write(&place, text).map_err(|e| e.to_string())
}

/// What a first visit transfers, compressed as static hosts do it (brotli).
fn first_visit(folder: &Path) -> Result<Vec<(String, usize)>> {
    let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in all_files(folder)? {
        let part = match name.rsplit('.').next() {
            Some("wasm") => "wasm",
            Some("safetensors") if name == format!("models/{}.safetensors", MODELS[0]) => {
                "default model"
            }
            Some("safetensors") => continue,
            _ => "page and scripts",
        };
        *parts.entry(part).or_default() += compressed(&read(&folder.join(&name))?)?;
    }
    Ok(parts.into_iter().map(|(n, b)| (n.to_owned(), b)).collect())
}

fn compressed(bytes: &[u8]) -> Result<usize> {
    let mut out = Vec::new();
    let settings = brotli::enc::BrotliEncoderParams { quality: 9, ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], &mut out, &settings).map_err(|e| e.to_string())?;
    Ok(out.len())
}

fn total(parts: &[(String, usize)]) -> usize {
    parts.iter().map(|(_, bytes)| bytes).sum()
}

/// The weight of a page in words.
fn describe(page: &Page) -> String {
    let parts: Vec<String> =
        page.first_visit.iter().map(|(n, b)| format!("{n} {} KB", b / 1000)).collect();
    format!(
        "first visit, compressed: {} KB ({})",
        total(&page.first_visit) / 1000,
        parts.join(", ")
    )
}

fn check_weight(parts: &[(String, usize)]) -> Result<()> {
    let wasm = parts.iter().find(|(n, _)| n == "wasm").map_or(usize::MAX, |(_, b)| *b);
    if wasm > MAX_WASM_BYTES {
        return Err(format!("the wasm has {wasm} bytes compressed; {MAX_WASM_BYTES} are allowed"));
    }
    let all = total(parts);
    if all > MAX_FIRST_VISIT_BYTES {
        return Err(format!(
            "a first visit transfers {all} bytes; {MAX_FIRST_VISIT_BYTES} are allowed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavy_page_is_caught() {
        let parts =
            |wasm, model| vec![("wasm".to_owned(), wasm), ("default model".to_owned(), model)];
        assert_eq!(check_weight(&parts(MAX_WASM_BYTES, 1000)), Ok(()));
        assert!(check_weight(&parts(MAX_WASM_BYTES + 1, 0)).is_err_and(|e| e.contains("wasm")));
        assert!(
            check_weight(&parts(MAX_WASM_BYTES, 900_000)).is_err_and(|e| e.contains("first visit"))
        );
        assert!(check_weight(&[]).is_err(), "no wasm is no page");
    }
}
