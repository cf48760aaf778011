//! Pixels of a slide from any source: tiles are fetched in few requests, decoded on all cores and kept while there is room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::bytes::{Read, Sparse, Stop, merged};
use super::decode::{GLASS, decode_tile};
use super::opening::Slide;
use super::source::ByteSource;
use crate::error::{Error, Result};
use crate::platform::for_each_index;
use crate::raster::{Plane, RgbImage};

/// Room for decoded tiles, bytes.
const CACHE_BYTES: usize = 128 << 20;
/// First bytes that tell one slide from another.
const IDENTITY_BYTES: u64 = 16 * 1024;
/// Most pixels of one region.
const MAX_REGION_PX: usize = 256 << 20;
/// Rounds of fetching before a reader is believed to run in a circle.
const MAX_ROUNDS: usize = 1000;

/// Level, column and row of a tile.
type Key = (usize, usize, usize);

/// Decoded tiles, the ones used longest ago leaving first.
#[derive(Default)]
struct Cache {
    tiles: HashMap<Key, (Arc<RgbImage>, u64)>,
    bytes: usize,
    clock: u64,
}

impl Cache {
    fn get(&mut self, key: Key) -> Option<Arc<RgbImage>> {
        self.clock += 1;
        let (tile, used) = self.tiles.get_mut(&key)?;
        *used = self.clock;
        Some(tile.clone())
    }

    fn put(&mut self, key: Key, tile: Arc<RgbImage>) {
        self.clock += 1;
        self.bytes += tile.data().len() * 3;
        if let Some((old, _)) = self.tiles.insert(key, (tile, self.clock)) {
            self.bytes -= old.data().len() * 3;
        }
        while self.bytes > CACHE_BYTES && self.tiles.len() > 1 {
            let Some(oldest) = self.tiles.iter().min_by_key(|(_, (_, used))| *used).map(|(k, _)| *k) else { break };
            if let Some((tile, _)) = self.tiles.remove(&oldest) {
                self.bytes -= tile.data().len() * 3;
            }
        }
    }
}

/// An open slide.
pub struct SlideReader {
    pub slide: Slide,
    source: Box<dyn ByteSource>,
    bytes: Mutex<Sparse>,
    cache: Mutex<Cache>,
    decode_ns: AtomicU64,
}

impl SlideReader {
    /// Reads the directories from a source.
    ///
    /// # Errors
    /// Those of the source; whatever the file does wrong.
    pub fn open(source: Box<dyn ByteSource>) -> Result<Self> {
        let mut bytes = Sparse::new(source.len());
        let slide = complete(source.as_ref(), &mut bytes, Slide::open)?;
        let (bytes, cache) = (Mutex::new(bytes), Mutex::new(Cache::default()));
        Ok(Self { slide, source, bytes, cache, decode_ns: AtomicU64::new(0) })
    }

    /// Tells this slide from others: length and a hash of its first bytes, where levels and dates stand.
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
    /// [`Error::Limit`] for more pixels than memory should hold; those of the source and of broken tiles.
    pub fn region(&self, level: usize, x: isize, y: isize, width: usize, height: usize) -> Result<RgbImage> {
        let levels = self.slide.levels.len();
        if level >= levels {
            return Err(Error::mismatch(format!("The slide has {levels} levels; there is no level {level}")));
        }
        if width.checked_mul(height).is_none_or(|n| n == 0 || n > MAX_REGION_PX) {
            return Err(Error::limit(format!("A region of {width}×{height} pixels is out of range")));
        }
        let mut out = Plane::filled(width, height, GLASS);
        let grid = &self.slide.levels[level];
        let inside = |from: isize, len: usize, whole: usize| {
            let end = from.saturating_add_unsigned(len).clamp(0, whole.cast_signed());
            (from.clamp(0, whole.cast_signed()).cast_unsigned(), end.cast_unsigned())
        };
        let ((left, right), (top, bottom)) = (inside(x, width, grid.width), inside(y, height, grid.height));
        if left >= right || top >= bottom {
            return Ok(out);
        }
        let (tw, th) = (grid.tile_width, grid.tile_height);
        let keys: Vec<Key> = (top / th..=(bottom - 1) / th)
            .flat_map(|row| (left / tw..=(right - 1) / tw).map(move |column| (level, column, row)))
            .collect();
        for (key, tile) in keys.iter().zip(self.tiles(&keys)?) {
            let Some(tile) = tile else { continue };
            let (tile_left, tile_top) = (key.1 * tw, key.2 * th);
            let (from, to) = (left.max(tile_left), right.min(tile_left + tile.width()));
            for row in top.max(tile_top)..bottom.min(tile_top + tile.height()) {
                let target = from.cast_signed() - x;
                let line =
                    &mut out.row_mut((row.cast_signed() - y).cast_unsigned())[target.cast_unsigned()..][..to - from];
                line.copy_from_slice(&tile.row(row - tile_top)[from - tile_left..to - tile_left]);
            }
        }
        Ok(out)
    }

    /// Tiles in the order asked for; none for those that were left out of the file.
    fn tiles(&self, keys: &[Key]) -> Result<Vec<Option<Arc<RgbImage>>>> {
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
        let places = |bytes: &Sparse| -> Read<Vec<Option<std::ops::Range<u64>>>> {
            let range = |i: &usize| self.slide.levels[keys[*i].0].tile_range(bytes, keys[*i].1, keys[*i].2);
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
        let decoded: Vec<Mutex<Option<Arc<RgbImage>>>> = packed.iter().map(|_| Mutex::new(None)).collect();
        for_each_index(packed.len(), |i| {
            let key = keys[present[i].0];
            let begun = std::time::Instant::now();
            let tile = decode_tile(&self.slide.levels[key.0], key.2, &packed[i])?;
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
fn complete<T>(source: &dyn ByteSource, bytes: &mut Sparse, read: impl Fn(&Sparse) -> Read<T>) -> Result<T> {
    for _ in 0..MAX_ROUNDS {
        match read(bytes) {
            Ok(value) => return Ok(value),
            Err(Stop::Fail(error)) => return Err(error),
            Err(Stop::Need(ranges)) => {
                for (range, _) in merged(&ranges) {
                    bytes.feed(range.start, &source.read(range)?);
                }
            }
        }
    }
    Err(Error::malformed("The slide's directories lead nowhere"))
}
