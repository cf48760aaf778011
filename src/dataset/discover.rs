//! Pairs the images in a folder with their labels, by folder and file name, once: everything that
//! reads tiles uses these pairs, and `data check` shows each with the rule that made it.
//!
//! An image and its labels lie in one folder (`a.png`, `a_mask.png`), or in folders of one parent
//! (`site/images/a.png`, `site/labels/a.png`), or the labels lie in a folder inside the image's, or
//! a folder of labels collects those of all folders beside it. Files of two sites never pair.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::dataset_file::{DATASET_FILE, DatasetFile};
use super::names::{
    FolderKind, folder_kind, imaged_name, is_result_name, label_preference, labelled_names,
    name_around_label, own_words,
};
use super::other_files::{Listed, OtherFiles};
use super::outline_files::{is_foreign_json, is_outline_file};
use super::result_files::is_result_file;
use crate::error::{Error, ErrorContext as _, Result, Warnings, counted, listed};
use crate::picture::has_image_ending;
use crate::platform::{composed, file_identity, name_key};

/// Most files in a folder and its subfolders.
const MAX_FILES: usize = 100_000;
/// Levels of subfolders that are read.
const MAX_DEPTH: usize = 8;
/// Most images that a note names.
const MAX_NAMED: usize = 5;
/// Endings of files that keep pixels as they are; of two images of one name such a one is used.
const LOSSLESS_ENDINGS: [&str; 4] = ["tif", "tiff", "png", "bmp"];

/// The file of a tile's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelSource {
    /// A label map or mask.
    Raster(PathBuf),
    /// Outlines: XML of ImageScope and others, GeoJSON, LabelMe JSON.
    Outlines(PathBuf),
}

impl LabelSource {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Raster(path) | Self::Outlines(path) => path,
        }
    }
}

/// The files of one tile.
#[derive(Debug, Clone, PartialEq)]
pub struct TileFiles {
    /// Image file name without its ending; behind the folders of its site, as in `siteA/1`, where
    /// several images have that name.
    pub name: String,
    /// The image.
    pub image: PathBuf,
    /// The label map, or else the outlines.
    pub labels: Option<LabelSource>,
    /// The file of outlines, also where a label map is used.
    pub annotation: Option<PathBuf>,
    /// Why the labels belong to the image, as in `same folder, ending '_mask'`.
    pub paired_by: Option<String>,
    /// Micrometres a pixel, as [`DATASET_FILE`] states it.
    pub mpp_um: Option<f64>,
    /// Choices that were made among several files.
    pub notes: Warnings,
}

/// What a folder holds.
#[derive(Debug, Clone)]
pub struct TileFolder {
    /// Images, with their labels where they have any, sorted by name.
    pub tiles: Vec<TileFiles>,
    /// Files without a partner, results, folders with misleading names: what a user of the tiles
    /// must know.
    pub notes: Warnings,
    /// Files that are neither image nor label.
    pub other_files: Vec<PathBuf>,
    /// What the folder's [`DATASET_FILE`] states; none where there is none.
    pub dataset: Option<DatasetFile>,
}

/// An image or label file.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Names of the folders between the root and the file, composed (NFC).
    folders: Vec<String>,
    /// File name without its extension, composed.
    stem: String,
    is_outlines: bool,
    /// Index in `folders` of the folder of labels that the file lies in.
    label_folder: Option<usize>,
}

/// An image, or several files of one name and folder of which the first is used.
#[derive(Debug)]
struct Image {
    files: Vec<File>,
    labels: Vec<Match>,
}

/// A label file that belongs to an image.
#[derive(Debug)]
struct Match {
    path: PathBuf,
    is_outlines: bool,
    fit: Fit,
    preference: u8,
    rule: String,
}

/// A name of the image that a label file may belong to.
struct LabelledName {
    name: String,
    /// Endings that were taken off the label file's name.
    shortened: usize,
}

/// How closely a label file fits an image, closest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    place: Place,
    /// How many endings were taken from the two names, at least, until they were equal.
    shortened: usize,
    /// Whether the names differ in capitals.
    other_case: bool,
}

/// Where a label file lies, from the image; the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    SameFolder,
    /// `images/a` and `labels/a`, or `a` and `labels/a`.
    FolderBeside,
    /// `tumour/a` and `labels/a`: the name of the image's folder is not one of images.
    OtherFolderBeside,
    /// The folder of labels collects those of folders deeper down.
    CollectingFolder,
}

/// Pairs the images below `folder` with their labels. Files without a partner become notes.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read; [`Error::Limit`] when it holds too many files;
/// those of [`DatasetFile::of_folder`].
pub fn discover(folder: &Path) -> Result<TileFolder> {
    let mut notes = Warnings::default();
    let mut paths = Vec::new();
    if folder.is_file() {
        return Err(Error::invalid(
            "This is a file; name the folder that holds images and their labels",
        )
        .at(folder));
    }
    add_files(folder, &mut Vec::new(), &mut paths, &mut notes).map_err(|e| e.at(folder))?;
    let dataset = DatasetFile::of_folder(folder)?;
    if dataset.is_some() {
        let own = folder.join(DATASET_FILE);
        paths.retain(|path| *path != own);
    }
    let mut sorted = sort_files(paths, folder);
    let images = images_in_label_folders(&mut sorted, &mut notes);
    sorted.images.extend(images);
    let mut images = grouped(sorted.images);
    let mut lost = OtherFiles::default();
    let index = index_by_name(&images);
    for label in sorted.labels {
        assign(label, &mut images, &index, folder, &mut lost, &mut notes);
    }
    for image in &mut images {
        take_png_as_labels(image);
    }
    lost.add_notes(&mut notes);
    let mut tiles = named_tiles(images, folder);
    note_unlabelled(&tiles, &mut notes);
    sorted.others.add_notes(&mut notes);
    tiles.sort_by(|a, b| a.name.cmp(&b.name));
    for tile in &mut tiles {
        tile.mpp_um = dataset.as_ref().and_then(|dataset| dataset.mpp_um);
    }
    Ok(TileFolder { tiles, notes, other_files: sorted.others.unknown(), dataset })
}

