//! Image files of other programs: the pixels as viewers show them, the pixel size that the file
//! states, and a note on whatever is unusual. Label maps too.

mod decode;
#[cfg(not(target_arch = "wasm32"))]
mod file;
mod foreign;
mod jpeg;
mod labels;
mod png;
mod samples;
mod tiff;

#[cfg(not(target_arch = "wasm32"))]
pub use file::{
    first_bytes, has_image_ending, has_picture_ending, has_slide_ending, read_picture_file,
};
pub use foreign::{foreign_format, is_dicom_slide, is_picture, is_tiff};

use decode::{label_samples, picture_samples};

use crate::error::{Result, Warnings};
use crate::raster::{DecodeLimits, LabelMap, Orientation, Plane, RgbImage};
use crate::slide::PixelSize;

/// Largest value of a picture that is black; JPEG changes black by up to 6.
const BLACK: u8 = 8;
/// Smallest value of a picture that is white.
const WHITE: u8 = 248;
/// Largest value of a picture that is too dark to hold glass or pale tissue.
const DIM: u8 = 80;
/// One pixel in this many may be brighter in a picture that is too dark: saturated ones of the
/// camera.
const BRIGHT_PIXELS: usize = 1000;
/// Largest difference between the values of a channel in a picture of one colour.
const UNIFORM: u8 = 8;
/// Pixel sizes in x and y that differ by a larger share are not used: no mean would fit either.
const MOST_UNEQUAL: f64 = 0.1;

/// A picture of tissue.
#[derive(Debug, Clone)]
pub struct Picture {
    /// As viewers show it: oriented, 8 bits a channel.
    pub image: RgbImage,
    /// Width and height of a pixel of `image`, where the file states a plausible one: 0.05 to 5 µm,
    /// the two sides within 10 %.
    pub pixel_size_um: Option<PixelSize>,
    /// What was unusual and what was done about it.
    pub notes: Warnings,
}

impl Picture {
    /// Pixels that another decoder read.
    #[must_use]
    pub fn of_image(image: RgbImage) -> Self {
        let notes = tone_notes(&image);
        Self { image, pixel_size_um: None, notes }
    }
}

/// A label map or mask from a file, as viewers show it.
#[derive(Debug, Clone)]
pub struct Labels {
    /// 0 is background.
    pub map: LabelMap,
    /// What was unusual and what was done about it.
    pub notes: Warnings,
}

/// Reads a picture of tissue: PNG, JPEG, TIFF or JPEG 2000, natively also BMP, GIF and WebP. Grey
/// is repeated in all channels, 16 bits are scaled to 8, transparent pixels are blended with white,
/// and the orientation that the file states is applied.
///
/// ```
/// use prunella::picture::read_picture;
/// use prunella::raster::{DecodeLimits, phantom, encode_rgb_png};
///
/// # fn main() -> prunella::error::Result<()> {
/// let (image, _) = phantom(60, 40, 1);
/// let picture = read_picture(&encode_rgb_png(&image)?, DecodeLimits::default())?;
/// assert_eq!(picture.image, image);
/// assert!(picture.notes.notes.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Malformed`](crate::error::Error) for a broken file, `Unsupported` for another format or
/// pixel type, `Limit` for too many pixels.
pub fn read_picture(bytes: &[u8], limits: DecodeLimits) -> Result<Picture> {
    let mut samples = picture_samples(bytes, limits)?;
    let mut notes = std::mem::take(&mut samples.notes);
    let orientation = samples.orientation;
    let pixel_size_um = used_pixel_size(samples.pixel_size_um, orientation, &mut notes);
    let image = oriented(samples.into_rgb(&mut notes)?, orientation, &mut notes);
    notes.extend(tone_notes(&image));
    Ok(Picture { image, pixel_size_um, notes })
}

/// Reads a label map or a mask: PNG, TIFF or BMP with whole non-negative numbers of any type. Of an
/// indexed picture the indices are the labels.
///
/// # Errors
/// As [`read_picture`]; also when the file is a picture and no label map.
pub fn read_labels(bytes: &[u8], limits: DecodeLimits) -> Result<Labels> {
    let mut samples = label_samples(bytes, limits)?;
    let mut notes = std::mem::take(&mut samples.notes);
    let orientation = samples.orientation;
    let map = oriented(samples.into_labels(&mut notes)?, orientation, &mut notes);
    Ok(Labels { map, notes })
}

/// A plane as viewers show it.
fn oriented<T: Copy>(
    plane: Plane<T>,
    orientation: Option<Orientation>,
    notes: &mut Warnings,
) -> Plane<T> {
    let Some(orientation) = orientation.filter(|o| Some(*o) != Orientation::from_exif(1)) else {
        return plane;
    };
    let shown = orientation.apply(&plane);
    notes.note(format!(
        "The file states that it is shown turned or mirrored, as {}×{} pixels; results lie on the \
         picture as it is shown",
        shown.width(),
        shown.height()
    ));
    shown
}

/// The stated pixel size as the picture is shown, with a note where pixels are not square; none
/// where they are so unequal that it may be an error.
fn used_pixel_size(
    stated: Option<PixelSize>,
    orientation: Option<Orientation>,
    notes: &mut Warnings,
) -> Option<PixelSize> {
    let PixelSize { x, y } = stated?;
    let transposed = orientation.is_some_and(Orientation::is_transposed);
    let size = if transposed { PixelSize { x: y, y: x } } else { PixelSize { x, y } };
    if (x - y).abs() > MOST_UNEQUAL * size.mean() {
        notes.note(format!(
            "The file states pixels of {x:.4} × {y:.4} µm, which are far from square; this is not \
             used. Resample the picture, or state one size (--mpp)"
        ));
        return None;
    }
    if let Some(note) = size.note() {
        notes.note(note);
    }
    Some(size)
}

/// Notes pictures in which there is nothing to find, or which are too dark.
fn tone_notes(image: &RgbImage) -> Warnings {
    let (mut lowest, mut highest) = ([255u8; 3], [0u8; 3]);
    let mut bright = 0;
    for pixel in image.data() {
        for channel in 0..3 {
            lowest[channel] = lowest[channel].min(pixel[channel]);
            highest[channel] = highest[channel].max(pixel[channel]);
        }
        let largest = pixel[0].max(pixel[1]).max(pixel[2]);
        bright += usize::from(largest > DIM);
    }
    let mut notes = Warnings::default();
    let largest = highest.into_iter().max().unwrap_or(0);
    let uniform = (0..3).all(|c| highest[c].saturating_sub(lowest[c]) <= UNIFORM);
    if largest <= BLACK {
        notes.note("The picture is black: there is nothing to find in it");
    } else if lowest.iter().all(|&value| value >= WHITE) {
        notes.note("The picture is white: there is nothing to find in it");
    } else if uniform && image.data().len() > 1 {
        notes.note("The picture has one colour: there is nothing to find in it");
    } else if bright <= image.data().len() / BRIGHT_PIXELS {
        let but = if bright > 0 { ", but for single pixels" } else { "" };
        notes.note(format!(
            "The picture is nearly black: its values are at most {} of 255{but}. Results are of \
             little worth; scale its values",
            if bright > 0 { DIM } else { largest }
        ));
    }
    notes
}

#[cfg(test)]
mod tests;
