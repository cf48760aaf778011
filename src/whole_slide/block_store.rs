//! Finished blocks as files, each written whole: what a killed run goes on from.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::job::SlideJob;
use super::nucleus::SlideNucleus;
use crate::error::{Error, ErrorContext as _, Result};
use crate::instances::{Provenance, WrittenCounts, write_nuclei};
use crate::model::sha256_hex;
use crate::platform::{read_file, write_atomic};

/// Version of the blocks' format; blocks of another one are not taken.
const FORMAT: u32 = 3;
/// Largest file of a block.
const MAX_PART_BYTES: u64 = 1 << 30;

/// The folder of a run's finished blocks.
#[derive(Debug)]
pub struct BlockStore {
    folder: PathBuf,
}

impl BlockStore {
    /// Opens the folder for the run of that id; another run's blocks are not taken.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with advice when the folder belongs to another run; when it cannot be
    /// written.
    pub fn open(folder: &Path, id: &str) -> Result<Self> {
        let file = folder.join("run.txt");
        let id = sha256_hex(format!("{FORMAT} {id}").as_bytes());
        if file.is_file() {
            if read_file(&file, 10_000)? != id.as_bytes() {
                return Err(Error::mismatch(format!(
                    "{} holds blocks of another slide, model or setting; remove it, or choose \
                     another --out",
                    folder.display()
                )));
            }
        } else {
            write_atomic(&file, id.as_bytes())?;
        }
        Ok(Self { folder: folder.to_path_buf() })
    }

    fn file(&self, block: usize) -> PathBuf {
        self.folder.join(format!("block-{block:06}.json"))
    }

    /// Whether a block is finished.
    #[must_use]
    pub fn has(&self, block: usize) -> bool {
        self.file(block).is_file()
    }

    /// Keeps a finished block.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, block: usize, nuclei: &[SlideNucleus]) -> Result<()> {
        let text = serde_json::to_vec(nuclei)
            .map_err(|e| Error::malformed("A block cannot be written").caused_by(e))?;
        write_atomic(&self.file(block), &text)
    }

    /// The nuclei of a block; none for one that was skipped.
    ///
    /// # Errors
    /// When the file is broken.
    pub fn read(&self, block: usize) -> Result<Vec<SlideNucleus>> {
        if !self.has(block) {
            return Ok(Vec::new());
        }
        let file = self.file(block);
        let text = read_file(&file, MAX_PART_BYTES)?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::malformed("The block is broken").caused_by(e))
            .at(file)
    }

    /// Removes the blocks, and the folder if nothing else lies in it; the results are complete.
    pub fn remove(self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_block =
                name.strip_prefix("block-").is_some_and(|n| n.strip_suffix(".json").is_some());
            if is_block || name == "run.txt" || name.starts_with(".prunella-") {
                drop(std::fs::remove_file(entry.path())); // one left behind is harmless
            }
        }
        drop(std::fs::remove_dir(&self.folder));
    }
}

/// Writes the nuclei of all finished blocks of a job, numbered in the order of blocks; gives their
/// numbers.
///
/// # Errors
/// When a block is broken or a target cannot be written.
pub fn write_finished(
    job: &SlideJob,
    store: &BlockStore,
    provenance: &Provenance,
    geojson: &mut dyn Write,
    csv: &mut dyn Write,
) -> Result<WrittenCounts> {
    let failure = RefCell::new(None);
    // Blocks are read one at a time, so memory does not grow with the slide.
    let read = |block: usize| {
        store.read(block).unwrap_or_else(|error| {
            failure.borrow_mut().get_or_insert(error);
            Vec::new()
        })
    };
    let all = (0..job.blocks().len()).flat_map(read);
    let numbered = all.zip(1u32..).map(|(nucleus, label)| nucleus.numbered(label));
    let counts = write_nuclei(numbered, provenance, geojson, csv)?;
    failure.into_inner().map_or(Ok(counts), Err)
}
