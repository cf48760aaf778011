//! Arrays of Zarr 2 and 3: their metadata, under which key a chunk lies, and a chunk's values.
//! Only arrays of unsigned bytes are read.

use serde_json::Value;

use super::codec::decompress;
use super::level::Compression;
use super::objects::{ObjectCache, ObjectPart, ObjectRequest, ObjectResult};
use crate::error::{Error, Result};

/// Most axes of an array.
const MAX_AXES: usize = 8;
/// Longest side of an array.
const MAX_SIDE: u64 = 1 << 32;
/// Most decoded bytes of a chunk.
const MAX_CHUNK_BYTES: u64 = 1 << 28;
/// Most chunks of a shard.
const MAX_SHARD_CHUNKS: u64 = 1 << 20;
/// Most compressions of a chunk.
const MAX_CODECS: usize = 8;
/// Longest metadata of an array or group, bytes.
const MAX_METADATA_BYTES: u64 = 16 << 20;
/// Bytes of a chunk's entry in the index of a shard: offset and length.
const INDEX_ENTRY_BYTES: u64 = 16;
const CHECKSUM_BYTES: usize = 4;
/// A compressed chunk may be longer than its values by that and an eighth of them.
const PACKED_EXTRA_BYTES: u64 = 64 << 10;

/// An array of unsigned bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ZarrArray {
    /// Key of the folder that holds it, with a `/` at the end, or nothing.
    folder: String,
    /// Length along each axis.
    pub shape: Vec<u64>,
    /// Shape of the chunks that are decoded one by one: those inside shards, if there are shards.
    pub chunk: Vec<u64>,
    /// Distance of neighbours along each axis in a decoded chunk.
    pub strides: Vec<usize>,
    /// The value of chunks that there are not.
    pub fill: u8,
    keys: ChunkKeys,
    codecs: Vec<ChunkCodec>,
    shards: Option<Shards>,
}

/// How the key of a chunk is made of its position in the grid.
#[derive(Debug, Clone, PartialEq)]
struct ChunkKeys {
    /// `c` of Zarr 3.
    has_prefix: bool,
    separator: char,
}

/// What was done to the bytes of a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ChunkCodec {
    Compressed(Compression),
    /// Their CRC-32C stands behind them.
    Checksum,
}

/// Objects that hold several chunks and an index of them.
#[derive(Debug, Clone, PartialEq)]
struct Shards {
    /// Chunks of a shard along each axis.
    chunks: Vec<u64>,
    index_is_last: bool,
    index_has_checksum: bool,
}

/// The codecs of an array of Zarr 3.
struct Chain<'a> {
    /// The axes in the order in which they are stored, the fastest last.
    axes: Vec<usize>,
    /// Configuration of `sharding_indexed`.
    sharding: Option<&'a Value>,
    codecs: Vec<ChunkCodec>,
}

/// The request for a document of metadata.
pub(super) fn metadata_request(folder: &str, name: &str) -> ObjectRequest {
    ObjectRequest { key: format!("{folder}{name}"), part: ObjectPart::Whole(MAX_METADATA_BYTES) }
}

/// Parses a document of metadata.
///
/// # Errors
/// [`Error::Malformed`] for anything but an object of JSON.
pub(super) fn parse_metadata(key: &str, bytes: &[u8]) -> Result<Value> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Error::malformed(format!("{key} of the Zarr is no JSON")).caused_by(e))?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Error::malformed(format!("{key} of the Zarr is no JSON object")))
}

impl ZarrArray {
    /// From the metadata of an array in a folder, `.zarray` (Zarr 2) or `zarr.json` (Zarr 3).
    ///
    /// # Errors
    /// [`Error::Malformed`] for metadata that make no sense, [`Error::Unsupported`] for types and
    /// codecs that are not read, [`Error::Limit`] for chunks that are too large.
    pub(super) fn new(folder: &str, metadata: &Value) -> Result<Self> {
        match metadata["zarr_format"].as_u64() {
            Some(2) => Self::of_version_2(folder, metadata),
            Some(3) => Self::of_version_3(folder, metadata),
            _ => Err(Error::unsupported("Only Zarrs of the formats 2 and 3 are read")),
        }
    }

