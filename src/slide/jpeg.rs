//! JPEG and JPEG 2000 tiles to interleaved samples.

use std::borrow::Cow;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decode::{TileSamples, truncated_tile};
use super::level::{Photometric, SlideLevel};
use crate::error::{Error, Result};

/// Most scans of a progressive JPEG: each costs time, and hostile files have thousands.
const MAX_SCANS: usize = 64;
/// JPEG markers (ITU-T T.81, table B.1): start of image, end of image.
const JPEG_SOI: [u8; 2] = [0xFF, 0xD8];
const JPEG_EOI: [u8; 2] = [0xFF, 0xD9];
/// A JPEG APP14 segment "Adobe": length 14, version 100, flags 0, transform 0. It states that the
/// three components are red, green and blue.
const ADOBE_RGB_SEGMENT: [u8; 16] =
    [0xFF, 0xEE, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, 0];
/// Side of a block, pixels.
const BLOCK_PX: usize = 8;
/// Second bytes of markers.
const SOS: u8 = 0xDA;
const DRI: u8 = 0xDD;
const APP0: u8 = 0xE0;
const APP14: u8 = 0xEE;

/// Decodes a JPEG tile: one sample a pixel, or red, green and blue.
///
/// # Errors
/// [`Error::Malformed`] for a broken stream, [`Error::Unsupported`] for one of another kind.
pub(super) fn decode_jpeg(
    level: &SlideLevel,
    plane: usize,
    width: usize,
    height: usize,
    bytes: &[u8],
) -> Result<TileSamples> {
    let header = JpegHeader::read(bytes).ok_or_else(truncated_tile)?;
    header.check()?;
    let is_grey = header.components.len() == 1;
    let stream = complete_jpeg(level.jpeg_tables(plane), &header, level.photometric, bytes);
    let (components, colour_space) =
        if is_grey { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    let options = DecoderOptions::default()
        // Some writers pad a tile to whole JPEG blocks. The limit bounds the memory that a hostile
        // header can demand.
        .set_max_width(width.next_multiple_of(64) * 2)
        .set_max_height(height.next_multiple_of(64) * 2)
        .jpeg_set_max_scans(MAX_SCANS)
        .jpeg_set_out_colorspace(colour_space);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*stream), options);
    let values = decoder
        .decode()
        .map_err(|e| Error::malformed(format!("A JPEG tile cannot be read: {e:?}")))?;
    let (w, h) = decoder.dimensions().ok_or_else(truncated_tile)?;
    if values.len() != w * h * components {
        return Err(truncated_tile());
    }
    Ok(TileSamples { width: w, height: h, channels: components, sample_bytes: 1, bytes: values })
}

/// What the segments in front of a JPEG's first scan state.
pub(super) struct JpegHeader {
    /// Second byte of the start-of-frame marker, which is the process.
    process: u8,
    /// Bits a sample.
    precision: u8,
    /// Position of the frame's height, then its width, 2 bytes each.
    pub size_at: usize,
    /// Pixels; 0 in an NDPI whose side is too long for a JPEG.
    pub width: usize,
    pub height: usize,
    components: Vec<JpegComponent>,
    /// MCUs between restart markers; 0 without them.
    pub restart_interval: usize,
    /// Position of the scan's first entropy-coded byte, if the scan holds all components.
    pub scan_at: Option<usize>,
    has_jfif: bool,
    /// Last byte of the "Adobe" segment: 0 RGB or CMYK, 1 YCbCr, 2 YCCK.
    adobe_transform: Option<u8>,
}

struct JpegComponent {
    id: u8,
    /// Horizontal and vertical sampling factor, four bits each.
    sampling: u8,
}

