//! Slides as the command line names them: files, addresses, folders and lists.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::output_files::{check_distinct, slide_result_name};
use super::segment::is_slide;
use crate::error::{Error, ErrorContext as _, Result, Warnings, counted, listed};
use crate::picture::{first_bytes, has_slide_ending, is_tiff};
use crate::platform::{CsvReader, CsvRecord, name_key};
use crate::raster::is_segmentation_result;
use crate::slide::{FileSource, SlideReader, dicom_series, is_slide_folder, is_zarr, may_be_dicom};

/// Endings of files of outlines, in the order in which they are looked for.
const OUTLINE_ENDINGS: [&str; 4] = ["geojson", "json", "xml", "annotations"];
/// Endings of slides of other programs, which are reported with the way out.
const FOREIGN_ENDINGS: [&str; 8] =
    ["mrxs", "vsi", "czi", "isyntax", "i2syntax", "tmap", "kfb", "vms"];
/// Most folders inside each other.
const MAX_DEPTH: usize = 16;
/// Most slides of a command.
const MAX_SLIDES: usize = 1_000_000;
/// First bytes of a DICOM file, in which its series is looked for.
const DICOM_HEAD_BYTES: u64 = 32 << 10;
/// Most names in a note.
const MAX_NAMED: usize = 5;

/// A slide to segment, and what is known of it alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SlideInput {
    /// File, or http(s) address.
    pub place: String,
    /// Of its results below the folder of results, without ending; may hold folders, with `/`.
    pub name: String,
    /// Pixel size of the finest level, µm; before what the command line says for all.
    pub mpp: Option<f64>,
    /// File of polygons inside which nuclei are looked for.
    pub inside: Option<PathBuf>,
    /// File of the regions in which nuclei are counted and measured.
    pub regions: Option<PathBuf>,
}

impl SlideInput {
    /// A slide of which nothing else is known.
    pub(super) fn of_place(place: &str, name: String) -> Self {
        Self { place: place.to_owned(), name, ..Self::default() }
    }
}

/// The slides of a command.
#[derive(Debug, Default)]
pub(super) struct SlideInputs {
    /// In the order of the command line, folders by name.
    pub all: Vec<SlideInput>,
    /// Lists that were read.
    pub lists: Vec<PathBuf>,
    /// What was left out.
    pub notes: Warnings,
}

/// Whether a text on the command line is one slide, neither a folder nor a list.
pub(super) fn is_one_slide(place: &str) -> bool {
    let path = Path::new(place);
    is_address(place) || is_folder_of_one(path) || !(path.is_dir() || is_list(place))
}

/// Name of the results of a slide: of the file without its ending, or of the folder. A list can
/// state it again.
fn own_name(place: &str) -> String {
    let path = Path::new(place);
    let is_named_by_folder = path.is_dir() && !has_ending(path, &["zarr"]);
    let folder = path.file_name().filter(|_| is_named_by_folder);
    let name = match folder {
        Some(name) => name.to_string_lossy().into_owned(),
        None => slide_result_name(place),
    };
    name.trim().replace([':', '\\'], "_")
}

/// Whether a folder is one slide and not a folder of slides: an OME-Zarr, or a DICOM series.
fn is_folder_of_one(path: &Path) -> bool {
    path.is_dir()
        && (path.to_str().is_some_and(is_zarr) || is_slide_folder(path) && holds_one_series(path))
}

/// Whether a folder of DICOM files holds those of one slide only, and no other slide.
fn holds_one_series(folder: &Path) -> bool {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match series_of(&path) {
            Some(series) => _ = all.insert(series),
            None if has_slide_ending(&path) && !may_be_dicom(&path) => return false,
            None => {}
        }
    }
    all.len() <= 1
}

/// The series of a file, if it is a DICOM whole slide image.
fn series_of(path: &Path) -> Option<String> {
    if !may_be_dicom(path) || !path.is_file() {
        return None;
    }
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(DICOM_HEAD_BYTES).read_to_end(&mut head).ok()?;
    dicom_series(&head)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.is_some_and(|e| endings.contains(&e.as_str()))
}

