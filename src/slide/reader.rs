//! Blocking access to a slide's pixels: tiles are fetched with few requests, decoded on all cores
//! and cached.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::decode::decode_tile;
use super::range_cache::{RangeCache, ReadError, ReadResult, merge_ranges};
use super::slide_file::Slide;
use super::source::ByteSource;
use super::tiles::{PlacedTile, Rect, TileCache, TileIndex};
use crate::error::{Error, Result, counted};
use crate::platform::for_each_index;
use crate::raster::RgbImage;

/// Capacity for decoded tiles, bytes.
const CACHE_BYTES: usize = 64 << 20;
/// First bytes that go into the identity of a slide.
const IDENTITY_BYTES: u64 = 16 * 1024;
/// Most rounds of fetching for one value: one for each frame of a DICOM file without a table. A
/// reader that needs more does not progress.
const MAX_ROUNDS: usize = 1 << 20;

/// An open slide.
///
/// ```no_run
/// use prunella::slide::{SlideReader, source};
///
/// # fn main() -> prunella::error::Result<()> {
/// let reader = SlideReader::open(source("biopsy.svs")?)?;
/// println!("{} levels, {:?} µm", reader.slide.levels.len(), reader.slide.mpp_um);
/// // 1024 × 768 pixels of the finest level, from column 12 000 and row 8 000 on.
/// let image = reader.region(0, 12_000, 8_000, 1024, 768)?;
/// # Ok(())
/// # }
/// ```
pub struct SlideReader {
    /// Metadata and levels.
    pub slide: Slide,
    source: Box<dyn ByteSource>,
    /// Directories and tile tables read so far.
    bytes: Mutex<RangeCache>,
    cache: Mutex<TileCache>,
    decode_ns: AtomicU64,
}

/// A tile that is not in the cache.
struct MissingTile {
    /// Position in the list of requested tiles.
    position: usize,
    index: TileIndex,
    /// Where its compressed bytes lie in the file: of all samples, or of each sample.
    ranges: Vec<Range<u64>>,
}

impl SlideReader {
    /// Reads the directories of a file.
    ///
    /// # Errors
    /// Those of the source; a file that is no supported slide.
    pub fn open(source: Box<dyn ByteSource>) -> Result<Self> {
        let mut bytes = RangeCache::of_files(&source.file_lengths());
        let slide = read_blocking(source.as_ref(), &mut bytes, Slide::open)?;
        Ok(Self {
            slide,
            source,
            bytes: Mutex::new(bytes),
            cache: Mutex::new(TileCache::new(CACHE_BYTES)),
            decode_ns: AtomicU64::new(0),
        })
    }

