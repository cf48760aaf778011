//! A study's folder: the design, one file for each finished cell, and the table made of them.
//!
//! ```text
//! design.toml                      what the study varies
//! tiles.jsonl                      hashes of the tiles of the first run
//! times.csv                        milliseconds per patch, where they were given
//! pretrained/ID.safetensors        networks before pruning, shared by cells
//! cells/ID.json                    results; a cell with this file is finished
//! models/ID.safetensors            trained models
//! pictures/ID.png                  nuclei on a piece of the first test tile
//! results.csv, report.html, …      made from the results
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::data::StudyTiles;
use super::design::{Cell, Design, NetworkChoice};
use super::times::PatchTimes;
use crate::error::{Error, ErrorContext as _, Result};
use crate::metrics::PixelScores;
use crate::platform::{read_file, write_atomic};

/// Largest file of a cell, a design or a table of times.
const MAX_BYTES: u64 = 1_000_000;
/// Largest list of tiles.
const MAX_TILES_BYTES: u64 = 64_000_000;
const DESIGN_FILE: &str = "design.toml";
const TIMES_FILE: &str = "times.csv";
const TILES_FILE: &str = "tiles.jsonl";
/// Header of `results.csv`.
const TABLE_HEADER: &str = "id,network,pruning_ratio,r,n_train,seed,parameters,bytes,\
    macs_per_patch,sensitivity,specificity,precision,dice,accuracy,cross_entropy\n";

/// Result of a cell, the content of its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CellResult {
    pub cell: Cell,
    pub parameters: usize,
    /// Bytes of the model file, single precision.
    pub bytes: usize,
    /// Multiply-adds per patch.
    pub macs: u64,
    /// Over all pixels of the test tiles, or of the grid on which a DCCN is scored.
    pub scores: PixelScores,
    /// Fingerprint of the trained model.
    pub fingerprint: String,
}

/// A study's folder.
#[derive(Debug, Clone)]
pub(crate) struct Study {
    pub design: Design,
    pub folder: PathBuf,
}

impl Study {
    /// Creates a study in a folder, or opens the one of the same design that is there.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the folder has a study of another design.
    pub(crate) fn create_or_open(design: Design, folder: &Path) -> Result<Self> {
        if Self::exists_in(folder) {
            let existing = Self::open(folder)?;
            if existing.design != design {
                return Err(Error::mismatch(
                    "Another design's study is in this folder; choose another folder",
                )
                .at(folder));
            }
            return Ok(existing);
        }
        write_atomic(&folder.join(DESIGN_FILE), design.to_toml()?.as_bytes())?;
        Ok(Self { design, folder: folder.to_path_buf() })
    }

    /// Whether a folder has a study.
    #[must_use]
    pub(crate) fn exists_in(folder: &Path) -> bool {
        folder.join(DESIGN_FILE).is_file()
    }