/// Resolves what the command line names; folders are searched for slides, with all folders in them,
/// but not the folder of results.
///
/// # Errors
/// For a list that cannot be used, a folder without slides, and two slides of one name, whose
/// results would overwrite each other.
pub(super) fn slide_inputs(places: &[String], out: &Path) -> Result<SlideInputs> {
    let mut inputs = SlideInputs::default();
    for place in places {
        if is_one_slide(place) {
            inputs.all.push(SlideInput::of_place(place, own_name(place)));
        } else if Path::new(place).is_dir() {
            inputs.add_folder(Path::new(place), out)?;
        } else {
            inputs.add_list(Path::new(place))?;
        }
        if inputs.all.len() > MAX_SLIDES {
            return Err(Error::limit(format!("There are more than {MAX_SLIDES} slides")));
        }
    }
    let places: Vec<PathBuf> = inputs.all.iter().map(|input| PathBuf::from(&input.place)).collect();
    let names: Vec<String> = inputs.all.iter().map(|input| input.name.clone()).collect();
    check_distinct(&places, &names).map_err(|error| {
        Error::invalid(format!("{error}, or name them apart in a list with the column 'name'"))
    })?;
    Ok(inputs)
}

/// The file of outlines in `folder` that has the name of a slide's results, where there is one.
/// Where those lie in folders, the same folders are looked for.
pub(super) fn file_of_slide(folder: &Path, input: &SlideInput) -> Option<PathBuf> {
    OUTLINE_ENDINGS
        .map(|ending| folder.join(format!("{}.{ending}", input.name)))
        .into_iter()
        .find(|file| file.is_file())
}

pub(super) fn is_address(place: &str) -> bool {
    place.starts_with("http://") || place.starts_with("https://")
}

fn is_list(place: &str) -> bool {
    has_ending(Path::new(place), &["csv", "tsv"])
}

/// What a file in a folder is.
#[derive(Debug, PartialEq)]
enum FileKind {
    Slide,
    /// A picture without levels, or labels.
    Picture,
    /// Something else, or a result of this program.
    Other,
}

impl SlideInputs {
    /// Adds the slides of a folder by name. Results lie in the same folders below that of the
    /// results, so that slides of one name in different folders keep apart.
    fn add_folder(&mut self, folder: &Path, out: &Path) -> Result<()> {
        let out = out.canonicalize().ok();
        let before = self.all.len();
        let mut pictures = Vec::new();
        let mut open = vec![(folder.to_path_buf(), String::new(), 0)];
        let mut found = BTreeMap::new();
        // A DICOM series in a folder is a slide, under the name of its first file.
        let mut series_found = BTreeMap::new();
        let mut visited = BTreeSet::new();
        while let Some((at, prefix, depth)) = open.pop() {
            // A link may lead back.
            if !visited.insert(at.canonicalize().unwrap_or_else(|_| at.clone())) {
                continue;
            }
            let entries = match std::fs::read_dir(&at) {
                Ok(entries) => entries,
                Err(e) if depth == 0 => {
                    return Err(Error::io("The folder cannot be read", e).at(&at));
                }
                Err(e) => {
                    self.notes.note(format!("The folder {} cannot be read: {e}", at.display()));
                    continue;
                }
            };
            for entry in entries {
                let entry = entry.map_err(|e| Error::io("The folder cannot be read", e).at(&at))?;
                let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
                if name.starts_with('.') {
                    continue;
                }
                if path.is_dir() && !is_folder_of_one(&path) {
                    let is_out = out.is_some() && path.canonicalize().ok() == out;
                    if !is_out && depth < MAX_DEPTH {
                        open.push((path, format!("{prefix}{name}/"), depth + 1));
                    }
                    continue;
                }
                if let Some(series) = series_of(&path) {
                    let first = series_found.entry((prefix.clone(), series)).or_insert(path);
                    if entry.path() < *first {
                        *first = entry.path();
                    }
                    continue;
                }
                match file_kind(&path) {
                    FileKind::Slide => {
                        let place = path.to_string_lossy().into_owned();
                        let result = format!("{prefix}{}", own_name(&place));
                        found.insert(format!("{prefix}{name}"), (place, result));
                    }
                    FileKind::Picture => pictures.push(name),
                    FileKind::Other => {}
                }
            }
        }
        for ((prefix, _), path) in series_found {
            let place = path.to_string_lossy().into_owned();
            let result = format!("{prefix}{}", own_name(&place));
            found.insert(result.clone(), (place, result));
        }
        for (place, name) in found.into_values() {
            self.all.push(SlideInput::of_place(&place, name));
        }
        if !pictures.is_empty() {
            pictures.sort();
            self.notes.note(format!(
                "{} of {}: {}",
                counted(
                    pictures.len(),
                    "TIFF file that is a picture or labels is left out",
                    "TIFF files that are pictures or labels are left out"
                ),
                folder.display(),
                listed(&pictures, MAX_NAMED)
            ));
        }
        if self.all.len() == before {
            return Err(Error::invalid("The folder holds no slide").at(folder));
        }
        Ok(())
    }

