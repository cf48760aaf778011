//! The paper's split (Table 1), by the names of the tiles.

use serde::Serialize;

/// Codes of the pre-training tiles (breast).
pub const PAPER_PRETRAIN: [&str; 2] = ["A7-A13E", "A7-A13F"];
/// Codes of the training tiles.
pub const PAPER_TRAIN: [&str; 7] =
    ["AR-A1AK", "HE-7130", "38-6178", "G9-6356", "DK-A2I6", "AY-A8YK", "KB-A93J"];
/// Codes of the test tiles: the same organs from other clinics.
pub const PAPER_TEST: [&str; 7] =
    ["E2-A1B5", "B0-5698", "21-5784", "CH-5767", "G2-A2EK", "NH-A8F7", "RD-A8N9"];

/// A part of the paper's split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Tiles of breast.
    Pretrain,
    /// Tiles of seven organs.
    Train,
    /// Tiles of the same organs from other clinics.
    Test,
}

impl Split {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Pretrain, Self::Train, Self::Test];

    /// The codes of the tiles of this part.
    #[must_use]
    pub fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Pretrain => &PAPER_PRETRAIN,
            Self::Train => &PAPER_TRAIN,
            Self::Test => &PAPER_TEST,
        }
    }

    /// Whether a tile, such as `TCGA-AR-A1AK-01Z-00-DX1`, belongs to this part.
    #[must_use]
    pub fn contains(self, tile: &str) -> bool {
        self.codes().iter().any(|code| has_code(tile, code))
    }

    /// Whether `code` is one of this part and a tile's code.
    #[must_use]
    pub fn has(self, tile: &str, code: &str) -> bool {
        self.codes().contains(&code) && has_code(tile, code)
    }
}

fn has_code(tile: &str, code: &str) -> bool {
    // Folders of a site before the name: "siteA/TCGA-…".
    let name = tile.rsplit('/').next().unwrap_or(tile);
    let after = name.strip_prefix("TCGA-").unwrap_or(name);
    after.strip_prefix(code).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The part of the paper's split that a tile belongs to, by its name.
#[must_use]
pub fn recognised_split(tile: &str) -> Option<Split> {
    Split::ALL.into_iter().find(|split| split.contains(tile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_recognised_by_their_whole_code() {
        assert_eq!(recognised_split("TCGA-AR-A1AK-01Z-00-DX1"), Some(Split::Train));
        assert_eq!(recognised_split("TCGA-A7-A13E-01Z-00-DX1"), Some(Split::Pretrain));
        assert_eq!(recognised_split("TCGA-G9-63567-01Z"), None);
        assert_eq!(recognised_split("B0-5698"), Some(Split::Test));
        assert_eq!(recognised_split("clinic/TCGA-B0-5698-01Z"), Some(Split::Test));
        assert_eq!(recognised_split("my tile"), None);
    }
}
