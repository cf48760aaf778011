//! Finished blocks as files, each written whole: what a killed run goes on from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{At as _, Error, Result};
use crate::instances::{Nucleus, measurement_names};
use crate::model::sha256_hex;
use crate::platform::{read_file, write_atomic};
use crate::raster::Point;

/// Largest file of a block.
const MAX_PART_BYTES: u64 = 1 << 30;

/// A nucleus as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    rings: Vec<Vec<[f64; 2]>>,
    area_px: u64,
    centroid: (f64, f64),
    measurements: Vec<f64>,
}

impl Kept {
    /// A nucleus moved to the slide: work pixels × scale + nothing, from the window's first pixel on.
    #[must_use]
    pub fn new(nucleus: &Nucleus, left: usize, top: usize, scale: f64) -> Self {
        let place = |x: f64, y: f64| ((x + left as f64) * scale, (y + top as f64) * scale);
        let ring = |r: &Vec<Point>| r.iter().map(|p| place(p.x, p.y)).map(|(x, y)| [x, y]).collect();
        Self {
            rings: nucleus.rings.iter().map(ring).collect(),
            area_px: (nucleus.area_px as f64 * scale * scale).round() as u64,
            centroid: place(nucleus.centroid.0, nucleus.centroid.1),
            measurements: nucleus.measurements.iter().map(|(_, v)| *v).collect(),
        }
    }

    /// With its number in the whole.
    #[must_use]
    pub fn numbered(self, label: u32, mpp_known: bool) -> Nucleus {
        let ring = |r: Vec<[f64; 2]>| r.into_iter().map(|[x, y]| Point { x, y }).collect();
        Nucleus {
            label,
            rings: self.rings.into_iter().map(ring).collect(),
            area_px: self.area_px,
            centroid: self.centroid,
            measurements: measurement_names(mpp_known).into_iter().zip(self.measurements).collect(),
        }
    }
}

/// The folder of a run's finished blocks.
#[derive(Debug)]
pub struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// Opens the folder for the run of that id; another run's blocks are not taken.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with advice when the folder belongs to another run; when it cannot be written.
    pub fn open(folder: &Path, id: &str) -> Result<Self> {
        let file = folder.join("run.txt");
        let id = sha256_hex(id.as_bytes());
        if file.is_file() {
            if read_file(&file, 10_000)? != id.as_bytes() {
                return Err(Error::mismatch(format!(
                    "{} holds blocks of another slide, model or setting; remove it, or choose another --out",
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
    pub fn keep(&self, block: usize, nuclei: &[Kept]) -> Result<()> {
        let text =
            serde_json::to_vec(nuclei).map_err(|e| Error::malformed(format!("A block cannot be written: {e}")))?;
        write_atomic(&self.file(block), &text)
    }

    /// The nuclei of a block; none for one that was skipped.
    ///
    /// # Errors
    /// When the file is broken.
    pub fn read(&self, block: usize) -> Result<Vec<Kept>> {
        if !self.has(block) {
            return Ok(Vec::new());
        }
        let file = self.file(block);
        let text = read_file(&file, MAX_PART_BYTES)?;
        serde_json::from_slice(&text).map_err(|e| Error::malformed(format!("The block is broken: {e}"))).at(file)
    }

    /// Removes the folder; the results are whole.
    pub fn remove(self) {
        drop(std::fs::remove_dir_all(&self.folder)); // one left behind is harmless
    }
}
