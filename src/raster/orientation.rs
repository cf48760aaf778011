//! The eight orientations of a plane: mirrored and turned by quarters.

use super::Plane;

/// One of the eight orientations, numbered 0 (as it is) to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orientation {
    transpose: bool,
    flip_rows: bool,
    flip_columns: bool,
}

impl Orientation {
    /// The first `count` of them, at most eight.
    pub fn first(count: u8) -> impl Iterator<Item = Self> {
        let bit = |view: u8, bit: u8| view & bit != 0;
        (0..count.min(8)).map(move |v| Self {
            transpose: bit(v, 1),
            flip_rows: bit(v, 2),
            flip_columns: bit(v, 4),
        })
    }

    /// The plane seen this way.
    #[must_use]
    pub fn of<T: Copy>(self, plane: &Plane<T>) -> Plane<T> {
        let (height, width) = (plane.height(), plane.width());
        let (rows, columns) = if self.transpose { (width, height) } else { (height, width) };
        let flip = |at: usize, len: usize, flipped: bool| if flipped { len - 1 - at } else { at };
        let from = |y: usize, x: usize| {
            let (a, b) = if self.transpose { (x, y) } else { (y, x) };
            plane.get(flip(a, height, self.flip_rows), flip(b, width, self.flip_columns))
        };
        let data = (0..rows)
            .flat_map(|y| (0..columns).map(move |x| (y, x)))
            .map(|(y, x)| from(y, x))
            .collect();
        Plane { width: columns, height: rows, data }
    }

    /// The orientation that undoes this one.
    #[must_use]
    pub fn back(self) -> Self {
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
    fn the_eight_orientations_differ_and_each_is_undone() {
        let plane = Plane::from_vec(4, 3, (0..12).collect::<Vec<u32>>()).expect("plane");
        let mut seen = Vec::new();
        for orientation in Orientation::first(8) {
            let turned = orientation.of(&plane);
            assert_eq!(orientation.back().of(&turned), plane, "{orientation:?}");
            assert!(!seen.contains(&turned), "{orientation:?}");
            seen.push(turned);
        }
        assert_eq!(seen[0], plane);
        assert_eq!((seen.len(), seen[1].width(), seen[1].get(3, 0)), (8, 3, 3));
    }
}
