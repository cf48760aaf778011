//! The blocks of a slide, one after the other.

use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use super::block_halo::{BlockHalo, SegmentSettings};
use super::block_store::BlockStore;
use super::nucleus::SlideNucleus;
use super::region_reader::RegionReader;
use super::tissue::Tissue;
use crate::engine::{Block, Control, Device, SegmentOptions, blocks, segment_on};
use crate::error::{Error, Result, Warnings};
use crate::instances::{Provenance, write_nuclei};
use crate::model::Model;
use crate::raster::RgbImage;

/// Side of a block unless another is asked for, pixels.
pub const BLOCK_PX: usize = 2048;

/// What a run tells while it goes.
pub type Progress<'a> = dyn Fn(usize, usize) + 'a;

/// One slide, one model.
pub struct SlideRun<'a> {
    pub pixels: &'a dyn RegionReader,
    pub tissue: &'a Tissue,
    pub model: &'a Model,
    pub device: &'a Device,
    pub options: SegmentOptions,
    pub wanted: SegmentSettings,
    pub block_px: usize,
    pub cancel: &'a AtomicBool,
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunSummary {
    pub nuclei: usize,
    pub blocks: usize,
    /// Blocks of glass, or outside the region.
    pub skipped: usize,
    /// Blocks that an earlier run had finished.
    pub resumed: usize,
    /// Seconds spent reading and decoding (beside the rest), in the network, and on objects.
    pub read_secs: f64,
    pub network_secs: f64,
    pub object_secs: f64,
}

/// A block's pixels.
struct BlockPixels {
    index: usize,
    cut: BlockHalo,
    image: RgbImage,
    secs: f64,
}

