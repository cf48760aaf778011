//! Pairs the images in a folder with their labels by file name: in folders like Kumar's and
//! MoNuSeg's, or all in one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorContext as _, Result, Warnings};

/// Most files in a folder and its subfolders.
const MAX_FILES: usize = 100_000;
/// Levels of subfolders that are read.
const MAX_DEPTH: usize = 6;

/// The file of a tile's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelSource {
    /// A label map or mask.
    Raster(PathBuf),
    /// Aperio ImageScope XML.
    ImageScope(PathBuf),
}

/// The files of one tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileFiles {
    /// Image file name without its ending.
    pub name: String,
    /// The image.
    pub image: PathBuf,
    /// The label map, or else the XML.
    pub labels: Option<LabelSource>,
    /// The XML, also where a label map is used.
    pub annotation: Option<PathBuf>,
}

/// The files of one name, in the order of their folders.
#[derive(Debug, Default)]
struct TileCandidates {
    images: Vec<PathBuf>,
    /// Raster files that are labels by their ending or folder.
    labels: Vec<PathBuf>,
    xml: Vec<PathBuf>,
}

/// Pairs the images below `folder` with labels of the same name. Files without a partner become
/// warnings.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read; [`Error::Limit`] when it holds too many files.
pub fn discover(folder: &Path) -> Result<(Vec<TileFiles>, Warnings)> {
    let mut warnings = Warnings::default();
    let mut files = Vec::new();
    add_files(folder, 0, &mut files, &mut warnings).map_err(|e| e.at(folder))?;
    let mut by_name: BTreeMap<String, TileCandidates> = BTreeMap::new();
    for path in files {
        add_candidate(path, folder, &mut by_name);
    }
    let mut tiles = Vec::new();
    for (name, candidates) in by_name {
        tiles.extend(pair(name, candidates, &mut warnings));
    }
    Ok((tiles, warnings))
}

/// Lists the files of a folder and its subfolders, in the order of their names; symbolic links are
/// followed, hidden files left out. An entry that cannot be read becomes a warning.
fn add_files(
    folder: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    warnings: &mut Warnings,
) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(|e| Error::io("The folder cannot be read", e))
        .at(folder)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && depth < MAX_DEPTH => {
                match add_files(&path, depth + 1, files, warnings) {
                    Err(e @ Error::Io(_)) => warnings.note(format!("{e}; it is left out")),
                    other => other?,
                }
            }
            Ok(metadata) if metadata.is_file() => {
                if files.len() == MAX_FILES {
                    let message = format!("The folder holds more than {MAX_FILES} files");
                    return Err(Error::limit(message));
                }
                files.push(path);
            }
            Ok(_) => {}
            Err(e) => {
                warnings.note(format!("{} cannot be read ({e}); it is left out", path.display()));
            }
        }
    }
    Ok(())
}

/// Endings of the file names of labels that lie beside their image, longest first.
const LABEL_SUFFIXES: [&str; 12] = [
    "_instances",
    "-labels",
    "_labels",
    "_binary",
    "-label",
    "_label",
    "-mask",
    "_mask",
    ".mask",
    "_inst",
    "_bin",
    "_gt",
];

/// Beginnings of the names of folders that hold labels.
const LABEL_FOLDERS: [&str; 6] = ["label", "mask", "annotation", "ground", "gt", "instance"];

/// Sorts a file by its name without the endings.
fn add_candidate(path: PathBuf, root: &Path, by_name: &mut BTreeMap<String, TileCandidates>) {
    let Some(stem) = path.file_stem().map(|s| s.to_string_lossy().into_owned()) else { return };
    match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("xml") => by_name.entry(stem).or_default().xml.push(path),
        Some("tif" | "tiff" | "png" | "jpg" | "jpeg") => {
            let lower = stem.to_lowercase();
            let suffix = LABEL_SUFFIXES.iter().find(|suffix| lower.ends_with(*suffix));
            let end = stem.len() - suffix.map_or(0, |suffix| suffix.len());
            let name = stem.get(..end).unwrap_or(&stem);
            let candidates = by_name.entry(name.to_owned()).or_default();
            if suffix.is_some() || is_in_label_folder(&path, root) {
                candidates.labels.push(path);
            } else {
                candidates.images.push(path);
            }
        }
        _ => {}
    }
}

