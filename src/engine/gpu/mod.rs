//! The WGSL engine: a model becomes a list of passes (`lower`, `program`), the passes run on a
//! device (`run`), and a device is believed only after it has computed what the CPU computes
//! (`probe`).

mod context;
mod lower;
mod pack;
mod pipelines;
mod probe;
mod program;
mod run;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

pub use context::{Adapter, AdapterFacts, DeviceErrors, Gpu, adapters};
pub use pipelines::SHADERS;
pub use probe::{ABSOLUTE, RELATIVE, black_and_white, integers, prove_integers, prove_model};
pub use program::{LayerParameters, PoolParameters};

use super::assemble::{StrideGrid, write_block};
use super::block::{Block, blocks};
use super::dense::block_values;
use super::patchwise::patch_at;
use super::{Control, SegmentOptions};
use crate::error::{Error, Result};
use crate::model::{Architecture, Head, Model, PATCH_PX};
use crate::platform::seconds;
use crate::raster::{Plane, ProbabilityMap, RgbImage};
use program::{BufferLayout, Program};
use run::{BlockBuffers, LoadedProgram, PendingResult};

/// Smallest side of a block; below it the context costs more than the block.
const MIN_SIDE_PX: usize = 32;
/// Largest side of a block: its widest layer takes about 61 MB.
const MAX_SIDE_PX: usize = 384;
/// What one submission should take: long enough to hide its overhead, short enough for a screen
/// that is drawn meanwhile.
const BLOCK_SECS: f64 = 0.1;
/// Patches side by side in a batch.
const BATCH: usize = 64;
/// The same on a software adapter.
const SOFTWARE_BATCH: usize = 16;

/// A model loaded onto a device.
#[derive(Debug)]
pub struct GpuEngine<'g> {
    gpu: &'g Gpu,
    loaded: LoadedProgram,
    head: Head,
    dense: bool,
}

impl<'g> GpuEngine<'g> {
    /// Compiles the shaders for `model` and uploads its weights.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network the passes do not cover, [`Error::Gpu`] when the driver
    /// refuses.
    pub fn new(gpu: &'g Gpu, model: &Model) -> Result<Self> {
        if model.card().architecture.classes() != 2 {
            return Err(Error::unsupported("The GPU engine needs two classes"));
        }
        let dense = matches!(model.card().architecture, Architecture::Dcnn { .. });
        let program = if dense { lower::dense(model)? } else { lower::batch(model)? };
        if program.constants.len() as u64 * 16 > gpu.max_buffer_bytes {
            return Err(Error::limit(format!(
                "The model's weights do not fit a buffer of {}",
                gpu.facts.name
            )));
        }
        Ok(Self { gpu, loaded: LoadedProgram::new(gpu, program)?, head: model.card().head, dense })
    }

