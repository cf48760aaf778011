//! Nuclei per square millimetre in the squares of a grid over a slide.

use std::io::BufRead;
use std::ops::Range;

use super::region::{area, clipped};
use crate::error::{Error, Result};
use crate::instances::NucleusTable;
use crate::raster::{Plane, Polygon};
use crate::slide::SlideBounds;

/// Most squares of a grid.
const MAX_SQUARES: f64 = 2e7;
/// Squares of which less than this share is segmented have no density: one nucleus in a sliver at
/// the slide's edge would be thousands per square millimetre.
const LEAST_SHARE: f64 = 0.25;

/// A grid of squares whose origin is the slide's upper left corner; the last ones reach beyond the
/// slide.
#[derive(Debug)]
pub struct DensityGrid {
    columns: usize,
    rows: usize,
    /// Side of a square, pixels of the finest level.
    side_px: f64,
    mpp_um: f64,
    /// Segmented part of each square, square pixels, row by row.
    areas_px: Vec<f64>,
    nuclei: Vec<u32>,
}

impl DensityGrid {
    /// Squares of `side_um` micrometres over a slide whose pixels span `mpp_um`; `segmented` is the
    /// part that is segmented, as valid polygons, and everything where there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a side that is no length, [`Error::Limit`] for too many squares.
    pub fn new(
        slide: &SlideBounds,
        segmented: Option<&[Polygon]>,
        mpp_um: f64,
        side_um: f64,
    ) -> Result<Self> {
        let side_px = side_um / mpp_um;
        if !(side_px.is_finite() && side_px >= 1.0) {
            return Err(Error::invalid(format!(
                "Squares of {side_um} µm make no grid; a square is at least a pixel wide"
            )));
        }
        let [columns, rows] =
            [slide.width(), slide.height()].map(|side| (side / side_px).ceil().max(1.0));
        if columns * rows > MAX_SQUARES {
            return Err(Error::limit(format!(
                "Squares of {side_um} µm are {columns} × {rows} over the slide, too many; give \
                 larger ones"
            )));
        }
        let [columns, rows] = [columns, rows].map(|count| count as usize);
        let squares = columns * rows;
        let nuclei = vec![0; squares];
        let mut grid =
            Self { columns, rows, side_px, mpp_um, areas_px: vec![0.0; squares], nuclei };
        let SlideBounds { left, top, right, bottom } = *slide;
        let corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
        let whole = [vec![corners.map(crate::raster::Point::from).to_vec()]];
        let segmented = clipped(segmented.unwrap_or(&whole), slide);
        grid.fill_areas(&segmented, 0..columns, 0..rows);
        Ok(grid)
    }

    /// Adds what polygons cover of some of the squares: halves until they cover all, none or a
    /// single square.
    fn fill_areas(&mut self, polygons: &[Polygon], columns: Range<usize>, rows: Range<usize>) {
        let bounds = SlideBounds {
            left: columns.start as f64 * self.side_px,
            top: rows.start as f64 * self.side_px,
            right: columns.end as f64 * self.side_px,
            bottom: rows.end as f64 * self.side_px,
        };
        let inside = clipped(polygons, &bounds);
        let covered = area(&inside);
        if covered <= 0.0 {
            return;
        }
        let is_covered = covered >= bounds.width() * bounds.height() * (1.0 - 1e-12);
        if is_covered || columns.len() * rows.len() == 1 {
            let each = covered / (columns.len() * rows.len()) as f64;
            for row in rows {
                let first = row * self.columns;
                self.areas_px[first + columns.start..first + columns.end].fill(each);
            }
        } else if columns.len() > rows.len() {
            let middle = usize::midpoint(columns.start, columns.end);
            self.fill_areas(&inside, columns.start..middle, rows.clone());
            self.fill_areas(&inside, middle..columns.end, rows);
        } else {
            let middle = usize::midpoint(rows.start, rows.end);
            self.fill_areas(&inside, columns.clone(), rows.start..middle);
            self.fill_areas(&inside, columns, middle..rows.end);
        }
    }

