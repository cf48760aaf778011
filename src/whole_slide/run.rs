//! The blocks of a slide, one after the other, in this process.
//!
//! Reading, network and objects overlap: while the network computes a block, the next one is read
//! and the nuclei of the one before are found.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::block_store::BlockStore;
use super::job::{BlockPixels, BlockWindow, PixelRequest, SlideJob, SlideSetup};
use super::nucleus::SlideNucleus;
use crate::engine::{Control, Device, SegmentOptions, Segmenter};
use crate::error::{Error, Result, Warnings};
use crate::raster::{ProbabilityMaps, RgbImage};
use crate::slide::SlideReader;

/// Side of a block unless another is asked for, pixels.
pub const BLOCK_PX: usize = 2048;
/// Blocks that a GPU computes at a time: the next one is uploaded while one is computed.
const GPU_BLOCKS: usize = 2;

/// Reads the levels of a picture.
pub trait PixelSource: Sync {
    /// The pixels of a request.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read(&self, request: PixelRequest) -> Result<RgbImage>;
}

impl PixelSource for SlideReader {
    fn read(&self, PixelRequest { level, rect }: PixelRequest) -> Result<RgbImage> {
        self.region(level, rect.x, rect.y, rect.width, rect.height)
    }
}

impl PixelSource for RgbImage {
    fn read(&self, PixelRequest { rect, .. }: PixelRequest) -> Result<RgbImage> {
        let (row, column) = (rect.y.cast_unsigned(), rect.x.cast_unsigned());
        Ok(self.crop(row, column, rect.width, rect.height))
    }
}

impl SlideSetup {
    /// Reads what the setup needs.
    ///
    /// # Errors
    /// Those of the source; [`Error::Cancelled`] when asked to stop.
    pub fn complete(mut self, source: &dyn PixelSource, cancel: &AtomicBool) -> Result<SlideJob> {
        while let Some(request) = self.next_request() {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled { after: String::new() });
            }
            self.supply(source.read(request)?)?;
        }
        self.finish()
    }
}

/// One slide, one prepared model.
pub struct SlideRun<'a> {
    /// Blocks and settings of the slide.
    pub job: &'a SlideJob,
    /// Where the pixels come from.
    pub source: &'a dyn PixelSource,
    /// The model on its device.
    pub segmenter: &'a Segmenter,
    /// Stride and the engine's own block size; they bound memory and, but for a DCCN's stride,
    /// change no result.
    pub options: SegmentOptions,
    /// Set by another thread to stop; finished blocks are kept.
    pub cancel: &'a AtomicBool,
}

/// Seconds that the stages worked; they overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StageSeconds {
    /// Reading and decoding.
    pub read: f64,
    /// Probability maps.
    pub network: f64,
    /// Finding and measuring nuclei.
    pub objects: f64,
}

/// What a run over all blocks came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunSummary {
    /// All blocks of the slide.
    pub blocks: usize,
    /// Blocks of background, or outside the region.
    pub skipped: usize,
    /// Blocks that an earlier run had finished.
    pub resumed: usize,
    /// Time of each stage in this run.
    pub seconds: StageSeconds,
    /// What went wrong without ending the run, such as a GPU that failed.
    pub warnings: Warnings,
}

/// A block between network and objects.
struct Segmented {
    pixels: BlockPixels,
    map: ProbabilityMaps,
    read_secs: f64,
    network_secs: f64,
}

