//! A block with everything around it that decides its nuclei, and what it keeps of them.

use std::borrow::Cow;

use super::nucleus::SlideNucleus;
use super::region::SlideRegion;
use crate::engine::{ALIGN_PX, Block};
use crate::error::Result;
use crate::instances::{find, nuclei};
use crate::model::{CENTRE_PX, InstanceParameters};
use crate::raster::{ProbabilityMap, RgbImage, StainLut};

/// Around a block, pixels: nuclei that reach over its border, and their neighbours that they are
/// split from, lie in here whole.
pub const MARGIN_PX: usize = 96;

/// Three rectangles, each inside the next, in the model's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHalo {
    /// A nucleus belongs to the block that holds its centroid.
    pub block: Block,
    /// Where nuclei are looked for.
    pub window: Block,
    /// What the network needs for the window.
    pub read: Block,
}

/// How nuclei are cut out and measured.
#[derive(Debug, Clone)]
pub struct SegmentSettings {
    pub parameters: InstanceParameters,
    pub region: SlideRegion,
    /// Pixels of the finest level that one of the model's spans.
    pub scale: f64,
    /// Pixel size of the finest level.
    pub mpp_um: Option<f64>,
    /// What the model sees instead of the slide's own colours; measurements are made on the
    /// slide's.
    pub colours: Option<StainLut>,
}

impl SegmentSettings {
    /// A piece of the slide as the model sees it.
    #[must_use]
    pub fn seen<'a>(&self, image: &'a RgbImage) -> Cow<'a, RgbImage> {
        self.colours
            .as_ref()
            .map_or(Cow::Borrowed(image), |colours| Cow::Owned(colours.apply(image)))
    }
}

impl BlockHalo {
    /// Of a block of a picture of that size.
    #[must_use]
    pub fn new(block: Block, width: usize, height: usize) -> Self {
        let window = widened(block, MARGIN_PX, width, height);
        let read = widened(window, CENTRE_PX, width, height);
        // The engine's tiles lie at fixed places of what it is given, so these must be fixed places
        // of the slide: then a pixel's answer has the same bits whatever block it is computed in.
        let (row, column) = (read.row / ALIGN_PX * ALIGN_PX, read.column / ALIGN_PX * ALIGN_PX);
        let (bottom, right) = (read.row + read.height, read.column + read.width);
        Self {
            block,
            window,
            read: Block { row, column, width: right - column, height: bottom - row },
        }
    }

    /// The block's own nuclei, from the pixels and probabilities of [`Self::read`], placed in the
    /// slide.
    ///
    /// # Errors
    /// When picture and map are not of that size.
    pub fn nuclei(
        &self,
        image: &RgbImage,
        map: &ProbabilityMap,
        wanted: &SegmentSettings,
    ) -> Result<Vec<SlideNucleus>> {
        let Block { row, column, width, height } = self.window;
        let (down, across) = (row - self.read.row, column - self.read.column);
        let (map, image) =
            (map.crop(down, across, width, height), image.crop(down, across, width, height));
        let (labels, smooth) = find(&map, &wanted.parameters)?;
        let scale = wanted.scale;
        let all =
            nuclei(&image, &labels, &smooth, &wanted.parameters, wanted.mpp_um.map(|m| m * scale))?;
        let own = |x: f64, y: f64| {
            let (x, y) = (x + column as f64, y + row as f64);
            let inside =
                |v: f64, from: usize, len: usize| v >= from as f64 && v < (from + len) as f64;
            inside(x, self.block.column, self.block.width)
                && inside(y, self.block.row, self.block.height)
                && wanted.region.holds(x * scale, y * scale)
        };
        Ok(all
            .filter(|n| own(n.centroid.0, n.centroid.1))
            .map(|n| SlideNucleus::new(&n, column, row, scale))
            .collect())
    }
}

/// A block and so much around it, as far as the picture goes.
fn widened(block: Block, by: usize, width: usize, height: usize) -> Block {
    let (top, left) = (block.row.saturating_sub(by), block.column.saturating_sub(by));
    let (bottom, right) =
        ((block.row + block.height + by).min(height), (block.column + block.width + by).min(width));
    Block { row: top, column: left, width: right - left, height: bottom - top }
}
