//! Samples of an image file as it stores them, and the 8-bit colours that viewers show.

use crate::error::{Error, Result, Warnings};
use crate::raster::{Orientation, Plane, RgbImage};
use crate::slide::{PixelSize, SampleValues};

/// Opacity up to which a pixel counts as wholly transparent, of 255.
const TRANSPARENT: u8 = 12;
/// One pixel in this many may be opaque in a picture whose alpha channel means nothing.
const OPAQUE_PIXELS: usize = 1000;

/// Samples row by row, the channels of a pixel side by side: colours first.
pub(super) struct Samples {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    /// Channels of colour, 1 or 3; those behind them are opacity or without meaning.
    pub colours: usize,
    pub values: SampleValues,
    /// Bits a sample in the file, where it states fewer than the values have.
    pub bits: u8,
    /// 0 is shown as white, the largest value as black.
    pub white_is_zero: bool,
    /// Meaning of the channel behind the colours, if it has one.
    pub alpha: Alpha,
    /// Colours of the values of an indexed picture, 16 bits a channel.
    pub palette: Option<Vec<[u16; 3]>>,
    /// How the stored rows and columns are shown.
    pub orientation: Option<Orientation>,
    pub pixel_size_um: Option<PixelSize>,
    pub notes: Warnings,
}

/// Meaning of the channel behind the colours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    /// There is none, or it has no stated meaning.
    None,
    /// Opacity; the colours are as they are.
    Unassociated,
    /// Opacity; the colours are multiplied by it already.
    Associated,
}

impl Samples {
    /// Samples without palette, orientation, pixel size and notes.
    pub(super) fn plain(
        width: usize,
        height: usize,
        channels: usize,
        values: SampleValues,
    ) -> Self {
        let alpha = if matches!(channels, 2 | 4) { Alpha::Unassociated } else { Alpha::None };
        Self {
            width,
            height,
            channels,
            colours: if channels >= 3 { 3 } else { 1 },
            bits: values.bits(),
            white_is_zero: false,
            values,
            alpha,
            palette: None,
            orientation: None,
            pixel_size_um: None,
            notes: Warnings::default(),
        }
    }

    /// Colours as stored, without a further channel; transparent pixels on white.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for samples that have no agreed meaning as colours.
    pub(super) fn into_rgb(mut self, notes: &mut Warnings) -> Result<RgbImage> {
        let (width, height, channels) = (self.width, self.height, self.channels);
        let colours = self.colours;
        if let Some(palette) = self.palette.take() {
            let SampleValues::U8(values) = self.values else {
                return Err(Error::unsupported(
                    "The indexed picture has more than 8 bits; save it as RGB",
                ));
            };
            let mut pixels = Vec::with_capacity(width * height);
            for pixel in values.chunks_exact(channels) {
                let colour = palette.get(usize::from(pixel[0])).copied().unwrap_or_default();
                pixels.push(colour.map(|value| (value >> 8) as u8));
            }
            return Plane::from_vec(width, height, pixels);
        }
        let layout = Layout { channels, colours, bits: self.bits };
        let mut values = self.values.into_8_bits(layout, notes)?;
        if self.white_is_zero {
            for pixel in values.chunks_exact_mut(channels) {
                pixel[..colours].iter_mut().for_each(|value| *value = 255 - *value);
            }
        }
        let mut alpha = if channels > colours { self.alpha } else { Alpha::None };
        if alpha != Alpha::None {
            let mut opaque = 0;
            for pixel in values.chunks_exact(channels) {
                opaque += usize::from(pixel[colours] > TRANSPARENT);
            }
            if opaque <= width * height / OPAQUE_PIXELS {
                notes.note(
                    "The alpha channel states that the whole picture is transparent; it is ignored",
                );
                alpha = Alpha::None;
            }
        }
        let mut pixels: Vec<[u8; 3]> = Vec::with_capacity(width * height);
        for pixel in values.chunks_exact(channels) {
            let colour = match *pixel {
                [red, green, blue, ..] if colours == 3 => [red, green, blue],
                [grey, ..] => [grey; 3],
                [] => [0; 3],
            };
            pixels.push(match alpha {
                Alpha::None => colour,
                Alpha::Unassociated => colour.map(|value| on_white(value, pixel[colours])),
                Alpha::Associated => colour.map(|value| value.saturating_add(255 - pixel[colours])),
            });
        }
        Plane::from_vec(width, height, pixels)
    }
}

