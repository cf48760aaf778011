//! The paper's two families of networks as plain data: which layers, how wide. Widths are free; the
//! order of the layers, kernel sizes and strides are fixed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Side of the square RGB patch that every network classifies, in pixels. The class is that of the
/// centre pixel.
pub const PATCH_PX: usize = 55;
/// Row and column of the classified pixel inside the patch.
pub const CENTRE_PX: usize = PATCH_PX / 2;

/// Widest layer accepted from a file.
const MAX_WIDTH: usize = 4096;
/// Most layers in a dense block accepted from a file.
const MAX_LAYERS: usize = 64;
/// Most dense blocks: the stem and its pooling take 55 pixels to 14, and three blocks with their
/// transitions take these to 7, 3 and 1.
const MAX_BLOCKS: usize = 3;
/// Most classes accepted from a file.
const MAX_CLASSES: usize = 16;

/// The two families of networks of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A chain of convolutions, poolings and fully connected layers.
    Dcnn,
    /// A densely connected network, after DenseNet-121.
    Dccn,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 2] = [Self::Dcnn, Self::Dccn];

    /// `dcnn` or `dccn`, as in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dcnn => "dcnn",
            Self::Dccn => "dccn",
        }
    }

    /// The paper's network of this family.
    #[must_use]
    pub fn paper(self) -> Architecture {
        match self {
            Self::Dcnn => Architecture::paper_dcnn(),
            Self::Dccn => Architecture::paper_dccn(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Family {
    type Err = Error;

    /// # Errors
    /// [`Error::Invalid`] for any other name.
    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|family| family.name() == text);
        known.ok_or_else(|| {
            Error::invalid(format!("'{text}' is no family of networks; use dcnn or dccn"))
        })
    }
}

/// A network without its weights: family and width of each layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Architecture {
    /// Three valid convolutions with pooling, then two fully connected layers (paper Table 2,
    /// left).
    Dcnn {
        /// Filters of the 4×4, 5×5 and 6×6 convolutions.
        filters: [usize; 3],
        /// Units of the first fully connected layer.
        hidden: usize,
        /// Outputs of the last layer.
        classes: usize,
    },
    /// DenseNet-121 without its fourth block (paper Table 2, right).
    Dccn {
        /// Filters of the 7×7 convolution.
        stem: usize,
        /// One to three dense blocks.
        blocks: Vec<DenseBlock>,
        /// Outputs of the last layer.
        classes: usize,
    },
}

/// A dense block and the transition after it. Each layer reads the outputs of all layers before it
/// in the block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseBlock {
    /// For each layer: filters of its 1×1 bottleneck and of its 3×3 growth convolution.
    pub layers: Vec<[usize; 2]>,
    /// Filters of the 1×1 convolution in the transition.
    pub transition: usize,
}

/// A DCNN; the paper's has `[25, 50, 80]` filters, 1024 hidden units and 2 classes.
#[must_use]
pub fn dcnn(filters: [usize; 3], hidden: usize, classes: usize) -> Architecture {
    Architecture::Dcnn { filters, hidden, classes }
}

/// A DCCN with blocks of 6, 12 and 24 layers; the paper's has stem 64, bottleneck 128, growth 32
/// and transitions `[128, 256, 512]`.
#[must_use]
pub fn dccn(
    stem: usize,
    bottleneck: usize,
    growth: usize,
    transitions: [usize; 3],
    classes: usize,
) -> Architecture {
    let mut blocks = Vec::new();
    for (layers, transition) in [6, 12, 24].into_iter().zip(transitions) {
        blocks.push(DenseBlock { layers: vec![[bottleneck, growth]; layers], transition });
    }
    Architecture::Dccn { stem, blocks, classes }
}

impl Architecture {
    /// The paper's DCNN, 916 959 parameters.
    #[must_use]
    pub fn paper_dcnn() -> Self {
        dcnn([25, 50, 80], 1024, 2)
    }

