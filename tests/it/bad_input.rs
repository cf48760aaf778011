//! Strange and broken images through the whole program: each a clear error or a right result, and
//! nothing half-written.

use std::io::Cursor;
use std::path::Path;

use base64::Engine as _;
use image::{DynamicImage, ImageFormat};
use prunella::model::{Model, Precision, dcnn};

use crate::support::{run, run_json, text};

/// A 16×8 JPEG of four colours, (200, 30, 60, 10) as cyan, magenta, yellow, black.
const CMYK: &str = "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAUDg8SDw0UEhASFxUUGB4yIR4cHB49LC4kMklATEtHQEZFUFpzYlBVbVZFRmSIZW13e4GCgU5gjZeMfZZzfoF8\
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
fn every_kind_of_picture_gives_results_of_its_own_size() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let cmyk = base64::engine::general_purpose::STANDARD.decode(CMYK).expect("base64");
    let pictures = [
        ("row.png", bytes(&DynamicImage::new_rgb8(37, 1), ImageFormat::Png), (37, 1)),
        ("pixel.png", bytes(&DynamicImage::new_rgb8(1, 1), ImageFormat::Png), (1, 1)),
        ("grey.png", bytes(&DynamicImage::new_luma8(20, 9), ImageFormat::Png), (20, 9)),
        ("alpha.png", bytes(&DynamicImage::new_rgba8(20, 9), ImageFormat::Png), (20, 9)),
        ("deep.png", bytes(&DynamicImage::new_rgb16(20, 9), ImageFormat::Png), (20, 9)),
        ("cmyk.jpg", cmyk, (16, 8)),
    ];
    for (name, bytes, (width, height)) in pictures {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let out = dir.path().join("out");
        let said = run_json(&[
            "segment",
            text(&path),
            "--model",
            text(&model),
            "--out",
            text(&out),
            "--device",
            "cpu",
        ]);
        let result = &said["images"][0];
        assert_eq!(
            (result["width"].as_u64(), result["height"].as_u64()),
            (Some(width), Some(height)),
            "{name}"
        );
        let labels = image::open(result["labels"].as_str().expect("labels")).expect("label map");
        assert_eq!(
            (u64::from(labels.width()), u64::from(labels.height())),
            (width, height),
            "{name}"
        );
    }
}

#[test]
fn with_eight_views_a_picture_on_its_side_gives_the_answer_on_its_side() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let tissue = prunella::dataset::phantom::tile(50, 40, 3).image;
    let probabilities = |name: &str, picture: DynamicImage, views: &str| -> Vec<Vec<i32>> {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes(&picture, ImageFormat::Png)).expect("written");
        let how = ["--device", "cpu", "--stain", "keep", "--views", views];
        let out = dir.path().join(views);
        run_json(
            &[&["segment", text(&path), "--model", text(&model), "--out", text(&out)], &how[..]]
                .concat(),
        );
        let map = image::open(out.join(name.replace(".png", ".probability.png")))
            .expect("map")
            .to_luma16();
        map.rows().map(|row| row.map(|p| i32::from(p.0[0])).collect()).collect()
    };
    let flat: Vec<u8> = tissue.data().as_flattened().to_vec();
    let upright = image::RgbImage::from_raw(tissue.width() as u32, tissue.height() as u32, flat)
        .expect("picture");
    let upright = DynamicImage::from(upright);
    let differ = |views: &str| {
        let (a, b) = (
            probabilities("a.png", upright.clone(), views),
            probabilities("b.png", upright.rotate90(), views),
        );
        let (rows, columns) = (a.len(), a[0].len());
        let apart = |(y, x): (usize, usize)| (a[y][x] - b[x][rows - 1 - y]).abs();
        (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))).map(apart).max().expect("pixels")
    };
    assert!(differ("8") <= 2, "of 65 535: {}", differ("8"));
    assert!(differ("1") > 20, "one view is another on its side");
    let (code, _, said) =
        run(&["segment", "a.png", "--model", text(&model), "--out", "x", "--views", "3"]);
    assert!(code == Some(2) && said.contains("1, 2, 4 or 8"), "{said}");
}

#[test]
fn broken_pictures_are_one_sentence_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().expect("folder");
    let model = model(dir.path());
    let whole = bytes(&DynamicImage::new_rgb8(20, 9), ImageFormat::Png);
    let sized = |w: u32, h: u32| {
        let mut png = whole.clone();
        png[16..20].copy_from_slice(&w.to_be_bytes());
        png[20..24].copy_from_slice(&h.to_be_bytes());
        let check = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&check.to_be_bytes());
        png
    };
    let pictures = [
        ("zero.png", sized(0, 9)),
        ("bomb.png", sized(100_000, 100_000)),
        ("cut.png", whole[..whole.len() / 2].to_vec()),
        ("thumbnail.jpg", with_thumbnail_cut_short()),
        ("empty.png", Vec::new()),
        ("words.jpg", b"this is no picture".to_vec()),
    ];
    for (name, bytes) in pictures {
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

/// Half a JPEG whose header holds the end marker of a thumbnail.
fn with_thumbnail_cut_short() -> Vec<u8> {
    let whole = bytes(&DynamicImage::new_rgb8(64, 64), ImageFormat::Jpeg);
    let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
    [&whole[..2], &thumbnail, &whole[2..whole.len() - 8]].concat()
}

#[test]
fn one_broken_picture_does_not_cost_the_others_their_report() {
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
    let said: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        (said["images"].as_array().map(Vec::len), said["failed"].as_u64()),
        (Some(1), Some(1))
    );
    assert!(stderr.contains("missing.png"), "{stderr}");
}

#[test]
fn a_block_of_any_size_is_only_a_block() {
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

/// PNG's checksum, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &b| {
        (0..8).fold(
            crc ^ u32::from(b),
            |c, _| if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 },
        )
    })
}
