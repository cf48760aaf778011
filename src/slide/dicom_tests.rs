//! Small DICOM files in every layout, read as one slide.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::dicom_maker::{EXPLICIT, IMPLICIT, MadeDicom, OffsetTable, RLE, rle_frame};
use super::{ByteSource, SlideFormat, SlideReader, source};
use crate::error::Result;
use crate::raster::{Plane, RgbImage};

/// Sides of the image and of its tiles, pixels.
const WIDTH: usize = 21;
const HEIGHT: usize = 13;
const TILE: usize = 8;

/// Files one behind the other.
struct Files {
    files: Vec<Vec<u8>>,
    requests: AtomicUsize,
}

impl Files {
    fn new(files: Vec<Vec<u8>>) -> Arc<Self> {
        Arc::new(Self { files, requests: AtomicUsize::new(0) })
    }
}

impl ByteSource for Files {
    fn len(&self) -> u64 {
        self.file_lengths().iter().sum()
    }

    fn file_lengths(&self) -> Vec<u64> {
        self.files.iter().map(|file| file.len() as u64).collect()
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.files.concat().read(range)
    }
}

fn open(files: Vec<Vec<u8>>) -> Result<SlideReader> {
    SlideReader::open(Box::new(Files::new(files)))
}

/// No two pixels alike.
fn picture() -> RgbImage {
    let pixel = |i: usize| [(i * 7) as u8, (i / 3) as u8, (i * i) as u8];
    Plane::from_vec(WIDTH, HEIGHT, (0..WIDTH * HEIGHT).map(pixel).collect()).expect("picture")
}

struct Tile {
    column: usize,
    row: usize,
    pixels: Vec<[u8; 3]>,
}

/// Tiles of the picture row by row, white outside it.
fn tiles() -> Vec<Tile> {
    let picture = picture();
    let mut tiles = Vec::new();
    for row in 0..HEIGHT.div_ceil(TILE) {
        for column in 0..WIDTH.div_ceil(TILE) {
            let mut pixels = Vec::new();
            for y in row * TILE..(row + 1) * TILE {
                for x in column * TILE..(column + 1) * TILE {
                    let is_inside = x < WIDTH && y < HEIGHT;
                    pixels.push(if is_inside { picture.row(y)[x] } else { [255; 3] });
                }
            }
            tiles.push(Tile { column, row, pixels });
        }
    }
    tiles
}

fn made() -> MadeDicom {
    let mut dicom = MadeDicom::new(WIDTH as u32, HEIGHT as u32, TILE as u16, TILE as u16);
    dicom.frames = tiles().iter().map(|tile| tile.pixels.concat()).collect();
    dicom
}

fn made_rle() -> MadeDicom {
    let frames = tiles().iter().map(|tile| rle_frame(&tile.pixels)).collect();
    MadeDicom { transfer_syntax: RLE, frames, ..made() }
}

/// Without the second tile, and in reverse order.
fn made_sparse() -> MadeDicom {
    let mut frames = Vec::new();
    let mut positions = Vec::new();
    for (i, tile) in tiles().iter().enumerate().rev() {
        if i != 1 {
            frames.push(tile.pixels.concat());
            positions
                .push([tile.column, tile.row].map(|n| i32::try_from(n * TILE).expect("small") + 1));
        }
    }
    MadeDicom { frames, positions: Some(positions), ..made() }
}

fn without_second_tile() -> RgbImage {
    let mut picture = picture();
    for y in 0..TILE {
        picture.row_mut(y)[TILE..2 * TILE].fill([255; 3]);
    }
    picture
}

fn whole(reader: &SlideReader) -> Result<RgbImage> {
    reader.region(0, 0, 0, WIDTH, HEIGHT)
}

