//! A model prepared for the CPU: its weights are packed or transformed once and serve every image
//! and block after that.
//!
//! Two callers exist. [`CpuEngine::segment`] holds the whole image and shares its blocks among
//! threads. A worker of the page has no memory in common with the owner of the image: the owner
//! cuts out the pixels of a block ([`CpuEngine::cut`]) and the worker computes them
//! ([`CpuEngine::run`]). Both give the same bits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::assemble::{ClassHead, StrideGrid, write_block};
use super::dense::{PlaneSize, around, window_pixels};
use super::{
    ALIGN_PX, BatchEngine, Block, Control, PATCH_BATCH, SegmentOptions, WinogradEngine, blocks,
};
use crate::error::{Error, Result};
use crate::model::{Architecture, Model, PATCH_PX};
use crate::platform::{for_each_index, seconds, threads};
use crate::raster::{NucleusMaps, Plane, ProbabilityMaps, RgbImage};

/// Largest side of a block unless another is asked for, pixels. Larger ones compute less context.
const MAX_BLOCK_PX: usize = 256;
/// Each thread should get this many blocks, so that none waits long for another.
const BLOCKS_PER_THREAD: usize = 2;
/// Side of the page's blocks for a network that runs patch by patch, pixels.
const PATCHWISE_BLOCK_PX: usize = 16;
/// Side of the page's first blocks, pixels.
const FIRST_BLOCK_PX: usize = 64;
/// In an image of fewer pixels small first blocks would only cost time.
const SMALL_IMAGE_PIXELS: usize = 1 << 16;
/// Side of the block that is timed against a GPU, pixels.
const TIMED_BLOCK_PX: usize = 128;

/// A model with two classes, ready to segment on the CPU.
#[derive(Debug)]
pub struct CpuEngine {
    network: CpuNetwork,
    head: ClassHead,
}

#[derive(Debug)]
enum CpuNetwork {
    /// The DCNN: a whole block at once, by Winograd tiles.
    Tiles(WinogradEngine),
    /// The DCCN: [`PATCH_BATCH`] patches at a time.
    Patches(BatchEngine),
}

impl CpuEngine {
    /// Packs the weights of a model.
    ///
    /// # Errors
    /// None in practice.
    pub fn new(model: &Model) -> Result<Self> {
        let network = match model.card().architecture {
            Architecture::Dcnn { .. } => CpuNetwork::Tiles(WinogradEngine::new(model)?),
            Architecture::Dccn { .. } => CpuNetwork::Patches(BatchEngine::new(model)?),
        };
        Ok(Self { network, head: ClassHead::of(model) })
    }

