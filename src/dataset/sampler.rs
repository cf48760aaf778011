//! Which pixels become patches: a seeded sequence over all pixels of all tiles, of which a smaller
//! sample is always a prefix. Only places are kept, never patches.

use super::load::Tile;
use super::permutation::Permutation;
use crate::error::{Error, Result};
use crate::platform::mix;

/// Of ten neighbours in the sequence, those at these positions and after go to validation (70 % /
/// 30 %).
const FIRST_VALIDATION_TENTH: usize = 7;

/// The centre pixel of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplePixel {
    pub tile: u32,
    pub row: u32,
    pub column: u32,
    /// Whether the centre pixel belongs to a nucleus.
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

/// A drawn sample, split into training and validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampler {
    pub train: Vec<SamplePixel>,
    pub validation: Vec<SamplePixel>,
    seed: u64,
}

impl Sampler {
    /// Draws `count` places from `tiles`. The first `n` of a larger draw with the same seed are the
    /// draw of `n`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the tiles have fewer pixels (of a class) than asked for.
    pub fn draw(tiles: &[Tile], count: usize, prior: Prior, seed: u64) -> Result<Self> {
        let places = draw_places(tiles, count, prior, seed)?;
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (i, place) in places.into_iter().enumerate() {
            // Balanced places come in pairs, one of each class, and stay together so that both
            // parts are balanced.
            let position = if prior == Prior::Balanced { i / 2 } else { i };
            if position % 10 >= FIRST_VALIDATION_TENTH {
                validation.push(place)
            } else {
                train.push(place)
            }
        }
        Ok(Self { train, validation, seed })
    }

    /// Draws squares of `spread` × `spread` pixels, on a grid, that hold at least `pixels`
    /// together. Places are their first pixels; as in [`Self::draw`], a smaller sample is a prefix.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the tiles hold fewer.
    pub fn draw_squares(tiles: &[Tile], pixels: usize, spread: usize, seed: u64) -> Result<Self> {
        let count = pixels.div_ceil(spread * spread);
        let grid = |tile: &Tile| (tile.labels.width() / spread, tile.labels.height() / spread);
        let mut ends = Vec::with_capacity(tiles.len());
        let mut squares = 0u64;
        for (w, h) in tiles.iter().map(grid) {
            squares += (w * h) as u64;
            ends.push(squares);
        }
        if count as u64 > squares {
            return Err(Error::mismatch(format!(
                "The tiles hold {squares} squares of {spread}×{spread} pixels; {count} were asked for"
            )));
        }
        let order = Permutation::new(squares, seed);
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for i in 0..count {
            let square = order.get(i as u64);
            let tile = ends.partition_point(|&end| end <= square);
            let index = (square - if tile == 0 { 0 } else { ends[tile - 1] }) as usize;
            let across = grid(&tiles[tile]).0;
            let (row, column) = (index / across * spread, index % across * spread);
            let cell = tiles[tile].labels.get(row, column) > 0;
            let place =
                SamplePixel { tile: tile as u32, row: row as u32, column: column as u32, cell };
            if i % 10 >= FIRST_VALIDATION_TENTH {
                validation.push(place)
            } else {
                train.push(place)
            }
        }
        Ok(Self { train, validation, seed })
    }

    /// Training place number `index` of `epoch`: each place once an epoch, in an order of its own.
    #[must_use]
    pub fn training_place(&self, epoch: u64, index: usize) -> SamplePixel {
        let order = Permutation::new(self.train.len() as u64, mix(self.seed) ^ mix(epoch + 1));
        self.train[order.get(index as u64) as usize]
    }
}

fn draw_places(tiles: &[Tile], count: usize, prior: Prior, seed: u64) -> Result<Vec<SamplePixel>> {
    let mut ends = Vec::with_capacity(tiles.len());
    let mut pixels = 0u64;
    for tile in tiles {
        pixels += (tile.labels.width() * tile.labels.height()) as u64;
        ends.push(pixels);
    }
    if count as u64 > pixels {
        return Err(Error::mismatch(format!(
            "The tiles hold {pixels} patches; {count} were asked for"
        )));
    }
    let order = Permutation::new(pixels, seed);
    // With equal shares the larger half, if any, is background.
    let mut wanted = match prior {
        Prior::Natural => [count, count],
        Prior::Balanced => [count.div_ceil(2), count / 2],
    };
    let mut queues: [Vec<SamplePixel>; 2] = [Vec::new(), Vec::new()];
    let mut places = Vec::with_capacity(count);
    for index in 0..pixels {
        if places.len() == count || (prior == Prior::Balanced && wanted == [0, 0]) {
            break;
        }
        let place = locate(tiles, &ends, order.get(index));
        match prior {
            Prior::Natural => places.push(place),
            Prior::Balanced => {
                let class = usize::from(place.cell);
                if wanted[class] > 0 {
                    wanted[class] -= 1;
                    queues[class].push(place);
                }
            }
        }
    }
    if prior == Prior::Balanced {
        places = (0..count).filter_map(|i| queues[i % 2].get(i / 2).copied()).collect();
    }
    if places.len() < count {
        return Err(Error::mismatch(format!(
            "The tiles hold only {} patches of the wanted classes; {count} were asked for",
            places.len()
        )));
    }
    Ok(places)
}

fn locate(tiles: &[Tile], ends: &[u64], pixel: u64) -> SamplePixel {
    let tile = ends.partition_point(|&end| end <= pixel);
    let start = if tile == 0 { 0 } else { ends[tile - 1] };
    let labels = &tiles[tile].labels;
    let (row, column) =
        ((pixel - start) as usize / labels.width(), (pixel - start) as usize % labels.width());
    SamplePixel {
        tile: tile as u32,
        row: row as u32,
        column: column as u32,
        cell: labels.get(row, column) > 0,
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
    fn an_epoch_visits_every_place_once_and_epochs_differ_in_order() {
        let s = Sampler::draw(&tiles(), 100, Prior::Natural, 7).expect("sample");
        let epoch = |e| (0..s.train.len()).map(|i| s.training_place(e, i)).collect::<Vec<_>>();
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
}
