//! Image files in memory ↔ planes: reads PNG, JPEG and TIFF, writes PNG and TIFF. Sizes are checked
//! before memory is allocated.

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, ImageReader, Luma};
use tiff::encoder::colortype::Gray32;
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

/// Samples as the file stores them: row by row, the channels of a pixel side by side.
struct Samples {
    width: usize,
    height: usize,
    channels: usize,
    values: Values,
}

enum Values {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
}

/// Decodes a PNG, JPEG or TIFF to 8-bit RGB: grey is repeated in all channels, 16 bits are scaled
/// to 8, transparent pixels are blended with white.
///
/// ```
/// use prunella::raster::{DecodeLimits, Plane, decode_image, encode_rgb_png};
///
/// # fn main() -> prunella::error::Result<()> {
/// let bytes = encode_rgb_png(&Plane::filled(20, 10, [230, 180, 210]))?;
/// let image = decode_image(&bytes, DecodeLimits::default())?;
/// assert_eq!((image.width(), image.height()), (20, 10));
/// assert_eq!(image.get(0, 0), [230, 180, 210]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Malformed`] for a broken file, [`Error::Unsupported`] for another format or pixel type,
/// [`Error::Limit`] for too many pixels.
pub fn decode_image(bytes: &[u8], limits: DecodeLimits) -> Result<RgbImage> {
    let samples = decode(bytes, limits)?;
    let values = match samples.values {
        Values::U8(v) => v,
        Values::U16(v) => v.into_iter().map(sixteen_to_eight_bits).collect(),
        Values::U32(_) => {
            return Err(Error::unsupported(
                "The image has 32-bit samples; convert it to 8 or 16 bits a channel",
            ));
        }
    };
    let mut pixels: Vec<[u8; 3]> = Vec::with_capacity(samples.width * samples.height);
    for pixel in values.chunks_exact(samples.channels) {
        pixels.push(match *pixel {
            [grey] => [grey; 3],
            [grey, alpha] => [on_white(grey, alpha); 3],
            [red, green, blue] => [red, green, blue],
            [red, green, blue, alpha] => [red, green, blue].map(|v| on_white(v, alpha)),
            _ => {
                return Err(Error::unsupported(format!(
                    "The image has {} channels; it needs 1 to 4",
                    samples.channels
                )));
            }
        });
    }
    Plane::from_vec(samples.width, samples.height, pixels)
}

/// value · 255 / 65 535, rounded.
fn sixteen_to_eight_bits(value: u16) -> u8 {
    ((u32::from(value) * 255 + 32_767) / 65_535) as u8
}

/// A value blended with white by its opacity, rounded.
fn on_white(value: u8, alpha: u8) -> u8 {
    let alpha = u32::from(alpha);
    ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Decodes a label map or mask of 8, 16 or 32 bits (PNG or TIFF). RGB files count when all channels
/// are equal.
///
/// # Errors
/// As [`decode_image`]; also when the file is a colour picture and so no label map.
pub fn decode_labels(bytes: &[u8], limits: DecodeLimits) -> Result<LabelMap> {
    if bytes.starts_with(&[0xFF, 0xD8]) {
        return Err(Error::unsupported(
            "JPEG changes pixel values, so it cannot hold labels; use PNG or TIFF",
        ));
    }
    let samples = decode(bytes, limits)?;
    let values: Vec<u32> = match samples.values {
        Values::U8(v) => v.into_iter().map(u32::from).collect(),
        Values::U16(v) => v.into_iter().map(u32::from).collect(),
        Values::U32(v) => v,
    };
    // Channels of colour; an alpha channel behind them is ignored.
    let colours = if samples.channels >= 3 { 3 } else { 1 };
    let mut labels = Vec::with_capacity(samples.width * samples.height);
    for pixel in values.chunks_exact(samples.channels) {
        let label = pixel[0];
        if pixel[..colours].iter().any(|&v| v != label) {
            return Err(Error::unsupported("The file is a colour picture, not a label map"));
        }
        labels.push(label);
    }
    Plane::from_vec(samples.width, samples.height, labels)
}

fn decode(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    let samples = match bytes {
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => decode_tiff(bytes, limits)?,
        [0x89, b'P', b'N', b'G', ..] => decode_with_image(bytes, ImageFormat::Png, limits)?,
        [0xFF, 0xD8, ..] => {
            // The decoder fills missing data with grey, so a file that is cut short is recognised
            // by its missing end marker (FF D9). Only one after the last start of scan (FF DA)
            // counts: a thumbnail in the header has an end marker of its own.
            let scan = bytes.windows(2).rposition(|marker| marker == [0xFF, 0xDA]).unwrap_or(0);
            if !bytes[scan..].windows(2).any(|marker| marker == [0xFF, 0xD9]) {
                return Err(Error::malformed("The JPEG is cut short"));
            }
            decode_with_image(bytes, ImageFormat::Jpeg, limits)?
        }
        [] => return Err(Error::malformed("The file is empty")),
        _ => return Err(Error::unsupported("The file is not a PNG, JPEG or TIFF image")),
    };
    if samples.width == 0 || samples.height == 0 {
        return Err(Error::malformed("The image has no pixels"));
    }
    Ok(samples)
}

fn check_size(width: u32, height: u32, limits: DecodeLimits) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(Error::limit(format!(
            "The image says it has {width}×{height} pixels; the limit is {} million. Cut it into \
             parts",
            limits.max_pixels / 1_000_000
        )));
    }
    Ok(())
}

