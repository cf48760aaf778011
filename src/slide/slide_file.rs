//! The image of a slide: which directories of the file are the levels of its pyramid, and how large
//! a pixel is.

use super::level::SlideLevel;
use super::range_cache::{RangeCache, ReadError, ReadResult};
use super::tiff::{Directory, directories, tag};

/// Plausible pixel sizes, µm. Others are default resolutions for printing, such as 72 pixels an
/// inch.
const PLAUSIBLE_MPP: std::ops::RangeInclusive<f64> = 0.02..=20.0;
/// How far the sides of a level may be from those of the finest one divided by the same factor,
/// pixels: writers round and pad.
const SIDE_TOLERANCE_PX: f64 = 2.0;
/// A level counts as fine enough when its pixels are larger than requested by at most this factor.
const LEVEL_TOLERANCE: f64 = 1.01;

/// File format, told by the image description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlideFormat {
    /// Aperio SVS.
    Aperio,
    /// OME-TIFF: the description is OME-XML.
    OmeTiff,
    /// Any other pyramidal TIFF.
    Tiff,
}

/// Metadata and levels of a slide.
#[derive(Debug, Clone, PartialEq)]
pub struct Slide {
    /// File format.
    pub format: SlideFormat,
    /// The pyramid, finest level first; at least one level.
    pub levels: Vec<SlideLevel>,
    /// Pixel size of the finest level, µm, if the file states it.
    pub mpp_um: Option<f64>,
    /// Magnification of the objective, if the file states it.
    pub magnification: Option<f64>,
    /// Number of images outside the pyramid: label, macro, thumbnail.
    pub associated_images: usize,
}

impl Slide {
    /// Reads the directories. Call it again after each [`ReadError::NeedBytes`] with more bytes in
    /// the cache.
    ///
    /// # Errors
    /// Missing bytes; a file that is no supported slide.
    pub fn open(bytes: &RangeCache) -> ReadResult<Self> {
        let nodes = directories(bytes)?;
        let first = &nodes[0].directory;
        let description = first.text(bytes, tag::IMAGE_DESCRIPTION)?;
        let format = if description.starts_with("Aperio") {
            SlideFormat::Aperio
        } else if description.contains("<OME") {
            SlideFormat::OmeTiff
        } else {
            SlideFormat::Tiff
        };
        let mut candidates: Vec<&Directory> = nodes[0].sub_directories.iter().collect();
        // The main directories of an OME-TIFF behind the first are other channels or focal planes;
        // its pyramid lies in sub-directories.
        if format != SlideFormat::OmeTiff {
            for node in &nodes[1..] {
                candidates.push(&node.directory);
                candidates.extend(&node.sub_directories);
            }
        }
        let mut levels = vec![SlideLevel::new(bytes, first)?];
        let mut associated_images = 0;
        for directory in candidates {
            match SlideLevel::new(bytes, directory) {
                Ok(level) if continues_pyramid(&levels, &level) => levels.push(level),
                // An associated image may have any form; its errors do not matter.
                Ok(_) | Err(ReadError::Fail(_)) => associated_images += 1,
                Err(need) => return Err(need),
            }
        }
        let stated_mpp = match format {
            SlideFormat::Aperio => aperio_value(&description, "MPP"),
            SlideFormat::OmeTiff => ome_pixel_size_um(&description),
            SlideFormat::Tiff => resolution_mpp(bytes, first)?,
        };
        let magnification = match format {
            SlideFormat::Aperio => aperio_value(&description, "AppMag"),
            SlideFormat::OmeTiff | SlideFormat::Tiff => None,
        };
        Ok(Self {
            format,
            levels,
            mpp_um: stated_mpp.filter(|mpp| PLAUSIBLE_MPP.contains(mpp)),
            magnification,
            associated_images,
        })
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

/// Whether an image is the next level of the pyramid: smaller than the last one, of the same shape,
/// samples and storage.
fn continues_pyramid(levels: &[SlideLevel], candidate: &SlideLevel) -> bool {
    let finest = &levels[0];
    let coarsest = &levels[levels.len() - 1];
    if candidate.is_tiled() != finest.is_tiled()
        || candidate.width >= coarsest.width
        || candidate.samples != finest.samples
    {
        return false;
    }
    let factor = finest.width as f64 / candidate.width as f64;
    let expected_height = finest.height as f64 / factor;
    // A rounded width changes the factor, and with it the expected height.
    let tolerance = SIDE_TOLERANCE_PX * (1.0 + finest.height as f64 / finest.width as f64);
    (expected_height - candidate.height as f64).abs() <= tolerance
}

/// Value of a key in an Aperio description: `Aperio …|AppMag = 20|MPP = 0.4990|…`.
fn aperio_value(description: &str, key: &str) -> Option<f64> {
    for part in description.split('|') {
        if let Some((name, value)) = part.split_once('=')
            && name.trim() == key
            && let Ok(value) = value.trim().parse()
        {
            return Some(value);
        }
    }
    None
}

/// `PhysicalSizeX` of the first `Pixels` element of OME-XML (schema 2016-06), µm.
fn ome_pixel_size_um(xml: &str) -> Option<f64> {
    let pixels = xml.split("<Pixels").nth(1)?.split('>').next()?;
    let size: f64 = xml_attribute(pixels, "PhysicalSizeX")?.parse().ok()?;
    // Writers use both characters for micro: U+00B5 and the Greek letter U+03BC.
    match xml_attribute(pixels, "PhysicalSizeXUnit").unwrap_or("µm") {
        "µm" | "\u{3bc}m" | "um" => Some(size),
        "nm" => Some(size / 1000.0),
        "mm" => Some(size * 1000.0),
        _ => None,
    }
}

fn xml_attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let value = element.split(&format!(" {name}=\"")).nth(1)?;
    value.split('"').next()
}

/// Pixel size from `XResolution`, pixels an inch (unit 2, the default) or a centimetre (3), µm.
fn resolution_mpp(bytes: &RangeCache, directory: &Directory) -> ReadResult<Option<f64>> {
    let unit_um = match directory.number_or(bytes, tag::RESOLUTION_UNIT, 2)? {
        2 => 25_400.0,
        3 => 10_000.0,
        _ => return Ok(None),
    };
    let pixels_per_unit = directory.rational(bytes, tag::X_RESOLUTION)?;
    Ok(pixels_per_unit.filter(|n| *n > 0.0).map(|n| unit_um / n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_sizes_are_read_from_both_kinds_of_description() {
        let aperio = "Aperio Image Library v11.2.1\r\n46000x32914 [0,100 46000x32914]\
            |AppMag = 20|MPP = 0.4990|x = 1";
        assert_eq!(aperio_value(aperio, "MPP"), Some(0.499));
        assert_eq!(aperio_value(aperio, "AppMag"), Some(20.0));
        assert_eq!(aperio_value("Aperio|MPP = none", "MPP"), None);
        let xml = |unit: &str| {
            format!("<OME><Image><Pixels ID=\"a\" PhysicalSizeX=\"250\"{unit} SizeX=\"3\"/>")
        };
        assert_eq!(ome_pixel_size_um(&xml(" PhysicalSizeXUnit=\"nm\"")), Some(0.25));
        assert_eq!(ome_pixel_size_um(&xml("")), Some(250.0));
        assert_eq!(ome_pixel_size_um(&xml(" PhysicalSizeXUnit=\"pixel\"")), None);
        assert_eq!(ome_pixel_size_um("<OME/>"), None);
    }
}
