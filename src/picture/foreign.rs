//! Files of other programs, by their first bytes and their name: what they are, and the way out.

use super::decode::PictureFormat;
use crate::error::Error;
use crate::slide::DicomKind;

/// Bytes of a text that are read.
const TEXT_LEN: usize = 1024;

/// Way out of slide formats.
const SLIDE_WAY: &str = "export it as OME-TIFF or pyramidal TIFF (QuPath: File > Export images; \
                         bfconvert; vips tiffsave)";
/// Way out of pictures.
const PICTURE_WAY: &str = "save the picture as PNG or TIFF";
/// Way out of packed files.
const UNPACK_WAY: &str = "unpack it and give the file inside";
/// Way out of outlines.
const OUTLINES_WAY: &str = "outlines belong beside their picture; give the picture itself, or \
                            convert them with 'prunella convert'";

/// First bytes, what they are, and the way out.
const SIGNATURES: [(&[u8], &str, &str); 22] = [
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5, .ims)", "save its picture as PNG or TIFF"),
    (
        b"\x93NUMPY",
        "a NumPy array (.npy)",
        "save it as TIFF (tifffile.imwrite); Cellpose also writes the masks of a _seg.npy as \
         _cp_masks.png or .tif",
    ),
    (b"ZISRAWFILE", "a Zeiss CZI slide", SLIDE_WAY),
    (b"\x70\x00\x00\x00", "a Leica LIF file", SLIDE_WAY),
    (b"\xDA\xCE\xBE\x0A", "a Nikon ND2 file", SLIDE_WAY),
    (b"\x00\x00\x00\x0CJXL ", "a JPEG XL picture", PICTURE_WAY),
    (b"\xFF\x0A", "a JPEG XL picture", PICTURE_WAY),
    (b"%PDF", "a PDF document", "export the picture in it as PNG or TIFF"),
    (b"%!PS", "a PostScript document", "export the picture in it as PNG or TIFF"),
    (b"8BPS", "a Photoshop document", PICTURE_WAY),
    (b"PK\x03\x04", "a ZIP archive (or a document or array packed as one)", UNPACK_WAY),
    (b"PK\x05\x06", "an empty ZIP archive", UNPACK_WAY),
    (b"\x1F\x8B", "a file packed with gzip", UNPACK_WAY),
    (b"BZh", "a file packed with bzip2", UNPACK_WAY),
    (b"\xFD7zXZ\0", "a file packed with xz", UNPACK_WAY),
    (b"\x28\xB5\x2F\xFD", "a file packed with Zstandard", UNPACK_WAY),
    (b"7z\xBC\xAF\x27\x1C", "a 7-Zip archive", UNPACK_WAY),
    (b"Rar!", "a RAR archive", UNPACK_WAY),
    (b"\xD0\xCF\x11\xE0", "a document of older Office programs", PICTURE_WAY),
    (b"MATLAB ", "a MATLAB file", "save its picture or labels as PNG or TIFF (imwrite)"),
    (b"bplist00", "a property list", "if iCloud left it in place of the file, download that first"),
    (b"\x76\x2F\x31\x01", "an OpenEXR picture", PICTURE_WAY),
];

/// Endings of names, what such files are, and the way out: where the first bytes do not decide.
const ENDINGS: [(&str, &str, &str); 14] = [
    (".mrxs", "the index of a 3DHISTECH slide", SLIDE_WAY),
    (".vsi", "the index of an Olympus slide", SLIDE_WAY),
    (".czi", "a Zeiss CZI slide", SLIDE_WAY),
    (".lif", "a Leica LIF file", SLIDE_WAY),
    (".isyntax", "a Philips iSyntax slide", SLIDE_WAY),
    (".i2syntax", "a Philips iSyntax slide", SLIDE_WAY),
    (".tmap", "a slide of another program", SLIDE_WAY),
    (".kfb", "a KFBIO slide", SLIDE_WAY),
    (".mds", "a Motic slide", SLIDE_WAY),
    (".sdpc", "a Sqray slide", SLIDE_WAY),
    (".vms", "the index of a Hamamatsu VMS slide", SLIDE_WAY),
    (".vmu", "the index of a Hamamatsu VMU slide", SLIDE_WAY),
    (".icloud", "iCloud's placeholder", "download the file first"),
    (".mat", "a MATLAB file", "save its picture or labels as PNG or TIFF (imwrite)"),
];

