//! One image of a TIFF, such as a resolution of a slide: a grid of tiles (or of strips, which are
//! treated as tiles as wide as the image), how their pixels are stored and where their bytes lie.

use std::ops::Range;
use std::sync::Arc;

use super::dicom_frames::FrameTable;
use super::mosaic::Mosaic;
use super::objects::{ObjectCache, ObjectRequest, ObjectResult};
use super::range_cache::{RangeCache, ReadResult};
use super::restart_jpeg::RestartJpeg;
use super::tiff::{Directory, tag};
use super::zarr_level::ZarrLevel;
use crate::error::{Error, Result};

/// Longest side of a tile, pixels. Strips may be as wide as the image.
const MAX_TILE_PX: u64 = 65_536;
/// Most pixels of a tile; of a slide's strip too.
const MAX_TILE_AREA: u64 = 64 << 20;
/// Most compressed bytes of a tile.
const MAX_TILE_BYTES: u64 = 2 << 30;
/// Most decoded bytes of a tile.
const MAX_TILE_DATA: u64 = 1 << 30;
/// Most chunks of a level of a Zarr.
const MAX_CHUNKS: u64 = 1 << 24;
/// Longest side of a level, pixels.
const MAX_SIDE_PX: u64 = 1 << 24;
/// Most samples of a pixel.
const MAX_SAMPLES: u64 = 64;
/// Luma of red, green and blue (ITU-R BT.601), where the file does not state it.
const BT601_LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// Codes of black and white of Y, Cb and Cr, where the file does not state them.
const FULL_RANGE: [f32; 6] = [0.0, 255.0, 128.0, 255.0, 128.0, 255.0];

/// Compression of tiles: of a TIFF by its tag 259, or of a Zarr's chunks. The `Debug` form is part
/// of `slide info --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// 1: none (TIFF 6.0, section 3).
    None,
    /// 5: LZW (section 13).
    Lzw,
    /// 8, and 32946 of older writers: zlib streams (TIFF Supplement 2, 2002).
    Deflate,
    /// 32773: `PackBits` (section 9).
    PackBits,
    /// 50000: Zstandard (RFC 8878).
    Zstd,
    /// 50001: WebP.
    WebP,
    /// 7: JPEG with shared tables (Technical Note 2).
    Jpeg,
    /// JPEG 2000 codestreams: 33003, 33004 and 33005 (Aperio), 34712 (registered).
    Jpeg2000 {
        /// Whether the components are Y, Cb, Cr (33003) instead of red, green, blue.
        ycc: bool,
    },
    /// Run lengths of DICOM (PS3.5, annex G).
    DicomRle,
    /// Of chunks: gzip (RFC 1952).
    Gzip,
    /// Of chunks: LZ4 blocks after their length.
    Lz4,
    /// Of chunks: Blosc 1 frames.
    Blosc,
}

impl Compression {
    fn from_code(code: u64, photometric: Photometric) -> Result<Self> {
        Ok(match code {
            1 => Self::None,
            5 => Self::Lzw,
            8 | 32946 => Self::Deflate,
            7 => Self::Jpeg,
            32773 => Self::PackBits,
            33003 => Self::Jpeg2000 { ycc: true },
            33005 => Self::Jpeg2000 { ycc: false },
            33004 | 34712 => Self::Jpeg2000 { ycc: photometric == Photometric::YCbCr },
            50001 if cfg!(target_arch = "wasm32") => return Err(only_natively("WebP")),
            50000 => Self::Zstd,
            50001 => Self::WebP,
            _ => return Err(unknown_compression(code)),
        })
    }

    /// Whether the stream is an image of its own, with its own colours, and no row of samples.
    pub(super) fn is_image_format(self) -> bool {
        matches!(self, Self::Jpeg | Self::Jpeg2000 { .. } | Self::WebP)
    }
}

fn only_natively(name: &str) -> Error {
    Error::unsupported(format!(
        "The TIFF is compressed with {name}, which the page does not read; the prunella program \
         does, or convert it: vips tiffsave in.tif out.tif --compression deflate"
    ))
}

fn unknown_compression(code: u64) -> Error {
    let name = match code {
        2..=4 => "CCITT fax",
        6 => "old-style JPEG",
        32766 => "NeXT",
        32809 => "ThunderScan",
        32908 => "PixarFilm",
        32909 => "PixarLog",
        33007 => "another kind of JPEG",
        34661 => "JBIG",
        34676 | 34677 => "SGILog",
        34713 => "Nikon NEF",
        34887 => "LERC",
        34892 => "lossy JPEG of a camera raw file",
        34925 => "LZMA",
        34933 => "PNG",
        22610 | 34934 => "JPEG XR",
        50002 | 52546 => "JPEG XL",
        _ => "an unknown method",
    };
    Error::unsupported(format!(
        "The TIFF is compressed with {name} (TIFF compression {code}), which is not supported; \
         convert it: vips tiffsave in.tif out.tif --compression deflate"
    ))
}

