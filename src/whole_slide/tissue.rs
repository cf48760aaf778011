//! Where there is tissue: background is bright and without colour, or padding.

use std::borrow::Cow;

use super::region::SlideRegion;
use crate::engine::{Block, blocks};
use crate::error::Result;
use crate::raster::{Mask, Padding, Plane, RgbImage};
use crate::slide::{Rect, Slide};

/// Longest side of the overview in which tissue is looked for, pixels.
const OVERVIEW_PX: usize = 2048;
/// A pixel is stained when its largest and smallest colour value differ by at least this.
const STAINED: u8 = 18;
/// A pixel of a lower mean value is tissue whatever its colour.
const DARK: u32 = 200;
/// Pixels of the overview within this many of tissue count too: thin edges are missed on a coarse
/// level.
const REACH: usize = 2;
/// Most windows that a stain is measured on.
const MAX_WINDOWS: usize = 24;
/// Side of these windows, in the model's pixels.
const WINDOW_PX: usize = 256;

/// A coarse mask of tissue.
#[derive(Debug, Clone, PartialEq)]
pub struct Tissue {
    /// Covers the whole, however small.
    mask: Mask,
    /// Size of the whole, in the model's pixels.
    width: usize,
    height: usize,
}

/// The coarsest level that still shows enough, read in strips of rows: the only level of a flat
/// slide is the slide itself.
#[derive(Debug)]
pub struct Overview {
    /// Level that is read; 0 is the finest.
    pub level: usize,
    /// One pixel of the overview in this many of the level, in both directions.
    step: usize,
    /// Width and height of the level, pixels.
    size: (usize, usize),
    /// Rows of a strip: whole tiles where possible.
    strip_rows: usize,
    pixels: Vec<[u8; 3]>,
}

impl Overview {
    /// Chooses the level.
    #[must_use]
    pub fn new(slide: &Slide) -> Self {
        let mut level = slide.levels.len() - 1;
        for (index, candidate) in slide.levels.iter().enumerate() {
            if candidate.width.max(candidate.height) <= OVERVIEW_PX {
                level = index;
                break;
            }
        }
        let own = &slide.levels[level];
        let step = own.width.max(own.height).div_ceil(OVERVIEW_PX);
        let strip_rows = (own.tile_height.div_ceil(step) * step).max(step);
        Self { level, step, size: (own.width, own.height), strip_rows, pixels: Vec::new() }
    }

    /// Strips of the level to read, from the top.
    #[must_use]
    pub fn strips(&self) -> Vec<Rect> {
        let (width, height) = self.size;
        let mut strips = Vec::new();
        for top in (0..height).step_by(self.strip_rows) {
            let rows = self.strip_rows.min(height - top);
            strips.push(Rect { x: 0, y: top.cast_signed(), width, height: rows });
        }
        strips
    }

    /// Takes the next strip.
    pub fn add(&mut self, strip: &RgbImage) {
        // Strips are multiples of `step` rows high, so the sampled rows continue evenly from strip
        // to strip.
        for y in (0..strip.height()).step_by(self.step) {
            for x in (0..strip.width()).step_by(self.step) {
                self.pixels.push(strip.get(y, x));
            }
        }
    }

    /// Tissue, for a whole of `width × height` of the model's pixels.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::error::Error::Mismatch) when strips are missing.
    pub fn tissue(self, width: usize, height: usize) -> Result<Tissue> {
        let columns = self.size.0.div_ceil(self.step);
        let rows = self.size.1.div_ceil(self.step);
        Ok(Tissue::of(&Plane::from_vec(columns, rows, self.pixels)?, width, height))
    }
}

