//! A whole model in a link's fragment, `#m=…`: weights as 8-bit integers with one scale a filter
//! (or half precision), packed, deflated, base64url. Values of one dimension (biases, norms) stay
//! f32. The fragment never reaches a server.
//!
//! Bytes: `P`, version 1, precision (0 int8, 1 f16), the first six bytes of the body's SHA-256, the
//! deflated body. Body: length of the card (u32, little-endian), card as JSON, then the arrays in
//! the order of [`crate::model::Graph::arrays`]: for a matrix all scales (f16), then all integers.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use half::f16;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::model::{Array, Card, Graph, Model, Weights};

const MAGIC: u8 = b'P';
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 3;
const CHECK_BYTES: usize = 6;
/// Longest link that is read, characters.
pub const MAX_CHARACTERS: usize = 8_000_000;
/// Largest body that is unpacked, bytes: eight times the paper's larger network at 8 bits.
const MAX_BODY_BYTES: u64 = 40_000_000;
/// Longest card, bytes.
const MAX_CARD_BYTES: usize = 65_536;
/// Largest 8-bit value used; −128 is not.
const LARGEST: f32 = 127.0;

/// How weights travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkPrecision {
    /// 8 bits, one scale a filter.
    #[default]
    Int8,
    /// Half precision.
    F16,
}

