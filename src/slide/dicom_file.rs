//! What one DICOM file states about its image (DICOM PS3.3, sections A.32.8 and C.8.12), and where
//! its pixels lie.

use std::ops::Range;

use super::dicom_elements::{
    Element, ElementReader, ITEM_HEADER, ValueRepresentation, cut_short, decimals, float, signed,
    text, unsigned,
};
use super::dicom_frames::{FragmentHeader, FragmentWalk, FrameRun, FrameStorage, NumberTable};
use super::pixel_size::PixelSize;
use super::range_cache::{RangeCache, ReadResult};
use crate::error::{Error, Result};

/// "DICM" lies behind the preamble (PS3.10, section 7.1).
const PREAMBLE: usize = 128;
const PREFIX: &[u8] = b"DICM";
/// Group of the elements about the file itself.
const META_GROUP: u16 = 2;
/// Bytes of a number in the basic and in the extended table of frames.
const BASIC_WIDTH: u64 = 4;
const EXTENDED_WIDTH: u64 = 8;
const UM_PER_MM: f64 = 1000.0;
/// Pixels of an imaged volume whose sides differ by a larger share are not those of the image.
const VOLUME_TOLERANCE: f64 = 0.05;
/// Most frames of a file.
const MAX_FRAMES: u64 = 1 << 28;

/// Tag and representation of the media storage SOP class (PS3.10, section 7.1).
const MEDIA_CLASS: &[u8] = b"\x02\0\x02\0UI";
/// VL Whole Slide Microscopy Image Storage (PS3.4, section B.5).
const WHOLE_SLIDE: &str = "1.2.840.10008.5.1.4.1.1.77.1.6";

const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";

/// Tags (PS3.6).
mod tag {
    pub(super) const TRANSFER_SYNTAX: u32 = 0x0002_0010;
    pub(super) const IMAGE_TYPE: u32 = 0x0008_0008;
    pub(super) const SOP_CLASS: u32 = 0x0008_0016;
    pub(super) const PYRAMID: u32 = 0x0008_0019;
    pub(super) const MODALITY: u32 = 0x0008_0060;
    pub(super) const SERIES: u32 = 0x0020_000E;
    pub(super) const CONCATENATION: u32 = 0x0020_9161;
    pub(super) const CONCATENATION_FRAME: u32 = 0x0020_9228;
    pub(super) const ORGANIZATION: u32 = 0x0020_9311;
    pub(super) const SAMPLES: u32 = 0x0028_0002;
    pub(super) const PHOTOMETRIC: u32 = 0x0028_0004;
    pub(super) const PLANAR: u32 = 0x0028_0006;
    pub(super) const FRAMES: u32 = 0x0028_0008;
    pub(super) const ROWS: u32 = 0x0028_0010;
    pub(super) const COLUMNS: u32 = 0x0028_0011;
    pub(super) const PIXEL_SPACING: u32 = 0x0028_0030;
    pub(super) const BITS_ALLOCATED: u32 = 0x0028_0100;
    pub(super) const PIXEL_MEASURES: u32 = 0x0028_9110;
    pub(super) const VOLUME_WIDTH: u32 = 0x0048_0001;
    pub(super) const VOLUME_HEIGHT: u32 = 0x0048_0002;
    pub(super) const MATRIX_COLUMNS: u32 = 0x0048_0006;
    pub(super) const MATRIX_ROWS: u32 = 0x0048_0007;
    pub(super) const OPTICAL_PATHS: u32 = 0x0048_0105;
    pub(super) const LENS_POWER: u32 = 0x0048_0112;
    pub(super) const PLANE_POSITION: u32 = 0x0048_021A;
    pub(super) const COLUMN_POSITION: u32 = 0x0048_021E;
    pub(super) const ROW_POSITION: u32 = 0x0048_021F;
    pub(super) const OPTICAL_PATH_COUNT: u32 = 0x0048_0302;
    pub(super) const FOCAL_PLANE_COUNT: u32 = 0x0048_0303;
    pub(super) const SHARED_GROUPS: u32 = 0x5200_9229;
    pub(super) const FRAME_GROUPS: u32 = 0x5200_9230;
    pub(super) const EXTENDED_OFFSETS: u32 = 0x7FE0_0001;
    pub(super) const PIXEL_DATA: u32 = 0x7FE0_0010;
}

