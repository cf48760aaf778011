//! Where a study's tiles come from, and which of them pre-train, train and test.

use serde::{Deserialize, Serialize};

use super::design::Design;
use crate::dataset::{Split, Tile, phantom};
use crate::error::{Error, Result};

/// Procedural tiles, each square and with the seeds `first_seed`, `first_seed + 1`, ….
struct PhantomTiles {
    count: u64,
    side_px: usize,
    first_seed: u64,
}

const PHANTOM_PRETRAIN: PhantomTiles = PhantomTiles { count: 8, side_px: 240, first_seed: 1000 };
const PHANTOM_TRAIN: PhantomTiles = PhantomTiles { count: 8, side_px: 240, first_seed: 2000 };
const PHANTOM_TEST: PhantomTiles = PhantomTiles { count: 2, side_px: 400, first_seed: 3000 };
const DEFAULT_DCCN_STRIDE: usize = 8;
/// Most tiles that a message names.
const MAX_NAMED: usize = 5;

/// A design's `[data]`: where tiles come from, and which of their pixels are scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DataOptions {
    /// Procedural tissue instead of a folder.
    pub phantom: bool,
    /// The DCCN is scored on a grid of every `dccn_stride`-th pixel of the test tiles, because all
    /// pixels take hours.
    #[serde(skip_serializing_if = "is_default_stride")]
    pub dccn_stride: usize,
    #[serde(skip_serializing_if = "TileSplit::is_the_papers")]
    pub split: TileSplit,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default_stride(stride: &usize) -> bool {
    *stride == DEFAULT_DCCN_STRIDE
}

impl Default for DataOptions {
    fn default() -> Self {
        Self { phantom: false, dccn_stride: DEFAULT_DCCN_STRIDE, split: TileSplit::default() }
    }
}

/// Parts of tile names by role. Where all three lists are empty, the paper's Table 1 decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TileSplit {
    pub pretrain: Vec<String>,
    pub train: Vec<String>,
    pub test: Vec<String>,
}

/// What a tile is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TileRoles {
    pretrain: bool,
    train: bool,
    test: bool,
}

impl TileSplit {
    fn is_the_papers(&self) -> bool {
        self.pretrain.is_empty() && self.train.is_empty() && self.test.is_empty()
    }

    fn roles(&self, tile: &str) -> TileRoles {
        if self.is_the_papers() {
            return TileRoles {
                pretrain: Split::Pretrain.contains(tile),
                train: Split::Train.contains(tile),
                test: Split::Test.contains(tile),
            };
        }
        TileRoles {
            pretrain: contains_any(tile, &self.pretrain),
            train: contains_any(tile, &self.train),
            test: contains_any(tile, &self.test),
        }
    }

    /// The first entry that is part of no tile's name.
    fn unmatched<'a>(&'a self, tiles: &[Tile]) -> Option<&'a String> {
        let mut names = self.pretrain.iter().chain(&self.train).chain(&self.test);
        names.find(|name| !tiles.iter().any(|tile| tile.name.contains(name.as_str())))
    }
}

fn contains_any(tile: &str, parts: &[String]) -> bool {
    parts.iter().any(|part| tile.contains(part))
}

/// Tiles of a study by role.
#[derive(Debug, Default)]
pub(crate) struct StudyTiles {
    pub pretrain: Vec<Tile>,
    pub train: Vec<Tile>,
    pub test: Vec<Tile>,
}

/// A line of `tiles.jsonl`.
#[derive(Serialize)]
struct TileEntry<'a> {
    part: Split,
    tile: &'a str,
    image_sha256: &'a str,
    labels_sha256: String,
}

impl StudyTiles {
    /// Procedural tissue: 8 tiles to pre-train, 8 others to train, 2 larger ones to test.
    #[must_use]
    pub(crate) fn phantom() -> Self {
        Self {
            pretrain: PHANTOM_PRETRAIN.tiles(),
            train: PHANTOM_TRAIN.tiles(),
            test: PHANTOM_TEST.tiles(),
        }
    }

    /// Every tile with its role and the hashes of its image and labels, as JSON lines.
    #[must_use]
    pub(crate) fn manifest(&self) -> String {
        let roles = [
            (Split::Pretrain, &self.pretrain),
            (Split::Train, &self.train),
            (Split::Test, &self.test),
        ];
        let mut lines = String::new();
        for (part, tiles) in roles {
            for tile in tiles {
                let entry = TileEntry {
                    part,
                    tile: &tile.name,
                    image_sha256: &tile.sha256,
                    labels_sha256: tile.labels_sha256(),
                };
                // As a value, so that the keys are sorted.
                lines += &serde_json::json!(entry).to_string();
                lines.push('\n');
            }
        }
        lines
    }

