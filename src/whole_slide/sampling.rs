//! A slide as a model sees it: at the model's pixel size, from the level that costs least.

use super::job::PixelRequest;
use crate::engine::Block;
use crate::error::{Error, Result};
use crate::raster::{Axis, RgbImage, resampled};
use crate::slide::{Rect, Slide};

/// Pixel sizes that differ by less than this share are taken as equal.
const SAME: f64 = 0.05;
/// Side ratios beyond this say that a pixel size is wrong.
const MAX_FACTOR: f64 = 16.0;
/// Most pixels of a whole: beyond, even the list of its blocks is large. Real slides have a
/// twentieth of it.
const MAX_PX: f64 = 2e11;

/// Which level is read and how its pixels become the model's.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Level that is read; 0 is the finest.
    pub level: usize,
    /// Pixels of the finest level that one of the model's spans.
    pub scale: f64,
    across: Axis,
    down: Axis,
}

impl Sampling {
    /// Looks at a slide of `slide_mpp` with pixels of `model_mpp` micrometres.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for sizes so far apart that one must be wrong.
    pub fn new(slide: &Slide, slide_mpp: f64, model_mpp: f64) -> Result<Self> {
        let scale = Self::scale_of(slide_mpp, model_mpp)?;
        let level = slide.level_for(scale);
        let (first, own) = (&slide.levels[0], &slide.levels[level]);
        Self::of(level, scale, (first.width, first.height), (own.width, own.height))
    }

    /// The same for an image of that size.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_image(size: (usize, usize), image_mpp: f64, model_mpp: f64) -> Result<Self> {
        Self::of(0, Self::scale_of(image_mpp, model_mpp)?, size, size)
    }

    fn scale_of(slide_mpp: f64, model_mpp: f64) -> Result<f64> {
        let scale = model_mpp / slide_mpp;
        if !(1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&scale) {
            return Err(Error::mismatch(format!(
                "The slide's pixels of {slide_mpp} µm and the model's of {model_mpp} µm are too \
                 far apart; \
                 state the slide's pixel size (--mpp)"
            )));
        }
        Ok(if (scale - 1.0).abs() < SAME { 1.0 } else { scale })
    }

    fn of(level: usize, scale: f64, whole: (usize, usize), own: (usize, usize)) -> Result<Self> {
        let [width, height] =
            [whole.0, whole.1].map(|side| ((side as f64 / scale).round() as usize).max(1));
        if width as f64 * height as f64 > MAX_PX {
            let what = format!(
                "At the model's pixel size there would be {width}×{height} pixels; that is out of \
                 range"
            );
            return Err(Error::limit(what));
        }
        Ok(Self { level, scale, across: Axis::new(width, own.0), down: Axis::new(height, own.1) })
    }

    /// Whether pixels are taken as they are.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.across.is_same() && self.down.is_same()
    }

    /// Width of the whole in the model's pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.across.len
    }

    /// Height of the whole in the model's pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.down.len
    }

    /// What must be read of [`Self::level`] for a rectangle.
    #[must_use]
    pub fn needs(&self, block: Block) -> Rect {
        let ((left, right), (top, bottom)) = (
            self.across.needs(block.column, block.width),
            self.down.needs(block.row, block.height),
        );
        Rect {
            x: left.cast_signed(),
            y: top.cast_signed(),
            width: right - left,
            height: bottom - top,
        }
    }

    /// What to read for a rectangle in the model's pixels.
    #[must_use]
    pub fn request(&self, block: Block) -> PixelRequest {
        PixelRequest { level: self.level, rect: self.needs(block) }
    }

    /// The rectangle from what [`Self::needs`] named.
    ///
    /// # Errors
    /// None in practice.
    pub fn apply(&self, source: RgbImage, block: Block) -> Result<RgbImage> {
        if self.is_same() {
            return Ok(source);
        }
        let rect = self.needs(block);
        let columns = self.across.weights(block.column, block.width, rect.x.cast_unsigned());
        let rows = self.down.weights(block.row, block.height, rect.y.cast_unsigned());
        resampled(&source, &columns, &rows)
    }
}
