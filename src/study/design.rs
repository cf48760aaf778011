//! What a study varies, as a small TOML file, and the cells that follow from it.

use serde::{Deserialize, Serialize};

use super::data::DataOptions;
use super::training::{PretrainOptions, TrainOptions};
use crate::error::{Error, Result};
use crate::model::{Architecture, Family, Head, dcnn, sha256_hex};
use crate::prune::Criterion;
use crate::train::Recipe;

/// A design that comes with the program.
#[derive(Debug, Clone, Copy)]
pub(super) struct BuiltInDesign {
    pub name: &'static str,
    /// TOML.
    pub text: &'static str,
}

/// All designs that come with the program.
pub(super) const BUILT_IN: [BuiltInDesign; 7] = [
    BuiltInDesign { name: "smoke", text: include_str!("designs/smoke.toml") },
    BuiltInDesign { name: "paper-table4", text: include_str!("designs/paper-table4.toml") },
    BuiltInDesign { name: "paper-table5", text: include_str!("designs/paper-table5.toml") },
    BuiltInDesign { name: "paper-table6", text: include_str!("designs/paper-table6.toml") },
    BuiltInDesign { name: "paper-table7", text: include_str!("designs/paper-table7.toml") },
    BuiltInDesign { name: "paper-seeds", text: include_str!("designs/paper-seeds.toml") },
    BuiltInDesign { name: "paper-cost", text: include_str!("designs/paper-cost.toml") },
];
/// Largest stride of the grid on which the DCCN is scored, pixels.
const MAX_STRIDE: usize = 64;
/// Most cells of one design.
const MAX_CELLS: usize = 100_000;
/// Largest sample size relative to the network's parameters.
const MAX_R: f64 = 100.0;

/// How the number of patches depends on the pruning ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PatchScale {
    /// The same at every ratio (the paper's Tables 6 and 7).
    #[default]
    Fixed,
    /// `N · (1 − δ)` (Tables 4 and 5).
    Scaled,
}

/// Networks that a design can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetworkChoice {
    /// The paper's DCNN.
    Dcnn,
    /// The paper's DCCN.
    Dccn,
    /// A DCNN with a quarter of the paper's multiply-adds, for trials.
    Small,
}

impl NetworkChoice {
    /// The name in designs, ids and tables.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dcnn => "dcnn",
            Self::Dccn => "dccn",
            Self::Small => "small",
        }
    }

    #[must_use]
    pub(crate) fn family(self) -> Family {
        match self {
            Self::Dcnn | Self::Small => Family::Dcnn,
            Self::Dccn => Family::Dccn,
        }
    }

    /// The paper's network of which this is a copy; none for networks that are not in the paper.
    #[must_use]
    pub(crate) fn paper_family(self) -> Option<Family> {
        (self != Self::Small).then_some(self.family())
    }

    /// The unpruned network.
    #[must_use]
    pub(crate) fn architecture(self) -> Architecture {
        match self {
            Self::Dcnn => Architecture::paper_dcnn(),
            Self::Dccn => Architecture::paper_dccn(),
            Self::Small => dcnn([12, 24, 32], 128, 2),
        }
    }

    /// Patches at r = 1: the paper's numbers of parameters (the DCNN's with a single output).
    fn patches_at_r_1(self) -> f64 {
        match self {
            Self::Dcnn => 915_934.0,
            Self::Dccn => 4_794_754.0,
            Self::Small => 10_000.0,
        }
    }

    /// The paper's head of each family.
    fn head(self) -> Head {
        match self.family() {
            Family::Dcnn => Head::Softmax,
            Family::Dccn => Head::Sigmoid,
        }
    }
}

