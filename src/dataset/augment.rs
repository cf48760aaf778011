//! Patches as network input, plain or varied: mirrored, turned, and stained a little differently.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::model::{CENTRE_PX, PATCH_PX};
use crate::raster::{RgbImage, STAINS, mirror_index, optical_density_table};

/// How patches are varied. Recorded in the model's history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Mirror and turn by multiples of 90°: eight views, equally likely.
    pub turns: bool,
    /// Each stain's optical density is multiplied by 1 ± this.
    pub stain_scale: f32,
    /// To each stain's optical density is added ± this.
    pub stain_shift: f32,
}

impl Augmentation {
    /// No variation.
    pub const NONE: Self = Self { turns: false, stain_scale: 0.0, stain_shift: 0.0 };
    /// What `--augment` means.
    pub const DEFAULT: Self = Self { turns: true, stain_scale: 0.2, stain_shift: 0.03 };
}

/// Values in a patch: 3 × 55 × 55.
pub const PATCH_VALUES: usize = 3 * PATCH_PX * PATCH_PX;

/// The patch around a pixel: channel, row, column; value / 255; mirrored at the image border.
pub fn plain_patch(image: &RgbImage, row: usize, column: usize, out: &mut [f32]) {
    each_pixel(image, row, column, 0, |at, pixel| {
        for c in 0..3 {
            out[c * PATCH_PX * PATCH_PX + at] = f32::from(pixel[c]) / 255.0;
        }
    });
}

/// A variation of [`plain_patch`] that depends on `seed` alone.
pub fn augmented_patch(
    image: &RgbImage,
    row: usize,
    column: usize,
    augmentation: Augmentation,
    seed: u64,
    out: &mut [f32],
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let view = if augmentation.turns { (rng.next_u32() % 8) as u8 } else { 0 };
    if augmentation.stain_scale == 0.0 && augmentation.stain_shift == 0.0 {
        each_pixel(image, row, column, view, |at, pixel| {
            for c in 0..3 {
                out[c * PATCH_PX * PATCH_PX + at] = f32::from(pixel[c]) / 255.0;
            }
        });
        return;
    }
    let mut signed = || ((rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32) - 1.0;
    let scale = [0; 3].map(|_| 1.0 + augmentation.stain_scale * signed());
    let shift = [0; 3].map(|_| augmentation.stain_shift * signed());
    let (matrix, offset) = stain_change(scale, shift);
    let density = optical_density_table().map(|d| d as f32);
    each_pixel(image, row, column, view, |at, pixel| {
        let od = pixel.map(|v| density[usize::from(v)]);
        for c in 0..3 {
            let changed = od[0] * matrix[0][c] + od[1] * matrix[1][c] + od[2] * matrix[2][c] + offset[c];
            out[c * PATCH_PX * PATCH_PX + at] = (((-changed).exp() * 256.0 - 1.0) / 255.0).clamp(0.0, 1.0);
        }
    });
}

/// Row vector × matrix + offset: to stains, scaled and shifted there, and back.
fn stain_change(scale: [f32; 3], shift: [f32; 3]) -> ([[f32; 3]; 3], [f32; 3]) {
    let inverse = inverse(STAINS);
    let mut matrix = [[0.0; 3]; 3];
    for (r, c) in (0..3).flat_map(|r| (0..3).map(move |c| (r, c))) {
        matrix[r][c] = (0..3).map(|s| inverse[r][s] * scale[s] * STAINS[s][c]).sum();
    }
    let offset = [0, 1, 2].map(|c| (0..3).map(|s| shift[s] * STAINS[s][c]).sum());
    (matrix, offset)
}

/// Inverse of a 3×3 matrix by cofactors.
#[must_use]
pub fn inverse(m: [[f32; 3]; 3]) -> [[f32; 3]; 3] {
    let minor = |r: usize, c: usize| {
        let (a, b) = ((r + 1) % 3, (r + 2) % 3);
        let (d, e) = ((c + 1) % 3, (c + 2) % 3);
        m[a][d] * m[b][e] - m[a][e] * m[b][d]
    };
    let det: f32 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
    std::array::from_fn(|r| std::array::from_fn(|c| minor(c, r) / det))
}

/// Calls `f(position in the patch, pixel)` for the patch seen mirrored (`view` & 4) and turned (`view` & 3).
fn each_pixel(image: &RgbImage, row: usize, column: usize, view: u8, mut f: impl FnMut(usize, [u8; 3])) {
    const LAST: usize = PATCH_PX - 1;
    let line = |centre: usize, len: usize| {
        let start = centre.cast_signed() - CENTRE_PX.cast_signed();
        std::array::from_fn::<usize, PATCH_PX, _>(|i| mirror_index(start + i.cast_signed(), len))
    };
    let (rows, columns) = (line(row, image.height()), line(column, image.width()));
    for y in 0..PATCH_PX {
        for x in 0..PATCH_PX {
            let (a, b) = match view & 3 {
                0 => (y, x),
                1 => (x, LAST - y),
                2 => (LAST - y, LAST - x),
                _ => (LAST - x, y),
            };
            let b = if view & 4 == 0 { b } else { LAST - b };
            f(y * PATCH_PX + x, image.get(rows[a], columns[b]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::patch_at;
    use crate::raster::Plane;

    fn image() -> RgbImage {
        let pixel = |i: usize| [0, 1, 2].map(|c| ((i * 7919 + c * 104_729) % 251) as u8);
        Plane::from_vec(70, 60, (0..4200).map(pixel).collect()).expect("plane")
    }

    #[test]
    fn the_trainers_patch_is_the_engines_patch() {
        let mut patch = vec![0.0; PATCH_VALUES];
        plain_patch(&image(), 3, 66, &mut patch);
        assert_eq!(patch, patch_at(&image(), 3, 66));
    }

    #[test]
    fn no_augmentation_changes_nothing_and_some_changes_much_but_repeatably() {
        let image = image();
        let make = |augmentation, seed| {
            let mut patch = vec![0.0; PATCH_VALUES];
            augmented_patch(&image, 30, 30, augmentation, seed, &mut patch);
            patch
        };
        let plain = patch_at(&image, 30, 30);
        assert_eq!(make(Augmentation::NONE, 1), plain);
        assert_ne!(make(Augmentation::DEFAULT, 1), plain);
        assert_eq!(make(Augmentation::DEFAULT, 1), make(Augmentation::DEFAULT, 1));
        assert_ne!(make(Augmentation::DEFAULT, 1), make(Augmentation::DEFAULT, 2));
    }

    #[test]
    fn the_eight_views_are_different_and_keep_the_centre() {
        let image = image();
        let mut seen = Vec::new();
        for view in 0..8 {
            let mut pixels = vec![[0; 3]; PATCH_PX * PATCH_PX];
            each_pixel(&image, 30, 30, view, |at, p| pixels[at] = p);
            assert_eq!(pixels[CENTRE_PX * PATCH_PX + CENTRE_PX], image.get(30, 30));
            assert!(!seen.contains(&pixels), "view {view}");
            seen.push(pixels);
        }
    }

    #[test]
    fn a_stain_change_of_nothing_is_the_identity() {
        let (matrix, offset) = stain_change([1.0; 3], [0.0; 3]);
        for (r, c) in (0..3).flat_map(|r| (0..3).map(move |c| (r, c))) {
            assert!((matrix[r][c] - f32::from(u8::from(r == c))).abs() < 1e-5);
        }
        assert!(offset.iter().all(|o| o.abs() < 1e-9));
    }
}