    fn of_version_2(folder: &str, metadata: &Value) -> Result<Self> {
        let data_type = metadata["dtype"].as_str().unwrap_or("of several fields");
        check_type(data_type, data_type.trim_start_matches(['|', '<', '>']) == "u1")?;
        let shape = lengths(&metadata["shape"])?;
        if metadata["filters"].as_array().is_some_and(|filters| !filters.is_empty()) {
            return Err(Error::unsupported(
                "The Zarr has filters, which are not read; write it without",
            ));
        }
        let compressor = &metadata["compressor"];
        let mut codecs = Vec::new();
        if !compressor.is_null() {
            let name = compressor["id"].as_str().unwrap_or("without a name");
            codecs.push(ChunkCodec::Compressed(compression(name)?));
        }
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        if metadata["order"] == "F" {
            axes.reverse();
        }
        let separator = separator(&metadata["dimension_separator"], '.')?;
        Self {
            folder: folder.to_owned(),
            shape,
            chunk: lengths(&metadata["chunks"])?,
            strides: Vec::new(),
            fill: fill_value(&metadata["fill_value"])?,
            keys: ChunkKeys { has_prefix: false, separator },
            codecs,
            shards: None,
        }
        .checked(&axes)
    }

    fn of_version_3(folder: &str, metadata: &Value) -> Result<Self> {
        if metadata["node_type"] != "array" {
            return Err(Error::malformed(format!("{folder} of the Zarr is no array")));
        }
        let data_type = metadata["data_type"].as_str().unwrap_or("of an extension");
        check_type(data_type, data_type == "uint8")?;
        let transformers = &metadata["storage_transformers"];
        if transformers.as_array().is_some_and(|list| !list.is_empty()) {
            return Err(Error::unsupported(
                "The Zarr has storage transformers, which are not read",
            ));
        }
        let grid = &metadata["chunk_grid"];
        if grid["name"] != "regular" {
            return Err(Error::unsupported("The Zarr has chunks of different shapes"));
        }
        let shape = lengths(&metadata["shape"])?;
        let mut chunk = lengths(&grid["configuration"]["chunk_shape"])?;
        let mut chain = Chain::of(&metadata["codecs"], shape.len())?;
        let mut shards = None;
        if let Some(configuration) = chain.sharding {
            let inner = lengths(&configuration["chunk_shape"])?;
            shards = Some(Shards::new(configuration, &chunk, &inner)?);
            chunk = inner;
            let is_plain = chain.codecs.is_empty() && chain.axes.is_sorted();
            chain = Chain::of(&configuration["codecs"], shape.len())?;
            if !is_plain || chain.sharding.is_some() {
                return Err(Error::unsupported(
                    "The shards of the Zarr are compressed as a whole, transposed or nested, which \
                     is not read",
                ));
            }
        }
        Self {
            folder: folder.to_owned(),
            shape,
            chunk,
            strides: Vec::new(),
            fill: fill_value(&metadata["fill_value"])?,
            keys: ChunkKeys::of_version_3(&metadata["chunk_key_encoding"])?,
            codecs: chain.codecs,
            shards,
        }
        .checked(&chain.axes)
    }

    /// Checks the shapes and computes the strides of chunks whose axes are stored in this order.
    fn checked(mut self, axes: &[usize]) -> Result<Self> {
        if self.chunk.len() != self.shape.len() || axes.len() != self.shape.len() {
            return Err(Error::malformed("The chunks of the Zarr have other axes than the array"));
        }
        if self.chunk.contains(&0) || self.shape.contains(&0) {
            return Err(Error::malformed("The Zarr has axes of no length"));
        }
        self.strides = vec![0; axes.len()];
        let mut bytes = 1u64;
        for &axis in axes.iter().rev() {
            self.strides[axis] = bytes as usize;
            bytes = bytes.saturating_mul(self.chunk[axis]);
            if bytes > MAX_CHUNK_BYTES {
                return Err(Error::limit(format!(
                    "The Zarr has chunks of {:?} values, which are too large; write it with \
                     smaller ones",
                    self.chunk
                )));
            }
        }
        Ok(self)
    }

    /// Decoded bytes of a chunk.
    fn chunk_bytes(&self) -> usize {
        // At most MAX_CHUNK_BYTES.
        self.chunk.iter().product::<u64>() as usize
    }

    /// Longest that a compressed chunk may be.
    fn max_packed_bytes(&self) -> u64 {
        let bytes = self.chunk_bytes() as u64;
        bytes + bytes / 8 + PACKED_EXTRA_BYTES
    }

    /// The first compression of the chunks, for people.
    pub(super) fn compression(&self) -> Compression {
        for codec in &self.codecs {
            if let ChunkCodec::Compressed(compression) = codec {
                return *compression;
            }
        }
        Compression::None
    }

