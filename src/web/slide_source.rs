//! A slide in a browser: the page's script reads byte ranges of files or of a server's file, or the
//! objects of an OME-Zarr.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use js_sys::{Array, Function, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::error::{Error, Result};
use crate::raster::RgbImage;
use crate::slide::{
    ObjectCache, ObjectError, ObjectPart, ObjectRequest, ObjectResult, PlacedTile, RangeCache,
    ReadError, ReadResult, Rect, Slide, SlideLevel, TileCache, TileIndex, decode_tile,
    merge_ranges,
};
use crate::viewer::SlideTiles;
use crate::whole_slide::Tissue;

/// Capacity for decoded tiles, bytes.
const CACHE_BYTES: usize = 96 << 20;
/// Most rounds of fetching for one value: one for each frame of a DICOM file without a table. A
/// reader that needs more does not progress.
const MAX_ROUNDS: usize = 1 << 20;

/// An open slide.
///
/// `read` is everywhere the script's function `(start, end) => Promise<Uint8Array>` for the bytes
/// `start..end`; of a slide of objects it is
/// `(key, part, start, end) => Promise<Uint8Array | null>`, whose part is "whole",
/// "range" or "last" (`start` bytes at the end), and whose null says that there is no such object.
/// It is a parameter and no field, because each call carries its own abort signal.
pub(super) struct WebSlide {
    pub slide: Slide,
    pub tiles: SlideTiles,
    known: Known,
    cache: RefCell<TileCache>,
    /// Tiles that another call fetches, with a promise that resolves when it has ended.
    in_progress: RefCell<HashMap<TileIndex, Promise>>,
    /// Found by an earlier segmentation, for the next one.
    pub tissue: RefCell<Option<Arc<Tissue>>>,
}

/// What was read so far of the tables that list tiles.
enum Known {
    File(RefCell<RangeCache>),
    Objects(RefCell<ObjectCache>),
}

impl WebSlide {
    /// Reads the directories of a file, or of several, one behind the other, of so many bytes each.
    ///
    /// # Errors
    /// Those of `read`; a file that is no supported slide.
    pub(super) async fn open(lengths: &[u64], read: &Function) -> Result<Self> {
        let known = RefCell::new(RangeCache::of_files(lengths));
        let slide = read_async(&known, read, Slide::open).await?;
        Ok(Self::new(slide, Known::File(known)))
    }

    /// Reads the metadata of an OME-Zarr.
    ///
    /// # Errors
    /// Those of `read`; objects that are no supported slide.
    pub(super) async fn open_objects(read: &Function) -> Result<Self> {
        let known = RefCell::default();
        let slide = objects_async(&known, read, Slide::open_objects).await?;
        Ok(Self::new(slide, Known::Objects(known)))
    }

    fn new(slide: Slide, known: Known) -> Self {
        let tiles = SlideTiles::new(&slide);
        Self {
            slide,
            tiles,
            known,
            cache: RefCell::new(TileCache::new(CACHE_BYTES)),
            in_progress: RefCell::default(),
            tissue: RefCell::default(),
        }
    }

    /// A rectangle of a level; outside the slide there is background.
    ///
    /// # Errors
    /// Those of `read` and of broken tiles.
    pub(super) async fn region(
        &self,
        level: usize,
        rect: Rect,
        read: &Function,
    ) -> Result<RgbImage> {
        rect.check()?;
        let slide_level = &self.slide.levels[level];
        let mut pending = rect.tiles(level, slide_level);
        let mut tiles: Vec<PlacedTile> = Vec::with_capacity(pending.len());
        while !pending.is_empty() {
            let mut missing = Vec::new();
            let mut promises = Vec::new();
            for index in std::mem::take(&mut pending) {
                if let Some(pixels) = self.cache.borrow_mut().get(index) {
                    tiles.push(PlacedTile { index, pixels });
                } else if let Some(promise) = self.in_progress.borrow().get(&index) {
                    promises.push(promise.clone());
                    pending.push(index);
                } else {
                    missing.push(index);
                }
            }
            if !missing.is_empty() {
                tiles.extend(self.fetch_tiles(slide_level, &missing, read).await?);
            }
            for promise in promises {
                // It resolves on failure too; the next round finds out whether the tile is cached.
                drop(JsFuture::from(promise).await);
            }
        }
        Ok(rect.assemble(slide_level, &tiles))
    }

