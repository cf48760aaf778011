//! TIFFs of vendors whose first directory is not simply the picture: Philips and Leica SCN are read
//! as `OpenSlide` reads them; what would be shown wrong is refused by name.

use super::level::SlideLevel;
use super::pictures::{Pyramid, TiffPictures};
use super::pixel_size::{self, PixelSize, decimal};
use super::range_cache::{RangeCache, ReadError, ReadResult};
use super::slide_file::SlideFormat;
use super::tiff::{Directory, DirectoryNode, DirectoryTree, tag};
use super::xml::{XmlElement, parse_xml};
use crate::error::{Error, Result};

/// Photometric interpretations of camera raw files: mosaic of colour filters, linear raw.
const RAW_PHOTOMETRIC: [u64; 2] = [32_803, 34_892];
const NM_PER_UM: f64 = 1000.0;
const UM_PER_MM: f64 = 1000.0;

pub(super) fn not_read(name: &str) -> Error {
    Error::unsupported(format!(
        "The file is {name}, which is not supported. Convert it with QuPath (export as OME-TIFF) \
         or: vips tiffsave FILE out.tif --tile --pyramid --bigtiff --compression jpeg"
    ))
}

/// Refuses formats that this reader would show wrong, by their names.
///
/// # Errors
/// Missing bytes; [`Error::Unsupported`].
pub(super) fn refuse(
    bytes: &RangeCache,
    tree: &DirectoryTree,
    description: &str,
) -> ReadResult<()> {
    let first = &tree.nodes[0].directory;
    if first.has(tag::ZEISS_LSM) {
        return Err(not_read("a Zeiss LSM stack of fluorescence").into());
    }
    if first.has(tag::METAMORPH_STACK) {
        return Err(not_read("a MetaMorph stack").into());
    }
    let mut is_raw = first.has(tag::DNG_VERSION);
    for node in &tree.nodes {
        for directory in std::iter::once(&node.directory).chain(&node.sub_directories) {
            // A value that is no number is an error where the picture is read.
            match directory.number_or(bytes, tag::PHOTOMETRIC_INTERPRETATION, 2) {
                Ok(photometric) => is_raw |= RAW_PHOTOMETRIC.contains(&photometric),
                Err(ReadError::Fail(_)) => {}
                Err(need) => return Err(need),
            }
        }
    }
    if is_raw {
        return Err(Error::unsupported(
            "The file is a raw file of a camera, whose first picture is a thumbnail; develop it to \
             a TIFF or PNG",
        )
        .into());
    }
    if is_qptiff(description) && first.number_or(bytes, tag::SAMPLES_PER_PIXEL, 1)? < 3 {
        return Err(Error::unsupported(
            "The file is a PerkinElmer QPTIFF of fluorescence, a directory for each channel; \
             prunella segments H&E in colour",
        )
        .into());
    }
    Ok(())
}

pub(super) fn is_qptiff(description: &str) -> bool {
    description.contains("PerkinElmer-QPI-ImageDescription")
}

/// `<Objective>20x</Objective>`.
pub(super) fn qptiff_magnification(description: &str) -> Option<f64> {
    let (_, rest) = description.split_once("<Objective>")?;
    let (text, _) = rest.split_once('<')?;
    decimal(text.trim().trim_end_matches(['x', 'X'])).filter(|power| *power > 0.0)
}

pub(super) fn is_philips(
    bytes: &RangeCache,
    first: &Directory,
    description: &str,
) -> ReadResult<bool> {
    let software = first.text(bytes, tag::SOFTWARE)?;
    let is_xml = description.contains("<DataObject") && description.contains("DPUfsImport");
    Ok(is_xml && (software.starts_with("Philips") || description.contains("PIM_DP_")))
}

