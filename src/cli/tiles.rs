//! Which labelled tiles a command works on.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use super::output::Output;
use crate::dataset::{
    DATASET_FILE, PIXEL_SIZE_TOLERANCE, Split, Tile, TileFolder, combined_licence, discover,
    label_defect, load_tile, recognised_split,
};
use crate::error::{Error, Result, counted, listed};
use crate::model::{DataSource, Model};

/// Message where a folder has no tile for the command.
pub(super) const NO_TILES: &str =
    "No labelled tiles were found there; 'prunella data check' lists what a folder has.";

/// Largest weight of a data set; its inverse is the least.
const MAX_WEIGHT: f64 = 1000.0;
/// Pixel size of a new model for tiles of several sizes, micrometres: that of most slides at 40×.
const NEW_MODEL_UM: f64 = 0.25;
/// Most tiles, texts or splits that a message names.
const MAX_NAMED: usize = 5;

/// Where labelled tiles come from.
#[derive(Debug, Args)]
pub(super) struct TileArguments {
    /// Folder with images and their labels, and perhaps a dataset.toml that states their name,
    /// pixel size, licence and splits. Several --data are used together; with FOLDER=2 pixels of
    /// that folder are drawn for training twice as often as those of the others.
    #[arg(
        long,
        required = true,
        value_name = "FOLDER[=WEIGHT]",
        value_parser = OsStringValueParser::new().try_map(DataFolder::parse)
    )]
    pub data: Vec<DataFolder>,
    /// Only the tiles of this split: one of dataset.toml, or pretrain, train or test of the paper's
    /// Table 1. Of several folders those without such a split are used whole.
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Only tiles whose names contain one of these texts (comma-separated).
    #[arg(long, value_delimiter = ',')]
    pub tiles: Vec<String>,
    /// Licence of the data, written into the model's card instead of those that dataset.toml
    /// states.
    #[arg(long)]
    pub licence: Option<String>,
}

/// A folder of tiles and how often each pixel is drawn, relative to those of other folders.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DataFolder {
    folder: PathBuf,
    weight: f64,
}

impl DataFolder {
    /// `FOLDER` or `FOLDER=WEIGHT`. A folder that exists by the whole text is meant.
    #[expect(clippy::needless_pass_by_value, reason = "clap's parsers take their text")]
    pub(super) fn parse(text: OsString) -> std::result::Result<Self, String> {
        let whole = Self { folder: PathBuf::from(&text), weight: 1.0 };
        if whole.folder.exists() {
            return Ok(whole);
        }
        let Some((folder, weight)) = text.to_str().and_then(|text| text.rsplit_once('=')) else {
            return Ok(whole);
        };
        let folder = PathBuf::from(folder);
        let number = weight.parse::<f64>();
        if number.is_err() && !folder.exists() {
            return Ok(whole);
        }
        let weights = 1.0 / MAX_WEIGHT..=MAX_WEIGHT;
        match number {
            Ok(weight) if weights.contains(&weight) => Ok(Self { folder, weight }),
            _ => Err(format!(
                "'{weight}' is no weight; it is a number between {} and {MAX_WEIGHT}",
                1.0 / MAX_WEIGHT
            )),
        }
    }
}

/// Labelled tiles of one or several data sets.
pub(super) struct LoadedTiles {
    /// Set by set.
    pub tiles: Vec<Tile>,
    /// At least one.
    pub sets: Vec<LoadedSet>,
}

/// A data set of which tiles were loaded.
pub(super) struct LoadedSet {
    /// Of the folder, unless its dataset.toml states one.
    pub name: String,
    /// Which of the loaded tiles are its own.
    pub tiles: Range<usize>,
    /// What dataset.toml states; none without.
    source: Option<DataSource>,
}

impl LoadedSet {
    /// A word on a dataset.toml without licence.
    fn lack_of_licence(&self) -> Option<String> {
        let source = self.source.as_ref().filter(|_| !self.tiles.is_empty())?;
        source.licence.is_none().then(|| format!("licence of '{}' not stated", self.name))
    }
}

/// A folder of which tiles are to be chosen.
struct FoundSet {
    name: String,
    weight: f64,
    folder: TileFolder,
}

/// Which tiles of a data set `--split` chooses.
#[derive(Clone, Copy, PartialEq)]
enum SetSplit<'a> {
    All,
    /// One of dataset.toml.
    Named(&'a str),
    /// One of the paper's Table 1.
    Paper(Split),
}