    /// Where the chunk at a position of the grid lies; `None` when its shard has not got it.
    ///
    /// # Errors
    /// The missing index of a shard; one that is broken.
    pub(super) fn chunk_request(
        &self,
        known: &ObjectCache,
        position: &[u64],
    ) -> ObjectResult<Option<ObjectRequest>> {
        let Some(shards) = &self.shards else {
            let key = self.keys.key(&self.folder, position);
            return Ok(Some(ObjectRequest {
                key,
                part: ObjectPart::Whole(self.max_packed_bytes()),
            }));
        };
        let mut shard = Vec::with_capacity(position.len());
        // Of the chunk in the shard's index: row by row, the last axis fastest.
        let mut entry = 0;
        for (at, chunks) in position.iter().zip(&shards.chunks) {
            shard.push(at / chunks);
            entry = entry * chunks + at % chunks;
        }
        let key = self.keys.key(&self.folder, &shard);
        let index_request = ObjectRequest { key: key.clone(), part: shards.index_part() };
        let found = known.read(&[index_request])?;
        let Some(Some(index)) = found.first() else { return Ok(None) };
        let Some((offset, len)) = shards.entry(index, entry)? else { return Ok(None) };
        let end = offset.checked_add(len).filter(|_| len > 0 && len <= self.max_packed_bytes());
        let end = end.ok_or_else(|| {
            Error::malformed(format!("The index of the shard {key} of the Zarr is broken"))
        })?;
        Ok(Some(ObjectRequest { key, part: ObjectPart::Range(offset..end) }))
    }

    /// The values of a chunk.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the bytes are no such chunk.
    pub(super) fn decode_chunk(&self, packed: &[u8]) -> Result<Vec<u8>> {
        let chunk_bytes = self.chunk_bytes();
        let mut unpacked: Option<Vec<u8>> = None;
        for (i, codec) in self.codecs.iter().enumerate().rev() {
            let bytes = unpacked.as_deref().unwrap_or(packed);
            // The codec that was applied first gives the values, others what a codec gave. One byte
            // more shows that there is more, and lets decoders reach the checksum at the end.
            let most = if i == 0 { chunk_bytes } else { self.max_packed_bytes() as usize };
            let max_bytes = most + 1;
            unpacked = Some(match codec {
                ChunkCodec::Checksum => without_checksum(bytes)?.to_vec(),
                ChunkCodec::Compressed(compression) => decompress(*compression, bytes, max_bytes)?,
            });
        }
        let values = unpacked.unwrap_or_else(|| packed.to_vec());
        if values.len() == chunk_bytes {
            return Ok(values);
        }
        Err(Error::malformed(format!(
            "A chunk of the Zarr does not hold its {chunk_bytes} values; it is damaged or cut short"
        )))
    }
}

impl ChunkKeys {
    fn of_version_3(encoding: &Value) -> Result<Self> {
        let stated = &encoding["configuration"]["separator"];
        match encoding["name"].as_str().or(encoding.as_str()) {
            Some("default") => Ok(Self { has_prefix: true, separator: separator(stated, '/')? }),
            Some("v2") => Ok(Self { has_prefix: false, separator: separator(stated, '.')? }),
            _ => Err(Error::unsupported("The keys of the Zarr's chunks are of an unknown kind")),
        }
    }

    fn key(&self, folder: &str, position: &[u64]) -> String {
        let mut key = folder.to_owned();
        if self.has_prefix {
            key.push('c');
        }
        for (i, at) in position.iter().enumerate() {
            if i > 0 || self.has_prefix {
                key.push(self.separator);
            }
            key += &at.to_string();
        }
        key
    }
}

impl<'a> Chain<'a> {
    /// Of a list of codecs for chunks of so many axes.
    fn of(list: &'a Value, axis_count: usize) -> Result<Self> {
        let list = list.as_array().filter(|list| list.len() <= MAX_CODECS);
        let list = list.ok_or_else(|| Error::malformed("The Zarr states no list of codecs"))?;
        let mut chain =
            Self { axes: (0..axis_count).collect(), sharding: None, codecs: Vec::new() };
        let mut has_bytes = false;
        for codec in list {
            let name = codec["name"].as_str().or(codec.as_str()).unwrap_or("without a name");
            let configuration = &codec["configuration"];
            match name {
                "transpose" if !has_bytes => chain.transpose(&configuration["order"])?,
                // Of bytes their order means nothing.
                "bytes" if !has_bytes => has_bytes = true,
                "sharding_indexed" if !has_bytes => {
                    has_bytes = true;
                    chain.sharding = Some(configuration);
                }
                "crc32c" if has_bytes => chain.codecs.push(ChunkCodec::Checksum),
                _ if has_bytes => {
                    let name = name.strip_prefix("numcodecs.").unwrap_or(name);
                    chain.codecs.push(ChunkCodec::Compressed(compression(name)?));
                }
                _ => {
                    return Err(Error::unsupported(format!(
                        "The codec {name} of the Zarr is not read"
                    )));
                }
            }
        }
        if has_bytes {
            return Ok(chain);
        }
        Err(Error::malformed("The codecs of the Zarr give no bytes"))
    }

