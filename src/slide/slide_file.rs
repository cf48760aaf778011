//! The image of a slide: the levels of its pyramid, and how large a pixel is.

use std::collections::HashSet;

use super::dicom;
use super::level::SlideLevel;
use super::objects::{ObjectCache, ObjectError, ObjectResult, TileRequests};
use super::ome_zarr;
use super::pictures::TiffPictures;
use super::pixel_size::PixelSize;
use super::range_cache::{RangeCache, ReadResult};
use super::tiff::tag;
use super::tiles::TileIndex;

/// A level counts as fine enough when its pixels are larger than requested by at most this factor.
const LEVEL_TOLERANCE: f64 = 1.01;

/// File format, by the image description and the tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlideFormat {
    /// Aperio SVS.
    Aperio,
    /// OME-TIFF: the description is OME-XML.
    OmeTiff,
    /// Hamamatsu NDPI.
    Hamamatsu,
    /// Philips TIFF.
    Philips,
    /// Leica SCN.
    Leica,
    /// Trestle.
    Trestle,
    /// Ventana BIF or TIFF.
    Ventana,
    /// Any other pyramidal TIFF.
    Tiff,
    /// OME-Zarr: arrays in many objects.
    OmeZarr,
    /// DICOM whole slide images.
    Dicom,
}

/// Metadata and levels of a slide.
#[derive(Debug, Clone, PartialEq)]
pub struct Slide {
    /// File format.
    pub format: SlideFormat,
    /// The pyramid, finest level first; at least one level.
    pub levels: Vec<SlideLevel>,
    /// Pixel size of the finest level, µm, the mean of both sides, if the file states it.
    pub mpp_um: Option<f64>,
    /// Both sides of [`Self::mpp_um`].
    pub pixel_size_um: Option<PixelSize>,
    /// Magnification of the objective, if the file states it.
    pub magnification: Option<f64>,
    /// Number of images outside the pyramid: label, macro, thumbnail.
    pub associated_images: usize,
    /// Number of smaller versions of the picture whose sides do not fit one factor.
    pub levels_set_aside: usize,
    /// Sentences about what is not shown or was assumed.
    pub notes: Vec<String>,
}

impl Slide {
    /// Reads the directories, or the headers of DICOM files. Call it again after each
    /// [`ReadError::NeedBytes`](super::ReadError::NeedBytes) with more bytes in the cache.
    ///
    /// # Errors
    /// Missing bytes; a file that is no supported slide.
    pub fn open(bytes: &RangeCache) -> ReadResult<Self> {
        if dicom::begins_as_dicom(bytes)? {
            return dicom::open(bytes);
        }
        let pictures = TiffPictures::open(bytes)?;
        for level in &pictures.levels {
            level.check_slide()?;
        }
        let orientation = pictures.directory.number_or(bytes, tag::ORIENTATION, 1)?;
        let mut notes = pictures.notes;
        if (2..=8).contains(&orientation) {
            notes.push(format!(
                "The file states that its picture is shown turned or mirrored (TIFF orientation \
                 {orientation}); the slide is shown as it is stored"
            ));
        }
        notes.extend(pictures.pixel_size_um.and_then(|size| size.note()));
        Ok(Self {
            format: pictures.format,
            levels: pictures.levels,
            mpp_um: pictures.pixel_size_um.map(|size| size.mean()),
            pixel_size_um: pictures.pixel_size_um,
            magnification: pictures.magnification,
            associated_images: pictures.associated_images,
            levels_set_aside: pictures.levels_set_aside,
            notes,
        })
    }

    /// Reads the metadata of a slide that consists of objects: an OME-Zarr 0.4 or 0.5. Call it
    /// again after each [`ObjectError::NeedObjects`](super::ObjectError::NeedObjects) with more
    /// objects in the cache.
    ///
    /// # Errors
    /// Missing objects; objects that are no supported slide.
    pub fn open_objects(known: &ObjectCache) -> ObjectResult<Self> {
        ome_zarr::open(known)
    }

    /// The objects of tiles, in their order; see [`SlideLevel::tile_objects`].
    ///
    /// # Errors
    /// All objects that any of the tiles lacks; those of the levels.
    pub fn tile_objects(
        &self,
        known: &ObjectCache,
        indices: &[TileIndex],
    ) -> ObjectResult<TileRequests> {
        let mut found = Vec::with_capacity(indices.len());
        let mut missing = Vec::new();
        for TileIndex { level, column, row } in indices {
            match self.levels[*level].tile_objects(known, *column, *row) {
                Ok(requests) => found.push(requests),
                Err(ObjectError::NeedObjects(requests)) => missing.extend(requests),
                Err(failure) => return Err(failure),
            }
        }
        if missing.is_empty() {
            return Ok(TileRequests::new(found));
        }
        // Tiles share the indices of shards.
        let mut seen = HashSet::new();
        missing.retain(|request| seen.insert(request.clone()));
        Err(ObjectError::NeedObjects(missing))
    }

    /// How many pixels of the finest level a pixel of this level spans, along one side.
    #[must_use]
    pub fn downsample(&self, level: usize) -> f64 {
        let finest = &self.levels[0];
        let level = &self.levels[level];
        f64::midpoint(
            finest.width as f64 / level.width as f64,
            finest.height as f64 / level.height as f64,
        )
    }

    /// Index of the coarsest level that is still fine enough for `downsample` pixels of the finest
    /// level to one.
    #[must_use]
    pub fn level_for(&self, downsample: f64) -> usize {
        for level in (0..self.levels.len()).rev() {
            if self.downsample(level) <= downsample * LEVEL_TOLERANCE {
                return level;
            }
        }
        0
    }
}