impl JpegHeader {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut header = Self {
            process: 0,
            precision: 0,
            size_at: 0,
            width: 0,
            height: 0,
            components: Vec::new(),
            restart_interval: 0,
            scan_at: None,
            has_jfif: false,
            adobe_transform: None,
        };
        let mut rest = bytes.strip_prefix(&JPEG_SOI)?;
        loop {
            // Marker: FF, possibly repeated, and its second byte; then the length of the segment
            // (2 bytes, which it includes) and its content.
            let at = rest.iter().position(|&b| b != 0xFF)?;
            let marker = *rest.get(at)?;
            if at == 0 {
                return None;
            }
            rest = rest.get(at + 1..)?;
            if marker == SOS {
                // Length of the segment (2), number of components.
                if let [high, low, components, ..] = rest
                    && usize::from(*components) == header.components.len()
                {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    header.scan_at = Some(bytes.len() - rest.len() + length);
                }
                return (!header.components.is_empty()).then_some(header);
            }
            // Markers without a segment.
            if matches!(marker, 0x01 | 0xD0..=0xD9) {
                continue;
            }
            let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
            let content = rest.get(2..length)?;
            let content_at = bytes.len() - rest.len() + 2;
            rest = rest.get(length..)?;
            match marker {
                APP0 if content.starts_with(b"JFIF") => header.has_jfif = true,
                APP14 if content.starts_with(b"Adobe") => {
                    header.adobe_transform = content.get(11).copied();
                }
                // Start of frame: precision, height (2), width (2), number of components, then for
                // each its identifier, sampling factors and quantisation table.
                0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                    header.process = marker & 0x0F;
                    header.precision = *content.first()?;
                    header.size_at = content_at + 1;
                    let side = |at| {
                        let bytes: &[u8; 2] = content.get(at..)?.first_chunk()?;
                        Some(usize::from(u16::from_be_bytes(*bytes)))
                    };
                    header.height = side(1)?;
                    header.width = side(3)?;
                    header.components.clear();
                    for component in content.get(6..)?.chunks_exact(3) {
                        header
                            .components
                            .push(JpegComponent { id: component[0], sampling: component[1] });
                    }
                }
                DRI => {
                    let interval: &[u8; 2] = content.first_chunk()?;
                    header.restart_interval = usize::from(u16::from_be_bytes(*interval));
                }
                _ => {}
            }
        }
    }

    /// Whether each MCU is coded once and on its own: a Huffman-coded sequential frame.
    pub(super) fn is_sequential(&self) -> bool {
        self.process < 2
    }

    /// Width and height of an MCU, pixels: a block, or with several components as many as the
    /// largest sampling factors state.
    pub(super) fn mcu_size(&self) -> [usize; 2] {
        if self.components.len() == 1 {
            return [BLOCK_PX; 2];
        }
        let mut size = [BLOCK_PX; 2];
        for component in &self.components {
            let factors = [component.sampling >> 4, component.sampling & 0x0F];
            for (side, factor) in size.iter_mut().zip(factors) {
                *side = (*side).max(usize::from(factor) * BLOCK_PX);
            }
        }
        size
    }

    fn check(&self) -> Result<()> {
        let kind = match self.process {
            0..=2 if self.precision != 8 => "of more than 8 bits a sample",
            0..=2 if self.components.len() == 4 => "of four components, such as CMYK",
            0..=2 if !matches!(self.components.len(), 1 | 3) => {
                "of an unusual number of components"
            }
            0..=2 => return Ok(()),
            3 | 11 => "without loss",
            _ => "with arithmetic coding or several frames",
        };
        Err(Error::unsupported(format!(
            "The TIFF holds JPEG tiles {kind}, which are not supported; convert it: vips tiffsave \
             in.tif out.tif --compression deflate"
        )))
    }

    /// Whether three components are red, green and blue. The stream's own evidence counts before
    /// the TIFF's tag, which some writers leave at RGB: an "Adobe" segment, a JFIF segment (always
    /// YCbCr), the identifiers of the components, and that only colour differences are subsampled.
    fn is_rgb(&self, photometric: Photometric) -> bool {
        if self.components.len() != 3 {
            return false;
        }
        if let Some(transform) = self.adobe_transform {
            return transform == 0;
        }
        if self.has_jfif {
            return false;
        }
        let ids: Vec<u8> = self.components.iter().map(|c| c.id).collect();
        if ids == b"RGB" {
            return true;
        }
        let is_subsampled =
            self.components.iter().any(|c| c.sampling != self.components[0].sampling);
        photometric == Photometric::Rgb && !is_subsampled
    }
}

