//! `prunella convert`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use super::output_files::check_outputs;
use crate::dataset::{label_defect, lost_numbers_note, mask_as_objects};
use crate::error::{Error, ErrorContext as _, Result, Warnings, counted};
use crate::outlines::{
    Outlines, draw_outlines, read_outlines, trace_labels, write_geojson, write_imagescope,
};
use crate::picture::{is_picture, read_labels};
use crate::platform::{read_file, write_atomic, write_streamed};
use crate::raster::{DecodeLimits, LabelMap, encode_label_file, encode_labels_tiff};

/// Largest annotation file.
const MAX_BYTES: u64 = 2_000_000_000;
/// Largest side of a label map that is written, pixels.
const MAX_SIDE_PX: usize = 30_000;

/// Most objects of a label map as PNG, which has 16 bits.
const MAX_PNG_OBJECTS: u32 = 65_535;

/// Convert outlines: GeoJSON, ImageScope, HALO and ASAP XML, LabelMe, label maps.
///
/// The content of the first file decides its format, the ending of the second one its format.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella convert annotations.xml annotations.geojson
  prunella convert result.geojson result.xml --mpp 0.25
  prunella convert annotations.xml labels.png --size 1000x1000
  prunella convert labels.png outlines.geojson

Label maps become outlines along the edges of pixels, from which the same label map can be drawn.
Label maps hold nuclei: regions of interest around others, tiles and classes that end in '*' are
left out with a note. Outlines that cross themselves are made valid where they are written.")]
pub(super) struct ConvertArguments {
    /// File to read: GeoJSON (QuPath; also .geojson.gz), XML (ImageScope, HALO, ASAP), LabelMe
    /// JSON, or a label map (PNG, TIFF).
    from: PathBuf,
    /// File to write: .geojson or .json, .xml (ImageScope), .png or .tif (label map).
    to: PathBuf,
    /// Width and height of the label map that is written [default: just holds every outline].
    #[arg(long, value_name = "WxH")]
    size: Option<MapSize>,
    /// Pixel size to write, micrometres [default: that of the input, if it is stated].
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
}

/// A format that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutlineFormat {
    ImageScopeXml,
    GeoJson,
    LabelPng,
    LabelTiff,
}

impl OutlineFormat {
    fn by_ending(path: &Path) -> Result<Self> {
        match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("xml") => Ok(Self::ImageScopeXml),
            Some("geojson" | "json") => Ok(Self::GeoJson),
            Some("png") => Ok(Self::LabelPng),
            Some("tif" | "tiff") => Ok(Self::LabelTiff),
            Some("gz") => Err(Error::unsupported(
                "Packed files are read but not written; use .geojson and pack it with gzip",
            )
            .at(path)),
            _ => Err(Error::unsupported(
                "The ending of the output stands for no format; use .geojson, .xml, .png or .tif",
            )
            .at(path)),
        }
    }
}

/// Width and height of a label map, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MapSize {
    width: usize,
    height: usize,
}

impl MapSize {
    fn parse(text: &str) -> Option<Self> {
        let (width, height) = text.split_once(['x', '×'])?;
        let size = Self { width: width.parse().ok()?, height: height.parse().ok()? };
        let allowed = 1..=MAX_SIDE_PX;
        (allowed.contains(&size.width) && allowed.contains(&size.height)).then_some(size)
    }

    /// The smallest size that holds every outline.
    fn around(outlines: &Outlines) -> Result<Self> {
        let mut right = 1.0f64;
        let mut bottom = 1.0f64;
        for object in &outlines.objects {
            for vertex in object.polygons.iter().flatten().flatten() {
                right = right.max(vertex.x);
                bottom = bottom.max(vertex.y);
            }
        }
        let size = Self { width: right.ceil() as usize, height: bottom.ceil() as usize };
        if size.width.max(size.height) > MAX_SIDE_PX {
            return Err(Error::limit(format!(
                "The outlines reach to {}, {}; a label map has at most {MAX_SIDE_PX} pixels a \
                 side. --size takes the part from 0, 0",
                size.width, size.height
            )));
        }
        Ok(size)
    }
}

impl FromStr for MapSize {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            format!(
                "'{text}' is not a size; give width and height such as 1000x800, at most \
                 {MAX_SIDE_PX}"
            )
        })
    }
}

