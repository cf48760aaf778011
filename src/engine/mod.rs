//! Segmentation: probabilities of every pixel. [`Segmenter`] is what callers use: a
//! model on a device, opened and verified once, used for every image and block.
//!
//! The exactness ladder, each rung a test:
//!
//! 0. dense = patch-wise, bit for bit: the same additions in the same order (`dense`, `batch`
//!    against `patchwise`);
//! 1. GPU = CPU, bit for bit, on small-integer networks, where no order of additions can matter
//!    (`gpu::tests` without a GPU, `tests/it/gpu_engine.rs` on one);
//! 2. GPU ≈ CPU ≈ PyTorch on real weights, within a stated tolerance on logits
//!    (`tests/it/gpu_engine.rs`, `winograd`, `tests/it/reference.rs`).
//!
//! The image is mirrored by 27 pixels. The DCNN's inner convolutions have no padding, so it has an
//! exact dense form. The DCCN pads inside its patch and has none: it runs patch by patch, 32 at a
//! time, on every pixel or on a grid (`stride`).

mod assemble;
mod batch;
mod block;
mod buffer;
mod convolution;
mod cpu;
mod dense;
mod device;
pub mod gpu;
mod input_gradient;
mod kernel;
mod packed;
mod patchwise;
mod segmenter;
mod weight_gradient;
mod winograd;

pub use assemble::map_layout;
pub use batch::{BatchEngine, PATCH_BATCH};
pub use block::{Block, blocks};
pub use buffer::AlignedBuffer;
pub use convolution::Convolution;
pub use cpu::CpuEngine;
pub use dense::DenseEngine;
pub use device::{Device, DeviceChoice, DeviceKind};
pub use kernel::{Activation, ConvForward, OutputRun, SLACK, weighted_sums};
pub use packed::{PackedFilters, Parallelism};
pub use patchwise::{patch_at, patch_logits};
pub use segmenter::{Segmentation, Segmenter};
pub use winograd::{ALIGN_PX, WinogradEngine};

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::model::{Architecture, Model};
use crate::raster::{ProbabilityMaps, RgbImage};
use assemble::grid_lines;

/// How to segment.
#[derive(Debug, Clone, Copy)]
pub struct SegmentOptions {
    /// Pixels between evaluated pixels (DCCN only; the DCNN answers every pixel at once). 1 is
    /// exact.
    pub stride: usize,
    /// Side of the blocks that are worked on at a time, pixels; none lets the engine choose. It
    /// bounds memory and changes no result.
    pub block_px: Option<usize>,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { stride: 1, block_px: None }
    }
}

/// Receives a finished block and its probabilities, plane after plane, each row by row.
pub type ShowBlock = dyn Fn(Block, &[f32]) + Sync;

/// Progress and cancellation of long work.
#[derive(Default)]
pub struct Control<'a> {
    /// Set to stop; finished parts are kept by whoever holds them.
    pub cancel: Option<&'a AtomicBool>,
    /// Called with (done, total) after each part, from any thread.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// Called with each finished block and its probabilities, plane after plane, each row by row
    /// (dense networks only).
    pub block: Option<&'a ShowBlock>,
}

impl Control<'_> {
    /// Whether the work was asked to stop.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if so.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
            return Err(Error::Cancelled { after: String::new() });
        }
        Ok(())
    }

    fn report(&self, done: u64, total: u64) {
        if let Some(progress) = self.progress {
            progress(done, total);
        }
    }

    fn show(&self, block: Block, probabilities: &[f32]) {
        if let Some(show) = self.block {
            show(block, probabilities);
        }
    }
}

impl SegmentOptions {
    /// Rows and columns of an image at whose crossings `model` itself computes an output: all of
    /// them, or the DCCN's grid. What lies between is interpolated.
    #[must_use]
    pub fn computed_lines(&self, model: &Model, width: usize, height: usize) -> [Vec<usize>; 2] {
        let stride = match model.card().architecture {
            Architecture::Dcnn { .. } => 1,
            Architecture::Dccn { .. } => self.stride,
        };
        [height, width].map(|side| grid_lines(side, stride))
    }

    /// Refuses what no engine can do.
    fn check(&self, image: &RgbImage) -> Result<()> {
        if image.data().is_empty() {
            return Err(Error::mismatch("The image has no pixels"));
        }
        if self.block_px == Some(0) || self.stride == 0 {
            return Err(Error::invalid("Block size and stride must be at least 1 pixel"));
        }
        Ok(())
    }
}

/// Segments one image on the CPU. For several images build a [`Segmenter`] once instead.
///
/// # Errors
/// [`Error::Cancelled`] when asked to stop.
pub fn segment(
    model: &Model,
    image: &RgbImage,
    options: SegmentOptions,
    control: &Control<'_>,
) -> Result<ProbabilityMaps> {
    CpuEngine::new(model)?.segment(image, options, control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{dccn, dcnn};
    use crate::raster::Plane;

    /// A picture in which every pixel differs from its neighbours.
    pub(super) fn picture(width: usize, height: usize) -> RgbImage {
        let pixel = |i: usize| [0, 1, 2].map(|c| ((i * 7919 + c * 104_729) % 251) as u8);
        Plane::from_vec(width, height, (0..width * height).map(pixel).collect()).expect("plane")
    }

    fn probabilities(model: &Model, image: &RgbImage, stride: usize, block_px: usize) -> Vec<u32> {
        let options = SegmentOptions { stride, block_px: Some(block_px) };
        let map = segment(model, image, options, &Control::default()).expect("probabilities");
        map.nucleus().data().iter().map(|p| p.to_bits()).collect()
    }

    #[test]
    fn block_size_changes_no_bit_and_leaves_no_seam() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
        let image = picture(70, 45);
        let whole = probabilities(&model, &image, 1, 1000);
        for block in [1, 13, 32, 64] {
            assert_eq!(probabilities(&model, &image, 1, block), whole, "blocks of {block}");
        }
    }

    #[test]
    fn the_dccn_on_a_grid_equals_itself_on_every_pixel_at_the_grid_points() {
        let model = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 2).expect("model");
        let image = picture(9, 7);
        let every = probabilities(&model, &image, 1, 128);
        let grid = probabilities(&model, &image, 4, 128);
        for (row, column) in [(2, 2), (2, 6), (6, 2), (6, 6), (2, 8), (6, 8)] {
            assert_eq!(grid[row * 9 + column], every[row * 9 + column], "({row}, {column})");
        }
    }

    #[test]
    fn a_single_pixel_and_a_single_row_are_images_too() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
        for (w, h) in [(1, 1), (40, 1), (1, 40)] {
            assert_eq!(probabilities(&model, &picture(w, h), 1, 16).len(), w * h);
        }
    }

    #[test]
    fn work_stops_when_asked() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
        let stop = AtomicBool::new(true);
        let control = Control { cancel: Some(&stop), ..Control::default() };
        let result = segment(&model, &picture(9, 9), SegmentOptions::default(), &control);
        assert!(matches!(result, Err(Error::Cancelled { .. })));
    }
}
