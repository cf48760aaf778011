//! TIFFs of vendors whose first directory is not simply the picture: Philips, Leica SCN and Ventana
//! are read as `OpenSlide` reads them; what would be shown wrong is refused by name.

use super::level::SlideLevel;
use super::mosaic::{Mosaic, MosaicArea};
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

fn not_read(name: &str) -> Error {
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
    let software = first.text(bytes, tag::SOFTWARE)?;
    if first.has(tag::ZEISS_LSM) {
        return Err(not_read("a Zeiss LSM stack of fluorescence").into());
    }
    if first.has(tag::METAMORPH_STACK) {
        return Err(not_read("a MetaMorph stack").into());
    }
    if software.starts_with("MedScan") && has_trestle_overlaps(description) {
        return Err(not_read("a Trestle slide with overlapping tiles").into());
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

/// `OverlapsXY= 64 64 32 32 …` in a Trestle description, two for each level.
fn has_trestle_overlaps(description: &str) -> bool {
    let overlaps = description.split(';').find_map(|part| part.trim().strip_prefix("OverlapsXY="));
    overlaps.is_some_and(|all| all.split_whitespace().any(|n| decimal(n) != Some(0.0)))
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

/// A level of a Ventana slide, from a description such as `level=0 mag=40 quality=90`.
struct VentanaLevel<'a> {
    number: u64,
    magnification: f64,
    directory: &'a Directory,
}

fn ventana_level<'a>(description: &str, directory: &'a Directory) -> Option<VentanaLevel<'a>> {
    let value = |key: &str| {
        description.split_whitespace().find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
    };
    Some(VentanaLevel {
        number: value("level")?.parse().ok()?,
        magnification: decimal(value("mag")?).filter(|m| *m > 0.0)?,
        directory,
    })
}

/// Whether the file is a Ventana BIF or TIFF: by the scanner's XML in the first directory, or by
/// the descriptions of label and levels.
pub(super) fn is_ventana(bytes: &RangeCache, tree: &DirectoryTree) -> ReadResult<bool> {
    let first = &tree.nodes[0].directory;
    if first.text(bytes, tag::XML_PACKET)?.contains("<iScan") {
        return Ok(true);
    }
    let description = first.text(bytes, tag::IMAGE_DESCRIPTION)?;
    let is_label = ["Label Image", "Label_Image", "Probability_Image", "Thumbnail"]
        .contains(&description.trim());
    let is_level = ventana_level(&description, first).is_some();
    if !is_label && !is_level {
        return Ok(false);
    }
    Ok(!ventana_levels(bytes, tree)?.is_empty())
}

fn ventana_levels<'a>(
    bytes: &RangeCache,
    tree: &'a DirectoryTree,
) -> ReadResult<Vec<VentanaLevel<'a>>> {
    let mut levels = Vec::new();
    for node in &tree.nodes {
        let description = node.directory.text(bytes, tag::IMAGE_DESCRIPTION)?;
        levels.extend(ventana_level(&description, &node.directory));
    }
    Ok(levels)
}

