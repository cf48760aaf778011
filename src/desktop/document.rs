//! What is looked at: a slide on a disk or a server, or an image in memory.

use std::path::Path;
use std::sync::Arc;

use crate::engine::Block;
use crate::error::{ErrorContext as _, Result};
use crate::platform::read_file;
use crate::raster::{DecodeLimits, RgbImage, StainLut, StainMode, StainStatistics, decode_image};
use crate::slide::{SlideReader, source};
use crate::viewer::{Pyramid, SlideTiles, TileKey};
use crate::whole_slide::{NucleusIndex, RegionReader, Sampling, ScaledSlide, Tissue};

/// Largest image file.
const MAX_IMAGE_BYTES: u64 = 2_000_000_000;
/// A TIFF without tiles is an image while it has no more pixels than this.
const MAX_IMAGE_PX: usize = 36_000_000;
/// Side of a block, pixels: small enough for answers to come soon.
const BLOCK_PX: usize = 1024;

/// A picture of any size.
pub enum Document {
    Slide { reader: Box<SlideReader>, tiles: SlideTiles },
    Image(Pyramid),
}

impl Document {
    /// Opens a slide by path or address, or an image file.
    ///
    /// # Errors
    /// Those of the readers.
    pub fn open(place: &str) -> Result<Self> {
        let remote = place.starts_with("http://") || place.starts_with("https://");
        let is_tiff = |first: &[u8]| first.starts_with(b"II") || first.starts_with(b"MM");
        if remote || is_tiff(&start_of(Path::new(place))?) {
            let opened = source(place).and_then(SlideReader::open).at(place);
            match opened {
                Ok(reader) if remote || is_slide(&reader) => {
                    let tiles = SlideTiles::new(&reader.slide);
                    return Ok(Self::Slide { reader: Box::new(reader), tiles });
                }
                Err(e) if remote => return Err(e),
                // Perhaps a TIFF that only the image reader knows; its error is then the one to
                // show.
                _ => {}
            }
        }
        let image =
            decode_image(&read_file(Path::new(place), MAX_IMAGE_BYTES)?, DecodeLimits::default())
                .at(place)?;
        Ok(Self::Image(Pyramid::new(Arc::new(image))))
    }

    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Slide { tiles, .. } => tiles.size(),
            Self::Image(pyramid) => (pyramid.image().width(), pyramid.image().height()),
        }
    }

    /// Pixel size, if the file says.
    #[must_use]
    pub fn mpp_um(&self) -> Option<f64> {
        match self {
            Self::Slide { reader, .. } => reader.slide.mpp_um,
            Self::Image(_) => None,
        }
    }

    /// RGBA of a tile with its apron.
    ///
    /// # Errors
    /// Those of the slide's source; a tile that there is not.
    pub fn tile(&self, key: TileKey) -> Result<Vec<u8>> {
        match self {
            Self::Image(pyramid) => pyramid.tile(key),
            Self::Slide { reader, tiles } => {
                let source = tiles.source(key)?;
                let r = source.rect;
                tiles.tile(key, &reader.region(source.level, r.x, r.y, r.width, r.height)?)
            }
        }
    }

    /// How a model of `model_mpp` sees it: nothing found yet, and what to read blocks with.
    ///
    /// # Errors
    /// Pixel sizes too far apart; a slide that cannot be read.
    pub fn begin(&self, mpp: Option<f64>, model_mpp: f64) -> Result<(NucleusIndex, ModelView)> {
        let mpp = mpp.unwrap_or(model_mpp);
        let (sampling, tissue) = match self {
            Self::Image(_) => {
                let sampling = Sampling::of_image(self.size(), mpp, model_mpp)?;
                let tissue = Tissue::everywhere(sampling.width(), sampling.height());
                (sampling, tissue)
            }
            Self::Slide { reader, .. } => {
                let sampling = Sampling::new(&reader.slide, mpp, model_mpp)?;
                let tissue = ScaledSlide::new(reader, sampling.clone()).tissue()?;
                (sampling, tissue)
            }
        };
        let index = NucleusIndex::new(&sampling, &tissue, BLOCK_PX);
        let mut model_view = ModelView { sampling, colours: None };
        let windows: Vec<RgbImage> = tissue
            .windows()
            .into_iter()
            .map(|w| self.region(&model_view, w))
            .collect::<Result<_>>()?;
        model_view.colours = StainLut::for_mode(StainMode::Auto, StainStatistics::of(&windows));
        Ok((index, model_view))
    }

    /// A rectangle in the model's pixels, in the picture's own colours.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn region(&self, model_view: &ModelView, block: Block) -> Result<RgbImage> {
        let sampling = &model_view.sampling;
        match self {
            Self::Slide { reader, .. } => ScaledSlide::new(reader, sampling.clone()).region(block),
            Self::Image(pyramid) => {
                let r = sampling.needs(block);
                let source = pyramid.image().crop(
                    r.y.cast_unsigned(),
                    r.x.cast_unsigned(),
                    r.width,
                    r.height,
                );
                sampling.apply(source, block)
            }
        }
    }
}

/// How pixels are read for a model.
#[derive(Debug, Clone)]
pub struct ModelView {
    sampling: Sampling,
    /// What the model sees instead of the picture's own colours.
    pub colours: Option<StainLut>,
}

impl ModelView {
    /// Pixels of the finest level that one of the model's spans.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.sampling.scale
    }
}

fn is_slide(reader: &SlideReader) -> bool {
    let first = &reader.slide.levels[0];
    first.is_tiled() || first.width.saturating_mul(first.height) > MAX_IMAGE_PX
}

/// First bytes of a file.
fn start_of(path: &Path) -> Result<Vec<u8>> {
    use crate::slide::{ByteSource as _, FileSource};
    let file = FileSource::open(path)?;
    file.read(0..file.len().min(4))
}