    /// Axis `i` of what is stored is axis `order[i]` of what was there before.
    fn transpose(&mut self, order: &Value) -> Result<()> {
        let order = match order.as_str() {
            Some("C") => return Ok(()),
            Some("F") => (0..self.axes.len() as u64).rev().collect(),
            _ => lengths(order)?,
        };
        let mut axes = Vec::with_capacity(order.len());
        for at in &order {
            axes.extend(self.axes.get(*at as usize).copied());
        }
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != self.axes.len() || axes.len() != self.axes.len() {
            return Err(Error::malformed("The Zarr transposes axes that it has not"));
        }
        self.axes = axes;
        Ok(())
    }
}

impl Shards {
    fn new(configuration: &Value, shard: &[u64], chunk: &[u64]) -> Result<Self> {
        let is_divided = shard.len() == chunk.len()
            && shard.iter().zip(chunk).all(|(shard, chunk)| *chunk > 0 && shard % chunk == 0);
        if !is_divided {
            return Err(Error::malformed("The shards of the Zarr do not hold whole chunks"));
        }
        let chunks: Vec<u64> =
            shard.iter().zip(chunk).map(|(shard, chunk)| shard / chunk).collect();
        let count = chunks.iter().try_fold(1u64, |count, n| count.checked_mul(*n));
        if !count.is_some_and(|count| (1..=MAX_SHARD_CHUNKS).contains(&count)) {
            return Err(Error::limit("The shards of the Zarr hold too many chunks"));
        }
        let mut index_has_checksum = false;
        for codec in configuration["index_codecs"].as_array().into_iter().flatten() {
            let endian = &codec["configuration"]["endian"];
            match codec["name"].as_str().or(codec.as_str()) {
                Some("bytes") if endian.is_null() || endian == "little" => {}
                Some("crc32c") if !index_has_checksum => index_has_checksum = true,
                _ => {
                    return Err(Error::unsupported(
                        "The indices of the Zarr's shards are of a kind that is not read",
                    ));
                }
            }
        }
        Ok(Self {
            chunks,
            index_is_last: configuration["index_location"] != "start",
            index_has_checksum,
        })
    }

    fn index_part(&self) -> ObjectPart {
        let checksum = if self.index_has_checksum { CHECKSUM_BYTES as u64 } else { 0 };
        // At most MAX_SHARD_CHUNKS.
        let bytes = self.chunks.iter().product::<u64>() * INDEX_ENTRY_BYTES + checksum;
        if self.index_is_last { ObjectPart::Last(bytes) } else { ObjectPart::Range(0..bytes) }
    }

    /// Offset and length of a chunk in its shard; `None` when it is not there.
    fn entry(&self, index: &[u8], entry: u64) -> Result<Option<(u64, u64)>> {
        let index = if self.index_has_checksum { without_checksum(index)? } else { index };
        let at = (entry * INDEX_ENTRY_BYTES) as usize;
        let number = |at: usize| index.get(at..).and_then(<[u8]>::first_chunk::<8>);
        let (Some(offset), Some(len)) = (number(at), number(at + 8)) else {
            return Err(Error::malformed("The index of a shard of the Zarr is cut short"));
        };
        let (offset, len) = (u64::from_le_bytes(*offset), u64::from_le_bytes(*len));
        Ok((offset != u64::MAX || len != u64::MAX).then_some((offset, len)))
    }
}

fn check_type(data_type: &str, is_byte: bool) -> Result<()> {
    if is_byte {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "The values of the Zarr are of the type {data_type}; only slides of 8 bits a value, grey \
         or colour, are supported. Convert it to 8 bits (uint8)"
    )))
}

