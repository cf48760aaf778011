//! Blocking access to a slide's pixels: tiles are fetched with few requests, decoded on all cores
//! and cached.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::decode::decode_tile;
use super::object_source::{ObjectSource, is_zarr, object_source};
use super::objects::{ObjectCache, ObjectError, ObjectResult};
use super::range_cache::{RangeCache, ReadError, ReadResult, merge_ranges};
use super::slide_file::Slide;
use super::source::{ByteSource, source};
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
    bytes: TileBytes,
    cache: Mutex<TileCache>,
    decode_ns: AtomicU64,
}

/// Where the bytes of tiles come from, and what was read so far of the tables that list them.
enum TileBytes {
    File { source: Box<dyn ByteSource>, known: Mutex<RangeCache> },
    Objects { source: Box<dyn ObjectSource>, known: Mutex<ObjectCache> },
}

/// Compressed bytes of a tile: of all samples, or of each sample; `None` for an empty tile.
type CompressedTile = Option<Vec<Vec<u8>>>;

impl SlideReader {
    /// Opens a slide by path or http(s) address: a file, or a folder that is an OME-Zarr.
    ///
    /// # Errors
    /// Those of [`source`] and of the other functions that open slides.
    pub fn open_at(place: &str) -> Result<Self> {
        if is_zarr(place) {
            return Self::open_objects(object_source(place)?);
        }
        Self::open(source(place)?)
    }

    /// Reads the directories of a file.
    ///
    /// # Errors
    /// Those of the source; a file that is no supported slide.
    pub fn open(source: Box<dyn ByteSource>) -> Result<Self> {
        let mut known = RangeCache::of_files(&source.file_lengths());
        let slide = read_blocking(source.as_ref(), &mut known, Slide::open)?;
        Ok(Self::new(slide, TileBytes::File { source, known: Mutex::new(known) }))
    }

    /// Reads the metadata of an OME-Zarr.
    ///
    /// # Errors
    /// Those of the source; objects that are no supported slide.
    pub fn open_objects(source: Box<dyn ObjectSource>) -> Result<Self> {
        let mut known = ObjectCache::default();
        let slide = read_objects(source.as_ref(), &mut known, Slide::open_objects)?;
        Ok(Self::new(slide, TileBytes::Objects { source, known: Mutex::new(known) }))
    }

    fn new(slide: Slide, bytes: TileBytes) -> Self {
        let cache = Mutex::new(TileCache::new(CACHE_BYTES));
        Self { slide, bytes, cache, decode_ns: AtomicU64::new(0) }
    }

    /// A text that differs between slides. Of a file it is made of the length and the first bytes,
    /// which hold the metadata; of many objects, of all metadata and the bytes of the tile in the
    /// middle of the coarsest level.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn identity(&self) -> Result<String> {
        match &self.bytes {
            TileBytes::File { source, .. } => {
                let len = source.len();
                let first = source.read(0..len.min(IDENTITY_BYTES))?;
                Ok(format!("{len}-{}", crate::model::sha256_hex(&first)))
            }
            TileBytes::Objects { known, .. } => {
                let mut hashed = known.lock().map_err(|_| poisoned())?.metadata();
                let level = self.slide.levels.len() - 1;
                let coarsest = &self.slide.levels[level];
                let (column, row) = (coarsest.tiles_across() / 2, coarsest.tiles_down() / 2);
                let index = TileIndex { level, column, row };
                for part in self.bytes.compressed(&self.slide, &[index])?.into_iter().flatten() {
                    hashed.extend(part.into_iter().flatten());
                }
                Ok(format!("objects-{}", crate::model::sha256_hex(&hashed)))
            }
        }
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
        let mut missing = Vec::new();
        for (index, tile) in indices.iter().zip(&tiles) {
            if tile.is_none() {
                missing.push(*index);
            }
        }
        let mut decoded = self.fetch_and_decode(&missing)?.into_iter();
        let mut cache = self.cache.lock().map_err(|_| poisoned())?;
        for (index, tile) in indices.iter().zip(&mut tiles) {
            if tile.is_none()
                && let Some(Some(pixels)) = decoded.next()
            {
                cache.insert(*index, Arc::clone(&pixels));
                *tile = Some(pixels);
            }
        }
        Ok(tiles)
    }

    /// Pixels of tiles, in their order; none for empty ones.
    fn fetch_and_decode(&self, indices: &[TileIndex]) -> Result<Vec<Option<Arc<RgbImage>>>> {
        let compressed = self.bytes.compressed(&self.slide, indices)?;
        let mut decoded: Vec<Mutex<Option<Arc<RgbImage>>>> = Vec::new();
        decoded.resize_with(indices.len(), Mutex::default);
        for_each_index(indices.len(), |i| {
            let Some(parts) = &compressed[i] else { return Ok(()) };
            let level = &self.slide.levels[indices[i].level];
            let started = Instant::now();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let pixels = decode_tile(level, indices[i].row, &parts)?;
            self.decode_ns.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
            *decoded[i].lock().map_err(|_| poisoned())? = Some(Arc::new(pixels));
            Ok(())
        })?;
        let mut tiles = Vec::with_capacity(indices.len());
        for slot in decoded {
            tiles.push(slot.into_inner().map_err(|_| poisoned())?);
        }
        Ok(tiles)
    }
}

