//! DICOM slides against `OpenSlide`: files made here, and a real series.

use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use prunella::raster::{Plane, RgbImage, phantom};
use prunella::slide::{SlideFormat, SlideReader, source};

use crate::dicom_maker::{JPEG, MadeDicom, OffsetTable};
use crate::slides_real::{
    MAX_DIFFERENCE, MAX_OUTLIERS, difference, openslide_region, python, slides,
};
use crate::support::{run, run_json, text};

/// Sides of the finest level and of the frames, pixels.
const WIDTH: usize = 300;
const HEIGHT: usize = 200;
const TILE: usize = 64;

/// An image cut into frames.
struct Frames {
    pixels: Vec<RgbImage>,
    /// Column and row of each, counted from 1.
    positions: Vec<[i32; 2]>,
}

fn frames_of(image: &RgbImage) -> Frames {
    let mut frames = Frames { pixels: Vec::new(), positions: Vec::new() };
    for top in (0..image.height()).step_by(TILE) {
        for left in (0..image.width()).step_by(TILE) {
            let mut frame = Plane::filled(TILE, TILE, [255; 3]);
            for y in top..image.height().min(top + TILE) {
                for x in left..image.width().min(left + TILE) {
                    frame.row_mut(y - top)[x - left] = image.row(y)[x];
                }
            }
            frames.pixels.push(frame);
            frames.positions.push([left, top].map(|at| i32::try_from(at).expect("small") + 1));
        }
    }
    frames
}

fn jpeg(frame: &RgbImage) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut out, 90);
    let side = TILE as u32;
    let kind = image::ExtendedColorType::Rgb8;
    encoder.encode(frame.data().as_flattened(), side, side, kind).expect("JPEG");
    out
}

fn made(image: &RgbImage) -> MadeDicom {
    let (width, height) = (image.width() as u32, image.height() as u32);
    let frames = frames_of(image).pixels;
    let frames = frames.iter().map(|frame| frame.data().as_flattened().to_vec()).collect();
    MadeDicom { frames, ..MadeDicom::new(width, height, TILE as u16, TILE as u16) }
}

fn made_jpeg(image: &RgbImage) -> MadeDicom {
    let frames = frames_of(image).pixels.iter().map(jpeg).collect();
    MadeDicom { transfer_syntax: JPEG, photometric: "YBR_FULL_422", frames, ..made(image) }
}

/// Writes each image as a file of its own.
fn write(folder: &Path, images: &[MadeDicom]) -> PathBuf {
    std::fs::create_dir_all(folder).expect("folder");
    for (i, image) in images.iter().enumerate() {
        let instance = format!("1.2.3.4.{}", i + 1);
        let file = MadeDicom { instance, ..image.clone() }.bytes();
        std::fs::write(folder.join(format!("{i}.dcm")), file).expect("file");
    }
    folder.join("0.dcm")
}

fn open(place: &Path) -> SlideReader {
    SlideReader::open(source(text(place)).expect("file")).expect("slide")
}

#[test]
fn made_files_are_read_as_openslide_reads_them() {
    let Some(python) = python("made_files_are_read_as_openslide_reads_them") else { return };
    let dir = tempfile::tempdir().expect("folder");
    let (image, _) = phantom(WIDTH, HEIGHT, 5);
    let (half, _) = phantom(WIDTH / 2, HEIGHT / 2, 6);
    let mut sparse = made(&image);
    let mut positions = frames_of(&image).positions;
    sparse.frames.reverse();
    positions.reverse();
    sparse.positions = Some(positions);
    let extended = MadeDicom { table: OffsetTable::Extended, ..made_jpeg(&image) };
    let fragments = MadeDicom { fragments: 3, ..made_jpeg(&image) };
    let sets = [
        ("native", vec![made(&image), made(&half)]),
        ("jpeg", vec![made_jpeg(&image), made_jpeg(&half)]),
        ("extended", vec![extended]),
        ("fragments", vec![fragments]),
        ("delimiters", vec![MadeDicom { has_delimiters: true, ..sparse.clone() }]),
        ("sparse", vec![sparse]),
    ];
    for (name, images) in sets {
        let first = write(&dir.path().join(name), &images);
        let reader = open(&first);
        assert_eq!(reader.slide.format, SlideFormat::Dicom);
        assert_eq!(reader.slide.levels.len(), images.len(), "{name}");
        for (level, made) in images.iter().enumerate() {
            let (w, h) = (made.width as usize, made.height as usize);
            let expected = openslide_region(&python, text(&first), level, [0, 0, w, h]);
            let actual = reader.region(level, 0, 0, w, h).expect("region");
            let difference = difference(&actual, &expected);
            assert!(
                difference.outliers <= MAX_OUTLIERS && difference.max <= MAX_DIFFERENCE,
                "{name}, level {level}: {} of values, at most {}",
                difference.outliers,
                difference.max
            );
            if made.transfer_syntax != JPEG {
                assert_eq!(difference.max, 0, "{name} has no losses");
            }
        }
    }
}

#[test]
fn a_real_series_is_openslides_and_that_of_the_slide_it_was_made_of() {
    const TEST: &str = "a_real_series_is_openslides_and_that_of_the_slide_it_was_made_of";
    let Some(folder) = slides(TEST) else { return };
    let series = folder.join("more/cmu1_small_dicom");
    let Some(python) = python(TEST).filter(|_| series.is_dir()) else { return };
    let reader = open(&series);
    assert_eq!(reader.slide.associated_images, 3);
    assert!(reader.slide.mpp_um.is_some_and(|mpp| (mpp - 0.499).abs() < 1e-6));
    let files = std::fs::read_dir(&series).expect("folder");
    let file = files.flatten().map(|entry| entry.path()).next().expect("a file");
    let svs = open(&folder.join("cmu-1-small-region.svs"));
    for rect in [[0, 0, 400, 300], [700, 900, 700, 500], [1900, 2700, 300, 250]] {
        let [x, y, w, h]: [usize; 4] = rect;
        let region = |reader: &SlideReader| {
            reader.region(0, x.cast_signed(), y.cast_signed(), w, h).expect("region")
        };
        let actual = region(&reader);
        let expected = openslide_region(&python, text(&file), 0, rect);
        assert!(difference(&actual, &expected).max <= 2, "{rect:?}");
        assert!(difference(&actual, &region(&svs)).max <= 2, "{rect:?}");
    }
}

#[test]
fn commands_take_a_folder_and_name_other_dicom_files() {
    let dir = tempfile::tempdir().expect("folder");
    let (image, _) = phantom(WIDTH, HEIGHT, 5);
    let folder = dir.path().join("scan");
    write(&folder, &[made(&image)]);
    let facts = run_json(&["slide", "info", text(&folder)]);
    assert_eq!(facts["kind"], "dicom");
    assert_eq!(facts["levels"][0]["width"], WIDTH);
    let piece = dir.path().join("piece.png");
    let region = ["--x", "10", "--y", "20", "--width", "30", "--height", "40"];
    let command = ["slide", "region", text(&folder), "--out", text(&piece)];
    run_json(&[&command[..], &region[..]].concat());
    let ct = dir.path().join("ct.dcm");
    let class = "1.2.840.10008.5.1.4.1.1.2";
    std::fs::write(&ct, MadeDicom { sop_class: class, ..made(&image) }.bytes()).expect("file");
    let (code, _, sentence) = run(&["slide", "info", text(&ct)]);
    assert!(code == Some(2) && sentence.contains("no whole slide image"), "{sentence}");
}