    /// Divides tiles by the design's split. A tile may both pre-train and train; a test tile has no
    /// other role. Tiles without a role are left out.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when a role that is needed has no tile, an entry of the split matches no
    /// tile, or a test tile would also train.
    pub(crate) fn by_split(tiles: Vec<Tile>, design: &Design) -> Result<Self> {
        let split = &design.data.split;
        if let Some(name) = split.unmatched(&tiles) {
            return Err(Error::mismatch(format!(
                "The design's split names '{name}', which is part of no labelled tile's name"
            )));
        }
        let examples: Vec<String> =
            tiles.iter().take(MAX_NAMED).map(|tile| tile.name.clone()).collect();
        let mut divided = Self::default();
        for tile in tiles {
            let roles = split.roles(&tile.name);
            if roles.test && (roles.pretrain || roles.train) {
                return Err(Error::mismatch(format!(
                    "By the design's split {} would be tested on and learned from",
                    tile.name
                )));
            }
            if roles.pretrain {
                divided.pretrain.push(tile.clone());
            }
            if roles.train {
                divided.train.push(tile);
            } else if roles.test {
                divided.test.push(tile);
            }
        }
        let lacks_pretrain = divided.pretrain.is_empty() && design.pretrains();
        if lacks_pretrain || divided.train.is_empty() || divided.test.is_empty() {
            return Err(Error::mismatch(format!(
                "The folder lacks tiles to pre-train, train or test on. Without [data.split] with \
                 pretrain = [..], train = [..] and test = [..] in the design, the paper's tiles \
                 are used; here are {}",
                examples.join(", ")
            )));
        }
        for (role, tiles) in [("train", &divided.train), ("test", &divided.test)] {
            if !tiles.iter().any(|tile| tile.labels.data().iter().any(|&label| label > 0)) {
                return Err(Error::mismatch(format!(
                    "No nucleus is labelled in the tiles to {role} on, so that there is nothing to \
                     learn or score"
                )));
            }
        }
        Ok(divided)
    }
}

impl PhantomTiles {
    fn tiles(&self) -> Vec<Tile> {
        let seeds = self.first_seed..self.first_seed + self.count;
        seeds.map(|seed| phantom::tile(self.side_px, self.side_px, seed)).collect()
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

    fn design(end: &str) -> Result<Design> {
        let start = "name = \"x\"\nnetworks = [\"dcnn\"]\nratios = [0.5]\npatches = [100]\n";
        Design::parse(&format!("{start}{end}"))
    }

    fn split(end: &str, names: &[&str]) -> Result<StudyTiles> {
        StudyTiles::by_split(tiles(names), &design(end)?)
    }

    fn names(tiles: &[Tile]) -> Vec<&str> {
        tiles.iter().map(|tile| tile.name.as_str()).collect()
    }

    #[test]
    fn without_names_the_papers_tiles_are_split_as_in_its_table_1() {
        let found = split("", &CODES).expect("split");
        assert_eq!(names(&found.pretrain), [CODES[0]]);
        assert_eq!(names(&found.train), [CODES[1]]);
        assert_eq!(names(&found.test), [CODES[2]]);
        let message =
            split("", &["mouse-1", "mouse-2"]).expect_err("no tile of the paper").to_string();
        assert!(
            message.contains("[data.split]") && message.contains("mouse-1, mouse-2"),
            "{message}"
        );
    }

    #[test]
    fn names_split_any_tiles_and_a_tile_may_pre_train_and_train() {
        let split = split(
            "[data.split]\npretrain = [\"mouse-1\", \"mouse-2\"]\n\
             train = [\"mouse-2\"]\ntest = [\"mouse-3\"]",
            &["mouse-1", "mouse-2", "mouse-3", "mouse-4"],
        );
        let found = split.expect("split");
        assert_eq!(names(&found.pretrain), ["mouse-1", "mouse-2"]);
        assert_eq!(names(&found.train), ["mouse-2"]);
        assert_eq!(names(&found.test), ["mouse-3"]);
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
        let design = Design::built_in("smoke").expect("design");
        let study = Study::create_or_open(design, folder.path()).expect("study");
        study.check_tiles(&StudyTiles::phantom()).expect("the first time");
        study.check_tiles(&StudyTiles::phantom()).expect("the same");
        let mut other = StudyTiles::phantom();
        other.test.pop();
        let message = study.check_tiles(&other).expect_err("a tile less").to_string();
        assert!(message.contains("other tiles") && message.contains("tiles.jsonl"), "{message}");
    }

    #[test]
    fn a_split_changes_a_cells_id_and_none_leaves_it() {
        let id = |end: &str| design(end).expect("design").cells()[0].id.clone();
        assert_eq!(id(""), id("[data.split]\ntrain = []"));
        assert_ne!(id(""), id("[data.split]\ntrain = [\"mouse\"]"));
    }
}
