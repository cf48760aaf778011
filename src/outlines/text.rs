//! Bytes of a text file → text: gzip, byte order marks, UTF-16, and the 8-bit encodings that XML
//! declares.

use std::io::Read as _;

use crate::error::{Error, Result};

/// Largest text after it is unpacked.
const MAX_TEXT_BYTES: u64 = 2_000_000_000;

/// What windows-1252 has in place of the control characters 0x80 to 0x9F (WHATWG Encoding,
/// index-windows-1252).
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The text of a file, without a byte order mark. Gzip is unpacked.
///
/// # Errors
/// [`Error::Malformed`] for bytes that are no text, [`Error::Unsupported`] for another encoding,
/// [`Error::Limit`] for a text that is too long.
pub(super) fn text_of(bytes: &[u8]) -> Result<String> {
    if bytes.starts_with(&[0x1F, 0x8B]) {
        return decoded(&unpacked(bytes, MAX_TEXT_BYTES)?);
    }
    decoded(bytes)
}

fn unpacked(bytes: &[u8], limit_bytes: u64) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .take(limit_bytes + 1)
        .read_to_end(&mut unpacked)
        .map_err(|e| Error::malformed("The gzip file cannot be unpacked").caused_by(e))?;
    if unpacked.len() as u64 > limit_bytes {
        return Err(Error::limit(format!(
            "The file holds more than the limit of {} MB once it is unpacked",
            limit_bytes / 1_000_000
        )));
    }
    Ok(unpacked)
}

fn decoded(bytes: &[u8]) -> Result<String> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Err(other_encoding("UTF-32")),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // Without a mark: XML and JSON begin with an ASCII character.
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => {
            utf16(bytes, u16::from_le_bytes)
        }
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => {
            utf16(bytes, u16::from_be_bytes)
        }
        _ => match declared_encoding(bytes).as_deref() {
            Some(
                "iso-8859-1" | "iso8859-1" | "latin1" | "latin-1" | "l1" | "windows-1252"
                | "cp1252" | "iso-8859-15",
            ) => Ok(bytes.iter().map(|&byte| latin(byte)).collect()),
            // For ASCII the declared encoding does not matter.
            Some(other)
                if !matches!(other, "utf-8" | "utf8" | "us-ascii" | "ascii")
                    && !bytes.is_ascii() =>
            {
                match std::str::from_utf8(bytes) {
                    Ok(text) => Ok(text.to_owned()),
                    Err(_) => Err(other_encoding(other)),
                }
            }
            _ => utf8(bytes),
        },
    }
}

/// The encoding in an XML declaration, in lower case.
fn declared_encoding(bytes: &[u8]) -> Option<String> {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let declaration = bytes[start..].strip_prefix(b"<?xml")?;
    let end = declaration.iter().take(200).position(|&byte| byte == b'>')?;
    let declaration = std::str::from_utf8(&declaration[..end]).ok()?;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let name = value[1..].split(quote).next()?;
    Some(name.trim().to_ascii_lowercase())
}

fn latin(byte: u8) -> char {
    match byte {
        0x80..=0x9F => WINDOWS_1252[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

fn utf8(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::malformed(format!(
            "The file is no text in UTF-8: byte {at} does not belong there; save it as UTF-8"
        ))
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|&pair| unit(pair)).collect();
    let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
    text.ok_or_else(|| {
        Error::malformed("The file begins as UTF-16 text and is cut short or broken")
    })
}

fn other_encoding(name: &str) -> Error {
    Error::unsupported(format!("The text is encoded as {name}; save it as UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "<?xml version=\"1.0\"?><a b=\"ü\"/>";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let with_mark = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).expect("gzip");
        for bytes in [
            text.as_bytes().to_vec(),
            with_mark(&[0xEF, 0xBB, 0xBF], text.as_bytes()),
            with_mark(&[0xFF, 0xFE], &le),
            with_mark(&[0xFE, 0xFF], &be),
            le,
            be,
            gz.finish().expect("gzip"),
        ] {
            assert_eq!(text_of(&bytes).expect("text"), text);
        }
        let latin = b"<?xml version='1.0' encoding = 'ISO-8859-1'?><a b='\xFC\x80'/>";
        assert!(text_of(latin).expect("text").ends_with("<a b='ü€'/>"));
    }

    #[test]
    fn other_bytes_are_errors_with_a_way_out() {
        for (bytes, word) in [
            (&b"<a b='\xFC'/>"[..], "byte 6"),
            (b"<?xml version='1.0' encoding='Shift_JIS'?><a b='\x83\x65'/>", "shift_jis"),
            (b"\xFF\xFE\0\0<\0\0\0", "UTF-32"),
            (b"\xFF\xFE<\0a", "UTF-16"),
            (b"\x1F\x8Bnothing", "gzip"),
        ] {
            let message = text_of(bytes).expect_err(word).to_string();
            assert!(message.contains(word), "{message}");
        }
        let ascii = b"<?xml version='1.0' encoding='Shift_JIS'?><a/>";
        assert!(text_of(ascii).is_ok(), "ASCII is ASCII in it too");
    }

    #[test]
    fn a_small_gzip_of_a_large_text_is_refused() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(&vec![b' '; 100_000]).expect("gzip");
        let packed = gz.finish().expect("gzip");
        assert!(matches!(unpacked(&packed, 99_999), Err(Error::Limit(_))));
        assert_eq!(unpacked(&packed, 100_000).expect("fits").len(), 100_000);
    }
}
