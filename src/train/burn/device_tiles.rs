//! Patches gathered on the device. The tiles are sent once; of each patch then only its position
//! and augmentation, a hundred bytes instead of 36 KB. The patches equal those of
//! [`gather_windows`] up to rounding.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn_tensor::{Device, Int, Tensor, TensorData};

use super::super::batch::{Sample, gather_windows};
use super::network::{flat, values};
use crate::dataset::{Augmentation, SamplePixel, Tile, Variation};
use crate::model::{CENTRE_PX, PATCH_PX};
use crate::raster::{mirrored_window, optical_density_table};

/// Pixels of a patch.
const AREA: usize = PATCH_PX * PATCH_PX;

/// Columns of the matrix that describes the augmentation of each patch.
const TURN: usize = 0;
const ROTATION: usize = 4;
const STAIN_MATRIX: usize = 6;
const STAIN_OFFSET: usize = 15;
const COLUMNS: usize = 18;

/// Bytes that tiles may take on a device; more stay on the host.
const MAX_BYTES: u64 = 1 << 29;
/// Patches that are compared with the host's before a device gathers any.
const COMPARED_PATCHES: usize = 16;

/// Tiles on a device, with mirrored borders, one 32-bit number a pixel.
#[derive(Debug, Clone)]
pub struct DeviceTiles {
    /// red · 2¹⁶ + green · 2⁸ + blue, tile by tile and row by row.
    pixels: Tensor<1, Int>,
    /// Optical density of each 8-bit value.
    density: Tensor<1>,
    /// Distance of each pixel of a patch from its centre, `[1, pixels]`.
    down: Tensor<2>,
    across: Tensor<2>,
    tiles: Vec<TilePlace>,
    /// Width of the mirrored borders.
    margin: usize,
    augmentation: Augmentation,
    device: Device,
}

/// Where a tile lies in the pixels.
#[derive(Debug, Clone, Copy)]
struct TilePlace {
    start: usize,
    /// With borders.
    width: usize,
}

/// Where each patch reads, `[patches, 1]`.
struct PatchPlaces {
    /// Index of the first pixel of the unaugmented patch.
    corner: Tensor<2, Int>,
    /// Width of its tile.
    width: Tensor<2, Int>,
}

/// Red, green and blue, 0 to 255, `[patches, pixels]` each.
type Channels = [Tensor<2>; 3];

/// The augmentations of some patches as a matrix `[patches, COLUMNS]` on the device.
struct Variations {
    matrix: Tensor<2>,
    varies_stains: bool,
}

impl Variations {
    fn new(samples: &[Sample], augmentation: Augmentation, device: &Device) -> Self {
        let mut values = Vec::with_capacity(samples.len() * COLUMNS);
        let mut varies_stains = false;
        for sample in samples {
            let variation = Variation::random(augmentation, sample.seed);
            varies_stains |= variation.stains.is_some();
            values.extend(variation_row(&variation));
        }
        let matrix = flat(values, device).reshape([samples.len(), COLUMNS]);
        Self { matrix, varies_stains }
    }

    /// One column, `[patches, 1]`.
    fn column(&self, index: usize) -> Tensor<2> {
        let patches = self.matrix.dims()[0];
        self.matrix.clone().slice([0..patches, index..index + 1])
    }
}

fn variation_row(variation: &Variation) -> [f32; COLUMNS] {
    let mut row = [0.0; COLUMNS];
    row[TURN..][..4].copy_from_slice(variation.turn().as_flattened());
    row[ROTATION..][..2].copy_from_slice(&variation.rotation().unwrap_or([1.0, 0.0]));
    if let Some(stains) = variation.stains {
        row[STAIN_MATRIX..][..9].copy_from_slice(stains.matrix.as_flattened());
        row[STAIN_OFFSET..][..3].copy_from_slice(&stains.offset);
    }
    row
}

/// Pixels that an augmented patch may reach beyond its centre, and one more for interpolation.
fn margin(augmentation: Augmentation) -> usize {
    let diagonal = if augmentation.rotate { std::f32::consts::SQRT_2 } else { 1.0 };
    (CENTRE_PX as f32 * diagonal * (1.0 + augmentation.zoom)).ceil() as usize + 2
}

