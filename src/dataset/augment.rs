//! Windows of an image as network input, plain or augmented: mirrored, rotated, zoomed, and with
//! other amounts of stain.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use super::targets::ClassMap;
use crate::model::{CENTRE_PX, PATCH_PX};
use crate::raster::{Plane, RgbImage, STAINS, mirror_index, optical_density_table};

/// How patches are augmented. Recorded in the model's history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Mirror and rotate by multiples of 90°: eight views, equally likely.
    pub turns: bool,
    /// The optical density of each stain is multiplied by a factor in 1 ± this.
    pub stain_scale: f32,
    /// A value in ± this is added to the optical density of each stain.
    pub stain_shift: f32,
    /// Nuclei appear up to 1 + this times larger or smaller, uniform in the logarithm.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub zoom: f32,
    /// Rotate by any angle, besides the quarter turns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rotate: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(zoom: &f32) -> bool {
    *zoom == 0.0
}

impl Augmentation {
    /// Patches as they are.
    pub const NONE: Self =
        Self { turns: false, stain_scale: 0.0, stain_shift: 0.0, zoom: 0.0, rotate: false };
    /// `--augment`.
    pub const DEFAULT: Self =
        Self { turns: true, stain_scale: 0.2, stain_shift: 0.03, ..Self::NONE };
    /// `--augment stains`: for tissue of clinics whose staining the training tiles do not show.
    pub const STAINS: Self = Self { stain_scale: 0.5, stain_shift: 0.1, ..Self::DEFAULT };
    /// `--augment strong`.
    pub const STRONG: Self =
        Self { stain_scale: 0.3, stain_shift: 0.05, zoom: 0.35, rotate: true, ..Self::DEFAULT };

    /// Whether pixels are read between the positions of the grid.
    fn interpolates(&self) -> bool {
        self.zoom != 0.0 || self.rotate
    }

    fn varies_stains(&self) -> bool {
        self.stain_scale != 0.0 || self.stain_shift != 0.0
    }
}

/// The named augmentations of the command line and of study designs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AugmentationPreset {
    /// [`Augmentation::NONE`]: patches as they are.
    #[default]
    None,
    /// [`Augmentation::DEFAULT`]: quarter turns and small changes of the stains.
    Default,
    /// [`Augmentation::STRONG`]: rotation by any angle, zoom and larger changes of the stains.
    Strong,
    /// [`Augmentation::STAINS`]: quarter turns and the largest changes of the stains.
    Stains,
}

impl From<AugmentationPreset> for Augmentation {
    fn from(preset: AugmentationPreset) -> Self {
        match preset {
            AugmentationPreset::None => Self::NONE,
            AugmentationPreset::Default => Self::DEFAULT,
            AugmentationPreset::Strong => Self::STRONG,
            AugmentationPreset::Stains => Self::STAINS,
        }
    }
}

/// Values in a patch: 3 × 55 × 55.
pub const PATCH_VALUES: usize = 3 * PATCH_PX * PATCH_PX;

/// A square of an image; what lies outside the image is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First row, in the image, pixels; negative above the image.
    pub row: isize,
    /// First column, in the image, pixels; negative left of the image.
    pub column: isize,
    /// Pixels.
    pub side: usize,
}

impl Window {
    /// The patch around a pixel.
    #[must_use]
    pub fn patch(row: usize, column: usize) -> Self {
        Self::context(row, column, 1)
    }

    /// The receptive field of a square of `square_px` × `square_px` pixels whose first pixel is
    /// (row, column).
    #[must_use]
    pub fn context(row: usize, column: usize, square_px: usize) -> Self {
        Self {
            row: row.cast_signed() - CENTRE_PX.cast_signed(),
            column: column.cast_signed() - CENTRE_PX.cast_signed(),
            side: PATCH_PX - 1 + square_px,
        }
    }

    /// A square inside the image.
    #[must_use]
    pub fn inside(row: usize, column: usize, side: usize) -> Self {
        Self { row: row.cast_signed(), column: column.cast_signed(), side }
    }
}

