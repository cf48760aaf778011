//! Planes → image files in memory: PNG and TIFF. [`crate::picture`] reads them.

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma};
use tiff::encoder::colortype::Gray32;
#[cfg(not(target_arch = "wasm32"))]
use tiff::encoder::{Rational, colortype::Gray32Float};
#[cfg(not(target_arch = "wasm32"))]
use tiff::tags::ResolutionUnit;
use tiff::tags::Tag;

use super::result_mark::{DESCRIPTION, SOFTWARE, marked_png};
use super::{LabelMap, Mask, Plane, ProbabilityMap, RgbImage};
use crate::error::{Error, Result};

/// Quality of JPEGs for display, 1 to 100.
#[cfg(not(target_arch = "wasm32"))]
const PREVIEW_QUALITY: u8 = 80;

/// Limits on an image from outside.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// Largest width × height.
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    /// 200 megapixels, almost seven fields of 6000×5000: at most about 3 GB while it is decoded.
    fn default() -> Self {
        Self { max_pixels: 200_000_000 }
    }
}

fn encode_png(image: impl Into<DynamicImage>) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image
        .into()
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|e| Error::unsupported("No PNG can be made").caused_by(e))?;
    Ok(bytes.into_inner())
}

/// `samples` of one or more values a pixel as a buffer of the plane's size.
fn image_buffer<P, T>(
    plane: &Plane<T>,
    samples: Vec<P::Subpixel>,
) -> Result<ImageBuffer<P, Vec<P::Subpixel>>>
where
    P: image::Pixel,
    T: Copy,
{
    let (width, height) = size_u32(plane)?;
    ImageBuffer::from_raw(width, height, samples)
        .ok_or_else(|| Error::mismatch("The pixel count does not fit the image size"))
}

/// Width and height of a plane as the image formats store them.
fn size_u32<T: Copy>(plane: &Plane<T>) -> Result<(u32, u32)> {
    match (u32::try_from(plane.width()), u32::try_from(plane.height())) {
        (Ok(width), Ok(height)) => Ok((width, height)),
        _ => Err(Error::limit("The image is too large for a PNG")),
    }
}

/// Labels as a 16-bit grey PNG. None may be above 65 535.
fn encode_labels_16(labels: &LabelMap) -> Result<Vec<u8>> {
    let samples = labels.data().iter().map(|&label| label as u16).collect();
    encode_png(image_buffer::<Luma<u16>, _>(labels, samples)?)
}

/// 8-bit RGB PNG.
///
/// # Errors
/// [`Error::Limit`] beyond PNG's size.
pub fn encode_rgb_png(image: &RgbImage) -> Result<Vec<u8>> {
    let samples = image.data().as_flattened().to_vec();
    encode_png(image_buffer::<image::Rgb<u8>, _>(image, samples)?)
}

/// 8-bit RGB PNG of a picture that shows a segmentation result; it carries the mark of
/// [`is_segmentation_result`](super::is_segmentation_result).
///
/// # Errors
/// [`Error::Limit`] beyond PNG's size.
pub fn encode_overlay_png(image: &RgbImage) -> Result<Vec<u8>> {
    Ok(marked_png(&encode_rgb_png(image)?))
}

/// JPEG of a picture for display, 8 bits a channel.
///
/// # Errors
/// [`Error::Limit`] beyond JPEG's size.
#[cfg(not(target_arch = "wasm32"))]
pub fn encode_preview_jpeg(image: &RgbImage) -> Result<Vec<u8>> {
    let (width, height) = size_u32(image)?;
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, PREVIEW_QUALITY)
        .encode(image.data().as_flattened(), width, height, image::ExtendedColorType::Rgb8)
        .map_err(|e| Error::limit("The preview cannot be written as JPEG").caused_by(e))?;
    Ok(bytes)
}

/// 8-bit grey PNG of a segmentation result, 255 where the mask is true; marked as
/// [`encode_overlay_png`].
///
/// # Errors
/// [`Error::Limit`] beyond PNG's size.
pub fn encode_mask_png(mask: &Mask) -> Result<Vec<u8>> {
    let samples = mask.data().iter().map(|&on| if on { 255 } else { 0 }).collect();
    Ok(marked_png(&encode_png(image_buffer::<Luma<u8>, _>(mask, samples)?)?))
}