/// What a file is that no reader of pictures or slides here takes, and the way out; `None` for a
/// file that may be one, or is unknown. The first kilobyte of a file is enough; its name decides
/// where the bytes do not.
///
/// ```
/// use prunella::picture::foreign_format;
///
/// let error = foreign_format(b"%PDF-1.7", None).expect("no picture");
/// assert_eq!(
///     error.to_string(),
///     "The file is a PDF document; export the picture in it as PNG or TIFF"
/// );
/// assert!(foreign_format(&[0xFF, 0xD8, 0xFF], Some("photo.jpg")).is_none());
/// ```
#[must_use]
pub fn foreign_format(first_bytes: &[u8], name: Option<&str>) -> Option<Error> {
    let name = name.unwrap_or_default().to_lowercase();
    let named = || {
        let known = ENDINGS.iter().find(|(ending, ..)| name.ends_with(ending))?;
        Some(foreign(known.1, known.2))
    };
    // These begin with a TIFF or a JPEG that is not the slide: the name decides.
    if [".vsi", ".mrxs"].iter().any(|ending| name.ends_with(ending)) {
        return named();
    }
    if first_bytes.is_empty() {
        return Some(Error::malformed("The file is empty"));
    }
    if PictureFormat::of(first_bytes).is_some() {
        return None;
    }
    for (signature, what, way) in SIGNATURES {
        if first_bytes.starts_with(signature) {
            return Some(foreign(what, way));
        }
    }
    match DicomKind::of(first_bytes) {
        Some(DicomKind::WholeSlide) => return None,
        Some(DicomKind::Other) => {
            return Some(foreign(
                "a DICOM object, but no whole slide image (VL Whole Slide Microscopy)",
                "if it holds a picture of tissue, export that as PNG or TIFF",
            ));
        }
        Some(DicomKind::WithoutPreamble) => {
            return Some(foreign(
                "DICOM data without the preamble of a file",
                "write it as a DICOM file (dcmconv +F in.dcm out.dcm)",
            ));
        }
        None => {}
    }
    if first_bytes.get(257..262) == Some(b"ustar") {
        return Some(foreign("a tar archive", UNPACK_WAY));
    }
    // ISO base media: a box "ftyp" with a brand.
    if first_bytes.get(4..8) == Some(b"ftyp") {
        let what = match first_bytes.get(8..12) {
            Some(b"avif" | b"avis") => "an AVIF picture",
            Some(b"heic" | b"heix" | b"heim" | b"hevc" | b"mif1" | b"msf1") => "a HEIC picture",
            _ => "a video",
        };
        return Some(foreign(what, PICTURE_WAY));
    }
    named().or_else(|| foreign_text(first_bytes))
}

/// Whether a file is a picture of a format that is known here, by its first bytes.
#[must_use]
pub fn is_picture(first_bytes: &[u8]) -> bool {
    PictureFormat::of(first_bytes).is_some()
}

/// Whether a file is a DICOM whole slide image, by its first bytes.
#[must_use]
pub fn is_dicom_slide(first_bytes: &[u8]) -> bool {
    DicomKind::of(first_bytes) == Some(DicomKind::WholeSlide)
}

/// Whether a file is a TIFF, by its first bytes: an image, a label map or a slide.
#[must_use]
pub fn is_tiff(first_bytes: &[u8]) -> bool {
    PictureFormat::of(first_bytes) == Some(PictureFormat::Tiff)
}

fn foreign(what: &str, way: &str) -> Error {
    Error::unsupported(format!("The file is {what}; {way}"))
}