    /// A text that differs between slides: length, and a hash of the first bytes, which hold the
    /// metadata.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn identity(&self) -> Result<String> {
        let len = self.source.len();
        let first = self.source.read(0..len.min(IDENTITY_BYTES))?;
        Ok(format!("{len}-{}", crate::model::sha256_hex(&first)))
    }

    /// Time spent on decoding tiles so far, seconds, summed over threads.
    #[must_use]
    pub fn decode_secs(&self) -> f64 {
        self.decode_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// A rectangle of a level, RGB, `width × height`; `x` and `y` are its first column and row in
    /// pixels of the level. What lies outside the slide and empty tiles are background.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a level that the slide has not, [`Error::Limit`] for too many
    /// pixels; those of the source and of broken tiles.
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
                "The slide has {}; there is no level {level}",
                counted(levels, "level", "levels")
            )));
        }
        let rect = Rect { x, y, width, height };
        rect.check()?;
        let indices = rect.tiles(level, &self.slide.levels[level]);
        let mut tiles = Vec::with_capacity(indices.len());
        for (index, pixels) in indices.iter().zip(self.tiles(&indices)?) {
            if let Some(pixels) = pixels {
                tiles.push(PlacedTile { index: *index, pixels });
            }
        }
        Ok(rect.assemble(&self.slide.levels[level], &tiles))
    }

    /// Decoded tiles in the order of `indices`; none for empty ones.
    fn tiles(&self, indices: &[TileIndex]) -> Result<Vec<Option<Arc<RgbImage>>>> {
        let mut tiles = Vec::with_capacity(indices.len());
        {
            // The lock is not held while tiles are fetched and decoded, so two threads may decode
            // the same tile; the second result replaces the first, which is equal.
            let mut cache = self.cache.lock().map_err(|_| poisoned())?;
            for index in indices {
                tiles.push(cache.get(*index));
            }
        }
        if tiles.iter().all(Option::is_some) {
            return Ok(tiles);
        }
        let mut absent = Vec::new();
        for (position, tile) in tiles.iter().enumerate() {
            if tile.is_none() {
                absent.push(position);
            }
        }
        let missing = self.locate(indices, &absent)?;
        let decoded = self.fetch_and_decode(&missing)?;
        let mut cache = self.cache.lock().map_err(|_| poisoned())?;
        for (tile, pixels) in missing.iter().zip(decoded) {
            cache.insert(tile.index, Arc::clone(&pixels));
            tiles[tile.position] = Some(pixels);
        }
        Ok(tiles)
    }

    /// Byte ranges of the tiles at `positions` of `indices`; empty tiles are left out.
    fn locate(&self, indices: &[TileIndex], positions: &[usize]) -> Result<Vec<MissingTile>> {
        let find = |bytes: &RangeCache| -> ReadResult<Vec<MissingTile>> {
            let mut missing = Vec::new();
            for &position in positions {
                let index = indices[position];
                let level = &self.slide.levels[index.level];
                let ranges = level.tile_ranges(bytes, index.column, index.row)?;
                if !ranges.is_empty() {
                    missing.push(MissingTile { position, index, ranges });
                }
            }
            Ok(missing)
        };
        let mut bytes = self.bytes.lock().map_err(|_| poisoned())?;
        read_blocking(self.source.as_ref(), &mut bytes, find)
    }

    /// Pixels of tiles, in their order.
    fn fetch_and_decode(&self, missing: &[MissingTile]) -> Result<Vec<Arc<RgbImage>>> {
        let mut ranges: Vec<Range<u64>> = Vec::with_capacity(missing.len());
        // Index of each tile's first range.
        let mut firsts = Vec::with_capacity(missing.len());
        for tile in missing {
            firsts.push(ranges.len());
            ranges.extend(tile.ranges.iter().cloned());
        }
        let mut compressed: Vec<Vec<u8>> = vec![Vec::new(); ranges.len()];
        // Tiles of a region lie close together in the file: few requests serve many tiles.
        for merged in merge_ranges(&ranges) {
            let fetched = self.source.read(merged.range.clone())?;
            for &member in &merged.members {
                let bytes = merged.slice(&fetched, &ranges[member]).ok_or_else(short_read)?;
                compressed[member] = bytes.to_vec();
            }
        }
        let mut decoded: Vec<Mutex<Option<Arc<RgbImage>>>> = Vec::new();
        decoded.resize_with(missing.len(), Mutex::default);
        for_each_index(missing.len(), |i| {
            let index = missing[i].index;
            let level = &self.slide.levels[index.level];
            let started = Instant::now();
            let own = &compressed[firsts[i]..firsts[i] + missing[i].ranges.len()];
            let parts: Vec<&[u8]> = own.iter().map(Vec::as_slice).collect();
            let pixels = decode_tile(level, index.row, &parts)?;
            self.decode_ns.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
            *decoded[i].lock().map_err(|_| poisoned())? = Some(Arc::new(pixels));
            Ok(())
        })?;
        let mut tiles = Vec::with_capacity(missing.len());
        for slot in decoded {
            tiles.push(slot.into_inner().map_err(|_| poisoned())?.ok_or_else(poisoned)?);
        }
        Ok(tiles)
    }
}

fn poisoned() -> Error {
    Error::malformed("Reading the slide failed before")
}

fn short_read() -> Error {
    Error::malformed("Fewer bytes of the slide arrived than were requested")
}

/// Calls a sans-I/O reader and fetches what it needs until it returns a value.
pub(super) fn read_blocking<T>(
    source: &dyn ByteSource,
    bytes: &mut RangeCache,
    read: impl Fn(&RangeCache) -> ReadResult<T>,
) -> Result<T> {
    for _ in 0..MAX_ROUNDS {
        match read(bytes) {
            Ok(value) => return Ok(value),
            Err(ReadError::Fail(error)) => return Err(error),
            Err(ReadError::NeedBytes(ranges)) => {
                for merged in merge_ranges(&ranges) {
                    bytes.insert(merged.range.start, &source.read(merged.range)?);
                }
            }
        }
    }
    Err(Error::malformed("Reading the slide's directories does not end"))
}