impl TileArguments {
    /// All tiles of a folder.
    pub(super) fn of_folder(folder: &Path) -> Self {
        Self {
            data: vec![DataFolder { folder: folder.to_path_buf(), weight: 1.0 }],
            split: None,
            tiles: Vec::new(),
            licence: None,
        }
    }

    /// Whether a name is among those that `--tiles` chooses.
    fn names(&self, tile: &str) -> bool {
        self.tiles.is_empty() || self.tiles.iter().any(|part| tile.contains(part))
    }
}

impl FoundSet {
    /// Tiles that `--split` chooses of this set; none where it has no such split.
    fn split<'a>(&self, name: &'a str) -> Option<SetSplit<'a>> {
        let dataset = self.folder.dataset.as_ref();
        if dataset.is_some_and(|dataset| dataset.splits.contains_key(name)) {
            return Some(SetSplit::Named(name));
        }
        let paper = paper_split(name)?;
        let is_the_papers = |name: &str| recognised_split(name).is_some();
        let tiles = &self.folder.tiles;
        tiles.iter().any(|tile| is_the_papers(&tile.name)).then_some(SetSplit::Paper(paper))
    }

    fn selects(&self, split: SetSplit<'_>, tile: &str) -> bool {
        match split {
            SetSplit::All => true,
            SetSplit::Paper(split) => split.contains(tile),
            SetSplit::Named(split) => {
                let dataset = self.folder.dataset.as_ref();
                dataset.and_then(|dataset| dataset.has_in_split(split, tile)) == Some(true)
            }
        }
    }

    /// What a card says about it.
    fn source(&self) -> Option<DataSource> {
        let dataset = self.folder.dataset.as_ref()?;
        Some(DataSource {
            name: self.name.clone(),
            licence: dataset.licence.clone(),
            citation: dataset.citation.clone(),
        })
    }
}

fn paper_split(name: &str) -> Option<Split> {
    match name {
        "pretrain" => Some(Split::Pretrain),
        "train" => Some(Split::Train),
        "test" => Some(Split::Test),
        _ => None,
    }
}

/// Loads the selected tiles of all data sets. Broken ones are reported and left out.
///
/// # Errors
/// When a folder cannot be read, no set has the split or the names, or a part of the paper's split
/// is selected and incomplete.
pub(super) fn load(arguments: &TileArguments, output: Output) -> Result<LoadedTiles> {
    let found = find(arguments, output)?;
    let splits = choose_splits(arguments, &found, output)?;
    let several = found.len() > 1;
    let mut loaded = LoadedTiles { tiles: Vec::new(), sets: Vec::new() };
    let mut labelled = 0;
    for (set, split) in found.iter().zip(splits) {
        let first = loaded.tiles.len();
        for files in &set.folder.tiles {
            if files.labels.is_none() {
                continue;
            }
            labelled += 1;
            if !set.selects(split, &files.name) || !arguments.names(&files.name) {
                continue;
            }
            match load_tile(files) {
                Ok((mut tile, warnings)) => {
                    for sentence in &warnings.notes {
                        output.remark(&format!("{}: {sentence}", tile.name));
                    }
                    // One set is drawn from without weights.
                    tile.weight = if several { set.weight } else { 1.0 };
                    loaded.tiles.push(tile);
                }
                Err(e) => output.remark(&format!("{} is left out: {e}", files.name)),
            }
        }
        let tiles = first..loaded.tiles.len();
        if several && tiles.is_empty() {
            output.remark(&format!("No tile of '{}' is used", set.name));
        }
        if let SetSplit::Paper(split) = split
            && arguments.tiles.is_empty()
            && !tiles.is_empty()
        {
            check_complete(split, &loaded.tiles[tiles.clone()])?;
        }
        loaded.sets.push(LoadedSet { name: set.name.clone(), tiles, source: set.source() });
    }
    if loaded.tiles.is_empty() && labelled > 0 && !arguments.tiles.is_empty() {
        return Err(Error::invalid(format!(
            "No usable tile is selected: of {} none has a name that contains {}{}",
            counted(labelled, "labelled tile", "labelled tiles"),
            listed(&arguments.tiles, MAX_NAMED),
            if arguments.split.is_some() { " and belongs to the split" } else { "" }
        )));
    }
    loaded.tell_apart();
    loaded.note_copies(output);
    Ok(loaded)
}

