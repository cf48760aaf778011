//! `cargo xtask web`: the page as a static folder: the library compiled to wasm, its bindings, the
//! page's own modules, models, and a service worker that caches all of them under a name that
//! depends on their contents.

use std::path::{Path, PathBuf};
use std::process::Command;

use wasm_bindgen_cli_support::Bindgen;

use crate::run::{Result, cargo, root, run};
use crate::setup::{self, WebCompiler};

/// wasm32 without an operating system.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Target folder of builds for the web.
pub const TARGET_DIR: &str = "target/web";
/// All browsers since 2023 support 128-bit vectors.
const SIMD: &str = "-C target-feature=+simd128";
/// Calls are inlined up to this cost only; the compiler's own limit for fast code is 275. The loops
/// of the engine are one function each and lose nothing, while readers and messages become smaller.
const INLINE_LIMIT: &str = "llvm-args=-inline-threshold=25";
/// Arguments of Debian's cargo, which has no compiled standard library for wasm32.
pub const BUILD_STD: [&str; 2] = ["-Z", "build-std=std,panic_abort"];
/// The page's folder.
const PAGE: &str = "target/page";
/// The scripts with their comments, which hold their types, beside the types of the bindings: what
/// the type checker reads.
const TYPES: &str = "target/page-types";
/// Folder of what is loaded only when someone teaches: a second wasm, its worker, and pictures of
/// tissue.
const TEACH: &str = "teach";
/// The crate's interface in that wasm.
pub const TEACH_FEATURE: &str = "web-teach";
/// The pictures that a taught model rehearses: those of `dataset::tissue_crops::training`.
const TISSUE: &str = "assets/tissue";
const TAUGHT_TISSUE: [&str; 10] = [
    "tnbc_01_2",
    "tnbc_02_2",
    "tnbc_05_2",
    "tnbc_06_1",
    "tnbc_08_2",
    "nuinsseg_human_kidney_01",
    "nuinsseg_human_liver_14",
    "nuinsseg_human_salivory_15",
    "nuinsseg_human_tonsile_2",
    "nuinsseg_mouse_liver_13",
];
/// Models that the page offers, the one that it begins with first.
const MODELS: [&str; 8] = [
    "open-small",
    "open-medium",
    "nuclei-medium",
    "nuclei-small",
    "paper-50",
    "paper-00",
    "paper-90",
    "paper-90-all",
];

/// Largest sizes, compressed.
const MAX_WASM_BYTES: usize = 1_020_000;
const MAX_FIRST_VISIT_BYTES: usize = 1_500_000;
const MAX_TEACH_WASM_BYTES: usize = 150_000;

/// The built page.
pub struct Page {
    pub folder: PathBuf,
    /// Compressed sizes of what a first visit transfers.
    pub first_visit: VisitBytes,
    /// Compressed size of the wasm that teaches.
    pub teach_wasm: usize,
}

/// Compressed bytes that a visit transfers, by kind.
#[derive(Debug, Default, Clone, Copy)]
pub struct VisitBytes {
    pub wasm: usize,
    pub default_model: usize,
    pub page_and_scripts: usize,
}

impl VisitBytes {
    fn total(self) -> usize {
        self.wasm + self.default_model + self.page_and_scripts
    }
}

/// Builds the page and prints its size.
///
/// # Errors
/// When a step fails or the page is too large.
pub fn web() -> Result<Page> {
    let page = build()?;
    println!("{}", describe(page.first_visit));
    println!("when teaching, compressed: wasm {} KB", page.teach_wasm / 1000);
    check_size(page.first_visit)?;
    check_teach_size(page.teach_wasm)?;
    println!(
        "{} can be published on any static host; 'prunella serve' shows it here",
        page.folder.display()
    );
    Ok(page)
}

fn build() -> Result<Page> {
    let wasm = compile(&[])?;
    let folder = root().join(PAGE);
    // Files of an earlier build would be published too.
    drop(std::fs::remove_dir_all(&folder));
    make(&folder.join("web"))?;
    make(&folder.join("models"))?;
    let types = root().join(TYPES);
    drop(std::fs::remove_dir_all(&types));
    make(&types)?;
    bind(&wasm, &folder.join("web"), &types)?;
    make_teach(&folder.join(TEACH), &types.join(TEACH))?;
    for name in MODELS {
        copy(&root().join(model_path(name)), &folder.join(model_path(name)))?;
    }
    copy(&root().join("index.html"), &folder.join("index.html"))?;
    for name in files_of(&root().join("web"))? {
        // A service worker and a manifest apply to the folder that they are in.
        let target = if matches!(name.as_str(), "sw.js" | "manifest.webmanifest") {
            folder.clone()
        } else {
            folder.join("web")
        };
        let source = root().join("web").join(&name);
        copy(&source, &types.join(&name))?;
        if source.extension().is_some_and(|extension| extension == "js") {
            publish_script(&source, &target.join(&name))?;
        } else {
            copy(&source, &target.join(&name))?;
        }
    }
    let first_visit = first_visit(&folder)?;
    let teach_wasm = compressed(&read(&folder.join(TEACH).join("prunella_bg.wasm"))?)?;
    version(&folder)?;
    Ok(Page { folder, first_visit, teach_wasm })
}

