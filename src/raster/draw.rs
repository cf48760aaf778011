//! Drawing for display: outlines and overlays on tissue.

use super::{LabelMap, Mask, Plane, RgbImage};

/// An 8-bit colour.
pub type Rgb = [u8; 3];

/// Colour of the outlines of segmented nuclei, in every picture.
pub const OUTLINE_COLOUR: Rgb = [0, 255, 64];

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
            let on_edge = row == 0
                || row + 1 == h
                || column == 0
                || column + 1 == w
                || labels.get(row - 1, column) != label
                || labels.get(row + 1, column) != label
                || labels.get(row, column - 1) != label
                || labels.get(row, column + 1) != label;
            edge.set(row, column, on_edge);
        }
    }
    edge
}

/// The image with each marked pixel replaced by `colour`.
#[must_use]
pub fn overlay(image: &RgbImage, marked: &Mask, colour: Rgb) -> RgbImage {
    let mut out = image.clone();
    for (pixel, &is_marked) in out.data_mut().iter_mut().zip(marked.data()) {
        if is_marked {
            *pixel = colour;
        }
    }
    out
}

/// Images side by side on white, aligned at the top, with `gap` pixels between.
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

/// The image reduced until its longer side is at most `side_px` pixels: each pixel is the mean of
/// those it covers.
#[cfg(not(target_arch = "wasm32"))]
#[must_use]
pub fn reduced(image: &RgbImage, side_px: usize) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let longer = width.max(height);
    if longer <= side_px || side_px == 0 {
        return image.clone();
    }
    let shorter = |side: usize| (side * side_px / longer).max(1);
    let mut small = Plane::filled(shorter(width), shorter(height), [0; 3]);
    let (columns, rows) = (small.width(), small.height());
    for row in 0..rows {
        let covered_rows = row * height / rows..(row + 1) * height / rows;
        for column in 0..columns {
            let mut sum = [0u64; 3];
            let mut count = 0;
            for r in covered_rows.clone() {
                for c in column * width / columns..(column + 1) * width / columns {
                    let pixel = image.get(r, c);
                    for channel in 0..3 {
                        sum[channel] += u64::from(pixel[channel]);
                    }
                    count += 1;
                }
            }
            small.set(row, column, sum.map(|total| (total / count) as u8));
        }
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_is_the_rim_of_each_object_without_its_interior() {
        let mut labels = Plane::filled(5, 5, 0);
        for row in 1..4 {
            labels.row_mut(row)[1..4].fill(1);
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
    fn images_stand_side_by_side_with_a_white_gap() {
        let a = Plane::filled(1, 1, [0; 3]);
        assert_eq!(side_by_side(&[&a, &a], 1).data(), &[[0; 3], [255; 3], [0; 3]]);
    }

    #[test]
    fn a_reduced_image_is_the_mean_and_its_labels_lie_at_the_same_places() {
        let image =
            Plane::from_vec(4, 2, [[0; 3], [20; 3], [100; 3], [200; 3]].repeat(2)).expect("plane");
        let small = reduced(&image, 2);
        assert_eq!((small.width(), small.height()), (2, 1));
        assert_eq!(small.data(), &[[10; 3], [150; 3]]);
        assert_eq!(reduced(&image, 4), image);
        assert_eq!(reduced(&Plane::filled(1000, 1, [7; 3]), 10).data(), &[[7; 3]; 10]);
        let labels = Plane::from_vec(4, 2, vec![1, 1, 2, 2, 1, 1, 2, 2]).expect("plane");
        assert_eq!(labels.nearest(2, 1).data(), &[1, 2]);
    }
}