/// Meaning of the samples, by the TIFF tag 262 (TIFF 6.0, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Photometric {
    /// 0: grey, 0 is white.
    WhiteIsZero,
    /// 1: grey, 0 is black.
    BlackIsZero,
    /// 2: red, green, blue.
    Rgb,
    /// 3: indices of colours in the file's colour map.
    Palette,
    /// 6: luma and two colour differences (section 21).
    YCbCr,
}

impl Photometric {
    fn from_code(code: u64) -> Result<Self> {
        let name = match code {
            0 => return Ok(Self::WhiteIsZero),
            1 => return Ok(Self::BlackIsZero),
            2 => return Ok(Self::Rgb),
            3 => return Ok(Self::Palette),
            6 => return Ok(Self::YCbCr),
            4 => "a transparency mask",
            5 => "CMYK, for printing",
            8..=10 => "CIE L*a*b*",
            32803 | 34892 => "the sensor data of a camera raw file",
            32844 | 32845 => "LogLuv",
            _ => "unknown",
        };
        Err(Error::unsupported(format!(
            "The colours of the TIFF are {name} (photometric interpretation {code}), which is not \
             supported; convert it to RGB"
        )))
    }
}

/// Transform before LZW, Deflate or ZSTD, by the TIFF tag 317 (TIFF 6.0, section 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    /// 1: values as they are.
    None,
    /// 2: each value minus the same component of its left neighbour, modulo its range.
    Horizontal,
    /// 3: of floating-point values: bytes of equal weight side by side, then as 2 (Adobe TIFF
    /// Technical Note 3).
    FloatingPoint,
}

impl Predictor {
    fn from_code(code: u64) -> Result<Self> {
        match code {
            1 => Ok(Self::None),
            2 => Ok(Self::Horizontal),
            3 => Ok(Self::FloatingPoint),
            _ => Err(Error::unsupported(format!("TIFF predictor {code} is not supported"))),
        }
    }
}

/// Type of the samples, by the TIFF tag 339 (TIFF 6.0, section 19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SampleKind {
    /// 1 and, undefined, 4.
    Unsigned,
    /// 2: two's complement.
    Signed,
    /// 3: IEEE 754.
    Float,
}

/// How Y, Cb and Cr are stored (TIFF 6.0, section 21).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct YCbCrCoding {
    /// Pixels that share a Cb and a Cr, in a row.
    pub across: usize,
    /// Pixels that share a Cb and a Cr, in a column.
    pub down: usize,
    /// Whether the file states these, and they are not just the default.
    pub is_stated: bool,
    /// Share of red, green and blue in the luma.
    pub luma: [f32; 3],
    /// Codes of black and white, of Y, Cb and Cr in turn.
    pub reference: [f32; 6],
}

/// What TIFF 6.0 takes for granted, but without subsampling.
impl Default for YCbCrCoding {
    fn default() -> Self {
        Self { across: 1, down: 1, is_stated: false, luma: BT601_LUMA, reference: FULL_RANGE }
    }
}

/// Where the tiles of all samples or of one sample of the pixels lie.
#[derive(Debug, Clone, PartialEq)]
struct StoredPlane {
    tiles: TileTable,
    /// JPEG tables that its tiles share; empty without them.
    jpeg_tables: Vec<u8>,
}

/// How a file lists the tiles of a plane.
#[derive(Debug, Clone, PartialEq)]
enum TileTable {
    /// In the tables of a TIFF directory, from the entry `first_tile` on. They lie in a grid, or as
    /// a mosaic.
    Directory { directory: Directory, first_tile: u64, mosaic: Option<Arc<Mosaic>> },
    /// As restart intervals of one JPEG.
    RestartIntervals(RestartJpeg),
    /// By the keys of a Zarr's chunks.
    Chunks(Arc<ZarrLevel>),
    /// As frames of a DICOM image; the plane is one of [`FrameTable::planes`].
    Frames { frames: Arc<FrameTable>, plane: u64 },
}

