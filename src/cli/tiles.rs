//! Which labelled tiles a command works on.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::Output;
use crate::dataset::{Split, Tile, discover, label_defect, load_tile};
use crate::error::{Error, Result};
use crate::model::Model;

/// Message where a folder has no tile for the command.
pub(super) const NO_TILES: &str =
    "No labelled tiles were found there; 'prunella data check' lists what a folder has.";

/// Relative difference of pixel sizes from which on it is noted.
const PIXEL_SIZE_TOLERANCE: f64 = 0.05;

/// Where labelled tiles come from.
#[derive(Debug, Args)]
pub(super) struct TileArguments {
    /// Folder with images and their labels.
    #[arg(long)]
    pub data: PathBuf,
    /// Only the tiles of this part of the paper's Table 1.
    #[arg(long, value_enum)]
    pub split: Option<SplitName>,
    /// Only tiles whose names contain one of these texts (comma-separated).
    #[arg(long, value_delimiter = ',')]
    pub tiles: Vec<String>,
    /// Licence of the data, written into the model's card.
    #[arg(long)]
    pub licence: Option<String>,
}

/// [`Split`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    Pretrain,
    Train,
    Test,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Pretrain => Self::Pretrain,
            SplitName::Train => Self::Train,
            SplitName::Test => Self::Test,
        }
    }
}

impl TileArguments {
    fn split(&self) -> Option<Split> {
        self.split.map(Split::from)
    }

    /// Whether the arguments choose a tile of that name.
    fn selects(&self, name: &str) -> bool {
        let in_split = self.split().is_none_or(|split| split.contains(name));
        let named = self.tiles.is_empty() || self.tiles.iter().any(|part| name.contains(part));
        in_split && named
    }

    /// Writes the licence into a card.
    pub(super) fn sign(&self, model: &mut Model) {
        if self.licence.is_some() {
            model.card_mut().licence.clone_from(&self.licence);
        }
    }
}

/// Loads the selected tiles. Broken ones are reported and left out.
///
/// # Errors
/// When the folder cannot be read, or a part of the paper's split is selected and incomplete.
pub(super) fn load(arguments: &TileArguments, output: Output) -> Result<Vec<Tile>> {
    let folder = discover(&arguments.data)?;
    output.warnings(&folder.notes);
    let mut tiles = Vec::new();
    for files in &folder.tiles {
        if files.labels.is_none() || !arguments.selects(&files.name) {
            continue;
        }
        match load_tile(files) {
            Ok((tile, warnings)) => {
                for sentence in &warnings.notes {
                    output.remark(&format!("{}: {sentence}", tile.name));
                }
                tiles.push(tile);
            }
            Err(e) => output.remark(&format!("{} is left out: {e}", files.name)),
        }
    }
    let mut sizes: Vec<f64> = tiles.iter().filter_map(|tile| tile.mpp_um).collect();
    sizes.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (sizes.first(), sizes.last())
        && most / least > 1.0 + PIXEL_SIZE_TOLERANCE
    {
        output.remark(&format!(
            "The tiles have pixels of {least:.4} to {most:.4} µm; they are used as they are, \
             without resampling"
        ));
    }
    if let Some(split) = arguments.split()
        && arguments.tiles.is_empty()
        && !tiles.is_empty()
    {
        check_complete(split, &tiles)?;
    }
    Ok(tiles)
}

/// Notes tiles of another pixel size than a model reads: they are not resampled.
pub(super) fn note_pixel_sizes(tiles: &[Tile], model_mpp_um: f64, output: Output) {
    let mut others = Vec::new();
    for tile in tiles {
        match tile.mpp_um {
            Some(mpp) if (mpp / model_mpp_um - 1.0).abs() > PIXEL_SIZE_TOLERANCE => {
                others.push(format!("{} ({mpp:.3} µm)", tile.name));
            }
            _ => {}
        }
    }
    if let Some(first) = others.first() {
        output.remark(&format!(
            "{} of {} tiles have another pixel size than the {model_mpp_um} µm that the model \
             reads, such as {first}; they are used as they are, without resampling",
            others.len(),
            tiles.len()
        ));
    }
}

/// Refuses to learn from labels that are no nuclei.
///
/// # Errors
/// [`Error::Mismatch`] naming the tile.
pub(super) fn check_labels(tiles: &[Tile]) -> Result<()> {
    for tile in tiles {
        if let Some(defect) = label_defect(&tile.labels) {
            return Err(Error::mismatch(format!(
                "'{}' cannot be learned from. {defect}",
                tile.name
            )));
        }
    }
    Ok(())
}

/// Refuses an incomplete part of the paper's split.
fn check_complete(split: Split, tiles: &[Tile]) -> Result<()> {
    let mut missing = split.codes().to_vec();
    missing.retain(|code| !tiles.iter().any(|tile| split.has(&tile.name, code)));
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::mismatch(format!(
        "The paper's {} tiles are not all usable here, so its numbers would not compare; \
         missing: {}",
        format!("{split:?}").to_lowercase(),
        missing.join(", ")
    )))
}
