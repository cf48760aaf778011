//! How near nuclei lie to each other.

/// Radius in which nuclei are counted, micrometres.
const RADIUS_UM: f64 = 50.0;
/// Most cells of the grid along a side.
const MAX_CELLS: f64 = 2048.0;

/// What is known of the surroundings of a nucleus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Surroundings {
    /// From its centroid to the nearest other one, pixels; none where there is no other.
    pub nearest_px: Option<f64>,
    /// Other nuclei whose centroids lie within 50 µm; none where the pixel size is not known.
    pub nearby: Option<usize>,
}

/// Centroids sorted into the cells of a grid.
#[derive(Debug)]
pub(super) struct Neighbours {
    /// In the order of the nuclei, pixels.
    centroids: Vec<(f64, f64)>,
    radius_px: Option<f64>,
    /// Upper left corner, and side of a cell, pixels.
    left: f64,
    top: f64,
    cell_px: f64,
    columns: usize,
    rows: usize,
    /// Where each cell begins in `sorted`, row by row, and where the last one ends.
    starts: Vec<u32>,
    /// Numbers of nuclei.
    sorted: Vec<u32>,
}

impl Neighbours {
    /// Of centroids in pixels of `mpp_um` micrometres.
    pub(super) fn new(centroids: Vec<(f64, f64)>, mpp_um: Option<f64>) -> Self {
        let radius_px = mpp_um.map(|mpp_um| RADIUS_UM / mpp_um);
        let [mut left, mut top] = [f64::MAX; 2];
        let [mut right, mut bottom] = [f64::MIN; 2];
        for &(x, y) in &centroids {
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
        }
        let [width, height] = [right - left, bottom - top].map(|side| side.max(1.0));
        // A few nuclei in a cell, so that few are looked at in vain.
        let of_two = (2.0 * width * height / centroids.len().max(1) as f64).sqrt();
        let least = width.max(height) / MAX_CELLS;
        let cell_px = of_two.min(radius_px.unwrap_or(of_two)).max(least);
        let [columns, rows] = [width, height].map(|side| (side / cell_px) as usize + 1);
        let mut grid = Self {
            centroids,
            radius_px,
            left,
            top,
            cell_px,
            columns,
            rows,
            starts: vec![0; columns * rows + 1],
            sorted: Vec::new(),
        };
        grid.sort();
        grid
    }

    /// Counting sort by cell.
    fn sort(&mut self) {
        let mut starts = std::mem::take(&mut self.starts);
        for &centroid in &self.centroids {
            starts[self.cell(centroid) + 1] += 1;
        }
        for cell in 1..starts.len() {
            starts[cell] += starts[cell - 1];
        }
        let mut next = starts.clone();
        self.sorted = vec![0; self.centroids.len()];
        for (number, &centroid) in (0u32..).zip(&self.centroids) {
            let place = &mut next[self.cell(centroid)];
            self.sorted[*place as usize] = number;
            *place += 1;
        }
        self.starts = starts;
    }

    /// Column and row of the cell of a point.
    fn place(&self, (x, y): (f64, f64)) -> [usize; 2] {
        let cell = |offset: f64, count: usize| ((offset / self.cell_px) as usize).min(count - 1);
        [cell(x - self.left, self.columns), cell(y - self.top, self.rows)]
    }

    fn cell(&self, centroid: (f64, f64)) -> usize {
        let [column, row] = self.place(centroid);
        row * self.columns + column
    }

    /// The surroundings of a nucleus by its number.
    pub(super) fn of(&self, number: usize) -> Surroundings {
        let Some(&(x, y)) = self.centroids.get(number) else {
            return Surroundings { nearest_px: None, nearby: None };
        };
        let mut nearest: Option<f64> = None;
        let mut nearby = 0;
        // Rings of cells around the own one. A nucleus in the ring r is at least r − 1 cells away
        // from any place in the own cell.
        for ring in 0..self.columns.max(self.rows) {
            let least_px = (ring as f64 - 1.0).max(0.0) * self.cell_px;
            let is_beyond = self.radius_px.is_none_or(|radius| least_px > radius);
            if ring > 0 && is_beyond && nearest.is_some_and(|nearest| nearest <= least_px) {
                break;
            }
            self.visit_ring([x, y], ring, &mut |other| {
                if other as usize == number {
                    return;
                }
                let (other_x, other_y) = self.centroids[other as usize];
                let distance = (x - other_x).hypot(y - other_y);
                nearest = Some(nearest.map_or(distance, |nearest| nearest.min(distance)));
                nearby += usize::from(self.radius_px.is_some_and(|radius| distance <= radius));
            });
        }
        Surroundings { nearest_px: nearest, nearby: self.radius_px.map(|_| nearby) }
    }

    /// Calls `visit` for the nuclei in the cells that are `ring` columns or rows away.
    fn visit_ring(&self, [x, y]: [f64; 2], ring: usize, visit: &mut dyn FnMut(u32)) {
        let [column, row] = self.place((x, y)).map(usize::cast_signed);
        let ring = ring.cast_signed();
        let rows = 0..self.rows.cast_signed();
        for at in (row - ring).max(0)..=(row + ring).min(rows.end - 1) {
            // Whole rows above and below, else the two ends.
            let is_edge = (at - row).abs() == ring;
            let step = if is_edge { 1 } else { (2 * ring).max(1) };
            let mut across = column - ring;
            while across <= column + ring {
                if (0..self.columns.cast_signed()).contains(&across) {
                    let cell = at.cast_unsigned() * self.columns + across.cast_unsigned();
                    let found = self.starts[cell] as usize..self.starts[cell + 1] as usize;
                    self.sorted[found].iter().for_each(|&other| visit(other));
                }
                across += step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::mix;

    #[test]
    fn neighbours_are_those_of_comparing_all_with_all() {
        for (count, side, mpp_um) in
            [(1, 10.0, Some(0.5)), (2, 3.0, None), (300, 900.0, Some(0.25)), (300, 5e5, Some(0.5))]
        {
            let place = |seed: u64| mix(seed) as f64 / u64::MAX as f64 * side;
            let mut all: Vec<_> =
                (0..count).map(|i| (place(2 * i) - 40.0, place(2 * i + 1))).collect();
            // Two at one place, and one far away.
            if count > 2 {
                all.push(all[0]);
                all.push((side * 3.0, side * 2.0));
            }
            let neighbours = Neighbours::new(all.clone(), mpp_um);
            for (number, &(x, y)) in all.iter().enumerate() {
                let mut expected = Surroundings { nearest_px: None, nearby: mpp_um.map(|_| 0) };
                for (other, &(other_x, other_y)) in all.iter().enumerate() {
                    if other == number {
                        continue;
                    }
                    let distance = (x - other_x).hypot(y - other_y);
                    expected.nearest_px =
                        Some(expected.nearest_px.map_or(distance, |least| least.min(distance)));
                    if let (Some(nearby), Some(mpp_um)) = (&mut expected.nearby, mpp_um)
                        && distance <= RADIUS_UM / mpp_um
                    {
                        *nearby += 1;
                    }
                }
                assert_eq!(neighbours.of(number), expected, "{number} of {count}");
            }
        }
        let none = Neighbours::new(Vec::new(), Some(0.5)).of(0);
        assert_eq!(none, Surroundings { nearest_px: None, nearby: None });
    }
}