/// An image of DICOM frames: 8 bits a sample, grey or colour.
pub(super) struct FrameImage {
    pub width: u64,
    pub height: u64,
    /// Of a frame.
    pub tile_width: u64,
    pub tile_height: u64,
    pub compression: Compression,
    pub samples: u64,
    pub photometric: Photometric,
    /// Pixels that share a Cb and a Cr, in a row: 1 or 2.
    pub subsampled_across: usize,
}

/// A level of the pyramid.
#[derive(Debug, Clone, PartialEq)]
pub struct SlideLevel {
    /// Width of the level, pixels.
    pub width: usize,
    /// Height of the level, pixels.
    pub height: usize,
    /// Width of a tile, pixels; of a strip, the level's.
    pub tile_width: usize,
    /// Height of a tile or strip, pixels.
    pub tile_height: usize,
    /// How tiles are compressed.
    pub compression: Compression,
    /// Values a pixel: 1 is grey, 3 colour; further ones are alpha or unknown.
    pub samples: usize,
    /// Bits a value.
    pub bits: u8,
    /// What the samples mean.
    pub photometric: Photometric,
    /// [`Predictor::None`] for compressions that have no predictor.
    pub predictor: Predictor,
    pub(super) kind: SampleKind,
    pub(super) ycbcr: YCbCrCoding,
    /// Colours of [`Photometric::Palette`], red, green, blue of 16 bits; empty otherwise.
    pub(super) palette: Vec<[u16; 3]>,
    pub(super) is_big_endian: bool,
    /// Whether the least significant bit of a byte comes first (`FillOrder` 2).
    pub(super) has_reversed_bits: bool,
    /// Width of the tile grid, pixels; some writers pad a level to whole tiles.
    stored_width: usize,
    stored_height: usize,
    /// One for all samples, or one for each sample.
    planes: Vec<StoredPlane>,
    is_tiled: bool,
}

impl SlideLevel {
    /// Reads the description of a directory's image.
    ///
    /// # Errors
    /// Missing bytes; [`Error::Unsupported`] or [`Error::Limit`] for images that this reader does
    /// not decode.
    pub fn new(bytes: &RangeCache, directory: &Directory) -> ReadResult<Self> {
        let number = |tag, default| directory.number_or(bytes, tag, default);
        let width = number(tag::IMAGE_WIDTH, 0)?;
        let height = number(tag::IMAGE_LENGTH, 0)?;
        if !(1..=MAX_SIDE_PX).contains(&width) || !(1..=MAX_SIDE_PX).contains(&height) {
            return Err(Error::limit(format!(
                "A level of {width}×{height} pixels is out of range"
            ))
            .into());
        }
        let is_tiled = directory.has(tag::TILE_WIDTH);
        let (tile_width, tile_height) = if is_tiled {
            (number(tag::TILE_WIDTH, 0)?, number(tag::TILE_LENGTH, 0)?)
        } else {
            (width, number(tag::ROWS_PER_STRIP, height)?.min(height))
        };
        let samples = number(tag::SAMPLES_PER_PIXEL, 1)?;
        if !(1..=MAX_SAMPLES).contains(&samples) {
            return Err(Error::unsupported(format!(
                "A TIFF of {samples} samples a pixel is not supported"
            ))
            .into());
        }
        check_tile_size(tile_width, tile_height, samples, is_tiled)?;
        let bits = sample_bits(bytes, directory)?;
        let kind = sample_kind(bytes, directory)?;
        let default_photometric = if samples >= 3 { 2 } else { 1 };
        let photometric =
            Photometric::from_code(number(tag::PHOTOMETRIC_INTERPRETATION, default_photometric)?)?;
        let compression = Compression::from_code(number(tag::COMPRESSION, 1)?, photometric)?;
        let has_predictor =
            matches!(compression, Compression::Lzw | Compression::Deflate | Compression::Zstd);
        let predictor = if has_predictor {
            Predictor::from_code(number(tag::PREDICTOR, 1)?)?
        } else {
            Predictor::None
        };
        let is_planar = samples > 1 && number(tag::PLANAR_CONFIGURATION, 1)? == 2;
        let mut level = Self {
            width: width as usize,
            height: height as usize,
            tile_width: tile_width as usize,
            tile_height: tile_height as usize,
            compression,
            samples: samples as usize,
            bits,
            photometric,
            predictor,
            kind,
            ycbcr: if photometric == Photometric::YCbCr && !compression.is_image_format() {
                ycbcr_coding(bytes, directory)?
            } else {
                YCbCrCoding::default()
            },
            palette: palette(bytes, directory, photometric, bits)?,
            is_big_endian: directory.is_big_endian(),
            has_reversed_bits: number(tag::FILL_ORDER, 1)? == 2,
            stored_width: width as usize,
            stored_height: height as usize,
            planes: Vec::new(),
            is_tiled,
        };
        level.check_samples(is_planar)?;
        let jpeg_tables = if compression == Compression::Jpeg {
            directory.raw(bytes, tag::JPEG_TABLES)?
        } else {
            Vec::new()
        };
        let tiles = level.tiles_across() as u64 * level.tiles_down() as u64;
        let planes = if is_planar { samples } else { 1 };
        for plane in 0..planes {
            level.planes.push(StoredPlane {
                tiles: TileTable::Directory {
                    directory: directory.clone(),
                    first_tile: plane * tiles,
                    mosaic: None,
                },
                jpeg_tables: jpeg_tables.clone(),
            });
        }
        // The tile tables are checked once here and read entry by entry later: a large slide has a
        // million tiles.
        let all_tiles = tiles * planes;
        let has_byte_counts = directory.count(level.byte_counts_tag()) >= all_tiles
            || level.byte_count_is_known(directory);
        if directory.count(level.offsets_tag()) < all_tiles || !has_byte_counts {
            return Err(Error::malformed(format!(
                "The slide lists fewer than its {all_tiles} tiles"
            ))
            .into());
        }
        Ok(level)
    }

