//! A whole model in the fragment of a link, `#m=…`, which browsers never send to a server.
//!
//! ```text
//! fragment  base64url of: 'P', version (1), precision (0 int8, 1 f16),
//!           first six bytes of SHA-256 of the body, deflated body
//! body      length of the card (u32), card (JSON), arrays in the order of Graph::arrays
//! array     of one dimension (biases, norms): f32 values
//!           else, at f16: f16 values
//!           else, at int8: one f16 scale a row, then one i8 a value; value = i8 · scale
//! ```
//!
//! Numbers are little-endian. A row holds the weights of one filter or unit, that is the values of
//! one index of the first axis.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use half::f16;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::model::{Array, Card, Graph, HistoryStep, Model, Weights};

const MAGIC: u8 = b'P';
const VERSION: u8 = 1;
/// Magic, version and precision.
const HEADER_BYTES: usize = 3;
/// Bytes of the body's SHA-256 that are stored.
const CHECKSUM_BYTES: usize = 6;
/// Longest link that is read, characters.
pub const MAX_CHARACTERS: usize = 8_000_000;
/// Largest body that is unpacked, bytes: eight times the paper's larger network at 8 bits.
const MAX_BODY_BYTES: u64 = 40_000_000;
/// Longest card, bytes.
const MAX_CARD_BYTES: usize = 65_536;
/// Largest magnitude of an 8-bit weight. −128 is not used, so the range is symmetric.
const MAX_INT8: f32 = 127.0;

/// How weights are stored in a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkPrecision {
    /// 8 bits a weight, one scale a filter.
    #[default]
    Int8,
    /// Half precision.
    F16,
}

impl LinkPrecision {
    /// The third byte of a link.
    fn code(self) -> u8 {
        match self {
            Self::Int8 => 0,
            Self::F16 => 1,
        }
    }

    /// As the card names it.
    fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F16 => "f16",
        }
    }
}

/// How the values of one array are stored.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    F32,
    F16,
    ScaledInt8,
}

impl Encoding {
    fn of(shape: &[usize], precision: LinkPrecision) -> Self {
        if shape.len() == 1 {
            return Self::F32;
        }
        match precision {
            LinkPrecision::F16 => Self::F16,
            LinkPrecision::Int8 => Self::ScaledInt8,
        }
    }
}

