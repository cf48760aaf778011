//! Blosc 1 frames, in which Zarrs store their chunks: blocks of a compression of their own, whose
//! bytes or bits may be shuffled (`README_CHUNK_FORMAT` of c-blosc 1.21).

use super::codec::{decode_lz4_block, decompress};
use super::level::Compression;
use crate::error::{Error, Result};

const HEADER_BYTES: usize = 16;
/// Flags of byte 2.
const BYTE_SHUFFLE: u8 = 1;
const STORED: u8 = 2;
const BIT_SHUFFLE: u8 = 4;
const NOT_SPLIT: u8 = 16;
/// A block is stored in streams, one for each byte of its values, unless these have more bytes
/// than that,
const MAX_STREAMS: usize = 16;
/// or a stream would be shorter than that.
const MIN_STREAM_BYTES: usize = 128;
/// Furthest match that blosclz states in 13 bits; a longer distance follows in 16 bits.
const BLOSCLZ_NEAR: usize = 8191;

struct Frame<'a> {
    bytes: &'a [u8],
    flags: u8,
    /// Bytes of a value.
    value_bytes: usize,
    /// Decoded bytes of a block; the last one may have fewer.
    block_bytes: usize,
}

/// Decodes a frame of at most `max_bytes` decoded bytes.
///
/// # Errors
/// [`Error::Malformed`] for a broken frame, [`Error::Unsupported`] for Snappy and Blosc 2.
pub(super) fn decode_blosc(bytes: &[u8], max_bytes: usize) -> Result<Vec<u8>> {
    if bytes.len() < HEADER_BYTES {
        return Err(broken());
    }
    let (version, flags) = (bytes[0], bytes[2]);
    if version > 2 {
        return Err(Error::unsupported(format!(
            "Chunks in Blosc's format {version} are not supported; write the Zarr with Blosc 1"
        )));
    }
    let decoded_bytes = number(bytes, 4)?;
    let block_bytes = number(bytes, 8)?;
    if decoded_bytes > max_bytes || number(bytes, 12)? > bytes.len() {
        return Err(broken());
    }
    if flags & STORED != 0 {
        let stored = bytes.get(HEADER_BYTES..HEADER_BYTES + decoded_bytes);
        return Ok(stored.ok_or_else(broken)?.to_vec());
    }
    if decoded_bytes > 0 && block_bytes == 0 {
        return Err(broken());
    }
    let value_bytes = usize::from(bytes[3]).max(1);
    let frame = Frame { bytes, flags, value_bytes, block_bytes };
    let mut decoded = Vec::new();
    for block in 0..decoded_bytes.div_ceil(block_bytes.max(1)) {
        let len = block_bytes.min(decoded_bytes - decoded.len());
        let start = number(bytes, HEADER_BYTES + 4 * block)?;
        let values = frame.block(start, len)?;
        decoded.extend_from_slice(&unshuffled(values, flags, value_bytes));
    }
    Ok(decoded)
}

impl Frame<'_> {
    /// The shuffled bytes of a block of `len` bytes.
    fn block(&self, start: usize, len: usize) -> Result<Vec<u8>> {
        let is_split = self.flags & NOT_SPLIT == 0
            && self.value_bytes <= MAX_STREAMS
            && self.block_bytes / self.value_bytes >= MIN_STREAM_BYTES
            && len == self.block_bytes;
        let streams = if is_split { self.value_bytes } else { 1 };
        let stream_bytes = len / streams;
        let mut decoded = Vec::new();
        let mut at = start;
        for _ in 0..streams {
            let packed_bytes = number(self.bytes, at)?;
            let packed = self.bytes.get(at + 4..).and_then(|rest| rest.get(..packed_bytes));
            let packed = packed.ok_or_else(broken)?;
            // What does not become shorter is stored as it is.
            if packed_bytes == stream_bytes {
                decoded.extend_from_slice(packed);
            } else {
                decoded.extend_from_slice(&self.stream(packed, stream_bytes)?);
            }
            at += 4 + packed_bytes;
        }
        if decoded.len() == len { Ok(decoded) } else { Err(broken()) }
    }

    fn stream(&self, packed: &[u8], len: usize) -> Result<Vec<u8>> {
        let decoded = match self.flags >> 5 {
            0 => decode_blosclz(packed, len),
            1 => decode_lz4_block(packed, len),
            3 => decompress(Compression::Deflate, packed, len),
            4 => decompress(Compression::Zstd, packed, len),
            code => {
                let name = if code == 2 { "Snappy" } else { "an unknown method" };
                return Err(Error::unsupported(format!(
                    "Chunks that Blosc compressed with {name} are not supported; use LZ4 or ZSTD"
                )));
            }
        }?;
        if decoded.len() == len { Ok(decoded) } else { Err(broken()) }
    }
}

