//! One function a fuzz target: each takes arbitrary bytes and must neither panic nor take long.
//!
//! The crate is used without features, so that the build with coverage leaves out Burn and windows:
//! minutes instead of half an hour.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use prunella::dataset;
use prunella::error::Result;
use prunella::model::{FileLimits, Model, Precision};
use prunella::outlines::{draw_outlines, read_outlines, write_geojson, write_imagescope};
use prunella::picture::{foreign_format, read_labels, read_picture};
use prunella::raster::{DecodeLimits, Plane, encode_label_file, encode_rgb_png};
use prunella::slide::{ByteSource, ObjectRequest, ObjectSource, SlideReader};
use prunella::{export, outlines};

/// Most levels that are read.
const MAX_LEVELS: usize = 4;
/// Most pixels of a picture; a stream of a few bytes may be valid and fill as many.
const MAX_PICTURE_PX: u64 = 4 << 20;
/// Longest side of the region that is read of each level, pixels.
const REGION_PX: usize = 256;
/// Larger tiles are valid and slow to decode; errors in them occur in smaller ones too.
const MAX_TILE_AREA: usize = 1 << 20;

/// Reads a file as a picture and as labels, and names it when it is neither.
pub fn picture(data: &[u8]) {
    let limits = DecodeLimits { max_pixels: MAX_PICTURE_PX };
    if let Ok(picture) = read_picture(data, limits) {
        assert!(foreign_format(data, None).is_none(), "what is read is not foreign");
        assert!(picture.image.data().len() as u64 <= MAX_PICTURE_PX);
    }
    drop(read_labels(data, limits));
}

/// Decodes a TIFF as an image; opens it as a slide and reads a region of its levels.
pub fn slide(data: &[u8]) {
    drop(read_picture(data, DecodeLimits { max_pixels: MAX_PICTURE_PX }));
    open_levels(Box::new(data.to_vec()));
}

/// Opens DICOM files as one slide and reads a region of its levels: one file, or several where
/// further preambles of zeros and "DICM" follow.
pub fn dicom(data: &[u8]) {
    const PREFIX: &[u8] = b"DICM";
    const PREAMBLE: usize = 128;
    let mut lengths = Vec::new();
    let mut start = 0;
    for at in PREAMBLE..data.len().saturating_sub(PREFIX.len()) {
        let begin = at - PREAMBLE;
        let is_file = data[at..].starts_with(PREFIX) && data[begin..at].iter().all(|b| *b == 0);
        if is_file && begin > start {
            lengths.push((begin - start) as u64);
            start = begin;
        }
    }
    lengths.push((data.len() - start) as u64);
    open_levels(Box::new(Files { bytes: data.to_vec(), lengths }));
}

/// Files one behind the other.
struct Files {
    bytes: Vec<u8>,
    lengths: Vec<u64>,
}

impl ByteSource for Files {
    fn len(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }

    fn file_lengths(&self) -> Vec<u64> {
        self.lengths.clone()
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        self.bytes.read(range)
    }
}

fn open_levels(source: Box<dyn ByteSource>) {
    let Ok(reader) = SlideReader::open(source) else { return };
    read_levels(&reader);
}

fn read_levels(reader: &SlideReader) {
    for (i, level) in reader.slide.levels.iter().enumerate().take(MAX_LEVELS) {
        if level.tile_width * level.tile_height <= MAX_TILE_AREA {
            let width = level.width.min(REGION_PX);
            let height = level.height.min(REGION_PX);
            drop(reader.region(i, 0, 0, width, height));
        }
    }
}

/// Keys of metadata, in the order in which an input has them.
const METADATA_KEYS: [&str; 6] =
    ["zarr.json", ".zattrs", "0/zarr.json", "0/.zarray", "1/zarr.json", "OME/.zattrs"];

/// Objects of which each chunk is the same.
struct FuzzObjects {
    /// One for each of [`METADATA_KEYS`]; those without bytes are not there.
    metadata: Vec<Vec<u8>>,
    chunk: Vec<u8>,
}

impl ObjectSource for FuzzObjects {
    fn read(&self, requests: &[ObjectRequest]) -> prunella::error::Result<Vec<Option<Vec<u8>>>> {
        let mut found = Vec::new();
        for ObjectRequest { key, part } in requests {
            let listed = METADATA_KEYS.iter().position(|name| name == key);
            let is_metadata =
                [".json", ".zattrs", ".zgroup", ".zarray"].iter().any(|e| key.ends_with(e));
            let bytes = match listed {
                Some(i) => &self.metadata[i],
                None if is_metadata => &Vec::new(),
                None => &self.chunk,
            };
            let part = part.of(bytes.len() as u64);
            let bytes = &bytes[part.start as usize..part.end as usize];
            found.push((!bytes.is_empty()).then(|| bytes.to_vec()));
        }
        Ok(found)
    }
}