pub(super) fn is_dicom(first_bytes: &[u8]) -> bool {
    first_bytes.get(PREAMBLE..PREAMBLE + PREFIX.len()) == Some(PREFIX)
}

/// What a DICOM file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DicomKind {
    /// A whole slide image (VL Whole Slide Microscopy Image Storage).
    WholeSlide,
    /// Another object, such as an image of CT or MR.
    Other,
    /// Data elements without the preamble and the prefix that a file has.
    WithoutPreamble,
}

impl DicomKind {
    /// Of a file whose first kilobyte is given; none of a file that is not DICOM.
    ///
    /// ```
    /// use prunella::slide::DicomKind;
    ///
    /// let mut file = [0; 132];
    /// assert_eq!(DicomKind::of(&file), None);
    /// file[128..].copy_from_slice(b"DICM");
    /// assert_eq!(DicomKind::of(&file), Some(DicomKind::Other));
    /// ```
    #[must_use]
    pub fn of(first_bytes: &[u8]) -> Option<Self> {
        if !is_dicom(first_bytes) {
            return has_bare_elements(first_bytes).then_some(Self::WithoutPreamble);
        }
        // The media storage SOP class is among the first elements; it is even in length by padding.
        let at = first_bytes.windows(MEDIA_CLASS.len()).position(|bytes| bytes == MEDIA_CLASS);
        let value = at.and_then(|at| first_bytes.get(at + MEDIA_CLASS.len() + 2..));
        let is_whole_slide = value.is_some_and(|value| {
            let rest = value.strip_prefix(WHOLE_SLIDE.as_bytes());
            rest.is_some_and(|rest| !rest.starts_with(b".") && !rest.starts_with(b"0"))
        });
        Some(if is_whole_slide { Self::WholeSlide } else { Self::Other })
    }
}

/// The series to which a DICOM whole slide image belongs, by its first bytes; `None` of other files
/// and where the bytes do not reach to it. 32 KB do in practice.
///
/// ```
/// assert_eq!(prunella::slide::dicom_series(b"II*"), None);
/// ```
#[must_use]
pub fn dicom_series(first_bytes: &[u8]) -> Option<String> {
    if !is_dicom(first_bytes) {
        return None;
    }
    let length = first_bytes.len() as u64;
    let mut bytes = RangeCache::new(length);
    bytes.insert(0, first_bytes);
    let file = DicomFile::read_to(&bytes, 0..length, tag::SERIES).ok()?;
    Some(file.series).filter(|series| file.sop_class == WHOLE_SLIDE && !series.is_empty())
}

/// Whether a file begins with data elements.
fn has_bare_elements(first_bytes: &[u8]) -> bool {
    // The group is that of the file's own facts or of the identification; then two letters, or an
    // even length of a short value.
    let Some((&[group, 0, _, 0, v0, v1, l0, l1], _)) = first_bytes.split_first_chunk::<8>() else {
        return false;
    };
    let is_explicit = [b"CS", b"UL", b"UI", b"OB", b"DA"].contains(&&[v0, v1]);
    let is_implicit = v1 == 0 && l0 == 0 && l1 == 0 && (1..=64).contains(&v0) && v0 % 2 == 0;
    matches!(group, 2 | 8) && (is_explicit || is_implicit && first_bytes[2] <= 0x20)
}

/// Where an instance belongs that shows a part of the slide: the third value of the image type
/// (PS3.3, section C.8.12.4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImageFlavour {
    /// A level of the pyramid.
    Volume,
    /// Label, overview or thumbnail.
    Other,
}