/// `prunella convert`.
pub(super) fn convert(arguments: &ConvertArguments, output: Output) -> Result<CommandOutcome> {
    let to = OutlineFormat::by_ending(&arguments.to)?;
    if arguments.mpp.is_some_and(|mpp| !(mpp.is_finite() && mpp > 0.0)) {
        return Err(Error::invalid("The pixel size must be a positive number of micrometres"));
    }
    check_outputs(std::slice::from_ref(&arguments.to), std::slice::from_ref(&arguments.from))?;
    let bytes = read_file(&arguments.from, MAX_BYTES)?;
    let mut outlines = read(&bytes).at(&arguments.from)?;
    output.warnings(&outlines.notes);
    let mpp_um = arguments.mpp.or(outlines.mpp_um);
    let mut size = None;
    let count = match to {
        OutlineFormat::ImageScopeXml => {
            output.warnings(&outlines.make_valid());
            write_atomic(&arguments.to, &write_imagescope(&outlines, mpp_um)?)?;
            outlines.objects.len()
        }
        OutlineFormat::GeoJson => {
            output.warnings(&outlines.make_valid());
            write_streamed(&arguments.to, |file| write_geojson(&outlines, mpp_um, file))?
        }
        OutlineFormat::LabelPng | OutlineFormat::LabelTiff => {
            let map_size = match arguments.size {
                Some(size) => size,
                None => MapSize::around(&outlines)?,
            };
            size = Some(map_size);
            let LabelFile { labels, objects, notes } = draw(&outlines, map_size, to)?;
            output.warnings(&notes);
            let file = if to == OutlineFormat::LabelPng {
                encode_label_file(&labels)?.0
            } else {
                encode_labels_tiff(&labels)?
            };
            write_atomic(&arguments.to, &file)?;
            objects
        }
    };
    let mut result = json!({ "objects": count, "file": arguments.to });
    let objects = counted(count, "object", "objects");
    let mut text = format!("{objects} → {}", arguments.to.display());
    if let Some(MapSize { width, height }) = size {
        result["width"] = width.into();
        result["height"] = height.into();
        text += &format!(", {width} × {height} pixels");
    }
    output.result(&result, &text)?;
    Ok(if count == 0 { CommandOutcome::Nothing } else { CommandOutcome::Done })
}

/// The objects of a file of outlines or of a label map.
fn read(bytes: &[u8]) -> Result<Outlines> {
    if !is_picture(bytes) {
        return read_outlines(bytes);
    }
    let labels = read_labels(bytes, DecodeLimits::default())?;
    let mut notes = labels.notes;
    let map = mask_as_objects(labels.map, &mut notes);
    if let Some(defect) = label_defect(&map) {
        notes.note(defect);
    } else if let Some(note) = lost_numbers_note(&map) {
        notes.note(note);
    }
    let mut outlines = trace_labels(&map);
    outlines.notes = notes;
    Ok(outlines)
}

/// A label map to write.
struct LabelFile {
    labels: LabelMap,
    /// Objects that have pixels in it.
    objects: usize,
    notes: Warnings,
}

