//! The nuclei of the finished part of an image, while the rest is computed.

use super::block_halo::BlockHalo;
use crate::engine::Block;
use crate::error::Result;
use crate::instances::{Nucleus, label_nuclei, measure_nuclei, type_bytes};
use crate::model::InstanceParameters;
use crate::raster::{LabelMap, Plane, ProbabilityMaps, RgbImage};

/// An image of which a part is computed.
#[derive(Debug, Clone, Copy)]
pub struct PartialMap<'a> {
    /// At the model's pixel size.
    pub image: &'a RgbImage,
    /// 0 where it is not computed.
    pub map: &'a ProbabilityMaps,
    /// Where it is computed.
    pub known: &'a Plane<bool>,
}

impl PartialMap<'_> {
    /// Nuclei that reach into a block, in pixels of the image. Those that touch what is not
    /// computed are left out: they may go on there.
    ///
    /// # Errors
    /// As [`label_nuclei`].
    pub fn nuclei_in(
        &self,
        block: Block,
        parameters: &InstanceParameters,
        mpp_um: Option<f64>,
    ) -> Result<Vec<Nucleus>> {
        let (width, height) = (self.map.width(), self.map.height());
        let window = BlockHalo::new(block, width, height).window;
        let Block { row, column, .. } = window;
        let map = self.map.crop(row, column, window.width, window.height);
        let known = self.known.crop(row, column, window.width, window.height);
        let image = self.image.crop(row, column, window.width, window.height);
        let (mut labels, smooth) = label_nuclei(&map, parameters)?;
        let shown = shown_labels(&labels, &known, window, block, (width, height));
        for label in labels.data_mut() {
            if !shown[*label as usize] {
                *label = 0;
            }
        }
        let mut nuclei = Vec::new();
        let types = type_bytes(&map);
        for mut nucleus in measure_nuclei(&image, &labels, &smooth, &types, parameters, mpp_um)? {
            nucleus.centroid.0 += column as f64;
            nucleus.centroid.1 += row as f64;
            for point in nucleus.polygons.iter_mut().flatten().flatten() {
                point.x += column as f64;
                point.y += row as f64;
            }
            nuclei.push(nucleus);
        }
        Ok(nuclei)
    }
}

/// Which labels reach into the block and touch neither unknown pixels nor the window's cut.
fn shown_labels(
    labels: &LabelMap,
    known: &Plane<bool>,
    window: Block,
    block: Block,
    (width, height): (usize, usize),
) -> Vec<bool> {
    let highest = labels.data().iter().copied().max().unwrap_or(0) as usize;
    let (mut inside, mut cut) = (vec![false; highest + 1], vec![false; highest + 1]);
    for y in 0..window.height {
        for x in 0..window.width {
            let label = labels.get(y, x) as usize;
            if label == 0 {
                continue;
            }
            let (row, column) = (window.row + y, window.column + x);
            inside[label] |= row >= block.row
                && row < block.row + block.height
                && column >= block.column
                && column < block.column + block.width;
            let is_cut = (y == 0 && row > 0)
                || (x == 0 && column > 0)
                || (y + 1 == window.height && row + 1 < height)
                || (x + 1 == window.width && column + 1 < width);
            let rows = y.saturating_sub(1)..(y + 2).min(window.height);
            let columns = x.saturating_sub(1)..(x + 2).min(window.width);
            cut[label] |= is_cut
                || rows.into_iter().any(|y| !known.row(y)[columns.clone()].iter().all(|k| *k));
        }
    }
    inside.iter().zip(&cut).map(|(inside, cut)| *inside && !*cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whole_slide::NucleusIndex;

    /// Four discs; the second lies across column 100.
    fn discs() -> Plane<f32> {
        let mut map = Plane::filled(200, 60, 0.05f32);
        for row in 0..60 {
            for column in 0..200 {
                let inside = [30.0, 100.0, 140.0, 180.0]
                    .iter()
                    .any(|x| (row as f64 - 30.0).hypot(column as f64 - x) < 9.0);
                if inside {
                    map.set(row, column, 0.9);
                }
            }
        }
        map
    }

    #[test]
    fn what_touches_the_unfinished_part_waits_for_it() {
        let whole = discs();
        let image = Plane::filled(200, 60, [120, 80, 160]);
        let parameters = InstanceParameters::default();
        let left = Block { row: 0, column: 0, width: 100, height: 60 };
        let right = Block { column: 100, ..left };
        let (mut map, mut known) = (Plane::filled(200, 60, 0.0), Plane::filled(200, 60, false));
        let mut found = Vec::new();
        for block in [left, right] {
            for row in 0..60 {
                let columns = block.column..block.column + block.width;
                map.row_mut(row)[columns.clone()].copy_from_slice(&whole.row(row)[columns.clone()]);
                known.row_mut(row)[columns].fill(true);
            }
            let maps = map.clone().into();
            let partial = PartialMap { image: &image, map: &maps, known: &known };
            found.push(partial.nuclei_in(block, &parameters, None).expect("nuclei"));
        }
        let places: Vec<Vec<u32>> = found
            .iter()
            .map(|nuclei| nuclei.iter().map(|n| n.centroid.0.floor() as u32).collect())
            .collect();
        assert_eq!(places, [vec![30], vec![100, 140, 180]]);
        let mut index = NucleusIndex::growing((200, 60), 1.0);
        found.into_iter().for_each(|nuclei| index.add(&nuclei));
        assert_eq!((index.count(), index.label_at(100.0, 30.0) > 0), (4, true));
        let maps = map.into();
        let again = PartialMap { image: &image, map: &maps, known: &known };
        index.add(&again.nuclei_in(right, &parameters, None).expect("nuclei"));
        assert_eq!(index.count(), 4, "none is taken twice");
    }
}