/// The folders of all data sets.
fn find(arguments: &TileArguments, output: Output) -> Result<Vec<FoundSet>> {
    let mut found: Vec<FoundSet> = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for DataFolder { folder: path, weight } in &arguments.data {
        let folder = discover(path)?;
        let own = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        if folders.contains(&own) {
            return Err(Error::invalid("The folder is given twice with --data").at(path));
        }
        output.warnings(&folder.notes);
        let stated = folder.dataset.as_ref().and_then(|dataset| dataset.name.clone());
        let last = own.file_name().unwrap_or(OsStr::new("data")).to_string_lossy().into_owned();
        let own_name = stated.unwrap_or(last);
        let mut name = own_name.clone();
        let mut number = 1;
        while found.iter().any(|set| set.name == name) {
            number += 1;
            name = format!("{own_name} ({number})");
        }
        folders.push(own);
        found.push(FoundSet { name, weight: *weight, folder });
    }
    Ok(found)
}

/// What `--split` chooses of each set.
fn choose_splits<'a>(
    arguments: &'a TileArguments,
    found: &[FoundSet],
    output: Output,
) -> Result<Vec<SetSplit<'a>>> {
    let Some(name) = arguments.split.as_deref() else {
        return Ok(vec![SetSplit::All; found.len()]);
    };
    let mut splits = Vec::with_capacity(found.len());
    let mut without = Vec::new();
    for set in found {
        let split = set.split(name);
        if split.is_none() {
            without.push(set.name.as_str());
        }
        splits.push(split.unwrap_or(SetSplit::All));
    }
    if without.len() < found.len() {
        if !without.is_empty() {
            output.remark(&format!(
                "{} no split '{name}'; all tiles of {} are used",
                listed(&without, MAX_NAMED) + if without.len() == 1 { " has" } else { " have" },
                if without.len() == 1 { "it" } else { "them" }
            ));
        }
        return Ok(splits);
    }
    // A folder without any tile of the paper's has none of this split.
    if let Some(paper) = paper_split(name) {
        return Ok(vec![SetSplit::Paper(paper); found.len()]);
    }
    let mut known = Vec::new();
    for set in found {
        if let Some(dataset) = &set.folder.dataset {
            known.extend(dataset.splits.keys().map(|split| format!("{split} of {}", set.name)));
        }
    }
    let stated = if known.is_empty() {
        format!("no {DATASET_FILE} states any")
    } else {
        format!("{DATASET_FILE} states {}", known.join(", "))
    };
    Err(Error::invalid(format!(
        "There is no split '{name}': {stated}; pretrain, train and test are those of the paper's \
         Table 1"
    )))
}

impl LoadedTiles {
    /// Puts the names of their sets before names that tiles of several sets have.
    fn tell_apart(&mut self) {
        let mut sets_of: BTreeMap<String, usize> = BTreeMap::new();
        for tile in &self.tiles {
            *sets_of.entry(tile.name.clone()).or_default() += 1;
        }
        for set in &self.sets {
            for tile in &mut self.tiles[set.tiles.clone()] {
                if sets_of[&tile.name] > 1 {
                    tile.name = format!("{}/{}", set.name, tile.name);
                }
            }
        }
    }

    /// Notes images that several sets hold.
    fn note_copies(&self, output: Output) {
        let mut first_of: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for set in &self.sets {
            for tile in &self.tiles[set.tiles.clone()] {
                match first_of.get(tile.sha256.as_str()) {
                    Some((first, own_set)) if *own_set != set.name => output.remark(&format!(
                        "{}: the image is the same file as that of {first} in '{own_set}'",
                        tile.name
                    )),
                    Some(_) => {}
                    None => drop(first_of.insert(&tile.sha256, (&tile.name, &set.name))),
                }
            }
        }
    }

    /// Pixel size to which these tiles are resampled for a new model, micrometres; none where
    /// theirs agree.
    pub(super) fn pixel_size_of_new_model(&self) -> Option<f64> {
        let sizes: Vec<f64> = self.tiles.iter().filter_map(|tile| tile.mpp_um).collect();
        let least = sizes.iter().copied().reduce(f64::min)?;
        let most = sizes.iter().copied().reduce(f64::max)?;
        (most / least > 1.0 + PIXEL_SIZE_TOLERANCE).then_some(NEW_MODEL_UM)
    }

