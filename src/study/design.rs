//! What a study varies, as a small TOML, and the cells that follow from it.

use serde::{Deserialize, Serialize};

use super::data::DataChoice;
use super::training::{Pretrain, Training};
use crate::error::{Error, Result};
use crate::model::{Architecture, Head, dcnn, sha256_hex};
use crate::train::Recipe;

/// Designs that come with the program, by name.
pub const BUILT_IN: [(&str, &str); 7] = [
    ("smoke", include_str!("designs/smoke.toml")),
    ("paper-table4", include_str!("designs/paper-table4.toml")),
    ("paper-table5", include_str!("designs/paper-table5.toml")),
    ("paper-table6", include_str!("designs/paper-table6.toml")),
    ("paper-table7", include_str!("designs/paper-table7.toml")),
    ("paper-seeds", include_str!("designs/paper-seeds.toml")),
    ("paper-cost", include_str!("designs/paper-cost.toml")),
];
/// Largest step of the grid that the DCCN is scored on, pixels.
const MAX_STRIDE: usize = 64;
/// Most cells of one design.
const MAX_CELLS: usize = 100_000;

/// How the number of patches follows the pruning ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum PatchScale {
    /// The same at every ratio (the paper's Tables 6 and 7).
    #[default]
    Fixed,
    /// `N · (1 − δ)` (Tables 4 and 5).
    Scaled,
}

/// Networks that a design can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkChoice {
    Dcnn,
    Dccn,
    /// A quarter of the paper's DCNN, for trials.
    Small,
}

impl NetworkChoice {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dcnn => "dcnn",
            Self::Dccn => "dccn",
            Self::Small => "small",
        }
    }

    /// The unpruned network.
    #[must_use]
    pub fn architecture(self) -> Architecture {
        match self {
            Self::Dcnn => Architecture::paper_dcnn(),
            Self::Dccn => Architecture::paper_dccn(),
            Self::Small => dcnn([12, 24, 32], 128, 2),
        }
    }

    /// What r = 1 stands for: the paper's counts of parameters, the DCNN's with a single output.
    fn base(self) -> f64 {
        match self {
            Self::Dcnn => 915_934.0,
            Self::Dccn => 4_794_754.0,
            Self::Small => 10_000.0,
        }
    }

    fn head(self) -> Head {
        if self == Self::Dccn { Head::Sigmoid } else { Head::Softmax }
    }
}

/// A study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    pub name: String,
    pub networks: Vec<NetworkChoice>,
    pub ratios: Vec<f64>,
    #[serde(default)]
    pub scale: PatchScale,
    /// Sample sizes relative to the network's parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r: Vec<f64>,
    /// Sample sizes in patches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<usize>,
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Measures bytes and time alone; nothing is trained.
    #[serde(default)]
    pub cost: bool,
    #[serde(default)]
    pub pretrain: Pretrain,
    #[serde(default)]
    pub train: Training,
    #[serde(default)]
    pub data: DataChoice,
}

fn one_seed() -> Vec<u64> {
    vec![1]
}

/// One network, ratio, sample size and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The same in every run and on every machine; changes with anything that changes the result.
    pub id: String,
    pub network: NetworkChoice,
    pub pruning_ratio: f64,
    /// Relative sample size before scaling, where the design gives it.
    pub r: Option<f64>,
    pub n_train: usize,
    pub seed: u64,
}

impl Design {
    /// A built-in design by name, or a TOML text.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the line, or [`Error::Mismatch`] naming the number.
    pub fn parse(text: &str) -> Result<Self> {
        let design: Self = toml::from_str(text)
            .map_err(|e| Error::malformed(format!("The design cannot be understood: {e}")))?;
        design.validate()?;
        Ok(design)
    }

    /// A design that comes with the program.
    ///
    /// # Errors
    /// [`Error::Mismatch`] listing the names there are.
    pub fn built_in(name: &str) -> Result<Self> {
        let names = || BUILT_IN.map(|(n, _)| n).join(", ");
        let found = BUILT_IN.iter().find(|(n, _)| *n == name);
        let (_, text) = found.ok_or_else(|| {
            Error::mismatch(format!(
                "'{name}' is neither a file nor a built-in design ({})",
                names()
            ))
        })?;
        Self::parse(text)
    }