    /// A level of DICOM frames.
    ///
    /// # Errors
    /// [`Error::Limit`] for sizes out of range.
    pub(super) fn of_frames(image: &FrameImage, frames: FrameTable) -> Result<Self> {
        let FrameImage { width, height, tile_width, tile_height, samples, .. } = *image;
        if !(1..=MAX_SIDE_PX).contains(&width) || !(1..=MAX_SIDE_PX).contains(&height) {
            return Err(Error::limit(format!(
                "A level of {width}×{height} pixels is out of range"
            )));
        }
        check_tile_size(tile_width, tile_height, samples, true)?;
        let ycbcr = YCbCrCoding {
            across: image.subsampled_across,
            is_stated: true,
            ..YCbCrCoding::default()
        };
        let mut planes = Vec::new();
        let frames = Arc::new(frames);
        for plane in 0..frames.planes {
            let tiles = TileTable::Frames { frames: Arc::clone(&frames), plane };
            planes.push(StoredPlane { tiles, jpeg_tables: Vec::new() });
        }
        let level = Self {
            width: width as usize,
            height: height as usize,
            tile_width: tile_width as usize,
            tile_height: tile_height as usize,
            compression: image.compression,
            samples: samples as usize,
            bits: 8,
            photometric: image.photometric,
            predictor: Predictor::None,
            kind: SampleKind::Unsigned,
            ycbcr,
            palette: Vec::new(),
            is_big_endian: false,
            has_reversed_bits: false,
            stored_width: width as usize,
            stored_height: height as usize,
            planes,
            is_tiled: true,
        };
        level.check_slide()?;
        Ok(level)
    }

    /// Whether the bytes of a tile are fragments with headers, as DICOM encapsulates frames.
    pub(super) fn has_fragments(&self) -> bool {
        matches!(
            self.planes.first().map(|plane| &plane.tiles),
            Some(TileTable::Frames { frames, .. }) if frames.is_encapsulated()
        )
    }

    /// A picture in an array of a Zarr.
    ///
    /// # Errors
    /// [`Error::Limit`] for a picture or tiles that are too large, or too many tiles.
    pub(super) fn of_zarr(zarr: &ZarrLevel) -> Result<Self> {
        let (width, height) = zarr.size();
        if width.max(height) > MAX_SIDE_PX {
            return Err(Error::limit(format!(
                "A level of {width}×{height} pixels is out of range"
            )));
        }
        let (tile_width, tile_height) = zarr.tile_size();
        let samples = zarr.samples();
        check_tile_size(tile_width, tile_height, samples as u64, true)?;
        if width.div_ceil(tile_width) * height.div_ceil(tile_height) > MAX_CHUNKS {
            return Err(Error::limit(format!(
                "A level of {width}×{height} pixels in chunks of {tile_width}×{tile_height} is not \
                 supported; write the Zarr with larger chunks"
            )));
        }
        let tiles = TileTable::Chunks(Arc::new(zarr.clone()));
        Ok(Self {
            width: width as usize,
            height: height as usize,
            tile_width: tile_width as usize,
            tile_height: tile_height as usize,
            compression: zarr.array.compression(),
            samples,
            bits: 8,
            photometric: if samples == 3 { Photometric::Rgb } else { Photometric::BlackIsZero },
            predictor: Predictor::None,
            kind: SampleKind::Unsigned,
            ycbcr: YCbCrCoding::default(),
            palette: Vec::new(),
            is_big_endian: false,
            has_reversed_bits: false,
            stored_width: width as usize,
            stored_height: height as usize,
            planes: vec![StoredPlane { tiles, jpeg_tables: Vec::new() }],
            is_tiled: true,
        })
    }