/// Opens an OME-Zarr and reads a region of its levels. The input holds the metadata of
/// [`METADATA_KEYS`], each after its length (16 bits, little endian), then a chunk.
pub fn zarr(mut data: &[u8]) {
    let mut metadata = Vec::new();
    for _ in METADATA_KEYS {
        let length = take(&mut data, 2).iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte));
        metadata.push(take(&mut data, length).to_vec());
    }
    let objects = FuzzObjects { metadata, chunk: data.to_vec() };
    let Ok(reader) = SlideReader::open_objects(Box::new(objects)) else { return };
    read_levels(&reader);
    drop(reader.identity());
}

/// Reads outlines of any format. Once they are valid they must be as many after writing, and valid,
/// as XML and as GeoJSON.
pub fn annotations(data: &[u8]) {
    let Ok(mut read) = read_outlines(data) else { return };
    drop(draw_outlines(&read, 64, 64, 0.0));
    drop(read.make_valid());
    let xml = write_imagescope(&read, read.mpp_um).expect("what was read can be written");
    let again = read_outlines(&xml).expect("what was written can be read");
    assert_eq!(again.objects.len(), read.objects.len());
    let mut text = Vec::new();
    write_geojson(&read, None, &mut text).expect("what was read can be written");
    let again = read_outlines(&text).expect("what was written can be read");
    assert_eq!(again.objects.len(), read.objects.len());
    for object in &again.objects {
        assert!(outlines::polygons_are_valid(&object.polygons, 1e6));
    }
}

/// Names of files that pair with each other or look as if they did.
const NAMES: [&str; 24] = [
    "a.png",
    "a_mask.png",
    "a.xml",
    "a.tif",
    "A.PNG",
    "images/a.png",
    "labels/a.png",
    "labels/a_bin.tif",
    "siteA/images/a.png",
    "siteA/labels/a.png",
    "siteB/images/a.png",
    "siteB/masks/a_cp_masks.png",
    "siteB/annotations/a.xml",
    "GTEX/a.png",
    "masks/masks/a.png",
    "image.png",
    "mask.png",
    "t.mask.png",
    "t.geojson",
    "t.csv",
    "overlay/a.png",
    "a_seg.npy",
    "a.ome.tif",
    "_mask.png",
];
/// Most files of a folder, and longest name of one, bytes.
const MAX_FILES: usize = 16;
const MAX_NAME: usize = 100;

/// Checks a folder of files with names and contents made from the bytes. Each file begins with a
/// byte for its name (one of [`NAMES`], or its length in the bytes that follow) and one for its
/// content (a picture, a label map, or its length).
pub fn data(mut data: &[u8]) {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("prunella-fuzz-{}-{run}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("temporary folder");
    for _ in 0..MAX_FILES {
        let [name, content, rest @ ..] = data else { break };
        data = rest;
        let name = match NAMES.get(usize::from(*name)) {
            Some(name) => (*name).to_owned(),
            None => hostile_name(take(&mut data, usize::from(*name) % MAX_NAME)),
        };
        let content = match content {
            0 => encode_rgb_png(&Plane::filled(5, 4, [200, 150, 180])).expect("picture"),
            1 => label_file(&[0, 1, 1, 2]),
            2 => label_file(&[9, 9, 9, 9]),
            length => take(&mut data, usize::from(*length)).to_vec(),
        };
        let path = folder.join(name);
        // Names that the disk refuses are no input.
        drop(path.parent().map(std::fs::create_dir_all));
        drop(std::fs::write(path, content));
    }
    let result = dataset::check(&folder, |_, _| Ok(()));
    std::fs::remove_dir_all(&folder).expect("temporary folder");
    let Ok(report) = result else { return };
    let mut names = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for tile in &report.tiles {
        assert!(names.insert(&tile.name), "two tiles of one name");
        assert!(tile.labels.as_ref().is_none_or(|file| labels.insert(file)), "labels used twice");
        assert!(tile.labels.as_ref() != Some(&tile.image), "an image is its own labels");
    }
}

/// Up to `length` bytes from the beginning of `data`.
fn take<'a>(data: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(length.min(data.len()));
    *data = rest;
    taken
}

/// A path below the folder of a run: no step upwards, no root.
fn hostile_name(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(['\0', '\\'], "_");
    let parts: Vec<&str> =
        text.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    if parts.is_empty() { "x".to_owned() } else { parts.join("/") }
}

fn label_file(labels: &[u32; 4]) -> Vec<u8> {
    let labels = Plane::from_vec(2, 2, labels.to_vec()).expect("labels");
    encode_label_file(&labels).expect("label map").0
}

/// Reads a model file, which must be readable after writing.
pub fn model(data: &[u8]) {
    if let Ok(model) = Model::from_bytes(data, FileLimits::default()) {
        let bytes = model.to_bytes(Precision::F32).expect("what was read can be written");
        Model::from_bytes(&bytes, FileLimits::default()).expect("what was written can be read");
    }
}

/// Reads the payload of a link.
pub fn link(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(export::from_link(text));
    }
}
