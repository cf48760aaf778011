//! A whole picture of a TIFF in memory: its samples as stored.

use half::f16;

use super::decode::{TileSamples, decode_samples, sample_bytes};
use super::level::{Photometric, SampleKind, SlideLevel};
use super::pictures::TiffPictures;
use super::pixel_size::PixelSize;
use super::range_cache::{RangeCache, ReadError, ReadResult};
use super::tiff::{Directory, tag};
use crate::error::{Error, Result, counted};

/// Most bytes of a decoded picture, as a multiple of the most pixels.
const MAX_BYTES_A_PIXEL: u64 = 8;
/// A decoded picture may have this many bytes for each of its compressed ones; the densest stream,
/// ZSTD of one value, has a third.
const MAX_EXPANSION: u64 = 100_000;
/// All tiles together may have this many times the bytes of the file: equal tiles share theirs.
const MAX_SHARING: u64 = 100;
/// Pictures up to this many bytes may be empty.
const FREE_BYTES: u64 = 64 << 20;
/// At least this share of the file is copied at once while its directories are read.
const LEAST_FETCHED_SHARE: usize = 16;

/// Samples row by row, those of a pixel side by side, of the type that the file stores. Samples of
/// fewer than 8 or 16 bits are widened, not scaled; of 16-bit floating point to 32.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValues {
    /// Unsigned, 1 to 8 bits.
    U8(Vec<u8>),
    /// Unsigned, 9 to 16 bits.
    U16(Vec<u16>),
    /// Unsigned.
    U32(Vec<u32>),
    /// Unsigned.
    U64(Vec<u64>),
    /// Two's complement.
    I8(Vec<i8>),
    /// Two's complement.
    I16(Vec<i16>),
    /// Two's complement.
    I32(Vec<i32>),
    /// Two's complement.
    I64(Vec<i64>),
    /// IEEE 754.
    F32(Vec<f32>),
    /// IEEE 754.
    F64(Vec<f64>),
}

/// Meaning of a sample behind those of the colour, by the TIFF tag 338 (TIFF 6.0, section 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraSample {
    /// 0: unknown.
    Unspecified,
    /// 1: opacity, with which the colours are multiplied.
    AssociatedAlpha,
    /// 2: opacity; the colours are as they are.
    UnassociatedAlpha,
}

/// The picture of a TIFF.
#[derive(Debug, Clone, PartialEq)]
pub struct TiffImage {
    /// Columns, as stored: see [`Self::orientation`].
    pub width: usize,
    /// Rows, as stored.
    pub height: usize,
    /// Samples a pixel.
    pub channels: usize,
    /// `width × height × channels` samples.
    pub values: SampleValues,
    /// Bits a sample in the file: the values are below 2^bits.
    pub bits: u8,
    /// What the first samples of a pixel are. YCbCr is converted to RGB; of
    /// [`Photometric::WhiteIsZero`] and [`Photometric::Palette`] the values are as stored.
    pub photometric: Photometric,
    /// What the samples behind the colour are, as far as the file states it.
    pub extra_samples: Vec<ExtraSample>,
    /// Red, green and blue of each value, 16 bits, with [`Photometric::Palette`].
    pub palette: Option<Vec<[u16; 3]>>,
    /// TIFF tag 274, 1 to 8: where the first row and column lie. 1 is the usual order.
    pub orientation: u8,
    /// Size of a pixel, where the file states a plausible one.
    pub pixel_size_um: Option<PixelSize>,
    /// Sentences about what is not shown or was assumed.
    pub notes: Vec<String>,
}

