//! Samples of a file as the numbers of objects.
//!
//! Whole non-negative numbers of any type are labels. Colours are labels only where it is certain
//! which number each one is; a grey picture is none.

use std::collections::{BTreeMap, BTreeSet};

use super::samples::Samples;
use crate::error::{Error, Result, Warnings};
use crate::raster::{LabelMap, Plane};
use crate::slide::SampleValues;

/// Share of labelled pixels beside the most frequent label that, in a grey picture, have no
/// neighbour of the same value.
const GREY_SHARE: f64 = 0.3;
/// Fewest such pixels: one-pixel objects occur in label maps.
const GREY_PX: usize = 100;
/// Numbers coded in colours are dense: the largest is at most this many times their count …
const CODED_FACTOR: usize = 2;
/// … and this.
const CODED_SLACK: usize = 16;
/// Share of labelled pixels above which a mask of two values may be inverted.
const INVERTED_SHARE: f64 = 0.75;

impl Samples {
    /// The label of each pixel.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the samples are no label map; the sentence states what they are.
    pub(super) fn into_labels(self, notes: &mut Warnings) -> Result<LabelMap> {
        let (width, height, channels) = (self.width, self.height, self.channels);
        let colours = self.colours;
        let is_indexed = self.palette.is_some();
        // Where each colour is the grey of its index, indices and values are the same.
        let is_coloured = self.palette.as_ref().is_some_and(|palette| !is_grey_ramp(palette));
        let largest = u32::try_from((1u64 << self.bits.min(32)) - 1).unwrap_or(u32::MAX);
        let mut values = labels_of(self.values)?;
        if self.white_is_zero {
            take_smaller_part(&mut values, largest, notes);
        }
        if is_coloured {
            notes.note("The file is an indexed picture; the index of a colour is the label");
        }
        let is_grey = colours == 1
            || values
                .chunks_exact(channels)
                .all(|pixel| pixel[..colours].iter().all(|value| *value == pixel[0]));
        let labels = if is_grey {
            values.chunks_exact(channels).map(|pixel| pixel[0]).collect()
        } else {
            coded_in_colours(&values, channels, notes)?
        };
        let map = Plane::from_vec(width, height, labels)?;
        let first = (map.data().first(), values.get(colours));
        if channels > colours
            && map.data().iter().all(|label| Some(label) == first.0)
            && values.chunks_exact(channels).any(|pixel| pixel.get(colours) != first.1)
        {
            return Err(Error::unsupported(
                "All labels are the same, but the alpha channel is not uniform; if it holds the \
                 labels, save it as a grey picture",
            ));
        }
        if !is_indexed && is_grey_picture(&map) {
            return Err(Error::unsupported(
                "The file is a grey picture or a blurred mask, not a label map: its values change \
                 from pixel to pixel. Apply a threshold, or save the numbers of the objects \
                 without interpolation",
            ));
        }
        note_inverted(&map, notes);
        Ok(map)
    }
}

/// Whether a palette shows each index as the grey of that value.
fn is_grey_ramp(palette: &[[u16; 3]]) -> bool {
    let grey = |(index, colour): (usize, &[u16; 3])| {
        colour.iter().all(|&value| usize::from(value >> 8) == index)
    };
    palette.iter().enumerate().all(grey)
}

/// Samples as labels.
fn labels_of(values: SampleValues) -> Result<Vec<u32>> {
    Ok(match values {
        SampleValues::U8(values) => values.into_iter().map(u32::from).collect(),
        SampleValues::U16(values) => values.into_iter().map(u32::from).collect(),
        SampleValues::U32(values) => values,
        SampleValues::U64(values) => whole(values.into_iter().map(i128::from))?,
        SampleValues::I8(values) => whole(values.into_iter().map(i128::from))?,
        SampleValues::I16(values) => whole(values.into_iter().map(i128::from))?,
        SampleValues::I32(values) => whole(values.into_iter().map(i128::from))?,
        SampleValues::I64(values) => whole(values.into_iter().map(i128::from))?,
        SampleValues::F32(values) => real(values.into_iter().map(f64::from))?,
        SampleValues::F64(values) => real(values.into_iter())?,
    })
}

fn whole(values: impl Iterator<Item = i128>) -> Result<Vec<u32>> {
    let mut labels = Vec::with_capacity(values.size_hint().0);
    for value in values {
        labels.push(u32::try_from(value).map_err(|_| no_label(value))?);
    }
    Ok(labels)
}

