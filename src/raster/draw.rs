//! Pictures for people: outlines and overlays on tissue.

use super::{LabelMap, Mask, Plane, RgbImage};

/// An 8-bit colour.
pub type Rgb = [u8; 3];

/// Colour of found nuclei's outlines on tissue, in every picture.
pub const OUTLINE: Rgb = [0, 255, 64];

/// Pixels of each object that touch a pixel of another object or background (4-neighbours), or the
/// image border.
#[must_use]
pub fn outline_mask(labels: &LabelMap) -> Mask {
    let (w, h) = (labels.width(), labels.height());
    let mut edge = Plane::filled(w, h, false);
    for row in 0..h {
        for column in 0..w {
            let label = labels.get(row, column);
            if label == 0 {
                continue;
            }
            let differs = |r: Option<usize>, c: Option<usize>| match (r, c) {
                (Some(r), Some(c)) if r < h && c < w => labels.get(r, c) != label,
                _ => true,
            };
            let on_edge = differs(row.checked_sub(1), Some(column))
                || differs(Some(row + 1), Some(column))
                || differs(Some(row), column.checked_sub(1))
                || differs(Some(row), Some(column + 1));
            edge.set(row, column, on_edge);
        }
    }
    edge
}

/// The image with each marked pixel replaced by `colour`.
#[must_use]
pub fn overlay(image: &RgbImage, marked: &Mask, colour: Rgb) -> RgbImage {
    let mut out = image.clone();
    for (pixel, &on) in out.data_mut().iter_mut().zip(marked.data()) {
        if on {
            *pixel = colour;
        }
    }
    out
}

/// Pictures of the same height in a row, `gap` white pixels between.
#[must_use]
pub fn side_by_side(images: &[&RgbImage], gap: usize) -> RgbImage {
    let height = images.iter().map(|i| i.height()).max().unwrap_or(0);
    let width =
        images.iter().map(|i| i.width()).sum::<usize>() + gap * images.len().saturating_sub(1);
    let mut out = Plane::filled(width, height, [255; 3]);
    let mut left = 0;
    for image in images {
        for row in 0..image.height() {
            out.row_mut(row)[left..left + image.width()].copy_from_slice(image.row(row));
        }
        left += image.width() + gap;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_is_the_rim_of_each_object_and_the_inside_stays_clear() {
        let mut labels = Plane::filled(5, 5, 0);
        for (r, c) in (1..4).flat_map(|r| (1..4).map(move |c| (r, c))) {
            labels.set(r, c, 1);
        }
        let edge = outline_mask(&labels);
        assert_eq!(edge.data().iter().filter(|&&e| e).count(), 8);
        assert!(!edge.get(2, 2));
    }

    #[test]
    fn an_overlay_changes_only_marked_pixels() {
        let image = Plane::filled(2, 1, [9; 3]);
        let mask = Plane::from_vec(2, 1, vec![true, false]).expect("plane");
        assert_eq!(overlay(&image, &mask, [1, 2, 3]).data(), &[[1, 2, 3], [9; 3]]);
    }

    #[test]
    fn pictures_stand_side_by_side_with_a_white_gap() {
        let a = Plane::filled(1, 1, [0; 3]);
        assert_eq!(side_by_side(&[&a, &a], 1).data(), &[[0; 3], [255; 3], [0; 3]]);
    }
}
