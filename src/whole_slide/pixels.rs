//! A picture too large for memory, by rectangles.

use super::resample::{Axis, resampled};
use crate::error::{Error, Result};
use crate::raster::RgbImage;
use crate::slide::SlideReader;

/// Pixel sizes that differ by less than this share are taken as equal.
const SAME: f64 = 0.05;
/// Side ratios beyond this say that a pixel size is wrong.
const MAX_FACTOR: f64 = 16.0;

/// Pixels by rectangle.
pub trait Pixels: Sync {
    fn width(&self) -> usize;
    fn height(&self) -> usize;
    /// A rectangle inside.
    ///
    /// # Errors
    /// When it cannot be read.
    fn region(&self, x: usize, y: usize, width: usize, height: usize) -> Result<RgbImage>;
}

impl Pixels for RgbImage {
    fn width(&self) -> usize {
        RgbImage::width(self)
    }

    fn height(&self) -> usize {
        RgbImage::height(self)
    }

    fn region(&self, x: usize, y: usize, width: usize, height: usize) -> Result<RgbImage> {
        Ok(self.crop(y, x, width, height))
    }
}

/// A slide as a model sees it: at the model's pixel size, from the level that costs least.
pub struct SlideView<'a> {
    reader: &'a SlideReader,
    level: usize,
    /// Pixels of the finest level that one of these spans.
    pub scale: f64,
    across: Axis,
    down: Axis,
}

impl<'a> SlideView<'a> {
    /// Looks at a slide of `slide_mpp` with pixels of `model_mpp` micrometres.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for sizes so far apart that one must be wrong.
    pub fn new(reader: &'a SlideReader, slide_mpp: f64, model_mpp: f64) -> Result<Self> {
        let scale = model_mpp / slide_mpp;
        if !(1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&scale) {
            return Err(Error::mismatch(format!(
                "The slide's pixels of {slide_mpp} µm and the model's of {model_mpp} µm are too far apart; --mpp states the slide's"
            )));
        }
        let scale = if (scale - 1.0).abs() < SAME { 1.0 } else { scale };
        let level = reader.slide.level_for(scale);
        let (first, own) = (&reader.slide.levels[0], &reader.slide.levels[level]);
        let axis = |whole: usize, own: usize| {
            let len = ((whole as f64 / scale).round() as usize).max(1);
            Axis { step: own as f64 / len as f64, len, source: own }
        };
        Ok(Self { reader, level, scale, across: axis(first.width, own.width), down: axis(first.height, own.height) })
    }
}

impl Pixels for SlideView<'_> {
    fn width(&self) -> usize {
        self.across.len
    }

    fn height(&self) -> usize {
        self.down.len
    }

    fn region(&self, x: usize, y: usize, width: usize, height: usize) -> Result<RgbImage> {
        let ((left, right), (top, bottom)) = (self.across.needs(x, width), self.down.needs(y, height));
        let source =
            self.reader.region(self.level, left.cast_signed(), top.cast_signed(), right - left, bottom - top)?;
        if self.across.is_same() && self.down.is_same() {
            return Ok(source);
        }
        resampled(&source, &self.across.weights(x, width, left), &self.down.weights(y, height, top))
    }
}
