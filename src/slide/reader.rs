//! Pixels of a slide from any source: tiles are fetched in few requests, decoded on all cores and
//! kept while there is room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::decode::decode_tile;
use super::opening::Slide;
use super::range_cache::{RangeCache, ReadError, ReadResult, merged};
use super::source::ByteSource;
use super::tiles::{Rect, TileCache, TileIndex};
use crate::error::{Error, Result};
use crate::platform::for_each_index;
use crate::raster::RgbImage;

/// Room for decoded tiles, bytes.
const CACHE_BYTES: usize = 64 << 20;
/// First bytes that tell one slide from another.
const IDENTITY_BYTES: u64 = 16 * 1024;
/// Rounds of fetching before a reader is believed to run in a circle.
const MAX_ROUNDS: usize = 1000;

/// An open slide.
pub struct SlideReader {
    pub slide: Slide,
    source: Box<dyn ByteSource>,
    bytes: Mutex<RangeCache>,
    cache: Mutex<TileCache>,
    decode_ns: AtomicU64,
}

impl SlideReader {
    /// Reads the directories from a source.
    ///
    /// # Errors
    /// Those of the source; whatever the file does wrong.
    pub fn open(source: Box<dyn ByteSource>) -> Result<Self> {
        let mut bytes = RangeCache::new(source.len());
        let slide = complete(source.as_ref(), &mut bytes, Slide::open)?;
        let (bytes, cache) = (Mutex::new(bytes), Mutex::new(TileCache::new(CACHE_BYTES)));
        Ok(Self { slide, source, bytes, cache, decode_ns: AtomicU64::new(0) })
    }

    /// Tells this slide from others: length and a hash of its first bytes, where levels and dates
    /// stand.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn identity(&self) -> Result<String> {
        let len = self.source.len();
        let first = self.source.read(0..len.min(IDENTITY_BYTES))?;
        Ok(format!("{len}-{}", crate::model::sha256_hex(&first)))
    }

    /// Seconds of all threads spent on decoding tiles so far.
    #[must_use]
    pub fn decode_secs(&self) -> f64 {
        self.decode_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// A rectangle of a level; what lies outside the slide, and tiles that were left out, is glass.
    ///
    /// # Errors
    /// [`Error::Limit`] for more pixels than memory should hold; those of the source and of broken
    /// tiles.
    pub fn region(
        &self,
        level: usize,
        x: isize,
        y: isize,
        width: usize,
        height: usize,
    ) -> Result<RgbImage> {
        let levels = self.slide.levels.len();
        if level >= levels {
            return Err(Error::mismatch(format!(
                "The slide has {levels} levels; there is no level {level}"
            )));
        }
        let rect = Rect { x, y, width, height };
        rect.check()?;
        let grid = &self.slide.levels[level];
        let places = rect.tiles(level, grid);
        let tiles = self.tiles(&places)?;
        let present: Vec<_> =
            places.into_iter().zip(tiles).filter_map(|(p, tile)| Some((p, tile?))).collect();
        Ok(rect.assemble(grid, &present))
    }

    /// Tiles in the order asked for; none for those that were left out of the file.
    fn tiles(&self, keys: &[TileIndex]) -> Result<Vec<Option<Arc<RgbImage>>>> {
        let broken = || Error::malformed("Reading the slide failed before");
        let mut found: Vec<Option<Arc<RgbImage>>> = Vec::with_capacity(keys.len());
        {
            let mut cache = self.cache.lock().map_err(|_| broken())?;
            found.extend(keys.iter().map(|key| cache.get(*key)));
        }
        let missing: Vec<usize> = (0..keys.len()).filter(|i| found[*i].is_none()).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let mut bytes = self.bytes.lock().map_err(|_| broken())?;
        let places = |bytes: &RangeCache| -> ReadResult<Vec<Option<std::ops::Range<u64>>>> {
            let range = |i: &usize| {
                self.slide.levels[keys[*i].level].tile_range(bytes, keys[*i].column, keys[*i].row)
            };
            missing.iter().map(range).collect()
        };
        let places = complete(self.source.as_ref(), &mut bytes, places)?;
        drop(bytes);
        let present: Vec<(usize, std::ops::Range<u64>)> =
            missing.iter().zip(places).filter_map(|(i, range)| Some((*i, range?))).collect();
        let ranges: Vec<_> = present.iter().map(|(_, range)| range.clone()).collect();
        let mut packed: Vec<Vec<u8>> = vec![Vec::new(); present.len()];
        for (whole, members) in merged(&ranges) {
            let got = self.source.read(whole.clone())?;
            for member in members {
                let range = &ranges[member];
                let part = (range.start - whole.start) as usize..(range.end - whole.start) as usize;
                packed[member] = got.get(part).ok_or_else(broken)?.to_vec();
            }
        }
        let decoded: Vec<Mutex<Option<Arc<RgbImage>>>> =
            packed.iter().map(|_| Mutex::new(None)).collect();
        for_each_index(packed.len(), |i| {
            let key = keys[present[i].0];
            let begun = std::time::Instant::now();
            let tile = decode_tile(&self.slide.levels[key.level], key.row, &packed[i])?;
            self.decode_ns.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
            *decoded[i].lock().map_err(|_| broken())? = Some(Arc::new(tile));
            Ok(())
        })?;
        let mut cache = self.cache.lock().map_err(|_| broken())?;
        for ((i, _), tile) in present.iter().zip(decoded) {
            let tile = tile.into_inner().map_err(|_| broken())?;
            if let Some(tile) = &tile {
                cache.put(keys[*i], tile.clone());
            }
            found[*i] = tile;
        }
        Ok(found)
    }
}

/// Runs a reader until nothing is missing.
fn complete<T>(
    source: &dyn ByteSource,
    bytes: &mut RangeCache,
    read: impl Fn(&RangeCache) -> ReadResult<T>,
) -> Result<T> {
    for _ in 0..MAX_ROUNDS {
        match read(bytes) {
            Ok(value) => return Ok(value),
            Err(ReadError::Fail(error)) => return Err(error),
            Err(ReadError::NeedBytes(ranges)) => {
                for (range, _) in merged(&ranges) {
                    bytes.feed(range.start, &source.read(range)?);
                }
            }
        }
    }
    Err(Error::malformed("The slide's directories lead nowhere"))
}
