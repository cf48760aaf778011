//! Padding: areas without a picture, such as the black frame of a rotated or stitched field and
//! the unscanned parts of a slide that a converter filled with one colour.
//!
//! It is no tissue: it does not count in stain statistics, its blocks are background, the network
//! sees the picture mirrored into it, and no nucleus is reported there. Bright padding needs none
//! of this: it is as bright as glass.

use super::{Mask, ProbabilityMaps, RgbImage, four_neighbours, optical_density_table};

/// Largest value of a black pixel in any channel. The darkest pixel of the nine tiles that the
/// shipped models were trained on has a channel of 28; black that went through a JPEG has up to 6.
const BLACK: u8 = 16;
/// Fewest connected black pixels of padding. The training tiles have none; specks of dirt in a
/// slide have up to 13 (52 at twice its resolution).
const MIN_BLACK_PX: usize = 512;
/// Fewest connected pixels of one and the same dark colour. The training tiles have up to 122.
const MIN_UNIFORM_PX: usize = 1024;
/// Fewest pixels of padding that lies inside the picture and is no rectangle: smaller ones may be
/// nuclei in which a stretched contrast left one value. A nucleus of 10 µm at 0.1 µm a pixel has
/// 7854 pixels.
const MIN_INNER_PX: usize = 8192;
/// Share of its bounding box that a rectangle with rounded or noisy corners fills.
const RECTANGLE_FILL: f64 = 0.9;
/// A pixel is tissue by its colour when its optical densities of red, green and blue add up to more
/// than this; brighter ones are glass.
pub(super) const TISSUE_OD: f64 = 0.35;
/// Width of the rim that a JPEG changes: a block of subsampled chroma, pixels.
const RIM_PX: usize = 16;
/// Difference of a rim's values to the colour of its area, of 255.
const RIM_DIFFERENCE: u8 = 24;
/// Equal pixels side by side from which an area of one colour is followed.
const RUN_PX: usize = 8;

/// Stands for no pixel of the picture.
const NOWHERE: u32 = u32::MAX;

/// Which pixels of an image are padding. An image without any has no `Padding`.
#[derive(Debug, Clone, PartialEq)]
pub struct Padding {
    mask: Mask,
}

impl Padding {
    /// The padding of an image: connected areas (by edges) of at least 512 black pixels, or of at
    /// least 1024 pixels of exactly one dark colour with what a JPEG made of their rim. Areas that
    /// do not reach the border of the image must be rectangles or have 8192 pixels. `None` without
    /// any.
    #[must_use]
    pub fn of(image: &RgbImage) -> Option<Self> {
        let seeds = seeds(image);
        if seeds.is_empty() {
            return None;
        }
        let (width, height) = (image.width(), image.height());
        let pixels = image.data();
        let mut visited = vec![false; pixels.len()];
        let mut mask = Mask::filled(width, height, false);
        let mut found = false;
        let mut area = Vec::new();
        for seed in seeds {
            if visited[seed] {
                continue;
            }
            let colour = pixels[seed];
            let black = is_black(colour);
            let belongs = |pixel| if black { is_black(pixel) } else { pixel == colour };
            area.clear();
            area.push(seed);
            visited[seed] = true;
            // Breadth first: `area` is both the queue and the result.
            let mut next = 0;
            while let Some(&at) = area.get(next) {
                next += 1;
                for neighbour in four_neighbours(at, width, height) {
                    if !visited[neighbour] && belongs(pixels[neighbour]) {
                        visited[neighbour] = true;
                        area.push(neighbour);
                    }
                }
            }
            let least = if black { MIN_BLACK_PX } else { MIN_UNIFORM_PX };
            if area.len() >= least && has_shape_of_padding(&area, width, height) {
                found = true;
                for &at in &area {
                    mask.data_mut()[at] = true;
                }
                if !black {
                    grow(&mut mask, image, &area, colour);
                }
            }
        }
        found.then_some(Self { mask })
    }

    /// True where a pixel is padding.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The padding of a rectangle of the image.
    #[must_use]
    pub fn cropped(&self, row: usize, column: usize, width: usize, height: usize) -> Self {
        Self { mask: self.mask.crop(row, column, width, height) }
    }