    /// Fetches, decodes and caches tiles; empty ones are left out. Concurrent calls wait for these
    /// tiles instead of fetching them again.
    async fn fetch_tiles(
        &self,
        level: &SlideLevel,
        indices: &[TileIndex],
        read: &Function,
    ) -> Result<Vec<PlacedTile>> {
        let _guard = InProgress::mark(&self.in_progress, indices);
        let compressed = match &self.known {
            Known::File(known) => tiles_of_file(known, level, indices, read).await?,
            Known::Objects(known) => tiles_of_objects(known, &self.slide, indices, read).await?,
        };
        let mut tiles = Vec::with_capacity(compressed.len());
        for CompressedTile { index, parts } in compressed {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let pixels = Arc::new(decode_tile(level, index.row, &parts)?);
            self.cache.borrow_mut().insert(index, Arc::clone(&pixels));
            tiles.push(PlacedTile { index, pixels });
        }
        Ok(tiles)
    }
}

/// A tile and its compressed bytes: of all samples, or of each sample.
struct CompressedTile {
    index: TileIndex,
    parts: Vec<Vec<u8>>,
}

/// Fetches tiles by their byte ranges; empty ones are left out.
async fn tiles_of_file(
    known: &RefCell<RangeCache>,
    level: &SlideLevel,
    indices: &[TileIndex],
    read: &Function,
) -> Result<Vec<CompressedTile>> {
    let find = |known: &RangeCache| -> ReadResult<Vec<Vec<Range<u64>>>> {
        indices.iter().map(|tile| level.tile_ranges(known, tile.column, tile.row)).collect()
    };
    let located = read_async(known, read, find).await?;
    let ranges: Vec<Range<u64>> = located.iter().flatten().cloned().collect();
    let mut compressed = vec![Vec::new(); ranges.len()];
    for merged in merge_ranges(&ranges) {
        let fetched = fetch(read, merged.range.clone()).await?;
        for &member in &merged.members {
            let bytes = merged.slice(&fetched, &ranges[member]).ok_or_else(short_read)?;
            compressed[member] = bytes.to_vec();
        }
    }
    let mut compressed = compressed.into_iter();
    let mut tiles = Vec::with_capacity(indices.len());
    for (index, ranges) in indices.iter().zip(located) {
        let parts: Vec<Vec<u8>> = compressed.by_ref().take(ranges.len()).collect();
        if !parts.is_empty() {
            tiles.push(CompressedTile { index: *index, parts });
        }
    }
    Ok(tiles)
}

/// Fetches tiles by their objects. What there is not has no bytes.
async fn tiles_of_objects(
    known: &RefCell<ObjectCache>,
    slide: &Slide,
    indices: &[TileIndex],
    read: &Function,
) -> Result<Vec<CompressedTile>> {
    let requests = objects_async(known, read, |known| slide.tile_objects(known, indices)).await?;
    let mut tiles = Vec::with_capacity(indices.len());
    let fetched = fetch_objects(read, &requests.requests()).await?;
    for (index, parts) in indices.iter().zip(requests.parts(&fetched)?) {
        tiles.push(CompressedTile { index: *index, parts });
    }
    Ok(tiles)
}

/// Marks tiles as being fetched until it is dropped, also by an error or a cancelled future.
struct InProgress<'a> {
    promises: &'a RefCell<HashMap<TileIndex, Promise>>,
    indices: Vec<TileIndex>,
    resolve: Option<Function>,
}

impl<'a> InProgress<'a> {
    fn mark(promises: &'a RefCell<HashMap<TileIndex, Promise>>, indices: &[TileIndex]) -> Self {
        let mut resolver = None;
        let promise = Promise::new(&mut |resolve, _| resolver = Some(resolve));
        let mut all = promises.borrow_mut();
        for index in indices {
            all.insert(*index, promise.clone());
        }
        drop(all);
        Self { promises, indices: indices.to_vec(), resolve: resolver }
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        let mut promises = self.promises.borrow_mut();
        for index in &self.indices {
            promises.remove(index);
        }
        if let Some(resolve) = &self.resolve {
            drop(resolve.call0(&JsValue::NULL));
        }
    }
}