    /// Adds the slides of a list.
    fn add_list(&mut self, file: &Path) -> Result<()> {
        let before = self.all.len();
        let ignored = read_list(file, &mut self.all).at(file)?;
        if !ignored.is_empty() {
            self.notes.note(format!(
                "Columns of {} that are not read: {}",
                file.display(),
                listed(&ignored, MAX_NAMED)
            ));
        }
        if self.all.len() == before {
            return Err(Error::invalid("The list names no slide").at(file));
        }
        self.lists.push(file.to_path_buf());
        Ok(())
    }
}

/// A broken file with the name or the first bytes of a slide counts as one, so that it is reported.
fn file_kind(path: &Path) -> FileKind {
    if is_folder_of_one(path) {
        return FileKind::Slide;
    }
    let has_mark = |file| is_segmentation_result(BufReader::new(file));
    if std::fs::File::open(path).is_ok_and(has_mark) {
        return FileKind::Other;
    }
    if first_bytes(path).is_ok_and(|first| is_tiff(&first)) {
        let opened = FileSource::open(path).and_then(|file| SlideReader::open(Box::new(file)));
        let is_picture = match opened {
            Ok(_) => !is_slide(path),
            // Labels, say. What is broken is reported as a slide.
            Err(error) => matches!(error, Error::Unsupported(_)),
        };
        let is_picture = is_picture && !has_slide_ending(path);
        return if is_picture { FileKind::Picture } else { FileKind::Slide };
    }
    let is_slide = has_slide_ending(path) || has_ending(path, &FOREIGN_ENDINGS);
    if is_slide { FileKind::Slide } else { FileKind::Other }
}

/// Columns of a list.
#[derive(Debug, Default)]
struct ListColumns {
    slide: Option<usize>,
    mpp: Option<usize>,
    inside: Option<usize>,
    regions: Option<usize>,
    name: Option<usize>,
}