fn sentence(dicom: &MadeDicom) -> String {
    match open(vec![dicom.bytes()]).and_then(|reader| whole(&reader)) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_same_picture_in_every_layout() {
    let planar = |tile: &Tile| {
        let sample = |i: usize| tile.pixels.iter().map(move |p| p[i]);
        sample(0).chain(sample(1)).chain(sample(2)).collect()
    };
    let planar: Vec<Vec<u8>> = tiles().iter().map(planar).collect();
    let layouts = [
        made(),
        MadeDicom { transfer_syntax: IMPLICIT, has_delimiters: true, ..made() },
        MadeDicom { is_planar: true, frames: planar, ..made() },
        made_rle(),
        MadeDicom { table: OffsetTable::Extended, ..made_rle() },
        MadeDicom { table: OffsetTable::Empty, ..made_rle() },
        MadeDicom { fragments: 3, ..made_rle() },
    ];
    for dicom in layouts {
        let reader = open(vec![dicom.bytes()]).expect("slide");
        assert_eq!(reader.slide.format, SlideFormat::Dicom);
        assert_eq!(reader.slide.mpp_um, Some(0.5));
        assert_eq!(reader.slide.magnification, Some(20.0));
        assert_eq!(whole(&reader).expect("pixels"), picture(), "{dicom:?}");
    }
}

#[test]
fn sparse_tiles_lie_where_they_are_stated_and_others_are_background() {
    for has_delimiters in [false, true] {
        for transfer_syntax in [EXPLICIT, IMPLICIT] {
            let dicom = MadeDicom { transfer_syntax, has_delimiters, ..made_sparse() };
            let reader = open(vec![dicom.bytes()]).expect("slide");
            assert_eq!(whole(&reader).expect("pixels"), without_second_tile());
        }
    }
    let mut beside = made_sparse();
    beside.positions.as_mut().expect("positions")[2][0] += 1;
    assert!(sentence(&beside).contains("grid"), "{}", sentence(&beside));
    let mut outside = made_sparse();
    outside.positions.as_mut().expect("positions")[2][1] = 99;
    assert!(sentence(&outside).contains("outside"), "{}", sentence(&outside));
}

#[test]
fn files_of_a_concatenation_are_one_image_in_any_order() {
    let part = |frames: Range<usize>| MadeDicom {
        concatenation: Some(("1.2.3.5", frames.start as u32)),
        frames: made_rle().frames[frames].to_vec(),
        ..made_rle()
    };
    let files = [part(4..6).bytes(), part(0..1).bytes(), part(1..4).bytes()];
    let reader = open(files.to_vec()).expect("slide");
    assert_eq!(whole(&reader).expect("pixels"), picture());
    for missing in 0..3 {
        let mut files = files.to_vec();
        files.remove(missing);
        let error = open(files).err().expect("a file is missing").to_string();
        assert!(error.contains("missing"), "{error}");
    }
}

#[test]
fn grey_and_luma_with_colour_differences_become_rgb() {
    let one = |photometric, samples, frame: &[u8]| {
        let frames = vec![frame.to_vec()];
        let dicom = MadeDicom { samples, photometric, frames, ..MadeDicom::new(2, 1, 2, 1) };
        let reader = open(vec![dicom.bytes()]).expect("slide");
        reader.region(0, 0, 0, 2, 1).expect("pixels").data().to_vec()
    };
    assert_eq!(one("MONOCHROME2", 1, &[10, 200]), [[10; 3], [200; 3]]);
    assert_eq!(one("MONOCHROME1", 1, &[10, 200]), [[245; 3], [55; 3]]);
    // Red and a grey (ITU-R BT.601).
    let red = [254, 0, 0];
    assert_eq!(one("YBR_FULL", 3, &[76, 85, 255, 90, 128, 128]), [red, [90; 3]]);
    // Two of Y, then Cb and Cr of both.
    assert_eq!(one("YBR_FULL_422", 3, &[76, 90, 128, 128]), [[76; 3], [90; 3]]);
}

#[test]
fn levels_are_sorted_and_labels_set_apart() {
    let level = |width: u32, height: u32, value: u8| {
        let frames = vec![vec![value; 40 * 40 * 3]];
        MadeDicom { frames, ..MadeDicom::new(width, height, 40, 40) }
    };
    let label = MadeDicom { flavour: "LABEL", ..level(30, 30, 9) };
    let other = MadeDicom { series: "1.2.8", ..level(15, 12, 8) };
    let annotation = MadeDicom { sop_class: "1.2.840.10008.5.1.4.1.1.91.1", ..level(5, 5, 7) };
    let volumes = [level(20, 16, 2), label, level(40, 32, 1), other, annotation];
    let files = volumes.iter().map(MadeDicom::bytes).collect();
    let reader = open(files).expect("slide");
    let slide = &reader.slide;
    let sizes: Vec<_> = slide.levels.iter().map(|l| [l.width, l.height]).collect();
    assert_eq!(sizes, [[40, 32], [20, 16]]);
    assert_eq!(slide.associated_images, 1);
    assert_eq!(slide.notes.len(), 2, "{:?}", slide.notes);
    assert!(slide.notes[0].contains("no whole slide image"), "{:?}", slide.notes);
    assert!(slide.notes[1].contains("2 slides"), "{:?}", slide.notes);
    assert_eq!(reader.region(1, 3, 3, 1, 1).expect("pixel").data(), [[2; 3]]);
}

#[test]
fn a_folder_and_each_file_of_a_series_open_the_whole_series() {
    let folder = ::tempfile::tempdir().expect("folder");
    let small =
        MadeDicom { series: "1.2.8", frames: vec![vec![5; 48]], ..MadeDicom::new(4, 4, 4, 4) };
    let thumbnail = MadeDicom { flavour: "THUMBNAIL", ..made() };
    let ct = MadeDicom { sop_class: "1.2.840.10008.5.1.4.1.1.2", ..made() };
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, dicom) in [("1.dcm", &made()), ("2", &thumbnail), ("3.dcm", &small), ("4", &ct)] {
        std::fs::write(path(name), dicom.bytes()).expect("file");
    }
    std::fs::write(path("notes.txt"), "text").expect("file");
    let open = |name: &str| SlideReader::open(source(&path(name))?);
    for name in ["1.dcm", "2"] {
        let reader = open(name).expect("slide");
        assert_eq!(whole(&reader).expect("pixels"), picture(), "{name}");
        assert_eq!(reader.slide.associated_images, 1);
        assert!(reader.slide.notes.is_empty(), "{:?}", reader.slide.notes);
    }
    assert_eq!(open("3.dcm").expect("slide").slide.levels[0].width, 4);
    let error = open("4").err().expect("no slide").to_string();
    assert!(error.contains("modality SM, no whole slide image"), "{error}");
    let reader = open("").expect("slide");
    assert_eq!(whole(&reader).expect("pixels"), picture());
    assert!(reader.slide.notes[0].contains("2 slides"), "{:?}", reader.slide.notes);
    let empty = ::tempfile::tempdir().expect("folder");
    let error = source(&empty.path().display().to_string()).err().expect("no slide").to_string();
    assert!(error.contains("without DICOM files"), "{error}");
}