/// Whether any folder between `root` and the file is named like one of labels.
fn is_in_label_folder(path: &Path, root: &Path) -> bool {
    let Some(folders) = path.strip_prefix(root).unwrap_or(path).parent() else { return false };
    folders.iter().any(|folder| {
        let folder = folder.to_string_lossy().to_lowercase();
        LABEL_FOLDERS.iter().any(|start| folder.starts_with(start))
    })
}

/// Chooses image and labels among the files of one name.
fn pair(name: String, candidates: TileCandidates, warnings: &mut Warnings) -> Option<TileFiles> {
    let TileCandidates { mut images, mut labels, xml } = candidates;
    // "tile.tif" beside "tile.png" in one folder: the PNG is the label map.
    if labels.is_empty() && xml.is_empty() && images.len() == 2 {
        let is_png = |p: &PathBuf| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
        if images[0].parent() == images[1].parent()
            && let Some(png) = images.iter().position(is_png)
        {
            labels.push(images.remove(png));
        }
    }
    if images.len() > 1 {
        let first = images[0].display();
        warnings.note(format!("{} images are named '{name}'; {first} is used", images.len()));
    }
    let annotation = xml.into_iter().next();
    let Some(image) = images.into_iter().next() else {
        let what = if annotation.is_some() { "An annotation" } else { "A label file" };
        warnings.note(format!("{what} named '{name}' has no image and is left out"));
        return None;
    };
    let labels = match (labels.into_iter().next(), &annotation) {
        (Some(raster), _) => Some(LabelSource::Raster(raster)),
        (None, Some(xml)) => Some(LabelSource::ImageScope(xml.clone())),
        (None, None) => {
            warnings.note(format!("The image '{name}' has no labels"));
            None
        }
    };
    Some(TileFiles { name, image, labels, annotation })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, b"x").expect("file");
        }
        dir
    }

    /// Names of the tiles with the kind of their labels, and the number of warnings.
    fn kinds(files: &[&str]) -> (Vec<(String, &'static str)>, usize) {
        let dir = folder(files);
        let (tiles, warnings) = discover(dir.path()).expect("tiles");
        let kind = |t: &TileFiles| match t.labels {
            Some(LabelSource::Raster(_)) => "raster",
            Some(LabelSource::ImageScope(_)) => "xml",
            None => "none",
        };
        (tiles.iter().map(|t| (t.name.clone(), kind(t))).collect(), warnings.notes.len())
    }

    #[test]
    fn folders_like_kumars_and_monusegs_are_paired() {
        let kumar = [
            "images/a.tif",
            "labels/a.png",
            "annotations/a.xml",
            "images/b.tif",
            "annotations/b.xml",
        ];
        assert_eq!(kinds(&kumar).0, [("a".into(), "raster"), ("b".into(), "xml")]);
        assert_eq!(kinds(&["Tissue Images/a.tif", "Annotations/a.xml"]).0, [("a".into(), "xml")]);
        assert_eq!(
            kinds(&["MoNuSegTestData/a.tif", "MoNuSegTestData/a.xml"]).0,
            [("a".into(), "xml")]
        );
    }

    #[test]
    fn flat_folders_are_paired_by_ending_or_by_name() {
        assert_eq!(kinds(&["a.png", "a_mask.png"]).0, [("a".into(), "raster")]);
        assert_eq!(kinds(&["a.tif", "a.png"]).0, [("a".into(), "raster")]);
    }

    #[test]
    fn files_without_a_partner_are_warnings_and_do_not_stop_the_rest() {
        let (tiles, notes) = kinds(&["a.png", "a_mask.png", "lost.xml", "alone.png", "notes.txt"]);
        assert_eq!(tiles, [("a".into(), "raster"), ("alone".into(), "none")]);
        assert_eq!(notes, 2);
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_followed_and_a_broken_one_is_a_warning() {
        let dir = folder(&["real/a.png", "real/a_mask.png"]);
        std::os::unix::fs::symlink("nowhere", dir.path().join("lost.png")).expect("link");
        std::os::unix::fs::symlink("real/a.png", dir.path().join("b.png")).expect("link");
        let (tiles, warnings) = discover(dir.path()).expect("tiles");
        assert_eq!(tiles.len(), 2);
        assert!(warnings.notes.iter().any(|n| n.contains("lost.png")), "{:?}", warnings.notes);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(matches!(discover(Path::new("/no/such/folder")), Err(Error::Io(_))));
    }
}
