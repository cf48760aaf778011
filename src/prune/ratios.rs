//! How much of each layer is pruned.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::{Error, Result, listed};
use crate::model::{Graph, Node, Op};

/// Names of the classes of layers in [`LayerRatios`].
const CONVOLUTIONS: &str = "conv";
const HIDDEN: &str = "hidden";
/// Most layers that a message names.
const MAX_NAMES: usize = 8;

/// Which layers a plan may narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Convolutions: the paper's rule.
    #[default]
    Convolutions,
    /// Convolutions and hidden layers.
    All,
}

/// Fraction of filters or units to remove, 0 to 1, by layer (`conv1`, `fc1`) or class of layers
/// (`conv`, `hidden`). A layer's own ratio comes before that of its class; layers without a ratio
/// stay as they are.
///
/// ```
/// use prunella::prune::LayerRatios;
///
/// let ratios: LayerRatios = "conv=0.5,hidden=0.9,conv1=0".parse().expect("three ratios");
/// assert!("conv=1.5".parse::<LayerRatios>().is_err());
/// # drop(ratios);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LayerRatios(BTreeMap<String, f64>);

impl LayerRatios {
    /// One ratio for all layers of a scope.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a ratio outside 0 to 1.
    pub fn uniform(ratio: f64, scope: Scope) -> Result<Self> {
        check(ratio)?;
        let mut ratios = BTreeMap::from([(CONVOLUTIONS.to_owned(), ratio)]);
        if scope == Scope::All {
            ratios.insert(HIDDEN.to_owned(), ratio);
        }
        Ok(Self(ratios))
    }

    /// The ratio of all layers, where they are pruned alike: all convolutions, and perhaps the
    /// hidden layers.
    pub(super) fn common(&self) -> Option<f64> {
        let ratio = *self.0.get(CONVOLUTIONS)?;
        let alike = |(name, other): (&String, &f64)| {
            [CONVOLUTIONS, HIDDEN].contains(&name.as_str()) && other.total_cmp(&ratio).is_eq()
        };
        self.0.iter().all(alike).then_some(ratio)
    }

    /// The ratio of a layer; none where it stays as it is.
    pub(super) fn of(&self, node: &Node) -> Option<f64> {
        let class = match node.op {
            Op::Conv { .. } => CONVOLUTIONS,
            Op::Linear { .. } => HIDDEN,
            _ => return None,
        };
        self.0.get(&node.name).or_else(|| self.0.get(class)).copied()
    }

    /// By name, as in the history of a card.
    pub(super) fn by_name(&self) -> &BTreeMap<String, f64> {
        &self.0
    }

    /// Refuses names of layers that a network does not have.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the layer, and those that there are.
    pub(super) fn check_names(&self, graph: &Graph) -> Result<()> {
        let mut known = vec![CONVOLUTIONS, HIDDEN];
        for node in graph.nodes.iter().filter(|node| graph.is_prunable(node)) {
            known.push(&node.name);
        }
        for name in self.0.keys() {
            if !known.contains(&name.as_str()) {
                return Err(Error::mismatch(format!(
                    "This model has no layer '{name}' to prune; it has {}",
                    listed(&known, MAX_NAMES)
                )));
            }
        }
        Ok(())
    }
}

fn check(ratio: f64) -> Result<()> {
    if (0.0..=1.0).contains(&ratio) {
        return Ok(());
    }
    Err(Error::invalid(format!("The pruning ratio is {ratio}; it must be between 0 and 1")))
}

impl FromStr for LayerRatios {
    type Err = Error;

    /// Reads `conv=0.5,hidden=0.9`.
    fn from_str(text: &str) -> Result<Self> {
        let mut ratios = BTreeMap::new();
        for part in text.split(',') {
            let pair = part.split_once('=');
            let pair =
                pair.and_then(|(name, ratio)| Some((name.trim(), ratio.trim().parse().ok()?)));
            let Some((name, ratio)) = pair else {
                return Err(Error::invalid(format!(
                    "'{part}' is not a layer and its ratio, such as conv=0.5"
                )));
            };
            check(ratio)?;
            if ratios.insert(name.to_owned(), ratio).is_some() {
                return Err(Error::invalid(format!("'{name}' has two ratios")));
            }
        }
        Ok(Self(ratios))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, dcnn};

    fn ratios(text: &str) -> LayerRatios {
        text.parse().expect(text)
    }

    #[test]
    fn a_layers_own_ratio_comes_before_that_of_its_class() {
        let graph = Graph::new(&dcnn([4, 4, 4], 8, 2));
        let ratios = ratios("conv=0.5, conv1 = 0");
        let mut found = BTreeMap::new();
        for node in graph.nodes.iter().filter(|node| graph.is_prunable(node)) {
            found.insert(node.name.as_str(), ratios.of(node));
        }
        let expected =
            [("conv1", Some(0.0)), ("conv2", Some(0.5)), ("conv3", Some(0.5)), ("fc1", None)];
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn only_layers_pruned_alike_have_a_common_ratio() {
        assert_eq!(ratios("conv=0.5").common(), Some(0.5));
        assert_eq!(ratios("conv=0.5,hidden=0.5").common(), Some(0.5));
        for text in ["hidden=0.5", "conv=0.5,hidden=0.9", "conv=0.5,conv1=0.5"] {
            assert_eq!(ratios(text).common(), None, "{text}");
        }
        for scope in [Scope::Convolutions, Scope::All] {
            assert_eq!(LayerRatios::uniform(0.3, scope).expect("ratio").common(), Some(0.3));
        }
    }

    #[test]
    fn bad_ratios_are_refused_by_name() {
        for text in ["", "conv", "conv=x", "conv=1.1", "conv=-0.1", "conv=NaN", "conv=0,conv=1"] {
            assert!(text.parse::<LayerRatios>().is_err(), "{text}");
        }
        let graph = Graph::new(&Architecture::paper_dcnn());
        let error = ratios("conv4=0.5").check_names(&graph).expect_err("no such layer");
        assert!(error.to_string().contains("'conv4'"), "{error}");
        assert!(ratios("fc2=0.5").check_names(&graph).is_err(), "the outputs are never pruned");
        assert!(ratios("conv=0.1,fc1=0.5").check_names(&graph).is_ok());
    }
}