impl SlideRun<'_> {
    /// All blocks.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        blocks(self.pixels.width(), self.pixels.height(), self.block_px)
    }

    fn is_wanted(&self, block: Block) -> bool {
        let Block { row, column, width, height } = block;
        let at = |v: usize| v as f64 * self.wanted.scale;
        self.tissue.touches(column, row, width, height)
            && self.wanted.region.touches(at(column), at(row), at(column + width), at(row + height))
    }

    /// Finishes every block that is wanted and not there yet; the next one is read while one is
    /// computed.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when asked to stop, with the finished blocks kept; those of reading and
    /// computing.
    pub fn compute(&self, parts: &BlockStore, progress: &Progress<'_>) -> Result<RunSummary> {
        let all = self.blocks();
        let mut outcome = RunSummary { blocks: all.len(), ..RunSummary::default() };
        let wanted: Vec<usize> = (0..all.len()).filter(|i| self.is_wanted(all[*i])).collect();
        outcome.skipped = all.len() - wanted.len();
        let missing: Vec<usize> = wanted.iter().copied().filter(|i| !parts.has(*i)).collect();
        outcome.resumed = wanted.len() - missing.len();
        progress(outcome.resumed, wanted.len());
        let (send, receive) = sync_channel::<Result<BlockPixels>>(1);
        std::thread::scope(|scope| {
            let missing = &missing;
            let all = &all;
            scope.spawn(move || {
                for &index in missing {
                    // A receiver that is gone has had enough.
                    if send.send(self.piece(index, all[index])).is_err() {
                        return;
                    }
                }
            });
            let mut done = outcome.resumed;
            for piece in receive {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled {
                        after: format!(
                            "{done} of {} blocks are kept; the same command goes on",
                            wanted.len()
                        ),
                    });
                }
                let piece = piece?;
                outcome.read_secs += piece.secs;
                parts.keep(piece.index, &self.nuclei_of(&piece, &mut outcome)?)?;
                done += 1;
                progress(done, wanted.len());
            }
            Ok(())
        })?;
        Ok(outcome)
    }

    fn piece(&self, index: usize, block: Block) -> Result<BlockPixels> {
        let begun = Instant::now();
        let cut = BlockHalo::new(block, self.pixels.width(), self.pixels.height());
        let image = self.pixels.region(cut.read)?;
        Ok(BlockPixels { index, cut, image, secs: begun.elapsed().as_secs_f64() })
    }

    fn nuclei_of(
        &self,
        piece: &BlockPixels,
        outcome: &mut RunSummary,
    ) -> Result<Vec<SlideNucleus>> {
        let begun = Instant::now();
        let control = Control { cancel: Some(self.cancel), ..Control::default() };
        let mut report = Warnings::default();
        let seen = self.wanted.seen(&piece.image);
        let answer =
            segment_on(self.device, self.model, &seen, self.options, &control, &mut report);
        let (map, _) = pollster::block_on(answer)?;
        outcome.network_secs += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let kept = piece.cut.nuclei(&piece.image, &map, &self.wanted)?;
        outcome.object_secs += begun.elapsed().as_secs_f64();
        Ok(kept)
    }

    /// Writes the nuclei of all finished blocks, numbered in the order of blocks; gives their
    /// number.
    ///
    /// # Errors
    /// When a block is broken or a target cannot be written.
    pub fn write(
        &self,
        parts: &BlockStore,
        provenance: &Provenance,
        geojson: &mut dyn Write,
        csv: &mut dyn Write,
    ) -> Result<usize> {
        let failed = RefCell::new(None);
        let read = |block: usize| {
            parts.read(block).unwrap_or_else(|e| {
                failed.borrow_mut().get_or_insert(e);
                Vec::new()
            })
        };
        let all = (0..self.blocks().len())
            .flat_map(read)
            .zip(1u32..)
            .map(|(kept, label)| kept.numbered(label));
        let count = write_nuclei(all, provenance, geojson, csv)?;
        failed.into_inner().map_or(Ok(count), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::super::SlideRegion;
    use super::*;
    use crate::raster::phantom;

    fn run(image: &RgbImage, block_px: usize, stop: usize) -> (Vec<String>, RunSummary) {
        let model = Model::load(
            &std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("models/dcnn-90.safetensors"),
        )
        .expect("model");
        let (tissue, cancel) =
            (Tissue::everywhere(image.width(), image.height()), AtomicBool::new(false));
        let run = SlideRun {
            pixels: image,
            tissue: &tissue,
            model: &model,
            device: &Device::Cpu,
            options: SegmentOptions::default(),
            wanted: SegmentSettings {
                parameters: model.card().instances,
                region: SlideRegion::Everything,
                scale: 1.0,
                mpp_um: Some(0.25),
                colours: None,
            },
            block_px,
            cancel: &cancel,
        };
        let folder = tempfile::tempdir().expect("folder");
        let parts = BlockStore::open(folder.path(), "test").expect("parts");
        let stopped = run
            .compute(&parts, &|done, _| cancel.store(stop > 0 && done == stop, Ordering::Relaxed));
        if stop > 0 {
            assert!(matches!(stopped, Err(Error::Cancelled { .. })));
            cancel.store(false, Ordering::Relaxed);
        }
        let outcome = run.compute(&parts, &|_, _| {}).expect("computed");
        let (mut geojson, mut csv) = (Vec::new(), Vec::new());
        run.write(&parts, &Provenance::default(), &mut geojson, &mut csv).expect("written");
        let text = String::from_utf8(csv).expect("text");
        // Without the numbers, which follow the blocks.
        let mut rows: Vec<String> =
            text.lines().skip(1).filter_map(|l| Some(l.split_once(',')?.1.to_owned())).collect();
        rows.sort();
        (rows, outcome)
    }

    #[test]
    fn any_block_size_gives_the_same_nuclei_and_a_stopped_run_goes_on() {
        let (image, _) = phantom(500, 380, 12);
        let (whole, _) = run(&image, 1000, 0);
        assert!(whole.len() > 20, "{}", whole.len());
        for block in [97, 160, 256] {
            assert_eq!(run(&image, block, 0).0, whole, "blocks of {block}");
        }
        let (resumed, outcome) = run(&image, 160, 3);
        assert_eq!((resumed, outcome.resumed, outcome.blocks), (whole, 3, 12));
    }
}
