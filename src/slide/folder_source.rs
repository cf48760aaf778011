//! A slide in several files of a folder: the files of a DICOM series.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::dicom_file::{DicomFile, is_dicom};
use super::range_cache::RangeCache;
use super::reader::read_blocking;
use super::source::{ByteSource, FileSource};
use crate::error::{Error, ErrorContext as _, Result};

/// Bytes by which a DICOM file is recognised.
const FIRST_BYTES: u64 = 132;
/// Most files of a folder that are looked at.
const MAX_FOLDER_FILES: usize = 20_000;
/// Most files that are read as one slide.
const MAX_SLIDE_FILES: usize = 500;

/// Several files, one behind the other.
pub(super) struct FilesSource {
    files: Vec<FileSource>,
}

impl ByteSource for FilesSource {
    fn len(&self) -> u64 {
        self.file_lengths().iter().sum()
    }

    fn file_lengths(&self) -> Vec<u64> {
        self.files.iter().map(FileSource::len).collect()
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(range.end.saturating_sub(range.start) as usize);
        let mut file_start = 0;
        for file in &self.files {
            let file_end = file_start + file.len();
            let start = range.start.max(file_start);
            let end = range.end.min(file_end);
            if start < end {
                bytes.extend(file.read(start - file_start..end - file_start)?);
            }
            file_start = file_end;
        }
        Ok(bytes)
    }
}

/// A file of a folder that holds a whole slide image.
struct SlideFile {
    source: FileSource,
    series: String,
}

/// Whether a folder is one slide in several files: whether a file in it is DICOM.
#[must_use]
pub fn is_slide_folder(path: &Path) -> bool {
    path.is_dir()
        && files_of(path).is_ok_and(|files| {
            files.iter().any(|file| may_be_dicom(file) && matches!(dicom_file(file), Ok(Some(_))))
        })
}

/// Whether a name is one that DICOM files have: without ending or with .dcm, .dicom or the number
/// at the end of an identifier.
#[must_use]
pub fn may_be_dicom(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_none_or(|ending| {
        ["dcm", "dicom"].contains(&ending.as_str()) || ending.chars().all(|c| c.is_ascii_digit())
    })
}

/// The whole slide images of a folder.
///
/// # Errors
/// [`Error::Invalid`] where there are none; those of the disk.
pub(super) fn folder_source(folder: &Path) -> Result<FilesSource> {
    let mut files = Vec::new();
    let mut has_dicom = false;
    for path in files_of(folder)? {
        let Some(source) = dicom_file(&path)? else { continue };
        has_dicom = true;
        if let Some(file) = slide_file(source) {
            files.push(file.source);
        }
    }
    if files.is_empty() {
        return Err(Error::invalid(if has_dicom {
            "The folder holds DICOM files, but no whole slide image (VL Whole Slide Microscopy)"
        } else {
            "This is a folder without DICOM files; give the slides or pictures in it, such as \
             folder/*.svs"
        })
        .at(folder));
    }
    check_count(files.len()).at(folder)?;
    Ok(FilesSource { files })
}

/// A DICOM file with those of its folder that belong to the same series; `None` for a file that is
/// no whole slide image.
///
/// # Errors
/// Those of the disk.
pub(super) fn series_source(path: &Path) -> Result<Option<FilesSource>> {
    let Some(SlideFile { source, series }) = dicom_file(path)?.and_then(slide_file) else {
        return Ok(None);
    };
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Ok(Some(FilesSource { files: vec![source] })),
    };
    let mut own = Some(source);
    let mut files = Vec::new();
    // A series without a name has no other files; nor has one in a folder that cannot be listed.
    let others = if series.is_empty() { Vec::new() } else { files_of(folder).unwrap_or_default() };
    for other in others {
        // All in the order of their names, whichever of them was given: the slide is the same one.
        if other.file_name() == path.file_name() {
            files.extend(own.take());
        } else if let Some(file) = dicom_file(&other)?.and_then(slide_file)
            && file.series == series
        {
            files.push(file.source);
        }
    }
    files.extend(own);
    check_count(files.len()).at(path)?;
    Ok(Some(FilesSource { files }))
}

fn check_count(files: usize) -> Result<()> {
    if files > MAX_SLIDE_FILES {
        return Err(Error::limit(format!(
            "The folder holds {files} DICOM files of slides; the limit is {MAX_SLIDE_FILES}. Move \
             each slide to a folder of its own"
        )));
    }
    Ok(())
}

/// Files of a folder, sorted by name.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |e| Error::io("The folder cannot be read", e).at(folder);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            files.push(path);
        }
        if files.len() > MAX_FOLDER_FILES {
            return Err(Error::limit(format!(
                "The folder holds more than {MAX_FOLDER_FILES} files; move the slide to a folder \
                 of its own"
            ))
            .at(folder));
        }
    }
    files.sort();
    Ok(files)
}

/// A file that is DICOM.
///
/// # Errors
/// Those of the disk, for files with a name that DICOM files have: they may belong to the slide.
fn dicom_file(path: &Path) -> Result<Option<FileSource>> {
    let found = FileSource::open(path).and_then(|source| {
        if source.len() < FIRST_BYTES || !is_dicom(&source.read(0..FIRST_BYTES)?) {
            return Ok(None);
        }
        Ok(Some(source))
    });
    match found {
        Err(error) if may_be_dicom(path) => Err(error),
        Err(_) => Ok(None),
        found => found,
    }
}

/// A DICOM file that is a whole slide image. One whose header is broken may be one; opening the
/// slide reports it.
fn slide_file(source: FileSource) -> Option<SlideFile> {
    let len = source.len();
    let mut bytes = RangeCache::new(len);
    let header = read_blocking(&source, &mut bytes, |bytes| DicomFile::read(bytes, 0..len));
    match header {
        Ok(header) if header.is_whole_slide() => Some(SlideFile { source, series: header.series }),
        Ok(_) => None,
        Err(_) => Some(SlideFile { source, series: String::new() }),
    }
}
