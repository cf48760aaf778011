//! DICOM whole slide images (PS3.3, section A.32.8): the files of a series as one pyramid.

use super::dicom_elements::cut_short;
use super::dicom_file::{DicomFile, ImageFlavour, is_dicom};
use super::dicom_frames::{FrameTable, PlacedFrame};
use super::level::{Compression, FrameImage, Photometric, SlideLevel};
use super::pictures::continues_pyramid;
use super::range_cache::{RangeCache, ReadError, ReadResult};
use super::slide_file::{Slide, SlideFormat};
use crate::error::{Error, Result, counted};

/// Bytes by which a DICOM file is recognised.
const FIRST_BYTES: u64 = 132;

/// Whether the first file is DICOM.
///
/// # Errors
/// Missing bytes.
pub(super) fn begins_as_dicom(bytes: &RangeCache) -> ReadResult<bool> {
    let Some(first) = bytes.files().into_iter().next() else { return Ok(false) };
    if first.end - first.start < FIRST_BYTES {
        return Ok(false);
    }
    Ok(is_dicom(&bytes.read(first.start, FIRST_BYTES)?))
}

/// An image of the pyramid, in one file or, as a concatenation, in several.
struct DicomImage<'a> {
    /// In the order of their frames; at least one.
    files: Vec<&'a DicomFile>,
}

/// Reads the headers of all files.
///
/// # Errors
/// Missing bytes; files that are no whole slide image or of a kind that is not decoded.
pub(super) fn open(bytes: &RangeCache) -> ReadResult<Slide> {
    let found = read_files(bytes)?;
    let mut notes = found.notes;
    let series = chosen_series(&found.files, &mut notes)?;
    let mut associated_images = 0;
    let mut volumes = Vec::new();
    for file in &found.files {
        let is_own = file.series == series.series;
        if file.flavour() == ImageFlavour::Other {
            associated_images += usize::from(is_own);
        } else if is_own && file.pyramid == series.pyramid {
            volumes.push(file);
        }
    }
    let mut images = images_of(volumes);
    // Of equal sizes the one that comes first counts.
    images.sort_by_key(|image| std::cmp::Reverse(image.files[0].size()[0]));
    let finest = images[0].files[0];
    let mut levels: Vec<SlideLevel> = Vec::new();
    let mut levels_set_aside = 0;
    let mut same_size = 0;
    let mut missing = MissingBytes::default();
    for (i, image) in images.iter().enumerate() {
        let level = match image.level(bytes, &mut notes) {
            Err(ReadError::Fail(error)) if i > 0 => {
                levels_set_aside += 1;
                notes.push(format!("A smaller level is set aside: {error}"));
                continue;
            }
            result => result,
        };
        let Some(level) = missing.collect(level)? else { continue };
        if levels.is_empty() || continues_pyramid(&levels, &level) {
            levels.push(level);
        } else if image.files[0].size() == finest.size() {
            same_size += 1;
        } else {
            levels_set_aside += 1;
        }
    }
    missing.check()?;
    notes.dedup();
    if same_size > 0 {
        notes.push(format!(
            "The series holds {} images of this size, such as focal planes or optical paths; the \
             first is used",
            same_size + 1
        ));
    }
    let mut pixel_size_um = None;
    if let Some(size) = finest.pixel_size() {
        if size.is_plausible() {
            pixel_size_um = Some(size);
            notes.extend(size.note());
        } else {
            notes.push(format!(
                "The file states pixels of {} × {} µm, which no microscope has; this is not used",
                size.x, size.y
            ));
        }
    }
    Ok(Slide {
        format: SlideFormat::Dicom,
        levels,
        mpp_um: pixel_size_um.map(|size| size.mean()),
        pixel_size_um,
        magnification: finest.lens_power,
        associated_images,
        levels_set_aside,
        notes,
    })
}

/// Ranges that several files need, so that they cost one round.
#[derive(Default)]
struct MissingBytes {
    ranges: Vec<std::ops::Range<u64>>,
}

impl MissingBytes {
    /// A value, or none where bytes are missing.
    fn collect<T>(&mut self, result: ReadResult<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::NeedBytes(ranges)) => {
                self.ranges.extend(ranges);
                Ok(None)
            }
            Err(ReadError::Fail(error)) => Err(error),
        }
    }

    fn check(self) -> ReadResult<()> {
        if self.ranges.is_empty() { Ok(()) } else { Err(ReadError::NeedBytes(self.ranges)) }
    }
}