/// The fragment that holds `model`. [`from_link`] returns [`quantised`] of it, bit for bit.
///
/// ```
/// use prunella::export::{LinkPrecision, from_link, quantised, to_link};
/// use prunella::model::{Model, dcnn};
///
/// # fn main() -> prunella::error::Result<()> {
/// let model = Model::random(dcnn([2, 3, 4], 8, 2), 1)?;
/// let link = to_link(&model, LinkPrecision::Int8)?;
/// assert!(link.starts_with("#m="));
/// let address = format!("https://example.org/{link}");
/// assert_eq!(from_link(&address)?, quantised(&model, LinkPrecision::Int8)?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Unsupported`] for weights too large for the precision.
pub fn to_link(model: &Model, precision: LinkPrecision) -> Result<String> {
    let model = quantised(model, precision)?;
    let card = serde_json::to_vec(model.card())
        .map_err(|e| Error::unsupported("The card cannot be written").caused_by(e))?;
    let mut body = (card.len() as u32).to_le_bytes().to_vec();
    body.extend(card);
    for spec in model.graph().arrays() {
        append_array(&mut body, model.array(&spec.name), &spec.shape, precision);
    }
    let mut head = vec![MAGIC, VERSION, precision.code()];
    head.extend(&Sha256::digest(&body)[..CHECKSUM_BYTES]);
    let mut encoder = flate2::write::DeflateEncoder::new(head, flate2::Compression::best());
    let bytes = encoder
        .write_all(&body)
        .and_then(|()| encoder.finish())
        .map_err(|e| Error::io("The link cannot be packed", e))?;
    Ok(format!("#m={}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn append_array(body: &mut Vec<u8>, values: &[f32], shape: &[usize], precision: LinkPrecision) {
    match Encoding::of(shape, precision) {
        Encoding::F32 => {
            for value in values {
                body.extend(value.to_le_bytes());
            }
        }
        Encoding::F16 => {
            for &value in values {
                body.extend(f16::from_f32(value).to_le_bytes());
            }
        }
        Encoding::ScaledInt8 => {
            let rows = || values.chunks_exact(values.len() / shape[0]);
            for row in rows() {
                body.extend(scale_of(row).to_le_bytes());
            }
            for row in rows() {
                let scale = scale_of(row);
                for &value in row {
                    body.push(to_int8(value, scale).cast_unsigned());
                }
            }
        }
    }
}

/// The model of a link: the fragment alone or a whole address. Lengths, checksum, card and shapes
/// are checked before memory is allocated for the weights.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Limit`] or [`Error::Unsupported`] with a sentence for each way a
/// link can be wrong.
pub fn from_link(link: &str) -> Result<Model> {
    if link.len() > MAX_CHARACTERS {
        return Err(Error::limit(format!("The link is longer than {MAX_CHARACTERS} characters")));
    }
    let link = link.trim();
    let fragment = link.rsplit_once('#').map_or(link, |(_, fragment)| fragment);
    let text = fragment.split('&').find_map(|part| part.strip_prefix("m=")).ok_or_else(|| {
        Error::malformed("The link carries no model; one that does has '#m=' in it")
    })?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| broken("it is cut short or changed"))?;
    let precision = match bytes[..] {
        [MAGIC, VERSION, 0, ..] => LinkPrecision::Int8,
        [MAGIC, VERSION, 1, ..] => LinkPrecision::F16,
        [MAGIC, version, ..] if version > VERSION => {
            return Err(Error::unsupported(
                "The link was made by a newer version; update prunella",
            ));
        }
        _ => return Err(broken("it does not begin as a model does")),
    };
    let (checksum, deflated) = bytes[HEADER_BYTES..]
        .split_at_checked(CHECKSUM_BYTES)
        .ok_or_else(|| broken("it is cut short"))?;
    let mut body = Vec::new();
    flate2::read::DeflateDecoder::new(deflated)
        .take(MAX_BODY_BYTES + 1)
        .read_to_end(&mut body)
        .map_err(|_| broken("it cannot be unpacked"))?;
    if body.len() as u64 > MAX_BODY_BYTES {
        return Err(Error::limit(format!(
            "The link unpacks to more than {} MB",
            MAX_BODY_BYTES / 1_000_000
        )));
    }
    if Sha256::digest(&body)[..CHECKSUM_BYTES] != *checksum {
        return Err(broken("its checksum does not fit"));
    }
    read_body(&body, precision)
}

/// The model as a link holds it: weights rounded to the precision, and a card without training
/// data, scores and history.
///
/// # Errors
/// [`Error::Unsupported`] for weights too large for the precision.
pub fn quantised(model: &Model, precision: LinkPrecision) -> Result<Model> {
    let mut weights = model.weights().clone();
    for (name, array) in &mut weights {
        match Encoding::of(&array.shape, precision) {
            Encoding::F32 => {}
            Encoding::F16 => {
                for value in &mut array.data {
                    *value = f16::from_f32(*value).to_f32();
                }
            }
            Encoding::ScaledInt8 => {
                let row_len = array.data.len() / array.shape[0];
                for row in array.data.chunks_exact_mut(row_len) {
                    let scale = scale_of(row);
                    for value in row {
                        *value = from_int8(to_int8(*value, scale), scale);
                    }
                }
            }
        }
        if array.shape.len() > 1 && array.data.iter().any(|v| !v.is_finite()) {
            return Err(Error::unsupported(format!(
                "Array '{name}' holds values too large for a link"
            )));
        }
    }
    let mut rounded = model.with_weights(weights)?;
    let old = model.card();
    let mut card = Card::new(old.architecture.clone());
    card.head = old.head;
    card.mpp_um = old.mpp_um;
    card.pruning_ratio = old.pruning_ratio;
    card.instances = old.instances;
    card.classes.clone_from(&old.classes);
    card.border_um = old.border_um;
    card.stain = old.stain;
    card.licence.clone_from(&old.licence);
    card.history.push(HistoryStep::Link { precision: precision.name().into() });
    *rounded.card_mut() = card;
    Ok(rounded)
}

/// Scale of a row of weights: its largest magnitude becomes 127. The scale is rounded to half
/// precision before the weights are divided by it, so quantising twice changes nothing.
fn scale_of(row: &[f32]) -> f16 {
    let largest = row.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
    let scale = f16::from_f32(largest / MAX_INT8);
    if largest > 0.0 && scale == f16::ZERO { f16::MIN_POSITIVE_SUBNORMAL } else { scale }
}

fn to_int8(value: f32, scale: f16) -> i8 {
    let scale = scale.to_f32();
    if scale == 0.0 { 0 } else { (value / scale).round().clamp(-MAX_INT8, MAX_INT8) as i8 }
}

fn from_int8(value: i8, scale: f16) -> f32 {
    f32::from(value) * scale.to_f32()
}

fn broken(why: &str) -> Error {
    Error::malformed(format!("The link's model is broken: {why}; copy the whole link again"))
}

fn read_body(body: &[u8], precision: LinkPrecision) -> Result<Model> {
    let mut reader = ByteReader { rest: body };
    let length = reader.take(4)?;
    let card_bytes = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if card_bytes > MAX_CARD_BYTES {
        return Err(Error::limit(format!("The link's card is longer than {MAX_CARD_BYTES} bytes")));
    }
    let card: Card = serde_json::from_slice(reader.take(card_bytes)?)
        .map_err(|e| Error::malformed("The link's card cannot be understood").caused_by(e))?;
    card.validate()?;
    let graph = Graph::new(&card.architecture);
    // Every stored value takes at least one byte, so a false architecture is noticed before memory
    // is allocated for it.
    if graph.stored_values() > reader.rest.len() {
        return Err(broken("it holds fewer weights than its network needs"));
    }
    let mut weights = Weights::new();
    for spec in graph.arrays() {
        let data = read_array(&mut reader, &spec.shape, precision)?;
        if data.iter().any(|v| !v.is_finite()) {
            return Err(broken("it holds weights that are no numbers"));
        }
        weights.insert(spec.name, Array::new(spec.shape, data)?);
    }
    if !reader.rest.is_empty() {
        return Err(broken("it holds more than its network needs"));
    }
    Model::new(card, weights)
}

fn read_array(
    reader: &mut ByteReader<'_>,
    shape: &[usize],
    precision: LinkPrecision,
) -> Result<Vec<f32>> {
    let count: usize = shape.iter().product();
    let mut values = Vec::with_capacity(count);
    match Encoding::of(shape, precision) {
        Encoding::F32 => {
            for bytes in reader.take(count * 4)?.as_chunks::<4>().0 {
                values.push(f32::from_le_bytes(*bytes));
            }
        }
        Encoding::F16 => {
            for bytes in reader.take(count * 2)?.as_chunks::<2>().0 {
                values.push(f16::from_le_bytes(*bytes).to_f32());
            }
        }
        Encoding::ScaledInt8 => {
            let scales = reader.take(shape[0] * 2)?.as_chunks::<2>().0;
            let rows = reader.take(count)?.chunks_exact(count / shape[0]);
            for (row, scale) in rows.zip(scales) {
                let scale = f16::from_le_bytes(*scale);
                for value in row {
                    values.push(from_int8(value.cast_signed(), scale));
                }
            }
        }
    }
    Ok(values)
}

/// The bytes that are not read yet.
struct ByteReader<'a> {
    rest: &'a [u8],
}