    /// The design as TOML.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| Error::malformed(format!("The design cannot be written: {e}")))
    }

    fn validate(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::mismatch(format!("The design's {what}")));
        if self.networks.is_empty() || self.ratios.is_empty() || self.seeds.is_empty() {
            return refuse("networks, ratios and seeds may not be empty");
        }
        if !self.ratios.iter().all(|r| (0.0..1.0).contains(r)) {
            return refuse("ratios must lie between 0 and 1");
        }
        if !(1..=MAX_STRIDE).contains(&self.data.dccn_stride) {
            return refuse(&format!("'dccn_stride' must lie between 1 and {MAX_STRIDE}"));
        }
        if self.cost {
            return Ok(());
        }
        if self.r.is_empty() == self.patches.is_empty() {
            return refuse("sample sizes must be given as 'r' or as 'patches', one of the two");
        }
        if !self.r.iter().all(|r| r.is_finite() && (0.0..=100.0).contains(r)) {
            return refuse("'r' must lie between 0 and 100");
        }
        let cells = [self.networks.len(), self.ratios.len(), self.sizes(), self.seeds.len()]
            .iter()
            .product::<usize>();
        if cells > MAX_CELLS {
            return Err(Error::limit(format!(
                "The design has {cells} cells; {MAX_CELLS} are the limit"
            )));
        }
        let before = self.networks.iter().filter_map(|&network| self.pretrain_recipe(network));
        before
            .chain(self.cells().iter().map(|cell| self.recipe(cell)))
            .try_for_each(|recipe| recipe.validate())
    }

    fn sizes(&self) -> usize {
        self.r.len().max(self.patches.len())
    }

    /// Every cell, small samples first, so that something is known soon.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &network in &self.networks {
            for (size, &pruning_ratio, &seed) in (0..self.sizes()).flat_map(|s| {
                self.ratios
                    .iter()
                    .flat_map(move |r| self.seeds.iter().map(move |seed| (s, r, seed)))
            }) {
                let r = self.r.get(size).copied();
                let whole = r.map_or_else(|| self.patches[size] as f64, |r| network.base() * r);
                let share =
                    if self.scale == PatchScale::Scaled { 1.0 - pruning_ratio } else { 1.0 };
                let n_train = (whole * share).round() as usize;
                let mut cell = Cell { id: String::new(), network, pruning_ratio, r, n_train, seed };
                cell.id = self.id(&cell);
                cells.push(cell);
            }
        }
        cells.sort_by_key(|c| c.n_train);
        cells
    }

    fn id(&self, cell: &Cell) -> String {
        let mut all = serde_json::json!([cell, self.pretrain, self.train, self.data]).to_string();
        if cell.network == NetworkChoice::Dccn {
            // Cells were once scored on what was interpolated too, which says little of the
            // network.
            all.push_str("scored on its grid alone");
        }
        let percent = (cell.pruning_ratio * 100.0).round();
        let hash = sha256_hex(all.as_bytes());
        format!(
            "{}-d{percent:02}-n{}-s{}-{}",
            cell.network.name(),
            cell.n_train,
            cell.seed,
            &hash[..8]
        )
    }

    /// Names the pre-training of a network.
    #[must_use]
    pub fn pretrain_id(&self, network: NetworkChoice) -> String {
        let all = serde_json::json!([network, self.pretrain, self.train, self.data]).to_string();
        format!("{}-pretrained-{}", network.name(), &sha256_hex(all.as_bytes())[..8])
    }

    /// How a cell is trained.
    #[must_use]
    pub fn recipe(&self, cell: &Cell) -> Recipe {
        Recipe {
            patches: cell.n_train,
            epochs: self.train.epochs,
            seed: cell.seed,
            ..self.common(cell.network)
        }
    }

    /// How a network is trained before it is pruned; none where random weights are the start.
    #[must_use]
    pub fn pretrain_recipe(&self, network: NetworkChoice) -> Option<Recipe> {
        self.pretrain.recipe(&self.common(network))
    }

    fn common(&self, network: NetworkChoice) -> Recipe {
        self.train.recipe(network.head(), network != NetworkChoice::Dccn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_design_is_sound_and_the_papers_have_its_sizes() {
        for (name, _) in BUILT_IN {
            assert_eq!(Design::built_in(name).expect(name).name, name);
        }
        let sizes = |name: &str, ratio: f64| -> Vec<usize> {
            let cells = Design::built_in(name).expect("design").cells();
            cells
                .iter()
                .filter(|c| (c.pruning_ratio - ratio).abs() < 1e-9)
                .map(|c| c.n_train)
                .collect()
        };
        for table in 4..=7u8 {
            for ratio in [0.0, 0.5, 0.9] {
                let mut want: Vec<usize> = super::super::paper_table(table)
                    .iter()
                    .filter(|row| (row.pruning_ratio - ratio).abs() < 1e-9)
                    .map(|row| row.n_train)
                    .collect();
                want.sort_unstable();
                let got = sizes(&format!("paper-table{table}"), ratio);
                assert_eq!(got.len(), want.len(), "table {table} at {ratio}");
                // The paper rounds now up, now down.
                assert!(
                    got.iter().zip(&want).all(|(a, b)| a.abs_diff(*b) <= 1),
                    "{got:?} {want:?}"
                );
            }
        }
    }

    #[test]
    fn ids_are_stable_unique_and_change_with_the_recipe() {
        let design = Design::built_in("smoke").expect("design");
        let ids: Vec<String> = design.cells().into_iter().map(|c| c.id).collect();
        assert_eq!(ids, design.cells().into_iter().map(|c| c.id).collect::<Vec<_>>());
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
        let mut other = design.clone();
        other.train.epochs += 1;
        assert!(other.cells().iter().all(|c| !ids.contains(&c.id)));
        assert_eq!(Design::parse(&design.to_toml().expect("text")).expect("again"), design);
    }

    #[test]
    fn designs_that_make_no_sense_are_refused_in_words() {
        let smoke = include_str!("designs/smoke.toml");
        for (from, to, word) in [
            ("ratios = [0.0, 0.5, 0.9]", "ratios = [1.5]", "between 0 and 1"),
            ("patches = [600, 2400]", "", "one of the two"),
            ("patches = [600, 2400]", "patches = [3]", "10 patches"),
            ("seeds = [1, 2]", "seeds = []", "empty"),
            ("epochs = 4", "epoch = 4", "understood"),
            ("[pretrain]", "[pretrain]\nspread = 99", "64 pixels"),
            ("phantom = true", "phantom = true\ndccn_stride = 0", "dccn_stride"),
        ] {
            let said = Design::parse(&smoke.replace(from, to)).expect_err(to).to_string();
            assert!(said.contains(word), "{said}");
        }
        assert!(
            Design::built_in("no-such").expect_err("unknown").to_string().contains("paper-table4")
        );
    }
}