/// A Ventana slide. Of a BIF the scanner's XML states the areas and overlaps, from which the places
/// of the tiles follow; those of a Ventana TIFF lie in a grid.
pub(super) fn open_ventana(bytes: &RangeCache, tree: &DirectoryTree) -> ReadResult<TiffPictures> {
    let stated = ventana_levels(bytes, tree)?;
    let Some(first) = stated.first() else {
        return Err(not_read("a Ventana file without levels").into());
    };
    let mut finest = SlideLevel::new(bytes, first.directory)?;
    let packet = first.directory.text(bytes, tag::XML_PACKET)?;
    let mut mosaic = None;
    if packet.contains("<EncodeInfo") {
        let tile = [finest.tile_width, finest.tile_height];
        let laid = mosaic_of(&packet, tile, [finest.width, finest.height])?;
        if !laid.is_grid([finest.tiles_across(), finest.tiles_down()]) {
            mosaic = Some(laid);
        }
    }
    let tile_size = [finest.tile_width, finest.tile_height];
    let grid_size = [finest.width, finest.height];
    if let Some(mosaic) = &mosaic {
        finest.lay(mosaic.clone());
    }
    let mut pyramid = Pyramid::of(bytes, first.directory, finest, &[])?;
    for (i, level) in stated.iter().enumerate() {
        let is_ordered = level.number == i as u64
            && (i == 0 || level.magnification < stated[i - 1].magnification);
        if !is_ordered {
            return Err(not_read("a Ventana file with levels in another order").into());
        }
        if i == 0 {
            continue;
        }
        let mut smaller = SlideLevel::new(bytes, level.directory)?;
        let factor = first.magnification / level.magnification;
        if let Some(mosaic) = &mosaic {
            if [smaller.tile_width, smaller.tile_height] != tile_size {
                return Err(
                    not_read("a Ventana BIF whose levels have tiles of several sizes").into()
                );
            }
            let stored = [smaller.width, smaller.height];
            smaller.lay(mosaic.reduced(factor, stored));
        } else {
            let [width, height] = grid_size.map(|side| (side as f64 / factor).ceil() as usize);
            smaller.crop(width, height);
        }
        pyramid.add(smaller);
    }
    pyramid.note_levels_set_aside();
    pyramid.associated_images = tree.nodes.len() - stated.len();
    let mut pictures = TiffPictures::new(SlideFormat::Ventana, pyramid);
    let scanner = tree.nodes[0].directory.text(bytes, tag::XML_PACKET)?;
    if let Ok(root) = parse_xml(&scanner) {
        let scanner = root.descendants("iScan");
        let number = |name| scanner.first().and_then(|s| s.attribute(name)).and_then(decimal);
        pictures.state_pixel_size(number("ScanRes").filter(|s| *s > 0.0).map(PixelSize::square));
        pictures.magnification = number("Magnification");
    }
    Ok(pictures)
}

/// Where the tiles of the finest level lie, by the scanner's XML: areas begin at whole tiles of the
/// stored grid (`AoiOrigin`) and lie where `ImageInfo` states, x from the left and y upwards from a
/// point below all of them. `TileJointInfo` states by how much two neighbours overlap, and with
/// which confidence (percent); its mean over all areas is the overlap of all tiles.
fn mosaic_of(packet: &str, tile: [usize; 2], stored: [usize; 2]) -> Result<Mosaic> {
    let root = parse_xml(packet)
        .map_err(|e| Error::malformed("The XML of the Ventana slide is broken").caused_by(e))?;
    let broken = || Error::malformed("The XML of the Ventana slide lacks areas or their places");
    let number = |element: &XmlElement, name: &str| element.attribute(name).and_then(decimal);
    let infos = root.descendants("ImageInfo");
    let origins = root.child("AoiOrigin").map(|o| o.children.as_slice()).unwrap_or_default();
    if infos.len() != origins.len() {
        return Err(broken());
    }
    // Confidence × overlap and confidence, summed over joints along x and y.
    let mut overlaps = [0.0; 2];
    let mut confidences = [0.0; 2];
    let mut areas = Vec::new();
    for (info, origin) in infos.into_iter().zip(origins) {
        if number(info, "AOIScanned") == Some(0.0) {
            continue;
        }
        let pair = |element: &XmlElement, names: [&str; 2]| {
            let [x, y] =
                names.map(|name| element.count(name).and_then(|n| usize::try_from(n).ok()));
            Ok::<[usize; 2], Error>([x.ok_or_else(broken)?, y.ok_or_else(broken)?])
        };
        let origin = pair(origin, ["OriginX", "OriginY"])?;
        if pair(info, ["Width", "Height"])? != tile
            || !origin[0].is_multiple_of(tile[0])
            || !origin[1].is_multiple_of(tile[1])
        {
            return Err(Error::malformed(
                "The XML of the Ventana slide states tiles of another size than the file has",
            ));
        }
        let place = ["Pos-X", "Pos-Y"].map(|name| number(info, name).unwrap_or(0.0).trunc());
        areas.push(MosaicArea {
            first: [origin[0] / tile[0], origin[1] / tile[1]],
            count: pair(info, ["NumCols", "NumRows"])?,
            corner: place,
        });
        for joint in info.named("TileJointInfo") {
            let (axis, name) = match joint.attribute("Direction") {
                Some("RIGHT") => (0, "OverlapX"),
                Some("UP") => (1, "OverlapY"),
                _ => return Err(broken()),
            };
            let confidence = number(joint, "Confidence").ok_or_else(broken)?;
            overlaps[axis] += confidence * number(joint, name).ok_or_else(broken)?;
            confidences[axis] += confidence;
        }
    }
    let mut advance = tile.map(|side| side as f64);
    for axis in 0..2 {
        if confidences[axis] > 0.0 {
            advance[axis] -= overlaps[axis] / confidences[axis];
        }
    }
    turn_upside_down(&mut areas, advance[1], tile[1]);
    Mosaic::new(areas, advance, tile, stored)
}