/// Reads the picture of a TIFF: its first image, or the one that its vendor's format names; of a
/// slide the finest level.
///
/// # Errors
/// [`Error::Malformed`] for a broken file, [`Error::Unsupported`] for a kind that is not decoded,
/// [`Error::Limit`] for more than `max_pixels` pixels.
pub fn read_tiff_image(bytes: &[u8], max_pixels: u64) -> Result<TiffImage> {
    let mut cache = RangeCache::new(bytes.len() as u64);
    let pictures = read_in_memory(bytes, &mut cache, TiffPictures::open)?;
    let TiffPictures { directory, mut levels, pixel_size_um, mut notes, .. } = pictures;
    let level = levels.swap_remove(0);
    if level.mosaic().is_some() {
        return Err(Error::unsupported(
            "The file is a Ventana BIF of overlapping tiles; it is read as a slide, not as an \
             image: use prunella slide segment",
        ));
    }
    let pixels = level.width as u64 * level.height as u64;
    if pixels > max_pixels {
        return Err(Error::limit(format!(
            "The image has {}×{} pixels; the limit is {} million. Cut it into parts",
            level.width,
            level.height,
            max_pixels / 1_000_000
        )));
    }
    let size = sample_bytes(level.bits);
    if pixels * (level.samples * size) as u64 > max_pixels.saturating_mul(MAX_BYTES_A_PIXEL) {
        return Err(Error::limit("The TIFF needs more memory than the limit allows"));
    }
    let raw = read_samples(bytes, &mut cache, &level, &mut notes)?;
    let tags = read_in_memory(bytes, &mut cache, |cache| picture_tags(cache, &directory, &level))?;
    let is_ycbcr = level.photometric == Photometric::YCbCr;
    Ok(TiffImage {
        width: level.width,
        height: level.height,
        channels: level.samples,
        values: typed(raw, level.kind, level.bits),
        bits: level.bits,
        photometric: if is_ycbcr { Photometric::Rgb } else { level.photometric },
        extra_samples: tags.extra_samples,
        palette: (level.photometric == Photometric::Palette).then_some(level.palette),
        orientation: tags.orientation,
        pixel_size_um,
        notes,
    })
}

/// Calls a sans-I/O reader until it returns a value.
fn read_in_memory<T>(
    bytes: &[u8],
    cache: &mut RangeCache,
    read: impl Fn(&RangeCache) -> ReadResult<T>,
) -> Result<T> {
    loop {
        match read(cache) {
            Ok(value) => return Ok(value),
            Err(ReadError::Fail(error)) => return Err(error),
            Err(ReadError::NeedBytes(ranges)) => {
                // Directories may lie all over the file, and each round begins anew.
                for range in ranges {
                    let start = (range.start as usize).min(bytes.len());
                    let least = start + bytes.len() / LEAST_FETCHED_SHARE;
                    let end = (range.end as usize).max(least).min(bytes.len());
                    cache.insert(range.start, &bytes[start..end.max(start)]);
                }
            }
        }
    }
}

struct PictureTags {
    extra_samples: Vec<ExtraSample>,
    orientation: u8,
}

fn picture_tags(
    bytes: &RangeCache,
    directory: &Directory,
    level: &SlideLevel,
) -> ReadResult<PictureTags> {
    let colours = match level.photometric {
        Photometric::Rgb | Photometric::YCbCr => 3,
        _ => 1,
    };
    let mut extra_samples = Vec::new();
    for i in 0..level.samples.saturating_sub(colours) {
        if i as u64 >= directory.count(tag::EXTRA_SAMPLES) {
            break;
        }
        extra_samples.push(match directory.number_at(bytes, tag::EXTRA_SAMPLES, i as u64)? {
            1 => ExtraSample::AssociatedAlpha,
            2 => ExtraSample::UnassociatedAlpha,
            _ => ExtraSample::Unspecified,
        });
    }
    let orientation = directory.number_or(bytes, tag::ORIENTATION, 1)?;
    let orientation = u8::try_from(orientation).ok().filter(|n| (1..=8).contains(n)).unwrap_or(1);
    Ok(PictureTags { extra_samples, orientation })
}

