//! Where there is tissue: glass is bright and without colour.

use crate::engine::{Block, blocks};
use crate::error::Result;
use crate::raster::{Mask, Plane, RgbImage};
use crate::slide::{Rect, Slide};

/// Longest side of the picture that is looked at, pixels.
const LOOK_PX: usize = 2048;
/// A pixel with this much between its largest and smallest colour value is stained,
const STAINED: u8 = 18;
/// and one darker than this is something.
const DARK: u32 = 200;
/// Tissue within this many looked-at pixels counts: thin edges are missed on a coarse level.
const REACH: usize = 2;

/// Most windows that a stain is read from, and their side, pixels.
const SAMPLES: usize = 24;
const SAMPLE_PX: usize = 256;

/// A coarse mask of tissue.
#[derive(Debug, Clone, PartialEq)]
pub struct Tissue {
    mask: Mask,
    width: usize,
    height: usize,
}

/// The coarsest level that still shows enough, in strips of rows: the only level of a flat slide is
/// the slide itself.
#[derive(Debug)]
pub struct Overview {
    pub level: usize,
    /// Every so-many-th pixel is looked at.
    step: usize,
    size: (usize, usize),
    strip: usize,
    pixels: Vec<[u8; 3]>,
}

impl Overview {
    /// What to look at.
    #[must_use]
    pub fn new(slide: &Slide) -> Self {
        let levels = &slide.levels;
        let fits = |l: &usize| levels[*l].width.max(levels[*l].height) <= LOOK_PX;
        let level = (0..levels.len()).find(fits).unwrap_or(levels.len() - 1);
        let own = &levels[level];
        let step = own.width.max(own.height).div_ceil(LOOK_PX);
        let strip = (own.tile_height.div_ceil(step) * step).max(step);
        Self { level, step, size: (own.width, own.height), strip, pixels: Vec::new() }
    }

    /// Strips of the level, from the top.
    pub fn strips(&self) -> impl Iterator<Item = Rect> + use<> {
        let ((width, height), strip) = (self.size, self.strip);
        let rect = move |top: usize| Rect {
            x: 0,
            y: top.cast_signed(),
            width,
            height: strip.min(height - top),
        };
        (0..height).step_by(strip).map(rect)
    }

    /// Takes the next strip.
    pub fn add(&mut self, strip: &RgbImage) {
        for y in (0..strip.height()).step_by(self.step) {
            self.pixels.extend((0..strip.width()).step_by(self.step).map(|x| strip.get(y, x)));
        }
    }

    /// Tissue, for a picture of `width × height` of the whole.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::error::Error::Mismatch) when strips are missing.
    pub fn tissue(self, width: usize, height: usize) -> Result<Tissue> {
        let (w, h) = (self.size.0.div_ceil(self.step), self.size.1.div_ceil(self.step));
        Ok(Tissue::of(&Plane::from_vec(w, h, self.pixels)?, width, height))
    }
}

impl Tissue {
    /// From a small picture of the whole.
    #[must_use]
    pub fn of(picture: &RgbImage, width: usize, height: usize) -> Self {
        let stained = picture.map(|[r, g, b]| {
            let spread = r.max(g).max(b) - r.min(g).min(b);
            spread >= STAINED || (u32::from(r) + u32::from(g) + u32::from(b)) / 3 < DARK
        });
        let mut mask = stained.clone();
        for (y, x) in (0..stained.width() * stained.height())
            .map(|i| (i / stained.width(), i % stained.width()))
        {
            if stained.get(y, x) {
                for near_y in y.saturating_sub(REACH)..(y + REACH + 1).min(mask.height()) {
                    for near_x in x.saturating_sub(REACH)..(x + REACH + 1).min(mask.width()) {
                        mask.set(near_y, near_x, true);
                    }
                }
            }
        }
        Self { mask, width, height }
    }

    /// Everything is tissue.
    #[must_use]
    pub fn everywhere(width: usize, height: usize) -> Self {
        Self { mask: Plane::filled(1, 1, true), width, height }
    }

    /// Whether it was found for a picture of that size.
    #[must_use]
    pub fn is_of(&self, width: usize, height: usize) -> bool {
        (self.width, self.height) == (width, height)
    }

    /// Whether a rectangle holds any.
    #[must_use]
    pub fn touches(&self, x: usize, y: usize, width: usize, height: usize) -> bool {
        // In 64 bits: the sides of a slide times those of its picture do not fit a browser's
        // numbers.
        let scaled = |from: usize, len: usize, whole: usize, small: usize| {
            let [from, len, whole, n] = [from, len, whole, small].map(|v| v as u64);
            let first = (from * n / whole).min(n - 1);
            let end = ((from + len) * n).div_ceil(whole).clamp(first + 1, n);
            first as usize..end as usize
        };
        let columns = scaled(x, width, self.width, self.mask.width());
        let mut rows = scaled(y, height, self.height, self.mask.height());
        rows.any(|row| self.mask.row(row)[columns.clone()].iter().any(|t| *t))
    }

    /// Windows that show tissue, evenly chosen over the whole: what its stain is read from.
    #[must_use]
    pub fn windows(&self) -> Vec<Block> {
        let side = SAMPLE_PX.min(self.width).min(self.height);
        let all = blocks(self.width / side * side, self.height / side * side, side);
        let shown: Vec<Block> =
            all.into_iter().filter(|b| self.touches(b.column, b.row, b.width, b.height)).collect();
        let step = shown.len().div_ceil(SAMPLES).max(1);
        shown.into_iter().step_by(step).collect()
    }

    /// Share of the slide.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.mask.data().iter().filter(|t| **t).count() as f64 / self.mask.data().len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stain_is_tissue_and_glass_is_not() {
        let mut picture = Plane::filled(40, 20, [242, 240, 243]);
        picture.set(5, 30, [200, 120, 190]);
        let tissue = Tissue::of(&picture, 4000, 2000);
        assert!(tissue.touches(3000, 500, 10, 10));
        assert!(tissue.touches(2750, 300, 100, 100), "near it too");
        assert!(!tissue.touches(0, 0, 2000, 2000) && !tissue.touches(3000, 1500, 1000, 500));
        assert!(tissue.touches(0, 0, 4000, 2000) && tissue.share() < 0.05);
    }
}
