//! Fingerprints of image files, by which window and page find what they keep of an image.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::error::Result;

/// Largest file of which every byte counts, bytes. `web/fingerprint.js` has the same numbers.
const WHOLE_BYTES: u64 = 64_000_000;
/// Number of pieces of a larger file.
const PIECES: u64 = 16;
/// Largest size of a piece, bytes, and the part of the file that it is at most.
const MAX_PIECE_BYTES: u64 = 65_536;
const MAX_PIECE_SHARE: u64 = 256;

/// Which bytes of a file count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FingerprintOf {
    /// All of them, up to 64 MB; pieces of a larger file.
    File,
    /// Pieces at any size: of a server, ranges are read.
    Pieces,
}

/// `whole-` and the SHA-256 of the file, or `pieces-` and that of its length (64 bits, little
/// endian) and of 16 pieces at even distances, the first at the beginning and the last at the end.
/// A piece has 64 KB, less in a file of less than 16 MB. `read` gives the bytes of a
/// range of a file of `len` bytes.
///
/// # Errors
/// Those of `read`.
pub fn fingerprint(
    len: u64,
    of: FingerprintOf,
    mut read: impl FnMut(Range<u64>) -> Result<Vec<u8>>,
) -> Result<String> {
    let mut hash = Sha256::new();
    let name = if of == FingerprintOf::File && len <= WHOLE_BYTES {
        hash.update(read(0..len)?);
        "whole"
    } else {
        hash.update(len.to_le_bytes());
        let piece_bytes = len.div_ceil(MAX_PIECE_SHARE).min(MAX_PIECE_BYTES);
        let last_start = len - piece_bytes;
        for piece in 0..PIECES {
            let start = last_start * piece / (PIECES - 1);
            hash.update(read(start..start + piece_bytes)?);
        }
        "pieces"
    };
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{name}-{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint_of(bytes: &[u8], of: FingerprintOf) -> String {
        let read = |range: Range<u64>| Ok(bytes[range.start as usize..range.end as usize].to_vec());
        fingerprint(bytes.len() as u64, of, read).expect("fingerprint")
    }

    #[test]
    fn all_bytes_of_small_files_count_and_pieces_of_others() {
        // SHA-256 of "abc" is an example of FIPS 180.
        let known = "whole-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint_of(b"abc", FingerprintOf::File), known);
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let of_pieces = fingerprint_of(&bytes, FingerprintOf::Pieces);
        // Computed by hashlib of Python from the definition in `web/fingerprint.js`.
        assert_eq!(
            of_pieces,
            "pieces-f7768d0c9270bc1589480c8017ffecc41c2f01d191ba73ea4d1dd58a617d536b"
        );
        let mut between = bytes.clone();
        between[100_000] ^= 1;
        assert_eq!(fingerprint_of(&between, FingerprintOf::Pieces), of_pieces);
        let mut last = bytes.clone();
        last[2_999_999] ^= 1;
        assert_ne!(fingerprint_of(&last, FingerprintOf::Pieces), of_pieces);
        assert_ne!(fingerprint_of(&between, FingerprintOf::File), of_pieces);
        assert_eq!(fingerprint_of(b"", FingerprintOf::Pieces).len(), "pieces-".len() + 64);
    }
}
