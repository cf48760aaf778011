//! The mark that this program puts into the pictures of a segmentation result, by which they are
//! never taken for images or labels of a data set: the Software field of PNG (a tEXt chunk, PNG
//! 11.3.4.3) and TIFF (tag 305).

#[cfg(not(target_arch = "wasm32"))]
use std::io::{Read, Seek, SeekFrom};

/// Value of the Software field.
pub(super) const SOFTWARE: &str = "prunella";
/// Value of the Description field.
pub(super) const DESCRIPTION: &str = "segmentation result, not a label of a data set";
/// Signature and IHDR chunk of a PNG, bytes.
const PNG_HEADER_BYTES: usize = 33;
/// Most chunks before the pixels of a PNG that are looked at.
#[cfg(not(target_arch = "wasm32"))]
const MAX_CHUNKS: usize = 64;

/// A PNG with the mark behind its header.
pub(super) fn marked_png(png: &[u8]) -> Vec<u8> {
    let (header, rest) = png.split_at(PNG_HEADER_BYTES.min(png.len()));
    let mut marked = header.to_vec();
    marked.extend(text_chunk("Software", SOFTWARE));
    marked.extend(text_chunk("Description", DESCRIPTION));
    marked.extend_from_slice(rest);
    marked
}

/// Length of the data (4 bytes, big endian), type, keyword, 0, text, CRC-32 of type and data.
fn text_chunk(keyword: &str, text: &str) -> Vec<u8> {
    let data = [keyword.as_bytes(), &[0], text.as_bytes()].concat();
    let checked = [b"tEXt", &data[..]].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&checked);
    [&(data.len() as u32).to_be_bytes()[..], &checked, &crc.sum().to_be_bytes()].concat()
}

/// Whether a PNG or TIFF file carries the mark. What cannot be read carries none.
#[cfg(not(target_arch = "wasm32"))]
#[must_use]
pub fn is_segmentation_result(mut file: impl Read + Seek) -> bool {
    let mut signature = [0; 8];
    if file.read_exact(&mut signature).is_err() {
        return false;
    }
    match signature {
        [0x89, b'P', b'N', b'G', ..] => is_marked_png(file).unwrap_or(false),
        [b'I', b'I', ..] | [b'M', b'M', ..] => is_marked_tiff(file).unwrap_or(false),
        _ => false,
    }
}

/// Reads the chunks after the signature up to the first of pixels.
#[cfg(not(target_arch = "wasm32"))]
fn is_marked_png(mut file: impl Read + Seek) -> std::io::Result<bool> {
    let mark = format!("Software\0{SOFTWARE}");
    for _ in 0..MAX_CHUNKS {
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let [a, b, c, d, kind @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        if &kind == b"IDAT" {
            return Ok(false);
        }
        let mut unread = i64::from(length);
        if &kind == b"tEXt" && length as usize == mark.len() {
            let mut data = vec![0; mark.len()];
            file.read_exact(&mut data)?;
            unread = 0;
            if data == mark.as_bytes() {
                return Ok(true);
            }
        }
        // The CRC has four bytes.
        file.seek(SeekFrom::Current(unread + 4))?;
    }
    Ok(false)
}

#[cfg(not(target_arch = "wasm32"))]
fn is_marked_tiff(mut file: impl Read + Seek) -> tiff::TiffResult<bool> {
    file.rewind()?;
    let mut decoder = tiff::decoder::Decoder::new(file)?;
    let software = decoder.get_tag_ascii_string(tiff::tags::Tag::Software)?;
    Ok(software.trim_end_matches('\0') == SOFTWARE)
}
