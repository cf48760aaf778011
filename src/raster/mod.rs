//! Pixels: one row-major plane type for images, masks, probabilities and labels, its image files,
//! stains and drawing.
//!
//! Row 0 is the top row, column 0 the left column. A position in pixels, where it is a real number
//! ([`Point`]), counts from the upper-left corner of the image: the centre of pixel (row, column)
//! is x = column + 0.5, y = row + 0.5.

mod codec;
mod components;
mod draw;
mod grid;
mod mirror;
mod nucleus_maps;
mod orientation;
mod padding;
mod phantom;
mod polygon;
#[cfg(not(target_arch = "wasm32"))]
mod polygon_index;
mod resample;
mod result_mark;
mod stain;
mod stain_match;

pub use codec::{
    DecodeLimits, LabelDepth, encode_label_file, encode_labels_png, encode_labels_tiff,
    encode_mask_png, encode_overlay_png, encode_probability_png, encode_result_labels,
    encode_rgb_png,
};
#[cfg(not(target_arch = "wasm32"))]
pub use codec::{encode_map_tiff, encode_preview_jpeg};
pub(crate) use components::four_neighbours;
pub use components::label_components;
#[cfg(not(target_arch = "wasm32"))]
pub use draw::reduced;
pub use draw::{OUTLINE_COLOUR, Rgb, outline_mask, overlay, side_by_side};
pub use grid::PixelGrid;
pub use mirror::{mirror_index, mirrored_window};
pub use nucleus_maps::{MapLayout, NucleusMaps, ProbabilityBytes, ProbabilityMaps};
pub use orientation::Orientation;
pub use padding::Padding;
pub use phantom::{TypedPhantom, phantom, typed_phantom};
pub use polygon::{
    Point, Polygon, Ring, distance_to_segment, doubled_area, fill_polygon, fill_rings,
    grouped_rings, polygon_area, polygons_hold, rings_hold,
};
#[cfg(not(target_arch = "wasm32"))]
pub use polygon_index::PolygonIndex;
pub use resample::{Axis, ResampleWeights, resampled, resized};
#[cfg(not(target_arch = "wasm32"))]
pub use result_mark::is_segmentation_result;
pub use stain::{
    STAINS, Stain, StainFilter, eosin_weights, hematoxylin_weights, optical_density_table,
};
pub use stain_match::{
    StainLut, StainMatching, StainMode, StainRange, StainStatistics, stain_note,
};

use crate::error::{Error, Result};

/// A row-major grid of `width × height` values.
///
/// ```
/// use prunella::raster::Plane;
///
/// # fn main() -> prunella::error::Result<()> {
/// let mut labels = Plane::from_vec(3, 2, vec![0, 7, 7, 0, 0, 9])?;
/// assert_eq!((labels.width(), labels.height(), labels.get(1, 2)), (3, 2, 9));
/// labels.set(0, 0, 7);
/// assert_eq!(labels.row(0), [7, 7, 7]);
/// let (renumbered, count) = labels.renumbered();
/// assert_eq!((renumbered.data(), count), (&[1, 1, 1, 0, 0, 2][..], 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Plane<T> {
    width: usize,
    height: usize,
    data: Vec<T>,
}

/// 8-bit RGB, sRGB as files store it.
pub type RgbImage = Plane<[u8; 3]>;
/// The number of the object that each pixel belongs to; 0 is background.
pub type LabelMap = Plane<u32>;
/// True where a pixel belongs to a nucleus.
pub type Mask = Plane<bool>;
/// Probability of "nucleus", 0 to 1.
pub type ProbabilityMap = Plane<f32>;

/// Which of `own` pixels lies nearest to pixel `at` of `len`, if both rows span the same length.
#[must_use]
pub fn nearest_index(at: usize, len: usize, own: usize) -> usize {
    // In 64 bits: the product does not fit 32 for large images.
    let middle = (at as u64 * 2 + 1) * own as u64 / (len as u64 * 2);
    (middle as usize).min(own - 1)
}

