//! The built page's folder: beside the program, where `cargo xtask web` and packages put it.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::export::PageFiles;
use crate::platform::read_file;

/// Largest file of the page.
const MAX_PAGE_FILE_BYTES: u64 = 50_000_000;

/// The page's folder: the given one, or `page` beside the program or one folder up; none where the
/// page is not built.
pub(super) fn page_folder(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(folder) = given {
        return is_page(folder).then(|| folder.to_path_buf());
    }
    let program = std::env::current_exe().ok()?;
    for folder in program.ancestors().skip(1).take(2) {
        let page = folder.join("page");
        if is_page(&page) {
            return Some(page);
        }
    }
    None
}

fn is_page(folder: &Path) -> bool {
    folder.join("index.html").is_file() && folder.join("web/prunella_bg.wasm").is_file()
}

/// The error where a page is required and not built.
pub(super) fn no_page() -> Error {
    Error::invalid(
        "The page is not built; 'cargo xtask web' does that, or name its folder with --page",
    )
}

/// Everything that goes into a single HTML file.
///
/// # Errors
/// When a file is missing or is not text.
pub(super) fn page_files(folder: &Path) -> Result<PageFiles> {
    let mut page = PageFiles {
        index: read_text(folder, "index.html")?,
        style: read_text(folder, "web/style.css")?,
        wasm: read_file(&folder.join("web/prunella_bg.wasm"), MAX_PAGE_FILE_BYTES)?,
        ..PageFiles::default()
    };
    let entries = std::fs::read_dir(folder.join("web"))
        .map_err(|e| Error::io("The page cannot be read", e).at(folder))?;
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if Path::new(&name).extension().is_some_and(|e| e == "js") {
            let script = read_text(folder, &format!("web/{name}"))?;
            page.scripts.insert(name, script);
        }
    }
    Ok(page)
}

fn read_text(folder: &Path, name: &str) -> Result<String> {
    let file = folder.join(name);
    String::from_utf8(read_file(&file, MAX_PAGE_FILE_BYTES)?)
        .map_err(|_| Error::malformed("The page's file is not text").at(file))
}
