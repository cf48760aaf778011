//! Slides made on the spot in every layout, and what strangers make of them.

use std::sync::atomic::Ordering;

use prunella::raster::RgbImage;
use prunella::slide::{RangeCache, ReadError, Slide, SlideReader};

use crate::slide_maker::{PLAIN, Style, pyramid, slide};
use crate::slide_server::{Manners, serve};

fn whole(reader: &SlideReader, level: usize) -> RgbImage {
    let own = &reader.slide.levels[level];
    reader.region(level, 0, 0, own.width, own.height).expect("pixels")
}

#[test]
fn every_layout_and_packing_reads_back() {
    let levels = pyramid(150, 110);
    for (big, big_endian) in [(false, false), (false, true), (true, false), (true, true)] {
        for compression in [1, 5, 7, 8] {
            for (tile, nested) in [(Some(32), false), (Some(48), true), (None, false)] {
                let style = Style { big, big_endian, compression, tile, nested };
                let description =
                    if nested { "<OME><Pixels PhysicalSizeX=\"0.5\"/></OME>" } else { "a slide" };
                let reader =
                    SlideReader::open(Box::new(slide(&levels, style, description))).expect("opens");
                assert_eq!(reader.slide.levels.len(), 3, "{style:?}");
                assert_eq!(reader.slide.mpp_um, nested.then_some(0.5));
                for (i, want) in levels.iter().enumerate() {
                    let got = whole(&reader, i);
                    let worst = got.data().iter().flatten().zip(want.data().iter().flatten());
                    let worst = worst.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(255);
                    assert!(
                        worst <= if compression == 7 { 12 } else { 0 },
                        "{style:?}, level {i}: {worst}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_region_may_lie_anywhere_and_outside_is_glass() {
    let levels = pyramid(150, 110);
    let reader = SlideReader::open(Box::new(slide(&levels, PLAIN, ""))).expect("opens");
    let got = reader.region(0, -20, 90, 60, 40).expect("region");
    for (y, x) in (0..2400).map(|i| (i / 60, i % 60)) {
        let want = if x >= 20 && y < 20 { levels[0].get(90 + y, x - 20) } else { [255; 3] };
        assert_eq!(got.get(y, x), want, "{y} {x}");
    }
    assert_eq!(reader.region(0, 5000, 5000, 3, 3).expect("far").get(1, 1), [255; 3]);
    assert!(
        reader.region(9, 0, 0, 3, 3).is_err() && reader.region(0, 0, 0, usize::MAX, 2).is_err()
    );
}

#[test]
fn a_source_that_gives_a_byte_at_a_time_opens_the_same_slide() {
    let file = slide(&pyramid(64, 64), Style { tile: Some(64), ..PLAIN }, "drip");
    let mut bytes = RangeCache::new(file.len() as u64);
    let mut rounds = 0;
    let dripped = loop {
        match Slide::open(&bytes) {
            Ok(slide) => break slide,
            Err(ReadError::Fail(e)) => panic!("{e}"),
            Err(ReadError::NeedBytes(ranges)) => {
                for range in ranges {
                    let first = (range.start..range.end)
                        .find(|at| bytes.get(*at, 1).is_err())
                        .expect("something is missing");
                    bytes.feed(first, &file[first as usize..=first as usize]);
                }
            }
        }
        rounds += 1;
        assert!(rounds < 100_000, "it goes on");
    };
    let whole = SlideReader::open(Box::new(file)).expect("opens");
    assert_eq!(dripped, whole.slide);
}

/// Opens a file and reads a level; nothing may panic or take long.
fn tried(file: Vec<u8>) -> prunella::error::Result<RgbImage> {
    let reader = SlideReader::open(Box::new(file))?;
    let own = &reader.slide.levels[0];
    reader.region(0, 0, 0, own.width.min(500), own.height.min(500))
}

#[test]
fn a_slide_cut_short_anywhere_is_an_error_and_never_a_panic() {
    let mut refused = 0;
    for style in [
        PLAIN,
        Style { compression: 7, ..PLAIN },
        Style { compression: 5, big: true, tile: None, ..PLAIN },
    ] {
        let file = slide(&pyramid(40, 40), style, "cut");
        assert!(tried(file.clone()).is_ok());
        for len in 0..file.len() {
            refused += usize::from(tried(file[..len].to_vec()).is_err());
        }
        assert!(refused >= file.len() - 1, "{refused} of {}", file.len());
        refused = 0;
    }
}

#[test]
fn a_slide_with_any_byte_changed_never_panics() {
    for style in [
        PLAIN,
        Style { compression: 7, big: true, ..PLAIN },
        Style { compression: 8, nested: true, ..PLAIN },
    ] {
        let file = slide(&pyramid(48, 48), style, "<OME");
        for at in 0..file.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut other = file.clone();
                other[at] = value;
                drop(tried(other));
            }
        }
    }
}

#[test]
fn circles_absurd_counts_and_foreign_files_are_refused_in_words() {
    let file = slide(&pyramid(64, 64), PLAIN, "");
    let first = u32::from_le_bytes([file[4], file[5], file[6], file[7]]) as usize;
    let tags = usize::from(file[first]);
    let mut circle = file.clone();
    let link = first + 2 + tags * 12;
    circle[link..link + 4].copy_from_slice(&(first as u32).to_le_bytes());
    let mut tagged = file.clone();
    tagged[first..first + 2].copy_from_slice(&[0xFF, 0xFF]);
    let mut wide = file.clone();
    wide[first + 2 + 8..first + 2 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    for (bytes, word) in [
        (circle, "circle"),
        (tagged, "65535 tags"),
        (wide, "out of range"),
        (b"%PDF-1.4 and so on and so forth".to_vec(), "no TIFF"),
        (Vec::new(), "no TIFF"),
    ] {
        let said = tried(bytes).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(said.contains(word), "'{said}' lacks '{word}'");
    }
}

#[test]
fn a_slide_by_http_is_the_slide_on_disk_in_few_requests() {
    let levels = pyramid(2000, 1500);
    let file = slide(&levels, Style { compression: 7, tile: Some(256), ..PLAIN }, "");
    let server = serve(file.clone(), Manners::Good);
    let (disk, far) = (
        SlideReader::open(Box::new(file)).expect("opens"),
        SlideReader::open(prunella::slide::source(&server.url).expect("answers")).expect("opens"),
    );
    assert_eq!(disk.slide, far.slide);
    let opened = server.requests.load(Ordering::Relaxed);
    assert!(opened <= 6, "{opened} requests to open");
    let view = far.region(1, 100, 100, 800, 600).expect("view");
    assert_eq!(view, disk.region(1, 100, 100, 800, 600).expect("view"));
    let shown = server.requests.load(Ordering::Relaxed) - opened;
    assert!(shown <= 4, "{shown} requests for a view");
    far.region(1, 150, 150, 500, 400).expect("again");
    assert_eq!(
        server.requests.load(Ordering::Relaxed),
        opened + shown,
        "what is known is not asked again"
    );
}

#[test]
fn a_server_that_drops_lies_or_knows_no_ranges_is_told_apart() {
    let file = slide(&pyramid(600, 400), Style { tile: Some(128), ..PLAIN }, "");
    let open = |manners| {
        let server = serve(file.clone(), manners);
        let reader = SlideReader::open(prunella::slide::source(&server.url)?)?;
        reader.region(0, 0, 0, 600, 400)
    };
    let right = open(Manners::Good).expect("pixels");
    assert_eq!(open(Manners::Drops).expect("tried again"), right);
    assert_eq!(open(Manners::WholeFiles).expect("a small file may come whole"), right);
    for (manners, word) in [(Manners::Lies, "other bytes"), (Manners::NotThere, "status 404")] {
        let said = open(manners).expect_err("refused").to_string();
        assert!(said.contains(word), "'{said}' lacks '{word}'");
    }
}
