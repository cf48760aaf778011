//! The eight orientations of a plane: the symmetries of the square, for test-time augmentation.

use super::Plane;

/// One of the eight orientations: a transposition or none, then a flip or none of each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orientation {
    transpose: bool,
    flip_rows: bool,
    flip_columns: bool,
}

impl Orientation {
    /// The first `count` orientations, at most eight; the first one changes nothing.
    pub fn first(count: u8) -> impl Iterator<Item = Self> {
        (0..count.min(8)).map(|index| Self {
            transpose: index & 1 != 0,
            flip_rows: index & 2 != 0,
            flip_columns: index & 4 != 0,
        })
    }

    /// The orientation in which a picture is shown whose file has this value of the EXIF and TIFF
    /// tag 274 (TIFF 6.0, section 8); `None` where the value has no meaning.
    #[must_use]
    pub fn from_exif(value: u8) -> Option<Self> {
        let (transpose, flip_rows, flip_columns) = match value {
            1 => (false, false, false),
            2 => (false, false, true),
            3 => (false, true, true),
            4 => (false, true, false),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => return None,
        };
        Some(Self { transpose, flip_rows, flip_columns })
    }

    /// Whether rows become columns.
    #[must_use]
    pub fn is_transposed(self) -> bool {
        self.transpose
    }

    /// The plane in this orientation: the value at (y, x) comes from (y, x), or (x, y) where it is
    /// transposed, counted from the far end of each axis that is flipped.
    #[must_use]
    pub fn apply<T: Copy>(self, plane: &Plane<T>) -> Plane<T> {
        let Plane { width, height, .. } = *plane;
        let (rows, columns) = if self.transpose { (width, height) } else { (height, width) };
        let mut data = Vec::with_capacity(rows * columns);
        for y in 0..rows {
            for x in 0..columns {
                let (mut row, mut column) = if self.transpose { (x, y) } else { (y, x) };
                if self.flip_rows {
                    row = height - 1 - row;
                }
                if self.flip_columns {
                    column = width - 1 - column;
                }
                data.push(plane.get(row, column));
            }
        }
        Plane { width: columns, height: rows, data }
    }

    /// The orientation that undoes this one. Flips undo themselves; behind a transposition they
    /// change places.
    #[must_use]
    pub fn inverse(self) -> Self {
        if !self.transpose {
            return self;
        }
        Self { transpose: true, flip_rows: self.flip_columns, flip_columns: self.flip_rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eight_orientations_differ_and_each_has_its_inverse() {
        let plane = Plane::from_vec(4, 3, (0..12).collect::<Vec<u32>>()).expect("plane");
        let mut results = Vec::new();
        for orientation in Orientation::first(8) {
            let result = orientation.apply(&plane);
            assert_eq!(orientation.inverse().apply(&result), plane, "{orientation:?}");
            assert!(!results.contains(&result), "{orientation:?}");
            results.push(result);
        }
        assert_eq!(results.len(), 8);
        assert_eq!(results[0], plane);
        assert_eq!((results[1].width(), results[1].get(3, 0)), (3, 3));
    }
}