/// What a file states.
#[derive(Debug, Clone, Default)]
pub(super) struct DicomFile {
    /// Where the file lies among the bytes of all files.
    pub range: Range<u64>,
    pub sop_class: String,
    pub modality: String,
    pub transfer_syntax: String,
    pub series: String,
    pub pyramid: String,
    image_type: String,
    /// What the files of an image in several share; empty for an image in one.
    pub concatenation: String,
    /// Frames in the files before.
    pub concatenation_frame: u64,
    /// `TILED_FULL`, `TILED_SPARSE` or nothing.
    pub organization: String,
    pub samples: u64,
    pub photometric: String,
    /// Whether the samples of a pixel lie in planes, in pixels without compression.
    pub is_planar: bool,
    pub frames: u64,
    /// Of a frame.
    pub rows: u64,
    pub columns: u64,
    pub bits: u64,
    /// Of the whole image; 0 where it is not stated.
    pub matrix_columns: u64,
    pub matrix_rows: u64,
    pub optical_paths: u64,
    pub focal_planes: u64,
    /// Distance of rows, then of columns, mm.
    spacing_mm: Option<[f64; 2]>,
    volume_width_mm: Option<f64>,
    volume_height_mm: Option<f64>,
    pub lens_power: Option<f64>,
    /// Column and row of the first pixel of each frame that states them, counted from 1.
    pub positions: Vec<[i64; 2]>,
    extended_offsets: Option<Element>,
    pixel_data: Option<Element>,
}

impl DicomFile {
    /// Reads the elements of a file up to its pixels; of a file that is no whole slide image only
    /// the first ones.
    ///
    /// # Errors
    /// Missing bytes; [`Error::Malformed`] for a broken header, [`Error::Unsupported`] for one in
    /// another byte order or compressed.
    pub(super) fn read(bytes: &RangeCache, range: Range<u64>) -> ReadResult<Self> {
        Self::read_to(bytes, range, tag::PIXEL_DATA)
    }

    /// Reads a header up to an element. Elements are sorted by tag.
    fn read_to(bytes: &RangeCache, range: Range<u64>, last: u32) -> ReadResult<Self> {
        let start = range.start + (PREAMBLE + PREFIX.len()) as u64;
        if start > range.end {
            return Err(cut_short().into());
        }
        let mut reader = ElementReader::new(bytes, start..range.end);
        let mut file = Self { range, frames: 1, bits: 8, samples: 1, ..Self::default() };
        // The file's own facts are always explicit; the rest is as the transfer syntax says.
        while !reader.is_at_end() && reader.next_group()? == META_GROUP {
            let element = reader.next()?;
            file.take(&mut reader, &element)?;
            reader.leave(&element)?;
        }
        reader.vr = file.representation()?;
        while !reader.is_at_end() {
            let element = reader.next()?;
            if element.tag == tag::PIXEL_DATA {
                file.pixel_data = Some(element);
                break;
            }
            if element.tag > tag::MODALITY && !file.is_whole_slide() {
                break;
            }
            file.take(&mut reader, &element)?;
            if element.tag >= last {
                break;
            }
            reader.leave(&element)?;
        }
        Ok(file)
    }

    pub(super) fn is_whole_slide(&self) -> bool {
        self.sop_class == WHOLE_SLIDE
    }

    /// By the transfer syntax.
    fn representation(&self) -> Result<ValueRepresentation> {
        match self.transfer_syntax.as_str() {
            IMPLICIT_LITTLE_ENDIAN => Ok(ValueRepresentation::Implicit),
            "1.2.840.10008.1.2.2" => Err(Error::unsupported(
                "The DICOM file is in big-endian order, which is retired and not supported; \
                 convert it: dcmconv +te in.dcm out.dcm",
            )),
            "1.2.840.10008.1.2.1.99" => Err(Error::unsupported(
                "The DICOM file is deflated as a whole, which is not supported; convert it: \
                 dcmconv +te in.dcm out.dcm",
            )),
            _ => Ok(ValueRepresentation::Explicit),
        }
    }

