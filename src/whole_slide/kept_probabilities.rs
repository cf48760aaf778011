//! Probabilities of finished blocks, kept so that another threshold needs no network. They are
//! rounded to 8 bits as [`label_nuclei`](crate::instances::label_nuclei) rounds them, so the nuclei
//! are those of a new run. Colours, which the measurement of hematoxylin reads, are kept only where
//! a nucleus may lie at any threshold from [`LEAST_THRESHOLD`] up: a third of the pixels.
//!
//! Deflated, a megapixel of tissue takes 0.5 to 0.6 MB of probabilities and 0.6 to 0.9 MB of
//! colours (all its colours would take 2.4 to 2.7 MB). With the margins of the blocks that are
//! about 1.9 MB for a megapixel of the slide.

use std::collections::BTreeMap;

use super::block_nuclei::BlockNuclei;
use super::nucleus::SlideNucleus;
use crate::error::{Error, Result};
use crate::instances::possible_nuclei;
use crate::model::InstanceParameters;
use crate::platform::packed_bytes::{ByteReader, ByteWriter, deflated, inflated};
use crate::raster::{MapLayout, NucleusMaps, Plane, Point, ProbabilityBytes, RgbImage};

/// Lower thresholds need the network again.
pub const LEAST_THRESHOLD: f32 = 0.1;
/// Most bytes of the kept blocks of a result.
pub const MAX_KEPT_BYTES: usize = 128 << 20;

/// Probabilities and colours of a block's window, deflated.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptBlock {
    layout: MapLayout,
    probabilities: Vec<u8>,
    /// Red, green and blue of the pixels where a nucleus may lie, row by row.
    colours: Vec<u8>,
}

impl KeptBlock {
    /// Of the window of a block.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the two are not of one size.
    pub fn new(
        map: &ProbabilityBytes,
        image: &RgbImage,
        parameters: &InstanceParameters,
    ) -> Result<Self> {
        if !map.same_size(image) {
            return Err(Error::mismatch("Image and probability map differ in size"));
        }
        let mask = possible_nuclei(map.nucleus(), &at_least_threshold(parameters))?;
        let mut colours = Vec::new();
        for (pixel, inside) in image.data().iter().zip(mask.data()) {
            if *inside {
                colours.extend(pixel);
            }
        }
        let values: Vec<u8> = map.planes().iter().flat_map(Plane::data).copied().collect();
        Ok(Self {
            layout: map.layout(),
            probabilities: deflated(&values)?,
            colours: deflated(&colours)?,
        })
    }

    /// The nuclei of the block.
    ///
    /// # Errors
    /// [`Error::Malformed`] for bytes of another block, [`Error::Invalid`] for a threshold below
    /// [`LEAST_THRESHOLD`].
    pub fn nuclei(&self, block: &BlockNuclei) -> Result<Vec<SlideNucleus>> {
        if block.parameters.threshold < LEAST_THRESHOLD {
            return Err(Error::invalid("So low a threshold needs the network again"));
        }
        let map = self.probabilities(block)?;
        let mask = possible_nuclei(map.nucleus(), &at_least_threshold(&block.parameters))?;
        let count = mask.data().iter().filter(|inside| **inside).count();
        let colours = inflated(&self.colours, count * 3)?;
        let mut image = Plane::filled(map.width(), map.height(), [0; 3]);
        let mut next = colours.as_chunks::<3>().0.iter();
        for (pixel, inside) in image.data_mut().iter_mut().zip(mask.data()) {
            if *inside {
                *pixel = next.next().copied().unwrap_or_default();
            }
        }
        block.find(&map, &image)
    }

    /// Probabilities of the block's window.
    ///
    /// # Errors
    /// [`Error::Malformed`] for bytes of another block.
    pub fn probabilities(&self, block: &BlockNuclei) -> Result<ProbabilityBytes> {
        let (width, height) = (block.window.width, block.window.height);
        let count = width.saturating_mul(height).saturating_mul(self.layout.planes());
        let values = inflated(&self.probabilities, count)?;
        NucleusMaps::from_values(self.layout, width, height, &values)
    }

    fn byte_count(&self) -> usize {
        self.probabilities.len() + self.colours.len()
    }

