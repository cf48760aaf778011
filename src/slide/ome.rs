//! OME-TIFF: the description of the first directory is OME-XML (schema 2016-06), which states
//! which directories are an image's planes and how large its pixels are.

use super::level::SlideLevel;
use super::pictures::{Pyramid, TiffPictures, main_pyramid};
use super::pixel_size::{self, PixelSize, decimal, unit_um};
use super::range_cache::{RangeCache, ReadError, ReadResult};
use super::slide_file::SlideFormat;
use super::tiff::{DirectoryNode, DirectoryTree};
use super::xml::{XmlElement, parse_xml};
use crate::error::Error;

/// An image is taken for the slide in place of the first one when it has this many times its
/// pixels: the first is an overview then.
const OVERVIEW_FACTOR: u64 = 4;
/// Most images of a description that are read: a file has no more directories.
const MAX_IMAGES: usize = 1000;
/// Colours of channels as OME-XML puts them: red, green, blue and opacity in the bytes of a signed
/// number.
const CHANNEL_COLOURS: [i64; 3] = [-16_776_961, 16_711_935, 65_535];

/// What the samples of three channels are.
enum ChannelMeaning {
    RedGreenBlue,
    Unstated,
    Other,
}

/// An `Image` whose pixels lie in this file.
struct OmeImage<'a> {
    name: &'a str,
    pixels: &'a XmlElement,
    /// Directory of each channel's first focal plane and time point; none where it is not stated or
    /// lies in another file.
    directories: Vec<Option<usize>>,
}

/// Reads the image, its pyramid in the sub-directories, and its pixel size.
pub(super) fn open(
    bytes: &RangeCache,
    tree: &DirectoryTree,
    description: &str,
) -> ReadResult<TiffPictures> {
    let root = match parse_xml(description) {
        Ok(root) => root,
        Err(error) => {
            let mut pictures = open_first(bytes, tree)?;
            pictures.notes.push(format!(
                "The OME-XML of the file cannot be read, so its pixel size is not known: {error}"
            ));
            return Ok(pictures);
        }
    };
    let images = images(&root);
    let mut pictures = if let Some(chosen) = choose(&images) {
        let mut pictures = open_image(bytes, tree, &images[chosen])?;
        pictures.associated_images += images.len() - 1;
        let named = images.iter().filter(|image| !image.is_associated()).count();
        if named > 1 {
            pictures.notes.push(format!(
                "The file holds {} images; number {} of {}×{} pixels is used",
                images.len(),
                chosen + 1,
                pictures.levels[0].width,
                pictures.levels[0].height
            ));
        }
        pictures
    } else {
        let mut pictures = open_first(bytes, tree)?;
        pictures.notes.push("The OME-XML of the file describes no image in it".to_owned());
        pictures
    };
    if pictures.pixel_size_um.is_none() {
        let directory = pictures.directory.clone();
        let stated = pixel_size::from_resolution(bytes, &directory)?;
        pictures.pixel_size_um = stated.filter(PixelSize::is_plausible);
    }
    Ok(pictures)
}

/// The first image, where OME-XML describes none.
fn open_first(bytes: &RangeCache, tree: &DirectoryTree) -> ReadResult<TiffPictures> {
    let mut pyramid = main_pyramid(bytes, tree)?;
    pyramid.note_other_pictures();
    Ok(TiffPictures::new(SlideFormat::OmeTiff, pyramid))
}

fn images(root: &XmlElement) -> Vec<OmeImage<'_>> {
    let own_uuid = root.attribute("UUID");
    let mut images = Vec::new();
    for image in root.descendants("Image") {
        for pixels in image.named("Pixels") {
            if images.len() == MAX_IMAGES {
                return images;
            }
            images.push(OmeImage {
                name: image.attribute("Name").unwrap_or_default(),
                pixels,
                directories: channel_directories(pixels, own_uuid),
            });
        }
    }
    if images.is_empty() {
        for pixels in root.descendants("Pixels").into_iter().take(MAX_IMAGES) {
            let directories = channel_directories(pixels, own_uuid);
            images.push(OmeImage { name: "", pixels, directories });
        }
    }
    images
}

impl OmeImage<'_> {
    /// Whether its name is that of no slide.
    fn is_associated(&self) -> bool {
        let name = self.name.to_lowercase();
        ["label", "macro", "overview", "thumbnail"].iter().any(|word| name.contains(word))
    }

    fn area(&self) -> u64 {
        let side = |name| self.pixels.count(name).unwrap_or_default();
        side("SizeX").saturating_mul(side("SizeY"))
    }
}