fn draw(outlines: &Outlines, size: MapSize, format: OutlineFormat) -> Result<LabelFile> {
    let drawing = draw_outlines(outlines, size.width, size.height, 0.0);
    let mut notes = drawing.notes;
    if drawing.overwritten_px > 0 {
        notes.note(format!(
            "The objects overlap in {} px: these belong to the last of them",
            drawing.overwritten_px
        ));
    }
    let mut labels = drawing.labels;
    if drawing.hidden > 0 {
        notes.note(format!(
            "{} wholly covered by later ones: left out",
            counted(drawing.hidden, "object is", "objects are")
        ));
        labels = labels.renumbered().0;
    }
    let objects = drawing.objects as usize - drawing.hidden;
    if format == OutlineFormat::LabelPng && objects > MAX_PNG_OBJECTS as usize {
        return Err(Error::limit(format!(
            "A PNG holds {MAX_PNG_OBJECTS} objects and there are {objects}; write a .tif file"
        )));
    }
    Ok(LabelFile { labels, objects, notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Plane;

    fn labels_through(labels: &LabelMap, format: OutlineFormat) -> LabelMap {
        let outlines = trace_labels(labels);
        let text = if format == OutlineFormat::ImageScopeXml {
            write_imagescope(&outlines, Some(0.25)).expect("XML")
        } else {
            let mut text = Vec::new();
            write_geojson(&outlines, Some(0.25), &mut text).expect("GeoJSON");
            text
        };
        let mut back = read(&text).expect("back");
        assert!(back.notes.notes.is_empty(), "{:?}", back.notes);
        assert!(back.make_valid().notes.is_empty());
        let size = MapSize { width: labels.width(), height: labels.height() };
        draw(&back, size, OutlineFormat::LabelTiff).expect("drawn").labels
    }

    #[test]
    fn labels_survive_the_way_through_geojson_and_xml_and_back() {
        let disc = |i: usize, x: f64, y: f64, r: f64| {
            ((i % 90) as f64 + 0.5 - x).hypot((i / 90) as f64 + 0.5 - y) < r
        };
        let value = |i: usize| match i {
            i if disc(i, 30.0, 30.0, 4.0) => 0,
            i if disc(i, 30.0, 30.0, 15.0) => 1,
            i if disc(i, 65.0, 30.0, 12.0) => 2,
            // A part of the first object far from the rest of it.
            i if disc(i, 80.0, 50.0, 4.0) => 1,
            _ => 0,
        };
        let labels: LabelMap =
            Plane::from_vec(90, 60, (0..5400).map(value).collect()).expect("labels");
        for format in [OutlineFormat::GeoJson, OutlineFormat::ImageScopeXml] {
            assert_eq!(labels_through(&labels, format), labels);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 200, ..Default::default() })]

        /// Few labels on a small grid: parts, holes, islands, pixels that touch at corners, objects
        /// of one pixel and at the border are all frequent.
        #[test]
        fn random_label_maps_survive_every_way(
            width in 1usize..12,
            pixels in proptest::collection::vec(0u32..5, 1..120),
        ) {
            let height = pixels.len().div_ceil(width);
            let mut padded = pixels;
            padded.resize(width * height, 0);
            // Every second label is missing, so numbers have gaps.
            let labels = Plane::from_vec(width, height, padded.iter().map(|&l| l * 2).collect())
                .expect("labels");
            let (expected, count) = labels.renumbered();
            for format in [OutlineFormat::GeoJson, OutlineFormat::ImageScopeXml] {
                proptest::prop_assert_eq!(&labels_through(&labels, format), &expected);
            }
            let outlines = trace_labels(&labels);
            proptest::prop_assert_eq!(outlines.objects.len(), count as usize);
            for (number, object) in (1..).zip(&outlines.objects) {
                let pixels = expected.data().iter().filter(|&&label| label == number).count();
                proptest::prop_assert!(
                    crate::outlines::polygons_are_valid(&object.polygons, 1.0),
                    "{:?}",
                    object
                );
                let rings = object.polygons.iter().flatten();
                let area: f64 = rings.map(|ring| crate::raster::doubled_area(ring) / 2.0).sum();
                proptest::prop_assert!((area - pixels as f64).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn the_parts_of_a_mask_are_objects_and_classes_are_noted() {
        let dots = |value: fn(usize) -> u32| {
            let pixels = (0..400).map(|i| if i % 2 == 0 && i / 20 % 2 == 0 { value(i) } else { 0 });
            encode_labels_tiff(&Plane::from_vec(20, 20, pixels.collect()).expect("labels"))
                .expect("file")
        };
        let mask = read(&dots(|_| 255)).expect("mask");
        assert_eq!((mask.objects.len(), mask.notes.notes.len()), (100, 1));
        let classes = read(&dots(|i| 1 + (i / 2 % 3) as u32)).expect("classes");
        assert_eq!((classes.objects.len(), classes.notes.notes.len()), (3, 1));
        assert_eq!(read(&dots(|i| 1 + i as u32)).expect("labels").notes.notes.len(), 0);
    }

    #[test]
    fn what_is_lost_in_a_label_map_is_noted() {
        let square = |x: i32, y: i32, side: i32| {
            let (right, bottom) = (x + side, y + side);
            format!("[[{x},{y}],[{right},{y}],[{right},{bottom}],[{x},{bottom}],[{x},{y}]]")
        };
        let rings = [square(0, 0, 4), square(2, 0, 4), square(50, 0, 4), square(0, 0, 4)];
        let polygons: Vec<String> = rings
            .iter()
            .map(|ring| format!(r#"{{"type":"Polygon","coordinates":[{ring}]}}"#))
            .collect();
        let outlines = read(polygons.join("\n").as_bytes()).expect("outlines");
        assert_eq!(outlines.objects.len(), 4);
        let size = MapSize { width: 10, height: 10 };
        let file = draw(&outlines, size, OutlineFormat::LabelPng).expect("drawn");
        // The first one is covered by the last one, the third one lies outside.
        assert_eq!(file.objects, 2);
        assert_eq!(file.labels.data().iter().max(), Some(&2));
        for word in ["outside the image", "overlap in", "covered by later ones"] {
            assert!(file.notes.notes.iter().any(|n| n.contains(word)), "{:?}", file.notes);
        }
    }

    #[test]
    fn endings_decide_what_is_written() {
        let format = |name: &str| OutlineFormat::by_ending(Path::new(name));
        assert_eq!(format("a.TIFF").expect("format"), OutlineFormat::LabelTiff);
        assert_eq!(format("a.b.json").expect("format"), OutlineFormat::GeoJson);
        for other in ["a", "a.csv", "a.geojson.gz", "a.svs"] {
            assert!(format(other).is_err(), "{other}");
        }
    }
}