    pub(super) fn write(&self, writer: &mut ByteWriter) {
        writer.put_bytes(&[u8::from(self.layout.interior), self.layout.types]);
        writer.put_bytes(&self.probabilities);
        writer.put_bytes(&self.colours);
    }

    pub(super) fn read(reader: &mut ByteReader<'_>) -> Result<Self> {
        let &[interior @ 0..=1, types] = reader.bytes()? else {
            return Err(Error::malformed("The kept probabilities are broken"));
        };
        let layout = MapLayout { interior: interior == 1, types };
        let probabilities = reader.bytes()?.to_vec();
        Ok(Self { layout, probabilities, colours: reader.bytes()?.to_vec() })
    }
}

fn at_least_threshold(parameters: &InstanceParameters) -> InstanceParameters {
    InstanceParameters { threshold: LEAST_THRESHOLD, ..*parameters }
}

/// A block to be done again, as it is sent to a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptBlockTask {
    /// How nuclei are found.
    pub block: BlockNuclei,
    /// From what.
    pub kept: KeptBlock,
}

impl KeptBlockTask {
    /// As bytes; [`Self::from_bytes`] gives it back.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let block = serde_json::to_vec(&self.block)
            .map_err(|e| Error::malformed("A block cannot be written").caused_by(e))?;
        let mut writer = ByteWriter::default();
        writer.put_bytes(&block);
        self.kept.write(&mut writer);
        Ok(writer.0)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = ByteReader(bytes);
        let block = serde_json::from_slice(reader.bytes()?)
            .map_err(|e| Error::malformed("The block is broken").caused_by(e))?;
        let kept = KeptBlock::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { block, kept })
    }

    /// The nuclei of the block.
    ///
    /// # Errors
    /// As [`KeptBlock::nuclei`].
    pub fn nuclei(&self) -> Result<Vec<SlideNucleus>> {
        self.kept.nuclei(&self.block)
    }
}

/// Kept blocks by number, bounded in memory: the block farthest from the place that was looked at
/// last goes first.
#[derive(Debug)]
pub struct KeptProbabilities {
    blocks: BTreeMap<usize, KeptEntry>,
    byte_count: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct KeptEntry {
    block: KeptBlock,
    /// In pixels of the finest level.
    centre: Point,
}

impl Default for KeptProbabilities {
    fn default() -> Self {
        Self::with_limit(MAX_KEPT_BYTES)
    }
}

impl KeptProbabilities {
    /// Empty; takes at most so many bytes.
    #[must_use]
    pub fn with_limit(max_bytes: usize) -> Self {
        Self { blocks: BTreeMap::new(), byte_count: 0, max_bytes }
    }