/// Reads a list of slides; gives the names of the columns that mean nothing here.
fn read_list(file: &Path, inputs: &mut Vec<SlideInput>) -> Result<Vec<String>> {
    let opened =
        std::fs::File::open(file).map_err(|e| Error::io("The list cannot be opened", e))?;
    let separator = separator_of(file)?;
    let mut table = CsvReader::new(BufReader::new(opened), separator);
    let mut record = CsvRecord::default();
    if !table.next_record(&mut record)? {
        return Err(Error::malformed("The list is empty"));
    }
    let mut columns = ListColumns::default();
    let mut ignored = Vec::new();
    for (index, name) in record.fields().enumerate() {
        let name = name.trim_start_matches('\u{FEFF}').trim();
        match name.to_lowercase().as_str() {
            "slide" => columns.slide = Some(index),
            "mpp" => columns.mpp = Some(index),
            "inside" => columns.inside = Some(index),
            "regions" => columns.regions = Some(index),
            "name" => columns.name = Some(index),
            _ => ignored.push(name.to_owned()),
        }
    }
    let Some(slide) = columns.slide else {
        return Err(Error::malformed(
            "The list has no column 'slide'; its first line names the columns: slide and, where \
             wanted, mpp, inside, regions and name",
        ));
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let in_folder = |place: &str| {
        if is_address(place) { place.to_owned() } else { folder.join(place).display().to_string() }
    };
    let mut line = 1;
    while table.next_record(&mut record)? {
        line += 1;
        let field = |column: Option<usize>| {
            let text = column.map_or("", |index| record.field(index).trim());
            (!text.is_empty()).then_some(text)
        };
        let Some(place) = field(Some(slide)) else {
            // A line of a spreadsheet that was emptied.
            if record.fields().all(|field| field.trim().is_empty()) {
                continue;
            }
            return Err(Error::malformed(format!("Entry {line} of the list names no slide")));
        };
        let place = in_folder(place);
        let mpp = match field(columns.mpp) {
            None => None,
            Some(text) => Some(pixel_size(text).ok_or_else(|| {
                Error::malformed(format!(
                    "Entry {line} of the list: '{text}' is no pixel size; give micrometres, such \
                     as 0.25"
                ))
            })?),
        };
        let name = match field(columns.name) {
            Some(name) => result_path(name).ok_or_else(|| {
                Error::malformed(format!(
                    "Entry {line} of the list: '{name}' cannot name results; give a name without \
                     '..' that is no absolute path"
                ))
            })?,
            None => own_name(&place),
        };
        let [inside, regions] = [columns.inside, columns.regions]
            .map(|column| field(column).map(|file| PathBuf::from(in_folder(file))));
        inputs.push(SlideInput { place, name, mpp, inside, regions });
    }
    Ok(ignored)
}

/// Micrometres; a decimal comma is read too.
fn pixel_size(text: &str) -> Option<f64> {
    let value: f64 = text.replace(',', ".").parse().ok()?;
    (value.is_finite() && value > 0.0).then_some(value)
}

/// A name of results below their folder.
fn result_path(name: &str) -> Option<String> {
    let name = name.replace('\\', "/");
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains([':', '\0']);
    name.split('/').all(is_part).then_some(name)
}

/// The character between the fields: that of comma, semicolon and tab which the first line has most
/// often.
fn separator_of(file: &Path) -> Result<u8> {
    use std::io::BufRead as _;
    let cannot_read = |e| Error::io("The list cannot be read", e);
    let opened = std::fs::File::open(file).map_err(cannot_read)?;
    let mut first = Vec::new();
    std::io::Read::take(BufReader::new(opened), 100_000)
        .read_until(b'\n', &mut first)
        .map_err(cannot_read)?;
    let count = |separator: u8| first.split(|byte| *byte == separator).count();
    let mut best = b',';
    for other in [b';', b'\t'] {
        if count(other) > count(best) {
            best = other;
        }
    }
    Ok(best)
}

/// Equal for names that some file systems do not distinguish.
pub(super) fn result_key(name: &str) -> String {
    name_key(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::{Plane, encode_mask_png};

    /// An uncompressed grey TIFF of one row, which is a picture.
    fn picture() -> Vec<u8> {
        let labels = Plane::filled(4, 1, 7u32);
        crate::raster::encode_labels_tiff(&labels).expect("TIFF")
    }

    #[test]
    fn names_of_results_can_be_stated_again_in_a_list() {
        let dir = tempfile::tempdir().expect("folder");
        let series = dir.path().join("S24.001");
        std::fs::create_dir(&series).expect("folder");
        assert_eq!(own_name(&series.display().to_string()), "S24.001");
        for (place, name) in [("scan 10:30.svs", "scan 10_30"), ("case 1 .svs", "case 1")] {
            assert_eq!(own_name(place), name);
            assert_eq!(result_path(name).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_folder_gives_its_slides_by_name_and_says_what_it_leaves_out() {
        let dir = tempfile::tempdir().expect("folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("b/inner")).expect("folder");
        std::fs::create_dir_all(at("out")).expect("folder");
        for name in ["b/inner/x.svs", "a.svs", "b/x.svs", "out/y.svs", ".hidden.svs"] {
            std::fs::write(at(name), b"broken").expect("file");
        }
        std::fs::write(at("notes.txt"), b"text").expect("file");
        std::fs::write(at("mask.png"), encode_mask_png(&Plane::filled(2, 2, true)).expect("png"))
            .expect("file");
        std::fs::write(at("field.tif"), picture()).expect("file");
        std::fs::write(at("broken.tif"), &picture()[..20]).expect("file");
        let folder = dir.path().display().to_string();
        assert!(!is_one_slide(&folder) && is_one_slide("a.svs") && !is_one_slide("l.CSV"));
        assert!(is_one_slide("https://x.org/list.csv"));
        let inputs = slide_inputs(std::slice::from_ref(&folder), &at("out")).expect("slides");
        let names: Vec<_> = inputs.all.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["a", "b/inner/x", "b/x", "broken"]);
        assert_eq!(inputs.notes.notes.len(), 1);
        assert!(inputs.notes.notes[0].contains("field.tif"), "{:?}", inputs.notes);
        assert!(slide_inputs(&[at("out/none").display().to_string()], &at("out")).is_ok());
        std::fs::create_dir_all(at("empty")).expect("folder");
        let empty = slide_inputs(&[at("empty").display().to_string()], &at("out"));
        assert!(empty.expect_err("no slide").to_string().contains("no slide"));
        let twice = [at("b/x.svs"), at("b/inner/x.svs")].map(|path| path.display().to_string());
        let message = slide_inputs(&twice, &at("out")).expect_err("one name").to_string();
        assert!(message.contains("column 'name'"), "{message}");
    }

    #[test]
    fn a_list_gives_its_slides_with_what_it_says_of_each() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("list.csv");
        let list = |text: &str| {
            std::fs::write(&file, text).expect("list");
            slide_inputs(&[file.display().to_string()], Path::new("out"))
        };
        let inputs = list(
            "\u{FEFF}Slide,age,MPP,inside,name,regions\r\nsub/a.svs,60,0.25,r/a.geojson,,s/a.xml\n\
             https://x.org/a.svs?t=1,61,,,case 2/b\n,,,,\n\"/abs/c, d.svs\",1,\"0,5\",,\n",
        )
        .expect("slides");
        let folder = dir.path();
        let own = |name: &str| folder.join(name);
        assert_eq!(
            inputs.all[0],
            SlideInput {
                place: own("sub/a.svs").display().to_string(),
                name: "a".into(),
                mpp: Some(0.25),
                inside: Some(own("r/a.geojson")),
                regions: Some(own("s/a.xml")),
            }
        );
        let second = SlideInput::of_place("https://x.org/a.svs?t=1", "case 2/b".into());
        assert_eq!(inputs.all[1], second);
        assert_eq!((inputs.all[2].place.as_str(), inputs.all[2].mpp), ("/abs/c, d.svs", Some(0.5)));
        assert!(inputs.notes.notes[0].ends_with("not read: age"), "{:?}", inputs.notes);
        assert_eq!(list("slide;mpp\na.svs;0.5\n").expect("slides").all[0].mpp, Some(0.5));
        for (text, word) in [
            ("", "empty"),
            ("file\na.svs\n", "no column 'slide'"),
            ("slide\n", "names no slide"),
            ("slide,mpp\na.svs,big\n", "Entry 2"),
            ("slide,mpp\na.svs,0\n", "'0' is no pixel size"),
            ("slide,mpp\n,0.5\n", "names no slide"),
            ("slide,name\na.svs,../b\n", "cannot name"),
            ("slide,name\na.svs,/b\n", "cannot name"),
            ("slide\nx/a.svs\ny/a.svs\n", "overwrite each other"),
        ] {
            let message = list(text).expect_err(text).to_string();
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    #[test]
    fn outlines_of_a_slide_are_found_by_its_name() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::create_dir_all(dir.path().join("b")).expect("folder");
        std::fs::write(dir.path().join("b/x.xml"), b"").expect("file");
        let input = |name: &str| SlideInput::of_place("x.svs", name.into());
        assert_eq!(file_of_slide(dir.path(), &input("b/x")), Some(dir.path().join("b/x.xml")));
        assert_eq!(file_of_slide(dir.path(), &input("x")), None);
    }
}