    /// Opens the study in a folder.
    ///
    /// # Errors
    /// When there is none, or its design cannot be read.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let file = folder.join(DESIGN_FILE);
        let bytes = read_file(&file, MAX_BYTES)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::malformed("The design is not text").at(&file))?;
        Ok(Self { design: Design::parse(&text).at(&file)?, folder: folder.to_path_buf() })
    }

    /// Records the tiles of the first run and refuses others later: results of two data sets do not
    /// belong in one table. Tiles are compared by the hashes of images and labels.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the tiles are not those of the first run.
    pub(crate) fn check_tiles(&self, tiles: &StudyTiles) -> Result<()> {
        let file = self.folder.join(TILES_FILE);
        let manifest = tiles.manifest();
        if !file.is_file() {
            return write_atomic(&file, manifest.as_bytes());
        }
        if read_file(&file, MAX_TILES_BYTES)? == manifest.as_bytes() {
            return Ok(());
        }
        Err(Error::mismatch(
            "The study in this folder began with other tiles or labels; choose another folder",
        )
        .at(&file))
    }

    /// The times that were given to this study; empty without any.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub(crate) fn times(&self) -> Result<PatchTimes> {
        let file = self.folder.join(TIMES_FILE);
        if file.is_file() { read_times(&file) } else { Ok(PatchTimes::default()) }
    }

    /// Copies a table of times into the folder, for this and all later reports.
    ///
    /// # Errors
    /// When the file is not such a table, or cannot be copied.
    pub(crate) fn import_times(&self, file: &Path) -> Result<()> {
        read_times(file)?;
        write_atomic(&self.folder.join(TIMES_FILE), &read_file(file, MAX_BYTES)?)
    }

    /// The file of a network that is trained and not pruned.
    #[must_use]
    pub(crate) fn pretrained_file(&self, network: NetworkChoice) -> PathBuf {
        let id = self.design.pretrain_id(network);
        self.folder.join("pretrained").join(format!("{id}.safetensors"))
    }

    /// The file of a cell's result.
    #[must_use]
    pub(crate) fn result_file(&self, cell: &Cell) -> PathBuf {
        self.folder.join("cells").join(format!("{}.json", cell.id))
    }

    /// The file of a cell's model.
    #[must_use]
    pub(crate) fn model_file(&self, cell: &Cell) -> PathBuf {
        self.folder.join("models").join(format!("{}.safetensors", cell.id))
    }

    /// The file of a cell's picture: a piece of the first test tile with the nuclei found in it.
    #[must_use]
    pub(crate) fn picture_file(&self, cell: &Cell) -> PathBuf {
        self.folder.join("pictures").join(format!("{}.png", cell.id))
    }

    /// A cell's result, none if it is not finished.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Mismatch`] naming a file that is not this cell's result.
    pub(crate) fn result(&self, cell: &Cell) -> Result<Option<CellResult>> {
        let file = self.result_file(cell);
        if !file.is_file() {
            return Ok(None);
        }
        let result: CellResult = serde_json::from_slice(&read_file(&file, MAX_BYTES)?)
            .map_err(|e| Error::malformed("The cell's result cannot be understood").caused_by(e))
            .at(&file)?;
        if result.cell != *cell {
            return Err(Error::mismatch("The file holds another cell's result").at(&file));
        }
        Ok(Some(result))
    }

    /// Writes a cell's result, completely or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save_result(&self, result: &CellResult) -> Result<()> {
        let text =
            serde_json::to_vec_pretty(result).map_err(|e| Error::malformed(e.to_string()))?;
        write_atomic(&self.result_file(&result.cell), &text)
    }

    /// Cells that are not finished, in the order of the design.
    ///
    /// # Errors
    /// Those of [`Self::result`].
    pub(crate) fn unfinished(&self) -> Result<Vec<Cell>> {
        let mut unfinished = Vec::new();
        for cell in self.design.cells() {
            if self.result(&cell)?.is_none() {
                unfinished.push(cell);
            }
        }
        Ok(unfinished)
    }

    /// Results of the finished cells, in the order of the design.
    ///
    /// # Errors
    /// Those of [`Self::result`].
    pub(crate) fn results(&self) -> Result<Vec<CellResult>> {
        let mut results = Vec::new();
        for cell in self.design.cells() {
            results.extend(self.result(&cell)?);
        }
        Ok(results)
    }

    /// Writes `results.csv`, one row for each finished cell, and returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write_table(&self) -> Result<PathBuf> {
        let mut text = TABLE_HEADER.to_owned();
        for result in self.results()? {
            text += &result.csv_row();
        }
        let file = self.folder.join("results.csv");
        write_atomic(&file, text.as_bytes())?;
        Ok(file)
    }
}

impl CellResult {
    /// The columns of [`TABLE_HEADER`]; unknown values are empty.
    fn csv_row(&self) -> String {
        let cell = &self.cell;
        let scores = &self.scores;
        let mut row = [
            cell.id.clone(),
            cell.network.name().to_owned(),
            cell.pruning_ratio.to_string(),
            cell.r.map_or(String::new(), |r| r.to_string()),
            cell.n_train.to_string(),
            cell.seed.to_string(),
            self.parameters.to_string(),
            self.bytes.to_string(),
            self.macs.to_string(),
            six_digits(scores.sensitivity),
            six_digits(scores.specificity),
            six_digits(scores.precision),
            six_digits(scores.dice),
            six_digits(scores.accuracy),
            six_digits(scores.cross_entropy),
        ]
        .join(",");
        row.push('\n');
        row
    }
}

fn six_digits(score: Option<f64>) -> String {
    score.map_or(String::new(), |s| format!("{s:.6}"))
}

fn read_times(file: &Path) -> Result<PatchTimes> {
    PatchTimes::parse(&String::from_utf8_lossy(&read_file(file, MAX_BYTES)?)).at(file)
}