/// Lists the files of a folder and its subfolders, in the order of their names; symbolic links are
/// followed, but for those to a folder that they lie in; hidden files are left out. An entry that
/// cannot be read becomes a warning. `above` are the identities of the folders that hold `folder`.
fn add_files(
    folder: &Path,
    above: &mut Vec<Option<String>>,
    files: &mut Vec<PathBuf>,
    warnings: &mut Warnings,
) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(|e| Error::io("The folder cannot be read", e))
        .at(folder)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    above.push(file_identity(folder));
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && is_one_of(&path, above) => {
                warnings.note(format!(
                    "{} is a link to a folder that it lies in and is left out",
                    path.display()
                ));
            }
            Ok(metadata) if metadata.is_dir() && above.len() <= MAX_DEPTH => {
                match add_files(&path, above, files, warnings) {
                    Err(e @ Error::Io(_)) => warnings.note(format!("{e}; it is left out")),
                    other => other?,
                }
            }
            Ok(metadata) if metadata.is_dir() => warnings.note(format!(
                "{} lies deeper than {MAX_DEPTH} folders and is left out",
                path.display()
            )),
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
    above.pop();
    Ok(())
}

fn is_one_of(folder: &Path, folders: &[Option<String>]) -> bool {
    let identity = file_identity(folder);
    identity.is_some() && folders.contains(&identity)
}

/// Files by what they are.
#[derive(Debug, Default)]
struct SortedFiles {
    images: Vec<File>,
    /// By the ending of their name, or outlines.
    labels: Vec<File>,
    /// Raster files without an ending of labels in folders of labels: labels, or images of a
    /// folder with a misleading name.
    in_label_folders: Vec<File>,
    others: OtherFiles,
}

fn sort_files(paths: Vec<PathBuf>, root: &Path) -> SortedFiles {
    let mut sorted = SortedFiles::default();
    // "mask_a.png": labels where there is an "a.png" or "img_a.png" in the folder.
    let mut perhaps_labels = Vec::new();
    for path in paths {
        let relative = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let extension = extension.unwrap_or_default();
        let is_outlines = is_outline_file(&path);
        if !is_outlines && !has_image_ending(&path) {
            let is_foreign = extension == "json" && is_foreign_json(&path);
            let by_extension = Listed::by_extension(&extension, &relative);
            sorted.others.add(if is_foreign { Listed::Json } else { by_extension }, relative);
            continue;
        }
        let file = File::new(path, &relative, is_outlines);
        if is_result_file(&file.path) {
            sorted.others.add(Listed::OwnResult, relative);
        } else if !is_outlines && file.is_drawn() {
            sorted.others.add(Listed::Drawn, relative);
        } else if is_outlines || !labelled_names(&file.stem).is_empty() {
            sorted.labels.push(file);
        } else if file.label_folder.is_some() {
            sorted.in_label_folders.push(file);
        } else if name_around_label(&file.stem).is_some() {
            perhaps_labels.push(file);
        } else {
            sorted.images.push(file);
        }
    }
    let mut names: BTreeSet<(&[String], String)> = BTreeSet::new();
    for image in &sorted.images {
        names.insert((&image.folders, name_key(&image.stem)));
        names.extend(imaged_name(&image.stem).map(|name| (&image.folders[..], name_key(name))));
    }
    let is_label = |file: &File| {
        let name = name_around_label(&file.stem).map(|name| name_key(&name));
        name.is_some_and(|name| names.contains(&(&file.folders[..], name)))
    };
    let (labels, images): (Vec<File>, Vec<File>) = perhaps_labels.into_iter().partition(is_label);
    sorted.labels.extend(labels);
    sorted.images.extend(images);
    sorted
}

impl File {
    fn new(path: PathBuf, relative: &Path, is_outlines: bool) -> Self {
        let mut folders = Vec::new();
        for folder in relative.parent().into_iter().flat_map(Path::iter) {
            folders.push(composed(&folder.to_string_lossy()));
        }
        let stem = relative.file_stem().map(|s| composed(&s.to_string_lossy())).unwrap_or_default();
        let stem = if is_outlines { name_of_outlines(&stem) } else { without_end(&stem, ".ome") };
        let stem = stem.to_owned();
        let mut label_folder = nearest_label_folder(&folders);
        // Outlines in a folder of any name belong to the images beside it.
        if is_outlines && label_folder.is_none() {
            label_folder = folders.len().checked_sub(1);
        }
        Self { path, folders, stem, is_outlines, label_folder }
    }

    /// Indices of the folders of labels that the file lies in, the innermost first.
    fn label_folders(&self) -> Vec<usize> {
        let Some(innermost) = self.label_folder else { return Vec::new() };
        let mut folders = vec![innermost];
        for at in (0..innermost).rev() {
            match folder_kind(&self.folders[at]) {
                FolderKind::Labels | FolderKind::PerhapsLabels => folders.push(at),
                FolderKind::Images => break,
                FolderKind::Results | FolderKind::Other => {}
            }
        }
        folders
    }