/// 16-bit grey PNG of a segmentation result: probability × 65535, rounded; marked as
/// [`encode_overlay_png`].
///
/// # Errors
/// [`Error::Limit`] beyond PNG's size.
pub fn encode_probability_png(map: &ProbabilityMap) -> Result<Vec<u8>> {
    let samples =
        map.data().iter().map(|p| (p.clamp(0.0, 1.0) * 65_535.0).round() as u16).collect();
    Ok(marked_png(&encode_png(image_buffer::<Luma<u16>, _>(map, samples)?)?))
}

/// Bits per pixel of a label file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelDepth {
    /// Labels up to 255.
    Bits8,
    /// Labels up to 65 535.
    Bits16,
}

/// Grey PNG of labels at the smallest depth that holds the largest one, and that depth.
///
/// # Errors
/// [`Error::Limit`] when a label is above 65 535.
pub fn encode_labels_png(labels: &LabelMap) -> Result<(Vec<u8>, LabelDepth)> {
    let highest = labels.data().iter().copied().max().unwrap_or(0);
    if highest > u32::from(u16::MAX) {
        return Err(Error::limit(format!("Label {highest} does not fit a 16-bit PNG")));
    }
    if highest <= 255 {
        let samples = labels.data().iter().map(|&label| label as u8).collect();
        let bytes = encode_png(image_buffer::<Luma<u8>, _>(labels, samples)?)?;
        return Ok((bytes, LabelDepth::Bits8));
    }
    Ok((encode_labels_16(labels)?, LabelDepth::Bits16))
}

/// A label map as a file for other programs: 16-bit PNG, or 32-bit TIFF where a label is above
/// 65 535. Returns its bytes and its extension.
///
/// # Errors
/// [`Error::Limit`] for a plane too large for the format.
pub fn encode_label_file(labels: &LabelMap) -> Result<(Vec<u8>, &'static str)> {
    if fits_16_bits(labels) {
        return Ok((encode_labels_16(labels)?, "png"));
    }
    Ok((encode_labels_tiff(labels)?, "tif"))
}

/// 32-bit grey TIFF of labels.
///
/// # Errors
/// [`Error::Limit`] for a plane too large for the format.
pub fn encode_labels_tiff(labels: &LabelMap) -> Result<Vec<u8>> {
    encode_labels_32(labels, &[])
}

/// [`encode_label_file`] for the nuclei that a segmentation found: the file carries the mark of
/// [`encode_overlay_png`], so that a data set never takes it for labels.
///
/// # Errors
/// Those of [`encode_label_file`].
pub fn encode_result_labels(labels: &LabelMap) -> Result<(Vec<u8>, &'static str)> {
    if fits_16_bits(labels) {
        return Ok((marked_png(&encode_labels_16(labels)?), "png"));
    }
    let mark = [(Tag::Software, SOFTWARE), (Tag::ImageDescription, DESCRIPTION)];
    Ok((encode_labels_32(labels, &mark)?, "tif"))
}

fn fits_16_bits(labels: &LabelMap) -> bool {
    labels.data().iter().all(|&label| u16::try_from(label).is_ok())
}

/// Labels as a 32-bit grey TIFF with these text tags.
fn encode_labels_32(labels: &LabelMap, tags: &[(Tag, &str)]) -> Result<Vec<u8>> {
    let (width, height) = size_u32(labels)?;
    let mut bytes = Cursor::new(Vec::new());
    let write = |bytes: &mut Cursor<Vec<u8>>| -> tiff::TiffResult<()> {
        let mut encoder = tiff::encoder::TiffEncoder::new(bytes)?;
        let mut image = encoder.new_image::<Gray32>(width, height)?;
        for (tag, text) in tags {
            image.encoder().write_tag(*tag, *text)?;
        }
        image.write_data(labels.data())
    };
    write(&mut bytes)
        .map_err(|e| Error::limit("The label map cannot be written as TIFF").caused_by(e))?;
    Ok(bytes.into_inner())
}

