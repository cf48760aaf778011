//! Ventana BIF and TIFF, read as `OpenSlide` reads them. A BIF is a mosaic of what the camera took:
//! areas of the glass, whose tiles overlap.

use super::level::SlideLevel;
use super::mosaic::{Mosaic, MosaicArea};
use super::pictures::{Pyramid, TiffPictures};
use super::pixel_size::{PixelSize, decimal};
use super::range_cache::{RangeCache, ReadResult};
use super::slide_file::SlideFormat;
use super::tiff::{Directory, DirectoryTree, tag};
use super::vendors::not_read;
use super::xml::{XmlElement, parse_xml};
use crate::error::{Error, Result};

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
pub(super) fn open(bytes: &RangeCache, tree: &DirectoryTree) -> ReadResult<TiffPictures> {
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
        // Tiles advance by 32 − 5 and 32 − 2. The areas are 92 and 62 high, and end 97 and 102
        // above the common zero.
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
}