impl TileBytes {
    /// Fetches the compressed bytes of tiles, in their order.
    fn compressed(&self, slide: &Slide, indices: &[TileIndex]) -> Result<Vec<CompressedTile>> {
        match self {
            Self::File { source, known } => {
                let mut known = known.lock().map_err(|_| poisoned())?;
                let ranges = read_blocking(source.as_ref(), &mut known, |known| {
                    let mut ranges = Vec::with_capacity(indices.len());
                    for TileIndex { level, column, row } in indices {
                        ranges.push(slide.levels[*level].tile_ranges(known, *column, *row)?);
                    }
                    Ok(ranges)
                })?;
                drop(known);
                tiles_of_file(source.as_ref(), &ranges)
            }
            Self::Objects { source, known } => {
                let mut known = known.lock().map_err(|_| poisoned())?;
                let requests = read_objects(source.as_ref(), &mut known, |known| {
                    slide.tile_objects(known, indices)
                })?;
                drop(known);
                let tiles = requests.parts(&source.read(&requests.requests())?)?;
                Ok(tiles.into_iter().map(Some).collect())
            }
        }
    }
}

/// Fetches tiles by their byte ranges.
fn tiles_of_file(
    source: &dyn ByteSource,
    tiles: &[Vec<Range<u64>>],
) -> Result<Vec<CompressedTile>> {
    let ranges: Vec<Range<u64>> = tiles.iter().flatten().cloned().collect();
    let mut compressed: Vec<Vec<u8>> = vec![Vec::new(); ranges.len()];
    // Tiles of a region lie close together in the file: few requests serve many tiles.
    for merged in merge_ranges(&ranges) {
        let fetched = source.read(merged.range.clone())?;
        for &member in &merged.members {
            let bytes = merged.slice(&fetched, &ranges[member]).ok_or_else(short_read)?;
            compressed[member] = bytes.to_vec();
        }
    }
    let mut compressed = compressed.into_iter();
    let mut found = Vec::with_capacity(tiles.len());
    for ranges in tiles {
        let parts: Vec<Vec<u8>> = compressed.by_ref().take(ranges.len()).collect();
        found.push((!parts.is_empty()).then_some(parts));
    }
    Ok(found)
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

/// Calls a sans-I/O reader of objects and fetches what it needs until it returns a value.
fn read_objects<T>(
    source: &dyn ObjectSource,
    known: &mut ObjectCache,
    read: impl Fn(&ObjectCache) -> ObjectResult<T>,
) -> Result<T> {
    for _ in 0..MAX_ROUNDS {
        match read(known) {
            Ok(value) => return Ok(value),
            Err(ObjectError::Fail(error)) => return Err(error),
            Err(ObjectError::NeedObjects(requests)) => {
                let found = source.read(&requests)?;
                for (request, bytes) in requests.into_iter().zip(found) {
                    known.insert(request, bytes)?;
                }
            }
        }
    }
    Err(Error::malformed("Reading the slide's metadata does not end"))
}