/// A list of lengths of axes.
fn lengths(list: &Value) -> Result<Vec<u64>> {
    let list = list.as_array().filter(|list| (1..=MAX_AXES).contains(&list.len()));
    let list = list.ok_or_else(|| Error::malformed("The Zarr states no shape of 1 to 8 axes"))?;
    let mut all = Vec::with_capacity(list.len());
    for length in list {
        let length = length.as_u64().filter(|length| *length <= MAX_SIDE);
        all.push(length.ok_or_else(|| Error::malformed("The Zarr states lengths that are none"))?);
    }
    Ok(all)
}

fn fill_value(stated: &Value) -> Result<u8> {
    if stated.is_null() {
        return Ok(0);
    }
    let value = stated.as_u64().and_then(|value| u8::try_from(value).ok());
    value.ok_or_else(|| Error::malformed("The fill value of the Zarr is none of 0 to 255"))
}

fn separator(stated: &Value, default: char) -> Result<char> {
    match stated.as_str() {
        None if stated.is_null() => Ok(default),
        Some("/") => Ok('/'),
        Some(".") => Ok('.'),
        _ => Err(Error::malformed("The keys of the Zarr's chunks have an unknown separator")),
    }
}

/// A compression by its name in Zarr 2 and 3.
fn compression(name: &str) -> Result<Compression> {
    Ok(match name {
        "blosc" => Compression::Blosc,
        "gzip" => Compression::Gzip,
        "lz4" => Compression::Lz4,
        "zlib" => Compression::Deflate,
        "zstd" => Compression::Zstd,
        _ => {
            return Err(Error::unsupported(format!(
                "The Zarr is compressed with {name}, which is not supported; write it with Blosc, \
                 ZSTD or gzip"
            )));
        }
    })
}

/// The bytes before a CRC-32C, which is checked.
fn without_checksum(bytes: &[u8]) -> Result<&[u8]> {
    match bytes.split_last_chunk::<CHECKSUM_BYTES>() {
        Some((bytes, sum)) if crc32c(bytes) == u32::from_le_bytes(*sum) => Ok(bytes),
        _ => Err(Error::malformed("A checksum of the Zarr is wrong: the slide is damaged")),
    }
}

/// CRC-32C (RFC 3720, appendix B.4).
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32c_table();
    let mut crc = u32::MAX;
    for byte in bytes {
        crc = crc >> 8 ^ TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize];
    }
    !crc
}

const fn crc32c_table() -> [u32; 256] {
    /// The polynomial, its lowest power first.
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_its_standard() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn chunks_have_the_keys_of_their_version() {
        let key = |encoding: Value| {
            ChunkKeys::of_version_3(&encoding).map(|keys| keys.key("0/", &[0, 12, 3])).ok()
        };
        let encoding = |name: &str, separator: &str| {
            let configuration = json!({ "separator": separator });
            json!({ "name": name, "configuration": configuration })
        };
        assert_eq!(key(json!({ "name": "default" })).as_deref(), Some("0/c/0/12/3"));
        assert_eq!(key(json!("v2")).as_deref(), Some("0/0.12.3"));
        assert_eq!(key(encoding("default", ".")).as_deref(), Some("0/c.0.12.3"));
        assert_eq!(key(encoding("v2", "/")).as_deref(), Some("0/0/12/3"));
        assert!(key(encoding("v2", "-")).is_none() && key(json!({})).is_none());
    }

    #[test]
    fn transposed_axes_give_the_strides_of_what_is_stored() {
        let shape = [3, 20, 10];
        let strides = |codecs: Value| {
            let metadata = json!({
                "zarr_format": 3, "node_type": "array", "shape": [3, 40, 50], "data_type": "uint8",
                "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": shape } },
                "chunk_key_encoding": { "name": "default" }, "fill_value": 0, "codecs": codecs,
            });
            ZarrArray::new("", &metadata).map(|array| array.strides).ok()
        };
        let transpose =
            |order: Value| json!({ "name": "transpose", "configuration": { "order": order } });
        assert_eq!(strides(json!(["bytes"])), Some(vec![200, 10, 1]));
        // Stored are rows, columns, channels.
        assert_eq!(strides(json!([transpose(json!([1, 2, 0])), "bytes"])), Some(vec![1, 30, 3]));
        assert_eq!(strides(json!([transpose(json!("F")), "bytes"])), Some(vec![1, 3, 60]));
        let twice = json!([transpose(json!([1, 2, 0])), transpose(json!([2, 0, 1])), "bytes"]);
        assert_eq!(strides(twice), Some(vec![200, 10, 1]));
        for order in [json!([0, 1]), json!([0, 1, 1]), json!([0, 1, 3]), json!(null)] {
            assert_eq!(strides(json!([transpose(order), "bytes"])), None);
        }
    }
}