fn real(values: impl Iterator<Item = f64>) -> Result<Vec<u32>> {
    let mut labels = Vec::with_capacity(values.size_hint().0);
    for value in values {
        if value.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&value) {
            return Err(no_label(value));
        }
        labels.push(value as u32);
    }
    Ok(labels)
}

fn no_label(value: impl std::fmt::Display) -> Error {
    Error::unsupported(format!(
        "The label map has the value {value}; labels are whole numbers from 0 (background) to {}",
        u32::MAX
    ))
}

/// Labels of a colour picture, where it is certain how they are coded: black and one colour are a
/// mask, and numbers as red + 256 · green + 65 536 · blue (COCO panoptic) are dense.
fn coded_in_colours(values: &[u32], channels: usize, notes: &mut Warnings) -> Result<Vec<u32>> {
    let code = |pixel: &[u32]| match *pixel {
        [red, green, blue, ..] if red.max(green).max(blue) <= 255 => {
            Some(red + 256 * green + 65_536 * blue)
        }
        _ => None,
    };
    let mut labels = Vec::with_capacity(values.len() / channels);
    let mut codes = BTreeSet::new();
    for pixel in values.chunks_exact(channels) {
        let label = code(pixel).ok_or_else(colour_picture)?;
        labels.push(label);
        codes.insert(label);
    }
    let objects = codes.len() - usize::from(codes.contains(&0));
    let largest = codes.last().copied().unwrap_or(0) as usize;
    if objects == 1 && codes.contains(&0) {
        notes.note("The labels are black and one colour; the coloured pixels are the mask");
        return Ok(labels.into_iter().map(|label| u32::from(label > 0)).collect());
    }
    if largest <= CODED_FACTOR * objects + CODED_SLACK {
        notes.note("The labels are coded in colours: red + 256 · green + 65 536 · blue");
        return Ok(labels);
    }
    Err(colour_picture())
}

fn colour_picture() -> Error {
    Error::unsupported(
        "The file is a colour picture, not a label map; save the number of each pixel's object as \
         grey PNG or TIFF of 8, 16 or 32 bits",
    )
}

/// Whether the values are those of a grey picture, such as a blurred mask: beside the most frequent
/// one, many pixels touch others and have no neighbour of the same value.
fn is_grey_picture(map: &LabelMap) -> bool {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for y in 0..map.height() {
        for run in map.row(y).chunk_by(|a, b| a == b) {
            *counts.entry(run[0]).or_default() += run.len();
        }
    }
    counts.remove(&0);
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(value, _)| value);
    let (mut others, mut alone) = (0usize, 0usize);
    for y in 0..map.height() {
        for x in 0..map.width() {
            let value = map.get(y, x);
            if value == 0 || value == most {
                continue;
            }
            others += 1;
            let (mut same, mut touches) = (false, false);
            for (down, right) in [(0, 1), (2, 1), (1, 0), (1, 2)] {
                let (Some(row), Some(column)) =
                    ((y + down).checked_sub(1), (x + right).checked_sub(1))
                else {
                    continue;
                };
                if row < map.height() && column < map.width() {
                    let near = map.get(row, column);
                    same |= near == value;
                    touches |= near != 0;
                }
            }
            alone += usize::from(touches && !same);
        }
    }
    alone >= GREY_PX && alone as f64 > GREY_SHARE * others as f64
}

/// Of a mask whose file states that 0 is white, the smaller part is nuclei: some writers mean what
/// is stored (`tifffile`, `ImageJ`), others what is shown. Other numbers stay as they are stored.
fn take_smaller_part(values: &mut [u32], largest: u32, notes: &mut Warnings) {
    if values.iter().any(|&value| value != 0 && value != largest) {
        notes.note("The TIFF states that 0 is white; its numbers are taken as they are stored");
        return;
    }
    let stored = values.iter().filter(|&&value| value != 0).count();
    let shown_white = stored * 2 > values.len();
    if shown_white {
        values.iter_mut().for_each(|value| *value = largest - *value);
    }
    notes.note(format!(
        "The TIFF states that 0 is white; the smaller part, which is shown {}, is taken as nuclei. \
         Invert the mask if that is wrong",
        if shown_white { "white" } else { "black" }
    ));
}

