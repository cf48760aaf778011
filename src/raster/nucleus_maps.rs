//! What a network says of each pixel: probabilities as one plane or several.

use serde::{Deserialize, Serialize};

use super::Plane;
use crate::error::{Error, Result};

/// Which planes maps have, one after the other: the nucleus, its interior, its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MapLayout {
    /// Whether the interior of nuclei is told apart from their border.
    pub interior: bool,
    /// Types of nuclei that are told apart; 0 where there is only one.
    pub types: u8,
}

impl MapLayout {
    /// One plane: the nucleus.
    pub const NUCLEUS: Self = Self { interior: false, types: 0 };

    /// Number of planes.
    #[must_use]
    pub fn planes(self) -> usize {
        1 + usize::from(self.interior) + usize::from(self.types)
    }
}

/// Probabilities of each pixel, in planes of one size. A value of 1 (255 in bytes) is certain.
#[derive(Debug, Clone, PartialEq)]
pub struct NucleusMaps<T> {
    layout: MapLayout,
    /// As many as the layout says.
    planes: Vec<Plane<T>>,
}

/// Probabilities as engines compute them, 0 to 1.
pub type ProbabilityMaps = NucleusMaps<f32>;
/// Probabilities from which nuclei are found, 0 to 255.
pub type ProbabilityBytes = NucleusMaps<u8>;

impl<T: Copy> From<Plane<T>> for NucleusMaps<T> {
    fn from(nucleus: Plane<T>) -> Self {
        Self { layout: MapLayout::NUCLEUS, planes: vec![nucleus] }
    }
}

impl<T: Copy> NucleusMaps<T> {
    /// Planes of one value.
    #[must_use]
    pub fn filled(layout: MapLayout, width: usize, height: usize, value: T) -> Self {
        Self { layout, planes: vec![Plane::filled(width, height, value); layout.planes()] }
    }

    /// Wraps `values`, plane after plane, each row by row.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there are fewer or more.
    pub fn from_values(
        layout: MapLayout,
        width: usize,
        height: usize,
        values: &[T],
    ) -> Result<Self> {
        let pixels = width.saturating_mul(height);
        if pixels.checked_mul(layout.planes()) != Some(values.len()) {
            return Err(Error::mismatch(format!(
                "{} values cannot fill {} planes of {width}×{height} pixels",
                values.len(),
                layout.planes()
            )));
        }
        let mut planes = Vec::with_capacity(layout.planes());
        for plane in 0..layout.planes() {
            let values = values[plane * pixels..][..pixels].to_vec();
            planes.push(Plane::from_vec(width, height, values)?);
        }
        Ok(Self { layout, planes })
    }

    /// Which planes there are.
    #[must_use]
    pub fn layout(&self) -> MapLayout {
        self.layout
    }
    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.planes[0].width()
    }
    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.planes[0].height()
    }
    /// Whether a plane has the same width and height.
    #[must_use]
    pub fn same_size<U: Copy>(&self, other: &Plane<U>) -> bool {
        self.planes[0].same_size(other)
    }

    /// Probability that the pixel belongs to a nucleus of any type, its border included.
    #[must_use]
    pub fn nucleus(&self) -> &Plane<T> {
        &self.planes[0]
    }
    /// The same, by value.
    #[must_use]
    pub fn into_nucleus(mut self) -> Plane<T> {
        self.planes.swap_remove(0)
    }
    /// Probability that the pixel belongs to a nucleus and not to its border; that of the nucleus
    /// where borders are not told apart.
    #[must_use]
    pub fn interior(&self) -> &Plane<T> {
        &self.planes[usize::from(self.layout.interior)]
    }
    /// Probability of each type of nuclei; none where there is only one.
    #[must_use]
    pub fn types(&self) -> &[Plane<T>] {
        &self.planes[self.planes.len() - usize::from(self.layout.types)..]
    }
    /// All planes in their order.
    #[must_use]
    pub fn planes(&self) -> &[Plane<T>] {
        &self.planes
    }
    /// All planes in their order, mutable.
    pub fn planes_mut(&mut self) -> &mut [Plane<T>] {
        &mut self.planes
    }

    /// Sets every value to 0.
    pub fn clear(&mut self)
    where
        T: Default,
    {
        for plane in &mut self.planes {
            plane.data_mut().fill(T::default());
        }
    }

    /// Maps of the same size with `f` applied to each value.
    #[must_use]
    pub fn map<U: Copy>(&self, mut f: impl FnMut(T) -> U) -> NucleusMaps<U> {
        let planes = self.planes.iter().map(|plane| plane.map(&mut f)).collect();
        NucleusMaps { layout: self.layout, planes }
    }
    /// A copy of a rectangle, given by its upper-left pixel and its size. It must lie inside.
    #[must_use]
    pub fn crop(&self, row: usize, column: usize, width: usize, height: usize) -> Self {
        let crop = |plane: &Plane<T>| plane.crop(row, column, width, height);
        Self { layout: self.layout, planes: self.planes.iter().map(crop).collect() }
    }

    /// Replaces a rectangle by `values`, plane after plane, each row by row.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it reaches outside or there are too few or too many values.
    pub fn put(
        &mut self,
        (row, column): (usize, usize),
        (width, height): (usize, usize),
        values: &[T],
    ) -> Result<()> {
        let fits = |start: usize, len: usize, side: usize| {
            start.checked_add(len).is_some_and(|end| end <= side)
        };
        if !fits(column, width, self.width())
            || !fits(row, height, self.height())
            || values.len() != width * height * self.planes.len()
        {
            return Err(Error::mismatch("The block lies outside the image"));
        }
        if values.is_empty() {
            return Ok(());
        }
        for (plane, values) in self.planes.iter_mut().zip(values.chunks_exact(width * height)) {
            for (y, line) in values.chunks_exact(width).enumerate() {
                plane.row_mut(row + y)[column..column + width].copy_from_slice(line);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_found_by_what_they_mean() {
        let all = MapLayout { interior: true, types: 2 };
        let maps = NucleusMaps::from_values(all, 1, 1, &[9, 8, 7, 6]).expect("maps");
        assert_eq!((maps.nucleus().get(0, 0), maps.interior().get(0, 0)), (9, 8));
        assert_eq!(maps.types().iter().map(|plane| plane.get(0, 0)).collect::<Vec<_>>(), [7, 6]);
        let single = NucleusMaps::from(Plane::filled(2, 1, 5));
        assert_eq!((single.interior(), single.types().len()), (single.nucleus(), 0));
        assert!(NucleusMaps::from_values(all, 1, 1, &[9, 8, 7]).is_err());
    }

    #[test]
    fn a_block_replaces_its_rectangle_in_every_plane() {
        let layout = MapLayout { interior: true, types: 0 };
        let mut maps = NucleusMaps::filled(layout, 3, 2, 0);
        maps.put((1, 1), (2, 1), &[1, 2, 3, 4]).expect("inside");
        assert_eq!(maps.nucleus().data(), [0, 0, 0, 0, 1, 2]);
        assert_eq!(maps.interior().data(), [0, 0, 0, 0, 3, 4]);
        assert_eq!(maps.crop(1, 2, 1, 1).planes()[1].data(), [4]);
        assert!(maps.put((1, 2), (2, 1), &[1, 2, 3, 4]).is_err());
        assert!(maps.put((usize::MAX, 0), (2, 1), &[1, 2, 3, 4]).is_err());
        assert!(maps.put((0, 0), (2, 1), &[1, 2]).is_err());
        maps.put((2, 3), (0, 0), &[]).expect("nothing");
    }
}