/// Whether patches are equal up to rounding. An interpolated 8-bit value may, rarely, be rounded
/// the other way.
fn equal_up_to_rounding(found: &[f32], expected: &[f32]) -> bool {
    let mut rounded_otherwise = 0;
    for (a, b) in found.iter().zip(expected) {
        let difference = (a - b).abs();
        if difference.is_nan() || difference >= 0.03 {
            return false;
        }
        if difference > 1e-4 {
            rounded_otherwise += 1;
        }
    }
    found.len() == expected.len() && rounded_otherwise * 200 < expected.len()
}

impl DeviceTiles {
    /// Tiles on a device that gathers some patches as the host does; none where it does not, where
    /// the augmentation changes the quality of patches, which the host alone does, or where a
    /// buffer of `limit` bytes does not hold the tiles.
    #[must_use]
    pub fn proven(
        tiles: &[Tile],
        augmentation: Augmentation,
        device: &Device,
        limit: u64,
    ) -> Option<Self> {
        if augmentation.varies_quality() {
            tracing::info!("Patches with blur, contrast or JPEG losses are gathered on the host");
            return None;
        }
        let send_and_compare = || {
            let sent = Self::send(tiles, augmentation, device, limit.min(MAX_BYTES))?;
            if sent.agrees_with(tiles) {
                return Some(sent);
            }
            tracing::warn!(
                "The device gathers other patches than the host; they are gathered on the host"
            );
            None
        };
        catch_unwind(AssertUnwindSafe(send_and_compare)).ok().flatten()
    }

    /// Whether some patches of `tiles` equal the host's.
    fn agrees_with(&self, tiles: &[Tile]) -> bool {
        let mut samples = Vec::with_capacity(COMPARED_PATCHES);
        for i in 0..COMPARED_PATCHES {
            let tile = i % tiles.len();
            let image = &tiles[tile].image;
            let pixel = SamplePixel {
                tile: tile as u32,
                row: (i * 97 % image.height()) as u32,
                column: (i * 61 % image.width()) as u32,
                cell: false,
            };
            samples.push(Sample { pixel, seed: i as u64 });
        }
        let expected = gather_windows(tiles, &samples, 1, self.augmentation);
        let found = values(self.gather(&samples).reshape([expected.len()]));
        found.is_ok_and(|found| equal_up_to_rounding(&found, &expected))
    }

    /// Sends tiles to `device`; none where a buffer of `limit` bytes does not hold them.
    #[must_use]
    pub fn send(
        tiles: &[Tile],
        augmentation: Augmentation,
        device: &Device,
        limit: u64,
    ) -> Option<Self> {
        let margin = margin(augmentation);
        let mut count = 0;
        for tile in tiles {
            count += (tile.image.width() + 2 * margin) * (tile.image.height() + 2 * margin);
        }
        if count as u64 * 4 > limit || i32::try_from(count).is_err() {
            return None;
        }
        let mut pixels: Vec<i32> = Vec::with_capacity(count);
        let mut places = Vec::with_capacity(tiles.len());
        let first = -margin.cast_signed();
        for tile in tiles {
            let width = tile.image.width() + 2 * margin;
            let height = tile.image.height() + 2 * margin;
            places.push(TilePlace { start: pixels.len(), width });
            for [r, g, b] in mirrored_window(&tile.image, first, first, width, height) {
                pixels.push(i32::from(r) << 16 | i32::from(g) << 8 | i32::from(b));
            }
        }
        let density = optical_density_table().map(|d| d as f32).to_vec();
        let from_centre = |index: usize| index as f32 - CENTRE_PX as f32;
        let down = (0..AREA).map(|i| from_centre(i / PATCH_PX)).collect();
        let across = (0..AREA).map(|i| from_centre(i % PATCH_PX)).collect();
        Some(Self {
            pixels: Tensor::from_data(TensorData::new(pixels, [count]), device),
            density: flat(density, device),
            down: flat(down, device).reshape([1, AREA]),
            across: flat(across, device).reshape([1, AREA]),
            tiles: places,
            margin,
            augmentation,
            device: device.clone(),
        })
    }

