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
pub use probe::{ABSOLUTE, RELATIVE, black_and_white, integers, verify_integers, verify_model};
pub use program::{LayerParameters, PoolParameters};

use std::sync::{Arc, Mutex, OnceLock};

use super::assemble::{ClassHead, StrideGrid, write_block};
use super::block::{Block, blocks};
use super::dense::block_values;
use super::patchwise::patch_at;
use super::{Control, SegmentOptions};
use crate::error::{Error, Result};
use crate::model::{Architecture, Model, PATCH_PX};
use crate::platform::seconds;
use crate::raster::{NucleusMaps, Plane, ProbabilityMaps, RgbImage};
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
/// Sets of buffers that are kept between images: one for each image under way.
const MAX_SPARE_BUFFERS: usize = 2;

/// A model loaded onto a device: pipelines compiled, weights uploaded, buffers kept from image to
/// image.
#[derive(Debug)]
pub struct GpuEngine {
    gpu: Arc<Gpu>,
    loaded: LoadedProgram,
    head: ClassHead,
    form: Form,
    /// Side of the blocks in use, once it was measured, pixels.
    block_px: OnceLock<usize>,
    /// Buffers that no image uses at the moment.
    spare_buffers: Mutex<Vec<BlockBuffers>>,
}

/// How a network covers an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Whole blocks at once (DCNN).
    Dense,
    /// Batches of patches (DCCN).
    Batches,
}