/// Notes a mask of one value that covers most of the picture.
fn note_inverted(map: &LabelMap, notes: &mut Warnings) {
    let Some(value) = map.data().iter().copied().find(|&label| label > 0) else { return };
    if map.data().iter().any(|&label| label != 0 && label != value) {
        return;
    }
    let labelled = map.data().iter().filter(|&&label| label > 0).count();
    let share = labelled as f64 / map.data().len() as f64;
    if share > INVERTED_SHARE && share < 1.0 {
        notes.note(format!(
            "The mask covers {:.0} % of the picture; values other than 0 (white) are nuclei. If \
             nuclei are black in it, invert it",
            share * 100.0
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(channels: usize, values: SampleValues) -> Result<(Vec<u32>, Vec<String>)> {
        let len = match &values {
            SampleValues::U8(v) => v.len(),
            SampleValues::I32(v) => v.len(),
            SampleValues::I64(v) => v.len(),
            SampleValues::F32(v) => v.len(),
            _ => 0,
        };
        let mut notes = Warnings::default();
        let map = Samples::plain(len / channels, 1, channels, values).into_labels(&mut notes)?;
        Ok((map.data().to_vec(), notes.notes))
    }

    #[test]
    fn whole_numbers_of_any_type_are_labels() {
        let expected = (vec![0, 7, 70_000], Vec::new());
        assert_eq!(labels(1, SampleValues::I32(vec![0, 7, 70_000])).expect("labels"), expected);
        assert_eq!(labels(1, SampleValues::I64(vec![0, 7, 70_000])).expect("labels"), expected);
        assert_eq!(
            labels(1, SampleValues::F32(vec![0.0, 7.0, 70_000.0])).expect("labels"),
            expected
        );
        for (value, word) in [(0.5, "0.5"), (-1.0, "-1"), (f32::NAN, "NaN"), (5e9, "5000000000")] {
            let error = labels(1, SampleValues::F32(vec![0.0, value])).expect_err(word);
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(labels(1, SampleValues::I64(vec![-3])).is_err());
    }

    #[test]
    fn colours_are_labels_where_it_is_certain_which() {
        let rgb = |pixels: &[[u8; 3]]| labels(3, SampleValues::U8(pixels.as_flattened().to_vec()));
        assert_eq!(rgb(&[[0; 3], [9; 3]]).expect("grey"), (vec![0, 9], Vec::new()));
        let (mask, notes) = rgb(&[[0; 3], [200, 0, 10], [200, 0, 10]]).expect("mask");
        assert_eq!((mask, notes.len()), (vec![0, 1, 1], 1));
        let (coded, notes) = rgb(&[[0; 3], [1, 0, 0], [2, 0, 0], [4, 0, 0]]).expect("coded");
        assert_eq!((coded, notes.len()), (vec![0, 1, 2, 4], 1));
        assert!(rgb(&[[0; 3], [230, 25, 75], [60, 180, 75]]).is_err(), "colours drawn by chance");
    }

    #[test]
    fn of_a_mask_whose_zero_is_white_the_smaller_part_is_nuclei() {
        for (values, expected) in [(vec![0, 0, 255], [0, 0, 255]), (vec![255, 255, 0], [0, 0, 255])]
        {
            let mut samples = Samples::plain(3, 1, 1, SampleValues::U8(values));
            samples.white_is_zero = true;
            let mut notes = Warnings::default();
            assert_eq!(samples.into_labels(&mut notes).expect("mask").data(), expected);
            assert_eq!(notes.notes.len(), 1);
        }
    }

    #[test]
    fn a_blurred_mask_is_refused_and_touching_or_tiny_objects_are_not() {
        let size = 64;
        let map = |value: &dyn Fn(usize, usize) -> f64| {
            let values = (0..size * size).map(|i| value(i % size, i / size).round() as u8);
            let samples = Samples::plain(size, size, 1, SampleValues::U8(values.collect()));
            samples.into_labels(&mut Warnings::default())
        };
        let radius = |x: usize, y: usize| (x as f64 - 31.5).hypot(y as f64 - 31.5);
        let blurred = |x, y| 255.0 / (1.0 + ((radius(x, y) - 16.0) * 1.3).exp());
        assert!(map(&blurred).is_err());
        assert!(map(&|x, y| f64::from(radius(x, y) < 16.0) * 255.0).is_ok());
        // Squares of 4 pixels that touch; objects of one pixel.
        assert!(map(&|x, y| (1 + (x / 4 + y / 4 * 7) % 200) as f64).is_ok());
        assert!(map(&|x, y| if x % 4 == 0 && y % 4 == 0 { (x + y) as f64 } else { 0.0 }).is_ok());
    }
}
