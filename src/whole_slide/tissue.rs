//! Where there is tissue: glass is bright and without colour.

use super::pixels::Pixels;
use crate::error::Result;
use crate::raster::{Mask, Plane, RgbImage};
use crate::slide::SlideReader;

/// Longest side of the picture that is looked at, pixels.
const LOOK_PX: usize = 2048;
/// A pixel with this much between its largest and smallest colour value is stained,
const STAINED: u8 = 18;
/// and one darker than this is something.
const DARK: u32 = 200;
/// Tissue within this many looked-at pixels counts: thin edges are missed on a coarse level.
const REACH: usize = 2;

/// A coarse mask of tissue.
#[derive(Debug, Clone, PartialEq)]
pub struct Tissue {
    mask: Mask,
    width: usize,
    height: usize,
}

impl Tissue {
    /// Looks at the coarsest level that still shows enough.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_slide(reader: &SlideReader, width: usize, height: usize) -> Result<Self> {
        let levels = &reader.slide.levels;
        let fits = |l: &usize| levels[*l].width.max(levels[*l].height) <= LOOK_PX;
        let level = (0..levels.len()).find(fits).unwrap_or(levels.len() - 1);
        let own = &levels[level];
        // Strips of rows: the coarsest level of a flat slide is the slide itself.
        let step = own.width.max(own.height).div_ceil(LOOK_PX);
        let (w, h) = (own.width.div_ceil(step), own.height.div_ceil(step));
        let mut pixels = Vec::with_capacity(w * h);
        let strip = (own.tile_height.div_ceil(step) * step).max(step);
        for top in (0..own.height).step_by(strip) {
            let rows = strip.min(own.height - top);
            let image = reader.region(level, 0, top.cast_signed(), own.width, rows)?;
            for y in (0..rows).step_by(step) {
                pixels.extend((0..own.width).step_by(step).map(|x| image.get(y, x)));
            }
        }
        Ok(Self::of(&Plane::from_vec(w, h, pixels)?, width, height))
    }

    /// From a small picture of the whole.
    #[must_use]
    pub fn of(picture: &RgbImage, width: usize, height: usize) -> Self {
        let stained = picture.map(|[r, g, b]| {
            let spread = r.max(g).max(b) - r.min(g).min(b);
            spread >= STAINED || (u32::from(r) + u32::from(g) + u32::from(b)) / 3 < DARK
        });
        let mut mask = stained.clone();
        for (y, x) in (0..stained.width() * stained.height()).map(|i| (i / stained.width(), i % stained.width())) {
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
    pub fn everywhere(pixels: &dyn Pixels) -> Self {
        Self { mask: Plane::filled(1, 1, true), width: pixels.width(), height: pixels.height() }
    }

    /// Whether a rectangle holds any.
    #[must_use]
    pub fn touches(&self, x: usize, y: usize, width: usize, height: usize) -> bool {
        let scaled = |from: usize, len: usize, whole: usize, small: usize| {
            let end = ((from + len) * small).div_ceil(whole).min(small);
            (from * small / whole).min(small - 1)..end.max(1)
        };
        let columns = scaled(x, width, self.width, self.mask.width());
        let mut rows = scaled(y, height, self.height, self.mask.height());
        rows.any(|row| self.mask.row(row)[columns.clone()].iter().any(|t| *t))
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
