//! From the probabilities of a block's window to its nuclei. Nothing else decides them, so a block
//! that is done again from kept probabilities has the nuclei of the first time.

use serde::{Deserialize, Serialize};

use super::nucleus::SlideNucleus;
use crate::engine::Block;
use crate::error::Result;
use crate::instances::{label_bytes, measure_nuclei};
use crate::model::InstanceParameters;
use crate::raster::{ProbabilityBytes, RgbImage};

/// A block, its window and how nuclei are found in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlockNuclei {
    /// Owns the nuclei whose centroid lies in it; in the model's pixels.
    pub block: Block,
    /// Where nuclei are looked for; in the model's pixels.
    pub window: Block,
    /// Pixels of the finest level that one of the model's spans.
    pub scale: f64,
    /// Size of the model's pixels, µm, if it is known.
    pub model_mpp_um: Option<f64>,
    /// Threshold, smoothing, splitting and least area of nuclei.
    pub parameters: InstanceParameters,
}

impl BlockNuclei {
    /// The nuclei whose centroid lies in the block, placed in the slide, from the probabilities of
    /// the window in 8 bits and its pixels.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::error::Error::Mismatch) when the two are not of one size.
    pub fn find(&self, map: &ProbabilityBytes, image: &RgbImage) -> Result<Vec<SlideNucleus>> {
        let (labels, smooth) = label_bytes(map, &self.parameters)?;
        let Block { row, column, .. } = self.window;
        let mut own = Vec::new();
        let Self { parameters, model_mpp_um, .. } = self;
        let all = measure_nuclei(image, &labels, &smooth, map.types(), parameters, *model_mpp_um)?;
        for nucleus in all {
            let x = nucleus.centroid.0 + column as f64;
            let y = nucleus.centroid.1 + row as f64;
            // Neighbouring blocks find the nuclei of the margin too; the centroid decides which
            // block reports one, so none is reported twice.
            if self.block.holds(x, y) {
                own.push(SlideNucleus::new(&nucleus, column, row, self.scale));
            }
        }
        Ok(own)
    }
}
