//! A picture too large for memory, by rectangles.

use super::sampling::Sampling;
use super::tissue::{Overview, Tissue};
use crate::engine::Block;
use crate::error::Result;
use crate::raster::{RgbImage, StainStatistics};
use crate::slide::SlideReader;

/// Pixels by rectangle.
pub trait RegionReader: Sync {
    fn width(&self) -> usize;
    fn height(&self) -> usize;
    /// A rectangle inside.
    ///
    /// # Errors
    /// When it cannot be read.
    fn region(&self, block: Block) -> Result<RgbImage>;
}

impl RegionReader for RgbImage {
    fn width(&self) -> usize {
        RgbImage::width(self)
    }

    fn height(&self) -> usize {
        RgbImage::height(self)
    }

    fn region(&self, block: Block) -> Result<RgbImage> {
        Ok(self.crop(block.row, block.column, block.width, block.height))
    }
}

/// The stain of a picture, from windows that show tissue.
///
/// # Errors
/// When they cannot be read.
pub fn stain_of(pixels: &dyn RegionReader, tissue: &Tissue) -> Result<Option<StainStatistics>> {
    let windows: Vec<RgbImage> =
        tissue.windows().into_iter().map(|w| pixels.region(w)).collect::<Result<_>>()?;
    Ok(StainStatistics::of(&windows))
}

/// A slide at a model's pixel size.
pub struct ScaledSlide<'a> {
    reader: &'a SlideReader,
    sampling: Sampling,
}

impl<'a> ScaledSlide<'a> {
    /// Looks at a slide as the sampling says.
    #[must_use]
    pub fn new(reader: &'a SlideReader, sampling: Sampling) -> Self {
        Self { reader, sampling }
    }

    /// Where there is tissue.
    ///
    /// # Errors
    /// When the level that shows it cannot be read.
    pub fn tissue(&self) -> Result<Tissue> {
        let mut glance = Overview::new(&self.reader.slide);
        for rect in glance.strips() {
            glance.add(&self.reader.region(
                glance.level,
                rect.x,
                rect.y,
                rect.width,
                rect.height,
            )?);
        }
        glance.tissue(self.width(), self.height())
    }
}

impl RegionReader for ScaledSlide<'_> {
    fn width(&self) -> usize {
        self.sampling.width()
    }

    fn height(&self) -> usize {
        self.sampling.height()
    }

    fn region(&self, block: Block) -> Result<RgbImage> {
        let rect = self.sampling.needs(block);
        let source =
            self.reader.region(self.sampling.level, rect.x, rect.y, rect.width, rect.height)?;
        self.sampling.apply(source, block)
    }
}