    /// Logits of some pixels: a block's (dense), or those at `places` (batch); classes innermost.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn logits(&self, image: &RgbImage, block: Block) -> Result<Vec<f32>> {
        if self.dense {
            let layout = self.block_layout(block)?;
            let mut arena = self.loaded.arena(self.gpu, &layout)?;
            return self.start_block(&mut arena, image, block)?.result(self.gpu).await;
        }
        let places: Vec<_> = (0..block.width * block.height)
            .map(|i| (block.row + i / block.width, block.column + i % block.width))
            .collect();
        let mut out = Vec::with_capacity(places.len() * 2);
        let mut arena = None;
        for places in places.chunks(self.batch()) {
            let pending = self.start_batch(&mut arena, image, places)?;
            let planes = pending.result(self.gpu).await?;
            out.extend(interleave(&planes, self.batch(), places.len()));
        }
        Ok(out)
    }

    /// Probability of "nucleus" for every pixel. Nothing is returned unless all of it is right.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails or is lost, [`Error::Cancelled`] when asked to stop.
    pub async fn segment(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMap> {
        if self.dense {
            self.segment_dense(image, options, control).await
        } else {
            self.segment_grid(image, options, control).await
        }
    }

    async fn segment_dense(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMap> {
        let side = match options.block_px {
            Some(side) => side,
            None => self.fitting_side(image).await?,
        };
        let all = blocks(image.width(), image.height(), side);
        let Some(first) = all.first() else {
            return Plane::from_vec(image.width(), image.height(), Vec::new());
        };
        let mut arena = self.loaded.arena(self.gpu, &self.block_layout(*first)?)?;
        let mut out = Plane::filled(image.width(), image.height(), 0.0f32);
        let mut before: Option<(Block, PendingResult)> = None;
        for (i, block) in all.iter().map(Some).chain([None]).enumerate() {
            control.check()?;
            let started = match block {
                Some(&block) => Some((block, self.start_block(&mut arena, image, block)?)),
                None => None,
            };
            if let Some((block, pending)) = std::mem::replace(&mut before, started) {
                let logits = pending.result(self.gpu).await?;
                control.show(block, &write_block(&mut out, block, &logits, self.head));
                control.report(i as u64, all.len() as u64);
            }
        }
        Ok(out)
    }

    async fn segment_grid(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMap> {
        let mut grid = StrideGrid::new(image.width(), image.height(), options.stride);
        let count = grid.len();
        let batches = count.div_ceil(self.batch());
        let mut arena = None;
        let mut before: Option<(usize, usize, PendingResult)> = None;
        for b in 0..=batches {
            control.check()?;
            let mut started = None;
            if b < batches {
                let first = b * self.batch();
                let places = grid.places(first, self.batch().min(count - first));
                started =
                    Some((first, places.len(), self.start_batch(&mut arena, image, &places)?));
            }
            if let Some((first, len, pending)) = std::mem::replace(&mut before, started) {
                let planes = pending.result(self.gpu).await?;
                grid.put(first, &interleave(&planes, self.batch(), len), self.head);
                control.report(b as u64, batches as u64);
            }
        }
        grid.finish()
    }

    fn batch(&self) -> usize {
        if self.gpu.facts.software { SOFTWARE_BATCH } else { BATCH }
    }

    fn block_layout(&self, block: Block) -> Result<BufferLayout> {
        let around = PATCH_PX - 1;
        self.loaded.program.lay_out(
            block.width + around,
            block.height + around,
            1,
            self.gpu.max_buffer_bytes,
        )
    }

    fn start_block(
        &self,
        arena: &mut BlockBuffers,
        image: &RgbImage,
        block: Block,
    ) -> Result<PendingResult> {
        let layout = self.block_layout(block)?;
        self.loaded.submit(
            self.gpu,
            arena,
            &layout,
            &block_values(image, block)[..layout.slot_len[0]],
        )
    }

    fn start_batch(
        &self,
        arena: &mut Option<BlockBuffers>,
        image: &RgbImage,
        places: &[(usize, usize)],
    ) -> Result<PendingResult> {
        let (input, side) = batch_values(&self.loaded.program, image, places, self.batch());
        let layout =
            self.loaded.program.lay_out(side, side, self.batch(), self.gpu.max_buffer_bytes)?;
        let arena = match arena {
            Some(arena) => arena,
            none => none.insert(self.loaded.arena(self.gpu, &layout)?),
        };
        self.loaded.submit(self.gpu, arena, &layout, &input)
    }

    /// Side of a block that takes about [`BLOCK_SECS`] here, measured on a small one.
    async fn fitting_side(&self, image: &RgbImage) -> Result<usize> {
        let probe = |side: usize| Block {
            row: 0,
            column: 0,
            width: side.min(image.width()),
            height: side.min(image.height()),
        };
        let mut secs = self.time(image, probe(MIN_SIDE_PX)).await?;
        let mut side = MIN_SIDE_PX;
        while secs < BLOCK_SECS / 4.0
            && side < MAX_SIDE_PX
            && side < image.width().max(image.height())
        {
            let larger = (side * 2).min(MAX_SIDE_PX);
            secs = match self.time(image, probe(larger)).await {
                Err(Error::Limit { .. }) => break,
                other => other?,
            };
            side = larger;
        }
        Ok(side)
    }

    /// Seconds that one block takes, buffers included.
    ///
    /// # Errors
    /// Those of [`Self::logits`].
    pub async fn time(&self, image: &RgbImage, block: Block) -> Result<f64> {
        let begun = seconds();
        self.logits(image, block).await?;
        Ok(seconds() - begun)
    }
}

/// `[class][lane]` to `[lane][class]` for the lanes in use.
fn interleave(planes: &[f32], lanes: usize, used: usize) -> Vec<f32> {
    (0..used).flat_map(|lane| [planes[lane], planes[lanes + lane]]).collect()
}

/// Patches as a program's input, `[channel][row][column][lane]`, and the side of that input. Lanes
/// without a patch are zero.
fn batch_values(
    program: &Program,
    image: &RgbImage,
    places: &[(usize, usize)],
    lanes: usize,
) -> (Vec<f32>, usize) {
    let patches: Vec<Vec<f32>> =
        places.iter().map(|&(row, column)| patch_at(image, row, column)).collect();
    arrange(program, &patches, lanes)
}

/// See [`batch_values`].
fn arrange(program: &Program, patches: &[Vec<f32>], lanes: usize) -> (Vec<f32>, usize) {
    // The DCCN's first convolution pads by 3 and moves by 2.
    const PADDING: usize = 3;
    let side = if program.phased { (PATCH_PX + 2 * PADDING).div_ceil(2) } else { PATCH_PX };
    let channels = if program.phased { 12 } else { 3 };
    let mut input = vec![0.0; channels * side * side * lanes];
    for (lane, patch) in patches.iter().enumerate() {
        for (i, &v) in patch.iter().enumerate() {
            let (c, y, x) = (i / (PATCH_PX * PATCH_PX), i / PATCH_PX % PATCH_PX, i % PATCH_PX);
            let (channel, y, x) = if program.phased {
                let (y, x) = (y + PADDING, x + PADDING);
                (c * 4 + y % 2 * 2 + x % 2, y / 2, x / 2)
            } else {
                (c, y, x)
            };
            input[((channel * side + y) * side + x) * lanes + lane] = v;
        }
    }
    (input, side)
}