#[test]
fn what_is_not_decoded_is_refused_by_name() {
    let cases = [
        (MadeDicom { transfer_syntax: "1.2.840.10008.1.2.4.80", ..made_rle() }, "JPEG-LS"),
        (MadeDicom { transfer_syntax: "1.2.840.10008.1.2.4.203", ..made_rle() }, "HTJ2K"),
        (MadeDicom { transfer_syntax: "1.2.840.10008.1.2.1.99", ..made() }, "deflated"),
        (MadeDicom { transfer_syntax: "1.2.840.10008.1.2.2", ..made() }, "big-endian"),
        (MadeDicom { bits: 16, ..made() }, "16 bits"),
        (MadeDicom { photometric: "PALETTE COLOR", ..made() }, "PALETTE COLOR"),
        (MadeDicom { sop_class: "1.2.840.10008.5.1.4.1.1.2", ..made() }, "no whole slide image"),
        (MadeDicom { flavour: "LABEL", ..made() }, "label, overview or thumbnail"),
        (MadeDicom { frames: made().frames[1..].to_vec(), ..made() }, "5 frames where it has 6"),
    ];
    for (dicom, word) in cases {
        let sentence = sentence(&dicom);
        assert!(sentence.contains(word), "{word}: {sentence}");
    }
}

#[test]
fn sizes_are_checked_before_memory_is_taken() {
    for [width, height] in [[u32::MAX, 1], [0, 5], [1 << 25, 1 << 25]] {
        assert!(sentence(&MadeDicom { width, height, ..made() }).len() > 5, "{width}×{height}");
    }
    for [tile_width, tile_height] in [[u16::MAX; 2], [0, 8], [60_000, 8]] {
        let dicom = MadeDicom { tile_width, tile_height, ..made() };
        assert!(sentence(&dicom).len() > 5, "tiles of {tile_width}×{tile_height}");
        let dicom = MadeDicom { tile_width, tile_height, ..made_rle() };
        assert!(sentence(&dicom).len() > 5, "tiles of {tile_width}×{tile_height}");
    }
}

