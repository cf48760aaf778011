//! The chunks of a PNG file that the decoder does not pass on (PNG specification, 3rd edition).

use flate2::Crc;

use crate::slide::PixelSize;

/// Bytes of the signature.
const SIGNATURE_LEN: usize = 8;
/// Micrometres of a metre.
const UM_PER_M: f64 = 1e6;
/// Colour type of an indexed picture.
const INDEXED: u8 = 3;
/// Colour type of a grey picture.
const GREY: u8 = 0;

/// What the chunks state.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PngFacts {
    /// Bits a sample, or an index.
    pub bits: u8,
    pub is_indexed: bool,
    /// Colours of the indices, 8 bits a channel.
    pub palette: Vec<[u8; 3]>,
    /// From pHYs.
    pub pixel_size_um: Option<PixelSize>,
    pub is_animated: bool,
}

/// A chunk: length (4 bytes), type (4), data, check (4).
struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
    whole: &'a [u8],
}

/// The chunks of a file as far as they are complete.
struct Chunks<'a> {
    rest: &'a [u8],
}

fn chunks(bytes: &[u8]) -> Chunks<'_> {
    Chunks { rest: bytes.get(SIGNATURE_LEN..).unwrap_or_default() }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let length = u32::from_be_bytes(*self.rest.first_chunk::<4>()?) as usize;
        let end = length.checked_add(12)?;
        let whole = self.rest.get(..end)?;
        let data = whole.get(8..end - 4)?;
        self.rest = &self.rest[end..];
        Some(Chunk { kind: [whole[4], whole[5], whole[6], whole[7]], data, whole })
    }
}

/// Reads the chunks of a PNG.
pub(super) fn png_facts(bytes: &[u8]) -> PngFacts {
    let mut facts = PngFacts::default();
    for Chunk { kind, data, .. } in chunks(bytes) {
        match &kind {
            // Width and height of 4 bytes each, bits, colour type.
            b"IHDR" => {
                if let [bits, colour_type, ..] = *data.get(8..).unwrap_or_default() {
                    facts.bits = bits;
                    facts.is_indexed = colour_type == INDEXED;
                }
            }
            b"PLTE" => facts.palette = data.as_chunks::<3>().0.to_vec(),
            // Pixels a unit in x and y, 4 bytes each; unit 1 is the metre.
            b"pHYs" => {
                if let [x @ .., 1] = data
                    && let ([x, y], []) = x.as_chunks::<4>()
                {
                    let [x, y] = [x, y].map(|v| f64::from(u32::from_be_bytes(*v)));
                    facts.pixel_size_um = PixelSize::of_density(x, y, UM_PER_M);
                }
            }
            b"acTL" => facts.is_animated = true,
            b"IEND" => break,
            _ => {}
        }
    }
    facts
}

/// The same file read as a grey one, whose values are the indices: both lie in it in the same way.
/// Values of less than 8 bits are then scaled to 8 by the decoder.
pub(super) fn indices_as_grey(bytes: &[u8]) -> Vec<u8> {
    let mut grey = bytes.get(..SIGNATURE_LEN).unwrap_or_default().to_vec();
    for Chunk { kind, data, whole } in chunks(bytes) {
        match &kind {
            b"PLTE" | b"tRNS" | b"bKGD" | b"hIST" | b"sBIT" => {}
            b"IHDR" if data.len() == 13 => {
                let mut header = whole[..21].to_vec();
                // Length, type, width, height and bits come before the colour type.
                header[17] = GREY;
                // The check covers type and data.
                let mut check = Crc::new();
                check.update(&header[4..]);
                header.extend(check.sum().to_be_bytes());
                grey.extend(header);
            }
            _ => grey.extend(whole),
        }
    }
    grey
}