    /// Whether the file's folder or name is one of drawings and computed maps.
    fn is_drawn(&self) -> bool {
        let folder = self.folders.last().map_or(FolderKind::Other, |f| folder_kind(f));
        folder == FolderKind::Results || is_result_name(&self.stem)
    }

    /// Whether the folder's name alone does not make the file a label.
    fn is_perhaps_label(&self) -> bool {
        let folder = self.label_folder.and_then(|at| self.folders.get(at));
        folder.is_some_and(|f| folder_kind(f) == FolderKind::PerhapsLabels)
    }

    /// Names of the image that a label file may belong to, the one without an ending of labels
    /// taken off first, then with 1, 2, … taken off.
    fn labelled_names(&self) -> Vec<LabelledName> {
        let mut names = Vec::new();
        if self.is_outlines || self.label_folder.is_some() {
            names.push(LabelledName { name: self.stem.clone(), shortened: 0 });
        }
        for (shortened, name) in (1..).zip(labelled_names(&self.stem)) {
            names.push(LabelledName { name: name.to_owned(), shortened });
        }
        names.extend(name_around_label(&self.stem).map(|name| LabelledName { name, shortened: 1 }));
        names
    }
}

/// The name without `end`, in any capitals.
fn without_end<'a>(name: &'a str, end: &str) -> &'a str {
    let (rest, last) =
        name.split_at_checked(name.len().wrapping_sub(end.len())).unwrap_or((name, ""));
    if last.eq_ignore_ascii_case(end) { rest } else { name }
}

/// `a` of `a.tif.geojson` and `a.ome.tif.geojson`, given without the last ending.
fn name_of_outlines(stem: &str) -> &str {
    match stem.rsplit_once('.') {
        Some((name, _)) if has_image_ending(Path::new(stem)) => without_end(name, ".ome"),
        _ => stem,
    }
}

/// Index of the innermost folder of labels, if none inside it is one of images.
fn nearest_label_folder(folders: &[String]) -> Option<usize> {
    for (index, folder) in folders.iter().enumerate().rev() {
        match folder_kind(folder) {
            FolderKind::Labels | FolderKind::PerhapsLabels => return Some(index),
            FolderKind::Images => return None,
            FolderKind::Results | FolderKind::Other => {}
        }
    }
    None
}

/// Moves what lies in folders of labels to the labels, but for images: those with labels of their
/// own in the same folder, which belong to no image elsewhere that lacks labels, and those in a
/// folder whose name has a word for labels beside others and that belong to no image elsewhere.
fn images_in_label_folders(sorted: &mut SortedFiles, notes: &mut Warnings) -> Vec<File> {
    // Names with labels in the same folder, by folder.
    let mut labelled: BTreeSet<(Vec<String>, String)> = BTreeSet::new();
    for label in &sorted.labels {
        for LabelledName { name, .. } in label.labelled_names() {
            labelled.insert((label.folders.clone(), name_key(&name)));
        }
    }
    let has_own = |file: &File| {
        let is_labelled = |name: &str| labelled.contains(&(file.folders.clone(), name_key(name)));
        is_labelled(&file.stem) || imaged_name(&file.stem).is_some_and(is_labelled)
    };
    let mut by_name: BTreeMap<String, Vec<&File>> = BTreeMap::new();
    for image in &sorted.images {
        by_name.entry(name_key(&image.stem)).or_default().push(image);
        if let Some(name) = imaged_name(&image.stem) {
            by_name.entry(name_key(name)).or_default().push(image);
        }
    }
    let mut images = Vec::new();
    let mut labels = Vec::new();
    let mut misleading: BTreeSet<String> = BTreeSet::new();
    for file in std::mem::take(&mut sorted.in_label_folders) {
        let candidates = by_name.get(&name_key(&file.stem)).map_or(&[][..], Vec::as_slice);
        let mut partners = candidates.iter().filter(|image| place(&file, &image.folders).is_some());
        let is_image = if has_own(&file) {
            file.is_perhaps_label() || partners.all(|image| has_own(image))
        } else {
            file.is_perhaps_label() && partners.next().is_none()
        };
        if is_image {
            let folder = file.label_folder.and_then(|at| file.folders.get(at));
            misleading.extend(folder.filter(|_| !file.is_perhaps_label()).cloned());
            images.push(File { label_folder: None, ..file });
        } else {
            labels.push(file);
        }
    }
    for folder in misleading {
        notes.note(format!(
            "The folder '{folder}' is named like one of labels, but it holds pictures with labels \
             of their own; they are taken as images"
        ));
    }
    sorted.labels.extend(labels);
    images
}

/// Images of one name and folder together, the file to use first.
fn grouped(files: Vec<File>) -> Vec<Image> {
    let mut groups: BTreeMap<(Vec<String>, String), Vec<File>> = BTreeMap::new();
    for file in files {
        groups.entry((file.folders.clone(), file.stem.clone())).or_default().push(file);
    }
    let mut images = Vec::new();
    for mut files in groups.into_values() {
        files.sort_by_key(|file| !has_extension(&file.path, &LOSSLESS_ENDINGS));
        images.push(Image { files, labels: Vec::new() });
    }
    images
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| extensions.contains(&e.as_str()))
}

