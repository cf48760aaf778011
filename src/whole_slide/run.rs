//! The blocks of a slide, one after the other.

use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use super::parts::{Kept, Parts};
use super::pixels::Pixels;
use super::region::Region;
use super::tissue::Tissue;
use crate::engine::{Block, Control, Device, SegmentOptions, blocks, segment_on};
use crate::error::{Error, Report, Result};
use crate::instances::{Provenance, find, nuclei, write_nuclei};
use crate::model::{CENTRE_PX, InstanceParameters, Model};
use crate::raster::RgbImage;

/// Side of a block unless another is asked for, pixels.
pub const BLOCK_PX: usize = 2048;
/// Around a block, pixels: nuclei that reach over its border, and their neighbours that they are split from, lie in here whole.
const MARGIN_PX: usize = 96;

/// What a run tells while it goes.
pub type Progress<'a> = dyn Fn(usize, usize) + 'a;

/// One slide, one model.
pub struct SlideRun<'a> {
    pub pixels: &'a dyn Pixels,
    pub tissue: &'a Tissue,
    pub region: &'a Region,
    pub model: &'a Model,
    pub device: &'a Device,
    pub options: SegmentOptions,
    pub parameters: InstanceParameters,
    /// Pixels of the finest level that one of [`Self::pixels`] spans.
    pub scale: f64,
    /// Pixel size of the finest level.
    pub mpp_um: Option<f64>,
    pub block_px: usize,
    pub cancel: &'a AtomicBool,
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
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

/// A block with everything around it that decides its nuclei.
struct Cut {
    index: usize,
    block: Block,
    window: Block,
    image: RgbImage,
    /// Of the image in the slide.
    left: usize,
    top: usize,
    secs: f64,
}

impl SlideRun<'_> {
    /// All blocks.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        blocks(self.pixels.width(), self.pixels.height(), self.block_px)
    }

    fn wanted(&self, block: Block) -> bool {
        let Block { row, column, width, height } = block;
        let at = |v: usize| v as f64 * self.scale;
        self.tissue.touches(column, row, width, height)
            && self.region.touches(at(column), at(row), at(column + width), at(row + height))
    }

    /// Finishes every block that is wanted and not there yet; the next one is read while one is computed.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when asked to stop, with the finished blocks kept; those of reading and computing.
    pub fn compute(&self, parts: &Parts, progress: &Progress<'_>) -> Result<Outcome> {
        let all = self.blocks();
        let mut outcome = Outcome { blocks: all.len(), ..Outcome::default() };
        let wanted: Vec<usize> = (0..all.len()).filter(|i| self.wanted(all[*i])).collect();
        outcome.skipped = all.len() - wanted.len();
        let missing: Vec<usize> = wanted.iter().copied().filter(|i| !parts.has(*i)).collect();
        outcome.resumed = wanted.len() - missing.len();
        progress(outcome.resumed, wanted.len());
        let (send, receive) = sync_channel::<Result<Cut>>(1);
        std::thread::scope(|scope| {
            let missing = &missing;
            let all = &all;
            scope.spawn(move || {
                for &index in missing {
                    // A receiver that is gone has had enough.
                    if send.send(self.cut(index, all[index])).is_err() {
                        return;
                    }
                }
            });
            let mut done = outcome.resumed;
            for cut in receive {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled {
                        after: format!("{done} of {} blocks are kept; the same command goes on", wanted.len()),
                    });
                }
                let cut = cut?;
                outcome.read_secs += cut.secs;
                parts.keep(cut.index, &self.nuclei_of(&cut, &mut outcome)?)?;
                done += 1;
                progress(done, wanted.len());
            }
            Ok(())
        })?;
        Ok(outcome)
    }

    fn cut(&self, index: usize, block: Block) -> Result<Cut> {
        let begun = Instant::now();
        let (w, h) = (self.pixels.width(), self.pixels.height());
        let window = widened(block, MARGIN_PX, w, h);
        let read = widened(window, CENTRE_PX, w, h);
        let image = self.pixels.region(read.column, read.row, read.width, read.height)?;
        let secs = begun.elapsed().as_secs_f64();
        Ok(Cut { index, block, window, image, left: read.column, top: read.row, secs })
    }

    fn nuclei_of(&self, cut: &Cut, outcome: &mut Outcome) -> Result<Vec<Kept>> {
        let begun = Instant::now();
        let control = Control { cancel: Some(self.cancel), ..Control::default() };
        let mut report = Report::default();
        let answer = segment_on(self.device, self.model, &cut.image, self.options, &control, &mut report);
        let (map, _) = pollster::block_on(answer)?;
        outcome.network_secs += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let Block { row, column, width, height } = cut.window;
        let (down, across) = (row - cut.top, column - cut.left);
        let (map, image) = (map.crop(down, across, width, height), cut.image.crop(down, across, width, height));
        let (labels, smooth) = find(&map, &self.parameters)?;
        let mpp = self.mpp_um.map(|m| m * self.scale);
        let all = nuclei(&image, &labels, &smooth, &self.parameters, mpp)?;
        let own = |x: f64, y: f64| {
            let (x, y) = (x + column as f64, y + row as f64);
            let b = cut.block;
            let inside = |v: f64, from: usize, len: usize| v >= from as f64 && v < (from + len) as f64;
            inside(x, b.column, b.width)
                && inside(y, b.row, b.height)
                && self.region.holds(x * self.scale, y * self.scale)
        };
        let kept =
            all.filter(|n| own(n.centroid.0, n.centroid.1)).map(|n| Kept::new(&n, column, row, self.scale)).collect();
        outcome.object_secs += begun.elapsed().as_secs_f64();
        Ok(kept)
    }

    /// Writes the nuclei of all finished blocks, numbered in the order of blocks; gives their number.
    ///
    /// # Errors
    /// When a block is broken or a target cannot be written.
    pub fn write(
        &self,
        parts: &Parts,
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
        let known = self.mpp_um.is_some();
        let all = (0..self.blocks().len()).flat_map(read).zip(1u32..).map(|(kept, label)| kept.numbered(label, known));
        let count = write_nuclei(all, provenance, geojson, csv)?;
        failed.into_inner().map_or(Ok(count), Err)
    }
}

/// A block and so much around it, as far as the picture goes.
fn widened(block: Block, by: usize, width: usize, height: usize) -> Block {
    let (top, left) = (block.row.saturating_sub(by), block.column.saturating_sub(by));
    let (bottom, right) = ((block.row + block.height + by).min(height), (block.column + block.width + by).min(width));
    Block { row: top, column: left, width: right - left, height: bottom - top }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::phantom;

    fn run(image: &RgbImage, block_px: usize, stop: usize) -> (Vec<String>, Outcome) {
        let model =
            Model::load(&std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/dcnn-90.safetensors"))
                .expect("model");
        let (tissue, cancel) = (Tissue::everywhere(image), AtomicBool::new(false));
        let run = SlideRun {
            pixels: image,
            tissue: &tissue,
            region: &Region::Everything,
            model: &model,
            device: &Device::Cpu,
            options: SegmentOptions::default(),
            parameters: model.card().instances,
            scale: 1.0,
            mpp_um: Some(0.25),
            block_px,
            cancel: &cancel,
        };
        let folder = tempfile::tempdir().expect("folder");
        let parts = Parts::open(folder.path(), "test").expect("parts");
        let stopped = run.compute(&parts, &|done, _| cancel.store(stop > 0 && done == stop, Ordering::Relaxed));
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
