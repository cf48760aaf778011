//! The files that can be opened: those that were named, and the images and slides of folders.

use std::path::Path;

use crate::error::{Error, ErrorContext as _, Result, counted};
use crate::picture::has_picture_ending;
use crate::slide::{is_slide_folder, is_zarr, may_be_dicom};

/// Largest number of files of a folder that are listed.
const MAX_FOLDER_FILES: usize = 20_000;

/// Files that can be opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileList {
    /// Paths or addresses.
    pub files: Vec<String>,
    /// What folders hold, a sentence; empty without a folder.
    pub facts: String,
}

impl FileList {
    /// The files and addresses of a list; a folder stands for the images and slides in it and in
    /// its folders, without hidden ones, unless it is an OME-Zarr.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be read; [`Error::Invalid`] if folders hold no image
    /// and no slide and nothing else is named.
    pub fn of(places: &[String]) -> Result<Self> {
        let mut list = Self::default();
        let mut folders = Vec::new();
        let mut all = Vec::new();
        for place in places {
            if Path::new(place).is_dir() && !is_zarr(place) {
                folders.push(place.as_str());
                read_folder(Path::new(place), &mut all)?;
            } else {
                list.files.push(place.clone());
            }
        }
        if folders.is_empty() {
            return Ok(list);
        }
        let total = all.len();
        all.retain(|file| {
            let path = Path::new(file);
            has_picture_ending(path) && !path.is_dir() || is_slide_folder(path) || is_zarr(file)
        });
        all.sort();
        let others = match total - all.len() {
            0 => String::new(),
            count => format!(", and {}", counted(count, "other file", "other files")),
        };
        let folder = format!("The folder {}", folders.join(", "));
        if all.is_empty() && list.files.is_empty() {
            return Err(Error::invalid(format!("{folder} holds no image or slide{others}")));
        }
        let pictures = counted(all.len(), "image or slide", "images or slides");
        list.facts = format!("{folder} holds {pictures}{others}.");
        list.files.extend(all);
        Ok(list)
    }
}

/// Appends the files of a folder and of the folders in it. Links to folders are not followed: they
/// may lead in a circle. A folder of DICOM files is one slide and stands for them, and so does the
/// folder of an OME-Zarr.
fn read_folder(folder: &Path, files: &mut Vec<String>) -> Result<()> {
    let unreadable = |e| Error::io("The folder cannot be read", e);
    let is_slide = is_slide_folder(folder);
    if is_slide {
        files.push(folder.display().to_string());
    }
    for entry in std::fs::read_dir(folder).map_err(unreadable).at(folder)? {
        let entry = entry.map_err(unreadable).at(folder)?;
        if entry.file_name().to_string_lossy().starts_with('.')
            || is_slide && may_be_dicom(&entry.path())
        {
            continue;
        }
        let kind = entry.file_type().map_err(unreadable).at(folder)?;
        if kind.is_dir() && !is_zarr(&entry.path().to_string_lossy()) {
            read_folder(&entry.path(), files)?;
        } else if files.len() < MAX_FOLDER_FILES {
            files.push(entry.path().display().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stand_for_their_images_and_other_files_are_counted() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(folder.path().join("sub")).expect("folder");
        for name in ["b.PNG", "a.svs", "notes.txt", ".hidden.png", "sub/c.tif"] {
            std::fs::write(folder.path().join(name), b"").expect("file");
        }
        let place = folder.path().display().to_string();
        let list = FileList::of(&["x.dcm".into(), place.clone()]).expect("list");
        assert_eq!(list.files, ["x.dcm".into(), path("a.svs"), path("b.PNG"), path("sub/c.tif")]);
        let facts = format!("The folder {place} holds 3 images or slides, and 1 other file.");
        assert_eq!(list.facts, facts);
        let scan = folder.path().join("sub/scan");
        std::fs::create_dir(&scan).expect("folder");
        let dicom = [&[0; 128][..], b"DICM"].concat();
        for name in ["1.2.3", "b.dcm"] {
            std::fs::write(scan.join(name), &dicom).expect("file");
        }
        let list = FileList::of(std::slice::from_ref(&place)).expect("list");
        assert_eq!(list.files[2..], [path("sub/c.tif"), path("sub/scan")]);
        let single = FileList::of(&["a.png".into()]).expect("list");
        assert_eq!(single, FileList { files: vec!["a.png".into()], facts: String::new() });

        let empty = tempfile::tempdir().expect("folder");
        let error = FileList::of(&[empty.path().display().to_string()]).expect_err("no image");
        assert!(error.to_string().contains("holds no image or slide"), "{error}");
    }
}
