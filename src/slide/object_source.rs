//! Where the objects of a slide come from, natively: a folder or an HTTP server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::objects::{ObjectPart, ObjectRequest};
use crate::error::{Error, Result};

/// Files by which the folder of a Zarr is recognised.
const METADATA_NAMES: [&str; 4] = ["zarr.json", ".zattrs", ".zgroup", ".zarray"];

/// Objects by key, from any thread.
pub trait ObjectSource: Send + Sync {
    /// What each request asks for; `None` for objects that there are not.
    ///
    /// # Errors
    /// When one cannot be read.
    fn read(&self, requests: &[ObjectRequest]) -> Result<Vec<Option<Vec<u8>>>>;
}

/// Objects in memory.
impl ObjectSource for BTreeMap<String, Vec<u8>> {
    fn read(&self, requests: &[ObjectRequest]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut found = Vec::with_capacity(requests.len());
        for request in requests {
            found.push(self.get(&request.key).map(|bytes| {
                let part = request.part.of(bytes.len() as u64);
                bytes[part.start as usize..part.end as usize].to_vec()
            }));
        }
        Ok(found)
    }
}

/// Whether a path or http(s) address is that of a Zarr: a folder with its metadata, or an address
/// in which a name ends with `.zarr`.
#[must_use]
pub fn is_zarr(place: &str) -> bool {
    if place.starts_with("http://") || place.starts_with("https://") {
        let path = place.split(['?', '#']).next().unwrap_or(place);
        return path.split('/').skip(3).any(|name| name.to_lowercase().ends_with(".zarr"));
    }
    let folder = Path::new(place);
    folder.is_dir()
        && (folder.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zarr"))
            || METADATA_NAMES.iter().any(|name| folder.join(name).is_file()))
}

/// The source of the objects of a folder or http(s) address.
pub(super) fn object_source(place: &str) -> Result<Box<dyn ObjectSource>> {
    if !place.starts_with("http://") && !place.starts_with("https://") {
        return Ok(Box::new(FolderSource::new(Path::new(place))));
    }
    #[cfg(feature = "net")]
    let source = Ok(Box::new(super::http_objects::HttpObjects::new(place)) as _);
    #[cfg(not(feature = "net"))]
    let source = Err(Error::unsupported(
        "This program was built without network access (feature 'net'); download the slide first",
    ));
    source
}

/// Objects that are the files of a folder.
#[derive(Debug)]
pub struct FolderSource {
    folder: PathBuf,
}

impl FolderSource {
    /// Of the files below a folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn read_one(&self, request: &ObjectRequest) -> Result<Option<Vec<u8>>> {
        let path = self.folder.join(&request.key);
        let failed = |e| Error::io("The slide cannot be read", e).at(&path);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(failed(e)),
        };
        let len = file.metadata().map_err(failed)?.len();
        if matches!(request.part, ObjectPart::Whole(max_bytes) if len > max_bytes) {
            return Err(request.too_long());
        }
        let range = request.part.of(len);
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(range.end - range.start).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }
}

impl ObjectSource for FolderSource {
    fn read(&self, requests: &[ObjectRequest]) -> Result<Vec<Option<Vec<u8>>>> {
        requests.iter().map(|request| self.read_one(request)).collect()
    }
}