    /// Counts the nuclei of a table by their centroids.
    ///
    /// # Errors
    /// Those of reading the table.
    pub fn add_nuclei(&mut self, nuclei: impl BufRead) -> Result<()> {
        let mut nuclei = NucleusTable::new(nuclei)?;
        while let Some(nucleus) = nuclei.next_nucleus()? {
            let (x, y) = nucleus.centroid;
            // On the last edge of the slide a nucleus lies in the last square.
            let square = |at: f64, count: usize| ((at / self.side_px) as usize).min(count - 1);
            let place = square(y, self.rows) * self.columns + square(x, self.columns);
            self.nuclei[place] += 1;
        }
        Ok(())
    }

    /// Nuclei per mm² of each square; NaN where less than a quarter of it is segmented.
    ///
    /// # Errors
    /// None in practice.
    pub fn densities(&self) -> Result<Plane<f32>> {
        let mm2_per_px = (self.mpp_um / 1000.0).powi(2);
        let least = LEAST_SHARE * self.side_px * self.side_px;
        let mut densities = Vec::with_capacity(self.nuclei.len());
        for (count, area_px) in self.nuclei.iter().zip(&self.areas_px) {
            let density = f64::from(*count) / (area_px * mm2_per_px);
            densities.push(if *area_px < least { f32::NAN } else { density as f32 });
        }
        Plane::from_vec(self.columns, self.rows, densities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Point;

    fn table(places: &[(f64, f64)]) -> String {
        let mut text = "label,id,centroid_x_px,centroid_y_px,area_px,status\n".to_owned();
        for (x, y) in places {
            text += &format!("1,u,{x},{y},9,model\n");
        }
        text
    }

    /// 1000 × 450 pixels of half a micrometre in squares of 50 µm: 10 × 5, the last row half.
    fn grid(segmented: Option<&[Polygon]>) -> Plane<f32> {
        let slide = SlideBounds::of_size(1000, 450);
        let mut grid = DensityGrid::new(&slide, segmented, 0.5, 50.0).expect("grid");
        let places = [(0.0, 0.0), (99.9, 50.0), (150.0, 50.0), (1000.0, 450.0), (950.0, 440.0)];
        grid.add_nuclei(table(&places).as_bytes()).expect("nuclei");
        grid.densities().expect("plane")
    }

    #[test]
    fn squares_begin_at_the_corner_of_the_slide() {
        let densities = grid(None);
        assert_eq!((densities.width(), densities.height()), (10, 5));
        // A square is 0.0025 mm².
        let whole = |row, column| densities.get(row, column).round() as i32;
        assert_eq!([whole(0, 0), whole(0, 1)], [800, 400]);
        assert_eq!([whole(2, 2), whole(4, 9)], [0, 1600]);
    }

    #[test]
    fn what_is_not_segmented_has_no_density() {
        let triangle = [[0.0, 0.0], [1000.0, 0.0], [0.0, 450.0]].map(Point::from).to_vec();
        let densities = grid(Some(&[vec![triangle]]));
        assert!((densities.get(0, 0) - 800.0).abs() < 0.01);
        assert!(densities.get(4, 9).is_nan());
        let hole = [[110.0, 0.0], [190.0, 0.0], [190.0, 50.0], [110.0, 50.0]].map(Point::from);
        let whole = [[0.0, 0.0], [1000.0, 0.0], [1000.0, 450.0], [0.0, 450.0]].map(Point::from);
        let densities = grid(Some(&[vec![whole.to_vec(), hole.to_vec()]]));
        // 6000 of 10 000 pixels are left.
        assert!((densities.get(0, 1) - 1.0 / 0.0015).abs() < 0.01);
    }

    #[test]
    fn absurd_grids_are_refused() {
        let slide = SlideBounds::of_size(100_000, 100_000);
        for side in [f64::NAN, 0.0, -1.0, 0.2, 0.9] {
            assert!(DensityGrid::new(&slide, None, 0.25, side).is_err(), "{side}");
        }
        assert!(DensityGrid::new(&slide, None, 0.25, 1e9).is_ok(), "one square");
    }
}
