//! The paper's two families of networks as plain data: which layers, how wide. Widths are free; the
//! rest is fixed.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Side of the square RGB patch that every network reads, in pixels. It classifies the centre
/// pixel.
pub const PATCH_PX: usize = 55;
/// Row and column of the classified pixel inside the patch.
pub const CENTRE_PX: usize = PATCH_PX / 2;

/// Widest layer accepted from a file.
const MAX_WIDTH: usize = 4096;
/// Most layers in a dense block, and most dense blocks, accepted from a file.
const MAX_LAYERS: usize = 64;

/// A network's shape: everything but its weights.
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
        classes: usize,
    },
    /// DenseNet-121 without its fourth block (paper Table 2, right).
    Dccn {
        /// Filters of the 7×7 convolution.
        stem: usize,
        blocks: Vec<DenseBlock>,
        classes: usize,
    },
}

/// A dense block and the transition behind it.
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
    let block = |(layers, transition)| DenseBlock {
        layers: vec![[bottleneck, growth]; layers],
        transition,
    };
    Architecture::Dccn {
        stem,
        blocks: [6, 12, 24].into_iter().zip(transitions).map(block).collect(),
        classes,
    }
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

    /// `dcnn` or `dccn`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::Dcnn { .. } => "dcnn",
            Self::Dccn { .. } => "dccn",
        }
    }

    /// Outputs of the last layer.
    #[must_use]
    pub fn classes(&self) -> usize {
        match self {
            Self::Dcnn { classes, .. } | Self::Dccn { classes, .. } => *classes,
        }
    }

    /// Filters of every convolution and units of every hidden layer, in graph order: what pruning
    /// may change.
    #[must_use]
    pub fn layer_widths(&self) -> Vec<usize> {
        match self {
            Self::Dcnn { filters, hidden, .. } => {
                filters.iter().copied().chain([*hidden]).collect()
            }
            Self::Dccn { stem, blocks, .. } => std::iter::once(*stem)
                .chain(
                    blocks
                        .iter()
                        .flat_map(|b| b.layers.iter().flatten().copied().chain([b.transition])),
                )
                .collect(),
        }
    }

    /// The same network with other widths, in the order of [`Self::layer_widths`].
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the count of widths is another.
    pub fn with_layer_widths(&self, widths: &[usize]) -> Result<Self> {
        if widths.len() != self.layer_widths().len() {
            return Err(Error::mismatch(format!(
                "{} widths given for {}",
                widths.len(),
                self.layer_widths().len()
            )));
        }
        let mut next = widths.iter().copied();
        let mut take = |old: &mut usize| *old = next.next().unwrap_or(*old);
        let mut out = self.clone();
        match &mut out {
            Self::Dcnn { filters, hidden, .. } => filters.iter_mut().chain([hidden]).for_each(take),
            Self::Dccn { stem, blocks, .. } => {
                take(stem);
                for block in blocks {
                    block.layers.iter_mut().flatten().for_each(&mut take);
                    take(&mut block.transition);
                }
            }
        }
        Ok(out)
    }

    /// Refuses shapes that no honest file has, before anything is allocated for them.
    ///
    /// # Errors
    /// [`Error::Limit`] saying which number is out of range.
    pub fn validate(&self) -> Result<()> {
        let width = |what: &str, n: usize, most: usize| {
            if (1..=most).contains(&n) {
                return Ok(());
            }
            Err(Error::limit(format!("The network's {what} is {n}; 1 to {most} is allowed")))
        };
        for n in self.layer_widths() {
            width("number of filters or units in a layer", n, MAX_WIDTH)?;
        }
        match self {
            Self::Dcnn { classes, .. } => width("class count", *classes, 16),
            Self::Dccn { blocks, classes, .. } => {
                // The input halves before each block and after: three blocks bring 55 pixels to 1.
                width("number of dense blocks", blocks.len(), 3)?;
                for block in blocks {
                    width("number of layers in a dense block", block.layers.len(), MAX_LAYERS)?;
                }
                width("class count", *classes, 16)
            }
        }
    }
}