fn decode_with_image(bytes: &[u8], format: ImageFormat, limits: DecodeLimits) -> Result<Samples> {
    let (width, height) = ImageReader::with_format(Cursor::new(bytes), format)
        .into_dimensions()
        .map_err(image_error)?;
    check_size(width, height, limits)?;
    // The size in the header is checked above; this bounds the decoder's own buffers: 8 bytes are
    // the largest pixel (RGBA of 16 bits).
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut memory = image::Limits::default();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(8).saturating_add(1 << 20));
    reader.limits(memory);
    let (channels, values) = match reader.decode().map_err(image_error)? {
        DynamicImage::ImageLuma8(i) => (1, Values::U8(i.into_raw())),
        DynamicImage::ImageLumaA8(i) => (2, Values::U8(i.into_raw())),
        DynamicImage::ImageRgb8(i) => (3, Values::U8(i.into_raw())),
        DynamicImage::ImageRgba8(i) => (4, Values::U8(i.into_raw())),
        DynamicImage::ImageLuma16(i) => (1, Values::U16(i.into_raw())),
        DynamicImage::ImageLumaA16(i) => (2, Values::U16(i.into_raw())),
        DynamicImage::ImageRgb16(i) => (3, Values::U16(i.into_raw())),
        DynamicImage::ImageRgba16(i) => (4, Values::U16(i.into_raw())),
        other => {
            return Err(Error::unsupported(format!(
                "Pixels of type {:?} are not supported",
                other.color()
            )));
        }
    };
    Ok(Samples { width: width as usize, height: height as usize, channels, values })
}

fn image_error(error: image::ImageError) -> Error {
    Error::malformed("The image cannot be decoded").caused_by(error)
}

fn decode_tiff(bytes: &[u8], limits: DecodeLimits) -> Result<Samples> {
    use tiff::ColorType;
    use tiff::decoder::{Decoder, DecodingResult};
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(tiff_error)?;
    let (width, height) = decoder.dimensions().map_err(tiff_error)?;
    check_size(width, height, limits)?;
    let mut memory = tiff::decoder::Limits::default();
    memory.decoding_buffer_size =
        usize::try_from(limits.max_pixels.saturating_mul(8)).unwrap_or(usize::MAX);
    memory.intermediate_buffer_size = memory.decoding_buffer_size;
    let mut decoder = decoder.with_limits(memory);
    let channels = match decoder.colortype().map_err(tiff_error)? {
        ColorType::Gray(_) => 1,
        ColorType::GrayA(_) => 2,
        ColorType::RGB(_) => 3,
        ColorType::RGBA(_) => 4,
        other => {
            return Err(Error::unsupported(format!(
                "TIFF pixels of type {other:?} are not supported; convert to RGB"
            )));
        }
    };
    let values = match decoder.read_image().map_err(tiff_error)? {
        DecodingResult::U8(v) => Values::U8(v),
        DecodingResult::U16(v) => Values::U16(v),
        DecodingResult::U32(v) => Values::U32(v),
        _ => {
            return Err(Error::unsupported(
                "Signed, 64-bit and floating-point TIFF samples are not supported",
            ));
        }
    };
    let (width, height) = (width as usize, height as usize);
    let count = match &values {
        Values::U8(v) => v.len(),
        Values::U16(v) => v.len(),
        Values::U32(v) => v.len(),
    };
    if count != width * height * channels {
        return Err(Error::unsupported(
            "The TIFF packs several pixels into a byte or stores planes apart",
        ));
    }
    Ok(Samples { width, height, channels, values })
}

