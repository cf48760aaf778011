//! Windows of an image as network input, plain or augmented: mirrored, rotated, zoomed, with other
//! amounts of stain, under another light and out of focus.

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
    /// The optical density is multiplied by a factor between 1 / (1 + this) and 1 + this, uniform
    /// in the logarithm: the gamma of the camera.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gamma: f32,
    /// The light is multiplied by a factor between 1 / (1 + this) and 1 + this, uniform in the
    /// logarithm; what becomes brighter than white is white.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub brightness: f32,
    /// The distance of values from the middle grey is multiplied by a factor in 1 ± this.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub contrast: f32,
    /// Standard deviation of a Gaussian blur, uniform between 0 and this, pixels; at most
    /// [`MAX_BLUR_PX`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub blur_px: f32,
    /// Brightness loses what a JPEG file of a quality between 100 − this and 100, uniform, loses;
    /// at most 99. 0 is no loss at all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jpeg_loss: f32,
}

/// Largest standard deviation of a blur, pixels. Beyond it the kernel would be larger than a
/// nucleus.
pub const MAX_BLUR_PX: f32 = 5.0;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(zoom: &f32) -> bool {
    *zoom == 0.0
}

impl Augmentation {
    /// Patches as they are.
    pub const NONE: Self = Self {
        turns: false,
        stain_scale: 0.0,
        stain_shift: 0.0,
        zoom: 0.0,
        rotate: false,
        gamma: 0.0,
        brightness: 0.0,
        contrast: 0.0,
        blur_px: 0.0,
        jpeg_loss: 0.0,
    };
    /// `--augment`.
    pub const DEFAULT: Self =
        Self { turns: true, stain_scale: 0.2, stain_shift: 0.03, ..Self::NONE };
    /// `--augment stains`: for tissue of clinics whose staining the training tiles do not show.
    pub const STAINS: Self = Self { stain_scale: 0.5, stain_shift: 0.1, ..Self::DEFAULT };
    /// `--augment strong`.
    pub const STRONG: Self =
        Self { stain_scale: 0.3, stain_shift: 0.05, zoom: 0.35, rotate: true, ..Self::DEFAULT };
    /// `--augment wide`: strong, with the stains of [`Self::STAINS`], other light, blur and JPEG
    /// losses, for images of many clinics and scanners.
    pub const WIDE: Self = Self {
        stain_scale: 0.5,
        stain_shift: 0.1,
        gamma: 0.15,
        brightness: 0.1,
        contrast: 0.15,
        blur_px: 1.0,
        jpeg_loss: 50.0,
        ..Self::STRONG
    };

    /// Whether pixels are read between the positions of the grid.
    fn interpolates(&self) -> bool {
        self.zoom != 0.0 || self.rotate
    }

    fn varies_stains(&self) -> bool {
        self.stain_scale != 0.0 || self.stain_shift != 0.0
    }

    fn varies_light(&self) -> bool {
        self.gamma != 0.0 || self.brightness != 0.0
    }

