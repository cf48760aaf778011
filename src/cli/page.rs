//! Where the built page is: beside the program, as `cargo xtask web` and a package put it.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::export::PageFiles;
use crate::platform::read_file;

/// Largest of the page's files.
const MAX_PAGE_FILE_BYTES: u64 = 50_000_000;

/// The page's folder: the one given, or `page` beside the program or one folder up.
pub fn page_folder(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(folder) = given {
        return is_page(folder).then(|| folder.to_path_buf());
    }
    let program = std::env::current_exe().ok();
    let mut beside = program
        .iter()
        .flat_map(|p| p.ancestors().skip(1).take(2))
        .map(|folder| folder.join("page"));
    beside.find(|folder| is_page(folder))
}

fn is_page(folder: &Path) -> bool {
    folder.join("index.html").is_file() && folder.join("web/prunella_bg.wasm").is_file()
}

/// What is said where there is no page.
pub fn no_page() -> Error {
    Error::mismatch(
        "The page is not built; 'cargo xtask web' does that, or name its folder with --page",
    )
}

/// Everything that a single HTML file needs.
///
/// # Errors
/// When a file is missing or no text.
pub fn page_files(folder: &Path) -> Result<PageFiles> {
    let read = |name: &str| read_file(&folder.join(name), MAX_PAGE_FILE_BYTES);
    let text = |name: &str| {
        String::from_utf8(read(name)?)
            .map_err(|_| Error::malformed("The page's file is not text").at(folder.join(name)))
    };
    let mut page = PageFiles {
        index: text("index.html")?,
        style: text("web/style.css")?,
        wasm: read("web/prunella_bg.wasm")?,
        ..PageFiles::default()
    };
    let list = std::fs::read_dir(folder.join("web"))
        .map_err(|e| Error::io("The page cannot be read", e).at(folder))?;
    for name in list.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if Path::new(&name).extension().is_some_and(|e| e == "js") {
            page.scripts.insert(name.clone(), text(&format!("web/{name}"))?);
        }
    }
    Ok(page)
}