/// A study: the cells are all combinations of networks, ratios, sample sizes and seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Design {
    pub name: String,
    pub networks: Vec<NetworkChoice>,
    /// Pruning ratios, each in [0, 1).
    pub ratios: Vec<f64>,
    #[serde(default)]
    pub scale: PatchScale,
    /// Which filters are removed; one that needs no data.
    #[serde(default, skip_serializing_if = "is_default")]
    pub criterion: Criterion,
    /// Sample sizes relative to the network's parameters; either these or `patches`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub r: Vec<f64>,
    /// Sample sizes in patches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<usize>,
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Measures file size and time only; nothing is trained.
    #[serde(default)]
    pub cost: bool,
    #[serde(default)]
    pub pretrain: PretrainOptions,
    #[serde(default)]
    pub train: TrainOptions,
    #[serde(default)]
    pub data: DataOptions,
}

/// Whether filters are ranked as in the paper.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default(criterion: &Criterion) -> bool {
    *criterion == Criterion::default()
}

fn one_seed() -> Vec<u64> {
    vec![1]
}

/// One network, ratio, sample size and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// The same in every run and on every machine; contains a hash of everything in the design that
    /// decides the result.
    pub id: String,
    pub network: NetworkChoice,
    pub pruning_ratio: f64,
    /// Relative sample size before scaling, where the design gives it.
    pub r: Option<f64>,
    /// Patches, of which 70 % train and 30 % validate.
    pub n_train: usize,
    pub seed: u64,
}

