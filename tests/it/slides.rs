//! Generated slides of every layout, broken slides, and slides over HTTP.

use std::sync::atomic::Ordering;

use prunella::raster::RgbImage;
use prunella::slide::{RangeCache, ReadError, Slide, SlideReader};

use crate::slide_maker::{PLAIN, Style, pyramid, slide};
use crate::slide_server::{Behaviour, serve};

fn whole(reader: &SlideReader, level: usize) -> RgbImage {
    let own = &reader.slide.levels[level];
    reader.region(level, 0, 0, own.width, own.height).expect("pixels")
}

#[test]
fn every_layout_and_compression_reads_back() {
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
                for (i, expected) in levels.iter().enumerate() {
                    let actual = whole(&reader, i);
                    let worst =
                        actual.data().iter().flatten().zip(expected.data().iter().flatten());
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
fn a_region_may_lie_anywhere_and_outside_is_background() {
    let levels = pyramid(150, 110);
    let reader = SlideReader::open(Box::new(slide(&levels, PLAIN, ""))).expect("opens");
    let actual = reader.region(0, -20, 90, 60, 40).expect("region");
    for (y, x) in (0..2400).map(|i| (i / 60, i % 60)) {
        let expected = if x >= 20 && y < 20 { levels[0].get(90 + y, x - 20) } else { [255; 3] };
        assert_eq!(actual.get(y, x), expected, "{y} {x}");
    }
    assert_eq!(reader.region(0, 5000, 5000, 3, 3).expect("far").get(1, 1), [255; 3]);
    assert!(
        reader.region(9, 0, 0, 3, 3).is_err() && reader.region(0, 0, 0, usize::MAX, 2).is_err()
    );
}

#[test]
fn a_source_of_one_byte_at_a_time_opens_the_same_slide() {
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
                        .find(|at| bytes.read(*at, 1).is_err())
                        .expect("something is missing");
                    bytes.insert(first, &file[first as usize..=first as usize]);
                }
            }
        }
        rounds += 1;
        assert!(rounds < 100_000, "it does not end");
    };
    let whole = SlideReader::open(Box::new(file)).expect("opens");
    assert_eq!(dripped, whole.slide);
}

/// Opens a file and reads a level; nothing may panic or take long.
fn open_and_read(file: Vec<u8>) -> prunella::error::Result<RgbImage> {
    let reader = SlideReader::open(Box::new(file))?;
    let own = &reader.slide.levels[0];
    reader.region(0, 0, 0, own.width.min(500), own.height.min(500))
}

#[test]
fn a_truncated_slide_is_an_error_and_never_a_panic() {
    for style in [
        PLAIN,
        Style { compression: 7, ..PLAIN },
        Style { compression: 5, big: true, tile: None, ..PLAIN },
    ] {
        let file = slide(&pyramid(40, 40), style, "cut");
        assert!(open_and_read(file.clone()).is_ok());
        let mut errors = 0;
        for len in 0..file.len() {
            errors += usize::from(open_and_read(file[..len].to_vec()).is_err());
        }
        assert!(errors >= file.len() - 1, "{errors} of {}", file.len());
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
                drop(open_and_read(other));
            }
        }
    }
}

#[test]
fn cycles_absurd_counts_and_other_files_have_clear_errors() {
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
        let message = open_and_read(bytes).expect_err("broken").to_string();
        assert!(message.contains(word), "'{message}' lacks '{word}'");
    }
}

#[test]
fn a_slide_by_http_is_the_slide_on_disk_in_few_requests() {
    let levels = pyramid(2000, 1500);
    let file = slide(&levels, Style { compression: 7, tile: Some(256), ..PLAIN }, "");
    let server = serve(file.clone(), Behaviour::Correct);
    let local = SlideReader::open(Box::new(file)).expect("opens");
    let source = prunella::slide::source(&server.url).expect("responds");
    let remote = SlideReader::open(source).expect("opens");
    assert_eq!(local.slide, remote.slide);
    let opened = server.requests.load(Ordering::Relaxed);
    assert!(opened <= 6, "{opened} requests to open");
    let view = remote.region(1, 100, 100, 800, 600).expect("view");
    assert_eq!(view, local.region(1, 100, 100, 800, 600).expect("view"));
    let shown = server.requests.load(Ordering::Relaxed) - opened;
    assert!(shown <= 4, "{shown} requests for a view");
    remote.region(1, 150, 150, 500, 400).expect("again");
    assert_eq!(
        server.requests.load(Ordering::Relaxed),
        opened + shown,
        "cached tiles are not requested again"
    );
}

#[test]
fn servers_that_break_off_or_know_no_ranges_are_handled() {
    let file = slide(&pyramid(600, 400), Style { tile: Some(128), ..PLAIN }, "");
    let open = |behaviour| {
        let server = serve(file.clone(), behaviour);
        let reader = SlideReader::open(prunella::slide::source(&server.url)?)?;
        reader.region(0, 0, 0, 600, 400)
    };
    let expected = open(Behaviour::Correct).expect("pixels");
    assert_eq!(open(Behaviour::Drops).expect("retried"), expected);
    assert_eq!(open(Behaviour::WholeFiles).expect("a small file may come whole"), expected);
    assert_eq!(open(Behaviour::Busy).expect("asked again"), expected);
    for (behaviour, word) in [
        (Behaviour::WrongRange, "other bytes"),
        (Behaviour::NotFound, "status 404"),
        (Behaviour::Changes, "has changed since it was opened"),
    ] {
        let message = open(behaviour).expect_err("refused").to_string();
        assert!(message.contains(word), "'{message}' lacks '{word}'");
    }
}