/// The bindings of a wasm, published and as the type checker reads them.
fn bind(wasm: &Path, folder: &Path, types: &Path) -> Result<()> {
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(wasm)
        .web(true)
        .map_err(|e| e.to_string())?
        .typescript(true)
        .remove_producers_section(true);
    // Function names serve debuggers and are a sixth of the file.
    bindgen.remove_name_section(true);
    bindgen.generate(folder).map_err(|e| format!("The bindings cannot be made: {e:#}"))?;
    for name in ["prunella.js", "prunella.d.ts"] {
        copy(&folder.join(name), &types.join(name))?;
    }
    publish_script(&folder.join("prunella.js"), &folder.join("prunella.js"))
}

/// What is loaded only when someone teaches.
fn make_teach(folder: &Path, types: &Path) -> Result<()> {
    make(folder)?;
    make(types)?;
    let wasm = compile(&["--features", TEACH_FEATURE])?;
    bind(&wasm, folder, types)?;
    let worker = root().join("web").join(TEACH).join("worker.js");
    copy(&worker, &types.join("worker.js"))?;
    publish_script(&worker, &folder.join("worker.js"))?;
    let names = TAUGHT_TISSUE.map(|name| format!("{name}.jpg"));
    for name in &names {
        copy(&root().join(TISSUE).join(name), &folder.join(name))?;
    }
    // In the order in which the program has them.
    let list = format!("[\"{}\"]", names.join("\", \""));
    std::fs::write(folder.join("tissue.json"), list).map_err(|e| e.to_string())
}

