//! Results as bytes, for storage: probabilities of an image, nuclei of a slide. What comes back
//! gives the same files byte for byte.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::kept_probabilities::KeptBlock;
use super::nucleus::SlideNucleus;
use crate::error::{Error, Result};
use crate::instances::Measurements;
use crate::model::InstanceParameters;
use crate::platform::packed_bytes::{ByteReader, ByteWriter, deflated, inflated};
use crate::raster::{MapLayout, NucleusMaps, Plane, Point, Polygon, ProbabilityBytes};

/// First bytes of a saved result; the last one is the format's version.
const MAGIC: &[u8; 8] = b"PRNRES\0\x04";
/// Least bytes of a nucleus, a polygon, a ring and a point.
const NUCLEUS_BYTES: usize = 12 * 8 + 2 * 4;
const POLYGON_BYTES: usize = 4;
const RING_BYTES: usize = 4;
const POINT_BYTES: usize = 16;
/// Most types of nuclei: no network has more than 16 classes.
const MAX_TYPES: usize = 15;
/// Largest area of a nucleus, pixels of the finest level: sums over all nuclei stay below 2⁶⁴.
const MAX_AREA_PX: u64 = 1 << 40;

/// How a result was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedSettings {
    /// Of the model.
    pub fingerprint: String,
    /// Pixel size of the finest level, µm, if it is known.
    pub mpp_um: Option<f64>,
    /// Threshold and the like.
    pub parameters: InstanceParameters,
    /// Whether colours far from those of the training tiles were matched to them.
    pub stain_matching: bool,
    /// Size of the whole in the model's pixels.
    pub width: usize,
    /// The same.
    pub height: usize,
}

/// The probabilities of an image, in the model's pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedImage {
    /// How they were made.
    pub settings: SavedSettings,
    /// In 8 bits.
    pub probabilities: ProbabilityBytes,
    /// Which pixels are computed.
    pub known: Plane<bool>,
}

/// The finished blocks of a slide.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedSlide {
    /// How they were made.
    pub settings: SavedSettings,
    /// In the order of their numbers.
    pub blocks: Vec<SavedBlock>,
}

/// A finished block of a slide.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedBlock {
    /// Its number.
    pub block: usize,
    /// Its nuclei.
    pub nuclei: Vec<SlideNucleus>,
    /// Its probabilities, if they are kept.
    pub kept: Option<KeptBlock>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Header {
    Image { settings: SavedSettings, layout: MapLayout },
    Slide(SavedSettings),
}

fn put_header(header: &Header) -> Result<ByteWriter> {
    let text = serde_json::to_vec(header)
        .map_err(|e| Error::malformed("The result cannot be written").caused_by(e))?;
    let mut writer = ByteWriter(MAGIC.to_vec());
    writer.put_bytes(&text);
    Ok(writer)
}

fn header(bytes: &[u8]) -> Result<(Header, ByteReader<'_>)> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(Error::malformed("This is no saved result of this version"));
    };
    let mut reader = ByteReader(rest);
    Ok((json(reader.bytes()?)?, reader))
}

fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|e| Error::malformed("The saved result is broken").caused_by(e))
}

fn other_kind() -> Error {
    Error::mismatch("The saved result is of another kind of image")
}

impl SavedImage {
    /// As bytes; [`Self::from_bytes`] gives it back.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let layout = self.probabilities.layout();
        let settings = self.settings.clone();
        let mut writer = put_header(&Header::Image { settings, layout })?;
        for plane in self.probabilities.planes() {
            writer.put_bytes(&deflated(plane.data())?);
        }
        writer.put_bytes(&deflated(self.known.map(u8::from).data())?);
        Ok(writer.0)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for other bytes, [`Error::Mismatch`] for the result of a slide.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (Header::Image { settings, layout }, mut reader) = header(bytes)? else {
            return Err(other_kind());
        };
        let (width, height) = (settings.width, settings.height);
        let count = width.saturating_mul(height);
        if usize::from(layout.types) > MAX_TYPES {
            return Err(Error::malformed("The saved result has more types than any network"));
        }
        let mut values = Vec::new();
        for _ in 0..layout.planes() {
            values.extend(inflated(reader.bytes()?, count)?);
        }
        let known = inflated(reader.bytes()?, count)?;
        reader.finish()?;
        let probabilities = NucleusMaps::from_values(layout, width, height, &values)?;
        let known = Plane::from_vec(width, height, known)?.map(|byte| byte != 0);
        Ok(Self { settings, probabilities, known })
    }
}

