//! Which pixels become patches: a seeded sequence over all pixels of all tiles, of which a smaller
//! sample is always a prefix. Positions alone are stored, never patches.
//!
//! Tiles of one weight form a group with a sequence of its own. Of several groups the next pixel
//! comes from the one that is furthest behind its share, which is proportional to weight × number
//! of pixels.

use super::permutation::Permutation;
use super::tile::Tile;
use crate::error::{Error, Result};
use crate::platform::mix;

/// Of ten neighbours in the sequence the first seven train, the others validate (70 % / 30 %).
const TRAINING_TENTHS: u64 = 7;

/// The centre pixel of a patch, or the first pixel of a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplePixel {
    /// Index in the list of tiles that the sample was drawn from.
    pub tile: u32,
    /// Row in the tile, pixels.
    pub row: u32,
    /// Column in the tile, pixels.
    pub column: u32,
    /// Whether the pixel belongs to a nucleus.
    pub cell: bool,
}

/// How often each class is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prior {
    /// As often as it covers the tiles (what the paper's Table 3 counts say).
    #[default]
    Natural,
    /// Both equally often (what the paper's text says).
    Balanced,
}

/// A sample, split into training and validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampler {
    /// About 70 % of the sample, in the order drawn; [`Self::training_pixel`] shuffles it for each
    /// epoch.
    pub train: Vec<SamplePixel>,
    /// The rest of the sample, in the order drawn.
    pub validation: Vec<SamplePixel>,
    seed: u64,
}

impl Sampler {
    /// Draws `count` pixels from `tiles`. The first `n` of a larger sample with the same seed are
    /// the sample of `n`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the tiles have fewer pixels (of a class) than `count`.
    pub fn draw(tiles: &[Tile], count: usize, prior: Prior, seed: u64) -> Result<Self> {
        let sequence = Sequence::new(tiles, 1, seed);
        if count as u64 > sequence.len() {
            return Err(Error::mismatch(format!(
                "The tiles hold {} patches; {count} were asked for",
                sequence.len()
            )));
        }
        let mut sampler = Self { train: Vec::new(), validation: Vec::new(), seed };
        match prior {
            Prior::Natural => {
                for drawn in sequence.take(count) {
                    sampler.put(drawn.position, drawn.pixel);
                }
            }
            Prior::Balanced => {
                for (i, pixel) in draw_balanced(sequence, count)?.into_iter().enumerate() {
                    // Pairs, one pixel of each class, stay together, so that both parts are
                    // balanced.
                    sampler.put(i as u64 / 2, pixel);
                }
            }
        }
        Ok(sampler)
    }

    /// Draws squares of `square_px` × `square_px` pixels, on a grid, that hold at least `pixels`
    /// together. As in [`Self::draw`], a smaller sample is a prefix of a larger one.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the tiles hold fewer.
    pub fn draw_squares(
        tiles: &[Tile],
        pixels: usize,
        square_px: usize,
        seed: u64,
    ) -> Result<Self> {
        let count = pixels.div_ceil(square_px * square_px);
        let sequence = Sequence::new(tiles, square_px, seed);
        if count as u64 > sequence.len() {
            return Err(Error::mismatch(format!(
                "The tiles hold {} squares of {square_px}×{square_px} pixels; {count} were asked \
                 for",
                sequence.len()
            )));
        }
        let mut sampler = Self { train: Vec::new(), validation: Vec::new(), seed };
        for drawn in sequence.take(count) {
            sampler.put(drawn.position, drawn.pixel);
        }
        Ok(sampler)
    }

    /// Adds number `position` of a sequence to training or validation.
    fn put(&mut self, position: u64, pixel: SamplePixel) {
        if position % 10 < TRAINING_TENTHS {
            self.train.push(pixel);
        } else {
            self.validation.push(pixel);
        }
    }