impl SlideRun<'_> {
    /// Segments all blocks that are needed and not in the store yet. `progress` gets the number of
    /// finished blocks and of all.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when asked to stop, with the finished blocks kept; those of reading,
    /// computing and writing.
    pub fn fill(&self, store: &BlockStore, progress: &dyn Fn(usize, usize)) -> Result<RunSummary> {
        let needed = self.job.needed();
        let missing: Vec<usize> =
            needed.iter().copied().filter(|block| !store.has(*block)).collect();
        let resumed = needed.len() - missing.len();
        let mut done = resumed;
        progress(done, needed.len());
        // A block is stored before it is counted, so an interrupted run loses at most the blocks
        // under way.
        let run = self.segment(&missing, &mut |window, nuclei| {
            store.keep(window.block, &nuclei)?;
            done += 1;
            progress(done, needed.len());
            Ok(())
        });
        match run {
            Ok((seconds, warnings)) => Ok(RunSummary {
                blocks: self.job.blocks().len(),
                skipped: self.job.blocks().len() - needed.len(),
                resumed,
                seconds,
                warnings,
            }),
            Err(Error::Cancelled { .. }) => Err(Error::Cancelled {
                after: format!(
                    "{done} of {} blocks are kept; the same command goes on",
                    needed.len()
                ),
            }),
            Err(error) => Err(error),
        }
    }

    /// Segments blocks in the order given; `finished` gets each one's window and nuclei, on the
    /// calling thread. On a GPU neighbours may finish in exchanged order.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when asked to stop; those of reading, computing and of `finished`.
    pub fn segment(
        &self,
        order: &[usize],
        finished: &mut dyn FnMut(&BlockWindow, Vec<SlideNucleus>) -> Result<()>,
    ) -> Result<(StageSeconds, Warnings)> {
        let networks = match self.segmenter.device() {
            Device::Cpu => 1,
            Device::Gpu(_) => GPU_BLOCKS,
        };
        let warnings = Mutex::new(Warnings::default());
        let mut seconds = StageSeconds::default();
        // Rendezvous channels: each stage holds one block and works at most one ahead.
        let (send_pixels, pixels) = sync_channel(0);
        let (send_maps, maps) = sync_channel(0);
        // Owned by the network's threads alone: when they end, so does reading.
        let pixels = Arc::new(Mutex::new(pixels));
        std::thread::scope(|scope| {
            let warnings = &warnings;
            scope.spawn(move || self.read_blocks(order, &send_pixels));
            for _ in 0..networks {
                let (pixels, send_maps) = (Arc::clone(&pixels), send_maps.clone());
                scope.spawn(move || self.compute_blocks(&pixels, &send_maps, warnings));
            }
            drop((pixels, send_maps));
            // Taken by value: after an error the other stages find no receiver and end.
            self.find_nuclei(maps, &mut seconds, finished)
        })?;
        let mut warnings = warnings.into_inner().unwrap_or_default();
        // A GPU that fails says so for each block.
        warnings.notes.dedup();
        Ok((seconds, warnings))
    }

    fn read_blocks(&self, order: &[usize], send: &SyncSender<Result<(BlockPixels, f64)>>) {
        for &block in order {
            let begun = Instant::now();
            let read = || self.job.prepare(block, self.source.read(self.job.request(block)?)?);
            let pixels = read().map(|pixels| (pixels, begun.elapsed().as_secs_f64()));
            if send.send(pixels).is_err() {
                return;
            }
        }
    }

    fn compute_blocks(
        &self,
        pixels: &Mutex<Receiver<Result<(BlockPixels, f64)>>>,
        send: &SyncSender<Result<Segmented>>,
        warnings: &Mutex<Warnings>,
    ) {
        loop {
            // The lock is held while waiting: the other thread waits for its turn to receive.
            let Ok(Ok(next)) = pixels.lock().map(|pixels| pixels.recv()) else { return };
            let mut notes = Warnings::default();
            let segmented = next.and_then(|(pixels, read_secs)| {
                let begun = Instant::now();
                let control = Control { cancel: Some(self.cancel), ..Control::default() };
                control.check()?;
                let work =
                    self.segmenter.segment(&pixels.normalised, self.options, &control, &mut notes);
                let map = pollster::block_on(work)?.map;
                let network_secs = begun.elapsed().as_secs_f64();
                Ok(Segmented { pixels, map, read_secs, network_secs })
            });
            if let Ok(mut warnings) = warnings.lock() {
                for note in notes.notes {
                    if !warnings.notes.contains(&note) {
                        warnings.note(note);
                    }
                }
            }
            let failed = segmented.is_err();
            if send.send(segmented).is_err() || failed {
                return;
            }
        }
    }

    fn find_nuclei(
        &self,
        maps: Receiver<Result<Segmented>>,
        seconds: &mut StageSeconds,
        finished: &mut dyn FnMut(&BlockWindow, Vec<SlideNucleus>) -> Result<()>,
    ) -> Result<()> {
        for segmented in maps {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled { after: String::new() });
            }
            let Segmented { pixels, map, read_secs, network_secs } = segmented?;
            seconds.read += read_secs;
            seconds.network += network_secs;
            let begun = Instant::now();
            let window = self.job.window(&pixels, &map)?;
            let nuclei = self.job.nuclei_in(&window)?;
            seconds.objects += begun.elapsed().as_secs_f64();
            finished(&window, nuclei)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{BackgroundBlocks, SegmentSettings, SlideRegion, write_finished};
    use super::*;
    use crate::instances::Provenance;
    use crate::model::Model;
    use crate::raster::{StainMatching, phantom};

    fn segmenter() -> Segmenter {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/paper-90.safetensors");
        Segmenter::on_cpu(Arc::new(Model::load(&file).expect("model"))).expect("segmenter")
    }

    fn job_of(image: &RgbImage, segmenter: &Segmenter, block_px: usize) -> SlideJob {
        let settings = SegmentSettings {
            parameters: segmenter.model().card().instances,
            region: SlideRegion::Everything,
            mpp_um: Some(0.25),
            stain: StainMatching::KEEP,
            background: BackgroundBlocks::Segment,
            block_px,
        };
        let setup = SlideSetup::of_image((image.width(), image.height()), 0.25, settings);
        let cancel = AtomicBool::new(false);
        setup.and_then(|setup| setup.complete(image, &cancel)).expect("job")
    }

    /// Rows of the table of a run that is stopped once after `stop` blocks (0: never), and its
    /// summary.
    fn run(image: &RgbImage, block_px: usize, stop: usize) -> (Vec<String>, RunSummary) {
        let segmenter = segmenter();
        let (job, cancel) = (job_of(image, &segmenter, block_px), AtomicBool::new(false));
        let run = SlideRun {
            job: &job,
            source: image,
            segmenter: &segmenter,
            options: SegmentOptions::default(),
            cancel: &cancel,
        };
        let folder = tempfile::tempdir().expect("folder");
        let store = BlockStore::open(folder.path(), "test").expect("store");
        let stopped =
            run.fill(&store, &|done, _| cancel.store(stop > 0 && done == stop, Ordering::Relaxed));
        if stop > 0 {
            assert!(matches!(stopped, Err(Error::Cancelled { .. })));
            cancel.store(false, Ordering::Relaxed);
        }
        let summary = run.fill(&store, &|_, _| {}).expect("computed");
        let (mut geojson, mut csv) = (Vec::new(), Vec::new());
        write_finished(&job, &store, &Provenance::default(), &mut geojson, &mut csv)
            .expect("written");
        let text = String::from_utf8(csv).expect("text");
        // Without the numbers, which follow the blocks.
        let mut rows = Vec::new();
        for line in text.lines().skip(1) {
            rows.push(line.split_once(',').expect("a number").1.to_owned());
        }
        rows.sort();
        (rows, summary)
    }

    #[test]
    fn any_block_size_gives_the_same_nuclei_and_a_stopped_run_continues() {
        let (image, _) = phantom(500, 380, 12);
        let (whole, _) = run(&image, 1000, 0);
        assert!(whole.len() > 20, "{}", whole.len());
        for block in [97, 160, 256] {
            assert_eq!(run(&image, block, 0).0, whole, "blocks of {block}");
        }
        let (resumed, summary) = run(&image, 160, 3);
        assert_eq!((resumed, summary.resumed, summary.blocks), (whole, 3, 12));
    }

    #[test]
    fn an_error_of_any_stage_ends_the_run() {
        struct Broken;
        impl PixelSource for Broken {
            fn read(&self, _: PixelRequest) -> Result<RgbImage> {
                Err(Error::malformed("broken"))
            }
        }
        let (image, _) = phantom(500, 380, 12);
        let segmenter = segmenter();
        let (job, cancel) = (job_of(&image, &segmenter, 97), AtomicBool::new(false));
        let options = SegmentOptions::default();
        let run = |source| SlideRun {
            job: &job,
            source,
            segmenter: &segmenter,
            options,
            cancel: &cancel,
        };
        let all = job.needed();
        let unread = run(&Broken).segment(&all, &mut |_, _| Ok(()));
        assert!(unread.expect_err("reading fails").to_string().starts_with("broken"));
        let full = run(&image).segment(&all, &mut |_, _| Err(Error::mismatch("disk full")));
        assert!(full.expect_err("keeping fails").to_string().starts_with("disk full"));
    }
}
