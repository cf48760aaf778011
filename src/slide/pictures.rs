//! Which images of a TIFF are the picture and the smaller levels of its pyramid, and what the file
//! states about it.

use super::level::{Photometric, SlideLevel};
use super::pixel_size::{self, PixelSize, decimal};
use super::range_cache::{RangeCache, ReadError, ReadResult};
use super::slide_file::SlideFormat;
use super::tiff::{Directory, DirectoryTree, directories, tag};
use super::{ndpi, ome, trestle, vendors, ventana};
use crate::error::{Error, counted};

/// How far the sides of a level may be from those of the finest one divided by the same factor,
/// pixels: writers round and pad.
const SIDE_TOLERANCE_PX: f64 = 2.0;

/// The picture of a TIFF.
#[derive(Debug)]
pub(super) struct TiffPictures {
    pub format: SlideFormat,
    /// Directory of the finest level.
    pub directory: Directory,
    /// Finest level first; at least one.
    pub levels: Vec<SlideLevel>,
    /// As stated and plausible.
    pub pixel_size_um: Option<PixelSize>,
    pub magnification: Option<f64>,
    /// Images that belong neither to the pyramid nor to [`Self::levels_set_aside`].
    pub associated_images: usize,
    /// Smaller versions of the picture whose sides do not fit one factor.
    pub levels_set_aside: usize,
    pub notes: Vec<String>,
}

/// Levels chosen among the images of a file.
pub(super) struct Pyramid {
    pub directory: Directory,
    pub levels: Vec<SlideLevel>,
    pub associated_images: usize,
    pub levels_set_aside: usize,
    /// Smaller images of the main chain, among `associated_images`, that do not state to be a
    /// reduced version of another one.
    pub other_pictures: usize,
    pub notes: Vec<String>,
}

/// An image that this reader can decode.
struct Candidate<'a> {
    directory: &'a Directory,
    level: SlideLevel,
    /// Whether it states that it is a smaller version of another image.
    is_reduced: bool,
    /// Whether it is one of the main chain.
    is_main: bool,
}

impl TiffPictures {
    /// Reads the directories. Call it again after each [`ReadError::NeedBytes`] with more bytes in
    /// the cache.
    ///
    /// # Errors
    /// Missing bytes; a file that is no TIFF or whose picture is not decoded; formats of vendors
    /// that would be shown wrong.
    pub(super) fn open(bytes: &RangeCache) -> ReadResult<Self> {
        let tree = directories(bytes)?;
        let first = &tree.nodes[0].directory;
        let description = first.text(bytes, tag::IMAGE_DESCRIPTION)?;
        let description = description.trim_start();
        vendors::refuse(bytes, &tree, description)?;
        let mut pictures = if first.has(tag::NDPI_FORMAT) {
            ndpi::open(bytes, &tree)?
        } else if vendors::is_philips(bytes, first, description)? {
            vendors::open_philips(bytes, &tree, description)?
        } else if vendors::is_leica(description) {
            vendors::open_leica(bytes, &tree, description)?
        } else if ventana::is_ventana(bytes, &tree)? {
            ventana::open(bytes, &tree)?
        } else if trestle::is_trestle(bytes, &tree, description)? {
            trestle::open(bytes, &tree, description)?
        } else if description.contains("<OME") || description.contains(":OME") {
            ome::open(bytes, &tree, description)?
        } else {
            open_any(bytes, &tree, description)?
        };
        if tree.is_cut {
            pictures.notes.push(format!(
                "The file has more images than are read; the first {} are used",
                tree.nodes.len()
            ));
        }
        let finest = &pictures.levels[0];
        let is_grey =
            matches!(finest.photometric, Photometric::BlackIsZero | Photometric::WhiteIsZero);
        if is_grey && finest.samples >= 3 {
            pictures.notes.push(format!(
                "The file does not state what its {} samples a pixel are; the first three are \
                 taken for red, green and blue",
                finest.samples
            ));
        }
        Ok(pictures)
    }

    pub(super) fn new(format: SlideFormat, pyramid: Pyramid) -> Self {
        let Pyramid { directory, levels, associated_images, levels_set_aside, notes, .. } = pyramid;
        Self {
            format,
            directory,
            levels,
            pixel_size_um: None,
            magnification: None,
            associated_images,
            levels_set_aside,
            notes,
        }
    }

    /// Takes a size that the file states as such; one that no microscope has counts as not stated,
    /// with a note.
    pub(super) fn state_pixel_size(&mut self, stated: Option<PixelSize>) {
        let Some(size) = stated else { return };
        if size.is_plausible() {
            self.pixel_size_um = Some(size);
            return;
        }
        self.notes.push(format!(
            "The file states pixels of {} × {} µm, which no slide scanner has; the pixel size \
             counts as not stated",
            size.x, size.y
        ));
    }
}