    /// Takes over an element that is of use.
    fn take(&mut self, reader: &mut ElementReader<'_>, element: &Element) -> ReadResult<()> {
        let number = |value: Vec<u8>| unsigned(&value).unwrap_or_default();
        match element.tag {
            tag::TRANSFER_SYNTAX => self.transfer_syntax = text(&reader.value(element)?),
            tag::IMAGE_TYPE => self.image_type = text(&reader.value(element)?),
            tag::SOP_CLASS => self.sop_class = text(&reader.value(element)?),
            tag::PYRAMID => self.pyramid = text(&reader.value(element)?),
            tag::MODALITY => self.modality = text(&reader.value(element)?),
            tag::SERIES => self.series = text(&reader.value(element)?),
            tag::CONCATENATION => self.concatenation = text(&reader.value(element)?),
            tag::CONCATENATION_FRAME => {
                self.concatenation_frame = number(reader.value(element)?);
            }
            tag::ORGANIZATION => self.organization = text(&reader.value(element)?),
            tag::SAMPLES => self.samples = number(reader.value(element)?),
            tag::PHOTOMETRIC => self.photometric = text(&reader.value(element)?),
            tag::PLANAR => self.is_planar = number(reader.value(element)?) == 1,
            tag::FRAMES => {
                let stated = text(&reader.value(element)?).parse::<u64>().ok();
                self.frames = stated.filter(|n| (1..=MAX_FRAMES).contains(n)).ok_or_else(|| {
                    Error::malformed("The DICOM file states no plausible number of frames")
                })?;
            }
            tag::ROWS => self.rows = number(reader.value(element)?),
            tag::COLUMNS => self.columns = number(reader.value(element)?),
            tag::BITS_ALLOCATED => self.bits = number(reader.value(element)?),
            tag::VOLUME_WIDTH => self.volume_width_mm = float(&reader.value(element)?),
            tag::VOLUME_HEIGHT => self.volume_height_mm = float(&reader.value(element)?),
            tag::MATRIX_COLUMNS => self.matrix_columns = number(reader.value(element)?),
            tag::MATRIX_ROWS => self.matrix_rows = number(reader.value(element)?),
            tag::OPTICAL_PATH_COUNT => self.optical_paths = number(reader.value(element)?),
            tag::FOCAL_PLANE_COUNT => self.focal_planes = number(reader.value(element)?),
            tag::OPTICAL_PATHS => self.take_optical_path(reader, element)?,
            tag::SHARED_GROUPS => self.take_groups(reader, element)?,
            // Frames that are all the tiles need no position.
            tag::FRAME_GROUPS if self.organization != "TILED_FULL" => {
                reader.read_ahead(element)?;
                self.take_groups(reader, element)?;
            }
            tag::EXTENDED_OFFSETS => self.extended_offsets = Some(*element),
            _ => {}
        }
        Ok(())
    }

    fn take_optical_path(
        &mut self,
        reader: &mut ElementReader<'_>,
        paths: &Element,
    ) -> ReadResult<()> {
        reader.items(paths, &mut |reader, _, element| {
            if element.tag == tag::LENS_POWER && self.lens_power.is_none() {
                let stated = decimals(&reader.value(element)?);
                self.lens_power = stated.first().copied().filter(|power| *power > 0.0);
            }
            Ok(())
        })
    }

    /// Pixel size and positions, of all frames or of each.
    fn take_groups(&mut self, reader: &mut ElementReader<'_>, groups: &Element) -> ReadResult<()> {
        reader.items(groups, &mut |reader, frame, group| match group.tag {
            tag::PIXEL_MEASURES if self.spacing_mm.is_none() => {
                reader.items(group, &mut |reader, _, element| {
                    if element.tag == tag::PIXEL_SPACING
                        && let [rows, columns, ..] = decimals(&reader.value(element)?)[..]
                    {
                        self.spacing_mm = Some([rows, columns]);
                    }
                    Ok(())
                })
            }
            tag::PLANE_POSITION => {
                let mut position = [0, 0];
                reader.items(group, &mut |reader, _, element| {
                    let axis = match element.tag {
                        tag::COLUMN_POSITION => 0,
                        tag::ROW_POSITION => 1,
                        _ => return Ok(()),
                    };
                    position[axis] = signed(&reader.value(element)?).unwrap_or_default();
                    Ok(())
                })?;
                if self.positions.len() == frame {
                    self.positions.push(position);
                }
                Ok(())
            }
            _ => Ok(()),
        })
    }

    /// The third value of the image type; without one it is taken for a level.
    pub(super) fn flavour(&self) -> ImageFlavour {
        match self.image_type.split('\\').nth(2).map(str::trim) {
            None | Some("" | "VOLUME") => ImageFlavour::Volume,
            Some(_) => ImageFlavour::Other,
        }
    }