    /// Whether the values of a window change after its stains and light.
    #[must_use]
    pub fn varies_quality(&self) -> bool {
        self.contrast != 0.0 || self.blur_px != 0.0 || self.jpeg_loss != 0.0
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
    /// [`Augmentation::WIDE`]: all of them, and gamma, brightness, contrast, blur and JPEG losses.
    Wide,
}

impl From<AugmentationPreset> for Augmentation {
    fn from(preset: AugmentationPreset) -> Self {
        match preset {
            AugmentationPreset::None => Self::NONE,
            AugmentationPreset::Default => Self::DEFAULT,
            AugmentationPreset::Strong => Self::STRONG,
            AugmentationPreset::Stains => Self::STAINS,
            AugmentationPreset::Wide => Self::WIDE,
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

/// Between 1 / (1 + `range`) and 1 + `range`, uniform in the logarithm.
fn random_factor(range: f32, rng: &mut ChaCha8Rng) -> f32 {
    (signed_unit(rng) * (1.0 + range).ln()).exp()
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
        let step = random_factor(augmentation.zoom, rng);
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

/// Optical density after a change of stains and light: row vector × `matrix` + `offset`.
#[derive(Debug, Clone, Copy)]
pub struct StainChange {
    /// `[from][to]`, over the channels R, G and B.
    pub matrix: [[f32; 3]; 3],
    /// Optical density added to R, G and B.
    pub offset: [f32; 3],
}

impl StainChange {
    /// Colours stay as they are.
    const NONE: Self =
        Self { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], offset: [0.0; 3] };

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

    /// The change seen by a camera of another gamma, under `brightness` times the light.
    fn under_light(self, gamma: f32, brightness: f32) -> Self {
        Self {
            matrix: self.matrix.map(|row| row.map(|m| m * gamma)),
            // A density is minus the logarithm of light.
            offset: self.offset.map(|o| o * gamma - brightness.ln()),
        }
    }
}

/// Changes of the values of a window, 0 to 1, after those of stains and light.
#[derive(Debug, Clone, Copy)]
struct ImageQuality {
    /// Factor on the distance from 0.5.
    contrast: f32,
    /// Standard deviation, pixels.
    blur_px: f32,
    jpeg: Option<JpegLoss>,
}

/// What a JPEG file loses of brightness.
#[derive(Debug, Clone, Copy)]
struct JpegLoss {
    /// 1 to 100.
    quality: f32,
    /// Rows and columns of the first blocks that lie before the window, 0 to 7.
    phase: [usize; 2],
}

impl ImageQuality {
    fn random(augmentation: Augmentation, rng: &mut ChaCha8Rng) -> Self {
        let contrast = 1.0 + augmentation.contrast * signed_unit(rng);
        let blur_px = augmentation.blur_px * f32::midpoint(signed_unit(rng), 1.0);
        let mut jpeg = None;
        if augmentation.jpeg_loss != 0.0 {
            let loss = augmentation.jpeg_loss * f32::midpoint(signed_unit(rng), 1.0);
            let phase = [0; 2].map(|_| (rng.next_u32() % 8) as usize);
            jpeg = Some(JpegLoss { quality: (100.0 - loss).clamp(1.0, 100.0), phase });
        }
        Self { contrast, blur_px: blur_px.clamp(0.0, MAX_BLUR_PX), jpeg }
    }

    /// Changes `[3][side][side]` in place.
    fn apply(self, values: &mut [f32], side: usize) {
        let kernel = gaussian(self.blur_px);
        for channel in values.chunks_exact_mut(side * side) {
            if kernel.len() > 1 {
                blur(channel, side, &kernel);
            }
            for value in channel {
                *value = ((*value - 0.5) * self.contrast + 0.5).clamp(0.0, 1.0);
            }
        }
        if let Some(jpeg) = self.jpeg {
            jpeg.apply(values, side);
        }
    }
}

/// Steps of the brightness at quality 50, `[down][across]` of the frequencies (ITU-T T.81, table
/// K.1).
const JPEG_STEPS: [[f32; 8]; 8] = [
    [16.0, 11.0, 10.0, 16.0, 24.0, 40.0, 51.0, 61.0],
    [12.0, 12.0, 14.0, 19.0, 26.0, 58.0, 60.0, 55.0],
    [14.0, 13.0, 16.0, 24.0, 40.0, 57.0, 69.0, 56.0],
    [14.0, 17.0, 22.0, 29.0, 51.0, 87.0, 80.0, 62.0],
    [18.0, 22.0, 37.0, 56.0, 68.0, 109.0, 103.0, 77.0],
    [24.0, 35.0, 55.0, 64.0, 81.0, 104.0, 113.0, 92.0],
    [49.0, 64.0, 78.0, 87.0, 103.0, 121.0, 120.0, 101.0],
    [72.0, 92.0, 95.0, 98.0, 112.0, 100.0, 103.0, 99.0],
];
/// Shares of red, green and blue in brightness (ITU-R BT.601).
const BRIGHTNESS: [f32; 3] = [0.299, 0.587, 0.114];

impl JpegLoss {
    /// Steps of the frequencies, as libjpeg scales them.
    fn steps(self) -> [[f32; 8]; 8] {
        let quality = self.quality;
        let percent = if quality < 50.0 { 5000.0 / quality } else { 200.0 - 2.0 * quality };
        JPEG_STEPS.map(|row| row.map(|step| ((step * percent + 50.0) / 100.0).floor().max(1.0)))
    }

    /// Rounds the frequencies of the brightness of `[3][side][side]`, block by block; the border
    /// pixels continue outside. The change of brightness is added to all three channels.
    fn apply(self, values: &mut [f32], side: usize) {
        let area = side * side;
        let last = side - 1;
        let [above, before] = self.phase;
        let rows = (side + above).next_multiple_of(8);
        let columns = (side + before).next_multiple_of(8);
        // Brightness in whole blocks, `[rows][columns]`, 0 to 255 less 128, which decides how the
        // mean is rounded.
        let mut change = Vec::with_capacity(rows * columns);
        for y in 0..rows {
            let row = y.saturating_sub(above).min(last) * side;
            for x in 0..columns {
                let at = row + x.saturating_sub(before).min(last);
                let [red, green, blue] = [0, 1, 2].map(|c| values[c * area + at] * BRIGHTNESS[c]);
                change.push((red + green + blue) * 255.0 - 128.0);
            }
        }
        self.round_blocks(&mut change, columns);
        for (row, change) in change.chunks_exact(columns).skip(above).take(side).enumerate() {
            for channel in values.chunks_exact_mut(area) {
                for (value, change) in
                    channel[row * side..][..side].iter_mut().zip(&change[before..])
                {
                    *value = (*value + change / 255.0).clamp(0.0, 1.0);
                }
            }
        }
    }

    /// Turns brightness into what it changes by when the frequencies of each block are rounded.
    fn round_blocks(self, plane: &mut [f32], columns: usize) {
        let steps = self.steps();
        let basis = cosines();
        let inverse = transposed(&basis);
        for rows in plane.chunks_exact_mut(8 * columns) {
            for left in (0..columns).step_by(8) {
                let mut block = [[0.0; 8]; 8];
                for (line, row) in block.iter_mut().zip(rows.chunks_exact(columns)) {
                    line.copy_from_slice(&row[left..][..8]);
                }
                let mut frequencies = product(&product(&basis, &block), &inverse);
                for (line, steps) in frequencies.iter_mut().zip(&steps) {
                    for (frequency, step) in line.iter_mut().zip(steps) {
                        *frequency = (*frequency / step).round() * step;
                    }
                }
                let coarse = product(&product(&inverse, &frequencies), &basis);
                for (y, row) in rows.chunks_exact_mut(columns).enumerate() {
                    for (x, value) in row[left..][..8].iter_mut().enumerate() {
                        *value = coarse[y][x] - block[y][x];
                    }
                }
            }
        }
    }
}

/// The discrete cosine transform of 8 values, `[frequency][position]`.
fn cosines() -> [[f32; 8]; 8] {
    std::array::from_fn(|frequency| {
        let scale = if frequency == 0 { 0.125f32.sqrt() } else { 0.5 };
        std::array::from_fn(|position| {
            let angle = (2 * position + 1) as f32 * frequency as f32 / 16.0;
            scale * (angle * std::f32::consts::PI).cos()
        })
    })
}

fn product(a: &[[f32; 8]; 8], b: &[[f32; 8]; 8]) -> [[f32; 8]; 8] {
    let mut out = [[0.0; 8]; 8];
    for (row, line) in out.iter_mut().zip(a) {
        for (factor, others) in line.iter().zip(b) {
            for (value, other) in row.iter_mut().zip(others) {
                *value += factor * other;
            }
        }
    }
    out
}

fn transposed(m: &[[f32; 8]; 8]) -> [[f32; 8]; 8] {
    std::array::from_fn(|row| std::array::from_fn(|column| m[column][row]))
}

/// A Gaussian of that standard deviation as an odd number of weights that add up to 1; it ends at
/// three standard deviations.
fn gaussian(deviation: f32) -> Vec<f32> {
    let radius = (3.0 * deviation + 0.5) as usize;
    let mut weights = Vec::with_capacity(2 * radius + 1);
    for i in 0..=2 * radius {
        let distance = i as f32 - radius as f32;
        let exponent = distance * distance / (2.0 * deviation * deviation);
        weights.push(if distance == 0.0 { 1.0 } else { (-exponent).exp() });
    }
    let sum: f32 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= sum;
    }
    weights
}

/// Convolves rows, then columns of `[side][side]` with a symmetric kernel; the border pixels
/// continue outside.
fn blur(plane: &mut [f32], side: usize, kernel: &[f32]) {
    let radius = kernel.len() / 2;
    let last = side - 1;
    // `[side + 2 · radius]`: a row with its continuation.
    let mut padded = vec![0.0; side + 2 * radius];
    for row in plane.chunks_exact_mut(side) {
        padded[..radius].fill(row[0]);
        padded[radius..][..side].copy_from_slice(row);
        padded[radius + side..].fill(row[last]);
        row.fill(0.0);
        for (shift, weight) in kernel.iter().enumerate() {
            for (value, source) in row.iter_mut().zip(&padded[shift..]) {
                *value += source * weight;
            }
        }
    }
    let rows = plane.to_vec();
    for y in 0..side {
        let row = &mut plane[y * side..][..side];
        row.fill(0.0);
        for (shift, weight) in kernel.iter().enumerate() {
            let source = (y + shift).saturating_sub(radius).min(last);
            for (value, source) in row.iter_mut().zip(&rows[source * side..][..side]) {
                *value += source * weight;
            }
        }
    }
}

/// What a seed chooses of an augmentation.
#[derive(Debug, Clone, Copy)]
pub struct Variation {
    warp: Warp,
    /// None where stains and light stay as they are.
    pub stains: Option<StainChange>,
    quality: Option<ImageQuality>,
}

impl Variation {
    /// Depends on augmentation and seed alone.
    #[must_use]
    pub fn random(augmentation: Augmentation, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let warp = Warp::random(augmentation, &mut rng);
        let mut stains = None;
        if augmentation.varies_stains() {
            let scale = [0; 3].map(|_| 1.0 + augmentation.stain_scale * signed_unit(&mut rng));
            let shift = [0; 3].map(|_| augmentation.stain_shift * signed_unit(&mut rng));
            stains = Some(StainChange::new(scale, shift));
        }
        if augmentation.varies_light() {
            let gamma = random_factor(augmentation.gamma, &mut rng);
            let brightness = random_factor(augmentation.brightness, &mut rng);
            let change = stains.unwrap_or(StainChange::NONE);
            stains = Some(change.under_light(gamma, brightness));
        }
        let quality =
            augmentation.varies_quality().then(|| ImageQuality::random(augmentation, &mut rng));
        Self { warp, stains, quality }
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
    match variation.stains {
        Some(change) => restained_window(image, window, variation.warp, change, out),
        None => warped_window(image, window, variation.warp, out),
    }
    if let Some(quality) = variation.quality {
        quality.apply(out, window.side);
    }
}

fn restained_window(
    image: &RgbImage,
    window: Window,
    warp: Warp,
    change: StainChange,
    out: &mut [f32],
) {
    let StainChange { matrix, offset } = change;
    let density = optical_density_table().map(|d| d as f32);
    let area = window.side * window.side;
    for_each_pixel(image, window, warp, |index, pixel| {
        let od = pixel.map(|v| density[usize::from(v)]);
        for c in 0..3 {
            let changed =
                od[0] * matrix[0][c] + od[1] * matrix[1][c] + od[2] * matrix[2][c] + offset[c];
            out[c * area + index] = (((-changed).exp() * 256.0 - 1.0) / 255.0).clamp(0.0, 1.0);
        }
    });
}

/// Classes of a square of a tile, under the geometric variation that [`augmented_window`] applies
/// to its receptive field for the same seed.
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

    /// `combine_stains` of scikit-image 0.26 after the change, on (v + 1) / 256, with the stains
    /// of `separate_stains` before it cuts negative ones off.
    #[test]
    fn a_change_of_stains_is_that_of_scikit_image() {
        let pixels = [[200u8, 120, 180], [90, 60, 140], [235, 170, 200], [240, 240, 238]];
        let expected = [
            [0.730_694, 0.494_902, 0.673_084],
            [0.254_75, 0.180_656, 0.470_869],
            [0.892_663, 0.696_75, 0.759_414],
            [0.895_632, 0.897_743, 0.903_975],
        ];
        let change = StainChange::new([1.3, 0.7, 1.1], [0.05, -0.02, 0.01]);
        let mut patch = vec![0.0; PATCH_VALUES];
        for (pixel, expected) in pixels.into_iter().zip(expected) {
            let image = Plane::filled(60, 60, pixel);
            restained_window(&image, Window::patch(30, 30), Warp::default(), change, &mut patch);
            for (channel, expected) in expected.into_iter().enumerate() {
                let found: f32 = patch[channel * PATCH_PX * PATCH_PX];
                assert!((found - expected).abs() < 1e-5, "{pixel:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn another_light_is_a_factor_on_values_and_a_power_of_them() {
        let grey = Plane::filled(60, 60, [99u8, 149, 199]);
        let mut patch = vec![0.0; PATCH_VALUES];
        let change = StainChange::NONE.under_light(2.0, 0.5);
        restained_window(&grey, Window::patch(30, 30), Warp::default(), change, &mut patch);
        for (channel, light) in [100.0f32, 150.0, 200.0].into_iter().enumerate() {
            // A value v is the light (v + 1) / 256.
            let expected = ((light / 256.0).powi(2) * 0.5 * 256.0 - 1.0) / 255.0;
            assert!((patch[channel * 55 * 55] - expected).abs() < 1e-5, "{channel}");
        }
    }

    /// `scipy.ndimage.gaussian_filter(plane, 0.8, mode="nearest", truncate=3.0)`.
    #[test]
    fn a_blur_is_that_of_scipy() {
        let mut plane = BLUR_INPUT;
        blur(&mut plane, 5, &gaussian(0.8));
        for (found, expected) in plane.iter().zip(BLURRED) {
            assert!((found - expected).abs() < 2e-6, "{plane:?}");
        }
        let mut same = BLUR_INPUT;
        blur(&mut same, 5, &gaussian(0.0));
        assert_eq!(same.map(f32::to_bits), BLUR_INPUT.map(f32::to_bits));
    }

    const BLUR_INPUT: [f32; 25] = [
        0.81, 0.08, 0.18, 0.23, 0.18, 0.80, 0.87, 0.58, 0.03, 0.09, 0.33, 0.43, 0.62, 0.48, 0.26,
        0.16, 0.69, 0.74, 0.03, 0.11, 0.45, 0.39, 0.89, 0.52, 0.42,
    ];
    const BLURRED: [f32; 25] = [
        0.664_990, 0.401_898, 0.265_949, 0.205_196, 0.170_350, 0.651_017, 0.570_443, 0.435_582,
        0.254_306, 0.166_401, 0.455_376, 0.544_217, 0.524_377, 0.339_623, 0.216_943, 0.358_210,
        0.526_930, 0.570_002, 0.365_897, 0.240_778, 0.409_278, 0.527_872, 0.638_112, 0.494_047,
        0.370_762,
    ];

    #[test]
    fn contrast_spreads_values_about_the_middle_and_stays_inside() {
        let mut values = [0.0, 0.25, 0.5, 0.9].repeat(3);
        ImageQuality { contrast: 1.2, blur_px: 0.0, jpeg: None }.apply(&mut values, 2);
        for (found, expected) in values.iter().zip([0.0, 0.2, 0.5, 0.98].repeat(3)) {
            assert!((found - expected).abs() < 1e-6, "{values:?}");
        }
    }

    #[test]
    fn what_is_added_to_an_augmentation_leaves_its_other_choices_as_they_were() {
        let strong = Variation::random(Augmentation::STRONG, 5);
        let more = Augmentation { blur_px: 1.0, contrast: 0.1, ..Augmentation::STRONG };
        let more = Variation::random(more, 5);
        assert_eq!(strong.rotation(), more.rotation());
        let matrix = |variation: &Variation| variation.stains.map(|change| change.matrix);
        assert_eq!(matrix(&strong), matrix(&more));
        assert!(more.quality.is_some() && strong.quality.is_none());
    }

    #[test]
    fn wide_windows_stay_in_range_and_vary_more_than_strong_ones() {
        let tile = crate::dataset::phantom::tile(80, 80, 3);
        let spread = |augmentation| {
            let mut means = Vec::new();
            for seed in 0..60 {
                let mut patch = vec![0.0; PATCH_VALUES];
                let window = Window::patch(40, 40);
                augmented_window(&tile.image, window, augmentation, seed, &mut patch);
                assert!(patch.iter().all(|value| (0.0..=1.0).contains(value)));
                means.push(patch.iter().sum::<f32>() / PATCH_VALUES as f32);
            }
            let mean = means.iter().sum::<f32>() / 60.0;
            means.iter().map(|m| (m - mean).powi(2)).sum::<f32>()
        };
        assert!(spread(Augmentation::WIDE) > 1.5 * spread(Augmentation::STRONG));
    }

    #[test]
    fn recipes_name_only_the_changes_that_they_make() {
        let strong = serde_json::json!(Augmentation::STRONG);
        assert!(strong.get("blur_px").is_none() && strong.get("gamma").is_none(), "{strong}");
        let wide = serde_json::json!(Augmentation::WIDE);
        let read: Augmentation = serde_json::from_value(wide).expect("augmentation");
        assert_eq!(read, Augmentation::WIDE);
    }

    /// Rows 3 and 12 of a grey picture of 16×16 pixels, written at quality 60 and read by Pillow.
    #[test]
    fn brightness_loses_what_libjpeg_loses() {
        let pixel = |i: usize| {
            let (y, x) = (i / 16, i % 16);
            ((x * x * 7 + y * 3 + x * y % 5 * 20) % 230) as f32 / 255.0
        };
        let grey: Vec<f32> = (0..256).map(pixel).collect();
        let rows: [(usize, [u8; 16]); 2] = [
            (3, [0, 81, 80, 118, 148, 180, 89, 160, 67, 169, 20, 201, 128, 116, 76, 187]),
            (12, [36, 97, 124, 165, 222, 187, 106, 224, 60, 195, 45, 3, 226, 55, 99, 23]),
        ];
        let mut values = grey.repeat(3);
        JpegLoss { quality: 60.0, phase: [0, 0] }.apply(&mut values, 16);
        for (row, expected) in rows {
            for (x, expected) in expected.into_iter().enumerate() {
                let found = values[row * 16 + x] * 255.0;
                assert!((found - f32::from(expected)).abs() < 1.0, "{row} {x}: {found}");
            }
        }
        let mut shifted = grey.repeat(3);
        JpegLoss { quality: 60.0, phase: [3, 5] }.apply(&mut shifted, 16);
        assert_ne!(shifted, values, "blocks begin elsewhere");
        let mut fine = grey.repeat(3);
        JpegLoss { quality: 100.0, phase: [3, 5] }.apply(&mut fine, 16);
        assert!(fine.iter().zip(&grey).all(|(a, b)| (a - b).abs() < 2.5 / 255.0));
    }
}
