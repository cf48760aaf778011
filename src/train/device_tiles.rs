//! Patches gathered on the device: tiles are sent once, then of each patch only where it lies and
//! how it varies, a hundred bytes where the patch itself has 36 KB. The same patches as
//! [`Batch::gather`] makes on the host, up to rounding.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::batch::Batch;
use super::network::{flat, values};
use crate::dataset::{Augmentation, SamplePixel, Tile, Variation};
use crate::model::{CENTRE_PX, PATCH_PX};
use crate::raster::{mirrored_window, optical_density_table};

/// Pixels of a patch.
const AREA: usize = PATCH_PX * PATCH_PX;
/// Numbers that say how a patch varies: turn (4), warp (2), stain matrix (9) and offset (3).
const NUMBERS: usize = 18;

/// Bytes that tiles may take on a device; more stay on the host.
const MOST_BYTES: u64 = 1 << 29;
/// Patches that a device gathers to prove itself.
const TRIED: usize = 16;

/// Tiles on a device, mirrored at their borders, one number a pixel.
#[derive(Debug, Clone)]
pub struct DeviceTiles {
    pixels: Tensor<1, Int>,
    /// Optical density of each 8-bit value.
    density: Tensor<1>,
    /// Distance of each of a patch's pixels from its middle, down and across, `[1, pixels]`.
    distances: [Tensor<2>; 2],
    /// Where a tile begins, and its width with borders.
    tiles: Vec<(usize, usize)>,
    margin: usize,
    augmentation: Augmentation,
    device: Device,
}

/// Pixels that a varied patch reaches beyond its own middle, one more for what lies between.
fn margin(augmentation: Augmentation) -> usize {
    let transposed = if augmentation.rotate { std::f32::consts::SQRT_2 } else { 1.0 };
    (CENTRE_PX as f32 * transposed * (1.0 + augmentation.zoom)).ceil() as usize + 2
}

/// Between pixels a value of 8 bits may be rounded the other way, now and then.
fn same_but_for_rounding(found: &[f32], right: &[f32]) -> bool {
    let apart = || found.iter().zip(right).map(|(a, b)| (a - b).abs());
    let rare = apart().filter(|d| *d > 1e-4).count() * 200 < right.len();
    found.len() == right.len() && rare && apart().all(|d| d < 0.03)
}

impl DeviceTiles {
    /// Tiles on a device that gathers some patches as the host does; none where it does not, or
    /// where they do not fit a buffer of `limit` bytes.
    #[must_use]
    pub fn proven(
        tiles: &[Tile],
        augmentation: Augmentation,
        device: &Device,
        limit: u64,
    ) -> Option<Self> {
        let try_out = || {
            let sent = Self::send(tiles, augmentation, device, limit.min(MOST_BYTES))?;
            let agrees = sent.agrees_with(tiles);
            if !agrees {
                tracing::warn!(
                    "The device gathers other patches than the host; they are gathered on the host instead"
                );
            }
            agrees.then_some(sent)
        };
        catch_unwind(AssertUnwindSafe(try_out)).ok().flatten()
    }

    /// Whether some patches of `tiles` are the host's but for rounding.
    fn agrees_with(&self, tiles: &[Tile]) -> bool {
        let place = |i: usize| {
            let tile = i % tiles.len();
            let image = &tiles[tile].image;
            let at = |len: usize, step: usize| (i * step % len) as u32;
            let place = SamplePixel {
                tile: tile as u32,
                row: at(image.height(), 97),
                column: at(image.width(), 61),
                cell: false,
            };
            (place, i as u64)
        };
        let places: Vec<_> = (0..TRIED).map(place).collect();
        let right = Batch::gather(tiles, &places, 1, self.augmentation).patches;
        values(self.gather(&places).reshape([right.len()]))
            .is_ok_and(|found| same_but_for_rounding(&found, &right))
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
        let area = |t: &Tile| (t.image.width() + 2 * margin) * (t.image.height() + 2 * margin);
        let count: usize = tiles.iter().map(area).sum();
        if count as u64 * 4 > limit || i32::try_from(count).is_err() {
            return None;
        }
        let mut pixels: Vec<i32> = Vec::with_capacity(count);
        let mut starts = Vec::with_capacity(tiles.len());
        for tile in tiles {
            let (first, width) = (-margin.cast_signed(), tile.image.width() + 2 * margin);
            let window =
                mirrored_window(&tile.image, first, first, width, tile.image.height() + 2 * margin);
            starts.push((pixels.len(), width));
            pixels.extend(
                window
                    .into_iter()
                    .map(|[r, g, b]| i32::from(r) << 16 | i32::from(g) << 8 | i32::from(b)),
            );
        }
        let distance = |at: usize| at as f32 - CENTRE_PX as f32;
        let line =
            |f: &dyn Fn(usize) -> f32| flat((0..AREA).map(f).collect(), device).reshape([1, AREA]);
        Some(Self {
            pixels: Tensor::from_data(TensorData::new(pixels, [count]), device),
            density: flat(optical_density_table().iter().map(|&d| d as f32).collect(), device),
            distances: [line(&|i| distance(i / PATCH_PX)), line(&|i| distance(i % PATCH_PX))],
            tiles: starts,
            margin,
            augmentation,
            device: device.clone(),
        })
    }