impl SavedSlide {
    /// As bytes; [`Self::from_bytes`] gives it back.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = put_header(&Header::Slide(self.settings.clone()))?;
        writer.put_u32(self.blocks.len());
        for SavedBlock { block, nuclei, kept } in &self.blocks {
            writer.put_u32(*block);
            put_nuclei(&mut writer, nuclei);
            writer.put_u32(usize::from(kept.is_some()));
            if let Some(kept) = kept {
                kept.write(&mut writer);
            }
        }
        Ok(writer.0)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for other bytes, [`Error::Mismatch`] for the result of an image.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (Header::Slide(settings), mut reader) = header(bytes)? else {
            return Err(other_kind());
        };
        let count = reader.count(12)?;
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            let block = reader.u32()?;
            let nuclei = take_nuclei(&mut reader)?;
            let has_kept = reader.u32()? != 0;
            let kept = if has_kept { Some(KeptBlock::read(&mut reader)?) } else { None };
            blocks.push(SavedBlock { block, nuclei, kept });
        }
        reader.finish()?;
        Ok(Self { settings, blocks })
    }
}

/// Nuclei as bytes, every bit of their numbers; [`nuclei_from_bytes`] gives them back.
#[must_use]
pub fn nuclei_to_bytes(nuclei: &[SlideNucleus]) -> Vec<u8> {
    let mut writer = ByteWriter::default();
    put_nuclei(&mut writer, nuclei);
    writer.0
}

/// Reads nuclei.
///
/// # Errors
/// [`Error::Malformed`] for other bytes.
pub fn nuclei_from_bytes(bytes: &[u8]) -> Result<Vec<SlideNucleus>> {
    let mut reader = ByteReader(bytes);
    let nuclei = take_nuclei(&mut reader)?;
    reader.finish()?;
    Ok(nuclei)
}

fn put_nuclei(writer: &mut ByteWriter, nuclei: &[SlideNucleus]) {
    writer.put_u32(nuclei.len());
    for nucleus in nuclei {
        writer.put_u64(nucleus.area_px);
        let (x, y) = nucleus.centroid;
        for value in [x, y].into_iter().chain(nucleus.measurements.values()) {
            writer.put_f64(value);
        }
        // 0 is none.
        writer.put_u32(nucleus.class.map_or(0, |class| usize::from(class) + 1));
        writer.put_u32(nucleus.polygons.len());
        for polygon in &nucleus.polygons {
            writer.put_u32(polygon.len());
            for ring in polygon {
                writer.put_u32(ring.len());
                for point in ring {
                    writer.put_f64(point.x);
                    writer.put_f64(point.y);
                }
            }
        }
    }
}

fn take_nuclei(reader: &mut ByteReader<'_>) -> Result<Vec<SlideNucleus>> {
    let count = reader.count(NUCLEUS_BYTES)?;
    let mut nuclei = Vec::with_capacity(count);
    for _ in 0..count {
        let area_px = reader.u64()?;
        if area_px > MAX_AREA_PX {
            return Err(Error::malformed("The saved result has a nucleus of no possible area"));
        }
        let centroid = (finite(reader)?, finite(reader)?);
        let mut measured = [0.0; 9];
        for value in &mut measured {
            *value = reader.f64()?;
        }
        let class = match reader.u32()? {
            0 => None,
            place => Some(u8::try_from(place - 1).map_err(|_| {
                Error::malformed("The saved result has a nucleus of no possible type")
            })?),
        };
        let count = reader.count(POLYGON_BYTES)?;
        let mut polygons = Vec::with_capacity(count);
        for _ in 0..count {
            polygons.push(take_polygon(reader)?);
        }
        let measurements = Measurements::from(measured);
        nuclei.push(SlideNucleus { polygons, area_px, centroid, measurements, class });
    }
    Ok(nuclei)
}