/// The y of an area's lower edge, upwards, becomes that of its upper edge, downwards from the
/// highest of all.
fn turn_upside_down(areas: &mut [MosaicArea], advance: f64, tile_height: usize) {
    let height = |area: &MosaicArea| {
        (area.count[1].saturating_sub(1) as f64 * advance + tile_height as f64).trunc()
    };
    let mut top = 0.0f64;
    for area in areas.iter() {
        top = top.max(area.corner[1] + height(area));
    }
    for area in areas {
        area.corner[1] = top - area.corner[1] - height(area);
    }
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

    /// The scanner's XML of two areas, 2 × 3 and 2 × 2 tiles of 32 pixels.
    const MOSAIC: &str = "<EncodeInfo><SlideStitchInfo>\
        <ImageInfo AOIScanned='1' NumRows='3' NumCols='2' Width='32' Height='32' Pos-X='10' \
        Pos-Y='5'><TileJointInfo Direction='RIGHT' Confidence='75' OverlapX='4' OverlapY='9'/>\
        <TileJointInfo Direction='RIGHT' Confidence='25' OverlapX='8' OverlapY='0'/>\
        <TileJointInfo Direction='UP' Confidence='9' OverlapX='7' OverlapY='2'/></ImageInfo>\
        <ImageInfo AOIScanned='0' NumRows='9' NumCols='9' Width='32' Height='32'/>\
        <ImageInfo AOIScanned='1' NumRows='2' NumCols='2' Width='32' Height='32' Pos-X='100.0' \
        Pos-Y='40'/></SlideStitchInfo><AoiOrigin><AOI0 OriginX='0' OriginY='0'/>\
        <AOI1 OriginX='1' OriginY='1'/><AOI2 OriginX='64' OriginY='32'/></AoiOrigin></EncodeInfo>";

    fn laid(xml: &str) -> Result<Mosaic> {
        mosaic_of(xml, [32, 32], [128, 96])
    }

    #[test]
    fn areas_and_overlaps_of_a_mosaic_are_read() {
        let mosaic = laid(MOSAIC).expect("two areas");
        // Tiles advance by 32 − 5 and 32 − 2. The areas are 92 and 62 high, and end 97 and 102 above
        // the common zero.
        assert_eq!(mosaic.size(), [100 + 27 + 32, 5 + 92]);
        let places = |x: usize, y: usize| -> Vec<[isize; 2]> {
            mosaic.pieces(&(x..x + 1), &(y..y + 1)).iter().map(|piece| piece.place).collect()
        };
        assert_eq!(places(10, 5), [[10, 5]]);
        assert_eq!(places(40, 36), [[10, 5], [37, 5], [10, 35], [37, 35]]);
        assert_eq!(places(127, 0), [[100, 0], [127, 0]]);
        assert_eq!(places(85, 50), [[0; 2]; 0]);
    }

    #[test]
    fn broken_descriptions_of_a_mosaic_are_errors() {
        for (part, other) in [
            ("OriginX='64'", "OriginX='63'"),
            ("OriginX='64'", "OriginX='96'"),
            ("OriginX='64'", ""),
            ("<AOI1 OriginX='1' OriginY='1'/>", ""),
            ("NumCols='2'", "NumCols='99999999999999'"),
            ("NumRows='3'", "NumRows='0'"),
            ("Width='32'", "Width='31'"),
            ("OverlapX='4'", "OverlapX='1e300'"),
            ("OverlapX='4'", "OverlapX='99'"),
            ("'RIGHT'", "'LEFT'"),
            ("Pos-X='100.0'", "Pos-X='1e200'"),
            ("Pos-Y='40'", "Pos-Y='-1e15'"),
        ] {
            assert!(MOSAIC.contains(part), "{part}");
            assert!(laid(&MOSAIC.replacen(part, other, 1)).is_err(), "{part} {other}");
        }
        for len in 0..MOSAIC.len() {
            assert!(laid(&MOSAIC[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn trestle_overlaps_are_found() {
        assert!(has_trestle_overlaps("a=b;OverlapsXY= 64 64 0 0;c"));
        assert!(!has_trestle_overlaps("OverlapsXY=0 0 0 0"));
        assert!(!has_trestle_overlaps("Background Color=E6E6E6"));
    }
}