/// A window as network input `[3][side][side]`; 8-bit values are divided by 255.
pub fn plain_window(image: &RgbImage, window: Window, out: &mut [f32]) {
    warped_window(image, window, Warp::default(), out);
}

fn warped_window(image: &RgbImage, window: Window, warp: Warp, out: &mut [f32]) {
    let area = window.side * window.side;
    for_each_pixel(image, window, warp, |index, pixel| {
        for channel in 0..3 {
            out[channel * area + index] = f32::from(pixel[channel]) / 255.0;
        }
    });
}

/// The geometric part of an augmentation: mirroring and quarter turns, which keep pixels on their
/// grid, then rotation and zoom about the centre of the window, which interpolate.
#[derive(Debug, Clone, Copy, Default)]
struct Warp {
    /// Bits 0 and 1: quarter turns; bit 2: mirror columns.
    view: u8,
    /// `[cos α, sin α] / zoom`; none where nothing is interpolated.
    rotation: Option<[f32; 2]>,
}

/// A position in a window.
#[derive(Clone, Copy)]
struct WindowPixel {
    row: usize,
    column: usize,
}

/// Uniform between -1 and 1.
fn signed_unit(rng: &mut ChaCha8Rng) -> f32 {
    ((rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32) - 1.0
}

impl Warp {
    fn random(augmentation: Augmentation, rng: &mut ChaCha8Rng) -> Self {
        let view = if augmentation.turns { (rng.next_u32() % 8) as u8 } else { 0 };
        if !augmentation.interpolates() {
            return Self { view, rotation: None };
        }
        // With the quarter turns an eighth turn to either side covers every angle.
        let angle =
            if augmentation.rotate { signed_unit(rng) * std::f32::consts::FRAC_PI_4 } else { 0.0 };
        // Pixels of the image to one of the window.
        let step = (signed_unit(rng) * (1.0 + augmentation.zoom).ln()).exp();
        Self { view, rotation: Some([angle.cos() * step, angle.sin() * step]) }
    }

    /// The pixel of an unaugmented window of `side` pixels that the mirrored and turned one shows
    /// at (row, column).
    fn on_grid(&self, row: usize, column: usize, side: usize) -> WindowPixel {
        let last = side - 1;
        let turned = match self.view & 3 {
            0 => WindowPixel { row, column },
            1 => WindowPixel { row: column, column: last - row },
            2 => WindowPixel { row: last - row, column: last - column },
            _ => WindowPixel { row: last - column, column: row },
        };
        if self.view & 4 == 0 {
            return turned;
        }
        WindowPixel { column: last - turned.column, ..turned }
    }
}

/// Optical density after a change of stains: row vector × `matrix` + `offset`.
#[derive(Debug, Clone, Copy)]
pub struct StainChange {
    /// `[from][to]`, over the channels R, G and B.
    pub matrix: [[f32; 3]; 3],
    /// Optical density added to R, G and B.
    pub offset: [f32; 3],
}

impl StainChange {
    /// Separates the stains, multiplies each by `scale`, adds `shift` and mixes them again.
    fn new(scale: [f32; 3], shift: [f32; 3]) -> Self {
        let unmix = inverse(STAINS);
        let mut matrix = [[0.0; 3]; 3];
        let mut offset = [0.0; 3];
        for c in 0..3 {
            for r in 0..3 {
                matrix[r][c] = (0..3).map(|s| unmix[r][s] * scale[s] * STAINS[s][c]).sum();
            }
            offset[c] = (0..3).map(|s| shift[s] * STAINS[s][c]).sum();
        }
        Self { matrix, offset }
    }
}

/// What a seed chooses of an augmentation.
#[derive(Debug, Clone, Copy)]
pub struct Variation {
    warp: Warp,
    /// None where stains stay as they are.
    pub stains: Option<StainChange>,
}

impl Variation {
    /// Depends on augmentation and seed alone.
    #[must_use]
    pub fn random(augmentation: Augmentation, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let warp = Warp::random(augmentation, &mut rng);
        if !augmentation.varies_stains() {
            return Self { warp, stains: None };
        }
        let scale = [0; 3].map(|_| 1.0 + augmentation.stain_scale * signed_unit(&mut rng));
        let shift = [0; 3].map(|_| augmentation.stain_shift * signed_unit(&mut rng));
        Self { warp, stains: Some(StainChange::new(scale, shift)) }
    }

    /// Mirroring and quarter turns as a matrix of 0, 1 and -1. It takes the distance (down, across)
    /// of an output pixel from the centre of the window to that of the pixel it shows.
    #[must_use]
    pub fn turn(&self) -> [[f32; 2]; 2] {
        let mut matrix = match self.warp.view & 3 {
            0 => [[1.0, 0.0], [0.0, 1.0]],
            1 => [[0.0, 1.0], [-1.0, 0.0]],
            2 => [[-1.0, 0.0], [0.0, -1.0]],
            _ => [[0.0, -1.0], [1.0, 0.0]],
        };
        if self.warp.view & 4 != 0 {
            matrix[1] = matrix[1].map(|v| -v);
        }
        matrix
    }

    /// `[cos α, sin α] / zoom` of the rotation that follows; none where pixels stay on their grid.
    #[must_use]
    pub fn rotation(&self) -> Option<[f32; 2]> {
        self.warp.rotation
    }
}

/// [`plain_window`] under the variation that `seed` chooses.
pub fn augmented_window(
    image: &RgbImage,
    window: Window,
    augmentation: Augmentation,
    seed: u64,
    out: &mut [f32],
) {
    let variation = Variation::random(augmentation, seed);
    let Some(StainChange { matrix, offset }) = variation.stains else {
        return warped_window(image, window, variation.warp, out);
    };
    let density = optical_density_table().map(|d| d as f32);
    let area = window.side * window.side;
    for_each_pixel(image, window, variation.warp, |index, pixel| {
        let od = pixel.map(|v| density[usize::from(v)]);
        for c in 0..3 {
            let changed =
                od[0] * matrix[0][c] + od[1] * matrix[1][c] + od[2] * matrix[2][c] + offset[c];
            out[c * area + index] = (((-changed).exp() * 256.0 - 1.0) / 255.0).clamp(0.0, 1.0);
        }
    });
}

/// Classes of a square of a tile, under the geometric variation that [`augmented_window`] applies to
/// its receptive field for the same seed.
pub fn window_classes(
    classes: &ClassMap,
    square: Window,
    augmentation: Augmentation,
    seed: u64,
    out: &mut [usize],
) {
    let warp = Warp::random(augmentation, &mut ChaCha8Rng::seed_from_u64(seed));
    for_each_pixel(classes, square, warp, |index, class| out[index] = usize::from(class));
}

/// Values between four neighbouring pixels.
trait Interpolation: Copy {
    /// `around`: above left, above right, below left, below right; `down` and `across`: distance
    /// from the first, 0 to 1.
    fn interpolate(around: [Self; 4], down: f32, across: f32) -> Self;
}

impl Interpolation for [u8; 3] {
    /// Bilinear, rounded to 8 bits.
    fn interpolate(around: [Self; 4], down: f32, across: f32) -> Self {
        let mix = |a: u8, b: u8| f32::from(a) + (f32::from(b) - f32::from(a)) * across;
        std::array::from_fn(|c| {
            let above = mix(around[0][c], around[1][c]);
            let below = mix(around[2][c], around[3][c]);
            (above + (below - above) * down + 0.5) as u8
        })
    }
}

impl Interpolation for u8 {
    /// The nearest: classes do not mix.
    fn interpolate(around: [Self; 4], down: f32, across: f32) -> Self {
        around[usize::from(down >= 0.5) * 2 + usize::from(across >= 0.5)]
    }
}

/// Inverse of a 3×3 matrix by cofactors.
#[must_use]
pub(super) fn inverse(m: [[f32; 3]; 3]) -> [[f32; 3]; 3] {
    // With cyclic indices the cofactors need no sign.
    let cofactor = |r: usize, c: usize| {
        m[(r + 1) % 3][(c + 1) % 3] * m[(r + 2) % 3][(c + 2) % 3]
            - m[(r + 1) % 3][(c + 2) % 3] * m[(r + 2) % 3][(c + 1) % 3]
    };
    let det: f32 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
    std::array::from_fn(|r| std::array::from_fn(|c| cofactor(c, r) / det))
}

/// Calls `f(index in the window, value)` for every pixel of the warped window, row by row.
fn for_each_pixel<T: Interpolation>(
    plane: &Plane<T>,
    window: Window,
    warp: Warp,
    mut f: impl FnMut(usize, T),
) {
    let side = window.side;
    if let Some(rotation) = warp.rotation {
        for row in 0..side {
            for column in 0..side {
                let source = warp.on_grid(row, column, side);
                f(row * side + column, rotated(plane, window, rotation, source));
            }
        }
        return;
    }
    let rows = mirrored_indices(window.row, side, plane.height());
    let columns = mirrored_indices(window.column, side, plane.width());
    for row in 0..side {
        for column in 0..side {
            let source = warp.on_grid(row, column, side);
            f(row * side + column, plane.get(rows[source.row], columns[source.column]));
        }
    }
}

/// Indices inside `0..len` of `count` positions from `first` on.
fn mirrored_indices(first: isize, count: usize, len: usize) -> Vec<usize> {
    (0..count.cast_signed()).map(|i| mirror_index(first + i, len)).collect()
}

/// The value at a pixel of the window after rotation and zoom about the window's centre.
fn rotated<T: Interpolation>(
    plane: &Plane<T>,
    window: Window,
    [cos, sin]: [f32; 2],
    pixel: WindowPixel,
) -> T {
    let centre = (window.side - 1) as f32 / 2.0;
    let down = pixel.row as f32 - centre;
    let across = pixel.column as f32 - centre;
    let y = centre + down * cos - across * sin;
    let x = centre + down * sin + across * cos;
    let top = window.row + y.floor() as isize;
    let left = window.column + x.floor() as isize;
    let above = mirror_index(top, plane.height());
    let below = mirror_index(top + 1, plane.height());
    let left_column = mirror_index(left, plane.width());
    let right_column = mirror_index(left + 1, plane.width());
    let around = [
        plane.get(above, left_column),
        plane.get(above, right_column),
        plane.get(below, left_column),
        plane.get(below, right_column),
    ];
    T::interpolate(around, y - y.floor(), x - x.floor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::patch_at;

    fn image() -> RgbImage {
        let pixel = |i: usize| [0, 1, 2].map(|c| ((i * 7919 + c * 104_729) % 251) as u8);
        Plane::from_vec(70, 60, (0..4200).map(pixel).collect()).expect("plane")
    }

    #[test]
    fn the_trainers_patch_is_the_engines_patch() {
        let mut patch = vec![0.0; PATCH_VALUES];
        plain_window(&image(), Window::patch(3, 66), &mut patch);
        assert_eq!(patch, patch_at(&image(), 3, 66));
    }

    #[test]
    fn no_augmentation_changes_nothing_and_some_changes_much_but_repeatably() {
        let image = image();
        let make = |augmentation, seed| {
            let mut patch = vec![0.0; PATCH_VALUES];
            augmented_window(&image, Window::patch(30, 30), augmentation, seed, &mut patch);
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
        let mut views = Vec::new();
        for view in 0..8 {
            let mut pixels = vec![[0; 3]; PATCH_PX * PATCH_PX];
            let warp = Warp { view, rotation: None };
            for_each_pixel(&image, Window::patch(30, 30), warp, |index, p| pixels[index] = p);
            assert_eq!(pixels[CENTRE_PX * PATCH_PX + CENTRE_PX], image.get(30, 30));
            assert!(!views.contains(&pixels), "view {view}");
            views.push(pixels);
        }
    }

    #[test]
    fn a_stain_change_of_nothing_is_the_identity() {
        let change = StainChange::new([1.0; 3], [0.0; 3]);
        for r in 0..3 {
            for c in 0..3 {
                let identity = f32::from(u8::from(r == c));
                assert!((change.matrix[r][c] - identity).abs() < 1e-5);
            }
        }
        assert!(change.offset.iter().all(|o| o.abs() < 1e-9));
    }

    #[test]
    fn the_classes_of_a_square_turn_with_its_receptive_field() {
        let image = image();
        let targets =
            Plane::from_vec(70, 60, image.data().iter().map(|p| u8::from(p[0] > 120)).collect())
                .expect("targets");
        let turns = Augmentation { turns: true, ..Augmentation::NONE };
        let (square_px, side) = (8, PATCH_PX + 7);
        for seed in 0..40 {
            let mut values = vec![0.0; 3 * side * side];
            augmented_window(&image, Window::context(20, 31, square_px), turns, seed, &mut values);
            let mut classes = vec![9; square_px * square_px];
            window_classes(&targets, Window::inside(20, 31, square_px), turns, seed, &mut classes);
            for (i, class) in classes.into_iter().enumerate() {
                let (y, x) = (CENTRE_PX + i / square_px, CENTRE_PX + i % square_px);
                assert_eq!(
                    class == 1,
                    values[y * side + x] > 120.5 / 255.0,
                    "seed {seed}, pixel {i}"
                );
            }
        }
    }

    #[test]
    fn a_warp_keeps_the_centre_and_magnifies_about_it() {
        // Brightness rises by 2 a column and not at all by row.
        let ramp = Plane::from_vec(100, 80, (0..8000).map(|i| [(i % 100 * 2) as u8; 3]).collect())
            .expect("ramp");
        let mut pixels = vec![0u8; PATCH_PX * PATCH_PX];
        let mut differences = |rotation| {
            let warp = Warp { view: 0, rotation: Some(rotation) };
            for_each_pixel(&ramp, Window::patch(40, 50), warp, |index, p| pixels[index] = p[0]);
            let at = |y: usize, x: usize| f32::from(pixels[y * PATCH_PX + x]);
            (
                at(CENTRE_PX, CENTRE_PX),
                at(CENTRE_PX, CENTRE_PX + 10) - at(CENTRE_PX, CENTRE_PX - 10),
                at(CENTRE_PX + 10, CENTRE_PX) - at(CENTRE_PX - 10, CENTRE_PX),
            )
        };
        assert_eq!(differences([1.0, 0.0]), (100.0, 40.0, 0.0));
        assert_eq!(differences([0.5, 0.0]), (100.0, 20.0, 0.0), "twice as large");
        let (centre, across, down) = differences([0.0, 1.0]);
        assert!(
            (centre - 100.0).abs() < 0.1 && across.abs() < 1.1 && (down - 40.0).abs() < 1.1,
            "a quarter turn: {across} {down}"
        );
    }

    #[test]
    fn strong_variation_is_repeatable_and_the_classes_follow_it() {
        let side = 120;
        let disc = |i: usize| ((i % side) as f32 - 60.0).hypot((i / side) as f32 - 60.0) < 25.0;
        let image = Plane::from_vec(
            side,
            side,
            (0..side * side).map(|i| [if disc(i) { 0 } else { 255 }; 3]).collect(),
        )
        .expect("image");
        let targets =
            Plane::from_vec(side, side, (0..side * side).map(|i| u8::from(disc(i))).collect())
                .expect("targets");
        let geometry = Augmentation { stain_scale: 0.0, stain_shift: 0.0, ..Augmentation::STRONG };
        let (square_px, wide) = (16, PATCH_PX + 15);
        let mut sizes = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let mut values = vec![0.0; 3 * wide * wide];
            augmented_window(
                &image,
                Window::context(80, 50, square_px),
                geometry,
                seed,
                &mut values,
            );
            let mut classes = vec![9; square_px * square_px];
            window_classes(
                &targets,
                Window::inside(80, 50, square_px),
                geometry,
                seed,
                &mut classes,
            );
            sizes.insert(classes.iter().sum::<usize>());
            let wrong = classes.iter().enumerate().filter(|(i, class)| {
                let value = values[(CENTRE_PX + i / square_px) * wide + CENTRE_PX + i % square_px];
                (value < 0.5) != (**class == 1)
            });
            assert!(wrong.count() <= 4, "only on the very edge");
        }
        assert!(sizes.len() > 5, "{sizes:?}");
    }
}