/// A Philips TIFF: its levels are padded to whole tiles, so their sizes give neither their factor
/// nor where the tissue ends; the pixel sizes in the XML do.
pub(super) fn open_philips(
    bytes: &RangeCache,
    tree: &DirectoryTree,
    description: &str,
) -> ReadResult<TiffPictures> {
    let root = parse_xml(description)
        .map_err(|e| Error::malformed("The XML of the Philips slide is broken").caused_by(e))?;
    let mut whole_slide = None;
    for image in root.descendants("DataObject") {
        if philips_text(image, "PIM_DP_IMAGE_TYPE").is_some_and(|t| t.trim() == "WSI") {
            if whole_slide.is_some() {
                return Err(not_read("a Philips file of several slides").into());
            }
            whole_slide = Some(image);
        }
    }
    let whole_slide = whole_slide
        .ok_or_else(|| Error::malformed("The XML of the Philips slide describes no slide"))?;
    let mut levels = Vec::new();
    let mut associated_images = 0;
    for (i, node) in tree.nodes.iter().enumerate() {
        match SlideLevel::new(bytes, &node.directory) {
            Ok(level) if level.is_tiled() => levels.push(level),
            Err(ReadError::Fail(error)) if i == 0 => return Err(error.into()),
            Ok(_) | Err(ReadError::Fail(_)) => associated_images += 1,
            Err(need) => return Err(need),
        }
    }
    let spacings = philips_spacings(whole_slide);
    if levels.is_empty() || spacings.len() != levels.len() {
        return Err(Error::malformed(format!(
            "The XML of the Philips slide describes {} levels where the file has {}",
            spacings.len(),
            levels.len()
        ))
        .into());
    }
    let finest = levels.remove(0);
    let mut pyramid = Pyramid {
        directory: tree.nodes[0].directory.clone(),
        levels: vec![finest],
        associated_images,
        levels_set_aside: 0,
        other_pictures: 0,
        notes: Vec::new(),
    };
    for (mut level, spacing) in levels.into_iter().zip(&spacings[1..]) {
        let factor = f64::midpoint(spacing.x / spacings[0].x, spacing.y / spacings[0].y).round();
        if !(2.0..=65_536.0).contains(&factor) {
            return Err(Error::malformed(
                "The XML of the Philips slide states pixel sizes that do not grow",
            )
            .into());
        }
        let finest = &pyramid.levels[0];
        let factor = factor as usize;
        level.crop(finest.width / factor, finest.height / factor);
        pyramid.levels.push(level);
    }
    let mut pictures = TiffPictures::new(SlideFormat::Philips, pyramid);
    let stated = philips_text(whole_slide, "DICOM_PIXEL_SPACING").and_then(philips_spacing);
    pictures.state_pixel_size(stated.or(spacings.first().copied()));
    Ok(pictures)
}

/// Text of the `Attribute` of a name that belongs to the object itself.
fn philips_text<'a>(object: &'a XmlElement, name: &str) -> Option<&'a str> {
    object.named("Attribute").find(|a| a.attribute("Name") == Some(name)).map(|a| a.text.as_str())
}

/// Pixel sizes of the levels, finest first.
fn philips_spacings(whole_slide: &XmlElement) -> Vec<PixelSize> {
    let mut spacings = Vec::new();
    for level in whole_slide.descendants("DataObject") {
        if level.attribute("ObjectType") == Some("PixelDataRepresentation") {
            let stated = philips_text(level, "DICOM_PIXEL_SPACING");
            spacings.extend(stated.and_then(philips_spacing));
        }
    }
    spacings
}

/// `"0.00025" "0.00025"`: distance of rows, then of columns, millimetres.
fn philips_spacing(text: &str) -> Option<PixelSize> {
    let mut sides = text.split_whitespace().map(|side| decimal(side.trim_matches('"')));
    let y = sides.next()??;
    let x = sides.next()??;
    let size = PixelSize { x: x * UM_PER_MM, y: y * UM_PER_MM };
    (sides.next().is_none() && x > 0.0 && y > 0.0).then_some(size)
}

pub(super) fn is_leica(description: &str) -> bool {
    description.contains("http://www.leica-microsystems.com/scn/")
}

/// An image of a Leica SCN.
struct LeicaImage<'a> {
    element: &'a XmlElement,
    /// Of the scanned area and of its corner on the glass, nm.
    width_nm: f64,
    left_nm: f64,
    top_nm: f64,
}

