//! Which directories of a file are the levels of its pyramid, and how large a pixel is.

use super::level::SlideLevel;
use super::range_cache::{RangeCache, ReadResult};
use super::tiff::{Directory, directories, tag};

/// Pixel sizes outside this range are printers' resolutions, not microscopes', µm.
const PLAUSIBLE_MPP: std::ops::RangeInclusive<f64> = 0.02..=20.0;
/// How far a level's sides may be from those of the first divided by one factor, pixels: writers
/// round and pad.
const SIDE_TOLERANCE: f64 = 2.0;

/// Who wrote the file, by its description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlideFormat {
    Aperio,
    OmeTiff,
    Tiff,
}

/// A slide's facts and levels, the finest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Slide {
    pub kind: SlideFormat,
    pub levels: Vec<SlideLevel>,
    /// Micrometres a pixel of the finest level, if the file says.
    pub mpp_um: Option<f64>,
    /// Of the objective, if the file says.
    pub magnification: Option<f64>,
    /// Images beside the pyramid (label, macro, thumbnail), which are not shown.
    pub associated_images: usize,
}

impl Slide {
    /// Reads the directories. Call it again after each [`super::ReadError::NeedBytes`] with more
    /// bytes.
    ///
    /// # Errors
    /// Missing bytes; whatever the file does wrong.
    pub fn open(bytes: &RangeCache) -> ReadResult<Self> {
        let all = directories(bytes)?;
        let description = all[0].0.text(bytes, tag::DESCRIPTION)?;
        let kind = if description.starts_with("Aperio") {
            SlideFormat::Aperio
        } else if description.contains("<OME") {
            SlideFormat::OmeTiff
        } else {
            SlideFormat::Tiff
        };
        let mut levels = vec![SlideLevel::new(bytes, &all[0].0)?];
        let mut associated_images = 0;
        let rest: Vec<&Directory> = match kind {
            // Other planes of an OME-TIFF are other channels or depths; its pyramid is in the
            // first's sub-directories.
            SlideFormat::OmeTiff => all[0].1.iter().collect(),
            _ => all.iter().flat_map(|(d, subs)| std::iter::once(d).chain(subs)).skip(1).collect(),
        };
        for directory in rest {
            // What cannot be read beside the pyramid is not needed.
            match SlideLevel::new(bytes, directory) {
                Ok(level) if belongs(&levels, &level) => levels.push(level),
                Ok(_) | Err(super::ReadError::Fail(_)) => associated_images += 1,
                Err(need) => return Err(need),
            }
        }
        let mpp_um = match kind {
            SlideFormat::Aperio => aperio(&description, "MPP"),
            SlideFormat::OmeTiff => ome_mpp(&description),
            SlideFormat::Tiff => resolution(bytes, &all[0].0)?,
        };
        let mpp_um = mpp_um.filter(|mpp| PLAUSIBLE_MPP.contains(mpp));
        let magnification =
            if kind == SlideFormat::Aperio { aperio(&description, "AppMag") } else { None };
        Ok(Self { kind, levels, mpp_um, magnification, associated_images })
    }

    /// How many pixels of the finest level a pixel of this one spans.
    #[must_use]
    pub fn downsample(&self, level: usize) -> f64 {
        let (first, level) = (&self.levels[0], &self.levels[level]);
        f64::midpoint(
            first.width as f64 / level.width as f64,
            first.height as f64 / level.height as f64,
        )
    }

    /// The coarsest level that is still as fine as one pixel for `downsample` of the finest.
    #[must_use]
    pub fn level_for(&self, downsample: f64) -> usize {
        let fine = |l: &usize| self.downsample(*l) <= downsample * 1.01;
        (0..self.levels.len()).rfind(fine).unwrap_or(0)
    }
}

/// Whether a level goes on where the others end: smaller, tiled as they are, of the same shape.
fn belongs(levels: &[SlideLevel], level: &SlideLevel) -> bool {
    let (first, last) = (&levels[0], &levels[levels.len() - 1]);
    if level.is_tiled() != first.is_tiled()
        || level.width >= last.width
        || level.samples != first.samples
    {
        return false;
    }
    let factor = first.width as f64 / level.width as f64;
    let height = first.height as f64 / factor;
    // A pixel more or less across changes the factor, and with it the height that follows.
    let slack = SIDE_TOLERANCE * (1.0 + first.height as f64 / first.width as f64);
    (height - level.height as f64).abs() <= slack
}

/// `|name = number` of an Aperio description.
fn aperio(description: &str, name: &str) -> Option<f64> {
    let parts = description.split('|').filter_map(|part| part.split_once('='));
    parts.filter(|(key, _)| key.trim() == name).find_map(|(_, value)| value.trim().parse().ok())
}

/// Physical size of a pixel in OME-XML, in µm.
fn ome_mpp(xml: &str) -> Option<f64> {
    let pixels = xml.split("<Pixels").nth(1)?.split('>').next()?;
    let attribute = |name: &str| {
        let value = pixels.split(&format!(" {name}=\"")).nth(1)?;
        value.split('"').next()
    };
    let size: f64 = attribute("PhysicalSizeX")?.parse().ok()?;
    match attribute("PhysicalSizeXUnit").unwrap_or("µm") {
        "µm" | "\u{3bc}m" | "um" => Some(size),
        "nm" => Some(size / 1000.0),
        "mm" => Some(size * 1000.0),
        _ => None,
    }
}

/// From pixels an inch or centimetre.
fn resolution(bytes: &RangeCache, directory: &Directory) -> ReadResult<Option<f64>> {
    let unit_um = match directory.number_or(bytes, tag::RESOLUTION_UNIT, 2)? {
        2 => 25_400.0,
        3 => 10_000.0,
        _ => return Ok(None),
    };
    let density = directory.fraction(bytes, tag::X_RESOLUTION)?;
    Ok(density.filter(|d| *d > 0.0).map(|d| unit_um / d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_sizes_are_read_from_both_kinds_of_description() {
        let aperio_text = "Aperio Image Library v11.2.1\r\n46000x32914 [0,100 46000x32914]|AppMag = 20|MPP = 0.4990|x = 1";
        assert_eq!(aperio(aperio_text, "MPP"), Some(0.499));
        assert_eq!(aperio(aperio_text, "AppMag"), Some(20.0));
        assert_eq!(aperio("Aperio|MPP = none", "MPP"), None);
        let xml = |unit: &str| {
            format!(
                "<OME><Image><Pixels ID=\"a\" PhysicalSizeX=\"250\"{unit} SizeX=\"3\"/></Image></OME>"
            )
        };
        assert_eq!(ome_mpp(&xml(" PhysicalSizeXUnit=\"nm\"")), Some(0.25));
        assert_eq!(ome_mpp(&xml("")), Some(250.0));
        assert_eq!(ome_mpp(&xml(" PhysicalSizeXUnit=\"pixel\"")), None);
        assert_eq!(ome_mpp("<OME/>"), None);
    }
}
