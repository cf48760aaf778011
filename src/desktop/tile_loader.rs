//! Tiles in background threads. Each view change replaces the pending requests, so tiles that left
//! the view are not read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::document::Document;
use super::result_shelf::{ReviewAt, ReviewSnapshot, SharedResults};
use super::{Wake, lock};
use crate::error::{Error, Result};
use crate::viewer::{TileKey, reviewed_tile};

/// Number of tiles that are loaded at a time.
const THREADS: usize = 2;

/// A tile to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TileRequest {
    /// Pixels: RGBA with apron.
    Image(TileKey),
    /// Results of the segmentation.
    Results {
        key: TileKey,
        /// Number of blocks that were finished at the time of the request.
        finished_blocks: usize,
    },
}

/// A tile that was requested.
pub(super) struct LoadedTile {
    pub request: TileRequest,
    pub tile: Result<Vec<u8>>,
}

/// State that the threads share.
#[derive(Default)]
struct TileQueue {
    source: Option<TileOrigin>,
    /// Raised with each [`TileLoader::set_document`]: tiles of an earlier one are not delivered.
    generation: u64,
    /// Not begun yet, the most urgent one last.
    pending: Vec<TileRequest>,
    in_progress: Vec<TileRequest>,
    is_closed: bool,
}

/// What tiles are made of.
#[derive(Clone)]
struct TileOrigin {
    document: Arc<Document>,
    results: SharedResults,
    review: Arc<ReviewSnapshot>,
}

/// The queue, and a signal for changes of it.
#[derive(Default)]
struct SharedQueue {
    queue: Mutex<TileQueue>,
    changed: Condvar,
}

/// A tile, and the generation of its request.
struct Delivery {
    generation: u64,
    loaded: LoadedTile,
}

/// Threads that load tiles; they end when it is dropped.
pub(super) struct TileLoader {
    shared: Arc<SharedQueue>,
    deliveries: Receiver<Delivery>,
}

impl TileLoader {
    /// Starts the threads. They call `wake` after each tile.
    #[must_use]
    pub(super) fn start(wake: &Wake) -> Self {
        let shared = Arc::new(SharedQueue::default());
        let (sender, deliveries) = channel();
        for _ in 0..THREADS {
            let shared = Arc::clone(&shared);
            let sender = sender.clone();
            let wake = Arc::clone(wake);
            std::thread::spawn(move || load_tiles(&shared, &sender, &wake));
        }
        Self { shared, deliveries }
    }

    /// Loads tiles of this document and these results from now on, as they were reviewed.
    pub(super) fn set_document(
        &self,
        document: Arc<Document>,
        results: SharedResults,
        review: ReviewSnapshot,
    ) {
        let mut queue = lock(&self.shared.queue);
        queue.source = Some(TileOrigin { document, results, review: Arc::new(review) });
        queue.generation += 1;
        queue.pending.clear();
        // These are of the previous generation and will not be delivered.
        queue.in_progress.clear();
    }

    /// Replaces the pending requests; the most urgent one first. Requests in progress are not
    /// repeated.
    pub(super) fn request(&self, mut requests: Vec<TileRequest>) {
        let mut queue = lock(&self.shared.queue);
        requests.retain(|request| !queue.in_progress.contains(request));
        requests.reverse();
        queue.pending = requests;
        self.shared.changed.notify_all();
    }

    /// Takes the tiles loaded since the last call. None stands for a tile of an earlier document or
    /// of discarded results.
    pub(super) fn take_loaded(&self) -> Vec<Option<LoadedTile>> {
        let generation = lock(&self.shared.queue).generation;
        let mut loaded = Vec::new();
        for delivery in self.deliveries.try_iter() {
            loaded.push((delivery.generation == generation).then_some(delivery.loaded));
        }
        loaded
    }
}

impl Drop for TileLoader {
    fn drop(&mut self) {
        lock(&self.shared.queue).is_closed = true;
        self.shared.changed.notify_all();
    }
}

/// One thread: takes requests until the loader is dropped.
fn load_tiles(shared: &SharedQueue, sender: &Sender<Delivery>, wake: &Wake) {
    loop {
        let mut queue = lock(&shared.queue);
        let (request, origin) = loop {
            if queue.is_closed {
                return;
            }
            if let Some(origin) = queue.source.clone()
                && let Some(request) = queue.pending.pop()
            {
                break (request, origin);
            }
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        let generation = queue.generation;
        queue.in_progress.push(request);
        drop(queue);

        // A decoder that panics must not end the thread.
        let load = || load_tile(request, &origin.document, &origin.results, origin.review.at());
        let tile = catch_unwind(AssertUnwindSafe(load))
            .unwrap_or_else(|_| Err(Error::malformed("A tile of the slide cannot be shown")));

        let mut queue = lock(&shared.queue);
        if queue.generation == generation {
            queue.in_progress.retain(|other| *other != request);
        }
        drop(queue);
        let delivery = Delivery { generation, loaded: LoadedTile { request, tile } };
        if sender.send(delivery).is_err() {
            return;
        }
        wake();
    }
}

/// Loads a tile of the document or of its results.
///
/// # Errors
/// Those of the document; [`Error::Mismatch`] without results.
pub(super) fn load_tile(
    request: TileRequest,
    document: &Document,
    results: &SharedResults,
    review: ReviewAt<'_>,
) -> Result<Vec<u8>> {
    match request {
        TileRequest::Image(key) => document.tile(key),
        TileRequest::Results { key, .. } => {
            let mut shelf = lock(results);
            if shelf.is_empty() && review.marks.is_empty() {
                return Err(Error::invalid("Nothing is segmented yet"));
            }
            let shown = shelf.shown(review);
            reviewed_tile(document.size(), key, |bounds| shown.filled_in(bounds))
        }
    }
}
