//! `prunella convert`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use crate::dataset::{AnnotatedRegion, parse_imagescope, rasterise, write_imagescope};
use crate::error::{Error, ErrorContext as _, Result, Warnings};
use crate::instances::{Nucleus, PROBABILITY_ONE, Provenance, nuclei, polygons, write_nuclei};
use crate::model::InstanceParameters;
use crate::platform::{read_file, write_atomic};
use crate::raster::{DecodeLimits, LabelMap, Plane, Point, decode_labels, encode_label_file};

/// Largest annotation file.
const MAX_BYTES: u64 = 2_000_000_000;
/// Largest side of a label map that is made, pixels.
const MAX_SIDE_PX: usize = 30_000;

/// Convert outlines: ImageScope XML, QuPath GeoJSON and label maps, each into each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella convert annotations.xml annotations.geojson
  prunella convert result.geojson result.xml --mpp 0.25
  prunella convert annotations.xml labels.png --size 1000x1000
  prunella convert labels.png outlines.geojson")]
pub struct ConvertArguments {
    /// .xml (ImageScope), .geojson or .json, .png or .tif (label map).
    from: PathBuf,
    /// What to make, by its ending.
    to: PathBuf,
    /// Width and height of a label map that is made [default: as far as the outlines reach].
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(usize, usize)>,
    /// Pixel size to write, micrometres [default: the file's own, if it says].
    #[arg(long, value_name = "UM")]
    mpp: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Xml,
    GeoJson,
    Labels,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("xml") => Ok(Self::Xml),
            Some("geojson" | "json") => Ok(Self::GeoJson),
            Some("png" | "tif" | "tiff") => Ok(Self::Labels),
            _ => Err(Error::unsupported(
                "The ending says no format; use .xml, .geojson, .png or .tif",
            )
            .at(path)),
        }
    }
}

fn size(text: &str) -> std::result::Result<(usize, usize), String> {
    let parts =
        text.split_once(['x', '×']).and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parts
        .filter(|(w, h)| (1..=MAX_SIDE_PX).contains(w) && (1..=MAX_SIDE_PX).contains(h))
        .ok_or_else(|| {
            format!(
                "'{text}' is no size; give width and height such as 1000x800, at most {MAX_SIDE_PX}"
            )
        })
}

/// `prunella convert`.
pub fn convert(arguments: &ConvertArguments, output: Output) -> Result<CommandOutcome> {
    let (from, to) = (Format::of(&arguments.from)?, Format::of(&arguments.to)?);
    let bytes = read_file(&arguments.from, MAX_BYTES)?;
    let (regions, known) = read(from, &bytes).at(&arguments.from)?;
    let mpp = arguments.mpp.or(known);
    let mut report = Warnings::default();
    let content = match to {
        Format::Xml => write_imagescope(&regions, mpp)?,
        Format::GeoJson => geojson(&regions, mpp)?,
        Format::Labels => {
            let (width, height) = arguments.size.map_or_else(|| reach(&regions), Ok)?;
            let (labels, notes) = rasterise(&regions, width, height, 0.0);
            report = notes;
            let (bytes, ending) = encode_label_file(&labels)?;
            let fits = arguments.to.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
            if !fits {
                return Err(Error::mismatch(format!("So many objects need a .{ending} file"))
                    .at(&arguments.to));
            }
            bytes
        }
    };
    report.notes.iter().for_each(|note| output.remark(note));
    write_atomic(&arguments.to, &content)?;
    let count = regions.iter().filter(|r| !r.negative).count();
    output.result(
        &json!({ "objects": count, "file": arguments.to }),
        &format!("{count} objects → {}", arguments.to.display()),
    )?;
    Ok(if count == 0 { CommandOutcome::Nothing } else { CommandOutcome::Done })
}