/// Kinds of text.
fn foreign_text(bytes: &[u8]) -> Option<Error> {
    let bytes = &bytes[..bytes.len().min(TEXT_LEN)];
    let is_utf_16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    let text = if is_utf_16 {
        // The letters of its markup are ASCII.
        bytes.iter().filter(|byte| byte.is_ascii() && **byte != 0).map(|b| char::from(*b)).collect()
    } else {
        // The end may be cut inside a character.
        let text = String::from_utf8_lossy(bytes).into_owned();
        let controls = text.chars().filter(|c| c.is_control() && !c.is_whitespace()).count();
        let broken = text.matches('\u{FFFD}').count();
        if controls > 0 || broken > 1 + text.len() / 20 {
            return None;
        }
        text
    };
    let text = text.trim_start_matches('\u{FEFF}').trim_start();
    let start = text.to_lowercase();
    if start.starts_with("version https://git-lfs") {
        let way = "fetch the file itself with 'git lfs pull'";
        return Some(foreign("a pointer of Git LFS", way));
    }
    if start.starts_with("<!doctype html") || start.starts_with("<html") {
        let way = "perhaps a download that needed a login; fetch the file itself";
        return Some(foreign("a web page (HTML)", way));
    }
    if start.contains("<svg") {
        return Some(foreign("an SVG drawing", PICTURE_WAY));
    }
    if start.starts_with('<') {
        return Some(foreign("XML", OUTLINES_WAY));
    }
    if start.starts_with('{') || start.starts_with('[') {
        return Some(foreign("JSON", OUTLINES_WAY));
    }
    Some(Error::unsupported("The file is text, not a picture; give the picture itself"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(bytes: &[u8], name: Option<&str>) -> String {
        foreign_format(bytes, name).map_or(String::new(), |e| e.to_string())
    }

    #[test]
    fn files_of_other_programs_are_named_with_a_way_out() {
        let mut dicom = vec![0; 132];
        dicom[128..].copy_from_slice(b"DICM");
        let heic = b"\0\0\0\x18ftypheic\0\0\0\0";
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n";
        let utf_16: Vec<u8> = "\u{FEFF}<?xml?>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], &str); 12] = [
            (&dicom, "DICOM"),
            (heic, "HEIC"),
            (b"\0\0\0\x1cftypavif", "AVIF"),
            (b"\x93NUMPY\x01\0", "_cp_masks"),
            (b"PK\x03\x04\x14\0", "ZIP"),
            (b"\x1F\x8B\x08", "gzip"),
            (lfs, "git lfs pull"),
            (b"<?xml version=\"1.0\"?><svg width=\"3\">", "SVG"),
            (&utf_16, "XML"),
            (b"\xEF\xBB\xBF{\"type\": \"FeatureCollection\"}", "JSON"),
            ("Überblick über die Präparate".as_bytes(), "text"),
            (b"", "empty"),
        ];
        for (bytes, word) in cases {
            let sentence = sentence(bytes, None);
            assert!(sentence.contains(word), "{word}: {sentence}");
        }
        assert!(sentence(b"\xFF\xD8\xFF", Some("a/B.MRXS")).contains("3DHISTECH"));
        assert!(sentence(b"II*\0\x08\0\0\0", Some("c.vsi")).contains("Olympus"));
    }

    #[test]
    fn dicom_slides_open_and_other_dicom_files_are_named() {
        let file = |class: &str| {
            let mut file = vec![0; 128];
            file.extend_from_slice(b"DICM\x02\0\0\0UL\x04\0\0\0\0\0\x02\0\x02\0UI");
            file.extend_from_slice(&(class.len() as u16).to_le_bytes());
            file.extend_from_slice(class.as_bytes());
            file
        };
        let slide = file("1.2.840.10008.5.1.4.1.1.77.1.6\0");
        assert!(is_dicom_slide(&slide) && foreign_format(&slide, Some("a.dcm")).is_none());
        let ct = sentence(&file("1.2.840.10008.5.1.4.1.1.2\0"), None);
        assert!(ct.contains("no whole slide image"), "{ct}");
        for bare in [&b"\x08\0\x05\0CS\x0a\0ISO_IR 100"[..], b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100"] {
            let sentence = sentence(bare, None);
            assert!(sentence.contains("without the preamble"), "{sentence}");
        }
    }

    #[test]
    fn pictures_and_unknown_bytes_are_left_to_their_readers() {
        for bytes in
            [&b"\x89PNG\r\n\x1a\n"[..], b"\xFF\xD8\xFF", b"II*\0", b"GIF89a", b"\0\x01\x02"]
        {
            assert!(foreign_format(bytes, Some("a.png")).is_none());
        }
    }
}
