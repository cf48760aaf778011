//! Numbers as bytes, least significant byte first, and deflated planes: what saved results, kept
//! probabilities and tasks for workers are made of. Reading checks every length before memory is
//! taken.

use std::io::{Read as _, Write as _};

use crate::error::{Error, Result};

/// Most bytes of an unpacked plane.
const MAX_PLANE_BYTES: u64 = 1 << 28;

fn broken() -> Error {
    Error::malformed("What was saved is cut short or changed")
}

/// Bytes that are being written.
#[derive(Debug, Default)]
pub(crate) struct ByteWriter(pub Vec<u8>);

impl ByteWriter {
    pub(crate) fn put_u32(&mut self, value: usize) {
        // Counts are bounded by what memory holds on 32 bits.
        self.0.extend(u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }

    pub(crate) fn put_u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn put_f64(&mut self, value: f64) {
        self.0.extend(value.to_le_bytes());
    }

    /// Bytes with their number before them.
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_u32(bytes.len());
        self.0.extend(bytes);
    }
}

/// Bytes that are being read.
#[derive(Debug)]
pub(crate) struct ByteReader<'a>(pub &'a [u8]);

impl<'a> ByteReader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(count).ok_or_else(broken)?;
        self.0 = rest;
        Ok(first)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk().ok_or_else(broken)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn u32(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A number of entries of at least `bytes_each` bytes, which the rest can hold.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize> {
        let count = self.u32()?;
        if count.saturating_mul(bytes_each) > self.0.len() { Err(broken()) } else { Ok(count) }
    }

    /// What [`ByteWriter::put_bytes`] wrote.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.u32()?;
        self.take(count)
    }

    /// Whether everything is read.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(broken()) }
    }
}

/// Bytes, deflated quickly.
///
/// # Errors
/// None in practice.
pub(crate) fn deflated(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map_err(|e| Error::io("Probabilities cannot be packed", e))
}

/// Exactly `count` bytes, inflated.
///
/// # Errors
/// [`Error::Malformed`] for others.
pub(crate) fn inflated(bytes: &[u8], count: usize) -> Result<Vec<u8>> {
    if count as u64 > MAX_PLANE_BYTES {
        return Err(Error::limit("What was saved is too large"));
    }
    // Deflate shrinks to a thousandth at most, so a small file takes little memory.
    let mut all = Vec::with_capacity(count.min(bytes.len().saturating_mul(1100)));
    let decoder = flate2::read::DeflateDecoder::new(bytes);
    decoder.take(count as u64 + 1).read_to_end(&mut all).map_err(|_| broken())?;
    if all.len() == count { Ok(all) } else { Err(broken()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_fewer_or_more_are_refused() {
        let mut writer = ByteWriter::default();
        writer.put_f64(-0.1);
        writer.put_u64(7);
        writer.put_bytes(b"abc");
        let mut reader = ByteReader(&writer.0);
        assert_eq!(reader.f64().expect("number").to_bits(), (-0.1f64).to_bits());
        assert_eq!(reader.u64().expect("number"), 7);
        assert!(reader.finish().is_err());
        assert_eq!(reader.bytes().expect("bytes"), b"abc");
        reader.finish().expect("the end");
        assert!(reader.u32().is_err());
        assert!(ByteReader(&[255; 5]).bytes().is_err());
        assert!(ByteReader(&[255; 5]).count(1).is_err());

        let packed = deflated(&[7; 5000]).expect("packed");
        assert!(packed.len() < 100);
        assert_eq!(inflated(&packed, 5000).expect("bytes"), [7; 5000]);
        assert!(inflated(&packed, 4999).is_err() && inflated(&packed, 5001).is_err());
        assert!(inflated(&packed[1..], 5000).is_err());
        assert!(inflated(&packed, usize::MAX).is_err());
    }
}