/// Outlines, each followed by its holes, and the pixel size if the file says.
fn read(format: Format, bytes: &[u8]) -> Result<(Vec<AnnotatedRegion>, Option<f64>)> {
    match format {
        Format::Xml => parse_imagescope(bytes),
        Format::GeoJson => {
            let text =
                std::str::from_utf8(bytes).map_err(|_| Error::malformed("The file is not text"))?;
            let all = polygons(text)?.into_iter().enumerate();
            Ok((all.flat_map(|(i, rings)| regions_of(i + 1, rings)).collect(), None))
        }
        Format::Labels => {
            let (labels, _) = decode_labels(bytes, DecodeLimits::default())?.renumbered();
            Ok((
                outlines(&labels)?
                    .into_iter()
                    .flat_map(|n| regions_of(n.label as usize, n.rings))
                    .collect(),
                None,
            ))
        }
    }
}

/// An outline and its holes, open.
fn regions_of(number: usize, rings: Vec<Vec<Point>>) -> Vec<AnnotatedRegion> {
    let region = |(i, mut vertices): (usize, Vec<Point>)| {
        if vertices.len() > 1 && vertices.first() == vertices.last() {
            vertices.pop();
        }
        AnnotatedRegion { id: number.to_string(), negative: i > 0, vertices }
    };
    rings.into_iter().enumerate().map(region).collect()
}

/// Outlines along the pixels of a label map.
fn outlines(labels: &LabelMap) -> Result<Vec<Nucleus>> {
    let inside = labels.map(|l| if l > 0 { PROBABILITY_ONE } else { 0 });
    let image = Plane::filled(labels.width(), labels.height(), [255; 3]);
    let parameters = InstanceParameters { threshold: 0.5, ..InstanceParameters::default() };
    Ok(nuclei(&image, labels, &inside, &parameters, None)?.collect())
}

/// Width and height that hold every outline.
fn reach(regions: &[AnnotatedRegion]) -> Result<(usize, usize)> {
    let points = || regions.iter().flat_map(|r| &r.vertices);
    let side =
        |of: fn(&Point) -> f64| (points().map(of).fold(1.0, f64::max).ceil() as usize).max(1);
    let (width, height) = (side(|p| p.x), side(|p| p.y));
    if width.max(height) > MAX_SIDE_PX {
        return Err(Error::limit(format!(
            "The outlines reach to {width}, {height}; a label map of more than {MAX_SIDE_PX} pixels a side is not made"
        )));
    }
    Ok((width, height))
}

fn geojson(regions: &[AnnotatedRegion], mpp: Option<f64>) -> Result<Vec<u8>> {
    let mut objects: Vec<Nucleus> = Vec::new();
    for region in regions.iter().filter(|r| r.vertices.len() > 2) {
        if let Some(last) = objects.last_mut().filter(|_| region.negative) {
            last.rings.push(region.vertices.clone());
            continue;
        }
        let n = region.vertices.len() as f64;
        let mean = |of: fn(&Point) -> f64| region.vertices.iter().map(of).sum::<f64>() / n;
        objects.push(Nucleus {
            label: objects.len() as u32 + 1,
            rings: vec![region.vertices.clone()],
            area_px: 0,
            centroid: (mean(|p| p.x), mean(|p| p.y)),
            measurements: None,
        });
    }
    let mut text = Vec::new();
    let provenance = Provenance { model: String::new(), mpp_um: mpp };
    write_nuclei(objects.into_iter(), &provenance, &mut text, &mut std::io::sink())?;
    Ok(text)
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
        let (regions, _) = read(Format::Labels, &file).expect("outlines");
        assert_eq!(regions.iter().map(|r| r.negative).collect::<Vec<_>>(), [false, true, false]);
        let text = geojson(&regions, Some(0.25)).expect("geojson");
        let (regions, _) = read(Format::GeoJson, &text).expect("again");
        let xml = write_imagescope(&regions, Some(0.25)).expect("xml");
        let (regions, mpp) = read(Format::Xml, &xml).expect("and again");
        assert_eq!(mpp, Some(0.25));
        let (back, _) = rasterise(&regions, 90, 60, 0.0);
        let wrong = back.data().iter().zip(labels.data()).filter(|(a, b)| a != b).count();
        assert!(wrong < 30, "{wrong} of 5400 pixels, all on edges");
    }
}