/// Images by the keys of their names: the name, and the name without an ending of images.
fn index_by_name(images: &[Image]) -> BTreeMap<String, Vec<usize>> {
    let mut index: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (number, image) in images.iter().enumerate() {
        let stem = &image.files[0].stem;
        index.entry(name_key(stem)).or_default().push(number);
        if let Some(name) = imaged_name(stem) {
            index.entry(name_key(name)).or_default().push(number);
        }
    }
    index
}

/// Gives a label file to the image that it fits best, or notes why to none.
fn assign(
    label: File,
    images: &mut [Image],
    index: &BTreeMap<String, Vec<usize>>,
    root: &Path,
    lost: &mut OtherFiles,
    notes: &mut Warnings,
) {
    let mut fitting: Vec<(Fit, usize)> = Vec::new();
    for LabelledName { name, shortened } in label.labelled_names() {
        for &number in index.get(&name_key(&name)).into_iter().flatten() {
            let image = &images[number].files[0];
            let Some(place) = place(&label, &image.folders) else { continue };
            // In the image's own folder labels are known by their ending.
            if place == Place::SameFolder && shortened == 0 && !label.is_outlines {
                continue;
            }
            // An empty rest of a name pairs nothing in another folder.
            if place != Place::SameFolder && name.is_empty() {
                continue;
            }
            let of_image = usize::from(name_key(&image.stem) != name_key(&name));
            let whole = if of_image == 0 { Some(&*image.stem) } else { imaged_name(&image.stem) };
            let other_case = whole != Some(&*name);
            fitting.push((Fit { place, shortened: shortened + of_image, other_case }, number));
        }
    }
    fitting.sort_unstable();
    let relative = label.path.strip_prefix(root).unwrap_or(&label.path).to_path_buf();
    let Some(&(fit, number)) = fitting.first() else {
        let names = label.labelled_names();
        let is_elsewhere =
            names.iter().any(|n| !n.name.is_empty() && index.contains_key(&name_key(&n.name)));
        let listed = match (is_elsewhere, label.is_outlines) {
            (true, _) => Listed::FarFromImage,
            (false, true) => Listed::LostAnnotation,
            (false, false) => Listed::LostLabels,
        };
        lost.add(listed, relative);
        return;
    };
    let equal: Vec<usize> =
        fitting.iter().filter(|(other, _)| *other == fit).map(|(_, number)| *number).collect();
    if equal.len() > 1 {
        let mut names = Vec::new();
        for &number in &equal {
            names.push(relative_name(&images[number].files[0].path, root));
        }
        notes.note(format!(
            "{} fits {} images equally well ({}) and is given to none; put labels beside their \
             images, in folders of one parent",
            relative.display(),
            names.len(),
            names.join(", ")
        ));
        return;
    }
    let image = &images[number].files[0];
    let folder = label.label_folder.and_then(|at| label.folders.get(at)).map(String::as_str);
    let matched = Match {
        rule: rule(&label, image, fit),
        preference: label_preference(&label.stem, folder) + u8::from(is_json(&label)),
        path: label.path,
        is_outlines: label.is_outlines,
        fit,
    };
    images[number].labels.push(matched);
}

/// Of several files of outlines, XML is used first: it may state a pixel size.
fn is_json(label: &File) -> bool {
    label.is_outlines && !has_extension(&label.path, &["xml"])
}

/// Where a label file lies from the folders of an image; none where the two are of different
/// sites.
fn place(label: &File, image: &[String]) -> Option<Place> {
    if label.folders == image {
        return Some(Place::SameFolder);
    }
    label.label_folders().into_iter().filter_map(|at| place_by(label, at, image)).min()
}

/// [`place`], by the folder of labels with index `at`.
fn place_by(label: &File, at: usize, image: &[String]) -> Option<Place> {
    let parent = &label.folders[..at];
    let mut below = label.folders[at + 1..].to_vec();
    // `labels/inst` is a folder of labels as a whole.
    below.retain(|f| folder_kind(f) != FolderKind::Labels || !own_words(f).is_empty());
    let inside = image.strip_prefix(parent)?;
    if inside == below {
        return Some(Place::FolderBeside);
    }
    let words = own_words(&label.folders[at]);
    if let Some((beside, rest)) = inside.split_first()
        && rest == below
    {
        let own = own_words(beside);
        if own == words {
            return Some(Place::FolderBeside);
        }
        // Words of one folder alone are no sign of another site.
        return (own.is_empty() || words.is_empty()).then_some(Place::OtherFolderBeside);
    }
    let collects = words.is_empty() && below.iter().all(|folder| own_words(folder).is_empty());
    collects.then_some(Place::CollectingFolder)
}

/// Why a label file belongs to an image, for reports.
fn rule(label: &File, image: &File, fit: Fit) -> String {
    let folders = label.label_folders();
    let by = folders.iter().find(|&&at| place_by(label, at, &image.folders) == Some(fit.place));
    let folder = match (by, label.label_folder) {
        (Some(&outer), Some(inner)) => label.folders[outer..=inner].join("/"),
        _ => String::new(),
    };
    let mut rule = match fit.place {
        Place::SameFolder => "same folder".to_owned(),
        Place::FolderBeside | Place::OtherFolderBeside => {
            format!("folder '{folder}' of the same parent")
        }
        Place::CollectingFolder => format!("folder '{folder}' above, no other image of that name"),
    };
    if fit.shortened > 0 {
        let split = label.stem.split_at_checked(image.stem.len());
        let ending = split.filter(|(name, _)| name_key(name) == name_key(&image.stem));
        match ending {
            Some((_, ending)) if !ending.is_empty() => rule += &format!(", ending '{ending}'"),
            _ => rule += &format!(", names '{}' and '{}'", image.stem, label.stem),
        }
    }
    if fit.other_case {
        rule += ", names differ in capitals";
    }
    rule
}

