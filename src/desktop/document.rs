//! What is looked at: a slide on a disk or a server, or an image in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{ErrorContext as _, Result};
use crate::model::InstanceParameters;
use crate::picture::{first_bytes, foreign_format, is_dicom_slide, is_tiff, read_picture_file};
use crate::raster::{DecodeLimits, RgbImage, StainMatching};
use crate::review::{FingerprintOf, fingerprint};
use crate::slide::{SlideReader, is_slide_folder, is_zarr, source};
use crate::viewer::{Pyramid, SlideTiles, TileKey};
use crate::whole_slide::{
    BackgroundBlocks, PixelRequest, PixelSource, SegmentSettings, SlideJob, SlideRegion, SlideSetup,
};

/// A TIFF of one level is an image while it has no more pixels than this.
const MAX_IMAGE_PX: usize = 36_000_000;
/// Side of a block, pixels: small enough for answers to come soon.
const BLOCK_PX: usize = 1024;

/// The fingerprint of a file by path or address.
///
/// # Errors
/// When it cannot be read.
pub(super) fn fingerprint_of(place: &str) -> Result<String> {
    let is_address = place.starts_with("http://") || place.starts_with("https://");
    if is_zarr(place) {
        let identity = SlideReader::open_at(place)?.identity()?.into_bytes();
        return fingerprint(identity.len() as u64, FingerprintOf::File, |_| Ok(identity.clone()));
    }
    let of = if is_address { FingerprintOf::Pieces } else { FingerprintOf::File };
    let bytes = source(place)?;
    fingerprint(bytes.len(), of, |range| bytes.read(range))
}

/// A picture of any size.
pub enum Document {
    Slide {
        reader: Box<SlideReader>,
        tiles: SlideTiles,
    },
    Image {
        pyramid: Pyramid,
        /// Pixel size, if the file states one.
        mpp_um: Option<f64>,
        notes: Vec<String>,
    },
}

impl Document {
    /// Opens a slide by path or address, or an image file.
    ///
    /// # Errors
    /// Those of the readers.
    pub fn open(place: &str) -> Result<Self> {
        if place.starts_with("http://") || place.starts_with("https://") || is_zarr(place) {
            return Ok(Self::slide(SlideReader::open_at(place).at(place)?));
        }
        let path = Path::new(place);
        if is_slide_folder(path) {
            return Ok(Self::slide(source(place).and_then(SlideReader::open).at(place)?));
        }
        let first = first_bytes(path)?;
        if is_dicom_slide(&first) {
            return Ok(Self::slide(source(place).and_then(SlideReader::open).at(place)?));
        }
        if is_tiff(&first) && foreign_format(&first, Some(place)).is_none() {
            // Perhaps a TIFF that only the image reader knows; its error is then the one to show.
            let opened = source(place).and_then(SlideReader::open);
            if let Ok(reader) = opened
                && is_slide(&reader)
            {
                return Ok(Self::slide(reader));
            }
        }
        let picture = read_picture_file(path, DecodeLimits::default())?;
        Ok(Self::Image {
            pyramid: Pyramid::new(Arc::new(picture.image)),
            mpp_um: picture.pixel_size_um.map(|size| size.mean()),
            notes: picture.notes.notes,
        })
    }

    fn slide(reader: SlideReader) -> Self {
        let tiles = SlideTiles::new(&reader.slide);
        Self::Slide { reader: Box::new(reader), tiles }
    }

    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Slide { tiles, .. } => tiles.size(),
            Self::Image { pyramid, .. } => (pyramid.image().width(), pyramid.image().height()),
        }
    }

    /// Pixel size, if the file says.
    #[must_use]
    pub fn mpp_um(&self) -> Option<f64> {
        match self {
            Self::Slide { reader, .. } => reader.slide.mpp_um,
            Self::Image { mpp_um, .. } => *mpp_um,
        }
    }

    /// What was unusual about the file and what was done about it, a sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Slide { reader, .. } => &reader.slide.notes,
            Self::Image { notes, .. } => notes,
        }
    }

    /// RGBA of a tile with its apron.
    ///
    /// # Errors
    /// Those of the slide's source; a tile that there is not.
    pub fn tile(&self, key: TileKey) -> Result<Vec<u8>> {
        match self {
            Self::Image { pyramid, .. } => pyramid.tile(key),
            Self::Slide { reader, tiles } => {
                let source = tiles.source(key)?;
                let r = source.rect;
                tiles.tile(key, &reader.region(source.level, r.x, r.y, r.width, r.height)?)
            }
        }
    }

    /// Prepares its segmentation by a model with pixels of `model_mpp_um` micrometres.
    ///
    /// # Errors
    /// Pixel sizes too far apart; a slide that cannot be read; [`Cancelled`](crate::error::Error)
    /// when asked to stop.
    pub fn prepare(
        &self,
        model_mpp_um: f64,
        parameters: InstanceParameters,
        mpp_um: Option<f64>,
        stain: StainMatching,
        cancel: &AtomicBool,
    ) -> Result<SlideJob> {
        let settings = SegmentSettings {
            parameters,
            region: SlideRegion::Everything,
            mpp_um,
            stain,
            background: BackgroundBlocks::Skip,
            block_px: BLOCK_PX,
        };
        let setup = match self {
            Self::Image { .. } => SlideSetup::of_image(self.size(), model_mpp_um, settings),
            Self::Slide { reader, .. } => {
                SlideSetup::of_slide(&reader.slide, model_mpp_um, settings)
            }
        };
        setup?.complete(self, cancel)
    }
}

impl PixelSource for Document {
    fn read(&self, request: PixelRequest) -> Result<RgbImage> {
        match self {
            Self::Slide { reader, .. } => reader.read(request),
            Self::Image { pyramid, .. } => pyramid.image().read(request),
        }
    }
}

fn is_slide(reader: &SlideReader) -> bool {
    let first = &reader.slide.levels[0];
    reader.slide.levels.len() > 1
        || first.is_mosaic()
        || first.width.saturating_mul(first.height) > MAX_IMAGE_PX
}