    /// Patches `[places, 3, 55, 55]`, each varied by its own seed.
    #[must_use]
    pub fn gather(&self, places: &[(SamplePixel, u64)]) -> Tensor<4> {
        let count = places.len();
        let variations: Vec<Variation> =
            places.iter().map(|(_, seed)| Variation::drawn(self.augmentation, *seed)).collect();
        let numbers: Vec<f32> = variations.iter().flat_map(numbers).collect();
        let numbers = flat(numbers, &self.device).reshape([count, NUMBERS]);
        let column = |i: usize| numbers.clone().slice([0..count, i..i + 1]);
        let [down, across] = self.distances.clone();
        let transposed = |i: usize| column(i) * down.clone() + column(i + 1) * across.clone();
        let (down, across) = (transposed(0), transposed(2));
        let corners = self.corners(places);
        let channels = if self.augmentation.zoom == 0.0 && !self.augmentation.rotate {
            let middle = CENTRE_PX as f32;
            let [corner, width] = corners;
            self.channels((down + middle).int() * width + (across + middle).int() + corner)
        } else {
            self.warped(corners, [down, across], [column(4), column(5)])
        };
        let values = match variations.first().and_then(|v| v.stains) {
            None => channels.map(|c| c / 255.0),
            Some(_) => self.stained(channels, &column),
        };
        Tensor::<2>::stack::<3>(values.to_vec(), 1).reshape([count, 3, PATCH_PX, PATCH_PX])
    }

    /// Index of the first pixel of each patch's own window, and the width of its tile, `[places,
    /// 1]`.
    fn corners(&self, places: &[(SamplePixel, u64)]) -> [Tensor<2, Int>; 2] {
        let corner = |(place, _): &(SamplePixel, u64)| {
            let (start, width) = self.tiles[place.tile as usize];
            // The margin is at least as wide as half a patch.
            let inside = |at: u32| at as usize + self.margin - CENTRE_PX;
            [start + inside(place.row) * width + inside(place.column), width]
        };
        // All of them fit: 'send' has made sure.
        let whole = |n: usize| i32::try_from(n).unwrap_or_default();
        let numbers: Vec<i32> = places.iter().flat_map(corner).map(whole).collect();
        let count = places.len();
        let numbers =
            Tensor::<1, Int>::from_data(TensorData::new(numbers, [count * 2]), &self.device);
        let numbers = numbers.reshape([count, 2]);
        [0, 1].map(|i| numbers.clone().slice([0..count, i..i + 1]))
    }

    /// Red, green and blue, 0 to 255, of pixels.
    fn channels(&self, at: Tensor<2, Int>) -> [Tensor<2>; 3] {
        let shape = at.dims();
        let packed =
            self.pixels.clone().select(0, at.reshape([shape[0] * shape[1]])).reshape(shape);
        let byte = |shift: i32| {
            packed.clone().bitwise_right_shift_scalar(shift).bitwise_and_scalar(255).float()
        };
        [byte(16), byte(8), byte(0)]
    }

    /// The same between pixels, rounded to whole values.
    fn warped(
        &self,
        corners: [Tensor<2, Int>; 2],
        from: [Tensor<2>; 2],
        warp: [Tensor<2>; 2],
    ) -> [Tensor<2>; 3] {
        let ([down, across], [cos, sin], [corner, width]) = (from, warp, corners);
        let middle = CENTRE_PX as f32;
        let y = down.clone() * cos.clone() + middle - across.clone() * sin.clone();
        let x = down * sin + middle + across * cos;
        let (top, left) = (y.clone().floor(), x.clone().floor());
        let (below, right) = (y - top.clone(), x - left.clone());
        let first = top.int() * width.clone() + left.int() + corner;
        let second = first.clone() + width;
        let between =
            |a: Tensor<2>, b: Tensor<2>, share: &Tensor<2>| a.clone() + (b - a) * share.clone();
        let around =
            [first.clone(), first + 1, second.clone(), second + 1].map(|at| self.channels(at));
        [0, 1, 2].map(|c| {
            let [a, b, d, e] = [0, 1, 2, 3].map(|i: usize| around[i][c].clone());
            (between(between(a, b, &right), between(d, e, &right), &below) + 0.5).floor()
        })
    }