/// How the samples of a pixel lie.
#[derive(Clone, Copy)]
struct Layout {
    channels: usize,
    colours: usize,
    /// Bits a sample in the file.
    bits: u8,
}

impl SampleValues {
    /// Bits of the type.
    fn bits(&self) -> u8 {
        match self {
            Self::U8(_) | Self::I8(_) => 8,
            Self::U16(_) | Self::I16(_) => 16,
            Self::U32(_) | Self::I32(_) | Self::F32(_) => 32,
            Self::U64(_) | Self::I64(_) | Self::F64(_) => 64,
        }
    }

    /// 8 bits a sample: 16 bits are scaled, by the range that is used where the largest value
    /// shows that the camera gave fewer bits.
    fn into_8_bits(self, layout: Layout, notes: &mut Warnings) -> Result<Vec<u8>> {
        let Layout { channels, colours, bits } = layout;
        let unsigned = match self {
            Self::U8(values) if bits >= 8 => return Ok(values),
            Self::U8(values) => {
                let range = (1 << bits) - 1;
                return Ok(values.into_iter().map(|v| to_8_bits(u16::from(v), range)).collect());
            }
            Self::I8(_) => {
                return Err(Error::unsupported(
                    "The picture has signed samples of 8 bits, which programs show \
                     differently; save it with unsigned samples of 8 bits",
                ));
            }
            Self::U16(values) => values,
            Self::I16(values) => whole_of(values.into_iter().map(i64::from), notes)?,
            Self::U32(values) => whole_of(values.into_iter().map(i64::from), notes)?,
            Self::I32(values) => whole_of(values.into_iter().map(i64::from), notes)?,
            Self::U64(values) => {
                whole_of(values.into_iter().map(|v| i64::try_from(v).unwrap_or(i64::MAX)), notes)?
            }
            Self::I64(values) => whole_of(values.into_iter(), notes)?,
            Self::F32(values) => {
                return real_to_8_bits(values.into_iter().map(f64::from).collect(), notes);
            }
            Self::F64(values) => return real_to_8_bits(values, notes),
        };
        // A range that the file states needs no note.
        if (9..16).contains(&bits) {
            let range = (1 << bits) - 1;
            return Ok(unsigned.into_iter().map(|value| to_8_bits(value, range)).collect());
        }
        let mut largest = 0;
        for pixel in unsigned.chunks_exact(channels) {
            for &value in &pixel[..colours] {
                largest = largest.max(value);
            }
        }
        let range = range_of(largest);
        if range < u16::MAX && largest > 0 {
            notes.note(format!(
                "The largest value of the 16-bit picture is {largest}, so it is taken to have \
                 {} bits: {range} is shown as white. Scale it yourself if that is wrong",
                16 - range.leading_zeros()
            ));
        }
        let mut scaled = Vec::with_capacity(unsigned.len());
        for pixel in unsigned.chunks_exact(channels) {
            for (channel, &value) in pixel.iter().enumerate() {
                // Opacity keeps the full range unless it is within that of the colours.
                let own = if channel < colours || value <= range { range } else { u16::MAX };
                scaled.push(to_8_bits(value, own));
            }
        }
        Ok(scaled)
    }
}

/// Largest value that a picture of this largest sample can have: cameras give 8, 10, 12, 14 or 16
/// bits.
fn range_of(largest: u16) -> u16 {
    match largest {
        1..=255 => 255,
        256..=1023 => 1023,
        1024..=4095 => 4095,
        4096..=16_383 => 16_383,
        _ => u16::MAX,
    }
}

/// value · 255 / range, rounded.
fn to_8_bits(value: u16, range: u16) -> u8 {
    let range = u32::from(range);
    ((u32::from(value) * 255 + range / 2) / range).min(255) as u8
}

/// Whole numbers of another type as 16 bits.
fn whole_of(values: impl Iterator<Item = i64>, notes: &mut Warnings) -> Result<Vec<u16>> {
    let mut converted = Vec::with_capacity(values.size_hint().0);
    for value in values {
        converted.push(u16::try_from(value).map_err(|_| {
            Error::unsupported(format!(
                "The picture has the value {value}, which is outside of 0 to 65535; save it with 8 \
                 or 16 bits a channel"
            ))
        })?);
    }
    notes.note(
        "The picture's samples are not unsigned ones of 8 or 16 bits; its values fit into 16 bits \
         and are read as such",
    );
    Ok(converted)
}