/// An Aperio slide, or a TIFF without a format of its own.
fn open_any(
    bytes: &RangeCache,
    tree: &DirectoryTree,
    description: &str,
) -> ReadResult<TiffPictures> {
    let is_aperio = description.starts_with("Aperio");
    let format = if is_aperio { SlideFormat::Aperio } else { SlideFormat::Tiff };
    let mut pyramid = main_pyramid(bytes, tree)?;
    // Of these formats thumbnail, label and macro image are a part.
    if !is_aperio && !vendors::is_qptiff(description) {
        pyramid.note_other_pictures();
    }
    let mut pictures = TiffPictures::new(format, pyramid);
    let directory = pictures.directory.clone();
    if is_aperio {
        let stated = aperio_values(description, "MPP");
        if let [.., before, last] = stated[..]
            && before.total_cmp(&last).is_ne()
        {
            pictures.notes.push(format!(
                "The description states MPP = {before} and MPP = {last}; the last one is used"
            ));
        }
        pictures.state_pixel_size(stated.last().map(|mpp| PixelSize::square(*mpp)).filter(
            // Scanners write 0 for an unknown size.
            |size| size.x != 0.0,
        ));
        pictures.magnification = aperio_values(description, "AppMag").last().copied();
    } else if description.starts_with("ImageJ=") {
        let stack = ImageJStack::of(description);
        let level = &pictures.levels[0];
        if stack.channels > 1 && level.samples == 1 {
            return Err(Error::unsupported(format!(
                "The file is an ImageJ stack of {} channels; prunella segments one colour picture. \
                 Save it as RGB (in ImageJ: Image > Type > RGB Color)",
                stack.channels
            ))
            .into());
        }
        if stack.images > 1 && pictures.notes.is_empty() {
            pictures.notes.push(format!(
                "The file is an ImageJ stack of {} images; the first is used",
                stack.images
            ));
        }
        let stated = match stack.unit_um {
            Some(unit_um) => pixel_size::per_unit(bytes, &directory, unit_um)?,
            None => pixel_size::from_resolution(bytes, &directory)?,
        };
        pictures.pixel_size_um = stated.filter(PixelSize::is_plausible);
    } else {
        let stated = pixel_size::from_resolution(bytes, &directory)?;
        pictures.pixel_size_um = stated.filter(PixelSize::is_plausible);
        if vendors::is_qptiff(description) {
            pictures.magnification = vendors::qptiff_magnification(description);
        }
    }
    Ok(pictures)
}

/// The first image of the main chain, or the image of which it is a smaller version, and its
/// smaller levels among all others.
pub(super) fn main_pyramid(bytes: &RangeCache, tree: &DirectoryTree) -> ReadResult<Pyramid> {
    let mut unreadable = 0;
    let mut candidates = Vec::new();
    for (i, node) in tree.nodes.iter().enumerate() {
        let mut all = vec![&node.directory];
        all.extend(&node.sub_directories);
        for (k, directory) in all.into_iter().enumerate() {
            match SlideLevel::new(bytes, directory) {
                Ok(level) => candidates.push(Candidate {
                    directory,
                    level,
                    is_reduced: directory.number_or(bytes, tag::NEW_SUBFILE_TYPE, 0)? & 1 == 1,
                    is_main: k == 0,
                }),
                // The first one is the picture; others may have any form.
                Err(ReadError::Fail(error)) if i + k == 0 => return Err(error.into()),
                Err(ReadError::Fail(_)) => unreadable += 1,
                Err(need) => return Err(need),
            }
        }
    }
    // Some pyramids begin with their coarsest level. Of images in strips only a flag
    // distinguishes these from unrelated pages.
    let mut finest = 0;
    for (i, candidate) in candidates.iter().enumerate() {
        let first = &candidates[finest];
        let may_be_coarser = first.is_reduced || first.level.is_tiled();
        if may_be_coarser && continues_pyramid(std::slice::from_ref(&candidate.level), &first.level)
        {
            finest = i;
        }
    }
    let mut pyramid = Pyramid {
        directory: candidates[finest].directory.clone(),
        levels: vec![candidates.swap_remove(finest).level],
        associated_images: unreadable,
        levels_set_aside: 0,
        other_pictures: 0,
        notes: Vec::new(),
    };
    // Of equal widths the one that comes first in the file counts.
    candidates.sort_by_key(|c| std::cmp::Reverse(c.level.width));
    let mut same_size = 0;
    let mut larger = None;
    for Candidate { level, is_reduced, is_main, .. } in candidates {
        if continues_pyramid(&pyramid.levels, &level) {
            pyramid.levels.push(level);
            continue;
        }
        let finest = &pyramid.levels[0];
        let is_smaller = level.width < finest.width && level.height < finest.height;
        if is_reduced && is_smaller && level.is_tiled() && level.samples == finest.samples {
            pyramid.levels_set_aside += 1;
            continue;
        }
        pyramid.associated_images += 1;
        if level.width == finest.width && level.height == finest.height {
            same_size += usize::from(is_main);
        } else if level.width * level.height > finest.width * finest.height {
            larger.get_or_insert((level.width, level.height));
        } else if is_main && !is_reduced {
            pyramid.other_pictures += 1;
        }
    }
    let finest = &pyramid.levels[0];
    if same_size > 0 {
        pyramid.notes.push(format!(
            "The file holds {} pictures of this size, such as focal planes, channels or pages; the \
             first is used",
            same_size + 1
        ));
    }
    if let Some((width, height)) = larger {
        pyramid.notes.push(format!(
            "The file also holds a larger picture, of {width}×{height} pixels; the first one, of \
             {}×{}, is used",
            finest.width, finest.height
        ));
    }
    pyramid.note_levels_set_aside();
    Ok(pyramid)
}