/// The whole slide images among the files.
struct FoundFiles {
    /// At least one.
    files: Vec<DicomFile>,
    notes: Vec<String>,
}

fn read_files(bytes: &RangeCache) -> ReadResult<FoundFiles> {
    let mut files = Vec::new();
    let mut others = Vec::new();
    let mut broken = 0;
    let mut first_error = None;
    let mut missing = MissingBytes::default();
    for range in bytes.files() {
        if range.end - range.start < FIRST_BYTES {
            broken += 1;
            first_error.get_or_insert_with(cut_short);
            continue;
        }
        let first = missing.collect(bytes.read(range.start, FIRST_BYTES))?;
        if first.is_some_and(|first| !is_dicom(&first)) {
            broken += 1;
            continue;
        }
        match DicomFile::read(bytes, range) {
            Err(ReadError::Fail(error)) => {
                broken += 1;
                first_error.get_or_insert(error);
            }
            result => match missing.collect(result)? {
                Some(file) if file.is_whole_slide() => files.push(file),
                Some(file) if file.sop_class.is_empty() => {
                    broken += 1;
                    first_error.get_or_insert_with(cut_short);
                }
                Some(file) => others.push(file),
                None => {}
            },
        }
    }
    missing.check()?;
    let mut notes = Vec::new();
    if files.is_empty() {
        if let Some(error) = first_error {
            return Err(error.into());
        }
        return Err(no_slide(&others).into());
    }
    if !others.is_empty() {
        notes.push(format!(
            "{} no whole slide image, such as annotations; not used",
            counted(others.len(), "DICOM file is", "DICOM files are")
        ));
    }
    if broken > 0 {
        notes.push(format!(
            "{} left out{}",
            counted(broken, "file that cannot be read is", "files that cannot be read are"),
            first_error.map_or(String::new(), |e| format!(": {e}"))
        ));
    }
    Ok(FoundFiles { files, notes })
}

/// What files are that hold no slide.
fn no_slide(others: &[DicomFile]) -> Error {
    let kind = match others.first() {
        Some(file) if !file.modality.is_empty() => format!(" of modality {}", file.modality),
        _ => String::new(),
    };
    Error::unsupported(format!(
        "The DICOM file is an object{kind}, no whole slide image (VL Whole Slide Microscopy); \
         export its picture as PNG or TIFF"
    ))
}

/// What the levels of one slide share.
#[derive(PartialEq)]
struct SeriesKey<'a> {
    series: &'a str,
    pyramid: &'a str,
}

/// The series with the largest image; the others are noted.
fn chosen_series<'a>(files: &'a [DicomFile], notes: &mut Vec<String>) -> Result<SeriesKey<'a>> {
    let area = |file: &DicomFile| file.size()[0].saturating_mul(file.size()[1]);
    let mut keys: Vec<SeriesKey<'_>> = Vec::new();
    let mut largest: Option<&DicomFile> = None;
    for file in files {
        if file.flavour() == ImageFlavour::Other {
            continue;
        }
        let key = SeriesKey { series: &file.series, pyramid: &file.pyramid };
        if !keys.contains(&key) {
            keys.push(key);
        }
        if largest.is_none_or(|other| area(file) > area(other)) {
            largest = Some(file);
        }
    }
    let Some(largest) = largest else {
        return Err(Error::invalid(
            "The DICOM file is a label, overview or thumbnail of a slide; give the folder, or all \
             files of the series",
        ));
    };
    if keys.len() > 1 {
        notes.push(format!(
            "The DICOM files belong to {} slides or scans; the largest, of {}×{} pixels, is used \
             (series {})",
            keys.len(),
            largest.size()[0],
            largest.size()[1],
            largest.series
        ));
    }
    Ok(SeriesKey { series: &largest.series, pyramid: &largest.pyramid })
}

/// Joins the files of each concatenation.
fn images_of(files: Vec<&DicomFile>) -> Vec<DicomImage<'_>> {
    let mut images: Vec<DicomImage<'_>> = Vec::new();
    for file in files {
        let uid = &file.concatenation;
        let same = images.iter_mut().find(|image| image.files[0].concatenation == *uid);
        match same {
            Some(image) if !uid.is_empty() => image.files.push(file),
            _ => images.push(DicomImage { files: vec![file] }),
        }
    }
    for image in &mut images {
        image.files.sort_by_key(|file| file.concatenation_frame);
    }
    images
}

