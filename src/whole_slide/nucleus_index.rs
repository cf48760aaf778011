//! The nuclei of a slide while its blocks are finished in any order: numbered in the order of
//! blocks, as the command line does, found by place, and drawn or written from here.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::block_halo::MARGIN_PX;
use super::job::{SlideJob, scaled_bounds};
use super::nucleus::SlideNucleus;
use crate::engine::{Block, blocks};
use crate::instances::Nucleus;
use crate::raster::Point;
use crate::slide::SlideBounds;

/// Side of the cells in which nuclei of an image are gathered while it is computed, in the model's
/// pixels.
const CELL_PX: usize = 256;

/// Blocks, which of them are to be segmented, and the nuclei of the finished ones.
#[derive(Debug)]
pub struct NucleusIndex {
    /// Of the whole, in the model's pixels.
    width: usize,
    height: usize,
    /// Pixels of the finest level that one of the model's spans.
    scale: f64,
    /// A grid, row by row.
    blocks: Vec<Block>,
    needed: Vec<bool>,
    finished: BTreeMap<usize, Vec<SlideNucleus>>,
    /// Number of each block's first nucleus, less one.
    offsets: Vec<u32>,
    totals: Totals,
}

/// Sums over the finished blocks.
#[derive(Debug, Default)]
struct Totals {
    nuclei: usize,
    /// Pixels of the finest level that nuclei cover.
    covered_px: u64,
    /// Pixels of the finest level in these blocks.
    area_px: f64,
}

impl NucleusIndex {
    /// Empty, for the blocks of a job.
    #[must_use]
    pub fn new(job: &SlideJob) -> Self {
        let mut needed = Vec::with_capacity(job.blocks().len());
        for block in 0..job.blocks().len() {
            needed.push(job.is_needed(block));
        }
        Self::of_blocks(job.size(), job.scale(), job.blocks().to_vec(), needed)
    }

    /// The nuclei of an image in memory, whose numbers are kept: one finished block. Nuclei in
    /// pixels of the image, `width × height`.
    #[must_use]
    pub fn of_image(width: usize, height: usize, nuclei: Vec<Nucleus>) -> Self {
        let block = Block { row: 0, column: 0, width, height };
        let mut index = Self::of_blocks((width, height), 1.0, vec![block], vec![true]);
        let placed = nuclei.into_iter().map(|nucleus| SlideNucleus::new(&nucleus, 0, 0, 1.0));
        index.take(0, placed.collect());
        index
    }

    /// Of an image whose nuclei come in no order, of `size` in the model's pixels, of which each
    /// spans `scale` of the image's: for [`Self::add`].
    #[must_use]
    pub fn growing((width, height): (usize, usize), scale: f64) -> Self {
        let cells = blocks(width, height, CELL_PX);
        let needed = vec![true; cells.len()];
        Self::of_blocks((width, height), scale, cells, needed)
    }

    /// Adds nuclei in the model's pixels, unless there was one at their centroid.
    pub fn add(&mut self, nuclei: &[Nucleus]) {
        let mut added: BTreeMap<usize, Vec<SlideNucleus>> = BTreeMap::new();
        for nucleus in nuclei {
            let placed = SlideNucleus::new(nucleus, 0, 0, self.scale);
            let (x, y) = placed.centroid;
            if self.label_at(x, y) > 0 {
                continue;
            }
            if let Some(cell) = self.block_at(x, y) {
                added.entry(cell).or_default().push(placed);
            }
        }
        for (cell, new) in added {
            let mut all = self.finished.get(&cell).cloned().unwrap_or_default();
            all.extend(new);
            self.take(cell, all);
        }
    }

    /// The finished blocks with their nuclei.
    pub fn finished(&self) -> impl Iterator<Item = (usize, &[SlideNucleus])> {
        self.finished.iter().map(|(block, nuclei)| (*block, nuclei.as_slice()))
    }

    /// The nuclei of a block, if it is finished.
    #[must_use]
    pub fn block_nuclei(&self, block: usize) -> Option<&[SlideNucleus]> {
        self.finished.get(&block).map(Vec::as_slice)
    }

    fn of_blocks(
        (width, height): (usize, usize),
        scale: f64,
        blocks: Vec<Block>,
        needed: Vec<bool>,
    ) -> Self {
        let offsets = vec![0; blocks.len()];
        Self {
            width,
            height,
            scale,
            blocks,
            needed,
            finished: BTreeMap::new(),
            offsets,
            totals: Totals::default(),
        }
    }