fn tiff_error(error: tiff::TiffError) -> Error {
    match error {
        tiff::TiffError::UnsupportedError(e) => {
            Error::unsupported("This kind of TIFF is not supported").caused_by(e)
        }
        tiff::TiffError::LimitsExceeded => {
            Error::limit("The TIFF needs more memory than the limit allows")
        }
        e => Error::malformed("The TIFF cannot be decoded").caused_by(e),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> RgbImage {
        Plane::from_vec(3, 2, (0..6).map(|i| [i * 40, 255 - i, i]).collect()).expect("plane")
    }

    #[test]
    fn rgb_images_and_labels_survive_a_png() {
        let limits = DecodeLimits::default();
        assert_eq!(
            decode_image(&encode_rgb_png(&image()).expect("png"), limits).expect("image"),
            image()
        );
        let labels = Plane::from_vec(2, 1, vec![0, 40_000]).expect("plane");
        let (bytes, depth) = encode_labels_png(&labels).expect("png");
        assert_eq!(
            (decode_labels(&bytes, limits).expect("labels"), depth),
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
            assert_eq!((decode_labels(&bytes, limits).expect("labels"), name), (labels, extension));
        }
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let whole = encode_rgb_png(&image()).expect("png");
        for cut in 0..whole.len() - 12 {
            assert!(decode_image(&whole[..cut], DecodeLimits::default()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_jpeg_is_read_and_one_cut_short_is_refused() {
        let mut bytes = Cursor::new(Vec::new());
        let grey = image::RgbImage::from_pixel(40, 30, image::Rgb([90, 120, 150]));
        DynamicImage::ImageRgb8(grey).write_to(&mut bytes, ImageFormat::Jpeg).expect("jpeg");
        let whole = bytes.into_inner();
        let read = decode_image(&whole, DecodeLimits::default()).expect("image");
        assert_eq!((read.width(), read.height()), (40, 30));
        assert!(read.get(3, 3)[0].abs_diff(90) < 6);
        for cut in 0..whole.len() - 1 {
            assert!(decode_image(&whole[..cut], DecodeLimits::default()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_false_size_in_the_header_is_refused_before_memory_is_allocated() {
        let mut bytes = encode_rgb_png(&image()).expect("png");
        // 100 000 × 100 000 pixels, and the checksum of that header.
        bytes[16..24].copy_from_slice(&[0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0]);
        bytes[29..33].copy_from_slice(&[0x27, 0x30, 0x9C, 0x9F]);
        let e = decode_image(&bytes, DecodeLimits::default()).expect_err("too large");
        assert!(matches!(e, Error::Limit { .. }), "{e}");
        let e =
            decode_image(&encode_rgb_png(&image()).expect("png"), DecodeLimits { max_pixels: 5 });
        assert!(matches!(e, Err(Error::Limit { .. })));
    }

    #[test]
    fn a_colour_image_is_no_label_map() {
        assert!(
            decode_labels(&encode_rgb_png(&image()).expect("png"), DecodeLimits::default())
                .is_err()
        );
    }

    fn tiff_of<C: tiff::encoder::colortype::ColorType>(
        compression: tiff::encoder::Compression,
        (width, height): (u32, u32),
        values: &[C::Inner],
    ) -> Vec<u8>
    where
        [C::Inner]: tiff::encoder::TiffValue,
    {
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes)
            .expect("encoder")
            .with_compression(compression);
        encoder.write_image::<C>(width, height, values).expect("tiff");
        bytes.into_inner()
    }

    #[test]
    fn tiffs_are_read_whatever_their_compression_and_depth() {
        use tiff::encoder::Compression::{Lzw, Packbits, Uncompressed};
        use tiff::encoder::colortype::{Gray8, Gray16, RGB8, RGBA8};
        let limits = DecodeLimits::default();
        for compression in [Uncompressed, Lzw, Packbits] {
            let rgb = tiff_of::<RGB8>(compression, (3, 2), image().data().as_flattened());
            assert_eq!(decode_image(&rgb, limits).expect("image"), image());
            let deep = tiff_of::<Gray16>(compression, (2, 1), &[0, 40_000]);
            assert_eq!(decode_labels(&deep, limits).expect("labels").data(), &[0, 40_000]);
            assert_eq!(decode_image(&deep, limits).expect("image").data(), &[[0; 3], [156; 3]]);
            let deeper = tiff_of::<Gray32>(compression, (2, 1), &[7, 3_000_000_000]);
            assert_eq!(decode_labels(&deeper, limits).expect("labels").data(), &[7, 3_000_000_000]);
            assert!(decode_image(&deeper, limits).is_err());
        }
        let clear = tiff_of::<RGBA8>(Uncompressed, (1, 1), &[10, 20, 30, 0]);
        assert_eq!(decode_image(&clear, limits).expect("image").data(), &[[255; 3]]);
        let grey = tiff_of::<Gray8>(Uncompressed, (1, 1), &[9]);
        for cut in 0..grey.len() {
            drop(decode_image(&grey[..cut], limits));
        }
    }

    #[test]
    fn results_are_marked_and_labels_are_not() {
        let is_marked = |bytes: Vec<u8>| super::super::is_segmentation_result(Cursor::new(bytes));
        for highest in [3, 70_000] {
            let labels = Plane::from_vec(2, 2, vec![0, 1, 2, highest]).expect("plane");
            let (result, extension) = encode_result_labels(&labels).expect("file");
            let (plain, same_extension) = encode_label_file(&labels).expect("file");
            assert_eq!(extension, same_extension);
            let limits = DecodeLimits::default();
            assert_eq!(decode_labels(&result, limits).expect("labels"), labels);
            assert!(is_marked(result.clone()) && !is_marked(plain), "{extension}");
            for cut in 0..result.len() {
                is_marked(result[..cut].to_vec());
            }
        }
        assert!(is_marked(encode_overlay_png(&image()).expect("png")));
        assert!(is_marked(encode_mask_png(&Plane::filled(2, 2, true)).expect("png")));
        assert!(is_marked(encode_probability_png(&Plane::filled(2, 2, 0.5)).expect("png")));
        assert!(!is_marked(encode_rgb_png(&image()).expect("png")));
        assert_eq!(
            decode_image(&encode_overlay_png(&image()).expect("png"), DecodeLimits::default())
                .expect("image"),
            image()
        );
    }
}
