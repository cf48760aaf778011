//! What a desk hears from its background threads, and which tiles it asks them for.

use super::app_state::{AppState, Change, JobProgress};
use super::command::Command;
use super::segment_job::{JobEvent, SegmentJob};
use super::tile_loader::TileRequest;
use crate::error::{Error, Result};
use crate::viewer::{TILE, TileKey};

/// Beyond its block a nucleus may reach this far, pixels of the finest level.
const REACH_PX: f64 = 128.0;

impl AppState {
    /// Takes over what background threads finished; true when the screen should be drawn anew.
    pub fn poll(&mut self) -> bool {
        let news = self.job.as_ref().map(SegmentJob::events).unwrap_or_default();
        let mut seen = !news.is_empty();
        for told in news {
            match told {
                JobEvent::Device(name, notes) => {
                    self.device = name;
                    if !notes.is_empty() {
                        self.said = notes.join(" ");
                    }
                }
                JobEvent::Said(words) => words.clone_into(&mut self.said),
                JobEvent::Block { bounds, done, of } => {
                    self.progress = Some(JobProgress { done, of });
                    // Numbers follow the blocks, so the chosen one may have another now.
                    self.layers.chosen = 0;
                    self.fresh.retain(|key| apart(*key, bounds));
                    self.blocks.push(bounds);
                }
                JobEvent::Ended { seconds, result } => self.ended(seconds, result),
            }
        }
        for loaded in self.loader.loaded() {
            seen = true;
            let Some((ask, tile)) = loaded else { continue };
            match (ask, tile) {
                (TileRequest::Image(key), Ok(tile)) => self.changes.push(Change::Image(key, tile)),
                (TileRequest::Data(key, blocks), Ok(tile)) => {
                    self.changes.push(Change::Data(key, tile));
                    // Unless a block was finished under it while it was made.
                    if self.blocks.iter().skip(blocks).all(|b| apart(key, *b)) {
                        self.fresh.insert(key);
                    }
                }
                (TileRequest::Image(key), Err(e)) => {
                    self.failed.insert(key);
                    self.alert = Some(e.to_string());
                }
                // Nothing is found there any more.
                (TileRequest::Data(..), Err(_)) => {}
            }
        }
        seen
    }

    fn ended(&mut self, seconds: f64, result: Result<()>) {
        self.job = None;
        self.progress = None;
        // Later blocks gave earlier nuclei other numbers.
        self.fresh.clear();
        self.note(&Command::Wait);
        match result {
            Ok(()) => {
                let (count, _) = self.counts().unwrap_or_default();
                self.said = format!("{count} nuclei; {seconds:.1} s on {}.", self.device);
            }
            Err(Error::Cancelled { .. }) => {}
            Err(e) => {
                self.said.clear();
                self.alert = Some(e.to_string());
            }
        }
    }

    /// Asks for the tiles that the view needs and the screen has not.
    pub fn want_tiles(&mut self, has: impl Fn(TileKey) -> bool) {
        if self.document.is_none() {
            return;
        }
        let level = self.view.level();
        let mut requests = Vec::new();
        let found = self.counts().is_some();
        // A coarse picture first, so that something is seen at once.
        for key in self
            .view
            .visible((level + 2).min(self.view.deepest()))
            .into_iter()
            .chain(self.view.visible(level))
        {
            if has(key) {
                if found && key.level == level && !self.fresh.contains(&key) {
                    requests.push(TileRequest::Data(key, self.blocks.len()));
                }
            } else {
                self.fresh.remove(&key);
                if !self.failed.contains(&key) {
                    requests.push(TileRequest::Image(key));
                }
            }
        }
        self.loader.want(requests);
    }

    /// What the screen must take over since the last time.
    pub fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

/// Whether a tile shows nothing of a rectangle of the picture, nuclei that reach beyond it
/// included.
fn apart(key: TileKey, [left, top, right, bottom]: [f64; 4]) -> bool {
    let side = f64::from(1u32 << key.level) * TILE as f64;
    let clear = |index: u32, from: f64, to: f64| {
        let at = f64::from(index) * side;
        at > to + REACH_PX || at + side < from - REACH_PX
    };
    clear(key.column, left, right) || clear(key.row, top, bottom)
}