    /// Probabilities of every pixel of an image of any size.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for an empty image or a block size of 0, [`Error::Cancelled`] when asked
    /// to stop.
    pub fn segment(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMaps> {
        options.check(image)?;
        match &self.network {
            CpuNetwork::Tiles(engine) => self.segment_tiles(engine, image, options, control),
            CpuNetwork::Patches(engine) => self.segment_patches(engine, image, options, control),
        }
    }

    fn segment_tiles(
        &self,
        engine: &WinogradEngine,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMaps> {
        let (width, height) = (image.width(), image.height());
        // Blocks begin at multiples of ALIGN_PX, so the Winograd tiles lie at the same pixels for
        // every block size.
        let side = match options.block_px {
            Some(side) => side.min(width.max(height)).next_multiple_of(ALIGN_PX),
            None => block_side(image, threads()),
        };
        let all = blocks(width, height, side);
        tracing::debug!(blocks = all.len(), width, height, "dense segmentation");
        let out = Mutex::new(NucleusMaps::filled(self.head.layout(), width, height, 0.0f32));
        let done = AtomicU64::new(0);
        for_each_index(all.len(), |i| {
            control.check()?;
            let block = all[i];
            let logits = engine.run(image, block);
            let mut map = out.lock().map_err(|_| worker_stopped())?;
            let values = write_block(&mut map, block, &logits, &self.head)?;
            drop(map);
            control.show(block, &values);
            control.report(done.fetch_add(1, Ordering::Relaxed) + 1, all.len() as u64);
            Ok(())
        })?;
        out.into_inner().map_err(|_| worker_stopped())
    }

    fn segment_patches(
        &self,
        engine: &BatchEngine,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMaps> {
        let grid =
            StrideGrid::new(self.head.layout(), image.width(), image.height(), options.stride);
        let count = grid.len();
        let batches = count.div_ceil(PATCH_BATCH);
        let grid = Mutex::new(grid);
        let done = AtomicU64::new(0);
        for_each_index(batches, |batch| {
            control.check()?;
            let first = batch * PATCH_BATCH;
            let len = PATCH_BATCH.min(count - first);
            // The lock is held for the positions and the results alone, not while the network runs.
            let places = grid.lock().map_err(|_| worker_stopped())?.places(first, len);
            let logits = engine.run(image, &places);
            grid.lock().map_err(|_| worker_stopped())?.put(first, &logits, &self.head);
            control.report(done.fetch_add(1, Ordering::Relaxed) + 1, batches as u64);
            Ok(())
        })?;
        Ok(grid.into_inner().map_err(|_| worker_stopped())?.finish())
    }

    /// The image in blocks, enough for `workers`. The first are small, so that a result shows soon.
    #[must_use]
    pub fn blocks(&self, image: &RgbImage, workers: usize) -> Vec<Block> {
        let CpuNetwork::Tiles(_) = self.network else {
            return blocks(image.width(), image.height(), PATCHWISE_BLOCK_PX);
        };
        let all = blocks(image.width(), image.height(), block_side(image, workers));
        if image.data().len() < SMALL_IMAGE_PIXELS {
            return all;
        }
        let Some((first, rest)) = all.split_first() else { return all };
        let mut out = Vec::new();
        for piece in blocks(first.width, first.height, FIRST_BLOCK_PX) {
            out.push(Block {
                row: first.row + piece.row,
                column: first.column + piece.column,
                ..piece
            });
        }
        out.extend_from_slice(rest);
        out
    }

    /// What [`Self::run`] needs of the image for a block, row by row, mirrored at the image's
    /// borders.
    #[must_use]
    pub fn cut(&self, image: &RgbImage, block: Block) -> Vec<[u8; 3]> {
        window_pixels(image, block, self.window(block))
    }

    /// Size of what [`Self::cut`] gives.
    fn window(&self, block: Block) -> PlaneSize {
        match &self.network {
            CpuNetwork::Tiles(engine) => engine.window(block),
            CpuNetwork::Patches(_) => around(block),
        }
    }

    /// Probabilities of a block, plane after plane, each row by row, from the pixels that
    /// [`Self::cut`] gave.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the pixels are of another size.
    pub fn run(&self, pixels: Vec<[u8; 3]>, block: Block) -> Result<Vec<f32>> {
        let PlaneSize { height, width } = self.window(block);
        if pixels.len() != height * width {
            return Err(Error::mismatch("The pixels are not those of the block"));
        }
        let logits = match &self.network {
            CpuNetwork::Tiles(engine) => engine.run_window(&pixels, block),
            CpuNetwork::Patches(engine) => {
                every_patch(engine, &Plane::from_vec(width, height, pixels)?, block)
            }
        };
        Ok(self.head.values(&logits))
    }

    /// Seconds per pixel with all threads busy, measured on a block (or batch) for each thread.
    ///
    /// # Errors
    /// None in practice.
    pub fn seconds_per_pixel(&self) -> Result<f64> {
        let side = TIMED_BLOCK_PX;
        let image = Plane::filled(side, side, [127, 90, 160]);
        let whole = Block { row: 0, column: 0, width: side, height: side };
        let workers = threads();
        let begun = seconds();
        for_each_index(workers, |_| {
            match &self.network {
                CpuNetwork::Tiles(engine) => drop(engine.run(&image, whole)),
                CpuNetwork::Patches(engine) => drop(engine.run(&image, &[(0, 0); PATCH_BATCH])),
            }
            Ok(())
        })?;
        let pixels = match &self.network {
            CpuNetwork::Tiles(_) => side * side,
            CpuNetwork::Patches(_) => PATCH_BATCH,
        };
        Ok((seconds() - begun) / (pixels * workers) as f64)
    }
}

/// Side of blocks of nearly equal size, enough for all workers; a multiple of [`ALIGN_PX`].
fn block_side(image: &RgbImage, workers: usize) -> usize {
    let (width, height) = (image.width(), image.height());
    // The side that divides `len` evenly into pieces of at most `most` pixels.
    let even = |len: usize, most: usize| {
        len.div_ceil(len.div_ceil(most).max(1)).next_multiple_of(ALIGN_PX)
    };
    for most in (ALIGN_PX..=MAX_BLOCK_PX).rev().step_by(ALIGN_PX) {
        let side = even(width, most).max(even(height, most));
        if width.div_ceil(side) * height.div_ceil(side) >= BLOCKS_PER_THREAD * workers {
            return side;
        }
    }
    ALIGN_PX
}

/// Logits of every pixel of a block from its window, patch by patch.
fn every_patch(engine: &BatchEngine, window: &RgbImage, block: Block) -> Vec<f32> {
    let centre = PATCH_PX / 2;
    let mut places = Vec::with_capacity(block.width * block.height);
    for row in 0..block.height {
        for column in 0..block.width {
            places.push((centre + row, centre + column));
        }
    }
    places.chunks(PATCH_BATCH).flat_map(|batch| engine.run(window, batch)).collect()
}

fn worker_stopped() -> Error {
    Error::gpu("A worker stopped while writing its result")
}

#[cfg(test)]
mod tests {
    use super::super::segment;
    use super::super::tests::picture;
    use super::*;
    use crate::model::{dccn, dcnn};

    #[test]
    fn blocks_from_cut_pixels_equal_the_whole_image_bit_for_bit() {
        for (architecture, (w, h)) in [
            (dcnn([3, 5, 8], 20, 2), (280, 240)),
            (dccn(4, 6, 3, [5, 5, 5], 2), (18, 7)),
            (dcnn([3, 5, 8], 20, 2), (1, 40)),
        ] {
            let model = Model::random(architecture, 2).expect("model");
            let image = picture(w, h);
            let whole = segment(&model, &image, SegmentOptions::default(), &Control::default())
                .expect("whole");
            let engine = CpuEngine::new(&model).expect("engine");
            let all = engine.blocks(&image, 3);
            assert!(all.len() > 1 || w == 1);
            for block in all {
                let values = engine.run(engine.cut(&image, block), block).expect("block");
                for (row, line) in values.chunks_exact(block.width).enumerate() {
                    let expected =
                        &whole.nucleus().row(block.row + row)[block.column..][..block.width];
                    assert_eq!(line, expected, "{block:?}");
                }
            }
        }
    }

    #[test]
    fn pixels_of_another_block_are_refused() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
        let engine = CpuEngine::new(&model).expect("engine");
        let block = Block { row: 0, column: 0, width: 32, height: 32 };
        assert!(engine.run(vec![[0; 3]; 5], block).is_err());
    }

    #[test]
    fn both_kinds_of_network_can_be_timed() {
        for architecture in [dcnn([3, 5, 8], 20, 2), dccn(4, 6, 3, [5, 5, 5], 2)] {
            let model = Model::random(architecture, 2).expect("model");
            let secs = CpuEngine::new(&model).and_then(|e| e.seconds_per_pixel()).expect("time");
            assert!(secs > 0.0 && secs < 1.0, "{secs}");
        }
    }
}