/// Decodes all tiles and puts them together: little-endian samples of the whole picture.
fn read_samples(
    bytes: &[u8],
    cache: &mut RangeCache,
    level: &SlideLevel,
    notes: &mut Vec<String>,
) -> Result<Vec<u8>> {
    let pixel_bytes = level.samples * sample_bytes(level.bits);
    let mut compressed = 0;
    for row in 0..level.tiles_down() {
        for column in 0..level.tiles_across() {
            for range in
                read_in_memory(bytes, cache, |cache| level.tile_ranges(cache, column, row))?
            {
                compressed += range.end - range.start;
            }
        }
    }
    if compressed > MAX_SHARING.saturating_mul(bytes.len() as u64) {
        return Err(Error::malformed("The tiles of the TIFF overlap in the file"));
    }
    let needed = (level.width * level.height * pixel_bytes) as u64;
    if needed > FREE_BYTES.saturating_add(compressed.saturating_mul(MAX_EXPANSION)) {
        return Err(Error::malformed(format!(
            "The TIFF states {}×{} pixels and has {compressed} bytes for them",
            level.width, level.height
        )));
    }
    // What no tile covers is white in colour and 0 elsewhere, as in label maps.
    let empty = if level.samples >= 3 { 0xFF } else { 0 };
    let mut out = vec![empty; level.width * level.height * pixel_bytes];
    let mut empty_tiles = 0;
    for row in 0..level.tiles_down() {
        for column in 0..level.tiles_across() {
            let ranges =
                read_in_memory(bytes, cache, |cache| level.tile_ranges(cache, column, row))?;
            if ranges.is_empty() {
                empty_tiles += 1;
                continue;
            }
            let mut parts = Vec::with_capacity(ranges.len());
            for range in ranges {
                // Ranges end inside the file.
                parts.push(&bytes[range.start as usize..range.end as usize]);
            }
            let tile = decode_samples(level, row, &parts)?;
            place(&tile, column * level.tile_width, row * level.tile_height, level, &mut out);
        }
    }
    if empty_tiles > 0 {
        let colour = if empty == 0 { "0" } else { "white" };
        notes.push(format!(
            "{} no bytes; the pixels there are taken for {colour}",
            counted(empty_tiles, "tile of the TIFF has", "tiles of the TIFF have")
        ));
    }
    Ok(out)
}

/// Copies the part of a tile that lies in the picture; `left` and `top` are its first pixel there.
fn place(tile: &TileSamples, left: usize, top: usize, level: &SlideLevel, out: &mut [u8]) {
    let pixel_bytes = tile.channels * tile.sample_bytes;
    let columns = tile.width.min(level.width.saturating_sub(left));
    let rows = tile.height.min(level.height.saturating_sub(top));
    for y in 0..rows {
        let source = y * tile.width * pixel_bytes;
        let target = ((top + y) * level.width + left) * pixel_bytes;
        let length = columns * pixel_bytes;
        out[target..target + length].copy_from_slice(&tile.bytes[source..source + length]);
    }
}

