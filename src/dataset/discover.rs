//! Finds images and their labels in a folder, by names: folders like Kumar's and MoNuSeg's, or
//! everything in one place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorContext as _, Result, Warnings};

/// Most files looked at, and deepest folder.
const MAX_FILES: usize = 100_000;
const MAX_DEPTH: usize = 6;

/// Where a tile's labels come from.
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
    pub image: PathBuf,
    /// A label map where there is one, else XML.
    pub labels: Option<LabelSource>,
    /// The XML, also when a label map is used.
    pub annotation: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct TileCandidates {
    images: Vec<(PathBuf, bool)>, // path, and whether name or folder says "labels"
    xml: Vec<PathBuf>,
}

/// Pairs the images below `folder` with labels of the same name. Orphans go into the report.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read; [`Error::Limit`] when it holds too many files.
pub fn discover(folder: &Path) -> Result<(Vec<TileFiles>, Warnings)> {
    let mut by_name: BTreeMap<String, TileCandidates> = BTreeMap::new();
    let mut report = Warnings::default();
    let mut count = 0;
    walk(folder, 0, &mut report, &mut |path| {
        count += 1;
        if count > MAX_FILES {
            return Err(
                Error::limit(format!("The folder holds more than {MAX_FILES} files")).at(folder)
            );
        }
        sort_in(path, folder, &mut by_name);
        Ok(())
    })?;
    let tiles =
        by_name.into_iter().filter_map(|(name, found)| pair(name, found, &mut report)).collect();
    Ok((tiles, report))
}

/// Visits files, links followed; what cannot be read below the root goes into the report.
fn walk(
    folder: &Path,
    depth: usize,
    report: &mut Warnings,
    visit: &mut dyn FnMut(PathBuf) -> Result<()>,
) -> Result<()> {
    let unreadable = |e| Error::io("The folder cannot be read", e);
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .map_err(unreadable)
        .and_then(|dir| dir.collect::<std::io::Result<Vec<_>>>().map_err(unreadable))
        .at(folder)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => {
                match walk(&path, depth + 1, report, visit) {
                    Err(e @ Error::Io { .. }) => report.note(format!("{e}; it is left out")),
                    other => other?,
                }
            }
            Ok(kind) if kind.is_file() => visit(path)?,
            Ok(_) => {}
            Err(e) => {
                report.note(format!("{} cannot be read ({e}); it is left out", path.display()))
            }
        }
    }
    Ok(())
}

/// Endings that mark a label file beside its image, longest first.
const LABEL_ENDINGS: [&str; 12] = [
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

fn sort_in(path: PathBuf, root: &Path, by_name: &mut BTreeMap<String, TileCandidates>) {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let Some(stem) = path.file_stem().map(|s| s.to_string_lossy().into_owned()) else { return };
    if ending == "xml" {
        by_name.entry(stem).or_default().xml.push(path);
        return;
    }
    if !["tif", "tiff", "png", "jpg", "jpeg"].contains(&ending.as_str()) {
        return;
    }
    let lower = stem.to_lowercase();
    let suffix = LABEL_ENDINGS.iter().find(|s| lower.ends_with(*s));
    let inside = path.strip_prefix(root).unwrap_or(&path).parent();
    let in_label_folder =
        inside.is_some_and(|p| p.iter().any(|part| names_labels(&part.to_string_lossy())));
    let name = suffix.map_or(stem.clone(), |s| stem[..stem.len() - s.len()].to_owned());
    by_name.entry(name).or_default().images.push((path, suffix.is_some() || in_label_folder));
}

fn names_labels(folder: &str) -> bool {
    let folder = folder.to_lowercase();
    ["label", "mask", "annotation", "ground", "gt", "instance"]
        .iter()
        .any(|w| folder.starts_with(w))
}

fn pair(name: String, mut found: TileCandidates, report: &mut Warnings) -> Option<TileFiles> {
    let mut labels: Vec<PathBuf> =
        found.images.iter().filter(|i| i.1).map(|i| i.0.clone()).collect();
    let mut images: Vec<PathBuf> = found.images.drain(..).filter(|i| !i.1).map(|i| i.0).collect();
    // "tile.tif" beside "tile.png" in one folder: the PNG is the label map.
    let beside = images.len() == 2 && images[0].parent() == images[1].parent();
    if labels.is_empty() && found.xml.is_empty() && beside {
        let png = |p: &PathBuf| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
        if let Some(at) = images.iter().position(png) {
            labels.push(images.remove(at));
        }
    }
    if images.len() > 1 {
        let named = images[0].display();
        report.note(format!("{} images are named '{name}'; {named} is used", images.len()));
    }
    let annotation = found.xml.into_iter().next();
    let Some(image) = images.into_iter().next() else {
        let what = if annotation.is_some() { "An annotation" } else { "A label file" };
        report.note(format!("{what} named '{name}' has no image and is left out"));
        return None;
    };
    let labels = labels.into_iter().next().map(LabelSource::Raster);
    let labels = labels.or_else(|| annotation.clone().map(LabelSource::ImageScope));
    if labels.is_none() {
        report.note(format!("The image '{name}' has no labels"));
    }
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

    fn kinds(files: &[&str]) -> (Vec<(String, &'static str)>, usize) {
        let dir = folder(files);
        let (tiles, report) = discover(dir.path()).expect("tiles");
        let kind = |t: &TileFiles| match t.labels {
            Some(LabelSource::Raster(_)) => "raster",
            Some(LabelSource::ImageScope(_)) => "xml",
            None => "none",
        };
        (tiles.iter().map(|t| (t.name.clone(), kind(t))).collect(), report.notes.len())
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
    fn orphans_are_reported_and_do_not_stop_the_rest() {
        let (tiles, notes) = kinds(&["a.png", "a_mask.png", "lost.xml", "alone.png", "notes.txt"]);
        assert_eq!(tiles, [("a".into(), "raster"), ("alone".into(), "none")]);
        assert_eq!(notes, 2);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_a_broken_one_is_reported() {
        let dir = folder(&["real/a.png", "real/a_mask.png"]);
        std::os::unix::fs::symlink("nowhere", dir.path().join("lost.png")).expect("link");
        std::os::unix::fs::symlink("real/a.png", dir.path().join("b.png")).expect("link");
        let (tiles, report) = discover(dir.path()).expect("tiles");
        assert_eq!(tiles.len(), 2);
        assert!(report.notes.iter().any(|n| n.contains("lost.png")), "{:?}", report.notes);
    }

    #[test]
    fn a_missing_folder_is_a_sentence() {
        assert!(matches!(discover(Path::new("/no/such/folder")), Err(Error::Io { .. })));
    }
}