    /// Patches `[samples, 3, 55, 55]`, each augmented by its own seed.
    #[must_use]
    pub(super) fn gather(&self, samples: &[Sample]) -> Tensor<4> {
        let variations = Variations::new(samples, self.augmentation, &self.device);
        let places = self.places(samples);
        // The turn as a matrix on distances from the centre.
        let down = variations.column(TURN) * self.down.clone()
            + variations.column(TURN + 1) * self.across.clone();
        let across = variations.column(TURN + 2) * self.down.clone()
            + variations.column(TURN + 3) * self.across.clone();
        let on_grid = self.augmentation.zoom == 0.0 && !self.augmentation.rotate;
        let channels = if on_grid {
            let row = (down + CENTRE_PX as f32).int();
            let column = (across + CENTRE_PX as f32).int();
            self.pixels_at(row * places.width + column + places.corner)
        } else {
            self.interpolated(&places, down, across, &variations)
        };
        let values = if variations.varies_stains {
            self.restained(channels, &variations)
        } else {
            channels.map(|channel| channel / 255.0)
        };
        Tensor::<2>::stack::<3>(values.to_vec(), 1).reshape([samples.len(), 3, PATCH_PX, PATCH_PX])
    }

    fn places(&self, samples: &[Sample]) -> PatchPlaces {
        let mut corners = Vec::with_capacity(samples.len());
        let mut widths = Vec::with_capacity(samples.len());
        for Sample { pixel, .. } in samples {
            let TilePlace { start, width } = self.tiles[pixel.tile as usize];
            // The margin is at least as wide as half a patch.
            let row = pixel.row as usize + self.margin - CENTRE_PX;
            let column = pixel.column as usize + self.margin - CENTRE_PX;
            corners.push(as_i32(start + row * width + column));
            widths.push(as_i32(width));
        }
        let shape = [samples.len(), 1];
        PatchPlaces {
            corner: Tensor::from_data(TensorData::new(corners, shape), &self.device),
            width: Tensor::from_data(TensorData::new(widths, shape), &self.device),
        }
    }

    /// The channels of the pixels at some indices.
    fn pixels_at(&self, indices: Tensor<2, Int>) -> Channels {
        let shape = indices.dims();
        let flat_indices = indices.reshape([shape[0] * shape[1]]);
        let packed = self.pixels.clone().select(0, flat_indices).reshape(shape);
        [16, 8, 0].map(|shift| {
            packed.clone().bitwise_right_shift_scalar(shift).bitwise_and_scalar(255).float()
        })
    }

    /// Channels after rotation and zoom of (down, across): bilinear, rounded to whole values.
    fn interpolated(
        &self,
        places: &PatchPlaces,
        down: Tensor<2>,
        across: Tensor<2>,
        variations: &Variations,
    ) -> Channels {
        let cos = variations.column(ROTATION);
        let sin = variations.column(ROTATION + 1);
        let centre = CENTRE_PX as f32;
        let y = down.clone() * cos.clone() + centre - across.clone() * sin.clone();
        let x = down * sin + centre + across * cos;
        let top = y.clone().floor();
        let left = x.clone().floor();
        let y_share = y - top.clone();
        let x_share = x - left.clone();
        let above = top.int() * places.width.clone() + left.int() + places.corner.clone();
        let below = above.clone() + places.width.clone();
        let above_left = self.pixels_at(above.clone());
        let above_right = self.pixels_at(above + 1);
        let below_left = self.pixels_at(below.clone());
        let below_right = self.pixels_at(below + 1);
        [0, 1, 2].map(|c| {
            let above = mix(&above_left[c], &above_right[c], &x_share);
            let below = mix(&below_left[c], &below_right[c], &x_share);
            (mix(&above, &below, &y_share) + 0.5).floor()
        })
    }

    /// Values 0 to 1 after the change of stains: density × matrix + offset, then exp(−density).
    fn restained(&self, channels: Channels, variations: &Variations) -> Channels {
        let density = channels.map(|channel| {
            let shape = channel.dims();
            let indices = channel.int().reshape([shape[0] * shape[1]]);
            self.density.clone().select(0, indices).reshape(shape)
        });
        [0, 1, 2].map(|to| {
            let part = |from: usize| {
                density[from].clone() * variations.column(STAIN_MATRIX + from * 3 + to)
            };
            let changed = part(0) + part(1) + part(2) + variations.column(STAIN_OFFSET + to);
            ((changed.neg().exp() * 256.0 - 1.0) / 255.0).clamp(0.0, 1.0)
        })
    }
}

/// Linear interpolation from `a` (share 0) to `b` (share 1).
fn mix(a: &Tensor<2>, b: &Tensor<2>, share: &Tensor<2>) -> Tensor<2> {
    a.clone() + (b.clone() - a.clone()) * share.clone()
}

