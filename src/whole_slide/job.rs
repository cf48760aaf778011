//! The segmentation of a slide as a state machine without input or output: it says which pixels it
//! needs, takes them, and gives nuclei. Command line, window and page drive the same one and differ
//! in how they read (a disk, HTTP ranges, a browser's file) and where the network runs (in the same
//! process, in workers).
//!
//! ```text
//! SlideSetup ── next_request ──▶ PixelRequest ── (caller reads) ──▶ supply      tissue, then stain
//!     │ finish
//!     ▼
//! SlideJob ─── request(block) ─▶ PixelRequest ── (caller reads) ──▶ prepare ──▶ BlockPixels
//!                 nuclei ◀── ProbabilityMaps ◀── (caller segments BlockPixels::normalised)
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::block_halo::BlockHalo;
use super::block_nuclei::BlockNuclei;
use super::nucleus::SlideNucleus;
use super::region::SlideRegion;
use super::sampling::Sampling;
use super::tissue::{Overview, Tissue};
use crate::engine::{Block, blocks};
use crate::error::{Error, Result};
use crate::instances::probability_to_u8;
use crate::model::InstanceParameters;
use crate::raster::{
    Padding, ProbabilityBytes, ProbabilityMaps, RgbImage, StainLut, StainMatching, StainMode,
    StainStatistics, stain_note,
};
use crate::slide::{Rect, Slide, SlideBounds};

/// A rectangle of one level of the slide, in pixels of that level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelRequest {
    /// 0 is the finest.
    pub level: usize,
    /// May reach beyond the level; pixels there are background.
    pub rect: Rect,
}

/// What becomes of blocks without tissue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackgroundBlocks {
    /// They are skipped.
    #[default]
    Skip,
    /// They are segmented like the others.
    Segment,
}

/// What decides a slide's nuclei besides its pixels and the model.
#[derive(Debug, Clone)]
pub struct SegmentSettings {
    /// Threshold, smoothing, splitting and least area of nuclei.
    pub parameters: InstanceParameters,
    /// Nuclei whose centroid lies outside are left out.
    pub region: SlideRegion,
    /// Pixel size of the finest level, micrometres. Unknown for an image that is taken to have the
    /// model's.
    pub mpp_um: Option<f64>,
    /// How colours are matched to those of the training tiles before the network reads them.
    pub stain: StainMatching,
    /// Whether blocks without tissue are skipped.
    pub background: BackgroundBlocks,
    /// Side of a block in the model's pixels.
    pub block_px: usize,
}

/// Finds where there is tissue and how it is stained, from pixels that the caller reads.
#[derive(Debug)]
pub struct SlideSetup {
    sampling: Sampling,
    settings: SegmentSettings,
    /// Strips of a coarse level that are still to be read, for the mask of tissue.
    overview: Option<(Overview, VecDeque<Rect>)>,
    tissue: Option<Arc<Tissue>>,
    /// Windows in tissue that are still to be read, for the stain; in the model's pixels.
    windows: VecDeque<Block>,
    window_pixels: Vec<RgbImage>,
}

impl SlideSetup {
    /// Of a slide and a model with pixels of `model_mpp_um` micrometres.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the two pixel sizes are so far apart that one must be wrong.
    pub fn of_slide(slide: &Slide, model_mpp_um: f64, settings: SegmentSettings) -> Result<Self> {
        let slide_mpp_um = settings.mpp_um.unwrap_or(model_mpp_um);
        let sampling = Sampling::new(slide, slide_mpp_um, model_mpp_um)?;
        let mut setup = Self::with_sampling(sampling, settings);
        match setup.settings.background {
            BackgroundBlocks::Segment => setup.take_everything_as_tissue(),
            BackgroundBlocks::Skip => {
                let overview = Overview::new(slide);
                let strips = overview.strips().into();
                setup.overview = Some((overview, strips));
            }
        }
        Ok(setup)
    }

