//! Size of a pixel in micrometres, as files state it.

use super::range_cache::{RangeCache, ReadResult};
use super::tiff::{Directory, tag};

/// Plausible sizes, µm. Others are default resolutions for printing, such as 72 pixels an inch.
const PLAUSIBLE_UM: std::ops::RangeInclusive<f64> = 0.02..=20.0;
/// Width and height may differ by this share without a note: writers round.
const SQUARE_TOLERANCE: f64 = 0.01;
/// Micrometres of an inch.
pub(crate) const UM_PER_INCH: f64 = 25_400.0;
/// Micrometres of a centimetre.
pub(crate) const UM_PER_CM: f64 = 10_000.0;

/// Size of a pixel, micrometres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelSize {
    /// Width.
    pub x: f64,
    /// Height.
    pub y: f64,
}

impl PixelSize {
    /// Of a square pixel.
    #[must_use]
    pub fn square(side_um: f64) -> Self {
        Self { x: side_um, y: side_um }
    }

    /// From pixels per unit of `unit_um` micrometres, in x and y; `None` unless both are positive.
    #[must_use]
    pub fn of_density(x: f64, y: f64, unit_um: f64) -> Option<Self> {
        (x > 0.0 && y > 0.0).then(|| Self { x: unit_um / x, y: unit_um / y })
    }

    /// Mean of width and height.
    #[must_use]
    pub fn mean(&self) -> f64 {
        f64::midpoint(self.x, self.y)
    }

    /// Whether a microscope or slide scanner can have such pixels: 0.02 to 20 µm.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        PLAUSIBLE_UM.contains(&self.x) && PLAUSIBLE_UM.contains(&self.y)
    }

    /// A sentence when width and height differ by more than 1 %.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        if (self.x - self.y).abs() <= SQUARE_TOLERANCE * self.mean() {
            return None;
        }
        let rounded = |um: f64| (um * 1e4).round() / 1e4;
        Some(format!(
            "The pixels are not square: {} µm wide and {} µm high; the mean, {} µm, is used",
            rounded(self.x),
            rounded(self.y),
            rounded(self.mean())
        ))
    }
}

/// A number; a comma counts as the decimal point.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let value: f64 = text.trim().replace(',', ".").parse().ok()?;
    value.is_finite().then_some(value)
}

/// Micrometres of one unit of length, by the names that OME-XML and `ImageJ` use.
pub(super) fn unit_um(name: &str) -> Option<f64> {
    // Writers use both characters for micro, U+00B5 and the Greek letter U+03BC; ImageJ escapes
    // the former.
    let name = name.trim().replace("\\u00B5", "µ").replace('\u{3bc}', "µ");
    Some(match name.as_str() {
        "µm" | "um" | "micron" | "microns" | "micrometer" | "micrometre" | "micrometers" => 1.0,
        "pm" => 1e-6,
        "Å" | "\u{212b}" | "A\u{30a}" => 1e-4,
        "nm" | "nanometer" | "nanometre" => 1e-3,
        "mm" | "millimeter" | "millimetre" => 1e3,
        "cm" | "centimeter" | "centimetre" => UM_PER_CM,
        "dm" => 1e5,
        "m" | "meter" | "metre" => 1e6,
        "in" | "inch" => UM_PER_INCH,
        "thou" | "mil" => UM_PER_INCH / 1e3,
        "li" => UM_PER_INCH / 12.0,
        "ft" => UM_PER_INCH * 12.0,
        "pt" => UM_PER_INCH / 72.0,
        _ => return None,
    })
}

/// Pixel size from `XResolution` and `YResolution`, pixels an inch (unit 2, the default) or a
/// centimetre (3). None without either, as in `OpenSlide`.
pub(super) fn from_resolution(
    bytes: &RangeCache,
    directory: &Directory,
) -> ReadResult<Option<PixelSize>> {
    let unit_um = match directory.number_or(bytes, tag::RESOLUTION_UNIT, 2)? {
        2 => UM_PER_INCH,
        3 => UM_PER_CM,
        _ => return Ok(None),
    };
    per_unit(bytes, directory, unit_um)
}

/// Pixel size from `XResolution` and `YResolution`, pixels a unit of `unit_um` micrometres.
pub(super) fn per_unit(
    bytes: &RangeCache,
    directory: &Directory,
    unit_um: f64,
) -> ReadResult<Option<PixelSize>> {
    let x = directory.real_at(bytes, tag::X_RESOLUTION, 0)?;
    let y = directory.real_at(bytes, tag::Y_RESOLUTION, 0)?;
    let (Some(x), Some(y)) = (x, y) else { return Ok(None) };
    Ok(PixelSize::of_density(x, y, unit_um))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_numbers_are_read_in_every_spelling() {
        for (name, um) in [("\u{3bc}m", 1.0), ("\\u00B5m", 1.0), ("nm", 1e-3), ("inch", 25_400.0)] {
            assert_eq!(unit_um(name), Some(um), "{name}");
        }
        assert_eq!(unit_um("pixel"), None);
        assert_eq!(decimal(" 0,2520 "), Some(0.252));
        for text in ["", "none", "inf", "1,000.5"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn only_sides_that_differ_are_noted() {
        assert_eq!(PixelSize { x: 0.25, y: 0.2501 }.note(), None);
        let note = PixelSize { x: 0.25, y: 0.5 }.note().expect("not square");
        assert!(note.contains("0.25 µm wide and 0.5 µm high; the mean, 0.375 µm"), "{note}");
        let note = PixelSize { x: 0.25, y: 1.0 / 3.8 }.note().expect("not square");
        assert!(note.contains("0.2632 µm high"), "{note}");
    }
}
