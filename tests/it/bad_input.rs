//! Unusual and broken images through the whole program: each gives a correct result or one clear
//! error, and no partial files.

use std::io::Cursor;
use std::path::Path;

use base64::Engine as _;
use image::{DynamicImage, ImageFormat};
use prunella::model::{Model, Precision, dcnn};

use crate::support::{run, run_json, text};

/// A 16×8 JPEG of four channels, (200, 30, 60, 10) as cyan, magenta, yellow, black.
const CMYK: &str = "\
/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAUDg8SDw0UEhASFxUUGB4yIR4cHB49LC4kMklATEtHQEZFUFpzYlBVbVZFRmSIZW13e4GCgU5gjZeMfZZzfoF8\
/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAAFBv/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsAAD8AhNOtteAP/9k=";

fn model(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("m.safetensors");
    Model::random(dcnn([3, 5, 8], 12, 2), 1)
        .expect("model")
        .save(&path, Precision::F32)
        .expect("saved");
    path
}

fn bytes(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).expect("encoded");
    out.into_inner()
}

#[test]
fn every_pixel_type_gives_results_of_the_size_of_the_image() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let cmyk = base64::engine::general_purpose::STANDARD.decode(CMYK).expect("base64");
    let images = [
        ("row.png", bytes(&DynamicImage::new_rgb8(37, 1), ImageFormat::Png), (37, 1)),
        ("pixel.png", bytes(&DynamicImage::new_rgb8(1, 1), ImageFormat::Png), (1, 1)),
        ("grey.png", bytes(&DynamicImage::new_luma8(20, 9), ImageFormat::Png), (20, 9)),
        ("alpha.png", bytes(&DynamicImage::new_rgba8(20, 9), ImageFormat::Png), (20, 9)),
        ("deep.png", bytes(&DynamicImage::new_rgb16(20, 9), ImageFormat::Png), (20, 9)),
        ("cmyk.jpg", cmyk, (16, 8)),
    ];
    for (name, bytes, (width, height)) in images {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let out = dir.path().join("out");
        let report = run_json(&[
            "segment",
            text(&path),
            "--model",
            text(&model),
            "--out",
            text(&out),
            "--device",
            "cpu",
        ]);
        let result = &report["images"][0];
        assert_eq!(result["width"].as_u64(), Some(width), "{name}");
        assert_eq!(result["height"].as_u64(), Some(height), "{name}");
        let labels = image::open(result["labels"].as_str().expect("labels")).expect("label map");
        assert_eq!(u64::from(labels.width()), width, "{name}");
        assert_eq!(u64::from(labels.height()), height, "{name}");
    }
}

#[test]
fn with_eight_views_a_rotated_image_gives_the_rotated_result() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let tissue = prunella::dataset::phantom::tile(50, 40, 3).image;
    let probabilities = |name: &str, image: DynamicImage, views: &str| -> Vec<Vec<i32>> {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes(&image, ImageFormat::Png)).expect("written");
        let out = dir.path().join(views);
        let files = ["segment", text(&path), "--model", text(&model), "--out", text(&out)];
        let options = ["--device", "cpu", "--stain", "keep", "--views", views];
        run_json(&[files, options].concat());
        let map = image::open(out.join(name.replace(".png", ".probability.png")))
            .expect("map")
            .to_luma16();
        map.rows().map(|row| row.map(|p| i32::from(p.0[0])).collect()).collect()
    };
    let flat: Vec<u8> = tissue.data().as_flattened().to_vec();
    let upright = image::RgbImage::from_raw(tissue.width() as u32, tissue.height() as u32, flat)
        .expect("image");
    let upright = DynamicImage::from(upright);
    // Largest difference of the 16-bit probabilities of an image and of the same image rotated.
    let largest_difference = |views: &str| {
        let a = probabilities("a.png", upright.clone(), views);
        let b = probabilities("b.png", upright.rotate90(), views);
        let mut largest = 0;
        for y in 0..a.len() {
            for x in 0..a[0].len() {
                largest = largest.max((a[y][x] - b[x][a.len() - 1 - y]).abs());
            }
        }
        largest
    };
    assert!(largest_difference("8") <= 2, "of 65 535: {}", largest_difference("8"));
    assert!(largest_difference("1") > 20, "a single view depends on the orientation");
    let (code, _, stderr) =
        run(&["segment", "a.png", "--model", text(&model), "--out", "x", "--views", "3"]);
    assert!(code == Some(2) && stderr.contains("1, 2, 4 or 8"), "{stderr}");
}

#[test]
fn a_broken_image_gives_one_sentence_and_no_files() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let whole = bytes(&DynamicImage::new_rgb8(20, 9), ImageFormat::Png);
    // The same file with another size in its header.
    let with_size = |width: u32, height: u32| {
        let mut png = whole.clone();
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        png
    };
    let images = [
        ("zero.png", with_size(0, 9)),
        ("huge.png", with_size(100_000, 100_000)),
        ("cut.png", whole[..whole.len() / 2].to_vec()),
        ("thumbnail.jpg", with_thumbnail_cut_short()),
        ("empty.png", Vec::new()),
        ("words.jpg", b"this is no image".to_vec()),
    ];
    for (name, bytes) in images {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let out = dir.path().join("out");
        let arguments = [
            "segment",
            text(&path),
            "--model",
            text(&model),
            "--out",
            text(&out),
            "--device",
            "cpu",
        ];
        let (code, stdout, stderr) = run(&arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{name}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{name}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(name), "{name}: {stderr}");
        assert!(!out.exists() || std::fs::read_dir(&out).expect("list").count() == 0, "{name}");
    }
}

/// A JPEG without its end, whose header contains the end marker of a thumbnail.
fn with_thumbnail_cut_short() -> Vec<u8> {
    let whole = bytes(&DynamicImage::new_rgb8(64, 64), ImageFormat::Jpeg);
    let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
    [&whole[..2], &thumbnail, &whole[2..whole.len() - 8]].concat()
}

#[test]
fn a_missing_image_does_not_stop_the_others() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let (good, missing) = (dir.path().join("good.png"), dir.path().join("missing.png"));
    std::fs::write(&good, bytes(&DynamicImage::new_rgb8(20, 9), ImageFormat::Png))
        .expect("written");
    let out = dir.path().join("out");
    let arguments = [
        "segment",
        text(&good),
        text(&missing),
        "--model",
        text(&model),
        "--out",
        text(&out),
        "--device",
        "cpu",
        "--json",
    ];
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, Some(2), "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(report["images"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["failed"].as_u64(), Some(1));
    assert!(stderr.contains("missing.png"), "{stderr}");
}

#[test]
fn a_block_may_be_larger_than_the_image() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let path = dir.path().join("a.png");
    std::fs::write(&path, bytes(&DynamicImage::new_rgb8(20, 9), ImageFormat::Png))
        .expect("written");
    let block = usize::MAX.to_string();
    run_json(&[
        "segment",
        text(&path),
        "--model",
        text(&model),
        "--out",
        text(dir.path()),
        "--device",
        "cpu",
        "--block",
        &block,
    ]);
}

/// The CRC-32 of PNG, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
