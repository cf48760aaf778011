//! Which tiles a command works on.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::Output;
use crate::dataset::{Split, Tile, discover, load_tile};
use crate::error::{Error, Result};
use crate::model::Model;

/// Where labelled tiles come from.
#[derive(Debug, Args)]
pub struct TileArguments {
    /// Folder with images and their labels.
    #[arg(long)]
    pub data: PathBuf,
    /// Only the tiles of this part of the paper's Table 1.
    #[arg(long, value_enum)]
    pub split: Option<SplitName>,
    /// Only tiles whose names contain one of these (comma-separated).
    #[arg(long, value_delimiter = ',')]
    pub tiles: Vec<String>,
    /// Licence of the data, kept in the model's card.
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

impl TileArguments {
    fn split(&self) -> Option<Split> {
        self.split.map(|s| match s {
            SplitName::Pretrain => Split::Pretrain,
            SplitName::Train => Split::Train,
            SplitName::Test => Split::Test,
        })
    }

    fn wants(&self, name: &str) -> bool {
        self.split().is_none_or(|s| s.contains(name))
            && (self.tiles.is_empty() || self.tiles.iter().any(|t| name.contains(t)))
    }

    /// Writes the licence into a card.
    pub fn sign(&self, model: &mut Model) {
        if self.licence.is_some() {
            model.card_mut().licence.clone_from(&self.licence);
        }
    }
}

/// Loads the wanted tiles; broken ones are told and left out.
///
/// # Errors
/// When the folder cannot be read, or a part of the paper's split is asked for and incomplete.
pub fn load(arguments: &TileArguments, output: Output) -> Result<Vec<Tile>> {
    let (files, report) = discover(&arguments.data)?;
    report.notes.iter().for_each(|n| output.remark(n));
    let mut tiles = Vec::new();
    for files in files.iter().filter(|f| f.labels.is_some() && arguments.wants(&f.name)) {
        match load_tile(files) {
            Ok((tile, report)) => {
                report.notes.iter().for_each(|n| output.remark(&format!("{}: {n}", tile.name)));
                tiles.push(tile);
            }
            Err(e) => {
                output.remark(&format!("{} is left out: {e}", files.name));
            }
        }
    }
    if let (Some(split), true) = (arguments.split(), arguments.tiles.is_empty()) {
        let there = |code: &str| tiles.iter().any(|t| split.has(&t.name, code));
        let missing: Vec<&str> = split.codes().iter().copied().filter(|c| !there(c)).collect();
        if !missing.is_empty() && !tiles.is_empty() {
            return Err(Error::mismatch(format!(
                "The paper's {} tiles are not all usable here, so its numbers would not compare; missing: {}",
                format!("{split:?}").to_lowercase(),
                missing.join(", ")
            )));
        }
    }
    Ok(tiles)
}