/// 32-bit floating-point grey TIFF of a map that a segmentation gave, uncompressed, whose pixels
/// are squares of `side_um` micrometres; it carries the mark of [`encode_overlay_png`].
///
/// # Errors
/// [`Error::Limit`] for a plane too large for the format.
#[cfg(not(target_arch = "wasm32"))]
pub fn encode_map_tiff(map: &Plane<f32>, side_um: f64) -> Result<Vec<u8>> {
    let (width, height) = size_u32(map)?;
    let mut bytes = Cursor::new(Vec::new());
    let write = |bytes: &mut Cursor<Vec<u8>>| -> tiff::TiffResult<()> {
        let mut encoder = tiff::encoder::TiffEncoder::new(bytes)?;
        let mut image = encoder.new_image::<Gray32Float>(width, height)?;
        // Pixels per centimetre, exact for sides of whole nanometres.
        let nanometres = (side_um * 1000.0).round().clamp(1.0, f64::from(u32::MAX)) as u32;
        image.resolution(ResolutionUnit::Centimeter, Rational { n: 10_000_000, d: nanometres });
        for (tag, text) in [(Tag::Software, SOFTWARE), (Tag::ImageDescription, DESCRIPTION)] {
            image.encoder().write_tag(tag, text)?;
        }
        image.write_data(map.data())
    };
    write(&mut bytes)
        .map_err(|e| Error::limit("The map cannot be written as TIFF").caused_by(e))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{read_labels, read_picture};

    #[test]
    fn rgb_images_and_labels_survive_a_png() {
        let limits = DecodeLimits::default();
        let image: RgbImage =
            Plane::from_vec(3, 2, (0..6).map(|i| [i * 40, 255 - i, i]).collect()).expect("plane");
        let read = read_picture(&encode_rgb_png(&image).expect("png"), limits).expect("image");
        assert_eq!(read.image, image);
        let labels = Plane::from_vec(2, 1, vec![0, 40_000]).expect("plane");
        let (bytes, depth) = encode_labels_png(&labels).expect("png");
        assert_eq!(
            (read_labels(&bytes, limits).expect("labels").map, depth),
            (labels, LabelDepth::Bits16)
        );
    }

    #[test]
    fn label_files_hold_any_number_of_objects() {
        let limits = DecodeLimits::default();
        for (highest, extension) in
            [(3, "png"), (65_535, "png"), (65_536, "tif"), (4_000_000_000, "tif")]
        {
            let labels = Plane::from_vec(2, 2, vec![0, 1, 2, highest]).expect("plane");
            let (bytes, name) = encode_label_file(&labels).expect("file");
            let read = read_labels(&bytes, limits).expect("labels");
            assert_eq!((read.map, name), (labels, extension));
        }
    }

    #[test]
    fn maps_are_floats_with_a_pixel_size() {
        let map = Plane::from_vec(3, 2, vec![0.0, 1.5, f32::NAN, 4e6, 7.25, 1e-3]).expect("plane");
        let bytes = encode_map_tiff(&map, 37.5).expect("TIFF");
        assert!(super::super::is_segmentation_result(Cursor::new(bytes.clone())));
        let mut decoder = tiff::decoder::Decoder::new(Cursor::new(bytes)).expect("TIFF");
        assert_eq!(decoder.get_tag_u32(Tag::ResolutionUnit).expect("unit"), 3);
        let values = match decoder.read_image().expect("values") {
            tiff::decoder::DecodingResult::F32(values) => values,
            _ => Vec::new(),
        };
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values), bits(map.data()));
    }

    #[test]
    fn results_are_marked_and_labels_are_not() {
        let is_marked = |bytes: Vec<u8>| super::super::is_segmentation_result(Cursor::new(bytes));
        for highest in [3, 70_000] {
            let labels = Plane::from_vec(2, 2, vec![0, 1, 2, highest]).expect("plane");
            let (result, extension) = encode_result_labels(&labels).expect("file");
            let (plain, same_extension) = encode_label_file(&labels).expect("file");
            assert_eq!(extension, same_extension);
            let read = read_labels(&result, DecodeLimits::default()).expect("labels");
            assert_eq!(read.map, labels);
            assert!(is_marked(result.clone()) && !is_marked(plain), "{extension}");
            for cut in 0..result.len() {
                is_marked(result[..cut].to_vec());
            }
        }
        let image = Plane::filled(3, 2, [9, 8, 7]);
        let overlay = encode_overlay_png(&image).expect("png");
        let read = read_picture(&overlay, DecodeLimits::default()).expect("image");
        assert_eq!(read.image, image);
        assert!(is_marked(overlay));
        assert!(is_marked(encode_mask_png(&Plane::filled(2, 2, true)).expect("png")));
        assert!(is_marked(encode_probability_png(&Plane::filled(2, 2, 0.5)).expect("png")));
        assert!(!is_marked(encode_rgb_png(&image).expect("png")));
    }
}
