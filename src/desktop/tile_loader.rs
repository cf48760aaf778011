//! Tiles in the background. What waits is replaced by every new wish, so tiles that left the view
//! are never read.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::Wake;
use super::document::Document;
use super::segment_job::SharedResults;
use crate::error::{Error, Result};
use crate::viewer::{TileKey, nuclei_tile};

/// Tiles that are made at a time.
const THREADS: usize = 2;

/// Which tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TileRequest {
    Image(TileKey),
    /// What was found there, once so many blocks were finished.
    Data(TileKey, usize),
}

/// A tile that was asked for.
pub type LoadedTile = (TileRequest, Result<Vec<u8>>);

#[derive(Default)]
struct TileQueue {
    document: Option<(Arc<Document>, SharedResults)>,
    /// Counts subjects: tiles of an earlier one are not shown.
    turn: u64,
    waiting: Vec<TileRequest>,
    busy: Vec<TileRequest>,
    ended: bool,
}

/// Threads that make tiles.
pub struct TileLoader {
    queue: Arc<(Mutex<TileQueue>, Condvar)>,
    loaded: Receiver<(u64, LoadedTile)>,
}

impl TileLoader {
    #[must_use]
    pub fn start(wake: &Wake) -> Self {
        let queue: Arc<(Mutex<TileQueue>, Condvar)> = Arc::default();
        let (send, loaded) = channel();
        for _ in 0..THREADS {
            let (queue, send, wake) = (Arc::clone(&queue), send.clone(), Arc::clone(wake));
            std::thread::spawn(move || work(&queue, &send, &wake));
        }
        Self { queue, loaded }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, TileQueue> {
        self.queue.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another picture.
    pub fn turn_to(&self, document: Arc<Document>, found: SharedResults) {
        let mut queue = self.queue();
        queue.document = Some((document, found));
        queue.turn += 1;
        queue.waiting.clear();
        // What is being made is of the turn before, and is not shown.
        queue.busy.clear();
    }

    /// What is wanted now, the most urgent first; what was wanted before and is not begun is
    /// forgotten.
    pub fn want(&self, mut requests: Vec<TileRequest>) {
        let mut queue = self.queue();
        requests.retain(|a| !queue.busy.contains(a));
        requests.reverse();
        queue.waiting = requests;
        self.queue.1.notify_all();
    }

    /// What is there since the last time; none stands for a tile of an earlier turn, whose place is
    /// asked for again.
    pub fn loaded(&self) -> Vec<Option<LoadedTile>> {
        let turn = self.queue().turn;
        self.loaded.try_iter().map(|(of, loaded)| (of == turn).then_some(loaded)).collect()
    }
}

impl Drop for TileLoader {
    fn drop(&mut self) {
        self.queue().ended = true;
        self.queue.1.notify_all();
    }
}

fn work(queue: &(Mutex<TileQueue>, Condvar), send: &Sender<(u64, LoadedTile)>, wake: &Wake) {
    let lock = || queue.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (ask, turn, document, found) = {
            let mut state = lock();
            loop {
                if state.ended {
                    return;
                }
                if let Some((document, found)) = state.document.clone()
                    && let Some(ask) = state.waiting.pop()
                {
                    state.busy.push(ask);
                    break (ask, state.turn, document, found);
                }
                state = queue.1.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        // A tile that breaks must not take the thread with it.
        let made =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| make(ask, &document, &found)));
        let tile =
            made.unwrap_or_else(|_| Err(Error::malformed("A tile of the slide cannot be shown")));
        {
            let mut state = lock();
            if state.turn == turn {
                state.busy.retain(|a| *a != ask);
            }
        }
        if send.send((turn, (ask, tile))).is_err() {
            return;
        }
        wake();
    }
}

/// A tile of the picture, or of what was found in it.
///
/// # Errors
/// Those of the slide; nothing found yet.
pub fn make(ask: TileRequest, document: &Document, found: &SharedResults) -> Result<Vec<u8>> {
    match ask {
        TileRequest::Image(key) => document.tile(key),
        TileRequest::Data(key, _) => {
            let state = found.lock().unwrap_or_else(PoisonError::into_inner);
            let (index, _) =
                state.as_ref().ok_or_else(|| Error::mismatch("Nothing is segmented yet"))?;
            nuclei_tile(document.size(), index, key)
        }
    }
}
