//! Pixels: one row-major plane type for images, masks, probabilities and labels. Rows run down,
//! columns right.

mod codec;
mod components;
mod draw;
mod mirror;
mod orientation;
mod phantom;
mod polygon;
mod stain;
mod stain_match;

pub use codec::{
    DecodeLimits, LabelDepth, decode_image, decode_labels, encode_label_file, encode_labels_png,
    encode_mask_png, encode_probability_png, encode_rgb_png,
};
pub use components::label_components;
pub use draw::{OUTLINE, Rgb, outline_mask, overlay, side_by_side};
pub use mirror::{mirror_index, mirrored_window};
pub use orientation::Orientation;
pub use phantom::phantom;
pub use polygon::{Point, fill_polygon};
pub use stain::{STAINS, hematoxylin_weights, optical_density_table};
pub use stain_match::{StainLut, StainMode, StainStatistics};

use crate::error::{Error, Result};

/// A row-major grid of `width × height` values.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane<T> {
    width: usize,
    height: usize,
    data: Vec<T>,
}

/// 8-bit RGB.
pub type RgbImage = Plane<[u8; 3]>;
/// One object number a pixel; 0 is background.
pub type LabelMap = Plane<u32>;
/// True where a pixel belongs to a cell.
pub type Mask = Plane<bool>;
/// Probability of "cell", 0 to 1.
pub type ProbabilityMap = Plane<f32>;

impl<T: Copy> Plane<T> {
    /// A plane of one value.
    #[must_use]
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: vec![value; width * height] }
    }

    /// Wraps `data`, which holds `width × height` values row by row.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the count is another.
    pub fn from_vec(width: usize, height: usize, data: Vec<T>) -> Result<Self> {
        if width.checked_mul(height) != Some(data.len()) {
            return Err(Error::mismatch(format!(
                "{} values cannot fill {width}×{height} pixels",
                data.len()
            )));
        }
        Ok(Self { width, height, data })
    }

    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }
    /// All values, row by row.
    #[must_use]
    pub fn data(&self) -> &[T] {
        &self.data
    }
    /// All values, row by row, to change.
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
    #[must_use]
    pub fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.width..][..self.width]
    }
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.data[row * self.width..][..self.width]
    }
    /// The same grid with another value in each place.
    #[must_use]
    pub fn map<U: Copy>(&self, f: impl FnMut(T) -> U) -> Plane<U> {
        Plane {
            width: self.width,
            height: self.height,
            data: self.data.iter().copied().map(f).collect(),
        }
    }
    /// A copy of a rectangle, which must lie inside.
    #[must_use]
    pub fn crop(&self, row: usize, column: usize, width: usize, height: usize) -> Self {
        let data = (row..row + height)
            .flat_map(|r| self.row(r)[column..column + width].iter().copied())
            .collect();
        Self { width, height, data }
    }
    /// Whether another plane has the same width and height.
    #[must_use]
    pub fn same_size<U>(&self, other: &Plane<U>) -> bool {
        (self.width, self.height) == (other.width, other.height)
    }
}

impl LabelMap {
    /// Where there is any object.
    #[must_use]
    pub fn foreground(&self) -> Mask {
        self.map(|label| label > 0)
    }

    /// The same objects numbered 1, 2, … in order of their old numbers, and how many there are.
    #[must_use]
    pub fn renumbered(&self) -> (Self, u32) {
        let mut ids: Vec<u32> = self.data.iter().copied().filter(|&v| v > 0).collect();
        ids.sort_unstable();
        ids.dedup();
        let number = |v: u32| ids.binary_search(&v).map_or(0, |i| i + 1);
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        (self.map(|v| if v == 0 { 0 } else { u32::try_from(number(v)).unwrap_or(u32::MAX) }), count)
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
}
