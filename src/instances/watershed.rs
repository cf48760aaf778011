//! Separates touching nuclei: the watershed of a height map, flooded from its peaks down (Vincent &
//! Soille 1991), without insignificant peaks (h-maxima; Soille, *Morphological Image Analysis*, 2nd
//! ed. 2003, chapter 6).
//!
//! A basin begins at each local maximum. Where two basins meet, at their saddle, they stay apart
//! only if both peaks rise at least h above it and both basins have the area of a nucleus:
//!
//! ```text
//! height      a            b             a: kept
//!            ╱ ╲    c     ╱ ╲            b: kept, b − saddle ≥ h
//!           ╱   ╲__╱ ╲   ╱   ╲           c: merged into a, c − saddle < h
//!          ╱          ╲_╱     ╲
//! ```
//!
//! One pass over the pixels in the order of height, ties in reading order; basins merge by
//! union-find (Tarjan 1975). Heights are integers, so the result is the same on every machine.

use super::distance::squared_distances;
use super::{PROBABILITY_ONE, SmoothedMap};
use crate::raster::{LabelMap, Mask, Plane};

/// Units of height in one pixel of distance.
const UNITS_PER_PX: u32 = 16;
/// Distances are clipped here, pixels. No nucleus is that large.
const MAX_DISTANCE_PX: u32 = 200;
/// Label of a pixel that the flood has not reached.
const NOT_FLOODED: u32 = u32::MAX;

/// Height of each pixel of the mask: its distance to the background, plus `probability_weight`
/// pixels times its smoothed probability of an interior. In units of 1 / [`UNITS_PER_PX`] pixels.
pub(super) fn height_map(
    mask: &Mask,
    smoothed: &SmoothedMap,
    probability_weight: f32,
) -> Plane<u16> {
    let units_per_one = probability_weight * UNITS_PER_PX as f32;
    let mut heights = Plane::filled(mask.width(), mask.height(), 0u16);
    squared_distances(mask, |y, squared_distances| {
        let row = heights.row_mut(y).iter_mut();
        for ((height, &squared), &p) in row.zip(squared_distances).zip(smoothed.row(y)) {
            if squared > 0 {
                let clipped = squared.min(MAX_DISTANCE_PX * MAX_DISTANCE_PX);
                // √(d² · 16²) = 16 d, rounded down, in integers: 200² · 16² fits 32 bits.
                let distance = (clipped * UNITS_PER_PX * UNITS_PER_PX).isqrt();
                let bonus = (f32::from(p) * units_per_one / f32::from(PROBABILITY_ONE)) as u32;
                *height = (distance + bonus).min(u32::from(u16::MAX)) as u16;
            }
        }
    });
    heights
}

/// Labels of the basins, in no particular order from 1. Where a basin rises less than `h_px` pixels
/// above the saddle to a neighbour, or either has fewer than `min_area` pixels, they are one.
pub(super) fn split_touching(
    mask: &Mask,
    heights: &Plane<u16>,
    h_px: f32,
    min_area: usize,
) -> LabelMap {
    let (w, h) = (mask.width(), mask.height());
    let min_rise = (h_px * UNITS_PER_PX as f32 + 0.5) as u32;
    let mut basins = Basins { min_rise, min_area, ..Basins::default() };
    let mut labels = Plane::filled(w, h, NOT_FLOODED);
    let basin_of = labels.data_mut();
    // Invariant: every flooded pixel is at least as high as this one, so where two flooded basins
    // touch it, its height is the height of their saddle.
    for pixel in by_descending_height(mask, heights) {
        let pixel = pixel as usize;
        let height = u32::from(heights.data()[pixel]);
        // The basins around this pixel, each once, and the one of the highest neighbour: the pixel
        // joins that one.
        let mut adjacent = [NOT_FLOODED; 8];
        let mut count = 0;
        let mut own: Option<(u16, u32)> = None;
        for neighbour in neighbours(pixel, w, h) {
            if basin_of[neighbour] == NOT_FLOODED {
                continue;
            }
            let root = basins.root(basin_of[neighbour]);
            let neighbour_height = heights.data()[neighbour];
            if own.is_none_or(|(highest, _)| neighbour_height > highest) {
                own = Some((neighbour_height, root));
            }
            if !adjacent[..count].contains(&root) {
                adjacent[count] = root;
                count += 1;
            }
        }
        basin_of[pixel] = match own {
            None => basins.start(height),
            Some((_, own)) => {
                // Two other basins that meet here are not merged with each other: their pixels
                // might not be connected, and a label must be one piece.
                for &other in &adjacent[..count] {
                    basins.merge_unless_significant(own, other, height);
                }
                basins.add_pixel(own)
            }
        };
    }
    for label in basin_of {
        // Pixels outside the mask were never flooded; basins merged later have one root by now.
        *label = if *label == NOT_FLOODED { 0 } else { basins.root(*label) + 1 };
    }
    labels
}

/// Indices of the pixels of the mask, highest first, ties in reading order. Counting sort.
fn by_descending_height(mask: &Mask, heights: &Plane<u16>) -> Vec<u32> {
    // Number of pixels of each height, lowest last, one place later than the height itself.
    let mut starts = vec![0u32; usize::from(u16::MAX) + 2];
    for (&on, &height) in mask.data().iter().zip(heights.data()) {
        if on {
            starts[usize::from(u16::MAX - height) + 1] += 1;
        }
    }
    // Sums of these: where the pixels of each height begin.
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let mut sorted = vec![0u32; starts.last().map_or(0, |&count| count as usize)];
    for (pixel, (&on, &height)) in (0u32..).zip(mask.data().iter().zip(heights.data())) {
        if on {
            let next = &mut starts[usize::from(u16::MAX - height)];
            sorted[*next as usize] = pixel;
            *next += 1;
        }
    }
    sorted
}