/// The fragment that carries `model`. [`from_link`] gives [`quantised`] of it back, bit for bit.
///
/// # Errors
/// [`Error::Malformed`] for weights that the precision cannot hold.
pub fn to_link(model: &Model, precision: LinkPrecision) -> Result<String> {
    let model = quantised(model, precision)?;
    let card = serde_json::to_vec(model.card())
        .map_err(|e| Error::malformed(format!("The card cannot be written: {e}")))?;
    let mut body = (card.len() as u32).to_le_bytes().to_vec();
    body.extend(card);
    for spec in model.graph().arrays() {
        let values = model.array(&spec.name);
        match (spec.shape.len(), precision) {
            (1, _) => body.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            (_, LinkPrecision::F16) => {
                body.extend(values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()))
            }
            (_, LinkPrecision::Int8) => {
                let rows = || values.chunks_exact(values.len() / spec.shape[0]);
                let scales: Vec<f16> = rows().map(scale_of).collect();
                body.extend(scales.iter().flat_map(|s| s.to_le_bytes()));
                let integers = rows()
                    .zip(&scales)
                    .flat_map(|(row, &s)| row.iter().map(move |&v| integer(v, s)));
                body.extend(integers.map(i8::cast_unsigned));
            }
        }
    }
    let mut bytes = vec![MAGIC, VERSION, u8::from(precision == LinkPrecision::F16)];
    bytes.extend(&Sha256::digest(&body)[..CHECK_BYTES]);
    let mut packed = flate2::write::DeflateEncoder::new(bytes, flate2::Compression::best());
    let bytes = packed
        .write_all(&body)
        .and_then(|()| packed.finish())
        .map_err(|e| Error::io("The link cannot be packed", e))?;
    Ok(format!("#m={}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The model in a link: the fragment alone or a whole address. Everything about it is checked
/// before it is believed.
///
/// # Errors
/// One sentence for each way a link can be wrong.
pub fn from_link(link: &str) -> Result<Model> {
    if link.len() > MAX_CHARACTERS {
        return Err(Error::limit(format!("The link is longer than {MAX_CHARACTERS} characters")));
    }
    let fragment = link.trim().rsplit_once('#').map_or(link.trim(), |(_, f)| f);
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
    let check =
        bytes.get(HEAD_BYTES..HEAD_BYTES + CHECK_BYTES).ok_or_else(|| broken("it is cut short"))?;
    let mut body = Vec::new();
    flate2::read::DeflateDecoder::new(&bytes[HEAD_BYTES + CHECK_BYTES..])
        .take(MAX_BODY_BYTES + 1)
        .read_to_end(&mut body)
        .map_err(|_| broken("it cannot be unpacked"))?;
    if body.len() as u64 > MAX_BODY_BYTES {
        return Err(Error::limit(format!(
            "The link unpacks to more than {} MB",
            MAX_BODY_BYTES / 1_000_000
        )));
    }
    if Sha256::digest(&body)[..CHECK_BYTES] != *check {
        return Err(broken("its checksum does not fit"));
    }
    unpack(&body, precision)
}

/// The model as a link carries it: weights rounded, and a card without the history of its making.
///
/// # Errors
/// [`Error::Malformed`] for weights that the precision cannot hold.
pub fn quantised(model: &Model, precision: LinkPrecision) -> Result<Model> {
    let mut weights = model.weights().clone();
    for (name, array) in weights.iter_mut().filter(|(_, a)| a.shape.len() > 1) {
        let row_len = array.data.len() / array.shape[0];
        for row in array.data.chunks_exact_mut(row_len) {
            match precision {
                LinkPrecision::Int8 => {
                    let scale = scale_of(row);
                    row.iter_mut()
                        .for_each(|v| *v = f32::from(integer(*v, scale)) * scale.to_f32());
                }
                LinkPrecision::F16 => row.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32()),
            }
        }
        if array.data.iter().any(|v| !v.is_finite()) {
            return Err(Error::malformed(format!(
                "Array '{name}' holds values too large for a link"
            )));
        }
    }
    let mut small = model.with_weights(weights)?;
    let old = model.card();
    let mut card = Card::new(old.architecture.clone());
    card.head = old.head;
    card.mpp_um = old.mpp_um;
    card.pruning_ratio = old.pruning_ratio;
    card.instances = old.instances;
    card.classes.clone_from(&old.classes);
    card.licence.clone_from(&old.licence);
    let word = if precision == LinkPrecision::Int8 { "int8" } else { "f16" };
    card.history.push(serde_json::json!({ "step": "link", "precision": word }));
    *small.card_mut() = card;
    Ok(small)
}

/// Scale of a filter: its largest weight becomes 127. Rounded to half precision, and quantising
/// twice changes nothing.
fn scale_of(row: &[f32]) -> f16 {
    let most = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let scale = f16::from_f32(most / LARGEST);
    if most > 0.0 && scale == f16::ZERO { f16::MIN_POSITIVE_SUBNORMAL } else { scale }
}

fn integer(v: f32, scale: f16) -> i8 {
    let scale = scale.to_f32();
    if scale == 0.0 { 0 } else { (v / scale).round().clamp(-LARGEST, LARGEST) as i8 }
}

fn broken(why: &str) -> Error {
    Error::malformed(format!("The link's model is broken: {why}; copy the whole link again"))
}

fn unpack(body: &[u8], precision: LinkPrecision) -> Result<Model> {
    let mut rest = Rest(body);
    let card_len = rest.take(4)?.iter().rev().fold(0usize, |n, &b| n << 8 | usize::from(b));
    if card_len > MAX_CARD_BYTES {
        return Err(Error::limit(format!("The link's card is longer than {MAX_CARD_BYTES} bytes")));
    }
    let card: Card = serde_json::from_slice(rest.take(card_len)?)
        .map_err(|e| Error::malformed(format!("The link's card cannot be understood: {e}")))?;
    card.validate()?;
    let graph = Graph::new(&card.architecture);
    // Every stored value takes at least a byte, so a lying architecture is told before memory is
    // taken for it.
    if graph.stored_values() > rest.0.len() {
        return Err(broken("it holds fewer weights than its network needs"));
    }
    let mut weights = Weights::new();
    for spec in graph.arrays() {
        let count: usize = spec.shape.iter().product();
        let halves = |bytes: &[u8]| {
            bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect::<Vec<_>>()
        };
        let data: Vec<f32> = match (spec.shape.len(), precision) {
            (1, _) => rest
                .take(count * 4)?
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            (_, LinkPrecision::F16) => {
                halves(rest.take(count * 2)?).into_iter().map(f16::to_f32).collect()
            }
            (_, LinkPrecision::Int8) => {
                let scales = halves(rest.take(spec.shape[0] * 2)?);
                let rows = rest.take(count)?.chunks_exact(count / spec.shape[0]);
                let value = |q: &u8, s: f16| f32::from(q.cast_signed()) * s.to_f32();
                rows.zip(scales).flat_map(|(row, s)| row.iter().map(move |q| value(q, s))).collect()
            }
        };
        if data.iter().any(|v| !v.is_finite()) {
            return Err(broken("it holds weights that are no numbers"));
        }
        weights.insert(spec.name, Array::new(spec.shape, data)?);
    }
    if !rest.0.is_empty() {
        return Err(broken("it holds more than its network needs"));
    }
    Model::new(card, weights)
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (now, later) =
            self.0.split_at_checked(count).ok_or_else(|| broken("it is cut short"))?;
        self.0 = later;
        Ok(now)
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
    fn a_link_gives_the_quantised_model_back_bit_for_bit_and_the_same_link_again() {
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
        let small = quantised(&model, LinkPrecision::Int8).expect("quantised");
        for (name, array) in model.weights().iter().filter(|(_, a)| a.shape.len() > 1) {
            let row_len = array.data.len() / array.shape[0];
            let rows = array.data.chunks(row_len).zip(small.array(name).chunks(row_len));
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
    fn the_smallest_network_fits_sixteen_kilobytes() {
        let [model, _] = models();
        let link = to_link(&model, LinkPrecision::Int8).expect("link");
        assert!(link.len() <= 16 * 1024, "{}", link.len());
    }

    #[test]
    fn every_cut_and_every_changed_character_is_a_sentence() {
        let model = Model::random(dcnn([1, 1, 1], 2, 2), 3).expect("model");
        let link = to_link(&model, LinkPrecision::Int8).expect("link");
        for cut in 0..link.len() {
            assert!(from_link(&link[..cut]).is_err(), "cut at {cut}");
        }
        for at in 3..link.len() - 1 {
            let mut other = link.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(other).expect("ASCII");
            // Deflate streams have bits that mean nothing; what still unpacks must be the same
            // model.
            assert!(
                from_link(&text).map_or(true, |m| m == from_link(&link).expect("model")),
                "changed at {at}"
            );
        }
    }

    #[test]
    fn lying_links_are_refused_before_memory_is_taken() {
        let packed = |body: &[u8]| {
            let mut bytes = vec![MAGIC, VERSION, 0];
            bytes.extend(&Sha256::digest(body)[..CHECK_BYTES]);
            let mut encoder =
                flate2::write::DeflateEncoder::new(bytes, flate2::Compression::fast());
            encoder.write_all(body).expect("packed");
            format!("#m={}", URL_SAFE_NO_PAD.encode(encoder.finish().expect("packed")))
        };
        let said = |body: &[u8]| from_link(&packed(body)).expect_err("refused").to_string();
        assert!(said(&vec![0; MAX_BODY_BYTES as usize + 10]).contains("more than"), "a bomb");
        assert!(said(&u32::MAX.to_le_bytes()).contains("longer than"), "a huge card");
        let card =
            serde_json::to_vec(&Card::new(crate::model::Architecture::paper_dccn())).expect("card");
        let body = [&(card.len() as u32).to_le_bytes()[..], &card].concat();
        assert!(said(&body).contains("fewer weights"), "a network without weights");
        assert!(from_link("#m=").is_err() && from_link("https://example.org/#x=1").is_err());
        assert!(from_link(&"m=".repeat(MAX_CHARACTERS)).is_err());
    }
}
