//! What the state takes from its background threads, and which tiles it requests.

use super::app_state::{AppState, JobProgress, ScreenUpdate};
use super::command::{Command, SegmentExtent};
use super::segment_job::{JobEvent, JobKind, SegmentJob};
use super::tile_loader::TileRequest;
use crate::error::{Error, Result, counted};
use crate::slide::SlideBounds;
use crate::viewer::{TILE_PX, TileKey};

/// How far a nucleus may reach beyond its block, pixels of the finest level.
const NUCLEUS_REACH_PX: f64 = 128.0;
/// Levels by which the overview that is loaded first is coarser than the screen.
const OVERVIEW_LEVELS: u32 = 2;

impl AppState {
    /// Takes finished blocks and tiles from the background threads; true when the screen must be
    /// redrawn.
    pub fn poll(&mut self) -> bool {
        let job_events = self.job.as_ref().map(SegmentJob::events).unwrap_or_default();
        let mut needs_redraw = !job_events.is_empty();
        for event in job_events {
            match event {
                JobEvent::Device(name, warnings) => {
                    self.device_name = name;
                    if !warnings.is_empty() {
                        self.status = warnings.join(" ");
                    }
                }
                JobEvent::Note(sentence) => {
                    if !self.job_notes.iter().any(|note| note == sentence) {
                        self.job_notes.push(sentence.to_owned());
                    }
                }
                JobEvent::Block { bounds, done, total } => {
                    self.progress = Some(JobProgress { done, total });
                    self.current_results.retain(|key| !may_show(*key, &bounds));
                    self.finished_blocks.push(bounds);
                }
                JobEvent::Restored(is_shown) => {
                    self.current_results.clear();
                    self.take_restored(is_shown);
                }
                JobEvent::Ended { seconds, kind, result } => self.finish_job(seconds, kind, result),
            }
        }
        if needs_redraw {
            // Numbers of nuclei follow the blocks.
            self.refresh_selection();
        }
        if self.job.is_some() && needs_redraw {
            self.save_blocks();
        }
        needs_redraw |= self.poll_teaching();
        self.check_store();
        for loaded in self.tile_loader.take_loaded() {
            needs_redraw = true;
            // A tile of an earlier document only triggers the redraw, which requests tiles again.
            let Some(loaded) = loaded else { continue };
            match (loaded.request, loaded.tile) {
                (TileRequest::Image(key), Ok(tile)) => {
                    self.updates.push(ScreenUpdate::ImageTile(key, tile));
                }
                (TileRequest::Image(key), Err(e)) => {
                    self.failed_tiles.insert(key);
                    self.report(&e);
                }
                (TileRequest::Results { key, finished_blocks }, Ok(tile)) => {
                    self.updates.push(ScreenUpdate::ResultTile(key, tile));
                    // A block that was finished meanwhile may be missing in it.
                    let mut newer = self.finished_blocks.iter().skip(finished_blocks);
                    if !newer.any(|block| may_show(key, block)) {
                        self.current_results.insert(key);
                    }
                }
                // The results were discarded meanwhile.
                (TileRequest::Results { .. }, Err(_)) => {}
            }
        }
        needs_redraw
    }

    fn finish_job(&mut self, seconds: f64, kind: JobKind, result: Result<()>) {
        self.job = None;
        self.progress = None;
        // Later blocks changed the labels of earlier nuclei.
        self.current_results.clear();
        if kind != JobKind::Restoration || self.has_results() {
            self.note_result();
        }
        if kind != JobKind::Restoration {
            self.save_state();
            self.save_result();
        }
        self.refresh_scores();
        if kind == JobKind::Restoration {
            // Other settings may have been chosen before the nuclei of these were found.
            self.redo_from_kept();
            if self.is_complete() {
                // A replay has no result to restore.
                self.record_command(&Command::Segment(SegmentExtent::Slide));
            }
        }
        // A replayed script must wait here too.
        self.record_command(&Command::Wait);
        match result {
            Ok(()) => {
                let count = self.counts().unwrap_or_default().counts.nuclei;
                let nuclei = counted(count, "nucleus", "nuclei");
                match kind {
                    JobKind::Segmentation => {
                        self.status = format!("{nuclei}; {seconds:.1} s on {}.", self.device_name);
                    }
                    JobKind::Threshold => {
                        self.status =
                            format!("{nuclei} at a threshold of {:.2}.", self.threshold());
                    }
                    // Said when it was read.
                    JobKind::Restoration => {}
                }
            }
            Err(Error::Cancelled { .. }) => {}
            Err(e) => {
                self.status.clear();
                self.report(&e);
            }
        }
    }

    /// Requests the tiles that the view needs and the screen has not, in place of all earlier
    /// requests. `has_image` says whether the screen has the pixels of a tile.
    pub fn request_tiles(&mut self, has_image: impl Fn(TileKey) -> bool) {
        if self.document.is_none() {
            return;
        }
        let level = self.view.level();
        let overview_level = (level + OVERVIEW_LEVELS).min(self.view.coarsest_level());
        // The coarse tiles are few and cover the view first.
        let mut keys = self.view.visible(overview_level);
        keys.extend(self.view.visible(level));
        if overview_level < self.view.coarsest_level() {
            // The map of the whole.
            keys.extend(self.view.visible(self.view.coarsest_level()));
        }
        let has_results = self.has_results();
        let mut requests = Vec::new();
        for key in keys {
            if !has_image(key) {
                self.current_results.remove(&key);
                if !self.failed_tiles.contains(&key) {
                    requests.push(TileRequest::Image(key));
                }
            } else if has_results && key.level == level && !self.current_results.contains(&key) {
                let finished_blocks = self.finished_blocks.len();
                requests.push(TileRequest::Results { key, finished_blocks });
            }
        }
        self.tile_loader.request(requests);
    }

    /// Takes the updates that the screen must apply.
    pub fn take_updates(&mut self) -> Vec<ScreenUpdate> {
        std::mem::take(&mut self.updates)
    }
}

/// Whether a tile may show nuclei of a block.
fn may_show(key: TileKey, block: &SlideBounds) -> bool {
    let side = f64::from(1u32 << key.level) * TILE_PX as f64;
    let left = f64::from(key.column) * side;
    let top = f64::from(key.row) * side;
    let tile = SlideBounds { left, top, right: left + side, bottom: top + side };
    tile.intersects(&block.expanded(NUCLEUS_REACH_PX))
}