    /// Whether there is nothing else.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.mask.data().contains(&false)
    }

    /// The image with the picture mirrored into its padding, at the pixel of the picture that is
    /// nearest. For a frame around a picture this is the mirrored border of the picture alone.
    ///
    /// # Panics
    /// When the image is of another size.
    #[must_use]
    pub fn filled(&self, image: &RgbImage) -> RgbImage {
        assert!(self.mask.same_size(image), "padding of another image");
        let (width, height) = (image.width(), image.height());
        let nearest = self.nearest_picture_pixels();
        let mut filled = image.clone();
        for y in 0..height {
            for x in 0..width {
                let pixel = nearest[y * width + x];
                if pixel == NOWHERE || !self.mask.get(y, x) {
                    continue;
                }
                let (row, column) = (pixel as usize / width, pixel as usize % width);
                // The reflection of (y, x) at the nearest pixel, which is not repeated.
                let (far_y, far_x) = ((2 * row).checked_sub(y), (2 * column).checked_sub(x));
                let mirrored = match (far_y, far_x) {
                    (Some(y), Some(x)) if y < height && x < width && !self.mask.get(y, x) => {
                        image.get(y, x)
                    }
                    _ => image.get(row, column),
                };
                filled.set(y, x, mirrored);
            }
        }
        filled
    }

    /// Sets the probability of nuclei in padding to 0.
    ///
    /// # Panics
    /// When the map is of another size.
    pub fn clear(&self, map: &mut ProbabilityMaps) {
        assert!(map.same_size(&self.mask), "padding of another image");
        for plane in map.planes_mut() {
            for (probability, &padding) in plane.data_mut().iter_mut().zip(self.mask.data()) {
                if padding {
                    *probability = 0.0;
                }
            }
        }
    }

    /// The index of the nearest pixel of the picture for each pixel, row by row: its own in the
    /// picture, [`NOWHERE`] where all is padding. Two passes over the image hand on what neighbours
    /// found (Danielsson 1980): exact for frames; elsewhere now and then a pixel a little farther
    /// away is found. Four bytes a pixel, since pictures have up to 200 megapixels.
    fn nearest_picture_pixels(&self) -> Vec<u32> {
        let (width, height) = (self.mask.width(), self.mask.height());
        let mut nearest = vec![NOWHERE; width * height];
        for (at, &padding) in self.mask.data().iter().enumerate() {
            if !padding {
                nearest[at] = u32::try_from(at).unwrap_or(NOWHERE);
            }
        }
        for y in 0..height {
            let row = y * width;
            for x in 0..width {
                if y > 0 {
                    for from in x.saturating_sub(1)..(x + 2).min(width) {
                        hand_on(&mut nearest, width, row - width + from, row + x);
                    }
                }
                if x > 0 {
                    hand_on(&mut nearest, width, row + x - 1, row + x);
                }
            }
            for x in (0..width.saturating_sub(1)).rev() {
                hand_on(&mut nearest, width, row + x + 1, row + x);
            }
        }
        for y in (0..height).rev() {
            let row = y * width;
            for x in (0..width).rev() {
                if y + 1 < height {
                    for from in x.saturating_sub(1)..(x + 2).min(width) {
                        hand_on(&mut nearest, width, row + width + from, row + x);
                    }
                }
                if x + 1 < width {
                    hand_on(&mut nearest, width, row + x + 1, row + x);
                }
            }
            for x in 1..width {
                hand_on(&mut nearest, width, row + x - 1, row + x);
            }
        }
        nearest
    }
}

/// Gives pixel `to` the nearest pixel of its neighbour `from` if that is nearer than its own.
fn hand_on(nearest: &mut [u32], width: usize, from: usize, to: usize) {
    let candidate = nearest[from];
    if candidate == NOWHERE || candidate == nearest[to] {
        return;
    }
    let squared_distance = |pixel: u32| {
        let pixel = pixel as usize;
        let down = (pixel / width).abs_diff(to / width) as u64;
        let across = (pixel % width).abs_diff(to % width) as u64;
        down * down + across * across
    };
    if nearest[to] == NOWHERE || squared_distance(candidate) < squared_distance(nearest[to]) {
        nearest[to] = candidate;
    }
}

/// Whether an area reaches the border of the image, is a rectangle or is larger than any nucleus.
fn has_shape_of_padding(area: &[usize], width: usize, height: usize) -> bool {
    if area.len() >= MIN_INNER_PX {
        return true;
    }
    let (mut left, mut right, mut top, mut bottom) = (width, 0, height, 0);
    for &at in area {
        let (y, x) = (at / width, at % width);
        (left, right) = (left.min(x), right.max(x));
        (top, bottom) = (top.min(y), bottom.max(y));
    }
    let reaches_border = left == 0 || top == 0 || right + 1 == width || bottom + 1 == height;
    let bounding_box = (right + 1 - left) * (bottom + 1 - top);
    reaches_border || area.len() as f64 >= RECTANGLE_FILL * bounding_box as f64
}

fn is_black(pixel: [u8; 3]) -> bool {
    pixel.iter().all(|&value| value <= BLACK)
}

/// Adds what a JPEG made of the rim of an area of one colour: pixels near to it in place and
/// colour.
fn grow(mask: &mut Mask, image: &RgbImage, area: &[usize], colour: [u8; 3]) {
    let (width, height) = (image.width(), image.height());
    let is_near = |pixel: [u8; 3]| (0..3).all(|c| pixel[c].abs_diff(colour[c]) <= RIM_DIFFERENCE);
    let mut rim = area.to_vec();
    for _ in 0..RIM_PX {
        let mut next = Vec::new();
        for at in rim {
            for neighbour in four_neighbours(at, width, height) {
                if !mask.data()[neighbour] && is_near(image.data()[neighbour]) {
                    mask.data_mut()[neighbour] = true;
                    next.push(neighbour);
                }
            }
        }
        rim = next;
    }
}

