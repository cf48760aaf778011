//! Where a study's tiles come from, and which of them pre-train, train and test.

use serde::{Deserialize, Serialize};

use super::design::Design;
use crate::dataset::{Split, Tile, phantom};
use crate::error::{Error, Result};

/// Procedural tissue: tiles to train and test on, and their sides.
const PHANTOM: [(u64, usize); 2] = [(8, 240), (2, 400)];
const DCCN_STRIDE: usize = 8;
/// Tiles that a message names.
const NAMED: usize = 5;

/// Where tiles come from, and what of them is scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataChoice {
    /// Procedural tissue instead of a folder.
    pub phantom: bool,
    /// The DCCN is scored on every such pixel of every such row of the test tiles; all of them
    /// would take hours.
    #[serde(skip_serializing_if = "is_usual_stride")]
    pub dccn_stride: usize,
    #[serde(skip_serializing_if = "TileSplit::is_the_papers")]
    pub split: TileSplit,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_stride(stride: &usize) -> bool {
    *stride == DCCN_STRIDE
}

impl Default for DataChoice {
    fn default() -> Self {
        Self { phantom: false, dccn_stride: DCCN_STRIDE, split: TileSplit::default() }
    }
}

/// Tiles by parts of their names. Where all three are empty, the paper's Table 1 decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TileSplit {
    pub pretrain: Vec<String>,
    pub train: Vec<String>,
    pub test: Vec<String>,
}

impl TileSplit {
    fn is_the_papers(&self) -> bool {
        [&self.pretrain, &self.train, &self.test].into_iter().all(Vec::is_empty)
    }

    /// Whether a tile pre-trains, trains and tests.
    fn parts(&self, tile: &str) -> [bool; 3] {
        if self.is_the_papers() {
            return [Split::Pretrain, Split::Train, Split::Test].map(|part| part.contains(tile));
        }
        [&self.pretrain, &self.train, &self.test]
            .map(|names| names.iter().any(|name| tile.contains(name)))
    }

    /// A name in the split that no tile has.
    fn missing<'a>(&'a self, tiles: &[Tile]) -> Option<&'a String> {
        let named = |name: &&String| !tiles.iter().any(|tile| tile.name.contains(name.as_str()));
        [&self.pretrain, &self.train, &self.test].into_iter().flatten().find(named)
    }
}

/// Tiles of a study.
#[derive(Debug, Default)]
pub struct Data {
    pub pretrain: Vec<Tile>,
    pub train: Vec<Tile>,
    pub test: Vec<Tile>,
}

impl Data {
    /// Procedural tissue.
    #[must_use]
    pub fn phantom() -> Self {
        let tiles = |(count, px): (u64, usize), first: u64| -> Vec<Tile> {
            (0..count).map(|i| phantom::tile(px, px, first + i)).collect()
        };
        let [train, test] = PHANTOM;
        Self { pretrain: tiles(train, 1000), train: tiles(train, 2000), test: tiles(test, 3000) }
    }

    /// Every tile with its part and what identifies it, as JSON, a line each.
    #[must_use]
    pub fn list(&self) -> String {
        let row = |part: &str, tile: &Tile| {
            let row = serde_json::json!({
                "part": part, "tile": tile.name, "image_sha256": tile.sha256, "labels_sha256": tile.labels_sha256(),
            });
            row.to_string() + "\n"
        };
        let parts = [("pretrain", &self.pretrain), ("train", &self.train), ("test", &self.test)];
        parts.iter().flat_map(|(part, tiles)| tiles.iter().map(|tile| row(part, tile))).collect()
    }