    /// The level as one of a Zarr, if it is.
    pub(super) fn zarr(&self) -> Option<&ZarrLevel> {
        match self.planes.first().map(|plane| &plane.tiles) {
            Some(TileTable::Chunks(zarr)) => Some(zarr),
            _ => None,
        }
    }

    /// The objects of a tile of a slide that consists of objects: one, or one for each sample;
    /// `None` for those that there are not.
    ///
    /// # Errors
    /// Missing objects; a tile outside the grid; a slide in one file.
    pub fn tile_objects(
        &self,
        known: &ObjectCache,
        column: usize,
        row: usize,
    ) -> ObjectResult<Vec<Option<ObjectRequest>>> {
        self.check_tile(column, row)?;
        match self.zarr() {
            Some(zarr) => zarr.requests(known, column, row),
            None => Err(Error::mismatch("The slide is one file, not many objects").into()),
        }
    }

    fn check_tile(&self, column: usize, row: usize) -> Result<()> {
        if column < self.tiles_across() && row < self.tiles_down() {
            return Ok(());
        }
        Err(Error::mismatch(format!("The level has no tile {column}, {row}")))
    }

    /// Refuses combinations of tags that have no meaning or that this reader does not decode.
    fn check_samples(&self, is_planar: bool) -> Result<()> {
        let Self { bits, kind, compression, photometric, samples, .. } = *self;
        let is_depth_valid = match kind {
            SampleKind::Unsigned => matches!(bits, 1..=16 | 32 | 64),
            SampleKind::Signed => matches!(bits, 8 | 16 | 32 | 64),
            SampleKind::Float => matches!(bits, 16 | 32 | 64),
        };
        let is_depth_decoded = match compression {
            Compression::Jpeg | Compression::WebP => bits == 8 && kind == SampleKind::Unsigned,
            Compression::Jpeg2000 { .. } => bits <= 16 && kind == SampleKind::Unsigned,
            _ => true,
        };
        let is_predictor_valid = match self.predictor {
            Predictor::None => true,
            Predictor::Horizontal => matches!(bits, 8 | 16 | 32 | 64),
            Predictor::FloatingPoint => kind == SampleKind::Float,
        };
        if !is_depth_valid || !is_depth_decoded || !is_predictor_valid {
            return Err(Error::unsupported(format!(
                "TIFF samples of {bits} bits of this type, compressed in this way, are not \
                 supported; convert it to 8 or 16 bits a sample"
            )));
        }
        let least_samples = match photometric {
            Photometric::Rgb | Photometric::YCbCr => 3,
            _ => 1,
        };
        if samples < least_samples {
            return Err(Error::malformed(format!(
                "The TIFF states colour pixels of {samples} samples"
            )));
        }
        let is_ycbcr = photometric == Photometric::YCbCr && !compression.is_image_format();
        let is_subsampled = self.ycbcr.across * self.ycbcr.down > 1;
        if is_ycbcr && (bits != 8 || kind != SampleKind::Unsigned || samples != 3) {
            return Err(Error::unsupported(
                "YCbCr colours of other than three samples of 8 bits are not supported; convert \
                 the TIFF to RGB",
            ));
        }
        if photometric == Photometric::YCbCr && is_planar && is_subsampled {
            return Err(Error::unsupported(
                "YCbCr colours in separate planes of different size are not supported; convert the \
                 TIFF to RGB",
            ));
        }
        Ok(())
    }

    /// Refuses what a slide cannot be, though a field may: only 8-bit grey and colour are shown.
    ///
    /// # Errors
    /// [`Error::Unsupported`]; [`Error::Limit`] for strips that are too large to be read one by
    /// one.
    pub(super) fn check_slide(&self) -> Result<()> {
        let is_eight_bit = self.bits == 8 && self.kind == SampleKind::Unsigned;
        let is_palette =
            self.photometric == Photometric::Palette && self.kind == SampleKind::Unsigned;
        if !matches!(self.samples, 1 | 3 | 4) || !(is_eight_bit || is_palette && self.bits < 8) {
            return Err(Error::unsupported(format!(
                "The slide has {} samples of {} bits a pixel; only slides of 8 bits a value, grey \
                 or colour, are supported. Convert it: vips colourspace in.tif \
                 out.tif[tile,pyramid,compression=jpeg] srgb",
                self.samples, self.bits
            )));
        }
        if self.tile_width as u64 * self.tile_height as u64 > MAX_TILE_AREA {
            return Err(Error::limit(format!(
                "Slides with strips of {}×{} pixels are not supported",
                self.tile_width, self.tile_height
            )));
        }
        Ok(())
    }

