//! Patches as network input, plain or varied: mirrored, turned, and stained a little differently.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::model::{CENTRE_PX, PATCH_PX};
use crate::raster::{LabelMap, Plane, RgbImage, STAINS, mirror_index, optical_density_table};

/// How patches are varied. Recorded in the model's history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Mirror and turn by multiples of 90°: eight views, equally likely.
    pub turns: bool,
    /// Each stain's optical density is multiplied by 1 ± this.
    pub stain_scale: f32,
    /// To each stain's optical density is added ± this.
    pub stain_shift: f32,
    /// Nuclei appear up to 1 + this times larger or smaller, evenly on a logarithmic scale.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub zoom: f32,
    /// Turn by any angle, besides the quarter turns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rotate: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_nothing(zoom: &f32) -> bool {
    *zoom == 0.0
}

impl Augmentation {
    /// No variation.
    pub const NONE: Self =
        Self { turns: false, stain_scale: 0.0, stain_shift: 0.0, zoom: 0.0, rotate: false };
    /// What `--augment` means.
    pub const DEFAULT: Self =
        Self { turns: true, stain_scale: 0.2, stain_shift: 0.03, ..Self::NONE };
    /// What `--augment stains` means: for tissue of clinics whose stains the tiles do not show.
    pub const STAINS: Self = Self { stain_scale: 0.5, stain_shift: 0.1, ..Self::DEFAULT };
    /// What `--augment strong` means.
    pub const STRONG: Self =
        Self { stain_scale: 0.3, stain_shift: 0.05, zoom: 0.35, rotate: true, ..Self::DEFAULT };
}

/// Values in a patch: 3 × 55 × 55.
pub const PATCH_VALUES: usize = 3 * PATCH_PX * PATCH_PX;

/// A square of an image, mirrored where it reaches over the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub row: isize,
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

    /// What the answers of a square of `spread` × `spread` pixels, its first at (row, column),
    /// depend on.
    #[must_use]
    pub fn context(row: usize, column: usize, spread: usize) -> Self {
        let first = |at: usize| at.cast_signed() - CENTRE_PX.cast_signed();
        Self { row: first(row), column: first(column), side: PATCH_PX - 1 + spread }
    }

    /// A square inside the image.
    #[must_use]
    pub fn inside(row: usize, column: usize, side: usize) -> Self {
        Self { row: row.cast_signed(), column: column.cast_signed(), side }
    }
}

/// A window as input: channel, row, column; value / 255.
pub fn plain_window(image: &RgbImage, window: Window, out: &mut [f32]) {
    seen_as_is(image, window, Warp::default(), out);
}

fn seen_as_is(image: &RgbImage, window: Window, seen: Warp, out: &mut [f32]) {
    let area = window.side * window.side;
    each_pixel(image, window, seen, |at, pixel| {
        for c in 0..3 {
            out[c * area + at] = f32::from(pixel[c]) / 255.0;
        }
    });
}

/// How a window is seen: mirrored (4), turned by quarters (0 to 3), then by any angle and size
/// about its middle.
#[derive(Debug, Clone, Copy, Default)]
struct Warp {
    view: u8,
    /// Cosine and sine of the angle, over the zoom.
    warp: Option<[f32; 2]>,
}

