//! Small files of each kind and what must be read from them.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use super::*;
use crate::error::Error;
use crate::raster::encode_rgb_png;

fn image() -> RgbImage {
    Plane::from_vec(3, 2, (0..6).map(|i| [i * 40, 255 - i, i]).collect()).expect("plane")
}

fn read(bytes: &[u8]) -> Result<Picture> {
    read_picture(bytes, DecodeLimits::default())
}

/// The file of a picture in one of the formats of `image`.
fn file_of(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).expect("file");
    bytes.into_inner()
}

fn tiff_of<C: ::tiff::encoder::colortype::ColorType>(
    compression: ::tiff::encoder::Compression,
    (width, height): (u32, u32),
    values: &[C::Inner],
) -> Vec<u8>
where
    [C::Inner]: ::tiff::encoder::TiffValue,
{
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = ::tiff::encoder::TiffEncoder::new(&mut bytes)
        .expect("encoder")
        .with_compression(compression);
    encoder.write_image::<C>(width, height, values).expect("tiff");
    bytes.into_inner()
}

#[test]
fn every_truncation_is_an_error_and_never_a_panic() {
    let whole = encode_rgb_png(&image()).expect("png");
    for cut in 0..whole.len() - 12 {
        assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let colour = image::RgbImage::from_pixel(40, 30, image::Rgb([90, 120, 150]));
    let whole = file_of(colour, ImageFormat::Jpeg);
    let picture = read(&whole).expect("image");
    assert_eq!((picture.image.width(), picture.image.height()), (40, 30));
    assert!(picture.image.get(3, 3)[0].abs_diff(90) < 6);
    for cut in 0..whole.len() - 1 {
        assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let grey = tiff_of::<::tiff::encoder::colortype::Gray8>(
        ::tiff::encoder::Compression::Uncompressed,
        (1, 1),
        &[9],
    );
    for cut in 0..grey.len() {
        drop(read(&grey[..cut]));
    }
}

#[test]
fn a_false_size_in_the_header_is_refused_before_memory_is_allocated() {
    let mut bytes = encode_rgb_png(&image()).expect("png");
    // 100 000 × 100 000 pixels, and the checksum of that header.
    bytes[16..24].copy_from_slice(&[0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0]);
    bytes[29..33].copy_from_slice(&[0x27, 0x30, 0x9C, 0x9F]);
    let e = read(&bytes).expect_err("too large");
    assert!(matches!(e, Error::Limit { .. }), "{e}");
    let small = DecodeLimits { max_pixels: 5 };
    let e = read_picture(&encode_rgb_png(&image()).expect("png"), small);
    assert!(matches!(e, Err(Error::Limit { .. })));
}

#[test]
fn tiffs_are_read_whatever_their_compression_and_depth() {
    use ::tiff::encoder::Compression::{Lzw, Packbits, Uncompressed};
    use ::tiff::encoder::colortype::{Gray16, Gray32, RGB8, RGBA8};
    let limits = DecodeLimits::default();
    let labels = |bytes: &[u8]| read_labels(bytes, limits).expect("labels").map.data().to_vec();
    for compression in [Uncompressed, Lzw, Packbits] {
        let rgb = tiff_of::<RGB8>(compression, (3, 2), image().data().as_flattened());
        assert_eq!(read(&rgb).expect("image").image, image());
        let deep = tiff_of::<Gray16>(compression, (2, 1), &[0, 40_000]);
        assert_eq!(labels(&deep), [0, 40_000]);
        assert_eq!(read(&deep).expect("image").image.data(), &[[0; 3], [156; 3]]);
        let deeper = tiff_of::<Gray32>(compression, (2, 1), &[7, 3_000_000_000]);
        assert_eq!(labels(&deeper), [7, 3_000_000_000]);
        assert!(read(&deeper).is_err());
    }
    let clear = tiff_of::<RGBA8>(Uncompressed, (2, 1), &[10, 20, 30, 0, 10, 20, 30, 255]);
    assert_eq!(read(&clear).expect("image").image.data(), &[[255; 3], [10, 20, 30]]);
}

#[test]
fn a_colour_image_is_no_label_map() {
    let png = encode_rgb_png(&image()).expect("png");
    assert!(read_labels(&png, DecodeLimits::default()).is_err());
}

#[test]
fn pictures_without_anything_to_find_are_noted() {
    let note = |colours: &[[u8; 3]]| {
        let plane = Plane::from_vec(colours.len(), 1, colours.to_vec()).expect("plane");
        read(&encode_rgb_png(&plane).expect("png")).expect("image").notes.notes.join(" ")
    };
    assert!(note(&[[0; 3], [6, 0, 2]]).contains("black"));
    assert!(note(&[[255; 3], [250, 255, 252]]).contains("white"));
    assert!(note(&[[128, 130, 120], [127, 133, 122]]).contains("one colour"));
    assert!(note(&[[15, 9, 14], [0, 0, 3]]).contains("at most 15 of 255."));
    let mut hot = vec![[12, 9, 16]; 4000];
    hot[7] = [255; 3];
    assert!(note(&hot).contains("but for single pixels"), "a pixel of the camera is saturated");
    assert_eq!(note(&[[200, 120, 190], [90, 40, 120]]), "");
}

#[test]
fn formats_of_screens_and_the_web_are_read_natively() {
    let pixels = image().data().as_flattened().to_vec();
    for format in [ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::WebP] {
        let buffer = image::RgbImage::from_raw(3, 2, pixels.clone()).expect("buffer");
        let picture = read(&file_of(DynamicImage::ImageRgb8(buffer).to_rgba8(), format));
        assert_eq!(picture.expect("image").image, image(), "{format:?}");
    }
}
