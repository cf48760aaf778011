//! Touching nuclei apart: a flood from the peaks down (Vincent & Soille 1991) in which two basins
//! stay apart only where both rise more than `h` above the saddle between them (h-maxima) and both
//! are large enough to be a nucleus. One pass over the pixels in order of height; union-find does
//! the merging.

use super::Smooth;
use super::distance::squared_distances;
use crate::raster::{LabelMap, Mask, Plane};

/// Height units in one pixel of distance.
const UNIT: u32 = 16;
/// Greatest distance that counts, pixels: beyond it a region is no nucleus anyway.
const MOST_PX: u32 = 200;

/// Height of each pixel of the mask: distance to the background, plus `weight` pixels where the
/// probability is 1.
pub fn heights(mask: &Mask, smooth: &Smooth, weight: f32) -> Plane<u16> {
    let mut out = Plane::filled(mask.width(), mask.height(), 0u16);
    squared_distances(mask, |y, distances| {
        for ((h, &d2), &p) in out.row_mut(y).iter_mut().zip(distances).zip(smooth.row(y)) {
            if d2 > 0 {
                let distance = (d2.min(MOST_PX * MOST_PX) * UNIT * UNIT).isqrt();
                let share = (f32::from(p) * weight * UNIT as f32 / f32::from(super::ONE)) as u32;
                *h = (distance + share).min(u32::from(u16::MAX)) as u16;
            }
        }
    });
    out
}

/// Basins of the flood, numbered from 1. Basins of less than `min_area` pixels, or less than `h_px`
/// above the saddle, join the neighbour they meet first.
pub fn split(mask: &Mask, heights: &Plane<u16>, h_px: f32, min_area: usize) -> LabelMap {
    let (w, h) = (mask.width(), mask.height());
    let least = (h_px * UNIT as f32 + 0.5) as u32;
    let mut basins = Basins::default();
    let mut out = Plane::filled(w, h, u32::MAX);
    let of_pixel = out.data_mut();
    for at in by_height(mask, heights) {
        let at = at as usize;
        let height = u32::from(heights.data()[at]);
        let mut own: Option<(u16, u32)> = None;
        let mut met = [u32::MAX; 8];
        let mut count = 0;
        for near in neighbours(at, w, h) {
            if of_pixel[near] == u32::MAX {
                continue;
            }
            let root = basins.root(of_pixel[near]);
            if own.is_none_or(|(best, _)| heights.data()[near] > best) {
                own = Some((heights.data()[near], root));
            }
            if !met[..count].contains(&root) {
                met[count] = root;
                count += 1;
            }
        }
        // Basins are joined through this pixel, so only its own basin takes or is taken: labels
        // stay in one piece.
        if let Some((_, root)) = own {
            met[..count]
                .iter()
                .for_each(|&other| basins.meet(root, other, height, least, min_area));
        }
        of_pixel[at] = match own {
            Some((_, root)) => basins.grow(root),
            None => basins.start(height),
        };
    }
    for label in of_pixel {
        *label = if *label == u32::MAX { 0 } else { basins.root(*label) + 1 };
    }
    out
}

/// Pixels of the mask from the highest down; among equals in reading order. Counting sort.
fn by_height(mask: &Mask, heights: &Plane<u16>) -> Vec<u32> {
    let mut starts = vec![0u32; usize::from(u16::MAX) + 2];
    let key = |h: u16| usize::from(u16::MAX - h);
    let inside = || (0u32..).zip(mask.data().iter().zip(heights.data())).filter(|(_, (m, _))| **m);
    inside().for_each(|(_, (_, &h))| starts[key(h) + 1] += 1);
    for k in 1..starts.len() {
        starts[k] += starts[k - 1];
    }
    let mut order = vec![0u32; *starts.last().unwrap_or(&0) as usize];
    for (i, (_, &h)) in inside() {
        let place = &mut starts[key(h)];
        order[*place as usize] = i;
        *place += 1;
    }
    order
}