/// Indices of the 8 neighbours of a pixel, fewer at the border.
fn neighbours(pixel: usize, w: usize, h: usize) -> impl Iterator<Item = usize> {
    let (row, column) = (pixel / w, pixel % w);
    let rows = row.saturating_sub(1)..(row + 2).min(h);
    let columns = column.saturating_sub(1)..(column + 2).min(w);
    let square = rows.flat_map(move |r| columns.clone().map(move |c| r * w + c));
    square.filter(move |&neighbour| neighbour != pixel)
}

/// Disjoint sets of pixels. A basin is named by its root, which its members reach over `parent`.
#[derive(Default)]
struct Basins {
    /// Smallest rise above a saddle of a significant peak, units of height.
    min_rise: u32,
    /// Smallest area of a basin that stays apart.
    min_area: usize,
    parent: Vec<u32>,
    /// Height of the peak; valid for roots.
    peak: Vec<u32>,
    /// Pixels; valid for roots.
    area: Vec<usize>,
}

impl Basins {
    /// A new basin of one pixel.
    fn start(&mut self, peak: u32) -> u32 {
        let new = self.parent.len() as u32;
        self.parent.push(new);
        self.peak.push(peak);
        self.area.push(1);
        new
    }

    /// Adds a pixel to the basin of `member` and returns its root.
    fn add_pixel(&mut self, member: u32) -> u32 {
        let root = self.root(member);
        self.area[root as usize] += 1;
        root
    }

    /// The root of the basin of `member`. Halves the path to it, so that later calls are short.
    fn root(&mut self, mut member: u32) -> u32 {
        while self.parent[member as usize] != member {
            let parent = self.parent[member as usize];
            self.parent[member as usize] = self.parent[parent as usize];
            member = parent;
        }
        member
    }

    /// Merges two basins that meet at a saddle of height `saddle`, unless both are significant. The
    /// one with the higher peak, or else the older one, takes the other.
    fn merge_unless_significant(&mut self, a: u32, b: u32, saddle: u32) {
        let a = self.root(a);
        let b = self.root(b);
        if a == b {
            return;
        }
        let rank = |basin: u32| (self.peak[basin as usize], u32::MAX - basin);
        let (high, low) = if rank(a) > rank(b) { (a, b) } else { (b, a) };
        let min_area = self.area[low as usize].min(self.area[high as usize]);
        // The difference cannot underflow: both basins began at or above the saddle.
        if self.peak[low as usize] - saddle < self.min_rise || min_area < self.min_area {
            self.parent[low as usize] = high;
            self.area[high as usize] += self.area[low as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels of one row of pixels of these heights.
    fn split_row(heights: &[u16], h_px: f32, min_area: usize) -> Vec<u32> {
        let plane = Plane::from_vec(heights.len(), 1, heights.to_vec()).expect("plane");
        split_touching(&plane.map(|h| h > 0), &plane, h_px, min_area).data().to_vec()
    }

    #[test]
    fn a_dip_deeper_than_h_splits_and_a_shallow_one_does_not() {
        let heights = [16, 48, 64, 40, 24, 40, 56, 16];
        assert_eq!(split_row(&heights, 1.0, 1), [1, 1, 1, 1, 1, 2, 2, 2]);
        assert_eq!(split_row(&heights, 2.5, 1), [1; 8]);
    }

    #[test]
    fn a_basin_too_small_for_a_nucleus_joins_its_neighbour() {
        let heights = [16, 48, 64, 40, 16, 64, 16];
        assert_eq!(split_row(&heights, 1.0, 1), [1, 1, 1, 1, 2, 2, 2], "apart by height");
        assert_eq!(split_row(&heights, 1.0, 3), [1; 7], "joined by area");
    }

    #[test]
    fn a_label_is_one_piece_even_where_three_basins_meet() {
        let heights = [30, 0, 60, 60, 0, 20, 0, 60, 80, 0, 0, 0, 90, 90, 0, 0];
        let plane = Plane::from_vec(4, 4, heights.to_vec()).expect("plane");
        assert_one_piece_each(&split_touching(&plane.map(|h| h > 0), &plane, 1.0, 3));
    }

    fn assert_one_piece_each(labels: &LabelMap) {
        for label in 1..=labels.data().iter().copied().max().unwrap_or(0) {
            let pieces = crate::raster::label_components(&labels.map(|l| l == label));
            assert!(pieces.data().iter().all(|&p| p <= 1), "{label} of {:?}", labels.data());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_height_map_gives_labels_of_one_piece(
            values in proptest::collection::vec(0u16..7, 64),
            h_px in 0u16..4,
            min_area in 0usize..6,
        ) {
            let heights = values.into_iter().map(|v| v * 16).collect();
            let plane = Plane::from_vec(8, 8, heights).expect("plane");
            let labels = split_touching(&plane.map(|h| h > 0), &plane, f32::from(h_px), min_area);
            assert_one_piece_each(&labels);
        }
    }

    #[test]
    fn separate_regions_are_never_joined() {
        assert_eq!(split_row(&[16, 0, 16, 16], 9.0, 9), [1, 0, 2, 2]);
    }
}