/// `a.tif` beside `a.png` without other labels: the PNG is the label map.
fn take_png_as_labels(image: &mut Image) {
    if !image.labels.is_empty() || image.files.len() != 2 {
        return;
    }
    let is_png = |file: &File| has_extension(&file.path, &["png"]);
    let Some(png) = image.files.iter().position(is_png) else { return };
    let label = image.files.remove(png);
    image.labels.push(Match {
        path: label.path,
        is_outlines: false,
        fit: Fit { place: Place::SameFolder, shortened: 0, other_case: false },
        preference: 0,
        rule: "same folder, PNG of the same name".to_owned(),
    });
}

/// The tiles with names of their own.
fn named_tiles(images: Vec<Image>, root: &Path) -> Vec<TileFiles> {
    let mut stems: BTreeMap<String, usize> = BTreeMap::new();
    for image in &images {
        *stems.entry(name_key(&image.files[0].stem)).or_default() += 1;
    }
    // Names behind their site, as often as they occur.
    let mut sited: BTreeMap<String, usize> = BTreeMap::new();
    for image in &images {
        *sited.entry(name_key(&site_name(&image.files[0]))).or_default() += 1;
    }
    let mut tiles = Vec::new();
    for image in images {
        let file = &image.files[0];
        let mut name = file.stem.clone();
        if stems.get(&name_key(&name)).is_some_and(|&count| count > 1) {
            name = site_name(file);
            if sited.get(&name_key(&name)).is_some_and(|&count| count > 1) {
                name = [&file.folders.join("/"), "/", &file.stem].concat();
            }
        }
        tiles.push(tile(image, name.trim_start_matches('/').to_owned(), root));
    }
    tiles
}

/// The name of an image behind those of its folders whose names are more than words for images.
fn site_name(file: &File) -> String {
    let mut parts = file.folders.clone();
    parts.retain(|folder| {
        folder_kind(folder) != FolderKind::Images || !own_words(folder).is_empty()
    });
    if parts.is_empty() {
        parts.clone_from(&file.folders);
    }
    parts.push(file.stem.clone());
    parts.join("/")
}

/// Chooses image and labels among the files of one name.
fn tile(image: Image, name: String, root: &Path) -> TileFiles {
    let Image { files, mut labels } = image;
    let mut notes = Warnings::default();
    if files.len() > 1 {
        let used = relative_name(&files[0].path, root);
        notes.note(format!("{} images have this name in one folder; {used} is used", files.len()));
    }
    labels.sort_by(|a, b| (a.fit, a.preference, &a.path).cmp(&(b.fit, b.preference, &b.path)));
    let (xml, raster): (Vec<Match>, Vec<Match>) = labels.into_iter().partition(|m| m.is_outlines);
    for candidates in [&raster, &xml] {
        if let [used, others @ ..] = &candidates[..]
            && !others.is_empty()
        {
            let mut names = Vec::new();
            for other in others {
                names.push(relative_name(&other.path, root));
            }
            notes.note(format!(
                "Several label files fit; {} is used ({}), {} not",
                relative_name(&used.path, root),
                used.rule,
                names.join(", ")
            ));
        }
    }
    let annotation = xml.first().map(|m| m.path.clone());
    let used = raster.into_iter().chain(xml).next();
    let paired_by = used.as_ref().map(|m| m.rule.clone());
    let labels = used.map(|m| {
        if m.is_outlines { LabelSource::Outlines(m.path) } else { LabelSource::Raster(m.path) }
    });
    let image = files.into_iter().next().map(|file| file.path).unwrap_or_default();
    TileFiles { name, image, labels, annotation, paired_by, mpp_um: None, notes }
}