/// Evenly between -1 and 1.
fn signed(rng: &mut ChaCha8Rng) -> f32 {
    ((rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32) - 1.0
}

impl Warp {
    /// What a seed chooses.
    fn drawn(augmentation: Augmentation, rng: &mut ChaCha8Rng) -> Self {
        let view = if augmentation.turns { (rng.next_u32() % 8) as u8 } else { 0 };
        if augmentation.zoom == 0.0 && !augmentation.rotate {
            return Self { view, warp: None };
        }
        // A quarter turn is there already, so an eighth to either side covers every angle.
        let angle =
            if augmentation.rotate { signed(rng) * std::f32::consts::FRAC_PI_4 } else { 0.0 };
        let step = (signed(rng) * (1.0 + augmentation.zoom).ln()).exp();
        Self { view, warp: Some([angle.cos() * step, angle.sin() * step]) }
    }
}

/// What a seed chooses: how a window is seen, and how its stains change.
#[derive(Debug, Clone, Copy)]
pub struct Variation {
    seen: Warp,
    /// Optical density as row vector × matrix + offset; none where stains stay as they are.
    pub stains: Option<([[f32; 3]; 3], [f32; 3])>,
}

impl Variation {
    /// Depends on `seed` alone.
    #[must_use]
    pub fn drawn(augmentation: Augmentation, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let seen = Warp::drawn(augmentation, &mut rng);
        if augmentation.stain_scale == 0.0 && augmentation.stain_shift == 0.0 {
            return Self { seen, stains: None };
        }
        let scale = [0; 3].map(|_| 1.0 + augmentation.stain_scale * signed(&mut rng));
        let shift = [0; 3].map(|_| augmentation.stain_shift * signed(&mut rng));
        Self { seen, stains: Some(stain_change(scale, shift)) }
    }

    /// Mirroring and quarter turns: distances from the middle of a window, down and across, become
    /// `[[a, b], [c, d]] · (down, across)`, all of them 0, 1 or -1.
    #[must_use]
    pub fn turn(&self) -> [[f32; 2]; 2] {
        let [down, across] = match self.seen.view & 3 {
            0 => [[1.0, 0.0], [0.0, 1.0]],
            1 => [[0.0, 1.0], [-1.0, 0.0]],
            2 => [[-1.0, 0.0], [0.0, -1.0]],
            _ => [[0.0, -1.0], [1.0, 0.0]],
        };
        [down, if self.seen.view & 4 == 0 { across } else { across.map(|v| -v) }]
    }

    /// Cosine and sine of the angle that is turned by then, over the zoom; none where pixels stay
    /// on their grid.
    #[must_use]
    pub fn warp(&self) -> Option<[f32; 2]> {
        self.seen.warp
    }
}

/// A variation of [`plain_window`] that depends on `seed` alone.
pub fn augmented_window(
    image: &RgbImage,
    window: Window,
    augmentation: Augmentation,
    seed: u64,
    out: &mut [f32],
) {
    let variation = Variation::drawn(augmentation, seed);
    let Some((matrix, offset)) = variation.stains else {
        return seen_as_is(image, window, variation.seen, out);
    };
    let density = optical_density_table().map(|d| d as f32);
    let area = window.side * window.side;
    each_pixel(image, window, variation.seen, |at, pixel| {
        let od = pixel.map(|v| density[usize::from(v)]);
        for c in 0..3 {
            let changed =
                od[0] * matrix[0][c] + od[1] * matrix[1][c] + od[2] * matrix[2][c] + offset[c];
            out[c * area + at] = (((-changed).exp() * 256.0 - 1.0) / 255.0).clamp(0.0, 1.0);
        }
    });
}

/// Classes (1 is nucleus) of a square of labels, seen as [`augmented_window`] sees its context with
/// the same seed.
pub fn window_classes(
    labels: &LabelMap,
    square: Window,
    augmentation: Augmentation,
    seed: u64,
    out: &mut [usize],
) {
    let seen = Warp::drawn(augmentation, &mut ChaCha8Rng::seed_from_u64(seed));
    each_pixel(labels, square, seen, |at, label| out[at] = usize::from(label > 0));
}

/// A pixel between others.
trait Interpolation: Copy {
    /// From the four around, and how far it is from the first, down and across (0 to 1).
    fn between(around: [Self; 4], down: f32, across: f32) -> Self;
}

impl Interpolation for [u8; 3] {
    fn between(around: [Self; 4], down: f32, across: f32) -> Self {
        let line = |a: u8, b: u8| f32::from(a) + (f32::from(b) - f32::from(a)) * across;
        std::array::from_fn(|c| {
            let (above, below) =
                (line(around[0][c], around[1][c]), line(around[2][c], around[3][c]));
            (above + (below - above) * down + 0.5) as u8
        })
    }
}

impl Interpolation for u32 {
    /// Labels do not mix: the nearest.
    fn between(around: [Self; 4], down: f32, across: f32) -> Self {
        around[usize::from(down >= 0.5) * 2 + usize::from(across >= 0.5)]
    }
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

/// Calls `f(position in the window, pixel)` for the window as it is seen.
fn each_pixel<T: Interpolation>(
    image: &Plane<T>,
    window: Window,
    seen: Warp,
    mut f: impl FnMut(usize, T),
) {
    let last = window.side - 1;
    let turned = |y: usize, x: usize| {
        let (a, b) = match seen.view & 3 {
            0 => (y, x),
            1 => (x, last - y),
            2 => (last - y, last - x),
            _ => (last - x, y),
        };
        (a, if seen.view & 4 == 0 { b } else { last - b })
    };
    if let Some(warp) = seen.warp {
        let middle = last as f32 / 2.0;
        for (y, x) in (0..window.side * window.side).map(|i| (i / window.side, i % window.side)) {
            let (a, b) = turned(y, x);
            f(
                y * window.side + x,
                warped(image, window, warp, a as f32 - middle, b as f32 - middle),
            );
        }
        return;
    }
    let line = |first: isize, len: usize| -> Vec<usize> {
        (0..window.side).map(|i| mirror_index(first + i.cast_signed(), len)).collect()
    };
    let (rows, columns) = (line(window.row, image.height()), line(window.column, image.width()));
    for (y, x) in (0..window.side * window.side).map(|i| (i / window.side, i % window.side)) {
        let (a, b) = turned(y, x);
        f(y * window.side + x, image.get(rows[a], columns[b]));
    }
}

/// The image at a distance from the window's middle, turned and stretched.
fn warped<T: Interpolation>(
    image: &Plane<T>,
    window: Window,
    [cos, sin]: [f32; 2],
    down: f32,
    across: f32,
) -> T {
    let middle = (window.side - 1) as f32 / 2.0;
    let (y, x) = (middle + down * cos - across * sin, middle + down * sin + across * cos);
    let (top, left) = (y.floor(), x.floor());
    let row = |by: isize| mirror_index(window.row + top as isize + by, image.height());
    let column = |by: isize| mirror_index(window.column + left as isize + by, image.width());
    let ((r0, r1), (c0, c1)) = ((row(0), row(1)), (column(0), column(1)));
    let around = [image.get(r0, c0), image.get(r0, c1), image.get(r1, c0), image.get(r1, c1)];
    T::between(around, y - top, x - left)
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
        let mut seen = Vec::new();
        for view in 0..8 {
            let mut pixels = vec![[0; 3]; PATCH_PX * PATCH_PX];
            each_pixel(&image, Window::patch(30, 30), Warp { view, warp: None }, |at, p| {
                pixels[at] = p
            });
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

    #[test]
    fn the_classes_of_a_square_turn_with_its_context() {
        let image = image();
        let labels =
            Plane::from_vec(70, 60, image.data().iter().map(|p| u32::from(p[0] > 120)).collect())
                .expect("labels");
        let turns = Augmentation { turns: true, ..Augmentation::NONE };
        let (spread, side) = (8, PATCH_PX + 7);
        for seed in 0..40 {
            let mut values = vec![0.0; 3 * side * side];
            augmented_window(&image, Window::context(20, 31, spread), turns, seed, &mut values);
            let mut classes = vec![9; spread * spread];
            window_classes(&labels, Window::inside(20, 31, spread), turns, seed, &mut classes);
            for (i, class) in classes.into_iter().enumerate() {
                let (y, x) = (CENTRE_PX + i / spread, CENTRE_PX + i % spread);
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
        let mut see = |warp| {
            let seen = Warp { view: 0, warp: Some(warp) };
            each_pixel(&ramp, Window::patch(40, 50), seen, |at, p| pixels[at] = p[0]);
            let at = |y: usize, x: usize| f32::from(pixels[y * PATCH_PX + x]);
            (
                at(CENTRE_PX, CENTRE_PX),
                at(CENTRE_PX, CENTRE_PX + 10) - at(CENTRE_PX, CENTRE_PX - 10),
                at(CENTRE_PX + 10, CENTRE_PX) - at(CENTRE_PX - 10, CENTRE_PX),
            )
        };
        assert_eq!(see([1.0, 0.0]), (100.0, 40.0, 0.0));
        assert_eq!(see([0.5, 0.0]), (100.0, 20.0, 0.0), "twice as large");
        let (centre, across, down) = see([0.0, 1.0]);
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
        let labels =
            Plane::from_vec(side, side, (0..side * side).map(|i| u32::from(disc(i))).collect())
                .expect("labels");
        let geometry = Augmentation { stain_scale: 0.0, stain_shift: 0.0, ..Augmentation::STRONG };
        let (spread, wide) = (16, PATCH_PX + 15);
        let mut sizes = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let mut values = vec![0.0; 3 * wide * wide];
            augmented_window(&image, Window::context(80, 50, spread), geometry, seed, &mut values);
            let mut classes = vec![9; spread * spread];
            window_classes(&labels, Window::inside(80, 50, spread), geometry, seed, &mut classes);
            sizes.insert(classes.iter().sum::<usize>());
            let wrong = classes.iter().enumerate().filter(|(i, class)| {
                let value = values[(CENTRE_PX + i / spread) * wide + CENTRE_PX + i % spread];
                (value < 0.5) != (**class == 1)
            });
            assert!(wrong.count() <= 4, "only on the very edge");
        }
        assert!(sizes.len() > 5, "{sizes:?}");
    }
}
