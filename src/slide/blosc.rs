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

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames by numcodecs 0.16 of 2048 bytes, byte `i` being `i / 256 * 3 + i % 4 * 40`, as values
    /// of four bytes in blocks of 1024 bytes: blosclz as it is and with bytes shuffled, LZ4 with
    /// bytes and with bits shuffled, zlib with bytes, ZSTD with bytes and with bits.
    const FRAMES: [&str; 7] = [
        "0201000400080000000800007800000014000000150000002300285078e0f2030478032b537be0f00302\
         2b537b1500000023062e567ee0f203047e09315981e0f0030231598115000000230c345c84e0f2030484\
         0f375f87e0f00302375f871500000023123a628ae0f203048a153d658de0f003023d658d",
        "020101040008000000080000fc00000014000000360000002300000000e03203010003e03500010306e0\
         3500010609e0350001090ce03500010c0fe03500010f12e03500011215e0330002151515360000002328\
         282828e0320301282be03500012b2ee03500012e31e03500013134e03500013437e0350001373ae03500\
         013a3de03300023d3d3d360000002350505050e03203015053e03500015356e03500015659e035000159\
         5ce03500015c5fe03500015f62e03500016265e0330002656565360000002378787878e0320301787be0\
         3500017b7ee03500017e81e03500018184e03500018487e0350001878ae03500018a8de03300028d8d8d",
        "020121040008000000080000dc000000140000002e0000001f0001002c1f0301002c1f0601002c1f0901\
         002c1f0c01002c1f0f01002c1f1201002c1f150100275015151515152e0000001f2801002c1f2b01002c\
         1f2e01002c1f3101002c1f3401002c1f3701002c1f3a01002c1f3d010027503d3d3d3d3d2e0000001f50\
         01002c1f5301002c1f5601002c1f5901002c1f5c01002c1f5f01002c1f6201002c1f6501002750656565\
         65652e0000001f7801002c1f7b01002c1f7e01002c1f8101002c1f8401002c1f8701002c1f8a01002c1f\
         8d010027508d8d8d8d8d",
        "020124040008000000080000b101000014000000550000001300010013ff0100030f0013000f000f1000\
         1e0402000438000402000418000402000418000c02000c20000410000402000430000c10000c02000420\
         000c02000c28000f02001d0f50003d0f0200685000000000005e0000001300010013ff0100030f001300\
         0f000f10001e0402000438000402000418000402000418000c02000c2000041000040200043000041000\
         0f0200050428000c02000c30000c20000402000c28000f0200450470000f020060500000000000640000\
         001300010013ff0100030f0013000f000f10001e0402000438000402000418000402000418000c02000c\
         20000410000402000430000c10000c02000420000c02000f2800150f0200050c40000f02001d0f580005\
         0f0200250f80001d070200500000000000760000001300010013ff0100030f0013000f000f10001e0402\
         000438000402000418000402000418000c02000c20000410000402000430000410000f0200050428000c\
         02000f3000050c02000c38000f0200050c38000402000f3000050c02000430000c02000c28000f02001d\
         0c50000f02000050ffffffffff",
        "020161040008000000080000a4000000140000002000000078da6360a00c305308d828049c14021e0a01\
         3f85408842204a2100002d4315012000000078dad3d0a00c685308f42804861402130a813985c08a4260\
         4b21000059f365012000000078da0b08a00c045308c22804911482180a413c85208942904a21000086a3\
         b5012000000078daaba8a00c545308ea28048d1482160a413b85a08b42d04b210000b3530510",
        "0201910400080000000400007400000018000000460000002a00000028b52ffd60000305010088000306\
         09282b2e3150535659787b7e8181109410f8060027234932499224712a00000028b52ffd600003050100\
         880c0f121534373a3d5c5f626584878a8d8d109410f806002723493249922471",
        "020194040008000000040000a9000000180000005f0000004300000028b52ffd600003cd010002020306\
         e00f00604c0aebdfbf7f0110a0f05a7607302b6d611b3526513510dd18104a6efcf1c90655591abcd603\
         a7f3a936ae40b3d966ca074600000028b52ffd600003e501008000ffffffffffffffff00ff0000ffff00\
         1180f07a3b9d5912ba92ce0041018f7a7e9d87aa77008501ca75f5009d3098802e68ba353ba19d89bb00\
         05",
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16);
        digits.chunks(2).map(|digits| pair(digits).expect("hex")).collect()
    }

    #[test]
    fn frames_of_every_compression_are_decoded_and_broken_ones_refused() {
        let expected: Vec<u8> = (0..2048).map(|i| (i / 256 * 3 + i % 4 * 40) as u8).collect();
        for (i, frame) in FRAMES.iter().enumerate() {
            let frame = bytes(frame);
            assert_eq!(decode_blosc(&frame, 2048).expect("frame"), expected, "frame {i}");
            assert!(decode_blosc(&frame, 2047).is_err(), "frame {i} decodes to more than allowed");
            for len in 0..frame.len() {
                assert!(decode_blosc(&frame[..len], 2048).is_err(), "frame {i} cut to {len}");
            }
            for at in 0..frame.len() {
                let mut damaged = frame.clone();
                damaged[at] ^= 0x55;
                // Whatever comes out, it is no longer than the frame may be.
                if let Ok(out) = decode_blosc(&damaged, 2048) {
                    assert!(out.len() <= 2048);
                }
            }
        }
    }

    #[test]
    fn blosclz_copies_from_near_and_far() {
        // A literal, then a match of distance 1 and length 3 + 6 + 2.
        let run = [0, b'a', 7 << 5, 2, 0];
        assert_eq!(decode_blosclz(&run, 12).expect("run"), [b'a'; 12]);
        assert!(decode_blosclz(&run, 11).is_err() && decode_blosclz(&run[..4], 12).is_err());
        // Four literals, 8190 copies of the last one, then a match 8192 bytes before.
        let mut far = vec![3, 1, 2, 3, 4, 7 << 5];
        far.extend([255; 32]);
        far.extend([21, 0, 1 << 5 | 31, 255, 0, 0]);
        let out = decode_blosclz(&far, 8197).expect("far");
        assert_eq!((out[3], out[8193], &out[8194..]), (4, 4, &[3, 4, 4][..]));
        let mut before = far.clone();
        let last = before.len() - 1;
        before[last] = 3;
        assert!(decode_blosclz(&before, 8197).is_err(), "before the beginning");
    }
}
