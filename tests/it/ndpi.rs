//! Hamamatsu NDPI: a real slide and made ones of every kind, against `OpenSlide`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prunella::error::Result;
use prunella::slide::{ByteSource, FileSource, SlideReader, source};

use crate::slides_real::{assert_alike, openslide_piece, python, slides};
use crate::support::{root, text};

/// Sizes of the pieces that are compared, pixels.
const PIECE: [usize; 2] = [700, 500];

#[test]
fn a_real_ndpi_is_openslides_at_all_levels() {
    const TEST: &str = "a_real_ndpi_is_openslides_at_all_levels";
    let Some(file) = slides(TEST).map(|folder| folder.join("more/tritc.ndpi")) else { return };
    let Some(python) = python(TEST) else { return };
    if !file.exists() {
        return;
    }
    let reader = SlideReader::open(source(text(&file)).expect("file")).expect("slide");
    assert_eq!(reader.slide.levels.len(), 4);
    assert_eq!((reader.slide.magnification, reader.slide.associated_images), (Some(40.0), 2));
    assert!((reader.slide.mpp_um.expect("stated") - 0.228_175).abs() < 1e-6);
    for (i, level) in reader.slide.levels.iter().enumerate() {
        let [width, height] = [PIECE[0].min(level.width), PIECE[1].min(level.height)];
        for place in 0..5 {
            // Not at the corners, which are dark.
            let left = (level.width - width) * (place + 1) / 6;
            let top = (level.height - height) * (place * 3 % 5 + 1) / 6;
            let rect = [left, top, width, height];
            let expected = openslide_piece(&python, &file, level.width, rect);
            assert_alike(&reader, i, rect, &expected);
        }
    }
}

/// Counts requests and bytes.
struct Counted {
    file: FileSource,
    requests: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl ByteSource for Counted {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read(&self, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.file.read(range)
    }
}

#[test]
fn opening_a_real_ndpi_and_the_first_view_take_few_requests() {
    let folder = slides("opening_a_real_ndpi_and_the_first_view_take_few_requests");
    let Some(file) = folder.map(|folder| folder.join("more/tritc.ndpi")) else { return };
    let Ok(file) = FileSource::open(&file) else { return };
    let (requests, bytes) = (Arc::default(), Arc::default());
    let counted = Counted { file, requests: Arc::clone(&requests), bytes: Arc::clone(&bytes) };
    let reader = SlideReader::open(Box::new(counted)).expect("slide");
    let coarsest = reader.slide.levels.len() - 1;
    let level = &reader.slide.levels[coarsest];
    reader.region(coarsest, 0, 0, level.width, level.height).expect("view");
    let (requests, bytes) = (requests.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
    assert!(requests <= 8 && bytes <= 1 << 20, "{requests} requests, {bytes} bytes");
}

#[test]
fn made_ndpis_of_every_kind_are_openslides() {
    let Some(python) = python("made_ndpis_of_every_kind_are_openslides") else { return };
    let dir = tempfile::tempdir().expect("folder");
    let maker = root().join("tests/it/ndpi.py");
    let output = Command::new(&python).arg(maker).arg(dir.path()).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut pieces = 0;
    for entry in std::fs::read_dir(dir.path()).expect("folder") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|ending| ending == "rgb") {
            assert_is_piece(&path);
            pieces += 1;
        }
    }
    assert!(pieces >= 20, "{pieces}");
}

/// Compares `NAME.N.rgb`, a piece of a level, with `NAME.ndpi`.
fn assert_is_piece(path: &Path) {
    let slide = path.with_extension("").with_extension("ndpi");
    let reader = SlideReader::open(source(text(&slide)).expect("file")).expect("slide");
    let raw = std::fs::read(path).expect("pixels");
    let (head, pixels) = raw.split_at(20);
    let [level_width, left, top, width, height]: [usize; 5] =
        std::array::from_fn(|i| u32::from_le_bytes(head.as_chunks().0[i]) as usize);
    let level = reader.slide.levels.iter().position(|l| l.width == level_width).expect("level");
    let pixels = pixels.as_chunks::<3>().0.to_vec();
    let expected = prunella::raster::Plane::from_vec(width, height, pixels).expect("piece");
    assert_alike(&reader, level, [left, top, width, height], &expected);
}

/// Small files of the fuzz corpus.
const SMALL: [&str; 3] = ["ndpi.tif", "ndpi-unlisted.tif", "ventana-mosaic.tif"];
/// Every so many bytes one is changed.
const CHANGED_STEP: usize = 7;

#[test]
fn files_that_are_cut_or_changed_never_panic() {
    for name in SMALL {
        let bytes = std::fs::read(root().join("fuzz/corpus/slide").join(name)).expect(name);
        let levels = try_all(bytes.clone());
        assert!(levels > 0, "{name}");
        for len in 0..bytes.len() {
            try_all(bytes[..len].to_vec());
        }
        for at in (0..bytes.len()).step_by(CHANGED_STEP) {
            for value in [0, 0x7F, 0xFF] {
                let mut other = bytes.clone();
                other[at] = value;
                try_all(other);
            }
        }
    }
}

/// Opens a slide and reads a piece of each level; gives how many of these are right.
fn try_all(bytes: Vec<u8>) -> usize {
    let Ok(reader) = SlideReader::open(Box::new(bytes)) else { return 0 };
    let mut right = 0;
    for (i, level) in reader.slide.levels.iter().enumerate() {
        let is_small = level.tile_width * level.tile_height < 1 << 18;
        right += usize::from(is_small && reader.region(i, 0, 0, 600, 30).is_ok());
    }
    right
}