    /// The paper's DCCN, 4 794 754 parameters.
    #[must_use]
    pub fn paper_dccn() -> Self {
        dccn(64, 128, 32, [128, 256, 512], 2)
    }

    /// Which of the two families it belongs to.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Dcnn { .. } => Family::Dcnn,
            Self::Dccn { .. } => Family::Dccn,
        }
    }

    /// Outputs of the last layer.
    #[must_use]
    pub fn classes(&self) -> usize {
        match self {
            Self::Dcnn { classes, .. } | Self::Dccn { classes, .. } => *classes,
        }
    }

    /// The same network with another number of outputs.
    #[must_use]
    pub fn with_classes(mut self, count: usize) -> Self {
        let (Self::Dcnn { classes, .. } | Self::Dccn { classes, .. }) = &mut self;
        *classes = count;
        self
    }

    /// Filters of every convolution and units of every hidden layer, in graph order: the widths
    /// that pruning may change.
    #[must_use]
    pub fn layer_widths(&self) -> Vec<usize> {
        let mut copy = self.clone();
        copy.layer_widths_mut().into_iter().map(|width| *width).collect()
    }

    /// The same network with other widths, in the order of [`Self::layer_widths`].
    ///
    /// # Errors
    /// [`Error::Mismatch`] when `widths` holds another number of values.
    pub fn with_layer_widths(&self, widths: &[usize]) -> Result<Self> {
        let mut out = self.clone();
        let old_widths = out.layer_widths_mut();
        if widths.len() != old_widths.len() {
            return Err(Error::mismatch(format!(
                "{} widths given for {}",
                widths.len(),
                old_widths.len()
            )));
        }
        for (old, new) in old_widths.into_iter().zip(widths) {
            *old = *new;
        }
        Ok(out)
    }

    /// Every width that pruning may change, in graph order.
    fn layer_widths_mut(&mut self) -> Vec<&mut usize> {
        let mut widths = Vec::new();
        match self {
            Self::Dcnn { filters, hidden, .. } => {
                widths.extend(filters);
                widths.push(hidden);
            }
            Self::Dccn { stem, blocks, .. } => {
                widths.push(stem);
                for block in blocks {
                    widths.extend(block.layers.iter_mut().flatten());
                    widths.push(&mut block.transition);
                }
            }
        }
        widths
    }

    /// Refuses numbers far beyond any real network, before memory is allocated for them.
    ///
    /// # Errors
    /// [`Error::Limit`] saying which number is out of range.
    pub fn validate(&self) -> Result<()> {
        for width in self.layer_widths() {
            check_count("number of filters or units in a layer", width, MAX_WIDTH)?;
        }
        if let Self::Dccn { blocks, .. } = self {
            check_count("number of dense blocks", blocks.len(), MAX_BLOCKS)?;
            for block in blocks {
                check_count("number of layers in a dense block", block.layers.len(), MAX_LAYERS)?;
            }
        }
        check_count("class count", self.classes(), MAX_CLASSES)
    }
}

fn check_count(what: &str, count: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(Error::limit(format!("The network's {what} is {count}; 1 to {max} is allowed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_one_name_everywhere() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse::<Family>().expect("family"), family);
            assert_eq!(serde_json::json!(family), family.name());
            assert_eq!(family.paper().family(), family);
        }
        assert!("resnet".parse::<Family>().is_err());
    }

    #[test]
    fn widths_are_read_and_replaced_in_graph_order() {
        let network = dccn(4, 6, 3, [5, 7, 8], 2);
        let widths = network.layer_widths();
        assert_eq!((widths.len(), &widths[..4]), (1 + 2 * 42 + 3, &[4, 6, 3, 6][..]));
        let doubled: Vec<usize> = widths.iter().map(|w| 2 * w).collect();
        let expected = dccn(8, 12, 6, [10, 14, 16], 2);
        assert_eq!(network.with_layer_widths(&doubled).expect("network"), expected);
        assert!(network.with_layer_widths(&doubled[1..]).is_err());
    }
}