    /// Numbers of finished blocks and of blocks that are to be segmented.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.finished.len(), self.needed.iter().filter(|needed| **needed).count())
    }

    /// Blocks that are to be segmented, not finished and touch a rectangle, the nearest to its
    /// centre first.
    #[must_use]
    pub fn missing(&self, bounds: SlideBounds) -> Vec<usize> {
        let mut missing = Vec::new();
        for block in 0..self.blocks.len() {
            if self.needed[block]
                && !self.finished.contains_key(&block)
                && self.bounds(block).intersects(&bounds)
            {
                missing.push(block);
            }
        }
        let wanted = bounds.centre();
        missing.sort_by_cached_key(|block| {
            let own = self.bounds(*block).centre();
            // Distances are positive, so their bits are ordered as they are.
            (own.x - wanted.x).hypot(own.y - wanted.y).to_bits()
        });
        missing
    }

    /// Where a block lies in the slide.
    #[must_use]
    pub fn bounds(&self, block: usize) -> SlideBounds {
        scaled_bounds(self.blocks[block], self.scale)
    }

    /// Takes the nuclei of a finished block. Nuclei of later blocks get other numbers by it.
    pub fn take(&mut self, block: usize, nuclei: Vec<SlideNucleus>) {
        let bounds = self.bounds(block);
        self.totals.nuclei += nuclei.len();
        self.totals.covered_px += covered_px(&nuclei);
        match self.finished.insert(block, nuclei) {
            None => self.totals.area_px += bounds.width() * bounds.height(),
            Some(old) => {
                self.totals.nuclei -= old.len();
                self.totals.covered_px -= covered_px(&old);
            }
        }
        // Exclusive prefix sums over the blocks: nucleus i of a block has number offset + i + 1.
        let mut before = 0;
        for (block, offset) in self.offsets.iter_mut().enumerate() {
            *offset = before;
            before += self.finished.get(&block).map_or(0, |nuclei| nuclei.len() as u32);
        }
    }

    /// Number of nuclei.
    #[must_use]
    pub fn count(&self) -> usize {
        self.totals.nuclei
    }

    /// Share of the finished blocks' area that nuclei cover, 0 to 1.
    #[must_use]
    pub fn area_share(&self) -> f64 {
        let Totals { covered_px, area_px, .. } = self.totals;
        if area_px > 0.0 { covered_px as f64 / area_px } else { 0.0 }
    }

    /// Area of the finished blocks, pixels of the finest level.
    #[must_use]
    pub fn area_px(&self) -> f64 {
        self.totals.area_px
    }

    /// Whether a block is finished.
    #[must_use]
    pub fn is_finished(&self, block: usize) -> bool {
        self.finished.contains_key(&block)
    }

    /// The block that holds a place of the finest level.
    #[must_use]
    pub fn block_at(&self, x: f64, y: f64) -> Option<usize> {
        self.blocks_in(SlideBounds::at_point(Point { x, y })).next()
    }

    /// Whether the block that holds a place of the finest level is finished; true where there is no
    /// block.
    #[must_use]
    pub fn is_finished_at(&self, x: f64, y: f64) -> bool {
        self.block_at(x, y).is_none_or(|block| self.is_finished(block))
    }

    /// All, with their numbers.
    pub fn all(&self) -> impl Iterator<Item = (u32, &SlideNucleus)> + Clone {
        self.finished.iter().flat_map(|(block, nuclei)| self.numbered(*block, nuclei))
    }

    /// All as they are written.
    pub fn nuclei(&self) -> impl Iterator<Item = Nucleus> {
        self.all().map(|(label, nucleus)| nucleus.clone().numbered(label))
    }

    fn numbered<'a>(
        &self,
        block: usize,
        nuclei: &'a [SlideNucleus],
    ) -> impl Iterator<Item = (u32, &'a SlideNucleus)> + Clone + use<'a> {
        (self.offsets[block] + 1..).zip(nuclei)
    }

    /// Those that reach into a rectangle.
    pub fn near(&self, bounds: SlideBounds) -> impl Iterator<Item = (u32, &SlideNucleus)> + Clone {
        // The nuclei of a block reach beyond it by less than its halo.
        let widened = bounds.expanded(MARGIN_PX as f64 * self.scale);
        let nuclei = self
            .blocks_in(widened)
            .filter_map(move |block| Some(self.numbered(block, self.finished.get(&block)?)));
        nuclei.flatten().filter(move |(_, nucleus)| nucleus.bounds().intersects(&bounds))
    }

    /// Bounds of the finished blocks that touch a rectangle.
    pub fn known(&self, bounds: SlideBounds) -> impl Iterator<Item = SlideBounds> {
        let finished = |block: &usize| self.finished.contains_key(block);
        self.blocks_in(bounds).filter(finished).map(|block| self.bounds(block))
    }

    /// Blocks that touch a rectangle: they lie in a grid, whose first block has the full size.
    fn blocks_in(&self, bounds: SlideBounds) -> impl Iterator<Item = usize> + Clone {
        let (width, height) =
            self.blocks.first().map_or((1, 1), |b| (b.width.max(1), b.height.max(1)));
        let across = self.width.div_ceil(width).max(1);
        let columns = self.cells(bounds.left, bounds.right, width, self.width);
        let rows = self.cells(bounds.top, bounds.bottom, height, self.height);
        rows.flat_map(move |row| columns.clone().map(move |column| row * across + column))
    }

    /// Columns (or rows) of the grid between two places of the finest level.
    fn cells(&self, from: f64, to: f64, side: usize, whole: usize) -> RangeInclusive<usize> {
        let last = (whole.div_ceil(side).max(1) - 1) as f64;
        let [first, end] = [from, to]
            .map(|place| (place / self.scale / side as f64).floor().clamp(0.0, last) as usize);
        first..=end
    }

    /// Number of the nucleus at a place, 0 for none.
    #[must_use]
    pub fn label_at(&self, x: f64, y: f64) -> u32 {
        let mut near = self.near(SlideBounds::at_point(Point { x, y }));
        near.find(|(_, nucleus)| nucleus.holds(x, y)).map_or(0, |(label, _)| label)
    }
}