/// Pixels from which areas may spread: black ones, and the first of each run of equal dark pixels.
fn seeds(image: &RgbImage) -> Vec<usize> {
    let densities = optical_density_table();
    let mut seeds = Vec::new();
    for y in 0..image.height() {
        let row = image.row(y);
        let mut run = 0;
        for (x, &pixel) in row.iter().enumerate() {
            let at = y * image.width() + x;
            run = if x > 0 && row[x - 1] == pixel { run + 1 } else { 1 };
            if is_black(pixel) {
                // One seed a run: the rest is connected to it.
                if x == 0 || !is_black(row[x - 1]) {
                    seeds.push(at);
                }
            } else if run == RUN_PX {
                let density: f64 = pixel.iter().map(|&v| densities[usize::from(v)]).sum();
                if density > TISSUE_OD {
                    seeds.push(at);
                }
            }
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::{Plane, mirror_index, phantom};

    /// The picture in a frame of one colour.
    fn framed(picture: &RgbImage, frame: usize, colour: [u8; 3]) -> RgbImage {
        let (width, height) = (picture.width() + 2 * frame, picture.height() + 2 * frame);
        let mut image = Plane::filled(width, height, colour);
        for y in 0..picture.height() {
            image.row_mut(y + frame)[frame..width - frame].copy_from_slice(picture.row(y));
        }
        image
    }

    #[test]
    fn pictures_without_padding_have_none() {
        let (picture, _) = phantom(300, 200, 5);
        assert_eq!(Padding::of(&picture), None);
        assert_eq!(
            Padding::of(&Plane::filled(100, 100, [255; 3])),
            None,
            "bright padding is glass"
        );
        // A black speck, and a line of one dark colour.
        let mut specks = picture;
        for i in 0..MIN_BLACK_PX - 1 {
            specks.set(10 + i / 32, i % 32, [3, 0, 9]);
        }
        assert_eq!(Padding::of(&specks), None);
        specks.set(9, 0, [0; 3]);
        assert!(Padding::of(&specks).is_some());
    }

    #[test]
    fn a_black_nucleus_is_no_padding_and_a_black_rectangle_is() {
        let (picture, _) = phantom(300, 200, 5);
        let with_black = |inside: &dyn Fn(usize, usize) -> bool| {
            let mut image = picture.clone();
            for y in 0..200 {
                for x in 0..300 {
                    if inside(y, x) {
                        image.set(y, x, [2, 0, 5]);
                    }
                }
            }
            Padding::of(&image)
        };
        let disc = |y: usize, x: usize, radius: f64| {
            move |row: usize, column: usize| {
                (row as f64 - y as f64).hypot(column as f64 - x as f64) < radius
            }
        };
        assert_eq!(with_black(&disc(100, 150, 25.0)), None, "a nucleus at high resolution");
        assert!(with_black(&disc(100, 150, 60.0)).is_some(), "larger than any nucleus");
        assert!(with_black(&disc(0, 0, 60.0)).is_some(), "a corner of a round field");
        assert!(with_black(&|y, x| y.abs_diff(100) < 20 && x.abs_diff(150) < 20).is_some());
    }

    #[test]
    fn the_picture_is_mirrored_into_its_frame() {
        let (picture, _) = phantom(120, 90, 5);
        for colour in [[0, 0, 0], [4, 0, 6], [90, 90, 90]] {
            let image = framed(&picture, 12, colour);
            let padding = Padding::of(&image).expect("padding");
            assert!(!padding.is_everything());
            let filled = padding.filled(&image);
            for y in 0..image.height() {
                for x in 0..image.width() {
                    let row = mirror_index(y.cast_signed() - 12, picture.height());
                    let column = mirror_index(x.cast_signed() - 12, picture.width());
                    assert_eq!(filled.get(y, x), picture.get(row, column), "{y} {x} {colour:?}");
                }
            }
            let mut map = ProbabilityMaps::from(Plane::filled(image.width(), image.height(), 0.5));
            padding.clear(&mut map);
            assert_eq!((map.nucleus().get(11, 50), map.nucleus().get(12, 50)), (0.0, 0.5));
        }
    }

    #[test]
    fn an_image_of_padding_alone_stays_as_it_is() {
        for colour in [[0; 3], [128; 3]] {
            let image = Plane::filled(60, 40, colour);
            let padding = Padding::of(&image).expect("padding");
            assert!(padding.is_everything());
            assert_eq!(padding.filled(&image), image);
        }
    }
}
