//! A study's folder: the design, one file a finished cell, and the table made of them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::data::Data;
use super::design::{Cell, Design};
use super::times::Times;
use crate::error::{Error, ErrorContext as _, Result};
use crate::metrics::PixelScores;
use crate::platform::{read_file, write_atomic};

/// Largest file of a cell or design.
const MAX_BYTES: u64 = 1_000_000;
/// Name of the table of times in a study's folder.
const TIMES: &str = "times.csv";
/// Name of the list of tiles in a study's folder, and its largest size.
const TILES: &str = "tiles.jsonl";
const MAX_TILES_BYTES: u64 = 64_000_000;

/// What became of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    pub cell: Cell,
    pub parameters: usize,
    /// Bytes of the model file, single precision.
    pub bytes: usize,
    /// Multiply-adds a patch.
    pub macs: u64,
    /// Over all pixels of the test tiles.
    pub scores: PixelScores,
    /// Fingerprint of the trained model.
    pub fingerprint: String,
}

/// A study's folder.
#[derive(Debug, Clone)]
pub struct Study {
    pub design: Design,
    pub folder: PathBuf,
}

impl Study {
    /// Begins a study in a folder, or goes on with the one that is there.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when another design's study is there.
    pub fn begin(design: Design, folder: &Path) -> Result<Self> {
        let study = Self { design, folder: folder.to_path_buf() };
        if study.design_file().is_file() {
            let there = Self::open(folder)?;
            if there.design != study.design {
                return Err(Error::mismatch(
                    "Another design's study is in this folder; choose another folder",
                )
                .at(folder));
            }
            return Ok(there);
        }
        write_atomic(&study.design_file(), study.design.to_toml()?.as_bytes())?;
        Ok(study)
    }

    /// Whether a study was begun in a folder.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join("design.toml").is_file()
    }

    /// The study in a folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let file = folder.join("design.toml");
        let bytes = read_file(&file, MAX_BYTES)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::malformed("The design is not text").at(&file))?;
        Ok(Self { design: Design::parse(&text).at(&file)?, folder: folder.to_path_buf() })
    }

    /// Holds the study to the tiles that it began with, by what is in them: results of two data
    /// sets are no table.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where it began with others.
    pub fn keep_to(&self, data: &Data) -> Result<()> {
        let (file, list) = (self.folder.join(TILES), data.list());
        if !file.is_file() {
            return write_atomic(&file, list.as_bytes());
        }
        if read_file(&file, MAX_TILES_BYTES)? == list.as_bytes() {
            return Ok(());
        }
        Err(Error::mismatch(
            "The study in this folder began with other tiles or labels; choose another folder",
        )
        .at(&file))
    }

    fn design_file(&self) -> PathBuf {
        self.folder.join("design.toml")
    }

    /// Times that were given to this study.
    ///
    /// # Errors
    /// When they cannot be read or are none.
    pub fn times(&self) -> Result<Times> {
        let file = self.folder.join(TIMES);
        if !file.is_file() {
            return Ok(Times::default());
        }
        Self::times_of(&file)
    }

    /// Keeps a table of times for this study's reports.
    ///
    /// # Errors
    /// When the file is no such table or cannot be copied.
    pub fn take_times(&self, file: &Path) -> Result<()> {
        Self::times_of(file)?;
        write_atomic(&self.folder.join(TIMES), &read_file(file, MAX_BYTES)?)
    }

    fn times_of(file: &Path) -> Result<Times> {
        Times::parse(&String::from_utf8_lossy(&read_file(file, MAX_BYTES)?)).at(file)
    }

    /// Where a cell's result is.
    #[must_use]
    pub fn result_file(&self, cell: &Cell) -> PathBuf {
        self.folder.join("cells").join(format!("{}.json", cell.id))
    }

    /// Where a cell's model is.
    #[must_use]
    pub fn model_file(&self, cell: &Cell) -> PathBuf {
        self.folder.join("models").join(format!("{}.safetensors", cell.id))
    }

    /// Where a cell's picture is: a piece of the first test tile with its answer.
    #[must_use]
    pub fn picture_file(&self, cell: &Cell) -> PathBuf {
        self.folder.join("pictures").join(format!("{}.png", cell.id))
    }

    /// A cell's result, if it is finished.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming a file that is not a result.
    pub fn result(&self, cell: &Cell) -> Result<Option<CellResult>> {
        let file = self.result_file(cell);
        if !file.is_file() {
            return Ok(None);
        }
        let result: CellResult = serde_json::from_slice(&read_file(&file, MAX_BYTES)?)
            .map_err(|e| Error::malformed(format!("The cell's result cannot be understood: {e}")))
            .at(&file)?;
        if result.cell != *cell {
            return Err(Error::mismatch("The file holds another cell's result").at(&file));
        }
        Ok(Some(result))
    }

    /// Keeps a result: written once, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, result: &CellResult) -> Result<()> {
        let text =
            serde_json::to_vec_pretty(result).map_err(|e| Error::malformed(e.to_string()))?;
        write_atomic(&self.result_file(&result.cell), &text)
    }

    /// Cells that are not finished.
    ///
    /// # Errors
    /// Those of [`Self::result`].
    pub fn missing(&self) -> Result<Vec<Cell>> {
        let mut missing = Vec::new();
        for cell in self.design.cells() {
            if self.result(&cell)?.is_none() {
                missing.push(cell);
            }
        }
        Ok(missing)
    }

    /// Finished cells in the order of the design.
    ///
    /// # Errors
    /// Those of [`Self::result`].
    pub fn results(&self) -> Result<Vec<CellResult>> {
        self.design.cells().iter().filter_map(|cell| self.result(cell).transpose()).collect()
    }

    /// Writes `results.csv`: one row a cell, the paper's columns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_table(&self) -> Result<PathBuf> {
        let mut text =
            "id,network,pruning_ratio,r,n_train,seed,parameters,bytes,macs_per_patch,sensitivity,specificity,\
                        precision,dice,accuracy,cross_entropy\n"
                .to_owned();
        for CellResult { cell, parameters, bytes, macs, scores, .. } in self.results()? {
            let some = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.6}"));
            let r = cell.r.map_or(String::new(), |r| r.to_string());
            let measured = [
                scores.sensitivity,
                scores.specificity,
                scores.precision,
                scores.dice,
                scores.accuracy,
            ];
            text.push_str(&format!(
                "{},{},{},{r},{},{},{parameters},{bytes},{macs},{},{}\n",
                cell.id,
                cell.network.name(),
                cell.pruning_ratio,
                cell.n_train,
                cell.seed,
                measured.map(some).join(","),
                some(scores.cross_entropy)
            ));
        }
        let file = self.folder.join("results.csv");
        write_atomic(&file, text.as_bytes())?;
        Ok(file)
    }
}