fn broken() -> Error {
    Error::malformed("A chunk's Blosc frame is cut short or broken")
}

/// A 32-bit number, little endian.
fn number(bytes: &[u8], at: usize) -> Result<usize> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(broken)?;
    Ok(u32::from_le_bytes(*four) as usize)
}

/// `FastLZ` as in Blosc: a byte of control, whose high three bits are 0 for a run of literal bytes
/// or the length of a match, and whose low five bits count the literals or begin its distance.
fn decode_blosclz(packed: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(len);
    let mut bytes = packed.iter().copied();
    let mut next = || bytes.next().ok_or_else(broken);
    // The first byte is always a run of literals.
    let mut control = usize::from(next()? & 31);
    while out.len() < len {
        if control < 32 {
            for _ in 0..=control {
                out.push(next()?);
            }
        } else {
            let mut count = (control >> 5) + 2;
            let high = (control & 31) << 8;
            if control >> 5 == 7 {
                loop {
                    let more = next()?;
                    count += usize::from(more);
                    if more != u8::MAX || count > len {
                        break;
                    }
                }
            }
            let low = next()?;
            let mut distance = high + usize::from(low) + 1;
            if low == u8::MAX && high == 31 << 8 {
                distance = BLOSCLZ_NEAR + 1 + usize::from(next()?) * 256 + usize::from(next()?);
            }
            let from = out.len().checked_sub(distance).ok_or_else(broken)?;
            if count > len - out.len() {
                return Err(broken());
            }
            // One by one: a match may reach into what it writes.
            for i in from..from + count {
                out.push(out[i]);
            }
        }
        if out.len() < len {
            control = usize::from(next()?);
        }
    }
    if out.len() == len { Ok(out) } else { Err(broken()) }
}

/// Undoes what Blosc did to a block to compress it better.
fn unshuffled(values: Vec<u8>, flags: u8, value_bytes: usize) -> Vec<u8> {
    let count = values.len() / value_bytes;
    if flags & BYTE_SHUFFLE != 0 && value_bytes > 1 {
        // Stored: first bytes of all values, then the second ones; what is no value at the end.
        let mut out = values.clone();
        for (i, value) in out.chunks_exact_mut(value_bytes).enumerate() {
            for (byte, out) in value.iter_mut().enumerate() {
                *out = values[byte * count + i];
            }
        }
        return out;
    }
    if flags & BIT_SHUFFLE != 0 && count.is_multiple_of(8) {
        // Stored: lowest bits of the first bytes of all values, eight in a byte, then the next
        // bits.
        let mut out = values.clone();
        let row_bytes = count / 8;
        for (i, value) in out.chunks_exact_mut(value_bytes).enumerate() {
            for (byte, out) in value.iter_mut().enumerate() {
                *out = 0;
                for bit in 0..8 {
                    let row = (byte * 8 + bit) * row_bytes;
                    *out |= (values[row + i / 8] >> (i % 8) & 1) << bit;
                }
            }
        }
        return out;
    }
    values
}