impl<'a> ByteReader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| broken("it is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{dccn, dcnn};

    fn models() -> [Model; 2] {
        [dcnn([3, 5, 8], 102, 2), dccn(4, 6, 3, [5, 5, 5], 2)]
            .map(|a| Model::random(a, 3).expect("model"))
    }

    #[test]
    fn a_link_holds_the_quantised_model_bit_for_bit_and_quantising_again_changes_nothing() {
        for model in models() {
            for precision in [LinkPrecision::Int8, LinkPrecision::F16] {
                let link = to_link(&model, precision).expect("link");
                let back = from_link(&link).expect("model");
                assert_eq!(back, quantised(&model, precision).expect("quantised"));
                assert_eq!(to_link(&back, precision).expect("again"), link);
                let address = format!("https://example.org/page/?image_url=a.png{link}&t=0.5");
                assert_eq!(from_link(&address).expect("model"), back);
            }
        }
    }

    #[test]
    fn eight_bits_are_within_half_a_step_of_each_weight() {
        let [model, _] = models();
        let rounded = quantised(&model, LinkPrecision::Int8).expect("quantised");
        for (name, array) in model.weights().iter().filter(|(_, a)| a.shape.len() > 1) {
            let row_len = array.data.len() / array.shape[0];
            let rows = array.data.chunks(row_len).zip(rounded.array(name).chunks(row_len));
            for (before, after) in rows {
                let step = scale_of(before).to_f32();
                assert!(
                    before.iter().zip(after).all(|(a, b)| (a - b).abs() <= step * 0.57),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn the_smallest_network_fits_into_sixteen_kilobytes() {
        let [model, _] = models();
        let link = to_link(&model, LinkPrecision::Int8).expect("link");
        assert!(link.len() <= 16 * 1024, "{}", link.len());
    }

    #[test]
    fn every_cut_and_every_changed_character_is_noticed() {
        let model = Model::random(dcnn([1, 1, 1], 2, 2), 3).expect("model");
        let link = to_link(&model, LinkPrecision::Int8).expect("link");
        for cut in 0..link.len() {
            assert!(from_link(&link[..cut]).is_err(), "cut at {cut}");
        }
        for at in 3..link.len() - 1 {
            let mut other = link.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(other).expect("ASCII");
            // Deflate streams have unused bits; a link that is still read must hold the same model.
            assert!(
                from_link(&text).map_or(true, |m| m == from_link(&link).expect("model")),
                "changed at {at}"
            );
        }
    }

    #[test]
    fn false_links_are_refused_before_memory_is_allocated() {
        let packed = |body: &[u8]| {
            let mut bytes = vec![MAGIC, VERSION, 0];
            bytes.extend(&Sha256::digest(body)[..CHECKSUM_BYTES]);
            let mut encoder =
                flate2::write::DeflateEncoder::new(bytes, flate2::Compression::fast());
            encoder.write_all(body).expect("packed");
            format!("#m={}", URL_SAFE_NO_PAD.encode(encoder.finish().expect("packed")))
        };
        let refusal = |body: &[u8]| from_link(&packed(body)).expect_err("refused").to_string();
        let huge = vec![0; MAX_BODY_BYTES as usize + 10];
        assert!(refusal(&huge).contains("more than"), "a huge body");
        assert!(refusal(&u32::MAX.to_le_bytes()).contains("longer than"), "a huge card");
        let card =
            serde_json::to_vec(&Card::new(crate::model::Architecture::paper_dccn())).expect("card");
        let body = [&(card.len() as u32).to_le_bytes()[..], &card].concat();
        assert!(refusal(&body).contains("fewer weights"), "a network without weights");
        assert!(from_link("#m=").is_err() && from_link("https://example.org/#x=1").is_err());
        assert!(from_link(&"m=".repeat(MAX_CHARACTERS)).is_err());
    }
}