fn short_read() -> Error {
    Error::malformed("Fewer bytes of the slide arrived than were requested")
}

/// Calls the script's `read` for one range.
async fn fetch(read: &Function, range: Range<u64>) -> Result<Vec<u8>> {
    let start = JsValue::from(range.start as f64);
    let end = JsValue::from(range.end as f64);
    let value = match read.call2(&JsValue::NULL, &start, &end) {
        Ok(promise) => JsFuture::from(Promise::resolve(&promise)).await,
        Err(e) => Err(e),
    };
    let bytes = Uint8Array::new(&value.map_err(|e| script_error(&e))?).to_vec();
    if bytes.len() as u64 == range.end - range.start { Ok(bytes) } else { Err(short_read()) }
}

/// Calls the script's `read` for objects, all at once; `None` for those that there are not.
async fn fetch_objects(
    read: &Function,
    requests: &[ObjectRequest],
) -> Result<Vec<Option<Vec<u8>>>> {
    let started = Array::new();
    for request in requests {
        let (part, start, end) = match &request.part {
            ObjectPart::Whole(_) => ("whole", 0, 0),
            ObjectPart::Range(range) => ("range", range.start, range.end),
            ObjectPart::Last(count) => ("last", *count, 0),
        };
        let arguments = Array::of(&[
            JsValue::from(&request.key),
            JsValue::from(part),
            JsValue::from(start as f64),
            JsValue::from(end as f64),
        ]);
        let promise = read.apply(&JsValue::NULL, &arguments).map_err(|e| script_error(&e))?;
        started.push(&Promise::resolve(&promise));
    }
    let values = JsFuture::from(Promise::all(&started)).await.map_err(|e| script_error(&e))?;
    let mut found = Vec::with_capacity(requests.len());
    for (value, request) in Array::from(&values).iter().zip(requests) {
        if value.is_null() {
            found.push(None);
            continue;
        }
        let bytes = Uint8Array::new(&value);
        if let ObjectPart::Whole(max_bytes) = request.part
            && u64::from(bytes.length()) > max_bytes
        {
            return Err(request.too_long());
        }
        found.push(Some(bytes.to_vec()));
    }
    Ok(found)
}

/// Converts a script's exception; an aborted request becomes [`Error::Cancelled`].
fn script_error(value: &JsValue) -> Error {
    let error = value.dyn_ref::<js_sys::Error>();
    if error.is_some_and(|e| e.name() == "AbortError") {
        return Error::Cancelled { after: String::new() };
    }
    let message = error.map_or_else(|| format!("{value:?}"), |e| e.message().into());
    Error::malformed(message)
}

/// Calls a sans-I/O reader and fetches what it needs until it returns a value.
async fn read_async<T>(
    bytes: &RefCell<RangeCache>,
    read: &Function,
    reader: impl Fn(&RangeCache) -> ReadResult<T>,
) -> Result<T> {
    for _ in 0..MAX_ROUNDS {
        // The borrow must end before the await below.
        let result = reader(&bytes.borrow());
        match result {
            Ok(value) => return Ok(value),
            Err(ReadError::Fail(error)) => return Err(error),
            Err(ReadError::NeedBytes(ranges)) => {
                for merged in merge_ranges(&ranges) {
                    let fetched = fetch(read, merged.range.clone()).await?;
                    bytes.borrow_mut().insert(merged.range.start, &fetched);
                }
            }
        }
    }
    Err(Error::malformed("Reading the slide's directories does not end"))
}

/// Calls a sans-I/O reader of objects and fetches what it needs until it returns a value.
async fn objects_async<T>(
    known: &RefCell<ObjectCache>,
    read: &Function,
    reader: impl Fn(&ObjectCache) -> ObjectResult<T>,
) -> Result<T> {
    for _ in 0..MAX_ROUNDS {
        // The borrow must end before the await below.
        let result = reader(&known.borrow());
        match result {
            Ok(value) => return Ok(value),
            Err(ObjectError::Fail(error)) => return Err(error),
            Err(ObjectError::NeedObjects(requests)) => {
                let found = fetch_objects(read, &requests).await?;
                for (request, bytes) in requests.into_iter().zip(found) {
                    known.borrow_mut().insert(request, bytes)?;
                }
            }
        }
    }
    Err(Error::malformed("Reading the slide's metadata does not end"))
}
