//! Compressed rows of samples to bytes. Libraries decode the streams.

use std::io::Read;

use super::blosc::decode_blosc;
use super::decode::truncated_tile;
use super::level::Compression;
use crate::error::{Error, Result};

/// Bytes of the header of DICOM's run lengths: the number of segments, then where 15 of them begin.
const RLE_HEADER: usize = 64;
const MAX_RLE_SEGMENTS: usize = 15;

/// Decodes the stream of a tile up to `byte_count` bytes; fewer when the stream ends before.
///
/// # Errors
/// [`Error::Malformed`] for a broken stream, [`Error::Unsupported`] for one of another kind.
pub(super) fn decompress(
    compression: Compression,
    bytes: &[u8],
    byte_count: usize,
) -> Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes[..bytes.len().min(byte_count)].to_vec()),
        Compression::Lzw => decode_lzw(bytes, byte_count),
        Compression::Deflate => read_up_to(flate2::read::ZlibDecoder::new(bytes), byte_count),
        Compression::PackBits => Ok(decode_packbits(bytes, byte_count)),
        Compression::Gzip => read_up_to(flate2::read::MultiGzDecoder::new(bytes), byte_count),
        Compression::Lz4 => decode_sized_lz4(bytes, byte_count),
        Compression::Blosc => decode_blosc(bytes, byte_count),
        Compression::DicomRle => decode_dicom_rle(bytes, byte_count),
        Compression::Zstd => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|_| truncated_tile())?;
            read_up_to(decoder, byte_count)
        }
        _ => Err(truncated_tile()),
    }
}

/// Grows with what the stream holds: a short stream cannot demand memory.
fn read_up_to(decoder: impl Read, byte_count: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    decoder.take(byte_count as u64).read_to_end(&mut out).map_err(|_| truncated_tile())?;
    Ok(out)
}

/// An LZ4 block after its decoded length, 32 bits, little endian, as numcodecs writes it.
fn decode_sized_lz4(bytes: &[u8], byte_count: usize) -> Result<Vec<u8>> {
    let (len, block) = bytes.split_first_chunk::<4>().ok_or_else(truncated_tile)?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > byte_count {
        return Err(truncated_tile());
    }
    decode_lz4_block(block, len)
}

/// A block of LZ4 without a frame, of at most `byte_count` decoded bytes.
pub(super) fn decode_lz4_block(block: &[u8], byte_count: usize) -> Result<Vec<u8>> {
    lz4_flex::block::decompress(block, byte_count).map_err(|_| truncated_tile())
}

/// LZW as TIFF 6.0, section 13: most significant bit first, code width raised one code early.
fn decode_lzw(bytes: &[u8], byte_count: usize) -> Result<Vec<u8>> {
    // Streams begin with the code that clears the table, 256 in 9 bits. Those of writers before
    // TIFF 5 have the bits in the other order.
    if bytes.first() == Some(&0) && bytes.get(1).is_some_and(|b| b & 1 == 1) {
        return Err(Error::unsupported(
            "The TIFF has LZW streams of an obsolete kind; convert it: tiffcp -c lzw in.tif \
             out.tif",
        ));
    }
    let mut out = vec![0; byte_count];
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
    let mut consumed = 0;
    let mut produced = 0;
    // The decoder stops at internal limits of its own and is called until the tile is complete; a
    // call without progress means that the stream has ended or is broken.
    while produced < byte_count {
        let step = decoder.decode_bytes(&bytes[consumed..], &mut out[produced..]);
        consumed += step.consumed_in;
        produced += step.consumed_out;
        let is_progressing = matches!(step.status, Ok(weezl::LzwStatus::Ok))
            && step.consumed_in + step.consumed_out > 0;
        if !is_progressing {
            break;
        }
    }
    out.truncate(produced);
    Ok(out)
}

/// `PackBits` as TIFF 6.0, section 9: a count n, then n + 1 bytes to copy (n ≥ 0) or one byte to
/// repeat 1 − n times (n < 0); −128 means nothing.
fn decode_packbits(bytes: &[u8], byte_count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&count) = bytes.get(at)
        && out.len() < byte_count
    {
        at += 1;
        let count = count.cast_signed();
        if count >= 0 {
            let end = bytes.len().min(at + usize::from(count.unsigned_abs()) + 1);
            out.extend_from_slice(&bytes[at..end]);
            at = end;
        } else if count != i8::MIN {
            let Some(&value) = bytes.get(at) else { break };
            out.resize(out.len() + usize::from(count.unsigned_abs()) + 1, value);
            at += 1;
        }
    }
    out.truncate(byte_count);
    out
}

/// Run lengths as DICOM PS3.5, annex G: a segment of `PackBits` for each sample of a pixel. Gives
/// the samples of a pixel side by side.
fn decode_dicom_rle(bytes: &[u8], byte_count: usize) -> Result<Vec<u8>> {
    let header = bytes.get(..RLE_HEADER).ok_or_else(truncated_tile)?;
    let mut numbers = header.as_chunks::<4>().0.iter().map(|n| u32::from_le_bytes(*n) as usize);
    let segments = numbers.next().filter(|n| (1..=MAX_RLE_SEGMENTS).contains(n));
    let segments = segments.filter(|n| byte_count.is_multiple_of(*n)).ok_or_else(truncated_tile)?;
    let starts: Vec<usize> = numbers.take(segments).collect();
    let values = byte_count / segments;
    let mut out = Vec::new();
    for (segment, start) in starts.iter().enumerate() {
        let end = starts.get(segment + 1).copied().unwrap_or(bytes.len());
        let packed = bytes.get(*start..end).ok_or_else(truncated_tile)?;
        let plane = decode_packbits(packed, values);
        if plane.len() < values {
            return Err(truncated_tile());
        }
        // Only now, when the stream has shown as many bytes.
        out.resize(byte_count, 0);
        for (pixel, value) in plane.into_iter().enumerate() {
            out[pixel * segments + segment] = value;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_lengths_of_dicom_are_a_segment_for_each_sample() {
        // Red: 7 four times; green: 1 2 3 4; blue: 9 twice, then 5 and 6.
        let mut frame = vec![0; RLE_HEADER];
        let segments: [&[u8]; 3] = [&[0xFD, 7], &[3, 1, 2, 3, 4, 0x80], &[0xFF, 9, 1, 5, 6]];
        frame[0] = 3;
        for (i, segment) in segments.iter().enumerate() {
            frame[4 * (i + 1)] = frame.len() as u8;
            frame.extend_from_slice(segment);
        }
        let expected = [7, 1, 9, 7, 2, 9, 7, 3, 5, 7, 4, 6];
        assert_eq!(decode_dicom_rle(&frame, 12).expect("a frame"), expected);
        for length in 0..frame.len() {
            assert!(decode_dicom_rle(&frame[..length], 12).is_err(), "{length} bytes");
        }
        assert!(decode_dicom_rle(&frame, 15).is_err(), "more pixels than it has");
        frame[0] = 2;
        assert!(decode_dicom_rle(&frame, 9).is_err(), "samples that no segment has");
    }

    #[test]
    fn packbits_are_the_example_of_its_description() {
        let packed = [
            0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x03, 0x80, 0x00, 0x2A, 0x22, 0xF7,
            0xAA,
        ];
        let expected = [
            0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0x22,
            0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA,
        ];
        assert_eq!(decode_packbits(&packed, 24), expected);
        assert_eq!(decode_packbits(&packed, 5), expected[..5]);
        assert_eq!(decode_packbits(&[5, 1], 100), [1]);
        assert!(decode_packbits(&[0x80, 0xFF], 100).is_empty());
    }
}
