//! Tiles in the background. What waits is replaced by every new wish, so tiles that left the view are never read.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::Wake;
use super::job::Found;
use super::subject::Subject;
use crate::error::{Error, Result};
use crate::viewer::{TileKey, findings_tile};

/// Tiles that are made at a time.
const THREADS: usize = 2;

/// Which tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    Image(TileKey),
    /// What was found there, once so many blocks were finished.
    Data(TileKey, usize),
}

/// A tile that was asked for.
pub type Loaded = (Ask, Result<Vec<u8>>);

#[derive(Default)]
struct Wishes {
    subject: Option<(Arc<Subject>, Found)>,
    /// Counts subjects: tiles of an earlier one are not shown.
    turn: u64,
    waiting: Vec<Ask>,
    busy: Vec<Ask>,
    ended: bool,
}

/// Threads that make tiles.
pub struct Loader {
    wishes: Arc<(Mutex<Wishes>, Condvar)>,
    loaded: Receiver<(u64, Loaded)>,
}

impl Loader {
    #[must_use]
    pub fn start(wake: &Wake) -> Self {
        let wishes: Arc<(Mutex<Wishes>, Condvar)> = Arc::default();
        let (send, loaded) = channel();
        for _ in 0..THREADS {
            let (wishes, send, wake) = (Arc::clone(&wishes), send.clone(), Arc::clone(wake));
            std::thread::spawn(move || work(&wishes, &send, &wake));
        }
        Self { wishes, loaded }
    }

    fn wishes(&self) -> std::sync::MutexGuard<'_, Wishes> {
        self.wishes.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another picture.
    pub fn turn_to(&self, subject: Arc<Subject>, found: Found) {
        let mut wishes = self.wishes();
        wishes.subject = Some((subject, found));
        wishes.turn += 1;
        wishes.waiting.clear();
        // What is being made is of the turn before, and is not shown.
        wishes.busy.clear();
    }

    /// What is wanted now, the most urgent first; what was wanted before and is not begun is forgotten.
    pub fn want(&self, mut asks: Vec<Ask>) {
        let mut wishes = self.wishes();
        asks.retain(|a| !wishes.busy.contains(a));
        asks.reverse();
        wishes.waiting = asks;
        self.wishes.1.notify_all();
    }

    /// What is there since the last time; none stands for a tile of an earlier turn, whose place is asked for again.
    pub fn loaded(&self) -> Vec<Option<Loaded>> {
        let turn = self.wishes().turn;
        self.loaded.try_iter().map(|(of, loaded)| (of == turn).then_some(loaded)).collect()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.wishes().ended = true;
        self.wishes.1.notify_all();
    }
}

fn work(wishes: &(Mutex<Wishes>, Condvar), send: &Sender<(u64, Loaded)>, wake: &Wake) {
    let lock = || wishes.0.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (ask, turn, subject, found) = {
            let mut state = lock();
            loop {
                if state.ended {
                    return;
                }
                if let Some((subject, found)) = state.subject.clone()
                    && let Some(ask) = state.waiting.pop()
                {
                    state.busy.push(ask);
                    break (ask, state.turn, subject, found);
                }
                state = wishes.1.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        // A tile that breaks must not take the thread with it.
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| make(ask, &subject, &found)));
        let tile = made.unwrap_or_else(|_| Err(Error::malformed("A tile of the slide cannot be shown")));
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
pub fn make(ask: Ask, subject: &Subject, found: &Found) -> Result<Vec<u8>> {
    match ask {
        Ask::Image(key) => subject.tile(key),
        Ask::Data(key, _) => {
            let state = found.lock().unwrap_or_else(PoisonError::into_inner);
            let (findings, _) = state.as_ref().ok_or_else(|| Error::mismatch("Nothing is segmented yet"))?;
            findings_tile(subject.size(), findings, key)
        }
    }
}