impl<T: Copy> Plane<T> {
    /// A plane of one value.
    #[must_use]
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: vec![value; width * height] }
    }

    /// Wraps `data`, which holds `width × height` values row by row.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when `data` holds another number of values.
    pub fn from_vec(width: usize, height: usize, data: Vec<T>) -> Result<Self> {
        if width.checked_mul(height) != Some(data.len()) {
            return Err(Error::mismatch(format!(
                "{} values cannot fill {width}×{height} pixels",
                data.len()
            )));
        }
        Ok(Self { width, height, data })
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }
    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }
    /// All values, row by row.
    #[must_use]
    pub fn data(&self) -> &[T] {
        &self.data
    }
    /// All values, row by row, mutable.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }
    /// One value. Panics outside the plane, like a slice.
    #[must_use]
    pub fn get(&self, row: usize, column: usize) -> T {
        self.row(row)[column]
    }
    /// Replaces one value. Panics outside the plane, like a slice.
    pub fn set(&mut self, row: usize, column: usize, value: T) {
        self.row_mut(row)[column] = value;
    }
    /// The values of one row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.width..][..self.width]
    }
    /// The values of one row, mutable.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.data[row * self.width..][..self.width]
    }
    /// A plane of the same size with `f` applied to each value.
    #[must_use]
    pub fn map<U: Copy>(&self, f: impl FnMut(T) -> U) -> Plane<U> {
        let data = self.data.iter().copied().map(f).collect();
        Plane { width: self.width, height: self.height, data }
    }
    /// A copy of a rectangle, given by its upper-left pixel and its size. It must lie inside.
    #[must_use]
    pub fn crop(&self, row: usize, column: usize, width: usize, height: usize) -> Self {
        let mut data = Vec::with_capacity(width * height);
        for r in row..row + height {
            data.extend_from_slice(&self.row(r)[column..column + width]);
        }
        Self { width, height, data }
    }
    /// The same picture with other sides, each pixel the nearest one of this.
    #[must_use]
    pub fn nearest(&self, width: usize, height: usize) -> Self {
        if (self.width, self.height) == (width, height) {
            return self.clone();
        }
        let mut data = Vec::with_capacity(width * height);
        for y in 0..height {
            let row = self.row(nearest_index(y, height, self.height));
            data.extend((0..width).map(|x| row[nearest_index(x, width, self.width)]));
        }
        Self { width, height, data }
    }

    /// Whether another plane has the same width and height.
    #[must_use]
    pub fn same_size<U>(&self, other: &Plane<U>) -> bool {
        (self.width, self.height) == (other.width, other.height)
    }
}

impl LabelMap {
    /// True where there is an object.
    #[must_use]
    pub fn foreground(&self) -> Mask {
        self.map(|label| label > 0)
    }

    /// The labels of the objects, ascending.
    #[must_use]
    pub fn labels(&self) -> Vec<u32> {
        let mut labels: Vec<u32> = self.data.iter().copied().filter(|&label| label > 0).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    /// The same objects numbered 1, 2, … in the order of their old numbers, and how many there
    /// are.
    #[must_use]
    pub fn renumbered(&self) -> (Self, u32) {
        let old = self.labels();
        let renumbered = self.map(|label| match label {
            0 => 0,
            _ => old.partition_point(|&other| other <= label) as u32,
        });
        (renumbered, u32::try_from(old.len()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_refuses_the_wrong_number_of_values() {
        assert!(Plane::from_vec(2, 2, vec![0; 3]).is_err());
        assert!(Plane::from_vec(usize::MAX, 2, vec![0; 3]).is_err());
    }

    #[test]
    fn renumbering_keeps_order_and_background() {
        let labels = Plane::from_vec(4, 1, vec![9, 0, 4, 9]).expect("plane");
        let (small, count) = labels.renumbered();
        assert_eq!((small.data(), count), (&[2, 0, 1, 2][..], 2));
    }

    #[test]
    fn a_crop_takes_the_named_rectangle() {
        let plane = Plane::from_vec(3, 2, vec![0, 1, 2, 3, 4, 5]).expect("plane");
        assert_eq!(plane.crop(1, 1, 2, 1).data(), &[4, 5]);
    }

    #[test]
    fn the_nearest_pixels_span_the_same_picture() {
        let plane = Plane::from_vec(2, 2, vec![1, 2, 3, 4]).expect("plane");
        let wide = plane.nearest(4, 3);
        assert_eq!(wide.data(), &[1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]);
        assert_eq!(wide.nearest(2, 2), plane);
        assert_eq!(nearest_index(65_499, 65_500, 65_500), 65_499);
    }
}