impl Pyramid {
    /// Of one image and its smaller versions among `candidates`.
    pub(super) fn of(
        bytes: &RangeCache,
        directory: &Directory,
        finest: SlideLevel,
        candidates: &[Directory],
    ) -> ReadResult<Self> {
        let mut pyramid = Self {
            directory: directory.clone(),
            levels: vec![finest],
            associated_images: 0,
            levels_set_aside: 0,
            other_pictures: 0,
            notes: Vec::new(),
        };
        for candidate in candidates {
            match SlideLevel::new(bytes, candidate) {
                Ok(level) => pyramid.add(level),
                Err(ReadError::Fail(_)) => pyramid.associated_images += 1,
                Err(need) => return Err(need),
            }
        }
        pyramid.note_levels_set_aside();
        Ok(pyramid)
    }

    /// Adds the next smaller level.
    pub(super) fn add(&mut self, level: SlideLevel) {
        if continues_pyramid(&self.levels, &level) {
            self.levels.push(level);
        } else {
            self.levels_set_aside += 1;
        }
    }

    pub(super) fn note_other_pictures(&mut self) {
        if self.other_pictures > 0 {
            let finest = &self.levels[0];
            self.notes.push(format!(
                "The file also holds {}; the first one, of {}×{} pixels, is used",
                counted(self.other_pictures, "smaller picture", "smaller pictures"),
                finest.width,
                finest.height
            ));
        }
    }

    pub(super) fn note_levels_set_aside(&mut self) {
        if self.levels_set_aside > 0 {
            self.notes.push(format!(
                "{} set aside: width and height are not those of the finest level divided by one \
                 factor",
                counted(self.levels_set_aside, "smaller level is", "smaller levels are")
            ));
        }
    }
}

/// Whether an image is the next level of the pyramid: smaller than the last one, of the same shape,
/// samples and storage.
pub(super) fn continues_pyramid(levels: &[SlideLevel], candidate: &SlideLevel) -> bool {
    let (Some(finest), Some(coarsest)) = (levels.first(), levels.last()) else { return false };
    if candidate.is_tiled() != finest.is_tiled()
        || candidate.width >= coarsest.width
        || candidate.samples != finest.samples
        || candidate.bits != finest.bits
    {
        return false;
    }
    let factor = finest.width as f64 / candidate.width as f64;
    let expected_height = finest.height as f64 / factor;
    // A rounded width changes the factor, and with it the expected height.
    let tolerance = SIDE_TOLERANCE_PX * (1.0 + finest.height as f64 / finest.width as f64);
    (expected_height - candidate.height as f64).abs() <= tolerance
}

/// Values of a key in an Aperio description: `Aperio …|AppMag = 20|MPP = 0.4990|…`.
fn aperio_values(description: &str, key: &str) -> Vec<f64> {
    let mut values = Vec::new();
    for part in description.split('|') {
        if let Some((name, value)) = part.split_once('=')
            && name.trim() == key
        {
            values.extend(decimal(value));
        }
    }
    values
}

/// The description of a TIFF by `ImageJ`: lines `key=value`.
#[derive(Debug, PartialEq)]
struct ImageJStack {
    images: u64,
    channels: u64,
    /// Of the resolution tags, if it is one of length.
    unit_um: Option<f64>,
}

impl ImageJStack {
    fn of(description: &str) -> Self {
        let mut stack = Self { images: 1, channels: 1, unit_um: None };
        for line in description.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            match key {
                "images" => stack.images = value.trim().parse().unwrap_or(1),
                "channels" => stack.channels = value.trim().parse().unwrap_or(1),
                "unit" => stack.unit_um = pixel_size::unit_um(value),
                _ => {}
            }
        }
        stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_of_aperio_and_imagej_are_read() {
        let aperio = "Aperio Image Library v11.2.1\r\n46000x32914 [0,100 46000x32914]\
            |AppMag = 20|MPP = 0.4990|x = 1";
        assert_eq!(aperio_values(aperio, "MPP"), [0.499]);
        assert_eq!(aperio_values(aperio, "AppMag"), [20.0]);
        assert_eq!(aperio_values("Aperio|MPP = none|MPP=0,25|MPP = 0.5", "MPP"), [0.25, 0.5]);
        let stack = ImageJStack::of("ImageJ=1.53t\nimages=6\nchannels=2\nunit=\\u00B5m\n");
        assert_eq!(stack, ImageJStack { images: 6, channels: 2, unit_um: Some(1.0) });
    }
}