    /// Of an image in memory, all of which is taken as tissue. Its only level is 0.
    ///
    /// # Errors
    /// As [`Self::of_slide`].
    pub fn of_image(
        size: (usize, usize),
        model_mpp_um: f64,
        settings: SegmentSettings,
    ) -> Result<Self> {
        let image_mpp_um = settings.mpp_um.unwrap_or(model_mpp_um);
        let sampling = Sampling::of_image(size, image_mpp_um, model_mpp_um)?;
        let mut setup = Self::with_sampling(sampling, settings);
        setup.take_everything_as_tissue();
        Ok(setup)
    }

    fn with_sampling(sampling: Sampling, settings: SegmentSettings) -> Self {
        Self {
            sampling,
            settings,
            overview: None,
            tissue: None,
            windows: VecDeque::new(),
            window_pixels: Vec::new(),
        }
    }

    fn take_everything_as_tissue(&mut self) {
        let everywhere = Tissue::everywhere(self.sampling.width(), self.sampling.height());
        self.take_tissue(Arc::new(everywhere));
    }

    /// Takes over tissue that an earlier setup of the same slide found at the same pixel size.
    #[must_use]
    pub fn with_tissue(mut self, tissue: Arc<Tissue>) -> Self {
        if tissue.is_of(self.sampling.width(), self.sampling.height()) {
            self.take_tissue(tissue);
        }
        self
    }

    fn take_tissue(&mut self, tissue: Arc<Tissue>) {
        self.overview = None;
        if self.settings.stain.mode != StainMode::Keep {
            self.windows = tissue.windows().into();
        }
        self.tissue = Some(tissue);
    }

    /// The pixels to read next; none when the setup is complete.
    #[must_use]
    pub fn next_request(&self) -> Option<PixelRequest> {
        if let Some((overview, strips)) = &self.overview {
            return strips.front().map(|rect| PixelRequest { level: overview.level, rect: *rect });
        }
        self.windows.front().map(|window| self.sampling.request(*window))
    }

    /// Takes the pixels of [`Self::next_request`].
    ///
    /// # Errors
    /// [`Error::Mismatch`] for pixels of another size.
    pub fn supply(&mut self, pixels: RgbImage) -> Result<()> {
        let Some(PixelRequest { rect, .. }) = self.next_request() else {
            return Err(Error::mismatch("No pixels were needed"));
        };
        if (pixels.width(), pixels.height()) != (rect.width, rect.height) {
            return Err(Error::mismatch("The pixels are not those that were needed"));
        }
        // First the strips of the overview; when the last one is in, the tissue is known and gives
        // the windows for the stain.
        if let Some((overview, strips)) = &mut self.overview {
            overview.add(&pixels);
            strips.pop_front();
            if strips.is_empty()
                && let Some((overview, _)) = self.overview.take()
            {
                let tissue = overview.tissue(self.sampling.width(), self.sampling.height())?;
                self.take_tissue(Arc::new(tissue));
            }
        } else if let Some(window) = self.windows.pop_front() {
            self.window_pixels.push(self.sampling.apply(pixels, window)?);
        }
        Ok(())
    }

    /// The job, once [`Self::next_request`] gives none.
    ///
    /// # Errors
    /// [`Error::Mismatch`] while pixels are missing.
    pub fn finish(self) -> Result<SlideJob> {
        let (Some(tissue), true) = (self.tissue, self.windows.is_empty()) else {
            return Err(Error::mismatch("The slide's tissue is not known yet"));
        };
        let stain = StainStatistics::of(&self.window_pixels);
        let stain_lut = self.settings.stain.lut(stain);
        let is_measured = !self.window_pixels.is_empty();
        let (width, height) = (self.sampling.width(), self.sampling.height());
        let all = blocks(width, height, self.settings.block_px);
        let scale = self.sampling.scale;
        let mut has_tissue = Vec::with_capacity(all.len());
        for block in &all {
            has_tissue.push(
                tissue.touches(block.column, block.row, block.width, block.height)
                    && self.settings.region.touches(&scaled_bounds(*block, scale)),
            );
        }
        Ok(SlideJob {
            sampling: self.sampling,
            settings: self.settings,
            tissue,
            stain_lut,
            stain_note: if is_measured { stain_note(stain.as_ref()) } else { None },
            blocks: all,
            needed: has_tissue,
        })
    }
}