impl Design {
    /// A design from its TOML text.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the line, or [`Error::Mismatch`] naming the number.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let design: Self = toml::from_str(text)
            .map_err(|e| Error::malformed("The design cannot be understood").caused_by(e))?;
        design.validate()?;
        Ok(design)
    }

    /// A design that comes with the program.
    ///
    /// # Errors
    /// [`Error::Mismatch`] listing the known names.
    pub(crate) fn built_in(name: &str) -> Result<Self> {
        for design in BUILT_IN {
            if design.name == name {
                return Self::parse(design.text);
            }
        }
        let known = BUILT_IN.map(|design| design.name).join(", ");
        Err(Error::invalid(format!("'{name}' is neither a file nor a built-in design ({known})")))
    }

    /// The design as TOML.
    ///
    /// # Errors
    /// [`Error::Malformed`] when a value has no TOML form, which does not happen in practice.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| Error::malformed("The design cannot be written").caused_by(e))
    }

    fn validate(&self) -> Result<()> {
        if self.networks.is_empty() || self.ratios.is_empty() || self.seeds.is_empty() {
            return Err(refused("networks, ratios and seeds may not be empty"));
        }
        if !self.ratios.iter().all(|r| (0.0..1.0).contains(r)) {
            return Err(refused("ratios must lie between 0 and 1"));
        }
        if self.criterion.needs_data() {
            return Err(refused(&format!(
                "criterion '{}' needs data; use 'prunella prune' for it",
                self.criterion.name()
            )));
        }
        if !(1..=MAX_STRIDE).contains(&self.data.dccn_stride) {
            return Err(refused(&format!("'dccn_stride' must lie between 1 and {MAX_STRIDE}")));
        }
        if self.cost {
            return Ok(());
        }
        if self.r.is_empty() == self.patches.is_empty() {
            return Err(refused(
                "sample sizes must be given as 'r' or as 'patches', one of the two",
            ));
        }
        if !self.r.iter().all(|r| (0.0..=MAX_R).contains(r)) {
            return Err(refused(&format!("'r' must lie between 0 and {MAX_R}")));
        }
        let cells = self.networks.len() * self.ratios.len() * self.sizes().len() * self.seeds.len();
        if cells > MAX_CELLS {
            return Err(Error::limit(format!(
                "The design has {cells} cells; {MAX_CELLS} are the limit"
            )));
        }
        for &network in &self.networks {
            if let Some(recipe) = self.pretrain_recipe(network) {
                recipe.validate()?;
            }
        }
        for cell in self.cells() {
            self.recipe(&cell).validate()?;
        }
        Ok(())
    }

    /// Sample sizes as the design gives them.
    fn sizes(&self) -> Vec<SampleSize> {
        let mut sizes = Vec::new();
        for &r in &self.r {
            sizes.push(SampleSize::Relative(r));
        }
        for &patches in &self.patches {
            sizes.push(SampleSize::Patches(patches));
        }
        sizes
    }

    /// Every cell, small samples first, so that first results come early.
    #[must_use]
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &network in &self.networks {
            for size in self.sizes() {
                for &pruning_ratio in &self.ratios {
                    for &seed in &self.seeds {
                        let n_train = self.n_train(network, size, pruning_ratio);
                        let r = match size {
                            SampleSize::Relative(r) => Some(r),
                            SampleSize::Patches(_) => None,
                        };
                        let id = String::new();
                        let mut cell = Cell { id, network, pruning_ratio, r, n_train, seed };
                        cell.id = self.cell_id(&cell);
                        cells.push(cell);
                    }
                }
            }
        }
        // Stable: cells of the same size stay in the order of networks, ratios and seeds.
        cells.sort_by_key(|c| c.n_train);
        cells
    }

    /// Patches of a cell, rounded to the nearest.
    fn n_train(&self, network: NetworkChoice, size: SampleSize, pruning_ratio: f64) -> usize {
        let unpruned = match size {
            SampleSize::Relative(r) => network.patches_at_r_1() * r,
            SampleSize::Patches(patches) => patches as f64,
        };
        let share = match self.scale {
            PatchScale::Fixed => 1.0,
            PatchScale::Scaled => 1.0 - pruning_ratio,
        };
        (unpruned * share).round() as usize
    }

    /// `NETWORK-dPERCENT-nPATCHES-sSEED-HASH`. The hash is of the cell with an empty id and of the
    /// options of pre-training, training and data, as JSON with sorted keys.
    fn cell_id(&self, cell: &Cell) -> String {
        let mut hashed =
            serde_json::json!([cell, self.pretrain, self.train, self.data]).to_string();
        if cell.network == NetworkChoice::Dccn {
            // Distinguishes these cells from those of an earlier version, which also scored
            // interpolated pixels.
            hashed.push_str("scored on its grid alone");
        }
        if !is_default(&self.criterion) {
            hashed.push_str(self.criterion.name());
        }
        let percent = (cell.pruning_ratio * 100.0).round();
        format!(
            "{}-d{percent:02}-n{}-s{}-{}",
            cell.network.name(),
            cell.n_train,
            cell.seed,
            short_hash(&hashed)
        )
    }

    /// Names the pre-training of a network; contains a hash like a cell's id.
    #[must_use]
    pub(crate) fn pretrain_id(&self, network: NetworkChoice) -> String {
        let hashed = serde_json::json!([network, self.pretrain, self.train, self.data]).to_string();
        format!("{}-pretrained-{}", network.name(), short_hash(&hashed))
    }

    /// How a cell is trained.
    #[must_use]
    pub(crate) fn recipe(&self, cell: &Cell) -> Recipe {
        Recipe { patches: cell.n_train, seed: cell.seed, ..self.cell_recipe(cell.network) }
    }

    /// How a network is trained before it is pruned; none where random weights are the start.
    #[must_use]
    pub(crate) fn pretrain_recipe(&self, network: NetworkChoice) -> Option<Recipe> {
        self.pretrain.recipe(&self.cell_recipe(network))
    }

    /// Whether any network is trained before it is pruned.
    #[must_use]
    pub(crate) fn pretrains(&self) -> bool {
        self.networks.iter().any(|&network| self.pretrain_recipe(network).is_some())
    }

    /// The recipe of a network's cells without their patches and seed.
    fn cell_recipe(&self, network: NetworkChoice) -> Recipe {
        self.train.recipe(network.head(), network.family())
    }
}

/// A sample size as a design gives it, before [`PatchScale`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum SampleSize {
    /// r: patches per parameter of the network.
    Relative(f64),
    Patches(usize),
}

fn refused(what: &str) -> Error {
    Error::invalid(format!("The design's {what}"))
}