#[test]
fn a_file_that_is_cut_short_never_shows_other_pixels() {
    let unlisted = MadeDicom { table: OffsetTable::Empty, has_delimiters: true, ..made_rle() };
    let extended = MadeDicom { table: OffsetTable::Extended, ..made_rle() };
    for dicom in [made(), made_rle(), unlisted, extended] {
        let bytes = dicom.bytes();
        let mut complete = 0;
        for length in 0..bytes.len() {
            let read = open(vec![bytes[..length].to_vec()]).and_then(|reader| whole(&reader));
            if let Ok(pixels) = read {
                assert_eq!(pixels, picture(), "{length} of {} bytes", bytes.len());
                complete += 1;
            }
        }
        // Only the end of the pixels and the padding may be missing.
        assert!(complete <= 9, "{complete} lengths were read");
    }
    let bytes = made_sparse().bytes();
    for length in 0..bytes.len() {
        let read = open(vec![bytes[..length].to_vec()]).and_then(|reader| whole(&reader));
        assert!(read.is_err() || length + 1 >= bytes.len(), "{length} bytes");
    }
}

#[test]
fn changed_bytes_never_panic() {
    let sparse = MadeDicom { has_delimiters: true, ..made_sparse() };
    for dicom in [made_rle(), sparse] {
        let mut bytes = dicom.bytes();
        for at in 128..bytes.len() {
            let before = bytes[at];
            for value in [0, 0xFF, before ^ 1, before.wrapping_add(64)] {
                bytes[at] = value;
                let read = open(vec![bytes.clone()]);
                drop(read.and_then(|reader| reader.region(0, 0, 0, WIDTH, HEIGHT)));
            }
            bytes[at] = before;
        }
    }
}

#[test]
fn positions_of_many_frames_and_tables_cost_few_requests() {
    const SIDE: u32 = 300;
    let mut frames = Vec::new();
    let mut positions = Vec::new();
    for row in 0..SIDE {
        for column in 0..SIDE {
            frames.push(vec![row as u8, column as u8, 0]);
            positions.push([column.cast_signed() + 1, row.cast_signed() + 1]);
        }
    }
    let full = MadeDicom { frames, ..MadeDicom::new(SIDE, SIDE, 1, 1) };
    let sparse = MadeDicom { positions: Some(positions), ..full.clone() };
    let delimited = MadeDicom { has_delimiters: true, ..sparse.clone() };
    let rle = full.frames.iter().map(|pixel| rle_frame(pixel.as_chunks::<3>().0)).collect();
    let listed = MadeDicom { transfer_syntax: RLE, frames: rle, ..full };
    for (dicom, most) in [(&sparse, 4), (&delimited, 8), (&listed, 5)] {
        let files = Files::new(vec![dicom.bytes()]);
        let reader = SlideReader::open(Box::new(Arc::clone(&files))).expect("slide");
        let pixel = reader.region(0, 77, 200, 1, 1).expect("pixel");
        assert_eq!(pixel.data(), [[200, 77, 0]]);
        let requests = files.requests.load(Ordering::Relaxed);
        assert!(requests <= most, "{requests} requests");
    }
    let unlisted = MadeDicom { table: OffsetTable::Empty, ..listed };
    let files = Files::new(vec![unlisted.bytes()]);
    let reader = SlideReader::open(Box::new(Arc::clone(&files))).expect("slide");
    assert!(reader.slide.notes[0].contains("no table"), "{:?}", reader.slide.notes);
    assert_eq!(reader.region(0, 299, 299, 1, 1).expect("pixel").data(), [[43, 43, 0]]);
    assert_eq!(reader.region(0, 5, 1, 1, 1).expect("pixel").data(), [[1, 5, 0]]);
    let requests = files.requests.load(Ordering::Relaxed);
    assert!(requests < 60, "{requests} requests");
}