/// Makes a complete JPEG of a tile's abbreviated stream (TIFF Technical Note 2):
///
/// ```text
/// tile:    SOI                                 frame, scans, EOI
/// result:  SOI  [APP14, if RGB]  [JPEGTables]  frame, scans, EOI
/// ```
///
/// A decoder takes three components for Y, Cb, Cr unless APP14 states otherwise.
fn complete_jpeg<'a>(
    tables: &[u8],
    header: &JpegHeader,
    photometric: Photometric,
    bytes: &'a [u8],
) -> Cow<'a, [u8]> {
    let needs_adobe = header.is_rgb(photometric) && header.adobe_transform.is_none();
    // The tables are a JPEG stream of their own, between SOI and EOI.
    let tables = tables
        .strip_prefix(&JPEG_SOI)
        .map(|tables| tables.strip_suffix(&JPEG_EOI).unwrap_or(tables));
    if tables.is_none() && !needs_adobe {
        return Cow::Borrowed(bytes);
    }
    let mut stream = JPEG_SOI.to_vec();
    if needs_adobe {
        stream.extend_from_slice(&ADOBE_RGB_SEGMENT);
    }
    stream.extend_from_slice(tables.unwrap_or_default());
    stream.extend_from_slice(bytes.strip_prefix(&JPEG_SOI).unwrap_or(bytes));
    Cow::Owned(stream)
}

/// Decodes a JPEG 2000 tile: samples of 8 bits, or of 16 where the TIFF states more than 8.
///
/// # Errors
/// [`Error::Malformed`] for a broken stream.
pub(super) fn decode_jpeg2000(
    level: &SlideLevel,
    width: usize,
    height: usize,
    ycc: bool,
    bytes: &[u8],
) -> Result<TileSamples> {
    let image = hayro_jpeg2000::Image::new(bytes, &hayro_jpeg2000::DecodeSettings::default())
        .map_err(|e| jpeg2000_error(&e))?;
    let w = image.width() as usize;
    let h = image.height() as usize;
    if w > width * 2 || h > height * 2 {
        return Err(Error::malformed(format!(
            "A tile of {width}×{height} pixels holds an image of {w}×{h}"
        )));
    }
    let mut context = hayro_jpeg2000::DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|e| jpeg2000_error(&e))?;
    let channels = decoded.components().len();
    if decoded.components().iter().any(|c| c.samples().len() != w * h) {
        return Err(truncated_tile());
    }
    if level.bits > 8 {
        let mut values = Vec::with_capacity(w * h * channels * 2);
        for i in 0..w * h {
            for component in decoded.components() {
                let value = component.samples()[i].round().clamp(0.0, f32::from(u16::MAX)) as u16;
                values.extend_from_slice(&value.to_le_bytes());
            }
        }
        return Ok(TileSamples { width: w, height: h, channels, sample_bytes: 2, bytes: values });
    }
    let mut values = decoded.data_u8();
    if values.len() != w * h * channels {
        return Err(truncated_tile());
    }
    // With subsampled chroma the decoder converts to RGB itself.
    if ycc && channels == 3 && !has_subsampled_chroma(bytes) {
        for pixel in values.as_chunks_mut::<3>().0 {
            *pixel = ycbcr_to_rgb(*pixel);
        }
    }
    Ok(TileSamples { width: w, height: h, channels, sample_bytes: 1, bytes: values })
}