    /// Notes pixel sizes that differ where no model says which one is meant.
    pub(super) fn note_pixel_sizes(&self, output: Output) {
        let mut sizes: Vec<f64> = self.tiles.iter().filter_map(|tile| tile.mpp_um).collect();
        sizes.sort_by(f64::total_cmp);
        if let (Some(least), Some(most)) = (sizes.first(), sizes.last())
            && most / least > 1.0 + PIXEL_SIZE_TOLERANCE
        {
            output.remark(&format!(
                "The tiles have pixels of {least:.4} to {most:.4} µm; they are used as they are, \
                 without resampling"
            ));
        }
    }

    /// Resamples tiles of another pixel size to `mpp_um`, images and labels, and notes it. Tiles
    /// that cannot be are reported and left out.
    pub(super) fn resample(&mut self, mpp_um: f64, output: Output) {
        for set in &self.sets {
            note_other_pixel_sizes(set, &self.tiles, mpp_um, "they are resampled", output);
        }
        let mut kept = Vec::with_capacity(self.tiles.len());
        let mut tiles = std::mem::take(&mut self.tiles).into_iter();
        for set in &mut self.sets {
            let first = kept.len();
            for tile in tiles.by_ref().take(set.tiles.len()) {
                let name = tile.name.clone();
                match tile.at_pixel_size(mpp_um) {
                    Ok(tile) => kept.push(tile),
                    Err(e) => output.remark(&format!("{name} is left out: {e}")),
                }
            }
            set.tiles = first..kept.len();
        }
        self.tiles = kept;
    }

    /// Writes licence and citations of the data into the card of a model that was trained on these
    /// tiles: `licence` where it is given, else the strictest of the sets and of the model's own
    /// before.
    pub(super) fn sign(&self, model: &mut Model, licence: Option<&str>) {
        let card = model.card_mut();
        let mut licences: Vec<String> = card.licence.iter().cloned().collect();
        for set in self.sets.iter().filter(|set| !set.tiles.is_empty()) {
            let Some(source) = &set.source else { continue };
            licences.extend(source.licence.clone());
            if !card.data_sources.contains(source) {
                card.data_sources.push(source.clone());
            }
        }
        if !licences.is_empty() {
            licences.extend(self.sets.iter().filter_map(LoadedSet::lack_of_licence));
        }
        card.licence = match licence {
            Some(stated) => Some(stated.to_owned()),
            None => combined_licence(&licences),
        };
    }
}

/// Notes tiles of a set that have another pixel size than a model reads, and what is done.
pub(super) fn note_other_pixel_sizes(
    set: &LoadedSet,
    tiles: &[Tile],
    model_mpp_um: f64,
    what_is_done: &str,
    output: Output,
) {
    let mut others = Vec::new();
    for tile in &tiles[set.tiles.clone()] {
        if let Some(own) = tile.mpp_um.filter(|_| tile.differs_from_pixel_size(model_mpp_um)) {
            others.push(format!("{} ({own:.3} µm)", tile.name));
        }
    }
    if let Some(first) = others.first() {
        output.remark(&format!(
            "{}: {} of {} tiles have another pixel size than the {model_mpp_um} µm that the model \
             reads, such as {first}; {what_is_done}",
            set.name,
            others.len(),
            set.tiles.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_follows_a_folder_and_a_folder_that_exists_wins() {
        let root = tempfile::tempdir().expect("folder");
        let folder = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir(&path).expect("folder");
            path
        };
        let (plain, odd) = (folder("a"), folder("a=2"));
        let parse = |text: String| DataFolder::parse(OsString::from(text));
        let text = |path: &Path| path.display().to_string();
        let whole = DataFolder { folder: plain.clone(), weight: 1.0 };
        assert_eq!(parse(text(&plain)), Ok(whole));
        let weighted = DataFolder { folder: plain.clone(), weight: 0.5 };
        assert_eq!(parse(text(&plain) + "=0.5"), Ok(weighted));
        assert_eq!(parse(text(&odd)), Ok(DataFolder { folder: odd.clone(), weight: 1.0 }));
        assert_eq!(parse(text(&odd) + "=3"), Ok(DataFolder { folder: odd, weight: 3.0 }));
        for bad in ["=0", "=-1", "=nan", "=inf", "=x", "=", "=1e9"] {
            assert!(parse(text(&plain) + bad).is_err(), "{bad}");
        }
        let absent = DataFolder { folder: "no/such=place".into(), weight: 1.0 };
        assert_eq!(parse("no/such=place".into()), Ok(absent));
    }
}