    /// The same image with the pixels of `others`, of one sample each, as further samples: colours
    /// whose red, green and blue are images of their own.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the images differ in size or storage.
    pub(super) fn with_samples_of(mut self, others: Vec<Self>) -> Result<Self> {
        for other in others {
            let is_alike = other.width == self.width
                && other.height == self.height
                && other.tile_width == self.tile_width
                && other.tile_height == self.tile_height
                && other.compression == self.compression
                && other.samples == 1
                && other.bits == self.bits
                && other.kind == self.kind
                && other.predictor == self.predictor
                && other.is_tiled == self.is_tiled;
            if !is_alike || self.photometric != Photometric::BlackIsZero {
                return Err(Error::unsupported(
                    "The channels of the OME-TIFF are stored in different ways; export it as RGB",
                ));
            }
            self.planes.extend(other.planes);
        }
        self.samples = self.planes.len();
        if self.samples == 3 {
            self.photometric = Photometric::Rgb;
        }
        Ok(self)
    }

    /// Takes what lies outside `width × height` for padding.
    pub(super) fn crop(&mut self, width: usize, height: usize) {
        self.width = self.width.min(width.max(1));
        self.height = self.height.min(height.max(1));
    }

    /// Takes rectangles of restart intervals for tiles, where the level is one JPEG.
    pub(super) fn divide(&mut self, jpeg: RestartJpeg) {
        self.tile_width = jpeg.tile_width();
        self.tile_height = jpeg.tile_height();
        self.stored_width = jpeg.width();
        self.stored_height = jpeg.height();
        let tiles = TileTable::RestartIntervals(jpeg);
        self.planes = vec![StoredPlane { tiles, jpeg_tables: Vec::new() }];
    }

    /// Of a level that is one JPEG divided into tiles.
    pub(super) fn restart_jpeg(&self) -> Option<&RestartJpeg> {
        match self.planes.first().map(|plane| &plane.tiles) {
            Some(TileTable::RestartIntervals(jpeg)) => Some(jpeg),
            _ => None,
        }
    }

    /// Lays the tiles as a mosaic, whose size the level takes.
    pub(super) fn lay(&mut self, laid: Mosaic) {
        [self.width, self.height] = laid.size();
        let laid = Arc::new(laid);
        for plane in &mut self.planes {
            if let TileTable::Directory { mosaic, .. } = &mut plane.tiles {
                *mosaic = Some(Arc::clone(&laid));
            }
        }
    }

    /// Where the tiles lie, if not in a grid.
    /// Whether tiles overlap or lie apart, which readers of single pictures do not do.
    #[must_use]
    pub fn is_mosaic(&self) -> bool {
        self.mosaic().is_some()
    }

    pub(super) fn mosaic(&self) -> Option<&Mosaic> {
        match self.planes.first().map(|plane| &plane.tiles) {
            Some(TileTable::Directory { mosaic, .. }) => mosaic.as_deref(),
            _ => None,
        }
    }

    /// Takes the size that the only strip has where the directory states another one.
    pub(super) fn resize_strip(&mut self, width: usize, height: usize) {
        self.width = width;
        self.height = height;
        self.tile_width = width;
        self.tile_height = height;
        self.stored_width = width;
        self.stored_height = height;
    }

    /// Whether it is stored in tiles, as the levels of a pyramid are, and not in strips.
    #[must_use]
    pub fn is_tiled(&self) -> bool {
        self.is_tiled
    }

    /// Number of byte ranges of a tile: one, or one for each sample.
    pub(super) fn plane_count(&self) -> usize {
        self.planes.len()
    }

    pub(super) fn jpeg_tables(&self, plane: usize) -> &[u8] {
        self.planes.get(plane).map_or(&[], |p| &p.jpeg_tables)
    }

    /// Rows of the tiles of grid row `row`: the last strip of an image may be lower.
    pub(super) fn tile_rows(&self, row: usize) -> usize {
        if self.is_tiled {
            return self.tile_height;
        }
        self.tile_height.min(self.stored_height.saturating_sub(row * self.tile_height))
    }