/// [`DeviceTiles::send`] has checked that every index fits.
fn as_i32(index: usize) -> i32 {
    i32::try_from(index).unwrap_or_default()
}

#[cfg(all(test, feature = "burn-flex"))]
mod tests {
    use super::*;
    use crate::dataset::phantom;

    /// Patches as the device and the host gather them.
    struct Gathered {
        device: Vec<f32>,
        host: Vec<f32>,
    }

    fn gather(augmentation: Augmentation) -> Gathered {
        let tiles = [phantom::tile(90, 60, 3), phantom::tile(40, 70, 4)];
        let mut samples = Vec::new();
        for i in 0..40 {
            let tile = u32::from(i % 3 == 0);
            let image = &tiles[tile as usize].image;
            let row = i * 7 % image.height() as u32;
            let column = i * 13 % image.width() as u32;
            let pixel = SamplePixel { tile, row, column, cell: false };
            samples.push(Sample { pixel, seed: u64::from(i) * 31 });
        }
        let device = Device::flex();
        let sent = DeviceTiles::proven(&tiles, augmentation, &device, u64::MAX)
            .expect("room, and the same patches");
        let found = sent.gather(&samples);
        assert_eq!(found.dims(), [40, 3, PATCH_PX, PATCH_PX]);
        Gathered {
            device: values(found.reshape([40 * 3 * AREA])).expect("values"),
            host: gather_windows(&tiles, &samples, 1, augmentation),
        }
    }

    #[test]
    fn plain_and_turned_patches_equal_the_hosts() {
        for augmentation in [Augmentation::NONE, Augmentation { turns: true, ..Augmentation::NONE }]
        {
            let Gathered { device, host } = gather(augmentation);
            assert_eq!(device, host);
        }
    }

    #[test]
    fn restained_patches_equal_the_hosts_up_to_rounding() {
        for augmentation in [Augmentation::DEFAULT, Augmentation::STAINS] {
            let Gathered { device, host } = gather(augmentation);
            let largest = device.iter().zip(&host).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest < 2e-6, "{largest}");
            assert_ne!(gather(Augmentation::NONE).host, host, "nothing varied");
        }
    }

    #[test]
    fn warped_patches_equal_the_hosts_but_where_a_value_is_rounded_the_other_way() {
        let Gathered { device, host } = gather(Augmentation::STRONG);
        let mut apart: Vec<f32> = device.iter().zip(&host).map(|(a, b)| (a - b).abs()).collect();
        apart.retain(|d| *d > 2e-6);
        assert!(apart.len() * 2000 < host.len(), "{} of {}", apart.len(), host.len());
        assert!(apart.iter().all(|d| *d < 0.02), "{apart:?}");
    }

    #[test]
    fn a_device_that_gathers_other_patches_is_not_used() {
        let Gathered { device, host } = gather(Augmentation::DEFAULT);
        assert!(equal_up_to_rounding(&device, &host));
        let mut shifted = host.clone();
        shifted.rotate_right(1);
        assert!(!equal_up_to_rounding(&shifted, &host));
        assert!(!equal_up_to_rounding(&vec![f32::NAN; host.len()], &host));
        assert!(!equal_up_to_rounding(&host[1..], &host));
        let tiles = [phantom::tile(90, 60, 3)];
        let mut sent =
            DeviceTiles::send(&tiles, Augmentation::NONE, &Device::flex(), u64::MAX).expect("room");
        assert!(sent.agrees_with(&tiles));
        sent.tiles[0].start += 1;
        assert!(!sent.agrees_with(&tiles));
    }

    #[test]
    fn another_light_equals_the_hosts_and_blurred_patches_are_left_to_it() {
        let light = Augmentation { gamma: 0.2, brightness: 0.1, ..Augmentation::DEFAULT };
        let Gathered { device, host } = gather(light);
        let largest = device.iter().zip(&host).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 2e-6, "{largest}");
        let tiles = [phantom::tile(90, 60, 3)];
        let device = Device::flex();
        assert!(DeviceTiles::proven(&tiles, Augmentation::WIDE, &device, u64::MAX).is_none());
    }

    #[test]
    fn tiles_that_do_not_fit_stay_on_the_host() {
        let tiles = [phantom::tile(90, 60, 3)];
        assert!(DeviceTiles::send(&tiles, Augmentation::NONE, &Device::flex(), 1000).is_none());
    }
}