/// Where a block of the model's pixels lies in the slide.
pub(super) fn scaled_bounds(block: Block, scale: f64) -> SlideBounds {
    SlideBounds {
        left: block.column as f64 * scale,
        top: block.row as f64 * scale,
        right: (block.column + block.width) as f64 * scale,
        bottom: (block.row + block.height) as f64 * scale,
    }
}

/// Blocks of a part of a slide, for an estimate of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockNumbers {
    /// That are to be segmented.
    pub needed: usize,
    /// With those that hold no tissue.
    pub all: usize,
}

/// A slide prepared for segmentation, block by block in any order.
#[derive(Debug, Clone)]
pub struct SlideJob {
    sampling: Sampling,
    settings: SegmentSettings,
    tissue: Arc<Tissue>,
    stain_lut: Option<StainLut>,
    stain_note: Option<&'static str>,
    blocks: Vec<Block>,
    /// Whether each block holds tissue and lies in the region.
    needed: Vec<bool>,
}

/// The pixels of a block with its halo, at the model's pixel size.
#[derive(Debug, Clone)]
pub struct BlockPixels {
    /// Its number in [`SlideJob::blocks()`].
    pub block: usize,
    /// In the slide's own colours: nuclei are measured on these.
    pub image: Arc<RgbImage>,
    /// As the network reads it: in its colours, and with the tissue mirrored into padding. The same
    /// image where the stain is kept and there is no padding.
    pub normalised: Arc<RgbImage>,
}

/// The window of a block in which nuclei are looked for, at the model's pixel size.
#[derive(Debug, Clone)]
pub struct BlockWindow {
    /// Its number in [`SlideJob::blocks()`].
    pub block: usize,
    /// In 8 bits; 0 in padding.
    pub probabilities: ProbabilityBytes,
    /// In the slide's own colours.
    pub image: RgbImage,
}

impl SlideJob {
    /// All blocks, row by row, in the model's pixels.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether a block is to be segmented: it holds tissue and lies in the region.
    #[must_use]
    pub fn is_needed(&self, block: usize) -> bool {
        self.needed.get(block).copied().unwrap_or(false)
    }

    /// Numbers of the blocks that are to be segmented, row by row.
    #[must_use]
    pub fn needed(&self) -> Vec<usize> {
        (0..self.blocks.len()).filter(|block| self.needed[*block]).collect()
    }

    /// Numbers of the blocks that share an area with a rectangle of the slide.
    #[must_use]
    pub fn blocks_in(&self, bounds: &SlideBounds) -> BlockNumbers {
        let mut numbers = BlockNumbers::default();
        for (block, needed) in self.blocks.iter().zip(&self.needed) {
            if scaled_bounds(*block, self.sampling.scale).intersects(bounds) {
                numbers.all += 1;
                numbers.needed += usize::from(*needed);
            }
        }
        numbers
    }