    fn offsets_tag(&self) -> u16 {
        if self.is_tiled { tag::TILE_OFFSETS } else { tag::STRIP_OFFSETS }
    }

    fn byte_counts_tag(&self) -> u16 {
        if self.is_tiled { tag::TILE_BYTE_COUNTS } else { tag::STRIP_BYTE_COUNTS }
    }

    /// Whether a directory without byte counts is complete: old writers leave them out of files
    /// without compression.
    fn byte_count_is_known(&self, directory: &Directory) -> bool {
        self.compression == Compression::None && directory.count(self.byte_counts_tag()) == 0
    }

    /// Columns of the tile grid.
    #[must_use]
    pub fn tiles_across(&self) -> usize {
        self.stored_width.div_ceil(self.tile_width)
    }

    /// Rows of the tile grid.
    #[must_use]
    pub fn tiles_down(&self) -> usize {
        self.stored_height.div_ceil(self.tile_height)
    }

    /// Byte ranges of a tile in the file, of all samples or of each sample; none for an empty tile,
    /// which stands for background.
    ///
    /// # Errors
    /// Missing bytes; a tile outside the grid or outside the file.
    pub fn tile_ranges(
        &self,
        bytes: &RangeCache,
        column: usize,
        row: usize,
    ) -> ReadResult<Vec<Range<u64>>> {
        self.check_tile(column, row)?;
        if let Some(jpeg) = self.restart_jpeg() {
            return jpeg.tile_ranges(bytes, column, row);
        }
        // Tiles are listed row by row (TIFF 6.0, section 15).
        let index = (row * self.tiles_across() + column) as u64;
        let mut ranges = Vec::with_capacity(self.planes.len());
        for plane in &self.planes {
            ranges.push(self.plane_range(bytes, plane, index, row)?);
        }
        if ranges.iter().all(Range::is_empty) {
            ranges.clear();
        }
        Ok(ranges)
    }

    /// Bytes of the rows of a tile of one plane in grid row `row`, without compression.
    fn decoded_bytes(&self, row: usize) -> u64 {
        let samples = self.samples / self.planes.len();
        let row_bits = self.tile_width * samples * usize::from(self.bits);
        (row_bits.div_ceil(8) * self.tile_rows(row)) as u64
    }

    fn plane_range(
        &self,
        bytes: &RangeCache,
        plane: &StoredPlane,
        index: u64,
        row: usize,
    ) -> ReadResult<Range<u64>> {
        let (directory, first_tile) = match &plane.tiles {
            TileTable::Directory { directory, first_tile, .. } => (directory, first_tile),
            TileTable::Frames { frames, plane } => {
                let range = frames.range(bytes, index, *plane)?;
                check_tile_bytes(range.end - range.start)?;
                return Ok(range);
            }
            TileTable::RestartIntervals(_) | TileTable::Chunks(_) => {
                return Err(Error::mismatch("The tiles of the level lie in other places").into());
            }
        };
        let entry = first_tile + index;
        let offset = directory.number_at(bytes, self.offsets_tag(), entry)?;
        let byte_count = if self.byte_count_is_known(directory) {
            self.decoded_bytes(row)
        } else {
            let stated = directory.number_at(bytes, self.byte_counts_tag(), entry)?;
            let is_plain = self.compression == Compression::None
                && self.photometric != Photometric::YCbCr
                && !self.is_tiled;
            if is_plain && offset > 0 && (stated == 0 || stated > self.decoded_bytes(row)) {
                // Writers state 0, or count rows of the last strip that the image has not; libtiff
                // computes the count too.
                self.decoded_bytes(row)
            } else {
                stated
            }
        };
        if byte_count == 0 {
            return Ok(0..0);
        }
        check_tile_bytes(byte_count)?;
        match offset.checked_add(byte_count).filter(|end| *end <= bytes.len()) {
            Some(end) => Ok(offset..end),
            None => Err(Error::malformed(format!(
                "Tile {index} is stated to lie at byte {offset}, past the end of the file, which \
                 may be cut short"
            ))
            .into()),
        }
    }
}