    /// Keeps a block, whose centre is given in pixels of the finest level like `view`, the place
    /// that is looked at. Others are dropped for it.
    pub fn keep(&mut self, number: usize, block: KeptBlock, centre: Point, view: Point) {
        self.byte_count += block.byte_count();
        if let Some(old) = self.blocks.insert(number, KeptEntry { block, centre }) {
            self.byte_count -= old.block.byte_count();
        }
        let distance = |entry: &KeptEntry| (entry.centre.x - view.x).hypot(entry.centre.y - view.y);
        while self.byte_count > self.max_bytes {
            let farthest = self
                .blocks
                .iter()
                .max_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b)))
                .map(|(number, _)| *number);
            let Some(dropped) = farthest.and_then(|number| self.blocks.remove(&number)) else {
                break;
            };
            self.byte_count -= dropped.block.byte_count();
        }
    }

    /// A block, if it is kept.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&KeptBlock> {
        self.blocks.get(&number).map(|entry| &entry.block)
    }

    /// Numbers of the kept blocks, the nearest to a place first.
    #[must_use]
    pub fn nearest(&self, view: Point) -> Vec<usize> {
        let mut numbers: Vec<usize> = self.blocks.keys().copied().collect();
        numbers.sort_by_cached_key(|number| {
            let centre = self.blocks[number].centre;
            // Distances are positive, so their bits are ordered as they are.
            (centre.x - view.x).hypot(centre.y - view.y).to_bits()
        });
        numbers
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.byte_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Block;
    use crate::instances::probability_to_u8;
    use crate::raster::phantom;

    fn block(threshold: f32) -> BlockNuclei {
        BlockNuclei {
            block: Block { row: 96, column: 96, width: 160, height: 128 },
            window: Block { row: 0, column: 0, width: 300, height: 260 },
            scale: 2.0,
            model_mpp_um: Some(0.5),
            parameters: InstanceParameters { threshold, ..InstanceParameters::default() },
        }
    }

    /// Soft probabilities of a made tissue, and its pixels.
    fn window() -> (ProbabilityBytes, RgbImage) {
        let (image, truth) = phantom(300, 260, 5);
        let mut noise = 1u32;
        let map = truth.map(|label| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let inside = if label > 0 { 0.75 } else { 0.1 };
            probability_to_u8(inside + (noise >> 8) as f32 / (1 << 24) as f32 * 0.25)
        });
        (map.into(), image)
    }

    /// The same with an interior, which is a little smaller, and two types.
    fn window_of_types() -> (ProbabilityBytes, RgbImage) {
        let (map, image) = window();
        let nucleus = map.nucleus();
        let planes = [
            nucleus.clone(),
            nucleus.map(|byte| byte.saturating_sub(40)),
            nucleus.map(|byte| byte / 3),
            nucleus.map(|byte| byte / 2),
        ];
        let values: Vec<u8> = planes.iter().flat_map(Plane::data).copied().collect();
        let layout = MapLayout { interior: true, types: 2 };
        (NucleusMaps::from_values(layout, 300, 260, &values).expect("maps"), image)
    }

    #[test]
    fn another_threshold_gives_the_nuclei_of_a_new_run() {
        for (map, image) in [window(), window_of_types()] {
            let kept = KeptBlock::new(&map, &image, &block(0.5).parameters).expect("kept");
            for threshold in [0.1, 0.3, 0.5, 0.8, 0.9] {
                let fresh = block(threshold).find(&map, &image).expect("nuclei");
                assert_eq!(kept.nuclei(&block(threshold)).expect("nuclei"), fresh, "{threshold}");
            }
            let nuclei = block(0.5).find(&map, &image).expect("nuclei");
            let class = (map.types().len() == 2).then_some(1);
            assert!(nuclei.iter().all(|nucleus| nucleus.class == class));
        }
        let (map, image) = window();
        let kept = KeptBlock::new(&map, &image, &block(0.5).parameters).expect("kept");
        assert!(!block(0.5).find(&map, &image).expect("nuclei").is_empty());
        assert!(kept.nuclei(&block(0.05)).is_err());
        let other = BlockNuclei { window: Block { width: 299, ..block(0.5).window }, ..block(0.5) };
        assert!(kept.nuclei(&other).is_err());
    }

    #[test]
    fn a_task_comes_back_from_its_bytes() {
        let (map, image) = window_of_types();
        let kept = KeptBlock::new(&map, &image, &block(0.5).parameters).expect("kept");
        let task = KeptBlockTask { block: block(0.7), kept };
        let bytes = task.to_bytes().expect("bytes");
        assert_eq!(KeptBlockTask::from_bytes(&bytes).expect("task"), task);
        for end in [0, 3, 40, bytes.len() - 1] {
            assert!(KeptBlockTask::from_bytes(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn what_lies_far_from_the_view_is_dropped_first() {
        let layout = MapLayout::NUCLEUS;
        let kept = KeptBlock { layout, probabilities: vec![0; 60], colours: vec![0; 40] };
        let mut all = KeptProbabilities::with_limit(250);
        let at = |x: f64| Point { x, y: 0.0 };
        all.keep(0, kept.clone(), at(0.0), at(0.0));
        all.keep(1, kept.clone(), at(100.0), at(100.0));
        all.keep(2, kept.clone(), at(200.0), at(200.0));
        assert!(all.get(0).is_none() && all.get(1).is_some());
        all.keep(2, kept.clone(), at(200.0), at(200.0));
        assert_eq!((all.byte_count(), all.nearest(at(150.0)).len()), (200, 2));
        assert_eq!(all.nearest(at(190.0)), [2, 1]);
        let mut nothing = KeptProbabilities::with_limit(10);
        nothing.keep(0, kept, at(0.0), at(0.0));
        assert_eq!(nothing.byte_count(), 0);
    }
}