    /// Training pixel number `index` of `epoch`. Each epoch visits every pixel once, in an order of
    /// its own.
    #[must_use]
    pub fn training_pixel(&self, epoch: u64, index: usize) -> SamplePixel {
        let order = Permutation::new(self.train.len() as u64, mix(self.seed) ^ mix(epoch + 1));
        self.train[order.get(index as u64) as usize]
    }
}

/// Background and nucleus in turn, each class in the order of the sequence, no pixel twice.
fn draw_balanced(sequence: Sequence<'_>, count: usize) -> Result<Vec<SamplePixel>> {
    // Of an odd count the extra pixel is background.
    let wanted = [count.div_ceil(2), count / 2];
    let mut by_class: [Vec<SamplePixel>; 2] = [Vec::new(), Vec::new()];
    let all = sequence.len() as usize;
    for drawn in sequence.take(all) {
        if by_class[0].len() == wanted[0] && by_class[1].len() == wanted[1] {
            break;
        }
        let class = usize::from(drawn.pixel.cell);
        if !drawn.again && by_class[class].len() < wanted[class] {
            by_class[class].push(drawn.pixel);
        }
    }
    let mut pixels = Vec::with_capacity(count);
    for i in 0..count {
        pixels.extend(by_class[i % 2].get(i / 2));
    }
    if pixels.len() < count {
        return Err(Error::mismatch(format!(
            "The tiles hold only {} patches of the wanted classes; {count} were asked for",
            pixels.len()
        )));
    }
    Ok(pixels)
}

/// A pixel of the sequence.
struct Drawn {
    pixel: SamplePixel,
    /// Its number in the order of its group, which decides between training and validation; that
    /// of a pixel that is drawn again stays.
    position: u64,
    /// Whether all pixels of its group have been drawn before.
    again: bool,
}

/// All grid positions of all tiles in a random order that the seed decides; it does not end. A
/// group whose positions have all been drawn begins again.
struct Sequence<'a> {
    groups: Vec<WeightGroup<'a>>,
    /// Number of positions drawn.
    drawn: u64,
}

/// The tiles of one weight.
struct WeightGroup<'a> {
    positions: PositionIndex<'a>,
    order: Permutation,
    /// Of the sequence, 0 to 1.
    share: f64,
    /// Number of positions drawn.
    drawn: u64,
}

impl<'a> Sequence<'a> {
    fn new(tiles: &'a [Tile], grid_px: usize, seed: u64) -> Self {
        let mut weights: Vec<f64> = Vec::new();
        for tile in tiles {
            if !weights.contains(&tile.weight) {
                weights.push(tile.weight);
            }
        }
        let mut groups = Vec::with_capacity(weights.len());
        let mut total = 0.0;
        for (number, weight) in (0..).zip(weights) {
            let positions = PositionIndex::new(tiles, weight, grid_px);
            if positions.len() == 0 {
                continue;
            }
            let own_seed = if number == 0 { seed } else { mix(seed ^ mix(number)) };
            let order = Permutation::new(positions.len(), own_seed);
            let share = weight * positions.len() as f64;
            total += share;
            groups.push(WeightGroup { positions, order, share, drawn: 0 });
        }
        for group in &mut groups {
            group.share /= total;
        }
        Self { groups, drawn: 0 }
    }

    fn len(&self) -> u64 {
        self.groups.iter().map(|group| group.positions.len()).sum()
    }
}

impl Iterator for Sequence<'_> {
    type Item = Drawn;

    /// None without positions.
    fn next(&mut self) -> Option<Drawn> {
        self.drawn += 1;
        let so_far = self.drawn as f64;
        let behind = |group: &WeightGroup| so_far * group.share - group.drawn as f64;
        // Of equals the last, which is as good as any.
        let group = self.groups.iter_mut().max_by(|a, b| behind(a).total_cmp(&behind(b)))?;
        let len = group.positions.len();
        let position = group.drawn % len;
        let again = group.drawn >= len;
        group.drawn += 1;
        Some(Drawn { pixel: group.positions.pixel(group.order.get(position)), position, again })
    }
}