/// Pixels of the finest level that nuclei cover.
fn covered_px(nuclei: &[SlideNucleus]) -> u64 {
    nuclei.iter().map(|nucleus| nucleus.area_px).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disc(x: f64, y: f64, r: f64) -> SlideNucleus {
        let ring = [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
            .map(|(x, y)| Point { x, y });
        let nucleus = Nucleus {
            label: 1,
            polygons: vec![vec![ring.to_vec()]],
            area_px: (4.0 * r * r) as u64,
            centroid: (x, y),
            measurements: None,
            class: None,
        };
        SlideNucleus::new(&nucleus, 0, 0, 1.0)
    }

    fn bounds([left, top, right, bottom]: [f64; 4]) -> SlideBounds {
        SlideBounds { left, top, right, bottom }
    }

    fn empty_index() -> NucleusIndex {
        let all = blocks(1000, 600, 400);
        let needed = vec![true; all.len()];
        NucleusIndex::of_blocks((1000, 600), 1.0, all, needed)
    }

    #[test]
    fn numbers_follow_the_blocks_in_whatever_order_they_come() {
        let mut found = empty_index();
        assert_eq!(found.progress(), (0, 6));
        found.take(4, vec![disc(500.0, 450.0, 5.0)]);
        found.take(0, vec![disc(1.0, 1.0, 1.0)]);
        found.take(0, vec![disc(100.0, 100.0, 9.0), disc(398.0, 50.0, 9.0)]);
        assert_eq!(found.count(), 3);
        assert_eq!(found.all().map(|(n, _)| n).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(found.label_at(500.0, 450.0), 3);
        assert_eq!(found.label_at(404.0, 50.0), 2, "it reaches over the border of its block");
        assert_eq!(found.label_at(300.0, 300.0), 0);
        assert_eq!(found.known(bounds([0.0, 0.0, 1000.0, 600.0])).count(), 2);
        assert!(found.area_share() > 0.0);
    }

    #[test]
    fn the_middle_of_a_view_comes_first_and_finished_blocks_do_not_come_again() {
        let mut found = empty_index();
        let view = bounds([380.0, 0.0, 900.0, 500.0]);
        assert_eq!(found.missing(view).len(), 6);
        assert_eq!(found.missing(view)[0], 1);
        found.take(1, Vec::new());
        assert!(!found.missing(view).contains(&1));
        assert_eq!(found.missing(bounds([0.0, 0.0, 10.0, 10.0])), [0]);
    }
}
