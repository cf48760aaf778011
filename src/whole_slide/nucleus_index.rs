//! The nuclei of a slide while its blocks are finished in any order: numbered in the order of
//! blocks, as the command line does, found by place, and drawn or written from here.

use std::collections::BTreeMap;

use super::block_halo::MARGIN_PX;
use super::job::SlideJob;
use super::nucleus::SlideNucleus;
use crate::engine::Block;
use crate::instances::Nucleus;

/// Left, top, right and bottom in pixels of the finest level.
pub type Bounds = [f64; 4];

/// Blocks, which of them are to be segmented, and the nuclei of the finished ones.
#[derive(Debug)]
pub struct NucleusIndex {
    /// Of the whole, in the model's pixels.
    width: usize,
    height: usize,
    /// Pixels of the finest level that one of the model's spans.
    scale: f64,
    blocks: Vec<Block>,
    needed: Vec<bool>,
    kept: BTreeMap<usize, Vec<SlideNucleus>>,
    /// Of each block's first nucleus, less one.
    offsets: Vec<u32>,
    /// Nuclei, pixels that they cover, and pixels of the finished blocks.
    sums: (usize, u64, f64),
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
            kept: BTreeMap::new(),
            offsets,
            sums: (0, 0, 0.0),
        }
    }

    /// Numbers of finished blocks and of blocks that are to be segmented.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.kept.len(), self.needed.iter().filter(|w| **w).count())
    }

    /// Blocks that are to be segmented, not finished and touch a rectangle, the nearest to its centre
    /// first.
    #[must_use]
    pub fn missing(&self, [left, top, right, bottom]: Bounds) -> Vec<usize> {
        let middle = (f64::midpoint(left, right), f64::midpoint(top, bottom));
        let touches = |[l, t, r, b]: Bounds| l < right && r > left && t < bottom && b > top;
        let mut found: Vec<usize> = (0..self.blocks.len())
            .filter(|i| self.needed[*i] && !self.kept.contains_key(i) && touches(self.bounds(*i)))
            .collect();
        let away = |i: &usize| {
            let [l, t, r, b] = self.bounds(*i);
            (f64::midpoint(l, r) - middle.0).hypot(f64::midpoint(t, b) - middle.1)
        };
        found.sort_by(|a, b| away(a).total_cmp(&away(b)));
        found
    }

    /// Where a block lies in the slide.
    #[must_use]
    pub fn bounds(&self, index: usize) -> Bounds {
        let Block { row, column, width, height } = self.blocks[index];
        [column, row, column + width, row + height].map(|v| v as f64 * self.scale)
    }

    /// Takes the nuclei of a finished block.
    pub fn take(&mut self, index: usize, nuclei: Vec<SlideNucleus>) {
        let [l, t, r, b] = self.bounds(index);
        let covered = |all: &[SlideNucleus]| all.iter().map(|k| k.area_px).sum::<u64>();
        self.sums = (
            self.sums.0 + nuclei.len(),
            self.sums.1 + covered(&nuclei),
            self.sums.2 + (r - l) * (b - t),
        );
        if let Some(old) = self.kept.insert(index, nuclei) {
            let (count, area, seen) = self.sums;
            self.sums = (count - old.len(), area - covered(&old), seen - (r - l) * (b - t));
        }
        let mut sum = 0;
        for (i, offset) in self.offsets.iter_mut().enumerate() {
            *offset = sum;
            sum += self.kept.get(&i).map_or(0, |k| k.len() as u32);
        }
    }

    /// Number of nuclei.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sums.0
    }

    /// Share of the finished blocks' area that nuclei cover.
    #[must_use]
    pub fn area_share(&self) -> f64 {
        let (_, covered, seen) = self.sums;
        if seen > 0.0 { covered as f64 / seen } else { 0.0 }
    }

    /// All, with their numbers.
    pub fn all(&self) -> impl Iterator<Item = (u32, &SlideNucleus)> {
        self.kept.iter().flat_map(|(block, nuclei)| self.numbered(*block, nuclei))
    }

    /// All as they are written.
    pub fn nuclei(&self, mpp_known: bool) -> impl Iterator<Item = Nucleus> {
        self.all().map(move |(label, kept)| kept.clone().numbered(label, mpp_known))
    }

    fn numbered<'a>(
        &self,
        block: usize,
        nuclei: &'a [SlideNucleus],
    ) -> impl Iterator<Item = (u32, &'a SlideNucleus)> + use<'a> {
        (self.offsets[block] + 1..).zip(nuclei)
    }

    /// Those that may reach into a rectangle: the nuclei of a block reach beyond it by less than
    /// the context around it.
    pub fn near(
        &self,
        [left, top, right, bottom]: Bounds,
    ) -> impl Iterator<Item = (u32, &SlideNucleus)> {
        let reach = MARGIN_PX as f64 * self.scale;
        let blocks = self.blocks_in([left - reach, top - reach, right + reach, bottom + reach]);
        let all = blocks.filter_map(|i| Some(self.numbered(i, self.kept.get(&i)?))).flatten();
        all.filter(move |(_, kept)| {
            let [l, t, r, b] = kept.bounds();
            l < right && r > left && t < bottom && b > top
        })
    }

    /// Finished blocks that touch a rectangle.
    pub fn known(&self, bounds: Bounds) -> impl Iterator<Item = Bounds> {
        self.blocks_in(bounds).filter(|i| self.kept.contains_key(i)).map(|i| self.bounds(i))
    }

    /// Blocks that touch a rectangle: they lie in a grid.
    fn blocks_in(&self, [left, top, right, bottom]: Bounds) -> impl Iterator<Item = usize> {
        let side = self.blocks.first().map_or((1, 1), |b| (b.width.max(1), b.height.max(1)));
        let across = self.width.div_ceil(side.0).max(1);
        let span = |from: f64, to: f64, side: usize, whole: usize| {
            let last = whole.div_ceil(side).max(1) - 1;
            let at =
                |v: f64| (v / self.scale / side as f64).floor().clamp(0.0, last as f64) as usize;
            at(from)..=at(to)
        };
        let (columns, rows) =
            (span(left, right, side.0, self.width), span(top, bottom, side.1, self.height));
        rows.flat_map(move |row| columns.clone().map(move |column| row * across + column))
    }

    /// Number of the nucleus at a place, 0 for none.
    #[must_use]
    pub fn label_at(&self, x: f64, y: f64) -> u32 {
        self.near([x, y, x, y]).find(|(_, k)| k.holds(x, y)).map_or(0, |(label, _)| label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::blocks;
    use crate::instances::Nucleus;
    use crate::raster::Point;

    fn disc(x: f64, y: f64, r: f64) -> SlideNucleus {
        let ring = [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
            .map(|(x, y)| Point { x, y });
        let nucleus = Nucleus {
            label: 1,
            rings: vec![ring.to_vec()],
            area_px: (4.0 * r * r) as u64,
            centroid: (x, y),
            measurements: vec![("Area", 1.0); 6],
        };
        SlideNucleus::new(&nucleus, 0, 0, 1.0)
    }

    fn findings() -> NucleusIndex {
        {
            let all = blocks(1000, 600, 400);
            let needed = vec![true; all.len()];
            NucleusIndex::of_blocks((1000, 600), 1.0, all, needed)
        }
    }

    #[test]
    fn numbers_follow_the_blocks_in_whatever_order_they_come() {
        let mut found = findings();
        assert_eq!(found.progress(), (0, 6));
        found.take(4, vec![disc(500.0, 450.0, 5.0)]);
        found.take(0, vec![disc(1.0, 1.0, 1.0)]);
        found.take(0, vec![disc(100.0, 100.0, 9.0), disc(398.0, 50.0, 9.0)]);
        assert_eq!(found.count(), 3);
        assert_eq!(found.all().map(|(n, _)| n).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(found.label_at(500.0, 450.0), 3);
        assert_eq!(found.label_at(404.0, 50.0), 2, "it reaches over the border of its block");
        assert_eq!(found.label_at(300.0, 300.0), 0);
        assert_eq!(found.known([0.0, 0.0, 1000.0, 600.0]).count(), 2);
        assert!(found.area_share() > 0.0);
    }

    #[test]
    fn the_middle_of_a_view_comes_first_and_finished_blocks_do_not_come_again() {
        let mut found = findings();
        let view = [380.0, 0.0, 900.0, 500.0];
        assert_eq!(found.missing(view).len(), 6);
        assert_eq!(found.missing(view)[0], 1);
        found.take(1, Vec::new());
        assert!(!found.missing(view).contains(&1));
        assert_eq!(found.missing([0.0, 0.0, 10.0, 10.0]), [0]);
    }
}