    /// Tiles by the design's split. A tile may pre-train and train, but one that tests does nothing
    /// else.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when a part that is needed has no tile, a name fits none, or a tile
    /// would test what it taught.
    pub fn of_tiles(tiles: Vec<Tile>, design: &Design) -> Result<Self> {
        let split = &design.data.split;
        if let Some(name) = split.missing(&tiles) {
            return Err(Error::mismatch(format!(
                "The design's split names '{name}', which is part of no labelled tile's name"
            )));
        }
        let there: Vec<&str> = tiles.iter().take(NAMED).map(|tile| tile.name.as_str()).collect();
        let there = there.join(", ");
        let mut data = Self::default();
        for tile in tiles {
            let [pretrain, train, test] = split.parts(&tile.name);
            if test && (pretrain || train) {
                return Err(Error::mismatch(format!(
                    "By the design's split {} would be tested on and learned from",
                    tile.name
                )));
            }
            if pretrain && train {
                data.pretrain.push(tile.clone());
            }
            match (pretrain, train, test) {
                (_, true, _) => data.train.push(tile),
                (true, ..) => data.pretrain.push(tile),
                (.., true) => data.test.push(tile),
                _ => {}
            }
        }
        let pretrains =
            design.networks.iter().any(|&network| design.pretrain_recipe(network).is_some());
        if data.train.is_empty() || data.test.is_empty() || (pretrains && data.pretrain.is_empty())
        {
            return Err(Error::mismatch(format!(
                "The folder lacks tiles to pre-train, train or test on. Unless the design says which, in [data.split] with pretrain = [..], train = [..] and test = [..], they are the paper's; here are {there}"
            )));
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::Study;
    use super::*;

    const CODES: [&str; 4] =
        ["TCGA-A7-A13E-01Z", "TCGA-AR-A1AK-01Z", "TCGA-CH-5767-01Z", "mouse-1"];

    fn tiles(names: &[&str]) -> Vec<Tile> {
        names
            .iter()
            .map(|name| Tile { name: (*name).to_owned(), ..phantom::tile(16, 16, 1) })
            .collect()
    }

    fn split(design: &str, names: &[&str]) -> Result<[Vec<String>; 3]> {
        let text = format!(
            "name = \"x\"\nnetworks = [\"dcnn\"]\nratios = [0.5]\npatches = [100]\n{design}"
        );
        let data = Data::of_tiles(tiles(names), &Design::parse(&text)?)?;
        Ok([data.pretrain, data.train, data.test]
            .map(|part| part.into_iter().map(|tile| tile.name).collect()))
    }

    #[test]
    fn without_names_the_papers_tiles_are_split_as_in_its_table_1() {
        let found = split("", &CODES).expect("split");
        assert_eq!(
            found,
            [[CODES[0]], [CODES[1]], [CODES[2]]].map(|part| part.map(str::to_owned).to_vec())
        );
        let said =
            split("", &["mouse-1", "mouse-2"]).expect_err("no tile of the paper").to_string();
        assert!(said.contains("[data.split]") && said.contains("mouse-1, mouse-2"), "{said}");
    }

    #[test]
    fn names_split_any_tiles_and_a_tile_may_pre_train_and_train() {
        let found = split(
            "[data.split]\npretrain = [\"mouse-1\", \"mouse-2\"]\ntrain = [\"mouse-2\"]\ntest = [\"mouse-3\"]",
            &["mouse-1", "mouse-2", "mouse-3", "mouse-4"],
        );
        let [pretrain, train, test] = found.expect("split");
        assert_eq!(
            (pretrain, train, test),
            (
                vec!["mouse-1".into(), "mouse-2".into()],
                vec!["mouse-2".into()],
                vec!["mouse-3".into()]
            )
        );
    }

    #[test]
    fn a_tile_that_tests_teaches_nothing_and_every_name_must_fit() {
        let refused =
            |design: &str| split(design, &["mouse-1", "mouse-2"]).expect_err("refused").to_string();
        let leak = refused(
            "[data.split]\npretrain = [\"mouse-1\"]\ntrain = [\"mouse-1\"]\ntest = [\"mouse\"]",
        );
        assert!(leak.contains("mouse-1") && leak.contains("learned from"), "{leak}");
        let typo = refused(
            "[data.split]\npretrain = [\"mouse-1\"]\ntrain = [\"muose-1\"]\ntest = [\"mouse-2\"]",
        );
        assert!(typo.contains("'muose-1'"), "{typo}");
        let none = "[data.split]\ntrain = [\"mouse-1\"]\ntest = [\"mouse-2\"]\n";
        let bare = refused(&format!("{none}[pretrain]\npatches = 100\nepochs = 1"));
        assert!(bare.contains("pre-train"), "{bare}");
        assert!(split(none, &["mouse-1", "mouse-2"]).is_ok());
    }

    #[test]
    fn a_study_keeps_to_the_tiles_it_began_with() {
        let folder = tempfile::tempdir().expect("folder");
        let study =
            Study::begin(Design::built_in("smoke").expect("design"), folder.path()).expect("study");
        study.keep_to(&Data::phantom()).expect("the first time");
        study.keep_to(&Data::phantom()).expect("the same");
        let mut other = Data::phantom();
        other.test.pop();
        let said = study.keep_to(&other).expect_err("a tile less").to_string();
        assert!(said.contains("other tiles") && said.contains("tiles.jsonl"), "{said}");
    }

    #[test]
    fn a_split_changes_a_cells_id_and_none_leaves_it() {
        let id = |text: &str| {
            let text = format!(
                "name = \"x\"\nnetworks = [\"dcnn\"]\nratios = [0.5]\npatches = [100]\n{text}"
            );
            Design::parse(&text).expect("design").cells()[0].id.clone()
        };
        assert_eq!(id(""), id("[data.split]\ntrain = []"));
        assert_ne!(id(""), id("[data.split]\ntrain = [\"mouse\"]"));
    }
}