fn jpeg2000_error(error: &hayro_jpeg2000::DecodeError) -> Error {
    Error::malformed(format!("A JPEG 2000 tile cannot be read: {error}"))
}

/// Whether the second component of a JPEG 2000 codestream has fewer samples than the image.
///
/// Read from the SIZ segment, the first after SOC (ISO/IEC 15444-1, A.5.1): 42 bytes up to the
/// components, then for each component depth, horizontal and vertical separation.
fn has_subsampled_chroma(stream: &[u8]) -> bool {
    const SOC_SIZ: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
    const SECOND_COMPONENT: usize = 42 + 3;
    let separation = stream.get(SECOND_COMPONENT + 1..SECOND_COMPONENT + 3);
    stream.starts_with(&SOC_SIZ) && separation.is_some_and(|s| s != [1, 1])
}

/// Y, Cb, Cr to red, green, blue: ITU-T T.871 (JFIF), section 7.
fn ycbcr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let y = f32::from(y);
    let cb = f32::from(cb) - 128.0;
    let cr = f32::from(cr) - 128.0;
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
        .map(|v| (v + 0.5).clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG up to its first scan: optional segments, then a frame of three components.
    fn header(segments: &[&[u8]], ids: [u8; 3], first_sampling: u8) -> JpegHeader {
        let mut bytes = JPEG_SOI.to_vec();
        for segment in segments {
            bytes.extend(*segment);
        }
        bytes.extend([0xFF, 0xC0, 0, 17, 8, 0, 16, 0, 16, 3]);
        for (i, id) in ids.into_iter().enumerate() {
            bytes.extend([id, if i == 0 { first_sampling } else { 0x11 }, 0]);
        }
        bytes.extend([0xFF, 0xDA, 0, 2]);
        JpegHeader::read(&bytes).expect("a header")
    }

    #[test]
    fn the_streams_evidence_counts_before_the_tag() {
        let jfif: &[u8] = b"\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
        let mut adobe_ycc = ADOBE_RGB_SEGMENT;
        adobe_ycc[15] = 1;
        let numbers = [1, 2, 3];
        let rgb = |header: JpegHeader| header.is_rgb(Photometric::Rgb);
        let ycc = |header: JpegHeader| header.is_rgb(Photometric::YCbCr);
        assert!(rgb(header(&[], numbers, 0x11)));
        assert!(!rgb(header(&[], numbers, 0x22)), "only colour differences are subsampled");
        assert!(!rgb(header(&[jfif], numbers, 0x11)));
        assert!(!rgb(header(&[&adobe_ycc], numbers, 0x11)));
        assert!(!ycc(header(&[], numbers, 0x11)));
        assert!(ycc(header(&[&ADOBE_RGB_SEGMENT], numbers, 0x11)));
        assert!(ycc(header(&[], *b"RGB", 0x11)));
    }

    #[test]
    fn other_kinds_of_jpeg_are_named_and_broken_ones_are_none() {
        let frame = |marker: u8, precision: u8| {
            let frame = [0xFF, marker, 0, 11, precision, 0, 8, 0, 8, 1, 1, 0x11, 0];
            let bytes = [&JPEG_SOI[..], &frame, &[0xFF, 0xDA, 0, 2]].concat();
            JpegHeader::read(&bytes).expect("a header").check()
        };
        assert!(frame(0xC0, 8).is_ok() && frame(0xC2, 8).is_ok());
        for (marker, precision, word) in
            [(0xC1, 12, "more than 8 bits"), (0xC3, 8, "without loss"), (0xC9, 8, "arithmetic")]
        {
            let error = frame(marker, precision).expect_err("refused").to_string();
            assert!(error.contains(word), "{error}");
        }
        for bytes in [&[][..], &JPEG_SOI, b"\xFF\xD8\xFF\xC0", b"\xFF\xD8\xFF\xE0\0\0"] {
            assert!(JpegHeader::read(bytes).is_none());
        }
    }
}
