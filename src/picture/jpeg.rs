//! The markers of a JPEG file: whether it is complete, and of which kind (ITU-T T.81, annex B).

use crate::error::{Error, Result};
use crate::slide::{PixelSize, UM_PER_CM, UM_PER_INCH};

/// Start of image.
const SOI: u8 = 0xD8;
/// End of image.
const EOI: u8 = 0xD9;
/// Start of scan.
const SOS: u8 = 0xDA;
/// JFIF header.
const APP0: u8 = 0xE0;
/// Temporary marker of arithmetic coding; it has no length.
const TEM: u8 = 0x01;

/// Walks over the markers of a JPEG up to its end marker. What follows that is ignored:
/// cameras append previews and makers' data. Gives the pixel size by the JFIF density, if stated.
///
/// # Errors
/// [`Error::Malformed`] for a file that ends before its end marker, [`Error::Unsupported`] for
/// kinds that no decoder here reads.
pub(super) fn check_jpeg(bytes: &[u8]) -> Result<Option<PixelSize>> {
    let cut = || Error::malformed("The JPEG is cut short");
    let mut pixel_size_um = None;
    let mut has_scan = false;
    // Behind SOI.
    let mut at = 2;
    loop {
        // Entropy-coded data: 0xFF is followed by 0, or by a restart marker. Outside of it only
        // fill bytes precede a marker; decoders skip other bytes too.
        while *bytes.get(at).ok_or_else(cut)? != 0xFF {
            at += 1;
        }
        while *bytes.get(at).ok_or_else(cut)? == 0xFF {
            at += 1;
        }
        let marker = bytes[at];
        at += 1;
        match marker {
            0 | TEM | SOI | 0xD0..=0xD7 => continue,
            EOI if has_scan => return Ok(pixel_size_um),
            EOI => return Err(Error::malformed("The JPEG holds no picture")),
            _ => {}
        }
        let length = match bytes.get(at..at + 2) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => return Err(cut()),
        };
        let segment = bytes.get(at + 2..at + length.max(2)).ok_or_else(cut)?;
        at += length.max(2);
        match marker {
            SOS => has_scan = true,
            // Start of frame; 0xC4, 0xC8 and 0xCC are tables and an extension.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                check_frame(marker, segment)?;
            }
            APP0 if segment.starts_with(b"JFIF\0") => {
                pixel_size_um = density(segment);
            }
            _ => {}
        }
    }
}

/// Refuses frames that no decoder here reads. A frame header begins with the bits a sample.
fn check_frame(marker: u8, segment: &[u8]) -> Result<()> {
    let kind = match marker {
        0xC0..=0xC2 => None,
        0xC3 => Some("lossless"),
        0xC9..=0xCB => Some("arithmetic-coded"),
        _ => Some("hierarchical"),
    };
    if let Some(kind) = kind {
        return Err(Error::unsupported(format!(
            "The JPEG is a {kind} one, which few programs read; save it as PNG or TIFF"
        )));
    }
    let Some(precision) = segment.first() else {
        return Err(Error::malformed("The JPEG's frame header is cut short"));
    };
    if *precision != 8 {
        return Err(Error::unsupported(format!(
            "The JPEG has {precision} bits a sample, and only 8 are read; save it as PNG or TIFF"
        )));
    }
    Ok(())
}

/// Pixel size from the density of a JFIF header: units at byte 7 (1: dots an inch, 2: dots a
/// centimetre), then x and y.
fn density(segment: &[u8]) -> Option<PixelSize> {
    let [unit, x_high, x_low, y_high, y_low] = *segment.get(7..12)? else { return None };
    let unit_um = match unit {
        1 => UM_PER_INCH,
        2 => UM_PER_CM,
        _ => return None,
    };
    let [x, y] = [[x_high, x_low], [y_high, y_low]].map(u16::from_be_bytes);
    PixelSize::of_density(f64::from(x), f64::from(y), unit_um)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG's markers with a scan of a few bytes.
    fn jpeg(before: &[u8], frame: u8, precision: u8, after: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xFF, SOI];
        bytes.extend(before);
        bytes.extend([0xFF, frame, 0, 17, precision, 0, 8, 0, 8, 3]);
        bytes.extend([b'R', 0x11, 0, b'G', 0x11, 0, b'B', 0x11, 0]);
        bytes.extend([0xFF, SOS, 0, 2, 1, 2, 0xFF, 0, 0xFF, 0xD0, 3]);
        bytes.extend(after);
        bytes
    }

    #[test]
    fn a_jpeg_is_complete_when_its_end_marker_is_there() {
        let whole = jpeg(&[], 0xC0, 8, &[0xFF, EOI]);
        assert_eq!(check_jpeg(&whole).expect("complete"), None);
        for cut in 2..whole.len() {
            assert!(check_jpeg(&whole[..cut]).is_err(), "cut at {cut}");
        }
        // Anything may follow, also what looks like another scan.
        let trailing = jpeg(&[], 0xC2, 8, &[0xFF, EOI, 7, 0xFF, SOS, 9]);
        assert!(check_jpeg(&trailing).is_ok());
        // A thumbnail in a header has an end marker of its own.
        let thumbnail = jpeg(&[0xFF, 0xE1, 0, 6, 0xFF, SOI, 0xFF, EOI], 0xC0, 8, &[4, 5]);
        assert!(check_jpeg(&thumbnail).is_err());
    }

    #[test]
    fn kinds_that_cannot_be_read_are_named() {
        for (frame, precision, word) in
            [(0xC1, 12, "12 bits"), (0xC9, 8, "arithmetic"), (0xC3, 8, "lossless")]
        {
            let error = check_jpeg(&jpeg(&[], frame, precision, &[0xFF, EOI])).expect_err(word);
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn the_density_is_the_pixel_size() {
        let jfif = [0xFF, APP0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 2, 0x9C, 0x40, 0x4E, 0x20];
        let jfif = [&jfif[..], &[0, 0]].concat();
        let size = check_jpeg(&jpeg(&jfif, 0xC0, 8, &[0xFF, EOI])).expect("complete");
        assert_eq!(size, Some(PixelSize { x: 0.25, y: 0.5 }));
    }
}
