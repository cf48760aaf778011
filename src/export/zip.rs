//! ZIP files without compression (APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16). Times are
//! those of no file, so the same files give the same bytes.

use crate::error::{Error, Result};

/// 1 January 1980, the first day that ZIP knows, in the form of MS-DOS.
const DATE: u16 = 0x21;
/// 2.0, of which stored files need nothing; the flag says that names are UTF-8.
const VERSION: u16 = 20;
const UTF8: u16 = 0x0800;

/// A file to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredFile {
    /// Path inside the ZIP.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Bytes of a ZIP of these files.
///
/// # Errors
/// [`Error::Limit`] from 4 GB on.
pub(super) fn to_zip(files: &[StoredFile]) -> Result<Vec<u8>> {
    let mut zip = Vec::new();
    let mut directory = Vec::new();
    for file in files {
        let offset = size(zip.len())?;
        let entry = entry(file)?;
        zip.extend(0x0403_4b50_u32.to_le_bytes());
        zip.extend(&entry);
        zip.extend(file.name.bytes());
        zip.extend(&file.bytes);
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend(VERSION.to_le_bytes());
        directory.extend(&entry);
        // Comment, disk, attributes: none.
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(file.name.bytes());
    }
    let (offset, bytes) = (size(zip.len())?, size(directory.len())?);
    let count = u16::try_from(files.len()).map_err(|_| too_large())?;
    zip.extend(directory);
    zip.extend(0x0605_4b50_u32.to_le_bytes());
    // This is disk 0 of one.
    zip.extend([0; 4]);
    zip.extend(count.to_le_bytes());
    zip.extend(count.to_le_bytes());
    zip.extend(bytes.to_le_bytes());
    zip.extend(offset.to_le_bytes());
    zip.extend([0; 2]);
    Ok(zip)
}

/// What local header and directory both say about a file.
fn entry(file: &StoredFile) -> Result<Vec<u8>> {
    let bytes = size(file.bytes.len())?;
    let name = u16::try_from(file.name.len()).map_err(|_| too_large())?;
    let mut checksum = flate2::Crc::new();
    checksum.update(&file.bytes);
    let mut entry = Vec::new();
    // Version, flags, method (stored), time, date.
    for field in [VERSION, UTF8, 0, 0, DATE] {
        entry.extend(field.to_le_bytes());
    }
    // Sizes with and without compression.
    for field in [checksum.sum(), bytes, bytes] {
        entry.extend(field.to_le_bytes());
    }
    entry.extend(name.to_le_bytes());
    // No extra field.
    entry.extend([0; 2]);
    Ok(entry)
}

fn size(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| too_large())
}

fn too_large() -> Error {
    Error::limit("The package would be larger than a ZIP file may be")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_directory_and_end_have_their_sizes() {
        let file = |name: &str, bytes: &[u8]| StoredFile { name: name.into(), bytes: bytes.into() };
        let zip = to_zip(&[file("a", b"123456789"), file("bc", b"")]).expect("zip");
        // Check value of CRC-32 for these nine digits.
        assert_eq!(&zip[14..18], 0xcbf4_3926_u32.to_le_bytes());
        let local = (30 + 1 + 9) + (30 + 2);
        assert_eq!(zip.len(), local + (46 + 1) + (46 + 2) + 22);
        assert_eq!(&zip[local..local + 4], b"PK\x01\x02");
        let end = &zip[zip.len() - 22..];
        assert_eq!((&end[..4], end[10]), (&b"PK\x05\x06"[..], 2));
        assert_eq!(end[16..20], (local as u32).to_le_bytes());
    }
}