/// A Leica SCN: its XML states which directories are the macro image and which the scanned areas.
pub(super) fn open_leica(
    bytes: &RangeCache,
    tree: &DirectoryTree,
    description: &str,
) -> ReadResult<TiffPictures> {
    let root = parse_xml(description)
        .map_err(|e| Error::malformed("The XML of the Leica SCN is broken").caused_by(e))?;
    let collection = root
        .child("collection")
        .ok_or_else(|| Error::malformed("The XML of the Leica SCN has no collection"))?;
    let areas = leica_areas(collection);
    let Some(area) = areas.first() else {
        return Err(Error::malformed("The Leica SCN holds no scanned area").into());
    };
    check_brightfield(area)?;
    let mut levels = Vec::new();
    let pixels = area.element.child("pixels");
    for dimension in pixels.into_iter().flat_map(|p| p.named("dimension")) {
        // Focal planes and channels behind the first are further images of the same size.
        let is_first = ["z", "c"].iter().all(|axis| dimension.count(axis).unwrap_or(0) == 0);
        let node = dimension.count("ifd").and_then(|i| tree.nodes.get(usize::try_from(i).ok()?));
        if let Some(node) = node
            && is_first
        {
            let level = SlideLevel::new(bytes, &node.directory)?;
            if dimension.count("sizeX") != Some(level.width as u64) {
                return Err(Error::malformed(
                    "The XML of the Leica SCN and its directories state different sizes",
                )
                .into());
            }
            levels.push(LeicaLevel { level, node });
        }
    }
    levels.sort_by_key(|l| std::cmp::Reverse(l.level.width));
    if levels.is_empty() {
        return Err(Error::malformed("The scanned area of the Leica SCN has no pixels").into());
    }
    let finest = levels.remove(0);
    let directory = &finest.node.directory;
    let um_per_pixel = area.width_nm / NM_PER_UM / finest.level.width as f64;
    let used = levels.len() + 1;
    let mut pyramid = Pyramid::of(bytes, directory, finest.level, &[])?;
    for LeicaLevel { level, .. } in levels {
        pyramid.add(level);
    }
    pyramid.note_levels_set_aside();
    pyramid.associated_images = tree.nodes.len().saturating_sub(used);
    let mut pictures = TiffPictures::new(SlideFormat::Leica, pyramid);
    // OpenSlide takes the resolution tags; both agree but for rounding.
    let stated = pixel_size::from_resolution(bytes, &pictures.directory.clone())?;
    pictures.state_pixel_size(stated.or(Some(PixelSize::square(um_per_pixel))));
    if areas.len() > 1 {
        pictures
            .notes
            .push(format!("The Leica SCN holds {} scanned areas; the first is used", areas.len()));
    }
    let corner = [area.left_nm, area.top_nm].map(|nm| (nm / NM_PER_UM / um_per_pixel) as i64);
    if corner != [0, 0] {
        pictures.notes.push(format!(
            "Positions count from the corner of the scanned area, which OpenSlide has at {}, {}",
            corner[0], corner[1]
        ));
    }
    Ok(pictures)
}

struct LeicaLevel<'a> {
    level: SlideLevel,
    node: &'a DirectoryNode,
}

/// The images that do not show the whole glass.
fn leica_areas(collection: &XmlElement) -> Vec<LeicaImage<'_>> {
    let number = |element: &XmlElement, name: &str| element.attribute(name).and_then(decimal);
    let mut areas = Vec::new();
    for image in collection.named("image") {
        let Some(view) = image.child("view") else { continue };
        let whole = ["sizeX", "sizeY"];
        let is_macro = whole.iter().all(|n| number(view, n) == number(collection, n))
            && ["offsetX", "offsetY"].iter().all(|n| number(view, n).unwrap_or(0.0) == 0.0);
        if let Some(width_nm) = number(view, "sizeX").filter(|w| *w > 0.0)
            && !is_macro
        {
            areas.push(LeicaImage {
                element: image,
                width_nm,
                left_nm: number(view, "offsetX").unwrap_or(0.0),
                top_nm: number(view, "offsetY").unwrap_or(0.0),
            });
        }
    }
    areas
}

fn check_brightfield(area: &LeicaImage<'_>) -> Result<()> {
    for source in area.element.descendants("illuminationSource") {
        let light = source.text.trim();
        if light != "brightfield" {
            return Err(Error::unsupported(format!(
                "The Leica SCN was scanned with {light} light; prunella segments H&E in bright \
                 field"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philips_spacings_are_rows_before_columns() {
        let size = philips_spacing("\"0.0005\" \"0.00025\"").expect("two numbers");
        assert_eq!((size.x, size.y), (0.25, 0.5));
        for text in ["", "\"0.5\"", "\"0\" \"1\"", "1 2 3", "a b"] {
            assert_eq!(philips_spacing(text), None, "{text}");
        }
    }

    #[test]
    fn the_objective_of_a_qptiff_is_its_magnification() {
        assert_eq!(qptiff_magnification("<a><Objective>20x</Objective></a>"), Some(20.0));
        for text in ["", "<Objective>", "<Objective>none</Objective>", "<Objective>0x</Objective>"]
        {
            assert_eq!(qptiff_magnification(text), None, "{text}");
        }
    }
}