/// Index of the image to show: the first that is no label or overview, or a much larger one.
fn choose(images: &[OmeImage<'_>]) -> Option<usize> {
    let is_here = |image: &OmeImage<'_>| image.directories.iter().any(Option::is_some);
    let mut chosen: Option<usize> = None;
    for named in [true, false] {
        for (i, image) in images.iter().enumerate() {
            if !is_here(image) || (named && image.is_associated()) {
                continue;
            }
            let is_better = chosen.is_none_or(|first| {
                named && image.area() > images[first].area().saturating_mul(OVERVIEW_FACTOR)
            });
            if is_better {
                chosen = Some(i);
            }
        }
    }
    chosen
}

/// Number of planes along C: a plane may hold several samples of a pixel.
fn channel_planes(pixels: &XmlElement) -> usize {
    let size_c = pixels.count("SizeC").unwrap_or(1).clamp(1, 1024);
    let first = pixels.child("Channel").and_then(|c| c.count("SamplesPerPixel"));
    let samples = first.unwrap_or(1).clamp(1, size_c);
    (size_c / samples) as usize
}

/// Directory of the first focal plane and time point of each channel, by the `TiffData` elements:
/// each assigns `PlaneCount` directories, from `IFD` on, to planes from (`FirstZ`, `FirstC`,
/// `FirstT`) on in the order of dimensions.
fn channel_directories(pixels: &XmlElement, own_uuid: Option<&str>) -> Vec<Option<usize>> {
    let channels = channel_planes(pixels);
    let size = |name| pixels.count(name).unwrap_or(1).max(1);
    let mut sizes = [size("SizeZ"), channels as u64, size("SizeT")];
    let mut firsts = ["FirstZ", "FirstC", "FirstT"];
    // The letters behind XY, fastest first; the other dimensions keep the order Z, C, T.
    let order = pixels.attribute("DimensionOrder").unwrap_or("XYZCT").to_owned();
    let mut letters = ['Z', 'C', 'T'];
    let rank = |letter: char| order.find(letter).unwrap_or(usize::MAX);
    let mut positions = [0, 1, 2];
    positions.sort_by_key(|&i| rank(letters[i]));
    sizes = positions.map(|i| sizes[i]);
    firsts = positions.map(|i| firsts[i]);
    letters = positions.map(|i| letters[i]);
    let all_planes = sizes.iter().fold(1u64, |n, size| n.saturating_mul(*size));
    let mut found = vec![None; channels];
    let mut blocks = pixels.named("TiffData").peekable();
    if blocks.peek().is_none() {
        // Without any, planes and directories correspond one by one.
        assign(&mut found, 0, 0, all_planes, sizes, letters);
    }
    for block in blocks {
        let uuid = block.child("UUID").map(|u| u.text.trim());
        if uuid.is_some() && own_uuid.is_some() && uuid != own_uuid {
            continue;
        }
        let ifd = block.count("IFD");
        let is_placed = ifd.is_some() || firsts.iter().any(|name| block.attribute(name).is_some());
        let count = block.count("PlaneCount").unwrap_or(if is_placed { 1 } else { all_planes });
        let start = firsts.map(|name| block.count(name).unwrap_or(0));
        let plane = (start[2].saturating_mul(sizes[1]).saturating_add(start[1]))
            .saturating_mul(sizes[0])
            .saturating_add(start[0]);
        assign(&mut found, ifd.unwrap_or(0), plane, count, sizes, letters);
    }
    found
}

/// Assigns directories from `ifd` on to `count` planes from the linear index `plane` on.
fn assign(
    found: &mut [Option<usize>],
    ifd: u64,
    plane: u64,
    count: u64,
    sizes: [u64; 3],
    letters: [char; 3],
) {
    // Step between the first planes of channels, in planes.
    let mut step = 1u64;
    for (size, letter) in sizes.iter().zip(letters) {
        if letter == 'C' {
            break;
        }
        step = step.saturating_mul(*size);
    }
    for (channel, directory) in found.iter_mut().enumerate() {
        let wanted = step.saturating_mul(channel as u64);
        if directory.is_none() && wanted >= plane && wanted - plane < count {
            *directory = usize::try_from(ifd.saturating_add(wanted - plane)).ok();
        }
    }
}

fn open_image(
    bytes: &RangeCache,
    tree: &DirectoryTree,
    image: &OmeImage<'_>,
) -> ReadResult<TiffPictures> {
    let absent = || {
        Error::malformed(
            "The OME-XML names directories that are not in the file; its planes may lie in other \
             files, so export it as one file",
        )
    };
    let node = |index: Option<usize>| index.and_then(|i| tree.nodes.get(i)).ok_or_else(absent);
    let first = node(image.directories.first().copied().flatten())?;
    let finest = SlideLevel::new(bytes, &first.directory)?;
    // The samples of a pixel are channels too, though some writers do not state it.
    let is_colour = finest.samples >= 3;
    let mut nodes: Vec<&DirectoryNode> = vec![first];
    for &index in image.directories.iter().skip(1).filter(|_| !is_colour) {
        nodes.push(node(index)?);
    }
    let pyramid = if nodes.len() == 1 {
        Pyramid::of(bytes, &first.directory, finest, &first.sub_directories)?
    } else {
        let meaning = channel_meaning(image.pixels);
        if nodes.len() != 3 || matches!(meaning, ChannelMeaning::Other) {
            return Err(channels_error(image.pixels, nodes.len()).into());
        }
        let mut pyramid = composed(bytes, &nodes)?;
        if matches!(meaning, ChannelMeaning::Unstated) {
            pyramid.notes.push(
                "The file stores three channels in planes of their own and does not state what \
                 they are; they are taken for red, green and blue"
                    .to_owned(),
            );
        }
        pyramid
    };
    let mut pictures = TiffPictures::new(SlideFormat::OmeTiff, pyramid);
    for (name, what) in [("SizeZ", "focal planes"), ("SizeT", "time points")] {
        let count = image.pixels.count(name).unwrap_or(1);
        if count > 1 {
            pictures.notes.push(format!("The file holds {count} {what}; the first is used"));
        }
    }
    pictures.state_pixel_size(pixel_size(image.pixels));
    Ok(pictures)
}

/// A pyramid whose pixels lie in three directories: red, green and blue.
fn composed(bytes: &RangeCache, nodes: &[&DirectoryNode]) -> ReadResult<Pyramid> {
    let mut level_count = usize::MAX;
    for node in nodes {
        level_count = level_count.min(node.sub_directories.len());
    }
    let level_of = |index: Option<usize>| -> ReadResult<SlideLevel> {
        let mut planes = Vec::new();
        for node in nodes {
            let directory = index.map_or(&node.directory, |i| &node.sub_directories[i]);
            planes.push(SlideLevel::new(bytes, directory)?);
        }
        let first = planes.remove(0);
        Ok(first.with_samples_of(planes)?)
    };
    let mut pyramid = Pyramid::of(bytes, &nodes[0].directory, level_of(None)?, &[])?;
    for i in 0..level_count {
        match level_of(Some(i)) {
            Ok(level) => pyramid.add(level),
            Err(ReadError::Fail(_)) => pyramid.associated_images += 1,
            Err(need) => return Err(need),
        }
    }
    pyramid.note_levels_set_aside();
    Ok(pyramid)
}

/// Whether channels are the primary colours, by names, colours and what else is stated about light.
fn channel_meaning(pixels: &XmlElement) -> ChannelMeaning {
    const WORDS: [&str; 3] = ["red", "green", "blue"];
    let channels: Vec<&XmlElement> = pixels.named("Channel").collect();
    let mut is_stated = !channels.is_empty();
    for (i, channel) in channels.iter().enumerate() {
        let value = |name| channel.attribute(name).unwrap_or_default();
        let is_fluorescence = !value("Fluor").is_empty()
            || !value("EmissionWavelength").is_empty()
            || !value("ExcitationWavelength").is_empty()
            || value("IlluminationType") == "Epifluorescence"
            || value("ContrastMethod") == "Fluorescence";
        let name = value("Name").trim().to_lowercase();
        let word = WORDS.get(i).copied().unwrap_or("?");
        // Writers number channels: "Channel 0", "C1", "0", "channel:0:0".
        let rest = name.trim_start_matches("channel").trim_start_matches('c');
        let is_numbered = rest.chars().all(|c| c.is_ascii_digit() || " :_-".contains(c));
        let is_named = name == word || name == word[..1];
        let colour: Option<i64> = value("Color").trim().parse().ok();
        let is_other_colour = colour.is_some_and(|c| c != -1 && c != CHANNEL_COLOURS[i.min(2)]);
        if is_fluorescence || is_other_colour || (!is_named && !is_numbered) {
            return ChannelMeaning::Other;
        }
        is_stated &= is_named || colour == Some(CHANNEL_COLOURS[i.min(2)]);
    }
    if is_stated { ChannelMeaning::RedGreenBlue } else { ChannelMeaning::Unstated }
}

fn channels_error(pixels: &XmlElement, count: usize) -> Error {
    let names: Vec<&str> =
        pixels.named("Channel").filter_map(|c| c.attribute("Name")).take(6).collect();
    let named = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    Error::unsupported(format!(
        "The OME-TIFF holds {count} channels in planes of their own{named}, as fluorescence does; \
         prunella segments one colour picture. Export it as RGB, such as with QuPath or ImageJ"
    ))
}

/// `PhysicalSizeX` and `PhysicalSizeY` of a `Pixels` element with their units, µm by default. A
/// missing side is as long as the other.
fn pixel_size(pixels: &XmlElement) -> Option<PixelSize> {
    let side = |name: &str| {
        let value = decimal(pixels.attribute(name)?).filter(|v| *v > 0.0)?;
        let unit = pixels.attribute(&format!("{name}Unit")).unwrap_or("µm");
        Some(value * unit_um(unit)?)
    };
    let x = side("PhysicalSizeX");
    let y = side("PhysicalSizeY");
    Some(PixelSize { x: x.or(y)?, y: y.or(x)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(inner: &str) -> XmlElement {
        parse_xml(inner).expect("XML")
    }

    #[test]
    fn pixel_sizes_have_units_and_two_sides() {
        let size = |attributes: &str| pixel_size(&pixels(&format!("<Pixels {attributes}/>")));
        let both = size("PhysicalSizeX='250' PhysicalSizeXUnit='nm' PhysicalSizeY='0.5'");
        assert_eq!(both, Some(PixelSize { x: 0.25, y: 0.5 }));
        assert_eq!(size("PhysicalSizeY='0.5'"), Some(PixelSize::square(0.5)));
        let close = |attributes: &str| (size(attributes).expect("stated").x - 0.25).abs() < 1e-12;
        assert!(close("PhysicalSizeX='0.000025' PhysicalSizeXUnit='cm'"));
        assert!(close("PhysicalSizeX='2500' PhysicalSizeXUnit='&#xC5;'"));
        assert!(close("PhysicalSizeX='250000' PhysicalSizeXUnit='pm'"));
        assert_eq!(size("PhysicalSizeX='1' PhysicalSizeXUnit='pixel'"), None);
        assert_eq!(size(""), None);
    }

    #[test]
    fn planes_of_channels_are_found_in_any_order() {
        let directories = |inner: &str| channel_directories(&pixels(inner), Some("urn:a"));
        let three = [Some(0), Some(1), Some(2)];
        let plain = "<Pixels SizeC='3' SizeZ='2' DimensionOrder='XYCZT'><TiffData/></Pixels>";
        assert_eq!(directories(plain), three);
        let z_first = "<Pixels SizeC='3' SizeZ='2' DimensionOrder='XYZCT'/>";
        assert_eq!(directories(z_first), [Some(0), Some(2), Some(4)]);
        let listed = "<Pixels SizeC='2'><TiffData FirstC='1' IFD='5'><UUID>urn:a</UUID></TiffData>\
            <TiffData FirstC='0' IFD='7' PlaneCount='1'/></Pixels>";
        assert_eq!(directories(listed), [Some(7), Some(5)]);
        let elsewhere = "<Pixels><TiffData IFD='0'><UUID>urn:b</UUID></TiffData></Pixels>";
        assert_eq!(directories(elsewhere), [None]);
        let rgb = "<Pixels SizeC='3'><Channel SamplesPerPixel='3'/><TiffData IFD='4'/></Pixels>";
        assert_eq!(directories(rgb), [Some(4)]);
    }

    #[test]
    fn a_description_of_endless_images_needs_little_memory() {
        let image = "<Image><Pixels SizeC='1024'/></Image>".repeat(2 * MAX_IMAGES);
        let root = parse_xml(&format!("<OME>{image}</OME>")).expect("XML");
        assert_eq!(images(&root).len(), MAX_IMAGES);
    }

    #[test]
    fn only_primary_colours_are_composed() {
        let meaning = |channels: &str| channel_meaning(&pixels(&format!("<P>{channels}</P>")));
        let named = "<Channel Name='Red'/><Channel Name='G'/><Channel Name='blue'/>";
        assert!(matches!(meaning(named), ChannelMeaning::RedGreenBlue));
        let coloured = "<Channel Color='-16776961'/><Channel Color='16711935'/>\
            <Channel Color='65535'/>";
        assert!(matches!(meaning(coloured), ChannelMeaning::RedGreenBlue));
        let numbered = "<Channel Name='Channel 0'/><Channel Name='C:1'/><Channel/>";
        assert!(matches!(meaning(numbered), ChannelMeaning::Unstated));
        for other in ["<Channel Name='DAPI'/>", "<Channel Fluor='FITC'/>", "<Channel Color='255'/>"]
        {
            assert!(matches!(meaning(other), ChannelMeaning::Other), "{other}");
        }
    }
}