impl DicomImage<'_> {
    fn level(&self, bytes: &RangeCache, notes: &mut Vec<String>) -> ReadResult<SlideLevel> {
        let first = self.files[0];
        let image = frame_image(first)?;
        let is_encapsulated = first.is_encapsulated();
        let is_planar = first.is_planar && image.compression == Compression::None;
        if is_planar && (is_encapsulated || image.subsampled_across > 1) {
            return Err(not_decoded("samples in planes of this kind").into());
        }
        let frame_bytes = frame_bytes(&image);
        let mut runs = Vec::with_capacity(self.files.len());
        let mut frames = 0;
        let mut missing = MissingBytes::default();
        for file in &self.files {
            if !file.is_stored_as(first) {
                return Err(Error::unsupported(
                    "The files of one DICOM image are stored in different ways",
                )
                .into());
            }
            if self.files.len() > 1 && file.concatenation_frame != frames
                || self.files.len() == 1 && file.concatenation_frame > 0
            {
                return Err(Error::invalid(format!(
                    "A file of the DICOM concatenation is missing: the one with frame {}; give all \
                     files",
                    frames + 1
                ))
                .into());
            }
            runs.extend(missing.collect(file.frame_run(bytes, frame_bytes))?);
            frames += file.frames;
        }
        missing.check()?;
        let placed = self.placed_frames(&image, frames, notes)?;
        let planes = if is_planar { image.samples } else { 1 };
        let table = FrameTable { runs, placed, planes };
        if table.is_unlisted() {
            if is_encapsulated && image.compression == Compression::None {
                return Err(not_decoded("pixels in fragments without a table").into());
            }
            notes.push(
                "A level has no table of its frames: tiles are found one after another, which is \
                 slow over a network"
                    .to_owned(),
            );
        }
        Ok(SlideLevel::of_frames(&image, table)?)
    }

    /// Which frame each tile is; none where the tiles are the frames in their order.
    fn placed_frames(
        &self,
        image: &FrameImage,
        frames: u64,
        notes: &mut Vec<String>,
    ) -> Result<Option<Vec<PlacedFrame>>> {
        let across = image.width.div_ceil(image.tile_width);
        let tiles = across.saturating_mul(image.height.div_ceil(image.tile_height));
        let first = self.files[0];
        let stated: usize = self.files.iter().map(|file| file.positions.len()).sum();
        let is_full = first.organization == "TILED_FULL"
            || first.organization.is_empty() && stated == 0
            || frames == 1 && tiles == 1;
        if is_full {
            if frames < tiles {
                return Err(Error::malformed(format!(
                    "The DICOM image states {frames} frames where it has {tiles} tiles; a file of \
                     it may be missing"
                )));
            }
            if frames > tiles {
                notes.push(format!(
                    "An image of the series has {}; the first is used",
                    several_planes(first)
                ));
            }
            return Ok(None);
        }
        if stated as u64 != frames {
            return Err(Error::malformed(format!(
                "The DICOM image states the positions of {stated} of its {frames} frames"
            )));
        }
        let mut placed = Vec::with_capacity(stated);
        let positions = self.files.iter().flat_map(|file| &file.positions);
        for (frame, [column, row]) in (0..).zip(positions) {
            // Positions count from 1.
            let x = u64::try_from(column - 1).ok().filter(|x| *x < image.width);
            let y = u64::try_from(row - 1).ok().filter(|y| *y < image.height);
            let (Some(x), Some(y)) = (x, y) else {
                return Err(Error::malformed(format!(
                    "A frame of the DICOM image lies at column {column}, row {row}, outside the \
                     image"
                )));
            };
            if x % image.tile_width != 0 || y % image.tile_height != 0 {
                return Err(not_decoded("frames that do not lie side by side in a grid"));
            }
            let tile = y / image.tile_height * across + x / image.tile_width;
            placed.push(PlacedFrame { tile, frame });
        }
        placed.sort_unstable();
        let listed = placed.len();
        placed.dedup_by_key(|p| p.tile);
        if placed.len() < listed {
            notes.push(format!(
                "An image of the series has {}; the first of each place is used",
                several_planes(first)
            ));
        }
        Ok(Some(placed))
    }
}

/// Why an image has more frames than tiles.
fn several_planes(file: &DicomFile) -> String {
    match (file.focal_planes, file.optical_paths) {
        (2.., _) => format!("{} focal planes", file.focal_planes),
        (_, 2..) => format!("{} optical paths", file.optical_paths),
        _ => "more frames than tiles".to_owned(),
    }
}