fn relative_name(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// One note on the images without labels.
fn note_unlabelled(tiles: &[TileFiles], notes: &mut Warnings) {
    let mut names = Vec::new();
    for tile in tiles {
        if tile.labels.is_none() {
            names.push(tile.name.as_str());
        }
    }
    if !names.is_empty() {
        notes.note(format!(
            "{} no labels: left out ({})",
            counted(names.len(), "image has", "images have"),
            listed(&names, MAX_NAMED)
        ));
    }
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

    /// `name < labels` of each tile, or `name` alone, and the notes.
    fn pairs(files: &[&str]) -> (Vec<String>, Vec<String>) {
        let dir = folder(files);
        let TileFolder { tiles, notes, .. } = discover(dir.path()).expect("tiles");
        let mut all_notes = notes.notes;
        let mut pairs = Vec::new();
        for tile in tiles {
            let labels = tile.labels.as_ref();
            let labels = labels.map(|l| format!(" < {}", relative_name(l.path(), dir.path())));
            pairs.push(format!("{}{}", tile.name, labels.unwrap_or_default()));
            all_notes.extend(tile.notes.notes);
        }
        (pairs, all_notes)
    }

    /// Asserts the pairs, and that there is nothing to note.
    fn assert_paired(files: &[&str], expected: &[&str]) {
        let (pairs, notes) = pairs(files);
        assert_eq!(pairs, expected, "{files:?}");
        assert!(notes.is_empty(), "{files:?}: {notes:?}");
    }

    #[test]
    fn folders_of_public_data_sets_are_paired() {
        // Kumar, with both kinds of labels.
        assert_paired(
            &[
                "images/a.tif",
                "labels/a.png",
                "annotations/a.xml",
                "images/b.tif",
                "annotations/b.xml",
            ],
            &["a < labels/a.png", "b < annotations/b.xml"],
        );
        // MoNuSeg.
        assert_paired(&["Tissue Images/a.tif", "Annotations/a.xml"], &["a < Annotations/a.xml"]);
        assert_paired(&["TestData/a.tif", "TestData/a.xml"], &["a < TestData/a.xml"]);
        // StarDist, with parts.
        assert_paired(
            &["train/images/1.tif", "train/masks/1.tif", "test/images/2.tif", "test/masks/2.tif"],
            &["1 < train/masks/1.tif", "2 < test/masks/2.tif"],
        );
        assert_paired(&["images/train/1.png", "labels/train/1.png"], &["1 < labels/train/1.png"]);
        assert_paired(&["train_images/1.png", "train_masks/1.png"], &["1 < train_masks/1.png"]);
        // Naylor's.
        assert_paired(
            &["Slide_01/1.png", "GT_01/1.png", "Slide_02/2.png", "GT_02/2.png"],
            &["1 < GT_01/1.png", "2 < GT_02/2.png"],
        );
        // NuInsSeg.
        assert_paired(
            &["human brain/tissue images/h_1.png", "human brain/label masks/h_1.tif"],
            &["h_1 < human brain/label masks/h_1.tif"],
        );
        // A folder for each image.
        assert_paired(
            &["c1/image.png", "c1/mask.png", "c2/image.png", "c2/mask.png"],
            &["c1/image < c1/mask.png", "c2/image < c2/mask.png"],
        );
        assert_paired(&["site/1.png", "site/labels/1.png"], &["1 < site/labels/1.png"]);
        assert_paired(&["HE/a/1.png", "masks/1.png"], &["1 < masks/1.png"]);
    }

    #[test]
    fn outlines_of_qupath_and_labelme_are_labels() {
        let files = ["a.tif", "a.geojson", "b.tif", "b.tif.geojson", "q/c.ome.tif", "q/c.geojson"];
        assert_paired(&files, &["a < a.geojson", "b < b.tif.geojson", "c < q/c.geojson"]);
        assert_paired(&["a.tif", "export/a.geojson"], &["a < export/a.geojson"]);
        let dir = folder(&["a.png", "b.png", "c.png", "settings.json"]);
        for (name, text) in [
            ("a.json", r#"[{"type":"Feature"}]"#),
            ("b.json", r#"{"shapes":[{"points":[]}]}"#),
            ("c.json", r#"{"images":[{"file_name":"c.png"}],"annotations":[]}"#),
        ] {
            std::fs::write(dir.path().join(name), text).expect("file");
        }
        let TileFolder { tiles, notes, other_files, .. } = discover(dir.path()).expect("tiles");
        let is_labelled: Vec<bool> = tiles.iter().map(|tile| tile.labels.is_some()).collect();
        assert_eq!(is_labelled, [true, true, false]);
        assert!(notes.notes.iter().any(|note| note.contains("c.json")), "{notes:?}");
        assert_eq!(other_files, [Path::new("settings.json")]);
    }

    #[test]
    fn folders_inside_folders_of_labels_belong_to_the_same_images() {
        let files = ["Images/a.png", "Labels/inst/a.png", "Labels/type/a.png"];
        let (pairs, notes) = pairs(&files);
        assert_eq!(pairs, ["a < Labels/inst/a.png"]);
        assert!(notes[0].contains("folder 'Labels/inst'"), "{notes:?}");
    }

    #[test]
    fn endings_of_other_programs_pair_in_one_folder() {
        for label in [
            "a_mask.png",
            "a_masks.tif",
            "a_cp_masks.png",
            "a_seg.png",
            "a_labels.png",
            "a-labelled.tif",
            "a_labelled.tif",
            "a_inst_map.png",
            "a.mask.png",
            "a_GT.PNG",
            "a mask.png",
            "a.xml",
            "A_Label.tif",
        ] {
            let (pairs, notes) = pairs(&["a.png", label]);
            assert_eq!(pairs, [format!("a < {label}")]);
            assert!(notes.is_empty(), "{notes:?}");
        }
        assert_paired(&["a.tif", "a.png"], &["a < a.png"]);
        assert_paired(&["000_img.png", "000_masks.png"], &["000_img < 000_masks.png"]);
        assert_paired(&["img_1.png", "mask_1.png"], &["img_1 < mask_1.png"]);
        assert_paired(&["1.png", "label_1.png"], &["1 < label_1.png"]);
        assert_paired(&["a_1.png", "a_mask_1.png"], &["a_1 < a_mask_1.png"]);
        assert_paired(&["a (1).png", "a_mask (1).png"], &["a (1) < a_mask (1).png"]);
        assert_paired(&["images/img_1.png", "labels/mask_1.png"], &["img_1 < labels/mask_1.png"]);
        assert_eq!(pairs(&["mask_1.png", "mask_2.png"]).0, ["mask_1", "mask_2"], "of nothing");
        assert_paired(&["o.ome.tif", "o.png"], &["o < o.png"]);
        assert_paired(&["o.ome.tif", "o_label.png"], &["o < o_label.png"]);
        // The nearest name wins.
        assert_paired(
            &["a_cell.png", "a_cell_mask.png", "a.png", "a_mask.png"],
            &["a < a_mask.png", "a_cell < a_cell_mask.png"],
        );
    }

    #[test]
    fn names_are_equal_in_both_forms_of_unicode_and_in_any_case() {
        assert_paired(
            &["Mu\u{308}ller 1.png", "M\u{fc}ller 1_mask.png"],
            &["M\u{fc}ller 1 < M\u{fc}ller 1_mask.png"],
        );
        assert_paired(&["Case.TIF", "case_mask.png"], &["Case < case_mask.png"]);
        #[cfg(target_os = "linux")]
        assert_paired(
            &["a.png", "A.png", "A_mask.png", "a_mask.png"],
            &["A < A_mask.png", "a < a_mask.png"],
        );
    }

    #[test]
    fn images_of_one_site_never_get_the_labels_of_another() {
        let both = [
            "siteA/images/1.png",
            "siteA/labels/1.png",
            "siteB/images/1.png",
            "siteB/labels/1.png",
        ];
        assert_paired(&both, &["siteA/1 < siteA/labels/1.png", "siteB/1 < siteB/labels/1.png"]);
        let (one, notes) =
            pairs(&["siteA/images/1.png", "siteB/images/1.png", "siteB/labels/1.png"]);
        assert_eq!(one, ["siteA/1", "siteB/1 < siteB/labels/1.png"]);
        assert!(notes[0].contains("1 image has no labels: left out (siteA/1)"), "{notes:?}");
        for files in [
            ["siteA/images/1.png", "siteB/labels/1.png"],
            ["siteA/1.png", "siteB/1_mask.png"],
            ["images/siteA/1.png", "labels/siteB/1.png"],
            ["siteA_images/1.png", "siteB_masks/1.png"],
            ["siteA/1.png", "siteB/1.xml"],
            ["train/1.png", "test_labels/1.png"],
        ] {
            let (pairs, notes) = pairs(&files);
            assert!(pairs.iter().all(|pair| !pair.contains('<')), "{pairs:?}");
            assert!(notes.iter().any(|note| note.contains("no labels")), "{notes:?}");
        }
        let (pairs, notes) = pairs(&["siteA/1.png", "siteB/1.png", "labels/1.png"]);
        assert_eq!(pairs, ["siteA/1", "siteB/1"]);
        assert!(notes[0].contains("equally well"), "{notes:?}");
    }

    #[test]
    fn folders_with_misleading_names_hold_images() {
        assert_paired(
            &[
                "GTEX/a.png",
                "GTEX/a_mask.png",
                "gt450-scans/b.png",
                "gt450-scans/b_mask.png",
                "Masked-out/c.png",
                "Masked-out/c_mask.png",
                "Instances-v2/d.png",
                "Instances-v2/d_mask.png",
            ],
            &[
                "a < GTEX/a_mask.png",
                "b < gt450-scans/b_mask.png",
                "c < Masked-out/c_mask.png",
                "d < Instances-v2/d_mask.png",
            ],
        );
        let (own, notes) = pairs(&["masks/a.png", "masks/a_mask.png"]);
        assert_eq!(own, ["a < masks/a_mask.png"]);
        assert!(notes[0].contains("'masks'") && notes.len() == 1, "{notes:?}");
        // Two kinds of labels in one folder.
        let (kinds, notes) = pairs(&["images/a.png", "labels/a.png", "labels/a_bin.png"]);
        assert_eq!(kinds, ["a < labels/a.png"]);
        assert!(notes[0].contains("Several label files fit"), "{notes:?}");
        let (two, _) = pairs(&["Instances-v2/a.png", "Instances-v2/a_mask.png", "HE/a.png"]);
        assert_eq!(two, ["HE/a", "Instances-v2/a < Instances-v2/a_mask.png"]);
    }

    #[test]
    fn a_choice_among_files_is_noted() {
        let (masks, notes) = pairs(&["a.png", "a_mask.png", "a_label.png"]);
        assert_eq!(masks, ["a < a_label.png"]);
        assert!(notes[0].contains("a_label.png is used") && notes[0].contains("a_mask.png not"));
        let (images, notes) = pairs(&["a.jpg", "a.png", "a_mask.png"]);
        assert_eq!(images, ["a < a_mask.png"]);
        assert!(notes[0].contains("2 images") && notes[0].contains("a.png is used"), "{notes:?}");
    }

    #[test]
    fn results_of_this_program_and_drawings_are_neither_images_nor_labels() {
        let results = [
            "t.png",
            "t_mask.png",
            "t.mask.png",
            "t.labels.png",
            "t.overlay.png",
            "t.probability.png",
        ];
        let dir = folder(&results);
        let table = "label,id,centroid_x_px,\n";
        std::fs::write(dir.path().join("t.csv"), table).expect("table");
        let with_model = r#"{"type":"Feature","metadata":{"model":"sha256:af"}}"#;
        for name in ["t.geojson", "t_label.geojson"] {
            std::fs::write(dir.path().join(name), with_model).expect("outlines");
        }
        let TileFolder { tiles, notes, .. } = discover(dir.path()).expect("tiles");
        assert_eq!(tiles[0].labels, Some(LabelSource::Raster(dir.path().join("t_mask.png"))));
        let notes = notes.notes;
        assert!(notes.len() == 1 && notes[0].contains("6 files are left out"), "{notes:?}");
        let (tiles, notes) = pairs(&["t.png", "t_mask.png", "t_flows.tif", "overlay/t.png"]);
        assert_eq!(tiles, ["t < t_mask.png"]);
        assert!(notes[0].contains("2 files"), "{notes:?}");
    }

    #[test]
    fn formats_that_are_not_read_are_named_with_the_way_out() {
        let (_, notes) = pairs(&[
            "images/1.png",
            "labels/1.mat",
            "1_seg.npy",
            "masks.npy",
            "RoiSet.zip",
            "s.svs",
        ]);
        for word in ["MATLAB", "Cellpose", "NumPy", "ImageJ", "slide region"] {
            assert!(notes.iter().any(|note| note.contains(word)), "{word}: {notes:?}");
        }
        let dir = folder(&["notes.txt", "a.png", "a_mask.png"]);
        let found = discover(dir.path()).expect("folder");
        assert_eq!(found.other_files, [Path::new("notes.txt")]);
    }

    #[test]
    fn files_without_a_partner_are_notes_and_do_not_stop_the_rest() {
        let files = ["a.png", "a_mask.png", "lost.xml", "alone.png", "b_mask.png", "notes.txt"];
        let (tiles, notes) = pairs(&files);
        assert_eq!(tiles, ["a < a_mask.png", "alone"]);
        assert_eq!(notes.len(), 3, "{notes:?}");
        let many: Vec<String> = (0..9).map(|i| format!("{i}.png")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (_, notes) = pairs(&many);
        assert!(notes.len() == 1 && notes[0].contains("9 images have no labels"), "{notes:?}");
    }

    #[test]
    fn the_rule_of_a_pair_is_told() {
        let rule = |files: &[&str]| {
            let dir = folder(files);
            discover(dir.path()).expect("tiles").tiles[0].paired_by.clone().expect("labels")
        };
        assert_eq!(rule(&["a.png", "a_mask.png"]), "same folder, ending '_mask'");
        assert_eq!(rule(&["x/a.png", "labels/a.png"]), "folder 'labels' of the same parent");
        assert_eq!(
            rule(&["i/A.png", "gt/a-gt.png"]),
            "folder 'gt' of the same parent, ending '-gt', names differ in capitals"
        );
        assert_eq!(rule(&["a.tif", "a.png"]), "same folder, PNG of the same name");
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_followed_and_a_broken_one_is_a_warning() {
        let dir = folder(&["real/a.png", "real/a_mask.png"]);
        std::os::unix::fs::symlink("nowhere", dir.path().join("lost.png")).expect("link");
        std::os::unix::fs::symlink("real/a.png", dir.path().join("b.png")).expect("link");
        let TileFolder { tiles, notes, .. } = discover(dir.path()).expect("tiles");
        assert_eq!(tiles.len(), 2);
        assert!(notes.notes.iter().any(|n| n.contains("lost.png")), "{:?}", notes.notes);
        std::os::unix::fs::symlink("..", dir.path().join("real/loop")).expect("link");
        let TileFolder { tiles, notes, .. } = discover(dir.path()).expect("tiles");
        assert_eq!(tiles.len(), 2);
        assert!(notes.notes.iter().any(|n| n.contains("loop")), "{:?}", notes.notes);
    }

    #[test]
    fn a_missing_folder_or_a_file_is_an_error() {
        assert!(matches!(discover(Path::new("/no/such/folder")), Err(Error::Io(_))));
        let dir = folder(&["a.png"]);
        assert!(matches!(discover(&dir.path().join("a.png")), Err(Error::Invalid(_))));
    }

    /// A path of up to three folders and a file, of words that meet in one way or another.
    fn any_path() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let folder = prop::sample::select(vec![
            "siteA",
            "siteB",
            "images",
            "labels",
            "masks",
            "GTEX",
            "Instances-v2",
            "train_images",
            "train_masks",
            "overlay",
            "png",
        ]);
        let file = prop::sample::select(vec![
            "a.png",
            "a.tif",
            "A.PNG",
            "a_mask.png",
            "a_cp_masks.tif",
            "a.xml",
            "a.mask.png",
            "b.jpg",
            "b_label.png",
            "image.png",
            "mask.png",
            "_mask.png",
            "a.ome.tif",
            "a_img.png",
        ]);
        (prop::collection::vec(folder, 0..4), file).prop_map(|(mut parts, file)| {
            parts.push(file);
            parts.join("/")
        })
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn labels_belong_to_one_image_of_their_own_site(
            files in proptest::collection::btree_set(any_path(), 0..24)
        ) {
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let dir = folder(&files);
            let found = discover(dir.path()).expect("tiles");
            let mut names = BTreeSet::new();
            let mut labels = BTreeSet::new();
            let sites = |path: &Path| -> Vec<String> {
                let path = relative_name(path, dir.path());
                let parts = path.split('/').filter(|part| part.starts_with("site"));
                parts.map(str::to_owned).collect()
            };
            for tile in &found.tiles {
                proptest::prop_assert!(names.insert(tile.name.clone()), "{} twice", tile.name);
                let Some(source) = &tile.labels else { continue };
                proptest::prop_assert!(labels.insert(source.path().to_owned()), "{tile:?}");
                proptest::prop_assert!(source.path() != tile.image && tile.paired_by.is_some());
                let (of_labels, of_image) = (sites(source.path()), sites(&tile.image));
                let is_common = of_labels.iter().any(|site| of_image.contains(site));
                let is_known = !of_labels.is_empty() && !of_image.is_empty();
                proptest::prop_assert!(is_common || !is_known, "{tile:?}");
            }
        }
    }
}
