//! A slide in a browser: its bytes come from a function of the script, range by range, a file's or
//! a server's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use js_sys::{Function, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::error::{Error, Result};
use crate::raster::RgbImage;
use crate::slide::{
    RangeCache, ReadError, ReadResult, Rect, Slide, SlideLevel, TileCache, TileIndex, decode_tile,
    merged,
};
use crate::viewer::SlideTiles;
use crate::whole_slide::Tissue;

/// Room for decoded tiles, bytes.
const CACHE_BYTES: usize = 96 << 20;
/// Rounds of fetching before a reader is believed to run in a circle.
const MAX_ROUNDS: usize = 1000;

/// An open slide.
pub struct WebSlide {
    pub slide: Slide,
    pub tiles: SlideTiles,
    bytes: RefCell<RangeCache>,
    cache: RefCell<TileCache>,
    /// Tiles that are under way, and what will say that they are not any more.
    busy: RefCell<HashMap<TileIndex, Promise>>,
    /// Found by an earlier segmentation, for the next one.
    pub tissue: RefCell<Option<Arc<Tissue>>>,
}

impl WebSlide {
    /// Reads the directories of a file of `len` bytes.
    ///
    /// # Errors
    /// Those of the source; whatever the file does wrong.
    pub async fn open(len: u64, read: &Function) -> Result<Self> {
        let bytes = RefCell::new(RangeCache::new(len));
        let slide = complete(&bytes, read, Slide::open).await?;
        let (tiles, cache) = (SlideTiles::new(&slide), RefCell::new(TileCache::new(CACHE_BYTES)));
        Ok(Self {
            slide,
            tiles,
            bytes,
            cache,
            busy: RefCell::default(),
            tissue: RefCell::default(),
        })
    }

    /// A rectangle of a level; outside there is glass.
    ///
    /// # Errors
    /// Those of the source and of broken tiles.
    pub async fn region(&self, level: usize, rect: Rect, read: &Function) -> Result<RgbImage> {
        rect.check()?;
        let grid = &self.slide.levels[level];
        let mut wanted = rect.tiles(level, grid);
        let mut present: Vec<(TileIndex, Arc<RgbImage>)> = Vec::with_capacity(wanted.len());
        while !wanted.is_empty() {
            let (mut missing, mut elsewhere) = (Vec::new(), Vec::new());
            for place in std::mem::take(&mut wanted) {
                if let Some(tile) = self.cache.borrow_mut().get(place) {
                    present.push((place, tile));
                } else if let Some(promise) = self.busy.borrow().get(&place) {
                    elsewhere.push(promise.clone());
                    wanted.push(place);
                } else {
                    missing.push(place);
                }
            }
            if !missing.is_empty() {
                present.extend(self.fetched(grid, &missing, read).await?);
            }
            for promise in elsewhere {
                // It never fails; whether the tile is here now shows in the next round.
                drop(JsFuture::from(promise).await);
            }
        }
        Ok(rect.assemble(grid, &present))
    }

    /// Fetches and decodes tiles; whoever wants the same ones meanwhile waits for these. Tiles left
    /// out of the file are not given.
    async fn fetched(
        &self,
        grid: &SlideLevel,
        missing: &[TileIndex],
        read: &Function,
    ) -> Result<Vec<(TileIndex, Arc<RgbImage>)>> {
        let _busy = Busy::mark(&self.busy, missing);
        let find = |bytes: &RangeCache| -> ReadResult<Vec<Option<Range<u64>>>> {
            missing.iter().map(|p| grid.tile_range(bytes, p.column, p.row)).collect()
        };
        let found = complete(&self.bytes, read, find).await?;
        let places: Vec<(TileIndex, Range<u64>)> =
            missing.iter().zip(found).filter_map(|(place, range)| Some((*place, range?))).collect();
        let mut present = Vec::with_capacity(places.len());
        let ranges: Vec<Range<u64>> = places.iter().map(|(_, range)| range.clone()).collect();
        for (whole, members) in merged(&ranges) {
            let got = fetch(read, whole.clone()).await?;
            for member in members {
                let (place, range) = &places[member];
                let part = (range.start - whole.start) as usize..(range.end - whole.start) as usize;
                let tile =
                    Arc::new(decode_tile(grid, place.row, got.get(part).ok_or_else(cut_short)?)?);
                self.cache.borrow_mut().put(*place, Arc::clone(&tile));
                present.push((*place, tile));
            }
        }
        Ok(present)
    }
}

/// Tiles that are under way; when it goes, whatever the reason, those that wait go on.
struct Busy<'a> {
    all: &'a RefCell<HashMap<TileIndex, Promise>>,
    places: Vec<TileIndex>,
    done: Option<Function>,
}

impl<'a> Busy<'a> {
    fn mark(all: &'a RefCell<HashMap<TileIndex, Promise>>, places: &[TileIndex]) -> Self {
        let mut done = None;
        let promise = Promise::new(&mut |resolve, _| done = Some(resolve));
        all.borrow_mut().extend(places.iter().map(|place| (*place, promise.clone())));
        Self { all, places: places.to_vec(), done }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut all = self.all.borrow_mut();
        self.places.iter().for_each(|place| drop(all.remove(place)));
        if let Some(done) = &self.done {
            drop(done.call0(&JsValue::NULL));
        }
    }
}

fn cut_short() -> Error {
    Error::malformed("The slide's bytes came cut short")
}

/// The bytes of a range, from the script.
async fn fetch(read: &Function, range: Range<u64>) -> Result<Vec<u8>> {
    let asked =
        read.call2(&JsValue::NULL, &(range.start as f64).into(), &(range.end as f64).into());
    let value = match asked {
        Ok(promise) => JsFuture::from(Promise::resolve(&promise)).await,
        Err(e) => Err(e),
    };
    let bytes = Uint8Array::new(&value.map_err(|e| failed(&e))?).to_vec();
    if bytes.len() as u64 == range.end - range.start { Ok(bytes) } else { Err(cut_short()) }
}

/// The script's error as ours.
fn failed(value: &JsValue) -> Error {
    let error = value.dyn_ref::<js_sys::Error>();
    if error.is_some_and(|e| e.name() == "AbortError") {
        return Error::Cancelled { after: String::new() };
    }
    let words = error.map_or_else(|| format!("{value:?}"), |e| e.message().into());
    Error::malformed(words)
}

/// Runs a reader until nothing is missing.
async fn complete<T>(
    bytes: &RefCell<RangeCache>,
    read: &Function,
    reader: impl Fn(&RangeCache) -> ReadResult<T>,
) -> Result<T> {
    for _ in 0..MAX_ROUNDS {
        let answer = reader(&bytes.borrow());
        match answer {
            Ok(value) => return Ok(value),
            Err(ReadError::Fail(error)) => return Err(error),
            Err(ReadError::NeedBytes(ranges)) => {
                for (range, _) in merged(&ranges) {
                    let got = fetch(read, range.clone()).await?;
                    bytes.borrow_mut().feed(range.start, &got);
                }
            }
        }
    }
    Err(Error::malformed("The slide's directories lead nowhere"))
}