impl GpuEngine {
    /// Compiles the shaders for `model` and uploads its weights.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a network the passes do not cover, [`Error::Gpu`] when the driver
    /// refuses.
    pub fn new(gpu: Arc<Gpu>, model: &Model) -> Result<Self> {
        let (form, program) = match model.card().architecture {
            Architecture::Dcnn { .. } => (Form::Dense, lower::dense(model)?),
            Architecture::Dccn { .. } => (Form::Batches, lower::batch(model)?),
        };
        if program.constants.len() as u64 * 16 > gpu.max_buffer_bytes {
            return Err(Error::limit(format!(
                "The model's weights do not fit a buffer of {}",
                gpu.facts.name
            )));
        }
        let loaded = LoadedProgram::new(&gpu, program)?;
        let head = ClassHead::of(model);
        Ok(Self {
            gpu,
            loaded,
            head,
            form,
            block_px: OnceLock::new(),
            spare_buffers: Mutex::default(),
        })
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Logits of every pixel of a block, row by row, classes innermost.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn logits(&self, image: &RgbImage, block: Block) -> Result<Vec<f32>> {
        match self.form {
            Form::Dense => {
                let mut buffers = self.take_buffers(&self.block_layout(block)?)?;
                let logits =
                    self.start_block(&mut buffers, image, block)?.result(&self.gpu).await?;
                self.return_buffers(buffers);
                Ok(logits)
            }
            Form::Batches => {
                let mut places = Vec::with_capacity(block.width * block.height);
                for row in block.row..block.row + block.height {
                    for column in block.column..block.column + block.width {
                        places.push((row, column));
                    }
                }
                let mut buffers = self.take_buffers(&self.batch_layout()?)?;
                let classes = self.head.classes();
                let mut logits = Vec::with_capacity(places.len() * classes);
                for batch in places.chunks(self.patch_batch()) {
                    let pending = self.start_batch(&mut buffers, image, batch)?;
                    let planes = pending.result(&self.gpu).await?;
                    logits.extend(interleave(&planes, classes, self.patch_batch(), batch.len()));
                }
                self.return_buffers(buffers);
                Ok(logits)
            }
        }
    }

    /// Probabilities of every pixel. Nothing is returned unless all of it is right.
    /// Several images may be under way at once; each has buffers of its own.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails or is lost, [`Error::Cancelled`] when asked to stop.
    pub async fn segment(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMaps> {
        match self.form {
            Form::Dense => self.segment_blocks(image, options, control).await,
            Form::Batches => self.segment_grid(image, options, control).await,
        }
    }

    /// Block by block: the next one is uploaded and started before the result of one is awaited.
    async fn segment_blocks(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMaps> {
        let side = match options.block_px {
            Some(side) => side,
            None => self.block_side().await?,
        };
        let all = blocks(image.width(), image.height(), side);
        let mut out =
            NucleusMaps::filled(self.head.layout(), image.width(), image.height(), 0.0f32);
        let Some(first) = all.first() else { return Ok(out) };
        // The first block is the largest.
        let mut buffers = self.take_buffers(&self.block_layout(*first)?)?;
        let mut under_way: Option<(Block, PendingResult)> = None;
        for index in 0..=all.len() {
            control.check()?;
            let started = match all.get(index) {
                Some(block) => Some((*block, self.start_block(&mut buffers, image, *block)?)),
                None => None,
            };
            if let Some((block, pending)) = std::mem::replace(&mut under_way, started) {
                let logits = pending.result(&self.gpu).await?;
                control.show(block, &write_block(&mut out, block, &logits, &self.head)?);
                control.report(index as u64, all.len() as u64);
            }
        }
        self.return_buffers(buffers);
        Ok(out)
    }

    /// Batch by batch, as [`Self::segment_blocks`].
    async fn segment_grid(
        &self,
        image: &RgbImage,
        options: SegmentOptions,
        control: &Control<'_>,
    ) -> Result<ProbabilityMaps> {
        let mut grid =
            StrideGrid::new(self.head.layout(), image.width(), image.height(), options.stride);
        let count = grid.len();
        let batches = count.div_ceil(self.patch_batch());
        let mut buffers = self.take_buffers(&self.batch_layout()?)?;
        let mut under_way: Option<(usize, usize, PendingResult)> = None;
        for batch in 0..=batches {
            control.check()?;
            let mut started = None;
            if batch < batches {
                let first = batch * self.patch_batch();
                let places = grid.places(first, self.patch_batch().min(count - first));
                let pending = self.start_batch(&mut buffers, image, &places)?;
                started = Some((first, places.len(), pending));
            }
            if let Some((first, len, pending)) = std::mem::replace(&mut under_way, started) {
                let planes = pending.result(&self.gpu).await?;
                let logits = interleave(&planes, self.head.classes(), self.patch_batch(), len);
                grid.put(first, &logits, &self.head);
                control.report(batch as u64, batches as u64);
            }
        }
        self.return_buffers(buffers);
        Ok(grid.finish())
    }

    /// Patches in a batch.
    fn patch_batch(&self) -> usize {
        if self.gpu.facts.software { SOFTWARE_BATCH } else { BATCH }
    }

    fn block_layout(&self, block: Block) -> Result<BufferLayout> {
        let (width, height) = (block.width + PATCH_PX - 1, block.height + PATCH_PX - 1);
        self.loaded.program.lay_out(width, height, 1, self.gpu.max_buffer_bytes)
    }

    fn batch_layout(&self) -> Result<BufferLayout> {
        let side = batch_side(&self.loaded.program);
        self.loaded.program.lay_out(side, side, self.patch_batch(), self.gpu.max_buffer_bytes)
    }

    fn start_block(
        &self,
        buffers: &mut BlockBuffers,
        image: &RgbImage,
        block: Block,
    ) -> Result<PendingResult> {
        let layout = self.block_layout(block)?;
        let values = block_values(image, block);
        self.loaded.submit(&self.gpu, buffers, &layout, &values[..layout.slot_len[0]])
    }

    fn start_batch(
        &self,
        buffers: &mut BlockBuffers,
        image: &RgbImage,
        places: &[(usize, usize)],
    ) -> Result<PendingResult> {
        let input = batch_values(&self.loaded.program, image, places, self.patch_batch());
        self.loaded.submit(&self.gpu, buffers, &self.batch_layout()?, &input)
    }

    /// Buffers for a layout: kept ones if they are large enough, else new ones.
    fn take_buffers(&self, layout: &BufferLayout) -> Result<BlockBuffers> {
        if let Ok(mut spare) = self.spare_buffers.lock()
            && let Some(fitting) = spare.iter().position(|buffers| buffers.fit(layout))
        {
            let mut buffers = spare.swap_remove(fitting);
            buffers.begin_image(&self.gpu);
            return Ok(buffers);
        }
        self.loaded.buffers(&self.gpu, layout)
    }

    /// Keeps buffers for the next image. After an error they are dropped instead.
    fn return_buffers(&self, buffers: BlockBuffers) {
        if let Ok(mut spare) = self.spare_buffers.lock() {
            spare.push(buffers);
            if spare.len() > MAX_SPARE_BUFFERS {
                spare.remove(0);
            }
        }
    }

    /// Measures the side of blocks on networks that have blocks, so that the first image need not.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn choose_block_side(&self) -> Result<()> {
        if self.form == Form::Dense {
            self.block_side().await?;
        }
        Ok(())
    }

    /// Side of a block that takes about [`BLOCK_SECS`] here, pixels; measured at the first call.
    async fn block_side(&self) -> Result<usize> {
        if let Some(side) = self.block_px.get() {
            return Ok(*side);
        }
        let mut side = MIN_SIDE_PX;
        let mut secs = self.block_secs(side).await?;
        while secs < BLOCK_SECS / 4.0 && side < MAX_SIDE_PX {
            let larger = (side * 2).min(MAX_SIDE_PX);
            secs = match self.block_secs(larger).await {
                Err(Error::Limit { .. }) => break,
                other => other?,
            };
            side = larger;
        }
        Ok(*self.block_px.get_or_init(|| side))
    }

    /// Seconds that one block takes, upload and download included.
    async fn block_secs(&self, side: usize) -> Result<f64> {
        let image = Plane::filled(side, side, [127, 90, 160]);
        let begun = seconds();
        self.logits(&image, Block { row: 0, column: 0, width: side, height: side }).await?;
        Ok(seconds() - begun)
    }

    /// Seconds per pixel at the block size in use, several blocks under way.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn seconds_per_pixel(&self) -> Result<f64> {
        let (width, height) = match self.form {
            Form::Dense => {
                let side = self.block_side().await?;
                (2 * side, 2 * side)
            }
            Form::Batches => (self.patch_batch(), 4),
        };
        let image = Plane::filled(width, height, [127, 90, 160]);
        let begun = seconds();
        self.segment(&image, SegmentOptions::default(), &Control::default()).await?;
        Ok((seconds() - begun) / (width * height) as f64)
    }
}

/// `[class][patch]` to `[patch][class]` for the patches in use.
fn interleave(planes: &[f32], classes: usize, batch: usize, used: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(used * classes);
    for patch in 0..used {
        out.extend((0..classes).map(|class| planes[class * batch + patch]));
    }
    out
}

/// Padding of the DCCN's first convolution, which moves by 2.
const STEM_PADDING: usize = 3;

/// Side of a patch as a program takes it. A phased program (`pack::phases`) takes the padded patch
/// as four planes of every second row and column.
fn batch_side(program: &Program) -> usize {
    if program.phased { (PATCH_PX + 2 * STEM_PADDING).div_ceil(2) } else { PATCH_PX }
}

/// The patches around `places` as a program's input. Patches that are missing from the batch are 0.
fn batch_values(
    program: &Program,
    image: &RgbImage,
    places: &[(usize, usize)],
    batch: usize,
) -> Vec<f32> {
    let mut patches = Vec::with_capacity(places.len());
    for &(row, column) in places {
        patches.push(patch_at(image, row, column));
    }
    arrange(program, &patches, batch)
}

/// Patches of `[channel][row][column]` as a program's input of `[channel][row][column][patch]`,
/// where a phased program has channel `4 * colour + 2 * (row % 2) + column % 2`.
fn arrange(program: &Program, patches: &[Vec<f32>], batch: usize) -> Vec<f32> {
    let side = batch_side(program);
    let channels = if program.phased { 12 } else { 3 };
    let mut input = vec![0.0; channels * side * side * batch];
    for (index, patch) in patches.iter().enumerate() {
        for colour in 0..3 {
            for row in 0..PATCH_PX {
                for column in 0..PATCH_PX {
                    let (mut channel, mut y, mut x) = (colour, row, column);
                    if program.phased {
                        (y, x) = (row + STEM_PADDING, column + STEM_PADDING);
                        channel = 4 * colour + 2 * (y % 2) + x % 2;
                        (y, x) = (y / 2, x / 2);
                    }
                    input[((channel * side + y) * side + x) * batch + index] =
                        patch[(colour * PATCH_PX + row) * PATCH_PX + column];
                }
            }
        }
    }
    input
}