impl Tissue {
    /// From a small picture of the whole.
    #[must_use]
    pub fn of(picture: &RgbImage, width: usize, height: usize) -> Self {
        let (columns, rows) = (picture.width(), picture.height());
        let mut mask = Plane::filled(columns, rows, false);
        let padding = Padding::of(picture);
        let is_padding = |y, x| padding.as_ref().is_some_and(|padding| padding.mask().get(y, x));
        for y in 0..rows {
            for x in 0..columns {
                if !is_tissue(picture.get(y, x)) || is_padding(y, x) {
                    continue;
                }
                // Dilation by a square of 2 · REACH + 1 pixels.
                for near_y in y.saturating_sub(REACH)..(y + REACH + 1).min(rows) {
                    for near_x in x.saturating_sub(REACH)..(x + REACH + 1).min(columns) {
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

    /// Whether it was found for a whole of that size.
    #[must_use]
    pub fn is_of(&self, width: usize, height: usize) -> bool {
        (self.width, self.height) == (width, height)
    }

    /// Whether a rectangle holds any.
    #[must_use]
    pub fn touches(&self, x: usize, y: usize, width: usize, height: usize) -> bool {
        let columns = mask_range(x, width, self.width, self.mask.width());
        let mut rows = mask_range(y, height, self.height, self.mask.height());
        rows.any(|row| self.mask.row(row)[columns.clone()].contains(&true))
    }

    /// Windows that show tissue, evenly chosen over the whole: the stain is measured on these.
    #[must_use]
    pub fn windows(&self) -> Vec<Block> {
        let side = WINDOW_PX.min(self.width).min(self.height);
        let mut windows = blocks(self.width / side * side, self.height / side * side, side);
        windows.retain(|w| self.touches(w.column, w.row, w.width, w.height));
        // Every step-th window in reading order, so that no part of the slide dominates.
        let step = windows.len().div_ceil(MAX_WINDOWS).max(1);
        windows.into_iter().step_by(step).collect()
    }

    /// Area of tissue in a region, square pixels of the finest level, of which each of the model's
    /// spans `scale`.
    #[must_use]
    pub fn area_px(&self, region: &SlideRegion, scale: f64) -> f64 {
        let mut tissue = Cow::Borrowed(&self.mask);
        let is_coarse = self.mask.width().max(self.mask.height()) < OVERVIEW_PX / 4;
        if is_coarse && *region != SlideRegion::Everything {
            // Finer than the mask, so that the border of the region counts.
            let [columns, rows] = [self.mask.width(), self.mask.height()];
            let fine = OVERVIEW_PX.div_ceil(columns.max(rows));
            let mut finer = Plane::filled(columns * fine, rows * fine, false);
            for y in 0..rows * fine {
                for (x, value) in finer.row_mut(y).iter_mut().enumerate() {
                    *value = self.mask.get(y / fine, x / fine);
                }
            }
            tissue = Cow::Owned(finer);
        }
        let [columns, rows] = [tissue.width(), tissue.height()];
        let cell = [self.width as f64 / columns as f64, self.height as f64 / rows as f64];
        let cell = cell.map(|side| side * scale);
        let inside = region.mask(columns, rows, cell);
        let both = tissue.data().iter().zip(inside.data()).filter(|(a, b)| **a && **b).count();
        both as f64 * cell[0] * cell[1]
    }

    /// Share of the slide, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let pixels = self.mask.data();
        pixels.iter().filter(|is_tissue| **is_tissue).count() as f64 / pixels.len() as f64
    }
}

fn is_tissue([r, g, b]: [u8; 3]) -> bool {
    // Glass is bright and grey: a pixel is tissue if it is coloured or dark.
    let range = r.max(g).max(b) - r.min(g).min(b);
    range >= STAINED || (u32::from(r) + u32::from(g) + u32::from(b)) / 3 < DARK
}

/// Columns (or rows) of a mask of `mask_len` that a run of the whole touches; at least one.
fn mask_range(from: usize, len: usize, whole: usize, mask_len: usize) -> std::ops::Range<usize> {
    // In 64 bits: the side of a slide times that of its mask does not fit the 32 bits of wasm.
    let [from, len, whole, mask_len] = [from, len, whole, mask_len].map(|v| v as u64);
    let first = (from * mask_len / whole).min(mask_len - 1);
    let end = ((from + len) * mask_len).div_ceil(whole).clamp(first + 1, mask_len);
    first as usize..end as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_tissue() {
        let mut picture = Plane::filled(100, 60, [242, 240, 243]);
        for y in 0..60 {
            picture.row_mut(y)[40..].fill([0; 3]);
        }
        assert!(Tissue::of(&picture, 1000, 600).share() == 0.0);
        picture.set(30, 20, [200, 120, 190]);
        assert!(Tissue::of(&picture, 1000, 600).touches(200, 300, 10, 10));
        // A speck is tissue whatever its colour.
        let mut speck = Plane::filled(100, 60, [242, 240, 243]);
        speck.set(30, 50, [0; 3]);
        assert!(Tissue::of(&speck, 1000, 600).touches(500, 300, 10, 10));
    }

    #[test]
    fn the_area_of_tissue_is_that_inside_the_region() {
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.01;
        let region = |text: &str| text.parse::<SlideRegion>().expect("region");
        let everywhere = Tissue::everywhere(1000, 600);
        let all = SlideRegion::Everything;
        assert!(near(everywhere.area_px(&all, 2.0), 2000.0 * 1200.0));
        // 300 × 200 pixels of the finest level lie inside the slide.
        let corner = region("1700,1000,900,900");
        assert!(near(everywhere.area_px(&corner, 2.0), 300.0 * 200.0));
        let mut picture = Plane::filled(100, 60, [242, 240, 243]);
        for y in 0..60 {
            for (x, pixel) in picture.row_mut(y)[..48].iter_mut().enumerate() {
                *pixel = [200, 120 + (x * y % 7) as u8, 190];
            }
        }
        let left = Tissue::of(&picture, 1000, 600);
        assert!(near(left.area_px(&all, 1.0), 500.0 * 600.0));
        assert!(near(left.area_px(&region("250,0,750,300"), 1.0), 250.0 * 300.0));
        assert!(left.area_px(&region("600,0,100,100"), 1.0) == 0.0);
    }

    #[test]
    fn stained_pixels_are_tissue_and_background_is_not() {
        let mut picture = Plane::filled(40, 20, [242, 240, 243]);
        picture.set(5, 30, [200, 120, 190]);
        let tissue = Tissue::of(&picture, 4000, 2000);
        assert!(tissue.touches(3000, 500, 10, 10));
        assert!(tissue.touches(2750, 300, 100, 100), "near it too");
        assert!(!tissue.touches(0, 0, 2000, 2000) && !tissue.touches(3000, 1500, 1000, 500));
        assert!(tissue.touches(0, 0, 4000, 2000) && tissue.share() < 0.05);
    }
}