fn check_tile_size(width: u64, height: u64, samples: u64, is_tiled: bool) -> Result<()> {
    // Strips are as large as the image at most, whose size the caller limits.
    let area = width.saturating_mul(height);
    let is_valid = if is_tiled {
        area <= MAX_TILE_AREA && area * samples <= MAX_TILE_DATA && width.max(height) <= MAX_TILE_PX
    } else {
        true
    };
    if area > 0 && is_valid {
        return Ok(());
    }
    let kind = if is_tiled { "tiles" } else { "strips" };
    Err(Error::limit(format!("Slides with {kind} of {width}×{height} pixels are not supported")))
}

fn check_tile_bytes(byte_count: u64) -> Result<()> {
    if byte_count > MAX_TILE_BYTES {
        return Err(Error::limit(format!("A tile of {byte_count} bytes is larger than the limit")));
    }
    Ok(())
}

/// Bits a sample, which all samples of a pixel share.
fn sample_bits(bytes: &RangeCache, directory: &Directory) -> ReadResult<u8> {
    if !directory.has(tag::BITS_PER_SAMPLE) {
        return Ok(1);
    }
    let bits = directory.numbers(bytes, tag::BITS_PER_SAMPLE, MAX_SAMPLES)?;
    let first = bits.first().copied().unwrap_or_default();
    match u8::try_from(first) {
        Ok(depth) if bits.iter().all(|b| *b == first) => Ok(depth),
        _ => Err(Error::unsupported(
            "The samples of the TIFF's pixels have different numbers of bits; convert it to 8 bits \
             a sample",
        )
        .into()),
    }
}

fn sample_kind(bytes: &RangeCache, directory: &Directory) -> ReadResult<SampleKind> {
    let code = directory.number_or(bytes, tag::SAMPLE_FORMAT, 1)?;
    Ok(match code {
        1 | 4 => SampleKind::Unsigned,
        2 => SampleKind::Signed,
        3 => SampleKind::Float,
        _ => {
            return Err(Error::unsupported(format!(
                "TIFF samples of format {code} (complex numbers) are not supported"
            ))
            .into());
        }
    })
}

fn ycbcr_coding(bytes: &RangeCache, directory: &Directory) -> ReadResult<YCbCrCoding> {
    let mut subsampling = [2, 2];
    let is_stated = directory.count(tag::YCBCR_SUBSAMPLING) >= 2;
    if is_stated {
        for (i, factor) in subsampling.iter_mut().enumerate() {
            *factor = directory.number_at(bytes, tag::YCBCR_SUBSAMPLING, i as u64)?;
        }
    }
    if subsampling.iter().any(|n| !matches!(n, 1 | 2 | 4)) {
        return Err(Error::malformed("The TIFF states an unknown subsampling of colours").into());
    }
    let mut luma = BT601_LUMA;
    for (i, share) in luma.iter_mut().enumerate() {
        if let Some(stated) = directory.real_at(bytes, tag::YCBCR_COEFFICIENTS, i as u64)?
            && stated > 0.0
            && stated < 1.0
        {
            *share = stated as f32;
        }
    }
    let mut reference = FULL_RANGE;
    if directory.count(tag::REFERENCE_BLACK_WHITE) == 6 {
        for (i, code) in reference.iter_mut().enumerate() {
            let stated = directory.real_at(bytes, tag::REFERENCE_BLACK_WHITE, i as u64)?;
            *code = stated.map_or(*code, |v| v as f32);
        }
    }
    Ok(YCbCrCoding {
        across: subsampling[0] as usize,
        down: subsampling[1] as usize,
        is_stated,
        luma,
        reference,
    })
}

/// The colour map: all values of red, then of green, then of blue (TIFF 6.0, section 5).
fn palette(
    bytes: &RangeCache,
    directory: &Directory,
    photometric: Photometric,
    bits: u8,
) -> ReadResult<Vec<[u16; 3]>> {
    if photometric != Photometric::Palette {
        return Ok(Vec::new());
    }
    if bits > 16 {
        return Err(Error::unsupported(format!(
            "A TIFF with a colour map and {bits} bits a sample is not supported"
        ))
        .into());
    }
    let colours = 1 << bits;
    if directory.count(tag::COLOR_MAP) != 3 * colours {
        return Err(Error::malformed("The colour map of the TIFF is missing or incomplete").into());
    }
    let values = directory.numbers(bytes, tag::COLOR_MAP, 3 << 16)?;
    // Some writers put 8-bit values; libtiff recognises them in the same way.
    let scale = if values.iter().all(|v| *v < 256) { 257 } else { 1 };
    let colours = colours as usize;
    let mut palette = Vec::with_capacity(colours);
    for i in 0..colours {
        palette.push([0, 1, 2].map(|c| (values[c * colours + i] * scale) as u16));
    }
    Ok(palette)
}