/// Bytes of the pixels of a frame without compression.
fn frame_bytes(image: &FrameImage) -> u64 {
    let pixels = image.tile_width.saturating_mul(image.tile_height);
    if image.subsampled_across > 1 {
        // Two of Y, one of Cb and one of Cr for two pixels.
        return image.tile_width.div_ceil(2).saturating_mul(4).saturating_mul(image.tile_height);
    }
    pixels.saturating_mul(image.samples)
}

fn not_decoded(what: &str) -> Error {
    Error::unsupported(format!(
        "The DICOM slide has {what}, which is not supported; convert it with QuPath (export as \
         OME-TIFF) or wsidicom"
    ))
}

/// How the frames of a file are stored.
fn frame_image(file: &DicomFile) -> Result<FrameImage> {
    if file.bits != 8 || !matches!(file.samples, 1 | 3) {
        return Err(not_decoded(&format!(
            "{} samples of {} bits a pixel",
            file.samples, file.bits
        )));
    }
    let compression = compression(file)?;
    let is_stored_422 = compression == Compression::None && file.photometric == "YBR_FULL_422";
    let photometric = match file.photometric.as_str() {
        "MONOCHROME1" if file.samples == 1 => Photometric::WhiteIsZero,
        "MONOCHROME2" if file.samples == 1 => Photometric::BlackIsZero,
        "RGB" if file.samples == 3 => Photometric::Rgb,
        // The decoder undoes the transform of a codestream.
        "YBR_ICT" | "YBR_RCT" | "YBR_FULL" | "YBR_FULL_422"
            if matches!(compression, Compression::Jpeg2000 { .. }) && file.samples == 3 =>
        {
            Photometric::Rgb
        }
        "YBR_FULL" | "YBR_FULL_422" if file.samples == 3 => Photometric::YCbCr,
        other => {
            return Err(not_decoded(&format!(
                "colours of the kind {other} with {} samples a pixel",
                file.samples
            )));
        }
    };
    let [width, height] = file.size();
    if [width, height, file.columns, file.rows].contains(&0) {
        return Err(Error::malformed(format!(
            "The DICOM slide states {width}×{height} pixels in frames of {}×{}",
            file.columns, file.rows
        )));
    }
    Ok(FrameImage {
        width,
        height,
        tile_width: file.columns,
        tile_height: file.rows,
        compression,
        samples: file.samples,
        photometric,
        subsampled_across: if is_stored_422 { 2 } else { 1 },
    })
}

/// By the transfer syntax (PS3.5, section 10).
fn compression(file: &DicomFile) -> Result<Compression> {
    let code = file
        .transfer_syntax
        .strip_prefix("1.2.840.10008.1.2")
        .ok_or_else(|| unknown_syntax("an unknown kind of compression", &file.transfer_syntax))?;
    let name = match code {
        // As they are; in fragments.
        "" | ".1" | ".1.98" => return Ok(Compression::None),
        // Baseline; extended, of which 8 bits are read.
        ".4.50" | ".4.51" => return Ok(Compression::Jpeg),
        ".4.90" | ".4.91" => {
            return Ok(Compression::Jpeg2000 { ycc: file.photometric == "YBR_FULL" });
        }
        ".5" => return Ok(Compression::DicomRle),
        ".4.57" | ".4.70" => "JPEG without loss",
        ".4.80" | ".4.81" => "JPEG-LS",
        ".4.92" | ".4.93" => "multi-component JPEG 2000",
        ".4.94" | ".4.95" => "JPIP, which refers to a server",
        ".4.100" | ".4.100.1" | ".4.101" | ".4.101.1" => "MPEG-2 video",
        ".4.102" | ".4.102.1" | ".4.103" | ".4.103.1" | ".4.104" | ".4.104.1" | ".4.105"
        | ".4.105.1" | ".4.106" | ".4.106.1" => "MPEG-4 video",
        ".4.107" | ".4.108" => "HEVC video",
        ".4.110" | ".4.111" | ".4.112" => "JPEG XL",
        ".4.201" | ".4.202" | ".4.203" => "high-throughput JPEG 2000 (HTJ2K)",
        _ => "an unknown kind of compression",
    };
    Err(unknown_syntax(name, &file.transfer_syntax))
}

fn unknown_syntax(name: &str, uid: &str) -> Error {
    Error::unsupported(format!(
        "The DICOM slide is compressed with {name} (transfer syntax {uid}), which is not \
         supported; convert it: dcmdjpeg or gdcmconv --raw in.dcm out.dcm, or wsidicom"
    ))
}
