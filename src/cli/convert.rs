//! `prunella convert`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use super::output_files::check_outputs;
use crate::dataset::{AnnotatedRegion, parse_imagescope, rasterise, write_imagescope};
use crate::error::{Error, ErrorContext as _, Result};
use crate::instances::{
    Nucleus, PROBABILITY_ONE, Provenance, measure_nuclei, polygons, write_nuclei,
};
use crate::model::InstanceParameters;
use crate::picture::read_labels;
use crate::platform::{read_file, write_atomic};
use crate::raster::{DecodeLimits, LabelMap, Plane, Point, encode_label_file};

/// Largest annotation file.
const MAX_BYTES: u64 = 2_000_000_000;
/// Largest side of a label map that is written, pixels.
const MAX_SIDE_PX: usize = 30_000;

/// Convert outlines: ImageScope XML, GeoJSON, label maps.
///
/// The endings of the two files decide their formats.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella convert annotations.xml annotations.geojson
  prunella convert result.geojson result.xml --mpp 0.25
  prunella convert annotations.xml labels.png --size 1000x1000
  prunella convert labels.png outlines.geojson")]
pub(super) struct ConvertArguments {
    /// File to read: .xml (ImageScope), .geojson or .json (QuPath), .png or .tif (label map).
    from: PathBuf,
    /// File to write.
    to: PathBuf,
    /// Width and height of the label map that is written [default: just holds every outline].
    #[arg(long, value_name = "WxH")]
    size: Option<MapSize>,
    /// Pixel size to write, micrometres [default: that of the input, if it is stated].
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutlineFormat {
    ImageScopeXml,
    GeoJson,
    LabelMap,
}

impl OutlineFormat {
    fn by_ending(path: &Path) -> Result<Self> {
        match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("xml") => Ok(Self::ImageScopeXml),
            Some("geojson" | "json") => Ok(Self::GeoJson),
            Some("png" | "tif" | "tiff") => Ok(Self::LabelMap),
            _ => Err(Error::unsupported(
                "The ending stands for no format; use .xml, .geojson, .png or .tif",
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
    fn around(regions: &[AnnotatedRegion]) -> Result<Self> {
        let mut right = 1.0f64;
        let mut bottom = 1.0f64;
        for region in regions {
            for vertex in &region.vertices {
                right = right.max(vertex.x);
                bottom = bottom.max(vertex.y);
            }
        }
        let size = Self { width: right.ceil() as usize, height: bottom.ceil() as usize };
        if size.width.max(size.height) > MAX_SIDE_PX {
            return Err(Error::limit(format!(
                "The outlines reach to {}, {}; a label map has at most {MAX_SIDE_PX} pixels a side",
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

/// Outlines of a file.
struct Outlines {
    /// Each region is followed by its holes, which are `negative`.
    regions: Vec<AnnotatedRegion>,
    /// Micrometres per pixel, if the file states it.
    mpp_um: Option<f64>,
}

/// `prunella convert`.
pub(super) fn convert(arguments: &ConvertArguments, output: Output) -> Result<CommandOutcome> {
    let from = OutlineFormat::by_ending(&arguments.from)?;
    let to = OutlineFormat::by_ending(&arguments.to)?;
    check_outputs(std::slice::from_ref(&arguments.to), std::slice::from_ref(&arguments.from))?;
    let bytes = read_file(&arguments.from, MAX_BYTES)?;
    let Outlines { regions, mpp_um } = read(from, &bytes).at(&arguments.from)?;
    let mpp_um = arguments.mpp.or(mpp_um);
    let content = match to {
        OutlineFormat::ImageScopeXml => write_imagescope(&regions, mpp_um)?,
        OutlineFormat::GeoJson => geojson(&regions, mpp_um)?,
        OutlineFormat::LabelMap => {
            let size = match arguments.size {
                Some(size) => size,
                None => MapSize::around(&regions)?,
            };
            let (labels, warnings) = rasterise(&regions, size.width, size.height, 0.0);
            output.warnings(&warnings);
            let (bytes, ending) = encode_label_file(&labels)?;
            if !arguments.to.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending)) {
                return Err(Error::mismatch(format!("So many objects need a .{ending} file"))
                    .at(&arguments.to));
            }
            bytes
        }
    };
    write_atomic(&arguments.to, &content)?;
    let count = regions.iter().filter(|r| !r.negative).count();
    output.result(
        &json!({ "objects": count, "file": arguments.to }),
        &format!("{count} objects → {}", arguments.to.display()),
    )?;
    Ok(if count == 0 { CommandOutcome::Nothing } else { CommandOutcome::Done })
}

fn read(format: OutlineFormat, bytes: &[u8]) -> Result<Outlines> {
    let mut regions = Vec::new();
    match format {
        OutlineFormat::ImageScopeXml => {
            let (regions, mpp_um) = parse_imagescope(bytes)?;
            return Ok(Outlines { regions, mpp_um });
        }
        OutlineFormat::GeoJson => {
            let text =
                std::str::from_utf8(bytes).map_err(|_| Error::malformed("The file is not text"))?;
            for (number, rings) in (1..).zip(polygons(text)?) {
                add_regions(&mut regions, number, rings);
            }
        }
        OutlineFormat::LabelMap => {
            let (labels, _) = read_labels(bytes, DecodeLimits::default())?.map.renumbered();
            for nucleus in pixel_outlines(&labels)? {
                add_regions(&mut regions, nucleus.label, nucleus.rings);
            }
        }
    }
    Ok(Outlines { regions, mpp_um: None })
}

/// Adds an outline (the first ring) and its holes (the others). Rings of regions do not repeat
/// their first vertex at the end.
fn add_regions(regions: &mut Vec<AnnotatedRegion>, number: u32, rings: Vec<Vec<Point>>) {
    for (index, mut vertices) in rings.into_iter().enumerate() {
        if vertices.len() > 1 && vertices.first() == vertices.last() {
            vertices.pop();
        }
        regions.push(AnnotatedRegion { id: number.to_string(), negative: index > 0, vertices });
    }
}

/// Outlines of a label map along the edges of pixels.
fn pixel_outlines(labels: &LabelMap) -> Result<Vec<Nucleus>> {
    // Colours and probabilities do not matter for outlines.
    let probability = labels.map(|label| if label > 0 { PROBABILITY_ONE } else { 0 });
    let image = Plane::filled(labels.width(), labels.height(), [255; 3]);
    let parameters = InstanceParameters { threshold: 0.5, ..InstanceParameters::default() };
    Ok(measure_nuclei(&image, labels, &probability, &parameters, None)?.collect())
}

/// QuPath GeoJSON; negative regions become holes of the region before them.
fn geojson(regions: &[AnnotatedRegion], mpp_um: Option<f64>) -> Result<Vec<u8>> {
    let mut objects: Vec<Nucleus> = Vec::new();
    for region in regions {
        if region.vertices.len() < 3 {
            continue;
        }
        match objects.last_mut() {
            Some(outer) if region.negative => outer.rings.push(region.vertices.clone()),
            _ => objects.push(Nucleus {
                label: objects.len() as u32 + 1,
                rings: vec![region.vertices.clone()],
                area_px: 0,
                centroid: mean_vertex(&region.vertices),
                measurements: None,
            }),
        }
    }
    let mut text = Vec::new();
    let provenance = Provenance { model: String::new(), mpp_um };
    write_nuclei(objects.into_iter(), &provenance, &mut text, &mut std::io::sink())?;
    Ok(text)
}

fn mean_vertex(vertices: &[Point]) -> (f64, f64) {
    let n = vertices.len() as f64;
    let x = vertices.iter().map(|p| p.x).sum::<f64>() / n;
    let y = vertices.iter().map(|p| p.y).sum::<f64>() / n;
    (x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_survive_the_way_through_geojson_and_xml_and_back() {
        let disc = |i: usize, x: f64, y: f64, r: f64| {
            ((i % 90) as f64 + 0.5 - x).hypot((i / 90) as f64 + 0.5 - y) < r
        };
        let value = |i: usize| match i {
            i if disc(i, 30.0, 30.0, 4.0) => 0,
            i if disc(i, 30.0, 30.0, 15.0) => 1,
            i if disc(i, 65.0, 30.0, 12.0) => 2,
            _ => 0,
        };
        let labels: LabelMap =
            Plane::from_vec(90, 60, (0..5400).map(value).collect()).expect("labels");
        let (file, _) = encode_label_file(&labels).expect("file");
        let Outlines { regions, .. } = read(OutlineFormat::LabelMap, &file).expect("outlines");
        assert_eq!(regions.iter().map(|r| r.negative).collect::<Vec<_>>(), [false, true, false]);
        let text = geojson(&regions, Some(0.25)).expect("geojson");
        let Outlines { regions, .. } = read(OutlineFormat::GeoJson, &text).expect("again");
        let xml = write_imagescope(&regions, Some(0.25)).expect("xml");
        let last = read(OutlineFormat::ImageScopeXml, &xml).expect("and again");
        assert_eq!(last.mpp_um, Some(0.25));
        let (back, _) = rasterise(&last.regions, 90, 60, 0.0);
        let wrong = back.data().iter().zip(labels.data()).filter(|(a, b)| a != b).count();
        assert!(wrong < 30, "{wrong} of 5400 pixels, all on edges");
    }
}