/// Real numbers: 0 to 1 where none is larger, else 0 to 255.
fn real_to_8_bits(values: Vec<f64>, notes: &mut Warnings) -> Result<Vec<u8>> {
    let mut largest = 0.0f64;
    for &value in &values {
        if !(0.0..=255.0).contains(&value) {
            return Err(Error::unsupported(format!(
                "The picture has the real number {value}, which is outside of 0 to 255; save it \
                 with 8 or 16 bits a channel"
            )));
        }
        largest = largest.max(value);
    }
    let factor = if largest <= 1.0 { 255.0 } else { 1.0 };
    notes.note(format!(
        "The picture's samples are real numbers up to {largest}; {} is shown as white",
        255.0 / factor
    ));
    Ok(values.into_iter().map(|value| (value * factor).round() as u8).collect())
}

/// A value blended with white by its opacity, rounded.
fn on_white(value: u8, alpha: u8) -> u8 {
    let alpha = u32::from(alpha);
    ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(channels: usize, values: SampleValues) -> (Vec<[u8; 3]>, Vec<String>) {
        let len = match &values {
            SampleValues::U8(v) => v.len(),
            SampleValues::U16(v) => v.len(),
            SampleValues::F32(v) => v.len(),
            SampleValues::I32(v) => v.len(),
            _ => 0,
        };
        let mut notes = Warnings::default();
        let samples = Samples::plain(len / channels, 1, channels, values);
        let image = samples.into_rgb(&mut notes).expect("colours");
        (image.data().to_vec(), notes.notes)
    }

    #[test]
    fn opacity_blends_with_white_unless_it_hides_everything() {
        let (pixels, notes) = rgb(4, SampleValues::U8(vec![10, 20, 30, 0, 10, 20, 30, 255]));
        assert_eq!((pixels, notes.len()), (vec![[255; 3], [10, 20, 30]], 0));
        let (pixels, notes) = rgb(4, SampleValues::U8(vec![10, 20, 30, 0, 40, 50, 60, 1]));
        assert_eq!((pixels, notes.len()), (vec![[10, 20, 30], [40, 50, 60]], 1));
        let (pixels, _) = rgb(2, SampleValues::U8(vec![100, 128, 7, 255]));
        assert_eq!(pixels, [[177; 3], [7; 3]]);
        let mut samples = Samples::plain(1, 1, 4, SampleValues::U8(vec![100, 50, 0, 128]));
        samples.alpha = Alpha::Associated;
        let image = samples.into_rgb(&mut Warnings::default()).expect("colours");
        assert_eq!(image.data(), [[227, 177, 127]]);
    }

    #[test]
    fn sixteen_bits_are_scaled_by_what_the_camera_gave() {
        let (pixels, notes) = rgb(1, SampleValues::U16(vec![0, 40_000, 65_535]));
        assert_eq!((pixels, notes.len()), (vec![[0; 3], [156; 3], [255; 3]], 0));
        for (largest, half, white) in [(4095, 2048, [255; 3]), (1000, 512, [249; 3])] {
            let (pixels, notes) = rgb(1, SampleValues::U16(vec![half, largest]));
            assert_eq!((&pixels[..], notes.len()), (&[[128; 3], white][..], 1), "{largest}");
        }
        assert_eq!(rgb(1, SampleValues::U16(vec![3, 200])).0, [[3; 3], [200; 3]], "8 bits in 16");
        assert_eq!(rgb(1, SampleValues::U16(vec![0, 0])), (vec![[0; 3]; 2], Vec::new()));
    }

    #[test]
    fn real_and_signed_samples_are_read_where_their_range_is_clear() {
        assert_eq!(rgb(1, SampleValues::F32(vec![0.0, 0.5, 1.0])).0, [[0; 3], [128; 3], [255; 3]]);
        assert_eq!(rgb(1, SampleValues::F32(vec![0.0, 200.0])).0, [[0; 3], [200; 3]]);
        assert_eq!(rgb(1, SampleValues::I32(vec![0, 200])).0, [[0; 3], [200; 3]]);
        for values in [
            SampleValues::F32(vec![-0.5]),
            SampleValues::F32(vec![f32::NAN]),
            SampleValues::I32(vec![-1]),
            SampleValues::I32(vec![70_000]),
            SampleValues::I8(vec![1]),
        ] {
            let samples = Samples::plain(1, 1, 1, values);
            assert!(samples.into_rgb(&mut Warnings::default()).is_err());
        }
    }
}