    /// Values after the change of stains, 0 to 1.
    fn stained(
        &self,
        channels: [Tensor<2>; 3],
        column: &dyn Fn(usize) -> Tensor<2>,
    ) -> [Tensor<2>; 3] {
        let density = channels.map(|c| {
            let shape = c.dims();
            self.density.clone().select(0, c.int().reshape([shape[0] * shape[1]])).reshape(shape)
        });
        [0, 1, 2].map(|c| {
            let part = |s: usize| density[s].clone() * column(6 + s * 3 + c);
            let changed = part(0) + part(1) + part(2) + column(15 + c);
            ((changed.neg().exp() * 256.0 - 1.0) / 255.0).clamp(0.0, 1.0)
        })
    }
}

fn numbers(variation: &Variation) -> [f32; NUMBERS] {
    let [[a, b], [c, d]] = variation.turn();
    let [cos, sin] = variation.warp().unwrap_or([1.0, 0.0]);
    let (matrix, offset) = variation.stains.unwrap_or_default();
    let mut out = [0.0; NUMBERS];
    let all = [a, b, c, d, cos, sin].into_iter().chain(matrix.into_iter().flatten()).chain(offset);
    out.iter_mut().zip(all).for_each(|(to, n)| *to = n);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::phantom;

    fn both(augmentation: Augmentation) -> (Vec<f32>, Vec<f32>) {
        let tiles = [phantom::tile(90, 60, 3), phantom::tile(40, 70, 4)];
        let place = |i: u32| {
            let (tile, height, width) = if i.is_multiple_of(3) { (1, 70, 40) } else { (0, 60, 90) };
            (
                SamplePixel { tile, row: i * 7 % height, column: i * 13 % width, cell: false },
                u64::from(i) * 31,
            )
        };
        let places: Vec<_> = (0..40).map(place).collect();
        let device = Device::flex();
        let sent = DeviceTiles::proven(&tiles, augmentation, &device, u64::MAX)
            .expect("room, and the same patches");
        let found = sent.gather(&places);
        assert_eq!(found.dims(), [40, 3, PATCH_PX, PATCH_PX]);
        let found = values(found.reshape([40 * 3 * AREA])).expect("values");
        (found, Batch::gather(&tiles, &places, 1, augmentation).patches)
    }

    #[test]
    fn plain_and_turned_patches_equal_the_hosts() {
        for augmentation in [Augmentation::NONE, Augmentation { turns: true, ..Augmentation::NONE }]
        {
            let (found, right) = both(augmentation);
            assert_eq!(found, right);
        }
    }

    #[test]
    fn stained_patches_equal_the_hosts_up_to_rounding() {
        for augmentation in [Augmentation::DEFAULT, Augmentation::STAINS] {
            let (found, right) = both(augmentation);
            let largest = found.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest < 2e-6, "{largest}");
            assert_ne!(both(Augmentation::NONE).1, right, "nothing varied");
        }
    }

    #[test]
    fn warped_patches_equal_the_hosts_but_where_a_value_is_rounded_the_other_way() {
        let (found, right) = both(Augmentation::STRONG);
        let apart: Vec<f32> =
            found.iter().zip(&right).map(|(a, b)| (a - b).abs()).filter(|d| *d > 2e-6).collect();
        assert!(apart.len() * 2000 < right.len(), "{} of {}", apart.len(), right.len());
        assert!(apart.iter().all(|d| *d < 0.02), "{apart:?}");
    }

    #[test]
    fn a_device_that_gathers_other_patches_is_not_used() {
        let (found, right) = both(Augmentation::DEFAULT);
        assert!(same_but_for_rounding(&found, &right));
        let mut shifted = right.clone();
        shifted.rotate_right(1);
        assert!(!same_but_for_rounding(&shifted, &right));
        assert!(!same_but_for_rounding(&vec![f32::NAN; right.len()], &right));
        assert!(!same_but_for_rounding(&right[1..], &right));
        let device = Device::flex();
        let tiles = [phantom::tile(90, 60, 3)];
        let mut sent =
            DeviceTiles::send(&tiles, Augmentation::NONE, &device, u64::MAX).expect("room");
        assert!(sent.agrees_with(&tiles));
        sent.tiles[0].0 += 1;
        assert!(!sent.agrees_with(&tiles));
    }

    #[test]
    fn tiles_that_do_not_fit_stay_on_the_host() {
        let tiles = [phantom::tile(90, 60, 3)];
        assert!(DeviceTiles::send(&tiles, Augmentation::NONE, &Device::flex(), 1000).is_none());
    }
}