fn neighbours(at: usize, w: usize, h: usize) -> impl Iterator<Item = usize> {
    let (row, column) = (at / w, at % w);
    let rows = row.saturating_sub(1)..(row + 2).min(h);
    let columns = column.saturating_sub(1)..(column + 2).min(w);
    rows.flat_map(move |r| columns.clone().map(move |c| r * w + c)).filter(move |&near| near != at)
}

#[derive(Default)]
struct Basins {
    parent: Vec<u32>,
    peak: Vec<u32>,
    area: Vec<usize>,
}

impl Basins {
    fn start(&mut self, peak: u32) -> u32 {
        let new = self.parent.len() as u32;
        self.parent.push(new);
        self.peak.push(peak);
        self.area.push(1);
        new
    }

    /// A pixel joins the basin of `member`; gives its root now (an earlier merge may have moved
    /// it).
    fn grow(&mut self, member: u32) -> u32 {
        let root = self.root(member);
        self.area[root as usize] += 1;
        root
    }

    fn root(&mut self, mut b: u32) -> u32 {
        while self.parent[b as usize] != b {
            let above = self.parent[b as usize];
            // Halves the path, so that later walks are short.
            self.parent[b as usize] = self.parent[above as usize];
            b = above;
        }
        b
    }

    /// Merges two basins that meet at `height` unless both stand on their own. The one with the
    /// higher peak (then the older) takes the other.
    fn meet(&mut self, a: u32, b: u32, height: u32, least: u32, min_area: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let rank = |i: u32| (self.peak[i as usize], u32::MAX - i);
        let (high, low) = if rank(a) > rank(b) { (a, b) } else { (b, a) };
        if self.peak[low as usize] - height < least
            || self.area[low as usize].min(self.area[high as usize]) < min_area
        {
            self.parent[low as usize] = high;
            self.area[high as usize] += self.area[low as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(heights: &[u16], h_px: f32, min_area: usize) -> Vec<u32> {
        let plane = Plane::from_vec(heights.len(), 1, heights.to_vec()).expect("plane");
        split(&plane.map(|h| h > 0), &plane, h_px, min_area).data().to_vec()
    }

    #[test]
    fn a_dip_deeper_than_h_splits_and_a_shallow_one_does_not() {
        let heights = [16, 48, 64, 40, 24, 40, 56, 16];
        assert_eq!(line(&heights, 1.0, 1), [1, 1, 1, 1, 1, 2, 2, 2]);
        assert_eq!(line(&heights, 2.5, 1), [1; 8]);
    }

    #[test]
    fn a_basin_too_small_for_a_nucleus_joins_its_neighbour() {
        let heights = [16, 48, 64, 40, 16, 64, 16];
        assert_eq!(line(&heights, 1.0, 1), [1, 1, 1, 1, 2, 2, 2], "kept by height");
        assert_eq!(line(&heights, 1.0, 3), [1; 7], "joined by area");
    }

    #[test]
    fn a_label_is_one_piece_even_where_three_basins_meet() {
        let heights = [30, 0, 60, 60, 0, 20, 0, 60, 80, 0, 0, 0, 90, 90, 0, 0];
        let plane = Plane::from_vec(4, 4, heights.to_vec()).expect("plane");
        assert_one_piece_each(&split(&plane.map(|h| h > 0), &plane, 1.0, 3));
    }

    fn assert_one_piece_each(labels: &LabelMap) {
        for label in 1..=labels.data().iter().copied().max().unwrap_or(0) {
            let pieces = crate::raster::label_components(&labels.map(|l| l == label));
            assert!(pieces.data().iter().all(|&p| p <= 1), "{label} of {:?}", labels.data());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_field_gives_labels_of_one_piece(values in proptest::collection::vec(0u16..7, 64), least in 0u16..4, area in 0usize..6) {
            let plane = Plane::from_vec(8, 8, values.into_iter().map(|v| v * 16).collect()).expect("plane");
            assert_one_piece_each(&split(&plane.map(|h| h > 0), &plane, f32::from(least), area));
        }
    }

    #[test]
    fn regions_apart_are_never_joined() {
        assert_eq!(line(&[16, 0, 16, 16], 9.0, 9), [1, 0, 2, 2]);
    }
}