/// Little-endian bytes as numbers.
fn typed(bytes: Vec<u8>, kind: SampleKind, bits: u8) -> SampleValues {
    let two = || bytes.as_chunks::<2>().0.iter();
    let four = || bytes.as_chunks::<4>().0.iter();
    let eight = || bytes.as_chunks::<8>().0.iter();
    match (kind, sample_bytes(bits)) {
        (SampleKind::Unsigned, 1) => SampleValues::U8(bytes),
        (SampleKind::Unsigned, 2) => {
            SampleValues::U16(two().map(|b| u16::from_le_bytes(*b)).collect())
        }
        (SampleKind::Unsigned, 4) => {
            SampleValues::U32(four().map(|b| u32::from_le_bytes(*b)).collect())
        }
        (SampleKind::Unsigned, _) => {
            SampleValues::U64(eight().map(|b| u64::from_le_bytes(*b)).collect())
        }
        (SampleKind::Signed, 1) => {
            SampleValues::I8(bytes.iter().map(|b| b.cast_signed()).collect())
        }
        (SampleKind::Signed, 2) => {
            SampleValues::I16(two().map(|b| i16::from_le_bytes(*b)).collect())
        }
        (SampleKind::Signed, 4) => {
            SampleValues::I32(four().map(|b| i32::from_le_bytes(*b)).collect())
        }
        (SampleKind::Signed, _) => {
            SampleValues::I64(eight().map(|b| i64::from_le_bytes(*b)).collect())
        }
        (SampleKind::Float, 2) => {
            SampleValues::F32(two().map(|b| f16::from_le_bytes(*b).to_f32()).collect())
        }
        (SampleKind::Float, 4) => {
            SampleValues::F32(four().map(|b| f32::from_le_bytes(*b)).collect())
        }
        (SampleKind::Float, _) => {
            SampleValues::F64(eight().map(|b| f64::from_le_bytes(*b)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type codes of tags.
    const BYTE: u16 = 1;
    const SHORT: u16 = 3;
    const LONG: u16 = 4;

    /// A directory of a little-endian TIFF; the values of a tag are SHORT unless they do not fit.
    struct Maker {
        tags: Vec<(u16, Vec<u32>)>,
        strips: Vec<Vec<u8>>,
    }

    impl Maker {
        fn new(width: u32, height: u32, bits: &[u32], photometric: u32, strip: &[u8]) -> Self {
            let tags = vec![
                (tag::IMAGE_WIDTH, vec![width]),
                (tag::IMAGE_LENGTH, vec![height]),
                (tag::BITS_PER_SAMPLE, bits.to_vec()),
                (tag::PHOTOMETRIC_INTERPRETATION, vec![photometric]),
                (tag::SAMPLES_PER_PIXEL, vec![bits.len() as u32]),
            ];
            Self { tags, strips: vec![strip.to_vec()] }
        }

        fn with(mut self, number: u16, values: &[u32]) -> Self {
            self.tags.retain(|(other, _)| *other != number);
            self.tags.push((number, values.to_vec()));
            self
        }

        fn described(self, text: &str) -> Self {
            let text: Vec<u32> = text.bytes().map(u32::from).collect();
            self.with(tag::IMAGE_DESCRIPTION, &text)
        }

        fn bytes(&self) -> Vec<u8> {
            file(std::slice::from_ref(self))
        }

        fn read(&self) -> TiffImage {
            read_tiff_image(&self.bytes(), 1000).expect("a picture")
        }

        fn error(&self) -> String {
            read_tiff_image(&self.bytes(), 1000).expect_err("refused").to_string()
        }
    }

    /// A TIFF of several directories.
    fn file(pages: &[Maker]) -> Vec<u8> {
        let mut file = b"II\x2A\0\0\0\0\0".to_vec();
        let mut link = 4;
        for page in pages {
            let mut tags = page.tags.clone();
            let mut offsets = Vec::new();
            for strip in &page.strips {
                offsets.push(file.len() as u32);
                file.extend(strip);
            }
            tags.push((tag::STRIP_OFFSETS, offsets));
            if tags.iter().all(|(number, _)| *number != tag::STRIP_BYTE_COUNTS) {
                let counts = page.strips.iter().map(|s| s.len() as u32).collect();
                tags.push((tag::STRIP_BYTE_COUNTS, counts));
            }
            tags.sort();
            let mut entries = Vec::new();
            for (number, values) in &tags {
                let (field_type, width) = match number {
                    &tag::IMAGE_DESCRIPTION => (BYTE, 1),
                    _ if values.iter().all(|v| *v <= 65_535) => (SHORT, 2),
                    _ => (LONG, 4),
                };
                let mut content = Vec::new();
                for value in values {
                    content.extend(&value.to_le_bytes()[..width]);
                }
                if content.len() > 4 {
                    let offset = file.len() as u32;
                    file.extend(content);
                    content = offset.to_le_bytes().to_vec();
                }
                content.resize(4, 0);
                entries.extend(number.to_le_bytes());
                entries.extend(field_type.to_le_bytes());
                entries.extend((values.len() as u32).to_le_bytes());
                entries.extend(content);
            }
            let directory = file.len() as u32;
            file[link..link + 4].copy_from_slice(&directory.to_le_bytes());
            file.extend((tags.len() as u16).to_le_bytes());
            file.extend(entries);
            link = file.len();
            file.extend([0; 4]);
        }
        file
    }

    fn grey(bits: u32, strip: &[u8]) -> Maker {
        Maker::new(3, 2, &[bits], 1, strip)
    }

    fn colour(strip: &[u8]) -> Maker {
        Maker::new(2, 2, &[8, 8, 8], 2, strip)
    }

    /// One of each way to store samples.
    fn every_kind() -> Vec<Maker> {
        let mut planar = colour(&[1, 2, 3, 4]).with(tag::PLANAR_CONFIGURATION, &[2]);
        planar.strips.extend([vec![5, 6, 7, 8], vec![9, 10, 11, 12]]);
        let colours: Vec<u32> = (0..48).collect();
        vec![
            grey(8, &[1, 2, 3, 4, 5, 6]),
            grey(1, &[0b1010_0000, 0b0100_0000]),
            grey(4, &[0x12, 0x30, 0x45, 0x60]),
            grey(16, &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 1]),
            grey(8, &[5, 1, 2, 3, 4, 5, 6]).with(tag::COMPRESSION, &[32_773]),
            grey(32, &[0; 24]).with(tag::SAMPLE_FORMAT, &[3]),
            colour(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).with(tag::ORIENTATION, &[6]),
            planar,
            grey(4, &[0x12, 0x30, 0x45, 0x60])
                .with(tag::PHOTOMETRIC_INTERPRETATION, &[3])
                .with(tag::COLOR_MAP, &colours),
            // One data unit: four Y, Cb, Cr.
            colour(&[10, 20, 30, 40, 128, 128]).with(tag::PHOTOMETRIC_INTERPRETATION, &[6]),
        ]
    }

    #[test]
    fn samples_are_read_as_they_are_stored() {
        let kinds: Vec<TiffImage> = every_kind().iter().map(Maker::read).collect();
        let values: Vec<&SampleValues> = kinds.iter().map(|image| &image.values).collect();
        let bytes = |v: &[u8]| SampleValues::U8(v.to_vec());
        assert_eq!(*values[0], bytes(&[1, 2, 3, 4, 5, 6]));
        assert_eq!(*values[1], bytes(&[1, 0, 1, 0, 1, 0]));
        assert_eq!(*values[2], bytes(&[1, 2, 3, 4, 5, 6]));
        assert_eq!(kinds[2].bits, 4);
        assert_eq!(*values[3], SampleValues::U16(vec![1, 2, 3, 4, 5, 262]));
        assert_eq!(*values[4], bytes(&[1, 2, 3, 4, 5, 6]));
        assert_eq!(*values[5], SampleValues::F32(vec![0.0; 6]));
        assert_eq!(kinds[6].orientation, 6);
        assert_eq!(*values[7], bytes(&[1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12]));
        let palette = kinds[8].palette.as_deref().expect("colours");
        // Values below 256 are of 8 bits.
        assert_eq!((palette.len(), palette[1]), (16, [257, 17 * 257, 33 * 257]));
        assert_eq!(*values[9], bytes(&[10, 10, 10, 20, 20, 20, 30, 30, 30, 40, 40, 40]));
        assert_eq!(kinds[9].photometric, Photometric::Rgb);
    }

    #[test]
    fn the_bytes_of_an_uncompressed_strip_are_computed_where_their_count_is_wrong() {
        for count in [0, 9_000] {
            let image = grey(8, &[1, 2, 3, 4, 5, 6]).with(tag::STRIP_BYTE_COUNTS, &[count]).read();
            assert_eq!(image.values, SampleValues::U8(vec![1, 2, 3, 4, 5, 6]), "{count}");
        }
    }

    #[test]
    fn alpha_is_given_and_plain_files_have_no_notes() {
        let rgba = Maker::new(1, 1, &[8; 4], 2, &[1, 2, 3, 4]).with(tag::EXTRA_SAMPLES, &[2]);
        assert_eq!(rgba.read().extra_samples, [ExtraSample::UnassociatedAlpha]);
        let plain = grey(8, &[0; 6]).read();
        assert_eq!((plain.orientation, plain.pixel_size_um), (1, None));
        assert!(plain.notes.is_empty());
    }

    #[test]
    fn planes_of_red_green_and_blue_are_one_picture() {
        let xml = |channels: &str| {
            let size = "SizeC='3' SizeX='3' SizeY='2'";
            format!("<OME><Image><Pixels {size}>{channels}</Pixels></Image></OME>")
        };
        let planes = |xml: &str| {
            let first = grey(8, &[1, 2, 3, 4, 5, 6]).described(xml);
            let second = grey(8, &[10, 20, 30, 40, 50, 60]);
            let third = grey(8, &[7; 6]);
            read_tiff_image(&file(&[first, second, third]), 1000)
        };
        let image = planes(&xml("<Channel Name='R'/><Channel Name='G'/><Channel Name='B'/>"));
        let image = image.expect("a colour picture");
        let expected = [1, 10, 7, 2, 20, 7, 3, 30, 7, 4, 40, 7, 5, 50, 7, 6, 60, 7];
        assert_eq!(image.values, SampleValues::U8(expected.to_vec()));
        assert_eq!((image.photometric, image.notes.len()), (Photometric::Rgb, 0));
        let unnamed = planes(&xml("")).expect("a colour picture");
        assert!(unnamed.notes[0].contains("taken for red, green and blue"));
        let error = planes(&xml("<Channel Name='DAPI'/>")).expect_err("refused").to_string();
        assert!(error.contains("3 channels") && error.contains("DAPI"), "{error}");
        let pixels =
            "<OME><Image><Pixels SizeC='3' SizeX='2' SizeY='2'><TiffData/></Pixels></Image></OME>";
        let samples = colour(&[7; 12]).described(pixels).read();
        assert_eq!(samples.values, SampleValues::U8(vec![7; 12]), "channels that are samples");
        let broken = planes("<OME").expect("its first plane");
        assert!(broken.notes.iter().any(|n| n.contains("cannot be read")), "{:?}", broken.notes);
    }

    #[test]
    fn further_images_of_a_file_are_noted() {
        let page = || grey(8, &[0; 6]);
        let pages = read_tiff_image(&file(&[page(), page(), page()]), 1000).expect("the first");
        assert!(pages.notes[0].contains("3 pictures of this size"), "{:?}", pages.notes);
        let larger = Maker::new(9, 9, &[8], 1, &[0; 81]);
        let label = read_tiff_image(&file(&[page(), larger]), 1000).expect("the first");
        assert!(label.notes[0].contains("larger picture, of 9×9"), "{:?}", label.notes);
        let stack = page().described("ImageJ=1.53t\nimages=4\nslices=4\n").read();
        assert!(stack.notes[0].contains("stack of 4 images"), "{:?}", stack.notes);
        let error = page().described("ImageJ=1.53t\nimages=2\nchannels=2\n").error();
        assert!(error.contains("2 channels"), "{error}");
    }

    #[test]
    fn what_is_not_decoded_is_named() {
        let one = || grey(8, &[0; 6]);
        for (maker, word) in [
            (one().with(tag::COMPRESSION, &[6]), "old-style JPEG"),
            (one().with(tag::COMPRESSION, &[4]), "CCITT"),
            (one().with(tag::COMPRESSION, &[34_925]), "LZMA"),
            (one().with(tag::COMPRESSION, &[5]).with(tag::PREDICTOR, &[9]), "predictor 9"),
            (one().with(tag::PHOTOMETRIC_INTERPRETATION, &[5]), "CMYK"),
            (one().with(tag::PHOTOMETRIC_INTERPRETATION, &[8]), "L*a*b*"),
            (one().with(tag::PHOTOMETRIC_INTERPRETATION, &[32_803]), "raw file"),
            (one().with(tag::BITS_PER_SAMPLE, &[24]), "24 bits"),
            (one().with(tag::SAMPLE_FORMAT, &[6]), "complex"),
            (one().with(tag::IMAGE_WIDTH, &[2000]), "limit"),
            (one().with(tag::NDPI_FORMAT, &[1]), "no level"),
            (one().with(tag::ZEISS_LSM, &[1]), "Zeiss LSM"),
            (one().with(tag::DNG_VERSION, &[1]), "raw file of a camera"),
            (grey(8, &[0; 5]), "cut short"),
        ] {
            assert!(maker.error().contains(word), "'{}' lacks '{word}'", maker.error());
        }
    }

    #[test]
    fn broken_files_are_errors_and_never_panics() {
        for maker in every_kind() {
            let file = maker.bytes();
            for len in 0..file.len() {
                assert!(read_tiff_image(&file[..len], 1000).is_err(), "{len}");
            }
            for at in 0..file.len() {
                for value in [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF] {
                    let mut other = file.clone();
                    other[at] = value;
                    drop(read_tiff_image(&other, 1000));
                }
            }
        }
    }

    #[test]
    fn a_short_file_cannot_demand_memory() {
        let huge =
            grey(8, &[0; 6]).with(tag::IMAGE_WIDTH, &[1 << 23]).with(tag::IMAGE_LENGTH, &[100]);
        let error = read_tiff_image(&huge.bytes(), u64::MAX >> 8).expect_err("refused").to_string();
        assert!(error.contains("has 6 bytes"), "{error}");
    }
}
