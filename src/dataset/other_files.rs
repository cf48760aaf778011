//! Files of a data set's folder that become no tile, and the notes on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Warnings, counted, listed};

/// Most files of a kind that a note names.
const MAX_NAMED: usize = 3;
/// Endings of slides that this program or others read.
const SLIDE_ENDINGS: [&str; 14] = [
    "svs", "ndpi", "scn", "bif", "mrxs", "vms", "vmu", "svslide", "qptiff", "czi", "vsi", "lif",
    "dcm", "isyntax",
];

/// Why a file is listed and becomes no tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listed {
    /// A label file whose image is not there.
    LostLabels,
    /// A label file or outlines, and an image of that name in a folder of another site.
    FarFromImage,
    /// A file of outlines whose image is not there.
    LostAnnotation,
    /// A picture of a segmentation by this program.
    OwnResult,
    /// A drawing or computed map, by its name.
    Drawn,
    /// Cellpose's `_seg.npy`.
    Cellpose,
    /// `.npy`, `.npz`.
    Numpy,
    /// `.mat`.
    Matlab,
    /// COCO and other JSON of many images.
    Json,
    /// ImageJ's `.roi` and `.zip`.
    ImageJ,
    /// `.h5`, `.hdf5`, `.zarr`.
    Hdf5,
    /// A whole slide.
    Slide,
    /// A picture in a format that is not read.
    OtherPicture,
    /// Anything else.
    Unknown,
}

impl Listed {
    /// The kind of a file that is neither raster nor outlines, by its extension in small letters.
    pub(super) fn by_extension(extension: &str, relative: &Path) -> Self {
        let name = relative.file_name().map(|n| n.to_string_lossy().to_lowercase());
        match extension {
            "npy" if name.is_some_and(|name| name.ends_with("_seg.npy")) => Self::Cellpose,
            "npy" | "npz" => Self::Numpy,
            "mat" => Self::Matlab,
            "roi" | "zip" => Self::ImageJ,
            "h5" | "hdf5" | "zarr" => Self::Hdf5,
            "avif" | "heic" | "heif" | "psd" | "xcf" | "svg" | "pdf" => Self::OtherPicture,
            _ if SLIDE_ENDINGS.contains(&extension) => Self::Slide,
            _ => Self::Unknown,
        }
    }

    /// A sentence about `count` files of the kind, some of which `names` names.
    fn sentence(self, count: usize, names: &str) -> String {
        let files = counted(count, "file", "files");
        let are = if count == 1 { "is" } else { "are" };
        let slides = if count == 1 { "a slide" } else { "slides" };
        match self {
            Self::LostLabels if count == 1 => {
                format!("1 label file has no image of its name: left out ({names})")
            }
            Self::LostLabels => format!(
                "{count} label files have no image of their name: left out ({names}); masks of one \
                 nucleus each must be joined into a label map with the name of the image"
            ),
            Self::FarFromImage => format!(
                "{files} of labels {are} left out, since the image of that name lies in a folder \
                 of another site ({names}); put images and labels of one site into the folders \
                 'images' and 'labels' of one parent"
            ),
            Self::LostAnnotation => format!(
                "{} no image of that name: left out ({names})",
                counted(count, "annotation has", "annotations have")
            ),
            Self::OwnResult => format!(
                "{files} {are} left out as results of prunella, no labels ({names}); to use a \
                 corrected result as labels, write it anew with 'prunella convert RESULT \
                 NAME_label.png'"
            ),
            Self::Drawn => format!(
                "{files} {are} left out as drawings or computed maps, by folder or ending ({names})"
            ),
            Self::Cellpose => format!(
                "{files} of Cellpose {are} not read ({names}); in Cellpose, save the masks as PNG \
                 or TIFF, which gives NAME_cp_masks.png"
            ),
            Self::Numpy => format!(
                "{files} of NumPy {are} not read ({names}); save each image as PNG and its \
                 instance map as 16-bit PNG or TIFF, as with tifffile.imwrite"
            ),
            Self::Matlab => format!(
                "{files} of MATLAB {are} not read ({names}); save 'inst_map' as 16-bit TIFF: \
                 tifffile.imwrite('NAME_label.tif', \
                 scipy.io.loadmat('NAME.mat')['inst_map'].astype('uint16'))"
            ),
            Self::Json => format!(
                "{files} of JSON {are} not read, since it is neither GeoJSON nor LabelMe's \
                 ({names}); save the outlines of each image as NAME.geojson, or as a label map"
            ),
            Self::ImageJ => format!(
                "{files} of ImageJ regions or archives {are} not read ({names}); unpack archives, \
                 and save regions as a label map (16-bit TIFF)"
            ),
            Self::Hdf5 => format!(
                "{files} of HDF5 or Zarr {are} not read ({names}); save images as PNG and instance \
                 maps as 16-bit PNG or TIFF"
            ),
            Self::Slide => format!(
                "{files} left out, {slides} ({names}); 'prunella slide region' cuts tiles from a \
                 slide"
            ),
            Self::OtherPicture => format!(
                "{files} {are} in a format that is not read ({names}); convert to PNG or TIFF"
            ),
            Self::Unknown => String::new(),
        }
    }
}

/// Files by the reason for which they are listed.
#[derive(Debug, Default)]
pub(super) struct OtherFiles {
    by_reason: BTreeMap<Listed, Vec<PathBuf>>,
}

impl OtherFiles {
    pub(super) fn add(&mut self, reason: Listed, relative: PathBuf) {
        self.by_reason.entry(reason).or_default().push(relative);
    }

    /// A note for each reason but [`Listed::Unknown`].
    pub(super) fn add_notes(&self, notes: &mut Warnings) {
        for (reason, files) in &self.by_reason {
            if *reason == Listed::Unknown {
                continue;
            }
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            notes.note(reason.sentence(files.len(), &listed(&names, MAX_NAMED)));
        }
    }

    /// Files of [`Listed::Unknown`].
    pub(super) fn unknown(mut self) -> Vec<PathBuf> {
        self.by_reason.remove(&Listed::Unknown).unwrap_or_default()
    }
}
