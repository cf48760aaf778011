//! Whole slides from a disk, a server or a browser: TIFFs (Aperio SVS, Hamamatsu NDPI, Leica SCN,
//! Philips, Ventana, pyramidal TIFF and `BigTIFF`, OME-TIFF), DICOM and OME-Zarr; pictures and
//! label maps of TIFFs in memory ([`read_tiff_image`]).
//!
//! The readers are sans-I/O: they work on a [`RangeCache`] and return
//! [`ReadError::NeedBytes`] when bytes are missing, or on an [`ObjectCache`] and return
//! [`ObjectError::NeedObjects`]; the caller fetches these and calls again. So blocking native code
//! ([`SlideReader`]) and asynchronous code in a browser share them. Files are
//! untrusted: every count, offset and size is checked before memory is taken.

mod blosc;
mod bounds;
mod codec;
mod decode;
mod dicom;
mod dicom_elements;
mod dicom_file;
mod dicom_frames;
#[cfg(test)]
#[allow(unreachable_pub, dead_code, reason = "integration tests share the file")]
#[path = "../../tests/it/dicom_maker.rs"]
mod dicom_maker;
#[cfg(test)]
mod dicom_tests;
#[cfg(not(target_arch = "wasm32"))]
mod folder_source;
#[cfg(all(feature = "net", not(target_arch = "wasm32")))]
mod http_objects;
#[cfg(all(feature = "net", not(target_arch = "wasm32")))]
mod http_source;
mod jpeg;
mod level;
mod mosaic;
mod ndpi;
#[cfg(not(target_arch = "wasm32"))]
mod object_source;
mod objects;
mod ome;
mod ome_zarr;
mod pictures;
mod pixel_size;
mod range_cache;
#[cfg(not(target_arch = "wasm32"))]
mod reader;
mod restart_jpeg;
mod slide_file;
#[cfg(not(target_arch = "wasm32"))]
mod source;
mod tiff;
mod tiff_image;
mod tiles;
mod trestle;
mod vendors;
mod ventana;
mod xml;
mod zarr;
mod zarr_level;

pub use bounds::SlideBounds;
pub use decode::{BACKGROUND, decode_tile};
pub use dicom_file::{DicomKind, dicom_series};
#[cfg(not(target_arch = "wasm32"))]
pub use folder_source::{is_slide_folder, may_be_dicom};
#[cfg(all(feature = "net", not(target_arch = "wasm32")))]
pub use http_source::{HttpSource, HttpTraffic};
pub use level::{Compression, Photometric, Predictor, SlideLevel};
#[cfg(not(target_arch = "wasm32"))]
pub use object_source::{FolderSource, ObjectSource, is_zarr};
pub use objects::{
    ObjectCache, ObjectError, ObjectPart, ObjectRequest, ObjectResult, TileRequests,
};
pub use pixel_size::PixelSize;
pub(crate) use pixel_size::{UM_PER_CM, UM_PER_INCH};
pub use range_cache::{
    MERGE_GAP_BYTES, MergedRange, PAGE_BYTES, RangeCache, ReadError, ReadResult, merge_ranges,
};
#[cfg(not(target_arch = "wasm32"))]
pub use reader::SlideReader;
pub use slide_file::{Slide, SlideFormat};
#[cfg(not(target_arch = "wasm32"))]
pub use source::{ByteSource, FileSource, source};
pub use tiff_image::{ExtraSample, SampleValues, TiffImage, read_tiff_image};
pub use tiles::{PlacedTile, Rect, TileCache, TileIndex};