/// First 8 hexadecimal digits of the SHA-256.
fn short_hash(text: &str) -> String {
    sha256_hex(text.as_bytes()).chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::super::paper::paper_table;
    use super::*;

    #[test]
    fn every_built_in_design_is_sound_and_the_papers_have_its_sizes() {
        for BuiltInDesign { name, .. } in BUILT_IN {
            assert_eq!(Design::built_in(name).expect(name).name, name);
        }
        let tables = [
            ("paper-table4", Family::Dcnn, PatchScale::Scaled),
            ("paper-table5", Family::Dccn, PatchScale::Scaled),
            ("paper-table6", Family::Dcnn, PatchScale::Fixed),
            ("paper-table7", Family::Dccn, PatchScale::Fixed),
        ];
        for (name, family, scale) in tables {
            let cells = Design::built_in(name).expect("design").cells();
            let table = paper_table(family, scale);
            for ratio in [0.0, 0.5, 0.9] {
                let at_ratio = |value: f64| (value - ratio).abs() < 1e-9;
                let ours = cells.iter().filter(|cell| at_ratio(cell.pruning_ratio));
                let ours: Vec<usize> = ours.map(|cell| cell.n_train).collect();
                let papers = table.iter().filter(|row| at_ratio(row.pruning_ratio));
                let mut papers: Vec<usize> = papers.map(|row| row.n_train).collect();
                papers.sort_unstable();
                assert_eq!(ours.len(), papers.len(), "{name} at {ratio}");
                // The paper rounds some sizes up and others down.
                let equal = ours.iter().zip(&papers).all(|(a, b)| a.abs_diff(*b) <= 1);
                assert!(equal, "{name} at {ratio}: {ours:?} {papers:?}");
            }
        }
    }

    #[test]
    fn ids_are_those_of_earlier_versions() {
        let id = |name: &str| Design::built_in(name).expect("design").cells()[0].id.clone();
        assert_eq!(id("smoke"), "small-d00-n600-s1-39b50841");
        assert_eq!(id("paper-table7"), "dccn-d00-n4795-s1-34be0623");
        let pretrain_id =
            |name: &str, network| Design::built_in(name).expect("design").pretrain_id(network);
        let small = pretrain_id("smoke", NetworkChoice::Small);
        assert_eq!(small, "small-pretrained-6fd8e2f5");
        let dccn = pretrain_id("paper-table7", NetworkChoice::Dccn);
        assert_eq!(dccn, "dccn-pretrained-bf2c2330");
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
        let text = format!("criterion = \"l2\"\n{}", include_str!("designs/smoke.toml"));
        let other = Design::parse(&text).expect("design");
        assert_eq!(other.criterion, Criterion::L2);
        assert!(other.cells().iter().all(|c| !ids.contains(&c.id)));
        assert_eq!(Design::parse(&other.to_toml().expect("text")).expect("again"), other);
        assert!(Design::parse(&text.replace("\"l2\"", "\"taylor\"")).is_err(), "needs data");
        assert_eq!(Design::parse(&design.to_toml().expect("text")).expect("again"), design);
    }

    #[test]
    fn old_and_new_keys_give_the_same_ids() {
        let smoke = include_str!("designs/smoke.toml");
        let with = |pretrain: &str, train: &str| {
            let text = smoke
                .replace("[pretrain]", &format!("[pretrain]\n{pretrain}"))
                .replace("[train]", &format!("[train]\n{train}"));
            Design::parse(&text).expect("design")
        };
        let old = with("spread = 16", "spread = 8\nawake = true");
        let new = with("square = 16", "square = 8\nrevive = true");
        assert_eq!(old, new);
        assert!(new.train.revive && new.train.square_px == 8);
        assert!(
            new.to_toml().expect("text").contains("awake = true"),
            "as earlier versions read it"
        );
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
            let message = Design::parse(&smoke.replace(from, to)).expect_err(to).to_string();
            assert!(message.contains(word), "{message}");
        }
        let message = Design::built_in("no-such").expect_err("unknown").to_string();
        assert!(message.contains("paper-table4"), "{message}");
    }
}