/// Numbers the grid positions of the tiles of one weight, tile by tile and row by row.
struct PositionIndex<'a> {
    tiles: &'a [Tile],
    /// Pixels between neighbouring positions.
    grid_px: usize,
    /// For each tile the number of positions in it and in all tiles before it; tiles of another
    /// weight have none.
    ends: Vec<u64>,
}

impl<'a> PositionIndex<'a> {
    fn new(tiles: &'a [Tile], weight: f64, grid_px: usize) -> Self {
        let mut ends = Vec::with_capacity(tiles.len());
        let mut positions = 0u64;
        for tile in tiles {
            let rows = tile.labels.height() / grid_px;
            let columns = tile.labels.width() / grid_px;
            if tile.has_weight(weight) {
                positions += (rows * columns) as u64;
            }
            ends.push(positions);
        }
        Self { tiles, grid_px, ends }
    }

    fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn pixel(&self, position: u64) -> SamplePixel {
        let tile = self.ends.partition_point(|&end| end <= position);
        let first = if tile == 0 { 0 } else { self.ends[tile - 1] };
        let labels = &self.tiles[tile].labels;
        let in_tile = (position - first) as usize;
        let columns = labels.width() / self.grid_px;
        let row = in_tile / columns * self.grid_px;
        let column = in_tile % columns * self.grid_px;
        SamplePixel {
            tile: tile as u32,
            row: row as u32,
            column: column as u32,
            cell: labels.get(row, column) > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::phantom;

    fn tiles() -> Vec<Tile> {
        (0..2).map(|i| phantom::tile(96, 64, 100 + i)).collect()
    }

    #[test]
    fn a_smaller_sample_is_a_prefix_of_a_larger_one_in_both_parts() {
        let tiles = tiles();
        for prior in [Prior::Natural, Prior::Balanced] {
            let small = Sampler::draw(&tiles, 300, prior, 7).expect("sample");
            let large = Sampler::draw(&tiles, 900, prior, 7).expect("sample");
            assert_eq!(small.train, large.train[..210]);
            assert_eq!(small.validation, large.validation[..90]);
        }
    }

    #[test]
    fn squares_lie_on_a_grid_once_each_and_a_smaller_sample_is_a_prefix() {
        let tiles = tiles();
        let (small, large) = (80 * 64, 160 * 64);
        let small = Sampler::draw_squares(&tiles, small, 8, 7).expect("sample");
        let large = Sampler::draw_squares(&tiles, large, 8, 7).expect("sample");
        assert_eq!(small.train, large.train[..56]);
        assert_eq!(small.validation, large.validation[..24]);
        let all: std::collections::BTreeSet<_> = large
            .train
            .iter()
            .chain(&large.validation)
            .map(|p| (p.tile, p.row, p.column))
            .collect();
        assert_eq!(all.len(), 160);
        assert!(all.iter().all(|&(_, r, c)| r % 8 == 0 && c % 8 == 0));
        assert!(Sampler::draw_squares(&tiles, 193 * 64, 8, 7).is_err());
    }

    #[test]
    fn balanced_samples_hold_both_classes_equally_and_natural_ones_follow_the_tiles() {
        let tiles = tiles();
        let cells = |prior| {
            let s = Sampler::draw(&tiles, 1000, prior, 7).expect("sample");
            s.train.iter().chain(&s.validation).filter(|p| p.cell).count()
        };
        assert_eq!(cells(Prior::Balanced), 500);
        let balanced = Sampler::draw(&tiles, 1000, Prior::Balanced, 7).expect("sample");
        assert_eq!(balanced.train.iter().filter(|p| p.cell).count() * 2, balanced.train.len());
        let area: usize =
            tiles.iter().map(|t| t.labels.data().iter().filter(|&&l| l > 0).count()).sum();
        let expected = area as f64 / (2.0 * 96.0 * 64.0) * 1000.0;
        assert!((cells(Prior::Natural) as f64 - expected).abs() < 60.0);
    }

    #[test]
    fn an_epoch_visits_every_pixel_once_and_epochs_differ_in_order() {
        let s = Sampler::draw(&tiles(), 100, Prior::Natural, 7).expect("sample");
        let epoch = |e| (0..s.train.len()).map(|i| s.training_pixel(e, i)).collect::<Vec<_>>();
        let key = |p: &SamplePixel| (p.tile, p.row, p.column);
        let (mut a, mut b) = (epoch(0), s.train.clone());
        assert_ne!(a, epoch(1));
        a.sort_by_key(key);
        b.sort_by_key(key);
        assert_eq!(a, b);
    }

    #[test]
    fn asking_for_more_than_there_is_says_so() {
        assert!(Sampler::draw(&tiles(), 1_000_000, Prior::Natural, 7).is_err());
    }

    /// Two tiles of which the second has another weight.
    fn weighted(weight: f64) -> Vec<Tile> {
        let mut tiles = tiles();
        tiles[1].weight = weight;
        tiles
    }

    #[test]
    fn tiles_are_drawn_by_weight_times_pixels_and_a_smaller_sample_is_a_prefix() {
        // Of equal weights the sequence is random over both tiles.
        let cases = [(0.5, 100, 1), (1.0, 150, 30), (2.0, 200, 1), (9.0, 270, 1)];
        for (weight, expected, tolerance) in cases {
            let tiles = weighted(weight);
            let from_second =
                |pixels: &[SamplePixel]| pixels.iter().filter(|p| p.tile == 1).count();
            let natural = Sampler::draw(&tiles, 300, Prior::Natural, 7).expect("sample");
            let squares = Sampler::draw_squares(&tiles, 60 * 64, 8, 7).expect("sample");
            let larger = Sampler::draw(&tiles, 900, Prior::Natural, 7).expect("sample");
            for (sample, scale) in [(&natural, 1), (&squares, 5)] {
                let second = from_second(&sample.train) + from_second(&sample.validation);
                assert!(
                    (second * scale).abs_diff(expected) <= tolerance * scale,
                    "{weight}: {second}"
                );
                let validated = from_second(&sample.validation) as f64 / second as f64;
                assert!((validated - 0.3).abs() < 0.1, "{weight}: {validated} validate");
            }
            assert_eq!(natural.train, larger.train[..natural.train.len()]);
            assert_eq!(natural.validation, larger.validation[..natural.validation.len()]);
        }
    }

    #[test]
    fn tiles_of_one_weight_are_drawn_as_if_there_were_no_weights() {
        let mut tiles = tiles();
        let plain = Sampler::draw(&tiles, 300, Prior::Natural, 7).expect("sample");
        for tile in &mut tiles {
            tile.weight = 0.3;
        }
        assert_eq!(Sampler::draw(&tiles, 300, Prior::Natural, 7).expect("sample"), plain);
    }

    #[test]
    fn a_pixel_that_is_drawn_again_stays_in_its_part() {
        // The second tile has half of the pixels and nearly all of the draws.
        let tiles = weighted(1000.0);
        let sample = Sampler::draw(&tiles, 2 * 96 * 64, Prior::Natural, 7).expect("sample");
        let place = |p: &SamplePixel| (p.tile, p.row, p.column);
        let train: std::collections::BTreeSet<_> = sample.train.iter().map(place).collect();
        assert!(train.len() < sample.train.len(), "some are drawn again");
        assert!(sample.validation.iter().all(|p| !train.contains(&place(p))));
        let balanced = Sampler::draw(&tiles, 400, Prior::Balanced, 7).expect("sample");
        let cells = balanced.train.iter().filter(|p| p.cell).count();
        assert_eq!(cells * 2, balanced.train.len());
    }
}