fn take_polygon(reader: &mut ByteReader<'_>) -> Result<Polygon> {
    let count = reader.count(RING_BYTES)?;
    let mut rings = Vec::with_capacity(count);
    for _ in 0..count {
        let count = reader.count(POINT_BYTES)?;
        let mut ring = Vec::with_capacity(count);
        for _ in 0..count {
            ring.push(Point { x: finite(reader)?, y: finite(reader)? });
        }
        rings.push(ring);
    }
    Ok(rings)
}

fn finite(reader: &mut ByteReader<'_>) -> Result<f64> {
    let value = reader.f64()?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Error::malformed("The saved result has a place that is no number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SavedSettings {
        SavedSettings {
            fingerprint: "abc".into(),
            mpp_um: Some(0.2527),
            parameters: InstanceParameters { threshold: 0.37, ..InstanceParameters::default() },
            stain_matching: true,
            width: 20,
            height: 10,
        }
    }

    fn nucleus(at: f64) -> SlideNucleus {
        let ring = |r: f64| [[at, r], [at + 1.0 / 3.0, r], [at, r + 0.1]].map(Point::from).to_vec();
        SlideNucleus {
            polygons: vec![vec![ring(1.0), ring(2.0)], vec![ring(9.0)]],
            area_px: 12,
            centroid: (at + 0.1, 2.0 / 3.0),
            measurements: [1.0, 2.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].into(),
            class: (at > 1.0).then_some(254),
        }
    }

    #[test]
    fn an_image_comes_back_and_cut_or_changed_bytes_do_not() {
        let mut known = Plane::filled(20, 10, false);
        known.set(3, 4, true);
        let layout = MapLayout { interior: true, types: 2 };
        let mut probabilities = NucleusMaps::filled(layout, 20, 10, 3u8);
        for (value, plane) in (50..).step_by(50).zip(probabilities.planes_mut()) {
            plane.set(3, 4, value);
        }
        let image = SavedImage { settings: settings(), probabilities, known };
        let bytes = image.to_bytes().expect("bytes");
        assert_eq!(SavedImage::from_bytes(&bytes).expect("image"), image);
        assert!(SavedSlide::from_bytes(&bytes).is_err());
        for end in 0..bytes.len() {
            assert!(SavedImage::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        let text = String::from_utf8_lossy(&bytes[12..]).into_owned();
        assert!(text.contains("\"width\":20"), "{text}");
        let mut huge = bytes.clone();
        let at = bytes.windows(10).position(|w| w == b"\"width\":20").expect("width");
        huge[at + 8..at + 10].copy_from_slice(b"99");
        assert!(SavedImage::from_bytes(&huge).is_err());
    }

    #[test]
    fn a_slide_comes_back_bit_for_bit() {
        let slide = SavedSlide {
            settings: settings(),
            blocks: vec![
                SavedBlock { block: 2, nuclei: vec![nucleus(0.1), nucleus(7.7)], kept: None },
                SavedBlock { block: 5, nuclei: Vec::new(), kept: None },
            ],
        };
        let bytes = slide.to_bytes().expect("bytes");
        assert_eq!(SavedSlide::from_bytes(&bytes).expect("slide"), slide);
        assert!(SavedImage::from_bytes(&bytes).is_err());
        for end in 0..bytes.len() {
            assert!(SavedSlide::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
        // No byte makes it panic or take much memory.
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] = 255;
            drop(SavedSlide::from_bytes(&changed));
        }
    }
}