    /// Whether frames are fragments with headers.
    pub(super) fn is_encapsulated(&self) -> bool {
        self.pixel_data.is_some_and(|pixels| pixels.length.is_none())
    }

    /// Whether frames of the two can be tiles of one image.
    pub(super) fn is_stored_as(&self, other: &Self) -> bool {
        self.transfer_syntax == other.transfer_syntax
            && self.photometric == other.photometric
            && self.is_planar == other.is_planar
            && self.organization == other.organization
            && self.is_encapsulated() == other.is_encapsulated()
            && [self.rows, self.columns, self.samples, self.bits]
                == [other.rows, other.columns, other.samples, other.bits]
            && self.size() == other.size()
    }

    /// Width and height of the whole image, pixels; of a file that states none and has one frame,
    /// the frame's.
    pub(super) fn size(&self) -> [u64; 2] {
        if self.matrix_columns == 0 && self.matrix_rows == 0 && self.frames == 1 {
            return [self.columns, self.rows];
        }
        [self.matrix_columns, self.matrix_rows]
    }

    /// Width and height of a pixel, µm: as stated, or of the imaged volume, if that is of the shape
    /// of the image.
    pub(super) fn pixel_size(&self) -> Option<PixelSize> {
        let [width, height] = self.size().map(|side| side as f64);
        let mut is_usable = true;
        let [y, x] = if let Some(spacing) = self.spacing_mm {
            spacing
        } else {
            let sides = [self.volume_height_mm? / height, self.volume_width_mm? / width];
            is_usable = (sides[0] - sides[1]).abs() <= VOLUME_TOLERANCE * sides[0];
            sides
        };
        let size = PixelSize { x: x * UM_PER_MM, y: y * UM_PER_MM };
        let is_finite = size.x.is_finite() && size.y.is_finite();
        (is_usable && is_finite && size.x > 0.0 && size.y > 0.0).then_some(size)
    }

    /// Where the frames of this file lie; of pixels without compression `frame_bytes` are one.
    ///
    /// # Errors
    /// Missing bytes; a file without pixels or with too few.
    pub(super) fn frame_run(&self, bytes: &RangeCache, frame_bytes: u64) -> ReadResult<FrameRun> {
        let pixels = self
            .pixel_data
            .ok_or_else(|| Error::malformed("The DICOM file has no pixels; it may be cut short"))?;
        let storage = match pixels.length {
            Some(length) => {
                if frame_bytes.saturating_mul(self.frames) > length {
                    return Err(Error::malformed(format!(
                        "The DICOM file has {length} bytes of pixels, fewer than its {} frames \
                         need",
                        self.frames
                    ))
                    .into());
                }
                FrameStorage::Native { start: pixels.start, frame_bytes }
            }
            None => self.encapsulated(bytes, &pixels)?,
        };
        Ok(FrameRun { count: self.frames, storage, end: self.range.end })
    }

    /// The first item is the basic table of frames, which may be empty (PS3.5, section A.4).
    fn encapsulated(&self, bytes: &RangeCache, pixels: &Element) -> ReadResult<FrameStorage> {
        let table = pixels.start + ITEM_HEADER;
        if table > self.range.end {
            return Err(cut_short().into());
        }
        let header = bytes.read(pixels.start, ITEM_HEADER)?;
        let FragmentHeader::Bytes(length) = FragmentHeader::of(&header)? else {
            return Err(Error::malformed("The DICOM file has no frames").into());
        };
        let first_item = table + length;
        if first_item > self.range.end {
            return Err(cut_short().into());
        }
        if let Some(offsets) = self.extended_offsets
            && offsets.length >= Some(self.frames * EXTENDED_WIDTH)
        {
            let offsets = NumberTable { start: offsets.start, width: EXTENDED_WIDTH };
            return Ok(FrameStorage::Listed { first_item, offsets });
        }
        if length >= self.frames * BASIC_WIDTH {
            let offsets = NumberTable { start: table, width: BASIC_WIDTH };
            return Ok(FrameStorage::Listed { first_item, offsets });
        }
        Ok(FrameStorage::Unlisted { first_item, walk: FragmentWalk::default() })
    }
}