fn compile(more: &[&str]) -> Result<PathBuf> {
    #[rustfmt::skip]
    let mut arguments = vec![
        "rustc", "--lib", "--crate-type", "cdylib", "--profile", "web",
        "--target", TARGET, "--target-dir", TARGET_DIR,
    ];
    arguments.extend(more);
    let codegen = ["--", "-C", INLINE_LIMIT];
    match setup::web()? {
        WebCompiler::Rustup => run(cargo(&arguments).args(codegen).env("RUSTFLAGS", SIMD))?,
        WebCompiler::Debian => run(debian(&arguments, SIMD).args(BUILD_STD).args(codegen))?,
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

fn publish_script(from: &Path, to: &Path) -> Result<()> {
    let text = std::fs::read_to_string(from)
        .map_err(|e| format!("{} cannot be read: {e}", from.display()))?;
    std::fs::write(to, without_comment_lines(&text))
        .map_err(|e| format!("{} cannot be written: {e}", to.display()))
}

/// A script without indentation and without the lines that hold nothing but a comment, which are a
/// quarter of what it weighs. A comment begins on a line of its own and a block ends with its line,
/// as the formatter leaves them; a comment behind code stays. No string goes over several lines.
fn without_comment_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_block = false;
    for line in text.lines() {
        let trimmed = line.trim();
        let opens_block =
            trimmed.starts_with("/*") && (trimmed.ends_with("*/") || !trimmed.contains("*/"));
        if in_block || opens_block {
            in_block = !trimmed.ends_with("*/");
        } else if !trimmed.starts_with("//") {
            out.push_str(trimmed);
            out.push('\n');
        }
    }
    out
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
}

/// Names of the files of one folder in order, without JSON files (settings of the type checker).
fn files_of(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)
        .map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries.flatten() {
        let is_json = entry.path().extension().is_some_and(|e| e == "json");
        if entry.path().is_file() && !is_json {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Paths of all files of the page relative to its folder, with `/`, in order.
fn all_files(folder: &Path) -> Result<Vec<String>> {
    let mut files = files_of(folder)?;
    for sub in ["web", "models", TEACH] {
        for name in files_of(&folder.join(sub))? {
            files.push(format!("{sub}/{name}"));
        }
    }
    // Type definitions are for editors.
    files.retain(|name| Path::new(name).extension().is_none_or(|e| e != "ts"));
    Ok(files)
}

/// Offset basis and prime of the 64-bit FNV-1a hash.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// Writes the list of files into the service worker, and a version that changes with any of them.
/// The worker caches `FILES` at the first visit and `LATER`, the models that are not the default,
/// when they are used.
fn version(folder: &Path) -> Result<()> {
    let mut hash = FNV_BASIS;
    let mut files = Vec::new();
    let mut later = Vec::new();
    for name in all_files(folder)? {
        for byte in name.bytes().chain(read(&folder.join(&name))?) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        let entry = format!("\"./{name}\"");
        let is_model = MODELS[1..].iter().any(|model| name == model_path(model));
        if is_model || is_for_teaching(&name) {
            later.push(entry);
        } else if name != "sw.js" {
            files.push(entry);
        }
    }
    let worker = folder.join("sw.js");
    let text = String::from_utf8(read(&worker)?).map_err(|e| e.to_string())?;
    let text = text
        .replace("\"dev\"", &format!("\"{hash:016x}\""))
        .replace("const FILES = [];", &format!("const FILES = [{}];", files.join(", ")))
        .replace("const LATER = [];", &format!("const LATER = [{}];", later.join(", ")));
    std::fs::write(&worker, text).map_err(|e| e.to_string())
}

/// Whether a file of the page is loaded only when someone teaches.
fn is_for_teaching(name: &str) -> bool {
    name.strip_prefix(TEACH).is_some_and(|rest| rest.starts_with('/'))
}

/// Path of a model, the same in the repository and in the page's folder.
fn model_path(model: &str) -> String {
    format!("models/{model}.safetensors")
}

/// What a first visit transfers, compressed as static hosts do it (brotli).
fn first_visit(folder: &Path) -> Result<VisitBytes> {
    let mut bytes = VisitBytes::default();
    for name in all_files(folder)? {
        if is_for_teaching(&name) {
            continue;
        }
        let ending = Path::new(&name).extension().map(|e| e.to_string_lossy().into_owned());
        let part = match ending.as_deref() {
            Some("wasm") => &mut bytes.wasm,
            Some("safetensors") if name == model_path(MODELS[0]) => &mut bytes.default_model,
            Some("safetensors") => continue,
            _ => &mut bytes.page_and_scripts,
        };
        *part += compressed(&read(&folder.join(&name))?)?;
    }
    Ok(bytes)
}

fn compressed(bytes: &[u8]) -> Result<usize> {
    let mut out = Vec::new();
    let settings = brotli::enc::BrotliEncoderParams { quality: 9, ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], &mut out, &settings).map_err(|e| e.to_string())?;
    Ok(out.len())
}

fn describe(bytes: VisitBytes) -> String {
    format!(
        "first visit, compressed: {} KB (default model {} KB, page and scripts {} KB, wasm {} KB)",
        bytes.total() / 1000,
        bytes.default_model / 1000,
        bytes.page_and_scripts / 1000,
        bytes.wasm / 1000
    )
}

fn check_size(bytes: VisitBytes) -> Result<()> {
    let wasm = bytes.wasm;
    if wasm == 0 {
        return Err("the page has no wasm".into());
    }
    if wasm > MAX_WASM_BYTES {
        return Err(format!(
            "the wasm has {wasm} bytes compressed; {MAX_WASM_BYTES} are allowed, of \
             {MAX_FIRST_VISIT_BYTES} of a first visit"
        ));
    }
    let total = bytes.total();
    if total > MAX_FIRST_VISIT_BYTES {
        return Err(format!(
            "a first visit transfers {total} bytes; {MAX_FIRST_VISIT_BYTES} are allowed, of them \
             {MAX_WASM_BYTES} of wasm"
        ));
    }
    Ok(())
}

fn check_teach_size(wasm: usize) -> Result<()> {
    if (1..=MAX_TEACH_WASM_BYTES).contains(&wasm) {
        return Ok(());
    }
    Err(format!(
        "the wasm that teaches has {wasm} bytes compressed; {MAX_TEACH_WASM_BYTES} are allowed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_comment_are_left_out_of_published_scripts() {
        let source = "// One.\n/** @param {A} a */\nconst a = 1; // kept\n/*\n * two\n */\n\
            const url = \"https://host\";\n  /** @type {B} */ (b).c();\n";
        let published = "const a = 1; // kept\nconst url = \"https://host\";\n\
            /** @type {B} */ (b).c();\n";
        assert_eq!(without_comment_lines(source), published);
    }

    #[test]
    fn a_page_that_is_too_large_is_refused() {
        let page = |wasm, default_model| {
            check_size(VisitBytes { wasm, default_model, page_and_scripts: 0 })
        };
        assert_eq!(page(MAX_WASM_BYTES, 1000), Ok(()));
        assert!(page(MAX_WASM_BYTES + 1, 0).is_err_and(|e| e.contains("wasm")));
        assert!(page(MAX_WASM_BYTES, 900_000).is_err_and(|e| e.contains("first visit")));
        assert!(page(0, 0).is_err_and(|e| e.contains("no wasm")));
        assert_eq!(check_teach_size(MAX_TEACH_WASM_BYTES), Ok(()));
        assert!(
            check_teach_size(MAX_TEACH_WASM_BYTES + 1).is_err() && check_teach_size(0).is_err()
        );
    }
}