    /// Width and height of the whole in the model's pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.sampling.width(), self.sampling.height())
    }

    /// Pixels of the finest level that one of the model's spans.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.sampling.scale
    }

    /// How the slide's pixels become the model's.
    #[must_use]
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The settings that it was made with.
    #[must_use]
    pub fn settings(&self) -> &SegmentSettings {
        &self.settings
    }

    /// Where tissue lies, found on the overview.
    #[must_use]
    pub fn tissue(&self) -> &Arc<Tissue> {
        &self.tissue
    }

    /// Area of tissue inside the region of the settings, square pixels of the finest level.
    #[must_use]
    pub fn tissue_px(&self) -> f64 {
        self.tissue.area_px(&self.settings.region, self.sampling.scale)
    }

    /// The colours that the network reads instead of the slide's; none where the stain is kept.
    #[must_use]
    pub fn stain_lut(&self) -> Option<&StainLut> {
        self.stain_lut.as_ref()
    }

    /// What a person should know about the stain. It is not measured where it is kept.
    #[must_use]
    pub fn stain_note(&self) -> Option<&'static str> {
        self.stain_note
    }

    fn halo(&self, block: usize) -> Result<BlockHalo> {
        let Some(own) = self.blocks.get(block) else {
            return Err(Error::invalid(format!("There is no block {block}")));
        };
        Ok(BlockHalo::new(*own, self.sampling.width(), self.sampling.height()))
    }

    /// What to read for a block.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there is no such block.
    pub fn request(&self, block: usize) -> Result<PixelRequest> {
        Ok(self.sampling.request(self.halo(block)?.read))
    }

    /// Makes the network's input of the pixels that were read for a block.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there is no such block or the pixels are of another size.
    pub fn prepare(&self, block: usize, pixels: RgbImage) -> Result<BlockPixels> {
        let PixelRequest { rect, .. } = self.request(block)?;
        if (pixels.width(), pixels.height()) != (rect.width, rect.height) {
            return Err(Error::mismatch("The pixels are not those that the block needs"));
        }
        let image = Arc::new(self.sampling.apply(pixels, self.halo(block)?.read)?);
        let filled = match Padding::of(&image) {
            Some(padding) => Arc::new(padding.filled(&image)),
            None => Arc::clone(&image),
        };
        let normalised = match &self.stain_lut {
            Some(lut) => Arc::new(lut.apply(&filled)),
            None => filled,
        };
        Ok(BlockPixels { block, image, normalised })
    }

    /// How the nuclei of a block are found.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such block.
    pub fn block_nuclei(&self, block: usize) -> Result<BlockNuclei> {
        let BlockHalo { block, window, .. } = self.halo(block)?;
        let scale = self.sampling.scale;
        Ok(BlockNuclei {
            block,
            window,
            scale,
            model_mpp_um: self.settings.mpp_um.map(|mpp_um| mpp_um * scale),
            parameters: self.settings.parameters,
        })
    }

    /// The same job at another threshold.
    #[must_use]
    pub fn with_threshold(&self, threshold: f32) -> Self {
        let mut job = self.clone();
        job.settings.parameters.threshold = threshold;
        job
    }

    /// What the nuclei of a block are found in: the window of its probabilities, and its pixels.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the map is not of the size of the pixels.
    pub fn window(&self, pixels: &BlockPixels, map: &ProbabilityMaps) -> Result<BlockWindow> {
        let halo = self.halo(pixels.block)?;
        if !map.same_size(&pixels.image) || map.width() != halo.read.width {
            return Err(Error::mismatch("The probabilities are not those of the block"));
        }
        // The network's context is cut off: nuclei are looked for in the window.
        let Block { row, column, width, height } = halo.window;
        let (down, across) = (row - halo.read.row, column - halo.read.column);
        let mut map = map.crop(down, across, width, height);
        if let Some(padding) = Padding::of(&pixels.image) {
            padding.cropped(down, across, width, height).clear(&mut map);
        }
        let image = pixels.image.crop(down, across, width, height);
        Ok(BlockWindow { block: pixels.block, probabilities: map.map(probability_to_u8), image })
    }

    /// The nuclei whose centroid lies in the block and in the region, placed in the slide.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the map is not of the size of the pixels.
    pub fn nuclei(&self, pixels: &BlockPixels, map: &ProbabilityMaps) -> Result<Vec<SlideNucleus>> {
        self.nuclei_in(&self.window(pixels, map)?)
    }

    /// The same from the window.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it is of another block.
    pub fn nuclei_in(&self, window: &BlockWindow) -> Result<Vec<SlideNucleus>> {
        let find = self.block_nuclei(window.block)?;
        let mut nuclei = find.find(&window.probabilities, &window.image)?;
        nuclei.retain(|nucleus| {
            let (x, y) = nucleus.centroid;
            self.settings.region.holds(x, y)
        });
        Ok(nuclei)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::{Plane, phantom};

    fn settings(block_px: usize) -> SegmentSettings {
        SegmentSettings {
            parameters: InstanceParameters::default(),
            region: SlideRegion::Everything,
            mpp_um: Some(0.25),
            stain: StainMatching { mode: StainMode::Auto, ..StainMatching::KEEP },
            background: BackgroundBlocks::Skip,
            block_px,
        }
    }

    fn job_of(image: &RgbImage, settings: SegmentSettings) -> SlideJob {
        let size = (image.width(), image.height());
        let mut setup = SlideSetup::of_image(size, 0.25, settings).expect("setup");
        while let Some(PixelRequest { level, rect }) = setup.next_request() {
            assert_eq!(level, 0);
            let (row, column) = (rect.y.cast_unsigned(), rect.x.cast_unsigned());
            setup.supply(image.crop(row, column, rect.width, rect.height)).expect("pixels");
        }
        setup.finish().expect("job")
    }

    #[test]
    fn a_job_needs_its_pixels_and_refuses_others() {
        let (image, _) = phantom(300, 200, 3);
        let mut setup = SlideSetup::of_image((300, 200), 0.25, settings(128)).expect("setup");
        assert!(setup.next_request().is_some(), "the stain is not known yet");
        assert!(setup.supply(Plane::filled(1, 1, [0; 3])).is_err());
        assert!(setup.finish().is_err());
        let job = job_of(&image, settings(128));
        assert_eq!((job.blocks().len(), job.needed()), (6, vec![0, 1, 2, 3, 4, 5]));
        assert!(job.request(6).is_err());
        assert!(job.prepare(0, Plane::filled(3, 3, [0; 3])).is_err());
        let rect = job.request(4).expect("request").rect;
        let (row, column) = (rect.y.cast_unsigned(), rect.x.cast_unsigned());
        let pixels =
            job.prepare(4, image.crop(row, column, rect.width, rect.height)).expect("pixels");
        assert!(job.nuclei(&pixels, &Plane::filled(5, 5, 0.0).into()).is_err());
        let empty = Plane::filled(rect.width, rect.height, 0.0).into();
        assert_eq!(job.nuclei(&pixels, &empty).expect("nuclei"), []);
    }

    #[test]
    fn kept_stains_need_no_windows() {
        let keep = SegmentSettings { stain: StainMatching::KEEP, ..settings(64) };
        let setup = SlideSetup::of_image((100, 100), 0.25, keep).expect("setup");
        assert_eq!(setup.next_request(), None);
        assert!(setup.finish().expect("job").stain_lut().is_none());
    }

    #[test]
    fn blocks_outside_the_region_are_not_needed() {
        let (image, _) = phantom(300, 200, 3);
        let region = "0,0,100,100".parse().expect("region");
        let job = job_of(&image, SegmentSettings { region, ..settings(128) });
        assert_eq!(job.needed(), [0]);
        let left_half = SlideBounds { left: 0.0, top: 0.0, right: 150.0, bottom: 200.0 };
        assert_eq!(job.blocks_in(&left_half), BlockNumbers { needed: 1, all: 4 });
        let outside = SlideBounds { left: 300.0, top: 0.0, right: 400.0, bottom: 200.0 };
        assert_eq!(job.blocks_in(&outside), BlockNumbers::default());
        assert!(!job.is_needed(5) && !job.is_needed(99));
    }
}
